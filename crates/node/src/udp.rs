//! A native node without a radio: agent, router and citizen over Meshtastic's LAN multicast.
//!
//! It has its own number and keys, and hears and says the same packets as nodes with radios. It relays nothing: on a LAN everybody
//! hears the same. What it sends with hops left is relayed by neighbours with radios on the air, which it cannot measure; so all of that
//! together keeps to a fixed share of an hour ([`LAN_PERMILLE`]), and what has no hops left reaches the LAN alone and costs no air.
//!
//! No I/O: the host joins the group ([`compotastic_mesh::udp`]), hands over each datagram and sends what [`UdpStation::poll_datagram`]
//! gives. Own datagrams that come back are known as such.

use compotastic_mesh::{
    airtime::DutyCycle,
    citizen::CitizenConfig,
    crypto::Channel,
    packet::{HEADER, MAX_FRAME, NodeNum},
    router::{Role, RouterConfig, TxFrame},
    time::{Duration, Instant},
    udp::{self, Ignored, MAX_DATAGRAM},
};
use compotastic_messages::MeshPacket;
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;

use crate::{Agent, Station, manners::Hold};

/// Air that neighbours may spend for a node on the LAN: 2 % of an hour.
pub const LAN_PERMILLE: u16 = 20;
/// Half of it at most goes to packets of others that a bridge brings there.
pub const BRIDGED_PERMILLE: u16 = LAN_PERMILLE / 2;

/// A native node over UDP.
pub struct UdpStation<'a, F: NorFlash> {
    station: Station<'a, F>,
    /// What others' packets have cost.
    bridged: DutyCycle,
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
        Self { station, bridged: DutyCycle::new(), ignored: 0 }
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

    fn num(&self) -> NodeNum {
        self.station.router().config().num
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        self.handle(now, udp::from_datagram(datagram, self.num()));
    }

    /// A packet came, out of a datagram or from a broker.
    pub fn handle_packet(&mut self, now: Instant, packet: &MeshPacket<'_>) {
        self.handle(now, udp::to_frame(packet, self.num()));
    }

    fn handle(&mut self, now: Instant, frame: Result<Vec<u8, MAX_FRAME>, Ignored>) {
        match frame {
            // Nothing is known of how it was received.
            Ok(frame) => self.station.handle_frame(now, &frame, 0, 0),
            Err(Ignored::Own) => {}
            Err(_) => self.ignored = self.ignored.saturating_add(1),
        }
    }

    /// A packet of others wants to go from one link to others. `airtime` is what neighbours may spend on it, zero where none of those links
    /// leads to a radio. If it may, it counts as sent.
    ///
    /// # Errors
    /// [`Hold::Lan`]: the share of such packets, or of all, is used up.
    pub fn admit_bridged(&mut self, now: Instant, airtime: Duration) -> Result<(), Hold> {
        let free = airtime == Duration::ZERO;
        let within = self.bridged.allows(now, airtime, BRIDGED_PERMILLE)
            && self.station.router().is_within_limit(now, airtime);
        if !free && !within {
            return Err(Hold::Lan);
        }
        self.bridged.record(now, airtime);
        self.station.count_bridged(now, airtime);
        Ok(())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.station.handle_timeout(now);
    }

    /// The next frame to send; [`udp::to_packet`] makes it a packet.
    pub fn poll_frame(&mut self, now: Instant) -> Option<TxFrame> {
        while let Some(frame) = self.station.poll_transmit(now, false) {
            self.station.handle_tx_done(now);
            // Bare headers, by which our nodes tell each other about one hop of the air, mean nothing here.
            if frame.bytes.len() > HEADER {
                return Some(frame);
            }
        }
        None
    }

    /// The next datagram to send to the group.
    pub fn poll_datagram(&mut self, now: Instant) -> Option<Vec<u8, MAX_DATAGRAM>> {
        let frame = self.poll_frame(now)?;
        udp::to_datagram(&frame.bytes, frame.priority)
    }

    /// By what name a broker knows the channel of a packet of ours: `PKI` under public keys.
    pub fn channel_name(&self, packet: &MeshPacket<'_>) -> &str {
        let fits = |channel: &&Channel| channel.enabled() && u32::from(channel.hash()) == packet.channel;
        let known = self.station.router().config().channels.iter().find(fits);
        known.map_or("PKI", |channel| channel.name.as_str())
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_datagram`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.station.poll_timeout()
    }
}
