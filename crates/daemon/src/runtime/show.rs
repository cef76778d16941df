//! What is shown of the node.

use std::collections::BTreeMap;

use compotastic_mesh::{lora::Modem, packet::NodeNum, time::Instant};
use compotastic_node::manners::{Hold, congestion_permille};
use compotastic_wire::{Beacon, Neighbours};

use super::{
    book::node_id,
    core::{Core, Mode},
    facts,
};
use crate::seam::{AirtimeView, JobKind, NodeView, PurposeView, Snapshot};

impl Core {
    /// What is known of a node, by what it tells the mesh and the swarm.
    pub(super) fn node_view(&self, num: u32) -> Option<NodeView> {
        let mut view = self.book.view(num)?;
        self.add_membership(&mut view, &self.short_names());
        Some(view)
    }

    /// Nodes by the short names under which beacons name them; of two with the same, the member.
    fn short_names(&self) -> BTreeMap<u16, u32> {
        let members = self.mode.agent_ref().into_iter().flat_map(|agent| agent.registry().iter());
        let members = members.map(|entry| entry.num.0).chain([self.num()]);
        self.book.nums().chain(members).map(|num| (Neighbours::short(num), num)).collect()
    }

    fn add_membership(&self, view: &mut NodeView, names: &BTreeMap<u16, u32>) {
        let Some(agent) = self.mode.agent_ref() else { return };
        let Some(entry) = agent.registry().get(NodeNum(view.num)) else { return };
        view.member = true;
        view.foundation_model = entry.beacon.flags & (Beacon::FOUNDATION_MODEL | Beacon::CHAT) != 0;
        view.answers = self.answers_of(&entry.beacon);
        view.model_version = (entry.beacon.model_version > 0).then_some(entry.beacon.model_version);
        view.load = Some(entry.beacon.load);
        view.device_class = Some(entry.beacon.device_class);
        view.neighbours = entry.told.then(|| {
            let named = entry.beacon.neighbours;
            let id =
                |short: &u16| names.get(short).map_or_else(|| format!("?{short:04x}"), |num| node_id(*num));
            named.names().iter().map(id).collect()
        });
    }

    /// Kinds of jobs that a member takes: in words and vectors what it offers, classes by its foundation model or by a student of our task.
    fn answers_of(&self, beacon: &Beacon) -> Vec<JobKind> {
        let has = |flag: u8| beacon.flags & flag != 0;
        let student = has(Beacon::STUDENT) && beacon.task == self.options.task;
        let classify = has(Beacon::EXECUTES) && (has(Beacon::FOUNDATION_MODEL) || student);
        let kinds = [
            (JobKind::Classify, classify),
            (JobKind::Chat, has(Beacon::CHAT)),
            (JobKind::Embed, has(Beacon::EMBED)),
        ];
        kinds.into_iter().filter_map(|(kind, there)| there.then_some(kind)).collect()
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
        let names = self.short_names();
        for node in &mut nodes {
            self.add_membership(node, &names);
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
            objects: self.objects.views(),
            airtime: self.airtime(now, modem.map(|(.., modem)| modem)),
            open_jobs: self.jobs.len(),
        }
    }

    fn airtime(&self, now: Instant, modem: Option<Modem>) -> AirtimeView {
        let Some(modem) = modem else {
            return AirtimeView { gate: "no-telemetry".into(), ..AirtimeView::default() };
        };
        let (state, shares) = match (&self.mode, self.manners()) {
            // It measures no channel; what counts as its own is what its neighbours may have spent for it.
            (Mode::Native(station), _) => {
                let station = station.station_ref();
                (station.manners_state(now), station.shares())
            }
            (_, Some(manners)) => (manners.state(now), manners.shares()),
            (_, None) => return AirtimeView { gate: "no-telemetry".into(), ..AirtimeView::default() },
        };
        let percent = |permille: u16| f32::from(permille) / 10.0;
        AirtimeView {
            channel_utilization_percent: percent(state.utilization_permille),
            known: state.known,
            polite_percent: percent(state.polite_permille),
            hard_percent: percent(state.hard_permille),
            air_util_tx_percent: percent(state.own_permille),
            duty_cycle_percent: percent(state.limit_permille),
            bulk_share_percent: percent(state.bulk_share_permille),
            gate: state.hold.map_or("open", Hold::name).into(),
            congestion_factor: congestion_permille(&modem, self.book.online()) as f32 / 1000.0,
            by_purpose: shares
                .counts()
                .map(|(purpose, count)| PurposeView {
                    purpose: purpose.name().into(),
                    packets: count.packets,
                    airtime_ms: count.airtime.as_millis(),
                })
                .collect(),
        }
    }
}
