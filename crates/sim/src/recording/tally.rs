//! What applications told, kept as far as figures and plots need it.

use std::collections::{BTreeMap, BTreeSet};

use compotastic_mesh::time::{Duration, Instant};

use super::{Header, Record, header::position};
use crate::radio::Position;

/// A message that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sender's index.
    pub from: u32,
    /// Destination's index; `None` for everybody.
    pub to: Option<u32>,
    /// When it was due.
    pub due: Instant,
}

impl Message {
    /// Nodes, of so many, that should receive it, by index.
    pub fn wanted(&self, nodes: usize) -> impl Iterator<Item = u32> {
        let (from, to) = (self.from, self.to);
        let (first, last) =
            to.map_or((0, nodes as u32), |only| (only, only.saturating_add(1).min(nodes as u32)));
        (first..last).filter(move |node| *node != from)
    }
}

/// A message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The message's number.
    pub message: u32,
    /// Where.
    pub node: u32,
    /// When.
    pub at: Instant,
    /// Hops that it took, from 1.
    pub hops: u8,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It was answered by its own node.
    Itself,
    /// It was answered by another node.
    Other,
    /// It was not answered.
    Failed,
}

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// When it began.
    pub began: Instant,
    /// When and how it ended.
    pub end: Option<(Instant, JobEnd)>,
}

/// An object, and when each node had it first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectSeen {
    /// Its version, once a node installed it.
    pub version: Option<u32>,
    /// Nodes that have it, by index, and since when.
    pub since: BTreeMap<u32, Instant>,
}

/// The tally.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages that were due, by number.
    pub messages: BTreeMap<u32, Message>,
    /// Messages that arrived, in order.
    pub arrivals: Vec<Arrival>,
    /// Messages that were acknowledged.
    pub acked: BTreeSet<u32>,
    /// Messages that failed, also those that were acknowledged afterwards.
    pub failed: BTreeSet<u32>,
    /// Jobs by node and number.
    pub jobs: BTreeMap<(u32, u32), Job>,
    /// Objects by tag.
    pub objects: BTreeMap<u32, ObjectSeen>,
    /// Where nodes went: time and place, in order.
    pub tracks: BTreeMap<u32, Vec<(Instant, Position)>>,
    /// When nodes were switched off (false) and on.
    pub switched: BTreeMap<u32, Vec<(Instant, bool)>>,
    /// Records of kinds that are not known here.
    pub unknown: u64,
}

impl Tally {
    /// Takes in what a node's application told.
    pub(crate) fn handle(&mut self, at: Instant, node: u32, record: &Record, number_of: impl Fn(u32) -> u32) {
        let due = |late_us: u64| Instant::from_micros(at.as_micros().saturating_sub(late_us));
        match *record {
            Record::MessageSent { message, to, late_us, .. }
            | Record::MessageMissed { message, to, late_us } => {
                self.messages.entry(message).or_insert(Message { from: node, to, due: due(late_us) });
            }
            Record::MessageReceived { message, hops } => {
                self.arrivals.push(Arrival { message, node, at, hops });
            }
            Record::MessageAcked { message } => {
                self.acked.insert(message);
            }
            Record::MessageFailed { message } => {
                self.failed.insert(message);
            }
            Record::JobSubmitted { job } => {
                self.jobs.entry((node, job)).or_insert(Job { began: at, end: None });
            }
            Record::JobAnswered { job, by, .. } => {
                let end = if by == number_of(node) { JobEnd::Itself } else { JobEnd::Other };
                self.end_job(at, node, job, end);
            }
            Record::JobFailed { job, .. } => self.end_job(at, node, job, JobEnd::Failed),
            Record::ObjectProgress { object, percent } => {
                let seen = self.objects.entry(object).or_default();
                if percent == 100 {
                    seen.since.entry(node).or_insert(at);
                }
            }
            Record::ObjectInstalled { object, version } => {
                let seen = self.objects.entry(object).or_default();
                seen.version = Some(version);
                seen.since.entry(node).or_insert(at);
            }
            Record::Moved { x_cm, y_cm } => {
                self.tracks.entry(node).or_default().push((at, position(x_cm, y_cm)));
            }
            Record::Off | Record::On => {
                self.switched.entry(node).or_default().push((at, *record == Record::On));
            }
            Record::Remark(_) => {}
        }
    }

    fn end_job(&mut self, at: Instant, node: u32, job: u32, end: JobEnd) {
        // An answer may come in the same instant in which the job began, and be told first.
        let job = self.jobs.entry((node, job)).or_insert(Job { began: at, end: None });
        job.end.get_or_insert((at, end));
    }

    /// Where a node was at a time.
    pub fn position_at(&self, header: &Header, node: u32, at: Instant) -> Option<Position> {
        let start = header.nodes.get(node as usize)?.position();
        let Some(track) = self.tracks.get(&node) else { return Some(start) };
        let moves = track.partition_point(|(when, _)| *when <= at);
        Some(moves.checked_sub(1).and_then(|last| track.get(last)).map_or(start, |(_, place)| *place))
    }

    /// Latencies of jobs that were answered.
    pub fn job_latencies(&self) -> impl Iterator<Item = Duration> {
        self.jobs.values().filter_map(|job| match job.end {
            Some((at, JobEnd::Itself | JobEnd::Other)) => Some(at.saturating_duration_since(job.began)),
            _ => None,
        })
    }
}
