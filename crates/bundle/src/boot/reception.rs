//! Receiving an object into a place of its own, in flash that somebody else owns.

use super::DownloadError;
use crate::flashstore::{FlashSource, FlashStore, is_usable};
use crate::manifest::{ClaimedManifest, Manifest, VerifiedManifest};
use crate::place::{self, HEADER, Prepared};
use crate::receiver::content_digest;
use crate::slots::Begun;
use crate::trust::Refusal;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// A place for one object, spare room for symbols, and what is being received there. Each call is given the flash.
#[derive(Debug)]
pub(super) struct Reception {
    place: Range<u32>,
    spare: Range<u32>,
    begun: Option<Prepared>,
}

impl Reception {
    /// None unless both regions are whole erase units apart from each other within the flash, and `place` has more than a
    /// manifest takes.
    pub(super) fn new<F: NorFlash>(capacity: usize, place: Range<u32>, spare: Range<u32>) -> Option<Self> {
        let erase = F::ERASE_SIZE as u32;
        let sound = |r: &Range<u32>| {
            r.start < r.end
                && r.end as usize <= capacity
                && r.start.is_multiple_of(erase)
                && r.end.is_multiple_of(erase)
        };
        let apart = place.end <= spare.start || spare.end <= place.start;
        let fits = is_usable(F::READ_SIZE, F::WRITE_SIZE)
            && sound(&place)
            && sound(&spare)
            && apart
            && place.len() as u32 > HEADER;
        fits.then_some(Self { place, spare, begun: None })
    }

    /// The manifest that is in the place.
    pub(super) fn claimed<F: NorFlash>(&self, flash: &mut F) -> Result<Option<ClaimedManifest>, F::Error> {
        Ok(place::read_header(flash, &self.place)?.map(|prepared| prepared.claimed))
    }

    /// Whether a bundle's object fits the place.
    pub(super) fn has_room(&self, verified: &VerifiedManifest) -> Result<(), Refusal> {
        let (need, have) = (verified.object().layout.stored_len(), self.place.len() as u32 - HEADER);
        if need > have { Err(Refusal::NoFlash { need, have }) } else { Ok(()) }
    }

    /// Prepares the place for a bundle that was admitted, and for which it has room.
    pub(super) fn begin<F: NorFlash>(
        &mut self,
        flash: &mut F,
        verified: &VerifiedManifest,
    ) -> Result<Begun, F::Error> {
        self.begun = None;
        let claimed = verified.claimed();
        if let Some(prepared) = place::read_header(flash, &self.place)?.filter(|p| p.claimed == *claimed) {
            self.begun = Some(prepared);
            return Ok(Begun::Resumed);
        }
        let layout = verified.object().layout;
        self.begun = Some(place::prepare(flash, &self.place, &self.spare, claimed.clone(), layout)?);
        Ok(Begun::Fresh)
    }

    /// Where the pieces go; none if nothing was begun.
    pub(super) fn store<'f, F: NorFlash>(&self, flash: &'f mut F) -> Option<FlashStore<&'f mut F>> {
        self.begun.as_ref()?.store(flash, &self.place, &self.spare)
    }

    /// The stream of what is in the place.
    pub(super) fn source<'f, F: NorFlash>(&self, flash: &'f mut F) -> FlashSource<&'f mut F> {
        place::pieces(flash, &self.place)
    }

    /// Checks the whole content, and says where in flash it lies.
    pub(super) fn content<F: NorFlash>(&self, flash: &mut F) -> Result<Range<u32>, DownloadError<F::Error>> {
        let prepared = self.begun.as_ref().ok_or(DownloadError::NotBegun)?;
        let whole = self.is_whole(flash, prepared).map_err(DownloadError::Flash)?;
        whole.then(|| prepared.content(&self.place)).ok_or(DownloadError::Digest)
    }

    /// What is whole in the place, whether it was begun or not, and where its content lies.
    pub(super) fn held<F: NorFlash>(
        &self,
        flash: &mut F,
    ) -> Result<Option<(Manifest, Range<u32>)>, F::Error> {
        let Some(prepared) = place::read_header(flash, &self.place)? else { return Ok(None) };
        let content = prepared.content(&self.place);
        Ok(self.is_whole(flash, &prepared)?.then_some((prepared.claimed.manifest, content)))
    }

    fn is_whole<F: NorFlash>(&self, flash: &mut F, prepared: &Prepared) -> Result<bool, F::Error> {
        let digest = content_digest(&prepared.layout, &mut place::pieces(flash, &self.place))?;
        Ok(digest == prepared.claimed.manifest.digest)
    }

    /// Forgets what is there.
    pub(super) fn clear<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), F::Error> {
        self.begun = None;
        place::forget(flash, &self.place)
    }
}
