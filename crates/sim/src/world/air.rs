//! What is on the air at a receiver, and what it makes of it.
//!
//! A receiver has one demodulator. It locks on a frame whose last preamble symbols and header it gets, if it is free by then, and
//! is deaf to others until that frame ends, whether its payload comes out right or not. So it measures no more air time than
//! there is.

use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};

use crate::{
    radio::{Radio, Signal, normal},
    reception::{HEADER_SYMBOLS, LOCK_SYMBOLS, Reception, SYNC_QUARTERS},
};

use super::NodeId;

/// Chances closer to 1 than this need no draw.
const CERTAIN: f64 = 0.999_999;

/// Something on the air at a receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) serial: u64,
    pub(super) power_mw: f64,
    pub(super) snr_qdb: i32,
    pub(super) start: Instant,
    pub(super) end: Instant,
}

/// How frames of one modulation are received: sections of a frame, and what passes in each.
#[derive(Clone, Debug)]
pub(super) struct Demodulator {
    pub(super) reception: Reception,
    symbol: Duration,
    /// From its start to the preamble symbols on which a receiver locks.
    pub(super) lock: Duration,
    /// From its start to the end of its header.
    pub(super) header_end: Duration,
}

impl Demodulator {
    pub(super) fn new(radio: &Radio) -> Self {
        let modem = &radio.modem;
        let after = |quarters: u64| Duration::from_micros(modem.symbol_ns() * quarters / 4000);
        let preamble = u64::from(modem.preamble_symbols) * 4;
        Self {
            reception: Reception::new(modem, radio.fading_db),
            symbol: after(4),
            lock: after(preamble.saturating_sub(u64::from(LOCK_SYMBOLS) * 4)),
            header_end: after(preamble + SYNC_QUARTERS + HEADER_SYMBOLS * 4),
        }
    }
}

/// One direction of a link; kept at its sender, ordered by receiver.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) to: NodeId,
    pub(super) signal: Signal,
    /// Received power, milliwatts.
    pub(super) power_mw: f64,
    draws: Rng,
}

/// What a link had in store for one frame. Drawn for each frame whatever happens, so that the n-th frame of a node meets the same
/// luck at a receiver whatever other nodes do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Luck {
    /// Signal of this frame, faded.
    pub(super) signal: Signal,
    lock: f64,
    payload: f64,
    /// The extra loss hits.
    lost: bool,
}

fn unit(draws: &mut Rng) -> f64 {
    f64::from(draws.next_u32()) / 4_294_967_296.0
}

impl Link {
    fn new(to: NodeId, signal: Signal, draws: Rng) -> Self {
        let mut link = Self { to, signal, power_mw: 0.0, draws };
        link.set_signal(signal);
        link
    }

    fn set_signal(&mut self, signal: Signal) {
        self.signal = signal;
        self.power_mw = libm::pow(10.0, f64::from(signal.rssi_qdbm) / 40.0);
    }

    pub(super) fn draw(&mut self, radio: &Radio, loss_ppm: u32) -> Luck {
        let faded_qdb = if radio.fading_db > 0.0 {
            libm::round(normal(&mut self.draws) * radio.fading_db * 4.0) as i32
        } else {
            0
        };
        Luck {
            signal: Signal {
                rssi_qdbm: self.signal.rssi_qdbm + faded_qdb,
                snr_qdb: self.signal.snr_qdb + faded_qdb,
            },
            lock: unit(&mut self.draws),
            payload: unit(&mut self.draws),
            lost: self.draws.chance_ppm(loss_ppm),
        }
    }
}

/// Adds, changes or removes the link to a node among links that are ordered by receiver.
pub(super) fn set_link(
    links: &mut Vec<Link>,
    to: NodeId,
    signal: Option<Signal>,
    draws: impl FnOnce() -> Rng,
) {
    match (links.binary_search_by_key(&to, |link| link.to), signal) {
        (Ok(at), Some(signal)) => links[at].set_signal(signal),
        (Ok(at), None) => {
            links.remove(at);
        }
        (Err(at), Some(signal)) => links.insert(at, Link::new(to, signal, draws())),
        (Err(_), None) => {}
    }
}

