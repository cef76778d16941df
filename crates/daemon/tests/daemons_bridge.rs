//! Daemons with several links: a stock radio (a simulated one) beside a broker and the LAN's multicast.

mod fast_clock;
mod mesh_of_cores;
mod mosquitto;
mod own_network;
mod two_daemons;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use compotastic_daemon::{
    seam::{JobKind, JobState, Snapshot},
    serve::{Options, Server},
};
use compotastic_links::{
    Body, OwnedPacket, PacketCommand, PacketConfig, PacketEvent, PacketHandle, PacketLink,
};
use compotastic_mesh::crypto::Channel;
use compotastic_sim::scenario::Scenario;
use mesh_of_cores::{Echo, Folder};
use mosquitto::Mosquitto;
use own_network::in_own_network;
use two_daemons::{Daemon, start_with};

/// The radios of two huts, each on a TCP port, in a world that goes as fast as the daemons' clock.
async fn huts() -> (Server, Vec<String>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/two-huts.toml");
    let options = Options { warm_up_s: Some(0), speed: fast_clock::SPEED.into(), ..Options::default() };
    let mut server = Server::start(Scenario::load(&file).unwrap(), options).await.unwrap();
    let ports = server.listen("127.0.0.1".parse().unwrap(), 0, 2).await.unwrap();
    let urls = ports.iter().map(|(_, address)| format!("tcp:{address}")).collect();
    (server, urls)
}

fn echo() -> Option<Arc<dyn compotastic_daemon::seam::Brain>> {
    Some(Arc::new(Echo))
}

/// Waits until a daemon has heard of another that has models.
async fn knows(daemon: &Daemon, other: &Daemon) -> Snapshot {
    let num = other.num;
    let knows = |shot: &Snapshot| {
        shot.nodes.iter().any(|node| node.num == num && node.member && node.foundation_model)
    };
    daemon.until(300, "the beacon of the node with the models", knows).await
}

async fn is_answered(asker: &Daemon, by: &Daemon) {
    let state = asker.ask(JobKind::Chat, "where is the spring").await;
    let JobState::Done(answer) = state else { panic!("{state:?}") };
    assert_eq!((answer.text.as_deref(), answer.by), (Some("you said: where is the spring"), by.num));
}

fn sent_for(shot: &Snapshot, purpose: &str) -> u64 {
    let rows = &shot.airtime.by_purpose;
    rows.iter().find(|row| row.purpose == purpose).map_or(0, |row| row.packets)
}

#[tokio::test]
async fn a_daemon_at_a_radio_answers_those_on_the_air_and_those_behind_a_broker() {
    fast_clock::quicken();
    let Some(broker) = Mosquitto::start("bridge-answers") else { return };
    let folder = Folder::new("bridge-answers");
    let (_server, radios) = huts().await;
    let far = start_with(&folder, "far", &[&broker.url()], &[], None).await;
    let air = start_with(&folder, "air", &[&radios[1]], &[], None).await;
    let both = start_with(&folder, "both", &[&radios[0], &broker.url()], &[], echo()).await;
    assert!(far.num != both.num && air.num != both.num);
    let shot = knows(&far, &both).await;
    // Beacons of the one on the air may go on to the broker.
    let members = shot.nodes.iter().filter(|node| node.member && node.num != air.num);
    assert_eq!(members.map(|node| node.num).collect::<Vec<_>>(), [both.num], "it is one node");
    is_answered(&far, &both).await;
    knows(&air, &both).await;
    is_answered(&air, &both).await;
    let shot = both.until(1, "its state", |_| true).await;
    assert_eq!((shot.mode.as_str(), shot.links.len()), ("hosted", 2));
    assert!(shot.links[0].not_bridged.contains("put its own number"), "{:?}", shot.links);
    both.say(None, "hello on all links").await;
    assert_eq!(far.hears("hello on all links").await.message.from, both.num);
    assert_eq!(air.hears("hello on all links").await.message.from, both.num);
    far.say(None, "hello from afar").await;
    assert_eq!(both.hears("hello from afar").await.message.from, far.num);
    for daemon in [far, air, both] {
        daemon.end().await;
    }
}

#[tokio::test]
async fn a_daemon_at_a_radio_is_answered_by_one_behind_a_broker() {
    fast_clock::quicken();
    let Some(broker) = Mosquitto::start("bridge-asks") else { return };
    let folder = Folder::new("bridge-asks");
    let (_server, radios) = huts().await;
    let far = start_with(&folder, "far", &[&broker.url()], &[], echo()).await;
    let both = start_with(&folder, "both", &[&broker.url(), &radios[0]], &[], None).await;
    knows(&both, &far).await;
    is_answered(&both, &far).await;
    let shot = both.until(1, "its state", |_| true).await;
    assert!(sent_for(&shot, "jobs") >= 1, "{:?}", shot.airtime);
    far.end().await;
    both.end().await;
}

#[test]
fn bridges_side_by_side_make_no_loop() {
    in_own_network("inner");
}

