//! What one node of a peer method holds of the object: chunks in flash, complete only when their SHA-256 is right.

use compotastic_mesh::rng::Rng;
use sha2::{Digest, Sha256};

/// The object that is spread, cut into chunks of one length.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Bytes of a chunk; the last one may be shorter.
    pub chunk: usize,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

impl Object {
    /// Random bytes, as firmware that is packed looks like.
    pub fn draw(length: usize, chunk: usize, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x6f62_6a65);
        let bytes: Vec<u8> = (0..length).map(|_| rng.next_u32() as u8).collect();
        let digest = Sha256::digest(&bytes).into();
        Self { bytes, chunk, digest }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.bytes.len().div_ceil(self.chunk)
    }

    /// One chunk; empty beyond the last.
    pub fn data(&self, index: usize) -> &[u8] {
        let start = (index * self.chunk).min(self.bytes.len());
        &self.bytes[start..(start + self.chunk).min(self.bytes.len())]
    }
}

/// Flash of one receiver.
#[derive(Clone, Debug)]
pub struct Store {
    flash: Vec<u8>,
    chunk: usize,
    digest: [u8; 32],
    have: Vec<bool>,
    missing: usize,
    verified: bool,
}

impl Store {
    /// Blank flash for an object of which length, chunk length and digest are known, as from a manifest.
    pub fn blank(object: &Object) -> Self {
        Self {
            flash: vec![0xff; object.bytes.len()],
            chunk: object.chunk,
            digest: object.digest,
            have: vec![false; object.chunks()],
            missing: object.chunks(),
            verified: false,
        }
    }

    /// Flash that holds the object: the source.
    pub fn whole(object: &Object) -> Self {
        let mut store = Self::blank(object);
        for index in 0..object.chunks() {
            store.write(index, object.data(index));
        }
        store
    }

    /// Writes a chunk; one that is here already, or does not fit, is ignored. With the last one the flash is hashed.
    pub fn write(&mut self, index: usize, data: &[u8]) {
        let start = index * self.chunk;
        let Some(have) = self.have.get_mut(index).filter(|have| !**have) else { return };
        if data.len() != self.chunk.min(self.flash.len() - start) {
            return;
        }
        self.flash[start..start + data.len()].copy_from_slice(data);
        *have = true;
        self.missing -= 1;
        if self.missing == 0 {
            let digest: [u8; 32] = Sha256::digest(&self.flash).into();
            self.verified = digest == self.digest;
        }
    }

    /// A chunk that is here.
    pub fn read(&self, index: usize) -> Option<&[u8]> {
        let start = index * self.chunk;
        let end = (start + self.chunk).min(self.flash.len());
        self.have.get(index).filter(|have| **have).map(|_| &self.flash[start..end])
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.have.len()
    }

    /// All is here and its hash is right.
    pub fn is_complete(&self) -> bool {
        self.verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_means_that_the_hash_is_right() {
        let object = Object::draw(1001, 200, 4);
        assert_eq!(object.chunks(), 6);
        assert!(Store::whole(&object).is_complete());
        let (mut good, mut bad) = (Store::blank(&object), Store::blank(&object));
        for index in (0..6).rev() {
            assert!(!good.is_complete());
            good.write(index, &object.data(index)[..object.data(index).len() / 2]);
            assert_eq!(good.read(index), None, "too short");
            good.write(index, object.data(index));
            good.write(index, &[0; 200]);
            let mut data = object.data(index).to_vec();
            data[0] ^= u8::from(index == 3);
            bad.write(index, &data);
        }
        good.write(6, &[]);
        assert!(good.is_complete() && !bad.is_complete());
        assert_eq!(good.read(5), Some(object.data(5)));
    }
}
