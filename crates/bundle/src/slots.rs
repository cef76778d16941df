//! Two slots for one component: one in force, one being written or on trial.
//!
//! A slot is 512 bytes for the manifest and then the object's pieces, so content starts at a fixed place. A log of its own says which slot is in force. Whatever happens, the active slot is not touched:
//! [`Slots::begin`] erases the other one only, [`Slots::switch`] and all after it only append to the log, and what the
//! log says is checked against the flash at each start.
//!
//! The rollback floor rises when a trial is confirmed or has failed, never by the trial itself: a fallback is always
//! allowed to run.

use crate::flashstore::{FlashSource, FlashStore, is_usable, spare_len};
use crate::manifest::{ClaimedManifest, Manifest, VerifiedManifest};
use crate::object::Layout;
use crate::place::{self, HEADER, Prepared};
use crate::receiver::content_digest;
use crate::slotlog::{Log, Part, State};
use crate::trust::{Installed, Refusal, Target};
use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Restarts after which a trial that nobody confirmed has failed.
pub const MAX_TRIAL_BOOTS: u8 = 3;

/// Where slots lie in flash: all offsets and lengths are multiples of the erase unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The state log, at least two erase units.
    pub log: Range<u32>,
    /// The slots, of the same length.
    pub slots: [Range<u32>; 2],
    /// Spare area for symbols during reception; several components may share one if they never receive at once.
    pub spare: Range<u32>,
}

impl Geometry {
    /// One after the other from `start`: a log of two erase units, two slots for content of `content_len` bytes in
    /// pieces of `piece_size`, and spare room for `spare_symbols` symbols. None if content or piece size are not allowed.
    pub fn packed<F: NorFlash>(
        start: u32,
        content_len: u32,
        piece_size: u16,
        spare_symbols: u16,
    ) -> Option<Self> {
        let stored = Layout::new(content_len, piece_size)?.stored_len();
        let spare = spare_len::<F>(spare_symbols.into(), piece_size.into());
        let mut at = start;
        let mut take = |len: u32| {
            let from = at;
            at = from.checked_add(len.checked_next_multiple_of(F::ERASE_SIZE as u32)?)?;
            Some(from..at)
        };
        let log = take(2 * F::ERASE_SIZE as u32)?;
        let slots = [take(HEADER + stored)?, take(HEADER + stored)?];
        Some(Self { log, slots, spare: take(spare)? })
    }

    /// The end of the last region.
    pub fn end(&self) -> u32 {
        self.log.end.max(self.slots[0].end).max(self.slots[1].end).max(self.spare.end)
    }

    fn is_valid<F: NorFlash>(&self, capacity: usize) -> bool {
        let regions = [&self.log, &self.slots[0], &self.slots[1], &self.spare];
        let sound = |r: &Range<u32>| {
            r.start <= r.end
                && r.end as usize <= capacity
                && (r.start as usize).is_multiple_of(F::ERASE_SIZE)
                && (r.end as usize).is_multiple_of(F::ERASE_SIZE)
        };
        let apart = |a: &Range<u32>, b: &Range<u32>| a.end <= b.start || b.end <= a.start;
        is_usable(F::READ_SIZE, F::WRITE_SIZE)
            && regions.iter().all(|r| sound(r))
            && (1..4).all(|n| regions[..n].iter().all(|r| apart(r, regions[n])))
            && self.log.len() >= 2 * F::ERASE_SIZE
            && self.slots[0].len() == self.slots[1].len()
            && self.slots[0].len() > HEADER as usize
    }
}

/// Why slots cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError<E> {
    /// The geometry does not fit the flash.
    Geometry,
    /// The flash failed.
    Flash(E),
}

/// Why no reception begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginError<E> {
    /// The bundle is not for this device, or not now.
    Refused(Refusal),
    /// The active content is on trial, and the other slot is what it would fall back to.
    OnTrial,
    /// The flash failed.
    Flash(E),
}

/// How a reception begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// With an empty slot.
    Fresh,
    /// With what an earlier reception of the same bundle left.
    Resumed,
}

/// Why the new content does not come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchError<E> {
    /// No reception was begun.
    NotBegun,
    /// The content is incomplete or not what the manifest says.
    Digest,
    /// The flash failed.
    Flash(E),
}

impl<E: fmt::Debug> fmt::Display for BeginError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::OnTrial => f.write_str("the active content is still on trial"),
            Self::Flash(e) => write!(f, "flash: {e:?}"),
        }
    }
}

impl<E: fmt::Debug> fmt::Display for SwitchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun => f.write_str("no reception was begun"),
            Self::Digest => f.write_str("the content is not what its manifest says"),
            Self::Flash(e) => write!(f, "flash: {e:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for BeginError<E> {}
impl<E: fmt::Debug> core::error::Error for SwitchError<E> {}

/// The content in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its manifest; it was verified before it was written.
    pub manifest: Manifest,
    /// Where its content lies in flash.
    pub content: Range<u32>,
    /// Whether it is on trial.
    pub on_trial: bool,
    /// Its slot, 0 or 1.
    pub slot: u8,
}

