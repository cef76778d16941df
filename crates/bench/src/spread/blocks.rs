//! Peer: blocks pulled one by one from a neighbour, as in MeshCore's proposed mesh OTA (its pull request 2864): a manifest of 197
//! bytes with an Ed25519 signature, blocks of 1 KiB, a proof of four-byte Merkle hashes with each, no erasure code.
//!
//! - A node that holds all tells its neighbours so: it broadcasts the manifest, zero hops, soon after it is complete and then
//!   ever more rarely (Trickle: the interval doubles, and who has heard enough others in one says nothing in it).
//! - A node that lacks the object asks the holder that it hears best for one block after the other. The holder sends
//!   the fragments of block and proof to it alone; the next request for a block names the fragments that are missing. A block is
//!   accepted when its proof leads to the manifest's root.
//! - A holder serves requests in the order in which they came. One that stays silent three times is left for another.
//! - Each node pulls for itself. What is sent to others is not used: a stock router does not show it to its client.
//!
//! Tuned: the first interval between two adverts, and how many others silence one.

use std::collections::VecDeque;

use compotastic_mesh::{
    packet::{NodeNum, PacketId},
    rng::Rng,
    router::Incoming,
    time::{Duration, Instant},
};

use super::{
    merkle,
    peer::{App, Out, PAYLOAD_MAX},
    store::{Object, Store},
};

/// Bytes of a block.
pub const BLOCK: usize = 1024;
/// Bytes of the manifest.
const MANIFEST: usize = 197;
/// Kind, block and index before a fragment.
const FRAGMENT_HEAD: usize = 4;
/// First patience with a holder.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longest patience.
const PATIENCE_MAX: Duration = Duration::from_secs(1800);
/// Least patience between two fragments.
const BETWEEN_MIN: Duration = Duration::from_secs(45);
/// Silences after which another holder is asked.
const SILENCES: u32 = 3;
/// Longest interval between adverts.
const ADVERT_MAX: Duration = Duration::from_secs(3600);
/// Kinds of packets.
const ADVERT: u8 = 0;
const REQUEST: u8 = 1;
const FRAGMENT: u8 = 2;

/// What the sweep chooses.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tuning {
    /// First interval between two adverts of a holder, seconds.
    pub advert_s: u64,
    /// So many adverts of others in an interval silence the own one.
    pub redundancy: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { advert_s: 960, redundancy: 2 }
    }
}

/// Adverts of a holder.
struct Advertising {
    interval: Duration,
    at: Instant,
    ends: Instant,
    heard: u32,
    sent: bool,
}

/// Somebody who waits for fragments of a block.
struct Wanted {
    from: NodeNum,
    block: u16,
    mask: u8,
}

/// A block on its way to this node.
struct Pull {
    block: u16,
    fragments: Vec<Option<Vec<u8>>>,
    /// When it is asked for (again).
    at: Instant,
    asked_at: Option<Instant>,
    patience: Duration,
    silences: u32,
    /// The last fragment that was asked for.
    last_asked: usize,
    fragment_at: Option<Instant>,
}

/// One node.
pub struct Blocks {
    store: Store,
    root: merkle::Hash,
    length: usize,
    /// Of a holder.
    advertising: Option<Advertising>,
    wanted: VecDeque<Wanted>,
    /// Of one that lacks it: who holds the object, and how well he was heard last.
    holders: Vec<(NodeNum, i16)>,
    pull: Option<Pull>,
    /// Time between fragments, as measured.
    between: Duration,
    tuning: Tuning,
    rng: Rng,
}

impl Blocks {
    /// A node; node 0 is the source. The object's chunks must be blocks.
    pub fn new(node: usize, object: &Object, tuning: &Tuning, seed: u64) -> Self {
        let is_source = node == 0;
        Self {
            store: if is_source { Store::whole(object) } else { Store::blank(object) },
            root: merkle::root((0..object.chunks()).map(|index| object.data(index))),
            length: object.bytes.len(),
            advertising: is_source.then(|| Advertising {
                interval: Duration::from_secs(tuning.advert_s),
                at: Instant::ZERO,
                ends: Instant::ZERO,
                heard: 0,
                sent: false,
            }),
            wanted: VecDeque::new(),
            holders: Vec::new(),
            pull: None,
            between: BETWEEN_MIN,
            tuning: *tuning,
            rng: Rng::from_seed(seed).child(0x626c_6f63),
        }
    }

