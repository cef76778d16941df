//! A real student on the real base encoder, made without training: each class is the mean of a few sentences.

use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delegation, KindMask, Manifest,
    build_stream, object::Layout,
};
use compotastic_model::{BaseEncoder, CALIBRATION_POINTS, MAX_DIMS, TaskHeader, Vector};
use ed25519_dalek::SigningKey;

use super::root_key;

static BASE: &[u8] = include_bytes!("../../../edge/assets/encoders/base-v1.bin");

/// Class 0: water; class 1: fire.
pub const SENTENCES: [[&str; 3]; 2] = [
    ["the river is rising fast", "flood water in the cellar", "the bridge is under water"],
    ["smoke above the forest", "the barn is burning", "fire on the south slope"],
];
/// The version that answers show.
pub const VERSION: u16 = 7;

pub fn base() -> BaseEncoder<'static> {
    BaseEncoder::parse(BASE).unwrap()
}

/// The task part's bytes.
pub fn part() -> Vec<u8> {
    let base = base();
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
    let largest = means[0].iter().zip(&means[1]).map(|(a, b)| (a - b).abs()).fold(1.0, f64::max);
    let header = TaskHeader {
        task: 1,
        classes: 2,
        version: VERSION,
        base_id: base.id(),
        dims: base.dims() as u16,
        corrections: 0,
        shift: 6,
        correction_step: 0,
        threshold: 0,
        urgent_margin: 0,
        urgent: 0,
        calibration: std::array::from_fn(|point| (128 + 127 * point / (CALIBRATION_POINTS - 1)) as u8),
    };
    let mut bytes = header.emit().to_vec();
    for sign in [1.0, -1.0] {
        let row = means[0].iter().zip(&means[1]).map(|(a, b)| (sign * 127.0 * (a - b) / largest) as i8 as u8);
        bytes.extend(row);
    }
    bytes.extend([0; 4]);
    bytes
}

/// Delegation, manifest and content, as an edge node would pack them for device class 1.
pub fn bundle() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let edge = SigningKey::from_bytes(&[0x22; 32]);
    let content = part();
    let size = content.len() as u32;
    let layout = Layout::new(size, DEFAULT_PIECE_SIZE).unwrap();
    let mut stream = vec![0; layout.stream_len() as usize];
    let identity = build_stream(&content, DEFAULT_PIECE_SIZE, &mut stream).unwrap();
    let classes = ClassMask::of(1);
    let delegation = Delegation {
        public_key: edge.verifying_key().to_bytes(),
        kinds: KindMask::EDGE,
        classes,
        size_cap: 1 << 14,
        epoch: 1,
    };
    let manifest = Manifest {
        sequence: u32::from(VERSION),
        kind: ComponentKind::Model,
        task: 1,
        classes,
        base_id: base().id(),
        replaces: None,
        size,
        digest: identity.digest,
        piece_size: DEFAULT_PIECE_SIZE,
        list_root: identity.list_root,
        flash: size,
        ram: 4096,
    };
    let packed = ClaimedManifest::sign(manifest, &edge).unwrap().to_packed();
    (delegation.sign(&root_key()).to_vec(), packed.to_vec(), content)
}
