//! A node's own firmware: made out of what came over the mesh, tried, and confirmed or given up.
//!
//! ```text
//!  object whole ──> decoded into slot B ──> checked ──> RestartForTrial ──(boot loader exchanges)──> trial
//!                   part by part, and                                                                 │ │
//!                   again from the start     FirmwareConfirmed <── healthy for TRIAL, mesh heard ─────┘ │
//!                   after a restart          RestartToRevert   <── TRIAL_MAX is over ────────────────┘
//! ```
//!
//! The object is received as any other is ([`crate::spread`]) into the place beside the slots, and stays there when its image runs, so
//! that neighbours can have it. A host whose flash has no such slots carries objects of firmware, and makes nothing of them.
//!
//! **What is taken.** Firmware is signed by a root key of the operator, for this device class; its version is above all that ran,
//! failed or is here; a delta names the image that runs. All that is checked before anything is received, the content's hash before it is decoded, the
//! image's hash and the signature (which becomes its proof) before the trial, and once more by the boot loader.
//!
//! **Bounded work.** Each call of [`Agent::handle_timeout`] does one slice of the decoder's preparation or writes [`PART`] bytes, with at most
//! one page erased, and asks for the next call [`STEP`] later, so that the radio's work comes between. Two calls are longer: the one that checks the whole
//! image and the one that checks the whole object, a hash over each. The decoder lies in the memory that receivers use otherwise.
//!
//! **Restarts.** The log says which pages are there; what was decoded before is decoded again and compared. When all is in place the host
//! is asked to restart the device, as soon as no neighbour is served with what is here any more and no job is open, or after
//! [`RESTART_WAIT`]: the node forgets whom it knows, and what it was asked. The host may take its time too: until then this image goes on, and no other firmware is taken.
//!
//! **The trial.** The new image counts as healthy when it has run for [`TRIAL`] and has heard a member of the swarm. What hangs, crashes or
//! hears nothing does not come so far: after three starts the boot loader goes back by itself, and after [`TRIAL_MAX`] the agent does. So a host with
//! checks of its own (sensors answer, the radio sends) has one thing to do if they fail: restart the device within [`TRIAL`]. What failed
//! is never taken again.

use compotastic_bundle::{
    ComponentKind, MAX_PACKED, VerifiedManifest,
    boot::{BootError, ImageError, Native, NativeError, NativeGeometry, NativeImage, RootSigned, WholeImage},
};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_wire::records::{
    RecordError,
    capability::{CapabilityRecord, InstalledBundle},
};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, AgentEvent, BundleRefusal},
    image::{DeltaImage, Producer},
    spread::STORAGE_AGAIN,
};

/// Bytes of the new image that one call writes.
pub const PART: usize = 256;
/// From one call to the next while an image is made.
pub const STEP: Duration = Duration::from_millis(20);
/// An image on trial runs for so long before it can be confirmed.
pub const TRIAL: Duration = Duration::from_secs(600);
/// An image on trial that has heard nobody for so long is given up.
/// Beacons of neighbours come every 3.2 hours at least.
pub const TRIAL_MAX: Duration = Duration::from_secs(6 * 3600);
/// A restart waits so long at most for what is under way.
pub const RESTART_WAIT: Duration = Duration::from_secs(2 * 3600);
/// And whether that is over is looked at this often.
const RESTART_LOOK: Duration = Duration::from_secs(60);
/// An image that is made of a good object and is not what it should be is made so often: flash may have failed.
const TRIES: u8 = 2;

/// What a node's firmware is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareState {
    /// The image in slot A.
    pub running: NativeImage,
    /// The one that was confirmed last: the same, or where a failed trial leads back to.
    pub confirmed: NativeImage,
    /// The running image is on trial.
    pub on_trial: bool,
    /// A new image is being put together.
    pub making: bool,
    /// The host is asked to restart the device.
    pub wants_restart: bool,
    /// Highest version that has failed a trial here.
    pub failed: Option<u32>,
}

