//! `compotastic bench delta`: patches of firmware and models beside the public tools.

mod peers;

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use compotastic_delta::{
    Apply,
    encode::{Hint, decode_to_vec, encode},
};
use serde::Serialize;

/// An update is minor if the best public tool's patch is under this share of the new image.
const MINOR: f64 = 0.08;

/// Memory that the device's decoder may have, its buffer for writing included.
const RAM_LIMIT: usize = 16 * 1024;

/// Options of `bench delta`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic bench delta pairs\n  compotastic bench delta pairs --json\n\n\
    The public tools are run where they are installed: bsdiff, xdelta3, zstd, detools and hdiffpatch (Python)."
)]
pub struct DeltaArgs {
    /// Folder with <pair>/old.bin and <pair>/new.bin
    dir: PathBuf,
    /// Prints one JSON row per pair, and one with the means
    #[arg(long)]
    json: bool,
}

/// One pair.
#[derive(Serialize)]
struct Row {
    pair: String,
    old_bytes: usize,
    new_bytes: usize,
    patch_bytes: usize,
    method: &'static str,
    reason: String,
    decoder_ram_bytes: usize,
    minor: bool,
    encode_s: f64,
    decode_s: f64,
    peers: BTreeMap<&'static str, u64>,
}

impl Row {
    /// Bytes of the best peer.
    fn best(&self) -> Option<u64> {
        self.peers.values().min().copied()
    }

    fn ratio(&self) -> Option<f64> {
        self.best().map(|best| self.patch_bytes as f64 / best as f64)
    }
}

/// Geometric means of our size over the best peer's.
#[derive(Serialize)]
struct Means {
    minor_pairs: usize,
    minor_ratio: Option<f64>,
    all_pairs: usize,
    all_ratio: Option<f64>,
    peers_missing: Vec<&'static str>,
}

fn mean(ratios: &[f64]) -> Option<f64> {
    let sum: f64 = ratios.iter().map(|ratio| libm::log(*ratio)).sum();
    (!ratios.is_empty()).then(|| libm::exp(sum / ratios.len() as f64))
}

