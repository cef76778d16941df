//! Peer: the source sends each chunk to each node in turn as a direct message that wants an acknowledgement, as stock firmware does it: next
//! hops learnt from traffic, three tries from the origin (the last one flooded), two from a relay, and an acknowledgement that
//! comes all the way back. What fails all the same is sent again by the application.
//!
//! The application goes to the next node when one is complete, or answers nothing for a while; to that one it comes back
//! later. Length and hash of the object are known to all for free.
//!
//! Tuned: bytes of a chunk, and how many messages may be without an acknowledgement at a time.

use std::collections::VecDeque;

use compotastic_mesh::{
    packet::PacketId,
    router::Incoming,
    time::{Duration, Instant},
};

use super::{
    peer::{App, Out, number},
    store::{Object, Store},
};

/// Failures in a row after which the next node has its turn.
const FAILURES: u32 = 6;
/// A message of which the router tells nothing for so long has failed: it takes any packet from the destination for the
/// acknowledgement of all that waits for one.
const LOST_AFTER: Duration = Duration::from_secs(120);
/// Hop limit of a message.
const HOP_LIMIT: u8 = 7;
/// After a round in which nobody answered, the next one begins after this time.
const NOBODY_ANSWERS: Duration = Duration::from_secs(300);

/// What the sweep chooses.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tuning {
    /// Bytes of a chunk.
    pub chunk: usize,
    /// Messages without an acknowledgement at a time.
    pub window: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { chunk: 176, window: 1 }
    }
}

/// A node to be served, and what it has not acknowledged.
struct Client {
    node: usize,
    open: VecDeque<usize>,
}

/// One node.
pub struct Unicast {
    store: Store,
    /// At the source: the nodes to be served, first the one whose turn it is.
    clients: VecDeque<Client>,
    flying: Vec<(PacketId, usize, usize, Instant)>,
    window: usize,
    failures: u32,
    not_before: Instant,
}

impl Unicast {
    /// A node; node 0 is the source.
    pub fn new(node: usize, nodes: usize, object: &Object, tuning: &Tuning) -> Self {
        let is_source = node == 0;
        let client = |node| Client { node, open: (0..object.chunks()).collect() };
        Self {
            store: if is_source { Store::whole(object) } else { Store::blank(object) },
            clients: if is_source { (1..nodes).map(client).collect() } else { VecDeque::new() },
            flying: Vec::new(),
            window: tuning.window,
            failures: 0,
            not_before: Instant::ZERO,
        }
    }

    fn settle(&mut self, now: Instant, id: PacketId, delivered: bool) {
        let Some(at) = self.flying.iter().position(|(flying, ..)| *flying == id) else { return };
        let (_, node, chunk, _) = self.flying.swap_remove(at);
        let turn = self.clients.front().map(|client| client.node);
        if delivered {
            self.failures = 0;
        } else {
            if let Some(client) = self.clients.iter_mut().find(|client| client.node == node) {
                client.open.push_back(chunk);
            }
            if turn == Some(node) {
                self.failures += 1;
            }
        }
        if self.failures >= FAILURES {
            self.failures = 0;
            self.clients.rotate_left(1);
            if self.clients.len() == 1 {
                self.not_before = now + NOBODY_ANSWERS;
            }
        }
        let flies = |node: usize| self.flying.iter().any(|(_, to, ..)| *to == node);
        while let Some(client) = self.clients.front() {
            if !client.open.is_empty() || flies(client.node) {
                break;
            }
            self.clients.pop_front();
        }
    }
}

impl App for Unicast {
    fn handle_packet(&mut self, _: Instant, packet: &Incoming) {
        if let Some((index, data)) = packet.payload.split_first_chunk::<2>() {
            self.store.write(usize::from(u16::from_le_bytes(*index)), data);
        }
    }

    fn handle_outcome(&mut self, now: Instant, id: PacketId, delivered: bool) {
        self.settle(now, id, delivered);
    }

    fn poll(&mut self, now: Instant, id: PacketId) -> Option<Out> {
        let lost: Vec<PacketId> =
            self.flying.iter().filter(|(.., since)| now >= *since + LOST_AFTER).map(|(id, ..)| *id).collect();
        for id in lost {
            self.settle(now, id, false);
        }
        if self.flying.len() >= self.window || now < self.not_before {
            return None;
        }
        // The next one is begun while the last messages to this one are on their way.
        let client = self.clients.iter_mut().take(2).find(|client| !client.open.is_empty())?;
        let chunk = client.open.pop_front()?;
        let node = client.node;
        self.flying.push((id, node, chunk, now));
        let payload = [&(chunk as u16).to_le_bytes()[..], self.store.read(chunk)?].concat();
        Some(Out { to: number(node), payload, hop_limit: HOP_LIMIT, want_ack: true })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.flying.len() >= self.window {
            return self.flying.iter().map(|(.., since)| *since + LOST_AFTER).min();
        }
        self.clients.iter().take(2).any(|client| !client.open.is_empty()).then_some(self.not_before)
    }

    fn is_complete(&self) -> bool {
        self.store.is_complete()
    }
}
