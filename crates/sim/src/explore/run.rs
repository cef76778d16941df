//! Runs a plan: faults come when they are due, and the books are kept.

mod release;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use compotastic_mesh::{
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role},
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;
use compotastic_node::{
    AgentEvent, HostedStation,
    promises::{Outcome, Ticket},
};

use super::{
    body::{Actor, Body},
    checkers::{Books, End, Violation},
    firmware::Firmware,
    hostile::{Liar, Repeater},
    mutant::Mutant,
    plan::{Event, Kind, Plan},
};
use crate::{
    World, WorldConfig,
    hosted::{HostedNode, RadioHabits},
    ledger::Ledger,
    messenger::Messenger,
    radio::{Position, Radio},
    reception::Reception,
    swarm::{Bundle, Bundles, Flash, FlashControl, Kit, Node, NodeFlash, Post, bundles::SENTENCES, native},
};

/// Events per node and simulated hour; more is a hang. A busy node has some thousands.
const EVENTS_PER_NODE_HOUR: u64 = 60_000;
/// What could not be done now, such as publishing with a full flash, is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(300);
/// A node hears another well if it receives this many of its frames, millionths.
const HEARS_PPM: u32 = 900_000;
/// A version that the operator signed long ago.
const OLD: u16 = 1;
/// A walk has so many steps each way.
const STEPS: u32 = 10;
/// A clock that has jumped makes a node believe that its air time is older than it is: for an hour its gates are its own affair.
const EXCUSED: Duration = Duration::from_secs(3600);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// What was wrong; empty if nothing was.
    pub violations: Vec<Violation>,
    /// Jobs that were answered, that ended with a reason, and whose node stopped.
    pub jobs: (u64, u64, u64),
    /// Models that were installed.
    pub installed: u64,
    /// Firmware that was confirmed.
    pub firmware: u64,
    /// Stops of nodes that had not installed the newest model or firmware that was published, and those of them that power loss inside a
    /// flash operation caused.
    pub interrupted: (u64, u64),
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Simulated node-seconds.
    pub node_seconds: u64,
    /// SHA-256 of the event log.
    pub event_log_sha256: String,
    /// What happened, line by line, if it was asked for.
    pub trace: Vec<String>,
}

/// Something to be done at a time.
#[derive(Debug)]
enum Action {
    Submit(usize),
    Publish(usize),
    Fault(usize),
    Complete {
        node: usize,
        boots: u32,
        ticket: Ticket,
    },
    Start(usize),
    /// The operator has new firmware published.
    Release(usize),
    /// A node restarts as it asked to, unless it has started anew since.
    Restart {
        node: usize,
        boots: u32,
    },
    FlashNotFull(usize),
    Reunite,
    NoDamage(usize, super::plan::Damage),
    Step {
        node: usize,
        to: Position,
    },
    EndOfFaults,
    Look,
}

/// What a run may have besides.
#[derive(Default)]
pub(super) struct Settings<'s> {
    pub(super) mutant: Option<Mutant>,
    /// Keep what happens, line by line.
    pub(super) trace: bool,
    /// Somebody looks on, each time that so much has passed.
    pub(super) look: Option<(Duration, &'s mut dyn FnMut(Instant))>,
}

/// What a start gives: a whole node, or the host of one whose radio has run on.
enum Booted {
    Node(Node),
    Host(Box<HostedStation<'static, Flash>>),
}

struct Runner<'p> {
    plan: &'p Plan,
    kit: Kit,
    bundles: Bundles,
    mutant: Option<Mutant>,
    world: World<Body>,
    posts: Vec<Post>,
    flash: Vec<NodeFlash>,
    first_flash: HashMap<usize, (Vec<u8>, Vec<u8>)>,
    boots: Vec<u32>,
    /// Nodes that a mutant keeps from starting.
    bricked: Vec<usize>,
    reach_m: f64,
    actions: BTreeMap<(Instant, u64), Action>,
    serial: u64,
    rng: Rng,
    books: Books,
    firmware: Option<Firmware>,
    /// The last release that was published, and for whom each is.
    released: Option<usize>,
    members: Vec<usize>,
    events: u64,
    installed: u64,
    interrupted: (u64, u64),
    faults: BTreeMap<&'static str, u64>,
    trace: Option<Vec<String>>,
    look: Option<(Duration, &'p mut dyn FnMut(Instant))>,
}

fn at_s(seconds: u32) -> Instant {
    Instant::ZERO + Duration::from_secs(u64::from(seconds))
}

fn number(kind: Kind, id: usize) -> NodeNum {
    let head = match kind {
        Kind::Edge => 0x0e00_0000,
        Kind::Field => 0x0f00_0000,
        Kind::Hosted => 0x0a00_0000,
        Kind::Stock => 0x0b00_0000,
        _ => 0x0d00_0000,
    };
    NodeNum(head + 1 + 7 * id as u32)
}

/// The class that is right for a sentence.
fn class_of(text: &str) -> Option<u8> {
    SENTENCES.iter().position(|sentences| sentences.contains(&text)).map(|class| class as u8)
}

fn sentence(index: u8) -> &'static str {
    SENTENCES[usize::from(index) / 3 % 2][usize::from(index) % 3]
}

