//! Frames recorded from a running node, replayed: what it sent is read and written byte for byte, and where it answered, a node of ours
//! with the same number and key gives the same answer.

use std::collections::BTreeMap;

use compotastic_mesh::{
    channels::{ChannelTable, Settings},
    citizen::{CitizenConfig, CitizenEvent, Message},
    crypto::{ChannelKey, DEFAULT_KEY, ctr_apply},
    lora::{Preset, Region},
    modules::Periods,
    native::NativeNode,
    nodedb::{Position, User},
    packet::{Data, HEADER, Header, NodeNum, PacketId},
    pkc::KeyPair,
    router::{Incoming, Priority, Relaying, Role, RouterConfig},
    time::{Duration, Instant},
    traceroute, udp,
};
use compotastic_messages::{
    MeshPacket, Message as _, Position as PositionMessage, RouteDiscovery, Telemetry, User as UserMessage,
};
use serde_json::Value;

const NODE: NodeNum = NodeNum(0x1234_0001);
const FOREIGN: NodeNum = NodeNum(0x2ba7_777e);

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn vectors() -> BTreeMap<String, Value> {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/data/mesh/golden.json")).unwrap();
    let vectors = golden["vectors"].as_array().unwrap().clone();
    vectors.into_iter().map(|vector| (vector["name"].as_str().unwrap().to_string(), vector)).collect()
}

fn field(vector: &Value, name: &str) -> Vec<u8> {
    bytes(vector[name].as_str().unwrap())
}

fn number(value: &Value) -> u32 {
    match value {
        Value::String(hex) => u32::from_str_radix(hex, 16).unwrap(),
        other => other.as_u64().unwrap_or(0) as u32,
    }
}

fn key(vector: &Value, name: &str) -> [u8; 32] {
    bytes(vector["keys"][name].as_str().unwrap()).try_into().unwrap()
}

/// The content of a frame, by the default channel or by both keys.
fn clear(vector: &Value, frame: &[u8]) -> Vec<u8> {
    let header = Header::parse(frame).unwrap();
    let mut data = frame[HEADER..].to_vec();
    if header.channel_hash == 0 {
        let pair = KeyPair::from_private(key(vector, "foreign_private"));
        let length =
            pair.shared_with(&key(vector, "node_public")).unwrap().open(header.from, header.id, &mut data);
        data.truncate(length.expect("the tag fits"));
    } else {
        ctr_apply(&ChannelKey::Aes128(DEFAULT_KEY), header.from, header.id, &mut data);
    }
    data
}

