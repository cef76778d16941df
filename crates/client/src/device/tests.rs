//! What a client sees of a device, after the recorded exchanges with firmware 2.7.26.

use std::{vec, vec::Vec};

use compotastic_messages::{
    AdminMessage, AdminPayload, Channel, ChannelRole, ChannelSettings, Config, ConfigPayload, ConfigType,
    Data, LoRaConfig, MeshPacketPayload, Message, RegionCode, Role, Routing, RoutingVariant, Telemetry, User,
};
use hex_literal::hex;
use proptest::prelude::*;

use super::*;

const OWN: u32 = 0x1234_0001;

/// A few nodes.
struct Few(Vec<u32>);

impl Nodes for Few {
    fn own(&self) -> NodeInfo<'static> {
        NodeInfo { last_heard: 99, ..NodeInfo::default() }
    }
    fn other(&self, index: usize, tell: &mut dyn FnMut(NodeInfo<'_>)) {
        if let Some(num) = self.0.get(index) {
            tell(NodeInfo { num: *num, snr: 5.25, ..NodeInfo::default() });
        }
    }
    fn count(&self) -> usize {
        self.0.len()
    }
}

struct Bench {
    device: Device,
    settings: Settings,
    nodes: Few,
    now_ms: u64,
}

impl Bench {
    fn new() -> Self {
        let about = About {
            num: OWN,
            hw_model: HardwareModel::PORTDUINO,
            firmware_version: "2.7.26.test",
            build: "test",
            device_id: [7; 16],
            reboot_count: 3,
            has_wifi: false,
            has_bluetooth: false,
            can_shutdown: true,
        };
        let lora = LoRaConfig {
            use_preset: true,
            region: RegionCode::EU_868,
            hop_limit: 3,
            tx_enabled: true,
            ..LoRaConfig::default()
        };
        let fresh = Fresh {
            long_name: "upper hut",
            short_name: "uh",
            role: Role::ROUTER,
            lora,
            keys: Some(([1; 32], [2; 32])),
        };
        let settings = Settings::fresh(&fresh);
        let nodes = Few(vec![0x0b00_0002, OWN, 0x0b00_0003]);
        Self { device: Device::new(about, 1), settings, nodes, now_ms: 1_000 }
    }

    /// A device whose client has had the state.
    fn live() -> Self {
        let mut bench = Self::new();
        bench.device.handle_connect();
        bench.send(ToRadioPayload::WantConfigId(1));
        bench.drain();
        bench
    }

    fn send(&mut self, payload: ToRadioPayload<'_>) {
        let bytes = ToRadio::from(payload).to_vec::<512>().unwrap();
        self.device.handle_to_radio(self.now_ms, &bytes, &mut self.settings);
    }

    fn packet(&mut self, packet: MeshPacket<'_>) {
        self.send(ToRadioPayload::Packet(packet));
    }

    fn admin(&mut self, id: u32, payload: AdminPayload<'_>) {
        let payload = AdminMessage::from(payload).to_vec::<256>().unwrap();
        let data =
            Data { portnum: PortNum::ADMIN_APP, payload: &payload, want_response: true, ..Data::default() };
        self.packet(MeshPacket {
            to: OWN,
            id,
            payload: Some(MeshPacketPayload::Decoded(data)),
            want_ack: true,
            ..MeshPacket::default()
        });
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; FROM_RADIO_MAX];
        while let Some(length) =
            self.device.poll_from_radio(self.now_ms, &self.settings, &self.nodes, &mut buffer)
        {
            all.push(buffer[..length].to_vec());
        }
        assert!(!self.device.has_something());
        all
    }

    fn events(&mut self) -> Vec<DeviceEvent> {
        core::iter::from_fn(|| self.device.poll_event()).collect()
    }
}

/// The field of each message: a short name for what it is.
fn kinds(messages: &[Vec<u8>]) -> Vec<u32> {
    let field = |bytes: &Vec<u8>| compotastic_messages::pb::Fields::new(bytes).next().unwrap().unwrap().0;
    messages.iter().map(field).collect()
}

fn text(to: u32, id: u32, text: &[u8]) -> MeshPacket<'_> {
    MeshPacket {
        to,
        id,
        hop_limit: 3,
        payload: Some(MeshPacketPayload::Decoded(Data {
            portnum: PortNum::TEXT_MESSAGE_APP,
            payload: text,
            ..Data::default()
        })),
        ..MeshPacket::default()
    }
}

