//! Pushing a bundle through a mesh: everybody for whom it is gets it, and the publisher can hold it back, give it up, or try it on canaries.

use compotastic_bundle::{ClaimedManifest, ClassMask, ComponentKind, Layout, Manifest, build_stream};
use compotastic_mesh::rng::Rng;
use compotastic_sim::{
    scenario::{Canary, Package, PushEvent, PushOrder, PushReport, PushRow, Scenario, Target, push},
    swarm::Trusted,
};
use ed25519_dalek::SigningKey;

const PIECE: u16 = 208;

/// An edge node, and three behind one another; `canary` is the class of the first of them and of the edge node.
fn line(canary: u8) -> Scenario {
    let mut text = "name = \"line\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\n[radio]\nexponent = 3.4\nshadowing_db = 0.0\nfading_db = 0.0\n"
        .to_string();
    for (index, name) in ["post", "a", "b", "c"].iter().enumerate() {
        let kind = if index == 0 { "edge" } else { "field" };
        let class = if index < 2 { canary } else { 1 };
        let x_m = index * 2000;
        text += &format!(
            "[[node]]\nname = \"{name}\"\nkind = \"{kind}\"\nclass = {class}\nx_m = {x_m}.0\ny_m = 0.0\n"
        );
    }
    Scenario::parse(&text).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x44; 32])
}

fn package(bytes: usize, version: u32, classes: ClassMask) -> Package {
    let mut rng = Rng::from_seed(u64::from(version));
    let content: Vec<u8> = (0..bytes).map(|_| rng.next_u32() as u8).collect();
    let layout = Layout::new(bytes as u32, PIECE).unwrap();
    let identity = build_stream(&content, PIECE, &mut vec![0; layout.stream_len() as usize]).unwrap();
    let manifest =
        Manifest { ram: 4096, ..Manifest::of(&identity, ComponentKind::Firmware, 0, version, classes) };
    Package { claimed: ClaimedManifest::sign(manifest, &key()).unwrap(), delegation: None, content }
}

fn order(bytes: usize) -> PushOrder {
    let trust = Trusted { roots: vec![key().verifying_key().to_bytes()], records: Vec::new() };
    PushOrder::new(package(bytes, 3, ClassMask(0b110)), Target::Class(1), trust)
}

type Told = Vec<(PushEvent, f64, Vec<PushRow>)>;

fn run(scenario: &Scenario, order: &PushOrder) -> (PushReport, Told) {
    let mut told = Vec::new();
    let report = push(scenario, 1.into(), None, order, |event, min, rows| {
        told.push((event, min, rows.to_vec()));
        true
    });
    (report.unwrap(), told)
}

fn told(told: &Told, event: PushEvent) -> f64 {
    told.iter().find(|(other, ..)| *other == event).unwrap_or_else(|| panic!("{event:?} in {told:?}")).1
}

#[test]
fn all_nodes_of_a_class_get_it_and_the_view_shows_how() {
    let (report, told) = run(&line(1), &order(6000));
    assert_eq!((report.end, report.done, report.targets), (PushEvent::Complete, 4, 4), "{report:?}");
    assert!(report.sent.symbols >= 2 * 6000 / 208, "at least two nodes send it: {:?}", report.sent);
    assert!(told.iter().any(|(_, _, rows)| rows.iter().any(|row| row.percent > 0 && row.percent < 100)));
    let done: Vec<f64> = report.rows.iter().map(|row| row.done_min.unwrap()).collect();
    assert!(done.is_sorted() && done[0] == 0.0, "from hop to hop: {done:?}");
    assert!(report.rows.iter().all(|row| row.version == Some(3) && row.percent == 100));
    assert!(report.rows.iter().all(|row| row.runs == Some(3) && row.runs_min > row.done_min), "{report:?}");
    let again = run(&line(1), &order(6000)).0;
    assert_eq!(again, report, "the same again");
}

#[test]
fn one_node_is_enough_when_one_is_named() {
    let (report, _) = run(&line(1), &PushOrder { to: Target::Node("a".to_string()), ..order(3000) });
    assert_eq!((report.end, report.done, report.targets), (PushEvent::Complete, 1, 1));
    assert!(report.rows[3].runs_min.is_none(), "the last one is not waited for: {report:?}");
}

#[test]
fn what_is_held_back_goes_no_further_until_it_goes_on() {
    let order = PushOrder { pause_min: Some(3.0), resume_min: Some(300.0), ..order(6000) };
    let (report, events) = run(&line(1), &order);
    let (paused, resumed) = (told(&events, PushEvent::Paused), told(&events, PushEvent::Resumed));
    assert_eq!((paused, resumed), (3.0, 300.0));
    let mut meanwhile: Vec<Vec<u8>> = events
        .iter()
        .filter(|(event, min, _)| *event == PushEvent::Progress && *min > paused + 1.0 && *min < resumed)
        .map(|(.., rows)| rows[1..].iter().map(|row| row.percent).collect())
        .collect();
    meanwhile.dedup();
    assert!(meanwhile.len() <= 1, "the publisher's restart has let it go on: {meanwhile:?}");
    assert_eq!((report.end, report.done), (PushEvent::Complete, 4));
    assert!(report.rows[1].done_min > Some(300.0));
    assert!(report.rows[0].runs_min > Some(300.0), "nor does the publisher try it: {report:?}");
}

