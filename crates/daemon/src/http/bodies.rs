//! What clients send as JSON: decoded, checked, and cut to what the air carries. No I/O, so that a fuzzer can drive it alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;
use utoipa::ToSchema;

use crate::seam::{ChatMessage, JobPriority, JobSpec, OutText};

/// Longest text of a job in bytes of UTF-8, however well it is coded.
pub const TEXT_BYTES: usize = 2048;
/// Longest text message in bytes.
pub const MESSAGE_BYTES: usize = 200;
/// Longest time that a job may take, seconds: a week.
pub const DEADLINE_S: u32 = 7 * 24 * 3600;
/// Characters that count as one token: there is no tokenizer that all models share.
pub const TOKEN_CHARS: usize = 4;
/// Most texts of one embeddings request.
pub const INPUTS: usize = 64;
/// Most messages of a conversation.
const MESSAGES: usize = 1000;

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBody {
    /// What, and what to do about it.
    pub message: String,
    /// The field, such as `messages[0].role`.
    pub field: Option<String>,
    /// Line and column of the JSON text, from 1.
    pub place: Option<(usize, usize)>,
}

impl BadBody {
    fn field(field: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), field: Some(field.to_string()), place: None }
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadBody> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        BadBody {
            message: inner.to_string(),
            field: (path != "." && path != "?").then_some(path),
            place: Some((inner.line(), inner.column())),
        }
    })?;
    reader.end().map_err(|error| BadBody {
        message: format!("there is more after the JSON value: {error}"),
        field: None,
        place: Some((error.line(), error.column())),
    })?;
    Ok(value)
}

/// Our own bodies have no fields but the known ones: a misspelt one would be ignored without a word.
fn known(bytes: &[u8], fields: &[&str]) -> Result<(), BadBody> {
    let map: BTreeMap<String, IgnoredAny> = json(bytes)?;
    match map.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(key) => Err(BadBody::field(key, format!("unknown field; there are {}", fields.join(", ")))),
        None => Ok(()),
    }
}

fn check_text(field: &str, text: &str, most: usize) -> Result<(), BadBody> {
    if text.trim().is_empty() {
        return Err(BadBody::field(field, "is empty"));
    }
    if text.len() > most {
        return Err(BadBody::field(field, format!("has {} bytes; at most {most} are possible", text.len())));
    }
    Ok(())
}

fn check_deadline(deadline_s: Option<u32>) -> Result<(), BadBody> {
    match deadline_s {
        Some(0) => Err(BadBody::field("deadline_s", "0 seconds: 1 at least")),
        Some(s) if s > DEADLINE_S => {
            Err(BadBody::field("deadline_s", format!("{s} seconds: {DEADLINE_S} (a week) at most")))
        }
        _ => Ok(()),
    }
}

/// A job of our own API.
pub fn job(bytes: &[u8]) -> Result<JobSpec, BadBody> {
    let spec: JobSpec = json(bytes)?;
    known(bytes, &["kind", "text", "priority", "deadline_s", "max_chars"])?;
    check_text("text", &spec.text, TEXT_BYTES)?;
    check_deadline(spec.deadline_s)?;
    if spec.max_chars == Some(0) {
        return Err(BadBody::field("max_chars", "0 characters: 1 at least"));
    }
    Ok(spec)
}

/// A text message to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
pub struct TextBody {
    /// Node number of the receiver; everybody where it is missing.
    #[serde(default = "everybody")]
    pub to: u32,
    /// Index of the channel.
    #[serde(default)]
    pub channel: u8,
    /// The text, at most 200 bytes.
    pub text: String,
    /// Packet id of the message that this replies to.
    #[serde(default)]
    pub reply_to: Option<u32>,
}

fn everybody() -> u32 {
    u32::MAX
}

