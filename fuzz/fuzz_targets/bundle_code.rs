//! The erasure code without flash and hashes, so that many patterns are seen: whatever is missing and whichever symbols come,
//! the matrix says when they suffice, and then the solution is the true pieces.
#![no_main]

use core::convert::Infallible;

use compotastic_bundle::{
    Bits, ObjectTag,
    code::Code,
    matrix::{Inserted, Matrix, memory_for},
    solve::{Exchange, solve},
};
use libfuzzer_sys::fuzz_target;

const PIECE: usize = 4;
const MOST: u16 = 48;
type Memory = Matrix<{ memory_for(MOST) }>;

struct Solving<'a> {
    code: Code,
    symbols: &'a [(u16, [u8; PIECE])],
    left: Bits,
}

/// Piece `n` of any generation.
fn piece(n: u16) -> [u8; PIECE] {
    (u32::from(n) + 1).wrapping_mul(0x9E37_79B1).to_le_bytes()
}

impl Exchange for Solving<'_> {
    type Error = Infallible;

    fn symbol_id(&self, n: u16) -> Option<u16> {
        self.symbols.get(usize::from(n)).map(|(id, _)| *id)
    }

    fn symbol(&mut self, n: u16, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.symbols[usize::from(n)].1);
        Ok(())
    }

    fn piece(&mut self, index: u16, out: &mut [u8]) -> Result<(), Infallible> {
        assert!(index < self.code.pieces() && !self.left.contains(index), "a missing piece is read");
        out.copy_from_slice(&piece(index));
        Ok(())
    }

    fn solved(&mut self, index: u16, data: &[u8]) -> Result<bool, Infallible> {
        assert_eq!(self.left.iter().next_back(), Some(index), "the last missing piece first");
        self.left.remove(index);
        Ok(data == piece(index))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[k, generation, what, a, b, c, d], rest)) = data.split_first_chunk::<7>() else { return };
    let k = 1 + u16::from(k) % MOST;
    let code = Code::new(ObjectTag(u32::from_le_bytes([a, b, c, d])), generation, k);
    let (mask, symbols) = rest.split_at(rest.len().min(usize::from(k).div_ceil(8)));
    let mut absent = Bits::default();
    for n in 0..k {
        // What the input does not say is missing.
        if mask.get(usize::from(n / 8)).is_none_or(|byte| byte >> (n % 8) & 1 == 0) {
            absent.insert(n);
        }
    }
    let mut matrix = Memory::new();
    matrix.reset(absent.count());
    let mut received = Vec::new();
    let named = symbols.chunks_exact(2).map(|id| u16::from_le_bytes([id[0], id[1]]));
    let follow = u16::from_le_bytes([a, b]) % 60_000;
    let mut before = matrix.lacking(&code, &absent);
    for id in named.chain((what & 1 == 1).then_some(follow..follow + 2 * MOST).into_iter().flatten()) {
        if matrix.lacking(&code, &absent) == 0 {
            break;
        }
        if id == u16::MAX || id < k && !absent.contains(id) {
            continue;
        }
        if matrix.insert(&code, &absent, id) == Inserted::Nothing {
            continue;
        }
        let mut symbol = [0; PIECE];
        (0..k).for_each(|index| code.add_piece(id, index, &piece(index), &mut symbol));
        received.push((id, symbol));
        let lacking = matrix.lacking(&code, &absent);
        assert!(lacking <= before, "a new symbol takes nothing away");
        before = lacking;
    }
    assert!(received.len() <= usize::from(absent.count()) + 4);
    let suffice = matrix.lacking(&code, &absent) == 0;
    let lie = what & 2 == 2 && !received.is_empty();
    if lie {
        let at = usize::from(what >> 2) % received.len();
        received[at].1[0] ^= 1;
    }
    let mut solving = Solving { code, symbols: &received, left: absent };
    let (mut sum, mut scratch) = ([0; PIECE], [0; PIECE]);
    let Ok(sound) = solve(&mut matrix, &code, &absent, &mut solving, &mut sum, &mut scratch);
    // A symbol that the solution has no need of may lie.
    assert!(if lie { suffice || !sound } else { sound == suffice }, "enough symbols give the true pieces");
    assert!(!sound || solving.left.count() == 0);
    assert!(matrix.peak() <= memory_for(MOST));
});
