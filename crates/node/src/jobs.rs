//! The requester's side of jobs, and reports that wait for their receipt.
//!
//! Both are the same thing: a text that has to get to somebody who confirms it with one small frame. A job is
//! confirmed by its result, a report by its receipt. Each step is idempotent: a repeated request carries the
//! distance to the first one's packet id, and a confirmation names the first one's low 16 bits.

use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    time::{Duration, Instant},
};
use heapless::Vec;

use crate::policy::Priority;

/// Jobs that a node keeps at a time. One more is refused, and the person is told so.
pub const CAPACITY: usize = 24;
/// Longest coded text in one frame: it holds it with head, the fields of a request, a result or a report, codec byte and MAC.
pub const TEXT_MAX: usize = 200;
/// Jobs in words or numbers that a node keeps open at a time: each may need two letters.
pub const TALKS: usize = 4;
/// Executors of one job that are remembered. A late answer of one that was asked before them is not taken any more.
const ASKED: usize = 4;

/// What a job asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// One class of a task.
    #[default]
    Classify = 0,
    /// An answer in words.
    Chat = 1,
    /// A vector of numbers.
    Embed = 2,
}

impl Kind {
    /// The kind of a number on the air.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Classify,
            1 => Self::Chat,
            2 => Self::Embed,
            _ => return None,
        })
    }

    /// Questions and answers of this kind are letters, and only nodes that offer it are asked.
    pub const fn is_talk(self) -> bool {
        !matches!(self, Self::Classify)
    }
}

/// Names a job to its submitter: unique on this node since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u32);

/// A text as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedText {
    /// Codec byte of the profile (0 = raw UTF-8).
    pub codec: u8,
    /// The coded bytes.
    pub bytes: Vec<u8, TEXT_MAX>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for its turn to be sent (for the first time or again).
    Due,
    /// Sent to an executor whose confirmation is awaited.
    Asked(NodeNum),
    /// An open call was sent; offers are awaited.
    Calling,
    /// An offer was taken; the award has to be sent.
    Awarding(NodeNum),
}

/// An answer that the own student gave without being sure: better than none when the deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Class index.
    pub class: u8,
    /// Calibrated confidence, 0..=255.
    pub confidence: u8,
    /// Version of the task part.
    pub model_version: u16,
}

/// One job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// What is asked, or its first part.
    pub text: CodedText,
    /// What it asks for.
    pub kind: Kind,
    /// Further parts of the question.
    pub more: u8,
    /// The longest answer that is wanted, in 16 characters each; 0 = any.
    pub budget: u8,
    /// Stands for the model that answers, once it was told.
    pub model: u8,
    /// Service order.
    pub priority: Priority,
    /// When it was submitted.
    pub submitted: Instant,
    /// When it ends with a reason if nobody answered.
    pub deadline: Instant,
    /// Our own unsure answer; its presence means that only a foundation model can help.
    pub fallback: Option<Fallback>,
    /// Where it stands.
    pub phase: Phase,
    /// Packet id of the first request.
    pub first_packet: Option<u32>,
    /// When it was sent.
    pub first_sent: Option<Instant>,
    /// Packet id of the last request.
    pub last_packet: Option<u32>,
    /// Executors that were asked, the last one at the end.
    asked: Vec<NodeNum, ASKED>,
    /// Requests sent.
    pub attempts: u8,
    /// Requests sent to the present executor.
    pub attempts_here: u8,
    /// When the phase times out, or the job may be sent again.
    pub next_at: Instant,
    /// When the request is repeated if the reminder brings nothing.
    repeat_at: Instant,
    /// How often the neighbours may still be reminded of the missing answer to the last request.
    reminders_left: u8,
    /// The sender of a refusal that said "not now": why the job waits.
    pub refused: bool,
    /// It waits since no executor is known: word of one wakes it.
    pub waits_for_executor: bool,
}

/// The table of open jobs.
#[derive(Debug)]
pub struct Jobs {
    open: Vec<Job, CAPACITY>,
    next_id: u32,
}

/// How long a reminder may take: its own turn and the reply's, one hop each.
pub(crate) const REMINDER_WAIT: Duration = Duration::from_secs(8);
/// Reminders of one request at most, and the time between two.
const REMINDERS: u8 = 3;
const REMIND_AGAIN: Duration = Duration::from_secs(40);
/// No wait for an answer takes more than this part of what is left until the deadline, but for a round trip's.
const TRIES_IN_WHAT_IS_LEFT: u64 = 3;
/// Longest waiting time between two requests of a job.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(1800);

