//! Recordings: the same figures without simulating, the same hash with and without one, damage is noticed, the page
//! docs/RECORDING.md says what the code does.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use compotastic_mesh::{
    crypto::Channel,
    lora::{Preset, Region},
    time::{Duration, Instant},
};
use compotastic_sim::{
    log::EventLog,
    recording::{
        Body, Header, LinkRow, NodeRow, ReadError, Record, Recorder, Sink, Source, Verifier, replay,
    },
    scenario::{self, Run, Scenario},
};
use proptest::prelude::*;

/// A file in memory that the test can look at afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn text(name: &str) -> String {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn record(text: &str, seed: u64) -> (Run, Vec<u8>) {
    let file = Shared::default();
    let out = file.clone();
    let begin = |header: &Header| Ok(Some(Box::new(Recorder::new(out, header)?) as Box<dyn Sink>));
    let run = scenario::run_with(&Scenario::parse(text).unwrap(), text, seed, None, begin, |_| {}).unwrap();
    (run, file.bytes())
}

fn verify(recorded: &[u8], scenario: &Scenario, text: &str, seed: u64) -> Result<(), String> {
    let bytes = recorded.to_vec();
    let begin = |header: &Header| Ok(Some(Box::new(Verifier::new(bytes, header)?) as Box<dyn Sink>));
    scenario::run_with(scenario, text, seed, None, begin, |_| {}).map(|_| ())
}

fn json(report: &scenario::Report) -> String {
    serde_json::to_string(report).unwrap()
}

#[test]
fn a_replay_has_the_figures_of_the_run_and_a_run_the_same_hash_with_and_without_a_recording() {
    for (name, hours) in [("two-huts.toml", 2.0), ("river.toml", 3.0)] {
        let text = text(name).replace("hours = 12.0", &format!("hours = {hours:.1}"));
        let (run, bytes) = record(&text, 4);
        let replayed = replay(&bytes).unwrap();
        assert_eq!(json(&run.report), json(&replayed.report));
        assert_eq!(run.header, replayed.header);
        assert_eq!(run.ledger.busiest(), replayed.ledger.busiest());
        assert_eq!(replayed.tally.unknown, 0);
        let bare = scenario::run(&Scenario::parse(&text).unwrap(), 4, None, |_| {}).unwrap();
        assert_eq!(json(&bare), json(&run.report));
        // Compact: a frame has some 60 bytes, and each is heard by several.
        let per_frame = bytes.len() as u64 / run.report.transmissions;
        assert!(per_frame < 120, "{name}: {per_frame} bytes per transmission");
    }
}

#[test]
fn a_recording_can_be_verified_and_the_first_difference_is_named() {
    let text = text("two-huts.toml");
    let scenario = Scenario::parse(&text).unwrap();
    let (_, bytes) = record(&text, 1);
    verify(&bytes, &scenario, &text, 1).unwrap();
    let other_seed = verify(&bytes, &scenario, &text, 2).unwrap_err();
    assert!(other_seed.contains("before the first event"), "{other_seed}");
    // A program whose air loses more: the same header, other events.
    let mut lossy = scenario;
    lossy.set_loss(0.3);
    let difference = verify(&bytes, &lossy, &text, 1).unwrap_err();
    assert!(difference.contains("at event ") && difference.contains("now it is"), "{difference}");
}

