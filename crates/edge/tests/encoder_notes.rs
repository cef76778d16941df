//! The notes beside the committed encoders are about those encoders, and the encoders fit where they go.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

fn asset(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/encoders").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn notes_name_the_encoders_and_the_phrases_that_lie_here() {
    for name in ["base-v1", "small-v1"] {
        let note: toml::Table =
            String::from_utf8(asset(&format!("{name}.toml"))).unwrap().parse().expect("a TOML note");
        assert_eq!(note["sha256"].as_str().unwrap(), sha256(&asset(&format!("{name}.bin"))), "{name}");
        assert_eq!(note["teacher_sha256"].as_str().unwrap(), compotastic_edge::models::MINILM_SHA256);
        let phrases = note["inputs"]["phrases.txt"].as_str().unwrap();
        assert_eq!(
            phrases,
            sha256(&asset("phrases.txt")),
            "{name}: distil it again, its phrases have changed"
        );
    }
}

#[test]
fn encoders_are_read_and_fit_their_places() {
    let base = asset("base-v1.bin");
    assert!(base.len() <= 320 << 10, "{} bytes do not fit the base encoder's partition", base.len());
    compotastic_model::BaseEncoder::parse(&base).expect("the base encoder");
    let small = asset("small-v1.bin");
    assert!(small.len() <= 4 << 20, "{} bytes are more than a few MB", small.len());
    compotastic_model::BaseEncoder::parse(&small).expect("the small encoder");
}
