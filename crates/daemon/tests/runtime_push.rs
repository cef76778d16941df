//! A signed bundle that one daemon publishes reaches the others, is held back and withdrawn, and goes on after a restart.

mod mesh_of_cores;

use compotastic_bundle::{
    BundleFile, ClaimedManifest, ClassMask, ComponentKind, Manifest, build_stream, object::Layout,
};
use compotastic_daemon::{
    cli::{ApiArgs, push::LivePushArgs},
    http::{Api, HttpArgs},
    seam::{Command, Event, NodeHandle, ObjectView, PushTarget},
};
use compotastic_links::{Body, OwnedData, OwnedPacket, RadioEvent};
use compotastic_wire::{self as wire, Beacon};
use ed25519_dalek::SigningKey;
use mesh_of_cores::{World, operator};

const PIECE: u16 = 176;
const CLASS: PushTarget = PushTarget::Class { class: 0 };

fn content(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 251) as u8 ^ salt).collect()
}

/// A bundle file as `bundle build` makes it.
fn bundle(kind: ComponentKind, classes: ClassMask, version: u32, len: usize, key: &SigningKey) -> Vec<u8> {
    let content = content(len, version as u8);
    let layout = Layout::new(len as u32, PIECE).unwrap();
    let mut stream = vec![0; layout.stream_len() as usize];
    let identity = build_stream(&content, PIECE, &mut stream).unwrap();
    let manifest = Manifest::of(&identity, kind, 1, version, classes);
    let claimed = ClaimedManifest::sign(manifest, key).unwrap();
    let mut bytes = Vec::new();
    BundleFile { claimed, content: &content, delegation: None }.emit(|part| bytes.extend_from_slice(part));
    bytes
}

fn policy(version: u32) -> Vec<u8> {
    bundle(ComponentKind::Policy, ClassMask::of(0), version, 1500, &operator())
}

/// Three members that have heard of each other.
fn world(name: &str) -> World {
    let mut world = World::new(name);
    for _ in 0..3 {
        world.add(None, true);
    }
    world.run(1200);
    world
}

fn push(world: &mut World, bytes: Vec<u8>, to: PushTarget) -> Result<ObjectView, String> {
    world.command(0, |reply| Command::Push(bytes, to, reply)).try_recv().unwrap()
}

fn pause(world: &mut World, tag: &str, paused: bool) -> Result<(), String> {
    let tag = tag.to_owned();
    world.command(0, |reply| Command::Pause(tag, paused, reply)).try_recv().unwrap()
}

fn object(world: &mut World, node: usize, tag: &str) -> Option<ObjectView> {
    world.snapshot(node).objects.into_iter().find(|object| object.tag == tag)
}

fn others(world: &World) -> Vec<u32> {
    world.nodes[1..].iter().map(|node| node.radio.num).collect()
}

/// Until the publisher knows that both others have it.
fn all_have_it(world: &mut World, tag: &str, seconds: u64) -> bool {
    let all = others(world);
    world.run_until(seconds, |world| object(world, 0, tag).is_some_and(|object| object.complete_at == all))
}

