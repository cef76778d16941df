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

mod build;
mod check;
mod report;
mod run;

use serde::Deserialize;
use toml::Spanned;

pub use build::{ScenarioWorld, build};
pub use check::ScenarioError;
pub use report::{JobFigures, ObjectFigures, Report};
pub use run::{Run, run, run_with};

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
    /// Loss per transmission and receiver on top of the radio, 0..1.
    #[serde(default = "zero")]
    pub loss: Spanned<f64>,
    /// The air.
    #[serde(default)]
    pub radio: RadioSettings,
    /// Nodes that are named.
    #[serde(default)]
    pub node: Vec<NodeSettings>,
    /// Nodes that are drawn.
    #[serde(default)]
    pub field: Vec<Spanned<FieldSettings>>,
    /// Messages of people.
    #[serde(default)]
    pub messages: Vec<MessageSettings>,
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
    #[serde(default)]
    pub path_loss: PathLossName,
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

/// Roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleName {
    /// Relays, and keeps silent when another was faster.
    #[default]
    Client,
    /// Does not relay.
    ClientMute,
    /// Relays early and always.
    Router,
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
    /// Role.
    #[serde(default)]
    pub role: RoleName,
    /// Antenna height, m.
    pub antenna_height_m: Option<Spanned<f64>>,
    /// Antenna gain, dBi.
    pub antenna_gain_dbi: Option<Spanned<f64>>,
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
    /// Role.
    #[serde(default)]
    pub role: RoleName,
    /// Each is placed where it hears an earlier node.
    #[serde(default)]
    pub connected: bool,
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

fn zero() -> Spanned<f64> {
    Spanned::new(0..0, 0.0)
}

fn three() -> Spanned<i64> {
    Spanned::new(0..0, 3)
}

impl Scenario {
    /// Reads a scenario and checks all of it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::syntax(text, &error))?;
        check::check(&scenario, text)?;
        Ok(scenario)
    }

    /// Another loss, 0..1, instead of the file's.
    pub fn set_loss(&mut self, loss: f64) {
        self.loss = Spanned::new(0..0, loss);
    }

    /// Nodes, named and drawn.
    pub fn node_count(&self) -> usize {
        self.node.len()
            + self.field.iter().map(|field| *field.get_ref().count.get_ref() as usize).sum::<usize>()
    }
}
