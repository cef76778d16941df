//! New keys for a swarm whose radio was lost, from one daemon to the others.

mod mesh_of_cores;

use compotastic_daemon::{
    runtime::rotation::{self, Plan},
    seam::{Command, SwarmView},
    swarm::{joined, set_joined},
};
use compotastic_messages::{AdminMessage, AdminPayload, Message as _};
use mesh_of_cores::{World, operator, options, radio, swarm};

const OPERATOR: usize = 0;
const MEMBER: usize = 1;
const LOST: usize = 2;

/// Three members that know each other; the first has made the swarm.
fn world(name: &str) -> World {
    let mut world = World::new(name);
    for index in 0..3 {
        let node = world.add_with(options(None, true, 7 + index), radio(0x0a00_0001 + index as u32));
        set_joined(&world.nodes[node].store, &swarm()).unwrap();
    }
    world.nodes[OPERATOR].store.set("swarm operator secret", &operator().to_bytes()).unwrap();
    world.run(900);
    world
}

fn epoch(world: &World, index: usize) -> u8 {
    joined(&world.nodes[index].store).unwrap().unwrap().epoch
}

fn begin(world: &mut World) -> Plan {
    let lost = world.nodes[LOST].radio.num;
    let plan = Plan::new(&swarm(), vec![lost], world.wall()(), 24).unwrap();
    rotation::set_plan(&world.nodes[OPERATOR].store, Some(&plan)).unwrap();
    world.restart(OPERATOR);
    plan
}

/// What the radio was told to set its channel to.
fn channel_key(world: &World, index: usize) -> Vec<u8> {
    let message = world.nodes[index].admin.last().expect("the radio was told");
    let Some(AdminPayload::SetChannel(channel)) = AdminMessage::decode(message).unwrap().payload else {
        panic!("not a channel")
    };
    assert_eq!(channel.index, 1);
    channel.settings.unwrap().psk.to_vec()
}

#[test]
fn members_change_together_and_the_lost_one_stays_behind() {
    let mut world = world("rotation");
    begin(&mut world);
    let done = world.run_until(6 * 3600, |world| epoch(world, OPERATOR) == 2 && epoch(world, MEMBER) == 2);
    assert!(done, "{} {}", epoch(&world, OPERATOR), epoch(&world, MEMBER));
    assert_eq!(epoch(&world, LOST), 1);
    let new = joined(&world.nodes[OPERATOR].store).unwrap().unwrap();
    assert_eq!(joined(&world.nodes[MEMBER].store).unwrap().unwrap(), new);
    for index in [OPERATOR, MEMBER] {
        assert_eq!(channel_key(&world, index), new.channel_key.as_slice());
    }
    assert!(world.nodes[LOST].admin.is_empty());
    assert_ne!(new.channel_key, swarm().channel_key);
    assert_eq!(rotation::plan(&world.nodes[OPERATOR].store).unwrap(), None, "it is done");
}

#[test]
fn a_rotation_survives_restarts_of_both_sides() {
    let mut world = world("rotation-restarts");
    begin(&mut world);
    let mut steps = 0;
    while epoch(&world, OPERATOR) == 1 || epoch(&world, MEMBER) == 1 {
        assert!(steps < 60, "{} {}", epoch(&world, OPERATOR), epoch(&world, MEMBER));
        world.run(600);
        for index in [OPERATOR, MEMBER] {
            // The next start knows what the store knows.
            world.nodes[index].options.swarm = joined(&world.nodes[index].store).unwrap();
            if world.nodes[index].options.swarm.as_ref().is_some_and(|swarm| swarm.epoch == 1)
                && steps % 2 == 0
            {
                world.restart(index);
            }
        }
        steps += 1;
    }
    assert_eq!(epoch(&world, LOST), 1);
}

#[test]
fn a_radio_that_missed_the_change_gets_the_new_key_at_its_next_handshake() {
    let mut world = world("rotation-radio");
    begin(&mut world);
    assert!(world.run_until(6 * 3600, |world| epoch(world, MEMBER) == 2));
    world.nodes[MEMBER].admin.clear();
    // It was off when it was told: its channel still has the old key.
    world.nodes[MEMBER].options.swarm = joined(&world.nodes[MEMBER].store).unwrap();
    world.restart(MEMBER);
    let new = joined(&world.nodes[MEMBER].store).unwrap().unwrap();
    assert_eq!(channel_key(&world, MEMBER), new.channel_key.as_slice());
    assert_eq!(world.snapshot(MEMBER).mode, "hosted");
}

fn rotate(world: &mut World, without: Vec<u32>) -> Result<SwarmView, String> {
    world.command(OPERATOR, |reply| Command::Rotate(without, 24, reply)).try_recv().unwrap()
}

fn view(world: &mut World) -> SwarmView {
    world.command(OPERATOR, Command::Swarm).try_recv().unwrap().unwrap()
}

