//! The agent's side: its own capability record goes in, all members' come out.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::Instant,
};
use compotastic_wire::{
    Frame, MAX_PAYLOAD,
    records::{
        RecordError,
        capability::{CapabilityRecord, MAX_CAPABILITY},
        record_hash,
    },
};
use embedded_storage::nor_flash::NorFlash;

use super::{Config, RECORD_MAX, Sync, TooLong};
use crate::agent::{Agent, InFrame, LinkState, OutFrame};

/// Why a capability record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityError {
    /// A value is out of range.
    Record(RecordError),
    /// Longer than [`RECORD_MAX`] bytes.
    TooLong(TooLong),
}

impl core::fmt::Display for CapabilityError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::TooLong(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CapabilityError {}

/// Bytes that a version takes in a record at most.
const VERSION_MAX: usize = version_len(u32::MAX);

/// Bytes that a version takes in a record: its key and a varint, or nothing for 0.
const fn version_len(version: u32) -> usize {
    if version == 0 { 0 } else { 1 + (u32::BITS - version.leading_zeros()).div_ceil(7) as usize }
}

impl<F: NorFlash> Agent<'_, F> {
    /// What this node can do, from now on. All members come to know it, and this node comes to know theirs; an agent that was never told
    /// its own record takes no part in that. The beacon carries the record's hash. The firmware that the agent looks after
    /// ([`Agent::add_firmware`]) is among the record's bundles, whatever the host says of it, and is told anew when it has changed; the record
    /// must have room for any version of it.
    pub fn set_capability(&mut self, now: Instant, record: &CapabilityRecord) -> Result<(), CapabilityError> {
        let mut record = record.clone();
        let firmware = self.add_firmware_to(&mut record).map_err(CapabilityError::Record)?;
        let mut buffer = [0; MAX_CAPABILITY];
        let length = record.encode(&mut buffer).map_err(CapabilityError::Record)?;
        let later = firmware.map_or(0, |told| VERSION_MAX - version_len(told.version));
        if length + later > RECORD_MAX {
            return Err(CapabilityError::TooLong(TooLong));
        }
        let bytes = &buffer[..length];
        if self.sync.is_none() {
            let seed = self.rng.child(0x7379_6e63).next_u64();
            self.sync = Some(Sync::new(self.config.num.0, Config::default(), seed, now));
        }
        if let Some(sync) = &mut self.sync {
            sync.publish(now, bytes).map_err(CapabilityError::TooLong)?;
        }
        self.set_record_hash(now, record_hash(bytes));
        Ok(())
    }

    /// The firmware has changed: members who know this node's record hear of it.
    pub(crate) fn tell_firmware(&mut self, now: Instant) {
        let told = self.sync.as_ref().and_then(Sync::own_record);
        if let Some(Ok(record)) = told.map(CapabilityRecord::decode) {
            // It has room for any version of firmware, which is one of its bundles already.
            let told = self.set_capability(now, &record);
            debug_assert_eq!(told, Ok(()));
        }
    }

    /// The capability record of a member, as far as it is known here and can be read.
    pub fn capability(&self, num: NodeNum) -> Option<CapabilityRecord> {
        CapabilityRecord::decode(self.sync.as_ref()?.record(num.0)?).ok()
    }

    /// What is known of the members' records; none before [`Self::set_capability`].
    pub fn sync(&self) -> Option<&Sync> {
        self.sync.as_ref()
    }

    /// Frames of direct neighbours only: what says that it came farther was not sent as the profile has it.
    pub(crate) fn handle_sync(&mut self, now: Instant, incoming: &InFrame<'_>, frame: &Frame<'_>) {
        let is_near = incoming.to == NodeNum::BROADCAST && incoming.hops_away.is_none_or(|hops| hops == 0);
        if let Some(sync) = self.sync.as_mut().filter(|_| is_near) {
            sync.handle(now, incoming.from.0, frame);
        }
    }

    /// Bulk as symbols are: behind the polite gate, paced by the governor.
    pub(crate) fn poll_sync(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        if link.bulk_queued || !self.governor.allows() {
            return None;
        }
        let mut buffer = [0; MAX_PAYLOAD];
        let frame = self.sync.as_mut()?.poll(now, &mut buffer)?;
        let out = self.seal(&frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background)?;
        self.governor.spend(link.time_on_air(out.payload.len()));
        Some(out)
    }

    pub(crate) fn sync_timeout(&self) -> Option<Instant> {
        let due = self.sync.as_ref()?.poll_timeout();
        Some(if self.governor.allows() { due } else { due.max(self.governor.allowed_at()) })
    }
}
