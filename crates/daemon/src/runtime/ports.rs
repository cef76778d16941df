//! The node's links as one thing: a stock radio, links that carry whole packets, or both, with the bridge between them.
//!
//! Beside a radio the other links are opened when it has told its number, since they speak under it: the node has one number and one
//! counter of packet ids, so that a packet is the same on each link.

use std::{collections::VecDeque, path::PathBuf};

use compotastic_links::{
    BROADCAST, Body, Fault, LinkState, LinkUrl, OwnedPacket, PacketCommand, PacketConfig, PacketEvent,
    PacketLink, PacketSender, Phase, RadioCommand, RadioEvent, RadioHandle,
    bridge::{Bridge, Decision, Facts, LinkRule, Medium},
};
use compotastic_mesh::time::Instant;
use tokio::sync::{mpsc, watch};

use super::core::Core;

/// Events of packet links that may wait for the node.
const WAITING: usize = 256;
/// Packets that are remembered as unread; the oldest makes room.
const UNREAD: usize = 64;

/// What a link told.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The radio.
    Radio(RadioEvent),
    /// A link that carries packets, by its index.
    Packets(usize, PacketEvent),
}

/// A stock radio.
struct Radio {
    index: usize,
    handle: RadioHandle,
    /// What it told before the node's task began.
    seen: VecDeque<RadioEvent>,
}

impl Radio {
    async fn next(&mut self) -> Option<RadioEvent> {
        match self.seen.pop_front() {
            Some(event) => Some(event),
            None => self.handle.events.recv().await,
        }
    }
}

/// A link that carries whole packets.
struct Carrier {
    index: usize,
    url: LinkUrl,
    medium: Medium,
    open: Option<(PacketSender, watch::Receiver<LinkState>)>,
}

impl Carrier {
    fn new(index: usize, url: &LinkUrl) -> Self {
        let medium = if matches!(url, LinkUrl::Udp { .. }) { Medium::Udp } else { Medium::Mqtt };
        Self { index, url: url.clone(), medium, open: None }
    }
}

/// How the links are bridged.
#[derive(Clone, Debug)]
pub struct Bridging {
    /// Name of the swarm's channel: the one that is listened to on MQTT.
    pub channel: String,
    /// The authorities that brokers over TLS are believed by, instead of the system's.
    pub mqtt_ca: Option<PathBuf>,
    /// What came over MQTT may go on to UDP, from where it may reach LoRa.
    pub mqtt_to_lora: bool,
}

impl Bridging {
    /// What a link that carries packets is told, under this number.
    fn config(&self, num: u32) -> PacketConfig {
        PacketConfig {
            node: num,
            channels: vec![self.channel.clone()],
            downlink: true,
            mqtt_ca: self.mqtt_ca.clone(),
        }
    }

    /// Whether these links can be opened so, as far as can be told before: radios among them are not looked at.
    ///
    /// # Errors
    /// The swarm's channel cannot be a part of an MQTT topic, or there are no authorities to believe brokers by.
    pub fn check(&self, urls: &[LinkUrl]) -> Result<(), Fault> {
        let carriers = urls.iter().filter(|url| !url.is_radio());
        carriers.into_iter().try_for_each(|url| PacketLink::check(url, &self.config(0)))
    }
}

/// The links, by the index of their URLs.
pub struct Links {
    radio: Option<Radio>,
    carriers: Vec<Carrier>,
    events: Option<mpsc::Receiver<(usize, PacketEvent)>>,
    bridging: Option<Bridging>,
    bridge: Option<Bridge>,
    /// Our number on links that carry packets; 0 while it is not known.
    num: u32,
    /// Packets that came beside the radio and could not be read, by sender and id: the radio's copy may be a better one.
    unread: VecDeque<(u32, u32)>,
}

impl Links {
    /// One stock radio.
    pub fn radio(handle: RadioHandle, seen: VecDeque<RadioEvent>) -> Self {
        let radio = Some(Radio { index: 0, handle, seen });
        Self {
            radio,
            carriers: Vec::new(),
            events: None,
            bridging: None,
            bridge: None,
            num: 0,
            unread: VecDeque::new(),
        }
    }

