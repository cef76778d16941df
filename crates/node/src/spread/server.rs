//! A node that holds pieces: it offers them where they are lacking, and sends them when it is asked.

use compotastic_bundle::ClaimedManifest;
use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{Advert, Beacon, Frame, Neighbours, RecordType, Symbol, SymbolRequest};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use super::{MAX_SYMBOL, Object, coverage::Standing, jitter, key_tag, rank};
use crate::{
    agent::{Agent, InFrame, LinkState, OutFrame},
    registry::is_spared,
};

/// Generations of one object at most, as bits of 16 in frames.
const GENERATIONS: usize = 16;
/// Nodes that asked and are remembered; those who hear them and wait for the same are not counted.
const CLIENTS: usize = 16;
/// From this loss on the manifest is sent once more before the symbols, which those who missed it cannot use.
const MANIFEST_TWICE_PERMILLE: u32 = 150;
/// Symbol ids from here on are coded.
const CODED_FROM: u16 = 256;
/// For each neighbour that would do better, an offer waits this long: time to repair what that one may lack, and to be heard.
const OFFER_TURN: Duration = Duration::from_secs(150);
/// But for no more than so many.
const OFFER_TURNS: u16 = 4;
/// Who is not needed, since others could serve each of those that it could, waits for them: some of them may be needed.
const OFFER_NOT_NEEDED: Duration = Duration::from_secs(60);
/// Before any offer: repairs of those who are before us come first.
const OFFER_SETTLE: Duration = Duration::from_secs(10);
/// Drawn on top, so that two with the same number of neighbours do not speak at once.
const OFFER_JITTER: Duration = Duration::from_secs(6);
/// What is heard of others holds an offer back, but no longer than this after the first piece of news.
const OFFER_LATEST: Duration = Duration::from_secs(1200);
/// An offer that nobody took is repeated after this time, then after three times as long and so on.
const OFFER_AGAIN: Duration = Duration::from_secs(90);
/// After so long, a neighbour that still lacks the object is reason for new offers.
const OFFER_ANEW: Duration = Duration::from_secs(1200);
/// Far servers that whoever can is asked for wait a random part of this time for one another.
const SERVE_JITTER: Duration = Duration::from_secs(60);
/// A server that stayed silent in favour of another remembers the requester for this long.
const YIELD_MEMORY: Duration = Duration::from_secs(1200);
/// What a flooded frame counts for in the governor: about so many nodes send it on.
pub(crate) const FLOOD_COST: u64 = 8;
/// A server believes in no higher loss than this, permille: beyond, its clients had better ask twice.
const LOSS_MAX_PERMILLE: u32 = 600;

/// The short name of a node, by which requests name a server.
pub(crate) const fn short(num: NodeNum) -> u16 {
    Neighbours::short(num.0)
}

/// How often an object is offered to so many who say nothing. One offer and the answer of one of them both arrive in (1 - loss)^2 of all
/// cases; whoever is left after these is told by the next beacon.
const fn offers(loss_permille: u32, left: u16) -> u8 {
    match (loss_permille, left) {
        (0..50, _) | (50..150, 3..) => 2,
        (50..150, _) | (_, 3..) => 3,
        _ => 5,
    }
}

/// Symbols beyond `needed` that a server sends at once, so that about two of three clients need not ask: the mean number of losses, and half a
/// standard deviation (negative binomial distribution).
fn extra(needed: u16, loss_permille: u32) -> u16 {
    let loss = loss_permille.min(LOSS_MAX_PERMILLE);
    let (needed, arriving) = (u32::from(needed), 1000 - loss);
    let mean = needed * loss / arriving;
    let half_deviation = (needed * loss * 1000).isqrt() / arriving / 2;
    (mean + half_deviation) as u16
}

/// When to offer.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    at: Option<Instant>,
    /// The wait begins here.
    base: Instant,
    /// The base moves no more after this.
    latest: Instant,
    jitter: Duration,
    tries: u8,
}

