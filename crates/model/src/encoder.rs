//! The base encoder: word vectors, one layer that sees three words in a row, sums, one linear layer to the text's vector.
//!
//! Word vectors are product-quantised (Jégou, Douze and Schmid, 2011): each is a list of bytes, one for every four
//! entries, that pick from codebooks. A word that is not in the vocabulary is the mean of the vectors of its pieces. For
//! the words `x[i]` of a text:
//!
//! ```text
//! h[i] = max(0, bias + W (x[i-1], x[i], x[i+1])) >> hidden_shift
//! y    = ((A sum x[i]) << direct_shift) + ((U sum h[i]) << context_shift)
//! ```
//!
//! and the text's vector is y, scaled to length 1024.
//!
//! File, integers little-endian: header of [`ENCODER_HEADER`] bytes (magic `CBE2`; u16 embed, hidden, dims; u8
//! hidden_shift, direct_shift, context_shift, index_bits; u32 words, pieces; id 8 bytes; zeros), then
//!
//! | part | bytes |
//! |---|---|
//! | index: number of words whose stem's upper bits are below each value | 2 * (2^index_bits + 1) |
//! | lower 16 bits of each word's stem | 2 * words |
//! | codes of words, then of pieces | (words + pieces) * embed / 4 |
//! | codebooks | embed / 4 * 256 * 4 |
//! | W | hidden * 3 * embed |
//! | bias, i32 | 4 * hidden |
//! | A | dims * embed |
//! | U | dims * hidden |
//!
//! Words are sorted by the upper bits of their stem. The id is the start of the SHA-256 of what follows the header;
//! whoever writes the file into flash has checked it.

use crate::{
    ModelError,
    words::{Word, words},
};

/// Bytes before the index.
pub const ENCODER_HEADER: usize = 40;
/// Most dimensions of a text's vector.
pub const MAX_DIMS: usize = 256;
/// Longest word vector.
pub const MAX_EMBED: usize = 128;
/// Widest hidden layer.
pub const MAX_HIDDEN: usize = 512;
/// Entries of a word vector that one code stands for.
pub const SUBSPACE: usize = 4;
const MAGIC: [u8; 4] = *b"CBE2";
const CODEBOOK: usize = 256 * SUBSPACE;

/// A text's vector: `dims` entries of a vector of length 1024 (1.0 in 10 fractional bits), the rest zero.
pub type Vector = [i16; MAX_DIMS];

type Embedding = [i16; MAX_EMBED];

/// The numbers of an encoder's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderShape {
    /// Entries of a word vector; a multiple of 4, at most [`MAX_EMBED`].
    pub embed: u16,
    /// Width of the hidden layer, at most [`MAX_HIDDEN`].
    pub hidden: u16,
    /// Entries of a text's vector, at most [`MAX_DIMS`].
    pub dims: u16,
    /// Hidden values are shifted right by this.
    pub hidden_shift: u8,
    /// The direct part is shifted left by this.
    pub direct_shift: u8,
    /// The part of the hidden layer is shifted left by this.
    pub context_shift: u8,
    /// Upper bits of a stem that the index is by.
    pub index_bits: u8,
    /// Words of the vocabulary, at most 65,535.
    pub words: u32,
    /// Rows that pieces are hashed to.
    pub pieces: u32,
}

impl EncoderShape {
    /// The header; `id` is the start of the SHA-256 of what follows it.
    pub fn emit(&self, id: [u8; 8]) -> [u8; ENCODER_HEADER] {
        let mut header = [0; ENCODER_HEADER];
        header[..4].copy_from_slice(&MAGIC);
        for (index, value) in [self.embed, self.hidden, self.dims].into_iter().enumerate() {
            header[4 + 2 * index..6 + 2 * index].copy_from_slice(&value.to_le_bytes());
        }
        header[10..14].copy_from_slice(&[
            self.hidden_shift,
            self.direct_shift,
            self.context_shift,
            self.index_bits,
        ]);
        header[14..18].copy_from_slice(&self.words.to_le_bytes());
        header[18..22].copy_from_slice(&self.pieces.to_le_bytes());
        header[22..30].copy_from_slice(&id);
        header
    }

