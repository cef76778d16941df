//! A node that lacks pieces, and asks for them.

use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{Advert, Frame, Symbol, SymbolRequest};
use embedded_storage::nor_flash::NorFlash;

use super::server::short;
use crate::{
    agent::{Agent, AgentEvent, InFrame, OutFrame},
    update::MODEL,
};

/// Time for what others may say, and a random part of it more, before whoever can is asked.
pub(crate) const FIRST_ASK: Duration = Duration::from_secs(30);
/// Without a sign that a neighbour has it, an object is asked for after this time; doubles.
const NO_SIGN: Duration = Duration::from_secs(1800);
const NO_SIGN_MAX: Duration = Duration::from_secs(7200);
/// Those who were offered the same ask within this time of one another; the first speaks for all who hear it.
const OFFER_JITTER: Duration = Duration::from_secs(20);
/// Symbols that came within this time are reason enough to leave another's offer alone.
const FED: Duration = Duration::from_secs(90);
/// What a request waits for its effect; doubles up to [`ASK_AGAIN_MAX`].
const ASK_AGAIN: Duration = Duration::from_secs(240);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1800);
/// After so many requests without effect, whoever can is asked.
const ASK_ANYONE_FROM: u8 = 3;
/// After so many, there is no sign any more that a neighbour has it.
const ASKS: u8 = 6;
/// From the third request without a sign on, requests are flooded: only stock nodes may be around. Where no node of ours is heard
/// at all, from the first on.
const FLOODED_FROM: u8 = 2;
/// But where some are heard, not before the object could have come through them: for each of its pieces this long since the manifest came
/// or a neighbour was heard to send symbols. A flooded object costs what the whole mesh would pay for it otherwise.
const PATIENCE_PER_PIECE: Duration = Duration::from_secs(180);
/// Who has nobody to serve waits this long after the last symbol of whatever server before it asks for the rest.
const LAZY: Duration = Duration::from_secs(45);
/// But no longer than this in all.
const LAZY_MAX: Duration = Duration::from_secs(3600);
/// The next generation follows by itself, as soon as the server has it, or is asked for after this time.
const NEXT_GENERATION: Duration = Duration::from_secs(3600);
/// Time between two symbols of one server, until it has been seen.
const GAP: Duration = Duration::from_secs(20);

/// So many symbols of an unknown object are a sign that a neighbour serves it.
const EARLY_SIGN: usize = 3;

/// How well a server is heard, by what its count-down skips.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    heard: u16,
    missed: u16,
    /// Generation and count of the last symbol.
    last: Option<(u8, u8)>,
}

impl Link {
    /// Before so many symbols, nothing is said.
    const ENOUGH: u16 = 24;

    fn handle(&mut self, generation: u8, more: u8) {
        if let Some((last_generation, last_more)) = self.last
            && last_generation == generation
            && last_more > more
        {
            self.heard = self.heard.saturating_add(1);
            self.missed = self.missed.saturating_add(u16::from(last_more - more - 1));
        }
        self.last = Some((generation, more));
    }

    /// Four of five symbols are lost: what is heard is luck, and a better server is worth a search.
    fn is_weak(&self) -> bool {
        self.heard + self.missed >= Self::ENOUGH && self.missed / 4 > self.heard
    }
}

/// The rest of a generation, to be asked for.
#[derive(Clone, Copy, Debug)]
struct Repair {
    generation: u8,
    at: Instant,
    latest: Instant,
}

/// What a node that lacks pieces is about.
#[derive(Debug)]
pub(crate) struct Client {
    /// The next request.
    pub(crate) at: Instant,
    /// If nothing comes until then, the sender has stopped.
    quiet_at: Instant,
    repair: Option<Repair>,
    /// Requests without effect.
    asked: u8,
    /// Requests without a sign that a neighbour has it.
    unsigned: u8,
    server: Option<NodeNum>,
    link: Link,
    /// A server that is hardly heard: another is looked for.
    shunned: Option<NodeNum>,
    /// A request went out, here or overheard: until then other offers are left alone.
    committed_until: Instant,
    last_symbol: Option<Instant>,
    heard_server: Option<Instant>,
    /// When a neighbour was last heard to send symbols, or the manifest came.
    heard_near: Instant,
    gap: Duration,
    /// A generation was completed, and the next has not begun.
    between: bool,
}

