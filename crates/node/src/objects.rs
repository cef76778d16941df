//! One file, many receivers: how a bundle spreads from neighbour to neighbour.
//!
//! 1. The publisher floods the delegation of its key and the signed manifest once.
//! 2. A node that verified the manifest and lacks pieces asks its neighbours ([`Asking`]): a zero-hop broadcast that
//!    says how many symbols it still needs. Whoever hears such a request from another node holds its own back,
//!    because the symbols that follow will be heard here too.
//! 3. A node that holds the object answers with coded symbols ([`Serving`]), zero-hop. Several may have heard the
//!    request: each waits a random time, and one that hears symbols of the object meanwhile stays silent, unless the
//!    same requester asks again, which shows that it does not hear that other sender.
//! 4. A node that has completed the object tells so in its beacon; neighbours that lack it ask by themselves.
//!
//! A node that missed the manifest learns of it from a beacon or a symbol with a tag it does not know; one that missed the
//! delegation learns so from the manifest. It asks its neighbours for the record ([`Wanted`]), zero-hop; one of those that
//! hold it answers, zero-hop, and the others stay silent. All this is bulk: behind the 25 % gate, paced by the governor.

use compotastic_bundle::{Encoder, KeyId, SliceSource, VerifiedManifest, build_stream, verify};
use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_wire::{Record, RecordType};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, AgentEvent, BundleRefusal},
    governor::Governor,
    update::PART_MAX,
};

/// Bytes of a record in one frame.
pub(crate) const RECORD_PART: usize = 180;
/// Longest record that travels, in bytes: two frames.
pub const RECORD_MAX: usize = 2 * RECORD_PART;
const _: () = assert!(compotastic_wire::records::capability::MAX_CAPABILITY <= RECORD_MAX);
/// Longest data of a symbol that fits a frame.
pub(crate) const MAX_SYMBOL: usize = 186;
/// Content, its hash entries, and room for alignment.
const STREAM_MAX: usize = PART_MAX + 512;
/// A first request waits up to this long, so that the neighbours of one sender do not all ask at once.
pub(crate) const ASK_JITTER: Duration = Duration::from_secs(20);
/// Without symbols for this long, the sender has stopped and the rest is asked for.
pub(crate) const SYMBOLS_QUIET: Duration = Duration::from_secs(75);
/// Between two requests that stay without effect; doubles up to [`ASK_AGAIN_MAX`].
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(90);
pub(crate) const ASK_AGAIN_MAX: Duration = Duration::from_secs(1800);
/// Between two requests for a record that stay without effect; doubles.
pub(crate) const RECORD_AGAIN: Duration = Duration::from_secs(30);
/// A record that nobody gave after so many requests is given up until something names it again.
pub(crate) const RECORD_REQUESTS: u8 = 8;
/// Servers of one request wait a random part of this time for one another.
pub(crate) const SERVE_JITTER: Duration = Duration::from_secs(15);
/// A server that stayed silent in favour of another remembers the requester for this long.
pub(crate) const YIELD_MEMORY: Duration = Duration::from_secs(1200);
/// Symbol ids from here on are coded.
pub(crate) const CODED_FROM: u16 = 256;
/// Manifests that were refused and are not asked for again for a while.
const REFUSED: usize = 8;
/// That while. A refusal hits a tag, and a tag is only what somebody says: a lie must not outlive its liar.
pub(crate) const REFUSED_FOR: Duration = Duration::from_secs(1800);
/// Flash that refused an operation is tried again after this time.
pub(crate) const STORAGE_AGAIN: Duration = Duration::from_secs(300);

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
    pub(crate) to: NodeNum,
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
}

/// A node lacks pieces and asks for them.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) at: Instant,
    pub(crate) asked: u8,
    pub(crate) last_symbol: Instant,
    /// When somebody else asked last: his symbols will come here too.
    pub(crate) other_asked: Instant,
}

/// A node gives symbols.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) requester: NodeNum,
    pub(crate) generation: u8,
    pub(crate) owed: u16,
    pub(crate) begin_at: Instant,
    pub(crate) begun: bool,
    /// The requester asked before and we left it to another, whom it evidently does not hear.
    pub(crate) insists: bool,
    /// Pieces still to be sent as they are, from the last (it holds the hashes) to the first; then combinations.
    pub(crate) plain_left: u16,
    /// Pieces asked for as they are; bit n for piece n.
    pub(crate) asked_plain: [u8; 32],
}

/// Objects of one node: one manifest at a time, its pieces here or on their way.
#[derive(Debug)]
pub(crate) struct Objects {
    /// The manifest in force: of the object that is here or on its way.
    pub(crate) manifest: Held,
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
    pub(crate) asking: Option<Asking>,
    pub(crate) serving: Option<Serving>,
    pub(crate) yielded: Option<(NodeNum, Instant)>,
    pub(crate) rng: Rng,
}

