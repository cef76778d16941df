//! The model part in use, the one on its way, and the flash that holds both.

use compotastic_bundle::{
    BeginError, Begun, ClaimedManifest, ComponentKind, Encoder, ObjectReceiver, Outcome, Refusal, Slots,
    SwitchError, Target, VerifiedManifest,
};
use compotastic_model::{self as model, BaseEncoder, Scratch, TaskPart};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{AgentConfig, BundleRefusal},
    state::{Key, StateError, StateLog},
};

/// Longest model part.
pub const PART_MAX: usize = 4096;
/// RAM that a model part may ask for: the inference scratch of the memory map.
const RAM_FOR_PARTS: u32 = 24 * 1024;

/// What the student says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalAnswer {
    pub(crate) class: u8,
    pub(crate) confidence: u8,
    pub(crate) unsure: bool,
    pub(crate) model_version: u16,
}

/// Slots, state and the part in use.
pub(crate) struct Update<F: NorFlash> {
    slots: Slots<F>,
    state: StateLog<F>,
    /// The part in use, in RAM: the flash driver need not be memory-mapped.
    part: Vec<u8, PART_MAX>,
    version: Option<u16>,
    receiver: Option<ObjectReceiver>,
    scratch: Scratch,
}

impl<F: NorFlash> Update<F> {
    /// Takes over opened flash. A part that was in force before the restart is in use at once.
    pub fn new(slots: Slots<F>, state: StateLog<F>, base: Option<&BaseEncoder<'_>>) -> Self {
        let mut update = Self {
            slots,
            state,
            part: Vec::new(),
            version: None,
            receiver: None,
            scratch: Scratch::default(),
        };
        update.load(base);
        // Power may have failed between the switch and the end of the trial.
        let _ = update.settle_trial(base);
        update
    }

    /// Reads the active part into RAM; no part is in use if it cannot be read or does not fit the base.
    fn load(&mut self, base: Option<&BaseEncoder<'_>>) {
        self.part.clear();
        self.version = None;
        let (Some(active), Some(base)) = (self.slots.active(), base) else { return };
        let size = active.manifest.size as usize;
        if self.part.resize(size, 0).is_err() {
            return;
        }
        let read = match self.slots.source() {
            Some(mut source) => compotastic_bundle::PieceSource::read(&mut source, 0, &mut self.part).is_ok(),
            None => false,
        };
        self.version = match TaskPart::parse(&self.part) {
            Ok(part) if read && part.base_id() == base.id() => Some(part.version()),
            _ => None,
        };
        if self.version.is_none() {
            self.part.clear();
        }
    }

    /// The version of the part in use.
    pub fn active_version(&self) -> Option<u16> {
        self.version
    }

    /// The part in use.
    pub(crate) fn part(&self) -> &[u8] {
        &self.part
    }

    pub(crate) fn classify(&mut self, base: Option<&BaseEncoder<'_>>, text: &str) -> Option<LocalAnswer> {
        let base = base?;
        let model_version = self.version?;
        let part = TaskPart::parse(&self.part).ok()?;
        let answer = model::classify(base, &part, text, &mut self.scratch);
        Some(LocalAnswer {
            class: answer.class,
            confidence: answer.confidence,
            unsure: answer.unsure,
            model_version,
        })
    }

    pub(crate) fn id_mark(&mut self) -> Result<u32, StateError> {
        Ok(self.state.get(Key::PacketIds)?.unwrap_or(0))
    }

    pub(crate) fn store_id_mark(&mut self, mark: u32) -> Result<(), StateError> {
        self.state.set(Key::PacketIds, mark)
    }

    /// Own air time that counts as spent at a start, ms; none if this flash never held a node that sent.
    pub(crate) fn airtime_mark_ms(&mut self) -> Option<u32> {
        self.state.get(Key::Airtime).ok()?
    }

    pub(crate) fn store_airtime_mark_ms(&mut self, mark_ms: u32) -> Result<(), StateError> {
        self.state.set(Key::Airtime, mark_ms)
    }

    fn target(&self, config: &AgentConfig<'_>) -> Target {
        Target {
            class: config.device_class,
            kind: ComponentKind::Model,
            task: config.task,
            base_id: config.base.as_ref().map_or([0xFF; 8], BaseEncoder::id),
            flash: self.slots.capacity(),
            ram: RAM_FOR_PARTS,
            has: heapless::Vec::new(),
        }
    }

    /// Whether a verified bundle is for this device, and newer.
    pub(crate) fn admit(&self, config: &AgentConfig<'_>, verified: &VerifiedManifest) -> Result<(), Refusal> {
        verified.admit(&self.target(config), &self.slots.installed())
    }

    /// Prepares the inactive slot; what an interrupted transfer of the same bundle left is used.
    pub(crate) fn begin(
        &mut self,
        config: &AgentConfig<'_>,
        verified: &VerifiedManifest,
    ) -> Result<(), BundleRefusal> {
        let target = self.target(config);
        // Flash may have refused to note the end of the last trial.
        let _ = self.settle_trial(config.base.as_ref());
        let begun = self.slots.begin(verified, &target).map_err(|error| match error {
            BeginError::Refused(refusal) => BundleRefusal::Manifest(refusal),
            BeginError::OnTrial | BeginError::Flash(_) => BundleRefusal::Storage,
        })?;
        let mut store = self.slots.store().ok_or(BundleRefusal::Storage)?;
        self.receiver = Some(match begun {
            Begun::Fresh => ObjectReceiver::new(verified),
            Begun::Resumed => {
                ObjectReceiver::resume(verified.object(), &mut store).map_err(|_| BundleRefusal::Storage)?
            }
        });
        Ok(())
    }

