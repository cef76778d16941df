//! `compotastic ask`: a question, and its way to the answer.

use std::{io::IsTerminal as _, sync::mpsc, time::Duration};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::{
    client::{ApiArgs, Client},
    job::{answer_text, kind_name, outcome, state_name},
    status::gate_text,
    table::{age, clean},
};
use crate::seam::{JobKind, JobPriority, JobSpec, JobState, JobView, Snapshot};

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
    let outcome = clean(&outcome(&job.state));
    eprintln!("{}", format!("job {}: {} {outcome}", job.id, state_name(&job.state)).trim_end());
}

/// What an open job waits for, as far as the daemon's state tells; none where the job itself says where it is.
fn waits_for(job: &JobView, state: &Snapshot) -> Option<String> {
    if job.state.is_final() || matches!(job.state, JobState::Running { by: Some(_) }) {
        return None;
    }
    if state.mode == "listening" {
        return Some(
            "nobody can be asked, since this node only listens: `compotastic status` says why".into(),
        );
    }
    let mut waits = Vec::new();
    if !state.links.is_empty() && state.links.iter().all(|link| link.state != "up") {
        waits.push("the link to the mesh is down".to_owned());
    }
    let members = state.nodes.iter().filter(|node| node.member);
    let able: Vec<&str> = members
        .clone()
        .filter(|node| node.answers.contains(&job.spec.kind))
        .map(|node| node.id.as_str())
        .collect();
    if able.is_empty() {
        let kind = kind_name(job.spec.kind);
        let until = match job.spec.deadline_s {
            Some(seconds) => format!("for {}", age(seconds.into())),
            None => "until its deadline".to_owned(),
        };
        waits.push(match members.count() {
            0 => format!(
                "no member of the swarm was heard yet; it looks for one that answers `{kind}` {until}"
            ),
            1 => {
                format!("the one member that was heard does not answer `{kind}`; it goes on looking {until}")
            }
            heard => format!(
                "none of the {heard} members that were heard answers `{kind}`; it goes on looking {until}"
            ),
        });
    }
    let gate = state.airtime.gate.as_str();
    let urgent = job.spec.priority == JobPriority::Urgent;
    if matches!(gate, "starting" | "hard" | "duty-cycle" | "lan-share") || gate == "quiet-hours" && !urgent {
        waits.push(format!("the gate holds it back ({})", gate_text(&state.airtime)));
    }
    if waits.is_empty() {
        waits.push(match job.state {
            JobState::Queued => "its turn".to_owned(),
            _ => format!("the answer of {}", clean(&able.join(" or "))),
        });
    }
    Some(waits.join("; "))
}

/// Tells what a job waits for, whenever that has changed.
struct Waiting {
    client: Client,
    job: JobView,
    told: String,
}

impl Waiting {
    fn tell(&mut self) {
        // A daemon that is restarted says nothing for a moment.
        let Ok(state) = self.client.get::<Snapshot>("/api/status") else { return };
        let Some(waits) = waits_for(&self.job, &state) else { return };
        if waits != self.told {
            eprintln!("job {}: waits: {waits}", self.job.id);
            self.told = waits;
        }
    }
}

/// Looks every few seconds until the other end of the channel is dropped; a job that comes over it is the one as it stands now.
fn tell_waits(client: Client, job: JobView) -> mpsc::Sender<JobView> {
    const LOOK: Duration = Duration::from_secs(3);
    let (news, changed) = mpsc::channel();
    let mut waiting = Waiting { client, job, told: String::new() };
    waiting.tell();
    std::thread::spawn(move || {
        loop {
            match changed.recv_timeout(LOOK) {
                Ok(job) => waiting.job = job,
                Err(mpsc::RecvTimeoutError::Timeout) => waiting.tell(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    news
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
    let news = (!args.json && !job.state.is_final()).then(|| tell_waits(client.clone(), job.clone()));
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
        if let Some(news) = &news {
            // The thread that listens ends with this function.
            let _ = news.send(job.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::{AirtimeView, NodeView};

    #[test]
    fn what_a_job_waits_for_is_told_in_words() {
        let job = |kind, deadline_s| JobView {
            id: 1,
            spec: JobSpec {
                kind,
                text: "?".into(),
                priority: JobPriority::Normal,
                deadline_s,
                max_chars: None,
            },
            submitted_ms: 0,
            state: JobState::Running { by: None },
        };
        let ask = job(JobKind::Classify, None);
        let mut state = Snapshot { mode: "hosted".into(), ..Snapshot::default() };
        let waits = |job: &JobView, state: &Snapshot| waits_for(job, state).unwrap_or_default();
        assert_eq!(
            waits(&ask, &state),
            "no member of the swarm was heard yet; it looks for one that answers `classify` until its deadline"
        );
        let edge = NodeView {
            id: "!0b000001".into(),
            member: true,
            answers: vec![JobKind::Classify],
            ..NodeView::default()
        };
        state.nodes = vec![edge, NodeView { member: true, ..NodeView::default() }, NodeView::default()];
        assert_eq!(waits(&ask, &state), "the answer of !0b000001");
        assert_eq!(
            waits(&job(JobKind::Chat, Some(600)), &state),
            "none of the 2 members that were heard answers `chat`; it goes on looking for 10 min"
        );
        state.airtime = AirtimeView { gate: "starting".into(), ..AirtimeView::default() };
        assert!(waits(&ask, &state).contains("first minute"), "{}", waits(&ask, &state));
        let mut urgent = ask.clone();
        urgent.spec.priority = JobPriority::Urgent;
        state.airtime.gate = "quiet-hours".into();
        assert_eq!(
            (waits(&ask, &state).contains("quiet hours"), waits(&urgent, &state).contains("quiet")),
            (true, false)
        );
        state.mode = "listening".into();
        assert!(waits(&ask, &state).contains("only listens"));
        let at = JobView { state: JobState::Running { by: Some(7) }, ..ask };
        assert_eq!(waits_for(&at, &state), None);
    }
}
