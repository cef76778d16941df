//! Places are few: what goes first, what goes when there are too many, and what waits for the radio.

mod common;

use common::{Alone, TEXT_PORT, at, header, message, node, outgoing};
use compotastic_mesh::{
    lora::Preset,
    packet::{Header, NodeNum},
    router::{Gate, Priority, Role, RouterEvent, SendError},
    time::Duration,
};

const PRIORITIES: [Priority; 7] = [
    Priority::Background,
    Priority::Default,
    Priority::Reliable,
    Priority::Response,
    Priority::High,
    Priority::Alert,
    Priority::Ack,
];

fn ids(alone: &Alone) -> Vec<u32> {
    alone.sent.iter().map(|sent| sent.header.id.0).collect()
}

#[test]
fn the_most_important_goes_first_and_of_equals_the_oldest() {
    let mut alone = Alone::new(Role::Client, 1);
    for round in 0..2 {
        for (index, priority) in PRIORITIES.into_iter().enumerate() {
            let mut out = outgoing(NodeNum::BROADCAST, 10 * (index as u32 + 1) + round, TEXT_PORT, b"x");
            out.priority = priority;
            alone.send(&out);
        }
    }
    // The radio comes back when all are due.
    alone.now = at(10);
    alone.run(10);
    assert_eq!(ids(&alone), [70, 71, 60, 61, 50, 51, 40, 41, 30, 31, 20, 21, 10, 11]);
}

#[test]
fn what_may_not_go_yet_does_not_stand_in_the_way_of_what_may() {
    let mut alone = Alone::new(Role::Client, 1);
    alone.now = at(100);
    alone.router.handle_bad_frame(alone.now, Duration::from_secs(18));
    // 30 % of the minute: too much for bulk, whatever its priority.
    let mut bulk = outgoing(NodeNum::BROADCAST, 1, TEXT_PORT, b"bulk");
    (bulk.gate, bulk.priority) = (Gate::Bulk, Priority::Ack);
    alone.send(&bulk);
    let mut normal = outgoing(NodeNum::BROADCAST, 2, TEXT_PORT, b"normal");
    normal.priority = Priority::Background;
    alone.send(&normal);
    alone.run(30);
    assert_eq!(ids(&alone), [2]);
    alone.run(60);
    assert_eq!(ids(&alone), [2, 1]);
}

#[test]
fn a_full_queue_refuses_what_is_no_more_important_than_all_it_has() {
    let mut alone = Alone::new(Role::Client, 1);
    for id in 1..=16 {
        alone.send(&outgoing(NodeNum::BROADCAST, id, TEXT_PORT, b"x"));
    }
    let late = outgoing(NodeNum::BROADCAST, 17, TEXT_PORT, b"x");
    assert_eq!(alone.router.send(alone.now, &late), Err(SendError::QueueFull));
    // Nor is a flood relayed then; it was received all the same.
    alone.hear(&message(&header(node(1), NodeNum::BROADCAST, 99), TEXT_PORT, b"x"));
    assert_eq!((alone.router.queue_len(), alone.received().len()), (16, 1));
    alone.run(300);
    let mut sent = ids(&alone);
    sent.sort_unstable();
    assert_eq!(sent, (1..=16).collect::<Vec<u32>>());
}

#[test]
fn a_flood_that_found_no_place_is_relayed_when_it_is_heard_again() {
    let mut alone = Alone::new(Role::Client, 1);
    for id in 1..=16 {
        alone.send(&outgoing(NodeNum::BROADCAST, id, TEXT_PORT, b"x"));
    }
    let flood = message(&header(node(1), NodeNum::BROADCAST, 99), TEXT_PORT, b"x");
    alone.hear(&flood);
    alone.run(300);
    alone.hear(&flood);
    alone.run(300);
    assert_eq!(alone.sent(99).len(), 1);
    assert_eq!(alone.received().len(), 1, "delivered with the first copy");
}

