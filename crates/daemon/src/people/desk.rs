//! The desk at which people's messages are received: who may ask, how much, and what goes back. No I/O, no clock.
//!
//! # Rules
//!
//! - A message to this node, or one on a channel that begins with the trigger, is a wish. What is a reply to something never is: two
//!   programs that answer each other would not stop.
//! - A sender is trusted if it is on the allow list and the message proves that it is its own. All others are strangers; whatever is
//!   sent to them, refusals too, comes out of one budget of air time.
//! - Each sender has a budget of answers. Who writes each time within seconds of our answer is no person, and not answered for an hour.
//! - While the gate is shut, the models have their hands full or a budget is used up, a sender is told "busy" once in ten minutes,
//!   and else nothing. In the first minute after the start nothing goes, a "busy" neither: what is asked then is answered when it is over.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    airtime_ms,
    bucket::Bucket,
    config::PeopleConfig,
    words::{self, PACKET_MAX, Wish},
};
use crate::{
    brain::beginning,
    seam::{JobKind, JobPriority, JobSpec, JobState, OutText, Snapshot, TextMessage},
};

/// Destination of what is for everybody.
const EVERYBODY: u32 = u32::MAX;
/// Senders that are remembered; the one heard longest ago makes room.
const SENDERS: usize = 256;
/// Messages that are remembered, so that a repeated one is not answered twice.
const SEEN: usize = 256;
/// Questions at work at a time; one more is told "busy".
const OPEN: usize = 8;
/// Actions that may wait.
const ACTIONS: usize = 32;
/// Between two "busy" to one sender.
const BUSY_EVERY: Duration = Duration::from_secs(600);
/// The same text from the same sender within this time is a repetition.
const SAME_TEXT: Duration = Duration::from_secs(60);
/// An answer that comes so soon was not typed.
const TYPED: Duration = Duration::from_secs(8);
/// So many in a row, and the sender is a program.
const STREAK: u8 = 4;
/// How long a program is not answered.
const MUTED: Duration = Duration::from_secs(3600);
/// Longest question that becomes a job, bytes: what a stock node can send.
const QUESTION_MAX: usize = 233;
/// What is said where nothing else can be.
const BUSY: &str = "Busy, please ask again later.";

/// What the desk wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Submit this job, and tell [`Desk::handle_submitted`].
    Submit {
        /// Names the question at this desk.
        key: u64,
        /// The job.
        spec: JobSpec,
    },
    /// Take this job back.
    Cancel {
        /// Its number.
        job: u64,
    },
    /// Send this; if it does not go, nothing more is tried.
    Send(OutText),
}

#[derive(Debug)]
struct Sender {
    answers: Bucket,
    heard: Duration,
    answered: Option<Duration>,
    busy_told: Option<Duration>,
    streak: u8,
    muted_until: Duration,
    last_text: String,
}

#[derive(Debug)]
struct Open {
    key: u64,
    job: Option<u64>,
    from: u32,
    id: u32,
    channel: u8,
    public: bool,
    stranger: bool,
    /// Of the strangers' budget, milliseconds.
    reserved_ms: f64,
    until: Duration,
    /// The answer is being shortened; this is the long one.
    too_long: Option<String>,
}

/// See the module.
pub struct Desk {
    config: PeopleConfig,
    allow: Vec<u32>,
    /// Number of this node; 0 before it is known.
    own: u32,
    /// By number, and whether the message proved it: who borrows a trusted number spends nothing of its budget.
    senders: BTreeMap<(u32, bool), Sender>,
    strangers: Bucket,
    seen: VecDeque<(u32, bool, u32)>,
    open: Vec<Open>,
    actions: VecDeque<Action>,
    state: Snapshot,
    next_key: u64,
}

