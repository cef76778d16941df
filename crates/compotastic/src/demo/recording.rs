//! Recordings: what a replay needs, as one JSON file. Text, so that it can be read and compared.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use compotastic_edge::task::TaskSpec;

use super::{DemoConfig, Run, inputs::Inputs};

const FORMAT: &str = "compotastic-recording-1";

/// A recorded run.
#[derive(Serialize, Deserialize)]
pub struct Recording {
    format: String,
    seed: u64,
    field_nodes: usize,
    edge_nodes: usize,
    preset: String,
    region: String,
    loss_ppm: u32,
    hours: f64,
    edge_leaves_h: Option<f64>,
    teacher: String,
    teacher_version: u8,
    task: TaskSpec,
    reports: Vec<String>,
    answers: BTreeMap<String, Vec<u16>>,
    inputs_sha256: String,
    event_log_sha256: String,
}

impl Recording {
    /// Reads a recording.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let recording: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is no recording: make one with `demo --record FILE`", path.display())
        })?;
        ensure!(
            recording.format == FORMAT,
            "{} has format {}, this program reads {FORMAT}",
            path.display(),
            recording.format
        );
        let inputs = recording.inputs()?;
        ensure!(
            inputs.sha256() == recording.inputs_sha256,
            "{}: the inputs do not have the recorded hash: the file was changed, or another base encoder is built in",
            path.display()
        );
        Ok(recording)
    }

    /// Writes a recording of a run.
    pub fn write(path: &Path, config: &DemoConfig, inputs: &Inputs, run: &Run) -> Result<()> {
        let recording = Self {
            format: FORMAT.into(),
            seed: config.seed,
            field_nodes: config.field_nodes,
            edge_nodes: config.edge_nodes,
            preset: config.preset.to_string(),
            region: config.region.to_string(),
            loss_ppm: config.loss_ppm,
            hours: config.hours,
            edge_leaves_h: config.edge_leaves_h,
            teacher: inputs.teacher.clone(),
            teacher_version: inputs.teacher_version,
            task: inputs.task.clone(),
            reports: inputs.reports.clone(),
            answers: inputs.answers.clone(),
            inputs_sha256: inputs.sha256(),
            event_log_sha256: run.outcome.event_log_sha256.clone(),
        };
        std::fs::write(path, serde_json::to_string(&recording)?)?;
        Ok(())
    }

    /// The settings of the run.
    pub fn config(&self) -> Result<DemoConfig> {
        let named =
            |what: &str, name: &str| anyhow!("the recording names {what} {name}, which is not known here");
        ensure!(
            (2..=200).contains(&self.field_nodes) && self.edge_nodes <= 4,
            "the recording's node counts are out of range"
        );
        ensure!(self.hours > 0.0 && self.hours <= 1440.0, "the recording's hours are out of range");
        Ok(DemoConfig {
            seed: self.seed,
            field_nodes: self.field_nodes,
            edge_nodes: self.edge_nodes,
            preset: self.preset.parse().map_err(|_| named("preset", &self.preset))?,
            region: self.region.parse().map_err(|_| named("region", &self.region))?,
            loss_ppm: self.loss_ppm,
            hours: self.hours,
            edge_leaves_h: self.edge_leaves_h,
        })
    }

    /// The recorded inputs.
    pub fn inputs(&self) -> Result<Inputs> {
        let classes = self.task.classes.len();
        ensure!(
            (2..=64).contains(&classes) && self.answers.values().all(|row| row.len() == classes),
            "the recorded answers do not fit the recorded task"
        );
        Ok(Inputs {
            task: self.task.clone(),
            reports: self.reports.clone(),
            teacher: self.teacher.clone(),
            teacher_version: self.teacher_version,
            answers: self.answers.clone(),
            notes: Vec::new(),
        })
    }

    /// Hash of the recorded run's events.
    pub fn event_log_sha256(&self) -> &str {
        &self.event_log_sha256
    }
}
