//! A job for which no executor is known waits; word of one wakes it, and word of others does not.

mod common;

use common::{Mate, agent, at, events, next_request, sent};
use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use compotastic_node::AgentEvent;
use compotastic_wire::{Beacon, Frame, Offer, ResultStatus};

const EDGE: u32 = 0x0a00_0001;
const OTHER: u32 = 0x0a00_0002;

fn seconds_between(a: Instant, b: Instant) -> u64 {
    b.saturating_duration_since(a).as_micros() / 1_000_000
}

#[test]
fn the_first_beacon_wakes_a_job_that_was_submitted_before_it() {
    let mut agent = agent(NodeNum(1));
    let (mut edge, mut other) = (Mate::new(EDGE), Mate::new(OTHER));
    let mut now = at(5);
    agent.submit(now, "two hikers below the hut").unwrap();
    assert!(sent(&mut agent, now).is_empty(), "nobody is known");
    now = at(30);
    let beacon = Beacon { flags: Beacon::MAINS_POWER, task: 1, battery: 15, ..Beacon::default() };
    other.says(&mut agent, now, NodeNum::BROADCAST, &Frame::Beacon(beacon));
    assert!(
        agent.poll_timeout().is_some_and(|due| seconds_between(now, due) < 300),
        "its own beacon is due before"
    );
    let mut quiet = now;
    while seconds_between(now, quiet) < 60 {
        for out in sent(&mut agent, quiet) {
            assert_eq!(out.to, NodeNum::BROADCAST, "a node that offers nothing is not asked");
        }
        quiet = quiet + Duration::from_secs(5);
    }
    now = at(95);
    edge.beacons(&mut agent, now);
    let told = now;
    let (to, name) = next_request(&mut agent, &mut now);
    assert_eq!(to, edge.num);
    assert!(seconds_between(told, now) <= 25, "it was asked {} s later", seconds_between(told, now));
    edge.answers(&mut agent, now, name, ResultStatus::Ok);
    assert!(events(&mut agent).iter().any(|event| matches!(event, AgentEvent::Answered { .. })));
}

#[test]
fn many_nodes_that_hear_the_same_beacon_do_not_ask_at_once() {
    let mut moments: Vec<u64> = (1..=24)
        .map(|num| {
            let mut agent = agent(NodeNum(num));
            let mut edge = Mate::new(EDGE);
            let mut now = at(5);
            agent.submit(now, "two hikers below the hut").unwrap();
            sent(&mut agent, now);
            now = at(60);
            edge.beacons(&mut agent, now);
            agent.poll_timeout().map(|due| due.saturating_duration_since(now).as_micros() / 1000).unwrap()
        })
        .collect();
    moments.sort_unstable();
    moments.dedup();
    assert!(moments.len() >= 20, "{moments:?}");
    assert!(moments.iter().all(|ms| *ms <= 20_000), "{moments:?}");
    assert!(moments[moments.len() - 1] - moments[0] > 10_000, "{moments:?}");
}

#[test]
fn a_call_that_nobody_answered_is_not_waited_out() {
    let mut agent = agent(NodeNum(1));
    let mut edge = Mate::new(EDGE);
    let mut now = at(400);
    agent.submit(now, "two hikers below the hut").unwrap();
    let (to, _) = next_request(&mut agent, &mut now);
    assert_eq!(to, NodeNum::BROADCAST);
    now = at(460);
    edge.beacons(&mut agent, now);
    let told = now;
    let (to, _) = next_request(&mut agent, &mut now);
    assert_eq!(to, edge.num);
    assert!(seconds_between(told, now) <= 25);
}

#[test]
fn an_offer_to_one_job_wakes_the_others() {
    let mut agent = agent(NodeNum(1));
    let mut edge = Mate::new(EDGE);
    let mut now = at(400);
    agent.submit(now, "two hikers below the hut").unwrap();
    agent.submit(now, "one of them has hurt her foot").unwrap();
    let (to, name) = next_request(&mut agent, &mut now);
    assert_eq!(to, NodeNum::BROADCAST);
    let own = agent.num();
    edge.says(&mut agent, now, own, &Frame::Offer(Offer { job: name, suitability: 200, wait_s: 0 }));
    let told = now;
    let (to, second) = next_request(&mut agent, &mut now);
    assert_eq!(to, edge.num, "{second} of {name} after {} s", seconds_between(told, now));
    assert_ne!(second, name, "the first is awarded, the second asked");
    assert!(seconds_between(told, now) <= 25);
}
