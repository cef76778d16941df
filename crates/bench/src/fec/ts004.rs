//! The code of LoRaWAN's Fragmented Data Block Transport (TS004-2.0.0, annex A): fragment n of M is itself up to M, and
//! beyond the XOR of M/2 different fragments drawn by a 23-bit shift register that starts at 1 + 1001 n. (Version 1 counted
//! n from the first coded one, and draws that repeated.)

use super::{Code, PIECE, Random, Trial};

pub(super) struct Ts004 {
    pub k: u16,
}

/// One step of the shift register.
fn prbs23(x: u32) -> u32 {
    (x >> 1) | ((x ^ x >> 5) & 1) << 22
}

/// The fragments in coded fragment `n`, which is above `m`.
fn line(n: u32, m: u16) -> Vec<u64> {
    let mut line = vec![0; usize::from(m).div_ceil(64)];
    let modulus = u32::from(m) + u32::from(m.is_power_of_two());
    let mut x = 1 + 1001 * n;
    let mut left = m / 2;
    while left > 0 {
        x = prbs23(x);
        let drawn = x % modulus;
        if drawn < u32::from(m) && line[drawn as usize / 64] >> (drawn % 64) & 1 == 0 {
            line[drawn as usize / 64] |= 1 << (drawn % 64);
            left -= 1;
        }
    }
    line
}

/// Rows of a triangular matrix over GF(2), by their first column.
struct Triangle(Vec<Option<Vec<u64>>>);

impl Triangle {
    /// Whether a row says something new.
    fn insert(&mut self, mut row: Vec<u64>) -> bool {
        for (column, slot) in self.0.iter_mut().enumerate() {
            if row[column / 64] >> (column % 64) & 1 == 0 {
                continue;
            }
            match slot {
                Some(known) => row.iter_mut().zip(known).for_each(|(a, b)| *a ^= *b),
                None => {
                    *slot = Some(row);
                    return true;
                }
            }
        }
        false
    }
}

impl Code for Ts004 {
    fn trial(&self, loss: f64, run: u32) -> Trial {
        let (mut random, mut trial) = (Random::new(loss, run), Trial::default());
        let missing: Vec<usize> = (0..usize::from(self.k)).filter(|_| random.chance(loss)).collect();
        let lost = missing.len();
        (trial.sent, trial.received) = (self.k.into(), u32::from(self.k) - lost as u32);
        let (mut matrix, mut rank) = (Triangle(vec![None; lost]), 0);
        // The code has a few fixed lines; so that runs differ, each begins at another.
        for n in u32::from(self.k) + 1 + run % 4096.. {
            if rank == lost {
                break;
            }
            trial.sent += 1;
            if random.chance(loss) {
                continue;
            }
            trial.received += 1;
            let line = line(n, self.k);
            let mut row = vec![0; lost.div_ceil(64)];
            for (column, fragment) in missing.iter().enumerate() {
                row[column / 64] |= (line[fragment / 64] >> (fragment % 64) & 1) << (column % 64);
            }
            rank += usize::from(matrix.insert(row));
        }
        // The triangle's bits, and two bytes for each missing fragment.
        trial.ram = (lost * (lost + 1) / 2).div_ceil(8) + 2 * lost;
        trial
    }

    /// A bit for each fragment, a line, and two fragments while one is reduced by another.
    fn fixed_ram(&self) -> Option<usize> {
        Some(2 * usize::from(self.k).div_ceil(8) + 2 * PIECE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_register_has_full_period() {
        let mut x = 1;
        let period = (1..).find(|_| {
            x = prbs23(x);
            x == 1
        });
        assert_eq!(period, Some((1 << 23) - 1));
    }

    #[test]
    fn half_of_the_fragments() {
        for m in [20, 64, 100, 255, 256, 1024u16] {
            for n in 1..50 {
                let ones: u32 = line(u32::from(m) + n, m).iter().map(|word| word.count_ones()).sum();
                assert_eq!(ones, u32::from(m / 2), "{m} {n}");
            }
        }
    }

    /// By hand: x = 1 + 1001 * 5 = 5006, then 2503, 5195555, 6792081, 7590344, ... modulo 5, since 4 is a power of two.
    #[test]
    fn a_short_line() {
        assert_eq!([5006, 2503].map(prbs23), [2503, 4_195_555]);
        assert_eq!(line(5, 4), [0b1001]);
    }
}
