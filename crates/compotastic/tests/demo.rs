//! The demo end to end: its JSON, the same events for the same seed, recordings, the page, an edge node that leaves.

mod common;

use std::collections::BTreeSet;

use common::{compotastic, file, five, json, scratch, succeeds};
use serde_json::Value;

const SCHEMA: &str = include_str!("../schema/demo.schema.json");

#[test]
fn the_swarm_learns_and_the_figures_add_up() {
    let demo = || json(&["demo", "--json", "--nodes", "8", "--loss", "0.1"]);
    let (run, again) = std::thread::scope(|scope| {
        let again = scope.spawn(demo);
        (demo(), again.join().unwrap())
    });
    // What is learnt is the same each time, to the bit, and so are all events.
    assert_eq!(run["event_log_sha256"], again["event_log_sha256"]);
    assert_eq!(run["model"], again["model"]);
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &run) {
        panic!("{error}");
    }
    let number = |path: &str| run.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}"));
    assert_eq!(number("/update/nodes_updated"), 8.0);
    assert_eq!(number("/jobs/failed"), 0.0);
    assert_eq!(
        number("/jobs/submitted"),
        number("/jobs/answered_local") + number("/jobs/answered_remote") + number("/jobs/open_at_end")
    );
    assert!(number("/jobs/answered_local") > 0.0);
    assert_eq!(number("/airtime/originations_over_gate"), 0.0);
    assert!(number("/airtime/max_duty_cycle_pct") <= 10.0);
    assert!(number("/nodes/max_hops") >= 2.0);
    assert!(number("/update/bundle_bytes") <= 4608.0);
    assert!(number("/update/on_air_bytes") > number("/update/bundle_bytes"));
    let kinds: f64 =
        run["airtime"]["by_kind_s"].as_array().unwrap().iter().map(|kind| kind[1].as_f64().unwrap()).sum();
    assert!((kinds - number("/airtime/total_s")).abs() < 1e-3, "{kinds}");
}

/// The fields that others build on: a field may be added, none may go.
#[test]
fn the_schema_keeps_its_fields() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let fields = |path: &str| -> BTreeSet<String> {
        schema.pointer(path).unwrap()["required"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field.as_str().unwrap().to_string())
            .collect()
    };
    let promised = [
        (
            "",
            "scenario seed preset region nodes simulated_s wall_s event_log_sha256 inputs_sha256 jobs model update airtime",
        ),
        ("/properties/nodes", "field edge max_hops"),
        ("/properties/jobs", "submitted answered_local answered_remote failed latency_p50_s latency_p95_s"),
        (
            "/properties/model",
            "teacher teacher_accuracy student_accuracy system_accuracy teacher_urgent_recall system_urgent_recall student_bytes",
        ),
        (
            "/properties/update",
            "bundle_bytes on_air_bytes transmissions airtime_s nodes_updated nodes_total complete_after_s",
        ),
        (
            "/properties/airtime",
            "total_s per_job_before_ms per_job_after_ms originations_over_gate max_channel_utilization_pct max_duty_cycle_pct",
        ),
    ];
    for (path, names) in promised {
        let required = fields(path);
        for name in names.split(' ') {
            assert!(required.contains(name), "{path}/{name}");
        }
    }
}

#[test]
fn same_seed_same_events_and_a_recording_replays() {
    let task = five("replay");
    let options =
        |seed| ["--nodes", "6", "--hours", "3", "--task", &task, "--urgent", "pump", "--seed", seed];
    let hash = |extra: &[&str]| {
        json(&[&["demo", "--json"][..], &options("5"), extra].concat())["event_log_sha256"]
            .as_str()
            .unwrap()
            .to_string()
    };
    let recording = scratch("run.rec").to_string_lossy().into_owned();
    let first = hash(&["--record", &recording]);
    assert_eq!(first, hash(&[]));
    let other: Value = json(&[&["demo", "--json"][..], &options("6")].concat());
    assert_ne!(first, other["event_log_sha256"].as_str().unwrap());
    let replayed = json(&["demo", "--json", "--replay", &recording]);
    assert_eq!(first, replayed["event_log_sha256"].as_str().unwrap());
    // A recording whose inputs were changed is refused.
    let mut bytes = std::fs::read(&recording).unwrap();
    let name = bytes.windows(9).position(|part| part == b"\"answers\"").unwrap();
    // A letter of the first text that was answered, and a byte of the events.
    for at in [name + 14, bytes.len() / 2] {
        bytes[at] ^= 1;
        let changed = file("changed.rec", &bytes);
        assert!(!compotastic(&["demo", "--replay", &changed]).status.success());
        bytes[at] ^= 1;
    }
}

#[test]
fn the_page_stands_alone() {
    let page = scratch("run.html").to_string_lossy().into_owned();
    // Texts that were not learnt from, by which models are compared.
    let held_out = "the pump runs dry,pump,test\nthe door is jammed,door,test\nthe lamp is out,light,test\n";
    let task = file("page.csv", std::fs::read_to_string(five("page")).unwrap() + held_out);
    let summary = succeeds(&["demo", "--nodes", "6", "--hours", "4", "--task", &task, "--html", &page]);
    for part in ["Jobs", "Air time", "Models", "Hops"] {
        assert!(summary.contains(part), "{part}");
    }
    assert!(summary.starts_with("Compotastic demo"));
    assert!(summary.contains("compotastic model pull") && summary.contains("91 MB"));
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && !html.contains("src=\"http") && !html.contains("href=\"http"));
}

#[test]
fn without_an_edge_node_each_job_ends_with_a_reason() {
    let task = five("no-edge");
    let run = json(&["demo", "--json", "--nodes", "4", "--hours", "1", "--edges", "0", "--task", &task]);
    let jobs = &run["jobs"];
    assert!(jobs["submitted"].as_u64().unwrap() > 0);
    assert_eq!(jobs["failed"], jobs["submitted"]);
    assert_eq!(jobs["open_at_end"], 0);
    let summary = succeeds(&["demo", "--nodes", "4", "--hours", "1", "--edges", "0", "--task", &task]);
    assert!(summary.contains("no edge node"), "{summary}");
}

#[test]
fn a_second_edge_node_takes_over() {
    let task = five("edges");
    let base = ["demo", "--json", "--nodes", "6", "--hours", "2", "--edge-leaves", "0.5", "--task", &task];
    let two = json(&[&base[..], &["--edges", "2"]].concat());
    assert_eq!(two["jobs"]["failed"], 0, "{}", two["jobs"]);
    let one = json(&base);
    let jobs = &one["jobs"];
    let ended = ["answered_local", "answered_remote", "failed"];
    let sum: u64 = ended.iter().map(|field| jobs[field].as_u64().unwrap()).sum();
    assert_eq!(sum, jobs["submitted"].as_u64().unwrap(), "each job ends: {jobs}");
    assert!(jobs["failed"].as_u64().unwrap() > 0);
}

#[test]
fn a_task_of_five_examples_per_class() {
    let path = five("task");
    let run = json(&["demo", "--json", "--nodes", "6", "--hours", "3", "--task", &path, "--urgent", "pump"]);
    assert_eq!(run["jobs"]["failed"], 0);
    let said = succeeds(&["try", "--task", &path, "the pump is leaking"]);
    assert!(said.contains("teacher") && said.contains("student") && said.contains("pump"), "{said}");
    let reports = file("own.txt", "oil everywhere\nthe lamp is broken\n");
    let run =
        json(&["demo", "--json", "--nodes", "4", "--hours", "2", "--task", &path, "--reports", &reports]);
    assert_eq!(run["jobs"]["failed"], 0);
}
