//! What was predicted and what was measured, as rows, and what they come to.

use compotastic_sim::plan::{Ranges, Way, WayName};
use serde::Serialize;

use super::case::Case;

/// Means are to lie within this share of what comes of it.
const AIM: f64 = 0.2;

/// What one way costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Frames of all nodes.
    pub packets: f64,
    /// Air time, s.
    pub airtime_s: f64,
    /// Energy, mWh.
    pub energy_mwh: f64,
    /// Hours.
    pub hours: f64,
}

/// Names of the figures, in the order of [`Figures::all`].
const NAMES: [&str; 4] = ["packets", "air time", "energy", "hours"];

impl Figures {
    /// Those of a planned way.
    pub fn of(way: &Way) -> Self {
        Self { packets: way.packets, airtime_s: way.airtime_s, energy_mwh: way.energy_mwh, hours: way.hours }
    }

    fn all(&self) -> [f64; 4] {
        [self.packets, self.airtime_s, self.energy_mwh, self.hours]
    }

    fn mean(runs: &[Self]) -> Self {
        let mean = |value: fn(&Self) -> f64| runs.iter().map(value).sum::<f64>() / runs.len().max(1) as f64;
        Self {
            packets: mean(|run| run.packets),
            airtime_s: mean(|run| run.airtime_s),
            energy_mwh: mean(|run| run.energy_mwh),
            hours: mean(|run| run.hours),
        }
    }

    /// Prediction over outcome.
    fn over(&self, other: &Self) -> Ratios {
        let ratio = |predicted: f64, was: f64| (was > 0.0).then_some(predicted / was);
        Ratios {
            packets: ratio(self.packets, other.packets),
            airtime_s: ratio(self.airtime_s, other.airtime_s),
            energy_mwh: ratio(self.energy_mwh, other.energy_mwh),
            hours: ratio(self.hours, other.hours),
        }
    }
}

/// Ratios of [`Figures`]; none where nothing was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Ratios {
    packets: Option<f64>,
    airtime_s: Option<f64>,
    energy_mwh: Option<f64>,
    hours: Option<f64>,
}

impl Ratios {
    fn all(&self) -> [Option<f64>; 4] {
        [self.packets, self.airtime_s, self.energy_mwh, self.hours]
    }
}

/// One way of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// A ready scenario, or `field`.
    topology: String,
    seed: u64,
    nodes: usize,
    loss: f64,
    bytes: usize,
    way: WayName,
    rehearsals: usize,
    runs: usize,
    reaches: usize,
    predicted_packets: f64,
    predicted_airtime_s: f64,
    predicted_energy_mwh: f64,
    predicted_hours: f64,
    measured_packets: f64,
    measured_airtime_s: f64,
    measured_energy_mwh: f64,
    measured_hours: f64,
    ratio_packets: Option<f64>,
    ratio_airtime_s: Option<f64>,
    ratio_energy_mwh: Option<f64>,
    ratio_hours: Option<f64>,
    /// The range that the plan states.
    range: Option<Ranges>,
    /// What the formulas predict.
    formula: Figures,
    /// Each run.
    measured: Vec<Figures>,
}

impl Row {
    /// What the runs of a case make of a prediction.
    pub fn new(case: &Case, way: &Way, formula: &Figures, measured: &[Figures]) -> Self {
        let mean = Figures::mean(measured);
        let ratios = Figures::of(way).over(&mean);
        Self {
            topology: case.name.clone(),
            seed: case.seed,
            nodes: case.nodes,
            loss: case.loss,
            bytes: case.bytes,
            way: way.way,
            rehearsals: way.rehearsals,
            runs: measured.len(),
            reaches: way.reaches,
            predicted_packets: way.packets,
            predicted_airtime_s: way.airtime_s,
            predicted_energy_mwh: way.energy_mwh,
            predicted_hours: way.hours,
            measured_packets: mean.packets,
            measured_airtime_s: mean.airtime_s,
            measured_energy_mwh: mean.energy_mwh,
            measured_hours: mean.hours,
            ratio_packets: ratios.packets,
            ratio_airtime_s: ratios.airtime_s,
            ratio_energy_mwh: ratios.energy_mwh,
            ratio_hours: ratios.hours,
            range: way.range,
            formula: *formula,
            measured: measured.to_vec(),
        }
    }

    fn predicted(&self) -> Figures {
        Figures {
            packets: self.predicted_packets,
            airtime_s: self.predicted_airtime_s,
            energy_mwh: self.predicted_energy_mwh,
            hours: self.predicted_hours,
        }
    }

    /// Share of the runs' figures that lie in the range, by figure.
    fn held(&self) -> Option<[usize; 4]> {
        let range = self.range?;
        let ranges = [range.packets, range.airtime_s, range.energy_mwh, range.hours];
        Some(std::array::from_fn(|figure| {
            self.measured.iter().filter(|run| ranges[figure].holds(run.all()[figure])).count()
        }))
    }
}

fn close(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= AIM
}

/// What the ratios of one figure come to, of predictions by one method.
#[derive(Default)]
struct Tally {
    /// Ratios to the means.
    means: Vec<f64>,
    /// Ratios to single runs.
    singles: Vec<f64>,
}

