//! A signed bundle is pushed through a scenario's mesh: who has how much of it, held back, given up, and in two stages.
//!
//! What happens to the mesh happens at the node that publishes, by its agent's own means: it publishes, or it holds an object back
//! ([`compotastic_node::Agent::pause_object`]). What other nodes hold they go on passing to each other. Canaries are a device class of their own: the candidate
//! is a bundle that is signed for that class alone, so no other node takes it, whatever it hears. Only the view of all nodes is the simulator's: a real
//! operator sees what beacons tell.

mod check;

use std::collections::BTreeMap;

use compotastic_bundle::{ClaimedManifest, ComponentKind, ImageIdentity, build_stream};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_model::BaseEncoder;
use compotastic_node::agent::BundleRefusal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use check::{check, rows};
pub(crate) use check::{nobody_is_meant, publisher};

use super::{
    Body, Scenario,
    build::{ScenarioWorld, Seeds, build_with},
    stage::{Action, hold},
};
use crate::{
    NodeId, World,
    energy::BatterySettings,
    ledger::{Ledger, Sum, Traffic},
    swarm::{
        Flash, Store, Trusted,
        bundles::{TASK, delegation},
        kit::operator_keys,
        native::{self, slot_a},
    },
};

/// Hours in which beacons tell who hears whom, where nothing else is said.
const WARM_UP_H: f64 = 6.0;
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

    /// The same, signed by the operator of simulated swarms, or by an edge node of his where a delegation goes with it: what goes over the
    /// air is as long, and nodes of a simulation take it.
    pub(crate) fn rehearsed(&self) -> Self {
        let signed = |key| ClaimedManifest::sign(self.claimed.claims().clone(), key).ok();
        let (root, edge) = operator_keys();
        let (claimed, delegation) = match &self.delegation {
            Some(_) => {
                (signed(&edge), Some(delegation(&root, &edge, self.content.len().max(1 << 14) as u32)))
            }
            None => (signed(&root), None),
        };
        // What claims something impossible is refused by whoever is to publish it.
        Self {
            claimed: claimed.unwrap_or_else(|| self.claimed.clone()),
            delegation,
            content: self.content.clone(),
        }
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
        let native = (claims.kind, claims.task) == (ComponentKind::Firmware, 0);
        Ok(Store { kind: claims.kind, task: claims.task, piece_size, native })
    }
}

/// For whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All nodes of ours for which it is signed.
    All,
    /// All nodes of ours of a device class.
    Class(u8),
    /// The push ends when this node, by number or name, has it; others of its class take it too.
    Node(String),
}

/// A candidate that goes first.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Signed for the canaries' class, with a lower version; the content may be the same.
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
    /// Firmware that nodes of its classes run before, signed as it is, not as a delta. Others, and all if there is none, run something with
    /// version 0.
    pub running: Option<Package>,
    /// Firmware is kept and passed on like any object, and no node runs it.
    pub kept: bool,
    /// Power fails at these nodes (number or name) in the next flash operation after so many minutes, and comes back a minute later.
    pub cuts: Vec<(String, f64)>,
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
    /// It is over, too, once nothing has changed for so long, hours.
    pub still_h: Option<f64>,
    /// Somebody who walks by hands the bundle to these nodes: their index in the scenario, and when, in minutes.
    pub handed: Vec<(NodeId, f64)>,
}

impl PushOrder {
    /// Without canaries, cues or anything that goes wrong: six hours for beacons before, two days for it.
    pub fn new(package: Package, to: Target, trust: Trusted) -> Self {
        Self {
            package,
            to,
            running: None,
            kept: false,
            cuts: Vec::new(),
            trust,
            canary: None,
            pause_min: None,
            resume_min: None,
            cancel_min: None,
            warm_up_h: WARM_UP_H,
            limit_h: 48.0,
            still_h: None,
            handed: Vec::new(),
        }
    }
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
    /// All for whom it is have it; firmware runs on all of them, and has passed its trial.
    Complete,
    /// Time is up.
    TimedOut,
    /// Nothing has changed for so long that nothing is expected any more.
    Still,
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
    /// Of firmware: the version whose bytes are in the slot that runs, whatever the node says; none if they are of no image that is known.
    pub runs: Option<u32>,
    /// Of firmware: when what was pushed had passed its trial, minutes after the first publication.
    pub runs_min: Option<f64>,
    /// Of firmware: how often the node has started since the first publication, for a trial or because power had failed.
    pub restarts: u32,
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
    /// How it ended: complete, halted, cancelled, timed out or still.
    pub end: PushEvent,
    /// Nodes for whom it is, and how many of them have it.
    pub targets: usize,
    /// Have it; firmware runs.
    pub done: usize,
    /// From the first publication to the end, hours; to the last change, if nothing happened any more.
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
    /// Images that may run, where firmware is pushed.
    images: Option<Vec<Image>>,
    /// Starts of nodes, at the first publication and when their slots were looked at.
    starts: BTreeMap<NodeId, (u32, u32)>,
}