#[test]
fn a_cut_or_altered_recording_is_noticed() {
    let (_, bytes) = record(&text("two-huts.toml"), 1);
    for cut in (0..bytes.len()).step_by(97).chain(bytes.len() - 100..bytes.len()) {
        assert!(replay(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in (0..bytes.len()).step_by(61).chain(bytes.len() - 66..bytes.len()) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(replay(&altered).is_err(), "altered at {at}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(replay(&longer).is_err());
    assert_eq!(replay(b"name = \"two huts\"").err(), Some(ReadError::NoRecording));
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(replay(&newer).err(), Some(ReadError::Version(2)));
    let cut = replay(&bytes[..bytes.len() / 2]).err().unwrap().to_string();
    assert!(cut.contains("cut off") || cut.contains("damaged"), "{cut}");
}

#[test]
fn a_recording_begins_before_the_first_event() {
    let mut log = EventLog::default();
    log.note(Instant::ZERO, 0, &Record::Off);
    assert!(log.begin(vec![1], None).is_err());
}

#[test]
fn a_preset_has_one_spelling() {
    let mut bytes = example();
    let at = bytes.windows(9).position(|part| part == b"LONG_FAST").unwrap();
    bytes[at + 2] = b'n';
    let error = replay(&bytes).err().unwrap().to_string();
    assert!(error.contains("preset"), "{error}");
}

fn node(number: u32, name: &str, role: &str, x_cm: i64) -> NodeRow {
    NodeRow { number, name: name.into(), role: role.into(), x_cm, y_cm: -50, height_cm: 200, gain_cdbi: 215 }
}

/// The recording of docs/RECORDING.md.
fn example() -> Vec<u8> {
    let header = Header {
        source: Source::Scenario("name = \"ab\"\n".into()),
        title: "ab".into(),
        seed: 300,
        preset: Preset::LongFast,
        region: Region::Eu868,
        end: Instant::ZERO + Duration::from_secs(60),
        bin: Duration::from_secs(60),
        channels: vec![Channel::new("LongFast", &[1]).unwrap()],
        nodes: vec![node(1, "a", "client", 0), node(2, "b", "router", 150_000)],
        links: vec![LinkRow { from: 0, to: 1, reception_permille: 980 }],
    };
    let file = Shared::default();
    let recorder = Recorder::new(file.clone(), &header).unwrap();
    let mut log = EventLog::default();
    log.begin(vec![1, 2], Some(Box::new(recorder))).unwrap();
    let at = |us| Instant::ZERO + Duration::from_micros(us);
    let sent = Record::MessageSent { message: 0, to: None, length: 5, want_ack: false, late_us: 7 };
    log.note(at(1_000_000), 0, &sent);
    log.push(at(1_000_200), 0, Body::Transmit { frame: &[0xAA, 0xBB, 0xCC] });
    log.push(at(1_206_200), 1, Body::Receive { from: 0, snr_qdb: -18 });
    log.note(at(1_206_200), 1, &Record::MessageReceived { message: 0, hops: 1 });
    log.push(at(2_000_000), 0, Body::Energy { airtime_us: 300 });
    log.note(at(2_000_000), 1, &Record::Off);
    log.finish().unwrap();
    file.bytes()
}

#[test]
fn the_page_has_the_bytes_of_its_example() {
    let page = include_str!("../../../docs/RECORDING.md");
    let block = page.split("<!-- example -->").nth(1).expect("the page marks its example");
    let digits: String = block
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| line.split('|').next().unwrap_or_default())
        .flat_map(|line| line.chars().filter(|digit| !digit.is_whitespace()))
        .collect();
    let made: String = example().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, made);
    let run = replay(&example()).unwrap();
    assert_eq!((run.report.messages, run.report.delivered, run.report.transmissions), (1, 1, 1));
    assert_eq!(run.tally.switched[&1], [(Instant::from_micros(2_000_000), false)]);
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(replay(&bytes).is_err());
        let begun = [b"CPTSREC\n\x01\x01", &bytes[..]].concat();
        prop_assert!(replay(&begun).is_err());
    }

    #[test]
    fn damage_is_refused_and_does_no_harm(at in 0usize..400, value: u8, gone in 0usize..4) {
        let mut bytes = example();
        let at = at % bytes.len();
        let changed = bytes[at] != value || gone > 1;
        bytes.splice(at..(at + gone).min(bytes.len()), [value]);
        if changed && bytes != example() {
            prop_assert!(replay(&bytes).is_err());
        }
    }
}
