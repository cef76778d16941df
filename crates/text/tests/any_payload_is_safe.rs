//! Arbitrary payloads decode to some text or an error: no panic, and always an end.

use compotastic_text::{CODEC_RAW, CODEC_TEXT, DecodeError, decode, encode};
use proptest::prelude::*;

#[test]
fn other_codecs_are_refused() {
    let mut out = [0; 16];
    for codec in 2..=255 {
        assert_eq!(decode(codec, b"abc", &mut out), Err(DecodeError::UnknownCodec(codec)));
    }
}

#[test]
fn raw_must_be_utf8() {
    assert_eq!(decode(CODEC_RAW, &[0xFF, 0xFE], &mut [0; 8]), Err(DecodeError::Malformed));
    assert_eq!(decode(CODEC_RAW, b"abcd", &mut [0; 3]), Err(DecodeError::BufferTooSmall));
    assert_eq!(decode(CODEC_RAW, b"abcd", &mut [0; 4]), Ok("abcd"));
}

#[test]
fn a_short_output_buffer_is_an_error() {
    let text = "Shelter is full, go to the school";
    let mut packed = [0; 64];
    let (codec, len) = encode(text, &mut packed).unwrap();
    for room in 0..text.len() {
        assert_eq!(decode(codec, &packed[..len], &mut vec![0; room]), Err(DecodeError::BufferTooSmall));
    }
}

#[test]
fn payloads_of_two_bytes() {
    let mut out = [0; 512];
    for payload in (0..=u16::MAX).step_by(131) {
        let _ = decode(CODEC_TEXT, &payload.to_be_bytes(), &mut out);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes(payload in proptest::collection::vec(any::<u8>(), 0..300), codec in 0u8..3) {
        let mut out = [0; 600];
        let _ = decode(codec, &payload, &mut out);
    }

    #[test]
    fn damaged_payloads(text in "[ -~]{1,120}", at in any::<usize>(), bit in 0u8..8) {
        let mut packed = [0; 128];
        let (codec, len) = encode(&text, &mut packed).unwrap();
        packed[at % len] ^= 1 << bit;
        let mut out = [0; 600];
        let _ = decode(codec, &packed[..len], &mut out);
    }
}
