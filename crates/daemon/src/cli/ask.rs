//! `compotastic ask`: a question, and its way to the answer.

use std::io::IsTerminal as _;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::{
    client::{ApiArgs, Client},
    job::{answer_text, outcome, state_name},
    table::clean,
};
use crate::seam::{JobKind, JobPriority, JobSpec, JobState, JobView};

/// Asks the mesh: a class, an answer in words, or a vector
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic ask \"two hikers lost near the col\"\n  compotastic ask --kind chat \"how do I splint a broken arm?\"\n  \
compotastic ask --kind chat --priority high --deadline 120 --max-chars 200 \"which pass is open?\"\n  \
compotastic ask --no-wait \"bridge is out\"       prints the job's number"
)]
pub struct AskArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// What is asked
    #[arg(value_name = "TEXT", required = true, num_args = 1..)]
    pub text: Vec<String>,
    /// What the answer is: a class of the mission's task, words, or a vector
    #[arg(long, value_enum, default_value_t = Kind::Classify)]
    pub kind: Kind,
    /// Service order
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    pub priority: Priority,
    /// The job ends after so many seconds, with a reason
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub deadline: Option<u32>,
    /// Longest answer in words, characters
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_chars: Option<u16>,
    /// Does not wait for the answer
    #[arg(long)]
    pub no_wait: bool,
    /// One JSON object per step
    #[arg(long)]
    pub json: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// One class of the mission's task
    Classify,
    /// An answer in words
    Chat,
    /// A vector of numbers
    Embed,
}

/// Service order.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Priority {
    /// Whenever there is room
    Low,
    /// The usual one
    Normal,
    /// Before others
    High,
    /// A matter of life
    Urgent,
}

impl From<Kind> for JobKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classify => Self::Classify,
            Kind::Chat => Self::Chat,
            Kind::Embed => Self::Embed,
        }
    }
}

impl From<Priority> for JobPriority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
            Priority::Urgent => Self::Urgent,
        }
    }
}

fn progress(job: &JobView) {
    let outcome = match &job.state {
        JobState::Running { .. } => format!(" {}", clean(&outcome(&job.state))),
        _ => String::new(),
    };
    eprintln!("job {}: {}{outcome}", job.id, state_name(&job.state));
}

/// Runs `ask`. The answer is on standard output, all else on standard error.
pub fn run(args: AskArgs) -> Result<()> {
    let text = args.text.join(" ");
    ensure!(!text.trim().is_empty(), "the question is empty");
    let client = Client::new(&args.api)?;
    let spec = JobSpec {
        kind: args.kind.into(),
        text,
        priority: args.priority.into(),
        deadline_s: args.deadline,
        max_chars: args.max_chars,
    };
    let job: JobView = client.post("/api/jobs", &spec)?;
    if args.no_wait {
        if args.json {
            println!("{}", serde_json::to_string(&job)?);
        } else {
            println!("{}", job.id);
        }
        return Ok(());
    }
    if !args.json && std::io::stderr().is_terminal() {
        eprintln!("Ctrl-C leaves the job running; `compotastic job show {}` shows it then", job.id);
    }
    let mut failed = Ok(());
    let job = client.follow(job, |job| {
        if args.json {
            match serde_json::to_string(job) {
                Ok(line) => println!("{line}"),
                Err(error) => failed = Err(error),
            }
        } else if !job.state.is_final() {
            progress(job);
        }
    })?;
    failed?;
    match job.state {
        JobState::Done(answer) => {
            if !args.json {
                match &answer.embedding {
                    Some(vector) => println!("{}", serde_json::to_string(vector)?),
                    None => answer_text(&answer).lines().for_each(|line| println!("{}", clean(line))),
                }
                let frames = match answer.attempts {
                    0 => "answered here".to_string(),
                    n => format!("{n} frames of requests"),
                };
                let seconds = answer.latency_ms as f64 / 1000.0;
                eprintln!("by !{:08x} ({}) after {seconds:.1} s, {frames}", answer.by, clean(&answer.model));
            }
            Ok(())
        }
        JobState::Failed { reason } => bail!("job {} ended without an answer: {}", job.id, clean(&reason)),
        _ => bail!("job {} was cancelled", job.id),
    }
}
