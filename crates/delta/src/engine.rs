//! The model of Thumb images: what the next halfwords of the new image are likely to be. Encoder and decoder run the same code.

use crate::header::Method;
use crate::mixer::{CELLS, Mixer};
use crate::range::Bits;
use crate::thumb::{far_displacement, far_with, is_far, is_wide, near, near_target, near_with};

/// What the model may read: halfwords of the old image, and of the new one up to where it is.
pub(crate) trait View {
    type Error;
    fn old(&mut self, half: u32) -> Result<u16, Self::Error>;
    fn new(&mut self, half: u32) -> Result<u16, Self::Error>;
}

/// What an encoder wants the next unit to be; a decoder leaves it empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// The next two halfwords.
    pub(crate) halves: [u16; 2],
    /// Where the encoder's plan copies from at this place.
    pub(crate) copy: Option<Place>,
}

/// A place to copy from, in halfwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Old(u32),
    New(u32),
}

impl Place {
    fn forward(self, by: u32) -> Self {
        match self {
            Self::Old(at) => Self::Old(at.wrapping_add(by)),
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
    pub(crate) mixer: Mixer,
    method: Method,
    /// Length of the old image in units, and the address of its first byte.
    old_halves: u32,
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
            old_halves: 0,
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
        self.old_halves = old_len.div_ceil(method.unit());
        self.base = base;
    }

    // ---- the block map

    /// As many entries as the map can have.
    pub(crate) const MAX_ENTRIES: u32 = CELLS as u32 / 6;

    pub(crate) fn entries(&self) -> u32 {
        u32::from(self.entries)
    }

    fn entry(&self, index: u16) -> (u32, u32) {
        let at = CELLS - 3 * (usize::from(index) + 1);
        let cells = &self.mixer.cells[at..at + 3];
        let high = u32::from(cells[2]);
        (u32::from(cells[0]) | (high >> 8) << 16, u32::from(cells[1]) | (high & 0xff) << 16)
    }

    /// Adds a block (old place, new place); they come in the order of the new image.
    pub(crate) fn add_entry(&mut self, old: u32, new: u32) -> bool {
        if self.entries() >= Self::MAX_ENTRIES {
            return false;
        }
        let at = CELLS - 3 * (usize::from(self.entries) + 1);
        self.mixer.cells[at] = old as u16;
        self.mixer.cells[at + 1] = new as u16;
        self.mixer.cells[at + 2] = ((old >> 16) << 8 | (new >> 16) & 0xff) as u16;
        self.entries += 1;
        self.mixer.taken += 3;
        true
    }

    /// One entry of the map: gaps as variable-length numbers. `want` is the entry to write.
    pub(crate) fn map_entry<B: Bits>(&mut self, bits: &mut B, want: (u32, u32)) -> Result<(u32, u32), B::Error> {
        let (old, new) = match self.entries {
            0 => (0, 0),
            n => self.entry(n - 1),
        };
        let gap = self.number(bits, 1, want.1.wrapping_sub(new))?;
        let expected = old.wrapping_add(gap);
        let by = want.0.wrapping_sub(expected) as i32;
        let zigzag = self.number(bits, 2, ((by << 1) ^ (by >> 31)) as u32)?;
        let by = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        Ok((expected.wrapping_add(by as u32), new.wrapping_add(gap)))
    }

    /// A number: its length in bits, then its bits, the upper three in contexts of their own.
    fn number<B: Bits>(&mut self, bits: &mut B, which: u32, want: u32) -> Result<u32, B::Error> {
        let want_len = log(want);
        let mut len = 0;
        while len < 32 {
            let context = hash(0x4e00 + which, len);
            if !self.mixer.bit(bits, &[context, context ^ 1 << 20 ^ self.hits as u32], 60, 30, 14, want_len > len)? {
                break;
            }
            len += 1;
        }
        let mut value = u32::from(len > 0);
        for i in (0..len.saturating_sub(1)).rev() {
            let known = if len - i <= 4 { value } else { 0 };
            let context = hash(hash(0x4e80 + which, len), i << 8 | known);
            let bit = self.mixer.bit(bits, &[context], 61, 31, 14, (want >> i) & 1 == 1)?;
            value = value << 1 | u32::from(bit);
        }
        Ok(value)
    }

    /// Where something at `target` in the old image is in the new one, and how that is known.
    fn moved(&self, target: u32, shift: u32) -> (u32, u8) {
        if let Some((_, new)) = self.fixes.iter().find(|(old, _)| *old == target) {
            return (*new, 3);
        }
        let mut best = None;
        for index in 0..self.entries {
            let (old, new) = self.entry(index);
            if old <= target && best.is_none_or(|(found, _, _)| old >= found) {
                best = Some((old, new, index));
            }
        }
        let Some((old, new, index)) = best else { return (target.wrapping_add(shift), 0) };
        let moved = new.wrapping_add(target - old);
        let inside = index + 1 >= self.entries || moved < self.entry(index + 1).1;
        (moved, 1 + u8::from(inside))
    }

    /// Where `target` would be if it had moved as what was learned next to it.
    fn beside(&self, target: u32) -> Option<u32> {
        let known = self.fixes.iter().filter(|(old, _)| *old != NONE && *old != target);
        let (old, new) = known.min_by_key(|(old, _)| old.abs_diff(target))?;
        (old.abs_diff(target) < 4096).then(|| target.wrapping_add(new.wrapping_sub(*old)))
    }

    fn learn_fix(&mut self, old: u32, new: u32) {
        if let Some(fix) = self.fixes.iter_mut().find(|fix| fix.0 == old) {
            fix.1 = new;
        } else {
            self.fixes[usize::from(self.next_fix)] = (old, new);
            self.next_fix = (self.next_fix + 1) % FIXES as u8;
        }
    }

    fn moved_ram(&self, address: u32) -> (u32, u8) {
        let mut best: Option<(u32, u32, u32)> = None;
        for &(old, new) in &self.pairs[..usize::from(self.pair_count)] {
            let far = old.abs_diff(address);
            if best.is_none_or(|(found, _, _)| far < found) {
                best = Some((far, old, new));
            }
        }
        match best {
            Some((far, old, new)) => {
                (address.wrapping_add(new.wrapping_sub(old)), if far == 0 { 3 } else if far < 64 { 2 } else { 1 })
            }
            None => (address, 0),
        }
    }

    fn learn_pair(&mut self, old: u32, new: u32) {
        let count = usize::from(self.pair_count);
        if let Some(pair) = self.pairs[..count].iter_mut().find(|pair| pair.0 == old) {
            pair.1 = new;
        } else if self.moved_ram(old).0 != new || count == 0 {
            self.pairs[usize::from(self.next_pair)] = (old, new);
            self.next_pair = (self.next_pair + 1) % PAIRS as u8;
            self.pair_count = (self.pair_count + 1).min(PAIRS as u8);
        }
    }

    fn touch_target(&mut self, target: u32) {
        if let Some(index) = self.targets.iter().position(|known| *known == target) {
            self.uses[index] = self.uses[index].saturating_add(1);
            return;
        }
        let mut least = usize::from(self.hand);
        for step in 0..16 {
            let index = (usize::from(self.hand) + step) % TARGETS;
            if self.uses[index] < self.uses[least] {
                least = index;
            }
            self.uses[index] -= self.uses[index] / 4;
        }
        self.hand = self.hand.wrapping_add(16);
        self.targets[least] = target;
        self.uses[least] = 1;
    }

    // ---- what has been

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

    // ---- one unit

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
                self.copying = Some(place.forward(u32::from(unit.len)));
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
            self.copying = Some(place.forward(len));
        } else {
            self.literals += len;
            self.tail = self.tail.map(|tail| tail.wrapping_add(len));
        }
        self.was_pointer = false;
        self.note_unit(unit);
        Ok(unit)
    }

    /// Blocks of the map begin by themselves.
    fn enter_block(&mut self) {
        while self.next_entry < self.entries {
            let (old, new) = self.entry(self.next_entry);
            if new > self.at {
                break;
            }
            self.next_entry += 1;
            let place = Place::Old(old.wrapping_add(self.at - new));
            if self.copying != Some(place) {
                self.run = 0;
            }
            self.copying = Some(place);
            self.mapped = true;
        }
    }

    /// Whether a copy begins here, and from where.
    fn start_copy<B: Bits>(&mut self, bits: &mut B, want: &Want) -> Result<bool, B::Error> {
        if self.wide {
            return Ok(false);
        }
        let since = log(self.literals).min(7);
        let h = self.last;
        let contexts = [
            hash(0x5000, since),
            hash(0x5100, u32::from(h[0] >> 8)),
            hash(0x5200, u32::from(h[0])),
            hash(hash(0x5300, u32::from(h[0] >> 11)), u32::from(h[1] >> 11)),
            hash(0x5400, self.literals.min(20) << 1 | u32::from(self.tail.is_some())),
        ];
        if !self.mixer.bit(bits, &contexts, 32, 20, 15, want.copy.is_some())? {
            return Ok(false);
        }
        // From this image, the old one anywhere, or near the tail.
        let wanted = want.copy.unwrap_or(Place::Old(0));
        let near = match (wanted, self.tail) {
            (Place::Old(at), Some(tail)) => at.abs_diff(tail) < 256,
            _ => false,
        };
        let place = if let Some(tail) = self.tail
            && self.flag(bits, 1, near)?
        {
            let resume = matches!(wanted, Place::Old(at) if at == self.tail_end);
            if self.tail_end != tail && self.flag(bits, 2, resume)? {
                Place::Old(self.tail_end)
            } else {
                let by = match wanted {
                    Place::Old(at) => at.wrapping_sub(tail) as i32,
                    Place::New(_) => 0,
                };
                let zigzag = self.number(bits, 3, ((by << 1) ^ (by >> 31)) as u32)?;
                Place::Old(tail.wrapping_add(((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)) as u32))
            }
        } else if self.flag(bits, 3, matches!(wanted, Place::New(_)))? {
            let back = match wanted {
                Place::New(at) => self.at.wrapping_sub(at),
                Place::Old(_) => 0,
            };
            Place::New(self.at.wrapping_sub(self.number(bits, 4, back)?))
        } else {
            let at = match wanted {
                Place::Old(at) => at,
                Place::New(_) => 0,
            };
            Place::Old(self.even(bits, 24 - (self.old_halves << 8).leading_zeros(), at)?)
        };
        self.copying = Some(place);
        self.mapped = false;
        self.run = 0;
        Ok(true)
    }

    fn flag<B: Bits>(&mut self, bits: &mut B, which: u32, want: bool) -> Result<bool, B::Error> {
        let contexts = [
            hash(0x5800, which),
            hash(0x5900 + which, u32::from(self.last[0] >> 8)),
            hash(0x5a00 + which, log(self.literals)),
        ];
        self.mixer.bit(bits, &contexts, 33, 21, 15, want)
    }

    /// A number of `len` bits without preference, but for its upper bits.
    fn even<B: Bits>(&mut self, bits: &mut B, len: u32, want: u32) -> Result<u32, B::Error> {
        let mut value = 1_u32;
        for i in (0..len.min(31)).rev() {
            let bit = (want >> i) & 1 == 1;
            let bit = if len - i <= 5 {
                self.mixer.bit(bits, &[hash(0x5c00, value)], 34, 22, 15, bit)?
            } else {
                bits.bit(32768, bit)?
            };
            value = value << 1 | u32::from(bit);
        }
        Ok(value & !(1 << len.min(31)))
    }

    fn guess<V: View>(&mut self, view: &mut V, place: Place) -> Result<Guess, V::Error> {
        let (first, second, from) = match place {
            Place::Old(at) => (view.old(at)?, view.old(at.wrapping_add(1))?, at),
            Place::New(at) => {
                let second = if at.wrapping_add(1) < self.at { view.new(at.wrapping_add(1))? } else { 0 };
                (view.new(at)?, second, at)
            }
        };
        let old = matches!(place, Place::Old(_));
        let shift = self.at.wrapping_sub(from);
        let one = |half: u16| Unit { halves: [half, 0], len: 1 };
        let mut guess = Guess { unit: one(first), ..Guess::default() };
        let pool = self.in_pool();
        if self.method != Method::Thumb {
            return Ok(guess);
        }
        let aligned = self.at & 1 == 0 && from & 1 == 0;
        if aligned && (pool || !self.wide) {
            let word = u32::from(second) << 16 | u32::from(first);
            let offset = word.wrapping_sub(self.base);
            if offset < self.old_halves * 2 {
                guess.kind = Kind::Flash;
                guess.target = offset >> 1;
                let (to, how) = if old { self.moved(offset >> 1, shift) } else { (offset >> 1, 2) };
                let moved = to.wrapping_mul(2).wrapping_add(offset & 1).wrapping_add(self.base);
                guess.unit = Unit { halves: [moved as u16, (moved >> 16) as u16], len: 2 };
                guess.how = how;
                let other = self.beside(offset >> 1).map_or(word, |to| {
                    to.wrapping_mul(2).wrapping_add(offset & 1).wrapping_add(self.base)
                });
                if old && other != moved {
                    guess.other = Some([other as u16, (other >> 16) as u16]);
                }
                return Ok(guess);
            }
            if word.wrapping_sub(0x2000_0000) < 0x8_0000 && (pool || self.was_pointer) {
                guess.kind = Kind::Ram;
                guess.target = word;
                let (moved, how) = if old { self.moved_ram(word) } else { (word, 3) };
                guess.unit = Unit { halves: [moved as u16, (moved >> 16) as u16], len: 2 };
                guess.how = how;
                if moved != word {
                    guess.other = Some([first, second]);
                }
                return Ok(guess);
            }
        }
        if pool {
            guess.kind = Kind::Pool;
        } else if self.wide {
            guess.kind = Kind::Second;
        } else if is_far(first, second) {
            guess.kind = Kind::Far;
            let target = from.wrapping_add(2).wrapping_add(far_displacement(first, second) as u32);
            guess.target = target;
            let (moved, how) = if old { self.moved(target, shift) } else { (target, 2) };
            guess.how = how;
            guess.unit =
                Unit { halves: far_with(moved.wrapping_sub(self.at.wrapping_add(2)) as i32, second), len: 2 };
            if let Some(other) = self.beside(target)
                && old
                && other != moved
            {
                guess.other = Some(far_with(other.wrapping_sub(self.at.wrapping_add(2)) as i32, second));
            }
        } else if let Some(kind) = near(first) {
            guess.kind = Kind::Near;
            if old {
                let target = near_target(kind, first, from);
                let (moved, how) = self.moved(target, shift);
                guess.how = how.min(2);
                if let Some(half) = near_with(kind, first, self.at, moved)
                    && half != first
                {
                    guess.how = 3;
                    guess.unit = one(half);
                    guess.other = Some([first, 0]);
                }
            }
        }
        Ok(guess)
    }

    fn hit<B: Bits>(&mut self, bits: &mut B, guess: &Guess, nth: u32, want: bool) -> Result<bool, B::Error> {
        let kind = (guess.kind as u32) << 4
            | u32::from(guess.how) << 2
            | u32::from(guess.other.is_some()) << 1
            | nth;
        let source = match self.copying {
            Some(Place::Old(_)) if self.mapped => 0,
            Some(Place::Old(_)) => 1,
            _ => 2,
        };
        let hits = u32::from(self.hits);
        let run = log(self.run).min(12);
        let first = u32::from(guess.unit.halves[0]);
        let contexts = [
            hash(0x6000, kind << 4 | hits & 15),
            hash(0x6100, (source << 4 | run) << 1 | nth),
            hash(0x6200 + nth, hits),
            hash(0x6300 + nth, (first >> 8) << 4 | hits & 3),
            hash(0x6400 + nth, first),
            hash(hash(0x6500, kind), run << 2 | source),
            hash(hash(0x6600, kind), u32::from(self.last[0] >> 8) << 2 | hits & 1),
        ];
        self.mixer.bit(bits, &contexts, 36 + 2 * (guess.kind as usize) + nth as usize, 23 + source as usize, 15, want)
    }

    fn end<B: Bits>(&mut self, bits: &mut B, guess: &Guess, want: bool) -> Result<bool, B::Error> {
        let hits = u32::from(self.hits);
        let run = log(self.run).min(12);
        let contexts = [
            hash(0x7000, u32::from(self.mapped)),
            hash(0x7100, hits & 15),
            hash(0x7200, run),
            hash(hash(0x7300, guess.kind as u32), u32::from(guess.how) << 2 | hits & 3),
            hash(0x7400, u32::from(guess.unit.halves[0] >> 8)),
        ];
        self.mixer.bit(bits, &contexts, 35, 26, 15, want)
    }

    fn learn(&mut self, guess: &Guess, unit: Unit, place: Place) {
        let word = u32::from(unit.halves[1]) << 16 | u32::from(unit.halves[0]);
        match guess.kind {
            Kind::Far if is_far(unit.halves[0], unit.halves[1]) => {
                let by = far_displacement(unit.halves[0], unit.halves[1]) as u32;
                let target = self.at.wrapping_add(2).wrapping_add(by);
                self.touch_target(target);
                if matches!(place, Place::Old(_)) && unit != guess.unit {
                    self.learn_fix(guess.target, target);
                }
            }
            Kind::Flash if matches!(place, Place::Old(_)) && unit != guess.unit => {
                self.learn_fix(guess.target, word.wrapping_sub(self.base) >> 1);
            }
            Kind::Ram if matches!(place, Place::Old(_)) => self.learn_pair(guess.target, word),
            _ => {}
        }
    }

    // ---- literals

    fn literal<B: Bits>(
        &mut self,
        bits: &mut B,
        want: &Want,
        guess: Option<&Guess>,
        training: bool,
    ) -> Result<Unit, B::Error> {
        if self.method != Method::Thumb {
            return self.plain_byte(bits, want.halves[0] as u8, guess);
        }
        let unit = if self.in_pool() || guess.is_some_and(|guess| matches!(guess.kind, Kind::Flash | Kind::Ram)) {
            self.word(bits, want.halves, guess)?
        } else if !self.wide && self.far_flag(bits, want.halves, guess)? {
            self.far(bits, want.halves, guess, training)?
        } else {
            let half = self.half(bits, want.halves[0], guess)?;
            Unit { halves: [half, 0], len: 1 }
        };
        Ok(unit)
    }

    fn far_flag<B: Bits>(&mut self, bits: &mut B, want: [u16; 2], guess: Option<&Guess>) -> Result<bool, B::Error> {
        let h = self.last.map(u32::from);
        let kind = guess.map_or(15, |guess| guess.kind as u32);
        let contexts = [
            hash(0x8000, h[0] >> 8),
            hash(0x8100, h[0]),
            hash(hash(0x8200, h[0] >> 8), h[1] >> 8),
            hash(hash(0x8300, h[0]), h[1]),
            hash(hash(0x8400, kind), h[0] >> 11),
            hash(hash(hash(0x8500, h[0] >> 11), h[1] >> 11), h[2] >> 11),
        ];
        self.mixer.bit(bits, &contexts, 56, 27, 15, is_far(want[0], want[1]))
    }

    fn far<B: Bits>(
        &mut self,
        bits: &mut B,
        want: [u16; 2],
        guess: Option<&Guess>,
        training: bool,
    ) -> Result<Unit, B::Error> {
        let h = self.last.map(u32::from);
        let is_call = want[1] & 0x4000 != 0;
        let contexts = [hash(0x8800, h[0] >> 8), hash(0x8900, h[0])];
        let call = self.mixer.bit(bits, &contexts, 57, 28, 15, is_call)?;
        let place = self.at.wrapping_add(2);
        let mut wanted = place.wrapping_add(far_displacement(want[0], want[1]) as u32) & 0xff_ffff;
        if training {
            wanted = self.moved(wanted, 0).0 & 0xff_ffff;
        }
        let known = self.targets.iter().position(|target| *target == wanted);
        let kind = guess.map_or(15, |guess| guess.kind as u32);
        let contexts =
            [hash(0x8a00, h[0] >> 8), hash(0x8b00, u32::from(call)), hash(0x8c00, h[0]), hash(0x8d00, kind)];
        let target = if self.mixer.bit(bits, &contexts, 58, 28, 15, known.is_some())? {
            let index = known.unwrap_or(0) as u8;
            let last = u32::from(self.last_target);
            let contexts =
                [hash(0x9000, 0), hash(0x9100, h[0]), hash(0x9200, last), hash(hash(0x9300, h[0]), h[1]), hash(0x9400, h[0] >> 8)];
            let index = self.byte(bits, &contexts, 48, 29, index)?;
            self.last_target = index;
            self.targets[usize::from(index)] & 0xff_ffff
        } else {
            let mut value = 0;
            for (nth, shift) in [16, 8, 0].into_iter().enumerate() {
                let byte = (wanted >> shift) as u8;
                let nth = nth as u32;
                let contexts = [
                    hash(0x9800, nth << 16 | value),
                    hash(0x9900, nth << 16 | (place >> 8) & 0xff),
                ];
                value = value << 8 | u32::from(self.byte(bits, &contexts, 49, 29, byte)?);
            }
            self.last_target = 0;
            value
        };
        self.touch_target(target);
        if training {
            return Ok(Unit { halves: want, len: 2 });
        }
        let by = target.wrapping_sub(place);
        let second = if call { 0xd000 } else { 0x9000 };
        Ok(Unit { halves: far_with(((by << 8) as i32) >> 8, second), len: 2 })
    }

    fn byte<B: Bits>(
        &mut self,
        bits: &mut B,
        contexts: &[u32],
        set: usize,
        set2: usize,
        want: u8,
    ) -> Result<u8, B::Error> {
        let mut hashes = [0; crate::mixer::INPUTS];
        let mut so_far = 1_u32;
        for i in (0..8).rev() {
            for (hash, context) in hashes.iter_mut().zip(contexts) {
                *hash = context.wrapping_add(so_far.wrapping_mul(0x3d4d_51cb));
            }
            let bit = self.mixer.bit(bits, &hashes[..contexts.len()], set, set2, 15, (want >> i) & 1 == 1)?;
            so_far = so_far << 1 | u32::from(bit);
        }
        Ok(so_far as u8)
    }

    /// A byte of something unknown.
    fn plain_byte<B: Bits>(&mut self, bits: &mut B, want: u8, guess: Option<&Guess>) -> Result<Unit, B::Error> {
        let h = self.last.map(u32::from);
        let near = match guess {
            Some(guess) => u32::from(guess.unit.halves[0]) | 0x100 << u32::from(self.copying.is_some()),
            None => 0,
        };
        let contexts = [
            hash(0xc000, 0),
            hash(0xc100, h[0]),
            hash(0xc200, h[1] << 8 | h[0]),
            hash(0xc300, h[2] << 16 | h[1] << 8 | h[0]),
            hash(0xc400, near),
            hash(0xc500, near << 8 | h[0]),
            hash(0xc600, h[3] << 2 | self.at & 3),
            hash(0xc700, h[1]),
        ];
        let byte = self.byte(bits, &contexts, 59, near as usize >> 8, want)?;
        Ok(Unit { halves: [u16::from(byte), 0], len: 1 })
    }

    /// Bits of a value where the images are grids of values.
    fn lane(&self) -> Option<u32> {
        match self.method {
            Method::Grid8 => Some(8),
            Method::Grid4 => Some(4),
            Method::Grid2 => Some(2),
            _ => None,
        }
    }

    /// A byte of a grid: for each value how it differs from the old one at this place.
    fn grid<B: Bits, V: View<Error = B::Error>>(
        &mut self,
        bits: &mut B,
        view: &mut V,
        width: u32,
        want: u16,
    ) -> Result<Unit, B::Error> {
        let mut value = 0;
        if self.at < self.old_halves {
            let old = u32::from(view.old(self.at)?);
            let mask = (1_u32 << width) - 1;
            let mut shift = 0;
            while shift < 8 {
                let before = old >> shift & mask;
                let wanted = (u32::from(want) >> shift).wrapping_sub(before) & mask;
                let h = self.last.map(u32::from);
                let contexts = [
                    hash(0xd000, shift),
                    hash(0xd100, before),
                    hash(0xd200, h[0]),
                    hash(hash(0xd300, h[0]), h[1]),
                    hash(0xd400, u32::from(h[0] != 0) << 3 | u32::from(h[1] != 0) << 2 | u32::from(h[2] != 0) << 1 | u32::from(h[3] != 0)),
                    hash(hash(0xd500, h[0]), before),
                ];
                let mut so_far = 1_u32;
                let mut hashes = [0; 6];
                for i in (0..width).rev() {
                    for (hash, context) in hashes.iter_mut().zip(contexts) {
                        *hash = context.wrapping_add(so_far.wrapping_mul(0x3d4d_51cb));
                    }
                    let set = 60 - (so_far.min(4) as usize);
                    let bit = self.mixer.bit(bits, &hashes, set, (8 - i) as usize, 15, wanted >> i & 1 == 1)?;
                    so_far = so_far << 1 | u32::from(bit);
                }
                let by = so_far & mask;
                self.last = [by as u16, self.last[0], self.last[1], self.last[2]];
                value |= (before.wrapping_add(by) & mask) << shift;
                shift += width;
            }
            self.at += 1;
        } else {
            let unit = self.plain_byte(bits, want as u8, None)?;
            value = u32::from(unit.halves[0]);
            self.note_unit(unit);
        }
        Ok(Unit { halves: [value as u16, 0], len: 1 })
    }

    fn word<B: Bits>(&mut self, bits: &mut B, want: [u16; 2], guess: Option<&Guess>) -> Result<Unit, B::Error> {
        let wanted = u32::from(want[1]) << 16 | u32::from(want[0]);
        let (kind, guessed) = match guess {
            Some(guess) if guess.unit.len == 2 => {
                (guess.kind as u32 + 1, u32::from(guess.unit.halves[1]) << 16 | u32::from(guess.unit.halves[0]))
            }
            _ => (0, 0),
        };
        let mut value = 0_u32;
        for nth in 0..4_u32 {
            let shift = 24 - 8 * nth;
            let near = if nth == 0 || value == guessed >> (shift + 8) { guessed >> shift & 0xff } else { 0x100 };
            let contexts = [
                hash(0xa000 + nth, value),
                hash(0xa100 + nth, value & 0xff),
                hash(hash(0xa200 + nth, value), u32::from(self.last_word)),
                hash(0xa300 + nth, 0),
                hash(hash(0xa400 + nth, kind), near),
                hash(hash(0xa500 + nth, value), u32::from(self.last[1] >> 8)),
            ];
            let byte = self.byte(bits, &contexts, 50 + nth as usize, 19, (wanted >> shift) as u8)?;
            value = value << 8 | u32::from(byte);
        }
        self.last_word = value as u16;
        Ok(Unit { halves: [value as u16, (value >> 16) as u16], len: 2 })
    }

    /// Whether the last halfwords are text.
    fn in_text(&self) -> bool {
        textual(self.last[0]) && textual(self.last[1])
    }

    /// Two bytes of text, in their order.
    fn text<B: Bits>(&mut self, bits: &mut B, want: u16, guess: Option<&Guess>) -> Result<u16, B::Error> {
        let mut past = u32::from(self.last[0]).swap_bytes() >> 16 | u32::from(self.last[1]).swap_bytes();
        let (known, guessed) = match guess {
            Some(guess) => (1 + u32::from(self.copying.is_some()), guess.unit.halves[0]),
            None => (0, 0),
        };
        for nth in 0..2 {
            let near = u32::from(guessed >> (8 * nth)) & 0xff;
            let contexts = [
                hash(0xe000, past & 0xff),
                hash(0xe100, past & 0xffff),
                hash(0xe200, past & 0xff_ffff),
                hash(0xe300, past),
                hash(0xe400, 0),
                hash(hash(0xe500, known << 8 | near), u32::from(nth == 1 && past & 0xff == u32::from(guessed & 0xff))),
            ];
            let byte = self.byte(bits, &contexts, 62, 18, (want >> (8 * nth)) as u8)?;
            past = past << 8 | u32::from(byte);
        }
        Ok((past as u16).swap_bytes())
    }

    fn half<B: Bits>(&mut self, bits: &mut B, want: u16, guess: Option<&Guess>) -> Result<u16, B::Error> {
        if self.in_text() && !self.wide {
            return self.text(bits, want, guess);
        }
        let h = self.last.map(u32::from);
        let wide = u32::from(self.wide);
        let (known, guessed) = match guess {
            Some(guess) => (1 + u32::from(self.copying.is_some()), u32::from(guess.unit.halves[0])),
            None => (0, 0),
        };
        let _classes = (h[0] >> 11) << 15 | (h[1] >> 11) << 10 | (h[2] >> 11) << 5 | h[3] >> 11;
        let mut value = 0;
        for nth in 0..2_u32 {
            let salt = hash(0xb000 + nth * 2 + wide, value);
            let class = if nth == 0 { 0 } else { value >> 3 };
            let near = if nth == 0 || value == guessed >> 8 { guessed } else { 0x1_0000 | guessed };
            let contexts = [
                salt,
                hash(salt ^ 0x100, h[0] >> 8),
                hash(salt ^ 0x200, h[0]),
                hash(hash(salt ^ 0x500, known), near),
                hash(salt ^ 0x600, (h[0] >> 8) << 8 | h[1] >> 8),
                hash(hash(0x1_0700 + nth, class), h[0] & 7 | (h[0] >> 11) << 3),
            ];
            let byte = (want >> (8 - 8 * nth)) as u8;
            let set = (nth as usize * 2 + wide as usize) * 4;
            value = value << 8 | u32::from(self.bytes_of_code(bits, &contexts, set, known, byte)?);
        }
        Ok(value as u16)
    }

    fn bytes_of_code<B: Bits>(
        &mut self,
        bits: &mut B,
        contexts: &[u32],
        set: usize,
        known: u32,
        want: u8,
    ) -> Result<u8, B::Error> {
        let mut hashes = [0; crate::mixer::INPUTS];
        let mut so_far = 1_u32;
        for i in (0..8).rev() {
            for (hash, context) in hashes.iter_mut().zip(contexts) {
                *hash = context.wrapping_add(so_far.wrapping_mul(0x3d4d_51cb));
            }
            let place = (7 - i) / 2;
            let bit = self.mixer.bit(
                bits,
                &hashes[..contexts.len()],
                set + place as usize,
                known as usize * 6 + (set / 4).min(5),
                15,
                (want >> i) & 1 == 1,
            )?;
            so_far = so_far << 1 | u32::from(bit);
        }
        Ok(so_far as u8)
    }
}
