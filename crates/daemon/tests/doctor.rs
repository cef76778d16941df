//! `compotastic doctor` against devices, servers and ports that are wrong in one way each.

use std::{path::Path, time::Duration};

use compotastic_client::{
    device::{About, Device, Fresh, Nodes, Part, Settings},
    framing::{Deframer, Item, frame},
};
use compotastic_daemon::{
    doctor::{DoctorArgs, Finding, Report, Severity, examine},
    serve::{Options, Server},
};
use compotastic_links::{RadioEvent, RadioLink, SessionConfig};
use compotastic_messages::{
    Channel, ChannelRole, ChannelSettings, HardwareModel, LoRaConfig, Message, NodeInfo, RegionCode, Role,
};
use compotastic_sim::scenario::Scenario;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

struct Alone;

impl Nodes for Alone {
    fn own(&self) -> NodeInfo<'static> {
        NodeInfo::default()
    }
    fn other(&self, _index: usize, _tell: &mut dyn FnMut(NodeInfo<'_>)) {}
    fn count(&self) -> usize {
        0
    }
}

fn lora() -> LoRaConfig {
    LoRaConfig {
        use_preset: true,
        region: RegionCode::EU_868,
        hop_limit: 3,
        tx_enabled: true,
        ..LoRaConfig::default()
    }
}

/// A radio on a port of the loopback, for one client.
async fn radio(firmware_version: &'static str, lora: LoRaConfig, channels: u8) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp:{}", listener.local_addr().unwrap());
    let fresh = Fresh { long_name: "Upper hut", short_name: "UH", role: Role::CLIENT, lora, keys: None };
    let mut settings = Settings::fresh(&fresh);
    for index in 1..channels {
        let own = ChannelSettings { name: "ours".into(), psk: &[index; 16], ..ChannelSettings::default() };
        let channel = Channel { index: index.into(), settings: Some(own), role: ChannelRole::SECONDARY };
        settings.set(Part::Channel(index), &channel.to_vec::<64>().unwrap()).unwrap();
    }
    let about = About {
        num: 0x0a00_0001,
        hw_model: HardwareModel::PORTDUINO,
        firmware_version,
        build: "test",
        device_id: [1; 16],
        reboot_count: 1,
        has_wifi: true,
        has_bluetooth: false,
        can_shutdown: false,
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, Device::new(about.clone(), 1), settings.clone()).await;
        }
    });
    url
}

async fn serve(mut stream: TcpStream, mut device: Device, mut settings: Settings) {
    let (mut deframer, mut buffer, mut out) = (Deframer::default(), [0; 1024], [0; 512]);
    device.handle_connect();
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let mut input = &buffer[..length];
        while let Some(item) = deframer.next(&mut input) {
            let Item::Message(message) = item else { continue };
            device.handle_to_radio(1, message, &mut settings);
        }
        while let Some(length) = device.poll_from_radio(1, &settings, &Alone, &mut out) {
            let Ok(()) = stream.write_all(&frame(&out[..length]).unwrap()).await else { return };
        }
    }
}

async fn examined(url: &str) -> Report {
    let args = DoctorArgs { radios: vec![url.parse().unwrap()], mqtt_ca: None, listen: 0, json: false };
    tokio::time::timeout(Duration::from_secs(60), examine(&args)).await.expect("the doctor takes too long")
}

/// What is not as it should be.
fn complaints(report: &Report) -> Vec<&Finding> {
    report
        .links
        .iter()
        .flat_map(|link| &link.findings)
        .filter(|found| found.severity != Severity::Ok)
        .collect()
}

async fn complaint(url: &str, severity: Severity, check: &str, says: &str, mend: &str) {
    let report = examined(url).await;
    let all = complaints(&report);
    let [found] = all.as_slice() else { panic!("{url}: {report:#?}") };
    assert_eq!((found.severity, found.check), (severity, check), "{found:?}");
    assert!(found.what.contains(says) && found.mend.contains(mend), "{found:?}");
    assert_eq!(report.broken, usize::from(severity == Severity::Broken));
}

