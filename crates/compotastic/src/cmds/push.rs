//! `compotastic push`: a signed bundle goes to the nodes of a mesh, live or simulated, and one sees who has what.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_daemon::cli::{
    ApiArgs,
    push::{self as live, LivePushArgs},
};
use compotastic_sim::{
    scenario::{self, Canary, Package, PushEvent, PushOrder, PushReport, PushRow, Scenario, Target},
    swarm::Trusted,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{
    bundle::{fields::class_numbers, loaded, verify},
    classes::ClassFile,
    key::TrustPath,
    sim::base,
};

/// Most rows of the view on a terminal: what does not fit is summed up.
const ROWS: usize = 40;

/// Options of `push`.
#[derive(Args)]
#[command(
    about = "Pushes a signed bundle to the nodes of the mesh, live or simulated, and shows who has what",
    long_about = "Pushes a signed bundle to the nodes of a mesh, and shows who has what.\n\n\
The mesh is the running daemon's; with --scenario it is a simulated one. Both ways all nodes take the bundle by themselves, hop by hop.\n\n\
Through the daemon: what is published stays so until it is withdrawn (`compotastic update`). A node knows of others what their beacons tell, so the view \
may be some minutes behind.\n\n\
A bundle is signed for device classes, not for nodes: --to node:ID says whose having it completes the push, and all other nodes of the classes that it is \
signed for take it too. A class may be named where the name is known: by [classes] of the scenario, or of the file of --classes.\n\n\
In a scenario: its edge node (or, without one, the first node of ours) publishes; the view of all nodes is the simulator's.\n\n\
Pause and cancel happen at the publisher: it stops offering and serving. Nodes that hold the whole, or a whole generation, go on passing that on, \
and who holds the whole goes on to run it; the publisher itself does not.\n\n\
Canaries are a device class of their own (`class = 2` in the scenario; the edge node is of it too). The candidate is a bundle signed for that class \
alone, with a lower version, so no other node takes it.\n\n\
Firmware in a scenario is not only carried: each node makes the new image out of its own, restarts, and runs it on trial before it confirms. The push is \
complete when it runs on all nodes that are meant; `runs` is what the bytes in their flash say, not what they tell. For a delta, --running names what they run before.",
    after_help = "Examples:\n  compotastic push zephyr.bin.bundle --to class:1\n  compotastic push zephyr.bin.bundle --to class:1 --scenario scenarios/valley-sar.toml\n  \
compotastic push zephyr.bin.bundle --to class:gauge --classes classes.toml\n  \
compotastic push zephyr.bin.bundle --to class:1 --scenario mesh.toml --cancel-at 30\n  \
compotastic push zephyr.bin.bundle --to class:1 --scenario mesh.toml --pause-at 30 --resume-at 90\n  \
compotastic push 11-12.bundle --to class:1 --scenario mesh.toml --running app-11.bin.bundle --cut '!0f000003@5'\n  \
compotastic push v2.bundle --to class:1 --scenario mesh.toml --canary v2-rc.bundle --soak 240 --max-failures 1\n  \
compotastic push zephyr.bin.bundle --to 'node:!0f000003' --scenario mesh.toml --json\n\nBefore: compotastic plan FILE --scenario SCENARIO says what it will cost"
)]
pub struct PushArgs {
    /// The signed bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// For whom: class:N or class:NAME, or node:ID (a number such as !0f000003, or a name of the scenario), which ends when that node has it; others of
    /// its class take it too
    #[arg(long, value_name = "WHOM")]
    to: Whom,
    #[command(flatten)]
    classes: ClassFile,
    /// Where the daemon is
    #[command(flatten)]
    api: ApiArgs,
    /// Looks on for so many seconds; the push itself goes on without end
    #[arg(long = "for", value_name = "S", conflicts_with = "scenario")]
    follow_s: Option<u64>,
    /// Does not look on
    #[arg(long, conflicts_with = "scenario")]
    no_follow: bool,
    /// A simulated mesh instead of the daemon's
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<PathBuf>,
    /// Whom the nodes believe, beside the simulation's own operator
    #[command(flatten)]
    trust: TrustPath,
    /// Goes first, to the device class that it is signed for
    #[arg(long, value_name = "BUNDLE", requires = "scenario")]
    canary: Option<PathBuf>,
    /// Canaries that do not hold the candidate so many minutes after it was published have failed
    #[arg(long, value_name = "MIN", default_value_t = 240.0, requires = "canary")]
    soak: f64,
    /// With more failed canaries than this, the roll-out is halted
    #[arg(long, value_name = "N", default_value_t = 0, requires = "canary")]
    max_failures: usize,
    /// The publisher holds it back from here on, simulated minutes after it was published
    #[arg(long, value_name = "MIN", requires = "scenario")]
    pause_at: Option<f64>,
    /// And lets it go on
    #[arg(long, value_name = "MIN", requires = "pause_at")]
    resume_at: Option<f64>,
    /// The publisher gives it up
    #[arg(long, value_name = "MIN", requires = "scenario")]
    cancel_at: Option<f64>,
    /// Firmware that nodes run before: the signed bundle of the whole image, which a delta was made against
    #[arg(long, value_name = "BUNDLE", requires = "scenario")]
    running: Option<PathBuf>,
    /// Power fails at a node in its next flash operation after so many minutes, and comes back a minute later; may be repeated
    #[arg(long, value_name = "NODE@MIN", requires = "scenario")]
    cut: Vec<Cut>,
    /// Gives up after so many simulated hours
    #[arg(long, value_name = "H", default_value_t = 72.0, requires = "scenario")]
    hours: f64,
    /// The mesh runs for so many simulated hours before, so that nodes know each other
    #[arg(long, value_name = "H", default_value_t = 6.0, requires = "scenario")]
    warm_up: f64,
    /// Seed of all luck
    #[arg(long, default_value_t = 1, requires = "scenario")]
    seed: u64,
    /// One JSON object per event, then one with the outcome
    #[arg(long)]
    json: bool,
}

