//! A hosted node: the agent behind a stock radio that is reached by its client API.
//!
//! Such a radio is another machine than our router. It tells each packet once, tells nothing of unicasts to others and of
//! what it hears on the channel but for its telemetry, and sends what it is given when it likes, or not at all. So this
//! station counts what it hands over by itself, from the length that the frame will have, and holds back what the gates
//! would: the radio does not gate what its client sends. What it cannot know is how the air has changed since the last
//! telemetry, and how long the radio keeps a packet; the gates stand lower for it.
//!
//! Beside the radio there may be links that carry whole packets (UDP multicast, a broker): see [`crate::beside`].
//!
//! No I/O: the host turns [`ToRadio`] and the inputs into the client API's messages, and checks at the handshake that the
//! radio's number is the agent's, since the radio puts its own into `from`.

use compotastic_mesh::{
    lora::{Modem, Preset, Region},
    packet::{HEADER, MAX_DATA, NodeNum, PacketId, SIGNATURE},
    router::{Gate, Priority},
    time::{Duration, Instant},
};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{
    agent::{Agent, BULK_LEN, InFrame, LinkState, OutFrame},
    beside::{Beside, Ways},
    manners::{Hold, Manners, Purpose, Wish},
};

pub use crate::manners::BULK_OUTSTANDING;

/// Packets that wait here for their gate.
const WAITING: usize = 6;
/// Looks again after this time at what is held back.
const HELD: Duration = Duration::from_secs(1);
/// A radio has kept what its client did not fetch, and tells it first: so long after the start, telemetry may be an old one.
const KEPT: Duration = Duration::from_secs(10);
/// Firmware sends a unicast that wants an acknowledgement three times at most, and one by a known next hop twice.
const SENDS_RELIABLE: u8 = 3;
const SENDS_UNICAST: u8 = 2;

/// What a hosted station is told once.
#[derive(Clone, Debug)]
pub struct HostedConfig {
    /// Preset of the radio.
    pub preset: Preset,
    /// Region of the radio, whose duty cycle binds.
    pub region: Region,
    /// Port of our frames.
    pub own_port: u16,
    /// Index of the swarm's channel in the radio.
    pub channel: u8,
    /// The radio has no private key and so encrypts unicasts with the channel's, as our nodes do. All others would encrypt
    /// them for a receiver whose public key they know, which ours have none of: then each unicast goes as a broadcast that
    /// is sealed for its receiver alone.
    pub channel_unicasts: bool,
}

/// A packet for the radio: what `ToRadio.packet` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToRadio {
    /// Destination.
    pub to: NodeNum,
    /// Packet id, chosen here.
    pub id: PacketId,
    /// Index of the channel.
    pub channel: u8,
    /// Port.
    pub port: u16,
    /// Hop limit. With `want_ack` the firmware takes 0 for its default, so they do not come together.
    pub hop_limit: u8,
    /// Repeat until acknowledged.
    pub want_ack: bool,
    /// Place in the radio's queue.
    pub priority: Priority,
    /// Payload.
    pub payload: Vec<u8, { compotastic_wire::MAX_PAYLOAD }>,
    /// Where it goes; to the radio alone where there are no other links.
    pub ways: Ways,
}

/// A packet that the radio could read and passed to its client.
#[derive(Clone, Copy, Debug)]
pub struct FromRadio<'a> {
    /// Sender.
    pub from: NodeNum,
    /// Destination: this node or everybody.
    pub to: NodeNum,
    /// Packet id.
    pub id: PacketId,
    /// Index of the channel.
    pub channel: u8,
    /// Port.
    pub port: u16,
    /// Hops that it took, when known.
    pub hops_away: Option<u8>,
    /// Payload.
    pub payload: &'a [u8],
}

/// Device metrics of the radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadioTelemetry {
    /// `channel_utilization`: all air time of the last 60 s, permille.
    pub channel_utilization_permille: u16,
    /// `air_util_tx`: own air time of the last hour, permille.
    pub air_util_tx_permille: u16,
}

/// A packet of another sender on the same radio: a text, an answer to a person, a packet of a program that shares it.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// What it is for.
    pub purpose: Purpose,
    /// Gate that it belongs to.
    pub gate: Gate,
    /// Goes in quiet hours too.
    pub urgent: bool,
    /// Whose share it takes, where somebody asked for it.
    pub peer: Option<NodeNum>,
    /// Bytes of its payload.
    pub payload_len: usize,
    /// To everybody.
    pub broadcast: bool,
    /// Repeated until acknowledged.
    pub want_ack: bool,
}

