//! From a scenario to a world.

use std::collections::BTreeMap;

use compotastic_mesh::{
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Rebroadcast, Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};

use super::{
    Body, NodeKind, PathLossName, Scenario, WalkSettings,
    run::bin_width,
    stage::{Action, Ours, Stage},
};
use crate::{
    World, WorldConfig,
    bluetooth::Bluetooth,
    energy::Battery,
    ledger::Ledger,
    messenger::{Messenger, Planned},
    motion::Track,
    path_loss::{HataArea, PathLoss},
    radio::{End, Position, Radio, log_distance},
    serve::ServedNode,
    swarm::{Kit, NodeFlash, Post, Store},
};
use compotastic_model::BaseEncoder;

/// A scenario's world, with what a report has to know of it.
pub struct ScenarioWorld {
    /// The world.
    pub world: World<Body>,
    pub(crate) stage: Stage,
    /// Where each node stands.
    pub positions: Vec<Position>,
    /// Names; drawn nodes are numbered.
    pub names: Vec<String>,
    /// Stock nodes, at which people read messages.
    pub stock: Vec<usize>,
    /// All messages, by index.
    pub messages: Vec<Message>,
    /// When the scenario ends.
    pub end: Instant,
}

impl ScenarioWorld {
    /// Nodes that move.
    pub fn movers(&self) -> impl Iterator<Item = usize> {
        self.stage.tracks.keys().copied()
    }
}

/// From what a scenario's world is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// Places of nodes that are drawn, and the shadows between all: which mesh it is.
    pub mesh: u64,
    /// All else: what becomes of each frame, the nodes' own dice, when people talk and where they walk.
    pub luck: u64,
}

impl From<u64> for Seeds {
    fn from(seed: u64) -> Self {
        Self { mesh: seed, luck: seed }
    }
}

/// A message that somebody will send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sender.
    pub from: usize,
    /// Destination; `None` for everybody.
    pub to: Option<usize>,
    /// When.
    pub at: Instant,
}

/// Places that are tried for a node that has to be connected.
const PLACES: u32 = 10_000;

fn radio_of(scenario: &Scenario, preset: Preset, region: Region) -> Radio {
    let settings = &scenario.radio;
    let mut radio = Radio::new(preset.modem(region.wide()), region);
    let number = |value: &Option<toml::Spanned<f64>>, default: f64| {
        value.as_ref().map_or(default, |value| *value.get_ref())
    };
    let usual = if settings.terrain.is_some() { PathLossName::FreeSpace } else { PathLossName::LogDistance };
    radio.path_loss = match settings.path_loss.unwrap_or(usual) {
        PathLossName::LogDistance => log_distance(radio.frequency_hz, number(&settings.exponent, 3.4)),
        PathLossName::FreeSpace => PathLoss::FreeSpace,
        PathLossName::HataSmallCity => PathLoss::Hata(HataArea::SmallCity),
        PathLossName::HataMetropolitan => PathLoss::Hata(HataArea::Metropolitan),
        PathLossName::HataSuburban => PathLoss::Hata(HataArea::Suburban),
        PathLossName::HataRural => PathLoss::Hata(HataArea::Rural),
        PathLossName::ThreeGppSuburban => PathLoss::ThreeGpp { urban: false },
        PathLossName::ThreeGppUrban => PathLoss::ThreeGpp { urban: true },
    };
    radio.shadowing_db = number(&settings.shadowing_db, radio.shadowing_db);
    radio.fading_db = number(&settings.fading_db, radio.fading_db);
    radio.antenna_gain_dbi = number(&settings.antenna_gain_dbi, radio.antenna_gain_dbi);
    radio.antenna_height_m = number(&settings.antenna_height_m, radio.antenna_height_m);
    // The region's limit holds whatever is asked for.
    radio.tx_power_dbm =
        number(&settings.tx_power_dbm, radio.tx_power_dbm).min(f64::from(region.max_power_dbm()));
    radio
}

struct Place {
    name: String,
    kind: NodeKind,
    position: Position,
    role: Role,
    relaying: Relaying,
    end: End,
}

