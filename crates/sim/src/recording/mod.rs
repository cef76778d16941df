//! Recordings of simulated runs: the event log as a compact file, with all that is needed to read it without simulating.
//!
//! docs/RECORDING.md says what each byte means. A [`Recorder`] writes, [`replay`] reads and counts, a [`Verifier`]
//! compares a run with a recording while it goes on.

mod bytes;
mod event;
mod header;
mod reader;
mod record;
mod replay;
mod tally;
mod verify;
mod writer;

pub use bytes::Malformed;
pub use event::{Body, Event, Kind};
pub use header::{About, Header, LinkRow, NodeRow, Source};
pub use reader::{ReadError, Reader};
pub use record::{JobFailure, Record};
pub use replay::{replay, replay_with};
pub use tally::{Arrival, Job, JobEnd, Message, ObjectSeen, Tally};
pub use verify::Verifier;
pub use writer::{Recorder, Sink};

/// The first bytes of a recording. The line feed shows transfers that changed line ends.
pub const MAGIC: [u8; 8] = *b"CPTSREC\n";
/// Version of the format that is written and read.
pub const VERSION: u8 = 1;
/// Most nodes of a recording.
pub const NODES_MAX: usize = crate::scenario::NODES_MAX;
/// Most bins of air time over time, and so the end of time in a recording.
pub const BINS_MAX: u64 = 100_000;
/// Longest frame, bytes: what a LoRa packet's length field can say.
pub const FRAME_MAX: usize = 255;
