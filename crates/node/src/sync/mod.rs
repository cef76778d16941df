//! State sync: all members of a swarm come to know the same records of who can do what.
//!
//! Each member owns one record, and counts its versions. A node's **digest** is the sum of a 64-bit hash of each member's number, version
//! and record, so a change costs one addition, and the difference of two digests is the sum of what differs. Everything is a zero-hop broadcast.
//!
//! 1. **Equal.** A Trickle timer (RFC 6206) sends the digest, seldom, and not at all where [`Config::redundancy`] others said the same. Nothing
//!    else is sent.
//! 2. **News.** A node whose record changed, or that takes a newer one in, passes it on within [`Config::push_wait`], several in one frame,
//!    with its digest. It stays silent about a record that [`Config::copies`] others have sent meanwhile.
//! 3. **A digest that differs** is explained from what changed here last (`decode.rs`): in most cases it says which records the other
//!    lacks, and these are sent, by whoever of the neighbours is first. So the digest of one that lacks something is its request.
//! 4. **What cannot be explained** is put off until no news has come for [`Config::quiet`]. Then a **list** goes out: the latest changes since
//!    the two were last equal, two bytes each, most of it new to the other after a partition. The digest in it is that of the rest, and
//!    tells what else the sender lacks. If it does not help, the next list is twice as long, and from half of the members on it is one
//!    byte for each member. What the receiver has newer it sends; where it is behind it says so by its digest, and by a list if that does not help.
//!
//! Where two do not have the same members, lists name them by their numbers.
//!
//! **Restart.** A node that starts knows nothing, and says so by a digest of 0, which draws all records. It publishes its own
//! only after [`Config::settle`], and when no neighbour knows more: under the version that the others know if it is the same record, else under the next. One that hears a newer version
//! of itself, or another record under its version, goes one beyond.
//!
//! The agent takes part once its host has told it its own record ([`crate::Agent::set_capability`]).
//!
//! **Liars.** A member can claim what it likes. Each reaction to a neighbour makes the next one later, up to eight minutes, until both
//! are equal again, and all frames draw on one bucket ([`Config::burst`], [`Config::refill`]), whoever they are for.

mod agent;
mod decode;
mod peers;
mod say;
mod table;

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_wire::{Frame, SyncItem, SyncItemWriter};
use core::cmp::Ordering;
use heapless::Vec;

use crate::trickle::Trickle;
pub use agent::CapabilityError;
use peers::Peers;
pub use say::SyncBuffer;
use table::Table;
pub use table::{MEMBERS, POOL, compare, term};

/// Longest record, in bytes: one frame carries it.
pub const RECORD_MAX: usize = SyncItemWriter::RECORD_MAX;
/// Members that a named list told of and that are not known here.
const WANTED: usize = 16;
/// Between two times that a node goes beyond a version that others have of it: who makes them up cannot make it shout.
const BEYOND_PAUSE: Duration = Duration::from_secs(600);
/// The wait before another reaction to a neighbour's digest doubles so often, up to 8 minutes.
const DIGEST_PATIENCE: u8 = 4;
/// The same for its lists, which say more: up to 4 minutes.
const LIST_PATIENCE: u8 = 3;
/// So many times a node that starts goes on listening while its neighbours know more than it does.
const SETTLE_TRIES: u8 = 20;

/// How differences are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// By what the digest explains, then by the latest changes.
    Recent,
    /// By one byte for each member, always. Digests are only compared. For measurements beside [`Summary::Recent`].
    Vector,
}

/// Times and limits.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Shortest Trickle interval.
    pub interval_min: Duration,
    /// Longest Trickle interval.
    pub interval_max: Duration,
    /// Others that say the same before a node keeps silent in an interval (RFC 6206's k).
    pub redundancy: u8,
    /// Records wait for company, and for others to send them, between half of this and all of it.
    pub push_wait: Duration,
    /// Others that sent a record before a node keeps silent about it.
    pub copies: u8,
    /// Without news for so long, a difference that cannot be explained is asked about.
    pub quiet: Duration,
    /// After a start a node listens for what is known of it for so long.
    pub settle: Duration,
    /// Frames at once.
    pub burst: u8,
    /// One more frame after each such time.
    pub refill: Duration,
    /// How differences are told.
    pub summary: Summary,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval_min: Duration::from_secs(90),
            // As beacons.
            interval_max: Duration::from_secs(5760),
            redundancy: 1,
            push_wait: Duration::from_secs(30),
            copies: 1,
            quiet: Duration::from_secs(90),
            settle: Duration::from_secs(180),
            burst: 24,
            refill: Duration::from_secs(30),
            summary: Summary::Recent,
        }
    }
}

