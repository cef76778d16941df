//! A native node without a radio: agent, router and citizen over Meshtastic's LAN multicast.
//!
//! It has its own number and keys, and hears and says the same packets as nodes with radios. It relays nothing: on a LAN everybody
//! hears the same. What it sends with hops left is relayed by neighbours with radios on the air, which it cannot measure; so all of that
//! together keeps to a fixed share of an hour ([`LAN_PERMILLE`]), and what has no hops left reaches the LAN alone and costs no air.
//!
//! No I/O: the host joins the group ([`compotastic_mesh::udp`]), hands over each datagram and sends what [`UdpStation::poll_datagram`]
//! gives. Own datagrams that come back are known as such.

use compotastic_mesh::{
    citizen::CitizenConfig,
    router::{Role, RouterConfig},
    time::Instant,
    udp::{self, Ignored, MAX_DATAGRAM},
};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{Agent, Station};

/// Air that neighbours may spend for a node on the LAN: 2 % of an hour.
pub const LAN_PERMILLE: u16 = 20;

/// A native node over UDP.
pub struct UdpStation<'a, F: NorFlash> {
    station: Station<'a, F>,
    ignored: u32,
}

impl<'a, F: NorFlash> UdpStation<'a, F> {
    /// Joins the parts. `config.channels` holds the mesh's primary channel first, the swarm's second; preset and region are the mesh's,
    /// since they say what a relay costs. The role is that of a node that relays nothing.
    pub fn new(
        config: RouterConfig,
        citizen: CitizenConfig,
        agent: Agent<'a, F>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let config = RouterConfig { role: Role::ClientMute, ..config };
        let mut station = Station::on_lan(config, agent, LAN_PERMILLE, seed, now);
        station.settle_citizen(citizen, seed, now);
        Self { station, ignored: 0 }
    }

    /// The station: its agent, its citizen, messages from and to people.
    pub fn station(&mut self) -> &mut Station<'a, F> {
        &mut self.station
    }

    /// The same, to look at.
    pub fn station_ref(&self) -> &Station<'a, F> {
        &self.station
    }

    /// Datagrams that were no packets for this node; its own, which come back, are not counted.
    pub fn ignored(&self) -> u32 {
        self.ignored
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        match udp::from_datagram(datagram, self.station.router().config().num) {
            // Nothing is known of how it was received.
            Ok(frame) => self.station.handle_frame(now, &frame, 0, 0),
            Err(Ignored::Own) => {}
            Err(_) => self.ignored = self.ignored.saturating_add(1),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.station.handle_timeout(now);
    }

    /// The next datagram to send to the group.
    pub fn poll_datagram(&mut self, now: Instant) -> Option<Vec<u8, MAX_DATAGRAM>> {
        while let Some(frame) = self.station.poll_transmit(now, false) {
            self.station.handle_tx_done(now);
            // Bare headers, by which our nodes tell each other about one hop of the air, mean nothing here.
            if let Some(datagram) = udp::to_datagram(&frame.bytes, frame.priority) {
                return Some(datagram);
            }
        }
        None
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_datagram`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.station.poll_timeout()
    }
}
