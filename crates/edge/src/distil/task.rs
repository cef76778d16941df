//! Distils a task part: a head on the base encoder, and corrections for words that the base places badly.
//!
//! What the student is unsure of goes to the teacher, so the part carries a calibration: out-of-fold margins against
//! agreement with the teacher, made monotone. The threshold of "unsure" is the lowest at which the accuracy that is expected
//! to be lost by what the student keeps to itself stays below [`TaskConfig::loss_max`]; a student that kept less than
//! [`TaskConfig::local_share_min`] would not be worth its air time, and is let keep more.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use compotastic_model::{
    BaseEncoder, CALIBRATION_POINTS, MAX_CLASSES, MAX_DIMS, Scratch, TASK_HEADER, TaskHeader, TaskPart,
    classify, correction_keys, logits,
};

use super::softmax::{Softmax, argmax};

/// Longest task part that is pushed.
pub const PART_MAX: usize = 4096;
/// Fewest samples to learn from.
const SAMPLES_MIN: usize = 4;
const FOLDS: usize = 5;
/// How often a teacher is right on a labelled report that its student gets wrong. Such reports are the hard ones.
const TEACHER_RIGHT: f64 = 0.6;
/// Fractional bits of logits on the device.
const LOGIT_UNIT: f64 = 256.0;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// Task that the part is for.
    pub task: u8,
    /// Its version; rises with each push.
    pub version: u16,
    /// Corrections at most.
    pub corrections_max: usize,
    /// Accuracy that may be lost: the sum, over texts that are kept, of the teacher's probability for its own answer less that
    /// for the student's, as a share of all texts.
    pub loss_max: f64,
    /// Share of all texts that should be kept, even if that takes up to twice that loss.
    pub local_share_min: f64,
}

impl TaskConfig {
    /// The usual: three in a hundred lost, four fifths kept.
    pub fn new(task: u8, version: u16) -> Self {
        Self { task, version, corrections_max: 300, loss_max: 0.03, local_share_min: 0.8 }
    }
}

/// A text with the teacher's probabilities.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// The text.
    pub text: &'a str,
    /// One probability per class.
    pub probabilities: Vec<f64>,
    /// A person's label, not the teacher's answer.
    pub labelled: bool,
}

/// A point of the trade-off curve, measured out of fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Confidence threshold, 0..=255.
    pub threshold: u8,
    /// Share of texts kept.
    pub local_share: f64,
    /// Accuracy that is expected to be lost by that, a share of all texts.
    pub loss: f64,
}

/// The part, and what was measured while it was made.
#[derive(Clone, Debug)]
pub struct DistilledTask {
    /// The file.
    pub bytes: Vec<u8>,
    /// Out-of-fold agreement of the student alone with the teacher.
    pub agreement: f64,
    /// Share that the student is expected to answer itself.
    pub local_share: f64,
    /// Trade-off, out of fold.
    pub curve: Vec<CurvePoint>,
}

/// Amounts per (upper bits of a feature's hash, class).
type Corrections = BTreeMap<(u16, u8), f64>;

struct Student {
    head: Softmax,
    corrections: Corrections,
}

struct Prepared {
    vectors: Vec<Vec<f64>>,
    keys: Vec<Vec<u16>>,
    labels: Vec<Vec<f64>>,
    labelled: Vec<bool>,
}

