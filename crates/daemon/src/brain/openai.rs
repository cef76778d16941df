//! Any server that speaks OpenAI's API: Ollama, llama.cpp, vLLM, or one far away.

use std::{
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{cut, tidy};
use crate::seam::{Brain, ChatMessage, Classified, JobKind};

/// Environment variable of the key, where the server wants one.
pub const KEY_VARIABLE: &str = "COMPOTASTIC_MODEL_KEY";
/// Longest reply of a server that is read.
const REPLY_MAX: u64 = 4 << 20;
/// Listing the models takes no thought.
const LIST_PATIENCE: Duration = Duration::from_secs(5);
/// A vector takes little.
const EMBED_PATIENCE: Duration = Duration::from_secs(60);
/// So long what was found out about the server is believed.
const BELIEVED: Duration = Duration::from_secs(30);
/// How often the model is asked to shorten its answer.
const SHORTENINGS: usize = 2;

/// Where the models are.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Server with OpenAI's API whose models answer jobs here (Ollama: http://localhost:11434)
    #[arg(long, value_name = "URL")]
    pub model_url: Option<String>,
    /// Model that answers in words (default: the server's first)
    #[arg(long, value_name = "NAME", requires = "model_url")]
    pub model: Option<String>,
    /// Model that makes vectors (default: none of the server's)
    #[arg(long, value_name = "NAME", requires = "model_url")]
    pub embed_model: Option<String>,
    /// File with the server's key (or set COMPOTASTIC_MODEL_KEY)
    #[arg(long, value_name = "FILE", requires = "model_url")]
    pub model_key_file: Option<PathBuf>,
}

impl ModelArgs {
    /// The server that they name, if they do; its key read. Fails on a key file that cannot be read.
    pub fn config(&self) -> Result<Option<OpenAiConfig>> {
        let Some(url) = &self.model_url else { return Ok(None) };
        let key = match &self.model_key_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read the model server's key in {}", file.display()))?;
                Some(text.trim().to_owned())
            }
            None => std::env::var(KEY_VARIABLE).ok(),
        };
        Ok(Some(OpenAiConfig {
            url: url.clone(),
            model: self.model.clone(),
            embed_model: self.embed_model.clone(),
            key: key.filter(|key| !key.is_empty()),
            ..OpenAiConfig::default()
        }))
    }
}

/// A server and which of its models to use.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenAiConfig {
    /// With or without `/v1`.
    pub url: String,
    /// Answers in words; the server's first where it is missing.
    pub model: Option<String>,
    /// Makes vectors; none does where it is missing.
    pub embed_model: Option<String>,
    /// What the model is told before each question that brings nothing of the kind along.
    pub instruction: String,
    /// Sent as a bearer token.
    #[serde(skip_serializing)]
    pub key: Option<String>,
}

impl Default for OpenAiConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: None,
            embed_model: None,
            instruction: "You help people outdoors who write to you over a mesh radio. Be brief and practical. Say so if you \
                          do not know, and never invent positions, times or phone numbers."
                .to_owned(),
            key: None,
        }
    }
}

/// Names of a server's models, or why there are none.
type Listed = Result<Vec<String>, String>;

/// The models of such a server. It may start and stop as it likes: each use finds out anew.
pub struct OpenAiBrain {
    config: OpenAiConfig,
    base: String,
    agent: ureq::Agent,
    listed: Mutex<Option<(Instant, Listed)>>,
}

