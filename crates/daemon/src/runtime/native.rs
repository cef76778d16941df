//! A node of our own over links that carry whole packets (UDP multicast, MQTT): its keys, its name, its texts.
//!
//! Its number comes from its public key, as in firmware 2.8, and its private key is drawn once and kept in the store. Such a node
//! measures no channel; it keeps to a fixed share of the air behind its links ([`compotastic_node::udp`]).

use anyhow::{Context as _, Result, anyhow};
use compotastic_links::{NodeInfo, OwnedPacket};
use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent, Message},
    crypto::Channel,
    lora::{Preset, Region},
    nodedb::User,
    packet::{NodeNum, PacketId},
    pkc::KeyPair,
    router::{Relaying, Role, RouterConfig, SendError},
    time::Instant,
    udp,
};
use compotastic_messages::{PortNum, RoutingError};
use compotastic_node::{Agent, station::NotSent, udp::UdpStation};

use super::{
    book::{Way, node_id},
    core::{Core, Mode, Output},
    texts::purpose_of,
};
use crate::{
    seam::{Event, OutText, TextMessage},
    store::{Store, StoreFlash},
};

const KEY: &str = "native private key";

/// The station of a node without a radio.
pub type NativeNode = UdpStation<'static, StoreFlash>;

/// The key pair of this machine's node, drawn the first time.
pub fn key_pair(store: &Store) -> Result<KeyPair> {
    let private = match store.get::<[u8; 32]>(KEY)? {
        Some(private) => private,
        None => {
            let mut private = [0; 32];
            getrandom::fill(&mut private).context("the system gives no random numbers")?;
            store.set(KEY, &private)?;
            private
        }
    };
    Ok(KeyPair::from_private(private))
}

impl Mode {
    /// The agent, where there is one.
    pub(super) fn agent(&mut self) -> Option<&mut Agent<'static, StoreFlash>> {
        match self {
            Self::Listening(_) => None,
            Self::Hosted(station) => Some(station.agent()),
            Self::Native(station) => Some(station.station().agent()),
        }
    }

    /// The same, to look at.
    pub(super) fn agent_ref(&self) -> Option<&Agent<'static, StoreFlash>> {
        match self {
            Self::Listening(_) => None,
            Self::Hosted(station) => Some(station.agent_ref()),
            Self::Native(station) => Some(station.station_ref().agent_ref()),
        }
    }
}

impl Core {
    /// Becomes a node of our own in the joined swarm, whose packets the links carry.
    pub fn settle_native(&mut self, now: Instant) -> Result<()> {
        let swarm = self.options.swarm.clone().context("no swarm is joined")?;
        let keys = key_pair(&self.store)?;
        let num = keys.node_num();
        let preset: Preset =
            swarm.preset.parse().map_err(|_| anyhow!("the preset {} is not known", swarm.preset))?;
        let region: Region =
            swarm.region.parse().map_err(|_| anyhow!("the region {} is not known", swarm.region))?;
        let channel = |name: &str, key: &[u8]| {
            Channel::new(name, key)
                .with_context(|| format!("`{name}` is no channel: name or key are too long"))
        };
        // The mesh's own channel first, as stock nodes have it.
        let channels =
            [channel(preset.display_name(), &[1])?, channel(&swarm.channel_name, &swarm.channel_key)?];
        let config = RouterConfig {
            num,
            role: Role::ClientMute,
            preset,
            region,
            hop_limit: swarm.hop_limit,
            channels: channels.into_iter().collect(),
            own_port: swarm.port,
            relaying: Relaying::default(),
        };
        let short = format!("{:04x}", num.0 & 0xFFFF);
        let user = User {
            long_name: format!("Compotastic {short}").as_str().try_into().unwrap_or_default(),
            short_name: short.as_str().try_into().unwrap_or_default(),
            ..User::default()
        };
        self.own = num.0;
        let mut agent = self.agent(now, num.0)?;
        self.set_offers(now, &mut agent);
        let citizen = CitizenConfig::new(user, Some(keys), Role::ClientMute);
        self.mode = Mode::Native(Box::new(UdpStation::new(config, citizen, agent, self.options.seed, now)));
        self.up = true;
        self.enrol(now)?;
        self.resume_objects(now)?;
        tracing::info!("this node is {}, in the swarm of channel `{}`", node_id(num.0), swarm.channel_name);
        self.settle(now);
        Ok(())
    }

