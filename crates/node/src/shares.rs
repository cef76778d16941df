//! What holds for every sender of a node, whatever carries its packets: quiet hours, a share of the hour's air for each peer, a share of
//! the air for the background packets of others than the agent, and counts by purpose.
//!
//! [`crate::manners`] adds what is reckoned of a stock radio. A native node has its router's gates and duty cycle instead
//! ([`crate::Station`]).

use compotastic_mesh::{
    packet::NodeNum,
    router::Gate,
    time::{Duration, Instant},
};
use compotastic_wire::FrameClass;
use heapless::Vec;

use crate::{
    governor::Governor,
    manners::{Hold, Wish},
};

/// Peers whose air time is remembered; when the table is full the one who used least makes room.
pub const PEERS: usize = 64;
/// Hour's air where the region has no duty cycle, permille: as much as EU_868 allows.
const UNLIMITED_PERMILLE: u64 = 100;
const HOUR_US: u64 = 3_600_000_000;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Beacons.
    Beacons,
    /// Requests, offers, awards and parts of questions.
    Jobs,
    /// Results and receipts, answers in words with all their parts.
    Results,
    /// Reports to the command post.
    Reports,
    /// Symbols, and what asks for them or offers them.
    Symbols,
    /// Manifests, delegations, capability records and what keeps them alike.
    Records,
    /// Key rotation.
    Keys,
    /// Answers to people on stock phones.
    People,
    /// Texts that somebody at this machine sends.
    Texts,
    /// Packets of programs that share the radio.
    SharedClients,
    /// What a native node says as any Meshtastic node does: who and where it is, acknowledgements, answers of the stock modules.
    Mesh,
    /// Others' packets that a native node passes on over its radio.
    Relays,
    /// Others' packets that go from one link to another.
    Bridged,
}

impl Purpose {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Beacons,
        Self::Jobs,
        Self::Results,
        Self::Reports,
        Self::Symbols,
        Self::Records,
        Self::Keys,
        Self::People,
        Self::Texts,
        Self::SharedClients,
        Self::Mesh,
        Self::Relays,
        Self::Bridged,
    ];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beacons => "beacons",
            Self::Jobs => "jobs",
            Self::Results => "results",
            Self::Reports => "reports",
            Self::Symbols => "symbols",
            Self::Records => "records",
            Self::Keys => "keys",
            Self::People => "people",
            Self::Texts => "texts",
            Self::SharedClients => "shared-clients",
            Self::Mesh => "mesh",
            Self::Relays => "relays",
            Self::Bridged => "bridged",
        }
    }

    /// What a sealed frame of ours is for; its class is readable.
    pub fn of_frame(payload: &[u8]) -> Self {
        let class = payload.first().and_then(|byte| FrameClass::from_bits(byte & 31));
        let record = payload.get(2).copied().unwrap_or(0);
        if matches!(class, Some(FrameClass::Record | FrameClass::RecordRequest)) && (5..=8).contains(&record)
        {
            return Self::Keys;
        }
        // A bit of its place says whether a part is of an answer: all of an answer is its asker's, and not its first frame alone.
        let of_answer = payload.get(4).is_some_and(|place| place & 2 != 0);
        match class {
            Some(FrameClass::Part) if of_answer => Self::Results,
            Some(FrameClass::Beacon) => Self::Beacons,
            Some(FrameClass::Result) => Self::Results,
            Some(FrameClass::Report) => Self::Reports,
            Some(FrameClass::Symbol | FrameClass::SymbolRequest | FrameClass::Advert) => Self::Symbols,
            Some(
                FrameClass::Record
                | FrameClass::RecordRequest
                | FrameClass::SyncDigest
                | FrameClass::SyncList
                | FrameClass::SyncRecords,
            ) => Self::Records,
            _ => Self::Jobs,
        }
    }
}

impl Purpose {
    /// Bulk of these draws on the agent's own bucket.
    pub(crate) const fn is_agents(self) -> bool {
        !matches!(self, Self::People | Self::Texts | Self::SharedClients | Self::Bridged)
    }
}

/// Packets and their time on air.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their time on air with all sends that they may take.
    pub airtime: Duration,
}

/// What one peer has used.
#[derive(Clone, Copy, Debug)]
struct Peer {
    num: NodeNum,
    level_us: u64,
    at: Instant,
}

/// The rules and the counts.
#[derive(Debug)]
pub struct Shares {
    /// What a peer may have at once, and as much again in the course of an hour, microseconds.
    part_us: u64,
    bulk: Governor,
    peers: Vec<Peer, PEERS>,
    quiet: bool,
    counts: [Count; Purpose::ALL.len()],
}

impl Shares {
    /// Each peer may have one `part`th of the air that `limit_permille` leaves of an hour, or that a polite node takes where it leaves all.
    pub fn new(limit_permille: u16, part: u64, now: Instant) -> Self {
        let permille = u64::from(limit_permille);
        let hour_us = HOUR_US / 1000 * if permille >= 1000 { UNLIMITED_PERMILLE } else { permille };
        Self {
            part_us: hour_us / part.max(1),
            bulk: Governor::new(now),
            peers: Vec::new(),
            quiet: false,
            counts: [Count::default(); Purpose::ALL.len()],
        }
    }

    /// Quiet hours begin or end.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Whether quiet hours are on.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Takes the time that has passed into account at the channel utilisation measured now, permille.
    pub fn update(&mut self, now: Instant, utilization_permille: u16) {
        self.bulk.update(now, utilization_permille);
    }

