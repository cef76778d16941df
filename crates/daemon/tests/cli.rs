//! The commands over the API, as a person runs them: each in a process of its own against a fake node.

mod fake_node;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::{CommandFactory as _, Parser};
use compotastic_daemon::{
    cli::{ask, job, nodes, push, shell, status, top, update},
    doctor::{self, DoctorArgs},
};
use fake_node::{Folder, Server};
use serde_json::{Value, json};

const ARGS: &str = "COMPOTASTIC_TEST_ARGS";
const BEGIN: &str = "<<<begin>>>\n";

/// The program, as far as it is tested here.
#[derive(Parser)]
#[command(name = "compotastic", version = "0")]
enum Program {
    Nodes(nodes::NodesArgs),
    Ask(ask::AskArgs),
    Job(job::JobArgs),
    Push(push::LivePushArgs),
    Status(status::StatusArgs),
    Update(update::UpdateArgs),
    Top(top::TopArgs),
    Doctor(DoctorArgs),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// Not a test by itself: the process that is run.
#[test]
fn program() {
    let Ok(args) = std::env::var(ARGS) else { return };
    print!("{BEGIN}");
    let args: Vec<String> = serde_json::from_str(&args).unwrap();
    let result = match Program::parse_from(args) {
        Program::Nodes(args) => nodes::run(args),
        Program::Ask(args) => ask::run(args),
        Program::Job(args) => job::run(args),
        Program::Push(args) => push::run(args),
        Program::Status(args) => status::run(args),
        Program::Update(args) => update::run(args),
        Program::Top(args) => top::run(args),
        Program::Doctor(args) => doctor::run(args),
        Program::Completions(args) => shell::run_completions(&args, Program::command()),
        Program::Man(args) => shell::run_man(&args, Program::command()),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

struct Out {
    ok: bool,
    stdout: String,
    stderr: String,
}

fn run_at(api: &str, args: &[&str]) -> Out {
    let args: Vec<&str> = [&["compotastic"], args].concat();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["program", "--exact", "--nocapture", "--test-threads=1"])
        .env(ARGS, serde_json::to_string(&args).unwrap())
        .env("COMPOTASTIC_API", api)
        .env_remove("COMPOTASTIC_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(out.stdout).unwrap();
    let stdout = stdout.split_once(BEGIN).map_or(String::new(), |(_, rest)| rest.to_string());
    Out { ok: out.status.success(), stdout, stderr: String::from_utf8(out.stderr).unwrap() }
}

fn run(server: &Server, args: &[&str]) -> Out {
    run_at(&format!("http://{}", server.address), args)
}

fn json(out: &Out) -> Value {
    assert!(out.ok, "{}", out.stderr);
    serde_json::from_str(&out.stdout).unwrap()
}

#[test]
fn nodes_and_status_are_shown_in_columns() {
    let server = Server::start();
    let out = run(&server, &["nodes"]);
    let expected = "\
node        name              short     heard  hops  SNR dB  battery  member  class  model       load
!0f000007  Edge on the hill  Edge       12 s     1    -7.2     81 %  yes         1  foundation     2
!0f000003  Kitchen           Kitc    1 h 06      1    -7.2     81 %  yes         1  student 3      2
";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&out.stdout), squeezed(expected), "{}", out.stderr);
    let starts: Vec<Option<usize>> =
        out.stdout.lines().map(|line| line.find("yes").or(line.find("member"))).collect();
    assert!(starts.iter().all(|at| at.is_some() && *at == starts[0]), "{}", out.stdout);
    assert_eq!(json(&run(&server, &["nodes", "--json"]))[0]["id"], "!0f000007");
    let out = run(&server, &["status"]);
    for part in [
        "!0f000001 (hosted)",
        "12.5 % used by all (15 % polite, 20 % hard)",
        "serial:/dev/ttyUSB0",
        "00c0ffee",
        "1 d 02 h",
        "jobs           41",
        "not to serial:/dev/ttyUSB0: packets of other nodes\n",
    ] {
        assert!(out.stdout.contains(part), "{part} is not in\n{}{}", out.stdout, out.stderr);
    }
    assert_eq!(json(&run(&server, &["status", "--json"]))["airtime"]["gate"], "open");
}

#[test]
fn a_question_is_followed_to_its_answer() {
    let server = Server::start();
    let out = run(&server, &["ask", "man", "fell"]);
    assert_eq!((out.ok, out.stdout.as_str()), (true, "medical (93 %)\n"), "{}", out.stderr);
    assert!(
        out.stderr.contains("running at !0f000007") && out.stderr.contains("by !0f000007 (fake-1)"),
        "{}",
        out.stderr
    );
    let out = run(
        &server,
        &[
            "ask",
            "--kind",
            "chat",
            "--priority",
            "high",
            "--deadline",
            "60",
            "--max-chars",
            "99",
            "--json",
            "hi",
        ],
    );
    let steps: Vec<Value> = out.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let spec = &steps[0]["spec"];
    assert_eq!(
        (&spec["priority"], &spec["deadline_s"], &spec["max_chars"]),
        (&"high".into(), &60.into(), &99.into())
    );
    assert_eq!(
        (&steps[0]["state"], &steps.last().unwrap()["text"]),
        (&"queued".into(), &"You asked: hi".into())
    );
    assert!(!out.stderr.contains("waits"), "no words beside JSON: {}", out.stderr);
    let out = run(&server, &["ask", "--kind", "embed", "--deadline", "600", "abc"]);
    assert_eq!(out.stdout, "[0.6,-0.8,3.0]\n");
    let waits = "job 3: waits: none of the 2 members that were heard answers `embed`; it goes on looking for 10 min\n";
    assert!(out.stderr.contains(waits), "{}", out.stderr);
    let out = run(&server, &["ask", "this will fail"]);
    assert!(!out.ok && out.stdout.is_empty() && out.stderr.contains("nobody answered"), "{}", out.stderr);
    let out = run(&server, &["ask", "refuse this"]);
    assert!(!out.ok && out.stderr.contains("no more are taken"), "{}", out.stderr);
    assert_eq!(run(&server, &["ask", "--no-wait", "please wait"]).stdout, "5\n");
    let out = run(&server, &["job", "ls", "--state", "open"]);
    assert!(out.stdout.contains("please wait") && out.stdout.lines().count() == 2, "{}", out.stdout);
    assert!(run(&server, &["job", "cancel", "5"]).stdout.contains("state      cancelled"));
    let out = run(&server, &["job", "cancel", "5"]);
    assert!(!out.ok && out.stderr.contains("ended already"), "{}", out.stderr);
    let out = run(&server, &["job", "show", "1"]);
    assert!(out.stdout.contains("by         !0f000007, fake-1"), "{}", out.stdout);
    assert_eq!(json(&run(&server, &["job", "ls", "--json", "--limit", "2"])).as_array().unwrap().len(), 2);
    assert!(run(&server, &["job", "show", "99"]).stderr.contains("there is no job 99"));
}

#[test]
fn a_bundle_is_pushed_and_one_sees_who_has_it() {
    let server = Server::start();
    let folder = Folder::new("push");
    let file = folder.0.join("a.bundle");
    std::fs::write(&file, b"a bundle").unwrap();
    let file = file.to_str().unwrap();
    let out = run(&server, &["push", file, "--to", "class:1"]);
    for part in [
        "published: firmware version 7",
        "!0f000007 Edge on the hill has it",
        "!0f000003 Kitchen has it: 2 nodes of 2",
        "!0f000007 Edge on the hill runs it: 1 nodes of 2",
        "!0f000003 Kitchen runs it: 2 nodes of 2",
        "complete",
    ] {
        assert!(out.stdout.contains(part), "{part} is not in\n{}{}", out.stdout, out.stderr);
    }
    // It is there long before it runs.
    let lines = run(&server, &["push", file, "--to", "node:!0f000003", "--json"]).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<[&Value; 2]> = lines.iter().map(|line| [&line["new"], &line["runs"]]).collect();
    let (executor, kitchen) = (0x0f00_0007, 0x0f00_0003);
    let steps: [[Value; 2]; 5] = [
        [json!([]), json!([])],
        [json!([executor]), json!([])],
        [json!([kitchen]), json!([])],
        [json!([]), json!([executor])],
        [json!([]), json!([kitchen])],
    ];
    assert_eq!(told, steps.iter().map(|[new, runs]| [new, runs]).collect::<Vec<_>>());
    assert_eq!(lines[4]["object"]["runs_at"], json!([executor, kitchen]));
    let out = run(&server, &["push", file, "--to", "node:!0f000009", "--for", "1"]);
    assert!(!out.ok && out.stderr.contains("the push goes on"), "{}", out.stderr);
    assert_eq!(
        json(&run(&server, &["push", file, "--to", "class:1", "--no-follow", "--json"]))["event"],
        "published"
    );
    assert!(run(&server, &["push", file, "--to", "all"]).stderr.contains("class:N"));
    assert!(run(&server, &["push", "/nowhere", "--to", "class:1"]).stderr.contains("cannot read"));
    std::fs::write(folder.0.join("bad"), b"BAD").unwrap();
    let out = run(&server, &["push", folder.0.join("bad").to_str().unwrap(), "--to", "class:1"]);
    assert!(!out.ok && out.stderr.contains("signature"), "{}", out.stderr);
    assert!(run(&server, &["update", "ls"]).stdout.contains("published here"));
    assert!(
        run(&server, &["update", "pause", "00c0ffee"]).ok
            && run(&server, &["update", "withdraw", "00c0ffee"]).ok
    );
    assert!(run(&server, &["update", "resume", "11111111"]).stderr.contains("was not published here"));
}

#[test]
fn the_doctor_does_not_push_the_daemon_out() {
    let server = Server::start();
    let report = json(&run(&server, &["doctor", "--radio", "serial:/dev/ttyUSB0", "--json"]));
    let findings = &report["links"][0]["findings"];
    assert_eq!((&report["broken"], &findings[0]["severity"]), (&json!(0), &json!("warning")), "{report}");
    assert!(
        findings[0]["what"].as_str().unwrap().contains("`compotastic up` has it (node !0f000001"),
        "{report}"
    );
    assert!(findings[0]["mend"].as_str().unwrap().contains("--share") && findings[1].is_null(), "{report}");
    // Another one is looked at.
    let report = run(&server, &["doctor", "--radio", "serial:/dev/ttyUSB_none", "--json"]).stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["broken"], 1, "{report}");
}

#[test]
fn errors_name_the_next_step() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in [
        &["nodes"][..],
        &["ask", "hi"],
        &["job", "ls"],
        &["status"],
        &["top"],
        &["top", "--json"],
        &["update", "ls"],
    ] {
        let out = run_at(&format!("http://{free}"), args);
        assert!(
            !out.ok && (out.stderr.contains("`compotastic up`") || out.stderr.contains("no terminal")),
            "{args:?}: {}",
            out.stderr
        );
    }
    assert!(run_at("ftp://x", &["nodes"]).stderr.contains("http://HOST:PORT"));
    // Something else listens there.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let out = run_at(&format!("http://{address}"), &["nodes"]);
    assert!(!out.ok && out.stderr.contains("does not answer as this program expects"), "{}", out.stderr);
    answering.join().unwrap();
    let folder = Folder::new("cli-token");
    let path = folder.0.join("token");
    let server = Server::with(None, |args| {
        args.listen = "0.0.0.0:0".parse().unwrap();
        args.token_file = Some(path.clone());
    });
    let api = format!("127.0.0.1:{}", server.address.port());
    assert!(run_at(&api, &["nodes"]).stderr.contains("--token-file"));
    assert!(run_at(&api, &["nodes", "--token-file", path.to_str().unwrap()]).ok);
}

#[test]
fn completions_and_the_manual_are_made() {
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef compotastic"), ("fish", "complete -c compotastic")]
    {
        let out = run_at("", &["completions", shell]);
        assert!(out.ok && out.stdout.contains(part), "{shell}: {}", out.stderr);
    }
    let out = run_at("", &["man"]);
    for part in
        [".TH compotastic 1", ".SH COMMANDS", "compotastic ask [OPTIONS] <TEXT>...", "COMPOTASTIC_API"]
    {
        let part = part.replace('-', "\\-");
        assert!(out.stdout.contains(&part), "{part} is not in\n{}", out.stdout);
    }
}
