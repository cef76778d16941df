//! Whole nodes on perfect air: whoever is linked hears each frame after its time on air.

#![allow(dead_code, reason = "each test uses a part")]

use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent, Message},
    modules::Periods,
    native::NativeNode,
    nodedb::User,
    packet::{Header, NodeNum, PacketId},
    pkc::KeyPair,
    router::{Incoming, Role, RouterConfig},
    time::{Duration, Instant},
};

/// The number that each node's key gives it.
pub fn num(index: usize) -> NodeNum {
    keys(index).node_num()
}

pub fn keys(index: usize) -> KeyPair {
    KeyPair::from_private([index as u8 + 1; 32])
}

pub fn router(index: usize) -> RouterConfig {
    RouterConfig { num: num(index), ..super::config(index, Role::Client) }
}

/// Says nothing of its own accord.
pub fn citizen(index: usize) -> CitizenConfig {
    let user = User::named(&format!("node {index}"), &format!("{index}"));
    CitizenConfig {
        periods: Periods { node_info: None, position: None, telemetry: None },
        ..CitizenConfig::new(user, Some(keys(index)), Role::Client)
    }
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    pub by: usize,
    pub header: Header,
    pub bytes: Vec<u8>,
}

/// Whether a receiver loses a frame.
pub type Loss = Box<dyn FnMut(usize, &Sent) -> bool>;

pub struct Natives {
    pub now: Instant,
    pub nodes: Vec<NativeNode>,
    pub sent: Vec<Sent>,
    pub events: Vec<(usize, CitizenEvent)>,
    pub lost: Loss,
}

impl Natives {
    /// A line of nodes; each is linked to the ones beside it.
    pub fn line(citizens: impl IntoIterator<Item = CitizenConfig>) -> Self {
        let nodes = citizens
            .into_iter()
            .enumerate()
            .map(|(index, citizen)| NativeNode::new(router(index), citizen, index as u64 + 1, Instant::ZERO));
        Self {
            now: Instant::ZERO + Duration::from_secs(100),
            nodes: nodes.collect(),
            sent: Vec::new(),
            events: Vec::new(),
            lost: Box::new(|_, _| false),
        }
    }

    /// A line of so many with the usual settings.
    pub fn usual(count: usize) -> Self {
        Self::line((0..count).map(citizen))
    }

    /// Two nodes know each other.
    pub fn introduce(&mut self, a: usize, b: usize) {
        for (one, other) in [(a, b), (b, a)] {
            let user = User {
                public_key: Some(*keys(other).public()),
                ..User::named(&format!("node {other}"), "n")
            };
            self.nodes[one].citizen().nodes_mut().learn_user(num(other), user).unwrap();
        }
    }

    pub fn send(&mut self, from: usize, message: &Message<'_>) -> PacketId {
        self.nodes[from].send(self.now, message).unwrap()
    }

    /// A frame from nowhere, heard by one node.
    pub fn hear(&mut self, index: usize, frame: &[u8]) {
        self.nodes[index].handle_frame(self.now, frame, 20, -90);
    }

    pub fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            let due = (0..self.nodes.len())
                .filter_map(|index| Some((self.nodes[index].poll_timeout()?.max(self.now), index)))
                .min();
            let Some((when, index)) = due.filter(|(when, _)| *when <= until) else { break };
            self.now = when;
            self.nodes[index].handle_timeout(when);
            if let Some(frame) = self.nodes[index].poll_transmit(when, false) {
                let header = Header::parse(&frame.bytes).unwrap();
                let sent = Sent { at: when, by: index, header, bytes: frame.bytes.to_vec() };
                self.now = when + frame.airtime;
                self.nodes[index].handle_tx_done(self.now);
                for other in (0..self.nodes.len()).filter(|other| other.abs_diff(index) == 1) {
                    if !(self.lost)(other, &sent) {
                        self.nodes[other].handle_frame(self.now, &sent.bytes, 20, -90);
                    }
                }
                self.sent.push(sent);
            }
            for (index, node) in self.nodes.iter_mut().enumerate() {
                self.events.extend(std::iter::from_fn(|| node.poll_event()).map(|event| (index, event)));
            }
        }
        self.now = until;
    }

    /// Packets that a node was given: on which port, and whether they are the sender's beyond doubt.
    pub fn packets(&self, index: usize, port: u16) -> Vec<(&Incoming, bool)> {
        let packets = self.events.iter().filter_map(|(at, event)| match event {
            CitizenEvent::Packet { packet, trusted } if *at == index && packet.port == port => {
                Some((packet, *trusted))
            }
            _ => None,
        });
        packets.collect()
    }

    pub fn count(&self, index: usize, wanted: impl Fn(&CitizenEvent) -> bool) -> usize {
        self.events.iter().filter(|(at, event)| *at == index && wanted(event)).count()
    }

    pub fn acked(&self, index: usize, id: PacketId) -> bool {
        self.count(index, |event| matches!(event, CitizenEvent::Acked { id: acked } if *acked == id)) > 0
    }

    /// Why a packet was refused.
    pub fn refused(&self, index: usize, id: PacketId) -> Option<u32> {
        self.events.iter().find_map(|(at, event)| match event {
            CitizenEvent::Refused { id: refused, error, .. } if *at == index && *refused == id => {
                Some(*error)
            }
            _ => None,
        })
    }
}
