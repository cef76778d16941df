//! Time on air of every preset that a region allows, and the limits of every region: against tables that were computed
//! elsewhere, and against the datasheet's formula.

use std::collections::BTreeMap;

use compotastic_mesh::{
    lora::{Modem, Preset, Region},
    packet::{HEADER, MAX_FRAME},
};

const AIRTIME: &str = include_str!("../../../tests/data/mesh/airtime-us.csv");
const REGIONS: &str = include_str!("../../../tests/data/mesh/regions.csv");
const SLOTS: &str = include_str!("../../../tests/data/mesh/slots.csv");
/// Payload bytes behind the header.
const PAYLOADS: [usize; 6] = [0, 16, 40, 100, 200, 237];

/// The cells of each line but the first.
fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().skip(1).map(|line| line.split(',').collect())
}

/// The table of slots by the region and the preset, all that a profile has.
fn pairs() -> BTreeMap<(Region, Preset), Vec<&'static str>> {
    let pair = |row: Vec<&'static str>| ((row[0].parse().unwrap(), row[1].parse().unwrap()), row);
    rows(SLOTS).map(pair).collect()
}

/// SX1262 datasheet, section 6.1.4, for spreading factors from 7 on; microseconds.
fn datasheet_us(modem: &Modem, length: usize) -> f64 {
    let (sf, bandwidth_hz) = (f64::from(modem.spreading_factor), f64::from(modem.bandwidth_hz));
    let symbol_s = sf.exp2() / bandwidth_hz;
    // AN1200.13: low data rate optimisation is mandated where a symbol lasts longer than 16 ms.
    let low_data_rate = if symbol_s > 0.016 { 1.0 } else { 0.0 };
    let (crc_bits, header_bits) = (16.0, 20.0);
    let bits = (8.0 * length as f64 + crc_bits - 4.0 * sf + 8.0 + header_bits).max(0.0);
    let blocks = (bits / (4.0 * (sf - 2.0 * low_data_rate))).ceil();
    let preamble = if modem.wide { 12.0 } else { 16.0 };
    let symbols = preamble + 4.25 + 8.0 + blocks * f64::from(modem.coding_rate);
    symbols * symbol_s * 1e6
}

#[test]
fn time_on_air_is_the_datasheets_for_every_length_of_every_preset_of_every_region() {
    let golden: BTreeMap<(Preset, bool), Vec<u64>> = rows(AIRTIME)
        .map(|row| {
            let times = row[2..].iter().map(|cell| cell.parse().unwrap()).collect();
            ((row[0].parse().unwrap(), row[1] == "1"), times)
        })
        .collect();
    let mut used = std::collections::BTreeSet::new();
    for (region, preset) in pairs().into_keys() {
        let wide = region.wide();
        let modem = preset.modem(wide);
        used.insert((preset, wide));
        for (payload, golden_us) in PAYLOADS.into_iter().zip(&golden[&(preset, wide)]) {
            let us = modem.time_on_air_us(HEADER + payload);
            assert_eq!(us, *golden_us, "{region} {preset}, payload {payload}");
        }
        for length in 0..=MAX_FRAME {
            let (us, exact_us) = (modem.time_on_air_us(length) as f64, datasheet_us(&modem, length));
            // Rounded up; the float is off by far less than a thousandth of a microsecond.
            assert!(
                us > exact_us - 1e-3 && us < exact_us + 1.0,
                "{region} {preset}, {length}: {us} {exact_us}"
            );
        }
    }
    assert_eq!(used.len(), golden.len(), "each line of the table is used");
}

#[test]
fn limits_of_power_duty_cycle_and_band_are_the_published_ones() {
    let mut seen = Vec::new();
    for row in rows(REGIONS) {
        let region: Region = row[0].parse().unwrap();
        assert_eq!(region.name(), row[0]);
        assert_eq!(region.start_khz().to_string(), row[1], "{region}");
        assert_eq!(region.end_khz().to_string(), row[2], "{region}");
        assert_eq!(region.duty_cycle_permille().to_string(), row[3], "{region}");
        assert_eq!(region.max_power_dbm().to_string(), row[4], "{region}");
        assert_eq!(region.wide(), row[5] == "1", "{region}");
        seen.push(region);
    }
    assert_eq!(seen.len(), Region::ALL.len());
    assert!(Region::ALL.into_iter().all(|region| seen.contains(&region)));
}

#[test]
fn slots_are_as_many_and_where_the_table_says() {
    for ((region, preset), row) in pairs() {
        assert_eq!(region.slots(preset).to_string(), row[2], "{region} {preset}");
        let slot = region.slot(preset, preset.display_name());
        assert_eq!(slot.to_string(), row[3], "{region} {preset}");
        let centre_hz = region.centre_frequency_hz(preset, preset.display_name());
        assert_eq!(centre_hz.to_string(), row[4], "{region} {preset}");
        assert_eq!(region.slot_centre_hz(preset, slot), centre_hz, "{region} {preset}");
    }
}

#[test]
fn every_slot_lies_inside_its_band_but_those_that_are_refused() {
    for ((region, preset), row) in pairs() {
        let modem = preset.modem(region.wide());
        let outside: Vec<u32> = row[5].split_whitespace().map(|slot| slot.parse().unwrap()).collect();
        for slot in 0..region.slots(preset) {
            let centre_khz = region.slot_centre_hz(preset, slot) as f64 / 1e3;
            let half_khz = f64::from(modem.bandwidth_hz) / 2e3;
            let inside = centre_khz - half_khz >= f64::from(region.start_khz())
                && centre_khz + half_khz <= f64::from(region.end_khz());
            assert_eq!(inside, region.contains_slot(preset, slot), "{region} {preset}, slot {slot}");
            assert_eq!(inside, !outside.contains(&slot), "{region} {preset}, slot {slot}");
        }
        // Whatever the primary channel is called.
        for name in ["", "LongFast", "ShortTurbo", "swarm", "hills", "\u{f6}", "valley", "rescue 7"] {
            let slot = region.slot(preset, name);
            assert!(slot < region.slots(preset), "{region} {preset} {name:?}");
            assert_eq!(
                region.allows_on(preset, name),
                !outside.contains(&slot),
                "{region} {preset} {name:?}"
            );
        }
    }
}

#[test]
fn a_region_allows_the_presets_of_its_profile_on_slots_inside_its_band() {
    let pairs = pairs();
    let mut refused = Vec::new();
    for region in Region::ALL {
        for preset in Preset::ALL {
            let allowed = region.allows(preset);
            match pairs.contains_key(&(region, preset)) {
                true if !allowed => refused.push((region, preset)),
                true => {}
                false => assert!(!allowed && !region.allows_on(preset, "swarm"), "{region} {preset}"),
            }
        }
    }
    // In 1.4 MHz there is room for two slots of 500 kHz and five of 250; the firmware has three and six.
    let expected = [Preset::ShortTurbo, Preset::LongTurbo, Preset::LongFast];
    assert_eq!(refused, expected.map(|preset| (Region::Ph868, preset)));
    assert!(Region::Ph868.allows_on(Preset::LongFast, "swarm"), "another name leads to another slot");
}
