//! Task parts: what crosses the air so that a node can answer by itself.
//!
//! File: header of [`TASK_HEADER`] bytes, weights (classes * dims, i8), biases (classes, i16), corrections. A
//! correction adds to one class when a word or pair of words is in the text: u16 of the feature's hash, u8 class, i8
//! amount; sorted by hash. Logits have 8 fractional bits.

use crate::{
    ModelError, Scratch,
    encoder::{BaseEncoder, Vector},
    words::{pair, words},
};

/// Bytes of the header.
pub const TASK_HEADER: usize = 48;
/// Most classes.
pub const MAX_CLASSES: usize = 64;
/// Points of the calibration: confidence at margins of 0, 1/2, 1, ... logits.
pub const CALIBRATION_POINTS: usize = 16;
/// Corrections are found by the upper bits of the feature's hash.
pub const CORRECTION_BITS: u32 = 16;
const MAGIC: [u8; 4] = *b"CTP1";
const CORRECTION: usize = 4;

/// Logits of a text, 8 fractional bits.
pub type Logits = [i32; MAX_CLASSES];

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskHeader {
    /// Task that it is for.
    pub task: u8,
    /// Classes, 2..=64.
    pub classes: u8,
    /// Version of the part.
    pub version: u16,
    /// Encoder that it needs.
    pub base_id: [u8; 8],
    /// Entries of that encoder's vectors.
    pub dims: u16,
    /// Corrections.
    pub corrections: u16,
    /// Weight sums are shifted right by this many bits.
    pub shift: u8,
    /// Corrections count this many 1/256 logits per unit.
    pub correction_step: u8,
    /// Below this confidence the answer is unsure.
    pub threshold: u8,
    /// Unsure too if the answer is not urgent but an urgent class is closer than this, in 1/16 logit.
    pub urgent_margin: u8,
    /// Bit n: class n is urgent.
    pub urgent: u64,
    /// Confidence at margins of 0, 1/2, 1, ... logits; never falls.
    pub calibration: [u8; CALIBRATION_POINTS],
}

impl TaskHeader {
    /// The header's bytes.
    pub fn emit(&self) -> [u8; TASK_HEADER] {
        let mut out = [0; TASK_HEADER];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = self.task;
        out[5] = self.classes;
        out[6..8].copy_from_slice(&self.version.to_le_bytes());
        out[8..16].copy_from_slice(&self.base_id);
        out[16..18].copy_from_slice(&self.dims.to_le_bytes());
        out[18..20].copy_from_slice(&self.corrections.to_le_bytes());
        out[20..24].copy_from_slice(&[self.shift, self.correction_step, self.threshold, self.urgent_margin]);
        out[24..32].copy_from_slice(&self.urgent.to_le_bytes());
        out[32..48].copy_from_slice(&self.calibration);
        out
    }
}

/// A parsed task part.
#[derive(Clone, Copy, Debug)]
pub struct TaskPart<'a> {
    header: TaskHeader,
    weights: &'a [u8],
    biases: &'a [u8],
    corrections: &'a [u8],
}

impl<'a> TaskPart<'a> {
    /// Reads a task part and checks its fields and length.
    pub fn parse(file: &'a [u8]) -> Result<Self, ModelError> {
        let (head, body) = file.split_at_checked(TASK_HEADER).ok_or(ModelError::Length)?;
        if head[..4] != MAGIC {
            return Err(ModelError::Magic);
        }
        let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (mut base_id, mut urgent, mut calibration) = ([0; 8], [0; 8], [0; CALIBRATION_POINTS]);
        base_id.copy_from_slice(&head[8..16]);
        urgent.copy_from_slice(&head[24..32]);
        calibration.copy_from_slice(&head[32..48]);
        let header = TaskHeader {
            task: head[4],
            classes: head[5],
            version: short(6),
            base_id,
            dims: short(16),
            corrections: short(18),
            shift: head[20],
            correction_step: head[21],
            threshold: head[22],
            urgent_margin: head[23],
            urgent: u64::from_le_bytes(urgent),
            calibration,
        };
        let (classes, dims) = (usize::from(header.classes), usize::from(header.dims));
        if !(2..=MAX_CLASSES).contains(&classes)
            || dims > crate::MAX_DIMS
            || header.shift > 24
            || !header.calibration.is_sorted()
        {
            return Err(ModelError::Field);
        }
        let (weights, rest) = body.split_at_checked(classes * dims).ok_or(ModelError::Length)?;
        let (biases, corrections) = rest.split_at_checked(classes * 2).ok_or(ModelError::Length)?;
        if corrections.len() != usize::from(header.corrections) * CORRECTION {
            return Err(ModelError::Length);
        }
        let sorted = corrections
            .chunks_exact(CORRECTION)
            .is_sorted_by_key(|entry| u16::from_le_bytes([entry[0], entry[1]]));
        let in_range = corrections.chunks_exact(CORRECTION).all(|entry| usize::from(entry[2]) < classes);
        if !sorted || !in_range {
            return Err(ModelError::Field);
        }
        Ok(Self { header, weights, biases, corrections })
    }

