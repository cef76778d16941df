//! What is wrong with a link, in a form that a program can sort and a person can act on.

use std::fmt;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The device file, host name or Bluetooth name does not exist.
    Missing,
    /// The file exists and may not be opened.
    Permission,
    /// Another program has it.
    Busy,
    /// The host refuses the connection.
    Refused,
    /// The host or network does not answer.
    Unreachable,
    /// Bytes come that are no client API, as at a wrong baud rate.
    WrongBaud,
    /// Whoever answers is no Meshtastic device.
    NotMeshtastic,
    /// Nothing comes.
    Silent,
    /// The other side closed the connection.
    Closed,
    /// A user or password is not accepted.
    Refusal,
    /// Whoever answers cannot prove to be who it should be.
    Untrusted,
    /// What is needed is not on this machine (Bluetooth service, multicast).
    Unavailable,
    /// The radio is too old, or says nothing that we understand.
    Unsupported,
    /// Any other error of the operating system.
    Other,
}

/// A fault: what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// What is wrong, for a person.
    pub what: String,
    /// The next step.
    pub mend: String,
}

impl Fault {
    /// A fault.
    pub fn new(kind: FaultKind, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { kind, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.mend)
    }
}

impl std::error::Error for Fault {}
