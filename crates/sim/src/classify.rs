//! What a frame on the air is for, found out with the channel keys alone.

use compotastic_mesh::{
    crypto::{Channel, ctr_apply},
    modules::{NODEINFO_PORT, POSITION_PORT, TELEMETRY_PORT},
    packet::{Data, HEADER, Header, NodeNum},
    router::ROUTING_PORT,
};
use compotastic_wire::{Frame, FrameClass, MAC_LEN, PORT, RecordType, ResultStatus, SYMBOL_MAC_LEN};

/// Port of people's messages.
pub const TEXT_PORT: u16 = 1;
/// Service order of a report that goes out above every gate.
const ALERT_PRIORITY: u8 = 3;

/// What a frame is for, in groups for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Requests, offers, awards and results.
    Job,
    /// Reports on their way, and their receipts.
    Report,
    /// Beacons.
    Beacon,
    /// Manifests, delegations and other records, and requests for them.
    Record,
    /// Symbols.
    Symbol,
    /// Requests for symbols, and what nodes tell that they can serve.
    SymbolRequest,
    /// Stock acknowledgements.
    Ack,
    /// Stock NodeInfo, positions and telemetry.
    Stock,
    /// Texts of people.
    Text,
    /// What could not be read.
    Other,
}

impl Traffic {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Job,
        Self::Report,
        Self::Beacon,
        Self::Record,
        Self::Symbol,
        Self::SymbolRequest,
        Self::Ack,
        Self::Stock,
        Self::Text,
        Self::Other,
    ];

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::Report => "reports",
            Self::Beacon => "beacons",
            Self::Record => "manifests",
            Self::Symbol => "symbols",
            Self::SymbolRequest => "symbol requests",
            Self::Ack => "acks",
            Self::Stock => "stock broadcasts",
            Self::Text => "texts",
            Self::Other => "other",
        }
    }
}

/// What a frame is for, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// A job.
    Request,
    /// An offer.
    Offer,
    /// An award.
    Award,
    /// The answer to a job.
    Result,
    /// Reports.
    Report,
    /// The receipt of a report.
    Receipt,
    /// A beacon.
    Beacon,
    /// Part of a capability record.
    Capability,
    /// Part of a manifest.
    Manifest,
    /// Part of a delegation.
    Delegation,
    /// Part of a revocation.
    Revocation,
    /// A request for a record.
    RecordRequest,
    /// A symbol.
    Symbol,
    /// A request for symbols.
    SymbolRequest,
    /// A node tells what it can serve.
    Advert,
    /// A stock acknowledgement, or another routing message.
    Ack,
    /// A bare header: a hop says that it has passed the packet on.
    HopAck,
    /// Stock NodeInfo.
    NodeInfo,
    /// Stock position.
    Position,
    /// Stock telemetry.
    Telemetry,
    /// Text of a person.
    Text,
    /// What could not be read.
    Other,
}

impl Category {
    /// All categories.
    pub const ALL: [Self; 22] = [
        Self::Request,
        Self::Offer,
        Self::Award,
        Self::Result,
        Self::Report,
        Self::Receipt,
        Self::Beacon,
        Self::Capability,
        Self::Manifest,
        Self::Delegation,
        Self::Revocation,
        Self::RecordRequest,
        Self::Symbol,
        Self::SymbolRequest,
        Self::Advert,
        Self::Ack,
        Self::HopAck,
        Self::NodeInfo,
        Self::Position,
        Self::Telemetry,
        Self::Text,
        Self::Other,
    ];

    /// The group to which it belongs.
    pub const fn traffic(self) -> Traffic {
        match self {
            Self::Request | Self::Offer | Self::Award | Self::Result => Traffic::Job,
            Self::Report | Self::Receipt => Traffic::Report,
            Self::Beacon => Traffic::Beacon,
            Self::Capability | Self::Manifest | Self::Delegation | Self::Revocation | Self::RecordRequest => {
                Traffic::Record
            }
            Self::Symbol => Traffic::Symbol,
            Self::SymbolRequest | Self::Advert => Traffic::SymbolRequest,
            Self::Ack | Self::HopAck => Traffic::Ack,
            Self::NodeInfo | Self::Position | Self::Telemetry => Traffic::Stock,
            Self::Text => Traffic::Text,
            Self::Other => Traffic::Other,
        }
    }

