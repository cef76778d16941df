//! Power fails before, within and after each operation on the flash: the update goes on, and the slot ends up right.

mod common;

use common::{Random, firmware};
use compotastic_delta::encode::{Hint, encode};
use compotastic_delta::{Apply, ApplyError, Applying, CHUNK, DecodeError, Limits, Slot, Source};

const SECTOR: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
struct PowerLoss;

/// NOR flash: programming clears bits of what was erased. Power fails at operation `cut`, which is done up to `torn` bytes.
struct Flash {
    bytes: Vec<u8>,
    operations: usize,
    cut: usize,
    torn: usize,
}

impl Flash {
    fn allowed(&mut self, len: usize) -> Result<usize, usize> {
        self.operations += 1;
        if self.operations - 1 == self.cut { Err(self.torn.min(len)) } else { Ok(len) }
    }
}

impl Source for Flash {
    type Error = PowerLoss;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), PowerLoss> {
        out.copy_from_slice(&self.bytes[offset as usize..offset as usize + out.len()]);
        Ok(())
    }
}

impl Slot for Flash {
    fn sector(&self) -> u32 {
        SECTOR as u32
    }

    fn size(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn erase(&mut self, offset: u32) -> Result<(), PowerLoss> {
        assert!((offset as usize).is_multiple_of(SECTOR));
        let done = self.allowed(SECTOR);
        let len = done.unwrap_or_else(|torn| torn);
        self.bytes[offset as usize..offset as usize + len].fill(0xff);
        done.map(drop).map_err(|_| PowerLoss)
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerLoss> {
        let place = offset as usize..offset as usize + bytes.len();
        assert!(bytes.len() == CHUNK && (offset as usize).is_multiple_of(CHUNK));
        assert!(self.bytes[place.clone()].iter().all(|byte| *byte == 0xff), "programmed without erasing");
        let done = self.allowed(bytes.len());
        let len = done.unwrap_or_else(|torn| torn);
        self.bytes[place][..len].copy_from_slice(&bytes[..len]);
        done.map(drop).map_err(|_| PowerLoss)
    }
}

struct Memory<'a>(&'a [u8]);

impl Source for Memory<'_> {
    type Error = PowerLoss;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), PowerLoss> {
        out.copy_from_slice(&self.0[offset as usize..offset as usize + out.len()]);
        Ok(())
    }
}

struct Update {
    old: Vec<u8>,
    new: Vec<u8>,
    patch: Vec<u8>,
}

fn update() -> Update {
    let (old, new) = firmware(21, 70, 6);
    let patch = encode(&old, &new, Hint::Firmware).expect("short").bytes;
    Update { old, new, patch }
}

impl Update {
    /// Until it is done or power fails.
    fn go(&self, apply: &mut Apply, flash: &mut Flash, resumed: bool) -> Result<(), ApplyError<PowerLoss>> {
        let limits = Limits {
            patch_len: self.patch.len() as u32,
            old_len: self.old.len() as u32,
            new_len: flash.size(),
        };
        let mut patch = Memory(&self.patch);
        if resumed {
            apply.resume(&mut patch, flash, limits)?;
        } else {
            apply.begin(&mut patch, flash, limits)?;
        }
        while apply.step(&mut Memory(&self.old), &mut patch, flash)? == Applying::Working {}
        Ok(())
    }

    fn flash(&self, cut: usize, torn: usize) -> Flash {
        // The slot holds the version before the old one.
        let mut bytes: Vec<u8> = self.old.iter().copied().cycle().take(self.new.len() + 3 * SECTOR).collect();
        bytes.truncate(bytes.len() / SECTOR * SECTOR);
        Flash { bytes, operations: 0, cut, torn }
    }
}

#[test]
fn every_operation_can_be_cut_and_torn() {
    let update = update();
    let mut apply = Box::new(Apply::new());
    let mut whole = update.flash(usize::MAX, 0);
    assert_eq!(update.go(&mut apply, &mut whole, false), Ok(()));
    assert_eq!(whole.bytes[..update.new.len()], update.new[..]);
    let mut cuts = 0;
    for cut in 0..whole.operations {
        for torn in [0, 1, 100, CHUNK - 1, CHUNK, SECTOR] {
            let mut flash = update.flash(cut, torn);
            let failed = update.go(&mut apply, &mut flash, false);
            assert_eq!(failed, Err(ApplyError::Decode(DecodeError::Source(PowerLoss))));
            flash.cut = usize::MAX;
            assert_eq!(update.go(&mut apply, &mut flash, true), Ok(()), "cut {cut}, torn at {torn}");
            assert_eq!(flash.bytes[..update.new.len()], update.new[..], "cut {cut}, torn at {torn}");
            let (kept, programmed) = apply.chunks();
            assert!(kept > 0 || cut < 3, "nothing was kept after cut {cut}");
            assert!(programmed as usize <= update.new.len().div_ceil(CHUNK) + SECTOR / CHUNK);
            cuts += 1;
        }
    }
    println!("{cuts} cuts survived");
}

#[test]
fn power_may_fail_again_and_again() {
    let update = update();
    let mut apply = Box::new(Apply::new());
    let mut random = Random(5);
    let mut flash = update.flash(3, 9);
    let mut tries = 0;
    while update.go(&mut apply, &mut flash, tries > 0).is_err() {
        tries += 1;
        flash.cut = flash.operations + 1 + random.below(12);
        flash.torn = random.below(300);
        assert!(tries < 200, "no progress");
    }
    assert!(tries > 5);
    assert_eq!(flash.bytes[..update.new.len()], update.new[..]);
}

#[test]
fn an_image_that_does_not_fit_the_slot_is_refused() {
    let update = update();
    let mut flash = update.flash(usize::MAX, 0);
    flash.bytes.truncate(SECTOR);
    let refused = update.go(&mut Apply::new(), &mut flash, false);
    assert_eq!((refused, flash.operations), (Err(ApplyError::Decode(DecodeError::TooLong)), 0));
}
