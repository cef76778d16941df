//! What there is outside the device: images, the objects that lead from one to another, keys.

use anyhow::{Context as _, Result, anyhow};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delta, Encoder, ImageIdentity, Manifest,
    ObjectIdentity, SliceSource, TrustStore, VerifiedManifest, boot::NativeImage, build_stream,
};
use compotastic_delta::encode::{Hint, encode};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use super::diff::diff;

/// The device's class.
pub const CLASS: u8 = 3;

/// What objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// A plain difference: quick, for the many runs.
    Plain,
    /// What goes on the air: decoding takes longer than all else.
    Delta,
}

/// A flash and what is in it.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Name, for people.
    pub name: &'static str,
    /// What the boot loader copies at once, in bytes, rounded up to erase units.
    pub page: u32,
    /// Size of the images, in bytes, about.
    pub image_len: usize,
    /// Half of the boot log, in bytes, rounded up to erase units.
    pub log_half: u32,
    /// What objects are.
    pub coding: Coding,
}

/// An image that was published.
#[derive(Debug)]
pub struct Image {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What tells it apart.
    pub identity: NativeImage,
}

/// What leads from one image to another.
#[derive(Debug)]
pub struct Patch {
    /// Sequences.
    pub from: u32,
    pub to: u32,
    stream: Vec<u8>,
    /// Signed by the root key.
    pub manifest: VerifiedManifest,
}

impl Patch {
    /// A symbol of it.
    pub fn symbol(&self, generation: u8, id: u16) -> Vec<u8> {
        let object = self.manifest.object();
        let mut out = vec![0; usize::from(object.layout.piece_size())];
        let encoder = Encoder::new(object.layout, object.tag());
        let len = encoder.symbol(generation, id, &mut SliceSource(&self.stream), &mut out).unwrap_or(0);
        out.truncate(len);
        out
    }

    /// Size of its content in bytes.
    pub fn object_len(&self) -> usize {
        self.manifest.object().layout.size() as usize
    }
}

/// All of it.
#[derive(Debug)]
pub struct World {
    /// Sequences 1, 2 and 3.
    pub images: [Image; 3],
    /// From 1 to 2, from 2 to 3, and from 1 to 3.
    pub patches: [Patch; 3],
    /// What every device believes.
    pub trust: TrustStore,
    /// The signed manifest of the first image.
    pub first_proof: Vec<u8>,
    /// What objects are.
    pub coding: Coding,
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// The next version of an image: some bytes changed, some put in, some taken out.
fn changed(old: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut new = old.to_vec();
    for _ in 0..6 {
        let at = draw.below(new.len() - 60);
        let (out, into) = (draw.below(60), draw.below(500));
        let put = draw.bytes(into);
        new.splice(at..at + out, put);
    }
    new
}

impl World {
    /// Draws it.
    pub fn new(image_len: usize, coding: Coding, seed: u64) -> Result<Self> {
        let mut draw = Draw(seed);
        let key = SigningKey::from_bytes(&draw.bytes(32).try_into().map_err(|_| anyhow!("no key"))?);
        let trust = TrustStore::new(&[key.verifying_key().to_bytes()]).context("the root key")?;
        let one = draw.bytes(image_len);
        let two = changed(&one, &mut draw);
        let three = changed(&two, &mut draw);
        let sequences = 1..;
        let images = [one, two, three].into_iter().zip(sequences).map(|(bytes, sequence)| {
            let (digest, size) = (Sha256::digest(&bytes).into(), bytes.len() as u32);
            // The second one closes the way back to the first, once it is confirmed.
            Image { identity: NativeImage { digest, size, sequence, floor: sequence.min(2) }, bytes }
        });
        let images: [Image; 3] =
            images.collect::<Vec<_>>().try_into().map_err(|_| anyhow!("three images"))?;
        let patch = |from: usize, to: usize| -> Result<Patch> {
            let (old, new) = (&images[from], &images[to]);
            let content = match coding {
                Coding::Plain => diff(&old.bytes, &new.bytes),
                Coding::Delta => {
                    let encoded = encode(&old.bytes, &new.bytes, Hint::Unknown);
                    encoded.map_err(|e| anyhow!("no patch: {e:?}"))?.bytes
                }
            };
            let (stream, object) = stream(&content)?;
            let replaces = identity(&old.identity).digest8();
            let delta = Delta { replaces, result: identity(&new.identity) };
            let manifest = Manifest { delta: Some(delta), ..manifest(&object, &new.identity) };
            let claimed = ClaimedManifest::sign(manifest, &key).map_err(|e| anyhow!("{e}"))?;
            let manifest = trust.verify(&claimed).map_err(|e| anyhow!("{e}"))?;
            Ok(Patch { from: old.identity.sequence, to: new.identity.sequence, stream, manifest })
        };
        let patches = [patch(0, 1)?, patch(1, 2)?, patch(0, 2)?];
        let (_, object) = stream(&images[0].bytes)?;
        let first = ClaimedManifest::sign(manifest(&object, &images[0].identity), &key);
        let first_proof = first.map_err(|e| anyhow!("{e}"))?.to_packed().to_vec();
        Ok(Self { images, patches, trust, first_proof, coding })
    }

    /// The object that leads from one image to another.
    pub fn patch(&self, from: u32, to: u32) -> Option<&Patch> {
        self.patches.iter().find(|patch| patch.from == from && patch.to == to)
    }
}

fn stream(content: &[u8]) -> Result<(Vec<u8>, ObjectIdentity)> {
    let mut stream = vec![0; 2 * content.len() + 64];
    let object = build_stream(content, DEFAULT_PIECE_SIZE, &mut stream).context("no object")?;
    stream.truncate(object.layout.stream_len() as usize);
    Ok((stream, object))
}

fn identity(image: &NativeImage) -> ImageIdentity {
    ImageIdentity { digest: image.digest, size: image.size }
}

fn manifest(object: &ObjectIdentity, image: &NativeImage) -> Manifest {
    let classes = ClassMask::of(CLASS);
    Manifest {
        floor: image.floor,
        ..Manifest::of(object, ComponentKind::Firmware, 0, image.sequence, classes)
    }
}
