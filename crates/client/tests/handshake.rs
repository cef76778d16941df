//! The handshake ends with our number only, is tried again, and given up in time.

mod common;

use common::{Host, NUM};
use compotastic_client::app::{Config, DeadReason, Event, Phase, Scope, SendError};
use compotastic_messages::*;

#[test]
fn the_state_is_gathered_and_ends_with_our_number() {
    let mut host = Host::new(Config::default());
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new(), "nothing before the link is open");
    host.session.handle_connected(host.now_ms);
    assert_eq!(host.session.send(&common::text(1)), Err(SendError::NotReady));
    let nonce = host.nonce().unwrap();
    assert!(nonce != 0 && nonce != NONCE_CONFIG_ONLY && nonce != NONCE_NODES_ONLY);
    host.hears_my_info(NUM);
    let metadata =
        DeviceMetadata { firmware_version: "2.7.26.54e0d8d".into(), has_pkc: true, ..Default::default() };
    host.hears(FromRadioPayload::Metadata(metadata));
    let settings = ChannelSettings { name: "swarm".into(), psk: &[1; 32], ..ChannelSettings::default() };
    let channel = Channel { index: 2, settings: Some(settings), role: ChannelRole::SECONDARY };
    host.hears(FromRadioPayload::Channel(channel.clone()));
    let lora = LoRaConfig { region: RegionCode::EU_868, use_preset: true, ..LoRaConfig::default() };
    host.hears(FromRadioPayload::Config(Config_::lora(lora)));
    host.hears(FromRadioPayload::ConfigCompleteId(nonce ^ 1));
    assert_eq!(host.session.phase(), Phase::Configuring, "another number");
    host.hears(FromRadioPayload::ConfigCompleteId(nonce));
    assert_eq!(host.events(), [Event::Ready { num: NUM }]);
    let radio = host.session.radio();
    assert_eq!((radio.num, &radio.firmware[..], radio.has_pkc), (NUM, &b"2.7.26.54e0d8d"[..], true));
    assert_eq!(radio.lora.as_ref().unwrap().region, RegionCode::EU_868);
    assert_eq!(radio.channels[2].as_ref().unwrap().to_message(2), channel);
    assert_eq!(radio.channels[0], None);
}

struct Config_;
impl Config_ {
    fn lora(lora: LoRaConfig) -> compotastic_messages::Config<'static> {
        compotastic_messages::Config { payload: Some(ConfigPayload::Lora(lora)) }
    }
}

#[test]
fn parts_of_the_state_have_their_own_numbers() {
    for (scope, nonce) in [(Scope::ConfigOnly, NONCE_CONFIG_ONLY), (Scope::NodesOnly, NONCE_NODES_ONLY)] {
        let mut host = Host::new(Config { scope, ..Config::default() });
        host.session.handle_connected(0);
        assert_eq!(host.nonce(), Some(nonce));
        if scope == Scope::ConfigOnly {
            host.hears_my_info(NUM);
        }
        host.hears(FromRadioPayload::ConfigCompleteId(nonce));
        assert_eq!(host.session.phase(), Phase::Ready);
    }
}

#[test]
fn a_silent_radio_is_asked_three_times_and_given_up_within_a_minute() {
    let mut host = Host::new(Config::default());
    host.session.handle_connected(host.now_ms);
    let mut asked = vec![(host.now_ms, host.nonce().unwrap())];
    host.run_until(61_000, |host| {
        let now_ms = host.now_ms;
        asked.extend(host.nonce().map(|nonce| (now_ms, nonce)));
    });
    let times: Vec<u64> = asked.iter().map(|(now_ms, _)| *now_ms).collect();
    assert_eq!(times, [1_000, 6_000, 16_000], "each time with more patience");
    assert!(asked[0].1 != asked[1].1 && asked[1].1 != asked[2].1, "each with its own number");
    assert_eq!(host.events(), [Event::Dead(DeadReason::NoHandshake)]);
    assert_eq!((host.session.phase(), host.session.poll_timeout()), (Phase::Connecting, None));
}

#[test]
fn an_answer_to_an_earlier_try_does_not_end_it() {
    let mut host = Host::new(Config::default());
    host.session.handle_connected(host.now_ms);
    let first = host.nonce().unwrap();
    let mut second = None;
    host.run_until(7_000, |host| second = second.or(host.nonce()));
    host.hears_my_info(NUM);
    host.hears(FromRadioPayload::ConfigCompleteId(first));
    assert_eq!(host.session.phase(), Phase::Configuring);
    host.hears_my_info(NUM);
    host.hears(FromRadioPayload::ConfigCompleteId(second.unwrap()));
    assert_eq!(host.events(), [Event::Ready { num: NUM }], "and its repetition is no restart");
}

#[test]
fn a_radio_that_talks_and_never_ends_is_given_up() {
    let mut host = Host::new(Config::default());
    host.session.handle_connected(host.now_ms);
    host.nonce();
    for second in 1..130 {
        host.run_until(1_000 + second * 1_000, |_| {});
        host.hears(FromRadioPayload::LogRecord(LogRecord::default()));
    }
    assert_eq!(host.events(), [Event::Dead(DeadReason::HandshakeTooLong)]);
}

#[test]
fn garbage_is_no_sign_of_life() {
    let mut host = Host::new(Config::default());
    host.session.handle_connected(host.now_ms);
    for second in 1..60 {
        host.run_until(1_000 + second * 1_000, |_| {});
        assert!(host.session.handle_message(host.now_ms, &[0xFF; 20]).is_err());
    }
    assert_eq!(host.events(), [Event::Dead(DeadReason::NoHandshake)]);
}