fn relaying(rebroadcast: Rebroadcast, unknown_limit: Option<&toml::Spanned<i64>>) -> Relaying {
    let unknown_limit = unknown_limit.map(|limit| *limit.get_ref() as u16);
    Relaying { rebroadcast, unknown_limit, ..Relaying::default() }
}

fn places(scenario: &Scenario, radio: &Radio, draws: &mut Rng) -> Result<Vec<Place>, String> {
    let usual = radio.end();
    let mut places: Vec<Place> = scenario
        .node
        .iter()
        .map(|node| Place {
            name: node.name.get_ref().clone(),
            kind: node.kind,
            position: Position { x_m: *node.x_m.get_ref(), y_m: *node.y_m.get_ref() },
            role: node.role,
            relaying: relaying(node.rebroadcast, node.unknown_limit.as_ref()),
            end: End {
                height_m: node.antenna_height_m.as_ref().map_or(usual.height_m, |value| *value.get_ref()),
                gain_dbi: node.antenna_gain_dbi.as_ref().map_or(usual.gain_dbi, |value| *value.get_ref()),
            },
        })
        .collect();
    // Without its shadow; 3 dB above the floor is a link that works.
    let range_m = radio.range_m(3.0);
    for field in &scenario.field {
        let field = field.get_ref();
        let mut unit = || f64::from(draws.next_u32()) / 4_294_967_296.0;
        for _ in 0..*field.count.get_ref() {
            let number = places.len() + 1;
            let mut place = || Position {
                x_m: field.x_m.get_ref() + unit() * field.width_m.get_ref(),
                y_m: field.y_m.get_ref() + unit() * field.height_m.get_ref(),
            };
            let mut position = place();
            let hears = |position: &Position| {
                places.is_empty() || places.iter().any(|other| other.position.distance_m(position) <= range_m)
            };
            let mut tries = 0;
            while field.connected && !hears(&position) {
                tries += 1;
                if tries > PLACES {
                    return Err(format!(
                        "node {number} finds no place in its field from which it hears another: the range is {range_m:.0} m; \
                         make the field smaller, or leave out `connected`"
                    ));
                }
                position = place();
            }
            let name = format!("node {number}");
            let relaying = relaying(field.rebroadcast, field.unknown_limit.as_ref());
            places.push(Place { name, kind: field.kind, position, role: field.role, relaying, end: usual });
        }
    }
    Ok(places)
}

fn exponential_s(draws: &mut Rng, mean_s: f64) -> f64 {
    let unit = (f64::from(draws.next_u32()) + 1.0) / 4_294_967_296.0;
    -libm::log(unit) * mean_s
}

/// Messages of people, who have stock nodes.
fn plan(
    scenario: &Scenario,
    names: &[String],
    stock: &[usize],
    end: Instant,
    draws: &Rng,
) -> Vec<(Message, Planned)> {
    let mut all = Vec::new();
    let index_of = |name: &str| names.iter().position(|other| other == name);
    for (number, settings) in scenario.messages.iter().enumerate() {
        let mut draws = draws.child(number as u64);
        let mut at = Instant::ZERO;
        loop {
            let gap_s = exponential_s(&mut draws, *settings.every_s.get_ref());
            at = at + Duration::from_micros((gap_s * 1e6) as u64);
            if at >= end {
                break;
            }
            let nodes = stock.len() as u32;
            let mut any = |but: Option<usize>| {
                let drawn = draws.below(nodes - u32::from(but.is_some())) as usize;
                let skipped = but.and_then(|but| stock.iter().position(|id| *id == but));
                stock[drawn + usize::from(skipped.is_some_and(|skipped| drawn >= skipped))]
            };
            let from = index_of(settings.from.get_ref()).unwrap_or_else(|| any(None));
            let to = match settings.to.get_ref().as_str() {
                "everybody" => None,
                "any" => Some(any(Some(from))),
                name => index_of(name),
            };
            if to == Some(from) {
                continue;
            }
            let planned = Planned {
                at,
                message: 0,
                to: NodeNum::BROADCAST,
                length: *settings.length.get_ref() as usize,
                want_ack: settings.want_ack && to.is_some(),
                hop_limit: *settings.hop_limit.get_ref() as u8,
            };
            all.push((Message { from, to, at }, planned));
        }
    }
    all.sort_by_key(|(message, _)| (message.at, message.from));
    all
}

