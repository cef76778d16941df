//! Jobs of this machine's users, from submission to the end, over restarts.
//!
//! A job is on the disk before its submitter hears of it. What this machine's models can answer they answer; the rest goes to the
//! agent as soon as it has room, and from there over the mesh. Each ends once: answered, failed with a reason, or taken back.

use std::collections::BTreeMap;

use anyhow::Result;
use compotastic_mesh::time::{Duration, Instant};
use compotastic_node::{
    Agent, AgentEvent, Answer, CompleteError, JobFailure, JobId, Kind, SubmitError, TextAnswer, Ticket,
    Trouble,
    agent::REPORT_MAX,
    model_byte,
    policy::Priority,
    promises::Outcome,
    talk::{TALK_TEXT_MAX, text_fits},
    vector::DIMS_MAX,
};

use super::{
    book::node_id,
    core::{Core, Mode, Output},
    work::{Done, Product, Work, WorkKey},
};
use crate::seam::{Event, JobAnswer, JobKind, JobPriority, JobSpec, JobState, JobView};

/// Jobs that may be open; one more is refused.
pub const OPEN: usize = 256;
/// Longest lifetime that can be asked for, seconds: longer than any link is down.
const LIFETIME_MAX_S: u32 = 7 * 24 * 3600;
/// The agent knows better why a job ended, and so has a little longer.
const GRACE: Duration = Duration::from_secs(5);
/// An answer in words has so many characters at most where its asker does not say.
const ANSWER_CHARS: usize = 600;
/// Below this confidence an answer counts as unsure.
const SURE: f32 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// It waits for a model here or for room at the agent.
    Waiting,
    /// This machine's models have it.
    Here,
    /// The agent has it.
    Mesh(JobId),
}

#[derive(Clone, Debug)]
struct Open {
    view: JobView,
    deadline: Instant,
    at: Where,
    /// The models here were asked and failed.
    not_here: bool,
}

/// The open jobs.
#[derive(Debug, Default)]
pub(super) struct JobBook {
    open: BTreeMap<u64, Open>,
}

impl JobBook {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The agent is another one: it knows nothing of what the one before had.
    pub(super) fn forget_agent(&mut self) {
        for open in self.open.values_mut() {
            if matches!(open.at, Where::Mesh(_)) {
                open.at = Where::Waiting;
            }
        }
    }

    fn by_agent(&self, job: JobId) -> Option<u64> {
        self.open.iter().find(|(_, open)| open.at == Where::Mesh(job)).map(|(id, _)| *id)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = |open: &Open| match open.at {
            Where::Mesh(_) => open.deadline + GRACE,
            _ => open.deadline,
        };
        self.open.values().map(due).min()
    }
}

fn priority(priority: JobPriority) -> Priority {
    match priority {
        JobPriority::Low => Priority::Low,
        JobPriority::Normal => Priority::Routine,
        JobPriority::High => Priority::High,
        JobPriority::Urgent => Priority::Urgent,
    }
}

fn kind(kind: JobKind) -> Kind {
    match kind {
        JobKind::Classify => Kind::Classify,
        JobKind::Chat => Kind::Chat,
        JobKind::Embed => Kind::Embed,
    }
}

fn check(spec: &JobSpec) -> Result<(), String> {
    let text = spec.text.trim();
    if text.is_empty() {
        return Err("the text is empty: write what is asked".into());
    }
    match spec.kind {
        JobKind::Classify if text.len() > REPORT_MAX => {
            Err(format!("the text has {} bytes, a report {REPORT_MAX} at most: shorten it", text.len()))
        }
        JobKind::Classify => Ok(()),
        JobKind::Chat | JobKind::Embed if text.len() > TALK_TEXT_MAX || !text_fits(text, true) => {
            Err(format!(
                "the text of {} bytes is more than fits the few packets of a question: shorten it",
                text.len()
            ))
        }
        JobKind::Chat | JobKind::Embed => Ok(()),
    }
}

/// The first characters of a text, at most `bytes` bytes, up to the end of a word where there is one.
fn shortened(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let whole_word = text[..end].rfind(char::is_whitespace).filter(|at| *at > end / 2);
    text[..whole_word.unwrap_or(end)].trim_end()
}

