//! What four bits an entry cost a foundation model's vectors: those of MiniLM that tests/data/edge has.

use compotastic_node::vector;

const VECTORS: &[u8] = include_bytes!("../../../tests/data/edge/minilm-vectors.f32");
const DIMS: usize = 384;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn likeness_of_texts_survives() {
    let values: Vec<f32> =
        VECTORS.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let vectors: Vec<&[f32]> = values.chunks_exact(DIMS).collect();
    let back: Vec<Vec<f32>> = vectors
        .iter()
        .map(|vector| {
            let (mut packed, mut out) = ([0; 193], [0.0; DIMS]);
            assert_eq!(vector::pack(vector, &mut packed), Some(193));
            assert_eq!(vector::unpack(&packed, &mut out), Some(DIMS));
            out.to_vec()
        })
        .collect();
    let losses: Vec<f64> = vectors.iter().zip(&back).map(|(a, b)| 1.0 - cosine(a, b)).collect();
    let mut shifts = Vec::new();
    for (index, one) in vectors.iter().enumerate() {
        for (other, packed) in vectors[..index].iter().zip(&back) {
            shifts.push((cosine(one, other) - cosine(&back[index], packed)).abs());
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let worst = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    println!(
        "{} vectors of {DIMS} in 193 bytes: cosine loss {:.5} mean, {:.5} worst; likeness of pairs off by {:.4} mean, {:.4} worst",
        vectors.len(),
        mean(&losses),
        worst(&losses),
        mean(&shifts),
        worst(&shifts)
    );
    assert!(vectors.len() > 8 && worst(&losses) < 0.02 && worst(&shifts) < 0.04);
}