/// Draws a scenario's world from a seed. Nodes of ours hold `base`, the base encoder; without it no bundle can be installed.
pub fn build(
    scenario: &Scenario,
    seed: u64,
    base: Option<BaseEncoder<'static>>,
) -> Result<ScenarioWorld, String> {
    build_with(scenario, seed.into(), base, None, |_| Ok(()))
}

/// The same with what nodes of ours keep in a part of flash for large objects, and after `prepare` has had the kit.
pub(super) fn build_with(
    scenario: &Scenario,
    seeds: Seeds,
    base: Option<BaseEncoder<'static>>,
    store: Option<Store>,
    prepare: impl FnOnce(&mut Kit) -> Result<(), String>,
) -> Result<ScenarioWorld, String> {
    let messenger =
        |stock: StockPost| Body::Stock(Box::new(Messenger::new(stock.config, stock.plan, stock.seed)));
    let make = Bodies { stock: Box::new(messenger), radios: None };
    build_bodies(scenario, seeds, base, store, prepare, make)
}

/// What is known of a stock node before its body is made.
pub(crate) struct StockPost {
    /// Its name.
    pub name: String,
    /// Its router's settings.
    pub config: RouterConfig,
    /// What its person will send.
    pub plan: Vec<Planned>,
    /// Seed of all that it draws.
    pub seed: u64,
}

/// Makes the radio of one of our nodes (its index, its router's settings) that starts at a time.
pub(crate) type RadioMaker = Box<dyn Fn(usize, RouterConfig, Instant) -> ServedNode>;

/// How bodies are made.
pub(crate) struct Bodies {
    /// Stock nodes.
    pub stock: Box<dyn FnMut(StockPost) -> Body>,
    /// Radios of our nodes, where they have a client beside their agent.
    pub radios: Option<RadioMaker>,
}

