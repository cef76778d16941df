//! Inputs and recorded outcomes in the format of the reference's scenario files.

use serde::Deserialize;

use super::{CAD_BELOW_DB, Modem};
use crate::path_loss::{HataArea, PathLoss};

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    /// Name.
    pub name: String,
    /// Simulated time, ms.
    pub simulated_time_ms: f64,
    /// Who sends what.
    pub traffic: Traffic,
    /// The air.
    pub radio: Radio,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Runs behind the recorded outcome.
    #[serde(default)]
    pub seeds: u32,
    /// What was recorded; absent where there is nothing to compare with.
    #[serde(default)]
    pub outcome: serde_json::Map<String, serde_json::Value>,
}

/// Traffic.
#[derive(Clone, Debug, Deserialize)]
pub struct Traffic {
    /// Mean gap between two messages of a node, ms.
    pub mean_period_ms: f64,
    /// Payload.
    pub payload_bytes: u32,
    /// Messages are for one other node each.
    pub direct_messages: bool,
    /// Messages are repeated until an echo is heard.
    pub want_ack: bool,
}

/// The air.
#[derive(Clone, Debug, Deserialize)]
pub struct Radio {
    /// Preset.
    pub preset: String,
    /// Transmit power, dBm.
    pub tx_power_dbm: f64,
    /// Frequency, Hz.
    pub frequency_hz: f64,
    /// 0 log-distance, 1..=4 Hata, 5 and 6 3GPP.
    pub path_loss_model: u8,
    /// Chance of "busy" at each check is (floor(10 * level) + 1) / 10; negative: never.
    pub interference_level: f64,
    /// Each directed link has an offset of its own.
    #[serde(default)]
    pub asymmetric_links: bool,
    /// Those offsets, dB, `[from][to]`; drawn per seed where absent.
    #[serde(default)]
    pub link_offset_db: Option<Vec<Vec<f64>>>,
    /// Nodes move; not supported.
    #[serde(default)]
    pub movement: bool,
}

/// Roles with behaviour of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Relays, unless a second copy was heard.
    Client,
    /// Does not relay.
    ClientMute,
    /// Relays early, unless a third copy was heard.
    Router,
    /// Has no messages of its own; relays unless a third copy was heard.
    Repeater,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// East, m.
    pub x: f64,
    /// North, m.
    pub y: f64,
    /// Antenna height, m.
    pub z: f64,
    /// Role.
    pub role: Role,
    /// Hop limit of its own messages.
    pub hop_limit: u8,
    /// Antenna gain, dBi.
    pub antenna_gain_dbi: f64,
    /// Has messages.
    #[serde(default = "yes")]
    pub generates_traffic: bool,
}

const fn yes() -> bool {
    true
}

/// Largest scenario: links of all pairs are worked out.
const NODES_MAX: usize = 20_000;

impl Scenario {
    /// Reads a file's text, and checks what a run needs. Errors name the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        let count = self.nodes.len();
        if count == 0 || count > NODES_MAX {
            return Err(format!("nodes: {count} are not between 1 and {NODES_MAX}"));
        }
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(format!("{name}: {value} is not above 0"))
            }
        };
        positive("simulated_time_ms", self.simulated_time_ms)?;
        positive("traffic.mean_period_ms", self.traffic.mean_period_ms)?;
        positive("radio.frequency_hz", self.radio.frequency_hz)?;
        if self.traffic.payload_bytes > 237 {
            return Err(format!("traffic.payload_bytes: {} do not fit a packet", self.traffic.payload_bytes));
        }
        if self.traffic.direct_messages && count < 2 {
            return Err("traffic.direct_messages: needs two nodes".to_string());
        }
        self.modem()?;
        self.path_loss()?;
        if self.radio.movement {
            return Err("radio.movement: moving nodes are not supported under these rules".to_string());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if ![node.x, node.y, node.antenna_gain_dbi].iter().all(|value| value.is_finite()) {
                return Err(format!("nodes[{index}]: a coordinate or gain is not a number"));
            }
            positive(&format!("nodes[{index}].z"), node.z)?;
            if node.hop_limit > 7 {
                return Err(format!("nodes[{index}].hop_limit: {} is above 7", node.hop_limit));
            }
        }
        if let Some(offsets) = &self.radio.link_offset_db
            && (offsets.len() != count || offsets.iter().any(|row| row.len() != count))
        {
            return Err(format!("radio.link_offset_db: is not {count} rows of {count}"));
        }
        Ok(())
    }

    /// The preset's modem.
    pub fn modem(&self) -> Result<Modem, String> {
        Modem::named(&self.radio.preset)
            .ok_or_else(|| format!("radio.preset: {} is not a preset of the reference", self.radio.preset))
    }

    /// The path loss model.
    pub fn path_loss(&self) -> Result<PathLoss, String> {
        Ok(match self.radio.path_loss_model {
            0 => PathLoss::LORA_2016,
            1 => PathLoss::Hata(HataArea::SmallCity),
            2 => PathLoss::Hata(HataArea::Metropolitan),
            3 => PathLoss::Hata(HataArea::Suburban),
            4 => PathLoss::Hata(HataArea::Rural),
            5 => PathLoss::ThreeGpp { urban: false },
            6 => PathLoss::ThreeGpp { urban: true },
            other => return Err(format!("radio.path_loss_model: {other} is not between 0 and 6")),
        })
    }

    /// Power at `to` of what `from` sends, dBm, without the link's offset.
    pub fn rssi_dbm(&self, model: PathLoss, from: usize, to: usize) -> f64 {
        let (a, b) = (&self.nodes[from], &self.nodes[to]);
        let (dx, dy, dz) = (a.x - b.x, a.y - b.y, a.z - b.z);
        let distance = libm::sqrt(dx * dx + dy * dy + dz * dz);
        self.radio.tx_power_dbm + a.antenna_gain_dbi + b.antenna_gain_dbi
            - model.loss_db(distance, self.radio.frequency_hz, a.z, b.z)
    }

    /// The weakest power that matters to a receiver at all, dBm.
    pub fn detected_from_dbm(modem: &Modem) -> f64 {
        modem.sensitivity_dbm - CAD_BELOW_DB
    }
}
