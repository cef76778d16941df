//! The daemon: runs one node on real links for weeks without a hand on it.
#![forbid(unsafe_code)]

pub mod brain;
pub mod people;
pub mod seam;
