//! A valley with nodes along it: the world of the demo.
//!
//! The edge node sits at the village at the lower end. Field nodes stand in groups up the valley; one gap is bridged by
//! a single node. Distances scale with the reach of the radio, so the same shape comes out for each preset. Draws are
//! repeated under sub-seeds until the graph of links has what was promised.

use compotastic_mesh::rng::Rng;

use crate::radio::{Position, Radio, shadowing_db};

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
    /// For a number of field nodes: at least 2, 4 and 5 hops for 8, 24 and 60 nodes.
    pub fn for_nodes(field_nodes: usize) -> Self {
        let hops_min = match field_nodes {
            0..=3 => 1,
            4..=11 => 2,
            12..=17 => 3,
            18..=44 => 4,
            _ => 5,
        };
        Self { hops_min, hops_max: 6, hear_edge_pct_max: if field_nodes < 4 { 100 } else { 40 } }
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

/// A link counts if packets pass it at least this often, millionths.
const WORKS_PPM: u32 = 900_000;
/// A node hears another if packets pass at least this often.
const HEARS_PPM: u32 = 100_000;
const ATTEMPTS: u64 = 4000;

/// Draws a valley. `world_seed` must be the seed of the world in which the nodes are placed: shadowing depends on it.
pub fn draw(world_seed: u64, field_nodes: usize, radio: &Radio, wanted: Wanted) -> Result<Valley, NoValley> {
    let rng = Rng::from_seed(world_seed).child(0x7661_6c6c);
    let shadows = Rng::from_seed(world_seed).child(0x7368_6164);
    for attempt in 0..ATTEMPTS {
        let positions = place(&mut rng.child(attempt), field_nodes, radio, wanted);
        if let Some(valley) = examine(positions, radio, &shadows, wanted) {
            return Ok(valley);
        }
    }
    Err(NoValley)
}

fn place(rng: &mut Rng, field_nodes: usize, radio: &Radio, wanted: Wanted) -> Vec<Position> {
    let unit = |rng: &mut Rng| f64::from(rng.next_u32()) / f64::from(u32::MAX);
    // A step along the valley that a link bridges as a rule.
    let step = radio.range_m(6.0) * (0.75 + 0.35 * unit(rng));
    // Some links skip a group, so there may be more groups than hops; never more than nodes allow.
    let groups = (wanted.hops_min as usize + (unit(rng) * 2.99) as usize).min(field_nodes.div_ceil(2));
    // The last step is bridged by one node alone.
    let bridge = if groups > 1 { groups - 1 } else { groups };
    let mut positions = vec![Position { x_m: 0.0, y_m: 0.0 }];
    let mut x = 0.0;
    for group in 1..=groups {
        x += step;
        // Members per group: the rest is dealt evenly, the bridge is alone.
        let others = groups - usize::from(groups > 1);
        let dealt = field_nodes - usize::from(groups > 1);
        let rank = if group > bridge { group - 2 } else { group - 1 };
        let count = if groups > 1 && group == bridge {
            1
        } else {
            dealt / others + usize::from(rank < dealt % others)
        };
        for _ in 0..count {
            let spread = if count == 1 { 0.05 } else { 0.2 };
            positions.push(Position {
                x_m: x + (unit(rng) - 0.5) * 2.0 * spread * step,
                y_m: (unit(rng) - 0.5) * 0.8 * step,
            });
        }
    }
    positions
}

fn examine(positions: Vec<Position>, radio: &Radio, shadows: &Rng, wanted: Wanted) -> Option<Valley> {
    let count = positions.len();
    let mut works = vec![Vec::new(); count];
    let mut hear_edge = 0;
    for a in 0..count {
        for b in a + 1..count {
            let extra = shadowing_db(shadows, a, b, radio.shadowing_db);
            let signal = radio.signal(positions[a].distance_m(&positions[b]), extra);
            let ppm = radio.reception_ppm(signal.snr_qdb);
            if ppm >= WORKS_PPM {
                works[a].push(b);
                works[b].push(a);
            }
            hear_edge += u32::from(a == 0 && ppm >= HEARS_PPM);
        }
    }
    let hops = distances(&works, None)?;
    let farthest = hops.iter().copied().max()?;
    let too_many = hear_edge * 100 > wanted.hear_edge_pct_max * (count as u32 - 1);
    if too_many || !(wanted.hops_min..=wanted.hops_max).contains(&farthest) {
        return None;
    }
    let cut_vertices: Vec<usize> =
        (1..count).filter(|node| distances(&works, Some(*node)).is_none()).collect();
    if cut_vertices.is_empty() && count > 3 {
        return None;
    }
    Some(Valley { positions, hops, cut_vertices })
}

/// Hops from node 0, without one node; `None` if some node is not reached.
fn distances(works: &[Vec<usize>], without: Option<usize>) -> Option<Vec<u32>> {
    let mut hops = vec![u32::MAX; works.len()];
    hops[0] = 0;
    let mut frontier = vec![0];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for from in frontier {
            for &to in &works[from] {
                if Some(to) != without && hops[to] == u32::MAX {
                    hops[to] = hops[from] + 1;
                    next.push(to);
                }
            }
        }
        frontier = next;
    }
    let all = hops.iter().enumerate().all(|(node, hop)| Some(node) == without || *hop != u32::MAX);
    all.then_some(hops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use compotastic_mesh::lora::{Preset, Region};

    #[test]
    fn valleys_have_what_is_promised() {
        for preset in [Preset::LongFast, Preset::MediumFast, Preset::ShortFast] {
            let radio = Radio::new(preset.modem(false), Region::Eu868);
            for nodes in [8, 24, 60] {
                let mut widest = 0.0f64;
                for seed in 0..12 {
                    let wanted = Wanted::for_nodes(nodes);
                    let valley = draw(seed, nodes, &radio, wanted).expect("a valley");
                    assert_eq!(valley.positions.len(), nodes + 1, "{preset} {nodes} {seed}");
                    assert!(valley.hops.iter().max() >= Some(&wanted.hops_min));
                    assert!(!valley.cut_vertices.is_empty());
                    widest = valley.positions.iter().map(|position| position.x_m).fold(widest, f64::max);
                }
                assert!(widest > 0.0);
            }
        }
    }

    #[test]
    fn odd_numbers_of_nodes_work_too() {
        let radio = Radio::new(Preset::LongFast.modem(false), Region::Eu868);
        for nodes in [2, 3, 4, 5, 7, 11, 13, 19, 31, 45, 90] {
            let valley = draw(7, nodes, &radio, Wanted::for_nodes(nodes));
            assert!(valley.is_ok(), "{nodes}");
        }
    }
}
