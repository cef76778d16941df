//! Trains the table of `compotastic-text` and measures text codecs against each other.

pub mod bench;
pub mod corpus;
pub mod kernel;
pub mod math;
pub mod net;
pub mod quant;
pub mod recipe;
pub mod train;
mod unishox;
mod vary;
