//! The shared radio over HTTP: who is a client, which pages may use it, and what is told to whom.

mod device_http;
mod share_radio;

use std::{net::SocketAddr, time::Duration};

use compotastic_daemon::share::{HttpShare, ShareConfig};
use compotastic_messages::*;
use device_http::{Answer, ask_with};
use share_radio::{OTHER, SharedRadio};

/// A radio that is shared with pages of this machine and one site.
async fn shared(clients: usize) -> (SharedRadio, SocketAddr) {
    let http = HttpShare {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        sites: vec!["https://client.meshtastic.org".parse().unwrap()],
    };
    let radio = SharedRadio::start(ShareConfig { http: Some(http), clients, ..ShareConfig::default() }).await;
    let address = radio.http.unwrap();
    (radio, address)
}

/// A program by its name.
struct Program {
    address: SocketAddr,
    name: &'static str,
}

impl Program {
    async fn ask(&self, what: &str, body: &[u8]) -> Answer {
        let agent = format!("User-Agent: {}", self.name);
        ask_with(self.address, what, &["Host: 127.0.0.1", &agent], body).await
    }

    async fn put(&self, payload: ToRadioPayload<'_>) -> u16 {
        let message = ToRadio::from(payload).to_vec::<512>().unwrap();
        self.ask("PUT /api/v1/toradio", &message).await.status
    }

