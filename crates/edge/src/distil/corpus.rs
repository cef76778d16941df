//! The texts that encoders are distilled on: WordNet's examples and definitions, the project's own corpus, sentences made
//! from its list of phrases, and joined and cut pieces of them. Texts that a task tests on can be kept out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest, Sha256};

use super::{draws::Draws, phrases::Phrases};

/// The list of phrases in the tree.
pub const PHRASES: &str = include_str!("../../assets/encoders/phrases.txt");

/// Longest text, bytes; reports are shorter.
const TEXT_MAX: usize = 160;

/// Where the texts come from, and how many of each.
#[derive(Clone, Debug)]
pub struct CorpusConfig {
    /// WordNet's folder: `data.*` and `cntlist.rev` are read.
    pub wordnet: Option<PathBuf>,
    /// Folders whose `*.txt` files have one text per line.
    pub folders: Vec<PathBuf>,
    /// Further texts, such as the unlabelled reports of tasks.
    pub texts: Vec<String>,
    /// Texts that must not be learnt from.
    pub kept_out: BTreeSet<String>,
    /// Definitions of words that are used at least so often in WordNet's tagged texts.
    pub definition_uses: u32,
    /// Words and phrases alone, if used at least so often in tagged texts or in WordNet's own words.
    pub lemma_uses: u32,
    /// Sentences from the list of phrases.
    pub sentences: usize,
    /// Joined and cut pieces.
    pub pieces: usize,
}

impl CorpusConfig {
    /// What the encoders in the tree were made from.
    pub fn standard(wordnet: Option<PathBuf>, folders: Vec<PathBuf>) -> Self {
        Self {
            wordnet,
            folders,
            texts: Vec::new(),
            kept_out: BTreeSet::new(),
            definition_uses: 3,
            lemma_uses: 2,
            sentences: 40_000,
            pieces: 16_000,
        }
    }
}

/// Collected texts, without doubles, in a fixed order.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The texts.
    pub texts: Vec<String>,
    /// Names and SHA-256 of the files that were read.
    pub inputs: Vec<(String, String)>,
}

impl Corpus {
    /// SHA-256 over the texts.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for text in &self.texts {
            hash.update(text.as_bytes());
            hash.update(b"\n");
        }
        hex(&hash.finalize())
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects the texts.
pub fn collect(config: &CorpusConfig) -> Result<Corpus> {
    let mut gathered =
        Gathered { seen: config.kept_out.iter().map(|text| normal(text)).collect(), texts: Vec::new() };
    let mut inputs = vec![("phrases.txt".to_string(), hex(&Sha256::digest(PHRASES)))];
    let mut own: Vec<String> = config.texts.clone();
    for folder in &config.folders {
        for path in text_files(folder)? {
            let text = read(&path, &mut inputs)?;
            own.extend(text.lines().map(str::trim).filter(|line| !line.starts_with('#')).map(str::to_string));
        }
    }
    own.retain(|text| gathered.add(text));
    if let Some(folder) = &config.wordnet {
        wordnet(folder, config, &mut gathered, &mut inputs)?;
    }
    let phrases = Phrases::parse(PHRASES)?;
    let mut draws = Draws::new(1);
    let mut made = Vec::new();
    for _ in 0..config.sentences {
        let text = phrases.sentence(&mut draws)?;
        if gathered.add(&text) {
            made.push(text);
        }
    }
    let sources: Vec<&str> = own.iter().chain(&made).map(String::as_str).collect();
    if !sources.is_empty() {
        for _ in 0..config.pieces {
            // Own texts are fewer, and better: every other piece comes from them.
            let pick = |draws: &mut Draws| {
                let of = if draws.below(2) == 0 && !own.is_empty() { own.len() } else { sources.len() };
                sources[draws.below(of)]
            };
            let first = pick(&mut draws);
            let text = match draws.below(3) {
                0 => cut(first, &mut draws),
                1 => format!("{}, {}", first.trim_end_matches(['.', ',']), pick(&mut draws)),
                _ => format!("{} {}", cut(first, &mut draws), cut(pick(&mut draws), &mut draws)),
            };
            gathered.add(&text);
        }
    }
    Ok(Corpus { texts: gathered.texts, inputs })
}

