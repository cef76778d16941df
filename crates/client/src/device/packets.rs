//! Packets of the client: what is taken, what is refused, and what is made right on the way.

use compotastic_messages::{
    Data, MeshPacket, MeshPacketPayload, Message as _, PortNum, Position, Priority, Routing, RoutingError,
    RoutingVariant,
};
use heapless::Vec;

use super::{BROADCAST, Device, DeviceEvent, OutPacket, PAYLOAD_IGNORED, PAYLOAD_MAX, Refused, Settings};

/// Hop limit where none, or none that makes sense, is given.
pub(super) const HOPS_DEFAULT: u8 = 3;
/// Most hops.
const HOPS_MAX: u32 = 7;
/// Bits of `Data.bitfield`.
const OK_TO_MQTT: u32 = 1;
const WANT_RESPONSE: u32 = 2;

impl Device {
    pub(super) fn handle_client_packet(
        &mut self,
        now_ms: u64,
        packet: &MeshPacket<'_>,
        settings: &mut Settings,
    ) {
        let Some(MeshPacketPayload::Decoded(data)) = &packet.payload else {
            // Ciphertext of the client's own making is nothing that a host here can send.
            return self.refuse(now_ms, packet.id, Refused::NoRadio);
        };
        if data.payload.len() >= PAYLOAD_IGNORED {
            return;
        }
        let id = if packet.id == 0 { self.draw_id() } else { packet.id };
        if !self.limits.is_new(id) {
            return;
        }
        let own = self.about.num;
        if data.portnum == PortNum::ADMIN_APP && packet.to == own {
            self.push_state(0, id);
            return self.handle_admin(now_ms, id, packet.want_ack, data, settings);
        }
        let payload = match Vec::from_slice(data.payload) {
            Ok(payload) => payload,
            Err(_) => return self.refuse(now_ms, id, Refused::Error(RoutingError::TOO_LARGE)),
        };
        if packet.to == 0 {
            return self.refuse(now_ms, id, Refused::Error(RoutingError::PKI_SEND_FAIL_PUBLIC_KEY));
        }
        let channel = u8::try_from(packet.channel).ok().filter(|index| settings.is_channel_used(*index));
        let Some(channel) = channel else {
            return self.refuse(now_ms, id, Refused::Error(RoutingError::NO_CHANNEL));
        };
        let hop_limit = hops(packet, settings);
        let floods = packet.to == BROADCAST && hop_limit > 0;
        let route_of_all = data.portnum == PortNum::TRACEROUTE_APP && floods;
        if route_of_all || !self.limits.allows(now_ms, data.portnum) {
            self.push_state(0, id);
            if packet.from == own {
                self.push_error(now_ms, id, RoutingError::RATE_LIMIT_EXCEEDED);
            }
            return;
        }
        if packet.to != own && !settings.may_send() {
            return self.refuse(now_ms, id, Refused::RadioOff);
        }
        let asks = if data.want_response { WANT_RESPONSE } else { 0 };
        let mqtt = if settings.ok_to_mqtt() { OK_TO_MQTT } else { 0 };
        let mut out = OutPacket {
            to: packet.to,
            id,
            channel,
            port: data.portnum,
            payload,
            want_response: data.want_response,
            request_id: data.request_id,
            reply_id: data.reply_id,
            emoji: data.emoji,
            bitfield: (data.bitfield.unwrap_or(0) | asks | mqtt) as u8,
            hop_limit,
            want_ack: packet.want_ack,
            priority: priority(packet, data),
            pki: packet.pki_encrypted,
            public_key: packet.public_key.try_into().ok(),
        };
        if data.portnum == PortNum::POSITION_APP
            && let Ok(position) = Position::decode(data.payload)
        {
            if position.latitude_i.is_some() && (packet.to == own || packet.to == BROADCAST) {
                self.push_event(DeviceEvent::Position(position.clone()));
            }
            let bits = settings.position_precision(channel);
            if packet.to != own
                && let Ok(cut) = cut(position, bits).to_vec::<PAYLOAD_MAX>()
            {
                out.payload = cut;
            }
        }
        if self.to_mesh.push_back(out).is_err() {
            self.refuse(now_ms, id, Refused::QueueFull);
        }
    }

    fn refuse(&mut self, now_ms: u64, id: u32, refused: Refused) {
        let free = self.free;
        self.handle_sent(now_ms, id, Err(refused), free);
    }

    /// A routing message of the node to its own client, about one of that client's packets.
    pub(super) fn push_error(&mut self, now_ms: u64, id: u32, error: RoutingError) {
        let routing = Routing { variant: Some(RoutingVariant::ErrorReason(error)) };
        if let Ok(payload) = routing.to_vec::<8>() {
            self.push_own(now_ms, PortNum::ROUTING_APP, &payload, id, Priority::ACK);
        }
    }

    /// A packet of the node's own modules to its client.
    pub(super) fn push_own(
        &mut self,
        now_ms: u64,
        port: PortNum,
        payload: &[u8],
        request_id: u32,
        priority: Priority,
    ) {
        let unix_s = self.unix_s(now_ms);
        let id = self.draw_id();
        self.handle_packet(MeshPacket {
            from: self.about.num,
            to: self.about.num,
            payload: Some(MeshPacketPayload::Decoded(Data {
                portnum: port,
                payload,
                request_id,
                ..Data::default()
            })),
            id,
            rx_time: (unix_s > 0).then_some(unix_s),
            priority,
            ..MeshPacket::default()
        });
    }
}

/// The hop limit: 0 means neighbours only, but with an acknowledgement wanted the node's default, as does what is too large.
fn hops(packet: &MeshPacket<'_>, settings: &Settings) -> u8 {
    match packet.hop_limit {
        0 if !packet.want_ack => 0,
        0 | 8.. => settings.hop_limit(),
        hops => hops.min(HOPS_MAX) as u8,
    }
}

/// The priority that the client gives, else by what the packet is.
fn priority(packet: &MeshPacket<'_>, data: &Data<'_>) -> Priority {
    match data.portnum {
        _ if packet.priority != Priority::UNSET => packet.priority,
        PortNum::ROUTING_APP => Priority::ACK,
        PortNum::TEXT_MESSAGE_APP | PortNum::ADMIN_APP => Priority::HIGH,
        _ if data.request_id != 0 => Priority::RESPONSE,
        _ if data.want_response || packet.want_ack => Priority::RELIABLE,
        _ => Priority::DEFAULT,
    }
}

/// A position with so many true bits, the middle of its square; with 0 bits it has no place at all, with 32 it is exact.
pub(super) fn cut(mut position: Position, bits: u32) -> Position {
    let cut = |degrees: i32| match bits {
        32.. => degrees,
        _ => degrees & (u32::MAX << (32 - bits)) as i32 | 1 << (31 - bits),
    };
    if bits == 0 {
        (position.latitude_i, position.longitude_i, position.altitude) = (None, None, None);
    } else {
        position.latitude_i = position.latitude_i.map(cut);
        position.longitude_i = position.longitude_i.map(cut);
    }
    position.precision_bits = bits.min(32);
    position
}
