//! What waits to be written to a client.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A `FromRadio` message that several clients may be told.
pub type Shared = Arc<[u8]>;

/// Messages that may wait beside those of a handshake: as in the larger radios.
pub const LIVE: usize = 32;

#[derive(Debug, Default)]
struct Inner {
    /// The rest of a handshake. As long as the radio's state, which is bounded.
    state: VecDeque<Shared>,
    live: VecDeque<Shared>,
    dropped: u64,
    closed: bool,
}

/// Between the hub, which never waits, and the task that writes to one client.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Outbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; and if it did, each single message would still be whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new state; what is left of an earlier one is not told any more.
    pub fn put_state(&self, state: Vec<Shared>) {
        self.inner().state = state.into();
        self.wake.notify_one();
    }

    /// A message; the oldest is lost where too many wait.
    pub fn put(&self, message: Shared) {
        let mut inner = self.inner();
        if inner.live.len() == LIVE {
            inner.live.pop_front();
            inner.dropped += 1;
        }
        inner.live.push_back(message);
        drop(inner);
        self.wake.notify_one();
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.inner().closed = true;
        self.wake.notify_one();
    }

    /// Nothing more comes, and nothing waits.
    pub fn is_closed(&self) -> bool {
        let inner = self.inner();
        inner.closed && inner.state.is_empty() && inner.live.is_empty()
    }

    /// The next message, where one waits.
    pub fn take(&self) -> Option<Shared> {
        let mut inner = self.inner();
        inner.state.pop_front().or_else(|| inner.live.pop_front())
    }

    /// Messages that were lost since the start.
    pub fn dropped(&self) -> u64 {
        self.inner().dropped
    }

    /// The next message; none after [`Outbox::close`].
    pub async fn next(&self) -> Option<Shared> {
        loop {
            if let Some(message) = self.take() {
                return Some(message);
            }
            if self.inner().closed {
                return None;
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_loses_the_oldest_and_never_its_handshake() {
        let outbox = Outbox::default();
        outbox.put_state(vec![Shared::from([1]), Shared::from([2])]);
        for n in 0..LIVE as u8 + 5 {
            outbox.put(Shared::from([100 + n]));
        }
        let all: Vec<u8> = std::iter::from_fn(|| outbox.take()).map(|message| message[0]).collect();
        let expected: Vec<u8> = [1, 2].into_iter().chain(105..105 + LIVE as u8).collect();
        assert_eq!((all, outbox.dropped()), (expected, 5));
    }
}