/// A text message of our own API.
pub fn text(bytes: &[u8]) -> Result<OutText, BadBody> {
    let body: TextBody = json(bytes)?;
    known(bytes, &["to", "channel", "text", "reply_to"])?;
    check_text("text", &body.text, MESSAGE_BYTES)?;
    if body.channel > 7 {
        return Err(BadBody::field("channel", format!("{}: a radio has channels 0 to 7", body.channel)));
    }
    Ok(OutText { to: body.to, channel: body.channel, text: body.text, reply_to: body.reply_to })
}

/// New keys for the swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationBody {
    /// Nodes that get none, such as `!0f000003`.
    #[serde(default)]
    pub without: Vec<String>,
    /// The keys come into force after so many hours at the latest, 1 to 168; 24 where it is missing.
    #[serde(default = "a_day")]
    pub hours: u32,
}

fn a_day() -> u32 {
    24
}

/// A rotation: the nodes that get no keys, and the hours.
pub fn rotation(bytes: &[u8]) -> Result<(Vec<u32>, u32), BadBody> {
    let body: RotationBody = json(bytes)?;
    known(bytes, &["without", "hours"])?;
    if !(1..=168).contains(&body.hours) {
        return Err(BadBody::field("hours", format!("{} hours: 1 to 168 are possible", body.hours)));
    }
    let node = |(at, text): (usize, &String)| {
        let num = text.strip_prefix('!').filter(|digits| digits.len() == 8);
        num.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| {
            BadBody::field(&format!("without[{at}]"), format!("{text:?} is no node: write it as !a1b2c3d4"))
        })
    };
    let without = body.without.iter().enumerate().map(node).collect::<Result<_, _>>()?;
    Ok((without, body.hours))
}

/// `POST /v1/chat/completions`, as far as it means something here. Other fields are ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatBody {
    /// `mesh`: asked over the air; the name of the local model, or anything else: the local model where there is one.
    pub model: String,
    /// The conversation.
    pub messages: Vec<ChatBodyMessage>,
    /// The answer as server-sent events.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Options of the stream.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Longest answer; a token counts as four characters.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// The newer name of `max_tokens`.
    #[serde(default)]
    pub max_completion_tokens: Option<u32>,
    /// Number of answers: 1.
    #[serde(default)]
    pub n: Option<u32>,
    /// Texts before which the answer ends: one, or a list of up to four.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub stop: Option<Stop>,
    /// Not supported.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Value>>,
    /// `{"type": "text"}` alone.
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    /// Not supported.
    #[serde(default)]
    pub logprobs: Option<bool>,
    /// Ours: the job ends with a reason after so many seconds.
    #[serde(default)]
    pub deadline_s: Option<u32>,
    /// Ours: service order of the job.
    #[serde(default)]
    pub priority: Option<JobPriority>,
}

/// One message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatBodyMessage {
    /// `system`, `developer`, `user` or `assistant`.
    pub role: String,
    /// A text, or a list of `{"type": "text", "text": ...}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub content: Option<Content>,
}

/// The text of a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// As it is.
    Text(String),
    /// In parts.
    Parts(Vec<ContentPart>),
}

/// Part of a message.
#[derive(Clone, Debug, Deserialize)]
pub struct ContentPart {
    /// `text`; others are refused.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[serde(default)]
    pub text: Option<String>,
}

/// Options of a stream.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// The last chunk tells the usage.
    #[serde(default)]
    pub include_usage: Option<bool>,
}

/// Form of the answer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ResponseFormat {
    /// `text`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// One text or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A chat as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    /// The model that was named.
    pub model: String,
    /// The conversation; at least one message of the user is in it.
    pub messages: Vec<ChatMessage>,
    /// As server-sent events.
    pub stream: bool,
    /// With the usage at their end.
    pub include_usage: bool,
    /// Longest answer.
    pub max_chars: Option<u16>,
    /// The answer ends before these.
    pub stop: Vec<String>,
    /// The job's time.
    pub deadline_s: Option<u32>,
    /// The job's order.
    pub priority: JobPriority,
}

