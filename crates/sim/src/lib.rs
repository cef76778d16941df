//! Deterministic simulation of LoRa radios and the world around the nodes.
//!
//! The simulator knows positions, powers and air; it holds no behaviour of a node. Anything that implements [`Host`] can be
//! simulated: [`compotastic_node::Station`] does. The same seed gives the
//! same events, byte for byte, on any machine: integer time, child generators per purpose, `libm` for logarithms.
//!
//! [`ledger`] is a checker apart from the nodes: it decrypts what is on the air by itself and counts.
#![forbid(unsafe_code)]

pub mod bluetooth;
pub mod classify;
pub mod energy;
pub mod explore;
pub mod files;
mod grid;
pub mod host;
pub mod hosted;
pub mod ledger;
pub mod log;
pub mod meshtasticator;
pub mod messenger;
pub mod motion;
pub mod path_loss;
pub mod plan;
pub mod radio;
pub mod reception;
pub mod recording;
pub mod scenario;
pub mod serve;
pub mod stock;
pub mod stock_field;
pub mod swarm;
pub mod terrain;
pub mod valley;
pub mod world;

pub use host::Host;
pub use world::{NodeId, World, WorldConfig};
