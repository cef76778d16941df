//! One client of the shared radio.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use compotastic_messages::PortNum;

use super::{Outbox, PLACES};

/// Ids of a client that are remembered; a packet under one of them is dropped, as the firmware does.
const RECENT_IDS: usize = 20;
/// Time over which a client's share of the air is averaged.
const WINDOW_MS: u64 = 600_000;

/// Shortest time between two packets of one client on this port, milliseconds, as firmware has it; 0 where there is no limit.
pub const fn gap_ms(port: PortNum) -> u64 {
    match port {
        PortNum::TEXT_MESSAGE_APP => 2_000,
        PortNum::POSITION_APP | PortNum::WAYPOINT_APP | PortNum::ALERT_APP | PortNum::TELEMETRY_APP => 10_000,
        PortNum::TRACEROUTE_APP => 30_000,
        _ => 0,
    }
}

/// A packet that waits for its turn.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The `ToRadio` message, as the radio is told.
    pub bytes: Vec<u8>,
    /// Its id on the mesh.
    pub id: u32,
    pub port: PortNum,
    pub priority: u32,
    /// Time on air, microseconds; 0 for what stays in the radio.
    pub airtime_us: u64,
    pub since_ms: u64,
    /// The `FromRadio` message for the other clients.
    pub shown: Option<super::Shared>,
}

/// Air time that may still be used, growing with time.
#[derive(Clone, Debug)]
pub struct Allowance {
    permille: u32,
    left_us: u64,
    at_ms: u64,
}

impl Allowance {
    pub fn new(permille: u32, now_ms: u64) -> Self {
        Self { permille, left_us: Self::most(permille), at_ms: now_ms }
    }

    const fn most(permille: u32) -> u64 {
        // Milliseconds times thousandths are microseconds.
        WINDOW_MS * permille as u64
    }

    fn refill(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.left_us = (self.left_us + passed_ms * u64::from(self.permille)).min(Self::most(self.permille));
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// True if a frame of this length may go now. One that is longer than all that can be saved up may go when that is full.
    pub fn allows(&mut self, now_ms: u64, airtime_us: u64) -> bool {
        self.refill(now_ms);
        self.left_us >= airtime_us.min(Self::most(self.permille))
    }

    pub fn spend(&mut self, airtime_us: u64) {
        self.left_us = self.left_us.saturating_sub(airtime_us);
    }

    /// When it will allow a frame of this length.
    pub fn due_ms(&self, airtime_us: u64) -> u64 {
        let missing_us = airtime_us.min(Self::most(self.permille)).saturating_sub(self.left_us);
        self.at_ms + missing_us.div_ceil(u64::from(self.permille.max(1)))
    }
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub outbox: Arc<Outbox>,
    /// When it last said something.
    pub heard_ms: u64,
    /// A handshake that it asked for before the radio's state was known.
    pub asks: Option<u32>,
    /// It has been told the state: packets are for it too.
    pub ready: bool,
    recent: VecDeque<u32>,
    next_ms: BTreeMap<u32, u64>,
    pub queue: VecDeque<Pending>,
    /// Air time that it may use in its turn, microseconds.
    pub deficit_us: u64,
    pub allowance: Allowance,
}

impl Client {
    pub fn new(now_ms: u64, airtime_permille: u32) -> Self {
        Self {
            outbox: Arc::default(),
            heard_ms: now_ms,
            asks: None,
            ready: false,
            recent: VecDeque::new(),
            next_ms: BTreeMap::new(),
            queue: VecDeque::new(),
            deficit_us: 0,
            allowance: Allowance::new(airtime_permille, now_ms),
        }
    }

    /// True if the id is not among its last ones; now it is.
    pub fn is_new(&mut self, id: u32) -> bool {
        if self.recent.contains(&id) {
            return false;
        }
        if self.recent.len() == RECENT_IDS {
            self.recent.pop_front();
        }
        self.recent.push_back(id);
        true
    }

    /// True if a packet on this port may come now; then the next one has to wait.
    pub fn may_send(&mut self, now_ms: u64, port: PortNum) -> bool {
        let gap_ms = gap_ms(port);
        if gap_ms == 0 {
            return true;
        }
        // Only limited ports get here: five at most.
        let next_ms = self.next_ms.entry(port.0).or_default();
        let allowed = now_ms >= *next_ms;
        if allowed {
            *next_ms = now_ms + gap_ms;
        }
        allowed
    }

    /// Free places in its queue.
    pub fn free(&self) -> u32 {
        PLACES.saturating_sub(self.queue.len()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_fills_up_with_time() {
        // 5 %: 30 s in ten minutes.
        let mut allowance = Allowance::new(50, 0);
        assert!(allowance.allows(0, 30_000_000));
        allowance.spend(30_000_000);
        assert!(!allowance.allows(0, 1_000_000));
        assert_eq!(allowance.due_ms(1_000_000), 20_000);
        assert!(!allowance.allows(19_999, 1_000_000));
        assert!(allowance.allows(20_000, 1_000_000));
    }

    #[test]
    fn the_last_twenty_ids_are_known() {
        let mut client = Client::new(0, 50);
        for id in 1..=21 {
            assert!(client.is_new(id));
        }
        assert!(!client.is_new(2) && client.is_new(1));
    }
}
