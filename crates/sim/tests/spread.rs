//! Large objects reach all: along a line, after restarts and partitions, late, several at a time, and across stock nodes.

use compotastic_bundle::ComponentKind;
use compotastic_mesh::{
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role},
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_sim::{
    Host,
    classify::Traffic,
    ledger::Ledger,
    messenger::Messenger,
    radio::{Position, Radio},
    swarm::{Kit, Large, Node, NodeFlash, Post},
    world::{World, WorldConfig},
};
use sha2::{Digest, Sha256};

const PRESET: Preset = Preset::LongFast;
const REGION: Region = Region::Eu868;
/// The base encoder, for which students are made.
static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");
const WARM_UP_S: u64 = 3 * 3600;

enum Body {
    Ours(Box<Node>),
    Stock(Box<Messenger>),
}

macro_rules! each {
    ($body:expr, $host:ident => $call:expr) => {
        match $body {
            Body::Ours($host) => $call,
            Body::Stock($host) => $call,
        }
    };
}

impl Host for Body {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        each!(self, host => host.handle_frame(now, frame, snr_qdb, rssi_dbm));
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        each!(self, host => host.handle_bad_frame(now, airtime));
    }
    fn handle_tx_done(&mut self, now: Instant) {
        each!(self, host => Host::handle_tx_done(host.as_mut(), now));
    }
    fn handle_timeout(&mut self, now: Instant) {
        each!(self, host => Host::handle_timeout(host.as_mut(), now));
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        each!(self, host => Host::poll_transmit(host.as_mut(), now, channel_busy))
    }
    fn poll_timeout(&self) -> Option<Instant> {
        each!(self, host => Host::poll_timeout(host.as_ref()))
    }
}

fn num(index: usize) -> NodeNum {
    NodeNum(0x4d00_0000 + 0x0001_3507 * (index as u32 + 1))
}

/// A line of nodes, each of which hears the one before and the one behind.
struct Swarm {
    kit: Kit,
    world: World<Body>,
    flashes: Vec<NodeFlash>,
    boots: u32,
}

impl Swarm {
    fn line(nodes: usize, stock: &[usize], loss_ppm: u32, seed: u64) -> Self {
        let base = BaseEncoder::parse(BASE).expect("it is whole");
        let kit = Kit::new(PRESET, REGION, Some(base), seed);
        let radio = Radio::new(PRESET.modem(REGION.wide()), REGION);
        let radio = Radio { shadowing_db: 0.0, fading_db: 0.0, ..radio };
        let apart_m = 0.7 * radio.range_m(0.0);
        let ledger = Ledger::new(kit.channels(), (0..nodes).map(num).collect(), Duration::from_secs(86_400));
        let config = WorldConfig { preset: PRESET, region: REGION, loss_ppm, seed };
        let mut swarm = Self { kit, world: World::new(config, radio, ledger), flashes: Vec::new(), boots: 0 };
        for index in 0..nodes {
            let flash = NodeFlash::with_store();
            let body = if stock.contains(&index) {
                let mut config = swarm.kit.router(&Self::post(index));
                config.channels.truncate(1);
                config.own_port = 0;
                Body::Stock(Box::new(Messenger::new(config, Vec::new(), seed)))
            } else {
                swarm.boot(index, &flash, Instant::ZERO)
            };
            let position = Position { x_m: apart_m * index as f64, y_m: 0.0 };
            swarm.world.add(body, position);
            swarm.flashes.push(flash);
        }
        swarm
    }

    fn post(index: usize) -> Post {
        // The first floods its beacons, as an edge node does.
        Post {
            num: num(index),
            role: Role::Client,
            relaying: Relaying::default(),
            edge: index == 0,
            base: true,
        }
    }

    fn boot(&self, index: usize, flash: &NodeFlash, now: Instant) -> Body {
        let node = self.kit.boot(&Self::post(index), flash, now, self.boots);
        Body::Ours(Box::new(node.expect("its flash can be read")))
    }

    fn restart(&mut self, index: usize) {
        self.boots += 1;
        self.flashes[index].power_on();
        let body = self.boot(index, &self.flashes[index].clone(), self.world.now());
        self.world.with_host(index, |host, _| *host = body);
    }

    fn publish(&mut self, index: usize, object: &Large) {
        self.world.with_host(index, |host, now| {
            let Body::Ours(node) = host else { panic!("stock nodes publish nothing") };
            node.agent().publish_stream(now, &[], &object.manifest, &object.stream).unwrap();
            node.settle(now);
        });
    }

    fn run(&mut self, seconds: u64) {
        let until = self.world.now() + Duration::from_secs(seconds);
        self.world.run_until(until, |_, _| {});
    }

    /// How much of it is there, 0 to 255; 255 only if the hash over flash is right.
    fn progress(&mut self, index: usize, object: &Large, bytes: usize) -> u8 {
        self.world.with_host(index, |host, _| {
            let Body::Ours(node) = host else { return 0 };
            let progress = node.agent().object_progress(ComponentKind::Firmware, 0).unwrap_or(0);
            if progress < 255 {
                return progress;
            }
            let mut content = vec![0; bytes];
            let length = node.agent().content(ComponentKind::Firmware, 0, 0, &mut content);
            assert_eq!(length, Some(bytes as u32), "node {index} holds another object");
            assert_eq!(<[u8; 32]>::from(Sha256::digest(&content)), object.digest, "node {index}");
            255
        })
    }

    fn object(&self, bytes: usize, version: u32) -> Large {
        let mut rng = Rng::from_seed(u64::from(version));
        let content: Vec<u8> = (0..bytes).map(|_| rng.next_u32() as u8).collect();
        self.kit.large(&content, version).expect("it fits a node's store")
    }

