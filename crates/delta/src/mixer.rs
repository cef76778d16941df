//! Prediction of one binary decision from several contexts. Each context has a cell with an adaptive opinion; a small
//! online-trained network (logistic mixing, after Mahoney's PAQ) weighs them by how well they did in this situation.

use crate::logistic::{LIMIT, squash, stretch};
use crate::range::Bits;

/// Contexts per decision, at most.
pub(crate) const INPUTS: usize = 8;
/// Situations with weights of their own: what is decided, and what is known beside it.
const SETS: [usize; 2] = [64, 32];
/// Cells of 16 bits, shared by the block map (at the end) and the opinions. All memory that is left to the decoder.
pub(crate) const CELLS: usize = 5640;

/// A cell: its opinion in 8 bits, how often it was used in 3, and 5 that tell contexts with the same cell apart.
const FRESH: u16 = 128 << 8;
const CHECK: u16 = 31;
const USED_SHIFT: u16 = 5;
const MOST_USED: u16 = 7;
/// A cell that was used more often than this resists being taken by another context, for a while.
const ESTABLISHED: u16 = 2;
/// How much of the error a cell takes over, by how often it was used, in 1/256.
const RATE: [i32; 8] = [160, 98, 71, 56, 46, 39, 32, 26];
/// What a cell's opinion counts for by how often it was used, in 1/16.
const TRUST: [i32; 8] = [0, 10, 13, 14, 15, 16, 16, 16];
/// Opinions are this far apart in the logistic domain.
const LEVEL: i32 = 2 * LIMIT / 256;

/// Weight at the start; 16384 is one.
const WEIGHT: i16 = 5000;
/// How fast weights are learned.
const LEARNING: i32 = 20;

const fn opinion(level: i32) -> i32 {
    (level - 128) * LEVEL + LEVEL / 2
}

/// The next opinion, by decision, use and opinion: 4 KiB of flash instead of logarithms.
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

fn used(cell: u16) -> u16 {
    (cell >> USED_SHIFT) & MOST_USED
}

#[derive(Clone, Debug)]
pub(crate) struct Mixer {
    pub(crate) cells: [u16; CELLS],
    /// Cells taken by the block map, at the end.
    pub(crate) taken: u16,
    weights: [[i16; INPUTS]; SETS[0]],
    beside: [[i16; INPUTS]; SETS[1]],
}

impl Mixer {
    pub(crate) const fn new() -> Self {
        Self {
            cells: [FRESH; CELLS],
            taken: 0,
            weights: [[WEIGHT; INPUTS]; SETS[0]],
            beside: [[WEIGHT; INPUTS]; SETS[1]],
        }
    }

    /// As new.
    pub(crate) fn reset(&mut self) {
        self.cells.fill(FRESH);
        self.taken = 0;
        self.weights.fill([WEIGHT; INPUTS]);
        self.beside.fill([WEIGHT; INPUTS]);
    }

    /// Where a context's opinion is, or may be put, and its check bits.
    fn find(&self, hash: u32) -> (usize, u16) {
        let room = CELLS - usize::from(self.taken);
        let mixed = hash.wrapping_mul(0x9e37_79b1);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77);
        let first = ((u64::from(mixed) * room as u64) >> 32) as usize;
        let check = mixed as u16 & CHECK;
        let second = first ^ 1;
        let theirs = |at: usize| self.cells[at] & CHECK == check;
        if !theirs(first)
            && second < room
            && (theirs(second) || used(self.cells[second]) < used(self.cells[first]))
        {
            return (second, check);
        }
        (first, check)
    }

    /// One decision. `contexts` are hashes, the decision's place among its siblings included; `situation` chooses the weights.
    pub(crate) fn bit<B: Bits>(
        &mut self,
        bits: &mut B,
        contexts: &[u32],
        situation: (usize, usize),
        want: bool,
    ) -> Result<bool, B::Error> {
        let mut found = [(0_usize, 0_u16); INPUTS];
        let mut input = [0_i32; INPUTS];
        let sets = (situation.0 % SETS[0], situation.1 % SETS[1]);
        // Eight products of at most 2^12 and 2^15 fit 31 bits.
        let (mut dot, mut dot_beside) = (0_i32, 0_i32);
        for (i, context) in contexts.iter().enumerate().take(INPUTS) {
            found[i] = self.find(*context);
            let cell = self.cells[found[i].0];
            if cell & CHECK == found[i].1 {
                input[i] = (opinion(i32::from(cell >> 8)) * TRUST[usize::from(used(cell))]) >> 4;
            }
            dot += input[i] * i32::from(self.weights[sets.0][i]);
            dot_beside += input[i] * i32::from(self.beside[sets.1][i]);
        }
        let dot = (dot >> 14).clamp(-LIMIT, LIMIT);
        let dot_beside = (dot_beside >> 14).clamp(-LIMIT, LIMIT);
        let bit = bits.bit(squash((dot + dot_beside) >> 1), want)?;
        let target = if bit { 65535 } else { 0 };
        let error = target - i32::from(squash(dot));
        let error_beside = target - i32::from(squash(dot_beside));
        for i in 0..contexts.len().min(INPUTS) {
            learn(&mut self.weights[sets.0][i], input[i], error);
            learn(&mut self.beside[sets.1][i], input[i], error_beside);
            learn_cell(&mut self.cells[found[i].0], found[i].1, bit);
        }
        Ok(bit)
    }
}

/// A cell after a decision.
fn learn_cell(cell: &mut u16, check: u16, bit: bool) {
    if *cell & CHECK != check {
        if used(*cell) > ESTABLISHED {
            *cell -= 1 << USED_SHIFT;
            return;
        }
        *cell = FRESH | check;
    }
    let count = used(*cell);
    let level = NEXT[usize::from(bit)][usize::from(count)][usize::from(*cell >> 8)];
    *cell = u16::from(level) << 8 | (count + 1).min(MOST_USED) << USED_SHIFT | check;
}

/// A weight after an error in 1/65536.
fn learn(weight: &mut i16, input: i32, error: i32) {
    let by = (input * (error >> 2) + (1 << 14)) >> 15;
    let by = (by * LEARNING + 16) >> 5;
    *weight = (i32::from(*weight) + by).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;

    use super::*;

    struct Asked(u16);

    impl Bits for Asked {
        type Error = Infallible;

        fn bit(&mut self, p: u16, want: bool) -> Result<bool, Infallible> {
            self.0 = p;
            Ok(want)
        }
    }

    #[test]
    fn what_always_happens_is_expected() {
        let mut mixer = Mixer::new();
        let mut asked = Asked(0);
        for _ in 0..200 {
            for (context, want) in [(7, true), (9, false)] {
                assert!(mixer.bit(&mut asked, &[context, 1], (0, 0), want).is_ok());
            }
        }
        assert!(mixer.bit(&mut asked, &[7, 1], (0, 0), true).is_ok() && asked.0 > 64_000, "{}", asked.0);
        assert!(mixer.bit(&mut asked, &[9, 1], (0, 0), false).is_ok() && asked.0 < 1_500, "{}", asked.0);
    }

    #[test]
    fn the_map_is_not_written_over() {
        let mut mixer = Mixer::new();
        mixer.taken = 600;
        mixer.cells[CELLS - 600..].fill(0x1234);
        for context in 0..20_000 {
            assert!(mixer.bit(&mut Asked(0), &[context, context ^ 77], (1, 2), context % 3 == 0).is_ok());
        }
        assert!(mixer.cells[CELLS - 600..].iter().all(|cell| *cell == 0x1234));
    }
}
