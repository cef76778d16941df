//! Manners in one place: what every sender behind one radio passes.
//!
//! The agent's frames, answers to people, texts and the packets of programs that share the radio all take air from the same mesh,
//! and the radio itself gates little of what its client sends. So each packet is asked for here before it is handed over
//! ([`Manners::check`]), and counted when it is ([`Manners::handle_submitted`]):
//!
//! - **Channel utilisation**: no bulk near the polite gate, nothing but alerts near the hard one (`airbook`).
//! - **Duty cycle** of the region over an hour, all senders together, at every send that the radio may make of a packet.
//! - **Bulk share**: background packets of others than the agent draw on a bucket ([`crate::governor`]); the agent has its own.
//! - **Quiet hours**: alerts and what is urgent, nothing else.
//! - **Fairness**: what goes to one peer has an eighth of the hour's air at a time, so that one peer's jobs cannot take all.
//! - **The radio's queue**: as many packets at a time as can be reckoned to find room.
//!
//! Congestion scaling ([`congestion_permille`]) stretches what a node sends on its own account.

use compotastic_mesh::{
    lora::Modem,
    packet::NodeNum,
    router::Gate,
    time::{Duration, Instant},
};
use heapless::Vec;

pub use crate::shares::{Count, PEERS, Purpose, Shares};

use crate::{
    airbook::{AirBook, NORMAL_BELOW_PERMILLE},
    governor::Governor,
    hosted::RadioTelemetry,
};

/// Bulk packets that the radio holds at a time, as far as can be reckoned.
pub const BULK_OUTSTANDING: usize = 2;
/// Packets that the radio holds at a time; its queue has 16 places, and it relays for others.
pub const OUTSTANDING: usize = 6;
/// Channel utilisation from which all but alerts waits behind a stock radio, permille.
pub const HARD_PERMILLE: u16 = NORMAL_BELOW_PERMILLE as u16;
/// Channel utilisation from which bulk can be expected to wait there, permille: what may have come since the telemetry is added to it.
pub const POLITE_PERMILLE: u16 = HARD_PERMILLE / 4 * 3;
/// A peer may have this part of the hour's air at once, and as much again in the course of an hour.
pub(crate) const PEER_PART: u64 = 8;
const HOUR_US: u64 = 3_600_000_000;
/// Nodes online up to which a mesh counts as small, as in the firmware.
const SMALL_MESH: u32 = 40;

/// What holds a packet back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The channel is too busy for bulk.
    Polite,
    /// The channel is too busy for all but alerts.
    Hard,
    /// How busy the channel is nobody knows in the first minute, so all but alerts waits for its end.
    Starting,
    /// The region's duty cycle is used up.
    DutyCycle,
    /// Only alerts and what is urgent goes now.
    QuietHours,
    /// The radio has told nothing of the channel lately, and bulk needs that.
    NoTelemetry,
    /// Bulk has had its share of the air.
    Share,
    /// This peer has had its share of the air.
    Peer,
    /// The radio has as many packets as it should.
    Queue,
    /// The share of the air behind a LAN is used up.
    Lan,
}

impl Hold {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Polite => "polite",
            Self::Hard => "hard",
            Self::Starting => "starting",
            Self::DutyCycle => "duty-cycle",
            Self::QuietHours => "quiet-hours",
            Self::NoTelemetry => "no-telemetry",
            Self::Share => "bulk-share",
            Self::Peer => "peer-share",
            Self::Queue => "queue",
            Self::Lan => "lan-share",
        }
    }

    /// What a person is told.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Polite => {
                "the channel is busy (gate near 20 % behind a stock radio, at 25 % else): background packets wait"
            }
            Self::Hard => {
                "the channel is very busy (gate at 20 % behind a stock radio, at 40 % else): only alerts go"
            }
            Self::Starting => {
                "how busy the channel is nobody knows in the first minute after the start, and only alerts go: try again in a minute"
            }
            Self::DutyCycle => "the region's duty cycle is used up: wait, or send less",
            Self::QuietHours => "quiet hours: only alerts and urgent matters go",
            Self::NoTelemetry => {
                "the radio has not told its channel utilisation for 5 minutes: background packets wait"
            }
            Self::Share => "background packets have had their share of the air: they wait",
            Self::Peer => "this receiver has had its share of the air: try again in some minutes",
            Self::Queue => "the radio's queue is full: try again in some seconds",
            Self::Lan => {
                "the share of the air behind the LAN is used up (2 % of an hour): wait, or send less"
            }
        }
    }
}

