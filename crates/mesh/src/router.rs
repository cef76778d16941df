//! The router of a native node: managed flooding, next-hop unicast, acknowledgements, gates.
//!
//! Behaviour follows Meshtastic's firmware (2.8) where stock nodes can see it: contention windows, relay rules,
//! retransmission waits, the queue of 16. What is ours is how routes are learnt, and that on our own port the reply of
//! the application is the acknowledgement.

use heapless::{Deque, Vec};

use crate::{
    airtime::{ChannelUtilization, DutyCycle},
    crypto::{Channel, ctr_apply},
    lora::{Modem, Preset, Region},
    packet::{Data, HEADER, Header, MAX_DATA, MAX_FRAME, NodeNum, PacketId},
    queue::{Pushed, Queued, TxQueue},
    rng::Rng,
    routes::Routes,
    time::{Duration, Instant},
};

/// Port of routing messages (acknowledgements).
pub const ROUTING_PORT: u16 = 5;
/// Packets whose copies are recognised. What is evicted after this many newer packets would be relayed once more.
const SEEN: usize = 160;
/// Packets that wait for an acknowledgement or for the next hop to pass them on.
const PENDING: usize = 8;
const EVENTS: usize = 8;
/// A relay passes a packet on by name so many times at most.
const FORWARDS_MAX: u8 = 3;
/// Transmissions per hop of a unicast on our own port.
const OWN_PORT_TRIES: u8 = 6;
/// So many of them, the last ones, take another way where one is known.
const OTHER_WAY_TRIES: u8 = 2;
/// How long a relay of ours may take with a packet, beyond air time and contention. Stock nodes are given 4.5 s.
const OWN_PORT_PROCESSING_US: u64 = 1_500_000;
/// And so much more per permille of channel utilisation.
const OWN_PORT_BUSY_US: u64 = 12_000;
/// Replies whose destination may not have heard them, kept for its reminder.
const HELD: usize = 4;
/// How long they are kept.
const HELD_FOR: Duration = Duration::from_secs(300);
/// Longest payload that is delivered.
pub const MAX_PAYLOAD: usize = 233;

/// Local priority of a packet in the queue; not on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Bulk.
    Background = 10,
    /// Default.
    Default = 64,
    /// Wants an acknowledgement.
    Reliable = 70,
    /// Answers something.
    Response = 80,
    /// Text of people.
    High = 100,
    /// Alerts.
    Alert = 110,
    /// Acknowledgements.
    Ack = 120,
}

/// The channel utilisation up to which an originated packet may go on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Polite: below 25 %.
    Bulk,
    /// Below 40 %.
    Normal,
    /// No limit but the duty cycle.
    Alert,
}

impl Gate {
    const fn limit_permille(self) -> u16 {
        match self {
            Self::Bulk => 250,
            Self::Normal => 400,
            Self::Alert => u16::MAX,
        }
    }
}

/// Role of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// Relays, and keeps silent when another was faster.
    #[default]
    Client,
    /// Does not relay.
    ClientMute,
    /// Relays early and always.
    Router,
}

/// What a router is told once.
#[derive(Clone)]
pub struct RouterConfig {
    /// Own number.
    pub num: NodeNum,
    /// Role.
    pub role: Role,
    /// Preset.
    pub preset: Preset,
    /// Region, whose duty cycle binds.
    pub region: Region,
    /// Hop limit of acknowledgements that take an unknown way.
    pub hop_limit: u8,
    /// Channels; frames of others are relayed unread.
    pub channels: Vec<Channel, 8>,
    /// Port on which replies count as acknowledgements.
    pub own_port: u16,
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Destination.
    pub to: NodeNum,
    /// Packet id, chosen by the caller.
    pub id: PacketId,
    /// Index of the channel.
    pub channel: u8,
    /// Port.
    pub port: u16,
    /// Payload.
    pub payload: &'a [u8],
    /// Hop limit; 0 = neighbours only.
    pub hop_limit: u8,
    /// Unicast: repeat until acknowledged. Ignored for broadcasts, as on the air.
    pub want_ack: bool,
    /// Priority in the queue.
    pub priority: Priority,
    /// Gate.
    pub gate: Gate,
    /// Packet that this one answers.
    pub request_id: Option<u32>,
    /// Bitfield of `Data`, which stock nodes always send.
    pub bitfield: Option<u8>,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// All 16 places are taken by packets at least as important.
    QueueFull,
    /// Does not fit a frame.
    TooLarge,
    /// No such channel.
    NoChannel,
}

