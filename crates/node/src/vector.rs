//! Vectors of embeddings for the air: four bits an entry.
//!
//! Of a vector only the direction counts, so entries are in units of its root mean square and no length is sent. Sixteen levels, evenly
//! spaced; the first byte says how far apart, since entries of one model are spread like a bell and another's has a few that stand out.
//! The sender tries all spacings and takes the one that turns the direction least.

/// Most entries: what an answer of four parts holds.
pub const DIMS_MAX: usize = 2 * (crate::letters::LETTER_MAX - 1);
/// Spacings that can be named: from 1/8 of the root mean square up, each 9 % wider.
const SPACINGS: u8 = 40;

/// Distance of neighbouring levels in root mean squares.
fn spacing(code: u8) -> f32 {
    let mut spacing = 0.125;
    for _ in 0..code {
        spacing *= 1.09;
    }
    spacing
}

/// Level 0..=15 of an entry that is measured in spacings: -7.5 to 7.5.
fn level(entry: f32) -> u8 {
    // Saturates, and NaN becomes 0.
    ((entry + 8.0) as u8).min(15)
}

fn value(level: u8) -> f32 {
    f32::from(level) - 7.5
}

/// The square root by Newton's method: exact enough for a scale, and the same on every machine.
fn root(square: f32) -> f32 {
    if square.is_nan() || square <= 0.0 {
        return 0.0;
    }
    let mut guess = f32::from_bits((square.to_bits() >> 1) + 0x1fbd_1df5);
    for _ in 0..4 {
        guess = 0.5 * (guess + square / guess);
    }
    guess
}

/// Packs the direction of a vector; the length. `None` if it has no direction, or does not fit.
pub fn pack(entries: &[f32], out: &mut [u8]) -> Option<usize> {
    let length = 1 + entries.len().div_ceil(2);
    let out = out.get_mut(..length)?;
    let sum: f32 = entries.iter().map(|entry| entry * entry).sum();
    let rms = root(sum / entries.len() as f32);
    if entries.is_empty() || entries.len() > DIMS_MAX || !rms.is_finite() || rms == 0.0 {
        return None;
    }
    let cosine = |code: u8| {
        let unit = 1.0 / (rms * spacing(code));
        let (mut dot, mut norm) = (0.0, 0.0);
        for entry in entries {
            let quantised = value(level(entry * unit));
            dot += quantised * entry;
            norm += quantised * quantised;
        }
        dot / root(norm)
    };
    let (mut best, mut best_cosine) = (0, f32::MIN);
    for code in 0..SPACINGS {
        let cosine = cosine(code);
        if cosine > best_cosine {
            (best, best_cosine) = (code, cosine);
        }
    }
    let unit = 1.0 / (rms * spacing(best));
    // An odd number of entries is told by a bit of the first byte.
    out[0] = best | (entries.len() as u8 & 1) << 7;
    for (byte, pair) in out[1..].iter_mut().zip(entries.chunks(2)) {
        let high = pair.get(1).map_or(0, |entry| level(entry * unit));
        *byte = level(pair[0] * unit) | high << 4;
    }
    Some(length)
}

/// Unpacks to unit length; the number of entries. `None` if there are none, or `out` is too short.
pub fn unpack(bytes: &[u8], out: &mut [f32]) -> Option<usize> {
    let (head, pairs) = bytes.split_first()?;
    let count = (2 * pairs.len()).checked_sub(usize::from(head >> 7)).filter(|count| *count > 0)?;
    let out = out.get_mut(..count)?;
    let mut sum = 0.0;
    for (index, entry) in out.iter_mut().enumerate() {
        *entry = value(pairs[index / 2] >> (index % 2 * 4) & 15);
        sum += *entry * *entry;
    }
    let norm = root(sum);
    out.iter_mut().for_each(|entry| *entry /= norm);
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use compotastic_mesh::rng::Rng;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / root(dot(a, a) * dot(b, b))
    }

    /// Entries like a bell: a sum of twelve draws.
    fn drawn(rng: &mut Rng, entries: &mut [f32]) {
        for entry in entries {
            *entry = (0..12).map(|_| rng.below(10_000) as f32 / 10_000.0).sum::<f32>() - 6.0;
        }
    }

    #[test]
    fn a_vector_of_384_fits_a_part_and_keeps_its_direction() {
        let mut rng = Rng::from_seed(7);
        let (mut worst, mut sum) = (1.0f32, 0.0f32);
        for _ in 0..50 {
            let mut entries = [0.0; 384];
            drawn(&mut rng, &mut entries);
            let mut packed = [0; 256];
            let length = pack(&entries, &mut packed).unwrap();
            assert_eq!(length, 193);
            let mut back = [0.0; 384];
            assert_eq!(unpack(&packed[..length], &mut back), Some(384));
            assert!((cosine(&back, &back) - 1.0).abs() < 1e-5);
            let cosine = cosine(&entries, &back);
            worst = worst.min(cosine);
            sum += cosine;
        }
        assert!(worst > 0.992 && sum / 50.0 > 0.993, "worst {worst}, mean {}", sum / 50.0);
    }

    #[test]
    fn entries_that_stand_out_and_odd_numbers_of_them() {
        let mut rng = Rng::from_seed(8);
        let mut entries = [0.0; 99];
        drawn(&mut rng, &mut entries);
        entries[17] = 12.0;
        let (mut packed, mut back) = ([0; 64], [0.0; 99]);
        let length = pack(&entries, &mut packed).unwrap();
        assert_eq!(unpack(&packed[..length], &mut back), Some(99));
        let cosine = cosine(&entries, &back);
        assert!(cosine > 0.95, "{cosine}");
        assert_eq!(unpack(&packed[..length], &mut back[..98]), None);
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        for entries in [&[][..], &[0.0; 9], &[f32::NAN; 3], &[f32::INFINITY, 1.0], &[1e30; 9]] {
            assert_eq!(pack(entries, &mut [0; 64]), None, "{entries:?}");
        }
        assert!(unpack(&[], &mut [0.0; 4]).is_none() && unpack(&[9], &mut [0.0; 4]).is_none());
    }
}
