//! The erasure code: systematic, rateless, with coefficients that anyone computes from the symbol's id.
//!
//! Symbol `id` below the generation's length k is piece `id` itself. Any other is a random linear combination of the k
//! pieces. Coefficients come from SplitMix64 seeded with `tag | generation << 32 | id << 40`:
//! for k up to [`GF256_MAX`] one byte of output per piece (little-endian bytes of each word), 0 read as 1, in GF(256)
//! (see [`crate::gf`]); above, one bit per piece (lowest bit first) in GF(2), and if no bit is set, bit `id % k`.
//! GF(256) needs 0.004 symbols more than k on average, GF(2) 1.6; both matrices fit the same 8 KiB.

use crate::gf;
use crate::object::{Layout, MAX_GENERATION, MAX_PIECE_SIZE, ObjectTag, PieceSource};

/// Largest generation that is coded over GF(256): its matrix of 90 * 90 bytes fits that of 256 * 256 bits.
pub const GF256_MAX: u16 = 90;

const MATRIX_BYTES: usize = 8192;
const ROW_MAX: usize = MAX_GENERATION as usize;

/// Coefficients of one symbol, one byte each (0 or 1 in GF(2)).
pub(crate) type Row = [u8; ROW_MAX];

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The first `k` coefficients of symbol `id`; the rest of the row is zero.
pub(crate) fn coefficients(tag: ObjectTag, generation: u8, id: u16, k: u16) -> Row {
    let mut row = [0; ROW_MAX];
    if id < k {
        row[usize::from(id)] = 1;
        return row;
    }
    let mut state = u64::from(tag.0) | u64::from(generation) << 32 | u64::from(id) << 40;
    let row_k = &mut row[..usize::from(k)];
    if k <= GF256_MAX {
        for chunk in row_k.chunks_mut(8) {
            for (c, byte) in chunk.iter_mut().zip(splitmix64(&mut state).to_le_bytes()) {
                *c = byte.max(1);
            }
        }
    } else {
        for chunk in row_k.chunks_mut(64) {
            let word = splitmix64(&mut state);
            for (bit, c) in chunk.iter_mut().enumerate() {
                *c = (word >> bit & 1) as u8;
            }
        }
        if row_k.iter().all(|c| *c == 0) {
            row_k[usize::from(id % k)] = 1;
        }
    }
    row
}

/// Why there is no such symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError<E> {
    /// The object has no such generation.
    NoGeneration,
    /// The output is shorter than a piece.
    ShortBuffer,
    /// The source failed.
    Source(E),
}

/// Makes the symbols of an object from wherever its stream lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    layout: Layout,
    tag: ObjectTag,
}

impl Encoder {
    /// An encoder for the object of this tag.
    pub fn new(layout: Layout, tag: ObjectTag) -> Self {
        Self { layout, tag }
    }

    /// How the object is cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes symbol `id` of a generation to `out` and returns its length: the piece size, or less for the object's last
    /// piece uncoded.
    pub fn symbol<S: PieceSource>(
        &self,
        generation: u8,
        id: u16,
        source: &mut S,
        out: &mut [u8],
    ) -> Result<usize, EncodeError<S::Error>> {
        let range = self.layout.generation(generation);
        if range.is_empty() {
            return Err(EncodeError::NoGeneration);
        }
        let piece_size = self.layout.piece_size();
        let k = range.len() as u16;
        let out = out.get_mut(..usize::from(piece_size)).ok_or(EncodeError::ShortBuffer)?;
        if id < k {
            let index = range.start + u32::from(id);
            let len = self.layout.piece_len(index);
            source.read(index * u32::from(piece_size), &mut out[..len]).map_err(EncodeError::Source)?;
            return Ok(len);
        }
        out.fill(0);
        let row = coefficients(self.tag, generation, id, k);
        let mut piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..usize::from(piece_size)];
        for (index, factor) in range.zip(row).filter(|(_, factor)| *factor != 0) {
            source.read(index * u32::from(piece_size), piece).map_err(EncodeError::Source)?;
            gf::add_scaled(out, piece, factor);
        }
        Ok(out.len())
    }
}

