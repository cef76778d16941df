//! The router of a native node: managed flooding, next-hop unicast, acknowledgements, gates.
//!
//! Behaviour follows Meshtastic's firmware (2.8) where stock nodes can see it: contention windows, relay rules,
//! retransmission waits, the queue of 16. What is ours is how routes are learnt, and that on our own port the reply of
//! the application is the acknowledgement.

mod delivery;
mod receive;
mod relaying;
mod roles;
mod types;

use heapless::{Deque, Vec};

use self::delivery::{Held, Pending};
pub use self::receive::ROUTING_PORT;
use self::relaying::{Fate, Senders};
pub use self::relaying::{KNOWN, Rebroadcast, Relaying, SENDERS};
pub use self::roles::{FAVOURITES, Favourites, Role};
pub use self::types::{
    Gate, Incoming, Manner, Outgoing, Priority, RouterConfig, RouterEvent, Sealed, SendError, TxFrame,
};
use crate::{
    airtime::{ChannelUtilization, DutyCycle},
    crypto::{Channel, ctr_apply},
    lora::Modem,
    packet::{Data, HEADER, Header, MAX_DATA, MAX_FRAME, NodeNum, PacketId, SIGNATURE},
    pkc::SharedKey,
    queue::{Pushed, Queued, TxQueue},
    rng::Rng,
    routes::Routes,
    time::{Duration, Instant},
};

/// Packets whose copies are recognised. What is evicted after this many newer packets would be relayed once more.
const SEEN: usize = 160;
/// Packets that wait for an acknowledgement or for the next hop to pass them on.
const PENDING: usize = 8;
const EVENTS: usize = 8;
/// Replies whose destination may not have heard them, kept for its reminder.
const HELD: usize = 4;
/// Slots at the beginning of a relay's window that clients leave to routers: 2 * CWmax.
const EARLY_SLOTS: u64 = 16;
/// Over a LAN, so many packets may wait for their share of the air; the rest of the queue is for those that need none.
const LAN_WAITING: usize = 8;
/// After a look at packets that are due, none of which may go, the next one.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest payload that is delivered.
pub const MAX_PAYLOAD: usize = crate::packet::MAX_RECEIVED;

#[derive(Clone, Copy, Debug)]
struct Seen {
    from: NodeNum,
    id: PacketId,
    fate: Fate,
    /// Times that we passed it on because we were named, and how we did so the last time.
    forwarded: u8,
    next_hop: u8,
    hop_limit: u8,
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
    senders: Senders,
    utilization: ChannelUtilization,
    duty: DutyCycle,
    events: Deque<RouterEvent, EVENTS>,
    sending: Option<Duration>,
    held_until: Instant,
    /// Acknowledgements, and packets under public keys, are the owner's business.
    owner_answers: bool,
    /// There is a LAN instead of a radio, and this is the limit of the air time over an hour, permille, that neighbours with
    /// radios spend for this node.
    lan_permille: Option<u16>,
}

/// A packet of others waits here no longer, seconds.
const RELAY_WAIT_MAX_S: u32 = 600;

fn seconds(now: Instant) -> u32 {
    (now.as_micros() / 1_000_000) as u32
}

impl Router {
    /// A router with empty tables.
    pub fn new(config: RouterConfig, seed: u64, now: Instant) -> Self {
        let modem = config.preset.modem(config.region.wide());
        Self {
            config,
            modem,
            rng: Rng::from_seed(seed).child(0x726f_7574),
            queue: TxQueue::default(),
            seen: Deque::new(),
            pending: Vec::new(),
            held: Deque::new(),
            routes: Routes::default(),
            senders: Senders::default(),
            utilization: ChannelUtilization::default(),
            duty: DutyCycle::new(),
            events: Deque::new(),
            sending: None,
            held_until: now,
            owner_answers: false,
            lan_permille: None,
        }
    }

    /// From now on the owner acknowledges what is for this node on other ports than our own, opens what is under public keys
    /// ([`RouterEvent::Sealed`], [`Self::handle_opened`]), and writes this node into the route requests that it relays, all as stock
    /// nodes do. [`crate::citizen::Citizen`] is such an owner.
    pub fn set_owner_answers(&mut self) {
        self.owner_answers = true;
    }

    /// There is a LAN instead of a radio. The only air that this node can cost is that of neighbours who relay for it: frames that go
    /// no further cost none, and all others together may take this share of an hour, permille.
    pub fn set_lan(&mut self, limit_permille: u16) {
        self.lan_permille = Some(limit_permille);
    }

    /// Other channels from now on. What waits to be sent is encrypted already and leaves as it is.
    pub fn set_channels(&mut self, channels: Vec<Channel, 8>) {
        self.config.channels = channels;
    }

