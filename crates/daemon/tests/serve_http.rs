//! The HTTP form of the client API of served nodes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use compotastic_daemon::serve::{Options, Server};
use compotastic_messages::{FromRadio, FromRadioPayload, Message as _};
use compotastic_sim::scenario::Scenario;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One request; status line with headers, and body.
async fn ask(address: SocketAddr, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request =
        format!("{head} HTTP/1.1\r\nHost: radio\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_app_reads_the_state_and_bad_bodies_are_refused() {
    let scenario = Scenario::parse(include_str!("../../../scenarios/two-huts.toml")).unwrap();
    let options = Options { warm_up_s: Some(0), ..Options::default() };
    let mut server = Server::start(scenario, options).await.unwrap();
    let (_, address) = server.listen_http(LOOPBACK, 0, 1).await.unwrap()[0];

    let (head, _) = ask(address, "OPTIONS /api/v1/toradio", b"").await;
    assert!(head.starts_with("HTTP/1.1 204") && head.contains("access-control-allow-origin: *"), "{head}");
    // want_config_id 42.
    let (head, _) = ask(address, "PUT /api/v1/toradio", &[0x18, 42]).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut messages = 0;
    loop {
        let (head, body) = ask(address, "GET /api/v1/fromradio?all=false", b"").await;
        assert!(head.contains("application/x-protobuf"), "{head}");
        messages += 1;
        assert!(!body.is_empty() && messages < 100, "nothing after {messages} messages");
        if FromRadio::decode(&body).unwrap().payload == Some(FromRadioPayload::ConfigCompleteId(42)) {
            break;
        }
    }
    assert_eq!(messages, 39, "the state of a node that knows nobody yet");
    let (head, body) = ask(address, "GET /api/v1/fromradio", b"").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");

    let (head, _) = ask(address, "PUT /api/v1/toradio", &[0xFF]).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let (head, _) = ask(address, "PUT /api/v1/toradio", &[0; 600]).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    let (head, _) = ask(address, "GET /api/v1/nothing", b"").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}
