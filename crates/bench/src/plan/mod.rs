//! `compotastic bench plan`: what `compotastic plan` predicts beside what comes of it.
//!
//! Each case is a mesh and a bundle ([`case`]). The plan is made as the command makes it, rehearsed; then the push runs some times on the
//! same mesh under luck of its own, which no rehearsal had. The mean of these runs is what the plan's mean is held against; each
//! single run is held against the plan's mean and against the range that it states. Beside it the formulas (`plan --quick`).

mod case;
mod row;

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use compotastic_model::BaseEncoder;
use compotastic_sim::plan::{self, PlanOrder, Rehearse, WayName};
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    case::{Case, WALK_M_S},
    row::{Figures, Row},
};
use crate::threads::parallel;

/// Options of `bench plan`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic bench plan\n  compotastic bench plan --nodes 10 --loss 0.1 --bytes 4500 --fields 4\n  compotastic bench plan --fields 0 --json"
)]
pub struct PlanArgs {
    /// Nodes of drawn fields, the edge node included
    #[arg(long, value_delimiter = ',', default_values_t = [10, 24, 50])]
    nodes: Vec<usize>,
    /// Losses per transmission and receiver in drawn fields, on top of the radio model
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1, 0.3])]
    loss: Vec<f64>,
    /// Bytes of the bundle
    #[arg(long, value_delimiter = ',', default_values_t = [4500, 16_384])]
    bytes: Vec<usize>,
    /// Drawn fields of each size
    #[arg(long, default_value_t = 1)]
    fields: u64,
    /// Folder of scenarios: those with nodes of ours are planned for too
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    scenarios: PathBuf,
    /// Runs that each plan is held against
    #[arg(long, default_value_t = 12)]
    runs: u64,
    /// Threads; by default as many as there are cores
    #[arg(long)]
    threads: Option<usize>,
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it; the nodes of scenarios hold `base`.
pub fn run(args: &PlanArgs, base: Option<BaseEncoder<'static>>) -> Result<()> {
    ensure!((2..=100).contains(&args.runs), "--runs {} is not between 2 and 100", args.runs);
    ensure!(args.nodes.iter().all(|nodes| (2..=200).contains(nodes)), "--nodes are between 2 and 200");
    ensure!(args.loss.iter().all(|loss| (0.0..=0.5).contains(loss)), "--loss is between 0 and 0.5");
    ensure!(args.bytes.iter().all(|bytes| (1..=65_536).contains(bytes)), "--bytes are between 1 and 65536");
    let mut cases = case::ready(&args.scenarios, &args.bytes)?;
    cases.extend(case::drawn(args.fields, &args.nodes, &args.loss, &args.bytes)?);
    ensure!(!cases.is_empty(), "nothing to plan: --fields 1, or --scenarios with nodes of ours");
    // The long ones first, so that the threads end together.
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(cases[*index].nodes * cases[*index].bytes));
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(cases.len() as u64) };
    bar.set_style(ProgressStyle::with_template("{pos}/{len} plans, {elapsed_precise}, {eta} left")?);
    let rows = parallel(args.threads, order.len(), Some(&bar), |index| {
        let case = &cases[order[index]];
        rows(case, args.runs, base).map_err(|error| anyhow!("{}: {error}", case.name))
    })?;
    bar.finish_and_clear();
    let mut rows: Vec<(usize, Result<Vec<Row>>)> = order.into_iter().zip(rows).collect();
    rows.sort_by_key(|(index, _)| *index);
    let rows: Vec<Vec<Row>> = rows.into_iter().map(|(_, rows)| rows).collect::<Result<_>>()?;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        row::print(&rows);
    }
    Ok(())
}

/// A row for each way of a case that is one of its own.
fn rows(case: &Case, runs: u64, base: Option<BaseEncoder<'static>>) -> Result<Vec<Row>, String> {
    let planned = |rehearse| {
        let order = PlanOrder { class: None, within_h: 24.0, walk_m_s: WALK_M_S, rehearse };
        plan::plan(&case.scenario, case.seed, &case.package, &order, |_, _| {})
    };
    let rehearsed = planned(Some(Rehearse { base, times: None, threads: Some(1) }))?;
    let reckoned = planned(None)?;
    let mut rows = Vec::new();
    for way in &rehearsed.ways {
        let measured = match way.way {
            WayName::Mesh => case.pushes(runs, &[], base)?,
            // The plan says when the carrier is where; what the mesh makes of it is measured.
            WayName::Both if !rehearsed.landings.is_empty() => {
                let handed: Vec<(usize, f64)> = rehearsed
                    .landings
                    .iter()
                    .filter_map(|(name, hours)| Some((case.index(name)?, hours * 60.0)))
                    .collect();
                case.pushes(runs, &handed, base)?
            }
            WayName::Carrier if case.is_carried() => vec![case.walk()?],
            WayName::Both | WayName::Carrier => continue,
        };
        let formula = reckoned.way(way.way).ok_or("no such way by formulas")?;
        rows.push(Row::new(case, way, &Figures::of(formula), &measured));
    }
    Ok(rows)
}