    fn parse(header: &[u8]) -> Result<Self, ModelError> {
        if header[..4] != MAGIC {
            return Err(ModelError::Magic);
        }
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let long =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let shape = Self {
            embed: short(4),
            hidden: short(6),
            dims: short(8),
            hidden_shift: header[10],
            direct_shift: header[11],
            context_shift: header[12],
            index_bits: header[13],
            words: long(14),
            pieces: long(18),
        };
        let fits = |value: u16, most: usize| (1..=most).contains(&usize::from(value));
        let sound = fits(shape.embed, MAX_EMBED)
            && usize::from(shape.embed).is_multiple_of(SUBSPACE)
            && fits(shape.hidden, MAX_HIDDEN)
            && fits(shape.dims, MAX_DIMS)
            && shape.hidden_shift < 31
            && shape.direct_shift < 16
            && shape.context_shift < 16
            && (1..=16).contains(&shape.index_bits)
            && (1..=0xFFFF).contains(&shape.words)
            && (1..=0xF_FFFF).contains(&shape.pieces);
        if sound { Ok(shape) } else { Err(ModelError::Field) }
    }
}

/// A parsed encoder over its file in flash.
#[derive(Clone, Copy, Debug)]
pub struct BaseEncoder<'a> {
    shape: EncoderShape,
    id: [u8; 8],
    index: &'a [u8],
    stems: &'a [u8],
    codes: &'a [u8],
    codebooks: &'a [u8],
    hidden_weights: &'a [u8],
    hidden_bias: &'a [u8],
    direct: &'a [u8],
    context: &'a [u8],
}

