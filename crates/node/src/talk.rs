//! Jobs in words and numbers: how their questions and answers, which may be longer than a frame, come across.
//!
//! The job itself is [`crate::jobs`]' and [`crate::promises`]': who is asked, how often, and who answers. Here is what the two ends do
//! besides: send the parts behind a request or a result, ask for what is missing, keep the answer for its host to read.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{CODEC_VECTOR, Frame, JobResult, Part, PartRequest, ResultStatus, split_codec};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, AgentEvent, InFrame, JobFailure, LinkState, OutFrame, SubmitError},
    jobs::{CodedText, JobId, Kind, Phase, TALKS},
    letters::{self, LETTER_MAX, Owner, PART_LEN, QUESTION_PARTS},
    policy::Priority,
    promises::{Outcome, State, Ticket, Trouble},
    vector,
};

/// Parts that may wait to be sent; one more is asked for again.
pub(crate) const OUT_PARTS: usize = 16;
/// Longest question and answer in bytes of UTF-8, however well they are coded.
pub const TALK_TEXT_MAX: usize = 2048;
/// What a model may take before its requester grows impatient.
pub(crate) const THINKING: Duration = Duration::from_secs(30);
/// After it was told that the executor is at work.
const WORKING: Duration = Duration::from_secs(120);
/// An answer to the same question is given again so long.
const SAME_ANSWER: Duration = Duration::from_secs(600);
/// Shortest time without a part before the missing ones are asked for.
const GAP_MIN: Duration = Duration::from_secs(8);
/// Times on air after which a unicast that is passed on is out of reach, and a flood, which its receiver passes on too.
const PASSED_ON: u64 = 4;
const PASSED_ON_BY_ALL: u64 = 7;
/// Characters of one unit of the longest answer that is wanted.
const BUDGET_UNIT: u16 = 16;

/// A part that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutPart {
    to: NodeNum,
    owner: Owner,
    reference: u16,
    part: u8,
    /// It was sent before and did not arrive.
    again: bool,
}

/// An answer in words or numbers; [`Agent::answer_text`] and [`Agent::answer_vector`] have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextAnswer {
    /// Who answered.
    pub by: NodeNum,
    /// What was asked for.
    pub kind: Kind,
    /// Stands for the name of the model that answered ([`model_byte`]).
    pub model: u8,
    /// Coded bytes on the air.
    pub coded_len: u16,
    /// From submission to answer.
    pub latency: Duration,
    /// Requests that it took.
    pub attempts: u8,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompleteError {
    /// The job has lapsed: nobody waits for its answer.
    Lapsed,
    /// Empty, or more than fits four frames; shorten it and try again, or say [`Trouble::Answer`].
    TooLong,
}

/// The byte that stands for a model's name in answers.
pub fn model_byte(name: &str) -> u8 {
    letters::tag(0, name.as_bytes())
}

/// Whether an answer (or question, if `question`) can be sent.
pub fn text_fits(text: &str, question: bool) -> bool {
    let room = if question { PART_LEN * usize::from(QUESTION_PARTS) } else { LETTER_MAX };
    code(text, &mut [0; LETTER_MAX][..room]).is_some()
}

/// Codes a text into `out`: codec and length.
fn code(text: &str, out: &mut [u8]) -> Option<(u8, usize)> {
    if text.is_empty() || text.len() > TALK_TEXT_MAX {
        return None;
    }
    compotastic_text::encode(text, out).ok()
}

