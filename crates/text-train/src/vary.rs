//! Varies texts while they are read for training, by what the few texts at hand lack: other
//! numbers, capitals, foreign letters, longer messages.

use compotastic_text::{ESCAPE, symbol_of};

use crate::math::Random;

const SPACE: u8 = symbol_of(' ');
const ZERO: u8 = symbol_of('0');
const NINE: u8 = symbol_of('9');
const UPPER_A: u8 = symbol_of('A');
const UPPER_Z: u8 = symbol_of('Z');
const LOWER_A: u8 = symbol_of('a');
const LOWER_Z: u8 = symbol_of('z');

/// One text in so many is varied in each way.
const NUMBERS: usize = 2;
const CAPITALS: usize = 60;
const SMALL: usize = 30;
const ESCAPES: usize = 100;

/// Varies a text (symbols, no end marks).
pub fn vary(text: &mut [u8], random: &mut Random) {
    if random.below(NUMBERS) == 0 {
        numbers(text, random);
    }
    if random.below(CAPITALS) == 0 {
        text.iter_mut().filter(|s| (LOWER_A..=LOWER_Z).contains(*s)).for_each(|s| *s -= LOWER_A - UPPER_A);
    } else if random.below(SMALL) == 0 {
        text.iter_mut().filter(|s| (UPPER_A..=UPPER_Z).contains(*s)).for_each(|s| *s += LOWER_A - UPPER_A);
    }
    if random.below(ESCAPES) == 0 {
        estrange(text, random);
    }
}

/// Puts other digits in, of like size: a first digit stays or becomes another that is not zero,
/// and digits behind a colon stay below 60.
fn numbers(text: &mut [u8], random: &mut Random) {
    let mut before = SPACE;
    for symbol in text {
        let digit = |s: u8| (ZERO..=NINE).contains(&s);
        let old = *symbol;
        if digit(old) {
            if digit(before) {
                *symbol = ZERO + random.below(10) as u8;
            } else if before == symbol_of(':') {
                *symbol = ZERO + random.below(6) as u8;
            } else if old != ZERO && random.below(3) == 0 {
                // Small numbers come first more often, as in real ones.
                *symbol = ZERO + 1 + random.below(9).min(random.below(9)) as u8;
            }
        }
        before = old;
    }
}

/// Turns letters into escapes, as in a text of another language or with a foreign name.
fn estrange(text: &mut [u8], random: &mut Random) {
    if text.is_empty() {
        return;
    }
    let words = [1, 3, 100][random.below(3)];
    let first = random.below(text.len());
    let mut count = 0;
    for symbol in &mut text[first..] {
        if *symbol == SPACE {
            count += 1;
        } else if count < words && (UPPER_A..=LOWER_Z).contains(symbol) {
            *symbol = ESCAPE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_kinds_stay() {
        let mut random = Random::new(3);
        let text: Vec<u8> = "Meet 4 at 18:30, node 12".chars().map(symbol_of).collect();
        for _ in 0..500 {
            let mut varied = text.clone();
            numbers(&mut varied, &mut random);
            for (old, new) in text.iter().zip(&varied) {
                let digit = (ZERO..=NINE).contains(old);
                assert_eq!(digit, (ZERO..=NINE).contains(new));
                assert!(digit || old == new);
            }
            assert!(varied[13] < ZERO + 6, "minutes stay below 60");
            vary(&mut varied, &mut random);
            assert_eq!(varied.len(), text.len());
        }
    }
}
