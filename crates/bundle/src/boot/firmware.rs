//! The application's side: writes a new image to slot B, asks for it to be tried, and says how that went.

use super::flash::{Inputs, chunk, is_whole};
use super::log::{Log, Phase, State};
use super::{BootError, IMAGE_TRIAL_STARTS, ImageGeometry, ImageProducer, NativeImage, PROOF_MAX};
use super::{ProduceError, Voucher};
use crate::flashstore::{UNIT, is_blank};
use crate::trust::Installed;
use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Why an image is not taken, written or tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError<E> {
    /// Not newer than what the device has or has tried.
    Rollback {
        /// Highest sequence that the device had.
        have: u32,
        /// Sequence on offer.
        offered: u32,
    },
    /// Larger than a slot takes, empty, or with a floor above its own sequence.
    Size,
    /// The running image is on trial, and slot B holds what it would be reverted to; or an exchange waits for a reset.
    OnTrial,
    /// No image was begun since the log was opened, or an error came in between: begin again, with a new producer.
    NotBegun,
    /// What was written before a restart is not what the producer makes now. Begin again, with a new producer: from
    /// the page that differs on all is written anew.
    Changed,
    /// Pages of the image are still to be written.
    Incomplete,
    /// The object ends before the image does, or cannot be decoded.
    Object,
    /// What was written is not what was announced, or nobody vouches for it. It has been given up.
    NotVerified,
    /// The proof is longer than [`PROOF_MAX`], or the buffer shorter than 16 bytes.
    Arguments,
    /// The flash failed.
    Flash(E),
}

impl<E: fmt::Debug> fmt::Display for ImageError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollback { have, offered } => write!(f, "sequence {offered} is not newer than {have}"),
            Self::Size => f.write_str("the image does not fit a slot"),
            Self::OnTrial => f.write_str("the running image is still on trial"),
            Self::NotBegun => f.write_str("no image was begun"),
            Self::Changed => f.write_str("the pages written before differ"),
            Self::Incomplete => f.write_str("the image is not written yet"),
            Self::Object => f.write_str("the object does not make the image"),
            Self::NotVerified => f.write_str("the image is not what was announced"),
            Self::Arguments => f.write_str("the proof is too long or the buffer too short"),
            Self::Flash(e) => write!(f, "flash: {e:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for ImageError<E> {}

impl<E> From<ProduceError<E>> for ImageError<E> {
    fn from(error: ProduceError<E>) -> Self {
        match error {
            ProduceError::Malformed => Self::Object,
            ProduceError::Flash(e) => Self::Flash(e),
        }
    }
}

/// How writing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageBegun {
    /// From the first page.
    Fresh,
    /// The pages before this one are there. The producer starts with the first byte all the same.
    Resumed {
        /// The first page that is not.
        page: u32,
    },
}

/// How far writing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteProgress {
    /// Pages that have been produced since [`Firmware::begin`].
    pub pages: u32,
    /// Pages of image and proof.
    pub of: u32,
}

impl WriteProgress {
    /// Whether all is written: [`Firmware::request`].
    pub fn is_complete(&self) -> bool {
        self.pages >= self.of
    }
}

/// The boot log and slot B, as the running image sees them. After an error of the flash it is to be opened again.
#[derive(Debug)]
pub struct Firmware<F> {
    flash: F,
    geometry: ImageGeometry,
    log: Log,
    state: State,
    /// How far this image has been produced since `begin`.
    produced: Option<At>,
}

/// A place in the image that is being produced.
#[derive(Clone, Copy, Debug)]
struct At {
    page: u32,
    /// Bytes of the page that are done.
    done: u32,
    /// The page was written before a restart, and is compared.
    known: bool,
}

impl At {
    const START: Self = Self::page(0);

    const fn page(page: u32) -> Self {
        Self { page, done: 0, known: false }
    }
}

