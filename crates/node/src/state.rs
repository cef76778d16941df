//! A few numbers that must survive a reboot, in an append-only log over two or more erase sectors.
//!
//! Layout of one 16-byte record: key u32, value u32, complement of both, all little-endian; 0xFF is blank flash. The
//! newest valid record of a key wins. When a sector is full, the next one is erased, gets the newest value and
//! is written on from there; the old one stays whole until it is needed again, so that power may fail at any
//! operation, and a torn record is only skipped.

use embedded_storage::nor_flash::NorFlash;

use crate::trust_log::TrustLog;

const RECORD: usize = 16;

/// Keys in use; [`crate::trust_log`] has more, from 2^31 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Key {
    /// High-water mark of reserved packet ids.
    PacketIds = 1,
    /// Sequence of sectors, kept by the log itself.
    Sector = 2,
    /// Own air time of an hour that counts as spent after a restart, ms.
    Airtime = 3,
}

impl From<Key> for u32 {
    fn from(key: Key) -> Self {
        key as u32
    }
}

/// The log.
#[derive(Debug)]
pub struct StateLog<F: NorFlash> {
    flash: F,
    sector: u32,
    sequence: u32,
    offset: u32,
    trust: Option<TrustLog>,
}

/// Flash refused an operation, or is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateError;

impl<F: NorFlash> StateLog<F> {
    /// Opens the log, or makes a new one on blank flash.
    pub fn open(flash: F) -> Result<Self, StateError> {
        let mut log = Self { flash, sector: 0, sequence: 0, offset: 0, trust: None };
        if log.sectors() < 2 || !RECORD.is_multiple_of(F::WRITE_SIZE) {
            return Err(StateError);
        }
        let mut newest: Option<(u32, u32)> = None;
        for sector in 0..log.sectors() {
            // The first record of a sector is its sequence number; a sector without one was never finished.
            if let Some((key, sequence)) = log.read(sector * F::ERASE_SIZE as u32)?
                && key == Key::Sector as u32
                && newest.is_none_or(|(_, best)| sequence > best)
            {
                newest = Some((sector, sequence));
            }
        }
        match newest {
            Some((sector, sequence)) => {
                log.sector = sector;
                log.sequence = sequence;
                log.offset = log.end_of(sector)?;
            }
            None => {
                log.flash.erase(0, F::ERASE_SIZE as u32).map_err(|_| StateError)?;
                log.finish(0, 1, RECORD as u32)?;
            }
        }
        Ok(log)
    }

    /// The newest value of a key.
    pub fn get(&mut self, key: impl Into<u32>) -> Result<Option<u32>, StateError> {
        self.newest(key.into(), self.start())
    }

    /// Stores a value.
    pub fn set(&mut self, key: impl Into<u32>, value: u32) -> Result<(), StateError> {
        let end = (self.sector + 1) * F::ERASE_SIZE as u32;
        let key = key.into();
        if self.offset + RECORD as u32 > end {
            return self.turn(Some((key, value)));
        }
        self.append(key, value)
    }

    /// Makes sure that so many values go to the same sector.
    pub(crate) fn reserve(&mut self, values: u32) -> Result<(), StateError> {
        let end = (self.sector + 1) * F::ERASE_SIZE as u32;
        if self.offset + values * RECORD as u32 > end { self.turn(None) } else { Ok(()) }
    }

    /// Numbers of trust in another enrolment, and of root keys that are replaced, are let go with the sector that they are in.
    pub(crate) fn keep_trust(&mut self, trust: TrustLog) {
        self.trust = Some(trust);
    }

    fn start(&self) -> u32 {
        self.sector * F::ERASE_SIZE as u32
    }

    /// The newest value of a key from a place of the sector on.
    fn newest(&mut self, key: u32, from: u32) -> Result<Option<u32>, StateError> {
        let mut found = None;
        for at in (from..self.offset).step_by(RECORD) {
            if let Some((record_key, value)) = self.read(at)?
                && record_key == key
            {
                found = Some(value);
            }
        }
        Ok(found)
    }

