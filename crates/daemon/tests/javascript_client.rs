//! Meshtastic's JavaScript clients against a served mesh, over TCP and over the HTTP API that web apps speak.

mod javascript;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use compotastic_daemon::serve::{Options, Server};
use compotastic_sim::scenario::Scenario;
use javascript::{packages, run};
use serde_json::{Value, json};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Simulated seconds per second.
const SPEED: f64 = 20.0;

/// A mesh of five in a line, and the TCP and HTTP address of each.
async fn line() -> (Server, Vec<(SocketAddr, SocketAddr)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/line.toml");
    let options = Options { speed: SPEED, ..Options::default() };
    let mut server = Server::start(Scenario::load(&path).unwrap(), options).await.unwrap();
    let tcp = server.listen(LOOPBACK, 0, 5).await.unwrap();
    let http = server.listen_http(LOOPBACK, 0, 5).await.unwrap();
    let both = tcp.iter().zip(&http).map(|((_, tcp), (_, http))| (*tcp, *http)).collect();
    (server, both)
}

/// What two people at the ends of the line saw who chat with the client.
fn check_chat(told: &Value) {
    let (ann, bob) = (0x0b00_0001, 0x0b00_0005);
    let names = ["Ann", "second hut", "third hut", "fourth hut", "Bob"];
    let nodes: Vec<Value> = names.iter().zip(ann..).map(|(name, num)| json!([num, name])).collect();
    for (who, num) in [("ann", ann), ("bob", bob)] {
        assert_eq!((&told[who]["num"], &told[who]["nodes"]), (&json!(num), &json!(nodes)), "{told}");
        assert_eq!(told[who]["channels"], 8, "{told}");
        let configs = told[who]["configs"].as_array().unwrap();
        for wanted in ["device", "lora", "security", "sessionkey"] {
            assert!(configs.contains(&wanted.into()), "no {wanted} in {told}");
        }
        assert!(told[who]["firmware"].as_str().unwrap().starts_with("2.7."), "{told}");
    }
    let broadcast = &told["broadcast"];
    assert_eq!(broadcast["outcome"], "NONE", "the second hut relays it: {told}");
    assert_eq!((&broadcast["from"], &broadcast["type"]), (&json!(ann), &json!("broadcast")));
    assert_eq!(broadcast["hops"], 3, "{told}");
    assert!(broadcast["snr"].as_f64().is_some() && broadcast["rssi"].as_f64().unwrap() < -50.0, "{told}");
    let direct = json!({
        "outcome": "NONE", "from": bob, "to": ann, "type": "direct", "pki": true, "replies": true
    });
    assert_eq!(told["direct"], direct, "{told}");
    // PKI_SEND_FAIL_PUBLIC_KEY
    assert_eq!(told["unknown"], 39, "{told}");
    assert_eq!(told["route"], json!({ "there": [0x0b00_0002], "back": [0x0b00_0002] }), "{told}");
    assert!((told["place"].as_f64().unwrap() - 47.0).abs() < 0.1, "{told}");
    assert_eq!(told["owner"], "Ann of the hut", "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_chat_over_tcp() {
    let Some(packages) = packages() else { return };
    let (_server, nodes) = line().await;
    let (ann, bob) = (format!("tcp://{}", nodes[0].0), format!("tcp://{}", nodes[4].0));
    check_chat(&run("chat.mjs", &packages, &[&ann, &bob, "40"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_chat_over_http() {
    let Some(packages) = packages() else { return };
    let (_server, nodes) = line().await;
    let (ann, bob) = (format!("http://{}", nodes[0].1), format!("http://{}", nodes[4].1));
    check_chat(&run("chat.mjs", &packages, &[&ann, &bob, "60"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_over_http_finds_its_way_back() {
    let Some(packages) = packages() else { return };
    let (_server, nodes) = line().await;
    let (tcp, http) = (format!("tcp://{}", nodes[1].0), format!("http://{}", nodes[1].1));
    let told = run("again.mjs", &packages, &[&http, &tcp, "40"]).await;
    let expected = json!({
        "told": 2,
        "restart": ["DeviceConfigured"],
        "taken": ["DeviceDisconnected"],
        "back": ["DeviceConfigured"],
    });
    assert_eq!(told, expected);
}
