//! What a hosted node knows of the air: its own counts, and the radio's telemetry where that says more.

use compotastic_mesh::{
    airtime::{ChannelUtilization, DutyCycle},
    router::Gate,
    time::{Duration, Instant},
};

use crate::hosted::RadioTelemetry;

/// Telemetry that is older says nothing of the channel, and stops bulk.
pub const TELEMETRY_FRESH: Duration = Duration::from_secs(300);
const MINUTE_US: u64 = 60_000_000;
const HOUR_US: u64 = 3_600_000_000;

/// A fifth below the polite gate, permille, since the radio may keep a packet longer than is reckoned. Bulk can wait, so it is
/// held to what the air may have become at worst: all of it used since the telemetry. It goes in the seconds after that,
/// and a minute's share of the air fits into them.
const BULK_BELOW_PERMILLE: u64 = 200;
/// All but alerts and bulk: half of the hard gate. What people wait for cannot wait for telemetry; what is known of the air
/// lags behind what it is.
pub(crate) const NORMAL_BELOW_PERMILLE: u64 = 200;
/// What was on the air before the start has left the window of the channel utilisation by then.
const ASSUMED_FOR: Duration = Duration::from_micros(MINUTE_US);

/// The latest telemetry, and what was counted since.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    telemetry: RadioTelemetry,
    counted_us: u64,
    own_us: u64,
}

/// Counts and telemetry.
#[derive(Debug)]
pub(crate) struct AirBook {
    /// What was handed over or passed on to us in the last minute.
    counted: ChannelUtilization,
    /// What was handed over in the last hour, times the sends that it may take.
    own: DutyCycle,
    limit_permille: u16,
    told: Option<Told>,
    /// Until then what is counted holds what nobody knows: [`Self::assume_busy`].
    assumed_until: Instant,
}

impl AirBook {
    pub(crate) fn new(limit_permille: u16) -> Self {
        Self {
            counted: ChannelUtilization::default(),
            own: DutyCycle::new(),
            limit_permille,
            told: None,
            assumed_until: Instant::ZERO,
        }
    }

    /// What was on the air before is not known: until it is past, the channel counts as busy for all but alerts.
    pub(crate) fn assume_busy(&mut self, now: Instant) {
        let used_us = NORMAL_BELOW_PERMILLE * MINUTE_US / 1000;
        self.counted.record(now, Duration::from_micros(used_us));
        self.assumed_until = now + ASSUMED_FOR;
    }

    /// What is on the air is known: the first minute is over, or the radio has told.
    pub(crate) fn is_known(&self, now: Instant) -> bool {
        now >= self.assumed_until || self.is_fresh(now)
    }

    /// So much was sent in the hour before the start.
    pub(crate) fn assume_spent(&mut self, now: Instant, airtime: Duration) {
        self.own.record(now, airtime);
    }

    /// Own air time of the last hour, microseconds.
    pub(crate) fn own_us(&self, now: Instant) -> u64 {
        self.own_us_with(now, Duration::ZERO)
    }

    pub(crate) fn handle_heard(&mut self, now: Instant, airtime: Duration) {
        self.counted.record(now, airtime);
        if let Some(told) = &mut self.told {
            told.counted_us = told.counted_us.saturating_add(airtime.as_micros());
        }
    }

    pub(crate) fn handle_submitted(&mut self, now: Instant, airtime: Duration, sends: u8) {
        let airtime = times(airtime, sends);
        self.handle_heard(now, airtime);
        self.own.record(now, airtime);
        if let Some(told) = &mut self.told {
            told.own_us = told.own_us.saturating_add(airtime.as_micros());
        }
    }

    pub(crate) fn handle_telemetry(&mut self, now: Instant, telemetry: RadioTelemetry) {
        self.told = Some(Told { at: now, telemetry, counted_us: 0, own_us: 0 });
    }

    pub(crate) fn forget_telemetry(&mut self) {
        self.told = None;
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.told.is_some_and(|told| now.saturating_duration_since(told.at) < TELEMETRY_FRESH)
    }

    /// Channel utilisation, permille: the larger of what was counted here in the last minute, and what the telemetry told
    /// with what was counted since. What it told passes bit by bit, but what takes its place is not known.
    pub(crate) fn utilization(&self, now: Instant) -> u64 {
        self.utilization_with(now, Duration::ZERO)
    }

    fn utilization_with(&self, now: Instant, more: Duration) -> u64 {
        self.utilization_of(now, more, u64::from(self.counted.permille_with(now, more)))
    }

    /// The same without what is assumed of the time before the start.
    pub(crate) fn known_utilization(&self, now: Instant) -> u64 {
        self.known_utilization_with(now, Duration::ZERO)
    }

