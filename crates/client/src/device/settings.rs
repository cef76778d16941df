//! What a client sets and reads: the node's name, channels, configuration, module configuration.
//!
//! Each part is kept as the protobuf message that the client API has for it, byte for byte as the client sent it. So nothing
//! that a newer app sets is lost, and the same bytes are what the host saves. The device itself looks only into the parts
//! that it acts on.

use core::fmt::Write as _;

use compotastic_messages::{
    Channel, ChannelRole, ChannelSettings, HardwareModel, LoRaConfig, Message as _, ModuleSettings,
    RegionCode, Role, User,
    pb::{Fields, Wire, Writer},
};
use heapless::{String, Vec};

use super::packets::HOPS_DEFAULT;

/// Bytes that all parts together may take, three of each part included. Every part at its largest in firmware 2.7 comes to
/// about 2,600.
pub const SETTINGS_MAX: usize = 3072;
/// Channels of a node.
pub const CHANNELS: u8 = 8;
/// Kinds of configuration: `AdminMessage.ConfigType` 0..=9, each one more in `Config`.
pub const CONFIGS: u8 = 10;
/// Kinds of module configuration that firmware 2.7 has: `AdminMessage.ModuleConfigType` 0..=15.
pub const MODULE_CONFIGS: u8 = 16;
/// Longest name of an owner, bytes.
const LONG_NAME_MAX: usize = 39;
/// Longest short name of an owner, bytes.
const SHORT_NAME_MAX: usize = 4;
/// Bits of a position that a fresh node tells on its primary channel: a square of about 6 km.
const PRECISION_BITS: u32 = 13;
/// How often a fresh node tells its NodeInfo, seconds.
const NODE_INFO_EVERY_S: u64 = 10_800;
/// First byte of saved settings.
const VERSION: u8 = 1;

/// A part of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `User`: the owner.
    Owner,
    /// `Channel` of this index.
    Channel(u8),
    /// The section of `Config` of this `ConfigType`, without its outer tag.
    Config(u8),
    /// The section of `ModuleConfig` of this `ModuleConfigType`, without its outer tag.
    Module(u8),
    /// Canned messages, as text.
    CannedMessages,
    /// Ringtone, as text.
    Ringtone,
    /// `Position` that was set by hand.
    FixedPosition,
}

impl Part {
    const fn tag(self) -> u8 {
        match self {
            Self::Owner => 1,
            Self::CannedMessages => 2,
            Self::Ringtone => 3,
            Self::FixedPosition => 4,
            Self::Channel(index) => 0x10 | index & 0x0F,
            Self::Config(kind) => 0x20 | kind & 0x1F,
            Self::Module(kind) => 0x40 | kind & 0x3F,
        }
    }
}

/// There is no room for the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsFull;

/// All settings of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Version, then parts: tag, length (two bytes, little-endian), message.
    bytes: Vec<u8, SETTINGS_MAX>,
}

impl Default for Settings {
    fn default() -> Self {
        let mut bytes = Vec::new();
        let _ = bytes.push(VERSION);
        Self { bytes }
    }
}

impl Settings {
    /// Settings as they were saved; `None` for anything else.
    pub fn from_saved(saved: &[u8]) -> Option<Self> {
        let settings = Self { bytes: Vec::from_slice(saved).ok()? };
        let mut at = 1;
        while at < saved.len() {
            let length = usize::from(u16::from_le_bytes([*saved.get(at + 1)?, *saved.get(at + 2)?]));
            at = at + 3 + length;
        }
        (saved.first() == Some(&VERSION) && at == saved.len()).then_some(settings)
    }

