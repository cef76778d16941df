//! `/api`: jobs, nodes, objects, updates, air, texts.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, JSON_BYTES,
    ask::{COMMAND_PATIENCE, command, submit},
    bodies, events, now_ms,
    problem::Problem,
    read_body, stored,
};
use crate::{
    seam::{AirtimeView, JobSpec, JobView, NodeView, ObjectView, PushTarget, Snapshot, TextMessage},
    store::{BUNDLE_BYTES, JobFilter, StoredText},
};

/// A bundle is checked and written to flash before the answer.
const PUSH_PATIENCE: Duration = Duration::from_secs(60);
/// A text waits for its turn on the air before the answer.
const SEND_PATIENCE: Duration = Duration::from_secs(75);
/// Most rows of an answer.
const LIMIT: usize = 1000;

type Answer<T> = Result<Json<T>, Problem>;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/nodes", get(nodes))
        .route("/api/nodes/{id}", get(node))
        .route("/api/jobs", get(jobs).post(submit_job))
        .route("/api/jobs/{id}", get(job).delete(cancel_job))
        .route("/api/jobs/{id}/events", get(job_events))
        .route("/api/events", get(all_events))
        .route("/api/objects", get(objects))
        .route("/api/updates", get(updates).post(push))
        .route("/api/updates/{tag}", axum::routing::delete(withdraw))
        .route("/api/updates/{tag}/pause", post(pause))
        .route("/api/updates/{tag}/resume", post(resume))
        .route("/api/airtime", get(airtime))
        .route("/api/messages", get(messages).post(send_message))
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri)
        .map(|Query(query)| query)
        .map_err(|error| Problem::parameter("query", format!("{}; see /api/docs", error.body_text())))
}

async fn snapshot(api: &Api) -> Result<Snapshot, Problem> {
    command(api.node.snapshot(), COMMAND_PATIENCE).await
}

/// A node's number out of `!0f000003`, `0x0f000003` or `251658243`.
pub(crate) fn node_number(text: &str) -> Option<u32> {
    match text.strip_prefix('!').or_else(|| text.strip_prefix("0x")) {
        Some(digits) if digits.len() <= 8 => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// The whole state of the daemon.
#[utoipa::path(get, path = "/api/status", tag = "node", responses((status = 200, body = Snapshot)))]
async fn status(State(api): State<Api>) -> Answer<Snapshot> {
    Ok(Json(snapshot(&api).await?))
}

/// The nodes that were heard, most lately heard first.
#[utoipa::path(get, path = "/api/nodes", tag = "node", responses((status = 200, body = Vec<NodeView>)))]
async fn nodes(State(api): State<Api>) -> Answer<Vec<NodeView>> {
    Ok(Json(snapshot(&api).await?.nodes))
}

/// One node, by its id (`!0f000003`) or number.
#[utoipa::path(get, path = "/api/nodes/{id}", tag = "node", params(("id" = String, Path, description = "!0f000003, or the number")),
    responses((status = 200, body = NodeView), (status = 404, body = Problem)))]
async fn node(State(api): State<Api>, Path(id): Path<String>) -> Answer<NodeView> {
    let num = node_number(&id).ok_or_else(|| {
        Problem::parameter("id", format!("{id:?} is neither an id such as !0f000003 nor a number"))
    })?;
    let nodes = snapshot(&api).await?.nodes;
    let found = nodes.into_iter().find(|node| node.num == num);
    found.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("node {id} was never heard")))
}

/// State of the jobs that are listed.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateQuery {
    #[default]
    All,
    Open,
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl From<StateQuery> for JobFilter {
    fn from(state: StateQuery) -> Self {
        match state {
            StateQuery::All => Self::All,
            StateQuery::Open => Self::Open,
            StateQuery::Queued => Self::Queued,
            StateQuery::Running => Self::Running,
            StateQuery::Done => Self::Done,
            StateQuery::Failed => Self::Failed,
            StateQuery::Cancelled => Self::Cancelled,
        }
    }
}

/// Which jobs are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// Only those in this state; `open` is queued or running.
    #[serde(default)]
    #[param(inline)]
    state: StateQuery,
    /// Only those with smaller numbers: the next page.
    before: Option<u64>,
    /// Most rows, 50 by default, 1000 at most.
    limit: Option<usize>,
}

/// Jobs of this node, newest first.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(JobsQuery),
    responses((status = 200, body = Vec<JobView>), (status = 400, body = Problem)))]
async fn jobs(State(api): State<Api>, uri: Uri) -> Answer<Vec<JobView>> {
    let asked: JobsQuery = query(&uri)?;
    let limit = asked.limit.unwrap_or(50).min(LIMIT);
    Ok(Json(stored(&api, move |store| store.jobs(asked.state.into(), asked.before, limit)).await?))
}

