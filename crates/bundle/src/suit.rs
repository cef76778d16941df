//! The two encodings of a manifest: SUIT envelope and packed form.
//!
//! The envelope follows draft-ietf-suit-manifest-34 (its CDDL is unchanged in -37): tag 107, `{2: authentication,
//! 3: manifest}`. The manifest is
//!
//! ```text
//! {1: 1, 2: sequence,
//!  3: {2: [[kind, task]],                                      components: one
//!      4: [20, {1: vendor, 2: class, 3: digest, 14: size},     of the image
//!          1, 15, 2, 15]},                                     check vendor, check class
//!  7: [3, 15],                                                 validate: image matches
//!  20: [20, {21: "#c", -257: profile}, 21, 15, -257, nil, 3, 15]}
//! ```
//!
//! Install fetches the content, which is the envelope's integrated payload `#c` where it is in a file, then runs our
//! own command, then checks the image. The class is a UUID of version 8 (RFC 9562) whose last 4 bytes are the mask of
//! device classes, so a device matches each UUID that has its bit (section 8.4.8.2 lets it match any number). A
//! processor that does not know us stops at the vendor; custom parameter and command stand after that check, as section
//! 6.2 demands, and below -256. The profile is a byte string of `[list root, piece size, ram, flash, floor, base or nil,
//! delta or nil, *need]`, delta `[replaces, size, digest of the content]`, need `[kind, task, sequence]`. SUIT digests
//! its manifest with the byte string's head included.
//!
//! Packed, integers little-endian: version 1 in the lower half of byte 0 with [flags](`Flags`) in the upper, kind u8, task
//! u8, piece_size/16 u8, sequence u32, classes u32, size u32, flash u32, ram u32, digest 32, list root 8, base id 8 (what it
//! replaces, in a delta), key id 8, signature 64; then, where the flags say so, the image's size u32 and digest 32, the
//! floor u32, and the needs: kind u8, task u8, sequence u32.

use crate::cose::{self, Cbor, KeyId, Overflow, cbor, written};
use crate::manifest::{
    ClaimedManifest, ClassMask, ComponentKind, Delta, ImageIdentity, MAX_ENVELOPE, MAX_NEEDS, MAX_PACKED,
    Manifest, ManifestError, Need, Needs,
};
use heapless::Vec;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, decode};
use sha2::{Digest, Sha256};

pub(crate) const PACKED_VERSION: u8 = 1;
/// Packed size without delta, floor and needs.
pub(crate) const PACKED_LEN: usize = 144;

const TAG_ENVELOPE: u64 = 107;
/// COSE algorithm id of SHA-256.
const SHA_256: i8 = -16;
/// Reporting policy of all commands: record success and failure with system information.
const REPORT_ALL: u8 = 15;
/// Private parameter and private command of this profile: below -256, where the registries are for private use.
const PROFILE: i16 = -257;
/// UUID version 5 of the name "compotastic" in the DNS name space.
pub(crate) const VENDOR: [u8; 16] =
    [0xE9, 0x98, 0xFD, 0xCC, 0xCE, 0x2D, 0x5E, 0x00, 0xA4, 0xCD, 0xC5, 0x88, 0xEB, 0xC4, 0x17, 0x61];
/// Start of a class: UUID version 5 of "device classes" in the vendor's name space with the version set to 8. The mask
/// follows, most significant byte first.
pub(crate) const CLASS_PREFIX: [u8; 12] =
    [0x41, 0x10, 0xBF, 0xC3, 0x77, 0x40, 0x8A, 0x2D, 0x96, 0x23, 0x62, 0x6F];
/// Where the content is fetched from: the integrated payload of this name.
pub(crate) const CONTENT_URI: &str = "#c";

type DigestBytes = [u8; 36];

/// `[-16, digest]`.
fn suit_digest(digest: &[u8; 32]) -> DigestBytes {
    let mut out = [0; 36];
    out[..4].copy_from_slice(&[0x82, 0x2F, 0x58, 0x20]);
    out[4..].copy_from_slice(digest);
    out
}

