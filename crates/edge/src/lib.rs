//! Foundation models, distillation and bundle packing on a high-compute node.
//!
//! [`task`] reads what a user wants to be told apart, [`teacher`] answers it, [`distil`] makes what field nodes can hold ([`student`] puts it
//! to use),
//! [`planner`] says when sending that is worth its air time, [`pack`] signs it, [`models`] gets and keeps foundation models.
#![forbid(unsafe_code)]

pub mod distil;
pub mod models;
pub mod pack;
pub mod planner;
pub mod student;
pub mod task;
pub mod teacher;
