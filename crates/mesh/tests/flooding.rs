//! Broadcasts: relayed once, not at all where another was faster, never past the hop limit, delivered once.

mod common;

use common::{Ether, at, channel, config, node, outgoing};
use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Role, Router, RouterConfig},
    time::Instant,
};

#[test]
fn a_broadcast_crosses_the_mesh_and_is_delivered_once() {
    let mut ether = Ether::line(4);
    ether.send(0, &outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"hello"));
    ether.run(at(60));
    for index in 1..4 {
        let received = ether.received(index);
        assert_eq!(received.len(), 1, "node {index}");
        assert_eq!(received[0].payload, b"hello");
        assert_eq!(received[0].hops_away, Some(index as u8 - 1));
    }
    assert_eq!(ether.senders(9), [0, 1, 2, 3], "each node sends it once");
    let limits: Vec<u8> = ether.sent.iter().map(|sent| sent.header.hop_limit).collect();
    assert_eq!(limits, [3, 2, 1, 0]);
    assert!(ether.sent.iter().all(|sent| sent.header.hop_start == 3));
}

#[test]
fn the_hop_limit_ends_the_flood() {
    for (hop_limit, reached) in [(0, 1), (1, 2), (2, 3)] {
        let mut ether = Ether::line(6);
        let mut out = outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"near");
        out.hop_limit = hop_limit;
        ether.send(0, &out);
        ether.run(at(60));
        let nodes = (1..6).filter(|index| !ether.received(*index).is_empty()).count();
        assert_eq!(nodes, reached, "hop limit {hop_limit}");
    }
}

#[test]
fn clients_keep_silent_when_another_was_faster_routers_do_not() {
    // All hear each other: the first relay makes the others superfluous.
    let mut clients = Ether::new(&[Role::Client; 8], |_, _| true);
    clients.send(0, &outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"x"));
    clients.run(at(60));
    assert_eq!(clients.senders(9).len(), 2, "the origin and one relay");

    let mut roles = [Role::Client; 8];
    roles[3] = Role::Router;
    roles[5] = Role::Router;
    let mut routers = Ether::new(&roles, |_, _| true);
    routers.send(0, &outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"x"));
    routers.run(at(60));
    let mut senders = routers.senders(9);
    senders.sort_unstable();
    assert_eq!(senders, [0, 3, 5], "routers come first, and both speak");
}

#[test]
fn mute_clients_listen_only() {
    let mut ether = Ether::new(&[Role::Client, Role::ClientMute, Role::Client], |a, b| a.abs_diff(b) == 1);
    ether.send(0, &outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"x"));
    ether.run(at(60));
    assert_eq!(ether.received(1).len(), 1);
    assert!(ether.received(2).is_empty());
}

#[test]
fn what_we_cannot_read_is_relayed_and_not_delivered() {
    let mut ether = Ether::line(3);
    for index in [0, 2] {
        let config =
            RouterConfig { channels: [channel(99)].into_iter().collect(), ..config(index, Role::Client) };
        ether.routers[index] = Router::new(config, index as u64, Instant::ZERO);
    }
    ether.send(0, &outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"secret"));
    ether.run(at(60));
    assert!(ether.received(1).is_empty(), "not our key");
    assert_eq!(ether.received(2).len(), 1, "it went through the node that cannot read it");
}

#[test]
fn a_copy_that_comes_long_after_is_not_relayed_again() {
    let mut ether = Ether::line(3);
    ether.send(0, &outgoing(NodeNum::BROADCAST, 9, common::TEXT_PORT, b"x"));
    ether.run(at(60));
    let first = ether.sent[0].bytes.clone();
    let before = ether.sent.len();
    // Somebody replays the origin's frame.
    ether.routers[1].handle_frame(at(60), &first, 20, -90);
    ether.run(at(120));
    assert_eq!(ether.sent.len(), before);
    assert_eq!(ether.received(1).len(), 1);
}

#[test]
fn an_important_packet_displaces_a_lesser_one_in_a_full_queue_and_that_is_told() {
    use compotastic_mesh::router::{Priority, RouterEvent, SendError};
    let mut router = Router::new(config(0, Role::Client), 1, Instant::ZERO);
    for id in 1..=16 {
        let mut out = outgoing(NodeNum::BROADCAST, id, common::TEXT_PORT, b"bulk");
        (out.priority, out.gate) = (Priority::Background, Gate::Bulk);
        router.send(Instant::ZERO, &out).unwrap();
    }
    let mut more = outgoing(node(3), 17, common::TEXT_PORT, b"bulk");
    more.priority = Priority::Background;
    assert_eq!(router.send(Instant::ZERO, &more), Err(SendError::QueueFull));
    more.priority = Priority::Alert;
    router.send(Instant::ZERO, &more).unwrap();
    assert_eq!(router.queue_len(), 16);
    // The youngest of the least important made room.
    assert!(matches!(router.poll_event(), Some(RouterEvent::Failed { id }) if id.0 == 16));
}
