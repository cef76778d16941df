//! What a scenario came to.

use compotastic_mesh::time::Duration;
use serde::Serialize;

use super::{EnergyReport, SwarmReport};
use crate::{
    ledger::{Ledger, Traffic},
    recording::{Header, JobEnd, Tally},
};

/// What became of jobs.
#[derive(Clone, Debug, Serialize)]
pub struct JobFigures {
    /// Jobs that began.
    pub submitted: usize,
    /// Answered by the node itself.
    pub answered_local: usize,
    /// Answered by another node.
    pub answered_remote: usize,
    /// Ended without an answer.
    pub failed: usize,
    /// Median time from submission to answer, s.
    pub latency_p50_s: Option<f64>,
    /// 95th percentile.
    pub latency_p95_s: Option<f64>,
}

/// How far an object came.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectFigures {
    /// Object tag, hexadecimal.
    pub object: String,
    /// Its version, once a node installed it.
    pub version: Option<u32>,
    /// Nodes that have it.
    pub nodes: usize,
    /// From the first node that had it to the last, s.
    pub spread_s: f64,
}

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
    /// Jobs; absent where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<JobFigures>,
    /// Objects; absent where there were none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectFigures>,
    /// Jobs, reports and bundles of nodes of ours, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swarm: Option<SwarmReport>,
    /// Batteries, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyReport>,
    /// SHA-256 of the event log.
    pub event_log_sha256: String,
}

/// Bins of delivery by distance.
const BINS: usize = 10;

fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// Whether a person at this node reads messages: at stock nodes they do.
fn reads(header: &Header, node: u32) -> bool {
    let role = header.nodes.get(node as usize).map(|node| node.role.as_str());
    !role.is_some_and(|role| ["edge", "field", "hosted"].contains(&role))
}

/// Median and 95th percentile, s.
fn latencies(durations: impl Iterator<Item = Duration>) -> (Option<f64>, Option<f64>) {
    let mut all: Vec<f64> = durations.map(seconds).collect();
    all.sort_by(f64::total_cmp);
    (percentile(&all, 0.5), percentile(&all, 0.95))
}

/// Receptions over equal bins of distance at the time at which each message was due: upper end in metres, wanted,
/// delivered; bins of which nothing was wanted are left out.
fn by_distance(header: &Header, tally: &Tally) -> Vec<(f64, u64, u64)> {
    let starts: Vec<_> = header.nodes.iter().map(|node| node.position()).collect();
    let farthest_m = starts.iter().skip(1).map(|place| starts[0].distance_m(place)).fold(1.0, f64::max) * 2.0;
    let mut bins: Vec<(f64, u64, u64)> =
        (1..=BINS).map(|bin| (farthest_m * bin as f64 / BINS as f64, 0, 0)).collect();
    let bin_of = |from: u32, to: u32, due| {
        let ends = (tally.position_at(header, from, due)?, tally.position_at(header, to, due)?);
        Some(((ends.0.distance_m(&ends.1) / farthest_m * BINS as f64) as usize).min(BINS - 1))
    };
    for message in tally.messages.values() {
        for to in message.wanted(header.nodes.len()).filter(|to| reads(header, *to)) {
            if let Some(bin) = bin_of(message.from, to, message.due) {
                bins[bin].1 += 1;
            }
        }
    }
    for arrival in &tally.arrivals {
        let Some(message) = tally.messages.get(&arrival.message) else { continue };
        if let Some(bin) = bin_of(message.from, arrival.node, message.due) {
            bins[bin].2 += 1;
        }
    }
    bins.retain(|(_, wanted, _)| *wanted > 0);
    bins
}

fn jobs(tally: &Tally) -> Option<JobFigures> {
    let count =
        |wanted| tally.jobs.values().filter(|job| job.end.map(|(_, end)| end) == Some(wanted)).count();
    let (latency_p50_s, latency_p95_s) = latencies(tally.job_latencies());
    (!tally.jobs.is_empty()).then(|| JobFigures {
        submitted: tally.jobs.len(),
        answered_local: count(JobEnd::Itself),
        answered_remote: count(JobEnd::Other),
        failed: count(JobEnd::Failed),
        latency_p50_s,
        latency_p95_s,
    })
}

fn objects(tally: &Tally) -> Vec<ObjectFigures> {
    let figures = tally.objects.iter().map(|(tag, seen)| {
        let (first, last) = (seen.since.values().min(), seen.since.values().max());
        let spread = first.zip(last).map(|(first, last)| last.saturating_duration_since(*first));
        ObjectFigures {
            object: format!("{tag:08x}"),
            version: seen.version,
            nodes: seen.since.len(),
            spread_s: spread.map_or(0.0, seconds),
        }
    });
    figures.collect()
}

impl Report {
    /// The figures of a run, from its books.
    pub(crate) fn of(header: &Header, ledger: &Ledger, tally: &Tally, event_log_sha256: String) -> Self {
        let nodes = header.nodes.len();
        let wanted = tally
            .messages
            .values()
            .map(|message| message.wanted(nodes).filter(|to| reads(header, *to)).count() as u64)
            .sum();
        let mut delivered = 0;
        let mut hops: Vec<u64> = Vec::new();
        let mut delays = Vec::new();
        for arrival in &tally.arrivals {
            let Some(message) = tally.messages.get(&arrival.message) else { continue };
            delivered += 1;
            delays.push(arrival.at.saturating_duration_since(message.due));
            let index = usize::from(arrival.hops).max(1) - 1;
            if hops.len() <= index {
                hops.resize(index + 1, 0);
            }
            hops[index] += 1;
        }
        let (latency_p50_s, latency_p95_s) = latencies(delays.into_iter());
        let total = ledger.total();
        let message_sum = ledger.sum(Traffic::Text).plus(ledger.sum(Traffic::Ack));
        Self {
            scenario: header.title.clone(),
            seed: header.seed,
            nodes,
            links: header.links_at_least(500),
            simulated_s: header.end.as_micros() as f64 / 1e6,
            messages: tally.messages.len(),
            wanted,
            delivered,
            delivery: (wanted > 0).then(|| delivered as f64 / wanted as f64),
            acked: tally.acked.len() as u64,
            // An acknowledgement may come after the last repetition was given up.
            failed: tally.failed.difference(&tally.acked).count() as u64,
            latency_p50_s,
            latency_p95_s,
            hops,
            by_distance: by_distance(header, tally),
            transmissions: total.transmissions,
            airtime_s: total.airtime_us as f64 / 1e6,
            message_airtime_s: message_sum.airtime_us as f64 / 1e6,
            max_channel_utilization_pct: ledger.max_channel_utilization_pct(),
            max_duty_cycle_pct: ledger.max_duty_cycle_pct(),
            originations_over_gate: ledger.originations_over_gate(),
            jobs: jobs(tally),
            objects: objects(tally),
            swarm: None,
            energy: None,
            event_log_sha256,
        }
    }
}
