//! Meshtastic's LAN multicast: one packet per datagram, with the same ciphertext as on the air.
//!
//! A datagram is a bare `MeshPacket` with `encrypted` set. Here it becomes the frame that the router knows, and back. Datagrams come in
//! any order, more than once, and our own come back; what the LAN does not hold to, such as hop limits above 7, is put right here.
//! Nothing longer than a frame may be sent: nodes that relay it are known to stop working.

use compotastic_messages::{MeshPacket, MeshPacketPayload, Message, Priority as PriorityNumber};
use heapless::Vec;

use crate::{
    packet::{HEADER, Header, MAX_DATA, MAX_FRAME, NodeNum, PacketId},
    router::Priority,
};

/// The multicast group.
pub const GROUP: [u8; 4] = [224, 0, 0, 69];
/// Its port.
pub const PORT: u16 = 4403;
/// Its TTL.
pub const TTL: u8 = 64;
/// Longest datagram that is sent.
pub const MAX_DATAGRAM: usize = 320;

/// Why a datagram is no frame for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// No `MeshPacket`.
    Malformed,
    /// Nothing in it is encrypted: no node sends such packets.
    NotEncrypted,
    /// Its ciphertext is longer than a frame carries.
    TooLong,
    /// It names no sender that there can be.
    NoSender,
    /// It is from this node: an echo.
    Own,
    /// Its channel is no hash.
    NoHash,
}

/// The frame of a packet.
///
/// # Errors
/// See [`Ignored`].
pub fn to_frame(packet: &MeshPacket<'_>, own: NodeNum) -> Result<Vec<u8, MAX_FRAME>, Ignored> {
    let from = NodeNum(packet.from);
    if from == own {
        return Err(Ignored::Own);
    }
    if from.0 == 0 || from == NodeNum::BROADCAST {
        return Err(Ignored::NoSender);
    }
    let data = packet.encrypted().filter(|data| !data.is_empty()).ok_or(Ignored::NotEncrypted)?;
    if data.len() > MAX_DATA {
        return Err(Ignored::TooLong);
    }
    let header = Header {
        to: NodeNum(packet.to),
        from,
        id: PacketId(packet.id),
        hop_limit: packet.hop_limit.min(7) as u8,
        want_ack: packet.want_ack,
        via_mqtt: packet.via_mqtt,
        hop_start: packet.hop_start.min(7) as u8,
        channel_hash: u8::try_from(packet.channel).map_err(|_| Ignored::NoHash)?,
        next_hop: packet.next_hop as u8,
        relay_node: packet.relay_node as u8,
    };
    let mut frame = Vec::new();
    let fits = frame.extend_from_slice(&header.emit()).and_then(|()| frame.extend_from_slice(data));
    fits.map(|()| frame).map_err(|_| Ignored::TooLong)
}

/// The frame in a datagram.
///
/// # Errors
/// See [`Ignored`].
pub fn from_datagram(datagram: &[u8], own: NodeNum) -> Result<Vec<u8, MAX_FRAME>, Ignored> {
    to_frame(&MeshPacket::decode(datagram).map_err(|_| Ignored::Malformed)?, own)
}

/// The packet of a frame; `None` where it is none, or a bare header, which has no meaning but between radios.
pub fn to_packet(frame: &[u8], priority: Priority) -> Option<MeshPacket<'_>> {
    let header = Header::parse(frame)?;
    let data = frame.get(HEADER..).filter(|data| !data.is_empty())?;
    let broadcast = [NodeNum::BROADCAST, NodeNum::LAN_BROADCAST].contains(&header.to);
    Some(MeshPacket {
        from: header.from.0,
        to: header.to.0,
        channel: u32::from(header.channel_hash),
        payload: Some(MeshPacketPayload::Encrypted(data)),
        id: header.id.0,
        hop_limit: u32::from(header.hop_limit),
        want_ack: header.want_ack,
        priority: PriorityNumber(priority as u32),
        via_mqtt: header.via_mqtt,
        hop_start: u32::from(header.hop_start),
        // A channel may have the hash 0 too; nobody decides by this flag.
        pki_encrypted: header.channel_hash == 0 && !broadcast,
        next_hop: u32::from(header.next_hop),
        relay_node: u32::from(header.relay_node),
        ..MeshPacket::default()
    })
}

/// The datagram of a frame; `None` as for [`to_packet`].
pub fn to_datagram(frame: &[u8], priority: Priority) -> Option<Vec<u8, MAX_DATAGRAM>> {
    to_packet(frame, priority)?.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeNum = NodeNum(0x1234_0001);

    fn packet(data: &[u8]) -> MeshPacket<'_> {
        MeshPacket {
            from: 0xaabb_cc21,
            to: u32::MAX,
            channel: 8,
            id: 7,
            hop_limit: 3,
            hop_start: 3,
            payload: Some(MeshPacketPayload::Encrypted(data)),
            ..MeshPacket::default()
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_put_right_or_left_alone() {
        let high = MeshPacket { hop_limit: 200, hop_start: u32::MAX, ..packet(&[1; 8]) };
        let header = Header::parse(&to_frame(&high, OWN).unwrap()).unwrap();
        assert_eq!((header.hop_limit, header.hop_start), (7, 7));
        let cases = [
            (MeshPacket { from: OWN.0, ..packet(&[1; 8]) }, Ignored::Own),
            (MeshPacket { from: 0, ..packet(&[1; 8]) }, Ignored::NoSender),
            (MeshPacket { from: u32::MAX, ..packet(&[1; 8]) }, Ignored::NoSender),
            (MeshPacket { channel: 256, ..packet(&[1; 8]) }, Ignored::NoHash),
            (MeshPacket { payload: None, ..packet(&[]) }, Ignored::NotEncrypted),
            (packet(&[]), Ignored::NotEncrypted),
            (packet(&[1; 240]), Ignored::TooLong),
        ];
        for (packet, why) in cases {
            assert_eq!(to_frame(&packet, OWN), Err(why), "{packet:?}");
        }
        assert_eq!(from_datagram(&[0xff; 9], OWN), Err(Ignored::Malformed));
    }

    #[test]
    fn the_longest_frame_fits_a_datagram_and_comes_back() {
        let frame = to_frame(&packet(&[0xa5; MAX_DATA]), OWN).unwrap();
        let datagram = to_datagram(&frame, Priority::Ack).unwrap();
        assert_eq!(from_datagram(&datagram, OWN), Ok(frame.clone()));
        assert_eq!(to_datagram(&frame[..HEADER], Priority::Ack), None, "bare header");
    }
}