/// Runs a plan. `base` is the base encoder of the nodes.
pub(super) fn run<'p>(
    plan: &'p Plan,
    base: BaseEncoder<'static>,
    settings: Settings<'p>,
) -> Result<Outcomes, String> {
    plan.check()?;
    let mut runner = Runner::new(plan, base, settings.mutant)?;
    runner.trace = settings.trace.then(Vec::new);
    runner.look = settings.look;
    runner.next_look();
    runner.run();
    runner.finish()
}

impl<'p> Runner<'p> {
    fn new(plan: &'p Plan, base: BaseEncoder<'static>, mutant: Option<Mutant>) -> Result<Self, String> {
        let preset: Preset = plan.preset.parse().map_err(|_| format!("preset {} is none", plan.preset))?;
        let region: Region = plan.region.parse().map_err(|_| format!("region {} is none", plan.region))?;
        if !region.allows(preset) {
            return Err(format!("preset {} is not allowed in region {}", plan.preset, plan.region));
        }
        let rng = Rng::from_seed(plan.seed).child(0x7275_6e00);
        let posts: Vec<Post> = (0..)
            .zip(&plan.nodes)
            .map(|(id, node)| Post {
                num: number(node.kind, id),
                role: Role::Client,
                relaying: Relaying::default(),
                edge: node.kind == Kind::Edge,
                base: true,
            })
            .collect();
        let mut kit = Kit::new(preset, region, Some(base), plan.seed);
        kit.command_post = Some(posts[0].num);
        if mutant == Some(Mutant::TrustsAnybody) {
            kit.trust_stranger();
        }
        let bundles = kit.bundles().ok_or("a base encoder is needed")?;
        let radio = Radio::new(preset.modem(region.wide()), region);
        let reach_m = Reception::new(&radio.modem, radio.fading_db).reach_m(&radio);
        let numbers: Vec<NodeNum> = posts.iter().map(|post| post.num).collect();
        // Nobody looks at air time over time here, so one bin is enough.
        let whole = Duration::from_secs(u64::from(plan.end_s) + 1);
        let ledger = Ledger::new(kit.channels(), numbers, whole);
        let config = WorldConfig { preset, region, loss_ppm: plan.loss_ppm, seed: plan.seed };
        // Shadows would make links that are no part of the plan.
        let radio = Radio { shadowing_db: 1.0, ..radio };
        let mut runner = Self {
            plan,
            kit,
            bundles,
            mutant,
            world: World::new(config, radio, ledger),
            flash: Vec::new(),
            first_flash: HashMap::new(),
            boots: vec![0; posts.len()],
            bricked: Vec::new(),
            posts,
            reach_m,
            actions: BTreeMap::new(),
            serial: 0,
            rng,
            books: Books::default(),
            firmware: plan.firmware.last().map(|last| Firmware::new(u32::from(last.version))),
            released: None,
            members: Vec::new(),
            events: 0,
            installed: 0,
            interrupted: (0, 0),
            faults: BTreeMap::new(),
            trace: None,
            look: None,
        };
        runner.books.post = runner.kit.command_post;
        for id in 0..plan.nodes.len() {
            let flash = runner.blank_flash(id).ok_or("the factory's image does not fit")?;
            runner.flash.push(flash);
            runner.add(id)?;
        }
        runner.members = runner.joined(&runner.honest());
        runner.schedule();
        Ok(runner)
    }

    fn honest(&self) -> Vec<usize> {
        (0..self.plan.nodes.len()).filter(|id| self.plan.nodes[*id].kind.is_honest()).collect()
    }

