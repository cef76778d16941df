//! One event of a run, as the log hashes it and as a recording holds it.

use compotastic_mesh::time::Instant;

use super::{
    FRAME_MAX,
    bytes::{Malformed, Take, put_number, put_signed},
};

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A transmission begins.
    Transmit = 1,
    /// A frame was received.
    Receive = 2,
    /// Something that the application tells.
    Application = 3,
    /// Energy was heard that was no frame for this node.
    Energy = 4,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A transmission begins.
    Transmit {
        /// The frame.
        frame: &'a [u8],
    },
    /// A frame ended and was received: the last that its sender began to send.
    Receive {
        /// Its sender.
        from: u32,
        /// Signal-to-noise ratio, quarter dB.
        snr_qdb: i16,
    },
    /// Something that the application tells: see [`Record`](super::Record).
    Application(&'a [u8]),
    /// A frame ended that reached this node and was not received.
    Energy {
        /// The part of it that did not overlap what was counted before, microseconds.
        airtime_us: u32,
    },
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When.
    pub at: Instant,
    /// Where: the node's index.
    pub node: u32,
    /// What.
    pub body: Body<'a>,
}

impl Event<'_> {
    /// Kind of the event.
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Transmit { .. } => Kind::Transmit,
            Body::Receive { .. } => Kind::Receive,
            Body::Application(_) => Kind::Application,
            Body::Energy { .. } => Kind::Energy,
        }
    }

    /// The bytes that the event log's hash takes in: fixed widths, so that the hash does not depend on how a file packs them.
    pub fn hashed(&self, mut take: impl FnMut(&[u8])) {
        let mut small = [0; 6];
        let bytes = match self.body {
            Body::Transmit { frame } => frame,
            Body::Application(bytes) => bytes,
            Body::Receive { from, snr_qdb } => {
                small[..4].copy_from_slice(&from.to_le_bytes());
                small[4..].copy_from_slice(&snr_qdb.to_le_bytes());
                &small
            }
            Body::Energy { airtime_us } => {
                small[..4].copy_from_slice(&airtime_us.to_le_bytes());
                &small[..4]
            }
        };
        let mut head = [0; 15];
        head[0] = self.kind() as u8;
        head[1..9].copy_from_slice(&self.at.as_micros().to_le_bytes());
        head[9..13].copy_from_slice(&self.node.to_le_bytes());
        head[13..15].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
        take(&head);
        take(bytes);
    }

    /// Adds the event's bytes in a file; `last` is the time of the event before.
    pub(super) fn pack(&self, last: Instant, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        put_number(out, self.at.as_micros() - last.as_micros());
        put_number(out, u64::from(self.node));
        match self.body {
            Body::Transmit { frame: bytes } | Body::Application(bytes) => {
                put_number(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Body::Receive { from, snr_qdb } => {
                put_number(out, u64::from(from));
                put_signed(out, i64::from(snr_qdb));
            }
            Body::Energy { airtime_us } => put_number(out, u64::from(airtime_us)),
        }
    }
}

impl<'a> Event<'a> {
    /// Reads what follows the kind byte.
    pub(super) fn unpack(kind: u8, last: Instant, take: &mut Take<'a>) -> Result<Self, Malformed> {
        let elapsed_us = take.number()?;
        let at_us = last.as_micros().checked_add(elapsed_us).ok_or(Malformed::Value("the time"))?;
        let node = take.small("a node")?;
        let body = match kind {
            1 => {
                let length = take.up_to(FRAME_MAX as u64, "a frame's length")?;
                Body::Transmit { frame: take.bytes(length as usize)? }
            }
            2 => Body::Receive {
                from: take.small("a sender")?,
                snr_qdb: i16::try_from(take.signed()?).map_err(|_| Malformed::Value("an SNR"))?,
            },
            3 => {
                let length = take.up_to(u64::from(u16::MAX), "a record's length")?;
                Body::Application(take.bytes(length as usize)?)
            }
            4 => Body::Energy { airtime_us: take.small("an air time")? },
            other => return Err(Malformed::Kind(other)),
        };
        Ok(Self { at: Instant::from_micros(at_us), node, body })
    }
}
