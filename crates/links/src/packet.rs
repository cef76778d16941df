//! A mesh packet that owns its bytes, so that it can wait in queues.

use compotastic_messages::{
    BROADCAST, Data, MAX_DATA, MAX_PAYLOAD, MeshPacket, MeshPacketPayload, Message, PortNum, Priority,
    TransportMechanism,
};

use crate::{Fault, FaultKind};

/// Longest encoded packet that is taken from a network: more than any that firmware makes.
pub const MAX_DATAGRAM: usize = 512;

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Readable: `Data`.
    Data(OwnedData),
    /// Still encrypted.
    Encrypted(Vec<u8>),
}

/// `Data`, the readable part of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedData {
    /// Port number.
    pub port: u32,
    /// Payload, at most 233 bytes.
    pub payload: Vec<u8>,
    /// An answer is asked for.
    pub want_response: bool,
    /// Original destination of multi-hop protocols; usually 0.
    pub dest: u32,
    /// Original source; usually 0.
    pub source: u32,
    /// Packet id that this answers; 0 = none.
    pub request_id: u32,
    /// Packet id of the message that this replies to; 0 = none.
    pub reply_id: u32,
    /// A reaction.
    pub emoji: u32,
    /// Bit 0: may go to MQTT. Bit 1: an answer is asked for.
    pub bitfield: Option<u32>,
    /// XEdDSA signature, empty or 64 bytes.
    pub signature: Vec<u8>,
}

impl From<&Data<'_>> for OwnedData {
    fn from(data: &Data<'_>) -> Self {
        Self {
            port: data.portnum.0,
            payload: data.payload.to_vec(),
            want_response: data.want_response,
            dest: data.dest,
            source: data.source,
            request_id: data.request_id,
            reply_id: data.reply_id,
            emoji: data.emoji,
            bitfield: data.bitfield,
            signature: data.xeddsa_signature.to_vec(),
        }
    }
}

impl OwnedData {
    /// The message that borrows from it.
    pub fn message(&self) -> Data<'_> {
        Data {
            portnum: PortNum(self.port),
            payload: &self.payload,
            want_response: self.want_response,
            dest: self.dest,
            source: self.source,
            request_id: self.request_id,
            reply_id: self.reply_id,
            emoji: self.emoji,
            bitfield: self.bitfield,
            xeddsa_signature: &self.signature,
        }
    }

    /// Its sender allows that it goes to MQTT.
    pub fn ok_to_mqtt(&self) -> bool {
        self.bitfield.is_some_and(|bits| bits & 1 != 0)
    }
}

/// `MeshPacket` with its own bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedPacket {
    /// Sender; a radio puts its own number here.
    pub from: u32,
    /// Destination, or [`BROADCAST`].
    pub to: u32,
    /// Packet id; 0 lets a radio choose.
    pub id: u32,
    /// Index of the channel where the body is readable, its hash where not.
    pub channel: u32,
    /// What it carries.
    pub body: Body,
    /// Hops that remain, 0..=7.
    pub hop_limit: u32,
    /// Hops at the start, 0 where unknown.
    pub hop_start: u32,
    /// Repeat until acknowledged.
    pub want_ack: bool,
    /// Place in the radio's queue, `MeshPacket.Priority`.
    pub priority: u32,
    /// When it was received, seconds since 1970 by the radio's clock.
    pub rx_time: Option<u32>,
    /// Signal to noise ratio, dB.
    pub rx_snr: f32,
    /// Signal strength, dBm.
    pub rx_rssi: Option<i32>,
    /// It has been through an MQTT broker.
    pub via_mqtt: bool,
    /// Public key that it came under, or is to go under.
    pub public_key: Vec<u8>,
    /// It came, or is to go, under public keys.
    pub pki_encrypted: bool,
    /// Last byte of the node that is asked to pass it on.
    pub next_hop: u32,
    /// Last byte of the node that sent this copy.
    pub relay_node: u32,
    /// `MeshPacket.TransportMechanism`.
    pub transport: u32,
    /// The radio has verified its signature.
    pub signed: bool,
}

impl Default for OwnedPacket {
    fn default() -> Self {
        Self {
            from: 0,
            to: BROADCAST,
            id: 0,
            channel: 0,
            body: Body::Data(OwnedData::default()),
            hop_limit: 0,
            hop_start: 0,
            want_ack: false,
            priority: 0,
            rx_time: None,
            rx_snr: 0.0,
            rx_rssi: None,
            via_mqtt: false,
            public_key: Vec::new(),
            pki_encrypted: false,
            next_hop: 0,
            relay_node: 0,
            transport: 0,
            signed: false,
        }
    }
}

impl OwnedPacket {
    /// The readable part.
    pub fn data(&self) -> Option<&OwnedData> {
        match &self.body {
            Body::Data(data) => Some(data),
            Body::Encrypted(_) => None,
        }
    }

    /// Hops that it took, where both ends of the count are known.
    pub fn hops_away(&self) -> Option<u32> {
        self.message().hops_away()
    }

