//! Distillation: from a foundation model to what a field node can hold.
//!
//! [`encoder`] makes the shared base encoder (and the larger one in the tree); [`task`] makes task parts. Arithmetic is
//! f64 with `+ - * /`, square roots and `libm` only, in a fixed order on one thread, so that the same inputs give the same
//! bytes on any machine.

pub mod corpus;
pub mod draws;
pub mod encoder;
mod phrases;
mod quantise;
pub mod softmax;
mod targets;
pub mod task;
