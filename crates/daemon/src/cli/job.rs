//! `compotastic job`: what was asked, and what became of it.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use super::{
    client::{ApiArgs, Client},
    table::{Align, age, clean, cut, table},
};
use crate::{
    http::now_ms,
    seam::{JobAnswer, JobKind, JobPriority, JobState, JobView},
};

/// Lists, shows and cancels jobs of this node
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic job ls --state open\n  compotastic job show 12\n  compotastic job cancel 12"
)]
pub struct JobArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// What to do
    #[command(subcommand)]
    pub command: JobCommand,
}

/// What to do with jobs.
#[derive(Clone, Debug, Subcommand)]
pub enum JobCommand {
    /// Lists jobs, newest first
    Ls {
        /// Only those in this state
        #[arg(long, value_enum, default_value_t = ListState::All)]
        state: ListState,
        /// Most rows
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Shows one job
    Show {
        /// Its number
        job: u64,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Takes a job back
    Cancel {
        /// Its number
        job: u64,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// State of the jobs that are listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListState {
    /// All of them
    All,
    /// Queued or running
    Open,
    /// Waiting for their turn
    Queued,
    /// Asked somewhere
    Running,
    /// Answered
    Done,
    /// Ended without an answer
    Failed,
    /// Taken back
    Cancelled,
}

/// Name of a state.
pub(super) fn state_name(state: &JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running { .. } => "running",
        JobState::Done(_) => "done",
        JobState::Failed { .. } => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// Name of a kind.
pub(super) fn kind_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Classify => "classify",
        JobKind::Chat => "chat",
        JobKind::Embed => "embed",
    }
}

fn priority_name(priority: JobPriority) -> &'static str {
    match priority {
        JobPriority::Low => "low",
        JobPriority::Normal => "normal",
        JobPriority::High => "high",
        JobPriority::Urgent => "urgent",
    }
}

/// An answer in a line.
pub(super) fn answer_text(answer: &JobAnswer) -> String {
    match (&answer.class, &answer.text, &answer.embedding) {
        (Some(class), _, _) => match answer.confidence {
            Some(confidence) => format!("{class} ({:.0} %)", confidence * 100.0),
            None => class.clone(),
        },
        (_, Some(text), _) => text.clone(),
        (_, _, Some(vector)) => format!("{} numbers", vector.len()),
        _ => "-".to_string(),
    }
}

/// What became of a job, in a line.
pub(super) fn outcome(state: &JobState) -> String {
    match state {
        JobState::Done(answer) => answer_text(answer),
        JobState::Failed { reason } => reason.clone(),
        JobState::Running { by: Some(by) } => format!("at !{by:08x}"),
        _ => String::new(),
    }
}

fn list(jobs: &[JobView]) -> String {
    use Align::{Left, Right};
    let now = now_ms();
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            vec![
                job.id.to_string(),
                kind_name(job.spec.kind).to_string(),
                priority_name(job.spec.priority).to_string(),
                age(now.saturating_sub(job.submitted_ms) / 1000),
                state_name(&job.state).to_string(),
                cut(&clean(&job.spec.text), 32),
                cut(&clean(&outcome(&job.state)), 40),
            ]
        })
        .collect();
    let columns = [
        ("job", Right),
        ("kind", Left),
        ("priority", Left),
        ("age", Right),
        ("state", Left),
        ("question", Left),
        ("outcome", Left),
    ];
    table(&columns, &rows)
}

fn show(job: &JobView) -> String {
    let mut lines = vec![
        format!("job        {}", job.id),
        format!("kind       {}, {}", kind_name(job.spec.kind), priority_name(job.spec.priority)),
        format!("question   {}", clean(&job.spec.text)),
        format!("age        {}", age(now_ms().saturating_sub(job.submitted_ms) / 1000)),
        format!("state      {}", state_name(&job.state)),
    ];
    match &job.state {
        JobState::Done(answer) => {
            lines.push(format!("answer     {}", clean(&answer_text(answer))));
            lines.push(format!("by         !{:08x}, {}", answer.by, clean(&answer.model)));
            let frames = match answer.attempts {
                0 => "answered here".to_string(),
                n => format!("{n} frames of requests"),
            };
            lines.push(format!("took       {:.1} s, {frames}", answer.latency_ms as f64 / 1000.0));
        }
        JobState::Failed { reason } => lines.push(format!("because    {}", clean(reason))),
        JobState::Running { by: Some(by) } => lines.push(format!("at         !{by:08x}")),
        _ => {}
    }
    lines.join("\n") + "\n"
}

/// Runs `job`.
pub fn run(args: JobArgs) -> Result<()> {
    let client = Client::new(&args.api)?;
    let one = |job: JobView, json: bool| -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(&job)?);
        } else {
            print!("{}", show(&job));
        }
        Ok(())
    };
    match args.command {
        JobCommand::Ls { state, limit, json } => {
            let state =
                state.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string());
            let jobs: Vec<JobView> = client.get(&format!("/api/jobs?state={state}&limit={limit}"))?;
            if json {
                println!("{}", serde_json::to_string_pretty(&jobs)?);
            } else if jobs.is_empty() {
                println!("No such jobs. `compotastic ask TEXT` submits one.");
            } else {
                print!("{}", list(&jobs));
            }
            Ok(())
        }
        JobCommand::Show { job, json } => one(client.get(&format!("/api/jobs/{job}"))?, json),
        JobCommand::Cancel { job, json } => {
            client.delete(&format!("/api/jobs/{job}"))?;
            one(client.get(&format!("/api/jobs/{job}"))?, json)
        }
    }
}
