//! `compotastic plan`: what a push will cost, before anything is sent.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{ArgGroup, Args};
use compotastic_daemon::{
    cli::{
        ApiArgs, Client,
        mesh::{LiveMesh, Wanted, live_mesh},
        output,
    },
    seam::Snapshot,
};
use compotastic_sim::{
    plan::{self, Basis, Plan, PlanOrder, Range, Rehearse, STILL_H, Way, WayName},
    scenario::{self, Package, PushEvent, PushOrder, Scenario, Sent, Target},
    swarm::Trusted,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    bundle::{loaded, verify},
    classes::ClassFile,
    key::TrustPath,
    push::{package, read_scenario, text},
    sim::base,
};

/// So often a line says how far the rehearsals are.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Options of `plan`.
#[derive(Args)]
#[command(
    about = "Predicts what a push will cost on each way, before anything is sent",
    group = ArgGroup::new("mesh").required(true).args(["scenario", "live"]),
    long_about = "Predicts packets, air time, energy and hours of each way in which a bundle can travel through a scenario's mesh: over the mesh, by Bluetooth \
from somebody who walks by, or both. Nothing is sent. The push is rehearsed in the simulator, 12 to 48 times on the same mesh under other luck: the \
figures are means, and eight of ten runs lie in the range beside them. --quick reckons by formulas instead, which may be off by half.\n\n\
The mesh is that of a scenario, or with --live the one that the running daemon knows: its own neighbours with their signal, by their beacons whom \
those hear, and of what lies farther the hops. What has to be assumed beyond that is said, and --write keeps it as a scenario, to be looked at and mended.\n\n\
It ends with status 1 if the mesh alone takes longer than --within, or does not reach all nodes.",
    after_help = "Examples:\n  compotastic plan zephyr.bin.bundle --scenario scenarios/valley-sar.toml\n  \
compotastic plan zephyr.bin.bundle --scenario mesh.toml --check --trust ./trust\n  \
compotastic plan zephyr.bin.bundle --scenario mesh.toml --within 12 --json | jq .plan.ways\n  \
compotastic plan zephyr.bin.bundle --live --write mesh.toml"
)]
pub struct PlanArgs {
    /// The bundle, signed or not
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The mesh
    #[arg(long, value_name = "SCENARIO", conflicts_with_all = ["loss", "apart", "write"])]
    scenario: Option<PathBuf>,
    /// The mesh as the running daemon knows it
    #[arg(long, conflicts_with = "check")]
    live: bool,
    /// Where the daemon is
    #[command(flatten)]
    api: ApiArgs,
    /// Loss per transmission and receiver, 0 to 0.9, which no node measures
    #[arg(long, value_name = "P", requires = "live", default_value_t = 0.05)]
    loss: f64,
    /// From node to node for the carrier, m, since the daemon knows no places
    #[arg(long, value_name = "M", requires = "live", default_value_t = 1000.0)]
    apart: f64,
    /// Writes the mesh as a scenario
    #[arg(long, value_name = "FILE", requires = "live")]
    write: Option<PathBuf>,
    /// Only for this device class, by number or name [default: all that the bundle is for]
    #[arg(long, value_name = "N")]
    class: Option<String>,
    #[command(flatten)]
    classes: ClassFile,
    /// A way that takes longer is refused, hours
    #[arg(long, value_name = "H", default_value_t = 24.0)]
    within: f64,
    /// Speed of the carrier, m/s
    #[arg(long, value_name = "M/S", default_value_t = 1.2)]
    walk: f64,
    /// Rehearses so many times [default: 12 to 48, until the means are known to 5 %]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    runs: Option<u16>,
    /// Does not rehearse: by formulas, at once and roughly
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// Runs the simulation too, and prints the ratio of prediction to outcome; the bundle must be signed
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    trust: TrustPath,
    /// Seed of all luck, and of places that are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const fn name(way: WayName) -> &'static str {
    match way {
        WayName::Mesh => "broadcast over the mesh",
        WayName::Carrier => "Bluetooth, a carrier on foot",
        WayName::Both => "both",
    }
}

/// A mean with its range.
fn figure(mean: f64, range: Option<Range>, digits: usize) -> String {
    match range {
        Some(Range { low, high }) => format!("{mean:.digits$} ({low:.digits$}-{high:.digits$})"),
        None => format!("{mean:.digits$}"),
    }
}

/// Hours in the unit in which they say something: minutes, where hours would be 0.0.
fn span(hours: f64, range: Option<Range>) -> String {
    if hours >= 0.1 {
        return figure(hours, range, 1);
    }
    let min = |hours: f64| hours * 60.0;
    figure(min(hours), range.map(|Range { low, high }| Range { low: min(low), high: min(high) }), 1) + " min"
}

/// The same as a length of time.
fn lasting(hours: f64) -> String {
    if hours >= 0.1 { format!("{hours:.1} h") } else { span(hours, None) }
}