#[test]
fn what_is_given_up_stays_where_it_is() {
    let (report, _) = run(&line(1), &PushOrder { cancel_min: Some(3.0), ..order(6000) });
    assert_eq!((report.end, report.done), (PushEvent::Cancelled, 0));
    assert!(
        report.rows[1..].iter().all(|row| row.done_min.is_none() && row.version == Some(0)),
        "{report:?}"
    );
    // By whoever watches, too.
    let stopped = push(&line(1), 1.into(), None, &order(6000), |event, min, _| {
        event != PushEvent::Progress || min < 3.0
    })
    .unwrap();
    assert_eq!((stopped.end, stopped.done), (PushEvent::Cancelled, 0));
}

#[test]
fn canaries_go_first_and_their_failures_halt_the_rest() {
    let scenario = line(2);
    let canary = |soak_min| Canary { package: package(3000, 2, ClassMask::of(2)), soak_min, max_failures: 0 };
    let staged = |soak_min| PushOrder { canary: Some(canary(soak_min)), ..order(3000) };
    let (report, events) = run(&scenario, &staged(120.0));
    assert_eq!((report.end, report.done, report.targets), (PushEvent::Complete, 2, 2), "{report:?}");
    assert_eq!(told(&events, PushEvent::CanaryPassed), 120.0);
    let before = events.iter().filter(|(_, min, _)| *min < 120.0).flat_map(|(.., rows)| rows);
    assert!(
        before.filter(|row| row.class == 1).all(|row| row.percent == 0 && row.version.unwrap_or(0) == 0),
        "nobody else takes the candidate"
    );
    // Two minutes are too few: the canary has failed.
    let (halted, events) = run(&scenario, &staged(2.0));
    assert_eq!((halted.end, halted.done), (PushEvent::Halted, 0));
    assert!(!events.iter().any(|(event, ..)| *event == PushEvent::Published));
}

/// The usual roll-out: the candidate's very bytes go to the rest under a higher version. Canaries notice, and take them from their own flash.
#[test]
fn the_same_content_under_a_new_version_costs_its_manifest() {
    let policy = |seed: u64, version, classes| {
        let mut rng = Rng::from_seed(seed);
        let content: Vec<u8> = (0..3000).map(|_| rng.next_u32() as u8).collect();
        let layout = Layout::new(3000, PIECE).unwrap();
        let identity = build_stream(&content, PIECE, &mut vec![0; layout.stream_len() as usize]).unwrap();
        let manifest = Manifest::of(&identity, ComponentKind::Policy, 7, version, classes);
        Package { claimed: ClaimedManifest::sign(manifest, &key()).unwrap(), delegation: None, content }
    };
    let staged = |candidate| {
        let candidate = policy(candidate, 2, ClassMask::of(2));
        let canary = Some(Canary { package: candidate, soak_min: 120.0, max_failures: 0 });
        run(
            &line(2),
            &PushOrder { canary, package: policy(1, 3, ClassMask(0b110)), to: Target::All, ..order(3000) },
        )
        .0
    };
    let (other, same) = (staged(9), staged(1));
    for report in [&other, &same] {
        assert_eq!((report.end, report.done), (PushEvent::Complete, 4), "{report:?}");
        assert!(report.rows.iter().all(|row| row.version == Some(3)), "{report:?}");
    }
    let pieces = 3000 / u64::from(PIECE);
    assert!(same.sent.symbols + pieces <= other.sent.symbols, "{:?} and {:?}", same.sent, other.sent);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |scenario: &Scenario, order: &PushOrder| {
        push(scenario, 1.into(), None, order, |_, _, _| true).unwrap_err()
    };
    let stranger = PushOrder { trust: Trusted::default(), ..order(3000) };
    assert!(refused(&line(1), &stranger).contains("refuses it"), "nobody trusts its signer");
    let nobody = PushOrder { to: Target::Class(9), ..order(3000) };
    assert!(refused(&line(1), &nobody).contains("nobody is meant"));
    let other_class = PushOrder { package: package(3000, 3, ClassMask::of(5)), ..order(3000) };
    assert!(refused(&line(1), &other_class).contains("for which the bundle is not signed"));
    let canary = Canary { package: package(3000, 3, ClassMask::of(2)), soak_min: 60.0, max_failures: 0 };
    let same = PushOrder { canary: Some(canary), ..order(3000) };
    assert!(refused(&line(2), &same).contains("lower version"));
}
