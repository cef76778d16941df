//! Nodes of a scenario as their clients see them: over the simulated air, without any sockets.

use compotastic_client::device::FROM_RADIO_MAX;
use compotastic_messages::{
    AdminMessage, AdminPayload, Config, ConfigPayload, Data, FromRadio, FromRadioPayload, Heartbeat,
    LoRaConfig, MeshPacket, MeshPacketPayload, Message as _, ModemPreset, NodeInfo, PortNum, RegionCode,
    RouteDiscovery, Routing, RoutingError, RoutingVariant, Telemetry, TelemetryVariant, ToRadio,
    ToRadioPayload,
};
use compotastic_sim::{
    scenario::Scenario,
    serve::{ServeSettings, Served},
};

const UNIX_S: u32 = 1_800_000_000;
const EVERYBODY: u32 = u32::MAX;
const SECOND_US: u64 = 1_000_000;

/// Three nodes that hear their neighbours only.
const LINE: &str = r#"
name = "a line of three"
preset = "SHORT_FAST"
region = "EU_868"
hours = 24.0
[origin]
latitude = 47.0
longitude = 11.0
[radio]
path_loss = "log-distance"
exponent = 3.4
shadowing_db = 0.0
fading_db = 0.0
[[node]]
name = "first"
x_m = 0.0
y_m = 0.0
[[node]]
name = "middle"
x_m = 2000.0
y_m = 0.0
[[node]]
name = "last"
x_m = 4000.0
y_m = 0.0
"#;

struct Bench {
    served: Served,
    next_id: u32,
}

impl Bench {
    /// The line after all have spoken, with a client at each node.
    fn line() -> Self {
        let scenario = Scenario::parse(LINE).unwrap();
        let mut served = Served::build(&scenario, ServeSettings { seed: 1, unix_s: UNIX_S }).unwrap();
        served.run_for_us(Served::settled_s(&scenario) * SECOND_US);
        let mut bench = Self { served, next_id: 100 };
        for node in 0..3 {
            bench.connect(node);
        }
        bench
    }

    /// A client comes and has the state; the nodes that it is told.
    fn connect(&mut self, node: usize) -> Vec<(u32, String)> {
        self.served.connect(node);
        self.tell(node, ToRadioPayload::WantConfigId(7));
        let mut nodes = Vec::new();
        for message in self.drain(node) {
            if let Some(FromRadioPayload::NodeInfo(NodeInfo { num, user, .. })) =
                FromRadio::decode(&message).unwrap().payload
            {
                nodes.push((num, user.map(|user| user.long_name.to_string()).unwrap_or_default()));
            }
        }
        nodes
    }

    fn tell(&mut self, node: usize, payload: ToRadioPayload<'_>) {
        self.served.handle_to_radio(node, &ToRadio::from(payload).to_vec::<512>().unwrap());
    }

    /// Sends a packet; its id.
    fn send(&mut self, node: usize, to: u32, data: Data<'_>) -> u32 {
        self.next_id += 1;
        let packet = MeshPacket {
            to,
            id: self.next_id,
            hop_limit: 3,
            want_ack: true,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        };
        self.tell(node, ToRadioPayload::Packet(packet));
        self.next_id
    }

    fn admin(&mut self, node: usize, payload: AdminPayload<'_>) {
        let own = self.served.node(node).unwrap().num().0;
        let payload = AdminMessage::from(payload).to_vec::<256>().unwrap();
        self.send(node, own, Data { portnum: PortNum::ADMIN_APP, payload: &payload, ..Data::default() });
    }

