//! Tiny integer inference: a text encoder in the node's flash, and task parts that cross the air.
//!
//! Knowledge is split by how it travels. The *base encoder* ([`BaseEncoder`]) turns any text into a vector; it is
//! shared by all tasks and comes with the firmware. A *task part* ([`TaskPart`]) turns the vector into classes with a
//! calibrated confidence; it is a few kilobytes and is what gets pushed. [`classify`] runs both.
//!
//! Integer arithmetic throughout: the same bits on every machine. Files are parsed once and then trusted; a damaged
//! file gives an error, never a panic.
#![no_std]
#![forbid(unsafe_code)]

mod encoder;
mod task;
mod words;

pub use encoder::{
    BaseEncoder, ENCODER_HEADER, EncoderShape, MAX_DIMS, MAX_EMBED, MAX_HIDDEN, SUBSPACE, Vector, piece_row,
};
pub use task::{
    Answer, CALIBRATION_POINTS, CORRECTION_BITS, Logits, MAX_CLASSES, TASK_HEADER, TaskHeader, TaskPart,
    classify, correction_keys, logits,
};
pub use words::{WORDS_MAX, Word, words};

/// Why a file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// Not such a file, or of a version that is not known here.
    Magic,
    /// Shorter or longer than its header says.
    Length,
    /// A header field is out of range.
    Field,
}

impl core::fmt::Display for ModelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Magic => "not a model file of this version",
            Self::Length => "model file is cut short or too long",
            Self::Field => "model file has a field out of range",
        })
    }
}

impl core::error::Error for ModelError {}

/// Working memory of [`classify`]: reused, so that it is on nobody's stack.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(crate) vector: Vector,
    pub(crate) logits: Logits,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { vector: [0; MAX_DIMS], logits: [0; MAX_CLASSES] }
    }
}
