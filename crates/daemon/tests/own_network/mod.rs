//! A network of the test's own, with a loopback that has multicast: the test starts itself again inside `unshare --net`.

use std::process::{Command, Output};

/// Runs an ignored test of the same program in a network that has a loopback with multicast and nothing else.
pub fn in_own_network(test: &str) {
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo && exec timeout 240 \"$0\" --exact {test} --ignored --nocapture"
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
