//! What the simulator asks of a node: what a radio driver would.

use compotastic_mesh::time::{Duration, Instant};
use compotastic_node::Station;
use embedded_storage::nor_flash::NorFlash;

/// One radio node as the simulator sees it.
pub trait Host {
    /// A frame was received.
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16);
    /// Something of this length was on the air here and could not be decoded.
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration);
    /// The frame given by [`Self::poll_transmit`] has left.
    fn handle_tx_done(&mut self, now: Instant);
    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The next frame for the air; `channel_busy` is what channel activity detection says.
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>>;
    /// When to ask again.
    fn poll_timeout(&self) -> Option<Instant>;
}

impl<F: NorFlash> Host for Station<'_, F> {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        Station::handle_frame(self, now, frame, snr_qdb, rssi_dbm);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        Station::handle_bad_frame(self, now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        Station::handle_tx_done(self, now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        Station::handle_timeout(self, now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        Station::poll_transmit(self, now, channel_busy).map(|frame| frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        Station::poll_timeout(self)
    }
}
