//! The smallest connected dominating set that holds the source: the fewest nodes that have to send if each frame
//! reaches all neighbours of its sender.
//!
//! [`exact`] goes over the nodes in an order that keeps the border short between those that were looked at and the others, and
//! keeps for each way to treat the border (out and not yet heard by a sender; out and heard; sending, in which connected part) the
//! fewest senders so far. What cannot come out below the bound of the heuristics is dropped. [`heuristic`] is the best of
//! several greedy searches, each pruned and improved by adding one node where two can go.

use compotastic_mesh::rng::Rng;

use super::topology::Graph;

/// States of the border are kept in so many places of four bits.
const BORDER_MAX: usize = 32;
/// Out, and no sender heard yet.
const UNHEARD: u8 = 0;
/// Out, and hears a sender.
const HEARD: u8 = 1;
/// Sends; this and above number the connected parts.
const PART: u8 = 2;
/// Greedy searches with luck.
const TRIES: u64 = 60;

/// Senders of the smallest connected dominating set with node 0, exactly. `None` where the graph's border is too long for this
/// method (more than 32 nodes in the best order), or the graph is not connected.
pub fn exact(graph: &Graph) -> Option<usize> {
    let found = heuristic(graph, 1)?;
    // Only what is better is of interest: if there is none, the heuristics have found the smallest.
    Some(smallest_within(graph, found.saturating_sub(1))?.unwrap_or(found))
}

/// Senders of the smallest connected dominating set with node 0 if it has at most `bound`: `Some(None)` if it has more, `None` if this
/// method cannot tell.
#[allow(clippy::option_option, reason = "said in the line above")]
fn smallest_within(graph: &Graph, bound: usize) -> Option<Option<usize>> {
    let nodes = graph.len();
    let order = border_order(graph)?;
    let mut place = vec![usize::MAX; nodes];
    for (index, node) in order.iter().enumerate() {
        place[*node] = index;
    }
    let mut border: Vec<usize> = Vec::new();
    let mut states: Vec<(u128, u8)> = vec![(0, 0)];
    let mut best: Option<usize> = None;
    for (index, &node) in order.iter().enumerate() {
        let last = index + 1 == nodes;
        let step = Step::new(graph, &place, &border, node, index);
        let mut next: Vec<(u128, u8)> = Vec::with_capacity(states.len() * 2);
        for &(key, cost) in &states {
            for sends in [false, true] {
                if node == 0 && !sends {
                    continue;
                }
                let Some((key, cost)) = step.go(key, cost, sends, last, bound) else { continue };
                if last {
                    best = Some(best.map_or(usize::from(cost), |best| best.min(usize::from(cost))));
                } else {
                    next.push((key, cost));
                }
            }
        }
        next.sort_unstable();
        next.dedup_by_key(|(key, _)| *key);
        states = next;
        border = step.border_after;
    }
    Some(best)
}

/// An order of the nodes with a short border: the best over all first nodes of two ways to go on, to the node that
/// leaves the shortest border, or to the one whose first neighbour is the oldest (Cuthill and McKee, 1969).
fn border_order(graph: &Graph) -> Option<Vec<usize>> {
    let mut best: Option<(f64, Vec<usize>)> = None;
    for first in 0..graph.len() {
        for oldest in [false, true] {
            let (cost, longest, order) = order_from(graph, first, oldest)?;
            // One more place is needed while a node is being added.
            if longest < BORDER_MAX && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, order));
            }
        }
    }
    best.map(|(_, order)| order)
}

