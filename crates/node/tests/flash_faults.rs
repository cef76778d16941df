//! Flash that fails as an object is received: a write costs nothing, more of them cost time, none costs what is there.

mod common;
#[path = "common/device.rs"]
mod device;

use common::{Mate, at};
use compotastic_mesh::time::{Duration, Instant};
use compotastic_node::{AgentEvent, BundleRefusal};
use device::{Bundle, Device, Node, has, offers, run, serves, whole};

fn refused(said: &[AgentEvent]) -> usize {
    said.iter().filter(|event| matches!(event, AgentEvent::BundleRefused(BundleRefusal::Storage))).count()
}

fn progress(agent: &Node, bundle: &Bundle) -> u8 {
    agent.objects().find(|object| object.tag == bundle.tag).map_or(0, |object| object.progress)
}

/// A device that has begun to receive a bundle.
fn receiving(bundle: &Bundle, mate: &mut Mate) -> (Device, Node, Instant) {
    let mut device = Device::new();
    let mut now = at(0);
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    offers(mate, &mut agent, now, bundle);
    let until = now + Duration::from_secs(1);
    run(&mut agent, &mut now, until);
    (device, agent, now)
}

fn fail(device: &Device, after: u64, count: u64) {
    device.native.0.borrow_mut().fail_after(after, count);
}

#[test]
fn any_write_of_a_symbol_may_fail() {
    let bundle = whole(2);
    for n in (0..74).step_by(6) {
        let mut mate = Mate::new(0x0a00_0001);
        let (device, mut agent, mut now) = receiving(&bundle, &mut mate);
        fail(&device, n, 1);
        let said = serves(&mut mate, &mut agent, &mut now, &bundle);
        assert_eq!(refused(&said), 0, "write {n}: {said:?}");
        assert!(has(&said, |e| *e == AgentEvent::ObjectComplete { tag: bundle.tag }), "write {n}: {said:?}");
    }
}

#[test]
fn flash_that_fails_again_ends_the_reception_for_a_while_and_keeps_what_is_there() {
    let bundle = whole(2);
    let mut mate = Mate::new(0x0a00_0001);
    let (mut device, mut agent, mut now) = receiving(&bundle, &mut mate);
    let mut had = 0;
    for wait_s in [300, 600] {
        // A write, and the erasure that would mend it.
        fail(&device, 20, 2);
        let said = serves(&mut mate, &mut agent, &mut now, &bundle);
        assert_eq!(refused(&said), 1, "{said:?}");
        assert!(!has(&said, |e| matches!(e, AgentEvent::ObjectComplete { .. })), "{said:?}");
        let until = now + Duration::from_secs(wait_s - 160);
        let wanted = |e: &AgentEvent| *e == AgentEvent::ObjectWanted { tag: bundle.tag };
        assert!(!has(&run(&mut agent, &mut now, until).1, wanted), "it is left alone for {wait_s} s");
        let until = now + Duration::from_secs(160);
        assert!(has(&run(&mut agent, &mut now, until).1, wanted), "and then goes on");
        assert!(progress(&agent, &bundle) > had, "with what is there");
        had = progress(&agent, &bundle);
    }
    // So it does after a restart.
    drop(agent);
    device.start().unwrap();
    let mut agent = device.agent(now).unwrap();
    offers(&mut mate, &mut agent, now, &bundle);
    let until = now + Duration::from_secs(1);
    run(&mut agent, &mut now, until);
    assert_eq!(progress(&agent, &bundle), had);
    let said = serves(&mut mate, &mut agent, &mut now, &bundle);
    assert!(has(&said, |e| *e == AgentEvent::ObjectComplete { tag: bundle.tag }), "{said:?}");
}
