//! Hosted nodes: the agent behind a stock radio asks, is answered, receives and serves objects, and keeps to what it may
//! know of the air.

mod common;

use common::{Flash, agent_with, at, line_of, router_config, station_with, student};
use compotastic_mesh::{
    lora::{Preset, Region},
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent, HostedStation,
    agent::{Answer, REPORT_MAX},
    hosted::{BULK_OUTSTANDING, HostedConfig},
    promises::Outcome,
};
use compotastic_sim::{
    World,
    hosted::{Given, HostedNode, RadioHabits, StockRadio, SwarmNode},
    ledger::{Category, Origin},
};
use compotastic_wire::PORT;

type Node = SwarmNode<'static, Flash>;

const REPEAT: &str = "cargo test -p compotastic-sim --test hosted";
const LOSSES_PPM: [u32; 3] = [0, 100_000, 300_000];

fn native(index: usize, seed: u64, student: bool) -> Node {
    let base = student.then(student::base);
    SwarmNode::Native(Box::new(station_with(index, seed, index == 0, base)))
}

fn hosted(index: usize, seed: u64, student: bool, habits: RadioHabits) -> Node {
    let config = HostedConfig {
        preset: Preset::LongFast,
        region: Region::Eu868,
        own_port: PORT,
        channel: 1,
        channel_unicasts: !habits.private_key,
    };
    let agent = agent_with(index, seed, index == 0, student.then(student::base));
    let station = HostedStation::new(config, agent, Instant::ZERO);
    let radio = StockRadio::new(router_config(index), habits, seed ^ (index as u64) << 40, Instant::ZERO);
    SwarmNode::Hosted(Box::new(HostedNode::new(radio, station)))
}

fn radio(world: &World<Node>, id: usize) -> &StockRadio {
    match world.host(id) {
        SwarmNode::Hosted(node) => &node.radio,
        SwarmNode::Native(_) | SwarmNode::Served(_) => panic!("node {id} is no hosted one"),
    }
}

fn given(world: &World<Node>, id: usize) -> Given {
    radio(world, id).given
}

fn set_telemetry(world: &mut World<Node>, id: usize, tells: bool) {
    world.with_host(id, |node, _| match node {
        SwarmNode::Hosted(node) => node.radio.tells_telemetry = tells,
        SwarmNode::Native(_) | SwarmNode::Served(_) => panic!("node {id} is no hosted one"),
    });
}

/// Runs until `until`; whoever is asked for a foundation model answers each job with class 4.
fn run(world: &mut World<Node>, until: Instant, mut on_event: impl FnMut(usize, &AgentEvent)) {
    while let Some(touched) = world.step(until) {
        for id in touched {
            let events = world.with_host(id, |node, now| {
                let mut events = Vec::new();
                while let Some(event) = node.agent().poll_event() {
                    if let AgentEvent::Execute(ticket) = event {
                        let mut buffer = [0; REPORT_MAX];
                        assert!(node.agent().ticket_text(ticket, &mut buffer).is_some());
                        let outcome = Outcome { class: 4, confidence: 14, model_version: 1, unsure: false };
                        node.agent().complete(now, ticket, outcome);
                        node.settle(now);
                    }
                    events.push(event);
                }
                events
            });
            for event in events {
                on_event(id, &event);
            }
        }
    }
}

/// How jobs ended.
#[derive(Default)]
struct Ends {
    answers: Vec<Answer>,
    failed: usize,
}

/// One node asks every 20 minutes, so many times, and has four hours more.
fn ask(world: &mut World<Node>, asker: usize, jobs: u64) -> Ends {
    let mut ends = Ends::default();
    let mut count = |event: &AgentEvent| match event {
        AgentEvent::Answered { answer, .. } => ends.answers.push(*answer),
        AgentEvent::JobFailed { .. } => ends.failed += 1,
        _ => {}
    };
    for job in 0..jobs {
        run(world, at(600 + 1200 * job), |_, event| count(event));
        world.with_host(asker, |node, now| {
            node.agent().submit(now, "two hikers, one with a broken ankle").unwrap();
            node.settle(now);
        });
    }
    run(world, at(600 + 1200 * jobs + 4 * 3600), |_, event| count(event));
    ends
}

fn check_air(world: &World<Node>, what: &str) {
    assert_eq!(world.ledger.originations_over_gate(), 0, "{:?} {what}", world.ledger.first_over_gate());
    assert!(world.ledger.max_duty_cycle_pct() <= 10.0, "{what}");
}