/// The value of `--to`.
#[derive(Clone, Debug)]
enum Whom {
    /// A class, by number or name.
    Class(String),
    /// A node, by number or name.
    Node(String),
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("class", class)) if !class.is_empty() => Ok(Self::Class(class.to_string())),
            Some(("node", name)) if !name.is_empty() => Ok(Self::Node(name.to_string())),
            _ => Err("neither class:N nor node:ID; N is a number, 0 to 31, or a name".to_string()),
        }
    }
}

/// The value of `--cut`: a node, and minutes.
#[derive(Clone, Debug)]
struct Cut(String, f64);

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, min) = text.rsplit_once('@').ok_or("write NODE@MIN, such as !0f000003@12")?;
        match min.parse() {
            Ok(min) if (0.0..1e6).contains(&min) && !node.is_empty() => Ok(Self(node.to_string(), min)),
            _ => Err(format!("{min} is no number of minutes")),
        }
    }
}

/// Reads a bundle with its content, and whether it is to be believed.
fn read(path: &Path, trust: &TrustPath) -> Result<Package> {
    let bundle = loaded::load(path)?;
    verify::check(&bundle, trust).with_context(|| format!("{} is not to be believed", path.display()))?;
    package(path, bundle)
}

/// A bundle's parts.
pub fn package(path: &Path, bundle: loaded::Loaded) -> Result<Package> {
    let content = bundle
        .content
        .ok_or_else(|| anyhow!("{} is a bare manifest: its content has to be in it", path.display()))?;
    Ok(Package { claimed: bundle.claimed, delegation: bundle.delegation, content })
}

