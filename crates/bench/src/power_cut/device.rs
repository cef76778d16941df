//! A device with one flash, from reset to reset: boot loader, self-test, and the way of an update.

use std::fmt;

use compotastic_bundle::{
    ObjectReceiver, Target,
    boot::{
        BootError, Download, DownloadError, Firmware, ImageError, ImageGeometry, ImageProducer, RootSigned,
        Start, provision, start,
    },
    ramflash::{RamFlash, RamFlashError},
};
use compotastic_node::image::DeltaImage;
use embedded_storage::nor_flash::NorFlash;

use super::{
    diff,
    world::{CLASS, Coding, Patch, Shape, World},
};

/// Symbols that are kept while they cannot be used.
const SPARE_SYMBOLS: u32 = 24;
/// A spare symbol with its head, in bytes.
const SPARE_SYMBOL: u32 = 192;
/// Resets after which a device that has come to no end never will.
const RESETS_MAX: u32 = 30;

/// What becomes of the new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// It works.
    Confirm,
    /// Its self-test fails.
    Revert,
    /// It hangs until the watchdog resets it, again and again.
    Hang,
}

impl Story {
    pub const ALL: [Self; 3] = [Self::Confirm, Self::Revert, Self::Hang];

    pub fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirmed",
            Self::Revert => "self-test fails",
            Self::Hang => "hangs",
        }
    }
}

