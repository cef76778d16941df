//! Objects: what is published here, what is kept and passed on for others, and who has it.
//!
//! The daemon has no use of its own for objects: it collects whatever the swarm's operators have signed, for devices of all classes, and
//! passes it on. It has room for four components (kind and task); the model of its own task is one from the start, others come with
//! the first object of theirs, and are remembered.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, ensure};
use compotastic_bundle::{
    BundleFile, ComponentKind, DEFAULT_PIECE_SIZE, Geometry, Manifest, Refusal, Slots, build_stream,
};
use compotastic_mesh::{packet::NodeNum, time::Instant};
use compotastic_node::{Agent, BundleRefusal};
use compotastic_wire::Beacon;
use serde::{Deserialize, Serialize};

use super::{
    book::node_id,
    core::{Core, Output},
};
use crate::{
    seam::{Event, ObjectView, PushTarget},
    store::{Store, StoreFlash},
};

/// Symbols that wait for decoding in the flash of a component.
const SPARE: u16 = 16;
/// Flash of one component, bytes: an object of [`CONTENT_MAX`] twice, its log and what waits.
const COMPONENT_LEN: usize = 256 * 1024;
/// Longest content of a component, bytes.
const CONTENT_MAX: u32 = 64 * 1024;
/// Components beside the model of the own task: kind and task.
const COMPONENTS: &str = "components";

/// What is remembered of an object over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    paused: bool,
    /// It is not offered any more, though it may be here.
    withdrawn: bool,
    complete_at: BTreeSet<u32>,
    #[serde(default)]
    runs_at: BTreeSet<u32>,
}

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Objects {
    views: BTreeMap<String, ObjectView>,
    /// Tags that are here and not offered any more.
    withdrawn: BTreeSet<String>,
}

impl Objects {
    /// As they are shown.
    pub fn views(&self) -> Vec<ObjectView> {
        self.views.values().cloned().collect()
    }
}

fn mark_name(tag: &str) -> String {
    format!("object {tag}")
}

/// Why a bundle is refused, and what to do.
fn refusal_text(refusal: BundleRefusal) -> String {
    let hint = match refusal {
        BundleRefusal::Manifest(Refusal::UnknownKey(_)) => {
            "; this swarm's operators' keys, and those that they delegated, are the only ones that count here: `compotastic swarm operator \
             --out FILE` on the machine that made the swarm writes its key, `compotastic bundle build --key FILE` signs with it"
        }
        BundleRefusal::Manifest(Refusal::BadSignature) => {
            "; it was changed after it was signed: build it anew"
        }
        BundleRefusal::Manifest(Refusal::Rollback { .. }) => "; build it with a higher version",
        _ => "",
    };
    let why = match refusal {
        BundleRefusal::Manifest(refusal) => refusal.to_string(),
        BundleRefusal::Delegation => {
            "the delegation in it is not by an operator of this swarm, or an older one".into()
        }
        BundleRefusal::Content => "its content is not what its manifest says".into(),
        BundleRefusal::Storage => "this node's store does not take it: is the disk full?".into(),
        BundleRefusal::OnTrial => "this node's firmware is on trial: try again in some minutes".into(),
    };
    format!("the bundle is refused: {why}{hint}")
}

/// Room for a component that the agent lacks.
fn add_component(
    store: &Store,
    agent: &mut Agent<'static, StoreFlash>,
    kind: ComponentKind,
    task: u8,
) -> Result<()> {
    if agent.has_component(kind, task) {
        return Ok(());
    }
    let name = format!("component {kind} {task}");
    // The same from run to run, whatever the pieces of an object.
    let geometry = Geometry::packed::<StoreFlash>(0, CONTENT_MAX, DEFAULT_PIECE_SIZE, SPARE)
        .filter(|geometry| geometry.end() as usize <= COMPONENT_LEN)
        .ok_or_else(|| anyhow!("an object does not fit its store"))?;
    let flash = store.flash_batched(&name, COMPONENT_LEN)?;
    let slots = Slots::open(flash, geometry).map_err(|error| anyhow!("the store of {name}: {error:?}"))?;
    ensure!(
        agent.add_component(kind, task, slots),
        "this node has no room for objects of another component ({kind} of task {task}): it keeps those of four"
    );
    let mut known: Vec<(u8, u8)> = store.get(COMPONENTS)?.unwrap_or_default();
    if !known.contains(&(kind as u8, task)) {
        known.push((kind as u8, task));
        store.set(COMPONENTS, &known)?;
    }
    Ok(())
}

