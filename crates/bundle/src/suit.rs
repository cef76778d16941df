//! The two encodings of a manifest: SUIT envelope and packed form.
//!
//! Envelope (draft-ietf-suit-manifest): tag 107, `{2: authentication, 3: manifest}`. The manifest is
//! `{1: 1, 2: sequence, 3: common, 7: [3, 15]}` (validate: condition-image-match); common is `{2: [[kind, task]],
//! 4: [20, parameters, -1, nil]}` (override-parameters, then our own condition, so that a processor which does not
//! know this profile refuses); parameters are `{3: digest, 14: size, -1: profile}` with profile a byte string of
//! `[classes, base_id, replaces or nil, piece_size, list_root, flash, ram]`. SUIT digests its manifest with the
//! byte string's head included.
//!
//! Packed, integers little-endian: version 1, kind u8, task u8, piece_size/16 u8, sequence u32, classes u32, size u32,
//! flash u32, ram u32, digest 32, list root 8, base id 8, key id 8, signature 64, and 8 bytes more if it replaces
//! some content.

use crate::cose::{self, Cbor, KeyId, Overflow, cbor, written};
use crate::manifest::{
    ClaimedManifest, ClassMask, ComponentKind, MAX_ENVELOPE, MAX_PACKED, Manifest, ManifestError,
};
use heapless::Vec;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, decode};
use sha2::{Digest, Sha256};

pub(crate) const PACKED_VERSION: u8 = 1;
/// Packed size without `replaces`.
pub(crate) const PACKED_LEN: usize = 144;

const TAG_ENVELOPE: u64 = 107;
/// COSE algorithm id of SHA-256.
const SHA_256: i8 = -16;
/// Reporting policy of the image-match condition: record success and failure with system information.
const REPORT_ALL: u8 = 15;
/// Private parameter and private command of this profile.
const PROFILE: i8 = -1;

type DigestBytes = [u8; 36];

/// `[-16, digest]`.
fn suit_digest(digest: &[u8; 32]) -> DigestBytes {
    let mut out = [0; 36];
    out[..4].copy_from_slice(&[0x82, 0x2F, 0x58, 0x20]);
    out[4..].copy_from_slice(digest);
    out
}

fn encode_profile(m: &Manifest) -> Result<Cbor<64>, Overflow> {
    let mut e = cbor();
    e.array(7)?.u32(m.classes.0)?.bytes(&m.base_id)?;
    match &m.replaces {
        Some(id) => e.bytes(id)?,
        None => e.null()?,
    };
    e.u16(m.piece_size)?.bytes(&m.list_root)?.u32(m.flash)?.u32(m.ram)?;
    Ok(e)
}

fn encode_common(m: &Manifest) -> Result<Cbor<160>, Overflow> {
    let mut sequence = cbor::<144>();
    sequence.array(4)?.u8(20)?.map(3)?;
    sequence.u8(3)?.bytes(&suit_digest(&m.digest))?;
    sequence.u8(14)?.u32(m.size)?;
    sequence.i8(PROFILE)?.bytes(written(&encode_profile(m)?))?;
    sequence.i8(PROFILE)?.null()?;
    let mut e = cbor();
    e.map(2)?.u8(2)?.array(1)?.array(2)?.bytes(&[m.kind as u8])?.bytes(&[m.task])?;
    e.u8(4)?.bytes(written(&sequence))?;
    Ok(e)
}

/// The manifest with the head of the byte string around it.
fn encode_manifest(m: &Manifest) -> Result<Cbor<184>, Overflow> {
    let mut inner = cbor::<180>();
    inner.map(4)?.u8(1)?.u8(1)?.u8(2)?.u32(m.sequence)?.u8(3)?.bytes(written(&encode_common(m)?))?;
    inner.u8(7)?.bytes(&[0x82, 0x03, REPORT_ALL])?;
    let mut e = cbor();
    e.bytes(written(&inner))?;
    Ok(e)
}

/// The payload that is signed: the SUIT digest of the encoded manifest.
pub(crate) fn signed_digest(m: &Manifest) -> DigestBytes {
    // The buffers hold the longest of each field (test `longest_fields_fit`), so the fallback is never taken;
    // an all-zero digest would not verify.
    let digest = encode_manifest(m).map(|e| Sha256::digest(written(&e)).into()).unwrap_or([0; 32]);
    suit_digest(&digest)
}

