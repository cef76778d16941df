//! The air: half duplex, capture, hidden senders, detection, loss, and that nodes do not disturb each other's luck.

mod common;

use common::script::{Script, line_of, millis};
use compotastic_mesh::time::Instant;
use compotastic_sim::{World, radio::Position};

fn heard(world: &World<Script>, id: usize) -> Vec<u8> {
    world.host(id).heard.iter().map(|frame| frame[0]).collect()
}

/// A frame of 40 bytes, which takes 559 ms on LongFast, that begins with this byte.
fn frame(mark: u8) -> Vec<u8> {
    vec![mark; 40]
}

const END: u64 = 100_000;

fn run(world: &mut World<Script>) {
    world.run_until(millis(END), |_, _| {});
}

#[test]
fn a_frame_is_heard_when_it_ends() {
    let mut world = line_of(0.5, 0, 1, vec![Script::new().send(1000, frame(1)), Script::new()]);
    run(&mut world);
    assert_eq!(heard(&world, 1), [1]);
    assert_eq!(world.host(0).sent_at, [millis(1000)]);
    let airtime_us = world.ledger.total().airtime_us;
    // SF 11, 250 kHz, 4/5: 20.25 symbols of preamble, 8 + 5 * ceil((8 * 40 - 44 + 44) / 44) of payload, 8.192 ms each.
    assert_eq!(airtime_us, ((20.25 + 48.0) * 8192.0) as u64);
    assert_eq!(world.host(1).heard_at, [Instant::from_micros(1_000_000 + airtime_us)]);
}

#[test]
fn who_sends_does_not_hear() {
    let both = vec![Script::new().send(1000, frame(1)), Script::new().send(1010, frame(2)).deaf_to_busy()];
    let mut world = line_of(0.5, 0, 1, both);
    run(&mut world);
    assert_eq!((heard(&world, 0), heard(&world, 1)), (vec![], vec![]));
    // Nor does it notice energy.
    assert_eq!(world.host(0).bad, 0);
}

#[test]
fn hidden_senders_destroy_each_other_in_the_middle() {
    // Two steps apart the ends do not sense each other; the one in the middle hears both equally well.
    let ends = vec![Script::new().send(1000, frame(1)), Script::new(), Script::new().send(1200, frame(2))];
    let mut world = line_of(0.95, 0, 1, ends);
    run(&mut world);
    assert!(heard(&world, 1).is_empty());
    // It locked on the first and so never saw the second.
    assert_eq!(world.host(1).bad, 1);
    assert_eq!(world.host(2).busy_polls, 0, "the ends are hidden from each other");
}

/// Two senders at both sides of a receiver; the second begins 300 ms later, after the header of the first. What the receiver gets, right and bad, when the first
/// stands at `ratio` of the second's distance.
fn two_at_once(ratio: f64) -> (Vec<u8>, usize) {
    let nodes = vec![
        Script::new().send(1000, frame(1)),
        Script::new(),
        Script::new().send(1300, frame(2)).deaf_to_busy(),
    ];
    let mut world = common::script::world(0, 1);
    let step = common::script::reach_m() * 0.5;
    for (node, x_m) in nodes.into_iter().zip([-step * ratio, 0.0, step]) {
        world.add(node, Position { x_m, y_m: 0.0 });
    }
    run(&mut world);
    (heard(&world, 1), world.host(1).bad)
}

#[test]
fn the_first_of_two_frames_is_captured_if_it_is_stronger() {
    // 10 * 3.4 * log10(1 / 0.4) = 13.5 dB stronger.
    assert_eq!(two_at_once(0.4), (vec![1], 0));
}

#[test]
fn a_stronger_frame_destroys_the_first_and_is_not_received_either() {
    // 6 dB stronger, but the only demodulator is taken until the first frame ends.
    assert_eq!(two_at_once(1.5), (vec![], 1));
}

#[test]
fn a_stronger_frame_that_comes_within_the_first_preamble_is_received() {
    let nodes = vec![
        Script::new().send(1000, frame(1)),
        Script::new(),
        Script::new().send(1020, frame(2)).deaf_to_busy(),
    ];
    let mut world = common::script::world(0, 1);
    let step = common::script::reach_m() * 0.5;
    for (node, x_m) in nodes.into_iter().zip([-step * 1.5, 0.0, step]) {
        world.add(node, Position { x_m, y_m: 0.0 });
    }
    run(&mut world);
    assert_eq!((heard(&world, 1), world.host(1).bad), (vec![2], 0));
}