fn message(at: usize, body: ChatBodyMessage) -> Result<ChatMessage, BadBody> {
    let role = match body.role.as_str() {
        "developer" => "system",
        "system" | "user" | "assistant" => body.role.as_str(),
        other => {
            let message = format!("{other:?} is not supported: system, developer, user or assistant");
            return Err(BadBody::field(&format!("messages[{at}].role"), message));
        }
    };
    let content = match body.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let mut text = String::new();
            for (part_at, part) in parts.into_iter().enumerate() {
                if part.kind != "text" {
                    return Err(BadBody::field(
                        &format!("messages[{at}].content[{part_at}].type"),
                        format!("{:?} is not supported: text alone", part.kind),
                    ));
                }
                text.push_str(&part.text.unwrap_or_default());
            }
            text
        }
    };
    Ok(ChatMessage { role: role.to_string(), content })
}

/// `POST /v1/chat/completions`.
pub fn chat(bytes: &[u8]) -> Result<Chat, BadBody> {
    let body: ChatBody = json(bytes)?;
    if body.n.is_some_and(|n| n != 1) {
        return Err(BadBody::field("n", "only one answer is given"));
    }
    if body.tools.is_some_and(|tools| !tools.is_empty()) {
        return Err(BadBody::field("tools", "tools are not supported"));
    }
    if body.logprobs == Some(true) {
        return Err(BadBody::field("logprobs", "are not supported"));
    }
    if let Some(format) = body.response_format.filter(|format| format.kind != "text") {
        return Err(BadBody::field(
            "response_format",
            format!("{:?} is not supported: text alone", format.kind),
        ));
    }
    check_deadline(body.deadline_s)?;
    if body.messages.len() > MESSAGES {
        return Err(BadBody::field("messages", format!("more than {MESSAGES} messages")));
    }
    let messages: Vec<ChatMessage> = body
        .messages
        .into_iter()
        .enumerate()
        .map(|(at, body)| message(at, body))
        .collect::<Result<_, _>>()?;
    if last_question(&messages).is_none() {
        return Err(BadBody::field("messages", "there is no message of the user with a text"));
    }
    let tokens = body.max_completion_tokens.or(body.max_tokens);
    if tokens == Some(0) {
        return Err(BadBody::field("max_tokens", "0 tokens: 1 at least"));
    }
    let max_chars = tokens.map(|n| u16::try_from(n.saturating_mul(TOKEN_CHARS as u32)).unwrap_or(u16::MAX));
    let mut stop = match body.stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => texts,
    };
    stop.retain(|text| !text.is_empty());
    if stop.len() > 4 {
        return Err(BadBody::field("stop", "more than four texts"));
    }
    Ok(Chat {
        model: body.model,
        messages,
        stream: body.stream.unwrap_or(false),
        include_usage: body.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        max_chars,
        stop,
        deadline_s: body.deadline_s,
        priority: body.priority.unwrap_or_default(),
    })
}

fn last_question(messages: &[ChatMessage]) -> Option<usize> {
    messages.iter().rposition(|message| message.role == "user" && !message.content.trim().is_empty())
}

/// What of a conversation goes over the air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The text of the job.
    pub text: String,
    /// Messages that are not in it.
    pub left_out: usize,
    /// Bytes of those.
    pub left_out_bytes: usize,
}

