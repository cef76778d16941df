//! What every sender of the daemon passes: texts, answers, shared programs and the agent's frames have one governor.

mod mesh_of_cores;

use std::sync::Arc;

use compotastic_daemon::seam::{Command, JobKind, JobPriority, JobSpec, JobState, OutText};
use compotastic_links::{BROADCAST, RadioEvent};
use compotastic_mesh::time::Duration;
use compotastic_messages::PortNum;
use compotastic_node::manners::Hold;
use mesh_of_cores::{Echo, World, options, radio, spec};

fn text(text: &str) -> OutText {
    OutText { to: BROADCAST, channel: 0, text: text.into(), reply_to: None }
}

fn send(world: &mut World, node: usize, what: OutText, patience_s: u64) -> Result<u32, String> {
    let mut answer = world.command(node, |reply| Command::SendText(what, reply));
    let mut got = None;
    world.run_until(patience_s, |_| {
        got = answer.try_recv().ok();
        got.is_some()
    });
    got.expect("an answer within its patience")
}

fn texts(world: &World, node: usize) -> Vec<u64> {
    let given = world.nodes[node].given.iter();
    given
        .filter(|(_, packet)| {
            packet.data().is_some_and(|data| PortNum(data.port) == PortNum::TEXT_MESSAGE_APP)
        })
        .map(|(at, _)| at.as_micros() / 1000)
        .collect()
}

#[test]
fn texts_go_no_faster_than_a_radio_takes_them_and_are_counted() {
    let mut world = World::new("pace");
    let node = world.add(None, true);
    world.run(120);
    for index in 0..3 {
        let what = text(&format!("text {index}"));
        drop(world.command(node, |reply| Command::SendText(what, reply)));
    }
    world.run(30);
    let at = texts(&world, node);
    assert_eq!(at.len(), 3);
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 2000), "{at:?}");
    let airtime = world.snapshot(node).airtime;
    let row = airtime.by_purpose.iter().find(|row| row.purpose == "texts").unwrap();
    assert_eq!(row.packets, 3);
    assert!(row.airtime_ms > 300 && airtime.gate == "open", "{airtime:?}");
}

