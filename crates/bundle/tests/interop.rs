//! An envelope of ours is read by a public SUIT parser, the crate `suit_validator`, which follows draft-34; and by the
//! Python packages cbor2 and pycose, which also write one for us to read.

mod common;

use common::{Bundle, content, edge_key, public, root_key};
use compotastic_bundle::{
    Authority, ClaimedManifest, ClassMask, ComponentKind, Delta, ImageIdentity, Manifest, ManifestError,
    Need, Needs, Refusal, build_stream, verify,
};
use coset::{CoseSign1, TaggedCborSerializable};
use ed25519_dalek::{Signature, VerifyingKey};
use hex_literal::hex;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use suit_validator::SuitError;
use suit_validator::crypto::SuitCrypto;
use suit_validator::handler::{PairView, SuitCommandHandler, SuitSharedSequenceHandler, SuitStartHandler};
use suit_validator::suit_manifest::{
    CommandCustomValue, DigestOrCbor, HashAlg, SuitCondition, SuitDirective, SuitEnvelope, SuitManifest,
    SuitSharedCommand,
};

/// The parser asks for the signature check; coset reads the COSE structure, dalek does Ed25519.
struct Ed25519([u8; 32]);

impl SuitCrypto for Ed25519 {
    fn verify_cose(&self, authentication: &[u8], digest: &[u8]) -> Result<(), SuitError> {
        let sign1 = CoseSign1::from_tagged_slice(authentication).map_err(|_| SuitError::default())?;
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SuitError::default())?;
        sign1
            .verify_detached_signature(digest, b"", |signature, data| {
                key.verify_strict(data, &Signature::from_slice(signature)?)
            })
            .map_err(|_| SuitError::default())
    }
}

/// What the parser found, put together from its callbacks.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    sequence: u64,
    component: Vec<Vec<u8>>,
    vendor: Vec<u8>,
    class: Vec<u8>,
    digest: Vec<u8>,
    size: u64,
    uri: String,
    /// Conditions in their order: labels.
    shared: Vec<i64>,
    validate: Vec<i64>,
    install: Vec<i64>,
    directives: Vec<i64>,
    customs: Vec<i64>,
}

struct Reader(Seen);

/// Which command sequence the callbacks speak of.
struct Commands<'a>(&'a mut Seen, bool);

impl SuitStartHandler for Reader {
    fn on_envelope<'a>(&mut self, envelope: SuitEnvelope<'a>) -> Result<(), SuitError> {
        let manifest = envelope.manifest.get()?;
        assert_eq!(manifest.version, 1);
        self.0.sequence = manifest.sequence_number;
        let common = manifest.common.get()?;
        for component in common.components.get()? {
            self.0.component =
                component?.get()?.map(|part| Ok(part?.to_vec())).collect::<Result<_, SuitError>>()?;
        }
        common.shared_seq.expect("a shared sequence").get()?.decode_and_dispatch(self)?;
        let validate = manifest.validate.expect("a validate sequence").get()?;
        validate.decode_and_dispatch(&mut Commands(&mut self.0, false))?;
        match manifest.install.expect("an install sequence") {
            DigestOrCbor::Cbor(install) => {
                install.get()?.decode_and_dispatch(&mut Commands(&mut self.0, true))
            }
            DigestOrCbor::Digest(_) => panic!("the install sequence is not severed"),
        }
    }

    fn on_manifest<'a>(&mut self, _: SuitManifest<'a>) -> Result<(), SuitError> {
        panic!("an envelope, not a bare manifest")
    }
}

impl SuitSharedSequenceHandler for Reader {
    fn on_conditions<'a>(
        &mut self,
        conditions: impl Iterator<Item = PairView<'a, SuitCondition>>,
    ) -> Result<(), SuitError> {
        self.0.shared = conditions.map(|pair| pair.get().map(|_| pair.op())).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn on_commands<'a>(
        &mut self,
        commands: impl Iterator<Item = PairView<'a, SuitSharedCommand<'a>>>,
    ) -> Result<(), SuitError> {
        for pair in commands {
            let SuitSharedCommand::OverrideParameters(parameters) = pair.get()? else {
                panic!("{}", pair.op())
            };
            let digest = parameters.image_digest.expect("a digest");
            let digest = digest.get()?;
            assert!(matches!(digest.hash_alg, HashAlg::Sha256));
            self.0.digest = digest.bytes.to_vec();
            self.0.size = parameters.image_size.expect("a size");
            self.0.vendor = parameters.vendor_identifier.expect("a vendor").to_vec();
            self.0.class = parameters.class_identifier.expect("a class").to_vec();
        }
        Ok(())
    }
}

