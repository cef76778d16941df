//! What commands write destroys nothing, and what is no file is not read for ever.
#![cfg(unix)]

mod common;

use std::{
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Folder, fails, succeeds};

/// With a root key `k`, an edge key `e`, a table, and bundles of two of its versions.
fn desk(name: &str) -> Folder {
    let desk = Folder::new(name);
    succeeds(&["key", "new", &desk.at("k")]);
    succeeds(&["key", "new", "--role", "edge", &desk.at("e")]);
    let mut content: Vec<u8> = (0..3000_usize).map(|index| ((index * index) >> 3) as u8).collect();
    build(&desk, "old.bin", &content, "1");
    content[7] ^= 1;
    build(&desk, "new.bin", &content, "2");
    desk
}

fn build(desk: &Folder, name: &str, content: &[u8], version: &str) {
    let (file, key) = (desk.write(name, content), desk.at("k"));
    let what = ["--kind", "policy", "--class", "1", "--version", version, "--key", &key];
    succeeds(&[&["bundle", "build", &file][..], &what].concat());
}

#[test]
fn outputs_spare_inputs_and_secret_keys() {
    let desk = desk("spared");
    symlink(desk.at("old.bin"), desk.at("link")).unwrap();
    // What is kept, and the words; those that begin with @ are files of the desk.
    let calls = [
        ("k", "bundle build @old.bin --kind policy --class 1 --version 3 --key @k --out @k"),
        ("k", "bundle build @old.bin --kind policy --class 1 --version 3 --out @k"),
        ("old.bin", "bundle build @old.bin --kind policy --class 1 --version 3 --out @old.bin"),
        ("old.bin", "bundle build @old.bin --kind policy --class 1 --version 3 --out @link"),
        ("k", "key delegate @e.pub --by @k --class 1 --out @k"),
        ("e", "key delegate @e.pub --by @k --class 1 --out @e"),
        ("e.pub", "key delegate @e.pub --by @k --class 1 --out @e.pub"),
        ("k", "key revoke all --by @k --epoch 2 --out @k"),
        ("k", "bundle apply @old.bin @new.bin.bundle --unsigned --out @k"),
        ("old.bin", "bundle apply @old.bin @new.bin.bundle --unsigned --out @old.bin"),
        ("new.bin.bundle", "bundle apply @old.bin @new.bin.bundle --unsigned --out @new.bin.bundle"),
        ("old.bin", "bundle diff @old.bin @new.bin.bundle --out @old.bin"),
        ("new.bin.bundle", "bundle diff @old.bin @new.bin.bundle --out @new.bin.bundle"),
        ("k", "bundle sign @new.bin.bundle --key @k --out @k"),
    ];
    for (kept, call) in calls {
        let words =
            call.split(' ').map(|word| word.strip_prefix('@').map_or(word.to_string(), |name| desk.at(name)));
        let words: Vec<String> = words.collect();
        let before = desk.read(kept);
        let said = fails(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.contains("to another file"), "{call}: {said}");
        assert_eq!(desk.read(kept), before, "{call}");
    }
    // In its own place is what `sign` does by default.
    let new = desk.at("new.bin.bundle");
    succeeds(&["bundle", "sign", &new, "--key", &desk.at("k"), "--out", &new]);
    let names = std::fs::read_dir(&desk.0).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".new")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_is_replaced_in_one_step_and_a_device_is_left_alone() {
    let desk = desk("replaced");
    let (out, old, new) =
        (desk.write("image", "what was there"), desk.at("old.bin"), desk.at("new.bin.bundle"));
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::metadata(&out).unwrap();
    succeeds(&["bundle", "apply", &old, &new, "--unsigned", "--out", &out]);
    let after = std::fs::metadata(&out).unwrap();
    assert_ne!(before.ino(), after.ino(), "written beside, then renamed");
    assert_eq!((after.permissions().mode() & 0o777, desk.read("image")), (0o640, desk.read("new.bin")));
    // Never /dev/null itself, which a bug would replace for the whole machine: a pipe and a link to the full device.
    symlink("/dev/full", desk.at("full")).unwrap();
    let said = fails(&["bundle", "apply", &old, &new, "--unsigned", "--out", &desk.at("full")]);
    assert!(said.contains("cannot write"), "{said}");
    assert!(std::fs::symlink_metadata(desk.at("full")).unwrap().is_symlink());
    let said = fails(&["bundle", "apply", &old, &new, "--unsigned", "--out", &desk.0.to_string_lossy()]);
    assert!(said.contains("a folder"), "{said}");
}

/// Runs it for 20 s at most, since what is wrong here never ends.
fn ends(words: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_compotastic"))
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_secs(20) => {
                child.kill().unwrap();
                panic!("{words:?} does not end");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{words:?}: {said}");
    said
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let desk = desk("no-files");
    let (fifo, folder) = (desk.at("fifo"), desk.0.to_string_lossy().into_owned());
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (old, new, out) = (desk.at("old.bin"), desk.at("new.bin.bundle"), desk.at("out"));
    let device = "a device or a pipe";
    for (path, why) in [("/dev/zero", device), (fifo.as_str(), device), (folder.as_str(), "a folder")] {
        let calls: [&[&str]; 14] = [
            &["key", "show", path],
            &["key", "trust", path, "--trust", &out],
            &["bundle", "inspect", path],
            &["bundle", "verify", path],
            &["bundle", "build", path, "--kind", "policy", "--class", "1", "--version", "1", "--out", &out],
            &["bundle", "diff", path, &new, "--out", &out],
            &["bundle", "diff", &old, path, "--out", &out],
            &["bundle", "apply", &old, path, "--out", &out],
            &["plan", path, "--scenario", "x.toml"],
            &["plan", &new, "--scenario", path],
            &["push", path, "--to", "class:1"],
            &["push", &new, "--to", "class:1", "--scenario", path],
            &["sim", "run", path],
            &["sim", "replay", path],
        ];
        for words in calls {
            let said = ends(words);
            assert!(said.contains(why) && said.contains(path), "{words:?}: {said}");
        }
    }
    assert!(ends(&["key", "show", &desk.write("long", [b'x'; 5000])]).contains("neither a key nor a record"));
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let desk = desk("full");
    let (new, key) = (desk.at("new.bin.bundle"), desk.at("k.pub"));
    let calls: [&[&str]; 4] =
        [&["bundle", "inspect", &new], &["key", "show", &key], &["completions", "bash"], &["man"]];
    for words in calls {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_compotastic")).args(words).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("No space left") && !said.contains("panicked"), "{words:?}: {said}");
    }
    let piped = format!("'{}' bundle inspect '{new}' | head -1", env!("CARGO_BIN_EXE_compotastic"));
    for _ in 0..5 {
        let output = Command::new("sh").args(["-c", &piped]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}
