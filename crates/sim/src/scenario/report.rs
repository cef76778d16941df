//! What a scenario came to.

use std::collections::BTreeSet;

use compotastic_mesh::time::{Duration, Instant};
use compotastic_model::BaseEncoder;
use serde::Serialize;

use super::{EnergyReport, Scenario, SwarmReport, build::build};
use crate::{ledger::Traffic, messenger::Note};

/// One run of a scenario. Shares are fractions 0..1.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Pairs of nodes that hear each other more often than not.
    pub links: usize,
    /// Simulated time, s.
    pub simulated_s: f64,
    /// Messages that were due.
    pub messages: usize,
    /// Receptions that were wanted: one per message to a node, all other nodes per message to everybody.
    pub wanted: u64,
    /// Of those, how many came about.
    pub delivered: u64,
    /// The share; absent without messages.
    pub delivery: Option<f64>,
    /// Messages with acknowledgement that were acknowledged, and that failed.
    pub acked: u64,
    /// Failed.
    pub failed: u64,
    /// Median and 95th percentile of the time from sending to reception, s.
    pub latency_p50_s: Option<f64>,
    /// 95th percentile.
    pub latency_p95_s: Option<f64>,
    /// Receptions by number of hops, from one hop on.
    pub hops: Vec<u64>,
    /// Delivery by distance: upper end of the bin in m, wanted, delivered.
    pub by_distance: Vec<(f64, u64, u64)>,
    /// Transmissions.
    pub transmissions: u64,
    /// Air time of all transmitters, s.
    pub airtime_s: f64,
    /// Of that, what went to people's messages, with their acknowledgements.
    pub message_airtime_s: f64,
    /// Highest own and heard air time in any minute, percent.
    pub max_channel_utilization_pct: f64,
    /// Highest own air time in any hour, percent.
    pub max_duty_cycle_pct: f64,
    /// Own packets sent above their gate.
    pub originations_over_gate: u64,
    /// Jobs, reports and bundles of nodes of ours, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swarm: Option<SwarmReport>,
    /// Batteries, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyReport>,
    /// SHA-256 of the event log.
    pub event_log_sha256: String,
}

/// A message that left shortly before the end is still awaited for this time.
const GRACE: Duration = Duration::from_secs(120);
/// Bins of delivery by distance.
const BINS: usize = 10;

fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

/// Runs a scenario under a seed. `progress` is told the share that is done.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    base: Option<BaseEncoder<'static>>,
    mut progress: impl FnMut(f64),
) -> Result<Report, String> {
    let mut built = build(scenario, seed, base)?;
    let end = built.end + GRACE;
    for step in 1..=100u64 {
        let until = Instant::from_micros(end.as_micros() / 100 * step);
        built.stage.run_until(&mut built.world, if step == 100 { end } else { until });
        progress(step as f64 / 100.0);
    }
    let nodes = built.positions.len();
    let distance_m = |a: usize, b: usize| built.positions[a].distance_m(&built.positions[b]);
    let farthest_m = (1..nodes).map(|id| distance_m(0, id)).fold(1.0, f64::max) * 2.0;
    let bin_of = |metres: f64| ((metres / farthest_m * BINS as f64) as usize).min(BINS - 1);
    let mut by_distance: Vec<(f64, u64, u64)> =
        (1..=BINS).map(|bin| (farthest_m * bin as f64 / BINS as f64, 0, 0)).collect();
    let mut wanted = 0;
    for message in &built.messages {
        let wanted_by = |to: &usize| *to != message.from && message.to.is_none_or(|only| only == *to);
        for to in built.stock.iter().copied().filter(wanted_by) {
            wanted += 1;
            by_distance[bin_of(distance_m(message.from, to))].1 += 1;
        }
    }
    let mut delivered = 0;
    let (mut acked, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let mut latencies = Vec::new();
    let mut hops_seen: Vec<u64> = Vec::new();
    for id in 0..nodes {
        for note in built.world.host(id).notes() {
            match *note {
                Note::Received { message, at, hops } => {
                    let message = &built.messages[message as usize];
                    delivered += 1;
                    by_distance[bin_of(distance_m(message.from, id))].2 += 1;
                    latencies.push(at.saturating_duration_since(message.at).as_micros() as f64 / 1e6);
                    let index = usize::from(hops).max(1) - 1;
                    if hops_seen.len() <= index {
                        hops_seen.resize(index + 1, 0);
                    }
                    hops_seen[index] += 1;
                }
                Note::Acked(message) => {
                    acked.insert(message);
                }
                Note::Failed(message) => {
                    failed.insert(message);
                }
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    by_distance.retain(|(_, wanted, _)| *wanted > 0);
    let links = built.world.links(500_000).len();
    let event_log_sha256 = built.world.log.finish().map_err(|error| error.to_string())?;
    let ledger = &built.world.ledger;
    let total = ledger.total();
    let message_sum = ledger.sum(Traffic::Text).plus(ledger.sum(Traffic::Ack));
    Ok(Report {
        scenario: scenario.name.clone(),
        seed,
        nodes,
        links,
        simulated_s: built.end.as_micros() as f64 / 1e6,
        messages: built.messages.len(),
        wanted,
        delivered,
        delivery: (wanted > 0).then(|| delivered as f64 / wanted as f64),
        acked: acked.len() as u64,
        // An acknowledgement may come after the last repetition was given up.
        failed: failed.difference(&acked).count() as u64,
        latency_p50_s: percentile(&latencies, 0.5),
        latency_p95_s: percentile(&latencies, 0.95),
        hops: hops_seen,
        by_distance,
        transmissions: total.transmissions,
        airtime_s: total.airtime_us as f64 / 1e6,
        message_airtime_s: message_sum.airtime_us as f64 / 1e6,
        max_channel_utilization_pct: ledger.max_channel_utilization_pct(),
        max_duty_cycle_pct: ledger.max_duty_cycle_pct(),
        originations_over_gate: ledger.originations_over_gate(),
        swarm: built.stage.swarm_report(),
        energy: built.stage.energy_report(),
        event_log_sha256,
    })
}
