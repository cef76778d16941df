//! Tasks: the classes, the reports to learn from and to test on, and what each class sets in motion.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use compotastic_model::MAX_CLASSES;
use serde::{Deserialize, Serialize};

/// Longest report in a file, bytes; what is longer would not fit one frame.
pub const TEXT_MAX: usize = 320;
/// Longest class name, bytes.
const LABEL_MAX: usize = 24;
/// Largest file that is read.
const FILE_MAX: u64 = 64 << 20;

const SAR_CSV: &str = include_str!("../assets/tasks/search-and-rescue.csv");
const SAR_TOML: &str = include_str!("../assets/tasks/search-and-rescue.toml");

/// How soon a report of a class has to arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Hours.
    Low,
    /// The usual.
    #[default]
    Routine,
    /// Ahead of the usual.
    High,
    /// At once.
    Urgent,
}

/// Where a report goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// Stays with the node.
    Log,
    /// To the command post.
    #[default]
    Command,
}

/// In which form it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The class alone.
    #[default]
    Code,
    /// The class and the first words.
    Summary,
    /// The class and the text.
    Full,
}

/// A class of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name, as in the CSV.
    pub name: String,
    /// A miss costs more than the air time of asking.
    #[serde(default)]
    pub urgent: bool,
    /// How soon.
    #[serde(default)]
    pub priority: Priority,
    /// Where to.
    #[serde(default)]
    pub destination: Destination,
    /// In which form.
    #[serde(default)]
    pub form: Form,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    #[serde(default)]
    class: Vec<Class>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Name for people.
    pub name: String,
    /// Classes, in the order of their codes on the air.
    pub classes: Vec<Class>,
    /// Labelled reports to learn from.
    pub train: Vec<(String, usize)>,
    /// Reports without a label.
    pub unlabelled: Vec<String>,
    /// Labelled reports to test on; never learnt from.
    pub test: Vec<(String, usize)>,
}

impl TaskSpec {
    /// The built-in search-and-rescue task.
    pub fn search_and_rescue() -> Result<Self> {
        Self::parse("search and rescue", SAR_CSV.as_bytes(), Some(SAR_TOML), &[])
    }