/// Reads the scenario.
pub fn read_scenario(path: &Path) -> Result<Scenario> {
    Scenario::load(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// What has happened, in words.
pub fn text(event: PushEvent) -> &'static str {
    match event {
        PushEvent::CanaryPublished => "candidate published",
        PushEvent::CanaryPassed => "canaries passed",
        PushEvent::Halted => "halted: too many canaries failed",
        PushEvent::Published => "published",
        PushEvent::Paused => "paused at the publisher",
        PushEvent::Resumed => "goes on",
        PushEvent::Cancelled => "cancelled at the publisher",
        PushEvent::Progress => "progress",
        PushEvent::Complete => "complete",
        PushEvent::TimedOut => "time is up",
        PushEvent::Still => "nothing happens any more",
    }
}

fn clock(min: f64) -> String {
    format!("{:>3}:{:02}", min as u64 / 60, min as u64 % 60)
}

fn mean(rows: &[PushRow]) -> u64 {
    let targets = || rows.iter().filter(|row| row.target);
    targets().map(|row| u64::from(row.percent)).sum::<u64>() / targets().count().max(1) as u64
}

/// What is shown while it runs.
enum View {
    Json,
    /// The share that was told last.
    Lines(u64),
    Terminal(MultiProgress, Vec<ProgressBar>),
}

impl View {
    fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            Self::Terminal(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), Vec::new())
        } else {
            Self::Lines(0)
        }
    }

    fn tell(&mut self, event: PushEvent, min: f64, rows: &[PushRow]) {
        match self {
            Self::Json => println!("{}", json!({ "event": event, "minutes": min, "nodes": rows })),
            Self::Lines(told) => {
                let share = mean(rows);
                let news = event != PushEvent::Progress || share >= *told + 5 || share < *told;
                if news {
                    *told = share;
                    let firmware = rows.iter().any(|row| row.runs.is_some());
                    let done = |row: &&PushRow| if firmware { row.runs_min } else { row.done_min }.is_some();
                    let done = rows.iter().filter(|row| row.target).filter(done).count();
                    let all = rows.iter().filter(|row| row.target).count();
                    println!("{}  {:<34} {share:>3} %  {done} of {all} nodes", clock(min), text(event));
                }
            }
            Self::Terminal(all, bars) => {
                if bars.is_empty() {
                    let style = ProgressStyle::with_template("{prefix:24!} {bar:30} {pos:>3} %  {msg}");
                    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                    for row in rows.iter().take(ROWS) {
                        let bar = all.add(ProgressBar::new(100).with_style(style.clone()));
                        bar.set_prefix(format!("{} {}", row.id, row.node));
                        bars.push(bar);
                    }
                }
                if event != PushEvent::Progress {
                    let _ = all.println(format!("{}  {}", clock(min), text(event)));
                }
                for (bar, row) in bars.iter().zip(rows) {
                    bar.set_position(u64::from(row.percent));
                    let version = row.version.map_or("-".to_string(), |version| version.to_string());
                    let after = |what: &str, min: Option<f64>| {
                        min.map_or(String::new(), |min| format!(", {what} after {}", clock(min).trim()))
                    };
                    let (done, runs) = (after("done", row.done_min), after("runs it", row.runs_min));
                    bar.set_message(format!("version {version}{done}{runs}"));
                }
            }
        }
    }
}

fn print(report: &PushReport) {
    let firmware = report.rows.iter().any(|row| row.runs.is_some());
    let head = if firmware { "done, runs after" } else { "done after" };
    println!("\n{:<10} {:<20} {:>5} {:>5} {:>8}  {head}", "node", "name", "class", "has", "version");
    for row in &report.rows {
        let version = row.version.map_or("-".to_string(), |version| version.to_string());
        let done = match row.done_min {
            _ if row.publishes => "publishes".to_string(),
            Some(min) => clock(min).trim().to_string(),
            None if row.target => "-".to_string(),
            None => "not meant".to_string(),
        };
        let runs = match row.runs_min {
            Some(min) => format!(", runs {}", clock(min).trim()),
            None if firmware && row.target => ", does not run it".to_string(),
            None => String::new(),
        };
        let restarts = if row.restarts > 1 { format!(", {} restarts", row.restarts) } else { String::new() };
        println!(
            "{:<10} {:<20} {:>5} {:>3} % {version:>8}  {done}{runs}{restarts}",
            row.id, row.node, row.class, row.percent
        );
    }
    let sent = &report.sent;
    println!(
        "\n{}: {} of {} nodes after {:.1} h; {} packets ({} symbols, {} beacons), {:.0} s of air, {:.1} mWh for sending",
        text(report.end),
        report.done,
        report.targets,
        report.hours,
        sent.packets,
        sent.symbols,
        sent.beacons,
        sent.airtime_s,
        sent.energy_mwh
    );
}