impl Jobs {
    /// An empty table.
    pub fn new() -> Self {
        Self { open: Vec::new(), next_id: 1 }
    }

    /// Adds a job; `None` when [`CAPACITY`] jobs are open.
    pub fn submit(
        &mut self,
        now: Instant,
        text: CodedText,
        priority: Priority,
        lifetime: Duration,
        fallback: Option<Fallback>,
    ) -> Option<JobId> {
        let id = JobId(self.next_id);
        let job = Job {
            id,
            text,
            kind: Kind::Classify,
            more: 0,
            budget: 0,
            model: 0,
            priority,
            submitted: now,
            deadline: now + lifetime,
            fallback,
            phase: Phase::Due,
            first_packet: None,
            first_sent: None,
            last_packet: None,
            asked: Vec::new(),
            attempts: 0,
            attempts_here: 0,
            next_at: now,
            repeat_at: now,
            reminders_left: 0,
            refused: false,
            waits_for_executor: false,
        };
        self.open.push(job).ok()?;
        self.next_id = self.next_id.wrapping_add(1);
        Some(id)
    }

    /// A fresh name for a job that never enters the table since it was answered at once.
    pub fn name_local(&mut self) -> JobId {
        let id = JobId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    /// True when another job would be refused.
    pub fn is_full(&self) -> bool {
        self.open.is_full()
    }

    /// Open jobs.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True when no job is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The job to send next: due, highest priority first, then oldest.
    pub fn due(&self, now: Instant) -> Option<usize> {
        self.open
            .iter()
            .enumerate()
            .filter(|(_, job)| {
                matches!(job.phase, Phase::Due | Phase::Awarding(_))
                    && now >= job.next_at
                    && now < job.deadline
            })
            .min_by_key(|(_, job)| (core::cmp::Reverse(job.priority), job.id))
            .map(|(index, _)| index)
    }

    /// The job at an index that [`Self::due`] gave.
    pub fn at(&mut self, index: usize) -> &mut Job {
        &mut self.open[index]
    }

    /// The job whose first request carried a packet id with these low bits.
    pub fn by_reference(&mut self, reference: u16) -> Option<&mut Job> {
        self.open.iter_mut().find(|job| job.first_packet.is_some_and(|id| id as u16 == reference))
    }

    /// The job of this name.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.open.iter().find(|job| job.id == id)
    }

    /// The job of this name.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.open.iter_mut().find(|job| job.id == id)
    }

    /// Open jobs in words or numbers.
    pub fn talks(&self) -> usize {
        self.open.iter().filter(|job| job.kind.is_talk()).count()
    }

    /// The job whose last request was this packet.
    pub fn by_packet(&mut self, packet: u32) -> Option<&mut Job> {
        self.open.iter_mut().find(|job| job.last_packet == Some(packet))
    }

    /// Takes a job out of the table.
    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let index = self.open.iter().position(|job| job.id == id)?;
        Some(self.open.remove(index))
    }

    /// A job whose deadline has passed.
    pub fn expired(&self, now: Instant) -> Option<JobId> {
        self.open.iter().find(|job| now >= job.deadline).map(|job| job.id)
    }

    /// A job whose waiting time is over without a confirmation or an offer.
    pub fn timed_out(&mut self, now: Instant) -> Option<&mut Job> {
        self.open
            .iter_mut()
            .find(|job| matches!(job.phase, Phase::Asked(_) | Phase::Calling) && now >= job.next_at)
    }

    /// All open jobs.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.open.iter_mut()
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open.iter().map(|job| if job.next_at < job.deadline { job.next_at } else { job.deadline }).min()
    }
}

impl Default for Jobs {
    fn default() -> Self {
        Self::new()
    }
}