impl Foreign {
    /// As the governor reckons it.
    pub fn wish(&self, modem: &Modem) -> Wish {
        let sends = match (self.broadcast, self.want_ack) {
            (true, _) => 1,
            (_, true) => SENDS_RELIABLE,
            _ => SENDS_UNICAST,
        };
        let frame_len = frame_len(self.payload_len, self.broadcast);
        Wish {
            purpose: self.purpose,
            gate: self.gate,
            urgent: self.urgent,
            peer: self.peer,
            airtime: Duration::from_micros(modem.time_on_air_us(frame_len)),
            sends,
        }
    }
}

/// Bytes of the frame that the radio will send for a payload on a private port: it adds a bitfield, and to a broadcast a
/// signature where one fits.
pub fn frame_len(payload_len: usize, broadcast: bool) -> usize {
    let data = 3 + 2 + usize::from(payload_len > 127) + payload_len + 2;
    let signed = data + 2 + SIGNATURE;
    HEADER + if broadcast && signed <= MAX_DATA { signed } else { data }
}

/// What goes no further than the links beside the radio costs nobody's air.
fn beside_cost(hop_limit: u8, airtime: Duration) -> Duration {
    if hop_limit > 0 { airtime } else { Duration::ZERO }
}

/// The agent and what is known of its radio.
pub struct HostedStation<'a, F: NorFlash> {
    agent: Agent<'a, F>,
    config: HostedConfig,
    modem: Modem,
    manners: Manners,
    /// In the order in which the agent gave them.
    waiting: Vec<OutFrame, WAITING>,
    held_until: Instant,
    /// Telemetry from then on is new.
    telemetry_from: Instant,
    /// The link to the radio is open.
    radio_up: bool,
    /// Links that carry whole packets.
    beside: Option<Beside>,
}

impl<'a, F: NorFlash> HostedStation<'a, F> {
    /// Joins an agent to its radio, of which nothing is known yet, now. The agent's number must be the radio's. As at a native
    /// node, the channel counts as busy for the first minute.
    pub fn new(config: HostedConfig, mut agent: Agent<'a, F>, now: Instant) -> Self {
        if !config.channel_unicasts {
            agent.set_link_without_repetition();
        }
        let modem = config.preset.modem(config.region.wide());
        let manners = Manners::new(modem, config.region.duty_cycle_permille(), now);
        Self {
            agent,
            modem,
            manners,
            config,
            waiting: Vec::new(),
            held_until: Instant::ZERO,
            telemetry_from: now + KEPT,
            radio_up: true,
            beside: None,
        }
    }

    /// There are links beside the radio that carry whole packets, from now on.
    pub fn set_beside(&mut self) {
        self.beside.get_or_insert_with(Beside::default);
    }

    /// The link to the radio is open, or not: then what there is goes beside it alone.
    pub fn set_radio_up(&mut self, up: bool) {
        self.radio_up = up;
    }

    /// What is known of the links beside the radio.
    pub fn beside(&mut self) -> Option<&mut Beside> {
        self.beside.as_mut()
    }

