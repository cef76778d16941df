//! While all agree there are Trickle beacons and nothing else; and nobody can make a node say more than its share.

mod sync_world;

use compotastic_mesh::rng::Rng;
use compotastic_node::sync::Config;
use compotastic_wire::{
    Frame, FrameClass, MAX_PAYLOAD, SyncDigest, SyncForm, SyncItem, SyncItemWriter, SyncList, SyncRecords,
};
use sync_world::{World, number};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// All hear each other but for the last, who hears the first.
fn settled(seed: u64) -> World {
    let mut links: Vec<(usize, usize)> = (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b))).collect();
    links.push((0, 6));
    let mut world = World::new(7, links, seed);
    for node in 0..7 {
        world.publish(node, &[node as u8; 30]);
    }
    world.run(12 * HOUR);
    assert!(world.agree());
    world
}

#[test]
fn a_day_of_agreement_is_a_day_of_trickle_beacons() {
    let mut world = settled(1);
    let since = world.now;
    world.run(DAY);
    let said: Vec<_> = world.said.iter().filter(|(_, at, _)| *at > since).collect();
    assert!(said.iter().all(|(_, _, class)| *class == FrameClass::SyncDigest));
    let intervals = DAY / Config::default().interval_max.as_secs() + 1;
    // One of those who hear each other, and the one apart; two may speak before they hear one another.
    assert!(said.len() as u64 <= 4 * intervals, "{} beacons in {intervals} intervals", said.len());
    assert!(said.len() as u64 >= intervals / 2);
    let most = (0..7).map(|node| world.count(node, since)).max().unwrap() as u64;
    assert!(most <= intervals + 1, "{most} by one node");
}

/// What a member who lies says next.
fn lie(world: &mut World, rng: &mut Rng, kind: u32, liar: usize) {
    let digest = rng.next_u64();
    match kind {
        0 => world.say(liar, &Frame::SyncDigest(SyncDigest { digest })),
        1 => world.say(liar, &Frame::SyncDigest(SyncDigest { digest: 0 })),
        2 => {
            let entries: Vec<u8> = (0..7).map(|_| rng.next_u32() as u8).collect();
            let membership = world.nodes[0].membership();
            let list = SyncList { digest, membership, members: 7, form: SyncForm::Vector, entries: &entries };
            world.say(liar, &Frame::SyncList(list));
        }
        3 => {
            let entries: Vec<u8> = (0..175).map(|_| rng.next_u32() as u8).collect();
            let list =
                SyncList { digest, membership: 1, members: 200, form: SyncForm::Named, entries: &entries };
            world.say(liar, &Frame::SyncList(list));
        }
        _ => {
            let mut buffer = [0; MAX_PAYLOAD];
            let mut writer = SyncItemWriter::new(&mut buffer);
            // Members that exist at versions that do not, and members that do not exist.
            let node = if rng.below(2) == 0 { number(rng.below(7) as usize) } else { rng.next_u32() };
            writer.push(&SyncItem { node, version: rng.next_u32() as u8, bytes: &[1; 100] }).unwrap();
            let records = SyncRecords::from_items(digest, writer.finish());
            world.say(liar, &Frame::SyncRecords(records));
        }
    }
}

#[test]
fn a_liar_makes_nobody_say_more_than_the_bucket_holds() {
    for kind in 0..5 {
        let mut world = settled(2 + u64::from(kind));
        let mut rng = Rng::from_seed(kind.into());
        let since = world.now;
        for _ in 0..6 * HOUR / 5 {
            lie(&mut world, &mut rng, kind, 6);
            world.run(5);
        }
        let config = Config::default();
        let most = u64::from(config.burst) + 6 * HOUR / config.refill.as_secs() + 1;
        let counts: Vec<usize> = (0..6).map(|node| world.count(node, since)).collect();
        println!("kind {kind}: {counts:?} of at most {most}");
        assert!(counts.iter().all(|count| *count as u64 <= most), "kind {kind}: {counts:?}");
        if kind < 4 {
            // A claim alone is believed ever more seldom.
            assert!(counts.iter().all(|count| *count <= 300), "kind {kind}: {counts:?}");
        }
    }
}

#[test]
fn after_a_liar_all_agree_again() {
    let mut world = settled(20);
    let mut rng = Rng::from_seed(20);
    for round in 0..500 {
        lie(&mut world, &mut rng, round % 5, 6);
        world.run(7);
    }
    // Its own state machine was honest all the time; what it made up of others stays, what it said of their owners' does not.
    assert!(world.run_until_agreed(DAY).is_some());
    for node in 0..6 {
        assert_eq!(world.nodes[3].record(number(node)), Some(&[node as u8; 30][..]));
    }
}
