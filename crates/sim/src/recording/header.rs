//! The beginning of a recording: what was simulated, who stood where, which links there were.

use std::str::FromStr;

use compotastic_mesh::{
    crypto::{Channel, ChannelKey},
    lora::{Preset, Region},
    time::{Duration, Instant},
};

use super::{
    BINS_MAX, MAGIC, NODES_MAX, VERSION,
    bytes::{Malformed, Take, put_number, put_signed, put_text},
};
use crate::{Host, World, radio::Position};

/// Links on which fewer packets pass than this are left out, thousandths.
const LINK_PERMILLE_MIN: u32 = 100;

/// Widest bin of air time over time, s: a week.
const BIN_MAX_S: u64 = 7 * 86_400;

/// From what a run can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A scenario's TOML.
    Scenario(String),
    /// Inputs of the demo, as JSON.
    Demo(String),
}

impl Source {
    fn parts(&self) -> (u8, &str) {
        match self {
            Self::Scenario(text) => (1, text),
            Self::Demo(text) => (2, text),
        }
    }
}

/// A node at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Node number.
    pub number: u32,
    /// Name for people.
    pub name: String,
    /// Role, as scenarios spell it: client, client-mute, router and so on; edge for one that answers.
    pub role: String,
    /// East, cm.
    pub x_cm: i64,
    /// North, cm.
    pub y_cm: i64,
    /// Antenna height, cm.
    pub height_cm: i64,
    /// Antenna gain, hundredths of a dBi.
    pub gain_cdbi: i64,
}

impl NodeRow {
    /// Where it stands.
    pub fn position(&self) -> Position {
        position(self.x_cm, self.y_cm)
    }
}

/// Metres of a position in centimetres.
pub(crate) fn position(x_cm: i64, y_cm: i64) -> Position {
    Position { x_m: x_cm as f64 / 100.0, y_m: y_cm as f64 / 100.0 }
}

/// A value in hundredths; what no number can hold becomes the nearest that there is.
pub(super) fn hundredths(value: f64) -> i64 {
    libm::round(value * 100.0) as i64
}

/// What bears exactly this name; people may spell it in other ways.
fn named<T: FromStr + ToString>(name: &str) -> Option<T> {
    name.parse().ok().filter(|found: &T| found.to_string() == name)
}

/// A link at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// The node with the lower index, which sends.
    pub from: u32,
    /// The other.
    pub to: u32,
    /// Packets that pass undisturbed, thousandths, from `from` to `to`.
    pub reception_permille: u32,
}

/// The header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// From what the run can be repeated.
    pub source: Source,
    /// What it is called.
    pub title: String,
    /// Seed.
    pub seed: u64,
    /// Preset.
    pub preset: Preset,
    /// Region.
    pub region: Region,
    /// When the run's traffic ends; what is under way then may still arrive.
    pub end: Instant,
    /// Width of the bins of air time over time, at least a second.
    pub bin: Duration,
    /// Channels with their keys, without which nobody could say what a frame was for. They are keys of simulated nodes.
    pub channels: Vec<Channel>,
    /// Nodes, by index.
    pub nodes: Vec<NodeRow>,
    /// Links, by the indices of their ends.
    pub links: Vec<LinkRow>,
}

/// What the caller knows of a run, besides its world.
pub struct About<'a> {
    /// From what it can be repeated.
    pub source: Source,
    /// What it is called.
    pub title: &'a str,
    /// Seed.
    pub seed: u64,
    /// When its traffic ends.
    pub end: Instant,
    /// Name and role of each node.
    pub nodes: Vec<(String, String)>,
}

impl Header {
    /// The header of a run that begins in this world.
    pub fn of_world<H: Host>(run: About<'_>, world: &World<H>) -> Self {
        let nodes = run.nodes.into_iter().enumerate().map(|(id, (name, role))| {
            let (position, end) = world.antenna(id);
            NodeRow {
                number: world.ledger.number(id).0,
                name,
                role,
                x_cm: hundredths(position.x_m),
                y_cm: hundredths(position.y_m),
                height_cm: hundredths(end.height_m),
                gain_cdbi: hundredths(end.gain_dbi),
            }
        });
        let links = world.links_with_reception(LINK_PERMILLE_MIN * 1000).into_iter();
        let mut links: Vec<LinkRow> = links
            .map(|(from, to, ppm)| LinkRow {
                from: from as u32,
                to: to as u32,
                reception_permille: ppm / 1000,
            })
            .collect();
        links.sort_unstable_by_key(|link| (link.from, link.to));
        Self {
            source: run.source,
            title: run.title.to_string(),
            seed: run.seed,
            preset: world.settings().preset,
            region: world.settings().region,
            end: run.end,
            bin: world.ledger.bin(),
            channels: world.ledger.channels().to_vec(),
            nodes: nodes.collect(),
            links,
        }
    }

