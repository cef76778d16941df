//! Literals of anything else: bytes, and grids of values.

use super::{Engine, Guess, Unit, View, hash};
use crate::header::Method;
use crate::range::Bits;

impl Engine {
    /// A byte of something unknown.
    pub(super) fn plain_byte<B: Bits>(
        &mut self,
        bits: &mut B,
        want: u8,
        guess: Option<&Guess>,
    ) -> Result<Unit, B::Error> {
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
    pub(super) fn lane(&self) -> Option<u32> {
        match self.method {
            Method::Grid8 => Some(8),
            Method::Grid4 => Some(4),
            Method::Grid2 => Some(2),
            _ => None,
        }
    }

    /// A byte of a grid: for each value how it differs from the old one at this place.
    pub(super) fn grid<B: Bits, V: View<Error = B::Error>>(
        &mut self,
        bits: &mut B,
        view: &mut V,
        width: u32,
        want: u16,
    ) -> Result<Unit, B::Error> {
        let mut value = 0;
        if self.at < self.old_len {
            let old = u32::from(view.old_unit(self.at)?);
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
                    hash(
                        0xd400,
                        u32::from(h[0] != 0) << 3
                            | u32::from(h[1] != 0) << 2
                            | u32::from(h[2] != 0) << 1
                            | u32::from(h[3] != 0),
                    ),
                    hash(hash(0xd500, h[0]), before),
                ];
                let mut so_far = 1_u32;
                let mut hashes = [0; 6];
                for i in (0..width).rev() {
                    for (hash, context) in hashes.iter_mut().zip(contexts) {
                        *hash = context.wrapping_add(so_far.wrapping_mul(0x3d4d_51cb));
                    }
                    let set = 60 - (so_far.min(4) as usize);
                    let bit = self.mixer.bit(bits, &hashes, (set, (8 - i) as usize), wanted >> i & 1 == 1)?;
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
}
