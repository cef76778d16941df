//! The checker that stands apart from the nodes: it reads what is on the air with the channel keys, sorts it, and counts
//! air time, channel utilisation, duty cycle, and transmissions that should have been held back.
//!
//! Nothing here trusts what a node says of itself. A transmission is *originated* when the header names its sender as
//! the origin (repetitions by the origin included), or when nobody had this packet on the air in the last hour, so that
//! a packet under a false name is not taken for a relayed one.

use std::collections::{HashMap, VecDeque};

use compotastic_mesh::{
    crypto::Channel,
    packet::{Header, NodeNum},
    time::{Duration, Instant},
};

use crate::classify::sort;
pub use crate::classify::{Category, Sorted, Traffic};

/// Sums of some traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Transmissions.
    pub transmissions: u64,
    /// Frame bytes.
    pub bytes: u64,
    /// Air time, microseconds.
    pub airtime_us: u64,
}

impl Sum {
    fn add(&mut self, bytes: usize, airtime_us: u64) {
        self.transmissions += 1;
        self.bytes += bytes as u64;
        self.airtime_us += airtime_us;
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            transmissions: self.transmissions + other.transmissions,
            bytes: self.bytes + other.bytes,
            airtime_us: self.airtime_us + other.airtime_us,
        }
    }
}

/// Whose packet was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The sender's own, repetitions included.
    Originated,
    /// Another node's.
    Relayed,
}

/// What one node did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSums {
    /// Its own packets.
    pub originated: Sum,
    /// Packets of others.
    pub relayed: Sum,
    /// Largest own air time in any 3600 s, microseconds.
    pub max_hour_us: u64,
    /// Largest sum of own and heard air time in any 60 s, microseconds.
    pub max_minute_us: u64,
    /// Own packets sent above their gate.
    pub over_gate: u64,
}

#[derive(Debug, Default)]
struct NodeBook {
    /// Ends and lengths of all that was sent or heard in the last 60 s.
    minute: VecDeque<(Instant, u64)>,
    minute_us: u64,
    /// Ends and lengths of own transmissions of which a part lies in the last 3600 s.
    hour: VecDeque<(Instant, u64)>,
    hour_us: u64,
    sums: NodeSums,
    excused_until: Instant,
}

const MINUTE_US: u64 = 60_000_000;
const HOUR_US: u64 = 3_600_000_000;

fn pop_front_if<T: Copy>(queue: &mut VecDeque<T>, condition: impl Fn(&T) -> bool) -> Option<T> {
    let found = queue.front().copied().filter(condition)?;
    queue.pop_front();
    Some(found)
}

impl NodeBook {
    fn forget(&mut self, now: Instant) {
        let old = |end: &Instant| now.saturating_duration_since(*end).as_micros() >= MINUTE_US;
        while let Some((_, airtime_us)) = pop_front_if(&mut self.minute, |(end, _)| old(end)) {
            self.minute_us -= airtime_us;
        }
    }

    /// A frame is counted whole, when it ends, for the 60 s that follow, as a node itself can measure it.
    fn count(&mut self, end: Instant, airtime_us: u64) {
        // A frame may end at the very instant at which an own one, booked with its end, begins.
        let later = self.minute.iter().rev().take_while(|(other, _)| *other > end).count();
        self.minute.insert(self.minute.len() - later, (end, airtime_us));
        self.minute_us += airtime_us;
        self.sums.max_minute_us = self.sums.max_minute_us.max(self.minute_us);
    }

    /// Own air time in the 3600 s up to the end of a transmission. The largest sum over any window is reached by a
    /// window that ends with a transmission, so looking there is exact.
    fn count_own(&mut self, end: Instant, airtime_us: u64) {
        self.hour.push_back((end, airtime_us));
        self.hour_us += airtime_us;
        let window_start_us = end.as_micros().saturating_sub(HOUR_US);
        while let Some((_, gone_us)) =
            pop_front_if(&mut self.hour, |(end, _)| end.as_micros() <= window_start_us)
        {
            self.hour_us -= gone_us;
        }
        let cut_us = self.hour.front().map_or(0, |(end, airtime_us)| {
            window_start_us.saturating_sub(end.as_micros().saturating_sub(*airtime_us))
        });
        if end >= self.excused_until {
            self.sums.max_hour_us = self.sums.max_hour_us.max(self.hour_us - cut_us);
        }
    }
}

