//! Direct messages under public keys: X25519, SHA-256, AES-256-CCM.
//!
//! On the air such a packet has channel hash 0, and its payload is ciphertext, a tag of 8 bytes and 4 bytes of nonce that are
//! drawn for it. Key pairs come from outside; nothing here is random by itself. The layout was checked against a running node
//! (firmware 2.7.26) in both directions.

use core::fmt;

use aes::Aes256;
use ccm::{
    Ccm,
    aead::{AeadInOut, KeyInit},
    consts::{U8, U13},
};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::packet::{NodeNum, PacketId};

/// Bytes that a direct message is longer than the same packet under a channel's key: tag and extra nonce.
pub const OVERHEAD: usize = TAG + EXTRA_NONCE;
/// Bytes of a public key, and of a private one.
pub const KEY: usize = 32;
const TAG: usize = 8;
const EXTRA_NONCE: usize = 4;

type Cipher = Ccm<Aes256, U8, U13>;

/// A node's key pair.
#[derive(Clone)]
pub struct KeyPair {
    secret: StaticSecret,
    public: [u8; KEY],
}

/// The public key; never the private one.
impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// The pair of a private key, which the host drew from a good source, once, and keeps.
    pub fn from_private(private: [u8; KEY]) -> Self {
        let secret = StaticSecret::from(private);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// The public key, as NodeInfo tells it.
    pub fn public(&self) -> &[u8; KEY] {
        &self.public
    }

    /// The private key, to be stored, and to sign with.
    pub fn private(&self) -> [u8; KEY] {
        self.secret.to_bytes()
    }

    /// The number of a node with this key ([`node_num`]).
    pub fn node_num(&self) -> NodeNum {
        node_num(&self.public)
    }

    /// The key of both directions between this node and a peer. `None` for a public key of low order, which would give
    /// a key that everybody knows.
    pub fn shared_with(&self, peer: &[u8; KEY]) -> Option<SharedKey> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*peer));
        shared.was_contributory().then(|| SharedKey(Sha256::digest(shared.as_bytes()).into()))
    }
}

/// A node's number as firmware 2.8 derives it: CRC-32 (that of zlib) of the public key. Numbers 0 to 3 and 0xFFFFFFFF are
/// reserved ([`NodeNum::is_reserved`]); whoever draws a key pair that has one draws another.
pub fn node_num(public: &[u8; KEY]) -> NodeNum {
    let mut crc = u32::MAX;
    for byte in public {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (0xEDB8_8320 * low);
        }
    }
    NodeNum(!crc)
}

/// The key that two nodes share.
pub struct SharedKey([u8; KEY]);

/// Says nothing of the key.
impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

fn nonce(from: NodeNum, id: PacketId, extra: [u8; EXTRA_NONCE]) -> [u8; 13] {
    let mut nonce = [0; 13];
    nonce[..4].copy_from_slice(&id.0.to_le_bytes());
    nonce[4..8].copy_from_slice(&extra);
    nonce[8..12].copy_from_slice(&from.0.to_le_bytes());
    nonce
}

