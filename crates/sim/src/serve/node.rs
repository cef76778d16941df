//! A stock node with its client API: the mesh's own router and citizen, and the device that an app talks to.

use std::collections::VecDeque;

use compotastic_client::device::{
    About, Device, DeviceEvent, FROM_RADIO_MAX, OutPacket, Refused, Settings, TX_QUEUE,
};
use compotastic_mesh::{
    citizen::{Citizen, CitizenEvent, Message},
    lora::{Preset, Region},
    modules::NODEINFO_PORT,
    nodedb::{Metrics, Position},
    packet::{HEADER, Header, NodeNum, PacketId},
    rng::Rng,
    router::{Gate, Router, RouterConfig, SendError},
    time::{Duration, Instant},
};
use compotastic_messages::{
    HardwareModel, LogLevel, MeshPacket, MeshPacketPayload, Message as _, RoutingError, TransportMechanism,
};

use super::{
    convert::{self, Known},
    ours::Inner,
    talk,
};
use crate::{Host, messenger::Planned};

/// A radio that restarts is away for this long.
const REBOOT: Duration = Duration::from_secs(3);
/// The client is told the radio's own metrics this often.
const TELEMETRY: Duration = Duration::from_secs(60);
/// Own NodeInfo at a client's wish, at most this often.
const ANNOUNCE: Duration = Duration::from_secs(60);
/// A broadcast that nobody was heard to relay after this time has failed.
const RELAY_WAIT: Duration = Duration::from_secs(30);
/// Packets of others that no channel reads, remembered so that the client is told of each once.
const UNREAD: usize = 32;
/// What nodes tell that have power for ever.
const POWERED: u8 = 101;
/// Packets of the client's that wait to be heard from relays.
const AWAITED: usize = 16;

/// What a node is given before its first start.
pub struct Post {
    /// Its router's settings; the channels are those of `settings` once it runs.
    pub router: RouterConfig,
    /// The client's view of it.
    pub settings: Settings,
    /// What the device is.
    pub about: About,
    /// Messages of its person.
    pub plan: Vec<Planned>,
    /// When it is switched on.
    pub start: Instant,
    /// Seconds since 1970 when the simulation begins.
    pub unix_s: u32,
    /// Port and channel index of the agent's frames, in a node of ours.
    pub agent: Option<(u16, u8)>,
    /// Seed of all that it draws.
    pub seed: u64,
}

/// What a client waits for of its packet: that somebody is heard relaying it.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    id: u32,
    until: Instant,
    broadcast: bool,
}

/// The node.
pub struct ServedNode {
    num: NodeNum,
    /// Preset and region of the world; on others it hears nobody.
    air: (Preset, Region),
    factory: (RouterConfig, Settings),
    router: Router,
    citizen: Citizen,
    device: Device,
    settings: Settings,
    draws: Rng,
    start: Instant,
    unix_s: u32,
    /// By falling time, so that the next one is at the end.
    plan: Vec<Planned>,
    position: Option<Position>,
    battery_percent: u8,
    connected: bool,
    tells_at: Instant,
    announced: Option<Instant>,
    awaited: VecDeque<Awaited>,
    unread: VecDeque<(NodeNum, PacketId)>,
    rssi_dbm: i16,
    /// It goes down then, and for good if so.
    down_at: Option<(Instant, bool)>,
    /// It is down until then.
    up_at: Option<Instant>,
    went_down: bool,
    inner: Option<Inner>,
}

fn millis(now: Instant) -> u64 {
    now.as_micros() / 1000
}

