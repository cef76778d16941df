//! Two links on Debian's mosquitto, started here on a port of its own.

#[path = "common/broker.rs"]
mod broker;
#[path = "common/packets.rs"]
mod packets;

use std::{fs, net::TcpListener, process::Command, time::Duration};

use broker::Mosquitto;
use compotastic_links::{Body, FaultKind, OwnedData, PacketCommand, PacketConfig, PacketHandle, PacketLink};
use packets::{down, packet, quiet, received, up};

fn link(broker: &Mosquitto, node: u32, user: &str) -> PacketHandle {
    let url = format!("mqtt://{user}127.0.0.1:{}/msh/EU_868", broker.port).parse().unwrap();
    PacketLink::spawn(&url, config(node, "LongFast")).unwrap()
}

fn config(node: u32, channel: &str) -> PacketConfig {
    PacketConfig { node, channels: vec![channel.into()], downlink: true, mqtt_ca: None }
}

/// A node that hears everything before the test goes on: a subscription has no other answer here.
async fn pair(broker: &Mosquitto) -> (PacketHandle, PacketHandle) {
    let (mut a, mut b) = (link(broker, 1, ""), link(broker, 2, ""));
    up(&mut a).await;
    up(&mut b).await;
    for id in 1000.. {
        a.sender.send(packet(1, id), Some("LongFast".into())).await.unwrap();
        if let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), b.events.recv()).await {
            break;
        }
        assert!(id < 1050, "nothing arrives");
    }
    (a, b)
}

#[tokio::test]
async fn packets_go_from_one_to_the_other_and_not_back() {
    let Some(broker) = Mosquitto::start("pair", "allow_anonymous true") else { return };
    let (mut a, mut b) = pair(&broker).await;
    a.sender.send(packet(1, 7), Some("LongFast".into())).await.unwrap();
    let (got, channel, gateway) = received(&mut b).await;
    assert_eq!((got.from, got.id, channel.as_deref(), gateway), (1, 7, Some("LongFast"), Some(1)));
    assert!(got.via_mqtt);
    assert_eq!(got.body, packet(1, 7).body);
    // Direct messages under public keys have a channel of their own, which all listen to.
    a.sender.send(packet(1, 8), Some("PKI".into())).await.unwrap();
    assert_eq!(received(&mut b).await.1.as_deref(), Some("PKI"));
    // Another channel is not listened to, and a packet without one has no topic.
    a.sender.send(packet(1, 9), Some("Other".into())).await.unwrap();
    a.sender.send(packet(1, 10), None).await.unwrap();
    quiet(&mut b).await;
    quiet(&mut a).await;
}

#[tokio::test]
async fn what_its_sender_does_not_allow_stays_off_the_broker() {
    let Some(broker) = Mosquitto::start("consent", "allow_anonymous true") else { return };
    let (a, mut b) = pair(&broker).await;
    let channel = || Some("LongFast".into());
    a.sender.forward(packet(9, 1), channel(), false).await.unwrap();
    let data = OwnedData { port: 1, payload: b"readable".to_vec(), ..OwnedData::default() };
    let mut readable = packet(1, 2);
    readable.body = Body::Data(data);
    a.sender.send(readable, channel()).await.unwrap();
    quiet(&mut b).await;
    a.sender.forward(packet(9, 3), channel(), true).await.unwrap();
    assert_eq!(received(&mut b).await.0.id, 3);
}

