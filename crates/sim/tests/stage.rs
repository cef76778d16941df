//! Scenarios with nodes of ours: a boat carries over what is published, Bluetooth hands it on, batteries run empty and are charged.

use std::path::PathBuf;

use compotastic_model::BaseEncoder;
use compotastic_sim::scenario::{self, Report, Scenario};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");

fn run(scenario: &Scenario, seed: u64) -> Report {
    let base = BaseEncoder::parse(BASE).unwrap();
    scenario::run(scenario, seed, Some(base), |_| {}).unwrap()
}

fn ready(name: &str) -> Scenario {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(name);
    Scenario::load(&path).unwrap()
}

#[test]
fn the_boat_carries_the_model_to_the_other_island() {
    let scenario = ready("islands.toml");
    let name = |id: usize| scenario.node[id].name.get_ref().as_str();
    for seed in 1..4 {
        let report = run(&scenario, seed);
        let swarm = report.swarm.unwrap();
        let update = &swarm.updates[0];
        assert_eq!(update.installed.len(), 7, "seed {seed}");
        for (id, at_s) in &update.installed {
            // 29.1 km at 8 m/s, less the reach of the radio.
            let east = name(*id).starts_with("east");
            assert_eq!(east, *at_s > 2700.0, "{} has it at {at_s} s, seed {seed}", name(*id));
        }
        assert!(swarm.answered_by_others + swarm.answered_here + swarm.failed <= swarm.jobs);
        assert!(swarm.jobs - swarm.failed > 10 && swarm.meetings > 2, "{swarm:?}");
        assert_eq!(report.originations_over_gate, 0);
    }
}

#[test]
fn teams_on_foot_report_to_the_command_post_through_the_valley() {
    let report = run(&ready("valley-sar.toml"), 2);
    let (swarm, energy) = (report.swarm.unwrap(), report.energy.unwrap());
    assert_eq!(swarm.jobs, swarm.answered_here + swarm.answered_by_others + swarm.failed);
    assert!(swarm.reports_delivered * 10 > swarm.jobs * 7, "{swarm:?}");
    assert!(swarm.updates[0].installed.len() >= 6);
    assert!(energy.nodes == 5 && energy.lowest_charge > 0.3 && energy.lowest_charge < 0.71);
    assert!(energy.spent.listen_mwh > energy.spent.tx_mwh && energy.spent.solar_mwh > 100.0);
}

/// Two nodes of ours whose radios do not reach each other, 20 m apart for the second hour.
const MEETING: &str = r#"
name = "a meeting"
description = "By Bluetooth alone."
preset = "SHORT_TURBO"
region = "US"
hours = 3.0
radio = { exponent = 6.0, tx_power_dbm = -20.0, shadowing_db = 0.0, fading_db = 0.0 }
bluetooth = { range_m = 25.0, bytes_per_s = 500.0, loss = 0.2 }
node = [
  { name = "edge", kind = "edge", x_m = 0.0, y_m = 0.0 },
  { name = "walker", kind = "field", x_m = 900.0, y_m = 0.0, track = [[3500.0, 900.0, 0.0], [3600.0, 20.0, 0.0], [7200.0, 20.0, 0.0], [7300.0, 900.0, 0.0]] },
]
updates = [{ from = "edge", at_s = 600, version = 3 }]
"#;

#[test]
fn who_comes_near_is_given_the_model_by_bluetooth_without_air() {
    let report = run(&Scenario::parse(MEETING).unwrap(), 1);
    let swarm = report.swarm.unwrap();
    let walker = swarm.updates[0].installed.iter().find(|(id, _)| *id == 1);
    let at_s = walker.expect("the walker has it").1;
    assert!((3590.0..3700.0).contains(&at_s), "{at_s} s");
    // 1,120 bytes of content and its records, at 500 bytes per second.
    assert!(swarm.bluetooth_bytes > 1500 && swarm.bluetooth_bytes < 8000, "{swarm:?}");
    let without =
        MEETING.lines().filter(|line| !line.starts_with("bluetooth")).collect::<Vec<_>>().join("\n");
    let report = run(&Scenario::parse(&without).unwrap(), 1);
    assert!(
        report.swarm.unwrap().updates[0].installed.iter().all(|(id, _)| *id != 1),
        "the radio does not reach"
    );
}

const TIRED: &str = r#"
name = "a long night"
description = "A node runs empty in the evening, and the sun charges it."
preset = "LONG_FAST"
region = "EU_868"
hours = 30.0
start_hour = 16.0
node = [
  { name = "edge", kind = "edge", x_m = 0.0, y_m = 0.0 },
  { name = "leaf", kind = "field", x_m = 800.0, y_m = 0.0, battery = { capacity_mwh = 150.0, solar_peak_mw = 120.0 } },
]
reports = [{ from = "leaf", every_s = 900 }]
updates = [{ from = "edge", at_s = 600, version = 3 }]
"#;

#[test]
fn an_empty_node_stops_and_starts_again_with_what_is_in_its_flash() {
    let report = run(&Scenario::parse(TIRED).unwrap(), 1);
    let (swarm, energy) = (report.swarm.unwrap(), report.energy.unwrap());
    assert_eq!(energy.ran_empty, 1);
    assert!(energy.spent.sleep_mwh > 0.0);
    let rested = run(&Scenario::parse(&TIRED.replace("150.0", "15000.0")).unwrap(), 1);
    assert_eq!(rested.energy.unwrap().ran_empty, 0);
    // Some six hours of reports fall into the dark.
    let missed = rested.swarm.unwrap().jobs - swarm.jobs;
    assert!((8..50).contains(&missed), "{missed}");
    assert_eq!(swarm.updates[0].installed.len(), 2, "installed once, in use again after the night");
    assert!(swarm.answered_here > 50, "{swarm:?}");
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let scenario = ready("islands.toml");
    assert_eq!(run(&scenario, 5).event_log_sha256, run(&scenario, 5).event_log_sha256);
}
