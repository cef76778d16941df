//! What each role relays, when, and what it does when another was faster.

mod common;

use common::{Alone, Ether, TEXT_PORT, at, config, header, message, node, outgoing};
use compotastic_mesh::{
    lora::{Preset, Region},
    packet::{Header, NodeNum},
    router::{FAVOURITES, Gate, Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};

/// All but the one that does not relay.
fn relays() -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(|role| *role != Role::ClientMute)
}

fn slot_us() -> u64 {
    Preset::LongFast.modem(false).slot_us()
}

/// A flood of node 1.
fn flood() -> Header {
    header(node(1), NodeNum::BROADCAST, 9)
}

/// The same, as node 2 has relayed it.
fn by_another() -> Header {
    Header { hop_limit: 2, relay_node: node(2).last_byte(), ..flood() }
}

#[test]
fn every_role_but_the_mute_one_carries_a_packet_across() {
    for role in Role::ALL {
        let mut ether = Ether::line_with(3, config(1, role));
        ether.send(0, &outgoing(NodeNum::BROADCAST, 9, TEXT_PORT, b"x"));
        ether.run(at(60));
        assert_eq!(ether.received(1).len(), 1, "{role} reads it");
        assert_eq!(ether.received(2).len(), usize::from(role != Role::ClientMute), "{role}");
    }
}

#[test]
fn only_routers_relay_in_the_slots_that_the_others_leave_free() {
    for role in relays() {
        for seed in 0..50 {
            let mut alone = Alone::new(role, seed);
            alone.hear_at(&message(&flood(), TEXT_PORT, b"x"), 40);
            alone.run(60);
            let slots = alone.sent(9)[0].at.saturating_duration_since(Instant::ZERO).as_micros() / slot_us();
            let window = if role == Role::Router { 0..16 } else { 16..16 + 256 };
            assert!(window.contains(&slots), "{role}: {slots}");
        }
    }
}

#[test]
fn routers_and_late_routers_relay_although_another_was_faster() {
    for role in relays() {
        let mut alone = Alone::new(role, 1);
        alone.hear(&message(&flood(), TEXT_PORT, b"x"));
        alone.hear(&message(&by_another(), TEXT_PORT, b"x"));
        alone.run(60);
        let relayed = !alone.sent(9).is_empty();
        assert_eq!(relayed, matches!(role, Role::Router | Role::RouterLate), "{role}");
    }
}

/// When node 0 relays, in slots after the last of so many copies that others relayed, a second apart.
fn late_after(config: &RouterConfig, copies: u64, snr_qdb: i16, seed: u64) -> Vec<u64> {
    let mut alone = Alone::with(config.clone(), seed);
    alone.hear_at(&message(&flood(), TEXT_PORT, b"x"), snr_qdb);
    let slot = Duration::from_micros(slot_us());
    for copy in 0..copies {
        alone.now = Instant::ZERO + Duration::from_micros(slot.as_micros() * (copy + 1));
        alone.hear_at(&message(&by_another(), TEXT_PORT, b"x"), snr_qdb);
    }
    // Where the first copy came.
    let moved_at = Instant::ZERO + slot;
    alone.run(60);
    let wait = |at: Instant| at.saturating_duration_since(moved_at).as_micros() / slot_us();
    alone.sent(9).iter().map(|sent| wait(sent.at)).collect()
}

#[test]
fn a_late_router_goes_to_the_end_of_the_window_once_however_many_copies_come() {
    // At -20 dB the window has 8 slots, at +10 dB 256; the first 16 belong to routers.
    for (snr_qdb, slots) in [(-80, 16 + 8), (40, 16 + 256)] {
        for copies in 1..4 {
            for seed in 0..20 {
                let late = late_after(&config(0, Role::RouterLate), copies, snr_qdb, seed);
                assert_eq!(late, [slots], "{copies} copies, seed {seed}");
            }
        }
    }
}

#[test]
fn a_repetition_by_the_origin_moves_no_late_router() {
    let when = |copies: usize| {
        let mut alone = Alone::new(Role::RouterLate, 3);
        for _ in 0..=copies {
            alone.hear(&message(&flood(), TEXT_PORT, b"x"));
        }
        alone.run(60);
        alone.sent(9)[0].at
    };
    assert_eq!(when(0), when(2));
}