impl<F: NorFlash> Firmware<F> {
    /// Reads the log. Nothing is written.
    pub fn open(mut flash: F, geometry: ImageGeometry) -> Result<Self, BootError<F::Error>> {
        let (log, found) = super::loader::open(&mut flash, &geometry)?;
        let state = found.ok_or(BootError::NotProvisioned)?;
        Ok(Self { flash, geometry, log, state, produced: None })
    }

    /// The image in slot A, which runs.
    pub fn running(&self) -> &NativeImage {
        match (&self.state.phase, &self.state.other) {
            (Phase::Trial | Phase::Reverting, Some(candidate)) => candidate,
            _ => &self.state.current,
        }
    }

    /// The image that was confirmed last. It runs, or is what a failed trial leads back to.
    pub fn confirmed(&self) -> &NativeImage {
        &self.state.current
    }

    /// Highest sequence that has failed a trial.
    pub fn failed(&self) -> Option<u32> {
        self.state.tried
    }

    /// Whether the running image is on trial.
    pub fn on_trial(&self) -> bool {
        self.state.phase == Phase::Trial
    }

    /// Whether a reset will exchange images.
    pub fn wants_reset(&self) -> bool {
        matches!(self.state.phase, Phase::Swapping | Phase::Reverting)
    }

    /// Starts that are left to the image on trial before it is reverted.
    pub fn trial_starts_left(&self) -> u8 {
        IMAGE_TRIAL_STARTS.saturating_sub(self.state.starts)
    }

    /// Lowest sequence that is ever started again.
    pub fn floor(&self) -> u32 {
        self.state.floor
    }

    /// The image that is being written or waits in slot B.
    pub fn candidate(&self) -> Option<&NativeImage> {
        let writing = matches!(self.state.phase, Phase::Writing | Phase::Swapping);
        self.state.other.as_ref().filter(|_| writing)
    }

    /// What a new bundle is held against: [`crate::VerifiedManifest::admit`].
    pub fn installed(&self) -> Installed {
        Installed { floor: Some(self.have()), digest: Some(crate::cose::first8(&self.running().digest)) }
    }

    fn have(&self) -> u32 {
        self.running().sequence.max(self.state.current.sequence).max(self.state.tried.unwrap_or(0))
    }

    /// Reads the log anew, as after an error of the flash. What was begun is to be begun again.
    pub fn reopen(&mut self) -> Result<(), BootError<F::Error>> {
        let (log, found) = super::loader::open(&mut self.flash, &self.geometry)?;
        let state = found.ok_or(BootError::NotProvisioned)?;
        (self.log, self.state, self.produced) = (log, state, None);
        Ok(())
    }

    /// Where the images lie.
    pub fn geometry(&self) -> &ImageGeometry {
        &self.geometry
    }

