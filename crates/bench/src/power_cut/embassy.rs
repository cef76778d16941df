//! The same cuts for a device with embassy-boot as its boot loader: the exchange alone, since there is nothing in it for
//! objects and deltas. Its application does what the documentation asks for, and besides checks what it wrote to the new
//! slot before it asks for the exchange.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Result, anyhow};
use compotastic_bundle::ramflash::{RamFlash, RamFlashError};
use embassy_boot::{
    BlockingFirmwareUpdater, BootLoader, BootLoaderConfig, FirmwareUpdaterConfig, FirmwareUpdaterError, State,
};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

use super::campaign::{CUTS, Count};
use super::device::Story;
use super::world::World;

const WRITE: usize = 4;
const ERASE: usize = 1024;
const PAGES: usize = 11;
const ACTIVE: usize = 0;
const DFU: usize = PAGES * ERASE;
const STATE: usize = DFU + (PAGES + 1) * ERASE;
const SIZE: usize = STATE + ERASE;
/// Resets after which a device that has come to no end never will.
const RESETS_MAX: u32 = 30;

type Flash = RamFlash<SIZE, WRITE, ERASE>;

/// What a second write of a word does before it is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// It is refused, as by flash with error correction.
    Refused,
    /// It clears more bits.
    Allowed,
}

/// A part of the flash.
struct Part<'a> {
    flash: &'a RefCell<Flash>,
    at: usize,
    len: usize,
    twice: Twice,
}

impl ErrorType for Part<'_> {
    type Error = NorFlashErrorKind;
}

fn kind(e: RamFlashError) -> NorFlashErrorKind {
    match e {
        RamFlashError::Arguments(kind) => kind,
        _ => NorFlashErrorKind::Other,
    }
}

impl ReadNorFlash for Part<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.flash.borrow_mut().read(self.at as u32 + offset, bytes).map_err(kind)
    }

    fn capacity(&self) -> usize {
        self.len
    }
}

impl NorFlash for Part<'_> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.flash.borrow_mut().erase(self.at as u32 + from, self.at as u32 + to).map_err(kind)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let mut flash = self.flash.borrow_mut();
        let at = self.at + offset as usize;
        match flash.write(at as u32, bytes) {
            Err(RamFlashError::NotErased) if self.twice == Twice::Allowed => {
                for (cell, byte) in flash.bytes_mut()[at..].iter_mut().zip(bytes) {
                    *cell &= byte;
                }
                Ok(())
            }
            other => other.map_err(kind),
        }
    }
}

struct Device<'a> {
    flash: RefCell<Flash>,
    world: &'a World,
    story: Story,
    twice: Twice,
}

/// Why it came to no end: power, or what it did.
enum Halt {
    PowerLost,
    Broken(String),
}

