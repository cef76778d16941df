//! The shared radio without sockets: who is told what, under which id, and whose packet goes when.

use std::sync::Arc;

use compotastic_daemon::share::{ClientId, ForRadio, Hub, IDLE_MS, Outbox, RadioInput, ShareConfig, WAIT_MS};
use compotastic_messages::*;

const NUM: u32 = 0x1234_0001;
const OTHER: u32 = 0xAABB_CC21;
const PRIVATE: PortNum = PortNum::PRIVATE_APP;

/// A hub on a radio that says what the test wants.
struct Bench {
    hub: Hub,
    now_ms: u64,
}

struct Client {
    id: ClientId,
    outbox: Arc<Outbox>,
}

impl Bench {
    fn empty(config: ShareConfig) -> Self {
        Self { hub: Hub::new(config, 3), now_ms: 1_000 }
    }

    fn new(config: ShareConfig) -> Self {
        let mut bench = Self::empty(config);
        bench.radio_tells_its_state();
        bench
    }

    fn radio(&mut self, payload: FromRadioPayload<'_>) {
        let bytes = FromRadio::from(payload).to_vec::<512>().unwrap().to_vec();
        self.hub.handle_radio(self.now_ms, &RadioInput::Message(bytes));
    }

    fn radio_tells_its_state(&mut self) {
        self.radio(FromRadioPayload::MyInfo(MyNodeInfo { my_node_num: NUM, ..MyNodeInfo::default() }));
        self.radio(FromRadioPayload::NodeInfo(node(NUM, "ours")));
        let metadata = DeviceMetadata { firmware_version: "2.7.26".into(), ..DeviceMetadata::default() };
        self.radio(FromRadioPayload::Metadata(metadata));
        let settings = ChannelSettings { psk: &[1], ..ChannelSettings::default() };
        let channel = Channel { index: 0, settings: Some(settings), role: ChannelRole::PRIMARY };
        self.radio(FromRadioPayload::Channel(channel));
        let lora = LoRaConfig { use_preset: true, region: RegionCode::EU_868, ..LoRaConfig::default() };
        for part in [ConfigPayload::Lora(lora), ConfigPayload::Security(&[0x12, 1, 7])] {
            self.radio(FromRadioPayload::Config(Config { payload: Some(part) }));
        }
        self.radio(FromRadioPayload::ModuleConfig(ModuleConfig { field: 1, body: &[] }));
        self.radio(FromRadioPayload::NodeInfo(node(OTHER, "theirs")));
        self.radio(FromRadioPayload::FileInfo(&[10, 1, b'f']));
        self.radio(FromRadioPayload::ConfigCompleteId(99));
    }

    fn connect(&mut self) -> Client {
        let (id, outbox) = self.hub.connect(self.now_ms).expect("room");
        Client { id, outbox }
    }

    /// A client that has been told the state.
    fn client(&mut self) -> Client {
        let client = self.connect();
        self.says(&client, ToRadioPayload::WantConfigId(5));
        assert!(!client.told().is_empty());
        client
    }

    fn says(&mut self, client: &Client, payload: ToRadioPayload<'_>) {
        let bytes = ToRadio::from(payload).to_vec::<512>().unwrap();
        self.hub.handle_client(self.now_ms, client.id, &bytes);
    }

    fn sends(&mut self, client: &Client, id: u32, to: u32, data: Data<'_>) {
        let payload = Some(MeshPacketPayload::Decoded(data));
        let packet = MeshPacket { to, id, hop_limit: 3, payload, ..MeshPacket::default() };
        self.says(client, ToRadioPayload::Packet(packet));
    }

    /// What goes to the radio now.
    fn for_radio(&mut self) -> Vec<ForRadio> {
        std::iter::from_fn(|| self.hub.poll_radio(self.now_ms)).collect()
    }

    /// Ids of the packets that go to the radio until then.
    fn ids_until(&mut self, until_ms: u64) -> Vec<u32> {
        let mut ids = Vec::new();
        loop {
            ids.extend(self.for_radio().iter().filter_map(|message| message.id));
            match self.hub.poll_timeout().filter(|due_ms| *due_ms <= until_ms) {
                Some(due_ms) => self.now_ms = due_ms.max(self.now_ms + 1),
                None => break,
            }
        }
        self.now_ms = self.now_ms.max(until_ms);
        ids
    }

