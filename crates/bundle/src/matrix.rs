//! The memory of a decoder: a binary matrix with four multipliers in each row.
//!
//! The unknowns are the l missing pieces and the four dense combinations. While symbols arrive, row c is the one whose
//! first piece is the c-th missing one, if there is such a symbol ([`Matrix::insert`]): l bits, and the four multipliers
//! as they have become by adding rows. Symbols whose binary part is a sum of others' leave an equation in the dense
//! combinations alone; there are four such at most. That the dense combinations are what they are gives four more
//! equations, which [`Matrix::lacking`] counts in at the end.
//!
//! For the solution it is filled anew and inverted in place ([`Matrix::invert`]); the multipliers' place is used
//! otherwise then. What is left of the memory holds parts of the solution, see [`crate::solve`].

use crate::bits::Bits;
use crate::code::{Code, DENSE, MAX_CODED};
use crate::gf;
use crate::object::MAX_AIR_PIECE;

/// Memory that the matrix leaves for the solution: the dense combinations and as many pieces again, of the longest that
/// fit a packet. Longer ones are solved in parts.
pub const SOLUTION_BYTES: usize = 2 * DENSE * MAX_AIR_PIECE as usize;
/// Bytes of multipliers in a row.
const MULTIPLIERS: usize = DENSE;
const ROW_BYTES: usize = (MAX_CODED / 8) as usize + MULTIPLIERS;

/// Bytes of memory for a decoder that may have `missing` pieces.
pub const fn memory_for(missing: u16) -> usize {
    missing as usize * (missing.div_ceil(8) as usize + MULTIPLIERS) + SOLUTION_BYTES
}

/// What a symbol is to a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Its pieces were not a sum of others'.
    Binary,
    /// Its pieces were, but it says something about the dense combinations.
    Dense,
    /// It follows from others.
    Nothing,
}

/// A matrix in `BYTES` of memory: enough for l missing pieces if `BYTES` is at least [`memory_for`] l.
#[derive(Clone, Debug)]
pub struct Matrix<const BYTES: usize> {
    cells: [u8; BYTES],
    width: u16,
    /// Rows in `cells`.
    binary: u16,
    /// Equation j begins with dense combination j, once; 0 if there is none.
    dense: [u32; DENSE],
    peak: u32,
}

impl<const BYTES: usize> Default for Matrix<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize> Matrix<BYTES> {
    /// An empty matrix for no pieces.
    pub const fn new() -> Self {
        Self { cells: [0; BYTES], width: 0, binary: 0, dense: [0; DENSE], peak: 0 }
    }

    /// Whether it can hold the symbols of so many missing pieces.
    pub const fn fits(missing: u16) -> bool {
        missing == 0 || missing <= MAX_CODED && memory_for(missing) <= BYTES
    }

    /// The most missing pieces that it can hold the symbols of.
    pub const fn capacity() -> u16 {
        let mut missing = 0;
        while missing < MAX_CODED && Self::fits(missing + 1) {
            missing += 1;
        }
        missing
    }

    /// Empties it for symbols of so many missing pieces, which must fit.
    pub fn reset(&mut self, missing: u16) {
        self.width = if Self::fits(missing) { missing } else { 0 };
        self.binary = 0;
        self.dense = [0; DENSE];
        let used = self.used();
        self.cells[..used].fill(0);
        self.note_peak(used);
    }

    /// The most bytes of it that have been in use at a time.
    pub fn peak(&self) -> usize {
        self.peak as usize
    }

    fn note_peak(&mut self, used: usize) {
        self.peak = self.peak.max(used as u32);
    }

    /// So many bytes are in use besides the rows.
    pub(crate) fn note_rest(&mut self, used: usize) {
        self.note_peak(self.used() + used);
    }

