//! Trains the table of `compotastic-text`, checks it, and measures text codecs.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use compotastic_text_train::train::{Source, measure, train};
use compotastic_text_train::{bench, corpus, recipe};

const USAGE: &str = "\
usage:
  train --corpus DIR --wordnet DIR --out FILE.bin   train and write FILE.bin and FILE.toml
  train --corpus DIR --wordnet DIR --check FILE.bin [--quick]
                       train again and compare; --quick: hashes and the first steps only
  measure --corpus DIR --wordnet DIR   train on most of the corpus, measure on the rest
  bench FILE --corpus DIR              codecs side by side on the messages in FILE
  vectors FILE --out FILE.tsv          codec, payload and text of every message in FILE
options: --threads N (2; the result is the same with any number), --steps N, --hidden N, --embed N";

#[derive(Default)]
struct Options {
    file: Option<PathBuf>,
    corpus: Option<PathBuf>,
    wordnet: Option<PathBuf>,
    out: Option<PathBuf>,
    check: Option<PathBuf>,
    quick: bool,
    threads: Option<usize>,
    steps: Option<usize>,
    rounded: Option<usize>,
    hidden: Option<usize>,
    embed: Option<usize>,
    rate: Option<f32>,
    mix: Option<Vec<u32>>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        if name == "--quick" {
            options.quick = true;
            continue;
        }
        if !name.starts_with("--") {
            options.file = Some(PathBuf::from(name));
            continue;
        }
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        let number = || value.parse::<usize>().with_context(|| format!("{name} needs a number"));
        match name.as_str() {
            "--corpus" => options.corpus = Some(value.into()),
            "--wordnet" => options.wordnet = Some(value.into()),
            "--out" => options.out = Some(value.into()),
            "--check" => options.check = Some(value.into()),
            "--threads" => options.threads = Some(number()?),
            "--steps" => options.steps = Some(number()?),
            "--rounded" => options.rounded = Some(number()?),
            "--hidden" => options.hidden = Some(number()?),
            "--embed" => options.embed = Some(number()?),
            "--rate" => options.rate = Some(value.parse()?),
            "--mix" => options.mix = Some(value.split(',').map(str::parse).collect::<Result<_, _>>()?),
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().context(USAGE)?;
    let options = options(arguments)?;
    match mode.as_str() {
        "train" => train_table(&options),
        "measure" => measure_plan(&options),
        "bench" => bench_file(&options),
        "vectors" => write_vectors(&options),
        _ => bail!("{USAGE}"),
    }
}

fn inputs(options: &Options, hold_out: bool) -> Result<recipe::Inputs> {
    let folder = options.corpus.as_deref().context("--corpus DIR is missing")?;
    let wordnet = options.wordnet.as_deref().context("--wordnet DIR is missing")?;
    recipe::Inputs::read(folder, wordnet, hold_out)
}

fn train_table(options: &Options) -> Result<()> {
    let inputs = inputs(options, false)?;
    let plan = recipe::plan(options.threads.unwrap_or(2));
    if let (Some(path), true) = (&options.check, options.quick) {
        let note = fs::read_to_string(path.with_extension("toml"))?;
        recipe::quick_check(&inputs, &plan, &fs::read(path)?, &note)?;
        println!("{} belongs to its inputs, and training starts as it did", path.display());
        return Ok(());
    }
    let start = Instant::now();
    let made = recipe::make(&inputs, &plan, |step, loss| {
        if step % 500 == 0 {
            let (seconds, steps) = (start.elapsed().as_secs(), plan.steps);
            println!("step {step} of {steps}, {seconds} s: {loss:.3} bits per symbol");
        }
    });
    if let Some(path) = &options.check {
        ensure!(fs::read(path)? == made.table, "{} differs from what training gives", path.display());
        ensure!(fs::read_to_string(path.with_extension("toml"))? == made.note, "the note differs");
        println!("{} is what training gives", path.display());
    }
    if let Some(path) = &options.out {
        fs::write(path, &made.table).with_context(|| format!("cannot write {}", path.display()))?;
        fs::write(path.with_extension("toml"), &made.note)?;
    }
    Ok(())
}

fn measure_plan(options: &Options) -> Result<()> {
    let inputs = inputs(options, true)?;
    let mut plan = recipe::plan(options.threads.unwrap_or(2));
    plan.steps = options.steps.unwrap_or(plan.steps);
    plan.rounded_steps = options.rounded.unwrap_or(plan.steps / 2);
    plan.rate = options.rate.unwrap_or(plan.rate);
    plan.sizes.hidden = options.hidden.unwrap_or(plan.sizes.hidden);
    plan.sizes.embed = options.embed.unwrap_or(plan.sizes.embed);
    if let Some(mix) = &options.mix {
        plan.mix = mix.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    }
    let texts = Source::new(inputs.held_out()).texts;
    for source in inputs.sources() {
        let symbols: usize = source.texts.iter().map(Vec::len).sum();
        println!("{} texts, {symbols} symbols", source.texts.len());
    }
    let start = Instant::now();
    let weights = train(&plan, inputs.sources(), |step, loss, weights| {
        if step % 500 == 0 {
            let held = measure(plan.sizes, weights, &texts).1;
            println!("{step} {} s: {loss:.3}, held out {held:.3} before rounding", start.elapsed().as_secs());
        }
    });
    println!("held out: {:.3} bits per character", measure(plan.sizes, &weights, &texts).1);
    if let Some(path) = &options.out {
        fs::write(path, compotastic_text_train::quant::table(&weights, [0; 8]))?;
    }
    Ok(())
}

fn bench_file(options: &Options) -> Result<()> {
    let file = options.file.as_deref().context("FILE is missing")?;
    let content = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let training = match &options.corpus {
        Some(folder) => corpus::read_folder(folder)?.lines,
        None => Vec::new(),
    };
    let training: Vec<&str> = training.iter().map(String::as_str).collect();
    for row in bench::run(&bench::messages(&content), &training)? {
        let bench::Row { codec, bits_per_char, table_bytes, grown_messages } = row;
        println!(
            "{codec:26} {bits_per_char:6.3} bits/char {table_bytes:7} bytes of table {grown_messages:3} grown"
        );
    }
    Ok(())
}

fn write_vectors(options: &Options) -> Result<()> {
    let file = options.file.as_deref().context("FILE is missing")?;
    let content = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = String::new();
    for text in bench::messages(&content) {
        let mut packed = vec![0; text.len()];
        let (codec, len) = compotastic_text::encode(text, &mut packed)?;
        let hex: String = packed[..len].iter().map(|byte| format!("{byte:02x}")).collect();
        lines += &format!("{codec}\t{hex}\t{text}\n");
    }
    fs::write(options.out.as_deref().context("--out FILE is missing")?, lines)?;
    Ok(())
}
