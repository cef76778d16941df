//! Scenarios as TOML: who stands where, on what air, and who sends what.
//!
//! ```toml
//! name = "two huts"
//! preset = "LONG_FAST"
//! region = "EU_868"
//! hours = 2.0
//!
//! [radio]
//! path_loss = "log-distance"
//! exponent = 3.4
//!
//! [[node]]
//! name = "upper"
//! x_m = 0.0
//! y_m = 0.0
//!
//! [[node]]
//! name = "lower"
//! x_m = 1800.0
//! y_m = 0.0
//!
//! [[messages]]
//! from = "upper"
//! to = "lower"
//! every_s = 600
//! length = 40
//! ```
//!
//! Unknown keys, numbers that make no sense and names that nobody bears are refused with the line.

mod body;
mod build;
mod check;
mod classes;
mod load;
mod overlay;
mod push;
mod report;
mod run;
mod stage;

use std::sync::Arc;

use compotastic_mesh::router::{Rebroadcast, Role};
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use crate::{bluetooth::BluetoothSettings, energy::BatterySettings, motion::Track, terrain::Terrain};

pub use body::Body;
pub(crate) use build::{Bodies, RadioMaker, StockPost, build_bodies};
pub use build::{ScenarioWorld, Seeds, build};
pub use check::ScenarioError;
pub use classes::{ClassNames, ClassWord};
pub use push::{Canary, Package, PushEvent, PushOrder, PushReport, PushRow, Sent, Target, push};
pub(crate) use push::{energy_mwh, nobody_is_meant, publisher};
pub use report::{JobFigures, ObjectFigures, Report};
pub(crate) use run::roles;
pub use run::{Run, run, run_with};
pub use stage::{EnergyReport, SwarmReport, UpdateReport};

/// Most nodes of a scenario.
pub const NODES_MAX: usize = 20_000;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name.
    pub name: String,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// Preset, such as LONG_FAST.
    pub preset: Spanned<String>,
    /// Region, such as EU_868.
    pub region: Spanned<String>,
    /// Simulated time, hours.
    pub hours: Spanned<f64>,
    /// Scenario that this one extends: what is said here wins, and lists go on.
    pub extends: Option<Spanned<String>>,
    /// Hour of the day at which it begins; the sun needs it.
    #[serde(default = "morning")]
    pub start_hour: Spanned<f64>,
    /// Loss per transmission and receiver on top of the radio, 0..1.
    #[serde(default = "zero")]
    pub loss: Spanned<f64>,
    /// Names of device classes.
    #[serde(default, rename = "classes")]
    pub class_names: ClassNames,
    /// What is at 0, 0; GPX tracks need it.
    pub origin: Option<OriginSettings>,
    /// Bluetooth between nodes of ours that are near each other.
    pub bluetooth: Option<BluetoothSettings>,
    /// The air.
    #[serde(default)]
    pub radio: RadioSettings,
    /// Nodes that are named.
    #[serde(default)]
    pub node: Vec<NodeSettings>,
    /// Nodes that are drawn.
    #[serde(default)]
    pub field: Vec<Spanned<FieldSettings>>,
    /// Links that are known; then there are no others, and places, shadows and ground do not matter to the radio.
    #[serde(default)]
    pub link: Vec<LinkSettings>,
    /// Messages of people.
    #[serde(default)]
    pub messages: Vec<MessageSettings>,
    /// Reports that come up at nodes of ours.
    #[serde(default)]
    pub reports: Vec<ReportSettings>,
    /// Bundles that edge nodes publish.
    #[serde(default)]
    pub updates: Vec<UpdateSettings>,
    /// The ground, once it has been read.
    #[serde(skip)]
    pub terrain: Option<Arc<Terrain>>,
}

/// The place at 0, 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSettings {
    /// Latitude, degrees.
    pub latitude: Spanned<f64>,
    /// Longitude, degrees.
    pub longitude: Spanned<f64>,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// A stock node with a person.
    #[default]
    Stock,
    /// One of ours on a bare radio.
    Field,
    /// One of ours behind a stock radio.
    Hosted,
    /// One of ours that runs a foundation model.
    Edge,
}

impl NodeKind {
    /// One of ours.
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::Stock)
    }
}

/// A random walk about the place where the node begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalkSettings {
    /// How far, m.
    pub radius_m: Spanned<f64>,
    /// Speed, m/s.
    pub speed_m_s: Spanned<f64>,
    /// Mean rest between two ways, s.
    #[serde(default = "zero")]
    pub rest_s: Spanned<f64>,
}

