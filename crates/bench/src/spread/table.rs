//! The table for people, and the closing lines with the targets.

use std::collections::BTreeMap;

use super::{
    rows::{Method, Row, geometric_mean},
    topology::Class,
};

/// Transmissions of ours in references, at most.
const REFERENCES_TARGET: f64 = 1.6;
/// Air time of the flooded fountain in that of ours, at least, on fields of 50 nodes.
const FOUNTAIN_TARGET: f64 = 4.0;
const FOUNTAIN_NODES: usize = 50;

/// Topology class, nodes, loss in ppm, bytes.
type Group = (Class, usize, u64, usize);

fn group(row: &Row) -> Group {
    (row.class, row.nodes, (row.loss * 1e6).round() as u64, row.bytes)
}

/// The row of another method on the same topology, loss and size.
fn beside<'r>(rows: &'r [Row], row: &Row, method: Method) -> Option<&'r Row> {
    rows.iter().find(|other| other.method == method && other.seed == row.seed && group(other) == group(row))
}

/// How many times the air time of ours a method took, in geometric mean over the runs that both have; runs that failed count with
/// what they had sent by then.
fn airtime_ratio(rows: &[Row], of: &[&Row], ours: Method) -> Option<f64> {
    geometric_mean(of.iter().filter_map(|row| {
        let ours = beside(rows, row, ours)?;
        Some(row.outcome.airtime_s / ours.outcome.airtime_s)
    }))
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}

/// Prints a line per class, nodes, loss, bytes and method.
pub fn print(rows: &[Row]) {
    let mut groups: BTreeMap<(Group, Method), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((group(row), row.method)).or_default().push(row);
    }
    println!(
        "{:<13}{:>6}{:>6}{:>7}  {:<19}{:>5}{:>8}{:>12}{:>8}{:>11}{:>10}{:>11}",
        "topology",
        "nodes",
        "loss",
        "bytes",
        "method",
        "runs",
        "failed",
        "frames",
        "/ R",
        "airtime s",
        "/ ours",
        "complete h"
    );
    for (((class, nodes, loss_ppm, bytes), method), of) in &groups {
        let mean = |value: fn(&Row) -> f64| geometric_mean(of.iter().map(|row| value(row))).unwrap_or(0.0);
        println!(
            "{class:<13}{nodes:>6}{:>6.2}{bytes:>7}  {method:<19}{:>5}{:>8}{:>12.0}{:>8.2}{:>11.0}{:>10}{:>11.1}",
            *loss_ppm as f64 / 1e6,
            of.len(),
            of.iter().filter(|row| !row.is_complete()).count(),
            mean(|row| row.outcome.transmissions as f64),
            mean(Row::references),
            mean(|row| row.outcome.airtime_s),
            cell(airtime_ratio(rows, of, Method::Compotastic)),
            mean(|row| row.outcome.complete_s) / 3600.0,
        );
    }
    println!(
        "\nGeometric means. R = ceil(bytes / 200) x |CDS| / (1 - loss). A run that failed counts with what was sent until it \
         was given up."
    );
}

/// Prints what the targets came to.
pub fn print_targets(rows: &[Row]) {
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    for ours in [Method::Compotastic, Method::CompotasticHosted] {
        let of: Vec<&Row> = rows.iter().filter(|row| row.method == ours).collect();
        let Some(references) = geometric_mean(of.iter().map(|row| row.references())) else { continue };
        println!(
            "{ours}: {references:.2} R in geometric mean over {} runs (target: at most {REFERENCES_TARGET}): {}",
            of.len(),
            verdict(references <= REFERENCES_TARGET)
        );
        for (method, flooding) in [(Method::FloodedFountain, "managed"), (Method::PlainFountain, "plain")] {
            let of_fields = |row: &&Row| row.class.is_field() && row.nodes == FOUNTAIN_NODES;
            let fountain: Vec<&Row> =
                rows.iter().filter(|row| row.method == method).filter(of_fields).collect();
            let Some(times) = airtime_ratio(rows, &fountain, ours) else { continue };
            println!(
                "{ours}: {times:.2} times less air time than a fountain over {flooding} flooding on the {FOUNTAIN_NODES}-node fields \
                 (target: at least {FOUNTAIN_TARGET}): {}",
                verdict(times >= FOUNTAIN_TARGET)
            );
        }
        let failed = of.iter().filter(|row| !row.is_complete()).count();
        println!(
            "{ours}: all nodes complete in {} of {} runs: {}",
            of.len() - failed,
            of.len(),
            verdict(failed == 0)
        );
    }
}
