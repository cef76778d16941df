//! Runs the program as a user does.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// Runs the program without a cached model, so that the encoder in the tree teaches.
pub fn compotastic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compotastic"))
        .args(arguments)
        .env("COMPOTASTIC_CACHE", scratch("no-models"))
        .output()
        .expect("the program runs")
}

/// What it printed, when it succeeded.
pub fn succeeds(arguments: &[&str]) -> String {
    let output = compotastic(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The JSON object that it printed.
pub fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds(arguments)).expect("one JSON object")
}

/// The error that it printed: no panic, status 1.
pub fn fails(arguments: &[&str]) -> String {
    let output = compotastic(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// A path in this test run's scratch folder.
pub fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Writes a file into the scratch folder; its path as text.
pub fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path = scratch(name);
    std::fs::write(&path, content).expect("scratch is writable");
    path.to_string_lossy().into_owned()
}
