//! The rebroadcast modes: what gets through a relay, and what the relay itself is told.

mod common;

use common::{
    Alone, Ether, OWN_PORT, TEXT_PORT, at, channel, config, header, message, node, outgoing, secret,
};
use compotastic_mesh::{
    modules::NODEINFO_PORT,
    packet::{Header, NodeNum},
    router::{KNOWN, Rebroadcast, Relaying, Role, Router, RouterConfig},
    time::Instant,
};

fn mode(index: usize, rebroadcast: Rebroadcast) -> RouterConfig {
    let relaying = Relaying { rebroadcast, ..Relaying::default() };
    RouterConfig { relaying, ..config(index, Role::Client) }
}

/// Sends on this port from one end of a line of three to the other; how often the relay and the receiver got it.
fn cross(rebroadcast: Rebroadcast, port: u16, readable: bool, introduced: bool) -> (usize, usize) {
    let mut ether = Ether::line_with(3, mode(1, rebroadcast));
    if !readable {
        for index in [0, 2] {
            let channels = [channel(99)].into_iter().collect();
            let config = RouterConfig { channels, ..config(index, Role::Client) };
            ether.routers[index] = Router::new(config, index as u64, Instant::ZERO);
        }
    }
    if introduced {
        ether.send(0, &outgoing(NodeNum::BROADCAST, 1, NODEINFO_PORT, b"it is me"));
        ether.run(at(60));
    }
    let before = (ether.received(1).len(), ether.received(2).len());
    ether.send(0, &outgoing(NodeNum::BROADCAST, 9, port, b"x"));
    ether.run(at(120));
    (ether.received(1).len() - before.0, ether.received(2).len() - before.1)
}

#[test]
fn all_relays_what_it_can_read_and_what_it_cannot() {
    for port in [TEXT_PORT, OWN_PORT, 256, 511] {
        assert_eq!(cross(Rebroadcast::All, port, true, false), (1, 1), "port {port}");
        assert_eq!(cross(Rebroadcast::All, port, false, false), (0, 1), "port {port}");
    }
}

#[test]
fn all_skip_decoding_relays_the_same_and_reads_only_what_is_for_itself() {
    for port in [TEXT_PORT, OWN_PORT] {
        assert_eq!(cross(Rebroadcast::AllSkipDecoding, port, true, false), (0, 1), "port {port}");
        assert_eq!(cross(Rebroadcast::AllSkipDecoding, port, false, false), (0, 1), "port {port}");
    }
    let mut alone = Alone::with(mode(0, Rebroadcast::AllSkipDecoding), 1);
    alone.hear(&message(&Header { want_ack: true, ..header(node(1), node(0), 9) }, TEXT_PORT, b"letter"));
    alone.run(60);
    assert_eq!(alone.received().len(), 1);
    assert_eq!(alone.sent.len(), 1, "it acknowledges");
    assert_eq!(alone.sent[0].header.to, node(1));
}

#[test]
fn local_only_relays_what_it_can_read() {
    for port in [TEXT_PORT, OWN_PORT] {
        assert_eq!(cross(Rebroadcast::LocalOnly, port, true, false), (1, 1), "port {port}");
        assert_eq!(cross(Rebroadcast::LocalOnly, port, false, false), (0, 0), "port {port}");
    }
}

#[test]
fn known_only_relays_what_it_can_read_of_nodes_that_have_told_who_they_are() {
    for (readable, introduced, relayed) in
        [(true, true, 1), (true, false, 0), (false, true, 0), (false, false, 0)]
    {
        let crossed = cross(Rebroadcast::KnownOnly, TEXT_PORT, readable, introduced);
        assert_eq!(crossed, (usize::from(readable), relayed), "readable {readable}, introduced {introduced}");
    }
}

#[test]
fn known_only_does_not_relay_the_introduction_itself_but_the_next_one() {
    let mut alone = Alone::with(mode(0, Rebroadcast::KnownOnly), 1);
    for id in 1..=2 {
        alone.hear(&message(&header(node(1), NodeNum::BROADCAST, id), NODEINFO_PORT, b"it is me"));
        alone.run(60);
    }
    assert_eq!((alone.sent(1).len(), alone.sent(2).len()), (0, 1));
    // A copy of what was refused is refused too, whatever has become known meanwhile.
    let late =
        Header { hop_limit: 2, relay_node: node(2).last_byte(), ..header(node(1), NodeNum::BROADCAST, 1) };
    alone.hear(&message(&late, NODEINFO_PORT, b"it is me"));
    alone.run(60);
    assert!(alone.sent(1).is_empty());
}

