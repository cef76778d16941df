//! The decoder: a plain struct, driven in bounded slices. It reads the old image, the patch and what it has made of the new
//! image through [`Source`], and hands out the new image in order.

use core::marker::PhantomData;

use crate::engine::{Engine, Unit, View, Want};
use crate::header::{BadHeader, Crc, Header, Method};
use crate::range::{Known, RangeDecoder, RangeState};
use crate::source::Source;

/// Why decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError<E> {
    /// A read failed.
    Source(E),
    /// The patch is none of this version, or its head contradicts itself: get another one.
    BadHeader,
    /// The new image is longer than the caller permits.
    TooLong,
    /// The old image is not the one that the patch was made against.
    WrongOld,
    /// The new image does not have the checksum that the patch states: the patch is damaged.
    WrongNew,
    /// [`Decoder::step`] was called before [`Decoder::begin`], or after an error.
    NotReady,
}

/// What a slice of work brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes of the new image; there may be none while the decoder prepares.
    Bytes(usize),
    /// The new image is complete and has the right checksum.
    Done,
}

/// The images and limits that the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the patch.
    pub patch_len: u32,
    /// Bytes that may be read of the old image, from its start.
    pub old_len: u32,
    /// The longest new image, in bytes.
    pub new_len: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    CheckOld,
    Map,
    Prime,
    Body,
    Done,
}

/// State of the decoder: the whole of its memory. Place it statically.
#[derive(Clone, Debug)]
pub struct Decoder {
    engine: Engine,
    range: RangeState,
    header: Header,
    limits: Limits,
    phase: Phase,
    /// Bytes of the old image checked.
    checked: u32,
    /// Bytes of the new image handed out.
    emitted: u32,
    crc: Crc,
    /// Bytes of the last unit that did not fit in the caller's slice.
    pending: [u8; 4],
    pending_len: u8,
}

/// Bytes of old image that are read at a time for its checksum.
const BLOCK: usize = 64;
/// Units that a call trains on or map entries that it reads.
const SLICE: u32 = 64;

