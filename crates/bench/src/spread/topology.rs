//! Where the nodes of a run stand, and who hears whom.
//!
//! Links are clear-cut, so that the graph on which the reference rests is the one on which the methods run: the radio has no
//! shadows and does not fade, and no pair of nodes stands between [`LINK_MIN`] and [`NONE_MAX`]. A link passes at least 99 % of
//! the longest frames, what is no link at most 3 %. Nodes that are no neighbours still disturb each other, and a short
//! frame may get farther; that is the radio's nature and costs each method alike.
//!
//! - Line: each node hears the one before and the one behind. Node 0, the source, is at one end.
//! - Grid: five rows (two for ten nodes, ten for 200), orthogonal neighbours only. The source is in a corner.
//! - Fields: nodes thrown on a square one by one, each again until it stands in no forbidden ring, all again until the
//!   field is connected and its mean degree within 15 % of the wanted. Sparse: about 7 neighbours, dense: about 16; with ten nodes
//!   4 and 7, since more would leave nothing to relay. The source is the first node.

use std::fmt;

use clap::ValueEnum;
use compotastic_mesh::{
    lora::{Preset, Region},
    rng::Rng,
};
use compotastic_sim::{
    radio::{Position, Radio},
    reception::Reception,
};

/// Preset of all runs.
pub const PRESET: Preset = Preset::LongFast;
/// Region of all runs: 10 % duty cycle.
pub const REGION: Region = Region::Eu868;
/// A link passes this share of the longest frames at least.
pub const LINK_MIN: f64 = 0.99;
/// What is no link passes this share of the longest frames at most.
pub const NONE_MAX: f64 = 0.03;
/// Longest frame, bytes.
const FRAME_MAX: usize = 255;
/// A field's mean degree is off by this share at most.
const DEGREE_OFF: f64 = 0.15;
/// Fields that are thrown until one fits, and places that are tried for a node of one.
const FIELDS: u64 = 20_000;
const PLACES: u32 = 20_000;

/// The kind of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Class {
    /// One behind the other.
    Line,
    /// Rows and columns.
    Grid,
    /// Random field, about 7 neighbours.
    Sparse,
    /// Random field, about 16 neighbours.
    Dense,
}

impl Class {
    /// Drawn from a seed.
    pub const fn is_field(self) -> bool {
        matches!(self, Self::Sparse | Self::Dense)
    }

    /// Neighbours that a node of a field has on average.
    fn degree(self, nodes: usize) -> f64 {
        match (self, nodes <= 12) {
            (Self::Dense, false) => 16.0,
            (Self::Dense, true) | (_, false) => 7.0,
            (_, true) => 4.0,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Line => "line",
            Self::Grid => "grid",
            Self::Sparse => "field-sparse",
            Self::Dense => "field-dense",
        })
    }
}

/// Who hears whom; neighbours in rising order.
pub type Graph = Vec<Vec<usize>>;

/// Nodes in their places. Node 0 is the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Its kind.
    pub class: Class,
    /// Which one of its kind; 0 for lines and grids.
    pub seed: u64,
    /// Places.
    pub positions: Vec<Position>,
    /// Links.
    pub graph: Graph,
}

/// The radio of all runs.
pub fn radio() -> Radio {
    let radio = Radio::new(PRESET.modem(REGION.wide()), REGION);
    Radio { shadowing_db: 0.0, fading_db: 0.0, ..radio }
}

/// What two nodes are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    Linked,
    Between,
    Apart,
}

/// Tells links from none by the radio's own tables.
struct Links {
    radio: Radio,
    reception: Reception,
}

impl Links {
    fn new() -> Self {
        let radio = radio();
        let reception = Reception::new(&radio.modem, 0.0);
        Self { radio, reception }
    }

    fn chance(&self, snr_qdb: i32) -> f64 {
        self.reception.lock(snr_qdb) * self.reception.payload(snr_qdb, FRAME_MAX)
    }

    fn pair(&self, a: &Position, b: &Position) -> Pair {
        match self.chance(self.radio.signal(a.distance_m(b), 0.0).snr_qdb) {
            chance if chance >= LINK_MIN => Pair::Linked,
            chance if chance > NONE_MAX => Pair::Between,
            _ => Pair::Apart,
        }
    }

    /// Longest link, metres.
    fn reach_m(&self) -> f64 {
        let limit_qdb = i32::from(self.radio.modem.snr_limit_qdb());
        let weakest = (-120..80).find(|qdb| self.chance(*qdb) >= LINK_MIN).unwrap_or(80);
        // The signal is rounded to quarter decibels.
        self.radio.range_m(f64::from(weakest - limit_qdb) / 4.0 + 0.13)
    }

    fn graph(&self, positions: &[Position]) -> Option<Graph> {
        let mut graph = vec![Vec::new(); positions.len()];
        for a in 0..positions.len() {
            for b in a + 1..positions.len() {
                match self.pair(&positions[a], &positions[b]) {
                    Pair::Linked => {
                        graph[a].push(b);
                        graph[b].push(a);
                    }
                    Pair::Between => return None,
                    Pair::Apart => {}
                }
            }
        }
        Some(graph)
    }
}

