//! The event log: everything that happens, in order, as bytes; its SHA-256 names the run.
//!
//! What applications tell goes into a [`Tally`] too. docs/RECORDING.md says what is hashed, and how a file holds it.

use std::io;

use compotastic_mesh::time::Instant;
use sha2::{Digest, Sha256};

use crate::recording::{Body, Event, Record, Sink, Tally};

/// The running log.
#[derive(Default)]
pub struct EventLog {
    hash: Sha256,
    events: u64,
    tally: Tally,
    /// Node numbers, by index, as far as a sink's header has named them.
    numbers: Vec<u32>,
    sink: Option<Box<dyn Sink>>,
    failed: Option<io::Error>,
    buffer: Vec<u8>,
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl EventLog {
    /// Tells the log the nodes' numbers, by index, and who wants to hear of each event. To be called before the first event,
    /// since a sink cannot be told of those that were.
    pub fn begin(&mut self, numbers: Vec<u32>, sink: Option<Box<dyn Sink>>) -> io::Result<()> {
        if self.events > 0 {
            return Err(io::Error::other("the recording would begin after the first event"));
        }
        (self.numbers, self.sink) = (numbers, sink);
        Ok(())
    }

    /// Adds an event.
    pub fn push(&mut self, now: Instant, node: usize, body: Body<'_>) {
        let event = Event { at: now, node: node as u32, body };
        event.hashed(|bytes| self.hash.update(bytes));
        self.events += 1;
        if let Some(Err(error)) = self.sink.as_mut().map(|sink| sink.event(&event)) {
            self.failed = Some(error);
            self.sink = None;
        }
    }

    /// Adds what an application tells.
    pub fn note(&mut self, now: Instant, node: usize, record: &Record) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        record.encode(&mut buffer);
        self.push(now, node, Body::Application(&buffer));
        self.buffer = buffer;
        let numbers = &self.numbers;
        self.tally.handle(now, node as u32, record, |node| numbers.get(node as usize).copied().unwrap_or(0));
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What applications told so far; none of it stays.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The hash of all events so far, hex; an error if the sink failed, and it is finished then.
    pub fn finish(&mut self) -> io::Result<String> {
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        if let Some(mut sink) = self.sink.take() {
            sink.finish(self.events, hash)?;
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(hex(&hash)),
        }
    }
}
