//! Meshtastic's protobuf messages: what travels inside packets, in the client API and over MQTT.
//!
//! Written from the published field numbers. No allocation: a decoded message borrows from the bytes that it was read from.
#![no_std]
#![forbid(unsafe_code)]
