//! What stands in front of a patch: which images it joins, and how. Byte by byte in docs/DELTA.md.

use crate::source::Source;

/// Version of the format, in the upper 3 bits of the first byte.
pub const VERSION: u8 = 1;

/// How a patch describes the new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// As it is.
    Stored,
    /// Copies and literals of bytes.
    Bytes,
    /// Copies and literals of Thumb code: targets of calls and words of literal pools move with what they point at.
    Thumb,
    /// Differences of 8-bit values at the same place.
    Grid8,
    /// Differences of 4-bit values at the same place.
    Grid4,
    /// Differences of 2-bit values at the same place.
    Grid2,
}

impl Method {
    /// All methods, in the order of their numbers on the air.
    pub const ALL: [Self; 6] =
        [Self::Stored, Self::Bytes, Self::Thumb, Self::Grid8, Self::Grid4, Self::Grid2];

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Bytes => "bytes",
            Self::Thumb => "thumb",
            Self::Grid8 => "grid8",
            Self::Grid4 => "grid4",
            Self::Grid2 => "grid2",
        }
    }

    /// Bytes in a unit of the model.
    pub(crate) const fn unit(self) -> u32 {
        if matches!(self, Self::Thumb) { 2 } else { 1 }
    }
}

/// The head of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the new image is described.
    pub method: Method,
    /// Length of the old image, in bytes.
    pub old_len: u32,
    /// CRC-32 of the old image.
    pub old_crc: u32,
    /// Length of the new image, in bytes.
    pub new_len: u32,
    /// CRC-32 of the new image.
    pub new_crc: u32,
    /// Address of the images in the device's memory, a multiple of 256 (Thumb only).
    pub base: u32,
    /// Entries of the block map (Thumb only).
    pub entries: u32,
    /// Part of the old image that the model is trained on, in units of 64 bytes: start, length.
    pub prime: (u32, u32),
}

/// A head that cannot be read, or a method that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader;

/// The longest head.
pub const MAX_HEADER: usize = 1 + 5 + 5 + 4 + 4 + 4 * 5;

impl Header {
    /// Reads a head from the start of a patch; returns its length in bytes too.
    ///
    /// # Errors
    /// [`BadHeader`] if it is no head of this version.
    pub fn parse(bytes: &[u8]) -> Result<(Self, u32), BadHeader> {
        let mut at = 0;
        let first = *bytes.first().ok_or(BadHeader)?;
        at += 1;
        if first >> 5 != VERSION {
            return Err(BadHeader);
        }
        let method = *Method::ALL.get(usize::from(first & 31)).ok_or(BadHeader)?;
        let new_len = varint(bytes, &mut at)?;
        let new_crc = word(bytes, &mut at)?;
        let mut header =
            Self { method, old_len: 0, old_crc: 0, new_len, new_crc, base: 0, entries: 0, prime: (0, 0) };
        if method != Method::Stored {
            header.old_len = varint(bytes, &mut at)?;
            header.old_crc = word(bytes, &mut at)?;
            header.prime = (varint(bytes, &mut at)?, varint(bytes, &mut at)?);
        }
        if method == Method::Thumb {
            header.base = varint(bytes, &mut at)?.checked_mul(256).ok_or(BadHeader)?;
            header.entries = varint(bytes, &mut at)?;
        }
        Ok((header, at as u32))
    }

    /// Reads the head of the patch in `patch`.
    ///
    /// # Errors
    /// What the source says; `Ok(Err(BadHeader))` if it is no head of this version.
    pub fn read<S: Source>(
        patch: &mut S,
        patch_len: u32,
    ) -> Result<Result<(Self, u32), BadHeader>, S::Error> {
        let mut bytes = [0; MAX_HEADER];
        let len = bytes.len().min(patch_len as usize);
        patch.read(0, &mut bytes[..len])?;
        Ok(Self::parse(&bytes[..len]))
    }

    /// The head as it stands in the patch.
    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, out: &mut alloc::vec::Vec<u8>) {
        let number = Method::ALL.iter().position(|known| *known == self.method).unwrap_or(0);
        out.push(VERSION << 5 | number as u8);
        put(out, self.new_len);
        out.extend(self.new_crc.to_le_bytes());
        if self.method != Method::Stored {
            put(out, self.old_len);
            out.extend(self.old_crc.to_le_bytes());
            put(out, self.prime.0);
            put(out, self.prime.1);
        }
        if self.method == Method::Thumb {
            put(out, self.base / 256);
            put(out, self.entries);
        }
    }
}

#[cfg(feature = "encode")]
fn put(out: &mut alloc::vec::Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u32, BadHeader> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *bytes.get(*at).ok_or(BadHeader)?;
        *at += 1;
        if shift == 28 && byte > 15 {
            return Err(BadHeader);
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BadHeader)
}

fn word(bytes: &[u8], at: &mut usize) -> Result<u32, BadHeader> {
    let word = bytes.get(*at..*at + 4).and_then(|part| <[u8; 4]>::try_from(part).ok()).ok_or(BadHeader)?;
    *at += 4;
    Ok(u32::from_le_bytes(word))
}

/// CRC-32 (IEEE 802.3) with a table of 16 entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc(u32);

impl Crc {
    /// Of nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        const TABLE: [u32; 16] = table();
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            self.0 = TABLE[(self.0 & 15) as usize] ^ (self.0 >> 4);
            self.0 = TABLE[(self.0 & 15) as usize] ^ (self.0 >> 4);
        }
    }

    /// Of all that was taken in.
    #[must_use]
    pub const fn get(self) -> u32 {
        !self.0
    }
}

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 4 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_known_one() {
        let mut crc = Crc::new();
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.get(), 0xcbf4_3926);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bytes in [
            &[][..],
            &[0x22],
            &[0x3f, 1, 0, 0, 0, 0],
            &[0x42, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x20, 0xff, 0xff, 0xff, 0xff, 0x1f],
        ] {
            assert_eq!(Header::parse(bytes), Err(BadHeader));
        }
        let (header, len) =
            Header::parse(&[0x20, 0x83, 0x01, 1, 2, 3, 4, 9]).expect("a head of a stored image");
        assert_eq!(
            (header.method, header.new_len, header.new_crc, len),
            (Method::Stored, 131, 0x0403_0201, 7)
        );
    }
}
