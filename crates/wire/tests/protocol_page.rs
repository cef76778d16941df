//! PROTOCOL.md and the code say the same: tables, limits, sizes, vectors.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{
    Example, Table, blocks, examples, fields, page, record_blocks, repository, table, tables, unhex,
};
use compotastic_mesh::{
    lora::Preset,
    packet::{Data, HEADER},
};
use compotastic_model::{CALIBRATION_POINTS, TASK_HEADER, TaskHeader};
use compotastic_wire::records::{
    capability::MAX_CAPABILITY,
    enrolment::{MAX_ENROLMENT, MAX_ENROLMENT_TEXT},
};
use compotastic_wire::{
    Address, Beacon, CODEC_VECTOR, Frame, FrameClass, IdBlocks, JobResult, KeyRing, MAC_LEN, MAX_PAYLOAD,
    Neighbours, PROFILE_VERSION, Part, RecordType, ReplayTable, ReportEntry, ReportText, ReportWriter,
    Request, ResultStatus, SYMBOL_MAC_LEN, SwarmKey, Symbol, SymbolRequest, SyncForm, SyncItem,
    SyncItemWriter, SyncList, SyncRecords, Verdict, deadline_code, deadline_seconds, open, seal,
};

/// Where a field lies in some bytes.
struct Place {
    offset: usize,
    bytes: Vec<u8>,
    /// Value of a field of up to 8 bytes.
    number: u64,
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Cuts `bytes` as the table says, from `start` to `tail` bytes before the end. `present` tells of the optional fields.
fn cut(
    table: &Table,
    bytes: &[u8],
    start: usize,
    tail: usize,
    present: impl Fn(&str) -> bool,
) -> (BTreeMap<String, Place>, usize) {
    let mut at = start;
    let mut places = BTreeMap::new();
    for row in &table.rows {
        let (size, name) = (row[1].as_str(), row[2].clone());
        if let Some(bits) = size.strip_prefix("bits ") {
            let (high, low) = bits.split_once("..").expect("bits high..low");
            let (high, low): (u32, u32) = (high.parse().unwrap(), low.parse().unwrap());
            let number = u64::from(bytes[at]) >> low & ((1 << (high - low + 1)) - 1);
            places.insert(name, Place { offset: at, bytes: vec![bytes[at]], number });
            at += usize::from(low == 0);
            continue;
        }
        if name == "mac" {
            // Frames of one length say where the MAC is, others count from the end.
            let said = row[0].as_str();
            assert!(said == at.to_string() || said == format!("end - {tail}"), "{}: {said}", table.heading);
            assert_eq!(size, tail.to_string(), "{}", table.heading);
            assert_eq!(at, bytes.len() - tail, "{}: the MAC follows the last field", table.heading);
            continue;
        }
        let size = match size.strip_prefix("0 or ") {
            Some(_) if !present(&name) => continue,
            Some(size) => size,
            None => size,
        };
        let length = if size == "n" { bytes.len() - tail - at } else { size.parse().unwrap() };
        let field = bytes[at..at + length].to_vec();
        places.insert(name, Place { offset: at, number: little_endian(&field), bytes: field });
        at += length;
    }
    (places, at)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Checks the places of one frame or entry against the fields that the code gives.
fn compare(places: &BTreeMap<String, Place>, known: &BTreeMap<String, String>, what: &str) {
    for (name, place) in places {
        let there = |field: &str| u64::from(known[field] != "-");
        let expected = match name.as_str() {
            "has_back" => there("back"),
            "has_uncoded" => there("uncoded"),
            "text_length" => (known["text"].len() / 2) as u64,
            "unused" | "unused_bit" => 0,
            "digest" => number(&known[name]).expect("a digest"),
            _ if place.bytes.len() > 4
                || matches!(
                    name.as_str(),
                    "text" | "data" | "uncoded" | "bytes" | "neighbours" | "entries" | "items"
                ) =>
            {
                assert_eq!(common::hex(&place.bytes), known[name], "{what}: {name}");
                continue;
            }
            _ => number(&known[name]).unwrap_or_else(|| panic!("{what}: {name} is no number")),
        };
        assert_eq!(place.number, expected, "{what}: {name}");
    }
    for (name, value) in known {
        assert!(value == "-" || places.contains_key(name), "{what}: the table lacks {name}");
    }
}

fn class_table(tables: &[Table], class: FrameClass) -> &Table {
    table(tables, &format!("Class {}: {class:?}", class as u8), "offset")
}

fn without_prefix(example: &Example, prefix: &str) -> BTreeMap<String, String> {
    fields(&example.frame)
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_string(), value)))
        .filter(|(name, _)| name != "class")
        .collect()
}

