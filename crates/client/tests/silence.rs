//! The radio is kept from closing the link, asked for a sign of life, and given up in time.

mod common;

use common::Host;
use compotastic_client::app::{Config, DeadReason, Event, Phase};
use compotastic_messages::*;

#[test]
fn a_radio_that_falls_silent_is_dead_after_forty_seconds() {
    let mut host = Host::ready(Config::default());
    let mut asked = Vec::new();
    host.run_until(41_000, |host| {
        if host.heartbeat() {
            asked.push(host.now_ms);
        }
    });
    assert_eq!(asked, [21_000, 31_000]);
    assert_eq!(host.events(), [Event::Dead(DeadReason::Silent)]);
    assert_eq!(host.session.phase(), Phase::Connecting);
    host.session.handle_connected(host.now_ms);
    host.answer_handshake();
    assert_eq!(host.session.phase(), Phase::Ready, "and it can be used again");
}

#[test]
fn an_answer_keeps_the_link() {
    let mut host = Host::ready(Config::default());
    host.run_until(600_000, |host| {
        if host.heartbeat() {
            host.hears_status(16, 0, 0);
        }
    });
    assert!(!host.events().iter().any(|event| matches!(event, Event::Dead(_))));
    assert_eq!(host.session.phase(), Phase::Ready);
}

#[test]
fn while_the_radio_talks_it_still_hears_of_us_every_five_minutes() {
    let mut host = Host::ready(Config::default());
    let mut beats = Vec::new();
    for second in 2..2_000u64 {
        host.run_until(second * 1_000, |host| {
            if host.heartbeat() {
                beats.push(host.now_ms / 1_000);
            }
        });
        host.hears(FromRadioPayload::LogRecord(LogRecord::default()));
    }
    assert_eq!(beats, [301, 601, 901, 1_201, 1_501, 1_801]);
}
