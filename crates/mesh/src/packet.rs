//! The frame on the air: a 16-byte header and an encrypted `Data` message.

use core::fmt;

/// Bytes of the header.
pub const HEADER: usize = 16;
/// Longest frame.
pub const MAX_FRAME: usize = 255;
/// Longest encoded `Data`.
pub const MAX_DATA: usize = MAX_FRAME - HEADER;

/// Longest payload to send: the firmware's cap.
pub const MAX_PAYLOAD: usize = 233;
/// Longest payload that the firmware was seen to take.
pub const MAX_RECEIVED: usize = 234;

/// Bytes of a signature; as a field of the message it takes two more.
pub const SIGNATURE: usize = 64;

/// A node's number.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNum(pub u32);

impl NodeNum {
    /// Everybody.
    pub const BROADCAST: Self = Self(0xFFFF_FFFF);
    /// Everybody who is reached without LoRa.
    pub const LAN_BROADCAST: Self = Self(1);

    /// Whether no node may have this number: 0 to 3 and that of all.
    pub const fn is_reserved(self) -> bool {
        self.0 <= 3 || self.0 == u32::MAX
    }

    /// The last byte, by which relays and next hops are named.
    pub const fn last_byte(self) -> u8 {
        self.0 as u8
    }
}

impl fmt::Display for NodeNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "!{:08x}", self.0)
    }
}

/// A packet's id; with the sender it is unique on the mesh.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub u32);

/// The header.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination.
    pub to: NodeNum,
    /// Origin.
    pub from: NodeNum,
    /// Packet id.
    pub id: PacketId,
    /// Hops that are left, 0..=7.
    pub hop_limit: u8,
    /// The origin wants an acknowledgement.
    pub want_ack: bool,
    /// Came over MQTT.
    pub via_mqtt: bool,
    /// Hop limit at the origin, 0..=7.
    pub hop_start: u8,
    /// Channel hash.
    pub channel_hash: u8,
    /// Last byte of the node asked to relay; 0 = flood.
    pub next_hop: u8,
    /// Last byte of the node that sent this copy.
    pub relay_node: u8,
}

impl Header {
    /// Reads the header of a frame; `None` when it is too short or the sender is impossible.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER] = frame.get(..HEADER)?.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let flags = head[12];
        let header = Self {
            to: NodeNum(word(0)),
            from: NodeNum(word(4)),
            id: PacketId(word(8)),
            hop_limit: flags & 7,
            want_ack: flags & 8 != 0,
            via_mqtt: flags & 16 != 0,
            hop_start: flags >> 5,
            channel_hash: head[13],
            next_hop: head[14],
            relay_node: head[15],
        };
        (header.from.0 != 0 && header.from != NodeNum::BROADCAST && frame.len() <= MAX_FRAME)
            .then_some(header)
    }

    /// The 16 bytes.
    pub fn emit(&self) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..4].copy_from_slice(&self.to.0.to_le_bytes());
        head[4..8].copy_from_slice(&self.from.0.to_le_bytes());
        head[8..12].copy_from_slice(&self.id.0.to_le_bytes());
        head[12] = self.hop_limit & 7
            | u8::from(self.want_ack) << 3
            | u8::from(self.via_mqtt) << 4
            | (self.hop_start & 7) << 5;
        head[13] = self.channel_hash;
        head[14] = self.next_hop;
        head[15] = self.relay_node;
        head
    }

    /// Hops that this copy has taken; `None` where the origin did not tell its hop limit.
    pub fn hops_away(&self) -> Option<u8> {
        self.hop_start.checked_sub(self.hop_limit)
    }
}

/// The application's part of a packet (`Data` of Meshtastic's schema).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data<'a> {
    /// Port number, field 1.
    pub port: u16,
    /// Payload, field 2.
    pub payload: &'a [u8],
    /// Field 3.
    pub want_response: bool,
    /// Packet that this one answers or acknowledges, field 6.
    pub request_id: Option<u32>,
    /// Message that this one replies to, field 7.
    pub reply_id: Option<u32>,
    /// The payload is a reaction to that message, field 8.
    pub emoji: Option<u32>,
    /// Field 9.
    pub bitfield: Option<u8>,
    /// Field 10: what firmware 2.8 signs broadcasts with ([`crate::xeddsa`]).
    pub signature: Option<&'a [u8; SIGNATURE]>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len())?;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes)
    }
    fn fixed32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