/// Makes a part from samples. `urgent`: bit n for class n.
pub fn distil_task(
    base: &BaseEncoder<'_>,
    samples: &[Sample<'_>],
    classes: usize,
    urgent: u64,
    config: &TaskConfig,
) -> Result<DistilledTask> {
    ensure!((2..=MAX_CLASSES).contains(&classes), "a task has 2 to {MAX_CLASSES} classes, not {classes}");
    ensure!(samples.len() >= SAMPLES_MIN, "{} texts are too few to learn from", samples.len());
    let prepared = prepare(base, samples);
    let all: Vec<usize> = (0..samples.len()).collect();
    let decay = choose_decay(&prepared, classes);
    let (strength, corrections_max) = choose_corrections(&prepared, classes, decay, config.corrections_max);
    // Out-of-fold logits: each text is judged by a student that did not see it.
    let mut out_of_fold = vec![Vec::new(); samples.len()];
    for fold in 0..FOLDS {
        let seen: Vec<usize> = all.iter().copied().filter(|index| index % FOLDS != fold).collect();
        let student = train(&prepared, &seen, classes, decay, strength, corrections_max);
        for index in all.iter().copied().filter(|index| index % FOLDS == fold) {
            out_of_fold[index] = student.logits(&prepared, index);
        }
    }
    let student = train(&prepared, &all, classes, decay, strength, corrections_max);
    let judged: Vec<Judged> = out_of_fold
        .iter()
        .zip(prepared.labels.iter().zip(&prepared.labelled))
        .map(|(logits, (label, labelled))| judge(logits, label, *labelled, urgent))
        .collect();
    let calibration = calibrate(&judged);
    let urgent_margin = choose_urgent_margin(&judged);
    let curve = curve(&judged, &calibration, urgent_margin);
    let chosen = choose_point(&curve, config);
    let threshold = chosen.map_or(255, |point| point.threshold);
    let bytes = emit(base, &student, classes, urgent, config, threshold, urgent_margin, calibration)?;
    let agreement = judged.iter().filter(|one| one.right).count() as f64 / judged.len() as f64;
    Ok(DistilledTask { bytes, agreement, local_share: chosen.map_or(0.0, |point| point.local_share), curve })
}

fn prepare(base: &BaseEncoder<'_>, samples: &[Sample<'_>]) -> Prepared {
    let mut vector = [0; MAX_DIMS];
    let mut prepared =
        Prepared { vectors: Vec::new(), keys: Vec::new(), labels: Vec::new(), labelled: Vec::new() };
    for sample in samples {
        base.encode(sample.text, &mut vector);
        prepared.vectors.push(vector[..base.dims()].iter().map(|value| f64::from(*value) / 1024.0).collect());
        let mut keys = Vec::new();
        correction_keys(sample.text, |key| keys.push(key));
        prepared.keys.push(keys);
        prepared.labels.push(sample.probabilities.clone());
        prepared.labelled.push(sample.labelled);
    }
    prepared
}

impl Student {
    fn logits(&self, prepared: &Prepared, index: usize) -> Vec<f64> {
        let mut logits = self.head.logits(&prepared.vectors[index]);
        for key in &prepared.keys[index] {
            for (class, logit) in logits.iter_mut().enumerate() {
                if let Some(amount) = self.corrections.get(&(*key, class as u8)) {
                    *logit += amount;
                }
            }
        }
        logits
    }
}

fn train(
    prepared: &Prepared,
    seen: &[usize],
    classes: usize,
    decay: f64,
    strength: f64,
    corrections_max: usize,
) -> Student {
    let inputs: Vec<Vec<f64>> = seen.iter().map(|index| prepared.vectors[*index].clone()).collect();
    let labels: Vec<Vec<f64>> = seen.iter().map(|index| prepared.labels[*index].clone()).collect();
    let head = Softmax::fit(&inputs, &labels, classes, decay, 250);
    let mut student = Student { head, corrections: Corrections::new() };
    if strength > 0.0 {
        student.corrections = corrections(&student, prepared, seen, classes, strength, corrections_max);
    }
    student
}

/// One additive step per word and class against what the head gets wrong; the largest are kept.
fn corrections(
    student: &Student,
    prepared: &Prepared,
    seen: &[usize],
    classes: usize,
    strength: f64,
    most: usize,
) -> Corrections {
    let mut pull: BTreeMap<u16, (f64, Vec<f64>)> = BTreeMap::new();
    for index in seen {
        let guess = super::softmax::probabilities(&student.logits(prepared, *index));
        for key in &prepared.keys[*index] {
            let entry = pull.entry(*key).or_insert_with(|| (0.0, vec![0.0; classes]));
            entry.0 += 1.0;
            for ((sum, label), guess) in entry.1.iter_mut().zip(&prepared.labels[*index]).zip(&guess) {
                *sum += label - guess;
            }
        }
    }
    let mut found: Vec<((u16, u8), f64, f64)> = Vec::new();
    for (key, (count, sums)) in pull {
        for (class, sum) in sums.into_iter().enumerate() {
            let amount = strength * sum / (count + 2.0);
            // Gain: how far the likelihood moves, not how large the amount is.
            found.push(((key, class as u8), amount, amount.abs() * sum.abs()));
        }
    }
    found.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    found
        .into_iter()
        .take(most)
        .filter(|(_, amount, _)| amount.abs() > 0.02)
        .map(|(key, amount, _)| (key, amount))
        .collect()
}

