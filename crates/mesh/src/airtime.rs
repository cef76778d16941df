//! Air time: how busy the channel is, and how much of it is ours.
//!
//! Both tables are bounded, and err on the side of more: time is counted a little longer than it should be rather than
//! not at all. Looking does not change them.

use heapless::Deque;

use crate::time::{Duration, Instant};

/// Window of the channel utilisation.
pub(crate) const WINDOW_US: u64 = 60_000_000;
/// The firmware's buckets of the same window.
const BUCKETS: u64 = 6;
const BUCKET_US: u64 = WINDOW_US / BUCKETS;
/// Frames of the exact window. More in a minute (less than 0.32 s each) are joined with their successors.
const HEARD: usize = 192;

/// Channel utilisation over the last 60 s: all that was sent and heard, good or bad.
///
/// Two measures, and the larger counts: the exact sliding sum, and the firmware's six buckets of 10 s.
#[derive(Clone, Debug, Default)]
pub struct ChannelUtilization {
    /// End and length of what was on the air, oldest first.
    heard: Deque<(Instant, u32), HEARD>,
    sum_us: u64,
    buckets: [u32; BUCKETS as usize],
    /// The bucket that the last record went to, counted from the start.
    bucket: u64,
}

impl ChannelUtilization {
    /// Something of this length ended now.
    pub fn record(&mut self, now: Instant, airtime: Duration) {
        let bucket = (now.as_micros() / BUCKET_US).max(self.bucket);
        for past in (self.bucket + 1)..=bucket.min(self.bucket + BUCKETS) {
            self.buckets[(past % BUCKETS) as usize] = 0;
        }
        self.bucket = bucket;
        while let Some((_, airtime_us)) =
            self.heard.front().copied().filter(|(ended, _)| is_past(now, *ended))
        {
            self.heard.pop_front();
            self.sum_us -= u64::from(airtime_us);
        }
        // A record longer than the window says no more than one that fills it.
        let airtime_us = airtime.as_micros().min(WINDOW_US) as u32;
        let slot = &mut self.buckets[(self.bucket % BUCKETS) as usize];
        *slot = slot.saturating_add(airtime_us);
        if self.heard.is_full()
            && let Some((_, oldest_us)) = self.heard.pop_front()
            && let Some((_, next_us)) = self.heard.front_mut()
        {
            // Joined to its successor, so that it counts longer than it should rather than not at all.
            let joined_us = next_us.saturating_add(oldest_us);
            self.sum_us -= u64::from(oldest_us) + u64::from(*next_us) - u64::from(joined_us);
            *next_us = joined_us;
        }
        if self.heard.push_back((now, airtime_us)).is_ok() {
            self.sum_us += u64::from(airtime_us);
        }
    }

    /// Utilisation in permille.
    pub fn permille(&self, now: Instant) -> u16 {
        self.permille_with(now, Duration::ZERO)
    }

    /// Utilisation in permille with `more` added: what it would be after sending that.
    pub fn permille_with(&self, now: Instant, more: Duration) -> u16 {
        let past_us: u64 = self
            .heard
            .iter()
            .take_while(|(ended, _)| is_past(now, *ended))
            .map(|(_, airtime_us)| u64::from(*airtime_us))
            .sum();
        let bucket = (now.as_micros() / BUCKET_US).max(self.bucket);
        let first = (bucket + 1).saturating_sub(BUCKETS);
        let buckets_us: u64 =
            (first..=self.bucket).map(|index| u64::from(self.buckets[(index % BUCKETS) as usize])).sum();
        let used_us = buckets_us.max(self.sum_us - past_us).saturating_add(more.as_micros());
        (used_us.saturating_mul(1000) / WINDOW_US).min(1000) as u16
    }
}

/// Whether what ended then has left the window.
fn is_past(now: Instant, ended: Instant) -> bool {
    now.saturating_duration_since(ended).as_micros() >= WINDOW_US
}

/// Buckets of the duty cycle: 30 s each, and two more than an hour has, so that the oldest second of the hour is
/// always within one.
const DUTY_BUCKETS: u64 = 122;
const DUTY_BUCKET_US: u64 = 30_000_000;
const DUTY_WINDOW_US: u64 = 3_600_000_000;

/// Own air time over the last 3600 s. Time that is older than an hour by up to a minute still counts: it never
/// under-counts.
#[derive(Clone, Debug)]
pub struct DutyCycle {
    buckets: [u32; DUTY_BUCKETS as usize],
    bucket: u64,
    sum_us: u64,
}

impl DutyCycle {
    /// Nothing sent yet.
    pub const fn new() -> Self {
        Self { buckets: [0; DUTY_BUCKETS as usize], bucket: 0, sum_us: 0 }
    }

    /// A transmission of this length began now.
    pub fn record(&mut self, now: Instant, airtime: Duration) {
        let bucket = (now.as_micros() / DUTY_BUCKET_US).max(self.bucket);
        for past in (self.bucket + 1)..=bucket.min(self.bucket + DUTY_BUCKETS) {
            let slot = &mut self.buckets[(past % DUTY_BUCKETS) as usize];
            self.sum_us -= u64::from(*slot);
            *slot = 0;
        }
        self.bucket = bucket;
        let airtime_us = airtime.as_micros().min(u64::from(u32::MAX)) as u32;
        let slot = &mut self.buckets[(self.bucket % DUTY_BUCKETS) as usize];
        let before_us = *slot;
        *slot = slot.saturating_add(airtime_us);
        self.sum_us += u64::from(*slot - before_us);
    }