/// A receiver that has locked on a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lock {
    pub(super) receiver: NodeId,
    pub(super) luck: Luck,
}

/// All that a receiver hears, and its state.
#[derive(Debug)]
pub(super) struct Receiver {
    heard: Vec<Heard>,
    /// The frame that it has locked on.
    pub(super) locked: Option<u64>,
    /// Its demodulator is taken until then.
    pub(super) busy_until: Instant,
    detection: Rng,
}

impl Receiver {
    pub(super) fn new(detection: Rng) -> Self {
        Self { heard: Vec::new(), locked: None, busy_until: Instant::ZERO, detection }
    }

    /// A transmission begins. What ended before `forget_before` can have overlapped nothing that is still on the air.
    pub(super) fn hear(&mut self, heard: Heard, forget_before: Instant) {
        self.heard.retain(|other| other.end > forget_before);
        self.heard.push(heard);
    }

    /// A transmission is cut off.
    pub(super) fn cut(&mut self, serial: u64, now: Instant) {
        for heard in self.heard.iter_mut().filter(|heard| heard.serial == serial) {
            heard.end = heard.end.min(now);
        }
    }

    /// Gives up the frame that it receives.
    pub(super) fn unlock(&mut self, now: Instant) {
        if self.locked.take().is_some() {
            self.busy_until = now;
        }
    }

    /// Channel activity detection, over the `slot` before `now`: two nodes that start within one do not notice each other.
    pub(super) fn is_busy(&mut self, now: Instant, slot: Duration, reception: &Reception) -> bool {
        if self.locked.is_some() && self.busy_until > now {
            return true;
        }
        let detection = &mut self.detection;
        self.heard.iter().filter(|heard| heard.start + slot <= now && heard.end > now).any(|heard| {
            let chance = reception.detection(heard.snr_qdb);
            chance > CERTAIN || unit(detection) < chance
        })
    }

    /// Chance that a section of a frame survives what else is on the air.
    fn survival(&self, serial: u64, signal: Signal, symbol: Duration, from: Instant, to: Instant) -> f64 {
        let (mut power_mw, mut overlap_us) = (0.0, 0u64);
        for other in self.heard.iter().filter(|other| other.serial != serial) {
            let (start, end) = (other.start.max(from), other.end.min(to));
            if end > start {
                power_mw += other.power_mw;
                overlap_us = overlap_us.max(end.saturating_duration_since(start).as_micros());
            }
        }
        if overlap_us == 0 {
            return 1.0;
        }
        let symbols = overlap_us.div_ceil(symbol.as_micros().max(1)) as f64;
        let sir_db = f64::from(signal.rssi_qdbm) / 4.0 - 10.0 * libm::log10(power_mw);
        Reception::survival(symbols, sir_db)
    }

    /// At the end of a frame's header: whether the receiver, if it can hear at all, has locked on it.
    pub(super) fn try_lock(
        &mut self,
        serial: u64,
        start: Instant,
        end: Instant,
        luck: &Luck,
        demodulator: &Demodulator,
    ) -> bool {
        let (from, to) = (start + demodulator.lock, start + demodulator.header_end);
        if self.busy_until > from {
            return false;
        }
        let chance = demodulator.reception.lock(luck.signal.snr_qdb)
            * self.survival(serial, luck.signal, demodulator.symbol, from, to);
        let locks = luck.lock < chance;
        if locks {
            (self.locked, self.busy_until) = (Some(serial), end);
        }
        locks
    }

    /// At the end of a frame that it has locked on: whether the payload is right.
    pub(super) fn receives(
        &self,
        serial: u64,
        start: Instant,
        now: Instant,
        luck: &Luck,
        frame_bytes: usize,
        demodulator: &Demodulator,
    ) -> bool {
        let from = start + demodulator.header_end;
        let chance = demodulator.reception.payload(luck.signal.snr_qdb, frame_bytes)
            * self.survival(serial, luck.signal, demodulator.symbol, from, now);
        !luck.lost && luck.payload < chance
    }
}
