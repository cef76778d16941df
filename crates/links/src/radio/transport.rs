//! An open link as the task sees it: bytes or messages in, messages out, nothing lost when a wait is given up.

use std::{collections::VecDeque, io};

use compotastic_client::framing;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
};

use crate::connect::{Duplex, Pipe};

/// Bytes that may wait to be written; the session keeps the rest, so that it can still say what did not go.
const ROOM: usize = 2 * framing::MAX_FRAME;
/// Messages that may wait to be written.
const MESSAGES: usize = 2;

/// What came.
pub enum Step {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// A message.
    Message(Vec<u8>),
    /// Some was written.
    Wrote,
    /// The other side closed.
    Closed,
}

/// An open link.
pub enum Transport {
    /// A byte stream.
    Stream { read: ReadHalf<Box<dyn Duplex>>, write: WriteHalf<Box<dyn Duplex>>, out: Vec<u8> },
    /// Messages.
    Messages { to_radio: mpsc::Sender<Vec<u8>>, from_radio: mpsc::Receiver<Vec<u8>>, out: VecDeque<Vec<u8>> },
}

impl Transport {
    /// Over a pipe, on which `wake_up` goes first.
    pub fn new(pipe: Pipe, wake_up: &[u8]) -> Self {
        match pipe {
            Pipe::Stream(stream) => {
                let (read, write) = tokio::io::split(stream);
                Self::Stream { read, write, out: wake_up.to_vec() }
            }
            Pipe::Messages { to_radio, from_radio } => {
                Self::Messages { to_radio, from_radio, out: VecDeque::new() }
            }
        }
    }

    /// True if another message may be pushed.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Stream { out, .. } => out.len() < ROOM,
            Self::Messages { out, .. } => out.len() < MESSAGES,
        }
    }

    /// True if nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Stream { out, .. } => out.is_empty(),
            Self::Messages { out, .. } => out.is_empty(),
        }
    }

    /// Puts a message where it will be written.
    pub fn push(&mut self, message: &[u8]) {
        match self {
            Self::Stream { out, .. } => {
                if let Ok(header) = framing::header(message.len()) {
                    out.extend_from_slice(&header);
                    out.extend_from_slice(message);
                }
            }
            Self::Messages { out, .. } => out.push_back(message.to_vec()),
        }
    }

    /// Waits for the next thing that happens; writes meanwhile. Nothing is lost if the future is dropped.
    pub async fn step(&mut self, buffer: &mut [u8]) -> io::Result<Step> {
        match self {
            Self::Stream { read, write, out } => tokio::select! {
                length = read.read(buffer) => Ok(match length? {
                    0 => Step::Closed,
                    length => Step::Bytes(length),
                }),
                length = write.write(out), if !out.is_empty() => {
                    out.drain(..length?);
                    Ok(Step::Wrote)
                }
            },
            Self::Messages { to_radio, from_radio, out } => tokio::select! {
                message = from_radio.recv() => Ok(message.map_or(Step::Closed, Step::Message)),
                permit = to_radio.reserve(), if !out.is_empty() => match (permit, out.pop_front()) {
                    (Ok(permit), Some(message)) => {
                        permit.send(message);
                        Ok(Step::Wrote)
                    }
                    _ => Ok(Step::Closed),
                },
            },
        }
    }
}
