//! The HTTP form of the client API, as radios with Wi-Fi have it: what web apps speak.
//!
//! `PUT /api/v1/toradio` takes one `ToRadio`, `GET /api/v1/fromradio` gives one `FromRadio`, or nothing, each a bare message without
//! a frame. There is one client for each node here too: whoever speaks takes the place of the one before, over TCP or HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use compotastic_messages::{Message as _, ToRadio};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};

use super::{
    connection::{TO_CLIENT, next_session},
    world::{Command, ToClient},
};

/// Longest message.
const MESSAGE_MAX: usize = 512;
/// The world has put what there is into the channel by then.
const PATIENCE: Duration = Duration::from_millis(50);
/// Messages that one answer holds with `all=true`.
const ALL_MAX: usize = 64;
/// Pages from anywhere may talk to a simulated radio.
const CORS: [(HeaderName, &str); 3] = [
    (HeaderName::from_static("access-control-allow-origin"), "*"),
    (HeaderName::from_static("access-control-allow-methods"), "GET, PUT, OPTIONS"),
    (HeaderName::from_static("access-control-allow-headers"), "Content-Type"),
];

/// A client that is taken as connected until another comes.
struct Open {
    session: u64,
    from_world: mpsc::Receiver<ToClient>,
}

#[derive(Clone)]
struct Node {
    node: usize,
    commands: mpsc::Sender<Command>,
    open: Arc<Mutex<Option<Open>>>,
}

impl Node {
    /// The client's session; a new one where there is none or another client has taken its place.
    async fn session<'a>(&self, open: &'a mut Option<Open>) -> Option<&'a mut Open> {
        if open.as_ref().is_none_or(|open| open.from_world.is_closed() && open.from_world.is_empty()) {
            let (to_client, from_world) = mpsc::channel(TO_CLIENT);
            let session = next_session();
            self.commands.send(Command::Connect { node: self.node, session, to_client }).await.ok()?;
            *open = Some(Open { session, from_world });
        }
        open.as_mut()
    }
}

#[derive(Deserialize)]
struct Which {
    /// All that there is, one message after the other; by default one.
    #[serde(default)]
    all: bool,
}

/// Answers until the listener's task is ended.
pub(super) async fn serve(listener: TcpListener, node: usize, commands: mpsc::Sender<Command>) {
    let state = Node { node, commands, open: Arc::default() };
    let api = Router::new()
        .route("/api/v1/toradio", put(to_radio).options(preflight))
        .route("/api/v1/fromradio", get(from_radio).options(preflight))
        .layer(DefaultBodyLimit::max(MESSAGE_MAX))
        .with_state(state);
    if let Err(error) = axum::serve(listener, api).await {
        tracing::warn!(node, %error, "http");
    }
}

async fn preflight() -> Response {
    (StatusCode::NO_CONTENT, CORS).into_response()
}

fn problem(status: StatusCode, what: &'static str) -> Response {
    (status, CORS, what).into_response()
}

async fn to_radio(State(state): State<Node>, body: Bytes) -> Response {
    if ToRadio::decode(&body).is_err() {
        return problem(StatusCode::BAD_REQUEST, "the body is no ToRadio message\n");
    }
    let mut open = state.open.lock().await;
    let Some(client) = state.session(&mut open).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the simulated world has ended\n");
    };
    let command = Command::ToRadio { node: state.node, session: client.session, bytes: body.to_vec() };
    match state.commands.send(command).await {
        Ok(()) => (StatusCode::OK, CORS).into_response(),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the simulated world has ended\n"),
    }
}

async fn from_radio(State(state): State<Node>, Query(which): Query<Which>) -> Response {
    let mut open = state.open.lock().await;
    let Some(client) = state.session(&mut open).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the simulated world has ended\n");
    };
    let mut body = Vec::new();
    for _ in 0..if which.all { ALL_MAX } else { 1 } {
        match timeout(PATIENCE, client.from_world.recv()).await {
            Ok(Some(ToClient::FromRadio(bytes))) => body.extend_from_slice(&bytes),
            // It has gone down, or another client is there: the next request begins anew.
            Ok(Some(ToClient::Down) | None) => {
                *open = None;
                break;
            }
            Err(_) => break,
        }
    }
    let kind = [(HeaderName::from_static("content-type"), "application/x-protobuf")];
    (StatusCode::OK, CORS, kind, body).into_response()
}