#[test]
fn relays_that_have_to_go_are_nobodys_failure() {
    let mut alone = Alone::new(Role::Client, 1);
    for id in 1..=16 {
        alone.hear(&message(&header(node(1), NodeNum::BROADCAST, id), TEXT_PORT, b"x"));
    }
    let mut alert = outgoing(NodeNum::BROADCAST, 99, TEXT_PORT, b"alert");
    alert.priority = Priority::Alert;
    alone.send(&alert);
    assert_eq!(alone.router.queue_len(), 16);
    alone.run(300);
    assert_eq!(alone.sent(16).len(), 0, "the youngest made room");
    assert!(!alone.events.iter().any(|event| matches!(event, RouterEvent::Failed { .. })));
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let mut alone = Alone::new(Role::Client, 1);
    let long = [0; 234];
    for (length, taken) in [(0, true), (233, true), (234, false)] {
        let out = outgoing(NodeNum::BROADCAST, 1, TEXT_PORT, &long[..length]);
        let expected = if taken { Ok(()) } else { Err(SendError::TooLarge) };
        assert_eq!(alone.router.send(alone.now, &out), expected, "{length} bytes");
    }
    let mut out = outgoing(NodeNum::BROADCAST, 2, TEXT_PORT, b"x");
    out.channel = 1;
    assert_eq!(alone.router.send(alone.now, &out), Err(SendError::NoChannel));
    out.channel = 0;
    out.hop_limit = 200;
    alone.send(&out);
    alone.run(60);
    assert_eq!(alone.sent(2)[0].header.hop_limit, 7, "as many as the header can say");
}

#[test]
fn one_frame_at_a_time() {
    let mut alone = Alone::new(Role::Client, 1);
    for id in 1..=2 {
        alone.send(&outgoing(NodeNum::BROADCAST, id, TEXT_PORT, b"x"));
    }
    let first = alone.router.poll_transmit(at(10), false).expect("both are due");
    assert!(alone.router.poll_transmit(at(10), false).is_none());
    assert!(alone.router.poll_timeout().is_none(), "there is nothing to do until it has left");
    alone.router.handle_tx_done(at(10) + first.airtime);
    assert!(alone.router.poll_transmit(at(11), false).is_some());
}

#[test]
fn on_a_busy_channel_what_is_due_waits_at_least_a_slot_more() {
    let slot = Duration::from_micros(Preset::LongFast.modem(false).slot_us());
    for seed in 0..50 {
        let mut alone = Alone::new(Role::Client, seed);
        alone.send(&outgoing(NodeNum::BROADCAST, 1, TEXT_PORT, b"x"));
        alone.hear(&message(&header(node(1), NodeNum::BROADCAST, 2), TEXT_PORT, b"x"));
        let now = at(10);
        assert!(alone.router.poll_transmit(now, true).is_none());
        assert!(alone.router.poll_timeout().is_some_and(|due| due >= now + slot), "seed {seed}");
        alone.now = now;
        alone.run(60);
        assert_eq!(alone.sent.len(), 2, "and goes later");
    }
}

#[test]
fn events_that_nobody_takes_are_the_last_eight() {
    let mut router = Alone::new(Role::ClientMute, 1).router;
    for id in 1..=10 {
        let header = Header { hop_limit: 0, ..header(node(1), NodeNum::BROADCAST, id) };
        router.handle_frame(at(1), &message(&header, TEXT_PORT, b"x"), 20, -90);
    }
    let ids: Vec<u32> = std::iter::from_fn(|| router.poll_event())
        .filter_map(
            |event| if let RouterEvent::Received(incoming) = event { Some(incoming.id.0) } else { None },
        )
        .collect();
    assert_eq!(ids, (3..=10).collect::<Vec<u32>>());
}

#[test]
fn the_last_160_packets_are_known_again() {
    let mut alone = Alone::new(Role::ClientMute, 1);
    let hello = |id| message(&header(node(1), NodeNum::BROADCAST, id), TEXT_PORT, b"x");
    for id in (1..=161).chain([2, 161, 1]) {
        alone.hear(&hello(id));
    }
    let ids: Vec<u32> = alone.received().iter().map(|incoming| incoming.id.0).collect();
    assert_eq!(ids.len(), 162);
    assert_eq!(ids[161], 1, "only the first was forgotten");
}