impl Core {
    /// Jobs that the last run left open, with the time that is left by this machine's clock.
    pub(super) fn reopen_jobs(&mut self, now: Instant) -> Result<()> {
        let now_ms = (self.wall)();
        for mut view in self.store.open_jobs()? {
            let lifetime_ms = u64::from(self.lifetime_s(&view.spec)) * 1000;
            // A clock that was set back does not make a job live longer.
            let left_ms = lifetime_ms.saturating_sub(now_ms.saturating_sub(view.submitted_ms));
            if left_ms == 0 {
                let reason = "its time was up while the daemon was not running: submit it again".to_owned();
                view.state = JobState::Failed { reason };
                self.store.put_job(&view)?;
                continue;
            }
            tracing::info!(job = view.id, left_s = left_ms / 1000, "goes on with a job of the last run");
            view.state = JobState::Queued;
            let deadline = now + Duration::from_millis(left_ms);
            self.jobs.open.insert(view.id, Open { view, deadline, at: Where::Waiting, not_here: false });
        }
        Ok(())
    }

    fn lifetime_s(&self, spec: &JobSpec) -> u32 {
        spec.deadline_s.unwrap_or(self.options.job_lifetime_s).clamp(1, LIFETIME_MAX_S)
    }

    pub(super) fn submit(&mut self, now: Instant, spec: JobSpec) -> Result<JobView, String> {
        check(&spec)?;
        if self.jobs.len() >= OPEN {
            return Err(format!("{OPEN} jobs are open: wait until one has ended, or cancel one"));
        }
        if self.options.swarm.is_none()
            && let Err(why) = self.offers.model(spec.kind)
        {
            return Err(format!("no swarm is joined, and no model here answers: {why}"));
        }
        let view = self.store.add_job(&spec, (self.wall)()).map_err(|error| format!("{error:#}"))?;
        let deadline = now + Duration::from_secs(self.lifetime_s(&spec).into());
        let open = Open { view: view.clone(), deadline, at: Where::Waiting, not_here: false };
        self.jobs.open.insert(view.id, open);
        self.push(Output::Event(Event::Job(view.clone())));
        self.advance_jobs(now);
        Ok(self.jobs.open.get(&view.id).map_or(view, |open| open.view.clone()))
    }

    pub(super) fn cancel(&mut self, _now: Instant, id: u64) -> bool {
        let Some(open) = self.jobs.open.get(&id) else { return false };
        match (open.at, self.mode.agent()) {
            (Where::Mesh(job), Some(agent)) => drop(agent.cancel_job(job)),
            // A model that is at work on it goes on; what it says is dropped.
            (Where::Here, _) => drop(self.work.remove(WorkKey::Here(id))),
            _ => {}
        }
        self.end(id, JobState::Cancelled);
        true
    }

    fn move_to(&mut self, id: u64, at: Where, state: JobState) {
        let Some(open) = self.jobs.open.get_mut(&id) else { return };
        open.at = at;
        if open.view.state == state {
            return;
        }
        open.view.state = state;
        let view = open.view.clone();
        if let Err(error) = self.store.put_job(&view) {
            tracing::error!(job = id, "not written: {error:#}");
        }
        self.push(Output::Event(Event::Job(view)));
    }

    fn end(&mut self, id: u64, state: JobState) {
        tracing::info!(job = id, "a job has ended: {}", ended(&state));
        self.move_to(id, Where::Waiting, state);
        self.jobs.open.remove(&id);
    }

