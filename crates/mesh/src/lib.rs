//! Meshtastic packets, channel crypto, managed flooding, acks, LoRa air time.
#![no_std]