/// A round from node to node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitSettings {
    /// Names of the nodes, in turn.
    pub nodes: Spanned<Vec<Spanned<String>>>,
    /// Speed, m/s.
    pub speed_m_s: Spanned<f64>,
    /// Stay at each, s.
    pub stay_s: Spanned<f64>,
}

/// Reports that come again and again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportSettings {
    /// A name, or "any" for a field node drawn each time.
    pub from: Spanned<String>,
    /// Mean gap, s; gaps are exponential.
    pub every_s: Spanned<f64>,
}

/// A bundle that is published.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateSettings {
    /// Name of an edge node.
    pub from: Spanned<String>,
    /// When, s.
    pub at_s: Spanned<f64>,
    /// Version, rising.
    pub version: Spanned<i64>,
}

/// Models of path loss by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathLossName {
    /// 10 n log10(d) beyond the first metre.
    #[default]
    LogDistance,
    /// As in vacuum.
    FreeSpace,
    /// Okumura-Hata, small or medium city.
    HataSmallCity,
    /// Okumura-Hata, metropolitan centre.
    HataMetropolitan,
    /// Okumura-Hata, suburb.
    HataSuburban,
    /// Okumura-Hata, open country.
    HataRural,
    /// 3GPP macrocell, suburb.
    #[serde(rename = "3gpp-suburban")]
    ThreeGppSuburban,
    /// 3GPP macrocell, city.
    #[serde(rename = "3gpp-urban")]
    ThreeGppUrban,
}

/// The air.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RadioSettings {
    /// Model of path loss.
    pub path_loss: Option<PathLossName>,
    /// File of a height raster (ESRI ASCII grid) whose diffraction is added; without a model of path loss, to free space.
    pub terrain: Option<Spanned<String>>,
    /// Exponent of the log-distance model, 2 to 6.
    pub exponent: Option<Spanned<f64>>,
    /// Standard deviation of the shadowing that is fixed per link, dB.
    pub shadowing_db: Option<Spanned<f64>>,
    /// Standard deviation of the fading from packet to packet, dB.
    pub fading_db: Option<Spanned<f64>>,
    /// Transmit power, dBm; the region's limit holds.
    pub tx_power_dbm: Option<Spanned<f64>>,
    /// Antenna gain of each node, dBi.
    pub antenna_gain_dbi: Option<Spanned<f64>>,
    /// Antenna height of each node, m.
    pub antenna_height_m: Option<Spanned<f64>>,
}

/// A node with a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// Name.
    pub name: Spanned<String>,
    /// East, m.
    pub x_m: Spanned<f64>,
    /// North, m.
    pub y_m: Spanned<f64>,
    /// Role, such as router-late.
    #[serde(default, deserialize_with = "role")]
    pub role: Role,
    /// What is relayed of others, such as local-only.
    #[serde(default, deserialize_with = "rebroadcast")]
    pub rebroadcast: Rebroadcast,
    /// So many packets of one sender that cannot be read are relayed in 5 minutes.
    pub unknown_limit: Option<Spanned<i64>>,
    /// Names of favourites, for client-base.
    #[serde(default)]
    pub favourites: Vec<Spanned<String>>,
    /// Antenna height, m.
    pub antenna_height_m: Option<Spanned<f64>>,
    /// Antenna gain, dBi.
    pub antenna_gain_dbi: Option<Spanned<f64>>,
    /// What stands here.
    #[serde(default)]
    pub kind: NodeKind,
    /// Device class of one of ours, 0 to 31 or a name of `[classes]`; 1 where not given.
    pub class: Option<Spanned<ClassWord>>,
    /// Waypoints: time in s, east and north in m.
    pub track: Option<Spanned<Vec<[f64; 3]>>>,
    /// File with a GPX track.
    pub gpx: Option<Spanned<String>>,
    /// A random walk.
    pub walk: Option<WalkSettings>,
    /// A round from node to node.
    pub visits: Option<VisitSettings>,
    /// Battery; without one it has power for ever.
    pub battery: Option<Spanned<BatterySettings>>,
    /// The GPX track, once it has been read.
    #[serde(skip)]
    pub track_read: Option<Track>,
}