/// Some words in a row.
fn cut(text: &str, draws: &mut Draws) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let length = 2 + draws.below(5);
    let start = draws.below((words.len() + 1).saturating_sub(length).max(1));
    words.iter().skip(start).take(length).copied().collect::<Vec<_>>().join(" ")
}

/// Texts that differ in case and spaces only are the same.
fn normal(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Gathered {
    seen: BTreeSet<String>,
    texts: Vec<String>,
}

impl Gathered {
    fn add(&mut self, text: &str) -> bool {
        let fits = text.len() >= 2 && text.len() <= TEXT_MAX && !text.contains('\n');
        let new = fits && self.seen.insert(normal(text));
        if new {
            self.texts.push(text.to_string());
        }
        new
    }
}

fn text_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let about = || format!("cannot read the folder {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(about)? {
        let path = entry.with_context(about)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    ensure!(!paths.is_empty(), "no .txt files in {}", folder.display());
    Ok(paths)
}

fn read(path: &Path, inputs: &mut Vec<(String, String)>) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    inputs.push((name, hex(&Sha256::digest(&bytes))));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Examples of all senses; definitions and lemmas of words that are used.
fn wordnet(
    folder: &Path,
    config: &CorpusConfig,
    gathered: &mut Gathered,
    inputs: &mut Vec<(String, String)>,
) -> Result<()> {
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for line in read(&folder.join("cntlist.rev"), inputs)?.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(key), Some(count)) = (fields.next(), fields.nth(1)) {
            let lemma = key.split('%').next().unwrap_or_default().to_string();
            *uses.entry(lemma).or_default() += count.parse::<u32>().unwrap_or(0);
        }
    }
    let mut files = Vec::new();
    for kind in ["noun", "verb", "adj", "adv"] {
        files.push(read(&folder.join(format!("data.{kind}")), inputs)?);
    }
    let mut mentions: BTreeMap<String, u32> = BTreeMap::new();
    for (_, gloss) in files.iter().flat_map(|data| data.lines()).filter_map(|line| line.split_once(" | ")) {
        for word in gloss.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| !word.is_empty())
        {
            *mentions.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    for data in &files {
        for line in data.lines().filter(|line| !line.starts_with(' ')) {
            let Some((head, gloss)) = line.split_once(" | ") else { continue };
            let parts: Vec<&str> = gloss.split('"').collect();
            for example in parts.iter().skip(1).step_by(2) {
                gathered.add(example.trim());
            }
            let fields: Vec<&str> = head.split_whitespace().collect();
            let words = fields.get(3).and_then(|count| usize::from_str_radix(count, 16).ok()).unwrap_or(0);
            let lemma = |index: usize| {
                let word = fields.get(4 + 2 * index).copied().unwrap_or_default();
                word.split('(').next().unwrap_or_default().to_lowercase()
            };
            let Some((uses, first)) = (0..words)
                .map(|index| (uses.get(&lemma(index)).copied().unwrap_or(0), lemma(index)))
                .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)))
            else {
                continue;
            };
            let first = first.replace('_', " ");
            let definition = parts[0].trim().trim_end_matches(';').trim();
            if uses >= config.definition_uses {
                // Half of them with the word that they define.
                let named = gathered.texts.len().is_multiple_of(2);
                gathered.add(&if named { format!("{first}: {definition}") } else { definition.to_string() });
            }
            for index in 0..words {
                let word = lemma(index);
                let mentioned = mentions.get(&word).copied().unwrap_or(0);
                if mentioned >= config.lemma_uses || (index == 0 && uses >= config.lemma_uses) {
                    gathered.add(&word.replace('_', " "));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_is_repeatable_distinct_and_keeps_tests_out() {
        let mut config = CorpusConfig::standard(None, Vec::new());
        (config.sentences, config.pieces) = (500, 200);
        config.texts = vec!["Smoke over the  ridge".into(), "all well at the hut".into()];
        config.kept_out = BTreeSet::from(["smoke over the ridge".to_string()]);
        let corpus = collect(&config).unwrap();
        assert_eq!(corpus.texts, collect(&config).unwrap().texts);
        assert!(!corpus.texts.iter().any(|text| normal(text) == "smoke over the ridge"));
        assert!(corpus.texts.contains(&"all well at the hut".to_string()));
        let distinct: BTreeSet<&String> = corpus.texts.iter().collect();
        assert_eq!(distinct.len(), corpus.texts.len());
        assert!(corpus.texts.len() > 600);
    }
}