/// Errors to the client: packet and reason.
fn errors(messages: &[Vec<u8>]) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for bytes in messages {
        let Some(FromRadioPayload::Packet(packet)) = FromRadio::decode(bytes).unwrap().payload else {
            continue;
        };
        let Some(MeshPacketPayload::Decoded(data)) = packet.payload else { continue };
        if data.portnum == PortNum::ROUTING_APP
            && let Some(RoutingVariant::ErrorReason(error)) = Routing::decode(data.payload).unwrap().variant
        {
            assert_eq!((packet.from, packet.to), (OWN, OWN));
            found.push((data.request_id, error.0));
        }
    }
    found
}

fn states(messages: &[Vec<u8>]) -> Vec<(i32, u32)> {
    let state = |bytes: &Vec<u8>| match FromRadio::decode(bytes).unwrap().payload {
        Some(FromRadioPayload::QueueStatus(state)) => Some((state.res, state.mesh_packet_id)),
        _ => None,
    };
    messages.iter().filter_map(state).collect()
}

const CONFIG_PART: [u32; 1 + 1 + 1 + 1 + 8 + 10 + 16] = [
    3, 17, 4, 13, // my_info, UI, own node_info, metadata
    10, 10, 10, 10, 10, 10, 10, 10, // channels
    5, 5, 5, 5, 5, 5, 5, 5, 5, 5, // config
    9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, // moduleConfig
];

#[test]
fn nothing_is_told_before_the_state_is_asked_for() {
    let mut bench = Bench::new();
    bench.device.handle_connect();
    bench.send(ToRadioPayload::Heartbeat(Default::default()));
    bench.device.handle_packet(text(OWN, 5, b"early"));
    assert!(bench.drain().is_empty());
    bench.send(ToRadioPayload::WantConfigId(5));
    let last: Vec<u32> = kinds(&bench.drain()).into_iter().rev().take(3).collect();
    assert_eq!(last, [2, 11, 7], "the end, the queue state, the packet that waited");
}

#[test]
fn the_whole_state_comes_in_order() {
    for nonce in [77, 0] {
        let mut bench = Bench::new();
        bench.send(ToRadioPayload::WantConfigId(nonce));
        let all = bench.drain();
        let mut expected = CONFIG_PART.to_vec();
        // Two others: the node itself, though on the list, is not told twice.
        expected.extend([4, 4, 7]);
        assert_eq!(kinds(&all), expected);
        let end = FromRadio::decode(all.last().unwrap()).unwrap().payload;
        assert_eq!(end, Some(FromRadioPayload::ConfigCompleteId(nonce)));
        let Some(FromRadioPayload::MyInfo(info)) = FromRadio::decode(&all[0]).unwrap().payload else {
            panic!()
        };
        assert_eq!((info.my_node_num, info.reboot_count, info.nodedb_count), (OWN, 3, 4));
        let Some(FromRadioPayload::NodeInfo(own)) = FromRadio::decode(&all[2]).unwrap().payload else {
            panic!()
        };
        let user = own.user.unwrap();
        assert_eq!((own.num, own.last_heard, user.id.as_str()), (OWN, 99, Some("!12340001")));
        assert_eq!((user.role, user.hw_model), (Role::ROUTER, HardwareModel::PORTDUINO));
        assert_eq!(user.public_key, [2; 32]);
    }
}

#[test]
fn a_part_of_the_state_is_asked_for_by_two_nonces() {
    let mut bench = Bench::new();
    bench.send(ToRadioPayload::WantConfigId(69_420));
    let mut expected = CONFIG_PART.to_vec();
    expected.push(7);
    assert_eq!(kinds(&bench.drain()), expected);
    bench.send(ToRadioPayload::WantConfigId(69_421));
    assert_eq!(kinds(&bench.drain()), [4, 4, 4, 7]);
}

#[test]
fn a_second_request_begins_anew() {
    let mut bench = Bench::new();
    bench.send(ToRadioPayload::WantConfigId(1));
    let mut buffer = [0; FROM_RADIO_MAX];
    for _ in 0..5 {
        bench.device.poll_from_radio(0, &bench.settings, &bench.nodes, &mut buffer);
    }
    bench.send(ToRadioPayload::WantConfigId(2));
    assert_eq!(kinds(&bench.drain()).len(), CONFIG_PART.len() + 3);
}