impl Topology {
    /// Draws one; the same class, count and seed give the same. `None` when none fits, for counts far from those of the benchmark.
    pub fn draw(class: Class, nodes: usize, seed: u64) -> Option<Self> {
        let links = Links::new();
        let step_m = links.reach_m() * 0.98;
        let (positions, graph) = match class {
            Class::Line => {
                let positions: Vec<_> =
                    (0..nodes).map(|index| Position { x_m: step_m * index as f64, y_m: 0.0 }).collect();
                let graph = links.graph(&positions)?;
                (positions, graph)
            }
            Class::Grid => {
                let rows = match nodes {
                    ..13 => 2,
                    13..=100 => 5,
                    _ => 10,
                };
                let place = |index: usize| Position {
                    x_m: step_m * (index / rows) as f64,
                    y_m: step_m * (index % rows) as f64,
                };
                let positions: Vec<_> = (0..nodes).map(place).collect();
                let graph = links.graph(&positions)?;
                (positions, graph)
            }
            Class::Sparse | Class::Dense => {
                let rng = Rng::from_seed(seed)
                    .child(0x6669_656c)
                    .child(nodes as u64 * 2 + (class == Class::Dense) as u64);
                (0..FIELDS)
                    .find_map(|field| draw_field(&links, &mut rng.child(field), nodes, class.degree(nodes)))?
            }
        };
        Some(Self { class, seed, positions, graph })
    }

    /// Nodes.
    #[allow(clippy::len_without_is_empty, reason = "there is always a source")]
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Hops from the source to each node.
    pub fn hops(&self) -> Vec<usize> {
        hops(&self.graph)
    }
}

fn mean_degree(graph: &Graph) -> f64 {
    graph.iter().map(Vec::len).sum::<usize>() as f64 / graph.len().max(1) as f64
}

/// Hops from node 0; `usize::MAX` where no way leads.
pub fn hops(graph: &Graph) -> Vec<usize> {
    let mut hops = vec![usize::MAX; graph.len()];
    hops[0] = 0;
    let mut queue = std::collections::VecDeque::from([0]);
    while let Some(from) = queue.pop_front() {
        for &to in &graph[from] {
            if hops[to] == usize::MAX {
                hops[to] = hops[from] + 1;
                queue.push_back(to);
            }
        }
    }
    hops
}

/// Side of the square, in reaches, on which so many nodes have this mean degree: for uniform points in a unit square, two are
/// nearer than r <= 1 with probability pi r^2 - 8/3 r^3 + r^4 / 2.
fn side_in_reaches(nodes: usize, degree: f64) -> f64 {
    let near = |r: f64| std::f64::consts::PI * r * r - 8.0 / 3.0 * r * r * r + r * r * r * r / 2.0;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if near(middle) * (nodes as f64 - 1.0) < degree { low = middle } else { high = middle }
    }
    1.0 / high
}

fn draw_field(links: &Links, rng: &mut Rng, nodes: usize, degree: f64) -> Option<(Vec<Position>, Graph)> {
    let side_m = links.reach_m() * side_in_reaches(nodes, degree);
    let unit = |rng: &mut Rng| f64::from(rng.next_u32()) / f64::from(u32::MAX);
    let mut positions: Vec<Position> = Vec::with_capacity(nodes);
    for _ in 0..nodes {
        let place = (0..PLACES).find_map(|_| {
            let place = Position { x_m: unit(rng) * side_m, y_m: unit(rng) * side_m };
            let fits = positions.iter().all(|other| links.pair(&place, other) != Pair::Between);
            fits.then_some(place)
        })?;
        positions.push(place);
    }
    let graph = links.graph(&positions)?;
    let connected = hops(&graph).iter().all(|hops| *hops != usize::MAX);
    let fits = (mean_degree(&graph) / degree - 1.0).abs() <= DEGREE_OFF;
    (connected && fits).then_some((positions, graph))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_a_grid_have_orthogonal_neighbours_only() {
        let line = Topology::draw(Class::Line, 50, 0).unwrap();
        assert_eq!(line.graph[0], [1]);
        assert_eq!(line.graph[20], [19, 21]);
        assert_eq!(line.hops()[49], 49);
        let grid = Topology::draw(Class::Grid, 50, 0).unwrap();
        assert_eq!(grid.graph[0], [1, 5]);
        assert_eq!(grid.graph[12], [7, 11, 13, 17]);
        assert_eq!(Topology::draw(Class::Grid, 200, 0).unwrap().hops().into_iter().max(), Some(28));
    }

    #[test]
    fn fields_are_connected_clear_cut_and_as_dense_as_wanted() {
        let links = Links::new();
        for (class, nodes, degree) in [
            (Class::Sparse, 10, 4.0),
            (Class::Dense, 10, 7.0),
            (Class::Sparse, 50, 7.0),
            (Class::Dense, 50, 16.0),
        ] {
            let field = Topology::draw(class, nodes, 3).unwrap();
            assert_eq!(field, Topology::draw(class, nodes, 3).unwrap(), "a seed names a field");
            assert_ne!(field.positions, Topology::draw(class, nodes, 4).unwrap().positions);
            assert!(
                (mean_degree(&field.graph) / degree - 1.0).abs() <= DEGREE_OFF,
                "{class} {}",
                mean_degree(&field.graph)
            );
            assert!(field.hops().iter().all(|hops| *hops < nodes));
            for (a, place) in field.positions.iter().enumerate() {
                for (b, other) in field.positions.iter().enumerate().skip(a + 1) {
                    let pair = links.pair(place, other);
                    assert_ne!(pair, Pair::Between);
                    assert_eq!(pair == Pair::Linked, field.graph[a].contains(&b));
                }
            }
        }
    }
}
