//! The registry: who can do what, learnt from beacons.
//!
//! Bounded to [`CAPACITY`] nodes. When it is full, the entry heard longest ago makes room: a node that speaks is worth
//! more than one that does not.

use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use compotastic_wire::Beacon;
use heapless::Vec;

/// Most nodes that a node remembers.
pub const CAPACITY: usize = 64;
/// A foundation model that was not heard for this long is not asked by name any more. Flooded beacons come at least every 96
/// minutes; one may be lost.
pub const EXPIRY: Duration = Duration::from_secs(3 * 3600 + 600);
/// A student's beacons come at least every 3.2 hours.
const STUDENT_EXPIRY: Duration = Duration::from_secs(7 * 3600);
/// A neighbour that was not heard for this long is one no more: three beacons may be lost.
pub const NEIGHBOUR_EXPIRY: Duration = Duration::from_secs(10 * 3600);
/// How long an executor that did not answer is passed over; doubles with each further silence.
const SILENCE: Duration = Duration::from_secs(600);
/// Longest time that an executor is passed over for: avoidance of a bad peer is local and expires.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// So many silences in a row are put down to the air between: the next beacon ends the avoidance. More than that, and only an
/// answer does before its time.
const FORGIVEN: u8 = 2;
/// Beacons hold battery and load in a nibble; below this battery level a node is spared.
const BATTERY_LOW: u8 = 3;

/// Whether a student keeps its energy for itself: asker and executor judge alike.
pub(crate) const fn is_spared(battery: u8, mains_power: bool) -> bool {
    battery < BATTERY_LOW && !mains_power
}

/// What is known of one node.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub num: NodeNum,
    /// Its last beacon.
    pub beacon: Beacon,
    /// When something was last heard from it.
    pub heard_at: Instant,
    /// Hops that its last beacon took; 0 = a direct neighbour.
    pub hops_away: u8,
    /// A beacon of it was heard; else `beacon` is what could be concluded from other frames.
    pub told: bool,
    /// Not asked before this time.
    avoided_until: Instant,
    silences: u8,
}

/// What a job needs from an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any executor: a foundation model, or a neighbour's student for this task.
    Any {
        /// The task that a student must be for.
        task: u8,
    },
    /// A foundation model: our own student was unsure, a neighbour's would be too.
    Foundation,
    /// One that offers this ([`Beacon::CHAT`], [`Beacon::EMBED`]).
    Offers(u8),
}

/// All nodes heard.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: Vec<Entry, CAPACITY>,
}