/// What a node gives of one object.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Symbols still to be sent, per generation.
    owed: [u16; GENERATIONS],
    /// Of them, pieces as they are: from the last (it holds the hashes) to the first.
    plain_left: [u16; GENERATIONS],
    /// Symbols sent since the last request for the generation.
    sent: [u16; GENERATIONS],
    /// Pieces asked for as they are, of one generation; bit n for piece n.
    asked_plain: Option<(u8, [u8; 32])>,
    /// Generations that were begun for clients.
    served: u16,
    /// Generations that clients lack: they get them when they are here.
    wanted: u16,
    /// Who asked this node; when all of them have turned to others, nothing is owed any more.
    clients: Vec<NodeNum, CLIENTS>,
    /// Loss on the way to the neediest client, permille.
    loss_permille: u32,
    begin_at: Instant,
    begun: bool,
    /// Whoever can was asked, by this node, and another may be first.
    anyone_for: Option<NodeNum>,
    yielded: Option<(NodeNum, Instant)>,
    hop_limit: u8,
    /// The manifest went once more before the first symbols.
    told_twice: bool,
    /// So did the delegation of its signer, at the first offer.
    told_delegation: bool,
    offer: Offer,
}

impl Server {
    /// When the next symbol may go; none if nothing is owed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.is_serving().then_some(self.begin_at)
    }

    pub(crate) fn offer_at(&self) -> Option<Instant> {
        self.offer.at
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.owed.iter().any(|owed| *owed > 0)
    }

    /// Nodes that asked this one.
    pub(crate) fn clients(&self) -> u16 {
        self.clients.len() as u16
    }

    fn client_left(&mut self, num: NodeNum) {
        let before = self.clients.len();
        self.clients.retain(|client| *client != num);
        // Once it has begun, others may hear it and wait for the rest without a word.
        if self.clients.is_empty() && before > 0 && self.sent == [0; GENERATIONS] {
            self.stop();
        }
    }

    /// Everything that was asked for is forgotten: who still lacks it will ask again.
    pub(crate) fn pause(&mut self) {
        *self = Self { loss_permille: self.loss_permille, ..Self::default() };
    }

    fn stop(&mut self) {
        self.owed = [0; GENERATIONS];
        self.plain_left = [0; GENERATIONS];
        self.asked_plain = None;
        self.hop_limit = 0;
        self.anyone_for = None;
    }

    /// A whole generation for those who have nothing of it, and what will be lost of it.
    fn owe_all(&mut self, generation: u8, pieces: u16, heard_loss_permille: u32) {
        let g = usize::from(generation);
        if self.owed[g] == 0 && self.served >> generation & 1 == 0 {
            self.plain_left[g] = pieces;
        }
        // Who comes later gets combinations, which help those too who lack a few of what went before.
        self.served |= 1 << generation;
        let loss = self.loss_permille.max(heard_loss_permille);
        let owed = pieces + extra(pieces, loss);
        if self.owed[g] < owed {
            self.owed[g] = owed;
            self.sent[g] = 0;
        }
    }

    /// The rest of a generation, and what will be lost of it.
    fn owe_rest(&mut self, generation: u8, needed: u16) {
        let g = usize::from(generation);
        self.served |= 1 << generation;
        if self.owed[g] == 0 && self.sent[g] > needed {
            let loss = (u32::from(needed) * 1000 / u32::from(self.sent[g])).min(LOSS_MAX_PERMILLE);
            self.loss_permille = if self.loss_permille == 0 { loss } else { (self.loss_permille + loss) / 2 };
            self.sent[g] = 0;
        }
        self.owed[g] = self.owed[g].max(needed + extra(needed, self.loss_permille));
    }
}

