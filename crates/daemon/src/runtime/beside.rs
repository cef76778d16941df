//! Links beside a stock radio: what the node says there under the radio's number, and what it reads.
//!
//! The radio has the keys of its owner, which it does not tell; so direct messages under public keys go by the radio alone. All that is under a
//! channel's key is the same packet on each link: same sender, same id, same content, so the same cipher text but for what a radio adds
//! behind it (the bit field, a signature).

use compotastic_links::{BROADCAST, Body, OwnedData, OwnedPacket};
use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    packet::{HEADER, NodeNum, PacketId},
    time::{Duration, Instant},
};
use compotastic_messages::{Data, MAX_PAYLOAD, Message as _, PortNum};
use compotastic_node::hosted::FromRadio;

use super::{
    book::Way,
    core::{Core, Mode, Output, owned},
    facts,
};

/// A readable packet under a channel's key, as links carry it: from `from`, with what it needs and no more.
fn seal(packet: &OwnedPacket, from: u32, channel: &Channel) -> Option<OwnedPacket> {
    let mut bytes = packet.data()?.message().to_vec::<512>().ok()?.to_vec();
    ctr_apply(&channel.key, NodeNum(from), PacketId(packet.id), &mut bytes);
    let sealed = OwnedPacket {
        from,
        to: packet.to,
        id: packet.id,
        channel: channel.hash().into(),
        body: Body::Encrypted(bytes),
        hop_limit: packet.hop_limit,
        hop_start: packet.hop_start,
        want_ack: packet.want_ack,
        priority: packet.priority,
        via_mqtt: packet.via_mqtt,
        relay_node: from & 0xFF,
        ..OwnedPacket::default()
    };
    sealed.check().ok().map(|()| sealed)
}

/// What is in a packet under one of these channels' keys, and the index of that channel.
fn open(packet: &OwnedPacket, channels: &[(u8, Channel)]) -> Option<(u8, OwnedData)> {
    let Body::Encrypted(sealed) = &packet.body else { return None };
    let fitting = channels.iter().filter(|(_, channel)| u32::from(channel.hash()) == packet.channel);
    fitting.into_iter().find_map(|(index, channel)| {
        let mut bytes = sealed.clone();
        ctr_apply(&channel.key, NodeNum(packet.from), PacketId(packet.id), &mut bytes);
        let data = Data::decode(&bytes).ok()?;
        let fits = data.portnum.0 != 0 && data.payload.len() <= MAX_PAYLOAD;
        fits.then(|| (*index, OwnedData::from(&data)))
    })
}

impl Core {
    /// There are links beside the radio, which is the link of this index.
    pub fn set_beside(&mut self, radio: usize) {
        self.beside = true;
        self.radio_link = radio;
        if let Mode::Hosted(station) = &mut self.mode {
            station.set_beside();
        }
    }

    /// What of others is not bridged to a link, for people.
    pub(super) fn show_not_bridged(&mut self, index: usize, what: &str) {
        if let Some(link) = self.links.get_mut(index) {
            what.clone_into(&mut link.not_bridged);
        }
    }

    /// Gives what a node behind a radio has to say to the links that it is for.
    pub(super) fn settle_hosted(&mut self, now: Instant) {
        let Mode::Hosted(station) = &mut self.mode else { return };
        station.set_radio_up(self.up);
        station.settle(now);
        let mut given = Vec::new();
        // What the agent has to say waits while no link is open; its own timers repeat what was lost.
        while (self.up || self.beside)
            && let Some(packet) = station.poll_packet(now)
        {
            given.push((packet.ways, owned(packet)));
            station.settle(now);
        }
        for (ways, packet) in given {
            if ways.beside
                && let Some(output) = self.seal_own(&packet)
            {
                self.push(output);
            }
            if ways.radio {
                self.push(Output::Radio(Box::new(packet)));
            }
        }
    }

    /// The swarm's channel as it is now.
    pub(super) fn swarm_channel(&self) -> Option<Channel> {
        let swarm = self.options.swarm.as_ref()?;
        Channel::new(&swarm.channel_name, &swarm.channel_key)
    }

    /// Whether an encrypted packet is on the swarm's channel, as far as its hash tells.
    pub(super) fn is_swarms(&self, packet: &OwnedPacket) -> bool {
        self.swarm_channel().is_some_and(|channel| packet.channel == u32::from(channel.hash()))
    }

