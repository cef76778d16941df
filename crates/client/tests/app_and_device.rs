//! Our app's session and our device understand each other: the state, settings, packets and a restart.

use compotastic_client::{
    app::{Config, Event, Failure, Phase, Scope, Session},
    device::{About, Device, DeviceEvent, FROM_RADIO_MAX, Fresh, Nodes, Refused, Settings},
};
use compotastic_messages::{
    AdminMessage, AdminPayload, Channel, ChannelRole, ChannelSettings, Data, HardwareModel, LoRaConfig,
    MeshPacket, MeshPacketPayload, NodeInfo, PortNum, RegionCode, Role, RoutingError,
};

struct Two;

impl Nodes for Two {
    fn own(&self) -> NodeInfo<'static> {
        NodeInfo::default()
    }
    fn other(&self, index: usize, tell: &mut dyn FnMut(NodeInfo<'_>)) {
        tell(NodeInfo { num: 100 + index as u32, ..NodeInfo::default() });
    }
    fn count(&self) -> usize {
        2
    }
}

struct Pair {
    session: Session,
    device: Device,
    settings: Settings,
    now_ms: u64,
    events: Vec<Event>,
    answers: Vec<(u32, Vec<u8>)>,
}

impl Pair {
    fn new(scope: Scope) -> Self {
        let about = About {
            num: 0x0b00_0001,
            hw_model: HardwareModel::RAK4631,
            firmware_version: "2.7.26.pair",
            build: "pair",
            device_id: [1; 16],
            reboot_count: 1,
            has_wifi: false,
            has_bluetooth: true,
            can_shutdown: true,
        };
        let lora = LoRaConfig {
            use_preset: true,
            region: RegionCode::EU_868,
            hop_limit: 5,
            tx_enabled: true,
            ..LoRaConfig::default()
        };
        let fresh = Fresh { long_name: "pair", short_name: "pr", role: Role::ROUTER, lora, keys: None };
        let mut pair = Self {
            session: Session::new(Config { scope, ..Config::default() }, 7),
            device: Device::new(about, 8),
            settings: Settings::fresh(&fresh),
            now_ms: 0,
            events: Vec::new(),
            answers: Vec::new(),
        };
        pair.device.handle_connect();
        pair.session.handle_connected(0);
        pair.talk();
        pair
    }

    /// Both say all that they have to say.
    fn talk(&mut self) {
        for _ in 0..50 {
            self.now_ms += 100;
            self.session.handle_timeout(self.now_ms);
            while let Some(message) = self.session.poll_transmit(self.now_ms) {
                self.device.handle_to_radio(self.now_ms, &message, &mut self.settings);
            }
            let mut buffer = [0; FROM_RADIO_MAX];
            while let Some(length) =
                self.device.poll_from_radio(self.now_ms, &self.settings, &Two, &mut buffer)
            {
                let taken = self.session.handle_message(self.now_ms, &buffer[..length]).unwrap();
                if let Some(id) = taken.answers {
                    self.answers.push((id, buffer[..length].to_vec()));
                }
            }
            self.events.extend(core::iter::from_fn(|| self.session.poll_event()));
        }
    }
}

fn text(to: u32) -> MeshPacket<'static> {
    let data = Data { portnum: PortNum::TEXT_MESSAGE_APP, payload: b"hello", ..Data::default() };
    MeshPacket {
        to,
        want_ack: true,
        payload: Some(MeshPacketPayload::Decoded(data)),
        ..MeshPacket::default()
    }
}

#[test]
fn the_state_is_told_in_every_scope() {
    for scope in [Scope::All, Scope::ConfigOnly, Scope::NodesOnly] {
        let pair = Pair::new(scope);
        assert_eq!(pair.session.phase(), Phase::Ready, "{scope:?}");
        if scope == Scope::NodesOnly {
            continue;
        }
        let radio = pair.session.radio();
        assert_eq!((radio.num, radio.role, radio.nodedb_count), (0x0b00_0001, Role::ROUTER, 3));
        assert_eq!(radio.firmware, b"2.7.26.pair");
        assert_eq!(radio.lora.as_ref().map(|lora| lora.hop_limit), Some(5));
        assert_eq!(radio.channels.iter().flatten().count(), 8, "free slots are told too");
        assert!(pair.events.contains(&Event::Ready { num: 0x0b00_0001 }));
    }
}

#[test]
fn a_channel_is_set_and_read_back() {
    let mut pair = Pair::new(Scope::All);
    let channel = Channel {
        index: 1,
        settings: Some(ChannelSettings { psk: &[5; 32], name: "swarm".into(), ..ChannelSettings::default() }),
        role: ChannelRole::SECONDARY,
    };
    let set = AdminMessage::from(AdminPayload::SetChannel(channel));
    let id = pair.session.admin(pair.now_ms, &set, false).unwrap();
    pair.talk();
    assert!(pair.events.contains(&Event::Delivered { id, by: 0x0b00_0001 }), "{:?}", pair.events);
    assert_eq!(pair.device.poll_event(), Some(DeviceEvent::SettingsChanged));
    let get = AdminMessage::from(AdminPayload::GetChannelRequest(2));
    let id = pair.session.admin(pair.now_ms, &get, true).unwrap();
    pair.talk();
    assert_eq!(pair.answers.iter().filter(|(answered, _)| *answered == id).count(), 1);
    let slot = pair.session.radio().channels[1].clone().unwrap();
    assert_eq!((slot.name.as_slice(), slot.psk.as_slice()), (&b"swarm"[..], &[5; 32][..]));
}

#[test]
fn the_fate_of_packets_is_told() {
    let mut pair = Pair::new(Scope::All);
    let arrives = pair.session.send(&text(100)).unwrap();
    pair.talk();
    let packet = pair.device.poll_packet().unwrap();
    assert_eq!((packet.id, packet.to, packet.hop_limit), (arrives, 100, 5), "the radio's own default");
    pair.device.handle_sent(pair.now_ms, arrives, Ok(()), 15);
    pair.device.handle_outcome(pair.now_ms, arrives, RoutingError::NONE);
    let refused = pair.session.send(&text(101)).unwrap();
    pair.talk();
    assert_eq!(pair.device.poll_packet().unwrap().id, refused);
    let no_key = Err(Refused::Error(RoutingError::PKI_SEND_FAIL_PUBLIC_KEY));
    pair.device.handle_sent(pair.now_ms, refused, no_key, 16);
    let nowhere = pair.session.send(&MeshPacket { channel: 5, ..text(100) }).unwrap();
    pair.talk();
    assert!(pair.events.contains(&Event::Delivered { id: arrives, by: 0x0b00_0001 }));
    let failed = |id: u32| {
        let of = |event: &Event| match event {
            Event::Failed { id: failed, why: Failure::Routing(error) } if *failed == id => Some(*error),
            _ => None,
        };
        pair.events.iter().find_map(of)
    };
    assert_eq!(failed(refused), Some(RoutingError::PKI_SEND_FAIL_PUBLIC_KEY));
    assert_eq!(failed(nowhere), Some(RoutingError::NO_CHANNEL));
}

#[test]
fn a_restart_begins_anew() {
    let mut pair = Pair::new(Scope::All);
    pair.events.clear();
    pair.device.handle_rebooted();
    pair.talk();
    assert_eq!(pair.events.iter().filter(|event| **event == Event::Restarted).count(), 1);
    assert!(pair.events.contains(&Event::Ready { num: 0x0b00_0001 }));
    assert_eq!((pair.session.phase(), pair.session.radio().reboot_count), (Phase::Ready, 2));
}
