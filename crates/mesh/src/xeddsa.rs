//! Signatures on broadcasts: XEdDSA, Ed25519 under the X25519 key that NodeInfo tells (firmware 2.8).
//!
//! What is signed: sender, packet id and port (u32 each, little-endian), then the payload. The receiver maps the public key to the
//! Edwards curve with sign bit 0; whoever signs negates its scalar where that is the other point. The scheme is Signal's
//! (Perrin, "The XEdDSA and VXEdDSA Signature Schemes", 2016).

use core::fmt;

use curve25519_dalek::{
    EdwardsPoint, MontgomeryPoint, Scalar, edwards::CompressedEdwardsY, scalar::clamp_integer,
};
use sha2::{Digest, Sha512};

use crate::{
    packet::{NodeNum, PacketId, SIGNATURE},
    pkc::{KEY, KeyPair},
};

/// What is signed besides the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Sender.
    pub from: NodeNum,
    /// Packet id.
    pub id: PacketId,
    /// Port.
    pub port: u16,
}

impl Signed {
    fn bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[8..].copy_from_slice(&u32::from(self.port).to_le_bytes());
        bytes
    }
}

/// What is done with broadcasts that are not signed; the discriminants are those of Meshtastic's schema. A signature that is wrong
/// is never accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Policy {
    /// They are accepted.
    #[default]
    Compatible = 0,
    /// Those of nodes that were seen to sign are dropped, if a signature would have fitted.
    Balanced = 1,
    /// All are dropped, and so are unicasts that are not under public keys.
    Strict = 2,
}

/// The signing half of a key pair.
#[derive(Clone)]
pub struct Signer {
    secret: Scalar,
    public: CompressedEdwardsY,
}

/// Says nothing of the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

impl Signer {
    /// From a node's key pair.
    pub fn new(keys: &KeyPair) -> Self {
        let scalar = Scalar::from_bytes_mod_order(clamp_integer(keys.private()));
        let sign = EdwardsPoint::mul_base(&scalar).compress().to_bytes()[31] >> 7;
        // Negated where the sign is 1, without a branch on a secret.
        let secret = scalar - scalar * Scalar::from(2 * sign);
        let public = EdwardsPoint::mul_base(&secret).compress();
        Self { secret, public }
    }

    /// Signs. `random` makes two signatures of the same message differ; the key is safe even if it is guessed.
    pub fn sign(&self, what: &Signed, payload: &[u8], random: &[u8; 64]) -> [u8; SIGNATURE] {
        let mut hash = Sha512::new();
        // Hash number 1 of the scheme: 2^256 - 1 - 1, little-endian.
        hash.update([0xFE]);
        hash.update([0xFF; 31]);
        hash.update(self.secret.to_bytes());
        hash.update(what.bytes());
        hash.update(payload);
        hash.update(random);
        let nonce = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let commitment = EdwardsPoint::mul_base(&nonce).compress();
        let challenge = challenge(&commitment, &self.public, what, payload);
        let response = nonce + challenge * self.secret;
        let mut signature = [0; SIGNATURE];
        signature[..32].copy_from_slice(commitment.as_bytes());
        signature[32..].copy_from_slice(response.as_bytes());
        signature
    }
}

fn challenge(
    commitment: &CompressedEdwardsY,
    public: &CompressedEdwardsY,
    what: &Signed,
    payload: &[u8],
) -> Scalar {
    let mut hash = Sha512::new();
    hash.update(commitment.as_bytes());
    hash.update(public.as_bytes());
    hash.update(what.bytes());
    hash.update(payload);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// Whether the signature is that of the node with this public key. Nothing here is secret.
pub fn verify(public: &[u8; KEY], what: &Signed, payload: &[u8], signature: &[u8; SIGNATURE]) -> bool {
    let Some(key) = MontgomeryPoint(*public).to_edwards(0) else { return false };
    if key.is_small_order() {
        return false;
    }
    let (Ok(commitment), Ok(response)) = (signature[..32].try_into(), signature[32..].try_into()) else {
        return false;
    };
    let commitment = CompressedEdwardsY(commitment);
    let Some(response) = Option::<Scalar>::from(Scalar::from_canonical_bytes(response)) else { return false };
    let challenge = challenge(&commitment, &key.compress(), what, payload);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, &-key, &response);
    expected.compress() == commitment
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    const WHAT: Signed = Signed { from: NodeNum(0x1234_5678), id: PacketId(9), port: 256 };

    fn keys(byte: u8) -> KeyPair {
        KeyPair::from_private([byte; 32])
    }

    #[test]
    fn signatures_of_keys_of_both_signs_verify() {
        let mut signs = [0; 2];
        for byte in 1..40 {
            let keys = keys(byte);
            let scalar = Scalar::from_bytes_mod_order(clamp_integer(keys.private()));
            signs[usize::from(EdwardsPoint::mul_base(&scalar).compress().to_bytes()[31] >> 7)] += 1;
            let signature = Signer::new(&keys).sign(&WHAT, b"hello", &[byte; 64]);
            assert!(verify(keys.public(), &WHAT, b"hello", &signature), "key {byte}");
        }
        assert!(signs[0] > 5 && signs[1] > 5, "{signs:?}");
    }

    #[test]
    fn nothing_else_verifies() {
        let keys1 = keys(1);
        let signature = Signer::new(&keys1).sign(&WHAT, b"hello", &[0; 64]);
        assert!(!verify(keys1.public(), &WHAT, b"hellp", &signature));
        assert!(!verify(keys(2).public(), &WHAT, b"hello", &signature));
        for what in [
            Signed { from: NodeNum(1), ..WHAT },
            Signed { id: PacketId(1), ..WHAT },
            Signed { port: 1, ..WHAT },
        ] {
            assert!(!verify(keys1.public(), &what, b"hello", &signature));
        }
        for at in 0..SIGNATURE {
            let mut bad = signature;
            bad[at] ^= 4;
            assert!(!verify(keys1.public(), &WHAT, b"hello", &bad), "byte {at}");
        }
        // The same response plus the group's order, which is not canonical.
        let order = hex!("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut malleable = signature;
        let mut carry = 0;
        for (byte, add) in malleable[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert!(!verify(keys1.public(), &WHAT, b"hello", &malleable));
    }

    #[test]
    fn keys_that_are_no_points_or_of_low_order_verify_nothing() {
        let zeros = [0; SIGNATURE];
        for public in [[0; 32], [0xff; 32], [2; 32]] {
            assert!(!verify(&public, &WHAT, b"", &zeros));
        }
        // Identity as commitment, zero as response: valid for a key of low order if nobody looks.
        let mut identity = [0; SIGNATURE];
        identity[0] = 1;
        for low in [[0; 32], hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")] {
            assert!(!verify(&low, &WHAT, b"", &identity));
        }
    }
}
