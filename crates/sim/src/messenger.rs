//! A stock node with a person who sends messages by a plan, and reads what comes.

use compotastic_mesh::{
    modules::PeriodicBroadcasts,
    packet::{NodeNum, PacketId},
    router::{Gate, Outgoing, Priority, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};

use crate::{Host, classify::TEXT_PORT};

/// Packet ids of planned messages; the periodic broadcasts count from 1.
const FIRST_MESSAGE_ID: u32 = 1 << 31;

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// When.
    pub at: Instant,
    /// Its index in the scenario.
    pub message: u32,
    /// Destination.
    pub to: NodeNum,
    /// Bytes of text.
    pub length: usize,
    /// Repeated until acknowledged.
    pub want_ack: bool,
    /// Hop limit.
    pub hop_limit: u8,
}

/// What became of messages at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A message of this node was sent, or refused by a full queue; so long after it was due.
    Sent {
        /// Its index.
        message: u32,
        /// Bytes of text.
        length: u16,
        /// Repeated until acknowledged.
        want_ack: bool,
        /// How late.
        late: Duration,
    },
    /// A message of somebody else arrived.
    Received {
        /// Its index.
        message: u32,
        /// Hops that it took.
        hops: u8,
    },
    /// A message of this node was acknowledged.
    Acked(u32),
    /// A message of this node was not acknowledged, or the queue had no room for it.
    Failed(u32),
}

/// The node.
pub struct Messenger {
    num: NodeNum,
    router: Router,
    modules: PeriodicBroadcasts,
    /// By falling time, so that the next one is at the end.
    plan: Vec<Planned>,
    next_id: u32,
    /// What happened, in order.
    pub notes: Vec<Note>,
}

impl Messenger {
    /// A node with its plan.
    pub fn new(config: RouterConfig, mut plan: Vec<Planned>, seed: u64) -> Self {
        let modem = config.preset.modem(config.region.wide());
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        plan.sort_by_key(|planned| core::cmp::Reverse(planned.at));
        Self {
            num: config.num,
            modules: PeriodicBroadcasts::new(config.num, config.role, scale_ppm, seed, Instant::ZERO),
            router: Router::new(config, seed, Instant::ZERO),
            plan,
            next_id: 0,
            notes: Vec::new(),
        }
    }

    /// The router, to look at.
    pub fn router(&self) -> &Router {
        &self.router
    }

    fn message_of(id: PacketId) -> Option<u32> {
        id.0.checked_sub(FIRST_MESSAGE_ID)
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            let note = match event {
                RouterEvent::Received(packet) if packet.port == TEXT_PORT && packet.from != self.num => {
                    Self::message_of(packet.id)
                        .map(|message| Note::Received { message, hops: packet.hops_away.unwrap_or(0) + 1 })
                }
                RouterEvent::Acked { id } => Self::message_of(id).map(Note::Acked),
                RouterEvent::Failed { id } => Self::message_of(id).map(Note::Failed),
                _ => None,
            };
            self.notes.extend(note);
        }
        while let Some(planned) = self.plan.pop_if(|planned| now >= planned.at) {
            let payload = [b'x'; 200];
            let outgoing = Outgoing {
                to: planned.to,
                id: PacketId(FIRST_MESSAGE_ID + planned.message),
                channel: 0,
                port: TEXT_PORT,
                payload: &payload[..planned.length.min(200)],
                hop_limit: planned.hop_limit,
                want_ack: planned.want_ack,
                priority: if planned.want_ack { Priority::Reliable } else { Priority::High },
                gate: Gate::Normal,
                request_id: None,
                bitfield: Some(0),
            };
            let late = now.saturating_duration_since(planned.at);
            let (message, length) = (planned.message, planned.length as u16);
            self.notes.push(Note::Sent { message, length, want_ack: planned.want_ack, late });
            if self.router.send(now, &outgoing).is_err() {
                self.notes.push(Note::Failed(planned.message));
            }
        }
        let heard = self.router.nodes_heard();
        while let Some(broadcast) = self.modules.poll(now, heard) {
            self.next_id += 1;
            let outgoing = Outgoing {
                to: NodeNum::BROADCAST,
                id: PacketId(self.next_id),
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

impl Host for Messenger {
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
        let planned = self.plan.last().map(|planned| planned.at);
        [self.router.poll_timeout(), self.modules.poll_timeout(), planned].into_iter().flatten().min()
    }
}
