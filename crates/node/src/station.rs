//! A native node: the agent, the Meshtastic router and the stock modules on one bare LoRa radio.
//!
//! Given a user and keys ([`Station::settle_citizen`]) it is a full Meshtastic node: others list it, ask it, send it messages, and its
//! host reads and writes them. Without, it sends filler of the length of what a stock node says by itself, which is what simulated nodes do.
//!
//! All that it sends of its own keeps to the same manners as behind a stock radio ([`crate::manners`]): the router has the gates and the duty
//! cycle, and measures the air itself; the station has quiet hours, the share of each peer, and the counts by purpose.
//!
//! The station follows the agent's calling contract (mutate, drain, wait). Its inputs are what a radio driver knows:
//! frames, frames that could not be decoded, and the end of a transmission.

use compotastic_mesh::{
    citizen::{Citizen, CitizenConfig, CitizenEvent, Message},
    crypto::Channel,
    modules::PeriodicBroadcasts,
    packet::{MAX_FRAME, NodeNum, PacketId},
    router::{Gate, Outgoing, Router, RouterConfig, RouterEvent, SendError, TxFrame},
    time::{Duration, Instant},
};
use embedded_storage::nor_flash::NorFlash;
use heapless::{Deque, Vec};

use crate::{
    agent::{Agent, BULK_LEN, InFrame, LinkState, OutFrame},
    airtime_mark::AirtimeMark,
    governor::Governor,
    hosted::frame_len,
    manners::{Hold, MannersState, PEER_PART, Purpose, Shares, Wish, congestion_permille},
};

/// Index of the mesh's own channel, which stock nodes share, in [`RouterConfig::channels`].
pub const PRIMARY_CHANNEL: u8 = 0;
/// Index of the swarm's channel.
pub const SWARM_CHANNEL: u8 = 1;

/// Packets whose purpose is known while they wait or are repeated: as many as the router holds, and as many again.
const GOING: usize = 48;
/// Behind a LAN the hour has little air, and an eighth of it is less than one answer in words: there a peer may have half.
const LAN_PEER_PART: u64 = 2;

/// A packet that the router was given.
#[derive(Clone, Copy, Debug)]
struct Going {
    id: PacketId,
    purpose: Purpose,
    /// Whose share it takes.
    peer: Option<NodeNum>,
    /// It was sent once, which is charged; repetitions are charged as they go.
    sent: bool,
}

/// Why a packet is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Manners hold it back.
    Held(Hold),
    /// It cannot be sent.
    Refused(SendError),
}

impl From<SendError> for NotSent {
    fn from(error: SendError) -> Self {
        Self::Refused(error)
    }
}

/// Agent, router and stock modules of one node.
pub struct Station<'a, F: NorFlash> {
    router: Router,
    agent: Agent<'a, F>,
    modules: PeriodicBroadcasts,
    citizen: Option<Citizen>,
    own_port: u16,
    /// The agent's bulk frame that waits in the router.
    bulk_queued: Option<PacketId>,
    refused_by_queue: u32,
    agent_held_until: Instant,
    airtime_mark: Option<AirtimeMark>,
    shares: Shares,
    going: Deque<Going, GOING>,
    /// There is a LAN instead of a radio.
    lan: bool,
}

/// What is due and cannot go is looked at again after this time at the latest.
const HELD: Duration = Duration::from_millis(250);

impl<'a, F: NorFlash> Station<'a, F> {
    /// Joins the three. `config.channels` holds the primary channel first, the swarm's channel second.
    ///
    /// What was on the air before the start is unknown, so the channel counts as busy for the first minute, and air time as far as
    /// flash tells of it as spent.
    pub fn new(config: RouterConfig, agent: Agent<'a, F>, seed: u64, now: Instant) -> Self {
        let limit_permille = config.region.duty_cycle_permille();
        let mut station = Self::with_limit(config, agent, limit_permille, seed, now);
        station.router.assume_busy(now);
        station
    }

    /// The same over a LAN, which is not measured: neighbours with radios may spend this share of an hour's air for the node, permille.
    pub(crate) fn on_lan(
        config: RouterConfig,
        agent: Agent<'a, F>,
        limit_permille: u16,
        seed: u64,
        now: Instant,
    ) -> Self {
        let limit_permille = limit_permille.min(config.region.duty_cycle_permille());
        let mut station = Self::with_limit(config, agent, limit_permille, seed, now);
        station.router.set_lan(limit_permille);
        station.shares = Shares::new(limit_permille, LAN_PEER_PART, now);
        station.lan = true;
        station
    }

