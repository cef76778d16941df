//! Roles of a device: how early it relays, whether it keeps silent when another was faster, and how often it speaks by
//! itself.
//!
//! The facts are those of firmware 2.8. Where they say nothing of a role, it behaves as the plain client does, which is the
//! least that a relay may do.

use core::{fmt, str::FromStr};

use crate::{
    lora::{UnknownName, same_name},
    packet::NodeNum,
};

/// Role of the device; the discriminants are those of Meshtastic's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// Relays, and keeps silent when another was faster.
    #[default]
    Client = 0,
    /// Does not relay.
    ClientMute = 1,
    /// Relays early and always.
    Router = 2,
    /// Deprecated; relays as a client does.
    RouterClient = 3,
    /// Deprecated; relays as a client does, and says nothing of its own accord.
    Repeater = 4,
    /// Relays as a client does. Its periods are not stretched in a large mesh.
    Tracker = 5,
    /// As [`Self::Tracker`].
    Sensor = 6,
    /// Relays as a client does.
    Tak = 7,
    /// Relays as a client does, and says nothing of its own accord.
    ClientHidden = 8,
    /// Relays as a client does.
    LostAndFound = 9,
    /// As [`Self::Tracker`].
    TakTracker = 10,
    /// Relays always; late, when another was faster.
    RouterLate = 11,
    /// A client that relays the packets of its favourites as [`Self::RouterLate`] does.
    ClientBase = 12,
}

/// What becomes of a relay that waits when another node is heard to have relayed the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenAnotherWasFaster {
    /// It is taken back.
    KeepSilent,
    /// It goes in its turn.
    RelayAnyway,
    /// It goes, once, after all others have had theirs.
    RelayLate,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 13] = [
        Self::Client,
        Self::ClientMute,
        Self::Router,
        Self::RouterClient,
        Self::Repeater,
        Self::Tracker,
        Self::Sensor,
        Self::Tak,
        Self::ClientHidden,
        Self::LostAndFound,
        Self::TakTracker,
        Self::RouterLate,
        Self::ClientBase,
    ];

    /// Its name: router-late.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ClientMute => "client-mute",
            Self::Router => "router",
            Self::RouterClient => "router-client",
            Self::Repeater => "repeater",
            Self::Tracker => "tracker",
            Self::Sensor => "sensor",
            Self::Tak => "tak",
            Self::ClientHidden => "client-hidden",
            Self::LostAndFound => "lost-and-found",
            Self::TakTracker => "tak-tracker",
            Self::RouterLate => "router-late",
            Self::ClientBase => "client-base",
        }
    }

    /// Whether it passes on packets of others at all.
    pub const fn relays(self) -> bool {
        !matches!(self, Self::ClientMute)
    }

    /// Whether it relays in the slots that clients leave free.
    pub(super) const fn relays_early(self) -> bool {
        matches!(self, Self::Router)
    }

    /// `favourite`: the packet is from or to a favourite. The facts name the favourites and not the direction; a base that
    /// served its favourite's questions and not the answers would be of no use to it.
    pub(super) const fn when_another_was_faster(self, favourite: bool) -> WhenAnotherWasFaster {
        match self {
            Self::Router => WhenAnotherWasFaster::RelayAnyway,
            Self::RouterLate => WhenAnotherWasFaster::RelayLate,
            Self::ClientBase if favourite => WhenAnotherWasFaster::RelayLate,
            _ => WhenAnotherWasFaster::KeepSilent,
        }
    }

    /// Whether it sends NodeInfo, position and telemetry by itself. The facts say so of the repeater only; the hidden client
    /// is named for it, and silence is never the wrong side to err on.
    pub const fn broadcasts(self) -> bool {
        !matches!(self, Self::Repeater | Self::ClientHidden)
    }

    /// Infrastructure: position and telemetry every 12 hours instead of every hour, and 10 % of the air in EU_866.
    pub const fn is_infrastructure(self) -> bool {
        matches!(self, Self::Router | Self::RouterLate)
    }

    /// Whether its periods are stretched when more than 40 nodes are heard.
    pub const fn yields_to_a_large_mesh(self) -> bool {
        !matches!(self, Self::Router | Self::RouterLate | Self::Sensor | Self::Tracker | Self::TakTracker)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownName;
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|role| same_name(role.name(), text)).ok_or(UnknownName)
    }
}

/// Favourites of a [`Role::ClientBase`]; the list has no more places.
pub const FAVOURITES: usize = 16;

/// A list of favourites.
pub type Favourites = heapless::Vec<NodeNum, FAVOURITES>;