    /// Bulk and periodic traffic, which stops at 25 % channel utilisation.
    pub const fn is_bulk(self) -> bool {
        matches!(
            self.traffic(),
            Traffic::Beacon | Traffic::Record | Traffic::Symbol | Traffic::SymbolRequest | Traffic::Stock
        )
    }
}

/// A frame, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorted {
    /// What it is for.
    pub category: Category,
    /// It carries an urgent report, which no gate holds back.
    pub alert: bool,
}

const OTHER: Sorted = Sorted { category: Category::Other, alert: false };

/// Sorts a frame by header, port and, on our own port, the frame's class and contents.
pub fn sort(channels: &[Channel], frame: &[u8]) -> Sorted {
    let Some(header) = Header::parse(frame) else { return OTHER };
    if frame.len() == HEADER && channels.iter().any(|channel| channel.hash() == header.channel_hash) {
        return Sorted { category: Category::HopAck, alert: false };
    }
    for channel in channels.iter().filter(|channel| channel.hash() == header.channel_hash) {
        let mut clear = frame[HEADER..].to_vec();
        ctr_apply(&channel.key, header.from, header.id, &mut clear);
        let Some(data) = Data::decode(&clear) else { continue };
        let category = match data.port {
            PORT => return sort_ours(data.payload, header.to == NodeNum::BROADCAST),
            ROUTING_PORT => Category::Ack,
            NODEINFO_PORT => Category::NodeInfo,
            POSITION_PORT => Category::Position,
            TELEMETRY_PORT => Category::Telemetry,
            TEXT_PORT => Category::Text,
            _ => Category::Other,
        };
        return Sorted { category, alert: false };
    }
    OTHER
}

