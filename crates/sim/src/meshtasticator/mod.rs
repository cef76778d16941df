//! The rules of Meshtasticator's discrete-event simulator, its known faults included, for validation only.
//!
//! Nobody should plan a mesh by these rules: today's firmware behaves otherwise, and so does the rest of this crate. They are here so that
//! our machinery can be held against outcomes that others have published. Everything that differs from the firmware on purpose
//! is marked with what the reference does.
//!
//! - [`scenario`] reads the inputs, [`engine`] runs one seed, [`figures`] sums up a run, [`validate`] compares runs with a
//!   recorded outcome.

pub mod engine;
pub mod field;
pub mod figures;
pub mod scenario;
pub mod validate;

/// Spreading, bandwidth, coding and sensitivity of one of the reference's presets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Modem {
    /// Name as in its configuration.
    pub name: &'static str,
    /// Bandwidth, Hz.
    pub bandwidth_hz: f64,
    /// Spreading factor.
    pub spreading_factor: u32,
    /// Coding rate, 5..=8.
    pub coding_rate: u32,
    /// Weakest power that is received, dBm.
    pub sensitivity_dbm: f64,
}

const fn modem(name: &'static str, khz: f64, sf: u32, coding_rate: u32, sensitivity_dbm: f64) -> Modem {
    Modem { name, bandwidth_hz: khz * 1000.0, spreading_factor: sf, coding_rate, sensitivity_dbm }
}

/// The reference's presets.
pub const MODEMS: [Modem; 10] = [
    modem("SHORT_TURBO", 500.0, 7, 5, -118.5),
    modem("SHORT_FAST", 250.0, 7, 5, -121.5),
    modem("SHORT_SLOW", 250.0, 8, 5, -124.0),
    modem("MEDIUM_FAST", 250.0, 9, 5, -126.5),
    modem("MEDIUM_SLOW", 250.0, 10, 5, -129.0),
    modem("LONG_TURBO", 500.0, 11, 8, -128.5),
    modem("LONG_FAST", 250.0, 11, 5, -131.5),
    modem("LONG_MODERATE", 125.0, 11, 8, -134.5),
    modem("LONG_SLOW", 125.0, 12, 8, -137.0),
    modem("VERY_LONG_SLOW", 62.5, 12, 8, -140.0),
];

/// Channel activity detection reaches this far below the sensitivity, dB.
pub const CAD_BELOW_DB: f64 = 3.0;
/// A packet survives another that is this much weaker, dB.
pub const CAPTURE_DB: f64 = 6.0;
/// SNR is RSSI plus this, for every preset.
pub const SNR_OFFSET_DB: f64 = 119.25;
/// Bytes of the packet header.
pub const HEADER: u32 = 16;

impl Modem {
    /// The preset of a name.
    pub fn named(name: &str) -> Option<Self> {
        MODEMS.into_iter().find(|modem| modem.name == name)
    }

    /// Time of a symbol, ms.
    pub fn symbol_ms(&self) -> f64 {
        f64::from(1u32 << self.spreading_factor) / self.bandwidth_hz * 1000.0
    }

    /// Time of a slot, ms: 8.5 symbols and 7.6 ms. (The firmware's is 2.5 symbols and 7.6 ms.)
    pub fn slot_ms(&self) -> f64 {
        8.5 * self.symbol_ms() + 7.6
    }

    /// Time on air of a payload, ms, with coding rate + 4 symbols in a block although the rate is 5..=8 already. (The firmware's is
    /// about two thirds of it.)
    pub fn airtime_ms(&self, payload: u32) -> f64 {
        let sf = f64::from(self.spreading_factor);
        // Only at 125 kHz: not at 62.5 kHz, where a real radio needs it too.
        let low_rate = self.bandwidth_hz as u32 == 125_000 && self.spreading_factor >= 11;
        let bits_per_symbol = sf - if low_rate { 2.0 } else { 0.0 };
        let bits = 8.0 * f64::from(payload + HEADER) - 4.0 * sf + 44.0;
        let blocks = libm::ceil(bits / (4.0 * bits_per_symbol)).max(0.0);
        let symbols = 16.0 + 4.25 + 8.0 + blocks * f64::from(self.coding_rate + 4);
        symbols * self.symbol_ms()
    }
}

/// Exponent of the contention window of a relay, from the SNR of the latest copy.
pub fn relay_window(rssi_dbm: f64) -> u32 {
    let snr = (rssi_dbm + SNR_OFFSET_DB).clamp(-20.0, 15.0);
    ((snr + 20.0) * 6.0 / 35.0 + 2.0) as u32
}

/// Longest window that is drawn from, 2^24 slots: a fortnight on LongFast. In the first seconds the air time of packets that
/// have only begun makes a utilisation of many times 100 %.
const WINDOW_MAX: u32 = 24;

/// Exponent of the contention window of an own message, from the channel utilisation since the start, percent.
pub fn own_window(utilization_pct: f64) -> u32 {
    ((utilization_pct * 6.0 / 100.0 + 2.0) as u32).min(WINDOW_MAX)
}
