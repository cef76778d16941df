//! Writing a recording while a run goes on.

use std::io::{self, Write};

use compotastic_mesh::time::Instant;
use sha2::{Digest, Sha256};

use super::{Event, Header, bytes::put_number};

/// Who is told of each event of a run.
pub trait Sink: Send {
    /// An event, in order.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()>;

    /// The run is over: so many events, and the hash of the event log.
    fn finish(&mut self, events: u64, event_log_sha256: [u8; 32]) -> io::Result<()>;
}

/// Writes a recording. What was not finished is seen as cut off by who reads it.
pub struct Recorder<W> {
    out: W,
    /// Of all bytes so far.
    hash: Sha256,
    last: Instant,
    buffer: Vec<u8>,
}

impl<W: Write + Send> Recorder<W> {
    /// Begins a recording.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let bytes = header.encode();
        out.write_all(&bytes)?;
        Ok(Self { out, hash: Sha256::new_with_prefix(&bytes), last: Instant::ZERO, buffer: Vec::new() })
    }
}

impl<W: Write + Send> Sink for Recorder<W> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.buffer.clear();
        event.pack(self.last, &mut self.buffer);
        self.last = event.at;
        self.hash.update(&self.buffer);
        self.out.write_all(&self.buffer)
    }

    fn finish(&mut self, events: u64, event_log_sha256: [u8; 32]) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.push(0);
        put_number(&mut self.buffer, events);
        self.buffer.extend_from_slice(&event_log_sha256);
        self.hash.update(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.out.write_all(&self.hash.clone().finalize())?;
        self.out.flush()
    }
}
