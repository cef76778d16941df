//! Loss, duplication and reordering of every message between agents: each job ends once, each object arrives whole, nothing is
//! delivered twice. The agents talk through a channel of the test's own, so that no router repairs anything.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Node, at, number, station_with, student};
use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent,
    agent::{InFrame, LinkState, OutFrame},
    promises::Outcome,
};

const NODES: usize = 4;
const EDGE: usize = 0;

/// Per mille of what happens to a frame on its way to one receiver.
#[derive(Clone, Copy, Debug)]
struct Faults {
    lost: u32,
    duplicated: u32,
    /// Delayed by up to two minutes, behind frames that were sent later.
    delayed: u32,
}

struct Channel {
    agents: Vec<Node>,
    draws: Rng,
    faults: Faults,
    now: Instant,
    /// Arrival time, serial number, receiver, sender, frame.
    flying: BTreeMap<(Instant, u32), (usize, usize, OutFrame)>,
    serial: u32,
    classes_seen: BTreeSet<u8>,
}

const AIRTIME: Duration = Duration::from_millis(600);

impl Channel {
    fn new(seed: u64, faults: Faults) -> Self {
        let agents =
            (0..NODES).map(|index| station_with(index, seed, index == EDGE, Some(student::base()))).collect();
        Self {
            agents,
            draws: Rng::from_seed(seed),
            faults,
            now: Instant::ZERO,
            flying: BTreeMap::new(),
            serial: 0,
            classes_seen: BTreeSet::new(),
        }
    }

    fn per_mille(&mut self, chance: u32) -> bool {
        self.draws.below(1000) < chance
    }

    fn transmit(&mut self, from: usize) {
        let link = LinkState {
            utilization_permille: 50,
            queued: 0,
            bulk_queued: false,
            flood_time: Duration::from_secs(3),
            bulk_airtime: Duration::from_millis(1600),
        };
        while let Some(out) = self.agents[from].agent().poll_transmit(self.now, &link) {
            self.classes_seen.insert(out.payload[0] & 31);
            for to in (0..NODES).filter(|to| *to != from) {
                if self.per_mille(self.faults.lost) {
                    continue;
                }
                let copies = if self.per_mille(self.faults.duplicated) { 2 } else { 1 };
                for _ in 0..copies {
                    let mut at = self.now + AIRTIME;
                    if self.per_mille(self.faults.delayed) {
                        at = at + Duration::from_millis(u64::from(self.draws.below(120_000)));
                    }
                    self.serial += 1;
                    self.flying.insert((at, self.serial), (to, from, out.clone()));
                }
            }
        }
        // This channel has no last hop that could repeat a reply.
        while self.agents[from].agent().poll_reminder().is_some() {}
    }

    /// One step: the next arrival or timeout until `until`; false when there is none.
    fn step(&mut self, until: Instant) -> bool {
        for index in 0..NODES {
            self.transmit(index);
        }
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let timeout = self.agents.iter().filter_map(|agent| agent.agent_ref().poll_timeout()).min();
        // What is due and held is looked at again a little later.
        let timeout = timeout.map(|at| at.max(self.now + Duration::from_millis(250)));
        let Some(next) = [arrival, timeout].into_iter().flatten().min().filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, from, out) = entry.remove();
            let incoming = InFrame {
                from: number(from),
                to: out.to,
                id: out.id,
                hops_away: Some(0),
                airtime: AIRTIME,
                payload: &out.payload,
            };
            self.agents[to].agent().handle_frame(self.now, &incoming);
        }
        for agent in &mut self.agents {
            agent.agent().handle_timeout(self.now);
        }
        true
    }

    fn run(&mut self, until: Instant, mut on_event: impl FnMut(usize, &AgentEvent)) {
        loop {
            let more = self.step(until);
            for index in 0..NODES {
                while let Some(event) = self.agents[index].agent().poll_event() {
                    if let AgentEvent::Execute(ticket) = event {
                        let outcome = Outcome { class: 4, confidence: 14, model_version: 1, unsure: false };
                        self.agents[index].agent().complete(self.now, ticket, outcome);
                    }
                    on_event(index, &event);
                }
            }
            if !more {
                return;
            }
        }
    }
}

