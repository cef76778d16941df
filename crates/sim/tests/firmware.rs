//! Firmware over the air: a delta goes from hop to hop, each node makes its image of it, restarts, tries it and runs it, whatever is lost
//! and wherever power fails. What runs is read from flash, not asked of the nodes.

use compotastic_bundle::{
    ClaimedManifest, ClassMask, ComponentKind, Delta, ImageIdentity, Layout, Manifest, build_stream,
};
use compotastic_delta::encode::{Hint, encode};
use compotastic_sim::{
    scenario::{Package, PushEvent, PushOrder, PushReport, Scenario, Target, push},
    swarm::{Trusted, native::image},
};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

const PIECE: u16 = 176;

/// A post, three field nodes behind one another, one of them behind a stock radio, and one of another class beside them; a tenth of all is lost.
fn line() -> Scenario {
    let mut text = "name = \"line\"\npreset = \"LONG_FAST\"\nregion = \"EU_868\"\nhours = 1.0\nloss = 0.1\n[radio]\nexponent = 3.4\nshadowing_db = 0.0\nfading_db = 0.0\n"
        .to_string();
    for (index, name) in ["post", "a", "b", "c", "other"].iter().enumerate() {
        let kind = ["edge", "field", "hosted", "field", "field"][index];
        let class = if *name == "other" { 2 } else { 1 };
        let (x_m, y_m) = if *name == "other" { (2000, 500) } else { (index * 2000, 0) };
        text += &format!(
            "[[node]]\nname = \"{name}\"\nkind = \"{kind}\"\nclass = {class}\nx_m = {x_m}.0\ny_m = {y_m}.0\n"
        );
    }
    Scenario::parse(&text).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x44; 32])
}

fn package(content: Vec<u8>, version: u32, delta: Option<Delta>) -> Package {
    let layout = Layout::new(content.len() as u32, PIECE).unwrap();
    let identity = build_stream(&content, PIECE, &mut vec![0; layout.stream_len() as usize]).unwrap();
    let classes = ClassMask::of(1);
    let manifest =
        Manifest { delta, ..Manifest::of(&identity, ComponentKind::Firmware, 0, version, classes) };
    Package { claimed: ClaimedManifest::sign(manifest, &key()).unwrap(), delegation: None, content }
}

fn identity(bytes: &[u8]) -> ImageIdentity {
    ImageIdentity { digest: Sha256::digest(bytes).into(), size: bytes.len() as u32 }
}

/// From version 5 to 6.
fn order(cuts: &[(&str, f64)]) -> PushOrder {
    let (old, new) = (image(5), image(6));
    let patch = encode(&old, &new, Hint::Unknown).unwrap().bytes;
    assert!(patch.len() < new.len() / 4, "{} of {} bytes", patch.len(), new.len());
    let delta = Delta { replaces: identity(&old).digest8(), result: identity(&new) };
    let trust = Trusted { roots: vec![key().verifying_key().to_bytes()], records: Vec::new() };
    PushOrder {
        running: Some(package(old, 5, None)),
        cuts: cuts.iter().map(|(node, min)| ((*node).to_string(), *min)).collect(),
        ..PushOrder::new(package(patch, 6, Some(delta)), Target::Class(1), trust)
    }
}

fn run(order: &PushOrder) -> PushReport {
    push(&line(), 1.into(), None, order, |_, _, _| true).unwrap()
}

#[test]
fn all_nodes_of_the_class_run_the_new_image_and_no_other_does() {
    let report = run(&order(&[]));
    assert_eq!((report.end, report.done, report.targets), (PushEvent::Complete, 4, 4));
    let [others @ .., last] = &report.rows[..] else { panic!() };
    assert!(
        others.iter().all(|row| (row.runs, row.version, row.restarts) == (Some(6), Some(6), 1)),
        "{report:#?}"
    );
    assert!(others.iter().all(|row| row.runs_min > row.done_min.map(|min| min + 10.0)), "each has its trial");
    assert_eq!((last.runs, last.version, last.runs_min), (Some(0), Some(0), None), "not of the class");
    assert_eq!(run(&order(&[])), report, "the same again");
}

/// At whatever comes next in flash: a piece, the image, the boot loader's exchange, the trial's end.
#[test]
fn nodes_whose_power_fails_come_back_and_finish() {
    let whole = run(&order(&[]));
    let min = |report: &PushReport, node: &str| {
        report.rows.iter().find(|row| row.node == node).and_then(|row| row.runs_min).unwrap()
    };
    let done =
        |node: &str| whole.rows.iter().find(|row| row.node == node).and_then(|row| row.done_min).unwrap();
    for cuts in [
        vec![("a", 0.0), ("b", done("b") - 0.5)],
        vec![("a", done("a")), ("b", done("b") + 0.1), ("c", min(&whole, "c") - 0.5)],
        vec![("a", 1.0), ("a", 5.0), ("c", done("c") - 1.0), ("c", done("c") + 5.0)],
    ] {
        let report = run(&order(&cuts));
        let all = report.rows[..4].iter().all(|row| row.runs == Some(6));
        assert!(report.end == PushEvent::Complete && all, "{cuts:?}: {report:#?}");
        let restarts: u32 = report.rows.iter().map(|row| row.restarts).sum();
        assert!(restarts > 4, "power failed nowhere with {cuts:?}: {report:#?}");
        println!("{cuts:?}: {restarts} restarts, {:.1} h instead of {:.1}", report.hours, whole.hours);
    }
}

#[test]
fn what_cannot_be_is_refused_before_it_begins() {
    let refused = |order: &PushOrder| push(&line(), 1.into(), None, order, |_, _, _| true).unwrap_err();
    let unknown = PushOrder { running: None, ..order(&[]) };
    assert!(refused(&unknown).contains("--running"), "{}", refused(&unknown));
    let other = PushOrder { running: Some(package(image(4), 5, None)), ..order(&[]) };
    assert!(refused(&other).contains("another image"), "{}", refused(&other));
    let stranger = PushOrder { trust: Trusted::default(), ..order(&[]) };
    assert!(refused(&stranger).contains("signed by a root key"), "{}", refused(&stranger));
    let newer = PushOrder { running: Some(package(image(5), 7, None)), ..order(&[]) };
    assert!(refused(&newer).contains("not newer"), "{}", refused(&newer));
    assert!(refused(&order(&[("nobody", 1.0)])).contains("nobody is no node"));
}
