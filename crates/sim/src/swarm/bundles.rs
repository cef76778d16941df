//! Bundles that a simulated edge node publishes: a real student on the real base encoder, made without training (each class is
//! the mean of a few sentences), and what somebody without the right keys would make.

use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delegation, Encoder, KindMask, Manifest,
    SliceSource, build_stream,
    object::{Layout, ObjectTag},
};
use compotastic_model::{BaseEncoder, CALIBRATION_POINTS, MAX_DIMS, TaskHeader, Vector};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

/// Device class of all simulated field nodes.
pub const DEVICE_CLASS: u8 = 1;
/// Task of all simulated missions.
pub const TASK: u8 = 1;
/// Root key of somebody whom nobody trusts.
pub(crate) const STRANGER: [u8; 32] = [0x66; 32];
/// Class 0: water; class 1: fire.
pub const SENTENCES: [[&str; 3]; 2] = [
    ["the river is rising fast", "flood water in the cellar", "the bridge is under water"],
    ["smoke above the forest", "the barn is burning", "fire on the south slope"],
];

/// Records and content of one bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Signed delegation of its signer.
    pub delegation: Vec<u8>,
    /// Signed manifest.
    pub manifest: Vec<u8>,
    /// The task part.
    pub content: Vec<u8>,
    /// Tag of the object.
    pub tag: u32,
}

impl Bundle {
    /// Its pieces as they are, hashes included: data of symbols 0, 1 and so on of generation 0.
    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let Some(layout) = Layout::new(self.content.len() as u32, DEFAULT_PIECE_SIZE) else {
            return Vec::new();
        };
        let mut stream = vec![0; layout.stream_len() as usize];
        if build_stream(&self.content, DEFAULT_PIECE_SIZE, &mut stream).is_none() {
            return Vec::new();
        }
        let encoder = Encoder::new(layout, ObjectTag(self.tag));
        (0..layout.generation_len(0))
            .filter_map(|id| {
                let mut piece = [0; DEFAULT_PIECE_SIZE as usize];
                let length = encoder.symbol(0, id, &mut SliceSource(&stream), &mut piece).ok()?;
                Some(piece[..length].to_vec())
            })
            .collect()
    }

    /// SHA-256 of the content.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.content).into()
    }
}

/// A large object, signed by the operator: what a firmware image or its delta is to the nodes that pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large {
    /// Signed manifest.
    pub manifest: Vec<u8>,
    /// Content and piece hashes.
    pub stream: Vec<u8>,
    /// SHA-256 of the content.
    pub digest: [u8; 32],
    /// Tag of the object.
    pub tag: u32,
}

impl Large {
    /// Packs content in pieces of `piece_size` bytes and signs it; none if an object cannot be that large.
    pub fn pack(content: &[u8], version: u32, piece_size: u16, root: &SigningKey) -> Option<Self> {
        let size = u32::try_from(content.len()).ok()?;
        let mut stream = vec![0; Layout::new(size, piece_size)?.stream_len() as usize];
        let identity = build_stream(content, piece_size, &mut stream)?;
        let classes = ClassMask::of(DEVICE_CLASS);
        let manifest =
            Manifest { ram: 4096, ..Manifest::of(&identity, ComponentKind::Firmware, 0, version, classes) };
        let tag = manifest.tag().0;
        let manifest = ClaimedManifest::sign(manifest, root).ok()?.to_packed().to_vec();
        Some(Self { manifest, stream, digest: identity.digest, tag })
    }
}

/// A delegation to an edge node, which may sign so many bytes, and for other classes of devices too.
pub(crate) fn delegation(root: &SigningKey, edge: &SigningKey, size_cap: u32) -> Vec<u8> {
    let delegation = Delegation {
        public_key: edge.verifying_key().to_bytes(),
        kinds: KindMask::EDGE,
        classes: ClassMask(u32::MAX),
        size_cap,
        epoch: 1,
    };
    delegation.sign(root).to_vec()
}

