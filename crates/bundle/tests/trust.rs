//! Who may sign what, and what a device takes.

mod common;

use common::{Bundle, content, delegation, edge_key, public, root_key, target, trust};
use compotastic_bundle::{
    ALL_KEYS, Authority, ClaimedManifest, ClassMask, ComponentKind, Delegation, Delta, ImageIdentity,
    Installed, KeyId, KindMask, MAX_DELEGATIONS, MAX_REVOCATIONS, Manifest, Need, Needs, RecordChange,
    RecordError, Refusal, Revocation, Target, TrustStore,
};
use ed25519_dalek::SigningKey;

fn good() -> Manifest {
    Bundle::new(content(1000, 1), 5).manifest.manifest().clone()
}

fn signed(manifest: Manifest, key: &SigningKey) -> ClaimedManifest {
    ClaimedManifest::sign(manifest, key).unwrap()
}

fn edge_id() -> KeyId {
    KeyId::of(&public(&edge_key()))
}

fn other_key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

#[test]
fn root_and_delegated_keys_are_believed() {
    let store = trust();
    assert_eq!(store.verify(&signed(good(), &root_key())).unwrap().authority(), Authority::Root);
    assert_eq!(store.verify(&signed(good(), &edge_key())).unwrap().authority(), Authority::Edge { epoch: 1 });
    assert_eq!(store.delegations().count(), 1);
}

#[test]
fn an_unknown_key_is_refused() {
    let key = other_key(9);
    let id = KeyId::of(&public(&key));
    assert_eq!(trust().verify(&signed(good(), &key)), Err(Refusal::UnknownKey(id)));
}

#[test]
fn a_false_name_is_a_bad_signature() {
    // Signed by a stranger, claiming the edge's key id: the id is the 8 bytes before the signature.
    let mut packed = signed(good(), &other_key(9)).to_packed();
    packed[72..80].copy_from_slice(&edge_id().0);
    let claimed = ClaimedManifest::parse(&packed).unwrap();
    assert_eq!(claimed.key_id(), edge_id());
    assert_eq!(trust().verify(&claimed), Err(Refusal::BadSignature));
}

#[test]
fn an_edge_key_never_signs_firmware_or_logic_whatever_its_delegation_says() {
    let mut store = TrustStore::new(&[public(&root_key())]).unwrap();
    store.add_record(&Delegation { kinds: KindMask(0xFF), ..delegation() }.sign(&root_key())).unwrap();
    for kind in [ComponentKind::Firmware, ComponentKind::Logic] {
        let manifest = Manifest { kind, ..good() };
        assert_eq!(store.verify(&signed(manifest.clone(), &edge_key())), Err(Refusal::KindNotAllowed(kind)));
        assert!(store.verify(&signed(manifest, &root_key())).is_ok());
    }
    for kind in [ComponentKind::Model, ComponentKind::Policy] {
        assert!(store.verify(&signed(Manifest { kind, ..good() }, &edge_key())).is_ok());
    }
}

#[test]
fn an_edge_key_stays_within_its_delegation() {
    let mut store = TrustStore::new(&[public(&root_key())]).unwrap();
    let narrow = Delegation {
        kinds: ComponentKind::Policy.mask(),
        classes: ClassMask::of(common::CLASS),
        size_cap: 999,
        ..delegation()
    };
    store.add_record(&narrow.sign(&root_key())).unwrap();
    let refusal = |m| store.verify(&signed(m, &edge_key())).unwrap_err();
    assert_eq!(refusal(good()), Refusal::KindNotAllowed(ComponentKind::Model));
    let policy = Manifest { kind: ComponentKind::Policy, ..good() };
    assert_eq!(refusal(policy.clone()), Refusal::TooLarge { cap: 999, size: 1000 });
    let classes = ClassMask(policy.classes.0 | 1 << 31);
    assert_eq!(refusal(Manifest { classes, ..policy.clone() }), Refusal::ClassNotAllowed);
    assert!(store.verify(&signed(Manifest { size: 999, ..policy.clone() }, &edge_key())).is_ok());
    // A small delta that makes a large image.
    let result = ImageIdentity { digest: [7; 32], size: 1001 };
    let delta = Some(Delta { replaces: [1; 8], result });
    let delta = Manifest { size: 999, base_id: [0; 8], delta, ..policy };
    assert_eq!(refusal(delta), Refusal::TooLarge { cap: 999, size: 1001 });
}

