//! The systemd unit is one that systemd takes, and keeps to itself.

use std::{
    fs,
    process::{Command, Stdio},
};

const UNIT: &str = include_str!("../../../packaging/compotastic.service");

#[test]
fn systemd_takes_the_unit() {
    let found =
        Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no systemd-analyze");
        return;
    }
    let folder = std::env::temp_dir().join(format!("compotastic-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("compotastic.service");
    // The program need not be installed here.
    fs::write(&file, UNIT.replace("/usr/bin/compotastic", "/bin/true")).unwrap();
    let out = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && !text.contains("compotastic.service:"), "{text}");
    let out = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(out.status.success(), "exposed more than 2.0: {}", String::from_utf8_lossy(&out.stdout));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn it_has_a_state_folder_of_its_own_and_serial_ports() {
    for line in
        ["DynamicUser=yes", "StateDirectory=compotastic", "SupplementaryGroups=dialout", "Type=notify"]
    {
        assert!(UNIT.lines().any(|other| other == line), "{line}");
    }
}
