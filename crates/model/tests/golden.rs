//! The same bits on every machine: what the encoders in the tree, and a part on the base encoder, make of these texts,
//! recorded once.
//!
//! After a change of an encoder or of a format, write the files anew:
//! `COMPOTASTIC_RECORD=1 cargo test -p compotastic-model --test golden`.

use std::{fmt::Write as _, path::PathBuf};

use compotastic_model::{
    BaseEncoder, CALIBRATION_POINTS, MAX_DIMS, Scratch, TaskHeader, TaskPart, Vector, classify,
    correction_keys, logits,
};
use sha2::{Digest, Sha256};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");
static SMALL: &[u8] = include_bytes!("../../edge/assets/encoders/small-v1.bin");
const TEXTS: [&str; 10] = [
    "two hikers, one with a broken ankle, below the north ridge hut",
    "river over the gauge at the old mill",
    "all quiet at checkpoint four",
    "SMOKE above the forest road!!!",
    "need batteries, 12 V, and rope",
    "unbelievabilityness antidisestablishmentarianism",
    "Zwei Wanderer am Nordgrat, einer mit gebrochenem Kn\u{f6}chel",
    "\u{96ea}\u{5d29}\u{306e}\u{5371}\u{967a}",
    "46.5512N 7.9823E",
    "",
];

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compare(name: &str, ours: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/model").join(name);
    if std::env::var_os("COMPOTASTIC_RECORD").is_some() {
        std::fs::write(&path, ours).unwrap();
    }
    let theirs = std::fs::read_to_string(&path).unwrap();
    assert_eq!(ours, theirs, "{name}");
}

fn vectors(encoder: &[u8]) -> String {
    let encoder = BaseEncoder::parse(encoder).unwrap();
    let mut out = String::new();
    for text in TEXTS {
        let mut vector: Vector = [0; MAX_DIMS];
        encoder.encode(text, &mut vector);
        let bytes: Vec<u8> = vector.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        writeln!(out, "{}\t{:?}\t{text}", hex(&bytes), &vector[..4]).unwrap();
    }
    out
}

/// A part of seven classes with even weights and a correction for each word and pair of the first three texts.
fn part(base: &BaseEncoder<'_>) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut corrections = Vec::new();
    for text in &TEXTS[..3] {
        correction_keys(text, |key| corrections.push((key, next() % 7, next() as i8 / 4)));
    }
    corrections.sort_unstable();
    let header = TaskHeader {
        task: 1,
        classes: 7,
        version: 1,
        base_id: base.id(),
        dims: base.dims() as u16,
        corrections: corrections.len() as u16,
        shift: 7,
        correction_step: 9,
        threshold: 120,
        urgent_margin: 24,
        urgent: 0b100_0001,
        calibration: std::array::from_fn(|point| (60 + 190 * point / (CALIBRATION_POINTS - 1)) as u8),
    };
    let mut bytes = header.emit().to_vec();
    bytes.extend((0..7 * base.dims()).map(|_| next()));
    bytes.extend((0..7).flat_map(|_| i16::from(next() as i8).to_le_bytes()));
    for (key, class, amount) in corrections {
        bytes.extend(key.to_le_bytes());
        bytes.extend([class, amount as u8]);
    }
    bytes
}

#[test]
fn the_encoders_give_the_recorded_bits() {
    compare("base-v1-vectors.tsv", &vectors(BASE));
    compare("small-v1-vectors.tsv", &vectors(SMALL));
}

#[test]
fn a_part_on_the_base_encoder_gives_the_recorded_answers() {
    let base = BaseEncoder::parse(BASE).unwrap();
    let bytes = part(&base);
    let part = TaskPart::parse(&bytes).unwrap();
    let mut out = format!("# the part itself\t{}\n", hex(&bytes));
    let mut scratch = Scratch::default();
    for text in TEXTS {
        let (mut vector, mut values) = ([0; MAX_DIMS], [0; compotastic_model::MAX_CLASSES]);
        logits(&base, &part, text, &mut vector, &mut values);
        let answer = classify(&base, &part, text, &mut scratch);
        let unsure = if answer.unsure { "unsure" } else { "sure" };
        let (class, confidence) = (answer.class, answer.confidence);
        writeln!(out, "{:?}\t{class}\t{confidence}\t{unsure}\t{text}", &values[..part.classes()]).unwrap();
    }
    compare("part-answers.tsv", &out);
}
