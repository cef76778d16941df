//! Routers on perfect air: whoever is linked hears each frame after its time on air, one frame at a time.

#![allow(dead_code, reason = "each test uses a part")]

use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::{Header, NodeNum, PacketId},
    router::{Gate, Incoming, Outgoing, Priority, Role, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};

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
