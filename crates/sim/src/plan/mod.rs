//! What a push will cost, before anything is sent: packets, air time, energy and hours of each way in which a bundle can travel.
//!
//! - **Mesh.** It is rehearsed ([`rehearsal`]): the push runs in the simulator, on the same mesh under other luck, some times over. The plan is
//!   the mean of that, and the range in which eight of ten runs lie. Without rehearsal it is reckoned ([`formula`]).
//! - **Carrier.** Somebody walks from node to node, the nearest next, and hands the bundle over by Bluetooth: reckoned, there is no luck in it.
//! - **Both.** The carrier goes to one node of each part of the mesh that the publisher does not reach, and the mesh does the rest: rehearsed
//!   as the mesh is, with the bundle handed over when the carrier gets there.

mod formula;
mod rehearsal;

use compotastic_model::BaseEncoder;
use serde::Serialize;

use self::{
    formula::{Air, Cargo, Carrier, Graph, over_mesh, walk_m},
    rehearsal::{Rehearsals, Stage},
};
use crate::{
    NodeId,
    radio::Position,
    scenario::{self, NodeKind, Package, Scenario, ScenarioWorld, Target, nobody_is_meant, publisher},
};

pub use rehearsal::{Range, Ranges, STILL_H};

/// Links that carry less often than this are none to the formulas, 0..1.
const LINK: f64 = 0.5;

/// What is asked of a plan.
#[derive(Clone, Debug)]
pub struct PlanOrder {
    /// Only nodes of this class, if there is one; else all for which the bundle is signed.
    pub class: Option<u8>,
    /// A way that takes longer than this is refused, hours.
    pub within_h: f64,
    /// Speed of the carrier, m/s.
    pub walk_m_s: f64,
    /// How it is rehearsed; else it is reckoned.
    pub rehearse: Option<Rehearse>,
}

/// How a push is rehearsed.
#[derive(Clone, Debug)]
pub struct Rehearse {
    /// The base encoder that the nodes hold; without it no model can be installed.
    pub base: Option<BaseEncoder<'static>>,
    /// So many times; else until the means are known to 5 %, 12 to 48 times.
    pub times: Option<usize>,
    /// Threads; else one per core.
    pub threads: Option<usize>,
}

/// Ways in which a bundle can travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WayName {
    /// Over the mesh.
    Mesh,
    /// By Bluetooth, from somebody who walks by.
    Carrier,
    /// A carrier to each part of the mesh, and the mesh there.
    Both,
}

/// What the figures of a way rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Simulated runs.
    Rehearsal,
    /// Formulas.
    Formula,
}

/// What one way costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Way {
    /// Which.
    pub way: WayName,
    /// Nodes that have the bundle in the end, the publisher too.
    pub reaches: usize,
    /// Frames of all nodes.
    pub packets: f64,
    /// Of these, symbols.
    pub symbols: f64,
    /// Of these, offers, manifests and requests.
    pub control: f64,
    /// Of these, beacons.
    pub beacons: f64,
    /// Air time, s.
    pub airtime_s: f64,
    /// For sending beyond listening, and for Bluetooth, mWh.
    pub energy_mwh: f64,
    /// Until the last node has it, hours.
    pub hours: f64,
    /// It takes no longer than was asked for, and reaches all.
    pub fits: bool,
    /// What the figures rest on.
    pub basis: Basis,
    /// Times that it was rehearsed.
    pub rehearsals: usize,
    /// Of these, in which all had it in the end.
    pub complete: usize,
    /// Eight of ten runs lie within, as far as it was rehearsed.
    pub range: Option<Ranges>,
}

impl Way {
    /// Before anything is known of it.
    fn none(way: WayName) -> Self {
        Self {
            way,
            reaches: 0,
            packets: 0.0,
            symbols: 0.0,
            control: 0.0,
            beacons: 0.0,
            airtime_s: 0.0,
            energy_mwh: 0.0,
            hours: 0.0,
            fits: true,
            basis: Basis::Formula,
            rehearsals: 0,
            complete: 0,
            range: None,
        }
    }

