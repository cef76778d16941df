//! A manifest has two shapes, one signature and one encoding each.

mod common;

use common::{Bundle, Lcg, content, edge_key, root_key, trust};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, Delegation, Delta, ImageIdentity, MAX_ENVELOPE, MAX_NEEDS,
    MAX_PACKED, Manifest, ManifestError, Need, RECORD_PART, Refusal, Revocation, TrustStore, verify,
};
use proptest::prelude::*;

/// Largest body of one of our frames on the air.
const FRAME: usize = 190;

#[test]
fn sizes_on_the_air() {
    let bundle = Bundle::new(content(4096, 1), 1);
    let claimed = bundle.manifest.claimed();
    let (packed, envelope) = (claimed.to_packed().len(), claimed.to_envelope().len());
    let total = packed + bundle.stream.len();
    println!("manifest: {packed} bytes packed, {envelope} as SUIT envelope; 4096-byte bundle: {total} bytes");
    assert!(packed <= FRAME, "one frame");
    assert!(envelope <= 2 * FRAME, "two frames");
    assert!(total <= 4500, "{total}");
    assert!(envelope + bundle.stream.len() <= 4608);
}

type Replaced = ([u8; 8], u32, [u8; 32]);

fn any_manifest() -> impl Strategy<Value = Manifest> {
    (
        (any::<u32>(), 1u8..=4, any::<u8>(), 1u32..=u32::MAX, any::<[u8; 8]>()),
        (any::<Option<Replaced>>(), 1u32..600_000, any::<[u8; 32]>(), 10u16..=64, any::<[u8; 8]>()),
        (any::<u32>(), any::<u32>(), any::<Option<u32>>()),
        prop::collection::vec((1u8..=4, any::<u8>(), any::<u32>()), 0..=MAX_NEEDS),
    )
        .prop_map(|(first, second, (flash, ram, floor), needs)| {
            let (sequence, kind, task, classes, base_id) = first;
            let (replaced, size, digest, p, list_root) = second;
            let kind_of = |kind| ComponentKind::from_u8(kind).unwrap();
            let need = |(kind, task, sequence)| Need { kind: kind_of(kind), task, sequence };
            let delta = replaced.map(|(replaces, size, digest)| Delta {
                replaces,
                result: ImageIdentity { digest, size: size.max(1) },
            });
            let sequence = sequence.min(u32::MAX - 1);
            Manifest {
                sequence,
                floor: floor.unwrap_or(0).min(sequence),
                kind: kind_of(kind),
                task,
                classes: ClassMask(classes),
                base_id: if delta.is_some() { [0; 8] } else { base_id },
                needs: needs.into_iter().map(need).collect(),
                delta,
                size,
                digest,
                piece_size: p * 16,
                list_root,
                flash,
                ram,
            }
        })
}

proptest! {
    #![proptest_config(common::config(64))]

    #[test]
    fn both_shapes_say_the_same(manifest in any_manifest()) {
        let claimed = ClaimedManifest::sign(manifest.clone(), &root_key()).unwrap();
        let (packed, envelope) = (claimed.to_packed(), claimed.to_envelope());
        prop_assert!(packed.len() <= MAX_PACKED);
        prop_assert!(packed.len() <= RECORD_PART, "one frame");
        prop_assert!(envelope.len() <= 2 * FRAME);
        for bytes in [&packed[..], &envelope[..]] {
            let verified = verify(bytes, &trust()).unwrap();
            prop_assert_eq!(verified.manifest(), &manifest);
            prop_assert_eq!(verified.claimed(), &claimed);
        }
    }

    #[test]
    fn a_changed_byte_is_refused(manifest in any_manifest(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let claimed = ClaimedManifest::sign(manifest, &root_key()).unwrap();
        for bytes in [claimed.to_packed().to_vec(), claimed.to_envelope().to_vec()] {
            let mut bytes = bytes;
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(verify(&bytes, &trust()).is_err());
        }
    }

    #[test]
    fn cut_or_extended_is_refused(manifest in any_manifest(), more in any::<u8>()) {
        let claimed = ClaimedManifest::sign(manifest, &root_key()).unwrap();
        let trust = trust();
        for bytes in [claimed.to_packed().to_vec(), claimed.to_envelope().to_vec()] {
            for len in 0..bytes.len() {
                prop_assert!(verify(&bytes[..len], &trust).is_err());
            }
            let longer = [&bytes[..], &[more]].concat();
            prop_assert!(verify(&longer, &trust).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), shape in 0u8..4) {
        let mut bytes = bytes;
        let start: &[u8] = match shape {
            0 => &[],
            1 => &[1, 1],
            2 => &[0xD8, 0x6B, 0xA2, 0x02, 0x58],
            _ => &[0xD2, 0x84, 0x43, 0xA1, 0x01, 0x27],
        };
        bytes.splice(0..0, start.iter().copied());
        let _ = ClaimedManifest::parse(&bytes);
        let _ = trust().add_record(&bytes);
    }
}

/// Valid encodings with a few bytes changed reach deeper than random bytes do.
#[test]
fn mutated_records_never_panic_and_never_verify() {
    let mut rng = Lcg(5);
    let manifest = Bundle::new(content(300, 1), 9).manifest.claimed().clone();
    let seeds = [
        manifest.to_envelope().to_vec(),
        manifest.to_packed().to_vec(),
        common::delegation().sign(&root_key()).to_vec(),
        Revocation { key_id: manifest.key_id(), epoch: 4 }.sign(&root_key()).to_vec(),
    ];
    let mut store: TrustStore = trust();
    for round in 0..20_000 {
        let seed = &seeds[round % seeds.len()];
        let mut bytes = seed.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u32) as usize;
            match rng.below(3) {
                0 => bytes[at] = rng.next() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, rng.next() as u8),
            }
        }
        if bytes != *seed {
            assert!(verify(&bytes, &store).is_err());
            assert!(store.add_record(&bytes).is_err());
        }
    }
}

