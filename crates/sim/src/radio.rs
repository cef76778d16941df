//! The radio: powers, path loss, signal-to-noise ratio. What a receiver makes of it is in [`crate::reception`].

use compotastic_mesh::{
    lora::{Modem, Region},
    rng::Rng,
};

use crate::path_loss::PathLoss;

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

    /// The way from another position to this one.
    pub fn minus(&self, other: &Self) -> Self {
        Self { x_m: self.x_m - other.x_m, y_m: self.y_m - other.y_m }
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
    /// Antenna height at each end, m.
    pub antenna_height_m: f64,
    /// Path loss.
    pub path_loss: PathLoss,
    /// Standard deviation of the shadowing that is fixed per link, dB.
    pub shadowing_db: f64,
    /// Standard deviation of the fading from packet to packet, dB.
    pub fading_db: f64,
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

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Antenna height, m.
    pub height_m: f64,
    /// Antenna gain, dBi.
    pub gain_dbi: f64,
}

/// No link is longer, m.
const FARTHEST_M: f64 = 1e7;

/// Free-space loss of the first metre, then 10 n log10(d).
pub fn log_distance(frequency_hz: f64, exponent: f64) -> PathLoss {
    let reference_db = 20.0 * libm::log10(frequency_hz) - 147.55;
    PathLoss::LogDistance { reference_db, reference_m: 1.0, exponent }
}

/// Power that the usual SX1262 boards give.
const BOARD_POWER_DBM: f64 = 22.0;
/// Fading from packet to packet of a link between nodes that stand still: an assumption.
const FADING_DB: f64 = 1.0;
/// Noise figure of the receiver, dB.
const NOISE_FIGURE_DB: f64 = 6.0;

impl Radio {
    /// Radios of a region: the board's power or the legal maximum, whichever is lower, 2 dBi whips, wooded ground.
    pub fn new(modem: Modem, region: Region) -> Self {
        let frequency_hz = f64::from(region.start_khz() + region.end_khz()) * 500.0;
        Self {
            modem,
            tx_power_dbm: BOARD_POWER_DBM.min(f64::from(region.max_power_dbm())),
            antenna_gain_dbi: 2.0,
            antenna_height_m: 2.0,
            path_loss: log_distance(frequency_hz, 3.4),
            shadowing_db: 3.0,
            fading_db: FADING_DB,
            frequency_hz,
        }
    }

    /// Thermal noise in the bandwidth and the receiver's noise figure, dBm.
    pub fn noise_floor_dbm(&self) -> f64 {
        -174.0 + 10.0 * libm::log10(f64::from(self.modem.bandwidth_hz)) + NOISE_FIGURE_DB
    }

    /// Loss between two ends.
    pub fn path_loss_db(&self, distance_m: f64, from: End, to: End) -> f64 {
        self.path_loss.loss_db(distance_m, self.frequency_hz, from.height_m, to.height_m)
    }

    /// An end with the usual antenna.
    pub fn end(&self) -> End {
        End { height_m: self.antenna_height_m, gain_dbi: self.antenna_gain_dbi }
    }

    /// Signal over a distance with extra loss (shadowing), between usual antennas.
    pub fn signal(&self, distance_m: f64, extra_loss_db: f64) -> Signal {
        self.signal_between(distance_m, extra_loss_db, self.end(), self.end())
    }

    /// Signal at `to` of what `from` sends.
    pub fn signal_between(&self, distance_m: f64, extra_loss_db: f64, from: End, to: End) -> Signal {
        let rssi_dbm = self.tx_power_dbm + (from.gain_dbi + to.gain_dbi)
            - self.path_loss_db(distance_m, from, to)
            - extra_loss_db;
        Signal {
            rssi_qdbm: libm::round(rssi_dbm * 4.0) as i32,
            snr_qdb: libm::round((rssi_dbm - self.noise_floor_dbm()) * 4.0) as i32,
        }
    }

    /// A signal that is so far above the noise.
    pub fn signal_of_snr(&self, snr_db: f64) -> Signal {
        let snr_qdb = libm::round(snr_db * 4.0) as i32;
        Signal { rssi_qdbm: snr_qdb + libm::round(self.noise_floor_dbm() * 4.0) as i32, snr_qdb }
    }

    /// The distance at which the SNR is `margin_db` above the demodulation floor, without shadowing, metres, between usual
    /// antennas.
    pub fn range_m(&self, margin_db: f64) -> f64 {
        self.range_between_m(margin_db, self.end(), self.end())
    }