/// A packet that wants to go.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What it is for.
    pub purpose: Purpose,
    /// Gate that it belongs to.
    pub gate: Gate,
    /// Goes in quiet hours too.
    pub urgent: bool,
    /// Whose share it takes: who asked for it.
    pub peer: Option<NodeNum>,
    /// Time on air of one send.
    pub airtime: Duration,
    /// Sends that it may take.
    pub sends: u8,
}

/// What is shown of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MannersState {
    /// Channel utilisation as far as it is known, permille.
    pub utilization_permille: u16,
    /// False where it is not: in the first minute behind a stock radio, until that has told.
    pub known: bool,
    /// Utilisation from which bulk waits, permille.
    pub polite_permille: u16,
    /// Utilisation from which all but alerts waits, permille.
    pub hard_permille: u16,
    /// Own air time of the last hour, permille.
    pub own_permille: u16,
    /// What the region allows, permille.
    pub limit_permille: u16,
    /// Share of the air for bulk, permille.
    pub bulk_share_permille: u16,
    /// What holds packets back, if anything does.
    pub hold: Option<Hold>,
}

/// A packet that the radio was given, until it must have left by what can be reckoned.
#[derive(Clone, Copy, Debug)]
struct Submitted {
    bulk: bool,
    gone_at: Instant,
}

/// The governor of one radio.
pub struct Manners {
    modem: Modem,
    limit_permille: u16,
    air: AirBook,
    shares: Shares,
    submitted: Vec<Submitted, OUTSTANDING>,
}

impl Manners {
    /// Nothing of the air is known yet: the channel counts as busy for the first minute.
    pub fn new(modem: Modem, limit_permille: u16, now: Instant) -> Self {
        let mut air = AirBook::new(limit_permille);
        air.assume_busy(now);
        Self {
            modem,
            limit_permille,
            air,
            shares: Shares::new(limit_permille, PEER_PART, now),
            submitted: Vec::new(),
        }
    }

    /// So much was sent in the hour before the start.
    pub fn assume_spent(&mut self, now: Instant, airtime: Duration) {
        self.air.assume_spent(now, airtime);
    }

    /// Own air time of the last hour, for [`Self::assume_spent`] after a restart.
    pub fn spent(&self, now: Instant) -> Duration {
        Duration::from_micros(self.air.own_us(now))
    }

