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

/// A cell: its opinion in 8 bits, how often it was used in 3, and 5 that tell contexts with the same cell apart.
const FRESH: u16 = 128 << 8;
/// How much of the error a cell takes over, by how often it was used, in 1/256.
const RATE: [i32; 8] = [160, 98, 71, 56, 46, 39, 32, 26];
/// What a cell's opinion counts for by how often it was used, in 1/16.
const TRUST: [i32; 8] = [0, 10, 13, 14, 15, 16, 16, 16];
/// Opinions are this far apart in the logistic domain.
const LEVEL: i32 = 2 * LIMIT / 256;

const fn opinion(level: i32) -> i32 {
    (level - 128) * LEVEL + LEVEL / 2
}

/// The next opinion, by decision, use and opinion.
static NEXT: [[[u8; 256]; 8]; 2] = next();

const fn next() -> [[[u8; 256]; 8]; 2] {
    let mut next = [[[0; 256]; 8]; 2];
    let mut bit = 0;
    while bit < 2 {
        let mut used = 0;
        while used < 8 {
            let mut level = 0;
            while level < 256 {
                let p = squash(opinion(level as i32)) as i32;
                let target = if bit == 1 { 65535 } else { 0 };
                let moved = stretch((p + (target - p) * RATE[used] / 256) as u16);
                let to = (moved + 128 * LEVEL) / LEVEL;
                next[bit][used][level] = if to > 255 { 255 } else { to as u8 };
                level += 1;
            }
            used += 1;
        }
        bit += 1;
    }
    next
}

const CHECK: u16 = 31;

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
            check[i] = (mixed & CHECK as u32) as u16;
            let other = index[i] ^ 1;
            if self.cells[index[i]] & CHECK != check[i] && other < CELLS - usize::from(self.taken)
                && (self.cells[other] & CHECK == check[i] || self.cells[other] >> 5 & 7 < self.cells[index[i]] >> 5 & 7) {
                index[i] = other;
            }
            let cell = self.cells[index[i]];
            let ok = cell & CHECK == check[i];
            input[i] = if ok {(opinion(i32::from(cell >> 8)) * TRUST[usize::from(cell >> 5 & 7)]) >> 4} else {0};
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
            if *cell & CHECK != check[i] {
                if *cell >> 5 & 7 > 2 { *cell -= 32; continue; }
                *cell = FRESH | check[i];
            }
            let count = *cell >> 5 & 7;
            let level = NEXT[usize::from(bit)][usize::from(count)][usize::from(*cell >> 8)];
            *cell = u16::from(level) << 8 | if count < limit.min(7) { count + 1 } else { count } << 5 | check[i];
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