    /// The same between two ends; by bisection, since every model's loss grows with distance.
    pub fn range_between_m(&self, margin_db: f64, from: End, to: End) -> f64 {
        let floor_db = f64::from(self.modem.snr_limit_qdb()) / 4.0;
        let budget_db =
            self.tx_power_dbm + from.gain_dbi + to.gain_dbi - self.noise_floor_dbm() - floor_db - margin_db;
        let (mut near, mut far) = (1.0, FARTHEST_M);
        for _ in 0..64 {
            let middle = libm::sqrt(near * far);
            if self.path_loss_db(middle, from, to) <= budget_db { near = middle } else { far = middle }
        }
        near
    }
}

/// Shadows are no deeper, and no brighter, than this many standard deviations.
pub const SHADOW_MAX: f64 = 6.0;

/// Shadows change over this distance, metres (M. Gudmundson, "Correlation model for shadow fading in mobile radio systems", 1991: tens
/// of metres in a town, hundreds in the open).
const SHADOW_LENGTH_M: f64 = 100.0;

/// Shadowing of a link, dB: Gaussian, the same both ways, fixed by seed and node pair while both stand still. Each end comes with
/// how far it has moved since it was added: over [`SHADOW_LENGTH_M`] of that, taken together, the shadow becomes another.
pub fn shadowing_db(seed: &Rng, a: (usize, Position), b: (usize, Position), deviation_db: f64) -> f64 {
    let (low, high) = if a.0 <= b.0 { (a, b) } else { (b, a) };
    let seed = seed.child((low.0 as u64) << 32 | high.0 as u64);
    let moved = high.1.minus(&low.1);
    let (x, y) = (moved.x_m / SHADOW_LENGTH_M, moved.y_m / SHADOW_LENGTH_M);
    if (x, y) == (0.0, 0.0) {
        return normal(&mut seed.clone()) * deviation_db;
    }
    // Values at the corners of a lattice, mixed so that the deviation stays what it is.
    let (west, south) = (libm::floor(x), libm::floor(y));
    let (east_share, north_share) = (x - west, y - south);
    let (mut sum, mut squares) = (0.0, 0.0);
    for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
        let share = |at: f64, share: f64| if at > 0.0 { share } else { 1.0 - share };
        let weight = share(dx, east_share) * share(dy, north_share);
        let (column, row) = ((west + dx) as i64, (south + dy) as i64);
        let mut corner =
            if (column, row) == (0, 0) { seed.clone() } else { seed.child(column as u64).child(row as u64) };
        sum += weight * normal(&mut corner);
        squares += weight * weight;
    }
    sum / libm::sqrt(squares) * deviation_db
}

/// Normally distributed: the sum of twelve uniforms, Gaussian enough (Irwin-Hall), and no transcendental function.
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let sum: f64 = (0..12).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX)).sum();
    sum - 6.0
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
    }

    #[test]
    fn shadowing_is_the_same_both_ways() {
        let seed = Rng::from_seed(4);
        let still = Position { x_m: 0.0, y_m: 0.0 };
        let walked = Position { x_m: 130.0, y_m: -77.0 };
        let of = |a, b| shadowing_db(&seed, a, b, 3.0);
        assert_eq!(of((3, still), (9, still)), of((9, still), (3, still)));
        assert_eq!(of((3, walked), (9, still)), of((9, still), (3, walked)));
        assert_ne!(of((3, walked), (9, still)), of((9, still), (3, still)));
        assert_eq!(of((3, walked), (9, walked)), of((3, still), (9, still)), "together");
        for end in [still, walked] {
            let all: Vec<f64> = (1..2000).map(|b| of((0, still), (b, end))).collect();
            let mean = all.iter().sum::<f64>() / 1999.0;
            let deviation = (all.iter().map(|one| one * one).sum::<f64>() / 1999.0).sqrt();
            assert!(mean.abs() < 0.3 && (deviation - 3.0).abs() < 0.2, "{mean} {deviation}");
        }
    }

    #[test]
    fn shadows_change_little_by_little() {
        let seed = Rng::from_seed(5);
        let at = |x_m: f64| {
            let moved = Position { x_m, y_m: x_m / 3.0 };
            shadowing_db(&seed, (0, moved), (1, Position { x_m: 0.0, y_m: 0.0 }), 6.0)
        };
        let largest = (0..5000)
            .map(|metre| (at(f64::from(metre) + 1.0) - at(f64::from(metre))).abs())
            .fold(0.0, f64::max);
        assert!(largest < 0.5, "{largest} dB within a metre");
    }
}
