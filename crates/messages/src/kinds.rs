//! The types of fields, and how each is read and written.

use core::marker::PhantomData;

use heapless::Vec;

use crate::{
    enums::Enumeration,
    pb::{Malformed, Message, Text, Wire, Writer},
};

/// A type of field.
pub trait Kind<'a> {
    /// Its value in a struct.
    type Value: Default;

    /// Takes a value; false, and nothing is done, where it has another wire type.
    fn merge(into: &mut Self::Value, wire: Wire<'a>) -> Result<core::primitive::bool, Malformed>;

    /// Writes it, also where it is the default.
    fn write(value: &Self::Value, number: u32, writer: &mut Writer<'_>);
}

/// A kind that is left out where it is at its default.
pub trait Plain<'a>: Kind<'a> {
    /// True for 0, false, nothing.
    fn is_default(value: &Self::Value) -> core::primitive::bool;
}

/// A kind that lists hold packed.
pub trait Packable: for<'a> Kind<'a, Value = Self::Item> {
    /// One item.
    type Item: Copy + Default;

    /// Takes the first item of a packed list; none where the bytes end inside it.
    fn take(rest: &mut &[u8]) -> Option<Self::Item>;

    /// Writes an item without a tag.
    fn put(item: Self::Item, writer: &mut Writer<'_>);
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $kind:ident: $value:ty, $variant:ident, $field:ident, $from:expr, $to:expr;)*) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types)]
        #[derive(Debug)]
        pub struct $kind;

        impl Kind<'_> for $kind {
            type Value = $value;

            fn merge(into: &mut $value, wire: Wire<'_>) -> Result<core::primitive::bool, Malformed> {
                let Wire::$variant(raw) = wire else { return Ok(false) };
                *into = $from(raw);
                Ok(true)
            }

            fn write(value: &$value, number: u32, writer: &mut Writer<'_>) {
                writer.$field(number, $to(*value));
            }
        }

        impl Plain<'_> for $kind {
            fn is_default(value: &$value) -> core::primitive::bool {
                $to(*value) == 0
            }
        }
    )*};
}

numbers! {
    /// Protobuf's `uint32`.
    uint32: u32, Varint, varint_field, |raw| raw as u32, u64::from;
    /// Protobuf's `uint64`.
    uint64: u64, Varint, varint_field, |raw| raw, |value: u64| value;
    /// Protobuf's `int32`: negative values take ten bytes.
    int32: i32, Varint, varint_field, |raw| raw as i32, |value: i32| i64::from(value) as u64;
    /// Protobuf's `sint32`, in zigzag.
    sint32: i32, Varint, varint_field,
        |raw| (raw as u32 >> 1) as i32 ^ -((raw as u32 & 1) as i32),
        |value: i32| u64::from((value << 1 ^ value >> 31) as u32);
    /// Protobuf's `bool`.
    bool: core::primitive::bool, Varint, varint_field, |raw| raw != 0, u64::from;
    /// Protobuf's `fixed32`.
    fixed32: u32, Fixed32, fixed32_field, |raw| raw, |value: u32| value;
    /// Protobuf's `sfixed32`.
    sfixed32: i32, Fixed32, fixed32_field, |raw| raw as i32, |value: i32| value as u32;
    /// Protobuf's `float`.
    float: f32, Fixed32, fixed32_field, f32::from_bits, f32::to_bits;
}

macro_rules! packable {
    ($($kind:ident: $value:ty, $variant:ident, $take:ident, $put:ident;)*) => {$(
        impl Packable for $kind {
            type Item = $value;

            fn take(rest: &mut &[u8]) -> Option<$value> {
                let mut item = <$value>::default();
                Self::merge(&mut item, Wire::$variant($take(rest)?)).ok()?;
                Some(item)
            }

            fn put(item: $value, writer: &mut Writer<'_>) {
                $put(item, writer);
            }
        }
    )*};
}

packable! {
    uint32: u32, Varint, take_varint, put_u32;
    int32: i32, Varint, take_varint, put_i32;
    fixed32: u32, Fixed32, take_fixed32, put_fixed32;
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let end = rest.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (item, tail) = rest.split_at_checked(end + 1)?;
    *rest = tail;
    Some(item.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F)))
}

fn take_fixed32(rest: &mut &[u8]) -> Option<u32> {
    let (item, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u32::from_le_bytes(*item))
}

fn put_u32(item: u32, writer: &mut Writer<'_>) {
    writer.varint(item.into());
}

fn put_i32(item: i32, writer: &mut Writer<'_>) {
    writer.varint(i64::from(item) as u64);
}

fn put_fixed32(item: u32, writer: &mut Writer<'_>) {
    writer.raw(&item.to_le_bytes());
}

/// Protobuf's `bytes`.
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct bytes;

impl<'a> Kind<'a> for bytes {
    type Value = &'a [u8];

    fn merge(into: &mut &'a [u8], wire: Wire<'a>) -> Result<core::primitive::bool, Malformed> {
        let Wire::Bytes(raw) = wire else { return Ok(false) };
        *into = raw;
        Ok(true)
    }

    fn write(value: &&'a [u8], number: u32, writer: &mut Writer<'_>) {
        writer.bytes_field(number, value);
    }
}