    /// What to save.
    pub fn as_saved(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a part begins and how long its message is.
    fn find(&self, part: Part) -> Option<(usize, usize)> {
        let mut at = 1;
        while let [tag, low, high, ..] = self.bytes.get(at..)? {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            if *tag == part.tag() {
                return Some((at, length));
            }
            at += 3 + length;
        }
        None
    }

    /// A part; empty if it was never set.
    pub fn get(&self, part: Part) -> &[u8] {
        let found = self.find(part);
        found.and_then(|(at, length)| self.bytes.get(at + 3..at + 3 + length)).unwrap_or_default()
    }

    /// Sets a part; an empty message takes it away. Without room for it nothing changes.
    pub fn set(&mut self, part: Part, message: &[u8]) -> Result<(), SettingsFull> {
        let found = self.find(part);
        let freed = found.map_or(0, |(_, length)| 3 + length);
        let needed = if message.is_empty() { 0 } else { 3 + message.len() };
        if self.bytes.len() - freed + needed > SETTINGS_MAX || message.len() > usize::from(u16::MAX) {
            return Err(SettingsFull);
        }
        if let Some((at, _)) = found {
            self.bytes.copy_within(at + freed.., at);
            self.bytes.truncate(self.bytes.len() - freed);
        }
        if !message.is_empty() {
            let _ = self.bytes.push(part.tag());
            let _ = self.bytes.extend_from_slice(&(message.len() as u16).to_le_bytes());
            let _ = self.bytes.extend_from_slice(message);
        }
        Ok(())
    }
}

/// What a fresh node is told before its first start.
#[derive(Clone, Debug, Default)]
pub struct Fresh<'a> {
    /// Name, cut at 39 bytes.
    pub long_name: &'a str,
    /// Short name, cut at 4 bytes.
    pub short_name: &'a str,
    /// Role.
    pub role: Role,
    /// Region, preset and the rest of the radio.
    pub lora: LoRaConfig,
    /// Private and public key; without them it has no direct messages under public keys.
    pub keys: Option<([u8; 32], [u8; 32])>,
}

/// The node as it presents itself.
#[derive(Clone, Debug)]
pub struct OwnUser<'a> {
    id: String<9>,
    mac: [u8; 6],
    owner: User<'a>,
}

impl OwnUser<'_> {
    /// The `User` message.
    pub fn as_user(&self) -> User<'_> {
        User { id: self.id.as_str().into(), macaddr: &self.mac, ..self.owner.clone() }
    }
}

/// Text of at most so many bytes, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The bytes of a field of a message.
fn field(message: &[u8], number: u32) -> &[u8] {
    let mut found: &[u8] = &[];
    for field in Fields::new(message).flatten() {
        if let (at, Wire::Bytes(bytes)) = field
            && at == number
        {
            found = bytes;
        }
    }
    found
}

/// What the device itself reads and changes.
impl Settings {
    /// Settings of a node that nobody has set up but for its region: as firmware 2.7 has them, where they differ from zero.
    pub fn fresh(fresh: &Fresh<'_>) -> Self {
        let mut settings = Self::default();
        settings.set_names(fresh.long_name, fresh.short_name);
        let channel = Channel {
            index: 0,
            settings: Some(ChannelSettings {
                psk: &[1],
                module_settings: Some(ModuleSettings {
                    position_precision: PRECISION_BITS,
                    ..ModuleSettings::default()
                }),
                ..ChannelSettings::default()
            }),
            role: ChannelRole::PRIMARY,
        };
        // Fresh settings are small: there is room for all that follows.
        if let Ok(channel) = channel.to_vec::<64>() {
            let _ = settings.set(Part::Channel(0), &channel);
        }
        if let Ok(lora) = fresh.lora.to_vec::<128>() {
            let _ = settings.set(Part::Config(5), &lora);
        }
        let mut buffer = [0; 80];
        let mut device = Writer::new(&mut buffer);
        if fresh.role != Role::CLIENT {
            device.varint_field(1, u64::from(fresh.role.0));
        }
        device.varint_field(7, NODE_INFO_EVERY_S);
        if let Ok(length) = device.finish() {
            let _ = settings.set(Part::Config(0), &buffer[..length]);
        }
        if let Some((private, public)) = &fresh.keys {
            settings.set_keys(private, public);
        }
        settings
    }

    /// Sets both names; what is too long is cut. An empty one leaves what was there.
    pub fn set_names(&mut self, long_name: &str, short_name: &str) {
        let owner = User {
            long_name: cut(long_name, LONG_NAME_MAX).into(),
            short_name: cut(short_name, SHORT_NAME_MAX).into(),
            ..User::default()
        };
        self.merge_owner(&owner);
    }

