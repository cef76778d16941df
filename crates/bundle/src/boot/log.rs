//! The boot log: what the application wants, what the boot loader has done of it, and the rollback floor.
//!
//! Two halves of flash, filled in turn with entries that begin at multiples of 16 bytes. Integers little-endian.
//!
//! - A *state*, 128 bytes: magic B7, phase u8, starts of the trial u8, 0; number u32; step u32; floor u32; sequence
//!   tried + 1 u32; image in force 44; other image 44, zeros if there is none; 12 unused; CRC-32 of all before. An image
//!   is digest 32, size u32, sequence u32, floor u32.
//! - A *mark*, 16 bytes: magic B6, 3 zeros; number u32 of the state that it goes with; step u32; CRC-32 of all before.
//!
//! The state with the highest number counts, with the highest step of the marks behind it. A half is erased when the
//! other one is full, just before a new state goes there, so the last whole state is never in a half that is erased.
//!
//! Power loss can leave words that read as erased and are not. So after a restart the next entry is not written right
//! behind the last one that can be seen: room for one state stays free, and only what is beyond it, or a half that is
//! erased anew, is written.

use super::NativeImage;
use crate::crc::crc32;
use crate::flashstore::{UNIT, is_blank};
use embedded_storage::nor_flash::NorFlash;

const STATE: usize = 128;
const STATE_UNITS: u32 = (STATE / UNIT) as u32;
const STATE_MAGIC: u8 = 0xB7;
const MARK_MAGIC: u8 = 0xB6;
const IMAGE: usize = 44;
const CURRENT_AT: usize = 20;
const OTHER_AT: usize = CURRENT_AT + IMAGE;
/// Shortest half: a state and a few marks.
pub(crate) const HALF_MIN: u32 = 256;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Slot A holds the image in force. `other`, if any, is its predecessor, one page up in slot B.
    Settled = 1,
    /// `other` is being written to slot B; steps are pages.
    Writing = 2,
    /// `other` is whole in slot B and goes to slot A; steps are copied pages.
    Swapping = 3,
    /// `other` is in slot A, on trial; the image in force is one page up in slot B.
    Trial = 4,
    /// `other` has failed, and slot A gets the image in force back from slot B; steps are copied pages.
    Reverting = 5,
    /// The same for an `other` that was in force and is damaged.
    Restoring = 6,
}

impl Phase {
    fn from_u8(value: u8) -> Option<Self> {
        use Phase::{Restoring, Reverting, Settled, Swapping, Trial, Writing};
        [Settled, Writing, Swapping, Trial, Reverting, Restoring]
            .into_iter()
            .find(|phase| *phase as u8 == value)
    }
}

/// All that a restart has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub phase: Phase,
    /// Starts of the trial.
    pub starts: u8,
    /// What of the phase is done.
    pub step: u32,
    /// Lowest sequence that may be started.
    pub floor: u32,
    /// Highest sequence that has failed.
    pub tried: Option<u32>,
    /// The image in force: confirmed, and what a failed trial goes back to.
    pub current: NativeImage,
    /// The other one, if any; which one that is tells the phase.
    pub other: Option<NativeImage>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn put_image(out: &mut [u8], image: &NativeImage) {
    out[..32].copy_from_slice(&image.digest);
    out[32..36].copy_from_slice(&image.size.to_le_bytes());
    out[36..40].copy_from_slice(&image.sequence.to_le_bytes());
    out[40..44].copy_from_slice(&image.floor.to_le_bytes());
}

fn get_image(bytes: &[u8]) -> Option<NativeImage> {
    let digest = bytes.get(..32)?.try_into().ok()?;
    let (size, sequence, floor) = (u32_at(bytes, 32), u32_at(bytes, 36), u32_at(bytes, 40));
    let image = NativeImage { digest, size, sequence, floor };
    image.is_sound().then_some(image)
}

