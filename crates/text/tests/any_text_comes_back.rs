//! Any text comes back exactly and is never made longer.

use compotastic_text::{CODEC_RAW, EncodeError, decode, encode};
use proptest::prelude::*;

/// Encodes and decodes; returns the payload's length.
fn there_and_back(text: &str) -> usize {
    let mut packed = vec![0; text.len()];
    let (codec, len) = encode(text, &mut packed).expect("a buffer of the text's length is enough");
    assert!(len <= text.len(), "{text:?} grew to {len} bytes");
    let mut back = vec![0; text.len()];
    assert_eq!(decode(codec, &packed[..len], &mut back), Ok(text));
    len
}

#[test]
fn the_empty_text() {
    assert_eq!(there_and_back(""), 0);
    assert_eq!(encode("", &mut []), Ok((CODEC_RAW, 0)));
}

#[test]
fn every_single_character() {
    let mut buffer = [0u8; 4];
    for c in (0..=0x10_FFFF)
        .filter_map(char::from_u32)
        .filter(|c| u32::from(*c) < 0x100 || u32::from(*c) % 9973 == 0)
    {
        there_and_back(c.encode_utf8(&mut buffer));
    }
}

#[test]
fn other_languages_and_signs() {
    for text in [
        "Température -4 °C, vent d'ouest 30 km/h",
        "Нужна вода у моста, двое раненых",
        "橋は通れません、迂回してください",
        "الجسر مغلق",
        "ok 👍🏽 see you at the 🏕️",
        "“quoted” – dash…",
    ] {
        let len = there_and_back(text);
        assert!(len < text.len(), "{text:?} takes {len} of {} bytes", text.len());
    }
}

#[test]
fn a_very_long_text() {
    let text = "Wind from the west about 30 km/h, rain until noon. ".repeat(1300);
    assert!(text.len() > 65_000);
    let len = there_and_back(&text);
    assert!(len * 2 < text.len());
    there_and_back(&"\u{1}".repeat(3_000));
    there_and_back("tab\there\r\nand a\u{0}zero");
}

#[test]
fn a_small_buffer_is_an_error() {
    let text = "Meet at the north gate at 18:30";
    let mut packed = [0; 64];
    let (_, len) = encode(text, &mut packed).unwrap();
    for room in 0..len {
        assert_eq!(encode(text, &mut packed[..room]), Err(EncodeError::BufferTooSmall));
    }
    assert_eq!(encode(text, &mut packed[..len]).unwrap().1, len);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        there_and_back(&text);
    }

    #[test]
    fn ascii_text(text in "[ -~\n]{0,300}") {
        there_and_back(&text);
    }

    #[test]
    fn words_and_numbers(text in "([A-Z]?[a-z]{1,9}[ ,.]? ?|[0-9]{1,4} ?(km|m|%|C)?|é|°){0,40}") {
        there_and_back(&text);
    }
}
