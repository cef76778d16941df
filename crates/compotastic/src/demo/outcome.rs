//! What a run of the demo came to: the stable JSON object, and what the summary and the page show besides.

use serde::Serialize;

/// The object that `demo --json` prints. Its schema is `schema/demo.schema.json`; fields are added, never renamed.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed that repeats the run.
    pub seed: u64,
    /// LoRa preset.
    pub preset: String,
    /// Region.
    pub region: String,
    /// Who is there.
    pub nodes: Nodes,
    /// Simulated time, seconds.
    pub simulated_s: f64,
    /// Time that the run took here, seconds.
    pub wall_s: f64,
    /// SHA-256 of the event log, hex.
    pub event_log_sha256: String,
    /// SHA-256 of the recorded inputs (model parts, rounded teacher outputs, reports), hex.
    pub inputs_sha256: String,
    /// Jobs.
    pub jobs: Jobs,
    /// Models and how good they are on the test split.
    pub model: Model,
    /// The push of the student.
    pub update: Update,
    /// Air time of all transmitters.
    pub airtime: Airtime,
    /// Reports that went on to the command post.
    pub reports: Reports,
    /// Share answered locally against accuracy, for each threshold of "unsure".
    pub trade_off: Vec<TradeOff>,
    /// Field nodes per number of hops from the edge node; index 0 is one hop.
    pub hop_histogram: Vec<u32>,
    /// Things that a reader has to know to judge the figures (skipped lines, edge nodes that left).
    pub notes: Vec<String>,
}

/// Who is there.
#[derive(Clone, Debug, Serialize)]
pub struct Nodes {
    /// Field nodes.
    pub field: usize,
    /// Edge nodes.
    pub edge: usize,
    /// Hops of the farthest field node from the first edge node.
    pub max_hops: u32,
}

/// Jobs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Jobs {
    /// Reports that came in at field nodes.
    pub submitted: u32,
    /// Answered by the node at which they came in.
    pub answered_local: u32,
    /// Answered by another node.
    pub answered_remote: u32,
    /// Ended with a reason instead of an answer.
    pub failed: u32,
    /// Still open when the simulation ended (their deadline had not passed).
    pub open_at_end: u32,
    /// Median time from report to answer, seconds.
    pub latency_p50_s: f64,
    /// 95th percentile of it.
    pub latency_p95_s: f64,
    /// Reports that came in at nodes which had a student by then.
    pub submitted_after: u32,
    /// Share of those answered locally.
    pub local_share_after: f64,
    /// Answered locally although unsure, since nobody better answered in time.
    pub unsure: u32,
    /// Answered by a neighbour's student.
    pub answered_by_neighbour: u32,
    /// Share of answered jobs with a known label whose answer was right.
    pub accuracy: Option<f64>,
    /// Why jobs failed: reason and count.
    pub failures: Vec<(String, u32)>,
}

/// Models.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Model {
    /// Name of the teacher.
    pub teacher: String,
    /// Teacher on the test split, 0..1.
    pub teacher_accuracy: f64,
    /// Student alone on the test split.
    pub student_accuracy: f64,
    /// Student plus offloading of the unsure.
    pub system_accuracy: f64,
    /// Share of urgent test reports that the teacher puts into an urgent class.
    pub teacher_urgent_recall: f64,
    /// The same for the system.
    pub system_urgent_recall: f64,
    /// Share of the test split that the student answers itself.
    pub system_local_share: f64,
    /// Bytes of the task part.
    pub student_bytes: usize,
    /// Classes of the task.
    pub classes: Vec<String>,
    /// Reports in the test split.
    pub test_reports: usize,
}

/// The push of the student.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Update {
    /// Signed manifest and transported content.
    pub bundle_bytes: usize,
    /// Bytes of all frames that carried it: manifests, symbols and the requests for them.
    pub on_air_bytes: u64,
    /// Transmissions of those frames.
    pub transmissions: u64,
    /// Their air time, seconds.
    pub airtime_s: f64,
    /// Field nodes that use the pushed model.
    pub nodes_updated: usize,
    /// Field nodes.
    pub nodes_total: usize,
    /// From the decision to push to the last activation, seconds; `null` if a node is without.
    pub complete_after_s: Option<f64>,
    /// When the edge node decided, simulated seconds; `null` if it never did.
    pub decided_at_s: Option<f64>,
    /// Why it decided as it did.
    pub decision: String,
    /// Jobs after which the push has paid for itself.
    pub break_even_jobs: Option<f64>,
    /// Seconds after the decision at which node k+1 switched.
    pub activations_s: Vec<f64>,
}

/// Air time, all transmitters summed: relays, beacons, manifests, requests, acks and retries included.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Airtime {
    /// Everything.
    pub total_s: f64,
    /// Job frames (requests, results, offers, awards, reports and their receipts) per job before the push.
    pub per_job_before_ms: f64,
    /// The same after the last node switched.
    pub per_job_after_ms: f64,
    /// Transmissions that their originator should have held back. A checker outside the nodes counts.
    pub originations_over_gate: u64,
    /// Highest channel utilisation (60 s) at any node.
    pub max_channel_utilization_pct: f64,
    /// Highest own air time in any 3600 s window.
    pub max_duty_cycle_pct: f64,
    /// What the region allows.
    pub duty_cycle_limit_pct: f64,
    /// Seconds by kind of traffic.
    pub by_kind_s: Vec<(String, f64)>,
}

/// Reports that went on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reports {
    /// Handed to the outbox of a node.
    pub delivered: u32,
    /// Given up.
    pub lost: u32,
}

/// One point of the trade-off curve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TradeOff {
    /// Share answered locally.
    pub local_share: f64,
    /// Accuracy of the system at that share.
    pub accuracy: f64,
}
