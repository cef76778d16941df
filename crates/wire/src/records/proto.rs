//! As much of protobuf as the records need: varints, 32-bit numbers, bytes. Groups are refused, unknown fields skipped.

use core::fmt;

/// Why bytes are not a record, or a record cannot be written. Fields are named as in `proto/compotastic.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Cut short, or not protobuf.
    Malformed,
    /// A field that must be there is missing.
    Missing(&'static str),
    /// A field has a value, a length or a type that it must not have.
    Field(&'static str),
    /// More entries of a repeated field than the format allows.
    TooMany(&'static str),
    /// The buffer is too small.
    NoRoom,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("record is cut short or not protobuf"),
            Self::Missing(field) => write!(f, "record lacks {field}"),
            Self::Field(field) => write!(f, "record has a {field} that is not allowed"),
            Self::TooMany(field) => write!(f, "record has too many {field}"),
            Self::NoRoom => f.write_str("record does not fit the buffer"),
        }
    }
}

impl core::error::Error for RecordError {}

/// The value of one field as it lies in the message.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// Of a wire type that no known field has.
    Other,
}

impl<'a> Value<'a> {
    /// A number up to `max`.
    pub(super) fn number(self, max: u32, field: &'static str) -> Result<u32, RecordError> {
        match self {
            Self::Varint(value) if value <= u64::from(max) => Ok(value as u32),
            _ => Err(RecordError::Field(field)),
        }
    }

    pub(super) fn byte(self, max: u8, field: &'static str) -> Result<u8, RecordError> {
        self.number(u32::from(max), field).map(|value| value as u8)
    }

    pub(super) fn short(self, field: &'static str) -> Result<u16, RecordError> {
        self.number(u32::from(u16::MAX), field).map(|value| value as u16)
    }

    pub(super) fn fixed32(self, field: &'static str) -> Result<u32, RecordError> {
        if let Self::Fixed32(value) = self { Ok(value) } else { Err(RecordError::Field(field)) }
    }

    pub(super) fn bytes(self, field: &'static str) -> Result<&'a [u8], RecordError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(RecordError::Field(field)) }
    }

    pub(super) fn array<const N: usize>(self, field: &'static str) -> Result<[u8; N], RecordError> {
        self.bytes(field)?.try_into().map_err(|_| RecordError::Field(field))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], RecordError> {
        let length = usize::try_from(length).map_err(|_| RecordError::Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(RecordError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(RecordError::Malformed);
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed)
    }
}

/// Calls `field` with the number and value of each field of a message, in its order.
pub(super) fn read<'a>(
    message: &'a [u8],
    mut field: impl FnMut(u32, Value<'a>) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let mut reader = Reader(message);
    while !reader.0.is_empty() {
        let key = reader.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(RecordError::Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(reader.varint()?),
            1 => {
                reader.take(8)?;
                Value::Other
            }
            2 => {
                let length = reader.varint()?;
                Value::Bytes(reader.take(length)?)
            }
            5 => {
                let bytes = reader.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => return Err(RecordError::Malformed),
        };
        field(number, value)?;
    }
    Ok(())
}

/// Bytes that a varint takes.
const fn varint_len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Writes fields to a buffer, or (without one) counts their bytes. The caller keeps the order of numbers.
pub(super) struct Writer<'b> {
    out: Option<&'b mut [u8]>,
    at: usize,
}

impl<'b> Writer<'b> {
    pub(super) fn new(out: &'b mut [u8]) -> Self {
        Self { out: Some(out), at: 0 }
    }

    /// Bytes that `write` writes.
    fn count(write: impl Fn(&mut Writer<'_>) -> Result<(), RecordError>) -> Result<u32, RecordError> {
        let mut counter = Writer { out: None, at: 0 };
        write(&mut counter)?;
        u32::try_from(counter.at).map_err(|_| RecordError::NoRoom)
    }

    pub(super) fn written(&self) -> usize {
        self.at
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let end = self.at + bytes.len();
        if let Some(out) = &mut self.out {
            out.get_mut(self.at..end).ok_or(RecordError::NoRoom)?.copy_from_slice(bytes);
        }
        self.at = end;
        Ok(())
    }

    fn varint(&mut self, mut value: u32) -> Result<(), RecordError> {
        let mut bytes = [0; 5];
        let length = varint_len(value);
        for (index, byte) in bytes[..length].iter_mut().enumerate() {
            *byte = (value & 0x7F) as u8 | if index + 1 < length { 0x80 } else { 0 };
            value >>= 7;
        }
        self.put(&bytes[..length])
    }

    /// A varint field, left out where it is 0.
    pub(super) fn number(&mut self, field: u32, value: u32) -> Result<(), RecordError> {
        if value == 0 {
            return Ok(());
        }
        self.varint(field << 3)?;
        self.varint(value)
    }

    /// A 32-bit field, left out where it is 0.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) -> Result<(), RecordError> {
        if value == 0 {
            return Ok(());
        }
        self.varint(field << 3 | 5)?;
        self.put(&value.to_le_bytes())
    }

    /// A bytes or string field, written also where it is empty.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) -> Result<(), RecordError> {
        self.varint(field << 3 | 2)?;
        self.varint(u32::try_from(bytes.len()).map_err(|_| RecordError::NoRoom)?)?;
        self.put(bytes)
    }

    /// A message inside this one.
    pub(super) fn message(
        &mut self,
        field: u32,
        write: impl Fn(&mut Writer<'_>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        self.varint(field << 3 | 2)?;
        let length = Self::count(&write)?;
        self.varint(length)?;
        let start = self.at;
        let rest = match &mut self.out {
            Some(out) => Some(out.get_mut(start..).ok_or(RecordError::NoRoom)?),
            None => None,
        };
        let mut inner = Writer { out: rest, at: 0 };
        write(&mut inner)?;
        self.at = start + inner.at;
        Ok(())
    }
}
