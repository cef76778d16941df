//! Frames: any payload is opened or refused, and what is read can be sent and read again.
#![no_main]

use compotastic_wire::{Address, Frame, FrameClass, KeyRing, MAX_PAYLOAD, SwarmKey, open, seal};
use libfuzzer_sys::fuzz_target;

const BROADCAST: u32 = u32::MAX;

fuzz_target!(|data: &[u8]| {
    let keys = KeyRing::new(1, SwarmKey([7; 16]));
    for to in [2, BROADCAST] {
        let address = Address { from: 1, to, id: 3 };
        let _ = open(data, &keys, &address);
        // Past the MAC, which a fuzzer cannot make: the body of each class.
        for class in FrameClass::ALL {
            let Ok(frame) = Frame::parse(class, data, to == BROADCAST) else { continue };
            let mut buffer = [0; MAX_PAYLOAD];
            match seal(&frame, &keys, &address, &mut buffer) {
                Ok(length) => assert_eq!(open(&buffer[..length], &keys, &address), Ok((frame, 1))),
                Err(_) => assert!(data.len() > MAX_PAYLOAD - 10, "{frame:?} was read but is not sent"),
            }
        }
    }
});