/// An agent that has just been made keeps and passes on what it kept before.
pub(super) fn prepare(store: &Store, agent: &mut Agent<'static, StoreFlash>) -> Result<()> {
    agent.carry_objects();
    for (kind, task) in store.get::<Vec<(u8, u8)>>(COMPONENTS)?.unwrap_or_default() {
        if let Some(kind) = ComponentKind::from_u8(kind) {
            add_component(store, agent, kind, task)?;
        }
    }
    Ok(())
}

fn view_of(manifest: &Manifest) -> ObjectView {
    ObjectView {
        tag: format!("{:08x}", manifest.tag().0),
        kind: manifest.kind.to_string(),
        task: manifest.task,
        version: manifest.sequence,
        bytes: manifest.size,
        runs_at: (manifest.kind == ComponentKind::Firmware).then(Vec::new),
        ..ObjectView::default()
    }
}

impl Core {
    /// After a start: what was published goes on, and what was held back stays so.
    pub(super) fn resume_objects(&mut self, now: Instant) -> Result<()> {
        for tag in self.store.bundles()? {
            let Some(bytes) = self.store.bundle(&tag)? else { continue };
            let published = BundleFile::parse(&bytes)
                .map_err(|error| error.to_string())
                .and_then(|file| self.publish(now, &file));
            if let Err(why) = published {
                tracing::warn!(tag, "an object that was published here does not go on: {why}");
            }
        }
        for name in self.store.settings(&mark_name(""))? {
            let Some(mark) = self.store.get::<Mark>(&name)? else { continue };
            let tag = name.trim_start_matches(&mark_name("")).to_owned();
            let Ok(number) = u32::from_str_radix(&tag, 16) else { continue };
            if let Some(view) = self.objects.views.get_mut(&tag) {
                view.complete_at = mark.complete_at.iter().copied().collect();
                view.runs_at = view.runs_at.take().map(|_| mark.runs_at.iter().copied().collect());
                view.paused = mark.paused;
            }
            if mark.withdrawn {
                self.objects.withdrawn.insert(tag);
            }
            if (mark.paused || mark.withdrawn)
                && let Some(agent) = self.mode.agent()
            {
                agent.pause_object(now, number, true);
            }
        }
        Ok(())
    }

    /// An object of a component is about that this node does not keep yet.
    pub(super) fn make_room(&mut self, kind: ComponentKind, task: u8) {
        let Some(agent) = self.mode.agent() else { return };
        match add_component(&self.store, agent, kind, task) {
            Ok(()) => tracing::info!(%kind, task, "objects of this component are kept too"),
            Err(error) => tracing::warn!("an object is not kept: {error:#}"),
        }
    }

    fn mark(&self, tag: &str, withdrawn: bool) {
        let view = self.objects.views.get(tag);
        let mark = Mark {
            paused: view.is_some_and(|view| view.paused),
            withdrawn,
            complete_at: view.map(|view| view.complete_at.iter().copied().collect()).unwrap_or_default(),
            runs_at: view.and_then(|view| view.runs_at.clone()).into_iter().flatten().collect(),
        };
        let kept = match mark == Mark::default() {
            true => self.store.unset(&mark_name(tag)).map(|_| ()),
            false => self.store.set(&mark_name(tag), &mark),
        };
        if let Err(error) = kept {
            tracing::error!("what is known of object {tag} is not kept: {error:#}");
        }
    }

