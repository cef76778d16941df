//! A small world: nodes at drawn places, zero-hop broadcasts that neighbours hear or lose, and a clock.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use compotastic_mesh::{
    lora::Preset,
    packet::{Data, HEADER},
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::sync::{Config, Summary, Sync, SyncBuffer};
use compotastic_wire::{
    Address, Frame, KeyRing, MAC_LEN, MAX_PAYLOAD, PORT, SwarmKey, SyncItem, SyncItemWriter, SyncRecords,
    open, seal,
};

use super::methods::{self, Method};

/// What was on the air.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// Bytes of digests, lists, sketches and messages.
    pub digest_bytes: u64,
    /// Bytes of records, with member, version and length.
    pub record_bytes: u64,
    /// Bytes of whole LoRa frames.
    pub total_bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Microseconds of air.
    pub airtime_us: u64,
}

/// Places, and who hears whom.
#[derive(Clone, Debug)]
pub struct Field {
    /// Neighbours of each node.
    pub links: Vec<Vec<usize>>,
    /// Which half of the field a node is in.
    pub west: Vec<bool>,
}

impl Field {
    /// A connected field in the unit square whose halves are connected too, about `degree` neighbours each.
    pub fn draw(nodes: usize, degree: f64, rng: &mut Rng) -> Self {
        let reach = (degree / (nodes as f64 * std::f64::consts::PI)).sqrt();
        loop {
            let mut unit = || f64::from(rng.next_u32()) / 4_294_967_296.0;
            let places: Vec<(f64, f64)> = (0..nodes).map(|_| (unit(), unit())).collect();
            let near = |a: usize, b: usize| {
                let (x, y) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
                a != b && x * x + y * y <= reach * reach
            };
            let links: Vec<Vec<usize>> =
                (0..nodes).map(|a| (0..nodes).filter(|b| near(a, *b)).collect()).collect();
            let mut by_x: Vec<usize> = (0..nodes).collect();
            by_x.sort_by(|a, b| places[*a].0.total_cmp(&places[*b].0));
            let mut west = vec![false; nodes];
            by_x[..nodes / 2].iter().for_each(|node| west[*node] = true);
            let field = Self { links, west };
            let halves = [true, false].map(|side| field.reached(|node| field.west[node] == side));
            if field.reached(|_| true) == nodes && halves.iter().sum::<usize>() == nodes {
                return field;
            }
        }
    }