/// Who only listens, and says what a test tells it.
struct Observer {
    link: PacketHandle,
    seen: Vec<OwnedPacket>,
}

impl Observer {
    async fn new(url: &str, node: u32) -> Self {
        let config = PacketConfig { node, channels: vec!["hills".into()], downlink: true, mqtt_ca: None };
        let mut link = PacketLink::spawn(&url.parse().unwrap(), config).unwrap();
        while link.events.recv().await != Some(PacketEvent::Up) {}
        Self { link, seen: Vec::new() }
    }

    async fn say(&self, packet: &OwnedPacket) {
        let packet = Box::new(packet.clone());
        let command = PacketCommand::Send { packet, channel: Some("hills".into()), ok_to_mqtt: true };
        self.link.sender.command(command).await.unwrap();
    }

    fn listen(&mut self) {
        while let Ok(event) = self.link.events.try_recv() {
            if let PacketEvent::Packet { packet, .. } = event {
                self.seen.push(*packet);
            }
        }
    }

    /// Copies of a packet that came, by the hops that they had left.
    fn copies(&mut self, of: &OwnedPacket) -> Vec<u32> {
        self.listen();
        let same = |packet: &&OwnedPacket| (packet.from, packet.id) == (of.from, of.id);
        self.seen.iter().filter(same).map(|packet| packet.hop_limit).collect()
    }

    /// The most copies of one packet that others than its sender brought.
    fn most_brought(&mut self) -> usize {
        self.listen();
        let mut copies: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for packet in self.seen.iter().filter(|packet| packet.hop_limit < packet.hop_start) {
            *copies.entry((packet.from, packet.id)).or_default() += 1;
        }
        copies.into_values().max().unwrap_or(0)
    }
}

/// A packet of a stranger on the swarm's channel.
fn stranger(id: u32) -> OwnedPacket {
    let channel = Channel::new("hills", &[7; 32]).unwrap();
    OwnedPacket {
        from: 0x0b00_0001,
        id,
        channel: channel.hash().into(),
        body: Body::Encrypted(vec![0x5A; 40]),
        hop_limit: 3,
        hop_start: 3,
        ..OwnedPacket::default()
    }
}

#[tokio::test]
#[ignore = "run by the test of the network of its own"]
async fn inner() {
    fast_clock::quicken();
    let Some(broker) = Mosquitto::start("bridge-loops") else {
        println!("without a broker there is nothing to bridge");
        return;
    };
    let folder = Folder::new("bridge-loops");
    let (_server, radios) = huts().await;
    let mqtt = broker.url();
    // Three bridges between the LAN and the broker; two of them meet on the air as well.
    let one = start_with(&folder, "one", &[&radios[0], "udp:", &mqtt], &[], echo()).await;
    let two = start_with(&folder, "two", &["udp:", &mqtt, &radios[1]], &[], None).await;
    let open = start_with(&folder, "open", &[&mqtt, "udp:"], &["--mqtt-to-lora"], None).await;
    let mut lan = Observer::new("udp:", 0x0b00_00aa).await;
    let mut cloud = Observer::new(&mqtt, 0x0b00_00bb).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from_the_lan = stranger(5001);
    lan.say(&from_the_lan).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    // A bridge that hears of it at the broker first leaves it alone.
    let copies = cloud.copies(&from_the_lan);
    assert!((1..=3).contains(&copies.len()) && copies.iter().all(|hops| *hops == 2), "{copies:?}");
    assert_eq!(lan.copies(&from_the_lan), [0; 0], "and none comes back");
    let from_the_cloud = stranger(5002);
    cloud.say(&from_the_cloud).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(lan.copies(&from_the_cloud), [2], "only the one that may brings it to the LAN");
    assert_eq!(cloud.copies(&from_the_cloud), [0; 0]);
    let mut bridged = 0;
    for daemon in [&one, &two, &open] {
        bridged += sent_for(&daemon.until(1, "its state", |_| true).await, "bridged");
    }
    assert!(bridged as usize > copies.len(), "what is passed on is counted");
    // What the three say by themselves for a while: each is known by one number, and no packet goes round.
    for daemon in [&two, &open] {
        knows(daemon, &one).await;
    }
    is_answered(&open, &one).await;
    is_answered(&two, &one).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let (on_lan, in_cloud) = (lan.most_brought(), cloud.most_brought());
    assert!((1..=3).contains(&in_cloud) && on_lan <= 3, "{on_lan} on the LAN, {in_cloud} at the broker");
    let nums = [one.num, two.num, open.num];
    let shot = open.until(1, "its state", |_| true).await;
    let strangers: Vec<u32> = shot
        .nodes
        .iter()
        .filter(|node| node.member && !nums.contains(&node.num))
        .map(|node| node.num)
        .collect();
    assert_eq!(strangers, [0; 0], "nobody has two numbers");
    for daemon in [one, two, open] {
        daemon.end().await;
    }
}