/// About the number of states, the longest border, and the order.
fn order_from(graph: &Graph, first: usize, oldest: bool) -> Option<(f64, usize, Vec<usize>)> {
    let nodes = graph.len();
    let mut seen = vec![false; nodes];
    let mut order = vec![first];
    seen[first] = true;
    let border = |seen: &[bool]| {
        (0..nodes).filter(|node| seen[*node] && graph[*node].iter().any(|other| !seen[*other])).count()
    };
    let (mut cost, mut longest) = (0.0, 0);
    while order.len() < nodes {
        let waits = |node: &usize| !seen[*node] && graph[*node].iter().any(|other| seen[*other]);
        let beside: Vec<usize> = (0..nodes).filter(waits).collect();
        let (_, _, next) = beside
            .into_iter()
            .map(|node| {
                seen[node] = true;
                let length = border(&seen);
                seen[node] = false;
                let age = order.iter().position(|old| graph[node].contains(old)).unwrap_or(nodes);
                if oldest { (age, length, node) } else { (length, age, node) }
            })
            .min()?;
        seen[next] = true;
        order.push(next);
        let length = border(&seen);
        longest = longest.max(length);
        cost += states_of(length);
    }
    Some((cost, longest, order))
}

fn states_of(exponent: usize) -> f64 {
    (0..exponent).fold(1.0, |power, _| power * 3.0)
}

/// One node of the order, and what all states have in common when it is added.
struct Step {
    /// Places in the old border that are its neighbours.
    beside: Vec<usize>,
    /// Per place in the old border and, at the end, for the node itself: it stays in the border.
    stays: Vec<bool>,
    border_after: Vec<usize>,
    /// Later nodes, each with the places of the border afterwards that it hears.
    later: Vec<u32>,
    /// So many nodes at most are newly heard by one more sender that hears a sender itself.
    gain: usize,
}

impl Step {
    fn new(graph: &Graph, place: &[usize], border: &[usize], node: usize, index: usize) -> Self {
        let beside = (0..border.len()).filter(|at| graph[node].contains(&border[*at])).collect();
        let open = |node: usize| graph[node].iter().any(|other| place[*other] > index);
        let stays: Vec<bool> = border.iter().chain([&node]).map(|node| open(*node)).collect();
        let border_after: Vec<usize> =
            border.iter().chain([&node]).copied().filter(|node| open(*node)).collect();
        let later_nodes: Vec<usize> = (0..graph.len()).filter(|node| place[*node] > index).collect();
        let heard_by = |later: usize| {
            border_after
                .iter()
                .enumerate()
                .filter(|(_, node)| graph[later].contains(node))
                .fold(0u32, |mask, (at, _)| mask | 1 << at)
        };
        let later = later_nodes.iter().map(|node| heard_by(*node)).collect();
        let alive = |node: &usize| place[*node] > index || border_after.contains(node);
        let gains = later_nodes.iter().map(|node| graph[*node].iter().filter(|other| alive(other)).count());
        let gain = gains.max().unwrap_or(0).saturating_sub(1);
        Self { beside, stays, border_after, later, gain }
    }

    /// The state after the node was put in or left out; `None` if nothing good can come of it.
    fn go(&self, key: u128, cost: u8, sends: bool, last: bool, bound: usize) -> Option<(u128, u8)> {
        let length = self.stays.len();
        let mut codes = [0u8; BORDER_MAX + 1];
        for (at, code) in codes.iter_mut().enumerate().take(length - 1) {
            *code = (key >> (4 * at)) as u8 & 15;
        }
        let cost = cost + u8::from(sends);
        if sends {
            // A part of its own, into which those beside it go.
            let own = 15;
            codes[length - 1] = own;
            for &at in &self.beside {
                match codes[at] {
                    UNHEARD => codes[at] = HEARD,
                    HEARD => {}
                    part => {
                        codes[..length].iter_mut().filter(|code| **code == part).for_each(|code| *code = own)
                    }
                }
            }
        } else {
            let heard = self.beside.iter().any(|at| codes[*at] >= PART);
            codes[length - 1] = if heard { HEARD } else { UNHEARD };
        }
        // Those that leave the border.
        for at in 0..length {
            if self.stays[at] {
                continue;
            }
            if codes[at] == UNHEARD {
                return None;
            }
            let goes_on = |other: usize| self.stays[other] && codes[other] == codes[at];
            if codes[at] >= PART && !(0..length).any(goes_on) {
                // The part is closed: right only as the whole.
                let another = |code: &u8| *code >= PART && *code != codes[at];
                if !last || codes[..length].iter().any(another) {
                    return None;
                }
            }
        }
        let (mut after, mut places, mut names, mut parts) = (0u128, 0, [0u8; 16], PART);
        let (mut unheard, mut senders) = (0, 0u32);
        for at in (0..length).filter(|at| self.stays[*at]) {
            let code = match codes[at] {
                UNHEARD => {
                    unheard += 1;
                    UNHEARD
                }
                HEARD => HEARD,
                part => {
                    senders |= 1 << places;
                    let name = &mut names[usize::from(part)];
                    if *name == 0 {
                        // Parts do not touch, so a border of 32 has far fewer than 13; more would be mixed up.
                        if parts == 15 {
                            return None;
                        }
                        *name = parts;
                        parts += 1;
                    }
                    *name
                }
            };
            after |= u128::from(code) << (4 * places);
            places += 1;
        }
        if last {
            return (usize::from(cost) <= bound).then_some((after, cost));
        }
        unheard += self.later.iter().filter(|heard_by| *heard_by & senders == 0).count();
        let more = if parts == PART {
            // The first sender is heard by itself too, and hears nobody before.
            1 + unheard.saturating_sub(self.gain + 2).div_ceil(self.gain.max(1))
        } else {
            unheard.div_ceil(self.gain.max(1)).max(usize::from(parts > PART + 1))
        };
        (usize::from(cost) + more <= bound).then_some((after, cost))
    }
}

