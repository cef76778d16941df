//! `compotastic bench company`: what the traffic of others suffers from an update in the same valley.

mod stats;
mod valley;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use compotastic_mesh::time::Duration;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::{
    stats::{Figures, compare},
    valley::{NODES, Spec, Traffic},
};
use crate::threads::parallel;

/// Relative change to the worse, upper end of the 95 % interval, at most.
const TARGET: f64 = 0.05;

/// Options of `bench company`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic bench company\n  compotastic bench company --seeds 4 --messages 600 --hours 2 --json"
)]
pub struct CompanyArgs {
    /// Paired seeds, each a valley of its own
    #[arg(long, default_value_t = 30)]
    seeds: u64,
    /// Messages of stock nodes in all, each sent in both runs of its pair
    #[arg(long, default_value_t = 5000)]
    messages: usize,
    /// Hours over which the messages of a run are spread, from the publication on; by default as long as the update takes in that
    /// valley without them
    #[arg(long)]
    hours: Option<f64>,
    /// Bytes of the object
    #[arg(long, default_value_t = 16_384)]
    bytes: usize,
    /// Loss per transmission and receiver, on top of the radio model
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Our nodes are behind stock radios
    #[arg(long)]
    hosted: bool,
    /// Threads; by default as many as there are cores
    #[arg(long)]
    threads: Option<usize>,
    /// Prints a row as JSON
    #[arg(long)]
    json: bool,
}

/// What is measured. Changes are relative, and positive where the traffic suffers.
#[derive(Clone, Debug, Serialize)]
struct Row {
    method: &'static str,
    seeds: u64,
    nodes: usize,
    stock_nodes: f64,
    bytes: usize,
    messages: usize,
    messages_during_update: usize,
    delivery_without: f64,
    delivery_with: f64,
    delivery_relative_change: f64,
    delivery_upper_95: f64,
    delay_mean_without_s: f64,
    delay_mean_with_s: f64,
    delay_mean_relative_change: f64,
    delay_mean_upper_95: f64,
    delay_p95_without_s: f64,
    delay_p95_with_s: f64,
    delay_p95_relative_change: f64,
    delay_p95_upper_95: f64,
    complete_hours: f64,
    completed_runs: usize,
}

/// Runs it.
pub fn run(args: &CompanyArgs) -> Result<()> {
    ensure!((2..=1000).contains(&args.seeds), "--seeds {} is not between 2 and 1000", args.seeds);
    if let Some(hours) = args.hours {
        ensure!(hours > 0.0 && hours <= 168.0, "--hours {hours} is not between 0 and 168");
    }
    ensure!((0.0..=0.5).contains(&args.loss), "--loss {} is not between 0 and 0.5", args.loss);
    ensure!(args.messages as u64 >= args.seeds, "--messages {} is less than one per seed", args.messages);
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(args.seeds) };
    bar.set_style(ProgressStyle::with_template("{pos}/{len} pairs, {elapsed_precise}, {eta} left")?);
    let pairs = parallel(args.threads, args.seeds as usize, Some(&bar), |index| {
        let hours = |hours: f64| Duration::from_millis((hours * 3.6e6) as u64);
        let quiet = Spec {
            seed: index as u64 + 1,
            messages: 0,
            window: Duration::from_secs(1),
            bytes: args.bytes,
            loss_ppm: (args.loss * 1e6).round() as u32,
            hosted: args.hosted,
        };
        let window = match args.hours {
            Some(given) => hours(given),
            None => hours(
                valley::run(&quiet, true)?
                    .complete_hours
                    .context("the update fails in a quiet valley: give --hours")?,
            ),
        };
        let spec = Spec { messages: args.messages.div_ceil(args.seeds as usize), window, ..quiet };
        Ok((valley::run(&spec, false)?, valley::run(&spec, true)?))
    })?;
    bar.finish_and_clear();
    let pairs: Vec<(Traffic, Traffic)> = pairs.into_iter().collect::<Result<_>>()?;
    let row = row(args, &pairs);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&[row])?);
    } else {
        print(&row);
    }
    Ok(())
}

fn row(args: &CompanyArgs, pairs: &[(Traffic, Traffic)]) -> Row {
    let without = Figures::of(pairs.iter().map(|pair| &pair.0));
    let with = Figures::of(pairs.iter().map(|pair| &pair.1));
    let (change, upper) = compare(pairs, 1);
    let hours: Vec<f64> = pairs.iter().filter_map(|(_, with)| with.complete_hours).collect();
    Row {
        method: if args.hosted { "compotastic-hosted" } else { "compotastic" },
        seeds: args.seeds,
        nodes: NODES,
        stock_nodes: pairs.iter().map(|pair| pair.0.stock_nodes).sum::<usize>() as f64 / pairs.len() as f64,
        bytes: args.bytes,
        messages: pairs.iter().map(|pair| pair.0.delivered.len()).sum(),
        messages_during_update: pairs.iter().map(|pair| pair.1.during_update).sum(),
        delivery_without: without.delivery,
        delivery_with: with.delivery,
        delivery_relative_change: change[0],
        delivery_upper_95: upper[0],
        delay_mean_without_s: without.delay_mean_s,
        delay_mean_with_s: with.delay_mean_s,
        delay_mean_relative_change: change[1],
        delay_mean_upper_95: upper[1],
        delay_p95_without_s: without.delay_p95_s,
        delay_p95_with_s: with.delay_p95_s,
        delay_p95_relative_change: change[2],
        delay_p95_upper_95: upper[2],
        complete_hours: hours.iter().sum::<f64>() / hours.len().max(1) as f64,
        completed_runs: hours.len(),
    }
}

fn print(row: &Row) {
    println!(
        "{} nodes of ours ({}) in a valley, {:.1} stock nodes beside them, LongFast, EU_868; {} bytes; {} messages in {} pairs, {} of \
         them while the update ran\n",
        row.nodes,
        row.method,
        row.stock_nodes,
        row.bytes,
        row.messages,
        row.seeds,
        row.messages_during_update
    );
    println!("{:<16}{:>10}{:>10}{:>12}{:>24}", "", "without", "with", "suffers by", "upper end of 95 %");
    let lines = [
        (
            "delivery",
            100.0,
            "%",
            row.delivery_without,
            row.delivery_with,
            row.delivery_relative_change,
            row.delivery_upper_95,
        ),
        (
            "mean delay",
            1.0,
            "s",
            row.delay_mean_without_s,
            row.delay_mean_with_s,
            row.delay_mean_relative_change,
            row.delay_mean_upper_95,
        ),
        (
            "95 % of delays",
            1.0,
            "s",
            row.delay_p95_without_s,
            row.delay_p95_with_s,
            row.delay_p95_relative_change,
            row.delay_p95_upper_95,
        ),
    ];
    for (name, scale, unit, without, with, change, upper) in lines {
        let verdict = if upper <= TARGET { "met" } else { "MISSED" };
        println!(
            "{name:<16}{:>8.2} {unit}{:>8.2} {unit}{:>10.1} %{:>10.1} %  (at most {:.0} %: {verdict})",
            without * scale,
            with * scale,
            change * 100.0,
            upper * 100.0,
            TARGET * 100.0
        );
    }
    println!(
        "\nThe update reached all nodes in {} of {} runs, after {:.2} h on average.",
        row.completed_runs, row.seeds, row.complete_hours
    );
}
