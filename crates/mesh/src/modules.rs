//! Stock modules: the NodeInfo, position and telemetry that each Meshtastic node sends by default, and when.
//!
//! What they say is the business of [`crate::citizen`]. Simulated neighbours, whose contents nobody reads, take
//! [`PeriodicBroadcasts::poll`], which has the lengths.

use heapless::Vec;

use crate::{
    packet::NodeNum,
    rng::Rng,
    router::{Priority, Role},
    time::{Duration, Instant},
};

/// Port of positions.
pub const POSITION_PORT: u16 = 3;
/// Port of NodeInfo.
pub const NODEINFO_PORT: u16 = 4;
/// Port of telemetry.
pub const TELEMETRY_PORT: u16 = 67;
/// Hop limit of stock broadcasts.
const HOP_LIMIT: u8 = 3;
/// Payload bytes of a User message with names of usual length, hardware model and public key.
const NODEINFO_LEN: usize = 68;
/// Payload bytes of a Position with time, altitude, precision and satellites.
const POSITION_LEN: usize = 29;
/// Payload bytes of DeviceMetrics with time, battery, voltage, both utilisations and uptime.
const TELEMETRY_LEN: usize = 27;

/// A broadcast of a stock module.
#[derive(Clone, Debug)]
pub struct ModuleBroadcast {
    /// Port.
    pub port: u16,
    /// Payload.
    pub payload: Vec<u8, 80>,
    /// Hop limit.
    pub hop_limit: u8,
    /// Priority.
    pub priority: Priority,
}

/// How often a node speaks by itself; `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// Who it is.
    pub node_info: Option<Duration>,
    /// Where it is.
    pub position: Option<Duration>,
    /// Battery and air.
    pub telemetry: Option<Duration>,
}

impl Periods {
    /// Those of firmware 2.7 and later: who it is every 3 hours; where, every hour, or every 12 hours for infrastructure; no
    /// telemetry unless somebody asks. Some roles say nothing.
    pub fn usual(role: Role) -> Self {
        let told = |hours: u64| role.broadcasts().then(|| Duration::from_secs(hours * 3600));
        let hours = if role.is_infrastructure() { 12 } else { 1 };
        Self { node_info: told(3), position: told(hours), telemetry: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct Module {
    port: u16,
    period: Duration,
    length: usize,
    due: Instant,
}

/// The three periodic broadcasts of a stock node at their default periods.
#[derive(Clone, Debug)]
pub struct PeriodicBroadcasts {
    num: NodeNum,
    modules: Vec<Module, 3>,
    rng: Rng,
    /// Interval factor per node above 40, in millionths: 2^SF / (BW in kHz * 100).
    scale_ppm_per_node: u64,
}

impl PeriodicBroadcasts {
    /// Starts with random phases, as nodes that were switched on at different times. Infrastructure tells position and
    /// telemetry every 12 hours instead of every hour; some roles tell nothing.
    pub fn new(num: NodeNum, role: Role, scale_ppm_per_node: u64, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x6d6f_6475);
        let mut module = |port, hours: u64, length| {
            let period = Duration::from_secs(hours * 3600);
            let phase = u64::from(rng.below((hours * 3_600_000) as u32));
            Module { port, period, length, due: now + Duration::from_millis(phase) }
        };
        let hours = if role.is_infrastructure() { 12 } else { 1 };
        let all = [
            module(NODEINFO_PORT, 3, NODEINFO_LEN),
            module(POSITION_PORT, hours, POSITION_LEN),
            module(TELEMETRY_PORT, hours, TELEMETRY_LEN),
        ];
        let modules = if role.broadcasts() { all.into_iter().collect() } else { Vec::new() };
        let scale_ppm_per_node = if role.yields_to_a_large_mesh() { scale_ppm_per_node } else { 0 };
        Self { num, modules, rng, scale_ppm_per_node }
    }

    /// These periods, and the first of each soon after the start: a node that joins wants to be known.
    pub fn soon(
        num: NodeNum,
        role: Role,
        periods: &Periods,
        scale_ppm_per_node: u64,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x6d6f_6475);
        let all = [
            (NODEINFO_PORT, periods.node_info, NODEINFO_LEN, 30),
            (POSITION_PORT, periods.position, POSITION_LEN, 90),
            (TELEMETRY_PORT, periods.telemetry, TELEMETRY_LEN, 150),
        ];
        let modules = all.into_iter().filter_map(|(port, period, length, after_s)| {
            let jitter = Duration::from_millis(u64::from(rng.below(60_000)));
            let due = now + Duration::from_secs(after_s) + jitter;
            Some(Module { port, period: period?, length, due })
        });
        let modules = modules.collect();
        let scale_ppm_per_node = if role.yields_to_a_large_mesh() { scale_ppm_per_node } else { 0 };
        Self { num, modules, rng, scale_ppm_per_node }
    }

    /// A broadcast that is due, of filler. `nodes_heard` stretches the periods above 40 nodes.
    pub fn poll(&mut self, now: Instant, nodes_heard: usize) -> Option<ModuleBroadcast> {
        let (port, length) = self.due(now, nodes_heard)?;
        let mut payload = Vec::new();
        let _ = payload.extend_from_slice(&self.num.0.to_le_bytes());
        // Contents do not matter to the air; their length does.
        let filler = self.rng.next_u32().to_le_bytes();
        while payload.len() < length {
            let _ = payload.push(filler[payload.len() % 4]);
        }
        Some(ModuleBroadcast { port, payload, hop_limit: HOP_LIMIT, priority: Priority::Background })
    }

    /// The port of a broadcast that is due; the next one on it is in a period.
    pub fn poll_port(&mut self, now: Instant, nodes_heard: usize) -> Option<u16> {
        self.due(now, nodes_heard).map(|(port, _)| port)
    }

    fn due(&mut self, now: Instant, nodes_heard: usize) -> Option<(u16, usize)> {
        let module = self.modules.iter_mut().find(|module| now >= module.due)?;
        let over = nodes_heard.saturating_sub(40) as u64;
        let period_us = module.period.as_micros();
        let stretched_us = period_us + period_us / 1000 * (over * self.scale_ppm_per_node / 1000);
        // A jitter of a minute keeps nodes that started together apart.
        let jitter = Duration::from_millis(u64::from(self.rng.below(60_000)));
        module.due = now + Duration::from_micros(stretched_us) + jitter;
        Some((module.port, module.length))
    }

    /// When the next one is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.modules.iter().map(|module| module.due).min()
    }
}
