//! The event loop: who hears what, when.
//!
//! Cost follows the packets actually heard: each node keeps a list of the links that can be heard at all. A frame goes
//! through two gates at each receiver, noise and other frames against it in both ([`crate::reception`]):
//!
//! - At the end of its header, the receiver has locked on it: it was switched on, did not itself send, and was not taken by another frame from
//!   the last preamble symbols on. What overlaps only the preamble before that does no harm.
//! - At its end, the payload is right, and the extra loss does not hit.
//!
//! A receiver that has locked on a frame whose payload is wrong counts it as a bad frame; one that has not locked notices nothing
//! but, perhaps, activity on the channel. Propagation delay is ignored.

mod air;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

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
    radio::{End, Position, Radio, SHADOW_MAX, Signal, shadowing_db},
    recording::{Body, Record},
    terrain::Terrain,
};
use air::{Demodulator, Heard, Link, Lock, Receiver, set_link};

/// A node's index, in the order in which nodes were added.
pub type NodeId = usize;

/// Frames weaker than this far below the demodulation floor (quarter dB) are neither received nor detected, and disturb nothing.
const SENSED_BELOW_QDB: i32 = 16;
/// Longest frame of the radio, bytes.
const FRAME_MAX: usize = 255;

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

#[derive(Debug)]
struct Transmission {
    serial: u64,
    from: NodeId,
    start: Instant,
    end: Instant,
    frame: Vec<u8>,
    /// Its sender was switched off meanwhile.
    cut: bool,
    /// Who has locked on it.
    locks: Vec<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The header of the transmission in this place of the air ends.
    HeaderEnd(usize),
    /// The transmission in this place of the air ends.
    TransmitEnd(usize),
    /// A node asked to be called.
    Wake(NodeId),
}

struct Node<H> {
    host: H,
    position: Position,
    /// Where it was added.
    origin: Position,
    end: End,
    group: u8,
    on: bool,
    on_since: Instant,
    links: Vec<Link>,
    wake_at: Option<Instant>,
    /// A host that asks for "now" again and again cannot stop time: wakes are a millisecond apart.
    not_before: Instant,
    /// Its last transmission.
    sending_from: Instant,
    sending_until: Instant,
    receiver: Receiver,
}

/// The simulated world.
pub struct World<H> {
    radio: Radio,
    terrain: Option<Arc<Terrain>>,
    /// Signal to noise ratio of each link, dB, where they are known instead of reckoned from places.
    known: Option<BTreeMap<(NodeId, NodeId), f64>>,
    config: WorldConfig,
    /// Seed of what is drawn anew for each frame.
    luck: u64,
    nodes: Vec<Node<H>>,
    grid: Grid,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    now: Instant,
    demodulator: Demodulator,
    /// Longest time that a frame is on the air.
    longest: Duration,
    /// Transmissions on the air.
    air: Vec<Option<Transmission>>,
    /// Free places in the air.
    free: Vec<usize>,
    serial: u64,
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
        let demodulator = Demodulator::new(&radio);
        let longest = Duration::from_micros(radio.modem.time_on_air_us(FRAME_MAX));
        Self {
            demodulator,
            longest,
            radio,
            terrain: None,
            known: None,
            luck: config.seed,
            config,
            nodes: Vec::new(),
            grid: Grid::new(reach_m),
            queue: BinaryHeap::new(),
            sequence: 0,
            now: Instant::ZERO,
            air: Vec::new(),
            free: Vec::new(),
            serial: 0,
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
        let detection = Rng::from_seed(self.luck).child(0x6361_6400).child(id as u64);
        let node = Node {
            host,
            position,
            origin: position,
            end,
            group: 0,
            on: true,
            on_since: self.now,
            links: Vec::new(),
            wake_at: None,
            not_before: Instant::ZERO,
            sending_from: Instant::ZERO,
            sending_until: Instant::ZERO,
            receiver: Receiver::new(detection),
        };
        self.nodes.push(node);
        self.connect(id);
        self.grid.add(id, &position);
        self.ledger.add_node();
        self.reschedule(id);
        id
    }

