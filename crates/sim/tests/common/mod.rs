//! A small swarm without models of its own: the host of the edge node answers by a rule.

#![allow(dead_code, reason = "each test uses a part")]

pub mod script;
pub mod student;

use compotastic_bundle::{Geometry, Slots, TrustStore, ramflash::RamFlash};
use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::NodeNum,
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_node::{
    Agent, AgentConfig, AgentEvent, Station, agent::REPORT_MAX, policy::MissionProfile, promises::Outcome,
    state::StateLog,
};
use compotastic_sim::{
    Host, World, WorldConfig,
    ledger::Ledger,
    radio::{Position, Radio},
};
use compotastic_wire::{KeyRing, PORT, SwarmKey};
use ed25519_dalek::SigningKey;

pub type Flash = RamFlash<32768>;
pub type Node = Station<'static, Flash>;

pub const EDGE: NodeNum = NodeNum(0x0e00_0001);

pub fn number(index: usize) -> NodeNum {
    if index == 0 { EDGE } else { NodeNum(0x0f00_0000 + 7 * index as u32) }
}

pub fn channels() -> Vec<Channel> {
    vec![Channel::new("LongFast", &[1]).unwrap(), Channel::new("swarm", &[7; 32]).unwrap()]
}

pub fn station(index: usize, seed: u64, foundation_model: bool) -> Node {
    station_with(index, seed, foundation_model, None)
}

/// A station with a base encoder in its flash, or without.
pub fn station_with(
    index: usize,
    seed: u64,
    foundation_model: bool,
    base: Option<BaseEncoder<'static>>,
) -> Node {
    let agent = agent_with(index, seed, foundation_model, base);
    Station::new(router_config(index), agent, seed ^ (index as u64) << 32, Instant::ZERO)
}

/// The agent of such a station.
pub fn agent_with(
    index: usize,
    seed: u64,
    foundation_model: bool,
    base: Option<BaseEncoder<'static>>,
) -> Agent<'static, Flash> {
    let config = AgentConfig {
        num: number(index),
        device_class: 1,
        record_hash: 0,
        keys: KeyRing::new(1, SwarmKey([3; 16])),
        trust: TrustStore::new(&[root_key().verifying_key().to_bytes()]).unwrap(),
        base,
        task: 1,
        profile: MissionProfile::default(),
        command_post: Some(EDGE),
        foundation_model,
        foundation_version: 1,
        mains_power: foundation_model,
        job_lifetime: Duration::from_secs(4 * 3600),
        hop_limit: 7,
    };
    let slots = Slots::open(Flash::default(), Geometry::packed::<Flash>(0, 4096, 176, 2).unwrap()).unwrap();
    let state = StateLog::open(Flash::default()).unwrap();
    Agent::new(config, slots, state, seed ^ (index as u64) << 32, Instant::ZERO).unwrap()
}

/// A client on LongFast.
pub fn router_config(index: usize) -> RouterConfig {
    RouterConfig {
        num: number(index),
        role: Role::Client,
        preset: Preset::LongFast,
        region: Region::Eu868,
        hop_limit: 3,
        channels: channels().into_iter().collect(),
        own_port: PORT,
        relaying: Relaying::default(),
    }
}

/// The operator's root key.
pub fn root_key() -> SigningKey {
    SigningKey::from_bytes(&[0x11; 32])
}

/// Nodes on a line, `spacing` of the radio's reach apart; the first is the edge node.
pub fn line(count: usize, spacing: f64, loss_ppm: u32, seed: u64) -> World<Node> {
    line_of(count, spacing, loss_ppm, seed, |index| station(index, seed, index == 0))
}

/// The same with stations of the test's own.
pub fn line_of<H: Host>(
    count: usize,
    spacing: f64,
    loss_ppm: u32,
    seed: u64,
    make: impl Fn(usize) -> H,
) -> World<H> {
    let mut radio = Radio::new(Preset::LongFast.modem(false), Region::Eu868);
    radio.shadowing_db = 0.0;
    let config = WorldConfig { preset: Preset::LongFast, region: Region::Eu868, loss_ppm, seed };
    let numbers = (0..count).map(number).collect();
    let ledger = Ledger::new(channels(), numbers, Duration::from_secs(300));
    let step = radio.range_m(3.0) * spacing;
    let mut world = World::new(config, radio, ledger);
    for index in 0..count {
        world.add(make(index), Position { x_m: step * index as f64, y_m: 0.0 });
    }
    world
}

/// Runs until `until`; the edge node answers each job with class 4. Calls `on_event` for each event of each node.
pub fn run(world: &mut World<Node>, until: Instant, mut on_event: impl FnMut(usize, Instant, &AgentEvent)) {
    while let Some(touched) = world.step(until) {
        for id in touched {
            let events = world.with_host(id, |station, now| {
                let mut events = Vec::new();
                while let Some(event) = station.agent().poll_event() {
                    if let AgentEvent::Execute(ticket) = event {
                        let mut buffer = [0; REPORT_MAX];
                        assert!(station.agent().ticket_text(ticket, &mut buffer).is_some());
                        let outcome = Outcome { class: 4, confidence: 14, model_version: 1, unsure: false };
                        station.agent().complete(now, ticket, outcome);
                        station.settle(now);
                    }
                    events.push(event);
                }
                events
            });
            let now = world.now();
            for event in events {
                on_event(id, now, &event);
            }
        }
    }
}

pub fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}
