//! `compotastic demo`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use compotastic_daemon::cli::output;
use compotastic_mesh::lora::{Preset, Region};

use crate::{
    demo::{self, DemoConfig, recording},
    record_file::recorder,
};

/// Which foundation model teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TeacherChoice {
    /// all-MiniLM-L6-v2 when it is cached, else the encoder in the tree
    Auto,
    /// all-MiniLM-L6-v2; fails when it is not cached
    Minilm,
    /// The small encoder that comes with the program: integer throughout, no recording needed
    InTree,
}

/// Runs the whole loop on a simulated mesh.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic demo\n  compotastic demo --nodes 60 --loss 0.3 --html run.html\n  compotastic demo --task mine.csv --urgent fire,injury\n  compotastic demo --reports reports.txt\n  compotastic demo --json | jq .airtime\n  compotastic demo --record run.rec && compotastic demo --replay run.rec"
)]
pub struct DemoArgs {
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Field nodes in the valley, 2 to 60
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..=60))]
    nodes: u32,
    /// LoRa preset
    #[arg(long, default_value = "LONG_FAST")]
    preset: String,
    /// Region, whose limits hold
    #[arg(long, default_value = "EU_868")]
    region: String,
    /// Independent loss per transmission and receiver: a probability such as 0.3, or a percentage such as 30 or 30%
    #[arg(long, default_value = "0", value_name = "P", value_parser = parse_loss)]
    loss: f64,
    /// Simulated hours
    #[arg(long, default_value_t = 12.0)]
    hours: f64,
    /// Teacher
    #[arg(long, value_enum, default_value_t = TeacherChoice::Auto)]
    teacher: TeacherChoice,
    /// Gets all-MiniLM-L6-v2 first if it is not cached
    #[arg(long)]
    fetch: bool,
    /// Task of your own: CSV with the columns text,label,split (split = train, unlabelled or test)
    #[arg(long, value_name = "FILE.csv")]
    task: Option<PathBuf>,
    /// Urgent classes, comma separated (overrides the task's own)
    #[arg(long, value_delimiter = ',')]
    urgent: Vec<String>,
    /// Reports that come in at the nodes, one per line, instead of the task's
    #[arg(long, value_name = "FILE")]
    reports: Option<PathBuf>,
    /// The edge node leaves after so many hours
    #[arg(long, value_name = "HOURS")]
    edge_leaves: Option<f64>,
    /// Edge nodes; a second one takes over when the first leaves
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=4))]
    edges: u32,
    /// Writes inputs and events, for --replay, and for `sim replay` with its plots
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Repeats a recorded run from its inputs and compares it event by event
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Writes a self-contained page with map, air time and spread
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints one JSON object instead of the summary
    #[arg(long)]
    json: bool,
}

/// A probability below 1; numbers from 1 on, and those with a `%`, are percentages.
pub fn parse_loss(text: &str) -> Result<f64, String> {
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let value: f64 = number.trim().parse().map_err(|_| format!("{text} is not a number"))?;
    let probability = if percent || value >= 1.0 { value / 100.0 } else { value };
    if (0.0..1.0).contains(&probability) {
        Ok(probability)
    } else {
        Err(format!("{text} is no loss: from 0 to below 1, or from 0% to below 100%"))
    }
}

impl DemoArgs {
    fn config(&self) -> Result<DemoConfig> {
        ensure!(
            self.hours.is_finite() && self.hours > 0.0 && self.hours <= 24.0 * 60.0,
            "--hours {} is not between 0 and 1440",
            self.hours
        );
        if let Some(hours) = self.edge_leaves {
            ensure!(hours.is_finite() && hours >= 0.0, "--edge-leaves {hours} is not a time in hours");
        }
        let preset: Preset = match self.preset.parse() {
            Ok(preset) => preset,
            Err(_) => bail!(
                "--preset {}: no such preset; there are {}",
                self.preset,
                Preset::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        let region: Region = match self.region.parse() {
            Ok(region) => region,
            Err(_) => bail!(
                "--region {}: no such region; there are {}",
                self.region,
                Region::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        ensure!(
            region.allows(preset),
            "{preset} is not allowed in {region}: choose another --preset or --region"
        );
        Ok(DemoConfig {
            seed: self.seed,
            field_nodes: self.nodes as usize,
            edge_nodes: self.edges as usize,
            preset,
            region,
            loss_ppm: (self.loss * 1e6).round() as u32,
            hours: self.hours,
            edge_leaves_h: self.edge_leaves,
        })
    }
}

/// Runs it.
pub fn run(args: DemoArgs) -> Result<()> {
    let quiet = args.json;
    if !quiet {
        // The first line comes before anything that takes time.
        println!(
            "Compotastic demo: {} field nodes, {} {}, seed {}",
            args.nodes, args.preset, args.region, args.seed
        );
        std::io::stdout().flush().ok();
    }
    let recorded = args.replay.as_deref().map(recording::read).transpose()?;
    for path in args.record.iter().chain(&args.html) {
        output::guard(path, args.reads())?;
    }
    let config = match &recorded {
        Some((_, recorded)) => recorded.config()?,
        None => args.config()?,
    };
    let inputs = match &recorded {
        Some((_, recorded)) => recorded.inputs()?,
        None => demo::inputs::load(&args.inputs(), quiet)?,
    };
    let replayed = recorded.is_some();
    let run = match recorded {
        Some((bytes, _)) => recording::repeat(bytes, &config, &inputs, quiet)?,
        None => demo::run(&config, &inputs, quiet, |header| {
            args.record.as_deref().map(|path| recorder(path, header)).transpose()
        })?,
    };
    if let Some(path) = &args.html {
        let page = demo::page::render(&run.outcome, &run.pictures);
        output::write(path, page.as_bytes(), args.reads())?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&run.outcome)?);
    } else {
        print!("{}", demo::summary::render(&run.outcome));
        if replayed {
            println!("replay: same event log");
        }
    }
    Ok(())
}

impl DemoArgs {
    /// Files that it reads.
    fn reads(&self) -> impl Iterator<Item = &Path> {
        [&self.task, &self.reports, &self.replay].into_iter().flatten().map(PathBuf::as_path)
    }

    fn inputs(&self) -> demo::inputs::Wanted {
        demo::inputs::Wanted {
            teacher: self.teacher,
            fetch: self.fetch,
            task: self.task.clone(),
            urgent: self.urgent.clone(),
            reports: self.reports.clone(),
        }
    }
}
