//! Meshtastic's JavaScript clients on the shared radio, one over TCP and one over HTTP: each sees what is its.

mod javascript;
mod share_radio;

use std::net::SocketAddr;

use compotastic_daemon::share::{HttpShare, ShareConfig};
use compotastic_messages::PortNum;
use serde_json::json;
use share_radio::{NUM, OTHER, SharedRadio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_over_tcp_and_one_over_http_share_a_radio() {
    let Some(packages) = javascript::packages() else { return };
    let http = HttpShare { address: SocketAddr::from(([127, 0, 0, 1], 0)), sites: Vec::new() };
    let radio = SharedRadio::start(ShareConfig { http: Some(http), ..ShareConfig::default() }).await;
    let (tcp, http) = (format!("tcp://{}", radio.address), format!("http://{}", radio.http.unwrap()));
    let told = javascript::run("share.mjs", &packages, &[&tcp, &http, &OTHER.to_string(), "40"]).await;
    for client in ["a", "b"] {
        assert_eq!(told[client]["num"], NUM, "{told}");
        assert_eq!(told[client]["nodes"], json!([[NUM, "shared radio"], [OTHER, "upper hut"]]), "{told}");
        assert_eq!(
            (&told[client]["channels"], &told[client]["firmware"]),
            (&json!(8), &json!("2.7.26.test"))
        );
    }
    for text in ["text_of_a", "text_of_b"] {
        assert_eq!(told[text], json!({ "outcome": "NONE", "from": NUM }), "{told}");
    }
    assert_eq!((&told["route_from"], &told["routes_of_a"]), (&json!(OTHER), &json!(0)), "{told}");
    let sent: Vec<PortNum> = radio.sent.lock().unwrap().iter().map(|packet| packet.port).collect();
    assert_eq!(sent, [PortNum::TEXT_MESSAGE_APP, PortNum::TEXT_MESSAGE_APP, PortNum::TRACEROUTE_APP]);
}
