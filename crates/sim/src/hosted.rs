//! A stock radio as its client sees it, and a hosted node that lives behind one.
//!
//! The radio is our router with the firmware's habits where a client meets them: it tells each packet once and nothing of
//! unicasts to others, puts its own number into `from`, signs broadcasts, encrypts unicasts for a key that our nodes do not
//! have, gates nothing that its client sends, and loses a BACKGROUND packet without a word.

use std::collections::{BTreeSet, VecDeque};

use compotastic_mesh::{
    modules::PeriodicBroadcasts,
    packet::{NodeNum, PacketId, SIGNATURE},
    rng::Rng,
    router::{Gate, Incoming, Outgoing, Priority, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};
use compotastic_node::{
    Agent, HostedStation, Station,
    hosted::{FromRadio, RadioTelemetry, ToRadio},
};
use embedded_storage::nor_flash::NorFlash;

use crate::{Host, serve::ServedOurs};

/// No port counts as our own in a stock router: it acknowledges and repeats as the firmware does.
const NO_PORT: u16 = 0;
/// Packet ids of a client that the radio remembers; a packet under one of them is dropped.
const RECENT_IDS: usize = 20;
/// Hop limit that the firmware takes for 0 where an acknowledgement is wanted.
const DEFAULT_HOPS: u8 = 3;
/// Packets that the radio keeps for its client; it drops what comes while they are so many.
const TOLD_MAX: usize = 32;
/// Ids of the radio's own broadcasts begin here, far from those of its client.
const FIRST_ID: u32 = 1 << 31;
/// Nobody in the simulation checks it; its length is what costs.
const A_SIGNATURE: [u8; SIGNATURE] = [0x5a; SIGNATURE];

/// What distinguishes one radio from another.
#[derive(Clone, Copy, Debug)]
pub struct RadioHabits {
    /// It has a private key, as stock radios have unless somebody took it: unicasts of its client fail, since our nodes have
    /// no public key to encrypt them for.
    pub private_key: bool,
    /// Chance that a BACKGROUND packet vanishes, millionths.
    pub vanish_ppm: u32,
    /// How often it tells its client its device metrics.
    pub telemetry_every: Duration,
}

impl Default for RadioHabits {
    fn default() -> Self {
        Self { private_key: true, vanish_ppm: 50_000, telemetry_every: Duration::from_secs(60) }
    }
}

/// What the radio tells its client.
#[derive(Clone, Debug)]
pub enum Told {
    /// A packet that it could read.
    Packet(Box<Incoming>),
    /// Its device metrics.
    Telemetry(RadioTelemetry),
    /// A packet of its client failed.
    Failed(PacketId),
}

/// What the client gave the radio, counted where it cannot be mistaken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Packets.
    pub packets: u64,
    /// BACKGROUND packets.
    pub bulk: u64,
    /// BACKGROUND packets that vanished.
    pub vanished: u64,
    /// Packets to one node.
    pub unicasts: u64,
    /// Most BACKGROUND packets that waited in the radio at a time.
    pub bulk_waiting_max: usize,
}

/// The radio.
pub struct StockRadio {
    num: NodeNum,
    router: Router,
    modules: PeriodicBroadcasts,
    habits: RadioHabits,
    draws: Rng,
    next_id: u32,
    recent: VecDeque<PacketId>,
    bulk_waiting: BTreeSet<PacketId>,
    unicasts: BTreeSet<PacketId>,
    /// It tells its device metrics; a client whose connection stalls misses them.
    pub tells_telemetry: bool,
    telemetry_at: Instant,
    told: VecDeque<Told>,
    /// What it was given.
    pub given: Given,
}

impl StockRadio {
    /// A radio that is switched on now.
    pub fn new(config: RouterConfig, habits: RadioHabits, seed: u64, now: Instant) -> Self {
        let modem = config.preset.modem(config.region.wide());
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        Self {
            num: config.num,
            modules: PeriodicBroadcasts::new(config.num, config.role, scale_ppm, seed, now),
            router: Router::new(RouterConfig { own_port: NO_PORT, ..config }, seed, now),
            habits,
            draws: Rng::from_seed(seed).child(0x7661_6e69),
            next_id: FIRST_ID,
            recent: VecDeque::new(),
            bulk_waiting: BTreeSet::new(),
            unicasts: BTreeSet::new(),
            tells_telemetry: true,
            telemetry_at: now + habits.telemetry_every,
            told: VecDeque::new(),
            given: Given::default(),
        }
    }

