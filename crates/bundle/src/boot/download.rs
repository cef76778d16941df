//! The object that a new image is made of, on its way: a place of its own in the object store.

use super::reception::Reception;
use crate::flashstore::FlashStore;
use crate::manifest::{ClaimedManifest, VerifiedManifest};
use crate::slots::Begun;
use crate::trust::{Installed, Refusal, Target};
use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Why nothing is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadError<E> {
    /// The bundle is not for this device, or not now.
    Refused(Refusal),
    /// Nothing was begun since the place was opened.
    NotBegun,
    /// The content is incomplete or not what the manifest says.
    Digest,
    /// The flash failed.
    Flash(E),
}

impl<E: fmt::Debug> fmt::Display for DownloadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NotBegun => f.write_str("no reception was begun"),
            Self::Digest => f.write_str("the content is not what its manifest says"),
            Self::Flash(e) => write!(f, "flash: {e:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for DownloadError<E> {}

/// One place for one object, and spare room for symbols.
#[derive(Debug)]
pub struct Download<F> {
    flash: F,
    reception: Reception,
}

impl<F: NorFlash> Download<F> {
    /// Nothing is read or written yet. None unless both regions are whole erase units apart from each other within
    /// the flash, and `place` has more than the 512 bytes that a manifest takes.
    pub fn open(flash: F, place: Range<u32>, spare: Range<u32>) -> Option<Self> {
        let reception = Reception::new::<F>(flash.capacity(), place, spare)?;
        Some(Self { flash, reception })
    }

    /// The bundle whose reception a restart interrupted, or that was received and not cleared. It has to be verified
    /// anew before it goes on.
    pub fn pending(&mut self) -> Result<Option<ClaimedManifest>, F::Error> {
        self.reception.claimed(&mut self.flash)
    }

    /// Prepares the place for a bundle, if it is for this device and newer than what it has.
    pub fn begin(
        &mut self,
        verified: &VerifiedManifest,
        target: &Target,
        installed: &Installed,
    ) -> Result<Begun, DownloadError<F::Error>> {
        verified.admit(target, installed).map_err(DownloadError::Refused)?;
        self.reception.has_room(verified).map_err(DownloadError::Refused)?;
        self.reception.begin(&mut self.flash, verified).map_err(DownloadError::Flash)
    }

    /// Where the pieces go; none if nothing was begun.
    pub fn store(&mut self) -> Option<FlashStore<&mut F>> {
        self.reception.store(&mut self.flash)
    }

    /// Checks the whole content, and says where in flash it lies.
    pub fn content(&mut self) -> Result<Range<u32>, DownloadError<F::Error>> {
        self.reception.content(&mut self.flash)
    }

    /// Forgets what is there.
    pub fn clear(&mut self) -> Result<(), F::Error> {
        self.reception.clear(&mut self.flash)
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }
}
