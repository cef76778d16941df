//! A valley with nodes along it and on its slopes: the world of the demo.
//!
//! The edge node sits at the village at the lower end. Field nodes stand in groups up the valley, one group per hop; the
//! last group hangs on a single node. Distances scale with the reach of the radio, so the same shape comes out for each
//! preset. Nodes are placed one after the other, each where the links that it gets there fit the plan:
//!
//! - It has a link that works (90 % of packets pass undisturbed) to a node one group down the valley.
//! - It hears nobody further down than that, not even one packet in ten.
//!
//! So a node's group is its number of hops, whichever of the two kinds of links one counts, and the node on which the last
//! group hangs is a cut vertex.

use compotastic_mesh::rng::Rng;

use crate::{
    radio::{Position, Radio, shadowing_db},
    reception::Reception,
};

/// What the graph has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Hops of the farthest field node, at least.
    pub hops_min: u32,
    /// Hops of the farthest field node, at most: Meshtastic's limit is 7, one is left in reserve.
    pub hops_max: u32,
    /// Share of field nodes that hear the edge node, percent at most.
    pub hear_edge_pct_max: u32,
}

impl Wanted {
    /// For a number of field nodes: at least 2, 4 and 5 hops for 8, 24 and 60 nodes, and at most 40 % that hear the edge
    /// node. Of two field nodes one has to.
    pub fn for_nodes(field_nodes: usize) -> Self {
        let hops_min = match field_nodes {
            0 | 1 => 1,
            2..=11 => 2,
            12..=17 => 3,
            18..=44 => 4,
            _ => 5,
        };
        let hear_edge_pct_max = match field_nodes {
            0 | 1 => 100,
            2 => 50,
            _ => 40,
        };
        Self { hops_min, hops_max: 6, hear_edge_pct_max }
    }
}

/// The nodes of a valley. Index 0 is the edge node, the others are field nodes.
#[derive(Clone, Debug)]
pub struct Valley {
    /// Positions; index 0 is the edge node.
    pub positions: Vec<Position>,
    /// Hops from the edge node over links that work as a rule; index 0 is 0.
    pub hops: Vec<u32>,
    /// Nodes without which the mesh would fall apart.
    pub cut_vertices: Vec<usize>,
}

/// No valley of that kind was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoValley;

impl std::fmt::Display for NoValley {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no valley has so many nodes at so many hops")
    }
}

impl std::error::Error for NoValley {}

/// A link works if packets pass it at least this often, millionths.
const WORKS_PPM: u32 = 900_000;
/// A node hears another if packets pass at least this often.
const HEARS_PPM: u32 = 100_000;
/// Valleys that are tried, and places that are tried for each node of one.
const ATTEMPTS: u64 = 20;
const PLACES: u32 = 800;
/// Distance between groups, in reaches of the radio.
const STEP: f64 = 0.75;

/// Draws a valley. `world_seed` must be the seed of the world in which the nodes are placed, in the order of their
/// positions: shadowing depends on it.
pub fn draw(world_seed: u64, field_nodes: usize, radio: &Radio, wanted: Wanted) -> Result<Valley, NoValley> {
    let rng = Rng::from_seed(world_seed).child(0x7661_6c6c);
    let links = Links::new(world_seed, radio);
    for attempt in 0..ATTEMPTS {
        let mut rng = rng.child(attempt);
        let Some(groups) = group_sizes(&mut rng, field_nodes, wanted) else { return Err(NoValley) };
        let plan = Plan::draw(&mut rng, field_nodes, links.reception.reach_m(radio));
        if let Some((positions, hops)) = place(&mut rng, &groups, &plan, &links) {
            let cut_vertices = cut_vertices(&positions, &links);
            return Ok(Valley { positions, hops, cut_vertices });
        }
    }
    Err(NoValley)
}

impl Valley {
    /// Field nodes per number of hops; index 0 is one hop.
    pub fn hop_histogram(&self) -> Vec<u32> {
        let mut histogram = Vec::new();
        for &hops in self.hops.iter().filter(|hops| **hops > 0) {
            let index = hops as usize - 1;
            if histogram.len() <= index {
                histogram.resize(index + 1, 0);
            }
            histogram[index] += 1;
        }
        histogram
    }

    /// Area of the rectangle around all nodes, square metres.
    pub fn area_m2(&self) -> f64 {
        let extent = |along: fn(&Position) -> f64| {
            let (low, high) = self
                .positions
                .iter()
                .map(along)
                .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            (high - low).max(0.0)
        };
        extent(|position| position.x_m) * extent(|position| position.y_m)
    }

