//! The solution: all missing pieces of a generation from the symbols in hand.
//!
//! With P the pieces that the binary matrix determines and N the few that it does not, B the symbols' bits, C their
//! multipliers, A the dense combinations d = A x, and y the symbols less the known pieces in their sums (all signs are
//! plus here):
//!
//! - The symbols whose bits are independent: x_P = B_P^-1 (y + B_N x_N + C d).
//! - Those whose bits are the sum T of such symbols' bits: (T C + C') d = y' + T y.
//! - The dense combinations: (U B_N + A_N) x_N + (U C + 1) d = U y + A_known x_known, where U = A_P B_P^-1.
//!
//! The last two are at most eight equations for at most eight unknowns, x_N and d, whose left inverse M has 64 bytes. Their
//! values are held in RAM while the pieces are computed: each is then a sum of symbols, known pieces and multiples of those
//! values, from the last piece to the first, since the hash of a piece lies in a later one.

use crate::bits::Bits;
use crate::code::{Code, DENSE, MAX_CODED};
use crate::gf;
use crate::matrix::{Inserted, Matrix};

/// Unknowns, and equations, of the dense part at most.
const SMALL: usize = 2 * DENSE;

/// What a solution reads and writes.
pub trait Exchange {
    /// What can go wrong.
    type Error;

    /// Id of the n-th symbol in hand; none at the end.
    fn symbol_id(&self, n: u16) -> Option<u16>;

    /// Reads the n-th symbol in hand.
    fn symbol(&mut self, n: u16, out: &mut [u8]) -> Result<(), Self::Error>;

    /// Reads a piece that is not missing.
    fn piece(&mut self, piece: u16, out: &mut [u8]) -> Result<(), Self::Error>;

    /// Takes a missing piece, the last first; false if it is not the true one, which ends the solution.
    fn solved(&mut self, piece: u16, data: &[u8]) -> Result<bool, Self::Error>;
}

/// Few numbers, in a fixed place.
type Few = heapless::Vec<u16, SMALL>;

/// Which symbols and pieces are which.
struct Parts {
    /// Symbols in hand whose bits are independent.
    rows: Bits,
    /// Symbols in hand that are equations in the dense combinations.
    extra: Few,
    /// Missing pieces that the rows determine.
    pivots: Bits,
    /// Missing pieces that they do not.
    free: Few,
}

impl Parts {
    fn of<const BYTES: usize, X: Exchange>(
        matrix: &mut Matrix<BYTES>,
        code: &Code,
        open: &Bits,
        exchange: &X,
    ) -> Option<Self> {
        matrix.reset(open.count());
        let mut parts = Self { rows: Bits::default(), extra: Few::new(), pivots: *open, free: Few::new() };
        for (n, id) in (0..).map_while(|n| exchange.symbol_id(n).map(|id| (n, id))) {
            match matrix.insert(code, open, id) {
                Inserted::Binary => parts.rows.insert(n),
                Inserted::Dense => parts.extra.push(n).ok()?,
                Inserted::Nothing => {}
            }
        }
        if matrix.lacking(code, open) > 0 {
            return None;
        }
        for (column, piece) in (0..).zip(open.iter()) {
            if !matrix.has_row(column) {
                parts.free.push(piece).ok()?;
                parts.pivots.remove(piece);
            }
        }
        Some(parts)
    }

    fn unknowns(&self) -> usize {
        self.free.len() + DENSE
    }
}

/// Solves a generation and gives its missing pieces (`open`) to `exchange`; false if one of them proved false, or the
/// symbols do not suffice ([`Matrix::lacking`]). `sum` and `data` are memory for a piece each.
pub fn solve<const BYTES: usize, X: Exchange>(
    matrix: &mut Matrix<BYTES>,
    code: &Code,
    open: &Bits,
    exchange: &mut X,
    sum: &mut [u8],
    data: &mut [u8],
) -> Result<bool, X::Error> {
    let Some(parts) = Parts::of(matrix, code, open, exchange) else { return Ok(false) };
    let ids = parts.rows.iter().filter_map(|n| exchange.symbol_id(n));
    if !matrix.invert(code, &parts.pivots, ids) {
        return Ok(false);
    }
    let Some(solver) = Solver::new(matrix, code, open, parts, exchange) else { return Ok(false) };
    solver.run(exchange, sum, data)
}

struct Solver<'a, const BYTES: usize> {
    matrix: &'a mut Matrix<BYTES>,
    code: &'a Code,
    open: &'a Bits,
    parts: Parts,
    /// Which rows' bits make up those of each extra symbol.
    sums: [Packed; DENSE],
    /// Left inverse of the small system: a row for each unknown, x_N first; a column for each equation, those of the extra
    /// symbols first.
    inverse: [[u8; SMALL]; SMALL],
}