    /// Links of a node, both ways, to all that are near; those that it had keep their luck.
    fn connect(&mut self, id: NodeId) {
        let shadows = Rng::from_seed(self.config.seed).child(0x7368_6164);
        let draws = Rng::from_seed(self.luck).child(0x6472_6177);
        let directed = |from: NodeId, to: NodeId| draws.child((from as u64) << 32 | to as u64);
        let sensed_qdb = i32::from(self.radio.modem.snr_limit_qdb()) - SENSED_BELOW_QDB;
        let (position, origin, end) = (self.nodes[id].position, self.nodes[id].origin, self.nodes[id].end);
        let mut own = std::mem::take(&mut self.nodes[id].links);
        if let Some(known) = &self.known {
            let audible = |from: NodeId, to: NodeId| {
                let signal = self.radio.signal_of_snr(*known.get(&(from, to))?);
                (signal.snr_qdb >= sensed_qdb).then_some(signal)
            };
            for other in (0..self.nodes.len()).filter(|other| *other != id) {
                set_link(&mut own, other, audible(id, other), || directed(id, other));
                let (back, links) = (audible(other, id), &mut self.nodes[other].links);
                set_link(links, id, back, || directed(other, id));
            }
            self.nodes[id].links = own;
            return;
        }
        for other in self.grid.near(&position).into_iter().filter(|other| *other != id) {
            let node = &self.nodes[other];
            let (there_end, distance_m) = (node.end, position.distance_m(&node.position));
            let moved = (position.minus(&origin), node.position.minus(&node.origin));
            let mut extra_db =
                shadowing_db(&shadows, (id, moved.0), (other, moved.1), self.radio.shadowing_db);
            if let Some(terrain) = &self.terrain {
                let (from, to) = ((&position, end.height_m), (&node.position, there_end.height_m));
                extra_db += terrain.diffraction_db(from, to, self.radio.frequency_hz);
            }
            let there = self.radio.signal_between(distance_m, extra_db, end, there_end);
            let back = self.radio.signal_between(distance_m, extra_db, there_end, end);
            let audible = |signal: Signal| (signal.snr_qdb >= sensed_qdb).then_some(signal);
            set_link(&mut own, other, audible(there), || directed(id, other));
            set_link(&mut self.nodes[other].links, id, audible(back), || directed(other, id));
        }
        self.nodes[id].links = own;
    }

    /// Moves a node. What is on the air keeps the strength that it had.
    pub fn set_position(&mut self, id: NodeId, position: Position) {
        let before = std::mem::replace(&mut self.nodes[id].position, position);
        if before == position || self.known.is_some() {
            return;
        }
        self.grid.remove(id, &before);
        // Who is out of reach now.
        let near = self.grid.near(&position);
        self.nodes[id].links.retain(|link| near.binary_search(&link.to).is_ok());
        for other in self.grid.near(&before) {
            if near.binary_search(&other).is_err() {
                set_link(&mut self.nodes[other].links, id, None, || Rng::from_seed(0));
            }
        }
        self.connect(id);
        self.grid.add(id, &position);
    }

    /// Where a node is.
    pub fn position(&self, id: NodeId) -> Position {
        self.nodes[id].position
    }

    /// Before the first node: another seed for what is drawn frame by frame. The shadows stay, so the same mesh meets another fate.
    pub fn set_luck(&mut self, luck: u64) {
        assert!(self.nodes.is_empty(), "links draw from it as nodes are added");
        self.luck = luck;
    }

    /// Before the first node: the ground between them.
    pub fn set_terrain(&mut self, terrain: Arc<Terrain>) {
        assert!(self.nodes.is_empty(), "links are priced as nodes are added");
        self.terrain = Some(terrain);
    }

    /// Before the first node: who is heard by whom, and the signal to noise ratio there, dB. There are no other links, wherever nodes stand.
    pub fn set_links(&mut self, snr_db: BTreeMap<(NodeId, NodeId), f64>) {
        assert!(self.nodes.is_empty(), "links are priced as nodes are added");
        self.known = Some(snr_db);
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
        self.nodes[id].receiver.unlock(self.now);
        let on_air = self.air.iter_mut().flatten().find(|one| one.from == id && !one.cut);
        if let Some(transmission) = on_air {
            transmission.cut = true;
            let serial = transmission.serial;
            for index in 0..self.nodes[id].links.len() {
                let to = self.nodes[id].links[index].to;
                self.nodes[to].receiver.cut(serial, self.now);
            }
        }
        self.reschedule(id);
    }

    /// Puts a node into a group; nodes of different groups do not hear each other. All begin in group 0.
    pub fn set_group(&mut self, id: NodeId, group: u8) {
        self.nodes[id].group = group;
    }

    /// Whether a node is switched on.
    pub fn is_on(&self, id: NodeId) -> bool {
        self.nodes[id].on
    }

    /// Frames that reached a node that could hear, received or not, so far.
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
                Event::HeaderEnd(index) => self.end_header(index),
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

