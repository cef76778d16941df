//! Recordings and plots of the simulator, as a user meets them.

mod common;

use common::{compotastic, fails, file, five, json, scratch, succeeds};

const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");

fn path(name: &str) -> String {
    scratch(name).to_string_lossy().into_owned()
}

#[test]
fn a_replay_says_and_draws_what_the_run_did() {
    let (recording, of_run, of_replay) = (path("huts.rec"), path("plots-run"), path("plots-replay"));
    let run =
        json(&["sim", "run", SCENARIO, "--seed", "3", "--json", "--record", &recording, "--plots", &of_run]);
    let replayed = json(&["sim", "replay", &recording, "--json", "--plots", &of_replay]);
    assert_eq!(run, replayed);
    assert_eq!(run, json(&["sim", "run", SCENARIO, "--seed", "3", "--json"]));
    for name in ["map.svg", "airtime.svg", "delivery.svg", "report.html"] {
        let [a, b] = [&of_run, &of_replay].map(|folder| std::fs::read(format!("{folder}/{name}")).unwrap());
        assert!(!a.is_empty() && a == b, "{name}");
    }
    assert!(!scratch("plots-run/spread.svg").exists());
    let said = succeeds(&["sim", "replay", &recording, "--verify"]);
    assert!(said.contains("two huts") && said.contains("verified"), "{said}");
    let said = succeeds(&["sim", "run", SCENARIO, "--record", &path("again.rec"), "--plots", &of_run]);
    assert!(said.contains("sim replay") && said.contains("no spread.svg"), "{said}");
}

#[test]
fn a_damaged_recording_gets_an_error_that_says_what_to_do() {
    let recording = path("damaged.rec");
    succeeds(&["sim", "run", SCENARIO, "--record", &recording]);
    let whole = std::fs::read(&recording).unwrap();
    let cut = file("cut.rec", &whole[..whole.len() - 100]);
    let error = fails(&["sim", "replay", &cut]);
    assert!(error.contains("cut off after") && error.contains("record again"), "{error}");
    let mut altered = whole.clone();
    let at = whole.len() * 3 / 4;
    altered[at] ^= 4;
    let altered = file("altered.rec", &altered);
    assert!(fails(&["sim", "replay", &altered]).contains("record again"));
    let error = fails(&["sim", "replay", &altered, "--verify"]);
    assert!(error.contains("event "), "{error}");
    assert!(fails(&["sim", "replay", SCENARIO]).contains("--record"));
    assert!(fails(&["sim", "replay", "no/such.rec"]).contains("no/such.rec"));
    assert!(fails(&["demo", "--replay", &recording]).contains("sim replay"));
    assert!(
        fails(&["sim", "run", SCENARIO, "--record", "no/such/folder.rec"]).contains("no/such/folder.rec")
    );
}

#[test]
fn a_recording_of_the_demo_is_one_too() {
    let recording = path("demo.rec");
    let task = five("recorded");
    let demo = ["demo", "--json", "--nodes", "6", "--hours", "4", "--seed", "2", "--task", &task];
    let run = json(&[&demo[..], &["--record", &recording]].concat());
    let folder = path("plots-demo");
    let replayed = json(&["sim", "replay", &recording, "--json", "--plots", &folder]);
    assert_eq!(run["event_log_sha256"], replayed["event_log_sha256"]);
    for field in ["submitted", "answered_local", "answered_remote", "failed"] {
        assert_eq!(run["jobs"][field], replayed["jobs"][field], "{field}");
    }
    assert_eq!(run["airtime"]["total_s"], replayed["airtime_s"]);
    for field in ["max_channel_utilization_pct", "max_duty_cycle_pct", "originations_over_gate"] {
        assert_eq!(run["airtime"][field], replayed[field], "{field}");
    }
    // The edge node has the object besides.
    let updated = run["update"]["nodes_updated"].as_u64().unwrap();
    assert_eq!(replayed["objects"][0]["nodes"].as_u64(), Some(updated + 1));
    assert!(scratch("plots-demo/spread.svg").exists());
    assert!(compotastic(&["sim", "replay", &recording, "--verify"]).status.success());
}
