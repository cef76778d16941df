//! Next hops, learnt from what is heard: whoever relayed a packet of a node to us can relay one to that node.

use heapless::Vec;

use crate::{
    packet::{Header, NodeNum},
    time::{Duration, Instant},
};

/// Destinations remembered; the one heard longest ago makes room.
pub const CAPACITY: usize = 96;
/// A route that nothing confirmed for this long gives way to any other; it is still better than none.
const STALE: Duration = Duration::from_secs(1800);
/// A next hop that failed so many packets in a row gives way to any other: on a lossy link the proof that a packet was
/// passed on is lost as easily as the packet.
const DOUBTFUL: u8 = 2;
/// After so many the packet goes to whoever hears it. Not sooner: failures come from busy air too, and floods make that worse.
const FAILED: u8 = 6;

/// How to reach one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The node.
    pub to: NodeNum,
    /// Last byte of the next hop; the node's own when it is a neighbour.
    pub next_hop: u8,
    /// The node itself is the next hop.
    pub direct: bool,
    cost: u8,
    heard_at: Instant,
    /// Packets in a row that the next hop was not heard to pass on.
    failures: u8,
}

/// The table.
#[derive(Debug, Default)]
pub struct Routes {
    table: Vec<Route, CAPACITY>,
}

/// Hops, and up to two more for a last link that is close to the demodulation floor: a path that was heard by luck
/// is not a path.
fn cost(hops_away: u8, snr_qdb: i16, snr_limit_qdb: i16) -> u8 {
    let margin_qdb = snr_qdb - snr_limit_qdb;
    hops_away + 1 + u8::from(margin_qdb < 12) + u8::from(margin_qdb < 24)
}

impl Routes {
    /// Learns from a frame that was heard.
    pub fn learn(&mut self, now: Instant, header: &Header, snr_qdb: i16, snr_limit_qdb: i16) {
        let Some(hops_away) = header.hops_away() else { return };
        let direct = hops_away == 0;
        let next_hop = if direct { header.from.last_byte() } else { header.relay_node };
        if next_hop == 0 {
            return;
        }
        let cost = cost(hops_away, snr_qdb, snr_limit_qdb);
        if let Some(route) = self.table.iter_mut().find(|route| route.to == header.from) {
            let stale = now.saturating_duration_since(route.heard_at) > STALE;
            let other = route.next_hop != next_hop;
            if stale || cost <= route.cost || !other || route.failures >= DOUBTFUL {
                (route.next_hop, route.direct, route.cost, route.heard_at) = (next_hop, direct, cost, now);
                if other {
                    route.failures = 0;
                }
            }
            return;
        }
        if self.table.is_full()
            && let Some(oldest) =
                self.table.iter().enumerate().min_by_key(|(_, route)| route.heard_at).map(|(index, _)| index)
        {
            self.table.swap_remove(oldest);
        }
        let _ =
            self.table.push(Route { to: header.from, next_hop, direct, cost, heard_at: now, failures: 0 });
    }

    /// The route to a node, if one is known.
    pub fn get(&self, to: NodeNum) -> Option<Route> {
        self.table.iter().find(|route| route.to == to && route.failures < FAILED).copied()
    }

    /// The next hop did not pass a packet on.
    pub fn handle_failure(&mut self, to: NodeNum, next_hop: u8) {
        if let Some(route) = self.table.iter_mut().find(|route| route.to == to && route.next_hop == next_hop)
        {
            route.failures = route.failures.saturating_add(1);
        }
    }

    /// The next hop was heard to pass a packet on, or the destination answered.
    pub fn handle_success(&mut self, to: NodeNum) {
        if let Some(route) = self.table.iter_mut().find(|route| route.to == to) {
            route.failures = 0;
        }
    }

    /// Nodes heard lately: what stock modules scale their intervals by.
    pub fn nodes_heard(&self) -> usize {
        self.table.len()
    }
}
