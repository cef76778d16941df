//! The longest payloads, by the table that was measured at a running node.

mod common;

use common::natives::{Natives, citizen, num};
use compotastic_mesh::{
    citizen::{CitizenConfig, Message},
    packet::{MAX_FRAME, NodeNum},
    router::SendError,
};

/// What is sent, and the longest payload on a port up to 127 and on a private one.
const TABLE: [(Kind, bool, bool, usize, usize); 8] = [
    (Kind::Broadcast, false, false, 232, 231),
    (Kind::Signed, false, false, 166, 165),
    (Kind::Channel, false, true, 227, 226),
    (Kind::Channel, true, true, 225, 224),
    (Kind::PublicKeys, false, false, 220, 219),
    (Kind::PublicKeys, false, true, 215, 214),
    (Kind::PublicKeys, true, true, 213, 212),
    (Kind::Channel, false, false, 232, 231),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Broadcast,
    Signed,
    Channel,
    PublicKeys,
}

#[test]
fn payloads_up_to_the_limit_fill_the_frame_and_one_byte_more_is_refused() {
    for (kind, want_response, answers, core, private) in TABLE {
        for (port, longest) in [(67, core), (448 - 1, private)] {
            let keys = |index| citizen(index).keys.filter(|_| kind != Kind::Channel);
            let settings =
                |index| CitizenConfig { keys: keys(index), sign: kind == Kind::Signed, ..citizen(index) };
            let mut mesh = Natives::line((0..2).map(settings));
            mesh.introduce(0, 1);
            let broadcast = matches!(kind, Kind::Broadcast | Kind::Signed);
            let to = if broadcast { NodeNum::BROADCAST } else { num(1) };
            let payload = vec![7; 240];
            let message = |length: usize| Message {
                want_response,
                want_ack: false,
                request_id: answers.then_some(9),
                ..Message::new(to, 0, port, &payload[..length])
            };
            mesh.send(0, &message(longest));
            mesh.run(20);
            assert_eq!(mesh.sent[0].bytes.len(), MAX_FRAME, "{kind:?} {port}");
            assert_eq!(mesh.packets(1, port)[0].0.payload.len(), longest, "{kind:?} {port}");
            let now = mesh.now;
            let more = mesh.nodes[0].send(now, &message(longest + 1));
            if kind == Kind::Signed {
                // It goes, without a signature.
                assert!(more.is_ok());
            } else {
                assert_eq!(more, Err(SendError::TooLarge), "{kind:?} {port}");
            }
        }
    }
}
