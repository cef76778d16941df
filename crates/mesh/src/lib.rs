//! Meshtastic packets, channel crypto, managed flooding, next-hop unicast, acknowledgements, LoRa air time.
//!
//! Each layer is usable alone: [`packet`] and [`crypto`] for frames, [`lora`] and [`airtime`] for figures, [`router`]
//! for the packet work of a native node. Nothing here reads a clock, draws its own randomness or allocates.
//! Facts are those of Meshtastic's firmware 2.8; the code is our own.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod airtime;
pub mod channels;
pub mod citizen;
pub mod crypto;
pub mod lora;
pub mod modules;
pub mod native;
pub mod nodedb;
pub mod packet;
pub mod pkc;
mod queue;
pub mod rng;
pub mod router;
pub mod routes;
pub mod time;
pub mod traceroute;
pub mod udp;
pub mod xeddsa;
