//! The radio itself is asked and set, and each answer finds its request.

mod common;

use common::{Host, NUM};
use compotastic_client::app::{Config, Event, Failure};
use compotastic_messages::*;

fn request() -> AdminMessage<'static> {
    AdminPayload::GetChannelRequest(3).into()
}

fn answer() -> Vec<u8> {
    let settings = ChannelSettings { name: "swarm".into(), psk: &[9; 16], ..ChannelSettings::default() };
    let channel = Channel { index: 2, settings: Some(settings), role: ChannelRole::SECONDARY };
    let payload = Some(AdminPayload::GetChannelResponse(channel));
    AdminMessage { payload, session_passkey: &[1, 2, 3, 4, 5, 6, 7, 8] }.to_vec::<128>().unwrap().to_vec()
}

/// The admin message that is sent now, and its packet's id.
fn sent(host: &mut Host) -> (u32, bool, Vec<u8>) {
    let sent = host.sent();
    let Some(ToRadioPayload::Packet(packet)) = ToRadio::decode(&sent[0]).unwrap().payload else { panic!() };
    let data = packet.decoded().unwrap();
    assert_eq!((packet.to, data.portnum), (NUM, PortNum::ADMIN_APP));
    (packet.id, data.want_response, data.payload.to_vec())
}

#[test]
fn an_answer_finds_its_request_and_the_state_follows() {
    let mut host = Host::ready(Config::default());
    let id = host.session.admin(host.now_ms, &request(), true).unwrap();
    assert_eq!(sent(&mut host), (id, true, request().to_vec::<16>().unwrap().to_vec()));
    assert_eq!(
        host.hears_reply(NUM, PortNum::ROUTING_APP, id, &[0x18, 0]),
        None,
        "the acknowledgement is no answer"
    );
    assert_eq!(host.hears_reply(99, PortNum::ADMIN_APP, id, &answer()), None, "nor is what others say");
    assert_eq!(host.hears_reply(NUM, PortNum::ADMIN_APP, id, &answer()), Some(id));
    assert_eq!(host.hears_reply(NUM, PortNum::ADMIN_APP, id, &answer()), None, "once");
    let slot = host.session.radio().channels[2].clone().unwrap();
    assert_eq!((&slot.name[..], &slot.psk[..]), (&b"swarm"[..], &[9; 16][..]));
    assert_eq!(host.events(), []);
}

#[test]
fn setting_carries_the_key_of_the_session_and_ends_with_its_acknowledgement() {
    let mut host = Host::ready(Config::default());
    let id = host.session.admin(host.now_ms, &request(), true).unwrap();
    host.sent();
    host.hears_reply(NUM, PortNum::ADMIN_APP, id, &answer());
    let set = AdminMessage::from(AdminPayload::RemoveByNodenum(4));
    let id = host.session.admin(host.now_ms, &set, false).unwrap();
    host.now_ms += 100;
    let (_, want_response, bytes) = sent(&mut host);
    assert_eq!(AdminMessage::decode(&bytes).unwrap().session_passkey, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(!want_response);
    host.hears_reply(NUM, PortNum::ROUTING_APP, id, &[0x18, 0]);
    assert_eq!(host.events(), [Event::Delivered { id, by: NUM }]);
    host.run_until(host.now_ms + 15_000, |_| {});
    assert_eq!(host.events(), [], "and does not fail later");
}

#[test]
fn without_an_answer_it_ends() {
    let mut host = Host::ready(Config::default());
    let id = host.session.admin(host.now_ms, &request(), true).unwrap();
    host.sent();
    host.run_until(host.now_ms + 10_000, |_| {});
    assert_eq!(host.events(), [Event::Failed { id, why: Failure::NoAnswer }]);
}

#[test]
fn a_refusal_ends_it() {
    let mut host = Host::ready(Config::default());
    let id = host.session.admin(host.now_ms, &request(), true).unwrap();
    host.sent();
    let refusal = Routing::from_error(RoutingError::NOT_AUTHORIZED).to_vec::<8>().unwrap();
    host.hears_reply(NUM, PortNum::ROUTING_APP, id, &refusal);
    assert_eq!(host.events(), [Event::Failed { id, why: Failure::Routing(RoutingError::NOT_AUTHORIZED) }]);
}
