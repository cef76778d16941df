//! What is shown of the node, and the objects that it publishes.

use compotastic_bundle::{BundleFile, ComponentKind, Geometry, Slots, build_stream};
use compotastic_mesh::{lora::Modem, packet::NodeNum, time::Instant};
use compotastic_node::{manners::congestion_permille, udp::LAN_PERMILLE};
use compotastic_wire::Beacon;

use super::{
    book::node_id,
    core::{Core, Mode, Output},
    facts,
};
use crate::{
    seam::{AirtimeView, Event, JobKind, NodeView, ObjectView, PurposeView, PushTarget, Snapshot},
    store::StoreFlash,
};

/// Symbols that wait for decoding in the flash of a published object.
const SPARE: u16 = 16;
/// Flash of one component of the daemon, bytes: an object of 64 KiB twice, its log and what waits.
const COMPONENT_LEN: usize = 256 * 1024;
/// Longest content of a component, bytes.
const CONTENT_MAX: u32 = 64 * 1024;

fn kind_name(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Model => "model",
        ComponentKind::Policy => "policy",
        ComponentKind::Logic => "logic",
        ComponentKind::Firmware => "firmware",
    }
}

impl Core {
    /// What is known of a node, by what it tells the mesh and the swarm.
    pub(super) fn node_view(&self, num: u32) -> Option<NodeView> {
        let mut view = self.book.view(num)?;
        self.add_membership(&mut view);
        Some(view)
    }

    fn add_membership(&self, view: &mut NodeView) {
        let Some(agent) = self.mode.agent_ref() else { return };
        let Some(entry) = agent.registry().get(NodeNum(view.num)) else { return };
        view.member = true;
        view.foundation_model = entry.beacon.flags & (Beacon::FOUNDATION_MODEL | Beacon::CHAT) != 0;
        view.model_version = (entry.beacon.model_version > 0).then_some(entry.beacon.model_version);
        view.load = Some(entry.beacon.load);
        view.device_class = Some(entry.beacon.device_class);
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let modem = match &self.mode {
            Mode::Native(station) => {
                let config = station.station_ref().router().config();
                Some((config.preset, config.region, config.preset.modem(config.region.wide())))
            }
            _ => self.radio.as_ref().map(facts::modem_of).and_then(Result::ok),
        };
        let model = [JobKind::Chat, JobKind::Classify, JobKind::Embed]
            .into_iter()
            .find_map(|kind| self.offers.model(kind).ok().map(str::to_owned));
        let mut nodes = self.book.views();
        for node in &mut nodes {
            self.add_membership(node);
        }
        Snapshot {
            num: self.num(),
            id: if self.num() == 0 { String::new() } else { node_id(self.num()) },
            swarm: self.options.swarm.as_ref().map(|swarm| swarm.channel_name.to_string()),
            mode: match self.mode {
                Mode::Listening(_) => "listening".into(),
                Mode::Hosted(_) => "hosted".into(),
                Mode::Native(_) => "native".into(),
            },
            uptime_s: now.saturating_duration_since(self.started).as_secs(),
            region: modem.map_or("", |(_, region, _)| region.name()).into(),
            preset: modem.map_or("", |(preset, ..)| preset.name()).into(),
            model,
            links: self.links.clone(),
            nodes,
            objects: self.objects.values().cloned().collect(),
            airtime: self.airtime(now, modem.map(|(.., modem)| modem)),
            open_jobs: self.jobs.len(),
        }
    }