    /// Takes a symbol; true when the object is complete.
    pub(crate) fn handle_symbol(
        &mut self,
        generation: u8,
        id: u16,
        data: &[u8],
    ) -> Result<bool, BundleRefusal> {
        let (Some(receiver), Some(mut store)) = (self.receiver.as_mut(), self.slots.store()) else {
            return Err(BundleRefusal::Storage);
        };
        let progress =
            receiver.handle_symbol(generation, id, data, &mut store).map_err(|_| BundleRefusal::Storage)?;
        // A poisoned generation is asked for again, piece by piece; the receiver remembers.
        let _ = matches!(progress.outcome, Outcome::Poisoned { .. });
        Ok(progress.complete)
    }

    /// How much of the object on its way is here, 0..=255; 255 too when an installed one is served.
    pub(crate) fn progress(&self) -> u8 {
        match &self.receiver {
            Some(receiver) => (receiver.pieces_present() * 255 / receiver.layout().pieces().max(1)) as u8,
            None if self.slots.active().is_some() => 255,
            None => 0,
        }
    }

    /// All pieces of the object on its way are here.
    pub(crate) fn is_complete(&self) -> bool {
        self.receiver.is_some() && self.lacks().is_none()
    }

    /// The generation to ask for, and how many symbols it needs. The last generation first: it holds the hashes.
    pub(crate) fn lacks(&self) -> Option<(u8, u8)> {
        let receiver = self.receiver.as_ref()?;
        (0..receiver.layout().generations())
            .rev()
            .map(|generation| (generation, receiver.needed(generation)))
            .find(|(_, needed)| *needed > 0)
    }

    /// For a poisoned generation: the pieces that are missing, since only those are taken; the length of the bitmap.
    pub(crate) fn missing_bitmap(&self, generation: u8, bitmap: &mut [u8; 32]) -> Option<usize> {
        let receiver = self.receiver.as_ref().filter(|receiver| receiver.is_poisoned(generation))?;
        *bitmap = receiver.missing(generation);
        Some(usize::from(receiver.layout().generation_len(generation)).div_ceil(8))
    }

    /// True when the newest object is whole here and can be served.
    pub(crate) fn holds_object(&self) -> bool {
        self.receiver.is_none() && self.slots.active().is_some()
    }

    /// Generations of the object that is served.
    pub(crate) fn generations(&self) -> u8 {
        self.slots
            .active()
            .and_then(|active| active.manifest.layout().ok())
            .map_or(0, |layout| layout.generations())
    }

    /// Pieces of a generation of the object that is served.
    pub(crate) fn pieces(&self, generation: u8) -> u16 {
        self.slots
            .active()
            .and_then(|active| active.manifest.layout().ok())
            .map_or(0, |layout| layout.generation_len(generation))
    }

    /// Makes a symbol of the active content.
    pub(crate) fn symbol(&mut self, generation: u8, id: u16, out: &mut [u8]) -> Option<usize> {
        let active = self.slots.active()?;
        let encoder = Encoder::new(active.manifest.layout().ok()?, active.manifest.tag());
        let mut source = self.slots.source()?;
        encoder.symbol(generation, id, &mut source, out).ok()
    }

    /// Switches to the object that is complete, tries it, and confirms it or falls back.
    pub(crate) fn install(&mut self, base: Option<&BaseEncoder<'_>>) -> Result<u16, BundleRefusal> {
        self.receiver = None;
        match self.slots.switch() {
            Ok(_) => {}
            Err(SwitchError::Digest) => {
                self.slots.abandon().map_err(|_| BundleRefusal::Storage)?;
                return Err(BundleRefusal::Content);
            }
            Err(SwitchError::NotBegun | SwitchError::Flash(_)) => return Err(BundleRefusal::Storage),
        }
        self.load(base);
        self.settle_trial(base)?;
        self.version.ok_or(BundleRefusal::Content)
    }

    /// The trial, if one is under way: the part must be readable on this base and answer.
    fn settle_trial(&mut self, base: Option<&BaseEncoder<'_>>) -> Result<(), BundleRefusal> {
        if !self.slots.active().is_some_and(|active| active.on_trial) {
            return Ok(());
        }
        if self.version.is_some() && self.classify(base, "trial").is_some() {
            return self.slots.confirm().map(|_| ()).map_err(|_| BundleRefusal::Storage);
        }
        self.slots.fall_back().map_err(|_| BundleRefusal::Storage)?;
        self.load(base);
        Err(BundleRefusal::Content)
    }

    /// The signed manifest of what is in use, to be passed on.
    pub(crate) fn active_manifest(&mut self) -> Option<ClaimedManifest> {
        self.slots.active_manifest().ok()?
    }

    /// Gives the flash back, for a restart in tests and simulations.
    pub(crate) fn into_flash(self) -> (F, F) {
        (self.slots.into_flash(), self.state.into_flash())
    }
}