#[test]
fn recorded_datagrams_are_read_and_written_byte_for_byte() {
    let mut seen = 0;
    for (name, vector) in vectors() {
        if !vector["transport"].as_str().unwrap().starts_with("UDP") {
            continue;
        }
        let (datagram, told) = (field(&vector, "hex"), &vector["decoded"]);
        let frame = udp::from_datagram(&datagram, NodeNum(1)).unwrap();
        let header = Header::parse(&frame).unwrap();
        assert_eq!(header.from.0, number(&told["from"]), "{name}");
        assert_eq!(header.to.0, number(&told["to"]), "{name}");
        assert_eq!(header.id.0, number(&told["id"]), "{name}");
        assert_eq!(u32::from(header.channel_hash), number(&told["channel"]), "{name}");
        assert_eq!(u32::from(header.hop_limit), number(&told["hop_limit"]), "{name}");
        assert_eq!(u32::from(header.hop_start), number(&told["hop_start"]), "{name}");
        assert_eq!(u32::from(header.next_hop), number(&told["next_hop"]), "{name}");
        assert_eq!(u32::from(header.relay_node), number(&told["relay_node"]), "{name}");
        assert_eq!(header.want_ack, number(&told["want_ack"]) == 1, "{name}");

        let clear = clear(&vector, &frame);
        if vector["plaintext"].is_string() {
            assert_eq!(clear, field(&vector, "plaintext"), "{name}");
        }
        let data = Data::decode(&clear).unwrap();
        let told = &told["data"];
        assert_eq!(u32::from(data.port), number(&told["port"]), "{name}");
        assert_eq!(data.payload, field(told, "payload"), "{name}");
        assert_eq!(data.request_id.unwrap_or(0), number(&told["request_id"]), "{name}");
        assert_eq!(u32::from(data.bitfield.unwrap()), number(&told["bitfield"]), "{name}");
        assert_eq!(data.wants_response(), number(&told["want_response"]) == 1, "{name}");
        let mut again = [0; 256];
        let length = data.encode(&mut again).unwrap();
        assert_eq!(again[..length], clear, "{name}");

        // But for how it came, which relays add, and flags that differ from node to node, the same bytes.
        let packet = MeshPacket::decode(&datagram).unwrap();
        let priority = [
            Priority::Background,
            Priority::Default,
            Priority::Reliable,
            Priority::Response,
            Priority::High,
            Priority::Alert,
            Priority::Ack,
        ];
        let priority = priority.into_iter().find(|priority| *priority as u32 == packet.priority.0);
        let written = udp::to_packet(&frame, priority.unwrap_or(Priority::Default)).unwrap();
        let written = MeshPacket {
            transport_mechanism: packet.transport_mechanism,
            priority: packet.priority,
            pki_encrypted: packet.pki_encrypted,
            ..written
        };
        assert_eq!(written.to_vec::<400>().unwrap()[..], datagram, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 12);
}

/// A node of ours with the number of the recorded one, and what left it.
struct Replay {
    node: NativeNode,
    now: Instant,
    sent: Vec<Vec<u8>>,
    events: Vec<CitizenEvent>,
}

impl Replay {
    fn new(vectors: &BTreeMap<String, Value>, role: Role) -> Self {
        let channels = ChannelTable::new(Settings::new("", &[1]).unwrap());
        let config = RouterConfig {
            num: NODE,
            role,
            preset: Preset::LongFast,
            region: Region::Us,
            hop_limit: 3,
            channels: channels.channels(Preset::LongFast),
            own_port: 448,
            relaying: Relaying::default(),
        };
        let keys = KeyPair::from_private(key(&vectors["pkc_direct_from_node"], "node_private"));
        let user = User { hw_model: 37, ..User::named("Meshtastic 0001", "0001") };
        let citizen = CitizenConfig {
            periods: Periods { node_info: None, position: None, telemetry: None },
            naks_broadcasts: true,
            ..CitizenConfig::new(user, Some(keys), role)
        };
        let node = NativeNode::new(config, citizen, 1, Instant::ZERO);
        Self { node, now: Instant::ZERO + Duration::from_secs(100), sent: Vec::new(), events: Vec::new() }
    }

    /// The node hears a recorded datagram, over a LAN: SNR 0.
    fn hear(&mut self, datagram: &[u8]) {
        let frame = udp::from_datagram(datagram, NODE).unwrap();
        self.node.handle_frame(self.now, &frame, 0, 0);
        self.run(10);
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) =
            self.node.poll_timeout().map(|due| due.max(self.now)).filter(|due| *due <= until)
        {
            self.now = due;
            self.node.handle_timeout(due);
            if let Some(frame) = self.node.poll_transmit(due, false) {
                self.now = due + frame.airtime;
                self.node.handle_tx_done(self.now);
                self.sent.push(udp::to_datagram(&frame.bytes, frame.priority).unwrap().to_vec());
            }
            self.events.extend(std::iter::from_fn(|| self.node.poll_event()));
        }
        self.events.extend(std::iter::from_fn(|| self.node.poll_event()));
        self.now = until;
    }

    /// The foreign node is known by its key.
    fn meet(&mut self, vectors: &BTreeMap<String, Value>) {
        let public_key = Some(key(&vectors["pkc_direct_to_node"], "foreign_public"));
        let user = User { public_key, ..User::named("foreign", "for") };
        self.node.citizen().nodes_mut().learn_user(FOREIGN, user).unwrap();
    }

    fn packets(&self) -> Vec<(&Incoming, bool)> {
        let packets = self.events.iter().filter_map(|event| match event {
            CitizenEvent::Packet { packet, trusted } => Some((packet, *trusted)),
            _ => None,
        });
        packets.collect()
    }
}

/// The one datagram that left must be the recorded one, but for the id (and so the ciphertext), and a next hop that was learnt.
fn assert_same(vector: &Value, sent: &[Vec<u8>]) -> Vec<u8> {
    assert_eq!(sent.len(), 1, "{}", vector["name"]);
    let (ours, theirs) = (MeshPacket::decode(&sent[0]).unwrap(), field(vector, "hex"));
    let theirs = MeshPacket::decode(&theirs).unwrap();
    let blank = |packet: &MeshPacket<'_>| {
        let encrypted = packet.encrypted().unwrap().len();
        let packet =
            MeshPacket { id: 0, payload: None, next_hop: 0, ..packet.clone() }.to_vec::<400>().unwrap();
        (packet, encrypted)
    };
    assert_eq!(blank(&ours), blank(&theirs), "{}", vector["name"]);
    clear(vector, &udp::from_datagram(&sent[0], NodeNum(1)).unwrap())
}

