//! Messages of the client API: read, written, read and written again.
#![no_main]

use compotastic_messages::{FromRadio, Message, ToRadio};
use libfuzzer_sys::fuzz_target;

/// Reads, writes, reads and writes again: the second writing is the first, bit by bit.
fn stable<'a, M: Message<'a>>(data: &'a [u8], first: &'a mut [u8; 2048]) {
    let Ok(message) = M::decode(data) else { return };
    let Ok(length) = message.encode_to(first) else { return };
    let first = &first[..length];
    let mut second = [0; 2048];
    let again = M::decode(first).expect("what was written can be read").encode_to(&mut second);
    assert_eq!(again.map(|length| &second[..length]), Ok(first));
}

fuzz_target!(|data: &[u8]| {
    if data.len() > 512 {
        return;
    }
    stable::<FromRadio>(data, &mut [0; 2048]);
    stable::<ToRadio>(data, &mut [0; 2048]);
});