#[test]
fn a_daemon_that_runs_begins_at_once() {
    let mut world = world("rotation-live");
    let (own, lost) = (world.nodes[OPERATOR].radio.num, world.nodes[LOST].radio.num);
    let refused = rotate(&mut world, vec![own]).unwrap_err();
    assert!(refused.contains("this node itself"), "{refused}");
    let given = world.nodes[OPERATOR].given.len();
    let begun = rotate(&mut world, vec![lost]).unwrap();
    let rotation = begun.rotation.unwrap();
    assert_eq!((begun.operator, begun.epoch, begun.members.len()), (true, 1, 2));
    assert_eq!((rotation.epoch, rotation.phase.as_str(), rotation.deadline_s), (2, "asking", 24 * 3600));
    world.run(30);
    assert!(world.nodes[OPERATOR].given.len() > given, "the members are asked without a restart");
    let refused = rotate(&mut world, vec![lost]).unwrap_err();
    assert!(refused.contains("is under way") && refused.contains("--give-up"), "{refused}");
    assert!(world.run_until(6 * 3600, |world| epoch(world, OPERATOR) == 2 && epoch(world, MEMBER) == 2));
    assert_eq!(epoch(&world, LOST), 1);
    let done = view(&mut world);
    assert_eq!((done.epoch, done.rotation), (2, None));
    // Who is no operator cannot.
    let refused = world.command(MEMBER, |reply| Command::Rotate(vec![lost], 24, reply)).try_recv().unwrap();
    assert!(refused.unwrap_err().contains("no operator's secret key"));
}

#[test]
fn a_rotation_that_is_given_up_brings_no_more_keys() {
    let mut world = world("rotation-given-up");
    let lost = world.nodes[LOST].radio.num;
    let give_up = |world: &mut World| world.command(OPERATOR, Command::GiveUpRotation).try_recv().unwrap();
    assert!(give_up(&mut world).unwrap_err().contains("no rotation is under way"));
    rotate(&mut world, vec![lost]).unwrap();
    give_up(&mut world).unwrap();
    assert_eq!(view(&mut world).rotation, None);
    world.run(48 * 3600);
    assert_eq!([OPERATOR, MEMBER, LOST].map(|index| epoch(&world, index)), [1; 3]);
    rotate(&mut world, vec![lost]).unwrap();
    assert!(world.run_until(6 * 3600, |world| epoch(world, MEMBER) == 2));
}

/// Keys that were brought before a rotation was given up come into force yet, while the next one asks somebody who does not answer.
#[test]
fn keys_of_a_rotation_that_was_given_up_do_not_end_the_next_one() {
    let mut world = world("rotation-after-another");
    let lost = world.nodes[LOST].radio.num;
    let rotate = |world: &mut World, without: Vec<u32>, hours| {
        world.command(OPERATOR, |reply| Command::Rotate(without, hours, reply)).try_recv().unwrap().unwrap()
    };
    rotate(&mut world, Vec::new(), 1);
    for _ in 0..60 {
        world.run(30);
        if view(&mut world).rotation.is_some_and(|rotation| rotation.phase == "bringing") {
            break;
        }
    }
    assert_eq!(view(&mut world).rotation.unwrap().phase, "bringing");
    world.command(OPERATOR, Command::GiveUpRotation).try_recv().unwrap().unwrap();
    let silent = world.add_with(options(None, true, 99), radio(0x0a00_0009));
    set_joined(&world.nodes[silent].store, &swarm()).unwrap();
    world.run(600);
    world.nodes[silent].radio.num = 0x0a00_0010;
    rotate(&mut world, vec![lost], 48);
    let apart = |world: &mut World| {
        let keys = [OPERATOR, MEMBER, LOST]
            .map(|index| joined(&world.nodes[index].store).unwrap().unwrap().channel_key);
        keys[0] == keys[1] && keys[0] != keys[2] && keys[0] != swarm().channel_key
    };
    assert!(world.run_until(60 * 3600, apart), "{:?}", view(&mut world));
}

#[test]
fn a_node_that_only_listens_begins_when_its_radio_is_ready() {
    let mut world = World::new("rotation-listening");
    let mut bare = radio(0x0a00_0001);
    bare.channels.truncate(1);
    for (index, radio) in [bare, radio(0x0a00_0002)].into_iter().enumerate() {
        let node = world.add_with(options(None, true, 7 + index as u64), radio);
        set_joined(&world.nodes[node].store, &swarm()).unwrap();
    }
    world.nodes[OPERATOR].store.set("swarm operator secret", &operator().to_bytes()).unwrap();
    let begun = rotate(&mut world, vec![0x0a00_0077]).unwrap();
    assert_eq!(begun.rotation.unwrap().phase, "planned");
    world.nodes[OPERATOR].radio = radio(0x0a00_0001);
    world.up(OPERATOR);
    assert!(world.run_until(6 * 3600, |world| epoch(world, MEMBER) == 2));
}
