//! One run.
//!
//! Costs follow the packets that are heard: events are per transmission, and each transmission touches the nodes on its sender's list
//! of links. Times are integer nanoseconds. Events of one instant are dealt with in the order in which they were scheduled, receptions that
//! begin after all transmissions that begin: two nodes that chose the same slot do not hear each other.

use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque};

use compotastic_mesh::rng::Rng;
use sha2::{Digest, Sha256};

use super::{
    CAPTURE_DB, Modem,
    figures::Counters,
    own_window, relay_window,
    scenario::{Role, Scenario},
};

/// Retransmissions of a message that nobody was heard to relay.
const RETRANSMISSIONS: u8 = 3;
/// Payload of the acknowledgement of a direct message, bytes.
const ACK_PAYLOAD: u32 = 2;
/// Standard deviation of drawn link offsets, dB.
const OFFSET_DEVIATION_DB: f64 = 3.0;
const EVERYBODY: u32 = u32::MAX;

fn ns(ms: f64) -> u64 {
    libm::round(ms * 1e6) as u64
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// One direction of a link, kept at the sender.
#[derive(Clone, Copy)]
struct Link {
    to: u32,
    rssi_dbm: f32,
    /// Strong enough to be received; else only detected.
    sensed: bool,
}

/// Who hears whom.
pub struct Links {
    from: Vec<Vec<Link>>,
}

impl Links {
    /// Works out all links of a scenario; offsets that are drawn come from the seed.
    pub fn new(scenario: &Scenario, modem: &Modem, seed: u64) -> Self {
        let model = scenario.path_loss().expect("checked when it was read");
        let detected = Scenario::detected_from_dbm(modem);
        let count = scenario.nodes.len();
        let mut draws = Rng::from_seed(seed).child(0x6f66_6673);
        let from = (0..count)
            .map(|a| {
                let mut links = Vec::new();
                for b in (0..count).filter(|b| *b != a) {
                    let offset = match (&scenario.radio.link_offset_db, scenario.radio.asymmetric_links) {
                        (Some(offsets), _) => offsets[a][b],
                        (None, true) => gaussian(&mut draws) * OFFSET_DEVIATION_DB,
                        (None, false) => 0.0,
                    };
                    let rssi = scenario.rssi_dbm(model, a, b) - offset;
                    if rssi >= detected {
                        let sensed = rssi >= modem.sensitivity_dbm;
                        links.push(Link { to: b as u32, rssi_dbm: rssi as f32, sensed });
                    }
                }
                links
            })
            .collect();
        Self { from }
    }
}

/// Box-Muller.
fn gaussian(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(unit(rng)));
    radius * libm::cos(core::f64::consts::TAU * unit(rng))
}

/// Above 0, at most 1.
fn unit(rng: &mut Rng) -> f64 {
    (f64::from(rng.next_u32()) + 1.0) / 4_294_967_296.0
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A node creates its next message.
    Message(u32),
    /// The head of a node's queue has waited.
    Attempt(u32),
    /// Receivers notice a transmission; after all that start at the same time.
    Heard(u32),
    /// A transmission ends.
    End(u32),
    /// Has the message of this node been acknowledged?
    Check(u32),
}

/// What a node knows of a message.
#[derive(Clone, Copy, Default)]
struct Known {
    rssi_dbm: f32,
    copies: u16,
    /// It has made a packet of it: originated or to be relayed.
    own_packet: bool,
    /// That packet counts as acknowledged.
    acked: bool,
}

struct Message {
    origin: u32,
    to: u32,
    created_ns: u64,
    airtime_ns: u64,
    wants_ack: bool,
    /// The message that this one acknowledges.
    acknowledges: Option<u32>,
    /// Packets of it that count as acknowledged.
    acked: u32,
    answered: bool,
    retransmissions: u8,
    known: Vec<Known>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Waiting,
    Receiving,
    /// Lost to another packet before its start was noticed, or later.
    Collided,
    CollidedWhileReceiving,
    /// The receiver was transmitting when it began.
    Deaf,
    /// The same, and another packet came on top; that counts as a collision although nobody listened.
    DeafCollided,
}