/// A frame for the radio.
#[derive(Clone, Debug)]
pub struct TxFrame {
    /// Header and encrypted payload.
    pub bytes: Vec<u8, MAX_FRAME>,
    /// Time on air.
    pub airtime: Duration,
}

/// A packet that was received and could be read.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Origin.
    pub from: NodeNum,
    /// Destination.
    pub to: NodeNum,
    /// Packet id.
    pub id: PacketId,
    /// Port.
    pub port: u16,
    /// Index of the channel.
    pub channel: u8,
    /// Payload.
    pub payload: Vec<u8, MAX_PAYLOAD>,
    /// SNR, quarter decibels.
    pub snr_qdb: i16,
    /// Hops it took, where told.
    pub hops_away: Option<u8>,
    /// Packet that it answers.
    pub request_id: Option<u32>,
    /// Time on air of the frame.
    pub airtime: Duration,
}

/// What the router has to tell.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "drained at once; a box would need an allocator")]
pub enum RouterEvent {
    /// A packet for this node or for everybody.
    Received(Incoming),
    /// A packet on our own port for another node.
    Overheard(Incoming),
    /// The sender of this packet, which was delivered before, repeats it: our reply did not reach it.
    Duplicate {
        /// Origin.
        from: NodeNum,
        /// Packet id.
        id: PacketId,
    },
    /// A packet of this node was acknowledged by its destination.
    Acked {
        /// Packet id.
        id: PacketId,
    },
    /// A packet of this node was not acknowledged (Routing.Error 5), or had to leave the queue.
    Failed {
        /// Packet id.
        id: PacketId,
    },
    /// A frame went on the air.
    Sent {
        /// Packet id.
        id: PacketId,
        /// It was another node's.
        relayed: bool,
        /// Gate under which it was sent.
        gate: Gate,
        /// Time on air.
        airtime: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    from: NodeNum,
    id: PacketId,
    /// Relayed, or given up in favour of another relay: further copies are not relayed.
    handled: bool,
    /// Times that we passed it on because we were named, and how we did so the last time.
    forwarded: u8,
    next_hop: u8,
    hop_limit: u8,
}

#[derive(Clone, Debug)]
struct Pending {
    packet: Queued,
    /// Transmissions that are left.
    tries: u8,
    /// When the next one is due.
    at: Instant,
    /// The destination itself is the next hop, so only its reply or acknowledgement ends the waiting.
    last_hop: bool,
}

/// A reply on our own port that we sent to its destination as the last hop. Nothing acknowledges it, since most arrive; a
/// destination that misses one asks with a reminder.
#[derive(Clone, Debug)]
struct Held {
    packet: Queued,
    until: Instant,
}

/// A bare header by the origin itself, which goes no further: it misses the reply.
fn is_reminder(header: &Header) -> bool {
    header.hop_start == 0 && header.hop_limit == 0 && header.relay_node == header.from.last_byte()
}

/// The router.
pub struct Router {
    config: RouterConfig,
    modem: Modem,
    rng: Rng,
    queue: TxQueue,
    seen: Deque<Seen, SEEN>,
    pending: Vec<Pending, PENDING>,
    held: Deque<Held, HELD>,
    routes: Routes,
    utilization: ChannelUtilization,
    duty: DutyCycle,
    events: Deque<RouterEvent, EVENTS>,
    sending: Option<Duration>,
    held_until: Instant,
    /// Smoothed time from the first to the last copy of a flood, microseconds.
    flood_us: u64,
}

impl Router {
    /// A router with empty tables.
    pub fn new(config: RouterConfig, seed: u64, now: Instant) -> Self {
        let modem = config.preset.modem(config.region.wide());
        let flood_us = 4 * modem.time_on_air_us(80) + 24 * modem.slot_us();
        Self {
            config,
            modem,
            rng: Rng::from_seed(seed).child(0x726f_7574),
            queue: TxQueue::default(),
            seen: Deque::new(),
            pending: Vec::new(),
            held: Deque::new(),
            routes: Routes::default(),
            utilization: ChannelUtilization::default(),
            duty: DutyCycle::new(),
            events: Deque::new(),
            sending: None,
            held_until: now,
            flood_us,
        }
    }

