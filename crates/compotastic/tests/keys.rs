//! Epochs of delegations, revocations and rotations count up by themselves, and what a record does not do is said.

mod common;

use common::{Folder, fails, json, succeeds};

struct Desk(Folder);

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

impl Desk {
    /// With a root key that is believed, and an edge key of this name that it delegated to.
    fn new(name: &str, edge: &str) -> Self {
        let desk = Self(Folder::new(name));
        succeeds(&["key", "new", &desk.0.at("operator")]);
        succeeds(&["key", "new", "--role", "edge", &desk.0.at(edge)]);
        succeeds(&["key", "trust", &desk.0.at("operator.pub"), "--trust", &desk.0.at("trust")]);
        desk.signs("delegate", &format!("{edge}.pub"), &["--class", "1"]);
        desk
    }

    fn call(&self, words: &[&str], more: &[&str]) -> Vec<String> {
        let trust = self.0.at("trust");
        words.iter().chain(more).map(|word| word.to_string()).chain(["--trust".to_string(), trust]).collect()
    }

    fn signs_by(&self, what: &str, key: &str, by: &str, more: &[&str]) -> String {
        succeeds(&words(&self.call(&["key", what, &self.0.at(key), "--by", &self.0.at(by)], more)))
    }

    fn signs(&self, what: &str, key: &str, more: &[&str]) -> String {
        self.signs_by(what, key, "operator", more)
    }

    fn trusts(&self, record: &str) -> String {
        succeeds(&words(&self.call(&["key", "trust", &self.0.at(record)], &[])))
    }

    fn mistrusts(&self, record: &str) -> String {
        fails(&words(&self.call(&["key", "trust", &self.0.at(record)], &[])))
    }

    /// A policy's bundle, signed by an edge key.
    fn bundle(&self, key: &str) -> String {
        let (content, key) = (self.0.write("table", [7; 100]), self.0.at(key));
        let build = ["bundle", "build", &content, "--kind", "policy", "--class", "1", "--version", "1"];
        succeeds(&[&build[..], &["--key", &key]].concat());
        format!("{content}.bundle")
    }

    fn verify(&self, bundle: &str) -> Vec<String> {
        self.call(&["bundle", "verify", bundle], &[])
    }
}

#[test]
fn a_revocation_voids_what_was_delegated() {
    let desk = Desk::new("revoked", "hut");
    let bundle = desk.bundle("hut");
    succeeds(&words(&desk.verify(&bundle)));
    // Below its own epoch nothing is void, and that is said at both ends.
    let said = desk.signs("revoke", "hut.pub", &["--epoch", "1"]);
    assert!(said.contains("voids no delegation") && said.contains("--epoch 2"), "{said}");
    desk.trusts("hut.delegation");
    let said = desk.trusts("hut.revocation");
    assert!(said.contains("none that was believed here; still believed: that of"), "{said}");
    succeeds(&words(&desk.verify(&bundle)));
    // By default it is one above.
    let said = desk.signs("revoke", "hut.pub", &[]);
    assert!(said.contains("below epoch 2") && said.contains("voids the delegation of epoch 1"), "{said}");
    let said = desk.trusts("hut.revocation");
    assert!(said.contains("below epoch 2 are void now: that of") && said.contains("of epoch 1"), "{said}");
    assert!(fails(&words(&desk.verify(&bundle))).contains("newer epoch"));
    // And delegating again counts up past it.
    let said = desk.signs("delegate", "hut.pub", &["--class", "1"]);
    assert!(said.contains("epoch 2"), "{said}");
    desk.bundle("hut");
    succeeds(&words(&desk.verify(&bundle)));
    let all = desk.0.at("all.revocation");
    let (by, trust) = (desk.0.at("operator"), desk.0.at("trust"));
    desk.trusts("hut.delegation");
    let said = json(&["key", "revoke", "all", "--by", &by, "--trust", &trust, "--out", &all, "--json"]);
    assert_eq!((&said["epoch"], &said["voids"]), (&3.into(), &serde_json::json!([2])));
}

#[test]
fn who_is_not_known_needs_an_epoch() {
    let desk = Desk::new("unknown", "hut");
    let by = desk.0.at("operator");
    let (trust, out) = (desk.0.at("elsewhere"), desk.0.at("x.revocation"));
    let revoke = ["key", "revoke", "0011223344556677", "--by", &by, "--trust", &trust, "--out", &out];
    let said = fails(&revoke);
    assert!(said.contains("--epoch N") && !desk.0.0.join("x.revocation").exists(), "{said}");
    succeeds(&[&revoke[..], &["--epoch", "2"]].concat());
}

#[test]
fn rotations_count_up() {
    let desk = Desk::new("rotated", "hut");
    for name in ["second", "third", "fourth"] {
        succeeds(&["key", "new", &desk.0.at(name)]);
    }
    assert!(desk.signs("rotate", "second.pub", &[]).contains("epoch 1"));
    desk.trusts("second.rotation");
    assert!(desk.signs_by("rotate", "third.pub", "second", &[]).contains("epoch 2"));
    desk.trusts("third.rotation");
    // Where nobody could know, the refusal says which epoch would do.
    desk.signs_by("rotate", "fourth.pub", "third", &["--epoch", "1"]);
    let said = desk.mistrusts("fourth.rotation");
    assert!(said.contains("newer epoch") && said.contains("--epoch 3"), "{said}");
    desk.signs_by("rotate", "fourth.pub", "third", &[]);
    desk.trusts("fourth.rotation");
}

#[test]
fn a_dot_in_a_name_is_no_ending() {
    let desk = Desk::new("dots", "hut.v1");
    assert!(desk.0.0.join("hut.v1.delegation").exists());
    let bundle = desk.bundle("hut.v1");
    succeeds(&words(&desk.verify(&bundle)));
    desk.signs("revoke", "hut.v1.pub", &[]);
    assert!(desk.0.0.join("hut.v1.revocation").exists());
}

#[test]
fn neither_half_of_a_key_is_overwritten() {
    let desk = Desk::new("halves", "hut");
    let public = desk.0.read("hut.pub");
    std::fs::remove_file(desk.0.0.join("hut")).unwrap();
    assert!(fails(&["key", "new", &desk.0.at("hut")]).contains("never overwritten"));
    assert_eq!(desk.0.read("hut.pub"), public);
    assert!(!desk.0.0.join("hut").exists(), "and no half is left");
}
