//! What joining changes on a radio: one SECONDARY channel slot, and nothing else.
//!
//! The PRIMARY channel, the LoRa settings and slots in use stay as they are. What was in the slot is kept, so that leaving puts it back.

use std::fmt;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use compotastic_links::{ChannelInfo, RadioEvent, RadioHandle, RadioInfo};
use compotastic_messages::{AdminMessage, AdminPayload, Channel, ChannelRole, ChannelSettings, Message as _};
use compotastic_wire::records::enrolment::EnrolmentRecord;
use serde::{Deserialize, Serialize};

use crate::runtime::{book::node_id, facts};

/// Time for the radio to write its channels and say so.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A slot as it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its place, 1..=7.
    pub index: u8,
    /// 0 = disabled, 2 = secondary.
    pub role: u8,
    /// Name.
    pub name: String,
    /// Key.
    pub psk: Vec<u8>,
    /// Its packets may go to MQTT.
    pub uplink: bool,
    /// Packets from MQTT may come onto it.
    pub downlink: bool,
}

impl From<&ChannelInfo> for Slot {
    fn from(info: &ChannelInfo) -> Self {
        Self {
            index: info.index,
            role: info.role,
            name: info.name.clone(),
            psk: info.psk.clone(),
            uplink: info.uplink,
            downlink: info.downlink,
        }
    }
}

impl Slot {
    fn is(&self, info: &ChannelInfo) -> bool {
        u32::from(info.role) == ChannelRole::SECONDARY.0 && info.name == self.name && info.psk == self.psk
    }
}

/// What is going to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The radio has the channel already.
    Nothing {
        /// Where.
        index: u8,
    },
    /// One slot.
    Change {
        /// As it is now.
        before: Slot,
        /// As it will be.
        after: Slot,
    },
}

/// For a person who is asked.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { index } => {
                write!(f, "The radio has the channel already, in slot {index}; nothing changes.")
            }
            Self::Change { before, after } => {
                let was = if before.role == 0 { "empty".to_owned() } else { format!("`{}`", before.name) };
                write!(
                    f,
                    "Channel slot {}: {was} -> `{}` (SECONDARY, key of {} bytes, no MQTT).\n\
                     Nothing else changes: not the primary channel, not the LoRa settings, no other slot.\n\
                     `compotastic swarm leave` puts back what was there.",
                    after.index,
                    after.name,
                    after.psk.len()
                )
            }
        }
    }
}

/// What joining a swarm changes on this radio. `held` is the slot that this swarm had before, where it did: after a rotation its key is
/// another.
pub fn plan(info: &RadioInfo, swarm: &EnrolmentRecord, held: Option<&Slot>) -> Result<Plan> {
    let there = facts::find_channel(&info.channels, swarm);
    if let Ok(channel) = there {
        if u32::from(channel.role) != ChannelRole::SECONDARY.0 {
            bail!(
                "the swarm's channel is the PRIMARY channel of {}, which would put all its traffic on the swarm's key: \
                 move it to a secondary slot in the app first",
                node_id(info.num)
            );
        }
        return Ok(Plan::Nothing { index: channel.index });
    }
    let before = info.channels.iter().find(|channel| held.is_some_and(|held| held.is(channel)));
    if before.is_none()
        && let Err(facts::Obstacle::OtherKey { name }) = there
    {
        bail!(
            "{} has a channel `{name}` with another key, of another swarm or an older epoch: remove it in the app first",
            node_id(info.num)
        );
    }
    let free =
        |channel: &&ChannelInfo| channel.index > 0 && u32::from(channel.role) == ChannelRole::DISABLED.0;
    let before = before.or_else(|| info.channels.iter().find(free)).with_context(|| {
        format!(
            "all {} channel slots of {} are in use: remove one in the app, and join again",
            facts::CHANNELS,
            node_id(info.num)
        )
    })?;
    let after = Slot {
        index: before.index,
        role: ChannelRole::SECONDARY.0 as u8,
        name: swarm.channel_name.to_string(),
        psk: swarm.channel_key.to_vec(),
        uplink: false,
        downlink: false,
    };
    Ok(Plan::Change { before: before.into(), after })
}

/// The admin message that sets a slot.
pub fn set_channel(slot: &Slot) -> Result<Vec<u8>> {
    ensure!(
        (1..facts::CHANNELS as u8).contains(&slot.index),
        "slot {} is not one that may be changed",
        slot.index
    );
    let settings = ChannelSettings {
        psk: &slot.psk,
        name: slot.name.as_str().into(),
        uplink_enabled: slot.uplink,
        downlink_enabled: slot.downlink,
        ..ChannelSettings::default()
    };
    let channel = Channel {
        index: slot.index.into(),
        settings: (slot.role != 0).then_some(settings),
        role: ChannelRole(slot.role.into()),
    };
    let message = AdminMessage::from(AdminPayload::SetChannel(channel));
    Ok(message.to_vec::<256>().map_err(|_| anyhow!("the channel does not fit a message"))?.to_vec())
}

