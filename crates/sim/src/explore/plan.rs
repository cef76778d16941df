//! A whole scenario with its faults, drawn from a seed; as JSON it can be kept, shrunk and run again.

use compotastic_mesh::rng::Rng;
use serde::{Deserialize, Serialize};

/// Until then nothing goes wrong, s.
const CALM_S: u32 = 300;
/// Faults stop, s.
const FAULTS_END_S: u32 = 3 * 3600;
/// What has to happen in the end has this time, s: beacons come every two hours at most, and may be lost.
const SETTLE_S: u32 = 9 * 3600;
/// Longest plan, s: 32-bit milliseconds begin anew after 49.7 days, and a plan may see that.
const END_MAX_S: u32 = 70 * 24 * 3600;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs a foundation model, publishes bundles.
    Edge,
    /// A field node.
    Field,
    /// A field node of ours behind a stock radio.
    Hosted,
    /// A stock node.
    Stock,
    /// Knows the swarm key, and lies.
    Liar,
    /// Sends noise.
    Jammer,
    /// Keeps what it hears, and sends it again.
    Replayer,
}

impl Kind {
    /// One of our own nodes that does what it should.
    pub const fn is_honest(self) -> bool {
        matches!(self, Self::Edge | Self::Field | Self::Hosted)
    }

    /// Somebody who means harm; gone when the faults end.
    pub const fn is_hostile(self) -> bool {
        matches!(self, Self::Liar | Self::Jammer | Self::Replayer)
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanNode {
    /// What it is.
    pub kind: Kind,
    /// Place, in reaches of the radio.
    pub x: f64,
    /// The same, north.
    pub y: f64,
}

/// A report that comes up at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// When, s.
    pub at_s: u32,
    /// Where.
    pub node: usize,
    /// Which of the known sentences.
    pub sentence: u8,
}

/// A bundle that the first edge node publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// When, s.
    pub at_s: u32,
    /// Version.
    pub version: u16,
}

/// Deltas of firmware that may be in a plan.
const RELEASES: usize = 4;

/// What goes wrong with the frames that a node receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Bits are flipped.
    Corrupt,
    /// It is delivered twice.
    Duplicate,
    /// It is delivered later, behind others.
    Reorder,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The node stops after so many more calls of its code, and starts again later.
    Crash {
        /// Calls.
        calls: u32,
        /// Time until it starts, s.
        down_s: u32,
    },
    /// Power fails inside a flash operation.
    PowerLoss {
        /// Operations before.
        operations: u32,
        /// How much of it is done, in 1/256.
        share: u16,
        /// Time until power is back, s.
        down_s: u32,
    },
    /// The node's clock jumps ahead.
    ClockJump {
        /// How far, s.
        by_s: u32,
    },
    /// Flash refuses writes.
    FlashFull {
        /// For how long, s.
        for_s: u32,
    },
    /// The node does not hear those with a higher number, nor they it.
    Partition {
        /// For how long, s.
        for_s: u32,
    },
    /// Frames are damaged as they arrive.
    Damage {
        /// How.
        kind: Damage,
        /// How many, 1/1000.
        permille: u16,
        /// For how long, s.
        for_s: u32,
    },
    /// The node walks away and comes back.
    Walk {
        /// How far, in reaches.
        reaches: f64,
        /// For how long, s.
        for_s: u32,
    },
}

impl Event {
    /// Name, for counts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::PowerLoss { .. } => "power loss",
            Self::ClockJump { .. } => "clock jump",
            Self::FlashFull { .. } => "full flash",
            Self::Partition { .. } => "partition",
            Self::Damage { kind: Damage::Corrupt, .. } => "corruption",
            Self::Damage { kind: Damage::Duplicate, .. } => "duplication",
            Self::Damage { kind: Damage::Reorder, .. } => "reordering",
            Self::Walk { .. } => "walk",
        }
    }
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, ms.
    pub at_ms: u64,
    /// Where.
    pub node: usize,
    /// What.
    pub event: Event,
}

