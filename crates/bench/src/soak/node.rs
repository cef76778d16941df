//! The hosted node of the soak: the simulator's stock radio behind the device's side of the client API, a cable with faults,
//! and the daemon's parts on the other end: the app's session, the back-off, the hosted station.

use std::{collections::BTreeMap, time};

use compotastic_client::{
    app::{Config, Event, Failure, Phase, Session},
    device::{About, Device, Fresh, Nodes, OutPacket, Refused, Settings},
    framing::{Deframer, Item, frame},
};
use compotastic_links::Backoff;
use compotastic_mesh::{
    packet::{NodeNum, PacketId},
    rng::Rng,
    router::Priority,
    time::{Duration, Instant},
};
use compotastic_messages::{
    Channel, ChannelRole, ChannelSettings, Data, DeviceMetrics, FromRadioPayload, HardwareModel, LoRaConfig,
    MeshPacket, MeshPacketPayload, Message, NodeInfo, PortNum, RegionCode, Role, RoutingError, Telemetry,
    TelemetryVariant, ToRadio,
};
use compotastic_node::{
    Agent, HostedStation,
    beside::Ways,
    hosted::{FromRadio, RadioTelemetry, ToRadio as ForRadio},
};
use compotastic_sim::{
    Host,
    hosted::{RadioHabits, StockRadio, Told},
    swarm::{Flash, Kit, NodeFlash, Post},
};

use super::{
    cable::{Cable, Wire},
    faults::{Fault, Faults, Kind, Tally, open_patience},
};

/// Waits of the daemon's links.
const BACKOFF_MIN: time::Duration = time::Duration::from_secs(1);
const BACKOFF_MAX: time::Duration = time::Duration::from_secs(20);
/// Index of the swarm's channel in the radio.
const CHANNEL: u8 = 1;

/// The radio knows nobody else.
struct Alone;

impl Nodes for Alone {
    fn own(&self) -> NodeInfo<'static> {
        NodeInfo::default()
    }
    fn other(&self, _index: usize, _tell: &mut dyn FnMut(NodeInfo<'_>)) {}
    fn count(&self) -> usize {
        0
    }
}

/// The host's end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Open, as far as the host knows.
    Open,
    /// Being opened; nobody answers before then.
    Opening(Instant),
    /// Waits before the next try.
    Waiting(Instant),
}

/// What is counted beside the faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Times that the session was ready.
    pub ready: u64,
    /// Packets given to the session, and those that it said had failed.
    pub sent: u64,
    pub failed: u64,
    /// Bytes that were no frame.
    pub text: u64,
}

/// The node.
pub struct SoakNode {
    wire: Wire,
    kit: Kit,
    post: Post,
    habits: RadioHabits,
    radio: StockRadio,
    device: Device,
    settings: Settings,
    deframer_radio: Deframer,
    /// A client is connected at the radio's end.
    client: bool,
    /// The radio is off until then.
    off: bool,
    stalled: bool,
    queue_full: bool,
    plug_out: bool,
    cable: Cable,
    link: Link,
    session: Session,
    deframer_host: Deframer,
    backoff: Backoff,
    station: HostedStation<'static, Flash>,
    unsent: Option<ForRadio>,
    faults: Faults,
    fault: Fault,
    active: bool,
    /// The fault has ended then, and its host is not back yet.
    watching: Option<Instant>,
    broke: bool,
    heard: Instant,
    reboots: u32,
    /// As the radio told at the last handshake.
    starts: u32,
    pub tallies: BTreeMap<Kind, Tally>,
    pub counts: Counts,
}

fn ms(now: Instant) -> u64 {
    now.as_micros() / 1000
}