/// Why a node's firmware is not looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareError<E> {
    /// There is a component for firmware, or no room for another.
    Taken,
    /// [`Agent::set_capability`] came before, and did not leave room for what the record says of firmware.
    Told,
    /// The flash, or what the boot loader left in it.
    Native(NativeError<E>),
}

impl<E: core::fmt::Debug> core::fmt::Display for FirmwareError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Taken => f.write_str("there is no place for another component"),
            Self::Told => f.write_str("the capability record was told before; add the firmware first"),
            Self::Native(error) => error.fmt(f),
        }
    }
}

impl<E: core::fmt::Debug> core::error::Error for FirmwareError<E> {}

/// An image that is being made.
#[derive(Debug)]
pub(crate) struct Maker {
    producer: Producer,
    prepared: bool,
    /// The signed manifest: it goes behind the image.
    proof: Vec<u8, MAX_PACKED>,
}

impl Maker {
    fn new(verified: &VerifiedManifest, image: &NativeImage) -> Self {
        let producer = match verified.manifest().delta {
            Some(_) => Producer::Delta(DeltaImage::new(image)),
            None => Producer::Whole(WholeImage::default()),
        };
        Self { producer, prepared: false, proof: verified.claimed().to_packed() }
    }
}

/// What is not in flash.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The next piece of work.
    at: Option<Instant>,
    /// The running image is on trial since this start.
    trial: Option<Instant>,
    /// A member of the swarm was heard since this start.
    heard: bool,
    tries: u8,
    /// The new image is in place since then, and the host has yet to be asked for a restart.
    ready: Option<Instant>,
}

/// What one piece of work came to.
enum Made {
    More,
    /// The image is whole and waits for its trial.
    Done,
    /// There is nothing to make.
    Nothing,
}

