//! Model-based coder for short radio texts.
#![no_std]
