//! Any frame comes back as it was sent or is not sent at all; any changed bit is refused; any replay is seen.

use compotastic_wire::{
    Address, Advert, Award, Beacon, Frame, FrameClass, JobResult, KeyRing, MAC_LEN, MAX_PAYLOAD, Neighbours,
    Offer, Part, PartRequest, Record, RecordRequest, RecordType, ReplayTable, Report, ReportEntry,
    ReportText, ReportWriter, Request, ResultStatus, SealError, SwarmKey, Symbol, SymbolRequest, SyncDigest,
    SyncForm, SyncItem, SyncItemWriter, SyncList, SyncRecords, open, seal,
};
use proptest::prelude::*;

const TYPES: [RecordType; 8] = [
    RecordType::Capability,
    RecordType::Manifest,
    RecordType::Delegation,
    RecordType::Revocation,
    RecordType::NodeKey,
    RecordType::KeyRotation,
    RecordType::KeyReceipt,
    RecordType::KeySwitch,
];
const STATUSES: [ResultStatus; 8] = [
    ResultStatus::Ok,
    ResultStatus::Unsure,
    ResultStatus::Busy,
    ResultStatus::Unsupported,
    ResultStatus::Declined,
    ResultStatus::Received,
    ResultStatus::Working,
    ResultStatus::Failed,
];

/// Draws fields from bytes: values in range are likely, others possible.
struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }
    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }
    fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }
    /// Up to `max`, but for one in 64, which may be anything.
    fn up_to(&mut self, max: u8) -> u8 {
        let wild = self.u8() & 63 == 63;
        let value = self.u8();
        if wild { value } else { value % (max + 1) }
    }
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.u8()) % all.len()]
    }
    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}

