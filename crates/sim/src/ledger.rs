//! The checker that stands apart from the nodes: it reads what is on the air with the channel keys, sorts it, and counts
//! air time, channel utilisation, duty cycle, and transmissions that should have been held back.

use std::collections::VecDeque;

use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    modules::{NODEINFO_PORT, POSITION_PORT, TELEMETRY_PORT},
    packet::{Data, HEADER, Header, NodeNum},
    router::ROUTING_PORT,
    time::{Duration, Instant},
};
use compotastic_wire::{Frame, FrameClass, MAC_LEN, PORT};

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Requests, offers, awards and results.
    Job,
    /// Reports on their way.
    Report,
    /// Beacons.
    Beacon,
    /// Manifests, delegations and requests for them.
    Record,
    /// Symbols.
    Symbol,
    /// Requests for symbols.
    SymbolRequest,
    /// Stock acknowledgements.
    Ack,
    /// Stock NodeInfo, positions and telemetry.
    Stock,
    /// Texts of people.
    Text,
    /// What could not be read.
    Other,
}

impl Traffic {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Job,
        Self::Report,
        Self::Beacon,
        Self::Record,
        Self::Symbol,
        Self::SymbolRequest,
        Self::Ack,
        Self::Stock,
        Self::Text,
        Self::Other,
    ];

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::Report => "reports",
            Self::Beacon => "beacons",
            Self::Record => "manifests",
            Self::Symbol => "symbols",
            Self::SymbolRequest => "symbol requests",
            Self::Ack => "stock acks",
            Self::Stock => "stock broadcasts",
            Self::Text => "texts",
            Self::Other => "other",
        }
    }

    /// Bulk and periodic traffic, which stops at 25 % channel utilisation.
    const fn is_bulk(self) -> bool {
        matches!(self, Self::Beacon | Self::Record | Self::Symbol | Self::SymbolRequest | Self::Stock)
    }
}

/// Sums of one kind of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Transmissions.
    pub transmissions: u64,
    /// Frame bytes.
    pub bytes: u64,
    /// Air time, microseconds.
    pub airtime_us: u64,
}

#[derive(Debug, Default)]
struct NodeBook {
    /// Ends and lengths of all that was sent or heard in the last 60 s.
    minute: VecDeque<(Instant, u64)>,
    minute_us: u64,
    /// Begins and lengths of own transmissions in the last 3600 s.
    hour: VecDeque<(Instant, u64)>,
    hour_us: u64,
}

const MINUTE_US: u64 = 60_000_000;
const HOUR_US: u64 = 3_600_000_000;

impl NodeBook {
    fn forget(&mut self, now: Instant) {
        let age = |at: Instant| now.saturating_duration_since(at).as_micros();
        while let Some((at, length)) = self.minute.front().copied().filter(|(at, _)| age(*at) >= MINUTE_US) {
            debug_assert!(at <= now);
            self.minute.pop_front();
            self.minute_us -= length;
        }
        while let Some((_, length)) = self.hour.front().copied().filter(|(at, _)| age(*at) >= HOUR_US) {
            self.hour.pop_front();
            self.hour_us -= length;
        }
    }
    fn hear(&mut self, now: Instant, airtime_us: u64) {
        self.forget(now);
        self.minute.push_back((now, airtime_us));
        self.minute_us += airtime_us;
    }
}

/// The books of all nodes.
pub struct Ledger {
    channels: Vec<Channel>,
    numbers: Vec<NodeNum>,
    nodes: Vec<NodeBook>,
    sums: [Sum; Traffic::ALL.len()],
    bin: Duration,
    bins: Vec<[u64; Traffic::ALL.len()]>,
    max_utilization_us: u64,
    max_hour_us: u64,
    over_gate: u64,
    over_gate_first: Option<String>,
}

impl Ledger {
    /// Books for nodes with these numbers, in the order in which they are added to the world; `bin` is the width of the
    /// bins over time.
    pub fn new(channels: Vec<Channel>, numbers: Vec<NodeNum>, bin: Duration) -> Self {
        Self {
            channels,
            numbers,
            nodes: Vec::new(),
            sums: Default::default(),
            bin,
            bins: Vec::new(),
            max_utilization_us: 0,
            max_hour_us: 0,
            over_gate: 0,
            over_gate_first: None,
        }
    }

    pub(crate) fn add_node(&mut self) {
        self.nodes.push(NodeBook::default());
    }

