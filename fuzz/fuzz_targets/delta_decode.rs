//! Patches: any bytes, and bodies behind a head that fits the old image. No more output than permitted, the same in slices of any length.
//!
//! A byte costs thousands of instructions, so images are short: what depends on length is in the property tests.
#![no_main]

use std::cell::RefCell;

use compotastic_delta::{Crc, Decoder, Header, Limits, Progress};
use libfuzzer_sys::fuzz_target;

const LIMIT: u32 = 24;
/// Bytes of the old image.
const OLD: usize = 96;

/// A little code: calls, a literal pool, a name.
fn old_image(seed: u8) -> [u8; OLD] {
    let mut image = [0; OLD];
    for (i, word) in (0..).zip(image.chunks_exact_mut(4)) {
        let halves = match i % 6 {
            0 => [0xb510, 0x4b02],
            1 => [0xf7ff, 0xff00_u32 | (i & 0xff)],
            2 => [0x2000 | i, 0xd0fe],
            3 => [0xbd10, 0x6e61],
            4 => [4 * i, 0x2000],
            _ => [2 * i + u32::from(seed), 0x0800],
        };
        word.copy_from_slice(&(halves[1] << 16 | halves[0] & 0xffff).to_le_bytes());
    }
    image
}

fn decode(decoder: &mut Decoder, old: &[u8], patch: &[u8], slice: usize) -> Option<Vec<u8>> {
    let limits = Limits { patch_len: patch.len() as u32, old_len: old.len() as u32, new_len: LIMIT };
    decoder.begin(&mut { patch }, limits).ok()?;
    let mut new: Vec<u8> = Vec::new();
    let mut out = [0; 256];
    let out = &mut out[..slice];
    loop {
        match decoder.step(&mut { old }, &mut { patch }, &mut new.as_slice(), out) {
            Ok(Progress::Bytes(count)) => new.extend(&out[..count]),
            Ok(Progress::Done) => return Some(new),
            // What was made of a body with a checksum that does not fit counts as well.
            Err(_) => return (!new.is_empty()).then_some(new),
        }
        assert!(new.len() <= LIMIT as usize);
    }
}

thread_local! {
    /// 16 KB that are not made anew each time; `begin` forgets what was there, which is worth a try too.
    static DECODER: RefCell<Box<Decoder>> = RefCell::new(Box::new(Decoder::new()));
}

fuzz_target!(|data: &[u8]| DECODER.with_borrow_mut(|decoder| feed(decoder, data)));

fn feed(decoder: &mut Decoder, data: &[u8]) {
    let Some((&[method, new_len, base], body)) = data.split_first_chunk::<3>() else { return };
    let old = old_image(base);
    let _ = Header::parse(data);
    let _ = decode(decoder, &old, data, 64);
    let mut crc = Crc::new();
    crc.add(&old);
    let mut patch = vec![0x20 | 1 + method % 5, new_len % LIMIT as u8, 0, 0, 0, 0];
    patch.push(OLD as u8);
    patch.extend(crc.get().to_le_bytes());
    patch.extend([0, new_len >> 7]);
    if method % 5 == 1 {
        patch.extend([0x80, 0x80, 2, base % 64]);
    }
    patch.extend(body);
    let whole = decode(decoder, &old, &patch, 256);
    if method >= 128 {
        assert_eq!(whole, decode(decoder, &old, &patch, 1 + usize::from(new_len % 16)));
    }
}