    /// Who is meant has to be of a class that the bundle is signed for.
    fn check_target(&self, manifest: &Manifest, to: PushTarget) -> Result<(), String> {
        match to {
            PushTarget::Class { class } if manifest.classes.contains(class) => Ok(()),
            PushTarget::Class { class } => {
                Err(format!("the bundle is not for devices of class {class}: build it with --class {class}"))
            }
            PushTarget::Node { num } => {
                let id = node_id(num);
                if num == self.num() {
                    return Err(format!("{id} is this node itself: name the one that is to have the bundle"));
                }
                let agent = self.mode.agent_ref();
                let entry = agent
                    .and_then(|agent| agent.registry().get(NodeNum(num)))
                    .filter(|entry| entry.told)
                    .ok_or_else(|| {
                        format!("{id} is no member of the swarm that has been heard yet: `compotastic nodes` lists them; \
                                 a push to its class reaches it too")
                    })?;
                let class = entry.beacon.device_class;
                if manifest.classes.contains(class) {
                    return Ok(());
                }
                Err(format!(
                    "{id} is of device class {class}, for which the bundle is not signed: build it with --class {class}"
                ))
            }
        }
    }

    pub(super) fn push_bundle(
        &mut self,
        now: Instant,
        bytes: &[u8],
        to: PushTarget,
    ) -> Result<ObjectView, String> {
        let file = BundleFile::parse(bytes)
            .map_err(|error| format!("this is no bundle: {error}; `compotastic bundle build` makes one"))?;
        let manifest = file.claimed.claims();
        if self.mode.agent().is_none() {
            return Err("this node only listens, and cannot publish: see `compotastic status`".into());
        }
        self.check_target(manifest, to)?;
        let tag = format!("{:08x}", manifest.tag().0);
        let was_here = self.store.bundle(&tag).map_err(|error| format!("{error:#}"))?.is_some();
        self.store.put_bundle(&tag, bytes).map_err(|error| format!("{error:#}"))?;
        if let Err(why) = self.publish(now, &file) {
            if !was_here {
                self.store.remove_bundle(&tag).map_err(|error| format!("{why}; and {error:#}"))?;
            }
            return Err(why);
        }
        self.objects.withdrawn.remove(&tag);
        self.mark(&tag, false);
        self.objects.views.get(&tag).cloned().ok_or_else(|| format!("the agent does not hold {tag}"))
    }

    /// Gives it to the agent, and shows it.
    fn publish(&mut self, now: Instant, file: &BundleFile<'_>) -> Result<(), String> {
        let manifest = file.claimed.claims();
        let layout = manifest.layout().map_err(|error| error.to_string())?;
        let mut stream = vec![0; layout.stream_len() as usize];
        build_stream(file.content, layout.piece_size(), &mut stream)
            .ok_or("the content does not fit its pieces")?;
        let agent = self.mode.agent().ok_or("this node only listens")?;
        // Room is made for what is signed alone.
        let delegation = file.delegation.unwrap_or_default();
        let packed = file.claimed.to_packed();
        agent.check_bundle(now, delegation, &packed).map_err(refusal_text)?;
        add_component(&self.store, agent, manifest.kind, manifest.task)
            .map_err(|error| format!("{error:#}"))?;
        agent.publish_stream(now, delegation, &packed, &stream).map_err(refusal_text)?;
        let mut view = view_of(manifest);
        view.progress_percent = 100;
        view.published_here = true;
        if let Some(before) = self.objects.views.get(&view.tag) {
            view.complete_at = before.complete_at.clone();
            view.runs_at = before.runs_at.clone();
        }
        self.objects.views.insert(view.tag.clone(), view.clone());
        self.push(Output::Event(Event::Object(view)));
        Ok(())
    }

