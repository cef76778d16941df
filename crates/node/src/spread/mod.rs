//! One file, many receivers: how objects spread from neighbour to neighbour.
//!
//! 1. A node that holds an object, or a generation of it, and knows of neighbours that nobody serves ([`coverage`]) *offers* it: the
//!    signed manifest to those who do not know it, else an advert, zero-hop. It waits the shorter the more of them there are, and an offer
//!    or symbols of another meanwhile may leave it nothing to do. So the nodes that transmit come near a connected dominating set.
//! 2. A node that verified the manifest and lacks pieces *asks* ([`client`]) whoever offered: how many symbols it needs. Who hears such a
//!    request and needs no more holds its own back, because what follows will be heard here too.
//! 3. The server sends the generation ([`server`]): the pieces as they are to those who have nothing, combinations made afresh to those
//!    who have some. Each symbol says how many follow. At the end those who lack some ask, those first who have neighbours to
//!    serve; the others wait for what other servers send and ask last.
//! 4. Generations are passed on as soon as they are complete, the last (it holds the hashes) first: depth does not multiply time. A server
//!    goes on with the next generation by itself.
//!
//! A node that missed the manifest learns of it from a beacon or a symbol with a tag it does not know; one that missed the
//! delegation learns so from the manifest. It asks its neighbours for the record ([`Wanted`]); one of those that
//! hold it answers, and the others stay silent. A node that nobody serves asks whoever can, and, where no neighbour answers
//! because there are only stock nodes between, asks by a flood and is served by one, at a far lower rate.
//!
//! Several objects, one per component, are known and served at a time; one is received at a time, the most urgent kind first.
//! All this is bulk: behind the 25 % gate. Symbols and records are paced by the governor; requests and adverts, a few bytes, are paid for but
//! not held back, since what they wait for is what keeps the air quiet.

pub(crate) mod client;
pub(crate) mod coverage;
mod records;
pub(crate) mod server;

use compotastic_bundle::{
    ClaimedManifest, ComponentKind, Encoder, KeyId, SliceSource, VerifiedManifest, build_stream, verify,
};
use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_wire::{Record, RecordType, Symbol};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, AgentEvent, BundleRefusal, LinkState, OutFrame},
    update::{COMPONENTS, MODEL, PART_MAX},
};
use client::Client;
pub(crate) use compotastic_bundle::RECORD_PART;
use coverage::Coverage;
use server::Server;

/// Longest record that travels, in bytes: two frames.
pub const RECORD_MAX: usize = 2 * RECORD_PART;
const _: () = assert!(compotastic_wire::records::capability::MAX_CAPABILITY <= RECORD_MAX);
/// Longest data of a symbol that fits a frame.
pub(crate) const MAX_SYMBOL: usize = 208;
/// Content, its hash entries, and room for alignment.
const STREAM_MAX: usize = PART_MAX + 512;
/// Between two requests for a record that stay without effect; doubles.
pub(crate) const RECORD_AGAIN: Duration = Duration::from_secs(120);
/// A first request for a record waits up to this long, so that the neighbours of one sender do not all ask at once.
pub(crate) const RECORD_JITTER: Duration = Duration::from_secs(30);
/// An object that a neighbour's beacon tells of as whole is asked for after this time: it may be offered first.
pub(crate) const HOLDER_WAIT: Duration = Duration::from_secs(600);
/// One that is somewhere on its way, after this time: it comes by itself where the mesh is at it.
pub(crate) const RUMOUR_WAIT: Duration = Duration::from_secs(7200);
/// A record that nobody gave after so many requests is given up until something names it again.
pub(crate) const RECORD_REQUESTS: u8 = 8;
/// From this request on, a record of which only far nodes tell is asked for by a flood.
pub(crate) const RECORD_FLOODED_FROM: u8 = 1;
/// Answers to a record request wait a random part of this time for one another.
pub(crate) const RECORD_SERVE_JITTER: Duration = Duration::from_secs(15);
/// Symbols kept until their manifest comes: those of two or three minutes.
const EARLY: usize = 8;
/// Manifests that were refused and are not asked for again for a while.
const REFUSED: usize = 8;
/// That while. A refusal hits a tag, and a tag is only what somebody says: a lie must not outlive its liar.
pub(crate) const REFUSED_FOR: Duration = Duration::from_secs(1800);
/// The same for content: until the node starts anew, as good as.
const CONTENT_REFUSED_FOR: Duration = Duration::from_secs(365 * 86_400);
/// Flash that refused an operation is tried again after this time.
pub(crate) const STORAGE_AGAIN: Duration = Duration::from_secs(300);
/// For an object that flash refuses again and again that doubles so often: each try asks neighbours for what is missing.
const STORAGE_DOUBLINGS: u8 = 4;