impl ServedNode {
    /// A node that is off until its start.
    pub fn new(post: Post) -> Self {
        let Post { router: config, settings, about, mut plan, start, unix_s, agent, seed } = post;
        plan.sort_by_key(|planned| core::cmp::Reverse(planned.at));
        let mut draws = Rng::from_seed(seed).child(0x7365_7276);
        let mut device = Device::new(about, draws.next_u64());
        device.set_time(0, unix_s);
        let factory = (config.clone(), settings.clone());
        let hw_model = device.about().hw_model;
        let (router, citizen) = start_radio(&config, &settings, hw_model, draws.next_u64(), start);
        let mut node = Self {
            num: config.num,
            air: (config.preset, config.region),
            factory,
            router,
            citizen,
            device,
            settings,
            draws,
            start,
            unix_s,
            plan,
            position: None,
            battery_percent: POWERED,
            connected: false,
            tells_at: Instant::ZERO,
            announced: None,
            awaited: VecDeque::new(),
            unread: VecDeque::new(),
            rssi_dbm: 0,
            down_at: None,
            up_at: Some(start),
            went_down: false,
            inner: agent.map(|(port, channel)| Inner::new(port, channel)),
        };
        node.tell_citizen(start);
        node
    }

    /// Its number.
    pub fn num(&self) -> NodeNum {
        self.num
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whom it knows.
    pub fn citizen(&self) -> &Citizen {
        &self.citizen
    }

    /// What it keeps for the agent behind it.
    pub(super) fn inner(&self) -> Option<&Inner> {
        self.inner.as_ref()
    }

    pub(super) fn inner_mut(&mut self) -> Option<&mut Inner> {
        self.inner.as_mut()
    }

    /// Its battery and air.
    pub(super) fn metrics(&mut self, now: Instant) -> Metrics {
        self.citizen.metrics(now, &mut self.router)
    }

    /// The agent behind it hands a packet over.
    pub(super) fn submit(&mut self, now: Instant, id: PacketId, message: &Message<'_>) {
        let sent = self.is_on_air() && self.citizen.send(now, &mut self.router, id, message).is_ok();
        if !sent && let Some(inner) = &mut self.inner {
            inner.fail(id);
        }
    }

    /// Where it is now.
    pub fn set_position(&mut self, position: Position) {
        self.position = Some(position);
        let told = convert::fixed_position(&self.settings).unwrap_or(position);
        self.citizen.set_position(Some(told));
    }

    /// Charge of its battery, percent; 101 = it has power for ever.
    pub fn set_battery(&mut self, percent: u8) {
        self.battery_percent = percent;
        self.citizen.set_power(Some(percent), Some(convert::cell_voltage_mv(percent)));
    }

    /// Its power was gone and is back.
    pub fn restart(&mut self, now: Instant) {
        self.down_at = None;
        self.up_at = Some(now);
        self.handle_up(now);
    }

    /// A client is there, in place of the one before it. Whoever connects to a node that is switched off has switched it on; one that
    /// restarts takes no client (false).
    pub fn connect(&mut self, now: Instant) -> bool {
        if let Some(at) = self.up_at {
            if at <= now + REBOOT && at != self.start {
                return false;
            }
            self.start = self.start.min(now);
            self.handle_up(now);
        }
        self.connected = true;
        self.went_down = false;
        self.tells_at = now + TELEMETRY;
        self.device.handle_connect();
        true
    }

    /// The client is gone.
    pub fn disconnect(&mut self) {
        self.connected = false;
        self.device.handle_disconnect();
    }

    /// A `ToRadio` message of the client's.
    pub fn handle_to_radio(&mut self, now: Instant, bytes: &[u8]) {
        if self.up_at.is_none() {
            self.device.handle_to_radio(millis(now), bytes, &mut self.settings);
            self.settle(now);
        }
    }

    /// The next `FromRadio` message for the client; its length.
    pub fn poll_from_radio(&mut self, now: Instant, out: &mut [u8; FROM_RADIO_MAX]) -> Option<usize> {
        if self.up_at.is_some() {
            return None;
        }
        let metrics = self.citizen.metrics(now, &mut self.router);
        let known = Known {
            citizen: &self.citizen,
            metrics,
            now,
            unix_s_at_start: self.unix_s,
            settings: &self.settings,
            position: self.position,
        };
        self.device.poll_from_radio(millis(now), &self.settings, &known, out)
    }

    /// It has gone down since the client came, to restart or for good; told once.
    pub fn poll_down(&mut self) -> bool {
        core::mem::take(&mut self.went_down)
    }

    /// Everything that the settings decide, anew. Whom it knows stays, as does what it has sent in the last hour.
    fn restart_radio(&mut self, now: Instant) {
        let spent = self.router.spent(now);
        let seed = self.draws.next_u64();
        let hw_model = self.device.about().hw_model;
        let (router, citizen) = start_radio(&self.factory.0, &self.settings, hw_model, seed, now);
        let old = std::mem::replace(&mut self.citizen, citizen);
        self.router = router;
        self.router.assume_spent(now, spent);
        for node in old.nodes().iter() {
            self.citizen.nodes_mut().restore(node.clone());
        }
        self.tell_citizen(now);
    }

    fn tell_citizen(&mut self, now: Instant) {
        self.citizen.set_clock(now, self.unix_s.saturating_add((now.as_micros() / 1_000_000) as u32));
        self.set_battery(self.battery_percent);
        if let Some(position) = self.position {
            self.set_position(position);
        }
    }

    /// The radio hears and sends: it is up, and set to what the others are.
    fn is_on_air(&self) -> bool {
        let config = self.router.config();
        self.up_at.is_none() && (config.preset, config.region) == self.air && self.settings.may_send()
    }

    fn handle_up(&mut self, now: Instant) {
        self.up_at = None;
        if now > self.start {
            self.restart_radio(now);
            self.device.handle_rebooted();
        }
    }

    fn settle(&mut self, now: Instant) {
        if self.up_at.is_some_and(|at| now >= at) {
            self.handle_up(now);
        }
        if self.up_at.is_some() {
            return;
        }
        self.settle_client(now);
        while let Some(event) = self.router.poll_event() {
            self.citizen.handle_event(now, &mut self.router, event);
        }
        self.speak(now);
        let draws = &mut self.draws;
        self.citizen.poll(now, &mut self.router, &mut || Some(PacketId(draws.next_u32() | 1)));
        while let Some(event) = self.citizen.poll_event() {
            self.handle_citizen(now, event);
        }
        self.device.handle_free(TX_QUEUE.saturating_sub(self.router.queue_len() as u32));
        self.awaited_end(now);
        if self.connected && now >= self.tells_at {
            self.tells_at = now + TELEMETRY;
            self.tell_metrics(now);
        }
        if let Some((_, for_good)) = self.down_at.filter(|(at, _)| now >= *at) {
            self.down_at = None;
            self.up_at = Some(if for_good { Instant::from_micros(u64::MAX) } else { now + REBOOT });
            self.went_down = self.connected;
        }
    }

    /// What the client wants.
    fn settle_client(&mut self, now: Instant) {
        while let Some(event) = self.device.poll_event() {
            self.handle_event(now, event);
        }
        while let Some(packet) = self.device.poll_packet() {
            self.send(now, &packet);
        }
    }

    fn send(&mut self, now: Instant, packet: &OutPacket) {
        let now_ms = millis(now);
        if packet.to == self.num.0 {
            // Nothing of it reaches the air.
            let error = if packet.want_response { RoutingError::NO_RESPONSE } else { RoutingError::NONE };
            if packet.want_response || packet.want_ack {
                self.device.handle_outcome(now_ms, packet.id, error);
            }
            return self.device.handle_sent(now_ms, packet.id, Ok(()), self.free());
        }
        if !self.is_on_air() {
            return self.device.handle_sent(now_ms, packet.id, Err(Refused::RadioOff), self.free());
        }
        let limit = self.router.config().duty_cycle_permille();
        if self.router.duty_cycle_permille(now) >= limit {
            let percent = f64::from(limit) / 10.0;
            let what = format!(
                "Duty cycle limit of {percent} % reached. It will send again when an hour has passed."
            );
            self.device.notify(LogLevel::WARNING, Some(packet.id), &what);
            let refused = Err(Refused::Error(RoutingError::DUTY_CYCLE_LIMIT));
            return self.device.handle_sent(now_ms, packet.id, refused, self.free());
        }
        let message = Message {
            want_ack: packet.want_ack,
            want_response: packet.want_response,
            request_id: (packet.request_id != 0).then_some(packet.request_id),
            reply_id: (packet.reply_id != 0).then_some(packet.reply_id),
            emoji: (packet.emoji != 0).then_some(packet.emoji),
            hop_limit: packet.hop_limit,
            priority: Some(convert::priority(packet.priority)),
            // What a client sends is not gated.
            gate: Gate::Alert,
            ..Message::new(NodeNum(packet.to), packet.channel, packet.port.0 as u16, &packet.payload)
        };
        let sent = self.citizen.send(now, &mut self.router, PacketId(packet.id), &message);
        if sent.is_ok() && packet.want_ack {
            let broadcast = packet.to == NodeNum::BROADCAST.0;
            if self.awaited.len() == AWAITED {
                self.awaited.pop_front();
            }
            self.awaited.push_back(Awaited { id: packet.id, until: now + RELAY_WAIT, broadcast });
        }
        let sent = sent.map_err(|error| match error {
            SendError::QueueFull => Refused::QueueFull,
            SendError::TooLarge => Refused::Error(RoutingError::TOO_LARGE),
            SendError::NoChannel | SendError::NoId => Refused::Error(RoutingError::NO_CHANNEL),
            SendError::NoKey => Refused::Error(RoutingError::PKI_SEND_FAIL_PUBLIC_KEY),
        });
        self.device.handle_sent(now_ms, packet.id, sent, self.free());
    }

    fn free(&self) -> u32 {
        TX_QUEUE.saturating_sub(self.router.queue_len() as u32)
    }

    fn handle_event(&mut self, now: Instant, event: DeviceEvent) {
        let nodes = self.citizen.nodes_mut();
        match event {
            DeviceEvent::SettingsChanged => self.restart_radio(now),
            DeviceEvent::NodeInfoWanted => self.announce(now),
            DeviceEvent::Reboot { in_s } => self.down_in(now, in_s, false),
            DeviceEvent::Shutdown { in_s } => self.down_in(now, in_s, true),
            DeviceEvent::Stay => self.down_at = None,
            DeviceEvent::ForgetNodes => {
                let all: Vec<NodeNum> = nodes.iter().map(|node| node.num).collect();
                all.into_iter().for_each(|num| nodes.forget(num));
            }
            DeviceEvent::ForgetNode(num) => nodes.forget(NodeNum(num)),
            DeviceEvent::Favourite(num, is) => {
                if let Some(node) = nodes.get_mut(NodeNum(num)) {
                    node.favourite = is;
                }
            }
            DeviceEvent::Ignored(num, is) => {
                if let Some(node) = nodes.get_mut(NodeNum(num)) {
                    node.ignored = is;
                }
            }
            // Sounds, and the time, which is that of the simulation.
            DeviceEvent::ToggleMuted(_) | DeviceEvent::Time(_) => {
                self.device
                    .set_time(millis(now), self.unix_s.saturating_add((now.as_micros() / 1_000_000) as u32));
            }
            // A place that an app tells is where the phone is; the node is where the scenario says.
            DeviceEvent::Position(_) => {}
            DeviceEvent::FixedPosition(_) => {
                if let Some(position) = self.position {
                    self.set_position(position);
                }
            }
            DeviceEvent::FactoryReset { .. } => {
                self.settings = self.factory.1.clone();
                let all: Vec<NodeNum> = nodes.iter().map(|node| node.num).collect();
                all.into_iter().for_each(|num| nodes.forget(num));
                self.down_in(now, 1, false);
            }
        }
    }

    fn down_in(&mut self, now: Instant, in_s: u32, for_good: bool) {
        self.down_at = Some((now + Duration::from_secs(u64::from(in_s)), for_good));
    }

    /// Who this node is, to everybody.
    fn announce(&mut self, now: Instant) {
        let soon = |at: Instant| now.saturating_duration_since(at) < ANNOUNCE;
        if self.announced.is_some_and(soon) || !self.is_on_air() {
            return;
        }
        self.announced = Some(now);
        let user = self.settings.user(self.num.0, self.device.about().hw_model);
        if let Ok(payload) = user.as_user().to_vec::<128>() {
            let message = Message {
                want_response: true,
                hop_limit: self.settings.hop_limit(),
                ..Message::new(NodeNum::BROADCAST, 0, NODEINFO_PORT, &payload)
            };
            let id = PacketId(self.draws.next_u32() | 1);
            // A full queue loses it; whoever wants to know asks.
            let _ = self.citizen.send(now, &mut self.router, id, &message);
        }
    }

    /// What the person at this node has planned to say.
    fn speak(&mut self, now: Instant) {
        while let Some(planned) = self.plan.pop_if(|planned| now >= planned.at) {
            if !self.is_on_air() {
                continue;
            }
            let text = talk::text(planned.message, planned.length);
            let message = Message {
                want_ack: planned.want_ack,
                hop_limit: planned.hop_limit,
                ..Message::text(planned.to, 0, &text, None)
            };
            let id = PacketId(self.draws.next_u32() | 1);
            // Whoever is not known by a key yet is asked; the person does not try again.
            let _ = self.citizen.send(now, &mut self.router, id, &message);
        }
    }

    fn handle_citizen(&mut self, now: Instant, event: CitizenEvent) {
        match event {
            CitizenEvent::Packet { packet, trusted } => {
                if self.inner.as_mut().is_some_and(|inner| inner.take(&packet)) {
                    return;
                }
                let key = self.citizen.node(packet.from).and_then(|node| node.public_key().copied());
                let rx_time = self.device.unix_s(millis(now));
                let message = convert::received(&packet, trusted, key.as_ref(), self.rssi_dbm, rx_time);
                self.device.handle_packet(message);
            }
            CitizenEvent::Failed { id } => {
                if let Some(inner) = &mut self.inner {
                    inner.fail(id);
                }
                self.awaited.retain(|awaited| awaited.id != id.0);
                self.device.handle_outcome(millis(now), id.0, RoutingError::MAX_RETRANSMIT);
            }
            CitizenEvent::KeyChanged { num } => {
                let what = format!("{num} tells another public key than before. It was not taken.");
                self.device.notify(LogLevel::WARNING, None, &what);
            }
            // The packet that acknowledges or refuses is passed on as it is; nodes are read when they are asked for.
            CitizenEvent::Acked { .. } | CitizenEvent::Refused { .. } | CitizenEvent::Node { .. } => {}
        }
    }

    /// Somebody relays a packet of this node: the implicit acknowledgement.
    fn hear_relay(&mut self, now: Instant, header: &Header) {
        let at = self.awaited.iter().position(|awaited| awaited.id == header.id.0);
        if let Some(at) = at
            && header.from == self.num
        {
            self.awaited.remove(at);
            self.device.handle_outcome(millis(now), header.id.0, RoutingError::NONE);
        }
    }

    /// Broadcasts that nobody relayed have failed; unicasts fail by themselves.
    fn awaited_end(&mut self, now: Instant) {
        while let Some(awaited) = self.awaited.front().copied().filter(|awaited| now >= awaited.until) {
            self.awaited.pop_front();
            if awaited.broadcast {
                self.device.handle_outcome(millis(now), awaited.id, RoutingError::MAX_RETRANSMIT);
            }
        }
    }

    /// A packet that no channel reads is shown to the client as it is, once.
    fn show_unread(&mut self, now: Instant, frame: &[u8], header: &Header, snr_qdb: i16, rssi_dbm: i16) {
        let data = &frame[HEADER..];
        let known = self.router.config().channels.iter();
        let mut hashes = known.filter(|channel| channel.enabled()).map(|channel| channel.hash());
        let under_keys = header.channel_hash == 0 && header.to == self.num;
        let key = (header.from, header.id);
        if data.is_empty()
            || header.from == self.num
            || under_keys
            || hashes.any(|hash| hash == header.channel_hash)
            || self.unread.contains(&key)
        {
            return;
        }
        if self.unread.len() == UNREAD {
            self.unread.pop_front();
        }
        self.unread.push_back(key);
        let rx_time = self.device.unix_s(millis(now));
        let payload = Some(MeshPacketPayload::Encrypted(data));
        let packet = MeshPacket {
            channel: u32::from(header.channel_hash),
            payload,
            ..convert::envelope(header, snr_qdb, rssi_dbm, rx_time)
        };
        self.device.handle_packet(packet);
    }

    fn tell_metrics(&mut self, now: Instant) {
        let metrics = self.citizen.metrics(now, &mut self.router).to_message();
        let time = self.device.unix_s(millis(now));
        if let Some(payload) = convert::telemetry(metrics, time) {
            let packet = MeshPacket {
                from: self.num.0,
                to: NodeNum::BROADCAST.0,
                payload: Some(MeshPacketPayload::Decoded(convert::telemetry_data(&payload))),
                id: self.draws.next_u32() | 1,
                rx_time: Some(time),
                priority: compotastic_messages::Priority::BACKGROUND,
                transport_mechanism: TransportMechanism::TRANSPORT_INTERNAL,
                ..MeshPacket::default()
            };
            self.device.handle_packet(packet);
        }
    }
}

fn start_radio(
    factory: &RouterConfig,
    settings: &Settings,
    hw_model: HardwareModel,
    seed: u64,
    now: Instant,
) -> (Router, Citizen) {
    let mut router = Router::new(convert::router_config(factory, settings), seed, now);
    let config = convert::citizen_config(&router, settings, hw_model);
    let citizen = Citizen::new(config, &mut router, seed, now);
    (router, citizen)
}

impl Host for ServedNode {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        if !self.is_on_air() {
            return;
        }
        self.rssi_dbm = rssi_dbm;
        self.router.handle_frame(now, frame, snr_qdb, rssi_dbm);
        if let Some(header) = Header::parse(frame) {
            self.hear_relay(now, &header);
            self.show_unread(now, frame, &header, snr_qdb, rssi_dbm);
        }
        self.settle(now);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.router.handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.router.handle_tx_done(now);
        self.settle(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        if self.up_at.is_none() {
            self.router.handle_timeout(now);
        }
        self.settle(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        if !self.is_on_air() {
            return None;
        }
        let frame = self.router.poll_transmit(now, channel_busy)?;
        self.settle(now);
        Some(frame.bytes.to_vec())
    }
    fn poll_timeout(&self) -> Option<Instant> {
        if self.up_at.is_some() {
            return self.up_at.filter(|at| at.as_micros() < u64::MAX);
        }
        let planned = self.plan.last().map(|planned| planned.at);
        let tells = self.connected.then_some(self.tells_at);
        let down = self.down_at.map(|(at, _)| at);
        let awaited = self.awaited.front().map(|awaited| awaited.until);
        // What waits in a radio that is set to another preset or may not send waits for new settings.
        let router = self.router.poll_timeout().filter(|_| self.is_on_air());
        let own = [router, self.citizen.poll_timeout(), planned, tells, down, awaited];
        own.into_iter().flatten().min()
    }
}
