//! What is encoded comes back, by the method that fits, and in few bytes.

mod common;

use common::{Random, firmware, weights};
use compotastic_delta::Method;
use compotastic_delta::encode::{Encoded, Hint, decode_to_vec, encode};
use proptest::prelude::*;

fn there_and_back(old: &[u8], new: &[u8], hint: Hint) -> Encoded {
    let encoded = encode(old, new, hint).expect("images are short");
    assert_eq!(decode_to_vec(old, &encoded.bytes, new.len() as u32).as_deref(), Ok(new));
    assert_eq!(encoded.candidates[0].bytes, encoded.bytes.len());
    assert!(encoded.candidates.iter().all(|other| other.bytes >= encoded.bytes.len()));
    assert!(encoded.reason.starts_with(encoded.method.name()), "{}", encoded.reason);
    encoded
}

#[test]
fn firmware_is_small_because_operands_move() {
    let (old, new) = firmware(1, 300, 6);
    let encoded = there_and_back(&old, &new, Hint::Unknown);
    assert_eq!(encoded.method, Method::Thumb, "{}", encoded.reason);
    let bytes = encoded.candidates.iter().find(|c| c.method == Method::Bytes).expect("it was tried").bytes;
    assert!(3 * encoded.bytes.len() < bytes, "{}", encoded.reason);
    assert!(encoded.bytes.len() < old.len() / 40, "{}", encoded.reason);
}

#[test]
fn weights_are_small_because_values_stay_near() {
    let (old, new) = weights(2, 6000, 40);
    let encoded = there_and_back(&old, &new, Hint::Unknown);
    assert_eq!(encoded.method, Method::Grid8, "{}", encoded.reason);
    // Entropy of a value that moves up or down once in 40 each: 0.388 bits.
    let least = 6000.0 * 0.388 / 8.0;
    assert!((encoded.bytes.len() as f64) < 1.25 * least, "{}", encoded.reason);
}

#[test]
fn packed_nibbles_and_ternary_values_have_methods_of_their_own() {
    for (width, method) in [(4, Method::Grid4), (2, Method::Grid2)] {
        let mut random = Random(3);
        let old: Vec<u8> = (0..8000).map(|_| random.next() as u8).collect();
        let lanes = 8 / width;
        // Each tenth value goes up by one, within its bits.
        let new: Vec<u8> = old
            .iter()
            .map(|byte| {
                (0..lanes).fold(0, |sum, lane| {
                    let mask = (1_u8 << width) - 1;
                    let value = byte >> (lane * width) & mask;
                    let up = u8::from(random.below(10) == 0);
                    sum | (value.wrapping_add(up) & mask) << (lane * width)
                })
            })
            .collect();
        assert_eq!(there_and_back(&old, &new, Hint::Model).method, method);
    }
}

#[test]
fn noise_is_stored_and_nothing_is_nothing() {
    let mut random = Random(4);
    let new: Vec<u8> = (0..500).map(|_| random.next() as u8).collect();
    let encoded = there_and_back(&[], &new, Hint::Unknown);
    assert_eq!((encoded.method, encoded.bytes.len()), (Method::Stored, 507), "{}", encoded.reason);
    there_and_back(&new, &[], Hint::Unknown);
    there_and_back(&[], &[], Hint::Unknown);
    assert!(there_and_back(&new, &new, Hint::Unknown).bytes.len() < 40);
}

#[test]
fn an_odd_length_and_an_odd_move_are_no_trouble() {
    let (old, mut new) = firmware(5, 60, 3);
    new.insert(new.len() - 700, 0x55);
    assert_eq!(there_and_back(&old, &new, Hint::Firmware).method, Method::Thumb);
}

fn mutated(old: &[u8], edits: &[(usize, u8, Vec<u8>)]) -> Vec<u8> {
    let mut new = old.to_vec();
    for (at, kind, bytes) in edits {
        let at = at % (new.len() + 1);
        match kind % 3 {
            0 => drop(new.splice(at..at, bytes.iter().copied())),
            1 => drop(new.splice(at..(at + bytes.len()).min(new.len()), [])),
            _ => new.iter_mut().skip(at).zip(bytes).for_each(|(old, byte)| *old = *byte),
        }
    }
    new
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_changed_comes_back(
        seed in 0_u64..1000,
        functions in 1_usize..40,
        hint in prop::sample::select(vec![Hint::Unknown, Hint::Firmware, Hint::Model]),
        edits in prop::collection::vec((0_usize..20_000, 0_u8..3, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let (old, new) = firmware(seed, functions, functions / 8);
        there_and_back(&old, &mutated(&new, &edits), hint);
    }

    #[test]
    fn any_bytes_come_back(old in prop::collection::vec(any::<u8>(), 0..300), new in prop::collection::vec(any::<u8>(), 0..300)) {
        for hint in [Hint::Unknown, Hint::Firmware, Hint::Model] {
            there_and_back(&old, &new, hint);
        }
    }
}