/// A frame with the broadcast flag that goes with it, and whether all its fields are in range.
fn draw<'a>(class: FrameClass, bytes: &'a [u8], entries: &'a mut [u8], broadcast: bool) -> (Frame<'a>, bool) {
    let mut d = Draw(bytes);
    match class {
        FrameClass::Beacon => {
            let (load, battery) = (d.up_to(15), d.up_to(15));
            let mut neighbours = Neighbours::default();
            for _ in 0..d.up_to(2 * Neighbours::MAX as u8) {
                neighbours.insert(d.u32());
            }
            let beacon = Beacon {
                device_class: d.u8(),
                flags: d.u8(),
                load,
                battery,
                wake: d.u8(),
                record_hash: d.u32(),
                task: d.u8(),
                model_version: d.u16(),
                object_tag: d.u32(),
                object_progress: d.u8(),
                neighbours,
            };
            (Frame::Beacon(beacon), load < 16 && battery < 16)
        }
        FrameClass::Request => {
            let (kind, priority, deadline_code, wake) = (d.up_to(15), d.up_to(3), d.up_to(15), d.up_to(15));
            let back = d.flag().then(|| d.u16());
            let (wants_offers, task, codec) = (d.flag(), d.u8(), d.u8());
            let text = d.rest();
            let request =
                Request { kind, priority, wants_offers, task, deadline_code, wake, back, codec, text };
            (Frame::Request(request), kind < 16 && priority < 4 && deadline_code < 16 && wake < 16)
        }
        FrameClass::Offer => {
            (Frame::Offer(Offer { job: d.u16(), suitability: d.u8(), wait_s: d.u8() }), true)
        }
        FrameClass::Award => (Frame::Award(Award { job: d.u16() }), true),
        FrameClass::Result => {
            let named = if d.up_to(0) == 0 { broadcast } else { !broadcast };
            let (confidence, requester) = (d.up_to(15), named.then(|| d.u32()));
            let (job, status, class, model_version) = (d.u16(), d.one_of(&STATUSES), d.u8(), d.u8());
            let text = d.flag().then(|| (d.u8(), d.rest()));
            let result = JobResult { requester, job, status, confidence, class, model_version, text };
            (Frame::Result(result), confidence < 16 && named == broadcast)
        }
        FrameClass::Symbol => {
            let (object_tag, generation, symbol, more) = (d.u32(), d.u8(), d.u16(), d.u8());
            let symbol = Symbol { object_tag, generation, symbol, more, data: d.rest() };
            (Frame::Symbol(symbol), true)
        }
        FrameClass::SymbolRequest => {
            let (object_tag, generation, needed) = (d.u32(), d.u8(), d.u8());
            let (server, lacking) = (d.u16(), d.u16());
            let uncoded = d.flag().then(|| d.rest());
            let request = SymbolRequest { object_tag, generation, needed, server, lacking, uncoded };
            (Frame::SymbolRequest(request), true)
        }
        FrameClass::Record => {
            let (parts, record_type, tag) = (d.up_to(15), d.one_of(&TYPES), d.u32());
            let part = d.up_to(parts.saturating_sub(1).min(15));
            let bytes = d.rest();
            let sound = part < parts && parts < 16 && !bytes.is_empty();
            (Frame::Record(Record { record_type, part, parts, tag, bytes }), sound)
        }
        FrameClass::RecordRequest => {
            (Frame::RecordRequest(RecordRequest { record_type: d.one_of(&TYPES), tag: d.u32() }), true)
        }
        FrameClass::SyncDigest => {
            let digest = u64::from(d.u32()) << 32 | u64::from(d.u32());
            (Frame::SyncDigest(SyncDigest { digest }), true)
        }
        FrameClass::SyncList => {
            let (digest, membership, members) = (u64::from(d.u32()), d.u16(), d.u8());
            let form = d.one_of(&[SyncForm::Indexed, SyncForm::Named, SyncForm::Vector, SyncForm::Checks]);
            let mut entries = d.rest();
            if members & 1 == 1 {
                // Whole entries are likely.
                entries = &entries[..entries.len() - entries.len() % form.entry_len()];
            }
            let members =
                if form.entry_len() == 1 && members & 2 == 2 { entries.len() as u8 } else { members };
            let count = entries.len() / form.entry_len();
            let sound = entries.len().is_multiple_of(form.entry_len())
                && match form {
                    SyncForm::Vector | SyncForm::Checks => count == usize::from(members),
                    SyncForm::Named => count <= usize::from(members),
                    SyncForm::Indexed => {
                        count <= usize::from(members)
                            && entries.iter().step_by(2).all(|index| *index < members)
                    }
                };
            (Frame::SyncList(SyncList { digest, membership, members, form, entries }), sound)
        }
        FrameClass::SyncRecords => {
            let digest = u64::from(d.u32());
            let mut writer = SyncItemWriter::new(entries);
            let mut sound = false;
            while !d.0.is_empty() {
                let (node, version, length) = (d.u32(), d.u8(), usize::from(d.u8() % 64).min(d.0.len()));
                let (bytes, rest) = d.0.split_at(length);
                d.0 = rest;
                if writer.push(&SyncItem { node, version, bytes }).is_err() {
                    break;
                }
                sound = true;
            }
            (Frame::SyncRecords(SyncRecords::from_items(digest, writer.finish())), sound)
        }
        FrameClass::Report => {
            let mut writer = ReportWriter::new(entries);
            let mut sound = false;
            while !d.0.is_empty() {
                let (priority, form, confidence) = (d.up_to(3), d.up_to(2), d.up_to(15));
                let (class, model_version, age_min, origin) = (d.u8(), d.u8(), d.u8(), d.u16());
                let text = if matches!(form, 1 | 2) {
                    let (codec, length) = (d.u8(), usize::from(d.u8()).min(d.0.len()));
                    let (bytes, rest) = d.0.split_at(length);
                    d.0 = rest;
                    Some(ReportText { codec, bytes })
                } else {
                    None
                };
                let entry =
                    ReportEntry { priority, form, confidence, class, model_version, age_min, origin, text };
                let taken = writer.push(&entry).is_ok();
                assert!(!taken || priority < 4 && form < 3 && confidence < 16, "{entry:?}");
                sound |= taken;
            }
            (Frame::Report(Report::from_entries(writer.finish())), sound)
        }
        FrameClass::Part => {
            let (job, tag, of_answer, parts) = (d.u16(), d.u8(), d.flag(), d.up_to(7));
            let part = d.up_to(parts.saturating_sub(1).min(7));
            let bytes = d.rest();
            let sound = part >= 1 && part < parts && parts <= 7 && !bytes.is_empty();
            (Frame::Part(Part { job, part, parts, of_answer, tag, bytes }), sound)
        }
        FrameClass::PartRequest => {
            let (job, of_answer, missing) = (d.u16(), d.flag(), d.u8());
            let request = PartRequest { job, of_answer, missing };
            (Frame::PartRequest(request), (1..128).contains(&missing))
        }
        FrameClass::Advert => (Frame::Advert(Advert { object_tag: d.u32(), complete: d.u16() }), true),
    }
}

