//! `compotastic sim explore`: fault search.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use compotastic_daemon::cli::output;
use compotastic_edge::teacher::BASE_ENCODER;
use compotastic_model::BaseEncoder;
use compotastic_sim::{
    explore::{Outcomes, Plan, Violation, explore, minimise, trace},
    files,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{
    parallel,
    seeds::{Seeds, parse_seeds},
};

/// Every so many seeds the plan is run twice, and both runs must be the same.
const TWICE_EVERY: u64 = 16;
/// Plans that are tried to make a failing one smaller.
const TRIES: u32 = 300;

/// No plan is longer, bytes.
const LARGEST: u64 = 16 << 20;

/// Options.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic sim explore --seeds 1..200\n  compotastic sim explore --seeds 1..100000 --minutes 60\n  compotastic sim explore --updates --seeds 1..1000\n  compotastic sim explore --plan explore-17.json"
)]
pub struct ExploreArgs {
    /// Seeds, first and last
    #[arg(long, default_value = "1..100", value_parser = parse_seeds)]
    seeds: Seeds,
    /// No further seed is begun after this time
    #[arg(long)]
    minutes: Option<f64>,
    /// Plans about updates: nodes stop while a bundle is on its way, most of them inside a flash operation
    #[arg(long, conflicts_with = "plan")]
    updates: bool,
    /// Runs one plan from a file, as a failure leaves it, instead of seeds
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    plan: Option<PathBuf>,
    /// Tells what happens in a plan, line by line
    #[arg(long, requires = "plan")]
    trace: bool,
    /// Where the smallest plans of failures are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Failing plans are not made smaller
    #[arg(long)]
    as_drawn: bool,
    /// Threads; all cores where not given
    #[arg(long)]
    threads: Option<usize>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Failure {
    seed: u64,
    violations: Vec<String>,
    repeat: String,
    plan: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    seeds: u64,
    failures: Vec<Failure>,
    node_hours: f64,
    jobs_answered: u64,
    jobs_ended_with_a_reason: u64,
    jobs_whose_node_stopped: u64,
    models_installed: u64,
    firmware_confirmed: u64,
    stops_during_updates: u64,
    power_cuts_during_updates: u64,
    faults: BTreeMap<&'static str, u64>,
    wall_s: f64,
}

impl ExploreArgs {
    fn draw(&self, seed: u64) -> Plan {
        if self.updates { Plan::draw_update(seed) } else { Plan::draw(seed) }
    }
}

fn base() -> Result<BaseEncoder<'static>> {
    BaseEncoder::parse(BASE_ENCODER).map_err(|error| anyhow!("the base encoder: {error:?}"))
}

/// Runs it.
pub fn run(args: &ExploreArgs) -> Result<()> {
    // A panic inside a simulated node is a finding, told with its seed; its trace would only be in the way.
    std::panic::set_hook(Box::new(|_| {}));
    crate::end_without_output();
    if let Some(file) = &args.plan {
        let text = files::read_text(file, LARGEST).with_context(|| {
            format!("cannot read the plan {}; a failing `sim explore` writes one", file.display())
        })?;
        let plan: Plan =
            serde_json::from_str(&text).with_context(|| format!("{} is no plan", file.display()))?;
        let outcomes = if args.trace { trace(&plan, base()?) } else { explore(&plan, base()?, None, true) };
        let outcomes = outcomes.map_err(|what| anyhow!("{}: {what}", file.display()))?;
        for line in &outcomes.trace {
            println!("{line}");
        }
        for violation in &outcomes.violations {
            println!("{violation}");
        }
        if !outcomes.violations.is_empty() {
            bail!("the plan still fails");
        }
        println!("the plan runs without a failure");
        return Ok(());
    }
    let summary = search(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        print(&summary);
    }
    if !summary.failures.is_empty() {
        bail!("{} of {} seeds failed", summary.failures.len(), summary.seeds);
    }
    Ok(())
}

