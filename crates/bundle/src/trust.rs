//! Whom a device believes, and what it therefore installs.

use crate::cose::{self, KeyId};
use crate::delegation::{ALL_KEYS, Delegation, Revocation, Statement, decode_payload};
use crate::manifest::{
    Authority, ClaimedManifest, ComponentKind, KindMask, Manifest, ManifestError, Need, VerifiedManifest,
};
use crate::suit;
use core::fmt;
use ed25519_dalek::VerifyingKey;
use heapless::Vec;

/// Root keys that a device can hold.
pub const MAX_ROOTS: usize = 3;
/// Edge keys that can be delegated at the same time.
pub const MAX_DELEGATIONS: usize = 8;
/// Single-key revocations that a device remembers; revoking [`ALL_KEYS`] frees those below its epoch.
pub const MAX_REVOCATIONS: usize = 16;

/// Why a bundle is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no manifest.
    Manifest(ManifestError),
    /// No root key and no delegation for this key id.
    UnknownKey(KeyId),
    /// The key's delegation was revoked.
    Revoked(KeyId),
    /// The signature is not this key's.
    BadSignature,
    /// The key may not sign this kind of component.
    KindNotAllowed(ComponentKind),
    /// The key may not sign for all the classes that the manifest names.
    ClassNotAllowed,
    /// The content is larger than the key may sign.
    TooLarge {
        /// The key's cap in bytes.
        cap: u32,
        /// The content's size in bytes.
        size: u32,
    },
    /// Not for this device's class.
    WrongClass,
    /// Not the component that is being installed.
    WrongComponent,
    /// It needs another base.
    WrongBase,
    /// It applies to another image than the device has.
    WrongPredecessor,
    /// Not newer than what the device has or has tried.
    Rollback {
        /// Highest sequence that the device had.
        have: u32,
        /// Sequence on offer.
        offered: u32,
    },
    /// It needs another component, or a newer version of it, than the device has.
    MissingNeed(Need),
    /// It needs more flash than there is.
    NoFlash {
        /// Bytes needed.
        need: u32,
        /// Bytes there are.
        have: u32,
    },
    /// It needs more RAM than there is.
    NoRam {
        /// Bytes needed.
        need: u32,
        /// Bytes there are.
        have: u32,
    },
}

impl From<ManifestError> for Refusal {
    fn from(e: ManifestError) -> Self {
        Self::Manifest(e)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(e) => e.fmt(f),
            Self::UnknownKey(_) => f.write_str("signed by a key that is neither root nor delegated"),
            Self::Revoked(_) => f.write_str("signed by a revoked key"),
            Self::BadSignature => f.write_str("signature does not verify"),
            Self::KindNotAllowed(kind) => write!(f, "the key may not sign {kind:?} components"),
            Self::ClassNotAllowed => f.write_str("the key may not sign for these device classes"),
            Self::TooLarge { cap, size } => {
                write!(f, "content of {size} bytes, the key may sign {cap} at most")
            }
            Self::WrongClass => f.write_str("not for this device class"),
            Self::WrongComponent => f.write_str("another component or task"),
            Self::WrongBase => f.write_str("needs another base"),
            Self::WrongPredecessor => f.write_str("applies to other content than installed"),
            Self::Rollback { have, offered } => {
                write!(f, "sequence {offered} is not newer than {have}")
            }
            Self::MissingNeed(Need { kind, task, sequence }) => {
                write!(f, "needs {kind:?} of task {task} at sequence {sequence} or newer")
            }
            Self::NoFlash { need, have } => write!(f, "needs {need} bytes of flash, there are {have}"),
            Self::NoRam { need, have } => write!(f, "needs {need} bytes of RAM, there are {have}"),
        }
    }
}

impl core::error::Error for Refusal {}

/// Why a delegation or revocation is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Not such a record.
    Malformed,
    /// Not signed by a root key of this device.
    NotByRoot,
    /// The signature does not verify, or the delegated key is not a usable Ed25519 key.
    BadSignature,
    /// A newer epoch for this key is known.
    Outdated,
    /// The table is full of other keys; nothing is forgotten to make room.
    Full,
    /// The delegated key has the id of a key that is already known as another.
    KeyClash,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a delegation or revocation",
            Self::NotByRoot => "not signed by a root key",
            Self::BadSignature => "signature does not verify",
            Self::Outdated => "a newer epoch is known",
            Self::Full => "no room for another key",
            Self::KeyClash => "key id is taken by another key",
        })
    }
}

impl core::error::Error for RecordError {}

/// What a taken record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// The key may now sign what its delegation says.
    Delegated(KeyId),
    /// Delegations of the key below the epoch are void now.
    Revoked(KeyId),
    /// The delegation of this key is known already.
    Known(KeyId),
    /// The revocation is known already.
    Unchanged,
}

