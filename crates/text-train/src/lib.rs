//! Trains the table of `compotastic-text` and measures text codecs against each other.

pub mod corpus;
