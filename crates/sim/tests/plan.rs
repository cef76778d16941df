//! Plans hold: what is predicted before anything is sent is what comes of it, in the mean of runs that no rehearsal had.

use compotastic_bundle::{ClaimedManifest, ClassMask, ComponentKind, Layout, Manifest, build_stream};
use compotastic_mesh::rng::Rng;
use compotastic_sim::{
    plan::{Basis, Plan, PlanOrder, Ranges, Rehearse, STILL_H, Way, WayName, plan},
    scenario::{Package, PushEvent, PushOrder, PushReport, Scenario, Seeds, Target, push},
    swarm::Trusted,
};
use ed25519_dalek::SigningKey;

const PIECE: u16 = 208;
/// Luck of runs that plans are held against; rehearsals draw theirs from the mesh's seed.
const LUCK: u64 = 9000;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x44; 32])
}

fn package(bytes: usize) -> Package {
    let mut rng = Rng::from_seed(7);
    let content: Vec<u8> = (0..bytes).map(|_| rng.next_u32() as u8).collect();
    let layout = Layout::new(bytes as u32, PIECE).unwrap();
    let identity = build_stream(&content, PIECE, &mut vec![0; layout.stream_len() as usize]).unwrap();
    let manifest =
        Manifest { ram: 4096, ..Manifest::of(&identity, ComponentKind::Firmware, 0, 3, ClassMask::of(1)) };
    Package { claimed: ClaimedManifest::sign(manifest, &key()).unwrap(), delegation: None, content }
}

