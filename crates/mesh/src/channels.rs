//! The table of eight channels.
//!
//! Index 0 is the primary channel, whose name selects the frequency slot; the others are secondary or disabled. Names and keys are
//! kept as they were given, so that they can be told again; [`ChannelTable::channels`] expands them for the router.

use core::fmt;

use heapless::{String, Vec};

use crate::{
    crypto::{Channel, NAME_MAX},
    lora::Preset,
};

/// Places in the table.
pub const CHANNELS: usize = 8;
/// Longest key, bytes.
pub const PSK_MAX: usize = 32;
/// Bits of a position that stock nodes tell on a channel where nothing else is set.
pub const USUAL_PRECISION: u8 = 13;

/// A channel as it was set.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name; empty stands for the preset's.
    pub name: String<NAME_MAX, u8>,
    /// Key: 0, 1, 16 or 32 bytes as a rule, others are padded. A secondary channel without one has the primary's.
    pub psk: Vec<u8, PSK_MAX, u8>,
    /// Bits of a position that are told on it; 0: none, 32: all.
    pub position_precision: u8,
    /// Gateways may pass it on to MQTT.
    pub uplink: bool,
    /// Gateways may pass on to it from MQTT.
    pub downlink: bool,
}

/// The name, and whether there is a key.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("psk_len", &self.psk.len())
            .finish_non_exhaustive()
    }
}

/// Why a channel was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The name has more than 11 bytes.
    NameTooLong,
    /// The key has more than 32 bytes.
    KeyTooLong,
    /// There is no such place.
    NoSuchIndex,
    /// The primary channel cannot be switched off.
    Primary,
    /// All eight places are taken.
    Full,
}

/// What to do about it.
impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTooLong => "the channel's name has more than 11 bytes; give a shorter one",
            Self::KeyTooLong => "the channel's key has more than 32 bytes; give one of 16 or 32",
            Self::NoSuchIndex => "channels are numbered from 0 to 7",
            Self::Primary => "the primary channel cannot be switched off; rename it or give it another key",
            Self::Full => "all eight channels are taken; switch one off first",
        })
    }
}

impl core::error::Error for ChannelError {}

impl Settings {
    /// A channel of this name and key, with the usual precision of positions.
    ///
    /// # Errors
    /// A name or key that is too long.
    pub fn new(name: &str, psk: &[u8]) -> Result<Self, ChannelError> {
        Ok(Self {
            name: String::try_from(name).map_err(|_| ChannelError::NameTooLong)?,
            psk: Vec::from_slice(psk).map_err(|_| ChannelError::KeyTooLong)?,
            position_precision: USUAL_PRECISION,
            uplink: false,
            downlink: false,
        })
    }
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTable {
    primary: Settings,
    secondary: [Option<Settings>; CHANNELS - 1],
}

impl ChannelTable {
    /// A table with a primary channel alone.
    pub fn new(primary: Settings) -> Self {
        Self { primary, secondary: Default::default() }
    }

    /// The channel of an index, where one is set.
    pub fn get(&self, index: u8) -> Option<&Settings> {
        match index {
            0 => Some(&self.primary),
            _ => self.secondary.get(usize::from(index) - 1)?.as_ref(),
        }
    }

    /// Sets a channel, or switches it off.
    ///
    /// # Errors
    /// No such index, or the primary switched off.
    pub fn set(&mut self, index: u8, settings: Option<Settings>) -> Result<(), ChannelError> {
        match (index, settings) {
            (0, None) => return Err(ChannelError::Primary),
            (0, Some(settings)) => self.primary = settings,
            (_, settings) => {
                let place = self.secondary.get_mut(usize::from(index) - 1);
                *place.ok_or(ChannelError::NoSuchIndex)? = settings;
            }
        }
        Ok(())
    }

    /// Sets a secondary channel in the first free place, or finds it where name and key are set already.
    ///
    /// # Errors
    /// All places are taken.
    pub fn add(&mut self, settings: Settings) -> Result<u8, ChannelError> {
        if let Some(index) = self.find(&settings.name, &settings.psk) {
            return Ok(index);
        }
        let free = self.secondary.iter().position(Option::is_none).ok_or(ChannelError::Full)?;
        self.secondary[free] = Some(settings);
        Ok(free as u8 + 1)
    }

