//! The HTTP API: `/api` for everything that the node does, `/v1` in OpenAI's shape, `/api/docs` to read about both.
//!
//! It holds no state of its own: commands go to the node's task, what is over is read from the store.

mod ask;
pub mod bodies;
pub mod control;
mod docs;
mod events;
pub mod guard;
pub(crate) mod listen;
mod openai;
mod openai_shapes;
mod problem;
mod routes;
mod swarm;

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use self::{
    control::Control,
    events::{Feed, Pump},
    guard::{Guard, Token},
    listen::{CONNECTIONS, Connection, IDLE, Limited},
    problem::OpenAiProblem,
};
pub use self::{docs::document, problem::Problem};
pub(crate) use self::{routes::push_target, swarm::Invitation};
use crate::{
    seam::{NodeHandle, SharedBrain},
    store::Store,
};

/// Where the API is served if nothing else is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:4480";
/// Largest JSON body, bytes.
const JSON_BYTES: usize = 256 << 10;
/// A body has so long to come.
const BODY_PATIENCE: Duration = Duration::from_secs(20);
/// Local answers at work or waiting, before clients are told to come again.
const LOCAL_QUEUE: usize = 16;

/// How the API is served.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpArgs {
    /// Address of the HTTP API; any but loopback needs --token-file
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Clients have to show the token in this file; it is made, for its owner alone, where there is none
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Longest question of a chat that is sent over the mesh, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 540, value_parser = clap::value_parser!(u16).range(20..=2048))]
    pub air_text: u16,
}

impl Default for HttpArgs {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 4480)), token_file: None, air_text: 540 }
    }
}

/// Everything that a handler may need. Clones are cheap.
#[derive(Clone)]
pub struct Api {
    node: NodeHandle,
    store: Store,
    brain: SharedBrain,
    guard: Arc<Guard>,
    feed: Arc<Feed>,
    _pump: Arc<Pump>,
    air_text: usize,
    started_s: u64,
    /// One local answer at a time: models use all cores by themselves.
    local: Arc<Semaphore>,
    local_queue: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    stopper: Arc<watch::Sender<bool>>,
}

/// Milliseconds since 1970 by this machine's clock.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Api {
    /// Checks the arguments and makes the token file where it is missing. Inside a tokio runtime.
    pub fn new(node: NodeHandle, store: Store, brain: SharedBrain, args: &HttpArgs) -> Result<Self> {
        let guard = guard(args)?;
        let started_ms = now_ms();
        let (feed, pump) = Feed::start(&node, store.clone(), started_ms);
        let (stopper, stop) = watch::channel(false);
        Ok(Self {
            node,
            store,
            brain,
            guard: Arc::new(guard),
            feed,
            _pump: Arc::new(pump),
            air_text: args.air_text.into(),
            started_s: started_ms / 1000,
            local: Arc::new(Semaphore::new(1)),
            local_queue: Arc::new(Semaphore::new(LOCAL_QUEUE)),
            stop,
            stopper: Arc::new(stopper),
        })
    }

    /// Takes calls that concern the swarm's keys from whoever shows this secret.
    pub fn with_control(mut self, control: &Control) -> Self {
        Arc::make_mut(&mut self.guard).control = Some(Token::new(&control.token));
        self
    }

    /// Serves until `shutdown` ends; running requests are finished, streams of events are ended.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let stopper = self.stopper.clone();
        let shutdown = async move {
            shutdown.await;
            let _ = stopper.send(true);
        };
        let limited = Limited::new(listener, CONNECTIONS, IDLE);
        let service = self.router().into_make_service_with_connect_info::<Connection>();
        axum::serve(limited, service).with_graceful_shutdown(shutdown).await.context("the HTTP API has ended")
    }

    fn router(self) -> Router {
        let router = routes::routes().merge(swarm::routes()).merge(openai::routes()).merge(docs::routes());
        router
            .fallback(|uri: axum::http::Uri| async move {
                shaped(
                    &uri,
                    Problem::new(StatusCode::NOT_FOUND, format!("there is no {}; see /api/docs", uri.path())),
                )
            })
            .method_not_allowed_fallback(|method: axum::http::Method, uri: axum::http::Uri| async move {
                let detail = format!("{} does not take {method}; see /api/docs", uri.path());
                shaped(&uri, Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail))
            })
            .layer(middleware::from_fn_with_state(self.clone(), check))
            .layer(middleware::from_fn(listen::mark_running))
            .with_state(self)
    }
}

fn guard(args: &HttpArgs) -> Result<Guard> {
    let token = args.token_file.as_deref().map(Token::load_or_create).transpose()?;
    Guard::new(args.listen, token)
}

/// Finds what is wrong with the arguments, for who has other things to do before [`Api::new`]. Makes the token file where it is missing.
pub fn check_args(args: &HttpArgs) -> Result<()> {
    guard(args).map(drop)
}

/// Takes the address, with a message for a person where it is not to be had.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "port {} is in use, maybe by another compotastic: stop that one, or take another port, such as --listen {}:{}",
            listen.port(),
            listen.ip(),
            listen.port().wrapping_add(1)
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow!("this machine has no address {}; take 127.0.0.1, or 0.0.0.0 with --token-file", listen.ip())
        }
        _ => anyhow!("the API cannot listen on {listen}: {error}"),
    })
}

/// A problem in the shape of the API that was asked.
fn shaped(uri: &axum::http::Uri, problem: Problem) -> Response {
    if uri.path().starts_with("/v1/") {
        OpenAiProblem(problem).into_response()
    } else {
        problem.into_response()
    }
}

/// Before each request: may it pass? After each: what browsers have to know.
async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let mut response = match api.guard.check(&uri, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::warn!("{} {}: {}", request.method(), uri.path(), problem.detail);
            let status = problem.status;
            let mut response = shaped(&uri, problem);
            if status == 401 {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// The whole body, not longer than `most` bytes and not later than [`BODY_PATIENCE`].
async fn read_body(body: Body, most: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            // axum tells a body over the limit by the error's source alone.
            let text =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            if text.contains("length limit") {
                let detail = format!("the body is longer than {most} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body did not come whole: {text}")))
        }
        Err(_) => {
            let detail = format!("the body did not come within {} s", BODY_PATIENCE.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// Reads from the store, away from the threads that serve.
async fn stored<T: Send + 'static>(
    api: &Api,
    read: impl FnOnce(&Store) -> Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let store = api.store.clone();
    match tokio::task::spawn_blocking(move || read(&store)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Problem::internal(&error)),
        Err(error) => Err(Problem::internal(&error.into())),
    }
}