#[test]
fn a_pushed_bundle_reaches_the_others_and_their_beacons_tell() {
    let mut world = world("push");
    let pushed = push(&mut world, policy(3), CLASS).unwrap();
    assert_eq!((pushed.kind.as_str(), pushed.task, pushed.version, pushed.bytes), ("policy", 1, 3, 1500));
    assert!(pushed.published_here && pushed.progress_percent == 100 && pushed.complete_at.is_empty());
    let before = world.now;
    assert!(all_have_it(&mut world, &pushed.tag, 6 * 3600), "{:?}", object(&mut world, 0, &pushed.tag));
    println!("all have it after {} s", world.now.saturating_duration_since(before).as_secs());
    for node in [1, 2] {
        let there = object(&mut world, node, &pushed.tag).unwrap();
        assert_eq!((there.progress_percent, there.published_here, there.version), (100, false, 3));
        // It told how it went.
        let told = |event: &Event| matches!(event, Event::Object(object) if object.progress_percent < 100);
        assert!(world.nodes[node].events.iter().any(told));
    }
    // Whoever looks on sees each new holder.
    let steps: Vec<usize> = world.nodes[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Object(object) if object.tag == pushed.tag => Some(object.complete_at.len()),
            _ => None,
        })
        .collect();
    assert_eq!(steps.first(), Some(&0));
    assert_eq!(steps.last(), Some(&2));
    assert!(steps.is_sorted(), "{steps:?}");
    // Both are remembered over a restart, though no beacon has come since.
    world.restart(0);
    let again = object(&mut world, 0, &pushed.tag).unwrap();
    assert!(again.published_here);
    assert_eq!(again.complete_at, others(&world));

    // A newer version takes its place everywhere.
    let newer = push(&mut world, policy(4), CLASS).unwrap();
    assert!(all_have_it(&mut world, &newer.tag, 6 * 3600));
    assert!((0..3).all(|node| object(&mut world, node, &pushed.tag).is_none()));
    assert_eq!(world.nodes[0].store.bundles().unwrap(), [newer.tag]);
}

/// A device of class 1 tells what it has of an object, and whether it runs it.
fn tell(world: &mut World, num: u32, tag: &str, progress: u8, runs: bool) {
    let beacon = Beacon {
        device_class: 1,
        flags: if runs { Beacon::RUNS } else { 0 },
        object_tag: u32::from_str_radix(tag, 16).unwrap(),
        object_progress: progress,
        ..Beacon::default()
    };
    let id = (world.now.as_micros() / 1_000_000) as u32;
    let address = wire::Address { from: num, to: u32::MAX, id };
    let mut payload = [0; 200];
    let keys = mesh_of_cores::swarm().key_ring();
    let length = wire::seal(&wire::Frame::Beacon(beacon), &keys, &address, &mut payload).unwrap();
    let packet = OwnedPacket {
        from: num,
        to: u32::MAX,
        id,
        channel: 1,
        hop_start: 3,
        hop_limit: 3,
        body: Body::Data(OwnedData {
            port: wire::PORT.into(),
            payload: payload[..length].to_vec(),
            ..OwnedData::default()
        }),
        ..OwnedPacket::default()
    };
    world.nodes[0].core.handle_radio(world.now, RadioEvent::Packet(Box::new(packet)));
    world.run(10);
}

#[test]
fn firmware_is_there_before_it_runs_and_both_are_remembered() {
    let mut world = world("push-firmware");
    let bytes = bundle(ComponentKind::Firmware, ClassMask::of(1), 3, 900, &operator());
    let pushed = push(&mut world, bytes, PushTarget::Class { class: 1 }).unwrap();
    assert_eq!((pushed.kind.as_str(), pushed.runs_at.as_deref()), ("firmware", Some(&[][..])));
    let (first, second) = (0x0b00_0001, 0x0b00_0002);
    let stand = |world: &mut World| {
        let object = object(world, 0, &pushed.tag).unwrap();
        // The daemons carry it too.
        let devices = object.complete_at.into_iter().filter(|num| num >> 24 == 0x0b).collect::<Vec<_>>();
        (devices, object.runs_at.unwrap())
    };
    tell(&mut world, first, &pushed.tag, 120, false);
    assert_eq!(stand(&mut world), (vec![], vec![]));
    tell(&mut world, first, &pushed.tag, 255, false);
    assert_eq!(stand(&mut world), (vec![first], vec![]), "its image is on trial at best");
    tell(&mut world, first, &pushed.tag, 255, true);
    tell(&mut world, second, &pushed.tag, 255, true);
    assert_eq!(stand(&mut world), (vec![first, second], vec![first, second]));
    // A beacon that is about something else says nothing of it.
    tell(&mut world, second, "0badcafe", 255, false);
    world.restart(0);
    assert_eq!(stand(&mut world).1, [first, second]);
    tell(&mut world, second, &pushed.tag, 255, false);
    assert_eq!(stand(&mut world).1, [first], "it went back to another image");
    // What is no firmware runs nowhere.
    assert_eq!(push(&mut world, policy(1), CLASS).unwrap().runs_at, None);
}

