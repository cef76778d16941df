//! No bytes from anywhere panic, and what was read is written and read again as the same.

mod common;

use compotastic_messages::{
    pb::{Field, Writer},
    *,
};
use proptest::prelude::*;

/// A value for a field, by what its kind has on the wire.
#[derive(Clone, Debug)]
struct Value {
    choice: prop::sample::Index,
    number: u64,
    bytes: Vec<u8>,
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let number = prop_oneof![0..4u64, any::<u64>(), any::<u32>().prop_map(u64::from)];
    // Bytes that are now and then a message themselves.
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec((1..16u8, 0..100u8), 0..6)
            .prop_map(|fields| fields.iter().flat_map(|(number, value)| [number << 3, *value]).collect()),
    ];
    let value = (any::<prop::sample::Index>(), number, bytes).prop_map(|(choice, number, bytes)| Value {
        choice,
        number,
        bytes,
    });
    prop::collection::vec(value, 0..12)
}

/// Writes values under fields of the table, each with the wire type of its kind.
fn write(fields: &[Field], values: &[Value]) -> Vec<u8> {
    let all: Vec<Field> = fields
        .iter()
        .flat_map(|field| if field.number == 0 { field.variants.to_vec() } else { vec![*field] })
        .collect();
    let mut buffer = vec![0; 4096];
    let mut writer = Writer::new(&mut buffer);
    for value in values {
        let field = value.choice.get(&all);
        let kind = field.kind.trim_start_matches("optional ");
        match kind {
            "fixed32" | "sfixed32" => writer.fixed32_field(field.number, value.number as u32),
            // NaN is not equal to itself.
            "float" => writer.fixed32_field(field.number, (value.number as i32 as f32).to_bits()),
            "uint32" | "uint64" | "int32" | "sint32" | "bool" => {
                writer.varint_field(field.number, value.number)
            }
            _ if kind.starts_with("enumeration") => writer.varint_field(field.number, value.number),
            _ => writer.bytes_field(field.number, &value.bytes),
        }
    }
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

/// Reads, writes and reads again.
fn there_and_back<'a, M: Message<'a> + Clone + PartialEq + std::fmt::Debug>(
    bytes: &'a [u8],
    buffer: &'a mut [u8],
) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    // Changing the form takes at most ten bytes where there were two.
    let length = message.encode_to(buffer).expect("room for all forms");
    assert_eq!(M::decode(&buffer[..length]).as_ref(), Ok(&message), "{bytes:02x?}");
    Some(message)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_was_read_is_written_and_read_as_the_same(values in values()) {
        macro_rules! check {
            ($message:ident, $name:literal) => {
                let bytes = write(<$message as Message>::FIELDS, &values);
                there_and_back::<$message>(&bytes, &mut [0; 8192]);
            };
        }
        for_all_messages!(check);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        macro_rules! check {
            ($message:ident, $name:literal) => {
                if let Ok(message) = $message::decode(&bytes) {
                    let _ = message.encode_to(&mut [0; 8192]);
                }
            };
        }
        for_all_messages!(check);
    }
}

#[test]
fn a_float_that_is_no_number_is_kept_bit_by_bit() {
    let bytes = [0x1D, 1, 2, 0xC0, 0x7F];
    let metrics = DeviceMetrics::decode(&bytes).unwrap();
    assert_eq!(metrics.to_vec::<8>().unwrap(), bytes);
}

#[test]
fn a_buffer_that_is_too_small_is_told_at_each_length() {
    let data = Data { payload: &[7; 200], want_response: true, bitfield: Some(1), ..Data::default() };
    let packet =
        MeshPacket { id: 9, payload: Some(MeshPacketPayload::Decoded(data)), ..MeshPacket::default() };
    let whole = packet.to_vec::<300>().unwrap();
    for length in 0..whole.len() {
        assert_eq!(packet.encode_to(&mut vec![0; length]), Err(Full), "{length}");
    }
    assert_eq!(packet.encode_to(&mut vec![0; whole.len()]), Ok(whole.len()));
}
