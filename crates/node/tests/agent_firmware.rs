//! The agent updates its own firmware: what comes over the mesh is decoded, tried and confirmed, whenever power fails; what is not for it is
//! refused.

mod common;
#[path = "common/device.rs"]
mod device;

use common::{Mate, at};
use compotastic_bundle::{
    ClassMask, ComponentKind, Delegation, Delta, ImageIdentity, KindMask, Refusal, ramflash::Cut,
};
use compotastic_delta::encode::{Hint, encode};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_node::{
    AgentEvent, BundleRefusal, FirmwareState,
    agent::OutFrame,
    firmware::{FirmwareError, TRIAL, TRIAL_MAX},
    manners::Purpose,
    sync::{CapabilityError, RECORD_MAX},
};
use compotastic_wire::{
    self as wire, Beacon, Frame,
    records::{
        RecordError,
        capability::{CapabilityRecord, InstalledBundle, Link, MAX_CAPABILITY, TaskOffer},
    },
};
use device::{
    Bundle, CLASS, Device, NUM, Node, delta, delta_with, digest8, geometry, has, image, offers, pack, root,
    run, says, serves, whole,
};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

/// A life with a bundle that a mate offers and serves: until power fails (none), or until nothing more is to come of it.
fn live(device: &mut Device, bundle: &Bundle, now: &mut Instant, healthy: bool) -> Option<FirmwareState> {
    let mut mate = Mate::new(0x0a00_0001);
    for _ in 0..12 {
        device.start()?;
        let mut agent = device.agent(*now)?;
        let begun = *now;
        let before = agent.firmware()?;
        if before.on_trial && !healthy {
            // The host's own checks fail: it restarts the device.
            continue;
        }
        says(&mut mate, &mut agent, *now, &Frame::Beacon(Beacon::default()));
        let (_, mut said) = run(&mut agent, now, begun + Duration::from_secs(1));
        if !before.on_trial && !agent.firmware()?.wants_restart {
            offers(&mut mate, &mut agent, *now, bundle);
            serves(&mut mate, &mut agent, now, bundle);
        }
        let until = *now + TRIAL + Duration::from_secs(60);
        said.extend(run(&mut agent, now, until).1);
        let state = agent.firmware()?;
        if !device.has_power() {
            return None;
        }
        let restarts = |event: &AgentEvent| {
            matches!(event, AgentEvent::RestartForTrial { .. } | AgentEvent::RestartToRevert { .. })
        };
        assert_eq!(said.iter().any(restarts), state.wants_restart, "{said:?}");
        if !state.wants_restart && !state.making {
            return Some(state);
        }
    }
    panic!("no end");
}