impl<'a> Plain<'a> for bytes {
    fn is_default(value: &&'a [u8]) -> core::primitive::bool {
        value.is_empty()
    }
}

/// Protobuf's `string`.
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct string;

impl<'a> Kind<'a> for string {
    type Value = Text<'a>;

    fn merge(into: &mut Text<'a>, wire: Wire<'a>) -> Result<core::primitive::bool, Malformed> {
        bytes::merge(&mut into.0, wire)
    }

    fn write(value: &Text<'a>, number: u32, writer: &mut Writer<'_>) {
        bytes::write(&value.0, number, writer);
    }
}

impl<'a> Plain<'a> for string {
    fn is_default(value: &Text<'a>) -> core::primitive::bool {
        value.is_empty()
    }
}

/// An enumeration: a number of 32 bits, unknown ones kept.
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct enumeration<E>(PhantomData<E>);

impl<E: Enumeration> Kind<'_> for enumeration<E> {
    type Value = E;

    fn merge(into: &mut E, wire: Wire<'_>) -> Result<core::primitive::bool, Malformed> {
        let Wire::Varint(raw) = wire else { return Ok(false) };
        *into = E::from_value(raw as u32);
        Ok(true)
    }

    fn write(value: &E, number: u32, writer: &mut Writer<'_>) {
        // Negative ones are extended to 64 bits, as for `int32`.
        int32::write(&(value.value() as i32), number, writer);
    }
}

impl<E: Enumeration> Plain<'_> for enumeration<E> {
    fn is_default(value: &E) -> core::primitive::bool {
        value.value() == 0
    }
}

/// A message inside another one.
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct message<M>(PhantomData<M>);

impl<'a, M: Message<'a>> Kind<'a> for message<M> {
    type Value = M;

    fn merge(into: &mut M, wire: Wire<'a>) -> Result<core::primitive::bool, Malformed> {
        let Wire::Bytes(raw) = wire else { return Ok(false) };
        into.merge(raw)?;
        Ok(true)
    }

    fn write(value: &M, number: u32, writer: &mut Writer<'_>) {
        writer.nested_field(number, |writer| value.encode(writer));
    }
}

pub fn read_plain<'a, K: Kind<'a>>(slot: &mut K::Value, wire: Wire<'a>) -> Result<(), Malformed> {
    K::merge(slot, wire).map(|_| ())
}

pub fn write_plain<'a, K: Plain<'a>>(value: &K::Value, number: u32, writer: &mut Writer<'_>) {
    if !K::is_default(value) {
        K::write(value, number, writer);
    }
}

pub fn read_optional<'a, K: Kind<'a>>(slot: &mut Option<K::Value>, wire: Wire<'a>) -> Result<(), Malformed> {
    match slot {
        Some(value) => K::merge(value, wire).map(|_| ()),
        None => {
            let mut value = K::Value::default();
            if K::merge(&mut value, wire)? {
                *slot = Some(value);
            }
            Ok(())
        }
    }
}

pub fn write_optional<'a, K: Kind<'a>>(slot: &Option<K::Value>, number: u32, writer: &mut Writer<'_>) {
    if let Some(value) = slot {
        K::write(value, number, writer);
    }
}

pub fn read_packed<K: Packable, const N: usize>(
    list: &mut Vec<K::Item, N>,
    wire: Wire<'_>,
) -> Result<(), Malformed> {
    if let Wire::Bytes(mut rest) = wire {
        while !rest.is_empty() {
            let item = K::take(&mut rest).ok_or(Malformed::Truncated)?;
            list.push(item).map_err(|_| Malformed::TooMany)?;
        }
        return Ok(());
    }
    let mut item = K::Item::default();
    if K::merge(&mut item, wire)? {
        list.push(item).map_err(|_| Malformed::TooMany)?;
    }
    Ok(())
}

pub fn write_packed<K: Packable, const N: usize>(
    list: &Vec<K::Item, N>,
    number: u32,
    writer: &mut Writer<'_>,
) {
    if !list.is_empty() {
        writer.nested_field(number, |writer| list.iter().for_each(|item| K::put(*item, writer)));
    }
}

pub fn read_repeated<'a, M: Message<'a>, const N: usize>(
    list: &mut Vec<M, N>,
    wire: Wire<'a>,
) -> Result<(), Malformed> {
    if let Wire::Bytes(raw) = wire {
        list.push(M::decode(raw)?).map_err(|_| Malformed::TooMany)?;
    }
    Ok(())
}

pub fn write_repeated<'a, M: Message<'a>, const N: usize>(
    list: &Vec<M, N>,
    number: u32,
    writer: &mut Writer<'_>,
) {
    for item in list {
        writer.nested_field(number, |writer| item.encode(writer));
    }
}

/// The choice between several fields.
pub trait Choice<'a>: Sized {
    /// The table.
    const FIELDS: &'static [crate::pb::Field];

    /// Takes a field where it is one of the choice's.
    fn merge(slot: &mut Option<Self>, number: u32, wire: Wire<'a>) -> Result<(), Malformed>;

    /// Writes the chosen field, also where it is at its default.
    fn encode(&self, writer: &mut Writer<'_>);
}