/// What a start found amiss and put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// A trial that was not confirmed in time: its sequence.
    pub expired: Option<u32>,
    /// Content that was in force and is damaged: its sequence. The same sequence may be installed again.
    pub damaged: Option<u32>,
}

/// The slots of one component.
#[derive(Debug)]
pub struct Slots<F> {
    flash: F,
    geometry: Geometry,
    log: Log,
    state: State,
    active: Option<Active>,
    begun: Option<Prepared>,
    recovery: Recovery,
}

impl<F: NorFlash> Slots<F> {
    /// Reads what is in force and checks it; to be called once per start, because it counts the starts of a trial.
    pub fn open(mut flash: F, geometry: Geometry) -> Result<Self, SlotError<F::Error>> {
        if !geometry.is_valid::<F>(flash.capacity()) {
            return Err(SlotError::Geometry);
        }
        let pages = (geometry.log.len() / F::ERASE_SIZE) as u32;
        let (log, state) = Log::open(&mut flash, geometry.log.start, pages).map_err(SlotError::Flash)?;
        let mut slots =
            Self { flash, geometry, log, state, active: None, begun: None, recovery: Recovery::default() };
        slots.start().map_err(SlotError::Flash)?;
        Ok(slots)
    }

    fn start(&mut self) -> Result<(), F::Error> {
        let mut next = self.state;
        if let Some(trial) = next.trial {
            if next.boots >= MAX_TRIAL_BOOTS {
                self.recovery.expired = Some(trial.sequence);
                next = Self::after_failed_trial(next);
            } else if let Some(active) = self.check(trial, true)? {
                next.boots += 1;
                self.active = Some(active);
            } else {
                self.recovery.damaged = Some(trial.sequence);
                next.trial = None;
            }
        }
        if next.trial.is_none() {
            next = self.restore_confirmed(next)?;
        }
        if next != self.state { self.set(next) } else { Ok(()) }
    }

    /// Puts the confirmed content in force if it is whole; the state after that.
    fn restore_confirmed(&mut self, mut state: State) -> Result<State, F::Error> {
        if let Some(confirmed) = state.confirmed {
            self.active = self.check(confirmed, false)?;
            if self.active.is_none() {
                self.recovery.damaged = Some(confirmed.sequence);
                state.confirmed = None;
                // The same sequence may come again, an older one may not.
                state.floor = state.floor.max(confirmed.sequence.checked_sub(1));
            }
        }
        Ok(state)
    }

    fn after_failed_trial(state: State) -> State {
        let floor = state.floor.max(state.trial.map(|t| t.sequence));
        State { trial: None, boots: 0, floor, ..state }
    }

    fn set(&mut self, state: State) -> Result<(), F::Error> {
        self.log.append(&mut self.flash, &state)?;
        self.state = state;
        Ok(())
    }

    /// The content of a slot if it is whole and what the log says.
    fn check(&mut self, part: Part, on_trial: bool) -> Result<Option<Active>, F::Error> {
        let region = self.geometry.slots[usize::from(part.slot)].clone();
        let Some(prepared) = place::read_header(&mut self.flash, &region)? else {
            return Ok(None);
        };
        let (content, layout) = (prepared.content(&region), prepared.layout);
        let manifest = prepared.claimed.manifest;
        let named = manifest.digest8() == part.content && manifest.sequence == part.sequence;
        let mut pieces = place::pieces(&mut self.flash, &region);
        if !named || content_digest(&layout, &mut pieces)? != manifest.digest {
            return Ok(None);
        }
        Ok(Some(Active { manifest, content, on_trial, slot: part.slot }))
    }

    /// The content in force, if any.
    pub fn active(&self) -> Option<&Active> {
        self.active.as_ref()
    }

    /// The signed manifest of the content in force, to be passed on.
    pub fn active_manifest(&mut self) -> Result<Option<ClaimedManifest>, F::Error> {
        let Some(slot) = self.active.as_ref().map(|active| usize::from(active.slot)) else { return Ok(None) };
        let region = self.geometry.slots[slot].clone();
        Ok(place::read_header(&mut self.flash, &region)?.map(|prepared| prepared.claimed))
    }

    /// What the last start found amiss.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// What a new bundle is held against.
    pub fn installed(&self) -> Installed {
        let sequence = |p: Option<Part>| p.map(|p| p.sequence);
        Installed {
            floor: self.state.floor.max(sequence(self.state.confirmed)).max(sequence(self.state.trial)),
            digest: self.active.as_ref().map(|a| a.manifest.digest8()),
        }
    }