#[test]
fn byte_tables_are_what_the_code_writes() {
    let page = page();
    let tables = tables(&page);
    let head = table(&tables, "Head", "offset");
    let mut offsets: BTreeMap<(u8, String), BTreeSet<usize>> = BTreeMap::new();
    for example in examples() {
        let payload = example.payload();
        let class = example.frame.class();
        let (places, at) = cut(head, &payload, 0, 0, |_| true);
        let head_numbers = ["version", "class", "epoch"].map(|name| places[name].number);
        assert_eq!(head_numbers, [u64::from(PROFILE_VERSION), class as u64, u64::from(example.epoch)]);
        assert_eq!(at, 2);
        let layout = class_table(&tables, class);
        let mac = if class == FrameClass::Symbol { SYMBOL_MAC_LEN } else { MAC_LEN };
        let mut note = |places: &BTreeMap<String, Place>, start: usize| {
            for (name, place) in places {
                offsets.entry((class as u8, name.clone())).or_default().insert(place.offset - start);
            }
        };
        if let Frame::Report(report) = example.frame {
            let mut start = 2;
            for index in 0..report.entries().count() {
                let known = without_prefix(&example, &format!("entry{index}."));
                let text = unhex(known["text"].trim_start_matches('-')).len();
                let entry = &payload[start..payload.len() - mac];
                let length = if known["text"] == "-" { 6 } else { 8 + text };
                let there = |_: &str| known["text"] != "-";
                let (places, end) = cut(layout, &entry[..length], 0, 0, there);
                compare(&places, &known, example.name);
                note(&places, 0);
                assert_eq!(end, length);
                start += length;
            }
            assert_eq!(start, payload.len() - mac);
        } else {
            let known = without_prefix(&example, "");
            let (places, end) = cut(layout, &payload, 2, mac, |name| known[name] != "-");
            compare(&places, &known, example.name);
            note(&places, 0);
            assert_eq!(end, payload.len() - mac);
        }
    }
    // Each offset on the page is met by some vector, and each that is met is on the page.
    for class in FrameClass::ALL {
        for row in class_table(&tables, class).rows.iter().filter(|row| row[2] != "mac") {
            let said: BTreeSet<usize> = row[0].split(" or ").map(|offset| offset.parse().unwrap()).collect();
            let met = offsets.get(&(class as u8, row[2].clone())).cloned().unwrap_or_default();
            assert_eq!(said, met, "{class:?}: {}", row[2]);
        }
    }
}

#[test]
fn vectors_are_remade_byte_for_byte() {
    let page = page();
    let on_page = blocks(&page, "vector");
    let examples = examples();
    assert_eq!(on_page.len(), examples.len(), "vectors on the page");
    for ((name, block), example) in on_page.iter().zip(&examples) {
        assert_eq!(name, example.name);
        assert_eq!(*block, example.block(), "PROTOCOL.md: vector {name}");
        let payload = example.payload();
        assert_eq!(open(&payload, &example.keys(), &example.address), Ok((example.frame, example.epoch)));
    }
    let classes: BTreeSet<FrameClass> = examples.iter().map(|example| example.frame.class()).collect();
    assert_eq!(classes.len(), FrameClass::ALL.len(), "a vector of each class");
}

