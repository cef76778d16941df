//! Who says that an image may run.

use super::NativeImage;
use crate::manifest::{ClaimedManifest, ComponentKind, VerifiedManifest};
use crate::trust::TrustStore;

/// Longest proof in bytes: more than a manifest in either shape.
pub const PROOF_MAX: usize = super::PROOF_ROOM as usize - 2;

/// Decides whether an image may be started, beyond being whole. Asked for each image before it goes to slot A and
/// before each start.
pub trait Voucher {
    /// Whether `proof`, which was stored behind the image, vouches for it. Empty if there is none.
    fn vouches(&self, image: &NativeImage, proof: &[u8]) -> bool;
}

/// Takes the boot log's word: whoever writes to flash may decide what runs. For boot loaders that have no room for
/// signatures; the application has checked them before.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogTrusted;

impl Voucher for LogTrusted {
    fn vouches(&self, _: &NativeImage, _: &[u8]) -> bool {
        true
    }
}

/// Wants the signed manifest behind the image, for this device class. Firmware is signed by root keys alone, so the store
/// needs no delegations, and a revocation does not stop a device that was updated before it.
#[derive(Clone, Copy, Debug)]
pub struct RootSigned<'a> {
    /// The root keys.
    pub trust: &'a TrustStore,
    /// The device's class.
    pub class: u8,
}

impl Voucher for RootSigned<'_> {
    fn vouches(&self, image: &NativeImage, proof: &[u8]) -> bool {
        let verified = ClaimedManifest::parse(proof).ok().and_then(|c| self.trust.verify(&c).ok());
        verified.is_some_and(|manifest| {
            manifest.classes.contains(self.class) && NativeImage::of(&manifest) == Some(*image)
        })
    }
}

impl NativeImage {
    /// The image that is in force once this bundle is installed, if it is one for firmware: its content, or what a delta
    /// makes.
    pub fn of(manifest: &VerifiedManifest) -> Option<Self> {
        let m = manifest.manifest();
        let image = m.image();
        (m.kind == ComponentKind::Firmware).then_some(Self {
            digest: image.digest,
            size: image.size,
            sequence: m.sequence,
            floor: m.floor,
        })
    }
}
