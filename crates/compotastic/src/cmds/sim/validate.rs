//! `compotastic sim validate DIR`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_sim::meshtasticator::{
    scenario::Scenario,
    validate::{self, Verdict},
};
use indicatif::ProgressBar;
use serde::Serialize;

use super::parallel;

/// Options of `sim validate`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  compotastic sim validate tests/data/meshtasticator --json\n\nThe exit status is 0 only if every figure holds."
)]
pub struct ValidateArgs {
    /// Folder of scenario files in the reference's format
    dir: PathBuf,
    /// Runs per scenario; fewer than 10 say little
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    seeds: u32,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    scenarios: Vec<Verdict>,
    holds: bool,
}

/// Files that hold scenarios: JSON objects with nodes. Tables that lie beside them are passed over.
fn read_folder(dir: &Path) -> Result<Vec<Scenario>> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read the folder {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut scenarios = Vec::new();
    for path in paths {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        if value.get("nodes").is_none() {
            continue;
        }
        let scenario = Scenario::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        scenarios.push(scenario);
    }
    ensure!(
        !scenarios.is_empty(),
        "{} holds no scenario: JSON files with nodes, radio and traffic",
        dir.display()
    );
    Ok(scenarios)
}

/// Runs it.
pub fn run(args: &ValidateArgs) -> Result<()> {
    let scenarios = read_folder(&args.dir)?;
    let seeds = args.seeds as usize;
    let jobs = scenarios.len() * seeds;
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(jobs as u64) };
    // The longest first, so that no core waits for the last one.
    let mut order: Vec<usize> = (0..jobs).collect();
    order.sort_by_key(|job| std::cmp::Reverse(scenarios[job / seeds].nodes.len()));
    let mut runs = parallel::map(
        jobs,
        parallel::cores(),
        |index| {
            let job = order[index];
            (job, validate::figures(&scenarios[job / seeds], (job % seeds) as u64 + 1))
        },
        || bar.inc(1),
    );
    bar.finish_and_clear();
    runs.sort_by_key(|(job, _)| *job);
    let mut verdicts = Vec::new();
    for (scenario, runs) in scenarios.iter().zip(runs.chunks(seeds)) {
        let figures: Vec<_> = runs.iter().map(|(_, figures)| *figures).collect();
        let verdict =
            validate::compare(scenario, &figures).map_err(|error| anyhow!("{}: {error}", scenario.name))?;
        verdicts.push(verdict);
    }
    let report = Report { holds: verdicts.iter().all(Verdict::holds), scenarios: verdicts };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, seeds);
    }
    if !report.holds {
        bail!("not every figure holds");
    }
    Ok(())
}

fn print(report: &Report, seeds: usize) {
    println!(
        "{seeds} runs per scenario; a figure holds within 2 standard deviations of the reference's runs or 3 %\n"
    );
    println!("{:<22} {:<20} {:>10} {:>10} {:>9}", "scenario", "figure", "ours", "reference", "sd");
    for scenario in &report.scenarios {
        for figure in &scenario.figures {
            let show = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.2}"));
            println!(
                "{:<22} {:<20} {:>10} {:>10} {:>9}  {}",
                scenario.name,
                figure.name,
                show(figure.ours),
                show(figure.reference),
                show(figure.reference_sd),
                if figure.holds { "holds" } else { "DOES NOT HOLD" }
            );
        }
    }
    let all: Vec<_> = report.scenarios.iter().flat_map(|scenario| &scenario.figures).collect();
    let held = all.iter().filter(|figure| figure.holds).count();
    println!("\n{held} of {} figures hold", all.len());
}
