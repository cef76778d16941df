//! Independent runs on all cores; results come in the order of the inputs.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Calls `work` for each of `count` indices on so many threads, and `done` after each one.
pub fn map<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    done: impl Fn() + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let result = work(index);
                    results.lock().expect("no worker panicked")[index] = Some(result);
                    done();
                }
            });
        }
    });
    results.into_inner().expect("no worker panicked").into_iter().flatten().collect()
}

/// Cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_the_order_of_the_inputs() {
        let expected: Vec<usize> = (0..200).map(|index| index * index).collect();
        for threads in [0, 1, 3, 500] {
            assert_eq!(super::map(200, threads, |index| index * index, || {}), expected);
        }
    }
}
