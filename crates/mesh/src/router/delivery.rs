//! How a unicast gets to the next hop and is known to be there: repetition, hop acknowledgements, reminders.

use heapless::Vec;

use super::{Gate, Priority, Router, RouterEvent};
use crate::{
    packet::{HEADER, Header, NodeNum, PacketId},
    queue::Queued,
    time::{Duration, Instant},
};

/// Transmissions per hop of a unicast on our own port.
const OWN_PORT_TRIES: u8 = 6;
/// So many of them, the last ones, take another way where one is known.
const OTHER_WAY_TRIES: u8 = 2;
/// How long a relay of ours may take with a packet, beyond air time and contention. Stock nodes are given 4.5 s.
const OWN_PORT_PROCESSING_US: u64 = 1_500_000;
/// And so much more per permille of channel utilisation.
const OWN_PORT_BUSY_US: u64 = 12_000;
/// How long a reply is held for a reminder.
const HELD_FOR: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) packet: Queued,
    /// Transmissions that are left.
    pub(super) tries: u8,
    /// When the next one is due.
    pub(super) at: Instant,
    /// The destination itself is the next hop, so only its reply or acknowledgement ends the waiting.
    pub(super) last_hop: bool,
}

/// A reply on our own port that we sent to its destination as the last hop. Nothing acknowledges it, since most arrive; a
/// destination that misses one asks with a reminder.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) packet: Queued,
    pub(super) until: Instant,
}

/// A bare header by the origin itself, which goes no further: it misses the reply.
pub(super) fn is_reminder(header: &Header) -> bool {
    header.hop_start == 0 && header.hop_limit == 0 && header.relay_node == header.from.last_byte()
}

impl Router {
    pub(super) fn retransmission_wait(
        &mut self,
        now: Instant,
        airtime: Duration,
        own_port: bool,
    ) -> Duration {
        let utilization = u64::from(self.channel_utilization_permille(now));
        let exponent = 3 + 5 * utilization / 1000;
        let slots = (1 << exponent) + 16 + 32;
        // The jitter keeps neighbours that lost the same packet apart.
        let jitter_us = u64::from(self.rng.below(1500)) * 1000;
        // On busy air relays of ours wait for their turn, and what is repeated meanwhile makes it busier.
        let own_port_us = OWN_PORT_PROCESSING_US + OWN_PORT_BUSY_US * utilization;
        let processing_us = if own_port { own_port_us } else { 4_500_000 };
        Duration::from_micros(
            2 * airtime.as_micros() + slots * self.modem.slot_us() + processing_us + jitter_us,
        )
    }

    /// After a transmission: what has to be heard before the packet is done with?
    pub(super) fn await_delivery(&mut self, now: Instant, packet: Queued) {
        let header = packet.header;
        if header.to == NodeNum::BROADCAST || packet.data.is_empty() {
            return;
        }
        if let Some(index) = self.pending.iter().position(|pending| pending.packet.is(header.from, header.id))
        {
            let own_port = packet.port == Some(self.config.own_port);
            let wait = self.retransmission_wait(now, packet.airtime, own_port);
            self.pending[index].at = now + packet.airtime + wait;
            self.pending[index].tries = self.pending[index].tries.saturating_sub(1);
            return;
        }
        let last_hop = header.next_hop == header.to.last_byte() && header.next_hop != 0;
        let by_name = header.next_hop != 0 && !last_hop;
        if !(by_name || header.want_ack && (packet.originated || last_hop)) {
            if last_hop && packet.port == Some(self.config.own_port) {
                self.hold(now, packet);
            }
            return;
        }
        let own_port = packet.port == Some(self.config.own_port);
        let tries = match (packet.originated, own_port) {
            // Stock nodes: three from the origin, two from a relay. Ours are patient on their own port: a
            // packet that dies half way costs the whole way again.
            (_, true) => OWN_PORT_TRIES,
            (true, _) => 3,
            _ => 2,
        };
        let wait = self.retransmission_wait(now, packet.airtime, own_port);
        let at = now + packet.airtime + wait;
        if self.pending.is_full() {
            // The one that waits longest has had its chance.
            let Pending { packet: gone, .. } = self.pending.remove(0);
            if gone.originated && !self.queue.contains(gone.header.from, gone.header.id) {
                self.push_event(RouterEvent::Failed { id: gone.header.id });
            }
        }
        let _ = self.pending.push(Pending { packet, tries: tries - 1, at, last_hop });
    }

    pub(super) fn hold(&mut self, now: Instant, packet: Queued) {
        let same_way = |held: &Held| {
            held.packet.header.to == packet.header.to && held.packet.header.from == packet.header.from
        };
        self.held.retain(|held| !same_way(held) && now < held.until);
        if self.held.is_full() {
            self.held.pop_front();
        }
        let _ = self.held.push_back(Held { packet, until: now + HELD_FOR });
    }

