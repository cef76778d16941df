//! A place in flash for one object: 512 bytes for its signed manifest, then its pieces.
//!
//! The old manifest goes first and the new one comes last, so that a place is never taken for what it is not.

use crate::crc::crc32;
use crate::flashstore::{FlashSource, FlashStore, UNIT};
use crate::manifest::{ClaimedManifest, MAX_PACKED};
use crate::object::Layout;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Bytes before the content.
pub(crate) const HEADER: u32 = 512;
/// Magic u32, length u16, zero u16, CRC-32 of the manifest, 4 unused; then the packed manifest.
const HEADER_HEAD: usize = 16;
const HEADER_LEN: usize = (HEADER_HEAD + MAX_PACKED).next_multiple_of(UNIT);
const MAGIC: [u8; 4] = *b"Cps1";

/// What a place was prepared for.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub claimed: ClaimedManifest,
    pub layout: Layout,
    /// Tells spare symbols of this bundle from any other's.
    binding: u32,
}

impl Prepared {
    /// Where the content lies.
    pub fn content(&self, place: &Range<u32>) -> Range<u32> {
        let start = place.start + HEADER;
        start..start + self.layout.size()
    }

    /// Where the pieces go.
    pub fn store<F: NorFlash>(
        &self,
        flash: F,
        place: &Range<u32>,
        spare: &Range<u32>,
    ) -> Option<FlashStore<F>> {
        FlashStore::new(flash, place.start + HEADER..place.end, spare.clone(), &self.layout, self.binding)
    }
}

/// The pieces in a place, for reading.
pub(crate) fn pieces<F: NorFlash>(flash: F, place: &Range<u32>) -> FlashSource<F> {
    FlashSource::new(flash, place.start + HEADER..place.end)
}

/// What a place was prepared for.
pub(crate) fn read_header<F: NorFlash>(
    flash: &mut F,
    place: &Range<u32>,
) -> Result<Option<Prepared>, F::Error> {
    let mut bytes = [0; HEADER_LEN];
    flash.read(place.start, &mut bytes)?;
    let len = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    let Some(packed) = bytes.get(HEADER_HEAD..HEADER_HEAD + len) else {
        return Ok(None);
    };
    let crc = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    if bytes[..4] != MAGIC || bytes[6..8] != [0, 0] || crc != crc32(&[packed]) {
        return Ok(None);
    }
    let room = place.len() as u32 - HEADER;
    Ok(ClaimedManifest::parse(packed).ok().and_then(|claimed| {
        let layout = claimed.manifest.layout().ok().filter(|l| l.stored_len() <= room)?;
        Some(Prepared { claimed, layout, binding: crc })
    }))
}

/// Empties a place and the spare area, and writes the manifest.
pub(crate) fn prepare<F: NorFlash>(
    flash: &mut F,
    place: &Range<u32>,
    spare: &Range<u32>,
    claimed: ClaimedManifest,
    layout: Layout,
) -> Result<Prepared, F::Error> {
    let header_end = place.start + F::ERASE_SIZE as u32;
    flash.erase(place.start, header_end)?;
    flash.erase(header_end, place.end)?;
    flash.erase(spare.start, spare.end)?;
    let packed = claimed.to_packed();
    let binding = crc32(&[&packed]);
    let mut header = [0xFF; HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&(packed.len() as u16).to_le_bytes());
    header[6..8].fill(0);
    header[8..12].copy_from_slice(&binding.to_le_bytes());
    header[HEADER_HEAD..HEADER_HEAD + packed.len()].copy_from_slice(&packed);
    flash.write(place.start, &header)?;
    Ok(Prepared { claimed, layout, binding })
}

/// Forgets what a place was prepared for.
pub(crate) fn forget<F: NorFlash>(flash: &mut F, place: &Range<u32>) -> Result<(), F::Error> {
    flash.erase(place.start, place.start + F::ERASE_SIZE as u32)
}
