//! The rotation record: the keys of the next epoch, sealed for one member and signed by an operator.
//!
//! A radio that was lost is shut out by it: each member that remains gets a record of its own, and the one that does not remain gets none.
//! X25519 (ephemeral-static) and SHA-256 make the key, AES-128-CCM seals the new keys, Ed25519 signs the whole. A record names
//! its epoch and a number that rises with each rotation, so that an old one is of no use to anybody.

use aes::Aes128;
use ccm::{
    Ccm,
    aead::{AeadInOut, KeyInit},
    consts::{U8, U13},
};
use core::fmt;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::proto::{RecordError, Writer, read};
use crate::SwarmKey;

/// Longest encoding in bytes: it fits one frame.
pub const MAX_ROTATION: usize = 192;
/// Bytes of the sealed keys: swarm key, channel key, tag.
const SEALED: usize = KEYS + TAG;
const KEYS: usize = 16 + 32;
const TAG: usize = 8;
/// Signatures of other records can never be taken for one of these.
const DOMAIN: &[u8] = b"compotastic rotation 1";
const KDF: &[u8] = b"compotastic rotation seal 1";

type Cipher = Ccm<Aes128, U8, U13>;

/// The keys of an epoch. Their `Debug` form shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct NewKeys {
    /// Key of the frames' MAC.
    pub swarm_key: SwarmKey,
    /// Key of the channel.
    pub channel_key: [u8; 32],
}

impl fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKeys(..)")
    }
}

/// What a rotation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationHead {
    /// The swarm.
    pub swarm_id: [u8; 8],
    /// The new epoch.
    pub epoch: u8,
    /// Rises with each rotation of the swarm; seconds since 1970 do.
    pub number: u32,
    /// Whom it is for.
    pub member: u32,
    /// The keys come into force after this time at the latest, counted from the first reception.
    pub deadline_s: u32,
}

/// A rotation record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// What it is about.
    pub head: RotationHead,
    ephemeral: [u8; 32],
    sealed: [u8; SEALED],
}

/// Why a rotation is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationError {
    /// Not such a record.
    Record(RecordError),
    /// Not signed by an operator of this swarm.
    Signature,
}

impl From<RecordError> for RotationError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

fn cipher(
    secret: &StaticSecret,
    theirs: &[u8; 32],
    ephemeral: &[u8; 32],
    member: &[u8; 32],
) -> Option<Cipher> {
    let shared = secret.diffie_hellman(&PublicKey::from(*theirs));
    // A key of low order would make the same secret with everybody.
    if !shared.was_contributory() {
        return None;
    }
    let hash = Sha256::new()
        .chain_update(KDF)
        .chain_update(shared.as_bytes())
        .chain_update(ephemeral)
        .chain_update(member)
        .finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    Some(Cipher::new(&key.into()))
}

impl RotationHead {
    /// One key seals one message, so the nonce need not differ.
    fn nonce(&self) -> [u8; 13] {
        let mut nonce = [0; 13];
        nonce[..4].copy_from_slice(&self.number.to_le_bytes());
        nonce[4..8].copy_from_slice(&self.member.to_le_bytes());
        nonce[8] = self.epoch;
        nonce
    }

    fn write(&self, w: &mut Writer<'_>) -> Result<(), RecordError> {
        w.bytes(1, &self.swarm_id)?;
        w.number(2, self.epoch.into())?;
        w.number(3, self.number)?;
        w.fixed32(4, self.member)?;
        w.number(5, self.deadline_s)
    }
}

impl Rotation {
    /// Seals keys for a member by its public key. `ephemeral` are 32 random bytes, new for each record. None for a public key that is none.
    pub fn seal(head: RotationHead, member: &[u8; 32], ephemeral: [u8; 32], keys: &NewKeys) -> Option<Self> {
        let secret = StaticSecret::from(ephemeral);
        let ephemeral = PublicKey::from(&secret).to_bytes();
        let cipher = cipher(&secret, member, &ephemeral, member)?;
        let mut sealed = [0; SEALED];
        let (content, tag) = sealed.split_at_mut(KEYS);
        content[..16].copy_from_slice(&keys.swarm_key.0);
        content[16..].copy_from_slice(&keys.channel_key);
        tag.copy_from_slice(
            &cipher.encrypt_inout_detached(&head.nonce().into(), &head.swarm_id, content.into()).ok()?,
        );
        Some(Self { head, ephemeral, sealed })
    }