fn all_faults() -> impl Iterator<Item = (u64, Faults)> {
    (0..24).map(|seed| {
        let mut draws = Rng::from_seed(seed).child(9);
        let faults =
            Faults { lost: draws.below(350), duplicated: draws.below(500), delayed: draws.below(500) };
        (seed, faults)
    })
}

const REPEAT: &str = "cargo test -p compotastic-sim --test faults";

#[test]
fn each_job_ends_once_and_each_report_is_received_once() {
    for (seed, faults) in all_faults() {
        let mut channel = Channel::new(seed, faults);
        let mut ended: BTreeMap<(usize, u32), usize> = BTreeMap::new();
        let mut submitted = BTreeSet::new();
        let (mut executed, mut received, mut delivered) = (0, 0, 0);
        for round in 0..20u64 {
            let asker = 1 + round as usize % (NODES - 1);
            let now = channel.now;
            let job = channel.agents[asker].agent().submit(now, "two hikers below the hut").unwrap();
            assert!(submitted.insert((asker, job.0)));
            channel.run(at(300 * (round + 1)), |index, event| match event {
                AgentEvent::Answered { job, .. } | AgentEvent::JobFailed { job, .. } => {
                    *ended.entry((index, job.0)).or_default() += 1;
                }
                AgentEvent::Execute(_) => executed += 1,
                AgentEvent::ReportReceived { .. } => received += 1,
                AgentEvent::ReportDelivered { .. } => delivered += 1,
                _ => {}
            });
        }
        channel.run(at(12 * 3600), |index, event| match event {
            AgentEvent::Answered { job, .. } | AgentEvent::JobFailed { job, .. } => {
                *ended.entry((index, job.0)).or_default() += 1;
            }
            AgentEvent::Execute(_) => executed += 1,
            _ => {}
        });
        let what = format!("seed {seed}, {faults:?}: {REPEAT}");
        assert_eq!(ended.keys().copied().collect::<BTreeSet<_>>(), submitted, "{what}");
        assert!(ended.values().all(|times| *times == 1), "a job ended twice; {what}");
        // A repetition finds the answer kept; only a promise that lapsed before is executed anew.
        assert!(executed <= submitted.len() + 4, "{executed} executions; {what}");
        assert!(received >= delivered, "{what}");
    }
}

#[test]
fn an_object_arrives_whole_at_every_node() {
    let (delegation, manifest, content) = student::bundle();
    for (seed, faults) in all_faults() {
        let mut channel = Channel::new(seed, faults);
        channel.agents[EDGE].agent().publish(Instant::ZERO, &delegation, &manifest, &content).unwrap();
        let mut activated: BTreeMap<usize, usize> = BTreeMap::new();
        channel.run(at(24 * 3600), |index, event| {
            if let AgentEvent::ModelActivated { version } = event {
                assert_eq!(*version, student::VERSION);
                *activated.entry(index).or_default() += 1;
            }
        });
        let what = format!("seed {seed}, {faults:?}: {REPEAT}");
        assert_eq!(activated.len(), NODES, "{activated:?}; {what}");
        assert!(activated.values().all(|times| *times == 1), "installed twice; {what}");
        let now = channel.now;
        for index in 0..NODES {
            let agent = channel.agents[index].agent();
            assert_eq!(agent.model_version(), Some(student::VERSION), "{what}");
            let job = agent.submit(now, student::SENTENCES[1][0]).unwrap();
            assert!(
                matches!(agent.poll_event(), Some(AgentEvent::Answered { job: answered, answer })
                    if answered == job && answer.class == 1 && answer.attempts == 0),
                "node {index} answers by itself; {what}"
            );
        }
        let classes = &channel.classes_seen;
        assert!(
            classes.contains(&5) && classes.contains(&7),
            "symbols and records were on trial: {classes:?}"
        );
    }
}

#[test]
fn a_replayed_frame_changes_nothing() {
    let mut channel = Channel::new(3, Faults { lost: 0, duplicated: 1000, delayed: 0 });
    channel.run(at(900), |_, _| {});
    let refused: u32 = channel.agents.iter().map(|agent| agent.agent_ref().refused_frames()).sum();
    assert!(refused > 0, "second copies are refused by their ids");
}