    /// The name of the swarm's channel, for a packet that is on it.
    pub(super) fn swarm_channel_name(&self, packet: &OwnedPacket) -> Option<String> {
        self.swarm_channel()
            .filter(|channel| packet.channel == u32::from(channel.hash()))
            .map(|channel| channel.name.to_string())
    }

    /// The channels whose packets are read beside the radio: the swarm's, then the radio's others, by index.
    fn channels_beside(&self) -> Vec<(u8, Channel)> {
        let Mode::Hosted(station) = &self.mode else { return Vec::new() };
        let swarms = station.channel();
        let mut channels: Vec<(u8, Channel)> =
            self.swarm_channel().map(|channel| (swarms, channel)).into_iter().collect();
        let Some(radio) = &self.radio else { return channels };
        let preset = facts::preset(radio.preset).map_or("", |preset| preset.display_name());
        let primary = radio.channels.iter().find(|channel| channel.index == 0);
        let primary = primary.and_then(|channel| {
            let name = if channel.name.is_empty() { preset } else { &channel.name };
            Channel::new(name, &channel.psk)
        });
        let Some(primary) = primary else { return channels };
        for channel in radio.channels.iter().filter(|channel| channel.role != 0 && channel.index != swarms) {
            let known = match channel.index {
                0 => Some(primary.clone()),
                _ => Channel::secondary(&channel.name, &channel.psk, &primary),
            };
            channels.extend(known.map(|known| (channel.index, known)));
        }
        channels
    }

    /// A packet of this node's own as the other links carry it, with the name of its channel.
    pub(super) fn seal_own(&self, packet: &OwnedPacket) -> Option<Output> {
        let channels = self.channels_beside();
        let (_, channel) = channels.iter().find(|(index, _)| u32::from(*index) == packet.channel)?;
        let packet = OwnedPacket { hop_start: packet.hop_limit, ..packet.clone() };
        let sealed = seal(&packet, self.own, channel)?;
        Some(Output::Link(Box::new(sealed), channel.name.to_string()))
    }

    /// What the radio heard of others on the swarm's channel, as the other links carry it. The rest is the radio's own business: its owner
    /// may set up its own links for it.
    pub(super) fn seal_heard(&self, packet: &OwnedPacket) -> Option<(OwnedPacket, String)> {
        let Mode::Hosted(station) = &self.mode else { return None };
        let ours = u32::from(station.channel()) == packet.channel;
        if !ours || packet.pki_encrypted || packet.to == self.own || packet.from == 0 {
            return None;
        }
        let channel = self.swarm_channel()?;
        let mut sealed = seal(packet, packet.from, &channel)?;
        sealed.relay_node = self.own & 0xFF;
        Some((sealed, channel.name.to_string()))
    }

    /// A packet came over a link beside the radio, for the first time. Whether it could be read.
    pub(super) fn handle_beside(&mut self, now: Instant, packet: &OwnedPacket) -> bool {
        let Some((channel, data)) = open(packet, &self.channels_beside()) else { return false };
        let Ok(port) = u16::try_from(data.port) else { return false };
        let Mode::Hosted(station) = &mut self.mode else { return false };
        let hops = packet.hops_away().map(|hops| hops.min(255) as u8);
        // What has come through a broker is from no neighbour, though no radio has passed it on.
        let hops = if packet.via_mqtt { hops.map(|hops| hops.max(1)) } else { hops };
        let heard = FromRadio {
            from: NodeNum(packet.from),
            to: NodeNum(packet.to),
            id: PacketId(packet.id),
            channel,
            port,
            hops_away: hops,
            payload: &data.payload,
        };
        station.handle_beside(now, &heard);
        let member = station.agent_ref().registry().get(NodeNum(packet.from)).is_some();
        let readable = OwnedPacket {
            channel: channel.into(),
            pki_encrypted: false,
            signed: false,
            hop_limit: hops.map_or(packet.hop_limit, |hops| packet.hop_start.saturating_sub(hops.into())),
            body: Body::Data(data),
            ..packet.clone()
        };
        let Body::Data(data) = &readable.body else { return false };
        // Of whom the radio's mesh knows only a member, which proves itself on the swarm's port, is heard here; nobody is named anew.
        if (member || !self.book.is_by_radio(packet.from)) && self.book.handle_packet(&readable, Way::Beside)
        {
            self.tell_node(packet.from);
        }
        self.note_member(packet.from);
        if PortNum(data.port) == PortNum::TEXT_MESSAGE_APP && packet.to == BROADCAST {
            self.handle_text(&readable, data);
        }
        true
    }