    /// The keys, for the member whose private key this is.
    pub fn open(&self, secret: &[u8; 32]) -> Option<NewKeys> {
        let secret = StaticSecret::from(*secret);
        let own = PublicKey::from(&secret).to_bytes();
        let cipher = cipher(&secret, &self.ephemeral, &self.ephemeral, &own)?;
        let mut content = [0; KEYS];
        content.copy_from_slice(&self.sealed[..KEYS]);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&self.sealed[KEYS..]);
        let nonce = self.head.nonce().into();
        cipher
            .decrypt_inout_detached(&nonce, &self.head.swarm_id, (&mut content[..]).into(), &tag.into())
            .ok()?;
        let mut keys = NewKeys { swarm_key: SwarmKey([0; 16]), channel_key: [0; 32] };
        keys.swarm_key.0.copy_from_slice(&content[..16]);
        keys.channel_key.copy_from_slice(&content[16..]);
        Some(keys)
    }

    fn write(&self, w: &mut Writer<'_>) -> Result<(), RecordError> {
        self.head.write(w)?;
        w.bytes(6, &self.ephemeral)?;
        w.bytes(7, &self.sealed)
    }

    /// What an operator signs.
    fn to_be_signed(&self, out: &mut [u8; DOMAIN.len() + MAX_ROTATION]) -> Result<usize, RecordError> {
        out[..DOMAIN.len()].copy_from_slice(DOMAIN);
        let mut w = Writer::new(&mut out[DOMAIN.len()..]);
        self.write(&mut w)?;
        Ok(DOMAIN.len() + w.written())
    }

    /// Writes the record with the signature that `sign` makes of what it is given; its length.
    pub fn encode(&self, out: &mut [u8], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Result<usize, RecordError> {
        let mut signed = [0; DOMAIN.len() + MAX_ROTATION];
        let length = self.to_be_signed(&mut signed)?;
        let signature = sign(&signed[..length]);
        let mut w = Writer::new(out);
        self.write(&mut w)?;
        w.bytes(8, &signature)?;
        Ok(w.written())
    }

    /// Reads a record that one of these operators signed. It must be in canonical form.
    pub fn decode(bytes: &[u8], operators: &[[u8; 32]]) -> Result<Self, RotationError> {
        let (mut swarm_id, mut ephemeral, mut sealed, mut signature) = (None, None, None, None);
        let mut head = RotationHead { swarm_id: [0; 8], epoch: 0, number: 0, member: 0, deadline_s: 0 };
        read(bytes, |field, value| {
            match field {
                1 => swarm_id = Some(value.array("swarm_id")?),
                2 => head.epoch = value.byte(u8::MAX, "epoch")?,
                3 => head.number = value.number(u32::MAX, "number")?,
                4 => head.member = value.fixed32("member")?,
                5 => head.deadline_s = value.number(u32::MAX, "deadline_s")?,
                6 => ephemeral = Some(value.array("ephemeral")?),
                7 => sealed = Some(value.array("sealed")?),
                8 => signature = Some(value.array::<64>("signature")?),
                _ => {}
            }
            Ok(())
        })?;
        head.swarm_id = swarm_id.ok_or(RecordError::Missing("swarm_id"))?;
        let rotation = Self {
            head,
            ephemeral: ephemeral.ok_or(RecordError::Missing("ephemeral"))?,
            sealed: sealed.ok_or(RecordError::Missing("sealed"))?,
        };
        let signature = Signature::from_bytes(&signature.ok_or(RecordError::Missing("signature"))?);
        let mut signed = [0; DOMAIN.len() + MAX_ROTATION];
        let length = rotation.to_be_signed(&mut signed)?;
        let by = |key: &[u8; 32]| {
            VerifyingKey::from_bytes(key)
                .is_ok_and(|key| key.verify_strict(&signed[..length], &signature).is_ok())
        };
        if operators.iter().any(by) { Ok(rotation) } else { Err(RotationError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    const HEAD: RotationHead = RotationHead {
        swarm_id: [1; 8],
        epoch: 2,
        number: 1_790_000_000,
        member: 0x0a00_0002,
        deadline_s: 86_400,
    };

    fn keys() -> NewKeys {
        NewKeys { swarm_key: SwarmKey([9; 16]), channel_key: [8; 32] }
    }

    fn public(secret: [u8; 32]) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(secret)).to_bytes()
    }

    fn record() -> ([u8; MAX_ROTATION], usize, [u8; 32]) {
        let operator = SigningKey::from_bytes(&[0x11; 32]);
        let rotation = Rotation::seal(HEAD, &public([5; 32]), [6; 32], &keys()).unwrap();
        let mut bytes = [0; MAX_ROTATION];
        let length = rotation.encode(&mut bytes, |signed| operator.sign(signed).to_bytes()).unwrap();
        (bytes, length, operator.verifying_key().to_bytes())
    }

    #[test]
    fn its_member_reads_it_and_nobody_else() {
        let (bytes, length, operator) = record();
        assert!(length <= MAX_ROTATION, "{length}");
        let rotation = Rotation::decode(&bytes[..length], &[[0; 32], operator]).unwrap();
        assert_eq!(rotation.head, HEAD);
        assert_eq!(rotation.open(&[5; 32]), Some(keys()));
        assert_eq!(rotation.open(&[7; 32]), None);
    }

    #[test]
    fn any_change_is_noticed() {
        let (bytes, length, operator) = record();
        for at in 0..length {
            let mut changed = bytes;
            changed[at] ^= 1;
            let read = Rotation::decode(&changed[..length], &[operator]);
            assert!(read.is_err(), "byte {at}: {read:?}");
        }
        assert_eq!(Rotation::decode(&bytes[..length], &[[3; 32]]), Err(RotationError::Signature));
        assert!(Rotation::decode(&bytes[..length - 1], &[operator]).is_err());
    }

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        assert_eq!(Rotation::seal(HEAD, &[0; 32], [6; 32], &keys()), None);
    }
}
