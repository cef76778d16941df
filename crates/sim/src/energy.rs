//! Batteries: what each state of a node costs, and what the sun gives back.

use serde::{Deserialize, Serialize};

/// Hours of sunrise and sunset.
const SUNRISE_H: f64 = 6.0;
const SUNSET_H: f64 = 18.0;
/// A node that ran empty starts again when it is charged to this share.
const START_AT: f64 = 0.05;

/// A battery, and what the node draws from it. The defaults are those of an SX1262 at 22 dBm and 3.3 V (118 mA sending, 5.3 mA
/// receiving with boosted gain: SX1261/2 datasheet, tables 3-4 and 3-5) beside an nRF52840 (3.3 mA computing at 64 MHz, some uA
/// asleep: its product specification), on a cell of 18650 size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatterySettings {
    /// Capacity, mWh.
    pub capacity_mwh: f64,
    /// Charge at the start, 0 to 1.
    pub charge: f64,
    /// Sending, mW.
    pub tx_mw: f64,
    /// Listening, mW.
    pub listen_mw: f64,
    /// Switched off, mW.
    pub sleep_mw: f64,
    /// Computing, mW, on top of listening.
    pub compute_mw: f64,
    /// What the panel gives at noon without clouds, mW.
    pub solar_peak_mw: f64,
    /// Share of the light that clouds keep away, 0 to 1.
    pub clouds: f64,
}

impl Default for BatterySettings {
    fn default() -> Self {
        Self {
            capacity_mwh: 9600.0,
            charge: 1.0,
            tx_mw: 390.0,
            listen_mw: 18.0,
            sleep_mw: 0.01,
            compute_mw: 11.0,
            solar_peak_mw: 0.0,
            clouds: 0.0,
        }
    }
}

/// Energy that went where, mWh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spent {
    /// Sending.
    pub tx_mwh: f64,
    /// Listening.
    pub listen_mwh: f64,
    /// Switched off.
    pub sleep_mwh: f64,
    /// Computing.
    pub compute_mwh: f64,
    /// Given back by the sun.
    pub solar_mwh: f64,
}

/// The battery of one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Battery {
    settings: BatterySettings,
    stored_mwh: f64,
    /// What it was spent on.
    pub spent: Spent,
    /// How often it ran empty.
    pub ran_empty: u32,
    empty: bool,
}

/// What a node did since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Time, s.
    pub passed_s: f64,
    /// Of that, sending.
    pub tx_s: f64,
    /// Of that, computing.
    pub compute_s: f64,
    /// It was switched on.
    pub on: bool,
}

/// Light at an hour of the day, 0 at night to 1 at noon.
pub fn light(hour: f64) -> f64 {
    let hour = hour - 24.0 * libm::floor(hour / 24.0);
    let share = (hour - SUNRISE_H) / (SUNSET_H - SUNRISE_H);
    if (0.0..=1.0).contains(&share) { libm::sin(core::f64::consts::PI * share) } else { 0.0 }
}

impl Battery {
    /// A battery as it is at the start.
    pub fn new(settings: BatterySettings) -> Self {
        Self {
            stored_mwh: settings.capacity_mwh * settings.charge,
            settings,
            spent: Spent::default(),
            ran_empty: 0,
            empty: false,
        }
    }

    /// Time has passed; `light` is 0 to 1.
    pub fn pass(&mut self, activity: &Activity, light: f64) {
        let hours = |seconds: f64| seconds / 3600.0;
        let settings = &self.settings;
        let spent = if activity.on {
            let listen_s = (activity.passed_s - activity.tx_s).max(0.0);
            [
                settings.tx_mw * hours(activity.tx_s),
                settings.listen_mw * hours(listen_s),
                0.0,
                settings.compute_mw * hours(activity.compute_s),
            ]
        } else {
            [0.0, 0.0, settings.sleep_mw * hours(activity.passed_s), 0.0]
        };
        let solar_mwh = settings.solar_peak_mw * (1.0 - settings.clouds) * light * hours(activity.passed_s);
        self.spent.tx_mwh += spent[0];
        self.spent.listen_mwh += spent[1];
        self.spent.sleep_mwh += spent[2];
        self.spent.compute_mwh += spent[3];
        self.spent.solar_mwh += solar_mwh;
        let after = self.stored_mwh + solar_mwh - spent.iter().sum::<f64>();
        self.stored_mwh = after.clamp(0.0, settings.capacity_mwh);
        if !self.empty && self.stored_mwh <= 0.0 {
            self.empty = true;
            self.ran_empty += 1;
        } else if self.empty && self.share() >= START_AT {
            self.empty = false;
        }
    }

    /// Charge, 0 to 1.
    pub fn share(&self) -> f64 {
        self.stored_mwh / self.settings.capacity_mwh
    }

    /// Charge as nodes tell it, 0 to 15.
    pub fn level(&self) -> u8 {
        libm::round(self.share() * 15.0) as u8
    }

    /// Whether the node can run.
    pub fn runs(&self) -> bool {
        !self.empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_costs_what_it_should() {
        let mut battery = Battery::new(BatterySettings::default());
        let hour = |tx_s, on| Activity { passed_s: 3600.0, tx_s, compute_s: 360.0, on };
        battery.pass(&hour(36.0, true), 0.0);
        battery.pass(&hour(0.0, false), 0.0);
        let spent = battery.spent;
        assert!((spent.tx_mwh - 3.9).abs() < 1e-9 && (spent.listen_mwh - 17.82).abs() < 1e-9);
        assert!((spent.compute_mwh - 1.1).abs() < 1e-9 && (spent.sleep_mwh - 0.01).abs() < 1e-9);
        assert!((battery.share() - (9600.0 - 22.83) / 9600.0).abs() < 1e-6);
        assert_eq!((battery.level(), battery.runs()), (15, true));
    }

    #[test]
    fn an_empty_battery_stops_the_node_until_the_sun_has_charged_it() {
        let settings =
            BatterySettings { capacity_mwh: 100.0, charge: 0.2, solar_peak_mw: 50.0, ..Default::default() };
        let mut battery = Battery::new(settings);
        let hour = |on| Activity { passed_s: 3600.0, on, ..Activity::default() };
        battery.pass(&hour(true), light(22.0));
        battery.pass(&hour(true), light(23.0));
        assert_eq!((battery.runs(), battery.ran_empty, battery.level()), (false, 1, 0));
        battery.pass(&hour(false), light(3.0));
        assert!(!battery.runs(), "no sun at night");
        battery.pass(&hour(false), light(12.0));
        assert!(battery.runs() && battery.share() > 0.4);
        assert_eq!(light(12.0), light(36.0));
    }
}