/// The last question, and as much of what was said before as `budget` bytes hold: first what the system was told, then
/// the latest messages. The question alone goes as it is; with others, each has its speaker before it.
///
/// Errors: the question alone is too long.
pub fn fit(messages: &[ChatMessage], budget: usize) -> Result<Fitted, BadBody> {
    let Some(last) = last_question(messages) else {
        return Err(BadBody::field("messages", "there is no message of the user with a text"));
    };
    let question = messages[last].content.trim();
    if question.len() > budget {
        return Err(BadBody::field(
            &format!("messages[{last}].content"),
            format!(
                "has {} bytes; a question over the mesh has {budget} at most. Shorten it, or ask a node that has a model itself",
                question.len()
            ),
        ));
    }
    let line = |at: usize| format!("{}: {}", messages[at].role, messages[at].content.trim());
    let asked = line(last);
    let mut room = budget.checked_sub(asked.len());
    let mut taken = Vec::new();
    let system = (0..last).filter(|at| messages[*at].role == "system");
    let others = (0..last).rev().filter(|at| messages[*at].role != "system");
    for at in system.chain(others).filter(|at| !messages[*at].content.trim().is_empty()) {
        match room.and_then(|room| room.checked_sub(line(at).len() + 1)) {
            Some(left) => {
                room = Some(left);
                taken.push(at);
            }
            // A gap in what was said would mislead; the system's words stand for themselves.
            None if messages[at].role == "system" => {}
            None => break,
        }
    }
    taken.sort_unstable();
    let out: Vec<usize> = (0..messages.len())
        .filter(|at| *at != last && !taken.contains(at) && !messages[*at].content.trim().is_empty())
        .collect();
    let text = if taken.is_empty() {
        question.to_string()
    } else {
        let mut text = String::new();
        for at in &taken {
            text.push_str(&line(*at));
            text.push('\n');
        }
        text + &asked
    };
    let left_out_bytes = out.iter().map(|at| messages[*at].content.len()).sum();
    Ok(Fitted { text, left_out: out.len(), left_out_bytes })
}

/// `POST /v1/embeddings`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct EmbeddingsBody {
    /// As for chats.
    pub model: String,
    /// A text, or a list of texts.
    #[schema(value_type = Object)]
    pub input: Input,
    /// `float` or `base64` (32-bit floats, little-endian).
    #[serde(default)]
    pub encoding_format: Option<String>,
    /// Not supported: vectors are as long as the model makes them.
    #[serde(default)]
    pub dimensions: Option<u32>,
    /// Ours: the job ends with a reason after so many seconds.
    #[serde(default)]
    pub deadline_s: Option<u32>,
}

/// What is to be embedded.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
    /// Token numbers, which mean nothing without the tokenizer that made them.
    Tokens(Vec<Value>),
}

/// Vectors as they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embeddings {
    /// The model that was named.
    pub model: String,
    /// The texts.
    pub input: Vec<String>,
    /// As base64 instead of a list.
    pub base64: bool,
    /// The jobs' time.
    pub deadline_s: Option<u32>,
}

/// `POST /v1/embeddings`.
pub fn embeddings(bytes: &[u8]) -> Result<Embeddings, BadBody> {
    let body: EmbeddingsBody = json(bytes)?;
    let input = match body.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Tokens(_) => return Err(BadBody::field("input", "texts are needed, not tokens")),
    };
    if input.is_empty() || input.len() > INPUTS {
        return Err(BadBody::field("input", format!("{} texts; 1 to {INPUTS} are possible", input.len())));
    }
    if let Some(at) = input.iter().position(|text| text.trim().is_empty()) {
        return Err(BadBody::field(&format!("input[{at}]"), "is empty"));
    }
    if body.dimensions.is_some() {
        return Err(BadBody::field("dimensions", "are as many as the model makes"));
    }
    check_deadline(body.deadline_s)?;
    let base64 = match body.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(BadBody::field("encoding_format", format!("{other:?} is unknown: float or base64")));
        }
    };
    Ok(Embeddings { model: body.model, input, base64, deadline_s: body.deadline_s })
}

/// The text up to the first of these texts, and whether one was there.
pub fn stopped<'a>(text: &'a str, stop: &[String]) -> (&'a str, bool) {
    match stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
        Some(at) => (&text[..at], true),
        None => (text, false),
    }
}

