//! Flash of a simulated node: it can be told from outside to lose power inside an operation, or to refuse all.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use compotastic_bundle::ramflash::{Cut, RamFlash, RamFlashError};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

use super::native::FactoryImage;

/// Bytes of one part of the flash: slots of the model, or state.
const SMALL: usize = 32 * 1024;
/// Bytes of the part that holds large objects.
const LARGE: usize = 224 * 1024;
/// No cut is planned.
const NEVER: u64 = u64::MAX;

/// What the outside does to a node's flash, and learns of it.
#[derive(Debug)]
pub struct FlashControl {
    /// Writes and erasures until power fails.
    until_cut: AtomicU64,
    /// How much of that one is done, in 1/256; 0 = nothing, 256 = all.
    share: AtomicU64,
    full: AtomicBool,
    dead: AtomicBool,
    operations: AtomicU64,
}

impl Default for FlashControl {
    fn default() -> Self {
        Self {
            until_cut: AtomicU64::new(NEVER),
            share: AtomicU64::new(0),
            full: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            operations: AtomicU64::new(0),
        }
    }
}

impl FlashControl {
    /// Power fails in the write or erasure after the next `operations` ones, when `share` of 256 parts of it are done.
    pub fn cut_after(&self, operations: u64, share: u16) {
        self.share.store(u64::from(share.min(256)), Relaxed);
        self.until_cut.store(operations, Relaxed);
    }

    /// From now on each write and erasure is refused, or accepted again.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Relaxed);
    }

    /// Power has failed in an operation, and nobody has switched the node on again.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Writes and erasures so far.
    pub fn operations(&self) -> u64 {
        self.operations.load(Relaxed)
    }

    /// Whether writes and erasures are refused.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// No cut is planned any more.
    pub fn no_cut(&self) {
        self.until_cut.store(NEVER, Relaxed);
    }

    /// Power is back.
    fn power_on(&self) {
        self.dead.store(false, Relaxed);
        self.until_cut.store(NEVER, Relaxed);
    }
}

#[derive(Debug)]
enum Ram {
    Small(Box<RamFlash<SMALL>>),
    /// Parts behind one another.
    Large(Vec<Box<RamFlash<LARGE>>>),
}

impl Ram {
    fn large(parts: usize) -> Self {
        Self::Large((0..parts).map(|_| Box::new(RamFlash::new())).collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::Small(_) => SMALL,
            Self::Large(parts) => parts.len() * LARGE,
        }
    }

    fn power_on(&mut self) {
        match self {
            Self::Small(flash) => flash.power_on(),
            Self::Large(parts) => parts.iter_mut().for_each(|flash| flash.power_on()),
        }
    }

    /// Power fails in the next operation at this place.
    fn cut_next(&mut self, offset: u32, cut: Cut) {
        match self {
            Self::Small(flash) => flash.cut_after(0, cut),
            Self::Large(parts) => {
                if let Some(flash) = parts.get_mut(offset as usize / LARGE) {
                    flash.cut_after(0, cut);
                }
            }
        }
    }

    /// Bytes from a place on, which may be in several parts.
    fn chunks(&mut self, mut at: usize, mut len: usize) -> Vec<&mut [u8]> {
        let parts: Vec<&mut [u8]> = match self {
            Self::Small(flash) => vec![flash.bytes_mut()],
            Self::Large(parts) => parts.iter_mut().map(|flash| flash.bytes_mut()).collect(),
        };
        let mut chunks = Vec::new();
        for part in parts {
            let size = part.len();
            if at < size && len > 0 {
                let end = size.min(at + len);
                len -= end - at;
                chunks.push(&mut part[at..end]);
            }
            at = at.saturating_sub(size);
        }
        chunks
    }
}

/// Calls a method of whichever flash it is, once for each part that a range touches; `$bytes` are those of the caller's that belong to
/// the part.
macro_rules! each {
    ($ram:expr, $from:expr, $to:expr, |$flash:ident, $range:ident, $bytes:ident| $call:expr) => {
        match &mut *$ram {
            Ram::Small($flash) => {
                let $range = $from..$to;
                let $bytes = 0..$range.len();
                $call
            }
            Ram::Large(parts) => {
                for index in $from as usize / LARGE..($to as usize).div_ceil(LARGE) {
                    let base = (index * LARGE) as u32;
                    let Some($flash) = parts.get_mut(index) else {
                        return Err(RamFlashError::Arguments(NorFlashErrorKind::OutOfBounds));
                    };
                    let $range = $from.max(base) - base..$to.min(base + LARGE as u32) - base;
                    let skipped = ($range.start + base - $from) as usize;
                    let $bytes = skipped..skipped + $range.len();
                    $call?;
                }
                Ok(())
            }
        }
    };
}

/// One part of a node's flash. Clones are the same flash: what is in it outlives the node that uses it.
#[derive(Clone, Debug)]
pub struct Flash {
    ram: Arc<Mutex<Ram>>,
    control: Arc<FlashControl>,
}

impl Flash {
    /// Blank flash.
    pub fn new(control: Arc<FlashControl>) -> Self {
        Self { ram: Arc::new(Mutex::new(Ram::Small(Box::new(RamFlash::new())))), control }
    }

