//! Packets over an MQTT broker: `ServiceEnvelope`s on `ROOT/2/e/CHANNEL/!GATEWAY`, as firmware's gateways speak.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use compotastic_messages::{Message, ServiceEnvelope, Text};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, StateError,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    Body, Fault, FaultKind, OwnedPacket, Secret,
    packet::{MAX_DATAGRAM, encoded},
    packets::{Ended, PacketCommand, PacketConfig, PacketEvent, Task},
    tls,
};

/// Channel name of direct messages under public keys.
pub const PKI: &str = "PKI";
/// `TransportMechanism` of what came this way.
const TRANSPORT_MQTT: u32 = 5;
/// The broker is asked for a sign of life so often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Longest MQTT message that is taken: a longer one ends the connection, and anyone may write to a broker. What is no packet
/// is dropped all the same.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Requests to the broker that may wait.
const REQUESTS: usize = 64;
/// Longest encoded envelope.
const MAX_ENVELOPE: usize = MAX_DATAGRAM + 128;

/// A broker, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Broker {
    host: String,
    port: u16,
    /// TLS, where it is spoken.
    tls: Option<Arc<ClientConfig>>,
    user: Option<String>,
    password: Option<Secret>,
    root: String,
    filters: Vec<String>,
    gateway: String,
}

impl Broker {
    /// Checks the channels' names, which become parts of topics, and reads the authorities that are trusted, for TLS.
    pub fn new(
        (host, port, tls): (&str, u16, bool),
        (user, password): (Option<&str>, Option<Secret>),
        root: &str,
        config: &PacketConfig,
    ) -> Result<Self, Fault> {
        let bad = |name: &&String| name.is_empty() || name.contains(['/', '+', '#', '\0']);
        if let Some(name) = config.channels.iter().find(bad) {
            return Err(Fault::new(
                FaultKind::Unsupported,
                format!("the channel `{name}` cannot be a part of an MQTT topic"),
                "name the channel without / + and # (a swarm gets its name from `swarm new`), or leave MQTT out",
            ));
        }
        let tls = match tls {
            true => Some(tls::config(config.mqtt_ca.as_deref())?),
            false => None,
        };
        let names = config.channels.iter().map(String::as_str).chain([PKI]);
        let filters = match config.downlink {
            true => names.map(|name| format!("{root}/2/e/{name}/+")).collect(),
            false => Vec::new(),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            user: user.map(str::to_owned),
            password,
            root: root.to_owned(),
            filters,
            gateway: format!("!{:08x}", config.node),
        })
    }

    fn options(&self) -> MqttOptions {
        let id = format!("compotastic-{}", &self.gateway[1..]);
        let mut options = MqttOptions::new(id, &self.host, self.port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_max_packet_size(MAX_MESSAGE, MAX_MESSAGE);
        if let Some(tls) = &self.tls {
            options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls.clone())));
        }
        if let Some(user) = &self.user {
            options.set_credentials(user, self.password.as_ref().map_or("", Secret::reveal));
        }
        options
    }

    fn fault(&self, error: &ConnectionError) -> Fault {
        let Self { host, port, .. } = self;
        if self.tls.is_some()
            && let Some(fault) = tls::fault(&format!("{host}:{port}"), error)
        {
            return fault;
        }
        let io = match error {
            ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => Some(error),
            _ => None,
        };
        match (error, io.map(|error| error.kind())) {
            (
                ConnectionError::ConnectionRefused(
                    ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
                ),
                _,
            ) => {
                let what = match &self.user {
                    Some(user) => {
                        format!("the broker {host}:{port} does not accept user `{user}` or the password")
                    }
                    None => format!("the broker {host}:{port} wants a user and a password"),
                };
                Fault::new(FaultKind::Refusal, what, "give them as mqtt://USER:PASSWORD@HOST")
            }
            (ConnectionError::ConnectionRefused(code), _) => Fault::new(
                FaultKind::Refused,
                format!("the broker {host}:{port} refuses the session: {code:?}"),
                "see the broker's log",
            ),
            (_, Some(ErrorKind::ConnectionRefused)) => Fault::new(
                FaultKind::Refused,
                format!("nothing listens at {host}:{port}"),
                "start the broker, or mend host and port of the mqtt:// URL",
            ),
            (ConnectionError::NetworkTimeout, _) => Fault::new(
                FaultKind::Unreachable,
                format!("{host}:{port} does not answer as an MQTT broker"),
                "mend host and port of the mqtt:// URL, or see whether a firewall is between",
            ),
            (ConnectionError::NotConnAck(_), _)
            | (ConnectionError::MqttState(StateError::Deserialization(_)), _)
            | (_, Some(ErrorKind::InvalidData)) => Fault::new(
                FaultKind::NotMeshtastic,
                format!("{host}:{port} is no MQTT broker: {error}"),
                "mend host and port of the mqtt:// URL (1883 is usual; with TLS it is mqtts:// and 8883)",
            ),
            (
                _,
                Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof),
            )
            | (ConnectionError::MqttState(StateError::ConnectionAborted), _) => Fault::new(
                FaultKind::Closed,
                format!("{host}:{port} closed the connection"),
                "see the broker's log; two programs with the same node number push each other out, and a port with TLS wants mqtts://",
            ),
            (_, Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut)) => {
                Fault::new(
                    FaultKind::Unreachable,
                    format!("{host}:{port} cannot be reached: {error}"),
                    "see whether the network is there",
                )
            }
            // The resolver's errors have no kind of their own.
            _ if error.to_string().contains("lookup") => unknown_host(host),
            _ => Fault::new(FaultKind::Other, format!("{host}:{port}: {error}"), "see the broker's log"),
        }
    }
}

