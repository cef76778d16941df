//! The student of a task: what is learnt from, and the part that comes out.

use anyhow::Result;
use compotastic_model::BaseEncoder;

use crate::{
    distil::task::{DistilledTask, Sample, TaskConfig, distil_task},
    task::TaskSpec,
    teacher::BASE_ENCODER,
};

/// Distils the part of a task on the base encoder in the tree. It learns from the labelled reports, and from the teacher's
/// `answers` to unlabelled ones and to those that were `offloaded`; never from a report of the test split. Texts without an
/// answer are left out.
pub fn distil_student(
    task: &TaskSpec,
    offloaded: &[&str],
    answers: impl Fn(&str) -> Option<Vec<f64>>,
    config: &TaskConfig,
) -> Result<DistilledTask> {
    let classes = task.classes.len();
    let mut samples: Vec<Sample<'_>> = task
        .train
        .iter()
        .map(|(text, class)| Sample {
            text,
            probabilities: (0..classes).map(|other| f64::from(u8::from(other == *class))).collect(),
            labelled: true,
        })
        .collect();
    let mut texts: Vec<&str> = task.unlabelled.iter().map(String::as_str).collect();
    texts.extend(offloaded.iter().copied().filter(|text| !task.is_test(text)));
    texts.sort_unstable();
    texts.dedup();
    texts.retain(|text| task.train.iter().all(|(other, _)| other != text));
    samples.extend(
        texts
            .into_iter()
            .filter_map(|text| Some(Sample { text, probabilities: answers(text)?, labelled: false })),
    );
    distil_task(&BaseEncoder::parse(BASE_ENCODER)?, &samples, classes, task.urgent_mask(), config)
}
