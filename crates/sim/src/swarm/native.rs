//! Native firmware of simulated nodes: what they run from the factory on, the boot loader that starts it, updates of it, and a look at what
//! is in slot A that asks no node.
//!
//! The images are bytes and no code: whatever runs, a simulated node does the same. What is real is all around them: flash, log, loader,
//! signatures, deltas.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, Delta, ImageIdentity, Layout, Manifest, TrustStore,
    VerifiedManifest,
    boot::{BootError, ImageGeometry, NativeGeometry, NativeImage, RootSigned, provision, start},
    build_stream,
    ramflash::RamFlashError,
};
use compotastic_delta::encode::{Hint, encode};
use compotastic_mesh::rng::Rng;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use super::{Flash, bundles::Large};

/// Slots of the memory map, bytes.
const SLOT_LEN: u32 = 256 * 1024;
const PAGE: u32 = 4096;
/// Place of the object: a delta, or an image of 64 KiB as it is.
const OBJECT_LEN: u32 = 72 * 1024;
/// Room for the symbols of one generation of the largest pieces.
const SPARE_LEN: u32 = 64 * 1024;
/// Bytes of the images that simulations make up.
const IMAGE_LEN: usize = 8 * 1024;
/// Pieces of what simulations make up, bytes.
const PIECE: u16 = 176;

/// Where everything lies in a node's flash for native images.
pub fn geometry() -> Option<NativeGeometry> {
    let longest = SLOT_LEN - PAGE - 512;
    let images = ImageGeometry::packed::<Flash>(0, PAGE, longest, PAGE)?;
    let object = images.end()..images.end() + OBJECT_LEN;
    let spare = object.end..object.end + SPARE_LEN;
    Some(NativeGeometry { images, object, spare })
}

/// An image with its signed manifest, as a programmer puts it into a new device.
#[derive(Clone, Debug)]
pub struct FactoryImage {
    bytes: Vec<u8>,
    manifest: VerifiedManifest,
}

impl FactoryImage {
    /// None unless the manifest is of firmware, signed by a root key that is believed, and for these very bytes, not for a delta.
    pub fn new(bytes: Vec<u8>, claimed: &ClaimedManifest, trust: &TrustStore) -> Option<Self> {
        let manifest = trust.verify(claimed).ok()?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let whole = manifest.delta.is_none() && manifest.digest == digest;
        (whole && NativeImage::of(&manifest).is_some()).then_some(Self { bytes, manifest })
    }

    /// Whether devices of this class run it.
    pub fn is_for(&self, class: u8) -> bool {
        self.manifest.classes.contains(class)
    }

    /// The image.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts it into blank flash; false if it does not fit.
    pub(super) fn install(&self, flash: &mut Flash) -> bool {
        let (Some(geometry), Some(image)) = (geometry(), NativeImage::of(&self.manifest)) else {
            return false;
        };
        if image.size > geometry.images.capacity() {
            return false;
        }
        let a = geometry.images.slots[0].start as usize;
        let proof = self.manifest.claimed().to_packed();
        let proof_at = a + self.bytes.len().next_multiple_of(16);
        flash.damage_at(a, &self.bytes);
        flash.damage_at(proof_at, &(proof.len() as u16).to_le_bytes());
        flash.damage_at(proof_at + 2, &proof);
        provision(flash, &geometry.images, &image).is_ok()
    }
}

/// What the boot loader does at each start: it believes these root keys and starts images for this class.
pub(super) fn load(flash: &mut Flash, trust: &TrustStore, class: u8) -> Result<(), BootError<RamFlashError>> {
    let geometry = geometry().ok_or(BootError::Geometry)?;
    start(flash, &geometry.images, &RootSigned { trust, class }, &mut [0; 1024]).map(|_| ())
}

/// The bytes at the start of slot A, read past the node.
pub fn slot_a(flash: &Flash, len: usize) -> Vec<u8> {
    let start = geometry().map_or(0, |geometry| geometry.images.slots[0].start);
    flash.look_at(start as usize, len)
}

