//! Those who mean harm: a liar who knows the swarm key, a jammer, and somebody who sends again what he heard.

use std::collections::VecDeque;

use compotastic_bundle::RECORD_PART;
use compotastic_mesh::{
    packet::{NodeNum, PacketId},
    rng::Rng,
    router::{Gate, Outgoing, Priority, Router, RouterConfig, RouterEvent},
    time::{Duration, Instant},
};
use compotastic_wire::{
    self as wire, Address, Advert, Award, Beacon, Frame, JobResult, KeyRing, MAX_PAYLOAD, Offer, PORT,
    Record, RecordRequest, RecordType, ResultStatus, Symbol, SymbolRequest,
};

use crate::{Host, swarm::Bundle};

/// Channel of the swarm among the router's.
const SWARM_CHANNEL: u8 = 1;

fn wait(rng: &mut Rng, mean_s: u32) -> Duration {
    Duration::from_millis(500 + u64::from(rng.below(2000 * mean_s)))
}

/// A member of the swarm who lies in each kind of frame.
pub struct Liar {
    num: NodeNum,
    router: Router,
    keys: KeyRing,
    rng: Rng,
    next_id: u32,
    next_lie: Instant,
    /// Bundles that nobody may install.
    forged: Vec<Bundle>,
    /// Objects and requests that it has heard of.
    tags: Vec<u32>,
    requests: VecDeque<(NodeNum, u16)>,
    others: Vec<NodeNum>,
}

