//! Whatever is lost, repeated or reordered: once the links hold, all come to know the same.

mod sync_world;

use compotastic_node::sync::MEMBERS;
use compotastic_wire::FrameClass;
use proptest::prelude::*;
use sync_world::{World, number};

const HOUR: u64 = 3600;

/// What happens to one node in a drawn run.
#[derive(Clone, Debug)]
enum Step {
    Publish(usize, u8),
    Restart(usize, u8),
    /// All links of a node are down from here on.
    Cut(usize),
    Mend,
    Wait(u64),
}

fn steps(nodes: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..nodes, any::<u8>()).prop_map(|(node, edition)| Step::Publish(node, edition)),
        1 => (0..nodes, any::<u8>()).prop_map(|(node, edition)| Step::Restart(node, edition)),
        1 => (0..nodes).prop_map(Step::Cut),
        1 => Just(Step::Mend),
        3 => (1u64..2000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..25)
}

fn record(node: usize, edition: u8) -> Vec<u8> {
    (0..5 + usize::from(edition) % 60).map(|at| edition ^ node as u8 ^ at as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn all_agree_in_the_end(
        seed in any::<u64>(),
        nodes in 2usize..9,
        extra in prop::collection::vec((0usize..9, 0usize..9), 0..8),
        loss in 0u32..400,
        repeats in 0u32..300,
        delay in 1u32..45,
        script in steps(9),
    ) {
        let mut links: Vec<(usize, usize)> = (1..nodes).map(|node| (node - 1, node)).collect();
        links.extend(extra.into_iter().map(|(a, b)| (a % nodes, b % nodes)).filter(|(a, b)| a != b));
        let mut world = World::new(nodes, links.clone(), seed);
        (world.loss, world.repeats, world.delay_s_max) = (loss, repeats, delay);
        let mut latest: Vec<Vec<u8>> = (0..nodes).map(|node| record(node, 0)).collect();
        for (node, record) in latest.iter().enumerate() {
            world.publish(node, record);
        }
        for step in script {
            match step {
                Step::Publish(node, edition) if node < nodes => {
                    latest[node] = record(node, edition);
                    world.publish(node, &latest[node]);
                }
                Step::Restart(node, edition) if node < nodes => {
                    latest[node] = record(node, edition);
                    world.restart(node, &latest[node]);
                }
                Step::Cut(node) => world.links.retain(|(a, b)| *a != node && *b != node),
                Step::Mend => world.links = links.clone(),
                Step::Wait(seconds) => world.run(seconds),
                Step::Publish(..) | Step::Restart(..) => {}
            }
        }
        world.links = links;
        // A node that starts may listen for an hour before it says anything of itself.
        world.run(2 * HOUR);
        let took = world.run_until_agreed(24 * HOUR);
        prop_assert!(took.is_some(), "after a day they do not agree");
        world.run(HOUR);
        prop_assert!(world.agree(), "they do not stay so");
        for node in &world.nodes {
            for (owner, record) in latest.iter().enumerate() {
                prop_assert_eq!(node.record(number(owner)), Some(&record[..]), "the owner's last record");
            }
        }
    }
}

#[test]
fn more_members_than_there_is_room_for_end_in_the_same_lowest() {
    let count = MEMBERS + 7;
    // A star and a ring, so that it does not take all day.
    let mut links: Vec<(usize, usize)> = (1..count).map(|node| (0, node)).collect();
    links.extend((2..count).map(|node| (node - 1, node)));
    let mut world = World::new(count, links, 5);
    for node in 0..count {
        world.publish(node, &record(node, 1));
    }
    world.run(12 * HOUR);
    assert!(world.agree());
    let mut numbers: Vec<u32> = (0..count).map(number).collect();
    numbers.sort_unstable();
    assert!(world.nodes[3].members().map(|(node, ..)| node).eq(numbers[..MEMBERS].iter().copied()));
}

#[test]
fn a_healed_partition_agrees_soon_and_needs_no_vector() {
    let mut world = World::line(12, 3);
    for node in 0..12 {
        world.publish(node, &record(node, 1));
    }
    assert!(world.run_until_agreed(2 * HOUR).is_some());
    world.run(8 * HOUR);
    let links = world.links.clone();
    world.links.retain(|link| *link != (5, 6));
    for node in [0, 3, 7, 11] {
        world.publish(node, &record(node, 2));
    }
    world.run(2 * HOUR);
    assert!(!world.agree());
    world.links = links;
    let said = world.said.len();
    // Digests come each 96 minutes while all is quiet.
    assert!(world.run_until_agreed(2 * HOUR).is_some());
    let lists = world.said[said..].iter().filter(|(_, _, class)| *class == FrameClass::SyncList).count();
    assert!(lists <= 4, "{lists} lists");
}

#[test]
fn a_restarted_node_takes_up_its_version_and_troubles_nobody() {
    let mut world = World::line(6, 4);
    for node in 0..6 {
        world.publish(node, &record(node, 1));
    }
    world.run(4 * HOUR);
    world.publish(2, &record(2, 2));
    world.run(4 * HOUR);
    let before = world.nodes[0].digest();
    world.restart(2, &record(2, 2));
    assert!(world.run_until_agreed(3 * HOUR).is_some());
    assert_eq!(world.nodes[0].digest(), before, "the same record is no news");
    world.restart(2, &record(2, 3));
    world.run(4 * HOUR);
    assert!(world.agree());
    assert_eq!(world.nodes[5].record(number(2)), Some(&record(2, 3)[..]));
}

#[test]
fn versions_go_round() {
    let mut world = World::line(3, 6);
    for edition in 0..600u32 {
        world.publish(0, &edition.to_le_bytes());
        world.run(if edition < 10 { 600 } else { 120 });
    }
    world.run(HOUR);
    assert!(world.agree());
    assert_eq!(world.nodes[2].record(number(0)), Some(&599u32.to_le_bytes()[..]));
}
