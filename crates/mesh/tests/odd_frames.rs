//! Frames that a decent node does not send, or seldom: replayed ones, the longest, the loudest.

mod common;

use common::{OWN_PORT, TEXT_PORT, at, channel, config, node, outgoing};
use compotastic_mesh::{
    crypto::ctr_apply,
    packet::{Data, Header, MAX_FRAME, MAX_RECEIVED, NodeNum, PacketId},
    router::{Role, Router, RouterEvent},
    time::{Duration, Instant},
};

/// A packet of node 1 to `to`, as its origin or a relay sends it, on the channel that all have.
fn frame(to: NodeNum, id: u32, hop_limit: u8, port: u16, payload: &[u8], next_hop: u8) -> Vec<u8> {
    let header = Header {
        to,
        from: node(1),
        id: PacketId(id),
        hop_limit,
        want_ack: false,
        via_mqtt: false,
        hop_start: 7,
        channel_hash: channel(7).hash(),
        next_hop,
        relay_node: node(1).last_byte(),
    };
    // By hand, since `Data::encode` refuses what receivers have to take.
    let mut clear = vec![0x08];
    if port > 127 {
        clear.push(port as u8 | 0x80);
    }
    clear.push(if port > 127 { (port >> 7) as u8 } else { port as u8 });
    clear.push(0x12);
    if payload.len() > 127 {
        clear.push(payload.len() as u8 | 0x80);
    }
    clear.push(if payload.len() > 127 { (payload.len() >> 7) as u8 } else { payload.len() as u8 });
    clear.extend_from_slice(payload);
    assert_eq!(Data::decode(&clear).map(|data| (data.port, data.payload)), Some((port, payload)));
    ctr_apply(&channel(7).key, header.from, header.id, &mut clear);
    [&header.emit()[..], &clear].concat()
}

fn received(router: &mut Router) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(event) = router.poll_event() {
        if let RouterEvent::Received(incoming) = event {
            payloads.push(incoming.payload.to_vec());
        }
    }
    payloads
}

/// Lets the router send whatever is due until then.
fn pass(router: &mut Router, until: Instant) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while let Some(due) = router.poll_timeout().filter(|due| *due <= until) {
        router.handle_timeout(due);
        if let Some(frame) = router.poll_transmit(due, false) {
            router.handle_tx_done(due + frame.airtime);
            sent.push(frame.bytes.to_vec());
        }
    }
    sent
}

#[test]
fn the_longest_payload_that_is_read_is_delivered_whole() {
    for length in [0, 1, 127, 128, 233, MAX_RECEIVED] {
        let mut router = Router::new(config(0, Role::Client), 1, Instant::ZERO);
        let payload = vec![b'a'; length];
        let frame = frame(NodeNum::BROADCAST, 5, 0, TEXT_PORT, &payload, 0);
        assert!(frame.len() <= MAX_FRAME, "it fits a frame: {} bytes", frame.len());
        router.handle_frame(at(1), &frame, 20, -90);
        assert_eq!(received(&mut router), [payload], "{length} bytes");
    }
}

#[test]
fn a_packet_that_comes_back_without_end_is_passed_on_three_times_and_is_no_overflow() {
    let mut router = Router::new(config(0, Role::Client), 1, Instant::ZERO);
    // Node 2 is a neighbour and so the way to itself.
    let mut hello = frame(NodeNum::BROADCAST, 1, 7, TEXT_PORT, b"here I am", 0);
    hello[4..8].copy_from_slice(&node(2).0.to_le_bytes());
    router.handle_frame(at(1), &hello, 40, -90);
    pass(&mut router, at(60));
    // Anybody who recorded a packet can send it again with other hop fields: nothing protects them.
    let own = node(0).last_byte();
    let mut passed_on = 0;
    for count in 0..600u64 {
        let hop_limit = [6, 4, 2].get(count as usize).copied().unwrap_or(0);
        let mut copy = frame(node(2), 9, hop_limit, OWN_PORT, b"request", own);
        copy[15] = node(3).last_byte();
        let now = at(60 + 30 * count);
        router.handle_frame(now, &copy, 40, -90);
        passed_on +=
            pass(&mut router, now + Duration::from_secs(29)).iter().filter(|sent| sent.len() > 16).count();
    }
    assert_eq!(passed_on, 3);
    // The way that led back is not trusted now: whoever hears it.
    let last = at(60 + 30 * 600);
    router.send(last, &outgoing(node(2), 20, OWN_PORT, b"later")).unwrap();
    let sent = pass(&mut router, last + Duration::from_secs(2));
    assert_eq!(Header::parse(&sent[0]).unwrap().next_hop, 0);
}

#[test]
fn no_signal_strength_is_too_odd() {
    let mut router = Router::new(config(0, Role::Client), 1, Instant::ZERO);
    for (id, snr_qdb) in [i16::MIN, -129, 0, 127, i16::MAX].into_iter().enumerate() {
        let frame = frame(NodeNum::BROADCAST, id as u32 + 1, 3, TEXT_PORT, b"x", 0);
        router.handle_frame(at(1), &frame, snr_qdb, i16::MIN);
    }
    assert_eq!(received(&mut router).len(), 5);
    assert!(!pass(&mut router, at(60)).is_empty());
}