#[test]
fn an_edge_node_two_hops_away_answers_every_job_at_any_loss() {
    for loss_ppm in LOSSES_PPM {
        for seed in 0..3 {
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            let habits = RadioHabits::default();
            let mut world = line_of(3, 0.8, loss_ppm, seed, |index| {
                if index == 2 { hosted(index, seed, false, habits) } else { native(index, seed, false) }
            });
            let ends = ask(&mut world, 2, 6);
            assert_eq!((ends.answers.len(), ends.failed), (6, 0), "{what}");
            let latency: u64 = ends.answers.iter().map(|answer| answer.latency.as_secs()).sum::<u64>() / 6;
            println!("{what}: {latency} s on average");
            assert!(ends.answers.iter().all(|answer| answer.by == common::EDGE), "{what}");
            assert_eq!(
                given(&world, 2).unicasts,
                0,
                "its radio would encrypt them for a key that nobody has"
            );
            check_air(&world, &what);
        }
    }
}

#[test]
fn a_radio_without_a_private_key_sends_unicasts_that_our_nodes_read() {
    for loss_ppm in LOSSES_PPM {
        let habits = RadioHabits { private_key: false, ..RadioHabits::default() };
        let what = format!("loss {loss_ppm} ppm: {REPEAT}");
        let mut world = line_of(3, 0.8, loss_ppm, 1, |index| {
            if index == 2 { hosted(index, 1, false, habits) } else { native(index, 1, false) }
        });
        let ends = ask(&mut world, 2, 6);
        assert_eq!((ends.answers.len(), ends.failed), (6, 0), "{what}");
        assert!(given(&world, 2).unicasts >= 6, "{what}");
        check_air(&world, &what);
    }
}

#[test]
fn a_hosted_edge_node_answers_native_ones() {
    for loss_ppm in LOSSES_PPM {
        for seed in 0..2 {
            let what = format!("loss {loss_ppm} ppm, seed {seed}: {REPEAT}");
            let mut world = line_of(3, 0.8, loss_ppm, seed, |index| {
                if index == 0 {
                    hosted(index, seed, false, RadioHabits::default())
                } else {
                    native(index, seed, false)
                }
            });
            let ends = ask(&mut world, 2, 6);
            assert_eq!((ends.answers.len(), ends.failed), (6, 0), "{what}");
            check_air(&world, &what);
        }
    }
}

/// A publisher at one end, a hosted node in the middle that receives the object and serves it, and a third node that can get
/// it from the hosted one only.
fn chain(loss_ppm: u32, seed: u64, publisher_hosted: bool) -> World<Node> {
    let habits = RadioHabits::default();
    let mut world = line_of(3, 0.8, loss_ppm, seed, |index| {
        let is_hosted = if publisher_hosted { index == 0 } else { index == 1 };
        if is_hosted { hosted(index, seed, true, habits) } else { native(index, seed, true) }
    });
    let (delegation, manifest, content) = student::bundle();
    run(&mut world, at(600), |_, _| {});
    world.with_host(0, |node, now| {
        assert_eq!(node.agent().publish(now, &delegation, &manifest, &content), Ok(student::VERSION));
        node.settle(now);
    });
    world
}

#[test]
fn an_object_is_received_used_and_passed_on_at_any_loss() {
    for publisher_hosted in [false, true] {
        for loss_ppm in LOSSES_PPM {
            for seed in 0..2 {
                let what = format!(
                    "hosted publisher {publisher_hosted}, loss {loss_ppm} ppm, seed {seed}: {REPEAT}"
                );
                let mut world = chain(loss_ppm, seed, publisher_hosted);
                let mut have = Vec::new();
                run(&mut world, at(8 * 3600), |id, event| {
                    if matches!(event, AgentEvent::ModelActivated { version: student::VERSION }) {
                        have.push(id);
                    }
                });
                have.sort_unstable();
                assert!(have.ends_with(&[1, 2]), "{have:?} {what}");
                let id = usize::from(!publisher_hosted);
                let given = given(&world, id);
                assert!(given.bulk > 5, "{given:?} {what}");
                assert!(given.bulk_waiting_max <= BULK_OUTSTANDING, "{given:?} {what}");
                check_air(&world, &what);
            }
        }
    }
}

