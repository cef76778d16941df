//! Whether a frame is received: noise against each section of it, other frames against each symbol of it.
//!
//! Noise: bit error rates of F. Van den Abeele et al., "Scalability analysis of large-scale LoRaWAN networks in ns-3",
//! IEEE Internet of Things Journal 4 (2017), equation 4 and its table of fits: log10(BER) = a exp(b SNR), per spreading factor, for
//! coding rates 4/5 and 4/7. 4/6 is taken as the mean of both logarithms, 4/8 as 4/7. They meet Semtech's sensitivity (1 % of
//! packets of 64 bytes lost, SX1261/2 datasheet table 3-8) within 1 dB at each spreading factor.
//!
//! Other frames of the same modulation: D. Croce et al., "Impact of LoRa Imperfect Orthogonality: Analysis of Link-Level
//! Performance", IEEE Communications Letters 22 (2018), measured that a frame survives what is 1 dB weaker, at each spreading factor. The
//! slope about that figure is an assumption: an overlapped symbol is lost half the time where the other is 1 dB
//! stronger, and 1.73 powers of ten less often per decibel, so that of packets of 60 symbols 1 % are lost at 1 dB.
//! Powers of several others are summed.

use compotastic_mesh::lora::Modem;

use crate::radio::Radio;

/// Fits (a, b) for coding rates 4/5 and 4/7, from spreading factor 7 on.
const FITS: [[(f64, f64); 2]; 6] = [
    [(-30.2580, 0.2857), (-105.1966, 0.3746)],
    [(-77.1002, 0.2993), (-289.8133, 0.3756)],
    [(-244.6424, 0.3223), (-1114.3312, 0.3969)],
    [(-725.9556, 0.3340), (-4285.4440, 0.4116)],
    [(-2109.8064, 0.3407), (-20771.6945, 0.4332)],
    [(-4452.3653, 0.3317), (-98658.1166, 0.4485)],
];

/// Preamble symbols that a receiver needs to lock on a frame (M. Bor et al., "Do LoRa low-power wide-area networks scale?", 2016).
pub const LOCK_SYMBOLS: u16 = 5;
/// Symbols of the header, always at coding rate 4/8 and two bits fewer per symbol.
pub const HEADER_SYMBOLS: u64 = 8;
/// Symbols of sync word and start of frame, quarters.
pub const SYNC_QUARTERS: u64 = 17;
/// Frame by which a link is judged, bytes.
const TYPICAL_FRAME: usize = 64;
/// Symbols over which channel activity is looked for.
const DETECTION_SYMBOLS: f64 = 2.0;
/// SNR range of the tables, quarter dB.
const LOWEST_QDB: i32 = -160;
const HIGHEST_QDB: i32 = 80;

/// What a receiver makes of a signal, for one modulation. Tables by quarter decibels.
#[derive(Clone, Debug)]
pub struct Reception {
    /// Logarithm of the chance that a bit of the payload is right.
    ln_payload_bit: Vec<f64>,
    /// Logarithm of the chance that preamble and header are right.
    ln_lock: Vec<f64>,
    /// Chance that channel activity is detected.
    detection: Vec<f64>,
    /// Chance that a typical frame is received, fading counted in.
    typical: Vec<f64>,
}

fn ln_bit((a, b): (f64, f64), snr_db: f64) -> f64 {
    let ber = libm::pow(10.0, a * libm::exp(b * snr_db));
    libm::log1p(-ber.min(0.5))
}

impl Reception {
    /// Tables for a modulation, and for fading of this standard deviation.
    pub fn new(modem: &Modem, fading_db: f64) -> Self {
        let row = FITS[usize::from(modem.spreading_factor.clamp(7, 12) - 7)];
        let sf = f64::from(modem.spreading_factor);
        let payload = |snr_db: f64| match modem.coding_rate {
            ..=5 => ln_bit(row[0], snr_db),
            6 => {
                let log = |(a, b): (f64, f64)| a * libm::exp(b * snr_db);
                let ber = libm::pow(10.0, (log(row[0]) + log(row[1])) / 2.0);
                libm::log1p(-ber.min(0.5))
            }
            _ => ln_bit(row[1], snr_db),
        };
        let tabulate = |of: &dyn Fn(f64) -> f64| -> Vec<f64> {
            (LOWEST_QDB..=HIGHEST_QDB).map(|qdb| of(f64::from(qdb) / 4.0)).collect()
        };
        let header_bits = HEADER_SYMBOLS as f64 * (sf - 2.0) / 2.0;
        let ln_payload_bit = tabulate(&payload);
        let ln_lock = tabulate(&|snr_db| {
            f64::from(LOCK_SYMBOLS) * sf * ln_bit(row[0], snr_db) + header_bits * ln_bit(row[1], snr_db)
        });
        let detection = tabulate(&|snr_db| libm::exp(DETECTION_SYMBOLS * sf * ln_bit(row[0], snr_db)));
        let mut reception = Self { ln_payload_bit, ln_lock, detection, typical: Vec::new() };
        let steady = |qdb: i32| reception.lock(qdb) * reception.payload(qdb, TYPICAL_FRAME);
        // Seven points of the Gaussian, half a deviation apart at the middle, are enough for a curve over decibels.
        const POINTS: [(f64, f64); 7] = [
            (-3.0, 0.0044),
            (-2.0, 0.054),
            (-1.0, 0.242),
            (0.0, 0.3989),
            (1.0, 0.242),
            (2.0, 0.054),
            (3.0, 0.0044),
        ];
        let whole: f64 = POINTS.iter().map(|(_, weight)| weight).sum();
        let typical = (LOWEST_QDB..=HIGHEST_QDB)
            .map(|qdb| {
                let faded = |at: f64| qdb + libm::round(at * fading_db * 4.0) as i32;
                POINTS.iter().map(|(at, weight)| weight * steady(faded(*at))).sum::<f64>() / whole
            })
            .collect();
        reception.typical = typical;
        reception
    }

