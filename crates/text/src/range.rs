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
    state: Progress,
}

/// How far an encoder has come. Bytes that a carry could still change are held back in here, so
/// putting an earlier state back is enough to go on from there.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// Lower end of the interval; bit 32 is a carry.
    low: u64,
    range: u32,
    shifts: u32,
    /// The last byte that is not 0xFF, and how many 0xFF follow it.
    held: Option<u8>,
    held_ones: u32,
    len: usize,
    overflow: bool,
}

impl Progress {
    pub(crate) fn spent_bits(&self) -> u32 {
        spent_bits(self.shifts, self.range)
    }
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        let state = Progress {
            low: 0,
            range: u32::MAX,
            shifts: 0,
            held: None,
            held_ones: 0,
            len: 0,
            overflow: false,
        };
        Encoder { out, state }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.state
    }

    /// Goes back to an earlier state of this encoder.
    pub(crate) fn restore(&mut self, progress: Progress) {
        self.state = progress;
    }

    pub(crate) fn spent_bits(&self) -> u32 {
        self.state.spent_bits()
    }

    /// True once the buffer was too small; the code is worthless from then on.
    pub(crate) fn overflowed(&self) -> bool {
        self.state.overflow
    }

    /// Narrows the interval to the part `start .. start + size` of `total` (at most 65536).
    pub(crate) fn encode(&mut self, start: u32, size: u32, total: u32) {
        debug_assert!(size > 0 && start + size <= total && total <= 1 << 16);
        let unit = self.state.range / total;
        self.state.low += u64::from(unit * start);
        self.state.range = unit * size;
        while self.state.range < BOTTOM {
            self.shift();
            self.state.range <<= 8;
        }
    }

    /// Ends the code in at most `limit` bytes. Returns its length, without the zero bytes at its
    /// end, or nothing when it does not fit.
    pub(crate) fn finish(&mut self, limit: usize) -> Option<usize> {
        // Zero bytes at the end are free, so look for the roundest number in the interval.
        let (low, range) = (self.state.low, u64::from(self.state.range));
        for bytes in 0..=4u32 {
            let step = 1u64 << (32 - 8 * bytes);
            let value = low.div_ceil(step) * step;
            if value < low + range {
                self.state.low = value;
                break;
            }
        }
        // Four bytes are the number itself, one more pushes out what is held back.
        for _ in 0..5 {
            self.shift();
        }
        self.release(0);
        let len = self.state.len.min(self.out.len());
        let used = self.out[..len].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        (!self.state.overflow && used <= limit).then_some(used)
    }

    fn shift(&mut self) {
        if self.state.low & 0xFF00_0000 == 0xFF00_0000 && self.state.low >> 32 == 0 {
            self.state.held_ones += 1;
        } else {
            self.release((self.state.low >> 32) as u8);
            self.state.held = Some((self.state.low >> 24) as u8);
        }
        self.state.low = (self.state.low & 0x00FF_FFFF) << 8;
        self.state.shifts += 1;
    }

    /// Writes the bytes held back, with a carry of 0 or 1.
    fn release(&mut self, carry: u8) {
        if let Some(byte) = self.state.held.take() {
            self.push(byte.wrapping_add(carry));
        }
        for _ in 0..core::mem::take(&mut self.state.held_ones) {
            self.push(0xFF_u8.wrapping_add(carry));
        }
    }

    fn push(&mut self, byte: u8) {
        match self.out.get_mut(self.state.len) {
            Some(slot) => *slot = byte,
            // The decoder takes zeros past the end for granted.
            None => self.state.overflow |= byte != 0,
        }
        self.state.len += 1;
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
            let len = encoder.finish(400).unwrap();
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
        for symbol in 0..10 {
            encoder.encode(7 + 20 * symbol, 1, 256);
        }
        assert!(encoder.overflowed());
        assert_eq!(encoder.finish(3), None);
    }
}