    fn drain(&mut self, node: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; FROM_RADIO_MAX];
        let mut all = Vec::new();
        while let Some(length) = self.served.poll_from_radio(node, &mut buffer) {
            all.push(buffer[..length].to_vec());
        }
        all
    }

    /// What a client hears within this time, as `wanted` has it.
    fn hear<T>(
        &mut self,
        node: usize,
        seconds: u64,
        wanted: impl Fn(&MeshPacket<'_>, &Data<'_>) -> Option<T>,
    ) -> Vec<T> {
        let mut heard = Vec::new();
        for _ in 0..seconds {
            self.served.run_for_us(SECOND_US);
            for message in self.drain(node) {
                if let Some(FromRadioPayload::Packet(packet)) = FromRadio::decode(&message).unwrap().payload
                    && let Some(MeshPacketPayload::Decoded(data)) = &packet.payload
                {
                    heard.extend(wanted(&packet, data));
                }
            }
        }
        heard
    }

    fn errors(&mut self, node: usize, seconds: u64, id: u32) -> Vec<(u32, RoutingError)> {
        self.hear(node, seconds, |packet, data| match Routing::decode(data.payload).ok()?.variant? {
            RoutingVariant::ErrorReason(error)
                if data.request_id == id && data.portnum == PortNum::ROUTING_APP =>
            {
                Some((packet.from, error))
            }
            _ => None,
        })
    }
}

fn text(payload: &[u8]) -> Data<'_> {
    Data { portnum: PortNum::TEXT_MESSAGE_APP, payload, ..Data::default() }
}

const FIRST: u32 = 0x0b00_0001;
const MIDDLE: u32 = 0x0b00_0002;
const LAST: u32 = 0x0b00_0003;

#[test]
fn nodes_know_each_other_when_all_have_spoken() {
    let mut bench = Bench::line();
    let mut nodes = bench.connect(0);
    nodes.sort();
    let expected = [(FIRST, "first"), (MIDDLE, "middle"), (LAST, "last")];
    assert_eq!(nodes, expected.map(|(num, name)| (num, name.to_string())));
    let known =
        bench.served.node(0).unwrap().citizen().node(compotastic_mesh::packet::NodeNum(LAST)).unwrap();
    assert_eq!(known.hops_away, Some(1));
    assert_eq!(known.metrics.unwrap().battery_percent, Some(101));
    let latitude = f64::from(known.position.unwrap().latitude_i) / 1e7;
    assert!((latitude - 47.0).abs() < 0.05, "{latitude}");
    assert!(known.public_key().is_some());
}

#[test]
fn a_broadcast_reaches_the_far_end_and_is_acknowledged_by_its_relay() {
    let mut bench = Bench::line();
    let id = bench.send(0, EVERYBODY, text("Grüße".as_bytes()));
    let heard = bench.hear(2, 8, |packet, data| {
        (packet.id == id)
            .then(|| (packet.hop_start - packet.hop_limit, data.payload.to_vec(), packet.rx_time))
    });
    let [(hops, payload, Some(time))] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((*hops, payload.as_slice()), (1, "Grüße".as_bytes()));
    assert!((UNIX_S..UNIX_S + 10_000).contains(time));
    assert_eq!(bench.errors(0, 1, id), [(FIRST, RoutingError::NONE)]);
}

#[test]
fn a_direct_message_goes_under_public_keys_and_its_receiver_acknowledges() {
    let mut bench = Bench::line();
    let id = bench.send(0, LAST, text(b"only for you"));
    let heard = bench.hear(2, 8, |packet, data| {
        (packet.id == id).then(|| (packet.pki_encrypted, packet.public_key.len(), data.payload.to_vec()))
    });
    assert_eq!(heard, [(true, 32, b"only for you".to_vec())]);
    let errors = bench.errors(0, 10, id);
    assert!(errors.contains(&(LAST, RoutingError::NONE)), "{errors:?}");
    let others = bench.hear(1, 1, |packet, _| (packet.id == id).then_some(()));
    assert!(others.is_empty(), "the relay cannot read it");
}

