//! The HTTP form of the client API of served nodes.

mod device_http;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use compotastic_client::framing::frame;
use compotastic_daemon::serve::{Options, Server};
use compotastic_messages::*;
use compotastic_sim::scenario::Scenario;
use device_http::{ask, ask_with, configure, get, put};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A mesh that has just been switched on, at this speed, and the TCP and HTTP address of its first node.
async fn first_node(speed: f64) -> (Server, SocketAddr, SocketAddr) {
    let scenario = Scenario::parse(include_str!("../../../scenarios/two-huts.toml")).unwrap();
    let options = Options { warm_up_s: Some(0), speed, ..Options::default() };
    let mut server = Server::start(scenario, options).await.unwrap();
    let (_, tcp) = server.listen(LOOPBACK, 0, 1).await.unwrap()[0];
    let (_, http) = server.listen_http(LOOPBACK, 0, 1).await.unwrap()[0];
    (server, tcp, http)
}

fn is_rebooted(payload: FromRadioPayload<'_>) -> bool {
    payload == FromRadioPayload::Rebooted(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_app_reads_the_state_one_message_at_a_time_or_all() {
    let (_server, _, http) = first_node(1.0).await;
    let answer = get(http).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "nobody has asked for the state");
    assert_eq!(configure(http).await, 39, "the state of a node that knows nobody yet");
    let answer = get(http).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.head);
    assert!(answer.head.contains("content-type: application/x-protobuf"), "{}", answer.head);

    assert_eq!(put(http, ToRadioPayload::WantConfigId(7)).await, 200);
    let all = ask(http, "GET /api/v1/fromradio?all=true", b"").await;
    // Messages that follow each other without a frame read as one: of each field the last.
    assert_eq!(all.message(|payload| payload == FromRadioPayload::ConfigCompleteId(7)), Some(true));
    assert!(all.body.len() > 300, "{} bytes", all.body.len());
    assert_eq!(get(http).await.body.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_told_what_is_wrong_and_pages_may_read_it() {
    let (_server, _, http) = first_node(1.0).await;
    let page =
        ["Host: 127.0.0.1", "Origin: https://client.meshtastic.org", "Access-Control-Request-Method: PUT"];
    let preflight = ask_with(http, "OPTIONS /api/v1/toradio", &page, b"").await;
    assert_eq!(preflight.status, 204);
    for wanted in [
        "access-control-allow-origin: *",
        "access-control-allow-methods: PUT, OPTIONS",
        "access-control-allow-headers: Content-Type",
    ] {
        assert!(preflight.head.contains(wanted), "no {wanted} in {}", preflight.head);
    }
    let preflight = ask_with(http, "OPTIONS /api/v1/fromradio", &page, b"").await;
    assert!(preflight.status == 204 && preflight.head.contains("GET, OPTIONS"), "{}", preflight.head);

    let cases: [(&str, &[u8], u16, &str); 9] = [
        ("PUT /api/v1/toradio", &[0xFF], 400, "no ToRadio"),
        ("PUT /api/v1/toradio", &[], 400, "no ToRadio"),
        ("PUT /api/v1/toradio", &[0; 513], 413, "512 bytes"),
        ("POST /api/v1/toradio", &[0x18, 42], 405, "PUT, OPTIONS"),
        ("GET /api/v1/toradio", &[], 405, "PUT, OPTIONS"),
        ("PUT /api/v1/fromradio", &[0x18, 42], 405, "GET, OPTIONS"),
        ("DELETE /api/v1/fromradio", &[], 405, "GET, OPTIONS"),
        ("GET /api/v1/fromradio?all=7", &[], 400, "true or false"),
        ("GET /api/v1/nothing", &[], 404, "/api/v1/toradio"),
    ];
    for (what, body, status, text) in cases {
        let answer = ask(http, what, body).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{what}: {said}");
        assert!(said.contains(text), "{what}: {said}");
        assert!(status == 404 || answer.head.contains("access-control-allow-origin: *"), "{what}");
    }
    // A page that is isolated from other sites asks so whether there is a radio.
    let lines = ["Host: 127.0.0.1", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Site: cross-site"];
    let answer = ask_with(http, "GET /", &lines, b"").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("cross-origin-resource-policy: cross-origin"), "{}", answer.head);
    // HEAD would take a message out of the queue and not give it.
    assert_eq!(put(http, ToRadioPayload::WantConfigId(42)).await, 200);
    assert_eq!(ask(http, "HEAD /api/v1/fromradio", b"").await.status, 405);
    assert!(get(http).await.message(|payload| matches!(payload, FromRadioPayload::MyInfo(_))).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_app_gives_way_to_a_program_over_tcp_and_comes_back() {
    let (_server, tcp, http) = first_node(1.0).await;
    configure(http).await;
    let mut program = TcpStream::connect(tcp).await.unwrap();
    let asks = ToRadio::from(ToRadioPayload::WantConfigId(9)).to_vec::<16>().unwrap();
    program.write_all(&frame(&asks).unwrap()).await.unwrap();
    assert!(program.read(&mut [0; 512]).await.unwrap() > 0, "the program has the node");
    // Polls do not put it out, and texts would not be answered.
    for _ in 0..3 {
        let answer = get(http).await;
        assert_eq!(answer.status, 409, "{}", answer.head);
        assert!(String::from_utf8_lossy(&answer.body).contains("connect again"));
    }
    assert_eq!(put(http, ToRadioPayload::Heartbeat(Heartbeat::default())).await, 409);
    program.write_all(&frame(&asks).unwrap()).await.unwrap();
    assert!(program.read(&mut [0; 512]).await.unwrap() > 0, "it still has it");
    // When the program has gone the app has the node again, and is told to ask for the state.
    drop(program);
    let mut answer = get(http).await;
    for _ in 0..50 {
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = get(http).await;
    }
    assert_eq!(answer.message(is_rebooted), Some(true));
    configure(http).await;

    // One that asks for the state takes the node, whoever has it.
    let mut program = TcpStream::connect(tcp).await.unwrap();
    program.write_all(&frame(&asks).unwrap()).await.unwrap();
    assert!(program.read(&mut [0; 512]).await.unwrap() > 0);
    configure(http).await;
    while program.read(&mut [0; 512]).await.unwrap() > 0 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_node_is_told() {
    let (_server, _, http) = first_node(20.0).await;
    configure(http).await;
    let admin = AdminMessage::from(AdminPayload::RebootSeconds(1)).to_vec::<64>().unwrap();
    let data = Data { portnum: PortNum::ADMIN_APP, payload: &admin, ..Data::default() };
    let payload = Some(MeshPacketPayload::Decoded(data));
    let packet = MeshPacket { to: 0x0b00_0001, id: 5, payload, ..MeshPacket::default() };
    assert_eq!(put(http, ToRadioPayload::Packet(packet)).await, 200);
    for _ in 0..200 {
        let answer = get(http).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        if answer.message(is_rebooted) == Some(true) {
            assert_eq!(configure(http).await, 39);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no word of the restart");
}