    /// A packet from `from` comes in.
    fn hears(&mut self, from: u32, to: u32, data: Data<'_>) {
        let payload = Some(MeshPacketPayload::Decoded(data));
        self.radio(FromRadioPayload::Packet(MeshPacket {
            from,
            to,
            id: 4_711,
            payload,
            ..MeshPacket::default()
        }));
    }
}

impl Client {
    /// All that it has been told since the last time.
    fn told(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.outbox.take()).map(|message| message.to_vec()).collect()
    }

    /// Kinds of what it has been told, in short.
    fn kinds(&self) -> Vec<String> {
        self.told().iter().map(|bytes| kind(bytes)).collect()
    }

    /// Statuses (result and id) and packets (sender, port, request and reply id) that it has been told.
    fn packets(&self) -> Vec<(u32, PortNum, u32, u32)> {
        let told = self.told();
        let packets = told.iter().filter_map(|bytes| match FromRadio::decode(bytes).unwrap().payload {
            Some(FromRadioPayload::Packet(packet)) => {
                let data = packet.decoded().unwrap();
                Some((packet.from, data.portnum, data.request_id, data.reply_id))
            }
            _ => None,
        });
        packets.collect()
    }

    fn status(&self) -> Option<(i32, u32, u32)> {
        self.told().iter().rev().find_map(|bytes| match FromRadio::decode(bytes).unwrap().payload {
            Some(FromRadioPayload::QueueStatus(status)) => {
                Some((status.res, status.mesh_packet_id, status.free))
            }
            _ => None,
        })
    }
}

fn node(num: u32, name: &str) -> NodeInfo<'_> {
    NodeInfo { num, user: Some(User { long_name: name.into(), ..User::default() }), ..NodeInfo::default() }
}

fn kind(bytes: &[u8]) -> String {
    match FromRadio::decode(bytes).unwrap().payload.unwrap() {
        FromRadioPayload::MyInfo(_) => "my_info".into(),
        FromRadioPayload::NodeInfo(info) => format!("node {:x}", info.num),
        FromRadioPayload::Metadata(_) => "metadata".into(),
        FromRadioPayload::Channel(channel) => format!("channel {}", channel.index),
        FromRadioPayload::Config(config) => match config.payload.unwrap() {
            ConfigPayload::Security(keys) => format!("security of {} bytes", keys.len()),
            part => format!("config {}", part.kind()),
        },
        FromRadioPayload::ModuleConfig(module) => format!("module {}", module.field),
        FromRadioPayload::FileInfo(_) => "file".into(),
        FromRadioPayload::ConfigCompleteId(nonce) => format!("complete {nonce}"),
        FromRadioPayload::Rebooted(_) => "rebooted".into(),
        FromRadioPayload::QueueStatus(status) => format!("status {}", status.res),
        FromRadioPayload::Packet(packet) => match packet.decoded() {
            Some(data) if data.portnum == PortNum::ROUTING_APP => {
                let error = Routing::decode(data.payload).unwrap().error().unwrap();
                format!("{error} for {}", data.request_id)
            }
            _ => "packet".into(),
        },
        other => format!("{other:?}"),
    }
}

fn data(portnum: PortNum, payload: &[u8]) -> Data<'_> {
    Data { portnum, payload, ..Data::default() }
}

fn ack(id: u32) -> Data<'static> {
    Data { portnum: PortNum::ROUTING_APP, payload: &[0x18, 0], request_id: id, ..Data::default() }
}

#[test]
fn each_client_has_its_own_handshake_in_the_firmwares_order() {
    let mut bench = Bench::new(ShareConfig::default());
    let client = bench.connect();
    bench.says(&client, ToRadioPayload::WantConfigId(77));
    let head = [
        "my_info",
        "node 12340001",
        "metadata",
        "channel 0",
        "config LORA_CONFIG",
        "security of 3 bytes",
        "module 1",
    ];
    let whole = [&head[..], &["node aabbcc21", "file", "complete 77"]].concat();
    assert_eq!(client.kinds(), whole);
    bench.says(&client, ToRadioPayload::WantConfigId(NONCE_CONFIG_ONLY));
    assert_eq!(client.kinds(), [&head[..], &["file", "complete 69420"]].concat());
    bench.says(&client, ToRadioPayload::WantConfigId(NONCE_NODES_ONLY));
    assert_eq!(client.kinds(), ["node 12340001", "node aabbcc21", "complete 69421"]);
    let other = bench.connect();
    bench.says(&other, ToRadioPayload::WantConfigId(0));
    assert_eq!(other.kinds().last().map(String::as_str), Some("complete 0"));
    assert_eq!(bench.for_radio(), [], "and the radio is not asked for any of them");
}

