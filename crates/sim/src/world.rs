//! The event loop: who hears what, when.
//!
//! Cost follows the packets actually heard: each node keeps a list of the links that can be heard at all. A frame is
//! received when the receiver was not sending meanwhile, the frame is at least 6 dB stronger than the sum of all that
//! overlapped it there (capture), the SNR draw succeeds, and the extra loss does not hit.

use std::{cmp::Reverse, collections::BinaryHeap};

use compotastic_mesh::{
    lora::{Preset, Region},
    rng::Rng,
    time::{Duration, Instant},
};

use crate::{
    host::Host,
    ledger::Ledger,
    log::{EventLog, Kind},
    radio::{Position, Radio, Signal, shadowing_db},
};

/// A node's index, in the order in which nodes were added.
pub type NodeId = usize;

/// A frame is heard as energy down to this far below the demodulation floor (quarter dB): CAD's reach.
const SENSED_BELOW_QDB: i32 = 12;
/// Capture: a frame survives what is this much weaker (quarter dB).
const CAPTURE_QDB: i32 = 24;

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

#[derive(Clone, Copy, Debug)]
struct Link {
    to: NodeId,
    signal: Signal,
    reception_ppm: u32,
}

#[derive(Debug)]
struct Transmission {
    from: NodeId,
    start: Instant,
    end: Instant,
    frame: Vec<u8>,
    /// Its receptions have been settled.
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A transmission ends: before wakes of the same microsecond, so that receivers see it ended.
    TransmitEnd(usize),
    Wake(NodeId),
}

struct Node<H> {
    host: H,
    position: Position,
    on: bool,
    links: Vec<Link>,
    wake_at: Option<Instant>,
    /// A host that asks for "now" again and again cannot stop time: wakes are a millisecond apart.
    not_before: Instant,
    sending_until: Instant,
    draws: Rng,
}

/// The simulated world.
pub struct World<H> {
    radio: Radio,
    config: WorldConfig,
    nodes: Vec<Node<H>>,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    now: Instant,
    /// Transmissions on the air or recent enough to have overlapped one that is.
    air: Vec<Option<Transmission>>,
    active: Vec<usize>,
    /// The checker.
    pub ledger: Ledger,
    /// The event log.
    pub log: EventLog,
}

impl<H: Host> World<H> {
    /// An empty world. `ledger` is told the channel keys by the caller.
    pub fn new(config: WorldConfig, radio: Radio, ledger: Ledger) -> Self {
        Self {
            radio,
            config,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            now: Instant::ZERO,
            air: Vec::new(),
            active: Vec::new(),
            ledger,
            log: EventLog::default(),
        }
    }