#[test]
fn the_recorded_text_becomes_the_recorded_packet() {
    // `text_broadcast` of golden.json, without its stream header.
    let mut bench = Bench::live();
    let frame = hex!("0a1f15ffffffff22110801120d4772c3bcc39f652c206d6573683501000090 4803");
    bench.device.handle_to_radio(2_000, &frame, &mut bench.settings);
    let packet = bench.device.poll_packet().unwrap();
    assert_eq!((packet.to, packet.id, packet.channel, packet.hop_limit), (BROADCAST, 0x9000_0001, 0, 3));
    assert_eq!(
        (packet.port, packet.priority, packet.bitfield),
        (PortNum::TEXT_MESSAGE_APP, Priority::HIGH, 0)
    );
    assert_eq!(packet.payload, "Grüße, mesh".as_bytes());
    // `queue_status` of golden.json.
    bench.device.handle_sent(2_000, packet.id, Ok(()), 15);
    assert_eq!(bench.drain(), [hex!("5a0a100f1810208180808009")]);
}

#[test]
fn a_received_packet_is_passed_on_as_recorded() {
    // `pkc_direct_to_node` of golden.json, without its stream header.
    let frame = hex!(
        "124f0d7e77a72b1501003412220c088002120568656c6c6f4800350500009048035001780382012007a37cbc142093c8b755dc1b10e8"
        "6cb426374ad16aa853ed0bdfc0b2b86d1c7c88010198017ea80106"
    );
    let Some(FromRadioPayload::Packet(packet)) = FromRadio::decode(&frame).unwrap().payload else { panic!() };
    let mut bench = Bench::live();
    bench.device.handle_packet(packet);
    assert_eq!(bench.drain(), [frame]);
}

#[test]
fn a_position_is_cut_to_the_precision_of_the_channel() {
    // `position_broadcast` of golden.json: 50 N 8 E told with 13 bits.
    let mut bench = Bench::live();
    let position =
        Position { latitude_i: Some(500_000_000), longitude_i: Some(80_000_000), ..Position::default() };
    let payload = position.to_vec::<64>().unwrap();
    let data = Data { portnum: PortNum::POSITION_APP, payload: &payload, ..Data::default() };
    let packet = MeshPacket { payload: Some(MeshPacketPayload::Decoded(data)), ..text(BROADCAST, 9, b"") };
    bench.packet(packet);
    let packet = bench.device.poll_packet().unwrap();
    assert_eq!(packet.payload, hex!("0d0000cc1d150000c404b8010d"));
    assert_eq!(bench.events(), [DeviceEvent::Position(position)]);
}

#[test]
fn the_stalled_client_loses_the_oldest() {
    let mut bench = Bench::live();
    for id in 1..=20 {
        bench.device.handle_packet(text(OWN, id, b"x"));
        bench.device.handle_sent(0, id, Ok(()), 3);
    }
    let all = bench.drain();
    assert_eq!(states(&all), [(0, 19), (0, 20)]);
    let ids: Vec<u32> = all
        .iter()
        .filter_map(|bytes| match FromRadio::decode(bytes).unwrap().payload {
            Some(FromRadioPayload::Packet(packet)) => Some(packet.id),
            _ => None,
        })
        .collect();
    assert_eq!(ids, (5..=20).collect::<Vec<u32>>());
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_reason() {
    let mut bench = Bench::live();
    bench.packet(text(BROADCAST, 1, &[b'x'; 233]));
    assert_eq!(bench.device.poll_packet().unwrap().payload.len(), 233);
    bench.now_ms += 10_000;
    bench.packet(text(BROADCAST, 2, &[b'x'; 234]));
    bench.packet(text(0, 3, b"nobody"));
    bench.drain();
    bench.packet(MeshPacket { channel: 1, ..text(BROADCAST, 4, b"no such channel") });
    bench.packet(text(BROADCAST, 5, &[b'x'; 237]));
    let all = bench.drain();
    assert_eq!(states(&all), [(6, 4)], "237 bytes are ignored without a word");
    assert_eq!(errors(&all), [(4, 6)]);
    assert_eq!(bench.device.poll_packet(), None);
    // Fresh radios may not send.
    bench.admin(
        6,
        AdminPayload::SetConfig(Config { payload: Some(ConfigPayload::Lora(LoRaConfig::default())) }),
    );
    bench.drain();
    bench.packet(text(BROADCAST, 7, b"no region"));
    assert_eq!(states(&bench.drain()), [(34, 7)]);
}

#[test]
fn too_large_and_without_destination_have_their_errors() {
    let mut bench = Bench::live();
    bench.packet(text(BROADCAST, 2, &[b'x'; 234]));
    assert_eq!(errors(&bench.drain()), [(2, 7)]);
    bench.packet(text(0, 3, b"nobody"));
    let all = bench.drain();
    assert_eq!((states(&all), errors(&all)), (vec![(39, 3)], vec![(3, 39)]));
}

#[test]
fn a_packet_that_comes_too_soon_has_result_0_and_an_error_only_under_the_own_number() {
    let mut bench = Bench::live();
    bench.packet(text(BROADCAST, 1, b"first"));
    assert!(bench.device.poll_packet().is_some());
    bench.packet(text(BROADCAST, 2, b"too soon"));
    assert_eq!(bench.device.poll_packet(), None);
    let all = bench.drain();
    assert_eq!((states(&all), errors(&all)), (vec![(0, 2)], vec![]));
    bench.packet(MeshPacket { from: OWN, ..text(BROADCAST, 3, b"too soon too") });
    assert_eq!(errors(&bench.drain()), [(3, 38)]);
    bench.now_ms += 2_000;
    bench.packet(text(BROADCAST, 4, b"in time"));
    assert!(bench.device.poll_packet().is_some());
}

#[test]
fn an_id_counts_once_and_0_is_replaced() {
    let mut bench = Bench::live();
    let private = |id| {
        let data = Data { portnum: PortNum::PRIVATE_APP, payload: b"x", ..Data::default() };
        MeshPacket { payload: Some(MeshPacketPayload::Decoded(data)), ..text(BROADCAST, id, b"") }
    };
    bench.packet(private(8));
    bench.packet(private(8));
    bench.packet(private(0));
    bench.packet(private(0));
    let ids: Vec<u32> = core::iter::from_fn(|| bench.device.poll_packet()).map(|packet| packet.id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], 8);
    assert!(ids[1] != 0 && ids[2] != 0 && ids[1] != ids[2]);
}

