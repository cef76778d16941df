//! Each route of `/api`: what it answers, and what it says to bad input.

mod fake_node;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use compotastic_daemon::seam::{Event, LinkView, TextMessage};
use fake_node::{EXECUTOR, Server, TAG};
use serde_json::{Value, json};

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = response.unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    answer(agent().get(server.url(path)).call())
}

fn post(server: &Server, path: &str, body: &[u8]) -> (u16, Value) {
    answer(agent().post(server.url(path)).send(body))
}

fn delete(server: &Server, path: &str) -> (u16, Value) {
    answer(agent().delete(server.url(path)).call())
}

fn until_final(server: &Server, id: u64) -> Value {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let (_, job) = get(server, &format!("/api/jobs/{id}"));
        if ["done", "failed", "cancelled"].contains(&job["state"].as_str().unwrap()) {
            return job;
        }
        assert!(Instant::now() < end, "{job}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_the_node_knows_is_shown() {
    let server = Server::start();
    let (status, state) = get(&server, "/api/status");
    assert_eq!((status, &state["id"], &state["links"][0]["state"]), (200, &json!("!0f000001"), &json!("up")));
    assert_eq!(get(&server, "/api/nodes").1[0]["num"], EXECUTOR);
    for id in ["!0f000007", "0x0f000007", "251658247"] {
        assert_eq!(get(&server, &format!("/api/nodes/{id}")).1["long_name"], "Edge on the hill", "{id}");
    }
    assert_eq!(get(&server, "/api/nodes/!12345678").0, 404);
    assert_eq!(get(&server, "/api/nodes/hill").0, 400);
    assert_eq!(get(&server, "/api/objects").1[0]["tag"], TAG);
    assert_eq!(get(&server, "/api/updates").1.as_array().unwrap().len(), 1);
    assert_eq!(get(&server, "/api/airtime").1["channel_utilization_percent"], 12.5);
    let (status, problem) = get(&server, "/api/nothing");
    assert_eq!((status, &problem["status"]), (404, &json!(404)));
    assert_eq!(delete(&server, "/api/status").0, 405);
}

#[test]
fn jobs_are_submitted_listed_and_cancelled() {
    let server = Server::start();
    let (status, job) =
        post(&server, "/api/jobs", br#"{"kind":"classify","text":"man fell","priority":"high"}"#);
    assert_eq!((status, &job["state"], &job["id"]), (201, &json!("queued"), &json!(1)));
    let done = until_final(&server, 1);
    assert_eq!(
        (&done["class"], &done["by"], &done["spec"]["priority"]),
        (&json!("medical"), &json!(EXECUTOR), &json!("high"))
    );
    post(&server, "/api/jobs", br#"{"kind":"chat","text":"please wait"}"#);
    post(&server, "/api/jobs", br#"{"kind":"embed","text":"will fail"}"#);
    assert_eq!(until_final(&server, 3)["reason"], "nobody answered");
    let ids = |path: &str| -> Vec<u64> {
        get(&server, path).1.as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids("/api/jobs"), [3, 2, 1]);
    assert_eq!(ids("/api/jobs?state=open"), [2]);
    assert_eq!(ids("/api/jobs?state=failed&limit=5"), [3]);
    assert_eq!(ids("/api/jobs?before=3&limit=1"), [2]);
    let (status, job) = delete(&server, "/api/jobs/2");
    assert_eq!((status, &job["state"]), (200, &json!("cancelled")));
    assert_eq!(delete(&server, "/api/jobs/2").0, 409);
    assert_eq!((delete(&server, "/api/jobs/99").0, get(&server, "/api/jobs/x").0), (404, 400));
    assert!(get(&server, "/api/jobs?state=lost").1["detail"].as_str().unwrap().contains("cancelled"));
    assert_eq!(get(&server, "/api/jobs?stat=open").0, 400);
    let (status, problem) = post(&server, "/api/jobs", br#"{"kind":"chat","text":"refuse me"}"#);
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("no more are taken"), "{problem}");
}

#[test]
fn bad_bodies_are_told_where() {
    let server = Server::start();
    let (status, problem) = post(&server, "/api/jobs", b"{\n  \"kind\": \"chat\",\n  \"text\": 7 }");
    assert_eq!((status, &problem["field"], &problem["line"]), (400, &json!("text"), &json!(3)));
    let (_, problem) = post(&server, "/api/jobs", b"{\"kind\":\"chat\",\n\"text\": nonsense}");
    assert_eq!((&problem["line"], problem["column"].is_number()), (&json!(2), true));
    for body in [&b""[..], b"[]", b"\xff\xfe", br#"{"kind":"chat"}"#, br#"{"kind":"chat","text":" "}"#] {
        assert_eq!(post(&server, "/api/jobs", body).0, 400, "{body:?}");
    }
    let large = format!(r#"{{"kind":"chat","text":"{}"}}"#, "x".repeat(300_000));
    assert_eq!(post(&server, "/api/jobs", large.as_bytes()).0, 413);
    assert!(server.store.jobs(compotastic_daemon::store::JobFilter::All, None, 9).unwrap().is_empty());
}

/// One request about the swarm; with headers of its own.
fn about_keys(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let mut request = ureq::http::Request::builder().method(method).uri(server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(agent().run(request.body(body.to_owned()).unwrap()))
}

#[test]
fn the_swarms_keys_are_for_whoever_reads_the_state_folder() {
    // The token for other machines makes no operator.
    let folder = fake_node::Folder::new("control");
    let path = folder.0.join("token");
    let server = Server::with(None, |args| args.token_file = Some(path.clone()));
    let others = format!("Bearer {}", std::fs::read_to_string(&path).unwrap().trim());
    let owner = format!("Bearer {}", server.control);
    compotastic_daemon::swarm::make(
        &server.store,
        "hill",
        "EU_868",
        "LONG_FAST",
        3,
        compotastic_daemon::swarm::Operators::draw().unwrap(),
    )
    .unwrap();
    let ask = |method: &str, path: &str, token: &str, body: &str| {
        about_keys(&server, method, path, &[("authorization", token)], body)
    };
    let calls = [
        ("GET", "/api/swarm/invitation"),
        ("POST", "/api/swarm/rotation"),
        ("DELETE", "/api/swarm/rotation"),
    ];
    for (method, path) in calls {
        let (status, problem) = ask(method, path, &others, "{}");
        assert_eq!(status, 403, "{method} {path} {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("compotastic swarm --state"), "{problem}");
        assert!(!problem.to_string().contains("compotastic:"), "{problem}");
        assert_eq!(ask(method, path, "Bearer guessed", "{}").0, 401, "{method} {path}");
        // Neither the right secret nor this machine help a page of another site.
        let page = [("authorization", owner.as_str()), ("origin", "http://evil.example")];
        assert_eq!(about_keys(&server, method, path, &page, "{}").0, 403, "{method} {path}");
        let rebound = [("authorization", owner.as_str()), ("host", "evil.example")];
        assert_eq!(about_keys(&server, method, path, &rebound, "{}").0, 403, "{method} {path}");
    }
    let (status, view) = ask("GET", "/api/swarm", &others, "");
    assert_eq!((status, &view["name"], view["members"].as_array().unwrap().len()), (200, &json!("hill"), 2));
    assert!(!view.to_string().contains("key"), "{view}");
    assert_eq!(ask("GET", "/api/swarm", "", "").0, 401);

    let (status, invitation) = ask("GET", "/api/swarm/invitation", &owner, "");
    let line = invitation["invitation"].as_str().unwrap();
    let joined = compotastic_daemon::swarm::joined(&server.store).unwrap();
    assert_eq!(status, 200);
    assert_eq!(compotastic_daemon::swarm::read_invitation(line).ok(), joined);
    let (status, view) = ask("POST", "/api/swarm/rotation", &owner, r#"{"without":["!0f000003"],"hours":2}"#);
    assert_eq!((status, &view["rotation"]["without"]), (201, &json!(["!0f000003"])));
    assert_eq!(view["rotation"]["deadline_s"], 7200);
    let (status, problem) = ask("POST", "/api/swarm/rotation", &owner, r#"{"without":["!0f000007"]}"#);
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("under way"), "{problem}");
    let bad = [r#"{"without":["0f000003"]}"#, r#"{"hours":0}"#, r#"{"hours":169}"#, r#"{"withuot":[]}"#, ""];
    for body in bad {
        assert_eq!(ask("POST", "/api/swarm/rotation", &owner, body).0, 400, "{body}");
    }
    assert_eq!(ask("DELETE", "/api/swarm/rotation", &owner, "").0, 204);
    // What the other token is good for, this one is too.
    assert_eq!(ask("GET", "/api/status", &owner, "").0, 200);
}

#[test]
fn bundles_are_pushed_paused_and_withdrawn() {
    let server = Server::start();
    let (status, object) = post(&server, "/api/updates?to=class:1", b"a bundle");
    assert_eq!((status, &object["tag"], &object["bytes"]), (201, &json!(TAG), &json!(8)));
    assert_eq!(post(&server, "/api/updates?to=node:!0f000003", b"a bundle").0, 201);
    assert!(
        post(&server, "/api/updates?to=class:1", b"BAD").1["detail"].as_str().unwrap().contains("signature")
    );
    for to in ["", "?to=class:32", "?to=node:hill", "?to=all", "?for=class:1"] {
        assert_eq!(post(&server, &format!("/api/updates{to}"), b"a bundle").0, 400, "{to}");
    }
    assert_eq!(post(&server, "/api/updates?to=class:1", b"").0, 400);
    assert_eq!(post(&server, "/api/updates?to=class:1", &vec![1; (1 << 20) + 1]).0, 413);
    assert_eq!(post(&server, "/api/updates?to=class:1", &vec![1; 1 << 20]).0, 201);
    for action in ["pause", "resume"] {
        assert_eq!(post(&server, &format!("/api/updates/{TAG}/{action}"), b"").0, 204);
        assert_eq!(post(&server, &format!("/api/updates/11111111/{action}"), b"").0, 404);
        assert_eq!(post(&server, &format!("/api/updates/xyz/{action}"), b"").0, 400);
    }
    assert_eq!(
        (delete(&server, &format!("/api/updates/{TAG}")).0, delete(&server, "/api/updates/22222222").0),
        (204, 404)
    );
}

#[test]
fn texts_are_sent_and_listed() {
    let server = Server::start();
    assert_eq!(post(&server, "/api/messages", br#"{"text":"hello","channel":1}"#), (201, json!({"id": 77})));
    let (_, texts) = get(&server, "/api/messages?limit=5");
    assert_eq!(
        (&texts[0]["text"], &texts[0]["to"], &texts[0]["number"]),
        (&json!("hello"), &json!(u32::MAX), &json!(1))
    );
    assert_eq!((&texts[0]["from"], &texts[0]["id"]), (&json!(0x0f00_0001), &json!(77)));
    let came = TextMessage {
        from: 9,
        to: u32::MAX,
        id: 8,
        channel: 0,
        text: "back".to_string(),
        proven: false,
        reply_to: None,
    };
    server.events.send(Event::Text(came)).unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while get(&server, "/api/messages?after=1").1[0]["text"] != "back" {
        assert!(Instant::now() < end, "a text that came is not kept");
    }
    assert_eq!(get(&server, "/api/messages?after=2").1, json!([]));
    assert_eq!(post(&server, "/api/messages", br#"{"text":"refuse"}"#).0, 422);
    let long = format!(r#"{{"text":"{}"}}"#, "ä".repeat(101));
    let (status, problem) = post(&server, "/api/messages", long.as_bytes());
    assert_eq!((status, &problem["field"]), (400, &json!("text")));
    assert_eq!(post(&server, "/api/messages", br#"{"text":"a","channel":8}"#).0, 400);
}

struct Sse(BufReader<Box<dyn std::io::Read + Send>>);

impl Sse {
    fn open(server: &Server, path: &str, last_id: Option<&str>) -> Self {
        let mut request = agent().get(server.url(path));
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.call().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(Box::new(response.into_body().into_reader())))
    }

    /// Event, id and data of the next one; None at the end.
    fn next(&mut self) -> Option<(String, String, Value)> {
        let (mut event, mut id, mut data) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => event = value.to_string(),
                Some(("id", value)) => id = value.to_string(),
                Some(("data", value)) => data = value.to_string(),
                _ if line.trim_end().is_empty() && !data.is_empty() => {
                    return Some((event, id, serde_json::from_str(&data).unwrap()));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_job_is_followed_to_its_end() {
    let server = Server::start();
    post(&server, "/api/jobs", br#"{"kind":"chat","text":"where is water?"}"#);
    let mut events = Sse::open(&server, "/api/jobs/1/events", None);
    let mut states = Vec::new();
    let mut last = Value::Null;
    while let Some((event, _, data)) = events.next() {
        assert_eq!(event, "job");
        states.push(data["state"].as_str().unwrap().to_string());
        last = data;
    }
    assert_eq!((states.first().unwrap().as_str(), states.last().unwrap().as_str()), ("queued", "done"));
    assert_eq!(last["text"], "You asked: where is water?");
    // Of a job that has ended: its end, and the end of the stream.
    let mut events = Sse::open(&server, "/api/jobs/1/events", None);
    assert_eq!(events.next().unwrap().2["state"], "done");
    assert!(events.next().is_none());
    let back = agent().get(server.url("/api/jobs/1/events")).header("Last-Event-ID", "end").call().unwrap();
    assert_eq!(back.status(), 204);
    assert_eq!(get(&server, "/api/jobs/5/events").0, 404);
}

fn link(n: usize) -> Event {
    Event::Link(LinkView { url: format!("sim:{n}"), ..LinkView::default() })
}

#[test]
fn events_have_numbers_and_gaps_are_told() {
    let mut server = Server::start();
    let mut live = Sse::open(&server, "/api/events", None);
    let text = TextMessage {
        from: 1,
        to: 2,
        id: 3,
        channel: 0,
        text: "line\nend".to_string(),
        proven: false,
        reply_to: None,
    };
    server.events.send(Event::Text(text)).unwrap();
    server.events.send(link(0)).unwrap();
    let (event, first, data) = live.next().unwrap();
    assert_eq!((event.as_str(), &data["text"]), ("text", &json!("line\nend")));
    assert_eq!(live.next().unwrap().0, "link");
    // Who comes back gets what it missed.
    let mut again = Sse::open(&server, "/api/events", Some(&first));
    assert_eq!(again.next().unwrap().2["url"], "sim:0");
    // After too many it is told how many are lost.
    let mut sent = 0;
    while sent < 600 {
        server.events.send(link(sent)).unwrap();
        sent += 1;
        if sent.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    let mut late = Sse::open(&server, "/api/events", Some(&first));
    let (event, _, data) = late.next().unwrap();
    // 602 events, the first was seen, the latest 256 are kept.
    assert_eq!((event.as_str(), &data["missed"]), ("lagged", &json!(602 - 1 - 256)));
    assert_eq!(late.next().unwrap().2["url"], "sim:344");
    // An id of another run cannot be gone on from.
    let mut other = Sse::open(&server, "/api/events", Some("1-1"));
    let (event, _, data) = other.next().unwrap();
    assert_eq!((event.as_str(), &data["missed"]), ("lagged", &Value::Null));
    // The end of the daemon ends the streams.
    server.stop();
    while live.next().is_some() {}
}

#[test]
fn the_page_and_the_document_are_there_without_other_sites() {
    let server = Server::start();
    let mut response = agent().get(server.url("/")).call().unwrap();
    assert!(response.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let page = response.body_mut().read_to_string().unwrap();
    assert!(page.contains("/api/openapi.json") && !page.contains("https://") && !page.contains("src="));
    assert_eq!(get(&server, "/api/openapi.json").1["info"]["title"], "Compotastic");
}

#[test]
fn a_token_is_asked_for_and_pages_of_other_sites_are_refused() {
    let folder = fake_node::Folder::new("token");
    let path = folder.0.join("token");
    let server = Server::with(None, |args| {
        args.listen = "0.0.0.0:0".parse().unwrap();
        args.token_file = Some(path.clone());
    });
    let token = std::fs::read_to_string(&path).unwrap();
    let with = |value: &str| {
        let request = agent().get(format!("http://127.0.0.1:{}/api/status", server.address.port()));
        answer(request.header("Authorization", value).call()).0
    };
    assert_eq!(with(&format!("Bearer {}", token.trim())), 200);
    assert_eq!(with("Bearer wrong"), 401);
    assert_eq!(get(&server, "/api/status").0, 401);
    assert_eq!(get(&server, "/v1/models").1["error"]["type"], "authentication_error");
    assert_eq!(get(&server, "/api/docs").0, 200);
    let open = Server::start();
    let post_from = |origin: &str| {
        let request = agent().post(open.url("/api/jobs")).header("Origin", origin);
        answer(request.send(&br#"{"kind":"chat","text":"spam"}"#[..])).0
    };
    assert_eq!(
        (post_from("http://evil.example"), post_from(&format!("http://{}", open.address))),
        (403, 201)
    );
    let rebound = answer(agent().get(open.url("/api/status")).header("Host", "evil.example").call());
    assert_eq!(rebound.0, 403);
}

#[test]
fn slow_and_odd_clients_do_no_harm() {
    let server = Server::start();
    // Not HTTP at all, and a request that never ends: both are dropped or answered, others are served.
    let mut odd = TcpStream::connect(server.address).unwrap();
    odd.write_all(b"\x94\xc3\x00\x02hello").unwrap();
    let mut answer = Vec::new();
    odd.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = odd.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream
            .write_all(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(get(&server, "/api/status").0, 200);
    drop(slow);
}
