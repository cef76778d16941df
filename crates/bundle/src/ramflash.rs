//! A NOR flash in RAM that loses power on command: before, inside or after any operation; or fails at one and goes on.
//!
//! It is stricter than most parts: a written word cannot be written again before it is erased, and what a cut leaves of
//! the word or page it hit is garbage.

use core::ops::Range;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use heapless::Vec;

/// When, relative to a flash operation, power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before it has any effect.
    Before,
    /// When this share of it is done, in 1/256; the word or page at the edge becomes garbage.
    Inside(u8),
    /// When it is complete, but before its caller knows.
    After,
    /// The same for a write; but the cells are so weak that all of it is garbage when power comes back once more. For
    /// an erasure like [`Cut::After`].
    Fading,
    /// When all of it is done by half: each bit that was to be written or erased may have been or not, to the end of
    /// the write or of the first page.
    Garbled,
    /// When it has begun and nothing of it is to be seen, or worse, all: what was to be written reads as erased, the page
    /// that was to be erased reads as erased too, and neither can be written before a whole erasure.
    Unseen,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamFlashError {
    /// Power failed; every operation fails until [`RamFlash::power_on`].
    NoPower,
    /// A word was written that was not erased.
    NotErased,
    /// The operation failed half done ([`RamFlash::fail_after`]); power is there.
    Failed,
    /// Out of bounds or not aligned.
    Arguments(NorFlashErrorKind),
}

impl NorFlashError for RamFlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Arguments(kind) => *kind,
            Self::NoPower | Self::NotErased | Self::Failed => NorFlashErrorKind::Other,
        }
    }
}

