//! Next hops, learnt from what is heard: whoever relayed a packet of a node to us can relay one to that node.
//!
//! Two ways are kept per node, by different neighbours: where the better one fails, or leads back to where a packet came
//! from, the other one costs a hop or two more and the alternative, a flood, ten.

use heapless::Vec;

use crate::{
    packet::{Header, NodeNum},
    time::{Duration, Instant},
};

/// Destinations remembered; the one heard longest ago makes room.
pub const CAPACITY: usize = 96;
/// Ways remembered for each.
const WAYS: usize = 2;
/// A way loses one point of trust for each such time in which nothing confirmed it; it is still better than none.
const STALE: Duration = Duration::from_secs(1800);
/// Points that age costs at most.
const STALE_MAX: u64 = 4;
/// After so many packets that it was not heard to pass on, a next hop is not used. Not sooner: on a lossy link the
/// proof is lost as easily as the packet, and floods make busy air worse.
const FAILED: u64 = 6;

/// One failure is forgotten after each such time.
const HEALS: Duration = Duration::from_secs(900);

/// What one hop over a good link costs; all costs are in quarters of that.
const HOP: u64 = 4;
/// What a link costs at most.
const LINK_MAX: u64 = 8 * HOP;
/// Packets of a neighbour after which the share that was heard directly says more than their SNR.
const SAMPLES: u8 = 6;

/// One way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// Last byte of the next hop; the node's own when it is a neighbour.
    next_hop: u8,
    hops: u8,
    snr_margin_qdb: i16,
    heard_at: Instant,
    /// Packets in a row that the next hop was not heard to pass on, and when the last one was.
    failures: u8,
    failed_at: Instant,
}

impl Way {
    /// Smaller is better: hops, the link to the next hop, failures, age.
    fn score(&self, now: Instant, link: u64) -> u64 {
        let age = now.saturating_duration_since(self.heard_at).as_micros() / STALE.as_micros();
        u64::from(self.hops - 1) * HOP + link + 2 * HOP * self.failures(now) + HOP * age.min(STALE_MAX)
    }

    /// Failures that still count: that a node is heard does not mean that it hears us, so only time heals.
    fn failures(&self, now: Instant) -> u64 {
        let healed = now.saturating_duration_since(self.failed_at).as_micros() / HEALS.as_micros();
        u64::from(self.failures).saturating_sub(healed)
    }
}

#[derive(Debug)]
struct Route {
    to: NodeNum,
    ways: Vec<Way, WAYS>,
    /// Share of its packets whose first copy came from the node itself, of 255, smoothed over 16.
    direct_share: u8,
    samples: u8,
}

impl Route {
    fn heard_at(&self) -> Option<Instant> {
        self.ways.iter().map(|way| way.heard_at).max()
    }

    fn count(&mut self, direct: bool) {
        let (share, weight) = (i32::from(self.direct_share), 16.min(i32::from(self.samples) + 1));
        let target = if direct { 255 } else { 0 };
        self.direct_share = (share + (target - share) / weight) as u8;
        self.samples = self.samples.saturating_add(1);
    }
}

/// Transmissions that a link takes by the share that is received (ETX, the same in both directions).
fn link_cost(share: u8) -> u64 {
    let share = u64::from(share.max(1));
    (HOP * 255 * 255 / (share * share)).clamp(HOP, LINK_MAX)
}

