//! A device that updates its own firmware, in flash that can fail, and what its neighbours give it.

#![allow(dead_code, reason = "each test uses a part")]

use std::{cell::RefCell, rc::Rc};

use crate::common::{self, Mate, code::code};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delta, Encoder, Geometry, ImageIdentity,
    Manifest, SliceSource, Slots, TrustStore,
    boot::{ImageGeometry, NativeGeometry, NativeImage, RootSigned, Start, provision, start},
    build_stream,
    ramflash::{RamFlash, RamFlashError},
};
use compotastic_delta::encode::{Hint, encode};
use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use compotastic_node::{
    Agent, AgentConfig, AgentEvent,
    agent::{LinkState, OutFrame},
    policy::MissionProfile,
    state::StateLog,
};
use compotastic_wire::{Frame, Record, RecordType, Symbol};
use ed25519_dalek::SigningKey;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sha2::{Digest, Sha256};

pub const CLASS: u8 = 3;
pub const NUM: NodeNum = NodeNum(0x0f00_0001);
pub type Ram = RamFlash<98304>;
pub type Node = Box<Agent<'static, Flash>>;

/// Flash that outlives the agent that uses it. Clones are the same flash.
#[derive(Clone)]
pub struct Flash(pub Rc<RefCell<Box<Ram>>>);

impl Flash {
    pub fn blank() -> Self {
        Self(Rc::new(RefCell::new(Box::new(Ram::new()))))
    }

    /// Another one with the same in it.
    pub fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

impl ErrorType for Flash {
    type Error = RamFlashError;
}
impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamFlashError> {
        self.0.borrow_mut().read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.0.borrow().capacity()
    }
}
impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;
    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamFlashError> {
        self.0.borrow_mut().erase(from, to)
    }
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamFlashError> {
        self.0.borrow_mut().write(offset, bytes)
    }
}

pub fn root() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn trust() -> TrustStore {
    TrustStore::new(&[root().verifying_key().to_bytes()]).unwrap()
}

pub fn geometry() -> NativeGeometry {
    let images = ImageGeometry::packed::<Flash>(0, 4096, 15_000, 4096).unwrap();
    let object = images.end()..images.end() + 20_480;
    let spare = object.end..object.end + 8192;
    NativeGeometry { images, object, spare }
}

/// The image of a version: each differs from the one before in two places.
pub fn image(version: u32) -> Vec<u8> {
    let mut bytes = code(1, 12_000);
    for version in 2..=version {
        let seed = u64::from(version) * 10;
        bytes.splice(1_000..1_020, code(seed, 140));
        bytes.splice(6_000..6_000, code(seed + 1, 60));
    }
    bytes
}

pub fn native(bytes: &[u8], sequence: u32) -> NativeImage {
    NativeImage { digest: Sha256::digest(bytes).into(), size: bytes.len() as u32, sequence, floor: 0 }
}

pub fn digest8(bytes: &[u8]) -> [u8; 8] {
    Sha256::digest(bytes)[..8].try_into().unwrap()
}

/// An object with its signed manifest.
#[derive(Clone)]
pub struct Bundle {
    pub manifest: Vec<u8>,
    pub stream: Vec<u8>,
    pub tag: u32,
}

pub fn pack(content: &[u8], key: &SigningKey, change: impl FnOnce(&mut Manifest)) -> Bundle {
    let mut stream = vec![0; 2 * content.len() + 400];
    let object = build_stream(content, DEFAULT_PIECE_SIZE, &mut stream).unwrap();
    stream.truncate(object.layout.stream_len() as usize);
    let mut manifest = Manifest::of(&object, ComponentKind::Firmware, 0, 1, ClassMask::of(CLASS));
    change(&mut manifest);
    let tag = manifest.tag().0;
    let manifest = ClaimedManifest::sign(manifest, key).unwrap().to_packed().to_vec();
    Bundle { manifest, stream, tag }
}

/// The delta from a version to a later one.
pub fn delta_with(from: u32, to: u32, key: &SigningKey, change: impl FnOnce(&mut Manifest)) -> Bundle {
    let (old, new) = (image(from), image(to));
    let patch = encode(&old, &new, Hint::Unknown).unwrap().bytes;
    assert!(patch.len() < new.len() / 8, "{} bytes", patch.len());
    let result = ImageIdentity { digest: Sha256::digest(&new).into(), size: new.len() as u32 };
    pack(&patch, key, |manifest| {
        manifest.sequence = to;
        manifest.flash = new.len() as u32;
        manifest.delta = Some(Delta { replaces: digest8(&old), result });
        change(manifest);
    })
}

pub fn delta(from: u32, to: u32) -> Bundle {
    delta_with(from, to, &root(), |_| {})
}

/// A device's flash: native images, the model's slots, the state.
pub struct Device {
    pub native: Flash,
    pub slots: Flash,
    pub state: Flash,
}

impl Device {
    /// As it leaves the factory, with version 1.
    pub fn new() -> Self {
        let mut device = Self { native: Flash::blank(), slots: Flash::blank(), state: Flash::blank() };
        let bytes = image(1);
        let proof = pack(&bytes, &root(), |_| {}).manifest;
        let a = geometry().images.slots[0].start as usize;
        let proof_at = a + bytes.len().next_multiple_of(16);
        {
            let mut ram = device.native.0.borrow_mut();
            let mut put =
                |at: usize, bytes: &[u8]| ram.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            put(a, &bytes);
            put(proof_at, &(proof.len() as u16).to_le_bytes());
            put(proof_at + 2, &proof);
        }
        provision(&mut device.native, &geometry().images, &native(&bytes, 1)).unwrap();
        device
    }