/// A whole scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of everything that is drawn while it runs.
    pub seed: u64,
    /// Preset.
    pub preset: String,
    /// Region.
    pub region: String,
    /// Loss per transmission and receiver, millionths; over when the faults are.
    pub loss_ppm: u32,
    /// Nodes; the first is an edge node.
    pub nodes: Vec<PlanNode>,
    /// Reports.
    pub jobs: Vec<Job>,
    /// Bundles.
    pub publications: Vec<Publication>,
    /// Firmware that the first edge node publishes, each as a delta from the version before. Nodes run version 0 from the factory on; in
    /// plans without any they have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<Publication>,
    /// Faults.
    pub faults: Vec<Fault>,
    /// When faults have ended, s.
    pub faults_end_s: u32,
    /// When all must have come right, s.
    pub end_s: u32,
}

fn unit(rng: &mut Rng) -> f64 {
    f64::from(rng.next_u32()) / 4_294_967_296.0
}

/// When nodes stop after something is published, and after how many calls or flash operations at most.
struct Stops {
    at_s: u32,
    within_ms: u32,
    calls: u32,
    operations: u32,
}

impl Plan {
    /// Draws a plan.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x706c_616e);
        let mut nodes = draw_nodes(&mut rng);
        // Drawn apart, so that the other plans are what they were before there were hosted nodes.
        draw_hosted(&mut nodes, &mut Rng::from_seed(seed).child(0x686f_7374));
        let (preset, region) = match rng.below(7) {
            6 => ("LITE_FAST", "EU_866"),
            0 => ("SHORT_FAST", "EU_868"),
            1 => ("MEDIUM_FAST", "US"),
            2 => ("MEDIUM_SLOW", "EU_868"),
            3 => ("LONG_FAST", "US"),
            _ => ("LONG_FAST", "EU_868"),
        };
        let honest: Vec<usize> = (0..nodes.len()).filter(|id| nodes[*id].kind.is_honest()).collect();
        let mut jobs: Vec<Job> = (0..rng.below(30))
            .map(|_| Job {
                at_s: 120 + rng.below(FAULTS_END_S + 1800),
                node: honest[rng.below(honest.len() as u32) as usize],
                sentence: rng.below(6) as u8,
            })
            .collect();
        jobs.sort_by_key(|job| job.at_s);
        let first = 5 + rng.below(100) as u16;
        let publications = (0..1 + rng.below(3) as u16)
            .map(|count| Publication {
                at_s: CALM_S + u32::from(count) * 4000 + rng.below(3000),
                version: first + 3 * count,
            })
            .collect();
        let mut faults: Vec<Fault> = (0..rng.below(12))
            .map(|_| Fault {
                at_ms: u64::from(CALM_S) * 1000 + u64::from(rng.below((FAULTS_END_S - CALM_S) * 1000)),
                node: honest[rng.below(honest.len() as u32) as usize],
                event: draw_event(&mut rng),
            })
            .collect();
        faults.sort_by_key(|fault| fault.at_ms);
        let loss_ppm = [0, 0, 50_000, 100_000, 300_000][rng.below(5) as usize];
        let mut plan = Self {
            seed,
            preset: preset.to_string(),
            region: region.to_string(),
            loss_ppm,
            nodes,
            jobs,
            publications,
            firmware: Vec::new(),
            faults,
            faults_end_s: FAULTS_END_S,
            end_s: FAULTS_END_S + SETTLE_S,
        };
        // Drawn apart too: one plan of four has firmware.
        let mut rng = Rng::from_seed(seed).child(0x6669_726d);
        if rng.below(4) == 0 {
            plan.firmware = draw_firmware(&mut rng);
        }
        debug_assert!(plan.check().is_ok());
        plan
    }

    /// Draws a plan about updates: after each bundle is published, most nodes of ours stop once, after some calls or inside one of
    /// the next flash operations, and nothing else goes wrong with them. Half of these plans have firmware.
    pub fn draw_update(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        let mut rng = Rng::from_seed(seed).child(0x7570_6461);
        plan.faults.clear();
        for publication in plan.publications.clone() {
            // A part takes some ten to forty operations to receive and switch.
            plan.draw_stops(
                &mut rng,
                Stops { at_s: publication.at_s, within_ms: 5_000, calls: 60, operations: 20 },
            );
        }
        let mut rng = Rng::from_seed(seed).child(0x7570_6669);
        if plan.firmware.is_empty() && rng.below(3) == 0 {
            plan.firmware = draw_firmware(&mut rng);
        }
        for release in plan.firmware.clone() {
            // To receive it, to make the image, to exchange both and to confirm takes about 150 operations.
            plan.draw_stops(
                &mut rng,
                Stops { at_s: release.at_s, within_ms: 900_000, calls: 400, operations: 150 },
            );
        }
        plan.faults.sort_by_key(|fault| fault.at_ms);
        debug_assert!(plan.check().is_ok());
        plan
    }

    /// Most nodes of ours stop once, after some calls or inside a flash operation.
    fn draw_stops(&mut self, rng: &mut Rng, stops: Stops) {
        for node in (0..self.nodes.len()).filter(|id| self.nodes[*id].kind.is_honest()) {
            let at_ms = u64::from(stops.at_s) * 1000 + u64::from(rng.below(stops.within_ms));
            let down_s = 1 + rng.below(120);
            let event = if rng.below(3) == 0 {
                Event::Crash { calls: 1 + rng.below(stops.calls), down_s }
            } else {
                let operations = rng.below(stops.operations);
                Event::PowerLoss { operations, share: rng.below(257) as u16, down_s }
            };
            if rng.below(4) > 0 && at_ms < u64::from(self.faults_end_s) * 1000 {
                self.faults.push(Fault { at_ms, node, event });
            }
        }
    }

    /// Whether it can be run at all: a plan may come from a file.
    pub fn check(&self) -> Result<(), String> {
        let count = self.nodes.len();
        if count == 0 || count > 64 || self.nodes[0].kind != Kind::Edge {
            return Err("a plan has 1 to 64 nodes, and the first is an edge node".to_string());
        }
        let honest = |id: usize| self.nodes.get(id).is_some_and(|node| node.kind.is_honest());
        if !self.jobs.iter().all(|job| honest(job.node))
            || !self.faults.iter().all(|fault| honest(fault.node))
        {
            return Err("jobs and faults are those of edge and field nodes of the plan".to_string());
        }
        if !self.nodes.iter().all(|node| node.x.abs() < 1e4 && node.y.abs() < 1e4) {
            return Err("a node is farther away than 10,000 reaches".to_string());
        }
        if self.end_s < self.faults_end_s || self.end_s > END_MAX_S {
            return Err("end_s lies after faults_end_s, and within 70 days".to_string());
        }
        if self.loss_ppm > 1_000_000 || self.jobs.len() + self.faults.len() + self.publications.len() > 10_000
        {
            return Err("loss_ppm is at most 1000000; 10000 jobs, bundles and faults in all".to_string());
        }
        let in_turn = self.firmware.iter().zip(1..).all(|(release, version)| release.version == version);
        if !in_turn || self.firmware.len() > RELEASES {
            return Err(format!("firmware has versions 1, 2 and so on, {RELEASES} at most"));
        }
        Ok(())
    }
}

