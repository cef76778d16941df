//! What others want to say to the radio is passed on as it is, but for what is the session's own business.

mod common;

use common::{Host, text};
use compotastic_client::app::{Config, SendError};
use compotastic_messages::*;

fn raw(payload: ToRadioPayload<'_>) -> Vec<u8> {
    ToRadio::from(payload).to_vec::<512>().unwrap().to_vec()
}

#[test]
fn packets_and_data_for_the_radio_go_byte_for_byte() {
    let mut host = Host::ready(Config::default());
    // With a field that we do not know.
    let packet = [raw(ToRadioPayload::Packet(text(5))), vec![0x98, 6, 1]].concat();
    let others = [
        raw(ToRadioPayload::MqttClientProxyMessage(b"x")),
        raw(ToRadioPayload::XmodemPacket(XModem::default())),
        raw(ToRadioPayload::Heartbeat(Heartbeat { nonce: 1 })),
    ];
    host.session.send_raw(&packet).unwrap();
    others.iter().for_each(|message| host.session.send_raw(message).unwrap());
    assert_eq!(host.sent(), [&[packet][..], &others[..]].concat());
}

#[test]
fn handshakes_signs_of_life_and_nonsense_do_not_pass() {
    let mut host = Host::ready(Config::default());
    for message in [
        raw(ToRadioPayload::WantConfigId(1)),
        raw(ToRadioPayload::Heartbeat(Heartbeat::default())),
        raw(ToRadioPayload::Disconnect(true)),
        vec![],
        vec![0xFF; 9],
    ] {
        assert_eq!(host.session.send_raw(&message), Err(SendError::NotForward), "{message:02x?}");
    }
    assert_eq!(host.session.send_raw(&[0; 513]), Err(SendError::TooLarge));
    let mut closed = Host::new(Config::default());
    assert_eq!(closed.session.send_raw(&raw(ToRadioPayload::Packet(text(5)))), Err(SendError::NotReady));
}

#[test]
fn data_for_the_radio_needs_no_room() {
    let mut host = Host::ready(Config::default());
    host.hears_status(0, 0, 0);
    let message = raw(ToRadioPayload::MqttClientProxyMessage(b"x"));
    host.session.send_raw(&message).unwrap();
    assert_eq!(host.sent(), [message]);
}

#[test]
fn the_radio_is_told_when_the_app_goes() {
    let mut host = Host::ready(Config::default());
    host.session.send(&text(5)).unwrap();
    host.session.say_goodbye();
    let sent = host.sent();
    assert_eq!(sent.last(), Some(&raw(ToRadioPayload::Disconnect(true))), "after what waits");
    assert_eq!(sent.len(), 2);
}
