//! One hop of a unicast: how often it is tried, by whom, who says what about it, and how it ends.

mod common;

use common::{Alone, OWN_PORT, TEXT_PORT, at, frame, header, message, node, outgoing};
use compotastic_mesh::{
    packet::{Data, Header, NodeNum},
    router::{ROUTING_PORT, Role, RouterEvent},
    time::Duration,
};

/// Node 0, which knows its neighbour node 1, and by it node 5, two hops away.
fn alone() -> Alone {
    let mut alone = Alone::new(Role::Client, 1);
    alone.meet(node(1), 0, node(1));
    alone.meet(node(5), 1, node(1));
    alone.events.clear();
    alone
}

fn by(index: usize) -> u8 {
    node(index).last_byte()
}

/// A packet of node 2 for node 5 that asks us to relay.
fn for_five(id: u32) -> Header {
    Header { next_hop: by(0), ..header(node(2), node(5), id) }
}

#[test]
fn who_was_heard_names_the_way_and_who_was_not_is_flooded_for() {
    let mut alone = alone();
    for (id, to) in [(1, node(1)), (2, node(5)), (3, node(6)), (4, NodeNum::BROADCAST)] {
        alone.send(&outgoing(to, id, TEXT_PORT, b"x"));
    }
    // One hop is too few for node 5.
    let mut near = outgoing(node(5), 5, TEXT_PORT, b"x");
    near.hop_limit = 0;
    alone.send(&near);
    alone.run(2);
    let next_hop = |id| alone.sent(id)[0].header.next_hop;
    assert_eq!((next_hop(1), next_hop(2)), (by(1), by(1)));
    assert_eq!((next_hop(3), next_hop(4), next_hop(5)), (0, 0, 0));
    assert!(!alone.sent(4)[0].header.want_ack, "nobody acknowledges a broadcast");
}

#[test]
fn a_broadcast_never_asks_for_an_acknowledgement() {
    let mut alone = alone();
    let mut out = outgoing(NodeNum::BROADCAST, 7, TEXT_PORT, b"x");
    out.want_ack = true;
    alone.send(&out);
    alone.run(300);
    let sent = alone.sent(7);
    assert_eq!(sent.len(), 1, "and is not repeated");
    assert!(!sent[0].header.want_ack);
    assert_eq!(alone.failed(7), 0);
}

#[test]
fn the_origin_on_our_port_tries_six_times_and_then_says_so_once() {
    let mut alone = alone();
    alone.send(&outgoing(node(5), 9, OWN_PORT, b"request"));
    alone.run(600);
    let sent = alone.sent(9);
    assert_eq!(sent.len(), 6);
    assert!(sent.iter().all(|sent| sent.header.next_hop == by(1)), "there is no other way, and no flood");
    assert_eq!(alone.failed(9), 1);
    assert!(sent.windows(2).all(|two| two[1].at > two[0].at + Duration::from_secs(1)), "with time between");
}

#[test]
fn a_relay_of_a_stock_packet_tries_twice_the_second_time_whoever_hears_it() {
    let mut alone = alone();
    alone.hear(&message(&for_five(9), TEXT_PORT, b"letter"));
    alone.run(300);
    let hops: Vec<u8> = alone.sent(9).iter().map(|sent| sent.header.next_hop).collect();
    assert_eq!(hops, [by(1), 0]);
    assert_eq!(alone.failed(9), 0, "it is not ours");
}

#[test]
fn a_stock_packet_that_is_asked_for_again_is_passed_on_three_times_at_most() {
    // Its destination is the next hop, so nothing is waited for, and passing it on is the only proof for the hop before.
    let mut alone = Alone::new(Role::Client, 1);
    alone.meet(node(5), 0, node(5));
    for _ in 0..5 {
        alone.hear(&message(&for_five(9), TEXT_PORT, b"letter"));
        alone.run(5);
    }
    assert_eq!(alone.sent(9).len(), 3);
    assert!(alone.sent(9).iter().all(|sent| sent.header.next_hop == by(5)));
}

