//! A host without behaviour: it sends given frames at given times, and keeps what it hears.

use compotastic_mesh::{
    lora::{Preset, Region},
    time::{Duration, Instant},
};
use compotastic_sim::{
    Host, World, WorldConfig,
    ledger::Ledger,
    radio::{Position, Radio},
};
use std::collections::VecDeque;

#[derive(Default)]
pub struct Script {
    plan: VecDeque<(Instant, Vec<u8>)>,
    deaf: bool,
    sending: bool,
    pub sent_at: Vec<Instant>,
    pub heard: Vec<Vec<u8>>,
    pub heard_at: Vec<Instant>,
    pub bad: usize,
    /// How often the channel was busy when it wanted to send.
    pub busy_polls: usize,
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame; times must rise.
    pub fn send(mut self, at_ms: u64, frame: Vec<u8>) -> Self {
        self.plan.push_back((millis(at_ms), frame));
        self
    }

    /// Sends whether the channel is busy or not.
    pub fn deaf_to_busy(mut self) -> Self {
        self.deaf = true;
        self
    }
}

impl Host for Script {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], _snr_qdb: i16, _rssi_dbm: i16) {
        self.heard.push(frame.to_vec());
        self.heard_at.push(now);
    }
    fn handle_bad_frame(&mut self, _now: Instant, _airtime: Duration) {
        self.bad += 1;
    }
    fn handle_tx_done(&mut self, _now: Instant) {
        self.sending = false;
    }
    fn handle_timeout(&mut self, _now: Instant) {}
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        if self.sending || self.plan.front().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        if channel_busy && !self.deaf {
            self.busy_polls += 1;
            return None;
        }
        self.sending = true;
        self.sent_at.push(now);
        self.plan.pop_front().map(|(_, frame)| frame)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        if self.sending { None } else { self.plan.front().map(|(at, _)| *at) }
    }
}

pub fn millis(milliseconds: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(milliseconds)
}

fn radio() -> Radio {
    let mut radio = Radio::new(Preset::LongFast.modem(false), Region::Eu868);
    radio.shadowing_db = 0.0;
    radio
}

/// Distance with 3 dB above the demodulation floor: 99.5 % of all frames are received.
pub fn reach_m() -> f64 {
    radio().range_m(3.0)
}

pub fn world(loss_ppm: u32, seed: u64) -> World<Script> {
    let config = WorldConfig { preset: Preset::LongFast, region: Region::Eu868, loss_ppm, seed };
    World::new(config, radio(), Ledger::new(Vec::new(), Vec::new(), Duration::from_secs(300)))
}

/// Nodes on a line, `spacing` of the reach apart.
pub fn line_of(spacing: f64, loss_ppm: u32, seed: u64, nodes: Vec<Script>) -> World<Script> {
    let mut world = world(loss_ppm, seed);
    for (index, node) in nodes.into_iter().enumerate() {
        world.add(node, Position { x_m: reach_m() * spacing * index as f64, y_m: 0.0 });
    }
    world
}
