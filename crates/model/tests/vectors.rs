//! What any text's vector is like, and what an encoder of any numbers makes.

mod common;

use compotastic_model::{
    BaseEncoder, EncoderShape, MAX_DIMS, MAX_EMBED, MAX_HIDDEN, SUBSPACE, Vector, WORDS_MAX,
};
use proptest::prelude::*;

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");

fn encode(base: &BaseEncoder<'_>, text: &str) -> Vector {
    let mut vector = [7; MAX_DIMS];
    base.encode(text, &mut vector);
    vector
}

fn ours(text: &str) -> Vector {
    encode(&BaseEncoder::parse(BASE).unwrap(), text)
}

fn length(vector: &Vector) -> f64 {
    vector.iter().map(|entry| f64::from(*entry) * f64::from(*entry)).sum::<f64>().sqrt()
}

/// An encoder with an index that rises, and `number` for all that follows.
fn encoder(shape: &EncoderShape, number: impl FnMut(usize) -> u8) -> Vec<u8> {
    let (embed, hidden, dims) =
        (usize::from(shape.embed), usize::from(shape.hidden), usize::from(shape.dims));
    let mut file = shape.emit(*b"any bits").to_vec();
    let buckets = 1u64 << shape.index_bits;
    for bucket in 0..=buckets {
        file.extend(((bucket * u64::from(shape.words) / buckets) as u16).to_le_bytes());
    }
    let rest = 2 * shape.words as usize
        + (shape.words + shape.pieces) as usize * (embed / SUBSPACE)
        + embed / SUBSPACE * 256 * SUBSPACE
        + hidden * 3 * embed
        + 4 * hidden
        + dims * (embed + hidden);
    file.extend((0..rest).map(number));
    file
}

#[test]
fn a_text_without_a_word_is_nowhere_and_any_other_has_length_one() {
    for text in ["", " ", ",.;:-\n\t", "\u{0}\u{1}", "'"] {
        assert_eq!(ours(text), [0; MAX_DIMS], "{text:?}");
    }
    for text in ["a", "x9", "?", "rope", "two hikers below the ridge", "\u{96ea}", &"rope ".repeat(500)] {
        let length = length(&ours(text));
        assert!((1000.0..=1025.0).contains(&length), "{text:?} has length {length}");
    }
}

#[test]
fn case_spaces_and_the_digits_themselves_do_not_matter_the_order_does() {
    let vector = ours("rope of 12 m, needed at hut 4");
    assert_eq!(ours("  ROPE of 40 M  needed\n(at hut 7)"), vector);
    assert_ne!(ours("hut of 12 m, needed at rope 4"), vector);
    assert_ne!(ours("rope of 12 m, needed at hut 4?"), vector);
}

#[test]
fn what_comes_after_the_last_word_that_counts_does_not() {
    let text = "rope needed ".repeat(WORDS_MAX / 2);
    assert_eq!(ours(&format!("{text} and batteries")), ours(&text));
    assert_ne!(ours(&text[5..]), ours(&text));
    // One word of a megabyte.
    assert!(length(&ours(&"x".repeat(1 << 20))) > 1000.0);
}

#[test]
fn the_largest_numbers_in_the_largest_encoder_overflow_nothing() {
    let text = "rope needed at the north ridge hut ".repeat(40);
    for (shift, left) in [(0, 15), (30, 0), (0, 0), (30, 15)] {
        let shape = EncoderShape {
            embed: MAX_EMBED as u16,
            hidden: MAX_HIDDEN as u16,
            dims: MAX_DIMS as u16,
            hidden_shift: shift,
            direct_shift: left,
            context_shift: left,
            index_bits: 1,
            words: 1,
            pieces: 1,
        };
        // -128, -1 (the largest negative bias), 127 and, as a bias, the largest one: 0x7f7f7f7f.
        for byte in [0x80, 0xFF, 0x7F, 0x00] {
            let file = encoder(&shape, |_| byte);
            check(&file, &text);
            if byte == 0x7F {
                // All is positive, and stays so where sums end at the largest number.
                let vector = encode(&BaseEncoder::parse(&file).unwrap(), &text);
                assert!(vector.iter().all(|entry| *entry > 0), "{shift} {left}");
            }
        }
        let file = encoder(&shape, |at| if at % 3 == 0 { 0x80 } else { 0x7F });
        check(&file, &text);
    }
}

fn check(file: &[u8], text: &str) {
    let base = BaseEncoder::parse(file).expect("its sizes are right");
    let vector = encode(&base, text);
    assert!(vector.iter().all(|entry| (-1025..=1025).contains(entry)), "{vector:?}");
    assert!(vector[base.dims()..].iter().all(|entry| *entry == 0));
}

#[test]
fn sizes_out_of_range_are_refused_each() {
    let good = EncoderShape {
        embed: 8,
        hidden: 5,
        dims: 6,
        hidden_shift: 3,
        direct_shift: 2,
        context_shift: 1,
        index_bits: 3,
        words: 9,
        pieces: 10,
    };
    check(&encoder(&good, |at| at as u8), "rope");
    let bad: [fn(&mut EncoderShape); 15] = [
        |shape| shape.embed = 0,
        |shape| shape.embed = 6,
        |shape| shape.embed = 132,
        |shape| shape.hidden = 0,
        |shape| shape.hidden = 513,
        |shape| shape.dims = 0,
        |shape| shape.dims = 257,
        |shape| shape.hidden_shift = 31,
        |shape| shape.direct_shift = 16,
        |shape| shape.context_shift = 16,
        |shape| shape.index_bits = 0,
        |shape| shape.index_bits = 17,
        |shape| shape.words = 0,
        |shape| shape.words = 0x1_0000,
        |shape| shape.pieces = 0,
    ];
    for (number, change) in bad.into_iter().enumerate() {
        let mut shape = good;
        change(&mut shape);
        // The file is as long as the header says, so only the field is wrong.
        assert!(BaseEncoder::parse(&encoder(&shape, |_| 1)).is_err(), "case {number}: {shape:?}");
    }
    // A byte too many, or too few.
    let mut file = encoder(&good, |_| 1);
    file.push(1);
    assert!(BaseEncoder::parse(&file).is_err());
    assert!(BaseEncoder::parse(&file[..file.len() - 2]).is_err());
    // An index that falls, and one that leaves the vocabulary.
    for (at, value) in [(4, 200u16), (40 + 2, 9), (40 + 16, 10)] {
        let mut file = encoder(&good, |_| 1);
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        assert!(BaseEncoder::parse(&file).is_err(), "{value} at {at}");
    }
}

fn shape() -> impl Strategy<Value = EncoderShape> {
    let sizes = (1..=32u16, 1..=64u16, 1..=256u16);
    let shifts = (0..31u8, 0..16u8, 0..16u8, 1..=16u8);
    (sizes, shifts, 1..300u32, 1..300u32).prop_map(|((embed, hidden, dims), shifts, words, pieces)| {
        let (hidden_shift, direct_shift, context_shift, index_bits) = shifts;
        let embed = 4 * embed;
        EncoderShape {
            embed,
            hidden,
            dims,
            hidden_shift,
            direct_shift,
            context_shift,
            index_bits,
            words,
            pieces,
        }
    })
}

proptest! {
    #![proptest_config(common::property(100))]

    #[test]
    fn an_encoder_of_any_shape_and_numbers_makes_vectors(
        shape in shape(),
        numbers in proptest::collection::vec(any::<u8>(), 1..64),
        text in ".{0,120}",
    ) {
        check(&encoder(&shape, |at| numbers[at % numbers.len()]), &text);
    }
}
