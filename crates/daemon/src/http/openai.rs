//! `/v1` in OpenAI's shape: a local model answers where there is one, else the request becomes a job over the mesh.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response, sse},
    routing::{get, post},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use serde::Serialize;

use super::{
    Api, JSON_BYTES,
    ask::Waited,
    bodies::{self, BadBody, Chat, shortened, stopped},
    events, now_ms,
    openai_shapes::{
        AnswerMessage, Choice, Chunk, ChunkChoice, Completion, Delta, Embedding, EmbeddingList,
        EmbeddingUsage, Model, ModelList, Usage, Vector,
    },
    problem::{OpenAiProblem, Problem},
    read_body,
};
use crate::seam::{Brain, ChatMessage, JobKind, JobSpec};

/// The model name that means: over the air.
const MESH: &str = "mesh";
/// Longest local answer if nothing is said, characters.
const LOCAL_CHARS: u16 = 4000;
/// A local model has so long if nothing is said.
const LOCAL_PATIENCE: Duration = Duration::from_secs(600);
/// Texts of one embeddings request over the mesh: each is a job.
const MESH_INPUTS: usize = 4;
/// A streamed answer comes whole over the air; it is passed on in pieces of about so many characters.
const PIECE_CHARS: usize = 48;
/// An answer that ends so near its limit, in the middle of a sentence, had no more room.
const NEAR_LIMIT: usize = 24;
/// Tells in words what was left out of the request.
const LEFT_OUT: HeaderName = HeaderName::from_static("x-compotastic-left-out");

type Answer<T> = Result<T, OpenAiProblem>;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
}

/// The local model for this kind of job, unless the mesh was named.
fn local(api: &Api, named: &str, kind: JobKind) -> Option<(Arc<dyn Brain>, String)> {
    let brain = api.brain.clone().filter(|_| named != MESH)?;
    let name = brain.model(kind).ok()?;
    Some((brain, name))
}

/// Runs the model on a thread of its own, one at a time.
async fn think<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let busy = || {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "the local model has too many requests; try again later")
    };
    let _place = api.local_queue.clone().try_acquire_owned().map_err(|_| busy())?;
    let turn = api.local.clone().acquire_owned().await.map_err(|_| busy())?;
    let done = tokio::task::spawn_blocking(move || {
        // The turn ends with the work, also where its client went away.
        let _turn = turn;
        work()
    });
    match done.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Problem::internal(&error.context("the local model failed"))),
        Err(error) => Err(Problem::internal(&error.into())),
    }
}

/// An answer on its way, with what is known before it comes.
struct Pending {
    answer: BoxFuture<'static, Result<(String, String), Problem>>,
    model: String,
    fingerprint: String,
    left_out: Option<String>,
    prompt_chars: usize,
    max_chars: Option<u16>,
    stop: Vec<String>,
}

/// An answer in words, cut as its client wants it.
struct Words {
    text: String,
    model: String,
    finish_reason: &'static str,
}

impl Pending {
    async fn words(&mut self) -> Result<Words, Problem> {
        let (text, model) = (&mut self.answer).await?;
        let (cut, at_stop) = stopped(&text, &self.stop);
        let most = self.max_chars.map_or(usize::MAX, usize::from);
        let (whole, shortened) = shortened(cut, most);
        let ended = |text: &str| text.ends_with(['.', '!', '?', '"', ')', '…']);
        let full = !at_stop && whole.chars().count().saturating_add(NEAR_LIMIT) > most && !ended(whole);
        let finish_reason = if shortened || full { "length" } else { "stop" };
        Ok(Words { text: whole.to_string(), model, finish_reason })
    }

    fn usage(&self, words: &Words) -> Usage {
        Usage::of(self.prompt_chars, words.text.chars().count())
    }
}

fn chars(messages: &[ChatMessage]) -> usize {
    messages.iter().map(|message| message.content.chars().count()).sum()
}

