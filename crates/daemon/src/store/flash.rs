//! Flash for the agent: the rules of NOR flash over pages that are rows of the store.
//!
//! A page that is erased has no row. All of a part is in memory too, so that reading costs nothing.

use std::ops::ControlFlow::Continue;

use anyhow::{Result, ensure};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use super::{
    Store, lock,
    rows::{Table, When, key, number},
};

/// Bytes of a page.
const PAGE: usize = 4096;
/// Largest part, bytes: all of it is in memory.
const LARGEST: usize = 64 << 20;

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
    when: When,
}

/// Key of a page: the length of the part's name, the name, the page's number.
fn page_row(part: &str, page: u64) -> Vec<u8> {
    let mut name = vec![part.len() as u8];
    name.extend_from_slice(part.as_bytes());
    name.extend_from_slice(&page.to_be_bytes());
    key(Table::Page, &name)
}

impl Store {
    /// A part of flash whose writes and erasures are on the disk when they return: for logs of state, such as packet ids.
    ///
    /// Errors: somebody has it, `size` is no multiple of 4096 or over 64 MiB, or the part was larger before.
    pub fn flash(&self, name: &str, size: usize) -> Result<StoreFlash> {
        self.part(name, size, When::Now)
    }

    /// A part of flash whose writes and erasures reach the disk in order, at most 30 s later: for objects that are
    /// collected, where a restart may go back a little.
    pub fn flash_batched(&self, name: &str, size: usize) -> Result<StoreFlash> {
        self.part(name, size, When::Soon)
    }

    fn part(&self, name: &str, size: usize, when: When) -> Result<StoreFlash> {
        ensure!(
            size.is_multiple_of(PAGE) && (PAGE..=LARGEST).contains(&size),
            "flash {name} of {size} bytes: it has to be pages of {PAGE}, {LARGEST} bytes at most"
        );
        ensure!(name.len() <= usize::from(u8::MAX), "flash {name}: the name is too long");
        self.write(when, |rows| {
            let size_row = key(Table::Part, name.as_bytes());
            let before = rows.get(&size_row)?.map_or(0, |value| number(&value));
            ensure!(
                before <= size as u64,
                "flash {name} has {before} bytes, and {size} were asked for: it can only grow"
            );
            if before < size as u64 {
                rows.put(size_row, (size as u64).to_be_bytes().to_vec())?;
            }
            Ok(())
        })?;
        let mut bytes = vec![0xFF; size];
        let mut whole = true;
        self.read(|rows| {
            rows.scan(&page_row(name, 0), &page_row(name, (size / PAGE) as u64), false, |key, page| {
                let from = number(key) as usize * PAGE;
                match bytes.get_mut(from..from + PAGE) {
                    Some(place) if page.len() == PAGE => place.copy_from_slice(page),
                    _ => whole = false,
                }
                Continue(())
            })
        })?;
        ensure!(whole, "a page of flash {name} is damaged");
        ensure!(lock(&self.shared.parts).insert(name.to_string()), "flash {name} is in use");
        Ok(StoreFlash { store: self.clone(), name: name.to_string(), bytes, when })
    }
}

impl StoreFlash {
    /// Writes the pages from `first` on as they are in `pages`; erased ones lose their row.
    fn put(&self, first: usize, pages: &[u8]) -> Result<(), FlashError> {
        let put = self.store.write(self.when, |rows| {
            for (at, page) in pages.chunks_exact(PAGE).enumerate() {
                let key = page_row(&self.name, (first + at) as u64);
                if page.iter().all(|byte| *byte == 0xFF) {
                    rows.remove(key)?;
                } else {
                    rows.put(key, page.to_vec())?;
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
