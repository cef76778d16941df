//! UDP multicast between links, in a network of the test's own: it starts itself again inside `unshare --net`.

#[path = "common/packets.rs"]
mod packets;

use std::process::{Command, Output};

use compotastic_links::{Body, FaultKind, OwnedData, PacketConfig, PacketHandle, PacketLink};
use packets::{down, packet, quiet, received, up};

/// Runs one of the ignored tests below in a network that has a loopback with multicast and nothing else.
fn in_own_network(test: &str, prepare: &str) {
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "ip link set lo up && ip link set lo multicast on && {prepare} && exec \"$0\" --exact {test} --ignored --nocapture"
    );
    let run = |flags: &str| Command::new("unshare").args([flags, "sh", "-c", &script]).arg(&own).output();
    // Root needs no user namespace of its own, and may not get one in a container.
    let output = match run("-n") {
        Ok(output) if output.status.success() || ran(&output) => output,
        _ => match run("-rn") {
            Ok(output) if output.status.success() || ran(&output) => output,
            other => {
                eprintln!("SKIPPED: no network namespace can be made here ({other:?})");
                return;
            }
        },
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn ran(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stdout).contains("running 1 test")
}

#[test]
fn two_links_hear_each_other() {
    in_own_network("inner_pair", "true");
}

#[test]
fn a_network_that_goes_and_comes_is_joined_again() {
    in_own_network("inner_change", "true");
}

#[test]
fn a_missing_network_and_interface_are_named() {
    in_own_network("inner_faults", "true");
}

fn link(node: u32, url: &str) -> PacketHandle {
    PacketLink::spawn(&url.parse().unwrap(), PacketConfig { node, ..PacketConfig::default() }).unwrap()
}

#[tokio::test]
#[ignore = "run by the test of the network of its own"]
async fn inner_pair() {
    let (mut a, mut b) = (link(1, "udp:?interface=lo"), link(2, "udp:?interface=lo"));
    up(&mut a).await;
    up(&mut b).await;
    a.sender.send(packet(1, 7), None).await.unwrap();
    let (got, channel, gateway) = received(&mut b).await;
    assert_eq!((got.from, got.id, got.transport, channel, gateway), (1, 7, 6, None, None));
    assert_eq!(got.body, packet(1, 7).body);
    // What a bridge passes on is another node's; it does not come back to who sent it either.
    b.sender.forward(packet(9, 8), None, false).await.unwrap();
    assert_eq!(received(&mut a).await.0.id, 8);
    quiet(&mut b).await;
    // What would end a stock node, or is readable, is not sent.
    let mut long = packet(1, 9);
    long.body = Body::Encrypted(vec![0; 240]);
    a.sender.send(long, None).await.unwrap();
    let mut readable = packet(1, 10);
    readable.body = Body::Data(OwnedData { port: 1, ..OwnedData::default() });
    a.sender.send(readable, None).await.unwrap();
    // Strangers' datagrams that are no packets, or say that they are ours.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in
        [vec![0xFF; 20], vec![0; 1400], packet(2, 11).encode().unwrap(), packet(0, 12).encode().unwrap()]
    {
        socket.send_to(&datagram, "224.0.0.69:4403").unwrap();
    }
    quiet(&mut b).await;
    // An address names an interface too, and another group is another network.
    let mut c = link(3, "udp:?interface=127.0.0.1");
    let mut d = link(4, "udp:239.1.2.3:4403?interface=lo");
    up(&mut c).await;
    up(&mut d).await;
    a.sender.send(packet(1, 13), None).await.unwrap();
    assert_eq!(received(&mut c).await.0.id, 13);
    quiet(&mut d).await;
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
#[ignore = "run by the test of the network of its own"]
async fn inner_change() {
    let plug = || {
        ip("link add net0 type veth peer name net1")
            && ip("addr add 10.9.0.1/24 dev net0")
            && ip("link set net0 up")
            && ip("link set net1 up")
    };
    if !plug() {
        eprintln!("SKIPPED: no virtual Ethernet here");
        return;
    }
    let mut a = link(1, "udp:?interface=net0");
    up(&mut a).await;
    assert!(ip("link del net0"));
    let fault = down(&mut a).await;
    assert!(
        matches!(fault.kind, FaultKind::Unreachable | FaultKind::Missing | FaultKind::Unavailable),
        "{fault}"
    );
    assert!(plug());
    up(&mut a).await;
    let mut b = link(2, "udp:?interface=net0");
    up(&mut b).await;
    b.sender.send(packet(2, 5), None).await.unwrap();
    assert_eq!(received(&mut a).await.0.id, 5);
}

#[tokio::test]
#[ignore = "run by the test of the network of its own"]
async fn inner_faults() {
    let fault = down(&mut link(1, "udp:?interface=eth9")).await;
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    // The loopback alone carries no route to the group.
    let fault = down(&mut link(1, "udp:")).await;
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
    assert!(fault.to_string().contains("name an interface"), "{fault}");
    let taken = std::net::UdpSocket::bind("0.0.0.0:4403").unwrap();
    let fault = down(&mut link(1, "udp:?interface=lo")).await;
    assert_eq!(fault.kind, FaultKind::Busy, "{fault}");
    drop(taken);
}
