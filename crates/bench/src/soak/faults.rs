//! What befalls the radio, and how fast its host is back.

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use serde::Serialize;

use super::cable::Wire;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The radio is started anew, all it held is lost.
    Reboot,
    /// It reads and writes nothing for a while; the mesh side goes on.
    Stall,
    /// Another client takes its place (TCP), or the plug is pulled and put back (serial).
    Kick,
    /// Bytes that nobody sent.
    Garbage,
    /// Bytes get lost both ways.
    DropBytes,
    /// Its queue refuses every packet.
    FullQueue,
    /// Nothing gets through, and nobody is told.
    Cut,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Reboot, Self::Stall, Self::Kick, Self::Garbage, Self::DropBytes, Self::FullQueue, Self::Cut];
}

/// A fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub from: Instant,
    pub until: Instant,
    /// Its measure: bytes of garbage, or bytes lost per million.
    pub amount: u32,
}

/// Draws faults, one after the other.
pub struct Faults {
    draws: Rng,
}

impl Faults {
    pub fn new(draws: Rng) -> Self {
        Self { draws }
    }

    /// The next fault, some time after `now`.
    pub fn next(&mut self, now: Instant) -> Fault {
        let draws = &mut self.draws;
        let kind = Kind::ALL[draws.below(Kind::ALL.len() as u32) as usize];
        let mut between = |least: u32, most: u32| least + draws.below(most - least + 1);
        let from = now + Duration::from_secs(u64::from(between(600, 5400)));
        let (length_s, amount) = match kind {
            Kind::Reboot => (between(8, 40), 0),
            Kind::Stall => (between(20, 600), 0),
            Kind::Kick => (between(1, 20), 0),
            Kind::Garbage => (0, between(10, 3000)),
            Kind::DropBytes => (between(30, 300), between(1000, 50_000)),
            Kind::FullQueue => (between(30, 240), 0),
            Kind::Cut => (between(5, 600), 0),
        };
        Fault { kind, from, until: from + Duration::from_secs(u64::from(length_s)), amount }
    }
}

/// How one kind of fault went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Times that it happened.
    pub count: u64,
    /// Times that the link broke by it: the session had to be opened or asked anew.
    pub broke: u64,
    /// Longest time from its end until the radio was heard again and ready, milliseconds.
    pub back_ms_max: u64,
    /// The sum of those times.
    pub back_ms_sum: u64,
    /// Times that this took more than [`LIMIT_MS`].
    pub late: u64,
}

/// What is promised.
pub const LIMIT_MS: u64 = 60_000;

impl Tally {
    /// Counts one; `back` is the time from its end until the host was back.
    pub fn add(&mut self, back: Duration, broke: bool) {
        let back_ms = back.as_millis();
        self.count += 1;
        self.broke += u64::from(broke);
        self.back_ms_max = self.back_ms_max.max(back_ms);
        self.back_ms_sum += back_ms;
        self.late += u64::from(back_ms > LIMIT_MS);
    }
}

/// Patience of an attempt to open a link that nobody answers.
pub const fn open_patience(wire: Wire) -> Duration {
    match wire {
        Wire::Tcp => Duration::from_secs(8),
        // A port that is not there says so at once.
        Wire::Serial => Duration::from_secs(0),
    }
}
