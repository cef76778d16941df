//! One run of one method on one topology: the world, what is counted, and when it ends.
//!
//! - The mesh runs for [`WARM_UP`] before the object is there, so that routers know their neighbours and beacons have settled. What is sent
//!   before is not counted.
//! - Counted are all frames of all nodes from then on, acknowledgements and relays included, except the stock modules'
//!   NodeInfo, positions and telemetry, which any mesh has; they are on the air in all methods alike.
//! - A run ends with the last node's completion. It fails when nobody who can be reached is left and not all are complete (floods
//!   and direct messages end after eight hops), after [`limit_s`] of simulated time, or after [`TRANSMISSIONS_MAX`]
//!   times the reference's transmissions.

use compotastic_mesh::{
    rng::Rng,
    router::Role,
    time::{Duration, Instant},
};
use compotastic_sim::{
    Host, NodeId, World, WorldConfig,
    ledger::{Ledger, Sum, Traffic},
};
use serde::Serialize;

use super::{
    blocks::{self, Blocks},
    flooded::{self, Flooded},
    peer::{App, PeerNode, channels, number},
    store::Object,
    topology::{PRESET, REGION, Topology, radio},
    unicast::{self, Unicast},
};

/// The mesh runs for so long before the object is published.
pub const WARM_UP: Duration = Duration::from_secs(1800);
/// Transmissions, in references, after which a run is given up.
pub const TRANSMISSIONS_MAX: f64 = 600.0;
/// Hops that a flooded packet travels at most: its origin and seven relays send it.
const FLOOD_HOPS: usize = 8;
/// Bytes of payload that the reference counts per transmission.
pub const REFERENCE_BYTES: usize = 200;
/// Air time of a frame with so much payload, about, seconds; for the limit only.
const FRAME_S: f64 = 2.0;
/// Share of the air on which the limit rests, and how often the reference fits into it.
const LIMIT_SHARE: f64 = 0.05;
const LIMIT_REFERENCES: f64 = 100.0;

/// One run.
#[derive(Clone, Debug)]
pub struct Spec<'t> {
    /// Where the nodes stand.
    pub topology: &'t Topology,
    /// Loss per transmission and receiver, 0..1.
    pub loss: f64,
    /// Bytes of the object.
    pub bytes: usize,
    /// Transmissions of the reference.
    pub reference: f64,
    /// Seed of all luck.
    pub seed: u64,
}

/// R = ceil(bytes / 200) * |CDS| / (1 - p).
pub fn reference(bytes: usize, cds: usize, loss: f64) -> f64 {
    bytes.div_ceil(REFERENCE_BYTES) as f64 * cds as f64 / (1.0 - loss)
}

/// Simulated time after which a run has failed, seconds: the reference's frames, one after the other, a hundred times over, in
/// 5 % of the air. For 50 nodes that is months; a run costs what is sent in it, not its time.
pub fn limit_s(reference: f64) -> f64 {
    reference * FRAME_S / LIMIT_SHARE * LIMIT_REFERENCES
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Frames of all nodes.
    pub transmissions: u64,
    /// Their air time, seconds.
    pub airtime_s: f64,
    /// From publication to the last completion, or to the end of a run that failed, seconds.
    pub complete_s: f64,
    /// Nodes that hold the object, its hash verified over flash; the source too.
    pub completed_nodes: usize,
}

/// Methods and how they are tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Peer {
    /// Direct messages with Meshtastic's retransmission.
    Unicast(unicast::Tuning),
    /// All chunks flooded in turn.
    Carousel(flooded::Tuning),
    /// Coded symbols flooded.
    Fountain(flooded::Tuning),
    /// The same where nobody is spared a repetition by hearing another's.
    PlainFountain(flooded::Tuning),
    /// Blocks pulled hop by hop.
    Blocks(blocks::Tuning),
}

/// Runs a peer.
pub fn run_peer(spec: &Spec<'_>, peer: &Peer) -> Outcome {
    let nodes = spec.topology.len();
    let object_of = |chunk| Object::draw(spec.bytes, chunk, spec.seed);
    let flood = Duration::from_micros(PRESET.modem(REGION.wide()).flood_us());
    match peer {
        Peer::Unicast(tuning) => {
            let object = object_of(tuning.chunk);
            run_apps(spec, Role::Client, true, |node, _| Unicast::new(node, nodes, &object, tuning))
        }
        Peer::Carousel(tuning) | Peer::Fountain(tuning) | Peer::PlainFountain(tuning) => {
            let object = object_of(tuning.chunk);
            let fountain = !matches!(peer, Peer::Carousel(_));
            // Of the roles that always repeat, the one with the clients' spread of delays.
            let plain = matches!(peer, Peer::PlainFountain(_));
            let role = if plain { Role::RouterLate } else { Role::Client };
            run_apps(spec, role, true, |node, _| Flooded::new(node, &object, fountain, tuning, flood))
        }
        Peer::Blocks(tuning) => {
            let object = object_of(blocks::BLOCK);
            run_apps(spec, Role::Client, false, |node, seed| Blocks::new(node, &object, tuning, seed))
        }
    }
}

