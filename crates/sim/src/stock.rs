//! Stock nodes: the mesh's router and periodic broadcasts without our agent, and a plain question-and-answer bot on top. They
//! are what ours is compared with.

use std::collections::VecDeque;

use compotastic_mesh::{
    modules::PeriodicBroadcasts,
    packet::{NodeNum, PacketId},
    router::{Gate, Outgoing, Priority, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};

use crate::Host;

/// A direct message that failed is sent again by its host after this time.
const SEND_AGAIN: Duration = Duration::from_secs(30);
/// A question without an answer is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(180);
/// How often a bot repeats an answer that failed; after that the asker has to ask again.
const ANSWER_TRIES: u8 = 5;

/// How questions and answers travel.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// Node that answers.
    pub bot: NodeNum,
    /// Port of both messages.
    pub port: u16,
    /// Channel index.
    pub channel: u8,
    /// Answers ask for an acknowledgement too.
    pub answers_want_ack: bool,
}

/// A message on its way, and what its host remembers of it.
struct Message {
    to: NodeNum,
    payload: Vec<u8>,
    id: Option<PacketId>,
    at: Instant,
    tries: u8,
}

/// A stock node.
pub struct StockNode {
    num: NodeNum,
    router: Router,
    modules: PeriodicBroadcasts,
    conversation: Conversation,
    next_id: u32,
    /// What the bot says, whatever it is asked.
    answer: Vec<u8>,
    questions: VecDeque<Vec<u8>>,
    asking: Option<Message>,
    answers: Vec<Message>,
    /// Questions that were answered.
    pub answered: u32,
}

impl StockNode {
    /// A node; the one that is the conversation's bot answers every question with `answer`.
    pub fn new(config: RouterConfig, conversation: Conversation, answer: Vec<u8>, seed: u64) -> Self {
        let modem = config.preset.modem(config.region.wide());
        let scale_ppm = (10_000_000u64 << modem.spreading_factor) / u64::from(modem.bandwidth_hz);
        Self {
            num: config.num,
            modules: PeriodicBroadcasts::new(config.num, config.role, scale_ppm, seed, Instant::ZERO),
            router: Router::new(config, seed, Instant::ZERO),
            conversation,
            next_id: 1,
            answer,
            questions: VecDeque::new(),
            asking: None,
            answers: Vec::new(),
            answered: 0,
        }
    }

    /// Asks the bot; questions of a node wait for one another.
    pub fn ask(&mut self, now: Instant, question: &[u8]) {
        self.questions.push_back(question.to_vec());
        self.settle(now);
    }

    /// Questions without an answer yet.
    pub fn open(&self) -> usize {
        self.questions.len() + usize::from(self.asking.is_some())
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            match event {
                RouterEvent::Received(packet)
                    if packet.port == self.conversation.port && packet.to == self.num =>
                {
                    if self.num == self.conversation.bot {
                        self.answer(now, packet.from);
                    } else if packet.from == self.conversation.bot && self.asking.take().is_some() {
                        self.answered += 1;
                    }
                }
                RouterEvent::Duplicate { from, .. } if self.num == self.conversation.bot => {
                    self.answer(now, from);
                }
                RouterEvent::Failed { id } => self.handle_failed(now, id),
                _ => {}
            }
        }
        if self.asking.is_none()
            && let Some(payload) = self.questions.pop_front()
        {
            let to = self.conversation.bot;
            self.asking = Some(Message { to, payload, id: None, at: now, tries: 0 });
        }
        self.send_due(now);
        let heard = self.router.nodes_heard();
        while let Some(broadcast) = self.modules.poll(now, heard) {
            let id = self.take_id();
            let outgoing = Outgoing {
                to: NodeNum::BROADCAST,
                id,
                channel: 0,
                port: broadcast.port,
                payload: &broadcast.payload,
                hop_limit: broadcast.hop_limit,
                want_ack: false,
                priority: broadcast.priority,
                gate: Gate::Bulk,
                request_id: None,
                bitfield: Some(0),
            };
            // A full queue loses a periodic broadcast; the next one comes.
            let _ = self.router.send(now, &outgoing);
        }
    }

    fn answer(&mut self, now: Instant, to: NodeNum) {
        self.answers.retain(|answer| answer.to != to);
        self.answers.push(Message { to, payload: self.answer.clone(), id: None, at: now, tries: 0 });
    }

    fn handle_failed(&mut self, now: Instant, id: PacketId) {
        let failed = self.asking.iter_mut().chain(&mut self.answers).find(|message| message.id == Some(id));
        if let Some(message) = failed {
            message.at = now + SEND_AGAIN;
        }
    }

    fn take_id(&mut self) -> PacketId {
        self.next_id += 1;
        PacketId(self.next_id)
    }

    fn send_due(&mut self, now: Instant) {
        self.answers.retain(|answer| answer.tries < ANSWER_TRIES || now < answer.at);
        let mut messages: Vec<(Message, bool)> =
            self.asking.take().into_iter().map(|one| (one, true)).collect();
        messages.extend(self.answers.drain(..).map(|one| (one, false)));
        for (mut message, question) in messages {
            if now >= message.at {
                let id = self.take_id();
                let outgoing = Outgoing {
                    to: message.to,
                    id,
                    channel: self.conversation.channel,
                    port: self.conversation.port,
                    payload: &message.payload,
                    hop_limit: 7,
                    want_ack: question || self.conversation.answers_want_ack,
                    priority: Priority::Reliable,
                    gate: Gate::Normal,
                    request_id: None,
                    bitfield: None,
                };
                let sent = self.router.send(now, &outgoing).is_ok();
                message.id = sent.then_some(id);
                message.tries += 1;
                message.at = match (sent, question) {
                    (false, _) => now + SEND_AGAIN,
                    (_, true) => now + ASK_AGAIN,
                    // Only a failure brings it back.
                    (_, false) => Instant::from_micros(u64::MAX),
                };
            }
            match (question, self.conversation.answers_want_ack) {
                (true, _) => self.asking = Some(message),
                (false, true) => self.answers.push(message),
                // Sent once; the asker asks again if it is lost.
                (false, false) => {}
            }
        }
    }
}

impl Host for StockNode {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.router.handle_timeout(now);
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        self.router.poll_transmit(now, channel_busy).map(|frame| frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let messages = self.asking.iter().chain(&self.answers).map(|message| message.at).min();
        [self.router.poll_timeout(), self.modules.poll_timeout(), messages].into_iter().flatten().min()
    }
}
