//! The model of images: what comes next in the new one. Encoder and decoder run the same code.
//!
//! An image is made of units: halfwords of Thumb code, or bytes. A unit is copied from a place in the old image or the new one, with
//! its operands moved as what they point at moved, or it is a literal.

mod code;
mod copying;
mod guess;
mod moved;
mod plain;

use crate::header::Method;
use crate::mixer::Mixer;
use crate::range::Bits;
use crate::thumb::is_wide;

/// What the model may read: halfwords of the old image, and of the new one up to where it is.
pub(crate) trait View {
    type Error;
    /// The unit that begins at byte `at` of the old image.
    fn old_unit(&mut self, at: u32) -> Result<u16, Self::Error>;
    /// Unit `at` of the new image.
    fn new_unit(&mut self, at: u32) -> Result<u16, Self::Error>;
}

/// What an encoder wants the next unit to be; a decoder leaves it empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// The next two halfwords.
    pub(crate) halves: [u16; 2],
    /// Where the encoder's plan copies from at this place.
    pub(crate) copy: Option<Place>,
}

/// A place to copy from: a byte of the old image, or a unit of the new one. Text moves by odd numbers of bytes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Old(u32),
    New(u32),
}

impl Place {
    fn forward(self, by: u32, unit: u32) -> Self {
        match self {
            Self::Old(at) => Self::Old(at.wrapping_add(by * unit)),
            Self::New(at) => Self::New(at.wrapping_add(by)),
        }
    }
}

/// One or two halfwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) halves: [u16; 2],
    pub(crate) len: u8,
}

const TARGETS: usize = 256;
const FIXES: usize = 64;
const PAIRS: usize = 96;
const POOLS: usize = 48;
const WORDS: usize = 64;

