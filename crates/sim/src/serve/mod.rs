//! A scenario whose nodes have their client API: what `sim serve` shows to apps and bots.
//!
//! Sans-IO like all of the simulator: the host says how far the world shall go on, hands over what clients say, and takes what their
//! devices answer. What happens on the air is the mesh crate's own doing ([`ServedNode`]); clients see real texts, names, places,
//! acknowledgements and routes over simulated radio.

mod convert;
mod node;
mod ours;
mod talk;

use compotastic_client::device::{About, FROM_RADIO_MAX, Fresh, Part, Settings};
use compotastic_mesh::{
    nodedb::Position as NodePosition,
    packet::NodeNum,
    pkc::KeyPair,
    rng::Rng,
    router::RouterConfig,
    time::{Duration, Instant},
};
use compotastic_messages::{
    Channel, ChannelRole, ChannelSettings, HardwareModel, LoRaConfig, Message as _, ModemPreset, RegionCode,
    Role,
};
use compotastic_node::station::SWARM_CHANNEL;

pub use node::{Post, ServedNode};
pub use ours::ServedOurs;

use crate::{
    motion::EARTH_M,
    radio::Position,
    scenario::{
        Bodies, Body, RadioMaker, Scenario, ScenarioWorld, StockPost, SwarmReport, build_bodies, roles,
    },
    swarm::{SWARM_NAME, SWARM_PSK},
};

/// The place at 0, 0 of scenarios that name none: a lake in the Alps.
const ORIGIN: (f64, f64) = (46.57, 9.86);
/// Height above sea of scenarios without terrain, metres.
const ALTITUDE_M: i32 = 1500;
/// Nodes are switched on one after the other, so far apart on average: what each tells at its start floods the whole mesh.
const START_EACH: Duration = Duration::from_secs(12);
/// After the last was switched on, all have said who and where they are by then, and have told their battery.
const SETTLES: Duration = Duration::from_secs(300);
/// The world goes on in steps of at most this, so that moving nodes know where they are.
const STEP: Duration = Duration::from_secs(1);

/// How a scenario is served.
#[derive(Clone, Copy, Debug)]
pub struct ServeSettings {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Seconds since 1970 when the simulation begins.
    pub unix_s: u32,
}

/// A node and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Node number.
    pub num: u32,
    /// Name in the scenario.
    pub name: String,
    /// Role as scenarios spell it, or what it is of ours.
    pub role: String,
    /// Degrees, north positive.
    pub latitude: f64,
    /// Degrees, east positive.
    pub longitude: f64,
    /// It has power, and takes a client.
    pub served: bool,
}

/// The world with its clients.
pub struct Served {
    of: ScenarioWorld,
    roles: Vec<String>,
    origin: (f64, f64),
}

fn radians(degrees: f64) -> f64 {
    degrees * core::f64::consts::PI / 180.0
}

/// Latitude and longitude of a place, degrees.
fn degrees(origin: (f64, f64), position: &Position) -> (f64, f64) {
    let degrees = |radians: f64| radians * 180.0 / core::f64::consts::PI;
    let latitude = origin.0 + degrees(position.y_m / EARTH_M);
    (latitude, origin.1 + degrees(position.x_m / EARTH_M / libm::cos(radians(origin.0))))
}

fn told(origin: (f64, f64), position: &Position) -> NodePosition {
    let (latitude, longitude) = degrees(origin, position);
    let units = |degrees: f64| libm::round(degrees * 1e7).clamp(-1.8e9, 1.8e9) as i32;
    NodePosition {
        latitude_i: units(latitude),
        longitude_i: units(longitude),
        altitude_m: Some(ALTITUDE_M),
        time_s: 0,
        precision_bits: 32,
    }
}

/// No port is a stock router's own: it acknowledges and repeats as the firmware does, and clients get what comes on any.
const NO_PORT: u16 = 0;

