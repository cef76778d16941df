//! The same seed gives the same events, byte for byte: on one thread or two, in debug and release builds, on any machine.
//! tests/data/sim/hashes.json holds what all of them must give.

use std::{collections::BTreeMap, fs, path::PathBuf, thread};

use compotastic_model::BaseEncoder;
use compotastic_sim::{
    explore::{Plan, explore},
    scenario::{self, Scenario},
};
use serde::{Deserialize, Serialize};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");

/// Writes the file anew, after a change that is meant to change what happens.
const COMMAND: &str =
    "cargo test -p compotastic-sim --test same_hashes --locked -- --ignored write_the_hashes_anew";
/// Drawn plans, with crashes, walks, liars and the rest.
const SEEDS: [u64; 6] = [1, 2, 3, 5, 8, 13];
const SCENARIOS: [&str; 2] = ["two-huts", "river"];

/// What the file holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// The command that writes it.
    written_by: String,
    /// SHA-256 of the event log by name of the run.
    hashes: BTreeMap<String, String>,
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn golden_path() -> PathBuf {
    repository().join("tests/data/sim/hashes.json")
}

/// One run that is compared.
enum Run {
    Plan(Plan),
    Scenario(Box<Scenario>),
}

impl Run {
    fn hash(&self) -> String {
        match self {
            Self::Plan(plan) => {
                explore(plan, BaseEncoder::parse(BASE).unwrap(), None, false).unwrap().event_log_sha256
            }
            Self::Scenario(scenario) => scenario::run(scenario, 1, None, |_| {}).unwrap().event_log_sha256,
        }
    }
}

/// All runs, in order of their names.
fn runs() -> Vec<(String, Run)> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let mut runs: Vec<(String, Run)> =
        SEEDS.map(|seed| (format!("plan of seed {seed}"), Run::Plan(Plan::draw(seed)))).into();
    for entry in fs::read_dir(repository().join("tests/data/explore")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            runs.push((format!("explore/{name}"), Run::Plan(serde_json::from_str(&read(path)).unwrap())));
        }
    }
    for name in SCENARIOS {
        let scenario = Scenario::parse(&read(repository().join(format!("scenarios/{name}.toml")))).unwrap();
        runs.push((format!("scenarios/{name}.toml, seed 1"), Run::Scenario(Box::new(scenario))));
    }
    runs.sort_by(|(a, _), (b, _)| a.cmp(b));
    runs
}

fn hashes<'r>(runs: impl IntoIterator<Item = &'r (String, Run)>) -> BTreeMap<String, String> {
    runs.into_iter().map(|(name, run)| (name.clone(), run.hash())).collect()
}

#[test]
fn one_thread_and_two_give_what_every_machine_gives() {
    let text = fs::read_to_string(golden_path()).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    assert_eq!(golden.written_by, COMMAND);
    let runs = &runs()[..];
    let on_one = hashes(runs);
    // Every other run each, and in another order, so that something they share would show.
    let on_two = thread::scope(|scope| {
        [0, 1]
            .map(|first| scope.spawn(move || hashes(runs.iter().skip(first).step_by(2).rev())))
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<BTreeMap<_, _>>()
    });
    assert_eq!(on_one, on_two, "one thread and two at once");
    assert_eq!(on_one, golden.hashes, "tests/data/sim/hashes.json; a change that is meant: {COMMAND}");
}

#[test]
#[ignore = "writes tests/data/sim/hashes.json anew"]
fn write_the_hashes_anew() {
    let golden = Golden { written_by: COMMAND.into(), hashes: hashes(&runs()) };
    let text = serde_json::to_string_pretty(&golden).unwrap();
    fs::write(golden_path(), text + "\n").unwrap();
}
