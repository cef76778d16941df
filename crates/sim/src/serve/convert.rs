//! Between the client's messages and what the mesh crate calls the same things.

use compotastic_client::device::{CHANNELS, Nodes, Part, Settings};
use compotastic_mesh::{
    citizen::{Citizen, CitizenConfig},
    crypto::Channel,
    modules::Periods,
    nodedb::{Metrics, Node, Position, User},
    packet::Header,
    pkc::KeyPair,
    router::{Incoming, Priority, Role, Router, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_messages::{
    ChannelRole, Data, DeviceMetrics, HardwareModel, LocationSource, MeshPacket, MeshPacketPayload,
    Message as _, NodeInfo, PortNum, Position as PositionMessage, Priority as PriorityNumber, Telemetry,
    TelemetryVariant, TransportMechanism,
};

/// How often a served node tells battery and air: the firmware's default until 2.7.15.
const TELEMETRY_EVERY: Duration = Duration::from_secs(3600);
/// Voltage of an empty and of a full lithium cell, millivolts.
const CELL_MV: (u16, u16) = (3300, 4200);

/// Voltage of a cell at this charge; of one on external power, that of a full one.
pub(super) fn cell_voltage_mv(percent: u8) -> u16 {
    CELL_MV.0 + (CELL_MV.1 - CELL_MV.0) / 100 * u16::from(percent.min(100))
}

/// The router's settings as the client has set them. What means nothing to the mesh leaves what was there.
pub(super) fn router_config(factory: &RouterConfig, settings: &Settings) -> RouterConfig {
    let lora = settings.lora();
    let preset = lora.modem_preset.name().filter(|_| lora.use_preset).and_then(|name| name.parse().ok());
    let region = lora.region.name().and_then(|name| name.parse().ok());
    let role = Role::ALL.into_iter().find(|role| *role as u32 == settings.role().0);
    let preset = preset.unwrap_or(factory.preset);
    RouterConfig {
        role: role.unwrap_or(factory.role),
        preset,
        region: region.unwrap_or(factory.region),
        hop_limit: settings.hop_limit(),
        channels: channels(settings, preset.display_name()).into_iter().collect(),
        ..factory.clone()
    }
}

/// All eight channels; `usual` is the name of those without one.
fn channels(settings: &Settings, usual: &str) -> Vec<Channel> {
    let one = |index: u8, primary: Option<&Channel>| {
        let channel = settings.channel(index);
        let set = channel.settings.unwrap_or_default();
        let name = set.name.as_str().filter(|name| !name.is_empty()).unwrap_or(usual);
        match (channel.role, primary) {
            (ChannelRole::PRIMARY, _) => Channel::new(name, set.psk),
            (ChannelRole::SECONDARY, Some(primary)) => Channel::secondary(name, set.psk, primary),
            (ChannelRole::SECONDARY, None) => Channel::new(name, set.psk),
            _ => None,
        }
    };
    let is_primary = |index: &u8| settings.channel(*index).role == ChannelRole::PRIMARY;
    let primary = (0..CHANNELS).find(is_primary).and_then(|index| one(index, None));
    (0..CHANNELS).map(|index| one(index, primary.as_ref()).unwrap_or_else(Channel::disabled)).collect()
}

/// The citizen's settings as the client has set them.
pub(super) fn citizen_config(router: &Router, settings: &Settings, hw_model: HardwareModel) -> CitizenConfig {
    let role = router.config().role;
    let own = settings.user(router.config().num.0, hw_model);
    let keys = settings.private_key().try_into().ok().map(KeyPair::from_private);
    let mut config = CitizenConfig::new(User::from_message(&own.as_user()), keys, role);
    config.hop_limit = settings.hop_limit();
    config.ok_to_mqtt = settings.ok_to_mqtt();
    for (index, bits) in config.position_precision.iter_mut().enumerate() {
        *bits = settings.position_precision(index as u8).min(32) as u8;
    }
    config.periods =
        Periods { telemetry: role.broadcasts().then_some(TELEMETRY_EVERY), ..Periods::usual(role) };
    config.naks_broadcasts = true;
    config
}

/// The position that was set by hand.
pub(super) fn fixed_position(settings: &Settings) -> Option<Position> {
    Position::from_message(&PositionMessage::decode(settings.get(Part::FixedPosition)).ok()?)
        .map(|position| Position { precision_bits: 32, ..position })
}

/// The class of a priority number.
pub(super) fn priority(number: PriorityNumber) -> Priority {
    match number.0 {
        ..64 => Priority::Background,
        64..70 => Priority::Default,
        70..80 => Priority::Reliable,
        80..100 => Priority::Response,
        100..110 => Priority::High,
        110..120 => Priority::Alert,
        _ => Priority::Ack,
    }
}

/// What a client is told of a packet beside its content.
pub(super) fn envelope(header: &Header, snr_qdb: i16, rssi_dbm: i16, rx_time: u32) -> MeshPacket<'static> {
    MeshPacket {
        from: header.from.0,
        to: header.to.0,
        id: header.id.0,
        rx_time: (rx_time != 0).then_some(rx_time),
        rx_snr: f32::from(snr_qdb) / 4.0,
        rx_rssi: Some(i32::from(rssi_dbm)),
        hop_limit: u32::from(header.hop_limit),
        hop_start: u32::from(header.hop_start),
        want_ack: header.want_ack,
        via_mqtt: header.via_mqtt,
        next_hop: u32::from(header.next_hop),
        relay_node: u32::from(header.relay_node),
        transport_mechanism: TransportMechanism::TRANSPORT_LORA,
        ..MeshPacket::default()
    }
}

/// A packet as a client is told. `key`: the public key of its sender.
pub(super) fn received<'a>(
    packet: &'a Incoming,
    trusted: bool,
    key: Option<&'a [u8; 32]>,
    rssi_dbm: i16,
    rx_time: u32,
) -> MeshPacket<'a> {
    let data = Data {
        portnum: PortNum(u32::from(packet.port)),
        payload: &packet.payload,
        want_response: packet.want_response,
        request_id: packet.request_id.unwrap_or(0),
        reply_id: packet.reply_id.unwrap_or(0),
        emoji: packet.emoji.unwrap_or(0),
        bitfield: packet.bitfield.map(u32::from),
        ..Data::default()
    };
    let under_keys = packet.under_public_keys;
    MeshPacket {
        channel: if under_keys { 0 } else { u32::from(packet.channel) },
        payload: Some(MeshPacketPayload::Decoded(data)),
        pki_encrypted: under_keys,
        public_key: key.filter(|_| under_keys).map_or(&[], |key| key),
        xeddsa_signed: trusted && !under_keys,
        ..envelope(&packet.header, packet.snr_qdb, rssi_dbm, rx_time)
    }
}

