//! Text to words: stems for what is known, pieces for what is not.
//!
//! Letters count without their case, digits by how many stand together, so that "12 m" and "40 m" meet. Endings are cut
//! off by a few fixed rules: that "crossed" and "crossing" meet matters, that the stem is a word does not. `?` and `!` are
//! words of their own.

/// Most words of one text; what comes after is left out. A report has 5 to 40.
pub const WORDS_MAX: usize = 128;
/// Longest word that is looked at, bytes after normalisation.
const WORD_MAX: usize = 32;
/// Shortest stem that a rule may leave, bytes.
const STEM_MIN: usize = 3;
/// Sizes of pieces, bytes.
const PIECES: core::ops::RangeInclusive<usize> = 3..=5;
/// Endings, the first that fits is cut.
const ENDINGS: [&[u8]; 6] = [b"ings", b"ing", b"edly", b"ed", b"es", b"ly"];

const FNV_OFFSET: u32 = 0x811C_9DC5;
const FNV_PRIME: u32 = 0x0100_0193;

fn fnv(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// The final mixing of MurmurHash3 (public domain): the bits of FNV alone are weak.
const fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

/// A word between end marks `<` and `>`, in lower case.
pub struct Word {
    bytes: [u8; WORD_MAX + 2],
    length: usize,
}

impl Word {
    const fn new() -> Self {
        let mut bytes = [0; WORD_MAX + 2];
        bytes[0] = b'<';
        Self { bytes, length: 1 }
    }

    fn push(&mut self, byte: u8) {
        if self.length <= WORD_MAX {
            self.bytes[self.length] = byte;
            self.length += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.length == 1
    }

    /// The letters without the end marks.
    fn letters(&self) -> &[u8] {
        &self.bytes[1..self.length]
    }

    /// Hash of the stem.
    pub fn stem(&self) -> u32 {
        let word = self.letters();
        let mut end = word.len();
        let ends_with = |ending: &[u8]| word.ends_with(ending) && word.len() - ending.len() >= STEM_MIN;
        if ends_with(b"ies") || ends_with(b"ied") {
            // "bodies" is "body".
            return mix(fnv(fnv(FNV_OFFSET, &word[..end - 3]), b"y"));
        }
        if let Some(ending) = ENDINGS.iter().find(|ending| ends_with(ending)) {
            end -= ending.len();
        } else if ends_with(b"s") && !matches!(word[end - 2], b's' | b'u' | b'i') {
            end -= 1;
        }
        if end < word.len() && end > STEM_MIN && word[end - 1] == word[end - 2] && word[end - 1] != b's' {
            // "running" is "run".
            end -= 1;
        }
        if end > STEM_MIN && word[end - 1] == b'e' {
            end -= 1;
        }
        mix(fnv(FNV_OFFSET, &word[..end]))
    }

    /// Calls `emit` with the hash of each piece: 3 to 5 bytes in a row, end marks included.
    pub fn pieces(&self, mut emit: impl FnMut(u32)) {
        let mut marked = self.bytes;
        marked[self.length] = b'>';
        let marked = &marked[..=self.length];
        for size in PIECES {
            for piece in marked.windows(size) {
                emit(mix(fnv(FNV_OFFSET ^ size as u32, piece)));
            }
        }
    }
}

/// Hash of two stems in a row.
pub fn pair(first: u32, second: u32) -> u32 {
    mix(first.rotate_left(5) ^ second.wrapping_mul(FNV_PRIME))
}

/// Calls `emit` for each word, in the order of the text; [`WORDS_MAX`] at most.
pub fn words(text: &str, mut emit: impl FnMut(&Word)) {
    let mut left = WORDS_MAX;
    let mut word = Word::new();
    let mut in_digits = false;
    let mut finish = |word: &mut Word| {
        if !word.is_empty() && left > 0 {
            left -= 1;
            emit(word);
        }
        *word = Word::new();
    };
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                if !in_digits {
                    finish(&mut word);
                }
                in_digits = true;
                word.push(b'0');
            }
            b'A'..=b'Z' | b'a'..=b'z' | 0x80..=0xFF => {
                if in_digits {
                    finish(&mut word);
                }
                in_digits = false;
                word.push(byte.to_ascii_lowercase());
            }
            // "don't" is one word.
            b'\'' => {}
            _ => {
                finish(&mut word);
                in_digits = false;
                if matches!(byte, b'?' | b'!') {
                    word.push(byte);
                    finish(&mut word);
                }
            }
        }
    }
    finish(&mut word);
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{vec, vec::Vec};

    use super::*;

    fn stems(text: &str) -> Vec<u32> {
        let mut found = vec![];
        words(text, |word| found.push(word.stem()));
        found
    }

    #[test]
    fn forms_of_a_word_meet() {
        for forms in [
            "cross crossed crossing crosses Crossings",
            "move moves moved moving",
            "run running runs",
            "body bodies",
            "carry carried carries",
            "12 47 99",
            "don't dont",
        ] {
            let stems = stems(forms);
            assert!(stems.iter().all(|stem| *stem == stems[0]), "{forms}");
        }
    }

    #[test]
    fn different_words_stay_apart() {
        let all = stems("glass gas us is bus water wat ice iced 1 12 ? ! red ring sing as bod");
        for (index, stem) in all.iter().enumerate() {
            assert!(!all[..index].contains(stem), "word {index}");
        }
    }

    #[test]
    fn long_and_strange_texts_are_cut_not_refused() {
        let mut count = 0;
        words(&"x".repeat(5000), |word| word.pieces(|_| count += 1));
        assert!(count > 0 && count < 3 * (WORD_MAX + 2));
        assert_eq!(stems(&"a b ".repeat(1000)).len(), WORDS_MAX);
        assert!(stems(" ,.;:\n\t").is_empty());
        assert_eq!(stems("höhe ü").len(), 2);
    }
}
