//! Sweeps over the settings of the peers: the least air time over a sparse and a dense field of 50 nodes, 4.5 KB, loss 0 and 0.3,
//! wins. Runs that fail count with what they sent, divided by the share of nodes that completed.

use anyhow::Result;

use super::{
    SpreadArgs, blocks, flooded,
    harness::{self, Peer, Spec},
    plan::Place,
    rows::{Method, geometric_mean},
    topology::Class,
    unicast,
};
use crate::threads::parallel;

const NODES: usize = 50;
const BYTES: usize = 4500;
/// Not among the fields of the benchmark, which count from 1. In both a flood reaches all nodes.
const SEED: u64 = 1003;
const LOSSES: [f64; 2] = [0.0, 0.3];

fn method(peer: &Peer) -> Method {
    match peer {
        Peer::Unicast(_) => Method::Unicast,
        Peer::Carousel(_) => Method::FloodedCarousel,
        Peer::Fountain(_) => Method::FloodedFountain,
        Peer::PlainFountain(_) => Method::PlainFountain,
        Peer::Blocks(_) => Method::BlockPull,
    }
}

fn settings() -> Vec<Peer> {
    let mut settings = Vec::new();
    for chunk in [120, 176, 228] {
        settings.extend([1, 2].map(|window| Peer::Unicast(unicast::Tuning { chunk, window })));
        settings.extend(
            [0.0, 2.0, 4.0, 8.0].map(|gap_floods| Peer::Carousel(flooded::Tuning { chunk, gap_floods })),
        );
        settings.extend(
            [0.0, 2.0, 4.0, 8.0].map(|gap_floods| Peer::Fountain(flooded::Tuning { chunk, gap_floods })),
        );
        settings.extend(
            [0.0, 2.0, 4.0, 8.0].map(|gap_floods| Peer::PlainFountain(flooded::Tuning { chunk, gap_floods })),
        );
    }
    for advert_s in [60, 240, 960] {
        settings.extend([1, 2, 100].map(|redundancy| Peer::Blocks(blocks::Tuning { advert_s, redundancy })));
    }
    settings
}

/// Runs the sweeps and prints them.
pub fn run(args: &SpreadArgs) -> Result<()> {
    let places = [Place::draw(Class::Sparse, NODES, SEED)?, Place::draw(Class::Dense, NODES, SEED)?];
    let mut settings = settings();
    settings.retain(|setting| args.methods.contains(&method(setting)));
    settings.sort_by_key(method);
    println!(
        "Air time, seconds: sparse and dense field of {NODES}, {BYTES} bytes, losses {LOSSES:?}; * = failed\n"
    );
    parallel(args.threads, settings.len(), None, |index| {
        let mut costs = Vec::new();
        for place in &places {
            for loss in LOSSES {
                let reference = harness::reference(BYTES, place.cds, loss);
                let spec = Spec { topology: &place.topology, loss, bytes: BYTES, reference, seed: SEED };
                let outcome = harness::run_peer(&spec, &settings[index]);
                costs.push((outcome.airtime_s * NODES as f64 / outcome.completed_nodes as f64, outcome));
            }
        }
        let mean = geometric_mean(costs.iter().map(|(cost, _)| *cost)).unwrap_or(f64::NAN);
        let each: Vec<String> = costs
            .iter()
            .map(|(_, outcome)| {
                let failed = if outcome.completed_nodes < NODES { "*" } else { "" };
                format!("{:.0}{failed}", outcome.airtime_s)
            })
            .collect();
        println!("{mean:>9.0}  {:?}: {}", settings[index], each.join(" "));
    })?;
    Ok(())
}
