//! Whom a device believes, and what it therefore installs.

use crate::cose::{self, KeyId};
use crate::delegation::{ALL_KEYS, Delegation, Revocation, Rotation, Statement, decode_payload};
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
            Self::KindNotAllowed(kind) => write!(f, "the key may not sign {kind} components"),
            Self::ClassNotAllowed => f.write_str("the key may not sign for these device classes"),
            Self::TooLarge { cap, size } => {
                write!(f, "content of {size} bytes, the key may sign {cap} at most")
            }
            Self::WrongClass => f.write_str("not for this device class"),
            Self::WrongComponent => f.write_str("another component or task"),
            Self::WrongBase => f.write_str("needs another base"),
            Self::WrongPredecessor => f.write_str("applies to other content than installed"),
            Self::Rollback { have, offered } => {
                write!(f, "version {offered} is not newer than {have}")
            }
            Self::MissingNeed(Need { kind, task, sequence }) => {
                write!(f, "needs {kind} of task {task}, version {sequence} or newer")
            }
            Self::NoFlash { need, have } => write!(f, "needs {need} bytes of flash, there are {have}"),
            Self::NoRam { need, have } => write!(f, "needs {need} bytes of RAM, there are {have}"),
        }
    }
}

impl core::error::Error for Refusal {}

/// Why a delegation, revocation or rotation is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Not such a record.
    Malformed,
    /// Not signed by a root key of this device.
    NotByRoot,
    /// The signature does not verify, or the key in it is not a usable Ed25519 key.
    BadSignature,
    /// A newer epoch for this key is known.
    Outdated,
    /// No root key has this rank, or the signer ranks below it.
    Rank,
    /// The table is full of other keys; nothing is forgotten to make room.
    Full,
    /// The key in it has the id of a key that is already known as another.
    KeyClash,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a delegation, revocation or rotation",
            Self::NotByRoot => "not signed by a root key",
            Self::BadSignature => "signature does not verify",
            Self::Outdated => "a newer epoch is known",
            Self::Rank => "no root key of that rank for the signer to replace",
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
    /// This key is a root key now; what its predecessor has delegated is void.
    Rotated(KeyId),
    /// The delegation of this key is known already.
    Known(KeyId),
    /// The revocation or rotation is known already.
    Unchanged,
}

#[derive(Clone, Debug)]
struct Grant {
    key_id: KeyId,
    key: VerifyingKey,
    delegation: Delegation,
    /// The root key that said so.
    by: KeyId,
}

#[derive(Clone, Debug)]
struct Root {
    key_id: KeyId,
    key: VerifyingKey,
    /// Highest epoch of a rotation at this rank that the key before signed; 0 if there was none.
    own_epoch: u32,
    /// The same for those that a key of higher rank signed.
    above_epoch: u32,
}

/// A root key after rotations, to be kept over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootState {
    /// The Ed25519 public key.
    pub key: [u8; 32],
    /// Highest epoch of a rotation at this rank that the key before signed; 0 if there was none.
    pub own_epoch: u32,
    /// The same for those that a key of higher rank signed.
    pub above_epoch: u32,
}

/// The keys that a device believes: root keys from its enrolment, and what they delegated since.
///
/// The store is memory only. Whoever holds the accepted records feeds them again after a restart, revocations too.
/// Their order does not matter, but for rotations: what was signed by a key before it went comes before its rotation. Or what they came to is
/// kept ([`TrustStore::root_state`], [`TrustStore::revoked`], [`TrustStore::epoch_floor`]), and recalled, rotations first.
#[derive(Clone, Debug)]
pub struct TrustStore {
    /// By rank.
    roots: Vec<Root, MAX_ROOTS>,
    grants: Vec<Grant, MAX_DELEGATIONS>,
    revoked: Vec<Revocation, MAX_REVOCATIONS>,
    /// Delegations below this epoch are void for every key.
    epoch_floor: u32,
}

impl TrustStore {
    /// A store that believes these root keys, the highest-ranking first; none if there are none, more than [`MAX_ROOTS`], or one is unusable.
    pub fn new(roots: &[[u8; 32]]) -> Option<Self> {
        let mut keys = Vec::new();
        for bytes in roots {
            keys.push(Root {
                key_id: KeyId::of(bytes),
                key: usable_key(bytes)?,
                own_epoch: 0,
                above_epoch: 0,
            })
            .ok()?;
        }
        (!keys.is_empty()).then_some(Self {
            roots: keys,
            grants: Vec::new(),
            revoked: Vec::new(),
            epoch_floor: 0,
        })
    }

    /// Takes a signed delegation, revocation or rotation.
    pub fn add_record(&mut self, record: &[u8]) -> Result<RecordChange, RecordError> {
        let sign1 = cose::decode_sign1(record).ok_or(RecordError::Malformed)?;
        let payload = sign1.payload.ok_or(RecordError::Malformed)?;
        let rank = self.rank(sign1.key_id).ok_or(RecordError::NotByRoot)?;
        let root = self.roots.get(rank).ok_or(RecordError::NotByRoot)?;
        if !cose::verify(&root.key, payload, &sign1.signature) {
            return Err(RecordError::BadSignature);
        }
        match decode_payload(payload).ok_or(RecordError::Malformed)? {
            Statement::Delegation(delegation) => self.delegate(delegation, sign1.key_id),
            Statement::Revocation(revocation) => self.revoke(revocation),
            Statement::Rotation(rotation) => self.rotate(rotation, rank),
        }
    }

    /// The delegations in force.
    pub fn delegations(&self) -> impl Iterator<Item = (KeyId, &Delegation)> {
        self.grants.iter().map(|g| (g.key_id, &g.delegation))
    }