    fn at(table: &[f64], snr_qdb: i32) -> f64 {
        table[(snr_qdb.clamp(LOWEST_QDB, HIGHEST_QDB) - LOWEST_QDB) as usize]
    }

    /// Chance that a receiver locks on the preamble and reads the header, noise alone.
    pub fn lock(&self, snr_qdb: i32) -> f64 {
        libm::exp(Self::at(&self.ln_lock, snr_qdb))
    }

    /// Chance that the payload of a frame of so many bytes is right, noise alone.
    pub fn payload(&self, snr_qdb: i32, frame_bytes: usize) -> f64 {
        let ln_bit = Self::at(&self.ln_payload_bit, snr_qdb);
        // The checksum of 16 bits is sent too.
        libm::exp(ln_bit * (8 * frame_bytes + 16) as f64)
    }

    /// Chance that channel activity detection notices a frame.
    pub fn detection(&self, snr_qdb: i32) -> f64 {
        Self::at(&self.detection, snr_qdb)
    }

    /// Chance that a frame of 64 bytes is received, noise and fading counted in: what a link is good for. Millionths.
    pub fn link_ppm(&self, snr_qdb: i32) -> u32 {
        libm::round(Self::at(&self.typical, snr_qdb) * 1e6) as u32
    }

    /// The distance between usual antennas, without shadowing, from which on more frames are lost than received, metres.
    pub fn reach_m(&self, radio: &Radio) -> f64 {
        let even =
            (LOWEST_QDB..HIGHEST_QDB).find(|qdb| self.link_ppm(*qdb) >= 500_000).unwrap_or(HIGHEST_QDB);
        radio.range_m(f64::from(even - i32::from(radio.modem.snr_limit_qdb())) / 4.0)
    }

    /// Chance that so many overlapped symbols are right beside interference that is `sir_db` weaker.
    pub fn survival(symbols: f64, sir_db: f64) -> f64 {
        let symbol_lost = (0.5 * libm::pow(10.0, -1.73 * (sir_db + 1.0))).min(0.5);
        libm::exp(symbols * libm::log1p(-symbol_lost))
    }
}

#[cfg(test)]
mod tests {
    use compotastic_mesh::lora::Preset;

    use super::*;

    fn plain(spreading_factor: u8) -> Reception {
        let modem = Modem { spreading_factor, coding_rate: 5, ..Preset::LongFast.modem(false) };
        Reception::new(&modem, 0.0)
    }

    #[test]
    fn semtech_s_sensitivity_is_met_within_a_decibel() {
        for spreading_factor in 7..=12 {
            let reception = plain(spreading_factor);
            let lost_1_pct =
                (LOWEST_QDB..HIGHEST_QDB).find(|qdb| reception.payload(*qdb, 64) >= 0.99).unwrap();
            let semtech_qdb = -30 - 10 * (i32::from(spreading_factor) - 7);
            assert!(
                (lost_1_pct - semtech_qdb).abs() <= 4,
                "SF {spreading_factor}: {} dB against {} dB",
                f64::from(lost_1_pct) / 4.0,
                f64::from(semtech_qdb) / 4.0
            );
        }
    }

    #[test]
    fn chances_rise_with_the_signal_and_fall_with_the_length() {
        let reception = plain(11);
        for qdb in LOWEST_QDB - 8..HIGHEST_QDB {
            assert!(reception.payload(qdb, 64) <= reception.payload(qdb + 1, 64));
            assert!(reception.payload(qdb, 255) <= reception.payload(qdb, 20));
            assert!(reception.lock(qdb) <= reception.lock(qdb + 1));
            assert!(reception.detection(qdb) <= reception.detection(qdb + 1));
        }
        // A short one passes at times where a long one does not.
        assert!(reception.payload(-76, 20) > 0.8 && reception.payload(-76, 255) < 0.4);
    }

    #[test]
    fn a_better_code_and_fading_do_what_they_should() {
        let coded = |coding_rate| {
            let modem = Modem { coding_rate, ..Preset::LongFast.modem(false) };
            Reception::new(&modem, 0.0)
        };
        let at = |reception: &Reception| reception.payload(-78, 64);
        assert!(at(&coded(5)) < at(&coded(6)) && at(&coded(6)) < at(&coded(8)));
        // Fading helps the weak and hurts the strong.
        let steady = plain(11);
        let faded = Reception::new(&Preset::LongFast.modem(false), 2.0);
        assert!(faded.link_ppm(-84) > steady.link_ppm(-84));
        assert!(faded.link_ppm(-70) < steady.link_ppm(-70));
    }

    #[test]
    fn a_frame_survives_what_is_a_decibel_weaker() {
        assert!((Reception::survival(60.0, 1.0) - 0.99).abs() < 0.003);
        assert!(Reception::survival(60.0, -1.0) < 1e-6);
        assert!(Reception::survival(3.0, 0.0) > 0.9, "a short overlap is worth a try");
        assert_eq!(Reception::survival(0.0, -30.0), 1.0);
    }
}
