//! `compotastic sim run`, `new` and `sweep`: scenarios as TOML.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use compotastic_daemon::cli::output;
use compotastic_edge::teacher::BASE_ENCODER;
use compotastic_model::BaseEncoder;
use compotastic_sim::{
    files,
    scenario::{self, EnergyReport, Report, Scenario, SwarmReport},
};
use indicatif::ProgressBar;

use super::{
    parallel,
    seeds::{Seeds, parse_seeds},
    share_bar,
};
use crate::{plots, record_file::recorder, svg};

/// No scenario is longer, bytes.
const LARGEST: u64 = 256 << 20;

/// Options of `sim run`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic sim run scenarios/river.toml\n  compotastic sim run scenarios/festival.toml --json | jq .delivery\n  compotastic sim run scenarios/river.toml --plots river-plots\n  compotastic sim run scenarios/river.toml --record river.rec && compotastic sim replay river.rec"
)]
pub struct RunArgs {
    /// Scenario
    file: PathBuf,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes all events, for `sim replay`; docs/RECORDING.md says how
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Writes map, air time and delivery as SVG and a report with all of them into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `sim new`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic sim new mine.toml && compotastic sim run mine.toml\n  compotastic sim new bay.toml --like islands"
)]
pub struct NewArgs {
    /// File to write; one that exists is left alone
    file: PathBuf,
    /// Ready scenario to begin with
    #[arg(long, value_enum, default_value_t = Ready::TwoHuts)]
    like: Ready,
}

/// Ready scenarios that name no other files.
#[derive(Clone, Copy, ValueEnum)]
enum Ready {
    /// Two huts that hear each other, and a walker between them
    TwoHuts,
    /// Gauges along 40 km of river
    River,
    /// Many nodes in a small place
    Festival,
    /// 1,000 nodes over a city
    City,
    /// Two islands, a boat, and nodes of ours
    Islands,
}

impl Ready {
    const fn text(self) -> &'static str {
        match self {
            Self::TwoHuts => include_str!("../../../../../scenarios/two-huts.toml"),
            Self::River => include_str!("../../../../../scenarios/river.toml"),
            Self::Festival => include_str!("../../../../../scenarios/festival.toml"),
            Self::City => include_str!("../../../../../scenarios/city.toml"),
            Self::Islands => include_str!("../../../../../scenarios/islands.toml"),
        }
    }
}

/// Options of `sim sweep`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  compotastic sim sweep scenarios/two-huts.toml --seeds 1..20 --loss 0,0.1,0.2,0.3 --csv sweep.csv --svg sweep.svg"
)]
pub struct SweepArgs {
    /// Scenario
    file: PathBuf,
    /// Seeds, first and last
    #[arg(long, default_value = "1..10", value_parser = parse_seeds)]
    seeds: Seeds,
    /// Losses instead of the scenario's
    #[arg(long, value_delimiter = ',')]
    loss: Vec<f64>,
    /// Writes one line per run
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Plots delivery over loss, with 95 % confidence bands
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Threads; all cores where not given
    #[arg(long)]
    threads: Option<usize>,
}

fn read(path: &Path) -> Result<Scenario> {
    Scenario::load(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// What nodes of ours hold.
pub fn base() -> Result<Option<BaseEncoder<'static>>> {
    let base = BaseEncoder::parse(BASE_ENCODER).map_err(|error| anyhow!("the base encoder: {error:?}"))?;
    Ok(Some(base))
}

/// Runs `sim run`.
pub fn run(args: &RunArgs) -> Result<()> {
    let scenario = read(&args.file)?;
    let text = files::read_text(&args.file, LARGEST)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    if let Some(path) = &args.record {
        output::guard(path, [args.file.as_path()])?;
    }
    let bar = share_bar(args.json, "of the simulated time")?;
    let run = scenario::run_with(
        &scenario,
        &text,
        args.seed,
        base()?,
        |header| args.record.as_deref().map(|path| recorder(path, header)).transpose(),
        |share| bar.set_position((share * 100.0) as u64),
    )
    .map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    bar.finish_and_clear();
    let notes = args.plots.as_deref().map(|folder| plots::write(folder, &run)).transpose()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&run.report)?);
        return Ok(());
    }
    print(&run.report);
    if let Some(path) = &args.record {
        println!("recorded in {0}; read it: compotastic sim replay {0}", path.display());
    }
    if let (Some(folder), Some(notes)) = (&args.plots, notes) {
        println!("plots in {}: {}", folder.display(), notes.join(", "));
    }
    Ok(())
}

