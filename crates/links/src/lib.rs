//! Links to real meshes, each behind the same seam and chosen by one URL.
//!
//! [`RadioLink`] is a stock radio that is reached by its client API (serial, TCP, Bluetooth, or a simulated one): its task
//! runs the app's session and opens the link again whenever it breaks. [`PacketLink`] carries whole mesh packets (UDP
//! multicast, MQTT). All queues are bounded; a host that does not drain them is told how much it has missed.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod ble;
pub mod bridge;
pub mod connect;
mod discover;
mod fault;
mod mqtt;
mod outbox;
mod packet;
pub mod packets;
pub mod radio;
mod serial;
mod tcp;
mod tls;
mod udp;
mod url;

pub use compotastic_messages::BROADCAST;

pub use self::{
    backoff::Backoff,
    connect::{Connector, Opening, Pipe, connector},
    discover::{Found, discover},
    fault::{Fault, FaultKind},
    packet::{Body, MAX_DATAGRAM, OwnedData, OwnedPacket},
    packets::{PacketCommand, PacketConfig, PacketEvent, PacketHandle, PacketLink, PacketSender},
    radio::{
        ChannelInfo, Failure, LinkEnded, LinkState, NodeInfo, Phase, RadioCommand, RadioEvent, RadioHandle,
        RadioInfo, RadioLink, RadioSender, SessionConfig, Telemetry,
    },
    url::{BAUD, BadUrl, FORMS, GROUP, LinkUrl, PORT, Secret},
};