#[test]
fn an_overlap_of_the_early_preamble_does_no_harm() {
    // The first frame ends 559.104 ms after its start; the second needs the last 5 of its 16 preamble symbols,
    // and may be disturbed for 11 symbols = 90.1 ms.
    for (start, second) in [(1000 + 559 - 85, true), (1000 + 559 - 95, false)] {
        let ends =
            vec![Script::new().send(1000, frame(1)), Script::new(), Script::new().send(start, frame(2))];
        let mut world = line_of(0.95, 0, 1, ends);
        run(&mut world);
        // The first was locked on long before, and its payload is overlapped by an equal; the receiver is free when it ends.
        assert_eq!(heard(&world, 1), if second { vec![2] } else { vec![] }, "second begins at {start} ms");
    }
}

#[test]
fn activity_is_detected_a_slot_after_it_begins() {
    // The slot of LongFast is 28 ms.
    for (start, detected) in [(1027, false), (1029, true)] {
        let nodes = vec![Script::new().send(1000, frame(1)), Script::new().send(start, frame(2))];
        let mut world = line_of(0.5, 0, 1, nodes);
        run(&mut world);
        assert_eq!(world.host(1).busy_polls > 0, detected, "begins at {start} ms");
        assert_eq!(heard(&world, 0), if detected { vec![2] } else { vec![] });
    }
}

#[test]
fn loss_comes_at_the_rate_that_is_asked_for() {
    for loss_ppm in [0, 100_000, 300_000] {
        let mut sender = Script::new();
        for count in 0..4000 {
            sender = sender.send(1000 * count, frame(1));
        }
        let mut world = line_of(0.3, loss_ppm, 9, vec![sender, Script::new()]);
        world.run_until(millis(5_000_000), |_, _| {});
        let heard = world.host(1).heard.len() as f64 / 4000.0;
        let expected = 1.0 - f64::from(loss_ppm) / 1e6;
        // Four standard deviations.
        assert!((heard - expected).abs() < 0.03, "{loss_ppm} ppm: {heard} heard");
        assert_eq!(world.host(1).heard.len() + world.host(1).bad, 4000, "lost frames count as energy");
    }
}

#[test]
fn a_node_more_does_not_change_the_luck_of_the_others() {
    let fates = |more: bool| {
        let mut sender = Script::new();
        let mut other = Script::new();
        for count in 0..300 {
            sender = sender.send(2000 * count, vec![(count % 251) as u8; 20]);
            other = other.send(2000 * count + 1000, vec![255; 20]);
        }
        let nodes = vec![sender, Script::new(), if more { other } else { Script::new() }];
        let mut world = line_of(0.6, 300_000, 4, nodes);
        world.run_until(millis(700_000), |_, _| {});
        let mut marks = heard(&world, 1);
        marks.retain(|mark| *mark != 255);
        marks
    };
    let alone = fates(false);
    assert!(alone.len() > 150 && alone.len() < 250);
    assert_eq!(alone, fates(true));
}

#[test]
fn a_node_that_is_switched_off_cuts_its_frame_and_hears_nothing() {
    let nodes = || vec![Script::new().send(1000, frame(1)).send(3000, frame(2)), Script::new()];
    let mut world = line_of(0.5, 0, 1, nodes());
    world.run_until(millis(1300), |_, _| {});
    world.set_on(0, false);
    world.run_until(millis(2000), |_, _| {});
    assert!(heard(&world, 1).is_empty());
    assert_eq!(world.host(1).bad, 1, "it had read the header, and waited for the rest");
    world.set_on(0, true);
    world.run_until(millis(3200), |_, _| {});
    // The receiver comes back in the middle of the second frame.
    world.set_on(1, false);
    world.set_on(1, true);
    run(&mut world);
    assert!(heard(&world, 1).is_empty());
    assert_eq!(world.host(1).bad, 1, "no header, nothing noticed");
    assert_eq!(world.now(), millis(END), "time reaches its end although nothing happens any more");
}

#[test]
fn far_nodes_do_not_hear_each_other_at_all() {
    let mut world = line_of(3.0, 0, 1, vec![Script::new().send(1000, frame(1)), Script::new()]);
    run(&mut world);
    assert_eq!((world.host(1).heard.len(), world.host(1).bad), (0, 0));
    assert!(world.links(1).is_empty());
}
