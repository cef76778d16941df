//! Deltas between versions: a streaming decoder for small devices, and the encoder for the edge.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "encode")]
extern crate alloc;

mod engine;
mod logistic;
mod mixer;
mod range;
mod thumb;

#[cfg(feature = "encode")]
pub mod encode;
