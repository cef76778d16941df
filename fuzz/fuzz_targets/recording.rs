//! Recordings: any bytes are refused or counted; what can be read of them is, recorded again, the same bytes and whole.
#![no_main]

use compotastic_sim::recording::{Reader, Recorder, Sink as _, replay};
use libfuzzer_sys::fuzz_target;

/// Kind, a count below 128, and two hashes.
const END: usize = 66;

fuzz_target!(|data: &[u8]| {
    let whole = replay(data).is_ok();
    // A fuzzer cannot make the hashes at the end, so they are made for what was read until then.
    let Ok((header, mut reader)) = Reader::new(data) else { return };
    let mut out = Vec::new();
    let mut recorder = Recorder::new(&mut out, &header).expect("memory is writable");
    while let Ok(Some(event)) = reader.next_event() {
        recorder.event(&event).expect("memory is writable");
    }
    let events = reader.events();
    recorder.finish(events, reader.event_log_sha256()).expect("memory is writable");
    drop(recorder);
    if whole {
        assert_eq!(out, data);
    }
    let end = END + usize::from(events >= 128) + usize::from(events >= 128 * 128);
    assert!(data.starts_with(&out[..out.len() - end]));
    if let Ok(run) = replay(&out) {
        let json = serde_json::to_string(&run.report).expect("figures are JSON");
        assert!(!json.is_empty());
    }
});