impl Client {
    pub(crate) fn new(now: Instant, wait: Duration) -> Self {
        let at = now + NO_SIGN + wait;
        Self {
            at,
            quiet_at: at,
            repair: None,
            asked: ASKS,
            unsigned: 0,
            server: None,
            link: Link::default(),
            shunned: None,
            committed_until: now,
            last_symbol: None,
            heard_server: None,
            heard_near: now,
            gap: GAP,
            between: false,
        }
    }

    fn turn_to(&mut self, server: NodeNum) {
        if self.server != Some(server) {
            (self.server, self.link) = (Some(server), Link::default());
        }
    }

    /// Gives up a server that is hardly heard, for as long as it takes to ask whoever can; if nobody else answers, it is as good as any.
    fn reconsider_server(&mut self) {
        self.shunned = self.server.filter(|_| self.link.is_weak() && self.shunned.is_none());
        if self.shunned.is_some() {
            (self.server, self.link) = (None, Link::default());
        }
    }

    /// Symbols come, or will by themselves.
    fn is_fed(&self, now: Instant) -> bool {
        let four_gaps = times(self.gap, 4, 1);
        let window = if self.between { NEXT_GENERATION } else { FED.max(four_gaps) };
        self.last_symbol.is_some_and(|at| now.saturating_duration_since(at) < window)
    }

    fn settle(&mut self) {
        self.at = self.repair.map_or(self.quiet_at, |repair| repair.at.min(self.quiet_at));
    }
}

fn times(time: Duration, factor: u64, part: u64) -> Duration {
    Duration::from_micros(time.as_micros() * factor / part)
}

