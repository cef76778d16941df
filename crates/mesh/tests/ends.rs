//! How a packet of ours ends: what has arrived is not sent again, and what has failed is told, once.

mod common;

use common::{Alone, OWN_PORT, TEXT_PORT, at, frame, header, message, node, outgoing};
use compotastic_mesh::{
    packet::{Data, Header, NodeNum, PacketId},
    router::{Gate, Priority, ROUTING_PORT, Role, RouterEvent},
    time::Duration,
};

fn acked(alone: &Alone, id: u32) -> usize {
    let wanted = |event: &&RouterEvent| matches!(event, RouterEvent::Acked { id: acked } if acked.0 == id);
    alone.events.iter().filter(wanted).count()
}

/// A node that sent packet 9 to its neighbour node 1 once, and whose repetition waits because the air is busy.
fn repetition_waits(port: u16) -> Alone {
    let mut alone = Alone::new(Role::Client, 1);
    alone.now = at(100);
    alone.meet(node(1), 0, node(1));
    alone.events.clear();
    alone.send(&outgoing(node(1), 9, port, b"letter"));
    alone.run(2);
    assert_eq!(alone.sent(9).len(), 1);
    alone.router.handle_bad_frame(alone.now, Duration::from_secs(36));
    alone.run(30);
    assert_eq!((alone.sent(9).len(), alone.router.queue_len()), (1, 1));
    alone
}

#[test]
fn an_acknowledgement_takes_back_the_repetition_that_waits() {
    let mut alone = repetition_waits(TEXT_PORT);
    let data = Data { port: ROUTING_PORT, payload: &[0x18, 0], request_id: Some(9), ..Data::default() };
    alone.hear(&frame(&header(node(1), node(0), 77), &data));
    alone.run(600);
    assert_eq!(alone.sent(9).len(), 1);
    assert_eq!((acked(&alone, 9), alone.failed(9)), (1, 0));
}

#[test]
fn a_reply_takes_back_the_repetition_that_waits() {
    let mut alone = repetition_waits(OWN_PORT);
    alone.hear(&message(&header(node(1), node(0), 77), OWN_PORT, b"result"));
    alone.run(600);
    assert_eq!((alone.sent(9).len(), alone.failed(9)), (1, 0));
}

#[test]
fn a_next_hop_that_says_that_it_has_the_packet_takes_back_the_repetition_that_waits() {
    let mut alone = repetition_waits(OWN_PORT);
    let sent = alone.sent(9)[0].header;
    let by = node(1).last_byte();
    alone.hear(&Header { hop_limit: 2, want_ack: false, next_hop: by, relay_node: by, ..sent }.emit());
    alone.run(600);
    assert_eq!((alone.sent(9).len(), alone.failed(9)), (1, 0));
}

#[test]
fn a_repetition_that_has_to_leave_the_queue_is_not_the_end_of_the_packet() {
    let mut alone = repetition_waits(TEXT_PORT);
    // Packets of more importance, as many as the queue has places; busy air holds them too.
    for id in 101..=116 {
        let mut out = outgoing(NodeNum::BROADCAST, id, TEXT_PORT, b"more important");
        (out.priority, out.gate) = (Priority::High, Gate::Normal);
        alone.send(&out);
    }
    alone.run(1);
    assert_eq!(alone.failed(9), 0, "it can still be repeated");
    alone.run(900);
    assert!(alone.sent(9).len() > 1);
    assert_eq!(alone.failed(9), 1);
}

#[test]
fn nine_wait_for_their_acknowledgement_and_the_first_is_given_up_and_told() {
    let mut alone = Alone::new(Role::Client, 1);
    for id in 1..=9 {
        alone.send(&outgoing(node(id as usize), id, TEXT_PORT, b"letter"));
    }
    // All leave before the first is repeated.
    alone.run(4);
    let first = alone.sent[0].header.id;
    assert_eq!(alone.sent.len(), 9);
    alone.run(600);
    for id in 1..=9 {
        let given_up = PacketId(id) == first;
        assert_eq!(alone.sent(id).len(), if given_up { 1 } else { 3 }, "packet {id}");
        assert_eq!(alone.failed(id), 1, "packet {id}");
    }
}
