//! A radio and a broker beside it, told by hand what came.

use std::{path::PathBuf, sync::Arc};

use compotastic_links::{OwnedData, RadioInfo, RadioLink, SessionConfig};
use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    packet::{NodeNum, PacketId},
};
use compotastic_messages::{Message as _, ModemPreset, PortNum, RegionCode};
use compotastic_wire::{SwarmKey, records::enrolment::EnrolmentRecord};
use ed25519_dalek::SigningKey;

use super::*;
use crate::{
    runtime::{CoreOptions, Output, core::Mode},
    seam::Event,
    store::Store,
};

const OWN: u32 = 0x0a00_0001;
const OTHER: u32 = 0x0a00_0002;

fn swarm() -> EnrolmentRecord {
    let operator = SigningKey::from_bytes(&[0x11; 32]).verifying_key().to_bytes();
    EnrolmentRecord {
        swarm_id: [1; 8],
        channel_name: "hills".try_into().unwrap(),
        channel_key: heapless::Vec::from_slice(&[7; 32]).unwrap(),
        swarm_key: SwarmKey([3; 16]),
        epoch: 1,
        operator_keys: heapless::Vec::from_slice(&[operator]).unwrap(),
        region: "EU_868".try_into().unwrap(),
        preset: "LONG_FAST".try_into().unwrap(),
        port: 448,
        hop_limit: 3,
    }
}

fn radio_info() -> RadioInfo {
    let channel = |index, role, name: &str, psk: Vec<u8>| compotastic_links::ChannelInfo {
        index,
        role,
        name: name.into(),
        psk,
        ..Default::default()
    };
    RadioInfo {
        num: OWN,
        has_pkc: true,
        region: RegionCode::EU_868.0,
        use_preset: true,
        preset: ModemPreset::LONG_FAST.0,
        tx_enabled: true,
        channels: vec![channel(0, 1, "", vec![1]), channel(1, 2, "hills", vec![7; 32])],
        ..RadioInfo::default()
    }
}

/// A core with a radio that has told who it is, and a broker beside it. Nobody is at the other end of either: what they tell is given by hand.
struct Beside {
    core: Core,
    links: Links,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Beside {
    fn new(name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let folder = std::env::temp_dir().join(format!("compotastic-ports-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let store = Store::open(folder.join("store")).unwrap();
        let urls = ["tcp:127.0.0.1:1", "mqtt://127.0.0.1:1"];
        let options = CoreOptions {
            swarm: Some(swarm()),
            brain: None,
            task: 1,
            job_lifetime_s: 3600,
            quiet_hours: None,
            utc_offset_min: 0,
            mains_power: true,
            links: urls.map(str::to_owned).to_vec(),
            seed: 7,
        };
        let wall: crate::runtime::clock::Wall = Arc::new(|| 1_790_000_000_000);
        let now = Instant::ZERO;
        let core = Core::new(options, &store, &wall, now).unwrap();
        let urls: Vec<LinkUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
        let handle = RadioLink::spawn(&urls[0], SessionConfig::default()).unwrap();
        let bridging = Bridging { channel: "hills".into(), mqtt_ca: None, mqtt_to_lora: false };
        let links = Links::beside((0, handle, VecDeque::new()), &urls, bridging);
        drop(inside);
        let mut beside = Self { core, links, folder, runtime };
        beside.links.show(&mut beside.core);
        beside.tell(LinkEvent::Radio(RadioEvent::Up(Box::new(radio_info()))));
        assert!(matches!(beside.core.mode, Mode::Hosted(_)), "else it reads nothing beside the radio");
        beside
    }

    /// The texts that the node hears of by an event.
    fn tell(&mut self, event: LinkEvent) -> Vec<String> {
        let _inside = self.runtime.enter();
        self.links.handle(&mut self.core, Instant::ZERO, event);
        let mut texts = Vec::new();
        while let Some(output) = self.core.poll_output() {
            if let Output::Event(Event::Text(text)) = output {
                texts.push(text.text);
            }
        }
        texts
    }

    fn radio(&mut self, id: u32, text: &str) -> Vec<String> {
        let data = data(text);
        let packet = OwnedPacket { channel: 1, body: Body::Data(data), ..packet(id) };
        self.tell(LinkEvent::Radio(RadioEvent::Packet(Box::new(packet))))
    }

    /// A copy over the broker, under this channel's key.
    fn broker(&mut self, id: u32, text: &str, key: &[u8]) -> Vec<String> {
        let channel = Channel::new("hills", key).unwrap();
        let mut bytes = data(text).message().to_vec::<300>().unwrap().to_vec();
        ctr_apply(&channel.key, NodeNum(OTHER), PacketId(id), &mut bytes);
        let hash = Channel::new("hills", &[7; 32]).unwrap().hash();
        let packet =
            OwnedPacket { channel: hash.into(), body: Body::Encrypted(bytes), via_mqtt: true, ..packet(id) };
        let event =
            PacketEvent::Packet { packet: Box::new(packet), channel: Some("hills".into()), gateway: Some(9) };
        self.tell(LinkEvent::Packets(1, event))
    }
}

fn packet(id: u32) -> OwnedPacket {
    OwnedPacket { from: OTHER, to: BROADCAST, id, hop_start: 3, hop_limit: 2, ..OwnedPacket::default() }
}

fn data(text: &str) -> OwnedData {
    OwnedData { port: PortNum::TEXT_MESSAGE_APP.0, payload: text.into(), ..OwnedData::default() }
}

const RIGHT: &[u8] = &[7; 32];
const WRONG: &[u8] = &[8; 32];

#[test]
fn an_unreadable_copy_does_not_hide_the_radios() {
    let mut beside = Beside::new("unreadable");
    // Anybody who guesses the id may have written it.
    assert!(beside.broker(1, "forged", WRONG).is_empty());
    assert_eq!(beside.radio(1, "by radio"), ["by radio"]);
    assert!(beside.radio(1, "by radio").is_empty(), "once");
    // The other way round, and where the first copy could be read, there is one text.
    assert_eq!(beside.radio(2, "by radio"), ["by radio"]);
    assert!(beside.broker(2, "by radio", RIGHT).is_empty());
    assert_eq!(beside.broker(3, "by broker", RIGHT), ["by broker"]);
    assert!(beside.radio(3, "by broker").is_empty());
}

#[test]
fn of_many_unreadable_copies_the_latest_are_remembered() {
    let mut beside = Beside::new("unreadable-many");
    let all = UNREAD as u32 + 1;
    for id in 1..=all {
        assert!(beside.broker(id, "forged", WRONG).is_empty());
    }
    assert!(beside.radio(1, "pushed out").is_empty());
    assert_eq!(beside.radio(2, "kept"), ["kept"]);
    assert_eq!(beside.radio(all, "kept"), ["kept"]);
    assert!(beside.links.unread.len() <= UNREAD);
}
