//! Reading and copying images in flash.

use super::{ImageGeometry, NativeImage, PROOF_MAX, Voucher};
use crate::flashstore::{UNIT, is_blank};
use core::ops::Range;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use sha2::{Digest, Sha256};

/// Bytes that are read or written at once where the caller gives no buffer.
const CHUNK: usize = 256;

/// What a new image is made of: the one in force, the object that was received for it, and what there is of itself.
#[derive(Debug)]
pub struct Inputs<'a, F> {
    pub(super) flash: &'a mut F,
    pub(super) old: Range<u32>,
    pub(super) object: Range<u32>,
    /// Where the image goes.
    pub(super) new: u32,
    /// How much of it is there already.
    pub(super) stored: u32,
    /// What comes after that and is not there yet.
    pub(super) made: &'a [u8],
}

impl<F: ReadNorFlash> Inputs<'_, F> {
    /// Size of the image in force, in bytes.
    pub fn old_len(&self) -> u32 {
        self.old.end - self.old.start
    }

    /// Size of the object, in bytes.
    pub fn object_len(&self) -> u32 {
        self.object.end - self.object.start
    }

    /// Reads `out.len()` bytes of the image in force from `offset`; false, and nothing read, if that is beyond its end.
    pub fn read_old(&mut self, offset: u32, out: &mut [u8]) -> Result<bool, F::Error> {
        read_range(self.flash, &self.old, offset, out)
    }

    /// Reads `out.len()` bytes of the object from `offset`; false, and nothing read, if that is beyond its end.
    pub fn read_object(&mut self, offset: u32, out: &mut [u8]) -> Result<bool, F::Error> {
        read_range(self.flash, &self.object, offset, out)
    }

    /// Reads `out.len()` bytes of the new image from `offset`, as produced by earlier calls; false, and part of it read,
    /// if that is beyond what has been produced.
    pub fn read_new(&mut self, offset: u32, out: &mut [u8]) -> Result<bool, F::Error> {
        let stored = (self.stored.saturating_sub(offset) as usize).min(out.len());
        let (from_flash, rest) = out.split_at_mut(stored);
        if !from_flash.is_empty() {
            read_any(self.flash, self.new + offset, from_flash)?;
        }
        let skip = offset.saturating_sub(self.stored) as usize;
        let Some(made) = self.made.get(skip..).and_then(|made| made.get(..rest.len())) else {
            return Ok(false);
        };
        rest.copy_from_slice(made);
        Ok(true)
    }
}

fn read_range<F: ReadNorFlash>(
    flash: &mut F,
    range: &Range<u32>,
    offset: u32,
    out: &mut [u8],
) -> Result<bool, F::Error> {
    let have = (range.end - range.start).saturating_sub(offset) as usize;
    if offset > range.end - range.start || out.len() > have {
        return Ok(false);
    }
    read_any(flash, range.start + offset, out)?;
    Ok(true)
}

/// Reads from any place, whatever units the flash reads in; places within 16 bytes of one asked for must exist.
fn read_any<F: ReadNorFlash>(flash: &mut F, at: u32, out: &mut [u8]) -> Result<(), F::Error> {
    if (at as usize).is_multiple_of(F::READ_SIZE) && out.len().is_multiple_of(F::READ_SIZE) {
        return flash.read(at, out);
    }
    let mut unit = [0; UNIT];
    let (mut at, mut out) = (at, out);
    while !out.is_empty() {
        let skip = at as usize % UNIT;
        flash.read(at - skip as u32, &mut unit)?;
        let count = (UNIT - skip).min(out.len());
        let (now, later) = out.split_at_mut(count);
        now.copy_from_slice(&unit[skip..skip + count]);
        (at, out) = (at + count as u32, later);
    }
    Ok(())
}

/// Whether the image that begins at `start`, within a slot, is what its identity says, and has its proof behind it.
pub(super) fn is_whole<F: NorFlash, V: Voucher + ?Sized>(
    flash: &mut F,
    geometry: &ImageGeometry,
    start: u32,
    image: &NativeImage,
    voucher: &V,
) -> Result<bool, F::Error> {
    if image.size > geometry.capacity() {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    let mut buffer = [0; CHUNK];
    let mut done = 0;
    while done < image.size {
        // Whole units: the room for the proof follows.
        let content = (image.size - done).min(CHUNK as u32) as usize;
        let stored = &mut buffer[..content.next_multiple_of(UNIT)];
        flash.read(start + done, stored)?;
        hasher.update(&stored[..content]);
        done += content as u32;
    }
    let digest: [u8; 32] = hasher.finalize().into();
    if digest != image.digest {
        return Ok(false);
    }
    let mut proof = [0; super::PROOF_ROOM as usize];
    flash.read(start + image.proof_at(), &mut proof)?;
    let len = usize::from(u16::from_le_bytes([proof[0], proof[1]]));
    let said = proof[2..].get(..len).filter(|_| len <= PROOF_MAX).unwrap_or(&[]);
    Ok(voucher.vouches(image, said))
}

/// Makes the page at `to` a copy of the one at `from`.
pub(super) fn copy_page<F: NorFlash>(
    flash: &mut F,
    from: u32,
    to: u32,
    page: u32,
    buffer: &mut [u8],
) -> Result<(), F::Error> {
    flash.erase(to, to + page)?;
    let mut done = 0;
    while done < page {
        let chunk = chunk(buffer, page - done);
        flash.read(from + done, chunk)?;
        if !is_blank(chunk) {
            flash.write(to + done, chunk)?;
        }
        done += chunk.len() as u32;
    }
    Ok(())
}

/// The part of a buffer to use for `left` bytes: whole units, at least one.
pub(super) fn chunk(buffer: &mut [u8], left: u32) -> &mut [u8] {
    let len = (buffer.len() / UNIT * UNIT).min(left as usize);
    &mut buffer[..len]
}
