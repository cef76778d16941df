//! The real `openai` Python package against `/v1`.

mod fake_node;

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use compotastic_daemon::store::JobFilter;
use fake_node::Server;

fn has_package() -> bool {
    let found = Command::new("python3").args(["-c", "import openai"]).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: python3 has no openai package (pip install openai)");
    }
    found
}

fn run(server: &Server, scenario: &str, input: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai_client.py");
    let url = format!("http://127.0.0.1:{}/v1", server.address.port());
    let mut client = Command::new("python3")
        .args([script, &url, scenario])
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("all_proxy")
        .env_remove("ALL_PROXY")
        .env("no_proxy", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while client.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            client.kill().unwrap();
            panic!("{scenario}: the client does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let out = client.wait_with_output().unwrap();
    assert!(
        out.status.success() && String::from_utf8_lossy(&out.stdout).contains("fine"),
        "{scenario}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn over_the_mesh() {
    if !has_package() {
        return;
    }
    let server = Server::start();
    run(&server, "mesh", "");
    // Two failed, and neither was asked a second time by the package; the one whose client went away was taken back.
    let jobs = |filter| server.store.jobs(filter, None, 100).unwrap();
    assert_eq!(jobs(JobFilter::Failed).len(), 2);
    let end = Instant::now() + Duration::from_secs(10);
    while !jobs(JobFilter::Open).is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((jobs(JobFilter::Open).len(), jobs(JobFilter::Cancelled).len()), (0, 1));
    assert_eq!(jobs(JobFilter::Done).len(), 9);
}

#[test]
fn with_a_model_of_its_own() {
    if !has_package() {
        return;
    }
    run(&Server::with_brain(), "local", "");
}

#[test]
fn with_a_token() {
    if !has_package() {
        return;
    }
    let folder = fake_node::Folder::new("openai");
    let path = folder.0.join("token");
    let server = Server::with(None, |args| {
        args.listen = "0.0.0.0:0".parse().unwrap();
        args.token_file = Some(path.clone());
    });
    run(&server, "token", &std::fs::read_to_string(&path).unwrap());
}
