//! Reads training texts: one message a line from the project's own files, and the quoted example
//! sentences of WordNet.

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

/// Reads the quoted example sentences in WordNet's `data.*` files. The definitions around them are
/// left out: they read unlike messages, and training on them made the table worse.
pub fn read_wordnet(folder: &Path) -> Result<Texts> {
    let mut examples = Texts::default();
    for part in ["adj", "adv", "noun", "verb"] {
        let content = read(&folder.join(format!("data.{part}")), &mut examples)?;
        for line in content.lines() {
            let Some((_, gloss)) = line.split_once(" | ") else { continue };
            // Every second piece between quotation marks is quoted.
            for piece in gloss.split('"').skip(1).step_by(2) {
                let piece = piece.trim();
                if piece.len() >= 4 && piece.is_ascii() {
                    examples.lines.push(piece.to_string());
                }
            }
        }
    }
    Ok(examples)
}
