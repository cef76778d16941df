//! The examples of PROTOCOL.md, and a small reader for its tables and fenced blocks.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use compotastic_wire::records::{
    capability::{
        self, CapabilityRecord, Energy, InstalledBundle, Link, MAX_CAPABILITY, TaskOffer, accelerator,
        family, precision, source,
    },
    enrolment::{EnrolmentRecord, MAX_ENROLMENT},
};
use compotastic_wire::{
    Address, Advert, Award, Beacon, Frame, JobResult, KeyRing, MAX_PAYLOAD, Neighbours, Offer, Part,
    PartRequest, Record, RecordRequest, RecordType, Report, ReportEntry, ReportText, ReportWriter, Request,
    ResultStatus, SwarmKey, Symbol, SymbolRequest, SyncDigest, SyncForm, SyncItem, SyncItemWriter, SyncList,
    SyncRecords, join_codec, seal,
};

pub const EVERYBODY: u32 = u32::MAX;
const FIELD: u32 = 0x433D_0B21;
const NEIGHBOUR: u32 = 0x433D_77A4;
const EDGE: u32 = 0x43A7_C0DE;
/// The key of RFC 4493's own examples, and the one that follows it in our rotation.
const KEY: [u8; 16] =
    [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c];
const NEXT_KEY: [u8; 16] =
    [0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81];
/// "Two hikers, one with a broken ankle, below the north ridge hut" in codec 1 (tests/data/text/vectors.tsv).
pub const HIKERS: [u8; 18] = [
    0x5e, 0x0d, 0xb5, 0xb1, 0x09, 0x79, 0x07, 0xd4, 0x19, 0xf7, 0xd1, 0x55, 0x30, 0x53, 0xf6, 0x04, 0xb0,
    0x30,
];

/// A file of the repository.
pub fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}