/// An image by what it is.
struct Image {
    version: u32,
    identity: ImageIdentity,
}

impl Image {
    fn of(package: &Package) -> Self {
        let claims = package.claimed.claims();
        Self { version: claims.sequence, identity: claims.image() }
    }

    /// Whether it is what lies at the start of a slot.
    fn is_in(&self, flash: &Flash) -> bool {
        let bytes = slot_a(flash, self.identity.size as usize);
        <[u8; 32]>::from(Sha256::digest(bytes)) == self.identity.digest
    }
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

/// How far a body is: percent, and whether all of it is there, its hash compared; for what has a version in force by being there, that too.
fn look(body: &mut Body, current: &Current) -> (u8, Option<u32>, bool) {
    let Some(node) = body.ours() else { return (0, None, false) };
    let agent = node.agent();
    let version = agent.component_version(current.kind, current.task);
    let here = agent.objects().find(|object| object.tag == current.tag).map_or(0, |object| object.progress);
    if here == 255 {
        let mut content = vec![0; current.size];
        let length = agent.content(current.kind, current.task, 0, &mut content);
        let digest: [u8; 32] = Sha256::digest(&content).into();
        if length == Some(current.size as u32) && digest == current.digest {
            return (100, version, true);
        }
    }
    ((u32::from(here.min(254)) * 100 / 255) as u8, version, false)
}

impl Runner {
    /// Gives a node the whole of it; `None` while it has no power.
    fn hand(&mut self, node: NodeId, package: &Package) -> Result<Option<()>, String> {
        let stream = package.stream()?;
        let manifest = package.claimed.to_packed();
        let delegation = package.delegation.clone().unwrap_or_default();
        let taken = self.of.world.with_host(node, |body, now| {
            let node = body.ours()?;
            let taken = node.agent().publish_stream(now, &delegation, &manifest, &stream);
            node.settle(now);
            Some(taken)
        });
        let name = &self.of.names[node];
        taken
            .transpose()
            .map(|taken| taken.map(drop))
            .map_err(|refusal| format!("{name} refuses it: {}", why(&refusal)))
    }

    fn publish(&mut self, package: &Package) -> Result<Current, String> {
        let publisher = self.publisher;
        if self.hand(publisher, package)?.is_none() {
            return Err(format!("{}, which publishes, has no power", self.of.names[publisher]));
        }
        let current = Current::of(package);
        for (_, row) in &mut self.rows {
            (row.percent, row.done_min, row.runs_min) = (0, None, None);
        }
        Ok(current)
    }

    fn hold(&mut self, current: &Current, paused: bool) {
        self.of.stage.held.retain(|(_, tag)| *tag != current.tag);
        if paused {
            self.of.stage.held.push((self.publisher, current.tag));
        }
        hold(&mut self.of.world, self.publisher, current.tag, paused);
    }

    /// Runs until a time; true if a node has more of it.
    fn run_until(&mut self, until: Instant, current: Option<&Current>) -> bool {
        let mut touched = vec![false; self.of.names.len()];
        self.of.stage.run_until(&mut self.of.world, until, |_, id| touched[id] = true);
        let Some(current) = current else { return false };
        let now_min = minutes(self.of.world.now().saturating_duration_since(self.begun));
        // What comes by Bluetooth touches no radio.
        let all = self.of.stage.bluetooth.is_some();
        let mut changed = false;
        for (id, row) in &mut self.rows {
            let finished = if self.images.is_some() { row.runs_min } else { row.done_min };
            if !touched[*id] && !row.publishes && !all || finished.is_some() {
                continue;
            }
            let (percent, version, whole) = self.of.world.with_host(*id, |body, _| look(body, current));
            if row.done_min.is_none() {
                changed |= percent != row.percent;
                row.percent = percent;
                row.done_min = whole.then_some(now_min);
            }
            changed |= version != row.version;
            row.version = version;
            let Some((images, ours)) = self.images.as_ref().zip(self.of.stage.ours.get(id)) else { continue };
            let starts = self.starts.entry(*id).or_insert((ours.boots, 0));
            if starts.1 != ours.boots {
                (starts.1, row.restarts, changed) = (ours.boots, ours.boots - starts.0, true);
                let slots = ours.flash.native.as_ref();
                let found = slots.and_then(|slots| images.iter().find(|image| image.is_in(slots)));
                row.runs = found.map(|image| image.version);
            }
            if row.runs == Some(current.sequence) && version == row.runs {
                (row.runs_min, changed) = (Some(now_min), true);
            }
        }
        changed
    }

    /// Whether a node is where the push wants it.
    fn is_done(&self, row: &PushRow) -> bool {
        if self.images.is_some() { row.runs_min.is_some() } else { row.done_min.is_some() }
    }

