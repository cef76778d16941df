//! The `compotastic` command.

mod cmds;
mod demo;
mod plots;
mod record_file;
mod svg;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A swarm of small Meshtastic radios that computes together.
#[derive(Parser)]
#[command(
    name = "compotastic",
    version,
    arg_required_else_help = true,
    after_help = "Start here:\n  compotastic demo                 watch a simulated swarm learn to answer for itself\n  compotastic try \"two hikers lost near the col\"\n  compotastic model pull           get the larger teacher model"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole loop on a simulated mesh: offload, distil, push, answer locally
    Demo(cmds::demo::DemoArgs),
    /// Answers one sentence from teacher and student side by side
    Try(cmds::try_text::TryArgs),
    /// Gets, checks and distils models
    #[command(subcommand)]
    Model(cmds::model::ModelCommand),
    /// Measures, and prints each figure beside its peer or its limit
    #[command(subcommand)]
    Bench(cmds::bench::BenchCommand),
    /// Builds, signs, checks and applies bundles: models, policies, logic and firmware with a manifest
    #[command(subcommand)]
    Bundle(cmds::bundle::BundleCommand),
    /// Predicts what a push will cost on each way, before anything is sent
    Plan(cmds::plan::PlanArgs),
    /// Pushes a signed bundle to the nodes of a simulated mesh, and shows who has what
    Push(cmds::push::PushArgs),
    /// Makes keys, delegates to edge nodes, and says whom to trust
    #[command(subcommand)]
    Key(cmds::key::KeyCommand),
    /// Simulates meshes: scenarios, validation, speed
    #[command(subcommand)]
    Sim(cmds::sim::SimCommand),
}

fn main() -> ExitCode {
    // `compotastic ... | head` ends quietly, as other programs do.
    sigpipe::reset();
    let result = match Cli::parse().command {
        Command::Demo(args) => cmds::demo::run(args),
        Command::Try(args) => cmds::try_text::run(&args),
        Command::Model(command) => cmds::model::run(command),
        Command::Bench(command) => cmds::bench::run(command),
        Command::Bundle(command) => cmds::bundle::run(command),
        Command::Plan(args) => cmds::plan::run(&args),
        Command::Push(args) => cmds::push::run(&args),
        Command::Key(command) => cmds::key::run(command),
        Command::Sim(command) => cmds::sim::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line per cause: what went wrong, then why; the messages themselves say what to do.
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
