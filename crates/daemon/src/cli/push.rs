//! `compotastic push` through a daemon on a live mesh: a bundle goes out, and one sees who has it.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use compotastic_sim::files;
use serde_json::json;

use super::{
    client::{ApiArgs, Client, event},
    table::{clean, cut},
};
use crate::{
    http::push_target,
    seam::{Event, NodeView, ObjectView, PushTarget, Snapshot},
    store::BUNDLE_BYTES,
};

/// Publishes a signed bundle through the running daemon, and shows who has what
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic push zephyr.bin.bundle --to class:1\n  compotastic push v2.bundle --to 'node:!0f000003' --for 3600\n  \
compotastic push v2.bundle --to class:1 --no-follow --json\n\nA node knows of others what their beacons tell, so news may be some minutes old. Firmware is complete when it runs, and has passed its trial, on all that are \
meant. Later: compotastic update ls|pause|resume|withdraw"
)]
pub struct LivePushArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// The signed bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// For whom: class:N, or node:ID such as node:!0f000003, which ends when that node has it, or runs it where it is firmware
    #[arg(long, value_name = "WHOM")]
    pub to: String,
    /// Looks on for so many seconds; the push itself goes on without end
    #[arg(long = "for", value_name = "S")]
    pub follow_s: Option<u64>,
    /// Does not look on
    #[arg(long)]
    pub no_follow: bool,
    /// One JSON object per event
    #[arg(long)]
    pub json: bool,
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn read(args: &LivePushArgs) -> Result<Vec<u8>> {
    let bundle = files::read(&args.file, BUNDLE_BYTES as u64).map_err(|error| {
        let long = error.kind() == io::ErrorKind::FileTooLarge;
        let hint =
            if long { ", too much for a mesh: `compotastic plan` says what a bundle costs" } else { "" };
        anyhow!(error).context(format!("cannot read {}{hint}", args.file.display()))
    })?;
    ensure!(!bundle.is_empty(), "{} is empty", args.file.display());
    Ok(bundle)
}

struct View {
    json: bool,
    start: Instant,
    nodes: Vec<NodeView>,
}

impl View {
    fn name(&self, num: u32) -> String {
        let node = self.nodes.iter().find(|node| node.num == num);
        let name = node.map_or_else(String::new, |node| cut(&clean(&node.long_name), 32));
        if name.is_empty() { format!("!{num:08x}") } else { format!("!{num:08x} {name}") }
    }

    fn line(&self, text: &str) {
        let s = self.start.elapsed().as_secs();
        println!("{:>3}:{:02}:{:02}  {text}", s / 3600, s / 60 % 60, s % 60);
    }

    /// `has` and `runs` are the nodes that are new among those that have it or run it.
    fn tell(&self, what: &str, object: &ObjectView, [has, runs]: [&[u32]; 2], targets: Option<usize>) {
        if self.json {
            let seconds = self.start.elapsed().as_secs();
            let mut event = json!({"event": what, "seconds": seconds, "new": has, "object": object});
            if object.runs_at.is_some() {
                event["runs"] = json!(runs);
            }
            println!("{event}");
            return;
        }
        let of = targets.map_or_else(String::new, |all| format!(" of {all} known members of the class"));
        for num in has {
            self.line(&format!("{} has it: {} nodes{of}", self.name(*num), object.complete_at.len()));
        }
        for num in runs {
            let all = object.runs_at.iter().flatten().count();
            self.line(&format!("{} runs it: {all} nodes{of}", self.name(*num)));
        }
        if has.is_empty() && runs.is_empty() {
            self.line(&format!(
                "{what}: {} version {}, {} bytes, tag {}",
                object.kind, object.version, object.bytes, object.tag
            ));
        }
    }
}

/// The members of `now` that were not known before; they are from here on.
fn news(known: &mut BTreeSet<u32>, now: &[u32]) -> Vec<u32> {
    now.iter().copied().filter(|num| known.insert(*num)).collect()
}

/// Runs `push` through the daemon.
pub fn run(args: LivePushArgs) -> Result<()> {
    let to = push_target(&args.to).map_err(|error| anyhow!("--to {error}"))?;
    let bundle = read(&args)?;
    let client = Client::new(&args.api)?;
    let state: Snapshot = client.get("/api/status")?;
    let start = Instant::now();
    // Before it is published, so that nothing is missed.
    let events = if args.no_follow { None } else { Some(client.events("/api/events")?) };
    let object: ObjectView = client
        .post_bytes(&format!("/api/updates?to={}", encoded(&args.to)), "application/octet-stream", &bundle)
        .with_context(|| format!("{} is not pushed", args.file.display()))?;
    let meant: Option<BTreeSet<u32>> = match to {
        PushTarget::Class { class } => {
            let of_class = state.nodes.iter().filter(|node| node.member && node.device_class == Some(class));
            Some(of_class.map(|node| node.num).collect())
        }
        PushTarget::Node { .. } => None,
    };
    let targets = meant.as_ref().map(BTreeSet::len);
    let view = View { json: args.json, start, nodes: state.nodes };
    view.tell("published", &object, [&[], &[]], targets);
    if let (PushTarget::Node { num }, false) = (&to, args.json) {
        view.line(&format!(
            "complete when {} has it; others of the classes that it is signed for take it too",
            view.name(*num)
        ));
    }
    let Some(events) = events else { return Ok(()) };
    let firmware = object.runs_at.is_some();
    let mut has: BTreeSet<u32> = object.complete_at.iter().copied().collect();
    let mut runs: BTreeSet<u32> = object.runs_at.iter().flatten().copied().collect();
    let complete = |has: &BTreeSet<u32>| match to {
        PushTarget::Node { num } => has.contains(&num),
        // Nodes of other classes may have it too: they pass it on.
        PushTarget::Class { .. } => {
            meant.as_ref().is_some_and(|meant| !meant.is_empty() && meant.is_subset(has))
        }
    };
    // The events are read on a thread of their own: a quiet mesh must not keep --for from ending.
    let (sender, told) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for data in events {
            if sender.send(data).is_err() {
                return;
            }
        }
    });
    let until = args.follow_s.map(|s| start + Duration::from_secs(s));
    // Firmware that is only there is of no use yet.
    while !complete(if firmware { &runs } else { &has }) {
        let patience =
            until.map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(Instant::now()));
        let data = match told.recv_timeout(patience) {
            Ok(data) => data,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                if until.is_some_and(|until| Instant::now() >= until) =>
            {
                let run = if firmware { format!(" and {} run it", runs.len()) } else { String::new() };
                bail!(
                    "{} nodes have it{run} after {} s; the push goes on, `compotastic update ls` shows it",
                    has.len(),
                    start.elapsed().as_secs()
                )
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => continue,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                bail!("the daemon has ended; the push goes on when it is started again")
            }
        };
        let next = match event(data) {
            Some(Event::Object(next)) if next.tag == object.tag => next,
            Some(_) => continue,
            // Some were missed: the state tells all.
            None => {
                let all: Vec<ObjectView> = client.get("/api/updates")?;
                match all.into_iter().find(|next| next.tag == object.tag) {
                    Some(next) => next,
                    None => bail!("the object was withdrawn"),
                }
            }
        };
        let new = news(&mut has, &next.complete_at);
        let run = news(&mut runs, next.runs_at.as_deref().unwrap_or_default());
        if !new.is_empty() || !run.is_empty() {
            view.tell("progress", &next, [&new, &run], targets);
        }
    }
    if !args.json {
        view.line("complete");
    }
    Ok(())
}
