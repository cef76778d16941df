//! tokio's clock, many times as fast as the wall's: daemons, their links, keep-alives and back-off run by it, while brokers and other
//! programs that they speak to are real. What takes minutes by the rules takes seconds.

use std::time::{Duration, Instant};

/// Seconds of tokio's clock in one of the wall's.
pub const SPEED: u32 = 40;
/// The clock moves on so often.
const STEP: Duration = Duration::from_millis(2);
/// It moves on by so much at most, by itself: where the machine is busy the clock goes slower, so that each time-out leaves those who
/// are real as many turns as on an idle one.
const MOST: Duration = Duration::from_millis(200);

/// Lets tokio's clock run fast from now on. Only for a runtime of one thread.
pub fn quicken() {
    // `RUST_LOG=debug` shows what the links say.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .try_init();
    tokio::time::pause();
    tokio::spawn(async {
        let mut last = Instant::now();
        loop {
            // While a thread is at work tokio does not jump to the next timer by itself.
            let _ = tokio::task::spawn_blocking(|| std::thread::sleep(STEP)).await;
            let now = Instant::now();
            tokio::time::advance(((now - last) * SPEED).min(MOST)).await;
            last = now;
        }
    });
}
