//! Numbers and texts as bytes: little-endian base 128 (LEB128), zigzag for signed ones, texts with their length.

use std::fmt;

/// What is wrong with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    CutOff,
    /// A number has more bytes than it needs, or than 64 bits have.
    Number,
    /// A value that has no meaning here: its name.
    Value(&'static str),
    /// A text is not UTF-8.
    Text,
    /// A kind of record that this program does not know.
    Kind(u8),
    /// Bytes are left over.
    Trailing,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("it is cut off"),
            Self::Number => f.write_str("a number is longer than it can be"),
            Self::Value(name) => write!(f, "{name} is out of range"),
            Self::Text => f.write_str("a text is not UTF-8"),
            Self::Kind(kind) => write!(f, "kind {kind} is not known here"),
            Self::Trailing => f.write_str("bytes are left over"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Reads from bytes.
#[derive(Clone, Debug)]
pub struct Take<'d> {
    data: &'d [u8],
    at: usize,
}

impl<'d> Take<'d> {
    pub fn new(data: &'d [u8], at: usize) -> Self {
        Self { data, at: at.min(data.len()) }
    }

    /// Where the next byte lies.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'d [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed::CutOff)?;
        let taken = self.data.get(self.at..end).ok_or(Malformed::CutOff)?;
        self.at = end;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            // One form per number: no empty last byte, no bits beyond the 64th.
            if (part << shift) >> shift != part || (byte == 0 && shift > 0) {
                return Err(Malformed::Number);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Number)
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number no larger than `most`.
    pub fn up_to(&mut self, most: u64, name: &'static str) -> Result<u64, Malformed> {
        let value = self.number()?;
        if value <= most { Ok(value) } else { Err(Malformed::Value(name)) }
    }

    /// A number that fits a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed::Value(name))
    }

    pub fn text(&mut self) -> Result<&'d str, Malformed> {
        let length = self.small("a text's length")?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Malformed::Text)
    }

    pub fn done(&self) -> Result<(), Malformed> {
        if self.at == self.data.len() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

pub fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, (value << 1 ^ value >> 63) as u64);
}

pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn numbers_and_texts_come_back(value: u64, signed: i64, text in ".{0,80}") {
            let mut out = Vec::new();
            put_number(&mut out, value);
            put_signed(&mut out, signed);
            put_text(&mut out, &text);
            let mut take = Take::new(&out, 0);
            prop_assert_eq!(take.number(), Ok(value));
            prop_assert_eq!(take.signed(), Ok(signed));
            prop_assert_eq!(take.text(), Ok(text.as_str()));
            prop_assert_eq!(take.done(), Ok(()));
        }

        #[test]
        fn a_number_has_one_form(bytes: [u8; 11]) {
            let mut take = Take::new(&bytes, 0);
            if let Ok(value) = take.number() {
                let mut out = Vec::new();
                put_number(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..take.at()]);
            }
        }
    }
}
