//! How a citizen's packets leave: under which key, with which signature.

use super::{ANSWER_EACH, ANSWERS, Citizen, Draft, Message, TOLD_AGAIN, TOLD_EACH};
use crate::{
    modules::{NODEINFO_PORT, POSITION_PORT},
    packet::{Data, NodeNum, PacketId, SIGNATURE},
    pkc::SharedKey,
    router::{Gate, Manner, Priority, ROUTING_PORT, Router, SendError},
    time::{Duration, Instant},
    traceroute::TRACEROUTE_PORT,
    xeddsa::Signed,
};

impl Citizen {
    /// Sends a packet under this id. As stock nodes do, unicasts go under the receiver's public key, but for those of the ports that
    /// make nodes known and find ways.
    ///
    /// # Errors
    /// [`SendError::NoKey`] where the receiver's key is not known; it is asked who it is, so the same may be tried again after a
    /// minute. The others are the router's.
    pub fn send(
        &mut self,
        now: Instant,
        router: &mut Router,
        id: PacketId,
        message: &Message<'_>,
    ) -> Result<(), SendError> {
        let sent = self.send_keyed(now, router, id, message);
        match sent {
            Err(SendError::NoKey) => self.ask_who(now, message.to, message.channel),
            Ok(()) if message.want_ack && message.to != NodeNum::BROADCAST => self.push_open(now, id),
            _ => {}
        }
        sent
    }

    /// Whether a unicast goes under public keys.
    fn under_public_keys(&self, router: &Router, message: &Message<'_>) -> bool {
        let settings = router.config();
        let channel = settings.channels.get(usize::from(message.channel));
        let open = [TRACEROUTE_PORT, NODEINFO_PORT, ROUTING_PORT, POSITION_PORT, settings.own_port];
        message.to != NodeNum::BROADCAST
            && message.to != NodeNum::LAN_BROADCAST
            && self.config.keys.is_some()
            && !self.config.user.licensed
            && !open.contains(&message.port)
            && !channel.is_some_and(|channel| ["serial", "gpio"].contains(&channel.name.as_str()))
    }

    fn shared_with(&self, num: NodeNum) -> Option<SharedKey> {
        self.config.keys.as_ref()?.shared_with(self.db.get(num)?.public_key()?)
    }

    fn send_keyed(
        &mut self,
        now: Instant,
        router: &mut Router,
        id: PacketId,
        message: &Message<'_>,
    ) -> Result<(), SendError> {
        let signature = self.signature(router, id, message);
        let mut bitfield = u8::from(self.config.ok_to_mqtt);
        if message.want_response {
            bitfield |= 2;
        }
        let data = Data {
            port: message.port,
            payload: message.payload,
            want_response: message.want_response,
            request_id: message.request_id,
            reply_id: message.reply_id,
            emoji: message.emoji,
            bitfield: Some(bitfield),
            signature: signature.as_ref(),
        };
        let answers = message.request_id.is_some();
        let usual = Priority::usual(message.port, message.want_ack, answers, message.want_response);
        let manner = Manner {
            to: message.to,
            id,
            channel: message.channel,
            hop_limit: message.hop_limit,
            want_ack: message.want_ack,
            priority: message.priority.unwrap_or(usual),
            gate: message.gate,
        };
        if self.under_public_keys(router, message) {
            let key = self.shared_with(message.to).ok_or(SendError::NoKey)?;
            let extra = self.rng.next_u32();
            // The header's channel byte is 0, so the index only has to be one that is there.
            router.send_data(now, &Manner { channel: 0, ..manner }, &data, Some((&key, extra)))
        } else {
            router.send_data(now, &manner, &data, None)
        }
    }

    fn signature(&mut self, router: &Router, id: PacketId, message: &Message<'_>) -> Option<[u8; SIGNATURE]> {
        let signer = self.signer.as_ref().filter(|_| self.config.sign)?;
        if message.to != NodeNum::BROADCAST {
            return None;
        }
        let mut random = [0; 64];
        for word in random.chunks_exact_mut(4) {
            word.copy_from_slice(&self.rng.next_u32().to_le_bytes());
        }
        let what = Signed { from: router.config().num, id, port: message.port };
        Some(signer.sign(&what, message.payload, &random))
    }

    /// Sends what waits: answers, and what is due by itself. `next_id` gives packet ids, or none while there can be none.
    pub fn poll(&mut self, now: Instant, router: &mut Router, next_id: &mut dyn FnMut() -> Option<PacketId>) {
        self.expire_open(now);
        if !self.quiet {
            self.poll_periodic(now, router);
        }
        while !self.drafts.is_empty() {
            let Some(id) = next_id() else {
                // Without ids nothing can be sent; what is answered much later is of no use.
                self.drafts.clear();
                return;
            };
            let Some(draft) = self.drafts.pop_front() else { return };
            let message = Message {
                want_ack: draft.want_ack,
                want_response: draft.want_response,
                request_id: draft.request_id,
                hop_limit: draft.hop_limit,
                priority: Some(draft.priority),
                gate: draft.gate,
                ..Message::new(draft.to, draft.channel, draft.port, &draft.payload)
            };
            // A full queue loses an answer, and who is not known by a public key gets none; who needs it asks again.
            let _ = self.send_keyed(now, router, id, &message);
        }
    }

    pub(super) fn push_draft(&mut self, draft: Draft) {
        if self.drafts.is_full() {
            self.drafts.pop_front();
        }
        let _ = self.drafts.push_back(draft);
    }

    /// Whether anybody may have one more answer now; counts it.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        let (left, since) = self.answers;
        let more = now.saturating_duration_since(since).as_micros() / ANSWER_EACH.as_micros();
        if more > 0 {
            let left = (u64::from(left) + more).min(u64::from(ANSWERS)) as u32;
            let since = since + Duration::from_micros(more * ANSWER_EACH.as_micros());
            self.answers = (left, since);
        }
        let may = self.answers.0 > 0;
        self.answers.0 -= u32::from(may);
        may
    }

    /// Whether this node may be told who we are now; notes it.
    pub(super) fn may_tell(&mut self, now: Instant, to: NodeNum) -> bool {
        if self.quiet {
            return false;
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        self.told.retain(|(_, at)| since(*at) < TOLD_AGAIN);
        let soon = self.told.iter().any(|(who, at)| *who == to || since(*at) < TOLD_EACH);
        if soon || self.told.is_full() {
            return false;
        }
        let _ = self.told.push_back((to, now));
        true
    }

    /// Asks a node who it is, and tells it who we are: at most each 5 minutes.
    pub fn ask_who(&mut self, now: Instant, num: NodeNum, channel: u8) {
        if self.may_tell(now, num) {
            let hop_limit = self.config.hop_limit;
            self.tell_who(num, channel, hop_limit, None, true);
        }
    }

    /// Tells a node, or everybody, who we are.
    pub(super) fn tell_who(
        &mut self,
        to: NodeNum,
        channel: u8,
        hop_limit: u8,
        request_id: Option<u32>,
        want_response: bool,
    ) {
        self.push_draft(Draft {
            to,
            channel,
            port: NODEINFO_PORT,
            payload: self.node_info(),
            want_ack: false,
            want_response,
            request_id,
            hop_limit,
            priority: if want_response { Priority::Reliable } else { Priority::Default },
            gate: Gate::Normal,
        });
    }
}