    fn plan_cuts(&mut self, order: &PushOrder) -> Result<(), String> {
        for (name, min) in &order.cuts {
            let id =
                self.rows.iter().find(|(_, row)| row.node == *name || row.id == *name).map(|(id, _)| *id);
            let node = id.ok_or_else(|| format!("{name} is no node of ours of the scenario"))?;
            let at = self.begun + Duration::from_micros((min * 6e7) as u64);
            self.of.stage.plan(at, Action::CutPower { node });
        }
        Ok(())
    }

    fn targets(&self) -> impl Iterator<Item = &PushRow> {
        self.rows.iter().map(|(_, row)| row).filter(|row| row.target)
    }
}

/// Pushes a bundle through a scenario's mesh under a seed. `tell` is told what happens, with the minutes since the first publication and how
/// far all nodes are; if it returns false, the push is cancelled as by [`PushOrder::cancel_min`].
pub fn push(
    scenario: &Scenario,
    seeds: Seeds,
    base: Option<BaseEncoder<'static>>,
    order: &PushOrder,
    mut tell: impl FnMut(PushEvent, f64, &[PushRow]) -> bool,
) -> Result<PushReport, String> {
    let store = check(order)?;
    let mut scenario = scenario.clone();
    scenario.set_hours(order.warm_up_h + order.limit_h);
    let trust = order.trust.clone();
    let of = build_with(&scenario, seeds, base, Some(store), |kit| {
        if !kit.trust(trust) {
            return Err("the trust file has too many root keys, or unusable ones: two at most".to_string());
        }
        match &order.running {
            Some(running) if !kit.run(running.content.clone(), &running.claimed) => {
                Err("what nodes run has to be whole firmware, signed by a root key that they believe"
                    .to_string())
            }
            _ => Ok(()),
        }
    })?;
    let rows = rows(&scenario, &of, order)?;
    let publisher =
        rows.iter().find(|(_, row)| row.publishes).map(|(id, _)| *id).ok_or("nobody publishes")?;
    let packages = [order.running.as_ref(), order.canary.as_ref().map(|canary| &canary.package)];
    let packages = packages.into_iter().flatten().chain([&order.package]);
    let made_up = native::image(0);
    let digest = Sha256::digest(&made_up).into();
    let made_up = Image { version: 0, identity: ImageIdentity { digest, size: made_up.len() as u32 } };
    let images = store.native.then(|| packages.map(Image::of).chain([made_up]).collect());
    let mut run = Runner { of, rows, begun: Instant::ZERO, publisher, images, starts: BTreeMap::new() };
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
    run.plan_cuts(order)?;
    run.run_until(run.begun, Some(&current));
    let first = if canary.is_some() { PushEvent::CanaryPublished } else { PushEvent::Published };
    let mut wanted = tell(&run, first);
    let mut cues = [
        (order.pause_min, PushEvent::Paused),
        (order.resume_min, PushEvent::Resumed),
        (order.cancel_min, PushEvent::Cancelled),
    ];
    let mut handed = order.handed.clone();
    let (mut cancelled, mut changed_min, mut changed_sent) = (false, 0.0, Sent::default());
    let mut outcome = None;
    while outcome.is_none() {
        let changed = run.run_until(run.of.world.now() + LOOK, Some(&current));
        let now_min = minutes(run.of.world.now().saturating_duration_since(run.begun));
        if changed {
            (changed_min, changed_sent) = (now_min, spent(&run.of.world, &before));
            wanted &= tell(&run, PushEvent::Progress);
        }
        // A node without power is come back to.
        let due = handed.extract_if(.., |(_, at_min)| now_min >= *at_min).collect::<Vec<_>>();
        for (node, at_min) in due {
            if run.hand(node, &order.package)?.is_none() {
                handed.push((node, at_min));
            }
        }
        if let Some(stage) = canary.filter(|canary| !cancelled && now_min >= canary.soak_min) {
            let classes = stage.package.claimed.claims().classes;
            let failed = |row: &&PushRow| classes.contains(row.class) && !run.is_done(row);
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
        outcome = if canary.is_none() && run.targets().all(|row| run.is_done(row)) {
            Some(PushEvent::Complete)
        } else if cancelled && now_min - changed_min >= STILL_MIN {
            Some(PushEvent::Cancelled)
        } else if now_min >= order.limit_h * 60.0 {
            Some(PushEvent::TimedOut)
        } else if order.still_h.is_some_and(|still_h| now_min - changed_min >= still_h * 60.0)
            && handed.is_empty()
        {
            Some(PushEvent::Still)
        } else {
            None
        };
    }
    let end = outcome.unwrap_or(PushEvent::TimedOut);
    if end != PushEvent::Cancelled {
        tell(&run, end);
    }
    let (sent, minutes) = match end {
        PushEvent::Still => (changed_sent, changed_min),
        _ => {
            (spent(&run.of.world, &before), minutes(run.of.world.now().saturating_duration_since(run.begun)))
        }
    };
    Ok(PushReport {
        end,
        targets: run.targets().count(),
        done: run.targets().filter(|row| run.is_done(row)).count(),
        hours: minutes / 60.0,
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