/// Senders of the best connected dominating set with node 0 that several heuristics find; `None` if the graph is not connected.
pub fn heuristic(graph: &Graph, seed: u64) -> Option<usize> {
    if graph.len() <= 1 {
        return Some(graph.len());
    }
    let search = Search { graph };
    let rng = Rng::from_seed(seed).child(0x6364_7321);
    (0..TRIES)
        .map(|attempt| {
            let mut set = search.greedy(attempt % 2 == 1, (attempt >= 2).then(|| rng.child(attempt)))?;
            search.prune(&mut set, &mut rng.child(attempt ^ 1 << 32));
            search.improve(&mut set, &mut rng.child(attempt ^ 2 << 32));
            Some(set.iter().filter(|sends| **sends).count())
        })
        .min()
        .flatten()
}

struct Search<'g> {
    graph: &'g Graph,
}

impl Search<'_> {
    /// Grows the set from the source: each time the heard node by which most are newly heard, or (`pairs`, after Guha and Khuller,
    /// 1998) the node and neighbour by which most are, per node; with luck among about the best.
    fn greedy(&self, pairs: bool, mut luck: Option<Rng>) -> Option<Vec<bool>> {
        let nodes = self.graph.len();
        let (mut sends, mut heard) = (vec![false; nodes], vec![false; nodes]);
        let add = |node: usize, sends: &mut Vec<bool>, heard: &mut Vec<bool>| {
            sends[node] = true;
            heard[node] = true;
            self.graph[node].iter().for_each(|other| heard[*other] = true);
        };
        add(0, &mut sends, &mut heard);
        while heard.contains(&false) {
            let mut noise = |gain: usize| match &mut luck {
                Some(rng) => gain as u64 * 1000 + u64::from(rng.below(1500)),
                None => gain as u64 * 1000,
            };
            let news =
                |node: usize, heard: &[bool]| self.graph[node].iter().filter(|other| !heard[**other]).count();
            let mut best: Option<(u64, usize, Option<usize>)> = None;
            let mut offer = |one: (u64, usize, Option<usize>)| {
                if best.is_none_or(|best| one.0 > best.0) {
                    best = Some(one);
                }
            };
            for node in (0..nodes).filter(|node| heard[*node] && !sends[*node]) {
                let gain = news(node, &heard);
                if gain == 0 {
                    continue;
                }
                offer((noise(gain) * 2, node, None));
                if pairs {
                    let mut with = heard.clone();
                    self.graph[node].iter().for_each(|other| with[*other] = true);
                    for &second in self.graph[node].iter().filter(|second| !heard[**second]) {
                        offer((noise(gain + news(second, &with)), node, Some(second)));
                    }
                }
            }
            let (_, node, second) = best?;
            add(node, &mut sends, &mut heard);
            if let Some(second) = second {
                add(second, &mut sends, &mut heard);
            }
        }
        Some(sends)
    }

    /// Whether all hear a sender or are one, and the senders are connected from the source.
    fn holds(&self, sends: &[bool]) -> bool {
        let mut heard = vec![false; sends.len()];
        let mut stack = vec![0];
        let mut reached = vec![false; sends.len()];
        (reached[0], heard[0]) = (true, true);
        while let Some(node) = stack.pop() {
            for &other in &self.graph[node] {
                heard[other] = true;
                if sends[other] && !std::mem::replace(&mut reached[other], true) {
                    stack.push(other);
                }
            }
        }
        sends[0] && !heard.contains(&false) && (0..sends.len()).all(|node| !sends[node] || reached[node])
    }

    /// Takes out what is not needed, in a random order; how many.
    fn prune(&self, sends: &mut [bool], rng: &mut Rng) -> usize {
        let mut order: Vec<usize> = (1..sends.len()).filter(|node| sends[*node]).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, rng.below(at as u32 + 1) as usize);
        }
        let mut gone = 0;
        for node in order {
            sends[node] = false;
            if self.holds(sends) {
                gone += 1;
            } else {
                sends[node] = true;
            }
        }
        gone
    }

    /// Adds one node where two or more can go for it, until nothing helps.
    fn improve(&self, sends: &mut Vec<bool>, rng: &mut Rng) {
        'again: loop {
            for node in (0..sends.len()).filter(|node| !sends[*node]).collect::<Vec<_>>() {
                let mut with = sends.clone();
                with[node] = true;
                if self.prune(&mut with, rng) >= 2 {
                    *sends = with;
                    continue 'again;
                }
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::topology::{Class, Topology};

    fn brute_force(graph: &Graph) -> usize {
        let search = Search { graph };
        (0u32..1 << graph.len())
            .filter(|set| set & 1 == 1)
            .filter(|set| {
                search.holds(&(0..graph.len()).map(|node| set >> node & 1 == 1).collect::<Vec<_>>())
            })
            .map(|set| set.count_ones() as usize)
            .min()
            .unwrap()
    }

    #[test]
    fn as_brute_force_says_on_small_random_graphs() {
        let mut rng = Rng::from_seed(11);
        let mut tried = 0;
        while tried < 300 {
            let nodes = 2 + rng.below(11) as usize;
            let density = 150_000 + rng.below(600_000);
            let mut graph: Graph = vec![Vec::new(); nodes];
            for a in 0..nodes {
                for b in a + 1..nodes {
                    if rng.chance_ppm(density) {
                        graph[a].push(b);
                        graph[b].push(a);
                    }
                }
            }
            graph.iter_mut().for_each(|neighbours| neighbours.sort_unstable());
            if !(Search { graph: &graph }).holds(&vec![true; nodes]) {
                assert_eq!(exact(&graph), None);
                continue;
            }
            tried += 1;
            let right = brute_force(&graph);
            assert_eq!(exact(&graph), Some(right), "{graph:?}");
            for bound in right - 1..=nodes {
                assert_eq!(
                    smallest_within(&graph, bound),
                    Some((bound >= right).then_some(right)),
                    "{graph:?}"
                );
            }
            assert!(heuristic(&graph, 5).unwrap() >= right);
        }
    }

    #[test]
    fn known_graphs() {
        let line = Topology::draw(Class::Line, 50, 0).unwrap();
        assert_eq!(exact(&line.graph), Some(49));
        assert_eq!(heuristic(&line.graph, 1), Some(49));
        let grid = Topology::draw(Class::Grid, 10, 0).unwrap();
        assert_eq!(exact(&grid.graph), Some(brute_force(&grid.graph)));
    }

    #[test]
    fn fields_of_fifty_are_solved() {
        for class in [Class::Sparse, Class::Dense, Class::Grid] {
            let field = Topology::draw(class, 50, 1).unwrap();
            let right = exact(&field.graph).unwrap();
            assert!(right <= heuristic(&field.graph, 1).unwrap() && right >= 3, "{right}");
            assert_eq!(smallest_within(&field.graph, right), Some(Some(right)));
        }
    }
}