impl Desk {
    /// A desk of a node that is not known yet: [`Self::handle_state`] tells. Fails as [`PeopleConfig::check`].
    pub fn new(config: PeopleConfig) -> anyhow::Result<Self> {
        let allow = config.check()?;
        let hour = Duration::from_secs(3600);
        let strangers = Bucket::new(f64::from(config.strangers_airtime_s_per_hour) * 1000.0, hour);
        Ok(Self {
            config,
            allow,
            own: 0,
            senders: BTreeMap::new(),
            strangers,
            seen: VecDeque::new(),
            open: Vec::new(),
            actions: VecDeque::new(),
            state: Snapshot::default(),
            next_key: 1,
        })
    }

    /// How things stand: who this node is, on which preset, and whether the gate is open. To be told again whenever a radio has come.
    pub fn handle_state(&mut self, state: Snapshot) {
        // A node that starts anew has no number until its radio has told, and is the same one meanwhile.
        if state.num != 0 {
            self.own = state.num;
        }
        self.state = state;
    }

    /// Time on air of a text of so many bytes, milliseconds.
    fn airtime_ms(&self, length: usize) -> f64 {
        airtime_ms(&self.state.preset, length)
    }

    fn gate_is_shut(&self) -> bool {
        // The polite gate and missing telemetry hold bulk back, and people are not bulk.
        !matches!(self.state.airtime.gate.as_str(), "" | "open" | "polite" | "no-telemetry" | "starting")
    }

    /// A message of a person, or of a program.
    pub fn handle_text(&mut self, now: Duration, message: &TextMessage) {
        if !self.config.enabled || message.from == self.own || message.reply_to.is_some_and(|id| id != 0) {
            return;
        }
        let direct = message.to == self.own && self.own != 0;
        let wanted = if direct {
            // Who has the habit writes the trigger here too.
            Some(words::after_trigger(&message.text, &self.config.trigger).unwrap_or(&message.text))
        } else if message.to == EVERYBODY && self.config.channels.contains(&message.channel) {
            words::after_trigger(&message.text, &self.config.trigger)
        } else {
            None
        };
        let Some(text) = wanted.map(str::trim) else { return };
        if self.state.mode == "listening" {
            tracing::info!(
                "a person is not answered, since this node only listens: `compotastic status` says why"
            );
            return;
        }
        let stranger = !(message.proven && self.allow.contains(&message.from));
        let sender = (message.from, stranger);
        if direct && text.is_empty()
            || stranger && !self.config.strangers
            || self.is_repeated(now, sender, message)
            || self.is_program(now, sender)
        {
            return;
        }
        let public = !direct && self.config.public_channels.contains(&message.channel);
        let asked = Open {
            key: self.next_key,
            job: None,
            from: message.from,
            id: message.id,
            channel: message.channel,
            public,
            stranger,
            reserved_ms: 0.0,
            until: now + Duration::from_secs(u64::from(self.config.deadline_s)),
            too_long: None,
        };
        self.next_key += 1;
        if self.gate_is_shut() {
            self.tell_busy(now, &asked);
            return;
        }
        match words::wish(text) {
            Wish::Help => self.say_once(now, asked, words::help(&self.config.trigger)),
            Wish::Status => self.say_once(now, asked, words::status(&self.state)),
            Wish::Question(question) => self.ask(now, asked, question),
        }
    }

    /// Whether the same came before.
    fn is_repeated(&mut self, now: Duration, from: (u32, bool), message: &TextMessage) -> bool {
        let name = (from.0, from.1, message.id);
        if self.seen.contains(&name) {
            return true;
        }
        if self.seen.len() >= SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(name);
        if !self.senders.contains_key(&from) {
            if self.senders.len() >= SENDERS
                && let Some(oldest) =
                    self.senders.iter().min_by_key(|(_, sender)| sender.heard).map(|(num, _)| *num)
            {
                self.senders.remove(&oldest);
            }
            let answers = self.config.answers_per_10_min / if from.1 { 3 } else { 1 };
            let answers = Bucket::new(f64::from(answers.max(1)), Duration::from_secs(600));
            self.senders.insert(
                from,
                Sender {
                    answers,
                    heard: now,
                    answered: None,
                    busy_told: None,
                    streak: 0,
                    muted_until: Duration::ZERO,
                    last_text: String::new(),
                },
            );
        }
        let Some(sender) = self.senders.get_mut(&from) else { return true };
        let same = sender.last_text == message.text && now.saturating_sub(sender.heard) < SAME_TEXT;
        sender.heard = now;
        sender.last_text.clone_from(&message.text);
        same
    }