/// Prints a summary for people.
pub(super) fn print(report: &Report) {
    let share = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{:.1} %", value * 100.0));
    let seconds = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.1} s"));
    println!(
        "{}: {} nodes, {} links, {:.1} h simulated, seed {}\n",
        report.scenario,
        report.nodes,
        report.links,
        report.simulated_s / 3600.0,
        report.seed
    );
    if let Some(swarm) = &report.swarm {
        print_swarm(swarm, report.nodes);
    }
    if let Some(energy) = &report.energy {
        print_energy(energy);
    }
    if report.messages > 0 {
        println!("Messages");
        println!(
            "  due {}   receptions wanted {}   delivered {} ({})",
            report.messages,
            report.wanted,
            report.delivered,
            share(report.delivery)
        );
        println!("  acknowledged {}   failed {}", report.acked, report.failed);
        println!(
            "  latency: half within {}, 95 % within {}",
            seconds(report.latency_p50_s),
            seconds(report.latency_p95_s)
        );
        println!("\nHops");
        let most = report.hops.iter().copied().max().unwrap_or(1).max(1);
        for (index, count) in report.hops.iter().enumerate() {
            println!("  {:>2}  {:<28} {count}", index + 1, "█".repeat((count * 28 / most) as usize));
        }
        println!("\nDelivery by distance");
        for (upper_m, wanted, delivered) in &report.by_distance {
            let share = *delivered as f64 / *wanted as f64;
            let bar = "█".repeat((share * 28.0).round() as usize);
            println!("  up to {:>6.1} km  {bar:<28} {:.0} % of {wanted}", upper_m / 1000.0, share * 100.0);
        }
    }
    if let Some(jobs) = &report.jobs {
        println!("Jobs");
        println!(
            "  submitted {}   answered by the node itself {}, by another {}   failed {}",
            jobs.submitted, jobs.answered_local, jobs.answered_remote, jobs.failed
        );
        println!(
            "  latency: half within {}, 95 % within {}",
            seconds(jobs.latency_p50_s),
            seconds(jobs.latency_p95_s)
        );
    }
    for object in &report.objects {
        println!(
            "\nObject {}: {} of {} nodes have it, the last {:.1} min after the first",
            object.object,
            object.nodes,
            report.nodes,
            object.spread_s / 60.0
        );
    }
    println!("\nAir");
    println!(
        "  {} transmissions, {:.0} s of air, {:.0} s of it for messages",
        report.transmissions, report.airtime_s, report.message_airtime_s
    );
    println!(
        "  highest channel use {:.1} % · highest duty {:.2} % · sent over a gate: {}",
        report.max_channel_utilization_pct, report.max_duty_cycle_pct, report.originations_over_gate
    );
    println!("\nevent log {}", report.event_log_sha256);
}

fn print_swarm(swarm: &SwarmReport, nodes: usize) {
    println!("Nodes of ours: {} of {nodes}", swarm.nodes);
    let half = swarm.latency_p50_s.map_or(String::new(), |seconds| format!(", half within {seconds:.1} s"));
    println!(
        "  jobs {}   answered here {}   by others {}   ended with a reason {}{half}",
        swarm.jobs, swarm.answered_here, swarm.answered_by_others, swarm.failed
    );
    println!("  reports delivered {}   lost {}", swarm.reports_delivered, swarm.reports_lost);
    for update in &swarm.updates {
        let last_s = update.installed.iter().map(|(_, at_s)| *at_s).fold(update.published_s, f64::max);
        println!(
            "  version {} published at {:.1} h: {} nodes use it, the last since {:.1} h",
            update.version,
            update.published_s / 3600.0,
            update.installed.len(),
            last_s / 3600.0
        );
    }
    if swarm.meetings > 0 {
        println!(
            "  Bluetooth: {} meetings, {} frames, {} bytes",
            swarm.meetings, swarm.bluetooth_frames, swarm.bluetooth_bytes
        );
    }
    println!();
}