/// The 8 KiB of a receiver: a matrix of at most 90 * 90 bytes or 256 * 256 bits. Rows arrive one by one while symbols do
/// ([`Matrix::insert`]); for the final solution it is filled anew and inverted in place ([`Matrix::invert`]).
#[derive(Clone)]
pub(crate) struct Matrix {
    cells: [u8; MATRIX_BYTES],
    width: u16,
    rows: u16,
    /// Column of the first coefficient of each row.
    pivots: [u8; ROW_MAX],
    binary: bool,
}

impl Matrix {
    pub fn new() -> Self {
        Self { cells: [0; MATRIX_BYTES], width: 0, rows: 0, pivots: [0; ROW_MAX], binary: false }
    }

    /// Empties it for rows of `width` coefficients of a generation of `k` pieces.
    pub fn reset(&mut self, k: u16, width: u16) {
        self.binary = k > GF256_MAX;
        (self.width, self.rows) = (width, 0);
        self.cells.fill(0);
    }

    pub fn rank(&self) -> u16 {
        self.rows
    }

    /// The cells as plain memory while no generation is being received.
    pub fn scratch(&mut self) -> &mut [u8] {
        self.rows = 0;
        self.width = 0;
        &mut self.cells
    }

    fn stride(&self) -> usize {
        if self.binary { usize::from(self.width).div_ceil(8) } else { usize::from(self.width) }
    }

    fn row(&self, r: usize) -> &[u8] {
        let stride = self.stride();
        &self.cells[r * stride..][..stride]
    }

    fn pack(&self, row: &[u8], out: &mut Row) {
        if self.binary {
            out.fill(0);
            for (c, coefficient) in row[..usize::from(self.width)].iter().enumerate() {
                out[c / 8] |= (coefficient & 1) << (c % 8);
            }
        } else {
            out[..row.len()].copy_from_slice(row);
        }
    }

    fn in_packed(&self, packed: &[u8], column: usize) -> u8 {
        if self.binary { packed[column / 8] >> (column % 8) & 1 } else { packed[column] }
    }

    /// Cell of row `r`, column `c`.
    pub fn cell(&self, r: usize, c: usize) -> u8 {
        self.in_packed(self.row(r), c)
    }

    fn set_cell(&mut self, r: usize, c: usize, value: u8) {
        let at = r * self.stride();
        if self.binary {
            let cell = &mut self.cells[at + c / 8];
            *cell = *cell & !(1 << (c % 8)) | (value & 1) << (c % 8);
        } else {
            self.cells[at + c] = value;
        }
    }

    fn full(&self) -> bool {
        self.rows >= self.width || (usize::from(self.rows) + 1) * self.stride() > MATRIX_BYTES
    }

    /// Reduces a row by those before it and keeps what is left; false if nothing is, that is, the symbol says nothing new.
    pub fn insert(&mut self, row: &Row) -> bool {
        if self.full() {
            return false;
        }
        let mut packed = [0; ROW_MAX];
        self.pack(row, &mut packed);
        let stride = self.stride();
        for r in 0..usize::from(self.rows) {
            let factor = self.in_packed(&packed, usize::from(self.pivots[r]));
            gf::add_scaled(&mut packed[..stride], &self.cells[r * stride..][..stride], factor);
        }
        let Some(pivot) = (0..usize::from(self.width)).find(|c| self.in_packed(&packed, *c) != 0) else {
            return false;
        };
        let scale = gf::inv(self.in_packed(&packed, pivot));
        let at = usize::from(self.rows) * stride;
        self.cells[at..at + stride].fill(0);
        gf::add_scaled(&mut self.cells[at..at + stride], &packed[..stride], scale);
        self.pivots[usize::from(self.rows)] = pivot as u8;
        self.rows += 1;
        true
    }