    /// Adds a node within a tenth of the radio's reach of another, with a link that works to it and to each of a part of
    /// its neighbours: a second edge node at the village. Its index is the next one. Hops stay counted from index 0.
    pub fn add_beside(&mut self, node: usize, world_seed: u64, radio: &Radio) -> Result<usize, NoValley> {
        let index = self.positions.len();
        let beside = *self.positions.get(node).ok_or(NoValley)?;
        let links = Links::new(world_seed, radio);
        let mut rng = Rng::from_seed(world_seed).child(0x6265_7369).child(index as u64);
        let shadows = links.shadows(index);
        let neighbours: Vec<usize> = (0..index)
            .filter(|other| *other != node && links.works(&beside, node, &self.positions[*other], *other))
            .collect();
        let radius_m = links.reception.reach_m(radio) / 10.0;
        for _ in 0..PLACES {
            let place = Position {
                x_m: beside.x_m + radius_m * symmetric(&mut rng),
                y_m: beside.y_m + radius_m * symmetric(&mut rng),
            };
            let works = |other: usize| {
                links.reception_ppm(&place, &self.positions[other], shadows[other]) >= WORKS_PPM
            };
            let shared = neighbours.iter().filter(|other| works(**other)).count();
            if works(node) && shared * 2 >= neighbours.len() {
                let hops = (0..index).filter(|other| works(*other)).map(|other| self.hops[other] + 1).min();
                self.positions.push(place);
                self.hops.push(hops.unwrap_or(u32::MAX));
                return Ok(index);
            }
        }
        Err(NoValley)
    }
}

/// Links of a world: distance, and the shadowing of each pair.
struct Links<'a> {
    radio: &'a Radio,
    reception: Reception,
    seed: Rng,
}

impl<'a> Links<'a> {
    fn new(world_seed: u64, radio: &'a Radio) -> Self {
        let reception = Reception::new(&radio.modem, radio.fading_db);
        Self { radio, reception, seed: Rng::from_seed(world_seed).child(0x7368_6164) }
    }

    fn shadow_db(&self, a: usize, b: usize) -> f64 {
        let still = Position { x_m: 0.0, y_m: 0.0 };
        shadowing_db(&self.seed, (a, still), (b, still), self.radio.shadowing_db)
    }

    /// Shadowing between a node and all before it, dB.
    fn shadows(&self, node: usize) -> Vec<f64> {
        (0..node).map(|other| self.shadow_db(node, other)).collect()
    }

    fn reception_ppm(&self, a: &Position, b: &Position, extra_db: f64) -> u32 {
        self.reception.link_ppm(self.radio.signal(a.distance_m(b), extra_db).snr_qdb)
    }

    fn works(&self, a: &Position, a_index: usize, b: &Position, b_index: usize) -> bool {
        let extra_db = self.shadow_db(a_index, b_index);
        self.reception_ppm(a, b, extra_db) >= WORKS_PPM
    }
}

/// Uniform in 0..=1.
fn unit(rng: &mut Rng) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

/// Uniform in -1..=1.
fn symmetric(rng: &mut Rng) -> f64 {
    2.0 * unit(rng) - 1.0
}

/// How many field nodes there are at each number of hops; `None` if there are too few nodes for that.
fn group_sizes(rng: &mut Rng, field_nodes: usize, wanted: Wanted) -> Option<Vec<usize>> {
    if field_nodes == 0 {
        return Some(Vec::new());
    }
    // From six nodes on there is at least one group between the edge node's neighbours and the last.
    let hops_min = wanted.hops_min.max(if field_nodes >= 6 { 3 } else { 1 }).min(wanted.hops_max);
    // Small swarms have the shortest valley, so that valleys grow with the count.
    let more = if field_nodes >= 12 { rng.below(2) } else { 0 };
    let count = (hops_min + more).min(wanted.hops_max) as usize;
    let near_max = field_nodes * wanted.hear_edge_pct_max as usize / 100;
    if count > field_nodes || near_max == 0 {
        return None;
    }
    let mut sizes = vec![1; count];
    let rest = field_nodes - count;
    match count {
        1 => sizes[0] += rest,
        // Everything hangs on one node.
        2 => sizes[1] += rest,
        _ => {
            // The group before the last stays alone; the last one is a fifth, the first a third of what can be dealt.
            let last = rest / 5;
            let near = if count == 3 { rest - last } else { rest / 3 }.min(near_max - 1);
            sizes[count - 1] += last;
            sizes[0] += near;
            let middle = count - 3;
            let dealt = rest - last - near;
            if middle == 0 {
                sizes[count - 1] += dealt;
            }
            for rank in 0..middle {
                sizes[1 + rank] += dealt / middle + usize::from(rank < dealt % middle);
            }
        }
    }
    (sizes[0] <= near_max).then_some(sizes)
}

