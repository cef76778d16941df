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
        .env("COMPOTASTIC_CONFIG", scratch("no-config"))
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

/// A task of five examples per class, as a file: where the task is not what is tested, since the demo's own takes seconds to learn.
pub fn five(name: &str) -> String {
    let classes = [
        (
            "pump",
            "the pump is leaking|pump number two stopped|bearing of the pump is hot|pump makes a grinding noise|oil under the pump",
        ),
        (
            "door",
            "the door does not close|door handle came off|lock of the door is stuck|glass in the door is broken|gate hinge squeaks",
        ),
        (
            "light",
            "the light in the hall is out|lamp flickers|bulb over the desk is dead|street light stays dark|emergency light blinks",
        ),
    ];
    let mut csv = String::from("text,label,split\n");
    for (label, texts) in classes {
        texts.split('|').for_each(|text| csv += &format!("{text},{label},train\n"));
    }
    file(&format!("five-{name}.csv"), csv)
}

/// A folder of a test's own.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Empty.
    pub fn new(name: &str) -> Self {
        let path = scratch(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("scratch is writable");
        Self(path)
    }

    /// A path in it, as text.
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.join(name), bytes).expect("scratch is writable");
        self.at(name)
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).expect("it is there")
    }
}
