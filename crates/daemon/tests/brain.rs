//! Model servers with OpenAI's API: what is asked of them, what comes back, and what a person is told where something is wrong.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use compotastic_daemon::{
    brain::{Brains, ModelArgs, OpenAiBrain, OpenAiConfig},
    seam::{Brain, ChatMessage, Classified, JobKind},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the server says to chats, with why it stopped, one after another; the last stays.
#[derive(Default)]
struct Script {
    says: Vec<(&'static str, &'static str)>,
    asked: Vec<Value>,
    key: Option<&'static str>,
    thinks: Duration,
}

type Shared = Arc<Mutex<Script>>;

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": { "message": message, "type": "invalid_request_error" } })))
        .into_response()
}

fn refused(script: &Shared, headers: &HeaderMap) -> Option<Response> {
    let key = script.lock().unwrap().key?;
    let right = headers.get("authorization").is_some_and(|value| *value == format!("Bearer {key}"));
    (!right).then(|| error(StatusCode::UNAUTHORIZED, "Incorrect API key provided"))
}

async fn models(State(script): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&script, &headers) {
        return refusal;
    }
    let data = ["tiny:latest", "vectors"].map(|id| json!({ "id": id, "object": "model" }));
    Json(json!({ "object": "list", "data": data })).into_response()
}

async fn chat(State(script): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(refusal) = refused(&script, &headers) {
        return refusal;
    }
    let (thinks, (said, finish)) = {
        let mut script = script.lock().unwrap();
        script.asked.push(body);
        let says = if script.says.len() > 1 { script.says.remove(0) } else { script.says[0] };
        (script.thinks, says)
    };
    tokio::time::sleep(thinks).await;
    let message = json!({ "role": "assistant", "content": said });
    Json(json!({ "choices": [{ "index": 0, "message": message, "finish_reason": finish }] })).into_response()
}

async fn embeddings(Json(body): Json<Value>) -> Response {
    if body["model"] != "vectors" {
        return error(StatusCode::NOT_FOUND, "model not found");
    }
    let length = body["input"].as_str().unwrap().len() as f64;
    Json(json!({ "data": [{ "index": 0, "embedding": [3.0 * length, 4.0 * length] }] })).into_response()
}

/// A server that runs while `test` does, which has a thread that may block.
fn with_server(script: Script, test: impl FnOnce(String, Shared) + Send + 'static) {
    let shared = Arc::new(Mutex::new(script));
    let state = shared.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async move {
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/embeddings", post(embeddings))
            .route("/elsewhere/v1/models", get(|| async { "<html>a router's page</html>" }))
            .with_state(state);
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        tokio::task::spawn_blocking(move || test(format!("http://{address}"), shared)).await.unwrap();
        server.abort();
    });
}

fn saying(says: &[(&'static str, &'static str)]) -> Script {
    Script { says: says.to_vec(), ..Script::default() }
}

fn brain(url: &str, model: Option<&str>) -> OpenAiBrain {
    let config = OpenAiConfig {
        url: url.to_owned(),
        model: model.map(str::to_owned),
        embed_model: Some("vectors".to_owned()),
        ..OpenAiConfig::default()
    };
    OpenAiBrain::new(config).unwrap()
}

fn question(text: &str) -> Vec<ChatMessage> {
    vec![ChatMessage { role: "user".into(), content: text.into() }]
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is missing: {error}");
    }
}

#[test]
fn a_question_is_asked_with_its_limit_and_answered_plainly() {
    with_server(saying(&[("<think>ankle...</think>\n**Splint** it.\n", "stop")]), |url, script| {
        let brain = brain(&url, Some("tiny"));
        assert_eq!(brain.model(JobKind::Chat), Ok("tiny:latest".to_owned()));
        assert_eq!(brain.chat(&question("A broken ankle?"), 200, PATIENCE).unwrap(), "Splint it.");
        let asked = &script.lock().unwrap().asked;
        let system = asked[0]["messages"][0]["content"].as_str().unwrap();
        assert_says(system, &["at most 200 characters", "mesh radio"]);
        assert_eq!(asked[0]["messages"][1]["content"], "A broken ankle?");
        assert_eq!((asked.len(), &asked[0]["model"]), (1, &json!("tiny:latest")));
    });
}

#[test]
fn an_instruction_of_the_asker_takes_the_place_of_ours() {
    with_server(saying(&[("Arr.", "stop")]), |url, script| {
        let mut messages = vec![ChatMessage { role: "system".into(), content: "You are a pirate.".into() }];
        messages.extend(question("Well?"));
        brain(&url, None).chat(&messages, 100, PATIENCE).unwrap();
        let asked = &script.lock().unwrap().asked[0]["messages"];
        let roles: Vec<&str> =
            asked.as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "system", "user"]);
        assert!(!asked[0]["content"].as_str().unwrap().contains("outdoors"));
    });
}

const LONG: &str = "Keep the leg still and high. Cool it with snow in a cloth for ten minutes. Keep the person warm and \
                    let nobody walk on it, however well it seems to go.";

#[test]
fn the_model_itself_shortens_what_is_too_long() {
    let short = "Keep the leg still, high and cool. Wait for help.";
    with_server(saying(&[(LONG, "stop"), (short, "stop")]), move |url, script| {
        assert_eq!(brain(&url, None).chat(&question("A broken ankle?"), 60, PATIENCE).unwrap(), short);
        let asked = &script.lock().unwrap().asked;
        assert_says(asked[1]["messages"][0]["content"].as_str().unwrap(), &["at most 48 characters", LONG]);
    });
}

