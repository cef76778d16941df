//! What a router does with a frame that it hears: deliver, relay, acknowledge.

use heapless::Vec;

use super::{
    Gate, Incoming, Outgoing, Priority, Rebroadcast, Router, RouterEvent, Sealed, Seen,
    delivery::is_reminder, relaying::Fate, roles::WhenAnotherWasFaster,
};
use crate::{
    crypto::{Channel, ctr_apply},
    packet::{Data, HEADER, Header, MAX_DATA, NodeNum, PacketId},
    queue::Queued,
    time::{Duration, Instant},
    traceroute::{self, TRACEROUTE_PORT},
};

/// Port of routing messages (acknowledgements).
pub const ROUTING_PORT: u16 = 5;
/// The payload of an acknowledgement: Routing { error_reason: NONE }.
pub const ROUTING_NONE: [u8; 2] = [0x18, 0x00];
/// A relay passes a packet on by name so many times at most.
const FORWARDS_MAX: u8 = 3;

impl Incoming {
    /// From a header and what was read behind it.
    fn new(
        header: &Header,
        data: &Data<'_>,
        channel: u8,
        under_public_keys: bool,
        snr_qdb: i16,
        airtime: Duration,
    ) -> Self {
        Self {
            from: header.from,
            to: header.to,
            id: header.id,
            port: data.port,
            channel,
            payload: Vec::from_slice(data.payload).unwrap_or_default(),
            snr_qdb,
            hops_away: header.hops_away(),
            request_id: data.request_id,
            reply_id: data.reply_id,
            emoji: data.emoji,
            want_response: data.wants_response(),
            bitfield: data.bitfield,
            signature: data.signature.copied(),
            under_public_keys,
            header: *header,
            airtime,
        }
    }
}

