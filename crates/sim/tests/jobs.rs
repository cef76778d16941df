//! A job is answered once, under loss too, and its requester is told why when nobody is there.

mod common;

use common::{at, line, run};
use compotastic_node::{AgentEvent, JobFailure};

fn answers(nodes: usize, loss_ppm: u32, seed: u64) -> (usize, usize, f64) {
    let mut world = line(nodes, 0.8, loss_ppm, seed);
    let (mut answered, mut failed, mut latency) = (0, 0, 0.0);
    let mut submitted = 0;
    for round in 0..10 {
        let mut count = |_: usize, _, event: &AgentEvent| match event {
            AgentEvent::Answered { answer, .. } => {
                answered += 1;
                latency += answer.latency.as_micros() as f64 / 1e6;
            }
            AgentEvent::JobFailed { .. } => failed += 1,
            _ => {}
        };
        run(&mut world, at(600 + round * 1200), &mut count);
        world.with_host(nodes - 1, |station, now| {
            station.agent().submit(now, "two hikers, one with a broken ankle").unwrap();
            station.settle(now);
        });
        submitted += 1;
    }
    run(&mut world, at(6 * 3600), |_, _, event| match event {
        AgentEvent::Answered { answer, .. } => {
            answered += 1;
            latency += answer.latency.as_micros() as f64 / 1e6;
        }
        AgentEvent::JobFailed { .. } => failed += 1,
        _ => {}
    });
    assert_eq!(answered + failed, submitted, "seed {seed}: each job ends once");
    assert_eq!(world.ledger.originations_over_gate(), 0, "{:?}", world.ledger.first_over_gate());
    (answered, failed, latency / answered.max(1) as f64)
}

#[test]
fn two_nodes_answer_every_job_at_any_loss() {
    for loss_ppm in [0, 100_000, 300_000] {
        for seed in 0..4 {
            let (answered, failed, latency) = answers(2, loss_ppm, seed);
            println!("loss {loss_ppm} seed {seed}: {answered} answered after {latency:.1} s");
            assert_eq!((answered, failed), (10, 0), "loss {loss_ppm} ppm, seed {seed}");
        }
    }
}

#[test]
fn four_hops_answer_every_job_at_any_loss() {
    for loss_ppm in [0, 100_000, 300_000] {
        for seed in 0..3 {
            let (answered, failed, latency) = answers(5, loss_ppm, seed);
            println!("loss {loss_ppm} seed {seed}: {answered} answered after {latency:.1} s");
            assert_eq!((answered, failed), (10, 0), "loss {loss_ppm} ppm, seed {seed}");
        }
    }
}

#[test]
fn without_an_executor_the_job_ends_with_that_reason() {
    let mut world = line(3, 0.8, 0, 1);
    world.set_on(0, false);
    world.with_host(2, |station, now| {
        station.agent().submit(now, "anybody there?").unwrap();
        station.settle(now);
    });
    let mut reasons = Vec::new();
    run(&mut world, at(5 * 3600), |_, _, event| {
        if let AgentEvent::JobFailed { reason, .. } = event {
            reasons.push(*reason);
        }
    });
    assert_eq!(reasons, [JobFailure::NoExecutor]);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let hash = |seed| {
        let mut world = line(4, 0.8, 100_000, seed);
        run(&mut world, at(4000), |_, _, _| {});
        assert!(world.log.events() > 10);
        world.log.finish().unwrap()
    };
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}
