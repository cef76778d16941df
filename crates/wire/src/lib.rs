//! Frames of the Compotastic profile, their authentication and replay window, control records.
//!
//! PROTOCOL.md is the byte-level page; `tests/protocol_page.rs` compares it with this code. [`open`] turns bytes from
//! the air into a checked [`Frame`]; [`seal`] does the reverse. Nothing here allocates, reads a clock or draws a
//! random number.
#![no_std]
#![forbid(unsafe_code)]

mod body;
mod frame;
mod ids;
pub mod records;
mod replay;
mod seal;
mod sync;

pub use body::ReportWriter;
pub use frame::{
    Advert, Award, Beacon, Frame, FrameClass, JobResult, Malformed, Neighbours, Offer, Part, PartRequest,
    Record, RecordRequest, RecordType, Report, ReportEntry, ReportText, Request, ResultStatus, Symbol,
    SymbolRequest, SyncDigest, SyncForm, SyncItem, SyncList, SyncRecords,
};
pub use ids::IdBlocks;
pub use replay::{ReplayTable, Verdict};
pub use seal::{Address, KeyRing, OpenError, SealError, SwarmKey, open, seal};
pub use sync::SyncItemWriter;

/// Port of our packets: private (256..=511), neither 256 nor 257, which others use.
pub const PORT: u16 = 448;
/// Version of the profile, in the upper three bits of byte 0. Version N talks to N - 1.
pub const PROFILE_VERSION: u8 = 1;
/// Longest sealed frame in bytes: a symbol of 208 bytes of data. It stays under 3 s of air on LONG_FAST, and fits the radio with what a
/// stock radio may add.
pub const MAX_PAYLOAD: usize = 222;
/// Bytes of the MAC, but for symbols.
pub const MAC_LEN: usize = 8;
/// Bytes of the MAC on symbols, whose pieces are verified again.
pub const SYMBOL_MAC_LEN: usize = 4;

/// The deadline code (0..=15) for a time in seconds: the smallest code whose time is at least as long.
/// Code n stands for 15 * 2^n seconds: 15 s to 5.7 days.
pub const fn deadline_code(seconds: u32) -> u8 {
    let mut code = 0;
    while code < 15 && 15u64 << code < seconds as u64 {
        code += 1;
    }
    code
}

/// The time in seconds that a deadline code stands for.
pub const fn deadline_seconds(code: u8) -> u32 {
    15 << (code & 15)
}

/// Codec of a vector: a byte of scale, then two entries a byte. Codecs 0 and 1 are those of texts.
pub const CODEC_VECTOR: u8 = 2;

/// The codec byte of a question or an answer: the codec, 0..=15, and how many parts follow its first one, 0..=6.
pub const fn join_codec(codec: u8, more: u8) -> u8 {
    codec & 15 | more << 4
}

/// What [`join_codec`] joined: the codec and the number of further parts.
pub const fn split_codec(byte: u8) -> (u8, u8) {
    (byte & 15, byte >> 4)
}