fn print_energy(energy: &EnergyReport) {
    let spent = &energy.spent;
    println!("Batteries of {} nodes", energy.nodes);
    println!("  lowest charge {:.0} %   ran empty {} times", energy.lowest_charge * 100.0, energy.ran_empty);
    println!(
        "  sending {:.0} mWh · listening {:.0} · computing {:.1} · switched off {:.2} · from the sun {:.0}\n",
        spent.tx_mwh, spent.listen_mwh, spent.compute_mwh, spent.sleep_mwh, spent.solar_mwh
    );
}

/// Runs `sim new`.
pub fn new(args: &NewArgs) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.file)
        .with_context(|| format!("cannot make {}", args.file.display()))?;
    file.write_all(args.like.text().as_bytes())?;
    println!("made {0}; run it: compotastic sim run {0}", args.file.display());
    Ok(())
}

/// Mean and half the width of its 95 % confidence interval.
fn interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count.max(1.0);
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, 1.96 * (variance / count).sqrt())
}

/// Runs `sim sweep`.
pub fn sweep(args: &SweepArgs) -> Result<()> {
    let scenario = read(&args.file)?;
    let base = base()?;
    let losses = if args.loss.is_empty() { vec![*scenario.loss.get_ref()] } else { args.loss.clone() };
    for loss in &losses {
        ensure!((0.0..=1.0).contains(loss), "--loss {loss} is not between 0 and 1");
    }
    let (first, last) = args.seeds;
    let seeds = (last - first + 1) as usize;
    let bar = ProgressBar::new((losses.len() * seeds) as u64);
    let runs = parallel::map(
        losses.len() * seeds,
        args.threads.unwrap_or_else(parallel::cores),
        |index| {
            let loss = losses[index / seeds];
            let mut scenario = scenario.clone();
            scenario.set_loss(loss);
            (loss, scenario::run(&scenario, first + (index % seeds) as u64, base, |_| {}))
        },
        || bar.inc(1),
    );
    bar.finish_and_clear();
    let mut reports = Vec::new();
    for (loss, report) in runs {
        reports.push((loss, report.map_err(|error| anyhow!("{}: {error}", args.file.display()))?));
    }
    if let Some(path) = &args.csv {
        let mut out = String::from(
            "loss,seed,nodes,messages,wanted,delivered,acked,failed,latency_p50_s,latency_p95_s,transmissions,airtime_s,max_channel_utilization_pct,max_duty_cycle_pct,event_log_sha256\n",
        );
        for (loss, r) in &reports {
            let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
            out += &format!(
                "{loss},{},{},{},{},{},{},{},{},{},{},{:.3},{:.2},{:.3},{}\n",
                r.seed,
                r.nodes,
                r.messages,
                r.wanted,
                r.delivered,
                r.acked,
                r.failed,
                number(r.latency_p50_s),
                number(r.latency_p95_s),
                r.transmissions,
                r.airtime_s,
                r.max_channel_utilization_pct,
                r.max_duty_cycle_pct,
                r.event_log_sha256
            );
        }
        output::write(path, out.as_bytes(), [args.file.as_path()])?;
    }
    println!("{}: seeds {first} to {last}; means with 95 % confidence\n", scenario.name);
    println!(
        "{:>6} {:>18} {:>18} {:>18} {:>14}",
        "loss", "delivered %", "p95 latency s", "airtime s", "channel use %"
    );
    let mut bands = Vec::new();
    for chunk in reports.chunks(seeds) {
        let of = |pick: fn(&Report) -> Option<f64>| {
            interval(&chunk.iter().filter_map(|(_, report)| pick(report)).collect::<Vec<_>>())
        };
        let delivery = of(|report| report.delivery.map(|share| share * 100.0));
        let latency = of(|report| report.latency_p95_s);
        let airtime = of(|report| Some(report.airtime_s));
        let utilization = of(|report| Some(report.max_channel_utilization_pct));
        let show = |(mean, half): (f64, f64)| format!("{mean:.1} ± {half:.1}");
        println!(
            "{:>6} {:>18} {:>18} {:>18} {:>14}",
            chunk[0].0,
            show(delivery),
            show(latency),
            show(airtime),
            show(utilization)
        );
        bands.push((chunk[0].0, delivery.0 / 100.0, delivery.1 / 100.0));
    }
    if let Some(path) = &args.svg {
        let plot =
            svg::band("delivery over loss", ("loss per transmission and receiver", "delivered"), &bands);
        output::write(path, plot.as_bytes(), [args.file.as_path()])?;
    }
    Ok(())
}