const NO_HEADER: Header = Header {
    method: Method::Stored,
    old_len: 0,
    old_crc: 0,
    new_len: 0,
    new_crc: 0,
    base: 0,
    entries: 0,
    prime: (0, 0),
};

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Without a patch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            engine: Engine::new(),
            range: RangeState::new(),
            header: NO_HEADER,
            limits: Limits { patch_len: 0, old_len: 0, new_len: 0 },
            phase: Phase::Idle,
            checked: 0,
            emitted: 0,
            crc: Crc::new(),
            pending: [0; 4],
            pending_len: 0,
        }
    }

    /// Begins with the patch in `patch`, or begins anew: nothing of what was done before matters.
    ///
    /// # Errors
    /// If the head is bad, or asks for more than `limits`.
    pub fn begin<S: Source>(
        &mut self,
        patch: &mut S,
        limits: Limits,
    ) -> Result<Header, DecodeError<S::Error>> {
        self.phase = Phase::Idle;
        let (header, at) = match Header::read(patch, limits.patch_len).map_err(DecodeError::Source)? {
            Ok(read) => read,
            Err(BadHeader) => return Err(DecodeError::BadHeader),
        };
        if header.new_len > limits.new_len {
            return Err(DecodeError::TooLong);
        }
        let prime_end = u64::from(header.prime.0) + u64::from(header.prime.1);
        if header.old_len > limits.old_len || header.old_len >= 1 << 24 || header.new_len >= 1 << 24 {
            return Err(if header.method == Method::Stored {
                DecodeError::TooLong
            } else {
                DecodeError::WrongOld
            });
        }
        if prime_end * 64 > u64::from(header.old_len) + 63 || header.entries > Engine::MAX_ENTRIES {
            return Err(DecodeError::BadHeader);
        }
        self.engine.reset(header.method, header.old_len, header.base);
        self.range = RangeState::new();
        self.range.at = at;
        (self.header, self.limits) = (header, limits);
        (self.checked, self.emitted, self.crc, self.pending_len) = (0, 0, Crc::new(), 0);
        self.phase = if header.method == Method::Stored { Phase::Body } else { Phase::CheckOld };
        Ok(header)
    }

    /// The head of the patch that was begun.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the new image handed out so far.
    #[must_use]
    pub const fn emitted(&self) -> u32 {
        self.emitted
    }

    /// Whether all that comes before the first byte of the new image is done; false before [`begin`](Self::begin).
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        matches!(self.phase, Phase::Body | Phase::Done)
    }

    /// Does a slice of work: prepares for a while, or fills `out` with the next bytes of the new image. `written` must
    /// deliver all bytes handed out by earlier calls. The work per call is bounded by a constant plus one by the length of `out`.
    ///
    /// # Errors
    /// See [`DecodeError`]; after an error [`begin`](Self::begin) again.
    pub fn step<E>(
        &mut self,
        old: &mut impl Source<Error = E>,
        patch: &mut impl Source<Error = E>,
        written: &mut impl Source<Error = E>,
        out: &mut [u8],
    ) -> Result<Progress, DecodeError<E>> {
        let result = self.slice(old, patch, written, out);
        if result.is_err() {
            self.phase = Phase::Idle;
        }
        result
    }

    fn slice<E>(
        &mut self,
        old: &mut impl Source<Error = E>,
        patch: &mut impl Source<Error = E>,
        written: &mut impl Source<Error = E>,
        out: &mut [u8],
    ) -> Result<Progress, DecodeError<E>> {
        match self.phase {
            Phase::Idle => Err(DecodeError::NotReady),
            Phase::Done => Ok(Progress::Done),
            Phase::CheckOld => self.check_old(old, patch),
            Phase::Map => self.map(patch),
            Phase::Prime => self.prime(old),
            Phase::Body if self.emitted == self.header.new_len => {
                if self.crc.get() != self.header.new_crc {
                    return Err(DecodeError::WrongNew);
                }
                self.phase = Phase::Done;
                Ok(Progress::Done)
            }
            Phase::Body => {
                let room = out.len().min((self.header.new_len - self.emitted) as usize);
                let filled = if self.header.method == Method::Stored {
                    let at = self.range.at;
                    let left = self.limits.patch_len.saturating_sub(at) as usize;
                    if room > left {
                        return Err(DecodeError::WrongNew);
                    }
                    patch.read(at, &mut out[..room]).map_err(DecodeError::Source)?;
                    self.range.at += room as u32;
                    room
                } else {
                    self.body(old, patch, written, &mut out[..room])?
                };
                self.crc.add(&out[..filled]);
                self.emitted += filled as u32;
                Ok(Progress::Bytes(filled))
            }
        }
    }

    fn check_old<E>(
        &mut self,
        old: &mut impl Source<Error = E>,
        patch: &mut impl Source<Error = E>,
    ) -> Result<Progress, DecodeError<E>> {
        let mut block = [0; BLOCK];
        for _ in 0..SLICE {
            let len = ((self.header.old_len - self.checked) as usize).min(BLOCK);
            old.read(self.checked, &mut block[..len]).map_err(DecodeError::Source)?;
            self.crc.add(&block[..len]);
            self.checked += len as u32;
            if self.checked == self.header.old_len {
                if self.crc.get() != self.header.old_crc {
                    return Err(DecodeError::WrongOld);
                }
                self.crc = Crc::new();
                let at = self.range.at;
                bits(&mut self.range, patch, self.limits.patch_len).start(at)?;
                self.phase = Phase::Map;
                break;
            }
        }
        Ok(Progress::Bytes(0))
    }

    fn map<E>(&mut self, patch: &mut impl Source<Error = E>) -> Result<Progress, DecodeError<E>> {
        for _ in 0..SLICE {
            if self.engine.entries() == self.header.entries {
                self.phase = Phase::Prime;
                self.engine.at = self.header.prime.0 * (64 / self.header.method.unit());
                break;
            }
            let mut bits = bits(&mut self.range, patch, self.limits.patch_len);
            let (from, to) = self.engine.map_entry(&mut bits, (0, 0))?;
            self.engine.add_entry(from, to);
        }
        Ok(Progress::Bytes(0))
    }

    fn prime<E>(&mut self, old: &mut impl Source<Error = E>) -> Result<Progress, DecodeError<E>> {
        let unit = self.header.method.unit();
        let end = (self.header.prime.0 + self.header.prime.1) * (64 / unit);
        let end = end.min(self.header.old_len.div_ceil(unit));
        let mut view = FlashView::<E, _, _> {
            old,
            written: &mut Nothing(PhantomData),
            old_len: self.header.old_len,
            emitted: 0,
            out: &[],
            unit,
        };
        for _ in 0..SLICE {
            if self.engine.at >= end {
                self.engine.begin();
                self.phase = Phase::Body;
                break;
            }
            let start = self.engine.at * unit;
            let halves = [view.old_unit(start)?, view.old_unit(start + unit)?];
            self.engine.train(&mut Known(PhantomData::<DecodeError<E>>), halves)?;
        }
        Ok(Progress::Bytes(0))
    }

    fn body<E>(
        &mut self,
        old: &mut impl Source<Error = E>,
        patch: &mut impl Source<Error = E>,
        written: &mut impl Source<Error = E>,
        out: &mut [u8],
    ) -> Result<usize, DecodeError<E>> {
        let unit = self.header.method.unit();
        let mut filled = 0;
        loop {
            let take = usize::from(self.pending_len).min(out.len() - filled);
            out[filled..filled + take].copy_from_slice(&self.pending[..take]);
            self.pending.rotate_left(take);
            self.pending_len -= take as u8;
            filled += take;
            if filled == out.len() {
                return Ok(filled);
            }
            let mut bits = bits(&mut self.range, patch, self.limits.patch_len);
            let mut view = FlashView {
                old,
                written,
                old_len: self.header.old_len,
                emitted: self.emitted,
                out: &out[..filled],
                unit,
            };
            let Unit { halves, len } = self.engine.unit(&mut bits, &mut view, &Want::default())?;
            if unit == 2 {
                let [a, b] = halves.map(u16::to_le_bytes);
                self.pending = [a[0], a[1], b[0], b[1]];
            } else {
                self.pending = [halves[0] as u8, halves[1] as u8, 0, 0];
            }
            self.pending_len = len * unit as u8;
        }
    }
}

