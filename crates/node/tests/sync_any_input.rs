//! Whatever a member sends, nothing panics, and what is said in return is sound.

mod sync_world;

use compotastic_mesh::time::{Duration, Instant};
use compotastic_node::sync::{Config, MEMBERS, Sync};
use compotastic_wire::{Address, Frame, FrameClass, MAX_PAYLOAD, open, seal};
use proptest::prelude::*;
use sync_world::keys;

const CLASSES: [FrameClass; 3] = [FrameClass::SyncDigest, FrameClass::SyncList, FrameClass::SyncRecords];

/// A body of a class: any bytes, or bytes that begin as a list does that can be read.
fn body() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..190);
    (0usize..3, bytes, 0u8..5, any::<bool>()).prop_map(|(class, mut bytes, form, shaped)| {
        if class == 1 && shaped && bytes.len() >= 12 {
            (bytes[10], bytes[11]) = (255, form);
            let length = if form == 0 { 2 } else { 5 };
            if form < 2 {
                bytes.truncate(12 + (bytes.len() - 12) / length * length);
            } else {
                bytes[10] = (bytes.len() - 12) as u8;
            }
        }
        if class == 2 && shaped && bytes.len() > 14 {
            // One record of the length that is there, of one of few members.
            let length = bytes.len() - 14;
            let owner = bytes[8] % 4;
            bytes[8..12].copy_from_slice(&[owner, 0, 0, 0]);
            bytes[13] = length as u8;
        }
        (class, bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_answers_are_sound(
        seed in any::<u64>(),
        inputs in prop::collection::vec((any::<u8>(), 0u64..400, body()), 1..150),
    ) {
        let mut now = Instant::ZERO;
        let mut sync = Sync::new(2, Config::default(), seed, now);
        sync.publish(now, &[9; 30]).unwrap();
        let mut said = 0u64;
        for (from, wait, (class, body)) in inputs {
            now = now + Duration::from_secs(wait);
            if let Ok(frame) = Frame::parse(CLASSES[class], &body, true) {
                sync.handle(now, from.into(), &frame);
            }
            let mut buffer = [0; MAX_PAYLOAD];
            while let Some(frame) = sync.poll(now, &mut buffer) {
                said += 1;
                let address = Address { from: 2, to: u32::MAX, id: said as u32 };
                let mut payload = [0; MAX_PAYLOAD];
                let length = seal(&frame, &keys(), &address, &mut payload).expect("it fits");
                prop_assert_eq!(open(&payload[..length], &keys(), &address).unwrap().0, frame);
            }
            prop_assert!(sync.members().count() <= MEMBERS);
        }
        let config = Config::default();
        let most = u64::from(config.burst) + now.as_micros() / config.refill.as_micros() + 1;
        prop_assert!(said <= most, "{said} of {most}");
    }
}
