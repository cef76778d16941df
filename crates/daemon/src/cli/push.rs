//! `compotastic push` through a daemon on a live mesh: a bundle goes out, and one sees who has it.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
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
compotastic push v2.bundle --to class:1 --no-follow --json\n\nA node knows of others what their beacons tell, so news may be some minutes old. Later: compotastic update ls|pause|resume|withdraw"
)]
pub struct LivePushArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// The signed bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// For whom: class:N, or node:ID such as node:!0f000003, which ends when that node has it
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
    let file = fs::File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let mut bundle = Vec::new();
    file.take(BUNDLE_BYTES as u64 + 1)
        .read_to_end(&mut bundle)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    ensure!(
        bundle.len() <= BUNDLE_BYTES,
        "{} is longer than {BUNDLE_BYTES} bytes, too much for a mesh: `compotastic plan` says what a bundle costs",
        args.file.display()
    );
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

    fn tell(&self, what: &str, object: &ObjectView, new: &[u32], targets: Option<usize>) {
        if self.json {
            let seconds = self.start.elapsed().as_secs();
            println!("{}", json!({"event": what, "seconds": seconds, "new": new, "object": object}));
            return;
        }
        for num in new {
            let of = targets.map_or_else(String::new, |all| format!(" of {all} known members of the class"));
            self.line(&format!("{} has it: {} nodes{of}", self.name(*num), object.complete_at.len()));
        }
        if new.is_empty() {
            self.line(&format!(
                "{what}: {} version {}, {} bytes, tag {}",
                object.kind, object.version, object.bytes, object.tag
            ));
        }
    }
}

/// Runs `push` through the daemon.
pub fn run(args: LivePushArgs) -> Result<()> {
    let to = push_target(&args.to).map_err(|error| anyhow::anyhow!("--to {error}"))?;
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
    view.tell("published", &object, &[], targets);
    let Some(events) = events else { return Ok(()) };
    let mut has: BTreeSet<u32> = object.complete_at.iter().copied().collect();
    let complete = |has: &BTreeSet<u32>| match to {
        PushTarget::Node { num } => has.contains(&num),
        // Nodes of other classes may have it too: they pass it on.
        PushTarget::Class { .. } => {
            meant.as_ref().is_some_and(|meant| !meant.is_empty() && meant.is_subset(has))
        }
    };
    // The events are read on a thread of their own: a quiet mesh must not keep --for from ending.
    let (sender, news) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for data in events {
            if sender.send(data).is_err() {
                return;
            }
        }
    });
    let until = args.follow_s.map(|s| start + Duration::from_secs(s));
    while !complete(&has) {
        let patience =
            until.map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(Instant::now()));
        let data = match news.recv_timeout(patience) {
            Ok(data) => data,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                if until.is_some_and(|until| Instant::now() >= until) =>
            {
                bail!(
                    "{} nodes have it after {} s; the push goes on, `compotastic update ls` shows it",
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
        let new: Vec<u32> = next.complete_at.iter().copied().filter(|num| has.insert(*num)).collect();
        if !new.is_empty() {
            view.tell("progress", &next, &new, targets);
        }
    }
    if !args.json {
        view.line("complete");
    }
    Ok(())
}
