//! Patches: any bytes, and bodies behind a head that fits the old image. No more output than permitted, the same in slices of any length.
#![no_main]

use compotastic_delta::{Crc, Decoder, Header, Limits, Progress};
use libfuzzer_sys::fuzz_target;

const LIMIT: u32 = 600;

/// A little code: calls, a literal pool, a name.
fn old_image(seed: u8) -> Vec<u8> {
    let mut image = Vec::new();
    for i in 0..96_u32 {
        let halves = match i % 6 {
            0 => [0xb510, 0x4b02],
            1 => [0xf7ff, 0xff00 | (i & 0xff)],
            2 => [0x2000 | i, 0xd0fe],
            3 => [0xbd10, 0x6e61],
            4 => [4 * i, 0x2000],
            _ => [2 * i + u32::from(seed), 0x0800],
        };
        image.extend(halves.iter().flat_map(|half| (*half as u16).to_le_bytes()));
    }
    image
}

fn decode(old: &[u8], patch: &[u8], slice: usize) -> Option<Vec<u8>> {
    let mut decoder = Box::new(Decoder::new());
    let limits = Limits { patch_len: patch.len() as u32, old_len: old.len() as u32, new_len: LIMIT };
    decoder.begin(&mut { patch }, limits).ok()?;
    let mut new: Vec<u8> = Vec::new();
    let mut out = vec![0; slice];
    loop {
        match decoder.step(&mut { old }, &mut { patch }, &mut new.as_slice(), &mut out) {
            Ok(Progress::Bytes(count)) => new.extend(&out[..count]),
            Ok(Progress::Done) => return Some(new),
            // What was made of a body with a checksum that does not fit counts as well.
            Err(_) => return (!new.is_empty()).then_some(new),
        }
        assert!(new.len() <= LIMIT as usize);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[method, new_len, base], body)) = data.split_first_chunk::<3>() else { return };
    let old = old_image(base);
    let _ = Header::parse(data);
    let _ = decode(&old, data, 64);
    let mut crc = Crc::new();
    crc.add(&old);
    let mut patch = vec![0x20 | 1 + method % 5, new_len | 0x80, 1, 0, 0, 0, 0];
    patch.extend([old.len() as u8 | 0x80, (old.len() >> 7) as u8]);
    patch.extend(crc.get().to_le_bytes());
    patch.extend([0, method % 7]);
    if method % 5 == 1 {
        patch.extend([0x80, 0x80, 2, base % 64]);
    }
    patch.extend(body);
    let whole = decode(&old, &patch, 256);
    assert_eq!(whole, decode(&old, &patch, 1 + usize::from(new_len % 16)));
});
