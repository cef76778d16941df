//! Checkers that stand apart from the code that they judge: they see what went in and what came out, the bytes in flash, and the
//! air, and hold DESIGN's promises and liveness against that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use sha2::{Digest, Sha256};

use crate::ledger::Ledger;

/// A job that is settled is forgotten after this time, so that the books of a long run stay small. Whatever is said of it later
/// is said of a job that nobody submitted.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Of the packets that a hosted node has sent, one in so many may come past a gate, since its radio kept it too long.
const LATE_ONE_IN: u64 = 100;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the checker.
    pub checker: &'static str,
    /// When, s.
    pub at_s: u64,
    /// What, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} s: {}", self.checker, self.at_s, self.what)
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered { by: NodeNum, class: u8 },
    Failed,
}

/// A job that was submitted.
#[derive(Debug)]
struct Job {
    submitted: Instant,
    class: u8,
    ends: Vec<End>,
    /// Its answer goes on to the command post, and so many times it was said what came of that.
    report: Option<u32>,
    /// The node that had it stopped: nobody is left to be told.
    void: bool,
}

impl Job {
    /// Nothing more is to be said of it.
    fn is_settled(&self) -> bool {
        self.void || !self.ends.is_empty() && self.report != Some(0)
    }

    /// Whether it counts as answered, as failed, and as gone with its node.
    fn counts(&self) -> (u64, u64, u64) {
        let end = self.ends.first();
        (
            u64::from(matches!(end, Some(End::Answered { .. }))),
            u64::from(end == Some(&End::Failed)),
            u64::from(self.void),
        )
    }
}

fn plus(a: (u64, u64, u64), b: (u64, u64, u64)) -> (u64, u64, u64) {
    (a.0 + b.0, a.1 + b.1, a.2 + b.2)
}

/// Job by node, start of the node, and name.
pub(super) type JobKey = (usize, u32, u32);

/// Books of what was seen from outside.
#[derive(Debug, Default)]
pub(super) struct Books {
    jobs: BTreeMap<JobKey, Job>,
    /// Counts of jobs that are forgotten.
    forgotten: (u64, u64, u64),
    /// The command post, which is node 0.
    pub(super) post: Option<NodeNum>,
    /// Who executes: edge nodes, and nodes that ever had a model.
    executors: BTreeSet<NodeNum>,
    /// Liars: what they answer is their own affair.
    liars: BTreeSet<NodeNum>,
    /// SHA-256 of the content of each version that the operator's edge node signed.
    signed: BTreeMap<u16, [u8; 32]>,
    newest: Option<u16>,
    /// Version and content that each node has in use.
    installed: BTreeMap<usize, (u16, Vec<u8>)>,
    pub(super) violations: Vec<Violation>,
}

impl Books {
    pub(super) fn violate(&mut self, checker: &'static str, now: Instant, what: String) {
        // One of a kind says it all.
        if self.violations.len() < 20 {
            self.violations.push(Violation { checker, at_s: now.as_micros() / 1_000_000, what });
        }
    }

    pub(super) fn executes(&mut self, num: NodeNum) {
        self.executors.insert(num);
    }

    pub(super) fn lies(&mut self, num: NodeNum) {
        self.liars.insert(num);
    }

    /// The operator's edge node has signed this version; it may be installed where there is none newer.
    pub(super) fn sign(&mut self, version: u16, content: &[u8]) {
        self.signed.insert(version, Sha256::digest(content).into());
    }

    /// And now it is to be everywhere.
    pub(super) fn publish(&mut self, version: u16, content: &[u8]) {
        self.sign(version, content);
        self.newest = self.newest.max(Some(version));
    }

    pub(super) fn submit(&mut self, now: Instant, key: JobKey, class: u8) {
        let forgotten = &mut self.forgotten;
        self.jobs.retain(|_, job| {
            let keep = !job.is_settled() || now.saturating_duration_since(job.submitted) < REMEMBERED;
            if !keep {
                *forgotten = plus(*forgotten, job.counts());
            }
            keep
        });
        let job = Job { submitted: now, class, ends: Vec::new(), report: None, void: false };
        if self.jobs.insert(key, job).is_some() {
            self.violate("job", now, format!("node {} gave the name {} twice", key.0, key.2));
        }
    }

    /// Promise 4: once, and by somebody who was there to answer.
    pub(super) fn end(&mut self, now: Instant, key: JobKey, end: End) {
        let Some(job) = self.jobs.get_mut(&key) else {
            self.violate("job", now, format!("node {} ended job {}, which nobody submitted", key.0, key.2));
            return;
        };
        job.ends.push(end);
        if let End::Answered { by, .. } = end
            && Some(by) != self.post
            && key.0 != 0
        {
            job.report = Some(0);
        }
        let (ends, right) = (job.ends.len(), job.class);
        if ends > 1 {
            self.violate("job", now, format!("job {} of node {} ended {ends} times", key.2, key.0));
        }
        if let End::Answered { by, class } = end
            && !self.liars.contains(&by)
        {
            if !self.executors.contains(&by) {
                self.violate(
                    "job",
                    now,
                    format!("job {} of node {} was answered by {by:?}, who has no model", key.2, key.0),
                );
            } else if class != right {
                self.violate(
                    "job",
                    now,
                    format!("job {} of node {}: class {class}, {right} is right", key.2, key.0),
                );
            }
        }
    }