    /// Gives waiting jobs to the models here or to the agent, as far as they have room: most urgent first, then oldest.
    pub(super) fn advance_jobs(&mut self, now: Instant) {
        let mut waiting: Vec<(std::cmp::Reverse<JobPriority>, u64)> = self
            .jobs
            .open
            .iter()
            .filter(|(_, open)| open.at == Where::Waiting)
            .map(|(id, open)| (std::cmp::Reverse(open.view.spec.priority), *id))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            self.advance_job(now, id);
        }
    }

    fn advance_job(&mut self, now: Instant, id: u64) {
        let Some(open) = self.jobs.open.get(&id) else { return };
        let spec = open.view.spec.clone();
        let here = self.offers.has(spec.kind);
        if here && !open.not_here {
            let work = Work {
                key: WorkKey::Here(id),
                kind: spec.kind,
                text: spec.text,
                max_chars: spec.max_chars.map_or(ANSWER_CHARS, usize::from),
                urgent: spec.priority == JobPriority::Urgent,
            };
            if self.work.push(work).is_ok() {
                let by = Some(self.num()).filter(|num| *num != 0);
                self.move_to(id, Where::Here, JobState::Running { by });
            }
            return;
        }
        let left = open.deadline.saturating_duration_since(now);
        let Some(agent) = self.mode.agent() else { return };
        let taken = agent.submit_job(
            now,
            kind(spec.kind),
            &spec.text,
            priority(spec.priority),
            left,
            spec.max_chars.unwrap_or(0),
        );
        match taken {
            Ok(job) => self.move_to(id, Where::Mesh(job), JobState::Running { by: None }),
            Err(SubmitError::Busy) => {}
            Err(SubmitError::Empty | SubmitError::TooLong) => {
                let reason =
                    "the text is more than fits the few packets of a question: shorten it".to_owned();
                self.end(id, JobState::Failed { reason });
            }
        }
    }

    pub(super) fn expire_jobs(&mut self, now: Instant) {
        let over = |open: &Open| match open.at {
            Where::Mesh(_) => now >= open.deadline + GRACE,
            _ => now >= open.deadline,
        };
        let expired: Vec<u64> =
            self.jobs.open.iter().filter(|(_, open)| over(open)).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(open) = self.jobs.open.get(&id) else { continue };
            let reason = match (open.at, &self.mode) {
                (Where::Here, _) => "the model here did not answer in time".to_owned(),
                (Where::Waiting, Mode::Listening(why)) => format!("nobody could be asked in time: {why}"),
                (Where::Waiting, _) => "it was not its turn in time: too many jobs are open".to_owned(),
                (Where::Mesh(_), _) => failure(JobFailure::NoAnswer).to_owned(),
            };
            if let (Where::Mesh(job), Some(agent)) = (open.at, self.mode.agent()) {
                agent.cancel_job(job);
            }
            self.work.remove(WorkKey::Here(id));
            self.end(id, JobState::Failed { reason });
        }
    }

    /// What the agent has to tell.
    pub(super) fn handle_agent_events(&mut self, now: Instant) {
        while let Some(event) = self.mode.agent().and_then(Agent::poll_event) {
            match event {
                AgentEvent::Answered { job, answer } => self.answered(job, &answer),
                AgentEvent::AnsweredText { job, answer } => self.answered_text(job, &answer),
                AgentEvent::JobFailed { job, reason } => {
                    if let Some(id) = self.jobs.by_agent(job) {
                        self.end(id, JobState::Failed { reason: failure(reason).to_owned() });
                    }
                }
                AgentEvent::Execute(ticket) => self.execute(now, ticket),
                AgentEvent::ObjectUnplaced { kind, task } => self.make_room(kind, task),
                AgentEvent::NodeKey { .. }
                | AgentEvent::KeysPending { .. }
                | AgentEvent::KeysSwitched { .. }
                | AgentEvent::KeyReceipt { .. } => self.handle_key_event(now, event),
                other => tracing::info!(event = ?other, "the agent tells"),
            }
        }
    }

    fn latency_ms(&self, id: u64) -> u64 {
        let submitted_ms = self.jobs.open.get(&id).map_or(0, |open| open.view.submitted_ms);
        (self.wall)().saturating_sub(submitted_ms)
    }

    fn class_name(&self, class: u8) -> String {
        let classes = self.options.brain.as_ref().map(|brain| brain.classes()).unwrap_or_default();
        classes.get(usize::from(class)).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    fn answered(&mut self, job: JobId, answer: &Answer) {
        let Some(id) = self.jobs.by_agent(job) else { return };
        let here = answer.attempts == 0;
        let answer = JobAnswer {
            by: answer.by.0,
            model: format!("{} version {}", if here { "student" } else { "model" }, answer.model_version),
            latency_ms: self.latency_ms(id),
            attempts: answer.attempts.into(),
            class: Some(self.class_name(answer.class)),
            confidence: Some(f32::from(answer.confidence) / 15.0),
            ..JobAnswer::default()
        };
        self.end(id, JobState::Done(answer));
    }

    fn answered_text(&mut self, job: JobId, told: &TextAnswer) {
        let Some(id) = self.jobs.by_agent(job) else { return };
        let Some(agent) = self.mode.agent() else { return };
        let mut answer = JobAnswer {
            by: told.by.0,
            model: format!("model {:02x}", told.model),
            latency_ms: 0,
            attempts: told.attempts.into(),
            ..JobAnswer::default()
        };
        let mut text = [0; TALK_TEXT_MAX];
        let mut vector = [0.0; DIMS_MAX];
        let read = if told.kind == Kind::Embed {
            let length = agent.answer_vector(job, &mut vector);
            answer.embedding = length.and_then(|length| vector.get(..length)).map(<[f32]>::to_vec);
            answer.embedding.is_some()
        } else {
            answer.text = agent.answer_text(job, &mut text).map(str::to_owned);
            answer.text.is_some()
        };
        answer.latency_ms = self.latency_ms(id);
        let state = if read {
            JobState::Done(answer)
        } else {
            let reason =
                "the answer cannot be read: the other node is of a newer version; update compotastic";
            JobState::Failed { reason: reason.to_owned() }
        };
        self.end(id, state);
    }

    /// Another node asks for this machine's models.
    fn execute(&mut self, now: Instant, ticket: Ticket) {
        let Some(agent) = self.mode.agent() else { return };
        let Some(kind) = agent.ticket_kind(ticket) else { return };
        let mut buffer = [0; TALK_TEXT_MAX];
        let Some(text) = agent.ticket_long_text(ticket, &mut buffer).map(str::to_owned) else {
            agent.complete_failed(now, ticket, Trouble::Question);
            return;
        };
        let kind = match kind {
            Kind::Classify => JobKind::Classify,
            Kind::Chat => JobKind::Chat,
            Kind::Embed => JobKind::Embed,
        };
        let max_chars = match agent.ticket_budget(ticket) {
            None | Some(0) => ANSWER_CHARS,
            Some(chars) => usize::from(chars),
        };
        let work = Work { key: WorkKey::There(ticket), kind, text, max_chars, urgent: false };
        if self.work.push(work).is_err() {
            agent.refuse(ticket);
        }
    }

    /// The models have done a piece of work.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        match done.key {
            WorkKey::Here(id) => self.done_here(id, done.product),
            WorkKey::There(ticket) => self.done_there(now, ticket, done.product),
        }
        self.settle(now);
    }

    fn done_here(&mut self, id: u64, product: Result<Product, String>) {
        let Some(open) = self.jobs.open.get_mut(&id) else { return };
        match product {
            Ok(product) => {
                let spec_kind = open.view.spec.kind;
                let mut answer = JobAnswer {
                    by: self.num(),
                    model: self.offers.model(spec_kind).unwrap_or_default().to_owned(),
                    latency_ms: self.latency_ms(id),
                    ..JobAnswer::default()
                };
                match product {
                    Product::Class(classified) => {
                        answer.class = Some(self.class_name(classified.class));
                        answer.confidence = Some(classified.confidence);
                    }
                    Product::Text(text) => answer.text = Some(text),
                    Product::Vector(vector) => answer.embedding = Some(vector),
                }
                self.end(id, JobState::Done(answer));
            }
            Err(why) if self.options.swarm.is_some() => {
                tracing::warn!(job = id, "the model here failed, so the mesh is asked: {why}");
                open.not_here = true;
                self.move_to(id, Where::Waiting, JobState::Queued);
            }
            Err(reason) => self.end(id, JobState::Failed { reason }),
        }
    }

    fn done_there(&mut self, now: Instant, ticket: Ticket, product: Result<Product, String>) {
        let model = |kind| model_byte(self.offers.model(kind).unwrap_or_default());
        let (chat, embed) = (model(JobKind::Chat), model(JobKind::Embed));
        let Some(agent) = self.mode.agent() else { return };
        match product {
            Ok(Product::Class(classified)) => {
                let outcome = Outcome {
                    class: classified.class,
                    confidence: (classified.confidence.clamp(0.0, 1.0) * 15.0).round() as u8,
                    model_version: 1,
                    unsure: classified.confidence < SURE,
                };
                agent.complete(now, ticket, outcome);
            }
            Ok(Product::Text(text)) => {
                let mut bytes = text.len().min(TALK_TEXT_MAX);
                // A model that says more than was wanted is cut at a word until it fits.
                let told = loop {
                    match agent.complete_text(now, ticket, shortened(&text, bytes), chat) {
                        Err(CompleteError::TooLong) if bytes > 64 => bytes = bytes * 3 / 4,
                        told => break told,
                    }
                };
                if told == Err(CompleteError::TooLong) {
                    agent.complete_failed(now, ticket, Trouble::Answer);
                }
            }
            Ok(Product::Vector(vector)) => {
                if agent.complete_vector(now, ticket, &vector, embed) == Err(CompleteError::TooLong) {
                    agent.complete_failed(now, ticket, Trouble::Answer);
                }
            }
            Err(why) => {
                tracing::warn!(asker = ticket.requester.0, "the model failed: {why}");
                agent.complete_failed(now, ticket, Trouble::Model);
            }
        }
    }
}