impl SoakNode {
    /// A node that is switched on now. None if its flash cannot be read.
    pub fn new(kit: Kit, post: Post, wire: Wire, seed: u64, now: Instant) -> Option<Self> {
        let habits = RadioHabits::default();
        let draws = Rng::from_seed(seed).child(0x736f_616b);
        let station = kit.boot_host(&post, &NodeFlash::default(), now, 0, habits)?;
        let radio = kit.radio(&post, habits, now);
        let mut faults = Faults::new(draws.child(1));
        let fault = faults.next(now);
        Some(Self {
            wire,
            device: Device::new(about(&post, 0), draws.child(2).next_u64()),
            settings: settings(),
            kit,
            post,
            habits,
            radio,
            deframer_radio: Deframer::default(),
            client: false,
            off: false,
            stalled: false,
            queue_full: false,
            plug_out: false,
            cable: Cable::new(draws.child(3)),
            link: Link::Waiting(now),
            session: Session::new(Config::default(), draws.child(4).next_u64()),
            deframer_host: Deframer::default(),
            backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX, Some(draws.child(5).next_u64())),
            station,
            unsent: None,
            faults,
            fault,
            active: false,
            watching: None,
            broke: false,
            heard: now,
            reboots: 0,
            starts: 0,
            tallies: BTreeMap::new(),
            counts: Counts::default(),
        })
    }

    /// The agent. Call [`Self::settle`] afterwards.
    pub fn agent(&mut self) -> &mut Agent<'static, Flash> {
        self.station.agent()
    }

    /// Bytes lost on the cable, and the most that ever waited there.
    pub fn cable(&self) -> (u64, usize) {
        (self.cable.lost, self.cable.waiting_max)
    }

    /// Moves what is ready between the parts.
    pub fn settle(&mut self, now: Instant) {
        self.run_faults(now);
        self.run_link(now);
        self.station.settle(now);
        loop {
            let mut moved = self.run_radio(now);
            moved |= self.run_host(now);
            if !moved {
                break;
            }
        }
        self.watch(now);
    }

    // -- what befalls it

    fn run_faults(&mut self, now: Instant) {
        if !self.active && self.watching.is_none() && now >= self.fault.from {
            self.active = true;
            self.broke = self.session.phase() != Phase::Ready;
            self.begin();
        }
        if self.active && now >= self.fault.until {
            self.active = false;
            self.end(now);
            self.watching = Some(now);
        }
    }

    fn begin(&mut self) {
        match self.fault.kind {
            Kind::Reboot => {
                // The power goes: what is on its way to it is lost, and its client is not told.
                self.off = true;
                self.cable.cut = true;
                self.client = false;
                self.deframer_radio.reset();
                self.cable.clear();
            }
            Kind::Stall => self.stalled = true,
            Kind::Kick => {
                self.plug_out = true;
                self.client = false;
                self.hang_up();
            }
            Kind::Garbage => {
                let noise = self.cable.noise(self.fault.amount as usize);
                self.cable.write_to_host(&noise);
            }
            Kind::DropBytes => self.cable.loss_ppm = self.fault.amount,
            Kind::FullQueue => self.queue_full = true,
            Kind::Cut => self.cable.cut = true,
        }
    }

    fn end(&mut self, now: Instant) {
        match self.fault.kind {
            Kind::Reboot => {
                self.off = false;
                self.cable.cut = false;
                self.reboots += 1;
                self.radio = self.kit.radio(&self.post, self.habits, now);
                let seed = self.fault.from.as_micros() ^ u64::from(self.reboots);
                self.device = Device::new(about(&self.post, self.reboots), seed);
                if self.wire == Wire::Serial && self.link == Link::Open {
                    self.cable.write_to_host(b"INFO  | ??:??:?? 0 Booting\r\n");
                    self.device.handle_rebooted();
                    self.client = true;
                }
            }
            Kind::Stall => self.stalled = false,
            Kind::Kick => self.plug_out = false,
            Kind::Garbage => {}
            Kind::DropBytes => self.cable.loss_ppm = 0,
            Kind::FullQueue => {
                self.queue_full = false;
                self.device.handle_free(16);
            }
            Kind::Cut => self.cable.cut = false,
        }
    }

    /// The host is back once the radio was heard after the fault and the session is ready.
    fn watch(&mut self, now: Instant) {
        self.broke |= self.session.phase() != Phase::Ready;
        let Some(since) = self.watching else { return };
        if self.session.phase() == Phase::Ready && self.heard >= since {
            let back = now.saturating_duration_since(since);
            self.tallies.entry(self.fault.kind).or_default().add(back, self.broke);
            self.watching = None;
            self.fault = self.faults.next(now);
        }
    }

    // -- the host's end

    fn hang_up(&mut self) {
        if self.link == Link::Open {
            self.cable.clear();
            self.session.handle_disconnected();
            self.link = Link::Waiting(Instant::ZERO);
        }
    }

    fn run_link(&mut self, now: Instant) {
        // Waits are drawn where the time is known.
        if self.link == Link::Waiting(Instant::ZERO) {
            let wait = self.backoff.wait();
            self.link = Link::Waiting(now + Duration::from_micros(wait.as_micros() as u64));
        }
        let reachable = !self.off && !self.cable.cut && !self.plug_out;
        match self.link {
            Link::Waiting(until) if now >= until => {
                // A serial port opens whatever the radio does, unless it is unplugged.
                let opens = match self.wire {
                    Wire::Tcp => reachable,
                    Wire::Serial => !self.plug_out,
                };
                if opens {
                    self.open(now);
                } else {
                    self.link = Link::Opening(now + open_patience(self.wire));
                }
            }
            Link::Opening(until) if now >= until => self.link = Link::Waiting(Instant::ZERO),
            _ => {}
        }
        if self.link == Link::Waiting(Instant::ZERO) {
            self.run_link(now);
        }
    }

    fn open(&mut self, now: Instant) {
        self.cable.clear();
        self.deframer_host.reset();
        self.link = Link::Open;
        self.session.handle_connected(ms(now));
        if !self.off {
            self.deframer_radio.reset();
            self.device.handle_connect();
            self.client = true;
        }
    }

    fn run_host(&mut self, now: Instant) -> bool {
        let mut moved = false;
        let bytes = if self.link == Link::Open { self.cable.read_at_host() } else { Vec::new() };
        let mut input = bytes.as_slice();
        loop {
            let message = match self.deframer_host.next(&mut input) {
                None => break,
                Some(Item::Text(text)) => {
                    self.counts.text += text.len() as u64;
                    continue;
                }
                Some(Item::Message(message)) => message.to_vec(),
            };
            moved = true;
            if !self.handle_from_radio(now, &message) {
                self.deframer_host.reject();
            }
        }
        while let Some(event) = self.session.poll_event() {
            moved = true;
            self.handle_event(now, event);
        }
        while self.link == Link::Open
            && let Some(message) = self.session.poll_transmit(ms(now))
        {
            moved = true;
            // A radio that was started anew does not know the connection: it resets it, once it can.
            if self.wire == Wire::Tcp && !self.client && !self.off && !self.cable.cut {
                self.hang_up();
                break;
            }
            if let Ok(bytes) = frame(&message) {
                self.cable.write_to_radio(&bytes);
            }
        }
        if self.session.phase() == Phase::Ready {
            if self.unsent.is_none() {
                self.unsent = self.station.poll_packet(now);
            }
            if let Some(packet) = &self.unsent
                && self.session.send(&for_session(packet)).is_ok()
            {
                self.counts.sent += 1;
                self.unsent = None;
                self.station.settle(now);
                moved = true;
            }
        }
        moved
    }

    fn handle_from_radio(&mut self, now: Instant, message: &[u8]) -> bool {
        let Ok(taken) = self.session.handle_message(ms(now), message) else { return false };
        self.heard = now;
        if let Some(FromRadioPayload::Packet(packet)) = &taken.message.payload
            && let Some(data) = packet.decoded()
            && packet.from != self.post.num.0
        {
            self.station.handle_packet(
                now,
                &FromRadio {
                    from: NodeNum(packet.from),
                    to: NodeNum(packet.to),
                    id: PacketId(packet.id),
                    channel: packet.channel as u8,
                    port: data.portnum.0 as u16,
                    hops_away: packet.hops_away().map(|hops| hops as u8),
                    payload: data.payload,
                },
            );
        }
        true
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Ready { .. } => {
                self.counts.ready += 1;
                self.backoff.reset();
                // As the link does where the radio was started anew while it was down.
                let starts = self.session.radio().reboot_count;
                if std::mem::replace(&mut self.starts, starts) != starts {
                    self.station.handle_radio_restarted(now);
                }
                self.station.settle(now);
            }
            Event::Restarted | Event::NumberChanged { .. } => self.station.handle_radio_restarted(now),
            Event::Dead(_) => self.hang_up(),
            Event::Failed { id, why } => {
                self.counts.failed += 1;
                // Without a link nothing is known of what the radio has; the packet itself was not handed over.
                if why != Failure::NoAnswer {
                    self.station.handle_failed(now, PacketId(id));
                }
            }
            Event::Metrics { metrics, .. } => {
                let permille = |percent: Option<f32>| (percent.unwrap_or_default() * 10.0) as u16;
                let telemetry = RadioTelemetry {
                    channel_utilization_permille: permille(metrics.channel_utilization),
                    air_util_tx_permille: permille(metrics.air_util_tx),
                };
                self.station.handle_telemetry(now, telemetry);
            }
            Event::Delivered { .. } | Event::Queue { .. } | Event::Stats { .. } => {}
        }
    }

    // -- the radio's end

    fn run_radio(&mut self, now: Instant) -> bool {
        let now_ms = ms(now);
        if self.off {
            return false;
        }
        let mut moved = false;
        while let Some(told) = self.radio.poll_told() {
            moved = true;
            match told {
                Told::Packet(packet) => {
                    let data = Data {
                        portnum: PortNum(packet.port.into()),
                        payload: &packet.payload,
                        request_id: packet.request_id.unwrap_or(0),
                        bitfield: packet.bitfield.map(u32::from),
                        ..Data::default()
                    };
                    let hops = packet.hops_away.map_or(0, u32::from);
                    self.device.handle_packet(MeshPacket {
                        from: packet.from.0,
                        to: packet.to.0,
                        id: packet.id.0,
                        channel: packet.channel.into(),
                        hop_start: 7,
                        hop_limit: 7 - hops.min(7),
                        payload: Some(MeshPacketPayload::Decoded(data)),
                        ..MeshPacket::default()
                    });
                }
                Told::Telemetry(telemetry) => self.tell_telemetry(telemetry),
                Told::Failed(id) => self.device.handle_outcome(now_ms, id.0, RoutingError::MAX_RETRANSMIT),
            }
        }
        if self.stalled {
            return moved;
        }
        let bytes = self.cable.read_at_radio();
        let mut input = bytes.as_slice();
        while let Some(item) = self.deframer_radio.next(&mut input) {
            let Item::Message(message) = item else { continue };
            if ToRadio::decode(message).is_err() {
                self.deframer_radio.reject();
                continue;
            }
            moved = true;
            self.device.handle_to_radio(now_ms, message, &mut self.settings);
        }
        while let Some(packet) = self.device.poll_packet() {
            moved = true;
            match (self.queue_full, for_radio(&packet)) {
                (false, Some(given)) => {
                    self.radio.submit(now, &given);
                    self.device.handle_sent(now_ms, packet.id, Ok(()), 12);
                }
                _ => self.device.handle_sent(now_ms, packet.id, Err(Refused::QueueFull), 0),
            }
        }
        while self.device.poll_event().is_some() {}
        let mut out = [0; 512];
        while self.client
            && self.cable.has_room_to_host()
            && let Some(length) = self.device.poll_from_radio(now_ms, &self.settings, &Alone, &mut out)
        {
            moved = true;
            if let Ok(bytes) = frame(&out[..length]) {
                self.cable.write_to_host(&bytes);
            }
        }
        moved
    }

    fn tell_telemetry(&mut self, telemetry: RadioTelemetry) {
        let percent = |permille: u16| Some(f32::from(permille) / 10.0);
        let metrics = DeviceMetrics {
            channel_utilization: percent(telemetry.channel_utilization_permille),
            air_util_tx: percent(telemetry.air_util_tx_permille),
            ..DeviceMetrics::default()
        };
        let message = Telemetry { time: 0, variant: Some(TelemetryVariant::DeviceMetrics(metrics)) };
        let Ok(payload) = message.to_vec::<64>() else { return };
        let data = Data { portnum: PortNum::TELEMETRY_APP, payload: &payload, ..Data::default() };
        self.device.handle_packet(MeshPacket {
            from: self.post.num.0,
            to: u32::MAX,
            id: 1,
            payload: Some(MeshPacketPayload::Decoded(data)),
            ..MeshPacket::default()
        });
    }
}

