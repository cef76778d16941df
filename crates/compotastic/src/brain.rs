//! The program's own models as the daemon asks for them: classes of a task, and vectors.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use compotastic_daemon::seam::{Brain, ChatMessage, Classified, JobKind};
use compotastic_edge::{
    task::TaskSpec,
    teacher::{Encoder, Teacher, answer},
};

/// A teacher of the edge crate. It has no words: those come from a model server.
pub struct EdgeBrain {
    teacher: Teacher,
    classes: Vec<String>,
}

impl EdgeBrain {
    /// Fits the encoder to the task, which takes some seconds.
    pub fn fit(encoder: Encoder, task: &TaskSpec) -> Result<Self> {
        let classes = task.classes.iter().map(|class| class.name.clone()).collect();
        Ok(Self { teacher: Teacher::fit(encoder, task)?, classes })
    }
}

impl Brain for EdgeBrain {
    fn model(&self, kind: JobKind) -> Result<String, String> {
        match kind {
            JobKind::Classify | JobKind::Embed => Ok(self.teacher.encoder().name().to_owned()),
            JobKind::Chat => {
                Err("answers in words need a model server: name one with --model-url".to_owned())
            }
        }
    }

    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    fn classify(&self, text: &str) -> Result<Classified> {
        let probabilities = self.teacher.classify(&[text])?;
        let (class, sure) =
            answer(probabilities.first().ok_or_else(|| anyhow!("the teacher gave no answer"))?);
        Ok(Classified { class: u8::try_from(class)?, confidence: sure as f32 })
    }

    fn chat(&self, _: &[ChatMessage], _: usize, _: Duration) -> Result<String> {
        bail!("answers in words need a model server: name one with --model-url")
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let vectors = self.teacher.encoder().embed(&[text])?;
        let vector = vectors.into_iter().next().ok_or_else(|| anyhow!("the encoder gave no vector"))?;
        let norm = vector.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
        if !norm.is_normal() {
            bail!("nothing of this text is known to the encoder");
        }
        Ok(vector.into_iter().map(|entry| (entry / norm) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_vectors_of_the_encoder_in_the_tree() {
        let task = TaskSpec::search_and_rescue().unwrap();
        let brain = EdgeBrain::fit(Encoder::in_tree().unwrap(), &task).unwrap();
        let said = brain.classify("two hikers, one with a broken ankle, below the north ridge hut").unwrap();
        assert!(said.confidence > 0.3);
        assert_eq!(brain.classes()[usize::from(said.class)], "medical");
        let likeness = |a: &str, b: &str| {
            let (a, b) = (brain.embed(a).unwrap(), brain.embed(b).unwrap());
            a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!((likeness("broken leg", "broken leg") - 1.0).abs() < 1e-4);
        assert!(
            likeness("a broken leg", "a fractured leg") > likeness("a broken leg", "smoke over the forest")
        );
        assert!(brain.chat(&[], 9, Duration::from_secs(1)).unwrap_err().to_string().contains("--model-url"));
        assert!(brain.model(JobKind::Chat).is_err() && brain.model(JobKind::Embed).is_ok());
    }
}
