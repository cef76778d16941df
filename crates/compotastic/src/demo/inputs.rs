//! What goes into a run from outside: the task, the reports, and what the teacher says of each, rounded.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use compotastic_edge::{
    models,
    task::{self, TaskSpec},
    teacher::{BASE_ENCODER, Encoder, ROUNDING, Teacher, minilm::MiniLm},
};
use sha2::{Digest, Sha256};

use crate::cmds::demo::TeacherChoice;

/// What the user asked for.
pub struct Wanted {
    /// Which teacher.
    pub teacher: TeacherChoice,
    /// Get it first.
    pub fetch: bool,
    /// Own task.
    pub task: Option<PathBuf>,
    /// Urgent classes.
    pub urgent: Vec<String>,
    /// Own reports.
    pub reports: Option<PathBuf>,
}

/// Everything that a run needs and that a recording keeps.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The task.
    pub task: TaskSpec,
    /// Reports of the user, in order; empty: the task's own.
    pub reports: Vec<String>,
    /// Name of the teacher.
    pub teacher: String,
    /// Its version on the air.
    pub teacher_version: u8,
    /// Probabilities in thousandths, by text.
    pub answers: BTreeMap<String, Vec<u16>>,
    /// For the summary.
    pub notes: Vec<String>,
}

/// Chooses and loads the encoder of the teacher; the note says what a better one would take.
pub fn encoder(choice: TeacherChoice, fetch: bool, quiet: bool) -> Result<(Encoder, Option<String>)> {
    if fetch {
        crate::cmds::model::pull_with_bar(false, quiet)?;
    }
    let located = match choice {
        TeacherChoice::InTree => None,
        TeacherChoice::Minilm => match models::locate()? {
            Some(folder) => Some(folder),
            None => bail!(
                "all-MiniLM-L6-v2 is not in the cache: `compotastic model pull` gets it ({} MB), or use --teacher in-tree",
                models::MINILM_MB
            ),
        },
        // A damaged cache is an error here too: the user believes to have the better teacher.
        TeacherChoice::Auto => models::locate()?,
    };
    match located {
        Some(folder) => {
            models::verify(&folder)?;
            let model = MiniLm::load(&folder).context("the cached all-MiniLM-L6-v2 cannot be loaded")?;
            Ok((Encoder::MiniLm(Box::new(model)), None))
        }
        None => {
            let note = format!(
                "the teacher is the small encoder in the tree; all-MiniLM-L6-v2 is better: `compotastic model pull` gets it ({} MB)",
                models::MINILM_MB
            );
            Ok((Encoder::in_tree()?, (choice == TeacherChoice::Auto).then_some(note)))
        }
    }
}

/// Reads the task.
pub fn read_task(path: Option<&PathBuf>, urgent: &[String]) -> Result<TaskSpec> {
    match path {
        Some(path) => TaskSpec::read(path, urgent),
        None => TaskSpec::search_and_rescue(),
    }
}

/// Loads task, reports and teacher, and asks the teacher once for each text that can come up.
pub fn load(wanted: &Wanted, quiet: bool) -> Result<Inputs> {
    let task = read_task(wanted.task.as_ref(), &wanted.urgent)?;
    let reports = match &wanted.reports {
        Some(path) => task::read_reports(path)?,
        None => Vec::new(),
    };
    let (encoder, note) = encoder(wanted.teacher, wanted.fetch, quiet)?;
    if !quiet && let Some(note) = &note {
        println!("{note}");
    }
    let (name, version) = (encoder.name().to_string(), encoder.version());
    let teacher = Teacher::fit(encoder, &task)?;
    let mut texts: Vec<&str> = task.train.iter().chain(&task.test).map(|(text, _)| text.as_str()).collect();
    texts.extend(task.unlabelled.iter().chain(&reports).map(String::as_str));
    texts.sort_unstable();
    texts.dedup();
    let answers = texts
        .iter()
        .zip(teacher.classify(&texts)?)
        .map(|(text, row)| (text.to_string(), row.iter().map(|p| (p * ROUNDING).round() as u16).collect()))
        .collect();
    let notes = note.into_iter().collect();
    Ok(Inputs { task, reports, teacher: name, teacher_version: version, answers, notes })
}

impl Inputs {
    /// The teacher's probabilities for a text that was asked beforehand.
    pub fn probabilities(&self, text: &str) -> Option<Vec<f64>> {
        Some(self.answers.get(text)?.iter().map(|thousandths| f64::from(*thousandths) / ROUNDING).collect())
    }

    /// SHA-256 over model parts, task, reports and rounded teacher outputs.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(BASE_ENCODER);
        add(self.teacher.as_bytes());
        for class in &self.task.classes {
            add(format!("{class:?}").as_bytes());
        }
        for (text, class) in self.task.train.iter().chain(&self.task.test) {
            add(text.as_bytes());
            add(&(*class as u32).to_le_bytes());
        }
        for text in self.task.unlabelled.iter().chain(&self.reports) {
            add(text.as_bytes());
        }
        for (text, row) in &self.answers {
            add(text.as_bytes());
            add(&row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