    /// The agent, to submit jobs, complete them and read its state. Call [`Self::settle`] afterwards.
    pub fn agent(&mut self) -> &mut Agent<'a, F> {
        &mut self.agent
    }

    /// The agent, to look at.
    pub fn agent_ref(&self) -> &Agent<'a, F> {
        &self.agent
    }

    /// The radio is set otherwise now: the index of the channel may have moved. False where the change is one that only a new
    /// station can take: another preset, region or way of encrypting.
    pub fn set_config(&mut self, now: Instant, config: HostedConfig) -> bool {
        let same = (config.preset, config.region, config.channel_unicasts)
            == (self.config.preset, self.config.region, self.config.channel_unicasts);
        if same {
            self.config = config;
            self.settle(now);
        }
        same
    }

    /// Whether a packet is on our channel and port.
    pub fn is_ours(&self, packet: &FromRadio<'_>) -> bool {
        packet.port == self.config.own_port && packet.channel == self.config.channel
    }

    /// Index of the swarm's channel in the radio.
    pub fn channel(&self) -> u8 {
        self.config.channel
    }

    /// Time on air of a frame of this length.
    pub fn time_on_air(&self, frame_len: usize) -> Duration {
        Duration::from_micros(self.modem.time_on_air_us(frame_len))
    }

    /// The governor, to look at.
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// So much was sent in the hour before the start, by this radio for this host.
    pub fn assume_spent(&mut self, now: Instant, airtime: Duration) {
        self.manners.assume_spent(now, airtime);
    }

    /// Quiet hours begin or end: only alerts and what is urgent goes.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.manners.set_quiet(quiet);
        self.agent.set_quiet(quiet);
    }

    /// So many nodes are online: what is sent periodically comes less often on a large mesh.
    pub fn set_nodes_online(&mut self, online: u32) {
        self.agent.set_congestion(crate::manners::congestion_permille(&self.modem, online));
    }

    /// Another sender wants to hand a packet to the radio; [`Foreign::wish`] says how it is reckoned. If it may, it counts as handed over.
    pub fn admit(&mut self, now: Instant, wish: impl FnOnce(&Modem) -> Wish) -> Result<(), Hold> {
        self.manners.settle(now);
        let wish = wish(&self.modem);
        self.manners.check(now, &wish)?;
        self.manners.handle_submitted(now, &wish);
        Ok(())
    }

    /// Bytes of the frame that the radio will send for a payload on our port: see [`frame_len`].
    pub fn frame_len(payload_len: usize, broadcast: bool) -> usize {
        frame_len(payload_len, broadcast)
    }

    fn airtime(&self, payload_len: usize, broadcast: bool) -> Duration {
        Duration::from_micros(self.modem.time_on_air_us(frame_len(payload_len, broadcast)))
    }

    /// The radio passed a packet on.
    pub fn handle_packet(&mut self, now: Instant, packet: &FromRadio<'_>) {
        let airtime = self.airtime(packet.payload.len(), packet.to == NodeNum::BROADCAST);
        self.manners.handle_heard(now, airtime);
        if self.is_ours(packet) {
            let frame = InFrame {
                from: packet.from,
                to: packet.to,
                id: packet.id.0,
                hops_away: packet.hops_away,
                airtime,
                payload: packet.payload,
            };
            if self.agent.handle_frame(now, &frame)
                && let Some(beside) = &mut self.beside
            {
                beside.handle_heard(now, packet.from, true);
            }
        } else {
            self.agent.handle_others(now, packet.port);
        }
        self.settle(now);
    }

    /// The radio passed a packet on that came by another link before: it took air all the same, and its sender is near the radio.
    pub fn handle_again(&mut self, now: Instant, packet: &FromRadio<'_>) {
        let airtime = self.airtime(packet.payload.len(), packet.to == NodeNum::BROADCAST);
        self.manners.handle_heard(now, airtime);
        if self.is_ours(packet)
            && let Some(beside) = &mut self.beside
        {
            beside.handle_again(now, packet.from);
        }
    }

    /// A packet came beside the radio; it took no air.
    pub fn handle_beside(&mut self, now: Instant, packet: &FromRadio<'_>) {
        if self.is_ours(packet) {
            let frame = InFrame {
                from: packet.from,
                to: packet.to,
                id: packet.id.0,
                hops_away: packet.hops_away,
                airtime: Duration::ZERO,
                payload: packet.payload,
            };
            if self.agent.handle_frame(now, &frame)
                && let Some(beside) = &mut self.beside
            {
                beside.handle_heard(now, packet.from, false);
            }
        }
        self.settle(now);
    }

    /// A packet of others wants to go to links beside the radio; see [`Beside::admit_bridged`].
    ///
    /// # Errors
    /// [`Hold::Lan`].
    pub fn admit_bridged(&mut self, now: Instant, airtime: Duration) -> Result<(), Hold> {
        self.beside.as_mut().ok_or(Hold::Lan)?.admit_bridged(now, airtime)?;
        self.manners.shares_mut().count(Purpose::Bridged, 1, airtime);
        Ok(())
    }

    /// The radio told its device metrics.
    pub fn handle_telemetry(&mut self, now: Instant, telemetry: RadioTelemetry) {
        if now >= self.telemetry_from {
            self.manners.handle_telemetry(now, telemetry);
        }
        self.settle(now);
    }

    /// The radio said that a packet of ours failed, by a Routing message whose error is not NONE. Its queueStatus is no such
    /// word: it does not come for each packet.
    pub fn handle_failed(&mut self, now: Instant, id: PacketId) {
        self.agent.handle_undelivered(now, id.0);
        self.settle(now);
    }

    /// The radio was started anew: what it held is lost, and what it told of the air is past.
    pub fn handle_radio_restarted(&mut self, now: Instant) {
        self.manners.handle_radio_restarted();
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        self.settle(now);
    }

    /// Takes from the agent what it has to send. Extra calls are harmless.
    pub fn settle(&mut self, now: Instant) {
        self.manners.settle(now);
        while !self.waiting.is_full() {
            let link = LinkState {
                // Without fresh telemetry there is no share of the air for bulk; what goes past a radio that is gone takes none there.
                utilization_permille: if !self.radio_up && self.beside.is_some() {
                    0
                } else if self.manners.is_fresh(now) {
                    self.manners.utilization_permille(now)
                } else {
                    1000
                },
                queued: self.waiting.len() + self.manners.outstanding(),
                bulk_queued: self.waiting.iter().any(|out| out.gate == Gate::Bulk)
                    || self.manners.bulk_outstanding() >= BULK_OUTSTANDING,
                flood_time: Duration::from_micros(self.modem.flood_us()),
                bulk_airtime: self.airtime(BULK_LEN, true),
            };
            let Some(out) = self.agent.poll_transmit(now, &link) else { break };
            let _ = self.waiting.push(out);
        }
        // The neighbours cannot be asked for a lost answer: a client sends no bare headers. The request comes again.
        while self.agent.poll_reminder().is_some() {}
        let blocked = self.agent.poll_timeout().is_some_and(|due| due <= now);
        self.held_until = if blocked || !self.waiting.is_empty() { now + HELD } else { Instant::ZERO };
    }

    /// Whether a packet goes as a broadcast, and how often the radio may send it.
    fn manner(&self, out: &OutFrame) -> (bool, u8) {
        let broadcast = out.to == NodeNum::BROADCAST || !self.config.channel_unicasts;
        let sends = match (broadcast, out.want_ack && out.hop_limit > 0) {
            (true, _) => 1,
            (_, true) => SENDS_RELIABLE,
            _ => SENDS_UNICAST,
        };
        (broadcast, sends)
    }

    fn wish(&self, out: &OutFrame) -> Wish {
        let (broadcast, sends) = self.manner(out);
        let purpose = Purpose::of_frame(&out.payload);
        Wish {
            purpose,
            gate: out.gate,
            // The agent itself gives nothing but what is urgent in quiet hours; what it gave before may go.
            urgent: self.manners.is_quiet(),
            peer: (purpose == Purpose::Results).then_some(out.to),
            airtime: self.airtime(out.payload.len(), broadcast),
            sends,
        }
    }

    /// Where a packet may go now and how that is reckoned, or what holds it back.
    fn passage(&self, now: Instant, out: &OutFrame) -> Result<(Ways, Wish), Hold> {
        let wish = self.wish(out);
        let Some(beside) = &self.beside else {
            self.manners.check(now, &wish)?;
            return Ok((Ways { radio: true, beside: false }, wish));
        };
        let cost = beside_cost(out.hop_limit, wish.airtime);
        let room = beside.allows(now, cost);
        // Whom the radio may not reach it has to try where there is no room beside it.
        if self.radio_up && !(room && beside.is_beyond_the_radio(now, out.to)) {
            self.manners.check(now, &wish)?;
            return Ok((Ways { radio: true, beside: room }, wish));
        }
        let wish = Wish { airtime: cost, sends: 1, ..wish };
        self.manners.shares().check(now, &wish)?;
        if room { Ok((Ways { radio: false, beside: true }, wish)) } else { Err(Hold::Lan) }
    }

    /// An answer to a peer that has had its share is not kept: it asks again, and the answer is still known then.
    fn drop_what_is_too_much(&mut self, now: Instant) {
        for index in (0..self.waiting.len()).rev() {
            let wish = self.wish(&self.waiting[index]);
            if wish.peer.is_some() && self.passage(now, &self.waiting[index]).err() == Some(Hold::Peer) {
                self.waiting.remove(index);
            }
        }
    }

    /// The next packet for the radio, if one may go now.
    pub fn poll_packet(&mut self, now: Instant) -> Option<ToRadio> {
        self.manners.settle(now);
        self.drop_what_is_too_much(now);
        let best = (0..self.waiting.len())
            .filter(|index| self.passage(now, &self.waiting[*index]).is_ok())
            .min_by_key(|index| (core::cmp::Reverse(self.waiting[*index].priority), *index))?;
        let (ways, wish) = self.passage(now, &self.waiting[best]).ok()?;
        let out = self.waiting.remove(best);
        if ways.radio {
            self.manners.handle_submitted(now, &wish);
        } else {
            self.manners.shares_mut().charge(now, &wish);
            self.manners.shares_mut().count(wish.purpose, 1, wish.airtime);
        }
        if let Some(beside) = self.beside.as_mut().filter(|_| ways.beside) {
            beside.spend(now, beside_cost(out.hop_limit, wish.airtime));
        }
        let (broadcast, _) = self.manner(&out);
        Some(ToRadio {
            to: if broadcast { NodeNum::BROADCAST } else { out.to },
            id: PacketId(out.id),
            channel: self.config.channel,
            port: self.config.own_port,
            hop_limit: out.hop_limit,
            want_ack: !broadcast && out.want_ack && out.hop_limit > 0,
            priority: out.priority,
            payload: out.payload,
            ways,
        })
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_packet`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let agent = self.agent.poll_timeout().map(|due| due.max(self.held_until));
        let waiting = (!self.waiting.is_empty()).then_some(self.held_until);
        [agent, waiting].into_iter().flatten().min()
    }
}
