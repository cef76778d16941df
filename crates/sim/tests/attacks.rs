//! A member of the swarm turns against it: it holds the swarm's key, so its frames are believed to be a member's. Nobody installs
//! what it offers, everybody installs what the edge node publishes, and the air that the others spend on it is stated.
//!
//! What a device decides by itself is in `crates/bundle/tests/attacks.rs`.

mod common;

use common::{Flash, Node, at, number, root_key, router_config, station_with, student};
use compotastic_bundle::{KeyId, Revocation};
use compotastic_mesh::{
    packet::{NodeNum, PacketId},
    rng::Rng,
    router::{Gate, Outgoing, Priority, Router},
    time::{Duration, Instant},
};
use compotastic_node::AgentEvent;
use compotastic_sim::{Host, swarm::Bundle, swarm::Bundles};
use compotastic_wire::{
    self as wire, Address, Beacon, Frame, KeyRing, MAX_PAYLOAD, PORT, Record, RecordType, SwarmKey, Symbol,
};
use ed25519_dalek::SigningKey;

const NODES: usize = 5;
const EDGE: usize = 0;
/// In the middle: it hears all and all hear it, by one hop or two.
const ATTACKER: usize = 2;
const HOURS: u64 = 4;
/// It begins when the true bundle is on its way, or is everywhere already, and ends when everybody has had enough.
const BEGIN_S: u64 = 90;
const BEGIN_LATE_S: u64 = 3600;
const END_S: u64 = 2 * 3600;
/// Between two of its frames.
const PACE: Duration = Duration::from_secs(20);
/// Bytes of a record in one frame.
const PART: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// It says nothing: what the others spend anyway.
    None,
    /// Forged symbols of the object that is on its way, pieces and combinations.
    SymbolPollution,
    /// Beacons of objects that do not exist, and manifests signed by a key that nobody knows.
    AdvertisementFlood,
    /// The true bundle with one bit of its manifest turned.
    AlteredManifest,
    /// The true manifest with altered pieces.
    AlteredPieces,
    /// A bundle by a stranger's root and edge key.
    WrongKey,
    /// A bundle by the edge node, for another class of devices.
    WrongClass,
    /// An older bundle by the edge node, as it was on the air once.
    OlderBundle,
    /// A newer bundle by the edge node's key, which was stolen, and which the operator has revoked since.
    RevokedKey,
    /// Records that say they are manifests, as long as a record can be.
    OversizedManifest,
}

/// A frame that is kept to be sent again and again: it owns its bytes.
#[derive(Clone)]
enum Speech {
    Beacon(Beacon),
    Record(RecordType, u32, u8, u8, Vec<u8>),
    Symbol(u32, u16, Vec<u8>),
}

struct Attacker {
    router: Router,
    keys: KeyRing,
    rng: Rng,
    next_id: u32,
    next: Instant,
    attack: Attack,
    speeches: Vec<Speech>,
    turn: usize,
    tag: u32,
}

fn bundles() -> Bundles {
    Bundles::new(&student::base(), root_key(), SigningKey::from_bytes(&[0x22; 32]))
}

/// All frames of a bundle. The name of a delegation's record is the start of its key's id, which the manifest holds.
fn frames_of(bundle: &Bundle) -> Vec<Speech> {
    let mut frames = Vec::new();
    let key_tag = bundle.manifest.get(72..76).map_or(0, |id| u32::from_le_bytes(id.try_into().unwrap()));
    for (record_type, tag, bytes) in [
        (RecordType::Delegation, key_tag, &bundle.delegation),
        (RecordType::Manifest, bundle.tag, &bundle.manifest),
    ] {
        let parts = bytes.chunks(PART).count() as u8;
        for (part, bytes) in (0..).zip(bytes.chunks(PART)) {
            frames.push(Speech::Record(record_type, tag, part, parts, bytes.to_vec()));
        }
    }
    frames.extend((0..).zip(bundle.pieces()).map(|(id, data)| Speech::Symbol(bundle.tag, id, data)));
    frames
}

