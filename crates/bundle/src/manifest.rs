//! What a bundle says about itself, and who signed it.
//!
//! One signature, two shapes. The *envelope* is a SUIT envelope (draft-ietf-suit-manifest-34, tag 107, `COSE_Sign1`
//! with Ed25519) that other SUIT tools can read; the *packed* form holds the same fields without what any reader of this
//! profile can rebuild, and fits one frame. The signature covers the envelope's digest, so a receiver of the packed
//! form rebuilds the envelope's manifest byte for byte before it checks anything. See [`crate::suit`].
//!
//! Two things have a digest. The *content* crosses the air, is cut into pieces and stored. The *image* is what is in
//! force afterwards. They are the same unless the bundle is a [`Delta`]: then the content makes the image out of what
//! the device has, and both digests are in the manifest in full. The content's is checked before it is applied, the
//! image's before it is tried.
//!
//! [`ClaimedManifest`] is what somebody says. Only [`crate::TrustStore::verify`] makes it a [`VerifiedManifest`].

use crate::cose::KeyId;
use crate::object::{Layout, ObjectIdentity, ObjectTag};
use crate::suit;
use core::fmt;
use sha2::{Digest as _, Sha256};

/// What a bundle replaces on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ComponentKind {
    /// Graph and weights of a task part.
    Model = 1,
    /// Tables that steer a node.
    Policy = 2,
    /// A graph or table that an interpreter runs.
    Logic = 3,
    /// A native image.
    Firmware = 4,
}

impl ComponentKind {
    /// The kind of a number in a frame or file.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Model),
            2 => Some(Self::Policy),
            3 => Some(Self::Logic),
            4 => Some(Self::Firmware),
            _ => None,
        }
    }

    /// This kind as a bit of a [`KindMask`].
    pub const fn mask(self) -> KindMask {
        KindMask(1 << self as u8)
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Policy => "policy",
            Self::Logic => "logic",
            Self::Firmware => "firmware",
        })
    }
}

/// A set of component kinds, bit n for the kind with number n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindMask(pub u8);

impl KindMask {
    /// All that an edge key may ever sign, whatever its delegation says: models and policies.
    pub const EDGE: Self = Self(ComponentKind::Model.mask().0 | ComponentKind::Policy.mask().0);

    /// Whether the set holds `kind`.
    pub const fn contains(self, kind: ComponentKind) -> bool {
        self.0 & kind.mask().0 != 0
    }
}

/// A set of device classes, bit n for class n (0 to 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassMask(pub u32);

impl ClassMask {
    /// The set of one class; empty for a class above 31.
    pub const fn of(class: u8) -> Self {
        Self(if class < 32 { 1 << class } else { 0 })
    }

    /// Whether the set holds device class `class`.
    pub const fn contains(self, class: u8) -> bool {
        self.0 & Self::of(class).0 != 0
    }

    /// Whether all classes of this set are in `other`.
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// Piece size of objects unless their manifest says otherwise, in bytes.
pub const DEFAULT_PIECE_SIZE: u16 = 176;

/// Something with a hash and a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageIdentity {
    /// SHA-256 of all of it.
    pub digest: [u8; 32],
    /// Its size in bytes.
    pub size: u32,
}

impl ImageIdentity {
    /// First 8 bytes of the SHA-256: what a [`Delta`] names what it replaces by.
    pub fn digest8(&self) -> [u8; 8] {
        crate::cose::first8(&self.digest)
    }
}

/// What content is that makes a new image out of the one that the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The image that it applies to: first 8 bytes of that image's SHA-256.
    pub replaces: [u8; 8],
    /// The image that it makes.
    pub result: ImageIdentity,
}

/// Another component that has to be there: confirmed, and of this version or a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its kind.
    pub kind: ComponentKind,
    /// Its task; 0 for the whole device.
    pub task: u8,
    /// Its lowest sequence that will do.
    pub sequence: u32,
}

/// Needs of one manifest at most.
pub const MAX_NEEDS: usize = 2;

/// The needs of a manifest.
pub type Needs = heapless::Vec<Need, MAX_NEEDS>;

