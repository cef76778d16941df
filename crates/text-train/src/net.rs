//! The network that is trained: symbol embedding, one gated recurrent layer, output layer; its
//! loss and gradient over a chunk of texts read side by side.

use compotastic_text::{END, SYMBOLS};

use crate::kernel::{LANES, Packed, ROWS, outer, turn};
use crate::math::{Random, exp, sigmoid, tanh};

/// Rows of the output layer, rounded up for the kernel.
const OUT: usize = SYMBOLS.div_ceil(ROWS) * ROWS;

/// Sizes of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Cells of the recurrent layer; a multiple of 16.
    pub hidden: usize,
    /// Numbers per symbol in the embedding.
    pub embed: usize,
}

/// All numbers that are learnt, row-major; also used for their gradients.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[SYMBOLS][embed]`.
    pub embedding: Vec<f32>,
    /// `[3 * hidden][embed]`; the three parts are reset, update and candidate.
    pub input: Vec<f32>,
    /// `[3 * hidden]`.
    pub input_bias: Vec<f32>,
    /// `[3 * hidden][hidden]`.
    pub recurrent: Vec<f32>,
    /// `[hidden]`: bias of the candidate's recurrent part, inside the reset gate.
    pub candidate_bias: Vec<f32>,
    /// `[SYMBOLS][hidden]`.
    pub output: Vec<f32>,
    /// `[SYMBOLS]`.
    pub output_bias: Vec<f32>,
}

impl Weights {
    /// All zeros.
    pub fn zero(sizes: Sizes) -> Self {
        let Sizes { hidden, embed } = sizes;
        Weights {
            embedding: vec![0.0; SYMBOLS * embed],
            input: vec![0.0; 3 * hidden * embed],
            input_bias: vec![0.0; 3 * hidden],
            recurrent: vec![0.0; 3 * hidden * hidden],
            candidate_bias: vec![0.0; hidden],
            output: vec![0.0; SYMBOLS * hidden],
            output_bias: vec![0.0; SYMBOLS],
        }
    }

    /// Small random numbers to start from.
    pub fn random(sizes: Sizes, random: &mut Random) -> Self {
        let mut weights = Weights::zero(sizes);
        let mut fill =
            |part: &mut [f32], size: f32| part.iter_mut().for_each(|w| *w = random.spread() * size);
        let width = 1.0 / (sizes.hidden as f32).sqrt();
        fill(&mut weights.embedding, 1.0);
        fill(&mut weights.input, 1.0 / (sizes.embed as f32).sqrt());
        fill(&mut weights.recurrent, width * 1.5);
        fill(&mut weights.output, width);
        weights
    }

    /// The parts, in a fixed order.
    pub fn parts(&self) -> [&[f32]; 7] {
        [
            &self.embedding,
            &self.input,
            &self.input_bias,
            &self.recurrent,
            &self.candidate_bias,
            &self.output,
            &self.output_bias,
        ]
    }

    /// The parts, in the order of [`Weights::parts`].
    pub fn parts_mut(&mut self) -> [&mut [f32]; 7] {
        [
            &mut self.embedding,
            &mut self.input,
            &mut self.input_bias,
            &mut self.recurrent,
            &mut self.candidate_bias,
            &mut self.output,
            &mut self.output_bias,
        ]
    }

    /// Adds another set of numbers.
    pub fn add(&mut self, other: &Weights) {
        for (part, other) in self.parts_mut().into_iter().zip(other.parts()) {
            part.iter_mut().zip(other).for_each(|(a, b)| *a += b);
        }
    }
}

/// Weights laid out for computing.
pub struct Net {
    sizes: Sizes,
    /// `[SYMBOLS][3 * hidden]`: what each symbol adds to the gates.
    by_symbol: Vec<f32>,
    embedding: Vec<f32>,
    input: Vec<f32>,
    candidate_bias: Vec<f32>,
    output_bias: Vec<f32>,
    recurrent: Packed,
    recurrent_back: Packed,
    output: Packed,
    output_back: Packed,
}