#[test]
fn what_a_model_will_not_shorten_is_cut_at_a_sentence_or_a_word() {
    with_server(saying(&[(LONG, "stop")]), |url, script| {
        let answer = brain(&url, None).chat(&question("A broken ankle?"), 80, PATIENCE).unwrap();
        assert_eq!(answer, "Keep the leg still and high. Cool it with snow in a cloth for ten minutes.");
        assert_eq!(script.lock().unwrap().asked.len(), 3);
        assert_eq!(brain(&url, None).chat(&question("?"), 20, PATIENCE).unwrap(), "Keep the leg still…");
    });
}

/// The server stopped in the middle of a word since the answer ran too long: that is no end.
#[test]
fn what_the_server_cut_off_is_not_taken_for_an_answer() {
    with_server(saying(&[("Keep the leg sti", "length"), ("Keep the leg still.", "stop")]), |url, _| {
        let answer = brain(&url, None).chat(&question("A broken ankle?"), 60, PATIENCE).unwrap();
        assert_eq!(answer, "Keep the leg still.");
    });
}

#[test]
fn vectors_come_at_unit_length() {
    with_server(Script::default(), |url, _| {
        let vector = brain(&url, None).embed("snow").unwrap();
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6, "{vector:?}");
    });
}

#[test]
fn a_server_that_does_not_run_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_says(&brain(&url, None).model(JobKind::Chat).unwrap_err(), &[&url, "start it", "--model-url"]);
    let why = brain(&url, None).chat(&question("?"), 100, PATIENCE).unwrap_err().to_string();
    assert_says(&why, &["start it"]);
}

#[test]
fn a_missing_model_and_a_wrong_page_are_named() {
    with_server(saying(&[("Yes.", "stop")]), |url, _| {
        let why = |url: &str, model| brain(url, model).model(JobKind::Chat).unwrap_err();
        assert_says(
            &why(&url, Some("huge")),
            &["no model `huge`", "tiny:latest, vectors", "ollama pull huge"],
        );
        assert_says(&why(&format!("{url}/elsewhere"), None), &["does not speak OpenAI's API", "--model-url"]);
        assert_says(&why(&format!("{url}/nowhere"), None), &["no such page", "--model-url"]);
    });
}

#[test]
fn a_key_is_sent_and_a_wrong_one_named() {
    with_server(Script { key: Some("s3cret"), ..saying(&[("Yes.", "stop")]) }, |url, _| {
        let file = std::env::temp_dir().join(format!("compotastic-key-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        let mut args =
            ModelArgs { model_url: Some(url), model_key_file: Some(file.clone()), ..ModelArgs::default() };
        let with_key = OpenAiBrain::new(args.config().unwrap().unwrap()).unwrap();
        assert_eq!(with_key.chat(&question("?"), 100, PATIENCE).unwrap(), "Yes.");
        std::fs::write(&file, "wrong").unwrap();
        let wrong = OpenAiBrain::new(args.config().unwrap().unwrap()).unwrap();
        assert_says(&wrong.model(JobKind::Chat).unwrap_err(), &["refuses the key", "--model-key-file"]);
        std::fs::remove_file(&file).unwrap();
        assert_says(&args.config().err().unwrap().to_string(), &["cannot read", "key"]);
        args.model_url = Some("localhost:11434".into());
        args.model_key_file = None;
        let no_url = OpenAiBrain::new(args.config().unwrap().unwrap()).err().unwrap();
        assert_says(&no_url.to_string(), &["no URL", "http://localhost:11434"]);
    });
}

#[test]
fn a_model_that_takes_too_long_is_not_waited_for() {
    let script = Script { thinks: Duration::from_secs(30), ..saying(&[("Yes.", "stop")]) };
    with_server(script, |url, _| {
        let start = Instant::now();
        let why =
            brain(&url, None).chat(&question("?"), 100, Duration::from_secs(1)).unwrap_err().to_string();
        assert_says(&why, &["did not answer within"]);
        assert!(start.elapsed() < Duration::from_secs(10));
    });
}

/// What the program brings along.
struct Classes;

impl Brain for Classes {
    fn model(&self, kind: JobKind) -> Result<String, String> {
        if kind == JobKind::Chat { Err("it has no words".into()) } else { Ok("in the tree".into()) }
    }
    fn classes(&self) -> Vec<String> {
        vec!["fire".into(), "other".into()]
    }
    fn classify(&self, text: &str) -> anyhow::Result<Classified> {
        Ok(Classified { class: u8::from(!text.contains("smoke")), confidence: 0.9 })
    }
    fn chat(&self, _: &[ChatMessage], _: usize, _: Duration) -> anyhow::Result<String> {
        anyhow::bail!("it has no words")
    }
    fn embed(&self, _: &str) -> anyhow::Result<Vec<f32>> {
        Ok(vec![1.0])
    }
}

#[test]
fn each_kind_of_job_goes_to_the_first_that_can() {
    with_server(saying(&[("Yes.", "stop")]), |url, _| {
        let brains = Brains::new(vec![Arc::new(brain(&url, None)), Arc::new(Classes)]);
        assert_eq!(brains.chat(&question("?"), 100, PATIENCE).unwrap(), "Yes.");
        assert_eq!(brains.embed("snow").unwrap().len(), 2);
        assert_eq!(brains.classify("smoke above the hut").unwrap().class, 0);
        assert_eq!(brains.classes(), ["fire", "other"]);
        let alone = Brains::new(vec![Arc::new(Classes)]);
        assert_says(&alone.chat(&question("?"), 9, PATIENCE).unwrap_err().to_string(), &["it has no words"]);
        assert_says(&Brains::default().model(JobKind::Chat).unwrap_err(), &["no models", "--model-url"]);
    });
}