pub fn page() -> String {
    std::fs::read_to_string(repository("PROTOCOL.md")).expect("PROTOCOL.md is in the repository's root")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// A frame, and all that sealing it needs.
pub struct Example {
    pub name: &'static str,
    pub key: [u8; 16],
    pub epoch: u8,
    pub address: Address,
    pub frame: Frame<'static>,
}

impl Example {
    pub fn keys(&self) -> KeyRing {
        KeyRing::new(self.epoch, SwarmKey(self.key))
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut buffer = [0; MAX_PAYLOAD];
        let length = seal(&self.frame, &self.keys(), &self.address, &mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    /// The example as it stands on the page.
    pub fn block(&self) -> String {
        let Address { from, to, id } = self.address;
        let (key, payload) = (hex(&self.key), hex(&self.payload()));
        let mut text = format!("```vector {}\nkey {key}\nepoch {}\n", self.name, self.epoch);
        write!(text, "from {from:#010x}\nto {to:#010x}\nid {id:#010x}\npayload {payload}\n").unwrap();
        for (name, value) in fields(&self.frame) {
            writeln!(text, "{name} {value}").unwrap();
        }
        text + "```\n"
    }
}

fn bundle_vector(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(repository("tests/data/bundle/vectors.txt")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    unhex(line)
}

pub fn report_entries() -> [ReportEntry<'static>; 3] {
    let code = ReportEntry {
        priority: 1,
        form: 0,
        confidence: 13,
        class: 5,
        model_version: 3,
        age_min: 42,
        origin: 260,
        text: None,
    };
    let full = Some(ReportText { codec: 1, bytes: &HIKERS });
    let summary = Some(ReportText { codec: 0, bytes: b"bridge out" });
    [
        ReportEntry { priority: 3, form: 2, confidence: 15, class: 2, age_min: 1, text: full, ..code },
        ReportEntry { priority: 2, form: 1, confidence: 9, origin: 261, text: summary, ..code },
        ReportEntry { origin: 262, ..code },
    ]
}

/// The list of these nodes.
pub fn neighbours(nums: &[u32]) -> Neighbours {
    let mut list = Neighbours::default();
    for num in nums {
        assert!(list.insert(*num), "{num:#010x}");
    }
    list
}

/// As many neighbours as a beacon names.
pub fn all_neighbours() -> Neighbours {
    neighbours(&std::array::from_fn::<u32, { Neighbours::MAX }, _>(|index| index as u32))
}

pub fn report(entries: &[ReportEntry<'_>]) -> Frame<'static> {
    let mut buffer = [0; MAX_PAYLOAD];
    let mut writer = ReportWriter::new(&mut buffer);
    for entry in entries {
        writer.push(entry).unwrap();
    }
    Frame::Report(Report::from_entries(writer.finish().to_vec().leak()))
}

/// At least one frame of each class. Named parts of a frame that some frames lack occur with and without.
pub fn examples() -> Vec<Example> {
    let object_tag = u32::from_le_bytes([0xc8, 0x5a, 0x43, 0x1e]);
    let beacon = Beacon {
        device_class: 2,
        flags: Beacon::EXECUTES | Beacon::FOUNDATION_MODEL | Beacon::MAINS_POWER | Beacon::STUDENT,
        load: 2,
        battery: 15,
        wake: 0,
        record_hash: capability().record_hash().unwrap(),
        task: 7,
        model_version: 3,
        object_tag,
        object_progress: 255,
        neighbours: neighbours(&[FIELD, NEIGHBOUR, 0x433D_10C4, 0x433D_5E08]),
    };
    let request = Request {
        kind: 0,
        priority: 2,
        wants_offers: false,
        task: 7,
        deadline_code: 8,
        wake: 0,
        back: None,
        codec: 1,
        text: &HIKERS,
    };
    let result = JobResult {
        requester: None,
        job: 0x0102,
        status: ResultStatus::Ok,
        confidence: 14,
        class: 2,
        model_version: 3,
        text: None,
    };
    let needs =
        SymbolRequest { object_tag, generation: 0, needed: 3, server: 0, lacking: 0b1101, uncoded: None };
    let (manifest, symbol) =
        (bundle_vector("model_packed").leak(), bundle_vector("small_symbol_1000").leak());
    let frames: Vec<(&'static str, u32, u32, Frame<'static>)> = vec![
        ("beacon", EDGE, EVERYBODY, Frame::Beacon(beacon)),
        ("request", FIELD, EDGE, Frame::Request(request)),
        (
            "request-open",
            FIELD,
            EVERYBODY,
            Frame::Request(Request {
                wants_offers: true,
                back: Some(9),
                codec: 0,
                text: b"smoke",
                ..request
            }),
        ),
        ("offer", EDGE, FIELD, Frame::Offer(Offer { job: 0x0102, suitability: 236, wait_s: 1 })),
        ("award", FIELD, EDGE, Frame::Award(Award { job: 0x0102 })),
        ("result", EDGE, FIELD, Frame::Result(result)),
        (
            "result-text",
            EDGE,
            FIELD,
            Frame::Result(JobResult { text: Some((0, b"send the boat")), ..result }),
        ),
        (
            "result-overheard",
            EDGE,
            EVERYBODY,
            Frame::Result(JobResult {
                requester: Some(FIELD),
                status: ResultStatus::Unsure,
                confidence: 4,
                text: Some((0, b"ask again at noon")),
                ..result
            }),
        ),
        (
            "symbol",
            EDGE,
            EVERYBODY,
            Frame::Symbol(Symbol { object_tag, generation: 0, symbol: 1000, more: 4, data: symbol }),
        ),
        ("symbol-request", FIELD, EVERYBODY, Frame::SymbolRequest(needs)),
        (
            "symbol-request-uncoded",
            NEIGHBOUR,
            EVERYBODY,
            Frame::SymbolRequest(SymbolRequest {
                server: Neighbours::short(EDGE),
                uncoded: Some(&[0b0010_0110]),
                ..needs
            }),
        ),
        (
            "record",
            EDGE,
            EVERYBODY,
            Frame::Record(Record {
                record_type: RecordType::Manifest,
                part: 0,
                parts: 1,
                tag: object_tag,
                bytes: manifest,
            }),
        ),
        (
            "record-request",
            FIELD,
            NEIGHBOUR,
            Frame::RecordRequest(RecordRequest { record_type: RecordType::Manifest, tag: object_tag }),
        ),
        ("report", FIELD, EDGE, report(&report_entries())),
        ("sync-digest", FIELD, EVERYBODY, Frame::SyncDigest(SyncDigest { digest: DIGEST })),
        ("sync-list", FIELD, EVERYBODY, sync_list(SyncForm::Indexed, &[2, 9, 0, 255])),
        (
            "sync-list-named",
            NEIGHBOUR,
            EVERYBODY,
            sync_list(SyncForm::Named, &[0x21, 0x0b, 0x3d, 0x43, 9, 0xde, 0xc0, 0xa7, 0x43, 255]),
        ),
        ("sync-list-vector", EDGE, EVERYBODY, sync_list(SyncForm::Vector, &[255, 1, 9])),
        ("sync-records", EDGE, EVERYBODY, sync_records()),
        ("award-next-epoch", FIELD, EDGE, Frame::Award(Award { job: 0xFFFE })),
        (
            "beacon-alone",
            FIELD,
            EVERYBODY,
            Frame::Beacon(Beacon { battery: 9, neighbours: Neighbours::default(), ..beacon }),
        ),
        ("advert", NEIGHBOUR, EVERYBODY, Frame::Advert(Advert { object_tag, complete: 0b0010 })),
        (
            "request-chat",
            FIELD,
            EDGE,
            Frame::Request(Request {
                kind: 1,
                priority: 1,
                task: 12,
                codec: join_codec(0, 1),
                text: QUESTION.split_at(200).0,
                ..request
            }),
        ),
        (
            "part",
            FIELD,
            EDGE,
            Frame::Part(Part {
                job: 0x0117,
                part: 1,
                parts: 2,
                of_answer: false,
                tag: 0x5e,
                bytes: QUESTION.split_at(200).1,
            }),
        ),
        (
            "part-request",
            FIELD,
            EDGE,
            Frame::PartRequest(PartRequest { job: 0x0117, of_answer: true, missing: 0b10 }),
        ),
        (
            "result-chat",
            EDGE,
            FIELD,
            Frame::Result(JobResult {
                job: 0x0117,
                confidence: 0,
                class: 0x9c,
                model_version: 0xd1,
                text: Some((0, b"Two days' water, and wait for the fog to lift.")),
                ..result
            }),
        ),
    ];
    frames
        .into_iter()
        .enumerate()
        .map(|(index, (name, from, to, frame))| {
            let (key, epoch) = if name == "award-next-epoch" { (NEXT_KEY, 2) } else { (KEY, 1) };
            let address = Address { from, to, id: 0x0001_0101 + index as u32 };
            Example { name, key, epoch, address, frame }
        })
        .collect()
}

const DIGEST: u64 = 0x1122_3344_5566_7788;

fn sync_list(form: SyncForm, entries: &'static [u8]) -> Frame<'static> {
    Frame::SyncList(SyncList { digest: DIGEST, membership: 0xB0A5, members: 3, form, entries })
}

/// Two records: the shortest that says something, and one of nothing.
fn sync_records() -> Frame<'static> {
    let buffer: &'static mut [u8] = vec![0; MAX_PAYLOAD].leak();
    let mut writer = SyncItemWriter::new(buffer);
    writer.push(&SyncItem { node: FIELD, version: 9, bytes: &[0x08, 0x01, 0x10, 0x30] }).unwrap();
    writer.push(&SyncItem { node: EDGE, version: 255, bytes: &[] }).unwrap();
    Frame::SyncRecords(SyncRecords::from_items(DIGEST, writer.finish()))
}

/// A question of two parts.
const QUESTION: &[u8] =
    b"We are four at the upper hut with water for a day and a half. The path down is gone at the bridge, \
the fog is thick, and one of us has a bad knee. What should we do first, and how long can we wait before \
it gets dangerous?";

fn or_absent<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

/// Each field of a frame by the name that PROTOCOL.md gives it.
pub fn fields(frame: &Frame<'_>) -> Vec<(String, String)> {
    let tag = |value: u32| format!("{value:#010x}");
    let mut out: Vec<(String, String)> = vec![("class".into(), (frame.class() as u8).to_string())];
    let mut put = |name: &str, value: String| out.push((name.into(), value));
    match frame {
        Frame::Beacon(b) => {
            put("device_class", b.device_class.to_string());
            put("flags", b.flags.to_string());
            put("load", b.load.to_string());
            put("battery", b.battery.to_string());
            put("wake", b.wake.to_string());
            put("record_hash", tag(b.record_hash));
            put("task", b.task.to_string());
            put("model_version", b.model_version.to_string());
            put("object_tag", tag(b.object_tag));
            put("object_progress", b.object_progress.to_string());
            let bytes: Vec<u8> = b.neighbours.names().iter().flat_map(|name| name.to_le_bytes()).collect();
            put("neighbours", or_absent(Some(bytes).filter(|bytes| !bytes.is_empty()), |bytes| hex(&bytes)));
        }
        Frame::Request(q) => {
            put("kind", q.kind.to_string());
            put("priority", q.priority.to_string());
            put("wants_offers", u8::from(q.wants_offers).to_string());
            put("task", q.task.to_string());
            put("deadline_code", q.deadline_code.to_string());
            put("wake", q.wake.to_string());
            put("back", or_absent(q.back, |back| back.to_string()));
            put("codec", q.codec.to_string());
            put("text", hex(q.text));
        }
        Frame::Offer(o) => {
            put("job", o.job.to_string());
            put("suitability", o.suitability.to_string());
            put("wait_s", o.wait_s.to_string());
        }
        Frame::Award(a) => put("job", a.job.to_string()),
        Frame::Result(r) => {
            put("requester", or_absent(r.requester, tag));
            put("job", r.job.to_string());
            put("status", (r.status as u8).to_string());
            put("confidence", r.confidence.to_string());
            put("class_index", r.class.to_string());
            put("model_version", r.model_version.to_string());
            put("codec", or_absent(r.text, |(codec, _)| codec.to_string()));
            put("text", or_absent(r.text, |(_, text)| hex(text)));
        }
        Frame::Symbol(s) => {
            put("object_tag", tag(s.object_tag));
            put("generation", s.generation.to_string());
            put("symbol", s.symbol.to_string());
            put("more", s.more.to_string());
            put("data", hex(s.data));
        }
        Frame::SymbolRequest(s) => {
            put("object_tag", tag(s.object_tag));
            put("generation", s.generation.to_string());
            put("needed", s.needed.to_string());
            put("server", s.server.to_string());
            put("lacking", s.lacking.to_string());
            put("uncoded", or_absent(s.uncoded, hex));
        }
        Frame::Record(r) => {
            put("record_type", (r.record_type as u8).to_string());
            put("part", r.part.to_string());
            put("parts", r.parts.to_string());
            put("tag", tag(r.tag));
            put("bytes", hex(r.bytes));
        }
        Frame::RecordRequest(r) => {
            put("record_type", (r.record_type as u8).to_string());
            put("tag", tag(r.tag));
        }
        Frame::SyncDigest(d) => put("digest", format!("{:#018x}", d.digest)),
        Frame::SyncList(list) => {
            put("digest", format!("{:#018x}", list.digest));
            put("membership", list.membership.to_string());
            put("members", list.members.to_string());
            put("form", (list.form as u8).to_string());
            put("entries", hex(list.entries));
        }
        Frame::SyncRecords(records) => {
            put("digest", format!("{:#018x}", records.digest));
            put("items", hex(records.item_bytes()));
        }
        Frame::Part(p) => {
            put("job", p.job.to_string());
            put("part", p.part.to_string());
            put("parts_less_1", (p.parts - 1).to_string());
            put("of_answer", u8::from(p.of_answer).to_string());
            put("tag", p.tag.to_string());
            put("bytes", hex(p.bytes));
        }
        Frame::PartRequest(p) => {
            put("job", p.job.to_string());
            put("missing", p.missing.to_string());
            put("of_answer", u8::from(p.of_answer).to_string());
        }
        Frame::Report(report) => {
            for (index, entry) in report.entries().enumerate() {
                let e = entry.unwrap();
                let values = [
                    ("priority", e.priority.to_string()),
                    ("form", e.form.to_string()),
                    ("confidence", e.confidence.to_string()),
                    ("class_index", e.class.to_string()),
                    ("model_version", e.model_version.to_string()),
                    ("age_min", e.age_min.to_string()),
                    ("origin", e.origin.to_string()),
                    ("codec", or_absent(e.text, |text| text.codec.to_string())),
                    ("text", or_absent(e.text, |text| hex(text.bytes))),
                ];
                for (name, value) in values {
                    put(&format!("entry{index}.{name}"), value);
                }
            }
        }
        Frame::Advert(a) => {
            put("object_tag", tag(a.object_tag));
            put("complete", a.complete.to_string());
        }
    }
    out
}

/// A table of the page, under the heading that stands before it.
#[derive(Debug)]
pub struct Table {
    pub heading: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// All tables of a page.
pub fn tables(page: &str) -> Vec<Table> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let (mut found, mut heading, mut before): (Vec<Table>, String, Option<&str>) =
        (Vec::new(), String::new(), None);
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().into();
        }
        if line.starts_with("|---") {
            let columns = cells(before.expect("a table has a line of column names"));
            found.push(Table { heading: heading.clone(), columns, rows: Vec::new() });
            inside = true;
        } else if inside && line.starts_with('|') {
            found.last_mut().unwrap().rows.push(cells(line));
        } else {
            inside = false;
        }
        before = Some(line);
    }
    found
}

/// The table under a heading; of several, the first with this first column.
pub fn table<'t>(tables: &'t [Table], heading: &str, first_column: &str) -> &'t Table {
    tables
        .iter()
        .find(|table| table.heading == heading && table.columns[0] == first_column)
        .unwrap_or_else(|| panic!("no table of {first_column} under {heading}"))
}

/// The fenced blocks of one kind: what follows the kind, and the lines, with their fences.
pub fn blocks(page: &str, kind: &str) -> Vec<(String, String)> {
    let fence = format!("```{kind} ");
    page.split_inclusive("```\n")
        .filter_map(|piece| {
            let start = piece.find(&fence)?;
            let block = &piece[start..];
            let name = block.lines().next()?.strip_prefix(&fence)?;
            Some((name.to_string(), block.to_string()))
        })
        .collect()
}

/// The capability record on the page: an edge node's.
pub fn capability() -> CapabilityRecord {
    let list = |task, time_ms, energy_mj| TaskOffer { task, kind: 0, time_ms, energy_mj };
    CapabilityRecord {
        device_class: 2,
        ram_free_kib: 8_388_608,
        flash_free_kib: 52_428_800,
        accelerators: accelerator::GPU,
        model_families: family::LINEAR | family::TRANSFORMER,
        precisions: precision::F32 | precision::F16 | precision::INT8,
        tasks: heapless::Vec::from_slice(&[list(7, 40, 800), list(8, 45, 900)]).unwrap(),
        energy: Energy { sources: source::BATTERY | source::MAINS, battery: 15, capacity_mwh: 90_000 },
        load: 2,
        links: heapless::Vec::from_slice(&[
            Link { kind: capability::link::LORA, bits_per_s: 1070, cost_milli_per_kb: 0 },
            Link { kind: capability::link::SATELLITE, bits_per_s: 2400, cost_milli_per_kb: 1500 },
        ])
        .unwrap(),
        bundles: heapless::Vec::from_slice(&[InstalledBundle {
            kind: 1,
            task: 7,
            version: 3,
            object_tag: 0x1e43_5ac8,
        }])
        .unwrap(),
    }
}

/// The enrolment record on the page.
pub fn enrolment() -> EnrolmentRecord {
    EnrolmentRecord {
        swarm_id: *b"valley-1",
        channel_name: heapless::String::try_from("valley").unwrap(),
        channel_key: heapless::Vec::from_slice(&NEXT_KEY).unwrap(),
        swarm_key: SwarmKey(KEY),
        epoch: 1,
        operator_keys: heapless::Vec::from_slice(&[
            bundle_vector("root_public").try_into().unwrap(),
            bundle_vector("edge_public").try_into().unwrap(),
        ])
        .unwrap(),
        region: heapless::String::try_from("EU_868").unwrap(),
        preset: heapless::String::try_from("LONG_FAST").unwrap(),
        port: compotastic_wire::PORT,
        hop_limit: 5,
    }
}

/// The records as they stand on the page: head lines, then each field as in `proto/compotastic.proto`.
pub fn record_blocks() -> [String; 2] {
    let record = capability();
    let mut buffer = [0; MAX_CAPABILITY];
    let length = record.encode(&mut buffer).unwrap();
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut put = |name: String, value: u32| fields.push((name, value.to_string()));
    put("device_class".into(), record.device_class.into());
    put("ram_free_kib".into(), record.ram_free_kib);
    put("flash_free_kib".into(), record.flash_free_kib);
    put("accelerators".into(), record.accelerators.into());
    put("model_families".into(), record.model_families.into());
    put("precisions".into(), record.precisions.into());
    for (index, offer) in record.tasks.iter().enumerate() {
        put(format!("tasks{index}.task"), offer.task.into());
        put(format!("tasks{index}.kind"), offer.kind.into());
        put(format!("tasks{index}.time_ms"), offer.time_ms);
        put(format!("tasks{index}.energy_mj"), offer.energy_mj);
    }
    put("energy.sources".into(), record.energy.sources.into());
    put("energy.battery".into(), record.energy.battery.into());
    put("energy.capacity_mwh".into(), record.energy.capacity_mwh);
    put("load".into(), record.load.into());
    for (index, link) in record.links.iter().enumerate() {
        put(format!("links{index}.kind"), link.kind.into());
        put(format!("links{index}.bits_per_s"), link.bits_per_s);
        put(format!("links{index}.cost_milli_per_kb"), link.cost_milli_per_kb);
    }
    for (index, bundle) in record.bundles.iter().enumerate() {
        put(format!("bundles{index}.kind"), bundle.kind.into());
        put(format!("bundles{index}.task"), bundle.task.into());
        put(format!("bundles{index}.version"), bundle.version);
        put(format!("bundles{index}.object_tag"), bundle.object_tag);
    }
    let hash = format!("{:#010x}", record.record_hash().unwrap());
    let first = record_block("CapabilityRecord", "record_hash", &hash, &buffer[..length], &fields);

    let record = enrolment();
    let mut buffer = [0; MAX_ENROLMENT];
    let length = record.encode(&mut buffer).unwrap();
    let mut fields = vec![
        ("swarm_id".to_string(), hex(&record.swarm_id)),
        ("channel_name".into(), record.channel_name.to_string()),
        ("channel_key".into(), hex(&record.channel_key)),
        ("swarm_key".into(), hex(&record.swarm_key.0)),
        ("epoch".into(), record.epoch.to_string()),
    ];
    let keys = record.operator_keys.iter().enumerate();
    fields.extend(keys.map(|(index, key)| (format!("operator_keys{index}"), hex(key))));
    fields.extend([
        ("region".into(), record.region.to_string()),
        ("preset".into(), record.preset.to_string()),
        ("port".into(), record.port.to_string()),
        ("hop_limit".into(), record.hop_limit.to_string()),
    ]);
    let text = record.to_text().unwrap();
    [first, record_block("EnrolmentRecord", "text", &text, &buffer[..length], &fields)]
}

fn record_block(message: &str, head: &str, value: &str, bytes: &[u8], fields: &[(String, String)]) -> String {
    let mut text = format!("```record {message}\n{head} {value}\nbytes {}\n", hex(bytes));
    for (name, value) in fields {
        writeln!(text, "{name} {value}").unwrap();
    }
    text + "```\n"
}