impl<F: NorFlash> Agent<'_, F> {
    /// News of the object here, or of neighbours: offers begin anew.
    pub(crate) fn restart_offer(&mut self, now: Instant, component: usize) {
        let drawn = self.objects.jitter(OFFER_JITTER);
        self.objects.all[component].server.offer =
            Offer { at: None, base: now, latest: now + OFFER_LATEST, jitter: drawn, tries: 0 };
        self.reconsider_offer(now, component);
    }

    /// Others are at it: what is left to do shows a little later.
    pub(crate) fn touch_offer(&mut self, now: Instant, component: usize) {
        let offer = &mut self.objects.all[component].server.offer;
        if now < offer.latest {
            offer.base = now;
        }
        self.reconsider_offer(now, component);
    }

    /// When to offer, by who is left to be served.
    pub(crate) fn reconsider_offer(&mut self, now: Instant, component: usize) {
        let able = self.update.complete_generations(component) != 0;
        let loss = self.objects.loss.permille();
        let object = &mut self.objects.all[component];
        let (server, coverage) = (&mut object.server, &object.coverage);
        server.offer.at = None;
        if !able || object.paused || server.is_serving() {
            return;
        }
        let Standing { left, before, needed } = coverage.standing(now, &self.registry, self.config.num);
        if left == 0 {
            // Whoever only offered may not have been heard by those who lack it.
            server.offer.at = coverage.doubtful_until(now).map(|until| until + server.offer.jitter);
            return;
        }
        if server.offer.tries >= offers(loss, left) {
            return;
        }
        let turns = Duration::from_micros(OFFER_TURN.as_micros() * u64::from(before.min(OFFER_TURNS)));
        let wait = if needed { turns } else { turns + OFFER_NOT_NEEDED };
        let again = match server.offer.tries {
            0 => Duration::from_micros(0),
            tries => Duration::from_micros(OFFER_AGAIN.as_micros() * 3u64.pow(u32::from(tries.min(8) - 1))),
        };
        server.offer.at = Some(server.offer.base + OFFER_SETTLE + wait + again + server.offer.jitter);
    }

    /// The next offer.
    pub(crate) fn poll_offer_of_object(&mut self, now: Instant) -> Option<OutFrame> {
        for component in 0..self.update.components() {
            if self.objects.all[component].server.offer.at.is_none_or(|at| now < at) {
                continue;
            }
            // Somebody may have become silent, or spoken, since; and it may have been said often enough.
            let coverage = &self.objects.all[component].coverage;
            let left = coverage.uncovered(now, &self.registry);
            let tries = self.objects.all[component].server.offer.tries;
            if left == 0 || tries >= offers(self.objects.loss.permille(), left) {
                self.reconsider_offer(now, component);
                continue;
            }
            let tag = self.objects.all[component].manifest.tag;
            let known = coverage.all_know(now, &self.registry, tag);
            let drawn = self.objects.jitter(OFFER_JITTER);
            let offer = &mut self.objects.all[component].server.offer;
            offer.tries += 1;
            offer.base = now;
            offer.jitter = drawn;
            self.reconsider_offer(now, component);
            if !known {
                self.queue_delegation(now, component);
                self.objects.queue_record(RecordType::Manifest, tag, 0, now);
                return self.poll_record(now, true);
            }
            let complete = self.update.complete_generations(component);
            let frame = Frame::Advert(Advert { object_tag: tag, complete });
            return self.seal(&frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background);
        }
        None
    }

    /// Who is offered an object by a key that it may not know needs the key's delegation before the manifest. Told once per object;
    /// who missed it asks.
    fn queue_delegation(&mut self, now: Instant, component: usize) {
        let Object { manifest, server, .. } = &mut self.objects.all[component];
        if core::mem::replace(&mut server.told_delegation, true) {
            return;
        }
        let signer = ClaimedManifest::parse(&manifest.bytes).map(|claimed| key_tag(claimed.key_id()));
        if let Ok(key) = signer
            && self.objects.held(RecordType::Delegation, key).is_some()
        {
            self.objects.queue_record(RecordType::Delegation, key, 0, now);
        }
    }

    /// A beacon says how far a neighbour is with what we hold.
    pub(crate) fn neighbour_tells(&mut self, now: Instant, component: usize, from: NodeNum, beacon: &Beacon) {
        let object = &mut self.objects.all[component];
        if beacon.object_progress == 255 {
            object.coverage.covered(from);
        } else {
            object.coverage.lacks(from);
            let offer = &object.server.offer;
            if now.saturating_duration_since(offer.base) > OFFER_ANEW {
                object.coverage.lost(from, true);
                self.restart_offer(now, component);
                return;
            }
        }
        self.reconsider_offer(now, component);
    }

    /// Somebody asks for symbols of an object.
    pub(crate) fn handle_symbol_request(
        &mut self,
        now: Instant,
        incoming: &InFrame<'_>,
        request: &SymbolRequest<'_>,
    ) {
        self.governor.overhear(incoming.airtime);
        let near = incoming.hops_away == Some(0);
        let Some(component) = self.objects.by_tag(request.object_tag) else {
            return;
        };
        let for_us = request.server == short(self.config.num);
        let anyone = request.server == 0;
        let able = self.update.complete_generations(component) & request.lacking != 0;
        if self.objects.all[component].paused {
            // No answer: who asks turns to others.
        } else if for_us && near {
            self.objects.all[component].coverage.asked_us(incoming.from);
            self.serve(now, component, incoming, request);
            self.client_is_pressed(now, component, request.generation);
        } else if anyone && able && !is_spared(self.beacons.battery(), self.config.mains_power) {
            if near {
                // Those who can agree by offers who does.
                self.objects.all[component].coverage.lost(incoming.from, true);
                self.restart_offer(now, component);
            } else {
                self.serve(now, component, incoming, request);
            }
        } else if near && !anyone && !for_us {
            self.objects.all[component].coverage.covered(incoming.from);
            self.objects.all[component].server.client_left(incoming.from);
            self.touch_offer(now, component);
        }
        if !for_us {
            self.client_overhears(now, component, request);
        }
    }

    fn serve(&mut self, now: Instant, component: usize, incoming: &InFrame<'_>, request: &SymbolRequest<'_>) {
        let complete = self.update.complete_generations(component);
        let wait = self.objects.jitter(SERVE_JITTER);
        let heard_loss = self.objects.loss.permille();
        let pieces: [u16; GENERATIONS] =
            core::array::from_fn(|generation| self.update.pieces(component, generation as u8));
        let server = &mut self.objects.all[component].server;
        let anyone = request.server == 0;
        if !server.is_serving() {
            let insists = server.yielded.is_some_and(|(who, at)| {
                who == incoming.from && now.saturating_duration_since(at) < YIELD_MEMORY
            });
            server.begun = !anyone || insists;
            server.begin_at = if server.begun { now } else { now + wait };
            server.anyone_for = anyone.then_some(incoming.from);
            server.hop_limit = incoming.hops_away.unwrap_or(0);
        } else if !anyone {
            server.anyone_for = None;
            server.begun = true;
            server.begin_at = server.begin_at.min(now);
        }
        server.wanted |= request.lacking;
        if !server.clients.contains(&incoming.from) {
            if server.clients.is_full() {
                server.clients.remove(0);
            }
            let _ = server.clients.push(incoming.from);
        }
        self.objects.all[component].coverage.we_serve();
        let server = &mut self.objects.all[component].server;
        let g = usize::from(request.generation);
        if g < GENERATIONS && complete >> g & 1 == 1 {
            if let Some(bitmap) = request.uncoded {
                let (generation, mut bits) = server.asked_plain.unwrap_or((request.generation, [0; 32]));
                if generation == request.generation {
                    bits.iter_mut().zip(bitmap).for_each(|(asked, bits)| *asked |= bits);
                    server.asked_plain = Some((generation, bits));
                    let count = bits.iter().map(|byte| byte.count_ones() as u16).sum();
                    server.owed[g] = server.owed[g].max(count);
                }
            } else if u16::from(request.needed) >= pieces[g].min(255) {
                server.owe_all(request.generation, pieces[g], heard_loss);
            } else {
                server.owe_rest(request.generation, u16::from(request.needed));
            }
        }
        for generation in 0..GENERATIONS as u8 {
            let bit = 1 << generation;
            if complete & request.lacking & !server.served & bit != 0 {
                server.owe_all(generation, pieces[usize::from(generation)], heard_loss);
            }
        }
        self.objects.all[component].server.offer.at = None;
        let server = &mut self.objects.all[component].server;
        if !server.told_twice && heard_loss >= MANIFEST_TWICE_PERMILLE && incoming.hops_away == Some(0) {
            server.told_twice = true;
            self.objects.queue_record(RecordType::Manifest, request.object_tag, 0, now);
        }
    }

    /// A generation has become whole here: those who are waiting for it get it, and others are offered it.
    pub(crate) fn generation_complete(&mut self, now: Instant, component: usize, generation: u8) {
        let pieces = self.update.pieces(component, generation);
        let first = self.update.complete_generations(component).count_ones() == 1;
        let heard_loss = self.objects.loss.permille();
        if self.objects.all[component].paused {
            return;
        }
        let server = &mut self.objects.all[component].server;
        if server.wanted & !server.served & 1 << generation != 0 {
            if !server.is_serving() {
                server.begun = true;
                server.begin_at = now;
                server.anyone_for = None;
            }
            server.owe_all(generation, pieces, heard_loss);
        }
        if first {
            self.restart_offer(now, component);
        } else {
            self.reconsider_offer(now, component);
        }
    }

    /// Somebody sends symbols of an object.
    pub(crate) fn server_overhears(&mut self, now: Instant, component: usize, from: NodeNum, generation: u8) {
        let complete = self.update.complete_generations(component);
        let server = &mut self.objects.all[component].server;
        if let Some(requester) = server.anyone_for
            && !server.begun
            && from != requester
        {
            // Somebody else was first.
            server.yielded = Some((requester, now));
            server.stop();
        }
        // The first generation that is here decides who serves: those before us may still be repairing it.
        let first = complete.checked_ilog2() == Some(u32::from(generation));
        if first {
            self.touch_offer(now, component);
        } else if complete != 0 {
            self.reconsider_offer(now, component);
        }
    }

    pub(crate) fn poll_symbol(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        let component = (0..self.update.components())
            .filter(|component| self.objects.all[*component].server.due().is_some_and(|due| now >= due))
            .min_by_key(|component| self.update.kind(*component).map_or(u8::MAX, rank))?;
        let server = &mut self.objects.all[component].server;
        server.begun = true;
        let g = server.owed.iter().rposition(|owed| *owed > 0)?;
        let generation = g as u8;
        let asked = match &mut server.asked_plain {
            Some((of, bits)) if *of == generation => {
                let next = (0..256u16).rev().find(|id| bits[usize::from(id / 8)] >> (id % 8) & 1 == 1);
                if let Some(id) = next {
                    bits[usize::from(id / 8)] &= !(1 << (id % 8));
                }
                next
            }
            _ => None,
        };
        if asked.is_none() && server.asked_plain.is_some_and(|(of, _)| of == generation) {
            server.asked_plain = None;
        }
        let id = if let Some(id) = asked {
            id
        } else if server.plain_left[g] > 0 {
            server.plain_left[g] -= 1;
            server.plain_left[g]
        } else {
            // Drawn from this node's own generator: two servers do not send the same combination.
            CODED_FROM + self.objects.rng.below(u32::from(u16::MAX - CODED_FROM)) as u16
        };
        server.owed[g] -= 1;
        // Two servers that do not hear each other keep the same pace: without chance, whose symbols meet once would meet always.
        let interval = self.governor.interval(link.bulk_airtime);
        server.begin_at = now + jitter(&mut self.objects.rng, interval);
        server.sent[g] = server.sent[g].saturating_add(1);
        self.objects.symbols_sent = self.objects.symbols_sent.saturating_add(1);
        let server = &mut self.objects.all[component].server;
        let more = server.owed[g].min(255) as u8;
        let hop_limit = server.hop_limit;
        if !server.is_serving() {
            server.stop();
            let drawn = jitter(&mut self.objects.rng, OFFER_JITTER);
            self.objects.all[component].server.offer.jitter = drawn;
            self.touch_offer(now, component);
        }
        let mut data = [0; MAX_SYMBOL];
        let Some(length) = self.update.symbol(component, generation, id, &mut data) else {
            self.objects.all[component].server.stop();
            return None;
        };
        let frame = Frame::Symbol(Symbol {
            object_tag: self.objects.all[component].manifest.tag,
            generation,
            symbol: id,
            more,
            data: &data[..length],
        });
        self.seal(&frame, NodeNum::BROADCAST, hop_limit, false, Gate::Bulk, QueuePriority::Background)
    }
}