    fn within(&mut self, most: Duration) -> Duration {
        Duration::from_millis(u64::from(self.rng.below((most.as_micros() / 1000).max(1) as u32)))
    }

    /// Bytes of a block and its proof, and fragments in which they travel.
    fn measures(&self, block: usize) -> (usize, usize, usize) {
        let data = BLOCK.min(self.length - block * BLOCK);
        let all = data + 4 * merkle::proof_len(self.store.chunks(), block);
        let fragments = all.div_ceil(PAYLOAD_MAX - FRAGMENT_HEAD);
        (data, all, fragments)
    }

    fn first_missing(&self) -> Option<u16> {
        (0..self.store.chunks()).find(|block| self.store.read(*block).is_none()).map(|block| block as u16)
    }

    fn begin_pull(&mut self, now: Instant, wait: Duration) {
        self.pull = self.first_missing().map(|block| Pull {
            block,
            fragments: vec![None; self.measures(usize::from(block)).2],
            at: now + wait,
            asked_at: None,
            patience: PATIENCE,
            silences: 0,
            last_asked: 0,
            fragment_at: None,
        });
    }

    fn become_holder(&mut self, now: Instant) {
        let interval = Duration::from_secs(self.tuning.advert_s);
        // The first one comes soon, others wait for it.
        let at = now + self.within(Duration::from_secs(20));
        self.advertising = Some(Advertising { interval, at, ends: now + interval, heard: 0, sent: false });
        self.holders.clear();
        self.pull = None;
    }

    fn next_interval(&mut self, now: Instant) {
        let Some(interval) = self.advertising.as_ref().map(|advertising| advertising.interval) else {
            return;
        };
        let half = Duration::from_micros(interval.as_micros() / 2);
        let at = now + half + self.within(half);
        let ends = now + interval;
        let interval = Duration::from_micros((interval.as_micros() * 2).min(ADVERT_MAX.as_micros()));
        self.advertising = Some(Advertising { interval, at, ends, heard: 0, sent: false });
    }

    fn handle_advert(&mut self, now: Instant, packet: &Incoming) {
        if let Some(advertising) = &mut self.advertising {
            advertising.heard += 1;
            return;
        }
        self.holders.retain(|(holder, _)| *holder != packet.from);
        self.holders.push((packet.from, packet.snr_qdb));
        if self.pull.is_none() {
            let wait = self.within(Duration::from_secs(20));
            self.begin_pull(now, wait);
        }
    }

    fn handle_request(&mut self, from: NodeNum, block: u16, mask: u8) {
        if self.store.read(usize::from(block)).is_none() {
            return;
        }
        match self.wanted.iter_mut().find(|wanted| wanted.from == from) {
            // A new block, or the old one again: it keeps its turn.
            Some(wanted) => (wanted.block, wanted.mask) = (block, mask),
            None => self.wanted.push_back(Wanted { from, block, mask }),
        }
    }

    fn handle_fragment(&mut self, now: Instant, block: u16, index: usize, data: &[u8]) {
        let Some(pull) = self.pull.as_mut().filter(|pull| pull.block == block) else { return };
        let Some(place) = pull.fragments.get_mut(index) else { return };
        *place = Some(data.to_vec());
        if let Some(last) = pull.fragment_at.replace(now) {
            let measured = now.saturating_duration_since(last).as_micros().min(600_000_000);
            self.between = Duration::from_micros((self.between.as_micros() * 7 + measured) / 8);
        }
        (pull.silences, pull.patience) = (0, PATIENCE);
        let between = Duration::from_micros((3 * self.between.as_micros()).max(BETWEEN_MIN.as_micros()));
        // After the last one nothing more comes.
        pull.at = if index >= pull.last_asked { now } else { now + between };
        if pull.fragments.iter().any(Option::is_none) {
            return;
        }
        let whole: Vec<u8> = pull.fragments.iter().flatten().flatten().copied().collect();
        let (length, all, _) = self.measures(usize::from(block));
        let right = whole.len() == all
            && merkle::verify(
                self.root,
                self.store.chunks(),
                usize::from(block),
                &whole[..length],
                &whole[length..],
            );
        if right {
            self.store.write(usize::from(block), &whole[..length]);
        }
        if self.store.is_complete() {
            self.become_holder(now);
        } else {
            self.begin_pull(now, Duration::from_micros(0));
        }
    }

    fn best_holder(&self) -> Option<NodeNum> {
        self.holders.iter().max_by_key(|(holder, snr)| (*snr, *holder)).map(|(holder, _)| *holder)
    }

