//! The agent updates its own firmware: what comes over the mesh is decoded, tried and confirmed, whenever power fails; what is not for it is
//! refused.

mod common;

use std::{cell::RefCell, rc::Rc};

use common::{Mate, at, code::code};
use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delegation, Delta, Encoder, Geometry,
    ImageIdentity, KindMask, Manifest, Refusal, SliceSource, Slots, TrustStore,
    boot::{ImageGeometry, NativeGeometry, NativeImage, RootSigned, Start, provision, start},
    build_stream,
    ramflash::{Cut, RamFlash, RamFlashError},
};
use compotastic_delta::encode::{Hint, encode};
use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};
use compotastic_node::{
    Agent, AgentConfig, AgentEvent, BundleRefusal, FirmwareState,
    agent::{LinkState, OutFrame},
    firmware::{TRIAL, TRIAL_MAX},
    manners::Purpose,
    policy::MissionProfile,
    state::StateLog,
};
use compotastic_wire::{
    self as wire, Beacon, Frame, Record, RecordType, Symbol, records::capability::CapabilityRecord,
};
use ed25519_dalek::SigningKey;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use sha2::{Digest, Sha256};

const CLASS: u8 = 3;
const NUM: NodeNum = NodeNum(0x0f00_0001);
type Ram = RamFlash<98304>;
type Node = Box<Agent<'static, Flash>>;

/// Flash that outlives the agent that uses it. Clones are the same flash.
#[derive(Clone)]
struct Flash(Rc<RefCell<Box<Ram>>>);

impl Flash {
    fn blank() -> Self {
        Self(Rc::new(RefCell::new(Box::new(Ram::new()))))
    }

