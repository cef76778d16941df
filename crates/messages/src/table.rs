//! The macros that turn tables of fields into structs.
//!
//! A line is `number name: [kind]`, in the order of the numbers. Kinds are protobuf's scalars (`uint32`, `string`, ...), the same with
//! `optional` before them, `enumeration T`, `message T` (an `Option`), `packed uint32, N`, `repeated T, N` (lists of at most N), and
//! `oneof T` with the number 0.

macro_rules! field_type {
    ([optional $kind:ident]) => { Option<crate::table::scalar_type!($kind)> };
    ([optional enumeration $t:ty]) => { Option<$t> };
    ([enumeration $t:ty]) => { $t };
    ([message $t:ty]) => { Option<$t> };
    ([packed $kind:ident, $n:literal]) => { heapless::Vec<crate::table::scalar_type!($kind), $n> };
    ([repeated $t:ty, $n:literal]) => { heapless::Vec<$t, $n> };
    ([oneof $t:ty]) => { Option<$t> };
    ([$kind:ident]) => { crate::table::scalar_type!($kind) };
}

macro_rules! scalar_type {
    (uint32) => { u32 };
    (uint64) => { u64 };
    (int32) => { i32 };
    (sint32) => { i32 };
    (bool) => { bool };
    (fixed32) => { u32 };
    (sfixed32) => { i32 };
    (float) => { f32 };
    (bytes) => { &'a [u8] };
    (string) => { crate::pb::Text<'a> };
}

macro_rules! variant_type {
    ([enumeration $t:ty]) => {
        $t
    };
    ([message $t:ty]) => {
        $t
    };
    ([$kind:ident]) => {
        crate::table::scalar_type!($kind)
    };
}

macro_rules! read_field {
    ([optional $kind:ident] $slot:expr, $wire:expr) => {
        crate::kinds::read_optional::<crate::kinds::$kind>($slot, $wire)?
    };
    ([optional enumeration $t:ty] $slot:expr, $wire:expr) => {
        crate::kinds::read_optional::<crate::kinds::enumeration<$t>>($slot, $wire)?
    };
    ([enumeration $t:ty] $slot:expr, $wire:expr) => {
        crate::kinds::read_plain::<crate::kinds::enumeration<$t>>($slot, $wire)?
    };
    ([message $t:ty] $slot:expr, $wire:expr) => {
        crate::kinds::read_optional::<crate::kinds::message<$t>>($slot, $wire)?
    };
    ([packed $kind:ident, $n:literal] $slot:expr, $wire:expr) => {
        crate::kinds::read_packed::<crate::kinds::$kind, $n>($slot, $wire)?
    };
    ([repeated $t:ty, $n:literal] $slot:expr, $wire:expr) => {
        crate::kinds::read_repeated::<$t, $n>($slot, $wire)?
    };
    ([oneof $t:ty] $slot:expr, $wire:expr) => {{}};
    ([$kind:ident] $slot:expr, $wire:expr) => {
        crate::kinds::read_plain::<crate::kinds::$kind>($slot, $wire)?
    };
}

macro_rules! read_choice {
    ([oneof $t:ty] $slot:expr, $number:expr, $wire:expr) => {
        <$t as crate::kinds::Choice>::merge($slot, $number, $wire)?
    };
    ($kind:tt $slot:expr, $number:expr, $wire:expr) => {{}};
}

macro_rules! write_field {
    ([optional $kind:ident] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_optional::<crate::kinds::$kind>($slot, $number, $writer)
    };
    ([optional enumeration $t:ty] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_optional::<crate::kinds::enumeration<$t>>($slot, $number, $writer)
    };
    ([enumeration $t:ty] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_plain::<crate::kinds::enumeration<$t>>($slot, $number, $writer)
    };
    ([message $t:ty] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_optional::<crate::kinds::message<$t>>($slot, $number, $writer)
    };
    ([packed $kind:ident, $n:literal] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_packed::<crate::kinds::$kind, $n>($slot, $number, $writer)
    };
    ([repeated $t:ty, $n:literal] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_repeated::<$t, $n>($slot, $number, $writer)
    };
    ([oneof $t:ty] $slot:expr, $number:expr, $writer:expr) => {
        if let Some(choice) = $slot {
            crate::kinds::Choice::encode(choice, $writer)
        }
    };
    ([$kind:ident] $slot:expr, $number:expr, $writer:expr) => {
        crate::kinds::write_plain::<crate::kinds::$kind>($slot, $number, $writer)
    };
}

macro_rules! variant_kind {
    ([enumeration $t:ty]) => { crate::kinds::enumeration<$t> };
    ([message $t:ty]) => { crate::kinds::message<$t> };
    ([$kind:ident]) => { crate::kinds::$kind };
}

macro_rules! kind_name {
    ([$($kind:tt)*]) => { stringify!($($kind)*) };
}

macro_rules! variants_of {
    ([oneof $t:ty]) => {
        <$t as crate::kinds::Choice>::FIELDS
    };
    ($kind:tt) => {
        &[]
    };
}

macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $number:literal $field:ident: $kind:tt,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: crate::table::field_type!($kind),)*
        }

        impl<'a> crate::pb::Message<'a> for $name $(<$life>)? {
            const FIELDS: &'static [crate::pb::Field] = &[$(crate::pb::Field {
                number: $number,
                name: stringify!($field),
                kind: crate::table::kind_name!($kind),
                variants: crate::table::variants_of!($kind),
            }),*];

            fn merge(&mut self, bytes: &'a [u8]) -> Result<(), crate::pb::Malformed> {
                for field in crate::pb::Fields::new(bytes) {
                    let (number, wire) = field?;
                    match number {
                        $($number => crate::table::read_field!($kind &mut self.$field, wire),)*
                        _ => { $(crate::table::read_choice!($kind &mut self.$field, number, wire);)* }
                    }
                }
                Ok(())
            }

            fn encode(&self, writer: &mut crate::pb::Writer<'_>) {
                $(crate::table::write_field!($kind &self.$field, $number, writer);)*
            }
        }
    )*};
}

