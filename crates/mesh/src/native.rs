//! A whole native Meshtastic node on a bare LoRa chip: router and citizen in one, without an agent.
//!
//! The contract is the router's: mutate, drain, wait. Its host is a radio driver on one side and a person or a program on the other.

use crate::{
    citizen::{Citizen, CitizenConfig, CitizenEvent, Message},
    packet::PacketId,
    rng::Rng,
    router::{Router, RouterConfig, SendError, TxFrame},
    time::{Duration, Instant},
};

/// Packet ids as firmware draws them: 22 random bits and a counter of 10.
#[derive(Clone, Debug)]
pub struct PacketIds {
    rng: Rng,
    counter: u32,
}

impl PacketIds {
    /// Ids of a seed, which must differ at each start.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x7061_636b);
        Self { counter: rng.next_u32(), rng }
    }

    /// The next one; never 0.
    pub fn next_id(&mut self) -> PacketId {
        loop {
            self.counter = self.counter.wrapping_add(1);
            let id = self.rng.next_u32() << 10 | self.counter & 0x3ff;
            if id != 0 {
                return PacketId(id);
            }
        }
    }
}

/// The node.
pub struct NativeNode {
    router: Router,
    citizen: Citizen,
    ids: PacketIds,
}

impl NativeNode {
    /// A node; the seed must differ at each start.
    pub fn new(config: RouterConfig, citizen: CitizenConfig, seed: u64, now: Instant) -> Self {
        let mut router = Router::new(config, seed, now);
        let citizen = Citizen::new(citizen, &mut router, seed, now);
        Self { router, citizen, ids: PacketIds::from_seed(seed) }
    }

    /// The router.
    pub fn router(&mut self) -> &mut Router {
        &mut self.router
    }

    /// The citizen.
    pub fn citizen(&mut self) -> &mut Citizen {
        &mut self.citizen
    }

    /// The citizen, to look at.
    pub fn citizen_ref(&self) -> &Citizen {
        &self.citizen
    }

    /// Sends a packet under a fresh id.
    ///
    /// # Errors
    /// [`Citizen::send`].
    pub fn send(&mut self, now: Instant, message: &Message<'_>) -> Result<PacketId, SendError> {
        let id = self.ids.next_id();
        self.send_as(now, id, message).map(|()| id)
    }

    /// Sends a packet under an id that its client chose, and will not choose again.
    ///
    /// # Errors
    /// [`Citizen::send`].
    pub fn send_as(&mut self, now: Instant, id: PacketId, message: &Message<'_>) -> Result<(), SendError> {
        let sent = self.citizen.send(now, &mut self.router, id, message);
        self.settle(now);
        sent
    }

    /// A frame was received.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.settle(now);
    }

    /// Something was on the air for this long and could not be decoded.
    pub fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
    }

    /// The frame that [`Self::poll_transmit`] gave has left.
    pub fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.router.handle_timeout(now);
        self.settle(now);
    }

    /// Moves what is ready between the parts. Extra calls are harmless.
    pub fn settle(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            self.citizen.handle_event(now, &mut self.router, event);
        }
        let ids = &mut self.ids;
        self.citizen.poll(now, &mut self.router, &mut || Some(ids.next_id()));
    }

    /// The next frame for the radio; `channel_busy` is what its channel activity detection says.
    pub fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<TxFrame> {
        self.router.poll_transmit(now, channel_busy)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<CitizenEvent> {
        self.citizen.poll_event()
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.router.poll_timeout(), self.citizen.poll_timeout()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_in_their_low_bits_and_do_not_repeat() {
        let mut ids = PacketIds::from_seed(1);
        let mut seen = std::collections::BTreeSet::new();
        let mut last = ids.next_id().0;
        for _ in 0..5000 {
            let id = ids.next_id().0;
            assert_eq!(id & 0x3ff, (last + 1) & 0x3ff);
            assert!(seen.insert(id));
            last = id;
        }
    }
}
