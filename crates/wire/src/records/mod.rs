//! Control records: protobuf messages of `proto/compotastic.proto`, read and written without an allocator.

pub mod capability;
pub mod enrolment;
mod proto;
pub mod rotation;

pub use proto::RecordError;

use sha2::{Digest, Sha256};

/// The short name of a record: the first 4 bytes of the SHA-256 of its canonical encoding, little-endian.
pub fn record_hash(canonical: &[u8]) -> u32 {
    let hash = Sha256::digest(canonical);
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]])
}