    /// Time on air of a frame of this length.
    pub fn time_on_air(&self, frame_len: usize) -> Duration {
        Duration::from_micros(self.modem.time_on_air_us(frame_len))
    }

    /// Time on air of a payload on our own port and channel.
    pub fn payload_airtime(&self, payload_len: usize) -> Duration {
        // Port of two bytes and its key, payload key and length.
        self.time_on_air(HEADER + 3 + 2 + usize::from(payload_len > 127) + payload_len)
    }

    /// About how long a flood takes to cross the mesh.
    pub fn flood_time(&self) -> Duration {
        Duration::from_micros(self.flood_us)
    }

    /// Packets that wait.
    pub fn queue_len(&self) -> usize {
        self.queue.packets.len()
    }

    /// Nodes heard of.
    pub fn nodes_heard(&self) -> usize {
        self.routes.nodes_heard()
    }

    /// Channel utilisation of the last 60 s.
    pub fn channel_utilization_permille(&mut self, now: Instant) -> u16 {
        self.utilization.permille_with(now, Duration::ZERO)
    }

    /// Own air time of the last hour, permille.
    pub fn duty_cycle_permille(&mut self, now: Instant) -> u16 {
        (self.duty.spent_us(now, Duration::ZERO) / 3_600_000).min(1000) as u16
    }

    // ---- contention -------------------------------------------------------------------------------------------

    /// Window of an own packet: exponent 3..=8, in a straight line with utilisation.
    fn own_backoff(&mut self, now: Instant) -> Duration {
        let utilization = u32::from(self.channel_utilization_permille(now));
        let exponent = 3 + 5 * utilization / 1000;
        let slots = u64::from(self.rng.below(1 << exponent));
        Duration::from_micros(slots * self.modem.slot_us())
    }

    /// Window of a relay: exponent 3..=8 with SNR from -20 to +10 dB, so that the weakest hearer, who is as a rule
    /// the farthest, goes first.
    fn relay_backoff(&mut self, snr_qdb: i16) -> Duration {
        let exponent = (3 + (i32::from(snr_qdb) + 80) * 5 / 120).clamp(3, 8) as u32;
        let slots = match self.config.role {
            Role::Router => u64::from(self.rng.below(2 * exponent)),
            // Clients leave the first 2 * CWmax slots to routers.
            _ => 16 + u64::from(self.rng.below(1 << exponent)),
        };
        Duration::from_micros(slots * self.modem.slot_us())
    }

    fn retransmission_wait(&mut self, now: Instant, airtime: Duration, own_port: bool) -> Duration {
        let utilization = u64::from(self.channel_utilization_permille(now));
        let exponent = 3 + 5 * utilization / 1000;
        let slots = (1 << exponent) + 16 + 32;
        // The jitter keeps neighbours that lost the same packet apart.
        let jitter_us = u64::from(self.rng.below(1500)) * 1000;
        // On busy air relays of ours wait for their turn, and what is repeated meanwhile makes it busier.
        let own_port_us = OWN_PORT_PROCESSING_US + OWN_PORT_BUSY_US * utilization;
        let processing_us = if own_port { own_port_us } else { 4_500_000 };
        Duration::from_micros(
            2 * airtime.as_micros() + slots * self.modem.slot_us() + processing_us + jitter_us,
        )
    }

    // ---- sending ----------------------------------------------------------------------------------------------

