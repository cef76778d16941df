//! The model part in use, the one on its way, and the flash that holds both.

use compotastic_bundle::{
    BeginError, Begun, ClaimedManifest, ComponentKind, Encoder, Layout, Manifest, Need, ObjectIdentity,
    ObjectReceiver, Outcome, PieceSource, Refusal, Refused, Slots, SwitchError, Target, TrustStore,
    VerifiedManifest,
    boot::{DownloadError, Native},
};
use compotastic_model::{self as model, BaseEncoder, Scratch, TaskPart};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{AgentConfig, BundleRefusal},
    firmware::Maker,
    holder::Holder,
    spread::MAX_SYMBOL,
    state::{Key, StateError, StateLog},
    trust_log::TrustLog,
};

/// Longest model part.
pub const PART_MAX: usize = 4096;
/// RAM that a model part may ask for: the inference scratch of the memory map.
const RAM_FOR_PARTS: u32 = 24 * 1024;
/// RAM that a native image may ask for: whoever linked it knows the part.
const RAM_FOR_IMAGES: u32 = u32::MAX;

/// What the student says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalAnswer {
    pub(crate) class: u8,
    pub(crate) confidence: u8,
    pub(crate) unsure: bool,
    pub(crate) model_version: u16,
}

/// Kinds of components that a node may have beside its model.
pub const COMPONENTS: usize = 4;
/// The model's place among the components.
pub(crate) const MODEL: usize = 0;

/// One component: what is in force, and what is on its way to take its place.
struct Component<F> {
    kind: ComponentKind,
    task: u8,
    holder: Holder<F>,
    /// An object was begun, or waits for its turn, and is not complete.
    pending: bool,
}

/// What the memory for decoding is used for. The receiver takes 13 KiB, the decoder of deltas 15: one at a time, and what a
/// receiver knew comes back from flash.
#[allow(clippy::large_enum_variant, reason = "the memory is set aside in any case")]
enum Work {
    Idle,
    /// An object of this component is received.
    Receiving(usize, ObjectReceiver),
    /// A native image is made.
    Making(Maker),
}

/// Components, state and the model part in use. One object is received at a time: decoding takes the RAM of one.
pub(crate) struct Update<F: NorFlash> {
    components: Vec<Component<F>, COMPONENTS>,
    work: Work,
    /// Objects are only kept and passed on.
    carries: bool,
    /// There is no room for more combinations of this generation.
    spare_full: Option<u8>,
    state: StateLog<F>,
    trust_log: Option<TrustLog>,
    /// The part in use, in RAM: the flash driver need not be memory-mapped.
    part: Vec<u8, PART_MAX>,
    version: Option<u16>,
    scratch: Scratch,
}

impl<F: NorFlash> Update<F> {
    /// Takes over opened flash. A part that was in force before the restart is in use at once.
    pub fn new(slots: Slots<F>, state: StateLog<F>, base: Option<&BaseEncoder<'_>>, task: u8) -> Self {
        let mut components = Vec::new();
        // The table is empty.
        let holder = Holder::Slots(slots);
        let _ = components.push(Component { kind: ComponentKind::Model, task, holder, pending: false });
        let mut update = Self {
            components,
            work: Work::Idle,
            carries: false,
            spare_full: None,
            state,
            trust_log: None,
            part: Vec::new(),
            version: None,
            scratch: Scratch::default(),
        };
        update.load(base);
        // Power may have failed between the switch and the end of the trial.
        let _ = update.settle_trial(base);
        update
    }

    /// From now on objects are only kept and passed on, whatever device they are for.
    pub(crate) fn set_carries(&mut self) {
        self.carries = true;
    }

    /// Objects are only kept and passed on.
    pub(crate) fn carries(&self) -> bool {
        self.carries
    }

    /// One more component; false if there is one of this kind and task, or no room.
    pub(crate) fn add_component(&mut self, kind: ComponentKind, task: u8, mut slots: Slots<F>) -> bool {
        if self.component_for(kind, task).is_some() {
            return false;
        }
        // A restart may have come between switch and confirmation; what is whole here is good to be kept.
        let _ = slots.confirm();
        self.components.push(Component { kind, task, holder: Holder::Slots(slots), pending: false }).is_ok()
    }

    /// The flash of the device's native images; the place of the component, or none if there is one for firmware, or no room.
    pub(crate) fn add_native(&mut self, native: Native<F>) -> Option<usize> {
        let kind = ComponentKind::Firmware;
        if self.component_for(kind, 0).is_some() {
            return None;
        }
        let component = Component { kind, task: 0, holder: Holder::Native(native), pending: false };
        self.components.push(component).ok()?;
        Some(self.components.len() - 1)
    }

