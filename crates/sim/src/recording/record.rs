//! What applications tell: typed records, one byte of kind and the fields in the order given here.

use super::{
    bytes::{Malformed, Take, put_number, put_signed, put_text},
    header::hundredths,
};
use crate::radio::Position;

/// Longest remark, bytes.
const REMARK_MAX: usize = 1000;

/// Why a job ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum JobFailure {
    /// Nobody who could answer was heard of.
    NoExecutor = 1,
    /// No answer came in time.
    NoAnswer = 2,
    /// The executor does not offer the task.
    Unsupported = 3,
}

/// A record of an application. The node is that of the event; other nodes are named by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The node's person sent a message.
    MessageSent {
        /// Its number in this run.
        message: u32,
        /// Destination; `None` for everybody.
        to: Option<u32>,
        /// Bytes of text.
        length: u16,
        /// Repeated until acknowledged.
        want_ack: bool,
        /// How long after it was due, microseconds.
        late_us: u64,
    },
    /// A message was due and the node was not there to send it.
    MessageMissed {
        /// Its number in this run.
        message: u32,
        /// Destination; `None` for everybody.
        to: Option<u32>,
        /// How long ago it was due, microseconds.
        late_us: u64,
    },
    /// A message of another node arrived.
    MessageReceived {
        /// Its number.
        message: u32,
        /// Hops that it took, from 1.
        hops: u8,
    },
    /// A message of this node was acknowledged.
    MessageAcked {
        /// Its number.
        message: u32,
    },
    /// A message of this node was not acknowledged, or found no room in the queue.
    MessageFailed {
        /// Its number.
        message: u32,
    },
    /// A job began at this node.
    JobSubmitted {
        /// Its number at this node.
        job: u32,
    },
    /// A job of this node was answered.
    JobAnswered {
        /// Its number at this node.
        job: u32,
        /// Node number (not index) of who answered.
        by: u32,
        /// Class that was found.
        class: u8,
    },
    /// A job of this node ended without an answer.
    JobFailed {
        /// Its number at this node.
        job: u32,
        /// Why.
        reason: JobFailure,
    },
    /// So much of an object is here.
    ObjectProgress {
        /// Object tag.
        object: u32,
        /// 0..=100; 100 once it is whole and verified.
        percent: u8,
    },
    /// An object was installed and is in use.
    ObjectInstalled {
        /// Object tag; 0 where it is not known.
        object: u32,
        /// Its version.
        version: u32,
    },
    /// The node moved.
    Moved {
        /// East, cm.
        x_cm: i64,
        /// North, cm.
        y_cm: i64,
    },
    /// The node was switched off.
    Off,
    /// The node was switched on.
    On,
    /// Anything else, for people.
    Remark(String),
}

fn put_to(out: &mut Vec<u8>, to: Option<u32>) {
    put_number(out, to.map_or(0, |node| u64::from(node) + 1));
}

fn take_to(take: &mut Take<'_>) -> Result<Option<u32>, Malformed> {
    let value = take.up_to(u64::from(u32::MAX) + 1, "a destination")?;
    Ok(value.checked_sub(1).map(|node| node as u32))
}

