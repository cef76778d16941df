//! A node of ours in a served scenario: its agent behind a stock radio, which an app talks to as well.
//!
//! A radio takes one client; this one has two. What the agent sends and hears does not pass the app, as the app of a native
//! node does not see what its firmware does.

use std::collections::VecDeque;

use compotastic_mesh::{
    citizen::Message,
    packet::PacketId,
    router::{Gate, Incoming},
    time::{Duration, Instant},
};
use compotastic_node::{
    Agent, HostedStation,
    hosted::{FromRadio, RadioTelemetry, ToRadio},
};
use embedded_storage::nor_flash::NorFlash;

use super::ServedNode;
use crate::Host;

/// Packets that wait for the agent; what comes while they are so many is lost.
const PACKETS: usize = 32;
/// The agent is told the radio's own metrics this often.
const TELEMETRY: Duration = Duration::from_secs(60);

/// What a radio keeps for the agent behind it.
#[derive(Default)]
pub(super) struct Inner {
    /// Port of its frames.
    port: u16,
    /// Index of the swarm's channel.
    channel: u8,
    packets: VecDeque<Incoming>,
    failed: VecDeque<PacketId>,
}

impl Inner {
    pub(super) fn new(port: u16, channel: u8) -> Self {
        Self { port, channel, ..Self::default() }
    }

    /// Takes a packet that is for the agent and nobody else.
    pub(super) fn take(&mut self, packet: &Incoming) -> bool {
        let ours = packet.port == self.port && packet.channel == self.channel;
        if ours && self.packets.len() < PACKETS {
            self.packets.push_back(packet.clone());
        }
        ours
    }

    pub(super) fn fail(&mut self, id: PacketId) {
        if self.failed.len() < PACKETS {
            self.failed.push_back(id);
        }
    }

    fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.failed.is_empty()
    }
}

/// The agent and its radio.
pub struct ServedOurs<'a, F: NorFlash> {
    radio: ServedNode,
    station: HostedStation<'a, F>,
    tells_at: Instant,
}

impl<'a, F: NorFlash> ServedOurs<'a, F> {
    /// Joins a station to the radio of its number.
    pub fn new(radio: ServedNode, station: HostedStation<'a, F>) -> Self {
        assert_eq!(station.agent_ref().num(), radio.num(), "the radio puts its own number into its packets");
        Self { radio, station, tells_at: Instant::ZERO }
    }

    /// The radio, whose client is told and heard.
    pub fn radio(&self) -> &ServedNode {
        &self.radio
    }

    /// The same, for its client.
    pub fn radio_mut(&mut self) -> &mut ServedNode {
        &mut self.radio
    }

    /// The agent, to submit jobs, complete them and read its state. Call [`Self::settle`] afterwards.
    pub fn agent(&mut self) -> &mut Agent<'a, F> {
        self.station.agent()
    }

    /// The agent, to look at.
    pub fn agent_ref(&self) -> &Agent<'a, F> {
        self.station.agent_ref()
    }

    /// Moves what is ready between station and radio.
    pub fn settle(&mut self, now: Instant) {
        if now >= self.tells_at {
            self.tells_at = now + TELEMETRY;
            let metrics = self.radio.metrics(now);
            let telemetry = RadioTelemetry {
                channel_utilization_permille: metrics.channel_utilization_permille.unwrap_or(0),
                air_util_tx_permille: metrics.air_util_tx_permille.unwrap_or(0),
            };
            self.station.handle_telemetry(now, telemetry);
        }
        self.station.settle(now);
        while let Some(packet) = self.radio.inner_mut().and_then(|inner| inner.packets.pop_front()) {
            let packet = FromRadio {
                from: packet.from,
                to: packet.to,
                id: packet.id,
                channel: packet.channel,
                port: packet.port,
                hops_away: packet.hops_away,
                payload: &packet.payload,
            };
            self.station.handle_packet(now, &packet);
        }
        while let Some(id) = self.radio.inner_mut().and_then(|inner| inner.failed.pop_front()) {
            self.station.handle_failed(now, id);
        }
        while let Some(packet) = self.station.poll_packet(now) {
            self.submit(now, &packet);
        }
    }

    /// The station hands a packet over. What becomes of it is told when it fails.
    fn submit(&mut self, now: Instant, packet: &ToRadio) {
        let message = Message {
            want_ack: packet.want_ack,
            hop_limit: packet.hop_limit,
            priority: Some(packet.priority),
            // What a client sends is not gated by the radio; the station has asked its own gates.
            gate: Gate::Alert,
            ..Message::new(packet.to, packet.channel, packet.port, &packet.payload)
        };
        self.radio.submit(now, packet.id, &message);
    }
}

impl<F: NorFlash> Host for ServedOurs<'_, F> {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.radio.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.radio.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.radio.handle_tx_done(now);
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.radio.handle_timeout(now);
        self.station.handle_timeout(now);
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        let frame = self.radio.poll_transmit(now, channel_busy)?;
        self.settle(now);
        Some(frame)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let waits = self.radio.inner().is_some_and(|inner| !inner.is_empty());
        let waits = waits.then_some(Instant::ZERO);
        let own = [self.radio.poll_timeout(), self.station.poll_timeout(), Some(self.tells_at), waits];
        own.into_iter().flatten().min()
    }
}
