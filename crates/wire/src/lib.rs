//! Frames of the Compotastic profile, their authentication and replay window.
#![no_std]
