//! A station on a radio is a full Meshtastic node too: a person with a stock node and its host write to each other, while the swarm's
//! own packets go their way.

mod common;

use common::{Flash, agent, at};
use compotastic_mesh::{
    citizen::{CitizenConfig, CitizenEvent, Message, TEXT_PORT},
    crypto::Channel,
    lora::{Preset, Region},
    native::NativeNode,
    nodedb::User,
    packet::NodeNum,
    pkc::KeyPair,
    router::{Relaying, Role, RouterConfig, SendError},
    time::{Duration, Instant},
};
use compotastic_node::{Station, station::NotSent};

fn keys(byte: u8) -> KeyPair {
    KeyPair::from_private([byte; 32])
}

fn router(byte: u8, channels: &[Channel]) -> RouterConfig {
    RouterConfig {
        num: keys(byte).node_num(),
        role: Role::Client,
        preset: Preset::LongFast,
        region: Region::Us,
        hop_limit: 3,
        channels: channels.iter().cloned().collect(),
        own_port: 448,
        relaying: Relaying::default(),
    }
}

fn primary() -> Channel {
    Channel::new("LongFast", &[1]).unwrap()
}

fn citizen(byte: u8) -> CitizenConfig {
    let name = format!("node {byte}");
    CitizenConfig::new(User::named(&name, "n"), Some(keys(byte)), Role::Client)
}

fn station(byte: u8) -> Station<'static, Flash> {
    let channels = [primary(), Channel::new("swarm", &[7; 32]).unwrap()];
    Station::new(router(byte, &channels), *agent(keys(byte).node_num()), u64::from(byte), Instant::ZERO)
}

/// Two stations of the swarm and a person's stock node, who all hear each other.
struct Field {
    now: Instant,
    stations: Vec<Box<Station<'static, Flash>>>,
    person: Box<NativeNode>,
    station_events: Vec<(usize, CitizenEvent)>,
    person_events: Vec<CitizenEvent>,
}

impl Field {
    fn new() -> Self {
        let stations = [1, 2].map(|byte| {
            let mut station = Box::new(station(byte));
            station.settle_citizen(citizen(byte), u64::from(byte), Instant::ZERO);
            station
        });
        let person = Box::new(NativeNode::new(router(3, &[primary()]), citizen(3), 3, Instant::ZERO));
        Self {
            now: Instant::ZERO,
            stations: stations.into(),
            person,
            station_events: Vec::new(),
            person_events: Vec::new(),
        }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            let mut due: Vec<Option<Instant>> =
                self.stations.iter().map(|station| station.poll_timeout()).collect();
            due.push(self.person.poll_timeout());
            let now = self.now;
            let next =
                due.iter().enumerate().filter_map(|(index, due)| Some(((*due)?.max(now), index))).min();
            let Some((when, index)) = next.filter(|(when, _)| *when <= until) else { break };
            // A clock that stands still would be a node that spins.
            self.now = when + Duration::from_micros(1);
            let frame = match self.stations.get_mut(index) {
                Some(station) => {
                    station.handle_timeout(self.now);
                    station.poll_transmit(self.now, false)
                }
                None => {
                    self.person.handle_timeout(self.now);
                    self.person.poll_transmit(self.now, false)
                }
            };
            if let Some(frame) = frame {
                self.now = self.now + frame.airtime;
                for (other, station) in self.stations.iter_mut().enumerate() {
                    if other == index {
                        station.handle_tx_done(self.now);
                    } else {
                        station.handle_frame(self.now, &frame.bytes, 30, -80);
                    }
                }
                if index == self.stations.len() {
                    self.person.handle_tx_done(self.now);
                } else {
                    self.person.handle_frame(self.now, &frame.bytes, 30, -80);
                }
            }
            for (index, station) in self.stations.iter_mut().enumerate() {
                let events = std::iter::from_fn(|| station.poll_mesh_event());
                self.station_events.extend(events.map(|event| (index, event)));
            }
            self.person_events.extend(std::iter::from_fn(|| self.person.poll_event()));
        }
        self.now = until;
    }
}

fn text(event: &CitizenEvent) -> Option<(NodeNum, String, bool)> {
    match event {
        CitizenEvent::Packet { packet, trusted } if packet.port == TEXT_PORT => {
            Some((packet.from, String::from_utf8(packet.payload.to_vec()).unwrap(), *trusted))
        }
        _ => None,
    }
}

#[test]
fn a_person_writes_to_a_station_and_is_answered() {
    let mut field = Field::new();
    field.run(400);
    let (station, person) = (keys(1).node_num(), keys(3).node_num());
    let question = field.person.send(field.now, &Message::text(station, 0, "status?", None)).unwrap();
    field.run(30);
    let texts: Vec<_> = field
        .station_events
        .iter()
        .filter(|(index, _)| *index == 0)
        .filter_map(|(_, event)| text(event))
        .collect();
    assert_eq!(texts, [(person, "status?".to_string(), true)]);
    let acked = |event: &CitizenEvent| matches!(event, CitizenEvent::Acked { id } if *id == question);
    assert!(field.person_events.iter().any(acked));
    let now = field.now;
    let answer = field.stations[0].send_text(now, person, 0, "all well", Some(question)).unwrap();
    field.run(30);
    assert_eq!(
        field.person_events.iter().filter_map(text).collect::<Vec<_>>(),
        [(station, "all well".to_string(), true)]
    );
    let acked = |event: &CitizenEvent| matches!(event, CitizenEvent::Acked { id } if *id == answer);
    assert!(field.station_events.iter().any(|(index, event)| *index == 0 && acked(event)));
}

#[test]
fn the_swarm_goes_on_and_its_members_stay_known() {
    let mut field = Field::new();
    field.run(3600);
    for (index, other) in [(0, 2), (1, 1)] {
        let other = keys(other).node_num();
        assert!(field.stations[index].agent_ref().registry().get(other).is_some());
        let known = field.stations[index].citizen_ref().unwrap().node(other).unwrap();
        assert!(known.member && known.user.is_some());
    }
    // Nothing of it reaches the host as somebody's message, nor the person.
    let ours =
        |event: &CitizenEvent| matches!(event, CitizenEvent::Packet { packet, .. } if packet.port == 448);
    assert!(!field.station_events.iter().any(|(_, event)| ours(event)));
    assert!(!field.person_events.iter().any(ours));
    let person = field.stations[0].citizen_ref().unwrap().node(keys(3).node_num()).unwrap();
    assert!(!person.member && person.user.is_some());
}

#[test]
fn a_station_without_a_citizen_says_so() {
    let mut station = station(1);
    assert_eq!(
        station.send_text(at(1), NodeNum::BROADCAST, 0, "hello", None),
        Err(NotSent::Refused(SendError::NoChannel))
    );
    assert!(station.poll_mesh_event().is_none() && station.citizen_ref().is_none());
}
