//! Meshes and bundles that are planned for: ready scenarios, and fields that are drawn.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use compotastic_bundle::{ClaimedManifest, ClassMask, ComponentKind, Layout, Manifest, build_stream};
use compotastic_mesh::rng::Rng;
use compotastic_model::BaseEncoder;
use compotastic_sim::{
    plan::STILL_H,
    radio::Position,
    scenario::{self, Package, PushOrder, Scenario, Seeds, Target},
    swarm::Trusted,
};
use ed25519_dalek::SigningKey;

use super::row::Figures;

/// The longest piece that a frame carries, bytes.
const PIECE: u16 = 208;
/// Speed of the carrier, m/s.
pub const WALK_M_S: f64 = 1.2;
/// How long the carrier stays, s: enough for any bundle here, and little beside the way.
const STAY_S: f64 = 30.0;
/// So much ground is there for each node of a field, as the side of a square, m: about eight neighbours in the middle.
const ROOM_M: f64 = 1900.0;
/// Runs that plans are held against have luck of these numbers on.
const LUCK: u64 = 1_000_000;

/// A mesh and a bundle.
pub struct Case {
    /// Name of the scenario, or `field`.
    pub name: String,
    /// Which field; for ready scenarios the seed of their shadows.
    pub seed: u64,
    /// Nodes that take it.
    pub nodes: usize,
    /// Loss per transmission and receiver.
    pub loss: f64,
    /// Bytes of the bundle.
    pub bytes: usize,
    /// The mesh.
    pub scenario: Scenario,
    /// The bundle.
    pub package: Package,
    names: Vec<String>,
    positions: Vec<Position>,
    ready: bool,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x44; 32])
}

/// A signed bundle of so many bytes that nothing shortens.
fn package(bytes: usize) -> Result<Package> {
    let mut rng = Rng::from_seed(bytes as u64);
    let content: Vec<u8> = (0..bytes).map(|_| rng.next_u32() as u8).collect();
    let layout = Layout::new(bytes as u32, PIECE).context("no object can be so long")?;
    let identity = build_stream(&content, PIECE, &mut vec![0; layout.stream_len() as usize])
        .context("it cannot be cut into pieces")?;
    let manifest =
        Manifest { ram: 4096, ..Manifest::of(&identity, ComponentKind::Firmware, 0, 1, ClassMask::of(1)) };
    let claimed = ClaimedManifest::sign(manifest, &key()).map_err(|error| anyhow!("{error}"))?;
    Ok(Package { claimed, delegation: None, content })
}

impl Case {
    fn new(name: &str, seed: u64, scenario: Scenario, bytes: usize, ready: bool) -> Result<Self> {
        let of = scenario::build(&scenario, seed, None).map_err(|error| anyhow!("{name}: {error}"))?;
        Ok(Self {
            name: name.to_string(),
            seed,
            nodes: scenario.kinds().iter().filter(|kind| kind.is_ours()).count(),
            loss: *scenario.loss.get_ref(),
            bytes,
            package: package(bytes)?,
            names: of.names,
            positions: of.positions,
            scenario,
            ready,
        })
    }

    /// The node of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// Loss does nothing to somebody who walks, and the ready scenarios have movers of their own.
    pub fn is_carried(&self) -> bool {
        !self.ready && self.loss == 0.0
    }

    fn order(&self, handed: &[(usize, f64)]) -> PushOrder {
        let trust = Trusted { roots: vec![key().verifying_key().to_bytes()], records: Vec::new() };
        PushOrder {
            kept: true,
            limit_h: 2000.0,
            still_h: Some(STILL_H),
            handed: handed.to_vec(),
            ..PushOrder::new(self.package.clone(), Target::All, trust)
        }
    }