/// What a stock node comes with out of its box, once its owner has named it and set its region; one of ours has the swarm's channel too.
fn fresh(stock: &StockPost, ours: bool, draws: &mut Rng) -> Settings {
    let StockPost { name, config, .. } = stock;
    let lora = LoRaConfig {
        use_preset: true,
        modem_preset: ModemPreset::from_name(config.preset.name()).unwrap_or_default(),
        region: RegionCode::from_name(config.region.name()).unwrap_or_default(),
        hop_limit: u32::from(config.hop_limit),
        tx_enabled: true,
        ..LoRaConfig::default()
    };
    let mut private = [0; 32];
    for word in private.chunks_exact_mut(8) {
        word.copy_from_slice(&draws.next_u64().to_le_bytes());
    }
    let public = *KeyPair::from_private(private).public();
    let short_name = convert::short_name(name);
    let mut settings = Settings::fresh(&Fresh {
        long_name: name,
        short_name: &short_name,
        role: Role(config.role as u32),
        lora,
        keys: Some((private, public)),
    });
    if ours {
        let channel = Channel {
            index: i32::from(SWARM_CHANNEL),
            settings: Some(ChannelSettings {
                psk: &SWARM_PSK,
                name: SWARM_NAME.into(),
                ..ChannelSettings::default()
            }),
            role: ChannelRole::SECONDARY,
        };
        if let Ok(channel) = channel.to_vec::<96>() {
            // Fresh settings are small: there is room.
            let _ = settings.set(Part::Channel(SWARM_CHANNEL), &channel);
        }
    }
    settings
}

/// The body of a node that is switched on at `start`.
fn served(stock: StockPost, start: Instant, unix_s: u32, ours: bool) -> ServedNode {
    let mut draws = Rng::from_seed(stock.seed).child(0x6669_7273);
    ServedNode::new(Post {
        settings: fresh(&stock, ours, &mut draws),
        about: about(&stock.config, &mut draws),
        router: RouterConfig { own_port: NO_PORT, ..stock.config },
        plan: stock.plan,
        start,
        unix_s,
        agent: ours.then_some((compotastic_wire::PORT, SWARM_CHANNEL)),
        seed: stock.seed,
    })
}

fn about(config: &RouterConfig, draws: &mut Rng) -> About {
    let mut device_id = [0; 16];
    device_id[..8].copy_from_slice(&draws.next_u64().to_le_bytes());
    device_id[8..].copy_from_slice(&draws.next_u64().to_le_bytes());
    About {
        num: config.num.0,
        hw_model: HardwareModel::PORTDUINO,
        firmware_version: "2.7.26.compo",
        build: "compotastic-sim",
        device_id,
        reboot_count: 1,
        has_wifi: true,
        has_bluetooth: false,
        can_shutdown: true,
    }
}

impl Served {
    /// Builds the scenario's world; all nodes are off as yet.
    ///
    /// # Errors
    /// What is wrong with the scenario.
    pub fn build(scenario: &Scenario, settings: ServeSettings) -> Result<Self, String> {
        let ServeSettings { seed, unix_s } = settings;
        let starts = Rng::from_seed(seed).child(0x7374_6172);
        let spread_ms = START_EACH.as_millis() * scenario.node_count() as u64;
        let start_of = move |num: NodeNum| {
            let after_ms = starts.child(u64::from(num.0)).next_u64() % spread_ms.max(1);
            Instant::ZERO + Duration::from_millis(after_ms)
        };
        let named: Vec<String> = scenario.node.iter().map(|node| node.name.get_ref().clone()).collect();
        let start_of_ours = start_of.clone();
        let radios: RadioMaker = Box::new(move |id, config, now| {
            let name = named.get(id).cloned().unwrap_or_else(|| format!("node {}", id + 1));
            let start = if now == Instant::ZERO { start_of_ours(config.num) } else { now };
            let seed = Rng::from_seed(seed).child(0x6f75_7273).child(u64::from(config.num.0)).next_u64();
            served(StockPost { name, config, plan: Vec::new(), seed }, start, unix_s, true)
        });
        let make = Bodies {
            stock: Box::new(move |stock| {
                let start = start_of(stock.config.num);
                Body::Served(Box::new(served(stock, start, unix_s, false)))
            }),
            radios: Some(radios),
        };
        let of = build_bodies(scenario, seed.into(), None, None, |_| Ok(()), make)?;
        let origin = scenario.origin.as_ref().map(|one| (*one.latitude.get_ref(), *one.longitude.get_ref()));
        let mut served = Self { of, roles: roles(scenario), origin: origin.unwrap_or(ORIGIN) };
        served.tell_places(0..served.of.names.len());
        let charges = served.of.stage.batteries.iter();
        let charges: Vec<(usize, f64)> = charges.map(|(id, battery)| (*id, battery.share())).collect();
        for (id, share) in charges {
            served.with(id, |node, _| node.set_battery(libm::round(share * 100.0) as u8));
        }
        Ok(served)
    }

