//! The body of each frame class: between the two head bytes and the MAC. Integers are little-endian.

use crate::frame::{
    Advert, Award, Beacon, Frame, FrameClass, JobResult, Malformed, Neighbours, Offer, Part, PartRequest,
    Record, RecordRequest, RecordType, Report, ReportEntry, ReportText, Request, ResultStatus, Symbol,
    SymbolRequest,
};
use crate::sync;

/// Reads integers off the front.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }
    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Writes into a buffer; `None` when it is full.
pub(crate) struct Writer<'b> {
    pub(crate) out: &'b mut [u8],
    pub(crate) at: usize,
}

impl Writer<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.at..self.at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }
}

/// Two values of four bits in one byte; `None` where one is larger.
fn nibbles(high: u8, low: u8) -> Option<u8> {
    (high < 16 && low < 16).then_some(high << 4 | low)
}

impl<'a> Frame<'a> {
    /// The class.
    pub const fn class(&self) -> FrameClass {
        match self {
            Self::Beacon(_) => FrameClass::Beacon,
            Self::Request(_) => FrameClass::Request,
            Self::Offer(_) => FrameClass::Offer,
            Self::Award(_) => FrameClass::Award,
            Self::Result(_) => FrameClass::Result,
            Self::Symbol(_) => FrameClass::Symbol,
            Self::SymbolRequest(_) => FrameClass::SymbolRequest,
            Self::Record(_) => FrameClass::Record,
            Self::RecordRequest(_) => FrameClass::RecordRequest,
            Self::Report(_) => FrameClass::Report,
            Self::Advert(_) => FrameClass::Advert,
            Self::SyncDigest(_) => FrameClass::SyncDigest,
            Self::SyncList(_) => FrameClass::SyncList,
            Self::SyncRecords(_) => FrameClass::SyncRecords,
            Self::Part(_) => FrameClass::Part,
            Self::PartRequest(_) => FrameClass::PartRequest,
        }
    }

