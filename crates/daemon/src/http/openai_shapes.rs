//! OpenAI's answers, as far as clients read them.

use serde::Serialize;
use utoipa::ToSchema;

use super::bodies::TOKEN_CHARS;

/// Estimated counts: a token is four characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Of what was asked.
    pub prompt_tokens: usize,
    /// Of the answer.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

impl Usage {
    /// Of texts with so many characters.
    pub fn of(prompt_chars: usize, answer_chars: usize) -> Self {
        let (prompt, answer) = (prompt_chars.div_ceil(TOKEN_CHARS), answer_chars.div_ceil(TOKEN_CHARS));
        Self { prompt_tokens: prompt, completion_tokens: answer, total_tokens: prompt + answer }
    }
}

/// Counts of a request for vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmbeddingUsage {
    /// Of what was asked.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
    /// Always null.
    pub refusal: Option<String>,
}

/// The one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Choice {
    /// 0.
    pub index: u32,
    /// The answer.
    pub message: AnswerMessage,
    /// Always null.
    pub logprobs: Option<String>,
    /// `stop`, or `length` where the answer had no more room.
    pub finish_reason: &'static str,
}

/// Answer of `POST /v1/chat/completions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Completion {
    /// Number of the answer.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered, and where.
    pub model: String,
    /// How it was asked, and what was left out of the request: `local`, `mesh`, `mesh;left-out=3`.
    pub system_fingerprint: String,
    /// One.
    pub choices: Vec<Choice>,
    /// Estimated.
    pub usage: Usage,
}

/// What a chunk adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delta {
    /// In the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// The one answer, in a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChunkChoice {
    /// 0.
    pub index: u32,
    /// What it adds.
    pub delta: Delta,
    /// In the last.
    pub finish_reason: Option<&'static str>,
}

/// Chunk of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Chunk {
    /// Number of the answer.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// As in a whole answer.
    pub system_fingerprint: String,
    /// One; none in the chunk with the usage.
    pub choices: Vec<ChunkChoice>,
    /// In the last, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A vector.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// As numbers.
    Floats(Vec<f32>),
    /// 32-bit floats, little-endian, in base64.
    Base64(String),
}

/// One vector of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Embedding {
    /// `embedding`.
    pub object: &'static str,
    /// Which of the texts.
    pub index: usize,
    /// The vector.
    pub embedding: Vector,
}

/// Answer of `POST /v1/embeddings`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EmbeddingList {
    /// `list`.
    pub object: &'static str,
    /// One per text, in order.
    pub data: Vec<Embedding>,
    /// The model that answered.
    pub model: String,
    /// Estimated.
    pub usage: EmbeddingUsage,
}

/// A model that may be named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// Seconds since 1970 at which the daemon started.
    pub created: u64,
    /// `this-node` or `mesh`.
    pub owned_by: &'static str,
}

/// Answer of `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<Model>,
}
