//! Our tables of fields and names are those of the published schema.

mod common;

use compotastic_messages::{pb::Field, *};

const FIELDS: &str = include_str!("../../../tests/data/meshtastic/fields.tsv");
const ENUMERATIONS: &str = include_str!("../../../tests/data/meshtastic/enumerations.tsv");

fn plain(name: &str) -> String {
    name.chars().filter(|c| *c != '_').collect::<String>().to_lowercase()
}

/// The kind that we may declare for a field of the schema.
fn fits(kind: &str, ty: &str, label: &str, one_of: bool) -> bool {
    let words: Vec<&str> = kind.split([' ', ',', '<']).filter(|word| !word.is_empty()).collect();
    let scalar =
        ["uint32", "uint64", "int32", "sint32", "bool", "fixed32", "sfixed32", "float", "bytes", "string"]
            .contains(&ty);
    let message = !scalar && label.contains("wire 2");
    match words.as_slice() {
        ["packed", inner, _] => scalar && *inner == ty && label.contains("repeated"),
        ["repeated", inner, _] => message && *inner == ty && label.contains("repeated"),
        // Kept as it is.
        ["bytes"] if message => true,
        ["optional", "bytes"] if message => label.contains("optional"),
        ["message", inner, ..] => {
            message && !label.contains("repeated") && (inner == &ty || ty.ends_with(inner))
        }
        ["enumeration", _] | ["uint32"] if !scalar => !message,
        ["optional", inner] => *inner == ty && label.contains("optional") && !one_of,
        [inner] => *inner == ty && (one_of || !label.contains("optional")) && !label.contains("repeated"),
        _ => false,
    }
}

fn compare(name: &str, ours: &[Field], failures: &mut Vec<String>) {
    let mut flat: Vec<(Field, bool)> = Vec::new();
    for field in ours {
        match field.number {
            0 => flat.extend(field.variants.iter().map(|variant| (*variant, true))),
            _ => flat.push((*field, false)),
        }
    }
    flat.sort_by_key(|(field, _)| field.number);
    let rows: Vec<Vec<&str>> = FIELDS
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|row| row[0] == name)
        .collect();
    if rows.is_empty() || rows.len() != flat.len() {
        failures.push(format!("{name}: {} fields, the schema has {}", flat.len(), rows.len()));
    }
    for (row, (field, variant)) in rows.iter().zip(flat) {
        let [_, number, their_name, ty, wire, label] = row[..] else { panic!("row {row:?}") };
        let one_of = label.contains("oneof");
        let label = format!("{label} wire {wire}");
        if number != field.number.to_string() || plain(their_name) != plain(field.name) || one_of != variant {
            failures.push(format!("{name}: {row:?} is not {field:?}"));
        }
        if !fits(field.kind, ty, &label, one_of) {
            failures.push(format!("{name}.{their_name}: {ty} {label} is not `{}`", field.kind));
        }
    }
}

#[test]
fn fields_have_the_numbers_and_types_of_the_schema() {
    let mut failures = Vec::new();
    macro_rules! check {
        ($message:ident, $name:literal) => {
            compare($name, <$message as Message>::FIELDS, &mut failures);
        };
    }
    for_all_messages!(check);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn enumerations_have_the_names_of_the_schema() {
    let mut failures = Vec::new();
    macro_rules! check {
        ($name:ident, $theirs:literal) => {
            let theirs: Vec<(u32, &str)> = ENUMERATIONS
                .lines()
                .map(|line| line.split('\t').collect::<Vec<_>>())
                .filter(|row| row[0] == $theirs)
                .map(|row| (row[2].parse().unwrap(), row[1]))
                .collect();
            let ours: Vec<(u32, &str)> = $name::NAMES.iter().map(|(value, name)| (value.0, *name)).collect();
            if theirs != ours || theirs.is_empty() {
                failures.push($theirs);
            }
        };
    }
    check!(PortNum, "PortNum");
    check!(RoutingError, "Routing.Error");
    check!(Priority, "MeshPacket.Priority");
    check!(TransportMechanism, "MeshPacket.TransportMechanism");
    check!(Role, "Config.DeviceConfig.Role");
    check!(RebroadcastMode, "Config.DeviceConfig.RebroadcastMode");
    check!(RegionCode, "Config.LoRaConfig.RegionCode");
    check!(ModemPreset, "Config.LoRaConfig.ModemPreset");
    check!(ChannelRole, "Channel.Role");
    check!(LocationSource, "Position.LocSource");
    check!(AltitudeSource, "Position.AltSource");
    check!(LogLevel, "LogRecord.Level");
    check!(ConfigType, "AdminMessage.ConfigType");
    check!(ModuleConfigType, "AdminMessage.ModuleConfigType");
    check!(XModemControl, "XModem.Control");
    check!(StoreAndForwardRequest, "StoreAndForward.RequestResponse");
    check!(HardwareModel, "HardwareModel");
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn names_are_found_and_unknown_numbers_stay() {
    assert_eq!(RegionCode::from_name("eu_868"), Some(RegionCode::EU_868));
    assert_eq!(RegionCode::from_name("mars"), None);
    assert_eq!(RegionCode(4_000).to_string(), "4000");
    assert_eq!(HardwareModel::RAK4631.to_string(), "RAK4631");
    for (error, name) in RoutingError::NAMES {
        assert!(
            !error.text().contains("does not know") || error.text().contains("public key"),
            "{name} has no text"
        );
    }
}
