//! What waits to be handed to the radio, and when it may go.
//!
//! The radio has room for some packets and tells of it by queue statuses, of which it drops most when they come fast. So the
//! room is reckoned: each status sets it, each packet takes from it. Without room and without word the radio is asked (by a heartbeat,
//! which it answers with a status), and after that one packet is tried.

use core::fmt;

use heapless::{Deque, Vec};

use crate::framing::MAX_MESSAGE;

/// Messages that may wait.
pub const WAITING: usize = 8;
/// Packets whose fate is watched.
const WATCHED: usize = 64;
/// Room that is taken for granted before the first status: half of the usual queue of 16.
const FIRST_ROOM: u32 = 8;

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The handshake has not ended: wait for `Ready`.
    NotReady,
    /// Too many wait: take `poll_transmit` first, and look again when its time has come.
    Busy,
    /// Longer than one message of the client API.
    TooLarge,
    /// Not to be passed on: a session asks for the state and ends the link by itself.
    NotForward,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "the radio is not ready yet; wait until it has told its state",
            Self::Busy => "the radio's queue is full; try again in some seconds",
            Self::TooLarge => "the message is longer than 512 bytes; send less",
            Self::NotForward => "only packets and data for the radio can be passed on",
        })
    }
}

impl core::error::Error for SendError {}

/// A message that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Id of the packet in it; none where it is no packet, which needs no room.
    pub id: Option<u32>,
    pub bytes: Vec<u8, MAX_MESSAGE>,
}

/// What to do next.
// A message is handed over as it lies there: no heap.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing for now.
    Wait,
    /// Ask the radio for its queue's state.
    Ask,
    /// Hand this over.
    Send(Vec<u8, MAX_MESSAGE>),
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    waiting: Deque<Waiting, WAITING>,
    watched: Deque<u32, WATCHED>,
    room: u32,
    /// When the last packet went.
    sent_ms: Option<u64>,
    /// When something was last sent or learned about the room.
    word_ms: u64,
    asked: bool,
}

impl Flow {
    pub const fn new() -> Self {
        Self {
            waiting: Deque::new(),
            watched: Deque::new(),
            room: FIRST_ROOM,
            sent_ms: None,
            word_ms: 0,
            asked: false,
        }
    }

    /// The radio's queue is empty again, as after its start.
    pub fn handle_restart(&mut self, now_ms: u64) {
        self.room = FIRST_ROOM;
        self.word_ms = now_ms;
        self.asked = false;
        self.watched.clear();
    }

    pub fn handle_status(&mut self, now_ms: u64, free: u32) {
        self.room = free;
        self.word_ms = now_ms;
        self.asked = false;
    }

    pub fn is_full(&self) -> bool {
        self.waiting.is_full()
    }

    pub fn push(&mut self, waiting: Waiting) -> Result<(), SendError> {
        self.waiting.push_back(waiting).map_err(|_| SendError::Busy)
    }

    /// Takes what waits, one by one, as it cannot be handed over any more.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// True if the packet is one of ours whose fate is not known yet.
    pub fn is_watched(&self, id: u32) -> bool {
        self.watched.iter().any(|watched| *watched == id)
    }

    pub fn forget(&mut self, id: u32) {
        self.watched.retain(|watched| *watched != id);
    }

    /// When the next one may go or something is to be asked.
    pub fn timeout_ms(&self, gap_ms: u64, room_ms: u64) -> Option<u64> {
        let next = self.waiting.front()?;
        let paced_ms = self.sent_ms.map_or(0, |sent_ms| sent_ms.saturating_add(gap_ms));
        Some(match next.id {
            None => 0,
            Some(_) if self.room > 0 => paced_ms,
            Some(_) => paced_ms.max(self.word_ms.saturating_add(room_ms)),
        })
    }

    pub fn next(&mut self, now_ms: u64, gap_ms: u64, room_ms: u64) -> Next {
        if self.timeout_ms(gap_ms, room_ms).is_none_or(|due_ms| due_ms > now_ms) {
            return Next::Wait;
        }
        let is_packet = self.waiting.front().is_some_and(|next| next.id.is_some());
        if is_packet && self.room == 0 && !self.asked {
            self.asked = true;
            self.word_ms = now_ms;
            return Next::Ask;
        }
        let Some(next) = self.waiting.pop_front() else { return Next::Wait };
        if let Some(id) = next.id {
            self.room = self.room.saturating_sub(1);
            self.sent_ms = Some(now_ms);
            self.word_ms = now_ms;
            self.asked = false;
            if self.watched.is_full() {
                self.watched.pop_front();
            }
            let _ = self.watched.push_back(id);
        }
        Next::Send(next.bytes)
    }
}
