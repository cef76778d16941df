//! Arithmetic of GF(256) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D), generator 2.

/// Bytes of the two tables, which are the only ones of the code and its decoder.
pub const TABLE_BYTES: usize = 512 + 256;

const fn tables() -> ([u8; 512], [u8; 256]) {
    let (mut exp, mut log) = ([0; 512], [0; 256]);
    let (mut x, mut i) = (1u16, 0);
    while i < 255 {
        exp[i] = x as u8;
        exp[i + 255] = x as u8;
        log[x as usize] = i as u8;
        x <<= 1;
        if x & 0x100 != 0 {
            x ^= 0x11D;
        }
        i += 1;
    }
    (exp, log)
}

static TABLES: ([u8; 512], [u8; 256]) = tables();

pub(crate) fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    let (exp, log) = &TABLES;
    exp[usize::from(log[usize::from(a)]) + usize::from(log[usize::from(b)])]
}

/// The inverse; 0 for 0, which callers exclude.
pub(crate) fn inv(a: u8) -> u8 {
    let (exp, log) = &TABLES;
    if a == 0 { 0 } else { exp[255 - usize::from(log[usize::from(a)])] }
}

/// Each of the four bytes of `word` times `factor`.
pub(crate) fn mul4(word: u32, factor: u8) -> u32 {
    let mut product = 0;
    for bit in (0..8).rev() {
        let carries = product >> 7 & 0x0101_0101;
        product = ((product & 0x7F7F_7F7F) << 1) ^ (carries * 0x1D);
        if factor >> bit & 1 == 1 {
            product ^= word;
        }
    }
    product
}

/// The sum of the products of the bytes of `a` and `b`.
pub(crate) fn dot4(a: u32, b: u32) -> u8 {
    a.to_le_bytes().iter().zip(b.to_le_bytes()).fold(0, |sum, (a, b)| sum ^ mul(*a, b))
}

/// `into += from`, over the shorter of the two, four bytes at a time.
pub(crate) fn xor(into: &mut [u8], from: &[u8]) {
    let n = into.len().min(from.len());
    let (into, into_rest) = into[..n].as_chunks_mut::<4>();
    let (from, from_rest) = from[..n].as_chunks::<4>();
    for (i, f) in into.iter_mut().zip(from) {
        *i = (u32::from_le_bytes(*i) ^ u32::from_le_bytes(*f)).to_le_bytes();
    }
    into_rest.iter_mut().zip(from_rest).for_each(|(i, f)| *i ^= f);
}

/// `into += factor * from`, over the shorter of the two.
pub(crate) fn add_scaled(into: &mut [u8], from: &[u8], factor: u8) {
    match factor {
        0 => {}
        1 => xor(into, from),
        _ => {
            // Multiplication is linear, so two tables of 16 products do for a whole slice.
            let (mut low, mut high) = ([0; 16], [0; 16]);
            for n in 0..16 {
                low[usize::from(n)] = mul(n, factor);
                high[usize::from(n)] = mul(n << 4, factor);
            }
            for (i, f) in into.iter_mut().zip(from) {
                *i ^= low[usize::from(f & 15)] ^ high[usize::from(f >> 4)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_laws() {
        for a in 1..=255u8 {
            assert_eq!(mul(a, inv(a)), 1);
            for b in 0..=255u8 {
                assert_eq!(mul(a, b), mul(b, a));
                assert_eq!(mul(a, b ^ 0x53), mul(a, b) ^ mul(a, 0x53));
                let mut x = [0x0F];
                add_scaled(&mut x, &[b], a);
                assert_eq!(x[0], 0x0F ^ mul(a, b));
                let word = u32::from_le_bytes([b, 1, 0, 0x80]);
                assert_eq!(mul4(word, a).to_le_bytes(), [mul(a, b), a, 0, mul(a, 0x80)]);
            }
        }
    }

    #[test]
    fn xor_of_any_length() {
        for n in 0..13u8 {
            let mut into: std::vec::Vec<u8> = (0..n).collect();
            xor(&mut into, &[0x55; 12]);
            assert!((0..n).zip(&into).all(|(i, v)| *v == if i < 12 { i ^ 0x55 } else { i }));
        }
    }
}
