//! The append-only log that says which slot is in force.
//!
//! A record is 48 bytes and holds the whole state; the last one whole wins. Layout, integers little-endian: magic u8,
//! confirmed slot u8, trial slot u8 (255 for none), trial boots u8, record number u32, floor + 1 u32 (0 for none),
//! confirmed sequence u32, trial sequence u32, confirmed content id 8, trial content id 8, 8 unused, CRC-32 of all before.
//! Records fill one page after the other; a page is erased when it is about to be written again, while the last
//! record is still in the page before it.

use crate::crc::crc32;
use crate::flashstore::is_blank;
use embedded_storage::nor_flash::NorFlash;

pub(crate) const RECORD: usize = 48;
const MAGIC: u8 = 0xC5;
const NO_SLOT: u8 = 255;

/// A slot's content, as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub slot: u8,
    pub sequence: u32,
    /// First 8 bytes of the content's SHA-256.
    pub content: [u8; 8],
}

/// What a record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub confirmed: Option<Part>,
    pub trial: Option<Part>,
    /// Restarts since the trial began.
    pub boots: u8,
    /// Sequences up to this one are never taken again: tried and failed, or older than content that was lost. What is
    /// confirmed counts besides.
    pub floor: Option<u32>,
}

fn put_part(record: &mut [u8; RECORD], part: Option<Part>, slot: usize, sequence: usize, content: usize) {
    record[slot] = part.map_or(NO_SLOT, |p| p.slot);
    record[sequence..sequence + 4].copy_from_slice(&part.map_or(0, |p| p.sequence).to_le_bytes());
    record[content..content + 8].copy_from_slice(&part.map_or([0; 8], |p| p.content));
}

fn u32_at(record: &[u8; RECORD], at: usize) -> u32 {
    u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

fn get_part(record: &[u8; RECORD], slot: usize, sequence: usize, content: usize) -> Option<Part> {
    let mut id = [0; 8];
    id.copy_from_slice(&record[content..content + 8]);
    (record[slot] < 2).then(|| Part { slot: record[slot], sequence: u32_at(record, sequence), content: id })
}

fn encode(state: &State, number: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[0] = MAGIC;
    record[3] = state.boots;
    record[4..8].copy_from_slice(&number.to_le_bytes());
    // No manifest has sequence u32::MAX.
    let floor = state.floor.map_or(0, |f| f.saturating_add(1));
    record[8..12].copy_from_slice(&floor.to_le_bytes());
    put_part(&mut record, state.confirmed, 1, 12, 20);
    put_part(&mut record, state.trial, 2, 16, 28);
    let crc = crc32(&[&record[..44]]);
    record[44..].copy_from_slice(&crc.to_le_bytes());
    record
}

fn decode(record: &[u8; RECORD]) -> Option<(State, u32)> {
    if record[0] != MAGIC || u32_at(record, 44) != crc32(&[&record[..44]]) {
        return None;
    }
    let state = State {
        confirmed: get_part(record, 1, 12, 20),
        trial: get_part(record, 2, 16, 28),
        boots: record[3],
        floor: u32_at(record, 8).checked_sub(1),
    };
    Some((state, u32_at(record, 4)))
}

/// Where the log lies and where its next record goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    start: u32,
    pages: u32,
    page_size: u32,
    number: u32,
    /// Next place to write: page and record in it. A full page stands for the start of the next one.
    page: u32,
    index: u32,
}

impl Log {
    fn per_page(&self) -> u32 {
        self.page_size / RECORD as u32
    }

    fn at(&self, page: u32, index: u32) -> u32 {
        self.start + page * self.page_size + index * RECORD as u32
    }

    /// Reads the log in `pages` erase units from `start`; an empty state if there is no record.
    pub fn open<F: NorFlash>(flash: &mut F, start: u32, pages: u32) -> Result<(Self, State), F::Error> {
        let page_size = F::ERASE_SIZE as u32;
        // Without any record the first page is erased before it is written: it may hold anything.
        let mut log = Self { start, pages, page_size, number: 0, page: pages - 1, index: page_size };
        let mut state = State::default();
        let mut record = [0; RECORD];
        for page in 0..pages {
            for index in 0..log.per_page() {
                flash.read(log.at(page, index), &mut record)?;
                if let Some((found, number)) = decode(&record).filter(|(_, n)| *n > log.number) {
                    (state, log.number, log.page, log.index) = (found, number, page, index + 1);
                }
            }
        }
        // Torn records after the last whole one cannot be written again.
        while log.index < log.per_page() {
            flash.read(log.at(log.page, log.index), &mut record)?;
            if is_blank(&record) {
                break;
            }
            log.index += 1;
        }
        Ok((log, state))
    }

    /// Appends a state. After an error the log must be opened again before the next one.
    pub fn append<F: NorFlash>(&mut self, flash: &mut F, state: &State) -> Result<(), F::Error> {
        if self.index >= self.per_page() {
            let page = (self.page + 1) % self.pages;
            flash.erase(self.at(page, 0), self.at(page, 0) + self.page_size)?;
            (self.page, self.index) = (page, 0);
        }
        let at = self.at(self.page, self.index);
        self.index += 1;
        self.number += 1;
        flash.write(at, &encode(state, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let part = Part { slot: 1, sequence: 7, content: *b"contents" };
        for confirmed in [None, Some(Part { slot: 0, ..part })] {
            for trial in [None, Some(part)] {
                for floor in [None, Some(0), Some(6)] {
                    let state = State { confirmed, trial, boots: 2, floor };
                    let mut record = encode(&state, 9);
                    assert_eq!(decode(&record), Some((state, 9)));
                    record[20] ^= 1;
                    assert_eq!(decode(&record), None);
                }
            }
        }
    }
}