    /// Nodes that the first of those chosen reaches through them.
    fn reached(&self, chosen: impl Fn(usize) -> bool) -> usize {
        let Some(first) = (0..self.links.len()).find(|node| chosen(*node)) else { return 0 };
        let (mut seen, mut stack) = (BTreeSet::from([first]), vec![first]);
        while let Some(node) = stack.pop() {
            let next = self.links[node].iter().copied().filter(|next| chosen(*next));
            stack.extend(next.filter(|next| seen.insert(*next)));
        }
        seen.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(usize),
    Heard { node: usize, from: usize, id: u32, payload: Vec<u8> },
}

/// All nodes, the air between them, and the clock.
#[derive(Clone)]
pub struct World {
    /// The clock.
    pub now: Instant,
    /// The state machines.
    pub nodes: Vec<Sync>,
    /// What was on the air so far.
    pub account: Account,
    /// The halves do not hear each other.
    pub apart: bool,
    pub(crate) field: Field,
    /// Nodes that have to agree.
    present: Vec<usize>,
    pub(crate) rng: Rng,
    method: Method,
    loss_ppm: u32,
    keys: KeyRing,
    packets: u32,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    wakes: Vec<Instant>,
    sequence: u64,
}

/// Number of a node on the air: spread over 32 bits, as they are.
pub fn number(node: usize) -> u32 {
    (node as u32 + 1).wrapping_mul(0x9E37_79B1)
}

/// The record of a node at a version of the bench's own counting.
pub fn record(node: usize, edition: u8, length: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(node as u64).child(u64::from(edition) + 1);
    (0..length).map(|_| rng.next_u32() as u8).collect()
}

impl World {
    /// Nodes that all know each other's records and have been silent for a day but for their timers.
    pub fn settled(method: Method, field: Field, loss: f64, seed: u64, record_len: usize) -> Self {
        let summary = if method == Method::Compotastic { Summary::Recent } else { Summary::Vector };
        let config = Config { summary, ..Config::default() };
        let count = field.links.len();
        let nodes = (0..count)
            .map(|node| Sync::new(number(node), config, seed ^ (node as u64) << 32, Instant::ZERO))
            .collect();
        let mut world = Self {
            now: Instant::ZERO,
            nodes,
            account: Account::default(),
            apart: false,
            field,
            present: (0..count).collect(),
            rng: Rng::from_seed(seed).child(1),
            method,
            loss_ppm: (loss * 1e6) as u32,
            keys: KeyRing::new(1, SwarmKey([7; 16])),
            packets: 0,
            queue: BinaryHeap::new(),
            wakes: vec![Instant::from_micros(u64::MAX); count],
            sequence: 0,
        };
        let start = Instant::ZERO + config.settle;
        world.now = start;
        for node in 0..count {
            for other in 0..count {
                let bytes = record(other, 0, record_len);
                let mut buffer = [0; MAX_PAYLOAD];
                let mut writer = SyncItemWriter::new(&mut buffer);
                // A record of the longest length fits a frame.
                let _ = writer.push(&SyncItem { node: number(other), version: 1, bytes: &bytes });
                let frame = Frame::SyncRecords(SyncRecords::from_items(1, writer.finish()));
                world.nodes[node].handle(start, 0, &frame);
            }
            world.wake(node);
        }
        world.run_until(start + Duration::from_secs(86_400), |_| false);
        world.account = Account::default();
        world
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }

    /// Whether a packet gets from one to the other now; draws the loss.
    pub(crate) fn arrives(&mut self, from: usize, to: usize) -> bool {
        let cut = self.apart && self.field.west[from] != self.field.west[to];
        !cut && !self.rng.chance_ppm(self.loss_ppm)
    }

    /// Counts a packet with so many bytes between head and MAC.
    pub(crate) fn count(&mut self, digest_bytes: usize, record_bytes: usize) -> Duration {
        let payload = 2 + digest_bytes + record_bytes + MAC_LEN;
        let filler = [0; MAX_PAYLOAD];
        let data = Data { port: PORT, payload: &filler[..payload], ..Data::default() };
        // The longest payload fits the longest packet.
        let length = HEADER + data.encode(&mut [0; 255]).unwrap_or(255 - HEADER);
        let airtime_us = Preset::LongFast.modem(false).time_on_air_us(length);
        self.account.digest_bytes += digest_bytes as u64;
        self.account.record_bytes += record_bytes as u64;
        self.account.total_bytes += length as u64;
        self.account.packets += 1;
        self.account.airtime_us += airtime_us;
        Duration::from_micros(airtime_us)
    }

    /// A frame of ours goes on the air, after up to a second of waiting for a free channel.
    pub(crate) fn send(&mut self, from: usize, frame: &Frame<'_>) {
        let (digest, records) = match frame {
            Frame::SyncRecords(records) => (8, records.item_bytes().len()),
            Frame::SyncList(list) => (12 + list.entries.len(), 0),
            _ => (8, 0),
        };
        let airtime = self.count(digest, records);
        self.deliver(from, airtime, frame);
    }