#[tokio::test]
async fn what_strangers_write_to_the_broker_does_no_harm() {
    let Some(broker) = Mosquitto::start("strangers", "allow_anonymous true") else { return };
    let (a, mut b) = pair(&broker).await;
    let mut options = rumqttc::MqttOptions::new("stranger", "127.0.0.1", broker.port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = rumqttc::AsyncClient::new(options, 16);
    tokio::spawn(async move { while connection.poll().await.is_ok() {} });
    for payload in [vec![0xFF; 100], vec![0x0A; 200_000], Vec::new()] {
        let topic = "msh/EU_868/2/e/LongFast/!12345678";
        client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload).await.unwrap();
    }
    quiet(&mut b).await;
    a.sender.send(packet(1, 7), Some("LongFast".into())).await.unwrap();
    assert_eq!(received(&mut b).await.0.id, 7);
    assert_eq!(b.state.borrow().reconnects, 0);
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_is_found_again() {
    let Some(mut broker) = Mosquitto::start("restart", "allow_anonymous true") else { return };
    let (mut a, mut b) = pair(&broker).await;
    broker.stop();
    assert!(matches!(down(&mut a).await.kind, FaultKind::Closed | FaultKind::Refused));
    // Not kept for later: a packet is of its moment.
    a.sender.send(packet(1, 5), Some("LongFast".into())).await.unwrap();
    assert!(broker.spawn());
    up(&mut a).await;
    down(&mut b).await;
    up(&mut b).await;
    assert_eq!(a.state.borrow().reconnects, 1);
    assert!(a.state.borrow().dropped >= 1);
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_shown() {
    let rules = "allow_anonymous false\npassword_file FOLDER/passwords";
    let name = "password";
    let folder = std::env::temp_dir().join(format!("compotastic-mqtt-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("passwords");
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args(["me", "right"]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: mosquitto_passwd is not installed");
        return;
    }
    // Root's broker gives up its rights, and could not read root's file.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let Some(broker) = Mosquitto::start(name, rules) else { return };
    let fault = down(&mut link(&broker, 1, "me:wrongword@")).await;
    assert_eq!(fault.kind, FaultKind::Refusal, "{fault}");
    assert!(!fault.to_string().contains("wrongword"));
    let fault = down(&mut link(&broker, 2, "")).await;
    assert!(fault.to_string().contains("wants a user and a password"), "{fault}");
    up(&mut link(&broker, 3, "me:right@")).await;
}

#[tokio::test]
async fn hosts_that_are_no_broker_are_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 64];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let spawn = |url: &str| PacketLink::spawn(&url.parse().unwrap(), config(1, "LongFast")).unwrap();
    let fault = down(&mut spawn(&format!("mqtt://127.0.0.1:{port}"))).await;
    assert_eq!(fault.kind, FaultKind::NotMeshtastic, "{fault}");
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fault = down(&mut spawn(&format!("mqtt://127.0.0.1:{unused}"))).await;
    assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
    let fault = down(&mut spawn("mqtt://no-such-host.invalid")).await;
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
}

#[tokio::test]
async fn only_packet_links_and_names_that_fit_a_topic_are_taken() {
    let refused =
        |url: &str, config| PacketLink::spawn(&url.parse().unwrap(), config).unwrap_err().to_string();
    for name in ["a/b", "a+b", "#a", ""] {
        assert!(refused("mqtt://h", config(1, name)).contains("without / + and #"), "{name}");
    }
    assert!(PacketLink::check(&"mqtt://h".parse().unwrap(), &config(1, "a b")).is_ok());
    assert!(refused("tcp:h", PacketConfig::default()).contains("use udp: or mqtt:"));
}

#[tokio::test]
async fn without_downlink_nothing_is_taken_from_the_broker() {
    let Some(broker) = Mosquitto::start("uplink", "allow_anonymous true") else { return };
    let (a, _b) = pair(&broker).await;
    let url = format!("mqtt://127.0.0.1:{}/msh/EU_868", broker.port).parse().unwrap();
    let config = PacketConfig { downlink: false, ..config(3, "LongFast") };
    let mut silent = PacketLink::spawn(&url, config).unwrap();
    up(&mut silent).await;
    let command = PacketCommand::Send {
        packet: Box::new(packet(1, 5)),
        channel: Some("LongFast".into()),
        ok_to_mqtt: true,
    };
    a.sender.command(command).await.unwrap();
    quiet(&mut silent).await;
}