    fn add(&mut self, id: usize) -> Result<(), String> {
        let (node, post) = (&self.plan.nodes[id], self.posts[id].clone());
        let mut rng = self.rng.child(id as u64);
        let seed = rng.next_u64();
        let control: Arc<FlashControl> = self.flash[id].control.clone();
        let mut router = self.kit.router(&post);
        let actor = match node.kind {
            Kind::Hosted => {
                // Most stock radios have a private key, and some had it taken away.
                let habits = RadioHabits { private_key: rng.child(2).below(3) > 0, ..RadioHabits::default() };
                let host = self.kit.boot_host(&post, &self.flash[id], Instant::ZERO, 0, habits);
                let radio = self.kit.radio(&post, habits, Instant::ZERO);
                let node = HostedNode::new(radio, host.ok_or("blank flash does not boot")?);
                Actor::Ours(Node::Hosted(Box::new(node)))
            }
            Kind::Edge | Kind::Field => {
                if node.kind == Kind::Edge {
                    self.books.executes(post.num);
                }
                let node = self.kit.boot(&post, &self.flash[id], Instant::ZERO, 0);
                Actor::Ours(node.ok_or("blank flash does not boot")?)
            }
            Kind::Stock => {
                router.channels.truncate(1);
                Actor::Stock(Box::new(Messenger::new(router, Vec::new(), seed)))
            }
            Kind::Liar => {
                self.books.lies(post.num);
                self.books.sign(OLD, &self.bundles.part(OLD));
                let others = self.posts.iter().map(|post| post.num).collect();
                let newest = self.plan.publications.iter().map(|one| one.version).max().unwrap_or(1);
                Actor::Liar(Box::new(Liar::new(router, self.kit.keys(), self.forged(newest), others, seed)))
            }
            Kind::Jammer => Actor::Repeater(Box::new(Repeater::jammer(seed))),
            Kind::Replayer => Actor::Repeater(Box::new(Repeater::replayer(seed))),
        };
        let modem = self.kit.preset.modem(self.kit.region.wide());
        let body = Body::new(actor, control, modem, rng.child(1), self.mutant);
        let position = Position { x_m: node.x * self.reach_m, y_m: node.y * self.reach_m };
        self.world.add(body, position);
        Ok(())
    }

    /// What nobody may install: of a stranger, for others, altered; and an old one, for who has none.
    fn forged(&self, newest: u16) -> Vec<Bundle> {
        let later = newest.saturating_add(50);
        vec![
            self.bundles.by_a_stranger(later),
            self.bundles.for_another_class(later + 1),
            self.bundles.altered(later + 2),
            self.bundles.bundle(OLD),
        ]
    }

    fn later(&mut self, at: Instant, action: Action) {
        self.serial += 1;
        self.actions.insert((at.max(self.world.now()), self.serial), action);
    }

    fn schedule(&mut self) {
        for (index, job) in self.plan.jobs.iter().enumerate() {
            self.later(at_s(job.at_s), Action::Submit(index));
        }
        for (index, publication) in self.plan.publications.iter().enumerate() {
            self.later(at_s(publication.at_s), Action::Publish(index));
        }
        for (index, release) in self.plan.firmware.iter().enumerate() {
            self.later(at_s(release.at_s), Action::Release(index));
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            self.later(Instant::ZERO + Duration::from_millis(fault.at_ms), Action::Fault(index));
        }
        self.later(at_s(self.plan.faults_end_s), Action::EndOfFaults);
    }

    fn next_look(&mut self) {
        if let Some(every) = self.look.as_ref().map(|(every, _)| *every) {
            self.later(self.world.now() + every, Action::Look);
        }
    }

    fn run(&mut self) {
        let end = at_s(self.plan.end_s);
        let most =
            EVENTS_PER_NODE_HOUR * self.plan.nodes.len() as u64 * u64::from(self.plan.end_s).div_ceil(3600);
        loop {
            let next = self.actions.keys().next().map(|(at, _)| *at);
            let until = next.unwrap_or(end).min(end);
            if let Some(touched) = self.world.step(until) {
                self.events += 1;
                for id in touched {
                    self.drain(id);
                }
                if self.events > most {
                    let now = self.world.now();
                    self.books.violate("hang", now, format!("more than {most} events"));
                    return;
                }
                // What a node did may have set something in motion that is due before `until`.
                continue;
            }
            let due =
                self.actions.first_entry().filter(|entry| entry.key().0 <= end).map(|entry| entry.remove());
            match due {
                Some(action) => self.act(action),
                None => return,
            }
        }
    }