impl Tally {
    fn of(rows: &[&Row], figure: usize, predicted: fn(&Row) -> Figures) -> Self {
        let mut tally = Self::default();
        for row in rows {
            let predicted = predicted(row);
            tally.means.extend(predicted.over(&Figures::mean(&row.measured)).all()[figure]);
            let singles = row.measured.iter().filter_map(|run| predicted.over(run).all()[figure]);
            tally.singles.extend(singles);
        }
        tally
    }

    fn geometric_mean(&self) -> f64 {
        (self.means.iter().map(|ratio| ratio.ln()).sum::<f64>() / self.means.len() as f64).exp()
    }

    fn share(ratios: &[f64]) -> f64 {
        100.0 * ratios.iter().filter(|ratio| close(**ratio)).count() as f64 / ratios.len() as f64
    }
}

fn way(name: WayName) -> &'static str {
    match name {
        WayName::Mesh => "mesh",
        WayName::Carrier => "carrier",
        WayName::Both => "both",
    }
}

/// Prints the rows, and what they come to.
pub fn print(rows: &[Row]) {
    println!(
        "{:<14}{:>5}{:>6}{:>6}{:>7}  {:<8}{:>5}{:>5}{:>9}{:>9}{:>7}{:>8}{:>8}{:>7}{:>7}{:>7}",
        "topology",
        "seed",
        "nodes",
        "loss",
        "bytes",
        "way",
        "reh.",
        "runs",
        "packets",
        "was",
        "ratio",
        "hours",
        "was",
        "ratio",
        "air",
        "energy"
    );
    let cell = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_string(), |ratio| format!("{ratio:.2}"));
    for row in rows {
        println!(
            "{:<14}{:>5}{:>6}{:>6.2}{:>7}  {:<8}{:>5}{:>5}{:>9.0}{:>9.0}{:>7}{:>8.2}{:>8.2}{:>7}{:>7}{:>7}",
            row.topology,
            row.seed,
            row.nodes,
            row.loss,
            row.bytes,
            way(row.way),
            row.rehearsals,
            row.runs,
            row.predicted_packets,
            row.measured_packets,
            cell(row.ratio_packets),
            row.predicted_hours,
            row.measured_hours,
            cell(row.ratio_hours),
            cell(row.ratio_airtime_s),
            cell(row.ratio_energy_mwh)
        );
    }
    println!(
        "\n{:<9}{:<11}{:<10}{:>7}{:>12}{:>18}{:>20}{:>17}",
        "way",
        "method",
        "figure",
        "cases",
        "mean ratio",
        "means within 20 %",
        "runs within 20 %",
        "runs in range"
    );
    for name in [WayName::Mesh, WayName::Both, WayName::Carrier] {
        let of: Vec<&Row> = rows.iter().filter(|row| row.way == name).collect();
        if of.is_empty() {
            continue;
        }
        let predicted: fn(&Row) -> Figures = Row::predicted;
        let methods = match name {
            WayName::Carrier => vec![("formula", predicted)],
            _ => vec![("rehearsal", predicted), ("formula", (|row| row.formula) as fn(&Row) -> Figures)],
        };
        for (method, predicted) in methods {
            for (figure, figure_name) in NAMES.iter().enumerate() {
                let tally = Tally::of(&of, figure, predicted);
                if tally.means.is_empty() {
                    continue;
                }
                let runs: usize = of.iter().map(|row| row.measured.len()).sum();
                let held: usize = of.iter().filter_map(|row| Some(row.held()?[figure])).sum();
                let in_range = match method {
                    "rehearsal" => format!("{:.0} %", 100.0 * held as f64 / runs as f64),
                    _ => "-".to_string(),
                };
                println!(
                    "{:<9}{method:<11}{figure_name:<10}{:>7}{:>12.2}{:>16.0} %{:>18.0} %{in_range:>17}",
                    way(name),
                    tally.means.len(),
                    tally.geometric_mean(),
                    Tally::share(&tally.means),
                    Tally::share(&tally.singles)
                );
            }
        }
    }
    println!(
        "\nRatios are predicted over measured; \"mean ratio\" is the geometric mean over cases. \"runs in range\": a plan states where eight of \
         ten runs lie."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(value: f64) -> Figures {
        Figures { packets: value, airtime_s: value, energy_mwh: value, hours: value }
    }

    #[test]
    fn ratios_of_means_and_of_single_runs_are_apart() {
        let runs = [figures(50.0), figures(150.0)];
        let ratio = figures(110.0).over(&Figures::mean(&runs)).all()[0].unwrap();
        assert!(close(ratio), "the mean is close: {ratio}");
        assert!(runs.iter().all(|run| !close(figures(110.0).over(run).all()[3].unwrap())), "no run is");
        assert_eq!(figures(3.0).over(&figures(0.0)).all(), [None; 4], "nothing was sent");
    }

    #[test]
    fn a_tally_counts_what_is_close_and_how_far_off_all_are() {
        let tally = Tally { means: vec![0.5, 2.0, 1.1], singles: Vec::new() };
        assert!((tally.geometric_mean() - 1.1_f64.powf(1.0 / 3.0)).abs() < 1e-9);
        assert!((Tally::share(&tally.means) - 100.0 / 3.0).abs() < 1e-9);
    }
}
