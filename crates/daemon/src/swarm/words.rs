//! Names and nodes as people write them.

use anyhow::{Context as _, Result, bail, ensure};
use compotastic_mesh::lora::Preset;

use crate::{runtime::book::node_id, seam::SwarmView};

/// Names that firmware gives a meaning of their own.
const RESERVED: [&str; 4] = ["admin", "gpio", "serial", "mqtt"];

/// The name of a new swarm's channel: 1 to 11 bytes that people can read, and none that radios or people take for another channel.
pub(super) fn new_name(name: &str) -> Result<&str> {
    let trimmed = name.trim_matches(' ');
    ensure!((1..=11).contains(&trimmed.len()), "{name:?} is no name of a channel: 1 to 11 bytes");
    ensure!(
        !trimmed.contains(char::is_control),
        "{name:?} has a line feed or another control character in it: take letters, digits and signs"
    );
    ensure!(
        !RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(trimmed)),
        "a channel `{trimmed}` has a meaning of its own in Meshtastic's firmware: take another name"
    );
    if let Ok(preset) = trimmed.parse::<Preset>() {
        bail!(
            "`{trimmed}` is what the mesh's own channel is called on the preset {}: take another name",
            preset.name()
        );
    }
    Ok(trimmed)
}

/// A node as people write it.
fn node_num(word: &str) -> Result<u32> {
    let digits = word.trim().trim_start_matches('!');
    let num = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8);
    num.with_context(|| format!("`{word}` is no node: write it as !a1b2c3d4"))
}

/// Numbers of the nodes that are left out. Whoever mistypes one would give the lost radio the new keys: it has to be a member that was heard here, or
/// (`anyway`) one that is meant all the same.
pub(super) fn without_members(words: &[String], swarm: &SwarmView, anyway: bool) -> Result<Vec<u32>> {
    let without: Vec<u32> = words.iter().map(|word| node_num(word)).collect::<Result<_>>()?;
    let unknown = without.iter().find(|num| swarm.members.iter().all(|member| member.num != **num));
    if let Some(num) = unknown.filter(|_| !anyway) {
        bail!(
            "{} was never heard as a member here, and leaving out a node that is none shuts nobody out: see `compotastic swarm members`; \
             if it is the right one, say so with --anyway",
            node_id(*num)
        );
    }
    Ok(without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::NodeView;

    #[test]
    fn names_that_mean_another_channel_are_refused() {
        for (name, said) in [
            ("admin", "meaning of its own"),
            ("Admin", "meaning of its own"),
            ("LongFast", "the mesh's own channel"),
            ("long_fast", "the mesh's own channel"),
            ("hi\nlls", "line feed"),
            ("hills\n", "line feed"),
            ("\x1b[2J", "control character"),
            ("", "1 to 11 bytes"),
            ("   ", "1 to 11 bytes"),
            ("twelve bytes", "1 to 11 bytes"),
        ] {
            let error = new_name(name).expect_err(name).to_string();
            assert!(error.contains(said) && !error.contains(['\n', '\x1b']), "{error}");
        }
        for (name, taken) in
            [("hills", "hills"), (" hills ", "hills"), ("Hütte 3", "Hütte 3"), ("administer", "administer")]
        {
            assert_eq!(new_name(name).unwrap(), taken);
        }
    }

    #[test]
    fn a_node_that_is_left_out_is_a_member_or_meant_all_the_same() {
        let member = NodeView { num: 0x0b00_0001, member: true, ..NodeView::default() };
        let swarm = SwarmView { members: vec![member], ..SwarmView::default() };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(without_members(&words(&["!0b000001"]), &swarm, false).unwrap(), [0x0b00_0001]);
        let typo = words(&["!0b000001", "!0b0000ff"]);
        let error = without_members(&typo, &swarm, false).unwrap_err().to_string();
        assert!(error.contains("!0b0000ff was never heard") && error.contains("--anyway"), "{error}");
        assert_eq!(without_members(&typo, &swarm, true).unwrap(), [0x0b00_0001, 0x0b00_00ff]);
        assert!(without_members(&words(&["hut"]), &swarm, true).is_err());
    }
}