#[test]
fn who_asks_before_the_radio_has_told_waits_for_it() {
    let mut bench = Bench::empty(ShareConfig::default());
    let client = bench.connect();
    bench.says(&client, ToRadioPayload::WantConfigId(77));
    assert_eq!(client.kinds(), Vec::<String>::new());
    bench.radio_tells_its_state();
    assert_eq!(client.kinds().last().map(String::as_str), Some("complete 77"));
}

#[test]
fn answers_go_to_the_one_that_asked_under_its_own_id() {
    let mut bench = Bench::new(ShareConfig::default());
    let (a, b) = (bench.client(), bench.client());
    bench.sends(&a, 5, OTHER, data(PRIVATE, b"from a"));
    bench.sends(&b, 5, OTHER, data(PRIVATE, b"from b"));
    let ids = bench.ids_until(10_000);
    assert_eq!((ids.len(), ids[0]), (2, 5));
    assert_ne!(ids[1], 5, "two packets of one node never have the same id");
    a.told();
    b.told();
    bench.hears(OTHER, NUM, ack(5));
    bench.hears(OTHER, NUM, Data { request_id: ids[1], ..data(PRIVATE, b"answer") });
    assert_eq!(a.packets(), [(OTHER, PortNum::ROUTING_APP, 5, 0)]);
    assert_eq!(b.packets(), [(OTHER, PRIVATE, 5, 0)]);
    bench.radio(FromRadioPayload::QueueStatus(QueueStatus {
        res: 39,
        mesh_packet_id: ids[1],
        ..Default::default()
    }));
    assert_eq!((a.status(), b.status()), (None, Some((39, 5, 16))));
    bench.hub.handle_radio(bench.now_ms, &RadioInput::Refused { id: ids[1], error: 9 });
    assert_eq!((a.kinds(), b.kinds()), (vec![], vec!["DUTY_CYCLE_LIMIT for 5".to_string()]));
    bench.hears(OTHER, NUM, ack(12_345));
    assert_eq!((a.packets(), b.packets()), (vec![], vec![]), "the fate of nobody's packet");
}

#[test]
fn what_one_writes_the_others_see_and_all_hear_the_mesh() {
    let mut bench = Bench::new(ShareConfig::default());
    let (a, b) = (bench.client(), bench.client());
    bench.sends(&a, 5, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"hello"));
    assert_eq!(bench.ids_until(5_000), [5]);
    assert_eq!(a.kinds(), ["status 0"]);
    assert_eq!(b.packets(), [(NUM, PortNum::TEXT_MESSAGE_APP, 0, 0)]);
    bench.hears(OTHER, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"hello both"));
    assert_eq!((a.packets().len(), b.packets().len()), (1, 1));
    let own = MeshPacket {
        to: BROADCAST,
        payload: Some(MeshPacketPayload::Decoded(data(PRIVATE, b"x"))),
        ..Default::default()
    };
    bench.hub.handle_radio(bench.now_ms, &RadioInput::Own(own.to_vec::<64>().unwrap().to_vec()));
    assert_eq!(
        (a.packets(), b.packets().len()),
        (vec![(NUM, PRIVATE, 0, 0)], 1),
        "the node's own packets too"
    );
    bench.sends(&a, 6, NUM, data(PortNum::ADMIN_APP, &[0x18, 1]));
    bench.ids_until(6_000);
    assert_eq!(b.kinds(), Vec::<String>::new(), "what is between a client and the radio is nobody else's");
}

