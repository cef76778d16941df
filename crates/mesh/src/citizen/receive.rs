//! What a citizen makes of a packet: is it the sender's, may it be so, who was heard, and how is it answered.

use super::{Answered, Citizen, CitizenEvent, Draft, TEXT_PORT, error};
use crate::{
    modules::NODEINFO_PORT,
    nodedb::User,
    packet::{Data, Header, MAX_DATA, NodeNum, PacketId, SIGNATURE},
    router::{Gate, Incoming, Priority, ROUTING_PORT, Router, Sealed},
    time::Instant,
    xeddsa::{Policy, Signed, verify},
};
use compotastic_messages::{Message as _, Routing, RoutingError, RoutingVariant, User as UserMessage};

/// What a stock module did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its answer waits to be sent, and acknowledges the packet too.
    Given,
    /// It answers such packets, but not this one now.
    Quiet,
    /// It has none.
    None,
}

impl Citizen {
    /// Hops that an answer may take: two more than the packet took, and not more than usual unless it took more.
    pub(super) fn answer_hops(&self, hops_away: Option<u8>) -> u8 {
        let usual = self.config.hop_limit;
        match hops_away {
            Some(hops) if hops + 2 < usual => hops + 2,
            Some(hops) => usual.max(hops).min(7),
            None => usual,
        }
    }

    /// A packet for this node that the router cannot read, or that may be under public keys.
    pub(super) fn handle_sealed(&mut self, now: Instant, router: &mut Router, sealed: &Sealed) {
        let header = &sealed.header;
        if self.db.get(header.from).is_some_and(|node| node.ignored) {
            return;
        }
        let known = self.db.get(header.from).and_then(|node| node.public_key());
        let key = self.config.keys.as_ref().zip(known).and_then(|(own, peer)| own.shared_with(peer));
        if header.channel_hash == 0
            && let Some(key) = &key
        {
            let mut clear = sealed.data.clone();
            if let Some(length) = key.open(header.from, header.id, &mut clear)
                && router.handle_opened(now, sealed, &clear[..length])
            {
                return;
            }
        }
        if router.handle_unopened(now, sealed) || !header.want_ack {
            return;
        }
        let unknown = header.channel_hash == 0 && self.config.keys.is_some() && known.is_none();
        let error = if unknown { error::PKI_UNKNOWN_PUBKEY } else { error::NO_CHANNEL };
        self.refuse(now, header, 0, error);
    }

    /// A packet for this node or for everybody.
    pub(super) fn handle_packet(&mut self, now: Instant, router: &mut Router, mut packet: Incoming) {
        if packet.from == self.num
            || packet.from.is_reserved()
            || packet.port == router.config().own_port && !packet.under_public_keys
            || self.db.get(packet.from).is_some_and(|node| node.ignored)
        {
            return;
        }
        let Some(trusted) = self.judge(&packet) else {
            self.refused = self.refused.saturating_add(1);
            return;
        };
        self.counted.received = self.counted.received.wrapping_add(1);
        self.note(now, &packet, trusted);
        let for_us = packet.to == self.num;
        let keyed = self.config.keys.is_some() && !self.config.user.licensed;
        if for_us && packet.port == TEXT_PORT && keyed && !packet.under_public_keys {
            if packet.header.want_ack {
                self.refuse(now, &packet.header, packet.channel, error::NO_CHANNEL);
            }
            return;
        }
        let answer = self.handle_modules(now, router, &mut packet);
        let asked = packet.want_response && packet.request_id.is_none() && packet.port != ROUTING_PORT;
        if asked && answer == Answer::None && (for_us || self.config.naks_broadcasts) {
            self.refuse(now, &packet.header, packet.channel, error::NO_RESPONSE);
        } else if for_us && packet.header.want_ack && answer != Answer::Given && packet.port != ROUTING_PORT {
            self.answer(&packet.header, packet.channel, 0);
        }
        self.push_event(CitizenEvent::Packet { packet, trusted });
    }

