//! How the agent asks: the two-frame job where an executor is known, the open call and its auction where none is.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{self as wire, Award, Beacon, Frame, JobResult, Offer, Request, ResultStatus};
use embedded_storage::nor_flash::NorFlash;

use crate::{
    agent::{Agent, AgentEvent, Answer, InFrame, JobFailure, LinkState, OutFrame},
    executor::SUITABILITY_FOUNDATION_MIN,
    jobs::{Job, JobId, Kind, Phase},
    letters::Owner,
    promises::{Outcome, Ticket},
    registry::Need,
    talk::THINKING,
};

/// A node listens this long after its start before it calls into the mesh for executors: a beacon may come.
const LISTEN_FIRST: Duration = Duration::from_secs(300);
/// Word of an executor wakes the jobs that wait for one within this time, at each node at another moment: a few floods' time.
const ASK_WITHIN: Duration = Duration::from_secs(20);
/// Between two open calls of this node, whichever their jobs; doubles while nobody offers. A call is a flood, and when nobody
/// answers the air is often the reason.
const CALL_AGAIN: Duration = Duration::from_secs(300);
/// It doubles so many times at most.
const CALL_DOUBLINGS: u8 = 3;
/// Patience with a request doubles so many times at most: what the mesh has repeated in vain is held up by busy air.
const DOUBLINGS: u8 = 7;
/// And so many times where the mesh repeats nothing, since then one of several is lost on good air too.
const DOUBLINGS_UNREPEATED: u8 = 2;
/// Requests to one executor before it counts as silent.
const TRIES_PER_EXECUTOR: u8 = 4;

/// A frame that answers somebody: a result, or the receipt of a report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) to: NodeNum,
    pub(crate) reference: u16,
    pub(crate) status: ResultStatus,
    pub(crate) outcome: Outcome,
    /// It was sent before and did not arrive: each hop sees to it this time.
    pub(crate) again: bool,
}