#[derive(Clone, Debug)]
struct Grant {
    key_id: KeyId,
    key: VerifyingKey,
    delegation: Delegation,
}

/// The keys that a device believes: root keys from its enrolment, and what they delegated since.
///
/// The store is memory only. Whoever holds the accepted records feeds them again after a restart, revocations too;
/// their order does not matter.
#[derive(Clone, Debug)]
pub struct TrustStore {
    roots: Vec<(KeyId, VerifyingKey), MAX_ROOTS>,
    grants: Vec<Grant, MAX_DELEGATIONS>,
    revoked: Vec<Revocation, MAX_REVOCATIONS>,
    /// Delegations below this epoch are void for every key.
    epoch_floor: u32,
}

impl TrustStore {
    /// A store that believes these root keys; none if there are none, more than [`MAX_ROOTS`], or one is unusable.
    pub fn new(roots: &[[u8; 32]]) -> Option<Self> {
        let mut keys = Vec::new();
        for bytes in roots {
            keys.push((KeyId::of(bytes), usable_key(bytes)?)).ok()?;
        }
        (!keys.is_empty()).then_some(Self {
            roots: keys,
            grants: Vec::new(),
            revoked: Vec::new(),
            epoch_floor: 0,
        })
    }

    /// Takes a signed delegation or revocation.
    pub fn add_record(&mut self, record: &[u8]) -> Result<RecordChange, RecordError> {
        let sign1 = cose::decode_sign1(record).ok_or(RecordError::Malformed)?;
        let payload = sign1.payload.ok_or(RecordError::Malformed)?;
        let root = self.root(sign1.key_id).ok_or(RecordError::NotByRoot)?;
        if !cose::verify(root, payload, &sign1.signature) {
            return Err(RecordError::BadSignature);
        }
        match decode_payload(payload).ok_or(RecordError::Malformed)? {
            Statement::Delegation(delegation) => self.delegate(delegation),
            Statement::Revocation(revocation) => self.revoke(revocation),
        }
    }

    /// The delegations in force.
    pub fn delegations(&self) -> impl Iterator<Item = (KeyId, &Delegation)> {
        self.grants.iter().map(|g| (g.key_id, &g.delegation))
    }

    fn root(&self, key_id: KeyId) -> Option<&VerifyingKey> {
        self.roots.iter().find(|(id, _)| *id == key_id).map(|(_, key)| key)
    }

    /// Lowest epoch that a delegation of this key may have.
    fn floor(&self, key_id: KeyId) -> u32 {
        let own = self.revoked.iter().find(|r| r.key_id == key_id).map_or(0, |r| r.epoch);
        own.max(self.epoch_floor)
    }

    fn delegate(&mut self, delegation: Delegation) -> Result<RecordChange, RecordError> {
        let key_id = KeyId::of(&delegation.public_key);
        let key = usable_key(&delegation.public_key).ok_or(RecordError::BadSignature)?;
        if self.root(key_id).is_some() || key_id == ALL_KEYS {
            return Err(RecordError::KeyClash);
        }
        if delegation.epoch < self.floor(key_id) {
            return Err(RecordError::Outdated);
        }
        match self.grants.iter_mut().find(|g| g.key_id == key_id) {
            Some(known) if known.delegation.public_key != delegation.public_key => Err(RecordError::KeyClash),
            Some(known) if known.delegation == delegation => Ok(RecordChange::Known(key_id)),
            Some(known) if delegation.epoch <= known.delegation.epoch => Err(RecordError::Outdated),
            Some(known) => {
                known.delegation = delegation;
                Ok(RecordChange::Delegated(key_id))
            }
            None => {
                self.grants.push(Grant { key_id, key, delegation }).map_err(|_| RecordError::Full)?;
                Ok(RecordChange::Delegated(key_id))
            }
        }
    }

    fn revoke(&mut self, revocation: Revocation) -> Result<RecordChange, RecordError> {
        if revocation.epoch <= self.floor(revocation.key_id) {
            return Ok(RecordChange::Unchanged);
        }
        if revocation.key_id == ALL_KEYS {
            self.epoch_floor = revocation.epoch;
            self.revoked.retain(|r| r.epoch > revocation.epoch);
        } else if let Some(known) = self.revoked.iter_mut().find(|r| r.key_id == revocation.key_id) {
            known.epoch = revocation.epoch;
        } else {
            self.revoked.push(revocation).map_err(|_| RecordError::Full)?;
        }
        // The grants go; `authority` tells a revoked key from an unknown one by the revocation itself.
        let (revoked, floor) = (&self.revoked, self.epoch_floor);
        self.grants.retain(|g| {
            g.delegation.epoch >= floor
                && !revoked.iter().any(|r| r.key_id == g.key_id && g.delegation.epoch < r.epoch)
        });
        Ok(RecordChange::Revoked(revocation.key_id))
    }