#[test]
fn what_cannot_arrive_is_told() {
    let mut bench = Bench::line();
    let unknown = bench.send(0, 0x0bad_cafe, text(b"nobody"));
    assert_eq!(bench.errors(0, 2, unknown), [(FIRST, RoutingError::PKI_SEND_FAIL_PUBLIC_KEY)]);
    // The last node is known and then cannot hear any more: the middle one goes down.
    bench.admin(1, AdminPayload::ShutdownSeconds(1));
    bench.served.run_for_us(10 * SECOND_US);
    let lost = bench.send(0, LAST, text(b"too late"));
    assert_eq!(bench.errors(0, 60, lost), [(FIRST, RoutingError::MAX_RETRANSMIT)]);
    let alone = bench.send(0, EVERYBODY, text(b"anybody?"));
    assert_eq!(bench.errors(0, 60, alone), [(FIRST, RoutingError::MAX_RETRANSMIT)]);
}

#[test]
fn a_route_is_traced_and_telemetry_answered() {
    let mut bench = Bench::line();
    let id = bench.send(
        0,
        LAST,
        Data { portnum: PortNum::TRACEROUTE_APP, want_response: true, ..Data::default() },
    );
    let routes = bench.hear(0, 20, |_, data| {
        (data.portnum == PortNum::TRACEROUTE_APP && data.request_id == id)
            .then(|| RouteDiscovery::decode(data.payload).unwrap())
    });
    assert_eq!(routes.len(), 1);
    assert_eq!((&routes[0].route[..], &routes[0].route_back[..]), (&[MIDDLE][..], &[MIDDLE][..]));
    assert_eq!((routes[0].snr_towards.len(), routes[0].snr_back.len()), (2, 2));
    let telemetry = Telemetry { variant: Some(TelemetryVariant::DeviceMetrics(Default::default())), time: 0 };
    let payload = telemetry.to_vec::<16>().unwrap();
    let data =
        Data { portnum: PortNum::TELEMETRY_APP, payload: &payload, want_response: true, ..Data::default() };
    let id = bench.send(0, LAST, data);
    let levels = bench.hear(0, 20, |packet, data| {
        let telemetry = Telemetry::decode(data.payload).ok()?;
        match telemetry.variant? {
            TelemetryVariant::DeviceMetrics(metrics) if data.request_id == id => {
                Some((packet.from, metrics.battery_level))
            }
            _ => None,
        }
    });
    assert_eq!(levels, [(LAST, Some(101))]);
}

#[test]
fn a_radio_on_another_preset_hears_nobody() {
    let mut bench = Bench::line();
    let lora = LoRaConfig {
        use_preset: true,
        modem_preset: ModemPreset::LONG_FAST,
        region: RegionCode::EU_868,
        tx_enabled: true,
        ..LoRaConfig::default()
    };
    bench.admin(2, AdminPayload::SetConfig(Config { payload: Some(ConfigPayload::Lora(lora)) }));
    let id = bench.send(0, EVERYBODY, text(b"can you hear me?"));
    assert!(bench.hear(2, 10, |packet, _| (packet.id == id).then_some(())).is_empty());
    let heard = bench.hear(1, 1, |packet, _| (packet.id == id).then_some(()));
    assert_eq!(heard.len(), 1, "the middle one has it");
}

#[test]
fn a_restart_is_told_and_what_it_knew_stays() {
    let mut bench = Bench::line();
    bench.admin(0, AdminPayload::RebootSeconds(2));
    bench.served.run_for_us(3 * SECOND_US);
    assert!(bench.served.poll_down(0));
    assert!(!bench.served.poll_down(0));
    assert!(!bench.served.connect(0), "it restarts just now");
    bench.served.run_for_us(5 * SECOND_US);
    let told = bench.drain(0);
    let last = FromRadio::decode(told.last().unwrap()).unwrap().payload;
    assert_eq!(last, Some(FromRadioPayload::Rebooted(true)));
    assert_eq!(bench.connect(0).len(), 3);
}

