//! A budget that fills up again with time.

use std::time::Duration;

/// A token bucket. Tokens are whatever is counted: answers, or milliseconds on the air.
#[derive(Clone, Debug)]
pub struct Bucket {
    capacity: f64,
    per_s: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A full one that gets `capacity` tokens in `period`.
    pub fn new(capacity: f64, period: Duration) -> Self {
        Self { capacity, per_s: capacity / period.as_secs_f64(), level: capacity, at: Duration::ZERO }
    }

    /// Tokens there are at this time, counted from the start of the daemon.
    pub fn level(&mut self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.per_s).min(self.capacity);
        self.level
    }

    /// Takes tokens; false, and none taken, where there are too few.
    pub fn take(&mut self, now: Duration, tokens: f64) -> bool {
        let enough = self.level(now) >= tokens;
        if enough {
            self.level -= tokens;
        }
        enough
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, tokens: f64) {
        self.level = (self.level + tokens.max(0.0)).min(self.capacity);
    }
}