    /// Links of a node of our own with this number. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The swarm's channel cannot be a part of an MQTT topic, or one of the links is a radio.
    pub fn packets(num: u32, urls: &[LinkUrl], bridging: Bridging) -> Result<Self, Fault> {
        let carriers = urls.iter().enumerate().map(|(index, url)| Carrier::new(index, url)).collect();
        let mut links = Self {
            radio: None,
            carriers,
            events: None,
            bridging: Some(bridging),
            bridge: None,
            num: 0,
            unread: VecDeque::new(),
        };
        links.open(num)?;
        Ok(links)
    }

    /// A stock radio, which is the one of `urls` at `index`, and links beside it.
    pub fn beside(
        (index, handle, seen): (usize, RadioHandle, VecDeque<RadioEvent>),
        urls: &[LinkUrl],
        bridging: Bridging,
    ) -> Self {
        let others = urls.iter().enumerate().filter(|(other, _)| *other != index);
        let carriers = others.map(|(other, url)| Carrier::new(other, url)).collect();
        let radio = Some(Radio { index, handle, seen });
        Self {
            radio,
            carriers,
            events: None,
            bridging: Some(bridging),
            bridge: None,
            num: 0,
            unread: VecDeque::new(),
        }
    }

    /// Index of the radio, where there are links beside it.
    pub(super) fn radio_beside(&self) -> Option<usize> {
        self.radio.as_ref().filter(|_| !self.carriers.is_empty()).map(|radio| radio.index)
    }

    /// There is no radio.
    pub(super) fn is_native(&self) -> bool {
        self.radio.is_none()
    }

    fn medium(&self, index: usize) -> Medium {
        let carrier = self.carriers.iter().find(|carrier| carrier.index == index);
        carrier.map_or(Medium::Radio, |carrier| carrier.medium)
    }

    /// Opens the links that carry packets, under this number.
    fn open(&mut self, num: u32) -> Result<(), Fault> {
        let Some(bridging) = &self.bridging else { return Ok(()) };
        let (outbox, events) = mpsc::channel(WAITING);
        let config = bridging.config(num);
        let mqtt_to_lora = bridging.mqtt_to_lora;
        for carrier in &mut self.carriers {
            let mut handle = PacketLink::spawn(&carrier.url, config.clone())?;
            // Those under another number end with their senders.
            carrier.open = Some((handle.sender, handle.state));
            let (outbox, index) = (outbox.clone(), carrier.index);
            tokio::spawn(async move {
                while let Some(event) = handle.events.recv().await {
                    if outbox.send((index, event)).await.is_err() {
                        return;
                    }
                }
            });
        }
        let count = self.carriers.len() + usize::from(self.radio.is_some());
        let rules: Vec<LinkRule> =
            (0..count).map(|index| LinkRule { mqtt_to_lora, ..LinkRule::of(self.medium(index)) }).collect();
        self.bridge = Some(Bridge::new(num, &rules));
        self.events = Some(events);
        self.num = num;
        Ok(())
    }