impl Registry {
    /// Takes a beacon in. Returns whether the node is new or told something new.
    pub fn handle_beacon(&mut self, now: Instant, num: NodeNum, hops_away: u8, beacon: &Beacon) -> bool {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.num == num) {
            let news = entry.beacon.record_hash != beacon.record_hash
                || entry.beacon.object_tag != beacon.object_tag
                || entry.beacon.object_progress != beacon.object_progress
                || entry.beacon.model_version != beacon.model_version;
            entry.beacon = *beacon;
            entry.told = true;
            entry.heard_at = now;
            entry.hops_away = hops_away;
            if entry.silences <= FORGIVEN {
                entry.avoided_until = now;
            }
            return news;
        }
        self.insert(now, num, hops_away, *beacon, true);
        true
    }

    /// The node offers to do a job for this task. Until its beacon comes, which may take an hour, the offer says enough to
    /// ask it again without another call.
    /// `by` is the flag of what would do it.
    pub fn handle_offer(&mut self, now: Instant, num: NodeNum, hops_away: u8, by: u8, task: u8) {
        let beacon = Beacon { flags: Beacon::EXECUTES | by, task, battery: 15, ..Beacon::default() };
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.num == num) {
            if entry.told {
                entry.beacon.flags |= by & (Beacon::CHAT | Beacon::EMBED);
            } else {
                // Who was heard, but whose beacon was not, offers more than is known of it.
                entry.beacon = Beacon { flags: entry.beacon.flags | beacon.flags, ..beacon };
            }
            self.handle_answer(now, num);
            return;
        }
        self.insert(now, num, hops_away, beacon, false);
    }

    fn insert(&mut self, now: Instant, num: NodeNum, hops_away: u8, beacon: Beacon, told: bool) {
        if self.entries.is_full()
            && let Some(oldest) = self
                .entries
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| entry.heard_at)
                .map(|(index, _)| index)
        {
            self.entries.swap_remove(oldest);
        }
        let entry =
            Entry { num, beacon, heard_at: now, hops_away, told, avoided_until: Instant::ZERO, silences: 0 };
        // There is room: an entry was removed above if there was none.
        let _ = self.entries.push(entry);
    }

    /// A frame came directly from a node: it is a neighbour, whatever became of its beacons.
    pub fn handle_near(&mut self, now: Instant, num: NodeNum) {
        match self.entries.iter_mut().find(|entry| entry.num == num) {
            Some(entry) => (entry.heard_at, entry.hops_away) = (now, 0),
            None => self.insert(now, num, 0, Beacon::default(), false),
        }
    }

    /// The node answered: it is trusted again at once.
    pub fn handle_answer(&mut self, now: Instant, num: NodeNum) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.num == num) {
            entry.heard_at = now;
            entry.silences = 0;
            entry.avoided_until = Instant::ZERO;
        }
    }

    /// The node did not answer: it is passed over for a while.
    pub fn handle_silence(&mut self, now: Instant, num: NodeNum) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.num == num) {
            let wait = SILENCE.as_micros() << entry.silences.min(8);
            entry.avoided_until = now + Duration::from_micros(wait.min(SILENCE_MAX.as_micros()));
            entry.silences = entry.silences.saturating_add(1);
        }
    }

    /// The best executor for a job: a live foundation model before a student, then one that was not silent more often than losses
    /// explain, few hops, low load, and the node number, so that the choice does not depend on the order in which beacons came.
    pub fn executor(&self, now: Instant, need: Need) -> Option<&Entry> {
        self.entries.iter().filter(|entry| entry.can_execute(now, need)).min_by_key(|entry| {
            let (is_far_asked, is_silent) = (entry.is_far_asked(), entry.silences > FORGIVEN);
            (!is_far_asked, is_silent, entry.hops_away, entry.beacon.load, entry.num.0)
        })
    }

    /// When an executor that is passed over will be asked again, if it may only have been out of reach for a moment.
    pub fn executor_later(&self, now: Instant, need: Need) -> Option<Instant> {
        self.entries
            .iter()
            .filter(|entry| {
                entry.silences <= FORGIVEN && entry.can_execute(now.max(entry.avoided_until), need)
            })
            .map(|entry| entry.avoided_until)
            .min()
    }

    /// The entry of a node.
    pub fn get(&self, num: NodeNum) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.num == num)
    }

    /// All entries, in no particular but a repeatable order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

impl Entry {
    fn has_foundation(&self) -> bool {
        self.beacon.flags & Beacon::FOUNDATION_MODEL != 0
    }

    /// Its beacons are flooded, since it is asked across the mesh.
    fn is_far_asked(&self) -> bool {
        self.beacon.flags & (Beacon::FOUNDATION_MODEL | Beacon::CHAT | Beacon::EMBED) != 0
    }

