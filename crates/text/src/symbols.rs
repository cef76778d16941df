//! The symbols a text is made of: printable ASCII, line feed, an end mark and an escape.

/// The symbol that ends a text; before the first symbol of a text it also stands for "start".
pub const END: u8 = 0;
/// The symbol in front of a character that has no symbol of its own.
pub const ESCAPE: u8 = 97;
/// Number of symbols.
pub const SYMBOLS: usize = 98;

const LINE_FEED: u8 = 96;

/// The symbol of a character: [`ESCAPE`] when it has none of its own.
pub const fn symbol_of(c: char) -> u8 {
    match c {
        ' '..='~' => c as u8 - b' ' + 1,
        '\n' => LINE_FEED,
        _ => ESCAPE,
    }
}

/// The character of a symbol that stands for one.
pub(crate) const fn char_of(symbol: u8) -> Option<char> {
    match symbol {
        1..=95 => Some((symbol - 1 + b' ') as char),
        LINE_FEED => Some('\n'),
        _ => None,
    }
}

/// Where escaped characters lie, with the weight (of 64) of each range. The last ranges hold
/// everything, so that every character has a code.
pub(crate) const ESCAPE_RANGES: [(u32, u32, u32); 7] = [
    (0x80, 0x100, 24),        // western accents, degree sign
    (0x100, 0x800, 12),       // other alphabets
    (0x2000, 0x2800, 10),     // typographic quotes, arrows, box drawing
    (0x1F300, 0x1FB00, 8),    // pictographs
    (0x800, 0x1_0000, 6),     // rest of the basic plane
    (0x1_0000, 0x11_0000, 2), // other planes
    (0x0, 0x80, 2),           // control characters
];

/// Sum of the weights in [`ESCAPE_RANGES`].
pub(crate) const ESCAPE_WEIGHTS: u32 = 64;

/// Index into [`ESCAPE_RANGES`] of the first range that holds `c`.
pub(crate) fn escape_range(c: char) -> usize {
    ESCAPE_RANGES.iter().position(|&(from, to, _)| (from..to).contains(&u32::from(c))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_a_symbol_and_a_range() {
        for c in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let symbol = symbol_of(c);
            assert!(usize::from(symbol) < SYMBOLS && symbol != END);
            if symbol == ESCAPE {
                let (from, to, _) = ESCAPE_RANGES[escape_range(c)];
                assert!((from..to).contains(&u32::from(c)), "{c:?}");
            } else {
                assert_eq!(char_of(symbol), Some(c));
            }
        }
        assert_eq!(ESCAPE_RANGES.iter().map(|r| r.2).sum::<u32>(), ESCAPE_WEIGHTS);
    }
}
