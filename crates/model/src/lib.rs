//! Tiny integer inference: text encoder and task parts.
#![no_std]