fn basis(way: &Way) -> String {
    let missed = way.rehearsals - way.complete;
    match way.basis {
        Basis::Formula => "reckoned".to_string(),
        Basis::Rehearsal if missed == 0 => format!("rehearsed {} times", way.rehearsals),
        Basis::Rehearsal => format!("rehearsed {} times; {missed} did not reach all", way.rehearsals),
    }
}

fn print(plan: &Plan) {
    println!(
        "{} bytes, {} pieces in {} generations, to {} nodes; about {} of them will send it at {:.1} % mean loss\n\
         a symbol takes {:.2} s of air, and bulk gets {:.0} % of it\n",
        plan.bytes,
        plan.pieces,
        plan.generations,
        plan.nodes,
        plan.servers,
        plan.loss * 100.0,
        plan.symbol_s,
        plan.share * 100.0
    );
    println!(
        "{:<29} {:>7} {:>18} {:>18} {:>18} {:>18}",
        "way", "reaches", "packets", "air, s", "energy, mWh", "hours"
    );
    for way in &plan.ways {
        let range = way.range.as_ref();
        println!(
            "{:<29} {:>3}/{:<3} {:>18} {:>18} {:>18} {:>18}{}\n  {}",
            name(way.way),
            way.reaches,
            plan.nodes,
            figure(way.packets, range.map(|range| range.packets), 0),
            figure(way.airtime_s, range.map(|range| range.airtime_s), 0),
            figure(way.energy_mwh, range.map(|range| range.energy_mwh), 1),
            span(way.hours, range.map(|range| range.hours)),
            if way.fits { "" } else { "  refused" },
            basis(way)
        );
    }
    if plan.ways.iter().any(|way| way.range.is_some()) {
        println!("\nMeans; in brackets where eight of ten runs lie.");
    }
    if !plan.landings.is_empty() {
        let landings: Vec<String> =
            plan.landings.iter().map(|(name, hours)| format!("{name} after {}", lasting(*hours))).collect();
        println!("\nOn the way of both the carrier comes to {}.", landings.join(", "));
    }
    if plan.movers > 0 {
        let rehearsed = plan.ways.iter().any(|way| way.basis == Basis::Rehearsal);
        println!(
            "\n{} nodes move; {}",
            plan.movers,
            if rehearsed {
                "rehearsals move them, on other ways each time where these are drawn"
            } else {
                "they are planned where they begin, so the outcome may be quite another"
            }
        );
    }
}

/// What is shown while it is rehearsed: a bar, or lines where nobody looks at a terminal.
struct Rehearsing {
    bar: ProgressBar,
    begun: Instant,
    told: Option<Instant>,
}

impl Rehearsing {
    fn new(quick: bool) -> Result<Self> {
        if quick {
            return Ok(Self { bar: ProgressBar::hidden(), begun: Instant::now(), told: None });
        }
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template(
            "rehearsing {bar:30} {pos} of {len} at most, {elapsed}; --quick reckons at once",
        )?);
        // One rehearsal of a large mesh takes long: the clock shows that it goes on.
        bar.enable_steady_tick(Duration::from_secs(1));
        Ok(Self { bar, begun: Instant::now(), told: None })
    }

    fn tell(&mut self, done: usize, most: usize) {
        self.bar.set_length(most as u64);
        self.bar.set_position(done as u64);
        if self.bar.is_hidden() && self.told.is_none_or(|told| told.elapsed() >= LINE_EVERY) {
            let s = self.begun.elapsed().as_secs();
            let hint = if self.told.is_none() { "; --quick reckons at once" } else { "" };
            eprintln!("rehearsing: {done} of {most} at most, {s} s{hint}");
            self.told = Some(Instant::now());
        }
    }
}

/// What came of it, when it was run.
struct Outcome {
    sent: Sent,
    hours: f64,
    end: PushEvent,
}

