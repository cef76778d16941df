//! What goes into a router and comes out.

use heapless::Vec;

use crate::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::{Header, MAX_DATA, MAX_FRAME, NodeNum, PacketId, SIGNATURE},
    router::{MAX_PAYLOAD, Relaying, Role},
    time::Duration,
};

/// Local priority of a packet in the queue; not on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Bulk.
    Background = 10,
    /// Default.
    Default = 64,
    /// Wants an acknowledgement.
    Reliable = 70,
    /// Answers something.
    Response = 80,
    /// Text of people.
    High = 100,
    /// Alerts.
    Alert = 110,
    /// Acknowledgements.
    Ack = 120,
}

impl Priority {
    /// The priority of a packet whose sender names none, as firmware has it.
    pub const fn usual(port: u16, want_ack: bool, answers: bool, want_response: bool) -> Self {
        match port {
            5 => Self::Ack,
            1 | 6 => Self::High,
            _ if answers => Self::Response,
            _ if want_ack || want_response => Self::Reliable,
            _ => Self::Default,
        }
    }
}

/// The channel utilisation up to which an originated packet may go on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Polite: below 25 %.
    Bulk,
    /// Below 40 %.
    Normal,
    /// No limit but the duty cycle.
    Alert,
}

impl Gate {
    /// The utilisation at which it closes, permille.
    pub const fn limit_permille(self) -> u16 {
        match self {
            Self::Bulk => 250,
            Self::Normal => 400,
            Self::Alert => u16::MAX,
        }
    }
}

/// What a router is told once.
#[derive(Clone)]
pub struct RouterConfig {
    /// Own number.
    pub num: NodeNum,
    /// Role.
    pub role: Role,
    /// Preset.
    pub preset: Preset,
    /// Region, whose duty cycle binds.
    pub region: Region,
    /// Hop limit of acknowledgements that take an unknown way.
    pub hop_limit: u8,
    /// Channels; frames of others are relayed unread.
    pub channels: Vec<Channel, 8>,
    /// Port on which replies count as acknowledgements.
    pub own_port: u16,
    /// What is relayed of others; by default all.
    pub relaying: Relaying,
}

impl RouterConfig {
    /// Limit of the own air time over an hour, permille: the region's. In EU_866 the band has a higher one for
    /// infrastructure.
    pub fn duty_cycle_permille(&self) -> u16 {
        match self.region {
            Region::Eu866 if self.role.is_infrastructure() => 100,
            region => region.duty_cycle_permille(),
        }
    }
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Destination.
    pub to: NodeNum,
    /// Packet id, chosen by the caller.
    pub id: PacketId,
    /// Index of the channel.
    pub channel: u8,
    /// Port.
    pub port: u16,
    /// Payload.
    pub payload: &'a [u8],
    /// Hop limit; 0 = neighbours only.
    pub hop_limit: u8,
    /// Unicast: repeat until acknowledged. Ignored for broadcasts, as on the air.
    pub want_ack: bool,
    /// Priority in the queue.
    pub priority: Priority,
    /// Gate.
    pub gate: Gate,
    /// Packet that this one answers.
    pub request_id: Option<u32>,
    /// Bitfield of `Data`, which stock nodes always send.
    pub bitfield: Option<u8>,
}

/// How a packet travels; what it says is a [`crate::packet::Data`].
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Destination.
    pub to: NodeNum,
    /// Packet id, chosen by the caller.
    pub id: PacketId,
    /// Index of the channel.
    pub channel: u8,
    /// Hop limit; 0 = neighbours only.
    pub hop_limit: u8,
    /// Unicast: repeat until acknowledged. Ignored for broadcasts, as on the air.
    pub want_ack: bool,
    /// Priority in the queue.
    pub priority: Priority,
    /// Gate.
    pub gate: Gate,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// All 16 places are taken by packets at least as important.
    QueueFull,
    /// Does not fit a frame.
    TooLarge,
    /// No such channel.
    NoChannel,
    /// It would have to go under the receiver's public key, which is not known.
    NoKey,
    /// No packet id could be had: flash that keeps them from coming twice refuses.
    NoId,
}

/// A frame for the radio.
#[derive(Clone, Debug)]
pub struct TxFrame {
    /// Header and encrypted payload.
    pub bytes: Vec<u8, MAX_FRAME>,
    /// Time on air.
    pub airtime: Duration,
    /// Its place in the queue was this.
    pub priority: Priority,
}

/// A packet that was received and could be read.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Origin.
    pub from: NodeNum,
    /// Destination.
    pub to: NodeNum,
    /// Packet id.
    pub id: PacketId,
    /// Port.
    pub port: u16,
    /// Index of the channel.
    pub channel: u8,
    /// Payload.
    pub payload: Vec<u8, MAX_PAYLOAD>,
    /// SNR, quarter decibels.
    pub snr_qdb: i16,
    /// Hops it took, where told.
    pub hops_away: Option<u8>,
    /// Packet that it answers.
    pub request_id: Option<u32>,
    /// Message that it replies to.
    pub reply_id: Option<u32>,
    /// It is a reaction to that message.
    pub emoji: Option<u32>,
    /// An answer is asked for.
    pub want_response: bool,
    /// Bit 0: may go to MQTT. Who sends none is older than hop counts.
    pub bitfield: Option<u8>,
    /// Its signature, not looked at.
    pub signature: Option<[u8; SIGNATURE]>,
    /// It came under the sender's public key, so it is the sender's.
    pub under_public_keys: bool,
    /// The header of this copy.
    pub header: Header,
    /// Time on air of the frame.
    pub airtime: Duration,
}

/// A packet for this node that no channel reads: mostly one under public keys.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The header.
    pub header: Header,
    /// What follows it.
    pub data: Vec<u8, MAX_DATA>,
    /// SNR, quarter decibels.
    pub snr_qdb: i16,
    /// Time on air of the frame.
    pub airtime: Duration,
}

/// What the router has to tell.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "drained at once; a box would need an allocator")]
pub enum RouterEvent {
    /// A packet for this node or for everybody.
    Received(Incoming),
    /// A packet for this node that its owner may have the key for; see [`super::Router::set_owner_answers`].
    Sealed(Sealed),
    /// A packet on our own port for another node.
    Overheard(Incoming),
    /// The sender of this packet, which was delivered before, repeats it: our reply did not reach it.
    Duplicate {
        /// Origin.
        from: NodeNum,
        /// Packet id.
        id: PacketId,
    },
    /// A packet of this node was acknowledged by its destination.
    Acked {
        /// Packet id.
        id: PacketId,
    },
    /// A packet of this node was not acknowledged (Routing.Error 5), or had to leave the queue.
    Failed {
        /// Packet id.
        id: PacketId,
    },
    /// A frame went on the air.
    Sent {
        /// Packet id.
        id: PacketId,
        /// Destination.
        to: NodeNum,
        /// It was another node's.
        relayed: bool,
        /// Gate under which it was sent.
        gate: Gate,
        /// Time on air; zero for what stays on a LAN.
        airtime: Duration,
    },
}
