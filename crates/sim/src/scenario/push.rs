//! A signed bundle is pushed through a scenario's mesh: who has how much of it, held back, given up, and in two stages.
//!
//! What happens to the mesh happens at the node that publishes, by its agent's own means: it publishes, or it holds an object back
//! ([`compotastic_node::Agent::pause_object`]). What other nodes hold they go on passing to each other. Canaries are a device class of their own: the candidate
//! is a bundle that is signed for that class alone, so no other node takes it, whatever it hears. Only the view of all nodes is the simulator's: a real
//! operator sees what beacons tell.

use compotastic_bundle::{ClaimedManifest, ComponentKind, build_stream};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_model::BaseEncoder;
use compotastic_node::agent::BundleRefusal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Body, NodeKind, Scenario,
    build::{ScenarioWorld, build_with},
};
use crate::{
    NodeId, World,
    energy::BatterySettings,
    ledger::{Ledger, Sum, Traffic},
    swarm::{Store, Trusted, bundles::TASK},
};

/// What is looked at and decided, this often.
const LOOK: Duration = Duration::from_secs(60);
/// The longest piece that a frame carries, bytes.
pub(crate) const PIECE_MAX: u16 = 208;
/// What pushing costs on the air.
const OF_PUSH: [Traffic; 4] = [Traffic::Beacon, Traffic::Record, Traffic::Symbol, Traffic::SymbolRequest];
/// After it was given up, a push is watched on until nothing has changed for so long, minutes.
const STILL_MIN: f64 = 120.0;

/// A signed bundle with its content.
#[derive(Clone, Debug)]
pub struct Package {
    /// The signed manifest.
    pub claimed: ClaimedManifest,
    /// Delegation of its signer, unless an operator's root key signed it.
    pub delegation: Option<Vec<u8>>,
    /// The content.
    pub content: Vec<u8>,
}

impl Package {
    fn stream(&self) -> Result<Vec<u8>, String> {
        let layout = self.claimed.claims().layout().map_err(|error| format!("its manifest: {error}"))?;
        let mut stream = vec![0; layout.stream_len() as usize];
        build_stream(&self.content, layout.piece_size(), &mut stream)
            .ok_or("it cannot be cut into pieces")?;
        Ok(stream)
    }

    pub(crate) fn store(&self) -> Result<Store, String> {
        let claims = self.claimed.claims();
        let layout = claims.layout().map_err(|error| format!("its manifest: {error}"))?;
        let piece_size = layout.piece_size();
        if piece_size > PIECE_MAX {
            return Err(format!(
                "pieces of {piece_size} bytes fit no frame, {PIECE_MAX} at most do: bundle build --piece-size {PIECE_MAX}"
            ));
        }
        // Models of the missions' task are in slots of their own.
        if (claims.kind, claims.task) == (ComponentKind::Model, TASK) {
            return Ok(Store::default());
        }
        Ok(Store { kind: claims.kind, task: claims.task, piece_size })
    }
}

/// For whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All nodes of ours of a device class.
    Class(u8),
    /// The push ends when this node, by number or name, has it; others of its class take it too.
    Node(String),
}

/// A candidate that goes first.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Signed for the canaries' class, with a lower version and content of its own.
    pub package: Package,
    /// A canary that does not hold the candidate so many minutes after it was published has failed.
    pub soak_min: f64,
    /// With more failures than this, the candidate is held back and nothing else is published.
    pub max_failures: usize,
}

/// What is to be done. Minutes count from the first publication.
#[derive(Clone, Debug)]
pub struct PushOrder {
    /// What is pushed.
    pub package: Package,
    /// For whom.
    pub to: Target,
    /// Whom the nodes believe.
    pub trust: Trusted,
    /// Canaries first.
    pub canary: Option<Canary>,
    /// The publisher holds it back from here on.
    pub pause_min: Option<f64>,
    /// It goes on.
    pub resume_min: Option<f64>,
    /// The publisher holds it back for good.
    pub cancel_min: Option<f64>,
    /// The mesh runs for so long before, hours, so that beacons have told who hears whom.
    pub warm_up_h: f64,
    /// After so long the push is over, hours.
    pub limit_h: f64,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PushEvent {
    /// The candidate went to the publisher.
    CanaryPublished,
    /// Enough canaries hold it.
    CanaryPassed,
    /// Too many canaries failed; nothing else is published.
    Halted,
    /// The bundle went to the publisher.
    Published,
    /// Held back.
    Paused,
    /// Not any more.
    Resumed,
    /// Held back for good.
    Cancelled,
    /// More of it is at some node.
    Progress,
    /// All for whom it is have it.
    Complete,
    /// Time is up.
    TimedOut,
}

/// How far one node is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PushRow {
    /// Name in the scenario.
    pub node: String,
    /// Number.
    pub id: String,
    /// Device class.
    pub class: u8,
    /// It publishes.
    pub publishes: bool,
    /// It is for this node.
    pub target: bool,
    /// Part that is here, percent; less than 100 until the whole is verified.
    pub percent: u8,
    /// Version of the component that is in force.
    pub version: Option<u32>,
    /// When the whole was verified, minutes after the first publication.
    pub done_min: Option<f64>,
}

