//! Pieces and spare symbols in NOR flash.
//!
//! Pieces lie one after the other from the start of their region, so that the content is contiguous. A spare slot is 16
//! bytes of head (binding u32, generation u8, zero, symbol id u16, CRC-32 of these and the data, all little-endian, 4
//! bytes unused) and the data, written data first. No slot crosses from one page, as much as can be erased at once and holds a slot,
//! to the next. The binding is a number of the object's own, so that symbols left over
//! from another are never taken for its.

use crate::book::MAX_SPARE;
use crate::crc::crc32;
use crate::object::{Layout, MAX_PIECE_SIZE, PieceSource, PieceStore, SpareSlot};
use crate::place::HEADER;
use core::ops::Range;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

const HEAD: u32 = 16;
/// What flash is written in, here: all offsets and lengths are multiples of it.
pub(crate) const UNIT: usize = 16;

/// Whether a flash can be written in units of 16 bytes and read in units of 8.
pub(crate) const fn is_usable(read_size: usize, write_size: usize) -> bool {
    write_size != 0 && UNIT.is_multiple_of(write_size) && read_size != 0 && 8usize.is_multiple_of(read_size)
}

/// Bytes of a spare slot.
const fn slot_len(piece_size: u32) -> u32 {
    HEAD + piece_size
}

/// Bytes of a page of spare slots: the least number of erase units that holds one.
const fn page_len<F: NorFlash>(piece_size: u32) -> u32 {
    let erase = F::ERASE_SIZE as u32;
    slot_len(piece_size).div_ceil(erase) * erase
}

/// Bytes that so many spare slots take in flash.
pub(crate) fn spare_len<F: NorFlash>(slots: u32, piece_size: u32) -> u32 {
    let page = page_len::<F>(piece_size);
    slots.div_ceil(page / slot_len(piece_size)) * page
}

/// Whether flash bytes are as erased.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0xFF)
}

/// A stream in flash, for reading only.
#[derive(Debug)]
pub struct FlashSource<F> {
    flash: F,
    region: Range<u32>,
}

impl<F: ReadNorFlash> FlashSource<F> {
    /// The stream whose pieces lie in `region` of `flash`.
    pub fn new(flash: F, region: Range<u32>) -> Self {
        Self { flash, region }
    }
}

impl<F: ReadNorFlash> PieceSource for FlashSource<F> {
    type Error = F::Error;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), F::Error> {
        read_within(&mut self.flash, &self.region, offset, out)
    }
}

/// Reads from a region; zeros beyond its end, which a valid layout never asks for.
fn read_within<F: ReadNorFlash>(
    flash: &mut F,
    region: &Range<u32>,
    offset: u32,
    out: &mut [u8],
) -> Result<(), F::Error> {
    let start = region.start.saturating_add(offset).min(region.end);
    let have = ((region.end - start) as usize).min(out.len());
    out[have..].fill(0);
    if have == 0 { Ok(()) } else { flash.read(start, &mut out[..have]) }
}

/// The place of one object that is being received: its pieces, and spare slots for symbols.
#[derive(Debug)]
pub struct FlashStore<F> {
    flash: F,
    pieces: Range<u32>,
    spare: Range<u32>,
    piece_size: u32,
    binding: u32,
}

impl<F: NorFlash> FlashStore<F> {
    /// A store for an object of this layout. None unless the flash can be written in units of 16 bytes and read in units
    /// of 8, the pieces fit, the regions are within the flash and start at multiples of 16, and `spare` at erase units.
    pub fn new(
        flash: F,
        pieces: Range<u32>,
        spare: Range<u32>,
        layout: &Layout,
        binding: u32,
    ) -> Option<Self> {
        let within = |r: &Range<u32>| r.start <= r.end && r.end as usize <= flash.capacity();
        let erasable = |at: u32| (at as usize).is_multiple_of(F::ERASE_SIZE);
        let fits = is_usable(F::READ_SIZE, F::WRITE_SIZE)
            && within(&pieces)
            && within(&spare)
            && pieces.len() >= layout.stored_len() as usize
            && pieces.start.is_multiple_of(UNIT as u32)
            && erasable(spare.start)
            && erasable(spare.end);
        fits.then(|| Self { flash, pieces, spare, piece_size: u32::from(layout.piece_size()), binding })
    }

    fn slot(&self, slot: usize) -> u32 {
        let page = (slot / self.spare_page()) as u32 * page_len::<F>(self.piece_size);
        self.spare.start + page + (slot % self.spare_page()) as u32 * slot_len(self.piece_size)
    }

