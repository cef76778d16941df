//! Nodes of the state sync alone, on links that lose, repeat, delay and reorder what is said.

#![allow(dead_code, reason = "each test uses a part")]

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::sync::{Config, Sync, SyncBuffer};
use compotastic_wire::{Address, Frame, FrameClass, KeyRing, MAX_PAYLOAD, SwarmKey, open, seal};

const STEP: Duration = Duration::from_secs(1);

/// A frame on its way.
struct Flying {
    at: Instant,
    to: usize,
    from: u32,
    id: u32,
    payload: Vec<u8>,
}

pub struct World {
    pub now: Instant,
    pub nodes: Vec<Sync>,
    /// Pairs that hear each other.
    pub links: Vec<(usize, usize)>,
    /// Permille.
    pub loss: u32,
    /// Permille.
    pub repeats: u32,
    pub delay_s_max: u32,
    /// Class and time of all that was said.
    pub said: Vec<(usize, Instant, FrameClass)>,
    flying: Vec<Flying>,
    rng: Rng,
    packets: u32,
}

pub fn number(node: usize) -> u32 {
    (node as u32 + 1).wrapping_mul(0x9E37_79B1)
}

pub fn keys() -> KeyRing {
    KeyRing::new(1, SwarmKey([3; 16]))
}

impl World {
    pub fn new(count: usize, links: Vec<(usize, usize)>, seed: u64) -> Self {
        let start = |node: usize| {
            Sync::new(number(node), Config::default(), seed ^ (node as u64) << 32, Instant::ZERO)
        };
        Self {
            now: Instant::ZERO,
            nodes: (0..count).map(start).collect(),
            links,
            loss: 0,
            repeats: 0,
            delay_s_max: 2,
            said: Vec::new(),
            flying: Vec::new(),
            rng: Rng::from_seed(seed).child(9),
            packets: 0,
        }
    }

    /// Each hears the one before and the one after.
    pub fn line(count: usize, seed: u64) -> Self {
        Self::new(count, (1..count).map(|node| (node - 1, node)).collect(), seed)
    }

    pub fn publish(&mut self, node: usize, record: &[u8]) {
        self.nodes[node].publish(self.now, record).unwrap();
    }

    /// The node forgets everything.
    pub fn restart(&mut self, node: usize, record: &[u8]) {
        let seed = self.rng.next_u64();
        self.nodes[node] = Sync::new(number(node), Config::default(), seed, self.now);
        self.publish(node, record);
    }

    fn fly(&mut self, from: usize, payload: &[u8], id: u32) {
        for (a, b) in self.links.clone() {
            let to = match from {
                from if from == a => b,
                from if from == b => a,
                _ => continue,
            };
            let copies = 1 + u32::from(self.rng.below(1000) < self.repeats);
            for _ in 0..copies {
                if self.rng.below(1000) < self.loss {
                    continue;
                }
                let delay = Duration::from_secs(u64::from(1 + self.rng.below(self.delay_s_max)));
                let (at, from, payload) = (self.now + delay, number(from), payload.to_vec());
                self.flying.push(Flying { at, to, from, id, payload });
            }
        }
    }

    /// What a node is made to say, whatever it knows.
    pub fn say(&mut self, from: usize, frame: &Frame<'_>) {
        self.packets += 1;
        let id = self.packets;
        let address = Address { from: number(from), to: u32::MAX, id };
        let mut buffer = [0; MAX_PAYLOAD];
        let length = seal(frame, &keys(), &address, &mut buffer).expect("what is said fits and is sound");
        self.said.push((from, self.now, frame.class()));
        self.fly(from, &buffer[..length], id);
    }

    pub fn step(&mut self) {
        self.now = self.now + STEP;
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.flying).into_iter().partition(|frame| frame.at <= now);
        self.flying = later;
        for frame in due as Vec<Flying> {
            let address = Address { from: frame.from, to: u32::MAX, id: frame.id };
            let (said, _) = open(&frame.payload, &keys(), &address).unwrap();
            self.nodes[frame.to].handle(now, frame.from, &said);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].poll_timeout() > now {
                continue;
            }
            let mut buffer: SyncBuffer = [0; MAX_PAYLOAD];
            let mut frames = Vec::new();
            while let Some(frame) = self.nodes[node].poll(now, &mut buffer) {
                let mut payload = [0; MAX_PAYLOAD];
                self.packets += 1;
                let id = self.packets;
                let address = Address { from: number(node), to: u32::MAX, id };
                let length = seal(&frame, &keys(), &address, &mut payload).unwrap();
                frames.push((id, frame.class(), payload[..length].to_vec()));
            }
            for (id, class, payload) in frames {
                self.said.push((node, now, class));
                self.fly(node, &payload, id);
            }
        }
    }

    pub fn run(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.step());
    }

    pub fn agree(&self) -> bool {
        let first = &self.nodes[0];
        self.nodes.iter().all(|node| node.digest() == first.digest() && node.members().eq(first.members()))
    }

    /// Runs until all agree; the seconds that it took.
    pub fn run_until_agreed(&mut self, limit_s: u64) -> Option<u64> {
        (0..limit_s).find(|_| {
            self.step();
            self.agree()
        })
    }

    pub fn count(&self, node: usize, since: Instant) -> usize {
        self.said.iter().filter(|(from, at, _)| *from == node && *at > since).count()
    }
}