    fn airtime(&self, now: Instant, modem: Option<Modem>) -> AirtimeView {
        if let Mode::Native(station) = &self.mode {
            let router = station.station_ref().router();
            return AirtimeView {
                // It measures no channel; this is what its neighbours may have spent for it.
                air_util_tx_percent: router.spent(now).as_millis() as f32 / 36_000.0,
                duty_cycle_percent: f32::from(LAN_PERMILLE) / 10.0,
                gate: if self.is_quiet() { "quiet-hours" } else { "open" }.into(),
                congestion_factor: 1.0,
                ..AirtimeView::default()
            };
        }
        let (Some(manners), Some(modem)) = (self.manners(), modem) else {
            return AirtimeView { gate: "no-telemetry".into(), ..AirtimeView::default() };
        };
        let state = manners.state(now);
        let percent = |permille: u16| f32::from(permille) / 10.0;
        AirtimeView {
            channel_utilization_percent: percent(state.utilization_permille),
            air_util_tx_percent: percent(state.own_permille),
            duty_cycle_percent: percent(state.limit_permille),
            bulk_share_percent: percent(state.bulk_share_permille),
            gate: state.hold.map_or("open", compotastic_node::manners::Hold::name).into(),
            congestion_factor: congestion_permille(&modem, self.book.online()) as f32 / 1000.0,
            by_purpose: manners
                .counts()
                .map(|(purpose, count)| PurposeView {
                    purpose: purpose.name().into(),
                    packets: count.packets,
                    airtime_ms: count.airtime.as_millis(),
                })
                .collect(),
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
        match to {
            PushTarget::Class { class } if manifest.classes.contains(class) => {}
            PushTarget::Class { class } => {
                return Err(format!(
                    "the bundle is not for devices of class {class}: build it with --class {class}"
                ));
            }
            PushTarget::Node { num } => {
                return Err(format!(
                    "a bundle goes to all nodes of its classes, so {} alone cannot have it: give the node a class of its own",
                    node_id(num)
                ));
            }
        }
        let Some(agent) = self.mode.agent() else {
            return Err("this node only listens, and cannot publish: see `compotastic status`".into());
        };
        let layout = manifest.layout().map_err(|error| error.to_string())?;
        let mut stream = vec![0; layout.stream_len() as usize];
        build_stream(file.content, layout.piece_size(), &mut stream)
            .ok_or("the content does not fit its pieces")?;
        let (kind, task) = (manifest.kind, manifest.task);
        if kind != ComponentKind::Model || task != self.options.task {
            let name = format!("component {} {task}", kind_name(kind));
            if self.objects.values().all(|view| (view.kind.as_str(), view.task) != (kind_name(kind), task)) {
                let geometry = Geometry::packed::<StoreFlash>(0, CONTENT_MAX, layout.piece_size(), SPARE)
                    .filter(|geometry| geometry.end() as usize <= COMPONENT_LEN)
                    .ok_or("its pieces do not fit this node's store")?;
                let flash =
                    self.store.flash_batched(&name, COMPONENT_LEN).map_err(|error| format!("{error:#}"))?;
                let slots = Slots::open(flash, geometry)
                    .map_err(|error| format!("the store of {name}: {error:?}"))?;
                if !agent.add_component(kind, task, slots) {
                    return Err(
                        "this node has no room for another kind of object: withdraw one and restart it"
                            .into(),
                    );
                }
            }
        }
        let packed = file.claimed.to_packed();
        agent
            .publish_stream(now, file.delegation.unwrap_or_default(), &packed, &stream)
            .map_err(|refusal| format!("the bundle is refused: {refusal:?}"))?;
        let tag = format!("{:08x}", manifest.tag().0);
        self.store.put_bundle(&tag, bytes).map_err(|error| format!("{error:#}"))?;
        let view = ObjectView {
            tag: tag.clone(),
            kind: kind_name(kind).into(),
            task,
            version: manifest.sequence,
            bytes: layout.size(),
            progress_percent: 100,
            published_here: true,
            paused: false,
            complete_at: Vec::new(),
        };
        self.objects.insert(tag, view.clone());
        self.push(Output::Event(Event::Object(view.clone())));
        Ok(view)
    }

    pub(super) fn pause(&mut self, now: Instant, tag: &str, paused: bool) -> Result<(), String> {
        let Some(view) = self.objects.get_mut(tag).filter(|view| view.published_here) else {
            return Err(format!("no object {tag} is published here: `compotastic status` lists them"));
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
        Ok(())
    }

    /// Nothing of it is offered any more. What others have of it they keep.
    pub(super) fn withdraw(&mut self, now: Instant, tag: &str) -> Result<(), String> {
        self.pause(now, tag, true)?;
        self.store.remove_bundle(tag).map_err(|error| format!("{error:#}"))?;
        self.objects.remove(tag);
        Ok(())
    }
}
