//! What the command line and JSON say about manifests.

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use compotastic_bundle::{ClassMask, ComponentKind, KindMask, Need};

/// What a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Graph and weights of a task part
    Model,
    /// Tables that steer a node
    Policy,
    /// A graph or table that an interpreter runs
    Logic,
    /// A native image
    Firmware,
}

const KINDS: [(Kind, ComponentKind, &str); 4] = [
    (Kind::Model, ComponentKind::Model, "model"),
    (Kind::Policy, ComponentKind::Policy, "policy"),
    (Kind::Logic, ComponentKind::Logic, "logic"),
    (Kind::Firmware, ComponentKind::Firmware, "firmware"),
];

impl Kind {
    /// As manifests have it.
    pub fn component(self) -> ComponentKind {
        KINDS
            .into_iter()
            .find(|(kind, ..)| *kind == self)
            .map_or(ComponentKind::Model, |(_, component, _)| component)
    }
}

/// The words for a set of kinds.
pub fn kind_names(kinds: KindMask) -> Vec<&'static str> {
    KINDS.into_iter().filter(|(_, kind, _)| kinds.contains(*kind)).map(|(.., name)| name).collect()
}

/// A set of kinds.
pub fn kind_mask(kinds: &[Kind]) -> KindMask {
    KindMask(kinds.iter().fold(0, |mask, kind| mask | kind.component().mask().0))
}

/// The device classes of a set.
pub fn class_numbers(classes: ClassMask) -> Vec<u8> {
    (0..32).filter(|class| classes.contains(*class)).collect()
}

/// Reads `KIND[/TASK]=VERSION`.
pub fn parse_need(text: &str) -> Result<Need> {
    let wrong = || anyhow!("\"{text}\" is no need: write firmware=7, or model/3=2 for the model of task 3");
    let (component, version) = text.split_once('=').ok_or_else(wrong)?;
    let (kind, task) = component.split_once('/').unwrap_or((component, "0"));
    let (_, kind, _) = KINDS.into_iter().find(|(.., name)| *name == kind).ok_or_else(wrong)?;
    Ok(Need {
        kind,
        task: task.parse().map_err(|_| wrong())?,
        sequence: version.parse().map_err(|_| wrong())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read() {
        let need = |kind, task, sequence| Need { kind, task, sequence };
        assert_eq!(parse_need("firmware=7").unwrap(), need(ComponentKind::Firmware, 0, 7));
        assert_eq!(parse_need("model/3=2").unwrap(), need(ComponentKind::Model, 3, 2));
        for bad in ["", "firmware", "firmware=", "firmware=x", "model/300=1", "cake=1", "model/=1"] {
            assert!(parse_need(bad).unwrap_err().to_string().contains("model/3=2"), "{bad}");
        }
    }
}
