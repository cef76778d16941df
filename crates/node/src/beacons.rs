//! Beacons: a few bytes that tell what a node can do and what it holds.
//!
//! Field nodes beacon to their direct neighbours only; nodes with a foundation model flood theirs, since executors
//! are asked across the mesh. Both keep Trickle timers: minutes after a change, hours when all is quiet.

use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{Beacon, Frame, Neighbours};
use embedded_storage::nor_flash::NorFlash;

use crate::{
    agent::{Agent, InFrame, LinkState, OutFrame, beacon_flags},
    registry::NEIGHBOUR_EXPIRY,
    trickle::Trickle,
};

/// Shortest interval of a field node's beacon.
const FIELD_MIN: Duration = Duration::from_secs(120);
/// Shortest interval of a flooded beacon.
const EDGE_MIN: Duration = Duration::from_secs(90);
/// Longest interval of a flooded beacon: executors are believed in by it.
const EDGE_MAX: Duration = Duration::from_secs(5760);
/// Longest interval of a field node's beacon: neighbours of a node that stands where it stood tell little news.
const FIELD_MAX: Duration = Duration::from_secs(11_520);

/// A neighbour whose beacon does not name this node has not heard its beacon: it gets one within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// But no more than one in this time.
const ANSWER_GAP: Duration = Duration::from_secs(300);

/// State of this node's beacon.
#[derive(Debug)]
pub(crate) struct Beacons {
    timer: Trickle,
    /// One besides, for a neighbour that does not know this node.
    answer_at: Option<Instant>,
    said_at: Instant,
    battery: u8,
    record_hash: u32,
    /// Beacons sent: each tells of another object.
    told: usize,
    /// Kinds that the host offers to do: [`Beacon::CHAT`], [`Beacon::EMBED`].
    pub(crate) offers: u8,
    /// Told across the mesh.
    flooded: bool,
}

impl Beacons {
    pub(crate) fn new(now: Instant, flooded: bool, record_hash: u32, rng: &mut Rng) -> Self {
        let (min, max) = if flooded { (EDGE_MIN, EDGE_MAX) } else { (FIELD_MIN, FIELD_MAX) };
        // Redundancy 0: each beacon says something that no other node can say.
        let timer = Trickle::new(min, max, 0, now, rng);
        Self { timer, answer_at: None, said_at: now, battery: 15, record_hash, told: 0, offers: 0, flooded }
    }

