//! The executor's side of jobs: what this node has promised, is doing, and has answered.
//!
//! Answers are kept, so that a repeated request costs one frame and no second execution. The table holds
//! [`CAPACITY`] entries; when it is full the oldest finished one makes room, and when none is finished the
//! requester is told that the node is busy.

use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use heapless::Vec;

use crate::{
    jobs::{CodedText, Kind},
    policy::Priority,
};

/// Promises kept at a time.
pub const CAPACITY: usize = 32;
/// Promises to one requester that are not answered yet: one peer's jobs cannot take all.
pub const PER_PEER: usize = CAPACITY / 4;
/// An offer that nobody awards, and an execution that the host never completes, lapse after this time.
pub const LEASE: Duration = Duration::from_secs(120);
/// Questions whose parts do not all come lapse after this time, and executions of them that the host never completes: a
/// language model on a small computer takes minutes.
pub const TALK_LEASE: Duration = Duration::from_secs(600);
/// Answers are kept for repeated requests for this long.
const KEEP: Duration = Duration::from_secs(2 * 3600);

/// Names a job at its executor: who asks, and the low bits of the packet id of the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Who asks.
    pub requester: NodeNum,
    /// Low 16 bits of the first request's packet id.
    pub reference: u16,
}

/// What came of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Class index.
    pub class: u8,
    /// Confidence, 0 (none) to 15 (certain).
    pub confidence: u8,
    /// Version of the model that answered (its low 8 bits).
    pub model_version: u8,
    /// The model would rather not be believed.
    pub unsure: bool,
}

impl Outcome {
    /// The empty outcome of receipts and refusals.
    pub const NONE: Self = Self { class: 0, confidence: 0, model_version: 0, unsure: false };
}

/// Why an executor that tried has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// The model failed.
    Model = 0,
    /// The question cannot be read, or is too long for the model.
    Question = 1,
    /// The answer is too long to be sent.
    Answer = 2,
}

impl Trouble {
    /// From the byte on the air; what is not known is the model's fault.
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Question,
            2 => Self::Answer,
            _ => Self::Model,
        }
    }
}

/// Where a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// An open call was heard; the offer is made at this time unless a better one is heard.
    Bidding {
        /// When to speak.
        speak_at: Instant,
        /// How well this node suits, 0..=255.
        suitability: u8,
    },
    /// An offer was made; an award is awaited until the lease ends.
    Offered,
    /// Parts of the question are missing.
    Collecting,
    /// The host works on it.
    Running,
    /// Answered.
    Done(Outcome),
    /// Tried in vain.
    Failed(Trouble),
}

/// One promise.
#[derive(Clone, Debug)]
pub struct Promise {
    /// Its name.
    pub ticket: Ticket,
    /// What it asks for.
    pub kind: Kind,
    /// Task asked for; of words the longest answer that is wanted, in 16 characters each.
    pub task: u8,
    /// Service order.
    pub priority: Priority,
    /// What is asked, or its first part.
    pub text: CodedText,
    /// Further parts.
    pub more: u8,
    /// Hops that the request took.
    pub hops_away: u8,
    /// Where it stands.
    pub state: State,
    /// When it entered that state.
    pub since: Instant,
}

/// The table of promises.
#[derive(Debug, Default)]
pub struct Promises {
    table: Vec<Promise, CAPACITY>,
}

