//! Frames survive the air, and nothing else gets through.

use compotastic_wire::{
    Address, Advert, Award, Beacon, Frame, FrameClass, IdBlocks, JobResult, KeyRing, MAX_PAYLOAD, Malformed,
    Neighbours, Offer, OpenError, Part, PartRequest, Record, RecordRequest, RecordType, ReplayTable, Report,
    ReportEntry, ReportText, ReportWriter, Request, ResultStatus, SealError, SwarmKey, Symbol, SymbolRequest,
    Verdict, deadline_code, deadline_seconds, open, seal,
};
use proptest::prelude::*;

const ADDRESS: Address = Address { from: 0x1122_3344, to: 0x5566_7788, id: 77 };

fn keys() -> KeyRing {
    KeyRing::new(3, SwarmKey(*b"0123456789abcdef"))
}

fn examples() -> Vec<Frame<'static>> {
    let request = Request {
        kind: 0,
        priority: 2,
        wants_offers: false,
        task: 1,
        deadline_code: 9,
        wake: 0,
        back: None,
        codec: 1,
        text: b"coded text",
    };
    let mut buffer = [0; MAX_PAYLOAD];
    let mut writer = ReportWriter::new(&mut buffer);
    let code = ReportEntry {
        priority: 1,
        form: 0,
        confidence: 12,
        class: 3,
        model_version: 1,
        age_min: 30,
        origin: 5,
        text: None,
    };
    writer.push(&code).unwrap();
    let text = Some(ReportText { codec: 1, bytes: b"help" });
    writer.push(&ReportEntry { priority: 3, form: 2, origin: 6, text, ..code }).unwrap();
    let entries: &'static [u8] = writer.finish().to_vec().leak();
    let needs = SymbolRequest {
        object_tag: 9,
        generation: 0,
        needed: 20,
        server: 0x3344,
        lacking: 0x8001,
        uncoded: None,
    };
    let beacon = Beacon { flags: 9, load: 2, battery: 14, object_tag: 9, ..Beacon::default() };
    let neighbours = Neighbours::from_bytes(&[3, 0, 4, 0, 0, 1, 255, 255]).unwrap();
    vec![
        Frame::Beacon(beacon),
        Frame::Beacon(Beacon { neighbours, ..beacon }),
        Frame::Request(request),
        Frame::Request(Request { back: Some(7), wants_offers: true, ..request }),
        Frame::Offer(Offer { job: 77, suitability: 240, wait_s: 1 }),
        Frame::Award(Award { job: 77 }),
        Frame::Result(JobResult {
            requester: None,
            job: 77,
            status: ResultStatus::Ok,
            confidence: 15,
            class: 4,
            model_version: 1,
            text: None,
        }),
        Frame::Symbol(Symbol { object_tag: 9, generation: 0, symbol: 300, more: 255, data: &[7; 208] }),
        Frame::SymbolRequest(needs),
        Frame::SymbolRequest(SymbolRequest { needed: 2, uncoded: Some(&[3, 0]), ..needs }),
        Frame::Record(Record {
            record_type: RecordType::Manifest,
            part: 0,
            parts: 2,
            tag: 9,
            bytes: &[1; 200],
        }),
        Frame::RecordRequest(RecordRequest { record_type: RecordType::Delegation, tag: 9 }),
        Frame::Report(Report::from_entries(entries)),
        Frame::Advert(Advert { object_tag: 9, complete: 0x4001 }),
        Frame::Part(Part { job: 77, part: 3, parts: 4, of_answer: true, tag: 0x5e, bytes: &[5; 200] }),
        Frame::PartRequest(PartRequest { job: 77, of_answer: true, missing: 0b1010 }),
    ]
}

#[test]
fn each_class_comes_back_and_each_flipped_bit_is_refused() {
    for frame in examples() {
        let mut buffer = [0; MAX_PAYLOAD];
        let length = seal(&frame, &keys(), &ADDRESS, &mut buffer).unwrap();
        assert_eq!(open(&buffer[..length], &keys(), &ADDRESS), Ok((frame, 3)));
        for bit in 0..length * 8 {
            let mut changed = buffer;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed[..length], &keys(), &ADDRESS).is_err(), "{frame:?} bit {bit}");
        }
        for other in
            [Address { from: 1, ..ADDRESS }, Address { to: 1, ..ADDRESS }, Address { id: 78, ..ADDRESS }]
        {
            assert_eq!(open(&buffer[..length], &keys(), &other), Err(OpenError::BadMac));
        }
    }
}

