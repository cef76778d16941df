//! All that a device has of native images, in one flash: the boot log, two slots, and the place of the object that the next image
//! is made of. The object stays there when its image runs, so that others can have it.

use super::reception::Reception;
use super::{BootError, DownloadError, Firmware, ImageError, ImageGeometry, ImageProducer, NativeImage};
use super::{Voucher, WriteProgress};
use crate::flashstore::{FlashSource, FlashStore};
use crate::manifest::{ClaimedManifest, Manifest, VerifiedManifest};
use crate::slots::{BeginError, Begun};
use crate::trust::{Installed, Target};
use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Where everything lies: regions apart from each other, of whole erase units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeGeometry {
    /// Boot log and slots.
    pub images: ImageGeometry,
    /// The object: 512 bytes for its manifest, then its pieces.
    pub object: Range<u32>,
    /// Symbols that wait for decoding.
    pub spare: Range<u32>,
}

/// Why the flash cannot be used so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeError<E> {
    /// The object's regions do not fit the flash, or overlap with others.
    Geometry,
    /// What the boot loader would say.
    Boot(BootError<E>),
}

impl<E: fmt::Debug> fmt::Display for NativeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry => f.write_str("the object's place does not fit the flash"),
            Self::Boot(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for NativeError<E> {}

/// The object that is whole, and where its content lies.
#[derive(Clone, Debug)]
struct Held {
    manifest: Manifest,
    content: Range<u32>,
}

/// A device's images and their object, as the running image sees them.
#[derive(Debug)]
pub struct Native<F> {
    firmware: Firmware<F>,
    reception: Reception,
    held: Option<Held>,
}

impl<F: NorFlash> Native<F> {
    /// Reads the log, and checks the object if there is one. Nothing is written.
    pub fn open(flash: F, geometry: NativeGeometry) -> Result<Self, NativeError<F::Error>> {
        let NativeGeometry { images, object, spare } = geometry;
        let apart = |a: &Range<u32>, b: &Range<u32>| a.end <= b.start || b.end <= a.start;
        let taken = [&images.log, &images.slots[0], &images.slots[1]];
        if taken.iter().any(|region| !apart(region, &object) || !apart(region, &spare)) {
            return Err(NativeError::Geometry);
        }
        let reception = Reception::new::<F>(flash.capacity(), object, spare).ok_or(NativeError::Geometry)?;
        let firmware = Firmware::open(flash, images).map_err(NativeError::Boot)?;
        let mut native = Self { firmware, reception, held: None };
        native.look().map_err(|error| NativeError::Boot(BootError::Flash(error)))?;
        Ok(native)
    }

    fn look(&mut self) -> Result<(), F::Error> {
        let held = self.reception.held(self.firmware.flash_mut())?;
        self.held = held.map(|(manifest, content)| Held { manifest, content });
        Ok(())
    }

    /// Boot log and slots.
    pub fn firmware(&self) -> &Firmware<F> {
        &self.firmware
    }

    /// The same, to end a trial.
    pub fn firmware_mut(&mut self) -> &mut Firmware<F> {
        &mut self.firmware
    }

    /// The object that is whole here: of the running image, of the next one, or of none.
    pub fn held(&self) -> Option<&Manifest> {
        self.held.as_ref().map(|held| &held.manifest)
    }

    /// Its signed manifest, to be passed on.
    pub fn held_manifest(&mut self) -> Result<Option<ClaimedManifest>, F::Error> {
        if self.held.is_none() {
            return Ok(None);
        }
        self.reception.claimed(self.firmware.flash_mut())
    }

    /// What a new bundle is held against: the running image, and whatever has been tried or is here to be.
    pub fn installed(&self) -> Installed {
        let installed = self.firmware.installed();
        Installed { floor: installed.floor.max(self.held().map(|held| held.sequence)), ..installed }
    }

    /// Prepares the object's place for a bundle that [`VerifiedManifest::admit_for`] admits: for this device or, without a target, only
    /// to be kept and passed on.
    pub fn begin(
        &mut self,
        verified: &VerifiedManifest,
        target: Option<&Target>,
    ) -> Result<Begun, BeginError<F::Error>> {
        verified.admit_for(target, &self.installed()).map_err(BeginError::Refused)?;
        // One image at a time: what comes of the one before has to be known first.
        if self.firmware.on_trial() || self.firmware.wants_reset() {
            return Err(BeginError::OnTrial);
        }
        self.reception.has_room(verified).map_err(BeginError::Refused)?;
        self.held = None;
        self.reception.begin(self.firmware.flash_mut(), verified).map_err(BeginError::Flash)
    }

    /// Where the pieces of the bundle that was begun go; none if none was.
    pub fn store(&mut self) -> Option<FlashStore<&mut F>> {
        self.reception.store(self.firmware.flash_mut())
    }

    /// The stream of the object that is whole here, to serve it to others.
    pub fn source(&mut self) -> Option<FlashSource<&mut F>> {
        self.held.as_ref()?;
        Some(self.reception.source(self.firmware.flash_mut()))
    }

    /// Checks the whole content of the object that was begun; from now on it is held.
    pub fn accept(&mut self) -> Result<&Manifest, DownloadError<F::Error>> {
        self.reception.content(self.firmware.flash_mut())?;
        self.look().map_err(DownloadError::Flash)?;
        self.held.as_ref().map(|held| &held.manifest).ok_or(DownloadError::Digest)
    }

    /// Gives up the object that is here.
    pub fn clear(&mut self) -> Result<(), F::Error> {
        self.held = None;
        self.reception.clear(self.firmware.flash_mut())
    }

    /// The bundle whose image is to be made of the object that is held: newer than what runs or has been tried, made for what
    /// runs, and no trial or restart is awaited.
    pub fn wanted(&self) -> Option<&Manifest> {
        let held = self.held()?;
        let installed = self.firmware.installed();
        let newer = installed.floor.is_none_or(|floor| held.sequence > floor);
        let applies = held.replaces().is_none_or(|replaces| Some(replaces) == installed.digest);
        let free = !self.firmware.on_trial() && !self.firmware.wants_reset();
        Some(held).filter(|_| newer && applies && free)
    }

    /// Announces the image that the held object makes, by its verified manifest. To be followed by [`Native::write`] with a new producer.
    pub fn begin_image(&mut self, image: &NativeImage) -> Result<(), ImageError<F::Error>> {
        self.held.as_ref().ok_or(ImageError::NotBegun)?;
        self.firmware.begin(image).map(|_| ())
    }

    /// [`Firmware::prepare`] out of the held object.
    pub fn prepare_image<P: ImageProducer>(
        &mut self,
        producer: &mut P,
    ) -> Result<bool, ImageError<F::Error>> {
        let held = self.held.as_ref().ok_or(ImageError::NotBegun)?;
        self.firmware.prepare(producer, held.content.clone())
    }

    /// [`Firmware::write_part`] out of the held object.
    pub fn write<P: ImageProducer>(
        &mut self,
        producer: &mut P,
        proof: &[u8],
        buffer: &mut [u8],
    ) -> Result<WriteProgress, ImageError<F::Error>> {
        let held = self.held.as_ref().ok_or(ImageError::NotBegun)?;
        self.firmware.write_part(producer, held.content.clone(), proof, buffer)
    }

    /// Checks the whole new image and has it tried at the next reset: [`Firmware::request`].
    pub fn request<V: Voucher + ?Sized>(&mut self, voucher: &V) -> Result<(), ImageError<F::Error>> {
        self.firmware.request(voucher)
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.firmware.into_flash()
    }
}
