//! Merkle tree with hashes cut to four bytes, as in MeshCore's proposal.

use sha2::{Digest, Sha256};

/// A hash.
pub type Hash = [u8; 4];

fn hash(parts: &[&[u8]]) -> Hash {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    let digest: [u8; 32] = sha.finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The level above; a node without a partner goes up as it is.
fn above(level: &[Hash]) -> Vec<Hash> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => hash(&[left, right]),
            [alone, ..] => *alone,
            [] => [0; 4],
        })
        .collect()
}

/// Root of the tree over these blocks.
pub fn root<'b>(blocks: impl Iterator<Item = &'b [u8]>) -> Hash {
    let mut level: Vec<Hash> = blocks.map(|block| hash(&[block])).collect();
    while level.len() > 1 {
        level = above(&level);
    }
    level.first().copied().unwrap_or_default()
}

/// The hashes that lead from a block to the root.
pub fn proof<'b>(blocks: impl Iterator<Item = &'b [u8]>, mut index: usize) -> Vec<Hash> {
    let mut level: Vec<Hash> = blocks.map(|block| hash(&[block])).collect();
    let mut proof = Vec::new();
    while level.len() > 1 {
        proof.extend(level.get(index ^ 1));
        level = above(&level);
        index /= 2;
    }
    proof
}

/// Hashes in the proof of a block among `count`.
pub fn proof_len(mut count: usize, mut index: usize) -> usize {
    let mut length = 0;
    while count > 1 {
        length += usize::from(index ^ 1 < count);
        count = count.div_ceil(2);
        index /= 2;
    }
    length
}

/// Whether a block with its proof, four bytes after four bytes, belongs under this root.
pub fn verify(root: Hash, mut count: usize, mut index: usize, block: &[u8], proof: &[u8]) -> bool {
    let mut now = hash(&[block]);
    let mut proof = proof.chunks_exact(4);
    while count > 1 {
        if index ^ 1 < count {
            let Some(other) = proof.next() else { return false };
            now = if index.is_multiple_of(2) { hash(&[&now, other]) } else { hash(&[other, &now]) };
        }
        count = count.div_ceil(2);
        index /= 2;
    }
    now == root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_proved_and_no_other() {
        for count in [1usize, 2, 5, 16, 64] {
            let blocks: Vec<Vec<u8>> = (0..count).map(|block| vec![block as u8; 30]).collect();
            let all = || blocks.iter().map(Vec::as_slice);
            let root = root(all());
            for (index, block) in blocks.iter().enumerate() {
                let proof = proof(all(), index).concat();
                assert_eq!(proof.len(), 4 * proof_len(count, index));
                assert!(verify(root, count, index, block, &proof));
                assert!(!verify(root, count, index, &[9; 31], &proof));
                assert!(count == 1 || !verify(root, count, index, block, &[]));
            }
        }
    }
}
