//! A stock node with an application that spreads an object: what all peer methods have in common.
//!
//! Router, periodic broadcasts (NodeInfo, position, telemetry) and duty cycle are those of our own nodes. What the application
//! sends is bulk under the same governor ([`compotastic_node::governor`]): behind the 25 % gate, paced by the share of the
//! air that the channel's utilisation leaves, one packet in the radio's queue at a time, and what is overheard of it
//! counts too.

use compotastic_mesh::{
    crypto::Channel,
    modules::PeriodicBroadcasts,
    packet::{NodeNum, PacketId},
    router::{Gate, Incoming, Outgoing, Priority, Relaying, Role, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};
use compotastic_node::governor::Governor;
use compotastic_sim::Host;

use super::topology::{PRESET, REGION};

/// Port of private applications (PRIVATE_APP).
pub const APP_PORT: u16 = 256;
/// No port is the router's own: it repeats and acknowledges as stock firmware does.
const NO_PORT: u16 = 0;
/// Longest payload of a packet on this port with the bitfield that stock nodes send, bytes.
pub const PAYLOAD_MAX: usize = 231;
/// The application leaves the rest of the queue of 16 to relays.
const QUEUE_SHARE: usize = 6;

/// A packet that the application wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// Destination.
    pub to: NodeNum,
    /// Payload, [`PAYLOAD_MAX`] at most.
    pub payload: Vec<u8>,
    /// Hop limit; 0 = neighbours only.
    pub hop_limit: u8,
    /// Repeated by the router until acknowledged.
    pub want_ack: bool,
}

/// The application of one node.
pub trait App {
    /// A packet for this node or for all.
    fn handle_packet(&mut self, now: Instant, packet: &Incoming);
    /// A packet that wanted an acknowledgement got it, or the router gave up.
    fn handle_outcome(&mut self, _now: Instant, _id: PacketId, _delivered: bool) {}
    /// A packet of this application went on the air.
    fn handle_sent(&mut self, _now: Instant, _id: PacketId) {}
    /// The next packet, when governor and queue let it; it will bear this id.
    fn poll(&mut self, now: Instant, id: PacketId) -> Option<Out>;
    /// When the application has something to send.
    fn poll_timeout(&self) -> Option<Instant>;
    /// All of the object is in flash here, and its hash is right.
    fn is_complete(&self) -> bool;
}

/// Number of a node; the last bytes of up to 255 are distinct.
pub fn number(node: usize) -> NodeNum {
    NodeNum(0x0c00_0001 + node as u32)
}

/// The mesh's channel.
pub fn channels() -> Vec<Channel> {
    [Channel::new(PRESET.display_name(), &[1]), Channel::new("swarm", &[7; 32])]
        .into_iter()
        .flatten()
        .collect()
}

/// A stock node with the application.
pub struct PeerNode<A> {
    num: NodeNum,
    router: Router,
    modules: PeriodicBroadcasts,
    governor: Governor,
    /// The application.
    pub app: A,
    /// The application's packet that waits in the router.
    waiting: Option<PacketId>,
    next_id: u32,
    /// The application's packets have odd ids, the periodic ones even ones.
    begin_at: Instant,
}

impl<A: App> PeerNode<A> {
    /// A node that is switched on at the start; its application begins at `begin_at`.
    pub fn new(node: usize, role: Role, app: A, seed: u64, begin_at: Instant) -> Self {
        let num = number(node);
        let config = RouterConfig {
            num,
            role,
            preset: PRESET,
            region: REGION,
            hop_limit: 7,
            channels: channels().into_iter().collect(),
            own_port: NO_PORT,
            relaying: Relaying::default(),
        };
        let modem = PRESET.modem(REGION.wide());
        // Meshtastic's congestion scaling: 2^SF / (bandwidth in kHz * 100) per node above 40.
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        let mut router = Router::new(config, seed, Instant::ZERO);
        router.assume_busy(Instant::ZERO);
        Self {
            num,
            router,
            modules: PeriodicBroadcasts::new(num, role, scale_ppm, seed, Instant::ZERO),
            governor: Governor::new(Instant::ZERO),
            app,
            waiting: None,
            next_id: 0,
            begin_at,
        }
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            match event {
                RouterEvent::Received(packet) if packet.port == APP_PORT && packet.from != self.num => {
                    self.governor.spend(packet.airtime);
                    self.app.handle_packet(now, &packet);
                }
                RouterEvent::Acked { id } if is_ours(id) => self.app.handle_outcome(now, id, true),
                RouterEvent::Failed { id } if is_ours(id) => {
                    if self.waiting == Some(id) {
                        self.waiting = None;
                    }
                    self.app.handle_outcome(now, id, false);
                }
                RouterEvent::Sent { id, relayed: false, airtime, .. } if is_ours(id) => {
                    if self.waiting == Some(id) {
                        self.waiting = None;
                    }
                    self.governor.spend(airtime);
                    self.app.handle_sent(now, id);
                }
                _ => {}
            }
        }
        self.send_periodic(now);
        if now < self.begin_at {
            return;
        }
        self.governor.update(now, self.router.channel_utilization_permille(now));
        while self.may_send() && self.app.poll_timeout().is_some_and(|due| due <= now) {
            let id = self.take_id(true);
            let Some(out) = self.app.poll(now, id) else { return };
            assert!(out.payload.len() <= PAYLOAD_MAX, "an application knows what fits");
            let outgoing = Outgoing {
                to: out.to,
                id,
                channel: 0,
                port: APP_PORT,
                payload: &out.payload,
                hop_limit: out.hop_limit,
                want_ack: out.want_ack,
                priority: Priority::Background,
                gate: Gate::Bulk,
                request_id: None,
                bitfield: Some(0),
            };
            match self.router.send(now, &outgoing) {
                Ok(()) => self.waiting = Some(id),
                Err(_) => self.app.handle_outcome(now, id, false),
            }
        }
    }

    fn may_send(&self) -> bool {
        self.waiting.is_none() && self.governor.allows() && self.router.queue_len() < QUEUE_SHARE
    }

    fn take_id(&mut self, ours: bool) -> PacketId {
        self.next_id += 2;
        PacketId(self.next_id | u32::from(ours))
    }

    fn send_periodic(&mut self, now: Instant) {
        let heard = self.router.nodes_heard();
        while let Some(broadcast) = self.modules.poll(now, heard) {
            let outgoing = Outgoing {
                to: NodeNum::BROADCAST,
                id: self.take_id(false),
                channel: 0,
                port: broadcast.port,
                payload: &broadcast.payload,
                hop_limit: broadcast.hop_limit,
                want_ack: false,
                priority: broadcast.priority,
                gate: Gate::Bulk,
                request_id: None,
                bitfield: Some(0),
            };
            // A full queue loses a periodic broadcast; the next one comes.
            let _ = self.router.send(now, &outgoing);
        }
    }
}

/// Ids of the application are odd.
fn is_ours(id: PacketId) -> bool {
    id.0 & 1 == 1
}

impl<A: App> Host for PeerNode<A> {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.router.handle_timeout(now);
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        self.router.poll_transmit(now, channel_busy).map(|frame| frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        // While a packet waits in the router, or relays fill its queue, whatever is sent or heard leads on.
        let free = self.waiting.is_none() && self.router.queue_len() < QUEUE_SHARE;
        let app = self.app.poll_timeout().filter(|_| free);
        let app = app.map(|due| due.max(self.governor.allowed_at()).max(self.begin_at));
        [self.router.poll_timeout(), self.modules.poll_timeout(), app].into_iter().flatten().min()
    }
}