    /// Own air time of the last hour and `more`, in microseconds.
    pub fn spent_us(&self, now: Instant, more: Duration) -> u64 {
        let bucket = (now.as_micros() / DUTY_BUCKET_US).max(self.bucket);
        let past_us: u64 = ((self.bucket + 1)..=bucket.min(self.bucket + DUTY_BUCKETS))
            .map(|past| u64::from(self.buckets[(past % DUTY_BUCKETS) as usize]))
            .sum();
        (self.sum_us - past_us).saturating_add(more.as_micros())
    }

    /// Own air time of the last hour in permille.
    pub fn permille(&self, now: Instant) -> u16 {
        (self.spent_us(now, Duration::ZERO) / (DUTY_WINDOW_US / 1000)).min(1000) as u16
    }

    /// Whether a transmission of `airtime` stays within `limit` permille of an hour.
    pub fn allows(&self, now: Instant, airtime: Duration, limit_permille: u16) -> bool {
        limit_permille >= 1000
            || self.spent_us(now, airtime) <= DUTY_WINDOW_US / 1000 * u64::from(limit_permille)
    }
}

impl Default for DutyCycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn utilisation_counts_what_ended_within_the_last_minute() {
        let mut channel = ChannelUtilization::default();
        channel.record(at_ms(5_000), Duration::from_secs(6));
        channel.record(at_ms(35_000), Duration::from_secs(3));
        assert_eq!(channel.permille(at_ms(35_000)), 150);
        assert_eq!(channel.permille_with(at_ms(35_000), Duration::from_secs(3)), 200);
        assert_eq!(channel.permille(at_ms(64_999)), 150);
        assert_eq!(channel.permille(at_ms(65_000)), 50);
        assert_eq!(channel.permille(at_ms(95_000)), 0);
        // Far later, and after the gap all works as before.
        channel.record(at_ms(900_000), Duration::from_secs(6));
        assert_eq!(channel.permille(at_ms(900_000)), 100);
    }

    #[test]
    fn the_firmware_buckets_count_where_they_are_larger() {
        // A bucket is dropped as a whole, so within it the exact sum is the larger one; right before, they agree.
        let mut channel = ChannelUtilization::default();
        channel.record(at_ms(9_999), Duration::from_secs(6));
        assert_eq!(channel.permille(at_ms(59_999)), 100);
        assert_eq!(channel.permille(at_ms(60_001)), 100);
        assert_eq!(channel.permille(at_ms(69_999)), 0);
    }

    #[test]
    fn a_flood_of_short_frames_is_never_under_counted() {
        let mut channel = ChannelUtilization::default();
        for frame in 0..1000u64 {
            channel.record(at_ms(frame * 50), Duration::from_millis(20));
            let within = (frame + 1).min(1200);
            let exact_permille = within * 20 * 1000 / 60_000;
            assert!(u64::from(channel.permille(at_ms(frame * 50))) >= exact_permille);
        }
        // All of it has gone a minute after the last.
        assert_eq!(channel.permille(at_ms(999 * 50 + 60_000)), 0);
    }

    #[test]
    fn the_duty_cycle_never_under_counts_an_hour() {
        let mut duty = DutyCycle::new();
        let mut sent: std::vec::Vec<(u64, u64)> = std::vec::Vec::new();
        let mut now_ms = 0;
        for step in 0..4000u64 {
            now_ms += 7 + step * 37 % 5_000;
            let airtime_ms = 100 + step % 700;
            duty.record(at_ms(now_ms), Duration::from_millis(airtime_ms));
            sent.push((now_ms, airtime_ms));
            let look_ms = now_ms + step % 90_000;
            let exact_us: u64 = sent
                .iter()
                .filter(|(start, airtime)| start + airtime + 3_600_000 > look_ms)
                .map(|(_, airtime)| airtime * 1000)
                .sum();
            let spent_us = duty.spent_us(at_ms(look_ms), Duration::ZERO);
            assert!(spent_us >= exact_us, "{spent_us} {exact_us}");
            // And over-counts by a little more than a minute at most.
            let older_us: u64 = sent
                .iter()
                .filter(|(start, _)| start + 3_600_000 + 61_000 > look_ms)
                .map(|(_, airtime)| airtime * 1000)
                .sum();
            assert!(spent_us <= older_us, "{spent_us} {older_us}");
        }
        assert_eq!(duty.spent_us(at_ms(now_ms + 3_700_000), Duration::ZERO), 0);
    }

    #[test]
    fn a_limit_binds_with_the_packet_itself() {
        let mut duty = DutyCycle::new();
        duty.record(at_ms(0), Duration::from_secs(359));
        assert!(duty.allows(at_ms(1), Duration::from_secs(1), 100));
        assert!(!duty.allows(at_ms(1), Duration::from_millis(1001), 100));
        assert!(duty.allows(at_ms(1), Duration::from_secs(4000), 1000));
        assert_eq!(duty.permille(at_ms(1)), 99);
    }

    #[test]
    fn the_end_of_time_is_no_trouble() {
        let last = Instant::from_micros(u64::MAX);
        let (mut channel, mut duty) = (ChannelUtilization::default(), DutyCycle::new());
        for now in [Instant::ZERO, last, last, Instant::ZERO] {
            channel.record(now, Duration::from_micros(u64::MAX));
            duty.record(now, Duration::from_micros(u64::MAX));
            assert_eq!(channel.permille_with(now, Duration::from_micros(u64::MAX)), 1000);
            assert!(!duty.allows(now, Duration::from_micros(u64::MAX), 100));
        }
    }
}