impl Promises {
    /// The promise of this name.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Promise> {
        self.table.iter_mut().find(|promise| promise.ticket == ticket)
    }

    /// The promise of this name.
    pub fn get(&self, ticket: Ticket) -> Option<&Promise> {
        self.table.iter().find(|promise| promise.ticket == ticket)
    }

    /// Adds a promise; `false` when all entries are at work, or [`PER_PEER`] of this requester's.
    pub fn insert(&mut self, now: Instant, promise: Promise) -> bool {
        self.expire(now);
        let requester = promise.ticket.requester;
        let open = |entry: &&Promise| {
            entry.ticket.requester == requester && !matches!(entry.state, State::Done(_) | State::Failed(_))
        };
        if self.table.iter().filter(open).count() >= PER_PEER {
            return false;
        }
        if self.table.is_full() {
            let oldest = self
                .table
                .iter()
                .enumerate()
                .filter(|(_, promise)| matches!(promise.state, State::Done(_) | State::Failed(_)))
                .min_by_key(|(_, promise)| promise.since)
                .map(|(index, _)| index);
            match oldest {
                Some(index) => drop(self.table.remove(index)),
                None => return false,
            }
        }
        self.table.push(promise).is_ok()
    }

    /// Forgets a promise.
    pub fn remove(&mut self, ticket: Ticket) {
        self.table.retain(|promise| promise.ticket != ticket);
    }

    /// Forgets what has lapsed.
    pub fn expire(&mut self, now: Instant) {
        self.table.retain(|promise| {
            let age = now.saturating_duration_since(promise.since);
            match promise.state {
                State::Bidding { .. } => true,
                State::Collecting => age < TALK_LEASE,
                State::Running if promise.kind.is_talk() => age < TALK_LEASE,
                State::Offered | State::Running => age < LEASE,
                State::Done(_) | State::Failed(_) => age < KEEP,
            }
        });
    }

    /// A bid whose time has come.
    pub fn bid_due(&self, now: Instant) -> Option<&Promise> {
        self.table
            .iter()
            .find(|promise| matches!(promise.state, State::Bidding { speak_at, .. } if now >= speak_at))
    }

    /// When the next bid is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.table
            .iter()
            .filter_map(|promise| match promise.state {
                State::Bidding { speak_at, .. } => Some(speak_at),
                _ => None,
            })
            .min()
    }

    /// Whether this one is still to be answered.
    pub fn is_at_work(&self, ticket: Ticket) -> bool {
        self.get(ticket).is_some_and(|promise| !matches!(promise.state, State::Done(_) | State::Failed(_)))
    }

    /// Promises at work: the load that the beacon shows.
    pub fn running(&self) -> usize {
        self.table.iter().filter(|promise| promise.state == State::Running).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four promises at most have the same requester.
    fn promise(reference: u16, state: State, seconds: u64) -> Promise {
        Promise {
            ticket: Ticket { requester: NodeNum(7 + u32::from(reference) / 4), reference },
            kind: Kind::Classify,
            task: 1,
            priority: Priority::Routine,
            text: CodedText { codec: 0, bytes: Vec::new() },
            more: 0,
            hops_away: 0,
            state,
            since: Instant::ZERO + Duration::from_secs(seconds),
        }
    }

    #[test]
    fn finished_promises_make_room_and_running_ones_do_not() {
        let now = Instant::ZERO + Duration::from_secs(60);
        let mut promises = Promises::default();
        let done = State::Done(Outcome { class: 1, confidence: 9, model_version: 1, unsure: false });
        assert!(promises.insert(now, promise(0, done, 1)));
        for reference in 1..CAPACITY as u16 {
            assert!(promises.insert(now, promise(reference, State::Running, 60)));
        }
        assert!(promises.insert(now, promise(100, State::Running, 60)));
        assert!(promises.get(Ticket { requester: NodeNum(7), reference: 0 }).is_none());
        assert!(!promises.insert(now, promise(101, State::Running, 60)));
        // Leases lapse: the node is not blocked for ever by a host that never completes.
        let later = now + LEASE;
        assert!(promises.insert(later, promise(101, State::Running, 200)));
        assert_eq!(promises.running(), 1);
    }

    #[test]
    fn one_peer_has_a_quarter_of_the_table() {
        let mut promises = Promises::default();
        let of = |requester, reference| {
            let mut promise = promise(reference, State::Running, 1);
            promise.ticket.requester = NodeNum(requester);
            promise
        };
        let now = Instant::ZERO + Duration::from_secs(1);
        for reference in 0..PER_PEER as u16 {
            assert!(promises.insert(now, of(1, reference)));
        }
        assert!(!promises.insert(now, of(1, 99)));
        assert!(promises.insert(now, of(2, 99)));
        let done = State::Done(Outcome { class: 1, confidence: 9, model_version: 1, unsure: false });
        promises.get_mut(Ticket { requester: NodeNum(1), reference: 0 }).unwrap().state = done;
        assert!(promises.insert(now, of(1, 99)), "what is answered does not count");
    }
}
