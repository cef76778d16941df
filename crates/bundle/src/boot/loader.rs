//! What a boot loader does before it starts an image.

use super::flash::{copy_page, is_whole};
use super::log::{Log, Phase, State};
use super::{IMAGE_TRIAL_STARTS, ImageGeometry, NativeImage, Voucher};
use crate::flashstore::UNIT;
use core::fmt;
use embedded_storage::nor_flash::NorFlash;

/// Why no image can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError<E> {
    /// The geometry does not fit the flash, or the buffer is shorter than 16 bytes.
    Geometry,
    /// The flash failed. To be tried again from the start: after a reset this is a restart like any other.
    Flash(E),
    /// The log is empty: [`provision`] has never been called.
    NotProvisioned,
    /// It has been provisioned before.
    Provisioned,
    /// No image is whole and may run. Only a programmer at the device's own port can help.
    NothingToStart,
}

impl<E: fmt::Debug> fmt::Display for BootError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry => f.write_str("the slots do not fit the flash"),
            Self::Flash(e) => write!(f, "flash: {e:?}"),
            Self::NotProvisioned => f.write_str("the boot log is empty"),
            Self::Provisioned => f.write_str("the boot log is in use"),
            Self::NothingToStart => f.write_str("no image is whole and may run"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for BootError<E> {}

/// What a start put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// An image on trial was not confirmed in time, its application gave it up, or it was damaged; its predecessor is
    /// back.
    Reverted {
        /// The image that failed.
        failed: NativeImage,
    },
    /// The image in force was damaged, and its predecessor is back in its place. The same one may be installed again.
    Restored {
        /// The damaged image.
        damaged: NativeImage,
    },
}

/// The image to start. It begins at slot A and has been verified whole since the reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// What it is.
    pub image: NativeImage,
    /// Whether it is on trial: it is to test itself, and to call [`super::Firmware::confirm`] or
    /// [`super::Firmware::fall_back`].
    pub on_trial: bool,
    /// What this start put right.
    pub mended: Option<Mended>,
}

/// Says to the log of a new device which image a programmer has put into slot A.
pub fn provision<F: NorFlash>(
    flash: &mut F,
    geometry: &ImageGeometry,
    image: &NativeImage,
) -> Result<(), BootError<F::Error>> {
    let (mut log, found) = open(flash, geometry)?;
    if found.is_some() {
        return Err(BootError::Provisioned);
    }
    if !image.is_sound() || image.size > geometry.capacity() {
        return Err(BootError::NothingToStart);
    }
    let state = State {
        phase: Phase::Settled,
        starts: 0,
        step: 0,
        floor: image.floor,
        tried: None,
        current: *image,
        other: None,
    };
    log.append(flash, &state).map_err(BootError::Flash)
}

/// Finishes what was begun and names the image to start; to be called once per reset, because it counts the starts of a
/// trial. `buffer` is what pages are copied through: at least 16 bytes, better 256 or more.
pub fn start<F: NorFlash, V: Voucher + ?Sized>(
    flash: &mut F,
    geometry: &ImageGeometry,
    voucher: &V,
    buffer: &mut [u8],
) -> Result<Start, BootError<F::Error>> {
    let (log, found) = open(flash, geometry)?;
    if buffer.len() < UNIT {
        return Err(BootError::Geometry);
    }
    let state = found.ok_or(BootError::NotProvisioned)?;
    Loader { flash, geometry, voucher, buffer, log, state, fresh: false }.run()
}

pub(super) fn open<F: NorFlash>(
    flash: &mut F,
    geometry: &ImageGeometry,
) -> Result<(Log, Option<State>), BootError<F::Error>> {
    if !geometry.is_valid::<F>(flash.capacity()) {
        return Err(BootError::Geometry);
    }
    let len = geometry.log.end - geometry.log.start;
    let (log, found) = Log::open(flash, geometry.log.start, len).map_err(BootError::Flash)?;
    let fits = |state: &State| {
        let images = [Some(state.current), state.other];
        images.iter().flatten().all(|image| image.size <= geometry.capacity())
    };
    // A state about larger slots is of another device's flash.
    if found.as_ref().is_some_and(|state| !fits(state)) {
        return Err(BootError::Geometry);
    }
    Ok((log, found))
}

/// Phases that one start can go through: an exchange, a trial that fails at once, the way back, and a damaged image.
const PHASES_MAX: usize = 8;

struct Loader<'a, F, V: ?Sized> {
    flash: &'a mut F,
    geometry: &'a ImageGeometry,
    voucher: &'a V,
    buffer: &'a mut [u8],
    log: Log,
    state: State,
    /// The state was written since the reset, whole.
    fresh: bool,
}

