//! How the agent answers: foundation models at the edge, students for the neighbours.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{Award, Beacon, Frame, Offer, Request, ResultStatus, split_codec};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, AgentEvent, InFrame, OutFrame, REPORT_MAX, read_text},
    jobs::{CodedText, Kind},
    letters::{Owner, QUESTION_PARTS},
    policy::Priority,
    promises::{Outcome, Promise, State, Ticket},
    registry::is_spared,
    requester::Reply,
};

/// An offer waits up to this long; the better a node suits, the sooner it speaks.
const BID_WINDOW: Duration = Duration::from_secs(20);
/// What a foundation model on mains power bids, and what it bids at least, however busy.
const SUITABILITY_FOUNDATION: u8 = 240;
pub(crate) const SUITABILITY_FOUNDATION_MIN: u8 = 120;
/// What a student bids; its battery level, 0..=15, is added.
const SUITABILITY_STUDENT: u8 = 100;

impl<F: NorFlash> Agent<'_, F> {
    /// A request: to us by name, or an open call.
    pub(crate) fn handle_request(&mut self, now: Instant, incoming: &InFrame<'_>, request: &Request<'_>) {
        let first = incoming.id.wrapping_sub(u32::from(request.back.unwrap_or(0)));
        let ticket = Ticket { requester: incoming.from, reference: first as u16 };
        let open_call = request.wants_offers;
        self.forget_if_unanswerable(ticket);
        if let Some(promise) = self.promises.get(ticket) {
            match promise.state {
                State::Done(outcome) => self.reply_again(ticket, outcome),
                State::Failed(trouble) => self.reply_failed(ticket, trouble),
                // A model takes longer than the way: the requester need not repeat itself.
                State::Running if promise.kind.is_talk() => {
                    self.reply(ticket, ResultStatus::Working, Outcome::NONE)
                }
                State::Collecting => self.run_talk(now, ticket),
                State::Running | State::Bidding { .. } => {}
                // Our offer was lost, or another's award was: a repeated open call is answered again.
                State::Offered if open_call => self.bid(now, ticket),
                State::Offered => self.run(now, ticket),
            }
            return;
        }
        let kind = Kind::from_bits(request.kind);
        let (codec, more) = match kind {
            Some(kind) if kind.is_talk() => split_codec(request.codec),
            _ => (request.codec, 0),
        };
        if let Some(status) = self.refusal(kind, request.task, more) {
            if !open_call {
                self.reply(ticket, status, Outcome::NONE);
            }
            return;
        }
        let Ok(bytes) = Vec::from_slice(request.text) else { return };
        let promise = Promise {
            ticket,
            kind: kind.unwrap_or_default(),
            task: request.task,
            priority: Priority::from_bits(request.priority),
            text: CodedText { codec, bytes },
            more,
            hops_away: incoming.hops_away.unwrap_or(0),
            state: State::Offered,
            since: now,
        };
        if !self.promises.insert(now, promise) {
            if !open_call {
                self.reply(ticket, ResultStatus::Busy, Outcome::NONE);
            }
            return;
        }
        if open_call {
            self.bid(now, ticket);
        } else {
            self.run(now, ticket);
        }
    }

    /// Why this node does not do such a job for others, if it does not.
    fn refusal(&self, kind: Option<Kind>, task: u8, more: u8) -> Option<ResultStatus> {
        let offered = match kind {
            Some(Kind::Classify) => task == self.config.task,
            Some(Kind::Chat) => self.beacons.offers & Beacon::CHAT != 0,
            Some(Kind::Embed) => self.beacons.offers & Beacon::EMBED != 0,
            None => false,
        };
        if !offered || more >= QUESTION_PARTS {
            return Some(ResultStatus::Unsupported);
        }
        if kind != Some(Kind::Classify) {
            let spared = is_spared(self.beacons.battery(), self.config.mains_power);
            return spared.then_some(ResultStatus::Declined);
        }
        if self.config.foundation_model {
            return None;
        }
        if self.update.active_version().is_none() {
            return Some(ResultStatus::Unsupported);
        }
        let spared = is_spared(self.beacons.battery(), self.config.mains_power);
        spared.then_some(ResultStatus::Declined)
    }

    /// Speaks later the less it suits (up to [`BID_WINDOW`]), so that the best bid is heard first and ends the rest.
    fn bid(&mut self, now: Instant, ticket: Ticket) {
        let is_talk = self.promises.get(ticket).is_some_and(|promise| promise.kind.is_talk());
        let suitability = if self.config.foundation_model || is_talk {
            (SUITABILITY_FOUNDATION - 4 * self.promises.running().min(50) as u8)
                .max(SUITABILITY_FOUNDATION_MIN)
        } else {
            SUITABILITY_STUDENT + self.beacons.battery()
        };
        let window_ms = BID_WINDOW.as_micros() / 1000;
        let wait_ms = window_ms * u64::from(255 - suitability) / 255 + u64::from(self.rng.below(1500));
        if let Some(promise) = self.promises.get_mut(ticket) {
            promise.state =
                State::Bidding { speak_at: now + Duration::from_micros(wait_ms * 1000), suitability };
            promise.since = now;
        }
    }

    /// Somebody else offered to do a job for which we bid.
    pub(crate) fn handle_rival_offer(&mut self, ticket: Ticket, rival: u8) {
        if let Some(promise) = self.promises.get(ticket)
            && let State::Bidding { suitability, .. } = promise.state
            && rival >= suitability
        {
            self.promises.remove(ticket);
        }
    }

    /// The next offer that is due.
    pub(crate) fn poll_offer(&mut self, now: Instant) -> Option<OutFrame> {
        let promise = self.promises.bid_due(now)?;
        let ticket = promise.ticket;
        let State::Bidding { suitability, .. } = promise.state else { return None };
        if let Some(promise) = self.promises.get_mut(ticket) {
            promise.state = State::Offered;
            promise.since = now;
        }
        let frame = Frame::Offer(Offer { job: ticket.reference, suitability, wait_s: 0 });
        let hops = self.config.hop_limit;
        self.seal(&frame, ticket.requester, hops, false, Gate::Normal, QueuePriority::Response)
    }

    /// An award: to us, or (overheard) to a rival.
    pub(crate) fn handle_award(&mut self, now: Instant, incoming: &InFrame<'_>, award: &Award) {
        let ticket = Ticket { requester: incoming.from, reference: award.job };
        if incoming.to != self.config.num {
            if self
                .promises
                .get(ticket)
                .is_some_and(|promise| matches!(promise.state, State::Bidding { .. } | State::Offered))
            {
                self.promises.remove(ticket);
            }
            return;
        }
        self.forget_if_unanswerable(ticket);
        match self.promises.get(ticket).map(|promise| promise.state) {
            Some(State::Done(outcome)) => self.reply_again(ticket, outcome),
            Some(State::Failed(trouble)) => self.reply_failed(ticket, trouble),
            Some(State::Bidding { .. } | State::Offered) => self.run(now, ticket),
            Some(State::Running | State::Collecting) => {}
            // The promise has lapsed (or did not survive a restart): the requester must ask anew.
            None => self.reply(ticket, ResultStatus::Busy, Outcome::NONE),
        }
    }

    /// Executes: by the host's foundation model, or here and now by the student.
    fn run(&mut self, now: Instant, ticket: Ticket) {
        let Some(promise) = self.promises.get_mut(ticket) else { return };
        if promise.kind.is_talk() {
            self.run_talk(now, ticket);
            return;
        }
        promise.state = State::Running;
        promise.since = now;
        if self.config.foundation_model {
            self.push_event(AgentEvent::Execute(ticket));
            return;
        }
        let text = promise.text.clone();
        let mut buffer = [0; REPORT_MAX];
        let answer = read_text(&text, &mut buffer)
            .and_then(|text| self.update.classify(self.config.base.as_ref(), text));
        match answer {
            Some(answer) => {
                let outcome = Outcome {
                    class: answer.class,
                    confidence: answer.confidence >> 4,
                    model_version: answer.model_version as u8,
                    unsure: answer.unsure,
                };
                self.complete(now, ticket, outcome);
            }
            None => {
                self.promises.remove(ticket);
                self.reply(ticket, ResultStatus::Unsupported, Outcome::NONE);
            }
        }
    }

    /// The text of a job that [`AgentEvent::Execute`] named; `None` when it lapsed or cannot be decoded.
    pub fn ticket_text<'b>(&self, ticket: Ticket, buffer: &'b mut [u8; REPORT_MAX]) -> Option<&'b str> {
        read_text(&self.promises.get(ticket)?.text, buffer)
    }

    /// Hops that the request took: what an answer costs.
    pub fn ticket_hops(&self, ticket: Ticket) -> Option<u8> {
        Some(self.promises.get(ticket)?.hops_away)
    }

    /// Bytes of the coded text on the air.
    pub fn ticket_coded_len(&self, ticket: Ticket) -> Option<usize> {
        Some(self.promises.get(ticket)?.text.bytes.len())
    }

    /// The host's model has answered a job that [`AgentEvent::Execute`] named. A job that lapsed is ignored.
    pub fn complete(&mut self, now: Instant, ticket: Ticket, outcome: Outcome) {
        let Some(promise) = self.promises.get_mut(ticket) else { return };
        promise.state = State::Done(outcome);
        promise.since = now;
        self.reply(ticket, outcome.status(), outcome);
    }

    /// The host's model could not answer: the requester is told.
    pub fn refuse(&mut self, ticket: Ticket) {
        self.promises.remove(ticket);
        self.reply(ticket, ResultStatus::Unsupported, Outcome::NONE);
    }

    /// Queues an answer. When the queue is full the requester's repetition will find the answer kept.
    pub(crate) fn reply(&mut self, ticket: Ticket, status: ResultStatus, outcome: Outcome) {
        let reply =
            Reply { to: ticket.requester, reference: ticket.reference, status, outcome, again: false };
        let _ = self.replies.push_back(reply);
    }

    /// An answer in words that made room for others cannot be given again: the job is done anew.
    fn forget_if_unanswerable(&mut self, ticket: Ticket) {
        let Some(promise) = self.promises.get(ticket).filter(|promise| promise.kind.is_talk()) else {
            return;
        };
        if matches!(promise.state, State::Done(_)) && self.letters.get(Owner::Theirs(ticket)).is_none() {
            self.promises.remove(ticket);
        }
    }

    /// The requester repeats itself: the answer was lost.
    pub(crate) fn reply_again(&mut self, ticket: Ticket, outcome: Outcome) {
        let status = outcome.status();
        let reply = Reply { to: ticket.requester, reference: ticket.reference, status, outcome, again: true };
        let _ = self.replies.push_back(reply);
    }

    /// Queues the receipt of a report.
    pub(crate) fn receipt(&mut self, to: NodeNum, reference: u16) {
        let reply =
            Reply { to, reference, status: ResultStatus::Received, outcome: Outcome::NONE, again: false };
        let _ = self.replies.push_back(reply);
    }
}
