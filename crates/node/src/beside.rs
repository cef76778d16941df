//! Links beside a stock radio that carry whole packets: UDP multicast, brokers.
//!
//! The node has one number, the radio's, and one counter of packet ids, so that a packet is the same on each link and whoever gets it twice
//! knows it. Here stands what its station knows of those links:
//!
//! - **Who is beyond the radio.** What is for one node goes past the radio where that node was heard beside it alone: air is not spent on
//!   whom it does not reach.
//! - **The air behind them.** What has hops left may be relayed by neighbours with radios, who cannot be heard from here: all of that has
//!   the share of a node without a radio ([`LAN_PERMILLE`]), others' packets half of it. What finds no room goes by the radio alone.

use compotastic_mesh::{
    airtime::DutyCycle,
    packet::NodeNum,
    time::{Duration, Instant},
};
use heapless::Vec;

use crate::{
    manners::Hold,
    registry::EXPIRY,
    udp::{BRIDGED_PERMILLE, LAN_PERMILLE},
};

/// Nodes whose way is remembered; when the table is full the one that was heard longest ago makes room.
pub const NODES: usize = 64;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// To the radio.
    pub radio: bool,
    /// To the links beside it.
    pub beside: bool,
}

/// How a node was last heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    num: NodeNum,
    radio: Option<Instant>,
    beside: Option<Instant>,
}

impl Heard {
    fn last(&self) -> Option<Instant> {
        self.radio.max(self.beside)
    }
}

/// What is known of the links.
#[derive(Debug, Default)]
pub struct Beside {
    own: DutyCycle,
    bridged: DutyCycle,
    heard: Vec<Heard, NODES>,
}

impl Beside {
    /// An authentic frame of a node came by the radio, or beside it.
    pub fn handle_heard(&mut self, now: Instant, num: NodeNum, by_radio: bool) {
        if self.heard.is_full() && !self.heard.iter().any(|heard| heard.num == num) {
            let oldest = self.heard.iter().enumerate().min_by_key(|(_, heard)| heard.last());
            if let Some((index, _)) = oldest {
                self.heard.swap_remove(index);
            }
        }
        let known = self.heard.iter().position(|heard| heard.num == num);
        let index = known.unwrap_or_else(|| {
            // There is room: an entry was removed above if there was none.
            let _ = self.heard.push(Heard { num, radio: None, beside: None });
            self.heard.len() - 1
        });
        if let Some(heard) = self.heard.get_mut(index) {
            let place = if by_radio { &mut heard.radio } else { &mut heard.beside };
            *place = Some(now);
        }
    }

    /// The radio passed on what came beside it: of whom nothing authentic came, nothing is learnt.
    pub fn handle_again(&mut self, now: Instant, num: NodeNum) {
        if let Some(heard) = self.heard.iter_mut().find(|heard| heard.num == num) {
            heard.radio = Some(now);
        }
    }

    /// Whether a node was heard beside the radio alone, in the time in which beacons come.
    pub fn is_beyond_the_radio(&self, now: Instant, num: NodeNum) -> bool {
        let lately = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < EXPIRY);
        let known = self.heard.iter().find(|heard| heard.num == num);
        known.is_some_and(|heard| lately(heard.beside) && !lately(heard.radio))
    }

    /// Whether neighbours may spend so much air for this node.
    pub fn allows(&self, now: Instant, airtime: Duration) -> bool {
        airtime == Duration::ZERO || self.own.allows(now, airtime, LAN_PERMILLE)
    }

    /// They may, and so count as having done so.
    pub fn spend(&mut self, now: Instant, airtime: Duration) {
        self.own.record(now, airtime);
    }

    /// Air that they may have spent in the last hour.
    pub fn spent(&self, now: Instant) -> Duration {
        Duration::from_micros(self.own.spent_us(now, Duration::ZERO))
    }

    /// A packet of others wants to go to links here. `airtime` is what neighbours may spend on it, zero where none of those links leads to a
    /// radio. If it may, it counts as sent.
    ///
    /// # Errors
    /// [`Hold::Lan`]: the share of such packets, or of all, is used up.
    pub fn admit_bridged(&mut self, now: Instant, airtime: Duration) -> Result<(), Hold> {
        let within = airtime == Duration::ZERO || self.bridged.allows(now, airtime, BRIDGED_PERMILLE);
        if !within || !self.allows(now, airtime) {
            return Err(Hold::Lan);
        }
        self.bridged.record(now, airtime);
        self.own.record(now, airtime);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_is_beyond_the_radio_until_the_radio_hears_it_and_again_when_it_has_gone() {
        let mut beside = Beside::default();
        let num = NodeNum(7);
        beside.handle_again(at(0), num);
        assert!(beside.heard.is_empty() && !beside.is_beyond_the_radio(at(0), num), "nothing is known");
        beside.handle_heard(at(10), num, false);
        assert!(beside.is_beyond_the_radio(at(20), num));
        beside.handle_heard(at(30), num, true);
        assert!(!beside.is_beyond_the_radio(at(40), num));
        let later = 30 + EXPIRY.as_secs();
        beside.handle_heard(at(later), num, false);
        assert!(beside.is_beyond_the_radio(at(later + 1), num));
        assert!(!beside.is_beyond_the_radio(at(2 * later + 10), num), "it is not heard at all");
    }

    #[test]
    fn the_table_forgets_who_was_heard_longest_ago() {
        let mut beside = Beside::default();
        for num in 0..=NODES as u32 {
            beside.handle_heard(at(10 + u64::from(num)), NodeNum(num + 1), false);
        }
        assert_eq!(beside.heard.len(), NODES);
        let now = at(100);
        assert!(!beside.is_beyond_the_radio(now, NodeNum(1)) && beside.is_beyond_the_radio(now, NodeNum(2)));
    }

    #[test]
    fn the_air_behind_the_links_has_a_limit_of_which_others_have_half() {
        let mut beside = Beside::default();
        let second = Duration::from_secs(1);
        let others = (0..100).filter(|_| beside.admit_bridged(at(1), second).is_ok()).count();
        assert_eq!(others, 36);
        let own =
            (0..100).filter(|_| beside.allows(at(1), second).then(|| beside.spend(at(1), second)).is_some());
        assert_eq!(own.count(), 36);
        assert_eq!(beside.admit_bridged(at(1), Duration::ZERO), Ok(()), "what costs no air goes");
        assert!(beside.allows(at(3700), second), "an hour heals");
    }
}
