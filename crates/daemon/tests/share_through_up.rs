//! The shared radio as people use it: `up --share` on a simulated mesh, and the Python client's command (PyPI `meshtastic`) on it.

mod fast_clock;
mod mesh_of_cores;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use compotastic_daemon::{
    serve::{Options, Server},
    up::{self, UpArgs},
};
use compotastic_sim::scenario::Scenario;
use mesh_of_cores::Folder;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// A call of the client that takes longer has failed, by the test's clock, which is quick: a laden machine starts Python slowly.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    up: UpArgs,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/two-huts.toml")
}

fn installed() -> bool {
    let found = std::process::Command::new("python3").args(["-c", "import meshtastic"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: python3 has no package `meshtastic`; pip install meshtastic");
    }
    found
}

/// A daemon that shares its radio.
struct Sharing {
    port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    _folder: Folder,
}

impl Sharing {
    async fn start(name: &str, url: &str, flags: &[&str]) -> Self {
        let folder = Folder::new(name);
        let port = free_port();
        let (listen, share) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{port}"));
        let state = folder.0.to_str().unwrap().to_owned();
        let mut words = vec!["up", "--state", &state, "--listen", &listen, "--share", &share, "--no-people"];
        words.extend(flags);
        let (stop, stopped) = oneshot::channel();
        let links = vec![url.parse().unwrap()];
        let task = tokio::spawn(up::serve(Cli::parse_from(words).up, links, None, stopped));
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Self { port, stop, task, _folder: folder };
            }
            assert!(!task.is_finished(), "the daemon has ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing listens at {share}");
    }

    async fn end(self) {
        drop(self.stop);
        timeout(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
    }
}

fn client(port: u16, args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "meshtastic", "--host", &format!("127.0.0.1:{port}")]).args(args);
    command.stdin(Stdio::null()).kill_on_drop(true).env("PYTHONUNBUFFERED", "1");
    command
}

async fn run(port: u16, args: &[&str]) -> Output {
    let ended = timeout(PATIENCE, client(port, args).output()).await;
    ended.unwrap_or_else(|_| panic!("meshtastic {args:?} did not end")).expect("it starts")
}

/// What it printed. A failure fails the test.
async fn meshtastic(port: u16, args: &[&str]) -> String {
    let output = run(port, args).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "meshtastic {args:?}: {}\n{said}\n{wrong}", output.status);
    said
}

type Lines = tokio::io::Lines<BufReader<ChildStdout>>;

/// A client that stays and prints the texts that come.
fn listening(port: u16) -> (Child, Lines) {
    const SCRIPT: &str = r#"
import sys, time
from pubsub import pub
import meshtastic.tcp_interface
def on_text(packet, interface):
    print("text", packet["fromId"], packet["decoded"]["text"])
pub.subscribe(on_text, "meshtastic.receive.text")
client = meshtastic.tcp_interface.TCPInterface("127.0.0.1", portNumber=int(sys.argv[1]))
print("ready", client.getMyNodeInfo()["user"]["id"])
time.sleep(60)
"#;
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT, &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .env("PYTHONUNBUFFERED", "1")
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// The first line that begins so.
async fn line(lines: &mut Lines, start: &str) -> String {
    let found = timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(start) {
                return line;
            }
        }
        panic!("the client has ended before `{start}`");
    });
    found.await.unwrap_or_else(|_| panic!("`{start}` was not said"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_works_on_the_shared_radio_of_a_simulated_mesh() {
    if !installed() {
        return;
    }
    let url = format!("sim:{}", scenario().display());
    let sharing = Sharing::start("share-sim", &url, &[]).await;
    let port = sharing.port;
    // Two clients at once, each with a handshake of its own.
    let (info, nodes) = tokio::join!(meshtastic(port, &["--info"]), meshtastic(port, &["--nodes"]));
    for wanted in [
        "Owner: upper hut",
        "\"region\": \"EU_868\"",
        "\"longName\": \"lower hut\"",
        "PRIMARY",
        "\"privateKey\"",
    ] {
        assert!(info.contains(wanted), "no {wanted} in {info}");
    }
    for wanted in ["upper hut", "lower hut", "walker"] {
        assert!(nodes.contains(wanted), "no {wanted} in {nodes}");
    }
    meshtastic(port, &["--set-owner", "hut of the sharer"]).await;
    let info = meshtastic(port, &["--info"]).await;
    assert!(info.contains("Owner: hut of the sharer"), "{info}");
    sharing.end().await;
}

#[tokio::test]
async fn a_text_of_one_client_is_heard_at_another_node_and_seen_by_the_other_client() {
    if !installed() {
        return;
    }
    // In the first minute after the start of a daemon only alerts go, since nobody knows yet how full the air is.
    fast_clock::quicken();
    let options = Options { speed: fast_clock::SPEED.into(), ..Options::default() };
    let mut server = Server::start(Scenario::load(&scenario()).unwrap(), options).await.unwrap();
    let ports = server.listen("127.0.0.1".parse().unwrap(), 0, 3).await.unwrap();
    let [(_, upper), (_, lower), _] = ports[..] else { panic!("{ports:?}") };
    let sharing = Sharing::start("share-text", &format!("tcp:{upper}"), &[]).await;
    let ((far_child, mut far), (_near_child, mut near)) = (listening(lower.port()), listening(sharing.port));
    let (far_is, near_is) = tokio::join!(line(&mut far, "ready"), line(&mut near, "ready"));
    let own = near_is.trim_start_matches("ready ").to_owned();
    assert_ne!(far_is, near_is);
    meshtastic(sharing.port, &["--sendtext", "hello from the shared radio"]).await;
    let said = format!("text {own} hello from the shared radio");
    let heard = tokio::join!(line(&mut far, &said), line(&mut near, &said));
    assert_eq!(heard.0, heard.1);
    // A direct message, under public keys, that the other node itself acknowledges.
    let num = far_is.trim_start_matches("ready ");
    let acked = meshtastic(sharing.port, &["--sendtext", "for you alone", "--dest", num, "--ack"]).await;
    assert!(acked.contains("Received an ACK."), "{acked}");
    line(&mut far, &format!("text {own} for you alone")).await;
    // And back, over the other node's own client that listens: the shared one's hears it.
    drop(far_child);
    meshtastic(lower.port(), &["--sendtext", "hello from the lower hut"]).await;
    line(&mut near, &format!("text {num} hello from the lower hut")).await;
    sharing.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_admin_the_owner_stays_who_it_is() {
    if !installed() {
        return;
    }
    let url = format!("sim:{}", scenario().display());
    let sharing = Sharing::start("share-no-admin", &url, &["--share-no-admin"]).await;
    let refused = run(sharing.port, &["--set-owner", "somebody else"]).await;
    let said =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    eprintln!("{said}");
    let info = meshtastic(sharing.port, &["--info"]).await;
    assert!(info.contains("Owner: upper hut"), "{info}\n{said}");
    sharing.end().await;
}
