//! What is measured, as rows.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::{harness::Outcome, topology::Class};

/// A way to spread an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Method {
    /// Ours, on native nodes.
    Compotastic,
    /// Ours, each node behind a stock radio.
    CompotasticHosted,
    /// Direct messages to each node in turn.
    Unicast,
    /// All chunks flooded, round and round.
    FloodedCarousel,
    /// Symbols of an ideal fountain flooded.
    FloodedFountain,
    /// The same by plain flooding: each node repeats each packet once.
    PlainFountain,
    /// Blocks of 1 KiB pulled hop by hop.
    BlockPull,
}

impl Method {
    /// All, ours first.
    pub const ALL: [Self; 7] = [
        Self::Compotastic,
        Self::CompotasticHosted,
        Self::Unicast,
        Self::FloodedCarousel,
        Self::FloodedFountain,
        Self::PlainFountain,
        Self::BlockPull,
    ];

    /// Its name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compotastic => "compotastic",
            Self::CompotasticHosted => "compotastic-hosted",
            Self::Unicast => "unicast",
            Self::FloodedCarousel => "flooded-carousel",
            Self::FloodedFountain => "flooded-fountain",
            Self::PlainFountain => "plain-fountain",
            Self::BlockPull => "block-pull",
        }
    }

    /// Whether it is ours.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Compotastic | Self::CompotasticHosted)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Method.
    pub method: Method,
    /// Kind of topology.
    pub class: Class,
    /// Which field; 0 for lines and grids.
    pub seed: u64,
    /// Nodes, the source included.
    pub nodes: usize,
    /// Loss per transmission and receiver.
    pub loss: f64,
    /// Bytes of the object.
    pub bytes: usize,
    /// Nodes of the connected dominating set.
    pub cds: usize,
    /// Transmissions of the reference.
    pub reference: f64,
    /// What was measured.
    pub outcome: Outcome,
}

/// A row as JSON.
#[derive(Serialize)]
struct JsonRow<'r> {
    method: &'static str,
    topology: String,
    seed: u64,
    nodes: usize,
    loss: f64,
    bytes: usize,
    #[serde(flatten)]
    outcome: &'r Outcome,
    reference_transmissions: f64,
    dominating_nodes: usize,
    complete: bool,
}

impl Row {
    /// All nodes hold the object.
    pub fn is_complete(&self) -> bool {
        self.outcome.completed_nodes == self.nodes
    }

    /// Transmissions in references.
    pub fn references(&self) -> f64 {
        self.outcome.transmissions as f64 / self.reference
    }

    /// The row as a JSON value.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(JsonRow {
            method: self.method.name(),
            topology: self.class.to_string(),
            seed: self.seed,
            nodes: self.nodes,
            loss: self.loss,
            bytes: self.bytes,
            outcome: &self.outcome,
            reference_transmissions: self.reference,
            dominating_nodes: self.cds,
            complete: self.is_complete(),
        })
    }
}

/// Geometric mean of positive values; `None` without any.
pub fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0u32);
    for value in values.filter(|value| *value > 0.0) {
        sum += value.ln();
        count += 1;
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometric_mean() {
        assert_eq!(geometric_mean(std::iter::empty()), None);
        assert!((geometric_mean([1.0, 4.0].into_iter()).unwrap() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_row_has_the_fields_of_the_benchmark() {
        let row = Row {
            method: Method::BlockPull,
            class: Class::Sparse,
            seed: 3,
            nodes: 50,
            loss: 0.1,
            bytes: 4500,
            cds: 9,
            reference: 230.0,
            outcome: Outcome {
                transmissions: 460,
                airtime_s: 800.5,
                complete_s: 3600.0,
                completed_nodes: 49,
            },
        };
        assert!(!row.is_complete() && (row.references() - 2.0).abs() < 1e-12);
        let json = row.json().unwrap();
        assert_eq!(json["method"], "block-pull");
        assert_eq!(json["topology"], "field-sparse");
        for field in [
            "nodes",
            "loss",
            "bytes",
            "transmissions",
            "airtime_s",
            "complete_s",
            "completed_nodes",
            "reference_transmissions",
        ] {
            assert!(json[field].is_number(), "{field}");
        }
    }
}
