//! What a node relays, when, and what it changes in it.

mod common;

use common::{Alone, OWN_PORT, TEXT_PORT, at, header, message, node, outgoing};
use compotastic_mesh::{
    lora::Preset,
    packet::{Header, NodeNum},
    router::{Gate, Role, RouterEvent},
    time::{Duration, Instant},
};

/// Slots that a relay waits after it heard a frame so loud.
fn slots(role: Role, snr_qdb: i16, seed: u64) -> u64 {
    let mut alone = Alone::new(role, seed);
    alone.hear_at(&message(&header(node(1), NodeNum::BROADCAST, 9), TEXT_PORT, b"x"), snr_qdb);
    alone.run(60);
    assert_eq!(alone.sent(9).len(), 1);
    let wait = alone.sent[0].at.saturating_duration_since(Instant::ZERO);
    wait.as_micros() / Preset::LongFast.modem(false).slot_us()
}

#[test]
fn who_hears_it_worst_goes_first_and_routers_before_clients() {
    let waits = |role, snr_qdb| (0..200).map(move |seed| slots(role, snr_qdb, seed));
    // -20 dB and +10 dB are the ends of the scale.
    let (far, near) = (-80, 40);
    assert!(waits(Role::Client, far).all(|slots| (16..16 + 8).contains(&slots)));
    assert!(waits(Role::Client, near).all(|slots| (16..16 + 256).contains(&slots)));
    assert!(waits(Role::Client, near).max() > Some(200), "the window is used");
    assert!(waits(Role::Router, near).all(|slots| slots < 16));
    assert!(waits(Role::Router, far).all(|slots| slots < 6));
    // Beyond the ends it is as at the ends.
    assert!(waits(Role::Client, -400).all(|slots| (16..16 + 8).contains(&slots)));
    assert!(waits(Role::Client, 400).all(|slots| (16..16 + 256).contains(&slots)));
}

#[test]
fn a_relay_changes_the_hops_and_nothing_else() {
    let mut alone = Alone::new(Role::Client, 1);
    let heard = Header { want_ack: true, via_mqtt: true, hop_start: 7, ..header(node(1), node(5), 9) };
    let frame = message(&heard, TEXT_PORT, b"as it is");
    alone.hear(&frame);
    alone.run(60);
    let changed = Header { hop_limit: 2, relay_node: node(0).last_byte(), ..heard };
    assert_eq!(alone.sent[0].header, changed);
    assert_eq!(alone.sent[0].bytes[16..], frame[16..]);
}

#[test]
fn another_relay_that_was_faster_is_enough_a_repetition_by_the_origin_is_not() {
    let first = header(node(1), NodeNum::BROADCAST, 9);
    let relayed = Header { hop_limit: 2, relay_node: node(2).last_byte(), ..first };
    for (copy, relays) in [(relayed, 0), (first, 1)] {
        let mut alone = Alone::new(Role::Client, 1);
        alone.hear(&message(&first, TEXT_PORT, b"x"));
        alone.hear(&message(&copy, TEXT_PORT, b"x"));
        alone.run(60);
        assert_eq!(alone.sent(9).len(), relays, "{copy:?}");
        assert_eq!(alone.received().len(), 1);
    }
}

#[test]
fn what_must_not_be_relayed_is_not() {
    let flood = header(node(1), NodeNum::BROADCAST, 9);
    let cases = [
        ("no hops left", Header { hop_limit: 0, ..flood }),
        ("an id that names nothing", Header { id: Default::default(), ..flood }),
        ("for us", Header { to: node(0), ..flood }),
        ("another is asked to", Header { to: node(5), next_hop: node(2).last_byte(), ..flood }),
        ("our own, come back", Header { from: node(0), relay_node: node(2).last_byte(), ..flood }),
        ("from nobody", Header { from: NodeNum(0), ..flood }),
        ("from everybody", Header { from: NodeNum::BROADCAST, ..flood }),
    ];
    for (why, header) in cases {
        let mut alone = Alone::new(Role::Client, 1);
        alone.hear(&message(&header, TEXT_PORT, b"x"));
        alone.run(60);
        assert!(alone.sent.is_empty(), "{why}");
    }
}

