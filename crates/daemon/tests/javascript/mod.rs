//! Meshtastic's JavaScript clients as peers: npm's `@meshtastic/core` with its transports for TCP and HTTP.
//!
//! They are under the GPL, so they lie outside the checkout: in `js` of the gate's cache, where `bash .ci/run` installs them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

/// A script that takes longer has failed. Over HTTP a client polls every three seconds.
const PATIENCE: Duration = Duration::from_secs(180);
/// What the command that is told needs.
const PACKAGES: &str =
    "@meshtastic/core@2.6.7 @meshtastic/transport-node@0.0.2 @meshtastic/transport-http@0.2.5";

/// The folder with the packages; without them, or without Node.js, that is said.
pub fn packages() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/compotastic-ci"));
    let cache = std::env::var_os("COMPOTASTIC_CI_CACHE").map(PathBuf::from).or_else(home);
    let folder = cache.unwrap_or_default().join("js");
    // The transport for HTTP needs it: Node.js 20.3 has it.
    let node =
        std::process::Command::new("node").args(["--eval", "process.exit(AbortSignal.any ? 0 : 1)"]).output();
    let there = ["core", "transport-node", "transport-http"]
        .iter()
        .all(|name| folder.join("node_modules/@meshtastic").join(name).is_dir());
    if node.is_ok_and(|output| output.status.success()) && there {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: no Node.js from 20.3 on, or no JavaScript clients in {0}; npm install --ignore-scripts --prefix {0} {PACKAGES}",
        folder.display()
    );
    None
}

/// Runs a script of this folder to its end; the JSON object that it printed last. A failure fails the test.
pub async fn run(script: &str, packages: &Path, args: &[&str]) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/javascript").join(script);
    let mut command = Command::new("node");
    command.arg(&script).arg(packages).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(PATIENCE, command.output()).await;
    let output =
        done.unwrap_or_else(|_| panic!("{} {args:?} did not end", script.display())).expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {args:?}: {}\n{text}\n{errors}", script.display(), output.status);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"))
}