/// What one shard's texts add to the gradient, and their loss.
pub struct Outcome {
    /// The gradient of the summed loss.
    pub gradient: Weights,
    /// Summed loss in nats.
    pub loss: f64,
}

/// The symbols of a chunk for one shard: `steps + 1` rows of [`LANES`]; row `t` is what is read at
/// step `t` and row `t + 1` what should be predicted. [`END`] also starts a text.
pub type Chunk = Vec<[u8; LANES]>;

impl Net {
    /// Lays out `weights`.
    pub fn new(sizes: Sizes, weights: &Weights) -> Self {
        let Sizes { hidden, embed } = sizes;
        let gates = 3 * hidden;
        let mut by_symbol = vec![0.0; SYMBOLS * gates];
        for symbol in 0..SYMBOLS {
            let vector = &weights.embedding[symbol * embed..(symbol + 1) * embed];
            for gate in 0..gates {
                let row = &weights.input[gate * embed..(gate + 1) * embed];
                let product: f32 = row.iter().zip(vector).map(|(a, b)| a * b).sum();
                by_symbol[symbol * gates + gate] = product + weights.input_bias[gate];
            }
        }
        Net {
            sizes,
            by_symbol,
            embedding: weights.embedding.clone(),
            input: weights.input.clone(),
            candidate_bias: weights.candidate_bias.clone(),
            output_bias: weights.output_bias.clone(),
            recurrent: Packed::new(&weights.recurrent, gates, hidden),
            recurrent_back: Packed::transposed(&weights.recurrent, gates, hidden),
            output: Packed::new(&weights.output, SYMBOLS, hidden),
            output_back: Packed::transposed(&weights.output, SYMBOLS, hidden),
        }
    }

    /// Reads a chunk from `state` (`[hidden][LANES]`, left as it is at the end) and returns the
    /// loss, with the gradient when `learn` is set.
    pub fn run(&self, state: &mut [f32], chunk: &Chunk, learn: bool) -> Outcome {
        let hidden = self.sizes.hidden;
        let gates = 3 * hidden;
        let steps = chunk.len() - 1;
        let cells = hidden * LANES;
        let mut loss = 0.0;
        // For every step: state before, reset, update, candidate, recurrent part of the candidate.
        let mut before = vec![0.0; steps * cells];
        let mut resets = vec![0.0; steps * cells];
        let mut updates = vec![0.0; steps * cells];
        let mut candidates = vec![0.0; steps * cells];
        let mut inner = vec![0.0; steps * cells];
        let mut after = vec![0.0; steps * cells];
        let mut wrong = vec![0.0; steps * OUT * LANES];
        let mut pre = vec![0.0; gates * LANES];
        for step in 0..steps {
            let at = step * cells..(step + 1) * cells;
            let symbols = &chunk[step];
            for (lane, &symbol) in symbols.iter().enumerate() {
                if symbol == END {
                    (0..hidden).for_each(|i| state[i * LANES + lane] = 0.0);
                }
            }
            before[at.clone()].copy_from_slice(state);
            self.recurrent.multiply(state, &mut pre, false);
            let (resets, updates) = (&mut resets[at.clone()], &mut updates[at.clone()]);
            let (candidates, inner) = (&mut candidates[at.clone()], &mut inner[at.clone()]);
            for i in 0..hidden {
                let mut added = [[0.0; LANES]; 3];
                for (lane, &symbol) in symbols.iter().enumerate() {
                    let row = &self.by_symbol[usize::from(symbol) * gates..];
                    added[0][lane] = row[i];
                    added[1][lane] = row[hidden + i];
                    added[2][lane] = row[2 * hidden + i];
                }
                let [to_reset, to_update, to_candidate] = added;
                for lane in 0..LANES {
                    let at = i * LANES + lane;
                    let reset = sigmoid(pre[at] + to_reset[lane]);
                    let update = sigmoid(pre[cells + at] + to_update[lane]);
                    let inside = pre[2 * cells + at] + self.candidate_bias[i];
                    let candidate = tanh(to_candidate[lane] + reset * inside);
                    state[at] = candidate + update * (state[at] - candidate);
                    resets[at] = reset;
                    updates[at] = update;
                    candidates[at] = candidate;
                    inner[at] = inside;
                }
            }
            after[at].copy_from_slice(state);
            let wrong = &mut wrong[step * OUT * LANES..(step + 1) * OUT * LANES];
            self.output.multiply(state, wrong, false);
            loss += self.softmax(wrong, &chunk[step + 1]);
        }
        let mut gradient = Weights::zero(self.sizes);
        if learn {
            let kept = Kept { before, resets, updates, candidates, inner, after, wrong };
            self.back(chunk, &kept, &mut gradient);
        }
        Outcome { gradient, loss }
    }

