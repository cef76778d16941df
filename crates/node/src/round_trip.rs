//! How long an answer takes: smoothed, so that patience fits the mesh. A request that is repeated while the first one still
//! makes its way costs the way twice.
//!
//! The estimator is TCP's (RFC 6298). A repeated request is timed from its first copy: an answer does not say which copy it is
//! for, and too long a wait costs time where too short a one costs air.

use compotastic_mesh::time::{Duration, Instant};

/// Before the first answer, and the least ever: the executor thinks, packets queue behind others.
const FLOOR: Duration = Duration::from_secs(12);
/// One answer that took longer, since its executor was away, says nothing about the way.
const SAMPLE_MAX: Duration = Duration::from_secs(90);

/// The estimate; one for all destinations, since most of what a node asks goes to one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    /// Mean and mean deviation, microseconds.
    smoothed: Option<(u64, u64)>,
}

impl RoundTrip {
    /// An answer came to what was first sent then.
    pub fn handle_answer(&mut self, now: Instant, first_sent: Instant) {
        let sample = now.saturating_duration_since(first_sent).min(SAMPLE_MAX).as_micros();
        self.smoothed = Some(match self.smoothed {
            None => (sample, sample / 2),
            Some((mean, deviation)) => ((7 * mean + sample) / 8, (3 * deviation + mean.abs_diff(sample)) / 4),
        });
    }

    /// How long to wait for an answer.
    pub fn patience(&self, flood_time: Duration) -> Duration {
        let least = FLOOR.as_micros() + 2 * flood_time.as_micros();
        let learnt = self.smoothed.map_or(0, |(mean, deviation)| mean + 4 * deviation);
        Duration::from_micros(learnt.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_answers_take() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let flood = Duration::from_secs(3);
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.patience(flood), Duration::from_secs(18));
        for _ in 0..8 {
            round_trip.handle_answer(at(4), at(0));
        }
        assert_eq!(round_trip.patience(flood), Duration::from_secs(18), "never less than the floor");
        for _ in 0..30 {
            round_trip.handle_answer(at(90), at(30));
        }
        let patience = round_trip.patience(flood);
        assert!(patience >= Duration::from_secs(59) && patience < Duration::from_secs(80), "{patience:?}");
        round_trip.handle_answer(at(9000), at(0));
        assert!(round_trip.patience(flood) < Duration::from_secs(400), "one outlier is bounded");
    }
}