    /// Reads a body. `broadcast`: the packet is addressed to everybody, which changes the layout of results.
    pub fn parse(class: FrameClass, body: &'a [u8], broadcast: bool) -> Result<Self, Malformed> {
        let mut r = Reader(body);
        let frame = match class {
            FrameClass::Beacon => {
                let (device_class, flags, levels, wake) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?);
                Self::Beacon(Beacon {
                    device_class,
                    flags,
                    load: levels >> 4,
                    battery: levels & 15,
                    wake,
                    record_hash: r.u32()?,
                    task: r.u8()?,
                    model_version: r.u16()?,
                    object_tag: r.u32()?,
                    object_progress: r.u8()?,
                    neighbours: Neighbours::from_bytes(r.rest())?,
                })
            }
            FrameClass::Request => {
                let (head, task, time) = (r.u8()?, r.u8()?, r.u8()?);
                let back = if head & 2 != 0 { Some(r.u16()?) } else { None };
                Self::Request(Request {
                    kind: head >> 4,
                    priority: head >> 2 & 3,
                    wants_offers: head & 1 != 0,
                    task,
                    deadline_code: time >> 4,
                    wake: time & 15,
                    back,
                    codec: r.u8()?,
                    text: r.rest(),
                })
            }
            FrameClass::Offer => Self::Offer(Offer { job: r.u16()?, suitability: r.u8()?, wait_s: r.u8()? }),
            FrameClass::Award => Self::Award(Award { job: r.u16()? }),
            FrameClass::Result => {
                let requester = if broadcast { Some(r.u32()?) } else { None };
                let (job, state, class, model_version) = (r.u16()?, r.u8()?, r.u8()?, r.u8()?);
                let text = if r.0.is_empty() { None } else { Some((r.u8()?, r.rest())) };
                Self::Result(JobResult {
                    requester,
                    job,
                    status: ResultStatus::from_bits(state >> 4).ok_or(Malformed)?,
                    confidence: state & 15,
                    class,
                    model_version,
                    text,
                })
            }
            FrameClass::Symbol => Self::Symbol(Symbol {
                object_tag: r.u32()?,
                generation: r.u8()?,
                symbol: r.u16()?,
                more: r.u8()?,
                data: r.rest(),
            }),
            FrameClass::SymbolRequest => {
                let (object_tag, generation, needed, flags) = (r.u32()?, r.u8()?, r.u8()?, r.u8()?);
                let (server, lacking) = (r.u16()?, r.u16()?);
                let uncoded = if flags & 1 != 0 { Some(r.rest()) } else { None };
                Self::SymbolRequest(SymbolRequest {
                    object_tag,
                    generation,
                    needed,
                    server,
                    lacking,
                    uncoded,
                })
            }
            FrameClass::Record => {
                let (kind, part, tag) = (r.u8()?, r.u8()?, r.u32()?);
                let record = Record {
                    record_type: RecordType::from_bits(kind).ok_or(Malformed)?,
                    part: part >> 4,
                    parts: part & 15,
                    tag,
                    bytes: r.rest(),
                };
                if record.part >= record.parts || record.bytes.is_empty() {
                    return Err(Malformed);
                }
                Self::Record(record)
            }
            FrameClass::RecordRequest => Self::RecordRequest(RecordRequest {
                record_type: RecordType::from_bits(r.u8()?).ok_or(Malformed)?,
                tag: r.u32()?,
            }),
            FrameClass::Report => {
                let report = Report { entries: r.rest() };
                if report.entries.is_empty() || report.entries().any(|entry| entry.is_err()) {
                    return Err(Malformed);
                }
                Self::Report(report)
            }
            FrameClass::Advert => Self::Advert(Advert { object_tag: r.u32()?, complete: r.u16()? }),
            FrameClass::SyncDigest => Self::SyncDigest(sync::read_digest(&mut r)?),
            FrameClass::SyncList => Self::SyncList(sync::read_list(&mut r)?),
            FrameClass::SyncRecords => Self::SyncRecords(sync::read_records(&mut r)?),
            FrameClass::Part => {
                let (job, place, tag) = (r.u16()?, r.u8()?, r.u8()?);
                let part = Part {
                    job,
                    part: place >> 5,
                    parts: (place >> 2 & 7) + 1,
                    of_answer: place & 2 != 0,
                    tag,
                    bytes: r.rest(),
                };
                if !part.is_sound() {
                    return Err(Malformed);
                }
                Self::Part(part)
            }
            FrameClass::PartRequest => {
                let (job, bits) = (r.u16()?, r.u8()?);
                let request = PartRequest { job, of_answer: bits & 1 != 0, missing: bits >> 1 };
                if request.missing == 0 {
                    return Err(Malformed);
                }
                Self::PartRequest(request)
            }
        };
        r.end()?;
        Ok(frame)
    }

    /// Writes the body; `None` when it does not fit, or would not be read as what it is: a field that is out of range, or
    /// a result whose requester is named in a unicast or missing in a broadcast.
    pub(crate) fn emit(&self, w: &mut Writer<'_>, broadcast: bool) -> Option<()> {
        match self {
            Self::Beacon(b) => {
                w.put(&[b.device_class, b.flags, nibbles(b.load, b.battery)?, b.wake])?;
                w.put(&b.record_hash.to_le_bytes())?;
                w.put(&[b.task])?;
                w.put(&b.model_version.to_le_bytes())?;
                w.put(&b.object_tag.to_le_bytes())?;
                w.put(&[b.object_progress])?;
                b.neighbours.names().iter().try_for_each(|name| w.put(&name.to_le_bytes()))
            }
            Self::Request(q) => {
                let flags = u8::from(q.wants_offers) | u8::from(q.back.is_some()) << 1;
                let low = q.priority.checked_mul(4)? | flags;
                w.put(&[nibbles(q.kind, low)?, q.task, nibbles(q.deadline_code, q.wake)?])?;
                if let Some(back) = q.back {
                    w.put(&back.to_le_bytes())?;
                }
                w.put(&[q.codec])?;
                w.put(q.text)
            }
            Self::Offer(o) => {
                w.put(&o.job.to_le_bytes())?;
                w.put(&[o.suitability, o.wait_s])
            }
            Self::Award(a) => w.put(&a.job.to_le_bytes()),
            Self::Result(a) => {
                if a.requester.is_some() != broadcast {
                    return None;
                }
                if let Some(requester) = a.requester {
                    w.put(&requester.to_le_bytes())?;
                }
                w.put(&a.job.to_le_bytes())?;
                w.put(&[nibbles(a.status as u8, a.confidence)?, a.class, a.model_version])?;
                if let Some((codec, text)) = a.text {
                    w.put(&[codec])?;
                    w.put(text)?;
                }
                Some(())
            }
            Self::Symbol(s) => {
                w.put(&s.object_tag.to_le_bytes())?;
                w.put(&[s.generation])?;
                w.put(&s.symbol.to_le_bytes())?;
                w.put(&[s.more])?;
                w.put(s.data)
            }
            Self::SymbolRequest(s) => {
                w.put(&s.object_tag.to_le_bytes())?;
                w.put(&[s.generation, s.needed, u8::from(s.uncoded.is_some())])?;
                w.put(&s.server.to_le_bytes())?;
                w.put(&s.lacking.to_le_bytes())?;
                w.put(s.uncoded.unwrap_or_default())
            }
            Self::Record(r) => {
                if r.part >= r.parts || r.bytes.is_empty() {
                    return None;
                }
                w.put(&[r.record_type as u8, nibbles(r.part, r.parts)?])?;
                w.put(&r.tag.to_le_bytes())?;
                w.put(r.bytes)
            }
            Self::RecordRequest(r) => {
                w.put(&[r.record_type as u8])?;
                w.put(&r.tag.to_le_bytes())
            }
            Self::Report(r) => {
                if r.entries.is_empty() || r.entries().any(|entry| entry.is_err()) {
                    return None;
                }
                w.put(r.entries)
            }
            Self::Advert(a) => {
                w.put(&a.object_tag.to_le_bytes())?;
                w.put(&a.complete.to_le_bytes())
            }
            Self::SyncDigest(d) => w.put(&d.digest.to_le_bytes()),
            Self::SyncList(list) => sync::emit_list(list, w),
            Self::SyncRecords(records) => sync::emit_records(records, w),
            Self::Part(p) => {
                if !p.is_sound() {
                    return None;
                }
                w.put(&p.job.to_le_bytes())?;
                w.put(&[p.part << 5 | (p.parts - 1) << 2 | u8::from(p.of_answer) << 1, p.tag])?;
                w.put(p.bytes)
            }
            Self::PartRequest(p) => {
                if p.missing == 0 || p.missing > 127 {
                    return None;
                }
                w.put(&p.job.to_le_bytes())?;
                w.put(&[p.missing << 1 | u8::from(p.of_answer)])
            }
        }
    }
}

