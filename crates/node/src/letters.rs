//! Letters: questions and answers that may be longer than a frame, on their way out, on their way in, and kept.
//!
//! A letter has up to [`PARTS_MAX`] parts of [`PART_LEN`] bytes. The first travels in the request or the result, the others in frames
//! of their own. Who waits for a letter asks for what is missing, and for nothing else; parts may come twice and in any order. The
//! table holds [`LETTERS`]; where it is full, answers that were given longest ago make room, and what is still at work never does.

use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use heapless::Vec;

use crate::{
    jobs::{JobId, TEXT_MAX},
    promises::Ticket,
};

/// Bytes of each part but the last: all parts fit their frames, so a receiver knows where each belongs.
pub const PART_LEN: usize = TEXT_MAX;
/// Most parts of an answer.
pub const PARTS_MAX: u8 = 4;
/// Most parts of a question.
pub const QUESTION_PARTS: u8 = 3;
/// Letters at a time.
pub const LETTERS: usize = 12;
// Own jobs cannot fill the table: each has two letters at most.
const _: () = assert!(LETTERS > 2 * crate::jobs::TALKS);
/// Longest letter in coded bytes.
pub const LETTER_MAX: usize = PART_LEN * PARTS_MAX as usize;
/// How often a part is asked for by itself; after that the job's own repetitions go on.
const ASKS: u8 = 6;

/// Whose a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A question of a job of this node.
    Question(JobId),
    /// The answer to it.
    Answer(JobId),
    /// The question of another node, and once it is answered the answer.
    Theirs(Ticket),
}

/// One letter.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) owner: Owner,
    /// At the other end.
    pub(crate) peer: NodeNum,
    /// Codec of the whole.
    pub(crate) codec: u8,
    /// Hash of the question, kept when the answer takes its place.
    pub(crate) question: u64,
    /// 0 while unknown.
    parts: u8,
    /// Bit n: part n is here.
    have: u8,
    last_len: u8,
    tag: Option<u8>,
    touched: Instant,
    asks: u8,
    bytes: [u8; LETTER_MAX],
}

/// A hash of 64 bits (FNV-1a): two questions of one hash are taken for one.
pub(crate) fn hash(head: [u8; 3], bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let start = head.iter().fold(0xcbf2_9ce4_8422_2325, step);
    bytes.iter().fold(start, step)
}

/// The byte that stands for a whole letter.
pub(crate) fn tag(codec: u8, bytes: &[u8]) -> u8 {
    let whole = hash([codec, 0, 0], bytes);
    whole.to_le_bytes().iter().fold(0, |tag, byte| tag ^ byte)
}

impl Letter {
    fn new(now: Instant, owner: Owner, peer: NodeNum) -> Self {
        Self {
            owner,
            peer,
            codec: 0,
            question: 0,
            parts: 0,
            have: 0,
            last_len: 0,
            tag: None,
            touched: now,
            asks: 0,
            bytes: [0; LETTER_MAX],
        }
    }

    /// Becomes this; false if it is empty or too long.
    pub(crate) fn set(&mut self, now: Instant, codec: u8, bytes: &[u8]) -> bool {
        if bytes.is_empty() || bytes.len() > LETTER_MAX {
            return false;
        }
        self.parts = bytes.len().div_ceil(PART_LEN) as u8;
        self.have = (1 << self.parts) - 1;
        self.last_len = (bytes.len() - PART_LEN * (usize::from(self.parts) - 1)) as u8;
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.codec = codec;
        self.tag = Some(tag(codec, bytes));
        self.touched = now;
        true
    }