impl SuitCommandHandler for Commands<'_> {
    fn on_conditions<'a>(
        &mut self,
        conditions: impl Iterator<Item = PairView<'a, SuitCondition>>,
    ) -> Result<(), SuitError> {
        let labels = conditions.map(|pair| pair.get().map(|_| pair.op())).collect::<Result<_, _>>()?;
        if self.1 {
            self.0.install = labels
        } else {
            self.0.validate = labels
        }
        Ok(())
    }

    fn on_directives<'a>(
        &mut self,
        directives: impl Iterator<Item = PairView<'a, SuitDirective<'a>>>,
    ) -> Result<(), SuitError> {
        for pair in directives {
            self.0.directives.push(pair.op());
            if let SuitDirective::OverrideParameters(parameters) = pair.get()? {
                self.0.uri = parameters.uri.expect("a URI").to_string();
            }
        }
        Ok(())
    }

    fn on_customs<'a>(
        &mut self,
        customs: impl Iterator<Item = PairView<'a, CommandCustomValue<'a>>>,
    ) -> Result<(), SuitError> {
        for pair in customs {
            assert!(matches!(pair.get()?, CommandCustomValue::Nil));
            self.0.customs.push(pair.op());
        }
        Ok(())
    }
}

fn read(envelope: &[u8], signer: [u8; 32]) -> Result<Seen, SuitError> {
    let mut reader = Reader(Seen::default());
    suit_validator::suit_decode(envelope, &mut reader, &mut Ed25519(signer))?;
    Ok(reader.0)
}

fn whole() -> Manifest {
    Bundle::new(content(1000, 1), 5).manifest.manifest().clone()
}

fn delta() -> Manifest {
    let result = ImageIdentity { digest: [0xD1; 32], size: 250_000 };
    Manifest {
        kind: ComponentKind::Firmware,
        task: 0,
        floor: 4,
        base_id: [0; 8],
        needs: Needs::from_slice(&[Need { kind: ComponentKind::Firmware, task: 0, sequence: 2 }]).unwrap(),
        delta: Some(Delta { replaces: *b"previous", result }),
        ..whole()
    }
}

#[test]
fn a_public_parser_reads_every_field_that_is_suits() {
    for manifest in [whole(), delta()] {
        let envelope = ClaimedManifest::sign(manifest.clone(), &root_key()).unwrap().to_envelope();
        let seen = read(&envelope, public(&root_key())).unwrap();
        let image = manifest.image();
        let class =
            [&[0x41, 0x10, 0xBF, 0xC3, 0x77, 0x40, 0x8A, 0x2D, 0x96, 0x23, 0x62, 0x6F][..], &[0, 0, 0, 8]];
        assert_eq!(
            seen,
            Seen {
                sequence: 5,
                component: vec![vec![manifest.kind as u8], vec![manifest.task]],
                vendor: vec![
                    0xE9, 0x98, 0xFD, 0xCC, 0xCE, 0x2D, 0x5E, 0x00, 0xA4, 0xCD, 0xC5, 0x88, 0xEB, 0xC4, 0x17,
                    0x61
                ],
                class: class.concat(),
                digest: image.digest.to_vec(),
                size: u64::from(image.size),
                uri: "#c".to_string(),
                shared: vec![1, 2],
                validate: vec![3],
                install: vec![3],
                directives: vec![20, 21],
                customs: vec![-257],
            }
        );
    }
}

