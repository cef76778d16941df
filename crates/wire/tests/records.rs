//! Control records come back, are bounded, and nothing else gets through.

mod common;

use common::{capability, enrolment};
use compotastic_wire::records::{
    RecordError,
    capability::{
        CapabilityRecord, Energy, InstalledBundle, Link, MAX_BUNDLES, MAX_CAPABILITY, MAX_LINKS, MAX_TASKS,
        TaskOffer,
    },
    enrolment::{EnrolmentRecord, EnrolmentTextError, MAX_ENROLMENT, MAX_ENROLMENT_TEXT, MAX_OPERATORS},
};
use compotastic_wire::{PORT, SwarmKey};
use heapless::{String, Vec};
use proptest::prelude::*;

fn bytes_of(record: &CapabilityRecord) -> std::vec::Vec<u8> {
    let mut buffer = [0; MAX_CAPABILITY];
    let length = record.encode(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn enrolment_bytes(record: &EnrolmentRecord) -> std::vec::Vec<u8> {
    let mut buffer = [0; MAX_ENROLMENT];
    let length = record.encode(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn fullest() -> CapabilityRecord {
    let most = u32::MAX;
    let offer = TaskOffer { task: 255, kind: 15, time_ms: most, energy_mj: most };
    let link = Link { kind: 255, bits_per_s: most, cost_milli_per_kb: most };
    let bundle = InstalledBundle { kind: 255, task: 255, version: most, object_tag: most };
    CapabilityRecord {
        device_class: 31,
        ram_free_kib: most,
        flash_free_kib: most,
        accelerators: u16::MAX,
        model_families: u16::MAX,
        precisions: u16::MAX,
        tasks: Vec::from_slice(&[offer; MAX_TASKS]).unwrap(),
        energy: Energy { sources: 255, battery: 15, capacity_mwh: most },
        load: 15,
        links: Vec::from_slice(&[link; MAX_LINKS]).unwrap(),
        bundles: Vec::from_slice(&[bundle; MAX_BUNDLES]).unwrap(),
    }
}

#[test]
fn the_stated_lengths_are_the_longest() {
    assert_eq!(bytes_of(&fullest()).len(), MAX_CAPABILITY);
    // Two Record frames.
    const { assert!(MAX_CAPABILITY <= 2 * 200) };
    let record = EnrolmentRecord {
        channel_name: String::try_from("elevenbytes").unwrap(),
        channel_key: Vec::from_slice(&[9; 32]).unwrap(),
        epoch: 255,
        operator_keys: Vec::from_slice(&[[8; 32]; MAX_OPERATORS]).unwrap(),
        region: String::try_from("FIFTEEN_LETTERS").unwrap(),
        preset: String::try_from("FIFTEEN_LETTERS").unwrap(),
        hop_limit: 7,
        ..enrolment()
    };
    assert_eq!(enrolment_bytes(&record).len(), MAX_ENROLMENT);
    assert_eq!(record.to_text().unwrap().len(), MAX_ENROLMENT_TEXT);
    assert_eq!(EnrolmentRecord::from_text(&record.to_text().unwrap()), Ok(record));
}

#[test]
fn unknown_fields_are_skipped_and_groups_refused() {
    let record = capability();
    let mut bytes = bytes_of(&record);
    // Fields 100 (varint), 101 (64 bits), 102 (bytes), 103 (32 bits), of a later version.
    bytes.extend([0xa0, 0x06, 0x96, 0x01]);
    bytes.extend([0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend([0xb2, 0x06, 3, 9, 9, 9]);
    bytes.extend([0xbd, 0x06, 1, 2, 3, 4]);
    assert_eq!(CapabilityRecord::decode(&bytes), Ok(record));
    // 0x0b begins a group; field number 0 does not exist.
    for broken in [&[0x0b, 0x0c][..], &[0x00, 0x00], &[0x08], &[0x3a, 0x05, 0x00], &[0xff; 11]] {
        assert_eq!(CapabilityRecord::decode(broken), Err(RecordError::Malformed), "{broken:?}");
    }
}

#[test]
fn too_many_entries_and_values_out_of_range_are_named() {
    let mut bytes = bytes_of(&fullest());
    bytes.extend([0x3a, 0x00]);
    assert_eq!(CapabilityRecord::decode(&bytes), Err(RecordError::TooMany("tasks")));
    for (bytes, field) in [
        (&[0x08, 32][..], "device_class"),
        (&[0x20, 0x80, 0x80, 0x04], "accelerators"),
        (&[0x48, 16], "load"),
        (&[0x0d, 1, 0, 0, 0], "device_class"),
        (&[0x42, 2, 0x10, 16], "battery"),
        (&[0x10, 0x80, 0x80, 0x80, 0x80, 0x10], "ram_free_kib"),
    ] {
        assert_eq!(CapabilityRecord::decode(bytes), Err(RecordError::Field(field)));
    }
    let record = CapabilityRecord { load: 16, ..capability() };
    assert_eq!(record.encode(&mut [0; MAX_CAPABILITY]), Err(RecordError::Field("load")));
    assert_eq!(record.record_hash(), Err(RecordError::Field("load")));
    assert_eq!(capability().encode(&mut [0; 20]), Err(RecordError::NoRoom));
}

#[test]
fn the_hash_changes_with_any_field_and_only_then() {
    let hash = capability().record_hash().unwrap();
    assert_eq!(capability().record_hash(), Ok(hash));
    let mut other = capability();
    other.tasks[0].time_ms += 1;
    assert_ne!(other.record_hash().unwrap(), hash);
}

#[test]
fn enrolments_say_what_is_wrong_with_them() {
    let good = enrolment();
    let text = good.to_text().unwrap();
    assert_eq!(EnrolmentRecord::from_text(&format!("\n {}\r\n", text)), Ok(good.clone()));
    assert_eq!(EnrolmentRecord::from_text(&text.replace("compotastic:", "COMPOTASTIC:")), Ok(good.clone()));

    let refused = |text: &str| EnrolmentRecord::from_text(text).unwrap_err();
    assert_eq!(refused("https://example.org/"), EnrolmentTextError::Scheme);
    assert_eq!(refused(""), EnrolmentTextError::Scheme);
    assert_eq!(refused("compotastic:"), EnrolmentTextError::Length);
    assert_eq!(refused("compotastic:AA=="), EnrolmentTextError::Character(14));
    assert_eq!(refused(&text.replace("compotastic:", "  compotastic:+")), EnrolmentTextError::Character(14));
    assert_eq!(refused("compotästic:AAAA"), EnrolmentTextError::Scheme);
    assert_eq!(refused(&format!("{text}AAAA")), EnrolmentTextError::Check);
    assert_eq!(refused(&format!("compotastic:{}", "A".repeat(4000))), EnrolmentTextError::Length);
    let message = EnrolmentTextError::Record(RecordError::Missing("operator_keys")).to_string();
    assert_eq!(message, "enrolment cannot be used: record lacks operator_keys");

    for (record, error) in [
        (
            EnrolmentRecord { operator_keys: Vec::new(), ..good.clone() },
            RecordError::Missing("operator_keys"),
        ),
        (
            EnrolmentRecord { channel_name: String::new(), ..good.clone() },
            RecordError::Missing("channel_name"),
        ),
        (EnrolmentRecord { port: 257, ..good.clone() }, RecordError::Field("port")),
        (EnrolmentRecord { hop_limit: 8, ..good.clone() }, RecordError::Field("hop_limit")),
        (
            EnrolmentRecord { region: String::try_from("eu 868").unwrap(), ..good.clone() },
            RecordError::Field("region"),
        ),
        (
            EnrolmentRecord { channel_key: Vec::from_slice(&[1; 5]).unwrap(), ..good.clone() },
            RecordError::Field("channel_key"),
        ),
    ] {
        assert_eq!(record.to_text(), Err(error));
    }
    assert_eq!(EnrolmentRecord::decode(&[]), Err(RecordError::Missing("swarm_id")));
}

#[test]
fn each_misread_character_of_an_enrolment_shows() {
    let text = enrolment().to_text().unwrap();
    for at in "compotastic:".len()..text.len() {
        for other in ["A", "z", "_"] {
            if &text[at..=at] != other {
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                let error = EnrolmentRecord::from_text(&changed).unwrap_err();
                assert!(matches!(error, EnrolmentTextError::Check | EnrolmentTextError::Length), "{at}");
            }
        }
        // Cut off anywhere.
        assert!(EnrolmentRecord::from_text(&text[..at]).is_err(), "{at}");
    }
}

#[test]
fn a_default_port_may_be_left_out() {
    let bytes = enrolment_bytes(&enrolment());
    let at = bytes.windows(3).position(|window| window == [0x48, 0xc0, 0x03]).expect("port 448");
    let without = [&bytes[..at], &bytes[at + 3..]].concat();
    assert_eq!(EnrolmentRecord::decode(&without).unwrap().port, PORT);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let shown = format!("{:?}", enrolment());
    assert!(shown.contains("EU_868") && !shown.contains("key: [") && !shown.contains("43, 126"), "{shown}");
}

#[test]
fn each_region_and_preset_of_the_mesh_has_a_name_that_fits() {
    use compotastic_mesh::lora::{Preset, Region};
    for region in Region::ALL {
        for preset in Preset::ALL {
            let record = EnrolmentRecord {
                region: String::try_from(region.name()).unwrap(),
                preset: String::try_from(preset.name()).unwrap(),
                ..enrolment()
            };
            let back = EnrolmentRecord::from_text(&record.to_text().unwrap()).unwrap();
            assert_eq!((back.region.parse(), back.preset.parse()), (Ok(region), Ok(preset)));
        }
    }
}

prop_compose! {
    fn any_capability()(
        head in (0u8..32, any::<[u32; 2]>(), any::<[u16; 3]>(), 0u8..16),
        tasks in proptest::collection::vec((any::<u8>(), 0u8..16, any::<[u32; 2]>()), 0..=MAX_TASKS),
        links in proptest::collection::vec((any::<u8>(), any::<[u32; 2]>()), 0..=MAX_LINKS),
        bundles in proptest::collection::vec((any::<[u8; 2]>(), any::<[u32; 2]>()), 0..=MAX_BUNDLES),
        energy in (any::<u8>(), 0u8..16, any::<u32>()),
    ) -> CapabilityRecord {
        let (device_class, [ram_free_kib, flash_free_kib], [accelerators, model_families, precisions], load) = head;
        CapabilityRecord {
            device_class,
            ram_free_kib,
            flash_free_kib,
            accelerators,
            model_families,
            precisions,
            tasks: tasks
                .into_iter()
                .map(|(task, kind, [time_ms, energy_mj])| TaskOffer { task, kind, time_ms, energy_mj })
                .collect(),
            energy: Energy { sources: energy.0, battery: energy.1, capacity_mwh: energy.2 },
            load,
            links: links
                .into_iter()
                .map(|(kind, [bits_per_s, cost_milli_per_kb])| Link { kind, bits_per_s, cost_milli_per_kb })
                .collect(),
            bundles: bundles
                .into_iter()
                .map(|([kind, task], [version, object_tag])| InstalledBundle { kind, task, version, object_tag })
                .collect(),
        }
    }
}

prop_compose! {
    fn any_enrolment()(
        swarm_id in any::<[u8; 8]>(),
        channel_name in "[ -~]{1,11}",
        long in any::<bool>(),
        key in any::<[u8; 32]>(),
        swarm_key in any::<[u8; 16]>(),
        epoch in any::<u8>(),
        operators in proptest::collection::vec(any::<[u8; 32]>(), 1..=MAX_OPERATORS),
        names in ("[A-Z0-9_]{1,15}", "[A-Z0-9_]{1,15}"),
        port in 258u16..512,
        hop_limit in 0u8..8,
    ) -> EnrolmentRecord {
        EnrolmentRecord {
            swarm_id,
            channel_name: String::try_from(channel_name.as_str()).unwrap(),
            channel_key: Vec::from_slice(&key[..if long { 32 } else { 16 }]).unwrap(),
            swarm_key: SwarmKey(swarm_key),
            epoch,
            operator_keys: operators.into_iter().collect(),
            region: String::try_from(names.0.as_str()).unwrap(),
            preset: String::try_from(names.1.as_str()).unwrap(),
            port,
            hop_limit,
        }
    }
}

proptest! {
    #[test]
    fn capability_records_come_back(record in any_capability()) {
        let bytes = bytes_of(&record);
        prop_assert!(bytes.len() <= MAX_CAPABILITY);
        prop_assert_eq!(CapabilityRecord::decode(&bytes), Ok(record));
    }

    #[test]
    fn enrolment_records_come_back(record in any_enrolment()) {
        let bytes = enrolment_bytes(&record);
        prop_assert!(bytes.len() <= MAX_ENROLMENT);
        prop_assert_eq!(EnrolmentRecord::decode(&bytes), Ok(record.clone()));
        let text = record.to_text().unwrap();
        prop_assert_eq!(EnrolmentRecord::from_text(&text), Ok(record));
    }

    /// What is read from any bytes has one canonical form, which reads the same.
    #[test]
    fn bytes_from_anywhere_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(record) = CapabilityRecord::decode(&bytes) {
            prop_assert_eq!(CapabilityRecord::decode(&bytes_of(&record)), Ok(record));
        }
        let _ = EnrolmentRecord::decode(&bytes);
    }

    /// Bytes that begin well: a record, cut, changed and put together.
    #[test]
    fn damaged_records_never_panic(
        record in any_capability(),
        other in any_enrolment(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = bytes_of(&record);
        bytes.push(0);
        let at_byte = at.index(bytes.len());
        bytes[at_byte] = byte;
        if let Ok(record) = CapabilityRecord::decode(&bytes) {
            prop_assert_eq!(CapabilityRecord::decode(&bytes_of(&record)), Ok(record));
        }
        let mut bytes = enrolment_bytes(&other);
        let at_byte = at.index(bytes.len());
        bytes[at_byte] = byte;
        if let Ok(record) = EnrolmentRecord::decode(&bytes) {
            prop_assert_eq!(EnrolmentRecord::decode(&enrolment_bytes(&record)), Ok(record));
        }
    }

    #[test]
    fn texts_from_anywhere_never_panic(text in "\\PC{0,400}", digits in "[A-Za-z0-9_-]{0,320}") {
        let _ = EnrolmentRecord::from_text(&text);
        let text = format!("compotastic:{digits}");
        prop_assert!(EnrolmentRecord::from_text(&text).is_err());
    }
}
