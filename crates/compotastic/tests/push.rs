//! Bundles are pushed through a simulated mesh on the command line, and planned before.

mod common;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
};

use common::{fails, scratch, succeeds};
use compotastic_daemon::seam::{NodeView, Snapshot};
use serde_json::Value;

struct Desk(PathBuf);

impl Desk {
    /// With a root key, a trust file, bundles for class 1 and for class 2, and a mesh of four nodes.
    fn new(name: &str) -> Self {
        let path = scratch("push").join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        let desk = Self(path);
        succeeds(&["key", "new", &desk.at("operator")]);
        succeeds(&["key", "trust", &desk.at("operator.pub"), "--trust", &desk.at("trust")]);
        desk.bundle("v2", "2", "1", 7);
        desk.bundle("rc", "1", "2", 8);
        for (name, canary) in [("mesh.toml", 1), ("staged.toml", 2)] {
            let mut text = "name = \"line\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\n[radio]\nexponent = 3.4\nshadowing_db = 0.0\nfading_db = 0.0\n".to_string();
            for (index, node) in ["post", "a", "b", "c"].iter().enumerate() {
                let kind = if index == 0 { "edge" } else { "field" };
                let class = if index < 2 { canary } else { 1 };
                let x_m = index * 2000;
                text += &format!(
                    "[[node]]\nname = \"{node}\"\nkind = \"{kind}\"\nclass = {class}\nx_m = {x_m}.0\ny_m = 0.0\n"
                );
            }
            std::fs::write(desk.0.join(name), text).unwrap();
        }
        desk
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn bundle(&self, name: &str, version: &str, class: &str, factor: usize) {
        let content: Vec<u8> = (0..3000).map(|at: usize| ((at * at * factor) >> 3) as u8).collect();
        let (file, out) = (self.at(name), self.at(&format!("{name}.bundle")));
        std::fs::write(&file, content).unwrap();
        let mut arguments =
            vec!["bundle", "build", &file, "--kind", "firmware", "--version", version, "--piece-size", "208"];
        let key = self.at("operator");
        arguments.extend(["--class", class, "--key", &key, "--out", &out]);
        if class == "1" {
            // The edge node is a canary too.
            arguments.extend(["--class", "2"]);
        }
        succeeds(&arguments);
    }

    fn push(&self, more: &[&str]) -> Vec<String> {
        let (file, trust) = (self.at("v2.bundle"), self.at("trust"));
        let mut arguments = vec!["push", &file, "--trust", &trust];
        arguments.extend(more);
        arguments.into_iter().map(str::to_string).collect()
    }

    /// The lines of JSON that a push prints: events, and last the outcome.
    fn pushes(&self, scenario: &str, more: &[&str]) -> Vec<Value> {
        let scenario = self.at(scenario);
        let mut arguments = self.push(&["--to", "class:1", "--scenario", &scenario, "--json"]);
        arguments.extend(more.iter().map(|argument| (*argument).to_string()));
        let printed = succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refuses(&self, more: &[&str]) -> String {
        fails(&self.push(more).iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[test]
fn everybody_gets_it_and_is_shown() {
    let desk = Desk::new("all");
    let lines = desk.pushes("mesh.toml", &[]);
    let last = lines.last().unwrap();
    assert_eq!((&last["end"], &last["done"], &last["targets"]), (&"complete".into(), &4.into(), &4.into()));
    assert_eq!(lines[0]["event"], "published");
    assert!(lines[..lines.len() - 1].iter().all(|line| line["nodes"].as_array().unwrap().len() == 4));
    assert!(last["rows"].as_array().unwrap().iter().all(|row| row["version"] == 2 && row["percent"] == 100));
    let shown = succeeds(
        &desk
            .push(&["--to", "node:a", "--scenario", &desk.at("mesh.toml")])
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    assert!(shown.contains("!0f000002") && shown.contains("complete: 1 of 1 nodes"), "{shown}");
}

#[test]
fn a_delta_of_firmware_runs_on_all_nodes_whoever_loses_power() {
    let desk = Desk::new("delta");
    // What the nodes run, and what shall replace it.
    let (old, new) = (desk.at("rc"), desk.at("v2"));
    let mut bytes = std::fs::read(&old).unwrap();
    bytes.splice(700..720, *b"some thirty bytes that are new");
    std::fs::write(&new, bytes).unwrap();
    let key = desk.at("operator");
    for (file, version) in [(&old, "1"), (&new, "2")] {
        let out = format!("{file}.bundle");
        let build = ["bundle", "build", file, "--kind", "firmware", "--version", version, "--class", "1"];
        succeeds(&[&build[..], &["--key", &key, "--out", &out]].concat());
    }
    let (to, delta) = (format!("{new}.bundle"), desk.at("delta.bundle"));
    succeeds(&["bundle", "diff", &old, &to, "--key", &key, "--out", &delta]);
    let (mesh, trust, running) = (desk.at("mesh.toml"), desk.at("trust"), format!("{old}.bundle"));
    let push = ["push", &delta, "--to", "class:1", "--scenario", &mesh, "--trust", &trust];
    assert!(fails(&push).contains("--running OLD.bundle"));
    let cuts = ["--running", &running, "--cut", "a@0", "--cut", "!0f000003@12", "--json"];
    let printed = succeeds(&[&push[..], &cuts].concat());
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!((&last["end"], &last["done"]), (&"complete".into(), &4.into()));
    let rows = last["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["runs"] == 2 && row["version"] == 2), "{last:#}");
    assert!(rows.iter().any(|row| row["restarts"].as_u64() > Some(1)), "power failed: {last:#}");
    let shown = succeeds(&[&push[..], &["--running", &running]].concat());
    assert!(shown.contains("complete: 4 of 4 nodes") && shown.contains(", runs 0:"), "{shown}");
    let bad = [&push[..], &["--running", &running, "--cut", "nobody"]].concat();
    assert!(fails(&bad).contains("NODE@MIN"));
}

#[test]
fn it_is_held_back_goes_on_and_is_given_up() {
    let desk = Desk::new("held");
    let lines = desk.pushes("mesh.toml", &["--pause-at", "2", "--resume-at", "200"]);
    let last = lines.last().unwrap();
    assert_eq!(last["end"], "complete");
    assert!(last["rows"][1]["done_min"].as_f64() > Some(200.0), "{last}");
    let lines = desk.pushes("mesh.toml", &["--cancel-at", "2"]);
    let last = lines.last().unwrap();
    assert_eq!((&last["end"], &last["done"]), (&"cancelled".into(), &0.into()));
}

#[test]
fn canaries_go_first() {
    let desk = Desk::new("canary");
    let candidate = desk.at("rc.bundle");
    let lines = desk.pushes("staged.toml", &["--canary", &candidate, "--soak", "120"]);
    let events: Vec<&str> =
        lines.iter().filter_map(|line| line["event"].as_str()).filter(|event| *event != "progress").collect();
    assert_eq!(events, ["canary_published", "canary_passed", "published", "complete"]);
    let staged = desk.at("staged.toml");
    let halted =
        desk.refuses(&["--to", "class:1", "--scenario", &staged, "--canary", &candidate, "--soak", "1"]);
    assert!(halted.contains("canaries failed"), "{halted}");
}

#[test]
fn what_nobody_would_take_is_refused_before_anything_is_sent() {
    let desk = Desk::new("refused");
    let mesh = desk.at("mesh.toml");
    assert!(
        desk.refuses(&["--to", "everybody", "--scenario", &mesh]).contains("neither class:N nor node:ID")
    );
    assert!(desk.refuses(&["--to", "class:3", "--scenario", &mesh]).contains("nobody is meant"));
    assert!(desk.refuses(&["--to", "class:1", "--scenario", "nowhere.toml"]).contains("nowhere.toml"));
    let (file, empty) = (desk.at("v2.bundle"), desk.at("nobody"));
    let untrusted = fails(&["push", &file, "--to", "class:1", "--scenario", &mesh, "--trust", &empty]);
    assert!(untrusted.contains("not to be believed"), "{untrusted}");
    let unsigned = desk.at("unsigned.bundle");
    succeeds(&[
        "bundle",
        "build",
        &desk.at("v2"),
        "--kind",
        "firmware",
        "--version",
        "2",
        "--class",
        "1",
        "--out",
        &unsigned,
    ]);
    let unsigned =
        fails(&["push", &unsigned, "--to", "class:1", "--scenario", &mesh, "--trust", &desk.at("trust")]);
    assert!(unsigned.contains("nobody has signed it"), "{unsigned}");
    let bad = desk.refuses(&["--to", "class:1", "--scenario", &mesh, "--pause-at", "9", "--resume-at", "3"]);
    assert!(bad.contains("is not after"), "{bad}");
}

/// A daemon as far as `plan` asks it: what it knows of its mesh. Answers one request.
fn daemon(snapshot: Snapshot) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        assert!(request[..read].starts_with(b"GET /api/status "));
        let body = serde_json::to_string(&snapshot).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
    });
    format!("http://{address}")
}

#[test]
fn a_live_mesh_is_planned_for_and_what_was_assumed_is_said_and_kept() {
    let desk = Desk::new("live");
    let (file, kept) = (desk.at("v2.bundle"), desk.at("kept.toml"));
    let member = |num: u32, hops: u8, hears: &[&str]| NodeView {
        num,
        id: format!("!{num:08x}"),
        heard_s_ago: Some(60),
        hops_away: Some(hops),
        snr_db: (hops == 0).then_some(5.5),
        member: true,
        device_class: Some(1),
        neighbours: Some(hears.iter().map(|id| (*id).to_string()).collect()),
        ..NodeView::default()
    };
    let snapshot = Snapshot {
        num: 1,
        id: "!00000001".to_string(),
        mode: "hosted".to_string(),
        region: "EU_868".to_string(),
        preset: "LONG_FAST".to_string(),
        nodes: vec![member(2, 0, &["!00000001", "!00000003"]), member(3, 1, &["!00000002"])],
        ..Snapshot::default()
    };
    let told = succeeds(&["plan", &file, "--live", "--api", &daemon(snapshot.clone()), "--write", &kept]);
    for said in ["3/3", "Assumed:", "loss beside noise is 5 %", "1 of 2 links are not measured"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    // The scenario that it keeps gives the same plan.
    let plan = |words: &[&str]| -> Value {
        let printed = succeeds(&[&["plan", &file, "--json", "--runs", "4"], words].concat());
        serde_json::from_str(&printed).unwrap()
    };
    let live = plan(&["--live", "--api", &daemon(snapshot.clone())]);
    assert_eq!(plan(&["--scenario", &kept])["plan"], live["plan"]);
    assert!(live["assumed"].as_array().unwrap().len() >= 3, "{live}");
    let listens = daemon(Snapshot { mode: "listening".to_string(), ..snapshot });
    let refused = fails(&["plan", &file, "--live", "--api", &listens]);
    assert!(refused.contains("swarm join"), "{refused}");
    let neither = fails(&["plan", &file]);
    assert!(neither.contains("--scenario") && neither.contains("--live"), "{neither}");
}

#[test]
fn a_plan_says_what_it_costs_and_what_cannot_be() {
    let desk = Desk::new("plan");
    let (file, mesh, trust) = (desk.at("v2.bundle"), desk.at("mesh.toml"), desk.at("trust"));
    let plan = ["plan", &file, "--scenario", &mesh, "--check", "--trust", &trust, "--json"];
    let planned: Value = serde_json::from_str(&succeeds(&plan)).unwrap();
    let ways = planned["plan"]["ways"].as_array().unwrap();
    let names: Vec<&str> = ways.iter().map(|way| way["way"].as_str().unwrap()).collect();
    assert_eq!(names, ["mesh", "carrier", "both"]);
    assert!(ways.iter().all(|way| way["reaches"] == 4 && way["hours"].as_f64() > Some(0.0)));
    assert_eq!(planned["end"], "complete");
    for way in [&ways[0], &ways[2]] {
        assert_eq!((&way["basis"], &way["rehearsals"]), (&"rehearsal".into(), &way["complete"]));
        let (low, high) = (&way["range"]["hours"]["low"], &way["range"]["hours"]["high"]);
        assert!(low.as_f64() <= way["hours"].as_f64() && way["hours"].as_f64() <= high.as_f64(), "{way}");
    }
    assert_eq!((&ways[1]["basis"], &ways[1]["range"]), (&"formula".into(), &Value::Null));
    let quick: Value =
        serde_json::from_str(&succeeds(&["plan", &file, "--scenario", &mesh, "--quick", "--json"])).unwrap();
    assert_eq!(quick["plan"]["ways"][0]["basis"], "formula");
    let told = succeeds(&["plan", &file, "--scenario", &mesh, "--runs", "3"]);
    assert!(told.contains("rehearsed 3 times") && told.contains("eight of ten"), "{told}");
    for row in &planned["check"].as_array().unwrap()[..2] {
        let ratio = row["ratio"].as_f64().unwrap();
        assert!((0.5..2.0).contains(&ratio), "{row}");
    }
    let text = std::fs::read_to_string(&mesh).unwrap().replace("LONG_FAST", "LONG_SLOW");
    let slow = desk.at("slow.toml");
    std::fs::write(&slow, text).unwrap();
    let (large, bundle) = (desk.at("large"), desk.at("large.bundle"));
    std::fs::write(&large, vec![7; 60_000]).unwrap();
    let mut build = vec!["bundle", "build", &large, "--kind", "firmware", "--version", "2", "--class", "1,2"];
    build.extend(["--piece-size", "208", "--out", &bundle]);
    succeeds(&build);
    let refused = fails(&["plan", &bundle, "--scenario", &slow, "--within", "6"]);
    assert!(
        refused.contains("LONG_SLOW cannot carry 60000 bytes to 4 nodes within 6 h: it would take"),
        "{refused}"
    );
}

#[test]
fn help_says_what_a_push_and_a_plan_are() {
    let one_line = |words: &[&str]| succeeds(words).split_whitespace().collect::<Vec<_>>().join(" ");
    let push = one_line(&["push", "--help"]);
    for said in ["Pause and cancel happen at the publisher", "Canaries are a device class", "Examples:"] {
        assert!(push.contains(said), "{said}: {push}");
    }
    let plan = one_line(&["plan", "--help"]);
    for said in ["The push is rehearsed", "ends with status 1", "Examples:"] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    let all = one_line(&["--help"]);
    assert!(all.contains("Predicts what a push will cost") && all.contains("shows who has what"), "{all}");
}

#[test]
fn a_plan_for_nobody_and_flags_that_do_not_apply_are_refused() {
    let desk = Desk::new("plan-refused");
    let (file, mesh) = (desk.at("v2.bundle"), desk.at("mesh.toml"));
    let plan = |more: &[&str]| fails(&[&["plan", &file, "--scenario", &mesh, "--quick"], more].concat());
    let nobody = plan(&["--class", "5"]);
    assert!(nobody.contains("nobody is meant") && nobody.contains("post, class 1"), "{nobody}");
    let flags = [["--loss", "0.2"], ["--apart", "500"], ["--write", "mine.toml"], ["--api", "localhost:1"]];
    for flag in flags {
        let refused = plan(&flag);
        assert!(refused.contains(flag[0]), "{refused}");
    }
    for flag in ["--hours", "--warm-up", "--seed"] {
        let refused = fails(&["push", &file, "--to", "class:1", flag, "2"]);
        assert!(refused.contains("--scenario"), "{refused}");
    }
    let refused = plan(&["--within", "0.0001"]);
    let (_, takes) =
        refused.split_once("within 0.0001 h: it would take ").unwrap_or_else(|| panic!("{refused}"));
    assert!(!takes.starts_with("0.0 "), "{refused}");
}

#[test]
fn a_plan_says_that_it_goes_on() {
    let desk = Desk::new("plan-progress");
    let (file, mesh) = (desk.at("v2.bundle"), desk.at("mesh.toml"));
    let output = common::compotastic(&["plan", &file, "--scenario", &mesh, "--runs", "3", "--json"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("rehearsing: 0 of 3 at most"), "{told}");
    let quick = common::compotastic(&["plan", &file, "--scenario", &mesh, "--quick"]);
    assert_eq!(String::from_utf8_lossy(&quick.stderr), "");
}

#[test]
fn a_push_to_a_node_says_who_takes_it_too() {
    let desk = Desk::new("one-node");
    let (file, mesh, trust) = (desk.at("v2.bundle"), desk.at("mesh.toml"), desk.at("trust"));
    let told = succeeds(&["push", &file, "--to", "node:a", "--scenario", &mesh, "--trust", &trust]);
    assert!(
        told.contains("complete when a has it") && told.contains("of class 1 and 2 take it too"),
        "{told}"
    );
    assert!(told.contains("complete: 1 of 1 nodes"), "{told}");
}
