//! The multicast of the local network: one bare `MeshPacket` in a datagram (firmware's `network.enabled_protocols`, bit 0).

use std::{
    collections::VecDeque,
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::Instant};

use crate::{
    Body, Fault, FaultKind, OwnedPacket,
    packet::MAX_DATAGRAM,
    packets::{Ended, PacketCommand, PacketEvent, Task},
};

/// As firmware sets it.
const TTL: u32 = 64;
/// `TransportMechanism` of what came this way.
const TRANSPORT_MULTICAST_UDP: u32 = 6;
/// The network is looked at so often: a membership goes with its interface, and none is told.
const LOOK: Duration = Duration::from_secs(5);
/// Datagrams of ours that are known again when the loopback brings them.
const REMEMBERED: usize = 64;
/// The loopback brings them at once; later ones are echoes of others, which the host counts as duplicates.
const LOOPED_WITHIN: Duration = Duration::from_secs(2);

/// Where the link is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Group.
    pub group: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Name or address of the interface.
    pub interface: Option<String>,
}

impl Place {
    /// Opens a socket that is a member of the group. Others on this machine may use the same port.
    fn open(&self) -> Result<UdpSocket, Fault> {
        self.socket().map_err(|error| self.fault(&error))
    }

    fn socket(&self) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_multicast_loop_v4(true)?;
        socket.set_multicast_ttl_v4(TTL)?;
        // Not what other programs' memberships bring to this machine.
        socket.set_multicast_all_v4(false)?;
        let on = match self.interface.as_deref() {
            None => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
            Some(name) => match name.parse::<Ipv4Addr>() {
                Ok(address) => {
                    socket.set_multicast_if_v4(&address)?;
                    InterfaceIndexOrAddress::Address(address)
                }
                Err(_) => {
                    let index = interface_index(name).ok_or(ErrorKind::NotFound)?;
                    socket.bind_device(Some(name.as_bytes()))?;
                    InterfaceIndexOrAddress::Index(index)
                }
            },
        };
        socket.bind(&SocketAddr::from((self.group, self.port)).into())?;
        socket.join_multicast_v4_n(&self.group, &on)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into())
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let Self { group, port, interface } = self;
        match (error.kind(), interface) {
            (ErrorKind::NotFound, Some(name)) => Fault::new(
                FaultKind::Missing,
                format!("there is no network interface `{name}`"),
                "`ip link` lists them",
            ),
            (ErrorKind::AddrInUse, _) => Fault::new(
                FaultKind::Busy,
                format!("UDP port {port} is taken by a program that does not share it"),
                format!("stop that program (`ss -ulpn sport = :{port}` names it)"),
            ),
            (ErrorKind::PermissionDenied, _) => Fault::new(
                FaultKind::Permission,
                format!("the multicast group {group} may not be used: {error}"),
                "allow UDP to it in the firewall or the container's settings",
            ),
            // ENODEV and ENETUNREACH: no interface, or no route, that carries multicast.
            _ if matches!(error.raw_os_error(), Some(19 | 101 | 99)) => Fault::new(
                FaultKind::Unavailable,
                format!("multicast is not possible: no network carries {group} ({error})"),
                "connect to the network, or name an interface (udp:?interface=eth0)",
            ),
            _ => Fault::new(
                FaultKind::Other,
                format!("multicast {group}:{port} failed: {error}"),
                "see `ip address` and `ip route`",
            ),
        }
    }

    /// What the membership stands on: the interface, or the one of the default route. Where it changes, the group is joined
    /// anew.
    fn ground(&self) -> String {
        match self.interface.as_deref() {
            Some(name) if name.parse::<Ipv4Addr>().is_ok() => fs::read_to_string("/proc/net/fib_trie")
                .map(|table| table.contains(name).to_string())
                .unwrap_or_default(),
            Some(name) => format!("{:?}", interface_index(name)),
            None => {
                let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
                // Name and gateway of the first route to 0.0.0.0.
                let default = |line: &&str| line.split('\t').nth(1) == Some("00000000");
                routes.lines().find(default).map(|line| line.chars().take(40).collect()).unwrap_or_default()
            }
        }
    }
}

/// Its number, by any socket: `/sys` may show another network namespace than ours.
fn interface_index(name: &str) -> Option<u32> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&socket, name).ok()
}

/// Runs the link until it breaks or is told to end.
pub async fn run(place: &Place, task: &mut Task) -> Ended {
    let ground = place.ground();
    let socket = match place.open() {
        Ok(socket) => socket,
        Err(fault) => return Ended::Broken(fault),
    };
    task.up(format!("multicast {}:{}", place.group, place.port));
    let target = SocketAddrV4::new(place.group, place.port);
    let mut sent: VecDeque<(Instant, Vec<u8>)> = VecDeque::with_capacity(REMEMBERED);
    let mut look = tokio::time::interval(LOOK);
    // One more, so that a longer datagram is seen to be longer.
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        tokio::select! {
            () = task.outbox.flush(), if !task.outbox.is_empty() => task.tell_drops(),
            command = task.inbox.recv() => match command {
                Some(PacketCommand::Send { packet, .. }) => {
                    let Some(bytes) = outgoing(&packet) else { continue };
                    if let Err(error) = socket.send_to(&bytes, target).await {
                        return Ended::Broken(place.fault(&error));
                    }
                    if sent.len() == REMEMBERED {
                        sent.pop_front();
                    }
                    sent.push_back((Instant::now(), bytes));
                }
                Some(PacketCommand::Reconnect) => return Ended::Again,
                Some(PacketCommand::Shutdown) | None => return Ended::Shutdown,
            },
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, _)) => {
                    let bytes = &buffer[..length];
                    let looped = |(at, own): &(Instant, Vec<u8>)| at.elapsed() < LOOPED_WITHIN && own == bytes;
                    if let Some(own) = sent.iter().position(looped) {
                        sent.remove(own);
                    } else if let Some(packet) = incoming(bytes, task.config.node) {
                        task.outbox.push(PacketEvent::Packet { packet: Box::new(packet), channel: None, gateway: None });
                    }
                }
                Err(error) => return Ended::Broken(place.fault(&error)),
            },
            _ = look.tick() => {
                if place.ground() != ground {
                    return Ended::Broken(Fault::new(
                        FaultKind::Unreachable,
                        "the network has changed",
                        "the group is joined anew",
                    ));
                }
            }
        }
    }
}

fn outgoing(packet: &OwnedPacket) -> Option<Vec<u8>> {
    if packet.from == 0 || !matches!(packet.body, Body::Encrypted(_)) {
        tracing::warn!(id = packet.id, "not sent by UDP: it has no sender, or is not encrypted");
        return None;
    }
    packet.encode().inspect_err(|fault| tracing::warn!(id = packet.id, %fault, "not sent by UDP")).ok()
}

/// As firmware does: nothing from nobody, nothing of our own, nothing readable, which anyone could claim.
fn incoming(bytes: &[u8], node: u32) -> Option<OwnedPacket> {
    let mut packet = OwnedPacket::decode(bytes)?;
    let encrypted = matches!(packet.body, Body::Encrypted(_));
    if packet.from == 0 || packet.from == node || packet.id == 0 || !encrypted {
        return None;
    }
    packet.transport = TRANSPORT_MULTICAST_UDP;
    // A claim of the sender's that only a radio can make.
    packet.signed = false;
    packet.hop_limit = packet.hop_limit.min(7);
    packet.hop_start = packet.hop_start.min(7);
    Some(packet)
}