    /// Whether this sender answers our answers.
    fn is_program(&mut self, now: Duration, from: (u32, bool)) -> bool {
        let Some(sender) = self.senders.get_mut(&from) else { return true };
        if now < sender.muted_until {
            return true;
        }
        match sender.answered.take() {
            Some(at) if now.saturating_sub(at) < TYPED => sender.streak += 1,
            Some(_) => sender.streak = 0,
            None => {}
        }
        if sender.streak >= STREAK {
            sender.streak = 0;
            sender.muted_until = now + MUTED;
            tracing::info!(
                from = format!("!{:08x}", from.0),
                "answers our answers at once: not answered for an hour"
            );
            return true;
        }
        false
    }

    fn act(&mut self, action: Action) -> bool {
        let room = self.actions.len() < ACTIONS;
        if room {
            self.actions.push_back(action);
        }
        room
    }

    fn send(&mut self, now: Duration, asked: &Open, text: String) {
        let (to, channel) =
            if asked.public { (EVERYBODY, asked.channel) } else { (asked.from, asked.channel) };
        if let Some(sender) = self.senders.get_mut(&(asked.from, asked.stranger)) {
            sender.answered = Some(now);
        }
        self.act(Action::Send(OutText { to, channel, text, reply_to: Some(asked.id) }));
    }

    /// A short word that nothing else can be done, if this sender was not told lately and there is air for it.
    fn tell_busy(&mut self, now: Duration, asked: &Open) {
        let cost = self.airtime_ms(BUSY.len());
        let Some(sender) = self.senders.get_mut(&(asked.from, asked.stranger)) else { return };
        // Who is not answered and asks the same again repeats nothing.
        sender.last_text.clear();
        if sender.busy_told.is_some_and(|at| now.saturating_sub(at) < BUSY_EVERY) {
            return;
        }
        if asked.stranger && !self.strangers.take(now, cost) {
            return;
        }
        sender.busy_told = Some(now);
        // To whoever asked, never to all.
        let to = Open { public: false, too_long: None, ..*asked };
        self.send(now, &to, BUSY.to_owned());
    }

    /// Takes what an answer of so many packets costs from the budgets; false where there is not enough.
    fn pay(&mut self, now: Duration, asked: &mut Open, packets: u8) -> bool {
        let cost = f64::from(packets) * self.airtime_ms(PACKET_MAX);
        let Some(sender) = self.senders.get_mut(&(asked.from, asked.stranger)) else { return false };
        if sender.answers.level(now) < 1.0 || asked.stranger && !self.strangers.take(now, cost) {
            return false;
        }
        sender.answers.take(now, 1.0);
        asked.reserved_ms = if asked.stranger { cost } else { 0.0 };
        true
    }

    /// What was taken from the strangers' budget and not used.
    fn settle(&mut self, asked: &Open, texts: &[String]) {
        let used: f64 = texts.iter().map(|text| self.airtime_ms(text.len())).sum();
        self.strangers.give_back(asked.reserved_ms - used);
    }

    fn say_once(&mut self, now: Duration, mut asked: Open, text: String) {
        if !self.pay(now, &mut asked, 1) {
            self.tell_busy(now, &asked);
            return;
        }
        self.settle(&asked, std::slice::from_ref(&text));
        self.send(now, &asked, text);
    }

