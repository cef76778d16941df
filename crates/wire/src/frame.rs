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
    /// Which generations of an object a node can serve.
    Advert = 10,
    /// One number that stands for all that a node knows of the members.
    SyncDigest = 11,
    /// Which version of which member's record a node has.
    SyncList = 12,
    /// Members' records.
    SyncRecords = 13,
    /// A further part of a question or an answer that is longer than a frame.
    Part = 14,
    /// Asks for parts that are missing.
    PartRequest = 15,
}

impl FrameClass {
    /// All classes.
    pub const ALL: [Self; 16] = [
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
        Self::Advert,
        Self::SyncDigest,
        Self::SyncList,
        Self::SyncRecords,
        Self::Part,
        Self::PartRequest,
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
    /// Who is heard directly.
    pub neighbours: Neighbours,
}

/// Direct neighbours by two bytes each ([`Neighbours::short`]), in rising order. Two nodes may share a name: then one of them may be
/// thought to be reached where it is not, and has to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    names: [u16; Self::MAX],
    length: u8,
}

impl Neighbours {
    /// Most that a beacon names.
    pub const MAX: usize = 24;

    /// The short name of a node; never 0, which stands for nobody.
    pub const fn short(num: u32) -> u16 {
        let folded = (num ^ num >> 16) as u16;
        if folded == 0 { u16::MAX } else { folded }
    }

    /// Adds a node; false if there is no room, or its name is there.
    pub fn insert(&mut self, num: u32) -> bool {
        let short = Self::short(num);
        let at = self.names().partition_point(|name| *name < short);
        if self.names().get(at) == Some(&short) || usize::from(self.length) == Self::MAX {
            return false;
        }
        self.names.copy_within(at..usize::from(self.length), at + 1);
        self.names[at] = short;
        self.length += 1;
        true
    }

    /// Whether a node is named.
    pub fn contains(&self, num: u32) -> bool {
        self.names().binary_search(&Self::short(num)).is_ok()
    }

    /// The short names.
    pub fn names(&self) -> &[u16] {
        &self.names[..usize::from(self.length)]
    }

    /// From bytes on the air: names rising, each once, no more than [`Self::MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > Self::MAX {
            return Err(Malformed);
        }
        let mut list = Self { length: pairs.len() as u8, ..Self::default() };
        for (name, pair) in list.names.iter_mut().zip(pairs) {
            *name = u16::from_le_bytes(*pair);
        }
        if !list.names().is_sorted_by(|a, b| a < b) || list.names().first() == Some(&0) {
            return Err(Malformed);
        }
        Ok(list)
    }
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
    /// Flag: answers questions in words (kind 1), and reads codecs 0 and 1.
    pub const CHAT: u8 = 16;
    /// Flag: turns texts into vectors (kind 2), and reads codecs 0 and 1.
    pub const EMBED: u8 = 32;
    /// Flag: the firmware that the object of this beacon makes runs on the node, and has passed its trial.
    pub const RUNS: u8 = 64;
}

/// A job. A directed one names its executor in the packet header; an open call is a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Kind of job, 0..=15: 0 classify, 1 chat, 2 embed.
    pub kind: u8,
    /// Service order, 0..=3.
    pub priority: u8,
    /// Executors shall offer, not execute.
    pub wants_offers: bool,
    /// Task, of kind 0; of kind 1 the longest answer that is wanted, in 16 characters each, 0 = any.
    pub task: u8,
    /// Deadline, see [`crate::deadline_seconds`].
    pub deadline_code: u8,
    /// Reserved for wake schedules, 0..=15.
    pub wake: u8,
    /// For a repetition: this packet's id minus the first one's.
    pub back: Option<u16>,
    /// Codec of the text, and of kinds 1 and 2 the number of further parts: see [`crate::split_codec`].
    pub codec: u8,
    /// The coded text, or its first part.
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
    /// At work on it: no need to ask again soon.
    Working = 6,
    /// It was tried and came to nothing; the class index says why.
    Failed = 7,
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
            6 => Self::Working,
            7 => Self::Failed,
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
    /// Class index; with a text of kinds 1 and 2 its tag, as in [`Part`].
    pub class: u8,
    /// Low 8 bits of the model's version, or a byte that stands for its name.
    pub model_version: u8,
    /// Codec (and number of further parts, see [`crate::split_codec`]) and coded text or its first part, for answers that are more
    /// than a class.
    pub text: Option<(u8, &'a [u8])>,
}

/// A further part of a question or an answer. The first travels in the [`Request`] or the [`JobResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Low bits of the packet id of the job's first request.
    pub job: u16,
    /// Which part, from 1.
    pub part: u8,
    /// Of how many, 2..=7.
    pub parts: u8,
    /// Of the answer; else of the question.
    pub of_answer: bool,
    /// Stands for the whole: parts of two answers to one question, which a restart can bring about, must not be joined.
    pub tag: u8,
    /// Bytes of the part, at least one.
    pub bytes: &'a [u8],
}

/// Asks for parts that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRequest {
    /// Low bits of the packet id of the job's first request.
    pub job: u16,
    /// Of the answer; else of the question.
    pub of_answer: bool,
    /// Bit n: part n is missing; 1..=127.
    pub missing: u8,
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
    /// Symbols of this generation that the sender is still to send, this one not counted; 255 = 255 or more. Whoever lacks
    /// more than that asks when it is 0.
    pub more: u8,
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
    /// Short name of the node that is asked ([`Neighbours::short`]); 0 = whoever can.
    pub server: u16,
    /// Generations that are not complete here, bit n for generation n.
    pub lacking: u16,
    /// Only pieces as they are; bit n is set where piece n is missing.
    pub uncoded: Option<&'a [u8]>,
}