    /// Takes a packet for sending.
    pub fn send(&mut self, now: Instant, out: &Outgoing<'_>) -> Result<(), SendError> {
        let channel = self.config.channels.get(usize::from(out.channel)).ok_or(SendError::NoChannel)?;
        let broadcast = out.to == NodeNum::BROADCAST;
        let data = Data {
            port: out.port,
            payload: out.payload,
            want_response: false,
            request_id: out.request_id,
            reply_id: None,
            bitfield: out.bitfield,
        };
        let mut bytes = [0; MAX_DATA];
        let length = data.encode(&mut bytes).ok_or(SendError::TooLarge)?;
        ctr_apply(&channel.key, self.config.num, out.id, &mut bytes[..length]);
        let data = Vec::from_slice(&bytes[..length]).map_err(|_| SendError::TooLarge)?;
        let next_hop =
            if broadcast { None } else { self.routes.next_hop(now, out.to, out.hop_limit.min(7), 0) };
        let header = Header {
            to: out.to,
            from: self.config.num,
            id: out.id,
            hop_limit: out.hop_limit.min(7),
            want_ack: out.want_ack && !broadcast,
            via_mqtt: false,
            hop_start: out.hop_limit.min(7),
            channel_hash: channel.hash(),
            next_hop: next_hop.unwrap_or(0),
            relay_node: self.config.num.last_byte(),
        };
        let airtime = self.time_on_air(HEADER + length);
        let ready_at = now + self.own_backoff(now);
        let packet = Queued {
            header,
            data,
            port: Some(out.port),
            originated: true,
            gate: out.gate,
            priority: out.priority,
            airtime,
            ready_at,
            snr_qdb: 0,
            came_from: 0,
            sequence: 0,
        };
        self.remember(header.from, header.id, true);
        self.enqueue(now, packet).then_some(()).ok_or(SendError::QueueFull)
    }

    fn enqueue(&mut self, now: Instant, packet: Queued) -> bool {
        match self.queue.push(packet) {
            Pushed::Queued => true,
            Pushed::Refused => false,
            Pushed::Evicted(gone) => {
                if gone.originated {
                    self.push_event(RouterEvent::Failed { id: gone.header.id });
                }
                let _ = now;
                true
            }
        }
    }

    /// The next frame, if one may go now. With a busy channel those that are due draw a new back-off.
    pub fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<TxFrame> {
        if self.sending.is_some() {
            return None;
        }
        self.queue_retransmissions(now);
        if channel_busy {
            self.back_off(now);
            return None;
        }
        let index = self.pick(now)?;
        let packet = self.queue.remove(index);
        let mut bytes: Vec<u8, MAX_FRAME> = Vec::new();
        let _ = bytes.extend_from_slice(&packet.header.emit());
        let _ = bytes.extend_from_slice(&packet.data);
        self.duty.record(now, packet.airtime);
        self.sending = Some(packet.airtime);
        self.push_event(RouterEvent::Sent {
            id: packet.header.id,
            relayed: !packet.originated,
            gate: packet.gate,
            airtime: packet.airtime,
        });
        let airtime = packet.airtime;
        self.await_delivery(now, packet);
        Some(TxFrame { bytes, airtime })
    }

    fn back_off(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.queue.packets.len() {
            let packet = &self.queue.packets[index];
            if packet.ready_at <= now {
                let (originated, snr_qdb) = (packet.originated, packet.snr_qdb);
                let wait = if originated { self.own_backoff(now) } else { self.relay_backoff(snr_qdb) };
                // At least a slot, so that a busy channel is not polled without end.
                self.queue.packets[index].ready_at = now + wait + Duration::from_micros(self.modem.slot_us());
            }
            index += 1;
        }
    }

    /// The packet that may go: due, and within its gate and the duty cycle.
    fn pick(&mut self, now: Instant) -> Option<usize> {
        let limit = self.config.region.duty_cycle_permille();
        let (utilization, duty) = (&mut self.utilization, &mut self.duty);
        let mut held = false;
        let index = self.queue.best(|packet| {
            if packet.ready_at > now {
                return false;
            }
            let gated = packet.originated
                && packet.gate != Gate::Alert
                && utilization.permille_with(now, packet.airtime) >= packet.gate.limit_permille();
            let allowed = !gated && duty.allows(now, packet.airtime, limit);
            held |= !allowed;
            allowed
        });
        if held && index.is_none() {
            // Utilisation falls with time only: look again in a second.
            self.held_until = now + Duration::from_secs(1);
        }
        index
    }

