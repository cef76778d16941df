//! Packets are handed over as the radio has room, without relying on its word.

mod common;

use common::{Host, text};
use compotastic_client::app::{Config, SendError};

#[test]
fn packets_keep_their_distance_and_order() {
    let mut host = Host::ready(Config::default());
    for id in 1..=3 {
        host.session.send(&text(id)).unwrap();
    }
    assert_eq!(host.sent_ids(), [1]);
    let mut sent = Vec::new();
    host.run_until(2_000, |host| {
        let now_ms = host.now_ms;
        sent.extend(host.sent_ids().into_iter().map(|id| (now_ms, id)));
    });
    assert_eq!(sent, [(1_050, 2), (1_100, 3)]);
}

#[test]
fn only_so_many_wait() {
    let mut host = Host::ready(Config::default());
    let taken = (1..100).take_while(|id| host.session.send(&text(*id)) != Err(SendError::Busy)).count();
    assert_eq!(taken, 8);
}

#[test]
fn without_room_nothing_goes_until_the_radio_tells() {
    let mut host = Host::ready(Config::default());
    host.hears_status(0, 0, 0);
    host.session.send(&text(9)).unwrap();
    host.run_until(5_000, |host| assert_eq!(host.sent_ids(), []));
    host.hears_status(1, 0, 0);
    assert_eq!(host.sent_ids(), [9]);
}

#[test]
fn without_word_the_radio_is_asked_and_then_tried() {
    let mut host = Host::ready(Config::default());
    host.hears_status(0, 0, 0);
    host.session.send(&text(9)).unwrap();
    let (mut asked, mut sent) = (Vec::new(), Vec::new());
    host.run_until(15_000, |host| {
        for message in host.sent() {
            // A heartbeat is the shortest message there is.
            if message.len() < 5 { asked.push(host.now_ms) } else { sent.push(host.now_ms) }
        }
    });
    assert_eq!((asked, sent), (vec![6_000], vec![11_000]));
}

#[test]
fn a_radio_that_never_tells_still_gets_packets() {
    let mut host = Host::ready(Config::default());
    let (mut next, mut sent) = (1, 0);
    // It answers questions for a sign of life with something else.
    for second in 2..200 {
        while host.session.send(&text(next)).is_ok() {
            next += 1;
        }
        host.run_until(second * 1_000, |host| sent += host.sent_ids().len());
        host.hears(compotastic_messages::FromRadioPayload::LogRecord(Default::default()));
    }
    assert!((20..60).contains(&sent), "about one in ten seconds and the first few: {sent}");
}