fn try_encode_envelope(c: &ClaimedManifest) -> Result<Vec<u8, MAX_ENVELOPE>, Overflow> {
    let mut sign1 = cbor::<96>();
    cose::encode_sign1(&mut sign1, c.key_id, None, &c.signature)?;
    let mut authentication = cbor::<140>();
    authentication.array(2)?.bytes(&signed_digest(&c.manifest))?.bytes(written(&sign1))?;
    let mut e = cbor::<8>();
    e.tag(Tag::new(TAG_ENVELOPE))?.map(2)?.u8(2)?;
    let mut head = cbor::<144>();
    head.bytes(written(&authentication))?.u8(3)?;
    let mut out = Vec::new();
    for part in [written(&e), written(&head), written(&encode_manifest(&c.manifest)?)] {
        out.extend_from_slice(part).map_err(|_| Overflow)?;
    }
    Ok(out)
}

pub(crate) fn encode_envelope(c: &ClaimedManifest) -> Vec<u8, MAX_ENVELOPE> {
    try_encode_envelope(c).unwrap_or_default()
}

impl From<decode::Error> for ManifestError {
    fn from(_: decode::Error) -> Self {
        Self::Malformed
    }
}

fn expect(holds: bool) -> Result<(), ManifestError> {
    if holds { Ok(()) } else { Err(ManifestError::Malformed) }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ManifestError> {
    bytes.try_into().map_err(|_| ManifestError::Malformed)
}

fn decode_digest(bytes: &[u8]) -> Result<[u8; 32], ManifestError> {
    let mut d = Decoder::new(bytes);
    expect(d.array()? == Some(2) && d.i8()? == SHA_256)?;
    fixed(d.bytes()?)
}

/// Fields come in the one order of this profile; what else could differ is caught by encoding again.
fn decode_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let mut d = Decoder::new(bytes);
    expect(d.map()? == Some(4) && d.u8()? == 1 && d.u8()? == 1 && d.u8()? == 2)?;
    let sequence = d.u32()?;
    expect(d.u8()? == 3)?;

    let mut common = Decoder::new(d.bytes()?);
    expect(common.map()? == Some(2) && common.u8()? == 2)?;
    expect(common.array()? == Some(1) && common.array()? == Some(2))?;
    let [kind] = fixed(common.bytes()?)?;
    let [task] = fixed(common.bytes()?)?;
    expect(common.u8()? == 4)?;

    let mut seq = Decoder::new(common.bytes()?);
    expect(seq.array()? == Some(4) && seq.u8()? == 20 && seq.map()? == Some(3) && seq.u8()? == 3)?;
    let digest = decode_digest(seq.bytes()?)?;
    expect(seq.u8()? == 14)?;
    let size = seq.u32()?;
    expect(seq.i8()? == PROFILE)?;

    let mut p = Decoder::new(seq.bytes()?);
    expect(p.array()? == Some(7))?;
    let classes = ClassMask(p.u32()?);
    let base_id = fixed(p.bytes()?)?;
    let replaces = if p.datatype()? == Type::Null {
        p.null()?;
        None
    } else {
        Some(fixed(p.bytes()?)?)
    };
    let (piece_size, list_root) = (p.u16()?, fixed(p.bytes()?)?);
    let (flash, ram) = (p.u32()?, p.u32()?);
    let kind = ComponentKind::from_u8(kind).ok_or(ManifestError::Malformed)?;
    Ok(Manifest {
        sequence,
        kind,
        task,
        classes,
        base_id,
        replaces,
        size,
        digest,
        piece_size,
        list_root,
        flash,
        ram,
    })
}