fn any_class() -> impl Strategy<Value = FrameClass> {
    (0..FrameClass::ALL.len()).prop_map(|index| FrameClass::ALL[index])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_frame_comes_back_or_is_not_sent(
        class in any_class(),
        bytes in proptest::collection::vec(any::<u8>(), 0..250),
        key in any::<[u8; 16]>(),
        (from, to, id, epoch) in any::<(u32, u32, u32, u8)>(),
        broadcast in any::<bool>(),
        (bit, other_key) in (any::<prop::sample::Index>(), any::<[u8; 16]>()),
    ) {
        let address = Address { from, to: if broadcast { u32::MAX } else { to }, id };
        let mut entries = [0; MAX_PAYLOAD];
        let (frame, sound) = draw(class, &bytes, &mut entries, broadcast);
        let keys = KeyRing::new(epoch, SwarmKey(key));
        let mut buffer = [0; MAX_PAYLOAD];
        match seal(&frame, &keys, &address, &mut buffer) {
            Ok(length) => {
                prop_assert!(sound, "{:?} must not be sent", frame);
                prop_assert_eq!(open(&buffer[..length], &keys, &address), Ok((frame, epoch)));
                // A ring with the epoch before and after it, so that a changed epoch finds a key too.
                let mut ring = KeyRing::new(epoch.wrapping_sub(1), SwarmKey(other_key));
                ring.rotate(SwarmKey(key));
                let mut changed = buffer;
                let bit = bit.index(length * 8);
                changed[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(open(&changed[..length], &keys, &address).is_err(), "bit {}", bit);
                prop_assert!(open(&changed[..length], &ring, &address).is_err(), "bit {}", bit);
                for cut in 0..length {
                    prop_assert!(open(&buffer[..cut], &keys, &address).is_err(), "cut to {}", cut);
                }
            }
            Err(SealError) => {
                // Refused for a reason: out of range, or longer than a frame with this much text may be.
                prop_assert!(!sound || bytes.len() > 190, "{:?} was refused", frame);
            }
        }
    }

    /// Whatever is read from any body is written as the same bytes, unless the bytes hold unused bits.
    #[test]
    fn what_is_read_can_be_sent(
        class in any_class(),
        // Short ones too, for the classes of one length.
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            proptest::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD - 2 - MAC_LEN),
        ],
        broadcast in any::<bool>(),
    ) {
        if let Ok(frame) = Frame::parse(class, &body, broadcast) {
            let keys = KeyRing::new(0, SwarmKey([1; 16]));
            let address = Address { from: 1, to: if broadcast { u32::MAX } else { 2 }, id: 3 };
            let mut buffer = [0; MAX_PAYLOAD];
            let length = seal(&frame, &keys, &address, &mut buffer).unwrap();
            prop_assert_eq!(open(&buffer[..length], &keys, &address), Ok((frame, 0)));
            if !matches!(class, FrameClass::SymbolRequest | FrameClass::Part) {
                prop_assert_eq!(&buffer[2..2 + body.len()], &body[..]);
            }
        }
    }

    /// The table against a list of everything that each sender was granted, with senders forgotten as stated.
    #[test]
    fn replays_are_seen_and_the_longest_unheard_forgotten(
        frames in proptest::collection::vec((0u32..6, prop_oneof![1u32..200, u32::MAX - 100..=u32::MAX]), 1..300),
    ) {
        const SENDERS: usize = 4;
        let mut table = ReplayTable::<SENDERS>::new();
        // Sender and ids granted since it was last new; the one heard longest ago first.
        let mut model: Vec<(u32, Vec<u32>)> = Vec::new();
        for (from, id) in frames {
            let known = model.iter().position(|(sender, _)| *sender == from);
            let granted = known.map(|index| model[index].1.clone()).unwrap_or_default();
            let newest = granted.iter().copied().max();
            let fresh = !granted.contains(&id) && newest.is_none_or(|newest| id > newest || newest - id < 64);
            prop_assert_eq!(table.check(from, id) == compotastic_wire::Verdict::Fresh, fresh);
            prop_assert_eq!(table.accept(from, id), fresh);
            if fresh {
                let mut entry = match known {
                    Some(index) => model.remove(index),
                    None => {
                        if model.len() == SENDERS {
                            model.remove(0);
                        }
                        (from, Vec::new())
                    }
                };
                entry.1.push(id);
                model.push(entry);
            }
        }
    }
}

#[test]
fn fields_out_of_range_are_refused_not_cut() {
    let keys = KeyRing::new(0, SwarmKey([1; 16]));
    let to_one = Address { from: 1, to: 2, id: 3 };
    let record = Record { record_type: RecordType::Manifest, part: 0, parts: 16, tag: 1, bytes: &[1] };
    let result = JobResult {
        requester: Some(9),
        job: 1,
        status: ResultStatus::Ok,
        confidence: 3,
        class: 1,
        model_version: 1,
        text: None,
    };
    for frame in [
        Frame::Beacon(Beacon { load: 16, ..Beacon::default() }),
        Frame::Record(record),
        Frame::Result(result),
        Frame::Report(Report::from_entries(&[0; 5])),
        Frame::Report(Report::from_entries(&[])),
    ] {
        assert_eq!(seal(&frame, &keys, &to_one, &mut [0; MAX_PAYLOAD]), Err(SealError), "{frame:?}");
    }
}