#[test]
fn silence_of_the_telemetry_stops_bulk_and_its_return_resumes_it() {
    let mut world = chain(0, 1, true);
    // As the symbols flow.
    run(&mut world, at(700), |_, _| {});
    assert!(given(&world, 0).bulk > 0);
    set_telemetry(&mut world, 0, false);
    run(&mut world, at(700 + 301), |_, _| {});
    let stopped = given(&world, 0);
    run(&mut world, at(3 * 3600), |_, _| {});
    assert_eq!(given(&world, 0).bulk, stopped.bulk, "not even a beacon");
    set_telemetry(&mut world, 0, true);
    let mut have = Vec::new();
    run(&mut world, at(12 * 3600), |id, event| {
        if matches!(event, AgentEvent::ModelActivated { .. }) {
            have.push(id);
        }
    });
    assert!(given(&world, 0).bulk > stopped.bulk);
    assert!(have.contains(&1) && have.contains(&2), "{have:?}");
    check_air(&world, REPEAT);
}

#[test]
fn silence_of_the_telemetry_does_not_stop_a_job() {
    let habits = RadioHabits::default();
    let mut world = line_of(3, 0.8, 0, 1, |index| {
        if index == 2 { hosted(index, 1, false, habits) } else { native(index, 1, false) }
    });
    set_telemetry(&mut world, 2, false);
    let ends = ask(&mut world, 2, 3);
    assert_eq!((ends.answers.len(), ends.failed), (3, 0));
    assert_eq!(given(&world, 2).bulk, 0);
}

#[test]
fn what_vanishes_in_the_radio_is_made_up_for() {
    let mut world = {
        let habits = RadioHabits { vanish_ppm: 300_000, ..RadioHabits::default() };
        line_of(2, 0.8, 0, 3, |index| {
            if index == 0 { hosted(index, 3, true, habits) } else { native(index, 3, true) }
        })
    };
    let (delegation, manifest, content) = student::bundle();
    run(&mut world, at(600), |_, _| {});
    world.with_host(0, |node, now| {
        node.agent().publish(now, &delegation, &manifest, &content).unwrap();
        node.settle(now);
    });
    let mut have = Vec::new();
    run(&mut world, at(12 * 3600), |id, event| {
        if matches!(event, AgentEvent::ModelActivated { .. }) {
            have.push(id);
        }
    });
    assert!(have.contains(&1), "{have:?}");
    let given = given(&world, 0);
    assert!(given.vanished > 3, "{given:?}");
}

#[test]
fn its_broadcasts_are_as_long_as_it_reckons() {
    let mut world = chain(0, 1, true);
    run(&mut world, at(2 * 3600), |_, _| {});
    // Beacons of the native nodes are unsigned; those of the hosted one have the signature and the bitfield.
    let beacons = world.ledger.sum_of(Category::Beacon, Origin::Originated);
    assert!(beacons.bytes > beacons.transmissions * 40, "{beacons:?}");
    let len = |payload, broadcast| HostedStation::<Flash>::frame_len(payload, broadcast);
    assert_eq!(len(165, true), 255);
    assert_eq!(len(166, true), 16 + 3 + 3 + 166 + 2);
    assert_eq!(len(20, true), len(20, false) + 66);
    let symbol = Duration::from_micros(Preset::LongFast.modem(false).time_on_air_us(len(190, true)));
    assert_eq!(symbol.as_millis(), 1828);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let hash = |seed| {
        let mut world = chain(100_000, seed, false);
        run(&mut world, at(4000), |_, _| {});
        world.log.finish().unwrap()
    };
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}

/// All hear each other, and more and more of them ask all the time, until it is far more than the air can carry.
#[test]
fn on_air_that_gets_crowded_it_originates_nothing_above_the_gates() {
    const HOSTED: [usize; 2] = [3, 7];
    for seed in 0..2 {
        let what = format!("seed {seed}: {REPEAT}");
        let mut world = line_of(8, 0.1, 100_000, seed, |index| {
            let habits = RadioHabits::default();
            if HOSTED.contains(&index) {
                hosted(index, seed, false, habits)
            } else {
                native(index, seed, false)
            }
        });
        for round in 0..90 {
            run(&mut world, at(30 * round as u64), |_, _| {});
            for id in 1..8.min(2 + round / 5) {
                world.with_host(id, |node, now| {
                    // A full table of jobs refuses.
                    let _ = node.agent().submit(now, "two hikers, one with a broken ankle, below the hut");
                    node.settle(now);
                });
            }
        }
        let busiest_pct = world.ledger.max_channel_utilization_pct();
        assert!(busiest_pct > 30.0, "relays and answers fill it: {busiest_pct} % {what}");
        assert!(HOSTED.iter().all(|id| given(&world, *id).packets > 0), "{what}");
        check_air(&world, &what);
    }
}
