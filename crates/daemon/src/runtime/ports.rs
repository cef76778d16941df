//! The node's links as one thing: a stock radio, or any number of links that carry whole packets with the bridge between them.

use std::collections::VecDeque;

use compotastic_links::{
    BROADCAST, LinkState, OwnedPacket, PacketCommand, PacketEvent, PacketHandle, RadioCommand, RadioEvent,
    RadioHandle,
    bridge::{Bridge, Facts, LinkRule},
};
use compotastic_mesh::time::Instant;
use tokio::sync::{mpsc, watch};

use super::core::Core;

/// Events of packet links that may wait for the node.
const WAITING: usize = 256;

/// What a link told.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The radio.
    Radio(RadioEvent),
    /// A link that carries packets, by its index.
    Packets(usize, PacketEvent),
}

/// The links.
pub enum Links {
    /// One stock radio.
    Radio {
        /// The way to it.
        handle: RadioHandle,
        /// What it told before the node's task began.
        seen: VecDeque<RadioEvent>,
    },
    /// Links that carry whole packets.
    Packets(PacketLinks),
}

/// Links that carry whole packets, and the bridge between them.
pub struct PacketLinks {
    senders: Vec<compotastic_links::PacketSender>,
    states: Vec<watch::Receiver<LinkState>>,
    events: mpsc::Receiver<(usize, PacketEvent)>,
    bridge: Bridge,
    /// Hash of the swarm's channel.
    swarm_hash: u8,
}

impl PacketLinks {
    /// Joins links, each with its rule. `node` is our number, `swarm_hash` the hash of the swarm's channel. Must be called inside a tokio
    /// runtime.
    pub fn new(node: u32, swarm_hash: u8, links: Vec<(PacketHandle, LinkRule)>) -> Self {
        let rules: Vec<LinkRule> = links.iter().map(|(_, rule)| *rule).collect();
        let (outbox, events) = mpsc::channel(WAITING);
        let (mut senders, mut states) = (Vec::new(), Vec::new());
        for (index, (mut handle, _)) in links.into_iter().enumerate() {
            senders.push(handle.sender);
            states.push(handle.state);
            let outbox = outbox.clone();
            tokio::spawn(async move {
                while let Some(event) = handle.events.recv().await {
                    if outbox.send((index, event)).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self { senders, states, events, bridge: Bridge::new(node, &rules), swarm_hash }
    }

    fn facts(&self, packet: &OwnedPacket) -> Facts {
        Facts {
            from: packet.from,
            id: packet.id,
            hop_limit: packet.hop_limit.min(7) as u8,
            via_mqtt: packet.via_mqtt,
            // What is on the swarm's channel we may pass on; of others' packets, which we do not read, nobody has said so.
            ok_to_mqtt: packet.channel == u32::from(self.swarm_hash),
        }
    }

    fn give(&self, index: usize, packet: &OwnedPacket, channel: Option<String>) {
        let ok_to_mqtt = self.facts(packet).ok_to_mqtt;
        let command = PacketCommand::Send { packet: Box::new(packet.clone()), channel, ok_to_mqtt };
        if self.senders[index].try_command(command).is_err() {
            tracing::warn!(link = index, "the link takes no packet: its queue is full, or it has ended");
        }
    }

    /// A packet of our own goes to all of them.
    pub(super) fn send(&mut self, packet: &OwnedPacket, channel: &str) {
        let facts = self.facts(packet);
        let decision = self.bridge.handle_own(&facts);
        for index in decision.forwards() {
            self.give(index, packet, Some(channel.to_owned()));
        }
    }

    fn handle(&mut self, core: &mut Core, now: Instant, index: usize, event: PacketEvent) {
        core.handle_reconnects(index, self.states[index].borrow().reconnects);
        match event {
            PacketEvent::Up => core.show_link(index, "up", String::new()),
            PacketEvent::Down { reason } => {
                tracing::warn!("{reason}");
                core.show_link(index, "down", reason.to_string());
            }
            PacketEvent::Lagged { dropped } => tracing::warn!(dropped, "packets of a link were missed"),
            PacketEvent::Packet { packet, channel, .. } => {
                let facts = self.facts(&packet);
                let decision = self.bridge.handle_packet(index, &facts);
                if decision.deliver {
                    core.handle_link_packet(now, &packet);
                }
                let mut passed = *packet;
                passed.hop_limit = decision.hop_limit.into();
                passed.via_mqtt = decision.via_mqtt;
                for other in decision.forwards() {
                    self.give(other, &passed, channel.clone());
                }
            }
        }
    }
}

impl Links {
    /// The next event; none when the links have ended.
    pub(super) async fn next(&mut self) -> Option<LinkEvent> {
        match self {
            Self::Radio { handle, seen } => match seen.pop_front() {
                Some(event) => Some(LinkEvent::Radio(event)),
                None => handle.events.recv().await.map(LinkEvent::Radio),
            },
            Self::Packets(links) => {
                links.events.recv().await.map(|(index, event)| LinkEvent::Packets(index, event))
            }
        }
    }

    /// Gives an event to the core.
    pub(super) fn handle(&mut self, core: &mut Core, now: Instant, event: LinkEvent) {
        match (self, event) {
            (Self::Radio { handle, .. }, LinkEvent::Radio(event)) => {
                core.handle_reconnects(0, handle.state.borrow().reconnects);
                core.handle_radio(now, event);
            }
            (Self::Packets(links), LinkEvent::Packets(index, event)) => links.handle(core, now, index, event),
            // Events come from the links that there are.
            _ => {}
        }
    }

    /// Gives the radio a message as it is, or a packet.
    pub(super) fn give_radio(&self, command: RadioCommand) {
        let Self::Radio { handle, .. } = self else { return };
        // The governor gives the radio no more than it can hold, so that the link's queue is full only when the link hangs; what is
        // lost then is repeated by whoever waits for its answer.
        if handle.sender.try_command(command).is_err() {
            tracing::warn!("the link takes no packet: its queue is full, or it has ended");
        }
    }

    /// After a restart of the core: the radio's handshake comes again. False where the link has ended.
    pub(super) async fn renew(&self) -> bool {
        match self {
            Self::Radio { handle, .. } => handle.sender.reconnect().await.is_ok(),
            Self::Packets(_) => true,
        }
    }

    /// Closes the links. They may have ended before.
    pub(super) async fn shutdown(&self) {
        match self {
            Self::Radio { handle, .. } => drop(handle.sender.shutdown().await),
            Self::Packets(links) => {
                for sender in &links.senders {
                    let _ = sender.shutdown().await;
                }
            }
        }
    }
}

/// As a program that shares the radio sees a packet of ours.
pub(super) fn as_seen(packet: &OwnedPacket, own: u32) -> Option<Vec<u8>> {
    let mut seen = packet.clone();
    seen.from = own;
    if seen.to == BROADCAST {
        seen.want_ack = false;
    }
    seen.encode().ok()
}
