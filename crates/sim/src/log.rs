//! The event log: everything that happens, in order, as bytes; its SHA-256 names the run.
//!
//! A record is a kind byte, the time in microseconds (u64), the node (u32), a length (u16) and that many bytes, all
//! little-endian. Kinds: 1 transmission begins (bytes: the frame), 2 frame received (bytes: sender u32, SNR i16),
//! 3 event of the application (bytes: its own).

use std::io::{self, Write};

use compotastic_mesh::time::Instant;
use sha2::{Digest, Sha256};

/// Kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A transmission begins.
    Transmit = 1,
    /// A frame was received.
    Receive = 2,
    /// Something that the application tells.
    Application = 3,
}

/// The running log.
#[derive(Default)]
pub struct EventLog {
    hash: Sha256,
    records: u64,
    sink: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
}

impl EventLog {
    /// Also writes all records to `sink`.
    pub fn record_to(&mut self, sink: Box<dyn Write + Send>) {
        self.sink = Some(sink);
    }

    /// Adds a record.
    pub fn push(&mut self, kind: Kind, now: Instant, node: usize, bytes: &[u8]) {
        let mut head = [0; 15];
        head[0] = kind as u8;
        head[1..9].copy_from_slice(&now.as_micros().to_le_bytes());
        head[9..13].copy_from_slice(&(node as u32).to_le_bytes());
        head[13..15].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
        self.hash.update(head);
        self.hash.update(bytes);
        self.records += 1;
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.write_all(&head).and_then(|()| sink.write_all(bytes))
        {
            self.failed.get_or_insert(error);
        }
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash of all records so far, hex; an error if writing the recording failed.
    pub fn finish(&mut self) -> io::Result<String> {
        if let Some(mut sink) = self.sink.take() {
            sink.flush()?;
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}