    fn transmit(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.sending_until > self.now {
            return;
        }
        let slot = Duration::from_micros(self.radio.modem.slot_us());
        let busy = node.receiver.is_busy(self.now, slot, &self.demodulator.reception);
        let Some(frame) = node.host.poll_transmit(self.now, busy) else { return };
        let airtime = Duration::from_micros(self.radio.modem.time_on_air_us(frame.len()));
        let end = self.now + airtime;
        (node.sending_from, node.sending_until) = (self.now, end);
        node.receiver.unlock(self.now);
        self.log.push(self.now, id, Body::Transmit { frame: &frame });
        self.ledger.handle_transmit(self.now, id, &frame, airtime);
        self.serial += 1;
        let serial = self.serial;
        let forget_before =
            Instant::from_micros(self.now.as_micros().saturating_sub(self.longest.as_micros()));
        let links = std::mem::take(&mut self.nodes[id].links);
        let group = self.nodes[id].group;
        for link in &links {
            if self.nodes[link.to].group != group {
                continue;
            }
            let heard =
                Heard { serial, power_mw: link.power_mw, snr_qdb: link.signal.snr_qdb, start: self.now, end };
            self.nodes[link.to].receiver.hear(heard, forget_before);
        }
        self.nodes[id].links = links;
        let transmission =
            Transmission { serial, from: id, start: self.now, end, frame, cut: false, locks: Vec::new() };
        let index = self.free.pop().unwrap_or_else(|| {
            self.air.push(None);
            self.air.len() - 1
        });
        self.air[index] = Some(transmission);
        self.push(self.now + self.demodulator.header_end, Event::HeaderEnd(index));
        self.push(end, Event::TransmitEnd(index));
    }

    fn end_header(&mut self, index: usize) {
        let Some(on_air) = &mut self.air[index] else { return };
        let (from, start, end, serial, cut) =
            (on_air.from, on_air.start, on_air.end, on_air.serial, on_air.cut);
        let mut locks = std::mem::take(&mut on_air.locks);
        let lock_from = start + self.demodulator.lock;
        let group = self.nodes[from].group;
        let mut links = std::mem::take(&mut self.nodes[from].links);
        for link in &mut links {
            let luck = link.draw(&self.radio, self.config.loss_ppm);
            let node = &mut self.nodes[link.to];
            let deaf = node.sending_until > lock_from && node.sending_from < self.now;
            if cut || !node.on || node.on_since > lock_from || deaf || node.group != group {
                continue;
            }
            self.receptions += 1;
            if node.receiver.try_lock(serial, start, end, &luck, &self.demodulator) {
                locks.push(Lock { receiver: link.to, luck });
            }
        }
        self.nodes[from].links = links;
        if let Some(on_air) = &mut self.air[index] {
            on_air.locks = locks;
        }
    }

    fn end_transmission(&mut self, index: usize) -> Vec<NodeId> {
        let Some(ended) = self.air[index].take() else { return Vec::new() };
        self.free.push(index);
        let Transmission { serial, from, start, frame, cut, locks, .. } = ended;
        let airtime = self.now.saturating_duration_since(start);
        self.nodes[from].host.handle_tx_done(self.now);
        let mut touched = vec![from];
        for Lock { receiver: id, luck } in locks {
            let node = &mut self.nodes[id];
            if node.receiver.locked != Some(serial) {
                continue;
            }
            node.receiver.locked = None;
            let right = !cut
                && node.receiver.receives(serial, start, self.now, &luck, frame.len(), &self.demodulator);
            self.ledger.handle_heard(self.now, id, airtime);
            if right {
                let snr_qdb = luck.signal.snr_qdb as i16;
                let rssi_dbm = (luck.signal.rssi_qdbm / 4) as i16;
                self.log.push(self.now, id, Body::Receive { from: from as u32, snr_qdb });
                node.host.handle_frame(self.now, &frame, snr_qdb, rssi_dbm);
            } else {
                let airtime_us = airtime.as_micros() as u32;
                self.log.push(self.now, id, Body::Energy { airtime_us });
                node.host.handle_bad_frame(self.now, airtime);
            }
            touched.push(id);
        }
        for id in &touched {
            self.reschedule(*id);
        }
        touched
    }

    /// How often a frame of 64 bytes that one node sends is received by another, undisturbed, millionths.
    pub fn reception_ppm(&self, from: NodeId, to: NodeId) -> u32 {
        let links = &self.nodes[from].links;
        links
            .binary_search_by_key(&to, |link| link.to)
            .map_or(0, |at| self.demodulator.reception.link_ppm(links[at].signal.snr_qdb))
    }

    /// From now on another loss per transmission and receiver, millionths.
    pub fn set_loss(&mut self, loss_ppm: u32) {
        self.config.loss_ppm = loss_ppm;
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
                let reception_ppm = self.demodulator.reception.link_ppm(link.signal.snr_qdb);
                if id < link.to && reception_ppm >= reception_ppm_min {
                    pairs.push((id, link.to, reception_ppm));
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