    /// The root keys in force, by rank.
    pub fn roots(&self) -> impl Iterator<Item = (KeyId, [u8; 32])> {
        self.roots.iter().map(|root| (root.key_id, root.key.to_bytes()))
    }

    /// The root key of a rank, and how it came there.
    pub fn root_state(&self, rank: usize) -> Option<RootState> {
        let Root { key, own_epoch, above_epoch, .. } = self.roots.get(rank)?;
        Some(RootState { key: key.to_bytes(), own_epoch: *own_epoch, above_epoch: *above_epoch })
    }

    /// The revocations of single keys that are in force.
    pub fn revoked(&self) -> impl Iterator<Item = Revocation> + '_ {
        self.revoked.iter().copied()
    }

    /// Delegations below this epoch are void for every key.
    pub fn epoch_floor(&self) -> u32 {
        self.epoch_floor
    }

    /// Takes again, unsigned, what was kept of rotations by whoever trusts its memory: ranks and root keys, all at once, since one may have
    /// had the place of another. False, and nothing changes, if a key is not usable or would have two places. What is no newer than what
    /// is known is passed over.
    pub fn recall_roots(&mut self, states: impl IntoIterator<Item = (usize, RootState)>) -> bool {
        let mut roots = self.roots.clone();
        for (rank, state) in states {
            let Some(root) = roots.get_mut(rank) else { return false };
            let (RootState { own_epoch, above_epoch, .. }, key_id) = (state, KeyId::of(&state.key));
            if (own_epoch, above_epoch) > (root.own_epoch, root.above_epoch) {
                let Some(key) = usable_key(&state.key).filter(|_| key_id != ALL_KEYS) else { return false };
                *root = Root { key_id, key, own_epoch, above_epoch };
            }
        }
        let twice =
            |(rank, root): (usize, &Root)| roots[..rank].iter().any(|other| other.key_id == root.key_id);
        if roots.iter().enumerate().any(twice) {
            return false;
        }
        self.roots = roots;
        let roots = &self.roots;
        self.grants.retain(|grant| roots.iter().any(|root| root.key_id == grant.by));
        true
    }

    /// Takes again, unsigned, what was kept of a revocation by whoever trusts its memory.
    pub fn recall_revocation(&mut self, revocation: Revocation) -> Result<RecordChange, RecordError> {
        self.revoke(revocation)
    }

    fn rank(&self, key_id: KeyId) -> Option<usize> {
        self.roots.iter().position(|root| root.key_id == key_id)
    }

    fn root(&self, key_id: KeyId) -> Option<&VerifyingKey> {
        self.roots.iter().find(|root| root.key_id == key_id).map(|root| &root.key)
    }

    /// Lowest epoch that a delegation of this key may have.
    fn floor(&self, key_id: KeyId) -> u32 {
        let own = self.revoked.iter().find(|r| r.key_id == key_id).map_or(0, |r| r.epoch);
        own.max(self.epoch_floor)
    }

    fn delegate(&mut self, delegation: Delegation, by: KeyId) -> Result<RecordChange, RecordError> {
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
                (known.delegation, known.by) = (delegation, by);
                Ok(RecordChange::Delegated(key_id))
            }
            None => {
                self.grants.push(Grant { key_id, key, delegation, by }).map_err(|_| RecordError::Full)?;
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

    fn rotate(&mut self, rotation: Rotation, by_rank: usize) -> Result<RecordChange, RecordError> {
        let key_id = KeyId::of(&rotation.public_key);
        let key = usable_key(&rotation.public_key).ok_or(RecordError::BadSignature)?;
        let rank = usize::from(rotation.rank);
        let old = self.roots.get(rank).filter(|_| by_rank <= rank).ok_or(RecordError::Rank)?;
        if old.key == key {
            return Ok(RecordChange::Unchanged);
        }
        let epochs = (old.own_epoch, old.above_epoch);
        let (own_epoch, above_epoch) =
            if by_rank == rank { (rotation.epoch, epochs.1) } else { (epochs.0, rotation.epoch) };
        if (own_epoch, above_epoch) <= epochs {
            return Err(RecordError::Outdated);
        }
        if key_id == ALL_KEYS || self.root(key_id).is_some() || self.grants.iter().any(|g| g.key_id == key_id)
        {
            return Err(RecordError::KeyClash);
        }
        let gone = old.key_id;
        if let Some(root) = self.roots.get_mut(rank) {
            *root = Root { key_id, key, own_epoch, above_epoch };
        }
        self.grants.retain(|grant| grant.by != gone);
        Ok(RecordChange::Rotated(key_id))
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

/// Whether a delegation lets its key sign a manifest.
///
/// # Errors
/// What it does not permit.
pub fn may_sign(delegation: &Delegation, manifest: &Manifest) -> Result<(), Refusal> {
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

    /// Whether this node should take it now: to install it on a device, or, without one, to keep it and pass it on, whatever device it is for.
    pub fn admit_for(&self, target: Option<&Target>, installed: &Installed) -> Result<(), Refusal> {
        match target {
            Some(target) => self.admit(target, installed),
            None => self.admit_to_carry(installed),
        }
    }

    /// Whether a node that only passes it on should take it: it has to be newer than what is there. Class, base, predecessor
    /// and needs are checked by those that install it.
    fn admit_to_carry(&self, installed: &Installed) -> Result<(), Refusal> {
        let offered = self.manifest().sequence;
        match installed.floor.filter(|have| offered <= *have) {
            Some(have) => Err(Refusal::Rollback { have, offered }),
            None => Ok(()),
        }
    }
}