/// The same with bodies of another make.
pub(crate) fn build_bodies(
    scenario: &Scenario,
    seeds: Seeds,
    base: Option<BaseEncoder<'static>>,
    store: Option<Store>,
    prepare: impl FnOnce(&mut Kit) -> Result<(), String>,
    mut make: Bodies,
) -> Result<ScenarioWorld, String> {
    let preset: Preset = scenario.preset.get_ref().parse().map_err(|_| "preset".to_string())?;
    let region: Region = scenario.region.get_ref().parse().map_err(|_| "region".to_string())?;
    let radio = radio_of(scenario, preset, region);
    let draws = Rng::from_seed(seeds.luck);
    let mut places = places(scenario, &radio, &mut Rng::from_seed(seeds.mesh).child(0x706c_6163))?;
    let names: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
    let kinds: Vec<NodeKind> = places.iter().map(|place| place.kind).collect();
    let number = |id: usize| {
        let head = match kinds[id] {
            NodeKind::Stock => 0x0b00_0001,
            NodeKind::Edge => 0x0e00_0001,
            NodeKind::Field | NodeKind::Hosted => 0x0f00_0001,
        };
        NodeNum(head + id as u32)
    };
    for (node, place) in scenario.node.iter().zip(&mut places) {
        let of_name = |name: &str| names.iter().position(|other| other == name);
        let named = node.favourites.iter().filter_map(|name| of_name(name.get_ref()));
        place.relaying.favourites = named.map(number).collect();
    }
    let end = Instant::ZERO + Duration::from_micros((scenario.hours.get_ref() * 3.6e9) as u64);
    let stock: Vec<usize> = (0..kinds.len()).filter(|id| kinds[*id] == NodeKind::Stock).collect();
    let planned = plan(scenario, &names, &stock, end, &draws.child(0x6d65_7373));
    let numbers: Vec<NodeNum> = (0..places.len()).map(number).collect();
    let mut kit = Kit::new(preset, region, base, draws.child(0x6b69_7400).next_u64());
    if store.is_some_and(|store| !kit.keep(store)) {
        return Err("flash cannot be cut into pieces of that size".to_string());
    }
    for (id, class) in scenario.classes().into_iter().enumerate() {
        kit.set_class(number(id), class);
    }
    prepare(&mut kit)?;
    let channels = kit.channels();
    let primary = channels.first().ok_or("the default key is refused")?.clone();
    let ours = kinds.iter().any(|kind| kind.is_ours());
    let known = if ours { channels } else { vec![primary.clone()] };
    let ledger = Ledger::new(known, numbers.clone(), bin_width(end));
    let loss_ppm = (scenario.loss.get_ref() * 1e6).round() as u32;
    let best = places.iter().fold(radio.end(), |best, place| End {
        height_m: best.height_m.max(place.end.height_m),
        gain_dbi: best.gain_dbi.max(place.end.gain_dbi),
    });
    let mut world = World::new(WorldConfig { preset, region, loss_ppm, seed: seeds.mesh }, radio, ledger);
    world.set_luck(seeds.luck);
    if !scenario.link.is_empty() {
        let of_name = |name: &String| names.iter().position(|other| other == name);
        let mut known = BTreeMap::new();
        for link in &scenario.link {
            let [a, b] = link.between.get_ref();
            let (Some(a), Some(b)) = (of_name(a), of_name(b)) else { continue };
            let there = *link.snr_db.get_ref();
            known.insert((a, b), there);
            known.insert((b, a), link.back_snr_db.as_ref().map_or(there, |snr_db| *snr_db.get_ref()));
        }
        world.set_links(known);
    }
    world.expect_antenna(best);
    if let Some(terrain) = &scenario.terrain {
        world.set_terrain(terrain.clone());
    }
    let seeds = draws.child(0x6e6f_6465);
    let mut plans: Vec<Vec<Planned>> = places.iter().map(|_| Vec::new()).collect();
    for (index, (message, planned)) in planned.iter().enumerate() {
        let to = message.to.map_or(NodeNum::BROADCAST, number);
        plans[message.from].push(Planned { message: index as u32, to, ..*planned });
    }
    let positions: Vec<Position> = places.iter().map(|place| place.position).collect();
    let mut stage =
        stage(scenario, &kinds, &names, &positions, &numbers, &kit, end, &draws.child(0x7374_6167));
    stage.radios = make.radios.take();
    for ours in stage.ours.values_mut().filter(|_| store.is_some()) {
        ours.flash = if store.is_some_and(|store| store.native) {
            let factory = kit.factory(ours.post.num).ok_or("the operator's keys make no firmware")?;
            NodeFlash::with_native(&factory).ok_or("the image that nodes run does not fit their flash")?
        } else {
            NodeFlash::with_store()
        };
    }
    for ((id, place), plan) in places.into_iter().enumerate().zip(plans) {
        let body = if place.kind.is_ours() {
            if let Some(ours) = stage.ours.get_mut(&id) {
                (ours.post.role, ours.post.relaying) = (place.role, place.relaying);
            }
            stage.boot(id, Instant::ZERO).ok_or("blank flash does not boot")?
        } else {
            let config = RouterConfig {
                num: numbers[id],
                role: place.role,
                preset,
                region,
                hop_limit: 3,
                channels: [primary.clone()].into_iter().collect(),
                own_port: compotastic_wire::PORT,
                relaying: place.relaying,
            };
            let seed = seeds.child(id as u64).next_u64();
            (make.stock)(StockPost { name: place.name, config, plan, seed })
        };
        world.add_with(body, place.position, place.end);
    }
    let messages = planned.into_iter().map(|(message, _)| message).collect();
    Ok(ScenarioWorld { world, stage, positions, names, stock, messages, end })
}

