//! A hosted node: the agent behind a stock radio that is reached by its client API.
//!
//! Such a radio is another machine than our router. It tells each packet once, tells nothing of unicasts to others and of
//! what it hears on the channel but for its telemetry, and sends what it is given when it likes, or not at all. So this
//! station counts what it hands over by itself, from the length that the frame will have, and holds back what the gates
//! would: the radio does not gate what its client sends. What it cannot know is how the air has changed since the last
//! telemetry, and how long the radio keeps a packet; the gates stand lower for it.
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
    airbook::AirBook,
};

/// Bulk packets that the radio holds at a time, as far as can be reckoned.
pub const BULK_OUTSTANDING: usize = 2;
/// Packets that the radio holds at a time; its queue has 16 places, and it relays for others.
const OUTSTANDING: usize = 6;
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

/// A packet that the radio was given, until it must have left by what can be reckoned.
#[derive(Clone, Copy, Debug)]
struct Submitted {
    bulk: bool,
    gone_at: Instant,
}

/// The agent and what is known of its radio.
pub struct HostedStation<'a, F: NorFlash> {
    agent: Agent<'a, F>,
    config: HostedConfig,
    modem: Modem,
    air: AirBook,
    /// In the order in which the agent gave them.
    waiting: Vec<OutFrame, WAITING>,
    submitted: Vec<Submitted, OUTSTANDING>,
    held_until: Instant,
    /// Telemetry from then on is new.
    telemetry_from: Instant,
}

impl<'a, F: NorFlash> HostedStation<'a, F> {
    /// Joins an agent to its radio, of which nothing is known yet, now. The agent's number must be the radio's. As at a native
    /// node, the channel counts as busy for the first minute.
    pub fn new(config: HostedConfig, mut agent: Agent<'a, F>, now: Instant) -> Self {
        if !config.channel_unicasts {
            agent.set_link_without_repetition();
        }
        let modem = config.preset.modem(config.region.wide());
        let mut air = AirBook::new(config.region.duty_cycle_permille());
        air.assume_busy(now);
        Self {
            agent,
            modem,
            air,
            config,
            waiting: Vec::new(),
            submitted: Vec::new(),
            held_until: Instant::ZERO,
            telemetry_from: now + KEPT,
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

    /// Bytes of the frame that the radio will send for a payload on our port: it adds a bitfield, and to a broadcast a
    /// signature where one fits.
    pub fn frame_len(payload_len: usize, broadcast: bool) -> usize {
        let data = 3 + 2 + usize::from(payload_len > 127) + payload_len + 2;
        let signed = data + 2 + SIGNATURE;
        HEADER + if broadcast && signed <= MAX_DATA { signed } else { data }
    }

    fn airtime(&self, payload_len: usize, broadcast: bool) -> Duration {
        Duration::from_micros(self.modem.time_on_air_us(Self::frame_len(payload_len, broadcast)))
    }

    /// The radio passed a packet on.
    pub fn handle_packet(&mut self, now: Instant, packet: &FromRadio<'_>) {
        let airtime = self.airtime(packet.payload.len(), packet.to == NodeNum::BROADCAST);
        self.air.handle_heard(now, airtime);
        if packet.port == self.config.own_port && packet.channel == self.config.channel {
            let frame = InFrame {
                from: packet.from,
                to: packet.to,
                id: packet.id.0,
                hops_away: packet.hops_away,
                airtime,
                payload: packet.payload,
            };
            self.agent.handle_frame(now, &frame);
        } else {
            self.agent.handle_others(now, packet.port);
        }
        self.settle(now);
    }

    /// The radio told its device metrics.
    pub fn handle_telemetry(&mut self, now: Instant, telemetry: RadioTelemetry) {
        if now >= self.telemetry_from {
            self.air.handle_telemetry(now, telemetry);
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
        self.submitted.clear();
        self.air.forget_telemetry();
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        self.settle(now);
    }

    /// Takes from the agent what it has to send. Extra calls are harmless.
    pub fn settle(&mut self, now: Instant) {
        self.submitted.retain(|submitted| submitted.gone_at > now);
        while !self.waiting.is_full() {
            let link = LinkState {
                // Without fresh telemetry there is no share of the air for bulk.
                utilization_permille: if self.air.is_fresh(now) {
                    self.air.utilization(now) as u16
                } else {
                    1000
                },
                queued: self.waiting.len() + self.submitted.len(),
                bulk_queued: self.waiting.iter().any(|out| out.gate == Gate::Bulk)
                    || self.bulk_outstanding() >= BULK_OUTSTANDING,
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

    fn bulk_outstanding(&self) -> usize {
        self.submitted.iter().filter(|submitted| submitted.bulk).count()
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

    /// Time until a packet has left that is handed over now: those before it one after the other, each with its window at the
    /// utilisation there is.
    fn leaves(&self, now: Instant, airtime: Duration, sends: u8) -> Duration {
        let ahead = self.submitted.iter().map(|submitted| submitted.gone_at).max().unwrap_or(now);
        ahead.saturating_duration_since(now) + self.air.pace(now, airtime, sends, self.modem.slot_us())
    }

    fn may_go(&self, now: Instant, out: &OutFrame) -> bool {
        let (broadcast, sends) = self.manner(out);
        let airtime = self.airtime(out.payload.len(), broadcast);
        self.submitted.len() < OUTSTANDING
            && (out.gate != Gate::Bulk || self.bulk_outstanding() < BULK_OUTSTANDING)
            && self.air.allows(now, out.gate, airtime, sends, self.leaves(now, airtime, sends))
    }

    /// The next packet for the radio, if one may go now.
    pub fn poll_packet(&mut self, now: Instant) -> Option<ToRadio> {
        self.submitted.retain(|submitted| submitted.gone_at > now);
        let best = (0..self.waiting.len())
            .filter(|index| self.may_go(now, &self.waiting[*index]))
            .min_by_key(|index| (core::cmp::Reverse(self.waiting[*index].priority), *index))?;
        let out = self.waiting.remove(best);
        let (broadcast, sends) = self.manner(&out);
        let airtime = self.airtime(out.payload.len(), broadcast);
        self.air.handle_submitted(now, airtime, sends);
        let gone_at = now + self.leaves(now, airtime, sends);
        let _ = self.submitted.push(Submitted { bulk: out.gate == Gate::Bulk, gone_at });
        Some(ToRadio {
            to: if broadcast { NodeNum::BROADCAST } else { out.to },
            id: PacketId(out.id),
            channel: self.config.channel,
            port: self.config.own_port,
            hop_limit: out.hop_limit,
            want_ack: !broadcast && out.want_ack && out.hop_limit > 0,
            priority: out.priority,
            payload: out.payload,
        })
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_packet`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let agent = self.agent.poll_timeout().map(|due| due.max(self.held_until));
        let waiting = (!self.waiting.is_empty()).then_some(self.held_until);
        [agent, waiting].into_iter().flatten().min()
    }
}
