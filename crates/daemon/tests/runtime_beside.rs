//! A node with links beside its stock radio: what goes to which of them.

mod mesh_of_cores;

use std::{collections::BTreeSet, sync::Arc};

use compotastic_daemon::seam::{Command, Event, JobKind, JobState, OutText};
use compotastic_links::{BROADCAST, Body};
use compotastic_mesh::time::Instant;
use mesh_of_cores::{Echo, World, spec};

/// A node with a radio and a link beside it.
fn add_beside(world: &mut World) -> usize {
    let index = world.add(None, true);
    world.nodes[index].beside = true;
    world.nodes[index].core.set_beside(0);
    index
}

/// Ids of what was given since then: to the radio, and to the link beside it.
fn given(world: &World, node: usize, since: Instant) -> [BTreeSet<u32>; 2] {
    let ids = |readable: bool| {
        let given = world.nodes[node].given.iter().filter(|(at, _)| *at >= since);
        given
            .filter(|(_, packet)| matches!(packet.body, Body::Data(_)) == readable)
            .map(|(_, packet)| packet.id)
            .collect()
    };
    [ids(true), ids(false)]
}

#[test]
fn who_is_heard_beside_the_radio_alone_is_asked_there_and_costs_no_air() {
    let mut world = World::new("beside-ask");
    let edge = world.add_native(Some(Arc::new(Echo)));
    let asker = add_beside(&mut world);
    let begin = world.now;
    world.run(900);
    let shown = world.snapshot(asker);
    let num = world.nodes[edge].radio.num;
    assert!(shown.nodes.iter().any(|node| node.num == num && node.member && node.foundation_model));
    // What is for everybody is the same packet on both.
    let [radio, beside] = given(&world, asker, begin);
    assert!(!radio.is_empty() && radio == beside, "{radio:?} {beside:?}");
    let asked = world.now;
    let job = world.submit(asker, spec(JobKind::Chat, "where is the spring")).unwrap();
    let JobState::Done(answer) = world.finish(asker, job.id, 300).state else {
        panic!("{:?}", world.job(asker, job.id))
    };
    assert_eq!((answer.by, answer.text.as_deref()), (num, Some("you said: where is the spring")));
    let [radio, beside] = given(&world, asker, asked);
    assert!(radio.is_empty() && !beside.is_empty(), "{radio:?} {beside:?}");
    // All under the radio's number.
    let own = world.nodes[asker].radio.num;
    assert!(world.nodes[asker].given.iter().all(|(_, packet)| packet.from == own));
}

#[test]
fn texts_to_everybody_go_to_all_links_and_direct_ones_by_the_radio() {
    let mut world = World::new("beside-texts");
    let far = world.add_native(None);
    let node = add_beside(&mut world);
    world.run(300);
    let say = |world: &mut World, to: u32, channel: u8| {
        let text = OutText { to, channel, text: "hello".into(), reply_to: None };
        let begin = world.now;
        let mut answer = world.command(node, |reply| Command::SendText(text, reply));
        world.run(10);
        let id = answer.try_recv().unwrap().unwrap();
        given(world, node, begin).map(|ids| ids.contains(&id))
    };
    assert_eq!(say(&mut world, BROADCAST, 0), [true, true]);
    assert_eq!(say(&mut world, BROADCAST, 1), [true, true]);
    assert_eq!(say(&mut world, 0x0a00_0077, 0), [true, false]);
    let heard = |world: &World, node: usize, from: u32| {
        let texts = world.nodes[node]
            .events
            .iter()
            .filter(|event| matches!(event, Event::Text(text) if text.text == "hello" && text.from == from));
        texts.count()
    };
    let own = world.nodes[node].radio.num;
    assert_eq!(heard(&world, far, own), 2);
    let text = OutText { to: BROADCAST, channel: 1, text: "hello".into(), reply_to: None };
    world.command(far, |reply| Command::SendText(text, reply)).try_recv().unwrap().unwrap();
    world.run(30);
    assert_eq!(heard(&world, node, world.nodes[far].radio.num), 1);
}

#[test]
fn without_its_radio_it_goes_on_beside_it() {
    let mut world = World::new("beside-unplugged");
    let edge = world.add_native(Some(Arc::new(Echo)));
    let asker = add_beside(&mut world);
    world.run(900);
    let reason =
        compotastic_links::Fault::new(compotastic_links::FaultKind::Missing, "it is gone", "plug it in");
    let now = world.now;
    world.nodes[asker].core.handle_radio(now, compotastic_links::RadioEvent::Down { reason });
    let job = world.submit(asker, spec(JobKind::Chat, "anybody")).unwrap();
    assert!(matches!(world.finish(asker, job.id, 300).state, JobState::Done(_)));
    world.run(7200);
    let [radio, beside] = given(&world, asker, now);
    assert!(radio.is_empty() && beside.len() > 1, "{radio:?} {beside:?}");
    assert!(world.snapshot(edge).nodes.iter().any(|node| node.member), "it is still known");
}