    /// With another on top.
    fn add(&mut self, other: &Self) {
        self.reaches += other.reaches;
        self.packets += other.packets;
        self.symbols += other.symbols;
        self.control += other.control;
        self.beacons += other.beacons;
        self.airtime_s += other.airtime_s;
        self.energy_mwh += other.energy_mwh;
    }
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Nodes that take it, the publisher too.
    pub nodes: usize,
    /// Bytes of content.
    pub bytes: usize,
    /// Pieces, hashes included.
    pub pieces: usize,
    /// Generations.
    pub generations: usize,
    /// Nodes that will send it, as the formulas see it.
    pub servers: usize,
    /// Mean loss from servers to their clients, 0..1.
    pub loss: f64,
    /// Air time of one symbol, s.
    pub symbol_s: f64,
    /// Share of the air that bulk gets, 0..1.
    pub share: f64,
    /// Nodes that move. Formulas take them where they begin; rehearsals move them.
    pub movers: usize,
    /// To whom the carrier hands it on the way of both, by name, and when, hours: one node of each part that the mesh does not reach.
    pub landings: Vec<(String, f64)>,
    /// The ways.
    pub ways: Vec<Way>,
}

impl Plan {
    /// One of its ways.
    pub fn way(&self, way: WayName) -> Option<&Way> {
        self.ways.iter().find(|one| one.way == way)
    }
}

/// The mesh as it stands at its start.
struct Mesh {
    of: ScenarioWorld,
    /// Nodes that take it, rising; the graph counts by their place here.
    ids: Vec<NodeId>,
    graph: Graph,
    /// Place of the publisher.
    begin: usize,
    edge: bool,
    air: Air,
    cargo: Cargo,
}

impl Mesh {
    fn new(scenario: &Scenario, seed: u64, package: &Package, class: Option<u8>) -> Result<Self, String> {
        let of = scenario::build(scenario, seed, None)?;
        let (kinds, classes) = (scenario.kinds(), scenario.classes());
        let source = publisher(&kinds)?;
        let claims = package.claimed.claims();
        let takes = |id: usize| {
            kinds[id].is_ours()
                && claims.classes.contains(classes[id])
                && class.is_none_or(|class| classes[id] == class || id == source)
        };
        if !takes(source) {
            return Err(format!(
                "{}, which publishes, is of class {}, for which the bundle is not signed",
                of.names[source], classes[source]
            ));
        }
        if class.is_some_and(|class| !(0..kinds.len()).any(|id| takes(id) && classes[id] == class)) {
            return Err(nobody_is_meant(
                (0..kinds.len())
                    .filter(|id| kinds[*id].is_ours())
                    .map(|id| (of.world.ledger.number(id).to_string(), of.names[id].as_str(), classes[id])),
            ));
        }
        package.store()?;
        let layout = claims.layout().map_err(|error| format!("its manifest: {error}"))?;
        let settings = of.world.settings();
        let loss = f64::from(settings.loss_ppm) / 1e6;
        let air = Air { preset: settings.preset, region: settings.region, loss };
        let ids: Vec<NodeId> = (0..kinds.len()).filter(|id| takes(*id)).collect();
        let index = |id: usize| ids.binary_search(&id).ok();
        let mut graph = Graph(vec![Vec::new(); ids.len()]);
        for (from, to, ppm) in of.world.links_with_reception((LINK * 1e6) as u32) {
            if let (Some(a), Some(b)) = (index(from), index(to)) {
                let heard = f64::from(ppm) / 1e6 * (1.0 - loss);
                graph.0[a].push((b, heard));
                graph.0[b].push((a, heard));
            }
        }
        let cargo = Cargo {
            generations: usize::from(layout.generations()),
            pieces: layout.pieces() as usize,
            piece_size: usize::from(layout.piece_size()),
            manifest: package.claimed.to_packed().len(),
        };
        let begin = index(source).unwrap_or(0);
        Ok(Self { of, graph, begin, edge: kinds[source] == NodeKind::Edge, air, cargo, ids })
    }

    fn place(&self, node: usize) -> Position {
        self.of.positions[self.ids[node]]
    }

    /// One node of each part of what is left, the nearest to the publisher each, and what the mesh costs from there on.
    fn landings(&self, mut reached: Vec<bool>) -> Vec<(usize, Way)> {
        let (mut landings, start) = (Vec::new(), self.place(self.begin));
        let from_start = |node: &usize| self.place(*node).distance_m(&start);
        while let Some(left) = (0..self.ids.len())
            .filter(|node| !reached[*node])
            .min_by(|a, b| from_start(a).total_cmp(&from_start(b)))
        {
            let (part, _, covered) = over_mesh(&self.graph, left, false, &self.air, &self.cargo);
            reached.iter_mut().zip(covered).for_each(|(reached, covered)| *reached |= covered);
            landings.push((left, part));
        }
        landings
    }
}

