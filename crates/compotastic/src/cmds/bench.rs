//! `compotastic bench`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use compotastic_bench::power_cut::PowerCutArgs;
use compotastic_edge::{
    distil::task::{TaskConfig, evaluate},
    student::distil_student,
    teacher::{BASE_ENCODER, answer},
};
use compotastic_model::BaseEncoder;
use compotastic_text_train::bench;
use serde::Serialize;

use super::{bench_job::JobArgs, demo::TeacherChoice};
use crate::demo::inputs;

/// Measures, and prints each figure beside its peer or its limit.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Bits per character of the text coder on a file of messages
    Text(TextArgs),
    /// Accuracy of teacher, student and both together on the test split of a task
    Student(StudentArgs),
    /// Air time per remote job beside a plain-text bot and the two smallest packets
    Job(JobArgs),
    /// Overhead and RAM of the erasure code beside the ideal, LoRaWAN's, retransmission by name, and RaptorQ
    Fec(compotastic_bench::fec::FecArgs),
    /// Sizes of patches beside bsdiff, xdelta3, zstd, detools and HDiffPatch
    Delta(compotastic_bench::delta::DeltaArgs),
    /// Power cuts at every flash operation of a firmware update
    PowerCut(PowerCutArgs),
    /// Bytes on the air until the registries of 100 nodes agree, beside other ways to find what differs
    Sync(compotastic_bench::sync::SyncArgs),
    /// Frames and air time until all nodes hold an object, beside its peers and the reference cost
    Spread(compotastic_bench::spread::SpreadArgs),
    /// What plans of pushes predict beside what comes of them
    Plan(compotastic_bench::plan::PlanArgs),
    /// What the traffic of others suffers from an update in the same valley
    Company(compotastic_bench::company::CompanyArgs),
    /// Throughput and latency of a shared radio with many clients, one of them greedy
    Share(compotastic_bench::share::ShareArgs),
    /// Sixty days behind a radio that reboots, stalls, drops, babbles and kicks its client out
    Soak(compotastic_bench::soak::SoakArgs),
}

/// Options of `bench text`.
#[derive(Args)]
#[command(after_help = "Example:\n  compotastic bench text messages.txt")]
pub struct TextArgs {
    /// Messages, one per line
    file: PathBuf,
    /// Corpus of the table, from which zstd gets its dictionary
    #[arg(long, value_name = "DIR", default_value = "crates/text/corpus")]
    corpus: PathBuf,
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
}

/// Options of `bench student`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bench student\n  compotastic bench student --task mine.csv --teacher in-tree --json"
)]
pub struct StudentArgs {
    /// Task of your own (CSV, see `compotastic demo --help`)
    #[arg(long, value_name = "FILE.csv")]
    task: Option<PathBuf>,
    /// Urgent classes, comma separated
    #[arg(long, value_delimiter = ',')]
    urgent: Vec<String>,
    /// Teacher
    #[arg(long, value_enum, default_value_t = TeacherChoice::Auto)]
    teacher: TeacherChoice,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// What `bench student` measures; shares are fractions.
#[derive(Serialize)]
struct StudentRow {
    teacher: String,
    classes: usize,
    test_reports: usize,
    teacher_accuracy: f64,
    student_accuracy: f64,
    system_accuracy: f64,
    local_share: f64,
    teacher_urgent_recall: f64,
    system_urgent_recall: f64,
    student_bytes: usize,
    expected_local_share: f64,
    expected_agreement: f64,
    distil_s: f64,
    trade_off: Vec<(f64, f64)>,
}

/// Runs it.
pub fn run(command: BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Text(args) => text(&args),
        BenchCommand::Student(args) => student(&args),
        BenchCommand::Job(args) => super::bench_job::run(&args),
        BenchCommand::Fec(args) => compotastic_bench::fec::run(&args),
        BenchCommand::Delta(args) => compotastic_bench::delta::run(&args),
        BenchCommand::PowerCut(args) => compotastic_bench::power_cut::run(&args),
        BenchCommand::Sync(args) => compotastic_bench::sync::run(&args),
        BenchCommand::Spread(args) => compotastic_bench::spread::run(&args),
        BenchCommand::Plan(args) => compotastic_bench::plan::run(&args, super::sim::base()?),
        BenchCommand::Company(args) => compotastic_bench::company::run(&args),
        BenchCommand::Share(args) => compotastic_bench::share::run(args),
        BenchCommand::Soak(args) => compotastic_bench::soak::run(&args),
    }
}