    pub(super) fn pause(&mut self, now: Instant, tag: &str, paused: bool) -> Result<(), String> {
        let Some(view) = self.objects.views.get_mut(tag).filter(|view| view.published_here) else {
            return Err(format!("no object {tag} is published here: `compotastic update ls` lists them"));
        };
        let Some(agent) = self.mode.agent() else {
            return Err("this node only listens: see `compotastic status`".into());
        };
        let number = u32::from_str_radix(tag, 16).map_err(|_| format!("{tag} is no tag"))?;
        if !agent.pause_object(now, number, paused) {
            return Err(format!("the agent does not hold {tag} any more: push it again"));
        }
        view.paused = paused;
        let view = view.clone();
        self.push(Output::Event(Event::Object(view)));
        self.mark(tag, false);
        Ok(())
    }

    /// Nothing of it is offered any more. What others have of it they keep, and pass on.
    pub(super) fn withdraw(&mut self, now: Instant, tag: &str) -> Result<(), String> {
        self.pause(now, tag, true)?;
        self.store.remove_bundle(tag).map_err(|error| format!("{error:#}"))?;
        self.objects.views.remove(tag);
        self.objects.withdrawn.insert(tag.to_owned());
        self.mark(tag, true);
        Ok(())
    }

    /// Takes over what the agent has, and what beacons tell of others.
    pub(super) fn advance_objects(&mut self) {
        let Some(agent) = self.mode.agent_ref() else { return };
        let mut changed = Vec::new();
        let mut held = BTreeSet::new();
        for object in agent.objects() {
            let tag = format!("{:08x}", object.tag);
            held.insert(tag.clone());
            if self.objects.withdrawn.contains(&tag) {
                continue;
            }
            let before = self.objects.views.get(&tag);
            let mut view = match before {
                Some(view) => view.clone(),
                None => match agent.object_manifest(object.tag) {
                    Some(claimed) => view_of(claimed.claims()),
                    None => continue,
                },
            };
            view.progress_percent = (u32::from(object.progress) * 100 / 255) as u8;
            view.paused = object.paused;
            let mut complete: BTreeSet<u32> = view.complete_at.iter().copied().collect();
            let mut runs: BTreeSet<u32> = view.runs_at.iter().flatten().copied().collect();
            for entry in agent.registry().iter().filter(|entry| entry.told) {
                if entry.beacon.object_tag == object.tag {
                    match entry.beacon.flags & Beacon::RUNS {
                        0 => runs.remove(&entry.num.0),
                        _ => runs.insert(entry.num.0),
                    };
                }
                match has(&entry.beacon, object.tag, &view) {
                    Some(true) => drop(complete.insert(entry.num.0)),
                    Some(false) => drop(complete.remove(&entry.num.0)),
                    None => {}
                }
            }
            view.complete_at = complete.into_iter().collect();
            view.runs_at = view.runs_at.take().map(|_| runs.into_iter().collect());
            if before != Some(&view) {
                changed.push(view);
            }
        }
        // A newer object has taken its place.
        let gone: Vec<String> = self
            .objects
            .views
            .keys()
            .chain(&self.objects.withdrawn)
            .filter(|tag| !held.contains(*tag))
            .cloned()
            .collect();
        for tag in gone {
            self.objects.withdrawn.remove(&tag);
            self.objects.views.remove(&tag);
            self.mark(&tag, false);
            if let Err(error) = self.store.remove_bundle(&tag) {
                tracing::error!("the bundle {tag} stays in the store: {error:#}");
            }
        }
        for view in changed {
            let before = self.objects.views.insert(view.tag.clone(), view.clone());
            let known = |before: &ObjectView| {
                before.complete_at == view.complete_at && before.runs_at == view.runs_at
            };
            if view.published_here && !before.as_ref().is_some_and(known) {
                self.mark(&view.tag, false);
            }
            self.push(Output::Event(Event::Object(view)));
        }
    }
}

/// Whether a beacon tells that its sender has an object, or has not; none if it tells of something else.
fn has(beacon: &Beacon, tag: u32, view: &ObjectView) -> Option<bool> {
    if beacon.object_tag == tag {
        return Some(beacon.object_progress == u8::MAX);
    }
    let runs =
        view.kind == "model" && beacon.task == view.task && u32::from(beacon.model_version) == view.version;
    (runs && beacon.model_version > 0).then_some(true)
}
