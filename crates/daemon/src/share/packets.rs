//! What the hub has to know of packets: how long their frames are, how urgent they are, and who may see them.

use compotastic_mesh::packet::{HEADER, MAX_FRAME};
use compotastic_messages::{
    AdminMessage, AdminPayload, ConfigType, Data, FromRadio, FromRadioPayload, MeshPacket, MeshPacketPayload,
    Message as _, PortNum, Priority,
};

use super::{
    Shared,
    cache::{encoded, shared},
};

/// What public keys add to a frame.
const PKC: usize = 12;
/// The bit field that a radio adds.
const BITFIELD: usize = 2;
/// A signature with its tag and length.
const SIGNATURE: usize = 66;

/// The same packet under other ids.
pub fn with_ids(packet: &MeshPacket<'_>, request_id: u32, reply_id: u32) -> Shared {
    let mut packet = packet.clone();
    if let Some(MeshPacketPayload::Decoded(data)) = &mut packet.payload {
        data.request_id = request_id;
        data.reply_id = reply_id;
    }
    shared(FromRadioPayload::Packet(packet))
}

/// True for what the other clients are shown: what was said. What was asked is between the client that asked and the mesh; an app would
/// take an empty request for the place or the route of its own node.
pub fn is_for_all(data: &Data<'_>) -> bool {
    match data.portnum {
        PortNum::TEXT_MESSAGE_APP => true,
        PortNum::ADMIN_APP | PortNum::TRACEROUTE_APP => false,
        _ => !data.want_response,
    }
}

/// A packet of the node's own as its other clients see it.
pub fn shown(packet: &MeshPacket<'_>) -> Shared {
    let mut packet = packet.clone();
    packet.hop_start = packet.hop_limit;
    packet.rx_time = Some(unix_s());
    let message = FromRadio::from(FromRadioPayload::Packet(packet));
    encoded(&message)
}

/// Seconds since 1970.
fn unix_s() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}

/// Bytes of the frame that a packet becomes, as far as can be told from here.
pub fn frame_length(packet: &MeshPacket<'_>, signs: bool) -> usize {
    let mut buffer = [0; 512];
    let content = match &packet.payload {
        Some(MeshPacketPayload::Decoded(data)) => {
            let length = data.encode_to(&mut buffer).unwrap_or(MAX_FRAME);
            let bitfield = if data.bitfield.is_some() { 0 } else { BITFIELD };
            let in_the_open = matches!(
                data.portnum,
                PortNum::TRACEROUTE_APP
                    | PortNum::NODEINFO_APP
                    | PortNum::ROUTING_APP
                    | PortNum::POSITION_APP
            );
            let pkc = if packet.is_broadcast() || in_the_open { 0 } else { PKC };
            let plain = length + bitfield + pkc;
            let signed = signs && packet.is_broadcast() && HEADER + plain + SIGNATURE <= MAX_FRAME;
            plain + if signed { SIGNATURE } else { 0 }
        }
        Some(MeshPacketPayload::Encrypted(bytes)) => bytes.len(),
        None => 0,
    };
    (HEADER + content).min(MAX_FRAME)
}

/// Nobody passes all others by calling its packets urgent.
pub fn allowed_priority(asked: Priority, port: PortNum) -> Priority {
    if asked > Priority::HIGH && port != PortNum::ALERT_APP { Priority::HIGH } else { asked }
}

/// The order among the packets of one client, after the firmware's rules for what has none.
pub fn effective_priority(packet: &MeshPacket<'_>, port: PortNum) -> u32 {
    let request = packet.decoded().is_some_and(|data| data.want_response);
    let response = packet.decoded().is_some_and(|data| data.request_id != 0);
    let priority = match packet.priority {
        Priority::UNSET => match port {
            PortNum::ROUTING_APP => Priority::ACK,
            PortNum::TEXT_MESSAGE_APP | PortNum::ADMIN_APP => Priority::HIGH,
            _ if response => Priority::RESPONSE,
            _ if request || packet.want_ack => Priority::RELIABLE,
            _ => Priority::DEFAULT,
        },
        priority => priority,
    };
    priority.0
}

/// An admin message that reads something which is no secret.
pub fn is_harmless(admin: &[u8]) -> bool {
    match AdminMessage::decode(admin).ok().and_then(|admin| admin.payload) {
        Some(AdminPayload::GetConfigRequest(kind)) => kind != ConfigType::SECURITY_CONFIG,
        Some(
            AdminPayload::GetOwnerRequest(_)
            | AdminPayload::GetChannelRequest(_)
            | AdminPayload::GetModuleConfigRequest(_)
            | AdminPayload::GetDeviceMetadataRequest(_)
            | AdminPayload::GetCannedMessageModuleMessagesRequest(_)
            | AdminPayload::GetRingtoneRequest(_)
            | AdminPayload::GetDeviceConnectionStatusRequest(_),
        ) => true,
        _ => false,
    }
}
