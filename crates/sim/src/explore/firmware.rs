//! The checker of firmware: it knows the images that the operator signed, and reads what is in slot A past the nodes.

use std::collections::{BTreeMap, BTreeSet};

use compotastic_bundle::boot::IMAGE_TRIAL_STARTS;

use crate::swarm::{
    Flash,
    native::{image, slot_a},
};

/// Books of the firmware of all nodes. What is wrong comes back as words.
#[derive(Debug)]
pub(super) struct Firmware {
    /// Image of each version, from what nodes run from the factory on.
    images: Vec<Vec<u8>>,
    /// The newest that was published.
    newest: u32,
    /// What each node said that it has confirmed.
    confirmed: BTreeMap<usize, u32>,
    /// What was in slot A at its last start.
    seen: BTreeMap<usize, u32>,
    /// Starts of what it has not confirmed that came to run it. One that was cut, or in which flash refused, is no trial.
    trial_starts: BTreeMap<usize, u32>,
    /// Versions that a node's boot loader has given up, as it should after so many starts.
    given_up: BTreeSet<(usize, u32)>,
    /// Confirmations.
    pub(super) updates: u64,
}

impl Firmware {
    /// Versions up to this one will be published.
    pub(super) fn new(last: u32) -> Self {
        Self {
            images: (0..=last).map(image).collect(),
            newest: 0,
            confirmed: BTreeMap::new(),
            seen: BTreeMap::new(),
            trial_starts: BTreeMap::new(),
            given_up: BTreeSet::new(),
            updates: 0,
        }
    }

    pub(super) fn publish(&mut self, version: u32) {
        self.newest = self.newest.max(version);
    }

    /// What a node has confirmed.
    pub(super) fn confirmed(&self, node: usize) -> u32 {
        self.confirmed.get(&node).copied().unwrap_or(0)
    }

    /// Whether it had to give this version up.
    pub(super) fn gave_up(&self, node: usize, version: u32) -> bool {
        self.given_up.contains(&(node, version))
    }

    /// Whether a node has yet to confirm the newest version that was published.
    pub(super) fn is_behind(&self, node: usize) -> bool {
        self.confirmed(node) < self.newest && !self.gave_up(node, self.newest)
    }

    /// The version whose bytes are in slot A.
    fn in_slot(&self, flash: &Flash) -> Option<u32> {
        let found = self.images.iter().position(|image| slot_a(flash, image.len()) == *image);
        found.map(|version| version as u32)
    }

    /// Its boot loader has started what is in slot A now, and the node remembers to have confirmed a version.
    pub(super) fn started(&mut self, node: usize, remembers: u32, flash: &Flash) -> Result<(), String> {
        let Some(version) = self.in_slot(flash) else {
            return Err(format!("node {node} runs an image that nobody signed"));
        };
        if remembers < self.confirmed(node) {
            return Err(format!(
                "node {node} has forgotten that it confirmed version {}",
                self.confirmed(node)
            ));
        }
        if remembers > self.confirmed(node) {
            // Power failed before it could say so.
            self.confirms(node, remembers, flash)?;
        }
        let (before, confirmed) = (self.seen.insert(node, version).unwrap_or(0), self.confirmed(node));
        if version > self.newest {
            return Err(format!("node {node} runs version {version}, {} is the newest", self.newest));
        }
        if version < confirmed {
            return Err(format!(
                "node {node} went back from version {confirmed}, which it had confirmed, to {version}"
            ));
        }
        let had = self.trial_starts.remove(&node).unwrap_or(0);
        if version > confirmed {
            self.trial_starts.insert(node, if version == before { had + 1 } else { 1 });
        }
        if version < before {
            self.given_up.insert((node, before));
            if had < u32::from(IMAGE_TRIAL_STARTS) {
                return Err(format!("node {node} gave version {before} up after {had} starts"));
            }
        }
        Ok(())
    }

    /// A node says that what it runs has passed its trial.
    pub(super) fn confirms(&mut self, node: usize, version: u32, flash: &Flash) -> Result<(), String> {
        self.updates += 1;
        self.confirmed.insert(node, version);
        self.trial_starts.insert(node, 0);
        match self.in_slot(flash) {
            Some(runs) if runs == version => Ok(()),
            other => Err(format!("node {node} confirms version {version} and runs {other:?}")),
        }
    }

    /// Liveness: the newest version runs on a node, unless it had to be given up there.
    pub(super) fn check(&self, node: usize, flash: &Flash) -> Result<(), String> {
        let (runs, newest) = (self.in_slot(flash), self.newest);
        if runs == Some(newest) && self.confirmed(node) == newest || self.gave_up(node, newest) {
            return Ok(());
        }
        let confirmed = self.confirmed(node);
        Err(format!(
            "node {node} runs version {runs:?} and has confirmed {confirmed}, {newest} is the newest"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::native::geometry;

    /// Flash with this version in slot A.
    fn flash(version: u32) -> Flash {
        let flash = Flash::native(Default::default());
        let a = geometry().unwrap().images.slots[0].start as usize;
        flash.damage_at(a, &image(version));
        flash
    }

    #[test]
    fn only_starts_that_ran_are_starts_of_a_trial() {
        let needed = u32::from(IMAGE_TRIAL_STARTS);
        for ran in 1..=needed + 1 {
            let mut books = Firmware::new(1);
            books.publish(1);
            books.started(0, 0, &flash(0)).unwrap();
            for _ in 0..ran {
                books.started(0, 0, &flash(1)).unwrap();
            }
            let back = books.started(0, 0, &flash(0));
            let early = Err(format!("node 0 gave version 1 up after {ran} starts"));
            assert_eq!(back, if ran < needed { early } else { Ok(()) });
        }
    }
}