/// Packets that were on the air within the last hour.
#[derive(Debug, Default)]
struct OnAir {
    /// When each was last on the air.
    known: HashMap<(NodeNum, u32), Instant>,
    order: VecDeque<(Instant, (NodeNum, u32))>,
}

impl OnAir {
    /// True if the packet is new.
    fn insert(&mut self, now: Instant, header: &Header) -> bool {
        let old = |at: Instant| now.saturating_duration_since(at).as_micros() >= HOUR_US;
        while let Some((_, packet)) = pop_front_if(&mut self.order, |(at, _)| old(*at)) {
            // One that was on the air again since, such as by a replay, is known for an hour from then.
            if self.known.get(&packet).is_some_and(|last| old(*last)) {
                self.known.remove(&packet);
            }
        }
        let packet = (header.from, header.id.0);
        self.order.push_back((now, packet));
        self.known.insert(packet, now).is_none()
    }
}

/// The books of all nodes.
pub struct Ledger {
    channels: Vec<Channel>,
    numbers: Vec<NodeNum>,
    nodes: Vec<NodeBook>,
    on_air: OnAir,
    sums: [[Sum; 2]; Category::ALL.len()],
    bin: Duration,
    bins: Vec<[u64; Traffic::ALL.len()]>,
    /// Per bin: the most own and heard air time of a node in any 60 s that end in the bin, microseconds, and that node.
    busiest: Vec<(u64, usize)>,
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
            on_air: OnAir::default(),
            sums: Default::default(),
            bin,
            bins: Vec::new(),
            busiest: Vec::new(),
            over_gate_first: None,
        }
    }

    pub(crate) fn add_node(&mut self) {
        self.nodes.push(NodeBook::default());
    }

    /// Sorts a frame with the keys of these books.
    pub fn sort(&self, frame: &[u8]) -> Sorted {
        sort(&self.channels, frame)
    }

    /// What this node does until then is not held against it: its clock was set.
    pub fn excuse(&mut self, node: usize, until: Instant) {
        if let Some(book) = self.nodes.get_mut(node) {
            book.excused_until = book.excused_until.max(until);
        }
    }

    /// Number of a node.
    pub fn number(&self, node: usize) -> NodeNum {
        self.numbers.get(node).copied().unwrap_or_default()
    }

    /// Channels whose keys these books have.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Width of the bins over time.
    pub fn bin(&self) -> Duration {
        self.bin
    }

    /// Books what a node has sent or heard.
    fn count(&mut self, node: usize, end: Instant, airtime: Duration) {
        let book = &mut self.nodes[node];
        book.count(end, airtime.as_micros());
        let minute_us = book.minute_us;
        let bin = (end.as_micros() / self.bin.as_micros().max(1)) as usize;
        if self.busiest.len() <= bin {
            self.busiest.resize(bin + 1, (0, 0));
        }
        if minute_us > self.busiest[bin].0 {
            self.busiest[bin] = (minute_us, node);
        }
    }

    /// A transmission begins.
    pub(crate) fn handle_transmit(&mut self, now: Instant, node: usize, frame: &[u8], airtime: Duration) {
        let Sorted { category, alert } = self.sort(frame);
        let airtime_us = airtime.as_micros();
        // What is no packet at all is nobody's but the sender's.
        let originated = Header::parse(frame).is_none_or(|header| {
            let new = self.on_air.insert(now, &header);
            new || self.numbers.get(node) == Some(&header.from)
        });
        let book = &mut self.nodes[node];
        book.forget(now);
        let used_us = book.minute_us + airtime_us;
        let limit_us = match (alert, category.is_bulk()) {
            (true, _) => u64::MAX,
            (_, true) => MINUTE_US / 4,
            _ => MINUTE_US / 5 * 2,
        };
        if originated && used_us >= limit_us && now >= book.excused_until {
            book.sums.over_gate += 1;
            self.over_gate_first.get_or_insert_with(|| {
                format!("node {node} sent {category:?} at {} us with {used_us} us used", now.as_micros())
            });
        }
        let origin = if originated { Origin::Originated } else { Origin::Relayed };
        match origin {
            Origin::Originated => book.sums.originated.add(frame.len(), airtime_us),
            Origin::Relayed => book.sums.relayed.add(frame.len(), airtime_us),
        }
        book.count_own(now + airtime, airtime_us);
        self.count(node, now + airtime, airtime);
        self.sums[category as usize][origin as usize].add(frame.len(), airtime_us);
        let bin = (now.as_micros() / self.bin.as_micros().max(1)) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, Default::default());
        }
        self.bins[bin][category.traffic() as usize] += airtime_us;
    }

    /// Energy was heard, decoded or not.
    pub(crate) fn handle_heard(&mut self, now: Instant, node: usize, airtime: Duration) {
        self.nodes[node].forget(now);
        self.count(node, now, airtime);
    }

    /// Sums of one group, originated and relayed.
    pub fn sum(&self, traffic: Traffic) -> Sum {
        let of_group = Category::ALL.into_iter().filter(|category| category.traffic() == traffic);
        of_group.fold(Sum::default(), |sum, category| {
            let [originated, relayed] = self.sums[category as usize];
            sum.plus(originated).plus(relayed)
        })
    }

    /// Sums of one category.
    pub fn sum_of(&self, category: Category, origin: Origin) -> Sum {
        self.sums[category as usize][origin as usize]
    }

    /// What one node did.
    pub fn node(&self, node: usize) -> NodeSums {
        self.nodes.get(node).map(|book| book.sums).unwrap_or_default()
    }

    /// All transmissions of all nodes.
    pub fn total(&self) -> Sum {
        self.sums.iter().flatten().fold(Sum::default(), |total, sum| total.plus(*sum))
    }

    /// Air time per bin of one group, microseconds; a transmission belongs to the bin in which it begins.
    pub fn bins(&self, traffic: Traffic) -> Vec<u64> {
        self.bins.iter().map(|bin| bin[traffic as usize]).collect()
    }

    /// Highest channel utilisation of any node in any 60 s that end in each bin, percent, and that node's index.
    pub fn busiest(&self) -> Vec<(f64, usize)> {
        let percent = |us: u64| us as f64 * 100.0 / MINUTE_US as f64;
        self.busiest.iter().map(|(us, node)| (percent(*us), *node)).collect()
    }

    /// Originated transmissions above a gate: bulk at 25 % channel utilisation or more, anything but an alert at 40 % or
    /// more, the transmission itself included.
    pub fn originations_over_gate(&self) -> u64 {
        self.nodes.iter().map(|book| book.sums.over_gate).sum()
    }

    /// The first of them, for people.
    pub fn first_over_gate(&self) -> Option<&str> {
        self.over_gate_first.as_deref()
    }

    /// Highest channel utilisation of any node in any 60 s, percent.
    pub fn max_channel_utilization_pct(&self) -> f64 {
        let highest_us = self.nodes.iter().map(|book| book.sums.max_minute_us).max().unwrap_or(0);
        highest_us as f64 * 100.0 / MINUTE_US as f64
    }

    /// Highest own air time of any node in any 3600 s, percent.
    pub fn max_duty_cycle_pct(&self) -> f64 {
        let highest_us = self.nodes.iter().map(|book| book.sums.max_hour_us).max().unwrap_or(0);
        highest_us as f64 * 100.0 / HOUR_US as f64
    }
}
