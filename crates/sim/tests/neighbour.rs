//! A field node with a battery and a student serves a neighbour without one while no edge node is in range.

mod common;

use common::{Node, at, line_of, number, run, station_with, student};
use compotastic_mesh::packet::NodeNum;
use compotastic_node::{AgentEvent, JobFailure, agent::Answer};
use compotastic_sim::World;

const EDGE: usize = 0;
const TAUGHT: usize = 1;
const ASKER: usize = 2;
const REPEAT: &str = "cargo test -p compotastic-sim --test neighbour";

/// The edge node is gone for good; node 1 holds the student, node 2 has no base encoder and so can hold none.
fn valley(loss_ppm: u32, seed: u64) -> World<Node> {
    let mut world = line_of(3, 0.7, loss_ppm, seed, |index| {
        let base = (index == TAUGHT).then(student::base);
        station_with(index, seed, index == EDGE, base)
    });
    world.set_on(EDGE, false);
    // As if it had been handed over by cable before the mission.
    let (delegation, manifest, content) = student::bundle();
    world.with_host(TAUGHT, |station, now| {
        assert_eq!(station.agent().publish(now, &delegation, &manifest, &content), Ok(student::VERSION));
        station.settle(now);
    });
    world
}

fn ask(world: &mut World<Node>, text: &str) {
    world.with_host(ASKER, |station, now| {
        station.agent().submit(now, text).unwrap();
        station.settle(now);
    });
}

#[test]
fn the_neighbour_answers_and_says_who_it_is() {
    for (loss_ppm, seeds) in [(0, 0..3), (100_000, 0..3), (300_000, 0..6)] {
        for seed in seeds {
            let mut world = valley(loss_ppm, seed);
            let mut answers: Vec<Answer> = Vec::new();
            let mut failed = 0;
            for round in 0..6u64 {
                let mut collect = |id: usize, _, event: &AgentEvent| match event {
                    AgentEvent::Answered { answer, .. } if id == ASKER => answers.push(*answer),
                    AgentEvent::JobFailed { .. } => failed += 1,
                    _ => {}
                };
                run(&mut world, at(600 + 900 * round), &mut collect);
                let class = round as usize % 2;
                ask(&mut world, student::SENTENCES[class][round as usize / 2]);
            }
            run(&mut world, at(5 * 3600), |id, _, event| match event {
                AgentEvent::Answered { answer, .. } if id == ASKER => answers.push(*answer),
                AgentEvent::JobFailed { .. } => failed += 1,
                _ => {}
            });
            assert_eq!((answers.len(), failed), (6, 0), "loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            for answer in &answers {
                assert_eq!(answer.by, number(TAUGHT), "who answered is shown");
                assert_eq!(u16::from(answer.model_version), student::VERSION, "by which version");
                assert!(answer.attempts > 0, "it was asked over the air");
            }
            let fires = answers.iter().filter(|answer| answer.class == 1).count();
            assert_eq!(
                fires, 3,
                "real answers to real sentences; loss {loss_ppm} ppm, seed {seed}: {REPEAT}"
            );
            assert_eq!(world.ledger.originations_over_gate(), 0);
        }
    }
}

#[test]
fn a_node_with_an_empty_battery_serves_nobody_but_itself() {
    let mut world = valley(0, 1);
    world.with_host(TAUGHT, |station, now| {
        station.agent().set_battery(1);
        station.agent().submit(now, student::SENTENCES[1][0]).unwrap();
        station.settle(now);
    });
    let mut own = 0;
    run(&mut world, at(600), |id, _, event| {
        own += usize::from(id == TAUGHT && matches!(event, AgentEvent::Answered { .. }));
    });
    ask(&mut world, student::SENTENCES[0][0]);
    let (mut answered, mut failed) = (0, 0);
    run(&mut world, at(5 * 3600), |id, _, event| {
        answered += usize::from(id == ASKER && matches!(event, AgentEvent::Answered { .. }));
        failed += usize::from(id == ASKER && matches!(event, AgentEvent::JobFailed { .. }));
    });
    assert_eq!((own, answered, failed), (1, 0, 1), "and the asker is told that nobody could");
}

/// Who answered the asker, and why its jobs failed.
fn outcome(world: &mut World<Node>, until: u64) -> (Vec<NodeNum>, Vec<JobFailure>) {
    let (mut by, mut failed) = (Vec::new(), Vec::new());
    run(world, at(until), |id, _, event| match event {
        AgentEvent::Answered { answer, .. } if id == ASKER => by.push(answer.by),
        AgentEvent::JobFailed { reason, .. } if id == ASKER => failed.push(*reason),
        _ => {}
    });
    (by, failed)
}

fn set_battery(world: &mut World<Node>, level: u8) {
    world.with_host(TAUGHT, |station, now| {
        station.agent().set_battery(level);
        station.settle(now);
    });
}

/// Below 3 of 15 a node keeps its energy for itself.
#[test]
fn level_3_still_serves_and_level_2_does_not() {
    for seed in 0..4 {
        for (level, answered_by, failure) in
            [(3, vec![number(TAUGHT)], vec![]), (2, vec![], vec![JobFailure::NoExecutor])]
        {
            let mut world = valley(0, seed);
            set_battery(&mut world, level);
            run(&mut world, at(600), |_, _, _| {});
            ask(&mut world, student::SENTENCES[0][0]);
            let found = outcome(&mut world, 5 * 3600);
            assert_eq!(found, (answered_by, failure), "level {level}, seed {seed}: {REPEAT}");
        }
    }
}

/// Its last beacon said otherwise, so it is asked by name: that it declines must not end the job.
#[test]
fn a_neighbour_that_has_become_tired_declines_and_the_job_waits_for_another() {
    for (loss_ppm, seeds) in [(0, 0..3), (300_000, 0..6)] {
        for seed in seeds {
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            let mut world = valley(loss_ppm, seed);
            run(&mut world, at(600), |_, _, _| {});
            ask(&mut world, student::SENTENCES[0][0]);
            assert_eq!(outcome(&mut world, 3600), (vec![number(TAUGHT)], vec![]), "{what}");
            set_battery(&mut world, 1);
            ask(&mut world, student::SENTENCES[0][1]);
            assert_eq!(
                outcome(&mut world, 2 * 3600),
                (vec![], vec![]),
                "nobody can, and there is time; {what}"
            );
            world.set_on(EDGE, true);
            assert_eq!(outcome(&mut world, 5 * 3600), (vec![number(EDGE)], vec![]), "{what}");
        }
    }
}
