//! Teachers: an encoder that understands more than a field node's, and a head fitted to the task's examples.

pub mod minilm;

use anyhow::Result;
use compotastic_model::{BaseEncoder, MAX_DIMS};
use minilm::MiniLm;

use crate::{
    distil::softmax::{Softmax, argmax, probabilities},
    task::TaskSpec,
};

/// The encoder in the tree, distilled from all-MiniLM-L6-v2 by `compotastic model distil`.
pub const SMALL_ENCODER: &[u8] = include_bytes!("../../assets/encoders/small-v1.bin");
/// The base encoder of field nodes, distilled alike.
pub const BASE_ENCODER: &[u8] = include_bytes!("../../assets/encoders/base-v1.bin");

/// Something that turns texts into vectors of length 1.
pub enum Encoder {
    /// all-MiniLM-L6-v2, by candle.
    MiniLm(Box<MiniLm>),
    /// The encoder in the tree: integers throughout, the same bits on every machine.
    InTree(BaseEncoder<'static>),
}

impl Encoder {
    /// The encoder in the tree.
    pub fn in_tree() -> Result<Self> {
        Ok(Self::InTree(BaseEncoder::parse(SMALL_ENCODER)?))
    }

    /// Name for people and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MiniLm(_) => "all-MiniLM-L6-v2",
            Self::InTree(_) => "in-tree small encoder",
        }
    }

    /// Version shown with its answers.
    pub fn version(&self) -> u8 {
        match self {
            Self::MiniLm(_) => 200,
            Self::InTree(_) => 201,
        }
    }

    /// True if its outputs have to be recorded for a replay on another machine.
    pub fn needs_recording(&self) -> bool {
        matches!(self, Self::MiniLm(_))
    }

    /// Vectors of texts.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>> {
        match self {
            Self::MiniLm(model) => Ok(model
                .embed(texts)?
                .into_iter()
                .map(|row| row.into_iter().map(f64::from).collect())
                .collect()),
            Self::InTree(encoder) => {
                let mut vector = [0; MAX_DIMS];
                Ok(texts
                    .iter()
                    .map(|text| {
                        encoder.encode(text, &mut vector);
                        vector[..encoder.dims()].iter().map(|value| f64::from(*value) / 1024.0).collect()
                    })
                    .collect())
            }
        }
    }
}

/// An encoder with a head for one task.
pub struct Teacher {
    encoder: Encoder,
    head: Softmax,
    /// Added scale of the logits, so that probabilities are neither timid nor certain.
    classes: usize,
}

/// Probabilities are rounded to thousandths: that is the recorded form, and what everything else is made from.
pub const ROUNDING: f64 = 1000.0;

impl Teacher {
    /// Fits the head to the task's labelled reports. The decay is chosen by leaving each fifth report out in turn.
    pub fn fit(encoder: Encoder, task: &TaskSpec) -> Result<Self> {
        let texts: Vec<&str> = task.train.iter().map(|(text, _)| text.as_str()).collect();
        let inputs = encoder.embed(&texts)?;
        let classes = task.classes.len();
        let labels: Vec<Vec<f64>> = task
            .train
            .iter()
            .map(|(_, class)| (0..classes).map(|other| f64::from(u8::from(other == *class))).collect())
            .collect();
        let decay = choose_decay(&inputs, &labels, classes);
        let head = Softmax::fit(&inputs, &labels, classes, decay, 300);
        Ok(Self { encoder, head, classes })
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Rounded probabilities of each text.
    pub fn classify(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>> {
        let vectors = self.encoder.embed(texts)?;
        Ok(vectors
            .iter()
            .map(|vector| {
                let raw = probabilities(&self.head.logits(vector));
                debug_assert_eq!(raw.len(), self.classes);
                raw.iter().map(|p| (p * ROUNDING).round() / ROUNDING).collect()
            })
            .collect())
    }
}

/// The most likely class and its probability.
pub fn answer(probabilities: &[f64]) -> (usize, f64) {
    let class = argmax(probabilities);
    (class, probabilities.get(class).copied().unwrap_or(0.0))
}

fn choose_decay(inputs: &[Vec<f64>], labels: &[Vec<f64>], classes: usize) -> f64 {
    const FOLDS: usize = 5;
    let score = |decay: f64| {
        let mut sum = 0.0;
        for fold in 0..FOLDS {
            let seen = |index: &usize| index % FOLDS != fold;
            let pick = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
                (0..rows.len()).filter(seen).map(|index| rows[index].clone()).collect()
            };
            let head = Softmax::fit(&pick(inputs), &pick(labels), classes, decay, 120);
            for index in (0..inputs.len()).filter(|index| !seen(index)) {
                let guess = probabilities(&head.logits(&inputs[index]));
                sum += labels[index].iter().zip(&guess).map(|(p, q)| p * libm::log(q.max(1e-6))).sum::<f64>();
            }
        }
        sum
    };
    let choices = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4];
    let mut best = (f64::NEG_INFINITY, choices[0]);
    for choice in choices {
        let value = score(choice);
        if value > best.0 {
            best = (value, choice);
        }
    }
    best.1
}