/// Submits a job: `classify` gives a class, `chat` words, `embed` a vector.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = JobSpec,
    responses((status = 201, body = JobView), (status = 400, body = Problem), (status = 422, body = Problem)))]
async fn submit_job(State(api): State<Api>, body: Body) -> Result<Response, Problem> {
    let spec = bodies::job(&read_body(body, JSON_BYTES).await?)?;
    let job = submit(&api, spec).await?;
    let place = [(header::LOCATION, format!("/api/jobs/{}", job.id))];
    Ok((StatusCode::CREATED, place, Json(job)).into_response())
}

async fn find(api: &Api, id: &str) -> Result<JobView, Problem> {
    let number: u64 =
        id.parse().map_err(|_| Problem::parameter("id", format!("{id:?} is not a job's number")))?;
    stored(api, move |store| store.job(number)).await?.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no job {number}; /api/jobs lists them"))
    })
}

/// One job.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = u64, Path, description = "The job's number")),
    responses((status = 200, body = JobView), (status = 404, body = Problem)))]
async fn job(State(api): State<Api>, Path(id): Path<String>) -> Answer<JobView> {
    Ok(Json(find(&api, &id).await?))
}

/// Takes a job back.
#[utoipa::path(delete, path = "/api/jobs/{id}", tag = "jobs", params(("id" = u64, Path, description = "The job's number")),
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel_job(State(api): State<Api>, Path(id): Path<String>) -> Answer<JobView> {
    let job = find(&api, &id).await?;
    if !command(api.node.cancel(job.id), COMMAND_PATIENCE).await? {
        return Err(Problem::new(StatusCode::CONFLICT, format!("job {id} has ended already")));
    }
    Ok(Json(find(&api, &id).await?))
}

/// Follows one job by server-sent events (`event: job`, data: the job) until it ends. Whoever comes back with the last event's id gets 204.
#[utoipa::path(get, path = "/api/jobs/{id}/events", tag = "jobs", params(("id" = u64, Path, description = "The job's number")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 204, description = "It has ended, and the client knows"),
        (status = 404, body = Problem)))]
async fn job_events(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A browser opens a stream that has ended anew, unless it is told that there is nothing more.
    if headers.get("last-event-id").is_some_and(|last| last == events::LAST_ID) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    // The listener is there before the job is read: what happens in between is told twice rather than never.
    let follow = api.node.subscribe();
    let job = find(&api, &id).await?;
    let stream = events::follow_job(follow, api.store.clone(), job);
    Ok(events::respond(stream, api.stop.clone()).into_response())
}

/// Follows everything by server-sent events: `job`, `node`, `text`, `link`, `object`; `lagged` tells how many were missed. A
/// client that comes back with `Last-Event-ID` gets what it missed.
#[utoipa::path(get, path = "/api/events", tag = "node", params(("Last-Event-ID" = Option<String>, Header, description = "The last id that was seen")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
async fn all_events(State(api): State<Api>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    events::respond(api.feed.follow(last), api.stop.clone()).into_response()
}

/// Objects that this node holds or collects.
#[utoipa::path(get, path = "/api/objects", tag = "updates", responses((status = 200, body = Vec<ObjectView>)))]
async fn objects(State(api): State<Api>) -> Answer<Vec<ObjectView>> {
    Ok(Json(snapshot(&api).await?.objects))
}

/// Objects that this node published, and who has them.
#[utoipa::path(get, path = "/api/updates", tag = "updates", responses((status = 200, body = Vec<ObjectView>)))]
async fn updates(State(api): State<Api>) -> Answer<Vec<ObjectView>> {
    let mut objects = snapshot(&api).await?.objects;
    objects.retain(|object| object.published_here);
    Ok(Json(objects))
}

/// For whom a bundle is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PushQuery {
    /// `class:1`, or `node:!0f000003`.
    #[param(example = "class:1")]
    to: String,
}

/// Reads `class:1` or `node:!0f000003`.
pub(crate) fn push_target(text: &str) -> Result<PushTarget, String> {
    match text.split_once(':') {
        Some(("class", number)) => match number.parse() {
            Ok(class) if class < 32 => Ok(PushTarget::Class { class }),
            _ => Err(format!("{number:?} is no device class: they have numbers, 0 to 31")),
        },
        Some(("node", id)) => match node_number(id) {
            Some(num) => Ok(PushTarget::Node { num }),
            None => Err(format!("{id:?} is neither a node's id such as !0f000003 nor its number")),
        },
        _ => Err(format!("{text:?} is neither class:N nor node:ID")),
    }
}