/// The statements of a manifest. Plain data: whether to believe it is another type's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the component; only higher ones are installed on a device. Below `u32::MAX`.
    pub sequence: u32,
    /// Lowest sequence of this component that a device may run once it has confirmed this one, at most `sequence`; 0
    /// says nothing. What is older is not run again even where the newer content is damaged.
    pub floor: u32,
    /// What it is.
    pub kind: ComponentKind,
    /// The task that it serves; 0 for the whole device.
    pub task: u8,
    /// The device classes that it is for.
    pub classes: ClassMask,
    /// The base that it needs (first 8 bytes of the base's SHA-256); zeros if it needs none. Zeros in a delta, which
    /// names what it applies to.
    pub base_id: [u8; 8],
    /// Other components that it needs. One that names its own component sets the version to start from.
    pub needs: Needs,
    /// How the content becomes the image; none if it is the image.
    pub delta: Option<Delta>,
    /// Content size in bytes, at least 1.
    pub size: u32,
    /// SHA-256 of the content.
    pub digest: [u8; 32],
    /// Piece size in bytes: a multiple of 16, from 16 to 1024.
    pub piece_size: u16,
    /// Hash of the object's last piece, from which all piece hashes hang (see [`crate::object`]).
    pub list_root: [u8; 8],
    /// Flash that the installed component needs, in bytes.
    pub flash: u32,
    /// RAM that it needs while it runs, in bytes.
    pub ram: u32,
}

impl Manifest {
    /// Says of an object what has to be said, for any device class in `classes`; it needs its own size in flash, and
    /// nothing else, unless the caller changes that.
    pub fn of(
        object: &ObjectIdentity,
        kind: ComponentKind,
        task: u8,
        sequence: u32,
        classes: ClassMask,
    ) -> Self {
        Self {
            sequence,
            floor: 0,
            kind,
            task,
            classes,
            base_id: [0; 8],
            needs: Needs::new(),
            delta: None,
            size: object.layout.size(),
            digest: object.digest,
            piece_size: object.layout.piece_size(),
            list_root: object.list_root,
            flash: object.layout.size(),
            ram: 0,
        }
    }

    /// How the content is cut into pieces.
    pub fn layout(&self) -> Result<Layout, ManifestError> {
        Layout::new(self.size, self.piece_size).ok_or(ManifestError::Pieces)
    }

    /// The object that carries the content.
    pub fn object(&self) -> Result<ObjectIdentity, ManifestError> {
        Ok(ObjectIdentity { layout: self.layout()?, digest: self.digest, list_root: self.list_root })
    }

    /// What is in force once it is installed: the content, or what a delta makes.
    pub fn image(&self) -> ImageIdentity {
        self.delta.map_or(ImageIdentity { digest: self.digest, size: self.size }, |delta| delta.result)
    }

    /// The image that it applies to, where it is a delta.
    pub fn replaces(&self) -> Option<[u8; 8]> {
        self.delta.map(|delta| delta.replaces)
    }

    /// The object's short name in frames. The same content for another component, other classes or under another version is another object:
    /// a way back to older content is a new version, and nodes have to notice it.
    pub fn tag(&self) -> ObjectTag {
        let hash = Sha256::new()
            .chain_update(self.digest)
            .chain_update([self.kind as u8, self.task])
            .chain_update(self.classes.0.to_le_bytes())
            .chain_update(self.sequence.to_le_bytes());
        ObjectTag::of(&hash.finalize().into())
    }

    /// First 8 bytes of the content's SHA-256.
    pub fn digest8(&self) -> [u8; 8] {
        crate::cose::first8(&self.digest)
    }

    pub(crate) fn check(&self) -> Result<ObjectIdentity, ManifestError> {
        if self.classes.0 == 0 {
            return Err(ManifestError::NoClass);
        }
        if self.sequence == u32::MAX {
            return Err(ManifestError::Sequence);
        }
        if self.floor > self.sequence {
            return Err(ManifestError::Floor);
        }
        if self.delta.is_some_and(|delta| delta.result.size == 0 || self.base_id != [0; 8]) {
            return Err(ManifestError::Delta);
        }
        self.object()
    }
}

