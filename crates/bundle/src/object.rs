//! Objects: content cut into pieces that can each be verified, in generations that can each be decoded.
//!
//! What travels is the *stream*: the content, zero bytes up to a multiple of 8, and one 8-byte entry per piece but the
//! last. Entry `i` is the truncated SHA-256 of piece `i`, a piece being `piece_size` bytes of the stream (the last one
//! padded with zeros for hashing). Content first keeps it where an image can run in place; and because 8 bytes speak
//! for at least 16, the entry of a piece always lies in a later piece, so the hash of the last piece alone, which the
//! signed manifest carries as `list_root`, vouches for all: a tree without a byte of padding. The last pieces are sent
//! first. Truncation to 64 bits guards against waste of airtime, not against a forged bundle: the whole content is
//! checked against the full SHA-256 in the manifest before anything is switched.
//!
//! Pieces are dealt evenly to as few generations as possible, of at most [`DEFAULT_GENERATION`] pieces.

use crate::cose::first8;
use core::ops::Range;
use sha2::{Digest, Sha256};

/// A short name: of an object in frames ([`crate::Manifest::tag`]), and of content in the erasure code ([`ObjectIdentity::tag`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectTag(pub u32);

impl ObjectTag {
    /// The first 4 bytes of a SHA-256 as a little-endian number.
    pub fn of(digest: &[u8; 32]) -> Self {
        Self(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

/// Length of a truncated piece hash in bytes.
pub const HASH_LEN: u32 = 8;
/// Pieces in one generation at most.
pub const MAX_GENERATION: u16 = 256;
/// Generations of one object at most.
pub const MAX_GENERATIONS: u8 = (MAX_PIECES / MAX_GENERATION as u32) as u8;
/// Pieces of one object at most: 720 KB of 176-byte pieces, more than any flash that we know to be a target.
pub const MAX_PIECES: u32 = 4096;
/// Largest piece size in bytes.
pub const MAX_PIECE_SIZE: u16 = 1024;
/// Largest piece size in bytes of which a symbol fits one packet: 233 bytes of data in a Meshtastic packet less 13 of the
/// symbol frame, rounded down to 16.
pub const MAX_AIR_PIECE: u16 = 208;

/// Pieces in one generation of an object at most: the one place where that is decided, for all objects alike, so that no
/// manifest need say it.
pub const DEFAULT_GENERATION: u16 = MAX_GENERATION;

/// How an object is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u32,
    piece_size: u16,
    pieces: u32,
    generations: u8,
}

impl Layout {
    /// The layout of `size` bytes of content; none if it is empty, needs more than [`MAX_PIECES`], or the piece size is
    /// not a multiple of 16 from 16 to [`MAX_PIECE_SIZE`].
    pub fn new(size: u32, piece_size: u16) -> Option<Self> {
        if size == 0 || piece_size == 0 || !piece_size.is_multiple_of(16) || piece_size > MAX_PIECE_SIZE {
            return None;
        }
        let list_offset = size.checked_next_multiple_of(HASH_LEN)?;
        // K pieces hold the content and K-1 entries: K is the least with K*p >= list_offset + 8*(K-1).
        let pieces = (list_offset - HASH_LEN).div_ceil(u32::from(piece_size) - HASH_LEN).max(1);
        let layout = Self { size, piece_size, pieces, generations: 1 };
        (pieces <= MAX_PIECES).then(|| layout.with_generations(DEFAULT_GENERATION))
    }

    /// The same pieces in generations of at most `limit`, which is raised where there would be more than
    /// [`MAX_GENERATIONS`], and lowered to [`MAX_GENERATION`].
    pub fn with_generations(self, limit: u16) -> Self {
        let least = self.pieces.div_ceil(u32::from(MAX_GENERATIONS));
        let limit = u32::from(limit).clamp(least, MAX_GENERATION.into());
        // At most MAX_GENERATIONS.
        Self { generations: self.pieces.div_ceil(limit) as u8, ..self }
    }

    /// Content size in bytes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Piece size in bytes.
    pub fn piece_size(&self) -> u16 {
        self.piece_size
    }

    /// Number of pieces.
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Where the hash entries begin in the stream.
    fn list_offset(&self) -> u32 {
        self.size.next_multiple_of(HASH_LEN)
    }

    /// Length of the stream in bytes: content, alignment and hash entries; what has to cross the air once.
    pub fn stream_len(&self) -> u32 {
        self.list_offset() + HASH_LEN * (self.pieces - 1)
    }

    /// Bytes that the pieces take in flash, the last one padded.
    pub fn stored_len(&self) -> u32 {
        self.pieces * u32::from(self.piece_size)
    }

    /// Bytes of piece `index` on the air: all but the last are whole.
    pub fn piece_len(&self, index: u32) -> usize {
        let end = ((index + 1) * u32::from(self.piece_size)).min(self.stream_len());
        (end - (index * u32::from(self.piece_size)).min(end)) as usize
    }

    /// Where in the stream the hash of piece `index` stands; none for the last piece, whose hash is in the manifest.
    pub fn entry_offset(&self, index: u32) -> Option<u32> {
        (index + 1 < self.pieces).then(|| self.list_offset() + HASH_LEN * index)
    }

    /// The piece that holds the hash of piece `index`; a later one always.
    pub fn parent(&self, index: u32) -> Option<u32> {
        self.entry_offset(index).map(|offset| offset / u32::from(self.piece_size))
    }

    /// Number of generations, at least 1.
    pub fn generations(&self) -> u8 {
        self.generations
    }

    /// The pieces of a generation; empty beyond the last one.
    pub fn generation(&self, generation: u8) -> Range<u32> {
        let count = u32::from(self.generations());
        let g = u32::from(generation);
        if g >= count {
            return self.pieces..self.pieces;
        }
        let (each, more) = (self.pieces / count, self.pieces % count);
        let start = g * each + g.min(more);
        start..start + each + u32::from(g < more)
    }

    /// Number of pieces of a generation.
    pub fn generation_len(&self, generation: u8) -> u16 {
        self.generation(generation).len() as u16
    }

    /// The generation that holds piece `index`.
    pub fn generation_of(&self, index: u32) -> u8 {
        let count = u32::from(self.generations());
        let (each, more) = (self.pieces / count, self.pieces % count);
        let in_long = more * (each + 1);
        if index < in_long { (index / (each + 1)) as u8 } else { (more + (index - in_long) / each) as u8 }
    }
}

/// The hash of a piece in entries and as list root; `piece` must be padded to the piece size.
pub fn piece_hash(piece: &[u8]) -> [u8; 8] {
    first8(&Sha256::digest(piece))
}

/// Something that an object's stream can be read from.
pub trait PieceSource {
    /// What can go wrong.
    type Error: core::fmt::Debug;

    /// Reads `out.len()` bytes of the stream from `offset`. Beyond the stream's end, to the end of the last piece, it
    /// reads zeros.
    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Self::Error>;
}

/// What a spare slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpareSlot {
    /// Nothing; it can be written.
    Blank,
    /// A torn write, or a symbol of another object.
    Waste,
    /// A symbol that was written whole.
    Symbol {
        /// Its generation.
        generation: u8,
        /// Its id.
        id: u16,
    },
}

/// Where a [`crate::ObjectReceiver`] keeps pieces and symbols. [`crate::FlashStore`] is one over NOR flash.
pub trait PieceStore: PieceSource {
    /// Writes a verified piece, whole, to its place, which is blank.
    fn write_piece(&mut self, index: u32, piece: &[u8]) -> Result<(), Self::Error>;