#[test]
fn a_public_parser_refuses_what_we_refuse() {
    let envelope = ClaimedManifest::sign(whole(), &root_key()).unwrap().to_envelope();
    assert!(read(&envelope, public(&edge_key())).is_err(), "another key");
    // Whatever byte of the manifest or of its digest is altered, the public parser refuses too. Of the signature's frame it
    // lets some bytes pass (key id and tags are not signed); ours does not.
    let manifest = envelope.len() - 1 - whole_len(&envelope);
    for at in 0..envelope.len() {
        let mut altered = envelope.clone();
        altered[at] ^= 1;
        assert!(
            ClaimedManifest::parse(&altered).map(|c| common::trust().verify(&c).is_err()).unwrap_or(true),
            "{at}"
        );
        if at > manifest {
            assert!(read(&altered, public(&root_key())).is_err(), "byte {at}");
        }
    }
}

/// Length of the manifest inside an envelope with a head of one byte of length.
fn whole_len(envelope: &[u8]) -> usize {
    let at = envelope.windows(2).position(|w| w == [0x03, 0x58]).expect("the manifest's head");
    usize::from(envelope[at + 2])
}

/// Straight to standard error, which the test harness does not hold back.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// `tests/data/bundle/envelopes.py` reads our vectors with cbor2 and pycose, and gives an envelope that they wrote.
fn envelope_by_python(arguments: &[&str]) -> Option<Vec<u8>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/bundle/envelopes.py");
    let output = match Command::new("python3").arg(script).args(arguments).output() {
        Ok(output) => output,
        Err(e) => {
            say(&format!("SKIPPED: python3: {e}"));
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.starts_with("SKIPPED") {
        say(&said);
        return None;
    }
    assert!(output.status.success(), "{said}");
    let hex = String::from_utf8(output.stdout).unwrap();
    let digits = hex.trim().as_bytes();
    Some(
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect(),
    )
}

#[test]
fn python_packages_read_our_envelopes_and_we_read_theirs() {
    let Some(envelope) = envelope_by_python(&[]) else { return };
    let verified = verify(&envelope, &common::trust()).unwrap();
    assert_eq!(verified.authority(), Authority::Root);
    let content = [&b"a policy by other tools"[..], &[b'.'; 41]].concat();
    let mut stream = [0; 64];
    let object = build_stream(&content, 176, &mut stream).unwrap();
    let expected = Manifest {
        floor: 3,
        ram: 512,
        flash: 4096,
        needs: Needs::from_slice(&[Need { kind: ComponentKind::Firmware, task: 0, sequence: 9 }]).unwrap(),
        ..Manifest::of(&object, ComponentKind::Policy, 7, 8, ClassMask(0b1010))
    };
    assert_eq!(*verified.manifest(), expected);
    // The packed form of it needs no more than what was read.
    let packed = verified.claimed().to_packed();
    assert_eq!(verify(&packed, &common::trust()).unwrap(), verified);

    let wrong = envelope_by_python(&["--wrong"]).expect("it was there a moment ago");
    assert_eq!(verify(&wrong, &common::trust()), Err(Refusal::Manifest(ManifestError::Digest)));
}

/// Example 0 of the draft is a SUIT envelope, but not of our profile: other signature algorithm, no install sequence.
#[test]
fn the_drafts_own_example_is_refused_with_a_reason() {
    let example = hex!(
        "d86ba2025873825824822f58206658ea560262696dd1f13b782239a064da7c6c5cbaf52fded428a6fc83c7e5af584ad28443"
        "a10126a0f65840408d0816f9b510749bf6a51b066951e08a4438f849eb092a1ac768eed9de696c1b1dd35d82ef149e6a73a6"
        "1976ad2cfe78444b8064293350a122f332cb49f0da035871a50101020003585fa202818141000458568614a40150fa6b4a53"
        "d5ad5fdfbe9de663e4d41ffe02501492af1425695e48bf429b2d51f2ab45035824822f582000112233445566778899aabbcc"
        "ddeeff0123456789abcdeffedcba98765432100e1987d0010f020f074382030f0943821702"
    );
    assert_eq!(example.len(), 237, "as the draft says");
    assert_eq!(ClaimedManifest::parse(&example), Err(ManifestError::Malformed));
}