fn unknown_host(host: &str) -> Fault {
    Fault::new(FaultKind::Missing, format!("there is no host `{host}`"), "mend the host of the mqtt:// URL")
}

/// Ends the connection's task with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Polls the connection in a task of its own: a poll that is dropped half way would lose what it has read.
fn pump(mut connection: EventLoop) -> (AbortOnDrop, mpsc::Receiver<Result<Event, ConnectionError>>) {
    let (sender, receiver) = mpsc::channel(REQUESTS);
    let task = tokio::spawn(async move {
        loop {
            let event = connection.poll().await;
            let ended = event.is_err();
            if sender.send(event).await.is_err() || ended {
                break;
            }
        }
    });
    (AbortOnDrop(task), receiver)
}

/// Runs the link until it breaks or is told to end.
pub async fn run(broker: &Broker, task: &mut Task) -> Ended {
    let (client, connection) = AsyncClient::new(broker.options(), REQUESTS);
    let (_guard, mut events) = pump(connection);
    loop {
        tokio::select! {
            () = task.outbox.flush(), if !task.outbox.is_empty() => task.tell_drops(),
            command = task.inbox.recv() => match command {
                Some(PacketCommand::Send { packet, channel, ok_to_mqtt }) => {
                    let allowed = ok_to_mqtt || packet.from == task.config.node;
                    let Some((topic, bytes)) = outgoing(broker, &packet, channel.as_deref(), allowed) else { continue };
                    if client.try_publish(topic, QoS::AtMostOnce, false, bytes).is_err() {
                        task.outbox.dropped += 1;
                        task.tell_drops();
                    }
                }
                Some(PacketCommand::Reconnect) => return Ended::Again,
                Some(PacketCommand::Shutdown) | None => {
                    let _ = client.try_disconnect();
                    // The pump writes the word; a broker that does not read it is left without.
                    let gone = async { while events.recv().await.is_some_and(|event| event.is_ok()) {} };
                    let _ = tokio::time::timeout(Duration::from_millis(500), gone).await;
                    return Ended::Shutdown;
                }
            },
            event = events.recv() => match event {
                Some(Ok(Event::Incoming(Packet::ConnAck(_)))) => {
                    for filter in &broker.filters {
                        if client.try_subscribe(filter, QoS::AtMostOnce).is_err() {
                            return Ended::Again;
                        }
                    }
                    task.up(format!("broker {}:{}", broker.host, broker.port));
                }
                Some(Ok(Event::Incoming(Packet::SubAck(ack)))) => {
                    if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                        return Ended::Broken(Fault::new(
                            FaultKind::Refusal,
                            format!("the broker does not let us listen to {}", broker.filters.join(", ")),
                            "allow those topics in the broker's access list",
                        ));
                    }
                }
                Some(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                    if let Some(event) = incoming(&publish.payload, task.config.node) {
                        task.outbox.push(event);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Ended::Broken(broker.fault(&error)),
                None => return Ended::Again,
            },
        }
    }
}

fn outgoing(
    broker: &Broker,
    packet: &OwnedPacket,
    channel: Option<&str>,
    allowed: bool,
) -> Option<(String, Vec<u8>)> {
    let channel = channel?;
    let refused = match &packet.body {
        _ if !allowed => "its sender does not allow it",
        _ if channel.contains(['/', '+', '#']) => "its channel's name cannot be in a topic",
        Body::Data(_) => "it is not encrypted",
        Body::Encrypted(_) if packet.from == 0 => "it has no sender",
        Body::Encrypted(_) => "",
    };
    if !refused.is_empty() {
        tracing::debug!(id = packet.id, refused, "not sent to MQTT");
        return None;
    }
    packet.check().inspect_err(|fault| tracing::warn!(id = packet.id, %fault, "not sent to MQTT")).ok()?;
    let envelope = ServiceEnvelope {
        packet: Some(packet.message()),
        channel_id: Text(channel.as_bytes()),
        gateway_id: Text(broker.gateway.as_bytes()),
    };
    let bytes = encoded::<MAX_ENVELOPE>(&envelope).ok()?;
    Some((format!("{}/2/e/{channel}/{}", broker.root, broker.gateway), bytes))
}

/// A packet out of an envelope: not our own, nor one that we brought ourselves.
fn incoming(bytes: &[u8], node: u32) -> Option<PacketEvent> {
    let envelope = ServiceEnvelope::decode(bytes).ok()?;
    let gateway = envelope.gateway_id.as_str()?.strip_prefix('!')?;
    let gateway = u32::from_str_radix(gateway, 16).ok()?;
    let mut packet = OwnedPacket::from_message(&envelope.packet?)?;
    if gateway == node || packet.from == node || packet.from == 0 || packet.id == 0 || packet.check().is_err()
    {
        return None;
    }
    packet.via_mqtt = true;
    packet.transport = TRANSPORT_MQTT;
    packet.hop_limit = packet.hop_limit.min(7);
    packet.hop_start = packet.hop_start.min(7);
    // Claims that only a radio can make: anyone may write to a broker.
    packet.signed = false;
    if matches!(packet.body, Body::Data(_)) {
        packet.pki_encrypted = false;
        packet.public_key.clear();
    }
    let channel = envelope.channel_id.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    Some(PacketEvent::Packet { packet: Box::new(packet), channel, gateway: Some(gateway) })
}
