//! Direct messages between people: under public keys, acknowledged, refused with a reason, and never readable by others.

mod common;

use common::{
    OWN_PORT, TEXT_PORT,
    natives::{Natives, keys, num},
};
use compotastic_mesh::{
    citizen::{CitizenEvent, Message, error},
    packet::{Data, HEADER, NodeNum, PacketId},
    router::SendError,
};

#[test]
fn a_text_goes_over_relays_that_cannot_read_it_and_is_acknowledged() {
    let mut mesh = Natives::usual(4);
    mesh.introduce(0, 3);
    let id = mesh.send(0, &Message::text(num(3), 0, "hello", None));
    mesh.run(30);
    let (packet, trusted) = mesh.packets(3, TEXT_PORT)[0];
    assert_eq!((&packet.payload[..], trusted, packet.hops_away), (&b"hello"[..], true, Some(2)));
    assert!(mesh.acked(0, id));
    for relay in [1, 2] {
        assert!(mesh.packets(relay, TEXT_PORT).is_empty());
    }
    let frames = mesh.sent.iter().filter(|sent| sent.header.id == id && sent.bytes.len() > HEADER);
    for sent in frames {
        assert_eq!((sent.header.channel_hash, sent.bytes.len()), (0, HEADER + 2 + 2 + 5 + 2 + 12));
    }
}

#[test]
fn a_reply_names_the_message_and_a_reaction_too() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    let id = mesh.send(0, &Message::text(num(1), 0, "question", None));
    mesh.run(20);
    mesh.send(1, &Message::text(num(0), 0, "answer", Some(id)));
    let smile = Message { emoji: Some(1), ..Message::text(num(0), 0, "\u{1f44d}", Some(id)) };
    mesh.run(20);
    mesh.send(1, &smile);
    mesh.run(20);
    let replies: Vec<_> =
        mesh.packets(0, TEXT_PORT).iter().map(|(packet, _)| (packet.reply_id, packet.emoji)).collect();
    assert_eq!(replies, [(Some(id.0), None), (Some(id.0), Some(1))]);
}

#[test]
fn a_lost_acknowledgement_is_given_again_and_the_text_is_delivered_once() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    let mut lost = 0;
    mesh.lost = Box::new(move |_, sent| {
        // The first acknowledgement does not arrive.
        lost += usize::from(sent.by == 1);
        sent.by == 1 && lost == 1
    });
    let id = mesh.send(0, &Message::text(num(1), 0, "hello", None));
    mesh.run(60);
    assert_eq!(mesh.packets(1, TEXT_PORT).len(), 1);
    assert!(mesh.acked(0, id));
    assert_eq!(mesh.sent.iter().filter(|sent| sent.header.id == id).count(), 2);
}

#[test]
fn each_message_has_an_end_also_where_a_relay_took_it_and_lost_it() {
    let mut mesh = Natives::usual(3);
    mesh.introduce(0, 2);
    let first = mesh.send(0, &Message::text(num(2), 0, "hello", None));
    mesh.run(30);
    assert!(mesh.acked(0, first), "and the way is known");
    mesh.lost = Box::new(|receiver, _| receiver == 2);
    let lost = mesh.send(0, &Message::text(num(2), 0, "are you there?", None));
    mesh.run(290);
    mesh.run(20);
    let failed = |event: &CitizenEvent| matches!(event, CitizenEvent::Failed { id } if *id == lost);
    assert_eq!(mesh.count(0, failed), 1);
    assert!(!mesh.acked(0, lost));
    // One that nobody hears fails sooner.
    mesh.lost = Box::new(|_, _| true);
    let unheard = mesh.send(0, &Message::text(num(2), 0, "anybody?", None));
    mesh.run(120);
    let failed = |event: &CitizenEvent| matches!(event, CitizenEvent::Failed { id } if *id == unheard);
    assert_eq!(mesh.count(0, failed), 1);
}

#[test]
fn an_unknown_receiver_is_asked_who_it_is() {
    let mut mesh = Natives::usual(2);
    let message = Message::text(num(1), 0, "hello", None);
    let now = mesh.now;
    assert_eq!(mesh.nodes[0].send(now, &message), Err(SendError::NoKey));
    mesh.run(20);
    let id = mesh.send(0, &message);
    mesh.run(20);
    assert!(mesh.acked(0, id), "both know each other by one exchange");
}