/// What has to be told of a node that can do this job.
fn need_of(job: &Job, task: u8) -> Need {
    match job.kind {
        Kind::Chat => Need::Offers(Beacon::CHAT),
        Kind::Embed => Need::Offers(Beacon::EMBED),
        Kind::Classify if job.fallback.is_some() => Need::Foundation,
        Kind::Classify => Need::Any { task },
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// The next request or award that is due.
    pub(crate) fn poll_request(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        let index = self.jobs.due(now)?;
        let doublings = if self.link_repeats { DOUBLINGS } else { DOUBLINGS_UNREPEATED };
        let job = self.jobs.at(index);
        if let (Phase::Awarding(executor), Some(first)) = (job.phase, job.first_packet) {
            let frame = Frame::Award(Award { job: first as u16 });
            let hops = self.config.hop_limit;
            let out = self.seal(&frame, executor, hops, true, Gate::Normal, QueuePriority::Reliable)?;
            let patience = self.patience(index, link);
            self.jobs.at(index).handle_sent(
                now,
                out.id,
                Phase::Asked(executor),
                patience,
                doublings,
                &mut self.rng,
            );
            self.send_further_parts(now, index);
            return Some(out);
        }
        let need = need_of(job, self.config.task);
        let executor = self.registry.executor(now, need).map(|entry| entry.num);
        if executor.is_none() && now.saturating_duration_since(self.started) < LISTEN_FIRST {
            // A job may wait for the first beacons: a flooded call costs more than patience.
            let listen_until = self.started + LISTEN_FIRST;
            self.jobs.at(index).wait_for_executor(listen_until);
            return None;
        }
        if executor.is_none()
            && let Some(later) = self.registry.executor_later(now, need)
        {
            // It was there a while ago: patience costs less than a flooded call.
            self.jobs.at(index).wait_for_executor(later);
            return None;
        }
        if executor.is_none() && now < self.calls.1 {
            self.jobs.at(index).wait_for_executor(self.calls.1);
            return None;
        }
        let (to, phase) = match executor {
            Some(executor) => (executor, Phase::Asked(executor)),
            None => (NodeNum::BROADCAST, Phase::Calling),
        };
        // The id is in the frame (as the distance to the first), so it is taken before the frame is built.
        let id = self.next_id()?;
        let job = self.jobs.at(index);
        if matches!(job.phase, Phase::Due) && job.attempts > 0 {
            job.refused = false;
        }
        let remaining = job.deadline.saturating_duration_since(now).as_micros() / 1_000_000;
        let back = job.first_packet.map(|first| id.wrapping_sub(first));
        let Ok(back) = back.map(u16::try_from).transpose() else {
            // More than 65,535 packets later: the job starts afresh under a new name.
            job.first_packet = None;
            return None;
        };
        let text = job.text.clone();
        let frame = Frame::Request(Request {
            kind: job.kind as u8,
            priority: job.priority as u8,
            wants_offers: executor.is_none(),
            task: if job.kind.is_talk() { job.budget } else { self.config.task },
            deadline_code: wire::deadline_code(remaining.min(u64::from(u32::MAX)) as u32),
            wake: 0,
            back,
            codec: wire::join_codec(text.codec, job.more),
            text: &text.bytes,
        });
        let hops = self.config.hop_limit;
        let out =
            self.seal_as(id, &frame, to, hops, executor.is_some(), Gate::Normal, QueuePriority::Reliable)?;
        let patience = self.patience(index, link);
        let job = self.jobs.at(index);
        job.handle_sent(now, id, phase, patience, doublings, &mut self.rng);
        if phase == Phase::Calling {
            let wait = Duration::from_micros(CALL_AGAIN.as_micros() << self.calls.0);
            job.next_at = job.next_at.max(now + wait);
            self.calls = ((self.calls.0 + 1).min(CALL_DOUBLINGS), now + wait);
        }
        self.send_further_parts(now, index);
        Some(out)
    }

    /// The registry has changed for the better: jobs that waited for an executor such as it knows now ask it soon. Not at once, since
    /// many nodes may have heard the same beacon, and jobs have waited at all of them.
    pub(crate) fn wake_jobs(&mut self, now: Instant) {
        let task = self.config.task;
        for job in self.jobs.iter_mut() {
            if job.waits_for_executor && self.registry.executor(now, need_of(job, task)).is_some() {
                let spread = self.rng.below(ASK_WITHIN.as_millis() as u32);
                job.wake(now, Duration::from_millis(spread.into()));
            }
        }
    }

    /// How long an answer to a job should take: the way, its question's other parts, and the model.
    fn patience(&mut self, index: usize, link: &LinkState) -> Duration {
        let way = self.round_trip.patience(link.flood_time);
        let job = self.jobs.at(index);
        if !job.kind.is_talk() {
            return way;
        }
        way + THINKING + Duration::from_micros(2 * u64::from(job.more) * link.flood_time.as_micros())
    }

    /// The first request to an executor, or the award, is followed by the question's other parts; after a repetition it asks for
    /// what it lacks.
    fn send_further_parts(&mut self, now: Instant, index: usize) {
        let job = self.jobs.at(index);
        if let (Phase::Asked(executor), Some(first), 1, 1..) =
            (job.phase, job.first_packet, job.attempts_here, job.more)
        {
            let id = job.id;
            self.send_parts(now, executor, Owner::Question(id), first as u16, !1, false);
        }
    }

    /// Deadlines and silences.
    pub(crate) fn expire_jobs(&mut self, now: Instant) {
        while let Some(id) = self.jobs.expired(now) {
            let Some(job) = self.jobs.remove(id) else { break };
            self.forget_letters(id);
            let reason = if matches!(job.phase, Phase::Asked(_)) || job.refused {
                JobFailure::NoAnswer
            } else {
                JobFailure::NoExecutor
            };
            self.give_up(now, job, reason);
        }
        while let Some(job) = self.jobs.timed_out(now) {
            if !self.reminders.is_full()
                && let Some(reminder) = job.remind(now)
            {
                let _ = self.reminders.push_back(reminder);
                continue;
            }
            let silent = match job.phase {
                Phase::Asked(executor) if job.attempts_here >= TRIES_PER_EXECUTOR => {
                    job.attempts_here = 0;
                    Some(executor)
                }
                _ => None,
            };
            job.phase = Phase::Due;
            if let Some(executor) = silent {
                self.registry.handle_silence(now, executor);
            }
        }
    }

    /// An offer: the first one wins, since the best bid speaks first. One to somebody else ends our own bid if it
    /// is at least as good.
    pub(crate) fn handle_offer(&mut self, now: Instant, incoming: &InFrame<'_>, offer: &Offer) {
        if incoming.to != self.config.num {
            self.handle_rival_offer(
                Ticket { requester: incoming.to, reference: offer.job },
                offer.suitability,
            );
            return;
        }
        if let Some(job) = self.jobs.by_reference(offer.job)
            && job.phase == Phase::Calling
        {
            self.calls = (0, now);
            let by = match job.kind {
                Kind::Chat => Beacon::CHAT,
                Kind::Embed => Beacon::EMBED,
                Kind::Classify if offer.suitability >= SUITABILITY_FOUNDATION_MIN => Beacon::FOUNDATION_MODEL,
                Kind::Classify => Beacon::STUDENT,
            };
            let hops_away = incoming.hops_away.unwrap_or(0);
            self.registry.handle_offer(now, incoming.from, hops_away, by, self.config.task);
            job.phase = Phase::Awarding(incoming.from);
            job.attempts_here = 0;
            job.next_at = now;
            job.waits_for_executor = false;
            // Others of its kind need no call of their own.
            self.wake_jobs(now);
        }
    }

    /// A result for one of our jobs, or the receipt of a report.
    pub(crate) fn handle_result(&mut self, now: Instant, incoming: &InFrame<'_>, result: &JobResult<'_>) {
        if incoming.to == NodeNum::BROADCAST && result.requester != Some(self.config.num.0) {
            return;
        }
        self.registry.handle_answer(now, incoming.from);
        self.wake_jobs(now);
        if result.status == ResultStatus::Received {
            if self.config.command_post != Some(incoming.from) {
                return;
            }
            let mut delivered = heapless::Vec::<JobId, { crate::outbox::CAPACITY }>::new();
            self.outbox.handle_receipt(result.job, |entry| {
                let _ = delivered.push(entry.job);
            });
            for job in delivered {
                self.push_event(AgentEvent::ReportDelivered { job });
            }
            return;
        }
        let Some(job) = self.jobs.by_reference(result.job) else { return };
        if !job.was_asked_of(incoming.from) {
            return;
        }
        let is_talk = job.kind.is_talk();
        match result.status {
            ResultStatus::Ok if is_talk => self.handle_talk_result(now, incoming.from, result),
            ResultStatus::Ok | ResultStatus::Unsure if !is_talk => {
                let id = job.id;
                let Some(job) = self.jobs.remove(id) else { return };
                // Where only this agent repeats, the time since the first copy is mostly its own patience: learning from
                // it would make it wait ever longer (Karn and Partridge, 1987).
                let clear = self.link_repeats || job.attempts == 1;
                if let Some(first_sent) = job.first_sent.filter(|_| clear) {
                    self.round_trip.handle_answer(now, first_sent);
                }
                let answer = Answer {
                    by: incoming.from,
                    class: result.class,
                    confidence: result.confidence,
                    model_version: result.model_version,
                    unsure: result.status == ResultStatus::Unsure,
                    latency: now.saturating_duration_since(job.submitted),
                    attempts: job.attempts,
                };
                self.settle(now, id, &job.text, answer);
            }
            _ if !job.is_with(incoming.from) => {}
            ResultStatus::Working | ResultStatus::Failed => {
                if is_talk {
                    self.handle_talk_result(now, incoming.from, result);
                }
            }
            ResultStatus::Unsupported => {
                let id = job.id;
                if let Some(job) = self.jobs.remove(id) {
                    self.forget_letters(id);
                    self.give_up(now, job, JobFailure::Unsupported);
                }
            }
            // Busy, or sparing its battery: somebody else, or later.
            _ => {
                job.refused = true;
                job.attempts_here = 0;
                job.retry_after(now, Duration::from_secs(60), &mut self.rng);
                self.registry.handle_silence(now, incoming.from);
            }
        }
    }

    /// The next answer that waits.
    pub(crate) fn poll_reply(&mut self, now: Instant) -> Option<OutFrame> {
        let reply = self.replies.pop_front()?;
        let ticket = Ticket { requester: reply.to, reference: reply.reference };
        let is_talk = self.promises.get(ticket).is_some_and(|promise| promise.kind.is_talk());
        let letter = self
            .letters
            .get(Owner::Theirs(ticket))
            .filter(|_| is_talk && reply.status == ResultStatus::Ok)
            .and_then(|letter| Some((wire::join_codec(letter.codec, letter.parts() - 1), letter.part(0)?)));
        if is_talk && reply.status == ResultStatus::Ok && letter.is_none() {
            // It made room for others: asked for again, the question is answered again.
            self.promises.remove(ticket);
            return None;
        }
        let frame = Frame::Result(JobResult {
            requester: None,
            job: reply.reference,
            status: reply.status,
            confidence: reply.outcome.confidence,
            class: reply.outcome.class,
            model_version: reply.outcome.model_version,
            text: letter.as_ref().map(|(codec, bytes)| (*codec, bytes.as_slice())),
        });
        let hops = self.config.hop_limit;
        let out = self.seal(&frame, reply.to, hops, reply.again, Gate::Normal, QueuePriority::Response);
        if letter.is_some() && !reply.again {
            self.send_parts(now, reply.to, Owner::Theirs(ticket), reply.reference, !1, false);
        }
        out
    }
}