    fn ask(&mut self, now: Duration, mut asked: Open, question: &str) {
        if self.open.len() >= OPEN
            || self.actions.len() >= ACTIONS
            || !self.pay(now, &mut asked, self.config.packets)
        {
            self.tell_busy(now, &asked);
            return;
        }
        let question = beginning(question, QUESTION_MAX);
        let spec = self.spec(question.to_owned(), self.room_chars(question));
        self.act(Action::Submit { key: asked.key, spec });
        self.open.push(asked);
    }

    fn spec(&self, text: String, max_chars: u16) -> JobSpec {
        JobSpec {
            kind: JobKind::Chat,
            text,
            priority: JobPriority::Normal,
            deadline_s: Some(self.config.deadline_s),
            max_chars: Some(max_chars),
        }
    }

    /// Characters that fit the packets of an answer, if they are as long as those of the question; a word may be lost at the break.
    fn room_chars(&self, like: &str) -> u16 {
        let bytes = PACKET_MAX * usize::from(self.config.packets) - 24;
        (bytes * like.chars().count().max(1) / like.len().max(1)).clamp(40, bytes) as u16
    }

    /// The job of a question was taken, under this number, or refused.
    pub fn handle_submitted(&mut self, now: Duration, key: u64, taken: Result<u64, String>) {
        let Some(index) = self.open.iter().position(|open| open.key == key) else {
            if let Ok(job) = taken {
                self.act(Action::Cancel { job });
            }
            return;
        };
        match taken {
            Ok(job) => self.open[index].job = Some(job),
            Err(reason) => {
                tracing::debug!(reason, "a person's question is not taken");
                let asked = self.open.swap_remove(index);
                self.settle(&asked, &[]);
                self.tell_busy(now, &asked);
            }
        }
    }

    /// A job has moved on.
    pub fn handle_job(&mut self, now: Duration, job: u64, state: &JobState) {
        let Some(index) = self.open.iter().position(|open| open.job == Some(job)) else { return };
        let answer = match state {
            JobState::Queued | JobState::Running { .. } => return,
            JobState::Done(answer) => answer.text.clone(),
            JobState::Failed { .. } | JobState::Cancelled => None,
        };
        let mut asked = self.open.swap_remove(index);
        let most = usize::from(self.config.packets);
        let answer = match (answer, asked.too_long.take()) {
            (Some(answer), None) if answer.len() > PACKET_MAX * most - 24 && self.actions.len() < ACTIONS => {
                // In a script of long characters, or from a model far away that did not keep to it.
                let goal = self.room_chars(&answer) * 4 / 5;
                let order =
                    format!("Shorten this to at most {goal} characters, in its language:\n\n{answer}");
                let spec = self.spec(order, goal);
                asked.job = None;
                self.act(Action::Submit { key: asked.key, spec });
                asked.too_long = Some(answer);
                self.open.push(asked);
                return;
            }
            (Some(answer), _) | (None, Some(answer)) if !answer.trim().is_empty() => answer,
            _ => {
                self.settle(&asked, &[]);
                self.tell_busy(now, &asked);
                return;
            }
        };
        // An answer that began with the trigger would be a question to the next node like this one.
        let answer = words::after_trigger(&answer, &self.config.trigger).unwrap_or(&answer);
        let texts = words::packets(answer, most);
        self.settle(&asked, &texts);
        for text in texts {
            self.send(now, &asked, text);
        }
    }

    /// Time has passed: questions whose jobs never ended are given up.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(index) = self.open.iter().position(|open| now >= open.until + Duration::from_secs(60))
        {
            let asked = self.open.swap_remove(index);
            if let Some(job) = asked.job {
                self.act(Action::Cancel { job });
            }
            self.settle(&asked, &[]);
            self.tell_busy(now, &asked);
        }
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Questions at work.
    pub fn open_questions(&self) -> usize {
        self.open.len()
    }
}