    /// Quiet hours begin or end.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.shares.set_quiet(quiet);
    }

    /// Whether quiet hours are on.
    pub fn is_quiet(&self) -> bool {
        self.shares.is_quiet()
    }

    /// The rules that need no radio, for packets that go past it.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    pub(crate) fn shares_mut(&mut self) -> &mut Shares {
        &mut self.shares
    }

    /// Something was heard.
    pub fn handle_heard(&mut self, now: Instant, airtime: Duration) {
        self.air.handle_heard(now, airtime);
    }

    /// The radio told its device metrics.
    pub fn handle_telemetry(&mut self, now: Instant, telemetry: RadioTelemetry) {
        self.air.handle_telemetry(now, telemetry);
    }

    /// The radio was started anew: what it held is lost, and what it told of the air is past.
    pub fn handle_radio_restarted(&mut self) {
        self.submitted.clear();
        self.air.forget_telemetry();
    }

    /// Channel utilisation as far as it is known, permille.
    pub fn utilization_permille(&self, now: Instant) -> u16 {
        self.air.utilization(now) as u16
    }

    /// The radio told of the channel in the last five minutes.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.air.is_fresh(now)
    }

    /// Forgets what must have left the radio by now.
    pub fn settle(&mut self, now: Instant) {
        self.submitted.retain(|submitted| submitted.gone_at > now);
        let utilization = if self.air.is_fresh(now) { self.air.utilization(now) as u16 } else { 1000 };
        self.shares.update(now, utilization);
    }

    /// Packets that the radio holds, as far as can be reckoned.
    pub fn outstanding(&self) -> usize {
        self.submitted.len()
    }

    /// Bulk packets among them.
    pub fn bulk_outstanding(&self) -> usize {
        self.submitted.iter().filter(|submitted| submitted.bulk).count()
    }

    /// Time until a packet has left that is handed over now: those before it one after the other, each with its window at the
    /// utilisation there is.
    fn leaves(&self, now: Instant, wish: &Wish) -> Duration {
        let ahead = self.submitted.iter().map(|submitted| submitted.gone_at).max().unwrap_or(now);
        ahead.saturating_duration_since(now)
            + self.air.pace(now, wish.airtime, wish.sends, self.modem.slot_us())
    }

    /// May this packet be handed to the radio now?
    pub fn check(&self, now: Instant, wish: &Wish) -> Result<(), Hold> {
        self.shares.check_quiet(wish)?;
        let waiting = self.submitted.iter().filter(|submitted| submitted.gone_at > now);
        let bulk_waiting = waiting.clone().filter(|submitted| submitted.bulk).count();
        if waiting.count() >= OUTSTANDING || wish.gate == Gate::Bulk && bulk_waiting >= BULK_OUTSTANDING {
            return Err(Hold::Queue);
        }
        if !self.air.within_duty_cycle(now, wish.gate, wish.airtime, wish.sends) {
            return Err(Hold::DutyCycle);
        }
        let leaves = self.leaves(now, wish);
        if !self.air.allows(now, wish.gate, wish.airtime, wish.sends, leaves) {
            return Err(match wish.gate {
                Gate::Bulk if !self.air.is_fresh(now) => Hold::NoTelemetry,
                Gate::Bulk => Hold::Polite,
                _ if self.air.is_starting(now, wish.airtime, wish.sends) => Hold::Starting,
                _ => Hold::Hard,
            });
        }
        self.shares.check_bulk(wish)?;
        self.shares.check_peer(now, wish)
    }

    /// The packet is handed to the radio.
    pub fn handle_submitted(&mut self, now: Instant, wish: &Wish) {
        let gone_at = now + self.leaves(now, wish);
        self.submitted.retain(|submitted| submitted.gone_at > now);
        // A packet that was not asked for first finds no room at worst, and is counted all the same.
        let _ = self.submitted.push(Submitted { bulk: wish.gate == Gate::Bulk, gone_at });
        self.air.handle_submitted(now, wish.airtime, wish.sends);
        self.shares.charge(now, wish);
        self.shares.count(wish.purpose, 1, times(wish.airtime, wish.sends));
    }

    /// What is shown.
    pub fn state(&self, now: Instant) -> MannersState {
        let small = Duration::from_micros(self.modem.time_on_air_us(32));
        let utilization = self.air.utilization(now);
        let hold = if !self.air.within_duty_cycle(now, Gate::Normal, small, 1) {
            Some(Hold::DutyCycle)
        } else if self.is_quiet() {
            Some(Hold::QuietHours)
        } else if !self.air.allows(now, Gate::Normal, small, 1, small) {
            Some(if self.air.is_starting(now, small, 1) { Hold::Starting } else { Hold::Hard })
        } else if !self.air.is_fresh(now) {
            Some(Hold::NoTelemetry)
        } else if utilization >= u64::from(POLITE_PERMILLE) {
            Some(Hold::Polite)
        } else {
            None
        };
        MannersState {
            utilization_permille: self.air.known_utilization(now) as u16,
            known: self.air.is_known(now),
            polite_permille: POLITE_PERMILLE,
            hard_permille: HARD_PERMILLE,
            own_permille: (self.air.own_us(now) * 1000 / HOUR_US).min(1000) as u16,
            limit_permille: self.limit_permille,
            bulk_share_permille: if self.air.is_fresh(now) {
                Governor::share_permille(utilization as u16) as u16
            } else {
                0
            },
            hold,
        }
    }
}

fn times(airtime: Duration, sends: u8) -> Duration {
    Duration::from_micros(airtime.as_micros().saturating_mul(u64::from(sends)))
}