/// Nodes drawn in a rectangle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSettings {
    /// How many.
    pub count: Spanned<i64>,
    /// West edge, m.
    #[serde(default = "zero")]
    pub x_m: Spanned<f64>,
    /// South edge, m.
    #[serde(default = "zero")]
    pub y_m: Spanned<f64>,
    /// Width, m.
    pub width_m: Spanned<f64>,
    /// Height, m.
    pub height_m: Spanned<f64>,
    /// Role, such as router-late.
    #[serde(default, deserialize_with = "role")]
    pub role: Role,
    /// What is relayed of others, such as local-only.
    #[serde(default, deserialize_with = "rebroadcast")]
    pub rebroadcast: Rebroadcast,
    /// So many packets of one sender that cannot be read are relayed in 5 minutes.
    pub unknown_limit: Option<Spanned<i64>>,
    /// Each is placed where it hears an earlier node.
    #[serde(default)]
    pub connected: bool,
    /// What stands there.
    #[serde(default)]
    pub kind: NodeKind,
    /// Device class of ours, 0 to 31 or a name of `[classes]`; 1 where not given.
    pub class: Option<Spanned<ClassWord>>,
    /// A random walk.
    pub walk: Option<WalkSettings>,
    /// Battery; without one they have power for ever.
    pub battery: Option<Spanned<BatterySettings>>,
}

/// A link that is known, as from a mesh that was measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSettings {
    /// Names of the two nodes.
    pub between: Spanned<[String; 2]>,
    /// Signal to noise ratio at the second of what the first sends, dB.
    pub snr_db: Spanned<f64>,
    /// The other way round, dB; the same where not given.
    pub back_snr_db: Option<Spanned<f64>>,
}

/// Messages that come again and again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSettings {
    /// A name, or "any" for a node drawn each time.
    pub from: Spanned<String>,
    /// A name, "any", or "everybody".
    pub to: Spanned<String>,
    /// Mean gap, s; gaps are exponential.
    pub every_s: Spanned<f64>,
    /// Bytes of text, 1 to 200.
    pub length: Spanned<i64>,
    /// Repeated until acknowledged (to one node only).
    #[serde(default)]
    pub want_ack: bool,
    /// Hop limit, 0 to 7.
    #[serde(default = "three")]
    pub hop_limit: Spanned<i64>,
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    let name = String::deserialize(from)?;
    let all = Role::ALL.map(Role::name).join(", ");
    name.parse().map_err(|_| D::Error::custom(format!("role = \"{name}\" is none of {all}")))
}

fn rebroadcast<'de, D: Deserializer<'de>>(from: D) -> Result<Rebroadcast, D::Error> {
    let name = String::deserialize(from)?;
    let all = Rebroadcast::ALL.map(Rebroadcast::name).join(", ");
    name.parse().map_err(|_| D::Error::custom(format!("rebroadcast = \"{name}\" is none of {all}")))
}

fn morning() -> Spanned<f64> {
    Spanned::new(0..0, 8.0)
}

fn zero() -> Spanned<f64> {
    Spanned::new(0..0, 0.0)
}

fn three() -> Spanned<i64> {
    Spanned::new(0..0, 3)
}

impl Scenario {
    /// Reads a scenario that names no files, and checks all of it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario = Self::read(text)?;
        let files = [&scenario.extends, &scenario.radio.terrain];
        let tracks = scenario.node.iter().map(|node| &node.gpx);
        if let Some(file) = files.into_iter().chain(tracks).flatten().next() {
            let what =
                format!("\"{}\" is a file; this scenario has to be read from a file too", file.get_ref());
            return Err(ScenarioError { line: check::line_of(text, &file.span()), what });
        }
        check::check(&scenario, text)?;
        Ok(scenario)
    }

    fn read(text: &str) -> Result<Self, ScenarioError> {
        toml::from_str(text).map_err(|error| ScenarioError::syntax(text, &error))
    }

    /// Another loss, 0..1, instead of the file's.
    pub fn set_loss(&mut self, loss: f64) {
        self.loss = Spanned::new(0..0, loss);
    }

    /// Another length, hours, instead of the file's.
    pub fn set_hours(&mut self, hours: f64) {
        self.hours = Spanned::new(0..0, hours);
    }

    /// What stands at each place, by index.
    pub fn kinds(&self) -> Vec<NodeKind> {
        let named = self.node.iter().map(|node| (node.kind, 1));
        let drawn = self.field.iter().map(|field| {
            let field = field.get_ref();
            (field.kind, *field.count.get_ref() as usize)
        });
        named.chain(drawn).flat_map(|(kind, count)| std::iter::repeat_n(kind, count)).collect()
    }

    /// Nodes, named and drawn.
    pub fn node_count(&self) -> usize {
        self.node.len()
            + self.field.iter().map(|field| *field.get_ref().count.get_ref() as usize).sum::<usize>()
    }
}