/// One or two releases.
fn draw_firmware(rng: &mut Rng) -> Vec<Publication> {
    let release = |version: u16, rng: &mut Rng| Publication {
        at_s: CALM_S + u32::from(version - 1) * 4500 + rng.below(3000),
        version,
    };
    (1..2 + rng.below(2) as u16).map(|version| release(version, rng)).collect()
}

/// An edge node, field nodes each in good reach of an earlier one of ours, and others around them.
fn draw_nodes(rng: &mut Rng) -> Vec<PlanNode> {
    let mut nodes = vec![PlanNode { kind: Kind::Edge, x: 0.0, y: 0.0 }];
    let beside = |nodes: &[PlanNode], rng: &mut Rng, ours: bool| {
        let near: Vec<&PlanNode> = nodes.iter().filter(|node| !ours || node.kind.is_honest()).collect();
        let anchor = near[rng.below(near.len() as u32) as usize];
        let (angle, distance) = (unit(rng) * core::f64::consts::TAU, 0.2 + 0.45 * unit(rng));
        (anchor.x + distance * libm::cos(angle), anchor.y + distance * libm::sin(angle))
    };
    for count in 0..2 + rng.below(6) {
        let kind = if count > 1 && rng.below(6) == 0 { Kind::Edge } else { Kind::Field };
        let (x, y) = beside(&nodes, rng, true);
        nodes.push(PlanNode { kind, x, y });
    }
    for (kind, one_in) in
        [(Kind::Stock, 2), (Kind::Stock, 3), (Kind::Liar, 4), (Kind::Jammer, 6), (Kind::Replayer, 4)]
    {
        if rng.below(one_in) == 0 {
            let (x, y) = beside(&nodes, rng, false);
            nodes.push(PlanNode { kind, x, y });
        }
    }
    nodes
}