#[test]
fn the_next_hop_that_is_heard_ends_the_waiting() {
    let mut alone = alone();
    alone.hear(&message(&for_five(9), OWN_PORT, b"request"));
    alone.run(2);
    let sent = alone.sent(9)[0].header;
    alone.hear(&message(
        &Header { hop_limit: 1, next_hop: by(5), relay_node: by(1), ..sent },
        OWN_PORT,
        b"request",
    ));
    alone.run(300);
    assert_eq!(alone.sent(9).len(), 1);
}

#[test]
fn our_own_copy_heard_again_ends_nothing() {
    let mut alone = alone();
    alone.send(&outgoing(node(5), 9, TEXT_PORT, b"letter"));
    alone.run(2);
    // Our last byte: an echo, or somebody who has the same.
    alone.hear(&message(&Header { hop_limit: 2, ..alone.sent(9)[0].header }, TEXT_PORT, b"letter"));
    alone.run(300);
    assert_eq!(alone.sent(9).len(), 3);
}

#[test]
fn the_other_way_is_never_back_where_the_packet_came_from() {
    let mut alone = alone();
    // Node 2, which will send the packet, knows a way too.
    alone.meet(node(2), 0, node(2));
    alone.meet(node(5), 1, node(2));
    alone.hear(&message(&for_five(9), OWN_PORT, b"request"));
    alone.run(600);
    assert_eq!(alone.sent(9).len(), 6);
    assert!(alone.sent(9).iter().all(|sent| sent.header.next_hop == by(1)));
    // What is ours goes there with its last tries.
    let mut alone = self::alone();
    alone.meet(node(2), 0, node(2));
    alone.meet(node(5), 1, node(2));
    alone.send(&outgoing(node(5), 10, OWN_PORT, b"request"));
    alone.run(600);
    let hops: Vec<u8> = alone.sent(10).iter().map(|sent| sent.header.next_hop).collect();
    assert_eq!(hops[..4], [hops[0]; 4]);
    assert_eq!(hops[4..], [by(1) + by(2) - hops[0]; 2]);
}

#[test]
fn a_packet_that_cannot_arrive_is_acknowledged_and_goes_no_further() {
    let mut alone = alone();
    let last = Header { next_hop: by(0), hop_limit: 1, ..header(node(2), node(7), 9) };
    alone.hear(&message(&last, OWN_PORT, b"request"));
    alone.run(60);
    assert!(alone.sent(9).is_empty());
    assert_eq!(alone.bare(), [Header { hop_limit: 0, next_hop: by(0), relay_node: by(0), ..last }]);
}

#[test]
fn a_hop_repeats_and_is_told_the_origin_repeats_and_the_application_is() {
    // Delivered before; node 2, one hop before us, repeats it.
    let request = Header { hop_limit: 2, relay_node: by(2), next_hop: by(0), ..header(node(5), node(0), 9) };
    let mut alone = self::alone();
    alone.hear(&message(&request, OWN_PORT, b"request"));
    alone.hear(&message(&Header { want_ack: true, ..request }, OWN_PORT, b"request"));
    alone.run(5);
    assert_eq!(alone.received().len(), 1);
    assert_eq!((alone.bare().len(), alone.repeated(9)), (1, 0));

    // Its origin is our neighbour: there is no hop that could have lost our reply but the last one.
    let request = Header { next_hop: by(0), ..header(node(1), node(0), 9) };
    let mut alone = self::alone();
    alone.hear(&message(&request, OWN_PORT, b"request"));
    alone.hear(&message(&request, OWN_PORT, b"request"));
    alone.run(5);
    assert_eq!(alone.received().len(), 1);
    assert_eq!((alone.bare().len(), alone.repeated(9)), (0, 1));

    // Our reply waits to be sent, so neither is needed.
    let mut alone = self::alone();
    alone.hear(&message(&request, OWN_PORT, b"request"));
    alone.send(&outgoing(node(1), 10, OWN_PORT, b"reply"));
    alone.hear(&message(&request, OWN_PORT, b"request"));
    alone.run(2);
    assert_eq!((alone.bare().len(), alone.repeated(9)), (0, 0));
}

