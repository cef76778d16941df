//! The transmit queue: 16 packets, by priority, as in the firmware.

use heapless::Vec;

use crate::{
    packet::{Header, MAX_DATA, NodeNum, PacketId},
    router::{Gate, Priority},
    time::{Duration, Instant},
};

/// Packets that wait for the radio.
pub const CAPACITY: usize = 16;

/// One packet that waits.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) header: Header,
    pub(crate) data: Vec<u8, MAX_DATA>,
    pub(crate) port: Option<u16>,
    pub(crate) originated: bool,
    pub(crate) gate: Gate,
    pub(crate) priority: Priority,
    pub(crate) airtime: Duration,
    pub(crate) ready_at: Instant,
    /// SNR of the copy that is relayed, for a new back-off.
    pub(crate) snr_qdb: i16,
    /// Last byte of the hop before us; 0 for an own packet.
    pub(crate) came_from: u8,
    /// Another relay was faster, and this one went to the late window for it; that happens once.
    pub(crate) moved: bool,
    pub(crate) sequence: u32,
    /// When it was queued, whole seconds.
    pub(crate) queued_s: u32,
}

impl Queued {
    pub(crate) fn is(&self, from: NodeNum, id: PacketId) -> bool {
        self.header.from == from && self.header.id == id
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct TxQueue {
    pub(crate) packets: Vec<Queued, CAPACITY>,
    sequence: u32,
}

/// What became of a packet that was to be queued.
#[allow(clippy::large_enum_variant, reason = "lives for one call; a box would need an allocator")]
pub(crate) enum Pushed {
    /// It waits.
    Queued,
    /// It waits, and this one had to go for it.
    Evicted(Queued),
    /// All others are at least as important.
    Refused,
}

impl TxQueue {
    /// Adds a packet. When the queue is full, the least important one goes if it is less important.
    pub(crate) fn push(&mut self, mut packet: Queued) -> Pushed {
        packet.sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        match self.packets.push(packet) {
            Ok(()) => Pushed::Queued,
            Err(packet) => {
                let lowest = self
                    .packets
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, queued)| (queued.priority, core::cmp::Reverse(queued.sequence)))
                    .map(|(index, queued)| (index, queued.priority));
                match lowest {
                    Some((index, priority)) if priority < packet.priority => {
                        let gone = core::mem::replace(&mut self.packets[index], packet);
                        Pushed::Evicted(gone)
                    }
                    _ => Pushed::Refused,
                }
            }
        }
    }

    /// The packet to send among those for which `ready` holds: highest priority, then oldest.
    pub(crate) fn best(&self, mut ready: impl FnMut(&Queued) -> bool) -> Option<usize> {
        self.packets
            .iter()
            .enumerate()
            .filter(|(_, queued)| ready(queued))
            .min_by_key(|(_, queued)| (core::cmp::Reverse(queued.priority), queued.sequence))
            .map(|(index, _)| index)
    }

    pub(crate) fn remove(&mut self, index: usize) -> Queued {
        self.packets.remove(index)
    }

    /// Takes a packet back; true if it was there.
    pub(crate) fn cancel(&mut self, from: NodeNum, id: PacketId) -> bool {
        let before = self.packets.len();
        self.packets.retain(|queued| !queued.is(from, id));
        self.packets.len() < before
    }

    pub(crate) fn contains(&self, from: NodeNum, id: PacketId) -> bool {
        self.packets.iter().any(|queued| queued.is(from, id))
    }
}
