//! An ideal fountain: any K distinct symbols give the K chunks back. Symbol i is the value at i of the polynomial
//! of degree below K that takes the chunks as its values at 0..K, over GF(2^16), so the first K symbols are the chunks
//! themselves (Reed and Solomon, 1960). No device has the RAM for it; the peer that uses it is given it for free.

use std::sync::OnceLock;

/// x^16 + x^12 + x^3 + x + 1, primitive.
const POLYNOMIAL: u32 = 0x1100b;
const ORDER: usize = 65_535;

struct Tables {
    log: Vec<u16>,
    exp: Vec<u16>,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let (mut log, mut exp) = (vec![0; ORDER + 1], vec![0; 2 * ORDER]);
        let mut value = 1u32;
        for power in 0..ORDER {
            exp[power] = value as u16;
            exp[power + ORDER] = value as u16;
            log[value as usize] = power as u16;
            value <<= 1;
            if value > 0xffff {
                value ^= POLYNOMIAL;
            }
        }
        Tables { log, exp }
    })
}

/// The value at `at` of the polynomial through these points (distinct, `at` none of them); all of one even length.
fn interpolate(points: &[(u16, &[u8])], weights: &[u16], at: u16) -> Vec<u8> {
    let Tables { log, exp } = tables();
    let log_of = |value: u16| usize::from(log[usize::from(value)]);
    // Product of all (at - x), as a logarithm.
    let product = points.iter().map(|(x, _)| log_of(at ^ x)).sum::<usize>() % ORDER;
    let length = points.first().map_or(0, |(_, data)| data.len());
    let mut words = vec![0u16; length / 2];
    for ((x, data), weight) in points.iter().zip(weights) {
        let factor = (product + usize::from(*weight) + ORDER - log_of(at ^ x)) % ORDER;
        for (word, pair) in words.iter_mut().zip(data.chunks_exact(2)) {
            let value = u16::from_le_bytes([pair[0], pair[1]]);
            if value != 0 {
                *word ^= exp[factor + log_of(value)];
            }
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Logarithms of 1 / product of (x - other x), per point.
fn weights(xs: &[u16]) -> Vec<u16> {
    let Tables { log, .. } = tables();
    xs.iter()
        .map(|x| {
            let others = xs.iter().filter(|other| *other != x);
            let sum = others.map(|other| usize::from(log[usize::from(x ^ other)])).sum::<usize>() % ORDER;
            ((ORDER - sum) % ORDER) as u16
        })
        .collect()
}

/// Makes symbols of chunks of one even length.
pub struct Encoder {
    chunks: Vec<Vec<u8>>,
    weights: Vec<u16>,
}

impl Encoder {
    /// For these chunks, at most 65,536.
    pub fn new(chunks: Vec<Vec<u8>>) -> Self {
        let xs: Vec<u16> = (0..chunks.len()).map(|index| index as u16).collect();
        Self { chunks, weights: weights(&xs) }
    }

    /// One symbol.
    pub fn symbol(&self, id: u16) -> Vec<u8> {
        if let Some(chunk) = self.chunks.get(usize::from(id)) {
            return chunk.clone();
        }
        let points: Vec<(u16, &[u8])> =
            self.chunks.iter().enumerate().map(|(index, chunk)| (index as u16, chunk.as_slice())).collect();
        interpolate(&points, &self.weights, id)
    }
}

/// The chunks that are not among `symbols`, which must be exactly as many as there are chunks, distinct, and of one
/// even length.
pub fn decode(symbols: &[(u16, Vec<u8>)]) -> Vec<(usize, Vec<u8>)> {
    let xs: Vec<u16> = symbols.iter().map(|(id, _)| *id).collect();
    let weights = weights(&xs);
    let points: Vec<(u16, &[u8])> = symbols.iter().map(|(id, data)| (*id, data.as_slice())).collect();
    (0..symbols.len())
        .filter(|index| !xs.contains(&(*index as u16)))
        .map(|index| (index, interpolate(&points, &weights, index as u16)))
        .collect()
}

#[cfg(test)]
mod tests {
    use compotastic_mesh::rng::Rng;

    use super::*;

    #[test]
    fn any_k_symbols_give_all_chunks() {
        let mut rng = Rng::from_seed(8);
        for count in [1usize, 2, 23, 100] {
            let chunks: Vec<Vec<u8>> =
                (0..count).map(|_| (0..20).map(|_| rng.next_u32() as u8).collect()).collect();
            let encoder = Encoder::new(chunks.clone());
            for _ in 0..5 {
                let mut ids: Vec<u16> = Vec::new();
                while ids.len() < count {
                    let id = rng.below(3 * count as u32) as u16;
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                let symbols: Vec<(u16, Vec<u8>)> = ids.iter().map(|id| (*id, encoder.symbol(*id))).collect();
                let decoded = decode(&symbols);
                assert_eq!(decoded.len(), ids.iter().filter(|id| usize::from(**id) >= count).count());
                assert!(decoded.iter().all(|(index, data)| *data == chunks[*index]));
            }
        }
    }
}
