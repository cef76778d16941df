//! Routers on perfect air ([`Ether`]): whoever is linked hears each frame after its time on air, one frame at a time. And
//! one router whose neighbours are the test ([`Alone`]).

#![allow(dead_code, reason = "each test uses a part")]

pub mod natives;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    lora::{Preset, Region},
    packet::{Data, HEADER, Header, NodeNum, PacketId},
    router::{Gate, Incoming, Outgoing, Priority, Relaying, Role, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};
use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

/// Our own port in these tests.
pub const OWN_PORT: u16 = 300;
/// A stock port.
pub const TEXT_PORT: u16 = 1;
/// Good reception, quarter decibels.
const SNR_QDB: i16 = 20;

pub fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

pub fn node(index: usize) -> NodeNum {
    NodeNum(0x0a00_0000 + 17 * (index as u32 + 1))
}

pub fn channel(key: u8) -> Channel {
    Channel::new("swarm", &[key; 32]).unwrap()
}

pub fn config(index: usize, role: Role) -> RouterConfig {
    RouterConfig {
        num: node(index),
        role,
        preset: Preset::LongFast,
        region: Region::Eu868,
        hop_limit: 3,
        channels: [channel(7)].into_iter().collect(),
        own_port: OWN_PORT,
        relaying: Relaying::default(),
    }
}

pub fn outgoing(to: NodeNum, id: u32, port: u16, payload: &[u8]) -> Outgoing<'_> {
    Outgoing {
        to,
        id: PacketId(id),
        channel: 0,
        port,
        payload,
        hop_limit: 3,
        want_ack: to != NodeNum::BROADCAST,
        priority: Priority::Default,
        gate: Gate::Normal,
        request_id: None,
        bitfield: None,
    }
}

/// A property of so many cases, or PROPTEST_CASES. Where it fails, its output says how the same cases come again.
pub fn property(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().build_hasher().finish());
    }
    if let RngSeed::Fixed(seed) = config.rng_seed {
        println!("the same cases again: PROPTEST_RNG_SEED={seed} and the name of this test");
    }
    config
}

/// The header of a flood that its origin sends, hop limit 3.
pub fn header(from: NodeNum, to: NodeNum, id: u32) -> Header {
    Header {
        to,
        from,
        id: PacketId(id),
        hop_limit: 3,
        want_ack: false,
        via_mqtt: false,
        hop_start: 3,
        channel_hash: channel(7).hash(),
        next_hop: 0,
        relay_node: from.last_byte(),
    }
}

/// A frame with this message, on the channel that all have.
pub fn frame(header: &Header, data: &Data<'_>) -> Vec<u8> {
    let mut clear = [0; 256];
    let length = data.encode(&mut clear).unwrap();
    ctr_apply(&channel(7).key, header.from, header.id, &mut clear[..length]);
    [&header.emit()[..], &clear[..length]].concat()
}

/// A frame on a channel that nobody here has.
pub fn secret(header: &Header) -> Vec<u8> {
    let header = Header { channel_hash: !header.channel_hash, ..*header };
    [&header.emit()[..], &[0xa5; 40]].concat()
}

/// The same with a payload only.
pub fn message(header: &Header, port: u16, payload: &[u8]) -> Vec<u8> {
    frame(header, &Data { port, payload, ..Data::default() })
}

/// A transmission that was on the air.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    pub by: usize,
    pub header: Header,
    pub bytes: Vec<u8>,
}

/// Whether a receiver loses a frame: (sender, receiver, frame).
pub type Loss = Box<dyn FnMut(usize, usize, &Sent) -> bool>;

pub struct Ether {
    pub now: Instant,
    pub routers: Vec<Router>,
    linked: Box<dyn Fn(usize, usize) -> bool>,
    pub lost: Loss,
    pub sent: Vec<Sent>,
    pub events: Vec<(usize, RouterEvent)>,
}

impl Ether {
    pub fn new(roles: &[Role], linked: impl Fn(usize, usize) -> bool + 'static) -> Self {
        let routers = roles
            .iter()
            .enumerate()
            .map(|(index, role)| Router::new(config(index, *role), index as u64 + 1, Instant::ZERO))
            .collect();
        Self {
            now: Instant::ZERO,
            routers,
            linked: Box::new(linked),
            lost: Box::new(|_, _, _| false),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A line of so many clients, of which the second has these settings.
    pub fn line_with(nodes: usize, second: RouterConfig) -> Self {
        let mut ether = Self::line(nodes);
        ether.routers[1] = Router::new(second, 2, Instant::ZERO);
        ether
    }

    /// A line of so many clients.
    pub fn line(nodes: usize) -> Self {
        Self::new(&vec![Role::Client; nodes], |a, b| a.abs_diff(b) == 1)
    }

    pub fn send(&mut self, from: usize, out: &Outgoing<'_>) {
        self.routers[from].send(self.now, out).unwrap();
    }

    fn drain(&mut self) {
        for (index, router) in self.routers.iter_mut().enumerate() {
            while let Some(event) = router.poll_event() {
                self.events.push((index, event));
            }
        }
    }

    /// Runs until this time.
    pub fn run(&mut self, until: Instant) {
        self.drain();
        loop {
            let due = (0..self.routers.len())
                .filter_map(|index| Some((self.routers[index].poll_timeout()?.max(self.now), index)))
                .min();
            let Some((when, index)) = due.filter(|(when, _)| *when <= until) else { break };
            self.now = when;
            self.routers[index].handle_timeout(when);
            if let Some(frame) = self.routers[index].poll_transmit(when, false) {
                let header = Header::parse(&frame.bytes).unwrap();
                let sent = Sent { at: when, by: index, header, bytes: frame.bytes.to_vec() };
                self.now = when + frame.airtime;
                self.routers[index].handle_tx_done(self.now);
                for other in 0..self.routers.len() {
                    if other != index && (self.linked)(index, other) && !(self.lost)(index, other, &sent) {
                        self.routers[other].handle_frame(self.now, &sent.bytes, SNR_QDB, -90);
                    }
                }
                self.sent.push(sent);
            }
            self.drain();
        }
        self.now = self.now.max(until);
    }

    /// What a node was given for itself.
    pub fn received(&self, index: usize) -> Vec<&Incoming> {
        self.events
            .iter()
            .filter_map(|(at, event)| match event {
                RouterEvent::Received(incoming) if *at == index => Some(incoming),
                _ => None,
            })
            .collect()
    }

    /// Who sent this packet, in order, bare headers left out.
    pub fn senders(&self, id: u32) -> Vec<usize> {
        self.sent
            .iter()
            .filter(|sent| sent.header.id == PacketId(id) && sent.bytes.len() > 16)
            .map(|sent| sent.by)
            .collect()
    }

    /// Bare headers that were sent.
    pub fn bare(&self) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.bytes.len() == 16).collect()
    }