    /// Makes the place of a piece blank again if it is not. False if pieces beside it may have been lost on the way;
    /// with `scratch` as large as an erase unit none are.
    fn clear_piece(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, Self::Error>;

    /// The same for a place that reads blank and may not be: a write to it has failed.
    fn renew_piece(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, Self::Error>;

    /// Number of spare slots.
    fn spare_slots(&self) -> usize;

    /// Number of spare slots that are erased at once: slot `n` is of page `n / spare_page()`.
    fn spare_page(&self) -> usize;

    /// What a spare slot holds.
    fn spare(&mut self, slot: usize) -> Result<SpareSlot, Self::Error>;

    /// Reads the data of a spare slot that holds a symbol.
    fn read_spare(&mut self, slot: usize, out: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes a symbol, of a piece's length, to a blank spare slot.
    fn write_spare(&mut self, slot: usize, generation: u8, id: u16, data: &[u8]) -> Result<(), Self::Error>;

    /// Makes all spare slots of a page blank.
    fn clear_spare(&mut self, page: usize) -> Result<(), Self::Error>;
}

/// A stream in memory.
#[derive(Clone, Copy, Debug)]
pub struct SliceSource<'a>(pub &'a [u8]);

impl PieceSource for SliceSource<'_> {
    type Error = core::convert::Infallible;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Self::Error> {
        let have = self.0.get(offset as usize..).unwrap_or(&[]);
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        out[n..].fill(0);
        Ok(())
    }
}

/// What a manifest says about content: see [`build_stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectIdentity {
    /// How it is cut.
    pub layout: Layout,
    /// SHA-256 of the content.
    pub digest: [u8; 32],
    /// Hash of the last piece.
    pub list_root: [u8; 8],
}

impl ObjectIdentity {
    /// The content's short name, by which the erasure code draws.
    pub fn tag(&self) -> ObjectTag {
        ObjectTag::of(&self.digest)
    }
}

/// Writes the stream of `content` to `stream` and returns its identity; none if the piece size or content is not
/// allowed or `stream` is shorter than [`Layout::stream_len`].
pub fn build_stream(content: &[u8], piece_size: u16, stream: &mut [u8]) -> Option<ObjectIdentity> {
    let layout = Layout::new(u32::try_from(content.len()).ok()?, piece_size)?;
    let stream = stream.get_mut(..layout.stream_len() as usize)?;
    stream.fill(0);
    stream[..content.len()].copy_from_slice(content);
    let mut piece = [0; MAX_PIECE_SIZE as usize];
    let piece = &mut piece[..usize::from(piece_size)];
    let mut list_root = [0; 8];
    // In rising order: a piece holds entries of earlier pieces only.
    for index in 0..layout.pieces() {
        let Ok(()) = SliceSource(stream).read(index * u32::from(piece_size), piece);
        list_root = piece_hash(piece);
        if let Some(offset) = layout.entry_offset(index) {
            stream[offset as usize..][..HASH_LEN as usize].copy_from_slice(&list_root);
        }
    }
    Some(ObjectIdentity { layout, digest: Sha256::digest(content).into(), list_root })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn layout_is_sound(size in 1u32..400_000, sixteenths in 1u16..=64, limit in 0u16..300) {
            let p = sixteenths * 16;
            let Some(l) = Layout::new(size, p) else {
                prop_assert!(size / (u32::from(p) - 8) >= MAX_PIECES - 2);
                return Ok(());
            };
            prop_assert!(l.stored_len() >= l.stream_len());
            prop_assert!(l.stored_len() - l.stream_len() < u32::from(p));
            for i in 0..l.pieces() {
                match l.parent(i) {
                    Some(parent) => {
                        prop_assert!(parent > i && parent < l.pieces());
                        let within = l.entry_offset(i).unwrap() % u32::from(p);
                        prop_assert!(within + HASH_LEN <= u32::from(p), "an entry never straddles pieces");
                    }
                    None => prop_assert_eq!(i, l.pieces() - 1),
                }
            }
            prop_assert_eq!(l, l.with_generations(DEFAULT_GENERATION));
            let l = l.with_generations(limit);
            prop_assert!(l.generations() <= MAX_GENERATIONS);
            let longest = l.generation_len(0);
            prop_assert!(longest <= limit.max(1) || l.pieces() > u32::from(limit) * u32::from(MAX_GENERATIONS));
            let mut next = 0;
            for g in 0..l.generations() {
                let range = l.generation(g);
                prop_assert_eq!(range.start, next);
                prop_assert!(!range.is_empty() && range.len() <= 256);
                prop_assert!(range.clone().all(|i| l.generation_of(i) == g));
                next = range.end;
            }
            prop_assert_eq!(next, l.pieces());
            prop_assert!(l.generation(l.generations()).is_empty());
        }
    }

    #[test]
    fn four_kilobytes_are_25_pieces() {
        let l = Layout::new(4096, 176).unwrap();
        assert_eq!((l.pieces(), l.stream_len(), l.piece_len(24)), (25, 4288, 64));
    }
}
