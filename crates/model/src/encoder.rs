//! The base encoder: a table of small vectors, one row per feature bucket, summed and normalised.
//!
//! File: header of [`ENCODER_HEADER`] bytes (magic `CBE1`, dims u16, rows of words, pairs and pieces u32 each, id 8
//! bytes, zeros), then the rows. A row is one byte of scale and dims/2 bytes of signed nibbles, low nibble first;
//! its entries count nibble * scale. The id is the start of the SHA-256 of what follows the header; whoever writes the
//! file into flash has checked it.

use crate::{
    ModelError,
    features::{Feature, features},
};

/// Bytes before the rows.
pub const ENCODER_HEADER: usize = 32;
/// Most dimensions.
pub const MAX_DIMS: usize = 256;
const MAGIC: [u8; 4] = *b"CBE1";

/// A text's vector: `dims` entries of a vector of length 1024 (1.0 in 10 fractional bits), the rest zero.
pub type Vector = [i16; MAX_DIMS];

/// A parsed encoder over its file in flash.
#[derive(Clone, Copy, Debug)]
pub struct BaseEncoder<'a> {
    dims: usize,
    words: u32,
    pairs: u32,
    pieces: u32,
    id: [u8; 8],
    rows: &'a [u8],
}

/// Writes the header of an encoder file.
pub fn write_encoder_header(dims: u16, rows: [u32; 3], id: [u8; 8]) -> [u8; ENCODER_HEADER] {
    let mut header = [0; ENCODER_HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&dims.to_le_bytes());
    for (index, count) in rows.iter().enumerate() {
        header[6 + 4 * index..10 + 4 * index].copy_from_slice(&count.to_le_bytes());
    }
    header[18..26].copy_from_slice(&id);
    header
}

impl<'a> BaseEncoder<'a> {
    /// Reads the header and checks that the file is as long as it says.
    pub fn parse(file: &'a [u8]) -> Result<Self, ModelError> {
        let (header, rows) = file.split_at_checked(ENCODER_HEADER).ok_or(ModelError::Length)?;
        if header[..4] != MAGIC {
            return Err(ModelError::Magic);
        }
        let dims = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let count =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (words, pairs, pieces) = (count(6), count(10), count(14));
        if dims == 0 || dims > MAX_DIMS || dims % 2 != 0 || words == 0 || pairs == 0 || pieces == 0 {
            return Err(ModelError::Field);
        }
        let total = u64::from(words) + u64::from(pairs) + u64::from(pieces);
        if total * (dims as u64 / 2 + 1) != rows.len() as u64 {
            return Err(ModelError::Length);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&header[18..26]);
        Ok(Self { dims, words, pairs, pieces, id, rows })
    }

    /// Names the encoder; task parts name the one that they need.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    /// Entries of its vectors.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Row of a feature.
    pub fn bucket(&self, feature: Feature) -> u32 {
        // Multiply-shift: uniform for any number of rows, without a division.
        let pick = |hash: u32, rows: u32| ((u64::from(hash) * u64::from(rows)) >> 32) as u32;
        match feature {
            Feature::Word(hash) => pick(hash, self.words),
            Feature::Pair(hash) => self.words + pick(hash, self.pairs),
            Feature::Piece(hash) => self.words + self.pairs + pick(hash, self.pieces),
        }
    }

    /// The vector of a text; all zeros for a text without a word.
    pub fn encode(&self, text: &str, out: &mut Vector) {
        let mut sums = [0i32; MAX_DIMS];
        let row_len = self.dims / 2 + 1;
        features(text, |feature| {
            let start = self.bucket(feature) as usize * row_len;
            let row = &self.rows[start..start + row_len];
            let scale = i32::from(row[0]);
            if scale == 0 {
                return;
            }
            for (pair, byte) in sums.chunks_exact_mut(2).zip(&row[1..]) {
                // Sign extension of both nibbles.
                pair[0] += i32::from((byte << 4) as i8 >> 4) * scale;
                pair[1] += i32::from(*byte as i8 >> 4) * scale;
            }
        });
        let square: u64 = sums[..self.dims].iter().map(|sum| u64::from(sum.unsigned_abs()).pow(2)).sum();
        let norm = square.isqrt().max(1) as i64;
        out.fill(0);
        for (entry, sum) in out.iter_mut().zip(&sums[..self.dims]) {
            *entry = (i64::from(*sum) * 1024 / norm) as i16;
        }
    }
}