    /// Goes on in the next sector, with the newest value of each key, and a new one.
    fn turn(&mut self, new: Option<(u32, u32)>) -> Result<(), StateError> {
        let next = (self.sector + 1) % self.sectors();
        let (start, end) = (next * F::ERASE_SIZE as u32, (next + 1) * F::ERASE_SIZE as u32);
        self.flash.erase(start, end).map_err(|_| StateError)?;
        let mut to = start + RECORD as u32;
        for at in (self.start() + RECORD as u32..self.offset).step_by(RECORD) {
            let Some((other, old)) = self.read(at)? else { continue };
            let replaced =
                new.is_some_and(|(key, _)| other == key) || self.newest(other, at + RECORD as u32)?.is_some();
            if replaced || !self.is_kept(other)? {
                continue;
            }
            // The last place is for the new value.
            if to + 2 * RECORD as u32 > end {
                return Err(StateError);
            }
            self.write(to, other, old)?;
            to += RECORD as u32;
        }
        if let Some((key, value)) = new {
            self.write(to, key, value)?;
            to += RECORD as u32;
        }
        self.finish(next, self.sequence + 1, to)
    }

    fn is_kept(&mut self, key: u32) -> Result<bool, StateError> {
        let Some(trust) = self.trust else { return Ok(key != Key::Sector as u32) };
        let mut failed = None;
        let kept = trust.keeps(key, |other| {
            self.get(other).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        failed.map_or(Ok(kept && key != Key::Sector as u32), Err)
    }

    fn sectors(&self) -> u32 {
        (self.flash.capacity() / F::ERASE_SIZE) as u32
    }

    /// A sector is whole: its sequence number, in the first record, makes it count.
    fn finish(&mut self, sector: u32, sequence: u32, offset: u32) -> Result<(), StateError> {
        self.write(sector * F::ERASE_SIZE as u32, Key::Sector as u32, sequence)?;
        (self.sector, self.sequence, self.offset) = (sector, sequence, offset);
        Ok(())
    }

    fn append(&mut self, key: u32, value: u32) -> Result<(), StateError> {
        let at = self.offset;
        self.offset += RECORD as u32;
        self.write(at, key, value)
    }

    fn write(&mut self, at: u32, key: u32, value: u32) -> Result<(), StateError> {
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&key.to_le_bytes());
        record[4..8].copy_from_slice(&value.to_le_bytes());
        record[8..12].copy_from_slice(&(!key).to_le_bytes());
        record[12..].copy_from_slice(&(!value).to_le_bytes());
        self.flash.write(at, &record).map_err(|_| StateError)
    }

    fn read(&mut self, at: u32) -> Result<Option<(u32, u32)>, StateError> {
        let mut record = [0; RECORD];
        self.flash.read(at, &mut record).map_err(|_| StateError)?;
        let word = |from: usize| {
            u32::from_le_bytes([record[from], record[from + 1], record[from + 2], record[from + 3]])
        };
        let valid = word(0) == !word(8) && word(4) == !word(12);
        Ok(valid.then(|| (word(0), word(4))))
    }

    /// First offset after which the sector is blank to its end: a torn record is stepped over, never written again.
    fn end_of(&mut self, sector: u32) -> Result<u32, StateError> {
        let start = sector * F::ERASE_SIZE as u32;
        let mut end = start;
        let mut at = start;
        while at + RECORD as u32 <= start + F::ERASE_SIZE as u32 {
            let mut record = [0; RECORD];
            self.flash.read(at, &mut record).map_err(|_| StateError)?;
            if record != [0xFF; RECORD] {
                end = at + RECORD as u32;
            }
            at += RECORD as u32;
        }
        Ok(end)
    }

    /// Gives the flash back, for a restart in tests and simulations.
    pub fn into_flash(self) -> F {
        self.flash
    }
}

#[cfg(test)]
mod tests {
    use compotastic_bundle::ramflash::RamFlash;

    use super::*;

    #[test]
    fn each_key_keeps_its_newest_value_over_sectors_and_restarts() {
        let mut log = StateLog::open(RamFlash::<2048, 4, 1024>::new()).unwrap();
        log.set(Key::Airtime, 77).unwrap();
        for value in 0..500 {
            log.set(Key::PacketIds, value).unwrap();
            assert_eq!(log.get(Key::PacketIds), Ok(Some(value)));
            assert_eq!(log.get(Key::Airtime), Ok(Some(77)), "after {value} changes of the other key");
            if value % 31 == 0 {
                log = StateLog::open(log.into_flash()).unwrap();
            }
        }
    }
}
