//! What a full node says by itself and when asked: who it is, where, how; and the way to it.

mod common;

use common::natives::{Natives, citizen, keys, num};
use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent, Message, error},
    modules::{NODEINFO_PORT, POSITION_PORT, Periods, TELEMETRY_PORT},
    nodedb::{Position, User},
    packet::NodeNum,
    router::Role,
    time::Duration,
    traceroute::TRACEROUTE_PORT,
};
use compotastic_messages::{
    DeviceMetrics, LocalStats, Message as _, RouteDiscovery, Telemetry, TelemetryVariant, User as UserMessage,
};

fn asks(to: NodeNum, port: u16, payload: &[u8]) -> Message<'_> {
    Message { want_response: true, want_ack: false, ..Message::new(to, 0, port, payload) }
}

fn here() -> Position {
    Position {
        latitude_i: 500_123_456,
        longitude_i: 80_123_456,
        altitude_m: Some(320),
        time_s: 0,
        precision_bits: 32,
    }
}

#[test]
fn a_node_that_starts_is_soon_known_by_all_who_hear_it() {
    let periods = Periods::usual(Role::Client);
    let mut mesh = Natives::line((0..3).map(|index| CitizenConfig { periods, ..citizen(index) }));
    mesh.nodes[0].citizen().set_position(Some(here()));
    mesh.run(400);
    let known = mesh.nodes[2].citizen().node(num(0)).expect("heard of");
    let user = known.user.as_ref().expect("it said who it is");
    assert_eq!((user.long_name.as_str(), user.short_name.as_str()), ("node 0", "0"));
    assert_eq!(user.public_key.as_ref(), Some(keys(0).public()));
    assert_eq!(known.hops_away, Some(1));
    let position = known.position.expect("it said where it is");
    assert_eq!((position.precision_bits, position.altitude_m), (13, Some(320)));
    assert!((position.latitude_i - here().latitude_i).abs() < 1 << 19);
    // A day has few of them, and none of who has no position.
    mesh.run(24 * 3600);
    let count = |port| mesh.packets(2, port).iter().filter(|(packet, _)| packet.from == num(0)).count();
    assert!((8..=9).contains(&count(NODEINFO_PORT)), "{}", count(NODEINFO_PORT));
    assert!((23..=25).contains(&count(POSITION_PORT)), "{}", count(POSITION_PORT));
    assert_eq!(count(TELEMETRY_PORT), 0);
    assert!(mesh.packets(2, POSITION_PORT).iter().all(|(packet, _)| packet.from == num(0)));
}

#[test]
fn who_asks_is_told_but_not_all_the_time() {
    let mut mesh = Natives::usual(3);
    let user = User::named("asker", "a").to_message("!00000000").to_vec::<100>().unwrap();
    for _ in 0..10 {
        mesh.send(0, &asks(NodeNum::BROADCAST, NODEINFO_PORT, &user));
        mesh.run(20);
    }
    for index in [1, 2] {
        let answers = mesh.sent.iter().filter(|sent| sent.by == index && sent.header.from == num(index));
        assert_eq!(answers.count(), 1, "node {index}");
    }
    let told = mesh.packets(0, NODEINFO_PORT);
    let names: Vec<String> = told
        .iter()
        .map(|(packet, _)| UserMessage::decode(&packet.payload).unwrap().long_name.to_string())
        .collect();
    assert_eq!(names, ["node 1", "node 2"]);
}

#[test]
fn a_changed_key_is_told_and_not_taken() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    let stranger = User { public_key: Some(*keys(9).public()), ..User::named("node 0", "n") };
    let info = stranger.to_message("!00000000").to_vec::<100>().unwrap();
    mesh.send(0, &Message::new(NodeNum::BROADCAST, 0, NODEINFO_PORT, &info));
    mesh.run(10);
    let changed =
        |event: &CitizenEvent| matches!(event, CitizenEvent::KeyChanged { num: told } if *told == num(0));
    assert_eq!(mesh.count(1, changed), 1);
    assert_eq!(mesh.nodes[1].citizen().node(num(0)).unwrap().public_key(), Some(keys(0).public()));
    // Nor is our own key taken from somebody else.
    let thief = User { public_key: Some(*keys(1).public()), ..User::named("thief", "t") };
    let info = thief.to_message("!00000000").to_vec::<100>().unwrap();
    let header = common::header(NodeNum(0x7777_7777), NodeNum::BROADCAST, 5);
    mesh.hear(1, &common::message(&header, NODEINFO_PORT, &info));
    mesh.run(10);
    assert!(mesh.nodes[1].citizen().node(NodeNum(0x7777_7777)).unwrap().user.is_none());
}