    pub fn copy(&self) -> Self {
        Self { native: self.native.copy(), slots: self.slots.copy(), state: self.state.copy() }
    }

    pub fn has_power(&self) -> bool {
        self.native.0.borrow().has_power()
    }

    pub fn operations(&self) -> u64 {
        self.native.0.borrow().operations()
    }

    /// What the boot loader does.
    pub fn start(&mut self) -> Option<Start> {
        let trust = trust();
        let voucher = RootSigned { trust: &trust, class: CLASS };
        let started = start(&mut self.native, &geometry().images, &voucher, &mut [0; 512]);
        assert!(started.is_ok() || !self.has_power(), "{started:?}");
        started.ok()
    }

    /// The version whose bytes are in slot A, whatever anybody says of it.
    pub fn runs(&self) -> u32 {
        let a = geometry().images.slots[0].start as usize;
        let found = (1..6).find(|version| {
            let bytes = image(*version);
            self.native.0.borrow().bytes()[a..a + bytes.len()] == bytes
        });
        found.expect("one of the images")
    }

    /// The running image begins to run.
    pub fn agent(&self, now: Instant) -> Option<Node> {
        let mut agent = self.plain_agent(now)?;
        agent.add_firmware(now, self.native.clone(), geometry()).ok()?;
        Some(agent)
    }

    /// An agent that does not look after the firmware.
    pub fn plain_agent(&self, now: Instant) -> Option<Node> {
        let config = AgentConfig {
            num: NUM,
            device_class: CLASS,
            record_hash: 0,
            keys: common::keys(),
            trust: trust(),
            base: None,
            task: 1,
            profile: MissionProfile::default(),
            command_post: None,
            foundation_model: false,
            foundation_version: 0,
            mains_power: false,
            job_lifetime: Duration::from_secs(3600),
            hop_limit: 3,
        };
        let model = Geometry::packed::<Flash>(0, 4096, 176, 2).unwrap();
        let slots = Slots::open(self.slots.clone(), model).unwrap();
        let state = StateLog::open(self.state.clone()).unwrap();
        Some(Box::new(Agent::new(config, slots, state, 1, now).unwrap()))
    }
}

pub fn link() -> LinkState {
    LinkState {
        utilization_permille: 50,
        queued: 0,
        bulk_queued: false,
        flood_time: Duration::from_secs(3),
        bulk_airtime: Duration::from_millis(1600),
    }
}

/// Runs the agent until a time, by its own contract; what it sent and said.
pub fn run(agent: &mut Node, now: &mut Instant, until: Instant) -> (Vec<OutFrame>, Vec<AgentEvent>) {
    let (mut sent, mut said) = (Vec::new(), Vec::new());
    loop {
        agent.handle_timeout(*now);
        while let Some(frame) = agent.poll_transmit(*now, &link()) {
            sent.push(frame);
        }
        while agent.poll_reminder().is_some() {}
        said.extend(std::iter::from_fn(|| agent.poll_event()));
        let step = *now + Duration::from_millis(20);
        let next = agent.poll_timeout().map_or(until, |at| at.max(step));
        if *now >= until {
            return (sent, said);
        }
        *now = next.min(until);
    }
}

pub fn offers(mate: &mut Mate, agent: &mut Node, now: Instant, bundle: &Bundle) {
    let record = |part: u8, parts: u8, bytes| {
        Frame::Record(Record { record_type: RecordType::Manifest, part, parts, tag: bundle.tag, bytes })
    };
    let parts = bundle.manifest.chunks(200).count() as u8;
    for (part, bytes) in (0..).zip(bundle.manifest.chunks(200)) {
        says(mate, agent, now, &record(part, parts, bytes));
    }
}

pub fn says(mate: &mut Mate, agent: &mut Node, now: Instant, frame: &Frame<'_>) {
    mate.tells(NodeNum::BROADCAST, NodeNum::BROADCAST, frame, |incoming| {
        agent.handle_frame(now, incoming);
    });
}

/// Sends all pieces, from the last on; what the agent said.
pub fn serves(mate: &mut Mate, agent: &mut Node, now: &mut Instant, bundle: &Bundle) -> Vec<AgentEvent> {
    let mut said = Vec::new();
    let claimed = ClaimedManifest::parse(&bundle.manifest).unwrap();
    let layout = claimed.claims().layout().unwrap();
    let encoder = Encoder::new(layout, claimed.claims().tag());
    for generation in (0..layout.generations()).rev() {
        for id in (0..layout.generation_len(generation)).rev() {
            let mut data = [0; 208];
            let source = &mut SliceSource(&bundle.stream);
            let length = encoder.symbol(generation, id, source, &mut data).unwrap();
            let symbol = Symbol {
                object_tag: bundle.tag,
                generation,
                symbol: id,
                more: id.min(255) as u8,
                data: &data[..length],
            };
            says(mate, agent, *now, &Frame::Symbol(symbol));
            *now = *now + Duration::from_secs(2);
            said.extend(run(agent, now, *now).1);
        }
    }
    said
}

/// An object that is the image of a version, not a delta.
pub fn whole(version: u32) -> Bundle {
    pack(&image(version), &root(), |manifest| manifest.sequence = version)
}

pub fn has(said: &[AgentEvent], wanted: impl Fn(&AgentEvent) -> bool) -> bool {
    said.iter().any(wanted)
}
