//! Commissions the nodes of the valley: numbers, keys, flash, stations.

use anyhow::{Result, anyhow};
use compotastic_bundle::{Geometry, Slots, TrustStore, ramflash::RamFlash};
use compotastic_edge::{
    pack,
    task::{Destination, Form, Priority, TaskSpec},
    teacher::BASE_ENCODER,
};
use compotastic_mesh::{
    crypto::Channel,
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_node::{
    Agent, AgentConfig, Station,
    policy::{self, ClassPolicy, MissionProfile},
    state::StateLog,
    update::PART_MAX,
};
use compotastic_sim::{
    Host, World, WorldConfig,
    ledger::Ledger,
    radio::{Position, Radio},
    valley::{self, Valley, Wanted},
};
use compotastic_wire::{KeyRing, PORT, SwarmKey};

use super::{DemoConfig, inputs::Inputs};

/// 64 KiB of flash for slots, spare symbols and state.
pub type Flash = RamFlash<65_536>;
/// A node of the swarm.
pub type Node = Station<'static, Flash>;

/// Task number of the demo on the air.
pub const TASK: u8 = 1;
/// Device class of the field nodes.
pub const FIELD_CLASS: u8 = 1;
/// Device class of edge nodes.
pub const EDGE_CLASS: u8 = 2;
/// A job without an answer ends with a reason after this time.
const JOB_LIFETIME: Duration = Duration::from_secs(6 * 3600);
/// Spare symbols that a slot has room for.
const SPARE_SYMBOLS: u16 = 40;
/// Width of the bins of air time over time.
pub const BIN: Duration = Duration::from_secs(600);

/// The commissioned world of nodes that are native where nothing else is said.
pub struct Swarm<H = Node> {
    /// The world.
    pub world: World<H>,
    /// The valley: index 0 is the first edge node, then the field nodes.
    pub valley: Valley,
    /// Positions in the order of the world's ids.
    pub positions: Vec<Position>,
    /// Keys with which each edge node signs, and the delegation by the operator's root key.
    pub edge_keys: Vec<([u8; 32], Vec<u8>)>,
    /// The mesh's channel and the swarm's.
    pub channels: Vec<Channel>,
    /// Seed of the world's shadows and luck.
    pub world_seed: u64,
}

impl<H> Swarm<H> {
    /// World ids of the edge nodes: the first, and those after the field nodes.
    pub fn edges(&self, config: &DemoConfig) -> Vec<usize> {
        let extra = config.field_nodes + 1..config.field_nodes + config.edge_nodes.max(1);
        if config.edge_nodes == 0 { Vec::new() } else { std::iter::once(0).chain(extra).collect() }
    }
}

fn profile(task: &TaskSpec) -> MissionProfile {
    let classes: Vec<ClassPolicy> = task
        .classes
        .iter()
        .map(|class| ClassPolicy {
            priority: match class.priority {
                Priority::Low => policy::Priority::Low,
                Priority::Routine => policy::Priority::Routine,
                Priority::High => policy::Priority::High,
                Priority::Urgent => policy::Priority::Urgent,
            },
            destination: match class.destination {
                Destination::Log => policy::Destination::Log,
                Destination::Command => policy::Destination::Command,
            },
            form: match class.form {
                Form::Code => policy::Form::Code,
                Form::Summary => policy::Form::Summary,
                Form::Full => policy::Form::FullText,
            },
        })
        .collect();
    MissionProfile::new(&classes).unwrap_or_default()
}

/// Shadows belong to pairs of nodes, and under some seeds no placing makes up for them: then the next world is drawn.
const WORLDS: u64 = 100;

fn draw_valley(config: &DemoConfig, radio: &Radio) -> Result<(u64, Valley)> {
    let worlds = Rng::from_seed(config.seed).child(0x776f_726c);
    (0..WORLDS)
        .map(|world| if world == 0 { config.seed } else { worlds.child(world).next_u64() })
        .find_map(|seed| {
            let wanted = Wanted::for_nodes(config.field_nodes);
            Some((seed, valley::draw(seed, config.field_nodes, radio, wanted).ok()?))
        })
        .ok_or_else(|| {
            anyhow!("no valley for {} nodes under seed {}: try another seed", config.field_nodes, config.seed)
        })
}

/// Builds the world of a run.
pub fn commission(config: &DemoConfig, inputs: &Inputs) -> Result<Swarm> {
    commission_with(config, inputs, |_, router, agent, seed| Station::new(router, agent, seed, Instant::ZERO))
}

/// The same, with nodes that `join` makes: it is told the world id, the settings of the router, the agent, and a seed.
pub fn commission_with<H: Host>(
    config: &DemoConfig,
    inputs: &Inputs,
    mut join: impl FnMut(usize, RouterConfig, Agent<'static, Flash>, u64) -> H,
) -> Result<Swarm<H>> {
    let radio = Radio::new(config.preset.modem(config.region.wide()), config.region);
    let (world_seed, valley) = draw_valley(config, &radio)?;
    let mut positions = valley.positions.clone();
    for extra in 1..config.edge_nodes {
        let first = positions[0];
        positions.push(Position { x_m: first.x_m - 25.0 * extra as f64, y_m: first.y_m + 25.0 });
    }
    let secrets = Rng::from_seed(config.seed).child(0x7365_6372);
    let secret = |purpose: u64| -> [u8; 32] {
        let mut draws = secrets.child(purpose);
        std::array::from_fn(|_| draws.next_u32() as u8)
    };
    let numbers = numbers(&mut secrets.child(1), positions.len());
    let channels = vec![
        Channel::new(config.preset.display_name(), &[1]).ok_or_else(|| anyhow!("primary channel"))?,
        Channel::new("swarm", &secret(2)).ok_or_else(|| anyhow!("swarm channel"))?,
    ];
    let root = pack::signing_key(&secret(3));
    let classes = compotastic_bundle::ClassMask(
        compotastic_bundle::ClassMask::of(FIELD_CLASS).0 | compotastic_bundle::ClassMask::of(EDGE_CLASS).0,
    );
    let edge_keys: Vec<([u8; 32], Vec<u8>)> = (0..config.edge_nodes)
        .map(|edge| {
            let seed = secret(100 + edge as u64);
            (seed, pack::delegate(&root, &pack::signing_key(&seed), classes, 1))
        })
        .collect();
    let mut swarm_key = [0; 16];
    swarm_key.copy_from_slice(&secret(4)[..16]);
    let ledger = Ledger::new(channels.clone(), numbers.clone(), BIN);
    let world_config = WorldConfig {
        preset: config.preset,
        region: config.region,
        loss_ppm: config.loss_ppm,
        seed: world_seed,
    };
    let mut world = World::new(world_config, radio, ledger);
    for (id, position) in positions.iter().enumerate() {
        let is_edge = config.edge_nodes > 0 && (id == 0 || id > config.field_nodes);
        let agent_config = AgentConfig {
            num: numbers[id],
            device_class: if is_edge { EDGE_CLASS } else { FIELD_CLASS },
            record_hash: if is_edge { 2 } else { 1 },
            keys: KeyRing::new(1, SwarmKey(swarm_key)),
            trust: TrustStore::new(&[root.verifying_key().to_bytes()]).ok_or_else(|| anyhow!("root key"))?,
            base: Some(BaseEncoder::parse(BASE_ENCODER)?),
            task: TASK,
            profile: profile(&inputs.task),
            command_post: Some(numbers[0]),
            foundation_model: is_edge,
            foundation_version: inputs.teacher_version,
            mains_power: is_edge,
            job_lifetime: JOB_LIFETIME,
            hop_limit: 7,
        };
        let seed = Rng::from_seed(config.seed).child(0x6e6f_6465).child(id as u64).next_u64();
        let geometry = Geometry::packed::<Flash>(0, PART_MAX as u32, 176, SPARE_SYMBOLS)
            .ok_or_else(|| anyhow!("the slots do not fit the flash"))?;
        let slots = Slots::open(Flash::default(), geometry).map_err(|error| anyhow!("slots: {error:?}"))?;
        let state = StateLog::open(Flash::default()).map_err(|error| anyhow!("state: {error:?}"))?;
        let agent = Agent::new(agent_config, slots, state, seed, Instant::ZERO)
            .ok_or_else(|| anyhow!("the agent cannot read its state"))?;
        let router = RouterConfig {
            num: numbers[id],
            role: Role::Client,
            preset: config.preset,
            region: config.region,
            hop_limit: 7,
            channels: channels.iter().cloned().collect(),
            own_port: PORT,
            relaying: Relaying::default(),
        };
        world.add(join(id, router, agent, seed), *position);
    }
    Ok(Swarm { world, valley, positions, edge_keys, channels, world_seed })
}

/// Distinct node numbers with distinct last bytes as far as there are enough.
fn numbers(draws: &mut Rng, count: usize) -> Vec<NodeNum> {
    let mut numbers: Vec<NodeNum> = Vec::with_capacity(count);
    while numbers.len() < count {
        let drawn = NodeNum(draws.next_u32());
        let last_taken =
            numbers.len() < 200 && numbers.iter().any(|other| other.last_byte() == drawn.last_byte());
        if drawn.0 > 3
            && drawn != NodeNum::BROADCAST
            && drawn.last_byte() != 0
            && !numbers.contains(&drawn)
            && !last_taken
        {
            numbers.push(drawn);
        }
    }
    numbers
}