impl Host for SoakNode {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        if !self.off {
            self.radio.handle_frame(now, frame, snr_qdb, rssi_dbm);
        }
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        if !self.off {
            self.radio.handle_bad_frame(now, airtime);
        }
    }
    fn handle_tx_done(&mut self, now: Instant) {
        if !self.off {
            self.radio.handle_tx_done(now);
        }
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        if !self.off {
            self.radio.handle_timeout(now);
        }
        self.station.handle_timeout(now);
        self.session.handle_timeout(ms(now));
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        if self.off {
            return None;
        }
        let frame = self.radio.poll_transmit(now, channel_busy)?;
        self.settle(now);
        Some(frame)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        let radio = if self.off { None } else { self.radio.poll_timeout() };
        let session = self.session.poll_timeout().map(|due_ms| Instant::from_micros(due_ms * 1000));
        let link = match self.link {
            Link::Open => None,
            Link::Opening(until) | Link::Waiting(until) => Some(until),
        };
        let fault = match (self.active, self.watching) {
            (true, _) => Some(self.fault.until),
            (false, None) => Some(self.fault.from),
            (false, Some(_)) => None,
        };
        [radio, session, link, fault, self.station.poll_timeout()].into_iter().flatten().min()
    }
}

fn about(post: &Post, reboots: u32) -> About {
    About {
        num: post.num.0,
        hw_model: HardwareModel::PORTDUINO,
        firmware_version: "2.7.26.soak",
        build: "soak",
        device_id: [7; 16],
        reboot_count: reboots,
        has_wifi: true,
        has_bluetooth: false,
        can_shutdown: false,
    }
}

