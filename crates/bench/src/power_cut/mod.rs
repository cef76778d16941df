//! Power cuts at every flash operation of a firmware update: download, delta, exchange of the slots, trial, confirmation
//! and the way back.
//!
//! A simulated device with one NOR flash runs a story to its end. Then it runs it again for each flash operation and
//! each kind of cut, loses power there, is switched on, has to start a whole image that was published, and has to come to
//! the same end. `--pairs` adds a second cut on the way from the first to the end.
//!
//! Beside it: embassy-boot with the same images under the same single cuts.

mod campaign;
mod device;
mod diff;
mod embassy;
mod world;

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use campaign::{Campaign, Count};
use device::Story;
use embassy::Twice;
use world::{Coding, Shape, World};

/// Options of `bench power-cut`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic bench power-cut\n  compotastic bench power-cut --full --json\n  compotastic bench power-cut --pairs 20000"
)]
pub struct PowerCutArgs {
    /// Slots of 256 KiB as in the memory map besides the small ones; takes some minutes
    #[arg(long)]
    full: bool,
    /// Runs with two cuts, for each flash and story
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pairs: u64,
    /// Seed of images and of the pairs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
}

/// One flash and one story.
#[derive(Debug, Serialize)]
pub struct Row {
    /// `compotastic`, or the peer.
    pub method: &'static str,
    /// Device whose flash is like this.
    pub flash: &'static str,
    /// Unit of writing, in bytes.
    pub write_bytes: usize,
    /// Unit of erasing, in bytes.
    pub erase_bytes: usize,
    /// Size of the new image in bytes.
    pub image_bytes: usize,
    /// Size of the object that makes it out of the old one, in bytes.
    pub object_bytes: usize,
    /// What happens to the new image.
    pub story: &'static str,
    /// Writes and erasures of the whole story.
    pub operations: u64,
    /// Runs with one cut: each operation times each kind.
    pub cuts: u64,
    /// Runs with two cuts.
    pub pairs: u64,
    /// Runs that started whole images only and came to the right end.
    pub survived: u64,
    /// What went wrong in the first of the others; with the peer, in all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

const OURS: &str = "compotastic";

/// The peer: its boot loader exchanges slots too, without digests, log or counted trials.
fn peer_rows(args: &PowerCutArgs) -> Result<Vec<Row>> {
    let world = World::new(9_000, Coding::Plain, args.seed)?;
    let mut rows = Vec::new();
    for (twice, flash) in
        [(Twice::Refused, "words are written once"), (Twice::Allowed, "words may be written twice")]
    {
        for story in [Story::Confirm, Story::Revert] {
            let count = embassy::run(&world, story, twice)?;
            rows.push(Row {
                method: "embassy-boot 0.7",
                flash,
                write_bytes: 4,
                erase_bytes: 1024,
                image_bytes: world.images[1].bytes.len(),
                object_bytes: world.images[1].bytes.len(),
                story: story.name(),
                operations: count.operations,
                cuts: count.cuts,
                pairs: 0,
                survived: count.survived,
                failure: count.failure,
            });
        }
    }
    Ok(rows)
}

/// Runs one shape through all stories.
fn rows<const SIZE: usize, const WRITE: usize, const ERASE: usize>(
    shape: &Shape,
    args: &PowerCutArgs,
    bar: &ProgressBar,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for story in Story::ALL {
        let campaign = Campaign::<SIZE, WRITE, ERASE>::new(shape, story, args.seed)?;
        bar.set_message(format!("{}, {}", shape.name, story.name()));
        let Count { operations, cuts, pairs, survived, failure } = campaign.run(args.pairs, bar)?;
        rows.push(Row {
            method: OURS,
            flash: shape.name,
            write_bytes: WRITE,
            erase_bytes: ERASE,
            image_bytes: campaign.world().images[1].bytes.len(),
            object_bytes: campaign.world().patches[0].object_len(),
            story: story.name(),
            operations,
            cuts,
            pairs,
            survived,
            failure,
        });
    }
    Ok(rows)
}

/// Measures all shapes.
pub fn measure(args: &PowerCutArgs, bar: &ProgressBar) -> Result<Vec<Row>> {
    const K: usize = 1024;
    let small = |name, page, image_len| Shape { name, page, image_len, log_half: 1, coding: Coding::Plain };
    let mut all = Vec::new();
    let decoder = Shape { coding: Coding::Delta, ..small("delta decoder, 1 KiB pages", 1024, 2_500) };
    all.extend(rows::<{ 32 * K }, 4, 1024>(&decoder, args, bar)?);
    all.extend(rows::<{ 64 * K }, 4, 1024>(&small("nRF51, SAMD: 1 KiB pages", 1024, 9_000), args, bar)?);
    all.extend(rows::<{ 64 * K }, 4, 256>(
        &small("SAMD21: 256 B rows, 1 KiB at once", 1024, 9_000),
        args,
        bar,
    )?);
    all.extend(rows::<{ 64 * K }, 2, 1024>(&small("STM32F1: half-words", 1024, 9_000), args, bar)?);
    all.extend(rows::<{ 128 * K }, 8, 2048>(&small("STM32WL, L4: double words", 2048, 14_000), args, bar)?);
    all.extend(rows::<{ 256 * K }, 1, 4096>(&small("SPI NOR: bytes", 4096, 26_000), args, bar)?);
    all.extend(rows::<{ 512 * K }, 16, 8192>(&small("STM32U5, H5: quad words", 8192, 30_000), args, bar)?);
    if args.full {
        // 63 of 64 pages: the memory map of ARCHITECTURE.md, one page of slot B free.
        let nrf = small("nRF52840: the memory map", 4096, 250_000);
        all.extend(rows::<{ 1024 * K }, 4, 4096>(&nrf, args, bar)?);
        let f4 = small("STM32F4: 128 KiB sectors", 1, 120_000);
        all.extend(rows::<{ 1024 * K }, 4, { 128 * K }>(&f4, args, bar)?);
    }
    all.extend(peer_rows(args)?);
    Ok(all)
}

/// Runs it.
pub fn run(args: &PowerCutArgs) -> Result<()> {
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {msg}")?);
    let rows = measure(args, &bar)?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print(&rows);
    }
    let lost = ours(&rows).filter(|row| row.survived < row.cuts + row.pairs).count();
    ensure!(lost == 0, "{lost} rows of ours have runs that did not survive");
    Ok(())
}

