//! The governor: how much of the local air bulk data may take.
//!
//! The gates (25 % polite, 40 % hard, the region's duty cycle) stand in the router and bind at the moment of
//! sending. The governor keeps bulk far below them: symbols and manifests draw on a bucket that fills with a
//! share of the elapsed time. Bulk that is overheard empties the bucket too, since the air is one.

use compotastic_mesh::time::{Duration, Instant};

/// Share of the air for bulk when the channel is as busy as a working mesh usually is, in permille.
pub const SHARE_PERMILLE: u32 = 50;
/// Share when the channel is all but idle.
pub const SHARE_IDLE_PERMILLE: u32 = 120;
/// Share while people talk: what they say waits behind a symbol in so many of a thousand cases.
pub const SHARE_COMPANY_PERMILLE: u32 = 35;
/// While a message crosses the mesh bulk is silent here, so that its next hops find the air free.
const COMPANY_HOLD: Duration = Duration::from_secs(6);
/// People who said something talk for so long.
const COMPANY_FOR: Duration = Duration::from_secs(1800);
/// At and above this utilisation bulk has no share: Meshtastic's polite gate.
const POLITE_PERMILLE: u32 = 250;
/// Up to this utilisation the idle share applies.
const IDLE_PERMILLE: u32 = 80;
/// The bucket holds at most this much air: one burst of a few symbols after a long silence.
const BUCKET_US: i64 = 6_000_000;
/// Debt by own bulk that is remembered: longer than the longest flood of one frame is paid for.
const DEBT_US: i64 = 20_000_000;
/// Debt that bulk of others can make.
const OVERHEARD_DEBT_US: i64 = 1_000_000;

/// Paces bulk by measured air time.
#[derive(Clone, Debug)]
pub struct Governor {
    bucket_us: i64,
    updated: Instant,
    share_permille: u32,
    /// Somebody's message was heard: until then the air is shared with people.
    company_until: Instant,
    /// Their message is still on its way: no bulk until then.
    hold_until: Instant,
}

impl Governor {
    /// Starts with an empty bucket, so that a reboot cannot be used to send more.
    pub fn new(now: Instant) -> Self {
        Self {
            bucket_us: 0,
            updated: now,
            share_permille: SHARE_PERMILLE,
            company_until: Instant::ZERO,
            hold_until: Instant::ZERO,
        }
    }

    /// The share for a channel utilisation: [`SHARE_IDLE_PERMILLE`] on idle air, falling in a straight line to 0
    /// at the polite gate.
    pub fn share_permille(channel_utilization_permille: u16) -> u32 {
        let busy = u32::from(channel_utilization_permille);
        if busy <= IDLE_PERMILLE {
            SHARE_IDLE_PERMILLE
        } else {
            SHARE_IDLE_PERMILLE * POLITE_PERMILLE.saturating_sub(busy) / (POLITE_PERMILLE - IDLE_PERMILLE)
        }
    }

    /// Takes the time that has passed into account at the utilisation measured now.
    pub fn update(&mut self, now: Instant, channel_utilization_permille: u16) {
        let elapsed_us = now.saturating_duration_since(self.updated).as_micros();
        self.updated = now;
        let free = Self::share_permille(channel_utilization_permille);
        self.share_permille = if now < self.company_until { free.min(SHARE_COMPANY_PERMILLE) } else { free };
        let gained = (elapsed_us.min(3_600_000_000) * u64::from(self.share_permille) / 1000) as i64;
        self.bucket_us = (self.bucket_us + gained).min(BUCKET_US);
    }

    /// A message that is neither ours nor a periodic broadcast was heard.
    pub fn handle_company(&mut self, now: Instant) {
        self.company_until = now + COMPANY_FOR;
        // Whoever talks without a break has half of the time at most.
        if now >= self.hold_until + COMPANY_HOLD || self.hold_until == Instant::ZERO {
            self.hold_until = now + COMPANY_HOLD;
        }
    }

    /// Bulk of this node went on the air.
    pub fn spend(&mut self, airtime: Duration) {
        self.bucket_us = (self.bucket_us - airtime.as_micros() as i64).max(-DEBT_US);
    }