#[test]
fn what_is_for_another_class_is_carried_too() {
    let mut world = world("push-carried");
    let bytes = bundle(ComponentKind::Model, ClassMask::of(1), 2, 900, &operator());
    let refusal = push(&mut world, bytes.clone(), CLASS).unwrap_err();
    assert!(refusal.contains("--class 0"), "{refusal}");
    let pushed = push(&mut world, bytes, PushTarget::Class { class: 1 }).unwrap();
    assert!(all_have_it(&mut world, &pushed.tag, 6 * 3600));
}

#[test]
fn a_push_to_one_node_is_for_its_class() {
    let mut world = world("push-node");
    let num = world.nodes[2].radio.num;
    let refused = push(&mut world, policy(1), PushTarget::Node { num: 0x0bad_0001 }).unwrap_err();
    assert!(refused.contains("!0bad0001") && refused.contains("compotastic nodes"), "{refused}");
    let other = bundle(ComponentKind::Policy, ClassMask::of(4), 1, 300, &operator());
    let refused = push(&mut world, other, PushTarget::Node { num }).unwrap_err();
    assert!(refused.contains("of device class 0") && refused.contains("--class 0"), "{refused}");
    assert!(world.snapshot(0).objects.is_empty());
    let pushed = push(&mut world, policy(1), PushTarget::Node { num }).unwrap();
    let has_it = |world: &mut World| {
        object(world, 0, &pushed.tag).is_some_and(|object| object.complete_at.contains(&num))
    };
    assert!(world.run_until(6 * 3600, has_it));
}

#[test]
fn pause_holds_it_back_and_withdrawal_ends_it() {
    let mut world = world("push-paused");
    let pushed = push(&mut world, policy(1), CLASS).unwrap();
    pause(&mut world, &pushed.tag, true).unwrap();
    world.run(4 * 3600);
    assert!(object(&mut world, 0, &pushed.tag).unwrap().complete_at.is_empty());
    // A restart does not lift it.
    world.restart(0);
    assert!(object(&mut world, 0, &pushed.tag).unwrap().paused);
    world.run(4 * 3600);
    assert!((1..3).all(|node| object(&mut world, node, &pushed.tag).is_none()));
    pause(&mut world, &pushed.tag, false).unwrap();
    assert!(all_have_it(&mut world, &pushed.tag, 6 * 3600));

    let second = push(&mut world, policy(2), CLASS).unwrap();
    let withdrawn = second.tag.clone();
    world.command(0, |reply| Command::Withdraw(withdrawn, reply)).try_recv().unwrap().unwrap();
    world.run(3600);
    world.restart(0);
    world.run(4 * 3600);
    assert!((0..3).all(|node| object(&mut world, node, &second.tag).is_none()));
    assert!(world.nodes[0].store.bundles().unwrap().is_empty());
    let refused = pause(&mut world, &second.tag, false).unwrap_err();
    assert!(refused.contains("is published here"), "{refused}");
    // Pushed again, it goes.
    push(&mut world, policy(2), CLASS).unwrap();
    assert!(all_have_it(&mut world, &second.tag, 6 * 3600));
}

