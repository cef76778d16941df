//! A plain difference of two images: runs of the old one and bytes of their own. Enough to have an object that makes an
//! image only together with the old one, quickly; `compotastic-delta` is what saves air time.

use std::collections::BTreeMap;

use compotastic_bundle::boot::{ImageProducer, Inputs, ProduceError};
use embedded_storage::nor_flash::ReadNorFlash;

/// Shortest run that is worth its head of 9 bytes.
const RUN_MIN: usize = 16;

const COPY: u8 = 0;
const OWN: u8 = 1;
/// Kind, place in the old image or zero, length.
const HEAD: usize = 9;

/// What makes `new` out of `old`.
pub fn diff(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut places = BTreeMap::new();
    for (at, window) in old.windows(RUN_MIN).enumerate().rev() {
        places.insert(window, at);
    }
    let mut out = Vec::new();
    let (mut at, mut own_from) = (0, 0);
    while at < new.len() {
        let found = new.get(at..at + RUN_MIN).and_then(|window| places.get(window));
        let Some(&from) = found else {
            at += 1;
            continue;
        };
        let len = new[at..].iter().zip(&old[from..]).take_while(|(a, b)| a == b).count();
        put(&mut out, OWN, 0, &new[own_from..at]);
        put(&mut out, COPY, from, &new[at..at + len]);
        at += len;
        own_from = at;
    }
    put(&mut out, OWN, 0, &new[own_from..]);
    out
}

fn put(out: &mut Vec<u8>, kind: u8, from: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    out.push(kind);
    out.extend((from as u32).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    if kind == OWN {
        out.extend(bytes);
    }
}

/// Applies it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patch {
    /// Place in the object.
    at: u32,
    copies: bool,
    from: u32,
    left: u32,
}

impl ImageProducer for Patch {
    fn next<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<usize, ProduceError<F::Error>> {
        if self.left == 0 {
            if self.at == inputs.object_len() {
                return Ok(0);
            }
            let mut head = [0; HEAD];
            let read = inputs.read_object(self.at, &mut head).map_err(ProduceError::Flash)?;
            let [kind, a, b, c, d, len @ ..] = head;
            self.at += HEAD as u32;
            (self.copies, self.from) = (kind == COPY, u32::from_le_bytes([a, b, c, d]));
            self.left = u32::from_le_bytes(len);
            if !read || kind > OWN || self.left == 0 {
                return Err(ProduceError::Malformed);
            }
        }
        let count = out.len().min(self.left as usize);
        let out = &mut out[..count];
        let read =
            if self.copies { inputs.read_old(self.from, out) } else { inputs.read_object(self.at, out) };
        if !read.map_err(ProduceError::Flash)? {
            return Err(ProduceError::Malformed);
        }
        let cursor = if self.copies { &mut self.from } else { &mut self.at };
        *cursor += count as u32;
        self.left -= count as u32;
        Ok(count)
    }
}