/// Out-of-fold agreement with the teacher for one setting.
fn agreement(prepared: &Prepared, classes: usize, decay: f64, strength: f64, corrections_max: usize) -> f64 {
    let count = prepared.labels.len();
    let mut score = 0.0;
    for fold in 0..FOLDS {
        let seen: Vec<usize> = (0..count).filter(|index| index % FOLDS != fold).collect();
        if seen.is_empty() {
            continue;
        }
        let student = train(prepared, &seen, classes, decay, strength, corrections_max);
        for index in (0..count).filter(|index| index % FOLDS == fold) {
            let guess = super::softmax::probabilities(&student.logits(prepared, index));
            // Expected log-likelihood: smoother than counting hits.
            let label = &prepared.labels[index];
            score += label.iter().zip(&guess).map(|(p, q)| p * libm::log(q.max(1e-6))).sum::<f64>();
        }
    }
    score / count as f64
}

fn choose_decay(prepared: &Prepared, classes: usize) -> f64 {
    best([1e-2, 3e-3, 1e-3, 3e-4, 1e-4], |decay| agreement(prepared, classes, decay, 0.0, 0))
}

/// Corrections cost air time in every push: so much log-likelihood per text has each further hundred (400 bytes) to gain.
const GAIN_PER_HUNDRED: f64 = 0.012;

/// Strength and number of corrections.
fn choose_corrections(prepared: &Prepared, classes: usize, decay: f64, most: usize) -> (f64, usize) {
    let options = [(0.0, 0), (1.0, most / 3), (2.0, most / 3), (1.0, most), (2.0, most)];
    best(options, |(strength, count)| {
        agreement(prepared, classes, decay, strength, count) - GAIN_PER_HUNDRED * count as f64 / 100.0
    })
}

/// The lowest threshold that keeps the loss below its limit, or a lower one that keeps enough.
fn choose_point(curve: &[CurvePoint], config: &TaskConfig) -> Option<CurvePoint> {
    let careful = curve.iter().find(|point| point.loss <= config.loss_max).or(curve.last())?;
    if careful.local_share >= config.local_share_min {
        return Some(*careful);
    }
    // The curve rises with the threshold: from the careful point down.
    let bold = curve.iter().rev().find(|point| point.local_share >= config.local_share_min);
    let allowed = curve.iter().find(|point| point.loss <= 2.0 * config.loss_max);
    match (bold, allowed) {
        (Some(bold), Some(allowed)) => {
            Some(if bold.threshold >= allowed.threshold { *bold } else { *allowed })
        }
        _ => Some(*careful),
    }
}

fn best<T: Copy, const N: usize>(choices: [T; N], mut score: impl FnMut(T) -> f64) -> T {
    let mut best = (f64::NEG_INFINITY, choices[0]);
    for choice in choices {
        let value = score(choice);
        if value > best.0 {
            best = (value, choice);
        }
    }
    best.1
}

/// One text, judged out of fold.
struct Judged {
    right: bool,
    /// What the teacher gives its own answer more than the student's.
    loss: f64,
    margin: f64,
    /// The student's answer is not urgent, the teacher's is.
    urgent_missed: bool,
    /// How far the best urgent class is below the answer, when that is not urgent.
    urgent_gap: Option<f64>,
}

fn judge(logits: &[f64], label: &[f64], labelled: bool, urgent: u64) -> Judged {
    let (answer, teacher) = (argmax(logits), argmax(label));
    let second = logits
        .iter()
        .enumerate()
        .filter(|(class, _)| *class != answer)
        .map(|(_, value)| *value)
        .fold(f64::MIN, f64::max);
    let is_urgent = |class: usize| urgent >> class & 1 == 1;
    let best_urgent = logits
        .iter()
        .enumerate()
        .filter(|(class, _)| is_urgent(*class))
        .map(|(_, value)| *value)
        .fold(f64::MIN, f64::max);
    let urgent_gap = (!is_urgent(answer) && best_urgent > f64::MIN).then_some(logits[answer] - best_urgent);
    Judged {
        right: answer == teacher,
        loss: (label[teacher] - label[answer]) * if labelled { TEACHER_RIGHT } else { 1.0 },
        margin: logits[answer] - second,
        urgent_missed: is_urgent(teacher) && !is_urgent(answer),
        urgent_gap,
    }
}

