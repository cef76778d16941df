//! What goes wrong when a mesh is served is told with what to do about it.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    time::Duration,
};

use compotastic_client::framing::{Deframer, Item, frame};
use compotastic_daemon::serve::{Options, Server, open};
use compotastic_messages::*;
use compotastic_sim::scenario::Scenario;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// `ToRadio.want_config_id` 42.
const WANT_CONFIG: [u8; 6] = [0x94, 0xC3, 0, 2, 0x18, 42];

fn scenario(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(name)
}

async fn server() -> Server {
    let options = Options { warm_up_s: Some(0), ..Options::default() };
    Server::start(Scenario::load(&scenario("two-huts.toml")).unwrap(), options).await.unwrap()
}

/// Reads until the state is complete; the number of messages.
async fn handshake(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> usize {
    stream.write_all(&WANT_CONFIG).await.unwrap();
    let mut deframer = Deframer::default();
    let mut buffer = [0; 512];
    let mut messages = 0;
    loop {
        let length = timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0, "closed after {messages} messages");
        let mut bytes = &buffer[..length];
        while let Some(item) = deframer.next(&mut bytes) {
            let Item::Message(message) = item else { panic!("{item:?}") };
            messages += 1;
            if let Some(FromRadioPayload::ConfigCompleteId(id)) = FromRadio::decode(message).unwrap().payload
            {
                assert_eq!(id, 42);
                return messages;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = server().await.listen(LOOPBACK, port, 3).await.unwrap_err().to_string();
    assert!(error.contains(&format!("port {port} (node 0, upper hut) is in use")), "{error}");
    assert!(error.contains("another --port"), "{error}");
    let error = server().await.listen_http(LOOPBACK, port, 3).await.unwrap_err().to_string();
    assert!(error.contains("another --http-port"), "{error}");
    let error = server().await.listen(LOOPBACK, u16::MAX, 3).await.unwrap_err().to_string();
    assert!(error.contains("do not fit above port 65535"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_scenarios_and_nodes_are_named() {
    let error = open(Path::new("nowhere.toml"), None).await.err().unwrap().to_string();
    assert!(error.contains("nowhere.toml") && error.contains("sim new"), "{error}");
    let error = open(&scenario("two-huts.toml"), Some("attic")).await.err().unwrap().to_string();
    assert!(error.contains("no node \"attic\"") && error.contains("upper hut"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_client_closes_the_old_one() {
    let mut server = server().await;
    let (_, address) = server.listen(LOOPBACK, 0, 1).await.unwrap()[0];
    let mut first = TcpStream::connect(address).await.unwrap();
    let messages = handshake(&mut first).await;
    assert!(messages > 38, "{messages}");
    let mut second = TcpStream::connect(address).await.unwrap();
    handshake(&mut second).await;
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(10), first.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the first client is still connected");
    // Noise between frames does no harm.
    second.write_all(b"\x94\xC3\xFF\xFFnoise\x94").await.unwrap();
    handshake(&mut second).await;
}

/// The long name of the node that is connected.
async fn long_name(stream: &mut TcpStream) -> String {
    stream.write_all(&WANT_CONFIG).await.unwrap();
    let mut deframer = Deframer::default();
    let mut buffer = [0; 512];
    loop {
        let length = timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0, "closed before it told its name");
        let mut bytes = &buffer[..length];
        while let Some(item) = deframer.next(&mut bytes) {
            let Item::Message(message) = item else { panic!("{item:?}") };
            if let Some(FromRadioPayload::NodeInfo(NodeInfo { user: Some(user), .. })) =
                FromRadio::decode(message).unwrap().payload
            {
                return user.long_name.to_string();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_of_a_client_that_goes_are_heard() {
    // A world that cannot keep up with its clock looks at its clients late.
    let options = Options { warm_up_s: Some(0), speed: 10_000.0, ..Options::default() };
    let mut server =
        Server::start(Scenario::load(&scenario("festival.toml")).unwrap(), options).await.unwrap();
    let (_, address) = server.listen(LOOPBACK, 0, 1).await.unwrap()[0];
    for round in 0..8 {
        let name = format!("hut {round}");
        let user = User { long_name: name.as_str().into(), short_name: "h".into(), ..User::default() };
        let admin = AdminMessage::from(AdminPayload::SetOwner(user)).to_vec::<128>().unwrap();
        let data = Data { portnum: PortNum::ADMIN_APP, payload: &admin, ..Data::default() };
        let payload = Some(MeshPacketPayload::Decoded(data));
        let packet = MeshPacket { to: 0x0b00_0001, id: round + 1, payload, ..MeshPacket::default() };
        let message = ToRadio::from(ToRadioPayload::Packet(packet)).to_vec::<256>().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        // The world knows of it by then.
        long_name(&mut client).await;
        client.write_all(&frame(&message).unwrap()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(20), client.read_to_end(&mut rest)).await.expect("it is let go").unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        assert_eq!(long_name(&mut next).await, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_opens_in_process_and_ends_with_its_server() {
    let mut server = server().await;
    let node = server.find("walker").unwrap();
    assert_eq!((server.find("!0b000003").unwrap(), server.find("2").unwrap()), (node, node));
    let mut stream = server.open(node).unwrap();
    handshake(&mut stream).await;
    drop(server);
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the stream goes on without its server");
}
