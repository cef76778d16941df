//! The HTTP form of Meshtastic's client API, as radios with Wi-Fi have it: what web apps speak.
//!
//! `PUT /api/v1/toradio` takes one `ToRadio`, `GET /api/v1/fromradio` gives one `FromRadio` (up to 64 that wait with `?all=true`), or nothing,
//! each a bare message without a frame (<https://meshtastic.org/docs/development/device/http-api/>). What stands behind it is a
//! [`Radio`]: a simulated node or the shared radio. HTTP knows no connections, so each of them says what a client is.
//!
//! A client that is not known any more, because it was silent for too long, is told `rebooted` by its next `GET`: apps ask for the
//! state anew then.

mod pages;

use std::{future::Future, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use compotastic_messages::{FromRadio, FromRadioPayload, Message as _, ToRadio};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, time::timeout};

pub use self::pages::{Origin, Pages};
use crate::http::listen::{CONNECTIONS, Connection, IDLE, Limited, mark_running};

/// Longest message, bytes.
const MESSAGE_MAX: usize = 512;
/// A body has so long to come.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// A client that has just asked for something has its answer by then, as a rule: it polls again only after seconds.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// Most messages in one answer.
pub const ALL_MAX: usize = 64;
/// Where the messages are described.
const SCHEMA: HeaderValue =
    HeaderValue::from_static("https://github.com/meshtastic/protobufs/blob/master/meshtastic/mesh.proto");

/// What is known of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    /// Address without port: programs open several connections.
    pub address: IpAddr,
    /// Digest of what the program calls itself.
    pub program: [u8; 16],
}

/// Why a request is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another client has taken this one's place.
    Taken,
    /// There is no place for another client.
    NoRoom,
    /// The radio is down.
    Down,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Taken => StatusCode::CONFLICT,
            Self::NoRoom | Self::Down => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Taken => "another client has this radio now; connect again to take it back\n",
            Self::NoRoom => {
                "the radio has no room for another client; try again later, or raise --share-clients\n"
            }
            Self::Down => "the radio is down; try again in some seconds\n",
        }
    }
}

/// What is served.
pub trait Radio: Clone + Send + Sync + 'static {
    /// A `ToRadio` message that makes sense, and its bytes.
    fn put(
        &self,
        asker: Asker,
        message: &ToRadio<'_>,
        bytes: &[u8],
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// At most so many `FromRadio` messages, one after the other.
    fn get(&self, asker: Asker, most: usize) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;
}

/// What a client is told that is not known any more.
pub fn rebooted() -> Vec<u8> {
    FromRadio::from(FromRadioPayload::Rebooted(true))
        .to_vec::<8>()
        .map_or_else(|_| Vec::new(), |it| it.to_vec())
}

#[derive(Clone)]
struct Face<R> {
    radio: R,
    pages: Pages,
}

/// Answers until the task is ended.
pub async fn serve(listener: TcpListener, radio: impl Radio, pages: Pages) -> Result<()> {
    let router = Router::new()
        .route("/api/v1/toradio", any(to_radio))
        .route("/api/v1/fromradio", any(from_radio))
        // Apps ask here whether there is anybody before they connect.
        .route(
            "/",
            get(|| async { "A Meshtastic radio: /api/v1/toradio and /api/v1/fromradio are for apps.\n" }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /api/v1/toradio and /api/v1/fromradio\n") })
        .layer(middleware::map_response(embeddable))
        .layer(middleware::from_fn(mark_running))
        .with_state(Face { radio, pages });
    let service = router.into_make_service_with_connect_info::<Connection>();
    axum::serve(Limited::new(listener, CONNECTIONS, IDLE), service)
        .await
        .context("the radio's HTTP API has ended")
}

/// Pages that are isolated from other sites, as the web app is for its data base, may ask even without CORS.
async fn embeddable(mut response: Response) -> Response {
    let all = HeaderValue::from_static("cross-origin");
    response.headers_mut().insert(HeaderName::from_static("cross-origin-resource-policy"), all);
    response
}

/// A text that says what is wrong.
fn problem(status: StatusCode, what: impl Into<String>) -> Response {
    (status, what.into()).into_response()
}

fn forbidden(what: &'static str) -> Response {
    problem(StatusCode::FORBIDDEN, what)
}

fn asker(connection: &Connection, headers: &HeaderMap) -> Asker {
    let name = headers.get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    let mut program = [0; 16];
    program.copy_from_slice(&Sha256::digest(name)[..16]);
    Asker { address: connection.peer().ip(), program }
}

async fn to_radio<R: Radio>(
    State(face): State<Face<R>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let done = async {
        face.pages.check(&headers).map_err(forbidden)?;
        match *request.method() {
            Method::OPTIONS => return Ok(StatusCode::NO_CONTENT.into_response()),
            Method::PUT => {}
            _ => return Ok(not_allowed("PUT, OPTIONS")),
        }
        let body = read(request.into_body()).await?;
        let message = ToRadio::decode(&body)
            .ok()
            .filter(|message| message.payload.is_some())
            .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "the body is no ToRadio message\n"))?;
        match face.radio.put(asker(&connection, &headers), &message, &body).await {
            Ok(()) => Ok(StatusCode::OK.into_response()),
            Err(refusal) => Err(problem(refusal.status(), refusal.text())),
        }
    };
    let response = done.await.unwrap_or_else(|refused| refused);
    told(face.pages.allow(&headers), "PUT, OPTIONS", response)
}

#[derive(Deserialize)]
struct Which {
    /// All that there is, one message after the other; by default one.
    #[serde(default)]
    all: bool,
}

async fn from_radio<R: Radio>(
    State(face): State<Face<R>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    // The body is not looked at.
    let (parts, _) = request.into_parts();
    let headers = &parts.headers;
    let done = async {
        face.pages.check(headers).map_err(forbidden)?;
        match parts.method {
            Method::OPTIONS => return Ok(StatusCode::NO_CONTENT.into_response()),
            // HEAD would take a message and not give it.
            Method::GET => {}
            _ => return Ok(not_allowed("GET, OPTIONS")),
        }
        let Query(which) = Query::<Which>::try_from_uri(&parts.uri)
            .map_err(|_| problem(StatusCode::BAD_REQUEST, "all is true or false\n"))?;
        let most = if which.all { ALL_MAX } else { 1 };
        match face.radio.get(asker(&connection, headers), most).await {
            Ok(messages) => Ok(messages.into_response()),
            Err(refusal) => Err(problem(refusal.status(), refusal.text())),
        }
    };
    let mut response = done.await.unwrap_or_else(|refused: Response| refused);
    if response.status() == StatusCode::OK {
        let kind = HeaderValue::from_static("application/x-protobuf");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    told(face.pages.allow(headers), "GET, OPTIONS", response)
}

fn not_allowed(methods: &'static str) -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, format!("this takes {methods}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// What browsers have to know, on refusals too: a page could not read them otherwise.
fn told(page: Option<HeaderValue>, methods: &'static str, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if let Some(page) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-protobuf-schema"), SCHEMA);
    response
}

/// The whole body: not longer than a message may be, and not later than [`BODY_PATIENCE`].
async fn read(body: Body) -> Result<Bytes, Response> {
    match timeout(BODY_PATIENCE, to_bytes(body, MESSAGE_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "one ToRadio message of at most 512 bytes is taken\n"))
        }
        Err(_) => Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 s\n")),
    }
}