/// Runs the benchmark.
///
/// # Errors
/// If a pair cannot be read, or a patch does not give the new image back.
pub fn run(args: &DeltaArgs) -> Result<()> {
    let scratch = peers::Scratch::new()?;
    let mut folders: Vec<PathBuf> = fs::read_dir(&args.dir)
        .with_context(|| {
            format!("cannot read {}: give a folder of <pair>/old.bin and new.bin", args.dir.display())
        })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let lacks = |path: &PathBuf| ["old.bin", "new.bin"].into_iter().find(|name| !path.join(name).is_file());
    // A mean over fewer pairs than the folder has must not pass for one over all.
    for path in &folders {
        if let Some(name) = lacks(path) {
            eprintln!("left out: {} has no {name}", path.display());
        }
    }
    folders.retain(|path| lacks(path).is_none());
    ensure!(!folders.is_empty(), "{} has no <pair>/old.bin and <pair>/new.bin", args.dir.display());
    let progress = if args.json {
        indicatif::ProgressBar::hidden()
    } else {
        indicatif::ProgressBar::new(folders.len() as u64)
    };
    let mut rows = Vec::new();
    for folder in &folders {
        rows.push(measure(&scratch, folder)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let minor: Vec<f64> = rows.iter().filter(|row| row.minor).filter_map(Row::ratio).collect();
    let all: Vec<f64> = rows.iter().filter_map(Row::ratio).collect();
    let missing =
        peers::names().into_iter().filter(|name| !rows.iter().any(|row| row.peers.contains_key(name)));
    let means = Means {
        minor_pairs: minor.len(),
        minor_ratio: mean(&minor),
        all_pairs: all.len(),
        all_ratio: mean(&all),
        peers_missing: missing.collect(),
    };
    if args.json {
        for row in &rows {
            println!("{}", serde_json::to_string(row)?);
        }
        println!("{}", serde_json::to_string(&means)?);
    } else {
        print(&rows, &means);
    }
    Ok(())
}

fn measure(scratch: &peers::Scratch, folder: &std::path::Path) -> Result<Row> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (old, new) = (read("old.bin")?, read("new.bin")?);
    let pair = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let started = std::time::Instant::now();
    let encoded = encode(&old, &new, Hint::Unknown).map_err(|error| anyhow::anyhow!("{pair}: {error:?}"))?;
    let encode_s = started.elapsed().as_secs_f64();
    let started = std::time::Instant::now();
    let decoded = decode_to_vec(&old, &encoded.bytes, new.len() as u32)
        .map_err(|error| anyhow::anyhow!("{pair}: the device's decoder says {error:?}"))?;
    let decode_s = started.elapsed().as_secs_f64();
    ensure!(decoded == new, "{pair}: the device's decoder makes another image");
    let decoder_ram_bytes = size_of::<Apply>();
    ensure!(decoder_ram_bytes <= RAM_LIMIT, "the decoder takes {decoder_ram_bytes} bytes of memory");
    let peers: BTreeMap<_, _> =
        peers::sizes(scratch, &folder.join("old.bin"), &folder.join("new.bin")).into_iter().collect();
    let minor = peers.values().min().is_some_and(|best| (*best as f64) < MINOR * new.len() as f64);
    Ok(Row {
        pair,
        old_bytes: old.len(),
        new_bytes: new.len(),
        patch_bytes: encoded.bytes.len(),
        method: encoded.method.name(),
        reason: encoded.reason,
        decoder_ram_bytes,
        minor,
        encode_s,
        decode_s,
        peers,
    })
}

fn print(rows: &[Row], means: &Means) {
    let names: Vec<&str> =
        peers::names().into_iter().filter(|name| !means.peers_missing.contains(name)).collect();
    print!("{:<32} {:>7} {:>7}", "pair", "image", "ours");
    for name in &names {
        print!(" {:>width$}", name, width = name.len().max(7));
    }
    println!("  of best");
    for row in rows {
        print!("{:<32} {:>7} {:>7}", row.pair, row.new_bytes, row.patch_bytes);
        for name in &names {
            let size = row.peers.get(name).map_or_else(|| "-".to_owned(), u64::to_string);
            print!(" {:>width$}", size, width = name.len().max(7));
        }
        println!("  {}", row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")));
    }
    println!();
    for row in rows {
        println!(
            "{}: {}; encoded in {:.1} s, decoded in {:.1} s",
            row.pair, row.reason, row.encode_s, row.decode_s
        );
    }
    println!();
    let show = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    println!(
        "{} times the best public tool, geometric mean over all {} pairs",
        show(means.all_ratio),
        means.all_pairs
    );
    println!(
        "{} times on the {} minor updates (best public patch under {:.0} % of the image)",
        show(means.minor_ratio),
        means.minor_pairs,
        MINOR * 100.0
    );
    println!("memory of the decoder: {} bytes, with its buffer for writing", size_of::<Apply>());
    for name in &means.peers_missing {
        println!("{name} is not installed and is not in the table");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_geometric() {
        let mean = mean(&[0.25, 1.0]).expect("two ratios");
        assert!((mean - 0.5).abs() < 1e-12, "{mean}");
        assert_eq!(super::mean(&[]), None);
    }

    #[test]
    fn a_pair_is_measured_and_an_empty_folder_is_refused() {
        let scratch = peers::Scratch::new().expect("a temporary folder");
        let folder = std::env::temp_dir().join(format!("compotastic-delta-test-{}", std::process::id()));
        let pair = folder.join("pair");
        fs::create_dir_all(&pair).expect("a temporary folder");
        let refused = run(&DeltaArgs { dir: folder.clone(), json: true });
        assert!(refused.is_err_and(|error| error.to_string().contains("old.bin")));
        fs::write(pair.join("old.bin"), b"what the node had before, word for word").expect("writable");
        fs::write(pair.join("new.bin"), b"what the node has now, word for word").expect("writable");
        let row = measure(&scratch, &pair).expect("a pair");
        assert_eq!((row.pair.as_str(), row.new_bytes), ("pair", 36));
        assert!(row.patch_bytes <= 36 + 7 && row.decoder_ram_bytes <= RAM_LIMIT);
        assert_eq!(row.best(), row.peers.values().min().copied());
        fs::remove_dir_all(&folder).expect("removable");
    }
}
