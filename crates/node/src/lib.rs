//! The agent of one node: registry, jobs, reports, objects, update, governor; the station that joins it with the
//! Meshtastic router of a native node, and the one that joins it to a stock radio.
//!
//! [`agent`] states the calling contract. Everything is bounded; nothing here reads a clock, draws its own
//! randomness, does I/O or allocates.
#![no_std]
#![forbid(unsafe_code)]

pub mod agent;
mod airbook;
mod airtime_mark;
mod beacons;
pub mod beside;
mod executor;
pub mod firmware;
pub mod governor;
mod holder;
pub mod hosted;
pub mod image;
pub mod jobs;
pub mod keys;
pub mod letters;
pub mod manners;
pub mod near;
pub mod outbox;
pub mod policy;
pub mod promises;
mod quiet;
pub mod registry;
mod reports;
mod requester;
mod round_trip;
mod shares;
mod spread;
pub mod state;
pub mod station;
pub mod sync;
pub mod talk;
pub mod trickle;
mod trust_log;
pub mod udp;
pub mod update;
pub mod vector;

pub use agent::{Agent, AgentConfig, AgentEvent, Answer, BundleRefusal, JobFailure, SubmitError};
pub use firmware::{FirmwareError, FirmwareState};
pub use hosted::HostedStation;
pub use jobs::{JobId, Kind};
pub use promises::{Ticket, Trouble};
pub use spread::ObjectState;
pub use station::Station;
pub use talk::{CompleteError, TextAnswer, model_byte};
pub use udp::UdpStation;
