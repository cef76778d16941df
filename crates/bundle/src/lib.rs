//! Signed manifests, delegations, erasure coding and update slots.
#![no_std]
