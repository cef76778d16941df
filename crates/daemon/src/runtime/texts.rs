//! Texts on their way out: through the governor, no faster than a radio takes them.

use std::collections::VecDeque;

use compotastic_links::{BROADCAST, Body, OwnedData, OwnedPacket};
use compotastic_mesh::{
    packet::NodeNum,
    router::{Gate, Priority},
    time::{Duration, Instant},
};
use compotastic_messages::{PortNum, RoutingError};
use compotastic_node::{
    hosted::Foreign,
    manners::{Hold, Purpose},
};
use tokio::sync::oneshot;

use super::{
    book::node_id,
    core::{Core, Mode, Output},
};
use crate::seam::OutText;

/// Longest text, bytes of UTF-8.
pub const TEXT_MAX: usize = 200;
/// Texts that may wait; one more is refused.
const WAITING: usize = 16;
/// A text that cannot go for so long is given back with the reason.
const PATIENCE: Duration = Duration::from_secs(60);
/// Firmware takes one text in two seconds from a client.
const PACE: Duration = Duration::from_millis(2100);
/// What holds a text back is looked at again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// A node that could not open a direct text for want of our key has been told it by then.
const KEY_TOLD: Duration = Duration::from_secs(5);

type Reply = oneshot::Sender<Result<u32, String>>;

#[derive(Debug)]
struct Waiting {
    text: OutText,
    reply: Reply,
    until: Instant,
}

/// Texts that wait.
#[derive(Debug)]
pub(super) struct Texts {
    waiting: VecDeque<Waiting>,
    next_at: Instant,
    /// Direct texts of a node of our own, by packet id, that may be refused for want of our key.
    direct: VecDeque<(u32, OutText)>,
    /// Those that were, and when they go again.
    again: VecDeque<(Instant, OutText)>,
}

impl Texts {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), next_at: now, direct: VecDeque::new(), again: VecDeque::new() }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let waiting = (!self.waiting.is_empty()).then_some(self.next_at);
        waiting.into_iter().chain(self.again.front().map(|(at, _)| *at)).min()
    }

    /// A direct text reached its receiver, or did not, with the receiver's reason. One that could not be opened there for want of our
    /// key, which the mesh's rules have the receiver told now, goes once more; nobody has read the first.
    pub(super) fn handle_fate(&mut self, now: Instant, id: u32, refused: Option<RoutingError>) {
        let Some(index) = self.direct.iter().position(|(known, _)| *known == id) else { return };
        let Some((_, text)) = self.direct.remove(index) else { return };
        match refused {
            None => {}
            Some(RoutingError::PKI_UNKNOWN_PUBKEY) => self.again.push_back((now + KEY_TOLD, text)),
            Some(error) => {
                tracing::warn!(
                    to = node_id(text.to),
                    id,
                    error = error.0,
                    "a text did not reach its receiver"
                );
            }
        }
    }
}

/// Who replies answers people.
pub(super) fn purpose_of(text: &OutText) -> Purpose {
    if text.reply_to.is_some() { Purpose::People } else { Purpose::Texts }
}

fn foreign(text: &OutText) -> Foreign {
    let broadcast = text.to == BROADCAST;
    Foreign {
        purpose: purpose_of(text),
        gate: Gate::Normal,
        urgent: false,
        peer: (!broadcast).then_some(NodeNum(text.to)),
        payload_len: text.text.len(),
        broadcast,
        want_ack: !broadcast,
    }
}

impl Core {
    fn check_text(&self, text: &OutText) -> Result<(), String> {
        if text.text.trim().is_empty() {
            return Err("the text is empty: write something".into());
        }
        if text.text.len() > TEXT_MAX {
            return Err(format!(
                "the text has {} bytes, {TEXT_MAX} at most fit one packet: shorten it, or send it in parts",
                text.text.len()
            ));
        }
        if let Mode::Listening(why) = &self.mode {
            return Err(format!("this node only listens: {why}"));
        }
        let channels = self.radio.as_ref().map(|radio| radio.channels.as_slice()).unwrap_or_default();
        let there = channels.iter().any(|channel| channel.index == text.channel && channel.role != 0);
        let native = matches!(self.mode, Mode::Native(_));
        if !native && text.to == BROADCAST && !there {
            let known: Vec<String> = channels
                .iter()
                .filter(|channel| channel.role != 0)
                .map(|channel| format!("{} `{}`", channel.index, channel.name))
                .collect();
            return Err(format!(
                "the radio has no channel {}: choose one of {}",
                text.channel,
                known.join(", ")
            ));
        }
        Ok(())
    }