impl OpenAiBrain {
    /// For this server, which is not asked yet. Fails on what is no URL of one.
    pub fn new(config: OpenAiConfig) -> Result<Self> {
        let trimmed = config.url.trim_end_matches('/');
        if !trimmed.starts_with("http://") && !trimmed.starts_with("https://") {
            bail!(
                "`{}` is no URL of a model server: it begins with http:// or https://, as in http://localhost:11434",
                config.url
            );
        }
        let base = if trimmed.ends_with("/v1") { trimmed.to_owned() } else { format!("{trimmed}/v1") };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .user_agent(concat!("compotastic/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { config, base, agent, listed: Mutex::new(None) })
    }

    /// One exchange, to be over within `patience`.
    fn exchange(&self, path: &str, body: Option<&Value>, patience: Duration) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let bearer = self.config.key.as_ref().map(|key| format!("Bearer {key}"));
        let sent = match body {
            Some(body) => {
                let mut request = self.agent.post(&url).header("content-type", "application/json");
                if let Some(bearer) = &bearer {
                    request = request.header("authorization", bearer);
                }
                request.config().timeout_global(Some(patience)).build().send(body.to_string())
            }
            None => {
                let mut request = self.agent.get(&url);
                if let Some(bearer) = &bearer {
                    request = request.header("authorization", bearer);
                }
                request.config().timeout_global(Some(patience)).build().call()
            }
        };
        let mut reply = sent.map_err(|error| self.explain(&error, patience))?;
        let status = reply.status().as_u16();
        let text = reply
            .body_mut()
            .with_config()
            .limit(REPLY_MAX)
            .read_to_string()
            .map_err(|error| self.explain(&error, patience))?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        if (200..300).contains(&status) {
            return value.ok_or_else(|| self.no_openai("its reply is no JSON"));
        }
        let said = value
            .as_ref()
            .and_then(|value| value["error"]["message"].as_str().or_else(|| value["error"].as_str()))
            .map_or_else(|| text.trim().chars().take(200).collect(), str::to_owned);
        Err(match status {
            401 | 403 => anyhow!(
                "the model server at {} refuses the key ({said}): set {KEY_VARIABLE}, or name a file with --model-key-file",
                self.base
            ),
            404 if value.is_none() => self.no_openai("it has no such page"),
            429 | 503 => anyhow!("the model server at {} has too much to do ({said})", self.base),
            _ => anyhow!("the model server at {} answers {status}: {said}", self.base),
        })
    }

    fn no_openai(&self, why: &str) -> anyhow::Error {
        anyhow!("what answers at {} does not speak OpenAI's API ({why}): check --model-url", self.base)
    }

    fn explain(&self, error: &ureq::Error, patience: Duration) -> anyhow::Error {
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                anyhow!("the model server at {} cannot be reached: check --model-url", self.base)
            }
            ureq::Error::Timeout(_) => anyhow!(
                "the model at {} did not answer within {} s: use a smaller one, or a faster machine",
                self.base,
                patience.as_secs()
            ),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => anyhow!(
                "no model server runs at {}: start it (Ollama: `ollama serve`), or check --model-url",
                self.base
            ),
            ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                anyhow!("the model server at {} cannot be reached: check --model-url", self.base)
            }
            other => anyhow!("the model server at {} cannot be used: {other}", self.base),
        }
    }

    /// Names of the server's models.
    fn models(&self) -> Listed {
        let mut listed = self.listed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((at, known)) = &*listed
            && at.elapsed() < BELIEVED
        {
            return known.clone();
        }
        let found = self.exchange("/models", None, LIST_PATIENCE).and_then(|reply| {
            let models = reply["data"].as_array().ok_or_else(|| self.no_openai("it lists no models"))?;
            Ok(models.iter().filter_map(|model| model["id"].as_str()).map(str::to_owned).collect())
        });
        let found: Listed = found.map_err(|error| error.to_string());
        *listed = Some((Instant::now(), found.clone()));
        found
    }

    fn named(&self, wanted: Option<&String>) -> Result<String, String> {
        let models = self.models()?;
        let Some(wanted) = wanted else {
            return models.first().cloned().ok_or_else(|| {
                format!(
                    "the model server at {} has no models yet (Ollama: `ollama pull llama3.2`)",
                    self.base
                )
            });
        };
        // Ollama lists `llama3.2` as `llama3.2:latest`.
        let is_it = |model: &&String| *model == wanted || model.strip_suffix(":latest") == Some(wanted);
        models.iter().find(is_it).cloned().ok_or_else(|| {
            let known = if models.is_empty() { "none".to_owned() } else { models.join(", ") };
            format!(
                "the model server at {} has no model `{wanted}`, it has {known}: choose one of these, or get it (Ollama: `ollama pull {wanted}`)",
                self.base
            )
        })
    }

    /// One answer, as it is said; and whether the server has cut it off.
    fn say(
        &self,
        model: &str,
        messages: &[ChatMessage],
        max_chars: usize,
        until: Instant,
    ) -> Result<(String, bool)> {
        let patience = until.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            bail!("the model at {} did not answer in time", self.base);
        }
        // A token is some characters; half as many again, for models that think first, are what a runaway may cost.
        let body = json!({
            "model": model,
            "messages": messages,
            "max_tokens": max_chars.max(64) + 1024,
            "stream": false,
        });
        let reply = self.exchange("/chat/completions", Some(&body), patience)?;
        let choice = &reply["choices"][0];
        let said = choice["message"]["content"]
            .as_str()
            .ok_or_else(|| self.no_openai("its answer holds no message"))?;
        Ok((tidy(said), choice["finish_reason"].as_str() == Some("length")))
    }
}