fn encode(state: &State, number: u32) -> [u8; STATE] {
    let mut out = [0; STATE];
    out[..3].copy_from_slice(&[STATE_MAGIC, state.phase as u8, state.starts]);
    out[4..8].copy_from_slice(&number.to_le_bytes());
    out[8..12].copy_from_slice(&state.step.to_le_bytes());
    out[12..16].copy_from_slice(&state.floor.to_le_bytes());
    // No image has sequence u32::MAX.
    out[16..20].copy_from_slice(&state.tried.map_or(0, |t| t.saturating_add(1)).to_le_bytes());
    put_image(&mut out[CURRENT_AT..OTHER_AT], &state.current);
    if let Some(other) = &state.other {
        put_image(&mut out[OTHER_AT..OTHER_AT + IMAGE], other);
    }
    let crc = crc32(&[&out[..STATE - 4]]);
    out[STATE - 4..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8; STATE]) -> Option<(State, u32)> {
    if bytes[0] != STATE_MAGIC || u32_at(bytes, STATE - 4) != crc32(&[&bytes[..STATE - 4]]) {
        return None;
    }
    let other = get_image(&bytes[OTHER_AT..OTHER_AT + IMAGE]);
    let phase = Phase::from_u8(bytes[1])?;
    // All phases but the first are about two images.
    let state = (phase == Phase::Settled || other.is_some()).then_some(State {
        phase,
        starts: bytes[2],
        step: u32_at(bytes, 8),
        floor: u32_at(bytes, 12),
        tried: u32_at(bytes, 16).checked_sub(1),
        current: get_image(&bytes[CURRENT_AT..OTHER_AT])?,
        other,
    })?;
    Some((state, u32_at(bytes, 4)))
}

fn mark(number: u32, step: u32) -> [u8; UNIT] {
    let mut out = [0; UNIT];
    out[0] = MARK_MAGIC;
    out[4..8].copy_from_slice(&number.to_le_bytes());
    out[8..12].copy_from_slice(&step.to_le_bytes());
    let crc = crc32(&[&out[..12]]);
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Where the log lies and where its next entry goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    start: u32,
    /// Length of a half in bytes.
    half_len: u32,
    number: u32,
    /// The half that holds the last whole state, and is not erased before the next one is whole.
    safe: u32,
    /// The half that is being written.
    half: u32,
    /// Where the next entry goes in it, in units.
    next: u32,
}

impl Log {
    fn at(&self, half: u32, unit: u32) -> u32 {
        self.start + half * self.half_len + unit * UNIT as u32
    }

    fn units(&self) -> u32 {
        self.half_len / UNIT as u32
    }

    /// Reads the log in `len` bytes from `start`; no state if none was ever written whole.
    pub fn open<F: NorFlash>(flash: &mut F, start: u32, len: u32) -> Result<(Self, Option<State>), F::Error> {
        let half_len = len / 2;
        // Without any state the first half is erased before it is written: it may hold anything.
        let mut log = Self { start, half_len, number: 0, safe: 1, half: 1, next: half_len / UNIT as u32 };
        let mut found: Option<State> = None;
        for half in 0..2 {
            let mut unit = 0;
            let mut used = 0;
            let mut newest_here = false;
            while unit < log.units() {
                let (entry, len) = log.entry(flash, half, unit)?;
                match entry {
                    Entry::State(state, number) if number > log.number => {
                        (found, log.number, newest_here) = (Some(state), number, true);
                    }
                    Entry::Mark { number, step } if number == log.number && newest_here => {
                        if let Some(state) = &mut found {
                            state.step = state.step.max(step);
                        }
                    }
                    _ => {}
                }
                unit += len;
                if !matches!(entry, Entry::Blank) {
                    used = unit;
                }
            }
            if newest_here {
                (log.safe, log.half, log.next) = (half, half, used + STATE_UNITS);
            }
        }
        Ok((log, found))
    }

    /// What begins at a unit, and how many units it takes.
    fn entry<F: NorFlash>(&self, flash: &mut F, half: u32, unit: u32) -> Result<(Entry, u32), F::Error> {
        let mut bytes = [0; STATE];
        let (head, rest) = bytes.split_at_mut(UNIT);
        flash.read(self.at(half, unit), head)?;
        if is_blank(head) {
            return Ok((Entry::Blank, 1));
        }
        if head[0] == MARK_MAGIC {
            let (number, step) = (u32_at(head, 4), u32_at(head, 8));
            let whole = *head == mark(number, step);
            return Ok((if whole { Entry::Mark { number, step } } else { Entry::Waste }, 1));
        }
        if head[0] == STATE_MAGIC && unit + STATE_UNITS <= self.units() {
            flash.read(self.at(half, unit + 1), rest)?;
            if let Some((state, number)) = decode(&bytes) {
                return Ok((Entry::State(state, number), STATE_UNITS));
            }
        }
        Ok((Entry::Waste, 1))
    }

