//! What a node sends after a restart is not taken for what it sent before.

mod common;

use std::collections::BTreeSet;

use common::{Mate, Node, POST, agent, at, events, give, next_request, restarted, wait_for};
use compotastic_mesh::{packet::NodeNum, time::Instant};
use compotastic_node::AgentEvent;
use compotastic_wire::{Frame, ResultStatus};

/// A report comes up at the node and is sent to the command post; the times that the post counts it.
fn reported(node: &mut Node, post: &mut Node, mate: &mut Mate, now: &mut Instant) -> usize {
    mate.beacons(node, *now);
    node.submit(*now, "two hikers below the hut").unwrap();
    let (_, name) = next_request(node, now);
    mate.answers(node, *now, name, ResultStatus::Ok);
    let report = wait_for(node, now, |out, frame| matches!(frame, Frame::Report(_)).then(|| out.clone()));
    give(post, *now, node.num(), &report);
    // Twice: the second is a repetition, and refused.
    give(post, *now, node.num(), &report);
    events(post).iter().filter(|event| matches!(event, AgentEvent::ReportReceived { .. })).count()
}

#[test]
fn a_report_after_a_restart_is_not_a_repetition_of_one_before() {
    let (mut node, mut post, mut mate) = (agent(NodeNum(1)), agent(POST), Mate::new(0x0a00_0001));
    let mut now = at(600);
    for round in 0..5 {
        assert_eq!(reported(&mut node, &mut post, &mut mate, &mut now), 1, "after {round} restarts");
        node = restarted(node, now);
    }
}

#[test]
fn names_of_jobs_do_not_come_again_after_a_restart() {
    let (mut node, mut mate) = (agent(NodeNum(1)), Mate::new(0x0a00_0001));
    let mut now = at(600);
    let mut names = BTreeSet::new();
    for round in 0..5 {
        mate.beacons(&mut node, now);
        for _ in 0..3 {
            node.submit(now, "two hikers below the hut").unwrap();
            let (_, name) = next_request(&mut node, &mut now);
            mate.answers(&mut node, now, name, ResultStatus::Ok);
            assert!(names.insert(name), "after {round} restarts");
        }
        node = restarted(node, now);
    }
}