/// A figure: its name, what was predicted with its range, and what came of it.
type Checked = (&'static str, f64, Option<Range>, f64);

fn check(
    args: &PlanArgs,
    scenario: &Scenario,
    package: &Package,
    class: Option<u8>,
    mesh: &Way,
) -> Result<Outcome> {
    let trusted = args.trust.read()?;
    let trust = Trusted { roots: trusted.roots().to_vec(), records: trusted.records().to_vec() };
    let order = PushOrder {
        // The plan is about what crosses the air.
        kept: true,
        limit_h: (mesh.hours * 10.0).clamp(48.0, 2000.0),
        still_h: Some(STILL_H),
        ..PushOrder::new(package.clone(), class.map_or(Target::All, Target::Class), trust)
    };
    let report = scenario::push(scenario, args.seed.into(), base()?, &order, |_, _, _| true)
        .map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    Ok(Outcome { sent: report.sent, hours: report.hours, end: report.end })
}

/// The mesh of the running daemon.
fn live(args: &PlanArgs, package: &Package, class: Option<u8>) -> Result<(Scenario, LiveMesh)> {
    ensure!((0.0..=0.9).contains(&args.loss), "--loss {} is not between 0 and 0.9", args.loss);
    ensure!((1.0..=1e5).contains(&args.apart), "--apart {} is not between 1 and 100000 m", args.apart);
    let classes = package.claimed.claims().classes;
    let class = match class {
        Some(class) => class,
        None => {
            (0..32).find(|class| classes.contains(*class)).context("the bundle is for no device class")?
        }
    };
    let snapshot: Snapshot = Client::new(&args.api)?.get("/api/status")?;
    let mesh = live_mesh(&snapshot, &Wanted { class, loss: args.loss, apart_m: args.apart })?;
    let scenario = Scenario::parse(&mesh.toml)
        .map_err(|error| anyhow!("what the daemon tells makes no mesh: {error}"))?;
    if let Some(path) = &args.write {
        output::write(path, mesh.toml.as_bytes(), [args.file.as_path()])?;
    }
    Ok((scenario, mesh))
}

/// Runs `plan`.
pub fn run(args: &PlanArgs) -> Result<()> {
    ensure!(args.within > 0.0 && args.walk > 0.0, "--within and --walk are more than 0");
    ensure!(args.live || !args.api.is_given(), "--api and --token-file are for the daemon's mesh: --live");
    let bundle = loaded::load(&args.file)?;
    if args.check {
        verify::check(&bundle, &args.trust)?;
    }
    let package = package(&args.file, bundle)?;
    let given = args.scenario.as_deref().map(read_scenario).transpose()?;
    let names = given.as_ref().map(|scenario| &scenario.class_names);
    let class = args.class.as_deref().map(|class| args.classes.number(class, names)).transpose()?;
    let (scenario, mesh) = match given {
        Some(scenario) => (scenario, None),
        None => live(args, &package, class).map(|(scenario, mesh)| (scenario, Some(mesh)))?,
    };
    let assumed = mesh.map(|mesh| mesh.assumed);
    let rehearse = match args.quick {
        true => None,
        false => Some(Rehearse { base: base()?, times: args.runs.map(usize::from), threads: None }),
    };
    let order = PlanOrder { class, within_h: args.within, walk_m_s: args.walk, rehearse };
    let mut view = Rehearsing::new(args.quick)?;
    let plan = plan::plan(&scenario, args.seed, &package, &order, |done, most| view.tell(done, most));
    view.bar.finish_and_clear();
    let plan = plan.map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    let mesh = plan.way(WayName::Mesh).ok_or_else(|| anyhow!("no way over the mesh"))?;
    let outcome = args.check.then(|| check(args, &scenario, &package, class, mesh)).transpose()?;
    let ratios = outcome.as_ref().map(|outcome| {
        let range = mesh.range;
        [
            ("packets", mesh.packets, range.map(|range| range.packets), outcome.sent.packets as f64),
            ("air time, s", mesh.airtime_s, range.map(|range| range.airtime_s), outcome.sent.airtime_s),
            ("energy, mWh", mesh.energy_mwh, range.map(|range| range.energy_mwh), outcome.sent.energy_mwh),
            ("hours", mesh.hours, range.map(|range| range.hours), outcome.hours),
        ]
    });
    if args.json {
        let rows = ratios.map(|ratios| {
            let row = |(what, predicted, range, was): Checked| {
                let in_range = range.map(|range| range.holds(was));
                json!({ "what": what, "predicted": predicted, "outcome": was, "ratio": predicted / was, "range": range, "in_range": in_range })
            };
            ratios.map(row)
        });
        let end = outcome.as_ref().map(|outcome| outcome.end);
        println!("{}", json!({ "plan": plan, "check": rows, "end": end, "assumed": assumed }));
    } else {
        print(&plan);
        if let Some(assumed) = &assumed {
            println!("\nAs the daemon at hand knows its mesh. Assumed:");
            assumed.iter().for_each(|assumed| println!("- {assumed}"));
        }
        if let (Some(ratios), Some(outcome)) = (ratios, &outcome) {
            println!(
                "\n{:<14} {:>10} {:>10} {:>7}   (the run ended: {})",
                "mesh",
                "predicted",
                "outcome",
                "ratio",
                text(outcome.end)
            );
            for (what, predicted, range, was) in ratios {
                let place = match range.map(|range| range.holds(was)) {
                    Some(true) => "in the range",
                    Some(false) => "out of the range",
                    None => "",
                };
                println!("{what:<14} {predicted:>10.1} {was:>10.1} {:>7.2}   {place}", predicted / was);
            }
        }
    }
    if mesh.reaches < plan.nodes {
        bail!("the mesh reaches {} of {} nodes: the rest needs a carrier", mesh.reaches, plan.nodes);
    }
    if !mesh.fits {
        bail!(
            "{} cannot carry {} bytes to {} nodes within {} h: it would take {}; --within allows more, a faster preset, a delta \
             (`compotastic bundle diff`) or a carrier takes less",
            scenario.preset.get_ref(),
            plan.bytes,
            plan.nodes,
            args.within,
            lasting(mesh.hours)
        );
    }
    Ok(())
}