    /// Turns scores into shares minus truth (the loss's slope) and returns the loss.
    fn softmax(&self, scores: &mut [f32], truth: &[u8; LANES]) -> f64 {
        let mut most = [f32::MIN; LANES];
        for (symbol, row) in scores.chunks_exact_mut(LANES).take(SYMBOLS).enumerate() {
            for (score, most) in row.iter_mut().zip(&mut most) {
                *score += self.output_bias[symbol];
                *most = most.max(*score);
            }
        }
        let mut sums = [0.0f32; LANES];
        for row in scores.chunks_exact_mut(LANES).take(SYMBOLS) {
            for lane in 0..LANES {
                row[lane] = exp(row[lane] - most[lane]);
                sums[lane] += row[lane];
            }
        }
        for row in scores.chunks_exact_mut(LANES).take(SYMBOLS) {
            for lane in 0..LANES {
                row[lane] /= sums[lane];
            }
        }
        let mut loss = 0.0;
        for (lane, &symbol) in truth.iter().enumerate() {
            let share = &mut scores[usize::from(symbol) * LANES + lane];
            loss -= f64::from(*share).max(1e-30).ln();
            *share -= 1.0;
        }
        scores[SYMBOLS * LANES..].fill(0.0);
        loss
    }

    fn back(&self, chunk: &Chunk, kept: &Kept, gradient: &mut Weights) {
        let Sizes { hidden, embed } = self.sizes;
        let gates = 3 * hidden;
        let steps = chunk.len() - 1;
        let cells = hidden * LANES;
        let n = steps * LANES;
        // Slopes of what goes into the gates; of the recurrent matrix (differs in the candidate).
        let mut gate_slopes = vec![0.0; n * gates];
        let mut recurrent_slopes = vec![0.0; n * gates];
        let mut wrong_turned = vec![0.0; n * OUT];
        let mut before_turned = vec![0.0; n * hidden];
        let mut after_turned = vec![0.0; n * hidden];
        let mut slope = vec![0.0; cells];
        let mut gate = vec![0.0; gates * LANES];
        let mut recurrent = vec![0.0; gates * LANES];
        let mut next = vec![0.0; cells];
        for step in (0..steps).rev() {
            let at = step * cells..(step + 1) * cells;
            let wrong = &kept.wrong[step * OUT * LANES..(step + 1) * OUT * LANES];
            self.output_back.multiply(wrong, &mut slope, true);
            let (before, resets) = (&kept.before[at.clone()], &kept.resets[at.clone()]);
            let (updates, candidates) = (&kept.updates[at.clone()], &kept.candidates[at.clone()]);
            let inner = &kept.inner[at.clone()];
            for i in 0..cells {
                let (reset, update, candidate) = (resets[i], updates[i], candidates[i]);
                let to_candidate = slope[i] * (1.0 - update) * (1.0 - candidate * candidate);
                let to_update = slope[i] * (before[i] - candidate) * update * (1.0 - update);
                let to_reset = to_candidate * inner[i] * reset * (1.0 - reset);
                gate[i] = to_reset;
                gate[cells + i] = to_update;
                gate[2 * cells + i] = to_candidate;
                recurrent[i] = to_reset;
                recurrent[cells + i] = to_update;
                recurrent[2 * cells + i] = to_candidate * reset;
                next[i] = slope[i] * update;
            }
            self.recurrent_back.multiply(&recurrent, &mut next, true);
            for (lane, &symbol) in chunk[step].iter().enumerate() {
                if symbol == END {
                    (0..hidden).for_each(|i| next[i * LANES + lane] = 0.0);
                }
            }
            let rows = step * LANES;
            turn(&gate, gates, &mut gate_slopes[rows * gates..(rows + LANES) * gates]);
            turn(&recurrent, gates, &mut recurrent_slopes[rows * gates..(rows + LANES) * gates]);
            turn(wrong, OUT, &mut wrong_turned[rows * OUT..(rows + LANES) * OUT]);
            turn(before, hidden, &mut before_turned[rows * hidden..(rows + LANES) * hidden]);
            turn(&kept.after[at], hidden, &mut after_turned[rows * hidden..(rows + LANES) * hidden]);
            core::mem::swap(&mut slope, &mut next);
        }
        outer(&mut gradient.recurrent, &recurrent_slopes, gates, &before_turned, hidden, n);
        let mut output = vec![0.0; OUT * hidden];
        outer(&mut output, &wrong_turned, OUT, &after_turned, hidden, n);
        gradient.output.copy_from_slice(&output[..SYMBOLS * hidden]);
        let mut by_symbol = vec![0.0; SYMBOLS * gates];
        for row in 0..n {
            let wrong = &wrong_turned[row * OUT..row * OUT + SYMBOLS];
            gradient.output_bias.iter_mut().zip(wrong).for_each(|(a, b)| *a += b);
            let slopes = &recurrent_slopes[row * gates + 2 * hidden..(row + 1) * gates];
            gradient.candidate_bias.iter_mut().zip(slopes).for_each(|(a, b)| *a += b);
            let symbol = usize::from(chunk[row / LANES][row % LANES]);
            let slopes = &gate_slopes[row * gates..(row + 1) * gates];
            by_symbol[symbol * gates..(symbol + 1) * gates].iter_mut().zip(slopes).for_each(|(a, b)| *a += b);
        }
        for symbol in 0..SYMBOLS {
            let slopes = &by_symbol[symbol * gates..(symbol + 1) * gates];
            let vector = &self.embedding[symbol * embed..(symbol + 1) * embed];
            let vector_slope = &mut gradient.embedding[symbol * embed..(symbol + 1) * embed];
            for (gate, &slope) in slopes.iter().enumerate() {
                gradient.input_bias[gate] += slope;
                let row = &self.input[gate * embed..(gate + 1) * embed];
                let row_slope = &mut gradient.input[gate * embed..(gate + 1) * embed];
                for i in 0..embed {
                    row_slope[i] += slope * vector[i];
                    vector_slope[i] += slope * row[i];
                }
            }
        }
    }
}