#[test]
fn a_delta_is_received_decoded_tried_confirmed_and_passed_on() {
    let mut device = Device::new();
    let bundle = delta(1, 2);
    let mut mate = Mate::new(0x0a00_0001);
    let mut now = at(0);
    assert!(!device.start().unwrap().on_trial);
    let mut agent = device.agent(now).unwrap();
    offers(&mut mate, &mut agent, now, &bundle);
    assert!(has(&run(&mut agent, &mut now, at(1)).1, |e| matches!(e, AgentEvent::ObjectWanted { .. })));
    serves(&mut mate, &mut agent, &mut now, &bundle);
    let state = agent.firmware().unwrap();
    assert!(!state.on_trial && state.running.sequence == 1, "nothing happens before the restart");
    let until = now + Duration::from_secs(120);
    let said = run(&mut agent, &mut now, until).1;
    assert!(has(&said, |e| *e == AgentEvent::RestartForTrial { version: 2 }), "{said:?}");
    assert!(agent.firmware().unwrap().wants_restart && device.runs() == 1);

    let started = device.start().unwrap();
    assert!(started.on_trial && started.image.sequence == 2 && device.runs() == 2);
    let mut agent = device.agent(now).unwrap();
    agent.set_capability(now, &CapabilityRecord::default()).unwrap();
    let recorded =
        |agent: &Node| agent.capability(NUM).and_then(|record| record.bundles.first().map(|b| b.version));
    let began = now;
    // Nobody is heard at first.
    let until = now + TRIAL + Duration::from_secs(60);
    assert!(run(&mut agent, &mut now, until).1.is_empty() && agent.firmware().unwrap().on_trial);
    assert_eq!(recorded(&agent), Some(1), "not before it is sure");
    says(&mut mate, &mut agent, now, &Frame::Beacon(Beacon::default()));
    let until = now + Duration::from_secs(600);
    let (sent, said) = run(&mut agent, &mut now, until);
    assert!(has(&said, |e| *e == AgentEvent::FirmwareConfirmed { version: 2 }), "{said:?}");
    let state = agent.firmware().unwrap();
    assert!(!state.on_trial && state.confirmed.sequence == 2 && now < began + TRIAL_MAX);
    let told = beacons(&sent);
    let last = told.last().expect("a beacon tells of it soon");
    assert_eq!((last.object_tag, last.object_progress), (bundle.tag, 255));
    assert!(last.flags & Beacon::RUNS != 0);
    assert_eq!(agent.component_version(ComponentKind::Firmware, 0), Some(2));
    assert_eq!(recorded(&agent), Some(2), "members of the swarm come to know");
    // The delta is still here, for who asks.
    let mut content = vec![0; 16];
    assert!(agent.content(ComponentKind::Firmware, 0, 0, &mut content).is_some());
    assert_eq!(content, bundle.stream[..16]);

    // The next one follows.
    let next = delta(2, 3);
    assert_eq!(live(&mut device, &next, &mut now, true).unwrap().confirmed.sequence, 3);
    assert_eq!(device.runs(), 3);
}

/// Firmware whose turn comes later is not told of as if it were here: what is in its place is the one before.
#[test]
fn what_waits_for_its_turn_is_not_told_of_as_whole_or_served() {
    let mut device = Device::new();
    let mut now = at(0);
    assert_eq!(live(&mut device, &delta(1, 2), &mut now, true).unwrap().confirmed.sequence, 2);
    let mut agent = device.agent(now).unwrap();
    let mut mate = Mate::new(0x0a00_0001);
    let model = pack(&[7; 900], &root(), |manifest| {
        (manifest.kind, manifest.task) = (ComponentKind::Model, 1);
    });
    offers(&mut mate, &mut agent, now, &model);
    let until = now + Duration::from_secs(1);
    let said = run(&mut agent, &mut now, until).1;
    assert!(has(&said, |e| *e == AgentEvent::ObjectWanted { tag: model.tag }), "{said:?}");
    let next = delta(2, 3);
    offers(&mut mate, &mut agent, now, &next);
    let until = now + Duration::from_secs(4 * 3600);
    let (sent, said) = run(&mut agent, &mut now, until);
    assert!(has(&said, |e| *e == AgentEvent::ObjectWanted { tag: next.tag }), "{said:?}");
    let told = beacons(&sent).into_iter().filter(|beacon| beacon.object_tag == next.tag).collect::<Vec<_>>();
    assert!(!told.is_empty(), "it is told of in its turn");
    for beacon in told {
        assert_eq!((beacon.object_progress, beacon.flags & Beacon::RUNS), (0, 0));
    }
}

