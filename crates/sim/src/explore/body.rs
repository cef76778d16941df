//! What stands between a node and the simulated world: its clock, the damage to what it receives, and its end.

use std::sync::Arc;

use compotastic_mesh::{
    lora::Modem,
    packet::{Header, NodeNum, PacketId},
    rng::Rng,
    time::{Duration, Instant},
};

use compotastic_node::{Agent, HostedStation};

use super::{
    hostile::{Liar, Repeater},
    mutant::Mutant,
    plan::Damage,
};
use crate::{
    Host,
    hosted::{HostedNode, RadioHabits, StockRadio},
    messenger::Messenger,
    swarm::{Flash, FlashControl, Node},
};

/// Who is inside.
pub(super) enum Actor {
    Ours(Node),
    /// The radio of a hosted node whose host has crashed, and not started yet.
    Radio(Box<StockRadio>),
    Stock(Box<Messenger>),
    Liar(Box<Liar>),
    Repeater(Box<Repeater>),
    /// Crashed, and not started yet.
    Down,
}

/// Damage to frames that arrive, per mille.
#[derive(Clone, Copy, Debug, Default)]
struct Damages {
    corrupt: u16,
    duplicate: u16,
    reorder: u16,
}

/// A frame that is delivered later.
struct Late {
    at: Instant,
    frame: Vec<u8>,
    snr_qdb: i16,
    rssi_dbm: i16,
}

/// A node as the world sees it.
pub(super) struct Body {
    pub(super) actor: Actor,
    /// How far its clock is ahead of the world's.
    pub(super) clock_ahead: Duration,
    /// Calls until it crashes.
    pub(super) crash_in: Option<u32>,
    control: Arc<FlashControl>,
    modem: Modem,
    damages: Damages,
    late: Vec<Late>,
    rng: Rng,
    mutant: Option<Mutant>,
    /// What it sends is not its host's.
    chatting: bool,
}

impl Body {
    pub(super) fn new(
        actor: Actor,
        control: Arc<FlashControl>,
        modem: Modem,
        rng: Rng,
        mutant: Option<Mutant>,
    ) -> Self {
        Self {
            actor,
            modem,
            clock_ahead: Duration::ZERO,
            crash_in: None,
            control,
            damages: Damages::default(),
            late: Vec::new(),
            rng,
            mutant,
            chatting: false,
        }
    }

    /// The agent, to look at; none while it is not one of ours, or down.
    pub(super) fn agent_ref(&self) -> Option<&Agent<'static, Flash>> {
        match &self.actor {
            Actor::Ours(node) => Some(node.agent_ref()),
            _ => None,
        }
    }

    /// Lets the agent do something by its own clock.
    pub(super) fn with_agent<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Agent<'static, Flash>, Instant) -> T,
    ) -> Option<T> {
        let (local, call) = (self.local(now), self.call_time(now));
        let Actor::Ours(node) = &mut self.actor else { return None };
        let done = act(node.agent(), local);
        node.settle(call);
        Some(done)
    }

    /// Time of the agent's clock.
    pub(super) fn local(&self, now: Instant) -> Instant {
        now + self.clock_ahead
    }

    /// The time with which its parts are called: a stock radio has a clock of its own, which does not jump.
    fn call_time(&self, now: Instant) -> Instant {
        if matches!(self.actor, Actor::Ours(Node::Native(_))) { self.local(now) } else { now }
    }

    /// The agent's clock jumps ahead.
    pub(super) fn jump(&mut self, by: Duration) {
        self.clock_ahead = self.clock_ahead + by;
        if let Actor::Ours(Node::Hosted(node)) = &mut self.actor {
            node.clock_ahead = self.clock_ahead;
        }
    }

    /// The host of a hosted node has started, and finds its radio as it was.
    pub(super) fn connect(&mut self, host: HostedStation<'static, Flash>) {
        if let Actor::Radio(radio) = std::mem::replace(&mut self.actor, Actor::Down) {
            let mut node = HostedNode::new(*radio, host);
            node.clock_ahead = self.clock_ahead;
            self.actor = Actor::Ours(Node::Hosted(Box::new(node)));
        }
    }

    /// Habits of the radio that waits for its host.
    pub(super) fn waiting_radio(&self) -> Option<RadioHabits> {
        match &self.actor {
            Actor::Radio(radio) => Some(radio.habits()),
            _ => None,
        }
    }

    /// Whether it is one of ours that has crashed.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.actor, Actor::Down | Actor::Radio(_))
    }

    pub(super) fn set_damage(&mut self, kind: Damage, permille: u16) {
        match kind {
            Damage::Corrupt => self.damages.corrupt = permille,
            Damage::Duplicate => self.damages.duplicate = permille,
            Damage::Reorder => self.damages.reorder = permille,
        }
    }

    /// Whether its time has come: power is gone, or the planned crash is due.
    pub(super) fn must_crash(&self) -> bool {
        matches!(self.actor, Actor::Ours(_)) && (self.control.is_dead() || self.crash_in == Some(0))
    }

    /// It stops. What it had received and not looked at is gone too; a stock radio keeps that, and runs on.
    pub(super) fn forget(&mut self) {
        self.crash_in = None;
        self.actor = match std::mem::replace(&mut self.actor, Actor::Down) {
            Actor::Ours(Node::Hosted(node)) => Actor::Radio(Box::new(node.into_radio())),
            _ => {
                self.late.clear();
                Actor::Down
            }
        };
    }

    fn host(&mut self) -> Option<&mut dyn Host> {
        match &mut self.actor {
            Actor::Ours(node) => Some(node),
            Actor::Radio(radio) => Some(radio.as_mut()),
            Actor::Stock(stock) => Some(stock.as_mut()),
            Actor::Liar(liar) => Some(liar.as_mut()),
            Actor::Repeater(repeater) => Some(repeater.as_mut()),
            Actor::Down => None,
        }
    }

    fn count_call(&mut self) {
        if let Some(left) = &mut self.crash_in {
            *left = left.saturating_sub(1);
        }
    }

    fn happens(&mut self, permille: u16) -> bool {
        permille > 0 && self.rng.below(1000) < u32::from(permille)
    }

    fn deliver(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.count_call();
        let call = self.call_time(now);
        assert!(!(self.is(Mutant::PanicsOnLongFrames) && frame.len() > 150), "a mutant");
        if self.is(Mutant::DropsSymbols) && frame.len() > 150
            || self.is(Mutant::HearsNoBeacons) && frame.len() < 64
        {
            return;
        }
        if let Some(host) = self.host() {
            host.handle_frame(call, frame, snr_qdb, rssi_dbm);
        }
    }
}

