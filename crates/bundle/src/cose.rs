//! The one COSE shape that we use: `COSE_Sign1` with Ed25519 (RFC 9052, RFC 9053), written by hand because the
//! device side has no allocator. An independent implementation reads our vectors in `tests/golden.rs`.

use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::encode::write::Cursor;
use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

/// First 8 bytes of the SHA-256 of an Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// The id of a public key.
    pub fn of(public_key: &[u8; 32]) -> Self {
        Self(first8(&Sha256::digest(public_key)))
    }
}

impl core::fmt::Display for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(crate) fn first8(hash: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&hash[..8]);
    out
}

/// Protected header `{1 (alg): -8 (EdDSA)}`.
const PROTECTED: [u8; 3] = [0xA1, 0x01, 0x27];
/// COSE header label of the key id.
const LABEL_KID: u8 = 4;
/// CBOR tag of `COSE_Sign1`.
const TAG_SIGN1: u64 = 18;

/// Longest payload that we sign: a delegation of 64 bytes at most.
pub(crate) const MAX_PAYLOAD: usize = 72;
/// Longest `COSE_Sign1` with its payload inside.
pub(crate) const MAX_SIGN1: usize = 96 + MAX_PAYLOAD;
/// `["Signature1", protected, external_aad, payload]` with the longest payload.
const MAX_TO_BE_SIGNED: usize = 24 + MAX_PAYLOAD;

/// A CBOR encoder over a fixed array.
pub(crate) type Cbor<const N: usize> = Encoder<Cursor<[u8; N]>>;

/// Something did not fit the fixed buffers; a bounded structure cannot cause it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl<W> From<minicbor::encode::Error<W>> for Overflow {
    fn from(_: minicbor::encode::Error<W>) -> Self {
        Self
    }
}

pub(crate) fn cbor<const N: usize>() -> Cbor<N> {
    Encoder::new(Cursor::new([0; N]))
}

/// The bytes written so far.
pub(crate) fn written<const N: usize>(encoder: &Cbor<N>) -> &[u8] {
    let cursor = encoder.writer();
    &cursor.get_ref()[..cursor.position()]
}

fn to_be_signed(payload: &[u8]) -> Result<Cbor<MAX_TO_BE_SIGNED>, Overflow> {
    let mut e = cbor();
    e.array(4)?.str("Signature1")?.bytes(&PROTECTED)?.bytes(&[])?.bytes(payload)?;
    Ok(e)
}

/// Whether `signature` is the strict Ed25519 signature (no small-order keys, canonical encodings) of `payload`.
pub(crate) fn verify(key: &VerifyingKey, payload: &[u8], signature: &[u8; 64]) -> bool {
    to_be_signed(payload)
        .is_ok_and(|tbs| key.verify_strict(written(&tbs), &Signature::from_bytes(signature)).is_ok())
}

/// Signs `payload` as a `COSE_Sign1` would.
#[cfg(feature = "sign")]
pub(crate) fn sign(key: &ed25519_dalek::SigningKey, payload: &[u8]) -> Result<[u8; 64], Overflow> {
    use ed25519_dalek::Signer;
    Ok(key.sign(written(&to_be_signed(payload)?)).to_bytes())
}

/// Appends a tagged `COSE_Sign1`; no payload means that it is detached.
pub(crate) fn encode_sign1<const N: usize>(
    e: &mut Cbor<N>,
    key_id: KeyId,
    payload: Option<&[u8]>,
    signature: &[u8; 64],
) -> Result<(), Overflow> {
    e.tag(minicbor::data::Tag::new(TAG_SIGN1))?.array(4)?.bytes(&PROTECTED)?;
    e.map(1)?.u8(LABEL_KID)?.bytes(&key_id.0)?;
    match payload {
        Some(payload) => e.bytes(payload)?,
        None => e.null()?,
    };
    e.bytes(signature)?;
    Ok(())
}

/// The parts of a `COSE_Sign1`.
pub(crate) struct Sign1<'a> {
    pub key_id: KeyId,
    pub payload: Option<&'a [u8]>,
    pub signature: [u8; 64],
}

/// Reads a tagged `COSE_Sign1` and requires that nothing follows it.
pub(crate) fn decode_sign1(bytes: &[u8]) -> Option<Sign1<'_>> {
    let mut d = Decoder::new(bytes);
    if d.tag().ok()?.as_u64() != TAG_SIGN1 || d.array().ok()? != Some(4) || d.bytes().ok()? != PROTECTED {
        return None;
    }
    if d.map().ok()? != Some(1) || d.u8().ok()? != LABEL_KID {
        return None;
    }
    let key_id = KeyId(d.bytes().ok()?.try_into().ok()?);
    let payload = if d.datatype().ok()? == minicbor::data::Type::Null {
        d.null().ok()?;
        None
    } else {
        Some(d.bytes().ok()?)
    };
    let signature = d.bytes().ok()?.try_into().ok()?;
    (d.position() == bytes.len()).then_some(Sign1 { key_id, payload, signature })
}

/// A whole signed record (delegation, revocation) in canonical form.
#[cfg(feature = "sign")]
pub(crate) fn signed_record(
    key_id: KeyId,
    payload: &[u8],
    signature: &[u8; 64],
) -> Result<heapless::Vec<u8, MAX_SIGN1>, Overflow> {
    let mut e = cbor::<MAX_SIGN1>();
    encode_sign1(&mut e, key_id, Some(payload), signature)?;
    heapless::Vec::from_slice(written(&e)).map_err(|_| Overflow)
}
