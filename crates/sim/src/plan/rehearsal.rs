//! A push, rehearsed: the simulator runs it on the mesh of the plan, with the nodes' own code, some times over.
//!
//! The mesh is the same each time (places, shadows); what becomes of each frame, the nodes' dice, and when people talk and where they
//! walk are drawn anew. Only who signed the bundle differs from a real push: the simulated nodes know the simulation's own operator, so that a plan needs no
//! key, and a record more or less is what it is in the real one.
//!
//! Runs differ by luck, most where few pieces have to get through much loss, so there is a range beside each mean. Outcomes are products of
//! many small chances, and their logarithms look normal: the range is that in which one more run lies with a chance of 80 %,
//! by Student's t for so few.

use std::{
    num::NonZero,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use compotastic_mesh::rng::Rng;
use serde::Serialize;

use super::{Basis, Rehearse, Way, WayName};
use crate::{
    NodeId,
    scenario::{self, Package, PushEvent, PushOrder, PushReport, Scenario, Seeds, Sent, Target},
    swarm::Trusted,
};

/// So many rehearsals at first, so many more at a time, and so many at most.
const FIRST: usize = 12;
const MORE: usize = 6;
const MOST: usize = 48;
/// So many at most where nodes move: their links are reckoned anew all the time, so each takes long.
const MOST_MOVING: usize = 24;
/// With more nodes than this the first have to do: each takes long, and much luck of many evens out.
const MANY_NODES: usize = 100;
/// Fewer runs than this give no range.
const RUNS_FOR_A_RANGE: usize = 3;
/// No more once the standard error of the means is this share of them.
const ENOUGH: f64 = 0.05;
/// A rehearsal is over once nothing has changed for so long, hours: whoever lacks it then is out of reach.
pub const STILL_H: f64 = 24.0;

/// A range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// One of ten runs is below.
    pub low: f64,
    /// One of ten is above.
    pub high: f64,
}

/// Ranges of the figures of one way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranges {
    /// Frames of all nodes.
    pub packets: Range,
    /// Air time, s.
    pub airtime_s: Range,
    /// Energy, mWh.
    pub energy_mwh: Range,
    /// Hours.
    pub hours: Range,
}

/// Point of Student's t that one of ten exceeds, for so many degrees of freedom: Hill's expansion about the normal's, within 1 % from three on.
fn one_of_ten(freedom: f64) -> f64 {
    const Z: f64 = 1.281_552;
    let (z3, z5) = (Z * Z * Z, Z * Z * Z * Z * Z);
    Z + (z3 + Z) / (4.0 * freedom) + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * freedom * freedom)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Mean and standard deviation of the logarithms. A run in which next to nothing happened counts as a hundredth of the others.
fn logs(values: &[f64]) -> (f64, f64) {
    let least = mean(values) / 100.0;
    let logs: Vec<f64> = values.iter().map(|value| libm::log(value.max(least))).collect();
    let centre = mean(&logs);
    let squares: f64 = logs.iter().map(|log| (log - centre) * (log - centre)).sum();
    (centre, libm::sqrt(squares / (logs.len().max(2) as f64 - 1.0)))
}

impl Range {
    fn of(values: &[f64]) -> Self {
        if values.iter().all(|value| *value <= 0.0) {
            return Self { low: 0.0, high: 0.0 };
        }
        let (count, (centre, deviation)) = (values.len() as f64, logs(values));
        let off = one_of_ten((count - 1.0).max(1.0)) * deviation * libm::sqrt(1.0 + 1.0 / count.max(1.0));
        Self { low: libm::exp(centre - off), high: libm::exp(centre + off) }
    }

    /// Whether a value lies within.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What is rehearsed, and how.
pub(super) struct Stage<'a> {
    pub scenario: &'a Scenario,
    pub mesh_seed: u64,
    /// Some nodes move.
    pub moves: bool,
    /// Signed anew ([`Package::rehearsed`]).
    pub package: Package,
    pub to: Target,
    /// A rehearsal is given up after so long, hours.
    pub limit_h: f64,
    pub rehearse: &'a Rehearse,
}

/// What came of all rehearsals.
pub(super) struct Rehearsals {
    runs: Vec<PushReport>,
    ids: Vec<NodeId>,
}

