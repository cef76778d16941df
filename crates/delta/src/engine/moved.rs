//! Where things have gone: the block map, what was learned about targets, addresses of RAM and small numbers.

use super::{Engine, FIXES, NONE, PAIRS, TARGETS, hash, log};
use crate::mixer::CELLS;
use crate::range::Bits;

impl Engine {
    /// As many entries as the map can have.
    pub(crate) const MAX_ENTRIES: u32 = CELLS as u32 / 6;

    pub(crate) fn entries(&self) -> u32 {
        u32::from(self.entries)
    }

    pub(super) fn entry(&self, index: u16) -> (u32, u32) {
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
    pub(crate) fn map_entry<B: Bits>(
        &mut self,
        bits: &mut B,
        want: (u32, u32),
    ) -> Result<(u32, u32), B::Error> {
        let (old, new) = match self.entries {
            0 => (0, 0),
            n => self.entry(n - 1),
        };
        let gap = self.number(bits, 1, want.1.wrapping_sub(new))?;
        let expected = old.wrapping_add(gap.wrapping_mul(self.unit));
        Ok((self.beside_place(bits, 2, expected, want.0)?, new.wrapping_add(gap)))
    }

    /// A place in the old image by its distance from an expected one.
    pub(super) fn beside_place<B: Bits>(
        &mut self,
        bits: &mut B,
        which: u32,
        expected: u32,
        want: u32,
    ) -> Result<u32, B::Error> {
        let by = want.wrapping_sub(expected) as i32;
        let odd = i32::from(self.unit == 2 && self.flag(bits, 4 + which, by & 1 == 1)?);
        let by = by.wrapping_sub(odd) / self.unit as i32;
        let zigzag = self.number(bits, which, ((by << 1) ^ (by >> 31)) as u32)?;
        let by = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        Ok(expected.wrapping_add(by.wrapping_mul(self.unit as i32).wrapping_add(odd) as u32))
    }

    /// A number: its length in bits, then its bits, the upper three in contexts of their own.
    pub(super) fn number<B: Bits>(&mut self, bits: &mut B, which: u32, want: u32) -> Result<u32, B::Error> {
        let want_len = log(want);
        let mut len = 0;
        while len < 32 {
            let context = hash(0x4e00 + which, len);
            if !self.mixer.bit(
                bits,
                &[context, context ^ 1 << 20 ^ self.hits as u32],
                (60, 30),
                want_len > len,
            )? {
                break;
            }
            len += 1;
        }
        let mut value = u32::from(len > 0);
        for i in (0..len.saturating_sub(1)).rev() {
            let known = if len - i <= 4 { value } else { 0 };
            let context = hash(hash(0x4e80 + which, len), i << 8 | known);
            let bit = self.mixer.bit(bits, &[context], (61, 31), (want >> i) & 1 == 1)?;
            value = value << 1 | u32::from(bit);
        }
        Ok(value)
    }

    /// Where something at `target` in the old image is in the new one, and how that is known.
    pub(super) fn moved(&self, target: u32, shift: u32) -> (u32, u8) {
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
        let moved = new.wrapping_mul(self.unit).wrapping_add(target - old);
        let inside = index + 1 >= self.entries || moved < self.entry(index + 1).1.wrapping_mul(self.unit);
        (moved, 1 + u8::from(inside))
    }

    /// Where `target` would be if it had moved as what was learned next to it.
    pub(super) fn beside(&self, target: u32) -> Option<u32> {
        let known = self.fixes.iter().filter(|(old, _)| *old != NONE && *old != target);
        let (old, new) = known.min_by_key(|(old, _)| old.abs_diff(target))?;
        (old.abs_diff(target) < 4096).then(|| target.wrapping_add(new.wrapping_sub(*old)))
    }

    pub(super) fn learn_fix(&mut self, old: u32, new: u32) {
        if let Some(fix) = self.fixes.iter_mut().find(|fix| fix.0 == old) {
            fix.1 = new;
        } else {
            self.fixes[usize::from(self.next_fix)] = (old, new);
            self.next_fix = (self.next_fix + 1) % FIXES as u8;
        }
    }

    pub(super) fn moved_ram(&self, address: u32) -> (u32, u8) {
        let mut best: Option<(u32, u32, u32)> = None;
        for &(old, new) in &self.pairs[..usize::from(self.pair_count)] {
            let far = old.abs_diff(address);
            if best.is_none_or(|(found, _, _)| far < found) {
                best = Some((far, old, new));
            }
        }
        match best {
            Some((far, old, new)) if far < 0x8_0000 => (
                address.wrapping_add(new.wrapping_sub(old)),
                if far == 0 {
                    3
                } else if far < 64 {
                    2
                } else {
                    1
                },
            ),
            _ => (address, 0),
        }
    }

    pub(super) fn learn_pair(&mut self, old: u32, new: u32) {
        let count = usize::from(self.pair_count);
        if let Some(pair) = self.pairs[..count].iter_mut().find(|pair| pair.0 == old) {
            pair.1 = new;
        } else if self.moved_ram(old).0 != new || count == 0 {
            self.pairs[usize::from(self.next_pair)] = (old, new);
            self.next_pair = (self.next_pair + 1) % PAIRS as u8;
            self.pair_count = (self.pair_count + 1).min(PAIRS as u8);
        }
    }

    pub(super) fn touch_target(&mut self, target: u32) {
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
}
