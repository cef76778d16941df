//! MiniLM run by candle agrees with the reference implementation, whose vectors were recorded once.

use std::io::Write as _;

use compotastic_edge::{models, teacher::minilm::MiniLm};
use sha2::{Digest, Sha256};

const SENTENCES: &str = include_str!("../../../tests/data/edge/minilm-sentences.txt");
const VECTORS: &[u8] = include_bytes!("../../../tests/data/edge/minilm-vectors.f32");
const DATA: &str = include_str!("../../../tests/data/edge/DATA.md");
const DIMS: usize = 384;

fn recorded() -> Vec<Vec<f32>> {
    let values: Vec<f32> =
        VECTORS.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    values.chunks_exact(DIMS).map(<[f32]>::to_vec).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn the_recorded_files_are_those_that_data_md_names() {
    for bytes in [SENTENCES.as_bytes(), VECTORS] {
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(DATA.contains(&hash), "{hash} is not in DATA.md");
    }
    assert_eq!(SENTENCES.lines().count(), 50);
    assert_eq!(recorded().len(), 50);
    // Vectors of different sentences differ: a test that compared equal ones could not fail.
    assert!(cosine(&recorded()[0], &recorded()[1]) < 0.9);
}

#[test]
fn embeddings_agree_with_the_reference_implementation() {
    let Some(folder) = models::locate().unwrap() else {
        // Not by a macro, whose output the test harness would keep.
        let note = "SKIPPED: all-MiniLM-L6-v2 is not cached; get it with 'compotastic model pull' (91 MB)\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return;
    };
    let model = MiniLm::load(&folder).unwrap();
    let sentences: Vec<&str> = SENTENCES.lines().collect();
    // In one go, so that padding is on trial too.
    let ours = model.embed(&sentences).unwrap();
    let mut worst: f64 = 1.0;
    for ((sentence, ours), theirs) in sentences.iter().zip(&ours).zip(&recorded()) {
        let cosine = cosine(ours, theirs);
        assert!(cosine > 0.9999, "{cosine} for {sentence:?}");
        worst = worst.min(cosine);
    }
    println!("smallest cosine of 50: {worst:.7}");
}
