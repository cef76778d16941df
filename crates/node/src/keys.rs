//! Key rotation: how a member gets the keys of the next epoch, and when they come into force.
//!
//! An operator's node asks the members for their X25519 keys ([`Agent::ask_node_keys`]), and its host makes a record for each that
//! remains ([`compotastic_wire::records::rotation`]). [`Rollout`] brings them there, one frame each, and again until the receipt comes. When all
//! have theirs, or shortly before the deadline, it tells the swarm that the keys come into force in so many seconds; whoever misses that
//! changes at the deadline, or when it hears the first frame of the new epoch. The one that was left out has no key of the new epoch: it
//! cannot seal a frame, and with the new channel key it reads none. Frames of the old epoch are taken for [`PREVIOUS_FOR`] more, for those
//! who change last, and refused then.
//!
//! A host keeps what [`Agent::epoch_keys`] says over restarts, and gives the radio the new channel key at
//! [`AgentEvent::KeysSwitched`]. An old rotation is refused by its epoch and by its number.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{
    self as wire, Frame, Record, RecordRequest, RecordType, SwarmKey,
    records::{
        record_hash,
        rotation::{MAX_ROTATION, NewKeys, Rotation},
    },
};
use embedded_storage::nor_flash::NorFlash;
use heapless::{Deque, Vec};

use crate::agent::{Agent, AgentEvent, InFrame, OutFrame};

/// Frames of the epoch before are taken for so long after the change.
pub const PREVIOUS_FOR: Duration = Duration::from_secs(3600);
/// Operators of a swarm.
const OPERATORS: usize = 3;
/// Records that may wait to be sent.
const OUTGOING: usize = 4;
/// Members answer the question for their keys within this time, so that they do not all speak at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// A deadline is never farther than this, whatever a record says.
const DEADLINE_MAX_S: u32 = 7 * 24 * 3600;

/// Who this node is to its operators.
#[derive(Clone)]
pub struct Identity {
    /// The swarm.
    pub swarm_id: [u8; 8],
    /// Its X25519 private key, drawn once and kept.
    pub secret: [u8; 32],
    /// Its public key.
    pub public: [u8; 32],
    /// Ed25519 keys of the operators.
    pub operators: Vec<[u8; 32], OPERATORS>,
    /// Number of the last rotation that was taken; 0 = none.
    pub last_number: u32,
}

/// Keys that wait to come into force, or are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochKeys {
    /// Their epoch.
    pub epoch: u8,
    /// Number of the rotation that brought them.
    pub number: u32,
    /// The keys.
    pub keys: NewKeys,
    /// When they come into force.
    pub switch_at: Instant,
}

#[derive(Clone, Debug)]
struct Out {
    to: NodeNum,
    kind: RecordType,
    tag: u32,
    bytes: Vec<u8, MAX_ROTATION>,
}

pub(crate) struct Rekeying {
    identity: Identity,
    announce_at: Option<Instant>,
    asks: bool,
    pending: Option<EpochKeys>,
    forget_at: Option<Instant>,
    outgoing: Deque<Out, OUTGOING>,
}

impl Rekeying {
    fn push(&mut self, out: Out) -> bool {
        self.outgoing.push_back(out).is_ok()
    }
}

fn switch_bytes(epoch: u8, number: u32, in_s: u16) -> [u8; 7] {
    let (n, s) = (number.to_le_bytes(), in_s.to_le_bytes());
    [epoch, n[0], n[1], n[2], n[3], s[0], s[1]]
}