    /// The message that borrows from it.
    pub fn message(&self) -> MeshPacket<'_> {
        MeshPacket {
            from: self.from,
            to: self.to,
            channel: self.channel,
            payload: Some(match &self.body {
                Body::Data(data) => MeshPacketPayload::Decoded(data.message()),
                Body::Encrypted(bytes) => MeshPacketPayload::Encrypted(bytes),
            }),
            id: self.id,
            rx_time: self.rx_time,
            rx_snr: self.rx_snr,
            hop_limit: self.hop_limit,
            want_ack: self.want_ack,
            priority: Priority(self.priority),
            rx_rssi: self.rx_rssi,
            via_mqtt: self.via_mqtt,
            hop_start: self.hop_start,
            public_key: &self.public_key,
            pki_encrypted: self.pki_encrypted,
            next_hop: self.next_hop,
            relay_node: self.relay_node,
            transport_mechanism: TransportMechanism(self.transport),
            xeddsa_signed: self.signed,
            ..MeshPacket::default()
        }
    }

    /// A packet from the message; none where it carries nothing.
    pub fn from_message(packet: &MeshPacket<'_>) -> Option<Self> {
        Some(Self {
            from: packet.from,
            to: packet.to,
            id: packet.id,
            channel: packet.channel,
            body: match packet.payload.as_ref()? {
                MeshPacketPayload::Decoded(data) => Body::Data(data.into()),
                MeshPacketPayload::Encrypted(bytes) => Body::Encrypted(bytes.to_vec()),
            },
            hop_limit: packet.hop_limit,
            hop_start: packet.hop_start,
            want_ack: packet.want_ack,
            priority: packet.priority.0,
            rx_time: packet.rx_time,
            rx_snr: packet.rx_snr,
            rx_rssi: packet.rx_rssi,
            via_mqtt: packet.via_mqtt,
            public_key: packet.public_key.to_vec(),
            pki_encrypted: packet.pki_encrypted,
            next_hop: packet.next_hop,
            relay_node: packet.relay_node,
            transport: packet.transport_mechanism.0,
            signed: packet.xeddsa_signed,
        })
    }

    /// Reads an encoded `MeshPacket`; none where it is malformed, too long or carries nothing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_DATAGRAM {
            return None;
        }
        Self::from_message(&MeshPacket::decode(bytes).ok()?)
    }

    /// The encoded `MeshPacket`; a fault where it is longer than any radio takes.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        self.check()?;
        encoded::<MAX_DATAGRAM>(&self.message())
    }

    /// Whether stock nodes can take it: a longer ciphertext ends the firmware that relays it, and a longer payload is
    /// silently dropped.
    pub fn check(&self) -> Result<(), Fault> {
        let (length, most, name) = match &self.body {
            Body::Data(data) => (data.payload.len(), MAX_PAYLOAD, "payload"),
            Body::Encrypted(bytes) => (bytes.len(), MAX_DATA, "ciphertext"),
        };
        if length > most {
            let what = format!("a {name} of {length} bytes is too long for a packet");
            return Err(Fault::new(FaultKind::Unsupported, what, format!("send at most {most}")));
        }
        Ok(())
    }
}

/// A message as bytes.
pub(crate) fn encoded<'a, const N: usize>(message: &impl Message<'a>) -> Result<Vec<u8>, Fault> {
    let mut buffer = [0; N];
    match message.encode_to(&mut buffer) {
        Ok(length) => Ok(buffer[..length].to_vec()),
        Err(_) => {
            let what = format!("a message is longer than {N} bytes");
            Err(Fault::new(FaultKind::Unsupported, what, "send less at a time"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_back_from_its_bytes() {
        let data = OwnedData {
            port: 256,
            payload: b"hello".to_vec(),
            request_id: 5,
            bitfield: Some(1),
            ..OwnedData::default()
        };
        for body in [Body::Data(data), Body::Encrypted(vec![7; 239])] {
            let packet = OwnedPacket {
                from: 0x1234_5678,
                id: 0xdead_beef,
                hop_limit: 2,
                hop_start: 3,
                rx_rssi: Some(-90),
                rx_snr: 6.25,
                via_mqtt: true,
                relay_node: 0x78,
                body,
                ..OwnedPacket::default()
            };
            assert_eq!(OwnedPacket::decode(&packet.encode().unwrap()), Some(packet.clone()));
            assert_eq!(packet.hops_away(), Some(1));
        }
    }

    #[test]
    fn what_would_end_a_stock_node_is_refused() {
        let packet = |body| OwnedPacket { body, ..OwnedPacket::default() };
        assert!(
            packet(Body::Encrypted(vec![0; 240])).encode().unwrap_err().to_string().contains("at most 239")
        );
        let data = OwnedData { payload: vec![0; 234], ..OwnedData::default() };
        assert!(packet(Body::Data(data)).encode().unwrap_err().to_string().contains("at most 233"));
        assert_eq!(OwnedPacket::decode(&[0x12; 600]), None);
        assert_eq!(OwnedPacket::decode(&[]), None, "a packet without content");
    }
}
