//! Questions and answers that are longer than a frame, between agents behind stock radios: all is broadcast, sealed for one, and nobody
//! but the two repeats it.

mod common;

use common::{Flash, agent_with, at, line_of, router_config, station_with};
use compotastic_mesh::{
    lora::{Preset, Region},
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent, HostedStation, Kind, hosted::HostedConfig, policy::Priority, talk::TALK_TEXT_MAX,
};
use compotastic_sim::{
    World,
    hosted::{HostedNode, RadioHabits, StockRadio, SwarmNode},
};
use compotastic_wire::PORT;

type Node = SwarmNode<'static, Flash>;

fn hosted(index: usize, seed: u64) -> Node {
    let habits = RadioHabits::default();
    let config = HostedConfig {
        preset: Preset::LongFast,
        region: Region::Eu868,
        own_port: PORT,
        channel: 1,
        channel_unicasts: !habits.private_key,
    };
    let station = HostedStation::new(config, agent_with(index, seed, index == 0, None), Instant::ZERO);
    let radio = StockRadio::new(router_config(index), habits, seed ^ (index as u64) << 40, Instant::ZERO);
    SwarmNode::Hosted(Box::new(HostedNode::new(radio, station)))
}

/// A text that no coder makes short.
fn dense(length: usize, salt: usize) -> String {
    (0..length)
        .map(|index| char::from(b'!' + ((index * 31 + index / 7 * 17 + salt * 13) % 90) as u8))
        .collect()
}

/// Answers that the last node was told, each with its latency in seconds, and failures.
fn run(world: &mut World<Node>, until: Instant, told: &mut Vec<(String, u64)>, failed: &mut usize) {
    while let Some(touched) = world.step(until) {
        for id in touched {
            world.with_host(id, |node, now| {
                while let Some(event) = node.agent().poll_event() {
                    let mut buffer = [0; TALK_TEXT_MAX];
                    match event {
                        AgentEvent::Execute(ticket) => {
                            let question = node.agent().ticket_long_text(ticket, &mut buffer).unwrap();
                            let answer = dense(600, question.len());
                            node.agent().complete_text(now, ticket, &answer, 7).unwrap();
                            node.settle(now);
                        }
                        AgentEvent::AnsweredText { job, answer } => {
                            let text = node.agent().answer_text(job, &mut buffer).unwrap();
                            told.push((text.to_owned(), answer.latency.as_secs()));
                        }
                        AgentEvent::JobFailed { .. } => *failed += 1,
                        _ => {}
                    }
                }
            });
        }
    }
}

#[test]
fn long_questions_and_answers_between_stock_radios_at_any_loss() {
    for (loss_ppm, seed) in [(0, 1), (100_000, 1), (100_000, 2), (300_000, 1), (300_000, 2)] {
        let mut world = line_of(3, 0.8, loss_ppm, seed, |index| {
            if index == 1 {
                SwarmNode::Native(Box::new(station_with(1, seed, false, None)))
            } else {
                hosted(index, seed)
            }
        });
        world.with_host(0, |node, now| node.agent().set_offers(now, true, false));
        let (mut told, mut failed) = (Vec::new(), 0);
        for round in 0..4 {
            run(&mut world, at(900 + 1800 * round), &mut told, &mut failed);
            let question = dense(120 + 130 * round as usize, 3);
            world.with_host(2, |node, now| {
                let lifetime = Duration::from_secs(2 * 3600);
                node.agent().submit_job(now, Kind::Chat, &question, Priority::Routine, lifetime, 0).unwrap();
                node.settle(now);
            });
        }
        run(&mut world, at(5 * 3600), &mut told, &mut failed);
        let latencies: Vec<u64> = told.iter().map(|(_, latency)| *latency).collect();
        println!("loss {loss_ppm} ppm, seed {seed}: {latencies:?} s");
        assert_eq!((told.len(), failed), (4, 0), "loss {loss_ppm} ppm, seed {seed}");
        // One that met bad luck may be answered after those that came later.
        for round in 0..4 {
            let answer = dense(600, 120 + 130 * round);
            assert_eq!(told.iter().filter(|(text, _)| *text == answer).count(), 1, "question {round}");
        }
        assert_eq!(world.ledger.originations_over_gate(), 0, "{:?}", world.ledger.first_over_gate());
    }
}