impl Part<'_> {
    /// Whether its numbers mean something: the first part is never sent so.
    const fn is_sound(&self) -> bool {
        self.part >= 1 && self.part < self.parts && self.parts <= 7 && !self.bytes.is_empty()
    }
}

impl<'a> Report<'a> {
    /// From bytes that a [`ReportWriter`] wrote.
    pub const fn from_entries(entries: &'a [u8]) -> Self {
        Self { entries }
    }

    /// The reports, in order; after an error the iterator ends.
    pub fn entries(&self) -> impl Iterator<Item = Result<ReportEntry<'a>, Malformed>> + 'a {
        let mut reader = Reader(self.entries);
        core::iter::from_fn(move || {
            if reader.0.is_empty() {
                return None;
            }
            let entry = read_entry(&mut reader);
            if entry.is_err() {
                reader.0 = &[];
            }
            Some(entry)
        })
    }
}

fn read_entry<'a>(r: &mut Reader<'a>) -> Result<ReportEntry<'a>, Malformed> {
    let (head, class, model_version, age_min, origin) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?, r.u16()?);
    let form = head >> 4 & 3;
    let text = match form {
        0 => None,
        1 | 2 => {
            let (codec, length) = (r.u8()?, r.u8()?);
            Some(ReportText { codec, bytes: r.take(usize::from(length))? })
        }
        _ => return Err(Malformed),
    };
    let (priority, confidence) = (head >> 6, head & 15);
    Ok(ReportEntry { priority, form, confidence, class, model_version, age_min, origin, text })
}

/// Puts reports into one frame as long as they fit.
pub struct ReportWriter<'b> {
    writer: Writer<'b>,
    room: usize,
}

impl<'b> ReportWriter<'b> {
    /// Writes to `out`, leaving room for head and MAC in a payload of that length.
    pub fn new(out: &'b mut [u8]) -> Self {
        let room = out.len().saturating_sub(2 + crate::MAC_LEN);
        Self { writer: Writer { out, at: 0 }, room }
    }

    /// Adds a report; an error, and nothing written, when it does not fit or a field is out of range. A code must not
    /// carry text, the other forms must.
    pub fn push(&mut self, entry: &ReportEntry<'_>) -> Result<(), Malformed> {
        let length = 6 + entry.text.map_or(0, |text| 2 + text.bytes.len());
        let text_fits_form = entry.text.is_some() == matches!(entry.form, 1 | 2);
        let text_len =
            entry.text.map_or(Ok(0), |text| u8::try_from(text.bytes.len())).map_err(|_| Malformed)?;
        if !text_fits_form || entry.form > 2 || entry.priority > 3 || self.writer.at + length > self.room {
            return Err(Malformed);
        }
        let head = nibbles(entry.priority << 2 | entry.form, entry.confidence).ok_or(Malformed)?;
        let w = &mut self.writer;
        let fixed = [head, entry.class, entry.model_version, entry.age_min];
        let origin = entry.origin.to_le_bytes();
        w.put(&fixed).and_then(|()| w.put(&origin)).ok_or(Malformed)?;
        if let Some(text) = entry.text {
            w.put(&[text.codec, text_len]).and_then(|()| w.put(text.bytes)).ok_or(Malformed)?;
        }
        Ok(())
    }

    /// The bytes of all reports.
    pub fn finish(self) -> &'b [u8] {
        let Writer { out, at } = self.writer;
        &out[..at]
    }
}
