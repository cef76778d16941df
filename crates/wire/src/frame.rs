//! What each frame class says. [`crate::body`] has the bytes.

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
    /// One number that stands for all that a node knows of the members.
    SyncDigest = 11,
    /// Which version of which member's record a node has.
    SyncList = 12,
    /// Members' records.
    SyncRecords = 13,
}

impl FrameClass {
    /// All classes.
    pub const ALL: [Self; 13] = [
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
        Self::SyncDigest,
        Self::SyncList,
        Self::SyncRecords,
    ];

    /// The class of a number.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let mut index = 0;
        while index < Self::ALL.len() {
            if Self::ALL[index] as u8 == bits {
                return Some(Self::ALL[index]);
            }
            index += 1;
        }
        None
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
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
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
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
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
    pub(crate) entries: &'a [u8],
}

/// One number that stands for all that a node knows of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncDigest {
    /// Sum of the hashes of all (member, version) pairs.
    pub digest: u64,
}

/// How the entries of a [`SyncList`] name their members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyncForm {
    /// Two bytes each: index among the members in the order of their numbers, version.
    Indexed = 0,
    /// Five bytes each: node number, version.
    Named = 1,
    /// One byte for each member in the order of their numbers: version.
    Vector = 2,
    /// One byte for each member in the order of their numbers: bits 15..8 of its term.
    Checks = 3,
}

impl SyncForm {
    /// Bytes of an entry.
    pub const fn entry_len(self) -> usize {
        match self {
            Self::Indexed => 2,
            Self::Named => 5,
            Self::Vector | Self::Checks => 1,
        }
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Indexed,
            1 => Self::Named,
            2 => Self::Vector,
            3 => Self::Checks,
            _ => return None,
        })
    }
}

/// Which version of which member's record a node has: what changed last here, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncList<'a> {
    /// As in [`SyncDigest`]: of the members that are not listed; where all are, of all.
    pub digest: u64,
    /// Stands for the members' numbers: indices mean something only to who has the same members.
    pub membership: u16,
    /// Number of members.
    pub members: u8,
    /// How the entries name their members.
    pub form: SyncForm,
    /// The entries.
    pub entries: &'a [u8],
}

/// Members' records, as their owners made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRecords<'a> {
    /// As in [`SyncDigest`].
    pub digest: u64,
    pub(crate) items: &'a [u8],
}

/// One record of a [`SyncRecords`] frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncItem<'a> {
    /// Whose.
    pub node: u32,
    /// Which version, modulo 256.
    pub version: u8,
    /// The record.
    pub bytes: &'a [u8],
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
    /// See [`SyncDigest`].
    SyncDigest(SyncDigest),
    /// See [`SyncList`].
    SyncList(SyncList<'a>),
    /// See [`SyncRecords`].
    SyncRecords(SyncRecords<'a>),
}
