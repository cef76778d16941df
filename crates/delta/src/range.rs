//! Binary range coder: what turns probabilities into bytes. The carry-propagating form of Martin (1979) and Schindler, with 16-bit
//! probabilities.

/// Where binary decisions come from (a decoder) or go to (an encoder, a meter, nowhere).
pub(crate) trait Bits {
    /// What may go wrong.
    type Error;
    /// One decision: `p` is the probability of `true` in 1/65536, `want` what an encoder is to write. Returns the decision.
    fn bit(&mut self, p: u16, want: bool) -> Result<bool, Self::Error>;
}

/// State of the decoder between slices.
#[derive(Clone, Debug)]
pub(crate) struct RangeState {
    range: u32,
    code: u32,
    /// Next byte of the patch to read.
    pub(crate) at: u32,
}

impl RangeState {
    pub(crate) const fn new() -> Self {
        Self { range: 0, code: 0, at: 0 }
    }
}

/// Below this range another byte is taken in.
const RENORM: u32 = 1 << 24;

/// Where to split `range`; both parts are at least 1.
fn split(range: u32, p: u16) -> u32 {
    ((u64::from(range) * u64::from(p.max(1))) >> 16) as u32
}

/// Reads decisions from bytes that `next` delivers.
pub(crate) struct RangeDecoder<'a, F> {
    pub(crate) state: &'a mut RangeState,
    pub(crate) next: F,
}

impl<E, F: FnMut(u32) -> Result<u8, E>> RangeDecoder<'_, F> {
    /// Begins at byte `at`.
    pub(crate) fn start(&mut self, at: u32) -> Result<(), E> {
        *self.state = RangeState { range: u32::MAX, code: 0, at };
        for _ in 0..4 {
            self.take()?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), E> {
        let byte = (self.next)(self.state.at)?;
        self.state.at = self.state.at.saturating_add(1);
        self.state.code = (self.state.code << 8) | u32::from(byte);
        Ok(())
    }
}

impl<E, F: FnMut(u32) -> Result<u8, E>> Bits for RangeDecoder<'_, F> {
    type Error = E;

    fn bit(&mut self, p: u16, _want: bool) -> Result<bool, E> {
        let bound = split(self.state.range, p);
        let bit = self.state.code < bound;
        if bit {
            self.state.range = bound;
        } else {
            self.state.code -= bound;
            self.state.range -= bound;
        }
        while self.state.range < RENORM {
            self.state.range <<= 8;
            self.take()?;
        }
        Ok(bit)
    }
}

/// Takes each decision as it is wanted: for training on what both sides know.
pub(crate) struct Known<E>(pub(crate) core::marker::PhantomData<E>);

impl<E> Bits for Known<E> {
    type Error = E;

    fn bit(&mut self, _p: u16, want: bool) -> Result<bool, Self::Error> {
        Ok(want)
    }
}

#[cfg(feature = "encode")]
pub(crate) mod encode {
    use super::{Bits, RENORM, split};
    use alloc::vec::Vec;

    /// Writes decisions as bytes.
    pub(crate) struct RangeEncoder {
        low: u64,
        range: u32,
        cache: u8,
        pending: u32,
        first: bool,
        pub(crate) bytes: Vec<u8>,
    }

    impl RangeEncoder {
        pub(crate) fn new() -> Self {
            Self { low: 0, range: u32::MAX, cache: 0, pending: 0, first: true, bytes: Vec::new() }
        }

        fn shift(&mut self) {
            if self.low < 0xff00_0000 || self.low > 0xffff_ffff {
                let carry = (self.low >> 32) as u8;
                if !self.first {
                    self.bytes.push(self.cache.wrapping_add(carry));
                }
                self.first = false;
                for _ in 0..self.pending {
                    self.bytes.push(0xff_u8.wrapping_add(carry));
                }
                self.pending = 0;
                self.cache = (self.low >> 24) as u8;
            } else {
                self.pending += 1;
            }
            self.low = (self.low & 0x00ff_ffff) << 8;
        }

        /// The bytes; zeros at the end are left out, since the decoder reads zeros past the end.
        pub(crate) fn finish(mut self) -> Vec<u8> {
            // Any number in [low, low + range) will do: take the one with most zeros at its end.
            for zeros in (0..32).rev() {
                let mask = (1_u64 << zeros) - 1;
                let rounded = (self.low + mask) & !mask;
                if rounded < self.low + u64::from(self.range) {
                    self.low = rounded;
                    break;
                }
            }
            for _ in 0..5 {
                self.shift();
            }
            while self.bytes.last() == Some(&0) {
                self.bytes.pop();
            }
            self.bytes
        }
    }

    impl Bits for RangeEncoder {
        type Error = core::convert::Infallible;

        fn bit(&mut self, p: u16, want: bool) -> Result<bool, Self::Error> {
            let bound = split(self.range, p);
            // `true` is the lower part, as in the decoder.
            if want {
                self.range = bound;
            } else {
                self.low += u64::from(bound);
                self.range -= bound;
            }
            while self.range < RENORM {
                self.range <<= 8;
                self.shift();
            }
            Ok(want)
        }
    }

    /// Counts what decisions cost, in 1/4096 bit.
    #[derive(Default)]
    pub(crate) struct Meter {
        pub(crate) cost: u64,
    }

    impl Bits for Meter {
        type Error = core::convert::Infallible;

        fn bit(&mut self, p: u16, want: bool) -> Result<bool, Self::Error> {
            let p = u32::from(p.max(1));
            let taken = if want { p } else { 65536 - p };
            self.cost += (65536 - crate::logistic::log2(taken)) as u64;
            Ok(want)
        }
    }
}
