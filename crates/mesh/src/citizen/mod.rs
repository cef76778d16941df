//! What makes a node on the router a full Meshtastic node: who it is and whom it knows, direct messages under public keys, signatures,
//! and the stock modules' answers.
//!
//! # Calling contract
//!
//! A citizen has no router of its own: each call is given the one that it belongs to, which [`Citizen::new`] has set to leave the
//! answers to it. Its host hands over what the router tells ([`Citizen::handle_event`]), then lets it send ([`Citizen::poll`], with a
//! source of packet ids), and drains [`Citizen::poll_event`]. Ids must never come twice from the same node: with the key they make
//! the cipher's stream. [`crate::native`] is both in one.

mod modules;
mod receive;
mod send;
mod types;

use heapless::{Deque, Vec};

pub use self::types::{CitizenConfig, CitizenEvent, Message, TEXT_PORT, error};
use crate::{
    modules::PeriodicBroadcasts,
    nodedb::{Node, NodeDb, Position, User},
    packet::{MAX_PAYLOAD, NodeNum, PacketId},
    rng::Rng,
    router::{Gate, Priority, Router, RouterEvent},
    time::{Duration, Instant},
    xeddsa::Signer,
};

/// Answers that wait to be sent.
const DRAFTS: usize = 4;
/// Events that may wait for the host; the oldest is lost when it does not drain.
const EVENTS: usize = 8;
/// Packets of the host whose fate is told; one more makes the oldest count as failed.
const OPEN: usize = 16;
/// What is not heard of for so long has failed: a relay took it, and the router waits for nothing more.
const OPEN_FOR: Duration = Duration::from_secs(300);
/// Packets whose answer is given again when they are repeated.
const ANSWERED: usize = 8;
/// Nodes that were told who this one is.
const TOLD: usize = 8;
/// Each of them again after this time.
const TOLD_AGAIN: Duration = Duration::from_secs(300);
/// And all together once in this time.
const TOLD_EACH: Duration = Duration::from_secs(30);
/// Answers that anybody can ask for at once, and the time after which there is one more. Answers cost air, and who asks is not proven.
const ANSWERS: u32 = 6;
const ANSWER_EACH: Duration = Duration::from_secs(20);
/// Nodes heard of within this time count as online.
const ONLINE: Duration = Duration::from_secs(2 * 3600);

/// An answer that waits for a packet id and the router.
#[derive(Clone, Debug)]
struct Draft {
    to: NodeNum,
    channel: u8,
    port: u16,
    payload: Vec<u8, MAX_PAYLOAD>,
    want_ack: bool,
    want_response: bool,
    request_id: Option<u32>,
    hop_limit: u8,
    priority: Priority,
    gate: Gate,
}

/// A packet that was acknowledged or refused.
#[derive(Clone, Copy, Debug)]
struct Answered {
    from: NodeNum,
    id: PacketId,
    channel: u8,
    hop_limit: u8,
    error: u32,
}

/// The citizen.
#[derive(Debug)]
pub struct Citizen {
    num: NodeNum,
    config: CitizenConfig,
    signer: Option<Signer>,
    db: NodeDb,
    periodic: PeriodicBroadcasts,
    rng: Rng,
    started: Instant,
    /// Seconds since 1970 at a time of this node's.
    clock: Option<(Instant, u32)>,
    position: Option<Position>,
    battery_percent: Option<u8>,
    voltage_mv: Option<u16>,
    drafts: Deque<Draft, DRAFTS>,
    answered: Deque<Answered, ANSWERED>,
    told: Deque<(NodeNum, Instant), TOLD>,
    /// Answers that are left, and since when they are counted.
    answers: (u32, Instant),
    open: Deque<(PacketId, Instant), OPEN>,
    events: Deque<CitizenEvent, EVENTS>,
    refused: u32,
    quiet: bool,
    counted: Counted,
}

/// Packets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sent, relayed ones included.
    pub sent: u32,
    /// Relayed.
    pub relayed: u32,
    /// Received and readable.
    pub received: u32,
}

impl Citizen {
    /// Settles on this router: it leaves the answers to the citizen from now on.
    pub fn new(mut config: CitizenConfig, router: &mut Router, seed: u64, now: Instant) -> Self {
        router.set_owner_answers();
        let settings = router.config();
        config.user.public_key = config.keys.as_ref().map(|keys| *keys.public());
        config.user.role = settings.role as u32;
        let modem = settings.preset.modem(settings.region.wide());
        // Meshtastic's congestion scaling: 2^SF / (bandwidth in kHz * 100) per node above 40.
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        let periodic =
            PeriodicBroadcasts::soon(settings.num, settings.role, &config.periods, scale_ppm, seed, now);
        Self {
            num: settings.num,
            signer: config.keys.as_ref().map(Signer::new),
            config,
            db: NodeDb::default(),
            periodic,
            rng: Rng::from_seed(seed).child(0x6369_7469),
            started: now,
            clock: None,
            position: None,
            battery_percent: None,
            voltage_mv: None,
            drafts: Deque::new(),
            answered: Deque::new(),
            told: Deque::new(),
            answers: (ANSWERS, now),
            open: Deque::new(),
            events: Deque::new(),
            refused: 0,
            quiet: false,
            counted: Counted::default(),
        }
    }

