//! Bluetooth as a second medium: nodes that are near enough exchange frames at its own rate and loss, and without air time of the
//! mesh.
//!
//! The link layer repeats what is lost, so loss costs throughput and never a frame. A contact takes a while to be made, and is gone when
//! the nodes are too far apart.

use std::collections::BTreeMap;

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use serde::Deserialize;
use toml::Spanned;

use crate::NodeId;

/// Bytes of a frame beside its payload: link layer, L2CAP, ATT.
const OVERHEAD: u64 = 4 + 4 + 3 + 10;

/// Settings of the medium.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BluetoothSettings {
    /// How near nodes must be, m.
    pub range_m: Spanned<f64>,
    /// Throughput without loss, bytes per second.
    pub bytes_per_s: Spanned<f64>,
    /// Share of packets that have to be repeated, 0 to 1.
    pub loss: Spanned<f64>,
    /// Time from meeting to the first frame (advertising, scanning, connecting), s.
    pub connect_s: Spanned<f64>,
}

impl Default for BluetoothSettings {
    fn default() -> Self {
        let value = |number| Spanned::new(0..0, number);
        Self { range_m: value(30.0), bytes_per_s: value(20_000.0), loss: value(0.05), connect_s: value(3.0) }
    }
}

/// Two nodes that are near each other.
#[derive(Clone, Copy, Debug)]
struct Contact {
    ready_at: Instant,
    /// Bytes that may go now; below zero, what went has still to be paid for.
    budget: f64,
}

/// The medium.
#[derive(Debug)]
pub struct Bluetooth {
    settings: BluetoothSettings,
    contacts: BTreeMap<(NodeId, NodeId), Contact>,
    rng: Rng,
    /// Bytes that were sent, repetitions included.
    pub bytes: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// Contacts that were made.
    pub meetings: u64,
}

impl Bluetooth {
    /// A medium in which nobody has met yet.
    pub fn new(settings: BluetoothSettings, rng: Rng) -> Self {
        Self { settings, contacts: BTreeMap::new(), rng, bytes: 0, frames: 0, meetings: 0 }
    }

    /// How near nodes must be, m.
    pub fn range_m(&self) -> f64 {
        *self.settings.range_m.get_ref()
    }

    /// Two nodes, the lower number first, are near each other or not, and so much time has passed since the last look. True when
    /// they have just met.
    pub fn look(&mut self, pair: (NodeId, NodeId), near: bool, now: Instant, passed: Duration) -> bool {
        if !near {
            self.contacts.remove(&pair);
            return false;
        }
        let connect = Duration::from_micros((self.settings.connect_s.get_ref() * 1e6) as u64);
        let rate = *self.settings.bytes_per_s.get_ref();
        let met = !self.contacts.contains_key(&pair);
        let contact = self.contacts.entry(pair).or_insert(Contact { ready_at: now + connect, budget: 0.0 });
        if now >= contact.ready_at {
            let most = rate * passed.as_micros() as f64 / 1e6;
            contact.budget = (contact.budget + most).min(most);
        }
        self.meetings += u64::from(met);
        met
    }

    /// Whether a frame may go between two nodes now.
    pub fn has_room(&self, pair: (NodeId, NodeId)) -> bool {
        self.contacts.get(&pair).is_some_and(|contact| contact.budget > 0.0)
    }

    /// A frame with a payload of so many bytes goes, as often as it takes.
    pub fn send(&mut self, pair: (NodeId, NodeId), payload: usize) {
        let Some(contact) = self.contacts.get_mut(&pair) else { return };
        let loss_ppm = (self.settings.loss.get_ref() * 1e6) as u32;
        let cost = payload as u64 + OVERHEAD;
        loop {
            contact.budget -= cost as f64;
            self.bytes += cost;
            if !self.rng.chance_ppm(loss_ppm.min(990_000)) {
                break;
            }
        }
        self.frames += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(loss: f64) -> BluetoothSettings {
        BluetoothSettings {
            bytes_per_s: Spanned::new(0..0, 1000.0),
            loss: Spanned::new(0..0, loss),
            ..BluetoothSettings::default()
        }
    }

    /// Frames of 179 bytes of payload that pass in a minute.
    fn frames(loss: f64) -> u64 {
        let mut medium = Bluetooth::new(settings(loss), Rng::from_seed(1));
        let second = Duration::from_secs(1);
        let mut now = Instant::ZERO;
        for _ in 0..=60 {
            medium.look((0, 1), true, now, second);
            while medium.has_room((0, 1)) {
                medium.send((0, 1), 179);
            }
            now = now + second;
        }
        assert_eq!(medium.meetings, 1);
        medium.frames
    }

    #[test]
    fn throughput_and_loss_are_those_of_the_settings() {
        // 200 bytes each, 3 s to connect: 58 s of 5 frames.
        assert_eq!(frames(0.0), 290);
        let lossy = frames(0.5);
        assert!((120..170).contains(&lossy), "{lossy}");
    }

    #[test]
    fn nothing_passes_before_the_contact_is_made_or_after_it_is_gone() {
        let mut medium = Bluetooth::new(settings(0.0), Rng::from_seed(1));
        let second = Duration::from_secs(1);
        assert!(medium.look((0, 1), true, Instant::ZERO, second));
        assert!(!medium.has_room((0, 1)), "it takes 3 s");
        let later = Instant::ZERO + Duration::from_secs(3);
        assert!(!medium.look((0, 1), true, later, second));
        assert!(medium.has_room((0, 1)) && !medium.has_room((0, 2)));
        medium.look((0, 1), false, later, second);
        assert!(!medium.has_room((0, 1)));
        assert!(medium.look((0, 1), true, later, second), "they meet again");
    }
}