/// What a guess was made from; part of the context of whether it is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Second,
    Far,
    Near,
    Flash,
    Ram,
    /// A small number in a table or pool: an index of something that has grown.
    Small,
    Pool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Guess {
    unit: Unit,
    /// A second guess, if another one is likely.
    other: Option<[u16; 2]>,
    kind: Kind,
    /// How the target was found.
    how: u8,
    /// What the old operand pointed at.
    target: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Engine {
    mixer: Mixer,
    method: Method,
    /// Length of the old image and of a unit in bytes, and the address of its first byte.
    old_len: u32,
    unit: u32,
    base: u32,
    /// Next halfword of the new image.
    pub(crate) at: u32,
    /// Entries of the map, and the next one to come.
    entries: u16,
    next_entry: u16,
    last: [u16; 4],
    wide: bool,
    copying: Option<Place>,
    mapped: bool,
    run: u32,
    /// Place in the old image that goes on beside the new one.
    tail: Option<u32>,
    tail_end: u32,
    literals: u32,
    hits: u8,
    targets: [u32; TARGETS],
    uses: [u8; TARGETS],
    hand: u8,
    last_target: u8,
    fixes: [(u32, u32); FIXES],
    next_fix: u8,
    pairs: [(u32, u32); PAIRS],
    pair_count: u8,
    next_pair: u8,
    pools: [u32; POOLS],
    next_pool: u8,
    last_word: u16,
    /// Words of literal pools, the last ones first.
    words: [u32; WORDS],
    was_pointer: bool,
}

fn hash(a: u32, b: u32) -> u32 {
    (a.wrapping_mul(0x2c1b_3c6d) ^ b).wrapping_mul(0x297a_2d39).rotate_left(13)
}

/// Whether both bytes are likely in names and messages; most code is not.
fn textual(half: u16) -> bool {
    half != 0
        && half
            .to_le_bytes()
            .iter()
            .all(|byte| matches!(byte, 0 | b' ' | b'.' | b'_' | b'a'..=b'z' | b'0'..=b'9'))
}

fn log(value: u32) -> u32 {
    32 - value.leading_zeros()
}

const NONE: u32 = u32::MAX;

impl Engine {
    pub(crate) const fn new() -> Self {
        Self {
            mixer: Mixer::new(),
            method: Method::Thumb,
            old_len: 0,
            unit: 2,
            base: 0,
            at: 0,
            entries: 0,
            next_entry: 0,
            last: [0; 4],
            wide: false,
            copying: None,
            mapped: false,
            run: 0,
            tail: None,
            tail_end: 0,
            literals: 0,
            hits: 0,
            targets: [NONE; TARGETS],
            uses: [0; TARGETS],
            hand: 0,
            last_target: 0,
            fixes: [(NONE, 0); FIXES],
            next_fix: 0,
            pairs: [(0, 0); PAIRS],
            pair_count: 0,
            next_pair: 0,
            pools: [NONE; POOLS],
            next_pool: 0,
            last_word: 0,
            words: [0; WORDS],
            was_pointer: false,
        }
    }

    /// As it was at the start, for images of this kind.
    pub(crate) fn reset(&mut self, method: Method, old_len: u32, base: u32) {
        // Field by field: a fresh model on the stack would be as large as this one.
        self.mixer.reset();
        self.method = method;
        (self.at, self.entries, self.next_entry) = (0, 0, 0);
        (self.last, self.wide, self.copying, self.mapped) = ([0; 4], false, None, false);
        (self.run, self.tail, self.tail_end, self.literals) = (0, None, 0, 0);
        (self.hits, self.last_word, self.was_pointer) = (0, 0, false);
        self.targets.fill(NONE);
        self.uses.fill(0);
        (self.hand, self.last_target) = (0, 0);
        self.fixes.fill((NONE, 0));
        self.next_fix = 0;
        self.pairs.fill((0, 0));
        (self.pair_count, self.next_pair) = (0, 0);
        self.pools.fill(NONE);
        self.next_pool = 0;
        self.words.fill(0);
        self.old_len = old_len;
        self.unit = method.unit();
        self.base = base;
    }

    fn note(&mut self, half: u16) {
        if self.method != Method::Thumb {
            // No instructions.
        } else if self.wide {
            if self.last[0] == 0xf8df {
                self.add_pool(((self.at + 1) >> 1) + (u32::from(half & 0xfff) >> 2));
            }
            self.wide = false;
        } else {
            self.wide = is_wide(half);
            if half >> 11 == 9 && !self.in_text() {
                self.add_pool(((self.at + 2) >> 1) + u32::from(half & 0xff));
            }
        }
        self.last = [half, self.last[0], self.last[1], self.last[2]];
        self.at += 1;
    }

    fn add_pool(&mut self, word: u32) {
        if !self.pools.contains(&word) {
            self.pools[usize::from(self.next_pool)] = word;
            self.next_pool = (self.next_pool + 1) % POOLS as u8;
        }
    }

    fn in_pool(&self) -> bool {
        self.at & 1 == 0 && self.pools.contains(&(self.at >> 1))
    }

    fn note_unit(&mut self, unit: Unit) {
        for half in &unit.halves[..usize::from(unit.len)] {
            self.note(*half);
        }
    }

    /// After the training on the old image: what was is no context of the new one.
    pub(crate) fn begin(&mut self) {
        self.at = 0;
        self.last = [0; 4];
        self.wide = false;
        self.pools = [NONE; POOLS];
    }

    /// Trains the model on the unit of the old image at `self.at`.
    pub(crate) fn train<B: Bits>(&mut self, bits: &mut B, halves: [u16; 2]) -> Result<Unit, B::Error> {
        let unit = self.literal(bits, &Want { halves, copy: None }, None, true)?;
        self.note_unit(unit);
        Ok(unit)
    }

    /// Codes the next unit of the new image.
    pub(crate) fn unit<B: Bits, V: View<Error = B::Error>>(
        &mut self,
        bits: &mut B,
        view: &mut V,
        want: &Want,
    ) -> Result<Unit, B::Error> {
        if let Some(width) = self.lane() {
            return self.grid(bits, view, width, want.halves[0]);
        }
        self.enter_block();
        if self.copying.is_none() {
            self.start_copy(bits, want)?;
        }
        let mut guess = None;
        // A copy that ends may be followed by another one at once, but only by one.
        for fresh in [false, true] {
            let Some(place) = self.copying else { break };
            let found = self.guess(view, place)?;
            let fits = |halves: [u16; 2]| {
                halves[0] == want.halves[0] && (found.unit.len == 1 || halves[1] == want.halves[1])
            };
            let mut hit = self.hit(bits, &found, 0, fits(found.unit.halves))?.then_some(found.unit);
            if let (None, Some(other)) = (hit, found.other)
                && self.hit(bits, &found, 1, fits(other))?
            {
                hit = Some(Unit { halves: other, len: found.unit.len });
            }
            self.hits = self.hits << 1 | u8::from(hit.is_some());
            if let Some(unit) = hit {
                self.run += u32::from(unit.len);
                self.copying = Some(place.forward(u32::from(unit.len), self.unit));
                self.learn(&found, unit, place);
                self.note_unit(unit);
                self.was_pointer = matches!(found.kind, Kind::Flash | Kind::Ram);
                return Ok(unit);
            }
            self.run = 0;
            guess = Some(found);
            if fresh || !self.end(bits, &found, want.copy != Some(place))? {
                break;
            }
            self.copying = None;
            self.literals = 0;
            if let Place::Old(at) = place {
                self.tail = Some(at);
                self.tail_end = at;
            }
            if !self.start_copy(bits, want)? {
                break;
            }
        }
        if let (None, None, Some(tail)) = (self.copying, guess, self.tail) {
            guess = Some(self.guess(view, Place::Old(tail))?);
        }
        let unit = self.literal(bits, want, guess.as_ref(), false)?;
        let len = u32::from(unit.len);
        if let Some(place) = self.copying {
            if let Some(found) = guess
                && found.unit.len == unit.len
            {
                self.learn(&found, unit, place);
            }
            self.copying = Some(place.forward(len, self.unit));
        } else {
            self.literals += len;
            let by = len * self.unit;
            self.tail = self.tail.map(|tail| tail.wrapping_add(by));
        }
        self.was_pointer = false;
        self.note_unit(unit);
        Ok(unit)
    }

    pub(super) fn byte<B: Bits>(
        &mut self,
        bits: &mut B,
        contexts: &[u32],
        set: usize,
        set2: usize,
        want: u8,
    ) -> Result<u8, B::Error> {
        Ok(self.tree(bits, contexts, set, set2, 8, u32::from(want))? as u8)
    }

    /// A number of `width` bits.
    pub(super) fn tree<B: Bits>(
        &mut self,
        bits: &mut B,
        contexts: &[u32],
        set: usize,
        set2: usize,
        width: u32,
        want: u32,
    ) -> Result<u32, B::Error> {
        let mut hashes = [0; crate::mixer::INPUTS];
        let mut so_far = 1_u32;
        for i in (0..width).rev() {
            for (hash, context) in hashes.iter_mut().zip(contexts) {
                *hash = context.wrapping_add(so_far.wrapping_mul(0x3d4d_51cb));
            }
            let bit = self.mixer.bit(bits, &hashes[..contexts.len()], (set, set2), (want >> i) & 1 == 1)?;
            so_far = so_far << 1 | u32::from(bit);
        }
        Ok(so_far & !(1 << width))
    }
}
