//! Jobs in words and numbers across a mesh: each is answered, or its requester is told why, whatever is lost on the way.

mod common;

use std::collections::BTreeMap;

use common::{Node, at, line};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_node::{
    AgentEvent, JobFailure, Kind, TextAnswer, Ticket, Trouble, letters::PART_LEN, model_byte,
    policy::Priority, talk::TALK_TEXT_MAX,
};
use compotastic_sim::World;

const QUESTION: &str = "What can we do for a hiker with a broken ankle until the helicopter comes?";
const MODEL: &str = "llama3.2:3b";

/// A question of this many characters that no coder makes short.
fn dense(length: usize, salt: usize) -> String {
    (0..length)
        .map(|index| char::from(b'!' + ((index * 31 + index / 7 * 17 + salt * 13) % 90) as u8))
        .collect()
}

/// The answer that the model of the test gives to a question.
fn answer_to(question: &str) -> String {
    match question.len() {
        0..150 => format!("Splint it, keep it cool and high, keep them warm. ({})", question.len()),
        150..400 => format!("{} {}", dense(430, question.len()), question.len()),
        _ => format!("{} {}", dense(700, question.len()), question.len()),
    }
}

fn entries_of(text: &str) -> Vec<f32> {
    (0..384).map(|index| ((index * 37 + text.len() * 11) % 101) as f32 - 50.0).collect()
}

/// A node and the name of its job.
type Job = (usize, u32);

/// What became of the jobs of a run.
#[derive(Default)]
struct Ended {
    texts: BTreeMap<Job, (String, TextAnswer)>,
    vectors: BTreeMap<Job, Vec<f32>>,
    failed: BTreeMap<Job, JobFailure>,
    executions: usize,
}

/// Runs until `until`; node 0 answers after three seconds of thought.
fn run(world: &mut World<Node>, until: Instant, thinks: Duration, ended: &mut Ended) {
    let mut thoughts: Vec<(Instant, Ticket)> = Vec::new();
    loop {
        let next = thoughts.iter().map(|(due, _)| *due).min().unwrap_or(until).min(until);
        while let Some(touched) = world.step(next) {
            for id in touched {
                world.with_host(id, |station, now| {
                    while let Some(event) = station.agent().poll_event() {
                        match event {
                            AgentEvent::Execute(ticket) => thoughts.push((now + thinks, ticket)),
                            AgentEvent::AnsweredText { job, answer } if answer.kind == Kind::Chat => {
                                let mut buffer = [0; TALK_TEXT_MAX];
                                let text = station.agent().answer_text(job, &mut buffer).unwrap();
                                let before = ended.texts.insert((id, job.0), (text.into(), answer));
                                assert!(before.is_none(), "answered once");
                            }
                            AgentEvent::AnsweredText { job, .. } => {
                                let mut buffer = [0.0; 512];
                                let count = station.agent().answer_vector(job, &mut buffer).unwrap();
                                ended.vectors.insert((id, job.0), buffer[..count].to_vec());
                            }
                            AgentEvent::JobFailed { job, reason } => {
                                ended.failed.insert((id, job.0), reason);
                            }
                            _ => {}
                        }
                    }
                });
            }
            if thoughts.iter().any(|(due, _)| *due <= world.now()) {
                break;
            }
        }
        let now = world.now();
        let due: Vec<Ticket> =
            thoughts.extract_if(.., |(due, _)| *due <= now.max(next)).map(|(_, ticket)| ticket).collect();
        if due.is_empty() && next >= until {
            return;
        }
        for ticket in due {
            world.with_host(0, |station, now| {
                let agent = station.agent();
                let mut buffer = [0; TALK_TEXT_MAX];
                let Some(question) = agent.ticket_long_text(ticket, &mut buffer).map(str::to_owned) else {
                    agent.complete_failed(now, ticket, Trouble::Question);
                    return;
                };
                ended.executions += 1;
                match agent.ticket_kind(ticket) {
                    Some(Kind::Chat) if question.contains("fail") => {
                        agent.complete_failed(now, ticket, Trouble::Model);
                    }
                    Some(Kind::Chat) => {
                        let answer = answer_to(&question);
                        agent.complete_text(now, ticket, &answer, model_byte(MODEL)).unwrap();
                    }
                    Some(Kind::Embed) => {
                        agent
                            .complete_vector(now, ticket, &entries_of(&question), model_byte(MODEL))
                            .unwrap();
                    }
                    other => panic!("{other:?}"),
                }
                station.settle(now);
            });
        }
    }
}

fn submit(world: &mut World<Node>, node: usize, kind: Kind, text: &str) -> Job {
    world.with_host(node, |station, now| {
        let lifetime = Duration::from_secs(3600);
        let job = station.agent().submit_job(now, kind, text, Priority::Routine, lifetime, 0).unwrap();
        station.settle(now);
        (node, job.0)
    })
}

fn offering(nodes: usize, loss_ppm: u32, seed: u64) -> World<Node> {
    let mut world = line(nodes, 0.8, loss_ppm, seed);
    world.with_host(0, |station, now| station.agent().set_offers(now, true, true));
    world
}