    /// A packet came over a link that carries whole packets. False if a node beside its radio could not read it.
    pub fn handle_link_packet(&mut self, now: Instant, packet: &OwnedPacket) -> bool {
        let mut read = self.handle_beside(now, packet);
        if let Mode::Native(station) = &mut self.mode {
            station.handle_packet(now, &packet.message());
            read = true;
            // What is on the swarm's port comes to the agent and no further: whoever it is has become a member. A broker may bring
            // nothing else of it, so it gets its row here.
            if station.station_ref().agent_ref().registry().get(NodeNum(packet.from)).is_some()
                && self.book.handle_packet(packet, Way::Mesh)
            {
                self.tell_node(packet.from);
            }
            self.note_member(packet.from);
        }
        self.settle(now);
        read
    }

    /// Drains a native station. Extra calls are harmless.
    pub(super) fn settle_station(&mut self, now: Instant) {
        let Mode::Native(station) = &mut self.mode else { return };
        station.station().settle(now);
        let mut outputs = Vec::new();
        while let Some(frame) = station.poll_frame(now) {
            let Some(packet) = udp::to_packet(&frame.bytes, frame.priority) else { continue };
            let channel = station.channel_name(&packet).to_owned();
            if let Some(packet) = OwnedPacket::from_message(&packet) {
                outputs.push(Output::Link(Box::new(packet), channel));
            }
        }
        let (mut known, mut fates) = (Vec::new(), Vec::new());
        while let Some(event) = station.station().poll_mesh_event() {
            match event {
                CitizenEvent::Packet { packet, trusted } => {
                    if PortNum(packet.port.into()) == PortNum::TEXT_MESSAGE_APP
                        && let Ok(text) = std::str::from_utf8(&packet.payload)
                    {
                        outputs.push(Output::Event(Event::Text(TextMessage {
                            from: packet.from.0,
                            to: packet.to.0,
                            id: packet.id.0,
                            channel: packet.channel,
                            text: text.to_owned(),
                            reply_to: packet.reply_id,
                            proven: trusted,
                        })));
                    }
                    known.push(packet.from);
                }
                CitizenEvent::Node { num } => known.push(num),
                CitizenEvent::KeyChanged { num } => {
                    tracing::warn!(
                        node = node_id(num.0),
                        "tells another public key than before; it is not taken"
                    );
                }
                CitizenEvent::Acked { id, .. } => fates.push((id, None)),
                CitizenEvent::Refused { id, error, .. } => fates.push((id, Some(RoutingError(error)))),
                CitizenEvent::Failed { id } => fates.push((id, Some(RoutingError::MAX_RETRANSMIT))),
            }
        }
        let now_s = ((self.wall)() / 1000).min(u64::from(u32::MAX)) as u32;
        let infos: Vec<NodeInfo> = known
            .into_iter()
            .filter_map(|num| station.station_ref().citizen_ref()?.node(num).map(|node| info(node, now_s)))
            .collect();
        for output in outputs {
            self.push(output);
        }
        for (id, refused) in fates {
            self.texts.handle_fate(now, id.0, refused);
        }
        for info in infos {
            self.book.handle_known(&info);
            self.tell_node(info.num);
        }
    }

    /// Hands a text to a native station: its packet id, or why it does not go.
    pub(super) fn send_native(&mut self, now: Instant, text: &OutText) -> Result<u32, String> {
        let Mode::Native(station) = &mut self.mode else { return Err("this node only listens".into()) };
        let reply_to = text.reply_to.map(PacketId);
        let message = Message::text(NodeNum(text.to), text.channel, &text.text, reply_to);
        let sent = station.station().send_for(now, purpose_of(text), &message);
        sent.map(|id| id.0).map_err(|error| match error {
            NotSent::Held(hold) => hold.reason().to_owned(),
            NotSent::Refused(SendError::NoKey) => {
                "the receiver's public key is not known; it has been asked for it: try again in a minute"
                    .to_owned()
            }
            NotSent::Refused(SendError::NoChannel) => {
                "there is no such channel: 0 is the mesh's, 1 the swarm's".to_owned()
            }
            NotSent::Refused(other) => format!("the text does not go: {other:?}"),
        })
    }
}

fn info(node: &compotastic_mesh::nodedb::Node, now_s: u32) -> NodeInfo {
    let user = node.user.as_ref();
    NodeInfo {
        num: node.num.0,
        long_name: user.map(|user| user.long_name.to_string()).unwrap_or_default(),
        short_name: user.map(|user| user.short_name.to_string()).unwrap_or_default(),
        last_heard: now_s,
        hops_away: node.hops_away.map(u32::from),
        via_mqtt: node.via_mqtt,
        ..NodeInfo::default()
    }
}