    /// Takes a part. The tag is that of the whole, where the frame tells it; the codec comes with the first part.
    /// True if the letter is whole now and was not before.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        part: u8,
        parts: u8,
        tag_of_whole: Option<u8>,
        codec: Option<u8>,
        bytes: &[u8],
    ) -> bool {
        let last = part + 1 == parts;
        let sound = (1..=PARTS_MAX).contains(&parts)
            && part < parts
            && if last { (1..=PART_LEN).contains(&bytes.len()) } else { bytes.len() == PART_LEN };
        if !sound {
            return false;
        }
        if self.parts != parts && self.parts != 0
            || self.tag.is_some() && tag_of_whole.is_some() && self.tag != tag_of_whole
        {
            // Another letter under the same name: its sender was started anew, or another answers.
            (self.have, self.tag) = (0, None);
        }
        self.parts = parts;
        self.tag = self.tag.or(tag_of_whole);
        self.touched = now;
        // The other end is there and tries.
        self.asks = 0;
        if self.have >> part & 1 == 1 {
            return false;
        }
        self.have |= 1 << part;
        let at = usize::from(part) * PART_LEN;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        if last {
            self.last_len = bytes.len() as u8;
        }
        if let Some(codec) = codec {
            self.codec = codec;
        }
        let Some(whole) = self.bytes() else { return false };
        if self.tag.is_some_and(|said| said != tag(self.codec, whole)) {
            (self.have, self.tag) = (0, None);
            return false;
        }
        true
    }

    /// Bit n: part n is missing. All of it where nothing is known.
    pub(crate) fn missing(&self) -> u8 {
        if self.parts == 0 { 1 } else { !self.have & ((1 << self.parts) - 1) }
    }

    /// The whole, once it is here.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        let whole = self.parts > 0 && self.missing() == 0;
        whole.then(|| &self.bytes[..PART_LEN * (usize::from(self.parts) - 1) + usize::from(self.last_len)])
    }

    /// Its parts, once it is whole.
    pub(crate) fn parts(&self) -> u8 {
        if self.bytes().is_some() { self.parts } else { 0 }
    }

    /// The tag of the whole; 0 while it is not here.
    pub(crate) fn tag(&self) -> u8 {
        self.tag.unwrap_or(0)
    }

    /// A part of the whole, in a buffer of its own.
    pub(crate) fn part(&self, part: u8) -> Option<Vec<u8, PART_LEN>> {
        let chunk = self.bytes()?.chunks(PART_LEN).nth(usize::from(part))?;
        Vec::from_slice(chunk).ok()
    }

    /// Its missing parts are still asked for.
    pub(crate) fn is_waiting(&self) -> bool {
        self.asks_at(Duration::from_micros(0)).is_some()
    }

    fn asks_at(&self, gap: Duration) -> Option<Instant> {
        let waits = self.have != 0 && self.missing() != 0 && self.asks < ASKS;
        waits.then(|| self.touched + Duration::from_micros(gap.as_micros() << (self.asks / 2)))
    }
}

/// All letters.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    table: Vec<Letter, LETTERS>,
}

impl Letters {
    pub(crate) fn get(&self, owner: Owner) -> Option<&Letter> {
        self.table.iter().find(|letter| letter.owner == owner)
    }

    pub(crate) fn get_mut(&mut self, owner: Owner) -> Option<&mut Letter> {
        self.table.iter_mut().find(|letter| letter.owner == owner)
    }