    /// What it was told.
    pub fn config(&self) -> &RouterConfig {
        &self.config
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
        Duration::from_micros(self.modem.flood_us())
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
    pub fn channel_utilization_permille(&self, now: Instant) -> u16 {
        self.utilization.permille_with(now, Duration::ZERO)
    }

    /// What was on the air before the start is unknown: for the first minute the channel counts as busy, so that nothing of
    /// this node's own but alerts leaves.
    pub fn assume_busy(&mut self, now: Instant) {
        let used_us = u64::from(Gate::Normal.limit_permille()) * crate::airtime::WINDOW_US / 1000;
        self.utilization.record(now, Duration::from_micros(used_us));
    }

    /// Own air time that the duty cycle counts as spent now: that of before a restart.
    pub fn assume_spent(&mut self, now: Instant, airtime: Duration) {
        self.duty.record(now, airtime);
    }

    /// Own air time of the last hour.
    pub fn spent(&self, now: Instant) -> Duration {
        Duration::from_micros(self.duty.spent_us(now, Duration::ZERO))
    }

    /// Own air time of the last hour, permille.
    pub fn duty_cycle_permille(&self, now: Instant) -> u16 {
        (self.duty.spent_us(now, Duration::ZERO) / 3_600_000).min(1000) as u16
    }

    /// Own air time that an hour may have, permille: the region's, or the share of the air behind a LAN.
    pub fn limit_permille(&self) -> u16 {
        let region = self.config.duty_cycle_permille();
        self.lan_permille.map_or(region, |lan| lan.min(region))
    }

    /// Whether so much more would be within it.
    pub fn is_within_limit(&self, now: Instant, airtime: Duration) -> bool {
        self.duty.allows(now, airtime, self.limit_permille())
    }

    // ---- contention -------------------------------------------------------------------------------------------

    /// Window of an own packet: exponent 3..=8, in a straight line with utilisation.
    fn own_backoff(&mut self, now: Instant) -> Duration {
        let utilization = u32::from(self.channel_utilization_permille(now));
        let exponent = 3 + 5 * utilization / 1000;
        let slots = u64::from(self.rng.below(1 << exponent));
        Duration::from_micros(slots * self.modem.slot_us())
    }

    /// Exponent of a relay's window: 3..=8 with SNR from -20 to +10 dB, so that the weakest hearer, who is as a rule the
    /// farthest, goes first.
    fn relay_exponent(snr_qdb: i16) -> u32 {
        (3 + (i32::from(snr_qdb) + 80) * 5 / 120).clamp(3, 8) as u32
    }

    /// Window of a relay.
    fn relay_backoff(&mut self, snr_qdb: i16) -> Duration {
        let exponent = Self::relay_exponent(snr_qdb);
        let slots = if self.config.role.relays_early() {
            u64::from(self.rng.below(2 * exponent))
        } else {
            EARLY_SLOTS + u64::from(self.rng.below(1 << exponent))
        };
        Duration::from_micros(slots * self.modem.slot_us())
    }

    /// The end of the clients' window: where those relay who go although another was faster.
    fn late_backoff(&self, snr_qdb: i16) -> Duration {
        let slots = EARLY_SLOTS + (1 << Self::relay_exponent(snr_qdb));
        Duration::from_micros(slots * self.modem.slot_us())
    }

    // ---- sending ----------------------------------------------------------------------------------------------

    /// Takes a packet for sending.
    pub fn send(&mut self, now: Instant, out: &Outgoing<'_>) -> Result<(), SendError> {
        self.send_signed(now, out, None)
    }

    /// The same with a signature, as firmware 2.8 gives it to each broadcast in which it fits; it is left out of others.
    pub fn send_signed(
        &mut self,
        now: Instant,
        out: &Outgoing<'_>,
        signature: Option<&[u8; SIGNATURE]>,
    ) -> Result<(), SendError> {
        let data = Data {
            port: out.port,
            payload: out.payload,
            request_id: out.request_id,
            bitfield: out.bitfield,
            signature,
            ..Data::default()
        };
        let &Outgoing { to, id, channel, hop_limit, want_ack, priority, gate, .. } = out;
        let manner = Manner { to, id, channel, hop_limit, want_ack, priority, gate };
        self.send_data(now, &manner, &data, None)
    }

    /// Takes a whole message for sending: on its channel, or under the key that is shared with its receiver, with an extra nonce
    /// that was drawn for it. A signature is left out of unicasts, and where it does not fit.
    pub fn send_data(
        &mut self,
        now: Instant,
        out: &Manner,
        data: &Data<'_>,
        sealed: Option<(&SharedKey, u32)>,
    ) -> Result<(), SendError> {
        let channel = self.config.channels.get(usize::from(out.channel));
        let channel = channel.filter(|channel| channel.enabled()).ok_or(SendError::NoChannel)?;
        let broadcast = [NodeNum::BROADCAST, NodeNum::LAN_BROADCAST].contains(&out.to);
        let costly = |queued: &&Queued| queued.header.hop_limit > 0;
        let waiting = self.queue.packets.iter().filter(costly).count();
        if self.lan_permille.is_some() && out.hop_limit > 0 && waiting >= LAN_WAITING {
            return Err(SendError::QueueFull);
        }
        let port = data.port;
        let data = Data { signature: data.signature.filter(|_| broadcast), ..*data };
        let mut bytes = [0; MAX_DATA];
        let unsigned = Data { signature: None, ..data };
        let length = data.encode(&mut bytes).or_else(|| unsigned.encode(&mut bytes));
        let length = length.ok_or(SendError::TooLarge)?;
        let (length, channel_hash) = match sealed {
            None => {
                ctr_apply(&channel.key, self.config.num, out.id, &mut bytes[..length]);
                (length, channel.hash())
            }
            Some((key, extra)) => {
                let sealed = key.seal(self.config.num, out.id, extra, &mut bytes, length);
                (sealed.ok_or(SendError::TooLarge)?, 0)
            }
        };
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
            channel_hash,
            next_hop: next_hop.unwrap_or(0),
            relay_node: self.config.num.last_byte(),
        };
        let airtime = self.time_on_air(HEADER + length);
        let ready_at = now + self.own_backoff(now);
        let packet = Queued {
            header,
            data,
            port: Some(port),
            originated: true,
            gate: out.gate,
            priority: out.priority,
            airtime,
            ready_at,
            snr_qdb: 0,
            came_from: 0,
            moved: false,
            sequence: 0,
            queued_s: 0,
        };
        self.remember(header.from, header.id, Fate::Done);
        self.enqueue(now, packet).then_some(()).ok_or(SendError::QueueFull)
    }