    /// The radio passed a packet on that has come by another link before.
    pub(super) fn handle_radio_again(&mut self, now: Instant, packet: &OwnedPacket) {
        // What it says of its sender counts, and not what came beside it.
        if self.book.handle_packet(packet, Way::Mesh) {
            self.tell_node(packet.from);
        }
        let Some(data) = packet.data() else { return };
        let (Ok(channel), Ok(port)) = (u8::try_from(packet.channel), u16::try_from(data.port)) else {
            return;
        };
        let heard = FromRadio {
            from: NodeNum(packet.from),
            to: NodeNum(packet.to),
            id: PacketId(packet.id),
            channel,
            port,
            hops_away: packet.hops_away().map(|hops| hops.min(255) as u8),
            payload: &data.payload,
        };
        if let Mode::Hosted(station) = &mut self.mode {
            station.handle_again(now, &heard);
        }
        self.settle(now);
    }

    /// Whether a packet of this node's own has room in the air behind the links beside the radio; if so, it counts as sent.
    pub(super) fn spend_beside(&mut self, now: Instant, output: &Output) -> bool {
        let Output::Link(packet, _) = output else { return false };
        let Body::Encrypted(bytes) = &packet.body else { return false };
        let Mode::Hosted(station) = &mut self.mode else { return false };
        let airtime = station.time_on_air(HEADER + bytes.len());
        let Some(beside) = station.beside().filter(|beside| beside.allows(now, airtime)) else {
            return false;
        };
        beside.spend(now, airtime);
        true
    }

    /// A packet of others wants to go to another link, where neighbours with radios may relay it (`costs_air`). If it may, it counts as sent.
    pub(super) fn admit_bridged(&mut self, now: Instant, packet: &OwnedPacket, costs_air: bool) -> bool {
        let Body::Encrypted(bytes) = &packet.body else { return false };
        let length = HEADER + bytes.len();
        match &mut self.mode {
            Mode::Hosted(station) => {
                let airtime = if costs_air { station.time_on_air(length) } else { Duration::ZERO };
                station.admit_bridged(now, airtime).is_ok()
            }
            Mode::Native(station) => {
                let router = station.station_ref().router();
                let airtime = if costs_air { router.time_on_air(length) } else { Duration::ZERO };
                station.admit_bridged(now, airtime).is_ok()
            }
            Mode::Listening(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> OwnedPacket {
        OwnedPacket {
            from: 9,
            id: 77,
            hop_limit: 3,
            hop_start: 3,
            body: Body::Data(OwnedData {
                port: 448,
                payload: b"sealed by us".to_vec(),
                ..OwnedData::default()
            }),
            ..OwnedPacket::default()
        }
    }

    #[test]
    fn what_is_sealed_is_opened_under_the_same_channel_alone() {
        let swarm = Channel::new("hills", &[7; 32]).unwrap();
        let sealed = seal(&packet(), 9, &swarm).unwrap();
        assert_eq!((sealed.from, sealed.id, sealed.hop_start), (9, 77, 3));
        let other = Channel::new("LongFast", &[1]).unwrap();
        let channels = [(0, other.clone()), (3, swarm)];
        let (index, data) = open(&sealed, &channels).unwrap();
        assert_eq!((index, &data), (3, packet().data().unwrap()));
        assert_eq!(open(&sealed, &[(0, other)]), None);
        assert_eq!(open(&packet(), &channels), None, "what is readable was sealed by nobody");
    }

    /// Two contents under one sender, id and key would tell their difference: a radio may only add behind ours.
    #[test]
    fn what_a_radio_adds_stands_behind_what_we_say() {
        let swarm = Channel::new("hills", &[7; 32]).unwrap();
        let mut signed = packet();
        let Body::Data(data) = &mut signed.body else { unreachable!() };
        (data.bitfield, data.signature) = (Some(1), vec![5; 64]);
        let cipher = |packet: &OwnedPacket| match seal(packet, 9, &swarm).unwrap().body {
            Body::Encrypted(bytes) => bytes,
            Body::Data(_) => unreachable!(),
        };
        let (ours, theirs) = (cipher(&packet()), cipher(&signed));
        assert!(theirs.len() > ours.len());
        assert_eq!(theirs[..ours.len()], ours);
    }
}
