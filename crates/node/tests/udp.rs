//! Two nodes on a LAN: they find each other, talk, and keep to their share of the air behind it.

mod common;

use common::{Flash, agent, at, router_config};
use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent, Message},
    lora::Preset,
    nodedb::User,
    packet::{Header, NodeNum, PacketId},
    pkc::KeyPair,
    router::{Role, SendError},
    time::{Duration, Instant},
    udp,
};
use compotastic_node::{UdpStation, station::NotSent, udp::LAN_PERMILLE};

type Node = Box<UdpStation<'static, Flash>>;

fn keys(byte: u8) -> KeyPair {
    KeyPair::from_private([byte; 32])
}

fn node(byte: u8) -> Node {
    let num = keys(byte).node_num();
    let config = router_config(num);
    let name = format!("node {byte}");
    let citizen = CitizenConfig::new(User::named(&name, "n"), Some(keys(byte)), Role::Client);
    Box::new(UdpStation::new(config, citizen, *agent(num), u64::from(byte), Instant::ZERO))
}

/// Everybody on the LAN hears each datagram, its sender too.
struct Lan {
    nodes: Vec<Node>,
    now: Instant,
    sent: Vec<(usize, Vec<u8>)>,
    events: Vec<(usize, CitizenEvent)>,
}

impl Lan {
    fn new(nodes: impl IntoIterator<Item = u8>) -> Self {
        let nodes = nodes.into_iter().map(node).collect();
        Self { nodes, now: Instant::ZERO, sent: Vec::new(), events: Vec::new() }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            let due = (0..self.nodes.len())
                .filter_map(|index| Some((self.nodes[index].poll_timeout()?.max(self.now), index)))
                .min();
            let Some((when, index)) = due.filter(|(when, _)| *when <= until) else { break };
            self.now = when;
            self.nodes[index].handle_timeout(when);
            while let Some(datagram) = self.nodes[index].poll_datagram(when) {
                for other in &mut self.nodes {
                    other.handle_datagram(when, &datagram);
                }
                self.sent.push((index, datagram.to_vec()));
            }
            for (index, node) in self.nodes.iter_mut().enumerate() {
                self.events.extend(
                    std::iter::from_fn(|| node.station().poll_mesh_event()).map(|event| (index, event)),
                );
            }
            self.now = self.now.max(when) + Duration::from_micros(1);
        }
        self.now = until;
    }

    fn texts(&self, index: usize) -> Vec<(String, bool, Option<u32>)> {
        let texts = self.events.iter().filter_map(|(at, event)| match event {
            CitizenEvent::Packet { packet, trusted } if *at == index && packet.port == 1 => {
                Some((String::from_utf8(packet.payload.to_vec()).unwrap(), *trusted, packet.reply_id))
            }
            _ => None,
        });
        texts.collect()
    }

    fn acked(&self, index: usize, id: PacketId) -> bool {
        let wanted =
            |event: &CitizenEvent| matches!(event, CitizenEvent::Acked { id: acked } if *acked == id);
        self.events.iter().any(|(at, event)| *at == index && wanted(event))
    }
}

#[test]
fn nodes_find_each_other_and_talk_under_their_keys() {
    let mut lan = Lan::new([1, 2]);
    let (a, b) = (keys(1).node_num(), keys(2).node_num());
    let early = lan.nodes[0].station().send_text(at(0), b, 0, "too early", None);
    assert_eq!(early, Err(NotSent::Refused(SendError::NoKey)));
    lan.run(180);
    let known = lan.nodes[0].station_ref().citizen_ref().unwrap().node(b).expect("heard of");
    assert_eq!(known.user.as_ref().unwrap().long_name.as_str(), "node 2");
    let now = lan.now;
    let id = lan.nodes[0].station().send_text(now, b, 0, "hello", None).unwrap();
    lan.run(20);
    assert_eq!(lan.texts(1), [("hello".to_string(), true, None)]);
    assert!(lan.acked(0, id));
    let now = lan.now;
    lan.nodes[1].station().send_text(now, a, 0, "hello yourself", Some(id)).unwrap();
    lan.nodes[1].station().send_text(now, NodeNum::BROADCAST, 0, "to all", None).unwrap();
    lan.run(20);
    assert_eq!(
        lan.texts(0),
        [("hello yourself".to_string(), true, Some(id.0)), ("to all".to_string(), false, None)]
    );
    assert_eq!(lan.nodes[0].ignored(), 0);
}

