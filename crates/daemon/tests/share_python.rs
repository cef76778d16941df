//! The Python client (PyPI `meshtastic`) on the shared radio: two of them at once, and each sees what is its.

mod share_radio;

use std::{process::Stdio, time::Duration};

use compotastic_daemon::share::ShareConfig;
use compotastic_messages::PortNum;
use share_radio::SharedRadio;
use tokio::{process::Command, time::timeout};

const PATIENCE: Duration = Duration::from_secs(90);

/// Two clients in one process, so that their order is certain.
const SCRIPT: &str = r#"
import sys, threading, time
from pubsub import pub
import meshtastic.tcp_interface
from meshtastic.protobuf import mesh_pb2, portnums_pb2

port = int(sys.argv[1])
seen, acked, routes = [], [], []
news = threading.Condition()

def note(to, what):
    with news:
        to.append(what)
        news.notify_all()

def wait(condition, what):
    with news:
        if not news.wait_for(condition, 30):
            print("FAILED:", what, seen, acked, routes)
            sys.exit(1)

def on_text(packet, interface):
    note(seen, (interface.name, packet["from"], packet["decoded"]["text"]))

def text(client, words):
    client.sendData(words.encode(), portNum=portnums_pb2.PortNum.TEXT_MESSAGE_APP, wantAck=True, onResponseAckPermitted=True,
        onResponse=lambda p, n=client.name: note(acked, (n, p["decoded"]["routing"]["errorReason"])))

pub.subscribe(on_text, "meshtastic.receive.text")
a = meshtastic.tcp_interface.TCPInterface("127.0.0.1", portNumber=port)
a.name = "a"
b = meshtastic.tcp_interface.TCPInterface("127.0.0.1", portNumber=port)
b.name = "b"
for client in (a, b):
    print("num", client.myInfo.my_node_num, "nodes", sorted(client.nodes), "channels", len(client.localNode.channels))
    print("firmware", client.metadata.firmware_version, "region", client.localNode.localConfig.lora.region)

text(a, "hello from a")
wait(lambda: ("b", a.myInfo.my_node_num, "hello from a") in seen, "b sees a's text")
wait(lambda: ("a", "NONE") in acked, "a's text is acknowledged")
time.sleep(2.2)
text(b, "hello from b")
wait(lambda: ("a", a.myInfo.my_node_num, "hello from b") in seen, "a sees b's text")
wait(lambda: ("b", "NONE") in acked, "b's text is acknowledged")
a.sendData(mesh_pb2.RouteDiscovery(), destinationId="!aabbcc21", portNum=portnums_pb2.PortNum.TRACEROUTE_APP,
    wantResponse=True, onResponse=lambda p: note(routes, p["from"]), hopLimit=3)
wait(lambda: 0xaabbcc21 in routes, "a gets its route")
print("seen", len(seen), "acked", len(acked), "routes", len(routes))
a.localNode.setOwner("renamed", "rn")
deadline = time.time() + 20
while time.time() < deadline:
    c = meshtastic.tcp_interface.TCPInterface("127.0.0.1", portNumber=port)
    name = c.getLongName()
    c.close()
    if name == "renamed":
        break
    time.sleep(0.5)
print("owner", name)
a.close()
b.close()
print("DONE")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_python_clients_share_a_radio() {
    let has_client = Command::new("python3").args(["-c", "import meshtastic.tcp_interface"]).output().await;
    if !has_client.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: Python's meshtastic package is not installed; pip install meshtastic");
        return;
    }
    let radio = SharedRadio::start(ShareConfig::default()).await;
    let child = Command::new("python3")
        .args(["-c", SCRIPT, &radio.address.port().to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, child).await.expect("ends in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("DONE"), "{said}\n{wrong}");
    let state = "num 305397761 nodes ['!12340001', '!aabbcc21'] channels 8\nfirmware 2.7.26.test region 1\n";
    assert!(said.starts_with(&state.repeat(2)), "{said}");
    assert!(said.contains("seen 2 acked 2 routes 1\nowner renamed\n"), "{said}\n{wrong}");
    let ports: Vec<PortNum> = radio.sent.lock().unwrap().iter().map(|packet| packet.port).collect();
    let texts = ports.iter().filter(|port| **port == PortNum::TEXT_MESSAGE_APP).count();
    assert_eq!((texts, ports.contains(&PortNum::TRACEROUTE_APP)), (2, true), "{ports:?}");
}