struct Packet {
    from: u32,
    message: u32,
    hop_limit: u8,
    /// Relays lose the mark of an acknowledgement.
    is_ack: bool,
    start_ns: u64,
    /// For each link of the sender.
    hearing: Vec<Hearing>,
}

/// A packet on the air at a node.
#[derive(Clone, Copy)]
struct OnAir {
    packet: u32,
    /// Index into the packet's `hearing`.
    link: u32,
    rssi_dbm: f32,
    end_ns: u64,
}

#[derive(Default)]
struct Node {
    queue: VecDeque<u32>,
    /// The packet that holds the transmitter.
    head: Option<u32>,
    transmitting: bool,
    receiving: u32,
    /// Own and heard air time since the start.
    busy_ns: u64,
    /// What could collide here.
    on_air: Vec<OnAir>,
    /// Start and end of what is detected here.
    detected: Vec<(u64, u64, u32)>,
    /// The message that it waits for.
    current: Option<u32>,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Counters.
    pub counters: Counters,
    /// SHA-256 over all transmissions and what became of them at each receiver.
    pub log_sha256: String,
    /// Receptions that were settled, heard or lost.
    pub receptions: u64,
}

struct Engine<'a> {
    scenario: &'a Scenario,
    modem: Modem,
    links: &'a Links,
    end_ns: u64,
    slot_ns: u64,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    nodes: Vec<Node>,
    messages: Vec<Message>,
    packets: Vec<Packet>,
    /// Generators of the nodes' traffic; everything else draws from `draws`.
    traffic: Vec<Rng>,
    draws: Rng,
    busy_of_ten: i32,
    counters: Counters,
    receptions: u64,
    log: Sha256,
}

/// Runs a scenario under a seed.
pub fn run(scenario: &Scenario, seed: u64) -> Run {
    let modem = scenario.modem().expect("checked when it was read");
    let links = Links::new(scenario, &modem, seed);
    run_on(scenario, &links, seed)
}

/// The same over links that were worked out before.
pub fn run_on(scenario: &Scenario, links: &Links, seed: u64) -> Run {
    let modem = scenario.modem().expect("checked when it was read");
    let root = Rng::from_seed(seed);
    let level = scenario.radio.interference_level;
    let mut engine = Engine {
        scenario,
        modem,
        links,
        end_ns: ns(scenario.simulated_time_ms),
        slot_ns: ns(modem.slot_ms()),
        now: 0,
        events: BinaryHeap::new(),
        sequence: 0,
        nodes: scenario.nodes.iter().map(|_| Node::default()).collect(),
        messages: Vec::new(),
        packets: Vec::new(),
        traffic: (0..scenario.nodes.len()).map(|node| root.child(0x7472_6166).child(node as u64)).collect(),
        draws: root.child(0x6472_6177),
        busy_of_ten: libm::floor(10.0 * level) as i32 + 1,
        counters: Counters::default(),
        receptions: 0,
        log: Sha256::new(),
    };
    engine.run();
    Run {
        counters: engine.counters,
        log_sha256: engine.log.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        receptions: engine.receptions,
    }
}

