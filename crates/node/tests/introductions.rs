//! Who is not named in a neighbour's beacon introduces itself: soon, not often, and only where that can help.

mod common;

use common::{Mate, Node, agent, at, sent};
use compotastic_mesh::packet::NodeNum;
use compotastic_wire::{Beacon, Frame, FrameClass, Neighbours};

const OWN: u32 = 1;
/// By then the intervals between beacons have grown to hours.
const QUIET_S: u64 = 40_000;

/// Seconds at which the node told its beacon.
fn beacons(agent: &mut Node, from_s: u64, until_s: u64) -> Vec<u64> {
    let told = |agent: &mut Node, second| {
        sent(agent, at(second)).iter().any(|out| out.payload[0] & 31 == FrameClass::Beacon as u8)
    };
    (from_s..until_s).step_by(5).filter(|second| told(agent, *second)).collect()
}

/// A node that has been on for long, and the neighbour that it hears all the while.
fn quiet() -> (Node, Mate, u64) {
    let mut agent = agent(NodeNum(OWN));
    beacons(&mut agent, 5, QUIET_S);
    let mut now = QUIET_S;
    while beacons(&mut agent, now, now + 5).is_empty() {
        now += 5;
    }
    // Well after a beacon of its own, and long before the next.
    (agent, Mate::new(0x0a00_0002), now + 900)
}

fn names(nodes: impl IntoIterator<Item = u32>) -> Beacon {
    let mut neighbours = Neighbours::default();
    for node in nodes {
        neighbours.insert(node);
    }
    Beacon { battery: 15, neighbours, ..Beacon::default() }
}

fn hears(agent: &mut Node, mate: &mut Mate, second: u64, beacon: Beacon) {
    mate.says(agent, at(second), NodeNum::BROADCAST, &Frame::Beacon(beacon));
}

#[test]
fn a_node_that_is_not_named_tells_its_beacon_within_a_minute() {
    let (mut agent, mut mate, now) = quiet();
    hears(&mut agent, &mut mate, now, names([7]));
    let told = beacons(&mut agent, now + 5, now + 300);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0] <= now + 65, "{} s later", told[0] - now);
}

#[test]
fn a_node_that_is_named_or_left_out_of_a_full_list_stays_silent() {
    for beacon in [names([7, OWN]), names(100..100 + Neighbours::MAX as u32)] {
        let (mut agent, mut mate, now) = quiet();
        hears(&mut agent, &mut mate, now, beacon);
        assert_eq!(beacons(&mut agent, now + 5, now + 300), [], "{beacon:?}");
    }
}

#[test]
fn a_neighbour_that_never_names_it_costs_one_beacon_in_five_minutes() {
    let (mut agent, mut mate, now) = quiet();
    let mut told = Vec::new();
    for minute in 0..30 {
        hears(&mut agent, &mut mate, now + minute * 60, names([7]));
        told.extend(beacons(&mut agent, now + minute * 60 + 5, now + minute * 60 + 60));
    }
    assert!(told.len() >= 4, "{told:?}");
    assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= 300), "{told:?}");
}
