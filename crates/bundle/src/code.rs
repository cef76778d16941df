//! The erasure code: systematic, rateless, with coefficients that anyone computes from the symbol's id.
//!
//! Symbol `id` below the generation's length k is piece `id` itself. Any other is the sum of a random half of the pieces
//! (GF(2): XORs), and of random multiples of [`DENSE`] *dense combinations* of all pieces, which are the same for all
//! symbols of the generation (GF(256), see [`crate::gf`]). The XORs do the bulk of the work; l random binary equations
//! for l missing pieces leave r of them open with a chance of about 2^-(r r), and the dense combinations close those. So a
//! receiver needs 0.004 symbols more than k on average, as over GF(256), while a row of its matrix is l bits and 4
//! bytes.
//!
//! All coefficients are words of SplitMix64, seeded with `tag | generation << 32 | id << 40`. The low four bytes of word
//! 0 are the multiples of the dense combinations; bit i % 64 of word 1 + i / 64 says whether piece i is in the sum. The
//! dense combinations use the id that is never a symbol, 65535: bytes 4 (i % 2) to 4 (i % 2) + 3 of word i / 2 are the
//! coefficients of piece i in the four.

use crate::bits::Bits;
use crate::gf;
use crate::object::{Layout, MAX_PIECE_SIZE, ObjectTag, PieceSource};

/// Dense combinations of a generation.
pub const DENSE: usize = 4;
/// Largest generation that the code and its decoder can handle; on the air they are shorter, see
/// [`crate::object::MAX_GENERATION`].
pub const MAX_CODED: u16 = 1024;
/// The id that is no symbol: it seeds the dense combinations, and marks a poisoned generation in the spare area.
pub(crate) const NO_SYMBOL: u16 = u16::MAX;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A symbol's coefficients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The pieces in its sum.
    pub bits: Bits,
    /// Byte j: multiple of dense combination j.
    pub dense: u32,
}

/// The coefficients of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    seed: u64,
    k: u16,
}

impl Code {
    /// The code of a generation of `k` pieces, at most [`MAX_CODED`].
    pub fn new(tag: ObjectTag, generation: u8, k: u16) -> Self {
        Self { seed: u64::from(tag.0) | u64::from(generation) << 32, k: k.min(MAX_CODED) }
    }

    /// Number of pieces.
    pub fn pieces(&self) -> u16 {
        self.k
    }

    /// Word `n` of a symbol's coefficients: SplitMix64 can be entered anywhere.
    fn word(&self, id: u16, n: u16) -> u64 {
        let state = self.seed | u64::from(id) << 40;
        let mut z = state.wrapping_add(GAMMA.wrapping_mul(u64::from(n) + 1));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn row(&self, id: u16) -> Row {
        let mut row = Row { bits: Bits::default(), dense: 0 };
        if id < self.k {
            row.bits.insert(id);
        } else {
            row.dense = self.word(id, 0) as u32;
            for n in 0..self.k.div_ceil(64) {
                row.bits.set_word(usize::from(n), self.word(id, n + 1), self.k);
            }
        }
        row
    }

    /// Whether a piece is in the sum of symbol `id`.
    pub(crate) fn has_piece(&self, id: u16, piece: u16) -> bool {
        if id < self.k { id == piece } else { self.word(id, 1 + piece / 64) >> (piece % 64) & 1 == 1 }
    }

    /// Adds what a piece is in coded symbol `id` to `sum`: once for each piece, that makes the symbol.
    pub fn add_piece(&self, id: u16, piece: u16, data: &[u8], sum: &mut [u8]) {
        let multiples = if id < self.k { 0 } else { self.word(id, 0) as u32 };
        let factor = u8::from(self.has_piece(id, piece)) ^ gf::dot4(multiples, self.dense(piece));
        gf::add_scaled(sum, data, factor);
    }

    /// Byte j: coefficient of a piece in dense combination j.
    pub(crate) fn dense(&self, piece: u16) -> u32 {
        (self.word(NO_SYMBOL, piece / 2) >> (32 * (piece % 2))) as u32
    }
}

/// Why there is no such symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError<E> {
    /// The object has no such generation.
    NoGeneration,
    /// The id is reserved.
    NoSymbol,
    /// The output, or the memory for the dense combinations, is too short for a piece.
    ShortBuffer,
    /// The source failed.
    Source(E),
}