    fn known_utilization_with(&self, now: Instant, more: Duration) -> u64 {
        let assumed = if now < self.assumed_until { NORMAL_BELOW_PERMILLE } else { 0 };
        let counted = u64::from(self.counted.permille_with(now, more)).saturating_sub(assumed);
        self.utilization_of(now, more, counted)
    }

    fn utilization_of(&self, now: Instant, more: Duration, counted: u64) -> u64 {
        let Some(told) = self.told.filter(|_| self.is_fresh(now)) else { return counted };
        let since_us = told.counted_us.saturating_add(more.as_micros());
        // Of what was counted since, only the last minute is still of this minute.
        let since = (since_us.saturating_mul(1000) / MINUTE_US).min(counted);
        counted.max(u64::from(told.telemetry.channel_utilization_permille) + since).min(1000)
    }

    /// The most that the channel utilisation can be after so much time, permille, with `more`; none without telemetry.
    fn utilization_at_worst(&self, now: Instant, later: Duration, more: Duration) -> Option<u64> {
        let told = self.told?;
        let age = (now + later).saturating_duration_since(told.at).as_micros() + more.as_micros();
        let since = age.min(MINUTE_US) * 1000 / MINUTE_US;
        Some(u64::from(told.telemetry.channel_utilization_permille) + since)
    }

    /// Own air time of the last hour with `more`, microseconds: the larger of what was handed over, and what the radio told,
    /// its relays and its own broadcasts among it, with what was handed over since.
    fn own_us_with(&self, now: Instant, more: Duration) -> u64 {
        let counted_us = self.own.spent_us(now, more);
        let within_hour = |told: &Told| now.saturating_duration_since(told.at).as_micros() < HOUR_US;
        let told_us = self.told.filter(within_hour).map_or(0, |told| {
            HOUR_US / 1000 * u64::from(told.telemetry.air_util_tx_permille) + told.own_us + more.as_micros()
        });
        counted_us.max(told_us)
    }

    /// Whether a packet keeps to the region's duty cycle. As in the firmware, bulk has half of it.
    pub(crate) fn within_duty_cycle(&self, now: Instant, gate: Gate, airtime: Duration, sends: u8) -> bool {
        let limit_us = match (self.limit_permille, gate) {
            (1000.., _) => u64::MAX,
            (limit, Gate::Bulk) => HOUR_US / 2000 * u64::from(limit),
            (limit, _) => HOUR_US / 1000 * u64::from(limit),
        };
        self.own_us_with(now, times(airtime, sends)) <= limit_us
    }

    /// Whether a packet may be handed over that will have left after `leaves`.
    pub(crate) fn allows(
        &self,
        now: Instant,
        gate: Gate,
        airtime: Duration,
        sends: u8,
        leaves: Duration,
    ) -> bool {
        let within = self.within_duty_cycle(now, gate, airtime, sends);
        let airtime = times(airtime, sends);
        let passes = match gate {
            Gate::Bulk => self
                .utilization_at_worst(now, leaves, airtime)
                .is_some_and(|utilization| utilization < BULK_BELOW_PERMILLE),
            Gate::Normal => self.utilization_with(now, airtime) < NORMAL_BELOW_PERMILLE,
            Gate::Alert => true,
        };
        passes && within
    }

    /// Whether a packet that is no bulk waits for nothing but the end of the first minute.
    pub(crate) fn is_starting(&self, now: Instant, airtime: Duration, sends: u8) -> bool {
        now < self.assumed_until
            && self.known_utilization_with(now, times(airtime, sends)) < NORMAL_BELOW_PERMILLE
    }

    /// Time until a packet has left: its sends, the longest window before each, and longer on busy air.
    pub(crate) fn pace(&self, now: Instant, airtime: Duration, sends: u8, slot_us: u64) -> Duration {
        let busy = self.utilization(now).min(900);
        let window_us = slot_us << (3 + 5 * busy / 1000);
        let once_us = (airtime.as_micros() + window_us) * 1000 / (1000 - busy);
        Duration::from_micros(once_us * u64::from(sends))
    }
}

