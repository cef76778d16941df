//! `compotastic try`.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use compotastic_edge::{
    distil::task::{TaskConfig, try_text},
    student::distil_student,
    task::check_report,
    teacher::{BASE_ENCODER, Teacher, answer},
};
use compotastic_model::BaseEncoder;

use super::demo::TeacherChoice;
use crate::demo::inputs;

/// Answers one sentence from teacher and student side by side.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic try \"two hikers, one with a broken ankle, below the north ridge hut\"\n  compotastic try --task mine.csv \"the pump is leaking\""
)]
pub struct TryArgs {
    /// The sentence
    text: String,
    /// Task of your own (CSV, see `compotastic demo --help`)
    #[arg(long, value_name = "FILE.csv")]
    task: Option<PathBuf>,
    /// Urgent classes, comma separated
    #[arg(long, value_delimiter = ',')]
    urgent: Vec<String>,
    /// Teacher
    #[arg(long, value_enum, default_value_t = TeacherChoice::Auto)]
    teacher: TeacherChoice,
}

/// Runs it.
pub fn run(args: &TryArgs) -> Result<()> {
    check_report(args.text.trim()).context("the sentence")?;
    let task = inputs::read_task(args.task.as_ref(), &args.urgent)?;
    let (encoder, note) = inputs::encoder(args.teacher, false, false)?;
    if let Some(note) = note {
        println!("{note}\n");
    }
    let teacher = Teacher::fit(encoder, &task)?;
    let classes = task.classes.len();
    let base = BaseEncoder::parse(BASE_ENCODER)?;
    let unlabelled: Vec<&str> = task.unlabelled.iter().map(String::as_str).collect();
    let answers: BTreeMap<&str, Vec<f64>> =
        unlabelled.iter().copied().zip(teacher.classify(&unlabelled)?).collect();
    let student = distil_student(&task, &[], |text| answers.get(text).cloned(), &TaskConfig::new(1, 1))?;
    let said = &teacher.classify(&[args.text.as_str()])?[0];
    let (teacher_class, sure) = answer(said);
    let (ours, logits) = try_text(&base, &student.bytes, &args.text)?;
    let name = |class: usize| task.classes[class].name.as_str();
    println!("{:<28} {:<16} sure", "", "answer");
    println!(
        "{:<28} {:<16} {:.0} %",
        format!("teacher ({})", teacher.encoder().name()),
        name(teacher_class),
        sure * 100.0
    );
    println!(
        "{:<28} {:<16} {:.0} %{}",
        format!("student ({} bytes)", student.bytes.len()),
        name(usize::from(ours.class)),
        f64::from(ours.confidence) / 2.55,
        if ours.unsure { "  unsure: would ask the teacher" } else { "" }
    );
    println!("\n{:<16} {:>8} {:>10}", "class", "teacher", "student");
    for class in 0..classes {
        println!("{:<16} {:>7.1}% {:>10.2}", name(class), said[class] * 100.0, logits[class]);
    }
    Ok(())
}