#[test]
fn only_roots_delegate_and_revoke() {
    let mut store = trust();
    let other = Delegation { public_key: public(&other_key(9)), ..delegation() };
    assert_eq!(store.add_record(&other.sign(&edge_key())), Err(RecordError::NotByRoot));
    let revocation = Revocation { key_id: edge_id(), epoch: 9 };
    assert_eq!(store.add_record(&revocation.sign(&edge_key())), Err(RecordError::NotByRoot));
    // Root's key id, another's signature: the id is 8 bytes after the header's 10.
    let mut forged = revocation.sign(&edge_key());
    let id = KeyId::of(&public(&root_key()));
    let at = forged.windows(8).position(|w| w == edge_id().0).unwrap();
    forged[at..at + 8].copy_from_slice(&id.0);
    assert_eq!(store.add_record(&forged), Err(RecordError::BadSignature));
    assert!(store.verify(&signed(good(), &edge_key())).is_ok(), "nothing was revoked");
}

#[test]
fn a_root_key_cannot_be_delegated_or_a_weak_key_used() {
    let mut store = trust();
    let root = Delegation { public_key: public(&root_key()), ..delegation() };
    assert_eq!(store.add_record(&root.sign(&root_key())), Err(RecordError::KeyClash));
    // The neutral element: any message has a signature under it.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = Delegation { public_key: neutral, ..delegation() };
    assert_eq!(store.add_record(&weak.sign(&root_key())), Err(RecordError::BadSignature));
    assert!(TrustStore::new(&[neutral]).is_none());
    assert!(TrustStore::new(&[]).is_none());
    assert!(TrustStore::new(&[public(&root_key()); 4]).is_none());
}

#[test]
fn revocation_holds_against_replayed_delegations_in_any_order() {
    let old = delegation().sign(&root_key());
    let revocation = Revocation { key_id: edge_id(), epoch: 2 }.sign(&root_key());
    let renewed = Delegation { epoch: 2, ..delegation() }.sign(&root_key());
    let claimed = signed(good(), &edge_key());

    let mut store = trust();
    assert_eq!(store.add_record(&revocation), Ok(RecordChange::Revoked(edge_id())));
    assert_eq!(store.add_record(&revocation), Ok(RecordChange::Unchanged));
    assert_eq!(store.verify(&claimed), Err(Refusal::Revoked(edge_id())));
    assert_eq!(store.add_record(&old), Err(RecordError::Outdated));
    assert_eq!(store.add_record(&renewed), Ok(RecordChange::Delegated(edge_id())));
    assert!(store.verify(&claimed).is_ok());

    let mut store = TrustStore::new(&[public(&root_key())]).unwrap();
    assert_eq!(store.add_record(&revocation), Ok(RecordChange::Revoked(edge_id())));
    assert_eq!(store.add_record(&old), Err(RecordError::Outdated));
    assert_eq!(store.verify(&claimed), Err(Refusal::Revoked(edge_id())));
}

#[test]
fn a_delegation_is_replaced_by_a_higher_epoch_only() {
    let mut store = trust();
    let same = delegation().sign(&root_key());
    assert_eq!(store.add_record(&same), Ok(RecordChange::Known(edge_id())));
    let narrower = |epoch| Delegation { size_cap: 1, epoch, ..delegation() }.sign(&root_key());
    assert_eq!(store.add_record(&narrower(1)), Err(RecordError::Outdated));
    assert_eq!(store.add_record(&narrower(2)), Ok(RecordChange::Delegated(edge_id())));
    assert_eq!(store.add_record(&same), Err(RecordError::Outdated));
    assert!(matches!(store.verify(&signed(good(), &edge_key())), Err(Refusal::TooLarge { cap: 1, .. })));
}

#[test]
fn tables_are_bounded_and_nothing_is_forgotten_to_make_room() {
    let mut store = trust();
    for n in 0..MAX_DELEGATIONS as u8 {
        let record =
            Delegation { public_key: public(&other_key(0x40 + n)), ..delegation() }.sign(&root_key());
        let result = store.add_record(&record);
        assert_eq!(result.is_ok(), usize::from(n) + 1 < MAX_DELEGATIONS, "{n}");
    }
    assert!(store.verify(&signed(good(), &edge_key())).is_ok());
    for n in 0..=MAX_REVOCATIONS as u8 {
        let result = store.add_record(&Revocation { key_id: KeyId([n + 1; 8]), epoch: 1 }.sign(&root_key()));
        assert_eq!(result.is_err(), usize::from(n) == MAX_REVOCATIONS, "{n}");
    }
    // Revoking every key below an epoch makes room and voids the old delegations.
    assert!(store.add_record(&Revocation { key_id: ALL_KEYS, epoch: 2 }.sign(&root_key())).is_ok());
    assert_eq!(store.delegations().count(), 0);
    assert_eq!(store.verify(&signed(good(), &edge_key())), Err(Refusal::UnknownKey(edge_id())));
    assert_eq!(store.add_record(&delegation().sign(&root_key())), Err(RecordError::Outdated));
    assert!(store.add_record(&Delegation { epoch: 2, ..delegation() }.sign(&root_key())).is_ok());
    assert!(store.add_record(&Revocation { key_id: KeyId([1; 8]), epoch: 3 }.sign(&root_key())).is_ok());
}