impl<F: NorFlash> Agent<'_, F> {
    /// From now on the agent looks after this device's firmware, in flash with the given geometry that a boot loader has started
    /// ([`compotastic_bundle::boot::start`]): see [`crate::firmware`]. To be called once, at the start, before [`Self::set_capability`].
    pub fn add_firmware(
        &mut self,
        now: Instant,
        flash: F,
        geometry: NativeGeometry,
    ) -> Result<(), FirmwareError<F::Error>> {
        if self.has_component(ComponentKind::Firmware, 0) {
            return Err(FirmwareError::Taken);
        }
        if self.sync().is_some() {
            return Err(FirmwareError::Told);
        }
        let native = Native::open(flash, geometry).map_err(FirmwareError::Native)?;
        let firmware = native.firmware();
        let (on_trial, wants_restart) = (firmware.on_trial(), firmware.wants_reset());
        let held = native.held().map(|held| held.sequence);
        let failed = firmware.failed().filter(|failed| held == Some(*failed));
        let component = self.update.add_native(native).ok_or(FirmwareError::Taken)?;
        self.hold_active(component);
        self.upkeep.trial = on_trial.then_some(now);
        // A host that was started anew without its device.
        self.upkeep.ready = wants_restart.then_some(now);
        self.upkeep.at = Some(now + if on_trial { TRIAL } else { STEP });
        if let Some(version) = failed {
            self.push_event(AgentEvent::FirmwareFailed { version });
        }
        Ok(())
    }

    /// What this device's firmware is about; none if the agent does not look after it.
    pub fn firmware(&self) -> Option<FirmwareState> {
        let firmware = self.update.native()?.firmware();
        Some(FirmwareState {
            running: *firmware.running(),
            confirmed: *firmware.confirmed(),
            on_trial: firmware.on_trial(),
            making: self.update.is_making(),
            wants_restart: firmware.wants_reset(),
            failed: firmware.failed(),
        })
    }

    /// A frame of a member of the swarm was heard.
    pub(crate) fn firmware_hears(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.upkeep.heard, true) && self.upkeep.trial.is_some() {
            self.upkeep.at = Some(now);
        }
    }

    /// An object of firmware is whole: its image is made if it is for this device as it is now.
    pub(crate) fn firmware_arrived(&mut self, now: Instant, component: usize) {
        if self.update.is_native(component) && !self.update.carries() {
            self.upkeep.at = Some(now);
            self.upkeep.tries = 0;
        }
    }

    pub(crate) const fn firmware_timeout(&self) -> Option<Instant> {
        self.upkeep.at
    }

    /// The next piece of work, if it is due.
    pub(crate) fn handle_firmware_timeout(&mut self, now: Instant) {
        if self.upkeep.at.is_none_or(|at| now < at) {
            return;
        }
        self.upkeep.at = None;
        if let Some(since) = self.upkeep.trial {
            self.judge_trial(now, since);
        } else if let Some(ready) = self.upkeep.ready {
            self.ask_for_restart(now, ready);
        } else if !self.update.carries() {
            self.make_image(now);
        }
    }

    fn make_image(&mut self, now: Instant) {
        if self.firmware_is_held_back() {
            self.upkeep.at = Some(now + RESTART_LOOK);
            return;
        }
        let made = if self.update.is_making() { self.write_part() } else { self.begin_image() };
        match made {
            Ok(Made::More) => self.upkeep.at = Some(now + STEP),
            Ok(Made::Done) => {
                self.update.drop_maker();
                self.upkeep.ready = Some(now);
                self.upkeep.at = Some(now + RESTART_LOOK);
                self.next_object(now);
            }
            Ok(Made::Nothing) => {}
            Err(error) => self.image_failed(now, &error),
        }
    }

    /// Whoever holds the object back, or has given it up, does not try it either.
    fn firmware_is_held_back(&self) -> bool {
        let component = self.update.component_for(ComponentKind::Firmware, 0);
        component.is_some_and(|component| self.objects.all[component].paused)
    }

    /// Announces the image that the object here makes, and takes the memory for it.
    fn begin_image(&mut self) -> Result<Made, ImageError<F::Error>> {
        let Some((native, _)) = self.update.native_and_maker() else { return Ok(Made::Nothing) };
        // After a refusal of the flash its log is not what is remembered of it; what it refused may have been written.
        native.firmware_mut().reopen().map_err(|error| match error {
            BootError::Flash(e) => ImageError::Flash(e),
            _ => ImageError::NotBegun,
        })?;
        if native.firmware().wants_reset() {
            return Ok(Made::Done);
        }
        if native.wanted().is_none() {
            return Ok(Made::Nothing);
        }
        let claimed = native.held_manifest().map_err(ImageError::Flash)?;
        // The keys that are believed in may have changed since it was taken.
        let verified = claimed.and_then(|claimed| self.config.trust.verify(&claimed).ok());
        let announced =
            verified.and_then(|verified| NativeImage::of(&verified).map(|image| (verified, image)));
        let Some((verified, image)) = announced else { return Err(ImageError::NotVerified) };
        native.begin_image(&image)?;
        self.set_receivers_aside();
        self.update.set_maker(Maker::new(&verified, &image));
        Ok(Made::More)
    }

    /// One slice of preparation, or one part of the image; the last of all checks the whole.
    fn write_part(&mut self) -> Result<Made, ImageError<F::Error>> {
        let Some((native, Some(maker))) = self.update.native_and_maker() else { return Ok(Made::Nothing) };
        if !maker.prepared {
            maker.prepared = native.prepare_image(&mut maker.producer)?;
            return Ok(Made::More);
        }
        if !native.write(&mut maker.producer, &maker.proof, &mut [0; PART])?.is_complete() {
            return Ok(Made::More);
        }
        let voucher = RootSigned { trust: &self.config.trust, class: self.config.device_class };
        native.request(&voucher)?;
        Ok(Made::Done)
    }

    /// Asks for the restart once nobody waits for what this node passes on, answers or has asked.
    fn ask_for_restart(&mut self, now: Instant, ready: Instant) {
        let serves = (0..self.update.components()).any(|component| {
            let server = &self.objects.all[component].server;
            server.is_serving() || server.offer_at().is_some()
        });
        let tried = self.update.native().is_some_and(|native| native.firmware().candidate().is_some());
        if tried && self.firmware_is_held_back() {
            self.upkeep.at = Some(now + RESTART_LOOK);
            return;
        }
        let busy = serves || !self.jobs.is_empty() || self.promises.running() > 0;
        if busy && now.saturating_duration_since(ready) < RESTART_WAIT {
            self.upkeep.at = Some(now + RESTART_LOOK);
            return;
        }
        self.upkeep.ready = None;
        let Some(firmware) = self.update.native().map(Native::firmware).filter(|f| f.wants_reset()) else {
            return;
        };
        let event = match firmware.candidate() {
            Some(image) => AgentEvent::RestartForTrial { version: image.sequence },
            None => AgentEvent::RestartToRevert { version: firmware.running().sequence },
        };
        self.push_event(event);
    }

    fn image_failed(&mut self, now: Instant, error: &ImageError<F::Error>) {
        self.update.drop_maker();
        match error {
            // Power failed while the page before was written: it is made anew from there.
            ImageError::Changed => self.upkeep.at = Some(now + STEP),
            ImageError::Flash(_) | ImageError::NotBegun | ImageError::Incomplete => {
                self.upkeep.at = Some(now + STORAGE_AGAIN);
            }
            ImageError::NotVerified if self.upkeep.tries + 1 < TRIES => {
                self.upkeep.tries += 1;
                self.upkeep.at = Some(now + STEP);
            }
            ImageError::Object
            | ImageError::NotVerified
            | ImageError::Size
            | ImageError::Rollback { .. }
            | ImageError::OnTrial
            | ImageError::Arguments => {
                let native = self.update.component_for(ComponentKind::Firmware, 0);
                if let Some((native, _)) = self.update.native_and_maker() {
                    // If flash refuses that too, the same comes out after the next start.
                    let _ = native.clear();
                }
                if let Some(component) = native {
                    self.set_back(now, component, BundleRefusal::Content);
                }
            }
        }
        self.next_object(now);
    }

    fn judge_trial(&mut self, now: Instant, since: Instant) {
        let age = now.saturating_duration_since(since);
        let healthy = self.upkeep.heard;
        let is_over = age >= TRIAL_MAX || healthy && age >= TRIAL;
        if !is_over {
            self.upkeep.at = Some(since + if age < TRIAL { TRIAL } else { TRIAL_MAX });
            return;
        }
        let Some((native, _)) = self.update.native_and_maker() else { return };
        let version = native.firmware().running().sequence;
        let firmware = native.firmware_mut();
        let done = if healthy { firmware.confirm() } else { firmware.fall_back() };
        if done.is_err() {
            let _ = firmware.reopen();
            self.upkeep.at = Some(now + STORAGE_AGAIN);
            return;
        }
        self.upkeep.trial = None;
        if healthy {
            self.push_event(AgentEvent::FirmwareConfirmed { version });
            self.beacon_soon(now);
            self.tell_firmware(now);
        } else {
            self.push_event(AgentEvent::RestartToRevert { version });
        }
    }

    /// The object of a component makes the image that runs here for good.
    pub(crate) fn runs_object(&self, component: usize) -> bool {
        self.update.is_native(component)
            && self.update.holds_object(component)
            && self.update.native().is_some_and(|native| {
                let confirmed = native.firmware().confirmed();
                native.held().is_some_and(|held| held.image().digest == confirmed.digest)
            })
    }

    /// Writes the firmware that runs for good into a capability record, in the place of what it said of it; none if the agent does not look
    /// after firmware.
    pub(crate) fn add_firmware_to(
        &self,
        record: &mut CapabilityRecord,
    ) -> Result<Option<InstalledBundle>, RecordError> {
        let Some(native) = self.update.native() else { return Ok(None) };
        let image = native.firmware().confirmed();
        let [a, b, c, d, ..] = image.digest;
        let kind = ComponentKind::Firmware as u8;
        let told = InstalledBundle {
            kind,
            task: 0,
            version: image.sequence,
            object_tag: u32::from_le_bytes([a, b, c, d]),
        };
        match record.bundles.iter_mut().find(|bundle| (bundle.kind, bundle.task) == (kind, 0)) {
            Some(bundle) => *bundle = told,
            None => record.bundles.push(told).map_err(|_| RecordError::TooMany("bundles"))?,
        }
        Ok(Some(told))
    }
}
