//! The API describes itself: an OpenAPI document, and one page that shows it and tries the calls without any other site.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};

use super::{Api, openai, routes, swarm};

/// Scripts and styles of the page itself, and calls to where it came from: nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Compotastic",
        version = "1",
        description = "The daemon on one node of a Meshtastic mesh. Errors under /api are RFC 9457 problems, under /v1 in OpenAI's shape. \
On an address other than loopback each call but this document takes a token.",
        license(name = "MIT", identifier = "MIT")
    ),
    tags(
        (name = "node", description = "This node, its mesh and its air"),
        (name = "swarm", description = "The swarm; what concerns its keys takes the control token of the state folder, on this machine alone"),
        (name = "jobs", description = "What is asked"),
        (name = "updates", description = "Signed bundles and who has them"),
        (name = "messages", description = "Texts between people"),
        (name = "openai", description = "In OpenAI's shape"),
    ),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
            components
                .add_security_scheme("control", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        }
        let none = SecurityRequirement::default();
        document.security = Some(vec![none, SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = routes::Paths::openapi();
    document.merge(swarm::Paths::openapi());
    document.merge(openai::Paths::openapi());
    let mut whole = Document::openapi();
    whole.merge(document);
    Bearer.modify(&mut whole);
    for item in whole.paths.paths.values_mut() {
        for call in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            for (status, response) in &mut call.responses.responses {
                if let utoipa::openapi::RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    // OpenAPI 3.1 wants one in each.
                    let status = StatusCode::from_bytes(status.as_bytes()).ok();
                    response.description =
                        status.and_then(|s| s.canonical_reason()).unwrap_or("Answer").to_string();
                }
            }
        }
    }
    whole
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/openapi.json", get(|| async { axum::Json(document()) }))
        .route("/api/docs", get(page))
        .route("/", get(|| async { Redirect::temporary("/api/docs") }))
}

async fn page() -> Response {
    let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    ([policy], Html(include_str!("docs.html"))).into_response()
}
