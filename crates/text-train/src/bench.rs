//! Measures text codecs on a file of messages, one a line.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::unishox;

/// Characters in smaz's list of 254 pieces.
const SMAZ_TABLE: usize = 752;

/// What one codec did with a file of messages.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Row {
    /// The codec's name; ours is `compotastic`.
    pub codec: String,
    /// Payload bits for each character, whole bytes as sent. The byte that names the codec is
    /// left out for all alike.
    pub bits_per_char: f64,
    /// Size of the codec's table or dictionary.
    pub table_bytes: usize,
    /// Messages that got longer than their UTF-8 bytes.
    pub grown_messages: usize,
}

/// The messages of a file: its lines without the empty ones.
pub fn messages(content: &str) -> Vec<&str> {
    content.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()).collect()
}

fn row(codec: &str, table_bytes: usize, texts: &[&str], lengths: impl IntoIterator<Item = usize>) -> Row {
    let (mut bytes, mut grown) = (0, 0);
    for (text, len) in texts.iter().zip(lengths) {
        bytes += len;
        grown += usize::from(len > text.len());
    }
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let bits_per_char = (bytes * 8) as f64 / characters.max(1) as f64;
    Row { codec: codec.to_string(), bits_per_char, table_bytes, grown_messages: grown }
}

/// Measures every codec that can run here on `texts`. `training` is what the zstd dictionary is
/// made from: the project's own corpus, as for our table. Rows are in a fixed order, ours first;
/// unishox2 is there when its Python package is installed.
///
/// # Errors
/// When a codec does not give back what went in.
pub fn run(texts: &[&str], training: &[&str]) -> Result<Vec<Row>> {
    let mut rows = vec![
        row("compotastic", compotastic_text::TABLE.len(), texts, ours(texts)?),
        row("raw", 0, texts, texts.iter().map(|text| text.len())),
        row("7-bit", 0, texts, texts.iter().map(|text| seven_bit_len(text))),
        row("smaz", SMAZ_TABLE, texts, smaz_lengths(texts)?),
    ];
    if let Some(lengths) = unishox::lengths(texts) {
        rows.push(row("unishox2", 0, texts, lengths?));
    }
    for kilobytes in [32, 112] {
        if let Some(dictionary) = dictionary(training, kilobytes << 10) {
            let lengths = zstd_lengths(texts, &dictionary)?;
            rows.push(row(&format!("zstd-22 + {kilobytes}K dictionary"), dictionary.len(), texts, lengths));
        }
    }
    Ok(rows)
}

fn ours(texts: &[&str]) -> Result<Vec<usize>> {
    let mut lengths = Vec::new();
    for text in texts {
        let (mut packed, mut back) = (vec![0; text.len()], vec![0; text.len()]);
        let (codec, len) = compotastic_text::encode(text, &mut packed).context("room for every text")?;
        let decoded = compotastic_text::decode(codec, &packed[..len], &mut back);
        anyhow::ensure!(decoded == Ok(*text), "{text:?} did not come back");
        lengths.push(len);
    }
    Ok(lengths)
}

/// Seven bits a character where all of them are ASCII; other texts stay as they are.
fn seven_bit_len(text: &str) -> usize {
    if text.is_ascii() { (text.len() * 7).div_ceil(8) } else { text.len() }
}

fn smaz_lengths(texts: &[&str]) -> Result<Vec<usize>> {
    let mut lengths = Vec::new();
    for text in texts {
        let packed = smaz::compress(text.as_bytes());
        anyhow::ensure!(
            smaz::decompress(&packed).is_ok_and(|back| back == text.as_bytes()),
            "smaz broke {text:?}"
        );
        lengths.push(packed.len());
    }
    Ok(lengths)
}

/// A zstd dictionary from the training texts, or nothing when they are too few for one.
fn dictionary(training: &[&str], size: usize) -> Option<Vec<u8>> {
    zstd::dict::from_samples(training, size).ok()
}

fn zstd_lengths(texts: &[&str], dictionary: &[u8]) -> Result<Vec<usize>> {
    let mut compressor = zstd::bulk::Compressor::with_dictionary(22, dictionary)?;
    // A frame need not tell its length, checksum or dictionary here: the payload implies them.
    compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(false))?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false))?;
    // Nor would the magic number travel, which is the same in every frame.
    const MAGIC: usize = 4;
    let lengths = texts.iter().map(|text| Ok(compressor.compress(text.as_bytes())?.len() - MAGIC));
    lengths.collect()
}