#[test]
fn records_are_remade_byte_for_byte() {
    let on_page: Vec<String> = blocks(&page(), "record").into_iter().map(|(_, block)| block).collect();
    assert_eq!(on_page, record_blocks());
    let page = page();
    let lengths = [
        ["CapabilityRecord".into(), MAX_CAPABILITY.to_string(), "-".into()],
        ["EnrolmentRecord".into(), MAX_ENROLMENT.to_string(), MAX_ENROLMENT_TEXT.to_string()],
    ];
    assert_eq!(table(&tables(&page), "Records", "record").rows, lengths);
}

/// Writes vectors and sizes anew after an intended change.
#[test]
#[ignore = "changes PROTOCOL.md"]
fn record() {
    let page = page();
    let (mut text, mut rest) = (String::new(), page.as_str());
    // Blocks of one kind stand together; what is around them stays.
    let vectors: Vec<String> = examples().iter().map(Example::block).collect();
    for (fence, new) in [("```record ", record_blocks().join("\n")), ("```vector ", vectors.join("\n"))] {
        let (before, after) = rest.split_at(rest.find(fence).expect("a block to replace"));
        let end = after.find("\n## ").map_or(after.len(), |at| at + 1);
        text += &format!("{before}{new}{}", if end < after.len() { "\n" } else { "" });
        rest = &after[end..];
    }
    text += rest;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let new = budget().into_iter().chain(presets()).map(|cells| format!("| {} |", cells.join(" | ")));
            new.into_iter()
                .find(|row| {
                    let key = |row: &str| row.split('|').take(2).collect::<String>();
                    row.split('|').count() == line.split('|').count() && key(row) == key(line)
                })
                .unwrap_or_else(|| line.to_string())
        })
        .collect();
    std::fs::write(repository("PROTOCOL.md"), lines.join("\n") + "\n").unwrap();
}

const ADDRESS: Address = Address { from: 1, to: 2, id: 3 };

fn sealed_len(frame: &Frame<'_>) -> Option<usize> {
    let mut buffer = [0; MAX_PAYLOAD];
    seal(frame, &KeyRing::new(1, SwarmKey([0; 16])), &ADDRESS, &mut buffer).ok()
}

