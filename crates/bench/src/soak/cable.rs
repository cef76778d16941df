//! Between host and radio: bytes both ways, and what can go wrong with them.

use std::collections::VecDeque;

use compotastic_mesh::rng::Rng;

/// Bytes that fit on the way; what more is written is lost.
const ROOM: usize = 16 * 1024;

/// What the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A restart of the radio, a cut cable or another client ends the connection, or leaves it half open.
    Tcp,
    /// A restart leaves the port open and says some text; only unplugging closes it.
    Serial,
}

/// A connection that is open at the host's end.
pub struct Cable {
    to_host: VecDeque<u8>,
    to_radio: VecDeque<u8>,
    draws: Rng,
    /// Chance of each byte to get lost, millionths.
    pub loss_ppm: u32,
    /// Nothing gets through.
    pub cut: bool,
    /// Bytes lost, and the most that ever waited.
    pub lost: u64,
    pub waiting_max: usize,
}

impl Cable {
    pub fn new(draws: Rng) -> Self {
        Self {
            to_host: VecDeque::new(),
            to_radio: VecDeque::new(),
            draws,
            loss_ppm: 0,
            cut: false,
            lost: 0,
            waiting_max: 0,
        }
    }

    /// A new connection: nothing is on the way.
    pub fn clear(&mut self) {
        self.to_host.clear();
        self.to_radio.clear();
    }

    pub fn write_to_host(&mut self, bytes: &[u8]) {
        self.write(true, bytes);
    }

    pub fn write_to_radio(&mut self, bytes: &[u8]) {
        self.write(false, bytes);
    }

    fn write(&mut self, to_host: bool, bytes: &[u8]) {
        for byte in bytes {
            let queue = if to_host { &mut self.to_host } else { &mut self.to_radio };
            if self.cut || queue.len() >= ROOM || (self.loss_ppm > 0 && self.draws.chance_ppm(self.loss_ppm))
            {
                self.lost += 1;
            } else {
                queue.push_back(*byte);
                self.waiting_max = self.waiting_max.max(queue.len());
            }
        }
    }

    /// True while the radio has room to write: a host that reads keeps it so.
    pub fn has_room_to_host(&self) -> bool {
        self.to_host.len() < 2048
    }

    pub fn read_at_host(&mut self) -> Vec<u8> {
        self.to_host.drain(..).collect()
    }

    pub fn read_at_radio(&mut self) -> Vec<u8> {
        self.to_radio.drain(..).collect()
    }

    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        // Now and then what looks like the start of a frame: the hard case.
        let mut noise: Vec<u8> = (0..length).map(|_| self.draws.next_u32() as u8).collect();
        for at in (0..length.saturating_sub(1)).step_by(97) {
            noise[at] = 0x94;
            noise[at + 1] = 0xC3;
        }
        noise
    }
}
