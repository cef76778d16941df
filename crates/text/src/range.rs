//! A 32-bit range coder whose end costs as few bytes as possible.
//!
//! The code is a binary fraction. The encoder keeps the interval `low .. low + range` and narrows
//! it; the decoder reads bytes past the end of the payload as zeros, so the encoder may stop at
//! the shortest fraction inside its last interval.

/// The interval is widened by whole bytes to stay above this.
const BOTTOM: u32 = 1 << 24;

/// Bits spent so far, in whole bits: what both ends know about how much of the payload is used.
fn spent_bits(shifts: u32, range: u32) -> u32 {
    shifts * 8 + range.leading_zeros()
}

/// Writes a code into a byte buffer.
pub(crate) struct Encoder<'a> {
    out: &'a mut [u8],
    len: usize,
    low: u32,
    range: u32,
    overflow: bool,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Encoder { out, len: 0, low: 0, range: u32::MAX, overflow: false }
    }

    pub(crate) fn spent_bits(&self) -> u32 {
        spent_bits(self.len as u32, self.range)
    }

    /// True once the buffer was too small; the code is worthless from then on.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflow
    }

    /// Narrows the interval to the part `start .. start + size` of `total` (at most 65536).
    pub(crate) fn encode(&mut self, start: u32, size: u32, total: u32) {
        debug_assert!(size > 0 && start + size <= total && total <= 1 << 16);
        let unit = self.range / total;
        self.add(unit * start);
        self.range = unit * size;
        while self.range < BOTTOM {
            self.push((self.low >> 24) as u8);
            self.low <<= 8;
            self.range <<= 8;
        }
    }

    /// Ends the code. Returns its length in bytes, or nothing when the buffer was too small.
    pub(crate) fn finish(mut self) -> Option<usize> {
        // Trailing zero bytes are free, so look for the roundest number in the interval.
        if self.low != 0 {
            let last = u64::from(self.low) + u64::from(self.range) - 1;
            let mut keep = 0;
            let mut value = 0;
            for bytes in 0..=4u32 {
                let step = 1u64 << (32 - 8 * bytes);
                value = u64::from(self.low).div_ceil(step) * step;
                keep = bytes;
                if value <= last {
                    break;
                }
            }
            self.add((value - u64::from(self.low)) as u32);
            for i in 0..keep {
                self.push((self.low >> (24 - 8 * i)) as u8);
            }
        }
        if self.overflow {
            return None;
        }
        while self.len > 0 && self.out[self.len - 1] == 0 {
            self.len -= 1;
        }
        Some(self.len)
    }

    fn add(&mut self, amount: u32) {
        let (low, carry) = self.low.overflowing_add(amount);
        self.low = low;
        if carry {
            for byte in self.out[..self.len].iter_mut().rev() {
                let (sum, more) = byte.overflowing_add(1);
                *byte = sum;
                if !more {
                    break;
                }
            }
        }
    }

    fn push(&mut self, byte: u8) {
        match self.out.get_mut(self.len) {
            Some(slot) if !self.overflow => {
                *slot = byte;
                self.len += 1;
            }
            _ => self.overflow = true,
        }
    }
}

/// Reads a code from a payload.
pub(crate) struct Decoder<'a> {
    payload: &'a [u8],
    next: usize,
    /// The code minus the lower end of the interval.
    offset: u32,
    range: u32,
    shifts: u32,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        let mut decoder = Decoder { payload, next: 0, offset: 0, range: u32::MAX, shifts: 0 };
        for _ in 0..4 {
            decoder.offset = decoder.offset << 8 | decoder.byte();
        }
        decoder
    }

    pub(crate) fn spent_bits(&self) -> u32 {
        spent_bits(self.shifts, self.range)
    }

    /// Where the code lies in `0 .. total`.
    pub(crate) fn peek(&self, total: u32) -> u32 {
        (self.offset / (self.range / total)).min(total - 1)
    }

    /// Narrows the interval exactly as [`Encoder::encode`] did.
    pub(crate) fn consume(&mut self, start: u32, size: u32, total: u32) {
        let unit = self.range / total;
        // A payload that no encoder wrote can lie past the last part: it decodes to something, or
        // to an error further on, and the saturation keeps the arithmetic in range.
        self.offset = self.offset.saturating_sub(unit * start);
        self.range = unit * size;
        while self.range < BOTTOM {
            self.offset = self.offset << 8 | self.byte();
            self.range <<= 8;
            self.shifts += 1;
        }
    }

    fn byte(&mut self) -> u32 {
        let byte = self.payload.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        u32::from(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skewed_symbols_come_back() {
        let parts = [(0u32, 1u32), (1, 60_000), (60_001, 5_535)];
        let mut state = 1u32;
        let mut symbols = [0usize; 500];
        for symbol in &mut symbols {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *symbol = match state >> 24 {
                0 => 0,
                1..=230 => 1,
                _ => 2,
            };
        }
        for count in 0..symbols.len() {
            let mut out = [0u8; 400];
            let mut encoder = Encoder::new(&mut out);
            for &s in &symbols[..count] {
                encoder.encode(parts[s].0, parts[s].1, 65_536);
            }
            let spent = encoder.spent_bits();
            let len = encoder.finish().unwrap();
            assert!(len <= spent as usize / 8 + 2);
            let mut decoder = Decoder::new(&out[..len]);
            for &s in &symbols[..count] {
                let at = decoder.peek(65_536);
                let found = parts.iter().position(|&(start, size)| (start..start + size).contains(&at));
                assert_eq!(found, Some(s));
                decoder.consume(parts[s].0, parts[s].1, 65_536);
            }
            assert_eq!(decoder.spent_bits(), spent);
        }
    }

    #[test]
    fn a_full_buffer_is_noticed() {
        let mut out = [0u8; 3];
        let mut encoder = Encoder::new(&mut out);
        for _ in 0..10 {
            encoder.encode(7, 1, 256);
        }
        assert!(encoder.overflowed());
        assert_eq!(encoder.finish(), None);
    }
}
