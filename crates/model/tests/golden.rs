//! The same bits on every machine: what the encoder in the tree makes of these texts, recorded once.
//!
//! After a change of the encoder or of the format, write the file anew:
//! `COMPOTASTIC_RECORD=1 cargo test -p compotastic-model --test golden`.

use std::{fmt::Write as _, path::PathBuf};

use compotastic_model::{BaseEncoder, MAX_DIMS, Vector};
use sha2::{Digest, Sha256};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");
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

fn recorded() -> String {
    let base = BaseEncoder::parse(BASE).unwrap();
    let mut out = String::new();
    for text in TEXTS {
        let mut vector: Vector = [0; MAX_DIMS];
        base.encode(text, &mut vector);
        let bytes: Vec<u8> = vector.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{hash}\t{:?}\t{text}", &vector[..4]).unwrap();
    }
    out
}

#[test]
fn the_encoder_gives_the_recorded_bits() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/model/base-v1-vectors.tsv");
    let ours = recorded();
    if std::env::var_os("COMPOTASTIC_RECORD").is_some() {
        std::fs::write(&path, &ours).unwrap();
    }
    let theirs = std::fs::read_to_string(&path).unwrap();
    assert_eq!(ours, theirs);
}
