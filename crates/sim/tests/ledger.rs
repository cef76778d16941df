//! The books against sums made by hand, and against nodes that break the rules: the checker can fail.

mod common;

use common::script::{Script, millis, reach_m};
use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    lora::{Preset, Region},
    modules::POSITION_PORT,
    packet::{Data, Header, NodeNum, PacketId},
    time::Duration,
};
use compotastic_sim::{
    World, WorldConfig,
    ledger::{Category, Ledger, Origin, Traffic},
    radio::{Position, Radio},
};
use compotastic_wire::{Address, Frame, KeyRing, PORT, Report, ReportEntry, ReportWriter, SwarmKey, seal};

const TEXT: u16 = 1;

fn number(index: usize) -> NodeNum {
    NodeNum(0x100 + index as u32)
}

fn channel() -> Channel {
    Channel::new("LongFast", &[1]).unwrap()
}

/// A frame of `length` bytes that says it is from node `from`.
fn frame(from: usize, id: u32, port: u16, length: usize) -> Vec<u8> {
    // Header, port and its key, payload key and length.
    let payload = vec![1; length - 16 - if port < 128 { 2 } else { 3 } - if length > 148 { 3 } else { 2 }];
    let bytes = sealed(from, id, port, &payload);
    assert_eq!(bytes.len(), length);
    bytes
}

fn sealed(from: usize, id: u32, port: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        to: NodeNum::BROADCAST,
        from: number(from),
        id: PacketId(id),
        hop_limit: 3,
        want_ack: false,
        via_mqtt: false,
        hop_start: 3,
        channel_hash: channel().hash(),
        next_hop: 0,
        relay_node: 0,
    };
    let mut data = [0; 239];
    let length = Data { port, payload, ..Data::default() }.encode(&mut data).unwrap();
    ctr_apply(&channel().key, header.from, header.id, &mut data[..length]);
    [&header.emit()[..], &data[..length]].concat()
}

fn report(from: usize, id: u32, priority: u8) -> Vec<u8> {
    let mut buffer = [0; 180];
    let mut writer = ReportWriter::new(&mut buffer);
    let entry = ReportEntry {
        priority,
        form: 0,
        confidence: 9,
        class: 2,
        model_version: 1,
        age_min: 0,
        origin: 4,
        text: None,
    };
    writer.push(&entry).unwrap();
    let frame = Frame::Report(Report::from_entries(writer.finish()));
    let address = Address { from: number(from).0, to: NodeNum::BROADCAST.0, id };
    let mut out = [0; 200];
    let length = seal(&frame, &KeyRing::new(1, SwarmKey([3; 16])), &address, &mut out).unwrap();
    sealed(from, id, PORT, &out[..length])
}

/// Two nodes next to each other.
fn world(nodes: [Script; 2]) -> World<Script> {
    let mut radio = Radio::new(Preset::LongFast.modem(false), Region::Eu868);
    radio.shadowing_db = 0.0;
    let config = WorldConfig { preset: Preset::LongFast, region: Region::Eu868, loss_ppm: 0, seed: 1 };
    let ledger = Ledger::new(vec![channel()], vec![number(0), number(1)], Duration::from_secs(300));
    let mut world = World::new(config, radio, ledger);
    for (index, node) in nodes.into_iter().enumerate() {
        world.add(node, Position { x_m: reach_m() * 0.3 * index as f64, y_m: 0.0 });
    }
    world
}

fn airtime_us(length: usize) -> u64 {
    Preset::LongFast.modem(false).time_on_air_us(length)
}

/// Air time of a frame of 235 bytes: 20.25 symbols of preamble, 8 + 5 * ceil((8 * 235 - 44 + 44) / 44) of payload, 8.192 ms
/// each: 1992.704 ms.
const LONG_US: u64 = 1_992_704;

#[test]
fn sums_by_category_origin_node_and_bin() {
    let nodes = [
        Script::new().send(1000, frame(0, 1, TEXT, 40)).send(400_000, frame(0, 2, POSITION_PORT, 50)),
        // A relayed packet; a repetition of an own one; and one under a name that was never on the air.
        Script::new()
            .send(5000, frame(0, 1, TEXT, 40))
            .send(20_000, frame(1, 3, TEXT, 60))
            .send(30_000, frame(1, 3, TEXT, 60))
            .send(40_000, frame(9, 4, TEXT, 70)),
    ];
    let mut world = world(nodes);
    world.run_until(millis(700_000), |_, _| {});
    let books = &world.ledger;
    let (short, middle, long) = (airtime_us(40), airtime_us(60), airtime_us(70));
    let originated = books.sum_of(Category::Text, Origin::Originated);
    assert_eq!((originated.transmissions, originated.bytes), (4, 40 + 60 + 60 + 70));
    assert_eq!(originated.airtime_us, short + 2 * middle + long);
    let relayed = books.sum_of(Category::Text, Origin::Relayed);
    assert_eq!((relayed.transmissions, relayed.bytes, relayed.airtime_us), (1, 40, short));
    assert_eq!(books.sum(Traffic::Text), originated.plus(relayed));
    assert_eq!(books.sum(Traffic::Stock).airtime_us, airtime_us(50));
    assert_eq!(books.total().airtime_us, 2 * short + 2 * middle + long + airtime_us(50));
    assert_eq!(books.bins(Traffic::Text), [2 * short + 2 * middle + long, 0]);
    assert_eq!(books.bins(Traffic::Stock), [0, airtime_us(50)]);
    assert_eq!(books.node(0).originated.transmissions, 2);
    assert_eq!((books.node(1).originated.transmissions, books.node(1).relayed.transmissions), (3, 1));
    // All of it is heard by the other, so both have used the same: four frames of 40 and 60 bytes and the one of 70
    // lie within one minute.
    let minute_us = 2 * short + 2 * middle + long;
    assert_eq!(books.node(0).max_minute_us, minute_us);
    assert!((books.max_channel_utilization_pct() - minute_us as f64 / 600_000.0).abs() < 1e-9);
}

