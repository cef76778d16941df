//! What happens beside the radio while a scenario runs: nodes move, batteries drain, reports come up, edge nodes answer and
//! publish, and who is near talks by Bluetooth.

use std::collections::BTreeMap;

use compotastic_mesh::{
    packet::NodeNum,
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent, JobFailure,
    agent::{InFrame, REPORT_MAX},
    jobs::JobId,
    promises::{Outcome, Ticket},
};
use serde::Serialize;

use super::{body::Body, build::RadioMaker};
use crate::{
    NodeId, World,
    bluetooth::Bluetooth,
    energy::{Activity, Battery, Spent, light},
    hosted::{HostedNode, RadioHabits, StockRadio, SwarmNode},
    motion::Track,
    radio::Position,
    recording::{self, Record},
    serve::ServedOurs,
    swarm::{Bundles, Kit, NodeFlash, Post, bundles::SENTENCES},
};

/// What could not be published is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(300);
/// A node that moves is told of in the event log after so many metres.
const TOLD_EVERY_M: f64 = 10.0;
/// Those who are near compare what they hold this often.
const COMPARE_AGAIN: Duration = Duration::from_secs(300);
/// What an operator's device takes to restart when it is asked to.
const RESTART: Duration = Duration::from_secs(5);
/// Power that fails inside a flash operation is back after this time.
const POWER_BACK: Duration = Duration::from_secs(60);
/// Time that a field node computes on one report, s: an nRF52840 at 64 MHz with the base encoder, estimated.
const FIELD_COMPUTE_S: f64 = 0.05;

/// One of our own nodes.
pub(super) struct Ours {
    pub post: Post,
    pub hosted: bool,
    pub flash: NodeFlash,
    pub boots: u32,
}

/// Something to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Report {
        node: NodeId,
        sentence: u8,
    },
    Publish {
        node: NodeId,
        version: u16,
    },
    Complete {
        node: NodeId,
        boots: u32,
        ticket: Ticket,
    },
    /// Power fails in the node's next flash operation.
    CutPower {
        node: NodeId,
    },
    /// It restarts, unless it has meanwhile.
    Restart {
        node: NodeId,
        boots: u32,
    },
}

/// What became of jobs, reports and bundles.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SwarmReport {
    /// Nodes of ours.
    pub nodes: usize,
    /// Reports of people that were taken.
    pub jobs: u64,
    /// Answered by the node itself.
    pub answered_here: u64,
    /// Answered by others.
    pub answered_by_others: u64,
    /// Ended with a reason instead.
    pub failed: u64,
    /// Median time to an answer, s.
    pub latency_p50_s: Option<f64>,
    /// Reports that came to the command post, and that did not.
    pub reports_delivered: u64,
    /// Did not.
    pub reports_lost: u64,
    /// Bundles, in the order of their publication.
    pub updates: Vec<UpdateReport>,
    /// Bytes over Bluetooth, repetitions included.
    pub bluetooth_bytes: u64,
    /// Frames that arrived over Bluetooth.
    pub bluetooth_frames: u64,
    /// Times that two nodes met.
    pub meetings: u64,
}

/// How a bundle spread.
#[derive(Clone, Debug, Serialize)]
pub struct UpdateReport {
    /// Version.
    pub version: u16,
    /// When it was published, s.
    pub published_s: f64,
    /// Nodes that use it, each with the time in s.
    pub installed: Vec<(NodeId, f64)>,
}

/// What the batteries came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EnergyReport {
    /// Nodes with a battery.
    pub nodes: usize,
    /// Lowest charge at the end, 0 to 1.
    pub lowest_charge: f64,
    /// Times that a node ran empty.
    pub ran_empty: u32,
    /// Sums over all nodes.
    pub spent: Spent,
}

/// The stage.
pub(crate) struct Stage {
    pub tracks: BTreeMap<NodeId, Track>,
    pub batteries: BTreeMap<NodeId, Battery>,
    pub bluetooth: Option<Bluetooth>,
    pub kit: Option<Kit>,
    pub bundles: Option<Bundles>,
    pub(super) ours: BTreeMap<NodeId, Ours>,
    /// Objects that the hosts of nodes hold back: they say so again after a restart.
    pub(super) held: Vec<(NodeId, u32)>,
    pub start_hour: f64,
    /// Makes radios of our nodes that take a client.
    pub radios: Option<RadioMaker>,
    agenda: BTreeMap<(Instant, u64), Action>,
    serial: u64,
    tick: Option<Duration>,
    next_tick: Instant,
    /// Air time and computing of each battery's node that is booked already.
    booked: BTreeMap<NodeId, (u64, f64)>,
    computed_s: BTreeMap<NodeId, f64>,
    /// Places that the event log knows.
    told: BTreeMap<NodeId, Position>,
    rng: Rng,
    latencies_s: Vec<f64>,
    report: SwarmReport,
}