#[test]
fn what_one_asks_the_others_do_not_take_for_the_nodes_own() {
    let mut bench = Bench::new(ShareConfig::default());
    let (a, b) = (bench.client(), bench.client());
    let asks = |port| Data { want_response: true, ..data(port, b"") };
    bench.sends(&a, 5, OTHER, asks(PortNum::POSITION_APP));
    bench.sends(&a, 6, OTHER, asks(PortNum::TRACEROUTE_APP));
    let own = MeshPacket {
        to: OTHER,
        payload: Some(MeshPacketPayload::Decoded(asks(PortNum::NODEINFO_APP))),
        ..Default::default()
    };
    bench.hub.handle_radio(bench.now_ms, &RadioInput::Own(own.to_vec::<64>().unwrap().to_vec()));
    assert_eq!(bench.ids_until(30_000), [5, 6]);
    assert_eq!(b.kinds(), Vec::<String>::new());
    bench.sends(&a, 7, OTHER, Data { want_response: true, ..data(PortNum::TEXT_MESSAGE_APP, b"well?") });
    assert_eq!(bench.ids_until(40_000), [7]);
    assert_eq!(b.packets(), [(NUM, PortNum::TEXT_MESSAGE_APP, 0, 0)], "texts are said to all");
}

#[test]
fn a_reply_names_the_message_as_each_knows_it() {
    let mut bench = Bench::new(ShareConfig::default());
    let (a, b) = (bench.client(), bench.client());
    bench.sends(&a, 5, BROADCAST, data(PRIVATE, b"one"));
    bench.sends(&b, 5, BROADCAST, data(PRIVATE, b"two"));
    let ids = bench.ids_until(10_000);
    a.told();
    b.told();
    bench.hears(OTHER, BROADCAST, Data { reply_id: ids[1], ..data(PortNum::TEXT_MESSAGE_APP, b"yes") });
    assert_eq!(b.packets(), [(OTHER, PortNum::TEXT_MESSAGE_APP, 0, 5)]);
    assert_eq!(a.packets(), [(OTHER, PortNum::TEXT_MESSAGE_APP, 0, ids[1])]);
    bench.sends(&b, 6, BROADCAST, Data { reply_id: 5, ..data(PRIVATE, b"three") });
    let sent = loop {
        bench.now_ms += 100;
        if let Some(message) = bench.for_radio().pop() {
            break message;
        }
    };
    let Some(ToRadioPayload::Packet(packet)) = ToRadio::decode(&sent.bytes).unwrap().payload else {
        panic!()
    };
    assert_eq!(packet.decoded().unwrap().reply_id, ids[1]);
}

#[test]
fn read_only_clients_listen() {
    let mut bench = Bench::new(ShareConfig { read_only: true, ..ShareConfig::default() });
    let client = bench.connect();
    bench.says(&client, ToRadioPayload::WantConfigId(77));
    assert!(client.kinds().contains(&"security of 0 bytes".into()), "and do not see the private key");
    bench.sends(&client, 5, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"hello"));
    bench.says(&client, ToRadioPayload::Heartbeat(Heartbeat { nonce: 1 }));
    assert_eq!(client.kinds(), ["NOT_AUTHORIZED for 5", "status 0"]);
    assert_eq!(bench.for_radio(), []);
    bench.hears(OTHER, BROADCAST, data(PRIVATE, b"x"));
    assert_eq!(client.kinds(), ["packet"]);
}

#[test]
fn without_admin_settings_are_read_but_for_secrets() {
    let mut bench = Bench::new(ShareConfig { no_admin: true, ..ShareConfig::default() });
    let client = bench.client();
    for (id, payload, allowed) in [
        (1, AdminPayload::GetOwnerRequest(true), true),
        (2, AdminPayload::GetConfigRequest(ConfigType::LORA_CONFIG), true),
        (3, AdminPayload::GetConfigRequest(ConfigType::SECURITY_CONFIG), false),
        (4, AdminPayload::SetOwner(User::default()), false),
        (5, AdminPayload::FactoryResetDevice(1), false),
        (6, AdminPayload::RebootSeconds(1), false),
    ] {
        let admin = AdminMessage::from(payload).to_vec::<64>().unwrap();
        bench.sends(&client, id, NUM, data(PortNum::ADMIN_APP, &admin));
        assert_eq!(bench.for_radio().len(), usize::from(allowed), "{id}");
        assert_eq!(client.kinds().contains(&format!("NOT_AUTHORIZED for {id}")), !allowed, "{id}");
    }
    let admin = AdminMessage::from(AdminPayload::GetOwnerRequest(true)).to_vec::<64>().unwrap();
    bench.sends(&client, 7, OTHER, data(PortNum::ADMIN_APP, &admin));
    assert_eq!(client.kinds()[0], "NOT_AUTHORIZED for 7", "nor are other nodes administered with our key");
    bench.sends(&client, 8, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"hello"));
    assert_eq!(bench.for_radio().len(), 1, "but they may talk");
}