impl Stage<'_> {
    /// Rehearses as often as it takes.
    pub fn rehearse(
        &self,
        handed: &[(NodeId, f64)],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Rehearsals, String> {
        let usual = match self.scenario.node_count() {
            MANY_NODES.. => FIRST,
            _ if self.moves => MOST_MOVING,
            _ => MOST,
        };
        let most = self.rehearse.times.unwrap_or(usual).max(1);
        let mut runs: Vec<PushReport> = Vec::new();
        progress(0, most);
        while runs.len() < most {
            let more = if runs.is_empty() { FIRST } else { MORE }.min(most - runs.len());
            let begun = runs.len();
            runs.extend(self.batch(handed, begun, more, &mut |done| progress(begun + done, most))?);
            if self.rehearse.times.is_none() && error(&runs) <= ENOUGH {
                break;
            }
        }
        let kinds = self.scenario.kinds();
        Ok(Rehearsals { runs, ids: (0..kinds.len()).filter(|id| kinds[*id].is_ours()).collect() })
    }

    /// Some rehearsals on all threads, in order.
    fn batch(
        &self,
        handed: &[(NodeId, f64)],
        begun: usize,
        count: usize,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<PushReport>, String> {
        let threads = self
            .rehearse
            .threads
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
            .clamp(1, count.max(1));
        let next = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (tell, next) = (tell.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Relaxed);
                        if index >= count || tell.send((index, self.once(handed, begun + index))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(tell);
            let mut results = Vec::with_capacity(count);
            for result in told {
                results.push(result);
                done(results.len());
            }
            results.sort_by_key(|(index, _)| *index);
            results.into_iter().map(|(_, result)| result).collect()
        })
    }

    /// One rehearsal; its number gives its luck.
    fn once(&self, handed: &[(NodeId, f64)], number: usize) -> Result<PushReport, String> {
        // A purpose of its own, so that no run that somebody makes under a small seed is among them.
        let luck = Rng::from_seed(self.mesh_seed).child(0x7265_6865).child(number as u64).next_u64();
        let order = PushOrder {
            kept: true,
            limit_h: self.limit_h + handed.iter().fold(0.0_f64, |last, (_, min)| last.max(min / 60.0)),
            still_h: Some(STILL_H),
            handed: handed.to_vec(),
            ..PushOrder::new(self.package.clone(), self.to.clone(), Trusted::default())
        };
        let seeds = Seeds { mesh: self.mesh_seed, luck };
        scenario::push(self.scenario, seeds, self.rehearse.base, &order, |_, _, _| true)
    }
}

/// Standard error of the mean of hours and of packets, the larger, as a share of the mean.
fn error(runs: &[PushReport]) -> f64 {
    let of = |value: fn(&PushReport) -> f64| {
        let values: Vec<f64> = runs.iter().map(value).collect();
        let centre = mean(&values);
        let squares: f64 = values.iter().map(|value| (value - centre) * (value - centre)).sum();
        let count = values.len() as f64;
        libm::sqrt(squares / (count - 1.0).max(1.0) / count) / centre.max(1e-9)
    };
    of(|run| run.hours).max(of(|run| run.sent.packets as f64))
}

impl Rehearsals {
    /// Whether a node has it in the end, in at least half of the rehearsals.
    pub fn reaches(&self, node: NodeId) -> bool {
        let Ok(row) = self.ids.binary_search(&node) else { return false };
        let has = self.runs.iter().filter(|run| run.rows[row].done_min.is_some()).count();
        has * 2 >= self.runs.len()
    }

    /// What it comes to.
    pub fn way(&self, way: WayName, publisher: NodeId) -> Way {
        let figure = |value: &dyn Fn(&PushReport) -> f64| self.runs.iter().map(value).collect::<Vec<f64>>();
        let sent = |value: fn(&Sent) -> f64| figure(&|run| value(&run.sent));
        let packets = sent(|sent| sent.packets as f64);
        let (airtime_s, energy_mwh) = (sent(|sent| sent.airtime_s), sent(|sent| sent.energy_mwh));
        let hours = figure(&|run| run.hours);
        let meant = |id: &NodeId| {
            let row = self.ids.binary_search(id).ok().and_then(|row| self.runs.first()?.rows.get(row));
            row.is_some_and(|row| row.target)
        };
        let reached = self.ids.iter().filter(|id| **id == publisher || meant(id) && self.reaches(**id));
        Way {
            reaches: reached.count(),
            packets: mean(&packets),
            symbols: mean(&sent(|sent| sent.symbols as f64)),
            control: mean(&sent(|sent| sent.control as f64)),
            beacons: mean(&sent(|sent| sent.beacons as f64)),
            airtime_s: mean(&airtime_s),
            energy_mwh: mean(&energy_mwh),
            hours: mean(&hours),
            basis: Basis::Rehearsal,
            rehearsals: self.runs.len(),
            complete: self.runs.iter().filter(|run| run.end == PushEvent::Complete).count(),
            // Of fewer runs nothing can be told of their spread.
            range: (self.runs.len() >= RUNS_FOR_A_RANGE).then(|| Ranges {
                packets: Range::of(&packets),
                airtime_s: Range::of(&airtime_s),
                energy_mwh: Range::of(&energy_mwh),
                hours: Range::of(&hours),
            }),
            ..Way::none(way)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, table) in [(3.0, 1.638), (7.0, 1.415), (11.0, 1.363), (23.0, 1.319)] {
            assert!((one_of_ten(freedom) / table - 1.0).abs() < 0.01, "{freedom}: {}", one_of_ten(freedom));
        }
    }

    #[test]
    fn eight_of_ten_lie_within_a_range() {
        // Twelve runs whose logarithms are normal, and one more, again and again.
        let mut rng = Rng::from_seed(5);
        let mut unit = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
        let mut run = || libm::exp(((0..12).map(|_| unit()).sum::<f64>() - 6.0) * 0.3);
        let within = (0..4000)
            .filter(|_| {
                let rehearsed: Vec<f64> = (0..12).map(|_| run()).collect();
                Range::of(&rehearsed).holds(run())
            })
            .count();
        assert!((3080..3320).contains(&within), "{within} of 4000");
    }

    #[test]
    fn what_is_always_the_same_has_no_width() {
        let range = Range::of(&[3.0; 8]);
        assert!((range.low - 3.0).abs() < 1e-9 && (range.high - 3.0).abs() < 1e-9);
        assert!(Range::of(&[0.0; 8]).holds(0.0), "nothing is sent");
        let once = Range::of(&[0.0, 3.0, 3.0, 3.0]);
        assert!(once.low < 0.1 && once.high < 1000.0, "{once:?}");
    }
}