impl Record {
    /// A remark, cut to what a record may hold.
    pub fn remark(text: &str) -> Self {
        let end = (0..=REMARK_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Self::Remark(text[..end].to_string())
    }

    /// The record of a move.
    pub fn moved(to: Position) -> Self {
        Self::Moved { x_cm: hundredths(to.x_m), y_cm: hundredths(to.y_m) }
    }

    /// Adds the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::MessageSent { message, to, length, want_ack, late_us } => {
                out.push(1);
                put_number(out, u64::from(*message));
                put_to(out, *to);
                put_number(out, u64::from(*length));
                out.push(u8::from(*want_ack));
                put_number(out, *late_us);
            }
            Self::MessageMissed { message, to, late_us } => {
                out.push(2);
                put_number(out, u64::from(*message));
                put_to(out, *to);
                put_number(out, *late_us);
            }
            Self::MessageReceived { message, hops } => {
                out.push(3);
                put_number(out, u64::from(*message));
                out.push(*hops);
            }
            Self::MessageAcked { message } => {
                out.push(4);
                put_number(out, u64::from(*message));
            }
            Self::MessageFailed { message } => {
                out.push(5);
                put_number(out, u64::from(*message));
            }
            Self::JobSubmitted { job } => {
                out.push(6);
                put_number(out, u64::from(*job));
            }
            Self::JobAnswered { job, by, class } => {
                out.push(7);
                put_number(out, u64::from(*job));
                put_number(out, u64::from(*by));
                out.push(*class);
            }
            Self::JobFailed { job, reason } => {
                out.push(8);
                put_number(out, u64::from(*job));
                out.push(*reason as u8);
            }
            Self::ObjectProgress { object, percent } => {
                out.push(9);
                put_number(out, u64::from(*object));
                out.push(*percent);
            }
            Self::ObjectInstalled { object, version } => {
                out.push(10);
                put_number(out, u64::from(*object));
                put_number(out, u64::from(*version));
            }
            Self::Moved { x_cm, y_cm } => {
                out.push(11);
                put_signed(out, *x_cm);
                put_signed(out, *y_cm);
            }
            Self::Off => out.push(12),
            Self::On => out.push(13),
            Self::Remark(text) => {
                out.push(14);
                put_text(out, text);
            }
        }
    }

    /// Reads a record; each has one form.
    pub fn decode(data: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(data, 0);
        let record = match take.byte()? {
            1 => Self::MessageSent {
                message: take.small("a message")?,
                to: take_to(&mut take)?,
                length: take.small("a length")?,
                want_ack: match take.byte()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed::Value("want_ack")),
                },
                late_us: take.number()?,
            },
            2 => Self::MessageMissed {
                message: take.small("a message")?,
                to: take_to(&mut take)?,
                late_us: take.number()?,
            },
            3 => Self::MessageReceived { message: take.small("a message")?, hops: take.byte()? },
            4 => Self::MessageAcked { message: take.small("a message")? },
            5 => Self::MessageFailed { message: take.small("a message")? },
            6 => Self::JobSubmitted { job: take.small("a job")? },
            7 => Self::JobAnswered {
                job: take.small("a job")?,
                by: take.small("a node number")?,
                class: take.byte()?,
            },
            8 => Self::JobFailed {
                job: take.small("a job")?,
                reason: match take.byte()? {
                    1 => JobFailure::NoExecutor,
                    2 => JobFailure::NoAnswer,
                    3 => JobFailure::Unsupported,
                    _ => return Err(Malformed::Value("a reason")),
                },
            },
            9 => Self::ObjectProgress {
                object: take.small("an object")?,
                percent: Some(take.byte()?)
                    .filter(|it| *it <= 100)
                    .ok_or(Malformed::Value("a percentage"))?,
            },
            10 => {
                Self::ObjectInstalled { object: take.small("an object")?, version: take.small("a version")? }
            }
            11 => Self::Moved { x_cm: take.signed()?, y_cm: take.signed()? },
            12 => Self::Off,
            13 => Self::On,
            14 => {
                let text = take.text()?;
                if text.len() > REMARK_MAX {
                    return Err(Malformed::Value("a remark's length"));
                }
                Self::Remark(text.to_string())
            }
            other => return Err(Malformed::Kind(other)),
        };
        take.done()?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let reason = prop_oneof![
            Just(JobFailure::NoExecutor),
            Just(JobFailure::NoAnswer),
            Just(JobFailure::Unsupported)
        ];
        prop_oneof![
            any::<(u32, Option<u32>, u16, bool, u64)>().prop_map(
                |(message, to, length, want_ack, late_us)| Record::MessageSent {
                    message,
                    to,
                    length,
                    want_ack,
                    late_us
                }
            ),
            any::<(u32, Option<u32>, u64)>().prop_map(|(message, to, late_us)| Record::MessageMissed {
                message,
                to,
                late_us
            }),
            any::<(u32, u8)>().prop_map(|(message, hops)| Record::MessageReceived { message, hops }),
            any::<u32>().prop_map(|message| Record::MessageAcked { message }),
            any::<u32>().prop_map(|message| Record::MessageFailed { message }),
            any::<u32>().prop_map(|job| Record::JobSubmitted { job }),
            any::<(u32, u32, u8)>().prop_map(|(job, by, class)| Record::JobAnswered { job, by, class }),
            (any::<u32>(), reason).prop_map(|(job, reason)| Record::JobFailed { job, reason }),
            (any::<u32>(), 0u8..=100)
                .prop_map(|(object, percent)| Record::ObjectProgress { object, percent }),
            any::<(u32, u32)>().prop_map(|(object, version)| Record::ObjectInstalled { object, version }),
            any::<(i64, i64)>().prop_map(|(x_cm, y_cm)| Record::Moved { x_cm, y_cm }),
            Just(Record::Off),
            Just(Record::On),
            ".{0,400}".prop_map(|text| Record::remark(&text)),
        ]
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn records_come_back(record in any_record()) {
            let mut out = Vec::new();
            record.encode(&mut out);
            prop_assert_eq!(Record::decode(&out), Ok(record));
            // None is the beginning of another.
            for cut in 0..out.len() {
                prop_assert!(Record::decode(&out[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_refused_or_have_one_form(
            kind in 0u8..16,
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = [&[kind][..], &rest].concat();
            if let Ok(record) = Record::decode(&bytes) {
                let mut out = Vec::new();
                record.encode(&mut out);
                prop_assert_eq!(out, bytes);
            }
        }
    }

    #[test]
    fn long_remarks_are_cut_between_characters() {
        let Record::Remark(text) = Record::remark(&"ä".repeat(900)) else { panic!("a remark") };
        assert_eq!(text, "ä".repeat(500));
    }
}
