//! The reference simulator's rules: its own tables to the last digit, its recorded outcomes within their spread.

use std::path::PathBuf;

use compotastic_sim::{
    meshtasticator::{
        MODEMS, Modem, engine, field, own_window, relay_window,
        scenario::Scenario,
        validate::{self, Verdict},
    },
    path_loss::{HataArea, PathLoss},
};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/meshtasticator")
}

fn tables() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("tables.json")).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn time_on_air_slots_and_sensitivities_are_the_references() {
    let tables = tables();
    let presets = tables["presets"].as_object().unwrap();
    assert_eq!(presets.len(), MODEMS.len());
    for (name, preset) in presets {
        let modem = Modem::named(name).unwrap();
        assert_eq!(number(&preset["sensitivity_dbm"]), modem.sensitivity_dbm, "{name}");
        assert!((number(&preset["slot_time_ms"]) - modem.slot_ms()).abs() < 1e-9, "{name}");
        for (payload, airtime) in preset["airtime_ms"].as_object().unwrap() {
            let ours = modem.airtime_ms(payload.parse().unwrap());
            assert!((number(airtime) - ours).abs() < 1e-6, "{name} {payload}: {ours} {airtime}");
        }
    }
}

#[test]
fn path_loss_agrees_with_the_table() {
    let tables = tables();
    let models = [
        PathLoss::LORA_2016,
        PathLoss::Hata(HataArea::SmallCity),
        PathLoss::Hata(HataArea::Metropolitan),
        PathLoss::Hata(HataArea::Suburban),
        PathLoss::Hata(HataArea::Rural),
        PathLoss::ThreeGpp { urban: false },
        PathLoss::ThreeGpp { urban: true },
    ];
    let mut rows = 0;
    for (index, model) in models.into_iter().enumerate() {
        for row in tables["path_loss"][index.to_string()].as_array().unwrap() {
            let ours = model.loss_db(
                number(&row["d_m"]),
                number(&tables["frequency_hz"]),
                number(&row["tx_z"]),
                number(&row["rx_z"]),
            );
            assert!((ours - number(&row["loss_db"])).abs() < 1e-3, "{model:?} {row}: {ours}");
            rows += 1;
        }
    }
    assert!(rows > 100);
}

#[test]
fn contention_windows_agree_with_the_table() {
    let tables = tables();
    for row in tables["cw_from_rssi"].as_array().unwrap() {
        assert_eq!(number(&row["cw_size"]), f64::from(relay_window(number(&row["rssi_dbm"]))), "{row}");
    }
    for row in tables["cw_from_channel_utilisation"].as_array().unwrap() {
        assert_eq!(number(&row["cw_size"]), f64::from(own_window(number(&row["channel_util_pct"]))), "{row}");
    }
}

fn scenarios() -> Vec<Scenario> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.extension().is_some_and(|extension| extension == "json") && !path.ends_with("tables.json")
    });
    paths.sort();
    paths.iter().map(|path| Scenario::parse(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

fn verdict(scenario: &Scenario, seeds: u64) -> Verdict {
    let runs: Vec<_> = (1..=seeds).map(|seed| validate::figures(scenario, seed)).collect();
    validate::compare(scenario, &runs).unwrap()
}

#[test]
fn every_recorded_figure_holds() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 17);
    for scenario in &scenarios {
        let verdict = verdict(scenario, 20);
        assert!(
            verdict.holds(),
            "{verdict:#?}\nrepeat with: compotastic sim validate tests/data/meshtasticator --seeds 20"
        );
    }
}

/// A verdict that could not be bad would be worth nothing: each changed input has to show.
#[test]
fn a_changed_rule_is_noticed() {
    let scenario = scenarios().into_iter().find(|one| one.name == "field20_client").unwrap();
    let failing = |changed: &Scenario| -> Vec<&'static str> {
        verdict(changed, 10).figures.iter().filter(|figure| !figure.holds).map(|figure| figure.name).collect()
    };
    let mut weaker = scenario.clone();
    weaker.radio.tx_power_dbm -= 2.0;
    assert!(!failing(&weaker).is_empty(), "2 dB less power");
    let mut longer = scenario.clone();
    longer.traffic.payload_bytes = 60;
    assert!(failing(&longer).contains(&"tx_air_util_pct"), "half as much payload again");
    let mut shorter = scenario.clone();
    for node in &mut shorter.nodes {
        node.hop_limit = 2;
    }
    assert!(failing(&shorter).contains(&"reach_pct"), "a hop less");
    let mut routers = scenario;
    for node in &mut routers.nodes {
        node.role = compotastic_sim::meshtasticator::scenario::Role::Router;
    }
    assert!(failing(&routers).contains(&"usefulness_pct"), "routers");
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let scenario = field::default_field(40, 600.0, 3);
    let (one, two) = (engine::run(&scenario, 5), engine::run(&scenario, 5));
    assert_eq!(one, two);
    assert!(one.counters.transmissions > 100);
    assert_ne!(one.log_sha256, engine::run(&scenario, 6).log_sha256);
}

#[test]
fn bad_files_say_what_is_wrong() {
    let good = std::fs::read_to_string(folder().join("line5_client.json")).unwrap();
    for (from, to, expected) in [
        ("\"LONG_FAST\"", "\"LONG_SLUGGISH\"", "radio.preset"),
        ("\"path_loss_model\":5", "\"path_loss_model\":9", "radio.path_loss_model"),
        ("\"simulated_time_ms\":1800000", "\"simulated_time_ms\":-1", "simulated_time_ms"),
        ("\"movement\":false", "\"movement\":true", "radio.movement"),
        ("\"payload_bytes\":40", "\"payload_bytes\":400", "traffic.payload_bytes"),
        ("\"CLIENT\"", "\"JESTER\"", "JESTER"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = Scenario::parse(&good.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert!(Scenario::parse("{}").is_err());
    assert!(Scenario::parse("").is_err());
}