#[test]
fn what_is_altered_or_signed_by_others_is_refused() {
    let mut world = world("push-refused");
    let good = policy(5);
    let mut altered = good.clone();
    *altered.last_mut().unwrap() ^= 1;
    let refused = push(&mut world, altered, CLASS).unwrap_err();
    assert!(refused.contains("the content is not what the manifest says"), "{refused}");
    // Any byte at all.
    for at in (0..good.len()).step_by(13) {
        let mut altered = good.clone();
        altered[at] ^= 0x10;
        assert!(push(&mut world, altered, CLASS).is_err(), "byte {at}");
    }
    let stranger = SigningKey::from_bytes(&[0x66; 32]);
    let theirs = bundle(ComponentKind::Policy, ClassMask::of(0), 5, 1500, &stranger);
    let refused = push(&mut world, theirs, CLASS).unwrap_err();
    assert!(refused.contains("neither root nor delegated") && refused.contains("operators"), "{refused}");
    let refused = push(&mut world, b"hello".to_vec(), CLASS).unwrap_err();
    assert!(refused.contains("compotastic bundle build"), "{refused}");
    assert!(world.snapshot(0).objects.is_empty());
    assert!(world.nodes[0].store.bundles().unwrap().is_empty());

    push(&mut world, good, CLASS).unwrap();
    let refused = push(&mut world, policy(4), CLASS).unwrap_err();
    assert!(refused.contains("higher version"), "{refused}");
    assert_eq!(world.nodes[0].store.bundles().unwrap().len(), 1);
}

#[test]
fn a_push_goes_on_after_a_restart_in_the_middle() {
    let mut world = world("push-restart");
    let bytes = bundle(ComponentKind::Policy, ClassMask::of(0), 1, 6000, &operator());
    let pushed = push(&mut world, bytes, CLASS).unwrap();
    let begun = |world: &mut World| {
        object(world, 1, &pushed.tag).is_some_and(|object| (10..90).contains(&object.progress_percent))
    };
    assert!(world.run_until(6 * 3600, begun));
    // The publisher, and one that has a part.
    for node in [0, 1] {
        world.restart(node);
    }
    assert!(object(&mut world, 0, &pushed.tag).unwrap().published_here);
    assert!(all_have_it(&mut world, &pushed.tag, 12 * 3600), "{:?}", object(&mut world, 1, &pushed.tag));
}

/// The command, the API and the node, as a person uses them; the mesh runs many times faster than real time.
#[test]
fn the_command_sees_the_push_end() {
    let folder = mesh_of_cores::Folder::new("push-command");
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("v1.bundle");
    std::fs::write(&file, policy(1)).unwrap();
    let (handle, mut inbox, events) = NodeHandle::new();
    let (ready, started) = std::sync::mpsc::channel();
    let mesh = std::thread::spawn(move || {
        let mut world = world("push-mesh");
        ready.send(world.nodes[0].store.clone()).unwrap();
        loop {
            match inbox.try_recv() {
                Ok(command) => world.nodes[0].core.handle_command(world.now, command),
                Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => return,
                Err(_) => {}
            }
            world.run(20);
            for event in world.nodes[0].events.drain(..) {
                let _ = events.send(event);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    let store = started.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let args = HttpArgs { listen: "127.0.0.1:0".parse().unwrap(), ..HttpArgs::default() };
    let listener = runtime.block_on(compotastic_daemon::http::bind(args.listen)).unwrap();
    let address = listener.local_addr().unwrap();
    let api = runtime.block_on(async { Api::new(handle, store, None, &args).unwrap() });
    runtime.spawn(api.serve(listener, std::future::pending()));
    let push = |to: &str| {
        compotastic_daemon::cli::push::run(LivePushArgs {
            api: ApiArgs { api: Some(format!("http://{address}")), token_file: None },
            file: file.clone(),
            to: to.into(),
            follow_s: Some(60),
            no_follow: false,
            json: false,
        })
    };
    let refused = format!("{:#}", push("class:3").unwrap_err());
    assert!(refused.contains("build it with --class 3"), "{refused}");
    push("class:0").unwrap();
    push("node:!0a000002").unwrap();
    runtime.shutdown_background();
    mesh.join().unwrap();
}
