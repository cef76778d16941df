//! One file per subcommand.

pub mod bench;
pub mod demo;
pub mod model;
pub mod try_text;