impl Attacker {
    fn new(attack: Attack, seed: u64) -> Self {
        let bundles = bundles();
        let true_one = bundles.bundle(student::VERSION);
        let newer = student::VERSION + 1;
        let speeches = match attack {
            Attack::None
            | Attack::SymbolPollution
            | Attack::AdvertisementFlood
            | Attack::OversizedManifest => Vec::new(),
            Attack::RevokedKey => {
                let bundle = bundles.bundle(newer);
                let key = SigningKey::from_bytes(&[0x22; 32]).verifying_key().to_bytes();
                let revocation = Revocation { key_id: KeyId::of(&key), epoch: 2 }.sign(&root_key());
                // Whoever says it: it is the operator's word. Twice, for who missed it.
                let record = Speech::Record(RecordType::Revocation, 1, 0, 1, revocation.to_vec());
                [record.clone(), record].into_iter().chain(frames_of(&bundle)).collect()
            }
            Attack::AlteredManifest => frames_of(&bundles.altered(newer)),
            Attack::AlteredPieces => {
                let mut frames = frames_of(&true_one);
                for frame in &mut frames {
                    if let Speech::Symbol(_, _, data) = frame {
                        data[0] ^= 1;
                    }
                }
                frames
            }
            Attack::WrongKey => frames_of(&bundles.by_a_stranger(newer)),
            Attack::WrongClass => frames_of(&bundles.for_another_class(newer)),
            Attack::OlderBundle => frames_of(&bundles.bundle(student::VERSION - 1)),
        };
        Self {
            router: Router::new(router_config(ATTACKER), seed, Instant::ZERO),
            keys: KeyRing::new(1, SwarmKey([3; 16])),
            rng: Rng::from_seed(seed).child(0x6174_7461),
            next_id: 1,
            // An older bundle is no attack on a node that has nothing, and what a key signed before it was revoked is to arrive.
            next: at(match attack {
                Attack::OlderBundle | Attack::RevokedKey => BEGIN_LATE_S,
                _ => BEGIN_S,
            }),
            attack,
            speeches,
            turn: 0,
            tag: true_one.tag,
        }
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.rng.next_u32() as u8).collect()
    }

    fn invent(&mut self) -> Option<Speech> {
        let number = self.rng.next_u32();
        match self.attack {
            Attack::None => None,
            Attack::SymbolPollution => {
                let id = if number & 1 == 0 { number as u16 >> 12 } else { 300 + (number as u16 >> 2) };
                Some(Speech::Symbol(self.tag, id, self.noise(176)))
            }
            Attack::AdvertisementFlood if number.is_multiple_of(3) => {
                // A new name each time, so that nobody can have refused it before.
                let forged = bundles().by_a_stranger(20 + number as u16 % 1000);
                Some(Speech::Record(RecordType::Manifest, number, 0, 1, forged.manifest))
            }
            Attack::AdvertisementFlood => Some(Speech::Beacon(Beacon {
                device_class: 2,
                flags: Beacon::EXECUTES | Beacon::MAINS_POWER,
                task: 1,
                battery: 15,
                record_hash: number,
                model_version: number as u16 | 1,
                object_tag: number,
                object_progress: 255,
                ..Beacon::default()
            })),
            Attack::OversizedManifest => {
                self.turn += 1;
                let (tag, part) = (0x0B16_0000 + self.turn as u32 / 15, (self.turn % 15) as u8);
                Some(Speech::Record(RecordType::Manifest, tag, part, 15, self.noise(PART)))
            }
            _ => {
                self.turn += 1;
                self.speeches.get((self.turn - 1) % self.speeches.len()).cloned()
            }
        }
    }

    fn say(&mut self, now: Instant, speech: &Speech) {
        let (frame, hop_limit) = match speech {
            Speech::Beacon(beacon) => (Frame::Beacon(*beacon), 3),
            Speech::Record(record_type, tag, part, parts, bytes) => {
                let record =
                    Record { record_type: *record_type, part: *part, parts: *parts, tag: *tag, bytes };
                (Frame::Record(record), 3)
            }
            Speech::Symbol(object_tag, symbol, data) => (
                Frame::Symbol(Symbol {
                    object_tag: *object_tag,
                    generation: 0,
                    symbol: *symbol,
                    more: 0,
                    data,
                }),
                0,
            ),
        };
        self.next_id += 1;
        let (to, from) = (NodeNum::BROADCAST, number(ATTACKER));
        let address = Address { from: from.0, to: to.0, id: self.next_id };
        let mut buffer = [0; MAX_PAYLOAD];
        let Ok(length) = wire::seal(&frame, &self.keys, &address, &mut buffer) else { return };
        let outgoing = Outgoing {
            to,
            id: PacketId(self.next_id),
            channel: 1,
            port: PORT,
            payload: &buffer[..length],
            hop_limit,
            want_ack: false,
            priority: Priority::High,
            gate: Gate::Alert,
            request_id: None,
            bitfield: None,
        };
        let _ = self.router.send(now, &outgoing);
    }
}