/// A model that comes while an image is made is received before firmware that comes then, too.
#[test]
fn a_model_that_waits_for_the_making_goes_before_firmware_that_comes_later() {
    let mut device = Device::new();
    let mut mate = Mate::new(0x0a00_0001);
    let mut now = at(0);
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    let (first, second) = (whole(2), whole(3));
    offers(&mut mate, &mut agent, now, &first);
    let said = serves(&mut mate, &mut agent, &mut now, &first);
    assert!(has(&said, |e| *e == AgentEvent::ObjectComplete { tag: first.tag }), "{said:?}");
    let until = now + Duration::from_millis(100);
    run(&mut agent, &mut now, until);
    assert!(agent.firmware().unwrap().making);
    let model = pack(&[7; 900], &root(), |manifest| {
        (manifest.kind, manifest.task) = (ComponentKind::Model, 1);
    });
    offers(&mut mate, &mut agent, now, &model);
    offers(&mut mate, &mut agent, now, &second);
    let until = now + Duration::from_secs(10);
    run(&mut agent, &mut now, until);
    assert!(!agent.firmware().unwrap().making);
    let said = serves(&mut mate, &mut agent, &mut now, &model);
    assert!(has(&said, |e| *e == AgentEvent::ObjectComplete { tag: model.tag }), "{said:?}");
}

fn beacons(sent: &[OutFrame]) -> Vec<Beacon> {
    let open = |out: &OutFrame| {
        let address = wire::Address { from: NUM.0, to: out.to.0, id: out.id };
        match wire::open(&out.payload, &common::keys(), &address).unwrap().0 {
            Frame::Beacon(beacon) => Some(beacon),
            _ => None,
        }
    };
    sent.iter().filter_map(open).collect()
}

#[test]
fn power_may_fail_at_every_flash_operation() {
    let bundle = delta(1, 2);
    let first = Device::new();
    let mut cuts = 0;
    for healthy in [true, false] {
        let end = if healthy { 2 } else { 1 };
        let mut whole = first.copy();
        let mut now = at(0);
        assert_eq!(live(&mut whole, &bundle, &mut now, healthy).unwrap().running.sequence, end);
        assert_eq!(whole.runs(), end);
        let operations = whole.operations() - first.operations();
        println!("{operations} operations");
        for n in 0..operations {
            // Each kind at each operation is what `bench power-cut` does with the parts below the agent.
            let kinds = [Cut::Inside(100), Cut::Unseen, Cut::After, Cut::Garbled, Cut::Before];
            let cut = kinds[n as usize % kinds.len()];
            let mut device = first.copy();
            let mut now = at(0);
            device.native.0.borrow_mut().cut_after(n, cut);
            assert!(live(&mut device, &bundle, &mut now, healthy).is_none(), "{cut:?} at {n}");
            device.native.0.borrow_mut().power_on();
            let state = live(&mut device, &bundle, &mut now, healthy).unwrap();
            // One start of the trial may have been all that power left of it.
            assert_eq!((state.running.sequence, device.runs()), (end, end), "{cut:?} at {n}");
            cuts += 1;
        }
    }
    assert!(cuts > 200, "{cuts}");
}

#[test]
fn what_hangs_or_hears_nothing_is_given_up() {
    let bundle = delta(1, 2);
    let mut device = Device::new();
    let mut now = at(0);
    // Until it is in place.
    let mut mate = Mate::new(0x0a00_0001);
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    offers(&mut mate, &mut agent, now, &bundle);
    serves(&mut mate, &mut agent, &mut now, &bundle);
    let until = now + Duration::from_secs(120);
    run(&mut agent, &mut now, until);
    drop(agent);
    let ready = device;

    // It hangs: a watchdog restarts it before it has confirmed, three times.
    let mut device = ready.copy();
    for _ in 0..3 {
        assert!(device.start().unwrap().on_trial);
        let mut agent = device.agent(now).unwrap();
        let until = now + Duration::from_secs(300);
        says(&mut mate, &mut agent, now, &Frame::Beacon(Beacon::default()));
        run(&mut agent, &mut now, until);
    }
    let started = device.start().unwrap();
    assert!(!started.on_trial && started.image.sequence == 1 && device.runs() == 1);
    let mut agent = device.agent(now).unwrap();
    let until = now + Duration::from_secs(60);
    let said = run(&mut agent, &mut now, until).1;
    assert_eq!(said, [AgentEvent::FirmwareFailed { version: 2 }], "and it is not made again");

    // It hears nobody.
    let mut device = ready.copy();
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    let until = now + TRIAL_MAX + Duration::from_secs(60);
    let said = run(&mut agent, &mut now, until).1;
    assert!(has(&said, |e| *e == AgentEvent::RestartToRevert { version: 2 }), "{said:?}");
    assert_eq!(device.start().unwrap().image.sequence, 1);
}

