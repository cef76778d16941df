//! How the agent asks: the two-frame job where an executor is known, the open call and its auction where none is.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{self as wire, Award, Frame, JobResult, Offer, Request, ResultStatus};
use embedded_storage::nor_flash::NorFlash;

use crate::{
    agent::{Agent, AgentEvent, Answer, InFrame, JobFailure, LinkState, OutFrame},
    executor::SUITABILITY_FOUNDATION_MIN,
    jobs::{JobId, Phase},
    promises::{Outcome, Ticket},
    registry::Need,
};

/// Kind of job on the air: put a text into one of the classes of a task.
pub const KIND_CLASSIFY: u8 = 0;
/// A node listens this long after its start before it calls into the mesh for executors: a beacon may come.
const LISTEN_FIRST: Duration = Duration::from_secs(300);
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
            let patience = self.round_trip.patience(link.flood_time);
            self.jobs.at(index).handle_sent(
                now,
                out.id,
                Phase::Asked(executor),
                patience,
                doublings,
                &mut self.rng,
            );
            return Some(out);
        }
        let need =
            if job.fallback.is_some() { Need::Foundation } else { Need::Any { task: self.config.task } };
        let executor = self.registry.executor(now, need).map(|entry| entry.num);
        if executor.is_none() && now.saturating_duration_since(self.started) < LISTEN_FIRST {
            // A job may wait for the first beacons: a flooded call costs more than patience.
            let listen_until = self.started + LISTEN_FIRST;
            self.jobs.at(index).next_at = listen_until;
            return None;
        }
        if executor.is_none()
            && let Some(later) = self.registry.executor_later(now, need)
        {
            // It was there a while ago: patience costs less than a flooded call.
            self.jobs.at(index).next_at = later;
            return None;
        }
        if executor.is_none() && now < self.calls.1 {
            self.jobs.at(index).next_at = self.calls.1;
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
            kind: KIND_CLASSIFY,
            priority: job.priority as u8,
            wants_offers: executor.is_none(),
            task: self.config.task,
            deadline_code: wire::deadline_code(remaining.min(u64::from(u32::MAX)) as u32),
            wake: 0,
            back,
            codec: text.codec,
            text: &text.bytes,
        });
        let hops = self.config.hop_limit;
        let out =
            self.seal_as(id, &frame, to, hops, executor.is_some(), Gate::Normal, QueuePriority::Reliable)?;
        let job = self.jobs.at(index);
        let patience = self.round_trip.patience(link.flood_time);
        job.handle_sent(now, id, phase, patience, doublings, &mut self.rng);
        if phase == Phase::Calling {
            let wait = Duration::from_micros(CALL_AGAIN.as_micros() << self.calls.0);
            job.next_at = job.next_at.max(now + wait);
            self.calls = ((self.calls.0 + 1).min(CALL_DOUBLINGS), now + wait);
        }
        Some(out)
    }

    /// Deadlines and silences.
    pub(crate) fn expire_jobs(&mut self, now: Instant) {
        while let Some(id) = self.jobs.expired(now) {
            let Some(job) = self.jobs.remove(id) else { break };
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
            let foundation = offer.suitability >= SUITABILITY_FOUNDATION_MIN;
            let hops_away = incoming.hops_away.unwrap_or(0);
            self.registry.handle_offer(now, incoming.from, hops_away, foundation, self.config.task);
            job.phase = Phase::Awarding(incoming.from);
            job.attempts_here = 0;
            job.next_at = now;
        }
    }

    /// A result for one of our jobs, or the receipt of a report.
    pub(crate) fn handle_result(&mut self, now: Instant, incoming: &InFrame<'_>, result: &JobResult<'_>) {
        if incoming.to == NodeNum::BROADCAST && result.requester != Some(self.config.num.0) {
            return;
        }
        self.registry.handle_answer(now, incoming.from);
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
        match result.status {
            ResultStatus::Ok | ResultStatus::Unsure => {
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
            ResultStatus::Unsupported => {
                let id = job.id;
                if let Some(job) = self.jobs.remove(id) {
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
    pub(crate) fn poll_reply(&mut self, _now: Instant) -> Option<OutFrame> {
        let reply = self.replies.pop_front()?;
        let frame = Frame::Result(JobResult {
            requester: None,
            job: reply.reference,
            status: reply.status,
            confidence: reply.outcome.confidence,
            class: reply.outcome.class,
            model_version: reply.outcome.model_version,
            text: None,
        });
        let hops = self.config.hop_limit;
        self.seal(&frame, reply.to, hops, reply.again, Gate::Normal, QueuePriority::Response)
    }
}