impl<'a> BaseEncoder<'a> {
    /// Reads the header, and checks the length and the index.
    pub fn parse(file: &'a [u8]) -> Result<Self, ModelError> {
        let (header, mut rest) = file.split_at_checked(ENCODER_HEADER).ok_or(ModelError::Length)?;
        let shape = EncoderShape::parse(header)?;
        let mut id = [0; 8];
        id.copy_from_slice(&header[22..30]);
        let mut take = |length: usize| -> Result<&'a [u8], ModelError> {
            let (part, after) = rest.split_at_checked(length).ok_or(ModelError::Length)?;
            rest = after;
            Ok(part)
        };
        let (embed, hidden, dims) =
            (usize::from(shape.embed), usize::from(shape.hidden), usize::from(shape.dims));
        let (words, pieces) = (shape.words as usize, shape.pieces as usize);
        let encoder = Self {
            shape,
            id,
            index: take(2 * ((1 << shape.index_bits) + 1))?,
            stems: take(2 * words)?,
            codes: take((words + pieces) * (embed / SUBSPACE))?,
            codebooks: take(embed / SUBSPACE * CODEBOOK)?,
            hidden_weights: take(hidden * 3 * embed)?,
            hidden_bias: take(4 * hidden)?,
            direct: take(dims * embed)?,
            context: take(dims * hidden)?,
        };
        if !rest.is_empty() {
            return Err(ModelError::Length);
        }
        let mut before = 0;
        for bucket in 0..=(1usize << shape.index_bits) {
            let below = encoder.below(bucket);
            if below < before || below > words {
                return Err(ModelError::Field);
            }
            before = below;
        }
        Ok(encoder)
    }

    /// Names the encoder; task parts name the one that they need.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    /// Entries of its vectors.
    pub fn dims(&self) -> usize {
        usize::from(self.shape.dims)
    }

    /// The numbers of its header.
    pub fn shape(&self) -> &EncoderShape {
        &self.shape
    }

    /// Multiplications that a text of so many words takes.
    pub fn multiplications(&self, words: usize) -> usize {
        let (embed, hidden) = (usize::from(self.shape.embed), usize::from(self.shape.hidden));
        words * hidden * 3 * embed + self.dims() * (embed + hidden)
    }

    fn below(&self, bucket: usize) -> usize {
        usize::from(u16::from_le_bytes([self.index[2 * bucket], self.index[2 * bucket + 1]]))
    }

    /// Row of a word of the vocabulary.
    fn known(&self, stem: u32) -> Option<usize> {
        let bucket = (stem >> (32 - u32::from(self.shape.index_bits))) as usize;
        let low = (stem as u16).to_le_bytes();
        (self.below(bucket)..self.below(bucket + 1)).find(|row| self.stems[2 * row..2 * row + 2] == low)
    }

    fn add_row(&self, row: usize, sums: &mut [i32]) {
        let subspaces = usize::from(self.shape.embed) / SUBSPACE;
        let codes = &self.codes[row * subspaces..(row + 1) * subspaces];
        for ((code, codebook), sums) in
            codes.iter().zip(self.codebooks.chunks_exact(CODEBOOK)).zip(sums.chunks_exact_mut(SUBSPACE))
        {
            let entries = &codebook[usize::from(*code) * SUBSPACE..][..SUBSPACE];
            sums.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += i32::from(*entry as i8));
        }
    }

    fn embed(&self, word: &Word, out: &mut Embedding) {
        let embed = usize::from(self.shape.embed);
        let mut sums = [0i32; MAX_EMBED];
        let mut count = 1;
        if let Some(row) = self.known(word.stem()) {
            self.add_row(row, &mut sums[..embed]);
        } else {
            count = 0;
            word.pieces(|piece| {
                let row = self.shape.words as usize + piece_row(piece, self.shape.pieces);
                self.add_row(row, &mut sums[..embed]);
                count += 1;
            });
        }
        // Each is a mean of bytes.
        out.iter_mut().zip(&sums[..embed]).for_each(|(entry, sum)| *entry = (sum / count.max(1)) as i16);
    }

    /// The vector of a text; all zeros for a text without a word.
    pub fn encode(&self, text: &str, out: &mut Vector) {
        let mut sums = Sums { words: [0; MAX_EMBED], hidden: [0; MAX_HIDDEN] };
        let mut window = [[0i16; MAX_EMBED]; 3];
        let mut count = 0usize;
        words(text, |word| {
            let mut next = [0; MAX_EMBED];
            self.embed(word, &mut next);
            window = [window[1], window[2], next];
            if count > 0 {
                self.add_word(&window, &mut sums);
            }
            count += 1;
        });
        if count > 0 {
            window = [window[1], window[2], [0; MAX_EMBED]];
            self.add_word(&window, &mut sums);
        }
        self.project(&sums, out);
    }

    /// Adds the word in the middle of the window.
    fn add_word(&self, window: &[Embedding; 3], sums: &mut Sums) {
        let embed = usize::from(self.shape.embed);
        for (sum, entry) in sums.words.iter_mut().zip(&window[1][..embed]) {
            *sum += i32::from(*entry);
        }
        let rows = self.hidden_weights.chunks_exact(3 * embed);
        for ((row, bias), sum) in rows.zip(self.hidden_bias.chunks_exact(4)).zip(&mut sums.hidden) {
            // Three vectors of at most 128 products of bytes: far from overflow, whatever the file says of the bias.
            let products: i32 =
                row.chunks_exact(embed).zip(window).map(|(row, word)| dot(row, &word[..embed])).sum();
            let value = products.saturating_add(i32::from_le_bytes([bias[0], bias[1], bias[2], bias[3]]));
            *sum = sum.saturating_add(value.max(0) >> self.shape.hidden_shift);
        }
    }

    fn project(&self, sums: &Sums, out: &mut Vector) {
        let (embed, hidden, dims) =
            (usize::from(self.shape.embed), usize::from(self.shape.hidden), self.dims());
        let product = |row: &[u8], values: &[i32]| -> i64 {
            row.iter().zip(values).map(|(weight, value)| i64::from(*weight as i8) * i64::from(*value)).sum()
        };
        let mut values = [0i64; MAX_DIMS];
        let rows = self.direct.chunks_exact(embed).zip(self.context.chunks_exact(hidden));
        for (value, (direct, context)) in values.iter_mut().zip(rows) {
            *value = (product(direct, &sums.words) << self.shape.direct_shift)
                + (product(context, &sums.hidden) << self.shape.context_shift);
        }
        // The squares of `dims` values must fit: the largest gets at most 27 bits.
        let most = values[..dims].iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
        let shift = (64 - most.leading_zeros()).saturating_sub(27);
        values[..dims].iter_mut().for_each(|value| *value >>= shift);
        let square: u64 = values[..dims].iter().map(|value| value.unsigned_abs().pow(2)).sum();
        let norm = square.isqrt().max(1) as i64;
        out.fill(0);
        for (entry, value) in out.iter_mut().zip(&values[..dims]) {
            *entry = (value * 1024 / norm) as i16;
        }
    }
}

/// Row of a piece among `rows`: multiply-shift is uniform for any number of rows, without a division.
pub fn piece_row(piece: u32, rows: u32) -> usize {
    ((u64::from(piece) * u64::from(rows)) >> 32) as usize
}

struct Sums {
    words: [i32; MAX_EMBED],
    hidden: [i32; MAX_HIDDEN],
}

fn dot(row: &[u8], values: &[i16]) -> i32 {
    row.iter().zip(values).map(|(weight, value)| i32::from(*weight as i8) * i32::from(*value)).sum()
}
