//! The daemon: runs one node on real links for weeks without a hand on it.
#![forbid(unsafe_code)]

pub mod brain;
pub mod cli;
pub mod device_http;
pub mod doctor;
pub mod http;
pub mod keyfile;
pub mod people;
pub mod runtime;
pub mod seam;
pub mod serve;
pub mod share;
pub mod store;
pub mod swarm;
pub mod up;
