//! A native node: the agent, the Meshtastic router and the stock modules on one bare LoRa radio.
//!
//! The station follows the agent's calling contract (mutate, drain, wait). Its inputs are what a radio driver knows:
//! frames, frames that could not be decoded, and the end of a transmission.

use compotastic_mesh::{
    modules::PeriodicBroadcasts,
    packet::{MAX_FRAME, NodeNum, PacketId},
    router::{Gate, Outgoing, Router, RouterConfig, RouterEvent, TxFrame},
    time::{Duration, Instant},
};
use embedded_storage::nor_flash::NorFlash;

use crate::{
    agent::{Agent, BULK_LEN, InFrame, LinkState},
    airtime_mark::AirtimeMark,
};

/// Index of the mesh's own channel, which stock nodes share, in [`RouterConfig::channels`].
pub const PRIMARY_CHANNEL: u8 = 0;
/// Index of the swarm's channel.
pub const SWARM_CHANNEL: u8 = 1;

/// Agent, router and stock modules of one node.
pub struct Station<'a, F: NorFlash> {
    router: Router,
    agent: Agent<'a, F>,
    modules: PeriodicBroadcasts,
    own_port: u16,
    /// The agent's bulk frame that waits in the router.
    bulk_queued: Option<PacketId>,
    refused_by_queue: u32,
    agent_held_until: Instant,
    airtime_mark: Option<AirtimeMark>,
}

/// What is due and cannot go is looked at again after this time at the latest.
const HELD: Duration = Duration::from_millis(250);

impl<'a, F: NorFlash> Station<'a, F> {
    /// Joins the three. `config.channels` holds the primary channel first, the swarm's channel second.
    ///
    /// What was on the air before the start is unknown, so the channel counts as busy for the first minute, and air time as far as
    /// flash tells of it as spent.
    pub fn new(config: RouterConfig, mut agent: Agent<'a, F>, seed: u64, now: Instant) -> Self {
        let own_port = config.own_port;
        let modem = config.preset.modem(config.region.wide());
        // Meshtastic's congestion scaling: 2^SF / (bandwidth in kHz * 100) per node above 40.
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        let modules = PeriodicBroadcasts::new(config.num, config.role, scale_ppm, seed, now);
        let limit_permille = config.region.duty_cycle_permille();
        let longest = Duration::from_micros(modem.time_on_air_us(MAX_FRAME));
        let airtime_mark = AirtimeMark::new(limit_permille, longest, agent.airtime_mark_ms());
        let mut router = Router::new(config, seed, now);
        router.assume_busy(now);
        if let Some(mark) = &airtime_mark {
            router.assume_spent(now, mark.spent_at_start());
        }
        Self {
            router,
            airtime_mark,
            agent,
            modules,
            own_port,
            bulk_queued: None,
            refused_by_queue: 0,
            agent_held_until: Instant::ZERO,
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
                }
                RouterEvent::Received(packet) | RouterEvent::Overheard(packet) => {
                    self.agent.handle_others(now, packet.port);
                }
                RouterEvent::Duplicate { from, id } => self.agent.handle_duplicate(from, id.0),
                RouterEvent::Failed { id, .. } => self.agent.handle_undelivered(now, id.0),
                RouterEvent::Sent { id, .. } if self.bulk_queued == Some(id) => self.bulk_queued = None,
                _ => {}
            }
        }
        self.poll_modules(now);
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
                Ok(()) if out.gate == Gate::Bulk => self.bulk_queued = Some(PacketId(out.id)),
                Ok(()) => {}
                Err(_) => {
                    self.refused_by_queue = self.refused_by_queue.saturating_add(1);
                    self.agent.handle_undelivered(now, out.id);
                }
            }
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
        [self.router.poll_timeout(), agent, self.modules.poll_timeout()].into_iter().flatten().min()
    }
}
