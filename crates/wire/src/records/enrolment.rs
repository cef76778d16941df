//! The enrolment record: what makes a node a member of a swarm, as protobuf and as a line of text.
//!
//! The text form is `compotastic:` and base64url (RFC 4648, no padding) of the record and the first 4 bytes of its
//! SHA-256: fit for a QR code, a file, or a person's clipboard, and a misread letter shows. The check is no seal: who
//! holds the text holds the swarm's keys.

use core::fmt;

use heapless::{String, Vec};
use sha2::{Digest, Sha256};

use super::proto::{RecordError, Value, Writer, read};
use crate::{KeyRing, PORT, SwarmKey};

/// Most operator keys.
pub const MAX_OPERATORS: usize = 3;
/// Longest channel name: Meshtastic's.
pub const MAX_CHANNEL_NAME: usize = 11;
/// Longest name of a region or preset.
pub const MAX_NAME: usize = 15;
/// Longest encoding in bytes.
pub const MAX_ENROLMENT: usize = 219;
/// Longest text form.
pub const MAX_ENROLMENT_TEXT: usize = SCHEME.len() + ((MAX_ENROLMENT + CHECK) * 4).div_ceil(3);

const SCHEME: &str = "compotastic:";
const CHECK: usize = 4;

/// What makes a node a member of a swarm. Its `Debug` form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentRecord {
    /// Names the swarm.
    pub swarm_id: [u8; 8],
    /// Name of the SECONDARY channel, 1 to 11 bytes.
    pub channel_name: String<MAX_CHANNEL_NAME>,
    /// Its key, 16 or 32 bytes.
    pub channel_key: Vec<u8, 32>,
    /// Key of the frames' MAC.
    pub swarm_key: SwarmKey,
    /// Its epoch.
    pub epoch: u8,
    /// Ed25519 public keys of the operators, at least one.
    pub operator_keys: Vec<[u8; 32], MAX_OPERATORS>,
    /// Region, as its usual name: EU_868.
    pub region: String<MAX_NAME>,
    /// Preset, as its usual name: LONG_FAST.
    pub preset: String<MAX_NAME>,
    /// Port of the profile, 258..=511.
    pub port: u16,
    /// Hop limit of packets that cross the mesh, 0..=7.
    pub hop_limit: u8,
}

impl fmt::Debug for EnrolmentRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentRecord")
            .field("swarm_id", &self.swarm_id)
            .field("channel_name", &self.channel_name)
            .field("epoch", &self.epoch)
            .field("operator_keys", &self.operator_keys.len())
            .field("region", &self.region)
            .field("preset", &self.preset)
            .field("port", &self.port)
            .field("hop_limit", &self.hop_limit)
            .finish_non_exhaustive()
    }
}

/// Why a text is not an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolmentTextError {
    /// It does not begin with `compotastic:`.
    Scheme,
    /// The character at this byte (from 0) cannot stand there.
    Character(usize),
    /// Cut short, or longer than any enrolment.
    Length,
    /// Its check does not match: some character is wrong.
    Check,
    /// Whole, but not a record that this version takes.
    Record(RecordError),
}

impl fmt::Display for EnrolmentTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => write!(f, "not an enrolment: it must begin with {SCHEME}"),
            Self::Character(at) => write!(f, "enrolment is damaged: character {} cannot stand there", at + 1),
            Self::Length => f.write_str("enrolment is cut short or too long: copy or scan the whole line"),
            Self::Check => {
                f.write_str("enrolment is damaged: its check does not match; copy or scan it again")
            }
            Self::Record(error) => write!(f, "enrolment cannot be used: {error}"),
        }
    }
}

impl core::error::Error for EnrolmentTextError {}

/// What has been read of a record so far.
#[derive(Default)]
struct Draft {
    swarm_id: Option<[u8; 8]>,
    channel_name: String<MAX_CHANNEL_NAME>,
    channel_key: Vec<u8, 32>,
    swarm_key: Option<[u8; 16]>,
    epoch: u8,
    operator_keys: Vec<[u8; 32], MAX_OPERATORS>,
    region: String<MAX_NAME>,
    preset: String<MAX_NAME>,
    port: u16,
    hop_limit: u8,
}

