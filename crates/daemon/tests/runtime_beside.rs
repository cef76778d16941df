//! A node with links beside its stock radio: what goes to which of them.

mod mesh_of_cores;

use std::{collections::BTreeSet, sync::Arc};

use compotastic_daemon::seam::{Command, Event, JobKind, JobState, OutText};
use compotastic_links::{BROADCAST, Body, OwnedData, OwnedPacket, RadioEvent};
use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    packet::{NodeNum, PacketId},
    time::Instant,
};
use compotastic_messages::{Message as _, PortNum, User};
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

/// A node tells its name, on the mesh's own channel, which anybody can write to.
fn says_its_name(from: u32, id: u32, name: &str, sealed: bool) -> OwnedPacket {
    let user = User { long_name: name.into(), short_name: "X".into(), ..User::default() };
    let payload = user.to_vec::<200>().unwrap().to_vec();
    let data = OwnedData { port: PortNum::NODEINFO_APP.0, payload, ..OwnedData::default() };
    let body = if sealed {
        let channel = Channel::new("LongFast", &[1]).unwrap();
        let mut bytes = data.message().to_vec::<300>().unwrap().to_vec();
        ctr_apply(&channel.key, NodeNum(from), PacketId(id), &mut bytes);
        return OwnedPacket {
            channel: channel.hash().into(),
            body: Body::Encrypted(bytes),
            ..heard(from, id)
        };
    } else {
        Body::Data(data)
    };
    OwnedPacket { body, ..heard(from, id) }
}

fn heard(from: u32, id: u32) -> OwnedPacket {
    OwnedPacket { from, to: BROADCAST, id, hop_start: 3, hop_limit: 3, ..OwnedPacket::default() }
}

/// Names over a LAN or a broker are anybody's: they do not go before what the radio's mesh has told.
#[test]
fn who_the_radio_has_told_of_is_named_by_nobody_else() {
    let mut world = World::new("beside-names");
    let node = add_beside(&mut world);
    let member = world.add(None, true);
    world.run(600);
    let (hut, stranger, member) = (0x0c00_0001, 0x0c00_0002, world.nodes[member].radio.num);
    let name = |world: &mut World, num: u32| {
        let shown = world.snapshot(node).nodes.into_iter().find(|view| view.num == num);
        shown.map(|view| view.long_name).unwrap_or_default()
    };
    let by_radio = |world: &mut World, packet: OwnedPacket| {
        let now = world.now;
        world.nodes[node].core.handle_radio(now, RadioEvent::Packet(Box::new(packet)));
    };
    let beside = |world: &mut World, packet: OwnedPacket| {
        let now = world.now;
        world.nodes[node].core.handle_link_packet(now, &packet)
    };
    // Learnt since the handshake; a member proves itself on the swarm's port alone.
    by_radio(&mut world, says_its_name(hut, 1, "Hut", false));
    by_radio(&mut world, says_its_name(member, 2, "Member", false));
    for (num, id) in [(hut, 3), (member, 4)] {
        assert!(beside(&mut world, says_its_name(num, id, "Forged", true)), "it can be read");
    }
    assert_eq!([hut, member].map(|num| name(&mut world, num)), ["Hut", "Member"]);
    // Whom nobody else has told of is named beside the radio, until the radio does.
    assert!(beside(&mut world, says_its_name(stranger, 5, "Broker", true)));
    assert_eq!(name(&mut world, stranger), "Broker");
    by_radio(&mut world, says_its_name(stranger, 6, "Radio", false));
    beside(&mut world, says_its_name(stranger, 7, "Broker", true));
    assert_eq!(name(&mut world, stranger), "Radio");
    // Also after a restart, where the radio has no more room for them in its list.
    world.restart(node);
    world.nodes[node].core.set_beside(0);
    for (num, id) in [(hut, 8), (member, 9), (stranger, 10)] {
        beside(&mut world, says_its_name(num, id, "Forged", true));
    }
    assert_eq!([hut, member, stranger].map(|num| name(&mut world, num)), ["Hut", "Member", "Radio"]);
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