    /// Runs until all of these hold it; the hours that it took.
    fn run_until_all(&mut self, nodes: &[usize], object: &Large, bytes: usize, hours: u64) -> u64 {
        for hour in 1..=hours {
            self.run(3600);
            if nodes.iter().all(|node| self.progress(*node, object, bytes) == 255) {
                return hour;
            }
        }
        let progress: Vec<u8> = nodes.iter().map(|node| self.progress(*node, object, bytes)).collect();
        panic!("after {hours} h: {progress:?}");
    }
}

#[test]
fn all_nodes_of_a_line_hold_it_and_the_air_stays_near_the_least_that_there_is() {
    let bytes = 16_384;
    for (loss_ppm, seed) in [(0, 1), (100_000, 2), (300_000, 3)] {
        let mut swarm = Swarm::line(6, &[], loss_ppm, seed);
        swarm.run(WARM_UP_S);
        let object = swarm.object(bytes, 1);
        let before = swarm.world.ledger.sum(Traffic::Symbol).transmissions;
        swarm.publish(0, &object);
        swarm.run_until_all(&[0, 1, 2, 3, 4, 5], &object, bytes, 24);
        let symbols = swarm.world.ledger.sum(Traffic::Symbol).transmissions - before;
        // Five servers, 82 pieces each, and what is lost on the way.
        let least = 5.0 * 82.0 / (1.0 - f64::from(loss_ppm) / 1e6);
        assert!((symbols as f64) < 1.4 * least, "loss {loss_ppm} ppm: {symbols} symbols of {least:.0}");
        assert_eq!(swarm.world.ledger.originations_over_gate(), 0);
    }
}

#[test]
fn a_node_that_restarts_goes_on_with_what_its_flash_holds() {
    let bytes = 16_384;
    let mut swarm = Swarm::line(2, &[], 100_000, 4);
    swarm.run(WARM_UP_S);
    let object = swarm.object(bytes, 1);
    swarm.publish(0, &object);
    swarm.run(1200);
    let before = swarm.progress(1, &object, bytes);
    assert!(before > 50 && before < 255, "{before}");
    swarm.restart(1);
    swarm.run_until_all(&[1], &object, bytes, 12);
    // Half of it was there: it was not sent twice.
    let symbols = swarm.world.ledger.sum(Traffic::Symbol).transmissions;
    assert!(symbols < 140, "{symbols} symbols for 82 pieces");
}

#[test]
fn a_partition_heals_and_late_comers_are_served() {
    let bytes = 4_500;
    let mut swarm = Swarm::line(4, &[], 0, 5);
    swarm.world.set_on(3, false);
    swarm.run(WARM_UP_S);
    let object = swarm.object(bytes, 1);
    swarm.world.set_group(1, 1);
    swarm.world.set_group(2, 1);
    swarm.publish(0, &object);
    swarm.run(4 * 3600);
    assert_eq!(swarm.progress(1, &object, bytes), 0, "it is cut off");
    swarm.world.set_group(1, 0);
    swarm.world.set_group(2, 0);
    swarm.run_until_all(&[1, 2], &object, bytes, 12);
    swarm.world.set_on(3, true);
    swarm.run_until_all(&[3], &object, bytes, 12);
}

#[test]
fn where_only_stock_nodes_connect_it_comes_by_a_flood() {
    let bytes = 2_000;
    let mut swarm = Swarm::line(3, &[1], 0, 6);
    swarm.run(WARM_UP_S);
    let object = swarm.object(bytes, 1);
    swarm.publish(0, &object);
    swarm.run_until_all(&[2], &object, bytes, 24);
    assert_eq!(swarm.world.ledger.originations_over_gate(), 0);
}

#[test]
fn a_newer_version_replaces_the_older_everywhere() {
    let bytes = 3_000;
    let mut swarm = Swarm::line(3, &[], 100_000, 7);
    swarm.run(WARM_UP_S);
    let first = swarm.object(bytes, 1);
    swarm.publish(0, &first);
    swarm.run_until_all(&[0, 1, 2], &first, bytes, 12);
    let second = swarm.object(bytes, 2);
    swarm.publish(0, &second);
    swarm.run_until_all(&[0, 1, 2], &second, bytes, 12);
}

#[test]
fn two_objects_at_once_come_in_order_of_their_urgency() {
    let bytes = 16_384;
    let mut swarm = Swarm::line(3, &[], 0, 8);
    swarm.run(WARM_UP_S);
    let large = swarm.object(bytes, 1);
    swarm.publish(0, &large);
    // While it is on its way, a student comes, which goes first.
    swarm.run(900);
    assert!((1..255).contains(&swarm.progress(1, &large, bytes)));
    let student = swarm.kit.bundles().unwrap().bundle(3);
    swarm.world.with_host(0, |host, now| {
        let Body::Ours(node) = host else { panic!("ours") };
        node.agent().publish(now, &student.delegation, &student.manifest, &student.content).unwrap();
        node.settle(now);
    });
    let version = |swarm: &mut Swarm, node| {
        swarm.world.with_host(node, |host, _| match host {
            Body::Ours(node) => node.agent_ref().model_version(),
            Body::Stock(_) => None,
        })
    };
    let mut student_first = false;
    for _ in 0..24 * 12 {
        swarm.run(300);
        let whole = swarm.progress(1, &large, bytes) == 255;
        student_first |= version(&mut swarm, 1) == Some(3) && !whole;
        if whole {
            break;
        }
    }
    assert!(student_first, "the student was here while the large object was still on its way");
    swarm.run_until_all(&[0, 1, 2], &large, bytes, 24);
    assert_eq!((version(&mut swarm, 1), version(&mut swarm, 2)), (Some(3), Some(3)));
}
