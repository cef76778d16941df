//! The replay window: the last packet id and a 64-bit window per sender.
//!
//! Ids rise strictly per sender, so an id is fresh if it is newer than all seen, or within the window and not seen.
//! The table holds `N` senders; the one heard longest ago makes room. What that permits: frames of a sender who was
//! evicted (or of all senders, after a reboot) can be replayed once, until a newer frame of that sender is heard. Jobs,
//! results and symbols are idempotent, so such a replay costs one answer at most; manifests have a version floor.

use heapless::Vec;

/// What the table says of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen.
    Fresh,
    /// Seen.
    Replayed,
    /// Older than the window.
    TooOld,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    from: u32,
    newest: u32,
    /// Bit n: `newest - n` was seen.
    window: u64,
    heard: u32,
}

/// Replay windows of up to `N` senders.
#[derive(Debug, Default)]
pub struct ReplayTable<const N: usize> {
    senders: Vec<Sender, N>,
    clock: u32,
}

impl<const N: usize> ReplayTable<N> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { senders: Vec::new(), clock: 0 }
    }

    /// Whether an id is fresh, without taking it.
    pub fn check(&self, from: u32, id: u32) -> Verdict {
        match self.senders.iter().find(|sender| sender.from == from) {
            Some(sender) => sender.check(id),
            None => Verdict::Fresh,
        }
    }

    /// Takes an id: true if it was fresh. Only for frames whose MAC was checked.
    pub fn accept(&mut self, from: u32, id: u32) -> bool {
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.from == from) {
            if sender.check(id) != Verdict::Fresh {
                return false;
            }
            if id > sender.newest {
                let ahead = id - sender.newest;
                sender.window = if ahead < 64 { sender.window << ahead | 1 } else { 1 };
                sender.newest = id;
            } else {
                sender.window |= 1 << (sender.newest - id);
            }
            sender.heard = clock;
            return true;
        }
        if self.senders.is_full()
            && let Some(oldest) = self
                .senders
                .iter()
                .enumerate()
                .max_by_key(|(_, sender)| clock.wrapping_sub(sender.heard))
                .map(|(index, _)| index)
        {
            self.senders.swap_remove(oldest);
        }
        self.senders.push(Sender { from, newest: id, window: 1, heard: clock }).is_ok()
    }
}

impl Sender {
    const fn check(&self, id: u32) -> Verdict {
        if id > self.newest {
            return Verdict::Fresh;
        }
        let behind = self.newest - id;
        if behind >= 64 {
            Verdict::TooOld
        } else if self.window >> behind & 1 == 1 {
            Verdict::Replayed
        } else {
            Verdict::Fresh
        }
    }
}
