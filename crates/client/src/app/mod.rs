//! The app's side: what a program says to its radio.
//!
//! # How it goes
//! 1. The host opens the link and calls [`Session::handle_connected`]. The session asks for the radio's state under a random number
//!    ([`Phase::Configuring`]); where nothing comes it asks again, each time more patiently, and gives up after three tries.
//! 2. Each message from the radio goes to [`Session::handle_message`], which keeps what all hosts need ([`Session::radio`]) and gives the
//!    decoded message back for what only some need (nodes, all parts of the configuration, packets). When the state is whole, the
//!    session is [`Phase::Ready`].
//! 3. Packets go through [`Session::send`]: queued, and paced by the room that the radio tells of. It tells that now and then only,
//!    so without word the session asks, and then tries. What becomes of a packet comes as an [`Event`].
//! 4. A radio that is silent is asked for a sign of life. Without an answer the link is dead ([`Event::Dead`]): the host closes it,
//!    opens it anew and begins at 1. With the usual configuration that is at most 40 s after the last word.
//! 5. A radio that was started anew says so, or tells its number unasked. Then the session asks for the state again.
//!
//! After each `handle_*`: take all of [`Session::poll_transmit`] and [`Session::poll_event`], then wait for input, or until
//! [`Session::poll_timeout`] for [`Session::handle_timeout`].

mod flow;
mod radio;
mod session;

pub use flow::SendError;
pub use radio::{ChannelSlot, Radio};
pub use session::Session;

use compotastic_messages::{DeviceMetrics, FromRadio, LocalStats, RoutingError};

/// How a session behaves. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the handshake asks for.
    pub scope: Scope,
    /// Without a word for so long during the handshake it is tried again; twice and four times as long for the tries after.
    pub handshake_quiet_ms: u64,
    /// A handshake that has not ended by then is given up.
    pub handshake_ms: u64,
    /// Something is said to the radio at least so often. Firmware closes after 15 minutes without a word.
    pub heartbeat_ms: u64,
    /// After so long without a word from the radio it is asked for a sign of life.
    pub quiet_ms: u64,
    /// So long it may take for that, twice.
    pub answer_ms: u64,
    /// Shortest time between two packets.
    pub gap_ms: u64,
    /// Patience with a queue that is full, or of which nothing is known.
    pub room_ms: u64,
    /// An admin request ends without an answer after this time.
    pub admin_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            handshake_quiet_ms: 5_000,
            handshake_ms: 120_000,
            heartbeat_ms: 300_000,
            quiet_ms: 20_000,
            answer_ms: 10_000,
            gap_ms: 50,
            room_ms: 5_000,
            admin_ms: 10_000,
        }
    }
}

/// What a handshake asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    #[default]
    All,
    /// All but the other nodes.
    ConfigOnly,
    /// The nodes alone.
    NodesOnly,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The link is not open.
    #[default]
    Connecting,
    /// The radio is telling its state.
    Configuring,
    /// In use.
    Ready,
}

/// Why a link is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// The radio never answered the handshake. Maybe it is no Meshtastic device, or the baud rate is wrong.
    NoHandshake,
    /// It answered, and never came to the end.
    HandshakeTooLong,
    /// It has fallen silent.
    Silent,
}

/// Why a packet did not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The mesh, or our radio, says so.
    Routing(RoutingError),
    /// The radio refused it: 32: its queue is full (over UDP it may have gone out all the same), 33: it has no transmitter.
    Refused(i32),
    /// The link broke before it was handed over.
    LinkLost,
    /// No answer came to an admin request.
    NoAnswer,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The radio's state is known; packets may be sent.
    Ready {
        /// Its node number.
        num: u32,
    },
    /// The radio was started anew; what was in its queue is lost. [`Event::Ready`] follows.
    Restarted,
    /// Another number than before: another radio, or one that was reset.
    NumberChanged {
        /// Before.
        old: u32,
        /// Now.
        new: u32,
    },
    /// The link is dead: close it and open it anew.
    Dead(DeadReason),
    /// A packet of ours was acknowledged, or answered.
    Delivered {
        /// Its id.
        id: u32,
        /// Who acknowledged; the radio itself where it heard somebody relay the packet.
        by: u32,
    },
    /// A packet of ours did not arrive.
    Failed {
        /// Its id.
        id: u32,
        /// Why.
        why: Failure,
    },
    /// The radio told of its queue. Comes only now and then.
    Queue {
        /// Free places.
        free: u32,
        /// All places.
        maxlen: u32,
    },
    /// The radio told its own measurements.
    Metrics {
        /// Seconds since 1970 by its clock; 0: it has none.
        time: u32,
        /// The measurements.
        metrics: DeviceMetrics,
    },
    /// The radio told what it counts.
    Stats {
        /// Seconds since 1970 by its clock; 0: it has none.
        time: u32,
        /// The figures.
        stats: LocalStats,
    },
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken<'a> {
    /// The message.
    pub message: FromRadio<'a>,
    /// It is the answer to this request of [`Session::admin`]: a packet on `ADMIN_APP`.
    pub answers: Option<u32>,
}