/// A bit for each row.
type Packed = [u8; MAX_CODED as usize / 8];

fn has(packed: &Packed, n: u16) -> bool {
    packed[usize::from(n / 8)] >> (n % 8) & 1 == 1
}

impl<'a, const BYTES: usize> Solver<'a, BYTES> {
    /// Sets up and inverts the small system; none if it has no solution.
    fn new<X: Exchange>(
        matrix: &'a mut Matrix<BYTES>,
        code: &'a Code,
        open: &'a Bits,
        parts: Parts,
        exchange: &X,
    ) -> Option<Self> {
        // U: a word for each symbol, beside the rows.
        matrix.add_down(parts.pivots.iter().map(|piece| code.dense(piece)));
        let mut sums = [[0; MAX_CODED as usize / 8]; DENSE];
        // Column t: what unknown t is multiplied by in each equation.
        let mut columns = [[0; SMALL]; SMALL];
        let (free, extra) = (parts.free.len(), parts.extra.len());
        for (e, n) in parts.extra.iter().enumerate() {
            let row = code.row(exchange.symbol_id(*n)?);
            for (r, piece) in (0..).zip(parts.pivots.iter()) {
                if row.bits.contains(piece) {
                    gf::xor(&mut sums[e], matrix.row(r));
                }
            }
            for (j, factor) in row.dense.to_le_bytes().into_iter().enumerate() {
                columns[free + j][e] ^= factor;
            }
        }
        let mut add = |column: usize, word: u32| {
            for (cell, byte) in columns[column][extra..].iter_mut().zip(word.to_le_bytes()) {
                *cell ^= byte;
            }
        };
        for (t, piece) in parts.free.iter().enumerate() {
            add(t, code.dense(*piece));
        }
        (0..DENSE).for_each(|j| add(free + j, 1 << (8 * j)));
        for (c, n) in (0..).zip(parts.rows.iter()) {
            let (row, word) = (code.row(exchange.symbol_id(n)?), matrix.word(c));
            for (t, _) in parts.free.iter().enumerate().filter(|(_, piece)| row.bits.contains(**piece)) {
                add(t, word);
            }
            for (j, factor) in row.dense.to_le_bytes().into_iter().enumerate() {
                add(free + j, gf::mul4(word, factor));
            }
        }
        for (c, n) in (0..).zip(parts.rows.iter()) {
            let dense = code.row(exchange.symbol_id(n)?).dense.to_le_bytes();
            for (e, _) in sums.iter().enumerate().filter(|(_, sum)| has(sum, c)) {
                dense.iter().enumerate().for_each(|(j, factor)| columns[free + j][e] ^= factor);
            }
        }
        let inverse = left_inverse(&columns, free + DENSE, extra + DENSE)?;
        Some(Self { matrix, code, open, parts, sums, inverse })
    }

