//! The duty cycle survives a restart: a mark in flash is never below what was sent in the last hour.
//!
//! There is no wall clock, so after a restart the whole mark counts as spent at that moment. It is raised, by a step, before what
//! would pass it is sent, and lowered when it has become much too high.

use compotastic_mesh::time::Duration;

/// Steps of the mark, parts of the hour's limit.
const STEPS: u64 = 8;

/// The mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AirtimeMark {
    mark_ms: u64,
    step_ms: u64,
    longest_ms: u64,
}

impl AirtimeMark {
    /// For a region with this limit (permille of an hour) and a modulation whose longest frame takes so long; none where there is
    /// no limit. `stored_ms` is what flash holds.
    pub(crate) fn new(limit_permille: u16, longest: Duration, stored_ms: Option<u32>) -> Option<Self> {
        let limit_ms = u64::from(limit_permille) * 3600;
        let longest_ms = longest.as_micros().div_ceil(1000);
        (limit_permille < 1000).then(|| Self {
            mark_ms: u64::from(stored_ms.unwrap_or(0)),
            step_ms: (limit_ms / STEPS).max(longest_ms),
            longest_ms,
        })
    }

    /// What counts as spent at the start.
    pub(crate) fn spent_at_start(&self) -> Duration {
        Duration::from_millis(self.mark_ms)
    }

    /// The mark to be stored before another frame goes, if so much was sent in the last hour; none if the present one will do.
    pub(crate) fn wanted_ms(&self, spent: Duration) -> Option<u32> {
        let spent_ms = spent.as_micros().div_ceil(1000);
        let low = spent_ms + self.longest_ms > self.mark_ms;
        let high = self.mark_ms > spent_ms + self.longest_ms + 3 * self.step_ms;
        (low || high).then_some((spent_ms + self.longest_ms + self.step_ms).min(u64::from(u32::MAX)) as u32)
    }

    /// Flash has taken it.
    pub(crate) fn set(&mut self, mark_ms: u32) {
        self.mark_ms = u64::from(mark_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_never_below_what_was_sent_and_is_written_seldom() {
        let longest = Duration::from_millis(2000);
        assert_eq!(AirtimeMark::new(1000, longest, None), None, "no limit, no mark");
        let mut mark = AirtimeMark::new(100, longest, None).unwrap();
        assert_eq!(mark.spent_at_start(), Duration::ZERO);
        let mut writes = 0;
        for seconds in (0..360).chain((0..360).rev()) {
            let spent = Duration::from_secs(seconds);
            if let Some(wanted) = mark.wanted_ms(spent) {
                mark.set(wanted);
                writes += 1;
            }
            assert!(mark.spent_at_start().as_micros() >= (spent + longest).as_micros());
        }
        assert!((8..24).contains(&writes), "{writes}");
        assert!(mark.spent_at_start().as_micros() < 200_000_000, "it falls with time");
    }
}