fn ours(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.method == OURS)
}

fn print(rows: &[Row]) {
    println!(
        "{:<17} {:<34} {:>5} {:>6} {:>7} {:>7}  {:<18} {:>10} {:>7} {:>7} {:>9}",
        "method",
        "flash",
        "write",
        "erase",
        "image",
        "object",
        "story",
        "operations",
        "cuts",
        "pairs",
        "survived"
    );
    for row in rows {
        println!(
            "{:<17} {:<34} {:>5} {:>6} {:>7} {:>7}  {:<18} {:>10} {:>7} {:>7} {:>9}",
            row.method,
            row.flash,
            row.write_bytes,
            row.erase_bytes,
            row.image_bytes,
            row.object_bytes,
            row.story,
            row.operations,
            row.cuts,
            row.pairs,
            row.survived
        );
        if let Some(failure) = &row.failure {
            println!("  failure: {failure}");
        }
    }
    let sum = |of: fn(&Row) -> u64| ours(rows).map(of).sum::<u64>();
    let (cuts, pairs) = (sum(|row| row.cuts), sum(|row| row.pairs));
    println!(
        "\ncompotastic: {} flash operations; {cuts} runs with one cut and {pairs} with two; {} survived.",
        sum(|row| row.operations),
        sum(|row| row.survived)
    );
}