/// How a job ended, in a line; what was said is for who asked.
fn ended(state: &JobState) -> String {
    let answer = match state {
        JobState::Done(answer) => answer,
        JobState::Failed { reason } => return format!("no answer, since {reason}"),
        JobState::Cancelled => return "taken back".to_owned(),
        JobState::Queued | JobState::Running { .. } => return "not yet".to_owned(),
    };
    let what = match answer {
        JobAnswer { class: Some(class), .. } => format!("class {class:?}"),
        JobAnswer { text: Some(text), .. } => format!("{} bytes of text", text.len()),
        JobAnswer { embedding: Some(vector), .. } => format!("a vector of {} numbers", vector.len()),
        _ => "nothing".to_owned(),
    };
    let by = if answer.attempts == 0 { "here".to_owned() } else { format!("by {}", node_id(answer.by)) };
    format!("{what}, answered {by} after {:.1} s ({:?})", answer.latency_ms as f64 / 1000.0, answer.model)
}

fn failure(failure: JobFailure) -> &'static str {
    match failure {
        JobFailure::NoExecutor => {
            "no node that answers such jobs was heard of in time: is an edge node on the mesh?"
        }
        JobFailure::NoAnswer => {
            "a node was asked, and its answer did not come in time: ask again, or allow more time"
        }
        JobFailure::Unsupported => "the node that was asked does not do such jobs: ask for another kind",
        JobFailure::Failed(Trouble::Model) => "the model of the node that was asked failed: ask again later",
        JobFailure::Failed(Trouble::Question) => {
            "the node that was asked cannot read the question: shorten it"
        }
        JobFailure::Failed(Trouble::Answer) => "the answer is too long to be sent: ask for less",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_one_line_in_the_log() {
        let answer = JobAnswer {
            by: 0x0b00_0001,
            model: "all-MiniLM-L6-v2".into(),
            latency_ms: 12_340,
            attempts: 2,
            ..JobAnswer::default()
        };
        let done = |answer| ended(&JobState::Done(answer));
        let vector = JobAnswer { embedding: Some(vec![0.5; 384]), ..answer.clone() };
        assert_eq!(
            done(vector),
            "a vector of 384 numbers, answered by !0b000001 after 12.3 s (\"all-MiniLM-L6-v2\")"
        );
        let text = JobAnswer { text: Some("one\ntwo".into()), attempts: 0, ..answer.clone() };
        assert!(done(text).starts_with("7 bytes of text, answered here after"));
        let class = JobAnswer { class: Some("med\nical".into()), ..answer };
        assert!(done(class).starts_with("class \"med\\nical\", answered by"));
        let failed = ended(&JobState::Failed { reason: "nobody was heard of".into() });
        assert_eq!(failed, "no answer, since nobody was heard of");
    }

    #[test]
    fn answers_are_cut_at_a_word() {
        assert_eq!(shortened("two hikers below", 100), "two hikers below");
        assert_eq!(shortened("two hikers below", 12), "two hikers");
        assert_eq!(shortened("Überraschung", 1), "");
        assert_eq!(shortened("Donaudampfschiff", 5), "Donau");
    }

    #[test]
    fn what_is_empty_or_too_long_is_refused_with_its_length() {
        let spec = |kind, text: String| JobSpec {
            kind,
            text,
            priority: JobPriority::Normal,
            deadline_s: None,
            max_chars: None,
        };
        assert!(check(&spec(JobKind::Chat, "  ".into())).unwrap_err().contains("empty"));
        assert!(check(&spec(JobKind::Classify, "x".repeat(321))).unwrap_err().contains("321 bytes"));
        assert!(check(&spec(JobKind::Chat, "x".repeat(2049))).unwrap_err().contains("2049 bytes"));
        assert!(check(&spec(JobKind::Embed, "where is the hut".into())).is_ok());
    }
}
