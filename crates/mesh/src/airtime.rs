//! Air time: how busy the channel is, and how much of it is ours.

use crate::time::{Duration, Instant};
use heapless::Deque;

/// Window of the channel utilisation.
const WINDOW_US: u64 = 60_000_000;
/// Entries of the exact window; the shortest frame that matters is about 20 ms, and a busy minute has fewer than this.
const HEARD: usize = 192;

/// Channel utilisation over the last 60 s: all that was sent and heard, good or bad.
///
/// Two measures, and the larger counts: the exact sliding sum, and the firmware's six buckets of 10 s.
#[derive(Clone, Debug, Default)]
pub struct ChannelUtilization {
    heard: Deque<(Instant, u32), HEARD>,
    sum_us: u64,
    buckets: [u32; 6],
    bucket: u64,
}

impl ChannelUtilization {
    fn advance(&mut self, now: Instant) {
        let bucket = now.as_micros() / 10_000_000;
        for past in (self.bucket + 1)..=bucket.min(self.bucket + 6) {
            self.buckets[(past % 6) as usize] = 0;
        }
        self.bucket = bucket.max(self.bucket);
        while let Some((ended, airtime_us)) = self.heard.front().copied() {
            if now.as_micros().saturating_sub(ended.as_micros()) < WINDOW_US {
                break;
            }
            self.heard.pop_front();
            self.sum_us -= u64::from(airtime_us);
        }
    }

    /// Something of this length ended now.
    pub fn record(&mut self, now: Instant, airtime: Duration) {
        self.advance(now);
        let airtime_us = airtime.as_micros().min(WINDOW_US) as u32;
        let slot = &mut self.buckets[(self.bucket % 6) as usize];
        *slot = slot.saturating_add(airtime_us);
        if self.heard.is_full()
            && let Some((_, oldest_us)) = self.heard.pop_front()
            && let Some((_, next_us)) = self.heard.front_mut()
        {
            // Joined to its successor, so that it counts longer than it should rather than not at all.
            *next_us = next_us.saturating_add(oldest_us);
        }
        if self.heard.push_back((now, airtime_us)).is_ok() {
            self.sum_us += u64::from(airtime_us);
        }
    }

    /// Utilisation in permille, with `more` added: what it would be after sending that.
    pub fn permille_with(&mut self, now: Instant, more: Duration) -> u16 {
        self.advance(now);
        let buckets: u64 = self.buckets.iter().map(|bucket| u64::from(*bucket)).sum();
        ((buckets.max(self.sum_us) + more.as_micros()) * 1000 / WINDOW_US).min(1000) as u16
    }
}

/// Buckets of the duty cycle: 30 s each.
const DUTY_BUCKETS: usize = 122;
const DUTY_BUCKET_US: u64 = 30_000_000;
const DUTY_WINDOW_US: u64 = 3_600_000_000;

/// Own air time over the last 3600 s. Time that is older than an hour by up to a bucket still counts: it never
/// under-counts.
#[derive(Clone, Debug)]
pub struct DutyCycle {
    buckets: [u32; DUTY_BUCKETS],
    bucket: u64,
    sum_us: u64,
}

impl DutyCycle {
    /// Nothing sent yet.
    pub const fn new() -> Self {
        Self { buckets: [0; DUTY_BUCKETS], bucket: 0, sum_us: 0 }
    }

    /// Unknown history counts as spent: `spent` is taken as sent just now.
    pub fn with_history(now: Instant, spent: Duration) -> Self {
        let mut duty = Self::new();
        duty.record(now, spent);
        duty
    }

    fn advance(&mut self, now: Instant) {
        let bucket = now.as_micros() / DUTY_BUCKET_US;
        if bucket <= self.bucket {
            return;
        }
        for past in (self.bucket + 1)..=bucket.min(self.bucket + DUTY_BUCKETS as u64) {
            let slot = &mut self.buckets[(past % DUTY_BUCKETS as u64) as usize];
            self.sum_us -= u64::from(*slot);
            *slot = 0;
        }
        self.bucket = bucket;
    }

    /// A transmission of this length began now.
    pub fn record(&mut self, now: Instant, airtime: Duration) {
        self.advance(now);
        let airtime_us = airtime.as_micros().min(u64::from(u32::MAX)) as u32;
        let slot = &mut self.buckets[(self.bucket % DUTY_BUCKETS as u64) as usize];
        let before = *slot;
        *slot = slot.saturating_add(airtime_us);
        self.sum_us += u64::from(*slot - before);
    }

    /// Own air time of the last hour and `more`, in microseconds.
    pub fn spent_us(&mut self, now: Instant, more: Duration) -> u64 {
        self.advance(now);
        self.sum_us + more.as_micros()
    }

    /// Whether a transmission of `airtime` stays within `limit` permille of an hour.
    pub fn allows(&mut self, now: Instant, airtime: Duration, limit_permille: u16) -> bool {
        limit_permille >= 1000
            || self.spent_us(now, airtime) <= DUTY_WINDOW_US / 1000 * u64::from(limit_permille)
    }
}

impl Default for DutyCycle {
    fn default() -> Self {
        Self::new()
    }
}
