//! The committed table's recipe: which texts, which plan, and how to see that it was followed.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::corpus::{self, sha256_hex};
use crate::net::Weights;
use crate::quant::{self, SIZES};
use crate::train::{Plan, Source, train};

/// Steps after which the weights' digest is noted, for a check that takes seconds.
const EARLY: usize = 200;
/// Of so many lines of the project's corpus one is held out, when measuring.
const HELD_OUT: usize = 12;

/// The sources of a table, in the order of the mix.
pub struct Inputs {
    sources: Vec<Source>,
    held_out: Vec<String>,
    files: Vec<(String, String)>,
}

impl Inputs {
    /// Reads the project's corpus and WordNet. With `hold_out`, part of the corpus is kept back.
    pub fn read(folder: &Path, wordnet: &Path, hold_out: bool) -> Result<Self> {
        let own = corpus::read_folder(folder)?;
        let examples = corpus::read_wordnet(wordnet)?;
        let (mut lines, mut held_out) = (Vec::new(), Vec::new());
        for (i, line) in own.lines.into_iter().enumerate() {
            if hold_out && i % HELD_OUT == HELD_OUT / 2 { held_out.push(line) } else { lines.push(line) }
        }
        let sources = [&lines, &examples.lines].map(|lines| Source::new(lines)).into();
        Ok(Inputs { sources, held_out, files: [own.inputs, examples.inputs].concat() })
    }

    /// Corpus lines that training does not see.
    pub fn held_out(&self) -> &[String] {
        &self.held_out
    }

    /// The sources.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// SHA-256 over the names and digests of all files.
    fn digest(&self) -> String {
        let list: String = self.files.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
        sha256_hex(list.as_bytes())
    }
}

/// The plan of the committed table.
pub fn plan(threads: usize) -> Plan {
    Plan {
        steps: 5000,
        rounded_steps: 1200,
        rate: 0.005,
        mix: vec![(50, 300), (950, 700)],
        sizes: SIZES,
        threads,
    }
}

/// A table and the note that belongs beside it.
pub struct Made {
    /// The table's bytes.
    pub table: Vec<u8>,
    /// Where it comes from, as TOML.
    pub note: String,
}

/// Trains the table. `report` is told the step and the loss in bits per symbol.
pub fn make(inputs: &Inputs, plan: &Plan, mut report: impl FnMut(usize, f64)) -> Made {
    let mut early = String::new();
    let weights = train(plan, &inputs.sources, |step, loss, weights| {
        if step == EARLY {
            early = weights_digest(weights);
        }
        report(step, loss);
    });
    let digest = inputs.digest();
    let mut head = [0; 8];
    for (byte, pair) in head.iter_mut().zip(digest.as_bytes().chunks(2)) {
        // The digest is hexadecimal, so this cannot fail.
        *byte = core::str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    }
    let table = quant::table(&weights, head);
    let mut note = String::from(
        "# Where text-v1.bin comes from. Written with it, by the command below; any machine makes the same bytes.\n",
    );
    note += "command = \"cargo run --release -p compotastic-text-train --example train -- train --corpus crates/text/corpus \
             --wordnet /usr/share/wordnet --out crates/text/tables/text-v1.bin\"\n";
    note += &format!("table_sha256 = \"{}\"\n", sha256_hex(&table));
    note += &format!("inputs_sha256 = \"{digest}\"\n");
    note += &format!("weights_after_{EARLY}_steps_sha256 = \"{early}\"\n\n[inputs]\n");
    for (name, digest) in &inputs.files {
        note += &format!("\"{name}\" = \"{digest}\"\n");
    }
    Made { table, note }
}

/// Checks in seconds that a table belongs to its note, the note to the inputs, and that training
/// starts as it did when the note was written.
pub fn quick_check(inputs: &Inputs, full: &Plan, table: &[u8], note: &str) -> Result<()> {
    expect(note, "table_sha256", &sha256_hex(table))?;
    expect(note, "inputs_sha256", &inputs.digest())?;
    // The whole plan with an early end: what the first steps do depends on the plan's length.
    let mut early = String::new();
    crate::train::train_until(full, EARLY, &inputs.sources, |step, _, weights| {
        if step == EARLY {
            early = weights_digest(weights);
        }
    });
    expect(note, &format!("weights_after_{EARLY}_steps_sha256"), &early)
}

fn expect(note: &str, name: &str, value: &str) -> Result<()> {
    let noted = note.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    let noted = noted.with_context(|| format!("the note has no {name}"))?.trim().trim_matches('"');
    ensure!(noted == value, "{name} is {value}, but the note says {noted}");
    Ok(())
}

fn weights_digest(weights: &Weights) -> String {
    let bytes: Vec<u8> =
        weights.parts().iter().flat_map(|part| part.iter()).flat_map(|w| w.to_bits().to_le_bytes()).collect();
    sha256_hex(&bytes)
}
