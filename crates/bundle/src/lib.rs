//! Signed manifests, delegations, erasure coding and update slots.
//!
//! The way of a bundle through a device:
//!
//! 1. A manifest arrives, in one frame: [`ClaimedManifest::parse`]. [`TrustStore::verify`] checks who signed it and
//!    whether they may: [`VerifiedManifest`].
//! 2. [`Slots::begin`] checks that it is for this device and newer, and prepares the inactive slot.
//! 3. Symbols arrive in any order, some never: [`ObjectReceiver::handle_symbol`] puts verified pieces in their final
//!    place in flash and coded symbols in a spare area, and decodes when there are enough.
//! 4. [`Slots::switch`] checks the whole content and puts it on trial; [`Slots::confirm`] or [`Slots::fall_back`].
//!
//! Native images go the same way to the object store, and from there to a slot of their own: [`boot`].
//!
//! Power may fail inside any flash operation. Whoever holds a whole object serves it: [`Encoder`].
//!
//! Nothing here allocates, reads a clock or draws a random number.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod bits;
mod book;
pub mod boot;
pub mod code;
mod cose;
mod crc;
mod delegation;
mod file;
mod flashstore;
mod gf;
mod manifest;
pub mod matrix;
pub mod object;
mod place;
#[cfg(feature = "ramflash")]
pub mod ramflash;
mod receiver;
mod slotlog;
mod slots;
pub mod solve;
mod spare;
mod suit;
mod trust;

pub use bits::Bits;
pub use book::MAX_SPARE;
pub use code::{Combinations, EncodeError, Encoder};
pub use cose::KeyId;
pub use delegation::{ALL_KEYS, Delegation, MAX_RECORD, Revocation, Rotation, Statement};
pub use file::{BundleFile, FileError};
pub use flashstore::{FlashSource, FlashStore};
pub use gf::TABLE_BYTES;
pub use manifest::{
    Authority, ClaimedManifest, ClassMask, ComponentKind, DEFAULT_PIECE_SIZE, Delta, ImageIdentity, KindMask,
    MAX_ENVELOPE, MAX_NEEDS, MAX_PACKED, Manifest, ManifestError, Need, Needs, VerifiedManifest,
};
pub use object::{
    Layout, ObjectIdentity, ObjectTag, PieceSource, PieceStore, SliceSource, SpareSlot, build_stream,
};
pub use receiver::{FinishError, ObjectReceiver, Outcome, Progress, RECEIVER_BYTES, Refused};
pub use slots::{
    Active, BeginError, Begun, Geometry, MAX_TRIAL_BOOTS, Recovery, SlotError, Slots, SwitchError,
};
pub use trust::{
    Installed, MAX_COMPONENTS, MAX_DELEGATIONS, MAX_REVOCATIONS, MAX_ROOTS, RecordChange, RecordError,
    Refusal, RootState, Target, TrustStore, may_sign, verify,
};

/// Bytes of a control record that one frame carries; records that are longer come in parts.
pub const RECORD_PART: usize = 200;