    fn head(&self, generation: u8, id: u16, data: &[u8]) -> [u8; HEAD as usize] {
        let mut head = [0xFF; HEAD as usize];
        head[..4].copy_from_slice(&self.binding.to_le_bytes());
        head[4..6].copy_from_slice(&[generation, 0]);
        head[6..8].copy_from_slice(&id.to_le_bytes());
        let crc = crc32(&[&head[..8], data]);
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Erases the page at `page`, putting back all but `hole` if `scratch` can hold it. What lies before the pieces, the manifest, is put
    /// back in any case: it does not come again.
    fn rewrite_page(&mut self, page: u32, hole: &Range<u32>, scratch: &mut [u8]) -> Result<bool, F::Error> {
        let end = page + F::ERASE_SIZE as u32;
        let Some(copy) = scratch.get_mut(..F::ERASE_SIZE) else {
            let mut before = [0xFF; HEADER as usize];
            let before = &mut before[..self.pieces.start.saturating_sub(page).min(HEADER) as usize];
            self.flash.read(page, before)?;
            self.flash.erase(page, end)?;
            self.put_back(page, before)?;
            return Ok(false);
        };
        self.flash.read(page, copy)?;
        let cut = |at: u32| (at.clamp(page, end) - page) as usize;
        copy[cut(hole.start)..cut(hole.end)].fill(0xFF);
        self.flash.erase(page, end)?;
        self.put_back(page, copy)?;
        Ok(true)
    }

    fn put_back(&mut self, page: u32, copy: &[u8]) -> Result<(), F::Error> {
        for (unit, at) in copy.chunks(UNIT).zip((page..).step_by(UNIT)) {
            if !is_blank(unit) {
                self.flash.write(at, unit)?;
            }
        }
        Ok(())
    }
}

impl<F: NorFlash> PieceSource for FlashStore<F> {
    type Error = F::Error;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), F::Error> {
        read_within(&mut self.flash, &self.pieces, offset, out)
    }
}

impl<F: NorFlash> PieceStore for FlashStore<F> {
    fn write_piece(&mut self, index: u32, piece: &[u8]) -> Result<(), F::Error> {
        self.flash.write(self.pieces.start + index * self.piece_size, piece)
    }

    fn clear_piece(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, F::Error> {
        let start = self.pieces.start + index * self.piece_size;
        let hole = start..start + self.piece_size;
        let mut unit = [0; UNIT];
        let mut blank = true;
        for at in hole.clone().step_by(UNIT) {
            self.flash.read(at, &mut unit)?;
            blank &= is_blank(&unit);
        }
        if blank { Ok(true) } else { self.renew_piece(index, scratch) }
    }

    fn renew_piece(&mut self, index: u32, scratch: &mut [u8]) -> Result<bool, F::Error> {
        let start = self.pieces.start + index * self.piece_size;
        let hole = start..start + self.piece_size;
        let erase = F::ERASE_SIZE as u32;
        let mut kept = true;
        for page in (hole.start / erase * erase..hole.end).step_by(F::ERASE_SIZE) {
            kept &= self.rewrite_page(page, &hole, scratch)?;
        }
        Ok(kept)
    }

    fn spare_slots(&self) -> usize {
        let pages = self.spare.len() / page_len::<F>(self.piece_size) as usize;
        (pages * self.spare_page()).min(MAX_SPARE)
    }

    fn spare_page(&self) -> usize {
        (page_len::<F>(self.piece_size) / slot_len(self.piece_size)) as usize
    }

    fn spare(&mut self, slot: usize) -> Result<SpareSlot, F::Error> {
        let mut head = [0; HEAD as usize];
        let mut data = [0; MAX_PIECE_SIZE as usize];
        let data = &mut data[..self.piece_size as usize];
        let at = self.slot(slot);
        self.flash.read(at, &mut head)?;
        self.flash.read(at + HEAD, data)?;
        if is_blank(&head) && is_blank(data) {
            return Ok(SpareSlot::Blank);
        }
        let (generation, id) = (head[4], u16::from_le_bytes([head[6], head[7]]));
        let whole = head == self.head(generation, id, data);
        Ok(if whole { SpareSlot::Symbol { generation, id } } else { SpareSlot::Waste })
    }

    fn read_spare(&mut self, slot: usize, out: &mut [u8]) -> Result<(), F::Error> {
        self.flash.read(self.slot(slot) + HEAD, out)
    }

    fn write_spare(&mut self, slot: usize, generation: u8, id: u16, data: &[u8]) -> Result<(), F::Error> {
        let at = self.slot(slot);
        self.flash.write(at + HEAD, data)?;
        self.flash.write(at, &self.head(generation, id, data))
    }

    fn clear_spare(&mut self, page: usize) -> Result<(), F::Error> {
        let length = page_len::<F>(self.piece_size);
        let start = self.spare.start + page as u32 * length;
        self.flash.erase(start, start + length)
    }
}
