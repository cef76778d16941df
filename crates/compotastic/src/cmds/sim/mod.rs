//! `compotastic sim`: the simulator as a product of its own.

mod bench;
mod explore;
mod parallel;
mod replay;
mod run;
mod seeds;
mod validate;

use anyhow::Result;
use clap::Subcommand;
use compotastic_daemon::serve::{self, ServeArgs};
use indicatif::{ProgressBar, ProgressStyle};
pub use run::base;

/// What the simulator does.
#[derive(Subcommand)]
pub enum SimCommand {
    /// Runs a scenario and reports
    Run(run::RunArgs),
    /// Reads a recording again, without simulating
    Replay(replay::ReplayArgs),
    /// Presents each simulated node as a Meshtastic device, for apps, bots and the Python client
    Serve(ServeArgs),
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
        SimCommand::Replay(args) => replay::run(&args),
        SimCommand::Serve(args) => serve::run(args),
        SimCommand::New(args) => run::new(&args),
        SimCommand::Sweep(args) => run::sweep(&args),
        SimCommand::Explore(args) => explore::run(&args),
        SimCommand::Validate(args) => validate::run(&args),
        SimCommand::Bench(args) => bench::run(&args),
    }
}

/// A bar from 0 to 100 per cent of something.
fn share_bar(quiet: bool, of: &str) -> Result<ProgressBar> {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(100) };
    bar.set_style(ProgressStyle::with_template(&format!("{{bar:40}} {{percent}} % {of}"))?);
    Ok(bar)
}