    /// Bulk of another was heard: the air is one. But who stands amid several that do not hear each other must have its turn too, so
    /// that this makes no more than a small debt; how busy the channel is shows in the share.
    pub fn overhear(&mut self, airtime: Duration) {
        let left_us = self.bucket_us - airtime.as_micros() as i64;
        // Beside people all bulk that is heard in one place keeps to the one share.
        let debt_us = if self.updated < self.company_until { DEBT_US } else { OVERHEARD_DEBT_US };
        self.bucket_us = self.bucket_us.min(left_us.max(-debt_us));
    }

    /// Time in which the share of the air comes together that so much air time needs.
    pub fn interval(&self, airtime: Duration) -> Duration {
        Duration::from_micros(airtime.as_micros() * 1000 / u64::from(self.share_permille.max(5)))
    }

    /// May one bulk frame go now?
    pub fn allows(&self) -> bool {
        self.bucket_us > 0 && self.updated >= self.hold_until
    }

    /// When [`Self::allows`] turns true if the channel stays as it is.
    pub fn allowed_at(&self) -> Instant {
        let held = self.updated.max(self.hold_until);
        if self.bucket_us > 0 {
            return held;
        }
        let share = u64::from(self.share_permille.max(5));
        held.max(self.updated + Duration::from_micros((1 - self.bucket_us) as u64 * 1000 / share + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_falls_with_utilisation() {
        assert_eq!(Governor::share_permille(0), SHARE_IDLE_PERMILLE);
        assert_eq!(Governor::share_permille(250), 0);
        assert_eq!(Governor::share_permille(1000), 0);
        assert!(Governor::share_permille(150) < Governor::share_permille(100));
    }

    #[test]
    fn bulk_keeps_to_its_share_over_an_hour() {
        let mut governor = Governor::new(Instant::ZERO);
        let symbol = Duration::from_millis(1830);
        let mut sent_us = 0;
        let mut now = Instant::ZERO;
        while now.as_micros() < 3_600_000_000 {
            governor.update(now, 150);
            if governor.allows() {
                governor.spend(symbol);
                sent_us += symbol.as_micros();
            }
            now = now + Duration::from_millis(500);
        }
        let limit = 3_600_000_000 * u64::from(Governor::share_permille(150)) / 1000;
        assert!(sent_us <= limit + symbol.as_micros(), "{sent_us} of {limit}");
        assert!(sent_us >= limit * 9 / 10, "{sent_us} of {limit}");
    }

    #[test]
    fn people_who_talk_have_most_of_the_air() {
        let mut governor = Governor::new(Instant::ZERO);
        governor.handle_company(Instant::ZERO);
        let symbol = Duration::from_secs(2);
        let mut now = Instant::ZERO;
        let mut sent_us = 0;
        while now.as_micros() < 1_800_000_000 {
            governor.update(now, 50);
            if governor.allows() {
                governor.spend(symbol);
                sent_us += symbol.as_micros();
            }
            now = now + Duration::from_millis(500);
        }
        let limit = 1_800_000_000 * u64::from(SHARE_COMPANY_PERMILLE) / 1000;
        assert!(sent_us <= limit + symbol.as_micros() && sent_us >= limit * 8 / 10, "{sent_us} of {limit}");
        governor.update(Instant::ZERO + Duration::from_secs(2000), 50);
        let idle = governor.interval(symbol);
        assert!(idle.as_micros() < 20_000_000, "they have gone: {idle:?}");
    }

    #[test]
    fn bulk_is_silent_while_a_message_crosses_the_mesh() {
        let mut governor = Governor::new(Instant::ZERO);
        let at = |s: u64| Instant::ZERO + Duration::from_secs(s);
        governor.update(at(100), 50);
        assert!(governor.allows());
        governor.handle_company(at(100));
        assert!(!governor.allows());
        assert_eq!(governor.allowed_at(), at(100) + COMPANY_HOLD);
        // Who talks without a break cannot keep it silent for ever.
        let mut silent = 0;
        for second in 101..400 {
            governor.update(at(second), 50);
            governor.handle_company(at(second));
            silent += u64::from(!governor.allows());
        }
        assert!((100..=200).contains(&silent), "{silent} of 300 s");
    }

    #[test]
    fn allowed_at_is_when_it_allows() {
        let mut governor = Governor::new(Instant::ZERO);
        governor.update(Instant::ZERO + Duration::from_secs(1), 100);
        governor.spend(Duration::from_secs(2));
        let at = governor.allowed_at();
        governor.update(at, 100);
        assert!(governor.allows());
    }
}
