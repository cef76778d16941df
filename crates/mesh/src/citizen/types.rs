//! What a citizen is told once, what is sent through it, and what it tells.

use crate::{
    channels::{CHANNELS, USUAL_PRECISION},
    modules::Periods,
    nodedb::User,
    packet::{NodeNum, PacketId},
    pkc::KeyPair,
    router::{Gate, Incoming, Priority, Role},
    xeddsa::Policy,
};

/// Port of text messages.
pub const TEXT_PORT: u16 = 1;

/// Why a packet was refused, where nodes say so: `Routing.Error` of Meshtastic's schema.
pub mod error {
    /// It was not acknowledged.
    pub const MAX_RETRANSMIT: u32 = 5;
    /// It cannot be read, or may not come under a channel's key.
    pub const NO_CHANNEL: u32 = 6;
    /// Nothing there answers it.
    pub const NO_RESPONSE: u32 = 8;
    /// It is under a public key that the receiver does not know.
    pub const PKI_UNKNOWN_PUBKEY: u32 = 35;
}

/// What a citizen is told once.
#[derive(Clone, Debug)]
pub struct CitizenConfig {
    /// Who this node is. The public key is that of `keys`, the role that of the router.
    pub user: User,
    /// Its key pair; without one there are no direct messages under public keys and no signatures.
    pub keys: Option<KeyPair>,
    /// What is done with broadcasts that are not signed.
    pub policy: Policy,
    /// Signs its broadcasts, where the signature fits: 66 bytes more on the air.
    pub sign: bool,
    /// Hop limit of what it sends by itself.
    pub hop_limit: u8,
    /// Bits of the position that each channel is told.
    pub position_precision: [u8; CHANNELS],
    /// Gateways may pass on to MQTT what it says.
    pub ok_to_mqtt: bool,
    /// How often it speaks by itself.
    pub periods: Periods,
    /// Answers broadcasts that ask for what it does not have with NO_RESPONSE, as stock nodes do. All of them at once, so by default
    /// it does not.
    pub naks_broadcasts: bool,
}

impl CitizenConfig {
    /// The usual settings. A user that does not say so reads messages.
    pub fn new(user: User, keys: Option<KeyPair>, role: Role) -> Self {
        let unmessagable = user.unmessagable.or(Some(false));
        Self {
            user: User { unmessagable, ..user },
            keys,
            policy: Policy::Compatible,
            sign: false,
            hop_limit: 3,
            position_precision: [USUAL_PRECISION; CHANNELS],
            ok_to_mqtt: false,
            periods: Periods::usual(role),
            naks_broadcasts: false,
        }
    }
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Destination.
    pub to: NodeNum,
    /// Index of the channel. Most unicasts go under public keys instead ([`super::Citizen::send`]).
    pub channel: u8,
    /// Port.
    pub port: u16,
    /// Payload.
    pub payload: &'a [u8],
    /// Unicast: repeat until acknowledged.
    pub want_ack: bool,
    /// Asks for an answer. Never for broadcasts on private ports: each stock node would answer with an error.
    pub want_response: bool,
    /// Packet that it answers.
    pub request_id: Option<u32>,
    /// Message that it replies to.
    pub reply_id: Option<u32>,
    /// It is a reaction to that message.
    pub emoji: Option<u32>,
    /// Hop limit; 0 = neighbours only.
    pub hop_limit: u8,
    /// Priority in the queue; the usual one where it is missing.
    pub priority: Option<Priority>,
    /// Gate.
    pub gate: Gate,
}

impl<'a> Message<'a> {
    /// A packet with the usual settings: 3 hops, a unicast repeated until it is acknowledged.
    pub fn new(to: NodeNum, channel: u8, port: u16, payload: &'a [u8]) -> Self {
        Self {
            to,
            channel,
            port,
            payload,
            want_ack: to != NodeNum::BROADCAST,
            want_response: false,
            request_id: None,
            reply_id: None,
            emoji: None,
            hop_limit: 3,
            priority: None,
            gate: Gate::Normal,
        }
    }

    /// A text message, or the reply to one.
    pub fn text(to: NodeNum, channel: u8, text: &'a str, reply_id: Option<PacketId>) -> Self {
        let reply_id = reply_id.map(|id| id.0);
        Self { reply_id, ..Self::new(to, channel, TEXT_PORT, text.as_bytes()) }
    }
}

/// What a citizen has to tell.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "drained at once; a box would need an allocator")]
pub enum CitizenEvent {
    /// A packet for this node or for everybody, answered already where a stock module answers.
    Packet {
        /// The packet. In the reply to a route request the way back is complete.
        packet: Incoming,
        /// It is the sender's beyond doubt: it came under its public key, or its signature was verified.
        trusted: bool,
    },
    /// A packet that was sent through the citizen arrived.
    Acked {
        /// Packet id.
        id: PacketId,
    },
    /// A packet that was sent through the citizen was refused by its destination.
    Refused {
        /// Packet id.
        id: PacketId,
        /// Who refuses.
        by: NodeNum,
        /// Why ([`error`]).
        error: u32,
    },
    /// A packet that was sent through the citizen was not acknowledged, or had to leave the queue.
    Failed {
        /// Packet id.
        id: PacketId,
    },
    /// A node is new, or told something new of itself.
    Node {
        /// Which.
        num: NodeNum,
    },
    /// A node tells another public key than it is known by; it was not taken ([`crate::nodedb::NotTaken::OtherKey`]).
    KeyChanged {
        /// Which.
        num: NodeNum,
    },
}