/// Runs `push`: through the daemon, or in a scenario.
pub fn run(args: PushArgs) -> Result<()> {
    match &args.scenario {
        Some(path) => simulate(&args, path),
        None => live::run(LivePushArgs {
            to: match &args.to {
                Whom::Class(class) => format!("class:{}", args.classes.number(class, None)?),
                Whom::Node(name) => format!("node:{name}"),
            },
            api: args.api,
            file: args.file,
            follow_s: args.follow_s,
            no_follow: args.no_follow,
            json: args.json,
        }),
    }
}

fn simulate(args: &PushArgs, path: &Path) -> Result<()> {
    let times = [args.pause_at, args.resume_at, args.cancel_at, Some(args.soak), Some(args.warm_up)];
    ensure!(
        times.iter().flatten().all(|time| (0.0..1e6).contains(time)),
        "times are 0 or more, in minutes or hours"
    );
    ensure!(args.hours > 0.0 && args.hours + args.warm_up <= 8760.0, "--hours is between 0 and a year");
    if let (Some(pause), Some(resume)) = (args.pause_at, args.resume_at) {
        ensure!(pause < resume, "--resume-at {resume} is not after --pause-at {pause}");
    }
    ensure!(
        !args.api.is_given(),
        "--api and --token-file are for the daemon's mesh; --scenario simulates one"
    );
    let scenario = read_scenario(path)?;
    let to = match &args.to {
        Whom::Class(class) => Target::Class(args.classes.number(class, Some(&scenario.class_names))?),
        Whom::Node(name) => Target::Node(name.clone()),
    };
    let trusted = args.trust.read()?;
    let package = read(&args.file, &args.trust)?;
    let canary = args.canary.as_ref().map(|path| -> Result<Canary> {
        let package = read(path, &args.trust)?;
        Ok(Canary { package, soak_min: args.soak, max_failures: args.max_failures })
    });
    let running = args.running.as_ref().map(|path| read(path, &args.trust));
    let trust = Trusted { roots: trusted.roots().to_vec(), records: trusted.records().to_vec() };
    let order = PushOrder {
        running: running.transpose()?,
        cuts: args.cut.iter().map(|Cut(node, min)| (node.clone(), *min)).collect(),
        canary: canary.transpose()?,
        pause_min: args.pause_at,
        resume_min: args.resume_at,
        cancel_min: args.cancel_at,
        warm_up_h: args.warm_up,
        limit_h: args.hours,
        ..PushOrder::new(package, to, trust)
    };
    if let (Whom::Node(name), false) = (&args.to, args.json) {
        let classes: Vec<String> =
            class_numbers(order.package.claimed.claims().classes).iter().map(u8::to_string).collect();
        println!(
            "complete when {name} has it; all other nodes of class {} take it too, since bundles are signed for classes",
            classes.join(" and ")
        );
    }
    let mut view = View::new(args.json);
    let report = scenario::push(&scenario, args.seed.into(), base()?, &order, |event, min, rows| {
        view.tell(event, min, rows);
        true
    })
    .map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    if let View::Terminal(all, _) = &view {
        let _ = all.clear();
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    match report.end {
        PushEvent::Halted => bail!("halted: more than {} canaries failed", args.max_failures),
        PushEvent::TimedOut => bail!(
            "{} of {} nodes have it{} after {} h; --hours gives it more time, and `compotastic plan` says how much it needs",
            report.done,
            report.targets,
            if report.rows.iter().any(|row| row.runs.is_some()) { " and run it" } else { "" },
            args.hours
        ),
        _ => Ok(()),
    }
}