impl<F: NorFlash, V: Voucher + ?Sized> Loader<'_, F, V> {
    fn run(mut self) -> Result<Start, BootError<F::Error>> {
        let mut mended = None;
        for _ in 0..PHASES_MAX {
            let State { phase, current, other, .. } = self.state;
            match (phase, other) {
                (Phase::Swapping, Some(candidate)) => self.swap(candidate)?,
                (Phase::Trial, Some(candidate)) => {
                    if self.try_candidate(candidate)? {
                        return Ok(Start { image: candidate, on_trial: true, mended });
                    }
                }
                (Phase::Reverting, Some(failed)) => {
                    if self.revert(failed)? {
                        mended = Some(Mended::Reverted { failed });
                    }
                }
                (Phase::Restoring, Some(damaged)) => {
                    self.exchange(self.back(damaged))?;
                    // The same sequence may come again, an older one may not.
                    let tried = self.state.tried.max(damaged.sequence.checked_sub(1));
                    self.set(State { tried, ..self.settled() })?;
                    mended = Some(Mended::Restored { damaged });
                }
                _ => {
                    if self.may_start(self.a(), &current)? {
                        return Ok(Start { image: current, on_trial: false, mended });
                    }
                    self.restore(other.filter(|_| phase == Phase::Settled))?;
                }
            }
        }
        Err(BootError::NothingToStart)
    }

    fn a(&self) -> u32 {
        self.geometry.slots[0].start
    }

    /// Where a new image lies in slot B.
    fn b(&self) -> u32 {
        self.geometry.slots[1].start
    }

    /// Where a replaced one lies in slot B.
    fn b_old(&self) -> u32 {
        self.b() + self.geometry.page
    }

    fn settled(&self) -> State {
        State { phase: Phase::Settled, starts: 0, step: 0, other: None, ..self.state }
    }

    fn set(&mut self, state: State) -> Result<(), BootError<F::Error>> {
        self.log.append(self.flash, &state).map_err(BootError::Flash)?;
        (self.state, self.fresh) = (state, true);
        Ok(())
    }

    fn may_start(&mut self, at: u32, image: &NativeImage) -> Result<bool, BootError<F::Error>> {
        let allowed = image.sequence >= self.state.floor;
        let whole = is_whole(self.flash, self.geometry, at, image, self.voucher);
        Ok(allowed && whole.map_err(BootError::Flash)?)
    }

    /// Brings the new image to slot A, if it is whole and newer; gives it up otherwise.
    fn swap(&mut self, candidate: NativeImage) -> Result<(), BootError<F::Error>> {
        let newer = Some(candidate.sequence) > self.state.tried.max(Some(self.state.current.sequence));
        if self.state.step == 0 && !(newer && self.may_start(self.b(), &candidate)?) {
            return self.set(self.settled());
        }
        self.exchange(self.forth(candidate))?;
        self.set(State { phase: Phase::Trial, starts: 0, step: 0, ..self.state })
    }

    /// Counts a start of the image on trial; false if it has failed.
    fn try_candidate(&mut self, candidate: NativeImage) -> Result<bool, BootError<F::Error>> {
        let whole = self.may_start(self.a(), &candidate)?;
        if whole && self.state.starts < IMAGE_TRIAL_STARTS {
            self.set(State { starts: self.state.starts + 1, ..self.state })?;
            return Ok(true);
        }
        let current = self.state.current;
        if self.may_start(self.b_old(), &current)? {
            self.set(State { phase: Phase::Reverting, starts: 0, step: 0, ..self.state })?;
            return Ok(false);
        }
        // There is no way back. A doubtful image that is whole can still be updated over the air.
        if whole { Ok(true) } else { Err(BootError::NothingToStart) }
    }

    /// Brings the image in force back to slot A; false, and on with the trial, if it is not whole any more.
    fn revert(&mut self, failed: NativeImage) -> Result<bool, BootError<F::Error>> {
        let current = self.state.current;
        if self.state.step == 0 && !self.may_start(self.b_old(), &current)? {
            let starts = IMAGE_TRIAL_STARTS;
            self.set(State { phase: Phase::Trial, starts, step: 0, ..self.state })?;
            return Ok(false);
        }
        self.exchange(self.back(failed))?;
        let tried = self.state.tried.max(Some(failed.sequence));
        self.set(State { tried, ..self.settled() })?;
        Ok(true)
    }

    /// Puts the predecessor in force, if there is one that is whole and may run.
    fn restore(&mut self, predecessor: Option<NativeImage>) -> Result<(), BootError<F::Error>> {
        let Some(predecessor) = predecessor else { return Err(BootError::NothingToStart) };
        if !self.may_start(self.b_old(), &predecessor)? {
            return Err(BootError::NothingToStart);
        }
        let (current, other) = (predecessor, Some(self.state.current));
        self.set(State { phase: Phase::Restoring, step: 0, current, other, ..self.state })
    }

    fn pages(&self, other: NativeImage) -> u32 {
        self.geometry.pages(&self.state.current).max(self.geometry.pages(&other))
    }

    /// Copies that bring slot B's image to A and A's to B, one page up: from the last page to the first, each page of
    /// A up into the page of B that is free, then the page of B that belongs there.
    fn forth(&self, other: NativeImage) -> Steps {
        Steps { pages: self.pages(other), forth: true }
    }

    /// The same backwards: from the first page to the last.
    fn back(&self, other: NativeImage) -> Steps {
        Steps { pages: self.pages(other), forth: false }
    }

    /// Does what is left of the copies.
    fn exchange(&mut self, steps: Steps) -> Result<(), BootError<F::Error>> {
        if !self.fresh {
            // Power may have failed in the very entry that says how far it had come: it reads whole today, but may not
            // tomorrow.
            self.set(self.state)?;
        }
        let page = self.geometry.page;
        while self.state.step < 2 * steps.pages {
            let (from_a, index) = steps.at(self.state.step);
            let up = index + u32::from(steps.forth == from_a);
            let (a, b) = (self.a() + index * page, self.b() + up * page);
            let (from, to) = if from_a { (a, b) } else { (b, a) };
            copy_page(self.flash, from, to, page, self.buffer).map_err(BootError::Flash)?;
            self.state.step += 1;
            self.log.mark(self.flash, &self.state).map_err(BootError::Flash)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Steps {
    pages: u32,
    forth: bool,
}

impl Steps {
    /// Whether a step copies from slot A, and the page of slot A that it is about.
    fn at(self, step: u32) -> (bool, u32) {
        let index = step / 2;
        let index = if self.forth { self.pages.saturating_sub(1 + index) } else { index };
        (step.is_multiple_of(2), index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Firmware, LogTrusted, WholeImage};
    use crate::ramflash::RamFlash;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    type Flash = RamFlash<16384, 4, 512>;

    fn geometry() -> ImageGeometry {
        ImageGeometry::packed::<Flash>(0, 512, 2000, 1024).unwrap()
    }

    fn image(bytes: &[u8], sequence: u32) -> NativeImage {
        let digest = Sha256::digest(bytes).into();
        NativeImage { digest, size: bytes.len() as u32, sequence, floor: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a log says that reads whole: only a whole image is started, and nothing panics.
        #[test]
        fn no_state_starts_what_is_not_whole(
            phase in 0usize..6,
            starts in any::<u8>(),
            step in prop_oneof![0u32..20, any::<u32>()],
            floor in 0u32..4,
            tried in proptest::option::of(0u32..4),
            which in (0usize..3, proptest::option::of(0usize..3)),
            slots in (0usize..3, 0usize..3, 0usize..3),
        ) {
            let contents = [[1u8; 1500], [2; 1500], [3; 1500]];
            let images: std::vec::Vec<_> =
                contents.iter().zip(1..).map(|(bytes, sequence)| image(bytes, sequence)).collect();
            let phase = [
                Phase::Settled, Phase::Writing, Phase::Swapping, Phase::Trial, Phase::Reverting, Phase::Restoring,
            ][phase];
            let needed = (phase != Phase::Settled).then_some(images[0]);
            let other = which.1.map(|other| images[other]).or(needed);
            let state = State { phase, starts, step, floor, tried, current: images[which.0], other };
            let geometry = geometry();
            let mut flash = Flash::new();
            let (a, b) = (geometry.slots[0].start as usize, geometry.slots[1].start as usize);
            flash.bytes_mut()[a..a + 1500].copy_from_slice(&contents[slots.0]);
            // Both places of slot B at once: what is common to them belongs to the upper one.
            flash.bytes_mut()[b..b + 1500].copy_from_slice(&contents[slots.1]);
            flash.bytes_mut()[b + 1024..b + 2524].copy_from_slice(&contents[slots.2]);
            let (mut log, none) = open(&mut flash, &geometry).unwrap();
            prop_assert_eq!(none, None);
            log.append(&mut flash, &state).unwrap();
            for _ in 0..6 {
                match start(&mut flash, &geometry, &LogTrusted, &mut [0; 64]) {
                    Ok(started) => {
                        let size = started.image.size as usize;
                        prop_assert_eq!(image(&flash.bytes()[a..a + size], started.image.sequence), started.image);
                        prop_assert!(started.image.sequence >= floor, "the floor holds");
                    }
                    Err(e) => prop_assert_eq!(e, BootError::NothingToStart),
                }
            }
            let mut firmware = Firmware::open(&mut flash, geometry).unwrap();
            if firmware.begin(&NativeImage { sequence: 9, ..images[0] }).is_ok() {
                let progress = firmware.write_page(&mut WholeImage::default(), 0..1500, &[], &mut [0; 64]);
                prop_assert!(progress.is_ok());
            }
        }
    }
}