    fn enqueue(&mut self, now: Instant, packet: Queued) -> bool {
        match self.queue.push(Queued { queued_s: seconds(now), ..packet }) {
            Pushed::Queued => true,
            Pushed::Refused => false,
            Pushed::Evicted(gone) => {
                // A repetition that has to go comes again.
                let waits = |pending: &Pending| pending.packet.is(gone.header.from, gone.header.id);
                if gone.originated && !self.pending.iter().any(waits) {
                    self.push_event(RouterEvent::Failed { id: gone.header.id });
                }
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
        self.drop_stale_relays(now);
        if channel_busy {
            self.back_off(now);
            return None;
        }
        let index = self.pick(now)?;
        let packet = self.queue.remove(index);
        let mut bytes: Vec<u8, MAX_FRAME> = Vec::new();
        let _ = bytes.extend_from_slice(&packet.header.emit());
        let _ = bytes.extend_from_slice(&packet.data);
        let costs_air = self.costs_air(&packet.header);
        if costs_air {
            self.duty.record(now, packet.airtime);
        }
        let cost = if costs_air { packet.airtime } else { Duration::ZERO };
        self.sending = Some(cost);
        self.push_event(RouterEvent::Sent {
            id: packet.header.id,
            to: packet.header.to,
            relayed: !packet.originated,
            gate: packet.gate,
            airtime: cost,
        });
        let (airtime, priority) = (packet.airtime, packet.priority);
        self.await_delivery(now, packet);
        Some(TxFrame { bytes, airtime, priority })
    }

    /// Over a LAN only what others may relay does.
    fn costs_air(&self, header: &Header) -> bool {
        self.lan_permille.is_none() || header.hop_limit > 0
    }

    /// What the duty cycle has kept here for so long has found another way, or is not waited for any more.
    fn drop_stale_relays(&mut self, now: Instant) {
        let stale = |packet: &Queued| {
            !packet.originated && seconds(now).saturating_sub(packet.queued_s) > RELAY_WAIT_MAX_S
        };
        self.queue.packets.retain(|packet| !stale(packet));
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
        let limit = self.limit_permille();
        let lan = self.lan_permille.is_some();
        let (utilization, duty) = (&mut self.utilization, &mut self.duty);
        let mut held = false;
        let index = self.queue.best(|packet| {
            if packet.ready_at > now {
                return false;
            }
            if lan && packet.header.hop_limit == 0 {
                return true;
            }
            let gated = packet.originated
                && packet.gate != Gate::Alert
                && utilization.permille_with(now, packet.airtime) >= packet.gate.limit_permille();
            let allowed = !gated && duty.allows(now, packet.airtime, limit);
            held |= !allowed;
            allowed
        });
        if held && index.is_none() {
            // Utilisation falls with time only.
            self.held_until = now + LOOK_AGAIN;
        }
        index
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
        // Those that were due when all were held wait for the next look, the others for their own time.
        let looked_at = self.held_until - LOOK_AGAIN;
        let due = |packet: &Queued| {
            if packet.ready_at <= looked_at { self.held_until } else { packet.ready_at }
        };
        let queued = self.queue.packets.iter().map(due).min();
        let pending = self.pending.iter().map(|pending| pending.at).min();
        [queued, pending].into_iter().flatten().min()
    }
}