    /// The letter of this owner, a new one if there is none; `None` where all others are at work. `at_work` tells of which promises
    /// are.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        owner: Owner,
        peer: NodeNum,
        at_work: impl Fn(Ticket) -> bool,
    ) -> Option<&mut Letter> {
        if self.get(owner).is_none() {
            if self.table.is_full() {
                let goes = |letter: &Letter| match letter.owner {
                    Owner::Question(_) => false,
                    // The host had its time to read it.
                    Owner::Answer(_) => letter.missing() == 0,
                    Owner::Theirs(ticket) => !at_work(ticket),
                };
                let oldest = self
                    .table
                    .iter()
                    .enumerate()
                    .filter(|(_, letter)| goes(letter))
                    .min_by_key(|(_, letter)| letter.touched)?
                    .0;
                self.table.swap_remove(oldest);
            }
            let _ = self.table.push(Letter::new(now, owner, peer));
        }
        self.get_mut(owner)
    }

    pub(crate) fn remove(&mut self, owner: Owner) {
        self.table.retain(|letter| letter.owner != owner);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Letter) -> bool) {
        self.table.retain(|letter| keep(letter));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.table.iter()
    }

    /// A letter whose next part was awaited for `gap`, twice as long after every second time that it was asked for.
    pub(crate) fn due(&mut self, now: Instant, gap: Duration) -> Option<&mut Letter> {
        let index = self.table.iter().position(|letter| letter.asks_at(gap).is_some_and(|at| now >= at))?;
        let letter = &mut self.table[index];
        letter.asks += 1;
        letter.touched = now;
        Some(letter)
    }

    /// When [`Self::due`] finds something next.
    pub(crate) fn poll_timeout(&self, gap: Duration) -> Option<Instant> {
        self.table.iter().filter_map(|letter| letter.asks_at(gap)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeNum = NodeNum(7);

    fn theirs(reference: u16) -> Owner {
        Owner::Theirs(Ticket { requester: PEER, reference })
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn long() -> [u8; 450] {
        core::array::from_fn(|index| index as u8 ^ (index >> 8) as u8)
    }

    #[test]
    fn parts_come_in_any_order_and_twice() {
        let text = long();
        let tag = Some(tag(1, &text));
        let mut letter = Letter::new(at(0), theirs(1), PEER);
        for (part, codec) in [(2, None), (2, None), (0, Some(1)), (2, None)] {
            let bytes = text.chunks(PART_LEN).nth(part).unwrap();
            assert!(!letter.take(at(0), part as u8, 3, tag.filter(|_| part > 0), codec, bytes));
        }
        assert_eq!(letter.missing(), 0b010);
        assert!(letter.take(at(0), 1, 3, tag, None, &text[200..400]));
        assert_eq!(letter.bytes().unwrap(), text);
        assert_eq!((letter.part(2).unwrap().as_slice(), letter.parts()), (&text[400..], 3));
    }

    #[test]
    fn parts_of_two_answers_are_not_joined() {
        let (one, mut other) = (long(), long());
        other[300] ^= 1;
        let mut letter = Letter::new(at(0), theirs(1), PEER);
        letter.take(at(0), 0, 3, Some(tag(0, &one)), Some(0), &one[..200]);
        letter.take(at(0), 1, 3, Some(tag(0, &one)), None, &one[200..400]);
        letter.take(at(0), 2, 3, Some(tag(0, &other)), None, &other[400..]);
        assert_eq!(letter.missing(), 0b011, "what the first had sent is void");
        letter.take(at(0), 0, 3, Some(tag(0, &other)), Some(0), &other[..200]);
        assert!(letter.take(at(0), 1, 3, Some(tag(0, &other)), None, &other[200..400]));
        assert_eq!(letter.bytes().unwrap(), other);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let mut letter = Letter::new(at(0), theirs(1), PEER);
        for (part, parts, length) in [(0, 2, 199), (1, 2, 201), (1, 2, 0), (0, 5, 200), (2, 2, 9), (0, 0, 9)]
        {
            assert!(!letter.take(at(0), part, parts, Some(1), Some(0), &[1; 201][..length]));
        }
        assert_eq!(letter.have, 0);
    }

    #[test]
    fn it_asks_less_and_less_often_and_then_not_at_all() {
        let mut letters = Letters::default();
        let gap = Duration::from_secs(10);
        letters.open(at(0), theirs(1), PEER, |_| true).unwrap();
        assert!(letters.poll_timeout(gap).is_none(), "nothing came yet");
        letter_part(&mut letters);
        let mut asked = [0; ASKS as usize];
        for (index, seconds) in (0..300).filter(|s| letters.due(at(*s), gap).is_some()).enumerate() {
            asked[index] = seconds;
        }
        assert_eq!(asked, [10, 20, 40, 60, 100, 140]);
    }

    fn letter_part(letters: &mut Letters) {
        let letter = letters.get_mut(theirs(1)).unwrap();
        letter.take(at(0), 1, 2, Some(0), None, &[1; 9]);
    }

    #[test]
    fn only_what_is_over_makes_room() {
        let mut letters = Letters::default();
        for reference in 0..LETTERS as u16 {
            letters.open(at(u64::from(reference)), theirs(reference), PEER, |_| true).unwrap();
        }
        assert!(letters.open(at(99), theirs(99), PEER, |_| true).is_none());
        assert!(letters.open(at(99), theirs(99), PEER, |ticket| ticket.reference < 5).is_some());
        assert!(letters.get(theirs(5)).is_none() && letters.get(theirs(6)).is_some());
    }
}
