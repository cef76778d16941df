//! The signature that firmware 2.8 adds to its broadcasts: on which, how long they get, and that it disturbs nobody.

mod common;

use common::{Ether, TEXT_PORT, at, node, outgoing};
use compotastic_mesh::{
    packet::{HEADER, MAX_FRAME, NodeNum},
    router::Outgoing,
};

/// Bytes of the frame that leaves for a payload so long, with a signature or without; and the payload that arrives.
fn frame_len(to: NodeNum, port: u16, payload: usize, signed: bool) -> usize {
    let mut ether = Ether::line(2);
    let payload = vec![7; payload];
    let out = Outgoing { bitfield: Some(0), ..outgoing(to, 9, port, &payload) };
    let signature = [0x55; 64];
    ether.routers[0].send_signed(at(0), &out, signed.then_some(&signature)).unwrap();
    ether.run(at(20));
    assert_eq!(ether.received(1)[0].payload[..], payload);
    ether.sent[0].bytes.len()
}

#[test]
fn broadcasts_up_to_165_bytes_are_66_bytes_longer_on_a_private_port_and_up_to_166_on_a_core_one() {
    for (port, longest) in [(448, 165), (TEXT_PORT, 166)] {
        for payload in [1, 40, 126, 127, 128, longest] {
            let without = frame_len(NodeNum::BROADCAST, port, payload, false);
            assert_eq!(frame_len(NodeNum::BROADCAST, port, payload, true), without + 66, "{payload} bytes");
        }
        assert_eq!(frame_len(NodeNum::BROADCAST, port, longest, true), MAX_FRAME);
        for payload in [longest + 1, 200, 231] {
            let without = frame_len(NodeNum::BROADCAST, port, payload, false);
            assert_eq!(frame_len(NodeNum::BROADCAST, port, payload, true), without, "{payload} bytes");
        }
    }
}

#[test]
fn unicasts_are_never_signed() {
    assert_eq!(frame_len(node(1), 448, 40, true), frame_len(node(1), 448, 40, false));
    assert_eq!(frame_len(node(1), 448, 40, true), HEADER + 3 + 2 + 40 + 2);
}