#[test]
fn ports_have_the_radios_pace_for_each_client_and_for_all_together() {
    let mut bench = Bench::new(ShareConfig::default());
    let (a, b) = (bench.client(), bench.client());
    bench.sends(&a, 1, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"1"));
    bench.sends(&a, 2, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"2"));
    assert_eq!(a.kinds(), ["status 0", "RATE_LIMIT_EXCEEDED for 2", "status 0"]);
    bench.sends(&b, 3, BROADCAST, data(PortNum::TEXT_MESSAGE_APP, b"3"));
    assert_eq!(b.kinds(), ["status 0"], "what others send does not make it refuse");
    assert_eq!(bench.ids_until(3_000), [1]);
    assert_eq!(bench.ids_until(3_100), [3], "but the radio sees one client, and gets two texts 2 s apart");
}

#[test]
fn a_full_queue_is_told_and_ids_that_come_twice_are_dropped() {
    let mut bench = Bench::new(ShareConfig::default());
    let client = bench.client();
    for id in 1..=17 {
        bench.sends(&client, id, OTHER, data(PRIVATE, &[7; 100]));
    }
    assert_eq!(client.status(), Some((32, 17, 0)));
    bench.sends(&client, 16, OTHER, data(PRIVATE, b"again"));
    assert_eq!(client.kinds(), Vec::<String>::new());
    let other = bench.client();
    bench.sends(&other, 99, OTHER, data(PRIVATE, b"x"));
    assert_eq!(other.status(), Some((0, 99, 15)), "another client's queue is its own");
}

#[test]
fn one_that_floods_does_not_starve_the_others() {
    let mut bench = Bench::new(ShareConfig { airtime_permille: 1_000, ..ShareConfig::default() });
    let (greedy, modest) = (bench.client(), bench.client());
    let mut next = 1_000_000;
    let mut got = [0u32; 2];
    for step in 0..600u32 {
        for _ in 0..16 {
            next += 1;
            bench.sends(&greedy, next, OTHER, data(PRIVATE, &[7; 200]));
        }
        bench.sends(&modest, step + 1, OTHER, data(PRIVATE, &[7; 200]));
        for id in bench.ids_until(bench.now_ms + 500) {
            got[usize::from(id < 1_000_000)] += 1;
        }
    }
    assert!(got[0] > 50 && got[0].abs_diff(got[1]) <= 2, "{got:?}");
}

#[test]
fn a_client_uses_no_more_than_its_share_of_the_air() {
    let mut bench = Bench::new(ShareConfig { airtime_permille: 10, ..ShareConfig::default() });
    let client = bench.client();
    let mut airtime_us = 0;
    let start_ms = bench.now_ms;
    for id in 1..4_000 {
        bench.sends(&client, id, OTHER, data(PRIVATE, &[7; 100]));
        bench.now_ms += 500;
        airtime_us += bench.for_radio().iter().map(|message| message.airtime_us).sum::<u64>();
    }
    let passed_us = (bench.now_ms - start_ms) * 1_000;
    // 1 %, and what may be saved up: 6 s, and a packet.
    let most = passed_us / 100 + 6_000_000;
    assert!(airtime_us <= most && airtime_us + 3_000_000 > most, "{airtime_us} of {most}");
}

#[test]
fn the_silent_are_closed_and_a_full_house_takes_nobody() {
    let mut bench = Bench::new(ShareConfig { clients: 2, ..ShareConfig::default() });
    let (a, b) = (bench.client(), bench.client());
    assert!(bench.hub.connect(bench.now_ms).is_none());
    bench.now_ms += IDLE_MS - 1;
    bench.says(&b, ToRadioPayload::Heartbeat(Heartbeat::default()));
    assert_eq!(b.kinds(), ["status 0"], "answered here");
    bench.now_ms += 1;
    bench.hub.handle_timeout(bench.now_ms);
    assert_eq!(bench.hub.clients(), 1);
    bench.says(&a, ToRadioPayload::WantConfigId(5));
    assert_eq!(a.kinds(), Vec::<String>::new());
    bench.says(&b, ToRadioPayload::Disconnect(true));
    assert_eq!(bench.hub.clients(), 0);
}