    /// All fields of the header.
    pub fn header(&self) -> &TaskHeader {
        &self.header
    }
    /// Task that it is for.
    pub fn task(&self) -> u8 {
        self.header.task
    }
    /// Version of the part.
    pub fn version(&self) -> u16 {
        self.header.version
    }
    /// Encoder that it needs.
    pub fn base_id(&self) -> [u8; 8] {
        self.header.base_id
    }
    /// Classes.
    pub fn classes(&self) -> usize {
        usize::from(self.header.classes)
    }

    fn correction(&self, index: usize) -> (u16, usize, i32) {
        let entry = &self.corrections[index * CORRECTION..(index + 1) * CORRECTION];
        (u16::from_le_bytes([entry[0], entry[1]]), usize::from(entry[2]), i32::from(entry[3] as i8))
    }

    fn add_corrections(&self, key: u16, logits: &mut Logits) {
        let count = usize::from(self.header.corrections);
        // First entry whose hash is not below the key.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = (low + high) / 2;
            if self.correction(middle).0 < key { low = middle + 1 } else { high = middle }
        }
        while low < count {
            let (found, class, amount) = self.correction(low);
            if found != key {
                break;
            }
            // A hostile part could name one correction for every word many times.
            logits[class] = logits[class].saturating_add(amount * i32::from(self.header.correction_step));
            low += 1;
        }
    }
}

/// What a student says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Class index.
    pub class: u8,
    /// Calibrated confidence: 255 * the probability of being right.
    pub confidence: u8,
    /// Rather ask somebody better.
    pub unsure: bool,
}

/// The logits of a text, 8 fractional bits.
pub fn logits(
    base: &BaseEncoder<'_>,
    part: &TaskPart<'_>,
    text: &str,
    vector: &mut Vector,
    out: &mut Logits,
) {
    base.encode(text, vector);
    out.fill(0);
    let dims = usize::from(part.header.dims).min(base.dims());
    for (class, logit) in out.iter_mut().enumerate().take(part.classes()) {
        let row = &part.weights[class * usize::from(part.header.dims)..][..dims];
        let sum: i32 = row
            .iter()
            .zip(vector.iter())
            .map(|(weight, entry)| i32::from(*weight as i8) * i32::from(*entry))
            .sum();
        let bias = i16::from_le_bytes([part.biases[2 * class], part.biases[2 * class + 1]]);
        *logit = (sum >> part.header.shift) + i32::from(bias);
    }
    correction_keys(text, |key| part.add_corrections(key, out));
}

/// Calls `emit` with the key of each thing in a text that a correction can be for: words, and pairs of words.
pub fn correction_keys(text: &str, mut emit: impl FnMut(u16)) {
    let key = |hash: u32| (hash >> (32 - CORRECTION_BITS)) as u16;
    let mut previous = None;
    words(text, |word| {
        let stem = word.stem();
        emit(key(stem));
        if let Some(before) = previous.replace(stem) {
            emit(key(pair(before, stem)));
        }
    });
}

/// Classifies a text. The part must be for this base; [`TaskPart::base_id`] says so.
pub fn classify(base: &BaseEncoder<'_>, part: &TaskPart<'_>, text: &str, scratch: &mut Scratch) -> Answer {
    logits(base, part, text, &mut scratch.vector, &mut scratch.logits);
    let values = &scratch.logits[..part.classes()];
    let mut best = 0;
    for (class, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = class;
        }
    }
    let second = values
        .iter()
        .enumerate()
        .filter(|(class, _)| *class != best)
        .map(|(_, value)| *value)
        .max()
        .unwrap_or(0);
    let confidence = calibrated(&part.header.calibration, values[best].saturating_sub(second));
    let is_urgent = |class: usize| part.header.urgent >> class & 1 == 1;
    let near = values[best].saturating_sub(i32::from(part.header.urgent_margin) * 16);
    let urgent_near =
        !is_urgent(best) && values.iter().enumerate().any(|(class, value)| is_urgent(class) && *value > near);
    let unsure = confidence < part.header.threshold || urgent_near;
    Answer { class: best as u8, confidence, unsure }
}

/// Confidence at a margin (8 fractional bits), between the points in a straight line.
fn calibrated(points: &[u8; CALIBRATION_POINTS], margin: i32) -> u8 {
    let margin = margin.max(0) as usize;
    let index = margin / 128;
    let Some(next) = points.get(index + 1) else { return points[CALIBRATION_POINTS - 1] };
    let (low, part) = (i32::from(points[index]), (margin % 128) as i32);
    (low + (i32::from(*next) - low) * part / 128) as u8
}
