//! A bundle file is the envelope with its content; it is read back whole or refused.

mod common;

use common::{Bundle, Lcg, content, delegation, root_key, trust};
use compotastic_bundle::{BundleFile, ClaimedManifest, FileError, ManifestError};

fn bytes_of(file: &BundleFile) -> Vec<u8> {
    let mut out = Vec::new();
    file.emit(|part| out.extend_from_slice(part));
    out
}

#[test]
fn files_come_back() {
    for size in [1, 23, 255, 256, 5000, 70_000] {
        let bundle = Bundle::new(content(size, 1), 1);
        let record = delegation().sign(&root_key());
        for delegation in [None, Some(&record[..])] {
            let claimed = bundle.manifest.claimed().clone();
            let file = BundleFile { claimed, content: &bundle.content, delegation };
            let bytes = bytes_of(&file);
            assert!(bytes.len() < size + 320 + 180, "{}", bytes.len());
            assert_eq!(BundleFile::parse(&bytes).as_ref(), Ok(&file));
            assert!(trust().verify(&file.claimed).is_ok());
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_another_manifest_that_nobody_signed() {
    let bundle = Bundle::new(content(300, 1), 1);
    let record = delegation().sign(&root_key());
    let claimed = bundle.manifest.claimed().clone();
    let bytes = bytes_of(&BundleFile { claimed, content: &bundle.content, delegation: Some(&record) });
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            let Ok(file) = BundleFile::parse(&altered) else { continue };
            assert_eq!(file.content, bundle.content, "{at}");
            let mut store = compotastic_bundle::TrustStore::new(&[common::public(&root_key())]).unwrap();
            let delegated = store.add_record(file.delegation.unwrap()).is_ok();
            assert!(!delegated || store.verify(&file.claimed).is_err(), "byte {at}, bit {bit}");
        }
        assert!(BundleFile::parse(&bytes[..at]).is_err());
    }
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let bundle = Bundle::new(content(300, 1), 1);
    let claimed = bundle.manifest.claimed();
    assert_eq!(BundleFile::parse(b""), Err(FileError::Malformed));
    assert_eq!(BundleFile::parse(&claimed.to_envelope()), Err(FileError::Malformed), "no content");
    assert_eq!(BundleFile::parse(&claimed.to_packed()), Err(FileError::Malformed));
    let other = BundleFile { claimed: claimed.clone(), content: b"something else", delegation: None };
    assert_eq!(BundleFile::parse(&bytes_of(&other)), Err(FileError::Content));
    // A manifest that would not fit its type.
    let oversized =
        [&[0xD8, 0x6B, 0xA3, 2, 0x59, 4, 0][..], &[0; 1024], &[3, 0x41, 0], &[0x62, b'#', b'c', 0x41, 0]];
    assert_eq!(BundleFile::parse(&oversized.concat()), Err(FileError::Malformed));
    let mut altered =
        bytes_of(&BundleFile { claimed: claimed.clone(), content: &bundle.content, delegation: None });
    let at = altered.windows(8).position(|w| w == claimed.claims().list_root).unwrap();
    altered[at] ^= 1;
    assert_eq!(BundleFile::parse(&altered), Err(FileError::Manifest(ManifestError::Digest)));
}

#[test]
fn any_bytes_are_read_without_panic() {
    let mut rng = Lcg(9);
    let bundle = Bundle::new(content(40, 1), 1);
    let claimed: ClaimedManifest = bundle.manifest.claimed().clone();
    let seed = bytes_of(&BundleFile { claimed, content: &bundle.content, delegation: None });
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u32) as usize;
            match rng.below(3) {
                0 => bytes[at] = rng.next() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, rng.next() as u8),
            }
        }
        let _ = BundleFile::parse(&bytes);
    }
}
