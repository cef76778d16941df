//! What somebody may try who can say anything to a device: none of it is installed, none makes its memory grow, and nothing of
//! the content in force is touched. What needs a swarm is in `crates/sim/tests/attacks.rs`.

mod common;

use common::{
    Bundle, CLASS, Flash, Lcg, content, delegation, edge_key, geometry, manifest_of, public, root_key, target,
};
use compotastic_bundle::{
    ALL_KEYS, BeginError, ClaimedManifest, ClassMask, ComponentKind, Delegation, Delta, ImageIdentity, KeyId,
    MAX_ENVELOPE, MAX_PACKED, Manifest, ManifestError, ObjectReceiver, Outcome, RecordError, Refusal,
    Refused, Revocation, Slots, SwitchError, Target, TrustStore, VerifiedManifest, verify,
};
use ed25519_dalek::SigningKey;

/// A device with version 5 in force, whose root key is the operator's.
struct Device {
    trust: TrustStore,
    slots: Slots<Flash>,
    target: Target,
    in_force: Vec<u8>,
}

/// How far an offer came.
#[derive(Debug, PartialEq)]
enum End {
    Manifest(Refusal),
    Begin(BeginError<<Flash as embedded_storage::nor_flash::ErrorType>::Error>),
    /// Pieces that were refused, and why there was no switch.
    Content(u32),
    Installed,
}

impl Device {
    fn new() -> Self {
        let mut device = Self {
            trust: common::trust(),
            slots: Slots::open(Flash::new(), geometry()).unwrap(),
            target: target(),
            in_force: Vec::new(),
        };
        let bundle = Bundle::new(content(1500, 5), 5);
        assert_eq!(device.offer(&bundle.manifest.claimed().to_packed(), pieces(&bundle)), End::Installed);
        device.in_force = bundle.content;
        device
    }

    /// The whole way of a bundle through the device: manifest in either shape, then symbols.
    fn offer(&mut self, manifest: &[u8], symbols: Vec<(u8, u16, Vec<u8>)>) -> End {
        let verified = match verify(manifest, &self.trust) {
            Ok(verified) => verified,
            Err(refusal) => return End::Manifest(refusal),
        };
        if let Err(error) = self.slots.begin(&verified, Some(&self.target)) {
            return End::Begin(error);
        }
        self.receive(&verified, symbols)
    }

    fn receive(&mut self, verified: &VerifiedManifest, symbols: Vec<(u8, u16, Vec<u8>)>) -> End {
        let mut store = self.slots.store().unwrap();
        let mut receiver = ObjectReceiver::resume(verified.object(), &mut store).unwrap();
        let mut refused = 0;
        for (generation, id, data) in symbols {
            let progress = receiver.handle_symbol(generation, id, &data, &mut store).unwrap();
            refused += u32::from(matches!(progress.outcome, Outcome::Refused(_)));
        }
        match self.slots.switch() {
            Ok(_) => {
                assert!(self.slots.confirm().unwrap());
                End::Installed
            }
            Err(SwitchError::Digest) => End::Content(refused),
            Err(error) => panic!("{error}"),
        }
    }

    /// Version 5 is in force, as it was, after a restart too.
    fn ends_untouched(self) {
        Self::check(&self.slots, &self.in_force);
        let again = Slots::open(self.slots.into_flash(), geometry()).unwrap();
        Self::check(&again, &self.in_force);
    }

    fn check(slots: &Slots<Flash>, in_force: &[u8]) {
        let active = slots.active().expect("something is in force");
        assert_eq!((active.manifest.sequence, active.on_trial), (5, false));
        let content = active.content.start as usize..active.content.end as usize;
        assert_eq!(slots.flash().bytes()[content], *in_force);
    }
}

fn pieces(bundle: &Bundle) -> Vec<(u8, u16, Vec<u8>)> {
    bundle.pieces().map(|(generation, id)| (generation, id, bundle.symbol(generation, id))).collect()
}

fn newer() -> Bundle {
    Bundle::new(content(700, 6), 6)
}

/// `bundle` with another manifest, signed by `key`.
fn signed(manifest: Manifest, key: &SigningKey) -> Vec<u8> {
    ClaimedManifest::sign(manifest, key).unwrap().to_packed().to_vec()
}

fn thief() -> SigningKey {
    SigningKey::from_bytes(&[0x66; 32])
}

