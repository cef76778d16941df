//! Meshtastic's client API, both sides: what an app says to its radio, and what a radio says to its app.
//!
//! State machines without I/O, after the calling contract of the core: mutate (`handle_*`, with the time), drain (`poll_*`), wait
//! until `poll_timeout`. Times are milliseconds of a clock of the host's that never runs backwards.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod app;
pub mod device;
pub mod framing;
