//! Head, MAC, key epochs.
//!
//! Meshtastic's channel encryption has no integrity, so each frame carries AES-CMAC (RFC 4493), truncated. It covers
//! what relays do not change: from, to, id, port, and the payload up to the MAC.

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};
use core::fmt;

use crate::{
    MAC_LEN, PORT, PROFILE_VERSION, SYMBOL_MAC_LEN,
    body::Writer,
    frame::{Frame, FrameClass, Malformed},
};

/// What the packet header says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Sender.
    pub from: u32,
    /// Destination.
    pub to: u32,
    /// Packet id.
    pub id: u32,
}

/// The swarm's key of one epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct SwarmKey(pub [u8; 16]);

/// The keys in force: the present epoch's, and during a rotation the one before.
#[derive(Clone)]
pub struct KeyRing {
    epoch: u8,
    present: SwarmKey,
    previous: Option<SwarmKey>,
}

impl KeyRing {
    /// One key.
    pub const fn new(epoch: u8, key: SwarmKey) -> Self {
        Self { epoch, present: key, previous: None }
    }

    /// Takes the key of the next epoch into use; the present one stays valid for receiving until the next rotation.
    pub fn rotate(&mut self, key: SwarmKey) {
        self.previous = Some(core::mem::replace(&mut self.present, key));
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Frames of the epoch before are refused from now on.
    pub fn forget_previous(&mut self) {
        self.previous = None;
    }

    /// The key of the present epoch, to be stored.
    pub const fn present(&self) -> &SwarmKey {
        &self.present
    }

    /// The epoch that this node sends with.
    pub const fn epoch(&self) -> u8 {
        self.epoch
    }

    fn key(&self, epoch: u8) -> Option<&SwarmKey> {
        if epoch == self.epoch {
            Some(&self.present)
        } else if epoch == self.epoch.wrapping_sub(1) {
            self.previous.as_ref()
        } else {
            None
        }
    }
}

/// Why bytes are not a frame for us. Unknown versions and classes are no fault: later versions may have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Shorter than head and MAC.
    Truncated,
    /// A profile version that this one does not talk to.
    UnknownVersion(u8),
    /// A class that this version does not have.
    UnknownClass(u8),
    /// A key epoch that is not in force.
    UnknownEpoch(u8),
    /// Not made with the swarm's key, or changed on the way.
    BadMac,
    /// Authentic, but its body cannot be read.
    Malformed(Malformed),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("shorter than a frame"),
            Self::UnknownVersion(version) => write!(f, "profile version {version} is not known here"),
            Self::UnknownClass(class) => write!(f, "frame class {class} is not known here"),
            Self::UnknownEpoch(epoch) => write!(f, "key epoch {epoch} is not in force"),
            Self::BadMac => f.write_str("not authentic"),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

/// The frame does not fit the buffer or [`crate::MAX_PAYLOAD`], or a field is out of range: what would be read as
/// something else, or not at all, is never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealError;

fn mac(key: &SwarmKey, address: &Address, payload: &[u8]) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new(&key.0.into());
    mac.update(&address.from.to_le_bytes());
    mac.update(&address.to.to_le_bytes());
    mac.update(&address.id.to_le_bytes());
    mac.update(&PORT.to_le_bytes());
    mac.update(payload);
    mac.finalize().into_bytes().into()
}

const fn is_broadcast(address: &Address) -> bool {
    address.to == u32::MAX
}

const fn mac_len(class: FrameClass) -> usize {
    match class {
        FrameClass::Symbol => SYMBOL_MAC_LEN,
        _ => MAC_LEN,
    }
}

/// Writes a sealed frame to `out` and returns its length.
pub fn seal(
    frame: &Frame<'_>,
    keys: &KeyRing,
    address: &Address,
    out: &mut [u8],
) -> Result<usize, SealError> {
    let limit = out.len().min(crate::MAX_PAYLOAD);
    let out = &mut out[..limit];
    let mut writer = Writer { out, at: 0 };
    writer.put(&[PROFILE_VERSION << 5 | frame.class() as u8, keys.epoch]).ok_or(SealError)?;
    frame.emit(&mut writer, is_broadcast(address)).ok_or(SealError)?;
    let tag = mac(&keys.present, address, &writer.out[..writer.at]);
    writer.put(&tag[..mac_len(frame.class())]).ok_or(SealError)?;
    Ok(writer.at)
}

/// Checks and reads a sealed frame; also returns the key epoch that it was made with.
pub fn open<'a>(payload: &'a [u8], keys: &KeyRing, address: &Address) -> Result<(Frame<'a>, u8), OpenError> {
    let &[first, epoch, ..] = payload else { return Err(OpenError::Truncated) };
    let version = first >> 5;
    // Version N talks to N - 1; version 0 was never on the air.
    if version != PROFILE_VERSION && (version == 0 || version + 1 != PROFILE_VERSION) {
        return Err(OpenError::UnknownVersion(version));
    }
    let class = FrameClass::from_bits(first & 31).ok_or(OpenError::UnknownClass(first & 31))?;
    let split =
        payload.len().checked_sub(mac_len(class)).filter(|split| *split >= 2).ok_or(OpenError::Truncated)?;
    let (covered, tag) = payload.split_at(split);
    let key = keys.key(epoch).ok_or(OpenError::UnknownEpoch(epoch))?;
    let expected = mac(key, address, covered);
    // Compared without an early exit, so that timing tells nothing.
    let difference = tag.iter().zip(expected).fold(0, |sum, (a, b)| sum | (a ^ b));
    if difference != 0 {
        return Err(OpenError::BadMac);
    }
    let frame = Frame::parse(class, &covered[2..], is_broadcast(address)).map_err(OpenError::Malformed)?;
    Ok((frame, epoch))
}
