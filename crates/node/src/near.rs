//! A node that is near has a second link, which costs no air time: what it lacks is handed over at once.
//!
//! Over that link go the frames of the mesh, sealed as ever, zero hops. Both sides tell their beacon; one that holds an object which the
//! other lacks sends its records and all its pieces as they are, since nothing is lost on such a link.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::Instant,
};
use compotastic_wire::{Frame, Record, RecordType, Symbol};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, OutFrame},
    objects::{MAX_SYMBOL, RECORD_PART},
};

/// Nodes near at a time; one more has to wait until another is gone.
pub const NEAR: usize = 4;

/// What is said next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Beacon,
    /// The other's beacon is awaited.
    Compare,
    Record {
        kind: RecordType,
        part: u8,
    },
    /// Pieces of a generation, from the last one on: it holds the hashes.
    Pieces {
        generation: u8,
        left: u16,
    },
    Done,
}

/// A node that is near.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    node: NodeNum,
    since: Instant,
    step: Step,
    /// The object that was handed over.
    given: u32,
}

impl<F: NorFlash> Agent<'_, F> {
    /// A node has come near. Extra calls begin the exchange anew. False if there is no place for it.
    pub fn handle_near(&mut self, now: Instant, node: NodeNum) -> bool {
        let near = Near { node, since: now, step: Step::Beacon, given: 0 };
        match self.near.iter_mut().find(|known| known.node == node) {
            Some(known) => {
                *known = near;
                true
            }
            None => self.near.push(near).is_ok(),
        }
    }

    /// A node is not near any more.
    pub fn handle_gone(&mut self, node: NodeNum) {
        self.near.retain(|near| near.node != node);
    }

    /// The next frame for a node that is near.
    pub fn poll_near(&mut self, now: Instant, node: NodeNum) -> Option<OutFrame> {
        let index = self.near.iter().position(|near| near.node == node)?;
        loop {
            let near = self.near[index];
            let (frame, next) = match near.step {
                Step::Beacon => (Some(self.beacon_frame()), Step::Compare),
                Step::Compare => {
                    if !self.lacks_ours(&near) {
                        return None;
                    }
                    self.near[index].given = self.objects.manifest.tag;
                    (None, Step::Record { kind: RecordType::Delegation, part: 0 })
                }
                Step::Record { kind, part } => self.near_record(kind, part),
                Step::Pieces { generation, left } => self.near_piece(generation, left),
                // The object may change while they stay together.
                Step::Done if near.given != self.objects.manifest.tag => (None, Step::Beacon),
                Step::Done => return None,
            };
            self.near[index].step = next;
            if next == Step::Beacon {
                self.near[index].since = now;
            }
            if frame.is_some() {
                return frame.flatten();
            }
        }
    }

    /// Whether the other has told since they met that it lacks the object that is here.
    fn lacks_ours(&self, near: &Near) -> bool {
        if !self.update.holds_object() || !self.objects.manifest.complete {
            return false;
        }
        self.registry.get(near.node).is_some_and(|entry| {
            let beacon = &entry.beacon;
            let has_it = beacon.object_tag == self.objects.manifest.tag && beacon.object_progress == 255;
            let newer = Some(beacon.model_version) > self.update.active_version();
            entry.heard_at >= near.since && !has_it && !newer
        })
    }

    fn near_record(&mut self, kind: RecordType, part: u8) -> (Option<Option<OutFrame>>, Step) {
        let then = match kind {
            RecordType::Delegation => Step::Record { kind: RecordType::Manifest, part: 0 },
            _ => {
                let last = self.update.generations().saturating_sub(1);
                Step::Pieces { generation: last, left: self.update.pieces(last) }
            }
        };
        // After a restart a node has no delegation to give; the other may have it.
        let Some(held) = self.objects.held(kind).filter(|held| part < held.parts()) else {
            return (None, then);
        };
        let (parts, tag) = (held.parts(), held.tag);
        let bytes: Vec<u8, RECORD_PART> = Vec::from_slice(held.part(part)).unwrap_or_default();
        let frame = Frame::Record(Record { record_type: kind, part, parts, tag, bytes: &bytes });
        (Some(self.near_frame(&frame)), Step::Record { kind, part: part + 1 })
    }

    fn near_piece(&mut self, generation: u8, left: u16) -> (Option<Option<OutFrame>>, Step) {
        let Some(id) = left.checked_sub(1) else {
            let next = match generation.checked_sub(1) {
                Some(next) => Step::Pieces { generation: next, left: self.update.pieces(next) },
                None => Step::Done,
            };
            return (None, next);
        };
        let mut data = [0; MAX_SYMBOL];
        let Some(length) = self.update.symbol(generation, id, &mut data) else { return (None, Step::Done) };
        let frame = Frame::Symbol(Symbol {
            object_tag: self.objects.manifest.tag,
            generation,
            symbol: id,
            data: &data[..length],
        });
        (Some(self.near_frame(&frame)), Step::Pieces { generation, left: id })
    }

    fn near_frame(&mut self, frame: &Frame<'_>) -> Option<OutFrame> {
        self.seal(frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background)
    }

    fn beacon_frame(&mut self) -> Option<OutFrame> {
        let beacon = self.beacon();
        self.near_frame(&Frame::Beacon(beacon))
    }
}
