//! Whatever a file holds, it is refused or it works: no panic, no class that does not exist.

mod common;

use compotastic_model::{
    BaseEncoder, CALIBRATION_POINTS, MAX_DIMS, ModelError, Scratch, TASK_HEADER, TaskHeader, TaskPart,
    Vector, classify,
};
use proptest::prelude::*;

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");
const TEXTS: [&str; 4] =
    ["two hikers below the north ridge hut", "", "\u{1F681} 46.5512N 7.9823E \u{0}", "a b c"];

/// A part of five classes with corrections, as a trainer could write it.
fn part() -> Vec<u8> {
    let base = BaseEncoder::parse(BASE).unwrap();
    let header = TaskHeader {
        task: 1,
        classes: 5,
        version: 3,
        base_id: base.id(),
        dims: base.dims() as u16,
        corrections: 20,
        shift: 8,
        correction_step: 7,
        threshold: 120,
        urgent_margin: 9,
        urgent: 0b101,
        calibration: std::array::from_fn(|point| (60 + 190 * point / (CALIBRATION_POINTS - 1)) as u8),
    };
    let mut bytes = header.emit().to_vec();
    bytes.extend((0..5 * base.dims()).map(|index| (index * 37 % 251) as u8));
    bytes.extend((0..10).map(|index| index as u8));
    for entry in 0..20u16 {
        bytes.extend((entry * 3000).to_le_bytes());
        bytes.extend([entry as u8 % 5, entry as u8 * 11]);
    }
    bytes
}

fn try_part(base: &BaseEncoder<'_>, bytes: &[u8]) -> Result<(), ModelError> {
    let part = TaskPart::parse(bytes)?;
    let mut scratch = Scratch::default();
    for text in TEXTS {
        let answer = classify(base, &part, text, &mut scratch);
        assert!(usize::from(answer.class) < part.classes());
    }
    Ok(())
}

#[test]
fn each_changed_byte_of_a_part_is_refused_or_harmless() {
    let base = BaseEncoder::parse(BASE).unwrap();
    let good = part();
    try_part(&base, &good).expect("the part itself is good");
    let mut refused = 0;
    for at in 0..good.len() {
        // In the header any other value, in the rest a few.
        for change in 1..=255u8 {
            if at >= TASK_HEADER && ![0x01, 0x80, 0xFF].contains(&change) {
                continue;
            }
            let mut bytes = good.clone();
            bytes[at] ^= change;
            refused += usize::from(try_part(&base, &bytes).is_err());
        }
    }
    assert!(refused > 2000, "the header is checked: {refused}");
}

#[test]
fn each_cut_of_a_part_is_refused() {
    let good = part();
    for length in 0..good.len() {
        assert!(TaskPart::parse(&good[..length]).is_err(), "{length} bytes");
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(TaskPart::parse(&long).unwrap_err(), ModelError::Length);
}

#[test]
fn each_cut_of_the_encoder_is_refused() {
    for length in (0..BASE.len()).step_by(997).chain(0..64).chain([BASE.len() - 1]) {
        assert!(BaseEncoder::parse(&BASE[..length]).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(common::property(256))]

    #[test]
    fn a_changed_encoder_is_refused_or_works(
        changes in proptest::collection::vec((0..BASE.len(), any::<u8>()), 1..20),
        head in proptest::option::of((0..40usize, any::<u8>())),
        text in ".{0,200}",
    ) {
        let mut bytes = BASE.to_vec();
        for (at, value) in changes.into_iter().chain(head) {
            bytes[at] = value;
        }
        if let Ok(base) = BaseEncoder::parse(&bytes) {
            let mut vector: Vector = [0; MAX_DIMS];
            base.encode(&text, &mut vector);
            try_part(&base, &part()).unwrap();
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let base = BaseEncoder::parse(BASE).unwrap();
        let _ = try_part(&base, &bytes);
        let _ = BaseEncoder::parse(&bytes);
        let mut named = bytes;
        let good = part();
        let length = named.len().min(48);
        named[..length].copy_from_slice(&good[..length]);
        let _ = try_part(&base, &named);
    }
}