/// The shape of the valley's floor.
struct Plan {
    step_m: f64,
    half_width_m: f64,
    /// The floor swings from side to side: amplitude, waves per metre (times 2 pi), phase.
    swing_m: f64,
    swing_per_m: f64,
    phase: f64,
}

impl Plan {
    fn draw(rng: &mut Rng, field_nodes: usize, reach_m: f64) -> Self {
        // More nodes stand farther up the slopes: 0.8, 1.1 and 1.5 reaches across for 8, 24 and 60.
        let width =
            0.3 + 0.56 * libm::log10(field_nodes.max(2) as f64) + 0.0035 * field_nodes.min(100) as f64;
        Self {
            step_m: STEP * reach_m,
            half_width_m: width * reach_m / 2.0,
            swing_m: 0.12 * reach_m * symmetric(rng),
            swing_per_m: (1.0 + unit(rng)) / reach_m,
            phase: 6.0 * unit(rng),
        }
    }

    fn place_beyond(&self, rng: &mut Rng, bridge: &Position) -> Position {
        Position {
            x_m: bridge.x_m + self.step_m * (0.25 + 0.85 * unit(rng)),
            y_m: bridge.y_m + self.half_width_m * 0.8 * symmetric(rng),
        }
    }

    fn place(&self, rng: &mut Rng, group: usize, alone: bool) -> Position {
        let (along, across) = if alone { (0.1, 0.2) } else { (0.35, 1.0) };
        let x_m = self.step_m * (group as f64 + along * symmetric(rng));
        let floor_m = self.swing_m * libm::sin(x_m * self.swing_per_m + self.phase);
        Position { x_m, y_m: floor_m + self.half_width_m * across * symmetric(rng) }
    }
}

fn place(
    rng: &mut Rng,
    groups: &[usize],
    plan: &Plan,
    links: &Links<'_>,
) -> Option<(Vec<Position>, Vec<u32>)> {
    let mut positions = vec![Position { x_m: 0.0, y_m: 0.0 }];
    let mut hops = vec![0];
    for (group, size) in (1u32..).zip(groups) {
        // What hangs on a single node stands around its far side.
        let alone_before = group > 1 && groups[group as usize - 2] == 1;
        let bridge = positions.last().copied().filter(|_| alone_before && *size > 2);
        for _ in 0..*size {
            let shadows = links.shadows(positions.len());
            let place = (0..PLACES).find_map(|_| {
                let place = match bridge {
                    Some(bridge) => plan.place_beyond(rng, &bridge),
                    None => plan.place(rng, group as usize, *size == 1),
                };
                let mut works = false;
                for (other, hop) in hops.iter().enumerate().filter(|(_, hop)| **hop < group) {
                    let ppm = links.reception_ppm(&place, &positions[other], shadows[other]);
                    if hop + 1 < group && ppm >= HEARS_PPM {
                        return None;
                    }
                    works |= hop + 1 == group && ppm >= WORKS_PPM;
                }
                works.then_some(place)
            })?;
            positions.push(place);
            hops.push(group);
        }
    }
    Some((positions, hops))
}

/// Nodes without which some node does not even hear, over any number of hops, what the edge node sends.
fn cut_vertices(positions: &[Position], links: &Links<'_>) -> Vec<usize> {
    let mut hears = vec![Vec::new(); positions.len()];
    for a in 0..positions.len() {
        for (b, extra_db) in links.shadows(a).into_iter().enumerate() {
            if links.reception_ppm(&positions[a], &positions[b], extra_db) >= HEARS_PPM {
                hears[a].push(b);
                hears[b].push(a);
            }
        }
    }
    (1..positions.len()).filter(|node| reached(&hears, *node) + 1 < positions.len()).collect()
}

/// Nodes that node 0 reaches (itself included) without one.
fn reached(links: &[Vec<usize>], without: usize) -> usize {
    let mut known = vec![false; links.len()];
    known[0] = true;
    let mut frontier = vec![0];
    let mut count = 1;
    while let Some(from) = frontier.pop() {
        for &to in &links[from] {
            if to != without && !std::mem::replace(&mut known[to], true) {
                count += 1;
                frontier.push(to);
            }
        }
    }
    count
}
