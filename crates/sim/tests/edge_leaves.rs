//! The edge node leaves in the middle: a second one takes over; without one each job ends with a reason.

mod common;

use common::{Node, at, line_of, number, run, station};
use compotastic_node::AgentEvent;
use compotastic_sim::World;

/// Field nodes 1 to 3 in a row, edge node 0 at one end and, perhaps, edge node 4 at the other.
fn valley(second: bool, loss_ppm: u32, seed: u64) -> World<Node> {
    let nodes = if second { 5 } else { 4 };
    line_of(nodes, 0.7, loss_ppm, seed, |index| station(index, seed, index % 4 == 0))
}

#[derive(Default)]
struct Outcome {
    submitted: usize,
    by_first: usize,
    by_second: usize,
    failed: usize,
}

/// Reports come at the three field nodes for three hours; edge node 0 leaves after one.
fn mission(world: &mut World<Node>) -> Outcome {
    let mut outcome = Outcome::default();
    for round in 0..18 {
        let mut count = |event: &AgentEvent| match event {
            AgentEvent::Answered { answer, .. } if answer.by == number(0) => outcome.by_first += 1,
            AgentEvent::Answered { .. } => outcome.by_second += 1,
            AgentEvent::JobFailed { .. } => outcome.failed += 1,
            _ => {}
        };
        run(world, at(600 * (round + 1)), |_, _, event| count(event));
        if round == 5 {
            world.set_on(0, false);
        }
        world.with_host(1 + round as usize % 3, |station, now| {
            station.agent().submit(now, "two hikers below the hut").unwrap();
            station.settle(now);
        });
        outcome.submitted += 1;
    }
    run(world, at(9 * 3600), |_, _, event| match event {
        AgentEvent::Answered { answer, .. } if answer.by == number(0) => outcome.by_first += 1,
        AgentEvent::Answered { .. } => outcome.by_second += 1,
        AgentEvent::JobFailed { .. } => outcome.failed += 1,
        _ => {}
    });
    outcome
}

const REPEAT: &str = "cargo test -p compotastic-sim --test edge_leaves";

#[test]
fn a_second_edge_node_takes_over() {
    for loss_ppm in [0, 100_000, 300_000] {
        for seed in 0..3 {
            let outcome = mission(&mut valley(true, loss_ppm, seed));
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            assert_eq!(outcome.failed, 0, "{what}");
            assert_eq!(outcome.by_first + outcome.by_second, outcome.submitted, "{what}");
            assert!(outcome.by_second >= 12, "all that came after the first had left; {what}");
        }
    }
}

#[test]
fn without_a_second_one_each_job_ends_with_a_reason() {
    for loss_ppm in [0, 300_000] {
        for seed in 0..3 {
            let outcome = mission(&mut valley(false, loss_ppm, seed));
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            assert_eq!(outcome.by_first + outcome.failed, outcome.submitted, "{what}");
            assert!(outcome.failed >= 12, "{what}");
            assert!(outcome.by_first >= 4, "what it could answer it did; {what}");
        }
    }
}
