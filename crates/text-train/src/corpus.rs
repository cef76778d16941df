//! Reads training texts: one message a line from the project's own files, and the quoted example
//! sentences and definitions of WordNet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Texts from one source, in the order of the files.
#[derive(Debug, Default, Clone)]
pub struct Texts {
    /// One text each.
    pub lines: Vec<String>,
    /// File name and SHA-256 of every file read.
    pub inputs: Vec<(String, String)>,
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path, texts: &mut Texts) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    texts.inputs.push((name, sha256_hex(&bytes)));
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Reads every `*.txt` of a folder, in the order of their names. Empty lines are left out.
pub fn read_folder(folder: &Path) -> Result<Texts> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = Vec::<PathBuf>::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        bail!("{} holds no .txt file", folder.display());
    }
    let mut texts = Texts::default();
    for path in paths {
        let content = read(&path, &mut texts)?;
        texts.lines.extend(content.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from));
    }
    Ok(texts)
}

/// Reads the definitions and the quoted examples in WordNet's `data.*` files. Returns examples
/// and definitions apart: examples are whole sentences and close to speech, definitions are not.
pub fn read_wordnet(folder: &Path) -> Result<(Texts, Vec<String>)> {
    let mut examples = Texts::default();
    let mut definitions = Vec::new();
    for part in ["adj", "adv", "noun", "verb"] {
        let content = read(&folder.join(format!("data.{part}")), &mut examples)?;
        for line in content.lines() {
            let Some((_, gloss)) = line.split_once(" | ") else { continue };
            for (i, piece) in gloss.split('"').enumerate() {
                let piece = piece.trim_matches(|c: char| c.is_whitespace() || c == ';').trim();
                if piece.len() < 4 || !piece.is_ascii() {
                    continue;
                }
                if i % 2 == 1 {
                    examples.lines.push(piece.to_string());
                } else {
                    definitions.push(piece.to_string());
                }
            }
        }
    }
    Ok((examples, definitions))
}
