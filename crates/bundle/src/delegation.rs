//! Records that only an operator's root key signs: which edge keys may sign what, which no longer may, and which root
//! key follows another.
//!
//! All are `COSE_Sign1` with the payload inside: `[1, public key, kinds, classes, size cap, epoch]` for a delegation,
//! `[2, key id, epoch]` for a revocation, where key id zeros revokes every key, `[3, rank, public key, epoch]` for a root
//! key that takes the place of another. One record fits one frame.

use crate::cose::{self, KeyId};
use crate::manifest::{ClassMask, KindMask};
use minicbor::Decoder;

/// Longest delegation or revocation in bytes.
pub const MAX_RECORD: usize = cose::MAX_SIGN1;

/// The key id that stands for every edge key in a revocation.
pub const ALL_KEYS: KeyId = KeyId([0; 8]);

/// What an edge node's key may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The edge node's Ed25519 public key.
    pub public_key: [u8; 32],
    /// Component kinds that it may sign, at most [`KindMask::EDGE`] whatever stands here.
    pub kinds: KindMask,
    /// Device classes that it may sign for.
    pub classes: ClassMask,
    /// Largest content that it may sign, in bytes.
    pub size_cap: u32,
    /// Counts up; a delegation replaces one of lower epoch for the same key.
    pub epoch: u32,
}

/// From now on a key's delegations below an epoch are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The key concerned, or [`ALL_KEYS`].
    pub key_id: KeyId,
    /// Lowest epoch that stays valid.
    pub epoch: u32,
}

/// From now on another key has the place of a root key; what the old key has delegated is void.
///
/// A root key signs its own successor, or one for a key of lower rank: a stolen key can be replaced by one that ranks
/// above it, and cannot replace that one. Own words and words from above have epochs of their own, so a stolen key
/// cannot use up those of the keys above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Which root key goes: 0 is the first that the device was enrolled with, and ranks highest.
    pub rank: u8,
    /// The Ed25519 public key that comes.
    pub public_key: [u8; 32],
    /// Counts up for this rank, from 1; apart for what the key that goes signs and for what a higher one signs.
    pub epoch: u32,
}

const DELEGATION: u8 = 1;
const REVOCATION: u8 = 2;
const ROTATION: u8 = 3;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A key may sign.
    Delegation(Delegation),
    /// A key may no longer sign.
    Revocation(Revocation),
    /// A root key has a successor.
    Rotation(Rotation),
}

impl Statement {
    /// What a record says and the key that it names as its signer's, without checking who signed it: for people to read,
    /// and to know which key is missing. [`crate::TrustStore::add_record`] is what checks.
    pub fn claimed(record: &[u8]) -> Option<(KeyId, Self)> {
        let sign1 = cose::decode_sign1(record)?;
        Some((sign1.key_id, decode_payload(sign1.payload?)?))
    }
}

/// Reads a payload; the caller has checked who signed it.
pub(crate) fn decode_payload(payload: &[u8]) -> Option<Statement> {
    let mut d = Decoder::new(payload);
    let statement = match (d.array().ok()??, d.u8().ok()?) {
        (6, DELEGATION) => Statement::Delegation(Delegation {
            public_key: d.bytes().ok()?.try_into().ok()?,
            kinds: KindMask(d.u8().ok()?),
            classes: ClassMask(d.u32().ok()?),
            size_cap: d.u32().ok()?,
            epoch: d.u32().ok()?,
        }),
        (3, REVOCATION) => Statement::Revocation(Revocation {
            key_id: KeyId(d.bytes().ok()?.try_into().ok()?),
            epoch: d.u32().ok()?,
        }),
        (4, ROTATION) => Statement::Rotation(Rotation {
            rank: d.u8().ok()?,
            public_key: d.bytes().ok()?.try_into().ok()?,
            epoch: d.u32().ok()?,
        }),
        _ => return None,
    };
    (d.position() == payload.len()).then_some(statement)
}

#[cfg(feature = "sign")]
mod signing {
    use super::{DELEGATION, Delegation, MAX_RECORD, REVOCATION, ROTATION, Revocation, Rotation};
    use crate::cose::{self, Cbor, KeyId, MAX_PAYLOAD, Overflow, cbor, written};
    use ed25519_dalek::SigningKey;
    use heapless::Vec;

    impl Delegation {
        fn payload(&self) -> Result<Cbor<MAX_PAYLOAD>, Overflow> {
            let mut e = cbor();
            e.array(6)?.u8(DELEGATION)?.bytes(&self.public_key)?.u8(self.kinds.0)?;
            e.u32(self.classes.0)?.u32(self.size_cap)?.u32(self.epoch)?;
            Ok(e)
        }

        /// Signs by a root key.
        pub fn sign(&self, root: &SigningKey) -> Vec<u8, MAX_RECORD> {
            record(root, self.payload())
        }
    }

    impl Revocation {
        fn payload(&self) -> Result<Cbor<MAX_PAYLOAD>, Overflow> {
            let mut e = cbor();
            e.array(3)?.u8(REVOCATION)?.bytes(&self.key_id.0)?.u32(self.epoch)?;
            Ok(e)
        }

        /// Signs by a root key.
        pub fn sign(&self, root: &SigningKey) -> Vec<u8, MAX_RECORD> {
            record(root, self.payload())
        }
    }

    impl Rotation {
        fn payload(&self) -> Result<Cbor<MAX_PAYLOAD>, Overflow> {
            let mut e = cbor();
            e.array(4)?.u8(ROTATION)?.u8(self.rank)?.bytes(&self.public_key)?.u32(self.epoch)?;
            Ok(e)
        }

        /// Signs by the root key that goes, or by one that ranks above it.
        pub fn sign(&self, root: &SigningKey) -> Vec<u8, MAX_RECORD> {
            record(root, self.payload())
        }
    }

    fn record(root: &SigningKey, payload: Result<Cbor<MAX_PAYLOAD>, Overflow>) -> Vec<u8, MAX_RECORD> {
        let key_id = KeyId::of(root.verifying_key().as_bytes());
        payload
            .and_then(|p| cose::signed_record(key_id, written(&p), &cose::sign(root, written(&p))?))
            // The longest payload fits its buffer (test `longest_records_fit`).
            .unwrap_or_default()
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::manifest::{ClassMask, KindMask};

        #[test]
        fn longest_records_fit() {
            let root = SigningKey::from_bytes(&[1; 32]);
            let delegation = Delegation {
                public_key: [255; 32],
                kinds: KindMask(255),
                classes: ClassMask(u32::MAX),
                size_cap: u32::MAX,
                epoch: u32::MAX,
            };
            let revocation = Revocation { key_id: KeyId([255; 8]), epoch: u32::MAX };
            let rotation = Rotation { rank: 255, public_key: [255; 32], epoch: u32::MAX };
            let lengths =
                [delegation.sign(&root).len(), revocation.sign(&root).len(), rotation.sign(&root).len()];
            assert!(lengths.iter().all(|n| (100..=190).contains(n)), "one frame each: {lengths:?}");
        }
    }
}
