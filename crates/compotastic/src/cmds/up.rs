//! `compotastic up`: the daemon with this program's models.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use compotastic_daemon::{
    brain::TaskNames,
    seam::SharedBrain,
    up::{self, UpArgs},
};

use super::demo::TeacherChoice;
use crate::{brain::EdgeBrain, demo::inputs};

/// Number of the task that is in the program.
const OWN_TASK: u8 = 1;

/// Options of `up`: the daemon's, and which of this program's models answer.
#[derive(Args)]
pub struct UpCommand {
    #[command(flatten)]
    up: UpArgs,
    /// No model of this program answers: what is asked here goes to others
    #[arg(long)]
    no_model: bool,
    /// Task of your own (CSV, see `compotastic demo --help`); with --no-model it names the classes of answers
    #[arg(long, value_name = "FILE.csv")]
    task_file: Option<PathBuf>,
    /// Urgent classes, comma separated
    #[arg(long, value_delimiter = ',', conflicts_with = "no_model")]
    urgent: Vec<String>,
    /// The model that tells classes and makes vectors
    #[arg(long, value_enum, default_value_t = TeacherChoice::Auto, conflicts_with = "no_model")]
    teacher: TeacherChoice,
}

/// Runs it.
pub fn run(args: UpCommand) -> Result<()> {
    let brain: SharedBrain = if args.no_model {
        // The task in the program is number 1; of others nothing is known but by their file.
        let is_known = args.task_file.is_some() || args.up.task == OWN_TASK;
        let task = is_known.then(|| inputs::read_task(args.task_file.as_ref(), &[])).transpose()?;
        task.map(|task| {
            let names = task.classes.into_iter().map(|class| class.name).collect();
            std::sync::Arc::new(TaskNames::new(names)) as _
        })
    } else {
        let task = inputs::read_task(args.task_file.as_ref(), &args.urgent)?;
        let (encoder, note) = inputs::encoder(args.teacher, false, false)?;
        if let Some(note) = note {
            eprintln!("{note}");
        }
        Some(std::sync::Arc::new(EdgeBrain::fit(encoder, &task).context("the model cannot be used")?))
    };
    up::run(args.up, brain)
}
