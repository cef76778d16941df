//! Firmware that is none.

use compotastic_mesh::rng::Rng;

/// Halfwords that repeat as those of code do.
pub fn code(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(seed);
    let words: Vec<u16> = (0..200).map(|_| rng.next_u32() as u16).collect();
    let mut out = Vec::new();
    while out.len() < len {
        let at = rng.below(190) as usize;
        words[at..at + 1 + rng.below(9) as usize].iter().for_each(|w| out.extend(w.to_le_bytes()));
    }
    out.truncate(len);
    out
}