    /// After a transmission: what has to be heard before the packet is done with?
    fn await_delivery(&mut self, now: Instant, packet: Queued) {
        let header = packet.header;
        if header.to == NodeNum::BROADCAST || packet.data.is_empty() {
            return;
        }
        if let Some(index) = self.pending.iter().position(|pending| pending.packet.is(header.from, header.id))
        {
            let own_port = packet.port == Some(self.config.own_port);
            let wait = self.retransmission_wait(now, packet.airtime, own_port);
            self.pending[index].at = now + packet.airtime + wait;
            self.pending[index].tries = self.pending[index].tries.saturating_sub(1);
            return;
        }
        let last_hop = header.next_hop == header.to.last_byte() && header.next_hop != 0;
        let by_name = header.next_hop != 0 && !last_hop;
        if !(by_name || header.want_ack && (packet.originated || last_hop)) {
            if last_hop && packet.port == Some(self.config.own_port) {
                self.hold(now, packet);
            }
            return;
        }
        let own_port = packet.port == Some(self.config.own_port);
        let tries = match (packet.originated, own_port) {
            // Stock nodes: three from the origin, two from a relay. Ours are patient on their own port: a
            // packet that dies half way costs the whole way again.
            (_, true) => OWN_PORT_TRIES,
            (true, _) => 3,
            _ => 2,
        };
        let wait = self.retransmission_wait(now, packet.airtime, own_port);
        let at = now + packet.airtime + wait;
        if self.pending.is_full() {
            // The one that waits longest has had its chance.
            self.pending.remove(0);
        }
        let _ = self.pending.push(Pending { packet, tries: tries - 1, at, last_hop });
    }

    fn hold(&mut self, now: Instant, packet: Queued) {
        let same_way = |held: &Held| {
            held.packet.header.to == packet.header.to && held.packet.header.from == packet.header.from
        };
        self.held.retain(|held| !same_way(held) && now < held.until);
        if self.held.is_full() {
            self.held.pop_front();
        }
        let _ = self.held.push_back(Held { packet, until: now + HELD_FOR });
    }

    /// Packets whose next hop was not heard to pass them on: again, another way, or the last time to whoever hears it.
    fn queue_retransmissions(&mut self, now: Instant) {
        while let Some(index) = self.pending.iter().position(|pending| now >= pending.at) {
            let Pending { packet, tries, .. } = &self.pending[index];
            if self.queue.contains(packet.header.from, packet.header.id) {
                self.pending[index].at = now + Duration::from_secs(2);
                continue;
            }
            let (header, tries, originated) = (packet.header, *tries, packet.originated);
            let own_port = packet.port == Some(self.config.own_port);
            if tries == 0 {
                self.routes.handle_failure(now, header.to, header.next_hop);
                self.pending.remove(index);
                if originated {
                    self.push_event(RouterEvent::Failed { id: header.id });
                }
                continue;
            }
            if own_port && header.next_hop != 0 && tries == OTHER_WAY_TRIES {
                let to = header.to;
                self.routes.handle_failure(now, to, header.next_hop);
                if let Some(other) = self.routes.next_hop(now, to, header.hop_limit, header.next_hop)
                    && other != self.pending[index].packet.came_from
                {
                    self.pending[index].packet.header.next_hop = other;
                    self.pending[index].last_hop = other == to.last_byte();
                }
            } else if tries == 1 && header.next_hop != 0 && !self.pending[index].last_hop && !own_port {
                // The last time to whoever hears it. On our own port not: mostly the packet has arrived and only the
                // proof is lost, and a flood costs the air time of ten tries.
                self.pending[index].packet.header.next_hop = 0;
            }
            let mut packet = self.pending[index].packet.clone();
            packet.ready_at = now + self.own_backoff(now);
            let wait = self.retransmission_wait(now, packet.airtime, own_port);
            self.pending[index].at = now + wait;
            if !self.enqueue(now, packet) {
                self.pending[index].at = now + wait + wait;
            }
        }
    }

    // ---- receiving --------------------------------------------------------------------------------------------

    /// A frame was received.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, _rssi_dbm: i16) {
        let airtime = self.time_on_air(frame.len());
        self.utilization.record(now, airtime);
        let Some(header) = Header::parse(frame) else { return };
        let data = &frame[HEADER..];
        if data.is_empty() && is_reminder(&header) {
            self.handle_reminder(now, &header);
            return;
        }
        // A bare header says that its sender has passed the packet on, or is its destination. It is not the packet.
        let hop_ack = data.is_empty();
        self.hear_relay(&header, hop_ack);
        if header.from == self.config.num || hop_ack {
            return;
        }
        let known = self.seen.iter().position(|seen| seen.from == header.from && seen.id == header.id);
        self.routes.learn(now, &header, known.is_none(), snr_qdb, self.modem.snr_limit_qdb());
        // A packet the other way between the same two nodes is the reply, and so the acknowledgement.
        self.pending.retain(|pending| {
            let waits = pending.packet.header;
            !(waits.to == header.from && waits.from == header.to)
        });
        match known {
            Some(_) => self.handle_copy(now, &header, data, snr_qdb, airtime),
            None => {
                self.remember(header.from, header.id, false);
                self.deliver(now, &header, data, snr_qdb, airtime);
                self.consider_relay(now, &header, data, snr_qdb, airtime);
            }
        }
    }

