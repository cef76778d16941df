//! The event loop: who hears what, when.
//!
//! Cost follows the packets actually heard: each node keeps a list of the links that can be heard at all. Rules of
//! reception, in this order:
//!
//! - The receiver was switched on, and did not itself send, while the frame's *critical section* was on the air: from
//!   the last [`LOCK_SYMBOLS`] symbols of the preamble, which a receiver needs to lock, to the end. What overlaps only
//!   the preamble before that does no harm (M. Bor et al., "Do LoRa low-power wide-area networks scale?", 2016).
//! - The frame is at least 6 dB stronger there than the sum of all that overlapped its critical section (capture), so
//!   of two overlapping frames one at most is received. All frames use one spreading factor, so none is orthogonal.
//! - The draw against [`Radio::reception_ppm`] succeeds, and the extra loss does not hit. Both are drawn from a generator
//!   of the directed link for each transmission, whatever else happens: the n-th frame of a node meets the same luck
//!   at a receiver whatever other nodes do.
//!
//! Propagation delay is ignored, and links do not fade from packet to packet: the slope of the reception curve stands
//! for fading. A node detects activity (CAD) of every frame that is no more than 3 dB below its demodulation floor,
//! one slot after it began. A frame that reached a node and was not received counts there as energy heard, where
//! it does not overlap what has been counted already.

use std::{cmp::Reverse, collections::BinaryHeap};

use compotastic_mesh::{
    lora::{Preset, Region},
    rng::Rng,
    time::{Duration, Instant},
};

use crate::{
    grid::Grid,
    host::Host,
    ledger::Ledger,
    log::EventLog,
    radio::{End, Position, Radio, SHADOW_MAX, Signal, normal, shadowing_db},
    recording::{Body, Record},
};

/// A node's index, in the order in which nodes were added.
pub type NodeId = usize;

/// A frame is heard as energy down to this far below the demodulation floor (quarter dB): CAD's reach.
const SENSED_BELOW_QDB: i32 = 12;
/// Capture: a frame survives what is this much weaker (quarter dB).
const CAPTURE_QDB: i32 = 24;
/// Preamble symbols that a receiver needs to lock on a frame.
const LOCK_SYMBOLS: u64 = 5;

/// Settings of the air.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Preset.
    pub preset: Preset,
    /// Region.
    pub region: Region,
    /// Independent loss per transmission and receiver, millionths, on top of the radio model.
    pub loss_ppm: u32,
    /// Seed of everything that the air draws.
    pub seed: u64,
}

/// One direction of a link; kept at its sender, ordered by receiver.
#[derive(Clone, Debug)]
struct Link {
    to: NodeId,
    signal: Signal,
    /// Received power, milliwatts.
    power_mw: f64,
    reception_ppm: u32,
    draws: Rng,
}

impl Link {
    fn new(radio: &Radio, to: NodeId, signal: Signal, draws: Rng) -> Self {
        let reception_ppm = radio.reception_ppm(signal.snr_qdb);
        let power_mw = libm::pow(10.0, f64::from(signal.rssi_qdbm) / 40.0);
        Self { to, signal, power_mw, reception_ppm, draws }
    }

    /// Whether a packet is demodulated, and its SNR: that of the link, or faded.
    fn draw(&mut self, radio: &Radio) -> (bool, i32) {
        if radio.fading_db <= 0.0 {
            return (self.draws.below(1_000_000) < self.reception_ppm, self.signal.snr_qdb);
        }
        let faded_qdb = libm::round(normal(&mut self.draws) * radio.fading_db * 4.0) as i32;
        let snr_qdb = self.signal.snr_qdb + faded_qdb;
        (self.draws.below(1_000_000) < radio.reception_ppm(snr_qdb), snr_qdb)
    }
}

#[derive(Debug)]
struct Transmission {
    from: NodeId,
    start: Instant,
    /// Where the critical section begins.
    lock: Instant,
    end: Instant,
    frame: Vec<u8>,
    /// Its sender was switched off meanwhile.
    cut: bool,
    /// Its receptions have been settled.
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The transmission in this place of the air ends.
    TransmitEnd(usize),
    /// A node asked to be called.
    Wake(NodeId),
}

struct Node<H> {
    host: H,
    position: Position,
    end: End,
    on: bool,
    on_since: Instant,
    links: Vec<Link>,
    wake_at: Option<Instant>,
    /// A host that asks for "now" again and again cannot stop time: wakes are a millisecond apart.
    not_before: Instant,
    sending_until: Instant,
    /// Until when energy was measured.
    heard_until: Instant,
    /// Places in the air of what can be detected here, with the power here in milliwatts; by the order in which it began.
    audible: Vec<(usize, f64)>,
    /// Places in the air of what this node sent.
    own: Vec<usize>,
}