/// At most `max_chars` characters that end at a whole word, and whether something was cut off. A word that is longer than
/// all is cut.
pub fn shortened(text: &str, max_chars: usize) -> (&str, bool) {
    let text = text.trim_end();
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return (text, false) };
    let whole =
        text[..end].rfind(char::is_whitespace).filter(|_| !text[end..].starts_with(char::is_whitespace));
    (text[..whole.unwrap_or(end)].trim_end(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &str, content: &str) -> ChatMessage {
        ChatMessage { role: role.to_string(), content: content.to_string() }
    }

    #[test]
    fn errors_name_field_and_place() {
        let error = job(b"{\n \"kind\": \"chat\",\n \"text\": 5\n}").unwrap_err();
        assert_eq!((error.field.as_deref(), error.place.map(|place| place.0)), (Some("text"), Some(3)));
        let error = job(b"{\"kind\":\"sing\",\"text\":\"a\"}").unwrap_err();
        assert!(error.message.contains("classify") && error.field.as_deref() == Some("kind"), "{error:?}");
        let error = job(br#"{"kind":"chat","text":"a","prioriy":"low"}"#).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("prioriy"));
        let error = chat(br#"{"model":"m","messages":[{"role":"user"},{"role":7}]}"#).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("messages[1].role"));
        assert!(job(b"{} x").is_err() && job(b"").is_err() && job(&[0xFF]).is_err());
        let deep = "[".repeat(100_000);
        assert!(chat(deep.as_bytes()).is_err(), "no stack is used up");
        let long = format!(r#"{{"kind":"chat","text":"{}"}}"#, "x".repeat(TEXT_BYTES + 1));
        assert!(job(long.as_bytes()).unwrap_err().message.contains("2048"));
    }

    #[test]
    fn only_what_fits_the_air_is_sent() {
        let talk = [
            said("system", "Be brief."),
            said("user", "Old question that is long"),
            said("assistant", "Old answer"),
            said("user", "Where is water?"),
        ];
        let all = fit(&talk, 500).unwrap();
        assert_eq!(all.left_out, 0);
        assert!(
            all.text.starts_with("system: Be brief.\nuser: Old")
                && all.text.ends_with("user: Where is water?")
        );
        let some = fit(&talk, 65).unwrap();
        assert_eq!(some.text, "system: Be brief.\nassistant: Old answer\nuser: Where is water?");
        assert_eq!((some.left_out, some.left_out_bytes), (1, 25));
        let bare = fit(&talk, 15).unwrap();
        assert_eq!((bare.text.as_str(), bare.left_out), ("Where is water?", 3));
        let error = fit(&talk, 14).unwrap_err();
        assert!(
            error.message.contains("14 at most") && error.field.as_deref() == Some("messages[3].content")
        );
    }

    #[test]
    fn answers_end_at_whole_words_and_before_stops() {
        assert_eq!(shortened("one two three", 9), ("one two", true));
        assert_eq!(shortened("one two three", 7), ("one two", true));
        assert_eq!(shortened("one two", 7), ("one two", false));
        assert_eq!(shortened("Donaudampfschiff", 5), ("Donau", true));
        assert_eq!(shortened("äöü ß", 4), ("äöü", true));
        assert_eq!(stopped("a b END c", &["c".to_string(), "END".to_string()]), ("a b ", true));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let with = |extra: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#);
            chat(body.as_bytes())
        };
        assert_eq!(with("").unwrap().max_chars, None);
        assert_eq!(with(r#","max_tokens":10,"temperature":0.3,"stop":"x""#).unwrap().max_chars, Some(40));
        assert_eq!(with(r#","max_completion_tokens":4000000000"#).unwrap().max_chars, Some(u16::MAX));
        for (extra, field) in [
            (r#","n":2"#, "n"),
            (r#","tools":[{}]"#, "tools"),
            (r#","response_format":{"type":"json_object"}"#, "response_format"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","deadline_s":0"#, "deadline_s"),
        ] {
            assert_eq!(with(extra).unwrap_err().field.as_deref(), Some(field), "{extra}");
        }
        let tokens = embeddings(br#"{"model":"m","input":[1,2]}"#).unwrap_err();
        assert!(tokens.message.contains("not tokens"));
        assert!(embeddings(br#"{"model":"m","input":"a","encoding_format":"base64"}"#).unwrap().base64);
    }
}
