//! The body of each frame class: between the two head bytes and the MAC. Integers are little-endian.

use core::fmt;

/// Class of a frame: the lower five bits of byte 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameClass {
    /// What a node can do and holds.
    Beacon = 0,
    /// A job.
    Request = 1,
    /// An executor offers to do a job.
    Offer = 2,
    /// The requester takes an offer.
    Award = 3,
    /// The answer to a job, or a receipt.
    Result = 4,
    /// One symbol of an object.
    Symbol = 5,
    /// Asks neighbours for symbols.
    SymbolRequest = 6,
    /// A part of a control record.
    Record = 7,
    /// Asks a neighbour for a record.
    RecordRequest = 8,
    /// Reports on their way to the command post.
    Report = 9,
}

impl FrameClass {
    /// All classes.
    pub const ALL: [Self; 10] = [
        Self::Beacon,
        Self::Request,
        Self::Offer,
        Self::Award,
        Self::Result,
        Self::Symbol,
        Self::SymbolRequest,
        Self::Record,
        Self::RecordRequest,
        Self::Report,
    ];

    /// The class of a number.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if (bits as usize) < Self::ALL.len() { Some(Self::ALL[bits as usize]) } else { None }
    }
}

/// A body that is too short, too long, or holds a value that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed frame body")
    }
}

impl core::error::Error for Malformed {}

/// What a node can do and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beacon {
    /// Device class of the capability record.
    pub device_class: u8,
    /// [`Beacon::EXECUTES`] and the others.
    pub flags: u8,
    /// Load, 0..=15.
    pub load: u8,
    /// Battery, 0..=15.
    pub battery: u8,
    /// Reserved for wake schedules; 0 = listens always.
    pub wake: u8,
    /// Hash of the capability record.
    pub record_hash: u32,
    /// Task that the installed model is for.
    pub task: u8,
    /// Version of the installed model; 0 = none.
    pub model_version: u16,
    /// Newest object known; 0 = none.
    pub object_tag: u32,
    /// How much of it is here, 0..=255 for nothing..all.
    pub object_progress: u8,
}

impl Beacon {
    /// Flag: executes jobs for others.
    pub const EXECUTES: u8 = 1;
    /// Flag: by a foundation model.
    pub const FOUNDATION_MODEL: u8 = 2;
    /// Flag: on mains power.
    pub const MAINS_POWER: u8 = 4;
    /// Flag: holds a student for `task`.
    pub const STUDENT: u8 = 8;
}

/// A job. A directed one names its executor in the packet header; an open call is a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Kind of job, 0..=15.
    pub kind: u8,
    /// Service order, 0..=3.
    pub priority: u8,
    /// Executors shall offer, not execute.
    pub wants_offers: bool,
    /// Task.
    pub task: u8,
    /// Deadline, see [`crate::deadline_seconds`].
    pub deadline_code: u8,
    /// Reserved for wake schedules, 0..=15.
    pub wake: u8,
    /// For a repetition: this packet's id minus the first one's.
    pub back: Option<u16>,
    /// Codec of the text.
    pub codec: u8,
    /// The coded text.
    pub text: &'a [u8],
}

/// An offer to the requester named in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Low bits of the first request's packet id.
    pub job: u16,
    /// How well the executor suits, 0..=255.
    pub suitability: u8,
    /// Seconds until it could begin.
    pub wait_s: u8,
}

/// The executor named in the header gets the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Award {
    /// Low bits of the first request's packet id.
    pub job: u16,
}

/// What a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResultStatus {
    /// Answered.
    Ok = 0,
    /// Answered, but the model would rather not be believed.
    Unsure = 1,
    /// Not now: too much to do.
    Busy = 2,
    /// Not here: task or kind is not on offer.
    Unsupported = 3,
    /// Not for others: battery is low.
    Declined = 4,
    /// Receipt of a report.
    Received = 5,
}

impl ResultStatus {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Ok,
            1 => Self::Unsure,
            2 => Self::Busy,
            3 => Self::Unsupported,
            4 => Self::Declined,
            5 => Self::Received,
            _ => return None,
        })
    }
}

/// The answer to a job, or a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobResult<'a> {
    /// Who asked; present in broadcasts only, else the header says it.
    pub requester: Option<u32>,
    /// Low bits of the packet id of the first request, or of the report.
    pub job: u16,
    /// What it means.
    pub status: ResultStatus,
    /// Confidence, 0..=15.
    pub confidence: u8,
    /// Class index.
    pub class: u8,
    /// Low 8 bits of the model's version.
    pub model_version: u8,
    /// Codec and coded text, for answers that are more than a class.
    pub text: Option<(u8, &'a [u8])>,
}

/// One symbol of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// First four bytes of the object's hash.
    pub object_tag: u32,
    /// Generation.
    pub generation: u8,
    /// Symbol id: below the generation's length a piece itself, else a combination.
    pub symbol: u16,
    /// Data.
    pub data: &'a [u8],
}

/// Asks neighbours for symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolRequest<'a> {
    /// Object.
    pub object_tag: u32,
    /// Generation.
    pub generation: u8,
    /// Independent symbols that are still needed.
    pub needed: u8,
    /// Only pieces as they are; bit n is set where piece n is missing.
    pub uncoded: Option<&'a [u8]>,
}

/// Kind of a control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// Capability record (protobuf).
    Capability = 1,
    /// Signed manifest.
    Manifest = 2,
    /// Signed delegation.
    Delegation = 3,
    /// Signed revocation.
    Revocation = 4,
}

