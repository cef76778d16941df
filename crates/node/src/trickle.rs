//! The Trickle timer (RFC 6206): speak seldom while all agree, soon when something changed.

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};

/// One Trickle timer. Times are drawn from the caller's generator.
#[derive(Clone, Debug)]
pub struct Trickle {
    interval_min: Duration,
    interval_max: Duration,
    /// Redundancy constant `k`: silent when this many consistent messages were heard. 0 = never silent.
    redundancy: u8,
    interval: Duration,
    fires_at: Instant,
    ends_at: Instant,
    fired: bool,
    heard: u8,
}

impl Trickle {
    /// Starts with an interval of `interval_min` (RFC 6206 section 4.2, step 1).
    pub fn new(
        interval_min: Duration,
        interval_max: Duration,
        redundancy: u8,
        now: Instant,
        rng: &mut Rng,
    ) -> Self {
        let mut timer = Self {
            interval_min,
            interval_max,
            redundancy,
            interval: interval_min,
            fires_at: now,
            ends_at: now,
            fired: false,
            heard: 0,
        };
        timer.begin(now, rng);
        timer
    }

    fn begin(&mut self, now: Instant, rng: &mut Rng) {
        // t is drawn from the second half of the interval (step 2).
        let half_ms = (self.interval.as_micros() / 2_000).min(u64::from(u32::MAX)) as u32;
        let wait = Duration::from_millis(u64::from(half_ms) + u64::from(rng.below(half_ms.max(1))));
        self.fires_at = now + wait;
        self.ends_at = now + self.interval;
        self.fired = false;
        self.heard = 0;
    }

    /// A message that agrees with what we would say was heard (step 3).
    pub fn handle_consistent(&mut self) {
        self.heard = self.heard.saturating_add(1);
    }

    /// Something changed: speak soon (step 6). A timer that is already at its shortest interval goes on.
    pub fn reset(&mut self, now: Instant, rng: &mut Rng) {
        if self.interval > self.interval_min || now >= self.ends_at {
            self.interval = self.interval_min;
            self.begin(now, rng);
        }
    }

    /// True once when it is time to speak (steps 4 and 5). Extra calls are harmless.
    pub fn poll(&mut self, now: Instant, rng: &mut Rng) -> bool {
        let mut speak = false;
        if !self.fired && now >= self.fires_at {
            self.fired = true;
            speak = self.redundancy == 0 || self.heard < self.redundancy;
        }
        if now >= self.ends_at {
            let doubled = Duration::from_micros(self.interval.as_micros() * 2);
            self.interval = if doubled < self.interval_max { doubled } else { self.interval_max };
            self.begin(now, rng);
        }
        speak
    }

    /// When it is time to speak in this interval; none where that is past.
    pub fn speaks_at(&self) -> Option<Instant> {
        (!self.fired).then_some(self.fires_at)
    }

    /// When to call [`Self::poll`] next.
    pub fn poll_timeout(&self) -> Instant {
        if self.fired { self.ends_at } else { self.fires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(redundancy: u8, heard_each_step: bool) -> u32 {
        let mut rng = Rng::from_seed(1);
        let mut timer = Trickle::new(
            Duration::from_secs(60),
            Duration::from_secs(960),
            redundancy,
            Instant::ZERO,
            &mut rng,
        );
        let mut spoken = 0;
        let mut now = Instant::ZERO;
        while now.as_micros() < 7_200_000_000 {
            if heard_each_step {
                timer.handle_consistent();
            }
            spoken += u32::from(timer.poll(now, &mut rng));
            now = timer.poll_timeout();
        }
        spoken
    }

    #[test]
    fn intervals_double_up_to_the_maximum() {
        // 60+120+240+480 = 900 s, then one per 960 s: 4 + 6 in two hours, the last one may fall outside.
        assert!((10..=11).contains(&count(0, false)), "{}", count(0, false));
    }

    #[test]
    fn silent_while_neighbours_say_the_same() {
        assert_eq!(count(1, true), 0);
    }

    #[test]
    fn reset_speaks_within_the_shortest_interval() {
        let mut rng = Rng::from_seed(2);
        let mut timer =
            Trickle::new(Duration::from_secs(10), Duration::from_secs(1000), 0, Instant::ZERO, &mut rng);
        let mut now = Instant::ZERO;
        while now.as_micros() < 500_000_000 {
            timer.poll(now, &mut rng);
            now = timer.poll_timeout();
        }
        timer.reset(now, &mut rng);
        assert!(timer.poll_timeout().as_micros() <= now.as_micros() + 10_000_000);
    }
}