/// The example's frame with as little, and as much, in it as its class allows.
fn extremes(frame: &Frame<'_>) -> [usize; 2] {
    let filler = [1; MAX_PAYLOAD];
    let longest = |make: &dyn Fn(&'static [u8]) -> Frame<'static>| {
        let filler: &'static [u8] = filler.to_vec().leak();
        (0..=MAX_PAYLOAD).rev().find_map(|length| sealed_len(&make(&filler[..length]))).unwrap()
    };
    let len = |frame: Frame<'_>| sealed_len(&frame).unwrap();
    match *frame {
        Frame::Request(q) => [
            len(Frame::Request(Request { back: None, text: &[], ..q })),
            longest(&|text| Frame::Request(Request { back: None, text, ..static_request() })),
        ],
        Frame::Result(r) => [
            len(Frame::Result(JobResult { requester: None, text: None, ..r })),
            longest(&|text| Frame::Result(JobResult { text: Some((0, text)), ..static_result() })),
        ],
        Frame::Symbol(s) => [
            len(Frame::Symbol(Symbol { data: &[], ..s })),
            longest(&|data| Frame::Symbol(Symbol { data, ..static_symbol() })),
        ],
        // A generation has 256 pieces at most.
        Frame::SymbolRequest(s) => [
            len(Frame::SymbolRequest(SymbolRequest { uncoded: None, ..s })),
            len(Frame::SymbolRequest(SymbolRequest { uncoded: Some(&[0; 32]), ..s })),
        ],
        Frame::Record(r) => [
            len(Frame::Record(compotastic_wire::Record { bytes: &[0], ..r })),
            // Parts of one length: see Class 7.
            len(Frame::Record(compotastic_wire::Record { bytes: &[0; 200], ..r })),
        ],
        Frame::Report(_) => {
            let code = common::report_entries()[2];
            let full = |length: usize| ReportEntry {
                form: 2,
                text: Some(ReportText { codec: 1, bytes: &filler[..length] }),
                ..code
            };
            let fits = |length| ReportWriter::new(&mut [0; MAX_PAYLOAD]).push(&full(length)).is_ok();
            let text = (0..=MAX_PAYLOAD).rev().find(|length| fits(*length)).unwrap();
            [len(common::report(&[code])), len(common::report(&[full(text)]))]
        }
        Frame::Beacon(b) => [
            len(Frame::Beacon(Beacon { neighbours: Neighbours::default(), ..b })),
            len(Frame::Beacon(Beacon { neighbours: common::all_neighbours(), ..b })),
        ],
        Frame::SyncList(list) => [
            len(Frame::SyncList(SyncList { form: SyncForm::Indexed, entries: &[], ..list })),
            // 35 named entries; see Class 12.
            len(Frame::SyncList(SyncList {
                form: SyncForm::Named,
                members: 128,
                entries: &[0; 5 * 35],
                ..list
            })),
        ],
        Frame::SyncRecords(records) => {
            let one = |bytes: &[u8]| {
                let mut buffer = [0; MAX_PAYLOAD];
                let mut writer = SyncItemWriter::new(&mut buffer);
                writer.push(&SyncItem { node: 1, version: 1, bytes }).ok()?;
                Some(len(Frame::SyncRecords(SyncRecords::from_items(records.digest, writer.finish()))))
            };
            let longest = (0..=MAX_PAYLOAD).rev().find_map(|length| one(&filler[..length])).unwrap();
            [one(&[]).unwrap(), longest]
        }
        Frame::Part(p) => [
            len(Frame::Part(Part { bytes: &[0], ..p })),
            // Parts of one length: see Letters.
            len(Frame::Part(Part { bytes: &[0; 200], ..p })),
        ],
        Frame::Offer(_)
        | Frame::PartRequest(_)
        | Frame::Advert(_)
        | Frame::Award(_)
        | Frame::RecordRequest(_)
        | Frame::SyncDigest(_) => [len(*frame), len(*frame)],
    }
}

fn static_request() -> Request<'static> {
    Request {
        kind: 0,
        priority: 0,
        wants_offers: false,
        task: 0,
        deadline_code: 0,
        wake: 0,
        back: None,
        codec: 0,
        text: &[],
    }
}

fn static_symbol() -> Symbol<'static> {
    Symbol { object_tag: 0, generation: 0, symbol: 0, more: 0, data: &[] }
}

fn static_result() -> JobResult<'static> {
    JobResult {
        requester: None,
        job: 0,
        status: ResultStatus::Ok,
        confidence: 0,
        class: 0,
        model_version: 0,
        text: None,
    }
}

/// Bytes of the LoRa frame around a payload on our port.
fn air_bytes(payload: usize) -> usize {
    let data =
        Data { port: compotastic_wire::PORT, payload: &[0; MAX_PAYLOAD][..payload], ..Data::default() };
    HEADER + data.encode(&mut [0; 255]).unwrap()
}

fn air_us(preset: Preset, payload: usize) -> u64 {
    preset.modem(false).time_on_air_us(air_bytes(payload))
}