/// Smoothed share of right answers around each margin, made monotone by pooling.
fn calibrate(judged: &[Judged]) -> [u8; CALIBRATION_POINTS] {
    let mut points = [0.0; CALIBRATION_POINTS];
    for (index, point) in points.iter_mut().enumerate() {
        let centre = index as f64 / 2.0;
        let (mut right, mut total) = (0.5, 1.0);
        for one in judged {
            let distance = (one.margin - centre) / 0.6;
            let weight = libm::exp(-distance * distance);
            right += weight * f64::from(u8::from(one.right));
            total += weight;
        }
        *point = right / total;
    }
    for index in 1..CALIBRATION_POINTS {
        points[index] = points[index].max(points[index - 1]);
    }
    points.map(|point| (point * 255.0).round() as u8)
}

fn confidence(calibration: &[u8; CALIBRATION_POINTS], margin: f64) -> u8 {
    let position = (margin * 2.0).max(0.0);
    let index = position as usize;
    let Some(next) = calibration.get(index + 1) else { return calibration[CALIBRATION_POINTS - 1] };
    let low = f64::from(calibration[index]);
    (low + (f64::from(*next) - low) * (position - index as f64)) as u8
}

/// The smallest margin (1/16 logit) at which at most one urgent text in two hundred is kept under a harmless class.
fn choose_urgent_margin(judged: &[Judged]) -> u8 {
    let allowed = judged.len() as f64 / 200.0;
    for margin in (0..=48u8).step_by(4) {
        let kept = judged
            .iter()
            .filter(|one| {
                one.urgent_missed && one.urgent_gap.is_some_and(|gap| gap >= f64::from(margin) / 16.0)
            })
            .count();
        if kept as f64 <= allowed {
            return margin;
        }
    }
    48
}

fn curve(judged: &[Judged], calibration: &[u8; CALIBRATION_POINTS], urgent_margin: u8) -> Vec<CurvePoint> {
    (0..=255u8)
        .step_by(3)
        .map(|threshold| {
            let kept = |one: &&Judged| {
                confidence(calibration, one.margin) >= threshold
                    && one.urgent_gap.is_none_or(|gap| gap >= f64::from(urgent_margin) / 16.0)
            };
            let local = judged.iter().filter(kept).count() as f64;
            let loss: f64 = judged.iter().filter(kept).map(|one| one.loss).sum();
            let count = judged.len() as f64;
            CurvePoint { threshold, local_share: local / count, loss: loss / count }
        })
        .collect()
}

#[allow(clippy::too_many_arguments, reason = "the parts of one file")]
fn emit(
    base: &BaseEncoder<'_>,
    student: &Student,
    classes: usize,
    urgent: u64,
    config: &TaskConfig,
    threshold: u8,
    urgent_margin: u8,
    calibration: [u8; CALIBRATION_POINTS],
) -> Result<Vec<u8>> {
    let dims = base.dims();
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(1e-9, |most: f64, value| most.max(value.abs()));
    // logit * 256 = (sum of weight * entry * 1024) >> shift, so weight_i8 = weight * 2^shift / 4.
    let most = largest(&mut student.head.weights.iter().flatten().copied());
    let mut shift = 20u8;
    while shift > 0 && most * f64::from(1u32 << shift) / 4.0 > 127.0 {
        shift -= 1;
    }
    let factor = f64::from(1u32 << shift) / 4.0;
    let most_amount = largest(&mut student.corrections.values().copied());
    let step = ((most_amount * LOGIT_UNIT / 127.0).ceil()).clamp(1.0, 255.0);
    let room = PART_MAX - (TASK_HEADER + classes * (dims + 2)).min(PART_MAX);
    let mut entries: Vec<(u16, u8, i8)> = student
        .corrections
        .iter()
        .map(|((key, class), amount)| {
            (*key, *class, (amount * LOGIT_UNIT / step).round().clamp(-127.0, 127.0) as i8)
        })
        .filter(|(_, _, amount)| *amount != 0)
        .collect();
    if entries.len() > room / 4 {
        entries.sort_by_key(|(key, class, amount)| (std::cmp::Reverse(amount.unsigned_abs()), *key, *class));
        entries.truncate(room / 4);
        entries.sort_unstable();
    }
    let header = TaskHeader {
        task: config.task,
        classes: classes as u8,
        version: config.version,
        base_id: base.id(),
        dims: dims as u16,
        corrections: entries.len() as u16,
        shift,
        correction_step: step as u8,
        threshold,
        urgent_margin,
        urgent,
        calibration,
    };
    let mut bytes = header.emit().to_vec();
    for weight in student.head.weights.iter().flatten() {
        bytes.push((weight * factor).round().clamp(-127.0, 127.0) as i8 as u8);
    }
    for bias in &student.head.biases {
        let value = (bias * LOGIT_UNIT).round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        bytes.extend(value.to_le_bytes());
    }
    for (key, class, amount) in entries {
        bytes.extend(key.to_le_bytes());
        bytes.push(class);
        bytes.push(amount as u8);
    }
    ensure!(
        bytes.len() <= PART_MAX,
        "{classes} classes need {} bytes, a task part has {PART_MAX}: use fewer classes",
        bytes.len()
    );
    // What was written is what devices read.
    TaskPart::parse(&bytes)?;
    Ok(bytes)
}

