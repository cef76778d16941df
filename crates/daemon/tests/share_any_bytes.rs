//! Whatever clients and the radio say, and in which order: the shared radio goes on, and what waits is bounded.

use std::sync::Arc;

use compotastic_client::framing::MAX_MESSAGE;
use compotastic_daemon::share::{ClientId, Hub, Outbox, RadioInput, ShareConfig};
use compotastic_messages::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Connect,
    Leave(usize),
    Client(usize, Vec<u8>),
    Radio(Vec<u8>),
    Own(Vec<u8>),
    Down,
    Pass(u64),
}

/// Bytes that are often a message with fields that the hub looks at.
fn bytes(to_radio: bool) -> impl Strategy<Value = Vec<u8>> {
    let id = 0..6u32;
    let number = prop_oneof![Just(7u32), Just(9), Just(BROADCAST), any::<u32>()];
    let port =
        prop_oneof![Just(1u32), Just(3), Just(4), Just(5), Just(6), Just(67), Just(70), Just(256), 0..600u32];
    let payload = prop::collection::vec(any::<u8>(), 0..60);
    let packet = (id.clone(), number.clone(), number, port, payload, id).prop_map(
        move |(id, from, to, port, payload, request_id)| {
            let data = Data { portnum: PortNum(port), payload: &payload, request_id, ..Data::default() };
            let payload = Some(MeshPacketPayload::Decoded(data));
            let packet = MeshPacket { id, from, to, payload, ..MeshPacket::default() };
            let bytes = if to_radio {
                ToRadio::from(ToRadioPayload::Packet(packet)).to_vec::<512>()
            } else {
                FromRadio::from(FromRadioPayload::Packet(packet)).to_vec::<512>()
            };
            bytes.unwrap().to_vec()
        },
    );
    let asks = any::<u32>().prop_map(|nonce| vec![0x18, (nonce & 0x7F) as u8]);
    let state = prop_oneof![
        Just(vec![0x1A, 2, 8, 7]),
        Just(vec![0x1A, 4, 8, 7, 64, 3]),
        Just(vec![0x1A, 2, 8, 9]),
        Just(vec![0x38, 1]),
        Just(vec![0x40, 1]),
        (0..40u8).prop_map(|num| vec![0x22, 2, 8, num]),
    ];
    prop_oneof![packet, asks, state, prop::collection::vec(any::<u8>(), 0..MAX_MESSAGE)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Connect),
        1 => (0..4usize).prop_map(Step::Leave),
        8 => (0..4usize, bytes(true)).prop_map(|(client, bytes)| Step::Client(client, bytes)),
        8 => bytes(false).prop_map(Step::Radio),
        1 => bytes(false).prop_map(Step::Own),
        1 => Just(Step::Down),
        2 => (0..400_000u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_hub_goes_on(steps in steps()) {
        let mut hub = Hub::new(ShareConfig { clients: 4, ..ShareConfig::default() }, 1);
        let mut clients: Vec<(ClientId, Arc<Outbox>)> = Vec::new();
        let mut now_ms = 0;
        for step in [Step::Connect, Step::Radio(vec![0x1A, 2, 8, 7]), Step::Radio(vec![0x38, 1])].into_iter().chain(steps) {
            match step {
                Step::Connect => clients.extend(hub.connect(now_ms)),
                Step::Leave(at) if at < clients.len() => hub.disconnect(clients.remove(at).0),
                Step::Client(at, bytes) => {
                    if let Some((id, _)) = clients.get(at) {
                        hub.handle_client(now_ms, *id, &bytes);
                    }
                }
                Step::Radio(bytes) => hub.handle_radio(now_ms, &RadioInput::Message(bytes)),
                Step::Own(bytes) => hub.handle_radio(now_ms, &RadioInput::Own(bytes)),
                Step::Down => hub.handle_radio(now_ms, &RadioInput::Down),
                Step::Pass(ms) => now_ms += ms,
                Step::Leave(_) => {}
            }
            hub.handle_timeout(now_ms);
            let mut handed_over = 0;
            while let Some(message) = hub.poll_radio(now_ms) {
                prop_assert!(ToRadio::decode(&message.bytes).is_ok());
                handed_over += 1;
                prop_assert!(handed_over < 200, "no more than what waits");
            }
            if let Some(due_ms) = hub.poll_timeout() {
                prop_assert!(due_ms > now_ms, "nothing is due that was not done");
            }
            prop_assert!(hub.clients() <= 4);
        }
        for (_, outbox) in clients {
            let mut told = 0;
            while let Some(message) = outbox.take() {
                prop_assert!(FromRadio::decode(&message).is_ok());
                told += 1;
            }
            prop_assert!(told < 2_300, "a state and 32 messages");
        }
    }
}
