//! The models of this machine: a server that speaks OpenAI's API, and what the program brings along, joined into one.

mod fit;
mod openai;

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;

use crate::seam::{Brain, ChatMessage, Classified, JobKind};

pub use fit::{beginning, cut, tidy};
pub use openai::{ModelArgs, OpenAiBrain, OpenAiConfig};

const NO_MODEL: &str = "there is no model here: start without --no-model, or name a server with --model-url";

/// Several brains as one: each kind of job goes to the first that has a model for it.
#[derive(Clone, Default)]
pub struct Brains {
    parts: Vec<Arc<dyn Brain>>,
}

impl Brains {
    /// Joins them, the preferred one first.
    pub fn new(parts: Vec<Arc<dyn Brain>>) -> Self {
        Self { parts }
    }

    /// The one that does jobs of this kind, or the reasons of all why they do not.
    fn part(&self, kind: JobKind) -> Result<&dyn Brain, String> {
        let mut reasons = Vec::new();
        for part in &self.parts {
            match part.model(kind) {
                Ok(_) => return Ok(&**part),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            return Err("this node has no models: give it a model server with --model-url".to_owned());
        }
        Err(reasons.join("; "))
    }
}

/// The classes of the mission's task, for a node that has no model for it: answers come as numbers over the air.
pub struct TaskNames(Vec<String>);

impl TaskNames {
    /// Of these classes, by index.
    pub fn new(classes: Vec<String>) -> Self {
        Self(classes)
    }

    fn none<T>() -> anyhow::Result<T> {
        Err(anyhow!(NO_MODEL))
    }
}

impl Brain for TaskNames {
    fn model(&self, _: JobKind) -> Result<String, String> {
        Err(NO_MODEL.to_owned())
    }

    fn classes(&self) -> Vec<String> {
        self.0.clone()
    }

    fn classify(&self, _: &str) -> anyhow::Result<Classified> {
        Self::none()
    }

    fn chat(&self, _: &[ChatMessage], _: usize, _: Duration) -> anyhow::Result<String> {
        Self::none()
    }

    fn embed(&self, _: &str) -> anyhow::Result<Vec<f32>> {
        Self::none()
    }
}

impl Brain for Brains {
    fn model(&self, kind: JobKind) -> Result<String, String> {
        self.part(kind)?.model(kind)
    }

    fn classes(&self) -> Vec<String> {
        self.parts.iter().map(|part| part.classes()).find(|classes| !classes.is_empty()).unwrap_or_default()
    }

    fn classify(&self, text: &str) -> anyhow::Result<Classified> {
        self.part(JobKind::Classify).map_err(|reason| anyhow!(reason))?.classify(text)
    }

    fn chat(&self, messages: &[ChatMessage], max_chars: usize, patience: Duration) -> anyhow::Result<String> {
        self.part(JobKind::Chat).map_err(|reason| anyhow!(reason))?.chat(messages, max_chars, patience)
    }

    fn embed(&self, text: &str) -> anyhow::Result<Vec<f32>> {
        self.part(JobKind::Embed).map_err(|reason| anyhow!(reason))?.embed(text)
    }
}