/// Makes bundles.
#[derive(Clone, Debug)]
pub struct Bundles {
    root: SigningKey,
    edge: SigningKey,
    base_id: [u8; 8],
    rows: Vec<u8>,
    dims: u16,
}

impl Bundles {
    /// A maker for a base encoder and the operator's root key.
    pub fn new(base: &BaseEncoder<'_>, root: SigningKey, edge: SigningKey) -> Self {
        let mut vector: Vector = [0; MAX_DIMS];
        let means: Vec<Vec<f64>> = SENTENCES
            .iter()
            .map(|sentences| {
                let mut sum = vec![0.0; base.dims()];
                for sentence in sentences {
                    base.encode(sentence, &mut vector);
                    for (sum, entry) in sum.iter_mut().zip(&vector) {
                        *sum += f64::from(*entry);
                    }
                }
                sum
            })
            .collect();
        // Only the difference of the two means matters; the largest entry becomes 127.
        let differences = || means[0].iter().zip(&means[1]).map(|(a, b)| a - b);
        let largest = differences().map(f64::abs).fold(1.0, f64::max);
        let rows = [1.0, -1.0]
            .into_iter()
            .flat_map(|sign| differences().map(move |entry| (sign * 127.0 * entry / largest) as i8 as u8))
            .collect();
        Self { root, edge, base_id: base.id(), rows, dims: base.dims() as u16 }
    }

    /// The task part of a version.
    pub fn part(&self, version: u16) -> Vec<u8> {
        let header = TaskHeader {
            task: TASK,
            classes: 2,
            version,
            base_id: self.base_id,
            dims: self.dims,
            corrections: 0,
            shift: 6,
            correction_step: 0,
            threshold: 0,
            urgent_margin: 0,
            urgent: 0,
            calibration: std::array::from_fn(|point| (128 + 127 * point / (CALIBRATION_POINTS - 1)) as u8),
        };
        let mut bytes = header.emit().to_vec();
        bytes.extend(&self.rows);
        bytes.extend([0; 4]);
        bytes
    }

    /// A bundle as an edge node packs it.
    pub fn bundle(&self, version: u16) -> Bundle {
        self.pack(&self.part(version), version, DEVICE_CLASS, &self.root, &self.edge)
    }

    /// For another class of devices.
    pub fn for_another_class(&self, version: u16) -> Bundle {
        self.pack(&self.part(version), version, DEVICE_CLASS + 1, &self.root, &self.edge)
    }

    /// By somebody whose root nobody trusts.
    pub fn by_a_stranger(&self, version: u16) -> Bundle {
        let (root, edge) = (SigningKey::from_bytes(&STRANGER), SigningKey::from_bytes(&[0x67; 32]));
        self.pack(&self.part(version), version, DEVICE_CLASS, &root, &edge)
    }

    /// With a manifest that was changed after it was signed.
    pub fn altered(&self, version: u16) -> Bundle {
        let mut bundle = self.bundle(version);
        let middle = bundle.manifest.len() / 2;
        bundle.manifest[middle] ^= 1;
        bundle
    }

    fn pack(&self, content: &[u8], version: u16, class: u8, root: &SigningKey, edge: &SigningKey) -> Bundle {
        let size = content.len() as u32;
        let layout =
            Layout::new(size, DEFAULT_PIECE_SIZE).expect("a task part is no longer than an object may be");
        let mut stream = vec![0; layout.stream_len() as usize];
        let identity =
            build_stream(content, DEFAULT_PIECE_SIZE, &mut stream).expect("the stream has this length");
        let classes = ClassMask::of(class);
        let manifest = Manifest {
            base_id: self.base_id,
            ram: 4096,
            ..Manifest::of(&identity, ComponentKind::Model, TASK, u32::from(version), classes)
        };
        let tag = manifest.tag().0;
        let packed = ClaimedManifest::sign(manifest, edge).expect("all fields are in range").to_packed();
        Bundle {
            delegation: delegation(root, edge, 1 << 14),
            manifest: packed.to_vec(),
            content: content.to_vec(),
            tag,
        }
    }
}