    /// Promise 4 for what an answer set in motion: it is said once whether the report came to the command post.
    pub(super) fn end_report(&mut self, now: Instant, key: JobKey) {
        let report = self.jobs.get_mut(&key).and_then(|job| job.report.as_mut());
        let said = report.map_or(2, |times| {
            *times += 1;
            *times
        });
        if said > 1 {
            self.violate(
                "report",
                now,
                format!("job {} of node {}: news of a report that had none", key.2, key.0),
            );
        }
    }

    /// The node stopped: its open jobs and reports are gone with it.
    pub(super) fn stop(&mut self, node: usize) {
        for (_, job) in self.jobs.iter_mut().filter(|((of, ..), _)| *of == node) {
            job.void |= job.ends.is_empty() || job.report == Some(0);
        }
    }

    /// Promise 2: what a node has in use was published, and is no older than what it had.
    pub(super) fn look_at_model(&mut self, now: Instant, node: usize, model: Option<(u16, &[u8])>) {
        let before = self.installed.get(&node);
        let Some((version, content)) = model else {
            if let Some(had) = before.map(|(had, _)| *had) {
                self.violate("boot", now, format!("node {node} has no model any more; it had version {had}"));
                self.installed.remove(&node);
            }
            return;
        };
        if before.is_some_and(|(had, bytes)| *had == version && bytes == content) {
            return;
        }
        let had = before.map(|(had, _)| *had);
        let digest: [u8; 32] = Sha256::digest(content).into();
        if self.signed.get(&version) != Some(&digest) {
            self.violate(
                "install",
                now,
                format!("node {node} uses version {version}, whose content nobody signed"),
            );
        }
        if let Some(had) = had
            && version < had
        {
            self.violate("install", now, format!("node {node} went back from version {had} to {version}"));
        }
        self.installed.insert(node, (version, content.to_vec()));
    }

    /// Whether a node has yet to install the newest version that was published.
    pub(super) fn is_behind(&self, node: usize) -> bool {
        self.newest.is_some() && self.installed.get(&node).map(|(version, _)| *version) < self.newest
    }

    /// Promise 3.
    pub(super) fn does_not_boot(&mut self, now: Instant, node: usize) {
        self.violate(
            "boot",
            now,
            format!("node {node} does not start from what power loss has left in its flash"),
        );
    }

    /// Promise 4, when all deadlines have passed: each job has ended.
    pub(super) fn check_jobs(&mut self, now: Instant) {
        let open: Vec<(JobKey, Instant)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.ends.is_empty() && !job.void)
            .map(|(key, job)| (*key, job.submitted))
            .collect();
        for (key, submitted) in open {
            let at_s = submitted.as_micros() / 1_000_000;
            self.violate(
                "job",
                now,
                format!("job {} of node {}, submitted at {at_s} s, never ended", key.2, key.0),
            );
        }
    }

    /// And of each report it is known what came of it.
    pub(super) fn check_reports(&mut self, now: Instant) {
        let silent = |(_, job): &(&JobKey, &Job)| job.report == Some(0) && !job.void;
        let open: Vec<JobKey> = self.jobs.iter().filter(silent).map(|(key, _)| *key).collect();
        for key in open {
            self.violate(
                "report",
                now,
                format!("node {} never said what came of the report of job {}", key.0, key.2),
            );
        }
    }

    /// Liveness: the newest version is everywhere.
    pub(super) fn check_objects(&mut self, now: Instant, nodes: &[usize]) {
        let Some(newest) = self.newest else { return };
        for node in nodes {
            let has = self.installed.get(node).map(|(version, _)| *version);
            if has != Some(newest) {
                self.violate(
                    "object",
                    now,
                    format!("node {node} has version {has:?}, {newest} is the newest"),
                );
            }
        }
    }

    /// Promise 6, from the books that count what is on the air. A stock radio sends when it likes what a hosted node gave it while
    /// the gate was open, so for those one packet, and one of a hundred of theirs, may be late.
    pub(super) fn check_air(
        &mut self,
        now: Instant,
        node: usize,
        hosted: bool,
        ledger: &Ledger,
        duty_permille: u16,
    ) {
        let sums = ledger.node(node);
        let late = if hosted { 1 + sums.originated.transmissions / LATE_ONE_IN } else { 0 };
        if sums.over_gate > late {
            let first = ledger.first_over_gate().unwrap_or_default().to_string();
            self.violate(
                "air",
                now,
                format!(
                    "node {node} sent {} packets above a gate; the first of all: {first}",
                    sums.over_gate
                ),
            );
        }
        let limit_us = u64::from(duty_permille) * 3_600_000;
        if duty_permille < 1000 && sums.max_hour_us > limit_us {
            self.violate(
                "air",
                now,
                format!(
                    "node {node} was on the air for {} us in an hour, {limit_us} us are allowed",
                    sums.max_hour_us
                ),
            );
        }
    }

    /// Jobs that ended with an answer, with a reason, and with their node.
    pub(super) fn job_counts(&self) -> (u64, u64, u64) {
        self.jobs.values().map(Job::counts).fold(self.forgotten, plus)
    }
}