impl RecordType {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Capability,
            2 => Self::Manifest,
            3 => Self::Delegation,
            4 => Self::Revocation,
            _ => return None,
        })
    }
}

/// A part of a control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Kind.
    pub record_type: RecordType,
    /// Which part, from 0.
    pub part: u8,
    /// Of how many, 1..=15.
    pub parts: u8,
    /// Names the record.
    pub tag: u32,
    /// Bytes of the part.
    pub bytes: &'a [u8],
}

/// Asks a neighbour for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRequest {
    /// Kind.
    pub record_type: RecordType,
    /// Names the record.
    pub tag: u32,
}

/// Text of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportText<'a> {
    /// Codec.
    pub codec: u8,
    /// Coded text.
    pub bytes: &'a [u8],
}

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportEntry<'a> {
    /// Service order, 0..=3.
    pub priority: u8,
    /// 0 code, 1 summary, 2 full text.
    pub form: u8,
    /// Confidence, 0..=15.
    pub confidence: u8,
    /// Class index.
    pub class: u8,
    /// Low 8 bits of the model's version.
    pub model_version: u8,
    /// Age in minutes, saturating.
    pub age_min: u8,
    /// Sender's number of the report, so that a repetition is recognised.
    pub origin: u16,
    /// Text of forms 1 and 2.
    pub text: Option<ReportText<'a>>,
}

/// One or more reports, checked when parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    entries: &'a [u8],
}

/// A checked frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// See [`Beacon`].
    Beacon(Beacon),
    /// See [`Request`].
    Request(Request<'a>),
    /// See [`Offer`].
    Offer(Offer),
    /// See [`Award`].
    Award(Award),
    /// See [`JobResult`].
    Result(JobResult<'a>),
    /// See [`Symbol`].
    Symbol(Symbol<'a>),
    /// See [`SymbolRequest`].
    SymbolRequest(SymbolRequest<'a>),
    /// See [`Record`].
    Record(Record<'a>),
    /// See [`RecordRequest`].
    RecordRequest(RecordRequest),
    /// See [`Report`].
    Report(Report<'a>),
}

/// Reads integers off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }
    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    fn rest(&mut self) -> &'a [u8] {
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
                data: r.rest(),
            }),
            FrameClass::SymbolRequest => {
                let (object_tag, generation, needed, flags) = (r.u32()?, r.u8()?, r.u8()?, r.u8()?);
                let uncoded = if flags & 1 != 0 { Some(r.rest()) } else { None };
                Self::SymbolRequest(SymbolRequest { object_tag, generation, needed, uncoded })
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
        };
        r.end()?;
        Ok(frame)
    }

    /// Writes the body; `None` when it does not fit.
    pub(crate) fn emit(&self, w: &mut Writer<'_>) -> Option<()> {
        match self {
            Self::Beacon(b) => {
                w.put(&[b.device_class, b.flags, b.load << 4 | b.battery & 15, b.wake])?;
                w.put(&b.record_hash.to_le_bytes())?;
                w.put(&[b.task])?;
                w.put(&b.model_version.to_le_bytes())?;
                w.put(&b.object_tag.to_le_bytes())?;
                w.put(&[b.object_progress])
            }
            Self::Request(q) => {
                let flags = u8::from(q.wants_offers) | u8::from(q.back.is_some()) << 1;
                w.put(&[
                    q.kind << 4 | (q.priority & 3) << 2 | flags,
                    q.task,
                    q.deadline_code << 4 | q.wake & 15,
                ])?;
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
                if let Some(requester) = a.requester {
                    w.put(&requester.to_le_bytes())?;
                }
                w.put(&a.job.to_le_bytes())?;
                w.put(&[(a.status as u8) << 4 | a.confidence & 15, a.class, a.model_version])?;
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
                w.put(s.data)
            }
            Self::SymbolRequest(s) => {
                w.put(&s.object_tag.to_le_bytes())?;
                w.put(&[s.generation, s.needed, u8::from(s.uncoded.is_some())])?;
                w.put(s.uncoded.unwrap_or_default())
            }
            Self::Record(r) => {
                w.put(&[r.record_type as u8, r.part << 4 | r.parts & 15])?;
                w.put(&r.tag.to_le_bytes())?;
                w.put(r.bytes)
            }
            Self::RecordRequest(r) => {
                w.put(&[r.record_type as u8])?;
                w.put(&r.tag.to_le_bytes())
            }
            Self::Report(r) => w.put(r.entries),
        }
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

    /// Adds a report; an error, and nothing written, when it does not fit. A code must not carry text, the other
    /// forms must.
    pub fn push(&mut self, entry: &ReportEntry<'_>) -> Result<(), Malformed> {
        let length = 6 + entry.text.map_or(0, |text| 2 + text.bytes.len());
        let text_fits_form = entry.text.is_some() == matches!(entry.form, 1 | 2);
        if !text_fits_form || entry.form > 2 || self.writer.at + length > self.room {
            return Err(Malformed);
        }
        let head = entry.priority << 6 | entry.form << 4 | entry.confidence & 15;
        let w = &mut self.writer;
        let fixed = [head, entry.class, entry.model_version, entry.age_min];
        let origin = entry.origin.to_le_bytes();
        w.put(&fixed).and_then(|()| w.put(&origin)).ok_or(Malformed)?;
        if let Some(text) = entry.text {
            let text_len = u8::try_from(text.bytes.len()).map_err(|_| Malformed)?;
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