    /// In quiet hours alerts go, and what is urgent.
    pub(crate) fn check_quiet(&self, wish: &Wish) -> Result<(), Hold> {
        if self.quiet && !wish.urgent && wish.gate != Gate::Alert { Err(Hold::QuietHours) } else { Ok(()) }
    }

    /// Background packets of others than the agent have a bucket of their own.
    pub(crate) fn check_bulk(&self, wish: &Wish) -> Result<(), Hold> {
        let bulk = wish.gate == Gate::Bulk && !wish.purpose.is_agents();
        if bulk && !self.bulk.allows() { Err(Hold::Share) } else { Ok(()) }
    }

    /// Nobody takes all; alerts and what is urgent are not held to it.
    pub(crate) fn check_peer(&self, now: Instant, wish: &Wish) -> Result<(), Hold> {
        let Some(num) = wish.peer.filter(|_| wish.gate != Gate::Alert && !wish.urgent) else { return Ok(()) };
        let with = self.level_us(now, num) + times(wish.airtime, wish.sends).as_micros();
        if with > self.part_us { Err(Hold::Peer) } else { Ok(()) }
    }

    /// All three.
    pub fn check(&self, now: Instant, wish: &Wish) -> Result<(), Hold> {
        self.check_quiet(wish)?;
        self.check_bulk(wish)?;
        self.check_peer(now, wish)
    }

    /// Whether a peer has had its share.
    pub(crate) fn is_used_up(&self, now: Instant, num: NodeNum) -> bool {
        self.level_us(now, num) >= self.part_us
    }

    /// The packet goes: it takes its sender's and its receiver's share.
    pub(crate) fn charge(&mut self, now: Instant, wish: &Wish) {
        let airtime = times(wish.airtime, wish.sends);
        if wish.gate == Gate::Bulk && !wish.purpose.is_agents() {
            self.bulk.spend(airtime);
        }
        if let Some(num) = wish.peer {
            self.charge_peer(now, num, airtime);
        }
    }

    /// A packet of this purpose was sent, or sent once more.
    pub(crate) fn count(&mut self, purpose: Purpose, packets: u64, airtime: Duration) {
        let count = &mut self.counts[purpose as usize];
        count.packets = count.packets.saturating_add(packets);
        count.airtime = count.airtime + airtime;
    }

    /// What a peer has used and not yet made up for.
    fn level_us(&self, now: Instant, num: NodeNum) -> u64 {
        let Some(peer) = self.peers.iter().find(|peer| peer.num == num) else { return 0 };
        peer.level_us.saturating_sub(self.made_up_us(now, peer.at))
    }

    fn made_up_us(&self, now: Instant, since: Instant) -> u64 {
        let elapsed_us = now.saturating_duration_since(since).as_micros().min(HOUR_US);
        (u128::from(self.part_us) * u128::from(elapsed_us) / u128::from(HOUR_US)) as u64
    }

    /// What goes to a peer takes of its share.
    pub(crate) fn charge_peer(&mut self, now: Instant, num: NodeNum, airtime: Duration) {
        let level_us = self.level_us(now, num).saturating_add(airtime.as_micros());
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.num == num) {
            (peer.level_us, peer.at) = (level_us, now);
            return;
        }
        if self.peers.is_full() {
            let least = self.peers.iter().enumerate().min_by_key(|(_, peer)| {
                (peer.level_us.saturating_sub(self.made_up_us(now, peer.at)), peer.at)
            });
            if let Some((index, _)) = least {
                self.peers.swap_remove(index);
            }
        }
        // There is room: an entry was removed above if there was none.
        let _ = self.peers.push(Peer { num, level_us, at: now });
    }

    /// What was sent, by purpose.
    pub fn counts(&self) -> impl Iterator<Item = (Purpose, Count)> {
        Purpose::ALL.into_iter().zip(self.counts)
    }
}

fn times(airtime: Duration, sends: u8) -> Duration {
    Duration::from_micros(airtime.as_micros().saturating_mul(u64::from(sends)))
}

#[cfg(test)]
mod tests {
    use compotastic_wire::{self as wire, Address, Frame, KeyRing, Part, SwarmKey};

    use super::*;

    #[test]
    fn all_parts_of_an_answer_are_results_and_those_of_a_question_are_not() {
        let keys = KeyRing::new(1, SwarmKey([3; 16]));
        let address = Address { from: 1, to: 2, id: 3 };
        for (of_answer, purpose) in [(true, Purpose::Results), (false, Purpose::Jobs)] {
            let part = Part { job: 0xffff, part: 1, parts: 3, of_answer, tag: 255, bytes: b"and so on" };
            let mut payload = [0; 200];
            let length = wire::seal(&Frame::Part(part), &keys, &address, &mut payload).unwrap();
            assert_eq!(Purpose::of_frame(&payload[..length]), purpose);
        }
    }

    #[test]
    fn the_table_of_peers_forgets_who_used_least() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut shares = Shares::new(100, 8, Instant::ZERO);
        for _ in 0..10 {
            shares.charge_peer(at(1), NodeNum(1), Duration::from_secs(1));
        }
        for num in 2..=PEERS as u32 + 40 {
            shares.charge_peer(at(2), NodeNum(num), Duration::from_secs(1));
        }
        assert_eq!(shares.peers.len(), PEERS);
        assert!(shares.level_us(at(2), NodeNum(1)) > 9_000_000);
    }
}