/// Frames of all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sent {
    /// Frames: symbols, requests, offers, records and beacons.
    pub packets: u64,
    /// Of these, symbols.
    pub symbols: u64,
    /// Of these, offers, records and requests.
    pub control: u64,
    /// Of these, beacons.
    pub beacons: u64,
    /// Air time, s.
    pub airtime_s: f64,
    /// What sending took beyond listening, mWh.
    pub energy_mwh: f64,
}

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PushReport {
    /// How it ended: complete, halted, cancelled or timed out.
    pub end: PushEvent,
    /// Nodes for whom it is, and how many of them have it.
    pub targets: usize,
    /// Have it.
    pub done: usize,
    /// From the first publication to the end, hours.
    pub hours: f64,
    /// What was sent meanwhile.
    pub sent: Sent,
    /// All nodes of ours.
    pub rows: Vec<PushRow>,
}

fn sums(ledger: &Ledger) -> [Sum; 4] {
    OF_PUSH.map(|traffic| ledger.sum(traffic))
}

fn minutes(time: Duration) -> f64 {
    time.as_micros() as f64 / 6e7
}

/// What sending for so long takes beyond listening meanwhile, mWh.
pub(crate) fn energy_mwh(airtime_s: f64) -> f64 {
    let usual = BatterySettings::default();
    (usual.tx_mw - usual.listen_mw) * airtime_s / 3600.0
}

fn why(refusal: &BundleRefusal) -> String {
    match refusal {
        BundleRefusal::Manifest(refusal) => refusal.to_string(),
        BundleRefusal::Delegation => "the delegation of its signer is not taken".to_string(),
        BundleRefusal::Content => {
            "its content is not what the manifest says, or no task part for the base encoder".to_string()
        }
        BundleRefusal::Storage => "flash refused it".to_string(),
        BundleRefusal::OnTrial => "its firmware is on trial, or waits for a restart".to_string(),
    }
}

struct Runner {
    of: ScenarioWorld,
    rows: Vec<(NodeId, PushRow)>,
    begun: Instant,
    publisher: NodeId,
}

/// What is on its way now.
struct Current {
    kind: ComponentKind,
    task: u8,
    sequence: u32,
    tag: u32,
    digest: [u8; 32],
    size: usize,
}

impl Current {
    fn of(package: &Package) -> Self {
        let claims = package.claimed.claims();
        Self {
            kind: claims.kind,
            task: claims.task,
            sequence: claims.sequence,
            tag: claims.tag().0,
            digest: Sha256::digest(&package.content).into(),
            size: package.content.len(),
        }
    }
}

/// How far a body is: percent, version in force, and whether all of it is there, its hash compared.
fn look(body: &mut Body, current: &Current) -> (u8, Option<u32>, bool) {
    let Some(node) = body.ours() else { return (0, None, false) };
    let agent = node.agent();
    let version = agent.component_version(current.kind, current.task);
    if version == Some(current.sequence) {
        let mut content = vec![0; current.size];
        let length = agent.content(current.kind, current.task, 0, &mut content);
        let digest: [u8; 32] = Sha256::digest(&content).into();
        if length == Some(current.size as u32) && digest == current.digest {
            return (100, version, true);
        }
    }
    let progress = agent.object_progress(current.kind, current.task).filter(|progress| *progress < 255);
    ((u32::from(progress.unwrap_or(0)) * 100 / 255) as u8, version, false)
}

impl Runner {
    fn publish(&mut self, package: &Package) -> Result<Current, String> {
        let stream = package.stream()?;
        let manifest = package.claimed.to_packed();
        let delegation = package.delegation.clone().unwrap_or_default();
        let published = self.of.world.with_host(self.publisher, |body, now| {
            let node = body.ours()?;
            let published = node.agent().publish_stream(now, &delegation, &manifest, &stream);
            node.settle(now);
            Some(published)
        });
        let name = &self.of.names[self.publisher];
        match published {
            Some(Ok(_)) => {}
            Some(Err(refusal)) => {
                return Err(format!("{name}, which publishes, refuses it: {}", why(&refusal)));
            }
            None => return Err(format!("{name}, which publishes, has no power")),
        }
        let current = Current::of(package);
        for (_, row) in &mut self.rows {
            (row.percent, row.done_min) = (0, None);
        }
        Ok(current)
    }

