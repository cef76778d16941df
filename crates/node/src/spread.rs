//! The handlers of object dissemination; the rules stand at the top of [`crate::objects`].

use compotastic_bundle::{ClaimedManifest, RecordChange, Refusal};
use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{Beacon, Frame, Record, RecordRequest, RecordType, Symbol, SymbolRequest};
use embedded_storage::nor_flash::NorFlash;

use crate::{
    agent::{Agent, AgentEvent, BundleRefusal, InFrame, LinkState, OutFrame},
    objects::{
        ASK_AGAIN, ASK_AGAIN_MAX, ASK_JITTER, Asking, CODED_FROM, MAX_SYMBOL, RECORD_AGAIN, RECORD_PART,
        RECORD_REQUESTS, SERVE_JITTER, STORAGE_AGAIN, SYMBOLS_QUIET, Serving, Wanted, YIELD_MEMORY, key_tag,
    },
};

impl<F: NorFlash> Agent<'_, F> {
    /// A beacon tells what a neighbour holds: one that has what we lack can be asked, one that lacks what we have
    /// will ask.
    pub(crate) fn handle_neighbour_progress(&mut self, now: Instant, hops: u8, beacon: &Beacon) {
        if hops != 0 || beacon.object_tag == 0 {
            return;
        }
        if beacon.object_tag == self.objects.manifest.tag {
            if beacon.object_progress > self.update.progress()
                && let Some(asking) = &mut self.objects.asking
            {
                // A neighbour has more than we: asking makes sense again, however often it failed before.
                asking.asked = asking.asked.min(2);
                asking.at = asking.at.min(now + ASK_AGAIN);
            }
        } else {
            self.want_manifest(now, beacon.object_tag);
        }
    }

    /// An object that we do not know is about. Its manifest may be here and wait for the delegation of its signer, for
    /// which nobody was heard to answer.
    fn want_manifest(&mut self, now: Instant, tag: u32) {
        if self.objects.incoming.complete && self.objects.incoming.tag == tag {
            if self.objects.storage_again.is_none() {
                self.consider_manifest(now);
            }
        } else {
            self.want_record(now, RecordType::Manifest, tag);
        }
    }

    /// Neighbours are asked for a record, after a moment.
    fn want_record(&mut self, now: Instant, kind: RecordType, tag: u32) {
        if self.objects.is_refused(now, tag) || self.objects.wanted_record.is_some() {
            return;
        }
        let wait = self.objects.jitter(ASK_JITTER);
        self.objects.wanted_record = Some(Wanted { kind, tag, at: now + wait, asked: 0 });
    }

    /// A part of a record. Forged ones do not come this far, and unverified ones are only kept.
    pub(crate) fn handle_record(&mut self, now: Instant, incoming: &InFrame<'_>, record: &Record<'_>) {
        if incoming.hops_away == Some(0) {
            self.governor.spend(incoming.airtime);
        }
        if self
            .objects
            .wanted_record
            .is_some_and(|wanted| (wanted.kind, wanted.tag) == (record.record_type, record.tag))
        {
            self.objects.wanted_record = None;
        }
        // Somebody else answers those who asked here too.
        let held = self.objects.held(record.record_type).is_some_and(|held| held.tag == record.tag);
        if held && record.part + 1 == record.parts {
            self.objects
                .outgoing
                .retain(|out| out.kind != record.record_type || out.hop_limit > 0 || out.next_part > 0);
        }
        match record.record_type {
            RecordType::Delegation => {
                if self.objects.incoming_delegation.take(record) {
                    let objects = &mut self.objects;
                    let change = self.config.trust.add_record(&objects.incoming_delegation.bytes);
                    // One that is asked for by a name must be of that name: whoever misses it next will ask here.
                    let kept = matches!(
                        change,
                        Ok(RecordChange::Delegated(key) | RecordChange::Known(key)) if key_tag(key) == record.tag
                    );
                    if kept {
                        core::mem::swap(&mut objects.delegation, &mut objects.incoming_delegation);
                    }
                    objects.incoming_delegation.clear();
                    if objects.incoming.complete {
                        self.consider_manifest(now);
                    }
                }
            }
            RecordType::Revocation => {
                if self.objects.revocation.take(record) {
                    // A refused revocation changes nothing; one that is in force binds the next verification.
                    let _ = self.config.trust.add_record(&self.objects.revocation.bytes);
                    self.objects.revocation.clear();
                }
            }
            RecordType::Manifest => {
                if self.objects.manifest.tag != record.tag
                    && !self.objects.is_refused(now, record.tag)
                    && self.objects.incoming.take(record)
                {
                    self.consider_manifest(now);
                }
            }
            RecordType::Capability => {}
        }
    }

    /// A whole manifest is here: verify it and decide.
    fn consider_manifest(&mut self, now: Instant) {
        let tag = self.objects.incoming.tag;
        // Under another object's name: it must not stand in that one's way.
        let named = ClaimedManifest::parse(&self.objects.incoming.bytes)
            .is_ok_and(|claimed| claimed.claims().tag().0 == tag);
        if !named {
            self.objects.incoming.clear();
            return;
        }
        let verdict = compotastic_bundle::verify(&self.objects.incoming.bytes, &self.config.trust)
            .and_then(|verified| self.update.admit(&self.config, &verified).map(|()| verified));
        match verdict {
            Ok(verified) => {
                self.objects.storage_again = None;
                if let Err(refusal) = self.update.begin(&self.config, &verified) {
                    // The manifest waits: flash may work again later.
                    self.objects.storage_again = Some(now + STORAGE_AGAIN);
                    self.push_event(AgentEvent::BundleRefused(refusal));
                    return;
                }
                core::mem::swap(&mut self.objects.manifest, &mut self.objects.incoming);
                self.objects.incoming.clear();
                self.objects.serving = None;
                let wait = self.objects.jitter(ASK_JITTER);
                self.objects.asking = Some(Asking {
                    at: now + ASK_JITTER + wait,
                    asked: 0,
                    last_symbol: Instant::ZERO,
                    other_asked: Instant::ZERO,
                });
                self.push_event(AgentEvent::ObjectWanted { tag });
                // A restart may have come between the last piece and the switch.
                if self.update.is_complete() {
                    self.finish_object(now);
                }
            }
            // The delegation may have been lost on the way.
            Err(Refusal::UnknownKey(key)) => self.want_record(now, RecordType::Delegation, key_tag(key)),
            Err(refusal) => self.refuse_manifest(now, tag, refusal),
        }
    }

    fn refuse_manifest(&mut self, now: Instant, tag: u32, refusal: Refusal) {
        self.objects.incoming.clear();
        self.objects.refuse(now, tag);
        self.push_event(AgentEvent::BundleRefused(BundleRefusal::Manifest(refusal)));
    }

    /// Flash or the content was not good: what is in use is what this node holds and tells of. What flash refused is tried again
    /// later, content that is no good is not.
    fn set_back(&mut self, now: Instant, refusal: BundleRefusal) {
        self.objects.asking = None;
        if refusal == BundleRefusal::Storage {
            core::mem::swap(&mut self.objects.manifest, &mut self.objects.incoming);
            self.objects.storage_again = Some(now + STORAGE_AGAIN);
        } else {
            self.objects.refuse(now, self.objects.manifest.tag);
        }
        self.objects.manifest.clear();
        if let Some(active) = self.update.active_manifest() {
            self.objects.manifest.fill(active.claims().tag().0, &active.to_packed());
        }
        self.push_event(AgentEvent::BundleRefused(refusal));
    }

    /// Somebody asks for a record.
    pub(crate) fn handle_record_request(
        &mut self,
        now: Instant,
        incoming: &InFrame<'_>,
        request: &RecordRequest,
    ) {
        self.governor.spend(incoming.airtime);
        let wait = self.objects.jitter(SERVE_JITTER);
        if self.objects.held(request.record_type).is_some_and(|held| held.tag == request.tag) {
            // As a broadcast: whoever missed it before may hear it now.
            self.objects.queue_record(request.record_type, NodeNum::BROADCAST, 0, now + wait);
        } else if let Some(wanted) = &mut self.objects.wanted_record
            && (wanted.kind, wanted.tag) == (request.record_type, request.tag)
        {
            // What he is given will be heard here too.
            wanted.at = wanted.at.max(now + RECORD_AGAIN + wait);
        }
    }

    /// Somebody asks for symbols of an object.
    pub(crate) fn handle_symbol_request(
        &mut self,
        now: Instant,
        incoming: &InFrame<'_>,
        request: &SymbolRequest<'_>,
    ) {
        self.governor.spend(incoming.airtime);
        if request.object_tag != self.objects.manifest.tag {
            return;
        }
        if !self.update.holds_object() {
            // The symbols that he gets will come here too.
            if let Some(asking) = &mut self.objects.asking {
                asking.other_asked = now;
            }
            return;
        }
        let insists = self.objects.yielded.is_some_and(|(who, at)| {
            who == incoming.from && now.saturating_duration_since(at) < YIELD_MEMORY
        });
        let owed = u16::from(request.needed) + u16::from(request.needed) / 8 + 1;
        let pieces = self.update.pieces(request.generation);
        match &mut self.objects.serving {
            Some(serving) if serving.generation == request.generation => {
                serving.owed = serving.owed.max(owed);
                serving.requester = incoming.from;
            }
            Some(_) => return,
            None => {
                let wait = self.objects.jitter(SERVE_JITTER);
                self.objects.serving = Some(Serving {
                    requester: incoming.from,
                    generation: request.generation,
                    owed,
                    begin_at: if insists { now } else { now + wait },
                    insists,
                    begun: false,
                    // One who has nothing gets the pieces as they are; one who has some gets combinations.
                    plain_left: if u16::from(request.needed) >= pieces { pieces } else { 0 },
                    asked_plain: [0; 32],
                });
            }
        }
        if let (Some(bitmap), Some(serving)) = (request.uncoded, &mut self.objects.serving) {
            for (asked, bits) in serving.asked_plain.iter_mut().zip(bitmap) {
                *asked |= bits;
            }
        }
    }

    /// A symbol: for us if we lack it, a sign that somebody else serves if we hold the object.
    pub(crate) fn handle_symbol(&mut self, now: Instant, incoming: &InFrame<'_>, symbol: &Symbol<'_>) {
        self.governor.spend(incoming.airtime);
        if symbol.object_tag != self.objects.manifest.tag {
            if incoming.hops_away == Some(0) {
                self.want_manifest(now, symbol.object_tag);
            }
            return;
        }
        if self.update.holds_object() {
            if let Some(serving) = &mut self.objects.serving {
                if !serving.begun && !serving.insists {
                    // Somebody else was first.
                    self.objects.yielded = Some((serving.requester, now));
                    self.objects.serving = None;
                } else if serving.generation == symbol.generation {
                    serving.owed = serving.owed.saturating_sub(1);
                    if serving.owed == 0 {
                        self.objects.serving = None;
                    }
                }
            }
            return;
        }
        let Some(asking) = &mut self.objects.asking else { return };
        asking.last_symbol = now;
        asking.asked = 0;
        asking.at = now + SYMBOLS_QUIET;
        match self.update.handle_symbol(symbol.generation, symbol.symbol, symbol.data) {
            Ok(false) => {}
            Ok(true) => self.finish_object(now),
            Err(refusal) => self.set_back(now, refusal),
        }
    }

    /// All pieces are here: verify the whole, install, try, and tell the neighbours.
    fn finish_object(&mut self, now: Instant) {
        let tag = self.objects.manifest.tag;
        self.objects.asking = None;
        self.push_event(AgentEvent::ObjectComplete { tag });
        match self.update.install(self.config.base.as_ref()) {
            Ok(version) => self.push_event(AgentEvent::ModelActivated { version }),
            Err(refusal) => self.set_back(now, refusal),
        }
        self.beacon_soon(now);
    }

    /// Bulk timers that do not send.
    pub(crate) fn handle_object_timeout(&mut self, now: Instant) {
        if self.objects.storage_again.is_some_and(|at| now >= at) {
            self.objects.storage_again = None;
            if self.objects.incoming.complete {
                self.consider_manifest(now);
            }
        }
        // Hold a request back while symbols flow or somebody else has just asked.
        let jitter = self.objects.jitter(ASK_JITTER);
        if let Some(asking) = &mut self.objects.asking
            && now >= asking.at
        {
            let quiet = now.saturating_duration_since(asking.last_symbol) >= SYMBOLS_QUIET;
            let alone = now.saturating_duration_since(asking.other_asked) >= ASK_JITTER + ASK_JITTER;
            if !quiet || !alone {
                asking.at = now + ASK_JITTER + jitter;
            }
        }
    }

    /// The next bulk frame, when the governor lets it and none waits in the radio's queue.
    pub(crate) fn poll_bulk(&mut self, now: Instant, link: &LinkState) -> Option<OutFrame> {
        if link.bulk_queued || !self.governor.allows() {
            return None;
        }
        let out = self
            .poll_record(now)
            .or_else(|| self.poll_record_request(now))
            .or_else(|| self.poll_symbol_request(now))
            .or_else(|| self.poll_symbol(now))?;
        self.governor.spend(link.time_on_air(out.payload.len()));
        Some(out)
    }

    fn poll_record(&mut self, now: Instant) -> Option<OutFrame> {
        let index = self.objects.outgoing.iter().position(|out| now >= out.not_before)?;
        let out = self.objects.outgoing[index];
        let Some(held) = self.objects.held(out.kind).filter(|held| out.next_part < held.parts()) else {
            self.objects.outgoing.swap_remove(index);
            return None;
        };
        let (part, parts) = (out.next_part, held.parts());
        let bytes: heapless::Vec<u8, { RECORD_PART }> = heapless::Vec::from_slice(held.part(part)).ok()?;
        let frame =
            Frame::Record(Record { record_type: out.kind, part, parts, tag: held.tag, bytes: &bytes });
        if part + 1 == parts {
            self.objects.outgoing.swap_remove(index);
        } else {
            self.objects.outgoing[index].next_part += 1;
        }
        self.seal(&frame, out.to, out.hop_limit, false, Gate::Bulk, QueuePriority::Background)
    }

    fn poll_record_request(&mut self, now: Instant) -> Option<OutFrame> {
        let mut wanted = self.objects.wanted_record.filter(|wanted| now >= wanted.at)?;
        let wait = Duration::from_micros(RECORD_AGAIN.as_micros() << wanted.asked.min(6));
        wanted.at = now + wait + self.objects.jitter(ASK_JITTER);
        wanted.asked += 1;
        self.objects.wanted_record = (wanted.asked < RECORD_REQUESTS).then_some(wanted);
        if self.objects.wanted_record.is_none() && wanted.kind == RecordType::Delegation {
            // Nobody knows its signer: perhaps it is forged, and the right one can still be had.
            self.objects.incoming.clear();
        }
        let frame = Frame::RecordRequest(RecordRequest { record_type: wanted.kind, tag: wanted.tag });
        self.seal(&frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background)
    }

    fn poll_symbol_request(&mut self, now: Instant) -> Option<OutFrame> {
        let asking = self.objects.asking.as_ref().filter(|asking| now >= asking.at)?;
        let asked = asking.asked;
        let (generation, needed) = self.update.lacks()?;
        let mut bitmap = [0; 32];
        let uncoded = self.update.missing_bitmap(generation, &mut bitmap);
        let frame = Frame::SymbolRequest(SymbolRequest {
            object_tag: self.objects.manifest.tag,
            generation,
            needed,
            uncoded: uncoded.map(|length| &bitmap[..length]),
        });
        let again = (ASK_AGAIN.as_micros() << asked.min(8)).min(ASK_AGAIN_MAX.as_micros());
        let wait = Duration::from_micros(again) + self.objects.jitter(ASK_JITTER);
        if let Some(asking) = &mut self.objects.asking {
            asking.asked = asking.asked.saturating_add(1);
            asking.at = now + wait;
        }
        self.seal(&frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background)
    }

    fn poll_symbol(&mut self, now: Instant) -> Option<OutFrame> {
        let serving = self.objects.serving.as_mut().filter(|serving| now >= serving.begin_at)?;
        serving.begun = true;
        let generation = serving.generation;
        let pieces = self.update.pieces(generation);
        let asked =
            (0..pieces).rev().find(|id| serving.asked_plain[usize::from(id / 8)] >> (id % 8) & 1 == 1);
        let id = if let Some(id) = asked {
            serving.asked_plain[usize::from(id / 8)] &= !(1 << (id % 8));
            id
        } else if serving.plain_left > 0 {
            serving.plain_left -= 1;
            serving.plain_left
        } else {
            // Drawn from this node's own generator: two servers do not send the same combination.
            CODED_FROM + self.objects.rng.below(u32::from(u16::MAX - CODED_FROM)) as u16
        };
        serving.owed = serving.owed.saturating_sub(1);
        if serving.owed == 0 {
            self.objects.serving = None;
        }
        let mut data = [0; MAX_SYMBOL];
        let length = self.update.symbol(generation, id, &mut data)?;
        let frame = Frame::Symbol(Symbol {
            object_tag: self.objects.manifest.tag,
            generation,
            symbol: id,
            data: &data[..length],
        });
        self.seal(&frame, NodeNum::BROADCAST, 0, false, Gate::Bulk, QueuePriority::Background)
    }
}