/// Student and system on labelled texts.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Student alone.
    pub student_accuracy: f64,
    /// Student, and the teacher where the student is unsure.
    pub system_accuracy: f64,
    /// Share that the student keeps.
    pub local_share: f64,
    /// Teacher alone.
    pub teacher_accuracy: f64,
    /// Share of urgent texts that the teacher puts into an urgent class; 1 without urgent texts.
    pub teacher_urgent_recall: f64,
    /// The same for the system.
    pub system_urgent_recall: f64,
    /// (share kept, system accuracy) as the threshold rises.
    pub trade_off: Vec<(f64, f64)>,
}

/// Runs the part, as devices do, on labelled texts with the teacher's answers.
pub fn evaluate(base: &BaseEncoder<'_>, file: &[u8], texts: &[(&str, usize, usize)]) -> Result<Evaluation> {
    let part = TaskPart::parse(file)?;
    let urgent = part.header().urgent;
    let is_urgent = |class: usize| urgent >> class & 1 == 1;
    let mut scratch = Scratch::default();
    let answers: Vec<_> =
        texts.iter().map(|(text, _, _)| classify(base, &part, text, &mut scratch)).collect();
    let count = texts.len().max(1) as f64;
    let share = |hits: usize, of: usize| if of == 0 { 1.0 } else { hits as f64 / of as f64 };
    let system = |kept: &dyn Fn(usize) -> bool| {
        let right = texts.iter().enumerate().filter(|(index, (_, label, teacher))| {
            if kept(*index) { usize::from(answers[*index].class) == *label } else { teacher == label }
        });
        right.count() as f64 / count
    };
    let urgent_texts = texts.iter().filter(|(_, label, _)| is_urgent(*label)).count();
    let teacher_hits =
        texts.iter().filter(|(_, label, teacher)| is_urgent(*label) && is_urgent(*teacher)).count();
    let system_hits = texts
        .iter()
        .zip(&answers)
        .filter(|((_, label, teacher), answer)| {
            is_urgent(*label) && is_urgent(if answer.unsure { *teacher } else { usize::from(answer.class) })
        })
        .count();
    let mut trade_off =
        vec![(0.0, texts.iter().filter(|(_, label, teacher)| label == teacher).count() as f64 / count)];
    let mut confidences: Vec<u8> = answers.iter().map(|answer| answer.confidence).collect();
    confidences.sort_unstable();
    confidences.dedup();
    for threshold in confidences.iter().rev().step_by((confidences.len() / 24).max(1)) {
        let kept = |index: usize| answers[index].confidence >= *threshold;
        let local = (0..texts.len()).filter(|index| kept(*index)).count() as f64 / count;
        trade_off.push((local, system(&kept)));
    }
    Ok(Evaluation {
        student_accuracy: system(&|_| true),
        system_accuracy: system(&|index| !answers[index].unsure),
        local_share: answers.iter().filter(|answer| !answer.unsure).count() as f64 / count,
        teacher_accuracy: trade_off[0].1,
        teacher_urgent_recall: share(teacher_hits, urgent_texts),
        system_urgent_recall: share(system_hits, urgent_texts),
        trade_off,
    })
}

/// The class that a part gives a text, and its logits, for a person who tries it.
pub fn try_text(
    base: &BaseEncoder<'_>,
    file: &[u8],
    text: &str,
) -> Result<(compotastic_model::Answer, Vec<f64>)> {
    let part = TaskPart::parse(file)?;
    let mut scratch = Scratch::default();
    let answer = classify(base, &part, text, &mut scratch);
    let (mut vector, mut values) = ([0; MAX_DIMS], [0; MAX_CLASSES]);
    logits(base, &part, text, &mut vector, &mut values);
    Ok((answer, values[..part.classes()].iter().map(|value| f64::from(*value) / LOGIT_UNIT).collect()))
}