impl Device<'_> {
    fn part(&self, at: usize, len: usize) -> Part<'_> {
        Part { flash: &self.flash, at, len, twice: self.twice }
    }

    fn halt(&self, what: String) -> Halt {
        if self.flash.borrow().has_power() { Halt::Broken(what) } else { Halt::PowerLost }
    }

    /// Sequence of the image in the active slot after the boot loader has done its work.
    fn boot(&self) -> Result<u32, Halt> {
        let mut loader = BootLoader::new(BootLoaderConfig {
            active: self.part(ACTIVE, PAGES * ERASE),
            dfu: self.part(DFU, (PAGES + 1) * ERASE),
            state: self.part(STATE, ERASE),
        });
        loader.prepare_boot(&mut [0; 256]).map_err(|e| self.halt(format!("boot loader: {e:?}")))?;
        let flash = self.flash.borrow();
        let active = &flash.bytes()[ACTIVE..];
        let whole = self.world.images.iter().find(|image| active[..image.bytes.len()] == image.bytes);
        whole
            .map(|image| image.identity.sequence)
            .ok_or_else(|| Halt::Broken("what it starts is no image that was published".to_string()))
    }

    fn live(&self) -> Result<u32, Halt> {
        for _ in 0..RESETS_MAX {
            let running = self.boot()?;
            if self.run(running)? {
                return Ok(running);
            }
        }
        Err(Halt::Broken(format!("no end after {RESETS_MAX} resets")))
    }

    /// Whether that was the end.
    fn run(&self, running: u32) -> Result<bool, Halt> {
        let mut word = [0; WRITE];
        let config = FirmwareUpdaterConfig {
            dfu: self.part(DFU, (PAGES + 1) * ERASE),
            state: self.part(STATE, ERASE),
        };
        let mut updater = BlockingFirmwareUpdater::new(config, &mut word);
        let halt = |e: FirmwareUpdaterError| self.halt(format!("application: {e:?}"));
        let state = updater.get_state().map_err(halt)?;
        match (running, state) {
            (1, State::Revert) => return Ok(true),
            (2, State::Boot) => return Ok(true),
            (2, _) => {
                if self.story == Story::Confirm {
                    updater.mark_booted().map_err(halt)?;
                }
                return Ok(self.story == Story::Confirm);
            }
            _ => {}
        }
        let new = &self.world.images[1].bytes;
        let dfu = updater.prepare_update().map_err(halt)?;
        for (chunk, at) in new.chunks(256).zip((0..).step_by(256)) {
            let mut padded = [0xFF; 256];
            padded[..chunk.len()].copy_from_slice(chunk);
            dfu.write(at, &padded).map_err(|e| self.halt(format!("application: {e:?}")))?;
        }
        updater.mark_updated().map_err(halt)?;
        Ok(false)
    }
}

/// A device that has confirmed the first image.
fn start(world: &World) -> Flash {
    let mut flash = Flash::new();
    let first = &world.images[0].bytes;
    flash.bytes_mut()[ACTIVE..ACTIVE + first.len()].copy_from_slice(first);
    flash
}

/// Each cut at each operation of an update, once.
pub fn run(world: &World, story: Story, twice: Twice) -> Result<Count> {
    let begun = start(world);
    let device = |flash: Flash| Device { flash: RefCell::new(flash), world, story, twice };
    let whole = device(begun.clone());
    match whole.live() {
        Ok(sequence) if sequence == end(story) => {}
        Ok(other) => return Err(anyhow!("without a cut: {other} runs in the end")),
        Err(Halt::Broken(what)) => return Err(anyhow!("without a cut: {what}")),
        Err(Halt::PowerLost) => return Err(anyhow!("without a cut: no power")),
    }
    let operations = whole.flash.borrow().operations();
    let mut count = Count { operations, cuts: operations * CUTS.len() as u64, ..Count::default() };
    let mut failures = BTreeMap::<String, u64>::new();
    for n in 0..operations {
        for cut in CUTS {
            let mut flash = begun.clone();
            flash.cut_after(n, cut);
            let what = catch_unwind(AssertUnwindSafe(|| after_cut(&device(flash))));
            match what.unwrap_or_else(|_| Err("panic".to_string())) {
                Ok(()) => count.survived += 1,
                Err(what) => *failures.entry(what).or_insert(0) += 1,
            }
        }
    }
    let said: Vec<String> = failures.into_iter().map(|(what, times)| format!("{times} x {what}")).collect();
    count.failure = (!said.is_empty()).then(|| said.join("; "));
    Ok(count)
}

fn end(story: Story) -> u32 {
    if story == Story::Confirm { 2 } else { 1 }
}

fn after_cut(device: &Device<'_>) -> Result<(), String> {
    let broken = |halt: Halt| match halt {
        Halt::Broken(what) => Err(what),
        Halt::PowerLost => Ok(0),
    };
    device.live().or_else(broken)?;
    device.flash.borrow_mut().power_on();
    let sequence = device.live().or_else(broken)?;
    if sequence == end(device.story) { Ok(()) } else { Err(format!("{sequence} runs in the end")) }
}