#[test]
fn a_device_takes_only_what_is_for_it_and_newer() {
    let store = trust();
    let admit = |manifest: Manifest, target: Target, installed: Installed| {
        store.verify(&signed(manifest, &root_key())).unwrap().admit(&target, &installed)
    };
    let none = Installed::default();
    assert_eq!(admit(good(), target(), none), Ok(()));
    assert_eq!(admit(good(), Target { class: 4, ..target() }, none), Err(Refusal::WrongClass));
    assert_eq!(admit(good(), Target { class: 200, ..target() }, none), Err(Refusal::WrongClass));
    assert_eq!(admit(good(), Target { task: 8, ..target() }, none), Err(Refusal::WrongComponent));
    let policy = Target { kind: ComponentKind::Policy, ..target() };
    assert_eq!(admit(good(), policy, none), Err(Refusal::WrongComponent));
    assert_eq!(admit(good(), Target { base_id: [0; 8], ..target() }, none), Err(Refusal::WrongBase));
    let free = Manifest { base_id: [0; 8], ..good() };
    assert_eq!(admit(free, Target { base_id: [9; 8], ..target() }, none), Ok(()));
    let small = Target { flash: 999, ..target() };
    assert_eq!(admit(good(), small, none), Err(Refusal::NoFlash { need: 1000, have: 999 }));
    let small = Target { ram: 2047, ..target() };
    assert_eq!(admit(good(), small, none), Err(Refusal::NoRam { need: 2048, have: 2047 }));

    let has = |floor| Installed { floor: Some(floor), digest: Some([1; 8]) };
    assert_eq!(admit(good(), target(), has(4)), Ok(()));
    assert_eq!(admit(good(), target(), has(5)), Err(Refusal::Rollback { have: 5, offered: 5 }));
    assert_eq!(admit(good(), target(), has(6)), Err(Refusal::Rollback { have: 6, offered: 5 }));

    let result = ImageIdentity { digest: [7; 32], size: 2000 };
    let delta = |id| Manifest { base_id: [0; 8], delta: Some(Delta { replaces: [id; 8], result }), ..good() };
    assert_eq!(admit(delta(1), target(), has(4)), Ok(()));
    assert_eq!(admit(delta(2), target(), has(4)), Err(Refusal::WrongPredecessor));
    assert_eq!(admit(delta(1), target(), none), Err(Refusal::WrongPredecessor));
    // It is the image that has to fit.
    let small = Target { flash: 1999, ..target() };
    assert_eq!(admit(delta(1), small, has(4)), Err(Refusal::NoFlash { need: 2000, have: 1999 }));
}

#[test]
fn needs_are_held_against_what_the_device_has() {
    let (own, firmware) = (
        Need { kind: ComponentKind::Model, task: common::TASK, sequence: 3 },
        Need { kind: ComponentKind::Firmware, task: 0, sequence: 7 },
    );
    let manifest = Manifest { needs: Needs::from_array([own, firmware]), ..good() };
    let verified = trust().verify(&signed(manifest, &edge_key())).unwrap();
    let admit = |has: &[Need]| {
        let has = heapless::Vec::from_slice(has).unwrap();
        verified.admit(&Target { has, ..target() }, &Installed::default())
    };
    let at = |need: Need, sequence| Need { sequence, ..need };
    assert_eq!(admit(&[]), Err(Refusal::MissingNeed(own)));
    assert_eq!(admit(&[own]), Err(Refusal::MissingNeed(firmware)));
    assert_eq!(admit(&[at(own, 2), firmware]), Err(Refusal::MissingNeed(own)));
    assert_eq!(admit(&[own, at(firmware, 6)]), Err(Refusal::MissingNeed(firmware)));
    assert_eq!(admit(&[own, Need { task: 1, ..firmware }]), Err(Refusal::MissingNeed(firmware)));
    assert_eq!(
        admit(&[own, Need { kind: ComponentKind::Logic, ..firmware }]),
        Err(Refusal::MissingNeed(firmware))
    );
    assert_eq!(admit(&[at(firmware, 8), own]), Ok(()));
}