    /// Somebody passes on a packet that we wait to see passed on, or says that it did.
    fn hear_relay(&mut self, header: &Header, hop_ack: bool) {
        let own = self.config.num.last_byte();
        if header.relay_node == own {
            return;
        }
        let routes = &mut self.routes;
        self.pending.retain(|pending| {
            let waits = &pending.packet.header;
            let same = pending.packet.is(header.from, header.id);
            let passed_on = header.hop_limit < waits.hop_limit;
            let done = same && passed_on && (!pending.last_hop || hop_ack);
            if done {
                routes.handle_success(waits.to, waits.next_hop);
            }
            !done
        });
    }

    /// Asks whoever is next to this node for the reply to a packet on our own port, which may have been lost on the last
    /// hop: a bare header, where repeating the packet costs the whole way there and back.
    pub fn remind(&mut self, now: Instant, to: NodeNum, id: PacketId, channel: u8) {
        let Some(channel) = self.config.channels.get(usize::from(channel)) else { return };
        let header = Header {
            to,
            from: self.config.num,
            id,
            hop_limit: 0,
            want_ack: false,
            via_mqtt: false,
            hop_start: 0,
            channel_hash: channel.hash(),
            next_hop: 0,
            relay_node: self.config.num.last_byte(),
        };
        let ready_at = now + self.own_backoff(now);
        self.enqueue_bare(now, header, true, ready_at);
    }

    /// A neighbour misses a reply: sends it again if we were its last hop or its origin.
    fn handle_reminder(&mut self, now: Instant, header: &Header) {
        let wanted =
            |held: &Held| held.packet.header.to == header.from && held.packet.header.from == header.to;
        let Some(held) = self.held.iter().find(|held| now < held.until && wanted(held)) else {
            if header.to == self.config.num {
                self.push_event(RouterEvent::Duplicate { from: header.from, id: header.id });
            }
            return;
        };
        let mut packet = held.packet.clone();
        if self.queue.contains(packet.header.from, packet.header.id) {
            return;
        }
        packet.ready_at = now + self.own_backoff(now);
        self.enqueue(now, packet);
    }

    /// The previous hop repeats what we have passed on, or taken as its destination: tells it so by the bare header, half
    /// the air time of passing it on again, which the hops after us would do again too.
    fn acknowledge_hop(&mut self, now: Instant, header: &Header) {
        let own = self.config.num.last_byte();
        // Nobody is asked to pass it on.
        let bare = Header {
            hop_limit: header.hop_limit.saturating_sub(1),
            next_hop: own,
            relay_node: own,
            want_ack: false,
            ..*header
        };
        let ready_at = now + self.own_backoff(now);
        self.enqueue_bare(now, bare, false, ready_at);
    }

    fn enqueue_bare(&mut self, now: Instant, header: Header, originated: bool, ready_at: Instant) {
        let packet = Queued {
            header,
            data: Vec::new(),
            port: None,
            originated,
            gate: Gate::Normal,
            priority: Priority::Ack,
            airtime: self.time_on_air(HEADER),
            ready_at,
            snr_qdb: 0,
            came_from: 0,
            sequence: 0,
        };
        self.enqueue(now, packet);
    }

