//! From patch to slot, so that power may fail at any byte: the old image stays whole, and after a restart the same bytes are
//! made again from the start, and only those written that the slot lacks.

use crate::decoder::{DecodeError, Decoder, Limits, Progress};
use crate::source::{Slot, Source};

/// Bytes that are programmed at once.
pub const CHUNK: usize = 256;

/// Why an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError<E> {
    /// See there; `Source` is a failed read, erasure or programming.
    Decode(DecodeError<E>),
    /// What was programmed reads differently, or the sector size is no multiple of a chunk.
    BadFlash,
}

impl<E> From<DecodeError<E>> for ApplyError<E> {
    fn from(error: DecodeError<E>) -> Self {
        Self::Decode(error)
    }
}

/// Where an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applying {
    /// Call again.
    Working,
    /// The slot holds the new image.
    Done,
}

/// A decoder with a buffer for one chunk. This and a few hundred bytes of stack is all the memory of an update.
#[derive(Clone, Debug)]
pub struct Apply {
    decoder: Decoder,
    chunk: [u8; CHUNK],
    filled: usize,
    /// Where the chunk belongs.
    at: u32,
    limits: Limits,
    /// What the slot holds from here on is of no use: each sector is erased when it is reached.
    fresh: bool,
    /// Sectors found torn; each is erased once and the image made again.
    restarts: u8,
    kept: u32,
    programmed: u32,
}

impl Default for Apply {
    fn default() -> Self {
        Self::new()
    }
}

impl Apply {
    /// Without a patch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            chunk: [0xff; CHUNK],
            filled: 0,
            at: 0,
            limits: Limits { patch_len: 0, old_len: 0, new_len: 0 },
            fresh: false,
            restarts: 0,
            kept: 0,
            programmed: 0,
        }
    }

    /// Begins an update: whatever the slot holds is erased.
    ///
    /// # Errors
    /// See [`Decoder::begin`]; the new image must fit the slot too.
    pub fn begin<E>(
        &mut self,
        patch: &mut impl Source<Error = E>,
        slot: &impl Slot<Error = E>,
        limits: Limits,
    ) -> Result<(), ApplyError<E>> {
        self.resume(patch, slot, limits)?;
        self.fresh = true;
        Ok(())
    }

    /// Resumes an update after a restart: what the slot already holds of the new image is kept. Right for a new update too,
    /// but slow where the slot holds an image that begins its sectors like the new one.
    ///
    /// # Errors
    /// See [`Decoder::begin`]; the new image must fit the slot too.
    pub fn resume<E>(
        &mut self,
        patch: &mut impl Source<Error = E>,
        slot: &impl Slot<Error = E>,
        mut limits: Limits,
    ) -> Result<(), ApplyError<E>> {
        if slot.sector() == 0 || !slot.sector().is_multiple_of(CHUNK as u32) {
            return Err(ApplyError::BadFlash);
        }
        limits.new_len = limits.new_len.min(slot.size());
        self.limits = limits;
        (self.restarts, self.kept, self.programmed) = (0, 0, 0);
        self.again(patch)
    }

    fn again<E>(&mut self, patch: &mut impl Source<Error = E>) -> Result<(), ApplyError<E>> {
        (self.filled, self.at, self.fresh) = (0, 0, false);
        self.decoder.begin(patch, self.limits)?;
        Ok(())
    }

    /// Chunks that the slot held already, and chunks that were programmed, since [`resume`](Self::resume).
    #[must_use]
    pub const fn chunks(&self) -> (u32, u32) {
        (self.kept, self.programmed)
    }

    /// The decoder, for its progress.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Does a slice of work: at most one chunk is decoded and written.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn step<E>(
        &mut self,
        old: &mut impl Source<Error = E>,
        patch: &mut impl Source<Error = E>,
        slot: &mut impl Slot<Error = E>,
    ) -> Result<Applying, ApplyError<E>> {
        let (before, out) = self.chunk.split_at_mut(self.filled);
        let mut written = Written { slot, at: self.at, chunk: before };
        match self.decoder.step(old, patch, &mut written, out)? {
            Progress::Bytes(count) => self.filled += count,
            Progress::Done => return Ok(Applying::Done),
        }
        let last = self.decoder.emitted() == self.decoder.header().new_len;
        if self.filled == CHUNK || (last && self.filled > 0) {
            self.chunk[self.filled..].fill(0xff);
            self.store(patch, slot)?;
        }
        Ok(Applying::Working)
    }

    fn store<E>(
        &mut self,
        patch: &mut impl Source<Error = E>,
        slot: &mut impl Slot<Error = E>,
    ) -> Result<(), ApplyError<E>> {
        let sector = self.at - self.at % slot.sector();
        match self.compare(slot)? {
            Compared::Same if !self.fresh || sector != self.at => self.kept += 1,
            Compared::Blank if sector != self.at => self.program(slot)?,
            // The sector begins here: nothing is lost by erasing it, nor by what comes after it.
            _ if sector == self.at => {
                self.fresh = true;
                slot.erase(sector).map_err(DecodeError::Source)?;
                self.program(slot)?;
            }
            // Power failed within this chunk. Its sector has to be erased, and what it held made again.
            _ => {
                if self.restarts == u8::MAX {
                    return Err(ApplyError::BadFlash);
                }
                self.restarts += 1;
                slot.erase(sector).map_err(DecodeError::Source)?;
                return self.again(patch);
            }
        }
        self.at += CHUNK as u32;
        self.filled = 0;
        Ok(())
    }

    fn program<E>(&mut self, slot: &mut impl Slot<Error = E>) -> Result<(), ApplyError<E>> {
        slot.program(self.at, &self.chunk).map_err(DecodeError::Source)?;
        self.programmed += 1;
        match self.compare(slot)? {
            Compared::Same => Ok(()),
            _ => Err(ApplyError::BadFlash),
        }
    }

    fn compare<E>(&self, slot: &mut impl Slot<Error = E>) -> Result<Compared, ApplyError<E>> {
        let (mut same, mut blank) = (true, true);
        let mut part = [0; 32];
        for (nth, expected) in self.chunk.chunks(part.len()).enumerate() {
            let at = self.at + (nth * part.len()) as u32;
            slot.read(at, &mut part).map_err(DecodeError::Source)?;
            same &= part[..] == *expected;
            blank &= part.iter().all(|byte| *byte == 0xff);
        }
        Ok(if same {
            Compared::Same
        } else if blank {
            Compared::Blank
        } else {
            Compared::Other
        })
    }
}

enum Compared {
    Same,
    Blank,
    Other,
}

/// What has been made of the new image: in the slot, and after it in the chunk.
struct Written<'a, S> {
    slot: &'a mut S,
    at: u32,
    chunk: &'a [u8],
}

impl<S: Slot> Source for Written<'_, S> {
    type Error = S::Error;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), S::Error> {
        for (at, byte) in (offset..).zip(out) {
            match at.checked_sub(self.at) {
                None => self.slot.read(at, core::slice::from_mut(byte))?,
                Some(within) => *byte = self.chunk.get(within as usize).copied().unwrap_or(0),
            }
        }
        Ok(())
    }
}