#[test]
fn a_base_does_for_its_favourites_what_a_late_router_does_for_all() {
    for (favourite, relayed) in [(node(1), true), (node(5), true), (node(3), false)] {
        let favourites = [favourite].into_iter().collect();
        let relaying = Relaying { favourites, ..Relaying::default() };
        let base = RouterConfig { relaying, ..config(0, Role::ClientBase) };
        let mut alone = Alone::with(base.clone(), 1);
        // From node 1 to node 5.
        let letter = Header { to: node(5), ..flood() };
        alone.hear(&message(&letter, TEXT_PORT, b"x"));
        alone.hear(&message(&Header { to: node(5), ..by_another() }, TEXT_PORT, b"x"));
        alone.run(60);
        assert_eq!(alone.sent(9).len(), usize::from(relayed), "favourite {favourite}");
        let late = late_after(&base, 2, -80, 7);
        assert_eq!(late, if favourite == node(1) { vec![16 + 8] } else { vec![] }, "favourite {favourite}");
    }
    // What is heard once only goes in the clients' window, whoever it is from.
    let mut alone = Alone::new(Role::ClientBase, 1);
    alone.hear(&message(&flood(), TEXT_PORT, b"x"));
    alone.run(60);
    assert_eq!(alone.sent(9).len(), 1);
}

#[test]
fn favourites_are_so_many_and_no_more() {
    let mut relaying = Relaying::default();
    for index in 0..FAVOURITES {
        relaying.favourites.push(node(index)).unwrap();
    }
    assert_eq!(relaying.favourites.push(node(99)), Err(node(99)), "whoever sets it up is told");
}

#[test]
fn a_copy_that_gets_farther_takes_the_place_of_the_one_that_waits() {
    for role in relays() {
        let relay = node(2).last_byte();
        let worn = Header { hop_limit: 1, relay_node: relay, ..flood() };
        for better in [by_another(), flood()] {
            let mut alone = Alone::new(role, 1);
            alone.hear(&message(&worn, TEXT_PORT, b"x"));
            alone.hear(&message(&better, TEXT_PORT, b"forged"));
            alone.run(60);
            let sent = alone.sent(9);
            assert_eq!(sent.len(), 1, "{role}");
            assert_eq!(sent[0].header.hop_limit, better.hop_limit - 1, "{role}");
            assert_eq!(sent[0].bytes[16..], message(&worn, TEXT_PORT, b"x")[16..], "only its hops");
            assert_eq!(alone.received().len(), 1);
        }
        // It is worth no less for a copy that gets less far.
        let mut alone = Alone::new(role, 1);
        alone.hear(&message(&flood(), TEXT_PORT, b"x"));
        alone.hear(&message(&Header { hop_limit: 0, ..worn }, TEXT_PORT, b"x"));
        alone.run(60);
        assert!(alone.sent(9).iter().all(|sent| sent.header.hop_limit == 2), "{role}");
    }
}

#[test]
fn a_better_copy_keeps_the_turn_and_the_next_one_ends_it() {
    let worn = Header { hop_limit: 1, relay_node: node(3).last_byte(), ..flood() };
    let when = |copies: &[Header]| {
        let mut alone = Alone::new(Role::Client, 1);
        for copy in copies {
            alone.hear(&message(copy, TEXT_PORT, b"x"));
        }
        alone.run(60);
        alone.sent(9).first().map(|sent| sent.at)
    };
    assert!(when(&[worn]).is_some());
    assert_eq!(when(&[worn, by_another()]), when(&[worn]));
    assert_eq!(when(&[worn, by_another(), by_another()]), None);
}

#[test]
fn infrastructure_has_more_of_the_air_of_eu_866() {
    for role in Role::ALL {
        let mut alone = Alone::with(
            RouterConfig { region: Region::Eu866, preset: Preset::LiteSlow, ..config(0, role) },
            1,
        );
        // One long frame after the other, more than an hour allows.
        for id in 1..=300 {
            let mut out = outgoing(NodeNum::BROADCAST, id, TEXT_PORT, &[1; 200]);
            out.gate = Gate::Alert;
            // The queue fills up when the hour is spent.
            let _ = alone.router.send(alone.now, &out);
            alone.run(10);
        }
        let permille = alone.router.duty_cycle_permille(alone.now);
        let limit = if matches!(role, Role::Router | Role::RouterLate) { 100 } else { 25 };
        assert!((limit - 2..=limit).contains(&permille), "{role}: {permille}");
    }
}

#[test]
fn names_are_read_however_they_are_written() {
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
        assert_eq!(role.name().to_uppercase().replace('-', "_").parse(), Ok(role));
        assert!(role.name().bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()));
    }
    for (index, role) in Role::ALL.into_iter().enumerate() {
        assert_eq!(role as usize, index, "{role}");
    }
    assert_eq!("ROUTER_LATE".parse(), Ok(Role::RouterLate));
    assert!("jester".parse::<Role>().is_err());
}
