//! What a unit of a copy is when its operands move.

use super::{Engine, Guess, Kind, Place, Unit, View};
use crate::header::Method;
use crate::thumb::{far_displacement, far_with, is_far, near, near_target, near_with};

impl Engine {
    pub(super) fn guess<V: View>(&mut self, view: &mut V, place: Place) -> Result<Guess, V::Error> {
        let (first, second, from) = match place {
            Place::Old(at) => (view.old_unit(at)?, view.old_unit(at.wrapping_add(self.unit))?, at),
            Place::New(at) => {
                let second =
                    if at.wrapping_add(1) < self.at { view.new_unit(at.wrapping_add(1))? } else { 0 };
                (view.new_unit(at)?, second, at.wrapping_mul(self.unit))
            }
        };
        let old = matches!(place, Place::Old(_));
        let shift = self.at.wrapping_mul(self.unit).wrapping_sub(from);
        let one = |half: u16| Unit { halves: [half, 0], len: 1 };
        let mut guess = Guess { unit: one(first), ..Guess::default() };
        let pool = self.in_pool();
        if self.method != Method::Thumb || from & 1 == 1 {
            return Ok(guess);
        }
        let aligned = self.at & 1 == 0 && from & 3 == 0;
        if aligned && (pool || !self.wide) {
            let word = u32::from(second) << 16 | u32::from(first);
            let offset = word.wrapping_sub(self.base);
            if offset < self.old_len {
                guess.kind = Kind::Flash;
                guess.target = offset;
                let (to, how) = if old { self.moved(offset, shift) } else { (offset, 2) };
                let moved = to.wrapping_add(self.base);
                guess.unit = Unit { halves: [moved as u16, (moved >> 16) as u16], len: 2 };
                guess.how = how;
                let other = self.beside(offset).map_or(word, |to| to.wrapping_add(self.base));
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
        if aligned && !self.wide && old && second == 0 && first >= 0x80 {
            guess.kind = Kind::Small;
            guess.target = u32::from(first);
            let (moved, how) = self.moved_ram(u32::from(first));
            guess.unit = one(moved as u16);
            guess.how = how;
            if moved as u16 != first {
                guess.other = Some([first, 0]);
            }
            return Ok(guess);
        }
        if pool {
            guess.kind = Kind::Pool;
        } else if self.wide {
            guess.kind = Kind::Second;
        } else if is_far(first, second) {
            guess.kind = Kind::Far;
            let by = far_displacement(first, second) as u32;
            let target = from.wrapping_add(4).wrapping_add(by << 1);
            guess.target = target;
            let (moved, how) = if old { self.moved(target, shift) } else { (target, 2) };
            guess.how = how;
            let place = self.at.wrapping_add(2);
            guess.unit = Unit { halves: far_with((moved >> 1).wrapping_sub(place) as i32, second), len: 2 };
            if let Some(other) = self.beside(target)
                && old
                && other != moved
            {
                guess.other = Some(far_with((other >> 1).wrapping_sub(place) as i32, second));
            }
        } else if let Some(kind) = near(first) {
            guess.kind = Kind::Near;
            if old {
                let target = near_target(kind, first, from >> 1);
                let (moved, how) = self.moved(target << 1, shift);
                let moved = moved >> 1;
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
}
