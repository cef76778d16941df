//! Channels and their encryption: AES-CTR without integrity, as Meshtastic has it.

use core::fmt;

use aes::{Aes128, Aes256};
use ctr::{
    Ctr32BE,
    cipher::{KeyIvInit, StreamCipher},
};
use heapless::String;

use crate::packet::{NodeNum, PacketId};

/// The default key of Meshtastic (`AQ==`).
pub const DEFAULT_KEY: [u8; 16] =
    [0xd4, 0xf1, 0xbb, 0x3a, 0x20, 0x29, 0x07, 0x59, 0xf0, 0xbc, 0xff, 0xab, 0xcf, 0x4e, 0x69, 0x01];

/// Longest channel name in bytes.
pub const NAME_MAX: usize = 11;

/// An expanded channel key.
#[derive(Clone, PartialEq, Eq)]
pub enum ChannelKey {
    /// No encryption.
    None,
    /// AES-128.
    Aes128([u8; 16]),
    /// AES-256.
    Aes256([u8; 32]),
}

impl ChannelKey {
    /// Expands a pre-shared key as stored in a channel: empty and `00` mean none, one byte n stands for the default
    /// key with n - 1 added to its last byte, others are padded with zeros to 16 or 32 bytes. More than 32 bytes
    /// are refused.
    pub fn from_psk(psk: &[u8]) -> Option<Self> {
        Some(match psk {
            [] | [0] => Self::None,
            [n] => {
                let mut key = DEFAULT_KEY;
                key[15] = key[15].wrapping_add(n - 1);
                Self::Aes128(key)
            }
            _ if psk.len() <= 16 => {
                let mut key = [0; 16];
                key[..psk.len()].copy_from_slice(psk);
                Self::Aes128(key)
            }
            _ if psk.len() <= 32 => {
                let mut key = [0; 32];
                key[..psk.len()].copy_from_slice(psk);
                Self::Aes256(key)
            }
            _ => return None,
        })
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Aes128(key) => key,
            Self::Aes256(key) => key,
        }
    }
}

/// The kind of key; never the key itself.
impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Aes128(_) => "Aes128(..)",
            Self::Aes256(_) => "Aes256(..)",
        })
    }
}

/// A channel: its name and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Name; for an unnamed channel the preset's display name.
    pub name: String<NAME_MAX>,
    /// Key.
    pub key: ChannelKey,
    enabled: bool,
}

impl Channel {
    /// A channel; `None` if the name is longer than [`NAME_MAX`] bytes or the key longer than 32.
    pub fn new(name: &str, psk: &[u8]) -> Option<Self> {
        Some(Self { name: String::try_from(name).ok()?, key: ChannelKey::from_psk(psk)?, enabled: true })
    }

    /// A place in the table without a channel: nothing is read or sent with it.
    pub const fn disabled() -> Self {
        Self { name: String::new(), key: ChannelKey::None, enabled: false }
    }

    /// Whether there is a channel.
    pub const fn enabled(&self) -> bool {
        self.enabled
    }

    /// A secondary channel: as [`Self::new`], but without a key of its own (empty `psk`) it takes the primary's.
    pub fn secondary(name: &str, psk: &[u8], primary: &Self) -> Option<Self> {
        let channel = Self::new(name, psk)?;
        Some(if psk.is_empty() { Self { key: primary.key.clone(), ..channel } } else { channel })
    }

    /// The byte by which receivers find the channel: XOR of name and key.
    pub fn hash(&self) -> u8 {
        self.name.bytes().chain(self.key.bytes().iter().copied()).fold(0, |hash, byte| hash ^ byte)
    }
}

/// Encrypts or decrypts in place. Initial counter block: id (u64 LE), from (u32 LE), block counter (u32 BE).
pub fn ctr_apply(key: &ChannelKey, from: NodeNum, id: PacketId, data: &mut [u8]) {
    let mut iv = [0; 16];
    iv[..4].copy_from_slice(&id.0.to_le_bytes());
    iv[8..12].copy_from_slice(&from.0.to_le_bytes());
    match key {
        ChannelKey::None => {}
        ChannelKey::Aes128(key) => Ctr32BE::<Aes128>::new(key.into(), &iv.into()).apply_keystream(data),
        ChannelKey::Aes256(key) => Ctr32BE::<Aes256>::new(key.into(), &iv.into()).apply_keystream(data),
    }
}