#[test]
fn what_cannot_be_sent_is_refused_with_what_to_do() {
    let mut world = World::new("refused");
    let node = world.add(None, true);
    let alone = world.add(None, false);
    world.run(120);
    for (who, what, said) in [
        (node, text(&"x".repeat(201)), "201 bytes, 200 at most"),
        (node, text("  "), "empty"),
        (node, OutText { channel: 5, ..text("hello") }, "no channel 5: choose one of 0 ``, 1 `hills`"),
        (alone, text("hello"), "compotastic swarm join"),
    ] {
        let error = send(&mut world, who, what, 5).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_busy_channel_holds_texts_back_and_lets_them_go() {
    let mut world = World::new("busy");
    let node = world.add(None, true);
    world.utilization = Some(45.0);
    world.run(120);
    let error = send(&mut world, node, text("hello"), 70).unwrap_err();
    assert!(error.contains("gate at 20 %"), "{error}");
    let airtime = world.snapshot(node).airtime;
    assert_eq!((airtime.gate.as_str(), airtime.hard_percent, airtime.known), ("hard", 20.0, true));
    world.utilization = Some(2.0);
    world.run(120);
    assert!(send(&mut world, node, text("hello"), 70).is_ok());
}

/// Nobody knows how full the air is: no figure, and what is asked for waits for the end of the minute.
#[test]
fn in_the_first_minute_texts_wait_and_the_air_is_not_known() {
    let mut world = World::new("starting");
    world.utilization = None;
    let node = world.add(None, true);
    world.run(5);
    let begin = world.now;
    let airtime = world.snapshot(node).airtime;
    assert_eq!((airtime.gate.as_str(), airtime.known), ("starting", false), "{airtime:?}");
    assert_eq!(airtime.channel_utilization_percent, 0.0, "what is assumed is not shown as if it were known");
    send(&mut world, node, text("hello"), 70).unwrap();
    assert!((50..60).contains(&world.now.saturating_duration_since(begin).as_secs()), "it waited");
    let airtime = world.snapshot(node).airtime;
    assert!(airtime.gate == "no-telemetry" && airtime.known, "{airtime:?}");
}

#[test]
fn in_quiet_hours_only_what_is_urgent_goes() {
    let mut world = World::new("quiet");
    let edge = world.add(Some(Arc::new(Echo)), true);
    // 1_790_000_000 s is 14:13 UTC.
    let quiet = Some("14:20-15:10".parse().unwrap());
    let options = compotastic_daemon::runtime::CoreOptions { quiet_hours: quiet, ..options(None, true, 9) };
    let asker = world.add_with(options, radio(0x0a00_0009));
    world.run(1200);
    assert_eq!(world.snapshot(asker).airtime.gate, "quiet-hours");
    let error = send(&mut world, asker, text("hello"), 5).unwrap_err();
    assert!(error.contains("quiet hours"), "{error}");
    let calm = world.submit(asker, spec(JobKind::Chat, "calm")).unwrap();
    let urgent = JobSpec { priority: JobPriority::Urgent, ..spec(JobKind::Chat, "urgent") };
    let urgent = world.submit(asker, urgent).unwrap();
    assert!(matches!(world.finish(asker, urgent.id, 900).state, JobState::Done(_)));
    assert!(!world.job(asker, calm.id).state.is_final());
    assert!(
        matches!(world.finish(asker, calm.id, 3600).state, JobState::Done(_)),
        "it goes when they are over"
    );
    assert!(send(&mut world, asker, text("hello"), 70).is_ok());
    let _ = edge;
}

#[test]
fn programs_that_share_the_radio_pass_the_same_door() {
    let mut world = World::new("shared");
    let node = world.add(None, false);
    world.run(120);
    let second = Duration::from_secs(1);
    let now = world.now;
    let core = &mut world.nodes[node].core;
    assert_eq!(core.admit_shared(now, 64, second), Ok(()), "also where no swarm is joined");
    let mut held = None;
    for _ in 0..8 {
        held = core.admit_shared(now, 64, second).err().or(held);
    }
    assert_eq!(held, Some(Hold::Queue));
    let row = world.snapshot(node).airtime.by_purpose.into_iter().find(|row| row.purpose == "shared-clients");
    assert_eq!(row.unwrap().packets, 6);
    // A radio whose preset is not known: nothing can be reckoned, so nothing goes.
    let mut odd = radio(0x0a00_0077);
    odd.use_preset = false;
    let other = world.add_with(options(None, false, 3), odd);
    let now = world.now;
    assert_eq!(world.nodes[other].core.admit_shared(now, 64, second), Err(Hold::NoTelemetry));
}

#[test]
fn what_was_sent_before_a_restart_still_counts() {
    let mut world = World::new("spent");
    let node = world.add(None, true);
    world.run(120);
    for _ in 0..20 {
        send(&mut world, node, text(&"x".repeat(150)), 70).unwrap();
    }
    let before = world.snapshot(node).airtime.air_util_tx_percent;
    assert!(before > 0.5, "{before}");
    let now = world.now;
    world.nodes[node].core.keep(now).unwrap();
    world.restart(node);
    let after = world.snapshot(node).airtime.air_util_tx_percent;
    assert!(after >= before - 0.1, "{before} {after}");
}

#[test]
fn an_odd_radio_is_listened_to_and_says_why() {
    let mut world = World::new("odd");
    let mut unset = radio(0x0a00_0001);
    unset.region = 0;
    let node = world.add_with(options(None, true, 1), unset.clone());
    world.run(300);
    let shown = world.snapshot(node);
    assert_eq!(shown.mode, "listening");
    assert!(shown.links[0].detail.contains("region is not set"), "{:?}", shown.links);
    assert!(world.nodes[node].given.is_empty());
    // Its owner mends it, and the node goes on without a restart.
    let info = Box::new(radio(0x0a00_0001));
    let now = world.now;
    world.nodes[node].core.handle_radio(now, RadioEvent::Up(info));
    assert_eq!(world.snapshot(node).mode, "hosted");
}
