//! Signed statements and the files that carry them: any bytes are a manifest, a record, a bundle file or an error; both shapes of
//! a manifest say the same; and nothing is believed without a signature.
#![no_main]

use compotastic_bundle::{BundleFile, ClaimedManifest, RecordChange, Refusal, Statement, TrustStore, verify};
use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A key of its own, under which no seed is signed.
static TRUST: LazyLock<([u8; 32], TrustStore)> = LazyLock::new(|| {
    let root = SigningKey::from_bytes(&[0x77; 32]).verifying_key().to_bytes();
    (root, TrustStore::new(&[root]).expect("a sound key"))
});

fuzz_target!(|data: &[u8]| {
    let (root, mut trust) = TRUST.clone();
    let change: Option<RecordChange> = trust.add_record(data).ok();
    assert!(change.is_none() && trust.delegations().next().is_none(), "nobody signed that");
    assert!(trust.roots().map(|(_, key)| key).eq([root]), "and nobody took the root's place");
    if let Some((_, statement)) = Statement::claimed(data) {
        record_comes_back(&statement);
    }
    if let Ok(file) = BundleFile::parse(data) {
        let mut bytes = Vec::new();
        file.emit(|part| bytes.extend_from_slice(part));
        assert_eq!(BundleFile::parse(&bytes).as_ref(), Ok(&file));
        assert!(trust.verify(&file.claimed).is_err());
    }
    match ClaimedManifest::parse(data) {
        Ok(claimed) => {
            assert_eq!(ClaimedManifest::parse(&claimed.to_packed()).as_ref(), Ok(&claimed));
            let envelope = claimed.to_envelope();
            assert_eq!(ClaimedManifest::parse(&envelope).as_ref(), Ok(&claimed));
            let refused = verify(data, &trust).expect_err("nobody signed that");
            assert!(!matches!(refused, Refusal::Manifest(_)), "it was read before");
            alter(data, &envelope);
        }
        Err(error) => assert_eq!(verify(data, &trust).err(), Some(Refusal::Manifest(error))),
    }
});

/// A record that is signed says what it said before.
fn record_comes_back(statement: &Statement) {
    let key = SigningKey::from_bytes(&[0x55; 32]);
    let record = match statement {
        Statement::Delegation(delegation) => delegation.sign(&key),
        Statement::Revocation(revocation) => revocation.sign(&key),
        Statement::Rotation(rotation) => rotation.sign(&key),
    };
    let again = Statement::claimed(&record).map(|(_, statement)| statement);
    assert_eq!(again.as_ref(), Some(statement));
}

/// An envelope with one bit turned, which bytes of the fuzzer alone never are: another signature or key id, or an error.
fn alter(data: &[u8], envelope: &[u8]) {
    let at = usize::from(data[data.len() / 2]) % envelope.len();
    let mut altered = envelope.to_vec();
    altered[at] ^= 1 << (data[data.len() / 3] % 8);
    if let Ok(other) = ClaimedManifest::parse(&altered) {
        assert_eq!(other.to_envelope()[..], altered[..], "one encoding each");
    }
}
