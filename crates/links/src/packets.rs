//! Links that carry whole mesh packets: UDP multicast and MQTT.

use std::{path::PathBuf, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    Fault, FaultKind, LinkState, LinkUrl, OwnedPacket, Phase,
    backoff::Backoff,
    mqtt,
    outbox::{LinkEvent, Outbox},
    radio::{COMMANDS, EVENTS, LinkEnded, WAITING},
    udp,
};

/// Waits before a network is tried again.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// What a packet link is told once.
#[derive(Clone, Debug, Default)]
pub struct PacketConfig {
    /// Our node number: the gateway's name on MQTT, and what is not taken back from the network.
    pub node: u32,
    /// MQTT: names of the channels to listen to, `PKI` not among them.
    pub channels: Vec<String>,
    /// MQTT: take packets from the broker at all. Without it the link only sends.
    pub downlink: bool,
    /// MQTT over TLS: a PEM file with the authorities that are trusted, instead of the system's.
    pub mqtt_ca: Option<PathBuf>,
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
        /// MQTT: the packet's bitfield allows it. Without it only packets of this node itself go to the broker.
        ok_to_mqtt: bool,
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

    /// Sends a packet of this node's own, whose body is encrypted; `channel` is its name on MQTT.
    pub async fn send(&self, packet: OwnedPacket, channel: Option<String>) -> Result<(), LinkEnded> {
        self.forward(packet, channel, false).await
    }

    /// Passes another node's packet on, whose body is encrypted. It goes to MQTT only if its bitfield allows it.
    pub async fn forward(
        &self,
        packet: OwnedPacket,
        channel: Option<String>,
        ok_to_mqtt: bool,
    ) -> Result<(), LinkEnded> {
        self.command(PacketCommand::Send { packet: Box::new(packet), channel, ok_to_mqtt }).await
    }

    /// Closes the link and ends the task.
    pub async fn shutdown(&self) -> Result<(), LinkEnded> {
        self.command(PacketCommand::Shutdown).await
    }
}

/// A packet link.
pub struct PacketLink;

impl PacketLink {
    /// What can be told of a link before anything is opened: [`Self::spawn`] would refuse it with the same fault.
    pub fn check(url: &LinkUrl, config: &PacketConfig) -> Result<(), Fault> {
        Carrier::new(url, config).map(|_| ())
    }

    /// Starts a link's task. Must be called inside a tokio runtime. Only `udp:`, `mqtt:` and `mqtts:` are such links.
    ///
    /// # Errors
    /// It is another link, a channel's name cannot be a part of a topic, or there are no authorities to trust.
    pub fn spawn(url: &LinkUrl, config: PacketConfig) -> Result<PacketHandle, Fault> {
        let carrier = Carrier::new(url, &config)?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, receiver) = mpsc::channel(EVENTS);
        let (shown, state) = watch::channel(LinkState::default());
        let task =
            Task { config, inbox, outbox: Outbox::new(events, WAITING), shown, was_up: false, is_up: false };
        tokio::spawn(task.run(carrier));
        Ok(PacketHandle { sender: PacketSender { commands }, events: receiver, state })
    }
}

/// What carries the packets.
enum Carrier {
    Udp(udp::Place),
    Mqtt(mqtt::Broker),
}

impl Carrier {
    fn new(url: &LinkUrl, config: &PacketConfig) -> Result<Self, Fault> {
        match url {
            LinkUrl::Udp { group, port, interface } => {
                Ok(Self::Udp(udp::Place { group: *group, port: *port, interface: interface.clone() }))
            }
            LinkUrl::Mqtt { tls, host, port, user, password, root } => {
                let credentials = (user.as_deref(), password.clone());
                mqtt::Broker::new((host, *port, *tls), credentials, root, config).map(Self::Mqtt)
            }
            _ => {
                let what = format!("{url} is a radio's link, not one of whole packets");
                Err(Fault::new(FaultKind::Unsupported, what, "use udp: or mqtt:"))
            }
        }
    }
}

/// Why a run ended.
pub(crate) enum Ended {
    /// The host wants no more.
    Shutdown,
    /// The host wants it opened anew.
    Again,
    /// It broke.
    Broken(Fault),
}

impl LinkEvent for PacketEvent {
    fn is_lesser(&self) -> bool {
        matches!(self, Self::Packet { .. })
    }

    fn lagged(dropped: u64) -> Self {
        Self::Lagged { dropped }
    }
}

/// The task's state that outlives a connection.
pub(crate) struct Task {
    pub config: PacketConfig,
    pub inbox: mpsc::Receiver<PacketCommand>,
    pub outbox: Outbox<PacketEvent>,
    shown: watch::Sender<LinkState>,
    was_up: bool,
    is_up: bool,
}

impl Task {
    /// The link is open.
    pub fn up(&mut self, detail: String) {
        let again = std::mem::replace(&mut self.was_up, true);
        self.is_up = true;
        self.outbox.push(PacketEvent::Up);
        self.shown.send_modify(|state| {
            state.phase = Phase::Up;
            state.detail = detail;
            state.reconnects += u64::from(again);
        });
    }

    /// Shows how much was dropped.
    pub fn tell_drops(&mut self) {
        let dropped = self.outbox.dropped;
        self.shown.send_if_modified(|state| std::mem::replace(&mut state.dropped, dropped) != dropped);
    }

    async fn run(mut self, carrier: Carrier) {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX, None);
        let mut last = None;
        loop {
            self.shown.send_modify(|state| state.phase = Phase::Connecting);
            self.is_up = false;
            let ended = match &carrier {
                Carrier::Udp(place) => udp::run(place, &mut self).await,
                Carrier::Mqtt(broker) => mqtt::run(broker, &mut self).await,
            };
            if self.is_up {
                backoff.reset();
                last = None;
            }
            let fault = match ended {
                Ended::Shutdown => break,
                Ended::Again => continue,
                Ended::Broken(fault) => fault,
            };
            self.shown.send_modify(|state| {
                state.phase = Phase::Down;
                state.detail = fault.to_string();
            });
            // A link that stays down says so once.
            if last.as_ref() != Some(&fault) {
                tracing::warn!(%fault, "link down");
                self.outbox.push(PacketEvent::Down { reason: fault.clone() });
                last = Some(fault);
            }
            if !self.wait(backoff.wait()).await {
                break;
            }
        }
        self.shown.send_modify(|state| state.phase = Phase::Ended);
    }

    /// Waits before the next try. What is to be sent meanwhile is dropped, and counted. False if the host wants no more.
    async fn wait(&mut self, time: Duration) -> bool {
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return true,
                () = self.outbox.flush(), if !self.outbox.is_empty() => self.tell_drops(),
                command = self.inbox.recv() => match command {
                    Some(PacketCommand::Send { .. }) => {
                        self.outbox.dropped += 1;
                        self.tell_drops();
                    }
                    Some(PacketCommand::Reconnect) => return true,
                    Some(PacketCommand::Shutdown) | None => return false,
                },
            }
        }
    }
}