    /// Packets whose next hop was not heard to pass them on: again, another way, or the last time to whoever hears it.
    pub(super) fn queue_retransmissions(&mut self, now: Instant) {
        while let Some(index) = self.pending.iter().position(|pending| now >= pending.at) {
            let Pending { packet, tries, .. } = &self.pending[index];
            if self.queue.contains(packet.header.from, packet.header.id) {
                self.pending[index].at = now + Duration::from_secs(2);
                continue;
            }
            let (header, tries, originated) = (packet.header, *tries, packet.originated);
            let own_port = packet.port == Some(self.config.own_port);
            if tries == 0 {
                self.routes.handle_failure(now, header.to, header.next_hop);
                self.pending.remove(index);
                if originated {
                    self.push_event(RouterEvent::Failed { id: header.id });
                }
                continue;
            }
            if own_port && header.next_hop != 0 && tries == OTHER_WAY_TRIES {
                let to = header.to;
                self.routes.handle_failure(now, to, header.next_hop);
                if let Some(other) = self.routes.next_hop(now, to, header.hop_limit, header.next_hop)
                    && other != self.pending[index].packet.came_from
                {
                    self.pending[index].packet.header.next_hop = other;
                    self.pending[index].last_hop = other == to.last_byte();
                }
            } else if tries == 1 && header.next_hop != 0 && !self.pending[index].last_hop && !own_port {
                // The last time to whoever hears it. On our own port not: mostly the packet has arrived and only the
                // proof is lost, and a flood costs the air time of ten tries.
                self.pending[index].packet.header.next_hop = 0;
            }
            let mut packet = self.pending[index].packet.clone();
            packet.ready_at = now + self.own_backoff(now);
            let wait = self.retransmission_wait(now, packet.airtime, own_port);
            self.pending[index].at = now + wait;
            if !self.enqueue(now, packet) {
                self.pending[index].at = now + wait + wait;
            }
        }
    }

    /// Somebody passes on a packet that we wait to see passed on, or says that it did.
    pub(super) fn hear_relay(&mut self, header: &Header, hop_ack: bool) {
        let own = self.config.num.last_byte();
        if header.relay_node == own {
            return;
        }
        let done = |pending: &Pending| {
            let passed_on = header.hop_limit < pending.packet.header.hop_limit;
            pending.packet.is(header.from, header.id) && passed_on && (!pending.last_hop || hop_ack)
        };
        for pending in &self.pending {
            if done(pending) {
                self.routes.handle_success(pending.packet.header.to, pending.packet.header.next_hop);
            }
        }
        self.end_waiting(done);
    }

    /// What is proved to have arrived is not waited for, and its repetition, where one is queued, does not go.
    pub(super) fn end_waiting(&mut self, done: impl Fn(&Pending) -> bool) {
        let queued = &mut self.queue.packets;
        self.pending.retain(|pending| {
            let done = done(pending);
            if done {
                let Header { from, id, .. } = pending.packet.header;
                // A bare header of that name tells the hop before us, who still needs it.
                queued.retain(|queued| queued.data.is_empty() || !queued.is(from, id));
            }
            !done
        });
    }

    /// Asks whoever is next to this node for the reply to a packet on our own port, which may have been lost on the last
    /// hop: a bare header, where repeating the packet costs the whole way there and back.
    pub fn remind(&mut self, now: Instant, to: NodeNum, id: PacketId, channel: u8) {
        let Some(channel) = self.config.channels.get(usize::from(channel)) else { return };
        let header = Header {
            to,
            from: self.config.num,
            id,
            hop_limit: 0,
            want_ack: false,
            via_mqtt: false,
            hop_start: 0,
            channel_hash: channel.hash(),
            next_hop: 0,
            relay_node: self.config.num.last_byte(),
        };
        let ready_at = now + self.own_backoff(now);
        self.enqueue_bare(now, header, true, ready_at);
    }

    /// A neighbour misses a reply: sends it again if we were its last hop or its origin.
    pub(super) fn handle_reminder(&mut self, now: Instant, header: &Header) {
        let wanted =
            |held: &Held| held.packet.header.to == header.from && held.packet.header.from == header.to;
        let Some(held) = self.held.iter().find(|held| now < held.until && wanted(held)) else {
            if header.to == self.config.num {
                self.push_event(RouterEvent::Duplicate { from: header.from, id: header.id });
            }
            return;
        };
        let mut packet = held.packet.clone();
        if self.queue.contains(packet.header.from, packet.header.id) {
            return;
        }
        packet.ready_at = now + self.own_backoff(now);
        self.enqueue(now, packet);
    }

    /// The previous hop repeats what we have passed on, or taken as its destination: tells it so by the bare header, half
    /// the air time of passing it on again, which the hops after us would do again too.
    pub(super) fn acknowledge_hop(&mut self, now: Instant, header: &Header) {
        let own = self.config.num.last_byte();
        // Nobody is asked to pass it on.
        let bare = Header {
            hop_limit: header.hop_limit.saturating_sub(1),
            next_hop: own,
            relay_node: own,
            want_ack: false,
            ..*header
        };
        let ready_at = now + self.own_backoff(now);
        self.enqueue_bare(now, bare, false, ready_at);
    }

    pub(super) fn enqueue_bare(&mut self, now: Instant, header: Header, originated: bool, ready_at: Instant) {
        let packet = Queued {
            header,
            data: Vec::new(),
            port: None,
            originated,
            gate: Gate::Normal,
            priority: Priority::Ack,
            airtime: self.time_on_air(HEADER),
            ready_at,
            snr_qdb: 0,
            came_from: 0,
            moved: false,
            sequence: 0,
            queued_s: 0,
        };
        self.enqueue(now, packet);
    }
}