/// A node can serve an object, as far as it is complete there. Sent when neighbours seem to lack it, to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Object.
    pub object_tag: u32,
    /// Generations that are complete, bit n for generation n.
    pub complete: u16,
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
    /// X25519 public key of the sender, by which the keys of the next epoch are sealed for it.
    NodeKey = 5,
    /// Keys of the next epoch, sealed for one member and signed by an operator (protobuf).
    KeyRotation = 6,
    /// The sender has the keys of the next epoch.
    KeyReceipt = 7,
    /// All have them: they come into force soon.
    KeySwitch = 8,
}

impl RecordType {
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Capability,
            2 => Self::Manifest,
            3 => Self::Delegation,
            4 => Self::Revocation,
            5 => Self::NodeKey,
            6 => Self::KeyRotation,
            7 => Self::KeyReceipt,
            8 => Self::KeySwitch,
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
    /// See [`Advert`].
    Advert(Advert),
    /// See [`SyncDigest`].
    SyncDigest(SyncDigest),
    /// See [`SyncList`].
    SyncList(SyncList<'a>),
    /// See [`SyncRecords`].
    SyncRecords(SyncRecords<'a>),
    /// See [`Part`].
    Part(Part<'a>),
    /// See [`PartRequest`].
    PartRequest(PartRequest),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of the nodes that have these names: numbers from 1 to 0xFFFF are their own.
    fn list(names: &[u16]) -> Neighbours {
        let mut list = Neighbours::default();
        for name in names {
            assert_eq!(Neighbours::short(u32::from(*name)), *name);
            assert!(list.insert(u32::from(*name)), "{name}");
        }
        list
    }

    /// The list that names are on the air.
    fn read(names: &[u16]) -> Result<Neighbours, Malformed> {
        let mut bytes = [0; 2 * Neighbours::MAX + 2];
        for (pair, name) in bytes.as_chunks_mut().0.iter_mut().zip(names) {
            *pair = name.to_le_bytes();
        }
        Neighbours::from_bytes(&bytes[..2 * names.len()])
    }

    #[test]
    fn neighbours_rise_whatever_order_they_came_in() {
        // Numbers, not bytes: 0x0100 is after 0x00FF.
        let rising = [3, 0xFF, 0x0100, 0xFFFF];
        for names in [[0x0100, 3, 0xFFFF, 0xFF], [0xFFFF, 0x0100, 0xFF, 3], rising] {
            assert_eq!(list(&names).names(), rising);
        }
    }

    #[test]
    fn a_name_is_there_once() {
        let mut near = list(&[3, 9]);
        // The same node, and another with the same name.
        let twin = 0x0001_0008;
        assert_eq!(Neighbours::short(twin), 9);
        assert!(!near.insert(9) && !near.insert(twin));
        assert_eq!(near.names(), [3, 9]);
        assert!(near.contains(9) && near.contains(twin) && !near.contains(4));
        assert!(!Neighbours::default().contains(0));
    }

    #[test]
    fn the_list_ends_at_its_bound() {
        let full: [u16; Neighbours::MAX] = core::array::from_fn(|index| 1000 * (index as u16 + 1));
        let mut near = list(&full);
        for num in [1, 5000, 5001, 0xFFFF] {
            assert!(!near.insert(num));
        }
        assert_eq!(near.names(), full);
        assert_eq!(read(&full), Ok(near));
    }

    #[test]
    fn lists_that_do_not_rise_or_are_too_long_or_name_nobody_are_malformed() {
        let long: [u16; Neighbours::MAX + 1] = core::array::from_fn(|index| index as u16 + 1);
        assert!(read(&long[1..]).is_ok());
        for wrong in [&long[..], &[9, 3], &[3, 3], &[1, 2, 3, 3], &[0x0100, 0x00FF], &[0], &[0, 7]] {
            assert_eq!(read(wrong), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(Neighbours::from_bytes(&[]), Ok(Neighbours::default()));
        for odd in [&[1][..], &[1, 0, 2]] {
            assert_eq!(Neighbours::from_bytes(odd), Err(Malformed), "{odd:?}");
        }
        let back = Neighbours::from_bytes(&[7, 0, 0, 1, 255, 255]).unwrap();
        assert_eq!(back, list(&[0xFFFF, 0x0100, 7]));
        assert!([7, 0x0100, 0xFFFF].iter().all(|num| back.contains(*num)));
    }

    #[test]
    fn each_byte_of_a_number_counts() {
        let all = [0x433D_0B21u32, 0x443D_0B21, 0x433E_0B21, 0x433D_0C21, 0x433D_0B22].map(Neighbours::short);
        assert!(all[1..].iter().all(|short| *short != all[0]), "{all:?}");
    }

    #[test]
    fn no_node_has_the_name_of_nobody() {
        for halves_equal in [0, 0x1234_1234, u32::MAX] {
            assert_eq!(Neighbours::short(halves_equal), 0xFFFF);
        }
        // Within one upper half only the two that would be 0 and 0xFFFF share a name.
        let mut seen = [false; 1 << 16];
        let mut shared = 0;
        for num in 0x433D_0000..=0x433D_FFFF {
            let name = usize::from(Neighbours::short(num));
            shared += u32::from(core::mem::replace(&mut seen[name], true));
        }
        assert_eq!((shared, seen[0]), (1, false));
    }
}
