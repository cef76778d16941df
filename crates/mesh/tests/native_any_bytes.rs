//! Whatever a whole node hears: it neither panics, nor grows, nor spins, and what is not from who it says is never trusted.

mod common;

use common::natives::{citizen, keys, num, router};
use compotastic_mesh::{
    citizen::CitizenEvent,
    crypto::ctr_apply,
    native::NativeNode,
    packet::{Data, Header, NodeNum, PacketId},
    time::{Duration, Instant},
};
use proptest::prelude::*;

/// A frame: noise, or a message of any content on the channel or under a key that is not the sender's.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..=255);
    let made = (
        (0..4u32, any::<bool>(), 1..40u32, any::<u8>(), 0..3u8),
        prop_oneof![Just(1u16), Just(3), Just(4), Just(5), Just(67), Just(70), Just(256), 1..400u16],
        proptest::collection::vec(any::<u8>(), 0..120),
        any::<(bool, Option<u32>, Option<u8>, Option<[u8; 32]>)>(),
    );
    let made =
        made.prop_map(|((from, to_us, id, flags, key), port, payload, (ask, request_id, bits, half))| {
            let to = if to_us { num(0) } else { NodeNum::BROADCAST };
            let header = Header {
                to,
                from: NodeNum(0x6000_0000 + from),
                id: PacketId(id),
                hop_limit: flags & 7,
                want_ack: flags & 8 != 0,
                via_mqtt: false,
                hop_start: flags >> 5,
                channel_hash: if key == 0 { 0 } else { common::channel(7).hash() },
                next_hop: 0,
                relay_node: flags,
            };
            let signature = half.map(|half| <[u8; 64]>::try_from([half, half].concat()).unwrap());
            let data = Data {
                port,
                payload: &payload,
                want_response: ask,
                request_id,
                bitfield: bits,
                signature: signature.as_ref(),
                ..Data::default()
            };
            let mut clear = [0; 256];
            let length = data.encode(&mut clear[..239]).unwrap();
            let length = if key == 0 {
                let wrong = keys(7).shared_with(keys(0).public()).unwrap();
                wrong.seal(header.from, header.id, 3, &mut clear, length).unwrap().min(239)
            } else {
                ctr_apply(&common::channel(7).key, header.from, header.id, &mut clear[..length]);
                length
            };
            [&header.emit()[..], &clear[..length]].concat()
        });
    prop_oneof![1 => noise, 8 => made]
}

proptest! {
    #![proptest_config(common::property(150))]

    #[test]
    fn nothing_from_the_air_does_harm(frames in proptest::collection::vec((frame(), 0..30_000u64), 1..100)) {
        let mut node = Box::new(NativeNode::new(router(0), citizen(0), 3, Instant::ZERO));
        // One of the senders is known by its key, which none of the frames is under.
        let user = compotastic_mesh::nodedb::User {
            public_key: Some(*keys(1).public()),
            ..compotastic_mesh::nodedb::User::named("known", "k")
        };
        node.citizen().nodes_mut().learn_user(NodeNum(0x6000_0000), user).unwrap();
        let mut now = Instant::ZERO;
        for (frame, wait_ms) in frames {
            node.handle_frame(now, &frame, 12, -100);
            let until = now + Duration::from_millis(wait_ms);
            let mut polls = 0;
            while let Some(due) = node.poll_timeout().filter(|due| *due <= until) {
                now = now.max(due);
                node.handle_timeout(now);
                if let Some(frame) = node.poll_transmit(now, false) {
                    prop_assert!(Header::parse(&frame.bytes).is_some());
                    now = now + frame.airtime;
                    node.handle_tx_done(now);
                }
                polls += 1;
                prop_assert!(polls < 500, "spins at {due:?}");
            }
            let mut events = 0;
            while let Some(event) = node.poll_event() {
                events += 1;
                if let CitizenEvent::Packet { packet, trusted } = event {
                    prop_assert!(!trusted, "{packet:?}");
                }
            }
            prop_assert!(events <= 8);
            now = now.max(until);
        }
        let pinned = node.citizen().node(NodeNum(0x6000_0000)).unwrap().public_key().copied();
        prop_assert_eq!(pinned, Some(*keys(1).public()));
    }
}
