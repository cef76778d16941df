//! What a recording of the demo holds besides its events: settings and inputs as JSON, from which the run can be repeated.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use compotastic_edge::task::TaskSpec;
use compotastic_sim::{
    files,
    recording::{Reader, Source, Verifier},
};

use super::{DemoConfig, Run, inputs::Inputs};

/// Largest recording, bytes.
const LARGEST: u64 = 8 << 30;

/// Settings and inputs of a recorded run.
#[derive(Serialize, Deserialize)]
pub struct Recorded {
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
}

/// From what a run can be repeated.
pub fn source(config: &DemoConfig, inputs: &Inputs) -> Result<Source> {
    let recorded = Recorded {
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
    };
    Ok(Source::Demo(serde_json::to_string(&recorded)?))
}

/// Reads a recording of the demo: its bytes, and what the run was made of.
pub fn read(path: &Path) -> Result<(Vec<u8>, Recorded)> {
    let bytes = files::read(path, LARGEST).with_context(|| format!("cannot read {}", path.display()))?;
    let (header, _) = Reader::new(&bytes).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let Source::Demo(json) = header.source else {
        bail!(
            "{0} is the recording of a scenario: `compotastic sim replay {0} --verify` repeats it",
            path.display()
        );
    };
    let recorded = Recorded::parse(&json).with_context(|| format!("cannot use {}", path.display()))?;
    Ok((bytes, recorded))
}

/// Repeats a recorded run and compares it event by event.
pub fn repeat(bytes: Vec<u8>, config: &DemoConfig, inputs: &Inputs, quiet: bool) -> Result<Run> {
    super::run(config, inputs, quiet, |header| Ok(Some(Box::new(Verifier::new(bytes, header)?))))
}

impl Recorded {
    /// Reads the JSON of a recording.
    pub fn parse(json: &str) -> Result<Self> {
        let recorded: Self = serde_json::from_str(json).context("the recorded inputs are not the demo's")?;
        let inputs = recorded.inputs()?;
        ensure!(
            inputs.sha256() == recorded.inputs_sha256,
            "the inputs do not have the recorded hash: another base encoder is built in"
        );
        Ok(recorded)
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
}
