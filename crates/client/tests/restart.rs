//! A radio that was started anew is noticed, and asked for its state again.

mod common;

use common::{Host, NUM, text};
use compotastic_client::app::{Config, Event, Failure, Phase};
use compotastic_messages::*;

#[test]
fn it_says_so_itself() {
    let mut host = Host::ready(Config::default());
    host.hears(FromRadioPayload::Rebooted(true));
    assert_eq!((host.events(), host.session.phase()), (vec![Event::Restarted], Phase::Configuring));
    host.answer_handshake();
    assert_eq!(host.events(), [Event::Ready { num: NUM }]);
}

#[test]
fn its_number_comes_unasked() {
    let mut host = Host::ready(Config::default());
    host.hears_my_info(NUM);
    assert_eq!(host.events(), [Event::Restarted]);
    host.answer_handshake();
}

#[test]
fn another_number_is_told() {
    let mut host = Host::ready(Config::default());
    host.session.handle_disconnected();
    host.session.handle_connected(host.now_ms);
    let nonce = host.nonce().unwrap();
    host.hears_my_info(77);
    host.hears(FromRadioPayload::ConfigCompleteId(nonce));
    assert_eq!(host.events(), [Event::NumberChanged { old: NUM, new: 77 }, Event::Ready { num: 77 }]);
}

#[test]
fn packets_that_wait_go_after_it_and_requests_fail() {
    let mut host = Host::ready(Config::default());
    host.hears_status(0, 0, 0);
    host.session.send(&text(5)).unwrap();
    let request = AdminMessage::from(AdminPayload::GetOwnerRequest(true));
    let id = host.session.admin(host.now_ms, &request, true).unwrap();
    host.events();
    host.hears(FromRadioPayload::Rebooted(true));
    assert_eq!(host.events(), [Event::Restarted, Event::Failed { id, why: Failure::LinkLost }]);
    assert_eq!(host.sent_ids(), [], "not while the radio starts");
    host.session.handle_connected(host.now_ms);
    assert_eq!(
        host.events()[0],
        Event::Failed { id: 5, why: Failure::LinkLost },
        "a new link drops what waited"
    );
}

#[test]
fn packets_that_wait_go_when_the_radio_is_back() {
    let mut host = Host::ready(Config::default());
    host.hears_status(0, 0, 0);
    host.session.send(&text(5)).unwrap();
    host.hears(FromRadioPayload::Rebooted(true));
    host.answer_handshake();
    assert_eq!(host.sent_ids(), [5]);
}
