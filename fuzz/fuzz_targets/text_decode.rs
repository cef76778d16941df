//! Texts: any payload is a text or an error, any text comes back and is never longer than it was.
#![no_main]

use compotastic_text::{decode, encode};
use libfuzzer_sys::fuzz_target;

/// Bytes of a text; the network behind the codec makes longer ones too slow to try many.
const TEXT: usize = 64;

fn comes_back(text: &str) {
    let mut packed = vec![0; text.len()];
    let (codec, length) = encode(text, &mut packed).expect("the text's own length is enough");
    let mut back = vec![0; text.len()];
    assert_eq!(decode(codec, &packed[..length], &mut back), Ok(text));
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, payload)) = data.split_first() else { return };
    if choice & 1 == 1 {
        let mut out = [0; TEXT];
        // One codec that does not exist.
        if let Ok(text) = decode(choice >> 1 & 3, payload, &mut out) {
            comes_back(text);
        }
    } else if let Ok(text) = core::str::from_utf8(&payload[..payload.len().min(TEXT)]) {
        comes_back(text);
    }
});
