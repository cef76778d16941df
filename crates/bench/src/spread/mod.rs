//! Spread.
pub mod cds;
pub mod topology;
