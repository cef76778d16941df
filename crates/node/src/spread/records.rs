//! Manifests, delegations and revocations: who asks for them, who passes them on, and what a verified manifest sets in motion.

use compotastic_bundle::{ClaimedManifest, Manifest, RecordChange, RecordError, Refusal, verify};
use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority as QueuePriority},
    time::{Duration, Instant},
};
use compotastic_wire::{Beacon, Frame, Record, RecordRequest, RecordType};
use embedded_storage::nor_flash::NorFlash;

use super::{
    HOLDER_WAIT, Object, Outgoing, RECORD_AGAIN, RECORD_FLOODED_FROM, RECORD_JITTER, RECORD_PART,
    RECORD_REQUESTS, RECORD_SERVE_JITTER, RUMOUR_WAIT, STORAGE_AGAIN, Wanted, client::Client, key_tag, rank,
};
use crate::{
    agent::{Agent, AgentEvent, BundleRefusal, InFrame, OutFrame},
    registry::NEIGHBOUR_EXPIRY,
};

impl<F: NorFlash> Agent<'_, F> {
    /// A beacon tells what a node holds: one that has what we lack can be asked, one that lacks what we have
    /// is a reason to offer it.
    pub(crate) fn handle_neighbour_progress(
        &mut self,
        now: Instant,
        from: NodeNum,
        hops: u8,
        beacon: &Beacon,
    ) {
        if beacon.object_tag == 0 {
            return;
        }
        let Some(component) = self.objects.by_tag(beacon.object_tag) else {
            // It is on its way here, most likely. From afar only what a node with a model floods: there may be stock nodes alone between.
            let wait = if hops == 0 && beacon.object_progress == 255 { HOLDER_WAIT } else { RUMOUR_WAIT };
            self.want_manifest(now, beacon.object_tag, wait, hops != 0);
            return;
        };
        if hops != 0 {
            return;
        }
        if beacon.object_progress > self.update.progress(component) {
            self.client_may_ask(now, component);
        }
        self.neighbour_tells(now, component, from, beacon);
    }

    /// An object that we do not know is about. Its manifest may be here and wait for the delegation of its signer, for
    /// which nobody was heard to answer.
    pub(crate) fn want_manifest(&mut self, now: Instant, tag: u32, wait: Duration, far: bool) {
        if self.objects.incoming.complete && self.objects.incoming.tag == tag {
            if self.objects.storage_again.is_none() {
                self.consider_manifest(now);
            }
        } else {
            self.want_record(now, RecordType::Manifest, tag, wait, far);
        }
    }

    /// Neighbours are asked for a record, after a moment.
    fn want_record(&mut self, now: Instant, kind: RecordType, tag: u32, wait: Duration, far: bool) {
        if self.objects.is_refused(now, tag) {
            return;
        }
        let wait = wait + self.objects.jitter(RECORD_JITTER);
        if let Some(wanted) = &mut self.objects.wanted_record {
            if (wanted.kind, wanted.tag) == (kind, tag) {
                wanted.far &= far;
                if wanted.asked == 0 {
                    wanted.at = wanted.at.min(now + wait);
                }
            }
            return;
        }
        self.objects.wanted_record = Some(Wanted { kind, tag, at: now + wait, asked: 0, far });
    }

    /// A part of a record. Forged ones do not come this far, and unverified ones are only kept.
    pub(crate) fn handle_record(&mut self, now: Instant, incoming: &InFrame<'_>, record: &Record<'_>) {
        let near = incoming.hops_away == Some(0);
        if near {
            self.governor.overhear(incoming.airtime);
        }
        if self
            .objects
            .wanted_record
            .is_some_and(|wanted| (wanted.kind, wanted.tag) == (record.record_type, record.tag))
        {
            self.objects.wanted_record = None;
        }
        // Somebody else answers those who asked here too.
        if record.part + 1 == record.parts {
            self.objects
                .outgoing
                .retain(|out| (out.kind, out.tag) != (record.record_type, record.tag) || out.next_part > 0);
        }
        match record.record_type {
            RecordType::Delegation => {
                if self.objects.incoming_delegation.take(record) {
                    let whole = core::mem::take(&mut self.objects.incoming_delegation.bytes);
                    let change = self.add_trust_record(now, &whole);
                    let objects = &mut self.objects;
                    objects.incoming_delegation.bytes = whole;
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
                    let whole = core::mem::take(&mut self.objects.revocation).bytes;
                    let _ = self.add_trust_record(now, &whole);
                }
            }
            RecordType::Manifest => {
                if let Some(component) = self.objects.by_tag(record.tag) {
                    // Who tells of a manifest unasked, or asked, holds it: that is an offer.
                    if near {
                        self.handle_offer_of_object(now, component, incoming.from);
                    }
                } else if !self.objects.is_refused(now, record.tag) && self.objects.incoming.take(record) {
                    self.objects.offered_by = near.then_some(incoming.from);
                    self.consider_manifest(now);
                }
            }
            // Those about keys went elsewhere, or are for another node.
            RecordType::Capability
            | RecordType::NodeKey
            | RecordType::KeyRotation
            | RecordType::KeyReceipt
            | RecordType::KeySwitch => {}
        }
    }

    /// Takes a signed delegation, revocation or rotation. What was revoked or rotated is kept in flash; while that refuses, it holds until a
    /// restart, and is tried again.
    ///
    /// # Errors
    ///
    /// The record is not in order, or says nothing that could be taken: see [`RecordError`].
    pub fn add_trust_record(&mut self, now: Instant, record: &[u8]) -> Result<RecordChange, RecordError> {
        let change = self.config.trust.add_record(record)?;
        if matches!(change, RecordChange::Revoked(_) | RecordChange::Rotated(_)) {
            self.store_trust(now);
        }
        Ok(change)
    }

    pub(crate) fn store_trust(&mut self, now: Instant) {
        let stored = self.update.store_trust(&self.config.trust);
        self.objects.trust_again = stored.err().map(|_| now + STORAGE_AGAIN);
    }

    /// A whole manifest is here: verify it and decide.
    pub(crate) fn consider_manifest(&mut self, now: Instant) {
        let tag = self.objects.incoming.tag;
        // Under another object's name: it must not stand in that one's way.
        let named = ClaimedManifest::parse(&self.objects.incoming.bytes)
            .is_ok_and(|claimed| claimed.claims().tag().0 == tag);
        if !named {
            self.objects.incoming.clear();
            return;
        }
        let verdict = verify(&self.objects.incoming.bytes, &self.config.trust)
            .and_then(|verified| self.update.admit(&self.config, &verified));
        match verdict {
            Ok(component) => {
                self.objects.storage_again = None;
                self.objects.wanted_record = self.objects.wanted_record.filter(|wanted| wanted.tag != tag);
                let before = core::mem::take(&mut self.objects.all[component]);
                let objects = &mut self.objects;
                core::mem::swap(&mut objects.all[component].manifest, &mut objects.incoming);
                objects.incoming.clear();
                objects.all[component].queued = true;
                let offered_by = objects.offered_by.take();
                if let Err(refusal) = self.take_turn(now, component) {
                    // The manifest waits: flash may work again later. What was here before is still served.
                    let failed = core::mem::replace(&mut self.objects.all[component], before);
                    self.objects.incoming = failed.manifest;
                    self.objects.storage_again = Some(now + STORAGE_AGAIN);
                    self.push_event(AgentEvent::BundleRefused(refusal));
                    return;
                }
                self.push_event(AgentEvent::ObjectWanted { tag });
                // A restart may have come between the last piece and the switch.
                if self.update.is_complete(component) {
                    self.finish_object(now, component);
                    return;
                }
                self.take_early(now, component);
                if let Some(by) = offered_by {
                    self.handle_offer_of_object(now, component, by);
                }
            }
            // The delegation may have been lost on the way.
            Err(Refusal::UnknownKey(key)) => {
                self.want_record(now, RecordType::Delegation, key_tag(key), Duration::from_secs(0), false)
            }
            Err(Refusal::WrongComponent) if self.update.carries() && self.objects.unplaced != Some(tag) => {
                // The host may have room for it: it is considered once more when the host has been told.
                self.objects.unplaced = Some(tag);
                self.objects.storage_again = Some(now);
                if let Ok(claimed) = ClaimedManifest::parse(&self.objects.incoming.bytes) {
                    let Manifest { kind, task, .. } = *claimed.claims();
                    self.push_event(AgentEvent::ObjectUnplaced { kind, task });
                }
            }
            Err(refusal) => self.refuse_manifest(now, tag, refusal),
        }
    }

    /// A queued object begins, unless one that is more urgent is on its way; a less urgent one is set aside.
    fn take_turn(&mut self, now: Instant, component: usize) -> Result<(), BundleRefusal> {
        let kind_of = |agent: &Self, component| agent.update.kind(component).map_or(u8::MAX, rank);
        let own = kind_of(self, component);
        let yields = (0..self.update.components())
            .any(|other| self.objects.all[other].queued && kind_of(self, other) < own);
        if self.update.is_making() && (yields || !self.update.is_native(component)) {
            // An image is made in the memory that this takes; it is a matter of seconds. Newer firmware takes it at once, unless something
            // more urgent waits for it.
            self.update.await_turn(component);
            return Ok(());
        }
        if let Some(other) = (0..self.update.components()).find(|other| self.update.is_receiving(*other))
            && other != component
        {
            if kind_of(self, other) <= kind_of(self, component) {
                self.update.await_turn(component);
                return Ok(());
            }
            self.set_receivers_aside();
        }
        self.begin_object(now, component)
    }

    fn begin_object(&mut self, now: Instant, component: usize) -> Result<(), BundleRefusal> {
        let verified = verify(&self.objects.all[component].manifest.bytes, &self.config.trust)
            .map_err(BundleRefusal::Manifest)?;
        self.update.begin(component, &self.config, &verified)?;
        self.update.take_over(component, verified.object());
        let wait = self.objects.jitter(super::client::FIRST_ASK);
        let object = &mut self.objects.all[component];
        object.queued = false;
        object.client = Some(Client::new(now, wait));
        Ok(())
    }

    /// Nothing is being received: the most urgent of those that wait begins.
    pub(crate) fn next_object(&mut self, now: Instant) {
        let receiving = (0..self.update.components()).any(|component| self.update.is_receiving(component));
        if receiving || self.update.is_making() {
            return;
        }
        let next = (0..self.update.components())
            .filter(|component| self.objects.all[*component].queued)
            .min_by_key(|component| self.update.kind(*component).map_or(u8::MAX, rank));
        let Some(component) = next else { return };
        match self.begin_object(now, component) {
            Ok(()) if self.update.is_complete(component) => self.finish_object(now, component),
            Ok(()) => {}
            Err(refusal) => self.set_back(now, component, refusal),
        }
    }

    /// What is received makes room, and goes on when its turn comes again.
    pub(crate) fn set_receivers_aside(&mut self) {
        for component in 0..self.update.components() {
            if self.update.is_receiving(component) {
                self.update.set_aside(component);
                self.objects.all[component].queued = true;
                self.objects.all[component].client = None;
            }
        }
    }

    fn refuse_manifest(&mut self, now: Instant, tag: u32, refusal: Refusal) {
        self.objects.incoming.clear();
        self.objects.refuse(now, tag);
        self.push_event(AgentEvent::BundleRefused(BundleRefusal::Manifest(refusal)));
    }

    /// Flash or the content was not good: what is in use is what this node holds and tells of. What flash refused, the later the more often it
    /// did, or what a trial keeps out is tried again, content that is no good is not.
    pub(crate) fn set_back(&mut self, now: Instant, component: usize, refusal: BundleRefusal) {
        let failed = core::mem::take(&mut self.objects.all[component]);
        self.update.forget(component);
        if matches!(refusal, BundleRefusal::Storage | BundleRefusal::OnTrial) {
            let wait = match refusal {
                BundleRefusal::Storage => self.objects.storage_refuses(failed.manifest.tag),
                _ => STORAGE_AGAIN,
            };
            self.objects.incoming = failed.manifest;
            self.objects.storage_again = Some(now + wait);
        } else if refusal == BundleRefusal::Content {
            self.objects.refuse_content(now, failed.manifest.tag);
        } else {
            self.objects.refuse(now, failed.manifest.tag);
        }
        self.hold_active(component);
        self.push_event(AgentEvent::BundleRefused(refusal));
    }

    /// What is in force can be passed on.
    pub(crate) fn hold_active(&mut self, component: usize) {
        if let Some(active) = self.update.active_manifest(component) {
            let mut object = Object::default();
            object.manifest.fill(active.claims().tag().0, &active.to_packed());
            self.objects.all[component] = object;
        }
    }

    /// Somebody asks for a record.
    pub(crate) fn handle_record_request(
        &mut self,
        now: Instant,
        incoming: &InFrame<'_>,
        request: &RecordRequest,
    ) {
        self.governor.overhear(incoming.airtime);
        let wait = self.objects.jitter(RECORD_SERVE_JITTER);
        let near = incoming.hops_away == Some(0);
        let named = self.objects.by_tag(request.tag).filter(|_| request.record_type == RecordType::Manifest);
        if named.is_some_and(|component| self.objects.all[component].paused) {
            return;
        }
        if request.record_type == RecordType::Manifest
            && near
            && let Some(component) = self.objects.by_tag(request.tag)
        {
            // A manifest is an offer: it comes from one of those who can serve.
            if self.objects.all[component].server.is_serving() {
                self.objects.queue_record(RecordType::Manifest, request.tag, 0, now);
            } else if self.update.complete_generations(component) != 0 {
                self.objects.all[component].coverage.lost(incoming.from, false);
                self.restart_offer(now, component);
            }
        } else if self.objects.held(request.record_type, request.tag).is_some() {
            // As a broadcast: whoever missed it before may hear it now. As far as the question came.
            let hop_limit = incoming.hops_away.unwrap_or(0).min(self.config.hop_limit);
            let wait = if near { wait } else { Duration::from_micros(wait.as_micros() * 8) };
            self.objects.queue_record(request.record_type, request.tag, hop_limit, now + wait);
        } else if let Some(wanted) = &mut self.objects.wanted_record
            && (wanted.kind, wanted.tag) == (request.record_type, request.tag)
        {
            // What he is given will be heard here too.
            wanted.at = wanted.at.max(now + RECORD_AGAIN + wait);
        } else if near && request.record_type == RecordType::Delegation && self.holds_object_of(request.tag) {
            // It was lost with a restart, and who wants what we hold may have nobody else to ask: it is got back, and given when it is
            // asked for again.
            self.want_record(now, RecordType::Delegation, request.tag, Duration::ZERO, false);
        }
    }

    /// Whether an object here is signed by the key with this tag.
    fn holds_object_of(&self, key: u32) -> bool {
        self.objects.all.iter().any(|object| {
            let signer =
                ClaimedManifest::parse(&object.manifest.bytes).map(|claimed| key_tag(claimed.key_id()));
            object.manifest.complete && signer == Ok(key)
        })
    }

    /// The next part of a record. Delegations and manifests for neighbours go first, and alone if the governor holds bulk back: without
    /// them the symbols on the air are lost on those who miss them.
    pub(crate) fn poll_record(&mut self, now: Instant, manifests_only: bool) -> Option<OutFrame> {
        let pressing =
            |out: &Outgoing| now >= out.not_before && out.kind == RecordType::Manifest && out.hop_limit == 0;
        let outgoing = &self.objects.outgoing;
        let index = outgoing
            .iter()
            .position(pressing)
            .or_else(|| outgoing.iter().position(|out| now >= out.not_before).filter(|_| !manifests_only))?;
        let out = self.objects.outgoing[index];
        let held = self.objects.held(out.kind, out.tag).filter(|held| out.next_part < held.parts());
        let Some(held) = held else {
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
        self.seal(&frame, NodeNum::BROADCAST, out.hop_limit, false, Gate::Bulk, QueuePriority::Background)
    }

    /// Nodes of ours are heard directly.
    pub(crate) fn has_neighbours(&self, now: Instant) -> bool {
        self.registry.iter().any(|entry| {
            entry.hops_away == 0 && now.saturating_duration_since(entry.heard_at) < NEIGHBOUR_EXPIRY
        })
    }

    pub(crate) fn poll_record_request(&mut self, now: Instant) -> Option<OutFrame> {
        let mut wanted = self.objects.wanted_record.filter(|wanted| now >= wanted.at)?;
        let wait = Duration::from_micros(RECORD_AGAIN.as_micros() << wanted.asked.min(6));
        wanted.at = now + wait + self.objects.jitter(RECORD_JITTER);
        wanted.asked += 1;
        self.objects.wanted_record = (wanted.asked < RECORD_REQUESTS).then_some(wanted);
        if self.objects.wanted_record.is_none() && wanted.kind == RecordType::Delegation {
            // Nobody knows its signer: perhaps it is forged, and the right one can still be had.
            self.objects.incoming.clear();
        }
        let flooded = wanted.asked > RECORD_FLOODED_FROM && (wanted.far || !self.has_neighbours(now));
        let hop_limit = if flooded { self.config.hop_limit } else { 0 };
        let frame = Frame::RecordRequest(RecordRequest { record_type: wanted.kind, tag: wanted.tag });
        self.seal(&frame, NodeNum::BROADCAST, hop_limit, false, Gate::Bulk, QueuePriority::Background)
    }
}
