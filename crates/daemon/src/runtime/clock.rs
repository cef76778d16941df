//! The core's clock: tokio's monotonic time, moved on over restarts.
//!
//! The core's times never run backwards, whatever this machine's clock does and however often the daemon is restarted: a mark
//! ahead of the present is on the disk before times up to it are given, and the next start begins there.

use std::{sync::Arc, time::Duration as StdDuration};

use anyhow::Result;
use compotastic_mesh::time::{Duration, Instant};

use crate::store::Store;

/// The store holds a mark so far ahead.
const AHEAD: Duration = Duration::from_secs(600);
const KEY: &str = "clock mark us";

/// Milliseconds since 1970 by this machine's clock, for what people see and for what was left over a restart.
pub type Wall = Arc<dyn Fn() -> u64 + Send + Sync>;

/// This machine's clock.
pub fn system_wall() -> Wall {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

/// The core's clock.
#[derive(Debug)]
pub struct Clock {
    store: Store,
    base: Instant,
    started: tokio::time::Instant,
    mark: Instant,
}

impl Clock {
    /// Goes on where the last run ended at the latest.
    pub fn start(store: &Store) -> Result<Self> {
        let base = Instant::from_micros(store.get::<u64>(KEY)?.unwrap_or(0));
        let mut clock = Self { store: store.clone(), base, started: tokio::time::Instant::now(), mark: base };
        clock.keep()?;
        Ok(clock)
    }

    /// The present.
    pub fn now(&self) -> Instant {
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.base + Duration::from_micros(elapsed)
    }

    /// The core's time as tokio's.
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        self.started + StdDuration::from_micros(instant.saturating_duration_since(self.base).as_micros())
    }

    /// Moves the mark on where it is near. To be called at least every five minutes.
    pub fn keep(&mut self) -> Result<()> {
        let now = self.now();
        if now + Duration::from_micros(AHEAD.as_micros() / 2) >= self.mark {
            let mark = now + AHEAD;
            self.store.set(KEY, &mark.as_micros())?;
            self.mark = mark;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_over_restarts() {
        let folder = std::env::temp_dir().join(format!("compotastic-clock-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut last = Instant::ZERO;
        for _ in 0..3 {
            let store = Store::open(folder.join("store")).unwrap();
            let mut clock = Clock::start(&store).unwrap();
            for _ in 0..20 {
                assert!(clock.now() >= last);
                last = clock.now();
                tokio::time::advance(StdDuration::from_secs(120)).await;
                clock.keep().unwrap();
            }
            assert_eq!(clock.at(clock.now()), tokio::time::Instant::now());
        }
        assert!(last.as_micros() >= 3 * 19 * 120_000_000);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