impl<F: NorFlash> Agent<'_, F> {
    /// A neighbour has more than we: asking makes sense again, however often it failed before.
    pub(crate) fn client_may_ask(&mut self, now: Instant, component: usize) {
        let wait = self.objects.jitter(ASK_AGAIN);
        if let Some(client) = &mut self.objects.all[component].client {
            client.asked = client.asked.min(ASK_ANYONE_FROM);
            client.unsigned = 0;
            if !client.is_fed(now) {
                client.quiet_at = client.quiet_at.min(now + FIRST_ASK + wait);
                client.settle();
            }
        }
    }

    /// A neighbour offers the object.
    pub(crate) fn handle_offer_of_object(&mut self, now: Instant, component: usize, from: NodeNum) {
        let wait = Duration::from_secs(1) + self.objects.jitter(OFFER_JITTER);
        let object = &mut self.objects.all[component];
        object.coverage.offered(now, &self.registry, from);
        object.coverage.covered(from);
        if let Some(client) = &mut object.client
            && !client.is_fed(now)
            && now >= client.committed_until
            && client.shunned != Some(from)
        {
            client.turn_to(from);
            client.heard_server = None;
            (client.asked, client.unsigned) = (0, 0);
            client.quiet_at = now + wait;
            client.settle();
        }
        self.touch_offer(now, component);
    }

    /// A neighbour has no more than we: if it serves us, it waits itself, and goes on when it can.
    fn nothing_new_yet(&mut self, now: Instant, component: usize, from: NodeNum) {
        let wait = self.objects.jitter(FIRST_ASK);
        let object = &mut self.objects.all[component];
        object.coverage.offered(now, &self.registry, from);
        if let Some(client) = &mut object.client
            && client.server == Some(from)
        {
            client.asked = 0;
            client.quiet_at = client.quiet_at.max(now + NEXT_GENERATION + wait);
            client.settle();
        }
    }

    /// A neighbour tells what it can serve.
    pub(crate) fn handle_advert(&mut self, now: Instant, incoming: &InFrame<'_>, advert: &Advert) {
        self.governor.overhear(incoming.airtime);
        if incoming.hops_away != Some(0) {
            return;
        }
        match self.objects.by_tag(advert.object_tag) {
            Some(component)
                if self.update.is_receiving(component)
                    && advert.complete & self.update.lacking(component) == 0 =>
            {
                self.nothing_new_yet(now, component, incoming.from);
            }
            Some(component) => self.handle_offer_of_object(now, component, incoming.from),
            None => self.want_manifest(now, advert.object_tag, Duration::from_secs(0), false),
        }
    }

    /// A client of ours asks for what we lack ourselves: we are late.
    pub(crate) fn client_is_pressed(&mut self, now: Instant, component: usize, generation: u8) {
        if self.update.needed(component, generation) == 0 {
            return;
        }
        let wait = Duration::from_secs(2) + self.objects.jitter(FIRST_ASK);
        let Some(client) = &mut self.objects.all[component].client else { return };
        if client.is_fed(now) && !client.between || now < client.committed_until {
            return;
        }
        if client.repair.is_none_or(|repair| repair.at > now + wait) {
            client.repair = Some(Repair { generation, at: now + wait, latest: now + LAZY_MAX });
            client.settle();
        }
    }

    /// Another asks for what we need too: what it is given will come here as well, if its server is heard here.
    pub(crate) fn client_overhears(&mut self, now: Instant, component: usize, request: &SymbolRequest<'_>) {
        let needed = self.update.needed(component, request.generation);
        if needed == 0 || needed > request.needed || request.uncoded.is_some() {
            return;
        }
        let heard_here = request.server == 0
            || self.registry.iter().any(|entry| entry.hops_away == 0 && short(entry.num) == request.server);
        let wait = self.objects.jitter(FIRST_ASK);
        let Some(client) = &mut self.objects.all[component].client else { return };
        let own_server = client.server.is_some_and(|server| short(server) == request.server);
        if !heard_here && !own_server {
            return;
        }
        if client.repair.is_some_and(|repair| repair.generation == request.generation) {
            client.repair = None;
        }
        client.quiet_at = client.quiet_at.max(now + ASK_AGAIN + wait);
        if request.server != 0 {
            client.committed_until = now + ASK_AGAIN;
        }
        client.settle();
    }

    /// A symbol: for us if we lack it.
    pub(crate) fn handle_symbol(&mut self, now: Instant, incoming: &InFrame<'_>, symbol: &Symbol<'_>) {
        self.governor.overhear(incoming.airtime);
        let near = incoming.hops_away == Some(0);
        let Some(component) = self.objects.by_tag(symbol.object_tag) else {
            if near && !self.objects.is_refused(now, symbol.object_tag) {
                // One symbol may have come from far beyond the neighbours, by luck.
                if self.objects.early.keep(symbol) >= EARLY_SIGN {
                    self.want_manifest(now, symbol.object_tag, Duration::from_secs(0), false);
                }
            } else {
                self.want_manifest(now, symbol.object_tag, Duration::from_secs(0), true);
            }
            return;
        };
        if near {
            self.objects.loss.handle(incoming.from, symbol.generation, symbol.more);
            let coverage = &mut self.objects.all[component].coverage;
            coverage.served(now, &self.registry, incoming.from);
            coverage.covered(incoming.from);
        }
        self.server_overhears(now, component, incoming.from, symbol.generation);
        if !self.update.is_receiving(component) {
            return;
        }
        if near && let Some(client) = &mut self.objects.all[component].client {
            client.heard_near = now;
        }
        if self.take_symbol(now, component, symbol.generation, symbol.symbol, symbol.data) {
            self.wait_for_more(now, component, incoming.from, symbol);
        }
    }

    /// Takes a symbol in; true if more are needed.
    fn take_symbol(&mut self, now: Instant, component: usize, generation: u8, id: u16, data: &[u8]) -> bool {
        let before = self.update.complete_generations(component);
        match self.update.handle_symbol(component, generation, id, data) {
            Ok(complete) => {
                let fresh = self.update.complete_generations(component) & !before;
                for generation in (0..16u8).filter(|generation| fresh >> generation & 1 == 1) {
                    self.generation_complete(now, component, generation);
                }
                if complete {
                    self.finish_object(now, component);
                }
                !complete
            }
            Err(refusal) => {
                self.set_back(now, component, refusal);
                self.next_object(now);
                false
            }
        }
    }

    /// What came of an object before its manifest is of use now.
    pub(crate) fn take_early(&mut self, now: Instant, component: usize) {
        let early = core::mem::take(&mut self.objects.early);
        if early.tag != self.objects.all[component].manifest.tag {
            return;
        }
        for symbol in &early.symbols {
            if !self.update.is_receiving(component)
                || !self.take_symbol(now, component, symbol.generation, symbol.id, &symbol.data)
            {
                return;
            }
        }
    }

    /// When to ask next, after a symbol.
    fn wait_for_more(&mut self, now: Instant, component: usize, from: NodeNum, symbol: &Symbol<'_>) {
        let needed = self.update.needed(component, symbol.generation);
        let pieces = self.update.pieces(component, symbol.generation).max(1);
        let duty = self.objects.all[component].coverage.uncovered(now, &self.registry);
        // The last generation holds the hashes: without them no piece of the others can be put in its place.
        let generations = self.update.generations(component);
        let duty = if generations > 1 && symbol.generation + 1 == generations { duty.max(1) } else { duty };
        // So do those wait whom we serve.
        let duty = duty.max(self.objects.all[component].server.clients());
        let short_wait = self.objects.jitter(Duration::from_secs(2));
        let long_wait = self.objects.jitter(Duration::from_secs(12));
        let first_lacking = self.update.lacks(component).map(|(generation, _)| generation);
        let waiting_repair_needed = self.objects.all[component]
            .client
            .as_ref()
            .and_then(|client| client.repair)
            .map(|repair| self.update.needed(component, repair.generation));
        let Some(client) = &mut self.objects.all[component].client else { return };
        // Who serves one generation serves the next. What others send is welcome, but they are not asked while the own server is there.
        let ours = client.server.is_none_or(|server| server == from)
            || client.heard_server.is_none_or(|at| now.saturating_duration_since(at) > NEXT_GENERATION);
        if !ours {
            client.last_symbol = Some(now);
            if client.quiet_at < now + LAZY {
                client.quiet_at = now + LAZY + long_wait;
            }
            if waiting_repair_needed == Some(0) {
                client.repair = None;
            }
            if let Some(repair) = &mut client.repair
                && duty == 0
            {
                repair.at = repair.at.max(now + LAZY + long_wait).min(repair.latest);
            }
            client.settle();
            return;
        }
        client.heard_server = Some(now);
        if client.server == Some(from)
            && let Some(last) = client.last_symbol
        {
            // As in RFC 6298: the mean moves by an eighth. A pause between bursts is no gap.
            let gap = now.saturating_duration_since(last).as_micros().min(120_000_000);
            client.gap = Duration::from_micros((client.gap.as_micros() * 7 + gap) / 8);
        }
        client.turn_to(from);
        client.link.handle(symbol.generation, symbol.more);
        client.last_symbol = Some(now);
        (client.asked, client.unsigned) = (0, 0);
        if waiting_repair_needed == Some(0) {
            client.repair = None;
        }
        client.between = needed == 0;
        let rest = u64::from(symbol.more) + 1;
        client.quiet_at = if needed == 0 {
            now + NEXT_GENERATION + long_wait
        } else {
            now + times(client.gap, rest * 3, 2) + FIRST_ASK + long_wait
        };
        // Most needed, first asked.
        let share = u64::from(needed.min(pieces as u8)) * 1000 / u64::from(pieces);
        let modest = |most_s: u64| Duration::from_millis(most_s * (1000 - share.min(1000)));
        let first = first_lacking == Some(symbol.generation);
        if needed > 0 && symbol.more == 0 && first {
            let at = if duty > 0 {
                now + Duration::from_millis(1000 + 4000 / u64::from(duty)) + modest(4) + short_wait
            } else {
                now + LAZY + modest(20) + long_wait
            };
            client.repair = Some(Repair { generation: symbol.generation, at, latest: now + LAZY_MAX });
        } else if let Some(repair) = &mut client.repair {
            if repair.generation == symbol.generation {
                // It is being served.
                client.repair = None;
            } else if duty == 0 {
                repair.at = repair.at.max(now + LAZY + long_wait).min(repair.latest);
            }
        }
        client.settle();
    }

    /// All pieces are here: verify the whole and install.
    pub(crate) fn finish_object(&mut self, now: Instant, component: usize) {
        let tag = self.objects.all[component].manifest.tag;
        self.objects.all[component].client = None;
        self.push_event(AgentEvent::ObjectComplete { tag });
        match self.install(now, component) {
            Ok(_) => {
                self.objects.storage_took(tag);
                // Whoever published it through a node like this one waits for word of it.
                if component == MODEL || self.update.carries() {
                    self.beacon_soon(now);
                }
            }
            Err(refusal) => self.set_back(now, component, refusal),
        }
        self.reconsider_offer(now, component);
        self.next_object(now);
    }

    pub(crate) fn poll_symbol_request(&mut self, now: Instant) -> Option<OutFrame> {
        let component = (0..self.update.components()).find(|component| {
            self.objects.all[*component].client.as_ref().is_some_and(|client| now >= client.at)
        })?;
        let lacks = self.update.lacks(component);
        let client = self.objects.all[component].client.as_mut()?;
        client.reconsider_server();
        let (asked, unsigned, named) = (client.asked, client.unsigned, client.server);
        let patience = times(PATIENCE_PER_PIECE, self.update.all_pieces(component).into(), 1);
        let patient = now.saturating_duration_since(client.heard_near) < patience;
        let wait = self.objects.jitter(FIRST_ASK);
        let again = if asked < ASKS {
            (ASK_AGAIN.as_micros() << asked).min(ASK_AGAIN_MAX.as_micros())
        } else {
            (NO_SIGN.as_micros() << unsigned.min(8)).min(NO_SIGN_MAX.as_micros())
        };
        if let Some(client) = &mut self.objects.all[component].client {
            if asked < ASKS {
                client.asked += 1;
            } else {
                client.unsigned = unsigned.saturating_add(1);
            }
            client.repair = None;
            client.quiet_at = now + Duration::from_micros(again) + wait;
            // Who asks whoever can takes the next offer.
            client.committed_until =
                if asked < ASK_ANYONE_FROM && named.is_some() { now + ASK_AGAIN } else { now };
            client.settle();
        }
        // The first that lacks something: combinations of the others find no room yet.
        let (generation, needed) = lacks?;
        let mut bitmap = [0; 32];
        let uncoded = self.update.missing_bitmap(component, generation, &mut bitmap);
        let server = named.filter(|_| asked < ASK_ANYONE_FROM).map_or(0, short);
        let flooded = asked >= ASKS && (unsigned >= FLOODED_FROM && !patient || !self.has_neighbours(now));
        let hop_limit = if flooded { self.config.hop_limit } else { 0 };
        let frame = Frame::SymbolRequest(SymbolRequest {
            object_tag: self.objects.all[component].manifest.tag,
            generation,
            needed,
            server,
            lacking: self.update.lacking(component),
            uncoded: uncoded.map(|length| &bitmap[..length]),
        });
        self.seal(&frame, NodeNum::BROADCAST, hop_limit, false, Gate::Bulk, QueuePriority::Background)
    }
}
