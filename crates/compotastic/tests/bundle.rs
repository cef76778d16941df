//! Keys, bundles and deltas on the command line: the whole way, and what is refused.

mod common;

use common::{fails, file, json, scratch, succeeds};
use std::path::PathBuf;

/// A folder of its own for each test, empty.
fn folder(name: &str) -> PathBuf {
    let path = scratch("bundles").join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

struct Desk(PathBuf);

impl Desk {
    /// With a root key, an edge key delegated to for class 1, and a trust file.
    fn new(name: &str) -> Self {
        let desk = Self(folder(name));
        succeeds(&["key", "new", &desk.at("operator")]);
        succeeds(&["key", "new", "--role", "edge", &desk.at("hut")]);
        succeeds(&["key", "delegate", &desk.at("hut.pub"), "--by", &desk.at("operator"), "--class", "1"]);
        succeeds(&["key", "trust", &desk.at("operator.pub"), "--trust", &desk.at("trust")]);
        desk
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.0.join(name), bytes).unwrap();
        self.at(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }

    /// Builds a policy for class 1, signed by `key`.
    fn policy(&self, name: &str, content: &[u8], version: &str, key: &str) -> String {
        let content = self.write(name, content);
        let key = self.at(key);
        succeeds(&[
            "bundle",
            "build",
            &content,
            "--kind",
            "policy",
            "--task",
            "7",
            "--class",
            "1",
            "--version",
            version,
            "--key",
            &key,
        ]);
        format!("{content}.bundle")
    }

    fn verify(&self, bundle: &str, more: &[&str]) -> Vec<String> {
        let trust = self.at("trust");
        let mut arguments = vec!["bundle", "verify", bundle, "--trust", &trust];
        arguments.extend(more);
        arguments.into_iter().map(str::to_string).collect()
    }

    fn verifies(&self, bundle: &str, more: &[&str]) -> String {
        succeeds(&self.verify(bundle, more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn refuses(&self, bundle: &str, more: &[&str]) -> String {
        fails(&self.verify(bundle, more).iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Bytes that differ by seed and do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn from_keys_to_a_verified_bundle() {
    let desk = Desk::new("whole");
    let bundle = desk.policy("table", &noise(2000, 1), "4", "hut");
    let said = json(&["bundle", "inspect", &bundle, "--json"]);
    assert_eq!(said["kind"], "policy");
    assert_eq!((&said["task"], &said["version"]), (&7.into(), &4.into()));
    assert_eq!(said["classes"], serde_json::json!([1]));
    assert_eq!(said["content"]["bytes"], 2000);
    assert_eq!((&said["packed_bytes"], &said["manifest_frames"]), (&144.into(), &1.into()));
    assert_eq!(said["content"]["sha256"], said["image"]["sha256"]);
    let hut = json(&["key", "show", &desk.at("hut.pub"), "--json"]);
    assert_eq!(said["signer"], hut["key_id"]);
    assert_eq!(said["delegation"]["key_id"], hut["key_id"]);
    let table = succeeds(&["bundle", "inspect", &bundle]);
    assert!(table.contains("policy, task 7, version 4") && table.contains("1 frame"), "{table}");

    assert!(desk.verifies(&bundle, &["--class", "1", "--installed", "3"]).contains("edge key"));
    assert!(desk.refuses(&bundle, &["--class", "2"]).contains("device class"));
    assert!(desk.refuses(&bundle, &["--installed", "4"]).contains("not newer"));
    succeeds(&["bundle", "sign", &bundle, "--key", &desk.at("operator"), "--out", &desk.at("by-root")]);
    assert!(desk.verifies(&desk.at("by-root"), &[]).contains("root key"));
}

#[test]
fn an_unsigned_bundle_is_signed_later() {
    let desk = Desk::new("unsigned");
    let content = desk.write("image", &noise(500, 2));
    let bundle = format!("{content}.bundle");
    let build = ["bundle", "build", &content, "--kind", "firmware", "--class", "1,3", "--version", "9"];
    let said =
        succeeds(&[&build[..], &["--floor", "8", "--needs", "firmware=7", "--needs", "model/7=2"]].concat());
    assert!(said.contains("nobody yet") && said.contains("bundle sign"), "{said}");
    assert!(desk.refuses(&bundle, &[]).contains("bundle sign"));
    // An edge key does not sign firmware, whatever anybody says.
    let refused = fails(&["bundle", "sign", &bundle, "--key", &desk.at("hut")]);
    assert!(refused.contains("no device takes firmware of it"), "{refused}");
    succeeds(&["bundle", "sign", &bundle, "--key", &desk.at("operator")]);
    desk.verifies(&bundle, &["--class", "3"]);
    let said = json(&["bundle", "inspect", &bundle, "--json"]);
    assert_eq!((&said["floor"], &said["needs"][1]["version"]), (&8.into(), &2.into()));
}

/// Parts of a record have 200 bytes (PROTOCOL.md), so the longest manifests of deltas are one frame too.
#[test]
fn frames_are_counted_as_they_are_sent() {
    let desk = Desk::new("frames");
    let old = desk.write("old", &noise(2000, 21));
    let mut content = noise(2000, 21);
    content[9] ^= 1;
    let new = desk.write("new", &content);
    let build = ["bundle", "build", &new, "--kind", "firmware", "--class", "1", "--version", "9"];
    succeeds(&[&build[..], &["--floor", "8", "--needs", "firmware=7", "--needs", "model/7=2"]].concat());
    succeeds(&["bundle", "diff", &old, &format!("{new}.bundle")]);
    let said = json(&["bundle", "inspect", &desk.at("new.delta.bundle"), "--json"]);
    assert_eq!((&said["packed_bytes"], &said["manifest_frames"]), (&196.into(), &1.into()));
}

#[test]
fn what_no_device_would_take_is_not_signed() {
    let desk = Desk::new("senseless");
    let content = desk.write("content", &noise(300, 11));
    let build = |more: &[&str]| {
        let common = ["bundle", "build", &content, "--version", "1"];
        fails(&[&common[..], more].concat())
    };
    let hut = desk.at("hut");
    let foreign = build(&["--kind", "policy", "--class", "1,3", "--key", &hut]);
    assert!(foreign.contains("device classes, only for 1"), "{foreign}");
    let logic = build(&["--kind", "logic", "--class", "1", "--key", &hut]);
    assert!(logic.contains("sign with the root key"), "{logic}");
    let flash = build(&["--kind", "policy", "--class", "1", "--flash", "1"]);
    assert!(flash.contains("300 bytes"), "{flash}");
    let task = build(&["--kind", "firmware", "--class", "1", "--task", "7"]);
    assert!(task.contains("leave --task out"), "{task}");
    assert!(!desk.0.join("content.bundle").exists(), "nothing is written");
    // A key whose delegation is elsewhere may sign, and is told what that takes.
    std::fs::remove_file(desk.0.join("hut.delegation")).unwrap();
    let policy =
        ["bundle", "build", &content, "--version", "1", "--kind", "policy", "--class", "3", "--key", &hut];
    let output = common::compotastic(&policy);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && note.contains("hut.delegation"), "{note}");
}

#[test]
fn a_delta_does_not_lose_the_base() {
    let desk = Desk::new("bases");
    let old = noise(3000, 12);
    let mut new = old.clone();
    new[100..120].fill(9);
    let model = |name: &str, content: &[u8], version: &str, base: Option<&str>| {
        let content = desk.write(name, content);
        let mut build = vec!["bundle", "build", &content, "--kind", "model", "--task", "7", "--class", "1"];
        build.extend(["--version", version]);
        build.extend(base.into_iter().flat_map(|base| ["--base", base]));
        succeeds(&build);
        format!("{content}.bundle")
    };
    let (one, two) = ("1111111111111111", "2222222222222222");
    let m1 = model("m1", &old, "1", Some(one));
    let m2 = model("m2", &new, "2", Some(two));
    let refused = fails(&["bundle", "diff", &m1, &m2]);
    assert!(refused.contains(one) && refused.contains(two) && refused.contains("as it is"), "{refused}");
    let bare = fails(&["bundle", "diff", &desk.at("m1"), &m2]);
    assert!(bare.contains("does not say"), "{bare}");
    assert!(!desk.0.join("m2.delta.bundle").exists(), "nothing is written");
    let same = model("m3", &new, "3", Some(one));
    succeeds(&["bundle", "diff", &m1, &same]);
    let none = model("m4", &new, "4", None);
    succeeds(&["bundle", "diff", &m1, &none]);
    assert!(desk.0.join("m4.delta.bundle").exists());
}

#[test]
fn a_delta_makes_the_new_image_and_nothing_else() {
    let desk = Desk::new("delta");
    let old = noise(6000, 3);
    let mut new = old.clone();
    new[1000..1020].fill(7);
    new.splice(4000..4000, noise(50, 4));
    let old_bundle = desk.policy("old", &old, "1", "operator");
    let new_bundle = desk.policy("new", &new, "2", "operator");
    let delta = desk.at("delta.bundle");
    let said = succeeds(&[
        "bundle",
        "diff",
        &old_bundle,
        &new_bundle,
        "--key",
        &desk.at("operator"),
        "--out",
        &delta,
    ]);
    assert!(said.contains("smallest") && said.contains("replaces"), "{said}");
    let fields = json(&["bundle", "inspect", &delta, "--json"]);
    assert!(fields["content"]["bytes"].as_u64().unwrap() < 1000, "{fields}");
    assert_eq!((&fields["image"]["bytes"], &fields["packed_bytes"]), (&new.len().into(), &180.into()));
    desk.verifies(&delta, &["--installed", "1"]);

    let apply = |old: &str, bundle: &str, more: &[&str]| {
        let mut arguments: Vec<String> =
            ["bundle", "apply", old, bundle, "--out"].map(str::to_string).to_vec();
        arguments.push(desk.at("made"));
        arguments.extend(more.iter().map(|more| more.to_string()));
        arguments
    };
    let call = |arguments: &[String]| arguments.iter().map(String::clone).collect::<Vec<_>>();
    let trust = desk.at("trust");
    for arguments in [
        apply(&desk.at("old"), &delta, &["--trust", &trust]),
        apply(&old_bundle, &new_bundle, &["--unsigned"]),
    ] {
        let arguments = call(&arguments);
        succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(desk.read("made"), new);
        std::fs::remove_file(desk.at("made")).unwrap();
    }
    let refused = |arguments: Vec<String>| {
        let said = fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!desk.0.join("made").exists(), "nothing is written");
        said
    };
    assert!(refused(apply(&new_bundle, &delta, &["--unsigned"])).contains("another delta"));
    assert!(refused(apply(&old_bundle, &delta, &["--trust", &desk.at("nobody")])).contains("key trust"));
    let mut altered = desk.read("delta.bundle");
    let middle = altered.len() - 40;
    altered[middle] ^= 1;
    let altered = desk.write("altered.bundle", &altered);
    assert!(refused(apply(&old_bundle, &altered, &["--unsigned"])).contains("not what the manifest says"));
    let same = fails(&["bundle", "diff", &old_bundle, &old_bundle, "--key", &desk.at("operator")]);
    assert!(same.contains("same image"), "{same}");
    let whole = desk.policy("other", &noise(300, 9), "3", "operator");
    assert!(fails(&["bundle", "diff", &old_bundle, &whole]).contains("as it is"));
    assert!(fails(&["bundle", "diff", &old_bundle, &desk.at("new")]).contains("bundle build"));
}

#[test]
fn revocation_and_rotation() {
    let desk = Desk::new("rotation");
    let bundle = desk.policy("table", &noise(100, 5), "1", "hut");
    desk.verifies(&bundle, &[]);
    let operator = desk.at("operator");
    succeeds(&["key", "revoke", &desk.at("hut.pub"), "--by", &operator, "--epoch", "2"]);
    let said = succeeds(&["key", "trust", &desk.at("hut.revocation"), "--trust", &desk.at("trust")]);
    assert!(said.contains("void"), "{said}");
    assert!(desk.refuses(&bundle, &[]).contains("newer epoch"), "its old delegation does not come back");
    succeeds(&["key", "delegate", &desk.at("hut.pub"), "--by", &operator, "--class", "1", "--epoch", "2"]);
    succeeds(&["bundle", "sign", &bundle, "--key", &desk.at("hut")]);
    desk.verifies(&bundle, &[]);

    succeeds(&["key", "new", &desk.at("next")]);
    succeeds(&["key", "rotate", &desk.at("next.pub"), "--by", &operator]);
    succeeds(&["key", "trust", &desk.at("next.rotation"), "--trust", &desk.at("trust")]);
    let listed = json(&["key", "trust", "--trust", &desk.at("trust"), "--json"]);
    assert_eq!(
        listed["roots"][0]["key_id"],
        json(&["key", "show", &desk.at("next.pub"), "--json"])["key_id"]
    );
    assert!(desk.refuses(&bundle, &[]).contains("not signed by a root key"));
    succeeds(&[
        "key",
        "delegate",
        &desk.at("hut.pub"),
        "--by",
        &desk.at("next"),
        "--class",
        "1",
        "--epoch",
        "3",
    ]);
    succeeds(&["bundle", "sign", &bundle, "--key", &desk.at("hut")]);
    desk.verifies(&bundle, &[]);
    assert!(
        fails(&["key", "trust", &desk.at("next.rotation"), "--trust", &desk.at("trust")])
            .contains("not signed by a root key")
    );
}

#[test]
fn bad_input_says_what_to_do() {
    let desk = Desk::new("bad");
    let content = desk.write("content", &noise(100, 6));
    let build = |more: &[&str]| fails(&[&["bundle", "build", &content, "--class", "1"], more].concat());
    assert!(build(&[]).contains("--kind"));
    assert!(build(&["--kind", "policy"]).contains("--version"));
    assert!(build(&["--kind", "policy", "--version", "3", "--floor", "4"]).contains("floor"));
    assert!(build(&["--kind", "policy", "--version", "3", "--needs", "cake=1"]).contains("model/3=2"));
    assert!(build(&["--kind", "policy", "--version", "3", "--piece-size", "20"]).contains("multiple of 16"));
    assert!(build(&["--kind", "policy", "--version", "3", "--base", "xyz"]).contains("16 hexadecimal"));
    assert!(
        build(&["--kind", "policy", "--version", "3", "--key", &desk.at("hut.pub")]).contains("without .pub")
    );
    assert!(build(&["--kind", "policy", "--version", "3", "--key", &content]).contains("key new"));
    let empty = desk.write("empty", b"");
    assert!(
        fails(&["bundle", "build", &empty, "--class", "1", "--kind", "policy", "--version", "1"])
            .contains("nothing")
    );
    assert!(fails(&["bundle", "inspect", &content]).contains("bundle build"));
    assert!(fails(&["bundle", "inspect", "no/such/file"]).contains("no/such/file"));
    assert!(fails(&["bundle", "verify", &content, "--trust", &desk.at("trust")]).contains("bundle build"));
    assert!(fails(&["key", "new", &desk.at("operator")]).contains("never overwritten"));
    assert!(
        fails(&["key", "trust", &desk.at("hut.pub"), "--trust", &desk.at("trust")]).contains("key delegate")
    );
    let by_edge =
        ["key", "delegate", &desk.at("hut.pub"), "--by", &desk.at("hut"), "--class", "1"].map(str::to_string);
    assert!(fails(&by_edge.iter().map(String::as_str).collect::<Vec<_>>()).contains("only a root key"));
    let firmware = [
        "key",
        "delegate",
        &desk.at("hut.pub"),
        "--by",
        &desk.at("operator"),
        "--class",
        "1",
        "--kind",
        "firmware",
    ]
    .map(str::to_string);
    assert!(
        fails(&firmware.iter().map(String::as_str).collect::<Vec<_>>()).contains("models and policies only")
    );
    let garbage = file("garbage.trust", "root 1234\n");
    assert!(fails(&["key", "trust", "--trust", &garbage]).contains("line 1"));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new("readable");
    let key = desk.0.join("operator");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let content = desk.write("content", &noise(100, 7));
    let said = fails(&[
        "bundle",
        "build",
        &content,
        "--kind",
        "policy",
        "--class",
        "1",
        "--version",
        "1",
        "--key",
        &desk.at("operator"),
    ]);
    assert!(said.contains("chmod 600"), "{said}");
}

/// Every byte of a bundle file, one at a time: none passes.
#[test]
fn an_altered_file_is_never_believed() {
    let desk = Desk::new("altered");
    let bundle = desk.policy("table", &noise(40, 8), "1", "hut");
    let bytes = std::fs::read(&bundle).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x20;
        desk.refuses(&desk.write("altered.bundle", &altered), &[]);
    }
}