    /// The index of a channel with this name and key.
    pub fn find(&self, name: &str, psk: &[u8]) -> Option<u8> {
        self.iter().find(|(_, channel)| channel.name == name && channel.psk == psk).map(|(index, _)| index)
    }

    /// Channels that are set, by their index.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Settings)> {
        (0..CHANNELS as u8).filter_map(|index| Some((index, self.get(index)?)))
    }

    /// The name that selects the frequency slot.
    pub fn primary_name(&self, preset: Preset) -> &str {
        if self.primary.name.is_empty() { preset.display_name() } else { &self.primary.name }
    }

    /// All eight with their keys expanded, for the router; places without a channel read nothing.
    pub fn channels(&self, preset: Preset) -> Vec<Channel, CHANNELS> {
        let name = |settings: &Settings| String::<NAME_MAX>::try_from(settings.name.as_str());
        let usual = |settings: &Settings| match name(settings) {
            Ok(name) if !name.is_empty() => name,
            _ => String::try_from(preset.display_name()).unwrap_or_default(),
        };
        let primary = Channel::new(&usual(&self.primary), &self.primary.psk);
        let primary = primary.unwrap_or_else(Channel::disabled);
        let secondary = self.secondary.iter().map(|settings| {
            let settings = settings.as_ref()?;
            Channel::secondary(&usual(settings), &settings.psk, &primary)
        });
        let secondary: Vec<Channel, CHANNELS> =
            secondary.map(|channel| channel.unwrap_or_else(Channel::disabled)).collect();
        core::iter::once(primary.clone()).chain(secondary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{ChannelKey, DEFAULT_KEY};

    fn table() -> ChannelTable {
        ChannelTable::new(Settings::new("", &[1]).unwrap())
    }

    #[test]
    fn the_unnamed_primary_has_the_name_and_the_hash_of_the_preset() {
        let table = table();
        assert_eq!(table.primary_name(Preset::LongFast), "LongFast");
        let channels = table.channels(Preset::LongFast);
        assert_eq!((channels.len(), channels[0].hash()), (CHANNELS, 8));
        assert!(channels[1..].iter().all(|channel| !channel.enabled()));
    }

    #[test]
    fn places_are_taken_in_order_and_eight_are_all() {
        let mut table = table();
        for index in 1..8 {
            assert_eq!(table.add(Settings::new("team", &[index; 16]).unwrap()), Ok(index));
        }
        assert_eq!(table.add(Settings::new("more", &[9; 16]).unwrap()), Err(ChannelError::Full));
        assert_eq!(table.add(Settings::new("team", &[3; 16]).unwrap()), Ok(3), "it is there");
        table.set(4, None).unwrap();
        assert_eq!(table.add(Settings::new("more", &[9; 16]).unwrap()), Ok(4));
        assert_eq!(table.find("more", &[9; 16]), Some(4));
        assert_eq!(table.set(0, None), Err(ChannelError::Primary));
        assert_eq!(table.set(8, None), Err(ChannelError::NoSuchIndex));
        assert_eq!(table.get(8), None);
        assert_eq!(Settings::new("twelve bytes", &[]), Err(ChannelError::NameTooLong));
        assert_eq!(Settings::new("", &[0; 33]), Err(ChannelError::KeyTooLong));
    }

    #[test]
    fn a_gap_keeps_the_indices_and_a_missing_key_is_the_primary_one() {
        let mut table = table();
        table.set(3, Some(Settings::new("gap", &[]).unwrap())).unwrap();
        let channels = table.channels(Preset::MediumFast);
        assert_eq!(channels[3].name.as_str(), "gap");
        assert_eq!(channels[3].key, ChannelKey::Aes128(DEFAULT_KEY));
        assert!(!channels[2].enabled() && channels[3].enabled());
    }

    #[test]
    fn keys_are_not_shown() {
        let shown = std::format!("{:?}", Settings::new("swarm", &[0xAB; 32]).unwrap());
        assert!(shown.contains("swarm") && !shown.contains("171"), "{shown}");
    }
}
