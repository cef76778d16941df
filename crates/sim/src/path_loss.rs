//! Path loss models, all in decibels over metres and hertz.
//!
//! Sources: Friis free-space equation; Hata, "Empirical formula for propagation loss in land mobile radio services", IEEE Trans.
//! Veh. Technol. 29 (1980); 3GPP TR 25.996, macrocell suburban and urban. The log-distance parameters named
//! [`PathLoss::LORA_2016`] are those of Bor et al., "Do LoRa low-power wide-area networks scale?" (2016).

/// A model of the loss between two antennas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PathLoss {
    /// 20 log10(d) + 20 log10(f) - 147.55.
    FreeSpace,
    /// Loss at a reference distance, then 10 n log10(d / reference).
    LogDistance {
        /// Loss at the reference distance, dB.
        reference_db: f64,
        /// Reference distance, metres.
        reference_m: f64,
        /// Exponent n: 2 in free space, 3 to 4 over wooded ground.
        exponent: f64,
    },
    /// Okumura-Hata.
    Hata(HataArea),
    /// 3GPP macrocell.
    ThreeGpp {
        /// Urban (3 dB more) or suburban.
        urban: bool,
    },
}

/// Surroundings of the Hata model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HataArea {
    /// Small or medium city.
    SmallCity,
    /// Metropolitan centre.
    Metropolitan,
    /// Suburb.
    Suburban,
    /// Open country.
    Rural,
}

/// Distances below this are taken as this, metres.
const NEAREST_M: f64 = 0.001;

impl PathLoss {
    /// Log-distance as measured for LoRa in a built-up area.
    pub const LORA_2016: Self = Self::LogDistance { reference_db: 127.41, reference_m: 40.0, exponent: 2.08 };

    /// Loss over a distance in metres at a frequency in hertz, from a sender's to a receiver's antenna height in metres. With
    /// unequal heights Hata's and 3GPP's models are not the same both ways.
    pub fn loss_db(self, distance_m: f64, frequency_hz: f64, sender_m: f64, receiver_m: f64) -> f64 {
        let log_d = libm::log10(distance_m.max(NEAREST_M));
        // log10 of the frequency in MHz.
        let log_f = libm::log10(frequency_hz) - 6.0;
        match self {
            Self::FreeSpace => 20.0 * log_d + 20.0 * libm::log10(frequency_hz) - 147.55,
            Self::LogDistance { reference_db, reference_m, exponent } => {
                reference_db + 10.0 * exponent * (log_d - libm::log10(reference_m))
            }
            Self::Hata(area) => {
                let base = 69.55 + 26.16 * log_f - 13.82 * libm::log10(sender_m);
                let slope = 44.9 - 6.55 * libm::log10(sender_m);
                let receiver = hata_receiver_db(area, frequency_hz, log_f, receiver_m);
                let area_db = match area {
                    HataArea::SmallCity | HataArea::Metropolitan => 0.0,
                    HataArea::Suburban => {
                        let over = libm::log10(frequency_hz) - libm::log10(28e6);
                        -2.0 * over * over - 5.4
                    }
                    HataArea::Rural => -4.78 * log_f * log_f + 18.33 * log_f - 40.98,
                };
                base - receiver + slope * (log_d - 3.0) + area_db
            }
            Self::ThreeGpp { urban } => {
                let slope = 44.9 - 6.55 * libm::log10(sender_m);
                let rest =
                    (35.46 - 1.1 * receiver_m) * log_f - 13.82 * libm::log10(receiver_m) + 0.7 * receiver_m;
                slope * (log_d - 3.0) + 45.5 + rest + if urban { 3.0 } else { 0.0 }
            }
        }
    }
}

/// Hata's correction for the height of the receiving antenna.
fn hata_receiver_db(area: HataArea, frequency_hz: f64, log_f: f64, receiver_m: f64) -> f64 {
    if area == HataArea::Metropolitan {
        let squared = |factor: f64| {
            let log = libm::log10(factor * receiver_m);
            log * log
        };
        if frequency_hz >= 400e6 {
            return 3.2 * squared(11.75) - 4.97;
        }
        if frequency_hz <= 200e6 {
            return 8.29 * squared(1.54) - 1.1;
        }
    }
    (1.1 * log_f - 0.7) * receiver_m - (1.56 * log_f - 0.8)
}