/// Why a device did not come to an end.
#[derive(Debug)]
pub enum Halt {
    /// Power failed, as planned.
    PowerLost,
    /// Anything else.
    Broken(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerLost => f.write_str("power was lost where no cut was planned"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

fn flash_halt(e: RamFlashError) -> Halt {
    match e {
        RamFlashError::NoPower => Halt::PowerLost,
        e => Halt::Broken(format!("flash: {e:?}")),
    }
}

fn image_halt(e: ImageError<RamFlashError>) -> Halt {
    match e {
        ImageError::Flash(e) => flash_halt(e),
        e => Halt::Broken(format!("image: {e}")),
    }
}

fn boot_halt(e: BootError<RamFlashError>) -> Halt {
    match e {
        BootError::Flash(e) => flash_halt(e),
        e => Halt::Broken(format!("boot loader: {e}")),
    }
}

fn download_halt(e: DownloadError<RamFlashError>) -> Halt {
    match e {
        DownloadError::Flash(e) => flash_halt(e),
        e => Halt::Broken(format!("download: {e}")),
    }
}

/// Writes a whole image.
fn write_all<F: NorFlash>(
    firmware: &mut Firmware<F>,
    producer: &mut impl ImageProducer,
    object: core::ops::Range<u32>,
    proof: &[u8],
) -> Result<(), ImageError<F::Error>> {
    let mut buffer = [0; 256];
    while !firmware.write_page(producer, object.clone(), proof, &mut buffer)?.is_complete() {}
    Ok(())
}

/// What the application wants after a start.
enum Next {
    Reset,
    /// Running what it is to run, for good.
    Done,
}

/// Where things lie.
#[derive(Clone, Debug)]
pub struct Map {
    pub images: ImageGeometry,
    place: core::ops::Range<u32>,
    spare: core::ops::Range<u32>,
}

/// A device.
#[derive(Clone)]
pub struct Device<const SIZE: usize, const WRITE: usize, const ERASE: usize> {
    pub flash: Box<RamFlash<SIZE, WRITE, ERASE>>,
}

impl Map {
    /// Images first, then a place for the largest object, then spare symbols. None if that does not fit.
    pub fn new<const SIZE: usize, const WRITE: usize, const ERASE: usize>(
        shape: &Shape,
        world: &World,
    ) -> Option<Self> {
        let longest = world.images.iter().map(|image| image.bytes.len()).max()? as u32;
        let images =
            ImageGeometry::packed::<RamFlash<SIZE, WRITE, ERASE>>(0, shape.log_half, longest, shape.page)?;
        let stored = world.patches.iter().map(|p| p.manifest.object().layout.stored_len()).max()?;
        let erase = ERASE as u32;
        let place = images.end()..(images.end() + 512 + stored).next_multiple_of(erase);
        let spare = place.end..(place.end + SPARE_SYMBOLS * SPARE_SYMBOL).next_multiple_of(erase);
        (spare.end as usize <= SIZE).then_some(Self { images, place, spare })
    }
}

impl<const SIZE: usize, const WRITE: usize, const ERASE: usize> Device<SIZE, WRITE, ERASE> {
    /// A device as it leaves the programmer, with the first image.
    pub fn new(map: &Map, world: &World) -> Result<Self, Halt> {
        let mut flash = Box::new(RamFlash::new());
        let (a, first) = (map.images.slots[0].start as usize, &world.images[0]);
        let mut put =
            |at: usize, bytes: &[u8]| flash.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        put(a, &first.bytes);
        let proof_at = a + first.bytes.len().next_multiple_of(16);
        put(proof_at, &(world.first_proof.len() as u16).to_le_bytes());
        put(proof_at + 2, &world.first_proof);
        provision(&mut *flash, &map.images, &first.identity).map_err(boot_halt)?;
        Ok(Self { flash })
    }

    /// From reset to the start of an image, which must be a published one, whole.
    pub fn boot(&mut self, map: &Map, world: &World) -> Result<Start, Halt> {
        let voucher = RootSigned { trust: &world.trust, class: CLASS };
        let started = start(&mut *self.flash, &map.images, &voucher, &mut [0; 512]).map_err(boot_halt)?;
        let published = world.images.iter().find(|image| image.identity == started.image);
        let published = published.ok_or_else(|| Halt::Broken(format!("unknown image {}", started.image)))?;
        let a = map.images.slots[0].start as usize;
        if self.flash.bytes()[a..a + published.bytes.len()] != published.bytes {
            return Err(Halt::Broken(format!("image {} is not whole in slot A", started.image)));
        }
        Ok(started)
    }

    /// Lives until it runs `goal`, or has gone back from it, for good. `attempt` varies what comes over the air.
    pub fn live(
        &mut self,
        map: &Map,
        world: &World,
        story: Story,
        goal: u32,
        attempt: u16,
    ) -> Result<(), Halt> {
        for _ in 0..RESETS_MAX {
            let started = self.boot(map, world)?;
            match self.run(map, world, story, goal, attempt, started)? {
                Next::Reset => {}
                Next::Done => return Ok(()),
            }
        }
        Err(Halt::Broken(format!("no end after {RESETS_MAX} resets")))
    }

    fn firmware(&mut self, map: &Map) -> Result<Firmware<&mut RamFlash<SIZE, WRITE, ERASE>>, Halt> {
        Firmware::open(&mut *self.flash, map.images.clone()).map_err(boot_halt)
    }

    fn run(
        &mut self,
        map: &Map,
        world: &World,
        story: Story,
        goal: u32,
        attempt: u16,
        started: Start,
    ) -> Result<Next, Halt> {
        let mut firmware = self.firmware(map)?;
        if *firmware.running() != started.image || firmware.on_trial() != started.on_trial {
            return Err(Halt::Broken("boot loader and application disagree".to_string()));
        }
        if started.on_trial {
            match story {
                Story::Confirm => firmware.confirm().map_err(image_halt)?,
                Story::Revert => firmware.fall_back().map_err(image_halt)?,
                Story::Hang => true,
            };
            if story != Story::Confirm {
                return Ok(Next::Reset);
            }
        }
        // It has come, or it came and failed.
        if firmware.installed().floor >= Some(goal) {
            let mut download = self.download(map)?;
            if download.pending().map_err(flash_halt)?.is_some() {
                download.clear().map_err(flash_halt)?;
            }
            return Ok(Next::Done);
        }
        let running = started.image.sequence;
        let patch = world.patch(running, goal);
        let patch = patch.ok_or_else(|| Halt::Broken(format!("no way from {running} to {goal}")))?;
        let mut object = self.receive(map, world, patch, attempt);
        match object {
            // A place that looked erased refuses a write: it is given up, and all is received anew.
            Err(DownloadError::Flash(RamFlashError::NotErased)) => {
                self.download(map)?.clear().map_err(flash_halt)?;
                object = self.receive(map, world, patch, attempt);
            }
            // A piece has faded after it was verified: what is bad is found and received again.
            Err(DownloadError::Digest) => object = self.receive(map, world, patch, attempt),
            _ => {}
        }
        self.install(map, world, patch, object.map_err(download_halt)?)?;
        Ok(Next::Reset)
    }

    fn download(&mut self, map: &Map) -> Result<Download<&mut RamFlash<SIZE, WRITE, ERASE>>, Halt> {
        Download::open(&mut *self.flash, map.place.clone(), map.spare.clone())
            .ok_or_else(|| Halt::Broken("the object store does not fit".to_string()))
    }

    /// Receives what is missing of an object, in a mix of coded and uncoded symbols of which a third is lost.
    fn receive(
        &mut self,
        map: &Map,
        world: &World,
        patch: &Patch,
        attempt: u16,
    ) -> Result<core::ops::Range<u32>, DownloadError<RamFlashError>> {
        let installed = match Firmware::open(&mut *self.flash, map.images.clone()) {
            Ok(firmware) => firmware.installed(),
            Err(_) => return Err(DownloadError::NotBegun),
        };
        let mut download = Download::open(&mut *self.flash, map.place.clone(), map.spare.clone())
            .ok_or(DownloadError::NotBegun)?;
        if let Some(pending) = download.pending().map_err(DownloadError::Flash)? {
            world.trust.verify(&pending).map_err(DownloadError::Refused)?;
        }
        let target = Target {
            class: CLASS,
            kind: compotastic_bundle::ComponentKind::Firmware,
            task: 0,
            base_id: [0; 8],
            flash: map.images.capacity(),
            ram: 0,
            has: Default::default(),
        };
        download.begin(&patch.manifest, &target, &installed)?;
        let mut store = download.store().ok_or(DownloadError::NotBegun)?;
        let object = patch.manifest.object();
        let mut rx = Box::new(ObjectReceiver::resume(object, &mut store).map_err(DownloadError::Flash)?);
        // The last pieces first: they hold the hashes of the others.
        for generation in (0..object.layout.generations()).rev() {
            let k = object.layout.generation_len(generation);
            let pieces = (0..k).rev().filter(|id| !(id + attempt).is_multiple_of(3));
            for id in pieces.chain(k + 100 * attempt..k + 100 * attempt + 99).chain(0..k) {
                if rx.missing(generation).iter().all(|byte| *byte == 0) && rx.needed(generation) == 0 {
                    break;
                }
                let symbol = patch.symbol(generation, id);
                rx.handle_symbol(generation, id, &symbol, &mut store).map_err(DownloadError::Flash)?;
            }
        }
        download.content()
    }

    /// Makes the image out of the object and the old image, checks it, and asks for its trial.
    fn install(
        &mut self,
        map: &Map,
        world: &World,
        patch: &Patch,
        object: core::ops::Range<u32>,
    ) -> Result<(), Halt> {
        let new = world.images.iter().find(|image| image.identity.sequence == patch.to);
        let new = new.ok_or_else(|| Halt::Broken("no such image".to_string()))?.identity;
        let proof = patch.manifest.claimed().to_packed();
        let mut firmware = self.firmware(map)?;
        firmware.begin(&new).map_err(image_halt)?;
        let written = match world.coding {
            Coding::Plain => write_all(&mut firmware, &mut diff::Patch::default(), object, &proof),
            Coding::Delta => write_all(&mut firmware, &mut *Box::new(DeltaImage::new(&new)), object, &proof),
        };
        written.map_err(image_halt)?;
        let voucher = RootSigned { trust: &world.trust, class: CLASS };
        firmware.request(&voucher).map_err(image_halt)
    }
}