fn text(args: &TextArgs) -> Result<()> {
    let content = read_messages(&args.file)?;
    let messages = bench::messages(&content);
    ensure!(!messages.is_empty(), "{}: no messages in it: one per line is expected", args.file.display());
    let corpus = corpus(&args.corpus)?;
    let training: Vec<&str> = corpus.lines().filter(|line| !line.is_empty()).collect();
    let rows = bench::run(&messages, &training)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!("{:<28} {:>9} {:>12} {:>7}", "codec", "bits/char", "table bytes", "grown");
    for row in rows {
        println!(
            "{:<28} {:>9.3} {:>12} {:>7}",
            row.codec, row.bits_per_char, row.table_bytes, row.grown_messages
        );
    }
    Ok(())
}

fn read_messages(path: &PathBuf) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("{} is not UTF-8 text: is it a binary file?", path.display()))
}

/// Texts for the dictionary of zstd: the corpus of our table, when it is at hand.
fn corpus(folder: &PathBuf) -> Result<String> {
    let mut all = String::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(all) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
        all += &read_messages(path)?;
        all.push('\n');
    }
    Ok(all)
}

fn student(args: &StudentArgs) -> Result<()> {
    let wanted = inputs::Wanted {
        teacher: args.teacher,
        fetch: false,
        task: args.task.clone(),
        urgent: args.urgent.clone(),
        reports: None,
    };
    let inputs = inputs::load(&wanted, args.json)?;
    ensure!(!inputs.task.test.is_empty(), "the task has no test split: mark some rows with split = test");
    let began = std::time::Instant::now();
    let made = distil_student(&inputs.task, &[], |text| inputs.probabilities(text), &TaskConfig::new(1, 1))?;
    let distil_s = began.elapsed().as_secs_f64();
    let tests: Vec<(&str, usize, usize)> = inputs
        .task
        .test
        .iter()
        .filter_map(|(text, label)| Some((text.as_str(), *label, answer(&inputs.probabilities(text)?).0)))
        .collect();
    let found = evaluate(&BaseEncoder::parse(BASE_ENCODER)?, &made.bytes, &tests)?;
    let row = StudentRow {
        teacher: inputs.teacher.clone(),
        classes: inputs.task.classes.len(),
        test_reports: tests.len(),
        teacher_accuracy: found.teacher_accuracy,
        student_accuracy: found.student_accuracy,
        system_accuracy: found.system_accuracy,
        local_share: found.local_share,
        teacher_urgent_recall: found.teacher_urgent_recall,
        system_urgent_recall: found.system_urgent_recall,
        student_bytes: made.bytes.len(),
        expected_local_share: made.local_share,
        expected_agreement: made.agreement,
        distil_s,
        trade_off: found.trade_off,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&row)?);
        return Ok(());
    }
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    println!("{} test reports in {} classes\n", row.test_reports, row.classes);
    println!("{:<34} {:>9} {:>15}", "", "accuracy", "urgent recall");
    println!(
        "{:<34} {:>9} {:>15}",
        format!("teacher ({})", row.teacher),
        percent(row.teacher_accuracy),
        percent(row.teacher_urgent_recall)
    );
    println!(
        "{:<34} {:>9}",
        format!("student alone ({} bytes)", row.student_bytes),
        percent(row.student_accuracy)
    );
    println!(
        "{:<34} {:>9} {:>15}",
        format!("together, {} here", percent(row.local_share)),
        percent(row.system_accuracy),
        percent(row.system_urgent_recall)
    );
    println!("\nanswered here   accuracy of both together");
    for (local, accuracy) in &row.trade_off {
        println!("{:>12}   {:<9}", percent(*local), percent(*accuracy));
    }
    println!(
        "\ndistilled in {:.1} s; expected beforehand: {} here, agreement of the student alone {}",
        row.distil_s,
        percent(row.expected_local_share),
        percent(row.expected_agreement)
    );
    Ok(())
}