impl Job {
    /// The request went out as `packet`; an answer should take `round_trip`.
    pub fn handle_sent(
        &mut self,
        now: Instant,
        packet: u32,
        phase: Phase,
        round_trip: Duration,
        doublings: u8,
        rng: &mut Rng,
    ) {
        self.first_packet.get_or_insert(packet);
        self.first_sent.get_or_insert(now);
        self.last_packet = Some(packet);
        self.attempts = self.attempts.saturating_add(1);
        self.attempts_here = self.attempts_here.saturating_add(1);
        self.phase = phase;
        if let Phase::Asked(executor) = phase {
            self.asked.retain(|asked| *asked != executor);
            if self.asked.is_full() {
                self.asked.remove(0);
            }
            let _ = self.asked.push(executor);
        }
        self.reminders_left = REMINDERS;
        self.waits_for_executor = phase == Phase::Calling;
        // More patience with each attempt, and a jitter against lock step.
        let doublings = self.attempts.saturating_sub(1).min(doublings);
        let patience = (round_trip.as_micros() << doublings).min(REPLY_WAIT_MAX.as_micros());
        // Near the deadline nobody is spared any more: what is left has room for some tries.
        let left = self.deadline.saturating_duration_since(now).as_micros();
        let patience = patience.min(round_trip.as_micros().max(left / TRIES_IN_WHAT_IS_LEFT));
        let jitter_us = patience / 4 * u64::from(rng.below(1000)) / 1000;
        self.repeat_at = now + Duration::from_micros(patience + jitter_us);
        self.next_at = if matches!(phase, Phase::Asked(_)) { now + round_trip } else { self.repeat_at };
    }

    /// The packet and the executor to remind the neighbours of: most answers that are lost are lost on the last hop. Once for each
    /// request, and again while there is time before its repetition, which costs the whole way.
    pub fn remind(&mut self, now: Instant) -> Option<(NodeNum, u32)> {
        let (Phase::Asked(executor), Some(packet)) = (self.phase, self.last_packet) else { return None };
        let again = self.reminders_left < REMINDERS;
        if self.reminders_left == 0 || again && now >= self.repeat_at {
            return None;
        }
        self.reminders_left -= 1;
        let last = self.reminders_left == 0;
        let soon = now + REMIND_AGAIN;
        self.next_at =
            if last || soon > self.repeat_at { self.repeat_at.max(now + REMINDER_WAIT) } else { soon };
        Some((executor, packet))
    }

    /// There is no answer that the neighbours could have missed: it is on its way, or the request did not leave.
    pub fn need_not_remind(&mut self) {
        self.reminders_left = 0;
    }

    /// Whether an answer of this node can be to this job: names repeat, those who were asked are few.
    pub fn was_asked_of(&self, node: NodeNum) -> bool {
        self.asked.contains(&node)
    }

    /// Whether it is this node's turn to answer: a refusal of one that was asked before says nothing of the one that
    /// is asked now.
    pub fn is_with(&self, node: NodeNum) -> bool {
        match self.phase {
            Phase::Asked(executor) | Phase::Awarding(executor) => executor == node,
            Phase::Due => self.asked.last() == Some(&node),
            Phase::Calling => false,
        }
    }

    /// No executor is known: nothing is sent before this time, unless word of one comes.
    pub fn wait_for_executor(&mut self, until: Instant) {
        self.next_at = until;
        self.waits_for_executor = true;
    }

    /// There is word of an executor: it is asked after `spread`, or before where that was due anyway.
    pub fn wake(&mut self, now: Instant, spread: Duration) {
        self.waits_for_executor = false;
        self.next_at = self.next_at.min(now + spread);
    }

    /// The executor is at it: nothing is sent for so long.
    pub fn wait_for(&mut self, now: Instant, wait: Duration) {
        self.next_at = self.next_at.max(now + wait);
        self.repeat_at = self.next_at;
        self.need_not_remind();
    }

