//! Who among the neighbours is reached by whom: what an election of few servers needs to know.
//!
//! Each beacon names the direct neighbours of its sender, so a node knows the graph two hops around it. From who serves an object it
//! concludes who will have it, and from who is left how useful it would be itself. Taking the node that reaches most of those left, again and
//! again, grows a connected dominating set from the source (Guha and Khuller, 1998); here each candidate waits the shorter the more it reaches.

use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use compotastic_wire::Neighbours;
use heapless::Vec;

use crate::registry::{Entry, NEIGHBOUR_EXPIRY, Registry};

/// Servers of one object that are remembered; the one not heard for longest makes room.
const SERVERS: usize = 16;
/// Neighbours whose state is remembered.
const NEIGHBOURS: usize = 64;
/// A server that only offered is believed for this long.
const OFFER_HOLDS: Duration = Duration::from_secs(180);
/// A server that sent symbols is believed for this long after the last.
const SERVICE_HOLDS: Duration = Duration::from_secs(3 * 3600);

#[derive(Clone, Copy, Debug)]
struct Server {
    num: NodeNum,
    until: Instant,
}

/// What is known of one neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// It has the object, or is in another's care.
    Covered,
    /// It asked this node.
    Ours,
    /// It asks whoever can: nobody serves it, whatever the lists say.
    Lost {
        /// It has the manifest.
        knows: bool,
    },
}

/// What there is to do for a node that could serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Neighbours that nobody is known to serve, and that have not asked this node.
    pub left: u16,
    /// Neighbours that could serve some of those too, and reach more.
    pub before: u16,
    /// Some of those are reached by nobody else who has, or will have, the object.
    pub needed: bool,
}

/// A set of nodes by 12 bits of their short names: with 80 nodes in it, one in fifty that is not in it seems to be.
#[derive(Clone, Copy, Debug)]
struct Shorts([u64; 64]);

impl Default for Shorts {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Shorts {
    fn add(&mut self, short: u16) {
        self.0[usize::from(short >> 6 & 63)] |= 1 << (short & 63);
    }

    fn remove(&mut self, short: u16) {
        self.0[usize::from(short >> 6 & 63)] &= !(1 << (short & 63));
    }

    fn has(&self, short: u16) -> bool {
        self.0[usize::from(short >> 6 & 63)] >> (short & 63) & 1 == 1
    }
}

/// Knowledge about one object.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    servers: Vec<Server, SERVERS>,
    cares: Vec<(NodeNum, Care), NEIGHBOURS>,
    /// This node serves: its neighbours hear it, and ask for what they lack.
    serving: bool,
}

impl Coverage {
    /// A node offers the object.
    pub fn offered(&mut self, now: Instant, registry: &Registry, num: NodeNum) {
        self.server_until(num, now + OFFER_HOLDS);
        self.found(registry, num);
    }

    /// A node sent a symbol of the object.
    pub fn served(&mut self, now: Instant, registry: &Registry, num: NodeNum) {
        self.server_until(num, now + SERVICE_HOLDS);
        self.found(registry, num);
    }

    /// Those who asked whoever can have one to ask now.
    fn found(&mut self, registry: &Registry, server: NodeNum) {
        let listed = registry.get(server).map(|entry| entry.beacon.neighbours).unwrap_or_default();
        self.cares.retain(|(num, care)| !(matches!(care, Care::Lost { .. }) && listed.contains(num.0)));
    }

