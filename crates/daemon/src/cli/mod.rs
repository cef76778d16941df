//! Commands for people at a terminal, over the daemon's HTTP API.

pub mod ask;
mod client;
pub mod job;
pub mod mesh;
pub mod nodes;
pub mod output;
pub mod push;
pub mod shell;
pub mod status;
mod table;
pub mod top;
pub mod update;

pub use self::client::{ApiArgs, Client};
pub(crate) use self::table::clean;
