//! `compotastic sim`: the simulator as a product of its own.

mod bench;
mod parallel;
mod validate;

use anyhow::Result;
use clap::Subcommand;

/// What the simulator does.
#[derive(Subcommand)]
pub enum SimCommand {
    /// Holds the reference simulator's rules against its recorded outcomes
    Validate(validate::ValidateArgs),
    /// Simulated node-seconds per CPU-second, and peak memory
    Bench(bench::BenchArgs),
}

/// Runs it.
pub fn run(command: SimCommand) -> Result<()> {
    match command {
        SimCommand::Validate(args) => validate::run(&args),
        SimCommand::Bench(args) => bench::run(&args),
    }
}
