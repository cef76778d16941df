//! Fault search: some seeds, the plans that found bugs, and the checkers' own test: each mutant is noticed.

use std::{fs, path::PathBuf};

use compotastic_model::BaseEncoder;
use compotastic_sim::explore::{Mutant, Plan, explore};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");

fn base() -> BaseEncoder<'static> {
    BaseEncoder::parse(BASE).unwrap()
}

fn data() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/explore"))
}

#[test]
fn no_promise_is_broken() {
    for seed in 1..=40 {
        let outcomes = explore(&Plan::draw(seed), base(), None, seed % 8 == 0).unwrap();
        let repeat = format!("compotastic sim explore --seeds {seed}..{seed}");
        assert!(outcomes.violations.is_empty(), "{:#?}\n{repeat}", outcomes.violations);
    }
}

/// Runs so many swarms in which nodes stop during updates, and counts those stops.
fn interrupted_updates(seeds: std::ops::RangeInclusive<u64>) -> (u64, u64) {
    let (mut stops, mut cuts) = (0, 0);
    for seed in seeds {
        let outcomes = explore(&Plan::draw_update(seed), base(), None, false).unwrap();
        let repeat = format!("compotastic sim explore --updates --seeds {seed}..{seed}");
        assert!(outcomes.violations.is_empty(), "{:#?}\n{repeat}", outcomes.violations);
        stops += outcomes.interrupted.0;
        cuts += outcomes.interrupted.1;
    }
    (stops, cuts)
}

#[test]
fn no_node_is_bricked_or_on_a_wrong_part_after_a_stop_during_an_update() {
    let (stops, cuts) = interrupted_updates(1..=15);
    println!("{stops} stops during an update, {cuts} inside a flash operation");
    assert!(stops >= 15 && cuts >= 8, "{stops} {cuts}");
    for mutant in [
        Mutant::DoesNotBoot,
        Mutant::ForgetsImage,
        Mutant::RollsBack,
        Mutant::StartsAnything,
        Mutant::ForgetsFirmware,
    ] {
        let noticed = (1..=20).any(|seed| {
            let outcomes = explore(&Plan::draw_update(seed), base(), Some(mutant), false).unwrap();
            let checkers = ["boot", "install", "firmware"];
            outcomes.violations.iter().any(|violation| checkers.contains(&violation.checker))
        });
        assert!(noticed, "{mutant:?}");
    }
}

#[test]
#[ignore = "minutes; `compotastic sim explore --updates --seeds 1..1000` is the same on all cores"]
fn a_thousand_swarms_with_stops_during_updates() {
    let (stops, cuts) = interrupted_updates(1..=1000);
    println!("1000 swarms: {stops} stops during an update, {cuts} inside a flash operation");
}

/// docs/FAULT_SEARCH.md tells what each of them was.
#[test]
fn what_once_broke_a_promise_does_not_any_more() {
    let mut plans = 0;
    for entry in fs::read_dir(data()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let plan: Plan = serde_json::from_str(&text).unwrap();
        let outcomes = explore(&plan, base(), None, true).unwrap();
        let repeat = format!("compotastic sim explore --plan {}", path.display());
        assert!(outcomes.violations.is_empty(), "{:#?}\n{repeat}", outcomes.violations);
        plans += 1;
    }
    assert!(plans >= 5, "the plans are there");
}

#[test]
fn each_checker_notices_its_mutants() {
    for (mutant, checker) in Mutant::ALL {
        let noticed = (1..=60).any(|seed| {
            let outcomes =
                explore(&Plan::draw(seed), base(), Some(mutant), mutant == Mutant::DrawsFromOutside);
            outcomes.unwrap().violations.iter().any(|violation| violation.checker == checker)
        });
        assert!(noticed, "the checker \"{checker}\" does not notice {mutant:?}");
    }
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let good = Plan::draw(1);
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        explore(&plan, base(), None, false).unwrap_err()
    };
    assert!(refused(&|plan| plan.nodes.clear()).contains("1 to 64 nodes"));
    assert!(refused(&|plan| plan.nodes[0].x = f64::NAN).contains("10,000 reaches"));
    assert!(refused(&|plan| plan.preset = "FAST".into()).contains("preset FAST"));
    assert!(refused(&|plan| plan.region = "EU_866".into()).contains("not allowed in region"));
    assert!(refused(&|plan| plan.end_s = 0).contains("faults_end_s"));
    assert!(refused(&|plan| plan.loss_ppm = 1_000_001).contains("loss_ppm"));
}
