//! The plain-text bot that ours is compared with costs what the rules say: question, acknowledgement, answer, acknowledgement.

mod common;

use common::{at, channels, number};
use compotastic_mesh::{
    lora::{Preset, Region},
    router::{Relaying, Role, RouterConfig},
    time::Duration,
};
use compotastic_sim::{
    World, WorldConfig,
    ledger::{Ledger, Sum, Traffic},
    radio::{Position, Radio},
    stock::{Conversation, StockNode},
};
use compotastic_wire::PORT;

/// Packet header, port and its key, payload key and length.
const AROUND_TEXT: u64 = 16 + 2 + 2;
/// Routing message: packet header, port, two bytes of payload, the packet it names, the bitfield.
const ACK: u64 = 16 + 2 + 2 + 2 + 5 + 2;

fn bot(answer: usize, port: u16, wants_ack: bool) -> (World<StockNode>, u64) {
    let mut radio = Radio::new(Preset::LongFast.modem(false), Region::Eu868);
    radio.shadowing_db = 0.0;
    let config = WorldConfig { preset: Preset::LongFast, region: Region::Eu868, loss_ppm: 0, seed: 1 };
    let ledger = Ledger::new(channels(), vec![number(0), number(1)], Duration::from_secs(300));
    let mut world = World::new(config, radio, ledger);
    let conversation = Conversation { bot: number(0), port, channel: 1, answers_want_ack: wants_ack };
    for index in 0..2 {
        let router = RouterConfig {
            num: number(index),
            role: Role::Client,
            preset: Preset::LongFast,
            region: Region::Eu868,
            hop_limit: 7,
            channels: channels().into_iter().collect(),
            own_port: PORT,
            relaying: Relaying::default(),
        };
        let node = StockNode::new(router, conversation, vec![b'a'; answer], 1 + index as u64);
        world.add(node, Position { x_m: 500.0 * index as f64, y_m: 0.0 });
    }
    // Until they have heard each other.
    world.run_until(at(3600), |_, _| {});
    let before = spent(&world);
    world.with_host(1, |host, now| host.ask(now, b"Who is at the hut?"));
    world.run_until(at(3660), |_, _| {});
    assert_eq!(world.host(1).answered, 1);
    assert_eq!(world.host(1).open(), 0);
    let after = spent(&world);
    (world, (after.bytes - before.bytes) << 32 | (after.transmissions - before.transmissions))
}

fn spent(world: &World<StockNode>) -> Sum {
    [Traffic::Text, Traffic::Ack, Traffic::Other, Traffic::Job]
        .iter()
        .fold(Sum::default(), |sum, kind| sum.plus(world.ledger.sum(*kind)))
}

#[test]
fn a_question_and_its_answer_are_four_packets() {
    for answer in [40, 180] {
        let (_, cost) = bot(answer, 1, true);
        let length_bytes = u64::from(answer > 127);
        let expected = (AROUND_TEXT + 18) + ACK + (AROUND_TEXT + length_bytes + answer as u64) + ACK;
        assert_eq!((cost & 0xFFFF_FFFF, cost >> 32), (4, expected), "{answer} characters");
    }
}

#[test]
fn the_floor_is_two_packets_without_acknowledgement() {
    let (_, cost) = bot(0, PORT, false);
    // The question is given here with its text; the answer is the smallest packet: the header and a port of two bytes.
    let expected = (AROUND_TEXT + 1 + 18) + (16 + 3);
    assert_eq!((cost & 0xFFFF_FFFF, cost >> 32), (2, expected));
}