#[test]
fn altered_manifest_or_signature() {
    let mut device = Device::new();
    let bundle = newer();
    let claimed = bundle.manifest.claimed();
    let mut tried = 0;
    for shape in [claimed.to_packed().to_vec(), claimed.to_envelope().to_vec()] {
        for at in 0..shape.len() {
            for bit in 0..8 {
                let mut altered = shape.clone();
                altered[at] ^= 1 << bit;
                let end = device.offer(&altered, pieces(&bundle));
                assert!(matches!(end, End::Manifest(_)), "byte {at}, bit {bit}: {end:?}");
                tried += 1;
            }
        }
    }
    println!("{tried} altered manifests, none taken");
    device.ends_untouched();
}

#[test]
fn altered_piece() {
    let bundle = newer();
    let whole = pieces(&bundle);
    let mut device = Device::new();
    let packed = bundle.manifest.claimed().to_packed();
    let mut tried = 0;
    for piece in 0..whole.len() {
        for at in 0..whole[piece].2.len() {
            let mut altered = whole.clone();
            altered[piece].2[at] ^= 1 << (at % 8);
            // The last piece comes first and vouches for the others, so one altered piece may cost those before it as well.
            let end = device.offer(&packed, altered);
            assert!(matches!(end, End::Content(refused) if refused > 0), "piece {piece}, byte {at}: {end:?}");
            device.slots.abandon().unwrap();
            tried += 1;
        }
    }
    println!("{tried} altered pieces, none taken");
    device.ends_untouched();
    // The true pieces are still welcome.
    assert_eq!(Device::new().offer(&packed, whole), End::Installed);
}

#[test]
fn altered_delegation() {
    let record = delegation().sign(&root_key());
    let mut device = Device::new();
    device.trust = TrustStore::new(&[public(&root_key())]).unwrap();
    for at in 0..record.len() {
        for bit in 0..8 {
            let mut altered = record.clone();
            altered[at] ^= 1 << bit;
            assert!(device.trust.add_record(&altered).is_err(), "byte {at}, bit {bit}");
        }
    }
    assert_eq!(device.trust.delegations().count(), 0);
    let (bundle, edge) = (newer(), KeyId::of(&public(&edge_key())));
    let end = device.offer(&bundle.manifest.claimed().to_packed(), pieces(&bundle));
    assert_eq!(end, End::Manifest(Refusal::UnknownKey(edge)));
    device.ends_untouched();
}

#[test]
fn wrong_key() {
    let mut device = Device::new();
    let (bundle, id) = (newer(), KeyId::of(&public(&thief())));
    let by_thief = signed(bundle.manifest.manifest().clone(), &thief());
    assert_eq!(device.offer(&by_thief, pieces(&bundle)), End::Manifest(Refusal::UnknownKey(id)));
    // The thief delegates to himself.
    let own = Delegation { public_key: public(&thief()), ..delegation() };
    assert_eq!(device.trust.add_record(&own.sign(&thief())), Err(RecordError::NotByRoot));
    assert_eq!(device.offer(&by_thief, pieces(&bundle)), End::Manifest(Refusal::UnknownKey(id)));
    // He uses another's name: the key id stands before the signature.
    let mut named = by_thief.clone();
    named[72..80].copy_from_slice(&KeyId::of(&public(&root_key())).0);
    assert_eq!(device.offer(&named, pieces(&bundle)), End::Manifest(Refusal::BadSignature));
    // An edge key that is believed, but not for firmware.
    let firmware = Manifest { kind: ComponentKind::Firmware, ..bundle.manifest.manifest().clone() };
    let refusal = Refusal::KindNotAllowed(ComponentKind::Firmware);
    assert_eq!(device.offer(&signed(firmware, &edge_key()), pieces(&bundle)), End::Manifest(refusal));
    device.ends_untouched();
}

#[test]
fn revoked_key() {
    let (bundle, id) = (newer(), KeyId::of(&public(&edge_key())));
    for whom in [id, ALL_KEYS] {
        let mut device = Device::new();
        let revocation = Revocation { key_id: whom, epoch: 2 };
        device.trust.add_record(&revocation.sign(&root_key())).unwrap();
        let end = device.offer(&bundle.manifest.claimed().to_packed(), pieces(&bundle));
        assert!(matches!(end, End::Manifest(Refusal::Revoked(_) | Refusal::UnknownKey(_))), "{end:?}");
        // The delegation from before is sent again, in the air for everybody to record.
        let replayed = device.trust.add_record(&delegation().sign(&root_key()));
        assert_eq!(replayed, Err(RecordError::Outdated));
        let end = device.offer(&bundle.manifest.claimed().to_envelope(), pieces(&bundle));
        assert!(matches!(end, End::Manifest(_)), "{end:?}");
        device.ends_untouched();
    }
}