    fn hold(&mut self, current: &Current, paused: bool) {
        self.of.world.with_host(self.publisher, |body, now| {
            if let Some(node) = body.ours() {
                node.agent().pause_object(now, current.tag, paused);
                node.settle(now);
            }
        });
    }

    /// Runs until a time; true if a node has more of it.
    fn run_until(&mut self, until: Instant, current: Option<&Current>) -> bool {
        let mut touched = vec![false; self.of.names.len()];
        self.of.stage.run_until(&mut self.of.world, until, |_, id| touched[id] = true);
        let Some(current) = current else { return false };
        let now_min = minutes(self.of.world.now().saturating_duration_since(self.begun));
        let mut changed = false;
        for (id, row) in &mut self.rows {
            if !touched[*id] && !row.publishes || row.done_min.is_some() {
                continue;
            }
            let (percent, version, done) = self.of.world.with_host(*id, |body, _| look(body, current));
            changed |= percent != row.percent || version != row.version;
            (row.percent, row.version) = (percent, version);
            row.done_min = done.then_some(now_min);
        }
        changed
    }

    fn targets(&self) -> impl Iterator<Item = &PushRow> {
        self.rows.iter().map(|(_, row)| row).filter(|row| row.target)
    }
}

/// Who publishes: the first edge node, else the first of ours.
pub(crate) fn publisher(kinds: &[NodeKind]) -> Result<NodeId, String> {
    let edge = kinds.iter().position(|kind| *kind == NodeKind::Edge);
    let ours = || kinds.iter().position(|kind| kind.is_ours());
    edge.or_else(ours).ok_or_else(|| {
        "the scenario has no nodes of ours: kind = \"edge\", \"field\" or \"hosted\"".to_string()
    })
}

fn rows(
    scenario: &Scenario,
    of: &ScenarioWorld,
    order: &PushOrder,
) -> Result<Vec<(NodeId, PushRow)>, String> {
    let (kinds, classes) = (scenario.kinds(), scenario.classes());
    let publisher = publisher(&kinds)?;
    let taken = order.package.claimed.claims().classes;
    let ours = (0..kinds.len()).filter(|id| kinds[*id].is_ours());
    let rows: Vec<(NodeId, PushRow)> = ours
        .map(|id| {
            let number = of.world.ledger.number(id);
            let target = match &order.to {
                Target::Class(class) => classes[id] == *class,
                Target::Node(name) => of.names[id] == *name || number.to_string() == *name,
            };
            let row = PushRow {
                node: of.names[id].clone(),
                id: number.to_string(),
                class: classes[id],
                publishes: id == publisher,
                target,
                percent: 0,
                version: None,
                done_min: None,
            };
            (id, row)
        })
        .collect();
    let targets = || rows.iter().map(|(_, row)| row).filter(|row| row.target);
    if targets().count() == 0 {
        let known: Vec<String> =
            rows.iter().map(|(_, row)| format!("{} ({}, class {})", row.id, row.node, row.class)).collect();
        return Err(format!("nobody is meant: nodes of ours are {}", known.join(", ")));
    }
    match targets().find(|row| !taken.contains(row.class)) {
        Some(row) => Err(format!(
            "{} is of device class {}, for which the bundle is not signed: bundle build --class {}",
            row.node, row.class, row.class
        )),
        None => Ok(rows),
    }
}

fn check(order: &PushOrder) -> Result<Store, String> {
    let store = order.package.store()?;
    if let Some(canary) = &order.canary {
        let (first, then) = (canary.package.claimed.claims(), order.package.claimed.claims());
        if (first.kind, first.task) != (then.kind, then.task) || canary.package.store()? != store {
            return Err("the candidate is another component, or cut otherwise, than the bundle".to_string());
        }
        if first.sequence >= then.sequence || first.tag() == then.tag() {
            return Err(format!(
                "the candidate (version {}) needs a lower version than the bundle ({}), and content of its own: a node that has \
                 installed it takes only something newer",
                first.sequence, then.sequence
            ));
        }
    }
    Ok(store)
}