    /// Whether a packet is the sender's beyond doubt; `None` where it must not be used.
    fn judge(&mut self, packet: &Incoming) -> Option<bool> {
        if packet.under_public_keys {
            return Some(true);
        }
        let known = self.db.get(packet.from);
        let Some(signature) = &packet.signature else {
            let signs = known.is_some_and(|node| node.signs);
            return match self.config.policy {
                Policy::Strict => None,
                Policy::Balanced if signs && packet.to != self.num && would_fit(packet) => None,
                _ => Some(false),
            };
        };
        // Who introduces itself brings the key.
        let own = || {
            let message = UserMessage::decode(&packet.payload).ok()?;
            (packet.port == NODEINFO_PORT).then(|| User::from_message(&message).public_key)?
        };
        let Some(key) = known.and_then(|node| node.public_key().copied()).or_else(own) else {
            return (self.config.policy != Policy::Strict).then_some(false);
        };
        let what = Signed { from: packet.from, id: packet.id, port: packet.port };
        verify(&key, &what, &packet.payload, signature).then_some(true)
    }

    /// Who was heard, and how.
    fn note(&mut self, now: Instant, packet: &Incoming, trusted: bool) {
        let new = self.db.get(packet.from).is_none();
        let Some(node) = self.db.entry(packet.from) else { return };
        node.heard_at = now;
        node.hops_away = packet.hops_away;
        node.via_mqtt = packet.header.via_mqtt;
        node.signs |= trusted && packet.signature.is_some();
        if packet.hops_away == Some(0) {
            node.snr_qdb = packet.snr_qdb;
        }
        if !packet.under_public_keys {
            node.channel = packet.channel;
        }
        if new {
            self.push_event(CitizenEvent::Node { num: packet.from });
        }
    }

    /// Refuses a packet, as far as answers to anybody may cost air.
    fn refuse(&mut self, now: Instant, header: &Header, channel: u8, error: u32) {
        if self.may_answer(now) {
            self.answer(header, channel, error);
        }
    }

    /// Acknowledges a packet (error 0), or refuses it.
    fn answer(&mut self, header: &Header, channel: u8, error: u32) {
        let hop_limit = self.answer_hops(header.hops_away());
        let answered = Answered { from: header.from, id: header.id, channel, hop_limit, error };
        self.answered.retain(|known| known.from != header.from || known.id != header.id);
        if self.answered.is_full() {
            self.answered.pop_front();
        }
        let _ = self.answered.push_back(answered);
        self.send_answer(answered);
    }

    /// The packet comes again: its sender did not hear the answer.
    pub(super) fn answer_again(&mut self, from: NodeNum, id: PacketId) {
        let known = self.answered.iter().find(|known| known.from == from && known.id == id);
        if let Some(answered) = known.copied() {
            self.send_answer(answered);
        }
    }

    fn send_answer(&mut self, answered: Answered) {
        let Answered { from, id, channel, hop_limit, error } = answered;
        let routing = Routing { variant: Some(RoutingVariant::ErrorReason(RoutingError(error))) };
        self.push_draft(Draft {
            to: from,
            channel,
            port: ROUTING_PORT,
            payload: routing.to_vec().unwrap_or_default(),
            want_ack: false,
            want_response: false,
            request_id: Some(id.0),
            hop_limit,
            priority: Priority::Ack,
            gate: Gate::Normal,
        });
    }
}

/// Whether a signature would have fitted in the packet.
fn would_fit(packet: &Incoming) -> bool {
    let signature = [0; SIGNATURE];
    let data = Data {
        port: packet.port,
        payload: &packet.payload,
        want_response: packet.want_response,
        request_id: packet.request_id,
        reply_id: packet.reply_id,
        emoji: packet.emoji,
        bitfield: packet.bitfield,
        signature: Some(&signature),
    };
    data.encode(&mut [0; MAX_DATA]).is_some()
}
