//! Rounds weights to what the table can hold, and writes the table.

use compotastic_text::{EMBED, HIDDEN, MAGIC, SYMBOLS, TABLE_VERSION, layout};

use crate::net::{Sizes, Weights};

/// The sizes that the table holds.
pub const SIZES: Sizes = Sizes { hidden: HIDDEN, embed: EMBED };

/// A unit of a row's scale.
const SCALE_UNIT: f32 = 1.0 / 131_072.0;
/// A unit of the embedding.
const EMBED_UNIT: f32 = 1.0 / 32.0;

/// Rounds to the nearest integer, ties to even; for |x| below 2^22.
fn round(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND) - ROUND
}

/// The scale that makes a row's rounding error smallest, in units of [`SCALE_UNIT`].
fn best_scale(row: &[f32]) -> f32 {
    let most = row.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let (mut best, mut least) = (1.0, f32::MAX);
    for tenths in 0..9 {
        let scale = round(most / 7.5 * (1.0 - 0.07 * tenths as f32) / SCALE_UNIT).clamp(1.0, 65_535.0);
        let step = scale * SCALE_UNIT;
        let inverse = 1.0 / step;
        // Eight sums side by side: a fixed order that machines can still do at once.
        let mut errors = [0.0f32; 8];
        for part in row.chunks(8) {
            for (sum, &w) in errors.iter_mut().zip(part) {
                let error = level(w, inverse) * step - w;
                *sum += error * error;
            }
        }
        let error: f32 = errors.iter().sum();
        if error < least {
            (best, least) = (scale, error);
        }
    }
    best
}

fn level(weight: f32, inverse: f32) -> f32 {
    round(weight * inverse).clamp(-8.0, 7.0)
}

/// Rounds every row of a matrix to 4 bits and a scale.
fn round_matrix(matrix: &mut [f32], columns: usize) {
    for row in matrix.chunks_exact_mut(columns) {
        let step = best_scale(row) * SCALE_UNIT;
        let inverse = 1.0 / step;
        row.iter_mut().for_each(|w| *w = level(*w, inverse) * step);
    }
}

/// The weights as the table will hold them.
pub fn rounded(sizes: Sizes, weights: &Weights) -> Weights {
    let mut weights = weights.clone();
    weights.embedding.iter_mut().for_each(|w| *w = round(*w / EMBED_UNIT).clamp(-127.0, 127.0) * EMBED_UNIT);
    round_matrix(&mut weights.input, sizes.embed);
    round_matrix(&mut weights.recurrent, sizes.hidden);
    round_matrix(&mut weights.output, sizes.hidden);
    weights
}

/// Writes the table; `inputs` is the beginning of the SHA-256 of everything it was made from.
pub fn table(weights: &Weights, inputs: [u8; 8]) -> Vec<u8> {
    let mut table = MAGIC.to_vec();
    table.extend([TABLE_VERSION, HIDDEN as u8, EMBED as u8, SYMBOLS as u8]);
    table.extend(inputs);
    table.extend(weights.embedding.iter().map(|w| round(w / EMBED_UNIT).clamp(-127.0, 127.0) as i8 as u8));
    let mut scales = Vec::new();
    // Scores are kept in bits: the factor from natural logarithms goes into the scale.
    let log2_e = core::f32::consts::LOG2_E;
    for (matrix, columns, factor) in
        [(&weights.input, EMBED, 1.0), (&weights.recurrent, HIDDEN, 1.0), (&weights.output, HIDDEN, log2_e)]
    {
        for row in matrix.chunks_exact(columns) {
            let scale = best_scale(row);
            let step = scale * SCALE_UNIT;
            for pair in row.chunks_exact(2) {
                let [low, high] = [pair[0], pair[1]].map(|w| (level(w, 1.0 / step) + 8.0) as u8);
                table.push(low | high << 4);
            }
            scales.extend((round(scale * factor).min(65_535.0) as u16).to_le_bytes());
        }
    }
    table.extend(scales);
    let mut biases = |values: &[f32], unit: f32| {
        for value in values {
            table.extend((round(value * unit).clamp(-32_768.0, 32_767.0) as i16).to_le_bytes());
        }
    };
    biases(&weights.input_bias, 4096.0);
    biases(&weights.candidate_bias, 4096.0);
    biases(&weights.output_bias, 1024.0 * log2_e);
    assert_eq!(table.len(), layout::LENGTH, "the sections fill the table exactly");
    table
}