    pub fn acked(&self, index: usize, id: u32) -> usize {
        let wanted =
            |event: &RouterEvent| matches!(event, RouterEvent::Acked { id: acked } if *acked == PacketId(id));
        self.events.iter().filter(|(at, event)| *at == index && wanted(event)).count()
    }

    pub fn failed(&self, index: usize, id: u32) -> usize {
        let wanted = |event: &RouterEvent| matches!(event, RouterEvent::Failed { id: failed } if *failed == PacketId(id));
        self.events.iter().filter(|(at, event)| *at == index && wanted(event)).count()
    }
}

/// Node 0, whose neighbours are the test.
pub struct Alone {
    pub now: Instant,
    pub router: Router,
    pub sent: Vec<Sent>,
    pub events: Vec<RouterEvent>,
}

impl Alone {
    pub fn new(role: Role, seed: u64) -> Self {
        Self::with(config(0, role), seed)
    }

    pub fn with(config: RouterConfig, seed: u64) -> Self {
        let router = Router::new(config, seed, Instant::ZERO);
        Self { now: Instant::ZERO, router, sent: Vec::new(), events: Vec::new() }
    }

    pub fn send(&mut self, out: &Outgoing<'_>) {
        self.router.send(self.now, out).unwrap();
    }

    /// Hears a frame, now.
    pub fn hear(&mut self, frame: &[u8]) {
        self.hear_at(frame, SNR_QDB);
    }

    pub fn hear_at(&mut self, frame: &[u8], snr_qdb: i16) {
        self.router.handle_frame(self.now, frame, snr_qdb, -90);
        self.events.extend(std::iter::from_fn(|| self.router.poll_event()));
    }

    /// A node is known from now on as a neighbour, or by a relay.
    pub fn meet(&mut self, who: NodeNum, hops: u8, relay: NodeNum) {
        let id = 0x5000_0000 + self.now.as_micros() as u32 % 0x0fff_ffff + who.0 % 0xff + u32::from(hops);
        // It has no hops left, so that nothing is relayed.
        let header = Header {
            hop_start: hops,
            hop_limit: 0,
            relay_node: relay.last_byte(),
            ..header(who, NodeNum::BROADCAST, id)
        };
        self.hear_at(&message(&header, TEXT_PORT, b"here I am"), 40);
    }

    /// Lets the router work and send for so many seconds; what it sent is in `sent`.
    pub fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.router.poll_timeout().map(|due| due.max(self.now)) {
            if due > until {
                break;
            }
            self.now = due;
            self.router.handle_timeout(due);
            if let Some(frame) = self.router.poll_transmit(due, false) {
                let header = Header::parse(&frame.bytes).unwrap();
                self.sent.push(Sent { at: due, by: 0, header, bytes: frame.bytes.to_vec() });
                self.now = due + frame.airtime;
                self.router.handle_tx_done(self.now);
            }
            self.events.extend(std::iter::from_fn(|| self.router.poll_event()));
        }
        self.events.extend(std::iter::from_fn(|| self.router.poll_event()));
        self.now = self.now.max(until);
    }

    /// Sent frames of this packet that carry it; bare headers do not.
    pub fn sent(&self, id: u32) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.header.id == PacketId(id) && sent.bytes.len() > HEADER).collect()
    }

    /// Sent bare headers.
    pub fn bare(&self) -> Vec<Header> {
        self.sent.iter().filter(|sent| sent.bytes.len() == HEADER).map(|sent| sent.header).collect()
    }

    pub fn received(&self) -> Vec<&Incoming> {
        let found = self.events.iter();
        found
            .filter_map(
                |event| if let RouterEvent::Received(incoming) = event { Some(incoming) } else { None },
            )
            .collect()
    }

    pub fn failed(&self, id: u32) -> usize {
        let wanted =
            |event: &&RouterEvent| matches!(event, RouterEvent::Failed { id: failed } if failed.0 == id);
        self.events.iter().filter(wanted).count()
    }

    pub fn repeated(&self, id: u32) -> usize {
        let wanted =
            |event: &&RouterEvent| matches!(event, RouterEvent::Duplicate { id: told, .. } if told.0 == id);
        self.events.iter().filter(wanted).count()
    }
}
