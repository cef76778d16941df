//! The bounds: a fountain of which any K symbols suffice, and retransmission by name.

use super::{Code, Random, Trial};

/// Any K symbols suffice. No such code with a finite field exists.
pub(super) struct Fountain {
    pub k: u16,
}

impl Code for Fountain {
    fn trial(&self, loss: f64, run: u32) -> Trial {
        let (mut random, mut trial) = (Random::new(loss, run), Trial::default());
        while trial.received < u32::from(self.k) {
            trial.sent += 1;
            trial.received += u32::from(!random.chance(loss));
        }
        trial
    }

    fn fixed_ram(&self) -> Option<usize> {
        None
    }
}

/// After each round the receiver names what it lacks, which costs nothing and always arrives. A lone receiver then needs
/// exactly K symbols; of several, each lacks something else.
pub(super) struct SelectiveNack {
    pub k: u16,
}

impl Code for SelectiveNack {
    fn trial(&self, loss: f64, run: u32) -> Trial {
        let mut random = Random::new(loss, run);
        let sent = (0..self.k).map(|_| times(&mut random, loss)).sum();
        Trial { received: self.k.into(), sent, ..Trial::default() }
    }

    /// Each piece is sent until the last receiver has it.
    fn sent_together(&self, group: &[Trial], loss: f64, seed: u32) -> u32 {
        let mut random = Random::new(loss, seed);
        let piece = |_| group.iter().map(|_| times(&mut random, loss)).max().unwrap_or(0);
        (0..self.k).map(piece).sum()
    }

    /// A bit for each piece.
    fn fixed_ram(&self) -> Option<usize> {
        Some(usize::from(self.k).div_ceil(8))
    }
}

/// How often something is sent until it arrives.
fn times(random: &mut Random, loss: f64) -> u32 {
    let mut sent = 1;
    while random.chance(loss) {
        sent += 1;
    }
    sent
}