    /// Begins the half that does not hold the last state.
    fn turn<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), F::Error> {
        (self.half, self.next) = (1 - self.safe, 0);
        flash.erase(self.at(self.half, 0), self.at(self.half, 0) + self.half_len)
    }

    fn write_state<F: NorFlash>(&mut self, flash: &mut F, state: &State) -> Result<(), F::Error> {
        let at = self.at(self.half, self.next);
        self.next += STATE_UNITS;
        self.number = self.number.saturating_add(1);
        flash.write(at, &encode(state, self.number))
    }

    /// Appends a state. After an error the log must be opened again.
    pub fn append<F: NorFlash>(&mut self, flash: &mut F, state: &State) -> Result<(), F::Error> {
        let room = self.next.saturating_add(STATE_UNITS) <= self.units();
        // A place that looked erased may refuse the write: then the other half is erased, which has power if we have.
        if !room || self.write_state(flash, state).is_err() {
            self.turn(flash)?;
            self.write_state(flash, state)?;
        }
        self.safe = self.half;
        Ok(())
    }

    /// Says that the phase of `state`, the last one appended or found, has come to its `step`. After an error the log must
    /// be opened again.
    pub fn mark<F: NorFlash>(&mut self, flash: &mut F, state: &State) -> Result<(), F::Error> {
        let room = self.next < self.units() && self.half == self.safe;
        let at = self.at(self.half, self.next);
        self.next = self.next.saturating_add(1);
        if room && flash.write(at, &mark(self.number, state.step)).is_ok() {
            return Ok(());
        }
        self.append(flash, state)
    }
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Blank,
    /// Torn.
    Waste,
    State(State, u32),
    Mark {
        number: u32,
        step: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ramflash::{Cut, RamFlash, RamFlashError};

    type Flash = RamFlash<1024, 8, 256>;

    fn image(n: u8) -> NativeImage {
        NativeImage { digest: [n; 32], size: 1000 + u32::from(n), sequence: u32::from(n), floor: 0 }
    }

    fn state(step: u32) -> State {
        State {
            phase: Phase::Swapping,
            starts: 2,
            step,
            floor: 3,
            tried: Some(0),
            current: image(4),
            other: Some(image(5)),
        }
    }

    #[test]
    fn states_come_back_and_altered_ones_do_not() {
        for other in [None, Some(image(9))] {
            for tried in [None, Some(0), Some(77)] {
                let state = State { phase: Phase::Settled, other, tried, ..state(12) };
                let bytes = encode(&state, 9);
                assert_eq!(decode(&bytes), Some((state, 9)));
                for at in 0..STATE {
                    let mut altered = bytes;
                    altered[at] ^= 1 << (at % 8);
                    assert_eq!(decode(&altered), None, "byte {at}");
                }
            }
        }
        let senseless = State { other: None, ..state(1) };
        assert_eq!(decode(&encode(&senseless, 1)), None, "an exchange is about two images");
    }

    /// Steps are counted up over many turns of the halves, with a cut at every operation and a restart after it. What
    /// the log says then is the step that was on its way or the one before.
    #[test]
    fn no_cut_costs_more_than_the_last_step() {
        for cut in [Cut::Before, Cut::Inside(3), Cut::Inside(100), Cut::Inside(250), Cut::After] {
            let mut flash = Flash::new();
            let mut said = 0;
            for round in 0..200 {
                let (mut log, found) = Log::open(&mut flash, 256, 512).unwrap();
                let found = found.map_or(0, |state| state.step);
                assert!(found == said || found == said + 1, "{found} after {said} with {cut:?}");
                said = found;
                flash.cut_after(round % 17, cut);
                let mut act = |log: &mut Log, said: u32| {
                    let next = state(said + 1);
                    if said.is_multiple_of(5) {
                        log.append(&mut flash, &next)
                    } else {
                        log.mark(&mut flash, &next)
                    }
                };
                loop {
                    match act(&mut log, said) {
                        Ok(()) => said += 1,
                        Err(e) => break assert_eq!(e, RamFlashError::NoPower),
                    }
                }
                flash.power_on();
            }
            assert!(said > 800 && flash.erased_pages() > 100, "{said}");
            assert!(flash.bytes()[..256].iter().chain(&flash.bytes()[768..]).all(|b| *b == 0xFF));
        }
    }
}