    /// Whoever hears it takes it in when it has ended.
    pub(crate) fn deliver(&mut self, from: usize, airtime: Duration, frame: &Frame<'_>) {
        self.packets += 1;
        let id = self.packets;
        let address = Address { from: number(from), to: u32::MAX, id };
        let mut buffer = [0; MAX_PAYLOAD];
        let Ok(length) = seal(frame, &self.keys, &address, &mut buffer) else {
            unreachable!("the state machine makes frames that fit")
        };
        let wait = Duration::from_millis(u64::from(self.rng.below(1000)));
        let at = self.now + wait + airtime;
        for node in self.field.links[from].clone() {
            if self.arrives(from, node) {
                self.push(at, Event::Heard { node, from, id, payload: buffer[..length].to_vec() });
            }
        }
    }

    /// Lets a node say what it has to say, and notes when it wants to be called again.
    pub(crate) fn wake(&mut self, node: usize) {
        let mut buffer: SyncBuffer = [0; MAX_PAYLOAD];
        loop {
            let now = self.now;
            let Some(frame) = self.nodes[node].poll(now, &mut buffer) else { break };
            methods::say(self, self.method, node, &frame);
        }
        let at = self.nodes[node].poll_timeout().max(self.now + Duration::from_millis(1));
        if at < self.wakes[node] || self.wakes[node] <= self.now {
            self.wakes[node] = at;
            self.push(at, Event::Wake(node));
        }
    }

    /// The same world, in which differences are told in this way. All ways but ours are alike while all agree.
    pub fn with(&self, method: Method) -> Self {
        Self { method, ..self.clone() }
    }

    /// The node's own record changes.
    pub fn change(&mut self, node: usize, edition: u8, record_len: usize) {
        let now = self.now;
        // The bench's records fit a frame; its arguments are checked.
        let _ = self.nodes[node].publish(now, &record(node, edition, record_len));
        self.wake(node);
    }

    /// All know the same versions and hold the same records.
    pub fn agrees(&self) -> bool {
        let mut nodes = self.present.iter().map(|node| &self.nodes[*node]);
        let Some(first) = nodes.next() else { return true };
        nodes.all(|node| node.digest() == first.digest() && node.members().eq(first.members()))
    }

    /// All but two neighbours fall silent; those two.
    pub fn pair(&mut self) -> [usize; 2] {
        let pair = [0, self.field.links[0].first().copied().unwrap_or(0)];
        for (node, links) in self.field.links.iter_mut().enumerate() {
            links.retain(|other| pair.contains(&node) && pair.contains(other));
        }
        self.queue.retain(|Reverse((_, _, event))| match event {
            Event::Wake(node) => pair.contains(node),
            Event::Heard { .. } => false,
        });
        self.present = pair.to_vec();
        pair
    }

    /// A node learns of another's change where nobody hears it.
    pub fn tell(&mut self, node: usize, owner: usize, record_len: usize) {
        let mut buffer = [0; MAX_PAYLOAD];
        let mut writer = SyncItemWriter::new(&mut buffer);
        let (now, bytes) = (self.now, record(owner, 1, record_len));
        let version =
            self.nodes[node].members().find(|member| member.0 == number(owner)).map_or(1, |member| member.1);
        let item = SyncItem { node: number(owner), version: version.wrapping_add(1), bytes: &bytes };
        // The bench's records fit a frame; its arguments are checked.
        let _ = writer.push(&item);
        let digest = self.nodes[node].digest();
        let frame = Frame::SyncRecords(SyncRecords::from_items(digest, writer.finish()));
        self.nodes[node].handle(now, 0, &frame);
    }

    /// Runs until something is so, or the time has come.
    pub fn run_until(&mut self, end: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        while let Some(Reverse((at, _, _))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, event))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            match event {
                Event::Wake(node) => self.wake(node),
                Event::Heard { node, from, id, payload } => {
                    let address = Address { from: number(from), to: u32::MAX, id };
                    if let Ok((frame, _)) = open(&payload, &self.keys, &address) {
                        let now = self.now;
                        self.nodes[node].handle(now, number(from), &frame);
                        self.wake(node);
                        if done(self) {
                            return true;
                        }
                    }
                }
            }
        }
        self.now = self.now.max(end);
        false
    }
}