fn budget() -> Vec<Vec<String>> {
    let all = examples();
    FrameClass::ALL
        .iter()
        .map(|class| {
            let example = all.iter().find(|example| example.frame.class() == *class).unwrap();
            let [smallest, largest] = extremes(&example.frame);
            let typical = match class {
                FrameClass::Report => smallest,
                _ => example.payload().len(),
            };
            let ms = |payload| air_us(Preset::LongFast, payload).div_ceil(1000);
            let mut cells = vec![(*class as u8).to_string(), format!("{class:?}")];
            let numbers = [
                smallest as u64,
                typical as u64,
                largest as u64,
                air_bytes(typical) as u64,
                ms(typical),
                air_bytes(largest) as u64,
                ms(largest),
            ];
            cells.extend(numbers.map(|number| number.to_string()));
            cells
        })
        .collect()
}

fn presets() -> Vec<Vec<String>> {
    Preset::ALL
        .iter()
        .map(|preset| {
            let ms = air_us(*preset, MAX_PAYLOAD).div_ceil(1000);
            let fits = (0..=MAX_PAYLOAD).rev().find(|payload| air_us(*preset, *payload) < 3_000_000);
            let fits = fits.map_or("none".into(), |payload| payload.to_string());
            vec![preset.name().to_string(), ms.to_string(), fits]
        })
        .collect()
}

#[test]
fn the_size_budget_is_the_measured_one() {
    let page = page();
    let tables = tables(&page);
    assert_eq!(table(&tables, "Frames", "class").rows, budget());
    assert_eq!(table(&tables, "Presets", "preset").rows, presets());
    assert!(air_us(Preset::LongFast, MAX_PAYLOAD) < 3_000_000);
}

#[test]
fn limits_and_numbers_are_the_codes() {
    let page = page();
    let tables = tables(&page);
    let limits: BTreeMap<String, u64> = table(&tables, "The packet", "name")
        .rows
        .iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect();
    // The window, by trial: how far below the newest an id is still taken.
    let mut replay = ReplayTable::<1>::new();
    replay.accept(1, 1000);
    let window = (1..1000).take_while(|below| replay.check(1, 1000 - below) == Verdict::Fresh).count() + 1;
    let expected = [
        ("port", u64::from(compotastic_wire::PORT)),
        ("profile_version", u64::from(PROFILE_VERSION)),
        ("max_payload", MAX_PAYLOAD as u64),
        ("mac_len", MAC_LEN as u64),
        ("symbol_mac_len", SYMBOL_MAC_LEN as u64),
        ("replay_window", window as u64),
        ("id_block", u64::from(IdBlocks::BLOCK)),
        ("max_neighbours", Neighbours::MAX as u64),
    ];
    assert_eq!(limits, expected.map(|(name, value)| (name.to_string(), value)).into());

    let deadlines = table(&tables, "Deadline codes", "code");
    assert_eq!(deadlines.columns.len(), 17);
    for (code, seconds) in deadlines.columns[1..].iter().zip(&deadlines.rows[0][1..]) {
        let (code, seconds): (u8, u32) = (code.parse().unwrap(), seconds.parse().unwrap());
        assert_eq!((deadline_seconds(code), deadline_code(seconds)), (seconds, code));
    }

    let numbered = |heading: &str, column: &str| -> Vec<(u8, String)> {
        let rows = &table(&tables, heading, column).rows;
        rows.iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect()
    };
    use ResultStatus::{Busy, Declined, Failed, Ok, Received, Unsupported, Unsure, Working};
    let statuses = [Ok, Unsure, Busy, Unsupported, Declined, Received, Working, Failed];
    assert_eq!(numbered("Statuses", "status"), statuses.map(|s| (s as u8, format!("{s:?}"))));
    for status in 0..16u8 {
        let body = [0, 0, status << 4, 0, 0];
        let known = usize::from(status) < statuses.len();
        assert_eq!(Frame::parse(FrameClass::Result, &body, false).is_ok(), known, "status {status}");
    }
    use RecordType::{
        Capability, Delegation, KeyReceipt, KeyRotation, KeySwitch, Manifest, NodeKey, Revocation,
    };
    let types = [Capability, Manifest, Delegation, Revocation, NodeKey, KeyRotation, KeyReceipt, KeySwitch];
    assert_eq!(numbered("Class 7: Record", "type"), types.map(|t| (t as u8, format!("{t:?}"))));
    for kind in 0..=255u8 {
        let known = types.iter().any(|t| *t as u8 == kind);
        assert_eq!(Frame::parse(FrameClass::RecordRequest, &[kind, 0, 0, 0, 0], false).is_ok(), known);
    }
    let forms = [SyncForm::Indexed, SyncForm::Named, SyncForm::Vector, SyncForm::Checks];
    assert_eq!(numbered("Class 12: SyncList", "form"), forms.map(|f| (f as u8, format!("{f:?}"))));
    for form in 0..=255u8 {
        let mut body = [0; 12];
        body[11] = form;
        let known = forms.iter().any(|known| *known as u8 == form);
        assert_eq!(Frame::parse(FrameClass::SyncList, &body, true).is_ok(), known);
    }
    let flags = [
        (Beacon::EXECUTES, "EXECUTES"),
        (Beacon::FOUNDATION_MODEL, "FOUNDATION_MODEL"),
        (Beacon::MAINS_POWER, "MAINS_POWER"),
        (Beacon::STUDENT, "STUDENT"),
        (Beacon::CHAT, "CHAT"),
        (Beacon::EMBED, "EMBED"),
        (Beacon::RUNS, "RUNS"),
    ];
    assert_eq!(numbered("Class 0: Beacon", "flag"), flags.map(|(flag, name)| (flag, name.to_string())));
    let shorts = &table(&tables, "Class 0: Beacon", "node").rows;
    assert!(shorts.len() > 3);
    for row in shorts {
        let (node, name) = (number(&row[0]).unwrap(), number(&row[1]).unwrap());
        assert_eq!(u64::from(Neighbours::short(node as u32)), name, "{}", row[0]);
    }
    let codecs = [compotastic_text::CODEC_RAW, compotastic_text::CODEC_TEXT, CODEC_VECTOR];
    let on_page: Vec<u8> = numbered("Text codecs", "codec").into_iter().map(|(codec, _)| codec).collect();
    assert_eq!(on_page, codecs);
    for class in 0..32 {
        let known = FrameClass::ALL.iter().find(|known| **known as u8 == class);
        assert_eq!(FrameClass::from_bits(class), known.copied());
    }
}

