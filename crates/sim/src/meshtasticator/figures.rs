//! What a run comes to, by the reference's definitions.

/// Counters of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Messages; acknowledgements of direct messages are messages too.
    pub messages: u64,
    /// Transmissions that started.
    pub transmissions: u64,
    /// Pairs of packet and node that the link budget lets hear it, fixed when the packet is made; without those whose node was
    /// transmitting when the packet started, and without packets that were not sent in the end.
    pub sensed: u64,
    /// Pairs of packet and node where it was lost to another packet.
    pub collided: u64,
    /// Copies received, duplicates and echoes too.
    pub received: u64,
    /// First receptions of a message by a node that did not originate it.
    pub useful: u64,
    /// Packets that were not sent since enough copies had been heard.
    pub dropped: u64,
    /// Own air time of all nodes, ms.
    pub airtime_ms: f64,
    /// Sum over received copies of reception end less creation of the message, ms.
    pub delay_sum_ms: f64,
}

/// The figures that are compared; `None` where one is undefined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// 100 * first receptions / (messages * (nodes - 1)).
    pub reach_pct: Option<f64>,
    /// 100 * first receptions / received copies.
    pub usefulness_pct: Option<f64>,
    /// 100 * collided / sensed.
    pub collision_rate_pct: Option<f64>,
    /// 100 * mean own air time / simulated time.
    pub tx_air_util_pct: Option<f64>,
    /// Mean delay of all received copies, ms.
    pub delay_mean_ms: Option<f64>,
}

/// Names of the figures, as in the files.
pub const NAMES: [&str; 5] =
    ["reach_pct", "usefulness_pct", "collision_rate_pct", "tx_air_util_pct", "delay_mean_ms"];

impl Counters {
    /// The figures of a run of so many nodes and so much simulated time.
    pub fn figures(&self, nodes: usize, simulated_ms: f64) -> Figures {
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let (useful, received) = (self.useful as f64, self.received as f64);
        let pairs = self.messages as f64 * nodes.saturating_sub(1) as f64;
        Figures {
            reach_pct: ratio(100.0 * useful, pairs),
            usefulness_pct: ratio(100.0 * useful, received),
            collision_rate_pct: ratio(100.0 * self.collided as f64, self.sensed as f64),
            tx_air_util_pct: ratio(100.0 * self.airtime_ms, nodes as f64 * simulated_ms),
            delay_mean_ms: ratio(self.delay_sum_ms, received),
        }
    }
}

impl Figures {
    /// In the order of [`NAMES`].
    pub fn values(&self) -> [Option<f64>; 5] {
        [
            self.reach_pct,
            self.usefulness_pct,
            self.collision_rate_pct,
            self.tx_air_util_pct,
            self.delay_mean_ms,
        ]
    }
}