    pub(super) fn send_text(&mut self, now: Instant, text: OutText, reply: Reply) {
        if let Err(why) = self.check_text(&text) {
            let _ = reply.send(Err(why));
            return;
        }
        if matches!(self.mode, Mode::Native(_)) {
            let sent = self.send_native(now, &text);
            if let Ok(id) = &sent
                && text.to != BROADCAST
            {
                if self.texts.direct.len() >= WAITING {
                    self.texts.direct.pop_front();
                }
                self.texts.direct.push_back((*id, text));
            }
            let _ = reply.send(sent);
            return;
        }
        if self.texts.waiting.len() >= WAITING {
            let _ = reply.send(Err(format!("{WAITING} texts wait already: try again in a minute")));
            return;
        }
        self.texts.waiting.push_back(Waiting { text, reply, until: now + PATIENCE });
    }

    pub(super) fn send_waiting_texts(&mut self, now: Instant) {
        while self.texts.again.front().is_some_and(|(at, _)| now >= *at) {
            let Some((_, text)) = self.texts.again.pop_front() else { return };
            if let Err(why) = self.send_native(now, &text) {
                tracing::warn!(to = node_id(text.to), "a text did not reach its receiver: {why}");
            }
        }
        if let Mode::Listening(why) = &self.mode {
            for waiting in self.texts.waiting.drain(..) {
                let _ = waiting.reply.send(Err(format!("this node only listens: {why}")));
            }
        }
        while now >= self.texts.next_at
            && let Some(next) = self.texts.waiting.front()
        {
            let foreign = foreign(&next.text);
            let verdict =
                if self.up { self.admit(now, |modem| foreign.wish(modem)).map_err(Some) } else { Err(None) };
            match verdict {
                Ok(()) => {}
                // This passes within a minute, whatever happens: who asked right after the start gets an answer.
                Err(Some(Hold::Starting)) => {
                    self.texts.next_at = now + AGAIN;
                    return;
                }
                // These pass by themselves, soon.
                Err(None | Some(Hold::Queue | Hold::Hard)) if now < self.texts.waiting[0].until => {
                    self.texts.next_at = now + AGAIN;
                    return;
                }
                Err(hold) => {
                    let why =
                        hold.map_or("the link to the radio is down: see `compotastic status`", Hold::reason);
                    if let Some(waiting) = self.texts.waiting.pop_front() {
                        let _ = waiting.reply.send(Err(why.to_owned()));
                    }
                    continue;
                }
            }
            let Some(waiting) = self.texts.waiting.pop_front() else { return };
            let Mode::Hosted(station) = &mut self.mode else { return };
            let Some(id) = station.agent().next_id() else {
                let _ = waiting.reply.send(Err("no packet id can be reserved: is the disk full?".into()));
                continue;
            };
            self.texts.next_at = now + PACE;
            let hop_limit = self.radio.as_ref().map_or(3, |radio| radio.hop_limit.clamp(1, 7));
            let packet = OwnedPacket {
                to: waiting.text.to,
                id,
                channel: waiting.text.channel.into(),
                hop_limit,
                want_ack: waiting.text.to != BROADCAST,
                priority: Priority::High as u32,
                body: Body::Data(OwnedData {
                    port: PortNum::TEXT_MESSAGE_APP.0,
                    payload: waiting.text.text.into_bytes(),
                    reply_id: waiting.text.reply_to.unwrap_or(0),
                    ..OwnedData::default()
                }),
                ..OwnedPacket::default()
            };
            // Those beside the radio read what is for everybody; what is for one goes under the radio's own key.
            if packet.to == BROADCAST
                && let Some(output) = self.seal_own(&packet)
                && self.spend_beside(now, &output)
            {
                self.push(output);
            }
            self.push(Output::Radio(Box::new(packet)));
            let _ = waiting.reply.send(Ok(id));
        }
    }
}
