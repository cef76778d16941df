//! Sets of small numbers.

const WORDS: usize = 17;

/// A set of numbers below [`Bits::LIMIT`]: pieces of a generation, or symbols in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bits([u64; WORDS]);

impl Bits {
    /// What its numbers are below: 1024 pieces, or the few symbols more that a receiver of them may hold.
    pub const LIMIT: u16 = 64 * WORDS as u16;

    /// The numbers below `count`, all of them below the limit.
    pub fn below(count: u16) -> Self {
        let mut bits = Self::default();
        (0..count.min(Self::LIMIT)).for_each(|n| bits.insert(n));
        bits
    }

    /// Whether `n` is in the set.
    pub fn contains(&self, n: u16) -> bool {
        self.0.get(usize::from(n / 64)).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// Adds `n`; nothing is done at or beyond the limit.
    pub fn insert(&mut self, n: u16) {
        if let Some(word) = self.0.get_mut(usize::from(n / 64)) {
            *word |= 1 << (n % 64);
        }
    }

    /// Takes `n` out.
    pub fn remove(&mut self, n: u16) {
        if let Some(word) = self.0.get_mut(usize::from(n / 64)) {
            *word &= !(1 << (n % 64));
        }
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> u16 {
        self.0.iter().map(|word| word.count_ones() as u16).sum()
    }

    /// The numbers in rising order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        let words = self.0.iter().enumerate().filter(|(_, word)| **word != 0);
        words
            .flat_map(|(n, word)| (0..64).filter(move |b| word >> b & 1 == 1).map(move |b| 64 * n as u16 + b))
    }

    /// The numbers that are in one of the two only.
    pub(crate) fn toggle(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
    }

    /// Sets numbers 64 n to 64 n + 63, up to `count`, by the bits of `word`.
    pub(crate) fn set_word(&mut self, n: usize, word: u64, count: u16) {
        let left = usize::from(count).saturating_sub(64 * n);
        let mask = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
        if let Some(place) = self.0.get_mut(n) {
            *place = word & mask;
        }
    }

    /// For each number in `mask`, in rising order, one bit: whether it is in the set. `out` must be zero, and long enough.
    pub(crate) fn pick(&self, mask: &Self, out: &mut [u8]) {
        let mut at = 0;
        for (word, mask) in self.0.iter().zip(mask.0) {
            let mut left = mask;
            while left != 0 {
                let bit = left.trailing_zeros();
                out[at / 8] |= ((word >> bit & 1) as u8) << (at % 8);
                at += 1;
                left &= left - 1;
            }
        }
    }
}
