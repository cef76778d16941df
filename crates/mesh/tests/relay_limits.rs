//! The limits per sender of relays with traffic management.

mod common;

use common::{Alone, Ether, TEXT_PORT, at, channel, config, header, message, node, outgoing, secret};
use compotastic_mesh::{
    packet::{Header, NodeNum},
    router::{Rebroadcast, Relaying, Role, Router, RouterConfig, SENDERS},
    time::Instant,
};

fn limited(index: usize, unknown: Option<u16>, sender: Option<u16>) -> RouterConfig {
    let relaying = Relaying { unknown_limit: unknown, sender_limit: sender, ..Relaying::default() };
    RouterConfig { relaying, ..config(index, Role::Client) }
}

/// Hears one packet and says whether it was relayed within the next ten seconds.
fn relayed(alone: &mut Alone, from: usize, id: u32, readable: bool) -> bool {
    let header = header(node(from), NodeNum::BROADCAST, id);
    alone.hear(&if readable { message(&header, TEXT_PORT, b"x") } else { secret(&header) });
    alone.run(10);
    !alone.sent(id).is_empty()
}

#[test]
fn of_one_sender_so_many_unreadable_packets_get_through_in_five_minutes() {
    let mut ether = Ether::line_with(3, limited(1, Some(4), None));
    for index in [0, 2] {
        let channels = [channel(99)].into_iter().collect();
        let config = RouterConfig { channels, ..config(index, Role::Client) };
        ether.routers[index] = Router::new(config, index as u64, Instant::ZERO);
    }
    let mut got = Vec::new();
    for id in 1..=40u32 {
        ether.send(0, &outgoing(NodeNum::BROADCAST, id, TEXT_PORT, b"x"));
        ether.run(at(u64::from(id) * 20));
        got.push(ether.received(2).len());
    }
    // One every 20 s: 15 in each five minutes, of which four pass. The window opens with the first packet.
    assert_eq!(got[..15], [1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]);
    assert_eq!((got[19], got[29], got[39]), (8, 8, 12));
    assert_eq!(ether.senders(1), [0, 1, 2], "sender, relay, receiver");
    assert_eq!(ether.senders(9), [0], "the relay keeps silent");
}

#[test]
fn what_can_be_read_does_not_count_against_the_unknown() {
    let mut alone = Alone::with(limited(0, Some(2), None), 1);
    for id in 1..=10 {
        assert!(relayed(&mut alone, 1, id, true));
    }
    assert!(relayed(&mut alone, 1, 11, false) && relayed(&mut alone, 1, 12, false));
    assert!(!relayed(&mut alone, 1, 13, false));
    assert!(relayed(&mut alone, 1, 14, true), "and is not held up by it");
    assert!(relayed(&mut alone, 2, 15, false), "nor are other senders");
}

#[test]
fn copies_count_once_and_what_was_dropped_stays_dropped() {
    let mut alone = Alone::with(limited(0, Some(1), None), 1);
    let first = header(node(1), NodeNum::BROADCAST, 1);
    for relay in 2..6 {
        alone.hear(&secret(&Header { hop_limit: 2, relay_node: node(relay).last_byte(), ..first }));
    }
    alone.run(10);
    assert!(!relayed(&mut alone, 1, 2, false));
    alone.run(600);
    let copy = Header { relay_node: node(3).last_byte(), ..header(node(1), NodeNum::BROADCAST, 2) };
    alone.hear(&secret(&copy));
    alone.run(60);
    assert!(alone.sent(2).is_empty(), "a copy after the window is still the same packet");
    assert!(relayed(&mut alone, 1, 3, false));
}

#[test]
fn a_limit_per_sender_counts_all_and_does_not_keep_us_from_reading() {
    let mut alone = Alone::with(limited(0, None, Some(3)), 1);
    let through: Vec<bool> = (1..=6).map(|id| relayed(&mut alone, 1, id, id % 2 == 0)).collect();
    assert_eq!(through, [true, true, true, false, false, false]);
    assert_eq!(alone.received().len(), 3);
    alone.run(300);
    assert!(relayed(&mut alone, 1, 7, true));
}

#[test]
fn a_limit_of_none_relays_nothing_unreadable() {
    let mut alone = Alone::with(limited(0, Some(0), None), 1);
    assert!(!relayed(&mut alone, 1, 1, false));
    assert!(relayed(&mut alone, 1, 2, true));
}

#[test]
fn what_is_for_us_is_not_held_against_its_sender() {
    let mut alone = Alone::with(limited(0, None, Some(1)), 1);
    for id in 1..=5 {
        alone.hear(&message(&header(node(1), node(0), id), TEXT_PORT, b"letter"));
    }
    assert!(relayed(&mut alone, 1, 6, true));
}

#[test]
fn a_full_table_forgets_whom_it_has_counted_for_longest_and_holds_nobody_else_up() {
    let mut alone = Alone::with(limited(0, Some(1), None), 1);
    for who in 1..=SENDERS {
        // All within five minutes.
        alone.hear(&secret(&header(node(who), NodeNum::BROADCAST, who as u32)));
        alone.run(2);
    }
    assert!(!relayed(&mut alone, 1, 101, false) && !relayed(&mut alone, SENDERS, 102, false));
    // One more takes the place of the first, whose count begins anew.
    assert!(relayed(&mut alone, SENDERS + 1, 103, false));
    assert!(relayed(&mut alone, 1, 104, false), "forgotten");
    assert!(!relayed(&mut alone, 3, 105, false), "not forgotten");
}

#[test]
fn who_reads_nothing_limits_nothing_that_it_cannot_read() {
    let mut config = limited(0, Some(0), None);
    config.relaying.rebroadcast = Rebroadcast::AllSkipDecoding;
    let mut alone = Alone::with(config, 1);
    assert!(relayed(&mut alone, 1, 1, false) && relayed(&mut alone, 1, 2, true));
}
