//! CRC-32 (IEEE 802.3, reflected) against torn writes; never against an adversary.

const fn table() -> [u32; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 4 {
            c = if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 };
            bit += 1;
        }
        out[i] = c;
        i += 1;
    }
    out
}

/// One entry per nibble: 64 bytes of table are fast enough for records.
const TABLE: [u32; 16] = table();

/// The CRC-32 of the parts one after the other.
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut c = !0u32;
    for byte in parts.iter().copied().flatten() {
        c ^= u32::from(*byte);
        c = (c >> 4) ^ TABLE[(c & 15) as usize];
        c = (c >> 4) ^ TABLE[(c & 15) as usize];
    }
    !c
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        assert_eq!(super::crc32(&[b"12345", b"6789"]), 0xCBF4_3926);
    }
}
