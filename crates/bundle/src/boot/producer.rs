//! Where the bytes of a new image come from.

use super::Inputs;
use embedded_storage::nor_flash::ReadNorFlash;

/// Why there are no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceError<E> {
    /// The object is no such thing, or not for this image.
    Malformed,
    /// The flash failed.
    Flash(E),
}

/// Makes a new image, byte after byte from the first one, out of the old image and the object. Made anew from the same
/// inputs it must make the same bytes: that is how it goes on after a restart.
pub trait ImageProducer {
    /// Does a bounded part of what comes before the first byte; true when nothing is left of it. [`Self::next`] does what is
    /// left by itself.
    fn prepare<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
    ) -> Result<bool, ProduceError<F::Error>> {
        let _ = inputs;
        Ok(true)
    }

    /// Puts the next bytes into `out`, as many as are at hand, and says how many: zero at the end of the image only.
    fn next<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<usize, ProduceError<F::Error>>;
}

/// The object is the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct WholeImage {
    at: u32,
}

impl ImageProducer for WholeImage {
    fn next<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<usize, ProduceError<F::Error>> {
        let count = (inputs.object_len() - self.at).min(out.len() as u32);
        let out = &mut out[..count as usize];
        if !inputs.read_object(self.at, out).map_err(ProduceError::Flash)? {
            return Err(ProduceError::Malformed);
        }
        self.at += count;
        Ok(count as usize)
    }
}