fn class_uuid(classes: ClassMask) -> [u8; 16] {
    let mut out = [0; 16];
    out[..12].copy_from_slice(&CLASS_PREFIX);
    out[12..].copy_from_slice(&classes.0.to_be_bytes());
    out
}

fn encode_profile(m: &Manifest) -> Result<Cbor<112>, Overflow> {
    let mut e = cbor();
    e.array(7 + m.needs.len() as u64)?.bytes(&m.list_root)?.u16(m.piece_size)?;
    e.u32(m.ram)?.u32(m.flash)?.u32(m.floor)?;
    if m.base_id == [0; 8] {
        e.null()?
    } else {
        e.bytes(&m.base_id)?
    };
    match &m.delta {
        Some(delta) => e.array(3)?.bytes(&delta.replaces)?.u32(m.size)?.bytes(&m.digest)?,
        None => e.null()?,
    };
    for need in &m.needs {
        e.array(3)?.u8(need.kind as u8)?.u8(need.task)?.u32(need.sequence)?;
    }
    Ok(e)
}

fn encode_install(m: &Manifest) -> Result<Cbor<136>, Overflow> {
    let mut e = cbor();
    e.array(8)?
        .u8(20)?
        .map(2)?
        .u8(21)?
        .str(CONTENT_URI)?
        .i16(PROFILE)?
        .bytes(written(&encode_profile(m)?))?;
    e.u8(21)?.u8(REPORT_ALL)?.i16(PROFILE)?.null()?.u8(3)?.u8(REPORT_ALL)?;
    Ok(e)
}

fn encode_common(m: &Manifest) -> Result<Cbor<112>, Overflow> {
    let image = m.image();
    let mut sequence = cbor::<96>();
    sequence.array(6)?.u8(20)?.map(4)?;
    sequence.u8(1)?.bytes(&VENDOR)?.u8(2)?.bytes(&class_uuid(m.classes))?;
    sequence.u8(3)?.bytes(&suit_digest(&image.digest))?.u8(14)?.u32(image.size)?;
    sequence.u8(1)?.u8(REPORT_ALL)?.u8(2)?.u8(REPORT_ALL)?;
    let mut e = cbor();
    e.map(2)?.u8(2)?.array(1)?.array(2)?.bytes(&[m.kind as u8])?.bytes(&[m.task])?;
    e.u8(4)?.bytes(written(&sequence))?;
    Ok(e)
}

/// The manifest with the head of the byte string around it.
fn encode_manifest(m: &Manifest) -> Result<Cbor<256>, Overflow> {
    let mut inner = cbor::<250>();
    inner.map(5)?.u8(1)?.u8(1)?.u8(2)?.u32(m.sequence)?.u8(3)?.bytes(written(&encode_common(m)?))?;
    inner.u8(7)?.bytes(&[0x82, 0x03, REPORT_ALL])?.u8(20)?.bytes(written(&encode_install(m)?))?;
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

fn kind_of(number: u8) -> Result<ComponentKind, ManifestError> {
    ComponentKind::from_u8(number).ok_or(ManifestError::Malformed)
}

/// The byte string at the front, or none where nil stands there.
fn bytes_or_nil<'b>(d: &mut Decoder<'b>) -> Result<Option<&'b [u8]>, ManifestError> {
    if d.datatype()? == Type::Null {
        d.null()?;
        return Ok(None);
    }
    Ok(Some(d.bytes()?))
}

/// What a profile says beside what every SUIT manifest says; delta as replaces, size and digest of the content.
struct Profile {
    list_root: [u8; 8],
    piece_size: u16,
    ram: u32,
    flash: u32,
    floor: u32,
    base_id: [u8; 8],
    delta: Option<([u8; 8], ImageIdentity)>,
    needs: Needs,
}

