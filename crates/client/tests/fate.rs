//! What became of a packet is told once it is known.

mod common;

use common::{Host, NUM, text};
use compotastic_client::app::{Config, Event, Failure};
use compotastic_messages::*;

fn sent(id: u32) -> Host {
    let mut host = Host::ready(Config::default());
    assert_eq!(host.session.send(&text(id)), Ok(id));
    assert_eq!(host.sent_ids(), [id]);
    host
}

fn routing(error: RoutingError) -> Vec<u8> {
    Routing::from_error(error).to_vec::<8>().unwrap().to_vec()
}

#[test]
fn a_relay_first_and_then_the_destination() {
    let mut host = sent(5);
    host.hears_reply(NUM, PortNum::ROUTING_APP, 5, &routing(RoutingError::NONE));
    host.hears_reply(99, PortNum::ROUTING_APP, 5, &routing(RoutingError::NONE));
    host.hears_reply(99, PortNum::ROUTING_APP, 5, &routing(RoutingError::NONE));
    assert_eq!(host.events(), [Event::Delivered { id: 5, by: NUM }, Event::Delivered { id: 5, by: 99 }]);
}

#[test]
fn an_answer_is_an_acknowledgement() {
    let mut host = sent(5);
    host.hears_reply(99, PortNum::TRACEROUTE_APP, 5, &[]);
    assert_eq!(host.events(), [Event::Delivered { id: 5, by: 99 }]);
}

#[test]
fn errors_of_the_mesh_and_of_the_queue() {
    let mut host = sent(5);
    host.hears_reply(NUM, PortNum::ROUTING_APP, 5, &routing(RoutingError::MAX_RETRANSMIT));
    let why = Failure::Routing(RoutingError::MAX_RETRANSMIT);
    assert_eq!(host.events(), [Event::Failed { id: 5, why }]);
    for (res, why) in [
        (32, Failure::Refused(32)),
        (39, Failure::Routing(RoutingError::PKI_SEND_FAIL_PUBLIC_KEY)),
        (6, Failure::Routing(RoutingError::NO_CHANNEL)),
    ] {
        let mut host = sent(6);
        host.hears_status(3, res, 6);
        assert_eq!(host.events(), [Event::Queue { free: 3, maxlen: 16 }, Event::Failed { id: 6, why }]);
    }
}

#[test]
fn packets_of_others_say_nothing() {
    let mut host = sent(5);
    host.hears_reply(99, PortNum::ROUTING_APP, 6, &routing(RoutingError::NONE));
    host.hears_status(3, 32, 6);
    assert_eq!(host.events(), [Event::Queue { free: 3, maxlen: 16 }]);
}

#[test]
fn our_number_is_in_it_and_an_id_is_drawn_where_there_is_none() {
    let mut host = Host::ready(Config::default());
    let id = host.session.send(&text(0)).unwrap();
    assert_ne!(id, 0);
    let sent = host.sent();
    let Some(ToRadioPayload::Packet(packet)) = ToRadio::decode(&sent[0]).unwrap().payload else { panic!() };
    assert_eq!((packet.id, packet.from), (id, NUM));
}

#[test]
fn the_radios_own_measurements_are_told() {
    let mut host = Host::ready(Config::default());
    let metrics =
        DeviceMetrics { channel_utilization: Some(12.5), air_util_tx: Some(0.5), ..Default::default() };
    let telemetry = Telemetry { time: 9, variant: Some(TelemetryVariant::DeviceMetrics(metrics.clone())) }
        .to_vec::<64>()
        .unwrap();
    host.hears_reply(99, PortNum::TELEMETRY_APP, 0, &telemetry);
    assert_eq!(host.events(), [], "another node's");
    host.hears_reply(NUM, PortNum::TELEMETRY_APP, 0, &telemetry);
    assert_eq!(host.events(), [Event::Metrics { time: 9, metrics }]);
}
