//! `compotastic-text-train train --corpus DIR [--wordnet DIR] --out FILE`

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use compotastic_text::{END, SYMBOLS, TABLE_VERSION, symbol_of};
use compotastic_text_train::corpus;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("train") {
        bail!("usage: train --corpus DIR [--wordnet DIR] --out FILE");
    }
    let (mut folder, mut wordnet, mut out) = (None, None, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().map(PathBuf::from).with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--corpus" => folder = Some(value),
            "--wordnet" => wordnet = Some(value),
            "--out" => out = Some(value),
            other => bail!("unknown option {other}"),
        }
    }
    let mut lines = Vec::new();
    if let Some(folder) = folder {
        lines.extend(corpus::read_folder(&folder)?.lines);
    }
    if let Some(wordnet) = wordnet {
        lines.extend(corpus::read_wordnet(&wordnet)?.0.lines);
    }
    std::fs::write(out.context("--out FILE is missing")?, pair_table(&lines))?;
    Ok(())
}

/// Costs of every symbol behind every other, in eighths of a bit.
fn pair_table(lines: &[String]) -> Vec<u8> {
    let mut counts = vec![[0.1f64; SYMBOLS]; SYMBOLS];
    for line in lines {
        let mut last = END;
        for symbol in line.chars().map(symbol_of).chain([END]) {
            counts[usize::from(last)][usize::from(symbol)] += 1.0;
            last = symbol;
        }
    }
    let mut table = b"CTXT".to_vec();
    table.extend([TABLE_VERSION, 0, 0, 0]);
    for row in counts {
        let sum: f64 = row.iter().sum();
        table.extend(row.iter().map(|n| (-(n / sum).log2() * 8.0).round().clamp(0.0, 120.0) as u8));
    }
    table
}
