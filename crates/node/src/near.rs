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
    spread::{MAX_SYMBOL, RECORD_PART, key_tag},
    update::{COMPONENTS, MODEL},
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
        component: usize,
        kind: RecordType,
        part: u8,
    },
    /// Pieces of a generation, from the last one on: it holds the hashes.
    Pieces {
        component: usize,
        generation: u8,
        left: u16,
    },
}

/// A node that is near.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    node: NodeNum,
    since: Instant,
    step: Step,
    /// The objects that were handed over, or that the other has: by component.
    given: [u32; COMPONENTS],
}

impl<F: NorFlash> Agent<'_, F> {
    /// A node has come near. Extra calls begin the exchange anew. False if there is no place for it.
    pub fn handle_near(&mut self, now: Instant, node: NodeNum) -> bool {
        let near = Near { node, since: now, step: Step::Beacon, given: [0; COMPONENTS] };
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
                Step::Beacon => (Some(self.beacon_frame(now)), Step::Compare),
                // Objects may change while they stay together.
                Step::Compare => match self.next_to_give(index) {
                    Some(component) => {
                        (None, Step::Record { component, kind: RecordType::Delegation, part: 0 })
                    }
                    None => return None,
                },
                Step::Record { component, kind, part } => self.near_record(component, kind, part),
                Step::Pieces { component, generation, left } => self.near_piece(component, generation, left),
            };
            self.near[index].step = next;
            if frame.is_some() {
                return frame.flatten();
            }
        }
    }

    /// The next component whose object the other lacks, as far as it has told since they met. It is given at once each.
    fn next_to_give(&mut self, index: usize) -> Option<usize> {
        let near = self.near[index];
        let entry = self.registry.get(near.node).filter(|entry| entry.heard_at >= near.since)?;
        let beacon = entry.beacon;
        let newer_model = Some(beacon.model_version) > self.update.active_version();
        for component in 0..self.update.components() {
            let manifest = &self.objects.all[component].manifest;
            let tag = manifest.tag;
            let able = manifest.complete && self.update.holds_object(component);
            if !able || self.objects.all[component].paused || near.given[component] == tag {
                continue;
            }
            let has_it = beacon.object_tag == tag && beacon.object_progress == 255;
            if has_it || component == MODEL && newer_model {
                // A beacon tells of one object; what it said of this one still holds when it tells of the next.
                self.near[index].given[component] = if has_it { tag } else { 0 };
                continue;
            }
            self.near[index].given[component] = tag;
            return Some(component);
        }
        None
    }

    fn near_record(
        &mut self,
        component: usize,
        kind: RecordType,
        part: u8,
    ) -> (Option<Option<OutFrame>>, Step) {
        let then = match kind {
            RecordType::Delegation => Step::Record { component, kind: RecordType::Manifest, part: 0 },
            _ => {
                let generation = self.update.generations(component).saturating_sub(1);
                Step::Pieces { component, generation, left: self.update.pieces(component, generation) }
            }
        };
        let signer = self.update.active_manifest(component).map(|manifest| key_tag(manifest.key_id()));
        let name = match kind {
            RecordType::Delegation => signer.unwrap_or(0),
            _ => self.objects.all[component].manifest.tag,
        };
        // An operator's key needs no delegation; and after a restart a node has none to give, but the other may have it.
        let Some(held) = self.objects.held(kind, name).filter(|held| part < held.parts()) else {
            return (None, then);
        };
        let (parts, tag) = (held.parts(), held.tag);
        let bytes: Vec<u8, RECORD_PART> = Vec::from_slice(held.part(part)).unwrap_or_default();
        let frame = Frame::Record(Record { record_type: kind, part, parts, tag, bytes: &bytes });
        (Some(self.near_frame(&frame)), Step::Record { component, kind, part: part + 1 })
    }

    fn near_piece(
        &mut self,
        component: usize,
        generation: u8,
        left: u16,
    ) -> (Option<Option<OutFrame>>, Step) {
        if self.objects.all[component].paused {
            // Given anew from the start when it goes on, for as long as they stay together.
            self.near.iter_mut().for_each(|near| near.given[component] = 0);
            return (None, Step::Compare);
        }
        let Some(id) = left.checked_sub(1) else {
            let next = match generation.checked_sub(1) {
                Some(generation) => {
                    Step::Pieces { component, generation, left: self.update.pieces(component, generation) }
                }
                None => Step::Compare,
            };
            return (None, next);
        };
        let mut data = [0; MAX_SYMBOL];
        let Some(length) = self.update.symbol(component, generation, id, &mut data) else {
            return (None, Step::Compare);
        };
        let frame = Frame::Symbol(Symbol {
            object_tag: self.objects.all[component].manifest.tag,
            generation,
            symbol: id,
            more: id.min(255) as u8,
            data: &data[..length],
        });
        (Some(self.near_frame(&frame)), Step::Pieces { component, generation, left: id })
    }

    fn near_frame(&mut self, frame: &Frame<'_>) -> Option<OutFrame> {
        self.seal(frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background)
    }

    fn beacon_frame(&mut self, now: Instant) -> Option<OutFrame> {
        let beacon = self.beacon(now);
        self.near_frame(&Frame::Beacon(beacon))
    }
}
