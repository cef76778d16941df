//! Packing: keys, delegation, and the signed bundle of a task part.

use anyhow::{Context as _, Result, anyhow};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delegation, Manifest, build_stream,
    object::Layout,
};
use compotastic_model::TaskPart;
use ed25519_dalek::SigningKey;

/// Largest content that a delegation made here lets an edge node sign.
pub const SIZE_CAP: u32 = 16 * 1024;

/// A bundle, ready to be published.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The delegation of the signer, signed by an operator's root key.
    pub delegation: Vec<u8>,
    /// The signed manifest, in its one-frame form.
    pub manifest: Vec<u8>,
    /// The content.
    pub content: Vec<u8>,
    /// Bytes that have to cross the air once: manifest, content and piece hashes.
    pub bytes: usize,
    /// Pieces.
    pub pieces: u32,
}

/// An operator's root key, or an edge node's. The seed is the secret.
pub fn signing_key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(seed)
}

/// A root key delegates the signing of models and policies to an edge node's key.
pub fn delegate(root: &SigningKey, edge: &SigningKey, classes: ClassMask, epoch: u32) -> Vec<u8> {
    let kinds = compotastic_bundle::KindMask::EDGE;
    let public_key = edge.verifying_key().to_bytes();
    Delegation { public_key, kinds, classes, size_cap: SIZE_CAP, epoch }.sign(root).to_vec()
}

/// Signs a task part for device classes.
pub fn pack(part: &[u8], classes: ClassMask, edge: &SigningKey, delegation: &[u8]) -> Result<Bundle> {
    let parsed = TaskPart::parse(part).context("the content is no task part")?;
    let size = u32::try_from(part.len())?;
    let layout = Layout::new(size, DEFAULT_PIECE_SIZE)
        .ok_or_else(|| anyhow!("a content of {size} bytes has no layout"))?;
    let mut stream = vec![0; layout.stream_len() as usize];
    let identity = build_stream(part, DEFAULT_PIECE_SIZE, &mut stream)
        .ok_or_else(|| anyhow!("a content of {size} bytes cannot be cut into pieces"))?;
    let sequence = u32::from(parsed.version());
    let manifest = Manifest {
        base_id: parsed.base_id(),
        ram: 4096,
        ..Manifest::of(&identity, ComponentKind::Model, parsed.task(), sequence, classes)
    };
    let packed =
        ClaimedManifest::sign(manifest, edge).map_err(|error| anyhow!("cannot sign: {error}"))?.to_packed();
    Ok(Bundle {
        delegation: delegation.to_vec(),
        bytes: packed.len() + stream.len(),
        manifest: packed.to_vec(),
        content: part.to_vec(),
        pieces: layout.pieces(),
    })
}
