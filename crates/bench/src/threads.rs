//! Runs that do not depend on each other, on several threads.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use anyhow::{Result, ensure};
use indicatif::ProgressBar;

/// Does `count` things on so many threads, by default one per core; results in order.
pub fn parallel<T: Send>(
    threads: Option<usize>,
    count: usize,
    bar: Option<&ProgressBar>,
    act: impl Fn(usize) -> T + Sync,
) -> Result<Vec<T>> {
    let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
    ensure!((1..=1024).contains(&threads), "--threads {threads} is not between 1 and 1024");
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    if index >= count {
                        return;
                    }
                    let result = act(index);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    if let Some(bar) = bar {
                        bar.inc(1);
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