#[test]
fn the_macs_input_is_the_stated_one() {
    use cmac::{Cmac, KeyInit, Mac};
    let page = page();
    let tables = tables(&page);
    for example in examples() {
        let payload = example.payload();
        let mac = if example.frame.class() == FrameClass::Symbol { SYMBOL_MAC_LEN } else { MAC_LEN };
        let (covered, tag) = payload.split_at(payload.len() - mac);
        let Address { from, to, id } = example.address;
        let mut input = Vec::new();
        for row in &table(&tables, "MAC", "offset").rows {
            assert_eq!(row[0], input.len().to_string());
            match row[2].as_str() {
                "from" => input.extend(from.to_le_bytes()),
                "to" => input.extend(to.to_le_bytes()),
                "id" => input.extend(id.to_le_bytes()),
                "port" => input.extend(compotastic_wire::PORT.to_le_bytes()),
                "covered" => input.extend(covered),
                other => panic!("{other}"),
            }
        }
        let whole =
            Cmac::<aes::Aes128>::new(&example.key.into()).chain_update(&input).finalize().into_bytes();
        assert_eq!(&whole[..mac], tag, "{}", example.name);
    }
}

fn header_places(heading: &str, bytes: &[u8], present: impl Fn(&str) -> bool) -> BTreeMap<String, Place> {
    let page = page();
    let tables = tables(&page);
    let layout = table(&tables, heading, "offset");
    let (places, end) = cut(layout, bytes, 0, 0, present);
    assert_eq!(end, bytes.len(), "{heading}");
    for row in layout.rows.iter().filter(|row| places.contains_key(&row[2])) {
        let offset = places[&row[2]].offset.to_string();
        assert!(row[0].split(" or ").any(|said| said == offset), "{heading}: {} at {offset}", row[2]);
    }
    places
}

