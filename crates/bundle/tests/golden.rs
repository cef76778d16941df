//! The bytes on the air, fixed: `tests/data/bundle/vectors.txt`, lines of name and hex. Other implementations read
//! them: coset here, and `tests/data/bundle/check.py`, which has its own CBOR, Ed25519 and field arithmetic.

mod common;

use common::{Bundle, delegation, edge_key, public, root_key};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, Delegation, Delta, Encoder, ImageIdentity, KeyId, Manifest,
    Need, Needs, Revocation, SliceSource, verify,
};
use coset::{CborSerializable, CoseSign1, TaggedCborSerializable, cbor::Value, iana};
use ed25519_dalek::{Signature, VerifyingKey};
use std::fmt::Write;
use std::path::PathBuf;

const VECTORS: &str = include_str!("../../../tests/data/bundle/vectors.txt");

fn data(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/bundle").join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").unwrap();
        s
    })
}

fn vector(name: &str) -> Vec<u8> {
    let line = VECTORS.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

/// Content that is easy to make anywhere: byte i is 7 i + i / 256.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (7 * i + i / 256) as u8).collect()
}

fn small() -> Bundle {
    Bundle::new(content(1000), 3)
}

/// More than 90 pieces, so that its code is binary; two generations.
fn large() -> Bundle {
    Bundle::with_piece_size(content(3000), 4, 16)
}

fn small_manifest() -> Manifest {
    small().manifest.manifest().clone()
}

fn firmware_delta() -> Manifest {
    let result = ImageIdentity { digest: [0xD1; 32], size: 250_000 };
    Manifest {
        sequence: 70_000,
        kind: ComponentKind::Firmware,
        task: 0,
        classes: ClassMask(0x8000_0001),
        base_id: [0; 8],
        delta: Some(Delta { replaces: *b"previous", result }),
        flash: 250_000,
        ..small_manifest()
    }
}

fn needs() -> Needs {
    Needs::from_array([
        Need { kind: ComponentKind::Firmware, task: 0, sequence: 60_000 },
        Need { kind: ComponentKind::Model, task: 7, sequence: 2 },
    ])
}

fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let (small, large) = (small(), large());
    let delta = ClaimedManifest::sign(firmware_delta(), &root_key()).unwrap();
    let all = Manifest { floor: 69_000, needs: needs(), ..firmware_delta() };
    let all = ClaimedManifest::sign(all, &root_key()).unwrap();
    let policy = Manifest { kind: ComponentKind::Policy, floor: 3, needs: needs(), ..small_manifest() };
    let policy = ClaimedManifest::sign(policy, &edge_key()).unwrap();
    let claimed = small.manifest.claimed();
    let edge = KeyId::of(&public(&edge_key()));
    vec![
        ("root_public", public(&root_key()).to_vec()),
        ("edge_public", public(&edge_key()).to_vec()),
        ("delegation", delegation().sign(&root_key()).to_vec()),
        ("revocation", Revocation { key_id: edge, epoch: 2 }.sign(&root_key()).to_vec()),
        ("model_packed", claimed.to_packed().to_vec()),
        ("model_envelope", claimed.to_envelope().to_vec()),
        ("firmware_packed", delta.to_packed().to_vec()),
        ("firmware_envelope", delta.to_envelope().to_vec()),
        ("firmware_all_packed", all.to_packed().to_vec()),
        ("firmware_all_envelope", all.to_envelope().to_vec()),
        ("policy_packed", policy.to_packed().to_vec()),
        ("policy_envelope", policy.to_envelope().to_vec()),
        ("small_last_piece", small.symbol(0, 5)),
        ("small_symbol_6", small.symbol(0, 6)),
        ("small_symbol_1000", small.symbol(0, 1000)),
        ("large_envelope", large.manifest.claimed().to_envelope().to_vec()),
        ("large_symbol_0_0", large.symbol(0, 0)),
        ("large_symbol_0_500", large.symbol(0, 500)),
        ("large_symbol_1_65534", large.symbol(1, 65_534)),
    ]
}

#[test]
fn bytes_are_the_recorded_ones() {
    for (name, bytes) in vectors() {
        assert_eq!(hex(&bytes), hex(&vector(name)), "{name}");
    }
    assert_eq!(VECTORS.lines().filter(|l| !l.starts_with('#')).count(), vectors().len());
}

/// Writes the file anew after an intended change: `cargo test -p compotastic-bundle --test golden -- --ignored`.
#[test]
#[ignore = "changes the recorded vectors"]
fn record() {
    let head = VECTORS.lines().filter(|l| l.starts_with('#')).map(|l| format!("{l}\n"));
    let lines = vectors().into_iter().map(|(name, bytes)| format!("{name} {}\n", hex(&bytes)));
    std::fs::write(data("vectors.txt"), head.chain(lines).collect::<String>()).unwrap();
}