impl Engine<'_> {
    fn run(&mut self) {
        for node in 0..self.nodes.len() as u32 {
            let setup = &self.scenario.nodes[node as usize];
            if setup.generates_traffic && setup.role != Role::Repeater {
                self.schedule_message(node);
            }
        }
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at >= self.end_ns {
                break;
            }
            self.now = at;
            match event {
                Event::Message(node) => self.create_message(node),
                Event::Attempt(node) => self.attempt(node),
                Event::Heard(packet) => self.begin_receptions(packet),
                Event::End(packet) => self.end(packet),
                Event::Check(node) => self.check(node),
            }
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        // Receptions begin after everything else of the instant that was scheduled before or is scheduled now.
        let late = if matches!(event, Event::Heard(_)) { 1 << 63 } else { 0 };
        self.events.push(Reverse((at, self.sequence | late, event)));
    }

    // ---- traffic ----------------------------------------------------------------------------------------------------

    fn schedule_message(&mut self, node: u32) {
        let traffic = &self.scenario.traffic;
        let gap_ms = -libm::log(unit(&mut self.traffic[node as usize])) * traffic.mean_period_ms;
        let airtime_ns = ns(self.modem.airtime_ms(traffic.payload_bytes));
        let hops = u64::from(self.scenario.nodes[node as usize].hop_limit);
        let at = self.now.saturating_add(ns(gap_ms));
        // None that could not cross the mesh any more; then the node has said its last.
        if at.saturating_add(hops * airtime_ns) < self.end_ns {
            self.schedule(at, Event::Message(node));
        }
    }

    fn create_message(&mut self, node: u32) {
        let traffic = &self.scenario.traffic;
        let others = self.nodes.len() as u32 - 1;
        let to = if traffic.direct_messages {
            let drawn = self.traffic[node as usize].below(others);
            drawn + u32::from(drawn >= node)
        } else {
            EVERYBODY
        };
        let message = self.add_message(node, to, traffic.payload_bytes, traffic.want_ack, None);
        self.originate(node, message, false);
        if traffic.want_ack {
            self.nodes[node as usize].current = Some(message);
            self.schedule_check(node, message);
        } else {
            self.schedule_message(node);
        }
    }

    fn add_message(
        &mut self,
        origin: u32,
        to: u32,
        payload: u32,
        wants_ack: bool,
        acknowledges: Option<u32>,
    ) -> u32 {
        self.counters.messages += 1;
        self.messages.push(Message {
            origin,
            to,
            created_ns: self.now,
            airtime_ns: ns(self.modem.airtime_ms(payload)),
            wants_ack,
            acknowledges,
            acked: 0,
            answered: false,
            retransmissions: RETRANSMISSIONS,
            known: vec![Known::default(); self.nodes.len()],
        });
        self.messages.len() as u32 - 1
    }

    fn originate(&mut self, node: u32, message: u32, is_ack: bool) {
        let hop_limit = self.scenario.nodes[node as usize].hop_limit;
        self.messages[message as usize].known[node as usize].own_packet = true;
        self.enqueue(node, message, hop_limit, is_ack);
    }

    fn schedule_check(&mut self, node: u32, message: u32) {
        let airtime_ms = libm::floor(ms(self.messages[message as usize].airtime_ns));
        let window = 1u64 << own_window(self.utilization_pct(node));
        let wait = ns(2.0 * airtime_ms + 4500.0) + (window + 32) * self.slot_ns;
        self.schedule(self.now + wait, Event::Check(node));
    }

    fn check(&mut self, node: u32) {
        let Some(message) = self.nodes[node as usize].current else { return };
        let state = &mut self.messages[message as usize];
        if state.acked > 0 || state.retransmissions == 0 {
            self.nodes[node as usize].current = None;
            self.schedule_message(node);
            return;
        }
        state.retransmissions -= 1;
        self.originate(node, message, false);
        self.schedule_check(node, message);
    }

    // ---- medium access ----------------------------------------------------------------------------------------------

    fn utilization_pct(&self, node: u32) -> f64 {
        if self.now == 0 {
            return 0.0;
        }
        100.0 * self.nodes[node as usize].busy_ns as f64 / self.now as f64
    }

    /// Nodes that the link budget lets hear this one.
    fn sensed_by(&self, node: u32) -> u64 {
        self.links.from[node as usize].iter().filter(|link| link.sensed).count() as u64
    }

    fn enqueue(&mut self, node: u32, message: u32, hop_limit: u8, is_ack: bool) {
        self.counters.sensed += self.sensed_by(node);
        self.packets.push(Packet {
            from: node,
            message,
            hop_limit,
            is_ack,
            start_ns: 0,
            hearing: Vec::new(),
        });
        let packet = self.packets.len() as u32 - 1;
        let state = &mut self.nodes[node as usize];
        if state.head.is_none() {
            state.head = Some(packet);
            self.wait(node);
        } else {
            state.queue.push_back(packet);
        }
    }

    /// The head of the queue waits a drawn number of slots.
    fn wait(&mut self, node: u32) {
        let Some(packet) = self.nodes[node as usize].head else { return };
        let message = self.packets[packet as usize].message;
        let known = self.messages[message as usize].known[node as usize];
        let slots = if known.copies > 0 {
            let window = relay_window(f64::from(known.rssi_dbm));
            match self.scenario.nodes[node as usize].role {
                Role::Router => u64::from(self.draws.below(2 * window)),
                _ => self.draw_slots(window),
            }
        } else {
            self.draw_slots(own_window(self.utilization_pct(node)))
        };
        self.schedule(self.now + slots * self.slot_ns, Event::Attempt(node));
    }

    /// Below 2^window.
    fn draw_slots(&mut self, window: u32) -> u64 {
        self.draws.next_u64() >> (64 - window)
    }

    fn is_busy(&mut self, node: u32) -> bool {
        let state = &self.nodes[node as usize];
        if state.receiving > 0 || state.transmitting {
            return true;
        }
        // Something from outside is on the air.
        if self.busy_of_ten > 0 && (self.draws.below(10) as i32) < self.busy_of_ten {
            return true;
        }
        let (now, slot_ns) = (self.now, self.slot_ns);
        state.detected.iter().any(|(start, end, _)| start + slot_ns <= now && now <= *end)
    }

    fn attempt(&mut self, node: u32) {
        let Some(packet) = self.nodes[node as usize].head else { return };
        if self.is_busy(node) {
            self.wait(node);
            return;
        }
        let message = self.packets[packet as usize].message;
        let copies = self.messages[message as usize].known[node as usize].copies;
        let enough = match self.scenario.nodes[node as usize].role {
            Role::Router | Role::Repeater => 2,
            Role::Client | Role::ClientMute => 1,
        };
        if copies > enough {
            // Decided only now: the packet has held the queue through its whole wait. It leaves the reference's list.
            self.counters.dropped += 1;
            self.counters.sensed -= self.sensed_by(node);
            self.forget(node, message);
            self.next(node);
            return;
        }
        self.transmit(node, packet);
    }

    /// A relay's packet has left the list, and with it that it was acknowledged; a further copy makes another one.
    fn forget(&mut self, node: u32, message: u32) {
        let state = &mut self.messages[message as usize];
        if state.origin != node {
            let known = &mut state.known[node as usize];
            state.acked -= u32::from(std::mem::take(&mut known.acked));
            known.own_packet = false;
        }
    }

    fn next(&mut self, node: u32) {
        let state = &mut self.nodes[node as usize];
        state.head = state.queue.pop_front();
        self.wait(node);
    }

    // ---- air --------------------------------------------------------------------------------------------------------

    fn transmit(&mut self, node: u32, packet: u32) {
        let airtime_ns = self.messages[self.packets[packet as usize].message as usize].airtime_ns;
        let (now, end_ns) = (self.now, self.now + airtime_ns);
        self.counters.transmissions += 1;
        self.counters.airtime_ms += ms(airtime_ns);
        let sender = &mut self.nodes[node as usize];
        sender.transmitting = true;
        sender.busy_ns += airtime_ns;
        let links = &self.links.from[node as usize];
        let mut hearing = vec![Hearing::Waiting; links.len()];
        for (index, link) in links.iter().enumerate() {
            let receiver = &mut self.nodes[link.to as usize];
            receiver.detected.push((now, end_ns, packet));
            if !link.sensed {
                continue;
            }
            let mut lost = false;
            for other in receiver.on_air.iter().filter(|other| other.end_ns > now) {
                let difference = f64::from(link.rssi_dbm) - f64::from(other.rssi_dbm);
                let both = difference.abs() < CAPTURE_DB;
                if both || difference > 0.0 {
                    let hit = &mut self.packets[other.packet as usize].hearing[other.link as usize];
                    let collided = match *hit {
                        Hearing::Waiting => Hearing::Collided,
                        Hearing::Receiving => Hearing::CollidedWhileReceiving,
                        Hearing::Deaf => Hearing::DeafCollided,
                        already => already,
                    };
                    self.counters.collided += u64::from(collided != *hit);
                    *hit = collided;
                }
                lost |= both || difference < 0.0;
            }
            if lost {
                hearing[index] = Hearing::Collided;
                self.counters.collided += 1;
            } else {
                let rssi_dbm = link.rssi_dbm;
                receiver.on_air.push(OnAir { packet, link: index as u32, rssi_dbm, end_ns });
            }
        }
        let state = &mut self.packets[packet as usize];
        state.start_ns = now;
        state.hearing = hearing;
        self.schedule(now, Event::Heard(packet));
        self.schedule(end_ns, Event::End(packet));
    }

    fn begin_receptions(&mut self, packet: u32) {
        let state = &mut self.packets[packet as usize];
        let airtime_ns = self.messages[state.message as usize].airtime_ns;
        for (link, hearing) in self.links.from[state.from as usize].iter().zip(&mut state.hearing) {
            if !link.sensed {
                continue;
            }
            let receiver = &mut self.nodes[link.to as usize];
            match *hearing {
                Hearing::Waiting if receiver.transmitting => {
                    *hearing = Hearing::Deaf;
                    self.counters.sensed -= 1;
                }
                Hearing::Waiting => {
                    *hearing = Hearing::Receiving;
                    receiver.receiving += 1;
                }
                // The reference takes the start of a packet that has collided for its end.
                _ => {
                    receiver.receiving = receiver.receiving.saturating_sub(1);
                    receiver.busy_ns += airtime_ns;
                }
            }
        }
    }

    fn end(&mut self, packet: u32) {
        let state = &mut self.packets[packet as usize];
        let (from, message, start_ns) = (state.from, state.message, state.start_ns);
        let hearing = std::mem::take(&mut state.hearing);
        let airtime_ns = self.messages[message as usize].airtime_ns;
        let mut record = Vec::with_capacity(24 + hearing.len());
        record.extend_from_slice(&start_ns.to_le_bytes());
        record.extend_from_slice(&self.now.to_le_bytes());
        record.extend_from_slice(&from.to_le_bytes());
        record.extend_from_slice(&message.to_le_bytes());
        self.nodes[from as usize].transmitting = false;
        let links = self.links;
        for (link, hearing) in links.from[from as usize].iter().zip(&hearing) {
            let receiver = &mut self.nodes[link.to as usize];
            receiver.detected.retain(|(_, _, other)| *other != packet);
            if !link.sensed {
                continue;
            }
            receiver.on_air.retain(|other| other.packet != packet);
            record.push(*hearing as u8);
            self.receptions += 1;
            if matches!(hearing, Hearing::Deaf | Hearing::DeafCollided) {
                continue;
            }
            receiver.receiving = receiver.receiving.saturating_sub(1);
            receiver.busy_ns += airtime_ns;
            if *hearing == Hearing::Receiving {
                self.receive(link.to, packet, link.rssi_dbm);
            }
        }
        self.log.update(&record);
        self.next(from);
    }

    fn receive(&mut self, node: u32, packet: u32, rssi_dbm: f32) {
        let (message, hop_limit, is_ack) = {
            let packet = &self.packets[packet as usize];
            (packet.message, packet.hop_limit, packet.is_ack)
        };
        let state = &mut self.messages[message as usize];
        self.counters.received += 1;
        self.counters.delay_sum_ms += ms(self.now - state.created_ns);
        let known = &mut state.known[node as usize];
        let first = known.copies == 0;
        known.copies = known.copies.saturating_add(1);
        known.rssi_dbm = rssi_dbm;
        // An echo is an acknowledgement, and so is one of a relay's packet that only the relay hears: the reference looks at
        // all packets of the message, whoever sent them.
        if known.own_packet && !known.acked {
            known.acked = true;
            state.acked += 1;
        }
        if state.origin == node {
            return;
        }
        self.counters.useful += u64::from(first);
        if state.to == node {
            if is_ack && let Some(acknowledged) = state.acknowledges {
                self.messages[acknowledged as usize].acked += 1;
            } else if state.wants_ack && !state.answered {
                state.answered = true;
                let origin = state.origin;
                let ack = self.add_message(node, origin, ACK_PAYLOAD, false, Some(message));
                self.originate(node, ack, true);
            }
            return;
        }
        let relays =
            hop_limit > 0 && !known.own_packet && self.scenario.nodes[node as usize].role != Role::ClientMute;
        if relays {
            known.own_packet = true;
            self.enqueue(node, message, hop_limit - 1, false);
        }
    }
}