/// A record being put together from its parts, or held to be passed on.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) tag: u32,
    pub(crate) bytes: Vec<u8, RECORD_MAX>,
    pub(crate) parts_seen: u8,
    pub(crate) complete: bool,
}

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: RecordType,
    pub(crate) tag: u32,
    pub(crate) hop_limit: u8,
    pub(crate) next_part: u8,
    pub(crate) not_before: Instant,
}

/// A record that is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) kind: RecordType,
    pub(crate) tag: u32,
    pub(crate) at: Instant,
    pub(crate) asked: u8,
    /// Only far nodes told of it.
    pub(crate) far: bool,
}

/// Symbols of an object whose manifest has not come yet: they would have to be sent again.
#[derive(Debug, Default)]
pub(crate) struct Early {
    tag: u32,
    symbols: Vec<EarlySymbol, EARLY>,
}

#[derive(Debug)]
struct EarlySymbol {
    generation: u8,
    id: u16,
    data: Vec<u8, MAX_SYMBOL>,
}

impl Early {
    /// Keeps a symbol; the oldest makes room, and another object's make room for this one's. Returns how many there are.
    pub(crate) fn keep(&mut self, symbol: &Symbol<'_>) -> usize {
        if self.tag != symbol.object_tag {
            (self.tag, self.symbols) = (symbol.object_tag, Vec::new());
        }
        let Ok(data) = Vec::from_slice(symbol.data) else { return 0 };
        if self.symbols.is_full() {
            self.symbols.remove(0);
        }
        let kept = EarlySymbol { generation: symbol.generation, id: symbol.symbol, data };
        let _ = self.symbols.push(kept);
        self.symbols.len()
    }
}

/// The object of one component: in force, or on its way.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) manifest: Held,
    /// Its turn has not come, or has passed to a more urgent one.
    pub(crate) queued: bool,
    pub(crate) client: Option<Client>,
    pub(crate) server: Server,
    pub(crate) coverage: Coverage,
    /// The host wants it neither offered nor served ([`Agent::pause_object`]).
    pub(crate) paused: bool,
}

/// Where an object stands at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Its tag.
    pub tag: u32,
    /// How much of it is here, 0 to 255.
    pub progress: u8,
    /// It is held back ([`Agent::pause_object`]).
    pub paused: bool,
}

/// Objects of one node.
#[derive(Debug)]
pub(crate) struct Objects {
    /// One per component, at the same index.
    pub(crate) all: [Object; COMPONENTS],
    /// A manifest that is being put together, or waits for the delegation of its signer.
    pub(crate) incoming: Held,
    pub(crate) delegation: Held,
    /// A delegation that is being put together; the one that holds stays until this one does.
    pub(crate) incoming_delegation: Held,
    pub(crate) revocation: Held,
    pub(crate) outgoing: Vec<Outgoing, 4>,
    pub(crate) wanted_record: Option<Wanted>,
    refused: Vec<(u32, Instant), REFUSED>,
    /// When the manifest that waits in `incoming` is tried again: flash had refused it.
    pub(crate) storage_again: Option<Instant>,
    /// The object that flash has refused, and how often.
    storage_refused: (u32, u8),
    /// The object in `incoming` is of a component that this node lacks; its host was told.
    pub(crate) unplaced: Option<u32>,
    /// When what was revoked is written again: flash had refused it.
    pub(crate) trust_again: Option<Instant>,
    /// Who offered what is in `incoming`.
    pub(crate) offered_by: Option<NodeNum>,
    pub(crate) symbols_sent: u32,
    pub(crate) loss: Loss,
    pub(crate) early: Early,
    pub(crate) rng: Rng,
}