fn check_by_coset(sign1: &CoseSign1, public_key: &[u8; 32], payload: Option<&[u8]>) {
    assert_eq!(sign1.protected.header.alg, Some(coset::Algorithm::Assigned(iana::Algorithm::EdDSA)));
    assert_eq!(sign1.unprotected.key_id, KeyId::of(public_key).0);
    let key = VerifyingKey::from_bytes(public_key).unwrap();
    let check =
        |signature: &[u8], data: &[u8]| key.verify_strict(data, &Signature::from_slice(signature).unwrap());
    match payload {
        Some(payload) => sign1.verify_detached_signature(payload, b"", check).unwrap(),
        None => sign1.verify_signature(b"", check).unwrap(),
    }
}

#[test]
fn coset_reads_delegations_and_revocations() {
    for name in ["delegation", "revocation"] {
        let sign1 = CoseSign1::from_tagged_slice(&vector(name)).unwrap();
        check_by_coset(&sign1, &public(&root_key()), None);
        let payload = Value::from_slice(&sign1.payload.unwrap()).unwrap();
        let fields = payload.as_array().unwrap();
        let Delegation { public_key, kinds, classes, size_cap, epoch } = delegation();
        let edge = KeyId::of(&public_key).0;
        let expected: Vec<Value> = if name == "delegation" {
            vec![
                1.into(),
                public_key.to_vec().into(),
                kinds.0.into(),
                classes.0.into(),
                size_cap.into(),
                epoch.into(),
            ]
        } else {
            vec![2.into(), edge.to_vec().into(), 2.into()]
        };
        assert_eq!(*fields, expected);
    }
}

fn entry(map: &Value, key: i64) -> &Value {
    let found = map.as_map().unwrap().iter().find(|(k, _)| *k == Value::from(key));
    &found.unwrap().1
}

fn inside(value: &Value) -> Value {
    Value::from_slice(value.as_bytes().unwrap()).unwrap()
}

#[test]
fn coset_reads_the_envelope() {
    for (name, key) in [("model_envelope", edge_key()), ("firmware_envelope", root_key())] {
        let bytes = vector(name);
        let Value::Tag(107, envelope) = Value::from_slice(&bytes).unwrap() else { panic!("tag") };
        let authentication = inside(entry(&envelope, 2));
        let parts = authentication.as_array().unwrap();
        let digest = parts[0].as_bytes().unwrap();
        let sign1 = CoseSign1::from_tagged_slice(parts[1].as_bytes().unwrap()).unwrap();
        check_by_coset(&sign1, &public(&key), Some(digest));

        let m = ClaimedManifest::parse(&bytes).unwrap().claims().clone();
        let manifest = inside(entry(&envelope, 3));
        assert_eq!(*entry(&manifest, 1), 1.into());
        assert_eq!(*entry(&manifest, 2), m.sequence.into());
        let common = inside(entry(&manifest, 3));
        let id = Value::Array(vec![vec![m.kind as u8].into(), vec![m.task].into()]);
        assert_eq!(*entry(&common, 2), Value::Array(vec![id]));
        let sequence = inside(entry(&common, 4));
        let parameters = &sequence.as_array().unwrap()[1];
        let image = Value::Array(vec![(-16).into(), m.image().digest.to_vec().into()]);
        assert_eq!(inside(entry(parameters, 3)), image);
        assert_eq!(*entry(parameters, 14), m.image().size.into());
    }
}

#[test]
fn both_shapes_verify() {
    let all = Manifest { floor: 69_000, needs: needs(), ..firmware_delta() };
    let policy = Manifest { kind: ComponentKind::Policy, floor: 3, needs: needs(), ..small_manifest() };
    let said = [
        ("model", small_manifest()),
        ("firmware", firmware_delta()),
        ("firmware_all", all),
        ("policy", policy),
    ];
    for (name, manifest) in said {
        for shape in ["packed", "envelope"] {
            let verified = verify(&vector(&format!("{name}_{shape}")), &common::trust()).unwrap();
            assert_eq!(*verified.manifest(), manifest, "{name} {shape}");
        }
    }
}

#[test]
fn an_encoder_checks_its_arguments() {
    let bundle = small();
    let object = bundle.manifest.object();
    let encoder = Encoder::new(object.layout, object.tag());
    let mut source = SliceSource(&bundle.stream);
    assert!(encoder.symbol(1, 0, &mut source, &mut [0; 176]).is_err());
    assert!(encoder.symbol(0, 0, &mut source, &mut [0; 175]).is_err());
}

/// Needs `python3`; where there is none the check is left out, and says so.
#[test]
fn python_reads_the_vectors() {
    let run = std::process::Command::new("python3").arg(data("check.py")).output();
    match run {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
        Err(e) => eprintln!("left out: python3: {e}"),
    }
}