    /// The device's native images, where their flash is this agent's.
    pub(crate) fn native(&self) -> Option<&Native<F>> {
        self.components.iter().find_map(|component| component.holder.native())
    }

    /// Whether a component is that.
    pub(crate) fn is_native(&self, component: usize) -> bool {
        self.components.get(component).is_some_and(|component| component.holder.native().is_some())
    }

    /// The same, and the memory in which an image is made, if one is.
    pub(crate) fn native_and_maker(&mut self) -> Option<(&mut Native<F>, Option<&mut Maker>)> {
        let native = self.components.iter_mut().find_map(|component| component.holder.native_mut())?;
        let maker = match &mut self.work {
            Work::Making(maker) => Some(maker),
            Work::Idle | Work::Receiving(..) => None,
        };
        Some((native, maker))
    }

    /// An image is made from now on; what was received goes on later.
    pub(crate) fn set_maker(&mut self, maker: Maker) {
        self.work = Work::Making(maker);
    }

    /// The image is made, or not to be made now.
    pub(crate) fn drop_maker(&mut self) {
        if self.is_making() {
            self.work = Work::Idle;
        }
    }

    /// An image is being made.
    pub(crate) fn is_making(&self) -> bool {
        matches!(self.work, Work::Making(_))
    }

    /// The place of a kind of component.
    pub(crate) fn component_for(&self, kind: ComponentKind, task: u8) -> Option<usize> {
        self.components.iter().position(|component| (component.kind, component.task) == (kind, task))
    }

    /// What a component is.
    pub(crate) fn kind(&self, component: usize) -> Option<ComponentKind> {
        self.components.get(component).map(|component| component.kind)
    }

    /// Components that there are.
    pub(crate) fn components(&self) -> usize {
        self.components.len()
    }