/// One of ours, or the attacker.
enum Member {
    Ours(Box<Node>),
    Attacker(Box<Attacker>),
}

impl Host for Member {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        match self {
            Self::Ours(node) => node.handle_frame(now, frame, snr_qdb, rssi_dbm),
            Self::Attacker(attacker) => {
                attacker.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
                while attacker.router.poll_event().is_some() {}
            }
        }
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        match self {
            Self::Ours(node) => node.handle_bad_frame(now, airtime),
            Self::Attacker(attacker) => attacker.router.handle_bad_frame(now, airtime),
        }
    }
    fn handle_tx_done(&mut self, now: Instant) {
        match self {
            Self::Ours(node) => node.handle_tx_done(now),
            Self::Attacker(attacker) => attacker.router.handle_tx_done(now),
        }
    }
    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Ours(node) => node.handle_timeout(now),
            Self::Attacker(attacker) => {
                attacker.router.handle_timeout(now);
                while attacker.router.poll_event().is_some() {}
                if now >= attacker.next {
                    attacker.next = now + PACE;
                    if now >= at(END_S) {
                        attacker.next = at(u64::from(u32::MAX));
                    } else if let Some(speech) = attacker.invent() {
                        attacker.say(now, &speech);
                    }
                }
            }
        }
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        match self {
            Self::Ours(node) => Host::poll_transmit(node.as_mut(), now, channel_busy),
            Self::Attacker(attacker) => {
                attacker.router.poll_transmit(now, channel_busy).map(|frame| frame.bytes.to_vec())
            }
        }
    }
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Ours(node) => node.poll_timeout(),
            Self::Attacker(attacker) => {
                [attacker.router.poll_timeout(), Some(attacker.next)].into_iter().flatten().min()
            }
        }
    }
}

/// What came of it.
struct Result {
    /// Versions that were ever in force, by node.
    installed: Vec<Vec<u16>>,
    /// Air time of our nodes and of the attacker, seconds.
    ours_s: f64,
    attacker_s: f64,
    /// The largest own air time of one of our nodes in any hour, seconds.
    busiest_hour_s: f64,
    /// When the last node had installed the bundle, minutes.
    complete_min: f64,
}