    pub(crate) fn battery(&self) -> u8 {
        self.battery
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        let timer = self.timer.poll_timeout();
        self.answer_at.map_or(timer, |answer| answer.min(timer))
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// Battery level of this node, 0 (empty) to 15 (full); below 3 it does not work for others.
    pub fn set_battery(&mut self, level: u8) {
        self.beacons.battery = level.min(15);
    }

    /// The host has models for these kinds from now on. While it has one, beacons of this node are flooded, and it is
    /// asked by [`crate::AgentEvent::Execute`]; without one it is not asked.
    pub fn set_offers(&mut self, now: Instant, chat: bool, embed: bool) {
        let offers = if chat { Beacon::CHAT } else { 0 } | if embed { Beacon::EMBED } else { 0 };
        if offers == self.beacons.offers {
            return;
        }
        let flooded = self.config.foundation_model || offers != 0;
        if flooded != self.beacons.flooded {
            let (battery, told) = (self.beacons.battery, self.beacons.told);
            let hash = self.beacons.record_hash;
            self.beacons = Beacons { battery, told, ..Beacons::new(now, flooded, hash, &mut self.rng) };
        }
        self.beacons.offers = offers;
        self.beacon_soon(now);
    }

    /// Hash of the capability record from now on.
    pub(crate) fn set_record_hash(&mut self, now: Instant, record_hash: u32) {
        if self.beacons.record_hash != record_hash {
            self.beacons.record_hash = record_hash;
            self.beacon_soon(now);
        }
    }

    /// Something that the beacon tells has changed.
    pub(crate) fn beacon_soon(&mut self, now: Instant) {
        self.beacons.timer.reset(now, &mut self.rng);
    }

    pub(crate) fn poll_beacon(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        // One that waits for its gate behind others says later what is true by then, and says it once.
        if link.bulk_queued {
            return None;
        }
        let answers = self.beacons.answer_at.is_some_and(|at| now >= at);
        let due = self.beacons.timer.poll(now, &mut self.rng) && self.restraint.takes_turn();
        if !due && !answers {
            return None;
        }
        self.beacons.answer_at = None;
        self.beacons.said_at = now;
        let beacon = self.beacon(now);
        self.beacons.told = self.beacons.told.wrapping_add(1);
        let hop_limit = if self.beacons.flooded { self.config.hop_limit } else { 0 };
        self.seal(
            &Frame::Beacon(beacon),
            NodeNum::BROADCAST,
            hop_limit,
            false,
            Gate::Bulk,
            QueuePriority::Background,
        )
    }

    /// What this node tells of itself.
    pub(crate) fn beacon(&self, now: Instant) -> Beacon {
        let version = self.update.active_version();
        let (object_tag, object_progress, runs) = self.told_object();
        Beacon {
            device_class: self.config.device_class,
            flags: beacon_flags(self.config.foundation_model, self.config.mains_power, version.is_some())
                | self.beacons.offers
                | if runs { Beacon::RUNS } else { 0 },
            load: self.promises.running().min(15) as u8,
            battery: self.beacons.battery,
            wake: 0,
            record_hash: self.beacons.record_hash,
            task: self.config.task,
            model_version: version.unwrap_or(0),
            object_tag,
            object_progress,
            neighbours: self.neighbours(now),
        }
    }

    /// One object a beacon, in turn, those on their way or waiting for it included: its tag, how much of it is here, and whether it is
    /// firmware that runs here.
    fn told_object(&self) -> (u32, u8, bool) {
        let known = |component: &usize| self.objects.all[*component].manifest.complete;
        let count = (0..self.update.components()).filter(known).count().max(1);
        let turn = (0..self.update.components()).filter(known).nth(self.beacons.told % count);
        turn.map_or((0, 0, false), |component| {
            let tag = self.objects.all[component].manifest.tag;
            (tag, self.update.progress(component), self.runs_object(component))
        })
    }

    /// Those whose beacons are heard directly; where there are too many, those heard last.
    fn neighbours(&self, now: Instant) -> Neighbours {
        let mut list = Neighbours::default();
        let mut before = None;
        for _ in 0..Neighbours::MAX {
            let next = self
                .registry
                .iter()
                .filter(|entry| {
                    entry.hops_away == 0
                        && entry.told
                        && now.saturating_duration_since(entry.heard_at) < NEIGHBOUR_EXPIRY
                })
                .map(|entry| (entry.heard_at, entry.num.0))
                .filter(|key| before.is_none_or(|before| *key < before))
                .max();
            let Some((heard_at, num)) = next else { break };
            list.insert(num);
            before = Some((heard_at, num));
        }
        list
    }

    pub(crate) fn handle_beacon(&mut self, now: Instant, incoming: &InFrame<'_>, beacon: &Beacon) {
        let hops = incoming.hops_away.unwrap_or(7);
        self.registry.handle_beacon(now, incoming.from, hops, beacon);
        self.wake_jobs(now);
        if hops == 0 {
            self.introduce(now, beacon);
        }
        self.handle_neighbour_progress(now, incoming.from, hops, beacon);
    }

    /// A neighbour that does not name this node is told of it: it may have started anew, or missed some beacons, and the next by itself may
    /// be hours away. A full list leaves some out.
    fn introduce(&mut self, now: Instant, beacon: &Beacon) {
        let names = beacon.neighbours;
        if names.names().len() >= Neighbours::MAX
            || names.contains(self.config.num.0)
            || self.beacons.answer_at.is_some()
        {
            return;
        }
        let wait = Duration::from_millis(u64::from(self.rng.below(ANSWER_WITHIN.as_micros() as u32 / 1000)));
        let at = (now + wait).max(self.beacons.said_at + ANSWER_GAP);
        // One that is due anyway is as good.
        if self.beacons.timer.speaks_at().is_none_or(|due| due > at) {
            self.beacons.answer_at = Some(at);
        }
    }
}
