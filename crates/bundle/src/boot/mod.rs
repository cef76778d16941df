//! Native images: what a boot loader starts, and how the application replaces it.
//!
//! Images are linked for slot A and run there. None of the parts that this is for can map another bank to slot A's
//! address, and an image per slot would double what has to cross the air: neighbours in different slots could not help
//! each other. So slot B is where a new image is put together and where the old one waits, and the boot loader exchanges
//! both, page by page, one page of slot B being free room.
//!
//! ```text
//!            begin              request             all copied            confirm
//! Settled ───────────> Writing ─────────> Swapping ────────────> Trial ────────────> Settled (new)
//!    ^                                                             │ fall back, damage, or not confirmed
//!    └──────────────────────────── Reverting <─────────────────────┘ within MAX_TRIAL_BOOTS starts
//! ```
//!
//! The application drives the upper row by [`Firmware`]; the boot loader calls [`start`], which finishes whatever power
//! loss interrupted, in any state, and names an image only after it has verified all of it.
//!
//! What keeps that true:
//!
//! - A state is one record in a log of two halves; the last whole one counts, and old ones are never read again
//!   (`log.rs`). What a power cut may have left half-programmed is not relied on: the boot loader writes the last word again
//!   before it acts on it, and never appends right behind it.
//! - Each copy goes to a page that it erases first, from a page that no earlier step of the same exchange writes later:
//!   so any step can be done again.
//! - The floor, below which nothing is started, rises when a trial is confirmed and at no other time: an image that is
//!   reverted can always start its predecessor.
//! - What failed its trial is not taken again, and what was replaced comes back only when its successor is found damaged.

use crate::flashstore::{UNIT, is_usable};
use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

mod download;
mod firmware;
mod flash;
mod loader;
pub(crate) mod log;
mod native;
mod producer;
mod proof;
mod reception;

pub use download::{Download, DownloadError};
pub use firmware::{Firmware, ImageBegun, ImageError, WriteProgress};
pub use flash::Inputs;
pub use loader::{BootError, Mended, Start, provision, start};
pub use native::{Native, NativeError, NativeGeometry};
pub use producer::{ImageProducer, ProduceError, WholeImage};
pub use proof::{LogTrusted, PROOF_MAX, RootSigned, Voucher};

/// Starts of an image on trial that nobody confirmed; at the next one it is reverted.
pub const IMAGE_TRIAL_STARTS: u8 = 3;

/// Room for the proof behind an image, in bytes.
pub(crate) const PROOF_ROOM: u32 = 512;

/// What tells images apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeImage {
    /// SHA-256 of the whole image.
    pub digest: [u8; 32],
    /// Its size in bytes, at least 1.
    pub size: u32,
    /// Its version; only a higher one replaces it. Below `u32::MAX`.
    pub sequence: u32,
    /// Once it is confirmed, no image with a sequence below this is ever started; at most its own sequence.
    pub floor: u32,
}

impl NativeImage {
    /// Whether the numbers make sense, whatever the flash.
    fn is_sound(&self) -> bool {
        self.size > 0 && self.sequence < u32::MAX && self.floor <= self.sequence
    }

    /// Where the proof begins, counted from the start of the image.
    fn proof_at(&self) -> u32 {
        self.size.saturating_add(UNIT as u32 - 1) & !(UNIT as u32 - 1)
    }

    /// Bytes of image and proof.
    fn stored_len(&self) -> u32 {
        self.proof_at().saturating_add(PROOF_ROOM)
    }
}

/// Where native images lie in flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageGeometry {
    /// The boot log: two halves, each of whole erase units.
    pub log: Range<u32>,
    /// Slot A, where images run, and slot B; of the same length.
    pub slots: [Range<u32>; 2],
    /// What is copied at once: a multiple of the erase unit. A larger one needs fewer entries in the log, and more of
    /// slot B stays free.
    pub page: u32,
}

impl ImageGeometry {
    /// One after the other from `start`: a log of two times `log_half` bytes at least, and two slots for images of
    /// `image_len` bytes, exchanged `page` bytes at a time; lengths are rounded up to erase units. None if that leads
    /// beyond 32 bits.
    pub fn packed<F: NorFlash>(start: u32, log_half: u32, image_len: u32, page: u32) -> Option<Self> {
        let erase = F::ERASE_SIZE as u32;
        let page = page.max(1).checked_next_multiple_of(erase)?;
        let half = log_half.max(log::HALF_MIN).checked_next_multiple_of(erase)?;
        let stored = image_len.checked_next_multiple_of(UNIT as u32)?.checked_add(PROOF_ROOM)?;
        let slot = stored.checked_next_multiple_of(page)?.checked_add(page)?;
        let a = start.checked_add(half.checked_mul(2)?)?.checked_next_multiple_of(page)?;
        let b = a.checked_add(slot)?;
        Some(Self { log: start..start + 2 * half, slots: [a..b, b..b.checked_add(slot)?], page })
    }

    /// The end of the last region.
    pub fn end(&self) -> u32 {
        self.log.end.max(self.slots[0].end).max(self.slots[1].end)
    }

    /// Size of the largest image that fits, in bytes: a slot less one page and the proof.
    pub fn capacity(&self) -> u32 {
        (self.slots[0].len() as u32).saturating_sub(self.page).saturating_sub(PROOF_ROOM)
    }

    /// Pages that an image and its proof take.
    fn pages(&self, image: &NativeImage) -> u32 {
        image.stored_len().div_ceil(self.page)
    }

    fn is_valid<F: NorFlash>(&self, capacity: usize) -> bool {
        let erase = F::ERASE_SIZE as u32;
        let regions = [&self.log, &self.slots[0], &self.slots[1]];
        let sound = |r: &Range<u32>, unit: u32| {
            r.start < r.end
                && r.end as usize <= capacity
                && r.start.is_multiple_of(unit)
                && (r.end - r.start).is_multiple_of(unit)
        };
        let apart = |a: &Range<u32>, b: &Range<u32>| a.end <= b.start || b.end <= a.start;
        is_usable(F::READ_SIZE, F::WRITE_SIZE)
            && self.page > 0
            && self.page.is_multiple_of(erase)
            && self.page.is_multiple_of(UNIT as u32)
            && sound(&self.log, erase)
            && self.log.len().is_multiple_of(2 * F::ERASE_SIZE)
            && self.log.len() as u32 >= 2 * log::HALF_MIN
            && self.slots.iter().all(|slot| slot.start.is_multiple_of(erase) && sound(slot, erase))
            && self.slots.iter().all(|slot| (slot.len() as u32).is_multiple_of(self.page))
            && self.slots[0].len() == self.slots[1].len()
            && self.slots[0].len() as u32 >= 2 * self.page
            && (1..3).all(|n| regions[..n].iter().all(|r| apart(r, regions[n])))
    }
}

/// Shows an image as `7 (a1b2c3d4)`: sequence and the first bytes of its digest.
impl fmt::Display for NativeImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.digest;
        write!(f, "{} ({a:02x}{b:02x}{c:02x}{d:02x})", self.sequence)
    }
}