    /// The flash, for what else lies in it.
    pub(super) fn flash_mut(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    fn set(&mut self, state: State) -> Result<(), ImageError<F::Error>> {
        self.produced = None;
        self.log.append(&mut self.flash, &state).map_err(ImageError::Flash)?;
        self.state = state;
        Ok(())
    }

    /// Announces an image. Its predecessor in slot B is given up; what was written of the same image is kept.
    pub fn begin(&mut self, image: &NativeImage) -> Result<ImageBegun, ImageError<F::Error>> {
        if !matches!(self.state.phase, Phase::Settled | Phase::Writing) {
            return Err(ImageError::OnTrial);
        }
        let (have, offered) = (self.have(), image.sequence);
        if offered <= have {
            return Err(ImageError::Rollback { have, offered });
        }
        if !image.is_sound() || image.size > self.geometry.capacity() {
            return Err(ImageError::Size);
        }
        if self.state.phase == Phase::Writing && self.state.other == Some(*image) {
            self.produced = Some(At::START);
            return Ok(ImageBegun::Resumed { page: self.state.step });
        }
        self.set(State { phase: Phase::Writing, step: 0, other: Some(*image), ..self.state })?;
        self.produced = Some(At::START);
        Ok(ImageBegun::Fresh)
    }

    /// Lets the producer do a bounded part of what comes before its first byte; true when nothing of that is left. It may be left
    /// out: then the first bytes take as much longer.
    pub fn prepare<P: ImageProducer>(
        &mut self,
        producer: &mut P,
        object: Range<u32>,
    ) -> Result<bool, ImageError<F::Error>> {
        self.check_object(&object)?;
        // Taken away until it is done, as below.
        let at = self.produced.take().ok_or(ImageError::NotBegun)?;
        let (old, new) = (self.old(), self.geometry.slots[1].start);
        let mut inputs = Inputs { flash: &mut self.flash, old, object, new, stored: 0, made: &[] };
        let ready = producer.prepare(&mut inputs).map_err(ImageError::from)?;
        self.produced = Some(at);
        Ok(ready)
    }

    /// Produces the next page and writes it, unless that was done before a restart; then it is compared.
    ///
    /// `object` is where the object lies in the same flash; a producer that has it elsewhere gives an empty range.
    /// `proof` goes behind the image. Both, and the producer, are to be the same for all pages. The more bytes `buffer`
    /// has, the fewer writes there are.
    pub fn write_page<P: ImageProducer>(
        &mut self,
        producer: &mut P,
        object: Range<u32>,
        proof: &[u8],
        buffer: &mut [u8],
    ) -> Result<WriteProgress, ImageError<F::Error>> {
        loop {
            let progress = self.write_part(producer, object.clone(), proof, buffer)?;
            if progress.is_complete() || self.produced.is_none_or(|at| at.done == 0) {
                return Ok(progress);
            }
        }
    }

    /// The same for no more bytes than `buffer` has: bounded work, at most one erasure included. The bytes of a page whose
    /// writing power loss interrupts are written anew.
    pub fn write_part<P: ImageProducer>(
        &mut self,
        producer: &mut P,
        object: Range<u32>,
        proof: &[u8],
        buffer: &mut [u8],
    ) -> Result<WriteProgress, ImageError<F::Error>> {
        self.check_object(&object)?;
        if proof.len() > PROOF_MAX || buffer.len() < UNIT {
            return Err(ImageError::Arguments);
        }
        // Taken away until the part is whole: after an error the producer has gone on and we have not.
        let mut at = self.produced.take().ok_or(ImageError::NotBegun)?;
        let image = self.candidate().copied().ok_or(ImageError::NotBegun)?;
        let of = self.geometry.pages(&image);
        if at.page < of {
            let size = self.geometry.page;
            if at.done == 0 {
                at.known = at.page < self.state.step;
                if !at.known {
                    self.erase(at.page)?;
                }
            }
            let chunk = chunk(buffer, size - at.done);
            let mut source = Source { image, producer, object, proof };
            self.fill(&mut source, at.page * size + at.done, chunk)?;
            let place = self.geometry.slots[1].start + at.page * size + at.done;
            if at.known {
                if !self.is_there(place, chunk)? {
                    self.set(State { step: at.page, ..self.state })?;
                    return Err(ImageError::Changed);
                }
            } else if !is_blank(chunk) {
                self.flash.write(place, chunk).map_err(ImageError::Flash)?;
            }
            at.done += chunk.len() as u32;
            if at.done == size {
                if !at.known {
                    self.state.step = at.page + 1;
                    self.log.mark(&mut self.flash, &self.state).map_err(ImageError::Flash)?;
                }
                at = At::page(at.page + 1);
            }
        }
        self.produced = Some(at);
        Ok(WriteProgress { pages: at.page, of })
    }

    fn check_object(&self, object: &Range<u32>) -> Result<(), ImageError<F::Error>> {
        let in_flash = object.start <= object.end && object.end as usize <= self.flash.capacity();
        if in_flash { Ok(()) } else { Err(ImageError::Arguments) }
    }

    /// Where the image in force lies.
    fn old(&self) -> Range<u32> {
        let a = self.geometry.slots[0].start;
        a..a + self.state.current.size
    }

    fn erase(&mut self, page: u32) -> Result<(), ImageError<F::Error>> {
        let at = self.geometry.slots[1].start + page * self.geometry.page;
        self.flash.erase(at, at + self.geometry.page).map_err(ImageError::Flash)
    }

    fn is_there(&mut self, at: u32, expected: &[u8]) -> Result<bool, ImageError<F::Error>> {
        let mut unit = [0; UNIT];
        for (expected, at) in expected.chunks(UNIT).zip((at..).step_by(UNIT)) {
            self.flash.read(at, &mut unit).map_err(ImageError::Flash)?;
            if unit != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The bytes from `offset` of what goes to slot B: image, blank up to the next unit, length of the proof, proof.
    fn fill<P: ImageProducer>(
        &mut self,
        source: &mut Source<'_, P>,
        offset: u32,
        out: &mut [u8],
    ) -> Result<(), ImageError<F::Error>> {
        out.fill(0xFF);
        let count = source.image.size.saturating_sub(offset).min(out.len() as u32) as usize;
        let (old, new) = (self.old(), self.geometry.slots[1].start);
        let mut filled = 0;
        while filled < count {
            let (made, room) = out[..count].split_at_mut(filled);
            let (flash, old, object) = (&mut self.flash, old.clone(), source.object.clone());
            let mut inputs = Inputs { flash, old, object, new, stored: offset, made };
            match source.producer.next(&mut inputs, room)? {
                0 => return Err(ImageError::Object),
                // A producer that claims more than it was asked for has written no more.
                more => filled = (filled + more).min(count),
            }
        }
        let head = (source.proof.len() as u16).to_le_bytes();
        let tail = head.iter().chain(source.proof);
        for (at, byte) in (source.image.proof_at()..).zip(tail) {
            if let Some(cell) = at.checked_sub(offset).and_then(|at| out.get_mut(at as usize)) {
                *cell = *byte;
            }
        }
        Ok(())
    }

    /// Checks the whole new image and has it tried at the next reset.
    pub fn request<V: Voucher + ?Sized>(&mut self, voucher: &V) -> Result<(), ImageError<F::Error>> {
        let image = self.candidate().copied().ok_or(ImageError::NotBegun)?;
        if self.state.phase == Phase::Swapping {
            return Ok(());
        }
        if self.state.step < self.geometry.pages(&image) {
            return Err(ImageError::Incomplete);
        }
        let at = self.geometry.slots[1].start;
        let whole = is_whole(&mut self.flash, &self.geometry, at, &image, voucher);
        if !whole.map_err(ImageError::Flash)? {
            self.abandon()?;
            return Err(ImageError::NotVerified);
        }
        self.set(State { phase: Phase::Swapping, step: 0, starts: 0, ..self.state })
    }

    /// Gives up an image that is being written or waits for a reset; false if there is none.
    pub fn abandon(&mut self) -> Result<bool, ImageError<F::Error>> {
        if self.candidate().is_none() {
            return Ok(false);
        }
        self.set(State { phase: Phase::Settled, step: 0, other: None, ..self.state })?;
        Ok(true)
    }

    /// Ends the trial well, and raises the floor if the image says so; false if there is no trial.
    pub fn confirm(&mut self) -> Result<bool, ImageError<F::Error>> {
        let (Phase::Trial, Some(candidate)) = (self.state.phase, self.state.other) else { return Ok(false) };
        self.set(State {
            phase: Phase::Settled,
            starts: 0,
            step: 0,
            floor: self.state.floor.max(candidate.floor),
            current: candidate,
            other: Some(self.state.current),
            ..self.state
        })?;
        Ok(true)
    }

    /// Ends the trial badly: the next reset brings the predecessor back. False if there is no trial.
    pub fn fall_back(&mut self) -> Result<bool, ImageError<F::Error>> {
        if self.state.phase != Phase::Trial {
            return Ok(false);
        }
        self.set(State { phase: Phase::Reverting, step: 0, ..self.state })?;
        Ok(true)
    }
}

struct Source<'a, P> {
    image: NativeImage,
    producer: &'a mut P,
    object: Range<u32>,
    proof: &'a [u8],
}
