//! Events on their way to a host that may be slow.

use std::collections::VecDeque;

use tokio::sync::mpsc;

/// An event of a link.
pub trait LinkEvent {
    /// Dropped first where the host does not drain.
    fn is_lesser(&self) -> bool;
    /// The word about what was dropped.
    fn lagged(dropped: u64) -> Self;
}

/// A bounded queue before a bounded channel. When it is full the oldest lesser event goes, then the oldest of all; the host
/// is told how many it missed before it gets the next one.
pub struct Outbox<E> {
    channel: mpsc::Sender<E>,
    waiting: VecDeque<E>,
    capacity: usize,
    missed: u64,
    /// Dropped since the start.
    pub dropped: u64,
}

impl<E: LinkEvent> Outbox<E> {
    /// A queue of `capacity` events before `channel`.
    pub fn new(channel: mpsc::Sender<E>, capacity: usize) -> Self {
        Self { channel, waiting: VecDeque::new(), capacity, missed: 0, dropped: 0 }
    }

    /// Puts an event at the end.
    pub fn push(&mut self, event: E) {
        if self.waiting.len() >= self.capacity {
            let oldest = self.waiting.iter().position(LinkEvent::is_lesser);
            match oldest {
                None if event.is_lesser() => {
                    self.count();
                    return;
                }
                oldest => drop(self.waiting.remove(oldest.unwrap_or(0))),
            }
            self.count();
        }
        self.waiting.push_back(event);
    }

    fn count(&mut self) {
        self.missed += 1;
        self.dropped += 1;
    }

    /// Hands events over as the host takes them; ends when none waits, or the host is gone. Nothing is lost if the
    /// future is dropped.
    pub async fn flush(&mut self) {
        while !self.is_empty() {
            let Ok(permit) = self.channel.reserve().await else {
                self.waiting.clear();
                self.missed = 0;
                return;
            };
            if self.missed > 0 {
                permit.send(E::lagged(std::mem::take(&mut self.missed)));
            } else if let Some(event) = self.waiting.pop_front() {
                permit.send(event);
            }
        }
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.missed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Said {
        State(u32),
        Packet(u32),
        Lagged(u64),
    }

    impl LinkEvent for Said {
        fn is_lesser(&self) -> bool {
            matches!(self, Self::Packet(_))
        }

        fn lagged(dropped: u64) -> Self {
            Self::Lagged(dropped)
        }
    }

    #[tokio::test]
    async fn states_outlive_packets_and_the_host_is_told_what_it_missed() {
        let (channel, mut host) = mpsc::channel(1);
        let mut outbox = Outbox::new(channel, 4);
        outbox.push(Said::State(0));
        for number in 0..10 {
            outbox.push(Said::Packet(number));
        }
        outbox.push(Said::State(1));
        assert_eq!(outbox.dropped, 8);
        let mut got = Vec::new();
        while !outbox.is_empty() {
            tokio::select! {
                _ = outbox.flush() => {}
                event = host.recv() => got.extend(event),
            }
        }
        got.extend(host.recv().await);
        let expected = [Said::Lagged(8), Said::State(0), Said::Packet(8), Said::Packet(9), Said::State(1)];
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn states_alone_are_bounded_too() {
        let (channel, _host) = mpsc::channel(1);
        let mut outbox = Outbox::new(channel, 4);
        (0..100).for_each(|number| outbox.push(Said::State(number)));
        outbox.push(Said::Packet(0));
        assert_eq!((outbox.waiting.len(), outbox.dropped), (4, 97));
    }
}