/// What the way back needs of the way forward; `[steps][rows][LANES]` each.
struct Kept {
    before: Vec<f32>,
    resets: Vec<f32>,
    updates: Vec<f32>,
    candidates: Vec<f32>,
    inner: Vec<f32>,
    after: Vec<f32>,
    wrong: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let sizes = Sizes { hidden: 16, embed: 3 };
        let mut random = Random::new(5);
        let weights = Weights::random(sizes, &mut random);
        let chunk: Chunk =
            (0..7).map(|_| core::array::from_fn(|_| random.below(SYMBOLS.min(5)) as u8)).collect();
        let start: Vec<f32> = (0..16 * LANES).map(|_| random.spread()).collect();
        let loss = |weights: &Weights| Net::new(sizes, weights).run(&mut start.clone(), &chunk, false).loss;
        let gradient = Net::new(sizes, &weights).run(&mut start.clone(), &chunk, true).gradient;
        for part in 0..7 {
            for _ in 0..12 {
                let at = random.below(weights.parts()[part].len());
                let (mut more, mut less) = (weights.clone(), weights.clone());
                more.parts_mut()[part][at] += 3e-3;
                less.parts_mut()[part][at] -= 3e-3;
                let slope = (loss(&more) - loss(&less)) / 6e-3;
                let told = f64::from(gradient.parts()[part][at]);
                assert!((slope - told).abs() < 2e-2 + 1e-2 * slope.abs(), "{part} {at}: {slope} {told}");
            }
        }
    }
}