pub(crate) fn decode_envelope(bytes: &[u8]) -> Result<ClaimedManifest, ManifestError> {
    let mut d = Decoder::new(bytes);
    expect(d.tag()?.as_u64() == TAG_ENVELOPE && d.map()? == Some(2) && d.u8()? == 2)?;
    let mut authentication = Decoder::new(d.bytes()?);
    expect(authentication.array()? == Some(2))?;
    let digest = decode_digest(authentication.bytes()?)?;
    let sign1 = cose::decode_sign1(authentication.bytes()?).ok_or(ManifestError::Malformed)?;
    expect(sign1.payload.is_none() && d.u8()? == 3)?;
    let manifest_start = d.position();
    let manifest = decode_manifest(d.bytes()?)?;
    expect(d.position() == bytes.len())?;
    if <[u8; 32]>::from(Sha256::digest(&bytes[manifest_start..])) != digest {
        return Err(ManifestError::Digest);
    }
    let claimed = ClaimedManifest { manifest, key_id: sign1.key_id, signature: sign1.signature };
    if encode_envelope(&claimed) != bytes {
        return Err(ManifestError::NotCanonical);
    }
    Ok(claimed)
}

pub(crate) fn pack(c: &ClaimedManifest) -> Vec<u8, MAX_PACKED> {
    let m = &c.manifest;
    let mut out = Vec::new();
    let parts: [&[u8]; 12] = [
        // The piece size is a multiple of 16 up to 1024, so the quotient fits a byte.
        &[PACKED_VERSION, m.kind as u8, m.task, (m.piece_size / 16) as u8],
        &m.sequence.to_le_bytes(),
        &m.classes.0.to_le_bytes(),
        &m.size.to_le_bytes(),
        &m.flash.to_le_bytes(),
        &m.ram.to_le_bytes(),
        &m.digest,
        &m.list_root,
        &m.base_id,
        &c.key_id.0,
        &c.signature,
        m.replaces.as_ref().map_or(&[], |id| id.as_slice()),
    ];
    for part in parts {
        // Cannot overflow: the capacity is the sum of the longest parts.
        let _ = out.extend_from_slice(part);
    }
    out
}

/// Takes fixed-size fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(ManifestError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, ManifestError> {
        self.take().map(u32::from_le_bytes)
    }
}

pub(crate) fn unpack(bytes: &[u8]) -> Result<ClaimedManifest, ManifestError> {
    let mut f = Fields(bytes);
    let [version, kind, task, piece_sixteenths] = f.take()?;
    expect(version == PACKED_VERSION)?;
    let manifest = Manifest {
        kind: ComponentKind::from_u8(kind).ok_or(ManifestError::Malformed)?,
        task,
        piece_size: u16::from(piece_sixteenths) * 16,
        sequence: f.u32()?,
        classes: ClassMask(f.u32()?),
        size: f.u32()?,
        flash: f.u32()?,
        ram: f.u32()?,
        digest: f.take()?,
        list_root: f.take()?,
        base_id: f.take()?,
        replaces: None,
    };
    let (key_id, signature) = (KeyId(f.take()?), f.take()?);
    let replaces = if f.0.is_empty() { None } else { Some(f.take()?) };
    expect(f.0.is_empty())?;
    Ok(ClaimedManifest { manifest: Manifest { replaces, ..manifest }, key_id, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> ClaimedManifest {
        let manifest = Manifest {
            sequence: u32::MAX,
            kind: ComponentKind::Firmware,
            task: 255,
            classes: ClassMask(u32::MAX),
            base_id: [7; 8],
            replaces: Some([9; 8]),
            size: 1 << 20,
            digest: [3; 32],
            piece_size: 1024,
            list_root: [5; 8],
            flash: u32::MAX,
            ram: u32::MAX,
        };
        ClaimedManifest { manifest, key_id: KeyId([1; 8]), signature: [2; 64] }
    }

    #[test]
    fn longest_fields_fit() {
        let claimed = longest();
        assert!(encode_manifest(&claimed.manifest).is_ok());
        let envelope = try_encode_envelope(&claimed).expect("the buffers hold the longest envelope");
        assert!(envelope.len() <= 2 * 190, "{}", envelope.len());
        assert_eq!(decode_envelope(&envelope), Ok(claimed.clone()));
        let packed = pack(&claimed);
        assert_eq!(packed.len(), MAX_PACKED);
        assert_eq!(unpack(&packed), Ok(claimed));
    }

    #[test]
    fn packed_size_is_the_stated_one() {
        let mut claimed = longest();
        claimed.manifest.replaces = None;
        assert_eq!(pack(&claimed).len(), PACKED_LEN);
    }
}