impl Liar {
    /// A liar with bundles that nobody may install.
    pub fn new(
        config: RouterConfig,
        keys: KeyRing,
        forged: Vec<Bundle>,
        others: Vec<NodeNum>,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x6c69_6172);
        Self {
            num: config.num,
            router: Router::new(config, seed, Instant::ZERO),
            keys,
            next_id: 1,
            next_lie: Instant::ZERO + wait(&mut rng, 600),
            rng,
            forged,
            tags: Vec::new(),
            requests: VecDeque::new(),
            others,
        }
    }

    fn say(&mut self, now: Instant, frame: &Frame<'_>, to: NodeNum, hop_limit: u8) {
        self.next_id += 1;
        let address = Address { from: self.num.0, to: to.0, id: self.next_id };
        let mut buffer = [0; MAX_PAYLOAD];
        let Ok(length) = wire::seal(frame, &self.keys, &address, &mut buffer) else { return };
        let outgoing = Outgoing {
            to,
            id: PacketId(self.next_id),
            channel: SWARM_CHANNEL,
            port: PORT,
            payload: &buffer[..length],
            hop_limit,
            want_ack: false,
            priority: Priority::High,
            gate: Gate::Alert,
            request_id: None,
            bitfield: None,
        };
        let _ = self.router.send(now, &outgoing);
    }

    fn listen(&mut self, now: Instant) {
        while let Some(event) = self.router.poll_event() {
            let (RouterEvent::Received(packet) | RouterEvent::Overheard(packet)) = event else { continue };
            let address = Address { from: packet.from.0, to: packet.to.0, id: packet.id.0 };
            let Ok((frame, _)) = wire::open(&packet.payload, &self.keys, &address) else { continue };
            match frame {
                Frame::Request(request) => {
                    let reference = packet.id.0.wrapping_sub(u32::from(request.back.unwrap_or(0))) as u16;
                    if self.requests.len() > 8 {
                        self.requests.pop_front();
                    }
                    self.requests.push_back((packet.from, reference));
                    if request.wants_offers {
                        self.say(
                            now,
                            &Frame::Offer(Offer { job: reference, suitability: 255, wait_s: 0 }),
                            packet.from,
                            7,
                        );
                    } else if packet.to == self.num && self.rng.below(2) == 0 {
                        self.answer(now, packet.from, reference);
                    }
                }
                Frame::Award(Award { job }) if packet.to == self.num && self.rng.below(2) == 0 => {
                    self.answer(now, packet.from, job);
                }
                Frame::Beacon(beacon)
                    if beacon.object_tag != 0
                        && self.tags.len() < 8
                        && !self.tags.contains(&beacon.object_tag) =>
                {
                    self.tags.push(beacon.object_tag);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, now: Instant, to: NodeNum, job: u16) {
        let statuses = [ResultStatus::Ok, ResultStatus::Busy, ResultStatus::Declined, ResultStatus::Received];
        let frame = Frame::Result(JobResult {
            requester: None,
            job,
            status: statuses[self.rng.below(4) as usize],
            confidence: 15,
            class: self.rng.below(2) as u8,
            model_version: 200,
            text: None,
        });
        self.say(now, &frame, to, 7);
    }

    fn somebody(&mut self) -> NodeNum {
        self.others[self.rng.below(self.others.len() as u32) as usize]
    }

    fn lie(&mut self, now: Instant) {
        let tag = match self.tags.len() {
            0 => self.rng.next_u32(),
            known => self.tags[self.rng.below(known as u32) as usize],
        };
        let number = self.rng.next_u32();
        match self.rng.below(8) {
            0 => {
                let beacon = Beacon {
                    flags: Beacon::EXECUTES | Beacon::FOUNDATION_MODEL,
                    task: 1,
                    battery: 15,
                    record_hash: number,
                    model_version: number as u16,
                    object_tag: if number & 1 == 0 { tag } else { number },
                    object_progress: 255,
                    ..Beacon::default()
                };
                self.say(now, &Frame::Beacon(beacon), NodeNum::BROADCAST, 7);
            }
            1 => {
                // A result that nobody asked of it.
                if let Some((to, job)) = self.requests.pop_front() {
                    self.answer(now, to, job);
                } else {
                    let to = self.somebody();
                    self.answer(now, to, number as u16);
                }
            }
            2 => {
                let data: Vec<u8> = (0..176).map(|_| self.rng.next_u32() as u8).collect();
                let symbol = 256 + self.rng.below(200) as u16;
                let (id, length) = if number & 1 == 0 { (symbol, 176) } else { (number as u16 & 7, 176) };
                let frame = Frame::Symbol(Symbol {
                    object_tag: tag,
                    generation: 0,
                    symbol: id,
                    more: number as u8,
                    data: &data[..length],
                });
                self.say(now, &frame, NodeNum::BROADCAST, 0);
            }
            3 => {
                let frame = Frame::SymbolRequest(SymbolRequest {
                    object_tag: tag,
                    generation: 0,
                    needed: 255,
                    server: if number & 1 == 0 { 0 } else { self.somebody().0 as u16 },
                    lacking: u16::MAX,
                    uncoded: None,
                });
                self.say(now, &frame, NodeNum::BROADCAST, 0);
            }
            4 => {
                let record_type = if number & 1 == 0 { RecordType::Manifest } else { RecordType::Delegation };
                self.say(
                    now,
                    &Frame::RecordRequest(RecordRequest { record_type, tag }),
                    NodeNum::BROADCAST,
                    0,
                );
            }
            5 => {
                // It serves what it does not have.
                let object_tag = if number & 1 == 0 { tag } else { number };
                let frame = Frame::Advert(Advert { object_tag, complete: u16::MAX });
                self.say(now, &frame, NodeNum::BROADCAST, 0);
            }
            _ if self.forged.is_empty() => {}
            _ => {
                let bundle = self.forged[self.rng.below(self.forged.len() as u32) as usize].clone();
                self.offer_bundle(now, &bundle);
            }
        }
    }

    fn offer_bundle(&mut self, now: Instant, bundle: &Bundle) {
        let key_tag = u32::from_le_bytes([1, 2, 3, 4]);
        // Perhaps under the name of an object that others wait for.
        let tag = self.tags.first().copied().filter(|_| self.rng.below(3) == 0).unwrap_or(bundle.tag);
        for (record_type, tag, bytes) in [
            (RecordType::Delegation, key_tag, &bundle.delegation),
            (RecordType::Manifest, tag, &bundle.manifest),
        ] {
            let parts = bytes.chunks(RECORD_PART).count() as u8;
            for (part, bytes) in (0..).zip(bytes.chunks(RECORD_PART)) {
                let record = Record { record_type, part, parts, tag, bytes };
                self.say(now, &Frame::Record(record), NodeNum::BROADCAST, 7);
            }
        }
        for (symbol, data) in (0..).zip(&bundle.pieces()) {
            let frame =
                Frame::Symbol(Symbol { object_tag: bundle.tag, generation: 0, symbol, more: 0, data });
            self.say(now, &frame, NodeNum::BROADCAST, 0);
        }
    }
}

impl Host for Liar {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        self.listen(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.listen(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.router.handle_timeout(now);
        self.listen(now);
        if now >= self.next_lie {
            self.lie(now);
            self.next_lie = now + wait(&mut self.rng, 120);
        }
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        self.router.poll_transmit(now, channel_busy).map(|frame| frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        [self.router.poll_timeout(), Some(self.next_lie)].into_iter().flatten().min()
    }
}

/// Sends noise, whatever is on the air; or sends again what it heard, with other relay fields.
pub struct Repeater {
    rng: Rng,
    jams: bool,
    heard: VecDeque<Vec<u8>>,
    next: Instant,
    sending: bool,
}

/// Frames that it keeps.
const KEPT: usize = 64;

impl Repeater {
    /// A jammer.
    pub fn jammer(seed: u64) -> Self {
        Self::new(seed, true)
    }

    /// Somebody who sends again what he heard.
    pub fn replayer(seed: u64) -> Self {
        Self::new(seed, false)
    }

    fn new(seed: u64, jams: bool) -> Self {
        let mut rng = Rng::from_seed(seed).child(0x6861_726d);
        let next = Instant::ZERO + wait(&mut rng, 300);
        Self { rng, jams, heard: VecDeque::new(), next, sending: false }
    }
}

impl Host for Repeater {
    fn handle_frame(&mut self, _now: Instant, frame: &[u8], _snr_qdb: i16, _rssi_dbm: i16) {
        if self.heard.len() == KEPT {
            // Something old is worth keeping too.
            let at = self.rng.below(KEPT as u32) as usize;
            self.heard.remove(at);
        }
        self.heard.push_back(frame.to_vec());
    }
    fn handle_bad_frame(&mut self, _now: Instant, _airtime: Duration) {}
    fn handle_tx_done(&mut self, _now: Instant) {
        self.sending = false;
    }
    fn handle_timeout(&mut self, _now: Instant) {}
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        if self.sending || now < self.next {
            return None;
        }
        if channel_busy && !self.jams {
            self.next = now + Duration::from_millis(300);
            return None;
        }
        self.next = now + wait(&mut self.rng, if self.jams { 20 } else { 60 });
        let frame = if self.jams {
            let length = 16 + self.rng.below(220) as usize;
            Some((0..length).map(|_| self.rng.next_u32() as u8).collect())
        } else {
            let at = self.rng.below(self.heard.len().max(1) as u32) as usize;
            self.heard.get(at).cloned().map(|mut frame: Vec<u8>| {
                // Flags (hop limit, want_ack), next hop and relay: what the MAC does not cover.
                for place in [12, 14, 15] {
                    if self.rng.below(2) == 0
                        && let Some(byte) = frame.get_mut(place)
                    {
                        *byte = self.rng.next_u32() as u8;
                    }
                }
                frame
            })
        };
        self.sending = frame.is_some();
        frame
    }
    fn poll_timeout(&self) -> Option<Instant> {
        if self.sending { None } else { Some(self.next) }
    }
}