#[test]
fn after_a_restart_of_the_radio_clients_begin_anew_and_what_waits_goes() {
    let mut bench = Bench::new(ShareConfig::default());
    let client = bench.client();
    bench.radio(FromRadioPayload::Rebooted(true));
    bench.radio(FromRadioPayload::MyInfo(MyNodeInfo { my_node_num: NUM, ..MyNodeInfo::default() }));
    bench.sends(&client, 5, BROADCAST, data(PRIVATE, b"x"));
    assert_eq!(bench.for_radio(), [], "not while it starts");
    client.told();
    bench.radio_tells_its_state();
    assert_eq!(client.kinds(), ["rebooted"]);
    assert_eq!(bench.for_radio().len(), 1);
    bench.radio(FromRadioPayload::MyInfo(MyNodeInfo { my_node_num: 8, ..MyNodeInfo::default() }));
    assert_eq!(bench.hub.clients(), 0, "another radio");
}

#[test]
fn a_link_that_breaks_is_nothing_to_the_clients() {
    let mut bench = Bench::new(ShareConfig::default());
    let client = bench.client();
    bench.hub.handle_radio(bench.now_ms, &RadioInput::Down);
    bench.sends(&client, 5, BROADCAST, data(PRIVATE, b"x"));
    assert_eq!((client.kinds(), bench.for_radio()), (vec!["status 0".to_string()], vec![]));
    let other = bench.client();
    bench.radio_tells_its_state();
    assert_eq!((client.kinds(), other.kinds()), (vec![], vec![]));
    assert_eq!(bench.for_radio().len(), 1, "and what waited goes");
}

#[test]
fn what_cannot_go_is_given_back() {
    let mut bench = Bench::new(ShareConfig::default());
    let client = bench.client();
    bench.radio(FromRadioPayload::MyInfo(MyNodeInfo { my_node_num: NUM, ..MyNodeInfo::default() }));
    bench.sends(&client, 5, BROADCAST, data(PRIVATE, b"x"));
    bench.now_ms += WAIT_MS;
    bench.hub.handle_timeout(bench.now_ms);
    assert_eq!(client.kinds(), ["status 0", "TIMEOUT for 5"]);
}

#[test]
fn later_handshakes_tell_what_has_changed() {
    let mut bench = Bench::new(ShareConfig::default());
    let client = bench.client();
    let settings = ChannelSettings { name: "swarm".into(), psk: &[9; 16], ..ChannelSettings::default() };
    let channel = Channel { index: 1, settings: Some(settings), role: ChannelRole::SECONDARY };
    let admin = AdminMessage::from(AdminPayload::SetChannel(channel)).to_vec::<64>().unwrap();
    bench.sends(&client, 5, NUM, data(PortNum::ADMIN_APP, &admin));
    bench.for_radio();
    let count = |bench: &mut Bench| {
        let other = bench.connect();
        bench.says(&other, ToRadioPayload::WantConfigId(1));
        other.kinds().iter().filter(|kind| kind.starts_with("channel")).count()
    };
    assert_eq!(count(&mut bench), 1, "not before the radio has taken it");
    bench.hears(NUM, NUM, ack(5));
    assert_eq!(count(&mut bench), 2);
    let user = User { long_name: "renamed".into(), ..User::default() }.to_vec::<32>().unwrap();
    bench.hears(OTHER, BROADCAST, data(PortNum::NODEINFO_APP, &user));
    bench.says(&client, ToRadioPayload::WantConfigId(NONCE_NODES_ONLY));
    let told = client.told();
    let renamed = told.iter().any(|bytes| match FromRadio::decode(bytes).unwrap().payload {
        Some(FromRadioPayload::NodeInfo(info)) => {
            info.user.is_some_and(|user| user.long_name == "renamed".into())
        }
        _ => false,
    });
    assert!(renamed);
}
