//! Links that carry whole mesh packets: UDP multicast and MQTT.

use tokio::sync::{mpsc, watch};

use crate::{
    Fault, FaultKind, LinkState, LinkUrl, OwnedPacket,
    radio::{COMMANDS, EVENTS, LinkEnded},
};

/// What a packet link is told once.
#[derive(Clone, Debug, Default)]
pub struct PacketConfig {
    /// Our node number: the gateway's name on MQTT, and what is not taken back from the network.
    pub node: u32,
    /// MQTT: names of the channels to listen to, `PKI` not among them.
    pub channels: Vec<String>,
    /// MQTT: take packets from the broker at all. Without it the link only sends.
    pub downlink: bool,
}

/// What happened on a packet link.
#[derive(Clone, Debug, PartialEq)]
pub enum PacketEvent {
    /// It is open.
    Up,
    /// It broke; it is opened again by itself.
    Down {
        /// Why.
        reason: Fault,
    },
    /// A packet.
    Packet {
        /// The packet.
        packet: Box<OwnedPacket>,
        /// MQTT: name of the channel, `PKI` for direct messages under public keys.
        channel: Option<String>,
        /// MQTT: who brought it to the broker.
        gateway: Option<u32>,
    },
    /// The host was too slow: so many packets were dropped since the last such word.
    Lagged {
        /// How many.
        dropped: u64,
    },
}

/// What a packet link is asked to do.
#[derive(Debug)]
pub enum PacketCommand {
    /// Sends a packet whose body is encrypted; on MQTT under the name of its channel.
    Send {
        /// The packet.
        packet: Box<OwnedPacket>,
        /// MQTT: name of the channel, `PKI` for direct messages under public keys.
        channel: Option<String>,
    },
    /// Opens the link anew now.
    Reconnect,
    /// Closes the link and ends the task.
    Shutdown,
}

/// The way to a packet link's task, to send. Clones are cheap.
#[derive(Clone, Debug)]
pub struct PacketSender {
    commands: mpsc::Sender<PacketCommand>,
}

/// The way to a packet link's task.
#[derive(Debug)]
pub struct PacketHandle {
    /// Where commands go.
    pub sender: PacketSender,
    /// What happens.
    pub events: mpsc::Receiver<PacketEvent>,
    /// The state, for those who only look.
    pub state: watch::Receiver<LinkState>,
}

impl PacketSender {
    /// Asks for anything; waits while the queue is full.
    pub async fn command(&self, command: PacketCommand) -> Result<(), LinkEnded> {
        self.commands.send(command).await.map_err(|_| LinkEnded)
    }

    /// Asks for anything without waiting; gives it back where the queue is full or the task has ended.
    pub fn try_command(&self, command: PacketCommand) -> Result<(), PacketCommand> {
        self.commands.try_send(command).map_err(|error| error.into_inner())
    }

    /// Sends a packet whose body is encrypted; `channel` is its name on MQTT.
    pub async fn send(&self, packet: OwnedPacket, channel: Option<String>) -> Result<(), LinkEnded> {
        self.command(PacketCommand::Send { packet: Box::new(packet), channel }).await
    }

    /// Closes the link and ends the task.
    pub async fn shutdown(&self) -> Result<(), LinkEnded> {
        self.command(PacketCommand::Shutdown).await
    }
}

/// A packet link.
pub struct PacketLink;

impl PacketLink {
    /// Starts a link's task. Must be called inside a tokio runtime. Only `udp:` and `mqtt:` are such links.
    pub fn spawn(url: &LinkUrl, config: PacketConfig) -> Result<PacketHandle, Fault> {
        if url.is_radio() {
            let what = format!("{url} is a radio's link, not one of whole packets");
            return Err(Fault::new(FaultKind::Unsupported, what, "use udp: or mqtt:"));
        }
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (outbox, events) = mpsc::channel(EVENTS);
        let (shown, state) = watch::channel(LinkState::default());
        tokio::spawn(task(config, inbox, outbox, shown));
        Ok(PacketHandle { sender: PacketSender { commands }, events, state })
    }
}

async fn task(
    config: PacketConfig,
    mut inbox: mpsc::Receiver<PacketCommand>,
    outbox: mpsc::Sender<PacketEvent>,
    shown: watch::Sender<LinkState>,
) {
    let _ = (config, inbox.recv().await, outbox, shown);
}