#[test]
fn a_symbol_of_208_bytes_is_the_longest() {
    let data = [7; 209];
    let symbol = |length: usize| {
        Frame::Symbol(Symbol { object_tag: 9, generation: 0, symbol: 300, more: 0, data: &data[..length] })
    };
    assert_eq!(seal(&symbol(208), &keys(), &ADDRESS, &mut [0; 300]), Ok(MAX_PAYLOAD));
    assert_eq!(seal(&symbol(209), &keys(), &ADDRESS, &mut [0; 300]), Err(SealError));
}

#[test]
fn a_beacon_with_a_wrong_list_of_neighbours_is_malformed() {
    let beacon = |neighbours: &[u8]| {
        let body = [&[0; 16], neighbours].concat();
        Frame::parse(FrameClass::Beacon, &body, true)
            .map(|frame| seal(&frame, &keys(), &ADDRESS, &mut [0; 80]))
    };
    let rising: Vec<u8> = (1..=25).flat_map(u16::to_le_bytes).collect();
    assert_eq!(beacon(&[]), Ok(Ok(26)));
    assert_eq!(beacon(&rising[..48]), Ok(Ok(74)));
    // Too long, half a name, falling, twice, nobody; and rising as bytes but not as numbers.
    for wrong in [&rising[..], &[1], &[1, 0, 2], &[2, 0, 1, 0], &[2, 0, 2, 0], &[0, 0, 1, 0], &[1, 2, 3, 1]] {
        assert_eq!(beacon(wrong), Err(Malformed), "{wrong:?}");
    }
}

#[test]
fn later_versions_and_classes_are_told_apart_from_forgeries() {
    assert_eq!(open(&[2 << 5, 3, 0, 0], &keys(), &ADDRESS), Err(OpenError::UnknownVersion(2)));
    assert_eq!(open(&[1 << 5 | 30, 3, 0], &keys(), &ADDRESS), Err(OpenError::UnknownClass(30)));
    assert_eq!(open(&[1 << 5, 3, 0, 0], &keys(), &ADDRESS), Err(OpenError::Truncated));
    let mut frame = [0; 30];
    frame[0] = 1 << 5;
    frame[1] = 9;
    assert_eq!(open(&frame, &keys(), &ADDRESS), Err(OpenError::UnknownEpoch(9)));
}

#[test]
fn two_epochs_are_in_force_during_a_rotation() {
    let frame = Frame::Award(Award { job: 1 });
    let mut buffer = [0; MAX_PAYLOAD];
    let length = seal(&frame, &keys(), &ADDRESS, &mut buffer).unwrap();
    let mut ring = keys();
    ring.rotate(SwarmKey([9; 16]));
    assert_eq!(open(&buffer[..length], &ring, &ADDRESS), Ok((frame, 3)));
    ring.rotate(SwarmKey([10; 16]));
    assert_eq!(open(&buffer[..length], &ring, &ADDRESS), Err(OpenError::UnknownEpoch(3)));
}

#[test]
fn ids_rise_over_reboots() {
    let mut ids = IdBlocks::new(0);
    assert_eq!(ids.next(), None);
    let mark = ids.reserve();
    ids.confirm(mark);
    let used: Vec<u32> = std::iter::from_fn(|| ids.next()).collect();
    assert_eq!((used[0], used.len()), (1, 256));
    let mut after = IdBlocks::new(mark);
    after.confirm(after.reserve());
    assert!(after.next().unwrap() > *used.last().unwrap());
}

#[test]
fn deadline_codes_never_shorten() {
    for seconds in [0, 1, 15, 16, 3600, 7200, 400_000] {
        assert!(deadline_seconds(deadline_code(seconds)) >= seconds);
    }
    assert_eq!(deadline_code(u32::MAX), 15);
}

#[test]
fn a_full_table_forgets_the_longest_unheard() {
    let mut table = ReplayTable::<4>::new();
    for from in 0..5 {
        assert!(table.accept(from, 10));
    }
    assert_eq!(table.check(0, 10), Verdict::Fresh);
    assert_eq!(table.check(1, 10), Verdict::Replayed);
}

proptest! {
    #[test]
    fn bytes_from_anywhere_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..260), to in any::<u32>()) {
        let _ = open(&bytes, &keys(), &Address { to, ..ADDRESS });
        // Past the MAC too: every body of every class.
        for class in FrameClass::ALL {
            let _ = Frame::parse(class, &bytes, to & 1 == 0);
        }
    }

    #[test]
    fn the_window_agrees_with_a_list_of_all_ids(ids in proptest::collection::vec(1u32..400, 1..200)) {
        let mut table = ReplayTable::<2>::new();
        let mut seen = std::collections::BTreeSet::new();
        for id in ids {
            let newest = seen.last().copied().unwrap_or(0);
            let fresh = !seen.contains(&id) && (seen.is_empty() || id + 64 > newest);
            prop_assert_eq!(table.accept(7, id), fresh);
            if fresh {
                seen.insert(id);
            }
        }
    }
}
