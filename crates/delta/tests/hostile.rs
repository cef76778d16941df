//! Whatever the decoder is fed: no panic, no access out of bounds, no more output than permitted, no more work than stated.

mod common;

use common::firmware;
use compotastic_delta::encode::{Hint, encode};
use compotastic_delta::{DecodeError, Decoder, Limits, OutOfBounds, Progress, Source};
use proptest::prelude::*;

/// Memory that panics on an access out of bounds and counts accesses.
struct Guarded<'a>(&'a [u8], usize);

impl Source for Guarded<'_> {
    type Error = OutOfBounds;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), OutOfBounds> {
        self.1 += 1;
        out.copy_from_slice(&self.0[offset as usize..offset as usize + out.len()]);
        Ok(())
    }
}

/// Reads of each kind that a byte of output may cost, at most: a unit reads two places of either image, and takes in as many
/// bytes of the patch as it has decisions.
const READS: usize = 700;

fn decode(old: &[u8], patch: &[u8], limit: u32) -> Result<Vec<u8>, DecodeError<OutOfBounds>> {
    let mut decoder = Box::new(Decoder::new());
    let limits = Limits { patch_len: patch.len() as u32, old_len: old.len() as u32, new_len: limit };
    let (mut old, mut patch) = (Guarded(old, 0), Guarded(patch, 0));
    let header = decoder.begin(&mut patch, limits)?;
    assert!(header.new_len <= limit);
    let mut new: Vec<u8> = Vec::new();
    let mut slice = [0; 61];
    let mut idle = 0;
    loop {
        match decoder.step(&mut old, &mut patch, &mut Guarded(&new.clone(), 0), &mut slice)? {
            Progress::Bytes(0) => idle += 1,
            Progress::Bytes(count) => new.extend(&slice[..count]),
            Progress::Done => break,
        }
        assert!(new.len() <= limit as usize, "more than was permitted");
        assert!(idle <= old.0.len() / 32 + 40, "preparing takes no end");
        assert!(old.1 + patch.1 <= 4 * old.0.len() + READS * (new.len() + 80), "too many reads");
    }
    Ok(new)
}

#[test]
fn a_changed_or_short_patch_is_an_error_or_the_wrong_image_never_more() {
    let (old, new) = firmware(11, 40, 4);
    let patch = encode(&old, &new, Hint::Firmware).expect("short").bytes;
    assert_eq!(decode(&old, &patch, new.len() as u32).as_deref(), Ok(&new[..]));
    for at in 0..patch.len() {
        let mut bad = patch.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(decode(&old, &bad, new.len() as u32).is_err(), "byte {at} may be wrong unseen");
    }
    for len in (0..patch.len()).step_by(7) {
        assert!(decode(&old, &patch[..len], new.len() as u32).is_err(), "{len} bytes are enough");
    }
}

#[test]
fn a_bomb_and_a_wrong_image_are_refused_before_any_output() {
    let (old, new) = firmware(12, 40, 4);
    let patch = encode(&old, &new, Hint::Firmware).expect("short").bytes;
    assert_eq!(decode(&old, &patch, new.len() as u32 - 1), Err(DecodeError::TooLong));
    assert_eq!(decode(&old[1..], &patch, new.len() as u32), Err(DecodeError::WrongOld));
    let mut other = old.clone();
    other[77] ^= 1;
    assert_eq!(decode(&other, &patch, new.len() as u32), Err(DecodeError::WrongOld));
    // Fifteen megabytes announced in a stored patch of ten bytes.
    let bomb = [0x20, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 0, 1];
    assert_eq!(decode(&[], &bomb, 1 << 20), Err(DecodeError::TooLong));
    assert_eq!(decode(&[], &bomb, 1 << 24), Err(DecodeError::WrongNew));
}

#[test]
fn a_decoder_without_a_patch_says_so() {
    let mut decoder = Decoder::new();
    let nothing: &[u8] = &[];
    let step = decoder.step(&mut { nothing }, &mut { nothing }, &mut { nothing }, &mut [0; 4]);
    assert_eq!(step, Err(DecodeError::NotReady));
}

/// A head that is right for `old`, before a body of anything.
fn headed(old: &[u8], method: u8, new_len: u8, entries: u8, body: &[u8]) -> Vec<u8> {
    let mut crc = compotastic_delta::Crc::new();
    crc.add(old);
    let mut patch = vec![0x20 | method, new_len | 0x80, 3, 0, 0, 0, 0];
    patch.extend([old.len() as u8 | 0x80, (old.len() >> 7) as u8]);
    patch.extend(crc.get().to_le_bytes());
    patch.extend([0, (old.len() / 64) as u8]);
    if method == 2 {
        patch.extend([0x80, 0x80, 2, entries | 0x80, 3]);
    }
    patch.extend(body);
    patch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_body_is_survived(
        method in 1_u8..6,
        new_len in any::<u8>(),
        entries in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..400),
        seed in 0_u64..20,
    ) {
        let (old, _) = firmware(seed, 12, 0);
        let old = &old[..old.len().min(4000)];
        let result = decode(old, &headed(old, method, new_len, entries, &body), 1000);
        prop_assert!(matches!(result, Ok(_) | Err(DecodeError::WrongNew)), "{:?}", result);
    }

    #[test]
    fn any_bytes_are_survived(patch in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(b"an old image", &patch, 300);
    }
}
