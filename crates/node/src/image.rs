//! A native image out of a delta: the decoder behind the face that slots of images write from.

use core::cell::RefCell;

use compotastic_bundle::boot::{ImageProducer, Inputs, NativeImage, ProduceError, WholeImage};
use compotastic_delta::{DecodeError, Decoder, Limits, Progress, Source};
use embedded_storage::nor_flash::ReadNorFlash;

/// Makes an image out of the running one and the patch in the object store. About as large as the decoder, 15 KiB.
#[derive(Debug)]
pub struct DeltaImage {
    decoder: Decoder,
    new_len: u32,
    begun: bool,
}

impl DeltaImage {
    /// For this image, from its first byte.
    pub fn new(image: &NativeImage) -> Self {
        Self { decoder: Decoder::new(), new_len: image.size, begun: false }
    }
}

/// Why a read of the inputs failed.
#[derive(Debug)]
enum ReadError<E> {
    /// It goes beyond what there is: the patch does not belong to this image.
    Beyond,
    Flash(E),
}

#[derive(Clone, Copy)]
enum Which {
    Old,
    Object,
    New,
}

/// One of the inputs. All three are in the same flash, so they take turns with it.
struct Input<'a, 'b, F> {
    inputs: &'a RefCell<&'a mut Inputs<'b, F>>,
    which: Which,
}

impl<F: ReadNorFlash> Source for Input<'_, '_, F> {
    type Error = ReadError<F::Error>;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Self::Error> {
        let mut inputs = self.inputs.borrow_mut();
        let read = match self.which {
            Which::Old => inputs.read_old(offset, out),
            Which::Object => inputs.read_object(offset, out),
            Which::New => inputs.read_new(offset, out),
        };
        if read.map_err(ReadError::Flash)? { Ok(()) } else { Err(ReadError::Beyond) }
    }
}

/// What a slice of the decoder's work brought.
enum Slice {
    Prepared,
    Bytes(usize),
    Done,
}

impl DeltaImage {
    /// One slice: bounded work.
    fn slice<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<Slice, ProduceError<F::Error>> {
        let limits =
            Limits { patch_len: inputs.object_len(), old_len: inputs.old_len(), new_len: self.new_len };
        let inputs = RefCell::new(inputs);
        let input = |which| Input { inputs: &inputs, which };
        let failed = |error| match error {
            DecodeError::Source(ReadError::Flash(error)) => ProduceError::Flash(error),
            _ => ProduceError::Malformed,
        };
        if !self.begun {
            self.decoder.begin(&mut input(Which::Object), limits).map_err(failed)?;
            self.begun = true;
        }
        let (mut old, mut object, mut new) = (input(Which::Old), input(Which::Object), input(Which::New));
        match self.decoder.step(&mut old, &mut object, &mut new, out).map_err(failed)? {
            // It prepares, a bounded number of slices long.
            Progress::Bytes(0) => Ok(Slice::Prepared),
            Progress::Bytes(count) => Ok(Slice::Bytes(count)),
            Progress::Done => Ok(Slice::Done),
        }
    }
}

impl ImageProducer for DeltaImage {
    fn prepare<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
    ) -> Result<bool, ProduceError<F::Error>> {
        if self.decoder.is_prepared() {
            return Ok(true);
        }
        self.slice(inputs, &mut []).map(|_| self.decoder.is_prepared())
    }

    fn next<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<usize, ProduceError<F::Error>> {
        loop {
            match self.slice(inputs, out)? {
                Slice::Prepared => {}
                Slice::Bytes(count) => return Ok(count),
                Slice::Done => return Ok(0),
            }
        }
    }
}

/// Makes an image out of whatever a bundle carries: a delta, or the image itself.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "its place has room for the decoder in any case")]
pub enum Producer {
    /// A delta.
    Delta(DeltaImage),
    /// The image.
    Whole(WholeImage),
}

impl ImageProducer for Producer {
    fn prepare<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
    ) -> Result<bool, ProduceError<F::Error>> {
        match self {
            Self::Delta(delta) => delta.prepare(inputs),
            Self::Whole(whole) => whole.prepare(inputs),
        }
    }

    fn next<F: ReadNorFlash>(
        &mut self,
        inputs: &mut Inputs<'_, F>,
        out: &mut [u8],
    ) -> Result<usize, ProduceError<F::Error>> {
        match self {
            Self::Delta(delta) => delta.next(inputs, out),
            Self::Whole(whole) => whole.next(inputs, out),
        }
    }
}
