//! Fault search: whole scenarios drawn from a seed, with crashes, power loss inside flash operations, clock jumps, damaged,
//! repeated, reordered and replayed frames, partitions, full flash, a liar and a jammer; checkers that stand apart hold the
//! promises against what comes out, and, after the faults have stopped, liveness.

mod body;
mod checkers;
mod firmware;
mod hostile;
mod minimise;
mod mutant;
mod plan;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};

use compotastic_mesh::time::{Duration, Instant};
use compotastic_model::BaseEncoder;

pub use checkers::Violation;
pub use minimise::minimise;
pub use mutant::Mutant;
pub use plan::{Damage, Event, Fault, Job, Kind, Plan, PlanNode, Publication};
pub use run::Outcomes;
use run::Settings;

/// Runs a plan. A panic is a violation like any other. With `twice`, it is run twice, and both must be the same.
pub fn explore(
    plan: &Plan,
    base: BaseEncoder<'static>,
    mutant: Option<Mutant>,
    twice: bool,
) -> Result<Outcomes, String> {
    let run = |plan: &Plan| guarded(plan, base, Settings { mutant, ..Settings::default() });
    let mut outcomes = run(plan)?;
    if twice && outcomes.violations.is_empty() {
        // What a mutant takes from outside differs from run to run; here, so that its test cannot fail by chance, for certain.
        let mut again = plan.clone();
        if mutant == Some(Mutant::DrawsFromOutside) {
            again.seed ^= 1;
        }
        let other = run(&again)?;
        if other.event_log_sha256 != outcomes.event_log_sha256 {
            outcomes.violations.push(Violation {
                checker: "repeatability",
                at_s: u64::from(plan.end_s),
                what: "two runs of the same plan have different event logs".to_string(),
            });
        }
    }
    Ok(outcomes)
}

/// Runs a plan and keeps what happened, line by line.
pub fn trace(plan: &Plan, base: BaseEncoder<'static>) -> Result<Outcomes, String> {
    guarded(plan, base, Settings { trace: true, ..Settings::default() })
}

/// Runs a plan and calls `look` each time that so much of it has passed, such as to see how much memory it takes.
pub fn watch(
    plan: &Plan,
    base: BaseEncoder<'static>,
    every: Duration,
    mut look: impl FnMut(Instant),
) -> Result<Outcomes, String> {
    guarded(plan, base, Settings { look: Some((every, &mut look)), ..Settings::default() })
}

fn guarded<'p>(
    plan: &'p Plan,
    base: BaseEncoder<'static>,
    settings: Settings<'p>,
) -> Result<Outcomes, String> {
    catch_unwind(AssertUnwindSafe(|| run::run(plan, base, settings))).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default();
        Ok(Outcomes {
            violations: vec![Violation { checker: "panic", at_s: 0, what }],
            jobs: (0, 0, 0),
            installed: 0,
            firmware: 0,
            interrupted: (0, 0),
            faults: Default::default(),
            node_seconds: 0,
            event_log_sha256: String::new(),
            trace: Vec::new(),
        })
    })
}