/// The dense combinations of the generation that is being served, so that each of its coded symbols costs XORs and four
/// scaled additions only. `BYTES` must be at least [`DENSE`] pieces.
#[derive(Clone, Debug)]
pub struct Combinations<const BYTES: usize> {
    /// What they are combinations of.
    of: Option<(ObjectTag, u8)>,
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> Combinations<BYTES> {
    /// None yet; [`Encoder::symbol_with`] makes them.
    pub const fn new() -> Self {
        Self { of: None, bytes: [0; BYTES] }
    }
}

impl<const BYTES: usize> Default for Combinations<BYTES> {
    fn default() -> Self {
        Self::new()
    }
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
    /// piece uncoded. A coded symbol costs a scaled addition for each piece; who makes many of them better uses
    /// [`Encoder::symbol_with`].
    pub fn symbol<S: PieceSource>(
        &self,
        generation: u8,
        id: u16,
        source: &mut S,
        out: &mut [u8],
    ) -> Result<usize, EncodeError<S::Error>> {
        let (code, start) = self.code(generation, id)?;
        let out = self.piece_buffer(out)?;
        if id < code.k {
            return self.uncoded(start + u32::from(id), source, out);
        }
        out.fill(0);
        self.each_piece(&code, start, source, |piece, data| code.add_piece(id, piece, data, out))?;
        Ok(out.len())
    }

    /// As [`Encoder::symbol`], with the dense combinations kept from one symbol of a generation to the next: the first
    /// coded one costs a pass of four scaled additions for each piece, the others an XOR for half of the pieces.
    pub fn symbol_with<const BYTES: usize, S: PieceSource>(
        &self,
        generation: u8,
        id: u16,
        source: &mut S,
        kept: &mut Combinations<BYTES>,
        out: &mut [u8],
    ) -> Result<usize, EncodeError<S::Error>> {
        let (code, start) = self.code(generation, id)?;
        let out = self.piece_buffer(out)?;
        if id < code.k {
            return self.uncoded(start + u32::from(id), source, out);
        }
        let piece_size = out.len();
        let dense = kept.bytes.get_mut(..DENSE * piece_size).ok_or(EncodeError::ShortBuffer)?;
        if kept.of != Some((self.tag, generation)) {
            kept.of = None;
            dense.fill(0);
            self.each_piece(&code, start, source, |piece, data| {
                for (sum, factor) in dense.chunks_mut(piece_size).zip(code.dense(piece).to_le_bytes()) {
                    gf::add_scaled(sum, data, factor);
                }
            })?;
            kept.of = Some((self.tag, generation));
        }
        out.fill(0);
        let row = code.row(id);
        let mut piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..piece_size];
        for n in row.bits.iter() {
            let offset = (start + u32::from(n)) * piece_size as u32;
            source.read(offset, piece).map_err(EncodeError::Source)?;
            gf::xor(out, piece);
        }
        for (sum, factor) in dense.chunks(piece_size).zip(row.dense.to_le_bytes()) {
            gf::add_scaled(out, sum, factor);
        }
        Ok(piece_size)
    }

    /// The coefficients of a generation and its first piece.
    fn code<E>(&self, generation: u8, id: u16) -> Result<(Code, u32), EncodeError<E>> {
        let range = self.layout.generation(generation);
        if range.is_empty() {
            return Err(EncodeError::NoGeneration);
        }
        if id == NO_SYMBOL {
            return Err(EncodeError::NoSymbol);
        }
        Ok((Code::new(self.tag, generation, range.len() as u16), range.start))
    }

    fn piece_buffer<'a, E>(&self, out: &'a mut [u8]) -> Result<&'a mut [u8], EncodeError<E>> {
        out.get_mut(..usize::from(self.layout.piece_size())).ok_or(EncodeError::ShortBuffer)
    }

    fn uncoded<S: PieceSource>(
        &self,
        index: u32,
        source: &mut S,
        out: &mut [u8],
    ) -> Result<usize, EncodeError<S::Error>> {
        let len = self.layout.piece_len(index);
        source.read(index * out.len() as u32, &mut out[..len]).map_err(EncodeError::Source)?;
        Ok(len)
    }

    fn each_piece<S: PieceSource>(
        &self,
        code: &Code,
        start: u32,
        source: &mut S,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), EncodeError<S::Error>> {
        let mut piece = [0; MAX_PIECE_SIZE as usize];
        let piece = &mut piece[..usize::from(self.layout.piece_size())];
        for n in 0..code.k {
            let offset = (start + u32::from(n)) * piece.len() as u32;
            source.read(offset, piece).map_err(EncodeError::Source)?;
            each(n, piece);
        }
        Ok(())
    }
}