/// Publishes a signed bundle; the body is the bundle file.
#[utoipa::path(post, path = "/api/updates", tag = "updates", params(PushQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = ObjectView), (status = 400, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
async fn push(State(api): State<Api>, uri: Uri, body: Body) -> Result<Response, Problem> {
    let asked: PushQuery = query(&uri)?;
    let to = push_target(&asked.to).map_err(|error| Problem::parameter("to", error))?;
    let bundle = read_body(body, BUNDLE_BYTES).await?;
    if bundle.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty: it has to be the bundle file"));
    }
    let object = command(api.node.push(bundle.to_vec(), to), PUSH_PATIENCE).await?;
    let object = object.map_err(|reason| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the bundle is not published: {reason}"))
    })?;
    Ok((StatusCode::CREATED, Json(object)).into_response())
}

fn tag(text: &str) -> Result<String, Problem> {
    let whole = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let wrong =
        || Problem::parameter("tag", format!("{text:?} is not an object's tag: eight hexadecimal digits"));
    whole.then(|| text.to_ascii_lowercase()).ok_or_else(wrong)
}

async fn change(answer: Result<Result<(), String>, Problem>) -> Result<StatusCode, Problem> {
    match answer? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(reason) => Err(Problem::new(StatusCode::NOT_FOUND, reason)),
    }
}

/// Stops offering an object; nodes that have it go on.
#[utoipa::path(post, path = "/api/updates/{tag}/pause", tag = "updates", params(("tag" = String, Path, description = "The object's tag")),
    responses((status = 204), (status = 404, body = Problem)))]
async fn pause(State(api): State<Api>, Path(text): Path<String>) -> Result<StatusCode, Problem> {
    change(command(api.node.pause(tag(&text)?, true), COMMAND_PATIENCE).await).await
}

/// Offers it again.
#[utoipa::path(post, path = "/api/updates/{tag}/resume", tag = "updates", params(("tag" = String, Path, description = "The object's tag")),
    responses((status = 204), (status = 404, body = Problem)))]
async fn resume(State(api): State<Api>, Path(text): Path<String>) -> Result<StatusCode, Problem> {
    change(command(api.node.pause(tag(&text)?, false), COMMAND_PATIENCE).await).await
}

/// Gives an object up that was published here.
#[utoipa::path(delete, path = "/api/updates/{tag}", tag = "updates", params(("tag" = String, Path, description = "The object's tag")),
    responses((status = 204), (status = 404, body = Problem)))]
async fn withdraw(State(api): State<Api>, Path(text): Path<String>) -> Result<StatusCode, Problem> {
    change(command(api.node.withdraw(tag(&text)?), COMMAND_PATIENCE).await).await
}

/// The air: how full it is, what this node used, and which gate holds.
#[utoipa::path(get, path = "/api/airtime", tag = "node", responses((status = 200, body = AirtimeView)))]
async fn airtime(State(api): State<Api>) -> Answer<AirtimeView> {
    Ok(Json(snapshot(&api).await?.airtime))
}

/// Which texts are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessagesQuery {
    /// Only those with higher numbers.
    after: Option<u64>,
    /// Most rows, 50 by default, 1000 at most: the newest.
    limit: Option<usize>,
}

/// Text messages that came or went, oldest first.
#[utoipa::path(get, path = "/api/messages", tag = "messages", params(MessagesQuery), responses((status = 200, body = Vec<StoredText>)))]
async fn messages(State(api): State<Api>, uri: Uri) -> Answer<Vec<StoredText>> {
    let asked: MessagesQuery = query(&uri)?;
    let limit = asked.limit.unwrap_or(50).min(LIMIT);
    Ok(Json(stored(&api, move |store| store.texts(asked.after.unwrap_or(0), limit)).await?))
}

/// A message that is on its way.
#[derive(Debug, Serialize, ToSchema)]
struct SentText {
    /// Its packet id.
    id: u32,
}

/// Sends a text message.
#[utoipa::path(post, path = "/api/messages", tag = "messages", request_body = bodies::TextBody,
    responses((status = 201, body = SentText), (status = 400, body = Problem), (status = 422, body = Problem)))]
async fn send_message(State(api): State<Api>, body: Body) -> Result<Response, Problem> {
    let text = bodies::text(&read_body(body, JSON_BYTES).await?)?;
    let from = snapshot(&api).await?.num;
    let (to, channel, words, reply_to) = (text.to, text.channel, text.text.clone(), text.reply_to);
    let id = command(api.node.send_text(text), SEND_PATIENCE).await?.map_err(|reason| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the message is not sent: {reason}"))
    })?;
    let sent = TextMessage { from, to, id, channel, text: words, proven: true, reply_to };
    stored(&api, move |store| store.add_text(&sent, now_ms())).await?;
    Ok((StatusCode::CREATED, Json(SentText { id })).into_response())
}

/// All of `/api` for the document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    status,
    nodes,
    node,
    jobs,
    submit_job,
    job,
    cancel_job,
    job_events,
    all_events,
    objects,
    updates,
    push,
    pause,
    resume,
    withdraw,
    airtime,
    messages,
    send_message
))]
pub(super) struct Paths;