/// The simulated world.
pub struct World<H> {
    radio: Radio,
    config: WorldConfig,
    nodes: Vec<Node<H>>,
    grid: Grid,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    now: Instant,
    /// Transmissions on the air or recent enough to have overlapped one that is.
    air: Vec<Option<Transmission>>,
    active: Vec<usize>,
    /// Free places in the air.
    free: Vec<usize>,
    receptions: u64,
    /// The checker.
    pub ledger: Ledger,
    /// The event log.
    pub log: EventLog,
}

impl<H: Host> World<H> {
    /// An empty world. `ledger` is told the channel keys by the caller.
    pub fn new(config: WorldConfig, radio: Radio, ledger: Ledger) -> Self {
        // Farther than this nothing is heard, however the shadows fall.
        let reach_m = radio.range_m(-f64::from(SENSED_BELOW_QDB) / 4.0 - SHADOW_MAX * radio.shadowing_db);
        Self {
            radio,
            config,
            nodes: Vec::new(),
            grid: Grid::new(reach_m),
            queue: BinaryHeap::new(),
            sequence: 0,
            now: Instant::ZERO,
            air: Vec::new(),
            active: Vec::new(),
            free: Vec::new(),
            receptions: 0,
            ledger,
            log: EventLog::default(),
        }
    }

    /// Adds a node with the usual antenna, switched on.
    pub fn add(&mut self, host: H, position: Position) -> NodeId {
        let end = self.radio.end();
        self.add_with(host, position, end)
    }

    /// Adds a node, switched on. Its antenna must be no better than [`Self::expect_antenna`] was told.
    pub fn add_with(&mut self, host: H, position: Position, end: End) -> NodeId {
        let id = self.nodes.len();
        let air = Rng::from_seed(self.config.seed);
        let (shadows, draws) = (air.child(0x7368_6164), air.child(0x6472_6177));
        let directed = |from: NodeId, to: NodeId| draws.child((from as u64) << 32 | to as u64);
        let mut links = Vec::new();
        for other in self.grid.near(&position) {
            let node = &mut self.nodes[other];
            let extra = shadowing_db(&shadows, id, other, self.radio.shadowing_db);
            let distance_m = position.distance_m(&node.position);
            let there = self.radio.signal_between(distance_m, extra, end, node.end);
            let back = self.radio.signal_between(distance_m, extra, node.end, end);
            let sensed_qdb = i32::from(self.radio.modem.snr_limit_qdb()) - SENSED_BELOW_QDB;
            if there.snr_qdb >= sensed_qdb {
                links.push(Link::new(&self.radio, other, there, directed(id, other)));
            }
            if back.snr_qdb >= sensed_qdb {
                node.links.push(Link::new(&self.radio, id, back, directed(other, id)));
            }
        }
        let node = Node {
            host,
            position,
            end,
            on: true,
            on_since: self.now,
            links,
            wake_at: None,
            not_before: Instant::ZERO,
            sending_until: Instant::ZERO,
            heard_until: Instant::ZERO,
            audible: Vec::new(),
            own: Vec::new(),
        };
        self.nodes.push(node);
        self.grid.add(id, &position);
        self.ledger.add_node();
        self.reschedule(id);
        id
    }

    /// Before the first node: the best antenna that one will have, so that no link to it is overlooked.
    pub fn expect_antenna(&mut self, best: End) {
        assert!(self.nodes.is_empty(), "the squares are laid out before the first node");
        let margin_db = -f64::from(SENSED_BELOW_QDB) / 4.0 - SHADOW_MAX * self.radio.shadowing_db;
        self.grid = Grid::new(self.radio.range_between_m(margin_db, best, best));
    }

    /// Simulated time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True without nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node, to look at.
    pub fn host(&self, id: NodeId) -> &H {
        &self.nodes[id].host
    }

    /// A node, to give it input. Its timers are looked at again afterwards.
    pub fn with_host<T>(&mut self, id: NodeId, act: impl FnOnce(&mut H, Instant) -> T) -> T {
        let result = act(&mut self.nodes[id].host, self.now);
        self.reschedule(id);
        result
    }

    /// Switches a node on or off: an edge node that leaves, for good or for a while. What it is sending is cut off, and
    /// what it only heard a part of is not received. A node that is off is not called, but
    /// for the end of what it was sending.
    pub fn set_on(&mut self, id: NodeId, on: bool) {
        if self.nodes[id].on == on {
            return;
        }
        self.nodes[id].on = on;
        self.log.note(self.now, id, &if on { Record::On } else { Record::Off });
        self.nodes[id].on_since = self.now;
        for index in &self.active {
            if let Some(transmission) = self.air[*index].as_mut().filter(|one| one.from == id && !one.ended) {
                transmission.cut = true;
            }
        }
        self.reschedule(id);
    }