    /// Pairs of nodes that hear each other at least so often, thousandths.
    pub fn links_at_least(&self, permille: u32) -> usize {
        self.links.iter().filter(|link| link.reception_permille >= permille).count()
    }

    /// The last time that an event may bear.
    pub(super) fn latest(&self) -> Instant {
        Instant::ZERO + Duration::from_micros(self.bin.as_micros().saturating_mul(BINS_MAX) - 1)
    }

    /// The header's bytes, magic and version included.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        let (kind, text) = self.source.parts();
        out.push(kind);
        put_text(&mut out, text);
        put_text(&mut out, &self.title);
        put_number(&mut out, self.seed);
        put_text(&mut out, &self.preset.to_string());
        put_text(&mut out, &self.region.to_string());
        put_number(&mut out, self.end.as_micros());
        put_number(&mut out, self.bin.as_micros());
        put_number(&mut out, self.channels.len() as u64);
        for channel in &self.channels {
            put_text(&mut out, &channel.name);
            let key: &[u8] = match &channel.key {
                ChannelKey::None => &[],
                ChannelKey::Aes128(key) => key,
                ChannelKey::Aes256(key) => key,
            };
            put_number(&mut out, key.len() as u64);
            out.extend_from_slice(key);
        }
        put_number(&mut out, self.nodes.len() as u64);
        for node in &self.nodes {
            put_number(&mut out, u64::from(node.number));
            put_text(&mut out, &node.name);
            put_text(&mut out, &node.role);
            for value in [node.x_cm, node.y_cm, node.height_cm, node.gain_cdbi] {
                put_signed(&mut out, value);
            }
        }
        put_number(&mut out, self.links.len() as u64);
        let (mut last_from, mut last_to) = (0, 0);
        for link in &self.links {
            if link.from != last_from {
                last_to = link.from;
            }
            put_number(&mut out, u64::from(link.from - last_from));
            put_number(&mut out, u64::from(link.to - last_to));
            put_number(&mut out, u64::from(link.reception_permille));
            (last_from, last_to) = (link.from, link.to);
        }
        out
    }

    /// Reads a header that begins after magic and version.
    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let kind = take.byte()?;
        let text = take.text()?.to_string();
        let source = match kind {
            1 => Source::Scenario(text),
            2 => Source::Demo(text),
            _ => return Err(Malformed::Value("the kind of source")),
        };
        let title = take.text()?.to_string();
        let seed = take.number()?;
        let preset: Preset = named(take.text()?).ok_or(Malformed::Value("the preset"))?;
        let region: Region = named(take.text()?).ok_or(Malformed::Value("the region"))?;
        let end = Instant::from_micros(take.number()?);
        let bin = Duration::from_micros(take.number()?);
        let allowed = Duration::from_secs(1)..=Duration::from_secs(BIN_MAX_S);
        if !allowed.contains(&bin) || end.as_micros() / bin.as_micros() >= BINS_MAX {
            return Err(Malformed::Value("the width of a bin"));
        }
        let mut channels = Vec::new();
        for _ in 0..take.up_to(8, "the number of channels")? {
            let name = take.text()?;
            let length = take.up_to(32, "a key's length")? as usize;
            // Stored keys are expanded ones; shorter ones would mean a key that is derived.
            let key = take.bytes(length)?;
            let channel = Channel::new(name, key).filter(|_| matches!(length, 0 | 16 | 32));
            channels.push(channel.ok_or(Malformed::Value("a channel"))?);
        }
        let mut nodes = Vec::new();
        for _ in 0..take.up_to(NODES_MAX as u64, "the number of nodes")? {
            nodes.push(NodeRow {
                number: take.small("a node number")?,
                name: take.text()?.to_string(),
                role: take.text()?.to_string(),
                x_cm: take.signed()?,
                y_cm: take.signed()?,
                height_cm: take.signed()?,
                gain_cdbi: take.signed()?,
            });
        }
        let mut links = Vec::new();
        let (mut last_from, mut last_to) = (0u64, 0u64);
        for _ in 0..take.number()? {
            let skipped = take.up_to(NODES_MAX as u64, "a link's end")?;
            if skipped > 0 {
                last_from += skipped;
                last_to = last_from;
            }
            last_to += take.up_to(NODES_MAX as u64, "a link's end")?;
            if last_to >= nodes.len() as u64 || last_from >= last_to {
                return Err(Malformed::Value("a link's end"));
            }
            links.push(LinkRow {
                from: last_from as u32,
                to: last_to as u32,
                reception_permille: take.up_to(1000, "a link's reception")? as u32,
            });
        }
        Ok(Self { source, title, seed, preset, region, end, bin, channels, nodes, links })
    }
}
