//! The radio: path loss, signal-to-noise ratio, and the chance that a packet is demodulated.

use compotastic_mesh::{
    lora::{Modem, Region},
    rng::Rng,
};

/// Position in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// East.
    pub x_m: f64,
    /// North.
    pub y_m: f64,
}

impl Position {
    /// Distance to another position, metres, at least 1.
    pub fn distance_m(&self, other: &Self) -> f64 {
        let (dx, dy) = (self.x_m - other.x_m, self.y_m - other.y_m);
        libm::sqrt(dx * dx + dy * dy).max(1.0)
    }
}

/// Powers and losses that are the same for all nodes.
#[derive(Clone, Debug)]
pub struct Radio {
    /// Modulation.
    pub modem: Modem,
    /// Transmit power, dBm.
    pub tx_power_dbm: f64,
    /// Antenna gain at each end, dBi.
    pub antenna_gain_dbi: f64,
    /// Exponent of the log-distance model: 2 in free space, 3 to 4 over wooded ground.
    pub path_loss_exponent: f64,
    /// Standard deviation of the shadowing that is fixed per link, dB.
    pub shadowing_db: f64,
    /// Carrier frequency, Hz.
    pub frequency_hz: f64,
}

/// Signal at the receiving end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Received power, quarter dBm.
    pub rssi_qdbm: i32,
    /// Signal-to-noise ratio, quarter dB.
    pub snr_qdb: i32,
}

/// Power that the usual SX1262 boards give.
const BOARD_POWER_DBM: f64 = 22.0;
/// Noise figure of the receiver, dB.
const NOISE_FIGURE_DB: f64 = 6.0;

impl Radio {
    /// Radios of a region: the board's power or the legal maximum, whichever is lower, 2 dBi whips, wooded ground.
    pub fn new(modem: Modem, region: Region) -> Self {
        Self {
            modem,
            tx_power_dbm: BOARD_POWER_DBM.min(f64::from(region.max_power_dbm())),
            antenna_gain_dbi: 2.0,
            path_loss_exponent: 3.4,
            shadowing_db: 3.0,
            frequency_hz: f64::from(region.start_khz() + region.end_khz()) * 500.0,
        }
    }

    /// Thermal noise in the bandwidth and the receiver's noise figure, dBm.
    pub fn noise_floor_dbm(&self) -> f64 {
        -174.0 + 10.0 * libm::log10(f64::from(self.modem.bandwidth_hz)) + NOISE_FIGURE_DB
    }

    /// Free-space loss of the first metre, then 10 n log10(d).
    pub fn path_loss_db(&self, distance_m: f64) -> f64 {
        let first_metre = 20.0 * libm::log10(self.frequency_hz) - 147.55;
        first_metre + 10.0 * self.path_loss_exponent * libm::log10(distance_m)
    }

    /// Signal over a distance with extra loss (shadowing).
    pub fn signal(&self, distance_m: f64, extra_loss_db: f64) -> Signal {
        let rssi_dbm =
            self.tx_power_dbm + 2.0 * self.antenna_gain_dbi - self.path_loss_db(distance_m) - extra_loss_db;
        Signal {
            rssi_qdbm: libm::round(rssi_dbm * 4.0) as i32,
            snr_qdb: libm::round((rssi_dbm - self.noise_floor_dbm()) * 4.0) as i32,
        }
    }

    /// The distance at which the SNR is `margin_db` above the demodulation floor, without shadowing, metres.
    pub fn range_m(&self, margin_db: f64) -> f64 {
        let floor_db = f64::from(self.modem.snr_limit_qdb()) / 4.0;
        let budget_db =
            self.tx_power_dbm + 2.0 * self.antenna_gain_dbi - self.noise_floor_dbm() - floor_db - margin_db;
        let first_metre = self.path_loss_db(1.0);
        libm::pow(10.0, (budget_db - first_metre) / (10.0 * self.path_loss_exponent))
    }

    /// Chance in millionths that a packet of this SNR is demodulated without interference.
    ///
    /// A stated assumption: a logistic curve, one half at the demodulation floor, 97 % 2 dB above it, 3 % 2 dB below.
    /// LoRa's own waterfall is about 1 dB wide; the rest stands for the fading of a link from packet to packet. The
    /// floor is Semtech's (SX1262 datasheet, table 6-1: -7.5 dB at SF 7, 2.5 dB less per step); the length of the packet
    /// does not matter.
    pub fn reception_ppm(&self, snr_qdb: i32) -> u32 {
        let above_db = f64::from(snr_qdb - i32::from(self.modem.snr_limit_qdb())) / 4.0;
        libm::round(1e6 / (1.0 + libm::exp(-above_db / 0.57))) as u32
    }
}

/// Shadows are no deeper, and no brighter, than this many standard deviations.
pub const SHADOW_MAX: f64 = 6.0;

/// Shadowing of a link, dB: Gaussian, the same both ways, fixed by seed and node pair.
pub fn shadowing_db(seed: &Rng, a: usize, b: usize, deviation_db: f64) -> f64 {
    let (low, high) = (a.min(b) as u64, a.max(b) as u64);
    let mut rng = seed.child(low << 32 | high);
    // Sum of twelve uniforms: Gaussian enough (Irwin-Hall), and no transcendental function.
    let sum: f64 = (0..12).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX)).sum();
    (sum - 6.0) * deviation_db
}

#[cfg(test)]
mod tests {
    use super::*;
    use compotastic_mesh::lora::Preset;

    #[test]
    fn figures_of_the_link_budget() {
        let radio = Radio::new(Preset::LongFast.modem(false), Region::Eu868);
        // kTB + NF: -174 + 54 + 6.
        assert!((radio.noise_floor_dbm() + 114.0).abs() < 0.1);
        let range = radio.range_m(0.0);
        let at_range = radio.signal(range, 0.0);
        assert!((at_range.snr_qdb - i32::from(radio.modem.snr_limit_qdb())).abs() <= 1);
        assert!((radio.reception_ppm(at_range.snr_qdb) as i64 - 500_000).abs() < 110_000);
        assert!(radio.reception_ppm(at_range.snr_qdb + 8) > 960_000);
    }

    #[test]
    fn shadowing_is_the_same_both_ways() {
        let seed = Rng::from_seed(4);
        assert_eq!(shadowing_db(&seed, 3, 9, 3.0), shadowing_db(&seed, 9, 3, 3.0));
        let mean: f64 = (1..2000).map(|b| shadowing_db(&seed, 0, b, 3.0)).sum::<f64>() / 2000.0;
        assert!(mean.abs() < 0.3);
    }
}
