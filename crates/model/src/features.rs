//! Text to features: words, pairs of words, and pieces of words, as hashes.
//!
//! Letters count without their case, digits by how many stand together, so that "12 m" and "40 m" meet. Pieces of
//! words (3 to 5 characters, with `<` and `>` at the word's ends) make typos and unknown words land near known ones.

/// Most features of one text; a report has 150 to 400. What comes after is left out.
pub const FEATURES_MAX: usize = 1024;
/// Longest word that is looked at, bytes after normalisation.
const WORD_MAX: usize = 32;

/// Kind and hash of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A whole word.
    Word(u32),
    /// Two words in a row.
    Pair(u32),
    /// A piece of a word.
    Piece(u32),
}

const FNV_OFFSET: u32 = 0x811C_9DC5;
const FNV_PRIME: u32 = 0x0100_0193;

fn fnv(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// The final mixing of MurmurHash3 (public domain): the low bits of FNV alone are weak.
const fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

struct Word {
    bytes: [u8; WORD_MAX + 2],
    /// Length with both end marks.
    length: usize,
}

impl Word {
    const fn new() -> Self {
        Self { bytes: [0; WORD_MAX + 2], length: 0 }
    }
    fn clear(&mut self) {
        self.bytes[0] = b'<';
        self.length = 1;
    }
    fn push(&mut self, byte: u8) {
        if self.length <= WORD_MAX {
            self.bytes[self.length] = byte;
            self.length += 1;
        }
    }
    fn close(&mut self) -> &[u8] {
        self.bytes[self.length] = b'>';
        self.length += 1;
        &self.bytes[..self.length]
    }
}

/// Calls `emit` for each feature, in the order of the text; [`FEATURES_MAX`] at most.
pub fn features(text: &str, mut emit: impl FnMut(Feature)) {
    let mut left = FEATURES_MAX;
    let mut emit = |feature| {
        if left > 0 {
            left -= 1;
            emit(feature);
        }
    };
    let mut word = Word::new();
    word.clear();
    let mut previous: Option<u32> = None;
    let mut in_digits = false;
    let mut finish = |word: &mut Word, previous: &mut Option<u32>| {
        if word.length > 1 {
            let bytes = word.close();
            let whole = fnv(FNV_OFFSET, bytes);
            emit(Feature::Word(mix(whole ^ 0x5bd1)));
            if let Some(before) = *previous {
                emit(Feature::Pair(mix(fnv(before ^ 0x9747, bytes))));
            }
            for size in 3..=5usize {
                if bytes.len() > size {
                    for piece in bytes.windows(size) {
                        emit(Feature::Piece(mix(fnv(FNV_OFFSET ^ size as u32, piece))));
                    }
                }
            }
            *previous = Some(whole);
        }
        word.clear();
    };
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                if !in_digits {
                    finish(&mut word, &mut previous);
                }
                in_digits = true;
                word.push(b'0');
            }
            b'A'..=b'Z' | b'a'..=b'z' | 0x80..=0xFF => {
                if in_digits {
                    finish(&mut word, &mut previous);
                }
                in_digits = false;
                word.push(byte.to_ascii_lowercase());
            }
            // "don't" is one word.
            b'\'' => {}
            _ => {
                finish(&mut word, &mut previous);
                in_digits = false;
                if matches!(byte, b'?' | b'!') {
                    emit_mark(byte, &mut word, &mut previous, &mut finish);
                }
            }
        }
    }
    finish(&mut word, &mut previous);
}

/// A question or exclamation mark is a word of its own.
fn emit_mark(
    byte: u8,
    word: &mut Word,
    previous: &mut Option<u32>,
    finish: &mut impl FnMut(&mut Word, &mut Option<u32>),
) {
    word.push(byte);
    finish(word, previous);
}