#[test]
fn replayed_older_bundle() {
    let mut device = Device::new();
    for sequence in 0..=5 {
        let bundle = Bundle::new(content(700, 7), sequence);
        let refusal = Refusal::Rollback { have: 5, offered: sequence };
        let end = device.offer(&bundle.manifest.claimed().to_packed(), pieces(&bundle));
        assert_eq!(end, End::Begin(BeginError::Refused(refusal)));
    }
    device.ends_untouched();
}

#[test]
fn downgraded_version() {
    // Version 9 says that nothing below 8 may run again. It is damaged; then somebody offers what ran before.
    let mut device = Device::new();
    let nine = Bundle::new(content(900, 9), 9);
    let manifest = Manifest { floor: 8, ..nine.manifest.manifest().clone() };
    assert_eq!(device.offer(&signed(manifest, &edge_key()), pieces(&nine)), End::Installed);
    let at = device.slots.active().unwrap().content.start as usize;
    let mut flash = device.slots.into_flash();
    flash.bytes_mut()[at] ^= 1;
    device.slots = Slots::open(flash, geometry()).unwrap();
    for sequence in [0, 4, 5, 7] {
        let bundle = Bundle::new(content(700, 7), sequence);
        let end = device.offer(&bundle.manifest.claimed().to_packed(), pieces(&bundle));
        assert!(
            matches!(end, End::Begin(BeginError::Refused(Refusal::Rollback { .. }))),
            "{sequence}: {end:?}"
        );
    }
    if let Some(active) = device.slots.active() {
        assert!(active.manifest.sequence >= 8, "{}", active.manifest.sequence);
    }
    // A floor above the version itself would brick: nobody can sign one.
    let absurd = Manifest { floor: 10, ..nine.manifest.manifest().clone() };
    assert_eq!(ClaimedManifest::sign(absurd, &root_key()), Err(ManifestError::Floor));
}

#[test]
fn wrong_device_class() {
    let bundle = newer();
    for class in (0..=255).filter(|class| *class != CLASS) {
        let mut device = Device::new();
        device.target.class = class;
        let end = device.offer(&bundle.manifest.claimed().to_packed(), pieces(&bundle));
        assert_eq!(end, End::Begin(BeginError::Refused(Refusal::WrongClass)), "{class}");
        if class % 64 == 0 {
            device.ends_untouched();
        }
    }
    let nobody = Manifest { classes: ClassMask(0), ..bundle.manifest.manifest().clone() };
    assert_eq!(ClaimedManifest::sign(nobody, &root_key()), Err(ManifestError::NoClass));
}

#[test]
fn oversized_manifest_and_content() {
    let mut device = Device::new();
    let bundle = newer();
    // Longer than any manifest can be: read no further than its end should be.
    let mut rng = Lcg(3);
    for shape in
        [bundle.manifest.claimed().to_packed().to_vec(), bundle.manifest.claimed().to_envelope().to_vec()]
    {
        for more in [1, 100, 10_000, 1_000_000] {
            let mut long = shape.clone();
            long.extend((0..more).map(|_| rng.next() as u8));
            assert!(matches!(device.offer(&long, pieces(&bundle)), End::Manifest(Refusal::Manifest(_))));
        }
    }
    // A length inside that promises four gigabytes.
    let promise = [&[0xD8, 0x6B, 0xA2, 0x02, 0x5A, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0; 200]].concat();
    assert!(matches!(device.offer(&promise, Vec::new()), End::Manifest(Refusal::Manifest(_))));
    // Signed by a key that is believed, but larger than the device or the key's delegation allows.
    let good = bundle.manifest.manifest();
    let huge = Manifest { size: 600_000, flash: 600_000, ..good.clone() };
    let end = device.offer(&signed(huge, &edge_key()), Vec::new());
    assert!(matches!(end, End::Begin(BeginError::Refused(Refusal::NoFlash { .. }))), "{end:?}");
    let larger = Manifest { size: (1 << 20) + 1, piece_size: 1024, ..good.clone() };
    assert!(matches!(
        device.offer(&signed(larger, &edge_key()), Vec::new()),
        End::Manifest(Refusal::TooLarge { .. })
    ));
    let most = Manifest { size: u32::MAX, ..good.clone() };
    assert_eq!(ClaimedManifest::sign(most, &root_key()), Err(ManifestError::Pieces));
    let ram = Manifest { ram: u32::MAX, ..good.clone() };
    let end = device.offer(&signed(ram, &edge_key()), Vec::new());
    assert!(matches!(end, End::Begin(BeginError::Refused(Refusal::NoRam { .. }))), "{end:?}");
    device.ends_untouched();
}