/// Begins to answer: what can be refused is refused here, before a stream has begun.
async fn begin(api: &Api, chat: Chat) -> Result<Pending, Problem> {
    let stop = chat.stop;
    if let Some((brain, model)) = local(api, &chat.model, JobKind::Chat) {
        let (prompt_chars, max_chars) = (chars(&chat.messages), chat.max_chars.unwrap_or(LOCAL_CHARS));
        let patience = chat.deadline_s.map_or(LOCAL_PATIENCE, |s| Duration::from_secs(s.into()));
        let (api, name) = (api.clone(), model.clone());
        let answer = Box::pin(async move {
            let text = think(&api, move || brain.chat(&chat.messages, max_chars.into(), patience)).await?;
            Ok((text, name))
        });
        let fingerprint = "local".to_string();
        return Ok(Pending {
            answer,
            model,
            fingerprint,
            left_out: None,
            prompt_chars,
            max_chars: Some(max_chars),
            stop,
        });
    }
    let fitted = bodies::fit(&chat.messages, api.air_text)?;
    let prompt_chars = fitted.text.chars().count();
    let spec = JobSpec {
        kind: JobKind::Chat,
        text: fitted.text,
        priority: chat.priority,
        deadline_s: chat.deadline_s,
        max_chars: chat.max_chars,
    };
    let waited = Waited::submit(api, spec).await?;
    let answer = Box::pin(async move {
        let answer = waited.answer().await?;
        let text = answer
            .text
            .ok_or_else(|| Problem::new(StatusCode::BAD_GATEWAY, "the answer has no words in it"))?;
        let model = if answer.model.is_empty() { MESH.to_string() } else { answer.model };
        Ok((text, model))
    });
    let (fingerprint, left_out) = match fitted.left_out {
        0 => (MESH.to_string(), None),
        n => (
            format!("{MESH};left-out={n}"),
            Some(format!(
                "{n} of {} messages, {} bytes: the air carries {} bytes of a question",
                chat.messages.len(),
                fitted.left_out_bytes,
                api.air_text
            )),
        ),
    };
    Ok(Pending {
        answer,
        model: MESH.to_string(),
        fingerprint,
        left_out,
        prompt_chars,
        max_chars: chat.max_chars,
        stop,
    })
}

fn answer_id() -> Result<String, Problem> {
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(|error| {
        Problem::internal(&anyhow::anyhow!("this machine has no random numbers: {error}"))
    })?;
    Ok(format!("chatcmpl-{}", data_encoding::HEXLOWER.encode(&random)))
}

/// Answers a conversation. Over the mesh only the last question and as much before it as fits are sent; what was left out is
/// told in `system_fingerprint` and the header `x-compotastic-left-out`. Airtime is dear: the answer takes seconds to minutes.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai", request_body = bodies::ChatBody,
    responses((status = 200, body = Completion, description = "With `stream`: chunks as server-sent events, then `[DONE]`"),
        (status = 400, description = "OpenAI's error shape"), (status = 502, description = "The job ended without an answer")))]
async fn chat(State(api): State<Api>, body: Body) -> Answer<Response> {
    let chat = bodies::chat(&read_body(body, JSON_BYTES).await?)?;
    let (streamed, include_usage) = (chat.stream, chat.include_usage);
    let id = answer_id()?;
    let created = now_ms() / 1000;
    let mut pending = begin(&api, chat).await?;
    let left_out = pending.left_out.clone();
    let mut response = if streamed {
        stream_answer(&api, pending, id, created, include_usage)
    } else {
        let words = pending.words().await?;
        let usage = pending.usage(&words);
        let message = AnswerMessage { role: "assistant", content: words.text, refusal: None };
        Json(Completion {
            id,
            object: "chat.completion",
            created,
            model: words.model,
            system_fingerprint: pending.fingerprint,
            choices: vec![Choice { index: 0, message, logprobs: None, finish_reason: words.finish_reason }],
            usage,
        })
        .into_response()
    };
    if let Some(left_out) = left_out.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(LEFT_OUT, left_out);
    }
    Ok(response)
}

fn data(value: &impl Serialize) -> sse::Event {
    sse::Event::default().data(serde_json::to_string(value).unwrap_or_default())
}

/// Pieces of a text that end at whole words; together they are the text.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split_inclusive(char::is_whitespace) {
        match pieces.last_mut() {
            Some(piece)
                if piece.is_empty() || piece.chars().count() + word.chars().count() <= PIECE_CHARS =>
            {
                piece.push_str(word);
            }
            _ => pieces.push(word.to_string()),
        }
    }
    pieces
}

/// The first chunk goes at once; while nothing more is there, comments keep the connection open.
fn stream_answer(api: &Api, mut pending: Pending, id: String, created: u64, include_usage: bool) -> Response {
    let fingerprint = pending.fingerprint.clone();
    let chunk = move |model: &str, choices: Vec<ChunkChoice>, usage: Option<Usage>| {
        data(&Chunk {
            id: id.clone(),
            object: "chat.completion.chunk",
            created,
            model: model.to_string(),
            system_fingerprint: fingerprint.clone(),
            choices,
            usage,
        })
    };
    let choice = |delta, finish_reason| vec![ChunkChoice { index: 0, delta, finish_reason }];
    let role = Delta { role: Some("assistant"), content: Some(String::new()) };
    let first = chunk(&pending.model, choice(role, None), None);
    let rest = stream::once(async move {
        let mut out = Vec::new();
        match pending.words().await {
            Ok(words) => {
                for piece in pieces(&words.text) {
                    let delta = Delta { role: None, content: Some(piece) };
                    out.push(chunk(&words.model, choice(delta, None), None));
                }
                out.push(chunk(&words.model, choice(Delta::default(), Some(words.finish_reason)), None));
                if include_usage {
                    out.push(chunk(&words.model, Vec::new(), Some(pending.usage(&words))));
                }
            }
            Err(problem) => out.push(data(&problem.openai_value())),
        }
        out.push(sse::Event::default().data("[DONE]"));
        stream::iter(out)
    });
    let all = stream::once(std::future::ready(first)).chain(rest.flatten()).map(Ok);
    events::respond(all, api.stop.clone()).into_response()
}