#[test]
fn telemetry_is_told_to_whom_it_is_asked_by_and_kept() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    mesh.nodes[1].citizen().set_power(Some(87), Some(3950));
    let empty = Telemetry {
        variant: Some(TelemetryVariant::DeviceMetrics(DeviceMetrics::default())),
        ..Telemetry::default()
    };
    mesh.send(0, &asks(num(1), TELEMETRY_PORT, &empty.to_vec::<32>().unwrap()));
    mesh.run(10);
    let metrics = mesh.nodes[0].citizen().node(num(1)).unwrap().metrics.expect("told");
    assert_eq!((metrics.battery_percent, metrics.voltage_mv), (Some(87), Some(3950)));
    assert!(metrics.uptime_s.is_some_and(|uptime| (100..110).contains(&uptime)));
    assert!(mesh.nodes[1].citizen().node(num(0)).unwrap().metrics.is_none(), "a request tells nothing");

    let stats = Telemetry {
        variant: Some(TelemetryVariant::LocalStats(LocalStats::default())),
        ..Telemetry::default()
    };
    mesh.send(0, &asks(num(1), TELEMETRY_PORT, &stats.to_vec::<32>().unwrap()));
    mesh.run(10);
    let told = mesh.packets(0, TELEMETRY_PORT);
    let told = Telemetry::decode(&told.last().unwrap().0.payload).unwrap();
    let Some(TelemetryVariant::LocalStats(stats)) = told.variant else { panic!("{told:?}") };
    assert_eq!((stats.num_packets_rx, stats.num_total_nodes, stats.num_packets_tx), (2, 1, 1));
}

#[test]
fn what_nothing_answers_is_said_to_who_asks_and_not_to_all() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    // It has no position.
    let id = mesh.send(0, &Message { want_ack: true, ..asks(num(1), POSITION_PORT, &[]) });
    mesh.run(10);
    assert_eq!(mesh.refused(0, id), Some(error::NO_RESPONSE));
    let before = mesh.sent.len();
    mesh.send(0, &asks(NodeNum::BROADCAST, 256, b"everybody?"));
    mesh.run(10);
    assert_eq!(mesh.sent.iter().skip(before).filter(|sent| sent.header.from == num(1)).count(), 0);
}

#[test]
fn a_route_request_names_the_relays_of_both_ways() {
    let mut mesh = Natives::usual(4);
    let id = mesh.send(0, &Message { want_ack: true, ..asks(num(3), TRACEROUTE_PORT, &[]) });
    mesh.run(30);
    let replies = mesh.packets(0, TRACEROUTE_PORT);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].0.request_id, Some(id.0));
    let route = RouteDiscovery::decode(&replies[0].0.payload).unwrap();
    assert_eq!(route.route[..], [num(1).0, num(2).0]);
    assert_eq!(route.snr_towards[..], [20, 20, 20]);
    assert_eq!(route.route_back[..], [num(2).0, num(1).0]);
    assert_eq!(route.snr_back[..], [20, 20, 20]);
    assert!(mesh.acked(0, id), "the reply is the acknowledgement");
}

#[test]
fn ignored_nodes_are_not_heard() {
    let mut mesh = Natives::usual(2);
    mesh.introduce(0, 1);
    mesh.nodes[1].citizen().nodes_mut().get_mut(num(0)).unwrap().ignored = true;
    mesh.send(0, &Message::text(NodeNum::BROADCAST, 0, "hello?", None));
    mesh.send(0, &Message::text(num(1), 0, "hello?", None));
    mesh.run(60);
    assert!(mesh.events.iter().all(|(index, _)| *index == 0));
}

#[test]
fn names_change_and_keys_do_not() {
    let mut mesh = Natives::usual(2);
    mesh.nodes[0].citizen().set_user(User::named("renamed", "re"));
    let now = mesh.now + Duration::from_secs(1);
    mesh.nodes[0].citizen().ask_who(now, num(1), 0);
    mesh.run(20);
    let user = mesh.nodes[1].citizen().node(num(0)).unwrap().user.clone().unwrap();
    assert_eq!((user.long_name.as_str(), user.public_key.as_ref()), ("renamed", Some(keys(0).public())));
}
