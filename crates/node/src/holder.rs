//! Where a component's objects lie: in two slots of their own, or, for native images, in the place beside the images.

use compotastic_bundle::{
    BeginError, Begun, ClaimedManifest, FlashSource, FlashStore, Installed, Manifest, Slots, Target,
    VerifiedManifest, boot::Native,
};
use embedded_storage::nor_flash::NorFlash;

/// Flash of one component.
pub(crate) enum Holder<F> {
    /// What is whole is in force.
    Slots(Slots<F>),
    /// What is whole makes an image, or has made the one that runs.
    Native(Native<F>),
}

impl<F: NorFlash> Holder<F> {
    pub(crate) fn native(&self) -> Option<&Native<F>> {
        match self {
            Self::Slots(_) => None,
            Self::Native(native) => Some(native),
        }
    }

    pub(crate) fn native_mut(&mut self) -> Option<&mut Native<F>> {
        match self {
            Self::Slots(_) => None,
            Self::Native(native) => Some(native),
        }
    }

    /// The manifest of the object that is whole.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Slots(slots) => slots.active().map(|active| &active.manifest),
            Self::Native(native) => native.held(),
        }
    }

    /// The same as it was signed.
    pub(crate) fn signed_manifest(&mut self) -> Option<ClaimedManifest> {
        match self {
            Self::Slots(slots) => slots.active_manifest().ok()?,
            Self::Native(native) => native.held_manifest().ok()?,
        }
    }

    /// The version that is in force for good.
    pub(crate) fn version(&self) -> Option<u32> {
        match self {
            Self::Slots(slots) => {
                slots.active().filter(|active| !active.on_trial).map(|active| active.manifest.sequence)
            }
            Self::Native(native) => Some(native.firmware().confirmed().sequence),
        }
    }

    pub(crate) fn installed(&self) -> Installed {
        match self {
            Self::Slots(slots) => slots.installed(),
            Self::Native(native) => native.installed(),
        }
    }

    /// Largest content or image that fits, bytes.
    pub(crate) fn capacity(&self) -> u32 {
        match self {
            Self::Slots(slots) => slots.capacity(),
            Self::Native(native) => native.firmware().geometry().capacity(),
        }
    }

    pub(crate) fn begin(
        &mut self,
        verified: &VerifiedManifest,
        target: Option<&Target>,
    ) -> Result<Begun, BeginError<F::Error>> {
        match self {
            Self::Slots(slots) => slots.begin(verified, target),
            Self::Native(native) => native.begin(verified, target),
        }
    }

    /// Where the pieces of the object on its way go.
    pub(crate) fn store(&mut self) -> Option<FlashStore<&mut F>> {
        match self {
            Self::Slots(slots) => slots.store(),
            Self::Native(native) => native.store(),
        }
    }

    /// The stream of the object that is whole.
    pub(crate) fn source(&mut self) -> Option<FlashSource<&mut F>> {
        match self {
            Self::Slots(slots) => slots.source(),
            Self::Native(native) => native.source(),
        }
    }

    pub(crate) fn into_flash(self) -> F {
        match self {
            Self::Slots(slots) => slots.into_flash(),
            Self::Native(native) => native.into_flash(),
        }
    }
}