impl Objects {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            manifest: Held::default(),
            incoming: Held::default(),
            delegation: Held::default(),
            incoming_delegation: Held::default(),
            revocation: Held::default(),
            outgoing: Vec::new(),
            wanted_record: None,
            refused: Vec::new(),
            storage_again: None,
            asking: None,
            serving: None,
            yielded: None,
            rng,
        }
    }

    /// The record of a kind that can be passed on.
    pub(crate) fn held(&self, kind: RecordType) -> Option<&Held> {
        let held = match kind {
            RecordType::Manifest => &self.manifest,
            RecordType::Delegation => &self.delegation,
            RecordType::Capability | RecordType::Revocation => return None,
        };
        held.complete.then_some(held)
    }

    pub(crate) fn is_refused(&self, now: Instant, tag: u32) -> bool {
        self.refused.iter().any(|(refused, until)| *refused == tag && now < *until)
    }

    /// Remembers a refusal; the one that ends first makes room.
    pub(crate) fn refuse(&mut self, now: Instant, tag: u32) {
        self.refused.retain(|(refused, until)| *refused != tag && now < *until);
        if self.refused.is_full() {
            self.refused.remove(0);
        }
        let _ = self.refused.push((tag, now + REFUSED_FOR));
    }

    pub(crate) fn jitter(&mut self, most: Duration) -> Duration {
        let most_ms = (most.as_micros() / 1000).clamp(1, u64::from(u32::MAX)) as u32;
        Duration::from_millis(u64::from(self.rng.below(most_ms)))
    }

    pub(crate) fn queue_record(&mut self, kind: RecordType, to: NodeNum, hop_limit: u8, not_before: Instant) {
        let same = |out: &Outgoing| out.kind == kind && out.hop_limit == hop_limit;
        if !self.outgoing.iter().any(same) {
            let _ = self.outgoing.push(Outgoing { kind, to, hop_limit, next_part: 0, not_before });
        }
    }

    /// When bulk has something to do next, if the governor lets it.
    pub(crate) fn poll_timeout(&self, governor: &Governor) -> Option<Instant> {
        let due = [
            self.outgoing.iter().map(|out| out.not_before).min(),
            self.wanted_record.map(|wanted| wanted.at),
            self.asking.as_ref().map(|asking| asking.at),
            self.storage_again,
            self.serving.as_ref().map(|serving| serving.begin_at),
        ]
        .into_iter()
        .flatten()
        .min()?;
        Some(due.max(governor.allowed_at()))
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// Publishes a bundle that this node's host has made and signed: it is verified like any other, installed here too
    /// (so that a bad one is noticed before it costs air), and offered to the mesh. One that is in use here already, since
    /// before a restart, is offered again.
    pub fn publish(
        &mut self,
        now: Instant,
        delegation: &[u8],
        manifest: &[u8],
        content: &[u8],
    ) -> Result<u16, BundleRefusal> {
        self.config.trust.add_record(delegation).map_err(|_| BundleRefusal::Delegation)?;
        let verified = verify(manifest, &self.config.trust).map_err(BundleRefusal::Manifest)?;
        if let Some(version) = self.update.active_version()
            && self.update.active_manifest().is_some_and(|active| active == *verified.claimed())
        {
            self.offer(now, &verified, delegation, manifest);
            return Ok(version);
        }
        self.update.begin(&self.config, &verified)?;
        let mut stream = [0; STREAM_MAX];
        let layout = verified.object().layout;
        let length = layout.stream_len() as usize;
        let stream = stream.get_mut(..length).ok_or(BundleRefusal::Content)?;
        build_stream(content, layout.piece_size(), stream).ok_or(BundleRefusal::Content)?;
        let source = Encoder::new(layout, verified.manifest().tag());
        let mut piece = [0; MAX_SYMBOL];
        for generation in (0..layout.generations()).rev() {
            for id in (0..layout.generation_len(generation)).rev() {
                let length = source
                    .symbol(generation, id, &mut SliceSource(stream), &mut piece)
                    .map_err(|_| BundleRefusal::Content)?;
                self.update.handle_symbol(generation, id, &piece[..length])?;
            }
        }
        let version = self.update.install(self.config.base.as_ref())?;
        self.push_event(AgentEvent::ModelActivated { version });
        self.offer(now, &verified, delegation, manifest);
        Ok(version)
    }

    /// Floods the records of a bundle that is whole here.
    fn offer(&mut self, now: Instant, verified: &VerifiedManifest, delegation: &[u8], manifest: &[u8]) {
        self.objects.manifest.fill(verified.manifest().tag().0, manifest);
        self.objects.delegation.fill(key_tag(verified.claimed().key_id()), delegation);
        let hops = self.config.hop_limit;
        self.objects.queue_record(RecordType::Delegation, NodeNum::BROADCAST, hops, now);
        self.objects.queue_record(RecordType::Manifest, NodeNum::BROADCAST, hops, now);
        self.beacon_soon(now);
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
