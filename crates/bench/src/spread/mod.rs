//! Spread.
pub mod blocks;
pub mod cds;
pub mod flooded;
pub mod harness;
mod mds;
mod merkle;
pub mod peer;
mod store;
pub mod topology;
pub mod unicast;
