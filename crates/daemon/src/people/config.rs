//! What people on stock phones may ask for.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// How this node treats people's messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeopleConfig {
    /// Answers at all.
    pub enabled: bool,
    /// What a channel message begins with that is meant for this node. Direct messages need no trigger.
    pub trigger: String,
    /// Indices of the channels whose messages are looked at.
    pub channels: Vec<u8>,
    /// Channels in which the answer goes to everybody. In others it goes to whoever asked, as a direct message.
    pub public_channels: Vec<u8>,
    /// Nodes that are trusted (`!a1b2c3d4`), where a message proves that it is theirs. All others are strangers.
    pub allow: Vec<String>,
    /// Strangers are answered too, from one budget for all of them.
    pub strangers: bool,
    /// Air time of all that is sent to strangers, seconds an hour.
    pub strangers_airtime_s_per_hour: u32,
    /// Answers to one trusted sender in ten minutes; a third of it to one stranger.
    pub answers_per_10_min: u32,
    /// Packets of an answer, 1 or 2.
    pub packets: u8,
    /// A question without an answer ends after this time, seconds.
    pub deadline_s: u32,
}

impl Default for PeopleConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            trigger: "@ai".to_owned(),
            channels: (0..8).collect(),
            public_channels: Vec::new(),
            allow: Vec::new(),
            strangers: true,
            strangers_airtime_s_per_hour: 36,
            answers_per_10_min: 6,
            packets: 2,
            deadline_s: 300,
        }
    }
}

impl PeopleConfig {
    /// Numbers of the trusted nodes. Fails on what is no node id, an empty trigger, or a number of packets that there is not.
    pub fn check(&self) -> Result<Vec<u32>> {
        if self.trigger.trim().is_empty() {
            bail!("the trigger is empty: without one each message of a channel would be answered. Try `@ai`");
        }
        if !(1..=2).contains(&self.packets) {
            bail!("an answer is 1 or 2 packets long, not {}", self.packets);
        }
        self.allow.iter().map(|id| parse_node(id)).collect()
    }
}

fn parse_node(id: &str) -> Result<u32> {
    let digits = id.strip_prefix('!').filter(|digits| digits.len() == 8);
    match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(num) => Ok(num),
        None => bail!("`{id}` is no node id: it looks like !a1b2c3d4 (see `compotastic nodes`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_mistakes_are_named() {
        assert!(PeopleConfig::default().check().unwrap().is_empty());
        let with = |text: &str| toml::from_str::<PeopleConfig>(text).map_err(anyhow::Error::from);
        assert_eq!(with("allow = [\"!0000002a\"]").unwrap().check().unwrap(), [42]);
        for (text, said) in [
            ("allow = [\"alice\"]", "no node id"),
            ("trigger = \" \"", "empty"),
            ("packets = 3", "1 or 2"),
            ("tigger = \"@ai\"", "tigger"),
        ] {
            let error = with(text).and_then(|config| config.check()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
