//! Agents with the state sync inside: after a partition all know what each can do, and none says more than it may.

mod common;

use std::collections::BTreeMap;

use common::{Node, agent, at, give, keys, restarted, sent};
use compotastic_mesh::{packet::NodeNum, time::Instant};
use compotastic_node::sync::CapabilityError;
use compotastic_wire::{
    self as wire, Frame,
    records::capability::{CapabilityRecord, InstalledBundle, TaskOffer},
};

const HOUR: u64 = 3600;

fn num(index: usize) -> NodeNum {
    NodeNum(0x4300_0000 + 77 * index as u32)
}

fn record(index: usize, version: u32) -> CapabilityRecord {
    let mut record = CapabilityRecord {
        device_class: 1,
        ram_free_kib: 100 + index as u32,
        flash_free_kib: 300,
        ..CapabilityRecord::default()
    };
    record.tasks.push(TaskOffer { task: 1, kind: 0, time_ms: 20, energy_mj: 5 }).unwrap();
    record.bundles.push(InstalledBundle { kind: 1, task: 1, version, object_tag: 0x1e43_5ac8 }).unwrap();
    record
}

/// Agents that hear their neighbours in a line.
struct Line {
    agents: Vec<Node>,
    now: u64,
    /// The one after this one is not heard.
    cut: Option<usize>,
    /// Sync frames said, by class.
    said: BTreeMap<u8, usize>,
}

impl Line {
    fn new(count: usize) -> Self {
        let mut agents: Vec<Node> = (0..count).map(|index| agent(num(index))).collect();
        for (index, agent) in agents.iter_mut().enumerate() {
            agent.set_capability(Instant::ZERO, &record(index, 1)).unwrap();
        }
        Self { agents, now: 0, cut: None, said: BTreeMap::new() }
    }

    fn step(&mut self) {
        self.now += 2;
        for from in 0..self.agents.len() {
            for out in sent(&mut self.agents[from], at(self.now)) {
                let address = wire::Address { from: num(from).0, to: out.to.0, id: out.id };
                let (frame, _) = wire::open(&out.payload, &keys(), &address).unwrap();
                if matches!(frame, Frame::SyncDigest(_) | Frame::SyncList(_) | Frame::SyncRecords(_)) {
                    *self.said.entry(frame.class() as u8).or_default() += 1;
                    assert_eq!((out.to, out.hop_limit), (NodeNum::BROADCAST, 0));
                }
                for to in [from.wrapping_sub(1), from + 1] {
                    let cut = self.cut == Some(from.min(to));
                    if to < self.agents.len() && !cut {
                        give(&mut self.agents[to], at(self.now), num(from), &out);
                    }
                }
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        (0..seconds / 2).for_each(|_| self.step());
    }

    fn agree_on(&self, versions: &[u32]) -> bool {
        self.agents.iter().all(|agent| {
            versions.iter().enumerate().all(|(index, version)| {
                agent.capability(num(index)).is_some_and(|known| known == record(index, *version))
            })
        })
    }
}

#[test]
fn agents_that_heal_after_a_partition_agree() {
    let mut line = Line::new(6);
    line.run(3 * HOUR);
    assert!(line.agree_on(&[1; 6]));
    line.cut = Some(2);
    for changed in [0, 2, 4] {
        line.agents[changed].set_capability(at(line.now), &record(changed, 2)).unwrap();
    }
    line.run(3 * HOUR);
    assert!(!line.agree_on(&[2, 1, 2, 1, 2, 1]));
    line.cut = None;
    line.run(4 * HOUR);
    assert!(line.agree_on(&[2, 1, 2, 1, 2, 1]));
    // A day of silence but for beacons.
    line.said.clear();
    line.run(24 * HOUR);
    assert_eq!(line.said.keys().copied().collect::<Vec<u8>>(), [wire::FrameClass::SyncDigest as u8]);
    assert!(line.said.values().sum::<usize>() <= 6 * 16, "{:?}", line.said);
}

#[test]
fn a_restarted_agent_learns_all_again_and_keeps_its_version() {
    let mut line = Line::new(4);
    line.run(3 * HOUR);
    let digest = line.agents[0].sync().unwrap().digest();
    let agent = line.agents.remove(2);
    let mut agent = restarted(agent, at(line.now));
    assert!(agent.sync().is_none());
    agent.set_capability(at(line.now), &record(2, 1)).unwrap();
    line.agents.insert(2, agent);
    line.run(4 * HOUR);
    assert!(line.agree_on(&[1; 4]));
    assert!(
        line.agents.iter().all(|agent| agent.sync().unwrap().digest() == digest),
        "the same record is no news"
    );
}

#[test]
fn a_record_that_does_not_fit_is_refused_and_the_last_one_stays() {
    let mut node = agent(num(0));
    let mut long = record(0, 1);
    while long.tasks.push(TaskOffer { task: 200, kind: 9, time_ms: u32::MAX, energy_mj: u32::MAX }).is_ok() {}
    while long
        .bundles
        .push(InstalledBundle { version: u32::MAX, kind: 200, task: 200, object_tag: 9 })
        .is_ok()
    {}
    assert!(matches!(node.set_capability(at(1), &long), Err(CapabilityError::TooLong(_))));
    let wrong = CapabilityRecord { load: 16, ..record(0, 1) };
    assert!(matches!(node.set_capability(at(1), &wrong), Err(CapabilityError::Record(_))));
    assert!(node.sync().is_none_or(|sync| sync.members().count() == 0));
}

#[test]
fn an_agent_that_was_told_no_record_says_nothing_of_records() {
    let mut line =
        Line { agents: vec![agent(num(0)), agent(num(1))], now: 0, cut: None, said: BTreeMap::new() };
    line.run(2 * HOUR);
    assert!(line.said.is_empty());
}