#[test]
fn what_is_not_for_this_device_is_refused_with_the_reason() {
    let edge = SigningKey::from_bytes(&[9; 32]);
    let delegation = Delegation {
        public_key: edge.verifying_key().to_bytes(),
        kinds: KindMask(0xFF),
        classes: ClassMask(u32::MAX),
        size_cap: 1 << 20,
        epoch: 1,
    }
    .sign(&root());
    type Case = (&'static str, Bundle, fn(&Refusal) -> bool);
    let cases: [Case; 6] = [
        (
            "for another class",
            delta_with(1, 2, &root(), |manifest| manifest.classes = ClassMask::of(CLASS + 1)),
            |refusal| *refusal == Refusal::WrongClass,
        ),
        ("for another image", delta(3, 4), |refusal| *refusal == Refusal::WrongPredecessor),
        ("no newer than what runs", delta_with(1, 2, &root(), |manifest| manifest.sequence = 1), |refusal| {
            matches!(refusal, Refusal::Rollback { have: 1, offered: 1 })
        }),
        ("by an edge node's key", delta_with(1, 2, &edge, |_| {}), |refusal| {
            *refusal == Refusal::KindNotAllowed(ComponentKind::Firmware)
        }),
        ("too large", delta_with(1, 2, &root(), |manifest| manifest.flash = 300_000), |refusal| {
            matches!(refusal, Refusal::NoFlash { need: 300_000, .. })
        }),
        (
            "altered",
            {
                let mut bundle = delta(1, 2);
                let end = bundle.manifest.len() - 1;
                bundle.manifest[end] ^= 1;
                bundle
            },
            |refusal| *refusal == Refusal::BadSignature,
        ),
    ];
    for (what, bundle, expected) in cases {
        let mut device = Device::new();
        let mut mate = Mate::new(0x0a00_0001);
        let mut now = at(0);
        device.start().unwrap();
        let before = device.operations();
        let mut agent = device.agent(now).unwrap();
        agent.add_trust_record(now, &delegation).unwrap();
        offers(&mut mate, &mut agent, now, &bundle);
        serves(&mut mate, &mut agent, &mut now, &bundle);
        let until = now + Duration::from_secs(600);
        let mut said = run(&mut agent, &mut now, until).1;
        said.retain(
            |event| !matches!(event, AgentEvent::BundleRefused(BundleRefusal::Manifest(r)) if expected(r)),
        );
        assert!(said.is_empty(), "{what}: {said:?}");
        assert_eq!(device.operations(), before, "{what}: nothing was written");
        assert_eq!(device.start().unwrap().image.sequence, 1);
    }
}

/// Signed, but its bytes make something else: it is received, and not tried.
#[test]
fn an_object_that_does_not_make_its_image_is_dropped() {
    let (old, new) = (image(1), image(2));
    let result = ImageIdentity { digest: Sha256::digest(&new).into(), size: new.len() as u32 };
    let other = encode(&old, &image(3), Hint::Unknown).unwrap().bytes;
    for content in [vec![0xA5; 700], other] {
        let bundle = pack(&content, &root(), |manifest| {
            manifest.sequence = 2;
            manifest.delta = Some(Delta { replaces: digest8(&old), result });
        });
        let mut device = Device::new();
        let mut now = at(0);
        let mut mate = Mate::new(0x0a00_0001);
        device.start().unwrap();
        let mut agent = device.agent(now).unwrap();
        offers(&mut mate, &mut agent, now, &bundle);
        run(&mut agent, &mut now, at(1));
        serves(&mut mate, &mut agent, &mut now, &bundle);
        let until = now + Duration::from_secs(600);
        let said = run(&mut agent, &mut now, until).1;
        assert!(has(&said, |e| *e == AgentEvent::BundleRefused(BundleRefusal::Content)), "{said:?}");
        assert!(!agent.firmware().unwrap().wants_restart);
        // Hours later a neighbour tells of it: nobody is asked for it again, nor is it taken.
        let later = now + Duration::from_secs(2 * 3600);
        run(&mut agent, &mut now, later);
        let told = Beacon { object_tag: bundle.tag, object_progress: 255, ..Beacon::default() };
        says(&mut mate, &mut agent, now, &Frame::Beacon(told));
        offers(&mut mate, &mut agent, now, &bundle);
        let until = now + Duration::from_secs(600);
        let (sent, said) = run(&mut agent, &mut now, until);
        assert!(!has(&said, |e| matches!(e, AgentEvent::ObjectWanted { .. })), "{said:?}");
        let asks =
            |out: &OutFrame| matches!(Purpose::of_frame(&out.payload), Purpose::Symbols | Purpose::Records);
        assert!(!sent.iter().any(asks), "it is not worth the air");
        assert_eq!(device.start().unwrap().image.sequence, 1);
        // A good one of the same version is taken after it.
        assert_eq!(live(&mut device, &delta(1, 2), &mut now, true).unwrap().confirmed.sequence, 2);
    }
}

/// What is told of firmware fits the record after each update, since a record that has no room for any version is refused at once.
#[test]
fn a_record_without_room_for_later_firmware_is_refused() {
    let device = Device::new();
    let mut agent = device.agent(at(0)).unwrap();
    let other = |task| InstalledBundle { kind: ComponentKind::Model as u8, task, version: 1, object_tag: 5 };
    let full = CapabilityRecord { bundles: (1..=4).map(other).collect(), ..CapabilityRecord::default() };
    assert_eq!(
        agent.set_capability(at(0), &full),
        Err(CapabilityError::Record(RecordError::TooMany("bundles")))
    );
    let task = TaskOffer { task: 1, kind: 1, time_ms: u32::MAX, energy_mj: u32::MAX };
    let firmware =
        |version| InstalledBundle { kind: ComponentKind::Firmware as u8, task: 0, version, object_tag: 5 };
    let length = |mut record: CapabilityRecord, version| {
        record.bundles.push(firmware(version)).unwrap();
        record.encode(&mut [0; MAX_CAPABILITY]).unwrap()
    };
    let mut taken = Vec::new();
    for bits in 0..100 {
        let link = |n: u32| Link {
            kind: 1,
            bits_per_s: 1 << (bits / 4 + u32::from(bits % 4 > n)),
            cost_milli_per_kb: 1,
        };
        let links = (0..4).map(link).collect();
        let record =
            CapabilityRecord { tasks: [task; 8].into_iter().collect(), links, ..CapabilityRecord::default() };
        let (now, later) = (length(record.clone(), 1), length(record.clone(), u32::MAX));
        let is_taken = agent.set_capability(at(0), &record).is_ok();
        assert_eq!(is_taken, later <= RECORD_MAX, "{now} bytes now, {later} later");
        taken.push((is_taken, now <= RECORD_MAX));
    }
    assert!(taken.contains(&(true, true)) && taken.contains(&(false, true)), "{taken:?}");
    // Nor can room be taken that was not left.
    let mut late = device.plain_agent(at(0)).unwrap();
    late.set_capability(at(0), &full).unwrap();
    let added = late.add_firmware(at(0), device.native.clone(), geometry());
    assert!(matches!(added, Err(FirmwareError::Told)), "{added:?}");
}