    /// Reads until something is found.
    async fn until<T>(&self, mut find: impl FnMut(FromRadioPayload<'_>) -> Option<T>) -> T {
        for _ in 0..200 {
            let answer = self.ask("GET /api/v1/fromradio", b"").await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            if let Some(Some(found)) = answer.message(&mut find) {
                return found;
            }
        }
        panic!("{} is not told", self.name);
    }

    /// Through the handshake.
    async fn ready(address: SocketAddr, name: &'static str) -> Self {
        let program = Self { address, name };
        assert_eq!(program.put(ToRadioPayload::WantConfigId(9)).await, 200);
        program.until(|payload| matches!(payload, FromRadioPayload::ConfigCompleteId(9)).then_some(())).await;
        program
    }

    /// Sends a text that asks for an acknowledgement.
    async fn says(&self, id: u32, text: &str) {
        let data = Data { portnum: PortNum::TEXT_MESSAGE_APP, payload: text.as_bytes(), ..Data::default() };
        let payload = Some(MeshPacketPayload::Decoded(data));
        let packet =
            MeshPacket { to: OTHER, id, hop_limit: 3, want_ack: true, payload, ..MeshPacket::default() };
        assert_eq!(self.put(ToRadioPayload::Packet(packet)).await, 200);
    }

    /// Reads until a text comes; the sender.
    async fn hears(&self, text: &str) -> u32 {
        self.until(|payload| match payload {
            FromRadioPayload::Packet(packet) => {
                let data = packet.decoded()?;
                let same = data.portnum == PortNum::TEXT_MESSAGE_APP && data.payload == text.as_bytes();
                same.then_some(packet.from)
            }
            _ => None,
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_each_have_a_queue_and_their_own_answers() {
    let (radio, address) = shared(8).await;
    let ann = Program::ready(address, "browser of Ann").await;
    let bob = Program::ready(address, "bot of Bob").await;
    ann.says(7, "from Ann").await;
    assert_eq!(bob.hears("from Ann").await, share_radio::NUM);
    let data = Data { portnum: PortNum::TEXT_MESSAGE_APP, payload: b"from afar", ..Data::default() };
    radio.hears(OTHER, 77, data).await;
    // Ann is told of her text's arrival; Bob is not, and both hear the other node.
    let acked = ann.until(|payload| match payload {
        FromRadioPayload::Packet(packet) => {
            let data = packet.decoded()?;
            (data.portnum == PortNum::ROUTING_APP).then_some(data.request_id)
        }
        _ => None,
    });
    assert_eq!(acked.await, 7);
    assert_eq!(ann.hears("from afar").await, OTHER);
    bob.until(|payload| match payload {
        FromRadioPayload::Packet(packet) => {
            let data = packet.decoded()?;
            assert_ne!(data.portnum, PortNum::ROUTING_APP, "an answer that is not Bob's");
            (data.payload == b"from afar").then_some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(radio.state.borrow().clients, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_alone_makes_no_client_and_who_says_goodbye_is_none() {
    let (radio, address) = shared(8).await;
    let ann = Program { address, name: "browser of Ann" };
    let answer = ann.ask("GET /api/v1/fromradio", b"").await;
    assert_eq!((answer.status, answer.body.len(), radio.state.borrow().clients), (200, 0, 0));
    let ann = Program::ready(address, "browser of Ann").await;
    assert_eq!(radio.state.borrow().clients, 1);
    assert_eq!(ann.put(ToRadioPayload::Disconnect(true)).await, 200);
    let mut state = radio.state.clone();
    let gone = state.wait_for(|state| state.clients == 0);
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it has gone").unwrap();
    assert!(ann.ask("GET /api/v1/fromradio", b"").await.body.is_empty());
}

/// An app that was left open while the program behind the radio started anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_before_it_asks_for_the_state_is_told_to_ask() {
    let (_radio, address) = shared(8).await;
    let ann = Program { address, name: "browser of Ann" };
    assert_eq!(ann.put(ToRadioPayload::Heartbeat(Default::default())).await, 200);
    let told = ann.ask("GET /api/v1/fromradio", b"").await;
    assert_eq!(told.message(|payload| matches!(payload, FromRadioPayload::Rebooted(true))), Some(true));
    assert!(ann.ask("GET /api/v1/fromradio", b"").await.body.is_empty(), "once");
    Program::ready(address, "browser of Ann").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_is_told() {
    let (_radio, address) = shared(1).await;
    Program::ready(address, "browser of Ann").await;
    let bob = Program { address, name: "bot of Bob" };
    let answer = bob.ask("PUT /api/v1/toradio", &[0x18, 42]).await;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 503 && said.contains("--share-clients"), "{} {said}", answer.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_are_refused() {
    let (_radio, address) = shared(8).await;
    let from = async |what: &str, lines: &[&str]| {
        let body: &[u8] = if what.starts_with("PUT") { &[0x18, 42] } else { &[] };
        ask_with(address, what, lines, body).await
    };
    let good = ["Host: localhost", "Origin: https://client.meshtastic.org"];
    for what in ["OPTIONS /api/v1/toradio", "PUT /api/v1/toradio", "GET /api/v1/fromradio"] {
        let answer = from(what, &good).await;
        assert!(answer.status < 300, "{what}: {}", answer.head);
        let allowed = "access-control-allow-origin: https://client.meshtastic.org";
        assert!(answer.head.contains(allowed) && answer.head.contains("vary: Origin"), "{}", answer.head);
        for bad in [
            &["Host: localhost", "Origin: https://evil.example"][..],
            &["Host: evil.example"],
            &["Host: localhost", "Sec-Fetch-Site: cross-site"],
        ] {
            let answer = from(what, bad).await;
            assert_eq!(answer.status, 403, "{what} {bad:?}");
            assert!(!answer.head.contains("access-control-allow-origin"), "{}", answer.head);
        }
    }
}

#[tokio::test]
async fn an_address_in_use_is_told_with_the_flag_to_change() {
    let (_radio, address) = shared(8).await;
    let http = Some(HttpShare { address, sites: Vec::new() });
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let refused =
        compotastic_daemon::share::spawn(local, ShareConfig { http, ..ShareConfig::default() }).await;
    let error = format!("{:#}", refused.unwrap_err());
    assert!(error.contains("--share-http ADDRESS:PORT") && error.contains(&address.to_string()), "{error}");
}
