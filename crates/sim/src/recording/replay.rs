//! Reading a recording to its end: the books of the air and of the applications, as a run keeps them.

use compotastic_mesh::{
    packet::NodeNum,
    time::{Duration, Instant},
};

use super::{Body, Event, Header, Malformed, ReadError, Reader, Record, Tally};
use crate::{
    ledger::Ledger,
    log::hex,
    scenario::{Report, Run},
};

/// What a node's transmitter is doing.
#[derive(Clone, Copy, Default)]
struct Transmitter {
    until: Instant,
    airtime: Duration,
}

struct Books {
    ledger: Ledger,
    tally: Tally,
    transmitters: Vec<Transmitter>,
}

impl Books {
    fn handle(&mut self, header: &Header, event: &Event<'_>) -> Result<(), Malformed> {
        let (at, node) = (event.at, event.node as usize);
        match event.body {
            Body::Transmit { frame } => {
                let modem = header.preset.modem(header.region.wide());
                let airtime = Duration::from_micros(modem.time_on_air_us(frame.len()));
                let transmitter = &mut self.transmitters[node];
                if transmitter.until > at {
                    return Err(Malformed::Value("the time of a transmission, during another of that node,"));
                }
                *transmitter = Transmitter { until: at + airtime, airtime };
                self.ledger.handle_transmit(at, node, frame, airtime);
            }
            Body::Receive { from, .. } => {
                let sender = self.transmitters.get(from as usize).ok_or(Malformed::Value("a sender"))?;
                self.ledger.handle_heard(at, node, sender.airtime);
            }
            Body::Energy { airtime_us } => {
                self.ledger.handle_heard(at, node, Duration::from_micros(u64::from(airtime_us)));
            }
            Body::Application(bytes) => match Record::decode(bytes) {
                Ok(record) => {
                    let number_of = |node: u32| header.nodes.get(node as usize).map_or(0, |row| row.number);
                    self.tally.handle(at, event.node, &record, number_of);
                }
                // A later program may tell more than this one knows.
                Err(Malformed::Kind(_)) => self.tally.unknown += 1,
                Err(what) => return Err(what),
            },
        }
        Ok(())
    }
}

/// Reads a recording and counts as the run did.
pub fn replay(data: &[u8]) -> Result<Run, ReadError> {
    replay_with(data, |_| {})
}

/// The same; `progress` is told the share that is read, now and then.
pub fn replay_with(data: &[u8], mut progress: impl FnMut(f64)) -> Result<Run, ReadError> {
    let (header, mut reader) = Reader::new(data)?;
    let numbers = header.nodes.iter().map(|node| NodeNum(node.number)).collect();
    let mut ledger = Ledger::new(header.channels.clone(), numbers, header.bin);
    header.nodes.iter().for_each(|_| ledger.add_node());
    let transmitters = vec![Transmitter::default(); header.nodes.len()];
    let mut books = Books { ledger, tally: Tally::default(), transmitters };
    loop {
        let (at, number) = (reader.at(), reader.events() + 1);
        if number.is_multiple_of(4096) {
            progress(at as f64 / data.len().max(1) as f64);
        }
        let Some(event) = reader.next_event()? else { break };
        books.handle(&header, &event).map_err(|what| ReadError::Event(number, at, what))?;
    }
    let Books { ledger, tally, .. } = books;
    let report = Report::of(&header, &ledger, &tally, hex(&reader.event_log_sha256()));
    Ok(Run { header, ledger, tally, report })
}