#[test]
fn hop_limit_0_is_the_default_where_an_acknowledgement_is_wanted() {
    let mut bench = Bench::live();
    let lora = LoRaConfig { hop_limit: 5, ..bench.settings.lora() };
    bench.admin(1, AdminPayload::SetConfig(Config { payload: Some(ConfigPayload::Lora(lora)) }));
    let mut hops = |id, hop_limit, want_ack| {
        bench.now_ms += 2_000;
        bench.packet(MeshPacket { hop_limit, want_ack, ..text(BROADCAST, id, b"x") });
        bench.device.poll_packet().unwrap().hop_limit
    };
    assert_eq!(hops(2, 0, false), 0);
    assert_eq!(hops(3, 0, true), 5);
    assert_eq!(hops(4, 7, false), 7);
    assert_eq!(hops(5, 9, false), 5);
}

#[test]
fn a_full_queue_that_has_room_again_is_told() {
    let mut bench = Bench::live();
    bench.device.handle_sent(0, 1, Err(Refused::QueueFull), 0);
    assert_eq!(states(&bench.drain()), [(32, 1)]);
    bench.device.handle_free(2);
    bench.device.handle_free(3);
    assert_eq!(states(&bench.drain()), [(0, 0)]);
}

#[test]
fn heartbeats_are_answered_or_send_node_info() {
    let mut bench = Bench::live();
    bench.device.handle_to_radio(0, &hex!("3a00"), &mut bench.settings);
    assert_eq!(states(&bench.drain()), [(0, 0)]);
    bench.device.handle_to_radio(0, &hex!("3a020801"), &mut bench.settings);
    assert!(bench.drain().is_empty());
    assert_eq!(bench.events(), [DeviceEvent::NodeInfoWanted]);
}

/// The admin message of the only answer.
fn answered(all: &[Vec<u8>]) -> Vec<u8> {
    for bytes in all {
        if let Some(FromRadioPayload::Packet(packet)) = FromRadio::decode(bytes).unwrap().payload
            && let Some(MeshPacketPayload::Decoded(data)) = packet.payload
            && data.portnum == PortNum::ADMIN_APP
        {
            assert_eq!((packet.from, packet.to), (OWN, OWN));
            return data.payload.to_vec();
        }
    }
    panic!("no answer in {all:?}");
}

