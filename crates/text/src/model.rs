//! The predictor: a small recurrent network in integer arithmetic, read straight from the table.
//!
//! One gated recurrent layer reads a symbol at a time; an output layer scores the next symbol.
//! Weights have 4 bits and a scale per row, states and gates are 15-bit fractions. `Model` keeps
//! the layer's state only; everything else is the constant table.

use crate::functions::{EXP2, sigmoid, tanh};
use crate::symbols::{END, SYMBOLS};
use crate::table::{self, TABLE, layout};

/// Sum of the shares of all symbols.
pub(crate) const TOTAL: u32 = 1 << 16;

/// Share that every symbol keeps, however unlikely: bounds what a surprise can cost.
const FLOOR: u32 = 2;

const HIDDEN: usize = table::HIDDEN;
const EMBED: usize = table::EMBED;

/// Predicts the next symbol from all symbols before it.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    /// The recurrent state, in 1/32768.
    state: [i16; HIDDEN],
}

impl Model {
    /// A model at the start of a text.
    pub(crate) fn new() -> Self {
        let mut model = Model { state: [0; HIDDEN] };
        model.update(END);
        model
    }

    /// The share of every symbol: at least 1 each, [`TOTAL`] together.
    pub(crate) fn shares(&self, shares: &mut [u32; SYMBOLS]) {
        let sum = sum_of(&self.state);
        let mut most = i32::MIN;
        for (symbol, score) in shares.iter_mut().enumerate() {
            let weights = &TABLE[layout::OUTPUT + symbol * HIDDEN / 2..][..HIDDEN / 2];
            // Scores are in 1/1024 bit: state 15 + scale 17 - 10 bits.
            let scaled = scale(dot(weights, &self.state, sum), word(layout::OUTPUT_SCALE, symbol), 22);
            let value = scaled + i32::from(word(layout::OUTPUT_BIAS, symbol) as i16);
            most = most.max(value);
            *score = value as u32;
        }
        let mut together = 0u32;
        for score in shares.iter_mut() {
            let below = most.wrapping_sub(*score as i32) as u32;
            *score = EXP2[(below >> 2) as usize & 255].checked_shr(below >> 10).unwrap_or(0);
            together += *score;
        }
        // The likeliest symbol alone adds 2^20, so there is something to divide by.
        let factor = (u64::from(TOTAL - FLOOR * SYMBOLS as u32) << 28) / u64::from(together);
        let (mut left, mut best) = (TOTAL, 0);
        for symbol in 0..SYMBOLS {
            let share = FLOOR + ((u64::from(shares[symbol]) * factor) >> 28) as u32;
            left -= share;
            shares[symbol] = share;
            if share > shares[best] {
                best = symbol;
            }
        }
        // What rounding left over goes to the likeliest.
        shares[best] += left;
    }

    /// Reads the next symbol.
    pub(crate) fn update(&mut self, symbol: u8) {
        let vector = &TABLE[layout::EMBEDDING + usize::from(symbol) * EMBED..][..EMBED];
        let mut embedding = [0i16; EMBED];
        for (to, &from) in embedding.iter_mut().zip(vector) {
            *to = i16::from(from as i8);
        }
        let embedding_sum = sum_of(&embedding);
        let state = self.state;
        let state_sum = sum_of(&state);
        // What goes into a gate, in 1/4096.
        let input = |row: usize| {
            let weights = &TABLE[layout::INPUT + row * EMBED / 2..][..EMBED / 2];
            scale(dot(weights, &embedding, embedding_sum), word(layout::INPUT_SCALE, row), 10)
                + i32::from(word(layout::INPUT_BIAS, row) as i16)
        };
        let recurrent = |row: usize| {
            let weights = &TABLE[layout::RECURRENT + row * HIDDEN / 2..][..HIDDEN / 2];
            scale(dot(weights, &state, state_sum), word(layout::RECURRENT_SCALE, row), 20)
        };
        for (cell, next) in self.state.iter_mut().enumerate() {
            let reset = sigmoid(input(cell) + recurrent(cell));
            let keep = sigmoid(input(HIDDEN + cell) + recurrent(HIDDEN + cell));
            let inner = recurrent(2 * HIDDEN + cell) + i32::from(word(layout::CANDIDATE_BIAS, cell) as i16);
            // A row's sum is below 2^22, so the product with a 15-bit fraction needs 64 bits.
            let gated = ((i64::from(inner) * i64::from(reset)) >> 15) as i32;
            let candidate = tanh(input(2 * HIDDEN + cell) + gated);
            let change = (i32::from(state[cell]) - candidate) * keep;
            *next = (candidate + ((change + (1 << 14)) >> 15)).clamp(-32767, 32767) as i16;
        }
    }
}

/// The 16-bit number at position `index` of a section.
fn word(section: usize, index: usize) -> u16 {
    u16::from_le_bytes([TABLE[section + 2 * index], TABLE[section + 2 * index + 1]])
}

fn sum_of(values: &[i16]) -> i32 {
    values.iter().map(|&v| i32::from(v)).sum()
}

/// Sum of weight times value. Weights lie two in a byte, the first in the low half, 8 too high:
/// `sum`, the sum of the values, takes that back at once.
fn dot(weights: &[u8], values: &[i16], sum: i32) -> i32 {
    let mut total = 0;
    for (&pair, values) in weights.iter().zip(values.chunks_exact(2)) {
        total += i32::from(pair & 15) * i32::from(values[0]) + i32::from(pair >> 4) * i32::from(values[1]);
    }
    total - 8 * sum
}

/// `value * factor / 2^bits`, rounded to nearest.
fn scale(value: i32, factor: u16, bits: u32) -> i32 {
    ((i64::from(value) * i64::from(factor) + (1 << (bits - 1))) >> bits) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_always_add_up() {
        let mut model = Model::new();
        let mut shares = [0; SYMBOLS];
        for step in 0..400u32 {
            model.shares(&mut shares);
            assert_eq!(shares.iter().sum::<u32>(), TOTAL);
            assert!(shares.iter().all(|&share| share >= FLOOR));
            model.update((step * step % SYMBOLS as u32) as u8);
        }
    }

    #[test]
    fn dot_takes_the_offset_back() {
        // Weights -8, 7, 0, 1.
        let weights = [0xF0, 0x98];
        let values = [3, 5, 1000, -7];
        assert_eq!(dot(&weights, &values, sum_of(&values)), -24 + 35 - 7);
    }
}