fn vector(values: Vec<f32>, base64: bool) -> Vector {
    if base64 {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Vector::Base64(data_encoding::BASE64.encode(&bytes))
    } else {
        Vector::Floats(values)
    }
}

/// Vectors of texts, by the local model or over the mesh (there four texts at most, each a job).
#[utoipa::path(post, path = "/v1/embeddings", tag = "openai", request_body = bodies::EmbeddingsBody,
    responses((status = 200, body = EmbeddingList), (status = 400, description = "OpenAI's error shape"),
        (status = 502, description = "The job ended without an answer")))]
async fn embeddings(State(api): State<Api>, body: Body) -> Answer<Json<EmbeddingList>> {
    let asked = bodies::embeddings(&read_body(body, JSON_BYTES).await?)?;
    let prompt_tokens = asked.input.iter().map(|text| Usage::of(text.chars().count(), 0).prompt_tokens).sum();
    let (vectors, model) = match local(&api, &asked.model, JobKind::Embed) {
        Some((brain, name)) => {
            let input = asked.input;
            let work = move || input.iter().map(|text| brain.embed(text)).collect::<anyhow::Result<Vec<_>>>();
            (think(&api, work).await?, name)
        }
        None => over_the_mesh(&api, asked.input, asked.deadline_s).await?,
    };
    let data = vectors.into_iter().enumerate().map(|(index, values)| Embedding {
        object: "embedding",
        index,
        embedding: vector(values, asked.base64),
    });
    let usage = EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens };
    Ok(Json(EmbeddingList { object: "list", data: data.collect(), model, usage }))
}

async fn over_the_mesh(
    api: &Api,
    input: Vec<String>,
    deadline_s: Option<u32>,
) -> Result<(Vec<Vec<f32>>, String), Problem> {
    if input.len() > MESH_INPUTS {
        let message = format!("{} texts; {MESH_INPUTS} at most go over the mesh, each is a job", input.len());
        return Err(BadBody { message, field: Some("input".to_string()), place: None }.into());
    }
    if let Some(at) = input.iter().position(|text| text.len() > api.air_text) {
        let message =
            format!("has {} bytes; a text over the mesh has {} at most", input[at].len(), api.air_text);
        return Err(BadBody { message, field: Some(format!("input[{at}]")), place: None }.into());
    }
    // One after the other: the second costs no air if the first shows that nobody answers.
    let (mut vectors, mut model) = (Vec::new(), String::new());
    for text in input {
        let spec =
            JobSpec { kind: JobKind::Embed, text, priority: Default::default(), deadline_s, max_chars: None };
        let answer = Waited::submit(api, spec).await?.answer().await?;
        let values = answer
            .embedding
            .ok_or_else(|| Problem::new(StatusCode::BAD_GATEWAY, "the answer has no vector in it"))?;
        if vectors.first().is_some_and(|first: &Vec<f32>| first.len() != values.len())
            || (!model.is_empty() && model != answer.model)
        {
            let detail = "the texts were answered by different models, whose vectors do not compare: ask for one at a time";
            return Err(Problem::new(StatusCode::BAD_GATEWAY, detail));
        }
        model = answer.model;
        vectors.push(values);
    }
    Ok((vectors, if model.is_empty() { MESH.to_string() } else { model }))
}

fn model_list(api: &Api) -> Vec<Model> {
    let named = |id: String, owned_by| Model { id, object: "model", created: api.started_s, owned_by };
    let mut models = vec![named(MESH.to_string(), "mesh")];
    for kind in [JobKind::Embed, JobKind::Chat] {
        if let Some((_, name)) = local(api, "", kind)
            && models.iter().all(|model| model.id != name)
        {
            models.insert(0, named(name, "this-node"));
        }
    }
    models
}

/// The models: those of this node, and `mesh` for whoever answers over the air.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, body = ModelList)))]
async fn models(State(api): State<Api>) -> Json<ModelList> {
    Json(ModelList { object: "list", data: model_list(&api) })
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path, description = "Name of the model")),
    responses((status = 200, body = Model), (status = 404, description = "OpenAI's error shape")))]
async fn model(State(api): State<Api>, Path(id): Path<String>) -> Answer<Json<Model>> {
    let found = model_list(&api).into_iter().find(|model| model.id == id);
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, format!("there is no model {id:?}; /v1/models lists them"));
    Ok(Json(found.ok_or_else(missing)?))
}

/// All of `/v1` for the document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(chat, embeddings, models, model))]
pub(super) struct Paths;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text() {
        let text =
            "A short answer that is a little longer than one piece, with  two spaces\nand a line end. "
                .repeat(3);
        let parts = pieces(&text);
        assert!(parts.len() > 4 && parts.concat() == text);
        assert_eq!(pieces("one"), ["one"]);
        assert_eq!(pieces(""), [""]);
    }
}