#[test]
fn stock_packets_are_acknowledged_each_time_acknowledgements_and_our_port_never() {
    for (port, acks) in [(TEXT_PORT, 2), (ROUTING_PORT, 0), (OWN_PORT, 0)] {
        let mut alone = alone();
        let letter = Header { want_ack: true, ..header(node(1), node(0), 9) };
        alone.hear(&message(&letter, port, b"x"));
        alone.run(5);
        if port != ROUTING_PORT {
            alone.hear(&message(&letter, port, b"x"));
            alone.run(5);
        }
        assert_eq!(alone.received().len(), 1);
        let answers =
            alone.sent.iter().filter(|sent| sent.header.to == node(1) && sent.header.from == node(0));
        assert_eq!(answers.filter(|sent| sent.bytes.len() > 16).count(), acks, "port {port}");
    }
}

#[test]
fn an_acknowledgement_that_names_the_packet_ends_the_waiting_another_does_not() {
    for (request_id, sends) in [(9, 1), (8, 3)] {
        let mut alone = alone();
        alone.send(&outgoing(node(6), 9, TEXT_PORT, b"letter"));
        alone.run(2);
        // From a node other than the destination, so that it is not taken for a reply.
        let data =
            Data { port: ROUTING_PORT, payload: &[0x18, 0], request_id: Some(request_id), ..Data::default() };
        alone.hear(&frame(&header(node(5), node(0), 77), &data));
        alone.run(300);
        assert_eq!(alone.sent(9).len(), sends, "it names {request_id}");
        assert_eq!(alone.failed(9), usize::from(request_id != 9));
    }
}

#[test]
fn what_comes_back_from_the_destination_is_an_acknowledgement() {
    let mut alone = alone();
    alone.send(&outgoing(node(5), 9, OWN_PORT, b"request"));
    alone.run(2);
    alone.hear(&message(
        &Header { hop_limit: 2, relay_node: by(1), ..header(node(5), node(0), 50) },
        OWN_PORT,
        b"result",
    ));
    alone.run(300);
    assert_eq!((alone.sent(9).len(), alone.failed(9)), (1, 0));
}

#[test]
fn the_last_reply_to_a_neighbour_is_held_for_its_reminder_for_five_minutes() {
    let reply = |alone: &mut Alone, id| {
        let mut out = outgoing(node(1), id, OWN_PORT, b"reply");
        out.want_ack = false;
        alone.send(&out);
        alone.run(5);
    };
    let reminder = Header { hop_limit: 0, hop_start: 0, ..header(node(1), node(0), 9) }.emit();
    let mut alone = alone();
    reply(&mut alone, 50);
    reply(&mut alone, 51);
    alone.hear(&reminder);
    alone.run(5);
    assert_eq!((alone.sent(50).len(), alone.sent(51).len()), (1, 2), "the older one is past");
    assert_eq!(alone.repeated(9), 0);
    alone.now = at(400);
    alone.hear(&reminder);
    alone.run(5);
    assert_eq!(alone.sent(51).len(), 2);
    assert_eq!(alone.repeated(9), 1, "now the application has to answer");
}

#[test]
fn a_reminder_for_another_node_is_no_business_of_ours() {
    let mut alone = alone();
    alone.hear(&Header { hop_limit: 0, hop_start: 0, ..header(node(1), node(5), 9) }.emit());
    alone.run(60);
    assert!(alone.sent.is_empty());
    assert!(!alone.events.iter().any(|event| matches!(event, RouterEvent::Duplicate { .. })));
}

#[test]
fn four_replies_are_held_and_the_oldest_makes_room() {
    let mut alone = Alone::new(Role::Client, 1);
    for index in 1..=5 {
        alone.meet(node(index), 0, node(index));
        let mut out = outgoing(node(index), 50 + index as u32, OWN_PORT, b"reply");
        out.want_ack = false;
        alone.send(&out);
        alone.run(5);
    }
    for index in 1..=5 {
        alone.hear(&Header { hop_limit: 0, hop_start: 0, ..header(node(index), node(0), 9) }.emit());
        alone.run(5);
    }
    let times: Vec<usize> = (51..=55).map(|id| alone.sent(id).len()).collect();
    assert_eq!(times, [1, 2, 2, 2, 2]);
}