#[test]
fn duty_cycle_is_the_worst_hour_to_the_microsecond() {
    assert_eq!(airtime_us(235), LONG_US);
    // Frames at 0 and 1800 s and about 3600 s: the window that ends with the third one holds the first one whole as
    // long as the third ends within 3600 s of its beginning.
    let at = |third_ms| {
        let sender = Script::new()
            .send(0, frame(0, 1, TEXT, 235))
            .send(1_800_000, frame(0, 2, TEXT, 235))
            .send(third_ms, frame(0, 3, TEXT, 235));
        let mut world = world([sender, Script::new()]);
        world.run_until(millis(8_000_000), |_, _| {});
        world.ledger.node(0).max_hour_us
    };
    // Ends at 3599 s + 1.992704 s = 3600.992704 s: 0.993728 s of the first are older than an hour.
    assert_eq!(at(3_599_000), 3 * LONG_US - 992_704);
    assert_eq!(at(3_598_006), 3 * LONG_US);
    assert_eq!(at(3_603_000), 2 * LONG_US);
}

#[test]
fn a_bulk_frame_at_25_percent_is_caught() {
    // Seven frames of 1.992704 s within a minute: 13.948928 s. With the eighth it is 15.941632 s, above 15 s.
    for (count, caught) in [(7, 0), (8, 1), (9, 2)] {
        let mut liar = Script::new();
        for index in 0..count {
            liar = liar.send(3000 * u64::from(index), frame(0, index, POSITION_PORT, 235));
        }
        let mut world = world([liar, Script::new()]);
        world.run_until(millis(120_000), |_, _| {});
        assert_eq!(world.ledger.originations_over_gate(), caught, "{count} frames");
        assert_eq!(world.ledger.node(0).over_gate, caught);
        assert_eq!(world.ledger.first_over_gate().is_some(), caught > 0);
    }
}

#[test]
fn what_is_heard_counts_and_relays_are_not_held_back() {
    // One talks for 20 s; what the other then sends of its own is above the gate of bulk, not above that of texts.
    let talk = || {
        let mut talker = Script::new();
        for index in 0..10 {
            talker = talker.send(2500 * u64::from(index), frame(0, index, TEXT, 235));
        }
        talker
    };
    let over = |last: Vec<u8>| {
        let mut world = world([talk(), Script::new().send(30_000, last)]);
        world.run_until(millis(60_000), |_, _| {});
        assert_eq!(world.ledger.node(0).over_gate, 0);
        world.ledger.node(1).over_gate
    };
    assert_eq!(over(frame(1, 50, POSITION_PORT, 50)), 1);
    assert_eq!(over(frame(1, 50, TEXT, 50)), 0);
    assert_eq!(over(frame(0, 3, POSITION_PORT, 235)), 0, "relayed");
    assert_eq!(over(frame(7, 3, POSITION_PORT, 50)), 1, "under a name that nobody sent");
}

#[test]
fn at_40_percent_only_alerts_pass() {
    // Twelve frames: 23.912448 s, just below 24 s.
    let over = |last: Vec<u8>| {
        let mut liar = Script::new();
        for index in 0..12 {
            liar = liar.send(2500 * u64::from(index), frame(0, index, TEXT, 235));
        }
        let mut world = world([liar.send(31_000, last), Script::new()]);
        world.run_until(millis(60_000), |_, _| {});
        world.ledger.originations_over_gate()
    };
    assert_eq!(over(frame(0, 50, TEXT, 40)), 1);
    assert_eq!(over(report(0, 51, 2)), 1, "a report that is not urgent");
    assert_eq!(over(report(0, 52, 3)), 0, "an urgent one");
}

#[test]
fn a_replayed_packet_is_known_for_an_hour_from_the_replay() {
    // On the air at 0 and again at 3595 s; passed on 10 s later, which is more than an hour after the first time.
    let first = Script::new().send(0, frame(0, 7, TEXT, 40)).send(3_595_000, frame(0, 7, TEXT, 40));
    let relay = Script::new().send(3_605_000, frame(0, 7, TEXT, 40)).send(8_000_000, frame(0, 7, TEXT, 40));
    let mut world = world([first, relay]);
    world.run_until(millis(7_900_000), |_, _| {});
    let sums = world.ledger.node(1);
    assert_eq!((sums.originated.transmissions, sums.relayed.transmissions), (0, 1));
    world.run_until(millis(8_100_000), |_, _| {});
    assert_eq!(world.ledger.node(1).originated.transmissions, 1, "an hour of silence makes it new");
}