macro_rules! choices {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $number:literal $variant:ident: $kind:tt,)*
        }
    )*) => {$(
        $(#[$doc])*
        // There is no heap to keep the larger ones on.
        #[allow(clippy::large_enum_variant)]
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name $(<$life>)? {
            $($(#[$field_doc])* $variant(crate::table::variant_type!($kind)),)*
        }

        impl<'a> crate::kinds::Choice<'a> for $name $(<$life>)? {
            const FIELDS: &'static [crate::pb::Field] = &[$(crate::pb::Field {
                number: $number,
                name: stringify!($variant),
                kind: crate::table::kind_name!($kind),
                variants: &[],
            }),*];

            fn merge(
                slot: &mut Option<Self>,
                number: u32,
                wire: crate::pb::Wire<'a>,
            ) -> Result<(), crate::pb::Malformed> {
                use crate::kinds::Kind;
                match number {
                    $($number => {
                        if let Some(Self::$variant(value)) = slot {
                            <crate::table::variant_kind!($kind)>::merge(value, wire)?;
                        } else {
                            let mut value = Default::default();
                            if <crate::table::variant_kind!($kind)>::merge(&mut value, wire)? {
                                *slot = Some(Self::$variant(value));
                            }
                        }
                    })*
                    _ => {}
                }
                Ok(())
            }

            fn encode(&self, writer: &mut crate::pb::Writer<'_>) {
                use crate::kinds::Kind;
                match self {
                    $(Self::$variant(value) => <crate::table::variant_kind!($kind)>::write(value, $number, writer),)*
                }
            }
        }
    )*};
}

pub(crate) use {
    choices, field_type, kind_name, messages, read_choice, read_field, scalar_type, variant_kind,
    variant_type, variants_of, write_field,
};
