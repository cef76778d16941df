//! Product quantisation (Jégou, Douze and Schmid, 2011): rows become lists of codes, one for every four entries.

use compotastic_model::SUBSPACE;

use super::draws::Draws;

/// Entries of a codebook.
pub const CENTROIDS: usize = 256;
const PASSES: usize = 12;

/// Codes of rows, and the codebooks that they pick from.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// `embed / 4` codes per row.
    pub codes: Vec<u8>,
    /// Per subspace 256 centroids of four entries.
    pub codebooks: Vec<f32>,
}

/// Quantises rows of `embed` entries; rows count by their weight.
pub fn quantise(table: &[f32], weights: &[f32], embed: usize) -> Quantised {
    let rows = table.len() / embed;
    let subspaces = embed / SUBSPACE;
    let mut made = Quantised { codes: vec![0; rows * subspaces], codebooks: Vec::new() };
    let mut draws = Draws::new(3);
    for subspace in 0..subspaces {
        let points: Vec<[f32; SUBSPACE]> = (0..rows)
            .map(|row| {
                let at = row * embed + subspace * SUBSPACE;
                std::array::from_fn(|entry| table[at + entry])
            })
            .collect();
        let (codes, centroids) = cluster(&points, weights, &mut draws);
        for (row, code) in codes.into_iter().enumerate() {
            made.codes[row * subspaces + subspace] = code;
        }
        made.codebooks.extend(centroids.into_iter().flatten());
    }
    made
}

/// Lloyd's algorithm from centroids drawn among the points; an empty cluster takes a new point.
fn cluster(
    points: &[[f32; SUBSPACE]],
    weights: &[f32],
    draws: &mut Draws,
) -> (Vec<u8>, Vec<[f32; SUBSPACE]>) {
    let mut centroids: Vec<[f32; SUBSPACE]> =
        (0..CENTROIDS).map(|_| points[draws.below(points.len())]).collect();
    let mut codes = vec![0u8; points.len()];
    for _ in 0..PASSES {
        let mut sums = vec![([0f32; SUBSPACE], 0f32); CENTROIDS];
        for ((point, weight), code) in points.iter().zip(weights).zip(&mut codes) {
            let distance = |centroid: &[f32; SUBSPACE]| -> f32 {
                (0..SUBSPACE).map(|entry| (centroid[entry] - point[entry]).powi(2)).sum()
            };
            let mut best = (0, f32::MAX);
            for (index, centroid) in centroids.iter().enumerate() {
                let found = distance(centroid);
                if found < best.1 {
                    best = (index, found);
                }
            }
            *code = best.0 as u8;
            let (sum, total) = &mut sums[best.0];
            sum.iter_mut().zip(point).for_each(|(sum, value)| *sum += weight * value);
            *total += weight;
        }
        for (centroid, (sum, total)) in centroids.iter_mut().zip(sums) {
            *centroid =
                if total > 0.0 { sum.map(|value| value / total) } else { points[draws.below(points.len())] };
        }
    }
    (codes, centroids)
}
