//! Deltas between versions: a streaming decoder for small devices, and the encoder for the edge.
//!
//! [`Decoder`] makes the new image from the old one and a patch, in bounded slices and in less than 16 KiB of memory. [`Apply`] puts
//! a decoder and a slot of flash together, so that power may fail at any byte. The feature `encode` adds the encoder, which tries several
//! methods and says why it took which. The format is described in docs/DELTA.md.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "encode")]
extern crate alloc;

mod apply;
mod decoder;
mod engine;
mod header;
mod logistic;
mod mixer;
mod range;
mod source;
mod thumb;

#[cfg(feature = "encode")]
pub mod encode;

pub use apply::{Apply, ApplyError, Applying, CHUNK};
pub use decoder::{DecodeError, Decoder, Limits, Progress};
pub use header::{BadHeader, Crc, Header, MAX_HEADER, Method, VERSION};
pub use source::{OutOfBounds, Slot, Source};

/// An update's memory: state, tables, buffers.
const _: () = assert!(size_of::<Apply>() <= 16 * 1024);
