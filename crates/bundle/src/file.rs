//! A bundle as one file: the SUIT envelope with the content in it.
//!
//! It is the envelope of [`crate::suit`] with integrated payloads, as SUIT has them: `{2: authentication, 3: manifest,
//! "#c": content}`, and `"#d"`, the signer's delegation, where an edge key signed. The manifest fetches `#c`.

use crate::manifest::{ClaimedManifest, MAX_ENVELOPE, ManifestError};
use crate::suit::CONTENT_URI;
use core::fmt;
use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

const DELEGATION: &str = "#d";
/// Tag 107, two bytes; then the map's head.
const HEAD: [u8; 2] = [0xD8, 0x6B];

/// A bundle with its content, as read from a file. Nobody has checked who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile<'a> {
    /// The manifest.
    pub claimed: ClaimedManifest,
    /// The content, of the size and hash that the manifest names.
    pub content: &'a [u8],
    /// The delegation of an edge key, by an operator's root key.
    pub delegation: Option<&'a [u8]>,
}

/// Why bytes are no bundle file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// Not an envelope with integrated payloads `#c` and perhaps `#d`, in this order.
    Malformed,
    /// The manifest in it is none of this profile.
    Manifest(ManifestError),
    /// The content is not what the manifest says.
    Content,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a bundle file"),
            Self::Manifest(error) => error.fmt(f),
            Self::Content => f.write_str("the content is not what the manifest says"),
        }
    }
}

impl core::error::Error for FileError {}

impl From<minicbor::decode::Error> for FileError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed
    }
}

impl<'a> BundleFile<'a> {
    /// Reads a file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FileError> {
        let map = bytes.strip_prefix(&HEAD).ok_or(FileError::Malformed)?;
        let mut d = Decoder::new(map);
        let entries = d.map()?;
        let has_delegation = entries == Some(4);
        if !has_delegation && entries != Some(3) {
            return Err(FileError::Malformed);
        }
        let start = d.position();
        for key in [2, 3] {
            if d.u8()? != key {
                return Err(FileError::Malformed);
            }
            d.bytes()?;
        }
        // What remains without the payloads is the envelope, but for the number of entries.
        let mut envelope = heapless::Vec::<u8, MAX_ENVELOPE>::new();
        for part in [&HEAD[..], &[0xA2], &map[start..d.position()]] {
            envelope.extend_from_slice(part).map_err(|_| FileError::Malformed)?;
        }
        let claimed = ClaimedManifest::parse(&envelope).map_err(FileError::Manifest)?;
        if d.str()? != CONTENT_URI {
            return Err(FileError::Malformed);
        }
        let content = d.bytes()?;
        let delegation = if has_delegation {
            if d.str()? != DELEGATION {
                return Err(FileError::Malformed);
            }
            Some(d.bytes()?)
        } else {
            None
        };
        if d.position() != map.len() {
            return Err(FileError::Malformed);
        }
        let manifest = claimed.claims();
        if content.len() as u64 != u64::from(manifest.size)
            || <[u8; 32]>::from(Sha256::digest(content)) != manifest.digest
        {
            return Err(FileError::Content);
        }
        Ok(Self { claimed, content, delegation })
    }

    /// Gives the file's bytes, part by part.
    pub fn emit(&self, mut put: impl FnMut(&[u8])) {
        put(&HEAD);
        put(&[if self.delegation.is_some() { 0xA4 } else { 0xA3 }]);
        // Tag and map head of the envelope are three bytes.
        put(self.claimed.to_envelope().get(3..).unwrap_or_default());
        emit_payload(CONTENT_URI, self.content, &mut put);
        if let Some(delegation) = self.delegation {
            emit_payload(DELEGATION, delegation, &mut put);
        }
    }
}

fn emit_payload(name: &str, bytes: &[u8], put: &mut impl FnMut(&[u8])) {
    let mut e = Encoder::new(minicbor::encode::write::Cursor::new([0; 16]));
    // A name of two letters takes 3 bytes, the head of a byte string 9 at most.
    if e.str(name).and_then(|e| e.bytes_len(bytes.len() as u64)).is_ok() {
        let written = e.writer().position();
        put(&e.writer().get_ref()[..written]);
        put(bytes);
    }
}