    /// Checks who signed a manifest and whether they may sign that. It may still be wrong for this device:
    /// [`VerifiedManifest::admit`].
    pub fn verify(&self, claimed: &ClaimedManifest) -> Result<VerifiedManifest, Refusal> {
        let manifest = claimed.claims();
        let object = manifest.check()?;
        let (key, authority) = if let Some(root) = self.root(claimed.key_id) {
            (root, Authority::Root)
        } else if let Some(grant) = self.grants.iter().find(|g| g.key_id == claimed.key_id) {
            may_sign(&grant.delegation, manifest)?;
            (&grant.key, Authority::Edge { epoch: grant.delegation.epoch })
        } else if self.revoked.iter().any(|r| r.key_id == claimed.key_id) {
            return Err(Refusal::Revoked(claimed.key_id));
        } else {
            return Err(Refusal::UnknownKey(claimed.key_id));
        };
        if !cose::verify(key, &suit::signed_digest(manifest), &claimed.signature) {
            return Err(Refusal::BadSignature);
        }
        Ok(VerifiedManifest { claimed: claimed.clone(), authority, object })
    }
}

/// Reads and verifies a manifest in either shape.
pub fn verify(manifest: &[u8], trust: &TrustStore) -> Result<VerifiedManifest, Refusal> {
    trust.verify(&ClaimedManifest::parse(manifest)?)
}

fn usable_key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak())
}

fn may_sign(delegation: &Delegation, manifest: &Manifest) -> Result<(), Refusal> {
    if !delegation.kinds.contains(manifest.kind) || !KindMask::EDGE.contains(manifest.kind) {
        return Err(Refusal::KindNotAllowed(manifest.kind));
    }
    if !manifest.classes.within(delegation.classes) {
        return Err(Refusal::ClassNotAllowed);
    }
    // A small delta may make a large image: what it makes counts too.
    let size = manifest.size.max(manifest.image().size);
    if size > delegation.size_cap {
        return Err(Refusal::TooLarge { cap: delegation.size_cap, size });
    }
    Ok(())
}

/// Components that a device can name as there, for the needs of others.
pub const MAX_COMPONENTS: usize = 8;

/// The device and the component that a bundle is to be installed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The device's class.
    pub class: u8,
    /// The component's kind.
    pub kind: ComponentKind,
    /// The component's task.
    pub task: u8,
    /// The base in the device's flash; zeros if it has none.
    pub base_id: [u8; 8],
    /// Flash free for the component, in bytes.
    pub flash: u32,
    /// RAM free for it, in bytes.
    pub ram: u32,
    /// What is confirmed on the device, each component with its sequence: what a manifest's needs are held against.
    pub has: Vec<Need, MAX_COMPONENTS>,
}

/// What a device has of a component already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Highest sequence that was confirmed or has failed; only higher ones are taken.
    pub floor: Option<u32>,
    /// First 8 bytes of the active image's SHA-256.
    pub digest: Option<[u8; 8]>,
}

impl VerifiedManifest {
    /// Whether this device should install it now.
    pub fn admit(&self, target: &Target, installed: &Installed) -> Result<(), Refusal> {
        let m = self.manifest();
        if !m.classes.contains(target.class) {
            return Err(Refusal::WrongClass);
        }
        if m.kind != target.kind || m.task != target.task {
            return Err(Refusal::WrongComponent);
        }
        if let Some(have) = installed.floor.filter(|have| m.sequence <= *have) {
            return Err(Refusal::Rollback { have, offered: m.sequence });
        }
        if m.base_id != [0; 8] && m.base_id != target.base_id {
            return Err(Refusal::WrongBase);
        }
        if m.delta.is_some() && m.replaces() != installed.digest {
            return Err(Refusal::WrongPredecessor);
        }
        let is_met = |need: &Need| {
            let fits = |has: &Need| (has.kind, has.task) == (need.kind, need.task);
            target.has.iter().any(|has| fits(has) && has.sequence >= need.sequence)
        };
        if let Some(need) = m.needs.iter().find(|need| !is_met(need)) {
            return Err(Refusal::MissingNeed(*need));
        }
        let need = m.flash.max(m.image().size);
        if need > target.flash {
            return Err(Refusal::NoFlash { need, have: target.flash });
        }
        if m.ram > target.ram {
            return Err(Refusal::NoRam { need: m.ram, have: target.ram });
        }
        Ok(())
    }
}