#[test]
fn a_sender_whose_key_is_not_known_is_told_so_introduces_itself_and_may_try_again() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    mesh.nodes[1].citizen().nodes_mut().forget(num(0));
    let id = mesh.send(0, &Message::text(num(1), 0, "hello", None));
    mesh.run(20);
    assert_eq!(mesh.refused(0, id), Some(error::PKI_UNKNOWN_PUBKEY));
    assert!(mesh.packets(1, TEXT_PORT).is_empty());
    let id = mesh.send(0, &Message::text(num(1), 0, "hello", None));
    mesh.run(20);
    assert!(mesh.acked(0, id));
    assert_eq!(mesh.packets(1, TEXT_PORT).len(), 1);
}

#[test]
fn a_text_under_the_channel_key_alone_is_refused() {
    let mut mesh = Natives::usual(2);
    let header = common::header(num(5), num(1), 77);
    let header = compotastic_mesh::packet::Header { want_ack: true, ..header };
    mesh.hear(1, &common::message(&header, TEXT_PORT, b"I am your friend"));
    mesh.run(10);
    assert!(mesh.packets(1, TEXT_PORT).is_empty());
    assert_eq!(answers(&mesh), [(77, vec![0x18, error::NO_CHANNEL as u8])]);
}

#[test]
fn what_was_tampered_with_is_refused() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    mesh.lost = Box::new(|_, _| true);
    let id = mesh.send(0, &Message::text(num(1), 0, "hello", None));
    mesh.run(3);
    let mut frame = mesh.sent[0].bytes.clone();
    frame[HEADER + 1] ^= 1;
    mesh.hear(1, &frame);
    mesh.run(4);
    assert!(mesh.packets(1, TEXT_PORT).is_empty());
    assert_eq!(answers(&mesh), [(id.0, vec![0x18, error::NO_CHANNEL as u8])]);
}

#[test]
fn a_packet_of_an_unknown_channel_for_this_node_is_refused() {
    let mut mesh = Natives::usual(2);
    let header = common::header(num(5), num(1), 78);
    mesh.hear(1, &common::secret(&header));
    mesh.run(10);
    assert!(mesh.sent.iter().all(|sent| sent.by == 0), "who wants no answer gets none");
    let header = compotastic_mesh::packet::Header { want_ack: true, id: PacketId(79), ..header };
    mesh.hear(1, &common::secret(&header));
    mesh.run(10);
    assert_eq!(answers(&mesh), [(79, vec![0x18, error::NO_CHANNEL as u8])]);
}

#[test]
fn the_swarms_own_port_is_left_to_the_swarm() {
    let mut mesh = Natives::usual(2);
    let header = common::header(num(0), num(1), 80);
    let header = compotastic_mesh::packet::Header { want_ack: true, ..header };
    mesh.hear(1, &common::message(&header, OWN_PORT, b"sealed by other means"));
    mesh.run(20);
    assert!(mesh.sent.is_empty() && mesh.packets(1, OWN_PORT).is_empty());
}

#[test]
fn strangers_cannot_make_a_node_talk_without_end() {
    let mut mesh = Natives::usual(2);
    for id in 0..600 {
        let header = common::header(NodeNum(0x7000_0000 + id), num(1), 1000 + id);
        let header =
            compotastic_mesh::packet::Header { want_ack: true, hop_limit: 0, hop_start: 0, ..header };
        mesh.hear(1, &common::secret(&header));
        mesh.run(3);
    }
    // Half an hour: six at once, and one more each 20 seconds.
    let answered = mesh.sent.iter().filter(|sent| sent.by == 1).count();
    assert!((85..=96).contains(&answered), "{answered}");
}

/// Routing messages that node 1 sent on the channel: what they answer, and how.
fn answers(mesh: &Natives) -> Vec<(u32, Vec<u8>)> {
    let routing = mesh.sent.iter().filter(|sent| sent.by == 1).filter_map(|sent| {
        let mut clear = sent.bytes[HEADER..].to_vec();
        let key = common::channel(7).key;
        compotastic_mesh::crypto::ctr_apply(&key, sent.header.from, sent.header.id, &mut clear);
        let data = Data::decode(&clear)?;
        (data.port == 5).then(|| (data.request_id.unwrap(), data.payload.to_vec()))
    });
    routing.collect()
}

#[test]
fn both_ends_have_the_same_key() {
    let (a, b) = (keys(0), keys(1));
    let mut buffer = [7; 64];
    let length = a.shared_with(b.public()).unwrap().seal(num(0), PacketId(1), 9, &mut buffer, 20).unwrap();
    let opened = b.shared_with(a.public()).unwrap().open(num(0), PacketId(1), &mut buffer[..length]);
    assert_eq!((opened, &buffer[..20]), (Some(20), &[7; 20][..]));
}
