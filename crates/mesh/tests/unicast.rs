//! Unicasts: next hops, acknowledgements on stock ports, hop by hop on our own port, reminders, other ways.

mod common;

use common::{Ether, OWN_PORT, TEXT_PORT, at, node, outgoing};
use compotastic_mesh::{
    packet::{NodeNum, PacketId},
    router::{Role, RouterEvent},
};

/// Everybody floods something once, so that routes are known.
fn introduce(ether: &mut Ether) {
    for index in 0..ether.routers.len() {
        let mut out = outgoing(NodeNum::BROADCAST, 1000 + index as u32, TEXT_PORT, b"here I am");
        out.hop_limit = 7;
        ether.send(index, &out);
        let later = ether.now + compotastic_mesh::time::Duration::from_secs(60);
        ether.run(later);
    }
    ether.sent.clear();
    ether.events.clear();
}

#[test]
fn a_stock_message_is_acknowledged_end_to_end() {
    let mut ether = Ether::line(3);
    introduce(&mut ether);
    ether.send(0, &outgoing(node(2), 5, TEXT_PORT, b"hello"));
    ether.run(at(400));
    assert_eq!(ether.received(2).len(), 1);
    assert_eq!(ether.acked(0, 5), 1);
    assert_eq!(ether.senders(5), [0, 1], "by name, once per hop");
}

#[test]
fn a_stock_message_is_tried_three_times_and_its_failure_told() {
    let mut ether = Ether::line(2);
    introduce(&mut ether);
    ether.lost = Box::new(|_, _, _| true);
    ether.send(0, &outgoing(node(1), 5, TEXT_PORT, b"hello"));
    ether.run(at(400));
    assert_eq!(ether.senders(5), [0, 0, 0]);
    assert_eq!(ether.failed(0, 5), 1, "told once");
    assert!(ether.received(1).is_empty());
}

#[test]
fn a_lost_acknowledgement_makes_a_repetition_and_not_a_second_delivery() {
    let mut ether = Ether::line(2);
    introduce(&mut ether);
    let mut acks = 0;
    // The first acknowledgement is lost.
    ether.lost = Box::new(move |from, _, _| {
        acks += usize::from(from == 1);
        from == 1 && acks == 1
    });
    ether.send(0, &outgoing(node(1), 5, TEXT_PORT, b"hello"));
    ether.run(at(400));
    assert_eq!(ether.senders(5), [0, 0]);
    assert_eq!(ether.received(1).len(), 1);
    assert_eq!(ether.acked(0, 5), 1);
}

#[test]
fn on_our_port_the_next_hop_is_the_acknowledgement_and_the_reply_the_last_one() {
    let mut ether = Ether::line(4);
    introduce(&mut ether);
    ether.send(0, &outgoing(node(3), 5, OWN_PORT, b"request"));
    ether.run(at(250));
    let mut reply = outgoing(node(0), 6, OWN_PORT, b"reply");
    reply.want_ack = false;
    ether.send(3, &reply);
    ether.run(at(600));
    assert_eq!(ether.senders(5)[..3], [0, 1, 2]);
    assert_eq!(ether.received(0).len(), 1);
    assert_eq!(ether.senders(6), [3, 2, 1]);
    assert!(ether.sent.iter().all(|sent| sent.header.next_hop != 0), "no flood");
    assert_eq!(ether.failed(0, 5), 0);
}

#[test]
fn a_hop_whose_proof_is_lost_is_told_by_a_bare_header() {
    let mut ether = Ether::line(3);
    introduce(&mut ether);
    let mut lost = 0;
    // Node 0 does not hear node 1 pass the packet on.
    ether.lost = Box::new(move |from, to, _| {
        let this = from == 1 && to == 0 && lost == 0;
        lost += usize::from(this);
        this
    });
    let mut out = outgoing(node(2), 5, OWN_PORT, b"request");
    out.want_ack = false;
    ether.send(0, &out);
    ether.run(at(400));
    assert_eq!(ether.senders(5), [0, 1, 0], "node 1 does not pass it on a second time");
    let bare = ether.bare();
    assert_eq!(bare.len(), 1);
    assert_eq!((bare[0].by, bare[0].header.id), (1, PacketId(5)));
    assert_eq!(ether.received(2).len(), 1);
}

#[test]
fn a_reminder_brings_a_reply_that_was_lost_on_the_last_hop() {
    let mut ether = Ether::line(4);
    introduce(&mut ether);
    let mut lost = 0;
    ether.lost = Box::new(move |_, to, sent| {
        let this = to == 0 && sent.header.id == PacketId(6) && lost == 0;
        lost += usize::from(this);
        this
    });
    let mut reply = outgoing(node(0), 6, OWN_PORT, b"reply");
    reply.want_ack = false;
    ether.send(3, &reply);
    ether.run(at(300));
    assert!(ether.received(0).is_empty());
    ether.routers[0].remind(ether.now, node(3), PacketId(5), 0);
    ether.run(at(310));
    assert_eq!(ether.received(0).len(), 1);
    assert_eq!(ether.senders(6), [3, 2, 1, 1], "only the last hop sends again");
    assert_eq!(ether.bare().len(), 1, "16 bytes were enough");
}

#[test]
fn a_reminder_that_nobody_can_serve_reaches_the_origin_of_the_reply_as_a_repetition() {
    let mut ether = Ether::line(2);
    introduce(&mut ether);
    ether.routers[0].remind(ether.now, node(1), PacketId(5), 0);
    ether.run(at(300));
    let told = ether.events.iter().any(|(index, event)| {
        *index == 1
            && matches!(event, RouterEvent::Duplicate { from, id } if (*from, *id) == (node(0), PacketId(5)))
    });
    assert!(told);
}

#[test]
fn a_dead_next_hop_is_left_for_the_other_way() {
    // 0 - 1 - 3 and 0 - 2 - 3.
    let square = |a: usize, b: usize| a + b == 1 || a + b == 2 && a != b || a + b == 4 || a + b == 5;
    let mut ether = Ether::new(&[Role::Client; 4], square);
    introduce(&mut ether);
    // Whichever way the first packet takes, its relay then falls silent.
    let mut out = outgoing(node(3), 5, OWN_PORT, b"one");
    out.want_ack = false;
    ether.send(0, &out);
    ether.run(at(350));
    assert_eq!(ether.received(3).len(), 1);
    let dead = ether.senders(5)[1];
    ether.lost = Box::new(move |from, to, _| from == dead || to == dead);
    let mut out = outgoing(node(3), 6, OWN_PORT, b"two");
    out.want_ack = false;
    ether.send(0, &out);
    ether.run(at(500));
    assert_eq!(ether.received(3).len(), 2, "by the other neighbour, without a flood");
    assert_eq!(*ether.senders(6).last().unwrap(), 3 - dead);
}

#[test]
fn a_packet_whose_hop_limit_ends_before_its_destination_is_not_repeated() {
    let mut ether = Ether::line(5);
    introduce(&mut ether);
    let mut out = outgoing(node(4), 5, OWN_PORT, b"far");
    out.hop_limit = 1;
    out.want_ack = false;
    ether.send(0, &out);
    ether.run(at(600));
    assert!(ether.received(4).is_empty());
    assert!(ether.sent.len() <= 4, "{} transmissions for a packet that cannot arrive", ether.sent.len());
}
