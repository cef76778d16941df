//! What the radio told at the handshake, in the core's terms; and whether the swarm can be reached through it.

use std::fmt;

use compotastic_links::{ChannelInfo, RadioInfo};
use compotastic_mesh::lora::{Modem, Preset, Region};
use compotastic_messages::{ChannelRole, ModemPreset, RegionCode};
use compotastic_wire::records::enrolment::EnrolmentRecord;

/// Channels that a radio has.
pub const CHANNELS: usize = 8;

/// Why the swarm cannot be reached through this radio as it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The radio has no region, and so does not send.
    RegionUnset,
    /// Its region is one that this version does not know.
    RegionUnknown(u32),
    /// Its modem is not one of the presets.
    NoPreset,
    /// The swarm is on another frequency band or speed.
    Elsewhere {
        /// What the swarm has.
        swarm: String,
        /// What the radio has.
        radio: String,
    },
    /// The enrolment names a region or preset that this version does not know.
    Enrolment(String),
    /// It may not send.
    TxDisabled,
    /// It lacks the swarm's channel.
    NoChannel {
        /// Name of the channel.
        name: String,
    },
    /// It has a channel of this name with another key.
    OtherKey {
        /// Name of the channel.
        name: String,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegionUnset => f.write_str(
                "the radio's region is not set, so it sends nothing: set it in the app, or with `meshtastic --set lora.region EU_868`",
            ),
            Self::RegionUnknown(code) => {
                write!(f, "the radio's region {code} is not known here: update compotastic, or set another region")
            }
            Self::NoPreset => f.write_str(
                "the radio's modem is not set by a preset: switch `lora.use_preset` on, for the swarm's preset",
            ),
            Self::Elsewhere { swarm, radio } => write!(
                f,
                "the swarm is on {swarm}, the radio on {radio}: they cannot hear each other; join a radio of the swarm's mesh"
            ),
            Self::Enrolment(name) => {
                write!(f, "the enrolment names {name}, which is not known here: update compotastic")
            }
            Self::TxDisabled => {
                f.write_str("the radio may not send: switch `lora.tx_enabled` on in the app or with the meshtastic program")
            }
            Self::NoChannel { name } => write!(
                f,
                "the radio lacks the swarm's channel `{name}`: run `compotastic swarm join` for it again"
            ),
            Self::OtherKey { name } => write!(
                f,
                "the radio has a channel `{name}` with another key: it is of another swarm or epoch; run `compotastic swarm join` again"
            ),
        }
    }
}

/// The region of a code, if it is known.
pub fn region(code: u32) -> Option<Region> {
    if code == RegionCode::UNSET.0 {
        return Some(Region::Unset);
    }
    RegionCode(code).name()?.parse().ok()
}

/// The preset of a code, if it is known.
pub fn preset(code: u32) -> Option<Preset> {
    ModemPreset(code).name()?.parse().ok()
}

/// The modem and the region that the radio is set to.
pub fn modem_of(info: &RadioInfo) -> Result<(Preset, Region, Modem), Obstacle> {
    let region = region(info.region).ok_or(Obstacle::RegionUnknown(info.region))?;
    if region == Region::Unset {
        return Err(Obstacle::RegionUnset);
    }
    if !info.use_preset {
        return Err(Obstacle::NoPreset);
    }
    let preset = preset(info.preset).ok_or(Obstacle::NoPreset)?;
    Ok((preset, region, preset.modem(region.wide())))
}

/// The swarm's channel among the radio's, found by name and key: its index may move.
pub fn find_channel<'a>(
    channels: &'a [ChannelInfo],
    swarm: &EnrolmentRecord,
) -> Result<&'a ChannelInfo, Obstacle> {
    let name = swarm.channel_name.as_str();
    let mut named = channels
        .iter()
        .filter(|channel| u32::from(channel.role) != ChannelRole::DISABLED.0 && channel.name == name)
        .peekable();
    if named.peek().is_none() {
        return Err(Obstacle::NoChannel { name: name.to_owned() });
    }
    named
        .find(|channel| channel.psk == swarm.channel_key.as_slice())
        .ok_or_else(|| Obstacle::OtherKey { name: name.to_owned() })
}

