//! The `compotastic` command.

mod brain;
mod cmds;
mod demo;
mod plots;
mod record_file;
mod svg;

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use compotastic_daemon::{cli, doctor::DoctorArgs, swarm::SwarmArgs};

/// A swarm of small Meshtastic radios that computes together.
#[derive(Parser)]
#[command(
    name = "compotastic",
    version,
    arg_required_else_help = true,
    after_help = "Start here:\n  compotastic demo                 watch a simulated swarm learn to answer for itself\n  compotastic up                   run a node on the radio that is attached\n  compotastic try \"two hikers lost near the col\"\n  compotastic model pull           get the larger teacher model"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole loop on a simulated mesh: offload, distil, push, answer locally
    Demo(cmds::demo::DemoArgs),
    /// Runs a node on a real mesh, until it is stopped
    Up(cmds::up::UpCommand),
    /// Makes swarms, invites to them, joins and leaves
    Swarm(SwarmArgs),
    /// Lists the nodes that the daemon knows
    Nodes(cli::nodes::NodesArgs),
    /// Asks the mesh: a class, an answer in words, or a vector
    Ask(cli::ask::AskArgs),
    /// Lists, shows and cancels jobs
    Job(cli::job::JobArgs),
    /// Says how the daemon, its links and its air are
    Status(cli::status::StatusArgs),
    /// Shows nodes, jobs, air, links and news of the daemon, live
    Top(cli::top::TopArgs),
    /// Says what is wrong with a link, and how to mend it
    Doctor(DoctorArgs),
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
    Plan(cmds::plan::PlanArgs),
    Push(cmds::push::PushArgs),
    /// Lists, pauses, resumes and withdraws what was pushed through the daemon
    Update(cli::update::UpdateArgs),
    /// Makes keys, delegates to edge nodes, and says whom to trust
    #[command(subcommand)]
    Key(cmds::key::KeyCommand),
    /// Simulates meshes: scenarios, validation, speed
    #[command(subcommand)]
    Sim(cmds::sim::SimCommand),
    /// Prints the completion for a shell
    Completions(cli::shell::CompletionsArgs),
    /// Prints the page of the manual, in roff
    Man(cli::shell::ManArgs),
}

/// What the standard library's panic says where nothing can be printed.
const UNPRINTED: &str = "failed printing to stdout: ";

/// Where standard output takes no more (a full disk), the program ends with an error like any other, and not with the panic of
/// `println!`: a bug it is not, and what was asked for was not told.
fn end_without_output() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>();
        match said.and_then(|said| said.strip_prefix(UNPRINTED)) {
            Some(why) => {
                // Which may be full, too.
                let _ = writeln!(std::io::stderr(), "error: cannot write to standard output: {why}");
                std::process::exit(1);
            }
            None => usual(info),
        }
    }));
}

fn main() -> ExitCode {
    // `compotastic ... | head` ends quietly, as other programs do.
    sigpipe::reset();
    end_without_output();
    let result = match Cli::parse().command {
        Command::Demo(args) => cmds::demo::run(args),
        Command::Up(args) => cmds::up::run(args),
        Command::Swarm(args) => compotastic_daemon::swarm::run(args),
        Command::Nodes(args) => cli::nodes::run(args),
        Command::Ask(args) => cli::ask::run(args),
        Command::Job(args) => cli::job::run(args),
        Command::Status(args) => cli::status::run(args),
        Command::Top(args) => cli::top::run(args),
        Command::Doctor(args) => compotastic_daemon::doctor::run(args),
        Command::Update(args) => cli::update::run(args),
        Command::Completions(args) => cli::shell::run_completions(&args, Cli::command()),
        Command::Man(args) => cli::shell::run_man(&args, Cli::command()),
        Command::Try(args) => cmds::try_text::run(&args),
        Command::Model(command) => cmds::model::run(command),
        Command::Bench(command) => cmds::bench::run(command),
        Command::Bundle(command) => cmds::bundle::run(command),
        Command::Plan(args) => cmds::plan::run(&args),
        Command::Push(args) => cmds::push::run(args),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as a shell would split them, up to a pipe or the description behind.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let (mut quote, mut spaces) = (None, 0);
        for letter in line.trim().chars() {
            match (quote, letter) {
                (None, '|' | '>' | '&') => break,
                (None, ' ') if spaces == 1 => break,
                (None, ' ') => spaces += 1,
                (None, '"' | '\'') => quote = Some(letter),
                (Some(open), letter) if letter == open => quote = None,
                (_, letter) => {
                    if std::mem::take(&mut spaces) > 0 {
                        words.push(String::new());
                    }
                    if let Some(word) = words.last_mut() {
                        word.push(letter);
                    }
                }
            }
        }
        words
    }

    fn check(command: &clap::Command, seen: &mut usize) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.trim_start().starts_with("compotastic ")) {
            let parsed = Cli::command().try_get_matches_from(words(line));
            assert!(
                parsed.is_ok(),
                "the help of `{}` says {line:?}: {}",
                command.get_name(),
                parsed.unwrap_err()
            );
            *seen += 1;
        }
        command.get_subcommands().for_each(|command| check(command, seen));
    }

    #[test]
    fn what_the_help_says_is_taken() {
        assert_eq!(
            words("  compotastic ask --kind chat \"a b\"    words"),
            ["compotastic", "ask", "--kind", "chat", "a b"]
        );
        let mut seen = 0;
        check(&Cli::command(), &mut seen);
        assert!(seen > 30, "{seen} examples");
    }
}