    /// The cells as plain memory while no generation is being received.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.reset(0);
        &mut self.cells
    }

    fn stride(&self) -> usize {
        usize::from(self.width).div_ceil(8) + MULTIPLIERS
    }

    fn used(&self) -> usize {
        usize::from(self.width) * self.stride()
    }

    /// What the rows leave free.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.cells[self.used()..]
    }

    /// What the rows leave free.
    pub(crate) fn rest_mut(&mut self) -> &mut [u8] {
        let used = self.used();
        &mut self.cells[used..]
    }

    /// Bits of row `r`, without its multipliers.
    pub(crate) fn row(&self, r: u16) -> &[u8] {
        let stride = self.stride();
        &self.cells[usize::from(r) * stride..][..stride - MULTIPLIERS]
    }

    /// Cell of row `r`, column `c`.
    pub(crate) fn bit(&self, r: u16, c: u16) -> bool {
        self.row(r)[usize::from(c / 8)] >> (c % 8) & 1 == 1
    }

    /// Whether there is a row that begins with column `c`.
    pub(crate) fn has_row(&self, c: u16) -> bool {
        self.bit(c, c)
    }

    fn multipliers_at(&self, r: u16) -> usize {
        (usize::from(r) + 1) * self.stride() - MULTIPLIERS
    }

    /// The four bytes beside row `r`.
    pub(crate) fn word(&self, r: u16) -> u32 {
        let at = self.multipliers_at(r);
        u32::from_le_bytes([self.cells[at], self.cells[at + 1], self.cells[at + 2], self.cells[at + 3]])
    }

    fn set_word(&mut self, r: u16, word: u32) {
        let at = self.multipliers_at(r);
        self.cells[at..at + MULTIPLIERS].copy_from_slice(&word.to_le_bytes());
    }

    /// Adds the value of each row to the words of the columns in which it has a bit.
    pub(crate) fn add_down(&mut self, values: impl Iterator<Item = u32>) {
        for (r, value) in (0..self.width).zip(values) {
            for c in 0..self.width {
                if self.bit(r, c) {
                    self.set_word(c, self.word(c) ^ value);
                }
            }
        }
    }

    /// Reduces a symbol by those before it and keeps what is left. `open` are the missing pieces, as many as the matrix was
    /// emptied for, and the same for all symbols since.
    pub fn insert(&mut self, code: &Code, open: &Bits, id: u16) -> Inserted {
        if self.width == 0 || open.count() != self.width {
            return Inserted::Nothing;
        }
        let row = code.row(id);
        let (mut packed, stride) = ([0; ROW_BYTES], self.stride());
        let packed = &mut packed[..stride];
        row.bits.pick(open, packed);
        packed[stride - MULTIPLIERS..].copy_from_slice(&row.dense.to_le_bytes());
        for at in 0..stride - MULTIPLIERS {
            while packed[at] != 0 {
                let column = 8 * at + packed[at].trailing_zeros() as usize;
                let place = &mut self.cells[column * stride..][..stride];
                if place[at] >> (column % 8) & 1 == 0 {
                    place.copy_from_slice(packed);
                    self.binary += 1;
                    return Inserted::Binary;
                }
                // It begins with this column, so that what is before it need not be added.
                gf::xor(&mut packed[at..], &place[at..]);
            }
        }
        let &[.., a, b, c, d] = &*packed else { return Inserted::Nothing };
        let rest = self.reduce_dense(u32::from_le_bytes([a, b, c, d]));
        if rest == 0 {
            return Inserted::Nothing;
        }
        let first = (rest.trailing_zeros() / 8) as usize;
        self.dense[first] = gf::mul4(rest, gf::inv(rest.to_le_bytes()[first]));
        Inserted::Dense
    }

    /// An equation in the dense combinations, less those that are known.
    fn reduce_dense(&self, mut word: u32) -> u32 {
        for (j, known) in self.dense.iter().enumerate().filter(|(_, known)| **known != 0) {
            word ^= gf::mul4(*known, word.to_le_bytes()[j]);
        }
        word
    }

    /// How many more symbols the solution needs, at least; none if it can be had.
    pub fn lacking(&mut self, code: &Code, open: &Bits) -> u16 {
        let known = self.binary + self.dense.iter().filter(|row| **row != 0).count() as u16;
        if known < self.width { self.width - known } else { self.lacking_at_end(code, open) }
    }

    /// Reduces the equations of the dense combinations by the rows: as many as are then independent are known besides.
    fn lacking_at_end(&mut self, code: &Code, open: &Bits) -> u16 {
        let mut rows = [[0; 2 * DENSE]; DENSE];
        let free = usize::from(self.width - self.binary);
        for (j, row) in rows.iter_mut().enumerate() {
            let (used, stride) = (self.used(), self.stride());
            let (cells, values) = self.cells.split_at_mut(used);
            // One byte for each missing piece: what is left of equation j.
            for (value, piece) in values.iter_mut().zip(open.iter()) {
                *value = code.dense(piece).to_le_bytes()[j];
            }
            let mut dense = 1 << (8 * j);
            let mut at = 0;
            for (column, cells) in cells.chunks_exact(stride).enumerate() {
                let factor = values[column];
                if cells[column / 8] >> (column % 8) & 1 == 0 {
                    // At most as many as there are equations in the dense combinations alone.
                    row[at] = factor;
                    at += 1;
                } else if factor != 0 {
                    let (bits, word) = cells.split_at(stride - MULTIPLIERS);
                    for (values, byte) in values.chunks_mut(8).zip(bits).skip(column / 8) {
                        (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| values[bit] ^= factor);
                    }
                    dense ^= gf::mul4(u32::from_le_bytes([word[0], word[1], word[2], word[3]]), factor);
                }
            }
            row[at..at + DENSE].copy_from_slice(&self.reduce_dense(dense).to_le_bytes());
        }
        self.note_rest(usize::from(self.width));
        let known = self.dense.iter().filter(|row| **row != 0).count();
        (free + DENSE - known).saturating_sub(rank(&mut rows)) as u16
    }

    /// Empties it for the inverse of the symbols' part in `pieces`, as many as `ids` gives symbols, and inverts it: bit c
    /// of row r tells whether symbol c is in the sum for piece r. False if there is no inverse. The words beside the rows
    /// are zero then.
    pub(crate) fn invert(&mut self, code: &Code, pieces: &Bits, ids: impl Iterator<Item = u16>) -> bool {
        let n = pieces.count();
        self.reset(n);
        let stride = self.stride();
        for (place, id) in self.cells.chunks_exact_mut(stride).take(usize::from(n)).zip(ids) {
            code.row(id).bits.pick(pieces, &mut place[..stride - MULTIPLIERS]);
        }
        // Gauss-Jordan in place. The word beside a row tells which one it was exchanged for.
        for p in 0..n {
            let Some(r) = (p..n).find(|r| self.bit(*r, p)) else { return false };
            self.swap_rows(p, r);
            self.set_word(p, u32::from(r));
            let mut pivot = [0; ROW_BYTES];
            let bits = stride - MULTIPLIERS;
            pivot[..bits].copy_from_slice(self.row(p));
            let (byte, bit) = (usize::from(p / 8), 1 << (p % 8));
            for (r, row) in (0..n).zip(self.cells.chunks_exact_mut(stride)) {
                // The pivot's column becomes that of the inverse: 1 in its row, and what the others take of it.
                if r != p && row[byte] & bit != 0 {
                    row[byte] ^= bit;
                    gf::xor(&mut row[..bits], &pivot[..bits]);
                }
            }
        }
        // Row swaps of the matrix are column swaps of its inverse, undone from the last.
        for p in (0..n).rev() {
            let other = self.word(p) as u16;
            self.set_word(p, 0);
            if other != p {
                for row in self.cells.chunks_exact_mut(stride).take(usize::from(n)) {
                    let (a, b) = (usize::from(p), usize::from(other));
                    if (row[a / 8] >> (a % 8) ^ row[b / 8] >> (b % 8)) & 1 == 1 {
                        row[a / 8] ^= 1 << (a % 8);
                        row[b / 8] ^= 1 << (b % 8);
                    }
                }
            }
        }
        true
    }

    fn swap_rows(&mut self, a: u16, b: u16) {
        let (stride, bits) = (self.stride(), self.stride() - MULTIPLIERS);
        if a != b {
            let (low, high) = self.cells.split_at_mut(usize::from(a.max(b)) * stride);
            low[usize::from(a.min(b)) * stride..][..bits].swap_with_slice(&mut high[..bits]);
        }
    }
}

