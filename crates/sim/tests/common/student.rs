//! A real student on the real base encoder, made without training: each class is the mean of a few sentences.

use compotastic_model::BaseEncoder;
use compotastic_sim::swarm::Bundles;
use ed25519_dalek::SigningKey;

use super::root_key;

static BASE: &[u8] = include_bytes!("../../../edge/assets/encoders/base-v1.bin");

/// Class 0: water; class 1: fire.
pub const SENTENCES: [[&str; 3]; 2] = compotastic_sim::swarm::bundles::SENTENCES;
/// The version that answers show.
pub const VERSION: u16 = 7;

pub fn base() -> BaseEncoder<'static> {
    BaseEncoder::parse(BASE).unwrap()
}

fn bundles() -> Bundles {
    Bundles::new(&base(), root_key(), SigningKey::from_bytes(&[0x22; 32]))
}

/// The task part's bytes.
pub fn part() -> Vec<u8> {
    bundles().part(VERSION)
}

/// Delegation, manifest and content, as an edge node would pack them for device class 1.
pub fn bundle() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let bundle = bundles().bundle(VERSION);
    (bundle.delegation, bundle.manifest, bundle.content)
}
