//! Which packets of others a node handles and relays: the rebroadcast modes, and the limits per sender that stock nodes
//! with traffic management have.
//!
//! All tables are bounded. A full one forgets whom it heard of longest ago, so a stranger with many names can make a node
//! relay more than its limits say, and never makes it relay less of others.

use core::{fmt, str::FromStr};

use heapless::Vec;

use super::{Router, roles::Favourites};
use crate::{
    lora::{UnknownName, same_name},
    modules::NODEINFO_PORT,
    packet::{Header, NodeNum},
    time::{Duration, Instant},
};

/// Senders whose packets are counted at a time.
pub const SENDERS: usize = 32;
/// Nodes whose NodeInfo is remembered.
pub const KNOWN: usize = 64;
/// Packets of a sender are counted for this time from the first one on: "about 5 min" in the facts.
const WINDOW: Duration = Duration::from_secs(300);
/// Ports that [`Rebroadcast::CorePortnumsOnly`] lets pass.
const CORE_PORTS: [u16; 13] = [1, 3, 4, 5, 6, 7, 8, 11, 12, 35, 65, 67, 70];

/// Which packets of others are relayed; the discriminants are those of Meshtastic's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Rebroadcast {
    /// All, readable or not.
    #[default]
    All = 0,
    /// All, without looking into them: only what is addressed to this node is read.
    AllSkipDecoding = 1,
    /// What a channel of this node can read.
    LocalOnly = 2,
    /// What a channel of this node can read, from nodes whose NodeInfo came before.
    KnownOnly = 3,
    /// None.
    None = 4,
    /// What cannot be read, and what can if its port is one of the core; other ports are not even delivered.
    CorePortnumsOnly = 5,
}

impl Rebroadcast {
    /// All modes.
    pub const ALL: [Self; 6] = [
        Self::All,
        Self::AllSkipDecoding,
        Self::LocalOnly,
        Self::KnownOnly,
        Self::None,
        Self::CorePortnumsOnly,
    ];

    /// Its name: local-only.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::AllSkipDecoding => "all-skip-decoding",
            Self::LocalOnly => "local-only",
            Self::KnownOnly => "known-only",
            Self::None => "none",
            Self::CorePortnumsOnly => "core-portnums-only",
        }
    }
}

impl fmt::Display for Rebroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rebroadcast {
    type Err = UnknownName;
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|mode| same_name(mode.name(), text)).ok_or(UnknownName)
    }
}

/// What a node relays of others. The default relays all, as stock nodes do unless they are told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relaying {
    /// Mode.
    pub rebroadcast: Rebroadcast,
    /// So many packets of one sender that cannot be read are relayed in 5 minutes; `None` = any number. Has no effect
    /// with [`Rebroadcast::AllSkipDecoding`], which reads none.
    pub unknown_limit: Option<u16>,
    /// So many packets of one sender are relayed in 5 minutes, readable or not; `None` = any number. That stock nodes
    /// have such a limit is a fact; that it counts over the same time as the other is an assumption.
    pub sender_limit: Option<u16>,
    /// Favourites, for [`super::Role::ClientBase`].
    pub favourites: Favourites,
}

/// What becomes of a packet of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The settings forbid to deliver it and to relay it.
    Ignored,
    /// The settings forbid to relay it.
    Kept,
    /// It may be relayed.
    Open,
    /// Relayed, or given up in favour of another relay: further copies are not relayed.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    from: NodeNum,
    since: Instant,
    packets: u16,
    unknown: u16,
}

/// Who sent how much lately, and who has told who it is.
#[derive(Debug, Default)]
pub(super) struct Senders {
    counted: Vec<Sender, SENDERS>,
    /// Longest unheard first.
    known: Vec<NodeNum, KNOWN>,
}

impl Senders {
    /// Counts a packet, and says whether it is within the limits.
    fn count(&mut self, now: Instant, from: NodeNum, readable: bool, limits: &Relaying) -> bool {
        if limits.unknown_limit.is_none() && limits.sender_limit.is_none() {
            return true;
        }
        let new = Sender { from, since: now, packets: 0, unknown: 0 };
        let index = self.counted.iter().position(|sender| sender.from == from).unwrap_or_else(|| {
            if self.counted.is_full()
                && let Some(oldest) = (0..SENDERS).min_by_key(|index| self.counted[*index].since)
            {
                self.counted.swap_remove(oldest);
            }
            let _ = self.counted.push(new);
            self.counted.len() - 1
        });
        let sender = &mut self.counted[index];
        if now.saturating_duration_since(sender.since) >= WINDOW {
            *sender = new;
        }
        sender.packets = sender.packets.saturating_add(1);
        sender.unknown = sender.unknown.saturating_add(u16::from(!readable));
        let within = |count: u16, limit: Option<u16>| limit.is_none_or(|limit| count <= limit);
        within(sender.packets, limits.sender_limit)
            && (readable || within(sender.unknown, limits.unknown_limit))
    }

    /// Whether the node was known before this packet, by which it is heard of again.
    fn is_known(&mut self, from: NodeNum) -> bool {
        let Some(index) = self.known.iter().position(|known| *known == from) else { return false };
        self.known[index..].rotate_left(1);
        true
    }

    fn learn(&mut self, from: NodeNum) {
        if self.known.is_full() {
            self.known.remove(0);
        }
        let _ = self.known.push(from);
    }
}

impl Router {
    /// What the settings allow with a packet of another node that is heard for the first time.
    pub(super) fn judge(&mut self, now: Instant, header: &Header, data: &[u8]) -> Fate {
        let mode = self.config.relaying.rebroadcast;
        let looks = mode != Rebroadcast::All || self.config.relaying.unknown_limit.is_some();
        let port = if looks { self.read(header, data, |data, _| data.port) } else { None };
        let core = port.is_none_or(|port| CORE_PORTS.contains(&port));
        let mut relay = match mode {
            Rebroadcast::All | Rebroadcast::AllSkipDecoding => true,
            Rebroadcast::LocalOnly => port.is_some(),
            Rebroadcast::KnownOnly => {
                // The facts do not say whether the NodeInfo that makes a node known is relayed itself. Here it is not:
                // what we count on must work with the strictest relay.
                let known = self.senders.is_known(header.from);
                if !known && port == Some(NODEINFO_PORT) {
                    self.senders.learn(header.from);
                }
                known && port.is_some()
            }
            Rebroadcast::None => false,
            Rebroadcast::CorePortnumsOnly => core,
        };
        if header.to != self.config.num {
            // Whoever reads nothing cannot tell what it could not read.
            let readable = port.is_some() || mode == Rebroadcast::AllSkipDecoding;
            relay &= self.senders.count(now, header.from, readable, &self.config.relaying);
        }
        match relay {
            true => Fate::Open,
            false if mode == Rebroadcast::CorePortnumsOnly && !core => Fate::Ignored,
            false => Fate::Kept,
        }
    }
}