    /// The client hands a packet over. What becomes of it is not told.
    pub fn submit(&mut self, now: Instant, packet: &ToRadio) {
        let bulk = packet.priority == Priority::Background;
        let unicast = packet.to != NodeNum::BROADCAST;
        self.given.packets += 1;
        self.given.bulk += u64::from(bulk);
        self.given.unicasts += u64::from(unicast);
        if self.recent.contains(&packet.id) {
            return;
        }
        self.recent.push_back(packet.id);
        if self.recent.len() > RECENT_IDS {
            self.recent.pop_front();
        }
        let spent = self.router.duty_cycle_permille(now);
        // PKI_SEND_FAIL_PUBLIC_KEY and DUTY_CYCLE_LIMIT.
        if unicast && self.habits.private_key || spent >= self.router.config().duty_cycle_permille() {
            self.tell(Told::Failed(packet.id));
            return;
        }
        if bulk && self.draws.chance_ppm(self.habits.vanish_ppm) {
            self.given.vanished += 1;
            return;
        }
        let hop_limit =
            if packet.want_ack && packet.hop_limit == 0 { DEFAULT_HOPS } else { packet.hop_limit };
        let outgoing = Outgoing {
            to: packet.to,
            id: packet.id,
            channel: packet.channel,
            port: packet.port,
            payload: &packet.payload,
            hop_limit,
            want_ack: packet.want_ack,
            priority: packet.priority,
            // What a client sends is not gated.
            gate: Gate::Alert,
            request_id: None,
            bitfield: Some(0),
        };
        if self.router.send_signed(now, &outgoing, Some(&A_SIGNATURE)).is_ok() {
            if unicast {
                self.unicasts.insert(packet.id);
            }
            if bulk {
                self.bulk_waiting.insert(packet.id);
                self.given.bulk_waiting_max = self.given.bulk_waiting_max.max(self.bulk_waiting.len());
            }
        }
    }

    /// What distinguishes it from others.
    pub fn habits(&self) -> RadioHabits {
        self.habits
    }

    fn tell(&mut self, told: Told) {
        if self.told.len() < TOLD_MAX {
            self.told.push_back(told);
        }
    }

    /// What the radio has to tell its client next.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            match event {
                RouterEvent::Received(packet) => self.tell(Told::Packet(Box::new(packet))),
                RouterEvent::Sent { id, relayed: false, .. } => drop(self.bulk_waiting.remove(&id)),
                // It had to leave the queue, and nobody is told; or it was a unicast that nobody acknowledged.
                RouterEvent::Failed { id } => {
                    self.bulk_waiting.remove(&id);
                    if self.unicasts.remove(&id) {
                        self.tell(Told::Failed(id));
                    }
                }
                RouterEvent::Acked { id } => drop(self.unicasts.remove(&id)),
                _ => {}
            }
        }
        let heard = self.router.nodes_heard();
        while let Some(broadcast) = self.modules.poll(now, heard) {
            self.next_id = self.next_id.wrapping_add(1);
            let outgoing = Outgoing {
                to: NodeNum::BROADCAST,
                id: PacketId(self.next_id),
                channel: 0,
                port: broadcast.port,
                payload: &broadcast.payload,
                hop_limit: broadcast.hop_limit,
                want_ack: false,
                priority: broadcast.priority,
                gate: Gate::Bulk,
                request_id: None,
                bitfield: Some(0),
            };
            // A full queue loses a periodic broadcast; the next one comes.
            let _ = self.router.send_signed(now, &outgoing, Some(&A_SIGNATURE));
        }
        if now >= self.telemetry_at {
            self.telemetry_at = now + self.habits.telemetry_every;
            if self.tells_telemetry {
                let telemetry = RadioTelemetry {
                    channel_utilization_permille: self.router.channel_utilization_permille(now),
                    air_util_tx_permille: self.router.duty_cycle_permille(now),
                };
                self.tell(Told::Telemetry(telemetry));
            }
        }
    }
}

/// The radio alone: its client is away, and what there is to tell waits.
impl Host for StockRadio {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.router.handle_timeout(now);
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        let frame = self.router.poll_transmit(now, channel_busy)?;
        self.settle(now);
        Some(frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let own = [self.router.poll_timeout(), self.modules.poll_timeout(), Some(self.telemetry_at)];
        own.into_iter().flatten().min()
    }
}

/// A hosted node: its agent, and the radio that it has.
pub struct HostedNode<'a, F: NorFlash> {
    /// The radio.
    pub radio: StockRadio,
    /// How far the host's clock is ahead of the radio's. All times that callers give are the radio's.
    pub clock_ahead: Duration,
    station: HostedStation<'a, F>,
}

