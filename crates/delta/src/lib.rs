//! Deltas between versions: a streaming decoder for small devices, and the encoder for the edge.
#![no_std]
#![forbid(unsafe_code)]
