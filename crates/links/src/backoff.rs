//! Waiting before the next try, longer each time, and never in step with others.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Small random numbers: jitter and nonces, nothing secret.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    /// From a seed, or from the system's randomness.
    pub fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()))
    }

    /// The next one (SplitMix64).
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Exponential back-off with jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
    draws: Draws,
}

impl Backoff {
    /// Waits from half of `min` to `max`.
    pub fn new(min: Duration, max: Duration, seed: Option<u64>) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), step: min, draws: Draws::new(seed) }
    }

    /// The link was up: the next wait is short again.
    pub fn reset(&mut self) {
        self.step = self.min;
    }

    /// The next wait: between half of the step and all of it.
    pub fn wait(&mut self) -> Duration {
        let half = self.step / 2;
        let jitter = self.draws.draw() % (half.as_micros() as u64 + 1);
        self.step = (self.step * 2).min(self.max);
        half + Duration::from_micros(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_short_again_after_success() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(20));
        let mut backoff = Backoff::new(min, max, Some(7));
        for step in [1, 2, 4, 8, 16, 20, 20] {
            let (wait, step) = (backoff.wait(), Duration::from_secs(step));
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= min);
    }

    #[test]
    fn two_links_do_not_wait_in_step() {
        let new = |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(20), seed);
        assert_ne!(new(Some(1)).wait(), new(Some(2)).wait());
        assert_ne!(new(None).wait(), new(None).wait());
    }
}
