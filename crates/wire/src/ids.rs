//! Packet ids: strictly rising per sender, reserved in flash in blocks.
//!
//! One number is the CTR nonce, the replay counter and part of what the MAC covers, at no cost on the air. A block is
//! reserved in flash before its first id is used; after a reboot the rest of the block is lost, never used twice.

/// Hands out packet ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBlocks {
    next: u32,
    end: u32,
}

impl IdBlocks {
    /// Ids per reservation: a node that sends 100 packets an hour writes to flash some ten times a day.
    pub const BLOCK: u32 = 256;

    /// Starts at the mark that is kept in flash (0 on a new node). The first id needs a reservation.
    pub const fn new(mark: u32) -> Self {
        // Id 0 is not relayed by Meshtastic.
        let start = if mark == 0 { 1 } else { mark };
        Self { next: start, end: start }
    }

    /// The next id; `None` when a block has to be reserved first, or when all ids are used up.
    #[allow(clippy::should_implement_trait, reason = "not an iterator: it goes on after None")]
    pub fn next(&mut self) -> Option<u32> {
        (self.next < self.end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// The mark to be written to flash before [`Self::confirm`].
    pub const fn reserve(&self) -> u32 {
        self.end.saturating_add(Self::BLOCK)
    }

    /// The mark is in flash: its ids may be used.
    pub fn confirm(&mut self, mark: u32) {
        self.end = self.end.max(mark);
    }
}