#[test]
fn the_recorded_settings_of_the_python_client_hold() {
    let mut bench = Bench::live();
    // `meshtastic --set device.role ROUTER`, `--set lora.hop_limit 4`, `--set-owner Bob --set-owner-short bb`: what the client sends once
    // it has read the sections. The own number is that of the recording.
    bench.device.about.num = 0x0b00_0001;
    for frame in [
        &hex!("0a20150100000b220d080612079202040a02080218013589026d6050015846880101")[..],
        &hex!("0a22150100000b220d08061207920204320240041801353ddd62c1480450015846880101"),
        &hex!("0a25150100000b22120806120c8202091203426f621a0262621801359eb2467f50015846880101"),
    ] {
        bench.device.handle_to_radio(0, frame, &mut bench.settings);
    }
    assert_eq!(bench.settings.role(), Role::ROUTER);
    assert_eq!(bench.settings.hop_limit(), 4);
    let user = bench.settings.user(1, HardwareModel::UNSET);
    assert_eq!(
        (user.as_user().long_name.as_str(), user.as_user().short_name.as_str()),
        (Some("Bob"), Some("bb"))
    );
    assert_eq!(bench.events(), vec![DeviceEvent::SettingsChanged; 3]);
}

#[test]
fn what_is_set_is_read_back_byte_for_byte() {
    let mut bench = Bench::live();
    // A section with a field that nothing here knows.
    let section = hex!("0802 98 0f 01");
    bench.admin(2, AdminPayload::SetConfig(Config { payload: Some(ConfigPayload::Power(&section)) }));
    assert_eq!(errors(&bench.drain()), [(2, 0)], "set and acknowledged");
    bench.admin(3, AdminPayload::GetConfigRequest(ConfigType::POWER_CONFIG));
    let answer = answered(&bench.drain());
    let admin = AdminMessage::decode(&answer).unwrap();
    let expected = Config { payload: Some(ConfigPayload::Power(&section)) };
    assert_eq!(admin.payload, Some(AdminPayload::GetConfigResponse(expected)));
    assert_eq!(admin.session_passkey.len(), 8);
    assert!(bench.device.is_session(bench.now_ms + 299_999, admin.session_passkey));
    assert!(!bench.device.is_session(bench.now_ms + 300_000, admin.session_passkey));
    assert!(!bench.device.is_session(bench.now_ms, &[]));
}

#[test]
fn a_channel_is_added_and_used() {
    let mut bench = Bench::live();
    let channel = Channel {
        index: 1,
        settings: Some(ChannelSettings { psk: &[9; 32], name: "two".into(), ..ChannelSettings::default() }),
        role: ChannelRole::SECONDARY,
    };
    bench.admin(1, AdminPayload::SetChannel(channel.clone()));
    bench.admin(2, AdminPayload::GetChannelRequest(2));
    let answer = answered(&bench.drain());
    assert_eq!(
        AdminMessage::decode(&answer).unwrap().payload,
        Some(AdminPayload::GetChannelResponse(channel))
    );
    bench.packet(MeshPacket { channel: 1, ..text(BROADCAST, 4, b"on two") });
    assert_eq!(bench.device.poll_packet().unwrap().channel, 1);
}

#[test]
fn there_is_one_primary_channel() {
    let mut bench = Bench::live();
    let channel = |index, role| Channel { index, role, ..Channel::default() };
    bench.admin(1, AdminPayload::SetChannel(channel(1, ChannelRole::PRIMARY)));
    let roles: Vec<ChannelRole> = (0..3).map(|index| bench.settings.channel(index).role).collect();
    assert_eq!(roles, [ChannelRole::SECONDARY, ChannelRole::PRIMARY, ChannelRole::DISABLED]);
    bench.drain();
    bench.admin(2, AdminPayload::SetChannel(channel(0, ChannelRole::DISABLED)));
    bench.admin(3, AdminPayload::SetChannel(channel(8, ChannelRole::SECONDARY)));
    assert_eq!(errors(&bench.drain()), [(2, 32), (3, 32)]);
}

#[test]
fn an_edit_is_told_once_at_its_end() {
    let mut bench = Bench::live();
    bench.admin(1, AdminPayload::BeginEditSettings(true));
    for id in 2..5 {
        bench.admin(id, AdminPayload::SetOwner(User { long_name: "Bob".into(), ..User::default() }));
    }
    assert!(bench.events().is_empty());
    bench.admin(5, AdminPayload::CommitEditSettings(true));
    assert_eq!(bench.events(), [DeviceEvent::SettingsChanged]);
    let user = bench.settings.user(1, HardwareModel::UNSET);
    assert_eq!(user.as_user().short_name.as_str(), Some("uh"), "the short name was not set");
}