    fn poll_request(&mut self, now: Instant) -> Option<Out> {
        let pull = self.pull.as_mut().filter(|pull| now >= pull.at)?;
        if pull.asked_at.is_some() && pull.fragment_at.is_none_or(|at| Some(at) < pull.asked_at) {
            pull.silences += 1;
            pull.patience =
                Duration::from_micros((pull.patience.as_micros() * 2).min(PATIENCE_MAX.as_micros()));
        }
        if self.pull.as_ref().is_some_and(|pull| pull.silences >= SILENCES) {
            let silent = self.best_holder();
            self.holders.retain(|(holder, _)| Some(*holder) != silent);
            if let Some(pull) = &mut self.pull {
                pull.silences = 0;
            }
        }
        let Some(holder) = self.best_holder() else {
            // Until the next advert.
            self.pull = None;
            return None;
        };
        let pull = self.pull.as_mut()?;
        let missing = |(index, fragment): (usize, &Option<Vec<u8>>)| fragment.is_none().then_some(index);
        let mask =
            pull.fragments.iter().enumerate().filter_map(missing).fold(0u8, |mask, index| mask | 1 << index);
        pull.last_asked = 7 - mask.leading_zeros() as usize;
        pull.asked_at = Some(now);
        pull.at = now + pull.patience;
        let block = pull.block.to_le_bytes();
        let payload = [&[REQUEST][..], &self.root, &block, &[mask]].concat();
        Some(Out { to: holder, payload, hop_limit: 0, want_ack: false })
    }

    fn poll_fragment(&mut self) -> Option<Out> {
        let wanted = self.wanted.front_mut()?;
        let index = wanted.mask.trailing_zeros() as usize;
        wanted.mask &= wanted.mask.wrapping_sub(1);
        let (to, block, done) = (wanted.from, usize::from(wanted.block), wanted.mask == 0);
        if done {
            self.wanted.pop_front();
        }
        let (_, all, fragments) = self.measures(block);
        let chunks = self.store.chunks();
        let blocks = (0..chunks).map(|index| self.store.read(index).unwrap_or_default());
        let proof = merkle::proof(blocks, block).concat();
        let whole = [self.store.read(block)?, &proof].concat();
        let piece = all.div_ceil(fragments);
        let data = whole.get(index * piece..all.min((index + 1) * piece))?;
        let number = (block as u16).to_le_bytes();
        let payload = [&[FRAGMENT][..], &number, &[index as u8], data].concat();
        Some(Out { to, payload, hop_limit: 0, want_ack: false })
    }

    fn poll_advert(&mut self, now: Instant) -> Option<Out> {
        let advertising = self.advertising.as_mut()?;
        if now >= advertising.ends {
            self.next_interval(now);
            return None;
        }
        if advertising.sent || now < advertising.at {
            return None;
        }
        advertising.sent = true;
        if advertising.heard >= self.tuning.redundancy {
            return None;
        }
        let mut payload = vec![0; 1 + MANIFEST];
        payload[0] = ADVERT;
        payload[1..5].copy_from_slice(&self.root);
        Some(Out { to: NodeNum::BROADCAST, payload, hop_limit: 0, want_ack: false })
    }
}

impl App for Blocks {
    fn handle_packet(&mut self, now: Instant, packet: &Incoming) {
        match *packet.payload.as_slice() {
            [ADVERT, ..] => self.handle_advert(now, packet),
            [REQUEST, _, _, _, _, low, high, mask] if mask != 0 => {
                self.handle_request(packet.from, u16::from_le_bytes([low, high]), mask);
            }
            [FRAGMENT, low, high, index, ref data @ ..] => {
                self.handle_fragment(now, u16::from_le_bytes([low, high]), usize::from(index), data);
            }
            _ => {}
        }
    }

    fn poll(&mut self, now: Instant, _: PacketId) -> Option<Out> {
        self.poll_request(now).or_else(|| self.poll_fragment()).or_else(|| self.poll_advert(now))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let advert = self.advertising.as_ref();
        let advert = advert.map(|one| if one.sent { one.ends } else { one.at.min(one.ends) });
        let serves = (!self.wanted.is_empty()).then_some(Instant::ZERO);
        [self.pull.as_ref().map(|pull| pull.at), advert, serves].into_iter().flatten().min()
    }

    fn is_complete(&self) -> bool {
        self.store.is_complete()
    }
}