#[test]
fn what_we_sent_before_a_restart_is_not_news() {
    let mut alone = Alone::new(Role::Client, 1);
    let own =
        Header { hop_limit: 2, relay_node: node(2).last_byte(), ..header(node(0), NodeNum::BROADCAST, 9) };
    alone.hear(&message(&own, TEXT_PORT, b"x"));
    assert!(alone.received().is_empty());
    assert_eq!(alone.router.nodes_heard(), 0, "no way to ourselves");
}

#[test]
fn who_was_not_asked_relays_the_flood_that_comes_after() {
    // The last try of a stock node names nobody.
    let named = Header { next_hop: node(2).last_byte(), ..header(node(1), node(5), 9) };
    let mut alone = Alone::new(Role::Client, 1);
    alone.hear(&message(&named, TEXT_PORT, b"x"));
    alone.run(60);
    assert!(alone.sent.is_empty());
    alone.hear(&message(&Header { next_hop: 0, ..named }, TEXT_PORT, b"x"));
    alone.run(60);
    assert_eq!(alone.sent(9).len(), 1);
}

#[test]
fn relays_pass_busy_air_that_holds_own_packets_back() {
    // 60 % of the last minute.
    let mut alone = Alone::new(Role::Client, 1);
    alone.now = at(100);
    alone.router.handle_bad_frame(at(100), Duration::from_secs(36));
    for (id, gate) in [(1, Gate::Bulk), (2, Gate::Normal), (3, Gate::Alert)] {
        let mut out = outgoing(NodeNum::BROADCAST, id, TEXT_PORT, b"ours");
        out.gate = gate;
        alone.send(&out);
    }
    alone.hear(&message(&header(node(1), NodeNum::BROADCAST, 9), TEXT_PORT, b"x"));
    alone.run(50);
    let mut ids: Vec<u32> = alone.sent.iter().map(|sent| sent.header.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [3, 9], "the alert and the relay");
    alone.run(30);
    assert_eq!(alone.sent.len(), 4, "the others once the minute has passed");
}

#[test]
fn a_relay_keeps_its_slot_while_own_packets_are_held_back() {
    for seed in 0..50 {
        let mut alone = Alone::new(Role::Router, seed);
        // 30 % of the last minute: too much for bulk, which looks for its chance again and again.
        alone.now = at(100);
        alone.router.handle_bad_frame(alone.now, Duration::from_secs(18));
        let mut bulk = outgoing(NodeNum::BROADCAST, 1, TEXT_PORT, b"bulk");
        bulk.gate = Gate::Bulk;
        alone.send(&bulk);
        alone.run(2);
        let heard_at = alone.now;
        alone.hear_at(&message(&header(node(1), NodeNum::BROADCAST, 9), TEXT_PORT, b"x"), -80);
        alone.run(10);
        let wait = alone.sent(9)[0].at.saturating_duration_since(heard_at);
        assert!(wait.as_micros() < 6 * Preset::LongFast.modem(false).slot_us(), "{} ms", wait.as_millis());
    }
}

#[test]
fn a_relay_of_what_wants_an_acknowledgement_goes_before_one_that_does_not() {
    let mut alone = Alone::new(Role::Client, 1);
    alone.hear(&message(&header(node(1), NodeNum::BROADCAST, 8), TEXT_PORT, b"x"));
    alone.hear(&message(&Header { want_ack: true, ..header(node(2), node(5), 9) }, TEXT_PORT, b"x"));
    // The radio was busy until both were due.
    alone.now = at(30);
    alone.run(30);
    let ids: Vec<u32> = alone.sent.iter().map(|sent| sent.header.id.0).collect();
    assert_eq!(ids, [9, 8]);
}

#[test]
fn own_port_packets_for_others_are_overheard_stock_ones_are_not() {
    let mut alone = Alone::new(Role::Client, 1);
    alone.hear(&message(&header(node(1), node(5), 8), OWN_PORT, b"a result"));
    alone.hear(&message(&header(node(1), node(5), 9), TEXT_PORT, b"a letter"));
    assert!(alone.received().is_empty());
    let overheard: Vec<&[u8]> = alone
        .events
        .iter()
        .filter_map(|event| match event {
            RouterEvent::Overheard(incoming) => Some(&incoming.payload[..]),
            _ => None,
        })
        .collect();
    assert_eq!(overheard, [b"a result"]);
}
