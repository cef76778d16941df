//! Reading a recording: event by event, with everything checked that can be.

use std::fmt;

use compotastic_mesh::time::Instant;
use sha2::{Digest, Sha256};

use super::{
    Event, Header, MAGIC, VERSION,
    bytes::{Malformed, Take},
};

/// Why a recording cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It does not begin as recordings do.
    NoRecording,
    /// It has a version that this program does not read.
    Version(u8),
    /// Its header is wrong at this byte.
    Header(usize, Malformed),
    /// The event with this number, from 1, is wrong at this byte.
    Event(u64, usize, Malformed),
    /// It does not end as its last record says: so many events were read, so many were recorded.
    Count(u64, u64),
    /// The events are not those that were recorded.
    EventLog,
    /// The bytes are not those that were written.
    Altered,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecording => f.write_str(
                "this is no recording: make one with `compotastic sim run SCENARIO --record FILE`",
            ),
            Self::Version(version) => write!(
                f,
                "this recording has version {version}, this program reads {VERSION}: record again, or use the program that wrote it"
            ),
            Self::Header(at, what) => {
                write!(f, "the recording's header is damaged at byte {at}: {what}; record again")
            }
            Self::Event(number, at, Malformed::CutOff) => write!(
                f,
                "the recording is cut off after {} events, at byte {at}: the run that wrote it did not end; record again",
                number - 1
            ),
            Self::Event(number, at, what) => {
                write!(f, "event {number} of the recording is damaged at byte {at}: {what}; record again")
            }
            Self::Count(read, recorded) => {
                write!(f, "the recording holds {read} events where {recorded} were written; record again")
            }
            Self::EventLog | Self::Altered => f.write_str(
                "the recording was altered: its bytes do not have the hash at its end; record again",
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// Goes through the events of a recording.
pub struct Reader<D> {
    data: D,
    at: usize,
    last: Instant,
    latest: Instant,
    nodes: u32,
    events: u64,
    hash: Sha256,
    ended: bool,
}

impl<D: AsRef<[u8]>> Reader<D> {
    /// Reads the header.
    pub fn new(data: D) -> Result<(Header, Self), ReadError> {
        let bytes = data.as_ref();
        let mut take = Take::new(bytes, 0);
        if take.array() != Ok(MAGIC) {
            return Err(ReadError::NoRecording);
        }
        match take.byte() {
            Ok(VERSION) => {}
            Ok(other) => return Err(ReadError::Version(other)),
            Err(what) => return Err(ReadError::Header(take.at(), what)),
        }
        let header = Header::decode(&mut take).map_err(|what| ReadError::Header(take.at(), what))?;
        let reader = Self {
            at: take.at(),
            last: Instant::ZERO,
            latest: header.latest(),
            nodes: header.nodes.len() as u32,
            events: 0,
            hash: Sha256::new(),
            ended: false,
            data,
        };
        Ok((header, reader))
    }

    /// The next event; `None` at the end, once all hashes have been found right.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let data = self.data.as_ref();
        let mut take = Take::new(data, self.at);
        let number = self.events + 1;
        let wrong = |take: &Take<'_>, what| ReadError::Event(number, take.at(), what);
        let kind = take.byte().map_err(|what| wrong(&take, what))?;
        if kind == 0 {
            let (recorded, log, file) = end_record(&mut take).map_err(|what| wrong(&take, what))?;
            let file_hash: [u8; 32] = Sha256::digest(&data[..take.at() - file.len()]).into();
            if file_hash != file {
                return Err(ReadError::Altered);
            }
            if recorded != self.events {
                return Err(ReadError::Count(self.events, recorded));
            }
            if self.event_log_sha256() != log {
                return Err(ReadError::EventLog);
            }
            self.ended = true;
            return Ok(None);
        }
        let event = Event::unpack(kind, self.last, &mut take).map_err(|what| wrong(&take, what))?;
        if event.node >= self.nodes {
            return Err(wrong(&take, Malformed::Value("a node")));
        }
        if event.at > self.latest {
            return Err(wrong(&take, Malformed::Value("the time")));
        }
        event.hashed(|bytes| self.hash.update(bytes));
        (self.at, self.last, self.events) = (take.at(), event.at, number);
        Ok(Some(event))
    }

    /// Where the next event begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Hash of the events so far; at the end it is the recorded one.
    pub fn event_log_sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

type EndRecord = (u64, [u8; 32], [u8; 32]);

fn end_record(take: &mut Take<'_>) -> Result<EndRecord, Malformed> {
    let end = (take.number()?, take.array()?, take.array()?);
    take.done()?;
    Ok(end)
}