/// The recorded content, with the request of the recording.
fn told(vector: &Value) -> Vec<u8> {
    clear(vector, &udp::from_datagram(&field(vector, "hex"), NodeNum(1)).unwrap())
}

#[test]
fn a_text_and_a_private_packet_leave_as_recorded() {
    let vectors = vectors();
    for name in ["text_broadcast", "private_port_broadcast"] {
        let vector = &vectors[name];
        let recorded = told(vector);
        let data = Data::decode(&recorded).unwrap();
        let mut replay = Replay::new(&vectors, Role::Client);
        let id = PacketId(number(&vector["decoded"]["id"]));
        let message = Message::new(NodeNum::BROADCAST, 0, data.port, data.payload);
        replay.node.send_as(replay.now, id, &message).unwrap();
        replay.run(10);
        assert_eq!(replay.sent, [field(vector, "hex")], "{name}");
    }
}

#[test]
fn a_private_packet_is_delivered_and_relayed_as_recorded() {
    let vectors = vectors();
    let vector = &vectors["relayed_broadcast"];
    let mut replay = Replay::new(&vectors, Role::Client);
    replay.hear(&field(vector, "udp_in"));
    let (packet, trusted) = replay.packets()[0];
    assert_eq!((packet.port, &packet.payload[..], trusted), (256, &b"hello mesh"[..], false));
    let relayed = MeshPacket::decode(&replay.sent[0]).unwrap().to_vec::<400>().unwrap();
    let recorded = field(vector, "hex");
    let mut recorded = MeshPacket::decode(&recorded).unwrap();
    recorded.transport_mechanism = Default::default();
    assert_eq!(relayed[..], recorded.to_vec::<400>().unwrap());
}

#[test]
fn a_direct_message_under_public_keys_is_opened_and_acknowledged_as_recorded() {
    let vectors = vectors();
    let mut replay = Replay::new(&vectors, Role::ClientMute);
    replay.meet(&vectors);
    let message = field(&vectors["pkc_direct_to_node"], "hex");
    replay.hear(&message);
    let (packet, trusted) = replay.packets()[0];
    assert_eq!((&packet.payload[..], packet.under_public_keys, trusted), (&b"hello"[..], true, true));
    let ack = &vectors["ack_from_node"];
    assert_eq!(assert_same(ack, &replay.sent), told(ack));
    // Repeated, it is not delivered again, but acknowledged.
    replay.hear(&message);
    assert_eq!((replay.packets().len(), replay.sent.len()), (1, 2));
}

#[test]
fn an_acknowledgement_reaches_who_sent_the_direct_message() {
    let vectors = vectors();
    let mut replay = Replay::new(&vectors, Role::ClientMute);
    replay.meet(&vectors);
    let sent = &vectors["pkc_direct_from_node"];
    let id = PacketId(number(&sent["decoded"]["id"]));
    let message = Message::new(FOREIGN, 0, 256, b"pkc from node");
    replay.node.send_as(replay.now, id, &message).unwrap();
    replay.run(2);
    assert_eq!(assert_same(sent, &replay.sent), told(sent));
    replay.hear(&field(&vectors["ack_received_tcp"], "udp_in"));
    assert!(
        replay.events.iter().any(|event| matches!(event, CitizenEvent::Acked { id: acked } if *acked == id))
    );
    replay.run(60);
    assert_eq!(replay.sent.len(), 1, "it is not repeated any more");
}

#[test]
fn a_broadcast_that_nothing_answers_is_refused_as_recorded() {
    let vectors = vectors();
    let vector = &vectors["nak_no_response_from_node"];
    let mut replay = Replay::new(&vectors, Role::ClientMute);
    replay.hear(&field(vector, "udp_in"));
    assert_eq!(assert_same(vector, &replay.sent), told(vector));
}

#[test]
fn a_route_request_is_answered_as_recorded() {
    let vectors = vectors();
    let vector = &vectors["traceroute_reply"];
    let mut replay = Replay::new(&vectors, Role::ClientMute);
    let frame = udp::from_datagram(&field(vector, "udp_in"), NODE).unwrap();
    replay.node.handle_frame(replay.now, &frame, 0, 0);
    replay.run(3);
    assert_eq!(assert_same(vector, &replay.sent), told(vector));
}

