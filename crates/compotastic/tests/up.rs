//! The daemon as its users run it: started, asked, killed and started again; and told what cannot work.

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{fails, scratch, succeeds};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_compotastic");

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn new_folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    // Of an earlier run; there may be none.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A running daemon, killed when the test ends.
struct Daemon {
    child: Child,
    api: String,
}

impl Daemon {
    fn start(state: &PathBuf, port: u16) -> Self {
        Self::start_on(
            concat!("sim:", env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml"),
            state,
            port,
        )
    }

    fn start_on(radio: &str, state: &PathBuf, port: u16) -> Self {
        let child = Command::new(PROGRAM)
            .args(["up", "--radio", radio, "--teacher", "in-tree"])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--state"])
            .arg(state)
            .stderr(fs::File::create(state.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, api: format!("http://127.0.0.1:{port}") };
        let since = Instant::now();
        while daemon.json(&["status"]).is_none() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < Duration::from_secs(60), "not up: {ended:?}");
            thread::sleep(Duration::from_millis(200));
        }
        daemon
    }

    /// The object that a command prints with `--json`, the last one of several lines; none where it fails.
    fn json(&self, command: &[&str]) -> Option<Value> {
        let out = Command::new(PROGRAM).args(command).args(["--json", "--api", &self.api]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let last = text.lines().last().unwrap_or_default();
        out.status
            .success()
            .then(|| serde_json::from_str(&text).or_else(|_| serde_json::from_str(last)).ok())
            .flatten()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_job_outlives_a_daemon_that_is_killed() {
    let state = new_folder("up-killed");
    let port = free_port();
    let daemon = Daemon::start(&state, port);
    let asked =
        daemon.json(&["ask", "two hikers, one with a broken ankle, below the north ridge hut"]).unwrap();
    assert_eq!(asked["state"], "done", "{asked}");
    assert!(asked["class"].is_string(), "the program's own model answers: {asked}");
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["mode"], "listening", "no swarm was joined: {status}");
    assert!(!status["nodes"].as_array().unwrap().is_empty(), "{status}");
    daemon.kill();

    let daemon = Daemon::start(&state, port);
    let jobs = Command::new(PROGRAM).args(["job", "ls", "--json", "--api", &daemon.api]).output().unwrap();
    let jobs = String::from_utf8(jobs.stdout).unwrap();
    assert!(jobs.contains("broken ankle") && jobs.contains("done"), "{jobs}");
    let next = daemon.json(&["ask", "the bridge at the mill is out"]).unwrap();
    assert!(next["id"].as_u64() > asked["id"].as_u64(), "numbers are never used again: {next}");

    // A second one on the same state, and one on the same port, are told so.
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");
    let up = ["up", "--no-model", "--radio", &format!("sim:{scenario}"), "--state"];
    let same_state = fails(&[&up[..], &[state.to_str().unwrap(), "--listen", "127.0.0.1:0"]].concat());
    assert!(same_state.contains(&daemon.child.id().to_string()), "{same_state}");
    let other = new_folder("up-other");
    let taken = format!("127.0.0.1:{port}");
    let same_port = fails(&[&up[..], &[other.to_str().unwrap(), "--listen", &taken]].concat());
    assert!(same_port.contains(&port.to_string()) && same_port.contains("in use"), "{same_port}");

    // SIGTERM ends it in order.
    let mut daemon = daemon;
    assert!(Command::new("kill").arg(daemon.child.id().to_string()).status().unwrap().success());
    assert!(daemon.child.wait().unwrap().success());

    // Its log is for people and programs: no colours in a file, and a line for a job.
    let log = fs::read_to_string(state.join("log")).unwrap();
    assert!(log.contains("told to stop") && !log.contains('\x1b'), "{log}");
    let line = log.lines().find(|line| line.contains("a job has ended")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("answered here") && !line.contains("JobAnswer"), "{line}");
}

/// What `swarm` prints beside whatever runs on this state.
fn swarm(state: &Path, words: &[&str]) -> String {
    succeeds(&[&["swarm"], words, &["--state", state.to_str().unwrap()]].concat())
}

#[test]
fn the_swarm_is_looked_after_beside_the_daemon() {
    let state = new_folder("up-swarm");
    let sim = concat!("sim:", env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");
    swarm(&state, &["new", "hills", "--region", "EU_868"]);
    let line = swarm(&state, &["invite"]);
    let daemon = Daemon::start(&state, free_port());

    assert_eq!(swarm(&state, &["invite"]), line);
    let file = state.join("hills.swarm");
    swarm(&state, &["invite", "--file", file.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), line);
    let members = swarm(&state, &["members"]);
    assert!(members.contains("`hills`, epoch 1, 0 members"), "{members}");

    // What changes the radio cannot be done now, and says how it can.
    let path = state.to_str().unwrap();
    let pid = daemon.child.id().to_string();
    let commands: [&[&str]; 3] = [
        &["new", "other", "--region", "EU_868"],
        &["join", file.to_str().unwrap(), "--radio", sim, "--yes"],
        &["leave", "--radio", sim, "--yes"],
    ];
    for command in commands {
        let said = fails(&[&["swarm"], command, &["--state", path]].concat());
        assert!(said.contains(&format!("swarm {}", command[0])) && said.contains(&pid), "{said}");
        assert!(said.contains("stop it"), "{said}");
    }

    // Anybody on this machine may see who is a member, and no more: not the keys, nor change them.
    let ask = |method: &str, path: &str| {
        let out = Command::new("curl")
            .args(["-s", "-X", method, "-d", "{}", "-w", "%{http_code}"])
            .arg(format!("{}{path}", daemon.api))
            .output();
        out.map(|out| String::from_utf8(out.stdout).unwrap())
    };
    if let Ok(shown) = ask("GET", "/api/swarm") {
        assert!(shown.contains("hills") && shown.ends_with("200"), "{shown}");
        for (method, path) in [("GET", "invitation"), ("POST", "rotation"), ("DELETE", "rotation")] {
            let refused = ask(method, &format!("/api/swarm/{path}")).unwrap();
            assert!(refused.ends_with("403") && !refused.contains("compotastic:"), "{refused}");
        }
    } else {
        eprintln!("SKIPPED: no curl, which asks without the secret");
    }

    // No radio of the swarm here, so the plan waits; giving it up and starting anew need no restart.
    // Nobody can be asked, and that is said while the question waits.
    let said = fails(&["ask", "--kind", "chat", "--deadline", "3", "hello", "--api", &daemon.api]);
    assert!(said.contains("waits: nobody can be asked") && said.contains("only listens"), "{said}");

    // Who mistypes the lost radio's number would give it the new keys.
    for command in [&["rotate", "--without", "!a1b2c3d4"][..], &["remove", "!a1b2c3d4"]] {
        let said = fails(&[&["swarm"], command, &["--state", path]].concat());
        assert!(said.contains("!a1b2c3d4 was never heard") && said.contains("--anyway"), "{said}");
    }
    let none = swarm(&state, &["members"]);
    assert!(!none.contains("under way"), "{none}");
    let rotated = swarm(&state, &["rotate", "--without", "!a1b2c3d4", "--anyway", "--hours", "2"]);
    assert!(rotated.contains("epoch 2") && rotated.contains("!a1b2c3d4"), "{rotated}");
    assert!(rotated.contains("Invitations made before are void"), "{rotated}");
    let twice = fails(&["swarm", "remove", "!a1b2c3d4", "--anyway", "--state", path]);
    assert!(twice.contains("under way"), "{twice}");
    swarm(&state, &["rotate", "--give-up"]);
    let removed = swarm(&state, &["remove", "!a1b2c3d4", "--anyway"]);
    assert!(removed.contains("without: !a1b2c3d4"), "{removed}");
    let shown: Value = serde_json::from_str(&swarm(&state, &["members", "--json"])).unwrap();
    assert_eq!((&shown["name"], &shown["rotation"]["epoch"]), (&Value::from("hills"), &Value::from(2)));
    let typo = fails(&["swarm", "remove", "a1b2", "--state", path]);
    assert!(typo.contains("!a1b2c3d4"), "{typo}");

    // After a daemon that was killed its word leads nowhere, and nothing is in the way.
    daemon.kill();
    assert!(state.join("control.json").exists());
    let members = swarm(&state, &["members"]);
    assert!(members.contains("epoch 2 is under way"), "{members}");
    // The same without a daemon.
    swarm(&state, &["rotate", "--give-up"]);
    let said = fails(&["swarm", "remove", "!a1b2c3d4", "--state", path]);
    assert!(said.contains("!a1b2c3d4 was never heard") && said.contains("--anyway"), "{said}");
    let planned = swarm(&state, &["remove", "!a1b2c3d4", "--anyway"]);
    assert!(planned.contains("planned") && planned.contains("Invitations made before are void"), "{planned}");
}

/// What the swarm's operator has signed goes through the daemon, be the key the machine's own or one that was made before.
#[test]
fn what_the_operator_signs_is_published() {
    let state = new_folder("up-operator");
    let at = |name: &str| state.join(name).to_str().unwrap().to_owned();
    let (first, second) = (at("first"), at("second"));
    succeeds(&["key", "new", &first]);
    succeeds(&["key", "new", &second]);
    let offline = new_folder("up-operator-offline");
    let new = ["new", "hills", "--region", "EU_868", "--operator"];
    let said = swarm(&offline, &[&new[..], &[&at("first.pub")]].concat());
    assert!(said.contains("cannot be rotated"), "{said}");
    let path = offline.to_str().unwrap();
    let said = fails(&["swarm", "operator", "--out", &at("none"), "--state", path]);
    assert!(said.contains("no operator's secret key of the swarm `hills`"), "{said}");
    let twice =
        [&["swarm"], &new[..], &[&first, "--operator", &second, "--state", state.to_str().unwrap()]].concat();
    assert!(fails(&twice).contains("name the .pub files"), "{twice:?}");

    swarm(&state, &[&new[..], &[&at("second.pub"), "--operator", &first]].concat());
    let (exported, content) = (at("exported"), at("policy.bin"));
    swarm(&state, &["operator", "--out", &exported]);
    assert_eq!(fs::read(&exported).unwrap(), fs::read(&first).unwrap());
    assert!(
        fails(&["swarm", "operator", "--out", &exported, "--state", state.to_str().unwrap()])
            .contains("overwritten")
    );

    fs::write(&content, "what to do in rain").unwrap();
    let daemon = Daemon::start_on("udp:?interface=lo", &state, free_port());
    let said = fails(&["swarm", "operator", "--out", &at("late"), "--state", state.to_str().unwrap()]);
    assert!(said.contains("does not go through the daemon") && said.contains("stop it"), "{said}");
    let sign = |key: &str, version: &str| {
        let out = at(&format!("policy-{version}.bundle"));
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
            key,
            "--out",
            &out,
        ]);
        out
    };
    let push = |bundle: &str| {
        ["push", bundle, "--to", "class:1", "--no-follow", "--api", &daemon.api].map(str::to_owned)
    };
    succeeds(&push(&sign(&exported, "1")).each_ref().map(String::as_str));
    let strange = at("strange");
    succeeds(&["key", "new", &strange]);
    let said = fails(&push(&sign(&strange, "2")).each_ref().map(String::as_str));
    assert!(said.contains("swarm operator --out"), "{said}");
}

/// A radio that is broken does not keep its machine in a swarm; and what `--yes` agrees to is told.
#[test]
fn a_machine_leaves_without_its_radio_and_yes_tells_what_changes() {
    let state = new_folder("up-leave");
    let path = state.to_str().unwrap();
    swarm(&state, &["new", "hills", "--region", "EU_868"]);
    let line = swarm(&state, &["invite"]);
    let sim = concat!("sim:", env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");
    let joined = swarm(&state, &["join", line.trim(), "--radio", sim, "--yes"]);
    assert!(
        joined.contains("Channel slot 1: empty -> `hills`") && joined.contains("is in the swarm"),
        "{joined}"
    );
    let gone = format!("tcp:127.0.0.1:{}", free_port());
    let said = fails(&["swarm", "leave", "--radio", &gone, "--state", path]);
    assert!(said.contains("127.0.0.1") && said.contains("swarm leave --forget"), "{said}");
    let left = swarm(&state, &["leave", "--forget"]);
    assert!(left.contains("has left the swarm") && left.contains("radio was not asked"), "{left}");
    assert!(fails(&["swarm", "leave", "--forget", "--state", path]).contains("no swarm is joined here"));
    swarm(&state, &["new", "other", "--region", "EU_868"]);
}

fn refused(radio: &str) -> String {
    let state = new_folder("up-refused");
    fails(&[
        "up",
        "--no-model",
        "--radio",
        radio,
        "--listen",
        "127.0.0.1:0",
        "--state",
        state.to_str().unwrap(),
    ])
}

#[test]
fn links_that_cannot_work() {
    assert!(refused("carrier-pigeon:coop").contains("serial:"));
    assert!(refused("serial:/dev/no-such-port").contains("/dev/no-such-port"));
    assert!(refused("mqtts://broker/msh").contains("mqtt"));
    assert!(refused("sim:no/such/scenario.toml").contains("no/such/scenario.toml"));
    let closed = refused(&format!("tcp:127.0.0.1:{}", free_port()));
    assert!(closed.contains("127.0.0.1"), "{closed}");
    assert!(refused("udp:").contains("swarm join"));
}

#[test]
fn a_host_that_is_no_meshtastic_device() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let said = refused(&format!("tcp:{address}"));
    assert!(said.contains("Meshtastic"), "{said}");
}

#[test]
fn a_serial_port_at_another_speed() {
    // A pseudo-terminal whose far end says what a radio at another speed looks like: bytes without a frame.
    let script = "import os,pty,random,sys,time,tty\nm,s=pty.openpty()\ntty.setraw(s)\nprint(os.ttyname(s),flush=True)\n\
random.seed(1)\nend=time.time()+60\nwhile time.time()<end:\n  os.write(m,bytes(random.choice((0,128,248,254,120)) for _ in range(40)))\n  time.sleep(0.1)\n";
    let spawned = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn();
    let Ok(mut far) = spawned else {
        eprintln!("SKIPPED: no python3, which plays the radio");
        return;
    };
    let mut name = Vec::new();
    let mut out = far.stdout.take().unwrap();
    let mut byte = [0];
    while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        name.push(byte[0]);
    }
    let said = refused(&format!("serial:{}", String::from_utf8(name).unwrap()));
    let _ = far.kill();
    let _ = far.wait();
    assert!(said.contains("115200"), "{said}");
}

