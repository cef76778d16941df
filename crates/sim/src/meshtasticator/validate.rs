//! Our runs beside a recorded outcome.

use serde::Serialize;

use super::{
    engine,
    figures::{Figures, NAMES},
    scenario::Scenario,
};

/// One figure: ours, the reference's, and the verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name in the file.
    pub name: &'static str,
    /// Mean of our runs; absent where it is undefined in all of them.
    pub ours: Option<f64>,
    /// Mean of the recorded runs.
    pub reference: Option<f64>,
    /// Their sample standard deviation.
    pub reference_sd: Option<f64>,
    /// Within two standard deviations or 3 % of the reference, whichever is wider; or undefined on both sides.
    pub holds: bool,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Its figures.
    pub figures: Vec<Figure>,
}

impl Verdict {
    /// All figures hold.
    pub fn holds(&self) -> bool {
        self.figures.iter().all(|figure| figure.holds)
    }
}

/// Standard deviations that our mean may be off.
const DEVIATIONS: f64 = 2.0;
/// Share of the reference that it may be off in any case.
const SHARE: f64 = 0.03;

/// Figures of one run.
pub fn figures(scenario: &Scenario, seed: u64) -> Figures {
    engine::run(scenario, seed).counters.figures(scenario.nodes.len(), scenario.simulated_time_ms)
}

/// Compares runs with what was recorded. An error where the file has no outcome to compare with.
pub fn compare(scenario: &Scenario, runs: &[Figures]) -> Result<Verdict, String> {
    if !scenario.outcome.contains_key(NAMES[0]) {
        return Err(format!("outcome: has no {}", NAMES[0]));
    }
    let figures = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let values: Vec<f64> = runs.iter().filter_map(|run| run.values()[index]).collect();
            let ours = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
            let recorded = scenario.outcome.get(*name);
            let number =
                |key: &str| recorded.and_then(|one| one.get(key)).and_then(serde_json::Value::as_f64);
            let (reference, reference_sd) = (number("mean"), number("std"));
            let holds = match (ours, reference) {
                (Some(ours), Some(reference)) => {
                    let wide = (DEVIATIONS * reference_sd.unwrap_or(0.0)).max(SHARE * reference.abs());
                    (ours - reference).abs() <= wide
                }
                (None, None) => true,
                _ => false,
            };
            Figure { name, ours, reference, reference_sd, holds }
        })
        .collect();
    Ok(Verdict { name: scenario.name.clone(), figures })
}
