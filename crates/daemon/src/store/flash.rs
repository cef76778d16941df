//! Flash for the agent: the rules of NOR flash over pages that are rows of the store.
//!
//! A page that is erased has no row. All of a part is in memory too, so that reading costs nothing.

use anyhow::{Result, ensure};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use redb::{ReadableDatabase as _, TableDefinition, WriteTransaction};

use super::{Store, Write, lock};

/// Bytes of a page.
const PAGE: usize = 4096;
/// Largest part, bytes: all of it is in memory.
const LARGEST: usize = 64 << 20;

const PAGES: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("flash pages");
const SIZES: TableDefinition<&str, u64> = TableDefinition::new("flash parts");

/// Why flash refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlashError {
    /// Out of bounds or not aligned.
    #[error("flash: {0}")]
    Arguments(NorFlashErrorKind),
    /// A bit was to be set that only an erasure sets.
    #[error("flash: written where it is not erased")]
    NotErased,
    /// The file does not take writes; the log says why.
    #[error("flash: the store does not take writes")]
    Store,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Arguments(kind) => *kind,
            Self::NotErased | Self::Store => NorFlashErrorKind::Other,
        }
    }
}

/// One part of flash. Whoever has it has it alone; dropping it gives it back.
#[derive(Debug)]
pub struct StoreFlash {
    store: Store,
    name: String,
    bytes: Vec<u8>,
    when: Write,
}

pub(super) fn make_tables(write: &WriteTransaction) -> Result<()> {
    write.open_table(PAGES)?;
    write.open_table(SIZES)?;
    Ok(())
}

impl Store {
    /// A part of flash whose writes and erasures are on the disk when they return: for logs of state, such as packet ids.
    ///
    /// Errors: somebody has it, `size` is no multiple of 4096 or over 64 MiB, or the part was larger before.
    pub fn flash(&self, name: &str, size: usize) -> Result<StoreFlash> {
        self.part(name, size, Write::Now)
    }

    /// A part of flash whose writes and erasures reach the disk in order, at most 30 s later: for objects that are
    /// collected, where a restart may go back a little.
    pub fn flash_batched(&self, name: &str, size: usize) -> Result<StoreFlash> {
        self.part(name, size, Write::Soon)
    }

    fn part(&self, name: &str, size: usize, when: Write) -> Result<StoreFlash> {
        ensure!(
            size.is_multiple_of(PAGE) && (PAGE..=LARGEST).contains(&size),
            "flash {name} of {size} bytes: it has to be pages of {PAGE}, {LARGEST} bytes at most"
        );
        let pages = (size / PAGE) as u32;
        let before = self.write(when, |write| {
            let mut sizes = write.open_table(SIZES)?;
            Ok(sizes.insert(name, size as u64)?.map(|before| before.value()))
        });
        let before = before?.unwrap_or(0);
        ensure!(
            before <= size as u64,
            "flash {name} has {before} bytes, and {size} were asked for: it can only grow"
        );
        let mut bytes = vec![0xFF; size];
        let read = self.shared.database.begin_read()?;
        for row in read.open_table(PAGES)?.range((name, 0)..(name, pages))? {
            let (key, page) = row?;
            let from = key.value().1 as usize * PAGE;
            ensure!(page.value().len() == PAGE, "a page of flash {name} is damaged");
            bytes[from..from + PAGE].copy_from_slice(page.value());
        }
        ensure!(lock(&self.shared.parts).insert(name.to_string()), "flash {name} is in use");
        Ok(StoreFlash { store: self.clone(), name: name.to_string(), bytes, when })
    }
}

impl StoreFlash {
    /// Writes the pages from `first` on as they are in `pages`; erased ones lose their row.
    fn put(&self, first: usize, pages: &[u8]) -> Result<(), FlashError> {
        let put = self.store.write(self.when, |write| {
            let mut table = write.open_table(PAGES)?;
            for (at, page) in pages.chunks_exact(PAGE).enumerate() {
                let key = (self.name.as_str(), (first + at) as u32);
                if page.iter().all(|byte| *byte == 0xFF) {
                    table.remove(key)?;
                } else {
                    table.insert(key, page)?;
                }
            }
            Ok(())
        });
        put.map_err(|error| {
            tracing::error!("flash {}: {error:#}", self.name);
            FlashError::Store
        })
    }
}

impl Drop for StoreFlash {
    fn drop(&mut self) {
        lock(&self.store.shared.parts).remove(&self.name);
    }
}

impl ErrorType for StoreFlash {
    type Error = FlashError;
}

impl ReadNorFlash for StoreFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_read(self, offset, bytes.len()).map_err(FlashError::Arguments)?;
        bytes.copy_from_slice(&self.bytes[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for StoreFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to).map_err(FlashError::Arguments)?;
        let range = from as usize..to as usize;
        self.put(range.start / PAGE, &vec![0xFF; range.len()])?;
        self.bytes[range].fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len()).map_err(FlashError::Arguments)?;
        let range = offset as usize..offset as usize + bytes.len();
        if self.bytes[range.clone()].iter().zip(bytes).any(|(old, new)| old & new != *new) {
            return Err(FlashError::NotErased);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let first = range.start / PAGE;
        let pages = first * PAGE..range.end.next_multiple_of(PAGE);
        let mut changed = self.bytes[pages.clone()].to_vec();
        changed[range.start - pages.start..range.end - pages.start].copy_from_slice(bytes);
        self.put(first, &changed)?;
        self.bytes[pages].copy_from_slice(&changed);
        Ok(())
    }
}
