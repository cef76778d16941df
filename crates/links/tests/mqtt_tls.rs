//! MQTT over TLS: a broker with a certificate of a private authority, and what is said where something is wrong with it.

#[path = "common/broker.rs"]
mod broker;
#[path = "common/packets.rs"]
mod packets;

use std::{fs, path::PathBuf};

use broker::{Authority, Mosquitto};
use compotastic_links::{Fault, FaultKind, PacketConfig, PacketHandle, PacketLink};
use packets::{down, packet, received, up};

const MONTH: &str = "-days 30";

fn config(node: u32, mqtt_ca: Option<PathBuf>) -> PacketConfig {
    PacketConfig { node, channels: vec!["LongFast".into()], downlink: true, mqtt_ca }
}

fn link(address: &str, node: u32, ca: Option<PathBuf>) -> PacketHandle {
    PacketLink::spawn(&format!("{address}/msh").parse().unwrap(), config(node, ca)).unwrap()
}

/// What is said of a broker with such a certificate.
async fn fault_of(name: &str, names: &str, when: &str) -> Option<Fault> {
    let authority = Authority::new(name)?;
    let broker = Mosquitto::start(name, &authority.rules("broker", names, when))?;
    let address = format!("mqtts://127.0.0.1:{}", broker.port);
    Some(down(&mut link(&address, 1, Some(authority.file()))).await)
}

#[tokio::test]
async fn packets_go_over_tls() {
    let Some(authority) = Authority::new("tls") else { return };
    let rules = authority.rules("broker", "IP:127.0.0.1,DNS:localhost", MONTH);
    let Some(broker) = Mosquitto::start("tls", &rules) else { return };
    let mut a = link(&format!("mqtts://127.0.0.1:{}", broker.port), 1, Some(authority.file()));
    let mut b = link(&format!("mqtts://localhost:{}", broker.port), 2, Some(authority.file()));
    up(&mut a).await;
    up(&mut b).await;
    // The subscription may come after the first ones.
    for id in 1..50 {
        a.sender.send(packet(1, id), Some("LongFast".into())).await.unwrap();
        let got = tokio::time::timeout(std::time::Duration::from_millis(300), received(&mut b)).await;
        if let Ok((got, ..)) = got {
            assert_eq!((got.from, got.body), (1, packet(1, id).body));
            // Without TLS that port says nothing, and what to do is said.
            let fault = down(&mut link(&format!("mqtt://127.0.0.1:{}", broker.port), 3, None)).await;
            assert!(fault.mend.contains("mqtts://"), "{fault}");
            return;
        }
    }
    panic!("nothing arrives");
}

#[tokio::test]
async fn a_broker_that_proves_nothing_gets_no_password() {
    let Some(authority) = Authority::new("tls-unknown") else { return };
    let Some(other) = Authority::new("tls-other") else { return };
    let Some(broker) = Mosquitto::start("tls-unknown", &authority.rules("broker", "IP:127.0.0.1", MONTH))
    else {
        return;
    };
    let address = format!("mqtts://me:hush@127.0.0.1:{}", broker.port);
    // The system's authorities know nothing of it, and another one does not either.
    for ca in [None, Some(other.file())] {
        if ca.is_none() && PacketLink::check(&address.parse().unwrap(), &config(1, None)).is_err() {
            eprintln!("SKIPPED: this machine has no certificates of authorities");
            continue;
        }
        let fault = down(&mut link(&address, 1, ca)).await;
        assert_eq!(fault.kind, FaultKind::Untrusted, "{fault}");
        assert!(fault.what.contains("signed by nobody") && fault.mend.contains("--mqtt-ca"), "{fault}");
        assert!(!fault.to_string().contains("hush"), "{fault}");
    }
}

#[tokio::test]
async fn certificates_for_others_and_old_ones_are_named() {
    let Some(fault) = fault_of("tls-name", "DNS:broker.example", MONTH).await else { return };
    assert_eq!(fault.kind, FaultKind::Untrusted, "{fault}");
    assert!(fault.what.contains("broker.example") && fault.mend.contains("name"), "{fault}");
    let Some(fault) = fault_of("tls-old", "IP:127.0.0.1", "-days -1").await else { return };
    assert_eq!(fault.kind, FaultKind::Untrusted, "{fault}");
    assert!(fault.what.contains("expired") && fault.mend.contains("clock"), "{fault}");
}

#[tokio::test]
async fn an_authoritys_own_certificate_and_one_asked_of_us_are_named() {
    let Some(authority) = Authority::new("tls-self") else { return };
    let rules = authority.rules("broker", "IP:127.0.0.1", MONTH);
    let ca = authority.file();
    fs::set_permissions(
        authority.folder().join("ca.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let own = rules.replace("broker.pem", "ca.pem").replace("broker.key", "ca.key");
    let Some(broker) = Mosquitto::start("tls-self", &own) else { return };
    let fault = down(&mut link(&format!("mqtts://127.0.0.1:{}", broker.port), 1, Some(ca.clone()))).await;
    assert_eq!(fault.kind, FaultKind::Untrusted, "{fault}");
    assert!(fault.mend.contains("CA:FALSE"), "{fault}");
    let asks = format!("{rules}\ncafile {}\nrequire_certificate true", ca.display());
    let Some(broker) = Mosquitto::start("tls-asks", &asks) else { return };
    let fault = down(&mut link(&format!("mqtts://127.0.0.1:{}", broker.port), 1, Some(ca))).await;
    assert!(fault.what.contains("certificate of its clients"), "{fault}");
}

#[tokio::test]
async fn a_port_without_tls_is_named() {
    let Some(broker) = Mosquitto::start("tls-plain", "allow_anonymous true") else { return };
    let Some(authority) = Authority::new("tls-plain") else { return };
    let address = format!("mqtts://127.0.0.1:{}", broker.port);
    let fault = down(&mut link(&address, 1, Some(authority.file()))).await;
    assert_eq!(fault.kind, FaultKind::NotMeshtastic, "{fault}");
    assert!(fault.what.contains("TLS") && fault.mend.contains("mqtt://"), "{fault}");
}

#[test]
fn files_that_are_no_authority_are_refused_before_anything_is_opened() {
    let url = "mqtts://broker.example".parse().unwrap();
    let refused = |path: PathBuf| PacketLink::check(&url, &config(1, Some(path))).unwrap_err().to_string();
    let missing = refused("/no/such/ca.pem".into());
    assert!(missing.contains("/no/such/ca.pem") && missing.contains("PEM"), "{missing}");
    let path = std::env::temp_dir().join(format!("compotastic-no-ca-{}", std::process::id()));
    for text in ["not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&path, text).unwrap();
        assert!(refused(path.clone()).contains("BEGIN CERTIFICATE"), "{text}");
    }
    fs::remove_file(&path).unwrap();
}
