//! Whose answer counts: of those who were asked, now or before; a name of 16 bits alone is no proof.

mod common;

use common::{Mate, Node, POST, agent, at, events, next_request, sent, wait_for};
use compotastic_mesh::{packet::NodeNum, time::Instant};
use compotastic_node::{AgentEvent, JobFailure};
use compotastic_wire::{Frame, ResultStatus};

const NEAR: u32 = 0x0a00_0001;
const FAR: u32 = 0x0a00_0002;
const STRANGER: u32 = 0x0b00_0001;

/// Who answered the jobs that ended.
fn answered_by(agent: &mut Node) -> Vec<NodeNum> {
    let answered = |event| match event {
        AgentEvent::Answered { answer, .. } => Some(answer.by),
        AgentEvent::JobFailed { reason, .. } => panic!("a job ended: {reason:?}"),
        _ => None,
    };
    events(agent).into_iter().filter_map(answered).collect()
}

/// A job that was asked of one executor in vain and then of the other: requester, time, both, the job's name.
fn failed_over() -> (Node, Instant, Mate, Mate, u16) {
    let mut agent = agent(NodeNum(1));
    let (mut near, mut far) = (Mate::new(NEAR), Mate::new(FAR));
    let mut now = at(600);
    near.beacons(&mut agent, now);
    agent.submit(now, "two hikers below the hut").unwrap();
    let (first, name) = next_request(&mut agent, &mut now);
    assert_eq!(first, near.num);
    far.beacons(&mut agent, now);
    loop {
        let (to, job) = next_request(&mut agent, &mut now);
        assert_eq!(job, name, "a repetition names the same job");
        if to == far.num {
            return (agent, now, near, far, name);
        }
    }
}

#[test]
fn an_executor_that_was_asked_is_believed_once() {
    let mut agent = agent(NodeNum(1));
    let mut near = Mate::new(NEAR);
    let mut now = at(600);
    near.beacons(&mut agent, now);
    agent.submit(now, "two hikers below the hut").unwrap();
    let (_, name) = next_request(&mut agent, &mut now);
    near.answers(&mut agent, now, name, ResultStatus::Ok);
    near.answers(&mut agent, now, name, ResultStatus::Ok);
    assert_eq!(answered_by(&mut agent), [near.num]);
}

#[test]
fn a_node_that_was_not_asked_is_not_believed() {
    let mut agent = agent(NodeNum(1));
    let (mut near, mut stranger) = (Mate::new(NEAR), Mate::new(STRANGER));
    let mut now = at(600);
    near.beacons(&mut agent, now);
    agent.submit(now, "two hikers below the hut").unwrap();
    let (_, name) = next_request(&mut agent, &mut now);
    // An answer to an older job of that name, or to one before a restart.
    for status in [ResultStatus::Ok, ResultStatus::Unsure, ResultStatus::Unsupported, ResultStatus::Busy] {
        stranger.answers(&mut agent, now, name, status);
    }
    assert_eq!(answered_by(&mut agent), []);
    assert!(sent(&mut agent, now).is_empty(), "nor does the job begin anew");
    near.answers(&mut agent, now, name, ResultStatus::Ok);
    assert_eq!(answered_by(&mut agent), [near.num]);
}

#[test]
fn an_executor_that_was_asked_before_may_answer_late() {
    let (mut agent, now, mut near, mut far, name) = failed_over();
    near.answers(&mut agent, now, name, ResultStatus::Ok);
    far.answers(&mut agent, now, name, ResultStatus::Ok);
    assert_eq!(answered_by(&mut agent), [near.num], "the first answer ends the job");
}

#[test]
fn the_late_refusal_of_one_does_not_end_what_another_is_doing() {
    for refusal in [ResultStatus::Unsupported, ResultStatus::Busy, ResultStatus::Declined] {
        let (mut agent, now, mut near, mut far, name) = failed_over();
        near.answers(&mut agent, now, name, refusal);
        assert_eq!(answered_by(&mut agent), [], "{refusal:?}");
        far.answers(&mut agent, now, name, ResultStatus::Ok);
        assert_eq!(answered_by(&mut agent), [far.num], "{refusal:?}");
    }
}

#[test]
fn the_refusal_of_the_one_who_was_asked_counts() {
    let (mut agent, mut now, _, mut far, name) = failed_over();
    far.answers(&mut agent, now, name, ResultStatus::Busy);
    assert_eq!(answered_by(&mut agent), [], "not now is not no");
    let before = now;
    let (_, again) = next_request(&mut agent, &mut now);
    assert_eq!(again, name);
    assert!(
        now.saturating_duration_since(before).as_micros() >= 60_000_000,
        "it is left in peace for a while"
    );

    let (mut agent, now, _, mut far, name) = failed_over();
    far.answers(&mut agent, now, name, ResultStatus::Unsupported);
    let ended = events(&mut agent);
    assert!(
        matches!(ended[..], [AgentEvent::JobFailed { reason: JobFailure::Unsupported, .. }]),
        "{ended:?}"
    );
}

#[test]
fn a_receipt_counts_from_the_command_post_alone() {
    let mut agent = agent(NodeNum(1));
    let (mut near, mut post) = (Mate::new(NEAR), Mate::new(POST.0));
    let mut now = at(600);
    near.beacons(&mut agent, now);
    let job = agent.submit(now, "two hikers below the hut").unwrap();
    let (_, name) = next_request(&mut agent, &mut now);
    near.answers(&mut agent, now, name, ResultStatus::Ok);
    assert_eq!(answered_by(&mut agent), [near.num]);
    let packet = wait_for(&mut agent, &mut now, |out, frame| {
        matches!(frame, Frame::Report(_)).then_some((out.to, out.id as u16))
    });
    assert_eq!(packet.0, POST);
    // Else a report would be lost, and its sender would be told that it arrived.
    near.answers(&mut agent, now, packet.1, ResultStatus::Received);
    assert_eq!(events(&mut agent), []);
    post.answers(&mut agent, now, packet.1, ResultStatus::Received);
    assert_eq!(events(&mut agent), [AgentEvent::ReportDelivered { job }]);
}
