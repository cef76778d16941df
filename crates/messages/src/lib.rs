//! Meshtastic's protobuf messages: what travels inside packets, in the client API and over MQTT.
//!
//! Written from the published field numbers. No allocation: a decoded message borrows from the bytes that it was read from, all of it is
//! a plain struct that can be changed and written again, and nothing panics on any input. Unknown fields are passed over, unknown numbers of
//! enumerations kept, text that is not UTF-8 kept.
//!
//! ```
//! use compotastic_messages::{Data, MeshPacket, MeshPacketPayload, Message, PortNum, ToRadio, ToRadioPayload, BROADCAST};
//! let data = Data { portnum: PortNum::TEXT_MESSAGE_APP, payload: b"hello", ..Data::default() };
//! let packet = MeshPacket {
//!     to: BROADCAST,
//!     id: 7,
//!     hop_limit: 3,
//!     payload: Some(MeshPacketPayload::Decoded(data)),
//!     ..MeshPacket::default()
//! };
//! let bytes = ToRadio::from(ToRadioPayload::Packet(packet.clone())).to_vec::<512>()?;
//! assert_eq!(ToRadio::decode(&bytes).unwrap().payload, Some(ToRadioPayload::Packet(packet)));
//! # Ok::<_, compotastic_messages::Full>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod api;
mod config;
mod enums;
mod kinds;
mod packet;
pub mod pb;
mod table;

pub use api::*;
pub use config::*;
pub use enums::*;
pub use packet::*;
pub use pb::{Full, Malformed, Message, Text};
