//! The encoder: for the edge and the operator, with as much memory and time as it likes.

mod plan;
mod units;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::decoder::{DecodeError, Decoder, Limits, Progress};
use crate::header::{Crc, Header, Method};
use crate::source::OutOfBounds;

/// What the caller knows about the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing: all methods are tried that could fit.
    #[default]
    Unknown,
    /// Firmware for a Cortex-M.
    Firmware,
    /// A model: grids of quantised weights.
    Model,
}

/// What a method would have cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The method.
    pub method: Method,
    /// Bytes of its patch.
    pub bytes: usize,
}

/// A patch, and why it is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The patch.
    pub bytes: Vec<u8>,
    /// How it describes the new image.
    pub method: Method,
    /// Why this method was taken, for people.
    pub reason: String,
    /// What was tried, smallest first.
    pub candidates: Vec<Candidate>,
}

/// Why there is no patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// An image has 16 MiB or more: the format does not go so far.
    TooLong,
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.add(bytes);
    crc.get()
}

/// The smallest patch that makes `new` from `old`, whatever they are; `old` may be empty. Each candidate has been decoded
/// before it is chosen.
///
/// # Errors
/// [`EncodeError::TooLong`].
pub fn encode(old: &[u8], new: &[u8], hint: Hint) -> Result<Encoded, EncodeError> {
    if old.len().max(new.len()) >= 1 << 24 {
        return Err(EncodeError::TooLong);
    }
    let code = units::looks_like_thumb(old) || units::looks_like_thumb(new);
    let mut methods = vec![Method::Stored, Method::Bytes];
    if hint == Hint::Firmware || (hint == Hint::Unknown && code) {
        methods.push(Method::Thumb);
    }
    if hint == Hint::Model || (hint == Hint::Unknown && !code) {
        methods.extend([Method::Grid8, Method::Grid4, Method::Grid2]);
    }
    let mut patches: Vec<(Method, Vec<u8>)> = methods
        .into_iter()
        .map(|method| (method, units::encode(old, new, method)))
        .filter(|(_, patch)| decode_to_vec(old, patch, new.len() as u32).as_deref() == Ok(new))
        .collect();
    patches.sort_by_key(|(method, patch)| (patch.len(), *method));
    let candidates: Vec<Candidate> =
        patches.iter().map(|(method, patch)| Candidate { method: *method, bytes: patch.len() }).collect();
    let (method, bytes) = patches.swap_remove(0);
    let sizes: Vec<String> = candidates.iter().map(|c| format!("{} {}", c.method.name(), c.bytes)).collect();
    let reason = format!(
        "{} is smallest: {} of {} bytes, {} (tried: {})",
        method.name(),
        bytes.len(),
        new.len(),
        what(method),
        sizes.join(", ")
    );
    Ok(Encoded { bytes, method, reason, candidates })
}

fn what(method: Method) -> &'static str {
    match method {
        Method::Stored => "nothing helps",
        Method::Bytes => "copies and literals of bytes",
        Method::Thumb => "copies of Thumb code with predicted call targets and literal pools",
        Method::Grid8 => "differences of 8-bit values",
        Method::Grid4 => "differences of 4-bit values",
        Method::Grid2 => "differences of 2-bit values",
    }
}

/// What a host's decoder may say.
pub type HostError = DecodeError<OutOfBounds>;

/// Runs the device's decoder over images in memory.
///
/// # Errors
/// See [`DecodeError`]; the new image may have at most `max_len` bytes.
pub fn decode_to_vec(old: &[u8], patch: &[u8], max_len: u32) -> Result<Vec<u8>, HostError> {
    let mut decoder = alloc::boxed::Box::new(Decoder::new());
    let limits = Limits { patch_len: patch.len() as u32, old_len: old.len() as u32, new_len: max_len };
    let (mut old, mut patch) = (old, patch);
    let header: Header = decoder.begin(&mut patch, limits)?;
    let mut new: Vec<u8> = Vec::with_capacity(header.new_len as usize);
    let mut slice = [0; 256];
    loop {
        match decoder.step(&mut old, &mut patch, &mut new.as_slice(), &mut slice)? {
            Progress::Bytes(count) => new.extend(&slice[..count]),
            Progress::Done => return Ok(new),
        }
    }
}