#[test]
fn a_position_request_is_answered_as_recorded() {
    let vectors = vectors();
    let vector = &vectors["position_reply"];
    let mut replay = Replay::new(&vectors, Role::ClientMute);
    replay.node.citizen().set_position(Some(Position {
        latitude_i: 500_000_000,
        longitude_i: 80_000_000,
        altitude_m: Some(0),
        time_s: 0,
        precision_bits: 32,
    }));
    replay.hear(&field(vector, "udp_in"));
    let payload = |clear: &[u8]| {
        let message = PositionMessage::decode(Data::decode(clear).unwrap().payload).unwrap();
        (message.latitude_i, message.longitude_i, message.altitude, message.precision_bits)
    };
    let ours = replay.sent[0].clone();
    let ours = clear(vector, &udp::from_datagram(&ours, NodeNum(1)).unwrap());
    let (ours, theirs) = (Data::decode(&ours).unwrap(), told(vector));
    assert_eq!(ours.request_id, Data::decode(&theirs).unwrap().request_id);
    let mut encoded = [0; 64];
    let length = ours.encode(&mut encoded).unwrap();
    assert_eq!(payload(&encoded[..length]), payload(&theirs));
    let recorded = told(&vectors["position_broadcast"]);
    let (lat, lon, _, bits) = payload(&recorded);
    assert_eq!((lat, lon, bits), (Some(0x1dcc_0000), Some(0x04c4_0000), 13));
}

#[test]
fn a_telemetry_request_is_answered_under_public_keys_and_not_for_strangers() {
    let vectors = vectors();
    let vector = &vectors["telemetry_reply_pkc"];
    for known in [true, false] {
        let mut replay = Replay::new(&vectors, Role::ClientMute);
        if known {
            replay.meet(&vectors);
        }
        replay.node.citizen().set_power(Some(101), None);
        replay.node.citizen().set_clock(Instant::ZERO, 1_795_390_000);
        replay.hear(&field(vector, "udp_in"));
        assert_eq!(replay.sent.len(), usize::from(known));
        if !known {
            continue;
        }
        let frame = udp::from_datagram(&replay.sent[0], NodeNum(1)).unwrap();
        let header = Header::parse(&frame).unwrap();
        assert_eq!((header.channel_hash, header.hop_limit, header.want_ack), (0, 2, false));
        let (ours, theirs) = (clear(vector, &frame), told(vector));
        let (ours, theirs) = (Data::decode(&ours).unwrap(), Data::decode(&theirs).unwrap());
        assert_eq!((ours.port, ours.request_id), (theirs.port, theirs.request_id));
        let fields = |payload: &[u8]| {
            let text = format!("{:?}", Telemetry::decode(payload).unwrap());
            ["battery_level: Some(101)", "channel_utilization: Some", "uptime_seconds: Some"]
                .map(|field| text.contains(field))
        };
        assert_eq!((fields(ours.payload), fields(theirs.payload)), ([true; 3], [true; 3]));
    }
}

#[test]
fn the_recorded_node_info_makes_its_node_known_and_ours_says_the_same() {
    let vectors = vectors();
    let vector = &vectors["nodeinfo_broadcast"];
    let recorded = told(vector);
    let recorded = Data::decode(&recorded).unwrap();
    let theirs = UserMessage::decode(recorded.payload).unwrap();
    let user = User::from_message(&theirs);
    assert_eq!(user.public_key, Some(key(&vectors["pkc_direct_from_node"], "node_public")));
    // Everything but the address of its network card, which is deprecated.
    let mut node = Replay::new(&vectors, Role::Client);
    node.meet(&vectors);
    node.node.citizen().ask_who(node.now, FOREIGN, 0);
    node.run(10);
    let frame = udp::from_datagram(&node.sent[0], NodeNum(1)).unwrap();
    let ours = clear(vector, &frame);
    let ours = Data::decode(&ours).unwrap();
    assert!(ours.wants_response() && ours.bitfield == recorded.bitfield);
    let ours = UserMessage::decode(ours.payload).unwrap();
    assert_eq!(ours, UserMessage { macaddr: &[], ..theirs });
}

#[test]
fn the_answer_to_a_route_request_is_read() {
    let vectors = vectors();
    let recorded = told(&vectors["traceroute_reply"]);
    let recorded = Data::decode(&recorded).unwrap();
    let route = traceroute::completed(recorded.payload, true, Some(0), -7).unwrap();
    let expected = RouteDiscovery {
        snr_towards: [0].into_iter().collect(),
        snr_back: [-7].into_iter().collect(),
        ..RouteDiscovery::default()
    };
    assert_eq!(route, expected);
}