    /// Blank flash for large objects.
    pub fn large(control: Arc<FlashControl>) -> Self {
        Self { ram: Arc::new(Mutex::new(Ram::large(1))), control }
    }

    /// Blank flash for native images and their object.
    pub fn native(control: Arc<FlashControl>) -> Self {
        Self { ram: Arc::new(Mutex::new(Ram::large(3))), control }
    }

    fn ram(&self) -> MutexGuard<'_, Ram> {
        // A node that panicked meanwhile has left the bytes as they are.
        self.ram.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches power on again.
    pub fn power_on(&self) {
        self.ram().power_on();
        self.control.power_on();
    }

    /// All that is in it, to look at.
    pub fn to_vec(&self) -> Vec<u8> {
        let len = self.ram().len();
        self.look_at(0, len)
    }

    /// A part of it, to look at.
    pub fn look_at(&self, at: usize, len: usize) -> Vec<u8> {
        self.ram().chunks(at, len).into_iter().flat_map(|chunk| chunk.to_vec()).collect()
    }

    /// Replaces what is in it from a place on, by no operation that counts.
    pub fn damage_at(&self, at: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for chunk in self.ram().chunks(at, bytes.len()) {
            let (now, later) = rest.split_at(chunk.len());
            chunk.copy_from_slice(now);
            rest = later;
        }
    }

    /// Before a write or erasure.
    fn begin(&self, offset: u32) -> Result<(), RamFlashError> {
        if self.control.dead.load(Relaxed) {
            return Err(RamFlashError::NoPower);
        }
        if self.control.full.load(Relaxed) {
            return Err(RamFlashError::Arguments(NorFlashErrorKind::Other));
        }
        self.control.operations.fetch_add(1, Relaxed);
        let until_cut = self.control.until_cut.load(Relaxed);
        match until_cut {
            NEVER => {}
            0 => {
                let cut = match self.control.share.load(Relaxed) {
                    0 => Cut::Before,
                    256 => Cut::After,
                    share => Cut::Inside(share as u8),
                };
                self.ram().cut_next(offset, cut);
                self.control.dead.store(true, Relaxed);
            }
            left => self.control.until_cut.store(left - 1, Relaxed),
        }
        Ok(())
    }
}

impl ErrorType for Flash {
    type Error = RamFlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamFlashError> {
        if self.control.dead.load(Relaxed) {
            return Err(RamFlashError::NoPower);
        }
        let end = offset + bytes.len() as u32;
        each!(self.ram(), offset, end, |flash, range, part| flash.read(range.start, &mut bytes[part]))
    }

    fn capacity(&self) -> usize {
        self.ram().len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamFlashError> {
        self.begin(from)?;
        each!(self.ram(), from, to, |flash, range, _part| flash.erase(range.start, range.end))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamFlashError> {
        self.begin(offset)?;
        let end = offset + bytes.len() as u32;
        each!(self.ram(), offset, end, |flash, range, part| flash.write(range.start, &bytes[part]))
    }
}

/// The flash of one node: slots with what is installed, and the log of its state.
#[derive(Clone, Debug)]
pub struct NodeFlash {
    /// Slots.
    pub slots: Flash,
    /// State.
    pub state: Flash,
    /// Large objects: firmware and its deltas; not every node has it.
    pub store: Option<Flash>,
    /// Native images and their object; not every node has it.
    pub native: Option<Flash>,
    /// What the outside does to both.
    pub control: Arc<FlashControl>,
}

impl Default for NodeFlash {
    fn default() -> Self {
        let control = Arc::new(FlashControl::default());
        let (slots, state) = (Flash::new(control.clone()), Flash::new(control.clone()));
        Self { slots, state, store: None, native: None, control }
    }
}

impl NodeFlash {
    /// With a part for large objects.
    pub fn with_store() -> Self {
        let mut flash = Self::default();
        flash.store = Some(Flash::large(flash.control.clone()));
        flash
    }

    /// With a part for native images, in which the factory's is.
    pub fn with_native(factory: &FactoryImage) -> Option<Self> {
        let mut flash = Self::default();
        let native = flash.native.insert(Flash::native(flash.control.clone()));
        factory.install(native).then_some(flash)
    }

    /// Switches power on again.
    pub fn power_on(&self) {
        self.slots.power_on();
        self.state.power_on();
        self.store.iter().chain(&self.native).for_each(Flash::power_on);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_lose_power_together_and_get_it_back() {
        let control = Arc::new(FlashControl::default());
        let (mut one, mut two) = (Flash::new(control.clone()), Flash::new(control.clone()));
        control.cut_after(1, 128);
        one.write(0, &[0; 8]).unwrap();
        assert_eq!(two.write(0, &[0; 8]), Err(RamFlashError::NoPower));
        assert!(control.is_dead());
        assert_eq!(one.read(0, &mut [0]), Err(RamFlashError::NoPower));
        one.power_on();
        two.power_on();
        let torn = two.to_vec();
        assert!(torn[..4] == [0; 4] && torn[4..8] != [0; 4], "torn in the middle");
        control.set_full(true);
        assert!(one.write(16, &[0; 8]).is_err() && one.read(16, &mut [0]).is_ok());
        control.set_full(false);
        one.write(16, &[0; 8]).unwrap();
        assert_eq!(control.operations(), 3);
    }
}