fn check_numbers(places: &BTreeMap<String, Place>, expected: &[(&str, u64)]) {
    for (name, value) in expected {
        assert_eq!(places[*name].number, *value, "{name}");
    }
}

#[test]
fn task_parts_are_as_stated() {
    let header = TaskHeader {
        task: 7,
        classes: 9,
        version: 0x0203,
        base_id: *b"basebase",
        dims: 96,
        corrections: 0,
        shift: 11,
        correction_step: 12,
        threshold: 13,
        urgent_margin: 14,
        urgent: 0x0102_0304_0506_0708,
        calibration: [77; CALIBRATION_POINTS],
    };
    let places = header_places("Task part", &header.emit(), |_| false);
    assert_eq!(header.emit().len(), TASK_HEADER);
    assert_eq!(places["magic"].bytes, b"CTP1");
    assert_eq!(places["base_id"].bytes, header.base_id);
    assert_eq!(places["calibration"].bytes, header.calibration);
    let numbers = [
        ("task", 7),
        ("classes", 9),
        ("version", 0x0203),
        ("dims", 96),
        ("corrections", 0),
        ("shift", 11),
        ("correction_step", 12),
        ("threshold", 13),
        ("urgent_margin", 14),
        ("urgent", header.urgent),
    ];
    check_numbers(&places, &numbers);
}

#[test]
fn packed_manifests_are_as_stated() {
    let vectors = std::fs::read_to_string(repository("tests/data/bundle/vectors.txt")).unwrap();
    for name in ["model_packed ", "policy_packed ", "firmware_packed ", "firmware_all_packed "] {
        let bytes = unhex(vectors.lines().find_map(|line| line.strip_prefix(name)).unwrap());
        let claimed = compotastic_bundle::ClaimedManifest::parse(&bytes).unwrap();
        let m = claimed.claims();
        let places = header_places("Packed manifest", &bytes, |field| match field {
            "floor" => m.floor != 0,
            "need_0" => !m.needs.is_empty(),
            "need_1" => m.needs.len() > 1,
            _ => m.delta.is_some(),
        });
        let numbers = [
            ("packed_version", 1),
            ("is_delta", u64::from(m.delta.is_some())),
            ("has_floor", u64::from(m.floor != 0)),
            ("need_count", m.needs.len() as u64),
            ("kind", m.kind as u64),
            ("task", u64::from(m.task)),
            ("piece_sixteenths", u64::from(m.piece_size) / 16),
            ("sequence", u64::from(m.sequence)),
            ("classes", u64::from(m.classes.0)),
            ("size", u64::from(m.size)),
            ("flash", u64::from(m.flash)),
            ("ram", u64::from(m.ram)),
        ];
        check_numbers(&places, &numbers);
        assert_eq!(places["digest"].bytes, m.digest);
        assert_eq!(places["list_root"].bytes, m.list_root);
        assert_eq!(places["base_id"].bytes, m.replaces().unwrap_or(m.base_id));
        assert_eq!(places["key_id"].bytes, claimed.key_id().0);
        if m.delta.is_some() {
            check_numbers(&places, &[("image_size", u64::from(m.image().size))]);
            assert_eq!(places["image_digest"].bytes, m.image().digest);
        }
        if m.floor != 0 {
            check_numbers(&places, &[("floor", u64::from(m.floor))]);
        }
        for (need, name) in m.needs.iter().zip(["need_0", "need_1"]) {
            let (what, sequence) = places[name].bytes.split_at(2);
            assert_eq!(what, [need.kind as u8, need.task], "{name}");
            assert_eq!(sequence, need.sequence.to_le_bytes(), "{name}");
        }
    }
}
