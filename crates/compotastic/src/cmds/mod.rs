//! One file per subcommand.

pub mod bench;
mod bench_job;
pub mod bundle;
pub mod classes;
pub mod demo;
pub mod key;
pub mod model;
pub mod plan;
pub mod push;
pub mod sim;
pub mod try_text;
pub mod up;
