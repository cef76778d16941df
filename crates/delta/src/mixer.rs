//! Prediction of one binary decision from several contexts: each context has an adaptive probability, and a small
//! online-trained network (logistic mixing, after Mahoney's PAQ) weighs them by how well they did in this situation.

use crate::logistic::{LIMIT, squash, stretch};
use crate::range::Bits;

/// Contexts per decision.
pub(crate) const INPUTS: usize = 8;
/// Situations with weights of their own.
pub(crate) const SETS: usize = 64;
/// Memory cells of 16 bits, shared by the block map and the probabilities.
pub(crate) const CELLS: usize = 5700;
/// Cells that are addressed directly, for decisions that are taken at every step.
pub(crate) const DIRECT: usize = 0;

/// Probability of a cell: the upper 12 bits; how often it was used: the lower 4.
const FRESH: u16 = 0x8000;
/// How much of the error a cell takes over, by how often it was used: 65536 / (n + 1.6).
const RATE: [u16; 16] = [
    40960, 25206, 18204, 14247, 11703, 9930, 8623, 7620, 6827, 6183, 5650, 5201, 4819, 4489, 4201, 3449,
];
/// What a cell's opinion counts for by how often it was used, in 1/16.
const TRUST: [i32; 16] = [0, 10, 13, 14, 15, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16];

pub static STATS: [core::sync::atomic::AtomicU64; 64] = [const { core::sync::atomic::AtomicU64::new(0) }; 64];
/// Weight at the start; 16384 is one.
const WEIGHT: i16 = 5000;

#[derive(Clone, Debug)]
pub(crate) struct Mixer {
    pub(crate) live: bool,
    pub(crate) cells: [u16; CELLS],
    /// Cells taken by the block map, at the end.
    pub(crate) taken: u16,
    weights: [i16; SETS * INPUTS],
    weights2: [i16; 32 * INPUTS],
}

impl Mixer {
    pub(crate) const fn new() -> Self {
        Self {
            live: false, cells: [FRESH; CELLS],
            taken: 0,
            weights: [WEIGHT; SETS * INPUTS],
            weights2: [WEIGHT; 32 * INPUTS],
        }
    }

    /// As new.
    pub(crate) fn reset(&mut self) {
        self.cells.fill(FRESH);
        self.taken = 0;
        self.weights.fill(WEIGHT);
        self.weights2.fill(WEIGHT);
    }

    /// One decision. `hashes` are the contexts, the decision's place among its siblings included; `set` is the situation.
    pub(crate) fn bit<B: Bits>(
        &mut self,
        bits: &mut B,
        hashes: &[u32],
        set: usize,
        set2: usize,
        limit: u16,
        want: bool,
    ) -> Result<bool, B::Error> {
        let room = (CELLS - DIRECT) as u32 - u32::from(self.taken);
        let mut index = [0_usize; INPUTS];
        let mut input = [0_i32; INPUTS];
        let weights = &mut self.weights[(set % SETS) * INPUTS..][..INPUTS];
        let weights2 = &mut self.weights2[(set2 % 32) * INPUTS..][..INPUTS];
        let mut dot = 0_i64; let mut check = [0u16; INPUTS];
        let mut dot2 = 0_i64;
        for (i, hash) in hashes.iter().enumerate().take(INPUTS) {
            let mixed = hash.wrapping_mul(0x9e37_79b1);
            let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77);
            index[i] = DIRECT + ((u64::from(mixed) * u64::from(room)) >> 32) as usize;
            let cell = self.cells[index[i]];
            check[i] = (mixed & 15) as u16;
            let ok = cell & 15 == check[i];
            input[i] = if ok {(stretch((cell & 0xff80) | 64) * TRUST[usize::from(cell >> 4 & 7)]) >> 4} else {0};
            dot += i64::from(input[i]) * i64::from(weights[i]);
            dot2 += i64::from(input[i]) * i64::from(weights2[i]);
        }
        let d1 = ((dot >> 14) as i32).clamp(-LIMIT, LIMIT);
        let d2 = ((dot2 >> 14) as i32).clamp(-LIMIT, LIMIT);
        let p = squash((d1 + d2) >> 1);
        let p1 = squash(d1);
        let p2 = squash(d2);
        let bit = bits.bit(p, want)?;
        if self.live { STATS[set%64].fetch_add((65536 - crate::logistic::log2(if bit {u32::from(p.max(1))} else {65536-u32::from(p.max(1))})) as u64, core::sync::atomic::Ordering::Relaxed); }
        let target = if bit { 65535_i32 } else { 0 };
        let error = target - i32::from(p1);
        let error2 = target - i32::from(p2);
        for (i, _) in hashes.iter().enumerate().take(INPUTS) {
            weights[i] = learn(weights[i], input[i], error);
            weights2[i] = learn(weights2[i], input[i], error2);
            let cell = &mut self.cells[index[i]];
            if *cell & 15 != check[i] {
                if *cell >> 4 & 7 > 2 { *cell -= 16; continue; }
                *cell = 0x8000 | check[i];
            }
            let count = *cell >> 4 & 7;
            let p = i32::from(*cell & 0xff80) | 64;
            let moved = p + (((target - p) * i32::from(RATE[usize::from(count)] >> 1)) >> 15);
            *cell = (moved.clamp(0, 65535) as u16 & 0xff80) | if count < limit.min(7) { count + 1 } else { count } << 4 | check[i];
        }
        Ok(bit)
    }
}

/// A weight after an error in 1/65536.
fn learn(weight: i16, input: i32, error: i32) -> i16 {
    let by = ((input * (error >> 2)) + (1 << 14)) >> 15;
    let by = (by * RATE_OF_WEIGHTS + 16) >> 5;
    (i32::from(weight) + by).clamp(-32768, 32767) as i16
}
const RATE_OF_WEIGHTS: i32 = 20;