impl Stage {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            tracks: BTreeMap::new(),
            batteries: BTreeMap::new(),
            bluetooth: None,
            kit: None,
            bundles: None,
            ours: BTreeMap::new(),
            held: Vec::new(),
            start_hour: 8.0,
            radios: None,
            agenda: BTreeMap::new(),
            serial: 0,
            tick: None,
            next_tick: Instant::ZERO,
            booked: BTreeMap::new(),
            computed_s: BTreeMap::new(),
            told: BTreeMap::new(),
            rng,
            latencies_s: Vec::new(),
            report: SwarmReport::default(),
        }
    }

    pub(super) fn plan(&mut self, at: Instant, action: Action) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), action);
    }

    /// Once all is set up.
    pub(super) fn begin(&mut self) {
        self.tick = if self.bluetooth.is_some() {
            Some(Duration::from_secs(1))
        } else if !self.tracks.is_empty() {
            Some(Duration::from_secs(5))
        } else if !self.batteries.is_empty() {
            Some(Duration::from_secs(60))
        } else {
            None
        };
        self.report.nodes = self.ours.len();
    }

    /// Starts one of ours from its flash.
    pub(super) fn boot(&mut self, id: NodeId, now: Instant) -> Option<Body> {
        self.boot_beside(id, now, None)
    }

    /// The same with the stock radio that has run on, where the node has one.
    fn boot_beside(&mut self, id: NodeId, now: Instant, radio: Option<StockRadio>) -> Option<Body> {
        let (kit, ours) = (self.kit.as_ref()?, self.ours.get_mut(&id)?);
        ours.flash.power_on();
        let (post, boots) = (ours.post.clone(), ours.boots);
        ours.boots += 1;
        let node = if let Some(radios) = &self.radios {
            let host = kit.boot_host(&post, &ours.flash, now, boots, RadioHabits::default())?;
            let radio = radios(id, kit.router(&post), now);
            SwarmNode::Served(Box::new(ServedOurs::new(radio, host)))
        } else if ours.hosted {
            let habits = RadioHabits::default();
            let host = kit.boot_host(&post, &ours.flash, now, boots, habits)?;
            let radio = radio.unwrap_or_else(|| kit.radio(&post, habits, now));
            SwarmNode::Hosted(Box::new(HostedNode::new(radio, host)))
        } else {
            kit.boot(&post, &ours.flash, now, boots)?
        };
        Some(Body::Ours(Box::new(node)))
    }

    /// Runs until `until`, and calls `on_touched` with each node whose host was called.
    pub(crate) fn run_until(
        &mut self,
        world: &mut World<Body>,
        until: Instant,
        mut on_touched: impl FnMut(&mut World<Body>, NodeId),
    ) {
        loop {
            let due = self.agenda.keys().next().map(|(at, _)| *at);
            let tick = self.tick.map(|_| self.next_tick);
            let next = [due, tick].into_iter().flatten().min().unwrap_or(until).min(until);
            if let Some(touched) = world.step(next) {
                for id in touched {
                    self.drain(world, id);
                    on_touched(world, id);
                }
                continue;
            }
            if let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= world.now()) {
                let action = entry.remove();
                self.act(world, action);
            } else if let Some(tick) = self.tick.filter(|_| self.next_tick <= world.now()) {
                self.next_tick = world.now() + tick;
                self.look_around(world, tick);
            } else if world.now() >= until {
                return;
            }
        }
    }

    fn drain(&mut self, world: &mut World<Body>, id: NodeId) {
        let Some(ours) = self.ours.get(&id) else { return };
        let (boots, own) = (ours.boots, ours.post.num);
        let now = world.now();
        if ours.flash.control.is_dead() {
            world.with_host(id, |body, _| *body = Body::Off);
            world.set_on(id, false);
            self.plan(now + POWER_BACK, Action::Restart { node: id, boots });
            return;
        }
        let events = world.with_host(id, |body, _| {
            let Some(node) = body.ours() else { return Vec::new() };
            std::iter::from_fn(|| node.agent().poll_event()).collect()
        });
        for event in events {
            match event {
                AgentEvent::Execute(ticket) => {
                    let thinks = Duration::from_millis(500 + u64::from(self.rng.below(2500)));
                    *self.computed_s.entry(id).or_default() += thinks.as_micros() as f64 / 1e6;
                    self.plan(now + thinks, Action::Complete { node: id, boots, ticket });
                }
                AgentEvent::Answered { job, answer } => {
                    let answered =
                        Record::JobAnswered { job: number(boots, job), by: answer.by.0, class: answer.class };
                    world.log.note(now, id, &answered);
                    if answer.by == own {
                        self.report.answered_here += 1;
                    } else {
                        self.report.answered_by_others += 1;
                    }
                    self.latencies_s.push(answer.latency.as_micros() as f64 / 1e6);
                }
                AgentEvent::JobFailed { job, reason } => {
                    let reason = match reason {
                        JobFailure::NoExecutor => recording::JobFailure::NoExecutor,
                        JobFailure::NoAnswer => recording::JobFailure::NoAnswer,
                        JobFailure::Unsupported | JobFailure::Failed(_) => recording::JobFailure::Unsupported,
                    };
                    world.log.note(now, id, &Record::JobFailed { job: number(boots, job), reason });
                    self.report.failed += 1;
                }
                AgentEvent::ObjectWanted { tag } => {
                    world.log.note(now, id, &Record::ObjectProgress { object: tag, percent: 0 });
                }
                AgentEvent::ObjectComplete { tag } => {
                    world.log.note(now, id, &Record::ObjectProgress { object: tag, percent: 100 });
                }
                AgentEvent::ReportDelivered { .. } => self.report.reports_delivered += 1,
                AgentEvent::ReportLost { .. } => self.report.reports_lost += 1,
                AgentEvent::ModelActivated { version } => {
                    let at_s = now.as_micros() as f64 / 1e6;
                    let bundle = self.bundles.as_ref().map(|bundles| bundles.bundle(version));
                    let object = bundle.map_or(0, |bundle| bundle.tag);
                    let installed = Record::ObjectInstalled { object, version: u32::from(version) };
                    world.log.note(now, id, &installed);
                    if let Some(update) = self.report.updates.iter_mut().find(|one| one.version == version)
                        && !update.installed.iter().any(|(node, _)| *node == id)
                    {
                        update.installed.push((id, at_s));
                    }
                }
                AgentEvent::RestartForTrial { .. } | AgentEvent::RestartToRevert { .. } => {
                    self.plan(now + RESTART, Action::Restart { node: id, boots });
                }
                _ => {}
            }
        }
    }

    /// The boot loader has its turn, and then the node starts; if power fails meanwhile, once more later. A node that its loader
    /// does not start stays off.
    fn restart(&mut self, world: &mut World<Body>, id: NodeId) {
        let now = world.now();
        let radio = world.with_host(id, |body, _| match std::mem::replace(body, Body::Off) {
            Body::Ours(node) => match *node {
                SwarmNode::Hosted(node) => Some(node.into_radio()),
                SwarmNode::Native(_) | SwarmNode::Served(_) => None,
            },
            Body::Off | Body::Stock(_) | Body::Served(_) => None,
        });
        let body = self.boot_beside(id, now, radio);
        world.set_on(id, body.is_some());
        match body {
            Some(body) => {
                world.with_host(id, |place, _| *place = body);
                for (_, tag) in self.held.iter().filter(|(node, _)| *node == id) {
                    hold(world, id, *tag, true);
                }
            }
            None => {
                let boots = self.ours.get(&id).map_or(0, |ours| ours.boots);
                self.plan(now + POWER_BACK, Action::Restart { node: id, boots });
            }
        }
    }

    fn act(&mut self, world: &mut World<Body>, action: Action) {
        let now = world.now();
        match action {
            Action::Report { node, sentence } => {
                let text = SENTENCES[usize::from(sentence) / 3 % 2][usize::from(sentence) % 3];
                let taken = world.with_host(node, |body, now| {
                    let node = body.ours()?;
                    let taken = node.agent().submit(now, text).ok();
                    node.settle(now);
                    taken
                });
                if let Some(job) = taken {
                    let boots = self.ours.get(&node).map_or(0, |ours| ours.boots);
                    world.log.note(now, node, &Record::JobSubmitted { job: number(boots, job) });
                    self.report.jobs += 1;
                    *self.computed_s.entry(node).or_default() += FIELD_COMPUTE_S;
                }
                self.drain(world, node);
            }
            Action::Publish { node, version } => {
                if !self.report.updates.iter().any(|update| update.version == version) {
                    let published_s = now.as_micros() as f64 / 1e6;
                    self.report.updates.push(UpdateReport { version, published_s, installed: Vec::new() });
                }
                let Some(bundle) = self.bundles.as_ref().map(|bundles| bundles.bundle(version)) else {
                    return;
                };
                let done = world.with_host(node, |body, now| {
                    let Some(node) = body.ours() else { return false };
                    let published =
                        node.agent().publish(now, &bundle.delegation, &bundle.manifest, &bundle.content);
                    node.settle(now);
                    published.is_ok()
                });
                self.drain(world, node);
                if !done {
                    self.plan(now + TRY_AGAIN, action);
                }
            }
            Action::Complete { node, boots, ticket } => {
                if self.ours.get(&node).is_some_and(|ours| ours.boots == boots) {
                    world.with_host(node, |body, now| {
                        let Some(node) = body.ours() else { return };
                        answer(node, now, ticket);
                    });
                    self.drain(world, node);
                }
            }
            Action::CutPower { node } => {
                if let Some(ours) = self.ours.get(&node) {
                    ours.flash.control.cut_after(0, 128);
                }
            }
            Action::Restart { node, boots } => {
                if self.ours.get(&node).is_some_and(|ours| ours.boots == boots) {
                    self.restart(world, node);
                    self.drain(world, node);
                }
            }
        }
    }

    /// Everything that happens little by little.
    fn look_around(&mut self, world: &mut World<Body>, passed: Duration) {
        let now = world.now();
        for (id, track) in &self.tracks {
            let to = track.at(now);
            world.set_position(*id, to);
            let told = self.told.entry(*id).or_insert(to);
            if told.distance_m(&to) >= TOLD_EVERY_M {
                *told = to;
                world.log.note(now, *id, &Record::moved(to));
            }
        }
        let batteries: Vec<NodeId> = self.batteries.keys().copied().collect();
        for id in batteries {
            self.drain_battery(world, id, passed);
        }
        if let Some(mut bluetooth) = self.bluetooth.take() {
            self.talk_nearby(world, &mut bluetooth, passed);
            self.bluetooth = Some(bluetooth);
        }
    }

    fn drain_battery(&mut self, world: &mut World<Body>, id: NodeId, passed: Duration) {
        let now = world.now();
        let Some(battery) = self.batteries.get_mut(&id) else { return };
        let sums = world.ledger.node(id);
        let tx_us = sums.originated.airtime_us + sums.relayed.airtime_us;
        let computed_s = self.computed_s.get(&id).copied().unwrap_or(0.0);
        let (booked_us, booked_s) = self.booked.insert(id, (tx_us, computed_s)).unwrap_or_default();
        let activity = Activity {
            passed_s: passed.as_micros() as f64 / 1e6,
            tx_s: (tx_us - booked_us) as f64 / 1e6,
            compute_s: computed_s - booked_s,
            on: world.is_on(id),
        };
        let (level, ran) = (battery.level(), battery.runs());
        let hour = self.start_hour + now.as_micros() as f64 / 3.6e9;
        battery.pass(&activity, light(hour));
        let (after, runs) = (battery.level(), battery.runs());
        let percent = libm::round(battery.share() * 100.0) as u8;
        if after != level {
            world.with_host(id, |body, _| {
                if let Some(node) = body.ours() {
                    node.agent().set_battery(after);
                }
                if let Some(served) = body.served() {
                    served.set_battery(percent);
                }
            });
        }
        if ran && !runs {
            world.set_on(id, false);
            if self.ours.contains_key(&id) {
                world.with_host(id, |body, _| *body = Body::Off);
            }
        } else if runs && !ran {
            if let Some(body) = self.boot(id, now) {
                world.with_host(id, |place, _| *place = body);
            }
            world.with_host(id, |body, now| {
                if let Body::Served(served) = body {
                    served.restart(now);
                }
            });
            world.set_on(id, true);
        }
    }

    fn talk_nearby(&mut self, world: &mut World<Body>, bluetooth: &mut Bluetooth, passed: Duration) {
        let now = world.now();
        let ids: Vec<NodeId> = self.ours.keys().copied().collect();
        for (index, a) in ids.iter().enumerate() {
            for b in &ids[index + 1..] {
                let pair = (*a, *b);
                let near = world.position(*a).distance_m(&world.position(*b)) <= bluetooth.range_m()
                    && world.is_on(*a)
                    && world.is_on(*b);
                let met = bluetooth.look(pair, near, now, passed);
                // A long stay is looked at anew from time to time: what one holds may have changed.
                let again = near && now.as_micros() % COMPARE_AGAIN.as_micros() < passed.as_micros();
                for (from, to) in [(*a, *b), (*b, *a)] {
                    let other = self.ours[&to].post.num;
                    world.with_host(from, |body, now| {
                        let Some(node) = body.ours() else { return };
                        if met || again {
                            node.agent().handle_near(now, other);
                        } else if !near {
                            node.agent().handle_gone(other);
                        }
                    });
                }
                let mut silent = 0;
                let mut turn = 0;
                while silent < 2 && bluetooth.has_room(pair) {
                    let (from, to) = if turn % 2 == 0 { (*a, *b) } else { (*b, *a) };
                    turn += 1;
                    if self.pass_frame(world, from, to, |payload| bluetooth.send(pair, payload)) {
                        silent = 0;
                    } else {
                        silent += 1;
                    }
                }
            }
        }
    }

    /// One frame from one node to another that is near; false if there is none.
    fn pass_frame(
        &mut self,
        world: &mut World<Body>,
        from: NodeId,
        to: NodeId,
        sent: impl FnOnce(usize),
    ) -> bool {
        let (sender, receiver): (NodeNum, NodeNum) = (self.ours[&from].post.num, self.ours[&to].post.num);
        let frame = world.with_host(from, |body, now| body.ours()?.agent().poll_near(now, receiver));
        let Some(frame) = frame else { return false };
        sent(frame.payload.len());
        world.with_host(to, |body, now| {
            let Some(node) = body.ours() else { return };
            let incoming = InFrame {
                from: sender,
                to: frame.to,
                id: frame.id,
                hops_away: Some(0),
                airtime: Duration::ZERO,
                payload: &frame.payload,
            };
            node.agent().handle_frame(now, &incoming);
            node.settle(now);
        });
        self.drain(world, to);
        true
    }

    /// What our own nodes came to; nothing without any.
    pub(crate) fn swarm_report(&mut self) -> Option<SwarmReport> {
        if self.ours.is_empty() {
            return None;
        }
        let mut report = self.report.clone();
        self.latencies_s.sort_by(f64::total_cmp);
        report.latency_p50_s = self.latencies_s.get(self.latencies_s.len() / 2).copied();
        if let Some(bluetooth) = &self.bluetooth {
            report.bluetooth_bytes = bluetooth.bytes;
            report.bluetooth_frames = bluetooth.frames;
            report.meetings = bluetooth.meetings;
        }
        Some(report)
    }

    /// What the batteries came to; nothing without any.
    pub(super) fn energy_report(&self) -> Option<EnergyReport> {
        if self.batteries.is_empty() {
            return None;
        }
        let mut report =
            EnergyReport { nodes: self.batteries.len(), lowest_charge: 1.0, ..EnergyReport::default() };
        for battery in self.batteries.values() {
            report.lowest_charge = report.lowest_charge.min(battery.share());
            report.ran_empty += battery.ran_empty;
            report.spent.tx_mwh += battery.spent.tx_mwh;
            report.spent.listen_mwh += battery.spent.listen_mwh;
            report.spent.sleep_mwh += battery.spent.sleep_mwh;
            report.spent.compute_mwh += battery.spent.compute_mwh;
            report.spent.solar_mwh += battery.spent.solar_mwh;
        }
        Some(report)
    }
}

/// A node's host holds an object back, or lets it go on.
pub(super) fn hold(world: &mut World<Body>, id: NodeId, tag: u32, paused: bool) {
    world.with_host(id, |body, now| {
        if let Some(node) = body.ours() {
            node.agent().pause_object(now, tag, paused);
            node.settle(now);
        }
    });
}

/// A job's number in the event log: names of jobs begin anew with each start of a node.
fn number(boots: u32, job: JobId) -> u32 {
    boots.wrapping_sub(1) << 20 | job.0 & 0xF_FFFF
}

/// The foundation model of a simulated edge node: it knows the sentences that come up, and nothing else.
fn answer(node: &mut SwarmNode<'static, crate::swarm::Flash>, now: Instant, ticket: Ticket) {
    let mut buffer = [0; REPORT_MAX];
    let text = node.agent().ticket_text(ticket, &mut buffer);
    let class = text.and_then(|text| SENTENCES.iter().position(|sentences| sentences.contains(&text)));
    match class {
        Some(class) => {
            let outcome = Outcome { class: class as u8, confidence: 14, model_version: 1, unsure: false };
            node.agent().complete(now, ticket, outcome);
        }
        None => node.agent().refuse(ticket),
    }
    node.settle(now);
}