    /// Whatever a node has to tell; then, perhaps, it crashes.
    fn drain(&mut self, id: usize) {
        if !self.plan.nodes[id].kind.is_honest() {
            return;
        }
        if self.world.host(id).must_crash() {
            let down_s = 5 + self.rng.below(60);
            self.crash(id, down_s);
            return;
        }
        let now = self.world.now();
        let boots = self.boots[id];
        let seen = self.world.with_host(id, |body, _| {
            let Actor::Ours(node) = &mut body.actor else { return None };
            let events: Vec<AgentEvent> = std::iter::from_fn(|| node.agent().poll_event()).collect();
            let agent = node.agent_ref();
            Some((events, agent.model_version().map(|version| (version, agent.model_part().to_vec()))))
        });
        let Some((events, model)) = seen else { return };
        if events.iter().any(|event| matches!(event, AgentEvent::ModelActivated { .. })) {
            self.installed += 1;
        }
        if model.is_some() {
            self.books.executes(self.posts[id].num);
        }
        self.books.look_at_model(now, id, model.as_ref().map(|(version, part)| (*version, part.as_slice())));
        for event in events {
            self.handle_event(now, id, boots, event);
        }
    }

    fn tell(&mut self, id: usize, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let seconds = self.world.now().as_micros() as f64 / 1e6;
            trace.push(format!("{seconds:12.3} s  node {id}: {}", what()));
        }
    }

    fn handle_event(&mut self, now: Instant, id: usize, boots: u32, event: AgentEvent) {
        self.tell(id, || format!("{event:?}"));
        match event {
            AgentEvent::Execute(ticket) => {
                let thinks = Duration::from_millis(200 + u64::from(self.rng.below(8000)));
                self.later(now + thinks, Action::Complete { node: id, boots, ticket });
            }
            AgentEvent::Answered { job, answer } => {
                let mut end = End::Answered { by: answer.by, class: answer.class };
                match self.mutant {
                    Some(Mutant::SwallowsAnswers) => return,
                    Some(Mutant::AnswersTwice) => self.books.end(now, (id, boots, job.0), end),
                    Some(Mutant::MisattributesAnswers) => {
                        end = End::Answered { by: NodeNum(answer.by.0 ^ 1), class: answer.class };
                    }
                    _ => {}
                }
                self.books.end(now, (id, boots, job.0), end);
            }
            AgentEvent::ReportDelivered { job } | AgentEvent::ReportLost { job }
                if self.mutant != Some(Mutant::DropsReports) =>
            {
                self.books.end_report(now, (id, boots, job.0));
            }
            AgentEvent::JobFailed { job, .. } => self.books.end(now, (id, boots, job.0), End::Failed),
            AgentEvent::RestartForTrial { .. } | AgentEvent::RestartToRevert { .. }
                if self.mutant != Some(Mutant::NeverRestarts) =>
            {
                let wait = Duration::from_secs(2 + u64::from(self.rng.below(30)));
                self.later(now + wait, Action::Restart { node: id, boots });
            }
            AgentEvent::FirmwareConfirmed { version } => {
                self.judge_firmware(id, |firmware, flash| firmware.confirms(id, version, flash));
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.world.now();
        match action {
            Action::Submit(index) => {
                let job = &self.plan.jobs[index];
                let (id, text) = (job.node, sentence(job.sentence));
                let named = self.world.with_host(id, |body, now| {
                    body.with_agent(now, |agent, local| agent.submit(local, text).ok()).flatten()
                });
                if let (Some(job), Some(class)) = (named, class_of(text)) {
                    self.books.submit(now, (id, self.boots[id], job.0), class);
                }
                self.drain(id);
            }
            Action::Publish(index) => self.publish(index),
            Action::Fault(index) => self.fault(index),
            Action::Complete { node, boots, ticket } => {
                if self.boots[node] == boots {
                    self.world.with_host(node, |body, now| {
                        body.with_agent(now, |agent, local| {
                            let mut text = [0; compotastic_node::agent::REPORT_MAX];
                            match agent.ticket_text(ticket, &mut text).and_then(class_of) {
                                Some(class) => {
                                    let outcome =
                                        Outcome { class, confidence: 14, model_version: 1, unsure: false };
                                    agent.complete(local, ticket, outcome);
                                }
                                // A liar's text, or one that has lapsed.
                                None => agent.refuse(ticket),
                            }
                        })
                    });
                    self.drain(node);
                }
            }
            Action::Start(id) => self.start(id),
            Action::Release(index) => self.release(index),
            Action::Restart { node, boots } => {
                if boots == self.boots[node] && !self.world.host(node).is_down() {
                    self.tell(node, || "restarts".to_string());
                    self.stop(node, Duration::from_secs(2));
                }
            }
            Action::FlashNotFull(id) => self.flash[id].control.set_full(false),
            Action::Reunite => {
                for id in 0..self.plan.nodes.len() {
                    self.world.set_group(id, 0);
                }
            }
            Action::NoDamage(id, kind) => self.world.with_host(id, |body, _| body.set_damage(kind, 0)),
            Action::Step { node, to } => self.world.set_position(node, to),
            Action::EndOfFaults => self.end_faults(),
            Action::Look => {
                if let Some((_, look)) = &mut self.look {
                    look(now);
                }
                self.next_look();
            }
        }
    }

    fn publish(&mut self, index: usize) {
        let version = self.plan.publications[index].version;
        let bundle = self.bundles.bundle(version);
        // What the operator's edge node has signed is on its way from now on, even if power fails meanwhile.
        self.books.publish(version, &bundle.content);
        let done = self.world.with_host(0, |body, now| {
            let done = body.with_agent(now, |agent, local| {
                agent.model_version().is_some_and(|has| has > version)
                    || agent.publish(local, &bundle.delegation, &bundle.manifest, &bundle.content).is_ok()
            });
            done == Some(true)
        });
        self.tell(0, || format!("publishes version {version}{}", if done { "" } else { ": not now" }));
        self.drain(0);
        if !done {
            self.later(self.world.now() + TRY_AGAIN, Action::Publish(index));
        }
    }

    fn fault(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        let (id, now) = (fault.node, self.world.now());
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        *self.faults.entry(fault.event.name()).or_default() += 1;
        self.tell(id, || format!("{:?}", fault.event));
        match fault.event {
            Event::Crash { calls, down_s: _ } => {
                self.world.with_host(id, |body, _| body.crash_in = Some(calls.max(1)));
            }
            Event::PowerLoss { operations, share, down_s: _ } => {
                self.flash[id].control.cut_after(u64::from(operations), share);
            }
            Event::ClockJump { by_s } => {
                self.world.with_host(id, |body, _| body.jump(seconds(by_s)));
                self.world.ledger.excuse(id, now + EXCUSED);
            }
            Event::FlashFull { for_s } => {
                self.flash[id].control.set_full(true);
                self.later(now + seconds(for_s), Action::FlashNotFull(id));
            }
            Event::Partition { for_s } => {
                for other in 0..self.plan.nodes.len() {
                    self.world.set_group(other, u8::from(other > id));
                }
                self.later(now + seconds(for_s), Action::Reunite);
            }
            Event::Damage { kind, permille, for_s } => {
                self.world.with_host(id, |body, _| body.set_damage(kind, permille));
                self.later(now + seconds(for_s), Action::NoDamage(id, kind));
            }
            Event::Walk { reaches, for_s } => {
                let home = self.home(id);
                let away_m = reaches * self.reach_m;
                for step in 1..2 * STEPS {
                    let share = f64::from(step.min(2 * STEPS - step)) / f64::from(STEPS);
                    let to = Position { x_m: home.x_m + away_m * share, y_m: home.y_m };
                    let at = now
                        + Duration::from_millis(
                            u64::from(for_s) * 1000 * u64::from(step) / u64::from(2 * STEPS),
                        );
                    self.later(at, Action::Step { node: id, to });
                }
                self.later(now + seconds(for_s), Action::Step { node: id, to: home });
            }
        }
    }

    fn home(&self, id: usize) -> Position {
        let node = &self.plan.nodes[id];
        Position { x_m: node.x * self.reach_m, y_m: node.y * self.reach_m }
    }

    /// How long the last fault of this kind keeps a node down.
    fn down_s(&self, id: usize, otherwise: u32) -> u32 {
        let now_ms = self.world.now().as_micros() / 1000;
        let past = self.plan.faults.iter().filter(|fault| fault.node == id && fault.at_ms <= now_ms);
        past.filter_map(|fault| match fault.event {
            Event::Crash { down_s, .. } | Event::PowerLoss { down_s, .. } => Some(down_s),
            _ => None,
        })
        .next_back()
        .unwrap_or(otherwise)
    }

    fn crash(&mut self, id: usize, otherwise_s: u32) {
        let down = Duration::from_secs(u64::from(self.down_s(id, otherwise_s)));
        let was_cut = self.flash[id].control.is_dead();
        let firmware_behind = self.firmware.as_ref().is_some_and(|firmware| firmware.is_behind(id));
        if self.books.is_behind(id) || firmware_behind {
            self.interrupted.0 += 1;
            self.interrupted.1 += u64::from(was_cut);
        }
        self.tell(id, || if was_cut { "power is gone" } else { "crashes" }.to_string());
        self.stop(id, down);
        if was_cut && self.mutant == Some(Mutant::ForgetsImage) {
            let slots = &self.flash[id].slots;
            slots.damage_at(0, &vec![0xFF; slots.to_vec().len()]);
        }
        if was_cut && self.mutant == Some(Mutant::DoesNotBoot) {
            self.bricked.push(id);
        }
    }

    /// It is off for so long.
    fn stop(&mut self, id: usize, down: Duration) {
        self.world.with_host(id, |body, _| body.forget());
        // A stock radio stays up without its host.
        let radio_stays = self.plan.nodes[id].kind == Kind::Hosted;
        self.world.set_on(id, radio_stays);
        self.books.stop(id);
        self.later(self.world.now() + down, Action::Start(id));
    }

    fn start(&mut self, id: usize) {
        let now = self.world.now();
        if !self.world.host(id).is_down() {
            return;
        }
        self.flash[id].power_on();
        if self.mutant == Some(Mutant::RollsBack)
            && let Some((slots, state)) = self.first_flash.get(&id)
        {
            self.flash[id].slots.damage_at(0, slots);
            self.flash[id].state.damage_at(0, state);
        }
        if self.mutant == Some(Mutant::ForgetsFirmware)
            && let (Some(flash), Some(new)) = (&self.flash[id].native, self.blank_flash(id))
        {
            flash.damage_at(0, &new.native.map(|new| new.to_vec()).unwrap_or_default());
        }
        self.boots[id] += 1;
        let local = self.world.host(id).local(now);
        let (post, flash, boots) = (&self.posts[id], &self.flash[id], self.boots[id]);
        let booted = match self.world.host(id).waiting_radio() {
            Some(habits) => {
                self.kit.boot_host(post, flash, local, boots, habits).map(Box::new).map(Booted::Host)
            }
            None => self.kit.boot(post, flash, local, boots).map(Booted::Node),
        };
        let Some(booted) = booted.filter(|_| !self.bricked.contains(&id)) else {
            let full = self.flash[id].control.is_full();
            if self.flash[id].control.is_dead() || full {
                // Power failed again while it started, or it may not write: it starts once more.
                self.later(now + Duration::from_secs(30), Action::Start(id));
            } else {
                self.books.does_not_boot(now, id);
            }
            return;
        };
        if self.mutant == Some(Mutant::RollsBack) {
            let image = (self.flash[id].slots.to_vec(), self.flash[id].state.to_vec());
            self.first_flash.entry(id).or_insert(image);
        }
        self.world.with_host(id, |body, _| match booted {
            Booted::Node(node) => body.actor = Actor::Ours(node),
            Booted::Host(host) => body.connect(*host),
        });
        if self.mutant == Some(Mutant::StartsAnything)
            && let Some((flash, geometry)) = self.flash[id].native.as_ref().zip(native::geometry())
        {
            flash.damage_at(geometry.images.slots[0].start as usize + 500, &[0; 16]);
        }
        let remembers = self.world.host(id).agent_ref().and_then(|agent| agent.firmware());
        let remembers = remembers.map_or(0, |firmware| firmware.confirmed.sequence);
        self.judge_firmware(id, |firmware, flash| firmware.started(id, remembers, flash));
        let model = self.world.host(id).agent_ref().and_then(|agent| agent.model_version());
        self.tell(id, || format!("starts, model {model:?}"));
        self.world.set_on(id, true);
        self.drain(id);
        // The host of an edge node publishes again what it had published.
        if id == 0 {
            if let Some(index) = self.released {
                self.later(now + Duration::from_secs(20), Action::Release(index));
            }
            for index in 0..self.plan.publications.len() {
                if at_s(self.plan.publications[index].at_s) <= now {
                    self.later(now + Duration::from_secs(20), Action::Publish(index));
                }
            }
        }
    }

    fn end_faults(&mut self) {
        self.world.set_loss(0);
        for id in 0..self.plan.nodes.len() {
            self.world.set_group(id, 0);
            if self.plan.nodes[id].kind.is_hostile() {
                *self
                    .faults
                    .entry(match self.plan.nodes[id].kind {
                        Kind::Liar => "liar",
                        Kind::Jammer => "jammer",
                        _ => "replayer",
                    })
                    .or_default() += 1;
                self.world.set_on(id, false);
                continue;
            }
            self.flash[id].control.set_full(false);
            self.flash[id].control.no_cut();
            self.world.set_position(id, self.home(id));
            self.world.with_host(id, |body, _| {
                body.crash_in = None;
                for kind in [
                    super::plan::Damage::Corrupt,
                    super::plan::Damage::Duplicate,
                    super::plan::Damage::Reorder,
                ] {
                    body.set_damage(kind, 0);
                }
            });
        }
    }

    fn finish(mut self) -> Result<Outcomes, String> {
        let now = self.world.now();
        let honest = self.honest();
        if !self.books.violations.iter().any(|violation| violation.checker == "hang") {
            self.books.check_jobs(now);
            self.books.check_reports(now);
            let joined = self.joined(&honest);
            self.books.check_objects(now, &joined);
            for id in &joined {
                self.judge_firmware(*id, |firmware, flash| firmware.check(*id, flash));
            }
            self.check_registries(&joined);
            if honest.iter().any(|id| self.world.host(*id).is_down()) {
                self.books.violate("boot", now, "a node is down although faults have ended".to_string());
            }
        }
        let duty = self.kit.region.duty_cycle_permille();
        for id in 0..self.plan.nodes.len() {
            if !self.plan.nodes[id].kind.is_hostile() {
                let hosted = self.plan.nodes[id].kind == Kind::Hosted;
                self.books.check_air(now, id, hosted, &self.world.ledger, duty);
            }
        }
        let event_log_sha256 = self.world.log.finish().map_err(|error| error.to_string())?;
        Ok(Outcomes {
            jobs: self.books.job_counts(),
            violations: self.books.violations,
            installed: self.installed,
            firmware: self.firmware.map_or(0, |firmware| firmware.updates),
            interrupted: self.interrupted,
            faults: self.faults,
            node_seconds: self.plan.nodes.len() as u64 * u64::from(self.plan.end_s),
            event_log_sha256,
            trace: self.trace.unwrap_or_default(),
        })
    }

    /// Liveness: each of ours knows each edge node, and each field node that it hears well, as it is now.
    fn check_registries(&mut self, honest: &[usize]) {
        let now = self.world.now();
        let truth: Vec<_> =
            honest.iter().filter_map(|id| Some((*id, self.world.host(*id).agent_ref()?))).collect();
        let mut wrong = Vec::new();
        for (id, agent) in &truth {
            for (other, other_agent) in &truth {
                let hears = || self.world.reception_ppm(*other, *id) >= HEARS_PPM;
                if other == id || self.plan.nodes[*other].kind != Kind::Edge && !hears() {
                    continue;
                }
                let (num, version) = (self.posts[*other].num, other_agent.model_version());
                match agent.registry().get(num) {
                    None => wrong.push(format!("node {id} does not know node {other}")),
                    Some(entry) if entry.beacon.model_version != version.unwrap_or(0) => wrong.push(format!(
                        "node {id} believes that node {other} has model {}, it has {version:?}",
                        entry.beacon.model_version
                    )),
                    Some(_) => {}
                }
            }
        }
        for what in wrong {
            self.books.violate("registry", now, what);
        }
    }

    /// Those of ours that the first edge node reaches over nodes of ours that hear each other well.
    fn joined(&self, honest: &[usize]) -> Vec<usize> {
        let hear = |a: usize, b: usize| {
            self.world.reception_ppm(a, b).min(self.world.reception_ppm(b, a)) >= HEARS_PPM
        };
        let mut joined = vec![0];
        let mut looked_at = 0;
        while let Some(from) = joined.get(looked_at).copied() {
            looked_at += 1;
            let more: Vec<usize> =
                honest.iter().copied().filter(|to| !joined.contains(to) && hear(from, *to)).collect();
            joined.extend(more);
        }
        joined
    }
}