    /// Takes what a client set of the owner: names that are not empty, and the two marks.
    pub(super) fn merge_owner(&mut self, set: &User<'_>) {
        let old: Vec<u8, 128> = Vec::from_slice(self.get(Part::Owner)).unwrap_or_default();
        let mut owner = User::decode(&old).unwrap_or_default();
        let text = |text: compotastic_messages::Text<'_>, bytes_max| -> Vec<u8, LONG_NAME_MAX> {
            let text = match text.as_str() {
                Some(text) => cut(text, bytes_max).as_bytes(),
                None => text.0.get(..bytes_max).unwrap_or(text.0),
            };
            Vec::from_slice(text).unwrap_or_default()
        };
        let (long_name, short_name) =
            (text(set.long_name, LONG_NAME_MAX), text(set.short_name, SHORT_NAME_MAX));
        if !long_name.is_empty() {
            owner.long_name.0 = &long_name;
        }
        if !short_name.is_empty() {
            owner.short_name.0 = &short_name;
        }
        owner.is_licensed = set.is_licensed;
        owner.is_unmessagable = set.is_unmessagable.or(owner.is_unmessagable);
        if let Ok(owner) = owner.to_vec::<128>() {
            let _ = self.set(Part::Owner, &owner);
        }
    }

    /// The node of this number on this hardware, with names, role and public key.
    pub fn user(&self, num: u32, hw_model: HardwareModel) -> OwnUser<'_> {
        let mut id = String::new();
        let _ = write!(id, "!{num:08x}");
        let [a, b, c, d] = num.to_be_bytes();
        let stored = User::decode(self.get(Part::Owner)).unwrap_or_default();
        let owner = User { hw_model, role: self.role(), public_key: self.public_key(), ..stored };
        OwnUser { id, mac: [0x02, 0, a, b, c, d], owner }
    }

    /// The radio's section.
    pub fn lora(&self) -> LoRaConfig {
        LoRaConfig::decode(self.get(Part::Config(5))).unwrap_or_default()
    }

    /// Default hop limit, 1..=7.
    pub fn hop_limit(&self) -> u8 {
        match self.lora().hop_limit {
            hops @ 1..=7 => hops as u8,
            _ => HOPS_DEFAULT,
        }
    }

    /// A region is set and sending is allowed.
    pub fn may_send(&self) -> bool {
        let lora = self.lora();
        lora.tx_enabled && lora.region != RegionCode::UNSET
    }

    /// Own packets may go to MQTT.
    pub fn ok_to_mqtt(&self) -> bool {
        self.lora().config_ok_to_mqtt
    }

    /// What the node is for.
    pub fn role(&self) -> Role {
        let mut role = Role::CLIENT;
        for field in Fields::new(self.get(Part::Config(0))).flatten() {
            if let (1, Wire::Varint(value)) = field {
                role = Role(value as u32);
            }
        }
        role
    }

    /// A channel; its settings are empty where the slot is free.
    pub fn channel(&self, index: u8) -> Channel<'_> {
        Channel {
            index: i32::from(index),
            ..Channel::decode(self.get(Part::Channel(index))).unwrap_or_default()
        }
    }

    /// The channel is there and not disabled.
    pub fn is_channel_used(&self, index: u8) -> bool {
        index < CHANNELS && self.channel(index).role != ChannelRole::DISABLED
    }

    /// Bits of positions that are told on a channel: 0 = none, 32 = all.
    pub fn position_precision(&self, index: u8) -> u32 {
        let settings = self.channel(index).settings.unwrap_or_default();
        settings.module_settings.map_or(0, |module| module.position_precision)
    }

    /// X25519 public key; empty where there is none.
    pub fn public_key(&self) -> &[u8] {
        field(self.get(Part::Config(7)), 1)
    }

    /// X25519 private key; empty where there is none.
    pub fn private_key(&self) -> &[u8] {
        field(self.get(Part::Config(7)), 2)
    }

    /// Sets both keys; the rest of the security section stays. Without room for them there are none.
    pub fn set_keys(&mut self, private: &[u8; 32], public: &[u8; 32]) {
        let set = self.replace(Part::Config(7), &[1, 2], |writer| {
            writer.bytes_field(1, public);
            writer.bytes_field(2, private);
        });
        if set.is_err() {
            let _ = self.set(Part::Config(7), &[]);
        }
    }

    /// Sets the fixed position (an encoded `Position`), or takes it away where it is empty.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn set_fixed_position(&mut self, position: &[u8]) -> Result<(), SettingsFull> {
        self.set(Part::FixedPosition, position)?;
        let is_fixed = !position.is_empty();
        self.replace(Part::Config(1), &[3], |writer| {
            if is_fixed {
                writer.varint_field(3, 1);
            }
        })
    }

    /// Writes fields of a part anew; its others stay.
    fn replace(
        &mut self,
        part: Part,
        numbers: &[u32],
        fields: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), SettingsFull> {
        let old: Vec<u8, 320> = Vec::from_slice(self.get(part)).map_err(|_| SettingsFull)?;
        let mut buffer = [0; 400];
        let mut writer = Writer::new(&mut buffer);
        fields(&mut writer);
        for field in Fields::new(&old).flatten() {
            match field {
                (number, _) if numbers.contains(&number) => {}
                (number, Wire::Varint(value)) => writer.varint_field(number, value),
                (number, Wire::Bytes(bytes)) => writer.bytes_field(number, bytes),
                (number, Wire::Fixed32(value)) => writer.fixed32_field(number, value),
                (number, Wire::Fixed64(value)) => writer.fixed64_field(number, value),
            }
        }
        let length = writer.finish().map_err(|_| SettingsFull)?;
        self.set(part, buffer.get(..length).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_part_is_replaced_and_taken_away() {
        let mut settings = Settings::default();
        settings.set(Part::Channel(0), b"first").unwrap();
        settings.set(Part::Config(5), b"lora").unwrap();
        settings.set(Part::Channel(0), b"second, longer").unwrap();
        assert_eq!(settings.get(Part::Channel(0)), b"second, longer");
        assert_eq!(settings.get(Part::Config(5)), b"lora");
        settings.set(Part::Config(5), b"").unwrap();
        assert_eq!(settings.get(Part::Config(5)), b"");
        assert_eq!(settings.get(Part::Channel(0)), b"second, longer");
    }

    #[test]
    fn full_settings_refuse_a_part_and_keep_what_they_have() {
        let mut settings = Settings::default();
        settings.set(Part::Owner, &[7; 1000]).unwrap();
        settings.set(Part::Config(0), &[8; 2000]).unwrap();
        let before = settings.clone();
        assert_eq!(settings.set(Part::Config(1), &[9; 100]), Err(SettingsFull));
        assert_eq!(settings.set(Part::Owner, &[9; 1100]), Err(SettingsFull));
        assert_eq!(settings, before);
    }

    #[test]
    fn parts_do_not_share_a_tag() {
        let mut parts = std::vec![Part::Owner, Part::CannedMessages, Part::Ringtone, Part::FixedPosition];
        parts.extend((0..CHANNELS).map(Part::Channel));
        parts.extend((0..CONFIGS).map(Part::Config));
        parts.extend((0..MODULE_CONFIGS).map(Part::Module));
        let mut tags: std::vec::Vec<u8> = parts.iter().map(|part| part.tag()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), parts.len());
    }

    proptest! {
        #[test]
        fn anything_may_be_read_as_saved(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(settings) = Settings::from_saved(&bytes) {
                prop_assert_eq!(settings.as_saved(), &bytes[..]);
                let mut changed = settings.clone();
                changed.set(Part::Owner, b"x").unwrap();
                prop_assert_eq!(changed.get(Part::Owner), b"x");
                prop_assert!(Settings::from_saved(changed.as_saved()).is_some());
            }
        }

        #[test]
        fn what_was_set_is_read(parts in proptest::collection::vec((0u8..8, proptest::collection::vec(any::<u8>(), 0..60)), 0..20)) {
            let mut settings = Settings::default();
            let mut model: [std::vec::Vec<u8>; 8] = Default::default();
            for (index, message) in parts {
                settings.set(Part::Channel(index), &message).unwrap();
                model[usize::from(index)] = message;
            }
            let read = Settings::from_saved(settings.as_saved()).unwrap();
            for (index, message) in model.iter().enumerate() {
                prop_assert_eq!(read.get(Part::Channel(index as u8)), &message[..]);
            }
        }
    }
}