#[test]
fn a_restart_is_asked_for_and_told() {
    let mut bench = Bench::live();
    bench.admin(1, AdminPayload::RebootSeconds(5));
    bench.admin(2, AdminPayload::RebootSeconds(-1));
    assert_eq!(bench.events(), [DeviceEvent::Reboot { in_s: 5 }, DeviceEvent::Stay]);
    bench.device.handle_rebooted();
    let told = bench.drain();
    assert_eq!(kinds(&told), [8]);
    bench.send(ToRadioPayload::WantConfigId(3));
    assert_eq!(kinds(&bench.drain()).len(), CONFIG_PART.len() + 3);
}

#[test]
fn a_fixed_position_is_a_setting() {
    let mut bench = Bench::live();
    let position = Position { latitude_i: Some(1), longitude_i: Some(2), ..Position::default() };
    bench.admin(1, AdminPayload::SetFixedPosition(position.clone()));
    let events = bench.events();
    assert_eq!(events, [DeviceEvent::SettingsChanged, DeviceEvent::FixedPosition(Some(position.clone()))]);
    assert_eq!(Position::decode(bench.settings.get(Part::FixedPosition)), Ok(position));
    assert_eq!(bench.settings.get(Part::Config(1)), hex!("1801"));
    bench.admin(2, AdminPayload::RemoveFixedPosition(true));
    assert_eq!(bench.settings.get(Part::FixedPosition), b"");
    assert_eq!(bench.settings.get(Part::Config(1)), b"");
}

#[test]
fn other_requests_reach_the_host() {
    let mut bench = Bench::live();
    bench.admin(1, AdminPayload::SetFavoriteNode(7));
    bench.admin(2, AdminPayload::RemoveIgnoredNode(8));
    bench.admin(3, AdminPayload::NodedbReset(true));
    bench.admin(4, AdminPayload::SetTimeOnly(1_800_000_000));
    let expected = [
        DeviceEvent::Favourite(7, true),
        DeviceEvent::Ignored(8, false),
        DeviceEvent::ForgetNodes,
        DeviceEvent::Time(1_800_000_000),
    ];
    assert_eq!(bench.events(), expected);
    assert_eq!(bench.device.unix_s(bench.now_ms + 5_000), 1_800_000_005);
    bench.drain();
    bench.admin(5, AdminPayload::EnterDfuModeRequest(true));
    assert_eq!(errors(&bench.drain()), [(5, 8)], "nothing here does that");
}

#[test]
fn a_notification_is_told_and_cut_between_characters() {
    let mut bench = Bench::live();
    bench.device.notify(LogLevel::WARNING, Some(4), &"ü".repeat(100));
    let all = bench.drain();
    let Some(FromRadioPayload::ClientNotification(told)) = FromRadio::decode(&all[0]).unwrap().payload else {
        panic!()
    };
    assert_eq!(
        (told.reply_id, told.level, told.message.as_str()),
        (Some(4), LogLevel::WARNING, Some(&*"ü".repeat(60)))
    );
}

#[test]
fn telemetry_requests_go_to_the_mesh_as_they_are() {
    let mut bench = Bench::live();
    let payload = Telemetry::default().to_vec::<8>().unwrap();
    let data =
        Data { portnum: PortNum::TELEMETRY_APP, payload: &payload, want_response: true, ..Data::default() };
    let packet = MeshPacket {
        payload: Some(MeshPacketPayload::Decoded(data)),
        pki_encrypted: true,
        ..text(0x0b00_0002, 5, b"")
    };
    bench.packet(packet);
    let out = bench.device.poll_packet().unwrap();
    assert_eq!((out.want_response, out.bitfield, out.priority, out.pki), (true, 2, Priority::RELIABLE, true));
}

proptest! {
    #[test]
    fn anything_may_come_from_a_client(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..40),
        head in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let mut bench = Bench::live();
        for (message, head) in messages.iter().zip(head) {
            bench.now_ms += 500;
            if head {
                // An admin message to the node itself, so that random bytes get that far.
                let data = Data { portnum: PortNum::ADMIN_APP, payload: message, ..Data::default() };
                let id = bench.now_ms as u32;
                bench.packet(MeshPacket { to: OWN, payload: Some(MeshPacketPayload::Decoded(data)), id, ..MeshPacket::default() });
            } else {
                bench.device.handle_to_radio(bench.now_ms, message, &mut bench.settings);
            }
            prop_assert!(Settings::from_saved(bench.settings.as_saved()).is_some());
            while bench.device.poll_packet().is_some() {}
            bench.drain();
        }
    }
}