/// Pushes a bundle through a scenario's mesh under a seed. `tell` is told what happens, with the minutes since the first publication and how
/// far all nodes are; if it returns false, the push is cancelled as by [`PushOrder::cancel_min`].
pub fn push(
    scenario: &Scenario,
    seed: u64,
    base: Option<BaseEncoder<'static>>,
    order: &PushOrder,
    mut tell: impl FnMut(PushEvent, f64, &[PushRow]) -> bool,
) -> Result<PushReport, String> {
    let store = check(order)?;
    let mut scenario = scenario.clone();
    scenario.set_hours(order.warm_up_h + order.limit_h);
    let trust = order.trust.clone();
    let of = build_with(&scenario, seed, base, Some(store), |kit| {
        kit.trust(trust)
            .then_some(())
            .ok_or("the trust file has too many root keys, or unusable ones: two at most".to_string())
    })?;
    let rows = rows(&scenario, &of, order)?;
    let publisher =
        rows.iter().find(|(_, row)| row.publishes).map(|(id, _)| *id).ok_or("nobody publishes")?;
    let mut run = Runner { of, rows, begun: Instant::ZERO, publisher };
    run.run_until(Instant::ZERO + Duration::from_micros((order.warm_up_h * 3.6e9) as u64), None);
    run.begun = run.of.world.now();
    let before = sums(&run.of.world.ledger);

    let mut tell = |run: &Runner, event: PushEvent| {
        let rows: Vec<PushRow> = run.rows.iter().map(|(_, row)| row.clone()).collect();
        tell(event, minutes(run.of.world.now().saturating_duration_since(run.begun)), &rows)
    };
    let mut canary = order.canary.as_ref();
    let mut current = match canary {
        Some(canary) => run.publish(&canary.package)?,
        None => run.publish(&order.package)?,
    };
    run.run_until(run.begun, Some(&current));
    let first = if canary.is_some() { PushEvent::CanaryPublished } else { PushEvent::Published };
    let mut wanted = tell(&run, first);
    let mut cues = [
        (order.pause_min, PushEvent::Paused),
        (order.resume_min, PushEvent::Resumed),
        (order.cancel_min, PushEvent::Cancelled),
    ];
    let (mut cancelled, mut changed_min) = (false, 0.0);
    let mut outcome = None;
    while outcome.is_none() {
        let changed = run.run_until(run.of.world.now() + LOOK, Some(&current));
        let now_min = minutes(run.of.world.now().saturating_duration_since(run.begun));
        if changed {
            changed_min = now_min;
            wanted &= tell(&run, PushEvent::Progress);
        }
        if let Some(stage) = canary.filter(|canary| !cancelled && now_min >= canary.soak_min) {
            let classes = stage.package.claimed.claims().classes;
            let failed = |row: &&PushRow| classes.contains(row.class) && row.done_min.is_none();
            let failures = run.rows.iter().map(|(_, row)| row).filter(failed).count();
            canary = None;
            if failures > stage.max_failures {
                run.hold(&current, true);
                outcome = Some(PushEvent::Halted);
                break;
            }
            tell(&run, PushEvent::CanaryPassed);
            current = run.publish(&order.package)?;
            wanted &= tell(&run, PushEvent::Published);
        }
        for (at, event) in &mut cues {
            let due =
                at.is_some_and(|at| now_min >= at) || *event == PushEvent::Cancelled && !wanted && !cancelled;
            if !due || cancelled {
                continue;
            }
            *at = None;
            run.hold(&current, *event != PushEvent::Resumed);
            cancelled = *event == PushEvent::Cancelled;
            changed_min = now_min;
            tell(&run, *event);
        }
        outcome = if canary.is_none() && run.targets().all(|row| row.done_min.is_some()) {
            Some(PushEvent::Complete)
        } else if cancelled && now_min - changed_min >= STILL_MIN {
            Some(PushEvent::Cancelled)
        } else if now_min >= order.limit_h * 60.0 {
            Some(PushEvent::TimedOut)
        } else {
            None
        };
    }
    let end = outcome.unwrap_or(PushEvent::TimedOut);
    if end != PushEvent::Cancelled {
        tell(&run, end);
    }
    let sent = spent(&run.of.world, &before);
    Ok(PushReport {
        end,
        targets: run.targets().count(),
        done: run.targets().filter(|row| row.done_min.is_some()).count(),
        hours: minutes(run.of.world.now().saturating_duration_since(run.begun)) / 60.0,
        sent,
        rows: run.rows.into_iter().map(|(_, row)| row).collect(),
    })
}

fn spent(world: &World<Body>, before: &[Sum; 4]) -> Sent {
    let after = sums(&world.ledger);
    let frames = |index: usize| after[index].transmissions - before[index].transmissions;
    let airtime_us: u64 =
        after.iter().zip(before).map(|(after, before)| after.airtime_us - before.airtime_us).sum();
    let airtime_s = airtime_us as f64 / 1e6;
    Sent {
        packets: (0..4).map(frames).sum(),
        symbols: frames(2),
        control: frames(1) + frames(3),
        beacons: frames(0),
        airtime_s,
        energy_mwh: energy_mwh(airtime_s),
    }
}
