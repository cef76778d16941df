//! Copies: where they begin, whether they are right, where they end.

use super::{Engine, Guess, Kind, Place, Unit, Want, hash, log};
use crate::range::Bits;
use crate::thumb::{far_displacement, is_far};

impl Engine {
    /// Blocks of the map begin by themselves.
    pub(super) fn enter_block(&mut self) {
        while self.next_entry < self.entries {
            let (old, new) = self.entry(self.next_entry);
            if new > self.at {
                break;
            }
            self.next_entry += 1;
            let place = Place::Old(old.wrapping_add((self.at - new) * self.unit));
            if self.copying != Some(place) {
                self.run = 0;
            }
            self.copying = Some(place);
            self.mapped = true;
        }
    }

    /// Whether a copy begins here, and from where.
    pub(super) fn start_copy<B: Bits>(&mut self, bits: &mut B, want: &Want) -> Result<bool, B::Error> {
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
        if !self.mixer.bit(bits, &contexts, (32, 20), want.copy.is_some())? {
            return Ok(false);
        }
        // From this image, the old one anywhere, or near the tail.
        let wanted = want.copy.unwrap_or(Place::Old(0));
        let near = match (wanted, self.tail) {
            (Place::Old(at), Some(tail)) => at.abs_diff(tail) < 256 * self.unit,
            _ => false,
        };
        let place = if let Some(tail) = self.tail
            && self.flag(bits, 1, near)?
        {
            let resume = matches!(wanted, Place::Old(at) if at == self.tail_end);
            if self.tail_end != tail && self.flag(bits, 2, resume)? {
                Place::Old(self.tail_end)
            } else {
                let at = match wanted {
                    Place::Old(at) => at,
                    Place::New(_) => tail,
                };
                Place::Old(self.beside_place(bits, 3, tail, at)?)
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
            let odd = u32::from(self.unit == 2 && self.flag(bits, 4, at & 1 == 1)?);
            let units = self.old_len.div_ceil(self.unit);
            Place::Old(self.even(bits, 32 - units.leading_zeros(), at / self.unit)? * self.unit + odd)
        };
        self.copying = Some(place);
        self.mapped = false;
        self.run = 0;
        Ok(true)
    }

    pub(super) fn flag<B: Bits>(&mut self, bits: &mut B, which: u32, want: bool) -> Result<bool, B::Error> {
        let contexts = [
            hash(0x5800, which),
            hash(0x5900 + which, u32::from(self.last[0] >> 8)),
            hash(0x5a00 + which, log(self.literals)),
        ];
        self.mixer.bit(bits, &contexts, (33, 21), want)
    }

    /// A number of `len` bits without preference, but for its upper bits.
    pub(super) fn even<B: Bits>(&mut self, bits: &mut B, len: u32, want: u32) -> Result<u32, B::Error> {
        let mut value = 1_u32;
        for i in (0..len.min(31)).rev() {
            let bit = (want >> i) & 1 == 1;
            let bit = if len - i <= 5 {
                self.mixer.bit(bits, &[hash(0x5c00, value)], (34, 22), bit)?
            } else {
                bits.bit(32768, bit)?
            };
            value = value << 1 | u32::from(bit);
        }
        Ok(value & !(1 << len.min(31)))
    }

    pub(super) fn hit<B: Bits>(
        &mut self,
        bits: &mut B,
        guess: &Guess,
        nth: u32,
        want: bool,
    ) -> Result<bool, B::Error> {
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
        self.mixer.bit(
            bits,
            &contexts,
            (16 + 2 * (guess.kind as usize) + nth as usize, 23 + source as usize),
            want,
        )
    }

    pub(super) fn end<B: Bits>(&mut self, bits: &mut B, guess: &Guess, want: bool) -> Result<bool, B::Error> {
        let hits = u32::from(self.hits);
        let run = log(self.run).min(12);
        let contexts = [
            hash(0x7000, u32::from(self.mapped)),
            hash(0x7100, hits & 15),
            hash(0x7200, run),
            hash(hash(0x7300, guess.kind as u32), u32::from(guess.how) << 2 | hits & 3),
            hash(0x7400, u32::from(guess.unit.halves[0] >> 8)),
        ];
        self.mixer.bit(bits, &contexts, (35, 26), want)
    }

    pub(super) fn learn(&mut self, guess: &Guess, unit: Unit, place: Place) {
        let word = u32::from(unit.halves[1]) << 16 | u32::from(unit.halves[0]);
        match guess.kind {
            Kind::Far if is_far(unit.halves[0], unit.halves[1]) => {
                let by = far_displacement(unit.halves[0], unit.halves[1]) as u32;
                let target = self.at.wrapping_add(2).wrapping_add(by);
                self.touch_target(target);
                if matches!(place, Place::Old(_)) && unit != guess.unit {
                    self.learn_fix(guess.target, target << 1);
                }
            }
            Kind::Flash if matches!(place, Place::Old(_)) && unit != guess.unit => {
                self.learn_fix(guess.target, word.wrapping_sub(self.base));
            }
            Kind::Ram if matches!(place, Place::Old(_)) => self.learn_pair(guess.target, word),
            Kind::Pool if unit.len == 2 => {}
            Kind::Small => self.learn_pair(guess.target, u32::from(unit.halves[0])),
            _ => {}
        }
    }
}