fn run_apps<A: App>(
    spec: &Spec<'_>,
    role: Role,
    floods: bool,
    mut app: impl FnMut(usize, u64) -> A,
) -> Outcome {
    let begin_at = Instant::ZERO + WARM_UP;
    let seeds = Rng::from_seed(spec.seed).child(0x7065_6572);
    let mut world = world(spec);
    for (node, position) in spec.topology.positions.iter().enumerate() {
        let seed = seeds.child(node as u64).next_u64();
        world.add(PeerNode::new(node, role, app(node, seed), seed, begin_at), *position);
    }
    world.run_until(begin_at, |_, _| {});
    // What can be told of the object from the outside: it is there now.
    finish(spec, &mut world, floods, |world, node| world.host(node).app.is_complete())
}

/// An empty world for a run.
pub fn world<H: Host>(spec: &Spec<'_>) -> World<H> {
    let numbers = (0..spec.topology.len()).map(number).collect();
    // Nobody looks at the bins: one a day keeps them few.
    let ledger = Ledger::new(channels(), numbers, Duration::from_secs(86_400));
    let loss_ppm = (spec.loss * 1e6).round() as u32;
    let config = WorldConfig { preset: PRESET, region: REGION, loss_ppm, seed: spec.seed };
    World::new(config, radio(), ledger)
}

/// What is counted of the books so far.
fn counted(ledger: &Ledger) -> Sum {
    let (all, stock) = (ledger.total(), ledger.sum(Traffic::Stock));
    Sum {
        transmissions: all.transmissions - stock.transmissions,
        bytes: all.bytes - stock.bytes,
        airtime_us: all.airtime_us - stock.airtime_us,
    }
}

/// Runs a world from the publication of the object, which was just now, to its end; `floods` says that what is farther than a flood
/// reaches is out of reach.
pub fn finish<H: Host>(
    spec: &Spec<'_>,
    world: &mut World<H>,
    floods: bool,
    mut is_complete: impl FnMut(&mut World<H>, NodeId) -> bool,
) -> Outcome {
    let nodes = spec.topology.len();
    let begin = world.now();
    let before = counted(&world.ledger);
    let reachable = spec.topology.hops().iter().filter(|hops| !floods || **hops <= FLOOD_HOPS).count();
    let until = begin + Duration::from_micros((limit_s(spec.reference) * 1e6) as u64);
    let transmissions_max = (spec.reference * TRANSMISSIONS_MAX) as u64;
    let mut complete = vec![false; nodes];
    let mut completed = 0;
    let mut fresh: Vec<NodeId> = (0..nodes).collect();
    loop {
        for node in fresh {
            if !complete[node] && is_complete(world, node) {
                complete[node] = true;
                completed += 1;
            }
        }
        let sent = counted(&world.ledger).transmissions - before.transmissions;
        if completed >= reachable || sent >= transmissions_max {
            break;
        }
        let Some(touched) = world.step(until) else { break };
        fresh = touched;
    }
    let after = counted(&world.ledger);
    Outcome {
        transmissions: after.transmissions - before.transmissions,
        airtime_s: (after.airtime_us - before.airtime_us) as f64 / 1e6,
        complete_s: world.now().saturating_duration_since(begin).as_micros() as f64 / 1e6,
        completed_nodes: completed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::{cds, topology::Class};

    fn spec(topology: &Topology, loss: f64) -> Spec<'_> {
        let reference = reference(3000, cds::exact(&topology.graph).unwrap(), loss);
        Spec { topology, loss, bytes: 3000, reference, seed: 7 }
    }

    fn peers() -> [Peer; 5] {
        [
            Peer::Unicast(unicast::Tuning::default()),
            Peer::Carousel(flooded::Tuning::default()),
            Peer::Fountain(flooded::Tuning::default()),
            Peer::PlainFountain(flooded::Tuning::default()),
            Peer::Blocks(blocks::Tuning::default()),
        ]
    }

    #[test]
    fn the_reference() {
        assert_eq!(reference(4500, 3, 0.0), 69.0);
        assert!((reference(16_384, 10, 0.1) - 82.0 * 10.0 / 0.9).abs() < 1e-9);
    }

    #[test]
    fn each_peer_brings_the_object_to_all_nodes_of_a_small_grid() {
        let grid = Topology::draw(Class::Grid, 10, 0).unwrap();
        for peer in peers() {
            for loss in [0.0, 0.1] {
                let spec = spec(&grid, loss);
                let outcome = run_peer(&spec, &peer);
                assert_eq!(outcome.completed_nodes, 10, "{peer:?} {outcome:?}");
                // Each chunk has to be sent by each node of the set, lossless or not.
                assert!(outcome.transmissions as f64 > spec.reference / 2.0, "{peer:?} {outcome:?}");
                assert!(outcome.airtime_s < outcome.complete_s, "{peer:?} {outcome:?}");
                assert_eq!(run_peer(&spec, &peer), outcome, "the same again");
            }
        }
    }

    #[test]
    fn floods_end_after_eight_hops_and_the_run_with_them() {
        let line = Topology::draw(Class::Line, 20, 0).unwrap();
        for peer in peers() {
            let outcome = run_peer(&spec(&line, 0.0), &peer);
            let reached = if matches!(peer, Peer::Blocks(_)) { 20 } else { 9 };
            assert_eq!(outcome.completed_nodes, reached, "{peer:?} {outcome:?}");
        }
    }
}
