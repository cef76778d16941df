//! Signed statements: any bytes are a manifest or an error, both shapes say the same, and none is believed without a
//! signature.
#![no_main]

use compotastic_bundle::{ClaimedManifest, RecordChange, Refusal, TrustStore, verify};
use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // A key of its own, under which no seed is signed.
    let root = SigningKey::from_bytes(&[0x77; 32]).verifying_key().to_bytes();
    let mut trust = TrustStore::new(&[root]).expect("a sound key");
    let change: Option<RecordChange> = trust.add_record(data).ok();
    assert!(change.is_none() && trust.delegations().next().is_none(), "nobody signed that");
    match ClaimedManifest::parse(data) {
        Ok(claimed) => {
            assert_eq!(ClaimedManifest::parse(&claimed.to_packed()).as_ref(), Ok(&claimed));
            assert_eq!(ClaimedManifest::parse(&claimed.to_envelope()).as_ref(), Ok(&claimed));
            let refused = verify(data, &trust).expect_err("nobody signed that");
            assert!(!matches!(refused, Refusal::Manifest(_)), "it was read before");
        }
        Err(error) => assert_eq!(verify(data, &trust).err(), Some(Refusal::Manifest(error))),
    }
});
