//! Whoever stands at a place of a scenario.

use compotastic_mesh::time::{Duration, Instant};

use crate::{
    Host,
    hosted::SwarmNode,
    messenger::{Messenger, Note},
    serve::ServedNode,
    swarm::Flash,
};

/// A stock node with a person, one of our own, or a node whose battery is empty.
pub enum Body {
    /// Stock.
    Stock(Box<Messenger>),
    /// Stock, with the API for its client.
    Served(Box<ServedNode>),
    /// Ours.
    Ours(Box<SwarmNode<'static, Flash>>),
    /// Ours, without power.
    Off,
}

impl Body {
    /// What became of messages here.
    pub fn notes(&self) -> &[Note] {
        match self {
            Self::Stock(stock) => &stock.notes,
            Self::Served(_) | Self::Ours(_) | Self::Off => &[],
        }
    }

    /// One of ours.
    pub fn ours(&mut self) -> Option<&mut SwarmNode<'static, Flash>> {
        match self {
            Self::Ours(ours) => Some(ours),
            Self::Stock(_) | Self::Served(_) | Self::Off => None,
        }
    }

    /// What has the API for a client: a stock node, or the radio of one of ours.
    pub fn served(&mut self) -> Option<&mut ServedNode> {
        match self {
            Self::Served(served) => Some(served),
            Self::Ours(ours) => match ours.as_mut() {
                SwarmNode::Served(node) => Some(node.radio_mut()),
                SwarmNode::Native(_) | SwarmNode::Hosted(_) => None,
            },
            Self::Stock(_) | Self::Off => None,
        }
    }

    /// The same, to look at.
    pub fn served_ref(&self) -> Option<&ServedNode> {
        match self {
            Self::Served(served) => Some(served),
            Self::Ours(ours) => match ours.as_ref() {
                SwarmNode::Served(node) => Some(node.radio()),
                SwarmNode::Native(_) | SwarmNode::Hosted(_) => None,
            },
            Self::Stock(_) | Self::Off => None,
        }
    }

    fn host(&mut self) -> Option<&mut dyn Host> {
        match self {
            Self::Stock(stock) => Some(stock.as_mut()),
            Self::Served(served) => Some(served.as_mut()),
            Self::Ours(ours) => Some(ours.as_mut()),
            Self::Off => None,
        }
    }
}

impl Host for Body {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        if let Some(host) = self.host() {
            host.handle_frame(now, frame, snr_qdb, rssi_dbm);
        }
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        if let Some(host) = self.host() {
            host.handle_bad_frame(now, airtime);
        }
    }
    fn handle_tx_done(&mut self, now: Instant) {
        if let Some(host) = self.host() {
            host.handle_tx_done(now);
        }
    }
    fn handle_timeout(&mut self, now: Instant) {
        if let Some(host) = self.host() {
            host.handle_timeout(now);
        }
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        self.host()?.poll_transmit(now, channel_busy)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Stock(stock) => Host::poll_timeout(stock.as_ref()),
            Self::Served(served) => Host::poll_timeout(served.as_ref()),
            Self::Ours(ours) => Host::poll_timeout(ours.as_ref()),
            Self::Off => None,
        }
    }
}