#[test]
fn known_only_forgets_whom_it_has_not_heard_for_longest() {
    let mut alone = Alone::with(mode(0, Rebroadcast::KnownOnly), 1);
    let say = |alone: &mut Alone, who: usize, id: u32, port: u16| {
        alone.hear(&message(&header(node(who), NodeNum::BROADCAST, id), port, b"x"));
        alone.run(60);
        alone.sent(id).len()
    };
    for who in 1..=KNOWN {
        assert_eq!(say(&mut alone, who, 100 + who as u32, NODEINFO_PORT), 0);
    }
    // The first is heard of again, so the second is the one that one more takes the place of.
    assert_eq!(say(&mut alone, 1, 1, TEXT_PORT), 1);
    assert_eq!(say(&mut alone, KNOWN + 1, 2, NODEINFO_PORT), 0);
    assert_eq!(say(&mut alone, KNOWN + 1, 3, TEXT_PORT), 1);
    assert_eq!(say(&mut alone, 1, 4, TEXT_PORT), 1);
    assert_eq!(say(&mut alone, 2, 5, TEXT_PORT), 0);
    assert_eq!(say(&mut alone, 3, 6, TEXT_PORT), 1);
}

#[test]
fn none_relays_nothing_and_still_reads_and_answers() {
    for readable in [true, false] {
        assert_eq!(cross(Rebroadcast::None, TEXT_PORT, readable, true), (usize::from(readable), 0));
    }
    // Not even when it is asked by name.
    let mut alone = Alone::with(mode(0, Rebroadcast::None), 1);
    let named = Header { next_hop: node(0).last_byte(), ..header(node(1), node(5), 8) };
    alone.hear(&message(&named, TEXT_PORT, b"letter"));
    alone.hear(&message(&Header { want_ack: true, ..header(node(1), node(0), 9) }, TEXT_PORT, b"letter"));
    alone.run(60);
    assert_eq!(alone.sent.len(), 1);
    assert_eq!(alone.sent[0].header.to, node(1), "its acknowledgement");
}

#[test]
fn core_portnums_only_relays_the_core_and_what_it_cannot_read() {
    let core = [1, 3, 4, 5, 6, 7, 8, 11, 12, 35, 65, 67, 70];
    for port in (1..=80).chain([112, 256, 257, OWN_PORT, 511]) {
        let through = usize::from(core.contains(&port));
        assert_eq!(
            cross(Rebroadcast::CorePortnumsOnly, port, true, false),
            (through, through),
            "port {port}"
        );
        assert_eq!(cross(Rebroadcast::CorePortnumsOnly, port, false, false), (0, 1), "port {port}, unread");
    }
}

#[test]
fn core_portnums_only_does_not_answer_on_other_ports_even_if_it_is_repeated() {
    let mut alone = Alone::with(mode(0, Rebroadcast::CorePortnumsOnly), 1);
    for _ in 0..3 {
        alone.hear(&message(&Header { want_ack: true, ..header(node(1), node(0), 9) }, 256, b"letter"));
        alone.run(60);
    }
    assert!(alone.sent.is_empty() && alone.received().is_empty());
}

#[test]
fn an_unreadable_packet_by_name_is_refused_like_a_flood() {
    for mode_of in [Rebroadcast::LocalOnly, Rebroadcast::KnownOnly, Rebroadcast::None] {
        let mut alone = Alone::with(mode(0, mode_of), 1);
        alone.meet(node(5), 0, node(5));
        alone.hear(&secret(&Header { next_hop: node(0).last_byte(), ..header(node(1), node(5), 9) }));
        alone.run(60);
        assert!(alone.sent.is_empty(), "{mode_of}");
    }
}

#[test]
fn names_are_read_however_they_are_written() {
    for (index, mode) in Rebroadcast::ALL.into_iter().enumerate() {
        assert_eq!(mode.to_string().parse(), Ok(mode));
        assert_eq!(mode.name().to_uppercase().replace('-', "_").parse(), Ok(mode));
        assert_eq!(mode as usize, index, "{mode}");
    }
    assert!("some".parse::<Rebroadcast>().is_err());
}