/// A radio that has the swarm's channel.
fn settings() -> Settings {
    let lora = LoRaConfig {
        use_preset: true,
        region: RegionCode::EU_868,
        hop_limit: 3,
        tx_enabled: true,
        ..LoRaConfig::default()
    };
    let mut settings =
        Settings::fresh(&Fresh { long_name: "soak", short_name: "so", role: Role::CLIENT, lora, keys: None });
    let swarm = ChannelSettings { name: "swarm".into(), psk: &[7; 32], ..ChannelSettings::default() };
    let channel = Channel { index: CHANNEL.into(), settings: Some(swarm), role: ChannelRole::SECONDARY };
    if let Ok(bytes) = channel.to_vec::<128>() {
        // There is room for it: the settings are fresh.
        let _ = settings.set(compotastic_client::device::Part::Channel(CHANNEL), &bytes);
    }
    settings
}

fn for_session(packet: &ForRadio) -> MeshPacket<'_> {
    let data = Data { portnum: PortNum(packet.port.into()), payload: &packet.payload, ..Data::default() };
    MeshPacket {
        to: packet.to.0,
        id: packet.id.0,
        channel: packet.channel.into(),
        hop_limit: packet.hop_limit.into(),
        want_ack: packet.want_ack,
        priority: compotastic_messages::Priority(packet.priority as u32),
        payload: Some(MeshPacketPayload::Decoded(data)),
        ..MeshPacket::default()
    }
}

fn for_radio(packet: &OutPacket) -> Option<ForRadio> {
    Some(ForRadio {
        to: NodeNum(packet.to),
        id: PacketId(packet.id),
        channel: packet.channel,
        port: packet.port.0 as u16,
        hop_limit: packet.hop_limit,
        want_ack: packet.want_ack,
        priority: match packet.priority.0 {
            0..=10 => Priority::Background,
            11..=64 => Priority::Default,
            65..=70 => Priority::Reliable,
            71..=80 => Priority::Response,
            81..=100 => Priority::High,
            _ => Priority::Alert,
        },
        payload: packet.payload.iter().copied().collect::<Vec<u8>>().as_slice().try_into().ok()?,
        ways: Ways { radio: true, beside: false },
    })
}
