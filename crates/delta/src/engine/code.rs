//! Literals of Thumb code: instructions, calls, words of literal pools, and text between them.

use core::marker::PhantomData;

use super::{Engine, Guess, Kind, Unit, WORDS, Want, hash, textual};
use crate::header::Method;
use crate::range::{Bits, Known};
use crate::thumb::{far_displacement, far_with, is_far};

impl Engine {
    pub(super) fn literal<B: Bits>(
        &mut self,
        bits: &mut B,
        want: &Want,
        guess: Option<&Guess>,
        training: bool,
    ) -> Result<Unit, B::Error> {
        if self.method != Method::Thumb {
            return self.plain_byte(bits, want.halves[0] as u8, guess);
        }
        let unit =
            if self.in_pool() || guess.is_some_and(|guess| matches!(guess.kind, Kind::Flash | Kind::Ram)) {
                self.word(bits, want.halves, guess)?
            } else if !self.wide && self.far_flag(bits, want.halves, guess)? {
                self.far(bits, want.halves, guess, training)?
            } else {
                let half = self.half(bits, want.halves[0], guess)?;
                Unit { halves: [half, 0], len: 1 }
            };
        Ok(unit)
    }

    pub(super) fn far_flag<B: Bits>(
        &mut self,
        bits: &mut B,
        want: [u16; 2],
        guess: Option<&Guess>,
    ) -> Result<bool, B::Error> {
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
        self.mixer.bit(bits, &contexts, (56, 27), is_far(want[0], want[1]))
    }

    pub(super) fn far<B: Bits>(
        &mut self,
        bits: &mut B,
        want: [u16; 2],
        guess: Option<&Guess>,
        training: bool,
    ) -> Result<Unit, B::Error> {
        let h = self.last.map(u32::from);
        let is_call = want[1] & 0x4000 != 0;
        let contexts = [hash(0x8800, h[0] >> 8), hash(0x8900, h[0])];
        let call = self.mixer.bit(bits, &contexts, (57, 28), is_call)?;
        let place = self.at.wrapping_add(2);
        let mut wanted = place.wrapping_add(far_displacement(want[0], want[1]) as u32) & 0xff_ffff;
        if training {
            wanted = self.moved(wanted << 1, 0).0 >> 1 & 0xff_ffff;
        }
        let known = self.targets.iter().position(|target| *target == wanted);
        let kind = guess.map_or(15, |guess| guess.kind as u32);
        let contexts =
            [hash(0x8a00, h[0] >> 8), hash(0x8b00, u32::from(call)), hash(0x8c00, h[0]), hash(0x8d00, kind)];
        let target = if self.mixer.bit(bits, &contexts, (58, 28), known.is_some())? {
            let index = known.unwrap_or(0) as u8;
            let last = u32::from(self.last_target);
            let contexts = [
                hash(0x9000, 0),
                hash(0x9100, h[0]),
                hash(0x9200, last),
                hash(hash(0x9300, h[0]), h[1]),
                hash(0x9400, h[0] >> 8),
            ];
            let index = self.byte(bits, &contexts, 48, 29, index)?;
            self.last_target = index;
            self.targets[usize::from(index)] & 0xff_ffff
        } else {
            let mut value = 0;
            for (nth, shift) in [16, 8, 0].into_iter().enumerate() {
                let byte = (wanted >> shift) as u8;
                let nth = nth as u32;
                let contexts =
                    [hash(0x9800, nth << 16 | value), hash(0x9900, nth << 16 | (place >> 8) & 0xff)];
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

    pub(super) fn word<B: Bits>(
        &mut self,
        bits: &mut B,
        want: [u16; 2],
        guess: Option<&Guess>,
    ) -> Result<Unit, B::Error> {
        let wanted = u32::from(want[1]) << 16 | u32::from(want[0]);
        let (kind, guessed) = match guess {
            Some(guess) if guess.unit.len == 2 => (
                guess.kind as u32 + 1,
                u32::from(guess.unit.halves[1]) << 16 | u32::from(guess.unit.halves[0]),
            ),
            _ => (0, 0),
        };
        let known = self.words.iter().position(|word| *word == wanted);
        let close = u32::from(guessed != 0 && self.words.contains(&guessed));
        let contexts = [
            hash(0xa600, kind << 1 | close),
            hash(0xa700, u32::from(self.last[0] >> 8)),
            hash(0xa800, u32::from(self.last_word)),
        ];
        // Tables seldom repeat themselves.
        if self.in_pool() && self.mixer.bit(bits, &contexts, (54, 17), known.is_some())? {
            let contexts = [hash(0xa900, 0), hash(0xaa00, u32::from(self.last_word)), hash(0xab00, kind)];
            let index = self.tree(bits, &contexts, 55, 17, 6, known.unwrap_or(0) as u32)?;
            let value = self.words[index as usize % WORDS];
            // What it looks like is learned all the same.
            self.spell(&mut Known(PhantomData::<B::Error>), value, (kind, guessed))?;
            self.recall(value);
            return Ok(Unit { halves: [value as u16, (value >> 16) as u16], len: 2 });
        }
        let value = self.spell(bits, wanted, (kind, guessed))?;
        if self.in_pool() {
            self.recall(value);
        }
        self.last_word = value as u16;
        Ok(Unit { halves: [value as u16, (value >> 16) as u16], len: 2 })
    }

    /// A word byte by byte, the upper one first.
    pub(super) fn spell<B: Bits>(
        &mut self,
        bits: &mut B,
        wanted: u32,
        guess: (u32, u32),
    ) -> Result<u32, B::Error> {
        let (kind, guessed) = guess;
        let mut value = 0_u32;
        for nth in 0..4_u32 {
            let shift = 24 - 8 * nth;
            let near =
                if nth == 0 || value == guessed >> (shift + 8) { guessed >> shift & 0xff } else { 0x100 };
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
        Ok(value)
    }

    /// Moves a word to the front of those that were.
    pub(super) fn recall(&mut self, word: u32) {
        let at = self.words.iter().position(|known| *known == word).unwrap_or(WORDS - 1);
        self.words.copy_within(..at, 1);
        self.words[0] = word;
        self.last_word = word as u16;
    }

    /// Whether the last halfwords are text.
    pub(super) fn in_text(&self) -> bool {
        textual(self.last[0]) && textual(self.last[1])
    }

    /// Two bytes of text, in their order.
    pub(super) fn text<B: Bits>(
        &mut self,
        bits: &mut B,
        want: u16,
        guess: Option<&Guess>,
    ) -> Result<u16, B::Error> {
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
                hash(
                    hash(0xe500, known << 8 | near),
                    u32::from(nth == 1 && past & 0xff == u32::from(guessed & 0xff)),
                ),
            ];
            let byte = self.byte(bits, &contexts, 62, 18, (want >> (8 * nth)) as u8)?;
            past = past << 8 | u32::from(byte);
        }
        Ok((past as u16).swap_bytes())
    }

    pub(super) fn half<B: Bits>(
        &mut self,
        bits: &mut B,
        want: u16,
        guess: Option<&Guess>,
    ) -> Result<u16, B::Error> {
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

    pub(super) fn bytes_of_code<B: Bits>(
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
                (set + place as usize, known as usize * 6 + (set / 4).min(5)),
                (want >> i) & 1 == 1,
            )?;
            so_far = so_far << 1 | u32::from(bit);
        }
        Ok(so_far as u8)
    }
}
