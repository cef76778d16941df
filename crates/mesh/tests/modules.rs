//! The broadcasts that stock nodes make by themselves: how many, and fewer in a large mesh.

mod common;

use std::collections::BTreeMap;

use common::node;
use compotastic_mesh::{
    modules::{NODEINFO_PORT, POSITION_PORT, PeriodicBroadcasts, TELEMETRY_PORT},
    router::Role,
    time::{Duration, Instant},
};

/// Broadcasts by port in so many hours.
fn count_as(role: Role, seed: u64, hours: u64, nodes_heard: usize) -> BTreeMap<u16, u64> {
    // SF 11 and 250 kHz: 2048 / 25,000 per node above 40.
    let mut modules = PeriodicBroadcasts::new(node(0), role, 81_920, seed, Instant::ZERO);
    let mut counts = BTreeMap::new();
    let end = Instant::ZERO + Duration::from_secs(hours * 3600);
    while let Some(due) = modules.poll_timeout().filter(|due| *due < end) {
        assert!(modules.poll(due - Duration::from_micros(1), nodes_heard).is_none(), "not before its time");
        let broadcast = modules.poll(due, nodes_heard).expect("one is due");
        assert!((20..=80).contains(&broadcast.payload.len()));
        *counts.entry(broadcast.port).or_default() += 1;
    }
    counts
}

fn count(seed: u64, hours: u64, nodes_heard: usize) -> BTreeMap<u16, u64> {
    count_as(Role::Client, seed, hours, nodes_heard)
}

#[test]
fn a_day_has_23_or_24_positions_and_telemetries_and_8_node_infos_at_most() {
    for seed in 0..20 {
        let counts = count(seed, 24, 5);
        // An hour and up to a minute each.
        assert!((23..=24).contains(&counts[&POSITION_PORT]), "{counts:?}");
        assert!((23..=24).contains(&counts[&TELEMETRY_PORT]), "{counts:?}");
        assert!((7..=8).contains(&counts[&NODEINFO_PORT]), "{counts:?}");
    }
}

#[test]
fn up_to_forty_nodes_change_nothing_and_more_stretch_the_periods() {
    assert_eq!(count(1, 24, 0), count(1, 24, 40));
    // 90 nodes: 1 + 50 * 0.08192 = 5.1 times as long.
    let (few, many) = (count(1, 240, 40)[&POSITION_PORT], count(1, 240, 90)[&POSITION_PORT]);
    assert!((46..=52).contains(&(few * 10 / many)), "{few} {many}");
}

#[test]
fn nodes_that_start_together_do_not_speak_together() {
    let mut firsts: Vec<Instant> = (0..50)
        .map(|seed| {
            PeriodicBroadcasts::new(node(0), Role::Client, 0, seed, Instant::ZERO).poll_timeout().unwrap()
        })
        .collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 50);
}

#[test]
fn routers_tell_where_they_are_twice_a_day_and_who_they_are_as_often_as_others() {
    for role in [Role::Router, Role::RouterLate] {
        let counts = count_as(role, 1, 240, 5);
        assert!((19..=20).contains(&counts[&POSITION_PORT]), "{role}: {counts:?}");
        assert!((19..=20).contains(&counts[&TELEMETRY_PORT]), "{role}: {counts:?}");
        assert_eq!(counts[&NODEINFO_PORT], count(1, 240, 5)[&NODEINFO_PORT], "{role}");
    }
}

#[test]
fn some_roles_keep_their_periods_in_a_large_mesh() {
    for role in Role::ALL.into_iter().filter(|role| role.broadcasts()) {
        let same = count_as(role, 1, 240, 90) == count_as(role, 1, 240, 40);
        let keeps =
            [Role::Router, Role::RouterLate, Role::Sensor, Role::Tracker, Role::TakTracker].contains(&role);
        assert_eq!(same, keeps, "{role}");
    }
}

#[test]
fn repeaters_and_hidden_clients_say_nothing_of_their_own_accord() {
    for role in Role::ALL {
        let silent = count_as(role, 1, 240, 0).is_empty();
        assert_eq!(silent, [Role::Repeater, Role::ClientHidden].contains(&role), "{role}");
    }
}