    /// Another one with the same in it.
    fn copy(&self) -> Self {
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

fn root() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn trust() -> TrustStore {
    TrustStore::new(&[root().verifying_key().to_bytes()]).unwrap()
}

fn geometry() -> NativeGeometry {
    let images = ImageGeometry::packed::<Flash>(0, 4096, 15_000, 4096).unwrap();
    let object = images.end()..images.end() + 20_480;
    let spare = object.end..object.end + 8192;
    NativeGeometry { images, object, spare }
}

/// The image of a version: each differs from the one before in two places.
fn image(version: u32) -> Vec<u8> {
    let mut bytes = code(1, 12_000);
    for version in 2..=version {
        let seed = u64::from(version) * 10;
        bytes.splice(1_000..1_020, code(seed, 140));
        bytes.splice(6_000..6_000, code(seed + 1, 60));
    }
    bytes
}

fn native(bytes: &[u8], sequence: u32) -> NativeImage {
    NativeImage { digest: Sha256::digest(bytes).into(), size: bytes.len() as u32, sequence, floor: 0 }
}

fn digest8(bytes: &[u8]) -> [u8; 8] {
    Sha256::digest(bytes)[..8].try_into().unwrap()
}

/// An object with its signed manifest.
#[derive(Clone)]
struct Bundle {
    manifest: Vec<u8>,
    stream: Vec<u8>,
    tag: u32,
}

fn pack(content: &[u8], key: &SigningKey, change: impl FnOnce(&mut Manifest)) -> Bundle {
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
fn delta_with(from: u32, to: u32, key: &SigningKey, change: impl FnOnce(&mut Manifest)) -> Bundle {
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

fn delta(from: u32, to: u32) -> Bundle {
    delta_with(from, to, &root(), |_| {})
}

/// A device's flash: native images, the model's slots, the state.
struct Device {
    native: Flash,
    slots: Flash,
    state: Flash,
}

impl Device {
    /// As it leaves the factory, with version 1.
    fn new() -> Self {
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

    fn copy(&self) -> Self {
        Self { native: self.native.copy(), slots: self.slots.copy(), state: self.state.copy() }
    }

    fn has_power(&self) -> bool {
        self.native.0.borrow().has_power()
    }

    fn operations(&self) -> u64 {
        self.native.0.borrow().operations()
    }

    /// What the boot loader does.
    fn start(&mut self) -> Option<Start> {
        let trust = trust();
        let voucher = RootSigned { trust: &trust, class: CLASS };
        let started = start(&mut self.native, &geometry().images, &voucher, &mut [0; 512]);
        assert!(started.is_ok() || !self.has_power(), "{started:?}");
        started.ok()
    }

    /// The version whose bytes are in slot A, whatever anybody says of it.
    fn runs(&self) -> u32 {
        let a = geometry().images.slots[0].start as usize;
        let found = (1..6).find(|version| {
            let bytes = image(*version);
            self.native.0.borrow().bytes()[a..a + bytes.len()] == bytes
        });
        found.expect("one of the images")
    }

    /// The running image begins to run.
    fn agent(&self, now: Instant) -> Option<Node> {
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
        let mut agent = Box::new(Agent::new(config, slots, state, 1, now).unwrap());
        agent.add_firmware(now, self.native.clone(), geometry()).ok()?;
        Some(agent)
    }
}

fn link() -> LinkState {
    LinkState {
        utilization_permille: 50,
        queued: 0,
        bulk_queued: false,
        flood_time: Duration::from_secs(3),
        bulk_airtime: Duration::from_millis(1600),
    }
}

/// Runs the agent until a time, by its own contract; what it sent and said.
fn run(agent: &mut Node, now: &mut Instant, until: Instant) -> (Vec<OutFrame>, Vec<AgentEvent>) {
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

fn offers(mate: &mut Mate, agent: &mut Node, now: Instant, bundle: &Bundle) {
    let record = |part: u8, parts: u8, bytes| {
        Frame::Record(Record { record_type: RecordType::Manifest, part, parts, tag: bundle.tag, bytes })
    };
    let parts = bundle.manifest.chunks(200).count() as u8;
    for (part, bytes) in (0..).zip(bundle.manifest.chunks(200)) {
        says(mate, agent, now, &record(part, parts, bytes));
    }
}

fn says(mate: &mut Mate, agent: &mut Node, now: Instant, frame: &Frame<'_>) {
    mate.tells(NodeNum::BROADCAST, NodeNum::BROADCAST, frame, |incoming| {
        agent.handle_frame(now, incoming);
    });
}

/// Sends all pieces, from the last on.
fn serves(mate: &mut Mate, agent: &mut Node, now: &mut Instant, bundle: &Bundle) {
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
            run(agent, now, *now);
        }
    }
}

fn has(said: &[AgentEvent], wanted: impl Fn(&AgentEvent) -> bool) -> bool {
    said.iter().any(wanted)
}

/// A life with a bundle that a mate offers and serves: until power fails (none), or until nothing more is to come of it.
fn live(device: &mut Device, bundle: &Bundle, now: &mut Instant, healthy: bool) -> Option<FirmwareState> {
    let mut mate = Mate::new(0x0a00_0001);
    for _ in 0..12 {
        device.start()?;
        let mut agent = device.agent(*now)?;
        let begun = *now;
        let before = agent.firmware()?;
        if before.on_trial && !healthy {
            agent.firmware_checked(*now, false);
        }
        says(&mut mate, &mut agent, *now, &Frame::Beacon(Beacon::default()));
        let (_, mut said) = run(&mut agent, now, begun + Duration::from_secs(1));
        if !before.on_trial && !agent.firmware()?.wants_restart {
            offers(&mut mate, &mut agent, *now, bundle);
            serves(&mut mate, &mut agent, now, bundle);
        }
        let until = *now + TRIAL + Duration::from_secs(60);
        said.extend(run(&mut agent, now, until).1);
        let state = agent.firmware()?;
        if !device.has_power() {
            return None;
        }
        let restarts = |event: &AgentEvent| {
            matches!(event, AgentEvent::RestartForTrial { .. } | AgentEvent::RestartToRevert { .. })
        };
        assert_eq!(said.iter().any(restarts), state.wants_restart, "{said:?}");
        if !state.wants_restart && !state.making {
            return Some(state);
        }
    }
    panic!("no end");
}

#[test]
fn a_delta_is_received_decoded_tried_confirmed_and_passed_on() {
    let mut device = Device::new();
    let bundle = delta(1, 2);
    let mut mate = Mate::new(0x0a00_0001);
    let mut now = at(0);
    assert!(!device.start().unwrap().on_trial);
    let mut agent = device.agent(now).unwrap();
    offers(&mut mate, &mut agent, now, &bundle);
    assert!(has(&run(&mut agent, &mut now, at(1)).1, |e| matches!(e, AgentEvent::ObjectWanted { .. })));
    serves(&mut mate, &mut agent, &mut now, &bundle);
    let state = agent.firmware().unwrap();
    assert!(!state.on_trial && state.running.sequence == 1, "nothing happens before the restart");
    let until = now + Duration::from_secs(120);
    let said = run(&mut agent, &mut now, until).1;
    assert!(has(&said, |e| *e == AgentEvent::RestartForTrial { version: 2 }), "{said:?}");
    assert!(agent.firmware().unwrap().wants_restart && device.runs() == 1);

    let started = device.start().unwrap();
    assert!(started.on_trial && started.image.sequence == 2 && device.runs() == 2);
    let mut agent = device.agent(now).unwrap();
    agent.set_capability(now, &CapabilityRecord::default()).unwrap();
    let recorded =
        |agent: &Node| agent.capability(NUM).and_then(|record| record.bundles.first().map(|b| b.version));
    let began = now;
    // Nobody is heard at first.
    let until = now + TRIAL + Duration::from_secs(60);
    assert!(run(&mut agent, &mut now, until).1.is_empty() && agent.firmware().unwrap().on_trial);
    assert_eq!(recorded(&agent), Some(1), "not before it is sure");
    says(&mut mate, &mut agent, now, &Frame::Beacon(Beacon::default()));
    let until = now + Duration::from_secs(600);
    let (sent, said) = run(&mut agent, &mut now, until);
    assert!(has(&said, |e| *e == AgentEvent::FirmwareConfirmed { version: 2 }), "{said:?}");
    let state = agent.firmware().unwrap();
    assert!(!state.on_trial && state.confirmed.sequence == 2 && now < began + TRIAL_MAX);
    let told = beacons(&sent);
    let last = told.last().expect("a beacon tells of it soon");
    assert_eq!((last.object_tag, last.object_progress), (bundle.tag, 255));
    assert!(last.flags & Beacon::RUNS != 0);
    assert_eq!(agent.component_version(ComponentKind::Firmware, 0), Some(2));
    assert_eq!(recorded(&agent), Some(2), "members of the swarm come to know");
    // The delta is still here, for who asks.
    let mut content = vec![0; 16];
    assert!(agent.content(ComponentKind::Firmware, 0, 0, &mut content).is_some());
    assert_eq!(content, bundle.stream[..16]);

    // The next one follows.
    let next = delta(2, 3);
    assert_eq!(live(&mut device, &next, &mut now, true).unwrap().confirmed.sequence, 3);
    assert_eq!(device.runs(), 3);
}

/// Firmware whose turn comes later is not told of as if it were here: what is in its place is the one before.
#[test]
fn what_waits_for_its_turn_is_not_told_of_as_whole_or_served() {
    let mut device = Device::new();
    let mut now = at(0);
    assert_eq!(live(&mut device, &delta(1, 2), &mut now, true).unwrap().confirmed.sequence, 2);
    let mut agent = device.agent(now).unwrap();
    let mut mate = Mate::new(0x0a00_0001);
    let model = pack(&[7; 900], &root(), |manifest| {
        (manifest.kind, manifest.task) = (ComponentKind::Model, 1);
    });
    offers(&mut mate, &mut agent, now, &model);
    let until = now + Duration::from_secs(1);
    let said = run(&mut agent, &mut now, until).1;
    assert!(has(&said, |e| *e == AgentEvent::ObjectWanted { tag: model.tag }), "{said:?}");
    let next = delta(2, 3);
    offers(&mut mate, &mut agent, now, &next);
    let until = now + Duration::from_secs(4 * 3600);
    let (sent, said) = run(&mut agent, &mut now, until);
    assert!(has(&said, |e| *e == AgentEvent::ObjectWanted { tag: next.tag }), "{said:?}");
    let told = beacons(&sent).into_iter().filter(|beacon| beacon.object_tag == next.tag).collect::<Vec<_>>();
    assert!(!told.is_empty(), "it is told of in its turn");
    for beacon in told {
        assert_eq!((beacon.object_progress, beacon.flags & Beacon::RUNS), (0, 0));
    }
}

fn beacons(sent: &[OutFrame]) -> Vec<Beacon> {
    let open = |out: &OutFrame| {
        let address = wire::Address { from: NUM.0, to: out.to.0, id: out.id };
        match wire::open(&out.payload, &common::keys(), &address).unwrap().0 {
            Frame::Beacon(beacon) => Some(beacon),
            _ => None,
        }
    };
    sent.iter().filter_map(open).collect()
}

#[test]
fn power_may_fail_at_every_flash_operation() {
    let bundle = delta(1, 2);
    let first = Device::new();
    let mut cuts = 0;
    for healthy in [true, false] {
        let end = if healthy { 2 } else { 1 };
        let mut whole = first.copy();
        let mut now = at(0);
        assert_eq!(live(&mut whole, &bundle, &mut now, healthy).unwrap().running.sequence, end);
        assert_eq!(whole.runs(), end);
        let operations = whole.operations() - first.operations();
        println!("{operations} operations");
        for n in 0..operations {
            // Each kind at each operation is what `bench power-cut` does with the parts below the agent.
            let kinds = [Cut::Inside(100), Cut::Unseen, Cut::After, Cut::Garbled, Cut::Before];
            let cut = kinds[n as usize % kinds.len()];
            let mut device = first.copy();
            let mut now = at(0);
            device.native.0.borrow_mut().cut_after(n, cut);
            assert!(live(&mut device, &bundle, &mut now, healthy).is_none(), "{cut:?} at {n}");
            device.native.0.borrow_mut().power_on();
            let state = live(&mut device, &bundle, &mut now, healthy).unwrap();
            // One start of the trial may have been all that power left of it.
            assert_eq!((state.running.sequence, device.runs()), (end, end), "{cut:?} at {n}");
            cuts += 1;
        }
    }
    assert!(cuts > 200, "{cuts}");
}

#[test]
fn what_hangs_or_hears_nothing_is_given_up() {
    let bundle = delta(1, 2);
    let mut device = Device::new();
    let mut now = at(0);
    // Until it is in place.
    let mut mate = Mate::new(0x0a00_0001);
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    offers(&mut mate, &mut agent, now, &bundle);
    serves(&mut mate, &mut agent, &mut now, &bundle);
    let until = now + Duration::from_secs(120);
    run(&mut agent, &mut now, until);
    drop(agent);
    let ready = device;

    // It hangs: a watchdog restarts it before it has confirmed, three times.
    let mut device = ready.copy();
    for _ in 0..3 {
        assert!(device.start().unwrap().on_trial);
        let mut agent = device.agent(now).unwrap();
        let until = now + Duration::from_secs(300);
        says(&mut mate, &mut agent, now, &Frame::Beacon(Beacon::default()));
        run(&mut agent, &mut now, until);
    }
    let started = device.start().unwrap();
    assert!(!started.on_trial && started.image.sequence == 1 && device.runs() == 1);
    let mut agent = device.agent(now).unwrap();
    let until = now + Duration::from_secs(60);
    let said = run(&mut agent, &mut now, until).1;
    assert_eq!(said, [AgentEvent::FirmwareFailed { version: 2 }], "and it is not made again");

    // It hears nobody.
    let mut device = ready.copy();
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    let until = now + TRIAL_MAX + Duration::from_secs(60);
    let said = run(&mut agent, &mut now, until).1;
    assert!(has(&said, |e| *e == AgentEvent::RestartToRevert { version: 2 }), "{said:?}");
    assert_eq!(device.start().unwrap().image.sequence, 1);

    // Its host has checks of its own, and they take a while.
    let mut device = ready.copy();
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    agent.await_firmware_checks();
    says(&mut mate, &mut agent, now, &Frame::Beacon(Beacon::default()));
    let until = now + TRIAL + TRIAL;
    let said = run(&mut agent, &mut now, until).1;
    assert!(said.is_empty() && agent.firmware().unwrap().on_trial, "{said:?}");
    agent.firmware_checked(now, true);
    let until = now + Duration::from_secs(1);
    assert!(has(&run(&mut agent, &mut now, until).1, |e| matches!(e, AgentEvent::FirmwareConfirmed { .. })));
}

#[test]
fn what_is_not_for_this_device_is_refused_with_the_reason() {
    let edge = SigningKey::from_bytes(&[9; 32]);
    let delegation = Delegation {
        public_key: edge.verifying_key().to_bytes(),
        kinds: KindMask(0xFF),
        classes: ClassMask(u32::MAX),
        size_cap: 1 << 20,
        epoch: 1,
    }
    .sign(&root());
    type Case = (&'static str, Bundle, fn(&Refusal) -> bool);
    let cases: [Case; 6] = [
        (
            "for another class",
            delta_with(1, 2, &root(), |manifest| manifest.classes = ClassMask::of(CLASS + 1)),
            |refusal| *refusal == Refusal::WrongClass,
        ),
        ("for another image", delta(3, 4), |refusal| *refusal == Refusal::WrongPredecessor),
        ("no newer than what runs", delta_with(1, 2, &root(), |manifest| manifest.sequence = 1), |refusal| {
            matches!(refusal, Refusal::Rollback { have: 1, offered: 1 })
        }),
        ("by an edge node's key", delta_with(1, 2, &edge, |_| {}), |refusal| {
            *refusal == Refusal::KindNotAllowed(ComponentKind::Firmware)
        }),
        ("too large", delta_with(1, 2, &root(), |manifest| manifest.flash = 300_000), |refusal| {
            matches!(refusal, Refusal::NoFlash { need: 300_000, .. })
        }),
        (
            "altered",
            {
                let mut bundle = delta(1, 2);
                let end = bundle.manifest.len() - 1;
                bundle.manifest[end] ^= 1;
                bundle
            },
            |refusal| *refusal == Refusal::BadSignature,
        ),
    ];
    for (what, bundle, expected) in cases {
        let mut device = Device::new();
        let mut mate = Mate::new(0x0a00_0001);
        let mut now = at(0);
        device.start().unwrap();
        let before = device.operations();
        let mut agent = device.agent(now).unwrap();
        agent.add_trust_record(now, &delegation).unwrap();
        offers(&mut mate, &mut agent, now, &bundle);
        serves(&mut mate, &mut agent, &mut now, &bundle);
        let until = now + Duration::from_secs(600);
        let mut said = run(&mut agent, &mut now, until).1;
        said.retain(
            |event| !matches!(event, AgentEvent::BundleRefused(BundleRefusal::Manifest(r)) if expected(r)),
        );
        assert!(said.is_empty(), "{what}: {said:?}");
        assert_eq!(device.operations(), before, "{what}: nothing was written");
        assert_eq!(device.start().unwrap().image.sequence, 1);
    }
}

/// Signed, but its bytes make something else: it is received, and not tried.
#[test]
fn an_object_that_does_not_make_its_image_is_dropped() {
    let (old, new) = (image(1), image(2));
    let result = ImageIdentity { digest: Sha256::digest(&new).into(), size: new.len() as u32 };
    let other = encode(&old, &image(3), Hint::Unknown).unwrap().bytes;
    for content in [vec![0xA5; 700], other] {
        let bundle = pack(&content, &root(), |manifest| {
            manifest.sequence = 2;
            manifest.delta = Some(Delta { replaces: digest8(&old), result });
        });
        let mut device = Device::new();
        let mut now = at(0);
        let mut mate = Mate::new(0x0a00_0001);
        device.start().unwrap();
        let mut agent = device.agent(now).unwrap();
        offers(&mut mate, &mut agent, now, &bundle);
        run(&mut agent, &mut now, at(1));
        serves(&mut mate, &mut agent, &mut now, &bundle);
        let until = now + Duration::from_secs(600);
        let said = run(&mut agent, &mut now, until).1;
        assert!(has(&said, |e| *e == AgentEvent::BundleRefused(BundleRefusal::Content)), "{said:?}");
        assert!(!agent.firmware().unwrap().wants_restart);
        // Hours later a neighbour tells of it: nobody is asked for it again, nor is it taken.
        let later = now + Duration::from_secs(2 * 3600);
        run(&mut agent, &mut now, later);
        let told = Beacon { object_tag: bundle.tag, object_progress: 255, ..Beacon::default() };
        says(&mut mate, &mut agent, now, &Frame::Beacon(told));
        offers(&mut mate, &mut agent, now, &bundle);
        let until = now + Duration::from_secs(600);
        let (sent, said) = run(&mut agent, &mut now, until);
        assert!(!has(&said, |e| matches!(e, AgentEvent::ObjectWanted { .. })), "{said:?}");
        let asks =
            |out: &OutFrame| matches!(Purpose::of_frame(&out.payload), Purpose::Symbols | Purpose::Records);
        assert!(!sent.iter().any(asks), "it is not worth the air");
        assert_eq!(device.start().unwrap().image.sequence, 1);
        // A good one of the same version is taken after it.
        assert_eq!(live(&mut device, &delta(1, 2), &mut now, true).unwrap().confirmed.sequence, 2);
    }
}