impl<'a, F: NorFlash> HostedNode<'a, F> {
    /// Connects a station to its radio; the handshake tells whose number it bears.
    pub fn new(radio: StockRadio, station: HostedStation<'a, F>) -> Self {
        assert_eq!(station.agent_ref().num(), radio.num, "the radio puts its own number into its packets");
        Self { radio, clock_ahead: Duration::ZERO, station }
    }

    /// The agent, to submit jobs, complete them and read its state. Call [`Self::settle`] afterwards.
    pub fn agent(&mut self) -> &mut Agent<'a, F> {
        self.station.agent()
    }

    /// The agent, to look at.
    pub fn agent_ref(&self) -> &Agent<'a, F> {
        self.station.agent_ref()
    }

    /// Its host stops; the radio goes on by itself.
    pub fn into_radio(self) -> StockRadio {
        self.radio
    }

    /// Moves what is ready between station and radio.
    pub fn settle(&mut self, radio_now: Instant) {
        let now = radio_now + self.clock_ahead;
        self.station.settle(now);
        loop {
            self.radio.settle(radio_now);
            let mut moved = false;
            while let Some(told) = self.radio.poll_told() {
                moved = true;
                match told {
                    Told::Packet(packet) => self.station.handle_packet(
                        now,
                        &FromRadio {
                            from: packet.from,
                            to: packet.to,
                            id: packet.id,
                            channel: packet.channel,
                            port: packet.port,
                            hops_away: packet.hops_away,
                            payload: &packet.payload,
                        },
                    ),
                    Told::Telemetry(telemetry) => self.station.handle_telemetry(now, telemetry),
                    Told::Failed(id) => self.station.handle_failed(now, id),
                }
            }
            while let Some(packet) = self.station.poll_packet(now) {
                moved = true;
                self.radio.submit(radio_now, &packet);
            }
            if !moved {
                return;
            }
        }
    }
}

impl<F: NorFlash> Host for HostedNode<'_, F> {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.radio.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.radio.router.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.radio.router.handle_tx_done(now);
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.radio.router.handle_timeout(now);
        self.station.handle_timeout(now + self.clock_ahead);
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        let frame = self.radio.router.poll_transmit(now, channel_busy)?;
        self.settle(now);
        Some(frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let ahead_us = self.clock_ahead.as_micros();
        let station = self.station.poll_timeout();
        let station = station.map(|at| Instant::from_micros(at.as_micros().saturating_sub(ahead_us)));
        [self.radio.poll_timeout(), station].into_iter().flatten().min()
    }
}

/// A node of the swarm, whichever way it is on the mesh.
pub enum SwarmNode<'a, F: NorFlash> {
    /// On a bare LoRa chip.
    Native(Box<Station<'a, F>>),
    /// Behind a stock radio.
    Hosted(Box<HostedNode<'a, F>>),
    /// Behind a stock radio that has another client too.
    Served(Box<ServedOurs<'a, F>>),
}

impl<'a, F: NorFlash> SwarmNode<'a, F> {
    /// The agent. Call [`Self::settle`] afterwards.
    pub fn agent(&mut self) -> &mut Agent<'a, F> {
        match self {
            Self::Native(station) => station.agent(),
            Self::Hosted(node) => node.agent(),
            Self::Served(node) => node.agent(),
        }
    }

    /// The agent, to look at.
    pub fn agent_ref(&self) -> &Agent<'a, F> {
        match self {
            Self::Native(station) => station.agent_ref(),
            Self::Hosted(node) => node.agent_ref(),
            Self::Served(node) => node.agent_ref(),
        }
    }

    /// Moves what is ready between the parts.
    pub fn settle(&mut self, now: Instant) {
        match self {
            Self::Native(station) => station.settle(now),
            Self::Hosted(node) => node.settle(now),
            Self::Served(node) => node.settle(now),
        }
    }

    fn host(&mut self) -> &mut dyn Host {
        match self {
            Self::Native(station) => &mut **station,
            Self::Hosted(node) => &mut **node,
            Self::Served(node) => &mut **node,
        }
    }
}

impl<F: NorFlash> Host for SwarmNode<'_, F> {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.host().handle_frame(now, frame, snr_qdb, rssi_dbm);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.host().handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.host().handle_tx_done(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.host().handle_timeout(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        self.host().poll_transmit(now, channel_busy)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Native(station) => Host::poll_timeout(&**station),
            Self::Hosted(node) => node.poll_timeout(),
            Self::Served(node) => Host::poll_timeout(&**node),
        }
    }
}