/// All that happens beside the radio.
#[allow(clippy::too_many_arguments, reason = "called once, by the function above")]
fn stage(
    scenario: &Scenario,
    kinds: &[NodeKind],
    names: &[String],
    positions: &[Position],
    numbers: &[NodeNum],
    kit: &Kit,
    end: Instant,
    draws: &Rng,
) -> Stage {
    let mut stage = Stage::new(draws.child(1));
    stage.start_hour = *scenario.start_hour.get_ref();
    stage.bluetooth = scenario.bluetooth.clone().map(|settings| Bluetooth::new(settings, draws.child(2)));
    let post = kinds.iter().position(|kind| *kind == NodeKind::Edge);
    let mut kit = kit.clone();
    kit.command_post = post.map(|id| numbers[id]);
    stage.bundles = kit.bundles();
    stage.kit = Some(kit);
    for id in (0..kinds.len()).filter(|id| kinds[*id].is_ours()) {
        let post = Post {
            num: numbers[id],
            role: Role::Client,
            relaying: Relaying::default(),
            edge: kinds[id] == NodeKind::Edge,
            base: true,
        };
        let hosted = kinds[id] == NodeKind::Hosted;
        stage.ours.insert(id, Ours { post, hosted, flash: NodeFlash::default(), boots: 0 });
    }
    let index_of = |name: &str| names.iter().position(|other| other == name);
    let walk = |walk: &WalkSettings, id: usize| {
        let mut rng = draws.child(3).child(id as u64);
        let (radius_m, speed) = (*walk.radius_m.get_ref(), *walk.speed_m_s.get_ref());
        Track::walk(positions[id], radius_m, speed, *walk.rest_s.get_ref(), end, &mut rng)
    };
    for (id, node) in scenario.node.iter().enumerate() {
        let track = if let Some(points) = &node.track {
            let point = |[at_s, x_m, y_m]: &[f64; 3]| {
                (
                    Instant::ZERO + Duration::from_micros((at_s * 1e6) as u64),
                    Position { x_m: *x_m, y_m: *y_m },
                )
            };
            Track::new(points.get_ref().iter().map(point).collect())
        } else if let Some(settings) = &node.walk {
            Some(walk(settings, id))
        } else if let Some(visits) = &node.visits {
            let stops: Vec<Position> = visits
                .nodes
                .get_ref()
                .iter()
                .filter_map(|name| index_of(name.get_ref()).map(|id| positions[id]))
                .collect();
            let (speed, stay) = (*visits.speed_m_s.get_ref(), *visits.stay_s.get_ref());
            Some(Track::visits(positions[id], &stops, speed, stay, end))
        } else {
            node.track_read.clone()
        };
        stage.tracks.extend(track.map(|track| (id, track)));
        stage.batteries.extend(node.battery.as_ref().map(|battery| (id, Battery::new(*battery.get_ref()))));
    }
    let mut id = scenario.node.len();
    for field in &scenario.field {
        let field = field.get_ref();
        for _ in 0..*field.count.get_ref() {
            stage.tracks.extend(field.walk.as_ref().map(|settings| (id, walk(settings, id))));
            stage
                .batteries
                .extend(field.battery.as_ref().map(|battery| (id, Battery::new(*battery.get_ref()))));
            id += 1;
        }
    }
    let reporters: Vec<usize> =
        (0..kinds.len()).filter(|id| matches!(kinds[*id], NodeKind::Field | NodeKind::Hosted)).collect();
    for (number, settings) in scenario.reports.iter().enumerate() {
        let mut draws = draws.child(4).child(number as u64);
        let mut at = Instant::ZERO;
        loop {
            let gap_s = exponential_s(&mut draws, *settings.every_s.get_ref());
            at = at + Duration::from_micros((gap_s * 1e6) as u64);
            if at >= end {
                break;
            }
            let drawn = reporters[draws.below(reporters.len() as u32) as usize];
            let node = index_of(settings.from.get_ref()).unwrap_or(drawn);
            stage.plan(at, Action::Report { node, sentence: draws.below(6) as u8 });
        }
    }
    for update in &scenario.updates {
        let at = Instant::ZERO + Duration::from_micros((update.at_s.get_ref() * 1e6) as u64);
        if let Some(node) = index_of(update.from.get_ref()) {
            stage.plan(at, Action::Publish { node, version: *update.version.get_ref() as u16 });
        }
    }
    stage.begin();
    stage
}
