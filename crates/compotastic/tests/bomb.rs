//! Deltas that would make more than their signed manifest says: nothing comes of them, and memory stays bounded.

mod common;

use common::{fails, scratch};
use compotastic_bundle::{
    BundleFile, ClaimedManifest, ClassMask, ComponentKind, Delta, ImageIdentity, Manifest, build_stream,
};
use compotastic_delta::{
    DecodeError, Decoder, Header, Limits,
    encode::{Hint, decode_to_vec, encode},
};
use sha2::{Digest, Sha256};

fn identity(image: &[u8]) -> ImageIdentity {
    ImageIdentity { digest: Sha256::digest(image).into(), size: image.len() as u32 }
}

/// What the bomb swells to.
const SWOLLEN: u32 = 100_000;

/// A patch of a few bytes that makes 100 KB out of 4 KB.
fn bomb(old: &[u8]) -> Vec<u8> {
    let patch = encode(old, &vec![0; SWOLLEN as usize], Hint::Unknown).unwrap().bytes;
    assert!(patch.len() < 1000, "{} bytes that swell to {SWOLLEN}", patch.len());
    patch
}

fn old() -> Vec<u8> {
    (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Applies `content` to `old` by a bundle that says it makes `result`.
fn apply(name: &str, old: &[u8], content: &[u8], result: ImageIdentity) -> String {
    let mut stream = vec![0; content.len() * 2 + 64];
    let object = build_stream(content, 176, &mut stream).unwrap();
    let delta = Some(Delta { replaces: identity(old).digest8(), result });
    let manifest = Manifest { delta, ..Manifest::of(&object, ComponentKind::Firmware, 0, 2, ClassMask(2)) };
    let claimed = ClaimedManifest::unsigned(manifest).unwrap();
    let mut file = Vec::new();
    BundleFile { claimed, content, delegation: None }.emit(|part| file.extend_from_slice(part));
    let (image, bundle, out) = (
        common::file("bomb-old", old),
        common::file(&format!("{name}.bundle"), &file),
        scratch(&format!("{name}.out")),
    );
    let _ = std::fs::remove_file(&out);
    let said = fails(&["bundle", "apply", &image, &bundle, "--out", &out.to_string_lossy(), "--unsigned"]);
    assert!(!out.exists(), "nothing is written");
    said
}

#[test]
fn no_more_comes_out_than_the_manifest_says() {
    let old = old();
    let bomb = bomb(&old);
    let header = Header::parse(&bomb).unwrap().0;
    assert_eq!(header.new_len, SWOLLEN);
    // The decoder refuses by the head, before it makes a byte; its memory is one struct, whose size its own tests hold down.
    assert_eq!(decode_to_vec(&old, &bomb, 5000), Err(DecodeError::TooLong));
    let limits = Limits { patch_len: bomb.len() as u32, old_len: old.len() as u32, new_len: SWOLLEN - 1 };
    assert_eq!(Decoder::new().begin(&mut &bomb[..], limits), Err(DecodeError::TooLong));
    println!("{} bytes that would swell to {SWOLLEN}; decoder of {} bytes", bomb.len(), size_of::<Decoder>());

    let small = ImageIdentity { size: 5000, ..identity(&vec![0; SWOLLEN as usize]) };
    assert!(apply("bomb", &old, &bomb, small).contains("TooLong"));
    // A manifest that lies about the hash, and one that asks for more than a delta may make.
    let wrong = ImageIdentity { digest: [9; 32], size: SWOLLEN };
    assert!(apply("lie", &old, &bomb, wrong).contains("another image"));
    let endless = ImageIdentity { digest: [9; 32], size: u32::MAX };
    assert!(apply("endless", &old, &bomb, endless).contains("at most"));
}

/// A head that claims more than the patch can make ends in an error, not in memory.
#[test]
fn a_head_that_lies_ends_in_an_error() {
    let old = old();
    let new = [&old[..2000], b"something new", &old[2000..]].concat();
    let patch = encode(&old, &new, Hint::Unknown).unwrap().bytes;
    for at in 0..patch.len().min(40) {
        for bit in 0..8 {
            let mut altered = patch.clone();
            altered[at] ^= 1 << bit;
            if let Ok(image) = decode_to_vec(&old, &altered, 1 << 20) {
                // Bits that do not matter to the result may change; the result itself never does.
                assert_eq!(image, new, "byte {at}, bit {bit}");
            }
        }
    }
}