impl<F: NorFlash> Agent<'_, F> {
    /// Submits a job of any kind, to end within `lifetime`. `budget`: most characters of an answer in words, 0 = as many as the
    /// executor likes; it is rounded up to a multiple of 16. A classification comes to [`AgentEvent::Answered`], the others to
    /// [`AgentEvent::AnsweredText`], all of them to [`AgentEvent::JobFailed`] where nobody answers. A node does not ask itself: where
    /// the host has a model for the kind, it need not submit.
    pub fn submit_job(
        &mut self,
        now: Instant,
        kind: Kind,
        text: &str,
        priority: Priority,
        lifetime: Duration,
        budget: u16,
    ) -> Result<JobId, SubmitError> {
        if kind == Kind::Classify {
            return self.submit_classification(now, text, priority, lifetime);
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(SubmitError::Empty);
        }
        let mut coded = [0; PART_LEN * QUESTION_PARTS as usize];
        let (codec, length) = code(text, &mut coded).ok_or(SubmitError::TooLong)?;
        if self.jobs.talks() >= TALKS {
            return Err(SubmitError::Busy);
        }
        let bytes = Vec::from_slice(&coded[..length.min(PART_LEN)]).map_err(|_| SubmitError::TooLong)?;
        let more = (length.div_ceil(PART_LEN) - 1) as u8;
        let first = CodedText { codec, bytes };
        let id = self.jobs.submit(now, first, priority, lifetime, None).ok_or(SubmitError::Busy)?;
        if more > 0 {
            let promises = &self.promises;
            let at_work = |ticket| promises.is_at_work(ticket);
            let letter = self.letters.open(now, Owner::Question(id), NodeNum(0), at_work);
            let Some(letter) = letter else {
                self.jobs.remove(id);
                return Err(SubmitError::Busy);
            };
            letter.set(now, codec, &coded[..length]);
        }
        if let Some(job) = self.jobs.get_mut(id) {
            job.kind = kind;
            job.more = more;
            job.budget = if kind == Kind::Chat { budget.div_ceil(BUDGET_UNIT).min(255) as u8 } else { 0 };
        }
        Ok(id)
    }

    /// Takes a job back; false if it is not open. No frame is spent on it: an answer that comes is ignored.
    pub fn cancel_job(&mut self, id: JobId) -> bool {
        self.forget_letters(id);
        self.jobs.remove(id).is_some()
    }

    /// The letters of a job that has ended.
    pub(crate) fn forget_letters(&mut self, id: JobId) {
        self.letters.remove(Owner::Question(id));
        self.letters.remove(Owner::Answer(id));
    }

    /// The words of an answer that [`AgentEvent::AnsweredText`] named. They are kept until others need the room: read them before the
    /// next frame is handed in.
    pub fn answer_text<'b>(&self, job: JobId, buffer: &'b mut [u8]) -> Option<&'b str> {
        let letter = self.letters.get(Owner::Answer(job))?;
        compotastic_text::decode(letter.codec, letter.bytes()?, buffer).ok()
    }

    /// The numbers of such an answer, of unit length; how many there are.
    pub fn answer_vector(&self, job: JobId, out: &mut [f32]) -> Option<usize> {
        let letter = self.letters.get(Owner::Answer(job)).filter(|letter| letter.codec == CODEC_VECTOR)?;
        vector::unpack(letter.bytes()?, out)
    }

    /// What a job that [`AgentEvent::Execute`] named asks for.
    pub fn ticket_kind(&self, ticket: Ticket) -> Option<Kind> {
        Some(self.promises.get(ticket)?.kind)
    }

    /// Its text, of any kind; `None` when it lapsed or cannot be decoded. [`TALK_TEXT_MAX`] bytes are always enough.
    pub fn ticket_long_text<'b>(&self, ticket: Ticket, buffer: &'b mut [u8]) -> Option<&'b str> {
        let promise = self.promises.get(ticket)?;
        match self.letters.get(Owner::Theirs(ticket)).and_then(|letter| Some((letter.codec, letter.bytes()?)))
        {
            Some((codec, bytes)) => compotastic_text::decode(codec, bytes, buffer).ok(),
            None => compotastic_text::decode(promise.text.codec, &promise.text.bytes, buffer).ok(),
        }
    }

    /// Most characters of the answer in words that its requester wants; 0 = any.
    pub fn ticket_budget(&self, ticket: Ticket) -> Option<u16> {
        let promise = self.promises.get(ticket).filter(|promise| promise.kind == Kind::Chat)?;
        Some(u16::from(promise.task) * BUDGET_UNIT)
    }

    /// The host's model has answered in words. `model` stands for its name ([`model_byte`]).
    pub fn complete_text(
        &mut self,
        now: Instant,
        ticket: Ticket,
        text: &str,
        model: u8,
    ) -> Result<(), CompleteError> {
        let mut coded = [0; LETTER_MAX];
        let (codec, length) = code(text.trim(), &mut coded).ok_or(CompleteError::TooLong)?;
        self.complete_letter(now, ticket, Kind::Chat, codec, &coded[..length], model)
    }

    /// The host's model has made a vector; its length does not matter, its direction does. Up to [`vector::DIMS_MAX`] entries.
    pub fn complete_vector(
        &mut self,
        now: Instant,
        ticket: Ticket,
        entries: &[f32],
        model: u8,
    ) -> Result<(), CompleteError> {
        let mut packed = [0; LETTER_MAX];
        let length = vector::pack(entries, &mut packed).ok_or(CompleteError::TooLong)?;
        self.complete_letter(now, ticket, Kind::Embed, CODEC_VECTOR, &packed[..length], model)
    }

    fn complete_letter(
        &mut self,
        now: Instant,
        ticket: Ticket,
        kind: Kind,
        codec: u8,
        bytes: &[u8],
        model: u8,
    ) -> Result<(), CompleteError> {
        let promise = self
            .promises
            .get_mut(ticket)
            .filter(|promise| promise.kind == kind && promise.state == State::Running)
            .ok_or(CompleteError::Lapsed)?;
        let letter = self.letters.get_mut(Owner::Theirs(ticket)).ok_or(CompleteError::Lapsed)?;
        if !letter.set(now, codec, bytes) {
            return Err(CompleteError::TooLong);
        }
        let outcome = Outcome { class: letter.tag(), confidence: 0, model_version: model, unsure: false };
        promise.state = State::Done(outcome);
        promise.since = now;
        self.reply(ticket, ResultStatus::Ok, outcome);
        Ok(())
    }

    /// The host's model could not answer: the requester is told why, and its job ends.
    pub fn complete_failed(&mut self, now: Instant, ticket: Ticket, trouble: Trouble) {
        let Some(promise) = self.promises.get_mut(ticket) else { return };
        promise.state = State::Failed(trouble);
        promise.since = now;
        self.reply_failed(ticket, trouble);
    }

    pub(crate) fn reply_failed(&mut self, ticket: Ticket, trouble: Trouble) {
        self.reply(ticket, ResultStatus::Failed, Outcome { class: trouble as u8, ..Outcome::NONE });
    }

    /// A job in words or numbers is to be done: once its question is whole, by an answer that is known or by the host.
    pub(crate) fn run_talk(&mut self, now: Instant, ticket: Ticket) {
        let Some(promise) = self.promises.get(ticket) else { return };
        let head = [promise.kind as u8, promise.task, promise.text.codec];
        let (text, more) = (promise.text.clone(), promise.more);
        let promises = &self.promises;
        let at_work = |other| other == ticket || promises.is_at_work(other);
        let Some(letter) = self.letters.open(now, Owner::Theirs(ticket), ticket.requester, at_work) else {
            self.promises.remove(ticket);
            self.reply(ticket, ResultStatus::Busy, Outcome::NONE);
            return;
        };
        letter.take(now, 0, more + 1, None, Some(text.codec), &text.bytes);
        let Some(whole) = letter.bytes() else {
            self.set_state(now, ticket, State::Collecting);
            return;
        };
        let question = letters::hash(head, whole);
        letter.question = question;
        if self.answer_again(now, ticket, question) {
            return;
        }
        self.set_state(now, ticket, State::Running);
        self.push_event(AgentEvent::Execute(ticket));
    }

    fn set_state(&mut self, now: Instant, ticket: Ticket, state: State) {
        if let Some(promise) = self.promises.get_mut(ticket) {
            promise.state = state;
            promise.since = now;
        }
    }

    /// Somebody asked the same a moment ago: the answer is the same.
    fn answer_again(&mut self, now: Instant, ticket: Ticket, question: u64) -> bool {
        let known = self.letters.iter().find_map(|letter| {
            let Owner::Theirs(other) = letter.owner else { return None };
            let promise =
                self.promises.get(other).filter(|_| other != ticket && letter.question == question)?;
            let State::Done(outcome) = promise.state else { return None };
            let fresh = now.saturating_duration_since(promise.since) < SAME_ANSWER;
            let bytes = Vec::<u8, LETTER_MAX>::from_slice(letter.bytes()?).ok()?;
            fresh.then_some((outcome, letter.codec, bytes, promise.since))
        });
        let Some((outcome, codec, bytes, since)) = known else { return false };
        let Some(letter) = self.letters.get_mut(Owner::Theirs(ticket)) else { return false };
        if !letter.set(now, codec, &bytes) {
            return false;
        }
        // Its age is that of the first one: nobody is told the same for ever.
        self.set_state(since, ticket, State::Done(outcome));
        self.reply(ticket, ResultStatus::Ok, outcome);
        true
    }

    /// The result of a job in words or numbers: its first part, or why there is none yet.
    pub(crate) fn handle_talk_result(&mut self, now: Instant, from: NodeNum, result: &JobResult<'_>) {
        let Some(job) = self.jobs.by_reference(result.job) else { return };
        let id = job.id;
        match (result.status, result.text) {
            (ResultStatus::Working, _) => {
                job.attempts_here = 0;
                job.wait_for(now, WORKING);
            }
            (ResultStatus::Failed, _) => {
                if let Some(job) = self.jobs.remove(id) {
                    self.forget_letters(id);
                    let reason = JobFailure::Failed(Trouble::from_bits(result.class));
                    self.give_up(now, job, reason);
                }
            }
            (ResultStatus::Ok, Some((byte, bytes))) => {
                let (codec, more) = split_codec(byte);
                job.model = result.model_version;
                self.take_answer(now, from, id, 0, more + 1, result.class, Some(codec), bytes);
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one part")]
    fn take_answer(
        &mut self,
        now: Instant,
        from: NodeNum,
        id: JobId,
        part: u8,
        parts: u8,
        tag: u8,
        codec: Option<u8>,
        bytes: &[u8],
    ) {
        let promises = &self.promises;
        let at_work = |ticket| promises.is_at_work(ticket);
        let Some(letter) = self.letters.open(now, Owner::Answer(id), from, at_work) else { return };
        letter.peer = from;
        let whole = letter.take(now, part, parts, Some(tag), codec, bytes);
        let coded_len = letter.bytes().map_or(0, |bytes| bytes.len() as u16);
        if !whole {
            // The executor has done its part: what is missing is asked for by itself.
            if let Some(job) = self.jobs.get_mut(id) {
                let patience = self.part_gap.as_micros() * 16;
                job.wait_for(now, Duration::from_micros(patience));
            }
            return;
        }
        let Some(job) = self.jobs.remove(id) else { return };
        self.letters.remove(Owner::Question(id));
        self.push_event(AgentEvent::AnsweredText {
            job: id,
            answer: TextAnswer {
                by: from,
                kind: job.kind,
                model: job.model,
                coded_len,
                latency: now.saturating_duration_since(job.submitted),
                attempts: job.attempts,
            },
        });
    }

    /// A further part, of a question to this node or of an answer to it.
    pub(crate) fn handle_part(&mut self, now: Instant, incoming: &InFrame<'_>, part: &Part<'_>) {
        if incoming.to != self.config.num {
            return;
        }
        if part.of_answer {
            self.registry.handle_answer(now, incoming.from);
            let Some(job) = self.jobs.by_reference(part.job) else { return };
            if job.kind.is_talk() && job.was_asked_of(incoming.from) {
                let id = job.id;
                self.take_answer(now, incoming.from, id, part.part, part.parts, part.tag, None, part.bytes);
            }
            return;
        }
        let ticket = Ticket { requester: incoming.from, reference: part.job };
        let state = self.promises.get(ticket).map(|promise| promise.state);
        // A part that overtook its request is kept; one that comes late is not needed.
        if !matches!(state, None | Some(State::Collecting | State::Offered | State::Bidding { .. })) {
            return;
        }
        let promises = &self.promises;
        let at_work = |other| promises.is_at_work(other);
        let owner = Owner::Theirs(ticket);
        let Some(letter) = self.letters.open(now, owner, incoming.from, at_work) else { return };
        let whole = letter.take(now, part.part, part.parts, Some(part.tag), None, part.bytes);
        if whole && state == Some(State::Collecting) {
            self.run_talk(now, ticket);
        }
    }

    /// The other end lacks parts.
    pub(crate) fn handle_part_request(&mut self, now: Instant, incoming: &InFrame<'_>, asked: &PartRequest) {
        if incoming.to != self.config.num {
            return;
        }
        let (to, reference) = (incoming.from, asked.job);
        if asked.of_answer {
            let ticket = Ticket { requester: to, reference };
            let promise = self.promises.get(ticket).filter(|promise| promise.kind.is_talk());
            match promise.map(|promise| promise.state) {
                Some(State::Done(outcome)) if asked.missing & 1 == 1 => self.reply_again(ticket, outcome),
                Some(State::Done(_)) => {}
                Some(State::Failed(trouble)) => self.reply_failed(ticket, trouble),
                Some(_) => {}
                // It did not survive a restart: the requester must ask anew.
                None => self.reply(ticket, ResultStatus::Busy, Outcome::NONE),
            }
            self.send_parts(now, to, Owner::Theirs(ticket), reference, asked.missing & !1, true);
            return;
        }
        self.registry.handle_answer(now, to);
        let gap = self.part_gap;
        let Some(job) = self.jobs.by_reference(reference).filter(|job| job.was_asked_of(to)) else { return };
        let id = job.id;
        if asked.missing & 1 == 1 && matches!(job.phase, Phase::Asked(_)) {
            job.phase = Phase::Due;
            job.next_at = now;
        } else {
            job.wait_for(now, Duration::from_micros(gap.as_micros() * 8));
        }
        self.send_parts(now, to, Owner::Question(id), reference, asked.missing & !1, true);
    }

    /// Queues the parts of a letter whose bits are set.
    pub(crate) fn send_parts(
        &mut self,
        now: Instant,
        to: NodeNum,
        owner: Owner,
        reference: u16,
        which: u8,
        again: bool,
    ) {
        let parts = self.letters.get(owner).map_or(0, |letter| letter.parts());
        for part in (0..parts).filter(|part| which >> part & 1 == 1) {
            let out = OutPart { to, owner, reference, part, again };
            let waits = self.out_parts.iter().any(|other| OutPart { again, ..*other } == out);
            if !waits {
                let _ = self.out_parts.push_back(out);
            }
        }
        if !again {
            self.part_left(now, to);
        }
    }

    /// A frame that further parts follow has left: where others pass it on, the next waits until it is out of their reach, or it would
    /// meet it at the first of them, who hears both where they do not hear each other.
    fn part_left(&mut self, now: Instant, to: NodeNum) {
        let far = self.registry.get(to).is_none_or(|entry| entry.hops_away > 0);
        let times = match (far, self.link_repeats) {
            (false, _) => 0,
            (true, true) => PASSED_ON,
            (true, false) => PASSED_ON_BY_ALL,
        };
        let wait = times * self.part_air.as_micros();
        self.part_at = now + Duration::from_micros(wait);
    }

    /// The next part that waits, or the next question for missing ones.
    pub(crate) fn poll_part(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        // A part follows another after its time on air on each of two hops, and others speak too.
        self.part_air = link.time_on_air(PART_LEN + 16);
        let gap = 3 * link.flood_time.as_micros() + (2 + PASSED_ON) * self.part_air.as_micros();
        self.part_gap = Duration::from_micros(gap.max(GAP_MIN.as_micros()));
        let hops = self.config.hop_limit;
        while now >= self.part_at
            && let Some(out) = self.out_parts.pop_front()
        {
            let Some(letter) = self.letters.get(out.owner) else { continue };
            let (Some(bytes), parts, tag) = (letter.part(out.part), letter.parts(), letter.tag()) else {
                continue;
            };
            let of_answer = matches!(out.owner, Owner::Theirs(_));
            let frame = Frame::Part(Part {
                job: out.reference,
                part: out.part,
                parts,
                of_answer,
                tag,
                bytes: &bytes,
            });
            // As with requests and results: an answer that is lost is asked for again.
            let (want_ack, priority) = match (of_answer, out.again) {
                (true, again) => (again, QueuePriority::Response),
                (false, _) => (true, QueuePriority::Reliable),
            };
            self.part_left(now, out.to);
            return self.seal(&frame, out.to, hops, want_ack, Gate::Normal, priority);
        }
        let letter = self.letters.due(now, self.part_gap)?;
        let (owner, peer, missing) = (letter.owner, letter.peer, letter.missing());
        let (job, of_answer) = match owner {
            Owner::Theirs(ticket) => (ticket.reference, false),
            Owner::Answer(id) => (self.jobs.get_mut(id)?.first_packet? as u16, true),
            Owner::Question(_) => return None,
        };
        let frame = Frame::PartRequest(PartRequest { job, of_answer, missing });
        self.seal(&frame, peer, hops, true, Gate::Normal, QueuePriority::Response)
    }

    /// Letters of questions that lapsed before they were whole go; so do unread answers' when others need the room.
    pub(crate) fn expire_letters(&mut self) {
        let promises = &self.promises;
        let jobs = &self.jobs;
        self.letters.retain(|letter| match letter.owner {
            Owner::Theirs(ticket) => letter.is_waiting() || promises.get(ticket).is_some(),
            Owner::Question(id) => jobs.get(id).is_some(),
            Owner::Answer(id) => letter.missing() == 0 || jobs.get(id).is_some(),
        });
    }

    /// When a part is to be sent or asked for.
    pub(crate) fn talk_timeout(&self) -> Option<Instant> {
        if !self.out_parts.is_empty() {
            return Some(self.part_at);
        }
        self.letters.poll_timeout(self.part_gap)
    }
}