fn run(attack: Attack) -> Result {
    let seed = 5;
    let mut world = common::line_of(NODES, 0.55, 20_000, seed, |index| {
        if index == ATTACKER {
            Member::Attacker(Box::new(Attacker::new(attack, seed)))
        } else {
            Member::Ours(Box::new(station_with(index, seed, index == EDGE, Some(student::base()))))
        }
    });
    world.run_until(at(60), |_, _| {});
    let (delegation, manifest, content) = student::bundle();
    let mut installed = vec![Vec::new(); NODES];
    let mut complete_min = 0.0;
    world.with_host(EDGE, |member, now| {
        let Member::Ours(station) = member else { panic!("the edge node is ours") };
        station.agent().publish(now, &delegation, &manifest, &content).unwrap();
        station.settle(now);
    });
    while let Some(touched) = world.step(at(HOURS * 3600)) {
        for id in touched {
            world.with_host(id, |member, now| {
                let Member::Ours(station) = member else { return };
                while let Some(event) = station.agent().poll_event() {
                    if let AgentEvent::ModelActivated { version } = event {
                        installed[id].push(version);
                        complete_min = now.as_micros() as f64 / 60e6;
                    }
                }
                // Whatever its events say: this is what it answers with.
                let part = station.agent_ref().model_part();
                assert!(part.is_empty() || part == content, "node {id} runs something else");
            });
        }
    }
    let ours: Vec<usize> = (0..NODES).filter(|id| *id != ATTACKER).collect();
    for id in &ours {
        let Member::Ours(station) = world.host(*id) else { panic!("ours") };
        assert_eq!(station.agent_ref().model_version(), Some(student::VERSION), "{attack:?}: node {id}");
    }
    let seconds = |us: u64| us as f64 / 1e6;
    let sums = |id: usize| world.ledger.node(id);
    let all = |id: usize| sums(id).originated.plus(sums(id).relayed).airtime_us;
    Result {
        installed,
        ours_s: seconds(ours.iter().map(|id| all(*id)).sum()),
        attacker_s: seconds(all(ATTACKER)),
        busiest_hour_s: seconds(ours.iter().map(|id| sums(*id).max_hour_us).max().unwrap_or(0)),
        complete_min,
    }
}

/// Runs an attack beside the same hours without it, states what it cost, and holds the promises.
fn withstand(attack: Attack) {
    let (calm, attacked) = (run(Attack::None), run(attack));
    println!(
        "{attack:?}: the attacker spent {:.0} s of air; {} nodes spent {:.0} s in {HOURS} h, {:.0} s without it; one at most {:.0} s in an hour; \
         installed everywhere after {:.0} min, {:.0} without it",
        attacked.attacker_s,
        NODES - 1,
        attacked.ours_s,
        calm.ours_s,
        attacked.busiest_hour_s,
        attacked.complete_min,
        calm.complete_min
    );
    for versions in &attacked.installed {
        assert!(versions.iter().all(|version| *version == student::VERSION), "{versions:?}");
    }
    // Each node relays what is flooded once, and asks and serves within the bulk share: so what one attacker can make the
    // others spend is a few times what it spends itself, and no hour of a node holds more than a tenth of air time.
    let bound = calm.ours_s + (NODES - 1) as f64 * attacked.attacker_s + 300.0;
    assert!(attacked.ours_s <= bound, "{:.0} s of {bound:.0} s", attacked.ours_s);
    assert!(attacked.busiest_hour_s <= 360.0);
    assert!(attacked.attacker_s > 0.0, "it did attack");
    // All of a node's memory is in this, whatever it hears, and here its flash too: state, and up to four components.
    // Router, agent and citizen have 162 KiB in the memory map.
    assert!(size_of::<Node>() <= 162 * 1024 + 5 * size_of::<Flash>(), "{}", size_of::<Node>());
}

#[test]
fn symbol_pollution() {
    withstand(Attack::SymbolPollution);
}

#[test]
fn advertisement_flood() {
    withstand(Attack::AdvertisementFlood);
}

#[test]
fn altered_manifest() {
    withstand(Attack::AlteredManifest);
}

#[test]
fn altered_pieces() {
    withstand(Attack::AlteredPieces);
}

#[test]
fn wrong_key() {
    withstand(Attack::WrongKey);
}

#[test]
fn wrong_device_class() {
    withstand(Attack::WrongClass);
}

#[test]
fn revoked_key() {
    withstand(Attack::RevokedKey);
}

#[test]
fn oversized_manifest() {
    withstand(Attack::OversizedManifest);
}

#[test]
fn replayed_older_bundle() {
    withstand(Attack::OlderBundle);
}