#[test]
fn whoever_connects_switches_a_node_on() {
    let scenario = Scenario::parse(LINE).unwrap();
    let served = Served::build(&scenario, ServeSettings { seed: 1, unix_s: UNIX_S }).unwrap();
    let mut bench = Bench { served, next_id: 100 };
    assert_eq!(bench.connect(0), [(FIRST, "first".to_string())], "at the very beginning");
    bench.admin(0, AdminPayload::ShutdownSeconds(1));
    bench.served.run_for_us(100 * SECOND_US);
    assert!(bench.served.poll_down(0));
    assert!(bench.drain(0).is_empty());
    assert!(!bench.connect(0).is_empty());
}

#[test]
fn a_client_hears_its_radios_own_metrics_every_minute() {
    let mut bench = Bench::line();
    bench.tell(0, ToRadioPayload::Heartbeat(Heartbeat { nonce: 0 }));
    let told = bench.hear(0, 125, |packet, data| {
        (packet.from == FIRST && data.portnum == PortNum::TELEMETRY_APP).then_some(packet.to)
    });
    assert_eq!(told.len(), 2);
}

#[test]
fn nodes_of_ours_are_devices_with_their_agent_behind() {
    let scenario = r#"
name = "ours"
preset = "SHORT_FAST"
region = "EU_868"
hours = 2.0
[[node]]
name = "command post"
x_m = 0.0
y_m = 0.0
kind = "edge"
[[node]]
name = "search party"
x_m = 500.0
y_m = 0.0
kind = "field"
battery = { capacity_mwh = 1000000.0, charge = 0.5 }
[[node]]
name = "second party"
x_m = 0.0
y_m = 500.0
kind = "hosted"
[[node]]
name = "guest"
x_m = 500.0
y_m = 500.0
[[reports]]
from = "any"
every_s = 120
"#;
    let scenario = Scenario::parse(scenario).unwrap();
    let served = Served::build(&scenario, ServeSettings { seed: 3, unix_s: UNIX_S }).unwrap();
    let mut bench = Bench { served, next_id: 100 };
    bench.served.run_for_us(3600 * SECOND_US);
    let swarm = bench.served.swarm().unwrap();
    assert_eq!(swarm.nodes, 3);
    assert!(swarm.jobs >= 15 && swarm.answered_by_others * 10 >= swarm.jobs * 8, "{swarm:?}");
    for node in 0..4 {
        assert_eq!(bench.connect(node).len(), 4, "node {node} knows all");
    }
    let party = bench.served.node(1).unwrap().num();
    let known = bench.served.node(0).unwrap().citizen().node(party).unwrap().metrics.unwrap();
    assert_eq!(known.battery_percent, Some(50));
    // The guest has not the swarm's channel: what the agents say is ciphertext to it.
    let (num, guest) = (bench.served.node(1).unwrap().num().0, bench.served.node(3).unwrap().num().0);
    let id = bench.send(1, guest, text(b"hello from the search party"));
    let heard =
        bench.hear(3, 10, |packet, data| (packet.id == id).then(|| (packet.from, data.payload.to_vec())));
    assert_eq!(heard, [(num, b"hello from the search party".to_vec())]);
    let private = bench.hear(1, 600, |_, data| (data.portnum.0 >= 256).then_some(()));
    assert!(private.is_empty(), "the app is not told what the agents say");
}

#[test]
fn a_client_gets_private_ports_too() {
    let mut bench = Bench::line();
    let port = PortNum(u32::from(compotastic_wire::PORT));
    let id = bench.send(0, EVERYBODY, Data { portnum: port, payload: b"frame", ..Data::default() });
    let heard = bench.hear(2, 8, |packet, data| (packet.id == id).then(|| data.payload.to_vec()));
    assert_eq!(heard, [b"frame".to_vec()]);
}

#[test]
fn the_same_seed_gives_the_same_mesh() {
    let run = || {
        let mut bench = Bench::line();
        let id = bench.send(0, LAST, text(b"again"));
        bench.hear(2, 8, |packet, _| (packet.id == id).then_some((packet.rx_time, packet.rx_snr.to_bits())))
    };
    assert_eq!(run(), run());
}
