//! From a scenario to a world.

use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Role, RouterConfig},
    time::{Duration, Instant},
};

use super::{PathLossName, RoleName, Scenario, run::bin_width};
use crate::{
    World, WorldConfig,
    ledger::Ledger,
    messenger::{Messenger, Planned},
    path_loss::{HataArea, PathLoss},
    radio::{End, Position, Radio, log_distance},
};

/// A scenario's world, with what a report has to know of it.
pub struct ScenarioWorld {
    /// The world.
    pub world: World<Messenger>,
    /// Where each node stands.
    pub positions: Vec<Position>,
    /// Names; drawn nodes are numbered.
    pub names: Vec<String>,
    /// All messages, by index.
    pub messages: Vec<Message>,
    /// When the scenario ends.
    pub end: Instant,
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
    radio.path_loss = match settings.path_loss {
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
    position: Position,
    role: Role,
    end: End,
}

const fn role_of(name: RoleName) -> Role {
    match name {
        RoleName::Client => Role::Client,
        RoleName::ClientMute => Role::ClientMute,
        RoleName::Router => Role::Router,
    }
}

fn places(scenario: &Scenario, radio: &Radio, draws: &mut Rng) -> Result<Vec<Place>, String> {
    let usual = radio.end();
    let mut places: Vec<Place> = scenario
        .node
        .iter()
        .map(|node| Place {
            name: node.name.get_ref().clone(),
            position: Position { x_m: *node.x_m.get_ref(), y_m: *node.y_m.get_ref() },
            role: role_of(node.role),
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
            places.push(Place { name, position, role: role_of(field.role), end: usual });
        }
    }
    Ok(places)
}

fn exponential_s(draws: &mut Rng, mean_s: f64) -> f64 {
    let unit = (f64::from(draws.next_u32()) + 1.0) / 4_294_967_296.0;
    -libm::log(unit) * mean_s
}

fn plan(scenario: &Scenario, names: &[String], end: Instant, draws: &Rng) -> Vec<(Message, Planned)> {
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
            let nodes = names.len() as u32;
            let from = index_of(settings.from.get_ref()).unwrap_or_else(|| draws.below(nodes) as usize);
            let to = match settings.to.get_ref().as_str() {
                "everybody" => None,
                "any" => {
                    let drawn = draws.below(nodes - 1) as usize;
                    Some(drawn + usize::from(drawn >= from))
                }
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

/// Draws a scenario's world from a seed.
pub fn build(scenario: &Scenario, seed: u64) -> Result<ScenarioWorld, String> {
    let preset: Preset = scenario.preset.get_ref().parse().map_err(|_| "preset".to_string())?;
    let region: Region = scenario.region.get_ref().parse().map_err(|_| "region".to_string())?;
    let radio = radio_of(scenario, preset, region);
    let draws = Rng::from_seed(seed);
    let places = places(scenario, &radio, &mut draws.child(0x706c_6163))?;
    let names: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
    let end = Instant::ZERO + Duration::from_micros((scenario.hours.get_ref() * 3.6e9) as u64);
    let planned = plan(scenario, &names, end, &draws.child(0x6d65_7373));
    let number = |id: usize| NodeNum(0x0b00_0001 + id as u32);
    let primary = Channel::new(preset.display_name(), &[1]).ok_or("the default key is refused")?;
    let channels = vec![primary];
    let numbers: Vec<NodeNum> = (0..places.len()).map(number).collect();
    let ledger = Ledger::new(channels.clone(), numbers.clone(), bin_width(end));
    let loss_ppm = (scenario.loss.get_ref() * 1e6).round() as u32;
    let best = places.iter().fold(radio.end(), |best, place| End {
        height_m: best.height_m.max(place.end.height_m),
        gain_dbi: best.gain_dbi.max(place.end.gain_dbi),
    });
    let mut world = World::new(WorldConfig { preset, region, loss_ppm, seed }, radio, ledger);
    world.expect_antenna(best);
    let seeds = draws.child(0x6e6f_6465);
    let mut plans: Vec<Vec<Planned>> = places.iter().map(|_| Vec::new()).collect();
    for (index, (message, planned)) in planned.iter().enumerate() {
        let to = message.to.map_or(NodeNum::BROADCAST, number);
        plans[message.from].push(Planned { message: index as u32, to, ..*planned });
    }
    let positions = places.iter().map(|place| place.position).collect();
    for ((id, place), plan) in places.into_iter().enumerate().zip(plans) {
        let config = RouterConfig {
            num: numbers[id],
            role: place.role,
            preset,
            region,
            hop_limit: 3,
            channels: channels.iter().cloned().collect(),
            own_port: compotastic_wire::PORT,
        };
        let node = Messenger::new(config, plan, seeds.child(id as u64).next_u64());
        world.add_with(node, place.position, place.end);
    }
    let messages = planned.into_iter().map(|(message, _)| message).collect();
    Ok(ScenarioWorld { world, positions, names, messages, end })
}