    /// Reads the active part into RAM; no part is in use if it cannot be read or does not fit the base.
    fn load(&mut self, base: Option<&BaseEncoder<'_>>) {
        self.part.clear();
        self.version = None;
        let (Some(manifest), Some(base)) = (self.components[MODEL].holder.manifest(), base) else { return };
        let size = manifest.size as usize;
        if self.part.resize(size, 0).is_err() {
            return;
        }
        let read = match self.components[MODEL].holder.source() {
            Some(mut source) => source.read(0, &mut self.part).is_ok(),
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

    /// What was revoked and rotated before the restart holds again.
    pub(crate) fn recall_trust(&mut self, trust: &mut TrustStore) -> Result<(), StateError> {
        let log = TrustLog::new(trust);
        self.state.keep_trust(log);
        self.trust_log = Some(log);
        log.recall(&mut self.state, trust)
    }

    /// Keeps what was revoked and rotated.
    pub(crate) fn store_trust(&mut self, trust: &TrustStore) -> Result<(), StateError> {
        self.trust_log.map_or(Ok(()), |log| log.store(&mut self.state, trust))
    }

    /// What a bundle of a component is to be installed for; none on a node that only carries.
    fn target(&self, component: usize, config: &AgentConfig<'_>) -> Option<Target> {
        if self.carries {
            return None;
        }
        let Component { kind, task, holder, .. } = &self.components[component];
        Some(Target {
            class: config.device_class,
            kind: *kind,
            task: *task,
            base_id: config.base.as_ref().map_or([0xFF; 8], BaseEncoder::id),
            flash: holder.capacity(),
            ram: if holder.native().is_some() { RAM_FOR_IMAGES } else { RAM_FOR_PARTS },
            has: self
                .components
                .iter()
                .filter_map(|component| {
                    let sequence = component.holder.version()?;
                    Some(Need { kind: component.kind, task: component.task, sequence })
                })
                .collect(),
        })
    }

    /// The component that a verified bundle is for, if it is for this device, and newer.
    pub(crate) fn admit(
        &self,
        config: &AgentConfig<'_>,
        verified: &VerifiedManifest,
    ) -> Result<usize, Refusal> {
        let manifest = verified.manifest();
        let component = self.component_for(manifest.kind, manifest.task).ok_or(Refusal::WrongComponent)?;
        let installed = self.components[component].holder.installed();
        verified.admit_for(self.target(component, config).as_ref(), &installed)?;
        Ok(component)
    }

    /// Prepares the inactive slot; what an interrupted transfer of the same bundle left is used.
    pub(crate) fn begin(
        &mut self,
        component: usize,
        config: &AgentConfig<'_>,
        verified: &VerifiedManifest,
    ) -> Result<(), BundleRefusal> {
        let target = self.target(component, config);
        if component == MODEL && !self.carries {
            // Flash may have refused to note the end of the last trial.
            let _ = self.settle_trial(config.base.as_ref());
        }
        let holder = &mut self.components[component].holder;
        let native = holder.native().is_some();
        let begun = holder.begin(verified, target.as_ref()).map_err(|error| match error {
            BeginError::Refused(refusal) => BundleRefusal::Manifest(refusal),
            BeginError::OnTrial if native => BundleRefusal::OnTrial,
            BeginError::OnTrial | BeginError::Flash(_) => BundleRefusal::Storage,
        })?;
        let mut store = holder.store().ok_or(BundleRefusal::Storage)?;
        let receiver = match begun {
            Begun::Fresh => ObjectReceiver::new(verified),
            Begun::Resumed => {
                ObjectReceiver::resume(verified.object(), &mut store).map_err(|_| BundleRefusal::Storage)?
            }
        };
        self.components[component].pending = true;
        self.work = Work::Receiving(component, receiver);
        self.spare_full = None;
        Ok(())
    }

    /// Its turn comes later: what is whole here is another object than the one that is told of from now on.
    pub(crate) fn await_turn(&mut self, component: usize) {
        self.components[component].pending = true;
    }

    fn receiver(&self, component: usize) -> Option<&ObjectReceiver> {
        match &self.work {
            Work::Receiving(of, receiver) if *of == component => Some(receiver),
            _ => None,
        }
    }

    /// The manifest of the object that is whole.
    fn whole(&self, component: usize) -> Option<&Manifest> {
        self.components.get(component)?.holder.manifest()
    }

    /// An object was begun, and another has taken its turn or it is being received.
    pub(crate) fn is_pending(&self, component: usize) -> bool {
        self.components.get(component).is_some_and(|component| component.pending)
    }

    /// The object that is being received.
    pub(crate) fn is_receiving(&self, component: usize) -> bool {
        self.receiver(component).is_some()
    }

    /// Takes a symbol; true when the object is complete.
    pub(crate) fn handle_symbol(
        &mut self,
        component: usize,
        generation: u8,
        id: u16,
        data: &[u8],
    ) -> Result<bool, BundleRefusal> {
        let receiver = match &mut self.work {
            Work::Receiving(of, receiver) if *of == component => receiver,
            _ => return Ok(false),
        };
        // The spare area keeps room for what the generation that is asked for first still needs.
        let first = (0..receiver.layout().generations()).rev().find(|g| receiver.needed(*g) > 0);
        let mut store = self.components[component].holder.store().ok_or(BundleRefusal::Storage)?;
        let progress = receiver
            .handle_symbol(generation, id, data, &mut store)
            // One write that fails, or place that only looks blank, is made good, and the symbol handed in once more. Where that fails too,
            // what flash holds is good for another try.
            .or_else(|_| {
                receiver.recover(&mut store)?;
                receiver.handle_symbol(generation, id, data, &mut store)
            })
            .map_err(|_| BundleRefusal::Storage)?;
        // A poisoned generation is asked for again, piece by piece; the receiver remembers.
        match progress.outcome {
            Outcome::Refused(Refused::NoSpare) if first == Some(generation) => self.spare_full = first,
            _ if self.spare_full.is_some_and(|full| receiver.has_generation(full)) => self.spare_full = None,
            _ => {}
        }
        Ok(progress.complete)
    }

    /// How much of the object on its way is here, 0..=255; 255 too when an installed one is served.
    pub(crate) fn progress(&self, component: usize) -> u8 {
        match self.receiver(component) {
            Some(receiver) => (receiver.pieces_present() * 255 / receiver.layout().pieces().max(1)) as u8,
            None if self.holds_object(component) => 255,
            None => 0,
        }
    }

    /// All pieces of the object on its way are here.
    pub(crate) fn is_complete(&self, component: usize) -> bool {
        self.receiver(component).is_some_and(ObjectReceiver::is_complete)
    }

    /// Symbols that a generation of the object on its way still needs.
    pub(crate) fn needed(&self, component: usize, generation: u8) -> u8 {
        self.receiver(component).map_or(0, |receiver| receiver.needed(generation))
    }

    /// The generation to ask for, and how many symbols it needs. The last generation first: it holds the hashes.
    pub(crate) fn lacks(&self, component: usize) -> Option<(u8, u8)> {
        let receiver = self.receiver(component)?;
        (0..receiver.layout().generations())
            .rev()
            .map(|generation| (generation, receiver.needed(generation)))
            .find(|(_, needed)| *needed > 0)
    }

    /// For a poisoned generation, or one for whose combinations there is no room: the pieces that are missing, since only those are
    /// taken; the length of the bitmap.
    pub(crate) fn missing_bitmap(
        &self,
        component: usize,
        generation: u8,
        bitmap: &mut [u8; 32],
    ) -> Option<usize> {
        let spare_full = self.spare_full == Some(generation);
        let receiver =
            self.receiver(component).filter(|receiver| spare_full || receiver.is_poisoned(generation))?;
        *bitmap = receiver.missing(generation);
        Some(usize::from(receiver.layout().generation_len(generation)).div_ceil(8))
    }

    /// True when the newest object is whole here and can be served.
    pub(crate) fn holds_object(&self, component: usize) -> bool {
        !self.is_pending(component) && self.whole(component).is_some()
    }

    /// How the object is cut that is on its way or, if there is none, in force.
    fn layout(&self, component: usize) -> Option<Layout> {
        match self.receiver(component) {
            Some(receiver) => Some(*receiver.layout()),
            None => self.whole(component).and_then(|manifest| manifest.layout().ok()),
        }
    }

    /// Generations of the object.
    pub(crate) fn generations(&self, component: usize) -> u8 {
        self.layout(component).map_or(0, |layout| layout.generations())
    }

    /// Pieces of the object.
    pub(crate) fn all_pieces(&self, component: usize) -> u32 {
        self.layout(component).map_or(0, |layout| layout.pieces())
    }

    /// Pieces of a generation of the object.
    pub(crate) fn pieces(&self, component: usize, generation: u8) -> u16 {
        self.layout(component).map_or(0, |layout| layout.generation_len(generation))
    }

    /// Generations that are whole here and can be served, bit n for generation n.
    pub(crate) fn complete_generations(&self, component: usize) -> u16 {
        let all = |count: u8| (1u32 << count.min(16)).wrapping_sub(1) as u16;
        match self.receiver(component) {
            Some(receiver) => (0..receiver.layout().generations())
                .filter(|generation| receiver.has_generation(*generation))
                .fold(0, |bits, generation| bits | 1 << generation),
            None if self.holds_object(component) => all(self.generations(component)),
            None => 0,
        }
    }

    /// Generations of the object on its way that are not whole.
    pub(crate) fn lacking(&self, component: usize) -> u16 {
        let all = (1u32 << self.generations(component).min(16)).wrapping_sub(1) as u16;
        all & !self.complete_generations(component)
    }

    /// Makes a symbol of a generation that is whole here.
    pub(crate) fn symbol(
        &mut self,
        component: usize,
        generation: u8,
        id: u16,
        out: &mut [u8],
    ) -> Option<usize> {
        if self.complete_generations(component) >> generation.min(15) & 1 == 0 {
            return None;
        }
        if let Some(receiver) = self.receiver(component) {
            let encoder = Encoder::new(*receiver.layout(), receiver.tag());
            let mut store = self.components[component].holder.store()?;
            return encoder.symbol(generation, id, &mut store, out).ok();
        }
        let holder = &mut self.components.get_mut(component)?.holder;
        let manifest = holder.manifest()?;
        let object = manifest.object().ok()?;
        let encoder = Encoder::new(object.layout, object.tag());
        let mut source = holder.source()?;
        encoder.symbol(generation, id, &mut source, out).ok()
    }

    /// Takes from what is in force whatever the object that was begun has in common with it: all, where the same content comes under a new
    /// version, and nothing else. What cannot be read comes over the air.
    pub(crate) fn take_over(&mut self, component: usize, object: &ObjectIdentity) {
        let Some(part) = self.components.get_mut(component) else { return };
        // Firmware's objects have one place, which the new one has taken.
        if !matches!(part.holder, Holder::Slots(_)) {
            return;
        }
        if part.holder.manifest().and_then(|manifest| manifest.object().ok()) != Some(*object) {
            return;
        }
        let encoder = Encoder::new(object.layout, object.tag());
        let mut piece = [0; MAX_SYMBOL];
        for generation in (0..object.layout.generations()).rev() {
            for id in (0..object.layout.generation_len(generation)).rev() {
                let Some(mut source) = self.components[component].holder.source() else { return };
                let Ok(length) = encoder.symbol(generation, id, &mut source, &mut piece) else { return };
                if self.handle_symbol(component, generation, id, &piece[..length]).is_err() {
                    return;
                }
            }
        }
    }

    /// Switches to the object that is complete. A model is tried, and confirmed or given up; anything else is kept for whoever
    /// uses it.
    pub(crate) fn install(
        &mut self,
        component: usize,
        base: Option<&BaseEncoder<'_>>,
    ) -> Result<u32, BundleRefusal> {
        self.work = Work::Idle;
        let carries = self.carries;
        let part = &mut self.components[component];
        let sequence = match &mut part.holder {
            Holder::Slots(slots) => slots.switch().map(|active| active.manifest.sequence),
            Holder::Native(native) => {
                native.accept().map(|held| held.sequence).map_err(|error| match error {
                    DownloadError::Digest => SwitchError::Digest,
                    DownloadError::Flash(e) => SwitchError::Flash(e),
                    DownloadError::NotBegun | DownloadError::Refused(_) => SwitchError::NotBegun,
                })
            }
        };
        let sequence = match sequence {
            Ok(sequence) => sequence,
            Err(SwitchError::Digest) => {
                part.pending = false;
                let given_up = match &mut part.holder {
                    Holder::Slots(slots) => slots.abandon(),
                    Holder::Native(native) => native.clear(),
                };
                given_up.map_err(|_| BundleRefusal::Storage)?;
                return Err(BundleRefusal::Content);
            }
            Err(SwitchError::NotBegun | SwitchError::Flash(_)) => return Err(BundleRefusal::Storage),
        };
        part.pending = false;
        if let Holder::Slots(slots) = &mut part.holder
            && (component != MODEL || carries)
        {
            slots.confirm().map_err(|_| BundleRefusal::Storage)?;
        }
        if component == MODEL && !carries {
            self.load(base);
            self.settle_trial(base)?;
            return self.version.map(u32::from).ok_or(BundleRefusal::Content);
        }
        Ok(sequence)
    }

    /// The object on its way is given up for now: a higher one takes its turn, or flash refused. What flash holds of it is used
    /// when it is begun again.
    pub(crate) fn set_aside(&mut self, component: usize) {
        if self.is_receiving(component) {
            self.work = Work::Idle;
        }
    }

    /// The object on its way is not wanted any more.
    pub(crate) fn forget(&mut self, component: usize) {
        self.set_aside(component);
        self.components[component].pending = false;
    }

    /// The trial, if one is under way: the part must be readable on this base and answer.
    fn settle_trial(&mut self, base: Option<&BaseEncoder<'_>>) -> Result<(), BundleRefusal> {
        let on_trial = |holder: &Holder<F>| match holder {
            Holder::Slots(slots) => slots.active().is_some_and(|active| active.on_trial),
            Holder::Native(_) => false,
        };
        if !on_trial(&self.components[MODEL].holder) {
            return Ok(());
        }
        let works = self.version.is_some() && self.classify(base, "trial").is_some();
        let Holder::Slots(slots) = &mut self.components[MODEL].holder else { return Ok(()) };
        if works {
            return slots.confirm().map(|_| ()).map_err(|_| BundleRefusal::Storage);
        }
        slots.fall_back().map_err(|_| BundleRefusal::Storage)?;
        self.load(base);
        Err(BundleRefusal::Content)
    }

    /// The signed manifest of the object that is whole, to be passed on.
    pub(crate) fn active_manifest(&mut self, component: usize) -> Option<ClaimedManifest> {
        self.components.get_mut(component)?.holder.signed_manifest()
    }

    /// The version of a component that is in force for good.
    pub(crate) fn component_version(&self, component: usize) -> Option<u32> {
        self.components.get(component)?.holder.version()
    }

    /// The content that is whole: copies from `offset` on, and returns its whole length.
    pub(crate) fn read_content(&mut self, component: usize, offset: u32, out: &mut [u8]) -> Option<u32> {
        let holder = &mut self.components.get_mut(component)?.holder;
        let size = holder.manifest()?.size;
        holder.source()?.read(offset, out).ok()?;
        Some(size)
    }

    /// Gives the flash back (each component's, the model's first, and the state's), for a restart in tests and simulations.
    pub(crate) fn into_flash(self) -> (Vec<F, COMPONENTS>, F) {
        let components = self.components.into_iter().map(|component| component.holder.into_flash()).collect();
        (components, self.state.into_flash())
    }
}