/// Why bytes are not a manifest, or fields cannot make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// Cut short, or not of either shape.
    Malformed,
    /// Readable, but not the one encoding of its fields that this profile has.
    NotCanonical,
    /// The digest in the envelope is not that of its manifest.
    Digest,
    /// It is for no device class at all.
    NoClass,
    /// The sequence is the one that is kept free.
    Sequence,
    /// The floor is above the sequence: the device could not run what it installs.
    Floor,
    /// A delta that makes nothing, or that names a base beside what it applies to.
    Delta,
    /// The content is empty or too large, or the piece size is not allowed.
    Pieces,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a manifest",
            Self::NotCanonical => "manifest is not in canonical form",
            Self::Digest => "manifest digest does not match",
            Self::NoClass => "manifest names no device class",
            Self::Sequence => "sequence number is out of range",
            Self::Floor => "version floor is above the version itself",
            Self::Delta => "a delta makes nothing, or names a base",
            Self::Pieces => "content size or piece size is not allowed",
        })
    }
}

impl core::error::Error for ManifestError {}

/// Longest packed manifest in bytes: a delta with a floor and all needs. Without floor and needs a delta has 180, and
/// whatever is no delta 160 at most, which is one frame.
pub const MAX_PACKED: usize = suit::PACKED_LEN + 36 + 4 + 6 * MAX_NEEDS;
/// Longest envelope in bytes: two frames of 190.
pub const MAX_ENVELOPE: usize = 380;

/// A manifest as received: readable, but nobody has checked who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedManifest {
    pub(crate) manifest: Manifest,
    pub(crate) key_id: KeyId,
    pub(crate) signature: [u8; 64],
}

impl ClaimedManifest {
    /// Reads either shape: an envelope starts with the bytes D8 6B, a packed manifest with a byte whose lower half is 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let claimed = match bytes.first() {
            Some(first) if first & 0x0F == suit::PACKED_VERSION => suit::unpack(bytes)?,
            Some(_) => suit::decode_envelope(bytes)?,
            None => return Err(ManifestError::Malformed),
        };
        claimed.manifest.check()?;
        Ok(claimed)
    }

    /// What it says; not to be acted on beyond deciding whether to look further.
    pub fn claims(&self) -> &Manifest {
        &self.manifest
    }

    /// The key that it names as its signer's.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The one-frame form.
    pub fn to_packed(&self) -> heapless::Vec<u8, MAX_PACKED> {
        suit::pack(self)
    }

    /// The SUIT envelope.
    pub fn to_envelope(&self) -> heapless::Vec<u8, MAX_ENVELOPE> {
        suit::encode_envelope(self)
    }

    /// `manifest` before anybody has signed it: key id and signature are zeros, and no device takes it.
    #[cfg(feature = "sign")]
    pub fn unsigned(manifest: Manifest) -> Result<Self, ManifestError> {
        manifest.check()?;
        Ok(Self { manifest, key_id: KeyId([0; 8]), signature: [0; 64] })
    }

    /// Signs `manifest` by the key of an edge node or an operator.
    #[cfg(feature = "sign")]
    pub fn sign(manifest: Manifest, key: &ed25519_dalek::SigningKey) -> Result<Self, ManifestError> {
        manifest.check()?;
        let payload = suit::signed_digest(&manifest);
        let signature = crate::cose::sign(key, &payload).map_err(|_| ManifestError::Malformed)?;
        Ok(Self { manifest, key_id: KeyId::of(key.verifying_key().as_bytes()), signature })
    }
}

/// Who stands behind a verified manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// One of the operator's root keys.
    Root,
    /// An edge node's key under a delegation of this epoch.
    Edge {
        /// Epoch of the delegation.
        epoch: u32,
    },
}

/// A manifest whose signature and signer's rights were checked. Made only by [`crate::TrustStore::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedManifest {
    pub(crate) claimed: ClaimedManifest,
    pub(crate) authority: Authority,
    pub(crate) object: ObjectIdentity,
}

impl VerifiedManifest {
    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.claimed.manifest
    }

    /// The object that carries the content.
    pub fn object(&self) -> &ObjectIdentity {
        &self.object
    }

    /// Who stands behind it.
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// The manifest as it was received, to store it or pass it on.
    pub fn claimed(&self) -> &ClaimedManifest {
        &self.claimed
    }
}

impl core::ops::Deref for VerifiedManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.claimed.manifest
    }
}