    /// Sends again after `wait`, a jitter on top.
    pub fn retry_after(&mut self, now: Instant, wait: Duration, rng: &mut Rng) {
        self.phase = Phase::Due;
        let jitter_us = wait.as_micros() / 4 * u64::from(rng.below(1000)) / 1000;
        self.next_at = now + Duration::from_micros(wait.as_micros() + jitter_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> CodedText {
        CodedText { codec: 0, bytes: Vec::from_slice(b"hello").unwrap() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn urgent_jobs_go_first_then_the_oldest() {
        let mut jobs = Jobs::new();
        let hour = Duration::from_secs(3600);
        jobs.submit(at(0), text(), Priority::Routine, hour, None).unwrap();
        jobs.submit(at(1), text(), Priority::Urgent, hour, None).unwrap();
        jobs.submit(at(2), text(), Priority::Urgent, hour, None).unwrap();
        let index = jobs.due(at(3)).unwrap();
        assert_eq!(jobs.at(index).id, JobId(2));
    }

    #[test]
    fn the_table_refuses_rather_than_forgets() {
        let mut jobs = Jobs::new();
        for _ in 0..CAPACITY {
            assert!(jobs.submit(at(0), text(), Priority::Low, Duration::from_secs(9), None).is_some());
        }
        assert!(jobs.is_full());
        assert!(jobs.submit(at(0), text(), Priority::Urgent, Duration::from_secs(9), None).is_none());
        assert_eq!(jobs.len(), CAPACITY);
        assert!(jobs.expired(at(9)).is_some());
    }

    #[test]
    fn patience_grows_and_the_first_packet_names_the_job() {
        let mut rng = Rng::from_seed(3);
        let mut jobs = Jobs::new();
        jobs.submit(at(0), text(), Priority::Low, Duration::from_secs(9000), None).unwrap();
        let job = jobs.at(0);
        let round_trip = Duration::from_secs(20);
        job.handle_sent(at(0), 0x1_0005, Phase::Asked(NodeNum(9)), round_trip, 7, &mut rng);
        assert_eq!(job.next_at, at(20), "the first expiry reminds");
        assert_eq!(job.remind(at(20)), Some((NodeNum(9), 0x1_0005)));
        assert_eq!(job.remind(at(30)), None, "the request is repeated now");
        let first = job.next_at.as_micros();
        job.handle_sent(at(100), 0x1_0009, Phase::Asked(NodeNum(9)), round_trip, 7, &mut rng);
        assert_eq!(job.next_at, at(120));
        assert_eq!(job.remind(at(120)), Some((NodeNum(9), 0x1_0009)));
        assert!(job.next_at.as_micros() - 100_000_000 > first * 13 / 10);
        assert_eq!((job.first_packet, job.last_packet), (Some(0x1_0005), Some(0x1_0009)));
        assert!(jobs.by_reference(5).is_some());
        assert!(jobs.by_packet(0x1_0009).is_some());
    }

    #[test]
    fn a_long_wait_has_room_for_three_reminders() {
        let mut rng = Rng::from_seed(3);
        let mut jobs = Jobs::new();
        jobs.submit(at(0), text(), Priority::Low, Duration::from_secs(90_000), None).unwrap();
        let job = jobs.at(0);
        for packet in 1..=6 {
            job.handle_sent(at(0), packet, Phase::Asked(NodeNum(9)), Duration::from_secs(20), 7, &mut rng);
        }
        let repeat_at = job.repeat_at;
        assert!(repeat_at > at(600), "{repeat_at:?}");
        for due in [20, 60, 100] {
            assert_eq!(job.next_at, at(due));
            assert_eq!(job.remind(at(due)), Some((NodeNum(9), 6)));
        }
        assert_eq!((job.next_at, job.remind(at(140))), (repeat_at, None));
    }

    #[test]
    fn near_the_deadline_nobody_is_patient() {
        let mut rng = Rng::from_seed(3);
        let mut jobs = Jobs::new();
        jobs.submit(at(0), text(), Priority::Low, Duration::from_secs(3600), None).unwrap();
        let job = jobs.at(0);
        let mut sent = 0;
        while job.next_at < job.deadline {
            let now = job.next_at.max(job.repeat_at);
            job.handle_sent(now, 1, Phase::Asked(NodeNum(9)), Duration::from_secs(100), 7, &mut rng);
            job.need_not_remind();
            job.next_at = job.repeat_at;
            sent += 1;
        }
        // Doubling alone would have sent five.
        assert!((9..=14).contains(&sent), "{sent}");
    }

    #[test]
    fn the_last_executors_are_remembered() {
        let mut rng = Rng::from_seed(3);
        let mut jobs = Jobs::new();
        jobs.submit(at(0), text(), Priority::Low, Duration::from_secs(9000), None).unwrap();
        let job = jobs.at(0);
        let mut ask = |job: &mut Job, executor| {
            let phase = Phase::Asked(NodeNum(executor));
            job.handle_sent(at(0), executor, phase, Duration::from_secs(20), 7, &mut rng);
        };
        // The first is asked again, and so is not the oldest any more.
        for executor in [1, 2, 1, 3, 4, 5] {
            ask(job, executor);
        }
        assert!((1..=5).filter(|node| job.was_asked_of(NodeNum(*node))).eq([1, 3, 4, 5]));
        assert!(job.is_with(NodeNum(5)) && !job.is_with(NodeNum(4)));
        job.retry_after(at(1), Duration::from_secs(60), &mut rng);
        assert!(job.is_with(NodeNum(5)), "until another is asked");
        job.phase = Phase::Awarding(NodeNum(1));
        assert!(job.is_with(NodeNum(1)) && !job.is_with(NodeNum(5)));
        job.phase = Phase::Calling;
        assert!(!job.is_with(NodeNum(5)));
    }
}