    /// Its settings.
    pub fn config(&self) -> &CitizenConfig {
        &self.config
    }

    /// Another name; keys and role stay.
    pub fn set_user(&mut self, user: User) {
        let (public_key, role) = (self.config.user.public_key, self.config.user.role);
        self.config.user = User { public_key, role, ..user };
    }

    /// Where this node is.
    pub fn set_position(&mut self, position: Option<Position>) {
        self.position = position;
    }

    /// The state of its battery; 101 percent: powered from outside.
    pub fn set_power(&mut self, battery_percent: Option<u8>, voltage_mv: Option<u16>) {
        (self.battery_percent, self.voltage_mv) = (battery_percent, voltage_mv);
    }

    /// In quiet hours it says nothing by itself and answers no questions; what is due goes when they are over. It still acknowledges and
    /// refuses, since who hears nothing repeats.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Drops answers that wait for nodes that are not to have any now; acknowledgements stay.
    pub fn retain_answers(&mut self, mut may_have: impl FnMut(NodeNum) -> bool) {
        let keeps = |draft: &Draft| {
            draft.to == NodeNum::BROADCAST || draft.priority == Priority::Ack || may_have(draft.to)
        };
        self.drafts.retain(keeps);
    }

    /// What time it is, seconds since 1970. Until it is told, positions and telemetry have none.
    pub fn set_clock(&mut self, now: Instant, unix_s: u32) {
        self.clock = Some((now, unix_s));
    }

    fn unix_s(&self, now: Instant) -> u32 {
        self.clock.map_or(0, |(at, unix_s)| {
            unix_s.saturating_add(now.saturating_duration_since(at).as_secs() as u32)
        })
    }

    /// Whom it knows.
    pub fn nodes(&self) -> &NodeDb {
        &self.db
    }

    /// The same, to restore it and to change what its owner decides.
    pub fn nodes_mut(&mut self) -> &mut NodeDb {
        &mut self.db
    }

    /// A node that is known.
    pub fn node(&self, num: NodeNum) -> Option<&Node> {
        self.db.get(num)
    }

    /// Packets that were dropped: a wrong signature, or none where the policy asks for one.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// Packets since the start.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// The router tells something.
    pub fn handle_event(&mut self, now: Instant, router: &mut Router, event: RouterEvent) {
        match event {
            RouterEvent::Received(packet) => self.handle_packet(now, router, packet),
            RouterEvent::Sealed(sealed) => self.handle_sealed(now, router, &sealed),
            RouterEvent::Duplicate { from, id } => self.answer_again(from, id),
            RouterEvent::Acked { id } if self.take_open(id) => self.push_event(CitizenEvent::Acked { id }),
            RouterEvent::Failed { id } if self.take_open(id) => self.push_event(CitizenEvent::Failed { id }),
            RouterEvent::Sent { relayed, .. } => {
                self.counted.sent = self.counted.sent.wrapping_add(1);
                self.counted.relayed = self.counted.relayed.wrapping_add(u32::from(relayed));
            }
            RouterEvent::Acked { .. } | RouterEvent::Failed { .. } | RouterEvent::Overheard(_) => {}
        }
    }

    /// The swarm vouches for a node: it stays in the table.
    pub fn handle_member(&mut self, now: Instant, num: NodeNum, hops_away: Option<u8>) {
        if let Some(node) = self.db.entry(num) {
            (node.heard_at, node.hops_away, node.member) = (now, hops_away, true);
        }
    }

    /// Waits for the fate of a packet.
    fn push_open(&mut self, now: Instant, id: PacketId) {
        if self.open.is_full()
            && let Some((id, _)) = self.open.pop_front()
        {
            self.push_event(CitizenEvent::Failed { id });
        }
        let _ = self.open.push_back((id, now + OPEN_FOR));
    }

    fn expire_open(&mut self, now: Instant) {
        while self.open.front().is_some_and(|(_, until)| now >= *until) {
            if let Some((id, _)) = self.open.pop_front() {
                self.push_event(CitizenEvent::Failed { id });
            }
        }
    }

    fn take_open(&mut self, id: PacketId) -> bool {
        let before = self.open.len();
        self.open.retain(|(open, _)| *open != id);
        self.open.len() < before
    }

    fn push_event(&mut self, event: CitizenEvent) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<CitizenEvent> {
        self.events.pop_front()
    }

    /// When to call [`Self::poll`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.drafts.is_empty() {
            return Some(Instant::ZERO);
        }
        let open = self.open.front().map(|(_, until)| *until);
        let periodic = if self.quiet { None } else { self.periodic.poll_timeout() };
        [periodic, open].into_iter().flatten().min()
    }
}