    /// Whether a node is switched on.
    pub fn is_on(&self, id: NodeId) -> bool {
        self.nodes[id].on
    }

    /// Frames that reached a node, received or only heard as energy, so far.
    pub fn receptions(&self) -> u64 {
        self.receptions
    }

    /// When the next event is due at the earliest; `None` when nothing will ever happen again without new input.
    pub fn next_event_time(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Steps until `until`, and calls `on_touched` with each node whose host was called.
    pub fn run_until(&mut self, until: Instant, mut on_touched: impl FnMut(&mut Self, NodeId)) {
        while let Some(touched) = self.step(until) {
            for id in touched {
                on_touched(self, id);
            }
        }
    }

    /// Moves on to the next event, but not beyond `until`; the nodes that it concerned, whose events the caller may
    /// want to drain. `None` when `until` is reached.
    pub fn step(&mut self, until: Instant) -> Option<Vec<NodeId>> {
        loop {
            let Some(&Reverse((at, _, event))) = self.queue.peek().filter(|Reverse((at, ..))| *at <= until)
            else {
                self.now = self.now.max(until);
                return None;
            };
            self.queue.pop();
            self.now = at;
            match event {
                Event::TransmitEnd(index) => return Some(self.end_transmission(index)),
                Event::Wake(id) => {
                    if self.nodes[id].wake_at != Some(at) {
                        continue;
                    }
                    self.nodes[id].wake_at = None;
                    if self.nodes[id].on {
                        self.nodes[id].host.handle_timeout(at);
                        self.transmit(id);
                    }
                    self.nodes[id].not_before = at + Duration::from_millis(1);
                    self.reschedule(id);
                    return Some(vec![id]);
                }
            }
        }
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }

    fn reschedule(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if !node.on {
            node.wake_at = None;
            return;
        }
        let Some(wanted) = node.host.poll_timeout() else {
            node.wake_at = None;
            return;
        };
        let at = wanted.max(self.now).max(node.not_before);
        if node.wake_at != Some(at) {
            node.wake_at = Some(at);
            self.push(at, Event::Wake(id));
        }
    }

    fn is_busy(&self, id: NodeId) -> bool {
        // Detection takes a slot: two nodes that start within one do not see each other.
        let slot = Duration::from_micros(self.radio.modem.slot_us());
        let audible = self.nodes[id].audible.iter().filter_map(|(index, _)| self.air[*index].as_ref());
        audible
            .into_iter()
            .any(|on_air| on_air.start + slot <= self.now && on_air.end > self.now && !on_air.cut)
    }

    fn transmit(&mut self, id: NodeId) {
        if self.nodes[id].sending_until > self.now {
            return;
        }
        let busy = self.is_busy(id);
        let Some(frame) = self.nodes[id].host.poll_transmit(self.now, busy) else { return };
        let airtime = Duration::from_micros(self.radio.modem.time_on_air_us(frame.len()));
        let end = self.now + airtime;
        let modem = &self.radio.modem;
        let harmless_ns = u64::from(modem.preamble_symbols).saturating_sub(LOCK_SYMBOLS) * modem.symbol_ns();
        let lock = self.now + Duration::from_micros(harmless_ns / 1000);
        self.nodes[id].sending_until = end;
        self.log.push(self.now, id, Body::Transmit { frame: &frame });
        self.ledger.handle_transmit(self.now, id, &frame, airtime);
        let transmission =
            Transmission { from: id, start: self.now, lock, end, frame, cut: false, ended: false };
        let index = self.free.pop().unwrap_or_else(|| {
            self.air.push(None);
            self.air.len() - 1
        });
        self.air[index] = Some(transmission);
        self.active.push(index);
        self.nodes[id].own.push(index);
        let links = std::mem::take(&mut self.nodes[id].links);
        for link in &links {
            self.nodes[link.to].audible.push((index, link.power_mw));
        }
        self.nodes[id].links = links;
        self.push(end, Event::TransmitEnd(index));
    }

    /// Whether the transmission in this place, another than `index`, overlapped the critical section that began at `lock`.
    fn overlaps(&self, place: usize, index: usize, lock: Instant) -> bool {
        place != index
            && self.air[place].as_ref().is_some_and(|other| other.end > lock && other.start < self.now)
    }

    /// The sum of all that overlapped the frame at a receiver is less than 6 dB below it.
    fn is_drowned(&self, receiver: NodeId, signal: Signal, index: usize, lock: Instant) -> bool {
        let interference_mw: f64 = self.nodes[receiver]
            .audible
            .iter()
            .filter(|(place, _)| self.overlaps(*place, index, lock))
            .map(|(_, power_mw)| power_mw)
            .sum();
        interference_mw > 0.0
            && f64::from(signal.rssi_qdbm - CAPTURE_QDB) < 40.0 * libm::log10(interference_mw)
    }

    fn end_transmission(&mut self, index: usize) -> Vec<NodeId> {
        let Some(ended) = &mut self.air[index] else { return Vec::new() };
        ended.ended = true;
        let (from, start, lock, cut) = (ended.from, ended.start, ended.lock, ended.cut);
        let frame = std::mem::take(&mut ended.frame);
        let airtime = self.now.saturating_duration_since(start);
        self.nodes[from].host.handle_tx_done(self.now);
        let mut touched = vec![from];
        let mut links = std::mem::take(&mut self.nodes[from].links);
        for link in &mut links {
            // Drawn whatever happens, so that one lost frame does not shift the luck of the next.
            let (lucky, snr_qdb) = link.draw(&self.radio);
            let lost = link.draws.chance_ppm(self.config.loss_ppm);
            let receiver = link.to;
            let node = &self.nodes[receiver];
            let deaf = node.own.iter().any(|place| self.overlaps(*place, index, lock));
            if cut || !node.on || node.on_since > lock || deaf {
                continue;
            }
            let drowned = self.is_drowned(receiver, link.signal, index, lock);
            // One receiver measures what overlaps once: of a frame that is not received, what came on top of others.
            let heard_until = std::mem::replace(&mut self.nodes[receiver].heard_until, self.now);
            let fresh = self.now.saturating_duration_since(start.max(heard_until));
            let host = &mut self.nodes[receiver].host;
            if lucky && !lost && !drowned {
                let snr_qdb = snr_qdb as i16;
                let rssi_dbm = (link.signal.rssi_qdbm / 4) as i16;
                self.log.push(self.now, receiver, Body::Receive { from: from as u32, snr_qdb });
                self.ledger.handle_heard(self.now, receiver, airtime);
                host.handle_frame(self.now, &frame, snr_qdb, rssi_dbm);
            } else {
                let airtime_us = fresh.as_micros() as u32;
                self.log.push(self.now, receiver, Body::Energy { airtime_us });
                self.ledger.handle_heard(self.now, receiver, fresh);
                host.handle_bad_frame(self.now, fresh);
            }
            touched.push(receiver);
        }
        self.receptions += touched.len() as u64 - 1;
        self.nodes[from].links = links;
        self.retire();
        for id in &touched {
            self.reschedule(*id);
        }
        touched
    }

    /// Forgets transmissions that can no longer have overlapped one that is still on the air.
    fn retire(&mut self) {
        let earliest = self
            .active
            .iter()
            .filter_map(|index| self.air[*index].as_ref())
            .filter(|transmission| !transmission.ended)
            .map(|transmission| transmission.start)
            .min()
            .unwrap_or(self.now);
        let air = &self.air;
        let mut retired = Vec::new();
        self.active.retain(|index| {
            let keep = air[*index].as_ref().is_some_and(|one| !one.ended || one.end > earliest);
            if !keep {
                retired.push(*index);
            }
            keep
        });
        for index in retired {
            if let Some(gone) = self.air[index].take() {
                self.nodes[gone.from].own.retain(|place| *place != index);
                let links = std::mem::take(&mut self.nodes[gone.from].links);
                for link in &links {
                    self.nodes[link.to].audible.retain(|(place, _)| *place != index);
                }
                self.nodes[gone.from].links = links;
            }
            self.free.push(index);
        }
    }

    /// Links over which a packet is received at least this often (millionths): pairs of nodes, each once.
    pub fn links(&self, reception_ppm_min: u32) -> Vec<(NodeId, NodeId)> {
        self.links_with_reception(reception_ppm_min).into_iter().map(|(from, to, _)| (from, to)).collect()
    }

    /// The same, with how often a packet from the first to the second is received (millionths).
    pub fn links_with_reception(&self, reception_ppm_min: u32) -> Vec<(NodeId, NodeId, u32)> {
        let mut pairs = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            for link in &node.links {
                if id < link.to && link.reception_ppm >= reception_ppm_min {
                    pairs.push((id, link.to, link.reception_ppm));
                }
            }
        }
        pairs
    }

    /// Settings of the air.
    pub fn settings(&self) -> &WorldConfig {
        &self.config
    }

    /// Where a node is, and its antenna.
    pub fn antenna(&self, id: NodeId) -> (Position, End) {
        (self.nodes[id].position, self.nodes[id].end)
    }
}