/// Plans a push through a scenario on the mesh that a seed gives. `progress` is told how many rehearsals are done, and of how many at most.
pub fn plan(
    scenario: &Scenario,
    seed: u64,
    package: &Package,
    order: &PlanOrder,
    mut progress: impl FnMut(usize, usize),
) -> Result<Plan, String> {
    let mesh = Mesh::new(scenario, seed, package, order.class)?;
    let to = order.class.map_or(Target::All, Target::Class);
    let (reckoned, servers, covered) = over_mesh(&mesh.graph, mesh.begin, mesh.edge, &mesh.air, &mesh.cargo);
    let reckoned_h = reckoned.hours;
    let stage = order.rehearse.as_ref().map(|rehearse| {
        let limit_h = (reckoned_h * 10.0).max(order.within_h * 2.0).clamp(48.0, 2000.0);
        let moves = mesh.of.movers().next().is_some();
        Stage { scenario, mesh_seed: seed, moves, package: package.rehearsed(), to, limit_h, rehearse }
    });
    let rehearse = |handed: &[(NodeId, f64)], progress: &mut dyn FnMut(usize, usize)| {
        stage.as_ref().map(|stage| stage.rehearse(handed, progress)).transpose()
    };
    let publisher = mesh.ids[mesh.begin];
    let rehearsed: Option<Rehearsals> = rehearse(&[], &mut progress)?;
    let (over, reached) = match &rehearsed {
        Some(rehearsed) => {
            let reached = mesh.ids.iter().map(|id| *id == publisher || rehearsed.reaches(*id)).collect();
            (rehearsed.way(WayName::Mesh, publisher), reached)
        }
        None => (reckoned, covered),
    };

    let bluetooth = scenario.bluetooth.clone().unwrap_or_default();
    let carrier = Carrier::new(&bluetooth, order.walk_m_s, &mesh.cargo);
    let start = mesh.place(mesh.begin);
    let walk =
        |stops: &[usize]| walk_m(start, &stops.iter().map(|node| mesh.place(*node)).collect::<Vec<_>>());
    let all: Vec<usize> = (0..mesh.ids.len()).filter(|node| *node != mesh.begin).collect();
    let carried = carrier.way(&walk(&all));

    let (stops, parts): (Vec<usize>, Vec<Way>) = mesh.landings(reached).into_iter().unzip();
    let way = walk(&stops);
    let landings: Vec<(usize, f64)> = way
        .iter()
        .enumerate()
        .map(|(before, (stop, metres))| (stops[*stop], carrier.hours(*metres, before + 1)))
        .collect();
    let mut both = over.clone();
    if !landings.is_empty() {
        let handed: Vec<(NodeId, f64)> =
            landings.iter().map(|(node, hours)| (mesh.ids[*node], hours * 60.0)).collect();
        let landed = carrier.way(&way);
        match rehearse(&handed, &mut progress)? {
            Some(rehearsed) => both = rehearsed.way(WayName::Both, publisher),
            None => {
                let slowest_h = parts.iter().fold(0.0_f64, |slowest, part| slowest.max(part.hours));
                parts.iter().for_each(|part| both.add(part));
                both.hours = over.hours.max(landed.hours + slowest_h);
            }
        }
        both.energy_mwh += landed.energy_mwh;
        if let Some(Ranges { energy_mwh, .. }) = &mut both.range {
            energy_mwh.low += landed.energy_mwh;
            energy_mwh.high += landed.energy_mwh;
        }
    }
    both.way = WayName::Both;
    let losses = || servers.iter().flat_map(|server| &server.losses);
    let nodes = mesh.ids.len();
    let mut ways = vec![over, carried, both];
    ways.iter_mut().for_each(|way| way.fits = way.hours <= order.within_h && way.reaches == nodes);
    Ok(Plan {
        nodes,
        bytes: package.content.len(),
        pieces: mesh.cargo.pieces,
        generations: mesh.cargo.generations,
        servers: servers.len(),
        loss: losses().fold(0.0, |sum, loss| sum + loss) / losses().count().max(1) as f64,
        symbol_s: mesh.air.symbol_s(&mesh.cargo),
        share: mesh.air.share(),
        movers: mesh.of.movers().filter(|id| mesh.ids.contains(id)).count(),
        landings: landings
            .into_iter()
            .map(|(node, hours)| (mesh.of.names[mesh.ids[node]].clone(), hours))
            .collect(),
        ways,
    })
}