    fn with_limit(
        config: RouterConfig,
        mut agent: Agent<'a, F>,
        limit_permille: u16,
        seed: u64,
        now: Instant,
    ) -> Self {
        let own_port = config.own_port;
        let modem = config.preset.modem(config.region.wide());
        // Meshtastic's congestion scaling: 2^SF / (bandwidth in kHz * 100) per node above 40.
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        let modules = PeriodicBroadcasts::new(config.num, config.role, scale_ppm, seed, now);
        let longest = Duration::from_micros(modem.time_on_air_us(MAX_FRAME));
        let airtime_mark = AirtimeMark::new(limit_permille, longest, agent.airtime_mark_ms());
        let mut router = Router::new(config, seed, now);
        if let Some(mark) = &airtime_mark {
            router.assume_spent(now, mark.spent_at_start());
        }
        Self {
            router,
            airtime_mark,
            agent,
            modules,
            citizen: None,
            own_port,
            bulk_queued: None,
            refused_by_queue: 0,
            agent_held_until: Instant::ZERO,
            shares: Shares::new(limit_permille, PEER_PART, now),
            going: Deque::new(),
            lan: false,
        }
    }

    /// The agent, to submit jobs, complete them and read its state. Call [`Self::settle`] afterwards.
    pub fn agent(&mut self) -> &mut Agent<'a, F> {
        &mut self.agent
    }

    /// The agent, to look at.
    pub fn agent_ref(&self) -> &Agent<'a, F> {
        &self.agent
    }

    /// The router, to look at.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Makes the station a full Meshtastic node. It speaks for itself soon after.
    pub fn settle_citizen(&mut self, config: CitizenConfig, seed: u64, now: Instant) {
        self.citizen = Some(Citizen::new(config, &mut self.router, seed, now));
    }

    /// The citizen, where there is one: whom it knows, where it is, its name.
    pub fn citizen(&mut self) -> Option<&mut Citizen> {
        self.citizen.as_mut()
    }

    /// The same, to look at.
    pub fn citizen_ref(&self) -> Option<&Citizen> {
        self.citizen.as_ref()
    }

    /// Other channels from now on; the first two stay what they are.
    pub fn set_channels(&mut self, channels: Vec<Channel, 8>) {
        self.router.set_channels(channels);
    }

    /// Quiet hours begin or end: only alerts and what is urgent goes. What is acknowledged is acknowledged all the same, and others' packets
    /// are relayed.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.shares.set_quiet(quiet);
        self.agent.set_quiet(quiet);
        if let Some(citizen) = &mut self.citizen {
            citizen.set_quiet(quiet);
        }
    }

    /// So many nodes are online: beacons come less often on a large mesh.
    pub fn set_nodes_online(&mut self, online: u32) {
        let config = self.router.config();
        let modem = config.preset.modem(config.region.wide());
        self.agent.set_congestion(congestion_permille(&modem, online));
    }

    /// The rules beside the router's, and what was sent by purpose.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// What is shown of the manners.
    pub fn manners_state(&self, now: Instant) -> MannersState {
        let utilization = self.router.channel_utilization_permille(now);
        let small = self.router.time_on_air(32);
        let hold = if !self.router.is_within_limit(now, small) {
            Some(if self.lan { Hold::Lan } else { Hold::DutyCycle })
        } else if self.shares.is_quiet() {
            Some(Hold::QuietHours)
        } else {
            match utilization {
                busy if busy >= Gate::Normal.limit_permille() => Some(Hold::Hard),
                busy if busy >= Gate::Bulk.limit_permille() => Some(Hold::Polite),
                _ => None,
            }
        };
        MannersState {
            utilization_permille: utilization,
            known: true,
            polite_permille: Gate::Bulk.limit_permille(),
            hard_permille: Gate::Normal.limit_permille(),
            own_permille: self.router.duty_cycle_permille(now),
            limit_permille: self.router.limit_permille(),
            bulk_share_permille: Governor::share_permille(utilization) as u16,
            hold,
        }
    }

    /// A packet of others went to another link: it is counted, and neighbours may spend so much air on it.
    pub(crate) fn count_bridged(&mut self, now: Instant, airtime: Duration) {
        self.router.assume_spent(now, airtime);
        self.shares.count(Purpose::Bridged, 1, airtime);
    }

    /// Sends a packet of a person, within the gates. What becomes of it is told by [`Self::poll_mesh_event`] where it is to be
    /// acknowledged.
    ///
    /// # Errors
    /// What holds it back; or those of [`Citizen::send`], [`SendError::NoId`] where flash refuses an id, [`SendError::NoChannel`] for a
    /// station without a citizen.
    pub fn send(&mut self, now: Instant, message: &Message<'_>) -> Result<PacketId, NotSent> {
        self.send_for(now, Purpose::Texts, message)
    }

    /// The same for another purpose.
    ///
    /// # Errors
    /// Those of [`Self::send`].
    pub fn send_for(
        &mut self,
        now: Instant,
        purpose: Purpose,
        message: &Message<'_>,
    ) -> Result<PacketId, NotSent> {
        let Some(citizen) = &mut self.citizen else { return Err(SendError::NoChannel.into()) };
        let broadcast = message.to == NodeNum::BROADCAST;
        let free = self.lan && message.hop_limit == 0;
        let airtime = self.router.time_on_air(frame_len(message.payload.len(), broadcast));
        let wish = Wish {
            purpose,
            gate: message.gate,
            urgent: false,
            peer: (!broadcast).then_some(message.to),
            airtime: if free { Duration::ZERO } else { airtime },
            sends: 1,
        };
        self.shares.update(now, self.router.channel_utilization_permille(now));
        self.shares.check(now, &wish).map_err(NotSent::Held)?;
        let id = PacketId(self.agent.next_id().ok_or(SendError::NoId)?);
        let sent = citizen.send(now, &mut self.router, id, message);
        if sent.is_ok() {
            self.note_going(now, id, &wish);
        }
        self.settle(now);
        sent?;
        Ok(id)
    }

    /// Sends a text message: to a node under its public key, or to everybody on a channel.
    ///
    /// # Errors
    /// Those of [`Self::send`]. After [`SendError::NoKey`] the receiver is asked for its key, so the same may be tried again after a
    /// minute.
    pub fn send_text(
        &mut self,
        now: Instant,
        to: NodeNum,
        channel: u8,
        text: &str,
        reply_to: Option<PacketId>,
    ) -> Result<PacketId, NotSent> {
        self.send(now, &Message::text(to, channel, text, reply_to))
    }

    /// The router has this packet.
    fn note_going(&mut self, now: Instant, id: PacketId, wish: &Wish) {
        self.shares.charge(now, wish);
        if self.going.is_full() {
            self.going.pop_front();
        }
        let _ = self.going.push_back(Going { id, purpose: wish.purpose, peer: wish.peer, sent: false });
    }

    /// A frame went on the air: it is counted, and what it costs again is charged.
    fn note_sent(&mut self, now: Instant, id: PacketId, to: NodeNum, relayed: bool, airtime: Duration) {
        if relayed {
            return self.shares.count(Purpose::Relays, 1, airtime);
        }
        let Some(going) = self.going.iter_mut().find(|going| going.id == id) else {
            if ![NodeNum::BROADCAST, NodeNum::LAN_BROADCAST].contains(&to) {
                self.shares.charge_peer(now, to, airtime);
            }
            return self.shares.count(Purpose::Mesh, 1, airtime);
        };
        let again = core::mem::replace(&mut going.sent, true);
        let (purpose, peer) = (going.purpose, going.peer);
        self.shares.count(purpose, u64::from(!again), airtime);
        if let Some(peer) = peer.filter(|_| again) {
            self.shares.charge_peer(now, peer, airtime);
        }
    }

    /// What others than the swarm sent to this node or to everybody, and what became of packets that [`Self::send`] took.
    pub fn poll_mesh_event(&mut self) -> Option<CitizenEvent> {
        self.citizen.as_mut()?.poll_event()
    }

    /// A frame was received.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }

    /// Something was on the air for this long and could not be decoded.
    pub fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
        self.settle(now);
    }

    /// The frame that [`Self::poll_transmit`] gave has left.
    pub fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.router.handle_timeout(now);
        self.agent.handle_timeout(now);
        self.settle(now);
    }

    /// Moves what is ready between the parts. Extra calls are harmless.
    pub fn settle(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            match event {
                RouterEvent::Received(packet) | RouterEvent::Overheard(packet)
                    if packet.port == self.own_port && packet.channel == SWARM_CHANNEL =>
                {
                    let frame = InFrame {
                        from: packet.from,
                        to: packet.to,
                        id: packet.id.0,
                        hops_away: packet.hops_away,
                        airtime: packet.airtime,
                        payload: &packet.payload,
                    };
                    self.agent.handle_frame(now, &frame);
                    // Only whose frames are sealed with the swarm's key is in the registry; it has fewer places than the citizen.
                    if let Some(citizen) = &mut self.citizen
                        && self.agent.registry().get(packet.from).is_some()
                    {
                        citizen.handle_member(now, packet.from, packet.hops_away);
                    }
                }
                event => {
                    if let RouterEvent::Sent { id, to, relayed, airtime, .. } = event {
                        self.note_sent(now, id, to, relayed, airtime);
                    }
                    match &event {
                        RouterEvent::Received(packet) | RouterEvent::Overheard(packet) => {
                            self.agent.handle_others(now, packet.port);
                        }
                        RouterEvent::Duplicate { from, id } => self.agent.handle_duplicate(*from, id.0),
                        RouterEvent::Failed { id } => self.agent.handle_undelivered(now, id.0),
                        RouterEvent::Sent { id, .. } if self.bulk_queued == Some(*id) => {
                            self.bulk_queued = None;
                        }
                        _ => {}
                    }
                    if let Some(citizen) = &mut self.citizen {
                        citizen.handle_event(now, &mut self.router, event);
                    }
                }
            }
        }
        match &mut self.citizen {
            Some(citizen) => {
                let (agent, shares) = (&mut self.agent, &self.shares);
                citizen.retain_answers(|num| !shares.is_used_up(now, num));
                citizen.poll(now, &mut self.router, &mut || agent.next_id().map(PacketId));
            }
            None if self.shares.is_quiet() => {}
            None => self.poll_modules(now),
        }
        self.poll_agent(now);
    }

    fn poll_modules(&mut self, now: Instant) {
        let heard = self.router.nodes_heard();
        while let Some(broadcast) = self.modules.poll(now, heard) {
            let Some(id) = self.agent.next_id() else { return };
            let outgoing = Outgoing {
                to: NodeNum::BROADCAST,
                id: PacketId(id),
                channel: PRIMARY_CHANNEL,
                port: broadcast.port,
                payload: &broadcast.payload,
                hop_limit: broadcast.hop_limit,
                want_ack: false,
                priority: broadcast.priority,
                gate: Gate::Bulk,
                request_id: None,
                bitfield: Some(0),
            };
            if self.router.send(now, &outgoing).is_err() {
                self.refused_by_queue = self.refused_by_queue.saturating_add(1);
            }
        }
    }

    fn poll_agent(&mut self, now: Instant) {
        loop {
            let link = LinkState {
                utilization_permille: self.router.channel_utilization_permille(now),
                queued: self.router.queue_len(),
                bulk_queued: self.bulk_queued.is_some(),
                flood_time: self.router.flood_time(),
                bulk_airtime: self.router.payload_airtime(BULK_LEN),
            };
            let Some(out) = self.agent.poll_transmit(now, &link) else {
                // What is due and does not go waits for the queue, the air or its turn: no need to ask all the time.
                // Whatever is sent or heard meanwhile leads here too.
                while let Some((to, packet)) = self.agent.poll_reminder() {
                    self.router.remind(now, to, PacketId(packet), SWARM_CHANNEL);
                }
                let blocked = self.agent.poll_timeout().is_some_and(|due| due <= now);
                self.agent_held_until = if blocked { now + HELD } else { Instant::ZERO };
                return;
            };
            let wish = self.wish(&out);
            if self.shares.check_peer(now, &wish).is_err() {
                // It asks again, and the answer is still known then.
                continue;
            }
            let outgoing = Outgoing {
                to: out.to,
                id: PacketId(out.id),
                channel: SWARM_CHANNEL,
                port: self.own_port,
                payload: &out.payload,
                hop_limit: out.hop_limit,
                want_ack: out.want_ack,
                priority: out.priority,
                gate: out.gate,
                request_id: None,
                // Native nodes on our own channel need no bitfield: two bytes less in each frame.
                bitfield: None,
            };
            match self.router.send(now, &outgoing) {
                Ok(()) => {
                    self.note_going(now, PacketId(out.id), &wish);
                    if out.gate == Gate::Bulk {
                        self.bulk_queued = Some(PacketId(out.id));
                    }
                }
                Err(_) => {
                    self.refused_by_queue = self.refused_by_queue.saturating_add(1);
                    self.agent.handle_undelivered(now, out.id);
                }
            }
        }
    }

    /// A frame of the agent's as the shares reckon it.
    fn wish(&self, out: &OutFrame) -> Wish {
        let purpose = Purpose::of_frame(&out.payload);
        let free = self.lan && out.hop_limit == 0;
        Wish {
            purpose,
            gate: out.gate,
            // The agent itself gives nothing but what is urgent in quiet hours.
            urgent: self.shares.is_quiet(),
            peer: (purpose == Purpose::Results).then_some(out.to),
            airtime: if free { Duration::ZERO } else { self.router.payload_airtime(out.payload.len()) },
            sends: 1,
        }
    }

    /// The next frame for the radio; `channel_busy` is what its channel activity detection says.
    pub fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<TxFrame> {
        if let Some(mark) = &mut self.airtime_mark
            && let Some(wanted) = mark.wanted_ms(self.router.spent(now))
        {
            // What flash does not take note of is not sent.
            if !self.agent.store_airtime_mark_ms(wanted) {
                return None;
            }
            mark.set(wanted);
        }
        self.router.poll_transmit(now, channel_busy)
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let agent = self.agent.poll_timeout().map(|due| due.max(self.agent_held_until));
        let modules = match &self.citizen {
            Some(citizen) => citizen.poll_timeout(),
            None if self.shares.is_quiet() => None,
            None => self.modules.poll_timeout(),
        };
        [self.router.poll_timeout(), agent, modules].into_iter().flatten().min()
    }
}