    fn handle_copy(&mut self, now: Instant, header: &Header, data: &[u8], snr_qdb: i16, airtime: Duration) {
        let repeated_by_origin = header.hops_away() == Some(0) && header.hop_start > 0;
        if header.to == self.config.num {
            self.handle_repeated(now, header, data, repeated_by_origin);
            return;
        }
        let Some(seen) = self.seen.iter_mut().find(|seen| seen.from == header.from && seen.id == header.id)
        else {
            return;
        };
        let by_name = header.next_hop == self.config.num.last_byte();
        if by_name {
            if self.queue.contains(header.from, header.id) {
                return;
            }
            let (forwarded, next_hop, looped) =
                (seen.forwarded, seen.next_hop, header.hop_limit < seen.hop_limit);
            let ours = self.read(header, data, |data, _| data.port) == Some(self.config.own_port);
            if forwarded > 0 && ours {
                self.acknowledge_hop(now, header);
                if looped {
                    // The way that we chose leads back here.
                    self.routes.handle_failure(now, header.to, next_hop);
                    if forwarded < FORWARDS_MAX {
                        self.consider_relay(now, header, data, snr_qdb, airtime);
                    }
                }
            } else if forwarded < FORWARDS_MAX {
                // It names us only now; or, on a stock port, passing it on again is the only proof there is.
                self.consider_relay(now, header, data, snr_qdb, airtime);
            }
            return;
        }
        if header.next_hop != 0 {
            return;
        }
        if self.queue.contains(header.from, header.id) {
            // Somebody else was faster. A copy from the origin itself says nothing about relays.
            if self.config.role != Role::Router && !repeated_by_origin {
                let forwarding = self.queue.packets.iter().any(|queued| {
                    queued.is(header.from, header.id) && (queued.originated || queued.header.next_hop != 0)
                });
                if !forwarding {
                    self.queue.cancel(header.from, header.id);
                }
            }
        } else if !seen.handled || repeated_by_origin && header.want_ack {
            self.consider_relay(now, header, data, snr_qdb, airtime);
        }
    }

    /// The sender, or the hop before us, repeats what we have delivered: it did not hear our answer.
    fn handle_repeated(&mut self, now: Instant, header: &Header, data: &[u8], by_origin: bool) {
        if !(header.want_ack || by_origin) {
            return;
        }
        let Some((port, channel)) = self.read(header, data, |data, channel| (data.port, channel)) else {
            return;
        };
        if port != self.config.own_port {
            if header.want_ack {
                self.acknowledge(now, header, channel);
            }
            return;
        }
        let answers = |packet: &Queued| packet.header.to == header.from && packet.originated;
        if self.queue.packets.iter().any(answers) || self.queue.contains(header.from, header.id) {
            // Our answer is about to go.
            return;
        }
        let answered = self.pending.iter().any(|pending| answers(&pending.packet));
        if by_origin && !answered {
            self.push_event(RouterEvent::Duplicate { from: header.from, id: header.id });
        } else if header.next_hop == self.config.num.last_byte() {
            self.acknowledge_hop(now, header);
        }
    }