    /// Largest stored length ([`Layout::stored_len`]) that fits a slot, in bytes.
    pub fn capacity(&self) -> u32 {
        self.geometry.slots[0].len() as u32 - HEADER
    }

    /// The flash, to read content where it lies.
    pub fn flash(&self) -> &F {
        &self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    fn inactive(&self) -> Range<u32> {
        let other = self.state.confirmed.map_or(0, |p| 1 - p.slot);
        self.geometry.slots[usize::from(other)].clone()
    }

    /// The bundle whose reception a restart interrupted, if there is one that could still be of use. It has to be
    /// verified anew before it goes on.
    pub fn pending(&mut self) -> Result<Option<ClaimedManifest>, F::Error> {
        if self.state.trial.is_some() {
            return Ok(None);
        }
        let region = self.inactive();
        let floor = self.installed().floor;
        let newer = |m: &Manifest| floor.is_none_or(|have| m.sequence > have);
        Ok(place::read_header(&mut self.flash, &region)?.map(|p| p.claimed).filter(|c| newer(&c.manifest)))
    }

    /// Prepares the inactive slot for a bundle that [`VerifiedManifest::admit_for`] admits: for this device or, without a target, only to
    /// be kept and passed on.
    pub fn begin(
        &mut self,
        verified: &VerifiedManifest,
        target: Option<&Target>,
    ) -> Result<Begun, BeginError<F::Error>> {
        verified.admit_for(target, &self.installed()).map_err(BeginError::Refused)?;
        let layout = verified.object().layout;
        let (need, have) = (layout.stored_len(), self.capacity());
        if need > have {
            return Err(BeginError::Refused(Refusal::NoFlash { need, have }));
        }
        if self.state.trial.is_some() {
            return Err(BeginError::OnTrial);
        }
        self.begun = None;
        let region = self.inactive();
        let claimed = verified.claimed();
        let known = place::read_header(&mut self.flash, &region).map_err(BeginError::Flash)?;
        if let Some(prepared) = known.filter(|p| p.claimed == *claimed) {
            self.begun = Some(prepared);
            return Ok(Begun::Resumed);
        }
        let spare = &self.geometry.spare;
        let prepared = place::prepare(&mut self.flash, &region, spare, claimed.clone(), layout);
        self.begun = Some(prepared.map_err(BeginError::Flash)?);
        Ok(Begun::Fresh)
    }

    /// Where the pieces of the bundle that was begun go; none if none was.
    pub fn store(&mut self) -> Option<FlashStore<&mut F>> {
        let region = self.inactive();
        self.begun.as_ref()?.store(&mut self.flash, &region, &self.geometry.spare)
    }

    /// The stream of the active content, to serve it to others.
    pub fn source(&mut self) -> Option<FlashSource<&mut F>> {
        let slot = usize::from(self.active.as_ref()?.slot);
        let region = self.geometry.slots[slot].clone();
        Some(place::pieces(&mut self.flash, &region))
    }

    /// Gives up the bundle that was begun, for instance because its content is not what its manifest says.
    pub fn abandon(&mut self) -> Result<(), F::Error> {
        if self.begun.take().is_some() {
            let region = self.inactive();
            place::forget(&mut self.flash, &region)?;
        }
        Ok(())
    }

    /// Checks the whole new content and puts it in force, on trial.
    pub fn switch(&mut self) -> Result<&Active, SwitchError<F::Error>> {
        let prepared = self.begun.as_ref().ok_or(SwitchError::NotBegun)?;
        let slot = self.state.confirmed.map_or(0, |p| 1 - p.slot);
        let manifest = &prepared.claimed.manifest;
        let part = Part { slot, sequence: manifest.sequence, content: manifest.digest8() };
        let active = self.check(part, true).map_err(SwitchError::Flash)?.ok_or(SwitchError::Digest)?;
        let next = State { trial: Some(part), boots: 0, ..self.state };
        self.set(next).map_err(SwitchError::Flash)?;
        self.begun = None;
        Ok(self.active.insert(active))
    }

    /// Ends the trial well; false if there is none.
    pub fn confirm(&mut self) -> Result<bool, F::Error> {
        let Some(trial) = self.state.trial else {
            return Ok(false);
        };
        self.set(State { confirmed: Some(trial), trial: None, boots: 0, ..self.state })?;
        if let Some(active) = &mut self.active {
            active.on_trial = false;
        }
        Ok(true)
    }

    /// Ends the trial badly: what was in force before is again, and the sequence tried is never taken again. False if
    /// there is no trial.
    pub fn fall_back(&mut self) -> Result<bool, F::Error> {
        if self.state.trial.is_none() {
            return Ok(false);
        }
        let next = Self::after_failed_trial(self.state);
        self.set(next)?;
        self.active = None;
        let next = self.restore_confirmed(next)?;
        if next != self.state {
            self.set(next)?;
        }
        Ok(true)
    }
}
