//! Reading and writing protobuf, as far as Meshtastic needs it: bounded, without panics, without allocation.
//!
//! Reading follows the encoding page of protobuf (<https://protobuf.dev/programming-guides/encoding/>): unknown fields and known ones
//! with another wire type are passed over, the last of several values counts, nested messages are merged, lists are taken packed or
//! not. Groups are refused, as radios do.

use core::fmt;

/// Bytes that are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end inside a field.
    Truncated,
    /// A number of more than ten bytes, or a tag of more than 32 bits.
    Varint,
    /// Field number 0.
    FieldZero,
    /// A group, or a wire type that does not exist.
    WireType,
    /// A list is longer than there is room for.
    TooMany,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end inside a field",
            Self::Varint => "a number is too long",
            Self::FieldZero => "a field has the number 0",
            Self::WireType => "a field has a wire type that is not used",
            Self::TooMany => "a list is too long",
        })
    }
}

impl core::error::Error for Malformed {}

/// The room for an encoded message does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the encoded message is longer than its room")
    }
}

impl core::error::Error for Full {}

/// The value of one field, by its wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: bytes, text, a message, a packed list.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// Goes through the fields of a message in their order.
///
/// ```
/// use compotastic_messages::pb::{Fields, Wire};
/// let fields: Vec<_> = Fields::new(&[0x18, 42, 0x22, 2, 1, 2]).collect();
/// assert_eq!(fields, [Ok((3, Wire::Varint(42))), Ok((4, Wire::Bytes(&[1, 2])))]);
/// ```
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), Malformed> {
        let tag = u32::try_from(take_varint(&mut self.rest)?).map_err(|_| Malformed::Varint)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed::FieldZero);
        }
        let wire = match tag & 7 {
            0 => Wire::Varint(take_varint(&mut self.rest)?),
            1 => Wire::Fixed64(u64::from_le_bytes(take_array(&mut self.rest)?)),
            2 => {
                let length = take_varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
                Wire::Bytes(take(&mut self.rest, length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(take_array(&mut self.rest)?)),
            _ => return Err(Malformed::WireType),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
    *rest = tail;
    Ok(*head)
}

/// Bits over 64 of a ten-byte number are dropped, as protobuf does.
fn take_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = rest.get(index + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(if rest.len() < 10 { Malformed::Truncated } else { Malformed::Varint })
}

/// Writes fields into a buffer of fixed size. What does not fit is told at the end, by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    at: usize,
    full: bool,
}

impl<'b> Writer<'b> {
    /// Writes from the start of `buffer`.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, at: 0, full: false }
    }

    /// Bytes that were written.
    ///
    /// # Errors
    /// [`Full`] where something did not fit.
    pub const fn finish(self) -> Result<usize, Full> {
        if self.full { Err(Full) } else { Ok(self.at) }
    }

    /// Raw bytes, without a tag.
    pub fn raw(&mut self, bytes: &[u8]) {
        let room = self.buffer.get_mut(self.at..).unwrap_or_default();
        match room.get_mut(..bytes.len()) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            _ => self.full = true,
        }
    }

    /// A number without a tag.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.raw(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.raw(&[value as u8]);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    /// A field of wire type 0.
    pub fn varint_field(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    /// A field of wire type 1.
    pub fn fixed64_field(&mut self, number: u32, value: u64) {
        self.tag(number, 1);
        self.raw(&value.to_le_bytes());
    }

    /// A field of wire type 2.
    pub fn bytes_field(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A field of wire type 5.
    pub fn fixed32_field(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.raw(&value.to_le_bytes());
    }

    /// A field of wire type 2 whose content is written by `body`.
    pub fn nested_field(&mut self, number: u32, body: impl FnOnce(&mut Self)) {
        self.tag(number, 2);
        let length_at = self.at;
        // Most are shorter than 128 bytes: one byte for the length is kept free, and the content moved where it is not enough.
        self.raw(&[0]);
        let start = self.at;
        body(self);
        if self.full {
            return;
        }
        let length = self.at - start;
        let mut digits = [0; 10];
        let mut writer = Writer::new(&mut digits);
        writer.varint(length as u64);
        let count = writer.at;
        if self.buffer.len() - self.at < count - 1 {
            self.full = true;
            return;
        }
        self.buffer.copy_within(start..self.at, length_at + count);
        self.buffer[length_at..length_at + count].copy_from_slice(&digits[..count]);
        self.at += count - 1;
    }
}

/// Text as it came: radios may send names that are not UTF-8, and a node is not lost for its name.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Text<'a> {
    /// The text, where it is UTF-8.
    pub const fn as_str(&self) -> Option<&'a str> {
        match core::str::from_utf8(self.0) {
            Ok(text) => Some(text),
            Err(_) => None,
        }
    }

    /// True if there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

/// What is not UTF-8 is shown as U+FFFD.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{FFFD}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A message of Meshtastic's: a borrowed view of its bytes that can be changed and written again.
pub trait Message<'a>: Default {
    /// Number, name and kind of each field, as in the table that it was declared by.
    const FIELDS: &'static [Field];

    /// Adds the fields in `bytes`, after protobuf's rules for merging.
    ///
    /// # Errors
    /// [`Malformed`] bytes; what came before them has been taken.
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), Malformed>;

    /// Writes the fields that differ from their default, in the order of their numbers.
    fn encode(&self, writer: &mut Writer<'_>);

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`] bytes.
    fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut message = Self::default();
        message.merge(bytes)?;
        Ok(message)
    }

    /// Writes the message to the start of `buffer`; the answer is its length.
    ///
    /// # Errors
    /// [`Full`] where it is longer than the buffer.
    fn encode_to(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        let mut writer = Writer::new(buffer);
        self.encode(&mut writer);
        writer.finish()
    }

    /// The message as bytes.
    ///
    /// # Errors
    /// [`Full`] where it is longer than `N`.
    fn to_vec<const N: usize>(&self) -> Result<heapless::Vec<u8, N>, Full> {
        let mut bytes = heapless::Vec::new();
        bytes.resize(N, 0).map_err(|_| Full)?;
        let length = self.encode_to(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A field of a message's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Field number; 0 for a `oneof`, whose fields are in its own table.
    pub number: u32,
    /// Our name.
    pub name: &'static str,
    /// Its kind as it was declared, such as `optional fixed32`.
    pub kind: &'static str,
    /// The fields of a `oneof`.
    pub variants: &'static [Field],
}
