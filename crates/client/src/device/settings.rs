//! What a client sets and reads: the node's name, channels, configuration, module configuration.
//!
//! Each part is kept as the protobuf message that the client API has for it, byte for byte as the client sent it. So nothing
//! that a newer app sets is lost, and the same bytes are what the host saves. The device itself looks only into the parts
//! that it acts on.

use heapless::Vec;

/// Bytes that all parts together may take, three of each part included. Every part at its largest in firmware 2.7 comes to
/// about 2,600.
pub const SETTINGS_MAX: usize = 3072;
/// Channels of a node.
pub const CHANNELS: u8 = 8;
/// Kinds of configuration: `AdminMessage.ConfigType` 0..=9, each one more in `Config`.
pub const CONFIGS: u8 = 10;
/// Kinds of module configuration that firmware 2.7 has: `AdminMessage.ModuleConfigType` 0..=15.
pub const MODULE_CONFIGS: u8 = 16;
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