/// In one plan of three, some of the field nodes are behind stock radios, at least one.
fn draw_hosted(nodes: &mut [PlanNode], rng: &mut Rng) {
    if rng.below(3) > 0 {
        return;
    }
    let mut fields: Vec<_> = nodes.iter_mut().filter(|node| node.kind == Kind::Field).collect();
    let sure = rng.below(fields.len() as u32) as usize;
    for (index, node) in fields.iter_mut().enumerate() {
        if rng.below(3) == 0 || index == sure {
            node.kind = Kind::Hosted;
        }
    }
}

fn draw_event(rng: &mut Rng) -> Event {
    let down_s = if rng.below(3) == 0 { 1800 } else { 60 };
    let down_s = 1 + rng.below(down_s);
    let for_s = 30 + rng.below(1800);
    match rng.below(12) {
        0..=2 => Event::Crash { calls: rng.below(200), down_s },
        3..=5 => Event::PowerLoss { operations: rng.below(40), share: rng.below(257) as u16, down_s },
        6 => Event::ClockJump { by_s: 1 + rng.below(7200) },
        7 => Event::FlashFull { for_s },
        8 => Event::Partition { for_s },
        9 => Event::Walk { reaches: 0.5 + 3.0 * unit(rng), for_s },
        10 => Event::Damage { kind: Damage::Corrupt, permille: 20 + rng.below(200) as u16, for_s },
        _ => {
            let kind = if rng.below(2) == 0 { Damage::Duplicate } else { Damage::Reorder };
            Event::Damage { kind, permille: 100 + rng.below(700) as u16, for_s }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_plan_and_it_survives_a_file() {
        for seed in 0..200 {
            let plan = Plan::draw(seed);
            assert_eq!(plan, Plan::draw(seed));
            plan.check().unwrap();
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
            Plan::draw_update(seed).check().unwrap();
        }
        let with = |draw: fn(u64) -> Plan| (0..200).filter(|seed| !draw(*seed).firmware.is_empty()).count();
        assert!((30..70).contains(&with(Plan::draw)) && (70..130).contains(&with(Plan::draw_update)));
        assert_ne!(Plan::draw(1).nodes, Plan::draw(2).nodes);
    }

    #[test]
    fn all_kinds_of_nodes_and_faults_come_up() {
        let mut kinds = std::collections::BTreeSet::new();
        let mut faults = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let plan = Plan::draw(seed);
            kinds.extend(plan.nodes.iter().map(|node| node.kind));
            faults.extend(plan.faults.iter().map(|fault| fault.event.name()));
        }
        assert_eq!((kinds.len(), faults.len()), (7, 9), "{kinds:?} {faults:?}");
    }
}