/// Questions of one, two and three frames, answers of one, three and four, and vectors.
fn all_answered(nodes: usize, loss_ppm: u32, seed: u64) -> (Ended, f64) {
    let mut world = offering(nodes, loss_ppm, seed);
    let mut ended = Ended::default();
    let thinks = Duration::from_secs(3);
    let mut asked = BTreeMap::new();
    for (round, length) in [60, 170, 320, 560, 90].into_iter().enumerate() {
        run(&mut world, at(600 + 1800 * round as u64), thinks, &mut ended);
        let text = if length < 100 { QUESTION.to_owned() } else { dense(length, seed as usize + round) };
        asked.insert(submit(&mut world, nodes - 1, Kind::Chat, &text), text.clone());
        submit(&mut world, nodes - 1, Kind::Embed, &text);
    }
    run(&mut world, at(4 * 3600), thinks, &mut ended);
    assert_eq!(ended.failed, BTreeMap::new(), "seed {seed}, loss {loss_ppm}");
    assert_eq!((ended.texts.len(), ended.vectors.len()), (5, 5), "seed {seed}, loss {loss_ppm}");
    for (job, text) in &asked {
        let (answer, told) = &ended.texts[job];
        assert_eq!(*answer, answer_to(text));
        assert_eq!((told.by, told.model), (common::EDGE, model_byte(MODEL)));
    }
    assert_eq!(world.ledger.originations_over_gate(), 0, "{:?}", world.ledger.first_over_gate());
    for ((_, job), (_, answer)) in &ended.texts {
        println!(
            "  job {job}: {} bytes, {} requests, {:.0} s",
            answer.coded_len,
            answer.attempts,
            answer.latency.as_micros() as f64 / 1e6
        );
    }
    let latency = ended.texts.values().map(|(_, answer)| answer.latency.as_micros() as f64 / 5e6).sum();
    (ended, latency)
}

#[test]
fn neighbours_answer_every_question_at_any_loss() {
    for (loss_ppm, seed) in [(0, 1), (100_000, 1), (100_000, 2), (300_000, 1), (300_000, 2), (300_000, 3)] {
        let (ended, latency) = all_answered(2, loss_ppm, seed);
        println!("loss {loss_ppm} seed {seed}: {} executions, mean {latency:.1} s", ended.executions);
    }
}

#[test]
fn three_hops_answer_every_question_at_any_loss() {
    for (loss_ppm, seed) in [(0, 1), (100_000, 1), (300_000, 1), (300_000, 2)] {
        let (ended, latency) = all_answered(4, loss_ppm, seed);
        println!("loss {loss_ppm} seed {seed}: {} executions, mean {latency:.1} s", ended.executions);
        assert_eq!(ended.executions, 10, "each question is thought of once, whatever was lost");
    }
}

#[test]
fn without_a_model_and_with_one_that_fails_the_requester_is_told_why() {
    let mut world = line(2, 0.8, 0, 5);
    let mut ended = Ended::default();
    run(&mut world, at(600), Duration::from_secs(3), &mut ended);
    let nobody = submit(&mut world, 1, Kind::Chat, QUESTION);
    run(&mut world, at(2 * 3600), Duration::from_secs(3), &mut ended);
    assert_eq!(ended.failed[&nobody], JobFailure::NoExecutor);

    world.with_host(0, |station, now| station.agent().set_offers(now, true, false));
    run(&mut world, at(3 * 3600), Duration::from_secs(3), &mut ended);
    let failing = submit(&mut world, 1, Kind::Chat, "this will fail");
    let vector = submit(&mut world, 1, Kind::Embed, "nobody makes vectors");
    run(&mut world, at(5 * 3600), Duration::from_secs(3), &mut ended);
    assert_eq!(ended.failed[&failing], JobFailure::Failed(Trouble::Model));
    assert_eq!(ended.failed[&vector], JobFailure::NoExecutor);
    assert_eq!(ended.executions, 1);
}

/// A model that takes five minutes: it is asked again, says that it is at work, and is not given up.
#[test]
fn a_slow_model_is_waited_for() {
    let mut world = offering(3, 100_000, 6);
    let mut ended = Ended::default();
    let thinks = Duration::from_secs(300);
    run(&mut world, at(600), thinks, &mut ended);
    let job = submit(&mut world, 2, Kind::Chat, &dense(PART_LEN + 50, 1));
    run(&mut world, at(3600), thinks, &mut ended);
    let (_, answer) = &ended.texts[&job];
    println!("asked {} times in {:?}", answer.attempts, answer.latency);
    assert!(answer.attempts <= 5 && ended.executions == 1);
}

/// Two nodes ask the same within minutes: the model thinks once.
#[test]
fn the_same_question_is_answered_from_memory_for_a_while() {
    let mut world = offering(3, 0, 7);
    let mut ended = Ended::default();
    let thinks = Duration::from_secs(30);
    run(&mut world, at(600), thinks, &mut ended);
    submit(&mut world, 1, Kind::Chat, QUESTION);
    run(&mut world, at(900), thinks, &mut ended);
    submit(&mut world, 2, Kind::Chat, QUESTION);
    run(&mut world, at(1100), thinks, &mut ended);
    assert_eq!((ended.executions, ended.texts.len()), (1, 2));
    submit(&mut world, 2, Kind::Chat, QUESTION);
    run(&mut world, at(1170), thinks, &mut ended);
    assert_eq!(ended.executions, 1);
    run(&mut world, at(2000), thinks, &mut ended);
    submit(&mut world, 2, Kind::Chat, QUESTION);
    run(&mut world, at(2600), thinks, &mut ended);
    assert_eq!(ended.executions, 2, "after ten minutes it is thought of anew");
}
