//! The encoder: for the edge and the operator, with as much memory and time as it likes.

mod plan;
mod thumb;

pub use thumb::research;
pub const ENGINE: usize = core::mem::size_of::<crate::engine::Engine>();