    fn can_execute(&self, now: Instant, need: Need) -> bool {
        if self.beacon.flags & Beacon::EXECUTES == 0 && !matches!(need, Need::Offers(_))
            || now < self.avoided_until
            || now.saturating_duration_since(self.heard_at)
                > if self.is_far_asked() { EXPIRY } else { STUDENT_EXPIRY }
        {
            return false;
        }
        match need {
            Need::Offers(flag) => self.beacon.flags & flag != 0,
            _ if self.has_foundation() => true,
            Need::Foundation => false,
            Need::Any { task } => {
                self.beacon.flags & Beacon::STUDENT != 0
                    && self.beacon.task == task
                    && !is_spared(self.beacon.battery, self.beacon.flags & Beacon::MAINS_POWER != 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon(flags: u8) -> Beacon {
        Beacon { flags, task: 1, battery: 12, ..Beacon::default() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    const EDGE: u8 = Beacon::EXECUTES | Beacon::FOUNDATION_MODEL | Beacon::MAINS_POWER;
    const STUDENT: u8 = Beacon::EXECUTES | Beacon::STUDENT;

    #[test]
    fn a_far_foundation_model_is_asked_before_a_near_student() {
        let mut registry = Registry::default();
        registry.handle_beacon(at(0), NodeNum(20), 0, &beacon(STUDENT));
        registry.handle_beacon(at(0), NodeNum(30), 4, &beacon(EDGE));
        assert_eq!(registry.executor(at(1), Need::Any { task: 1 }).unwrap().num, NodeNum(30));
        registry.handle_silence(at(1), NodeNum(30));
        assert_eq!(registry.executor(at(2), Need::Any { task: 1 }).unwrap().num, NodeNum(20));
        assert!(registry.executor(at(2), Need::Foundation).is_none());
        assert!(registry.executor(at(2), Need::Any { task: 2 }).is_none());
        // Avoidance expires.
        assert_eq!(registry.executor(at(700), Need::Foundation).unwrap().num, NodeNum(30));
    }

    #[test]
    fn one_that_was_silent_again_and_again_comes_after_a_farther_one() {
        let mut registry = Registry::default();
        registry.handle_beacon(at(0), NodeNum(20), 0, &beacon(EDGE));
        registry.handle_beacon(at(0), NodeNum(30), 3, &beacon(EDGE));
        let asked =
            |registry: &Registry, second| registry.executor(at(second), Need::Foundation).unwrap().num;
        for _ in 0..FORGIVEN {
            registry.handle_silence(at(1), NodeNum(20));
        }
        assert_eq!(asked(&registry, 4_000), NodeNum(20), "losses explain so many");
        registry.handle_silence(at(4_000), NodeNum(20));
        assert_eq!(asked(&registry, 8_000), NodeNum(30), "though it is not avoided any more");
        registry.handle_answer(at(8_001), NodeNum(20));
        assert_eq!(asked(&registry, 8_002), NodeNum(20));
    }

    #[test]
    fn an_offer_stands_in_for_a_beacon_that_was_not_heard() {
        let mut registry = Registry::default();
        registry.handle_offer(at(0), NodeNum(20), 2, Beacon::STUDENT, 1);
        assert_eq!(registry.executor(at(1), Need::Any { task: 1 }).unwrap().num, NodeNum(20));
        assert!(registry.executor(at(1), Need::Foundation).is_none());
        registry.handle_offer(at(2), NodeNum(30), 4, Beacon::FOUNDATION_MODEL, 1);
        assert_eq!(registry.executor(at(3), Need::Foundation).unwrap().num, NodeNum(30));
        // The beacon, when it comes, has the last word.
        registry.handle_beacon(at(4), NodeNum(30), 4, &beacon(0));
        assert!(registry.executor(at(5), Need::Foundation).is_none());
    }

    #[test]
    fn tired_students_and_the_long_unheard_are_spared() {
        let mut registry = Registry::default();
        registry.handle_beacon(at(0), NodeNum(20), 0, &Beacon { battery: 1, ..beacon(STUDENT) });
        assert!(registry.executor(at(1), Need::Any { task: 1 }).is_none());
        let mains = Beacon { battery: 0, ..beacon(STUDENT | Beacon::MAINS_POWER) };
        registry.handle_beacon(at(0), NodeNum(20), 0, &mains);
        assert!(registry.executor(at(1), Need::Any { task: 1 }).is_some());
        registry.handle_beacon(at(0), NodeNum(30), 1, &beacon(EDGE));
        assert!(registry.executor(at(20_000), Need::Foundation).is_none());
    }

    #[test]
    fn a_full_registry_forgets_the_longest_unheard() {
        let mut registry = Registry::default();
        for index in 0..=CAPACITY as u32 {
            registry.handle_beacon(at(u64::from(index)), NodeNum(100 + index), 0, &beacon(STUDENT));
        }
        assert!(registry.get(NodeNum(100)).is_none());
        assert!(registry.get(NodeNum(101)).is_some());
        assert_eq!(registry.iter().count(), CAPACITY);
    }
}
