//! Two daemons on the LAN's multicast, in a network of the test's own: it starts itself again inside `unshare --net`.

mod fast_clock;
mod mesh_of_cores;
mod two_daemons;

use std::process::{Command, Output};

use two_daemons::Pair;

/// Runs an ignored test below in a network that has a loopback with multicast and nothing else.
fn in_own_network(test: &str) {
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo && exec timeout 90 \"$0\" --exact {test} --ignored --nocapture"
    );
    let run = |flags: &str| Command::new("unshare").args([flags, "sh", "-c", &script]).arg(&own).output();
    let ran = |output: &Output| String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    // Root needs no user namespace of its own, and may not get one in a container.
    let output = match run("-n") {
        Ok(output) if ran(&output) => output,
        _ => match run("-rn") {
            Ok(output) if ran(&output) => output,
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

#[test]
fn jobs_and_texts_go_over_multicast() {
    in_own_network("inner");
}

#[tokio::test]
#[ignore = "run by the test of the network of its own"]
async fn inner() {
    // The kernel chooses the interface by the route, as on any LAN.
    let pair = Pair::start("daemons-udp", "udp:").await;
    pair.chat().await;
    pair.texts().await;
    pair.classify().await;
    pair.end().await;
}
