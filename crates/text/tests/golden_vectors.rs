//! The committed payloads: the same bits on every machine, and for every later version of codec 1.

use compotastic_text::{CODEC_RAW, CODEC_TEXT, decode, encode};

const VECTORS: &str = include_str!("../../../tests/data/text/vectors.tsv");

#[test]
fn payloads_are_as_committed() {
    let mut coded = 0;
    for line in VECTORS.lines() {
        let mut fields = line.splitn(3, '\t');
        let (codec, hex, text) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
        let codec: u8 = codec.parse().unwrap();
        let payload: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let mut out = [0; 256];
        let (found_codec, len) = encode(text, &mut out).unwrap();
        assert_eq!((found_codec, &out[..len]), (codec, payload.as_slice()), "{text:?}");
        assert_eq!(decode(codec, &payload, &mut out), Ok(text));
        assert!(codec == CODEC_RAW || codec == CODEC_TEXT);
        coded += usize::from(codec == CODEC_TEXT);
    }
    assert!(coded >= 10);
}