#[test]
fn swarms_and_questions_that_cannot_be() {
    let state = new_folder("up-swarms");
    let state = state.to_str().unwrap();
    let region = fails(&["swarm", "new", "hills", "--region", "ATLANTIS", "--state", state]);
    assert!(region.contains("EU_868"), "{region}");
    let name =
        fails(&["swarm", "new", "a name that is far too long", "--region", "EU_868", "--state", state]);
    assert!(name.contains("11 bytes"), "{name}");
    let name = fails(&["swarm", "new", "LongFast", "--region", "EU_868", "--state", state]);
    assert!(name.contains("take another name"), "{name}");
    let empty = fails(&["swarm", "invite", "--state", state]);
    assert!(empty.contains("swarm new NAME --region REGION"), "{empty}");
    let mistyped = format!("{state}-mistyped");
    // Of an earlier run that failed.
    let _ = fs::remove_dir_all(&mistyped);
    for command in [&["members"][..], &["invite"], &["rotate"], &["leave", "--forget"]] {
        let said = fails(&[&["swarm"], command, &["--state", &mistyped]].concat());
        assert!(said.contains(&mistyped) && said.contains("is --state right?"), "{said}");
        assert!(!Path::new(&mistyped).exists(), "{command:?} made it");
    }
    let join = fails(&[
        "swarm",
        "join",
        "compotastic:AAAA",
        "--state",
        state,
        "--radio",
        "sim:scenarios/two-huts.toml",
    ]);
    assert!(join.contains("enrolment"), "{join}");
    let nobody = fails(&["ask", "hello", "--api", &format!("http://127.0.0.1:{}", free_port())]);
    assert!(nobody.contains("compotastic up"), "{nobody}");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/two-huts.toml");
    let serve = fails(&["sim", "serve", scenario, "--port", &port]);
    assert!(serve.contains(&port), "{serve}");
}