    /// What comes of so many pushes on this mesh.
    pub fn pushes(
        &self,
        runs: u64,
        handed: &[(usize, f64)],
        base: Option<BaseEncoder<'static>>,
    ) -> Result<Vec<Figures>, String> {
        let order = self.order(handed);
        (0..runs)
            .map(|run| {
                let seeds = Seeds { mesh: self.seed, luck: LUCK + run };
                let report = scenario::push(&self.scenario, seeds, base, &order, |_, _, _| true)?;
                Ok(Figures {
                    packets: report.sent.packets as f64,
                    airtime_s: report.sent.airtime_s,
                    energy_mwh: report.sent.energy_mwh,
                    hours: report.hours,
                })
            })
            .collect()
    }

    /// Somebody walks, and the radios hear nothing: the simulator's Bluetooth does it.
    pub fn walk(&self) -> Result<Figures, String> {
        let mut left: Vec<usize> = (1..self.positions.len()).collect();
        let (mut here, mut way) = (self.positions[0], vec![0]);
        while let Some(at) = (0..left.len()).min_by(|a, b| {
            let to = |at: &usize| self.positions[left[*at]].distance_m(&here);
            to(a).total_cmp(&to(b))
        }) {
            let next = left.swap_remove(at);
            here = self.positions[next];
            way.push(next);
        }
        let mut text = "name = \"a walk\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\nloss = 1.0\n[bluetooth]\n"
            .to_string();
        for (id, position) in self.positions.iter().enumerate() {
            let kind = if id == 0 { "edge" } else { "field" };
            text += &node(&format!("n{id}"), kind, position);
        }
        text += &node("carrier", "field", &self.positions[0]);
        let stops: Vec<String> = way.iter().map(|id| format!("\"n{id}\"")).collect();
        text += &format!(
            "visits = {{ nodes = [{}], speed_m_s = {WALK_M_S}, stay_s = {STAY_S:.1} }}\n",
            stops.join(", ")
        );
        let scenario = Scenario::parse(&text).map_err(|error| error.to_string())?;
        let order = PushOrder { warm_up_h: 0.0, ..self.order(&[]) };
        let report = scenario::push(&scenario, Seeds::from(self.seed), None, &order, |_, _, _| true)?;
        // Beacons and offers that nobody hears are not what the walk costs.
        Ok(Figures { packets: 0.0, airtime_s: 0.0, energy_mwh: 0.0, hours: report.hours })
    }
}

fn node(name: &str, kind: &str, position: &Position) -> String {
    format!(
        "[[node]]\nname = \"{name}\"\nkind = \"{kind}\"\nx_m = {:.1}\ny_m = {:.1}\n",
        position.x_m, position.y_m
    )
}

/// The scenarios of a folder that have nodes of ours.
pub fn ready(folder: &Path, bytes: &[usize]) -> Result<Vec<Case>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}: --scenarios DIR says where they are", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let scenario = Scenario::load(&path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        if !scenario.kinds().iter().any(|kind| kind.is_ours()) {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for bytes in bytes {
            cases.push(Case::new(&name, 1, scenario.clone(), *bytes, true)?);
        }
    }
    Ok(cases)
}

/// Fields of native nodes about an edge node, with shadows and fading.
pub fn drawn(fields: u64, nodes: &[usize], losses: &[f64], bytes: &[usize]) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for nodes in nodes {
        let side_m = ROOM_M * (*nodes as f64).sqrt();
        let half_m = side_m / 2.0;
        let count = nodes - 1;
        for loss in losses {
            let text = format!(
                "name = \"field\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\nloss = {loss:.3}\n\
                 [radio]\nexponent = 3.4\nshadowing_db = 3.0\nfading_db = 2.0\n\
                 [[node]]\nname = \"post\"\nkind = \"edge\"\nx_m = {half_m:.1}\ny_m = {half_m:.1}\n\
                 [[field]]\ncount = {count}\nkind = \"field\"\nwidth_m = {side_m:.1}\nheight_m = {side_m:.1}\nconnected = true\n"
            );
            let scenario = Scenario::parse(&text).map_err(|error| anyhow!("{error}"))?;
            for bytes in bytes {
                for field in 1..=fields {
                    cases.push(Case::new("field", field, scenario.clone(), *bytes, false)?);
                }
            }
        }
    }
    Ok(cases)
}