fn decode_profile(bytes: &[u8]) -> Result<Profile, ManifestError> {
    let mut d = Decoder::new(bytes);
    let fields = d.array()?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    expect((7..=7 + MAX_NEEDS).contains(&fields))?;
    let (list_root, piece_size) = (fixed(d.bytes()?)?, d.u16()?);
    let (ram, flash, floor) = (d.u32()?, d.u32()?, d.u32()?);
    let base_id = bytes_or_nil(&mut d)?.map_or(Ok([0; 8]), fixed)?;
    let delta = if d.datatype()? == Type::Null {
        d.null()?;
        None
    } else {
        expect(d.array()? == Some(3))?;
        let (replaces, size) = (fixed(d.bytes()?)?, d.u32()?);
        Some((replaces, ImageIdentity { size, digest: fixed(d.bytes()?)? }))
    };
    let mut needs = Needs::new();
    for _ in 7..fields {
        expect(d.array()? == Some(3))?;
        let need = Need { kind: kind_of(d.u8()?)?, task: d.u8()?, sequence: d.u32()? };
        needs.push(need).map_err(|_| ManifestError::Malformed)?;
    }
    Ok(Profile { list_root, piece_size, ram, flash, floor, base_id, delta, needs })
}

/// Fields come in the one order of this profile; what else could differ is caught by encoding again.
fn decode_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let mut d = Decoder::new(bytes);
    expect(d.map()? == Some(5) && d.u8()? == 1 && d.u8()? == 1 && d.u8()? == 2)?;
    let sequence = d.u32()?;
    expect(d.u8()? == 3)?;

    let mut common = Decoder::new(d.bytes()?);
    expect(common.map()? == Some(2) && common.u8()? == 2)?;
    expect(common.array()? == Some(1) && common.array()? == Some(2))?;
    let [kind] = fixed(common.bytes()?)?;
    let [task] = fixed(common.bytes()?)?;
    expect(common.u8()? == 4)?;

    let mut shared = Decoder::new(common.bytes()?);
    expect(shared.array()? == Some(6) && shared.u8()? == 20 && shared.map()? == Some(4))?;
    expect(shared.u8()? == 1 && shared.bytes()? == VENDOR && shared.u8()? == 2)?;
    let class: [u8; 16] = fixed(shared.bytes()?)?;
    let (prefix, mask) = class.split_at(CLASS_PREFIX.len());
    expect(prefix == CLASS_PREFIX && shared.u8()? == 3)?;
    let classes = ClassMask(u32::from_be_bytes(fixed(mask)?));
    let digest = decode_digest(shared.bytes()?)?;
    expect(shared.u8()? == 14)?;
    let image = ImageIdentity { digest, size: shared.u32()? };

    expect(d.u8()? == 7 && d.bytes()? == [0x82, 0x03, REPORT_ALL] && d.u8()? == 20)?;
    let mut install = Decoder::new(d.bytes()?);
    expect(install.array()? == Some(8) && install.u8()? == 20 && install.map()? == Some(2))?;
    expect(install.u8()? == 21 && install.str()? == CONTENT_URI && install.i16()? == PROFILE)?;
    let p = decode_profile(install.bytes()?)?;
    let content = p.delta.map_or(image, |(_, content)| content);
    Ok(Manifest {
        sequence,
        floor: p.floor,
        kind: kind_of(kind)?,
        task,
        classes,
        base_id: p.base_id,
        needs: p.needs,
        delta: p.delta.map(|(replaces, _)| Delta { replaces, result: image }),
        size: content.size,
        digest: content.digest,
        piece_size: p.piece_size,
        list_root: p.list_root,
        flash: p.flash,
        ram: p.ram,
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

/// The upper half of a packed manifest's first byte: which optional fields follow the signature.
struct Flags;

impl Flags {
    /// It is a delta: size and digest of the image follow, and the base's place names what it replaces.
    const DELTA: u8 = 0x10;
    /// The floor follows.
    const FLOOR: u8 = 0x20;
    /// Number of needs, 0 to 2, times 64.
    const NEEDS_SHIFT: u32 = 6;
}

pub(crate) fn pack(c: &ClaimedManifest) -> Vec<u8, MAX_PACKED> {
    let m = &c.manifest;
    let mut first = PACKED_VERSION | (m.needs.len() as u8) << Flags::NEEDS_SHIFT;
    if m.delta.is_some() {
        first |= Flags::DELTA;
    }
    if m.floor != 0 {
        first |= Flags::FLOOR;
    }
    let mut out = Vec::new();
    // Cannot overflow: the capacity is the sum of the longest parts (test `longest_fields_fit`).
    let mut put = |part: &[u8]| {
        let _ = out.extend_from_slice(part);
    };
    // The piece size is a multiple of 16 up to 1024, so the quotient fits a byte.
    put(&[first, m.kind as u8, m.task, (m.piece_size / 16) as u8]);
    for number in [m.sequence, m.classes.0, m.size, m.flash, m.ram] {
        put(&number.to_le_bytes());
    }
    put(&m.digest);
    put(&m.list_root);
    put(&m.delta.map_or(m.base_id, |delta| delta.replaces));
    put(&c.key_id.0);
    put(&c.signature);
    if let Some(Delta { result, .. }) = &m.delta {
        put(&result.size.to_le_bytes());
        put(&result.digest);
    }
    if m.floor != 0 {
        put(&m.floor.to_le_bytes());
    }
    for need in &m.needs {
        put(&[need.kind as u8, need.task]);
        put(&need.sequence.to_le_bytes());
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
    let [first, kind, task, piece_sixteenths] = f.take()?;
    expect(first & 0x0F == PACKED_VERSION)?;
    let mut manifest = Manifest {
        kind: kind_of(kind)?,
        task,
        piece_size: u16::from(piece_sixteenths) * 16,
        sequence: f.u32()?,
        floor: 0,
        classes: ClassMask(f.u32()?),
        size: f.u32()?,
        flash: f.u32()?,
        ram: f.u32()?,
        digest: f.take()?,
        list_root: f.take()?,
        base_id: f.take()?,
        needs: Needs::new(),
        delta: None,
    };
    let (key_id, signature) = (KeyId(f.take()?), f.take()?);
    if first & Flags::DELTA != 0 {
        let replaces = core::mem::take(&mut manifest.base_id);
        let size = f.u32()?;
        manifest.delta = Some(Delta { replaces, result: ImageIdentity { size, digest: f.take()? } });
    }
    if first & Flags::FLOOR != 0 {
        manifest.floor = f.u32()?;
        // No floor is said by leaving it out.
        if manifest.floor == 0 {
            return Err(ManifestError::NotCanonical);
        }
    }
    for _ in 0..first >> Flags::NEEDS_SHIFT {
        let [kind, task] = f.take()?;
        let need = Need { kind: kind_of(kind)?, task, sequence: f.u32()? };
        manifest.needs.push(need).map_err(|_| ManifestError::Malformed)?;
    }
    expect(f.0.is_empty())?;
    Ok(ClaimedManifest { manifest, key_id, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> ClaimedManifest {
        let need = Need { kind: ComponentKind::Firmware, task: 255, sequence: u32::MAX };
        let result = ImageIdentity { digest: [4; 32], size: u32::MAX };
        let manifest = Manifest {
            sequence: u32::MAX,
            floor: u32::MAX,
            kind: ComponentKind::Firmware,
            task: 255,
            classes: ClassMask(u32::MAX),
            base_id: [0; 8],
            needs: Needs::from_array([need; MAX_NEEDS]),
            delta: Some(Delta { replaces: [9; 8], result }),
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
        std::println!("longest envelope: {} bytes", envelope.len());
        assert_eq!(decode_envelope(&envelope), Ok(claimed.clone()));
        let packed = pack(&claimed);
        assert_eq!(packed.len(), MAX_PACKED);
        assert_eq!(unpack(&packed), Ok(claimed));
    }

    #[test]
    fn packed_sizes_are_the_stated_ones() {
        let mut claimed = longest();
        claimed.manifest.floor = 0;
        claimed.manifest.needs.clear();
        assert_eq!(pack(&claimed).len(), 180, "a delta is one record frame");
        claimed.manifest.delta = None;
        assert_eq!(pack(&claimed).len(), PACKED_LEN);
    }
}