impl<F: NorFlash> Agent<'_, F> {
    /// From now on this node takes rotations. `pending` is what waited before a restart.
    pub fn set_identity(&mut self, identity: Identity, pending: Option<EpochKeys>) {
        let rekeying = Rekeying {
            identity,
            announce_at: None,
            asks: false,
            pending,
            forget_at: None,
            outgoing: Deque::new(),
        };
        self.rekeying = Some(rekeying);
    }

    /// The epoch that is in force, and its key.
    pub fn epoch_keys(&self) -> (u8, &SwarmKey) {
        (self.config.keys.epoch(), self.config.keys.present())
    }

    /// The keys that wait to come into force.
    pub fn pending_keys(&self) -> Option<&EpochKeys> {
        self.rekeying.as_ref()?.pending.as_ref()
    }

    /// Number of the last rotation that was taken.
    pub fn last_rotation(&self) -> u32 {
        self.rekeying.as_ref().map_or(0, |rekeying| rekeying.identity.last_number)
    }

    /// Asks all members for their X25519 keys: [`AgentEvent::NodeKey`] tells them.
    pub fn ask_node_keys(&mut self) {
        if let Some(rekeying) = &mut self.rekeying {
            rekeying.asks = true;
        }
    }

    /// Sends a member its record; false where others wait to be sent.
    pub fn send_rotation(&mut self, to: NodeNum, record: &[u8]) -> bool {
        let Ok(bytes) = Vec::from_slice(record) else { return false };
        let tag = record_hash(record);
        let out = Out { to, kind: RecordType::KeyRotation, tag, bytes };
        self.rekeying.as_mut().is_some_and(|rekeying| rekeying.push(out))
    }

    /// Tells the swarm that the keys come into force in so many seconds; false where others wait to be sent.
    pub fn send_switch(&mut self, epoch: u8, number: u32, in_s: u16) -> bool {
        let Ok(bytes) = Vec::from_slice(&switch_bytes(epoch, number, in_s)) else { return false };
        let out = Out { to: NodeNum::BROADCAST, kind: RecordType::KeySwitch, tag: number, bytes };
        self.rekeying.as_mut().is_some_and(|rekeying| rekeying.push(out))
    }

    /// The operator's own node has the keys that it gives to others.
    pub fn adopt_keys(&mut self, keys: EpochKeys) {
        if let Some(rekeying) = &mut self.rekeying {
            rekeying.identity.last_number = keys.number;
            rekeying.pending = Some(keys);
        }
    }

    /// A frame of the next epoch was heard: somebody has changed already. True if this node has too, now.
    pub(crate) fn consider_new_epoch(&mut self, now: Instant, incoming: &InFrame<'_>) {
        let Some(pending) = self.pending_keys() else { return };
        if incoming.payload.get(1) != Some(&pending.epoch) {
            return;
        }
        let mut ring = self.config.keys.clone();
        ring.rotate(pending.keys.swarm_key.clone());
        let opens = |to: NodeNum| {
            let address = wire::Address { from: incoming.from.0, to: to.0, id: incoming.id };
            wire::open(incoming.payload, &ring, &address).is_ok()
        };
        if opens(incoming.to) || incoming.to == NodeNum::BROADCAST && opens(self.config.num) {
            self.switch_keys(now);
        }
    }

    fn switch_keys(&mut self, now: Instant) {
        let Some(rekeying) = &mut self.rekeying else { return };
        let Some(pending) = rekeying.pending.take() else { return };
        self.config.keys.rotate(pending.keys.swarm_key.clone());
        rekeying.forget_at = Some(now + PREVIOUS_FOR);
        self.push_event(AgentEvent::KeysSwitched {
            epoch: pending.epoch,
            channel_key: pending.keys.channel_key,
        });
    }

    /// Times at which keys change, and old ones go.
    pub(crate) fn expire_keys(&mut self, now: Instant) {
        if self.pending_keys().is_some_and(|pending| now >= pending.switch_at) {
            self.switch_keys(now);
        }
        if let Some(rekeying) = &mut self.rekeying
            && rekeying.forget_at.is_some_and(|at| now >= at)
        {
            rekeying.forget_at = None;
            self.config.keys.forget_previous();
        }
    }

    /// A member asks for this node's key, or an operator does.
    pub(crate) fn handle_key_request(&mut self, now: Instant) {
        let wait_ms = self.rng.below(ANSWER_WITHIN.as_millis() as u32);
        if let Some(rekeying) = &mut self.rekeying {
            rekeying.announce_at = Some(now + Duration::from_millis(wait_ms.into()));
        }
    }

    /// A record about keys. True if it was one.
    pub(crate) fn handle_key_record(
        &mut self,
        now: Instant,
        incoming: &InFrame<'_>,
        record: &Record<'_>,
    ) -> bool {
        match record.record_type {
            RecordType::NodeKey => {
                if let Ok(public) = <[u8; 32]>::try_from(record.bytes) {
                    self.push_event(AgentEvent::NodeKey { from: incoming.from, public });
                }
            }
            RecordType::KeyRotation => self.handle_rotation(now, incoming.from, record),
            RecordType::KeyReceipt => {
                if let &[epoch, a, b, c, d] = record.bytes {
                    let number = u32::from_le_bytes([a, b, c, d]);
                    self.push_event(AgentEvent::KeyReceipt { from: incoming.from, epoch, number });
                }
            }
            RecordType::KeySwitch => self.handle_switch(now, record.bytes),
            _ => return false,
        }
        true
    }

    fn handle_rotation(&mut self, now: Instant, from: NodeNum, record: &Record<'_>) {
        let epoch = self.config.keys.epoch();
        let num = self.config.num;
        let Some(rekeying) = &mut self.rekeying else { return };
        let Ok(rotation) = Rotation::decode(record.bytes, &rekeying.identity.operators) else { return };
        let head = rotation.head;
        if head.swarm_id != rekeying.identity.swarm_id || head.member != num.0 {
            return;
        }
        let known = head.number == rekeying.identity.last_number;
        if !known {
            if head.number < rekeying.identity.last_number || head.epoch != epoch.wrapping_add(1) {
                return;
            }
            let Some(keys) = rotation.open(&rekeying.identity.secret) else { return };
            let deadline = Duration::from_secs(head.deadline_s.min(DEADLINE_MAX_S).into());
            rekeying.identity.last_number = head.number;
            rekeying.pending =
                Some(EpochKeys { epoch: head.epoch, number: head.number, keys, switch_at: now + deadline });
        }
        // The receipt may have been lost: it is told again, and costs one frame.
        let n = head.number.to_le_bytes();
        let bytes = Vec::from_slice(&[head.epoch, n[0], n[1], n[2], n[3]]).unwrap_or_default();
        // Where others wait to be sent the record comes again, and its receipt then.
        rekeying.push(Out { to: from, kind: RecordType::KeyReceipt, tag: record.tag, bytes });
        if !known {
            self.push_event(AgentEvent::KeysPending { epoch: head.epoch });
        }
    }

    fn handle_switch(&mut self, now: Instant, bytes: &[u8]) {
        let &[epoch, a, b, c, d, s, t] = bytes else { return };
        let number = u32::from_le_bytes([a, b, c, d]);
        let at = now + Duration::from_secs(u16::from_le_bytes([s, t]).into());
        let pending = self.rekeying.as_mut().and_then(|rekeying| rekeying.pending.as_mut());
        if let Some(pending) = pending
            && (pending.epoch, pending.number) == (epoch, number)
        {
            pending.switch_at = pending.switch_at.min(at);
        }
    }

    /// The next frame about keys.
    pub(crate) fn poll_keys(&mut self, now: Instant) -> Option<OutFrame> {
        let hops = self.config.hop_limit;
        let rekeying = self.rekeying.as_mut()?;
        if core::mem::take(&mut rekeying.asks) {
            let frame = Frame::RecordRequest(RecordRequest { record_type: RecordType::NodeKey, tag: 0 });
            return self.seal(&frame, NodeNum::BROADCAST, hops, false, Gate::Normal, QueuePriority::Default);
        }
        if rekeying.announce_at.is_some_and(|at| now >= at) {
            rekeying.announce_at = None;
            let public = rekeying.identity.public;
            let tag = u32::from_le_bytes([public[0], public[1], public[2], public[3]]);
            let record = Record { record_type: RecordType::NodeKey, part: 0, parts: 1, tag, bytes: &public };
            let frame = Frame::Record(record);
            return self.seal(&frame, NodeNum::BROADCAST, hops, false, Gate::Normal, QueuePriority::Default);
        }
        let out = rekeying.outgoing.pop_front()?;
        let record = Record { record_type: out.kind, part: 0, parts: 1, tag: out.tag, bytes: &out.bytes };
        let want_ack = out.to != NodeNum::BROADCAST;
        self.seal(&Frame::Record(record), out.to, hops, want_ack, Gate::Normal, QueuePriority::Reliable)
    }

    /// When something about keys is due.
    pub(crate) fn keys_timeout(&self) -> Option<Instant> {
        let rekeying = self.rekeying.as_ref()?;
        let now = rekeying.asks || !rekeying.outgoing.is_empty();
        [
            now.then_some(Instant::ZERO),
            rekeying.announce_at,
            rekeying.pending.as_ref().map(|pending| pending.switch_at),
            rekeying.forget_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// First wait for a receipt; it doubles.
const AGAIN: Duration = Duration::from_secs(60);
const AGAIN_DOUBLINGS: u8 = 4;
/// Time between two members' records: each is a flood of its own.
const PACE: Duration = Duration::from_secs(15);
/// The change is told so long before, several times.
const NOTICE_S: [u16; 3] = [180, 110, 50];

/// What an operator's node says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say<'a> {
    /// A member's record: [`Agent::send_rotation`].
    Record(NodeNum, &'a [u8]),
    /// The notice: [`Agent::send_switch`].
    Switch {
        /// Seconds until the change.
        in_s: u16,
    },
}

#[derive(Clone, Debug)]
struct Member {
    num: NodeNum,
    record: Vec<u8, MAX_ROTATION>,
    received: bool,
    tries: u8,
    next_at: Instant,
}

/// Brings a rotation to at most `N` members.
#[derive(Clone, Debug)]
pub struct Rollout<const N: usize> {
    number: u32,
    deadline: Instant,
    members: Vec<Member, N>,
    next_at: Instant,
    /// When the keys come into force, once that is settled, and notices that were given.
    switch: Option<(Instant, usize)>,
}

impl<const N: usize> Rollout<N> {
    /// A rotation that comes into force at `deadline` at the latest.
    pub fn new(number: u32, now: Instant, deadline: Instant) -> Self {
        Self { number, deadline, members: Vec::new(), next_at: now, switch: None }
    }

    /// Adds a member and its record; false if there is no room.
    pub fn add(&mut self, now: Instant, num: NodeNum, record: &[u8]) -> bool {
        let Ok(record) = Vec::from_slice(record) else { return false };
        self.members.push(Member { num, record, received: false, tries: 0, next_at: now }).is_ok()
    }

    /// A receipt came.
    pub fn handle_receipt(&mut self, from: NodeNum, number: u32) {
        if let Some(member) =
            self.members.iter_mut().find(|member| member.num == from && number == self.number)
        {
            member.received = true;
        }
    }

    /// Members whose receipt is missing.
    pub fn missing(&self) -> impl Iterator<Item = NodeNum> {
        self.members.iter().filter(|member| !member.received).map(|member| member.num)
    }

    /// When the keys come into force, once that is settled.
    pub fn switch_at(&self) -> Option<Instant> {
        self.switch.map(|(at, _)| at)
    }

    /// What to say next, if it is time. What the agent does not take is said again later.
    pub fn poll(&mut self, now: Instant) -> Option<Say<'_>> {
        let notice = Duration::from_secs(NOTICE_S[0].into());
        if self.switch.is_none() && (self.missing().next().is_none() || now + notice >= self.deadline) {
            self.switch = Some((now + notice, 0));
        }
        if let Some((at, given)) = &mut self.switch {
            let in_s = *NOTICE_S.get(*given)?;
            if now + Duration::from_secs(in_s.into()) < *at {
                return None;
            }
            *given += 1;
            return Some(Say::Switch {
                in_s: at.saturating_duration_since(now).as_secs().min(65_535) as u16,
            });
        }
        if now < self.next_at {
            return None;
        }
        let member = self.members.iter_mut().filter(|member| !member.received && now >= member.next_at);
        let member = member.min_by_key(|member| (member.next_at, member.num))?;
        let wait = Duration::from_micros(AGAIN.as_micros() << member.tries.min(AGAIN_DOUBLINGS));
        member.next_at = now + wait;
        member.tries = member.tries.saturating_add(1);
        self.next_at = now + PACE;
        Some(Say::Record(member.num, &member.record))
    }

    /// When to call [`Self::poll`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let notice = Duration::from_secs(NOTICE_S[0].into());
        match self.switch {
            Some((at, given)) => Some(at - Duration::from_secs((*NOTICE_S.get(given)?).into())),
            None if self.missing().next().is_none() => Some(Instant::ZERO),
            None => {
                let next =
                    self.members.iter().filter(|member| !member.received).map(|member| member.next_at).min();
                next.map(|at| at.max(self.next_at).min(self.deadline - notice))
            }
        }
    }
}
