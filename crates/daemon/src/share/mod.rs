//! One radio, many programs: a virtual device on top of the real one.
//!
//! A stock radio takes one client at a time, and a new one closes the old one. [`spawn`] listens for any number of them and is the radio's one
//! steady client itself. Each client has a handshake of its own, answered from what the radio told ([`cache`]), and a queue of its own, which
//! loses its oldest packets where the client is slow ([`outbox`]). What they send shares the air by deficit round robin over the computed
//! time on air ([`queues`]). Answers go to the one that asked, under the id that it chose ([`routes`]); all else goes to all, and what
//! one client sends is shown to the others as the node's own, so that a chat is whole.
//!
//! The hub has no link of its own. It takes the radio's `FromRadio` messages as they come ([`RadioInput`]), and gives `ToRadio` messages with
//! their cost ([`ForRadio`]): so whoever owns the link can pass them through the same governor as the node's own packets, and a test can
//! put anything in the radio's place.

mod cache;
mod client;
mod http;
mod hub;
mod outbox;
mod packets;
mod queues;
mod routes;
mod server;

use std::net::SocketAddr;

pub use hub::{ClientId, Hub};
pub use outbox::{Outbox, Shared};
pub use server::{ShareHandle, ShareState, spawn};

use crate::device_http::Origin;

/// Clients that are served at once, where nothing else is said.
pub const CLIENTS: usize = 64;
/// A client that says nothing for so long is closed, as radios do.
pub const IDLE_MS: u64 = 15 * 60 * 1_000;
/// Places in each client's transmit queue; clients are told of them as of the radio's own.
pub const PLACES: usize = 16;
/// A packet that has waited for so long is given back as failed.
pub const WAIT_MS: u64 = 5 * 60 * 1_000;

/// `compotastic up --share`: flags of the shared radio.
#[derive(clap::Args, Clone, Debug)]
pub struct ShareOptions {
    /// Share the radio with other programs: they connect to this address as to a Meshtastic device, e.g. 0.0.0.0:4403
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub share: Option<SocketAddr>,
    /// Share it with web apps too, over HTTP at this address, e.g. 127.0.0.1:4481
    #[arg(long, requires = "share", value_name = "ADDRESS:PORT")]
    pub share_http: Option<SocketAddr>,
    /// Site whose pages may use the shared radio, beside those of this machine
    #[arg(
        long,
        requires = "share_http",
        value_name = "SITE",
        default_value = "https://client.meshtastic.org"
    )]
    pub share_http_page: Vec<Origin>,
    /// Programs on the shared radio may listen, not send
    #[arg(long, requires = "share")]
    pub share_read_only: bool,
    /// Programs on the shared radio may not change its settings, and do not see its private key
    #[arg(long, requires = "share")]
    pub share_no_admin: bool,
    /// Most programs on the shared radio at once
    #[arg(long, requires = "share", value_name = "N", default_value_t = CLIENTS)]
    pub share_clients: usize,
    /// Most air time of each program on the shared radio, percent
    #[arg(long, requires = "share", value_name = "PERCENT", default_value_t = 5.0, value_parser = airtime_percent)]
    pub share_airtime: f64,
}

/// A share of the air that lets something through: the hub counts in tenths of a percent.
fn airtime_percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        Ok(_) => {
            Err("0.1 to 100 percent are possible; --share-read-only lets programs send nothing".to_owned())
        }
        Err(_) => Err("it is no number".to_owned()),
    }
}

impl ShareOptions {
    /// What the hub is told.
    pub fn config(&self) -> ShareConfig {
        let sites = self.share_http_page.clone();
        ShareConfig {
            http: self.share_http.map(|address| HttpShare { address, sites }),
            read_only: self.share_read_only,
            no_admin: self.share_no_admin,
            clients: self.share_clients.max(1),
            airtime_permille: (self.share_airtime * 10.0).round() as u32,
        }
    }
}

/// How web apps reach the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpShare {
    /// Where it listens.
    pub address: SocketAddr,
    /// Sites whose pages are taken, beside those of this machine.
    pub sites: Vec<Origin>,
}

/// How the hub behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareConfig {
    /// For web apps.
    pub http: Option<HttpShare>,
    /// Clients may not send.
    pub read_only: bool,
    /// Clients may not read secrets or change settings.
    pub no_admin: bool,
    /// Clients at once.
    pub clients: usize,
    /// Share of the time that one client may be on air, averaged over ten minutes.
    pub airtime_permille: u32,
}

impl Default for ShareConfig {
    fn default() -> Self {
        Self { http: None, read_only: false, no_admin: false, clients: CLIENTS, airtime_permille: 50 }
    }
}

/// What the owner of the link tells the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioInput {
    /// A `FromRadio` message as it came, those of the handshake included.
    Message(Vec<u8>),
    /// A packet that the node behind the same radio sent, as `MeshPacket`: it is shown to the clients.
    Own(Vec<u8>),
    /// A packet that the hub gave will not be sent: its client is told this `Routing.Error`.
    Refused {
        /// Its id.
        id: u32,
        /// Why, such as 9 (DUTY_CYCLE_LIMIT).
        error: u32,
    },
    /// The link broke. What clients send waits.
    Down,
}

/// A message for the radio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForRadio {
    /// The `ToRadio` message.
    pub bytes: Vec<u8>,
    /// Packet id; none where it is no packet.
    pub id: Option<u32>,
    /// `MeshPacket.priority` as the client asked for, at most 100 but for alerts.
    pub priority: u32,
    /// Time on air of its first transmission, microseconds; 0: it stays in the radio.
    pub airtime_us: u64,
}