/// Rank of a few rows over GF(256), which are reduced.
fn rank<const W: usize>(rows: &mut [[u8; W]]) -> usize {
    let mut rank = 0;
    for column in 0..W {
        let Some(r) = (rank..rows.len()).find(|r| rows[*r][column] != 0) else { continue };
        rows.swap(rank, r);
        let pivot = rows[rank];
        for row in &mut rows[rank + 1..] {
            let factor = gf::mul(row[column], gf::inv(pivot[column]));
            gf::add_scaled(row, &pivot, factor);
        }
        rank += 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectTag;
    use std::vec::Vec;

    fn check(k: u16, generation: u8) {
        let code = Code::new(ObjectTag(0x1234_5678), generation, k);
        let open = Bits::below(k);
        let mut m = Matrix::<{ memory_for(300) }>::new();
        m.reset(k);
        let mut ids = Vec::new();
        for id in k.. {
            if m.insert(&code, &open, id) == Inserted::Binary {
                ids.push(id);
            }
            if m.binary == k {
                break;
            }
        }
        assert!(m.invert(&code, &open, ids.iter().copied()));
        for r in 0..k {
            let mut sum = Bits::default();
            (0..k).filter(|c| m.bit(r, *c)).for_each(|c| sum.toggle(&code.row(ids[usize::from(c)]).bits));
            assert_eq!(sum.iter().collect::<Vec<_>>(), [r], "k {k}");
            assert_eq!(m.word(r), 0);
        }
    }

    #[test]
    fn inverse_times_matrix_is_one() {
        for k in [1, 2, 3, 8, 24, 64, 91, 100, 128, 255, 256, 300] {
            (0..3).for_each(|generation| check(k, generation));
        }
    }

    #[test]
    fn a_singular_matrix_has_no_inverse() {
        let code = Code::new(ObjectTag(5), 0, 4);
        let mut m = Matrix::<{ memory_for(4) }>::new();
        assert!(!m.invert(&code, &Bits::below(2), [0, 0].into_iter()));
        assert!(m.invert(&code, &Bits::below(2), [1, 0].into_iter()));
    }

    #[test]
    fn capacity_is_what_fits() {
        type M = Matrix<10_880>;
        assert_eq!(M::capacity(), 256);
        assert!(M::fits(256) && !M::fits(257));
        assert_eq!(memory_for(256), 256 * 36 + 1664);
        assert_eq!(Matrix::<16>::capacity(), 0);
    }

    /// The rank over GF(256), with the dense combinations written out, says the same as the two-part matrix.
    #[test]
    fn it_lacks_what_full_elimination_lacks() {
        let mut ends = 0;
        for (k, missing, generation) in [(1u16, 1u16, 0), (5, 3, 1), (24, 24, 2), (40, 17, 3), (64, 33, 4)] {
            for salt in 0..200u16 {
                let code = Code::new(ObjectTag(u32::from(salt)), generation, k);
                let open = Bits::below(missing);
                let mut m = Matrix::<{ memory_for(64) }>::new();
                m.reset(missing);
                let mut rows: Vec<[u8; 64]> = Vec::new();
                for id in k.. {
                    let row = code.row(id);
                    let mut full = [0; 64];
                    for piece in open.iter() {
                        full[usize::from(piece)] =
                            u8::from(row.bits.contains(piece)) ^ gf::dot4(row.dense, code.dense(piece));
                    }
                    rows.push(full);
                    let inserted = m.insert(&code, &open, id);
                    let truth = missing - rank(&mut rows.clone()) as u16;
                    let lacking = m.lacking(&code, &open);
                    assert!(lacking <= truth, "never more than the truth");
                    assert_eq!(lacking == 0, truth == 0, "k {k} salt {salt} {inserted:?}");
                    if truth == 0 {
                        ends += 1;
                        break;
                    }
                }
            }
        }
        assert_eq!(ends, 1000);
    }
}