/// A small delta that says it makes an image of any size: what it makes is held against the flash before anything is received.
/// That no more than the manifest says comes out of the decoder is shown in `crates/compotastic/tests/bomb.rs`.
#[test]
fn decompression_bomb() {
    let mut device = Device::new();
    let installed = device.slots.installed().digest.unwrap();
    let bundle = newer();
    for size in [60_000, 1 << 20, 1 << 24, u32::MAX] {
        let delta = Delta { replaces: installed, result: ImageIdentity { digest: [1; 32], size } };
        let bomb = Manifest { base_id: [0; 8], delta: Some(delta), ..bundle.manifest.manifest().clone() };
        device.target.flash = device.slots.capacity();
        let end = device.offer(&signed(bomb.clone(), &root_key()), pieces(&bundle));
        assert!(matches!(end, End::Begin(BeginError::Refused(Refusal::NoFlash { .. }))), "{size}: {end:?}");
        // The cap of a delegation holds for what a delta makes.
        if size > 1 << 20 {
            let end = device.offer(&signed(bomb, &edge_key()), Vec::new());
            assert!(matches!(end, End::Manifest(Refusal::TooLarge { .. })), "{end:?}");
        }
    }
    device.ends_untouched();
}

/// Anybody in the swarm can send symbols: they are refused at once or poison one decoding, and then only verified pieces count.
#[test]
fn symbol_pollution() {
    let mut device = Device::new();
    let bundle = newer();
    let verified = &bundle.manifest;
    device.slots.begin(verified, Some(&device.target)).unwrap();
    let mut store = device.slots.store().unwrap();
    let mut receiver = ObjectReceiver::for_object(verified.object());
    let mut rng = Lcg(11);
    let (mut refused, mut poisoned, mut stored) = (0, 0, 0);
    for round in 0..5000_u32 {
        let id = if round % 2 == 0 { rng.below(8) } else { 256 + rng.below(60_000) } as u16;
        let length = if rng.chance(90) { 176 } else { rng.below(300) };
        let data: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
        let progress = receiver.handle_symbol(rng.below(3) as u8, id, &data, &mut store).unwrap();
        match progress.outcome {
            Outcome::Refused(_) => refused += 1,
            Outcome::Poisoned { .. } => poisoned += 1,
            Outcome::Stored => stored += 1,
            Outcome::Redundant => {}
        }
        assert!(!progress.complete);
    }
    println!(
        "5000 forged symbols: {refused} refused, {stored} kept for a decoding, {poisoned} decodings poisoned"
    );
    assert!(receiver.is_poisoned(0) && poisoned <= 1, "once, then only verified pieces are taken");
    assert_eq!(receiver.pieces_present(), 0);
    // Then as many true pieces as there are make it whole.
    for (generation, id) in bundle.pieces() {
        let progress =
            receiver.handle_symbol(generation, id, &bundle.symbol(generation, id), &mut store).unwrap();
        assert_eq!(progress.outcome, Outcome::Stored);
        let coded = receiver.handle_symbol(0, 300, &bundle.symbol(0, 300), &mut store).unwrap();
        let refused = matches!(coded.outcome, Outcome::Refused(Refused::Poisoned) | Outcome::Redundant);
        assert!(refused, "{:?}", coded.outcome);
    }
    assert!(receiver.is_complete());
    device.slots.switch().unwrap();
    assert_eq!(device.slots.active().unwrap().manifest.sequence, 6);
}

/// Manifests and records of strangers, as many as one likes: what a device keeps of them has a size that is known beforehand.
#[test]
fn advertisement_flood() {
    let mut device = Device::new();
    let before = device.slots.flash().operations();
    let mut rng = Lcg(7);
    let object = *newer().manifest.object();
    for sequence in 6..2000 {
        let key = SigningKey::from_bytes(&core::array::from_fn(|_| rng.next() as u8));
        let own = Delegation { public_key: public(&key), ..delegation() };
        assert!(device.trust.add_record(&own.sign(&key)).is_err());
        let end = device.offer(&signed(manifest_of(&object, sequence), &key), Vec::new());
        assert!(matches!(end, End::Manifest(Refusal::UnknownKey(_))), "{end:?}");
    }
    assert_eq!(device.slots.flash().operations(), before, "flash is not worn by what nobody signed");
    assert_eq!(device.trust.delegations().count(), 1);
    // All of it lies in these, whose sizes do not depend on what comes in.
    println!(
        "trust store {} bytes, receiver {}, manifest {} (at most {MAX_PACKED} packed, {MAX_ENVELOPE} as envelope)",
        size_of::<TrustStore>(),
        size_of::<ObjectReceiver>(),
        size_of::<ClaimedManifest>()
    );
    assert!(size_of::<TrustStore>() <= 4096);
    assert!(size_of::<ObjectReceiver>() <= 16 * 1024);
    assert!(size_of::<ClaimedManifest>() <= 320);
    device.ends_untouched();
}