/// The payload of device metrics.
pub(super) fn telemetry(metrics: DeviceMetrics, time: u32) -> Option<heapless::Vec<u8, 64>> {
    Telemetry { time, variant: Some(TelemetryVariant::DeviceMetrics(metrics)) }.to_vec().ok()
}

/// The content of a packet with them.
pub(super) fn telemetry_data(payload: &[u8]) -> Data<'_> {
    Data { portnum: PortNum::TELEMETRY_APP, payload, ..Data::default() }
}

/// What a node knows, for its client.
pub(super) struct Known<'a> {
    pub citizen: &'a Citizen,
    pub metrics: Metrics,
    pub now: Instant,
    /// Seconds since 1970 when the simulation began.
    pub unix_s_at_start: u32,
    pub settings: &'a Settings,
    pub position: Option<Position>,
}

impl Known<'_> {
    fn unix_s(&self, at: Instant) -> u32 {
        self.unix_s_at_start.saturating_add((at.as_micros() / 1_000_000) as u32)
    }
}

impl Nodes for Known<'_> {
    fn own(&self) -> NodeInfo<'static> {
        let fixed = fixed_position(self.settings);
        let position = fixed.or(self.position).and_then(|position| position.to_message(32));
        let source = if fixed.is_some() { LocationSource::LOC_MANUAL } else { LocationSource::LOC_INTERNAL };
        let now = self.unix_s(self.now);
        NodeInfo {
            position: position.map(|position| PositionMessage {
                time: now,
                location_source: source,
                ..position
            }),
            last_heard: now,
            device_metrics: Some(self.metrics.to_message()),
            ..NodeInfo::default()
        }
    }

    fn other(&self, index: usize, tell: &mut dyn FnMut(NodeInfo<'_>)) {
        let Some(node) = self.citizen.nodes().iter().nth(index) else { return };
        let id = node.num.to_string();
        tell(NodeInfo { last_heard: self.unix_s(node.heard_at), ..node_info(node, &id) });
    }

    fn count(&self) -> usize {
        self.citizen.nodes().len()
    }
}

fn node_info<'a>(node: &'a Node, id: &'a str) -> NodeInfo<'a> {
    NodeInfo {
        num: node.num.0,
        user: node.user.as_ref().map(|user| user.to_message(id)),
        position: node.position.as_ref().and_then(|position| {
            let told = position.to_message(32)?;
            Some(PositionMessage { precision_bits: u32::from(position.precision_bits), ..told })
        }),
        snr: f32::from(node.snr_qdb) / 4.0,
        device_metrics: node.metrics.as_ref().map(Metrics::to_message),
        channel: u32::from(node.channel),
        via_mqtt: node.via_mqtt,
        hops_away: node.hops_away.map(u32::from),
        is_favorite: node.favourite,
        is_ignored: node.ignored,
        is_key_manually_verified: node.key_verified,
        has_xeddsa_signed: node.signs,
        ..NodeInfo::default()
    }
}

/// The first letters of up to four words, a number whole, or the first four letters of a single word.
pub(super) fn short_name(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    let short: String = match words.as_slice() {
        [word] => word.chars().take(4).collect(),
        [word, number] if number.parse::<u16>().is_ok() => {
            word.chars().take(1).chain(number.chars()).collect()
        }
        words => words.iter().take(4).filter_map(|word| word.chars().next()).collect(),
    };
    let mut end = short.len().min(4);
    while !short.is_char_boundary(end) {
        end -= 1;
    }
    short[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_initials_or_the_beginning() {
        assert_eq!(short_name("upper hut"), "uh");
        assert_eq!(short_name("walker"), "walk");
        assert_eq!(short_name("node 117"), "n117");
        assert_eq!(short_name("über den Wolken"), "üdW");
        assert_eq!(short_name("\u{1F600}x"), "\u{1F600}");
        assert_eq!(short_name(""), "");
    }

    #[test]
    fn every_priority_number_has_its_class() {
        assert_eq!(priority(PriorityNumber::UNSET), Priority::Background);
        assert_eq!(priority(PriorityNumber::DEFAULT), Priority::Default);
        assert_eq!(priority(PriorityNumber::HIGH), Priority::High);
        assert_eq!(priority(PriorityNumber::MAX), Priority::Ack);
    }

    #[test]
    fn a_cell_has_its_voltage() {
        assert_eq!((cell_voltage_mv(0), cell_voltage_mv(100), cell_voltage_mv(101)), (3300, 4200, 4200));
    }
}
