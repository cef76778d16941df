//! Whatever comes from the air, a router does not panic, does not grow and does not spin.

mod common;

use common::{OWN_PORT, channel, config, node, property};
use compotastic_mesh::{
    crypto::ctr_apply,
    packet::{Data, Header, NodeNum, PacketId},
    router::{Role, Router},
    time::{Duration, Instant},
};
use proptest::prelude::*;

/// Fields that make something happen are likely: our own number and byte, few ids, our channel.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let header = (0..6u8, 0..6u8, 0..5u32, any::<u8>(), any::<bool>(), 0..3u8, any::<u8>());
    let random = proptest::collection::vec(any::<u8>(), 0..300);
    let made = (header, proptest::collection::vec(any::<u8>(), 0..60), 0..4u8).prop_map(
        |((to, from, id, flags, ours, port, relay), payload, kind)| {
            let to = if to == 0 { NodeNum::BROADCAST } else { node(usize::from(to) - 1) };
            let header = Header {
                to,
                from: node(usize::from(from)),
                id: PacketId(id),
                hop_limit: flags & 7,
                want_ack: flags & 8 != 0,
                via_mqtt: false,
                hop_start: flags >> 5,
                channel_hash: if ours { channel(7).hash() } else { 1 },
                next_hop: if flags & 16 != 0 { node(0).last_byte() } else { relay & 1 },
                relay_node: if relay < 200 { node(usize::from(relay % 6)).last_byte() } else { relay },
            };
            let mut bytes = header.emit().to_vec();
            if kind > 0 {
                let port = [OWN_PORT, 1, 5][usize::from(port)];
                let data = Data { port, payload: &payload, request_id: Some(id), ..Data::default() };
                let mut clear = [0; 256];
                let length = data.encode(&mut clear).unwrap();
                ctr_apply(&channel(7).key, header.from, header.id, &mut clear[..length]);
                bytes.extend_from_slice(&clear[..length]);
            }
            bytes
        },
    );
    prop_oneof![1 => random, 6 => made]
}

proptest! {
    #![proptest_config(property(200))]

    #[test]
    fn nothing_from_the_air_makes_it_panic_grow_or_spin(
        frames in proptest::collection::vec((frame(), 0..20_000u64), 1..120),
    ) {
        let mut router = Router::new(config(0, Role::Client), 3, Instant::ZERO);
        let mut now = Instant::ZERO;
        for (frame, wait_ms) in frames {
            router.handle_frame(now, &frame, 12, -100);
            let until = now + Duration::from_millis(wait_ms);
            let mut polls = 0;
            while let Some(due) = router.poll_timeout().filter(|due| *due <= until) {
                now = now.max(due);
                router.handle_timeout(now);
                if let Some(frame) = router.poll_transmit(now, false) {
                    prop_assert!(Header::parse(&frame.bytes).is_some());
                    now = now + frame.airtime;
                    router.handle_tx_done(now);
                }
                polls += 1;
                prop_assert!(polls < 500, "spins at {due:?}");
            }
            prop_assert!(router.queue_len() <= 16);
            let mut events = 0;
            while router.poll_event().is_some() {
                events += 1;
            }
            prop_assert!(events <= 8);
            now = now.max(until);
        }
    }
}
