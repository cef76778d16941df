//! A radio that is reached by its client API: one task with the app's session, that connects again by itself.

mod info;
mod task;
mod transport;

use std::time::Duration;

pub use compotastic_client::app::Failure;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Fault, FaultKind, LinkUrl, OwnedPacket, connect::Connector};

/// Commands that may wait for the link's task.
pub const COMMANDS: usize = 64;
/// Events that may wait in the channel; more wait in the task, up to [`WAITING`].
pub const EVENTS: usize = 64;
/// Events that wait in the task while the host does not drain. Past that the oldest packets are dropped and counted.
pub const WAITING: usize = 512;

/// How a link behaves.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Each `FromRadio` message is also told as it came, for the shared radio.
    pub raw: bool,
    /// The session's times.
    pub session: compotastic_client::app::Config,
    /// Opening may take so long.
    pub open: Duration,
    /// What is nonsense still so long after the opening has a wrong baud rate: a radio that boots may send noise for a moment.
    pub nonsense: Duration,
    /// First wait before the link is opened again; it doubles each time, with jitter.
    pub backoff_min: Duration,
    /// Longest wait before the link is opened again.
    pub backoff_max: Duration,
    /// Seed of the link's random numbers (nonces, jitter); drawn from the system where missing.
    pub seed: Option<u64>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            raw: false,
            session: compotastic_client::app::Config::default(),
            open: Duration::from_secs(20),
            nonsense: Duration::from_secs(6),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(20),
            seed: None,
        }
    }
}

/// A channel of the radio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Place, 0..=7.
    pub index: u8,
    /// 0 = disabled, 1 = primary, 2 = secondary.
    pub role: u8,
    /// Name as it is set, maybe empty.
    pub name: String,
    /// Key as it is set: 0, 1, 16 or 32 bytes.
    pub psk: Vec<u8>,
    /// Its packets may go to MQTT.
    pub uplink: bool,
    /// Packets from MQTT may come onto it.
    pub downlink: bool,
}

/// A node that the radio knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeInfo {
    /// Node number.
    pub num: u32,
    /// Long name.
    pub long_name: String,
    /// Short name.
    pub short_name: String,
    /// `HardwareModel`.
    pub hw_model: u32,
    /// `Config.DeviceConfig.Role`.
    pub role: u32,
    /// Public key, empty or 32 bytes.
    pub public_key: Vec<u8>,
    /// dB, of what was last heard directly.
    pub snr: f32,
    /// Seconds since 1970 by the radio's clock; 0 = never.
    pub last_heard: u32,
    /// Hops to it.
    pub hops_away: Option<u32>,
    /// It was heard over MQTT.
    pub via_mqtt: bool,
    /// Percent.
    pub battery_level: Option<u32>,
    /// Device metrics that it told last.
    pub metrics: Option<Telemetry>,
}

/// What the handshake told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RadioInfo {
    /// The radio's node number.
    pub num: u32,
    /// Times that it was started, as it counts.
    pub reboot_count: u32,
    /// Firmware version, such as `2.7.26.54e0d8d`.
    pub firmware: String,
    /// `HardwareModel`.
    pub hw_model: u32,
    /// It encrypts direct messages for public keys.
    pub has_pkc: bool,
    /// It signs broadcasts.
    pub has_xeddsa: bool,
    /// `Config.DeviceConfig.Role`.
    pub role: u32,
    /// `Config.LoRaConfig.RegionCode`; 0 = unset.
    pub region: u32,
    /// The modem is set by a preset.
    pub use_preset: bool,
    /// `Config.LoRaConfig.ModemPreset`.
    pub preset: u32,
    /// Hop limit by default.
    pub hop_limit: u32,
    /// It may send at all.
    pub tx_enabled: bool,
    /// Its packets may go to MQTT.
    pub ok_to_mqtt: bool,
    /// It ignores the region's duty cycle.
    pub override_duty_cycle: bool,
    /// Its channels, by index, disabled ones included.
    pub channels: Vec<ChannelInfo>,
    /// Nodes that it knows, itself included.
    pub nodes: Vec<NodeInfo>,
}

/// Device metrics of the radio itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// All air time of the last 60 s, percent.
    pub channel_utilization: Option<f32>,
    /// Own air time of the last hour, percent.
    pub air_util_tx: Option<f32>,
    /// Percent.
    pub battery_level: Option<u32>,
    /// Volt.
    pub voltage: Option<f32>,
    /// Seconds since its start.
    pub uptime_s: Option<u32>,
    /// When it was told, seconds since 1970 by the radio's clock; 0 = it has no clock.
    pub time: u32,
}