fn scenario(loss: f64, rest: &str) -> Scenario {
    let text = format!(
        "name = \"mesh\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\nloss = {loss:.2}\n{rest}"
    );
    Scenario::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn node(name: &str, kind: &str, x_m: f64, y_m: f64) -> String {
    format!("[[node]]\nname = \"{name}\"\nkind = \"{kind}\"\nx_m = {x_m:.1}\ny_m = {y_m:.1}\n")
}

/// An edge node, and others behind one another.
fn line(nodes: usize, loss: f64) -> Scenario {
    let mut rest = "[radio]\nexponent = 3.4\nshadowing_db = 0.0\n".to_string();
    for index in 0..nodes {
        let kind = if index == 0 { "edge" } else { "field" };
        rest += &node(&format!("n{index}"), kind, 2000.0 * index as f64, 0.0);
    }
    scenario(loss, &rest)
}

/// A field about an edge node, with shadows and fading.
fn field(nodes: usize, loss: f64) -> Scenario {
    let side_m = 1900.0 * (nodes as f64).sqrt();
    let post = node("post", "edge", side_m / 2.0, side_m / 2.0);
    let count = nodes - 1;
    let rest = format!(
        "[radio]\nshadowing_db = 3.0\nfading_db = 2.0\n{post}[[field]]\ncount = {count}\nkind = \"field\"\n\
         width_m = {side_m:.1}\nheight_m = {side_m:.1}\nconnected = true\n"
    );
    scenario(loss, &rest)
}

/// Two parts that do not hear each other.
fn islands() -> Scenario {
    let mut rest = "[radio]\nshadowing_db = 0.0\n[bluetooth]\n".to_string();
    rest += &node("post", "edge", 0.0, 0.0);
    rest += &node("pier", "field", 1500.0, 0.0);
    for (index, x_m) in [20_000.0, 21_500.0, 23_000.0].into_iter().enumerate() {
        rest += &node(&format!("far {index}"), "field", x_m, 0.0);
    }
    scenario(0.0, &rest)
}

fn planned(scenario: &Scenario, seed: u64, bytes: usize, times: Option<usize>) -> Plan {
    let rehearse = Some(Rehearse { base: None, times, threads: None });
    let order = PlanOrder { class: None, within_h: 24.0, walk_m_s: 1.2, rehearse };
    plan(scenario, seed, &package(bytes), &order, |_, _| {}).unwrap()
}

fn order(bytes: usize, handed: &[(usize, f64)]) -> PushOrder {
    let trust = Trusted { roots: vec![key().verifying_key().to_bytes()], records: Vec::new() };
    PushOrder {
        kept: true,
        limit_h: 500.0,
        still_h: Some(STILL_H),
        handed: handed.to_vec(),
        ..PushOrder::new(package(bytes), Target::All, trust)
    }
}

fn runs(
    scenario: &Scenario,
    mesh: u64,
    bytes: usize,
    count: u64,
    handed: &[(usize, f64)],
) -> Vec<PushReport> {
    let order = order(bytes, handed);
    (0..count)
        .map(|run| push(scenario, Seeds { mesh, luck: LUCK + run }, None, &order, |_, _, _| true).unwrap())
        .collect()
}

fn figures(way: &Way) -> [f64; 4] {
    [way.packets, way.airtime_s, way.energy_mwh, way.hours]
}

fn outcome(run: &PushReport) -> [f64; 4] {
    [run.sent.packets as f64, run.sent.airtime_s, run.sent.energy_mwh, run.hours]
}

fn within(ranges: &Ranges, run: &PushReport) -> usize {
    let [packets, airtime_s, energy_mwh, hours] = outcome(run);
    usize::from(ranges.packets.holds(packets))
        + usize::from(ranges.airtime_s.holds(airtime_s))
        + usize::from(ranges.energy_mwh.holds(energy_mwh))
        + usize::from(ranges.hours.holds(hours))
}

/// Ratios of prediction to the mean of the runs.
fn ratios(way: &Way, runs: &[PushReport]) -> [f64; 4] {
    let mut means = [0.0; 4];
    for run in runs {
        outcome(run).iter().zip(&mut means).for_each(|(value, mean)| *mean += value / runs.len() as f64);
    }
    std::array::from_fn(|figure| figures(way)[figure] / means[figure])
}

#[test]
fn means_are_those_of_runs_and_ranges_hold_them() {
    let mut held = (0, 0);
    for (name, mesh, bytes) in
        [("line", line(5, 0.1), 3000), ("field", field(10, 0.0), 4500), ("lossy field", field(10, 0.3), 3000)]
    {
        let plan = planned(&mesh, 3, bytes, None);
        let way = plan.way(WayName::Mesh).unwrap();
        assert_eq!((way.basis, way.reaches, way.complete), (Basis::Rehearsal, plan.nodes, way.rehearsals));
        let runs = runs(&mesh, 3, bytes, 12, &[]);
        assert!(runs.iter().all(|run| run.end == PushEvent::Complete), "{name}");
        let ratios = ratios(way, &runs);
        println!("{name}: {ratios:.2?} of {} rehearsals", way.rehearsals);
        assert!(ratios.iter().all(|ratio| (ratio - 1.0).abs() <= 0.2), "{name}: {ratios:.2?}");
        let ranges = way.range.unwrap();
        held.0 += runs.iter().map(|run| within(&ranges, run)).sum::<usize>();
        held.1 += 4 * runs.len();
    }
    // Eight of ten are meant to.
    println!("{} of {} in range", held.0, held.1);
    assert!(held.0 * 100 >= held.1 * 65, "{} of {} figures are in range", held.0, held.1);
}

#[test]
fn a_part_that_is_out_of_reach_is_said_and_a_carrier_goes_there() {
    let mesh = islands();
    let plan = planned(&mesh, 1, 2000, Some(6));
    let (alone, both) = (plan.way(WayName::Mesh).unwrap(), plan.way(WayName::Both).unwrap());
    assert_eq!((alone.reaches, alone.complete, alone.fits), (2, 0, false));
    assert_eq!((both.reaches, both.complete, both.fits), (5, 6, true));
    let (name, hours) = &plan.landings[0];
    // 20 km at 1.2 m/s.
    assert_eq!((plan.landings.len(), name.as_str()), (1, "far 0"));
    assert!((4.6..4.8).contains(hours), "{hours}");
    assert!(both.hours > *hours && alone.hours < *hours);
    let runs = runs(&mesh, 1, 2000, 6, &[(2, hours * 60.0)]);
    let ratios = ratios(both, &runs);
    assert!(ratios[3] > 0.8 && ratios[3] < 1.2 && ratios[0] > 0.8 && ratios[0] < 1.2, "{ratios:.2?}");
}

#[test]
fn somebody_who_walks_takes_as_long_as_the_simulators_bluetooth() {
    // A carrier is a node like others, on a mesh where nothing is heard.
    let at = [(0.0, 0.0), (900.0, 0.0), (900.0, 700.0), (0.0, 700.0)];
    let nodes = |kind: &str| {
        let mut text = String::new();
        for (index, (x_m, y_m)) in at.into_iter().enumerate() {
            text += &node(&format!("n{index}"), if index == 0 { "edge" } else { kind }, x_m, y_m);
        }
        text
    };
    let bytes = 40_000;
    let stands = scenario(1.0, &format!("[bluetooth]\nbytes_per_s = 1000.0\n{}", nodes("field")));
    let plan = planned(&stands, 1, bytes, Some(2));
    let way = plan.way(WayName::Carrier).unwrap();
    assert_eq!((way.basis, way.reaches, way.airtime_s), (Basis::Formula, 4, 0.0));
    let handing_s = way.hours * 3600.0 - 2300.0 / 1.2;
    // Stays as long as the plan says that a hand-over takes, and a little more.
    let stay_s = handing_s / 4.0 + 3.0;
    let carrier = format!(
        "{}visits = {{ nodes = [\"n0\", \"n3\", \"n2\", \"n1\"], speed_m_s = 1.2, stay_s = {stay_s:.1} }}\n",
        node("carrier", "field", 0.0, 0.0)
    );
    let walks = scenario(1.0, &format!("[bluetooth]\nbytes_per_s = 1000.0\n{}{carrier}", nodes("field")));
    let order = PushOrder { warm_up_h: 0.0, ..order(bytes, &[]) };
    let report = push(&walks, Seeds::from(1), None, &order, |_, _, _| true).unwrap();
    assert_eq!((report.end, report.done), (PushEvent::Complete, 5), "{report:?}");
    let ratio = way.hours / report.hours;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn the_same_plan_again_is_the_same_and_without_rehearsal_it_is_reckoned() {
    let mesh = line(3, 0.1);
    let first = planned(&mesh, 2, 1500, Some(3));
    assert_eq!(planned(&mesh, 2, 1500, Some(3)), first, "whatever the threads do");
    let order = PlanOrder { class: None, within_h: 24.0, walk_m_s: 1.2, rehearse: None };
    let reckoned = plan(&mesh, 2, &package(1500), &order, |_, _| panic!("nothing is rehearsed")).unwrap();
    let way = reckoned.way(WayName::Mesh).unwrap();
    assert_eq!((way.basis, way.rehearsals, way.range), (Basis::Formula, 0, None));
    let rehearsed = first.way(WayName::Mesh).unwrap();
    let ratio = way.packets / rehearsed.packets;
    assert!((0.4..2.5).contains(&ratio), "formulas are rough, not wild: {ratio}");
}