    /// What of others does not go to a link, for people; empty where there is only one.
    fn not_bridged(&self, index: usize) -> &'static str {
        let has = |medium| self.carriers.iter().any(|carrier| carrier.medium == medium);
        if self.carriers.len() + usize::from(self.radio.is_some()) < 2 {
            return "";
        }
        let allowed = self.bridging.as_ref().is_some_and(|bridging| bridging.mqtt_to_lora);
        match self.medium(index) {
            Medium::Radio => {
                "packets of other nodes: a stock radio would put its own number on them; of what it hears only the swarm's channel goes to the other links"
            }
            Medium::Mqtt => "packets of other nodes that are not on the swarm's channel, or came over MQTT",
            Medium::Udp | Medium::Lora if has(Medium::Mqtt) && !allowed => {
                "packets of other nodes that came over MQTT: they could reach LoRa (--mqtt-to-lora allows it)"
            }
            Medium::Udp | Medium::Lora => "",
        }
    }

    /// Shows the links as they are to a core that has just begun.
    pub(super) fn show(&self, core: &mut Core) {
        if let Some(radio) = self.radio_beside() {
            core.set_beside(radio);
            core.show_not_bridged(radio, self.not_bridged(radio));
        }
        for carrier in &self.carriers {
            core.show_not_bridged(carrier.index, self.not_bridged(carrier.index));
            match &carrier.open {
                Some((_, state)) if state.borrow().phase == Phase::Up => {
                    core.show_link(carrier.index, "up", String::new());
                }
                Some(_) => {}
                None => core.show_link(carrier.index, "connecting", "waits for the radio's number".into()),
            }
        }
    }

    /// The next event; none when the links have ended.
    pub(super) async fn next(&mut self) -> Option<LinkEvent> {
        let Self { radio, events, .. } = self;
        let radio = async {
            match radio {
                Some(radio) => radio.next().await,
                None => std::future::pending().await,
            }
        };
        let packets = async {
            match events {
                Some(events) => events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = radio => event.map(LinkEvent::Radio),
            event = packets => event.map(|(index, event)| LinkEvent::Packets(index, event)),
        }
    }

    /// Gives an event to the core.
    pub(super) fn handle(&mut self, core: &mut Core, now: Instant, event: LinkEvent) {
        match event {
            LinkEvent::Radio(event) => self.handle_radio(core, now, event),
            LinkEvent::Packets(index, event) => self.handle_packets(core, now, index, event),
        }
    }

    fn handle_radio(&mut self, core: &mut Core, now: Instant, event: RadioEvent) {
        if let Some(radio) = &self.radio {
            core.handle_reconnects(radio.index, radio.handle.state.borrow().reconnects);
        }
        match event {
            RadioEvent::Packet(packet) if self.bridge.is_some() => {
                self.handle_heard(core, now, *packet);
            }
            RadioEvent::Up(info) => {
                if self.radio_beside().is_some() && self.num != info.num {
                    for carrier in &self.carriers {
                        core.show_link(carrier.index, "connecting", String::new());
                    }
                    if let Err(fault) = self.open(info.num) {
                        tracing::error!("{fault}");
                        for carrier in &self.carriers {
                            core.show_link(carrier.index, "down", fault.to_string());
                        }
                    }
                }
                core.handle_radio(now, RadioEvent::Up(info));
            }
            event => core.handle_radio(now, event),
        }
    }

    /// The radio passed a packet on, and there are other links.
    fn handle_heard(&mut self, core: &mut Core, now: Instant, packet: OwnedPacket) {
        let (Some(bridge), Some(radio)) = (&mut self.bridge, &self.radio) else { return };
        // What is its own, such as an answer to us, is not of the mesh. What is for us goes nowhere else, and may be under keys that only
        // the radio has: a copy that came by another link says nothing.
        if packet.from == self.num || packet.from == 0 || packet.to == self.num {
            return core.handle_radio(now, RadioEvent::Packet(Box::new(packet)));
        }
        let passed = core.seal_heard(&packet);
        let decision = bridge.handle_packet(radio.index, &facts(&packet, passed.is_some()));
        let unread = self.unread.iter().position(|known| *known == (packet.from, packet.id));
        if unread.is_none() && !decision.deliver {
            return core.handle_radio_again(now, &packet);
        }
        if let Some(at) = unread {
            self.unread.remove(at);
        }
        core.handle_radio(now, RadioEvent::Packet(Box::new(packet)));
        if let Some((sealed, channel)) = passed {
            self.pass_on(core, now, decision, sealed, Some(&channel));
        }
    }

    fn handle_packets(&mut self, core: &mut Core, now: Instant, index: usize, event: PacketEvent) {
        let carrier = self.carriers.iter().find(|carrier| carrier.index == index);
        if let Some((_, state)) = carrier.and_then(|carrier| carrier.open.as_ref()) {
            core.handle_reconnects(index, state.borrow().reconnects);
        }
        match event {
            PacketEvent::Up => core.show_link(index, "up", String::new()),
            PacketEvent::Down { reason } => {
                tracing::warn!("{reason}");
                core.show_link(index, "down", reason.to_string());
            }
            PacketEvent::Lagged { dropped } => tracing::warn!(dropped, "packets of a link were missed"),
            PacketEvent::Packet { packet, channel, .. } => {
                // Ours are under the swarm's key. A broker that is told to keep no secrets has a copy that says nothing new.
                let (Some(bridge), Body::Encrypted(_)) = (&mut self.bridge, &packet.body) else { return };
                // What is on the swarm's channel we may pass on; of others' packets, which we do not read, nobody has said so.
                let decision = bridge.handle_packet(index, &facts(&packet, core.is_swarms(&packet)));
                if decision.deliver && !core.handle_link_packet(now, &packet) {
                    if self.unread.len() == UNREAD {
                        self.unread.pop_front();
                    }
                    self.unread.push_back((packet.from, packet.id));
                }
                self.pass_on(core, now, decision, *packet, channel.as_deref());
            }
        }
    }

    /// Others' packets go on, as far as the governor lets them.
    fn pass_on(
        &mut self,
        core: &mut Core,
        now: Instant,
        decision: Decision,
        mut packet: OwnedPacket,
        channel: Option<&str>,
    ) {
        if packet.to == self.num {
            return;
        }
        packet.hop_limit = decision.hop_limit.into();
        packet.via_mqtt = decision.via_mqtt;
        for index in decision.forwards() {
            let costs_air = self.medium(index) == Medium::Udp && packet.hop_limit > 0;
            if !core.admit_bridged(now, &packet, costs_air) {
                tracing::debug!(
                    link = index,
                    "a packet of others is not passed on: they have had their share"
                );
                continue;
            }
            // Where UDP brings a packet of the swarm's channel, its name is known here.
            let name = channel.map(str::to_owned).or_else(|| core.swarm_channel_name(&packet));
            self.give(index, &packet, name, true);
        }
    }

    fn give(&self, index: usize, packet: &OwnedPacket, channel: Option<String>, ok_to_mqtt: bool) {
        let carrier = self.carriers.iter().find(|carrier| carrier.index == index);
        let Some((sender, _)) = carrier.and_then(|carrier| carrier.open.as_ref()) else { return };
        let command = PacketCommand::Send { packet: Box::new(packet.clone()), channel, ok_to_mqtt };
        if sender.try_command(command).is_err() {
            tracing::warn!(link = index, "the link takes no packet: its queue is full, or it has ended");
        }
    }

    /// A packet of our own goes to all links that carry packets.
    pub(super) fn send(&mut self, packet: &OwnedPacket, channel: &str) {
        let Some(bridge) = &mut self.bridge else { return };
        let decision = bridge.handle_own(&facts(packet, true));
        for index in decision.forwards() {
            self.give(index, packet, Some(channel.to_owned()), true);
        }
    }

    /// Gives the radio a message as it is, or a packet.
    pub(super) fn give_radio(&self, command: RadioCommand) {
        let Some(radio) = &self.radio else { return };
        // The governor gives the radio no more than it can hold, so that the link's queue is full only when the link hangs; what is
        // lost then is repeated by whoever waits for its answer.
        if radio.handle.sender.try_command(command).is_err() {
            tracing::warn!("the link takes no packet: its queue is full, or it has ended");
        }
    }

    /// After a restart of the core: the radio's handshake comes again. False where the link has ended.
    pub(super) async fn renew(&self) -> bool {
        match &self.radio {
            Some(radio) => radio.handle.sender.reconnect().await.is_ok(),
            None => true,
        }
    }

    /// Closes the links. They may have ended before.
    pub(super) async fn shutdown(&self) {
        if let Some(radio) = &self.radio {
            let _ = radio.handle.sender.shutdown().await;
        }
        for (sender, _) in self.carriers.iter().filter_map(|carrier| carrier.open.as_ref()) {
            let _ = sender.shutdown().await;
        }
    }
}

fn facts(packet: &OwnedPacket, ok_to_mqtt: bool) -> Facts {
    Facts {
        from: packet.from,
        id: packet.id,
        hop_limit: packet.hop_limit.min(7) as u8,
        via_mqtt: packet.via_mqtt,
        ok_to_mqtt,
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

#[cfg(test)]
mod tests;