fn times(airtime: Duration, sends: u8) -> Duration {
    Duration::from_micros(airtime.as_micros().saturating_mul(u64::from(sends)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn told(channel_utilization_permille: u16, air_util_tx_permille: u16) -> RadioTelemetry {
        RadioTelemetry { channel_utilization_permille, air_util_tx_permille }
    }

    #[test]
    fn in_the_first_minute_what_is_assumed_is_told_from_what_is_known() {
        let mut air = AirBook::new(1000);
        air.assume_busy(at(0));
        air.handle_heard(at(5), Duration::from_secs(3));
        assert_eq!((air.utilization(at(5)), air.known_utilization(at(5))), (250, 50));
        assert!(!air.is_known(at(5)) && air.is_starting(at(5), SECOND, 1));
        assert!(!air.allows(at(5), Gate::Normal, SECOND, 1, SECOND));
        // Ten sends would not fit the air that is known either.
        assert!(!air.is_starting(at(5), SECOND, 10));
        air.handle_telemetry(at(20), told(90, 0));
        assert!(air.is_known(at(20)) && air.is_starting(at(20), SECOND, 1));
        assert_eq!(air.known_utilization(at(20)), 90);
        air.handle_telemetry(at(30), told(300, 0));
        assert!(!air.is_starting(at(30), SECOND, 1), "the air is full");
        assert!(!air.is_starting(at(60), SECOND, 1) && air.is_known(at(60)));
        assert_eq!(air.known_utilization(at(60)), air.utilization(at(60)));
    }

    #[test]
    fn bulk_goes_in_the_seconds_after_the_telemetry() {
        let mut air = AirBook::new(100);
        assert!(!air.allows(at(0), Gate::Bulk, SECOND, 1, SECOND));
        assert!(air.allows(at(0), Gate::Normal, SECOND, 1, SECOND), "what people wait for goes");
        air.handle_telemetry(at(10), told(50, 0));
        // 150 permille of a minute are left: 9 s, of which two are its own air time and the time until it has left.
        assert!(air.allows(at(16), Gate::Bulk, SECOND, 1, SECOND));
        assert!(!air.allows(at(17), Gate::Bulk, SECOND, 1, SECOND));
        assert!(!air.allows(at(10), Gate::Bulk, SECOND, 1, Duration::from_secs(8)), "others go before it");
        assert!(air.allows(at(70), Gate::Normal, SECOND, 1, SECOND));
        air.handle_telemetry(at(80), told(0, 0));
        air.forget_telemetry();
        assert!(!air.allows(at(80), Gate::Bulk, SECOND, 1, SECOND), "the radio was started anew");
    }

    #[test]
    fn what_was_told_counts_with_what_came_since_and_not_twice() {
        let mut air = AirBook::new(1000);
        air.handle_heard(at(0), Duration::from_secs(3));
        assert_eq!(air.utilization(at(1)), 50);
        air.handle_telemetry(at(1), told(60, 0));
        assert_eq!(air.utilization(at(2)), 60, "the three seconds are in it");
        air.handle_submitted(at(3), Duration::from_secs(1), 3);
        assert_eq!(air.utilization(at(4)), 110);
        // A quarter of a minute of the air, and telemetry that is one minute old: it stands.
        assert_eq!(air.utilization(at(70)), 60);
        assert_eq!(air.utilization(at(301)), 0, "until it is too old");
    }

    #[test]
    fn gates_hold_back_with_the_packet_itself() {
        let mut air = AirBook::new(1000);
        air.handle_telemetry(at(0), told(150, 0));
        assert!(air.allows(at(0), Gate::Bulk, SECOND, 1, SECOND));
        assert!(!air.allows(at(0), Gate::Bulk, SECOND, 2, SECOND), "200 permille with two sends");
        air.handle_telemetry(at(2), told(190, 0));
        assert!(!air.allows(at(2), Gate::Normal, SECOND, 1, SECOND));
        assert!(air.allows(at(2), Gate::Alert, SECOND, 3, SECOND));
    }

    #[test]
    fn the_duty_cycle_counts_each_send_and_believes_the_radio_where_it_says_more() {
        let limit_s = 360;
        let mut air = AirBook::new(100);
        for index in 0..100 {
            air.handle_submitted(at(index * 10), SECOND, 3);
        }
        let left = |air: &AirBook, now: Instant, gate| {
            (1..=limit_s)
                .rev()
                .find(|seconds| air.allows(now, gate, Duration::from_secs(*seconds), 1, Duration::ZERO))
        };
        assert_eq!(left(&air, at(1100), Gate::Alert), Some(limit_s - 300));
        air.handle_telemetry(at(1200), told(0, 90));
        assert_eq!(left(&air, at(1200), Gate::Alert), Some(36), "324 s says the radio");
        assert_eq!(left(&air, at(1200), Gate::Bulk), None, "bulk has half");
        air.handle_submitted(at(1300), SECOND, 1);
        assert_eq!(left(&air, at(1300), Gate::Alert), Some(35));
        air.handle_telemetry(at(1400), told(0, 10));
        assert_eq!(left(&air, at(1400), Gate::Alert), Some(limit_s - 301), "the larger of the two");
        assert_eq!(left(&air, at(1400 + 3700), Gate::Alert), Some(limit_s), "an hour heals");
        let mut free = AirBook::new(1000);
        free.handle_telemetry(at(0), told(0, 900));
        assert!(free.allows(at(0), Gate::Alert, Duration::from_secs(3000), 1, SECOND), "no limit, no limit");
    }
}