    /// Adds a node, switched on.
    pub fn add(&mut self, host: H, position: Position) -> NodeId {
        let id = self.nodes.len();
        let air = Rng::from_seed(self.config.seed);
        let shadows = air.child(0x7368_6164);
        let mut links = Vec::new();
        for (other, node) in self.nodes.iter_mut().enumerate() {
            let extra = shadowing_db(&shadows, id, other, self.radio.shadowing_db);
            let signal = self.radio.signal(position.distance_m(&node.position), extra);
            if signal.snr_qdb < i32::from(self.radio.modem.snr_limit_qdb()) - SENSED_BELOW_QDB {
                continue;
            }
            let reception_ppm = self.radio.reception_ppm(signal.snr_qdb);
            links.push(Link { to: other, signal, reception_ppm });
            node.links.push(Link { to: id, signal, reception_ppm });
        }
        let draws = air.child(0x6472_6177).child(id as u64);
        let node = Node {
            host,
            position,
            on: true,
            links,
            wake_at: None,
            not_before: Instant::ZERO,
            sending_until: Instant::ZERO,
            draws,
        };
        self.nodes.push(node);
        self.ledger.add_node();
        self.reschedule(id);
        id
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

    /// Switches a node's radio on or off: an edge node that leaves. What it is sending is cut off.
    pub fn set_on(&mut self, id: NodeId, on: bool) {
        self.nodes[id].on = on;
        self.reschedule(id);
    }

    /// Moves on to the next event, but not beyond `until`; the nodes that it concerned, whose events the caller may
    /// want to drain. `None` when `until` is reached.
    pub fn step(&mut self, until: Instant) -> Option<Vec<NodeId>> {
        loop {
            let &Reverse((at, _, event)) = self.queue.peek()?;
            if at > until {
                self.now = until;
                return None;
            }
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
        let slot = Duration::from_micros(self.radio.modem.slot_us());
        self.nodes[id].links.iter().any(|link| {
            // Detection takes a slot: two nodes that start within one do not see each other.
            self.active.iter().any(|index| {
                self.air[*index].as_ref().is_some_and(|on_air| {
                    on_air.from == link.to && on_air.start + slot <= self.now && on_air.end > self.now
                })
            })
        })
    }

    fn transmit(&mut self, id: NodeId) {
        if self.nodes[id].sending_until > self.now {
            return;
        }
        let busy = self.is_busy(id);
        let Some(frame) = self.nodes[id].host.poll_transmit(self.now, busy) else { return };
        let airtime = Duration::from_micros(self.radio.modem.time_on_air_us(frame.len()));
        let end = self.now + airtime;
        self.nodes[id].sending_until = end;
        self.log.push(Kind::Transmit, self.now, id, &frame);
        self.ledger.handle_transmit(self.now, id, &frame, airtime);
        let transmission = Transmission { from: id, start: self.now, end, frame, ended: false };
        let index = match self.air.iter().position(Option::is_none) {
            Some(free) => {
                self.air[free] = Some(transmission);
                free
            }
            None => {
                self.air.push(Some(transmission));
                self.air.len() - 1
            }
        };
        self.active.push(index);
        self.push(end, Event::TransmitEnd(index));
    }

    /// Transmissions that overlapped `index` in time.
    fn overlapping(&self, index: usize) -> Vec<usize> {
        let Some(this) = &self.air[index] else { return Vec::new() };
        self.active
            .iter()
            .copied()
            .filter(|other| {
                *other != index
                    && self.air[*other].as_ref().is_some_and(|o| o.start < this.end && o.end > this.start)
            })
            .collect()
    }

    fn end_transmission(&mut self, index: usize) -> Vec<NodeId> {
        let overlaps = self.overlapping(index);
        let Some(ended) = &self.air[index] else { return Vec::new() };
        let (from, start, frame) = (ended.from, ended.start, ended.frame.clone());
        let airtime = self.now.saturating_duration_since(start);
        self.nodes[from].host.handle_tx_done(self.now);
        let mut touched = vec![from];
        let links = self.nodes[from].links.clone();
        for link in links {
            let receiver = link.to;
            if !self.nodes[receiver].on || !self.nodes[from].on {
                continue;
            }
            // Drawn for each receiver whatever happens, so that one lost frame does not shift the luck of the next.
            let lucky = self.nodes[receiver].draws.below(1_000_000) < link.reception_ppm;
            let lost = self.nodes[receiver].draws.chance_ppm(self.config.loss_ppm);
            let was_sending = overlaps.iter().any(|other| self.sender(*other) == Some(receiver));
            if was_sending {
                continue;
            }
            let drowned = self.is_drowned(receiver, link.signal, &overlaps);
            self.ledger.handle_heard(self.now, receiver, airtime);
            let host = &mut self.nodes[receiver].host;
            if lucky && !lost && !drowned {
                let snr_qdb = link.signal.snr_qdb as i16;
                let rssi_dbm = (link.signal.rssi_qdbm / 4) as i16;
                let mut record = [0; 6];
                record[..4].copy_from_slice(&(from as u32).to_le_bytes());
                record[4..].copy_from_slice(&snr_qdb.to_le_bytes());
                self.log.push(Kind::Receive, self.now, receiver, &record);
                host.handle_frame(self.now, &frame, snr_qdb, rssi_dbm);
            } else {
                host.handle_bad_frame(self.now, airtime);
            }
            touched.push(receiver);
        }
        if let Some(ended) = &mut self.air[index] {
            ended.ended = true;
        }
        self.retire();
        for id in &touched {
            self.reschedule(*id);
        }
        touched
    }

    fn sender(&self, index: usize) -> Option<NodeId> {
        self.air[index].as_ref().map(|transmission| transmission.from)
    }

    /// The sum of all that overlapped is less than 6 dB below the frame.
    fn is_drowned(&self, receiver: NodeId, signal: Signal, overlaps: &[usize]) -> bool {
        let interference_mw: f64 = overlaps
            .iter()
            .filter_map(|other| {
                let sender = self.sender(*other)?;
                let link = self.nodes[receiver].links.iter().find(|link| link.to == sender)?;
                Some(libm::pow(10.0, f64::from(link.signal.rssi_qdbm) / 40.0))
            })
            .sum();
        interference_mw > 0.0
            && f64::from(signal.rssi_qdbm - CAPTURE_QDB) < 40.0 * libm::log10(interference_mw)
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
        let air = &mut self.air;
        self.active.retain(|index| {
            let keep = air[*index].as_ref().is_some_and(|one| !one.ended || one.end > earliest);
            if !keep {
                air[*index] = None;
            }
            keep
        });
    }

    /// Links over which a packet is received at least this often (millionths): pairs of nodes, each once.
    pub fn links(&self, reception_ppm_min: u32) -> Vec<(NodeId, NodeId)> {
        let mut pairs = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            for link in &node.links {
                if id < link.to && link.reception_ppm >= reception_ppm_min {
                    pairs.push((id, link.to));
                }
            }
        }
        pairs
    }
}
