//! What an edge node's host does beside its agent: answers jobs by the teacher, sees the demand, and decides when a student
//! is worth its air time.

use anyhow::Result;
use compotastic_bundle::ClassMask;
use compotastic_edge::{
    distil::task::{DistilledTask, TaskConfig},
    pack::{self, Bundle},
    planner::{Decision, Demand, JOBS_MIN, PushCost, decide},
    student::distil_student,
    teacher::{BASE_ENCODER, answer},
};
use compotastic_mesh::{lora::Modem, time::Instant};
use compotastic_model::{BaseEncoder, TASK_HEADER};
use compotastic_node::promises::Outcome;

use super::{
    inputs::Inputs,
    swarm::{EDGE_CLASS, FIELD_CLASS, TASK},
};

/// The teacher asks to be doubted below this probability.
const UNSURE_BELOW: f64 = 0.3;
/// Bytes of a piece.
const PIECE: usize = 176;
/// For how long the demand is expected to last: a mission goes on for a day and a night at least.
const HORIZON_S: f64 = 24.0 * 3600.0;
/// Frame bytes of a result on the air, header included.
const RESULT_FRAME: usize = 36;
/// Frame bytes around a request's text.
const REQUEST_OVERHEAD: usize = 35;

/// What of a bundle crosses the air.
#[derive(Clone, Copy)]
struct Size {
    pieces: u32,
    manifest: usize,
    delegation: usize,
}

/// One job as the edge node saw it.
struct Seen {
    text: String,
    at: Instant,
    hops: u8,
    coded_len: usize,
    from: u32,
}

/// The host of one edge node.
pub struct EdgeHost {
    seen: Vec<Seen>,
    /// Jobs at which the demand is looked at again.
    next_look: usize,
    modem: Modem,
    /// The last decision.
    pub decision: Option<Decision>,
    /// The student, once distilled.
    pub student: Option<(DistilledTask, Bundle)>,
}

impl EdgeHost {
    /// A host that has seen nothing.
    pub fn new(modem: Modem) -> Self {
        Self { seen: Vec::new(), next_look: JOBS_MIN as usize, modem, decision: None, student: None }
    }

    /// Answers a job.
    pub fn answer(
        &mut self,
        inputs: &Inputs,
        now: Instant,
        text: &str,
        from: u32,
        hops: u8,
        coded_len: usize,
    ) -> Option<Outcome> {
        let probabilities = inputs.probabilities(text)?;
        let (class, sure) = answer(&probabilities);
        self.seen.push(Seen { text: text.to_string(), at: now, hops, coded_len, from });
        Some(Outcome {
            class: class as u8,
            confidence: (sure * 15.0).round() as u8,
            model_version: inputs.teacher_version,
            unsure: sure < UNSURE_BELOW,
        })
    }

    /// Looks at the demand from time to time; the bundle to push when it pays.
    pub fn consider(
        &mut self,
        inputs: &Inputs,
        now: Instant,
        signing: &([u8; 32], Vec<u8>),
    ) -> Result<Option<Bundle>> {
        if self.student.is_some() || self.seen.len() < self.next_look {
            return Ok(None);
        }
        self.next_look = (self.seen.len() * 5 / 4).max(JOBS_MIN as usize);
        // Distilling takes seconds: not before a student that kept everything to itself would pay.
        let dims = BaseEncoder::parse(BASE_ENCODER)?.dims();
        let head = TASK_HEADER + inputs.task.classes.len() * (dims + 2);
        let smallest = Size { pieces: head.div_ceil(PIECE) as u32, manifest: 144, delegation: 130 };
        let best_case = decide(&self.demand(inputs, now, 1.0), &self.cost(smallest));
        if !best_case.push {
            self.decision = Some(best_case);
            return Ok(None);
        }
        let student = self.distil(inputs)?;
        let classes = ClassMask(ClassMask::of(FIELD_CLASS).0 | ClassMask::of(EDGE_CLASS).0);
        let bundle = pack::pack(&student.bytes, classes, &pack::signing_key(&signing.0), &signing.1)?;
        let size = Size {
            pieces: bundle.pieces,
            manifest: bundle.manifest.len(),
            delegation: bundle.delegation.len(),
        };
        let decision = decide(&self.demand(inputs, now, student.local_share), &self.cost(size));
        let push = decision.push;
        self.decision = Some(decision);
        if !push {
            return Ok(None);
        }
        self.student = Some((student, bundle.clone()));
        Ok(Some(bundle))
    }

    /// Labelled reports, what is unlabelled, and what was offloaded; never the test split.
    fn distil(&self, inputs: &Inputs) -> Result<DistilledTask> {
        let offloaded: Vec<&str> = self.seen.iter().map(|job| job.text.as_str()).collect();
        let answers = |text: &str| inputs.probabilities(text);
        distil_student(&inputs.task, &offloaded, answers, &TaskConfig::new(TASK, 1))
    }

    fn time_on_air_ms(&self, frame_len: usize) -> f64 {
        self.modem.time_on_air_us(frame_len) as f64 / 1000.0
    }

    fn demand(&self, inputs: &Inputs, now: Instant, local_share: f64) -> Demand {
        let count = self.seen.len().max(1) as f64;
        let mut job_ms = 0.0;
        let mut report_ms = 0.0;
        for job in &self.seen {
            let hops = f64::from(job.hops) + 1.0;
            let request_ms = self.time_on_air_ms(REQUEST_OVERHEAD + job.coded_len);
            job_ms += hops * (request_ms + self.time_on_air_ms(RESULT_FRAME));
            // What a node would still have to pass on if it answered by itself.
            let class = inputs.probabilities(&job.text).map_or(0, |probabilities| answer(&probabilities).0);
            let class = &inputs.task.classes[class];
            let passed_on = class.destination == compotastic_edge::task::Destination::Command;
            let frame_ms = match class.form {
                _ if !passed_on => 0.0,
                // A dozen codes share a frame and its receipt.
                compotastic_edge::task::Form::Code => {
                    (self.time_on_air_ms(REQUEST_OVERHEAD + 12 * 6) + self.time_on_air_ms(RESULT_FRAME))
                        / 12.0
                }
                _ => request_ms + self.time_on_air_ms(RESULT_FRAME),
            };
            report_ms += hops * frame_ms;
        }
        let first = self.seen.first().map_or(now, |job| job.at);
        Demand {
            jobs: self.seen.len() as u32,
            over_s: now.saturating_duration_since(first).as_micros() as f64 / 1e6,
            job_airtime_ms: job_ms / count,
            report_airtime_ms: report_ms / count,
            local_share,
            horizon_s: HORIZON_S,
        }
    }

    fn cost(&self, size: Size) -> PushCost {
        let mut requesters: Vec<u32> = self.seen.iter().map(|job| job.from).collect();
        requesters.sort_unstable();
        requesters.dedup();
        let farthest = self.seen.iter().map(|job| u32::from(job.hops) + 1).max().unwrap_or(1);
        let receivers = requesters.len() as u32;
        PushCost {
            symbols: size.pieces + size.pieces / 8 + 1,
            symbol_ms: self.time_on_air_ms(16 + 6 + 189),
            // One sender a hop, and never more than there are nodes.
            servers: farthest.min(receivers + 1),
            records_ms: f64::from(receivers) / 2.0
                * (self.time_on_air_ms(30 + size.manifest) + self.time_on_air_ms(30 + size.delegation)),
            request_ms: self.time_on_air_ms(38),
            receivers,
        }
    }
}