/// The range decoder over the patch; past its end come zeros, as many as the length of the new image asks for.
fn bits<'a, E, S: Source<Error = E>>(
    state: &'a mut RangeState,
    patch: &'a mut S,
    patch_len: u32,
) -> RangeDecoder<'a, impl FnMut(u32) -> Result<u8, DecodeError<E>> + use<'a, E, S>> {
    let next = move |at| {
        let mut byte = [0];
        if at < patch_len {
            patch.read(at, &mut byte).map_err(DecodeError::Source)?;
        }
        Ok(byte[0])
    };
    RangeDecoder { state, next }
}

struct Nothing<E>(PhantomData<E>);

impl<E> Source for Nothing<E> {
    type Error = E;

    fn read(&mut self, _offset: u32, _out: &mut [u8]) -> Result<(), E> {
        Ok(())
    }
}

/// The images in units; what lies outside reads as zero.
struct FlashView<'a, E, O: Source<Error = E>, W: Source<Error = E>> {
    old: &'a mut O,
    written: &'a mut W,
    old_len: u32,
    /// Bytes that `written` has; those after it are in `out`.
    emitted: u32,
    out: &'a [u8],
    unit: u32,
}

impl<E, O: Source<Error = E>, W: Source<Error = E>> View for FlashView<'_, E, O, W> {
    type Error = DecodeError<E>;

    fn old_unit(&mut self, at: u32) -> Result<u16, DecodeError<E>> {
        let mut bytes = [0; 2];
        let len = self.unit.min(self.old_len.saturating_sub(at)) as usize;
        if len > 0 {
            self.old.read(at, &mut bytes[..len]).map_err(DecodeError::Source)?;
        }
        Ok(u16::from_le_bytes(bytes))
    }

    fn new_unit(&mut self, at: u32) -> Result<u16, DecodeError<E>> {
        let mut bytes = [0; 2];
        let start = at.saturating_mul(self.unit);
        for (byte, at) in bytes.iter_mut().zip(start..start.saturating_add(self.unit)) {
            if at < self.emitted {
                let mut one = [0];
                self.written.read(at, &mut one).map_err(DecodeError::Source)?;
                *byte = one[0];
            } else {
                *byte = self.out.get((at - self.emitted) as usize).copied().unwrap_or(0);
            }
        }
        Ok(u16::from_le_bytes(bytes))
    }
}