/// Factor by which periodic sends are stretched where more than 40 nodes are online, permille: Meshtastic's
/// 1 + (nodes - 40) x 2^SF / (bandwidth in kHz x 100).
pub fn congestion_permille(modem: &Modem, online: u32) -> u32 {
    let more = u64::from(online.saturating_sub(SMALL_MESH));
    let scale = more * ((10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz)) / 1000;
    1000 + scale.min(u64::from(u32::MAX - 1000)) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use compotastic_mesh::lora::Preset;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn manners(limit_permille: u16) -> Manners {
        Manners::new(Preset::LongFast.modem(false), limit_permille, Instant::ZERO)
    }

    fn told(manners: &mut Manners, seconds: u64, channel_utilization_permille: u16, own: u16) {
        let telemetry = RadioTelemetry { channel_utilization_permille, air_util_tx_permille: own };
        manners.handle_telemetry(at(seconds), telemetry);
        manners.settle(at(seconds));
    }

    fn wish(purpose: Purpose, gate: Gate) -> Wish {
        Wish { purpose, gate, urgent: false, peer: None, airtime: SECOND, sends: 1 }
    }

    const TEXT: Purpose = Purpose::Texts;

    #[test]
    fn the_first_minute_is_for_alerts() {
        let manners = manners(100);
        assert_eq!(manners.check(at(1), &wish(TEXT, Gate::Normal)), Err(Hold::Starting));
        assert_eq!(manners.check(at(1), &wish(TEXT, Gate::Alert)), Ok(()));
        let state = manners.state(at(1));
        assert_eq!((state.hold, state.known, state.utilization_permille), (Some(Hold::Starting), false, 0));
        assert_eq!(manners.check(at(61), &wish(TEXT, Gate::Normal)), Ok(()));
        assert_eq!(manners.check(at(61), &wish(TEXT, Gate::Bulk)), Err(Hold::NoTelemetry));
    }

    #[test]
    fn the_figures_in_words_are_those_of_the_gates() {
        let percent = |permille: u16| std::format!("{} %", permille / 10);
        let (polite, hard) = (Hold::Polite.reason(), Hold::Hard.reason());
        assert!(hard.contains(&percent(HARD_PERMILLE)) && polite.contains(&percent(HARD_PERMILLE)));
        assert!(hard.contains(&percent(Gate::Normal.limit_permille())), "{hard}");
        assert!(polite.contains(&percent(Gate::Bulk.limit_permille())), "{polite}");
        let mut manners = manners(1000);
        told(&mut manners, 100, HARD_PERMILLE, 0);
        let state = manners.state(at(100));
        assert_eq!((state.hold, state.hard_permille), (Some(Hold::Hard), HARD_PERMILLE));
        told(&mut manners, 200, POLITE_PERMILLE, 0);
        assert_eq!(manners.state(at(200)).hold, Some(Hold::Polite));
    }

    #[test]
    fn a_busy_channel_holds_bulk_back_first_then_all_but_alerts_and_lets_go() {
        let mut manners = manners(1000);
        let symbol = wish(Purpose::Symbols, Gate::Bulk);
        for (minute, permille, bulk, normal) in [
            (2, 100, Ok(()), Ok(())),
            (4, 185, Err(Hold::Polite), Err(Hold::Hard)),
            (6, 170, Err(Hold::Polite), Ok(())),
            (8, 20, Ok(()), Ok(())),
        ] {
            told(&mut manners, minute * 60, permille, 0);
            assert_eq!(manners.check(at(minute * 60), &symbol), bulk, "{permille}");
            assert_eq!(manners.check(at(minute * 60), &wish(TEXT, Gate::Normal)), normal, "{permille}");
            assert_eq!(manners.check(at(minute * 60), &wish(TEXT, Gate::Alert)), Ok(()));
        }
    }

    #[test]
    fn all_senders_share_one_duty_cycle() {
        let mut manners = manners(10);
        told(&mut manners, 100, 0, 0);
        let mut sent = 0;
        let mut now = 100;
        while now < 3000 {
            told(&mut manners, now, 0, 0);
            let purpose = [TEXT, Purpose::SharedClients, Purpose::Jobs][sent % 3];
            match manners.check(at(now), &wish(purpose, Gate::Normal)) {
                Ok(()) => {
                    manners.handle_submitted(at(now), &wish(purpose, Gate::Normal));
                    sent += 1;
                }
                Err(hold) => assert_eq!(hold, Hold::DutyCycle),
            }
            now += 20;
        }
        assert_eq!(sent, 36, "one percent of an hour");
        assert_eq!(manners.state(at(3000)).hold, Some(Hold::DutyCycle));
        assert_eq!(manners.check(at(3000 + 3700), &wish(TEXT, Gate::Normal)), Ok(()), "an hour heals");
        let by_purpose: std::vec::Vec<u64> =
            manners.shares().counts().map(|(_, count)| count.packets).collect();
        assert_eq!(by_purpose.iter().sum::<u64>(), 36);
        assert_eq!(by_purpose[TEXT as usize], 12);
    }

    #[test]
    fn what_was_sent_before_a_restart_counts() {
        let mut manners = manners(10);
        manners.assume_spent(at(0), Duration::from_secs(36));
        assert_eq!(manners.check(at(100), &wish(TEXT, Gate::Alert)), Err(Hold::DutyCycle));
        assert_eq!(manners.check(at(3700), &wish(TEXT, Gate::Alert)), Ok(()));
        assert_eq!(manners.spent(at(100)), Duration::from_secs(36));
    }

    #[test]
    fn quiet_hours_let_alerts_and_what_is_urgent_through() {
        let mut manners = manners(1000);
        told(&mut manners, 100, 0, 0);
        manners.set_quiet(true);
        assert_eq!(manners.check(at(100), &wish(TEXT, Gate::Normal)), Err(Hold::QuietHours));
        assert_eq!(manners.check(at(100), &wish(TEXT, Gate::Alert)), Ok(()));
        assert_eq!(manners.check(at(100), &Wish { urgent: true, ..wish(TEXT, Gate::Normal) }), Ok(()));
        assert_eq!(manners.state(at(100)).hold, Some(Hold::QuietHours));
        manners.set_quiet(false);
        assert_eq!(manners.check(at(100), &wish(TEXT, Gate::Normal)), Ok(()));
    }

    #[test]
    fn one_peer_cannot_take_all_and_others_go_on() {
        let mut manners = manners(100);
        let to = |num| Wish { peer: Some(NodeNum(num)), ..wish(Purpose::Results, Gate::Normal) };
        let mut sent = 0;
        for step in 0..100 {
            let now = 100 + step * 8;
            told(&mut manners, now, 0, 0);
            if manners.check(at(now), &to(1)) == Ok(()) {
                manners.handle_submitted(at(now), &to(1));
                sent += 1;
            }
        }
        // 45 s at once, and 45 s in an hour.
        assert!((45..=56).contains(&sent), "{sent}");
        told(&mut manners, 900, 0, 0);
        let long = |num| Wish { airtime: Duration::from_secs(5), ..to(num) };
        assert_eq!(manners.check(at(900), &long(1)), Err(Hold::Peer));
        assert_eq!(manners.check(at(900), &long(2)), Ok(()));
        assert_eq!(manners.check(at(900), &Wish { urgent: true, ..long(1) }), Ok(()));
        told(&mut manners, 2700, 0, 0);
        assert_eq!(manners.check(at(2700), &long(1)), Ok(()), "half an hour later");
    }

    #[test]
    fn background_packets_of_others_have_a_share() {
        let mut manners = manners(1000);
        let client = wish(Purpose::SharedClients, Gate::Bulk);
        let mut sent = 0;
        for step in 0..360 {
            let now = 100 + step * 10;
            told(&mut manners, now, 50, 0);
            match manners.check(at(now), &client) {
                Ok(()) => {
                    manners.handle_submitted(at(now), &client);
                    sent += 1;
                }
                Err(hold) => assert_eq!(hold, Hold::Share),
            }
        }
        let share = 3.6 * f64::from(Governor::share_permille(50));
        assert!(f64::from(sent) <= share + 8.0 && sent > 300, "{sent} of {share}");
    }

    #[test]
    fn the_radio_is_given_as_much_as_it_can_hold() {
        let mut manners = manners(1000);
        told(&mut manners, 100, 0, 0);
        for _ in 0..OUTSTANDING {
            assert_eq!(manners.check(at(100), &wish(TEXT, Gate::Alert)), Ok(()));
            manners.handle_submitted(at(100), &wish(TEXT, Gate::Alert));
        }
        assert_eq!(manners.check(at(100), &wish(TEXT, Gate::Alert)), Err(Hold::Queue));
        assert_eq!(manners.check(at(150), &wish(TEXT, Gate::Alert)), Ok(()));
    }

    #[test]
    fn periodic_sends_are_stretched_as_in_the_firmware() {
        let modem = Preset::LongFast.modem(false);
        assert_eq!(congestion_permille(&modem, 12), 1000);
        assert_eq!(congestion_permille(&modem, 40), 1000);
        // LongFast: 0.08192 per node.
        assert_eq!(congestion_permille(&modem, 140), 1000 + 8192);
        assert!(congestion_permille(&modem, u32::MAX) > 1_000_000);
    }
}