    fn server_until(&mut self, num: NodeNum, until: Instant) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.num == num) {
            server.until = server.until.max(until);
            return;
        }
        if self.servers.is_full()
            && let Some(first) = (0..self.servers.len()).min_by_key(|index| self.servers[*index].until)
        {
            self.servers.swap_remove(first);
        }
        let _ = self.servers.push(Server { num, until });
    }

    fn set(&mut self, num: NodeNum, care: Care) {
        if let Some(known) = self.cares.iter_mut().find(|(known, _)| *known == num) {
            known.1 = care;
        } else {
            if self.cares.is_full() {
                self.cares.remove(0);
            }
            let _ = self.cares.push((num, care));
        }
    }

    /// A node has the object, or another serves it.
    pub fn covered(&mut self, num: NodeNum) {
        self.set(num, Care::Covered);
    }

    /// A node asked this one.
    pub fn asked_us(&mut self, num: NodeNum) {
        self.set(num, Care::Ours);
    }

    /// A node says that it lacks the object after all.
    pub fn lacks(&mut self, num: NodeNum) {
        self.cares.retain(|(known, care)| *known != num || *care != Care::Covered);
    }

    /// This node serves.
    pub fn we_serve(&mut self) {
        self.serving = true;
    }

    /// A node asks whoever can.
    pub fn lost(&mut self, num: NodeNum, knows: bool) {
        self.set(num, Care::Lost { knows });
    }

    /// Neighbours that nobody is known to serve, and that have not asked this node.
    pub fn uncovered(&self, now: Instant, registry: &Registry) -> u16 {
        let reached = self.reached(now, registry);
        registry
            .iter()
            .filter(|entry| is_neighbour(now, entry) && !reached.has(Neighbours::short(entry.num.0)))
            .count() as u16
    }

    /// What is left to do, and who is before us. Of those who reach the same number, the one with the larger number.
    pub fn standing(&self, now: Instant, registry: &Registry, own: NodeNum) -> Standing {
        let reached = self.reached(now, registry);
        let own_short = Neighbours::short(own.0);
        let neighbours = || registry.iter().filter(|entry| is_neighbour(now, entry));
        let mut ours = Shorts::default();
        let (mut left, mut needed) = (0, false);
        for entry in neighbours() {
            let short = Neighbours::short(entry.num.0);
            if !reached.has(short) {
                ours.add(short);
                left += 1;
                let names = entry.beacon.neighbours;
                needed |= !names.names().iter().any(|name| *name != own_short && reached.has(*name));
            }
        }
        let is_server = |num| self.servers.iter().any(|server| server.num == num && server.until > now);
        let rivals = neighbours().filter(|entry| {
            if !reached.has(Neighbours::short(entry.num.0)) || is_server(entry.num) {
                return false;
            }
            let theirs = || {
                entry
                    .beacon
                    .neighbours
                    .names()
                    .iter()
                    .filter(|short| **short != own_short && !reached.has(**short))
            };
            let count = theirs().count() as u16;
            (count, entry.num) > (left, own) && theirs().any(|short| ours.has(*short))
        });
        Standing { left, before: rivals.count() as u16, needed }
    }

    /// All that are known to be served, by short name: servers, their neighbours, and those of whom it was heard.
    fn reached(&self, now: Instant, registry: &Registry) -> Shorts {
        let mut reached = Shorts::default();
        for server in self.servers.iter().filter(|server| server.until > now) {
            reached.add(Neighbours::short(server.num.0));
            let listed = registry.get(server.num).map(|entry| entry.beacon.neighbours).unwrap_or_default();
            listed.names().iter().for_each(|short| reached.add(*short));
        }
        if self.serving {
            let neighbours = registry.iter().filter(|entry| is_neighbour(now, entry));
            neighbours.for_each(|entry| reached.add(Neighbours::short(entry.num.0)));
        }
        for (num, care) in &self.cares {
            match care {
                Care::Covered | Care::Ours => reached.add(Neighbours::short(num.0)),
                Care::Lost { .. } => reached.remove(Neighbours::short(num.0)),
            }
        }
        reached
    }

    /// When the next of those who offered and were not heard to serve is forgotten; none if there is none.
    pub fn doubtful_until(&self, now: Instant) -> Option<Instant> {
        let soon = now + OFFER_HOLDS + OFFER_HOLDS;
        self.servers.iter().map(|server| server.until).filter(|until| *until > now && *until < soon).min()
    }

    /// Whether all direct neighbours that are left have told of this object.
    pub fn all_know(&self, now: Instant, registry: &Registry, tag: u32) -> bool {
        let reached = self.reached(now, registry);
        registry
            .iter()
            .filter(|entry| is_neighbour(now, entry) && !reached.has(Neighbours::short(entry.num.0)))
            .all(|entry| {
                entry.beacon.object_tag == tag
                    || self.cares.contains(&(entry.num, Care::Lost { knows: true }))
            })
    }
}

/// Heard directly, and not too long ago.
fn is_neighbour(now: Instant, entry: &Entry) -> bool {
    entry.hops_away == 0 && now.saturating_duration_since(entry.heard_at) < NEIGHBOUR_EXPIRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use compotastic_wire::{Beacon, Neighbours};

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn heard(registry: &mut Registry, num: u32, neighbours: &[u32]) {
        let mut list = Neighbours::default();
        neighbours.iter().for_each(|num| assert!(list.insert(*num)));
        let beacon = Beacon { neighbours: list, ..Beacon::default() };
        registry.handle_beacon(at(0), NodeNum(num), 0, &beacon);
    }

    /// 1 - {2, 3, 4, 5}, 2 - {3, 9}.
    fn star() -> Registry {
        let mut registry = Registry::default();
        heard(&mut registry, 2, &[1, 3, 9]);
        for leaf in [3, 4, 5] {
            heard(&mut registry, leaf, &[1]);
        }
        registry
    }

    #[test]
    fn a_server_reaches_itself_and_its_neighbours() {
        let registry = star();
        let mut coverage = Coverage::default();
        assert_eq!(coverage.uncovered(at(1), &registry), 4);
        coverage.served(at(1), &registry, NodeNum(2));
        assert_eq!(coverage.uncovered(at(1), &registry), 2, "4 and 5 are left");
        coverage.covered(NodeNum(4));
        assert_eq!(coverage.uncovered(at(1), &registry), 1);
    }

    #[test]
    fn who_asked_us_stays_ours_while_it_says_that_it_lacks_something() {
        let registry = star();
        let mut coverage = Coverage::default();
        coverage.asked_us(NodeNum(3));
        coverage.covered(NodeNum(4));
        assert_eq!(coverage.uncovered(at(1), &registry), 2, "2 and 5 are left");
        coverage.lacks(NodeNum(3));
        coverage.lacks(NodeNum(4));
        assert_eq!(coverage.uncovered(at(1), &registry), 3, "4 is nobody's any more");
    }

    #[test]
    fn an_offer_that_nothing_follows_is_forgotten() {
        let registry = star();
        let mut coverage = Coverage::default();
        coverage.offered(at(1), &registry, NodeNum(2));
        assert_eq!(coverage.uncovered(at(2), &registry), 2);
        assert_eq!(coverage.uncovered(at(300), &registry), 4);
    }

    #[test]
    fn tables_stay_bounded_and_the_latest_stay() {
        let registry = star();
        let mut coverage = Coverage::default();
        for num in 100..300 {
            coverage.served(at(u64::from(num)), &registry, NodeNum(num));
            coverage.covered(NodeNum(num));
        }
        coverage.served(at(400), &registry, NodeNum(2));
        assert_eq!(coverage.uncovered(at(401), &registry), 2);
    }
}
