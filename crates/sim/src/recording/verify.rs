//! Comparing a run with a recording while it goes on.

use std::io;

use super::{Body, Event, Header, Reader, Sink};

/// Holds each event of a run against the recorded one; the first difference ends the comparison with an error that names it.
pub struct Verifier<D> {
    reader: Reader<D>,
}

impl<D: AsRef<[u8]> + Send> Verifier<D> {
    /// Begins: the header must be the recorded one.
    pub fn new(data: D, header: &Header) -> io::Result<Self> {
        let (recorded, reader) = Reader::new(data).map_err(io::Error::other)?;
        let parts = [
            ("source", recorded.source == header.source && recorded.seed == header.seed),
            ("nodes", recorded.nodes == header.nodes),
            ("links", recorded.links == header.links),
        ];
        if let Some((part, _)) = parts.iter().find(|(_, same)| !same) {
            return Err(differs(format!("before the first event: the {part} are not the recorded ones")));
        }
        if recorded != *header {
            return Err(differs(
                "before the first event: the settings are not the recorded ones".to_string(),
            ));
        }
        Ok(Self { reader })
    }
}

fn differs(what: String) -> io::Error {
    io::Error::other(format!(
        "the run differs from the recording {what}; the program differs from the one that recorded"
    ))
}

fn show(event: Option<&Event<'_>>) -> String {
    let Some(event) = event else { return "the end".to_string() };
    let body = match event.body {
        Body::Transmit { frame } => format!("sends {} bytes", frame.len()),
        Body::Receive { from, snr_qdb } => {
            format!("receives from node {from} at {:.2} dB", f64::from(snr_qdb) / 4.0)
        }
        Body::Application(bytes) => match super::Record::decode(bytes) {
            Ok(record) => format!("{record:?}"),
            Err(_) => format!("tells {} bytes", bytes.len()),
        },
        Body::Energy { airtime_us } => format!("hears {airtime_us} us of energy"),
    };
    format!("{:.6} s node {} {body}", event.at.as_micros() as f64 / 1e6, event.node)
}

impl<D: AsRef<[u8]> + Send> Sink for Verifier<D> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let number = self.reader.events() + 1;
        let recorded = self.reader.next_event().map_err(io::Error::other)?;
        if recorded.as_ref() == Some(event) {
            return Ok(());
        }
        let (recorded, now) = (show(recorded.as_ref()), show(Some(event)));
        Err(differs(format!("at event {number}: recorded was {recorded}, now it is {now}")))
    }

    fn finish(&mut self, events: u64, _event_log_sha256: [u8; 32]) -> io::Result<()> {
        match self.reader.next_event().map_err(io::Error::other)? {
            None => Ok(()),
            Some(more) => {
                let more = show(Some(&more));
                Err(differs(format!("at event {}: recorded was {more}, now it is the end", events + 1)))
            }
        }
    }
}
