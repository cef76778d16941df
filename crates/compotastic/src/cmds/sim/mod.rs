//! `compotastic sim`: the simulator as a product of its own.

mod bench;
mod explore;
mod parallel;
mod run;
mod seeds;
mod validate;

use anyhow::Result;
use clap::Subcommand;

/// What the simulator does.
#[derive(Subcommand)]
pub enum SimCommand {
    /// Runs a scenario and reports
    Run(run::RunArgs),
    /// Makes a scenario to begin with
    New(run::NewArgs),
    /// Runs a scenario under many seeds on all cores
    Sweep(run::SweepArgs),
    /// Searches for faults: whole scenarios drawn from seeds, held against the promises
    Explore(explore::ExploreArgs),
    /// Holds the reference simulator's rules against its recorded outcomes
    Validate(validate::ValidateArgs),
    /// Simulated node-seconds per CPU-second, and peak memory
    Bench(bench::BenchArgs),
}

/// Runs it.
pub fn run(command: SimCommand) -> Result<()> {
    match command {
        SimCommand::Run(args) => run::run(&args),
        SimCommand::New(args) => run::new(&args),
        SimCommand::Sweep(args) => run::sweep(&args),
        SimCommand::Explore(args) => explore::run(&args),
        SimCommand::Validate(args) => validate::run(&args),
        SimCommand::Bench(args) => bench::run(&args),
    }
}