    fn run<X: Exchange>(
        mut self,
        exchange: &mut X,
        sum: &mut [u8],
        data: &mut [u8],
    ) -> Result<bool, X::Error> {
        let whole = sum.len();
        let width = (self.matrix.rest().len() / self.parts.unknowns()).clamp(1, whole.max(1));
        let rows = self.parts.pivots.count();
        let mut row = rows;
        for (n, piece) in self.open.iter().rev().enumerate() {
            let free = self.parts.free.iter().position(|free| *free == piece);
            row -= u16::from(free.is_none());
            for start in (0..whole).step_by(width) {
                let part = start..whole.min(start + width);
                // Longer pieces are solved in parts, and those anew for each piece, for want of memory.
                if n == 0 || width < whole {
                    self.values(exchange, part.clone(), data)?;
                }
                match free {
                    Some(t) => sum[part.clone()].copy_from_slice(self.value(t, part.len())),
                    None => self.determined(row, exchange, part, sum, data)?,
                }
            }
            if !exchange.solved(piece, sum)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Value of unknown `t`, of parts of `len` bytes.
    fn value(&self, t: usize, len: usize) -> &[u8] {
        &self.matrix.rest()[t * len..][..len]
    }

    /// Computes part of the values of the small system's unknowns.
    fn values<X: Exchange>(
        &mut self,
        exchange: &mut X,
        part: core::ops::Range<usize>,
        data: &mut [u8],
    ) -> Result<(), X::Error> {
        let (rows, extra) = (self.parts.rows, self.parts.extra.clone());
        let used = self.parts.unknowns() * part.len();
        self.matrix.rest_mut()[..used].fill(0);
        self.matrix.note_rest(used);
        for (c, n) in (0..).zip(rows.iter()) {
            let mut sides = [0; SMALL];
            sides.iter_mut().zip(&self.sums).for_each(|(side, sum)| *side = has(sum, c).into());
            sides[extra.len()..][..DENSE].copy_from_slice(&self.matrix.word(c).to_le_bytes());
            exchange.symbol(n, data)?;
            self.add_to_values(sides, &data[part.clone()]);
        }
        for (e, n) in extra.iter().enumerate() {
            let mut sides = [0; SMALL];
            sides[e] = 1;
            exchange.symbol(*n, data)?;
            self.add_to_values(sides, &data[part.clone()]);
        }
        for piece in (0..self.code.pieces()).filter(|piece| !self.open.contains(*piece)) {
            let is_in = |n| exchange.symbol_id(n).is_some_and(|id| self.code.has_piece(id, piece));
            let mut sides = [0; SMALL];
            sides.iter_mut().zip(&extra).for_each(|(side, n)| *side = is_in(*n).into());
            let mut word = self.code.dense(piece);
            for (c, _) in (0..).zip(rows.iter()).filter(|(_, n)| is_in(*n)) {
                word ^= self.matrix.word(c);
                sides.iter_mut().zip(&self.sums).for_each(|(side, sum)| *side ^= u8::from(has(sum, c)));
            }
            sides[extra.len()..][..DENSE].copy_from_slice(&word.to_le_bytes());
            exchange.piece(piece, data)?;
            self.add_to_values(sides, &data[part.clone()]);
        }
        Ok(())
    }

    /// Adds data that stands with these factors on the right sides of the equations.
    fn add_to_values(&mut self, sides: [u8; SMALL], data: &[u8]) {
        let values = self.matrix.rest_mut().chunks_mut(data.len());
        for (inverse, value) in self.inverse.iter().take(self.parts.unknowns()).zip(values) {
            let factor = inverse.iter().zip(sides).fold(0, |sum, (a, b)| sum ^ gf::mul(*a, b));
            gf::add_scaled(value, data, factor);
        }
    }

    /// Computes part of the piece of row `row`.
    fn determined<X: Exchange>(
        &self,
        row: u16,
        exchange: &mut X,
        part: core::ops::Range<usize>,
        sum: &mut [u8],
        data: &mut [u8],
    ) -> Result<(), X::Error> {
        let sum = &mut sum[part.clone()];
        sum.fill(0);
        let (mut pieces, mut dense) = (Bits::default(), 0);
        for (_, n) in (0..).zip(self.parts.rows.iter()).filter(|(c, _)| self.matrix.bit(row, *c)) {
            if let Some(id) = exchange.symbol_id(n) {
                let row = self.code.row(id);
                pieces.toggle(&row.bits);
                dense ^= row.dense;
            }
            exchange.symbol(n, data)?;
            gf::xor(sum, &data[part.clone()]);
        }
        for piece in pieces.iter().filter(|piece| !self.open.contains(*piece)) {
            exchange.piece(piece, data)?;
            gf::xor(sum, &data[part.clone()]);
        }
        let free = self.parts.free.len();
        for (t, _) in self.parts.free.iter().enumerate().filter(|(_, piece)| pieces.contains(**piece)) {
            gf::xor(sum, self.value(t, part.len()));
        }
        for (j, factor) in dense.to_le_bytes().into_iter().enumerate() {
            gf::add_scaled(sum, self.value(free + j, part.len()), factor);
        }
        Ok(())
    }
}

/// A matrix that gives one when multiplied by that of these columns, if they are independent.
fn left_inverse(
    columns: &[[u8; SMALL]; SMALL],
    unknowns: usize,
    equations: usize,
) -> Option<[[u8; SMALL]; SMALL]> {
    // Each equation with its own unit vector, reduced until the unknowns are alone.
    let mut rows = [[0; 2 * SMALL]; SMALL];
    for (e, row) in rows.iter_mut().enumerate().take(equations) {
        (0..unknowns).for_each(|t| row[t] = columns[t][e]);
        row[SMALL + e] = 1;
    }
    for t in 0..unknowns {
        let r = (t..equations).find(|r| rows[*r][t] != 0)?;
        rows.swap(t, r);
        let mut pivot = [0; 2 * SMALL];
        gf::add_scaled(&mut pivot, &rows[t], gf::inv(rows[t][t]));
        rows[t] = pivot;
        for (_, row) in rows.iter_mut().enumerate().filter(|(r, _)| *r != t) {
            let factor = row[t];
            gf::add_scaled(row, &pivot, factor);
        }
    }
    let mut inverse = [[0; SMALL]; SMALL];
    for (inverse, row) in inverse.iter_mut().zip(rows) {
        inverse.copy_from_slice(&row[SMALL..]);
    }
    Some(inverse)
}
