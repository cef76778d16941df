//! What the node takes of its client, and how often: per port and connection, as firmware 2.7 does.

use heapless::Deque;

use compotastic_messages::PortNum;

/// Packet ids of a client that are remembered; a packet under one of them is dropped.
const RECENT_IDS: usize = 20;

/// Shortest time between two packets of a client on this port, milliseconds; 0 where there is no limit.
const fn gap_ms(of: PortNum) -> u64 {
    match of {
        PortNum::TEXT_MESSAGE_APP => 2_000,
        PortNum::POSITION_APP | PortNum::WAYPOINT_APP | PortNum::ALERT_APP | PortNum::TELEMETRY_APP => 10_000,
        PortNum::TRACEROUTE_APP => 30_000,
        _ => 0,
    }
}

/// Ports that have a limit.
const LIMITED: [PortNum; 6] = [
    PortNum::TEXT_MESSAGE_APP,
    PortNum::POSITION_APP,
    PortNum::WAYPOINT_APP,
    PortNum::ALERT_APP,
    PortNum::TELEMETRY_APP,
    PortNum::TRACEROUTE_APP,
];

/// What is remembered of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// When the next packet on each limited port may come, milliseconds.
    next_ms: [u64; LIMITED.len()],
    recent: Deque<u32, RECENT_IDS>,
}

impl Limits {
    /// True if a packet on this port may go now; then the next one has to wait.
    pub(super) fn allows(&mut self, now_ms: u64, of: PortNum) -> bool {
        let Some(next_ms) = LIMITED.iter().position(|port| *port == of).map(|at| &mut self.next_ms[at])
        else {
            return true;
        };
        let allowed = now_ms >= *next_ms;
        if allowed {
            *next_ms = now_ms.saturating_add(gap_ms(of));
        }
        allowed
    }

    /// True if this id is not among the last ones; now it is.
    pub(super) fn is_new(&mut self, id: u32) -> bool {
        if self.recent.iter().any(|recent| *recent == id) {
            return false;
        }
        if self.recent.is_full() {
            self.recent.pop_front();
        }
        let _ = self.recent.push_back(id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_its_own_gap() {
        let mut limits = Limits::default();
        assert!(limits.allows(0, PortNum::TEXT_MESSAGE_APP));
        assert!(!limits.allows(1_999, PortNum::TEXT_MESSAGE_APP));
        assert!(limits.allows(1_999, PortNum::TELEMETRY_APP), "another port");
        assert!(limits.allows(2_000, PortNum::TEXT_MESSAGE_APP));
        assert!(!limits.allows(11_998, PortNum::TELEMETRY_APP));
        assert!(limits.allows(11_999, PortNum::TELEMETRY_APP));
        assert!(limits.allows(0, PortNum::TRACEROUTE_APP));
        assert!(!limits.allows(29_999, PortNum::TRACEROUTE_APP));
        for _ in 0..100 {
            assert!(limits.allows(0, PortNum::PRIVATE_APP), "private ports pace themselves");
        }
    }

    #[test]
    fn the_last_twenty_ids_are_known() {
        let mut limits = Limits::default();
        for id in 1..=21 {
            assert!(limits.is_new(id));
        }
        assert!(!limits.is_new(2), "the twentieth from the end");
        assert!(limits.is_new(1), "the twenty-first is forgotten");
    }
}