impl<'a> Data<'a> {
    /// Whether an answer is asked for: by its field, or by bit 1 of the bitfield.
    pub fn wants_response(&self) -> bool {
        self.want_response || self.bitfield.is_some_and(|bits| bits & 2 != 0)
    }

    /// Reads a message; unknown fields are skipped. `None` for what is no `Data`, has port 0, a payload over
    /// [`MAX_RECEIVED`] or a signature of another length: this is also how a wrong key shows.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut data = Self::default();
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            let key = reader.varint()?;
            match (key >> 3, key & 7) {
                (1, 0) => data.port = u16::try_from(reader.varint()?).ok()?,
                (2, 2) => {
                    let length = reader.varint()?;
                    data.payload = reader.bytes(length)?;
                }
                (3, 0) => data.want_response = reader.varint()? != 0,
                (6, 5) => data.request_id = Some(reader.fixed32()?),
                (7, 5) => data.reply_id = Some(reader.fixed32()?),
                (8, 5) => data.emoji = Some(reader.fixed32()?),
                (9, 0) => data.bitfield = Some(reader.varint()? as u8),
                (10, 2) => {
                    let length = reader.varint()?;
                    let signature = reader.bytes(length)?;
                    data.signature =
                        if signature.is_empty() { None } else { Some(signature.try_into().ok()?) };
                }
                (0, _) => return None,
                (_, 0) => drop(reader.varint()?),
                (_, 1) => drop(reader.bytes(8)?),
                (_, 2) => {
                    let length = reader.varint()?;
                    reader.bytes(length)?;
                }
                (_, 5) => drop(reader.bytes(4)?),
                _ => return None,
            }
        }
        (data.port != 0 && data.payload.len() <= MAX_RECEIVED).then_some(data)
    }

    /// Writes the message; `None` if it does not fit, or if no receiver would take it: port 0, or a payload over
    /// [`MAX_PAYLOAD`].
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        if self.port == 0 || self.payload.len() > MAX_PAYLOAD {
            return None;
        }
        let mut writer = Writer { out, at: 0 };
        writer.varint_field(1, u32::from(self.port))?;
        if !self.payload.is_empty() {
            writer.bytes_field(2, self.payload)?;
        }
        if self.want_response {
            writer.varint_field(3, 1)?;
        }
        if let Some(id) = self.request_id {
            writer.fixed32_field(6, id)?;
        }
        if let Some(id) = self.reply_id {
            writer.fixed32_field(7, id)?;
        }
        if let Some(emoji) = self.emoji {
            writer.fixed32_field(8, emoji)?;
        }
        if let Some(bits) = self.bitfield {
            writer.varint_field(9, u32::from(bits))?;
        }
        if let Some(signature) = self.signature {
            writer.bytes_field(10, signature)?;
        }
        Some(writer.at)
    }
}

/// Writes protobuf fields; each call gives `None` when the buffer is too small.
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut [u8],
    pub(crate) at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.at..self.at + bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }
    fn varint(&mut self, mut value: u32) -> Option<()> {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80])?;
            value >>= 7;
        }
        self.put(&[value as u8])
    }
    pub(crate) fn varint_field(&mut self, field: u32, value: u32) -> Option<()> {
        self.varint(field << 3)?;
        self.varint(value)
    }
    pub(crate) fn bytes_field(&mut self, field: u32, bytes: &[u8]) -> Option<()> {
        self.varint(field << 3 | 2)?;
        self.varint(u32::try_from(bytes.len()).ok()?)?;
        self.put(bytes)
    }
    pub(crate) fn fixed32_field(&mut self, field: u32, value: u32) -> Option<()> {
        self.varint(field << 3 | 5)?;
        self.put(&value.to_le_bytes())
    }
}
