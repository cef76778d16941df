//! What the decoder reads from and writes to. Flash drivers implement these.

/// Bytes that can be read anywhere: an image or a patch in flash.
pub trait Source {
    /// What may go wrong.
    type Error;
    /// Fills `out` with the bytes from `offset` on. The decoder reads 1 to 256 bytes at a time, mostly forward, and only
    /// what lies within the lengths that it was told.
    ///
    /// # Errors
    /// If the bytes cannot be read.
    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Self::Error>;
}

/// A slot of flash for the new image.
pub trait Slot: Source {
    /// Size of what is erased at once, in bytes: a multiple of [`CHUNK`](crate::CHUNK).
    fn sector(&self) -> u32;
    /// Bytes in the slot.
    fn size(&self) -> u32;
    /// Erases the sector that begins at `offset`: it reads 0xff afterwards.
    ///
    /// # Errors
    /// If it cannot be erased.
    fn erase(&mut self, offset: u32) -> Result<(), Self::Error>;
    /// Programs erased bytes. `offset` is a multiple of [`CHUNK`](crate::CHUNK); `bytes` is a chunk, the last one padded with 0xff.
    ///
    /// # Errors
    /// If they cannot be programmed.
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// A read past the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

/// Bytes in memory.
impl Source for &[u8] {
    type Error = OutOfBounds;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), OutOfBounds> {
        let start = offset as usize;
        let end = start.checked_add(out.len()).ok_or(OutOfBounds)?;
        out.copy_from_slice(self.get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }
}
