//! People who write to a node of `compotastic up` from another radio of a simulated mesh, and what they get; over a radio that is shared, and over
//! one that comes late.

mod fast_clock;
mod mesh_of_cores;

use std::{net::TcpListener, path::Path, time::Duration};

use clap::Parser;
use compotastic_daemon::{
    seam::Snapshot,
    serve::{Options, Server},
    swarm::{join_radio, slot},
    up::{self, UpArgs},
};
use compotastic_links::{Body, OwnedData, OwnedPacket, RadioEvent, RadioHandle, SessionConfig};
use compotastic_messages::PortNum;
use compotastic_sim::scenario::Scenario;
use mesh_of_cores::Folder;
use tokio::{sync::oneshot, time::timeout};

/// By the test's clock, which is quick; a laden machine does what is to be done slowly.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    up: UpArgs,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn radio(url: &str) -> RadioHandle {
    up::open_link(&url.parse().unwrap(), SessionConfig::default()).await.unwrap()
}

/// Waits until the daemon reaches its swarm.
async fn hosted(api: &str) {
    let ready = async {
        loop {
            let url = format!("{api}/api/status");
            let text = tokio::task::spawn_blocking(move || {
                ureq::get(&url).call().ok()?.into_body().read_to_string().ok()
            });
            let state = text.await.unwrap().and_then(|text| serde_json::from_str::<Snapshot>(&text).ok());
            if state.is_some_and(|state| state.mode == "hosted") {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("the daemon reaches its radio");
}

/// A person at the lower hut asks the daemon at the upper hut once, right after its start, and gets the answer.
async fn is_answered(name: &str, flags: &[&str], late: bool) {
    fast_clock::quicken();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/two-huts.toml");
    let options = Options { speed: fast_clock::SPEED.into(), ..Options::default() };
    let mut server = Server::start(Scenario::load(&file).unwrap(), options).await.unwrap();
    let loopback = "127.0.0.1".parse().unwrap();
    let ports = server.listen(loopback, 0, 2).await.unwrap();
    let [upper, lower] = [0, 1].map(|node| format!("tcp:{}", ports[node].1));

    let folder = Folder::new(name);
    let store = up::open_store(Some(folder.0.clone())).unwrap();
    let mut handle = radio(&upper).await;
    let num = slot::contact(&mut handle).await.unwrap().num;
    handle.sender.shutdown().await.unwrap();
    let mut handle = radio(&upper).await;
    join_radio(&store, &mesh_of_cores::swarm(), &mut handle, |_| true).await.unwrap();
    handle.sender.shutdown().await.unwrap();
    drop(store);

    let (listen, port) = (format!("127.0.0.1:{}", free_port()), free_port());
    let state = folder.0.to_str().unwrap().to_owned();
    let mut words = vec!["up", "--state", &state, "--listen", &listen];
    words.extend(flags);
    let url = if late { format!("tcp:127.0.0.1:{port}") } else { upper };
    let (stop, stopped) = oneshot::channel();
    let daemon =
        tokio::spawn(up::serve(Cli::parse_from(words).up, vec![url.parse().unwrap()], None, stopped));
    if late {
        tokio::time::sleep(Duration::from_secs(30)).await;
        server.listen(loopback, port, 1).await.unwrap();
    }
    hosted(&format!("http://{listen}")).await;

    let mut person = radio(&lower).await;
    slot::contact(&mut person).await.unwrap();
    let data =
        OwnedData { port: PortNum::TEXT_MESSAGE_APP.0, payload: b"help".to_vec(), ..OwnedData::default() };
    let id = 0x1234_5678;
    let body = Body::Data(data);
    let asked = OwnedPacket { to: num, id, hop_limit: 3, want_ack: true, body, ..OwnedPacket::default() };
    person.sender.send(asked).await.unwrap();
    let answered = async {
        while let Some(event) = person.events.recv().await {
            let RadioEvent::Packet(packet) = event else { continue };
            if packet.from == num
                && let Some(data) = packet.data().filter(|data| data.reply_id == id)
            {
                return String::from_utf8(data.payload.clone()).unwrap();
            }
        }
        panic!("the link ended")
    };
    let answer = timeout(PATIENCE, answered).await.expect("an answer");
    assert!(answer.contains("Ask me in a direct message"), "{answer}");
    drop(stop);
    timeout(PATIENCE, daemon).await.expect("it ends").unwrap().unwrap();
}

/// The shared radio's messages come before the node knows who it is.
#[tokio::test]
async fn a_direct_message_over_a_shared_radio_is_answered() {
    is_answered("people-shared", &["--share", "127.0.0.1:0"], false).await;
}

#[tokio::test]
async fn a_direct_message_over_a_radio_that_came_late_is_answered() {
    is_answered("people-late", &["--wait"], true).await;
}