impl Host for Body {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        let mut frame = frame.to_vec();
        if self.happens(self.damages.corrupt) {
            for _ in 0..1 + self.rng.below(3) {
                let at = self.rng.below(frame.len() as u32) as usize;
                // Not the packet's name: by it the books tell who made it, and a relay would be taken for that.
                if !(4..12).contains(&at) {
                    frame[at] ^= 1 << self.rng.below(8);
                }
            }
        }
        if self.happens(self.damages.reorder) {
            let at = now + Duration::from_millis(u64::from(self.rng.below(20_000)));
            // The node looks at it late, but its radio was busy when it came.
            let airtime = Duration::from_micros(self.modem.time_on_air_us(frame.len()));
            self.late.push(Late { at, frame, snr_qdb, rssi_dbm });
            self.handle_bad_frame(now, airtime);
            return;
        }
        self.deliver(now, &frame, snr_qdb, rssi_dbm);
        if self.happens(self.damages.duplicate) {
            self.deliver(now, &frame, snr_qdb, rssi_dbm);
        }
    }

    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.count_call();
        let call = self.call_time(now);
        if let Some(host) = self.host() {
            host.handle_bad_frame(call, airtime);
        }
    }

    fn handle_tx_done(&mut self, now: Instant) {
        if std::mem::take(&mut self.chatting) {
            return;
        }
        self.count_call();
        let call = self.call_time(now);
        if let Some(host) = self.host() {
            host.handle_tx_done(call);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.count_call();
        while let Some(at) = self.late.iter().position(|late| late.at <= now) {
            let late = self.late.remove(at);
            self.deliver(now, &late.frame, late.snr_qdb, late.rssi_dbm);
        }
        let call = self.call_time(now);
        if let Some(host) = self.host() {
            host.handle_timeout(call);
        }
    }

    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        // Who has lost power sends nothing more.
        if self.must_crash() {
            return None;
        }
        let call = self.call_time(now);
        let frame = self.host()?.poll_transmit(call, channel_busy);
        if frame.is_none() && self.is(Mutant::Chatters) && !channel_busy {
            self.chatting = true;
            return self.chatter();
        }
        frame
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let ahead_us = self.call_time(Instant::ZERO).as_micros();
        let host: Option<Instant> = match &self.actor {
            Actor::Ours(node) => Host::poll_timeout(node),
            Actor::Radio(radio) => Host::poll_timeout(radio.as_ref()),
            Actor::Stock(stock) => Host::poll_timeout(stock.as_ref()),
            Actor::Liar(liar) => Host::poll_timeout(liar.as_ref()),
            Actor::Repeater(repeater) => Host::poll_timeout(repeater.as_ref()),
            Actor::Down => None,
        };
        let host = host.map(|at| Instant::from_micros(at.as_micros().saturating_sub(ahead_us)));
        if self.is(Mutant::AsksWithoutEnd) {
            return Some(Instant::ZERO);
        }
        [host, self.late.iter().map(|late| late.at).min()].into_iter().flatten().min()
    }
}

impl Body {
    /// Whether it is one of our own, running, and this mutant.
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant) && matches!(self.actor, Actor::Ours(_))
    }

    /// A broadcast of its own past all gates.
    fn chatter(&mut self) -> Option<Vec<u8>> {
        let num = self.agent_ref()?.num();
        let header = Header {
            to: NodeNum::BROADCAST,
            from: num,
            id: PacketId(self.rng.next_u32()),
            hop_limit: 0,
            want_ack: false,
            via_mqtt: false,
            hop_start: 0,
            channel_hash: 8,
            next_hop: 0,
            relay_node: num.last_byte(),
        };
        let mut frame = header.emit().to_vec();
        frame.resize(200, 0);
        Some(frame)
    }
}