#[test]
fn fields_out_of_range_are_refused() {
    let good = Bundle::new(content(300, 1), 9).manifest.manifest().clone();
    let result = ImageIdentity { digest: [1; 32], size: 1 };
    let delta = Manifest { base_id: [0; 8], delta: Some(Delta { replaces: [2; 8], result }), ..good.clone() };
    assert!(ClaimedManifest::sign(Manifest { floor: 9, ..delta.clone() }, &edge_key()).is_ok());
    let sign = |m: Manifest| ClaimedManifest::sign(m, &edge_key()).unwrap_err();
    assert_eq!(sign(Manifest { classes: ClassMask(0), ..good.clone() }), ManifestError::NoClass);
    assert_eq!(sign(Manifest { sequence: u32::MAX, ..good.clone() }), ManifestError::Sequence);
    assert_eq!(sign(Manifest { floor: 10, ..good.clone() }), ManifestError::Floor);
    assert_eq!(sign(Manifest { base_id: [3; 8], ..delta.clone() }), ManifestError::Delta);
    let nothing = Delta { replaces: [2; 8], result: ImageIdentity { size: 0, ..result } };
    assert_eq!(sign(Manifest { delta: Some(nothing), ..delta }), ManifestError::Delta);
    for (size, piece_size) in [(0, 176), (300, 0), (300, 8), (300, 100), (300, 1040), (u32::MAX, 176)] {
        assert_eq!(
            sign(Manifest { size, piece_size, ..good.clone() }),
            ManifestError::Pieces,
            "{size} {piece_size}"
        );
    }
    assert_eq!(verify(&[], &trust()), Err(Refusal::Manifest(ManifestError::Malformed)));
}

#[test]
fn another_encoding_of_the_same_fields_is_refused() {
    let envelope = Bundle::new(content(300, 1), 9).manifest.claimed().to_envelope();
    assert_eq!(envelope[4], 0x58, "a byte string with one byte of length");
    let mut packed = Bundle::new(content(300, 1), 9).manifest.claimed().to_packed().to_vec();
    packed[0] |= 0x20;
    packed.extend([0; 4]);
    assert_eq!(ClaimedManifest::parse(&packed), Err(ManifestError::NotCanonical), "a floor of nothing");
    let longer_head = [&envelope[..4], &[0x59, 0], &envelope[5..]].concat();
    assert_eq!(ClaimedManifest::parse(&longer_head), Err(ManifestError::NotCanonical));
}

/// The sum of all buffers on the way is what bounds an envelope, not luck.
#[test]
fn records_fit_their_types() {
    const { assert!(MAX_ENVELOPE <= 2 * FRAME) };
    let delegation: Delegation = common::delegation();
    let record = delegation.sign(&root_key());
    println!("delegation: {} bytes", record.len());
    assert!(record.len() <= FRAME);
}
