//! `/api/swarm`: members for everybody who may use the API; keys for whoever shows the control token.

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, JSON_BYTES,
    ask::{COMMAND_PATIENCE, command},
    bodies,
    listen::Connection,
    problem::Problem,
    read_body, stored,
};
use crate::{seam::SwarmView, swarm};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/swarm", get(view))
        .route("/api/swarm/invitation", get(invitation))
        .route("/api/swarm/rotation", post(rotate).delete(give_up))
}

fn nowhere() -> Problem {
    let detail = "no swarm is joined here: stop the daemon, `compotastic swarm join LINE` or `swarm new NAME --region REGION`, and start it again";
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// The joined swarm: members, epoch and how a rotation stands. No key is in it.
#[utoipa::path(get, path = "/api/swarm", tag = "swarm", responses((status = 200, body = SwarmView), (status = 404, body = Problem)))]
async fn view(State(api): State<Api>) -> Result<Json<SwarmView>, Problem> {
    command(api.node.swarm(), COMMAND_PATIENCE).await?.map(Json).ok_or_else(nowhere)
}

/// What makes a node a member.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// The line that begins with `compotastic:`. The swarm's keys are in it.
    pub invitation: String,
}

/// What makes a node a member: the swarm's keys. Takes the control token, on this machine.
#[utoipa::path(get, path = "/api/swarm/invitation", tag = "swarm", security(("control" = [])),
    responses((status = 200, body = Invitation), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn invitation(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Result<Json<Invitation>, Problem> {
    api.guard.check_control(&headers, connection.peer().ip())?;
    let invitation =
        stored(&api, |store| swarm::joined(store)?.as_ref().map(swarm::line).transpose()).await?;
    Ok(Json(Invitation { invitation: invitation.ok_or_else(nowhere)? }))
}

/// New keys for all members but those that are left out, over the air and from now on. Takes the control token, on this machine.
#[utoipa::path(post, path = "/api/swarm/rotation", tag = "swarm", security(("control" = [])), request_body = bodies::RotationBody,
    responses((status = 201, body = SwarmView), (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
async fn rotate(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    api.guard.check_control(&headers, connection.peer().ip())?;
    let (without, hours) = bodies::rotation(&read_body(body, JSON_BYTES).await?)?;
    let begun = command(api.node.rotate(without, hours), COMMAND_PATIENCE).await?;
    let view = begun.map_err(|reason| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the keys are not rotated: {reason}"))
    })?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Gives a rotation up that has not come into force. Takes the control token, on this machine.
#[utoipa::path(delete, path = "/api/swarm/rotation", tag = "swarm", security(("control" = [])),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn give_up(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    api.guard.check_control(&headers, connection.peer().ip())?;
    let given_up = command(api.node.give_up_rotation(), COMMAND_PATIENCE).await?;
    given_up.map(|()| StatusCode::NO_CONTENT).map_err(|reason| Problem::new(StatusCode::NOT_FOUND, reason))
}

/// All of `/api/swarm` for the document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(view, invitation, rotate, give_up))]
pub(super) struct Paths;
