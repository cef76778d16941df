//! Meshtastic's JavaScript clients as peers: npm's `@meshtastic/core` with its transports for TCP and HTTP.
//!
//! They are under the GPL, so they lie outside the checkout: in `js` of the gate's cache, where `bash .ci/run` installs them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

/// A script that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(180);
/// Names the packages and their versions.
const WANTED: &str = include_str!("package.json");

/// Whether the folder has what is wanted, in the versions that are wanted.
fn has_wanted(folder: &Path) -> bool {
    let wanted: serde_json::Value = serde_json::from_str(WANTED).expect("package.json is JSON");
    let packages = wanted["dependencies"].as_object().expect("it names packages");
    packages.iter().all(|(name, version)| {
        let installed = std::fs::read(folder.join("node_modules").join(name).join("package.json"));
        let installed: Option<serde_json::Value> =
            installed.ok().and_then(|text| serde_json::from_slice(&text).ok());
        installed.is_some_and(|installed| &installed["version"] == version)
    })
}

/// The folder with the packages; without them, or without Node.js, that is said.
pub fn packages() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/compotastic-ci"));
    let cache = std::env::var_os("COMPOTASTIC_CI_CACHE").map(PathBuf::from).or_else(home);
    let folder = cache.unwrap_or_default().join("js");
    // The transport for HTTP needs it: Node.js 20.3 has it.
    let node =
        std::process::Command::new("node").args(["--eval", "process.exit(AbortSignal.any ? 0 : 1)"]).output();
    if node.is_ok_and(|output| output.status.success()) && has_wanted(&folder) {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: no Node.js from 20.3 on, or not the JavaScript clients that are wanted in {0}; copy {1}/tests/javascript/package.json there and run `npm install --ignore-scripts --prefix {0}`",
        folder.display(),
        env!("CARGO_MANIFEST_DIR")
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
