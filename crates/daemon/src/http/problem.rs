//! What a client is told when something is wrong: RFC 9457's shape under `/api`, OpenAI's under `/v1`.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::bodies::BadBody;

/// The OpenAI packages repeat failed requests by themselves unless this says `false`; each repetition would be air time.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What is wrong, and what to do next (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// In general.
    pub title: String,
    /// Status of the response.
    pub status: u16,
    /// In particular.
    pub detail: String,
    /// Field of the body, or parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Line of the body, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column of that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Problem {
    /// With the status' usual title.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error").to_string(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            line: None,
            column: None,
        }
    }

    /// Of a parameter.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(name.to_string()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// Something here failed; the log has more.
    pub fn internal(error: &anyhow::Error) -> Self {
        tracing::error!("a request failed: {error:#}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}; the daemon's log says more"))
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// OpenAI's kind of this error.
    fn openai_kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// In OpenAI's shape.
    pub fn openai_value(&self) -> serde_json::Value {
        let place = match (self.line, self.column) {
            (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
            _ => String::new(),
        };
        let message = match &self.field {
            Some(field) if !self.detail.starts_with(field.as_str()) => {
                format!("{field}: {}{place}", self.detail)
            }
            _ => format!("{}{place}", self.detail),
        };
        json!({"error": {"message": message, "type": self.openai_kind(), "param": self.field, "code": null}})
    }
}

impl From<BadBody> for Problem {
    fn from(bad: BadBody) -> Self {
        let place = bad.place.filter(|place| place.0 > 0);
        Self {
            field: bad.field,
            line: place.map(|place| place.0),
            column: place.map(|place| place.1),
            ..Self::new(StatusCode::BAD_REQUEST, bad.message)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status(), [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

/// A problem in OpenAI's shape.
#[derive(Debug)]
pub struct OpenAiProblem(pub Problem);

impl<T: Into<Problem>> From<T> for OpenAiProblem {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for OpenAiProblem {
    fn into_response(self) -> Response {
        // A model that is busy costs nothing to ask again.
        let again = if self.0.status == StatusCode::TOO_MANY_REQUESTS.as_u16() { "true" } else { "false" };
        let retry = (SHOULD_RETRY, HeaderValue::from_static(again));
        (self.0.status(), [retry], axum::Json(self.0.openai_value())).into_response()
    }
}