/// What happened on a link.
#[derive(Clone, Debug, PartialEq)]
pub enum RadioEvent {
    /// The handshake is done. Comes again after each restart of the radio.
    Up(Box<RadioInfo>),
    /// The link broke; it is opened again by itself.
    Down {
        /// Why.
        reason: Fault,
    },
    /// A packet from the mesh, or an answer of the radio itself.
    Packet(Box<OwnedPacket>),
    /// A `FromRadio` message as it came, if the host asked for those.
    Raw(Vec<u8>),
    /// The radio told its own device metrics.
    Telemetry(Telemetry),
    /// The radio told of a node that is new to it, or has changed.
    Node(Box<NodeInfo>),
    /// The radio has another number than before: another radio, or one that was reset. `Up` follows.
    NumberChanged {
        /// Before.
        old: u32,
        /// Now.
        new: u32,
    },
    /// A packet of ours failed, or was not sent because the link is down.
    Failed {
        /// Its id.
        id: u32,
        /// Why.
        why: Failure,
    },
    /// A packet of ours was acknowledged.
    Delivered {
        /// Its id.
        id: u32,
        /// Who acknowledged: the destination, or the radio itself where it heard a relay.
        by: u32,
    },
    /// The radio was started anew; what it held is lost. `Up` follows.
    Restarted,
    /// State of the radio's queue. Comes only now and then: never count packets by it.
    QueueStatus {
        /// 0, or why the packet is refused.
        res: i32,
        /// Free places.
        free: u32,
        /// All places.
        maxlen: u32,
        /// Packet that it is about, or 0.
        id: u32,
    },
    /// The radio has something to say to a person.
    Notice(String),
    /// The host was too slow: so many packets and lesser events were dropped since the last such word.
    Lagged {
        /// How many.
        dropped: u64,
    },
}

/// What a link is asked to do.
#[derive(Debug)]
pub enum RadioCommand {
    /// Sends a packet. It waits until the radio has room; while the link is down it fails. Choose an id, to know it again.
    Send(Box<OwnedPacket>),
    /// Passes a `ToRadio` message on as it is, for the shared radio.
    SendRaw(Vec<u8>),
    /// Sends an `AdminMessage` to the radio itself.
    Admin {
        /// Encoded `AdminMessage`.
        message: Vec<u8>,
        /// Wait for the radio's answer; else the call ends when the message is written.
        want_reply: bool,
        /// The encoded answer, empty where none was asked for.
        reply: oneshot::Sender<Result<Vec<u8>, Fault>>,
    },
    /// Opens the link anew now.
    Reconnect,
    /// Closes the link and ends the task.
    Shutdown,
}

/// Phases of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Being opened, or in the handshake.
    #[default]
    Connecting,
    /// In use.
    Up,
    /// Broken; waits before the next try.
    Down,
    /// The task has ended.
    Ended,
}

/// State of a link as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkState {
    /// Phase.
    pub phase: Phase,
    /// Why it is down, or what was found.
    pub detail: String,
    /// Times that it was up again after it had been up.
    pub reconnects: u64,
    /// Events that were dropped because the host did not drain.
    pub dropped: u64,
    /// Free places in the radio's queue, where it told.
    pub queue_free: Option<u32>,
}

/// The way to a link's task, to send. Clones are cheap.
#[derive(Clone, Debug)]
pub struct RadioSender {
    commands: mpsc::Sender<RadioCommand>,
}

/// The way to a link's task.
#[derive(Debug)]
pub struct RadioHandle {
    /// Where commands go.
    pub sender: RadioSender,
    /// What happens.
    pub events: mpsc::Receiver<RadioEvent>,
    /// The state, for those who only look.
    pub state: watch::Receiver<LinkState>,
}

/// The link's task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link's task has ended; see the log for why")]
pub struct LinkEnded;

impl RadioSender {
    /// Asks for anything; waits while the queue is full.
    pub async fn command(&self, command: RadioCommand) -> Result<(), LinkEnded> {
        self.commands.send(command).await.map_err(|_| LinkEnded)
    }

    /// Asks for anything without waiting; gives it back where the queue is full or the task has ended.
    pub fn try_command(&self, command: RadioCommand) -> Result<(), RadioCommand> {
        self.commands.try_send(command).map_err(|error| error.into_inner())
    }

    /// Sends a packet.
    pub async fn send(&self, packet: OwnedPacket) -> Result<(), LinkEnded> {
        self.command(RadioCommand::Send(Box::new(packet))).await
    }

    /// Sends an encoded `AdminMessage` to the radio itself, and waits for its answer if `want_reply`.
    pub async fn admin(&self, message: Vec<u8>, want_reply: bool) -> Result<Vec<u8>, Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| Fault::new(FaultKind::Closed, LinkEnded.to_string(), "start the link again");
        self.command(RadioCommand::Admin { message, want_reply, reply }).await.map_err(gone)?;
        answer.await.unwrap_or_else(|_| Err(gone(LinkEnded)))
    }

    /// Opens the link anew now.
    pub async fn reconnect(&self) -> Result<(), LinkEnded> {
        self.command(RadioCommand::Reconnect).await
    }

    /// Closes the link and ends the task.
    pub async fn shutdown(&self) -> Result<(), LinkEnded> {
        self.command(RadioCommand::Shutdown).await
    }
}

/// A link to a radio.
pub struct RadioLink;

impl RadioLink {
    /// Starts a link's task. Must be called inside a tokio runtime. `sim:` has no radio here: its host makes a [`Connector`]
    /// and calls [`Self::spawn_with`]; `udp:` and `mqtt:` are a [`crate::PacketLink`]'s.
    pub fn spawn(url: &LinkUrl, config: SessionConfig) -> Result<RadioHandle, Fault> {
        Ok(Self::spawn_with(crate::connect::connector(url)?, config))
    }

    /// Starts the task of a link that `connector` opens.
    pub fn spawn_with(connector: impl Connector, config: SessionConfig) -> RadioHandle {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (outbox, events) = mpsc::channel(EVENTS);
        let (shown, state) = watch::channel(LinkState::default());
        tokio::spawn(task::run(connector, config, inbox, outbox, shown));
        RadioHandle { sender: RadioSender { commands }, events, state }
    }
}