fn search(args: &ExploreArgs) -> Result<Summary> {
    let base = base()?;
    let (first, last) = args.seeds;
    let count = (last - first + 1) as usize;
    let began = Instant::now();
    let limit = args.minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0));
    let out_of_time = AtomicBool::new(false);
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(count as u64) };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} seeds, {eta} left")?);
    let threads = args.threads.unwrap_or_else(parallel::cores);
    let results = parallel::map(
        count,
        threads,
        |index| -> Option<(u64, Result<Outcomes, String>)> {
            if limit.is_some_and(|limit| began.elapsed() > limit) {
                out_of_time.store(true, Ordering::Relaxed);
                return None;
            }
            let seed = first + index as u64;
            Some((seed, explore(&args.draw(seed), base, None, seed.is_multiple_of(TWICE_EVERY))))
        },
        || bar.inc(1),
    );
    bar.finish_and_clear();
    let mut summary = Summary {
        seeds: 0,
        failures: Vec::new(),
        node_hours: 0.0,
        jobs_answered: 0,
        jobs_ended_with_a_reason: 0,
        jobs_whose_node_stopped: 0,
        models_installed: 0,
        firmware_confirmed: 0,
        stops_during_updates: 0,
        power_cuts_during_updates: 0,
        faults: BTreeMap::new(),
        wall_s: 0.0,
    };
    for (seed, outcomes) in results.into_iter().flatten() {
        let outcomes = outcomes.map_err(|what| anyhow!("seed {seed}: {what}"))?;
        summary.seeds += 1;
        summary.node_hours += outcomes.node_seconds as f64 / 3600.0;
        summary.jobs_answered += outcomes.jobs.0;
        summary.jobs_ended_with_a_reason += outcomes.jobs.1;
        summary.jobs_whose_node_stopped += outcomes.jobs.2;
        summary.models_installed += outcomes.installed;
        summary.firmware_confirmed += outcomes.firmware;
        summary.stops_during_updates += outcomes.interrupted.0;
        summary.power_cuts_during_updates += outcomes.interrupted.1;
        for (kind, count) in &outcomes.faults {
            *summary.faults.entry(kind).or_default() += count;
        }
        if !outcomes.violations.is_empty() {
            summary.failures.push(fail(args, seed, &outcomes.violations, base)?);
        }
    }
    if out_of_time.into_inner() && !args.json {
        eprintln!("time is up after {} of {count} seeds", summary.seeds);
    }
    summary.wall_s = began.elapsed().as_secs_f64();
    Ok(summary)
}

fn fail(
    args: &ExploreArgs,
    seed: u64,
    violations: &[Violation],
    base: BaseEncoder<'static>,
) -> Result<Failure> {
    let mut plan_file = None;
    if !args.as_drawn {
        if !args.json {
            eprintln!("seed {seed} fails; looking for a smaller plan that fails in the same way ...");
        }
        let checker = violations[0].checker;
        let twice = checker == "repeatability";
        let smallest = minimise(&args.draw(seed), TRIES, |plan| {
            explore(plan, base, None, twice)
                .is_ok_and(|outcomes| outcomes.violations.iter().any(|one| one.checker == checker))
        });
        let file = args.out.join(format!("explore-{seed}.json"));
        let plan = serde_json::to_string_pretty(&smallest)?;
        output::write(&file, plan.as_bytes(), []).context("--out names a folder that can be written")?;
        plan_file = Some(file.display().to_string());
    }
    Ok(Failure {
        seed,
        violations: violations.iter().map(ToString::to_string).collect(),
        repeat: format!(
            "compotastic sim explore{} --seeds {seed}..{seed}",
            if args.updates { " --updates" } else { "" }
        ),
        plan: plan_file,
    })
}

fn print(summary: &Summary) {
    println!(
        "{} seeds, {:.0} node-hours in {:.0} s of wall time\n  jobs: {} answered, {} ended with a reason, {} with their node\n  models installed: {}, firmware confirmed: {}; {} nodes stopped before they had the newest, {} of them inside a flash operation",
        summary.seeds,
        summary.node_hours,
        summary.wall_s,
        summary.jobs_answered,
        summary.jobs_ended_with_a_reason,
        summary.jobs_whose_node_stopped,
        summary.models_installed,
        summary.firmware_confirmed,
        summary.stops_during_updates,
        summary.power_cuts_during_updates
    );
    println!("Faults");
    for (kind, count) in &summary.faults {
        println!("  {count:6}  {kind}");
    }
    for failure in &summary.failures {
        println!("\nSeed {} fails:", failure.seed);
        for violation in &failure.violations {
            println!("  {violation}");
        }
        println!("  repeat it: {}", failure.repeat);
        if let Some(plan) = &failure.plan {
            println!("  smallest plan that fails: compotastic sim explore --plan {plan}");
        }
    }
    if summary.failures.is_empty() {
        println!("No promise was broken.");
    }
}