    /// Reads FILE.csv, and FILE.toml beside it if there is one. `urgent` names urgent classes and overrides the file.
    pub fn read(path: &Path, urgent: &[String]) -> Result<Self> {
        let csv = read_limited(path)?;
        let profile_path = path.with_extension("toml");
        let profile = match std::fs::read_to_string(&profile_path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", profile_path.display()));
            }
        };
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, &csv, profile.as_deref(), urgent).with_context(|| format!("{}", path.display()))
    }

    /// Reads a task from CSV bytes and a profile.
    pub fn parse(name: &str, csv: &[u8], profile: Option<&str>, urgent: &[String]) -> Result<Self> {
        let text = as_text(csv)?;
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
        let headers = reader.headers().context("cannot read the first line")?.clone();
        let column = |wanted: &str| {
            headers.iter().position(|header| header.eq_ignore_ascii_case(wanted)).with_context(|| {
                format!(
                    "no column \"{wanted}\": the first line must name text, label and split; it has {}",
                    headers.iter().collect::<Vec<_>>().join(", ")
                )
            })
        };
        let (text_at, label_at, split_at) = (column("text")?, column("label")?, column("split")?);
        let mut classes: Vec<Class> = match profile {
            Some(profile) => toml::from_str::<Profile>(profile).context("the profile beside the CSV")?.class,
            None => Vec::new(),
        };
        let mut task = Self {
            name: name.to_string(),
            classes: Vec::new(),
            train: Vec::new(),
            unlabelled: Vec::new(),
            test: Vec::new(),
        };
        for record in reader.records() {
            let record = record.context("cannot read a row")?;
            let line = record.position().map_or(0, csv::Position::line);
            let text = record.get(text_at).unwrap_or_default();
            let label = record.get(label_at).unwrap_or_default();
            let split = record.get(split_at).unwrap_or_default();
            check_report(text).with_context(|| format!("line {line}"))?;
            if split.eq_ignore_ascii_case("unlabelled") || split.eq_ignore_ascii_case("unlabeled") {
                task.unlabelled.push(text.to_string());
                continue;
            }
            ensure!(!label.is_empty(), "line {line}: a {split} report needs a label");
            ensure!(
                label.len() <= LABEL_MAX,
                "line {line}: label \"{label}\" is longer than {LABEL_MAX} bytes"
            );
            let class = match classes.iter().position(|class| class.name == label) {
                Some(class) => class,
                None => {
                    classes.push(Class {
                        name: label.to_string(),
                        urgent: false,
                        priority: Priority::default(),
                        destination: Destination::default(),
                        form: Form::default(),
                    });
                    ensure!(
                        classes.len() <= 20_000,
                        "more than {MAX_CLASSES} classes: is the label column the right one?"
                    );
                    classes.len() - 1
                }
            };
            match split.to_ascii_lowercase().as_str() {
                "train" => task.train.push((text.to_string(), class)),
                "test" => task.test.push((text.to_string(), class)),
                _ => bail!("line {line}: split \"{split}\" is none of train, unlabelled, test"),
            }
        }
        ensure!(
            classes.len() <= MAX_CLASSES,
            "{} classes; a task part holds {MAX_CLASSES} at most: join some, or make several tasks",
            classes.len()
        );
        for name in urgent {
            ensure!(
                classes.iter().any(|class| class.name == *name),
                "urgent class \"{name}\" is not in the task"
            );
        }
        for class in &mut classes {
            if !urgent.is_empty() {
                class.urgent = urgent.contains(&class.name);
            }
            if class.urgent {
                (class.priority, class.form) = (Priority::Urgent, Form::Full);
            }
        }
        task.classes = classes;
        task.check()?;
        Ok(task)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.train.is_empty(),
            "no rows with split = train: some labelled reports are needed to learn from"
        );
        let learnt: BTreeSet<usize> = self.train.iter().map(|(_, class)| *class).collect();
        ensure!(
            learnt.len() >= 2,
            "only one class (\"{}\") has reports to learn from: at least two are needed",
            self.classes[*learnt.first().unwrap_or(&0)].name
        );
        let untaught: Vec<&str> = (0..self.classes.len())
            .filter(|class| !learnt.contains(class))
            .map(|class| self.classes[class].name.as_str())
            .collect();
        ensure!(untaught.is_empty(), "no rows with split = train for: {}", untaught.join(", "));
        Ok(())
    }

    /// Bit n: class n is urgent.
    pub fn urgent_mask(&self) -> u64 {
        self.classes
            .iter()
            .enumerate()
            .filter(|(_, class)| class.urgent)
            .fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// Reports of the test split: they are never learnt from, whichever way they come.
    pub fn is_test(&self, text: &str) -> bool {
        self.test.iter().any(|(test, _)| test == text)
    }
}

/// Why a report cannot be sent, if so.
pub fn check_report(text: &str) -> Result<()> {
    ensure!(!text.is_empty(), "empty report");
    ensure!(
        text.len() <= TEXT_MAX,
        "report of {} bytes: a report has {TEXT_MAX} bytes at most, so that it fits one frame",
        text.len()
    );
    Ok(())
}

/// Reports, one per line.
pub fn read_reports(path: &Path) -> Result<Vec<String>> {
    let bytes = read_limited(path)?;
    let text = as_text(&bytes).with_context(|| format!("{}", path.display()))?;
    let mut reports = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() {
            check_report(line).with_context(|| format!("{}: line {}", path.display(), index + 1))?;
            reports.push(line.to_string());
        }
    }
    ensure!(!reports.is_empty(), "{}: no reports in it: one per line is expected", path.display());
    Ok(reports)
}

fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let about = || format!("cannot read {}", path.display());
    let length = std::fs::metadata(path).with_context(about)?.len();
    ensure!(
        length <= FILE_MAX,
        "{} has {} MB; {} MB are read at most",
        path.display(),
        length >> 20,
        FILE_MAX >> 20
    );
    std::fs::read(path).with_context(about)
}

fn as_text(bytes: &[u8]) -> Result<&str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    ensure!(!bytes.is_empty(), "the file is empty");
    let text = std::str::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!("not UTF-8 text (byte {}): is it a binary file?", error.valid_up_to())
    })?;
    ensure!(!text.contains('\0'), "it contains zero bytes: is it a binary file?");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(csv: &str) -> Result<TaskSpec> {
        TaskSpec::parse("t", csv.as_bytes(), None, &[])
    }

    fn error(csv: &str) -> String {
        format!("{:#}", parse(csv).unwrap_err())
    }

    #[test]
    fn test_reports_of_the_built_in_task_are_worded_unlike_the_others() {
        let task = TaskSpec::search_and_rescue().unwrap();
        let words = |text: &str| -> BTreeSet<String> {
            let lower = text.to_lowercase();
            let split = lower.split(|letter: char| !letter.is_alphanumeric());
            split.filter(|word| !word.is_empty()).map(str::to_string).collect()
        };
        let others: Vec<&String> = task.train.iter().map(|(text, _)| text).chain(&task.unlabelled).collect();
        for (test, _) in &task.test {
            for other in &others {
                let (a, b) = (words(test), words(other));
                let shared = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
                assert!(shared <= 0.4, "{test} | {other}");
            }
        }
    }

    #[test]
    fn the_built_in_task_is_as_large_as_promised() {
        let task = TaskSpec::search_and_rescue().unwrap();
        let texts: BTreeSet<&str> = task
            .train
            .iter()
            .chain(&task.test)
            .map(|(text, _)| text.as_str())
            .chain(task.unlabelled.iter().map(String::as_str))
            .collect();
        assert!(task.classes.len() >= 8 && texts.len() >= 400, "{} {}", task.classes.len(), texts.len());
        assert_eq!(texts.len(), task.train.len() + task.test.len() + task.unlabelled.len());
        assert!(task.urgent_mask() != 0);
    }

    #[test]
    fn columns_in_any_order_quotes_and_line_ends() {
        let task =
            parse("split,Text,LABEL\r\ntrain,\"fire, big\",a\r\ntrain,calm,b\r\ntest,smoke,a\r\n").unwrap();
        assert_eq!(task.train[0], ("fire, big".to_string(), 0));
        assert_eq!(task.test.len(), 1);
    }

    #[test]
    fn errors_name_the_line_and_what_to_do() {
        assert!(error("").contains("empty"));
        assert!(error("a,b\n1,2\n").contains("no column \"text\""));
        assert!(error("text,label,split\nx,a,train\ny,a,train\n").contains("only one class"));
        assert!(error("text,label,split\nx,a,train\ny,b,learn\n").contains("line 3"));
        assert!(error("text,label,split\nx,,train\n").contains("needs a label"));
        assert!(error("text,label,split\nx,a,test\ny,b,test\n").contains("no rows with split = train"));
        let many: String = (0..10_000).map(|n| format!("report {n},class{n},train\n")).collect();
        assert!(error(&format!("text,label,split\n{many}")).contains("10000 classes"));
        let long = "x".repeat(1 << 20);
        assert!(error(&format!("text,label,split\n{long},a,train\n")).contains("line 2"));
        assert!(TaskSpec::parse("t", &[0, 159, 146], None, &[]).is_err());
        let unknown = TaskSpec::parse("t", b"text,label,split\nx,a,train\ny,b,train\n", None, &["c".into()]);
        assert!(format!("{:#}", unknown.unwrap_err()).contains("\"c\""));
    }
}