#[tokio::test]
async fn a_healthy_radio_has_nothing_to_mend() {
    let url = radio("2.7.26.54e0d8d", lora(), 2).await;
    let report = examined(&url).await;
    assert_eq!(complaints(&report), Vec::<&Finding>::new());
    let mut table = Vec::new();
    report.write(&mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    assert!(table.contains("ok       region     EU_868"), "{table}");
    assert!(table.contains("radio !0a000001 \"Upper hut\""), "{table}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["broken"], 0);
    assert_eq!(json["links"][0]["findings"][0]["check"], "link");
    assert_eq!(json["links"][0]["findings"][0]["severity"], "ok");
}

#[tokio::test]
async fn each_fault_of_a_radio_is_found_over_the_link() {
    let old = radio("2.3.2.63df972", lora(), 2).await;
    complaint(&old, Severity::Broken, "firmware", "older than 2.5", "flasher").await;
    let nowhere = radio("2.7.26.54e0d8d", LoRaConfig { region: RegionCode::UNSET, ..lora() }, 2).await;
    complaint(&nowhere, Severity::Broken, "region", "no region is set", "lora.region").await;
    let mute = radio("2.7.26.54e0d8d", LoRaConfig { tx_enabled: false, ..lora() }, 2).await;
    complaint(&mute, Severity::Broken, "transmit", "switched off", "tx_enabled true").await;
    let full = radio("2.7.26.54e0d8d", lora(), 8).await;
    complaint(&full, Severity::Warning, "channels", "all 8 places", "--ch-del").await;
}

#[tokio::test]
async fn each_fault_of_a_link_is_named_with_its_cure() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    complaint(&format!("tcp:{unused}"), Severity::Broken, "link", "nothing listens", "mend the port").await;
    complaint(&format!("mqtt://{unused}"), Severity::Broken, "link", "nothing listens", "start the broker")
        .await;
    complaint("tcp:no-such-host.invalid", Severity::Broken, "link", "no host", "mend the name").await;
    complaint("serial:/dev/ttyUSB_none", Severity::Broken, "link", "no port", "attach").await;
    complaint("serial:/dev/null", Severity::Broken, "link", "no serial port", "/dev/ttyUSB0").await;
    complaint("udp:?interface=eth99", Severity::Broken, "link", "no network interface", "ip link").await;
    complaint("sim:/nowhere.toml", Severity::Broken, "scenario", "nowhere.toml", "scenarios/").await;
}

#[tokio::test]
async fn a_web_server_is_no_radio() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp:{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 256];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    complaint(&url, Severity::Broken, "link", "web server", "4403").await;
}

/// `compotastic up` on the same radio, at an address that the doctor does not know it by: they push each other out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_radio_that_another_program_takes_is_not_blamed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");
    let options = Options { warm_up_s: Some(0), ..Options::default() };
    let mut server = Server::start(Scenario::load(Path::new(file)).unwrap(), options).await.unwrap();
    let ports = server.listen("127.0.0.1".parse().unwrap(), 0, 1).await.unwrap();
    let url = format!("tcp:{}", ports[0].1);
    let mut daemon = RadioLink::spawn(&url.parse().unwrap(), SessionConfig::default()).unwrap();
    while !matches!(daemon.events.recv().await, Some(RadioEvent::Up(_))) {}
    let args = DoctorArgs { radios: vec![url.parse().unwrap()], mqtt_ca: None, listen: 30, json: false };
    let report = tokio::time::timeout(Duration::from_secs(60), examine(&args)).await.expect("it ends");
    let all = complaints(&report);
    let [found] = all.as_slice() else { panic!("{report:#?}") };
    assert_eq!((found.severity, found.check, report.broken), (Severity::Warning, "busy", 0), "{found:?}");
    assert!(found.what.contains("another program took it") && found.mend.contains("--share"), "{found:?}");
    drop(daemon);
}

#[tokio::test]
async fn a_scenario_that_is_there_is_well_and_its_nodes_are_counted() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");
    assert_eq!(complaints(&examined(&format!("sim:{scenario}")).await), Vec::<&Finding>::new());
    complaint(&format!("sim:{scenario}#999"), Severity::Broken, "scenario", "no node 999", "counted from 0")
        .await;
}

#[tokio::test]
async fn several_links_are_examined_one_after_the_other() {
    let args = DoctorArgs {
        mqtt_ca: None,
        radios: vec!["serial:/dev/null".parse().unwrap(), "sim:/nowhere.toml".parse().unwrap()],
        listen: 0,
        json: true,
    };
    let report = examine(&args).await;
    assert_eq!((report.links.len(), report.broken), (2, 2));
    let error = tokio::task::spawn_blocking(move || compotastic_daemon::doctor::run(args).unwrap_err());
    assert!(error.await.unwrap().to_string().contains("2 things are broken"));
}