fn text<const N: usize>(value: Value<'_>, field: &'static str) -> Result<String<N>, RecordError> {
    let text = core::str::from_utf8(value.bytes(field)?).map_err(|_| RecordError::Field(field))?;
    String::try_from(text).map_err(|_| RecordError::Field(field))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

impl EnrolmentRecord {
    /// Reads a record; unknown fields are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut draft = Draft { port: PORT, ..Draft::default() };
        read(bytes, |field, value| {
            match field {
                1 => draft.swarm_id = Some(value.array("swarm_id")?),
                2 => draft.channel_name = text(value, "channel_name")?,
                3 => {
                    let key = Vec::from_slice(value.bytes("channel_key")?);
                    draft.channel_key = key.map_err(|_| RecordError::Field("channel_key"))?;
                }
                4 => draft.swarm_key = Some(value.array("swarm_key")?),
                5 => draft.epoch = value.byte(u8::MAX, "epoch")?,
                6 => {
                    let key = value.array("operator_keys")?;
                    draft.operator_keys.push(key).map_err(|_| RecordError::TooMany("operator_keys"))?;
                }
                7 => draft.region = text(value, "region")?,
                8 => draft.preset = text(value, "preset")?,
                9 => {
                    let port = value.short("port")?;
                    draft.port = if port == 0 { PORT } else { port };
                }
                10 => draft.hop_limit = value.byte(7, "hop_limit")?,
                _ => {}
            }
            Ok(())
        })?;
        let record = Self {
            swarm_id: draft.swarm_id.ok_or(RecordError::Missing("swarm_id"))?,
            channel_name: draft.channel_name,
            channel_key: draft.channel_key,
            swarm_key: SwarmKey(draft.swarm_key.ok_or(RecordError::Missing("swarm_key"))?),
            epoch: draft.epoch,
            operator_keys: draft.operator_keys,
            region: draft.region,
            preset: draft.preset,
            port: draft.port,
            hop_limit: draft.hop_limit,
        };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), RecordError> {
        let there = [
            (!self.channel_name.is_empty(), "channel_name"),
            (!self.channel_key.is_empty(), "channel_key"),
            (!self.operator_keys.is_empty(), "operator_keys"),
            (!self.region.is_empty(), "region"),
            (!self.preset.is_empty(), "preset"),
        ];
        if let Some((_, field)) = there.iter().find(|(holds, _)| !holds) {
            return Err(RecordError::Missing(field));
        }
        let allowed = [
            (matches!(self.channel_key.len(), 16 | 32), "channel_key"),
            (is_name(&self.region), "region"),
            (is_name(&self.preset), "preset"),
            ((258..=511).contains(&self.port), "port"),
            (self.hop_limit <= 7, "hop_limit"),
        ];
        match allowed.iter().find(|(holds, _)| !holds) {
            Some((_, field)) => Err(RecordError::Field(field)),
            None => Ok(()),
        }
    }

    /// Writes the canonical encoding and returns its length; [`MAX_ENROLMENT`] bytes are always enough. A record that
    /// [`Self::decode`] would refuse is refused here.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, RecordError> {
        self.check()?;
        let mut w = Writer::new(out);
        w.bytes(1, &self.swarm_id)?;
        w.bytes(2, self.channel_name.as_bytes())?;
        w.bytes(3, &self.channel_key)?;
        w.bytes(4, &self.swarm_key.0)?;
        w.number(5, self.epoch.into())?;
        for key in &self.operator_keys {
            w.bytes(6, key)?;
        }
        w.bytes(7, self.region.as_bytes())?;
        w.bytes(8, self.preset.as_bytes())?;
        w.number(9, self.port.into())?;
        w.number(10, self.hop_limit.into())?;
        Ok(w.written())
    }

    /// The keys that a node starts with.
    pub fn key_ring(&self) -> KeyRing {
        KeyRing::new(self.epoch, self.swarm_key.clone())
    }

    /// The text form.
    pub fn to_text(&self) -> Result<String<MAX_ENROLMENT_TEXT>, RecordError> {
        let mut bytes = [0; MAX_ENROLMENT + CHECK];
        let length = self.encode(&mut bytes[..MAX_ENROLMENT])?;
        let check = check_of(&bytes[..length]);
        bytes[length..length + CHECK].copy_from_slice(&check);
        let mut out = String::new();
        out.push_str(SCHEME).map_err(|_| RecordError::NoRoom)?;
        for chunk in bytes[..length + CHECK].chunks(3) {
            let mut word = [0; 4];
            word[1..=chunk.len()].copy_from_slice(chunk);
            let word = u32::from_be_bytes(word);
            for digit in 0..=chunk.len() {
                let value = (word >> (18 - 6 * digit) & 63) as usize;
                out.push(ALPHABET[value] as char).map_err(|_| RecordError::NoRoom)?;
            }
        }
        Ok(out)
    }

    /// Reads the text form; white space around it does not matter, nor the scheme's case.
    pub fn from_text(text: &str) -> Result<Self, EnrolmentTextError> {
        let trimmed = text.trim_start();
        let skipped = text.len() - trimmed.len();
        let trimmed = trimmed.trim_end();
        let (scheme, digits) = trimmed.split_at_checked(SCHEME.len()).ok_or(EnrolmentTextError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(EnrolmentTextError::Scheme);
        }
        let mut bytes: Vec<u8, { MAX_ENROLMENT + CHECK }> = Vec::new();
        for (index, chunk) in digits.as_bytes().chunks(4).enumerate() {
            let mut word = 0;
            for (digit, character) in chunk.iter().enumerate() {
                let at = skipped + SCHEME.len() + 4 * index + digit;
                let value = digit_of(*character).ok_or(EnrolmentTextError::Character(at))?;
                word |= value << (18 - 6 * digit);
            }
            let [_, decoded @ ..] = u32::to_be_bytes(word);
            // A single digit is no byte, and bits that no byte takes up must be zero, so that a record has one text.
            let whole = chunk.len() - 1;
            if whole == 0 || decoded[whole..].iter().any(|byte| *byte != 0) {
                return Err(EnrolmentTextError::Length);
            }
            bytes.extend_from_slice(&decoded[..whole]).map_err(|_| EnrolmentTextError::Length)?;
        }
        let split = bytes.len().checked_sub(CHECK).ok_or(EnrolmentTextError::Length)?;
        let (record, check) = bytes.split_at(split);
        if check_of(record) != check {
            return Err(EnrolmentTextError::Check);
        }
        Self::decode(record).map_err(EnrolmentTextError::Record)
    }
}

fn check_of(record: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::digest(record);
    [hash[0], hash[1], hash[2], hash[3]]
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn digit_of(character: u8) -> Option<u32> {
    ALPHABET.iter().position(|known| *known == character).map(|value| value as u32)
}