impl Objects {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            all: Default::default(),
            incoming: Held::default(),
            delegation: Held::default(),
            incoming_delegation: Held::default(),
            revocation: Held::default(),
            outgoing: Vec::new(),
            wanted_record: None,
            refused: Vec::new(),
            storage_again: None,
            storage_refused: (0, 0),
            unplaced: None,
            trust_again: None,
            offered_by: None,
            symbols_sent: 0,
            loss: Loss::default(),
            early: Early::default(),
            rng,
        }
    }

    /// The component whose object has this tag.
    pub(crate) fn by_tag(&self, tag: u32) -> Option<usize> {
        self.all.iter().position(|object| object.manifest.complete && object.manifest.tag == tag)
    }

    /// The record that can be passed on under a name.
    pub(crate) fn held(&self, kind: RecordType, tag: u32) -> Option<&Held> {
        match kind {
            RecordType::Manifest => self.by_tag(tag).map(|component| &self.all[component].manifest),
            RecordType::Delegation => Some(&self.delegation).filter(|held| held.complete && held.tag == tag),
            RecordType::Capability
            | RecordType::Revocation
            | RecordType::NodeKey
            | RecordType::KeyRotation
            | RecordType::KeyReceipt
            | RecordType::KeySwitch => None,
        }
    }

    pub(crate) fn is_refused(&self, now: Instant, tag: u32) -> bool {
        self.refused.iter().any(|(refused, until)| *refused == tag && now < *until)
    }

    /// Remembers a refusal; the one that ends first makes room.
    pub(crate) fn refuse(&mut self, now: Instant, tag: u32) {
        self.refuse_for(now, tag, REFUSED_FOR);
    }

    /// What was received whole under a verified manifest and is no good will not be better when it is received again.
    pub(crate) fn refuse_content(&mut self, now: Instant, tag: u32) {
        self.refuse_for(now, tag, CONTENT_REFUSED_FOR);
    }

    fn refuse_for(&mut self, now: Instant, tag: u32, time: Duration) {
        self.refused.retain(|(refused, until)| *refused != tag && now < *until);
        if self.refused.is_full() {
            self.refused.remove(0);
        }
        let _ = self.refused.push((tag, now + time));
    }

    /// Flash has refused an object on its way; how long it is left alone.
    pub(crate) fn storage_refuses(&mut self, tag: u32) -> Duration {
        let (refused, times) = self.storage_refused;
        let times = if refused == tag { times } else { 0 };
        self.storage_refused = (tag, times.saturating_add(1));
        Duration::from_micros(STORAGE_AGAIN.as_micros() << times.min(STORAGE_DOUBLINGS))
    }

    /// An object is whole: flash takes it.
    pub(crate) fn storage_took(&mut self, tag: u32) {
        if self.storage_refused.0 == tag {
            self.storage_refused = (0, 0);
        }
    }

    pub(crate) fn jitter(&mut self, most: Duration) -> Duration {
        jitter(&mut self.rng, most)
    }

    pub(crate) fn queue_record(&mut self, kind: RecordType, tag: u32, hop_limit: u8, not_before: Instant) {
        match self.outgoing.iter_mut().find(|out| (out.kind, out.tag) == (kind, tag)) {
            Some(out) => {
                out.hop_limit = out.hop_limit.max(hop_limit);
                out.not_before = out.not_before.min(not_before);
            }
            None => {
                let _ = self.outgoing.push(Outgoing { kind, tag, hop_limit, next_part: 0, not_before });
            }
        }
    }
}

/// How many symbols are lost on the way here: what a server's count-down skips. Those whom this node serves will lose about as many.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    heard: u16,
    missed: u16,
    /// Server, generation and count of the last symbol.
    last: Option<(NodeNum, u8, u8)>,
}

impl Loss {
    /// The memory: older counts fade by halves.
    const WINDOW: u16 = 128;
    /// Before so many symbols, nothing is said.
    const ENOUGH: u16 = 12;

