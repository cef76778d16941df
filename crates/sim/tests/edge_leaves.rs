//! The edge node leaves in the middle: a second one takes over; without one each job ends with a reason.

mod common;

use common::{Node, at, line_of, number, run, station};
use compotastic_node::{AgentEvent, promises::Outcome};
use compotastic_sim::World;

const REPEAT: &str = "cargo test -p compotastic-sim --test edge_leaves";
/// Nearest to edge node 0, which is therefore asked first.
const ASKER: usize = 1;

/// Field nodes 1 to 3 in a row, edge node 0 at one end and, perhaps, edge node 4 at the other.
fn valley(second: bool, loss_ppm: u32, seed: u64) -> World<Node> {
    let nodes = if second { 5 } else { 4 };
    line_of(nodes, 0.7, loss_ppm, seed, |index| station(index, seed, index % 4 == 0))
}

/// How the jobs of a mission ended.
#[derive(Default)]
struct Ends {
    submitted: usize,
    by_first: usize,
    by_second: usize,
    failed: usize,
}

/// Reports come at the three field nodes for three hours; edge node 0 leaves after one.
fn mission(world: &mut World<Node>) -> Ends {
    let mut outcome = Ends::default();
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

#[test]
fn a_second_edge_node_takes_over() {
    for loss_ppm in [0, 100_000, 300_000] {
        let mut failed = 0;
        for seed in 0..6 {
            let outcome = mission(&mut valley(true, loss_ppm, seed));
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            failed += outcome.failed;
            let answered = outcome.by_first + outcome.by_second;
            assert_eq!(answered + outcome.failed, outcome.submitted, "{what}");
            assert!(
                outcome.by_second + outcome.failed >= 12,
                "all that came after the first had left; {what}"
            );
        }
        assert_eq!(failed, 0, "jobs ended without an answer at a loss of {loss_ppm} ppm: {REPEAT}");
    }
}

#[test]
fn without_a_second_one_each_job_ends_with_a_reason() {
    for loss_ppm in [0, 100_000, 300_000] {
        for seed in 0..6 {
            let outcome = mission(&mut valley(false, loss_ppm, seed));
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            assert_eq!(outcome.by_first + outcome.failed, outcome.submitted, "{what}");
            assert!(outcome.failed >= 12, "{what}");
            assert!(outcome.by_first >= 4, "what it could answer it did; {what}");
        }
    }
}

/// Asks and switches edge node 0 off at the moment in which it begins to work on that; runs until `until`.
fn leaves_with_a_job_in_hand(world: &mut World<Node>, until: u64) -> (usize, Vec<AgentEvent>) {
    world.with_host(ASKER, |station, now| {
        station.agent().submit(now, "two hikers below the hut").unwrap();
        station.settle(now);
    });
    let (mut left, mut ended) = (0, Vec::new());
    while let Some(touched) = world.step(at(until)) {
        for id in touched {
            while let Some(event) = world.with_host(id, |station, _| station.agent().poll_event()) {
                match event {
                    AgentEvent::Execute(_) if id == 0 => {
                        left += 1;
                        world.set_on(0, false);
                    }
                    AgentEvent::Execute(ticket) => world.with_host(id, |station, now| {
                        let outcome = Outcome { class: 4, confidence: 14, model_version: 1, unsure: false };
                        station.agent().complete(now, ticket, outcome);
                        station.settle(now);
                    }),
                    AgentEvent::Answered { .. } | AgentEvent::JobFailed { .. } => ended.push(event),
                    _ => {}
                }
            }
        }
    }
    (left, ended)
}

#[test]
fn a_job_in_the_hands_of_the_one_that_leaves_is_done_by_the_other() {
    for loss_ppm in [0, 100_000, 300_000] {
        for seed in 0..6 {
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            let mut world = valley(true, loss_ppm, seed);
            run(&mut world, at(900), |_, _, _| {});
            let (left, ended) = leaves_with_a_job_in_hand(&mut world, 6 * 3600);
            // Where frames are lost, it may know the far one first.
            assert!(left == 1 || loss_ppm > 0, "the near one was asked; {what}");
            match ended[..] {
                [AgentEvent::Answered { answer, .. }] => {
                    assert_eq!(answer.by, number(4), "{what}");
                    assert!(answer.attempts > 1 || left == 0, "{what}");
                }
                // A flooded call gets over three such hops one time in three.
                [AgentEvent::JobFailed { .. }] if loss_ppm == 300_000 => {}
                _ => panic!("{ended:?}; {what}"),
            }
        }
    }
}

#[test]
fn a_job_in_the_hands_of_the_only_one_ends_with_a_reason() {
    for loss_ppm in [0, 300_000] {
        for seed in 0..6 {
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            let mut world = valley(false, loss_ppm, seed);
            run(&mut world, at(900), |_, _, _| {});
            let (left, ended) = leaves_with_a_job_in_hand(&mut world, 6 * 3600);
            assert_eq!(left, 1, "it was asked; {what}");
            assert!(matches!(ended[..], [AgentEvent::JobFailed { .. }]), "{ended:?}; {what}");
        }
    }
}