/// Halfwords that repeat as those of code do.
fn code(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(seed);
    let words: Vec<u16> = (0..200).map(|_| rng.next_u32() as u16).collect();
    let mut out = Vec::new();
    while out.len() < len {
        let at = rng.below(190) as usize;
        words[at..at + 1 + rng.below(9) as usize].iter().for_each(|w| out.extend(w.to_le_bytes()));
    }
    out.truncate(len);
    out
}

/// The image of a version that simulations make up: each has over a kilobyte of its own, in two places.
pub fn image(version: u32) -> Vec<u8> {
    let mut bytes = code(0x6669_726d, IMAGE_LEN);
    for version in 1..=u64::from(version) {
        let mut rng = Rng::from_seed(version);
        let mut fresh = |len: usize| (0..len).map(|_| rng.next_u32() as u8).collect::<Vec<_>>();
        bytes.splice(1_000..1_700, fresh(800));
        bytes.splice(5_000..5_300, fresh(400));
    }
    bytes
}

/// The delta between two of them. Making one takes a while, and each simulation needs the same ones.
fn delta(from: u32, to: u32) -> Option<Vec<u8>> {
    static MADE: Mutex<BTreeMap<(u32, u32), Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = made.get(&(from, to)) {
        return Some(known.clone());
    }
    let bytes = encode(&image(from), &image(to), Hint::Unknown).ok()?.bytes;
    made.insert((from, to), bytes.clone());
    Some(bytes)
}

fn pack(
    content: &[u8],
    version: u32,
    classes: ClassMask,
    root: &SigningKey,
    change: impl FnOnce(&mut Manifest),
) -> Option<(ClaimedManifest, Vec<u8>)> {
    let mut stream = vec![0; Layout::new(content.len() as u32, PIECE)?.stream_len() as usize];
    let object = build_stream(content, PIECE, &mut stream)?;
    let mut manifest = Manifest::of(&object, ComponentKind::Firmware, 0, version, classes);
    change(&mut manifest);
    Some((ClaimedManifest::sign(manifest, root).ok()?, stream))
}

/// An image that simulations make up, signed for all classes.
pub(super) fn factory(version: u32, root: &SigningKey, trust: &TrustStore) -> Option<FactoryImage> {
    let bytes = image(version);
    let (claimed, _) = pack(&bytes, version, ClassMask(u32::MAX), root, |_| {})?;
    FactoryImage::new(bytes, &claimed, trust)
}

/// An update to a version that simulations make up: a delta from another one, or the whole.
pub(super) fn update(from: Option<u32>, to: u32, class: u8, root: &SigningKey) -> Option<Large> {
    let new = image(to);
    let (content, delta) = match from {
        None => (new, None),
        Some(from) => {
            let result = ImageIdentity { digest: Sha256::digest(&new).into(), size: new.len() as u32 };
            let old = ImageIdentity { digest: Sha256::digest(image(from)).into(), size: 0 };
            (delta(from, to)?, Some(Delta { replaces: old.digest8(), result }))
        }
    };
    let (claimed, stream) =
        pack(&content, to, ClassMask::of(class), root, |manifest| manifest.delta = delta)?;
    Some(Large {
        manifest: claimed.to_packed().to_vec(),
        stream,
        digest: claimed.claims().digest,
        tag: claimed.claims().tag().0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
    use std::sync::Arc;

    #[test]
    fn the_regions_fit_the_flash_and_a_delta_is_small() {
        let flash = Flash::native(Arc::default());
        assert!(geometry().unwrap().spare.end as usize <= flash.capacity());
        assert_eq!(Flash::ERASE_SIZE as u32, PAGE);
        let (delta, whole) = (delta(0, 1).unwrap().len(), image(1).len());
        assert!((1000..whole / 4).contains(&delta), "{delta} of {whole} bytes");
    }
}