/// How the swarm is reached through a radio: preset, region and the index of its channel.
pub fn way_to(info: &RadioInfo, swarm: &EnrolmentRecord) -> Result<(Preset, Region, u8), Obstacle> {
    let (preset, region, _) = modem_of(info)?;
    let want_region: Region =
        swarm.region.parse().map_err(|_| Obstacle::Enrolment(format!("the region {}", swarm.region)))?;
    let want_preset: Preset =
        swarm.preset.parse().map_err(|_| Obstacle::Enrolment(format!("the preset {}", swarm.preset)))?;
    if (preset, region) != (want_preset, want_region) {
        return Err(Obstacle::Elsewhere {
            swarm: format!("{}, {}", want_region.name(), want_preset.name()),
            radio: format!("{}, {}", region.name(), preset.name()),
        });
    }
    if !info.tx_enabled {
        return Err(Obstacle::TxDisabled);
    }
    let channel = find_channel(&info.channels, swarm)?;
    Ok((preset, region, channel.index))
}

#[cfg(test)]
pub(crate) mod tests {
    use compotastic_wire::SwarmKey;

    use super::*;

    /// A swarm for tests.
    pub(crate) fn swarm() -> EnrolmentRecord {
        EnrolmentRecord {
            swarm_id: [1; 8],
            channel_name: "hills".try_into().unwrap(),
            channel_key: heapless::Vec::from_slice(&[7; 32]).unwrap(),
            swarm_key: SwarmKey([3; 16]),
            epoch: 1,
            operator_keys: heapless::Vec::from_slice(&[[5; 32]]).unwrap(),
            region: "EU_868".try_into().unwrap(),
            preset: "LONG_FAST".try_into().unwrap(),
            port: 448,
            hop_limit: 5,
        }
    }

    fn channel(index: u8, role: u8, name: &str, key: u8) -> ChannelInfo {
        ChannelInfo { index, role, name: name.into(), psk: vec![key; 32], ..ChannelInfo::default() }
    }

    fn radio() -> RadioInfo {
        RadioInfo {
            num: 9,
            region: RegionCode::EU_868.0,
            use_preset: true,
            preset: ModemPreset::LONG_FAST.0,
            tx_enabled: true,
            channels: vec![channel(0, 1, "", 1), channel(3, 2, "hills", 7)],
            ..RadioInfo::default()
        }
    }

    #[test]
    fn the_channel_is_found_wherever_it_is() {
        assert_eq!(way_to(&radio(), &swarm()), Ok((Preset::LongFast, Region::Eu868, 3)));
        let mut moved = radio();
        moved.channels = vec![channel(0, 1, "", 1), channel(1, 2, "hills", 9), channel(5, 2, "hills", 7)];
        assert_eq!(way_to(&moved, &swarm()).unwrap().2, 5);
    }

    #[test]
    fn each_obstacle_is_named_with_what_to_do() {
        type Case = (fn(&mut RadioInfo), &'static str);
        let cases: [Case; 7] = [
            (|radio| radio.region = 0, "region is not set"),
            (|radio| radio.region = 250, "region 250 is not known"),
            (
                |radio| radio.region = RegionCode::US.0,
                "the swarm is on EU_868, LONG_FAST, the radio on US, LONG_FAST",
            ),
            (|radio| radio.use_preset = false, "use_preset"),
            (|radio| radio.tx_enabled = false, "tx_enabled"),
            (|radio| radio.channels[1].psk = vec![8; 32], "with another key"),
            (|radio| radio.channels[1].role = 0, "lacks the swarm's channel `hills`"),
        ];
        for (spoil, said) in cases {
            let mut radio = radio();
            spoil(&mut radio);
            let obstacle = way_to(&radio, &swarm()).unwrap_err().to_string();
            assert!(obstacle.contains(said), "{obstacle}");
        }
    }

    #[test]
    fn every_region_and_preset_of_the_messages_is_known_or_refused() {
        let unknown: Vec<&str> = RegionCode::NAMES
            .iter()
            .filter(|(code, _)| region(code.0).is_none())
            .map(|(_, name)| *name)
            .collect();
        // Their rules are not in the tables of `mesh`.
        assert_eq!(unknown, ["UA_868", "EU_874", "EU_917"]);
        let unknown: Vec<&str> = ModemPreset::NAMES
            .iter()
            .filter(|(code, _)| preset(code.0).is_none())
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(unknown, ["VERY_LONG_SLOW"]);
        assert!(preset(200).is_none());
    }
}
