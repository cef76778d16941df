//! Deterministic simulation of LoRa radios and the world around the nodes.