/// The record does not fit one frame: [`RECORD_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the record is longer than {RECORD_MAX} bytes; leave out what others need least")
    }
}

impl core::error::Error for TooLong {}

/// One node's share of the state sync.
#[derive(Clone, Debug)]
pub struct Sync {
    config: Config,
    own: u32,
    rng: Rng,
    table: Table,
    /// Own record that waits for the end of the settling time.
    unpublished: Option<Vec<u8, RECORD_MAX>>,
    settled_at: Instant,
    settle_tries: u8,
    beyond_at: Option<Instant>,
    timer: Trickle,
    /// Digest that the timer wants said.
    digest_due: bool,
    /// When which digest was last said here.
    said: Option<(Instant, u64)>,
    push_at: Option<Instant>,
    list_at: Option<Instant>,
    /// For whom the list is.
    list_for: u32,
    /// Lists without effect since the last change.
    lists: u8,
    /// The last vector heard was our own, but not the digest.
    versions_equal: bool,
    /// Last change of the table.
    changed_at: Instant,
    /// Members that others know of and we do not, with the version that they have.
    wanted: Vec<(u32, u8), WANTED>,
    peers: Peers,
    tokens: u8,
    refilled_at: Instant,
}

impl Sync {
    /// Knows nothing yet. `seed` draws waiting times.
    pub fn new(own: u32, config: Config, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x7379_6e63);
        let timer = Trickle::new(config.interval_min, config.interval_max, config.redundancy, now, &mut rng);
        Self {
            config,
            own,
            rng,
            table: Table::default(),
            unpublished: None,
            settled_at: now + config.settle,
            settle_tries: 0,
            beyond_at: None,
            timer,
            digest_due: false,
            said: None,
            push_at: None,
            list_at: None,
            list_for: own,
            lists: 0,
            versions_equal: false,
            changed_at: now,
            wanted: Vec::new(),
            peers: Peers::default(),
            tokens: config.burst,
            refilled_at: now,
        }
    }

    /// Own record from now on. The same one again is no news.
    pub fn publish(&mut self, now: Instant, record: &[u8]) -> Result<(), TooLong> {
        let record: Vec<u8, RECORD_MAX> = Vec::from_slice(record).map_err(|_| TooLong)?;
        if now < self.settled_at {
            self.unpublished = Some(record);
        } else {
            self.publish_now(now, &record);
        }
        Ok(())
    }

    /// The own record, whether it has been told or waits for that.
    pub fn own_record(&self) -> Option<&[u8]> {
        self.unpublished.as_deref().or_else(|| self.table.record(self.table.index(self.own)?))
    }

    fn publish_now(&mut self, now: Instant, record: &[u8]) {
        let version = match self.table.index(self.own) {
            Some(index) if self.table.record(index) == Some(record) => return,
            Some(index) => self.table.members()[index].version.wrapping_add(1),
            // Others may know of us what we could not hear; any other number is seen to be different.
            None => self.rng.next_u32() as u8,
        };
        self.store(now, self.own, version, record);
    }

    /// A newer version, of ourselves or of another: it is kept and owed to the neighbours.
    fn store(&mut self, now: Instant, node: u32, version: u8, record: &[u8]) {
        if !self.table.store(node, version, record) {
            return;
        }
        self.wanted.retain(|(wanted, _)| *wanted != node);
        self.changed_at = now;
        self.lists = 0;
        self.versions_equal = false;
        self.list_at = None;
        self.timer.reset(now, &mut self.rng);
        if let Some(index) = self.table.index(node) {
            self.table.members_mut()[index].aired_at = None;
            self.owe(now, index);
        }
    }

    /// Somebody near may lack this record. What was on the air a moment ago is not sent again before others could say
    /// that they missed it.
    fn owe(&mut self, now: Instant, index: usize) {
        let push_wait = self.config.push_wait;
        let Some(member) = self.table.members_mut().get_mut(index) else { return };
        let fresh = |at: Instant| now.saturating_duration_since(at) < push_wait;
        if member.owed || member.aired_at.is_some_and(fresh) {
            return;
        }
        member.owed = true;
        member.heard = 0;
        let wait = self.jitter(push_wait);
        self.push_at.get_or_insert(now + wait);
    }

    /// Between half of a time and all of it.
    fn jitter(&mut self, time: Duration) -> Duration {
        let half_ms = (time.as_millis() / 2) as u32;
        Duration::from_millis(u64::from(half_ms) + u64::from(self.rng.below(half_ms.max(1))))
    }

    /// A frame of a direct neighbour; others than those of the sync are ignored.
    pub fn handle(&mut self, now: Instant, from: u32, frame: &Frame<'_>) {
        self.handle_timeout(now);
        match frame {
            _ if from == self.own => {}
            Frame::SyncDigest(digest) => self.handle_digest(now, from, digest.digest),
            Frame::SyncList(list) => self.handle_list(now, from, list),
            Frame::SyncRecords(records) => {
                let changes = self.table.changes();
                for item in records.items().flatten() {
                    self.handle_item(now, &item);
                }
                if self.table.changes() != changes {
                    self.peers.brought_news(from);
                }
                self.handle_digest(now, from, records.digest);
            }
            _ => {}
        }
    }

    fn handle_item(&mut self, now: Instant, item: &SyncItem<'_>) {
        let index = self.table.index(item.node);
        let order = index
            .map_or(Ordering::Greater, |index| compare(self.table.members()[index].version, item.version));
        if item.node == self.own && now >= self.settled_at {
            let same = index.is_some_and(|index| self.table.record(index) == Some(item.bytes));
            let ahead = order == Ordering::Greater || (order == Ordering::Equal && !same);
            let own = index.and_then(|index| self.table.record(index)).map(Vec::<u8, RECORD_MAX>::from_slice);
            // From before a restart, or made up: ours is the newest by definition.
            if let (true, Some(Ok(own))) = (ahead, own) {
                self.go_beyond(now, item.version, &own);
                return;
            }
        }
        // Two records under one version: the same one of them stays everywhere, until the owner goes beyond.
        let order =
            match index.filter(|_| order == Ordering::Equal).and_then(|index| self.table.record(index)) {
                Some(ours) => item.bytes.cmp(ours),
                None => order,
            };
        match (order, index) {
            (Ordering::Greater, _) => {
                self.store(now, item.node, item.version, item.bytes);
                self.aired(now, item.node);
            }
            (Ordering::Equal, Some(index)) => {
                self.aired(now, item.node);
                let member = &mut self.table.members_mut()[index];
                member.heard = member.heard.saturating_add(1);
                member.owed &= member.heard < self.config.copies;
            }
            (_, Some(index)) => self.owe(now, index),
            (_, None) => {}
        }
    }

    /// Own record under the version after one that others have of us; a second time only after [`BEYOND_PAUSE`], when those who still
    /// have it will differ from us.
    fn go_beyond(&mut self, now: Instant, version: u8, record: &[u8]) {
        let paused = |at: Instant| now.saturating_duration_since(at) < BEYOND_PAUSE;
        if !self.beyond_at.is_some_and(paused) {
            self.beyond_at = Some(now);
            self.store(now, self.own, version.wrapping_add(1), record);
        }
    }

    fn aired(&mut self, now: Instant, node: u32) {
        if let Some(index) = self.table.index(node) {
            self.table.members_mut()[index].aired_at = Some(now);
        }
    }

    fn handle_digest(&mut self, now: Instant, from: u32, digest: u64) {
        let changes = self.table.changes();
        if digest == self.table.digest() {
            self.timer.handle_consistent();
            self.peers.agree(now, from, digest, changes);
            // What nobody near could give was perhaps a lie.
            self.wanted.clear();
            self.table.members_mut().iter_mut().for_each(|member| member.behind = false);
            if self.list_for == from {
                self.list_at = None;
            }
            return;
        }
        let Some(reaction) = self.peers.differ(now, from, digest) else { return };
        self.timer.reset(now, &mut self.rng);
        let delta = digest.wrapping_sub(self.table.digest());
        if digest == 0 {
            // It knows nothing at all.
            (0..self.table.members().len()).for_each(|index| self.owe(now, index));
        } else if self.config.summary == Summary::Recent
            && let Some(lacks) = decode::explain(&self.table, &self.table.by_recency(), delta)
        {
            lacks.iter().for_each(|index| self.owe(now, usize::from(*index)));
        } else {
            self.list_after(now, from, self.config.quiet);
        }
        // Time for our answer to arrive and the other's to come back.
        let pause = self.config.push_wait.as_micros() << reaction.min(DIGEST_PATIENCE);
        self.peers.mute(from, now + Duration::from_micros(pause));
    }

    /// A list for this neighbour goes out after so long without news.
    fn list_after(&mut self, now: Instant, peer: u32, wait: Duration) {
        if self.list_at.is_none() {
            let jitter = self.jitter(self.config.push_wait);
            // Our own digest may do: the other knows what it changed.
            let first = now
                + if self.config.summary == Summary::Recent {
                    self.config.interval_min
                } else {
                    Duration::ZERO
                };
            self.list_at = Some((self.changed_at + wait).max(first) + jitter);
            self.list_for = peer;
        }
    }

    /// Time has passed. Extra calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.settled_at && self.unpublished.is_some() {
            self.settle(now);
        }
        let since = now.saturating_duration_since(self.refilled_at);
        let gained = since.as_micros() / self.config.refill.as_micros().max(1);
        if gained > 0 {
            self.tokens = u64::from(self.tokens).saturating_add(gained).min(self.config.burst.into()) as u8;
            self.refilled_at =
                self.refilled_at + Duration::from_micros(gained * self.config.refill.as_micros());
        }
        if self.timer.poll(now, &mut self.rng) {
            self.digest_due = true;
        }
    }

    /// Own record goes out, once a neighbour that knows something has told it all; at the latest after [`SETTLE_TRIES`] times.
    fn settle(&mut self, now: Instant) {
        let own = self.table.digest();
        let since = now.saturating_duration_since(Instant::ZERO + self.config.settle);
        if self.settle_tries < SETTLE_TRIES && self.peers.any_ahead(Instant::ZERO + since, own) {
            self.settle_tries += 1;
            self.settled_at = now + self.config.settle;
        } else if let Some(record) = self.unpublished.take() {
            self.publish_now(now, &record);
        }
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll`] next.
    pub fn poll_timeout(&self) -> Instant {
        let settle = self.unpublished.as_ref().map(|_| self.settled_at);
        let due = self.digest_due.then_some(Instant::ZERO);
        let says = [self.push_at, self.list_at, due].into_iter().flatten().min();
        // Without a token nothing can be said before the next one comes.
        let says =
            says.map(|at| if self.tokens == 0 { at.max(self.refilled_at + self.config.refill) } else { at });
        [settle, says].into_iter().flatten().fold(self.timer.poll_timeout(), Instant::min)
    }

    /// Stands for all that is known here.
    pub fn digest(&self) -> u64 {
        self.table.digest()
    }

    /// Stands for the members' numbers.
    pub fn membership(&self) -> u16 {
        self.table.membership()
    }

    /// Members, by number: version, and the record where it is kept here.
    pub fn members(&self) -> impl Iterator<Item = (u32, u8, Option<&[u8]>)> {
        let members = self.table.members().iter().enumerate();
        members.map(|(index, member)| (member.node, member.version, self.table.record(index)))
    }

    /// The record of a member.
    pub fn record(&self, node: u32) -> Option<&[u8]> {
        self.table.record(self.table.index(node)?)
    }
}