fn sort_ours(payload: &[u8], broadcast: bool) -> Sorted {
    let Some(class) = payload.first().and_then(|first| FrameClass::from_bits(first & 31)) else {
        return OTHER;
    };
    let mac = if class == FrameClass::Symbol { SYMBOL_MAC_LEN } else { MAC_LEN };
    let body = payload.get(2..payload.len().saturating_sub(mac)).unwrap_or_default();
    let Ok(frame) = Frame::parse(class, body, broadcast) else { return OTHER };
    let mut alert = false;
    let category = match frame {
        Frame::Request(_) => Category::Request,
        Frame::Part(part) if !part.of_answer => Category::Request,
        // What is missing is asked for by whoever is to get it.
        Frame::PartRequest(asked) if asked.of_answer => Category::Request,
        Frame::Part(_) | Frame::PartRequest(_) => Category::Result,
        Frame::Offer(_) => Category::Offer,
        Frame::Award(_) => Category::Award,
        Frame::Result(result) if result.status == ResultStatus::Received => Category::Receipt,
        Frame::Result(_) => Category::Result,
        Frame::Beacon(_) | Frame::SyncDigest(_) => Category::Beacon,
        Frame::Symbol(_) => Category::Symbol,
        Frame::SymbolRequest(_) => Category::SymbolRequest,
        Frame::Advert(_) => Category::Advert,
        Frame::Record(record) => match record.record_type {
            RecordType::Capability => Category::Capability,
            RecordType::Manifest => Category::Manifest,
            RecordType::Delegation => Category::Delegation,
            RecordType::Revocation => Category::Revocation,
            RecordType::NodeKey | RecordType::KeyRotation | RecordType::KeyReceipt | RecordType::KeySwitch => {
                Category::Delegation
            }
        },
        // What a node has, said so that others send what it lacks.
        Frame::RecordRequest(_) | Frame::SyncList(_) => Category::RecordRequest,
        Frame::SyncRecords(_) => Category::Capability,
        Frame::Report(report) => {
            alert = report.entries().flatten().any(|entry| entry.priority == ALERT_PRIORITY);
            Category::Report
        }
    };
    Sorted { category, alert }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compotastic_mesh::packet::PacketId;
    use compotastic_wire::{
        Address, Advert, Beacon, KeyRing, MAX_PAYLOAD, Neighbours, Report, ReportEntry, ReportWriter,
        Request, SwarmKey, Symbol, SymbolRequest, seal,
    };

    fn channels() -> Vec<Channel> {
        vec![Channel::new("LongFast", &[1]).unwrap(), Channel::new("swarm", &[7; 32]).unwrap()]
    }

    fn frame(channel: &Channel, port: u16, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            to: NodeNum::BROADCAST,
            from: NodeNum(9),
            id: PacketId(77),
            hop_limit: 3,
            want_ack: false,
            via_mqtt: false,
            hop_start: 3,
            channel_hash: channel.hash(),
            next_hop: 0,
            relay_node: 9,
        };
        let mut data = [0; 239];
        let length = Data { port, payload, ..Data::default() }.encode(&mut data).unwrap();
        ctr_apply(&channel.key, header.from, header.id, &mut data[..length]);
        [&header.emit()[..], &data[..length]].concat()
    }

    fn ours(frame_body: &Frame<'_>) -> Sorted {
        let address = Address { from: 9, to: NodeNum::BROADCAST.0, id: 77 };
        let mut out = [0; MAX_PAYLOAD];
        let length = seal(frame_body, &KeyRing::new(1, SwarmKey([3; 16])), &address, &mut out).unwrap();
        sort(&channels(), &frame(&channels()[1], PORT, &out[..length]))
    }

    #[test]
    fn our_frames_are_told_apart_by_class() {
        let request = Request {
            kind: 0,
            priority: 1,
            wants_offers: false,
            task: 1,
            deadline_code: 8,
            wake: 0,
            back: None,
            codec: 0,
            text: b"help",
        };
        assert_eq!(ours(&Frame::Request(request)).category, Category::Request);
        assert_eq!(ours(&Frame::Beacon(Beacon::default())).category, Category::Beacon);
        let neighbours = Neighbours::from_bytes(&[3, 9]).unwrap();
        assert_eq!(
            ours(&Frame::Beacon(Beacon { neighbours, ..Beacon::default() })).category,
            Category::Beacon
        );
        let symbol = Symbol { object_tag: 1, generation: 0, symbol: 3, more: 2, data: &[5; 208] };
        assert_eq!(ours(&Frame::Symbol(symbol)).category, Category::Symbol);
        for uncoded in [None, Some(&[6][..])] {
            let request =
                SymbolRequest { object_tag: 1, generation: 0, needed: 2, server: 9, lacking: 1, uncoded };
            assert_eq!(ours(&Frame::SymbolRequest(request)).category, Category::SymbolRequest);
        }
        let advert = ours(&Frame::Advert(Advert { object_tag: 1, complete: 1 })).category;
        assert_eq!(advert, Category::Advert);
        assert!(advert.is_bulk() && advert.traffic() == Traffic::SymbolRequest);
    }

    #[test]
    fn a_report_is_an_alert_if_one_of_its_entries_is_urgent() {
        for (priorities, alert) in [(&[0, 1, 2][..], false), (&[1, 3][..], true)] {
            let mut buffer = [0; 180];
            let mut writer = ReportWriter::new(&mut buffer);
            for priority in priorities {
                let entry = ReportEntry {
                    priority: *priority,
                    form: 0,
                    confidence: 9,
                    class: 2,
                    model_version: 1,
                    age_min: 0,
                    origin: 4,
                    text: None,
                };
                writer.push(&entry).unwrap();
            }
            let sorted = ours(&Frame::Report(Report::from_entries(writer.finish())));
            assert_eq!(sorted, Sorted { category: Category::Report, alert });
        }
    }

    #[test]
    fn stock_ports_and_what_cannot_be_read() {
        let all = channels();
        let by_port = |port| sort(&all, &frame(&all[0], port, &[8, 1])).category;
        assert_eq!(by_port(NODEINFO_PORT), Category::NodeInfo);
        assert_eq!(by_port(ROUTING_PORT), Category::Ack);
        assert_eq!(by_port(TEXT_PORT), Category::Text);
        assert_eq!(by_port(300), Category::Other);
        // A class that does not exist, a body that is too short, no header, and a key that we lack.
        assert_eq!(sort(&all, &frame(&all[1], PORT, &[0x3f, 1, 2])).category, Category::Other);
        assert_eq!(sort(&all, &frame(&all[1], PORT, &[0x25, 1, 2])).category, Category::Other);
        assert_eq!(sort(&all, &[1, 2, 3]).category, Category::Other);
        let stranger = Channel::new("other", &[9; 32]).unwrap();
        assert_eq!(sort(&all, &frame(&stranger, TEXT_PORT, b"x")).category, Category::Other);
    }
}