impl SharedKey {
    /// Encrypts the first `length` bytes of `buffer` and appends tag and extra nonce. Gives the new length; `None` if it does not
    /// fit. `extra` is to be random for each sending.
    pub fn seal(
        &self,
        from: NodeNum,
        id: PacketId,
        extra: u32,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<usize> {
        let (data, rest) = buffer.split_at_mut_checked(length)?;
        let trailer = rest.get_mut(..OVERHEAD)?;
        let extra = extra.to_le_bytes();
        let cipher = Cipher::new(&self.0.into());
        let nonce = nonce(from, id, extra).into();
        let tag = cipher.encrypt_inout_detached(&nonce, &[], data.into()).ok()?;
        trailer[..TAG].copy_from_slice(&tag);
        trailer[TAG..].copy_from_slice(&extra);
        Some(length + OVERHEAD)
    }

    /// Decrypts in place what [`Self::seal`] made. Gives the length of the message, which begins at the first byte; `None` where
    /// the tag does not fit, and `buffer` holds nothing of use then.
    pub fn open(&self, from: NodeNum, id: PacketId, buffer: &mut [u8]) -> Option<usize> {
        let length = buffer.len().checked_sub(OVERHEAD)?;
        let (data, trailer) = buffer.split_at_mut(length);
        let (tag, extra) = trailer.split_at(TAG);
        let tag: [u8; TAG] = tag.try_into().ok()?;
        let nonce = nonce(from, id, extra.try_into().ok()?).into();
        let cipher = Cipher::new(&self.0.into());
        cipher.decrypt_inout_detached(&nonce, &[], data.into(), &tag.into()).ok()?;
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    const A: [u8; 32] = hex!("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    const B: [u8; 32] = hex!("2122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40");
    const FROM: NodeNum = NodeNum(0x1234_5678);
    const ID: PacketId = PacketId(0xdead_beef);
    const DATA: [u8; 12] = hex!("088002120568656c6c6f4800");

    fn seal(key: &SharedKey) -> ([u8; 24], Option<usize>) {
        let mut buffer = [0; 24];
        buffer[..12].copy_from_slice(&DATA);
        let length = key.seal(FROM, ID, 0x0102_0304, &mut buffer, 12);
        (buffer, length)
    }

    #[test]
    fn the_vector_byte_for_byte() {
        let (a, b) = (KeyPair::from_private(A), KeyPair::from_private(B));
        assert_eq!(*a.public(), hex!("07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"));
        assert_eq!(*b.public(), hex!("5869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b"));
        let key = a.shared_with(b.public()).unwrap();
        assert_eq!(key.0, hex!("55e832a7ed7d0f03b46e908d9cca795de2d2bf140fd80308e85a06069ae2b7a4"));
        assert_eq!(b.shared_with(a.public()).unwrap().0, key.0);
        let (sealed, length) = seal(&key);
        assert_eq!(length, Some(24));
        assert_eq!(sealed, hex!("6989a4d1488a511a951b1286fee58256c3c89f7504030201"));
        let mut opened = sealed;
        assert_eq!(key.open(FROM, ID, &mut opened), Some(12));
        assert_eq!(opened[..12], DATA);
    }

    #[test]
    fn the_number_is_the_crc_of_the_public_key() {
        assert_eq!(KeyPair::from_private(A).node_num(), NodeNum(0x2ba7_777e));
    }

    #[test]
    fn whatever_is_changed_does_not_open() {
        let key = KeyPair::from_private(A).shared_with(KeyPair::from_private(B).public()).unwrap();
        let (sealed, _) = seal(&key);
        for at in 0..sealed.len() {
            let mut bad = sealed;
            bad[at] ^= 1;
            assert_eq!(key.open(FROM, ID, &mut bad), None, "byte {at}");
        }
        assert_eq!(key.open(NodeNum(FROM.0 + 1), ID, &mut { sealed }), None);
        assert_eq!(key.open(FROM, PacketId(ID.0 + 1), &mut { sealed }), None);
        let other = KeyPair::from_private(A).shared_with(KeyPair::from_private(A).public()).unwrap();
        assert_eq!(other.open(FROM, ID, &mut { sealed }), None);
        for length in 0..OVERHEAD {
            assert_eq!(key.open(FROM, ID, &mut sealed.to_vec()[..length]), None);
        }
    }

    #[test]
    fn a_buffer_without_room_and_a_key_of_low_order_are_refused() {
        let key = KeyPair::from_private(A).shared_with(KeyPair::from_private(B).public()).unwrap();
        assert_eq!(key.seal(FROM, ID, 1, &mut [0; 23], 12), None);
        assert_eq!(key.seal(FROM, ID, 1, &mut [0; 8], 12), None);
        assert!(KeyPair::from_private(A).shared_with(&[0; 32]).is_none());
    }

    #[test]
    fn private_keys_are_not_shown() {
        let shown = std::format!("{:?} {:?}", KeyPair::from_private(A), SharedKey([7; 32]));
        assert!(!shown.contains("1, 2, 3") && !shown.contains("7, 7"), "{shown}");
    }
}