    /// Sorts a frame; true in the second place if it carries an alert.
    pub fn classify(&self, frame: &[u8]) -> (Traffic, bool) {
        let Some(header) = Header::parse(frame) else { return (Traffic::Other, false) };
        for channel in self.channels.iter().filter(|channel| channel.hash() == header.channel_hash) {
            let mut clear = frame[HEADER..].to_vec();
            ctr_apply(&channel.key, header.from, header.id, &mut clear);
            if let Some(data) = Data::decode(&clear) {
                return match data.port {
                    PORT => Self::classify_ours(data.payload, header.to == NodeNum::BROADCAST),
                    ROUTING_PORT => (Traffic::Ack, false),
                    NODEINFO_PORT | POSITION_PORT | TELEMETRY_PORT => (Traffic::Stock, false),
                    1 => (Traffic::Text, false),
                    _ => (Traffic::Other, false),
                };
            }
        }
        (Traffic::Other, false)
    }

    fn classify_ours(payload: &[u8], broadcast: bool) -> (Traffic, bool) {
        let Some(class) = payload.first().and_then(|first| FrameClass::from_bits(first & 31)) else {
            return (Traffic::Other, false);
        };
        let kind = match class {
            FrameClass::Request | FrameClass::Offer | FrameClass::Award | FrameClass::Result => Traffic::Job,
            FrameClass::Beacon => Traffic::Beacon,
            FrameClass::Record | FrameClass::RecordRequest => Traffic::Record,
            FrameClass::Symbol => Traffic::Symbol,
            FrameClass::SymbolRequest => Traffic::SymbolRequest,
            FrameClass::Report => Traffic::Report,
        };
        let body = payload.get(2..payload.len().saturating_sub(MAC_LEN)).unwrap_or_default();
        let alert = match Frame::parse(class, body, broadcast) {
            Ok(Frame::Report(report)) => report.entries().flatten().any(|entry| entry.priority == 3),
            _ => false,
        };
        (kind, alert)
    }

    /// A transmission begins.
    pub(crate) fn handle_transmit(&mut self, now: Instant, node: usize, frame: &[u8], airtime: Duration) {
        let (kind, alert) = self.classify(frame);
        let airtime_us = airtime.as_micros();
        let originated =
            Header::parse(frame).is_some_and(|header| Some(&header.from) == self.numbers.get(node));
        let book = &mut self.nodes[node];
        book.forget(now);
        let used_us = book.minute_us + airtime_us;
        let limit_permille = match (alert, kind.is_bulk()) {
            (true, _) => u64::MAX / MINUTE_US,
            (_, true) => 250,
            _ => 400,
        };
        if originated && used_us > limit_permille * MINUTE_US / 1000 {
            self.over_gate += 1;
            self.over_gate_first.get_or_insert_with(|| {
                format!("node {node} sent {} at {} us with {used_us} us used", kind.name(), now.as_micros())
            });
        }
        // Own air time counts in the minute from its end on, as what is heard does.
        book.minute.push_back((now + airtime, airtime_us));
        book.minute_us += airtime_us;
        book.hour.push_back((now, airtime_us));
        book.hour_us += airtime_us;
        self.max_hour_us = self.max_hour_us.max(book.hour_us);
        self.max_utilization_us = self.max_utilization_us.max(book.minute_us);
        let sum = &mut self.sums[kind as usize];
        sum.transmissions += 1;
        sum.bytes += frame.len() as u64;
        sum.airtime_us += airtime_us;
        let bin = (now.as_micros() / self.bin.as_micros().max(1)) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, Default::default());
        }
        self.bins[bin][kind as usize] += airtime_us;
    }

    /// Energy was heard, decoded or not.
    pub(crate) fn handle_heard(&mut self, now: Instant, node: usize, airtime: Duration) {
        let book = &mut self.nodes[node];
        book.hear(now, airtime.as_micros());
        self.max_utilization_us = self.max_utilization_us.max(book.minute_us);
    }

    /// Sums of one kind.
    pub fn sum(&self, kind: Traffic) -> Sum {
        self.sums[kind as usize]
    }

    /// Air time of everything, microseconds.
    pub fn total_us(&self) -> u64 {
        self.sums.iter().map(|sum| sum.airtime_us).sum()
    }

    /// Air time per bin of one kind, microseconds.
    pub fn bins(&self, kind: Traffic) -> Vec<u64> {
        self.bins.iter().map(|bin| bin[kind as usize]).collect()
    }

    /// Originated transmissions above a gate.
    pub fn originations_over_gate(&self) -> u64 {
        self.over_gate
    }

    /// The first of them, for people.
    pub fn first_over_gate(&self) -> Option<&str> {
        self.over_gate_first.as_deref()
    }

    /// Highest channel utilisation of any node in any 60 s, percent.
    pub fn max_channel_utilization_pct(&self) -> f64 {
        self.max_utilization_us as f64 * 100.0 / MINUTE_US as f64
    }

    /// Highest own air time of any node in any 3600 s, percent.
    pub fn max_duty_cycle_pct(&self) -> f64 {
        self.max_hour_us as f64 * 100.0 / HOUR_US as f64
    }
}