/// Waits for the handshake.
pub async fn contact(radio: &mut RadioHandle) -> Result<RadioInfo> {
    while let Some(event) = radio.events.recv().await {
        match event {
            RadioEvent::Up(info) => return Ok(*info),
            RadioEvent::Down { reason } => bail!("{reason}"),
            _ => {}
        }
    }
    bail!("the link ended before the radio had told who it is")
}

/// Sets a slot, and looks whether the radio has it so.
pub async fn write(radio: &mut RadioHandle, slot: &Slot) -> Result<()> {
    radio.sender.admin(set_channel(slot)?, false).await?;
    let check = async {
        loop {
            // Radios take a moment to write, and tell their channels in the handshake only.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            radio.sender.reconnect().await?;
            let info = loop {
                match radio.events.recv().await {
                    Some(RadioEvent::Up(info)) => break info,
                    Some(_) => {}
                    None => bail!("the link ended before the radio had told its channels"),
                }
            };
            let channel = info.channels.iter().find(|channel| channel.index == slot.index);
            let done = match channel {
                Some(channel) if slot.role == 0 => channel.role == 0,
                Some(channel) => slot.is(channel),
                None => slot.role == 0,
            };
            if done {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(PATIENCE, check).await.unwrap_or_else(|_| {
        Err(anyhow!(
            "the radio did not take the channel within a minute: is it managed, or are its settings locked?"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::facts::tests::swarm;

    fn radio(used: u8) -> RadioInfo {
        let channels = (0..8)
            .map(|index| ChannelInfo {
                index,
                role: if index == 0 { 1 } else { 2 * u8::from(index < used) },
                name: if index < used { format!("own{index}") } else { String::new() },
                psk: vec![index; 16],
                ..ChannelInfo::default()
            })
            .collect();
        RadioInfo { num: 9, channels, ..RadioInfo::default() }
    }

    #[test]
    fn the_first_free_secondary_slot_is_taken() {
        let plan = plan(&radio(3), &swarm(), None).unwrap();
        let Plan::Change { before, after } = &plan else { panic!("{plan:?}") };
        assert_eq!((before.index, before.role, after.index, after.role), (3, 0, 3, 2));
        assert!(plan.to_string().contains("Channel slot 3: empty -> `hills`"), "{plan}");
    }

    #[test]
    fn a_full_table_a_primary_and_another_key_are_left_alone() {
        let error = plan(&radio(8), &swarm(), None).unwrap_err().to_string();
        assert!(error.contains("all 8 channel slots of !00000009 are in use"), "{error}");
        let mut primary = radio(2);
        (primary.channels[0].name, primary.channels[0].psk) = ("hills".into(), vec![7; 32]);
        assert!(plan(&primary, &swarm(), None).unwrap_err().to_string().contains("PRIMARY"));
        let mut other = radio(2);
        other.channels[1].name = "hills".into();
        assert!(plan(&other, &swarm(), None).unwrap_err().to_string().contains("another key"));
    }

    #[test]
    fn joining_again_changes_nothing_and_a_new_key_goes_where_the_old_one_was() {
        let mut radio = radio(2);
        (radio.channels[5].role, radio.channels[5].name) = (2, "hills".into());
        radio.channels[5].psk = vec![7; 32];
        assert_eq!(plan(&radio, &swarm(), None).unwrap(), Plan::Nothing { index: 5 });
        let held = Slot::from(&radio.channels[5]);
        let rotated =
            EnrolmentRecord { channel_key: heapless::Vec::from_slice(&[8; 32]).unwrap(), ..swarm() };
        let Plan::Change { after, .. } = plan(&radio, &rotated, Some(&held)).unwrap() else {
            panic!("no change")
        };
        assert_eq!((after.index, after.psk[0]), (5, 8));
    }

    #[test]
    fn the_primary_slot_is_never_written() {
        assert!(set_channel(&Slot::default()).is_err());
        let slot = Slot { index: 2, role: 2, name: "hills".into(), psk: vec![7; 32], ..Slot::default() };
        let bytes = set_channel(&slot).unwrap();
        let AdminMessage { payload: Some(AdminPayload::SetChannel(channel)), .. } =
            AdminMessage::decode(&bytes).unwrap()
        else {
            panic!("not a channel")
        };
        assert_eq!((channel.index, channel.role), (2, ChannelRole::SECONDARY));
        assert_eq!(channel.settings.unwrap().psk, [7; 32]);
    }
}