fn message(role: &str, content: String) -> ChatMessage {
    ChatMessage { role: role.to_owned(), content }
}

impl Brain for OpenAiBrain {
    fn model(&self, kind: JobKind) -> Result<String, String> {
        match kind {
            JobKind::Classify => {
                Err("a model server has no classes: classification is the program's own".to_owned())
            }
            JobKind::Chat => self.named(self.config.model.as_ref()),
            JobKind::Embed => match &self.config.embed_model {
                Some(model) => self.named(Some(model)),
                None => {
                    Err("no model for vectors is chosen: name one of the server's with --embed-model"
                        .to_owned())
                }
            },
        }
    }

    fn classes(&self) -> Vec<String> {
        Vec::new()
    }

    fn classify(&self, _text: &str) -> Result<Classified> {
        bail!("a model server has no classes: classification is the program's own")
    }

    fn chat(&self, messages: &[ChatMessage], max_chars: usize, patience: Duration) -> Result<String> {
        let until = Instant::now() + patience;
        let model = self.model(JobKind::Chat).map_err(|reason| anyhow!(reason))?;
        let manner = format!(
            "Your answer travels over a slow radio. Use at most {max_chars} characters, whole sentences, plain text \
             without markup, and the language of the question."
        );
        let instructed = messages.iter().any(|message| message.role == "system");
        let instruction = if instructed { String::new() } else { format!("{}\n", self.config.instruction) };
        let mut asked = vec![message("system", instruction + &manner)];
        asked.extend(messages.iter().cloned());
        let (mut said, mut cut_off) = self.say(&model, &asked, max_chars, until)?;
        for _ in 0..SHORTENINGS {
            if said.chars().count() <= max_chars && !cut_off {
                break;
            }
            // Models count badly: less is asked for than there is room.
            let goal = max_chars * 4 / 5;
            let order = format!(
                "Shorten this answer to at most {goal} characters. Keep what matters most, in whole sentences and its \
                 language. Reply with the shortened answer alone:\n\n{said}"
            );
            match self.say(&model, &[message("user", order)], max_chars, until) {
                Ok((shorter, off)) if !shorter.is_empty() => (said, cut_off) = (shorter, off),
                // What there is, is better than nothing.
                _ => break,
            }
        }
        let answer = cut(&said, max_chars, usize::MAX);
        if answer.is_empty() {
            bail!("the model `{model}` gave an empty answer");
        }
        Ok(answer)
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let model = self.model(JobKind::Embed).map_err(|reason| anyhow!(reason))?;
        let body = json!({ "model": model, "input": text, "encoding_format": "float" });
        let reply = self.exchange("/embeddings", Some(&body), EMBED_PATIENCE)?;
        let entries = reply["data"][0]["embedding"]
            .as_array()
            .ok_or_else(|| self.no_openai("its reply holds no vector"))?;
        let vector: Vec<f32> = entries.iter().filter_map(Value::as_f64).map(|entry| entry as f32).collect();
        let norm = vector.iter().map(|entry| entry * entry).sum::<f32>().sqrt();
        if vector.len() != entries.len() || !norm.is_normal() {
            bail!("the model `{model}` gave no usable vector");
        }
        Ok(vector.into_iter().map(|entry| entry / norm).collect())
    }
}