    /// Decrypts with the channels whose hash fits, and hands the message to `use_it`.
    fn read<T>(&self, header: &Header, data: &[u8], use_it: impl FnOnce(&Data<'_>, u8) -> T) -> Option<T> {
        let mut clear = [0; MAX_DATA];
        let clear = clear.get_mut(..data.len())?;
        for (index, channel) in self.config.channels.iter().enumerate() {
            if channel.hash() != header.channel_hash {
                continue;
            }
            clear.copy_from_slice(data);
            ctr_apply(&channel.key, header.from, header.id, clear);
            if let Some(data) = Data::decode(clear) {
                return Some(use_it(&data, index as u8));
            }
        }
        None
    }

    fn deliver(&mut self, now: Instant, header: &Header, data: &[u8], snr_qdb: i16, airtime: Duration) {
        let for_us = header.to == self.config.num || header.to == NodeNum::BROADCAST;
        let own_port = self.config.own_port;
        let incoming = self.read(header, data, |data, channel| {
            (for_us || data.port == own_port).then(|| Incoming {
                from: header.from,
                to: header.to,
                id: header.id,
                port: data.port,
                channel,
                payload: Vec::from_slice(data.payload).unwrap_or_default(),
                snr_qdb,
                hops_away: header.hops_away(),
                request_id: data.request_id,
                airtime,
            })
        });
        let Some(Some(incoming)) = incoming else { return };
        if !for_us {
            self.push_event(RouterEvent::Overheard(incoming));
            return;
        }
        if header.to == self.config.num {
            if let Some(id) = incoming.request_id {
                self.pending.retain(|pending| !pending.packet.is(self.config.num, PacketId(id)));
                self.push_event(RouterEvent::Acked { id: PacketId(id) });
            }
            if header.want_ack && incoming.port != own_port && incoming.port != ROUTING_PORT {
                self.acknowledge(now, header, incoming.channel);
            }
        }
        self.push_event(RouterEvent::Received(incoming));
    }

    /// Sends the stock acknowledgement: Routing { error_reason: NONE } that names the packet.
    fn acknowledge(&mut self, now: Instant, header: &Header, channel: u8) {
        let hops_used = header.hops_away().unwrap_or(self.config.hop_limit);
        let outgoing = Outgoing {
            to: header.from,
            id: PacketId(self.rng.next_u32() | 1),
            channel,
            port: ROUTING_PORT,
            payload: &[0x18, 0x00],
            hop_limit: if hops_used == 0 { 0 } else { (hops_used + 2).min(7) },
            want_ack: false,
            priority: Priority::Ack,
            gate: Gate::Normal,
            request_id: Some(header.id.0),
            bitfield: Some(0),
        };
        // A full queue loses the acknowledgement; the sender will repeat.
        let _ = self.send(now, &outgoing);
    }

    fn consider_relay(
        &mut self,
        now: Instant,
        header: &Header,
        data: &[u8],
        snr_qdb: i16,
        airtime: Duration,
    ) {
        let own = self.config.num.last_byte();
        let asked = header.next_hop == 0 || header.next_hop == own;
        if header.to == self.config.num
            || header.hop_limit == 0
            || header.id.0 == 0
            || self.config.role == Role::ClientMute
            || !asked
        {
            return;
        }
        let by_name = header.next_hop == own;
        // Never back to where it came from.
        let next_hop = if by_name {
            self.routes.next_hop(now, header.to, header.hop_limit - 1, header.relay_node)
        } else {
            None
        };
        if by_name && next_hop.is_none() && header.hop_limit == 1 {
            // It cannot arrive any more; whoever waits for us to pass it on need not repeat it.
            self.acknowledge_hop(now, header);
            return;
        }
        let next_hop = next_hop.unwrap_or(0);
        let port = self.read(header, data, |data, _| data.port);
        let Ok(data) = Vec::from_slice(data) else { return };
        let relayed_limit = header.hop_limit - 1;
        let relayed = Header { hop_limit: relayed_limit, next_hop, relay_node: own, ..*header };
        // By name there is no contention: only we were asked.
        let wait = if by_name { self.own_backoff(now) } else { self.relay_backoff(snr_qdb) };
        let priority = if header.want_ack { Priority::Reliable } else { Priority::Default };
        let packet = Queued {
            header: relayed,
            data,
            port,
            originated: false,
            gate: Gate::Normal,
            priority,
            airtime,
            ready_at: now + wait,
            snr_qdb,
            came_from: header.relay_node,
            sequence: 0,
        };
        if self.enqueue(now, packet)
            && let Some(seen) =
                self.seen.iter_mut().find(|seen| seen.from == header.from && seen.id == header.id)
        {
            seen.handled = true;
            if by_name {
                (seen.next_hop, seen.hop_limit) = (next_hop, relayed_limit);
                seen.forwarded += 1;
            }
        }
    }

    fn remember(&mut self, from: NodeNum, id: PacketId, handled: bool) {
        if self.seen.is_full() {
            self.seen.pop_front();
        }
        let _ = self.seen.push_back(Seen { from, id, handled, forwarded: 0, next_hop: 0, hop_limit: 0 });
    }

    /// Energy of this length was heard and could not be decoded.
    pub fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.utilization.record(now, airtime);
    }

    /// The frame that [`Self::poll_transmit`] gave has left.
    pub fn handle_tx_done(&mut self, now: Instant) {
        if let Some(airtime) = self.sending.take() {
            self.utilization.record(now, airtime);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.queue_retransmissions(now);
    }

    fn push_event(&mut self, event: RouterEvent) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next; `None` while a frame is on the air or
    /// nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.sending.is_some() {
            return None;
        }
        let queued = self.queue.packets.iter().map(|packet| packet.ready_at.max(self.held_until)).min();
        let pending = self.pending.iter().map(|pending| pending.at).min();
        [queued, pending].into_iter().flatten().min()
    }
}
