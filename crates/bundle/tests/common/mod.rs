//! Keys, bundles and a small flash for the tests.
#![allow(dead_code, reason = "each test file uses its part")]

use compotastic_bundle::ramflash::RamFlash;
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delegation, Encoder, Geometry, KindMask,
    Manifest, ObjectIdentity, SliceSource, Target, TrustStore, VerifiedManifest, build_stream,
};
use ed25519_dalek::SigningKey;
use proptest::test_runner::{Config as ProptestConfig, FileFailurePersistence};

/// Failing cases are kept beside the test.
pub fn config(cases: u32) -> ProptestConfig {
    let persistence = Box::new(FileFailurePersistence::WithSource("regressions"));
    ProptestConfig { cases, failure_persistence: Some(persistence), ..ProptestConfig::default() }
}

pub const CLASS: u8 = 3;
pub const TASK: u8 = 7;
pub const BASE: [u8; 8] = *b"the base";

pub fn root_key() -> SigningKey {
    SigningKey::from_bytes(&[0x11; 32])
}

pub fn edge_key() -> SigningKey {
    SigningKey::from_bytes(&[0x22; 32])
}

pub fn public(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

pub fn delegation() -> Delegation {
    Delegation {
        public_key: public(&edge_key()),
        kinds: KindMask::EDGE,
        classes: ClassMask(0xFF),
        size_cap: 1 << 20,
        epoch: 1,
    }
}

/// Believes the root key and what it delegates to the edge key.
pub fn trust() -> TrustStore {
    let mut store = TrustStore::new(&[public(&root_key())]).unwrap();
    store.add_record(&delegation().sign(&root_key())).unwrap();
    store
}

pub fn target() -> Target {
    Target {
        class: CLASS,
        kind: ComponentKind::Model,
        task: TASK,
        base_id: BASE,
        flash: 1 << 20,
        ram: 1 << 16,
        has: heapless::Vec::new(),
    }
}

/// Bytes that do not compress and differ by seed.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Lcg(seed);
    (0..len).map(|_| rng.next() as u8).collect()
}

pub fn manifest_of(object: &ObjectIdentity, sequence: u32) -> Manifest {
    Manifest {
        base_id: BASE,
        ram: 2048,
        ..Manifest::of(object, ComponentKind::Model, TASK, sequence, ClassMask::of(CLASS))
    }
}

pub struct Bundle {
    pub content: Vec<u8>,
    pub stream: Vec<u8>,
    pub manifest: VerifiedManifest,
}

impl Bundle {
    pub fn new(content: Vec<u8>, sequence: u32) -> Self {
        Self::with_piece_size(content, sequence, DEFAULT_PIECE_SIZE)
    }

    pub fn with_piece_size(content: Vec<u8>, sequence: u32, piece_size: u16) -> Self {
        let mut stream = vec![0; content.len() * 2 + 64];
        let object = build_stream(&content, piece_size, &mut stream).unwrap();
        stream.truncate(object.layout.stream_len() as usize);
        let claimed = ClaimedManifest::sign(manifest_of(&object, sequence), &edge_key()).unwrap();
        Self { content, stream, manifest: trust().verify(&claimed).unwrap() }
    }

    pub fn symbol(&self, generation: u8, id: u16) -> Vec<u8> {
        let object = self.manifest.object();
        let mut out = vec![0; usize::from(object.layout.piece_size())];
        let len = Encoder::new(object.layout, object.tag())
            .symbol(generation, id, &mut SliceSource(&self.stream), &mut out)
            .unwrap();
        out.truncate(len);
        out
    }

    /// Uncoded symbols, the last first.
    pub fn pieces(&self) -> impl Iterator<Item = (u8, u16)> + use<> {
        let layout = self.manifest.object().layout;
        (0..layout.generations())
            .rev()
            .flat_map(move |g| (0..layout.generation_len(g)).rev().map(move |id| (g, id)))
    }
}

/// 64 KiB with the write size of an STM32 and small pages.
pub type Flash = RamFlash<65536, 8, 2048>;

/// Slots for 4 KB at the start of it.
pub fn geometry() -> Geometry {
    Geometry::packed::<Flash>(0, 4096, DEFAULT_PIECE_SIZE, 32).unwrap()
}

/// A generator for tests: same numbers on all machines.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(n)) >> 31) as u32
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}
