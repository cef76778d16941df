//! The object that a new image is made of, on its way: a place of its own in the object store.

use crate::flashstore::{FlashStore, is_usable};
use crate::manifest::{ClaimedManifest, VerifiedManifest};
use crate::place::{self, HEADER, Prepared};
use crate::receiver::content_digest;
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
    place: Range<u32>,
    spare: Range<u32>,
    begun: Option<Prepared>,
}

impl<F: NorFlash> Download<F> {
    /// Nothing is read or written yet. None unless both regions are whole erase units apart from each other within
    /// the flash, and `place` has more than the 512 bytes that a manifest takes.
    pub fn open(flash: F, place: Range<u32>, spare: Range<u32>) -> Option<Self> {
        let erase = F::ERASE_SIZE as u32;
        let sound = |r: &Range<u32>| {
            r.start < r.end
                && r.end as usize <= flash.capacity()
                && r.start.is_multiple_of(erase)
                && r.end.is_multiple_of(erase)
        };
        let apart = place.end <= spare.start || spare.end <= place.start;
        let fits = is_usable(F::READ_SIZE, F::WRITE_SIZE)
            && sound(&place)
            && sound(&spare)
            && apart
            && place.len() as u32 > HEADER;
        fits.then_some(Self { flash, place, spare, begun: None })
    }

    /// The bundle whose reception a restart interrupted, or that was received and not cleared. It has to be verified
    /// anew before it goes on.
    pub fn pending(&mut self) -> Result<Option<ClaimedManifest>, F::Error> {
        Ok(place::read_header(&mut self.flash, &self.place)?.map(|prepared| prepared.claimed))
    }

    /// Prepares the place for a bundle, if it is for this device and newer than what it has.
    pub fn begin(
        &mut self,
        verified: &VerifiedManifest,
        target: &Target,
        installed: &Installed,
    ) -> Result<Begun, DownloadError<F::Error>> {
        verified.admit(target, installed).map_err(DownloadError::Refused)?;
        let layout = verified.object().layout;
        let (need, have) = (layout.stored_len(), self.place.len() as u32 - HEADER);
        if need > have {
            return Err(DownloadError::Refused(Refusal::NoFlash { need, have }));
        }
        self.begun = None;
        let claimed = verified.claimed();
        let known = place::read_header(&mut self.flash, &self.place).map_err(DownloadError::Flash)?;
        if let Some(prepared) = known.filter(|p| p.claimed == *claimed) {
            self.begun = Some(prepared);
            return Ok(Begun::Resumed);
        }
        let prepared = place::prepare(&mut self.flash, &self.place, &self.spare, claimed.clone(), layout);
        self.begun = Some(prepared.map_err(DownloadError::Flash)?);
        Ok(Begun::Fresh)
    }

    /// Where the pieces go; none if nothing was begun.
    pub fn store(&mut self) -> Option<FlashStore<&mut F>> {
        self.begun.as_ref()?.store(&mut self.flash, &self.place, &self.spare)
    }

    /// Checks the whole content, and says where in flash it lies.
    pub fn content(&mut self) -> Result<Range<u32>, DownloadError<F::Error>> {
        let prepared = self.begun.as_ref().ok_or(DownloadError::NotBegun)?;
        let mut pieces = place::pieces(&mut self.flash, &self.place);
        let digest = content_digest(&prepared.layout, &mut pieces).map_err(DownloadError::Flash)?;
        let whole = digest == prepared.claimed.manifest.digest;
        whole.then(|| prepared.content(&self.place)).ok_or(DownloadError::Digest)
    }

    /// Forgets what is there.
    pub fn clear(&mut self) -> Result<(), F::Error> {
        self.begun = None;
        place::forget(&mut self.flash, &self.place)
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }
}
