//! `compotastic sim replay`: a recording read again, without simulating.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use compotastic_sim::{
    files,
    recording::{Header, Reader, Source, Verifier, replay_with},
    scenario::{self, Scenario},
};
use indicatif::ProgressBar;

use super::{
    run::{base, print},
    share_bar,
};
use crate::{demo, plots};

/// Largest recording, bytes.
const LARGEST: u64 = 8 << 30;

/// Options of `sim replay`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic sim run scenarios/river.toml --record river.rec\n  compotastic sim replay river.rec --plots river-plots\n  compotastic sim replay river.rec --json | jq .delivery\n  compotastic demo --record demo.rec && compotastic sim replay demo.rec --plots demo-plots\n  compotastic sim replay river.rec --verify"
)]
pub struct ReplayArgs {
    /// Recording of `sim run` or `demo`
    file: PathBuf,
    /// Writes map, air time, spread and delivery as SVG and a report with all of them into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Repeats the run too and compares it event by event
    #[arg(long)]
    verify: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &ReplayArgs) -> Result<()> {
    let bytes =
        files::read(&args.file, LARGEST).with_context(|| format!("cannot read {}", args.file.display()))?;
    let bar = share_bar(args.json, "of the recording")?;
    let replayed = replay_with(&bytes, |share| bar.set_position((share * 100.0) as u64));
    bar.finish_and_clear();
    let named = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", args.file.display());
    // Before a recording that was altered is refused: the comparison names the event at which it was.
    if args.verify {
        verify(bytes, args.json).with_context(|| format!("{} does not verify", args.file.display()))?;
    }
    let run = replayed.map_err(|error| named(&error))?;
    let notes = args.plots.as_deref().map(|folder| plots::write(folder, &run)).transpose()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&run.report)?);
        return Ok(());
    }
    print(&run.report);
    if args.verify {
        println!("verified: the run repeated gives the same {}", args.file.display());
    }
    if let (Some(folder), Some(notes)) = (&args.plots, notes) {
        println!("plots in {}: {}", folder.display(), notes.join(", "));
    }
    Ok(())
}

/// Repeats the run that a recording holds.
fn verify(bytes: Vec<u8>, quiet: bool) -> Result<()> {
    let (header, _) = Reader::new(&bytes)?;
    match &header.source {
        Source::Scenario(text) => verify_scenario(&header, text, bytes, quiet),
        Source::Demo(json) => {
            let recorded = demo::recording::Recorded::parse(json)?;
            demo::recording::repeat(bytes, &recorded.config()?, &recorded.inputs()?, quiet).map(|_| ())
        }
    }
}

fn verify_scenario(header: &Header, text: &str, bytes: Vec<u8>, quiet: bool) -> Result<()> {
    let scenario = Scenario::parse(text).map_err(|error| {
        anyhow!("the recorded scenario cannot be repeated from the recording alone: {error}")
    })?;
    let bar: ProgressBar = share_bar(quiet, "of the simulated time")?;
    let compared = scenario::run_with(
        &scenario,
        text,
        header.seed,
        base()?,
        |header| Ok(Some(Box::new(Verifier::new(bytes, header)?))),
        |share| bar.set_position((share * 100.0) as u64),
    );
    bar.finish_and_clear();
    compared.map(|_| ()).map_err(|error| anyhow!("{error}"))
}