impl Router {
    /// A frame was received.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, _rssi_dbm: i16) {
        let airtime = self.time_on_air(frame.len());
        let parsed = Header::parse(frame);
        // Over a LAN, what was not to leave it was on no air.
        let on_air = self.lan_permille.is_none() || parsed.is_some_and(|header| header.hop_start > 0);
        if on_air {
            self.utilization.record(now, airtime);
        }
        let Some(header) = parsed else { return };
        let data = &frame[HEADER..];
        if data.is_empty() && is_reminder(&header) {
            self.handle_reminder(now, &header);
            return;
        }
        // A bare header says that its sender has passed the packet on, or is its destination. It is not the packet.
        let hop_ack = data.is_empty();
        self.hear_relay(&header, hop_ack);
        if header.from == self.config.num || hop_ack {
            return;
        }
        let known = self.seen.iter().position(|seen| seen.from == header.from && seen.id == header.id);
        self.routes.learn(now, &header, known.is_none(), snr_qdb, self.modem.snr_limit_qdb());
        // A packet the other way between the same two nodes is the reply, and so the acknowledgement.
        let (own, own_port, named_only) = (self.config.num, self.config.own_port, self.owner_answers);
        self.end_waiting(|pending| {
            let waits = pending.packet.header;
            let replies = waits.to == header.from && waits.from == header.to;
            // What stock nodes answer names the packet.
            replies && (!named_only || pending.packet.port == Some(own_port) || waits.from != own)
        });
        match known {
            Some(_) => self.handle_copy(now, &header, data, snr_qdb, airtime),
            None => {
                let fate = self.judge(now, &header, data);
                self.remember(header.from, header.id, fate);
                if fate != Fate::Ignored {
                    self.deliver(now, &header, data, snr_qdb, airtime);
                }
                self.consider_relay(now, &header, data, snr_qdb, airtime);
            }
        }
    }

    pub(super) fn handle_copy(
        &mut self,
        now: Instant,
        header: &Header,
        data: &[u8],
        snr_qdb: i16,
        airtime: Duration,
    ) {
        let repeated_by_origin = header.hops_away() == Some(0) && header.hop_start > 0;
        let Some(seen) = self.seen.iter_mut().find(|seen| seen.from == header.from && seen.id == header.id)
        else {
            return;
        };
        if header.to == self.config.num {
            if seen.fate != Fate::Ignored {
                self.handle_repeated(now, header, data, repeated_by_origin);
            }
            return;
        }
        let by_name = header.next_hop == self.config.num.last_byte();
        if by_name {
            if self.queue.contains(header.from, header.id) {
                return;
            }
            let (forwarded, next_hop, looped) =
                (seen.forwarded, seen.next_hop, header.hop_limit < seen.hop_limit);
            let ours = self.read(header, data, |data, _| data.port) == Some(self.config.own_port);
            if forwarded > 0 && ours {
                self.acknowledge_hop(now, header);
                if looped {
                    // The way that we chose leads back here.
                    self.routes.handle_failure(now, header.to, next_hop);
                    if forwarded < FORWARDS_MAX {
                        self.consider_relay(now, header, data, snr_qdb, airtime);
                    }
                }
            } else if forwarded < FORWARDS_MAX {
                // It names us only now; or, on a stock port, passing it on again is the only proof there is.
                self.consider_relay(now, header, data, snr_qdb, airtime);
            }
            return;
        }
        if header.next_hop != 0 {
            return;
        }
        if self.queue.contains(header.from, header.id) {
            self.handle_copy_of_queued(now, header, repeated_by_origin);
        } else if seen.fate == Fate::Open || repeated_by_origin && header.want_ack {
            self.consider_relay(now, header, data, snr_qdb, airtime);
        }
    }

    /// A copy of a packet that waits here: it may be worth more than ours, or make ours superfluous.
    fn handle_copy_of_queued(&mut self, now: Instant, header: &Header, repeated_by_origin: bool) {
        let ours = |queued: &Queued| queued.originated || queued.header.next_hop != 0;
        let same = |queued: &Queued| queued.is(header.from, header.id);
        if self.queue.packets.iter().any(|queued| same(queued) && ours(queued)) {
            return;
        }
        let Some(index) = self.queue.packets.iter().position(same) else { return };
        let queued = &mut self.queue.packets[index];
        // One hop always goes: that stock favourites keep it between each other needs their roles, and spares them what
        // others pay for.
        let hops_left = header.hop_limit.saturating_sub(1);
        if hops_left > queued.header.hop_limit {
            // It came by a shorter way and gets farther. Its turn stays, and nothing but the hops is taken from the copy.
            queued.header.hop_limit = hops_left;
            queued.header.hop_start = header.hop_start;
            queued.came_from = header.relay_node;
            return;
        }
        // A copy from the origin itself says nothing about relays.
        if repeated_by_origin {
            return;
        }
        let favourites = &self.config.relaying.favourites;
        let favourite = favourites.contains(&header.from) || favourites.contains(&header.to);
        match self.config.role.when_another_was_faster(favourite) {
            WhenAnotherWasFaster::RelayAnyway => {}
            WhenAnotherWasFaster::KeepSilent => drop(self.queue.cancel(header.from, header.id)),
            WhenAnotherWasFaster::RelayLate if queued.moved => {}
            WhenAnotherWasFaster::RelayLate => {
                let snr_qdb = queued.snr_qdb;
                let ready_at = now + self.late_backoff(snr_qdb);
                let queued = &mut self.queue.packets[index];
                (queued.ready_at, queued.moved) = (ready_at, true);
            }
        }
    }

    /// The sender, or the hop before us, repeats what we have delivered: it did not hear our answer.
    pub(super) fn handle_repeated(&mut self, now: Instant, header: &Header, data: &[u8], by_origin: bool) {
        if !(header.want_ack || by_origin) {
            return;
        }
        if self.owner_answers && self.read(header, data, |data, _| data.port) != Some(self.config.own_port) {
            if header.want_ack {
                self.push_event(RouterEvent::Duplicate { from: header.from, id: header.id });
            }
            return;
        }
        let Some((port, channel)) = self.read(header, data, |data, channel| (data.port, channel)) else {
            return;
        };
        if port != self.config.own_port {
            if header.want_ack {
                self.acknowledge(now, header, channel);
            }
            return;
        }
        let answers = |packet: &Queued| packet.header.to == header.from && packet.originated;
        if self.queue.packets.iter().any(answers) || self.queue.contains(header.from, header.id) {
            // Our answer is about to go.
            return;
        }
        let answered = self.pending.iter().any(|pending| answers(&pending.packet));
        if by_origin && !answered {
            self.push_event(RouterEvent::Duplicate { from: header.from, id: header.id });
        } else if header.next_hop == self.config.num.last_byte() {
            self.acknowledge_hop(now, header);
        }
    }

    /// Decrypts with the channels whose hash fits, and hands the message to `use_it`.
    pub(super) fn read<T>(
        &self,
        header: &Header,
        data: &[u8],
        use_it: impl FnOnce(&Data<'_>, u8) -> T,
    ) -> Option<T> {
        let unread = self.config.relaying.rebroadcast == Rebroadcast::AllSkipDecoding;
        if unread && header.to != self.config.num {
            return None;
        }
        let mut clear = [0; MAX_DATA];
        let clear = clear.get_mut(..data.len())?;
        for (index, channel) in self.config.channels.iter().enumerate() {
            if !channel.enabled() || channel.hash() != header.channel_hash {
                continue;
            }
            clear.copy_from_slice(data);
            ctr_apply(&channel.key, header.from, header.id, clear);
            if let Some(data) = Data::decode(clear) {
                return Some(use_it(&data, index as u8));
            }
        }
        None
    }

    pub(super) fn deliver(
        &mut self,
        now: Instant,
        header: &Header,
        data: &[u8],
        snr_qdb: i16,
        airtime: Duration,
    ) {
        let everybody = [NodeNum::BROADCAST, NodeNum::LAN_BROADCAST].contains(&header.to);
        let for_us = header.to == self.config.num || everybody;
        let own_port = self.config.own_port;
        let sealed = |data: &[u8]| {
            let data = Vec::from_slice(data).unwrap_or_default();
            RouterEvent::Sealed(Sealed { header: *header, data, snr_qdb, airtime })
        };
        let owner_opens = self.owner_answers && header.to == self.config.num;
        if owner_opens && header.channel_hash == 0 {
            self.push_event(sealed(data));
            return;
        }
        let incoming = self.read(header, data, |data, channel| {
            let wanted = for_us || data.port == own_port;
            wanted.then(|| Incoming::new(header, data, channel, false, snr_qdb, airtime))
        });
        match incoming {
            Some(Some(incoming)) if for_us => self.deliver_read(now, incoming),
            Some(Some(incoming)) => self.push_event(RouterEvent::Overheard(incoming)),
            None if owner_opens => self.push_event(sealed(data)),
            _ => {}
        }
    }

    /// A readable packet for this node or for everybody.
    fn deliver_read(&mut self, now: Instant, incoming: Incoming) {
        let header = incoming.header;
        if header.to == self.config.num {
            if let Some(id) = incoming.request_id.or(incoming.reply_id) {
                let own = self.config.num;
                self.end_waiting(|pending| pending.packet.is(own, PacketId(id)));
                // What names an error is no acknowledgement.
                let refused = incoming.port == ROUTING_PORT && incoming.payload[..] != ROUTING_NONE;
                if !(self.owner_answers && refused) {
                    self.push_event(RouterEvent::Acked { id: PacketId(id) });
                }
            }
            let wanted = header.want_ack && ![self.config.own_port, ROUTING_PORT].contains(&incoming.port);
            if wanted && !self.owner_answers {
                self.acknowledge(now, &header, incoming.channel);
            }
        }
        self.push_event(RouterEvent::Received(incoming));
    }

    /// The owner opened a packet ([`RouterEvent::Sealed`]) with the sender's public key; `clear` is what it says. False where it
    /// is no message.
    pub fn handle_opened(&mut self, now: Instant, sealed: &Sealed, clear: &[u8]) -> bool {
        let Some(data) = Data::decode(clear) else { return false };
        let incoming = Incoming::new(&sealed.header, &data, 0, true, sealed.snr_qdb, sealed.airtime);
        self.deliver_read(now, incoming);
        true
    }

    /// The owner has no key for a packet: it may still be one of a channel whose hash is 0. False where it is not.
    pub fn handle_unopened(&mut self, now: Instant, sealed: &Sealed) -> bool {
        let incoming = self.read(&sealed.header, &sealed.data, |data, channel| {
            Incoming::new(&sealed.header, data, channel, false, sealed.snr_qdb, sealed.airtime)
        });
        let Some(incoming) = incoming else { return false };
        self.deliver_read(now, incoming);
        true
    }

    /// Sends the stock acknowledgement: Routing { error_reason: NONE } that names the packet.
    pub(super) fn acknowledge(&mut self, now: Instant, header: &Header, channel: u8) {
        let hops_used = header.hops_away().unwrap_or(self.config.hop_limit);
        let outgoing = Outgoing {
            to: header.from,
            id: PacketId(self.rng.next_u32() | 1),
            channel,
            port: ROUTING_PORT,
            payload: &ROUTING_NONE,
            hop_limit: if hops_used == 0 { 0 } else { (hops_used + 2).min(7) },
            want_ack: false,
            priority: Priority::Ack,
            gate: Gate::Normal,
            request_id: Some(header.id.0),
            bitfield: Some(0),
        };
        // A full queue loses the acknowledgement; the sender will repeat.
        let _ = self.send(now, &outgoing);
    }

    pub(super) fn consider_relay(
        &mut self,
        now: Instant,
        header: &Header,
        data: &[u8],
        snr_qdb: i16,
        airtime: Duration,
    ) {
        let own = self.config.num.last_byte();
        let asked = header.next_hop == 0 || header.next_hop == own;
        if header.to == self.config.num
            || header.to == NodeNum::LAN_BROADCAST
            || header.hop_limit == 0
            || header.id.0 == 0
            || !self.config.role.relays()
            || !asked
        {
            return;
        }
        let forbidden = |seen: &Seen| matches!(seen.fate, Fate::Ignored | Fate::Kept);
        let same = |seen: &Seen| seen.from == header.from && seen.id == header.id;
        if self.seen.iter().any(|seen| same(seen) && forbidden(seen)) {
            return;
        }
        let by_name = header.next_hop == own;
        // Never back to where it came from.
        let next_hop = if by_name {
            self.routes.next_hop(now, header.to, header.hop_limit - 1, header.relay_node)
        } else {
            None
        };
        if by_name && next_hop.is_none() && header.hop_limit == 1 {
            // It cannot arrive any more; whoever waits for us to pass it on need not repeat it.
            self.acknowledge_hop(now, header);
            return;
        }
        let next_hop = next_hop.unwrap_or(0);
        let port = self.read(header, data, |data, _| data.port);
        let Ok(mut data) = Vec::from_slice(data) else { return };
        if self.owner_answers && port == Some(TRACEROUTE_PORT) {
            self.sign_route(header, &mut data, snr_qdb);
        }
        let relayed_limit = header.hop_limit - 1;
        let relayed = Header { hop_limit: relayed_limit, next_hop, relay_node: own, ..*header };
        // By name there is no contention: only we were asked.
        let wait = if by_name { self.own_backoff(now) } else { self.relay_backoff(snr_qdb) };
        let priority = if header.want_ack { Priority::Reliable } else { Priority::Default };
        let packet = Queued {
            header: relayed,
            data,
            port,
            originated: false,
            gate: Gate::Normal,
            priority,
            airtime,
            ready_at: now + wait,
            snr_qdb,
            came_from: header.relay_node,
            moved: false,
            sequence: 0,
            queued_s: 0,
        };
        if self.enqueue(now, packet)
            && let Some(seen) =
                self.seen.iter_mut().find(|seen| seen.from == header.from && seen.id == header.id)
        {
            seen.fate = Fate::Done;
            if by_name {
                (seen.next_hop, seen.hop_limit) = (next_hop, relayed_limit);
                seen.forwarded += 1;
            }
        }
    }

    /// Writes this node into a route request or reply that it relays.
    fn sign_route(&self, header: &Header, data: &mut Vec<u8, MAX_DATA>, snr_qdb: i16) {
        let fits = |channel: &&Channel| channel.enabled() && channel.hash() == header.channel_hash;
        for channel in self.config.channels.iter().filter(fits) {
            let mut clear = data.clone();
            ctr_apply(&channel.key, header.from, header.id, &mut clear);
            let Some(mut signed) = traceroute::relayed(&clear, self.config.num, header.hops_away(), snr_qdb)
            else {
                continue;
            };
            ctr_apply(&channel.key, header.from, header.id, &mut signed);
            *data = signed;
            return;
        }
    }

    pub(super) fn remember(&mut self, from: NodeNum, id: PacketId, fate: Fate) {
        if self.seen.is_full() {
            self.seen.pop_front();
        }
        let seen = Seen { from, id, fate, forwarded: 0, next_hop: 0, hop_limit: 0 };
        let _ = self.seen.push_back(seen);
    }

    /// Energy of this length was heard and could not be decoded.
    pub fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.utilization.record(now, airtime);
    }
}
