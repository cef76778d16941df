//! Nodes without radios: their packets go whole over links such as the LAN's multicast or a broker.

mod mesh_of_cores;

use std::sync::Arc;

use compotastic_daemon::seam::{Brain, ChatMessage, Classified, Command, Event, JobKind, JobState, OutText};
use compotastic_links::{BROADCAST, Body};
use compotastic_mesh::lora::Preset;
use mesh_of_cores::{Echo, World, spec};

#[test]
fn a_job_goes_from_one_node_without_a_radio_to_the_other() {
    let mut world = World::new("native-jobs");
    let edge = world.add_native(Some(Arc::new(Echo)));
    let asker = world.add_native(None);
    assert_ne!(world.nodes[edge].radio.num, world.nodes[asker].radio.num, "each has a key of its own");
    world.run(600);
    assert_eq!(world.snapshot(asker).mode, "native");
    assert!(world.snapshot(asker).nodes.iter().any(|node| node.member && node.foundation_model));
    let job = world.submit(asker, spec(JobKind::Chat, "where is the spring")).unwrap();
    let JobState::Done(answer) = world.finish(asker, job.id, 900).state else {
        panic!("{:?}", world.job(asker, job.id))
    };
    assert_eq!(answer.text.as_deref(), Some("you said: where is the spring"));
    let readable = |body: &Body| matches!(body, Body::Data(_));
    assert!(world.nodes[asker].given.iter().all(|(_, packet)| !readable(&packet.body)), "all are encrypted");
}

#[test]
fn they_know_each_other_by_name_and_write_texts() {
    let mut world = World::new("native-texts");
    let one = world.add_native(None);
    let two = world.add_native(None);
    world.run(1800);
    let num = world.nodes[one].radio.num;
    let named = world.snapshot(two).nodes.into_iter().find(|node| node.num == num).expect("it was heard");
    assert!(named.long_name.starts_with("Compotastic "), "{named:?}");
    let text = OutText { to: BROADCAST, channel: 0, text: "hello".into(), reply_to: None };
    world.command(one, |reply| Command::SendText(text, reply)).try_recv().unwrap().unwrap();
    world.run(60);
    let heard = world.nodes[two]
        .events
        .iter()
        .any(|event| matches!(event, Event::Text(text) if text.text == "hello"));
    assert!(heard);
}

#[test]
fn a_direct_text_that_cannot_be_opened_yet_goes_again_when_the_key_is_told() {
    let mut world = World::new("native-keys");
    let early = world.add_native(None);
    // Who it is has been told before the other is there, and is told again in hours.
    world.run(300);
    let late = world.add_native(None);
    world.run(300);
    let (from, to) = (world.nodes[early].radio.num, world.nodes[late].radio.num);
    let names = |world: &mut World, node, num| {
        world.snapshot(node).nodes.iter().any(|node| node.num == num && !node.long_name.is_empty())
    };
    assert!(names(&mut world, early, to) && !names(&mut world, late, from));
    let text = OutText { to, channel: 1, text: "for you alone".into(), reply_to: None };
    world.command(early, |reply| Command::SendText(text, reply)).try_recv().unwrap().unwrap();
    world.run(60);
    let heard: Vec<bool> = world.nodes[late]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Text(text) if text.text == "for you alone" && text.from == from => Some(text.proven),
            _ => None,
        })
        .collect();
    assert_eq!(heard, [true], "once, and proven");
    assert!(names(&mut world, late, from));
}

/// Airtime of the packets that one node sent to another with hops left, ms, and how many they were.
fn sent_to(world: &World, from: usize, to: u32) -> (u64, usize) {
    let modem = Preset::LongFast.modem(false);
    let lengths = world.nodes[from].given.iter().filter_map(|(_, packet)| match &packet.body {
        Body::Encrypted(bytes) if packet.to == to && packet.hop_limit > 0 => Some(bytes.len()),
        _ => None,
    });
    lengths.fold((0, 0), |(ms, count), length| (ms + modem.time_on_air_us(16 + length) / 1000, count + 1))
}

/// Answers at length.
struct Wordy;

impl Brain for Wordy {
    fn model(&self, kind: JobKind) -> Result<String, String> {
        Echo.model(kind)
    }
    fn classes(&self) -> Vec<String> {
        Echo.classes()
    }
    fn classify(&self, text: &str) -> anyhow::Result<Classified> {
        Echo.classify(text)
    }
    fn chat(&self, _: &[ChatMessage], max_chars: usize, _: std::time::Duration) -> anyhow::Result<String> {
        Ok("Zxqv Wkjy ".repeat(40).chars().take(max_chars).collect())
    }
    fn embed(&self, text: &str) -> anyhow::Result<Vec<f32>> {
        Echo.embed(text)
    }
}

#[test]
fn one_asker_cannot_have_all_of_the_air_behind_the_lan() {
    let mut world = World::new("native-greedy");
    let edge = world.add_native(Some(Arc::new(Wordy)));
    let greedy = world.add_native(None);
    let modest = world.add_native(None);
    world.run(300);
    for _ in 0..60 {
        // Not taken while as many are open as there may be.
        let _ = world.submit(greedy, spec(JobKind::Chat, "why"));
        world.run(20);
    }
    let (ms, packets) = sent_to(&world, edge, world.nodes[greedy].radio.num);
    // Half of 72 s at once, and a third of that again in twenty minutes, with what is under way.
    assert!(ms > 36_000 && ms <= 36_000 * 4 / 3 + 3_000, "{ms} ms in {packets} packets");
    let job = world.submit(modest, spec(JobKind::Chat, "where is the spring")).unwrap();
    assert!(matches!(world.finish(modest, job.id, 300).state, JobState::Done(_)), "others have theirs");
    let airtime = world.snapshot(edge).airtime;
    let counted: u64 = airtime.by_purpose.iter().map(|row| row.airtime_ms).sum();
    assert!(counted >= ms && airtime.duty_cycle_percent == 2.0, "{airtime:?}");
}

#[test]
fn quiet_hours_hold_a_node_without_a_radio_too() {
    let mut world = World::new("native-quiet");
    let node = world.add_native(None);
    // 1_790_000_000 s is 14:13 UTC.
    world.nodes[node].options.quiet_hours = Some("14:20-15:10".parse().unwrap());
    world.restart_native(node);
    world.run(1200);
    let shown = world.snapshot(node).airtime;
    assert_eq!(shown.gate, "quiet-hours");
    let begin = world.now;
    let text = OutText { to: BROADCAST, channel: 0, text: "hello".into(), reply_to: None };
    let said = world.command(node, |reply| Command::SendText(text.clone(), reply)).try_recv().unwrap();
    assert!(said.unwrap_err().contains("quiet hours"));
    world.run(1500);
    assert_eq!(world.nodes[node].given.iter().filter(|(at, _)| *at >= begin).count(), 0, "not even beacons");
    world.run(2400);
    assert!(world.nodes[node].given.iter().any(|(at, _)| *at >= begin), "they go when it is over");
    world.command(node, |reply| Command::SendText(text, reply)).try_recv().unwrap().unwrap();
    let texts = world.snapshot(node).airtime.by_purpose;
    assert!(texts.iter().any(|row| row.purpose == "mesh" && row.packets > 0), "{texts:?}");
}
