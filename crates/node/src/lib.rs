//! The agent: registry, jobs, objects, update, governor.
#![no_std]