/// `SIZE` bytes of flash, written in words of `WRITE` bytes and erased in pages of `ERASE` bytes.
#[derive(Clone, Debug)]
pub struct RamFlash<const SIZE: usize, const WRITE: usize = 4, const ERASE: usize = 4096> {
    bytes: [u8; SIZE],
    operations: u64,
    written: u64,
    erased_pages: u64,
    cut: Option<(u64, Cut)>,
    /// Operations that fail half done.
    failing: Range<u64>,
    /// What became of the last operation that was hit.
    hit: Option<Cut>,
    powered: bool,
    /// Bytes that read as erased and are not.
    weak: Vec<Range<usize>, 16>,
    /// Bytes that will be garbage, and whether power has come back since.
    fading: Vec<(Range<usize>, bool), 16>,
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> Default for RamFlash<SIZE, WRITE, ERASE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> RamFlash<SIZE, WRITE, ERASE> {
    /// An erased flash with power.
    pub const fn new() -> Self {
        Self {
            bytes: [0xFF; SIZE],
            operations: 0,
            written: 0,
            erased_pages: 0,
            cut: None,
            failing: 0..0,
            hit: None,
            powered: true,
            weak: Vec::new(),
            fading: Vec::new(),
        }
    }

    /// All that is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All that is in it, to damage it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Writes and erasures so far, the one that was cut included.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Pages erased so far.
    pub fn erased_pages(&self) -> u64 {
        self.erased_pages
    }

    /// Lets power fail at the write or erasure after the next `operations` ones.
    pub fn cut_after(&mut self, operations: u64, cut: Cut) {
        self.cut = Some((self.operations + operations, cut));
    }

    /// Lets the writes and erasures after the next `operations` ones fail, so many of them; half of each is done, and power stays.
    pub fn fail_after(&mut self, operations: u64, count: u64) {
        let first = self.operations + operations;
        self.failing = first..first.saturating_add(count);
    }

    /// Whether there is power.
    pub fn has_power(&self) -> bool {
        self.powered
    }

    /// Brings power back, with no further cut planned.
    pub fn power_on(&mut self) {
        for (range, _) in self.fading.clone().iter().filter(|(_, again)| *again) {
            for at in range.clone() {
                self.bytes[at] |= self.garbage(at);
            }
        }
        self.fading.retain(|(_, again)| !again);
        for (_, again) in &mut self.fading {
            *again = true;
        }
        self.powered = true;
        self.cut = None;
    }

    /// How many of `units` are done in this operation, and whether power is lost in it, or it fails.
    fn begin(&mut self, units: usize) -> Result<(usize, bool), RamFlashError> {
        if !self.powered {
            return Err(RamFlashError::NoPower);
        }
        let now = self.operations;
        self.operations += 1;
        match self.cut {
            Some((at, cut)) if at == now => {
                self.powered = false;
                self.hit = Some(cut);
                Ok(match cut {
                    Cut::Before | Cut::Unseen | Cut::Garbled => (0, true),
                    Cut::Inside(share) => (units * usize::from(share) / 256, true),
                    Cut::After | Cut::Fading => (units, true),
                })
            }
            _ if self.failing.contains(&now) => {
                self.hit = Some(Cut::Inside(128));
                Ok((units / 2, true))
            }
            _ => Ok((units, false)),
        }
    }

    /// Whether the unit after `done` was hit.
    fn is_torn(&self, lost: bool) -> bool {
        lost && matches!(self.hit, Some(Cut::Inside(_)))
    }

    fn is_garbled(&self, lost: bool) -> bool {
        lost && matches!(self.hit, Some(Cut::Garbled))
    }

    /// These bytes look erased and are not.
    fn weaken(&mut self, lost: bool, range: Range<usize>) {
        if lost && matches!(self.hit, Some(Cut::Unseen)) {
            self.bytes[range.clone()].fill(0xFF);
            if let Err(range) = self.weak.push(range)
                && let Some(last) = self.weak.last_mut()
            {
                // More than anyone asks for: what lies between is called weak too.
                *last = last.start.min(range.start)..last.end.max(range.end);
            }
        }
    }

    fn end(&self, lost: bool) -> Result<(), RamFlashError> {
        match lost {
            true if self.powered => Err(RamFlashError::Failed),
            true => Err(RamFlashError::NoPower),
            false => Ok(()),
        }
    }

    /// Byte of garbage that depends on place and time only.
    fn garbage(&self, at: usize) -> u8 {
        let mixed = (at as u64 ^ self.operations << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 56) as u8
    }
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> ErrorType for RamFlash<SIZE, WRITE, ERASE> {
    type Error = RamFlashError;
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> ReadNorFlash
    for RamFlash<SIZE, WRITE, ERASE>
{
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamFlashError> {
        if !self.powered {
            return Err(RamFlashError::NoPower);
        }
        check_read(self, offset, bytes.len()).map_err(RamFlashError::Arguments)?;
        let start = offset as usize;
        bytes.copy_from_slice(&self.bytes[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> NorFlash for RamFlash<SIZE, WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamFlashError> {
        check_erase(self, from, to).map_err(RamFlashError::Arguments)?;
        let (from, to) = (from as usize, to as usize);
        let (done, lost) = self.begin(to - from)?;
        let whole_pages = done / ERASE * ERASE;
        self.bytes[from..from + whole_pages].fill(0xFF);
        self.erased_pages += (whole_pages / ERASE) as u64;
        self.weak.retain(|weak| weak.start < from || weak.end > from + whole_pages);
        self.fading.retain(|(fading, _)| fading.start < from || fading.end > from + whole_pages);
        self.weaken(lost, from..(from + ERASE).min(to));
        if self.is_garbled(lost) {
            for at in from..(from + ERASE).min(to) {
                self.bytes[at] |= self.garbage(at);
            }
        }
        if self.is_torn(lost) && whole_pages < to - from {
            // Of the page that was being erased a part is erased, a part untouched, and the word between is neither.
            let page = from + whole_pages;
            let edge = from + done / WRITE * WRITE;
            self.bytes[page..edge].fill(0xFF);
            for at in edge..edge + WRITE {
                self.bytes[at] |= self.garbage(at);
            }
        }
        self.end(lost)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamFlashError> {
        check_write(self, offset, bytes.len()).map_err(RamFlashError::Arguments)?;
        let start = offset as usize;
        let end = start + bytes.len();
        let weak = self.weak.iter().any(|weak| weak.start < end && start < weak.end);
        if self.powered && (weak || self.bytes[start..end].iter().any(|b| *b != 0xFF)) {
            return Err(RamFlashError::NotErased);
        }
        let (done, lost) = self.begin(bytes.len())?;
        let words = done / WRITE * WRITE;
        self.bytes[start..start + words].copy_from_slice(&bytes[..words]);
        self.written += words as u64;
        self.weaken(lost, start..(start + WRITE).min(end));
        if lost && matches!(self.hit, Some(Cut::Fading)) {
            // With more of them than anyone asks for, the last ones stay.
            let _ = self.fading.push((start..end, false));
        }
        if self.is_garbled(lost) {
            for (at, byte) in (start..).zip(bytes) {
                self.bytes[at] = byte | self.garbage(at);
            }
        }
        if self.is_torn(lost) && words < bytes.len() {
            for (at, byte) in (start + words..).zip(&bytes[words..words + WRITE]) {
                self.bytes[at] = byte | self.garbage(at);
            }
        }
        self.end(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tears_and_passes() {
        let mut f = RamFlash::<4096, 4, 1024>::new();
        f.fail_after(1, 2);
        f.write(0, &[0; 16]).unwrap();
        assert_eq!(f.write(16, &[0; 16]), Err(RamFlashError::Failed));
        assert!(f.bytes()[16..24] == [0; 8] && f.bytes()[28..32] == [0xFF; 4]);
        assert_eq!(f.erase(0, 1024), Err(RamFlashError::Failed));
        f.read(0, &mut [0]).unwrap();
        f.erase(0, 1024).unwrap();
        f.write(16, &[0; 16]).unwrap();
    }

    #[test]
    fn what_fades_is_whole_once() {
        let mut f = RamFlash::<4096, 4, 1024>::new();
        f.cut_after(0, Cut::Fading);
        assert_eq!(f.write(1024, &[0; 16]), Err(RamFlashError::NoPower));
        f.power_on();
        assert_eq!(f.bytes()[1024..1040], [0; 16]);
        f.power_on();
        assert_ne!(f.bytes()[1024..1040], [0; 16]);
        f.erase(1024, 2048).unwrap();
        f.cut_after(0, Cut::Fading);
        assert_eq!(f.write(1024, &[0; 16]), Err(RamFlashError::NoPower));
        f.power_on();
        f.erase(1024, 2048).unwrap();
        f.write(1024, &[0; 16]).unwrap();
        f.power_on();
        assert_eq!(f.bytes()[1024..1040], [0; 16], "written anew");
    }

    #[test]
    fn what_only_looks_erased_has_to_be_erased() {
        let mut f = RamFlash::<4096, 4, 1024>::new();
        f.cut_after(0, Cut::Unseen);
        assert_eq!(f.write(1024, &[0; 16]), Err(RamFlashError::NoPower));
        f.power_on();
        assert!(f.bytes().iter().all(|b| *b == 0xFF));
        assert_eq!(f.write(1024, &[0; 4]), Err(RamFlashError::NotErased));
        f.write(1028, &[0; 4]).unwrap();
        f.cut_after(0, Cut::Unseen);
        assert_eq!(f.erase(1024, 3072), Err(RamFlashError::NoPower));
        f.power_on();
        assert_eq!(f.bytes()[1028], 0xFF);
        assert_eq!(f.write(2044, &[0; 4]), Err(RamFlashError::NotErased));
        f.erase(1024, 2048).unwrap();
        f.write(1024, &[0; 1024]).unwrap();
    }

    #[test]
    fn cuts_leave_what_they_should() {
        for share in [0, 1, 64, 128, 200, 255] {
            let mut f = RamFlash::<4096, 4, 1024>::new();
            f.write(8, &[0; 16]).unwrap();
            assert_eq!(f.write(8, &[0; 4]), Err(RamFlashError::NotErased));
            f.cut_after(0, Cut::Inside(share));
            assert_eq!(f.write(24, &[0; 256]), Err(RamFlashError::NoPower));
            assert_eq!(f.read(0, &mut [0]), Err(RamFlashError::NoPower));
            f.power_on();
            let words = usize::from(share) / 4 * 4;
            assert!(f.bytes()[24..24 + words].iter().all(|b| *b == 0), "a prefix is written");
            assert!(f.bytes()[24 + words + 4..].iter().all(|b| *b == 0xFF), "the rest is not");
            f.cut_after(0, Cut::Before);
            assert_eq!(f.erase(0, 2048), Err(RamFlashError::NoPower));
            f.power_on();
            assert_eq!(f.bytes()[8], 0);
            f.cut_after(0, Cut::After);
            assert_eq!(f.erase(0, 2048), Err(RamFlashError::NoPower));
            f.power_on();
            assert!(f.bytes()[..2048].iter().all(|b| *b == 0xFF));
        }
    }
}