/// The same from one frame's SNR, while nothing better is known: a path that was heard by luck is not a path.
fn link_cost_by_snr(margin_qdb: i16) -> u64 {
    match margin_qdb {
        ..12 => 3 * HOP,
        12..24 => 2 * HOP,
        _ => HOP,
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Routes {
    table: Vec<Route, CAPACITY>,
}

impl Routes {
    /// Learns from a frame that was heard; `first`: it is the first copy of its packet.
    pub fn learn(&mut self, now: Instant, header: &Header, first: bool, snr_qdb: i16, snr_limit_qdb: i16) {
        let Some(hops_away) = header.hops_away() else { return };
        let next_hop = if hops_away == 0 { header.from.last_byte() } else { header.relay_node };
        if next_hop == 0 {
            return;
        }
        let (hops, snr_margin_qdb) = (hops_away + 1, snr_qdb.saturating_sub(snr_limit_qdb));
        let new = Way { next_hop, hops, snr_margin_qdb, heard_at: now, failures: 0, failed_at: now };
        let index = self.table.iter().position(|route| route.to == header.from).unwrap_or_else(|| {
            if self.table.is_full()
                && let Some(oldest) = (0..CAPACITY).min_by_key(|index| self.table[*index].heard_at())
            {
                self.table.swap_remove(oldest);
            }
            let _ = self.table.push(Route { to: header.from, ways: Vec::new(), direct_share: 0, samples: 0 });
            self.table.len() - 1
        });
        if first {
            self.table[index].count(hops_away == 0);
        }
        let ways = &mut self.table[index].ways;
        if let Some(known) = ways.iter_mut().find(|way| way.next_hop == next_hop) {
            *known = Way { failures: known.failures, failed_at: known.failed_at, ..new };
        } else if let Err(new) = ways.push(new) {
            let ways = &self.table[index].ways;
            let worst = (0..ways.len()).max_by_key(|at| self.score(now, &ways[*at]));
            if let Some(worst) = worst
                && self.score(now, &new) <= self.score(now, &ways[worst])
            {
                self.table[index].ways[worst] = new;
            }
        }
    }

    fn score(&self, now: Instant, way: &Way) -> u64 {
        let neighbour = self.table.iter().find(|route| route.to.last_byte() == way.next_hop);
        // The share flatters weak links: a packet that is repeated has several chances to come directly first.
        let by_snr = link_cost_by_snr(way.snr_margin_qdb);
        let link = match neighbour {
            Some(neighbour) if neighbour.samples >= SAMPLES => link_cost(neighbour.direct_share).max(by_snr),
            _ => by_snr,
        };
        way.score(now, link)
    }

    /// The next hop to a node that is not `but`, if one is known by which a packet with this hop limit arrives.
    pub fn next_hop(&self, now: Instant, to: NodeNum, hop_limit: u8, but: u8) -> Option<u8> {
        let route = self.table.iter().find(|route| route.to == to)?;
        // Not away from the node: who is farther from it than we are would hand the packet back.
        let trusted = route.ways.iter().min_by_key(|way| self.score(now, &Way { failures: 0, ..**way }))?;
        let usable = route.ways.iter().filter(|way| {
            way.next_hop != but
                && way.failures(now) < FAILED
                && way.hops <= trusted.hops + 1
                && way.hops <= hop_limit + 1
        });
        usable.min_by_key(|way| self.score(now, way)).map(|way| way.next_hop)
    }

    /// The next hop did not pass a packet on.
    pub fn handle_failure(&mut self, now: Instant, to: NodeNum, next_hop: u8) {
        if let Some(way) = self.way(to, next_hop) {
            // No further than "not used": an attacker's replays are forgotten as soon as anything else.
            way.failures = (way.failures(now) + 1).min(FAILED) as u8;
            way.failed_at = now;
        }
    }

    /// The next hop was heard to pass a packet on.
    pub fn handle_success(&mut self, to: NodeNum, next_hop: u8) {
        if let Some(way) = self.way(to, next_hop) {
            way.failures = 0;
        }
    }

    fn way(&mut self, to: NodeNum, next_hop: u8) -> Option<&mut Way> {
        let route = self.table.iter_mut().find(|route| route.to == to)?;
        route.ways.iter_mut().find(|way| way.next_hop == next_hop)
    }

    /// Nodes heard lately: what stock modules scale their intervals by.
    pub fn nodes_heard(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketId;

    const EDGE: NodeNum = NodeNum(0x0100_0001);
    const NEAR: NodeNum = NodeNum(0x0100_0002);
    const FAR: NodeNum = NodeNum(0x0100_0003);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A flooded packet of `from` after so many hops, last sent by `relay`.
    fn header(from: NodeNum, hops: u8, relay: NodeNum) -> Header {
        Header {
            to: NodeNum::BROADCAST,
            from,
            id: PacketId(1),
            hop_limit: 7 - hops,
            want_ack: false,
            via_mqtt: false,
            hop_start: 7,
            channel_hash: 0,
            next_hop: 0,
            relay_node: relay.last_byte(),
        }
    }

    /// The edge node is two hops away by `NEAR`, four by `FAR`; both are heard well.
    fn routes() -> Routes {
        let mut routes = Routes::default();
        for node in [NEAR, FAR] {
            for _ in 0..8 {
                routes.learn(at(0), &header(node, 0, node), true, 40, -70);
            }
        }
        routes.learn(at(0), &header(EDGE, 1, NEAR), true, 40, -70);
        routes
    }

    #[test]
    fn a_neighbour_that_is_seldom_heard_is_reached_by_a_relay() {
        let mut routes = routes();
        routes.learn(at(1), &header(EDGE, 0, EDGE), true, -60, -70);
        // One in four of its packets is heard from itself.
        for count in 0..16 {
            let direct = count % 4 == 0;
            let (hops, relay) = if direct { (0, EDGE) } else { (1, NEAR) };
            routes.learn(at(2), &header(EDGE, hops, relay), true, 40, -70);
        }
        assert_eq!(routes.next_hop(at(3), EDGE, 7, 0), Some(NEAR.last_byte()));
        // Heard always, it needs none.
        for _ in 0..40 {
            routes.learn(at(4), &header(EDGE, 0, EDGE), true, 40, -70);
        }
        assert_eq!(routes.next_hop(at(5), EDGE, 7, 0), Some(EDGE.last_byte()));
    }

    #[test]
    fn a_weak_link_is_not_taken_for_a_good_one_since_repeated_packets_come_by_it() {
        let mut routes = routes();
        // The first copies come from the node itself, each time hardly above the noise.
        for _ in 0..40 {
            routes.learn(at(1), &header(EDGE, 0, EDGE), true, -64, -70);
        }
        assert_eq!(routes.next_hop(at(2), EDGE, 7, 0), Some(NEAR.last_byte()));
        routes.learn(at(3), &header(EDGE, 0, EDGE), true, -20, -70);
        assert_eq!(routes.next_hop(at(4), EDGE, 7, 0), Some(EDGE.last_byte()));
    }

    #[test]
    fn failures_make_room_for_the_other_way_and_time_heals_them() {
        let mut routes = routes();
        routes.learn(at(0), &header(EDGE, 2, FAR), true, 40, -70);
        assert_eq!(routes.next_hop(at(1), EDGE, 7, 0), Some(NEAR.last_byte()));
        routes.handle_failure(at(1), EDGE, NEAR.last_byte());
        assert_eq!(routes.next_hop(at(2), EDGE, 7, 0), Some(FAR.last_byte()));
        assert_eq!(routes.next_hop(at(1 + 900), EDGE, 7, 0), Some(NEAR.last_byte()));
        routes.handle_failure(at(2000), EDGE, NEAR.last_byte());
        routes.handle_success(EDGE, NEAR.last_byte());
        assert_eq!(routes.next_hop(at(2001), EDGE, 7, 0), Some(NEAR.last_byte()));
        for _ in 0..6 {
            routes.handle_failure(at(2002), EDGE, NEAR.last_byte());
            routes.handle_failure(at(2002), EDGE, FAR.last_byte());
        }
        assert_eq!(routes.next_hop(at(2003), EDGE, 7, 0), None, "whoever hears it");
    }

    #[test]
    fn no_packet_goes_back_nor_away_nor_where_it_cannot_arrive() {
        let mut routes = routes();
        // Four hops by FAR: FAR is three from the edge node and would send the packet back through us.
        routes.learn(at(0), &header(EDGE, 3, FAR), true, 40, -70);
        let near = NEAR.last_byte();
        assert_eq!(routes.next_hop(at(1), EDGE, 7, 0), Some(near));
        assert_eq!(routes.next_hop(at(1), EDGE, 7, near), None);
        assert_eq!(routes.next_hop(at(1), EDGE, 1, 0), Some(near), "one relay is enough");
        assert_eq!(routes.next_hop(at(1), EDGE, 0, 0), None, "none is not");
    }

    #[test]
    fn a_full_table_forgets_the_longest_unheard() {
        let mut routes = Routes::default();
        for index in 0..=CAPACITY as u32 {
            let node = NodeNum(0x0200_0000 + index);
            routes.learn(at(u64::from(index)), &header(node, 0, node), true, 40, -70);
        }
        assert_eq!(routes.nodes_heard(), CAPACITY);
        assert_eq!(routes.next_hop(at(200), NodeNum(0x0200_0000), 7, 0), None);
        assert!(routes.next_hop(at(200), NodeNum(0x0200_0001), 7, 0).is_some());
    }
}
