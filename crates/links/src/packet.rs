//! A mesh packet that owns its bytes, so that it can wait in queues.

/// Destination of a broadcast.
pub const BROADCAST: u32 = 0xFFFF_FFFF;

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
        (self.hop_start > 0).then(|| self.hop_start.saturating_sub(self.hop_limit))
    }
}