    /// Appends a row as it is, for [`Matrix::invert`]; false if it is full.
    pub fn push(&mut self, row: &Row) -> bool {
        if self.full() {
            return false;
        }
        let mut packed = [0; ROW_MAX];
        self.pack(row, &mut packed);
        let stride = self.stride();
        self.cells[usize::from(self.rows) * stride..][..stride].copy_from_slice(&packed[..stride]);
        self.rows += 1;
        true
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        let stride = self.stride();
        if a != b {
            let (low, high) = self.cells.split_at_mut(a.max(b) * stride);
            low[a.min(b) * stride..][..stride].swap_with_slice(&mut high[..stride]);
        }
    }

    /// Replaces a square matrix by its inverse (Gauss-Jordan in place); false if it has none, or is not square.
    pub fn invert(&mut self) -> bool {
        let n = usize::from(self.width);
        let stride = self.stride();
        if self.rows != self.width {
            return false;
        }
        for p in 0..n {
            let Some(r) = (p..n).find(|r| self.cell(*r, p) != 0) else {
                return false;
            };
            self.swap_rows(p, r);
            self.pivots[p] = r as u8;
            let scale = gf::inv(self.cell(p, p));
            self.set_cell(p, p, 1);
            let mut pivot_row = [0; ROW_MAX];
            gf::add_scaled(&mut pivot_row[..stride], self.row(p), scale);
            self.cells[p * stride..][..stride].copy_from_slice(&pivot_row[..stride]);
            for r in (0..n).filter(|r| *r != p) {
                let factor = self.cell(r, p);
                if factor != 0 {
                    self.set_cell(r, p, 0);
                    gf::add_scaled(&mut self.cells[r * stride..][..stride], &pivot_row[..stride], factor);
                }
            }
        }
        // Row swaps of the matrix are column swaps of its inverse, undone from the last.
        for p in (0..n).rev() {
            let other = usize::from(self.pivots[p]);
            if other != p {
                for r in 0..n {
                    let (a, b) = (self.cell(r, p), self.cell(r, other));
                    self.set_cell(r, p, b);
                    self.set_cell(r, other, a);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invert_and_check(k: u16) {
        let tag = ObjectTag(0x1234_5678);
        // The ids whose rows are independent.
        let mut echelon = Matrix::new();
        echelon.reset(k, k);
        let ids: std::vec::Vec<u16> =
            (k..).filter(|id| echelon.insert(&coefficients(tag, 3, *id, k))).take(usize::from(k)).collect();
        let mut m = Matrix::new();
        m.reset(k, k);
        for id in &ids {
            assert!(m.push(&coefficients(tag, 3, *id, k)));
        }
        assert!(m.invert());
        for q in 0..usize::from(k) {
            let mut product = [0; ROW_MAX];
            for (i, id) in ids.iter().enumerate() {
                gf::add_scaled(&mut product, &coefficients(tag, 3, *id, k), m.cell(q, i));
            }
            assert!(product.iter().enumerate().all(|(c, v)| *v == u8::from(c == q)), "k {k} row {q}");
        }
    }

    #[test]
    fn inverse_times_matrix_is_one() {
        for k in [1, 2, 3, 8, 24, 64, 90, 91, 100, 128, 255, 256] {
            invert_and_check(k);
        }
    }

    #[test]
    fn a_singular_matrix_has_no_inverse() {
        let mut m = Matrix::new();
        m.reset(4, 2);
        let mut row = [0; ROW_MAX];
        row[..2].copy_from_slice(&[3, 7]);
        assert!(m.push(&row) && m.push(&row) && !m.invert());
        m.reset(4, 2);
        assert!(m.insert(&row) && !m.insert(&row) && m.rank() == 1);
    }
}
