//! What an encoder is distilled towards: the teacher's embeddings, reduced to their principal components.

use super::draws::Draws;

/// Centred teacher embeddings on their first principal components, each of length 1.
pub fn targets(embeddings: &[Vec<f32>], dims: usize) -> Vec<Vec<f32>> {
    let width = embeddings.first().map_or(0, Vec::len);
    let count = embeddings.len().max(1) as f64;
    let mut mean = vec![0f64; width];
    for row in embeddings {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    let mut covariance = vec![0f64; width * width];
    // A sample is enough for the directions of a few hundred dimensions.
    let step = (embeddings.len() / 20_000).max(1);
    for row in embeddings.iter().step_by(step) {
        let centred: Vec<f64> = row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect();
        for (i, a) in centred.iter().enumerate() {
            let line = &mut covariance[i * width..(i + 1) * width];
            line.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b);
        }
    }
    let basis = principal(&covariance, width, dims);
    embeddings
        .iter()
        .map(|row| {
            let centred: Vec<f64> =
                row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect();
            let projected: Vec<f64> =
                basis.iter().map(|axis| axis.iter().zip(&centred).map(|(a, b)| a * b).sum()).collect();
            let norm = projected.iter().map(|value: &f64| value * value).sum::<f64>().sqrt().max(1e-9);
            projected.iter().map(|value| (value / norm) as f32).collect()
        })
        .collect()
}

/// The first `dims` eigenvectors by orthogonal iteration.
fn principal(covariance: &[f64], width: usize, dims: usize) -> Vec<Vec<f64>> {
    let mut draws = Draws::new(7);
    let mut basis: Vec<Vec<f64>> = (0..dims)
        .map(|_| (0..width).map(|_| draws.bits() as f64 / u64::MAX as f64 - 0.5).collect())
        .collect();
    for _ in 0..30 {
        for axis in &mut basis {
            *axis = (0..width)
                .map(|i| {
                    covariance[i * width..(i + 1) * width].iter().zip(axis.iter()).map(|(a, b)| a * b).sum()
                })
                .collect();
        }
        for done in 0..dims {
            let (before, rest) = basis.split_at_mut(done);
            let axis = &mut rest[0];
            for other in before.iter() {
                let dot: f64 = other.iter().zip(axis.iter()).map(|(a, b)| a * b).sum();
                axis.iter_mut().zip(other).for_each(|(value, part)| *value -= dot * part);
            }
            let norm = axis.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
            axis.iter_mut().for_each(|value| *value /= norm);
        }
    }
    basis
}
