//! A field node with a battery and a student serves a neighbour without one while no edge node is in range.

mod common;

use common::{Node, at, line_of, number, run, station_with, student};
use compotastic_node::{AgentEvent, agent::Answer};
use compotastic_sim::World;

const EDGE: usize = 0;
const TAUGHT: usize = 1;
const ASKER: usize = 2;

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
            let repeat = "cargo test -p compotastic-sim --test neighbour";
            assert_eq!((answers.len(), failed), (6, 0), "loss {loss_ppm} ppm, seed {seed}: {repeat}");
            for answer in &answers {
                assert_eq!(answer.by, number(TAUGHT), "who answered is shown");
                assert_eq!(u16::from(answer.model_version), student::VERSION, "by which version");
                assert!(answer.attempts > 0, "it was asked over the air");
            }
            let fires = answers.iter().filter(|answer| answer.class == 1).count();
            assert_eq!(fires, 3, "loss {loss_ppm} ppm, seed {seed}: real answers to real sentences");
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