#[test]
fn packets_name_their_channel_for_a_broker_and_may_come_from_one() {
    let (mut sender, mut receiver) = (node(1), node(2));
    let mut now = at(100);
    sender.station().send_text(now, NodeNum::BROADCAST, 0, "by a broker", None).unwrap();
    let mut names = Vec::new();
    for _ in 0..100 {
        now = now + Duration::from_millis(100);
        sender.handle_timeout(now);
        while let Some(frame) = sender.poll_frame(now) {
            let packet = udp::to_packet(&frame.bytes, frame.priority).unwrap();
            names.push(sender.channel_name(&packet).to_string());
            receiver.handle_packet(now, &packet);
            sender.handle_packet(now, &packet);
        }
    }
    assert!(names.contains(&"LongFast".to_string()), "{names:?}");
    let packet = compotastic_messages::MeshPacket { channel: 0, ..Default::default() };
    assert_eq!(sender.channel_name(&packet), "PKI");
    let texts = std::iter::from_fn(|| receiver.station().poll_mesh_event()).filter(
        |event| matches!(event, CitizenEvent::Packet { packet, .. } if packet.payload == b"by a broker"),
    );
    assert_eq!(texts.count(), 1);
    assert_eq!((sender.ignored(), receiver.ignored()), (0, 0));
}

#[test]
fn members_of_the_swarm_hear_each_other() {
    let mut lan = Lan::new([1, 2, 3]);
    lan.run(3600);
    for node in &lan.nodes {
        let registry = node.station_ref().agent_ref().registry();
        assert_eq!(registry.iter().count(), 2);
    }
}

#[test]
fn what_others_may_relay_keeps_to_its_share_and_what_stays_on_the_lan_is_free() {
    let mut lan = Lan::new([1]);
    let text = "x".repeat(200);
    for _ in 0..720 {
        let now = lan.now;
        for hop_limit in [3, 0] {
            let message = Message { hop_limit, ..Message::new(NodeNum::BROADCAST, 0, 1, text.as_bytes()) };
            let _ = lan.nodes[0].station().send(now, &message);
        }
        lan.run(5);
    }
    let modem = Preset::LongFast.modem(false);
    let (mut relayed_us, mut free) = (0, 0);
    for (_, datagram) in &lan.sent {
        let frame = udp::from_datagram(datagram, NodeNum(0)).unwrap();
        if Header::parse(&frame).unwrap().hop_limit > 0 {
            relayed_us += modem.time_on_air_us(frame.len());
        } else {
            free += 1;
        }
    }
    let limit_us = u64::from(LAN_PERMILLE) * 3_600_000;
    assert!(relayed_us <= limit_us && relayed_us > limit_us * 8 / 10, "{relayed_us} of {limit_us}");
    assert!(free > 600, "{free}");
}

#[test]
fn whatever_comes_from_the_lan_does_no_harm() {
    let mut lan = Lan::new([1, 2]);
    lan.run(180);
    let mut datagrams: Vec<Vec<u8>> = lan.sent.iter().map(|(_, datagram)| datagram.clone()).collect();
    let mut state = 1u64;
    for round in 0..4000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let index = (state >> 33) as usize % datagrams.len();
        let mut datagram = datagrams[index].clone();
        let at = (state >> 20) as usize % datagram.len();
        datagram[at] ^= (state >> 50) as u8;
        if round % 7 == 0 {
            datagram.truncate(at);
        }
        lan.nodes[0].handle_datagram(lan.now, &datagram);
        if round % 100 == 0 {
            lan.run(1);
            datagrams.truncate(200);
            let sent = lan.sent.iter().rev().take(10).map(|(_, datagram)| datagram.clone());
            datagrams.extend(sent);
        }
    }
    lan.run(600);
    let hour = lan.sent.len();
    assert!(hour < 2000, "{hour} datagrams");
    assert!(lan.nodes[0].ignored() > 0);
}