    pub(crate) fn handle(&mut self, from: NodeNum, generation: u8, more: u8) {
        if let Some((last_from, last_generation, last_more)) = self.last
            && (last_from, last_generation) == (from, generation)
            && last_more > more
        {
            self.heard += 1;
            self.missed += u16::from(last_more - more - 1);
            if self.heard + self.missed > Self::WINDOW {
                self.heard /= 2;
                self.missed /= 2;
            }
        }
        self.last = Some((from, generation, more));
    }

    /// Permille.
    pub(crate) fn permille(&self) -> u32 {
        let all = self.heard + self.missed;
        if all < Self::ENOUGH { 0 } else { u32::from(self.missed) * 1000 / u32::from(all) }
    }
}

/// A random part of a time, to the millisecond.
pub(crate) fn jitter(rng: &mut Rng, most: Duration) -> Duration {
    let most_ms = (most.as_micros() / 1000).clamp(1, u64::from(u32::MAX)) as u32;
    Duration::from_millis(u64::from(rng.below(most_ms)))
}

/// Which kinds go first when several objects are on their way: what is small and steers, before what is large.
pub(crate) const fn rank(kind: ComponentKind) -> u8 {
    match kind {
        ComponentKind::Policy => 0,
        ComponentKind::Model => 1,
        ComponentKind::Logic => 2,
        ComponentKind::Firmware => 3,
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// Publishes a bundle that this node's host has made and signed: it is verified like any other, installed here too
    /// (so that a bad one is noticed before it costs air), and offered to the mesh. One that is in use here already, since
    /// before a restart, is offered again. An empty delegation means that an operator's key signed the manifest. Returns the version.
    pub fn publish(
        &mut self,
        now: Instant,
        delegation: &[u8],
        manifest: &[u8],
        content: &[u8],
    ) -> Result<u16, BundleRefusal> {
        let verified = self.verify_published(now, delegation, manifest)?;
        let mut stream = [0; STREAM_MAX];
        let layout = verified.object().layout;
        let length = layout.stream_len() as usize;
        let stream = stream.get_mut(..length).ok_or(BundleRefusal::Content)?;
        build_stream(content, layout.piece_size(), stream).ok_or(BundleRefusal::Content)?;
        self.publish_verified(now, &verified, delegation, manifest, stream).map(|version| version as u16)
    }

    /// The same for an object of any size, whose stream ([`build_stream`]) the host has made.
    pub fn publish_stream(
        &mut self,
        now: Instant,
        delegation: &[u8],
        manifest: &[u8],
        stream: &[u8],
    ) -> Result<u32, BundleRefusal> {
        let verified = self.verify_published(now, delegation, manifest)?;
        self.publish_verified(now, &verified, delegation, manifest, stream)
    }

    /// Whether a bundle is signed by somebody who may: what [`Self::publish_stream`] asks first.
    pub fn check_bundle(
        &mut self,
        now: Instant,
        delegation: &[u8],
        manifest: &[u8],
    ) -> Result<(), BundleRefusal> {
        self.verify_published(now, delegation, manifest).map(|_| ())
    }

    fn verify_published(
        &mut self,
        now: Instant,
        delegation: &[u8],
        manifest: &[u8],
    ) -> Result<VerifiedManifest, BundleRefusal> {
        if !delegation.is_empty() {
            self.add_trust_record(now, delegation).map_err(|_| BundleRefusal::Delegation)?;
        }
        verify(manifest, &self.config.trust).map_err(BundleRefusal::Manifest)
    }

    fn publish_verified(
        &mut self,
        now: Instant,
        verified: &VerifiedManifest,
        delegation: &[u8],
        manifest: &[u8],
        stream: &[u8],
    ) -> Result<u32, BundleRefusal> {
        let named = self.update.component_for(verified.manifest().kind, verified.manifest().task);
        if let Some(component) = named
            && self.update.holds_object(component)
            && self.update.active_manifest(component).is_some_and(|active| active == *verified.claimed())
        {
            self.offer_published(now, component, verified, delegation, manifest);
            return Ok(verified.manifest().sequence);
        }
        let admitted = self.update.admit(&self.config, verified);
        let component = admitted.map_err(BundleRefusal::Manifest)?;
        self.update.begin(component, &self.config, verified)?;
        let layout = verified.object().layout;
        let source = Encoder::new(layout, verified.object().tag());
        let mut piece = [0; MAX_SYMBOL];
        for generation in (0..layout.generations()).rev() {
            for id in (0..layout.generation_len(generation)).rev() {
                let length = source
                    .symbol(generation, id, &mut SliceSource(stream), &mut piece)
                    .map_err(|_| BundleRefusal::Content)?;
                if let Err(refusal) = self.update.handle_symbol(component, generation, id, &piece[..length]) {
                    self.update.forget(component);
                    return Err(refusal);
                }
            }
        }
        if !self.update.is_complete(component) {
            self.update.forget(component);
            return Err(BundleRefusal::Content);
        }
        let version = self.install(now, component)?;
        self.offer_published(now, component, verified, delegation, manifest);
        // What was on its way before goes on.
        self.next_object(now);
        Ok(version)
    }

    /// Holds an object back, or lets it go on: while it is held back, this node neither offers it nor gives away its manifest or symbols, by
    /// radio or to those near. What it holds stays, and its own missing pieces are still taken. Other nodes that hold a part are not
    /// told and go on with that part; whoever asks here meanwhile gets no answer. A later object of the component, a republication and a
    /// restart lift it. False if no object of this tag is known.
    pub fn pause_object(&mut self, now: Instant, tag: u32, paused: bool) -> bool {
        let Some(component) = self.objects.by_tag(tag) else { return false };
        let object = &mut self.objects.all[component];
        if object.paused == paused {
            return true;
        }
        object.paused = paused;
        if paused {
            object.server.pause();
            self.objects.outgoing.retain(|out| (out.kind, out.tag) != (RecordType::Manifest, tag));
        } else {
            // Whom others were believed to serve, or this node, may have waited in vain.
            object.coverage = Coverage::default();
            self.restart_offer(now, component);
        }
        true
    }

    /// From now on this node has no use of its own for objects: it collects those of its components for devices of all classes, keeps
    /// them and passes them on. It still believes trusted signatures alone, and takes of each component only what is newer than
    /// what it has.
    pub fn carry_objects(&mut self) {
        self.update.set_carries();
    }

    /// Whether there is such a component.
    pub fn has_component(&self, kind: ComponentKind, task: u8) -> bool {
        self.update.component_for(kind, task).is_some()
    }

    /// The newest object of each component, whole or on its way.
    pub fn objects(&self) -> impl Iterator<Item = ObjectState> {
        (0..self.update.components()).filter_map(|component| {
            let object = &self.objects.all[component];
            object.manifest.complete.then(|| ObjectState {
                tag: object.manifest.tag,
                progress: self.update.progress(component),
                paused: object.paused,
            })
        })
    }

    /// The manifest of one of them; it was verified when it was taken.
    pub fn object_manifest(&self, tag: u32) -> Option<ClaimedManifest> {
        let component = self.objects.by_tag(tag)?;
        ClaimedManifest::parse(&self.objects.all[component].manifest.bytes).ok()
    }

    /// Puts a complete object in force and tells the host.
    pub(crate) fn install(&mut self, now: Instant, component: usize) -> Result<u32, BundleRefusal> {
        let version = self.update.install(component, self.config.base.as_ref())?;
        if component == MODEL && !self.update.carries() {
            self.push_event(AgentEvent::ModelActivated { version: version as u16 });
        }
        self.firmware_arrived(now, component);
        Ok(version)
    }

    /// A bundle that is whole here is new to the mesh.
    fn offer_published(
        &mut self,
        now: Instant,
        component: usize,
        verified: &VerifiedManifest,
        delegation: &[u8],
        manifest: &[u8],
    ) {
        let tag = verified.manifest().tag().0;
        let object = &mut self.objects.all[component];
        *object = Object::default();
        object.manifest.fill(tag, manifest);
        if !delegation.is_empty() {
            self.objects.delegation.fill(key_tag(verified.claimed().key_id()), delegation);
        }
        self.restart_offer(now, component);
        self.beacon_soon(now);
    }

    /// Bulk timers that do not send.
    pub(crate) fn handle_object_timeout(&mut self, now: Instant) {
        if self.objects.trust_again.is_some_and(|at| now >= at) {
            self.store_trust(now);
        }
        if self.objects.storage_again.is_some_and(|at| now >= at) {
            self.objects.storage_again = None;
            if self.objects.incoming.complete {
                self.consider_manifest(now);
            }
        }
    }

    /// When bulk has something to do next.
    pub(crate) fn object_timeout(&self) -> Option<Instant> {
        let objects = &self.objects;
        let control = objects
            .all
            .iter()
            .flat_map(|object| [object.client.as_ref().map(|client| client.at), object.server.offer_at()])
            .chain([
                objects.wanted_record.map(|wanted| wanted.at),
                objects.storage_again,
                objects.trust_again,
            ])
            .flatten()
            .min();
        let bulk = objects
            .all
            .iter()
            .map(|object| object.server.due())
            .chain([objects.outgoing.iter().map(|out| out.not_before).min()])
            .flatten()
            .min()
            .map(|due| due.max(self.governor.allowed_at()));
        [control, bulk].into_iter().flatten().min()
    }

    /// The next bulk frame, when none waits in the radio's queue.
    pub(crate) fn poll_bulk(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        if link.bulk_queued {
            return None;
        }
        let control = self
            .poll_record_request(now)
            .or_else(|| self.poll_symbol_request(now))
            .or_else(|| self.poll_offer_of_object(now))
            .or_else(|| self.poll_record(now, true));
        let out = match control {
            Some(out) => out,
            None if self.governor.allows() => {
                self.poll_record(now, false).or_else(|| self.poll_symbol(now, link))?
            }
            None => return None,
        };
        // A flood is paid for by all who repeat it.
        let times = if out.hop_limit > 0 { server::FLOOD_COST } else { 1 };
        let airtime = link.time_on_air(out.payload.len()).as_micros();
        self.governor.spend(Duration::from_micros(airtime * times));
        Some(out)
    }
}

impl Held {
    pub(crate) fn fill(&mut self, tag: u32, bytes: &[u8]) {
        self.tag = tag;
        self.bytes.clear();
        self.complete = self.bytes.extend_from_slice(bytes).is_ok();
        self.parts_seen = u8::MAX;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn parts(&self) -> u8 {
        self.bytes.len().div_ceil(RECORD_PART) as u8
    }

    pub(crate) fn part(&self, index: u8) -> &[u8] {
        let start = usize::from(index) * RECORD_PART;
        self.bytes.get(start..(start + RECORD_PART).min(self.bytes.len())).unwrap_or_default()
    }

    /// Takes a part in; true when the record is whole. Parts come in any order, and in any repetition.
    pub(crate) fn take(&mut self, record: &Record<'_>) -> bool {
        if self.tag != record.tag || self.parts_seen == u8::MAX && !self.complete {
            *self = Self { tag: record.tag, ..Self::default() };
        }
        if self.complete {
            return false;
        }
        let start = usize::from(record.part) * RECORD_PART;
        let end = start + record.bytes.len();
        let last = record.part + 1 == record.parts;
        if record.part >= record.parts || record.parts > 2 || end > RECORD_MAX {
            return false;
        }
        if !last && record.bytes.len() != RECORD_PART {
            return false;
        }
        if self.bytes.len() < end && self.bytes.resize(end, 0).is_err() {
            return false;
        }
        self.bytes[start..end].copy_from_slice(record.bytes);
        self.parts_seen |= 1 << record.part;
        self.complete = self.parts_seen == (1 << record.parts) - 1;
        self.complete
    }
}

/// The tag under which the delegation of a key is asked for.
pub(crate) fn key_tag(key: KeyId) -> u32 {
    u32::from_le_bytes([key.0[0], key.0[1], key.0[2], key.0[3]])
}
