//! Measurements of the core beside its peers and its limits: what `compotastic bench` runs. The peers' code is here, so that
//! each figure and the figure beside it come from one run. Nothing here knows foundation models.
#![forbid(unsafe_code)]

pub mod company;
pub mod delta;
pub mod fec;
pub mod plan;
pub mod power_cut;
pub mod share;
pub mod soak;
pub mod spread;
pub mod sync;
mod threads;