    fn tell_places(&mut self, ids: impl IntoIterator<Item = usize>) {
        for id in ids {
            let position = told(self.origin, &self.of.world.position(id));
            self.of.world.with_host(id, |body, _| {
                if let Some(served) = body.served() {
                    served.set_position(position);
                }
            });
        }
    }

    /// All nodes, by index.
    pub fn places(&self) -> Vec<Place> {
        let place = |(id, name): (usize, &String)| {
            let (latitude, longitude) = degrees(self.origin, &self.of.world.position(id));
            Place {
                num: self.of.world.ledger.number(id).0,
                name: name.clone(),
                role: self.roles[id].clone(),
                latitude,
                longitude,
                served: self.node(id).is_some(),
            }
        };
        self.of.names.iter().enumerate().map(place).collect()
    }

    /// Simulated time, microseconds.
    pub fn now_us(&self) -> u64 {
        self.of.world.now().as_micros()
    }

    /// Simulated time by which all nodes of a scenario have told who they are, seconds.
    pub fn settled_s(scenario: &Scenario) -> u64 {
        START_EACH.as_secs() * scenario.node_count() as u64 + SETTLES.as_secs()
    }

    /// When something happens next at the latest, microseconds of simulated time; `None`: never without a client.
    pub fn next_event_us(&self) -> Option<u64> {
        let step = (self.of.movers().next().is_some()).then(|| self.of.world.now() + STEP);
        [self.of.world.next_event_time(), step].into_iter().flatten().min().map(Instant::as_micros)
    }

    /// The world goes on for so long.
    pub fn run_for_us(&mut self, span_us: u64) {
        let end = self.of.world.now() + Duration::from_micros(span_us);
        while self.of.world.now() < end {
            let until = (self.of.world.now() + STEP).min(end);
            self.of.stage.run_until(&mut self.of.world, until, |_, _| {});
            let movers: Vec<usize> = self.of.movers().collect();
            self.tell_places(movers);
        }
    }

    /// The node, if it has the API for a client.
    fn with<T>(&mut self, node: usize, act: impl FnOnce(&mut ServedNode, Instant) -> T) -> Option<T> {
        if node >= self.of.names.len() {
            return None;
        }
        self.of.world.with_host(node, |body, now| body.served().map(|served| act(served, now)))
    }

    /// A client is there, in place of the one before it; false where there is none to take it, or it restarts just now.
    pub fn connect(&mut self, node: usize) -> bool {
        self.with(node, ServedNode::connect).unwrap_or(false)
    }

    /// The client is gone.
    pub fn disconnect(&mut self, node: usize) {
        self.with(node, |served, _| served.disconnect());
    }

    /// A `ToRadio` message of a client's.
    pub fn handle_to_radio(&mut self, node: usize, bytes: &[u8]) {
        self.with(node, |served, now| served.handle_to_radio(now, bytes));
    }

    /// The next `FromRadio` message for the client of a node; its length.
    pub fn poll_from_radio(&mut self, node: usize, out: &mut [u8; FROM_RADIO_MAX]) -> Option<usize> {
        self.with(node, |served, now| served.poll_from_radio(now, out))?
    }

    /// The node has gone down since its client came, to restart or for good; told once.
    pub fn poll_down(&mut self, node: usize) -> bool {
        self.with(node, |served, _| served.poll_down()).unwrap_or(false)
    }

    /// What became of jobs, reports and bundles of our own nodes; nothing without any.
    pub fn swarm(&mut self) -> Option<SwarmReport> {
        self.of.stage.swarm_report()
    }

    /// A node, to look at; `None` for those without power.
    pub fn node(&self, node: usize) -> Option<&ServedNode> {
        self.of.world.host(node).served_ref()
    }
}
